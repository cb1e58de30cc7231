/* gemm_bf16.h: products of matrices of bf16 with any strides, summed in f32: c = a b + bias.
 *
 * Both operands are read as tiles of 16 by 32 numbers. Of b, and of a where its rows do not lie so, they
 * are copied first, in parts that any thread may do in any order. The result is cut into regions that
 * depend on the sizes alone, each computed by one thread with sums over k in one fixed order, so any
 * number of threads gives the same bits. */
#pragma once

#include "cpu.h"

#define BF16_TILE 16 /* rows of a tile of a, columns of one of b */
#define BF16_DEEP 32 /* of k in a tile */
#define BF16_TILE_BYTES 1024

typedef struct {
    gint64 m, n, k;
    gint64 a_row, a_col, b_row, b_col; /* strides in elements */
    gboolean wide;                     /* c is f32, else bf16; its rows follow each other */
    gint64 deep;                       /* tiles over k */
    gboolean packs_a;
    gint64 rows, cols;       /* of a region */
    gint64 n_down, n_across; /* regions */
    gsize b_bytes, a_bytes;  /* copied */
} CpuGemmBf16;

/* A matrix whose columns are copied: b, or a turned. */
typedef struct {
    const guint16 *from;
    gint64 deep_stride, stride; /* from one of k to the next, and from one column to the next */
    gint64 deep, columns;       /* that there are */
} Bf16Columns;

/* n groups of 16 columns from group `first` on, one after the other, as tiles of b (pairs of k beside each
 * other, a row for each pair) or of a (32 of k a row). What is not there becomes 0. */
void cpu_gemm_bf16_pack_columns(const Bf16Columns *columns, gint64 first, gint64 n, guint16 *to);
void cpu_gemm_bf16_pack_rows(const Bf16Columns *columns, gint64 first, gint64 n, guint16 *to);

/* Chooses regions and copies for the sizes and strides, which are filled in. */
void cpu_gemm_bf16_plan(CpuGemmBf16 *gemm);
/* Copies in so many parts; a_to, b_to: room for a_bytes, b_bytes, on lines of the cache. */
gint64 cpu_gemm_bf16_parts(const CpuGemmBf16 *gemm);
void cpu_gemm_bf16_pack(const CpuGemmBf16 *gemm, const guint16 *a, const guint16 *b, guint16 *a_to,
                        guint16 *b_to, gint64 part);
/* After all parts. bias: one number for each column, bias_stride apart; NULL: none. */
void cpu_gemm_bf16_region(const CpuGemmBf16 *gemm, const guint16 *a, const guint16 *a_packed,
                          const guint16 *b_packed, const guint16 *bias, gint64 bias_stride, void *c,
                          gint64 region);
