/* gemm_bf16_kernels.h: the innermost products of bf16 and the copies before them, for each way that
 * processors have of multiplying bf16. */
#pragma once

#include "gemm_bf16.h"

#define BF16_BLOCK 32 /* rows and columns of a block: two tiles each */

/* Tiles of rows: row r of tile t at from + r * row + t * step, in numbers. */
typedef struct {
    const guint16 *from[2]; /* the first tile of two groups of rows */
    gint64 row, step;
    gint64
        apart; /* where Bf16Kernels.sums is: from each two numbers of a row to its next two; 0: 2 */
} Bf16Rows;

/* Sums of a block over `deep` tiles, 32 a row, added to those that are there if `add`; b: the tiles of two
 * groups of columns, one after the other. Of two groups the second may be missing: from[1] NULL, n_b 1. */
typedef void (*Bf16BlockFn)(gint64 deep, const Bf16Rows *a, const guint16 *const *b, gint n_b,
                            gboolean add, float *sums);
/* to = from + a b of such a block, with rows from_row (0: one row for all) and to_row apart; from NULL: 0. to
 * may be from. */
typedef void (*Bf16SumsFn)(gint64 deep, const Bf16Rows *a, const guint16 *const *b, gint n_b,
                           const float *from, gint64 from_row, float *to, gint64 to_row);
/* 16 numbers each of 32 rows, `stride` apart, so that of each two rows those of a column become
 * neighbours. */
typedef void (*Bf16PairFn)(const guint16 *from, gint64 stride, guint16 *to);
/* The same with 32 numbers each: two tiles. */
typedef void (*Bf16PairBothFn)(const guint16 *from, gint64 stride, guint16 *left, guint16 *right);
/* pair with 32 numbers each of 16 rows: rows become columns of pairs. */
typedef void (*Bf16TurnFn)(const guint16 *from, gint64 stride, guint16 *to);
/* n sums, plus a bias if there is one, rounded. */
typedef void (*Bf16StoreFn)(const float *sums, const float *bias, gint64 n, guint16 *to);
/* The same with the first n <= BF16_BLOCK sums of each row of a block, to rows `stride` apart. */
typedef void (*Bf16StoreRowsFn)(const float *sums, const float *bias, gint64 rows, gint64 n,
                                guint16 *to, gint64 stride);

/* A block's sums, plus a bias if there is one, rounded: the first `rows` rows and n columns. */
typedef void (*Bf16NarrowFn)(gint64 deep, const Bf16Rows *a, const guint16 *const *b,
                             const float *bias, gint64 rows, gint64 n, guint16 *to, gint64 stride);

typedef struct {
    Bf16BlockFn block;
    Bf16PairFn pair;
    Bf16TurnFn turn;
    Bf16StoreFn store;
    void (*begin)(void); /* before blocks on a thread, and after them; NULL: nothing */
    void (*end)(void);
    Bf16StoreRowsFn store_rows;
    /* All or none of them. */
    Bf16PairBothFn pair_both;
    Bf16SumsFn sums;
    Bf16NarrowFn narrow;
} Bf16Kernels;

/* Of the processor, as far as TENON_CPU_ISA allows. */
const Bf16Kernels *bf16_kernels(void);

/* Around blocks on a thread. */
static inline void
bf16_begin(void)
{
    if (bf16_kernels()->begin != NULL) {
        bf16_kernels()->begin();
    }
}

static inline void
bf16_end(void)
{
    if (bf16_kernels()->end != NULL) {
        bf16_kernels()->end();
    }
}
