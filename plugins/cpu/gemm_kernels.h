/* gemm_kernels.h: the innermost products: up to 6 rows by up to 4 vectors of columns, accumulated in registers. */
#pragma once

#include <glib.h>

#define GEMM_ROWS 6
#define GEMM_VECTORS 4

/* c (rows x vectors, c_row apart) = or += a b over k. a: element (i, p) at i * a_row + p * a_col. b: row p at p * b_row,
 * columns are neighbours. */
typedef void (*GemmFn32)(gint64 k, const float *a, gint64 a_row, gint64 a_col, const float *b,
                         gint64 b_row, float *c, gint64 c_row, gboolean accumulate);
typedef void (*GemmFn64)(gint64 k, const double *a, gint64 a_row, gint64 a_col, const double *b,
                         gint64 b_row, double *c, gint64 c_row, gboolean accumulate);

typedef struct {
    gint lanes;   /* of a vector */
    gint vectors; /* the most columns at once, in vectors */
    GemmFn32 f32[GEMM_ROWS][GEMM_VECTORS];
    GemmFn64 f64[GEMM_ROWS][GEMM_VECTORS];
} GemmKernels;

/* Per instruction set; lanes are of f32, f64 has half as many. */
extern const GemmKernels gemm_kernels[];
