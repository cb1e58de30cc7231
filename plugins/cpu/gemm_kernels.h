/* gemm_kernels.h: the innermost products: up to 6 rows by up to 4 vectors of columns, accumulated
 * in registers. */
#pragma once

#include <glib.h>

#define GEMM_ROWS 6
#define GEMM_VECTORS 4

/* c (rows x vectors, c_row apart) = from + a b over k. a: element (i, p) at i * a_row + p * a_col.
 * b: row p at p * b_row, columns are neighbours. from: like c, from_row apart (0: one row for all),
 * may be c; NULL: 0. */
typedef void (*GemmFn)(gint64 k, const void *a, gint64 a_row, gint64 a_col, const void *b,
                       gint64 b_row, void *c, gint64 c_row, const void *from, gint64 from_row);

typedef struct {
    gint lanes[2]; /* of a vector: f32, f64 */
    gint vectors;  /* the most columns at once, in vectors */
    GemmFn fn[2][GEMM_ROWS][GEMM_VECTORS];
} GemmKernels;

/* Per instruction set. */
extern const GemmKernels gemm_kernels[];
