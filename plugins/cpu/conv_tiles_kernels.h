/* conv_tiles_kernels.h: the innermost loops of convolutions in tiles (conv_tiles.h), for each way that
 * processors have of multiplying bf16. */
#pragma once

#include "gemm_bf16_kernels.h"

/* Two tiles of rows and two of columns, each two one after the other. */
typedef struct {
    const guint16 *a, *b;
} TilesPair;

/* Sums of the products of n pairs, added in order to those that are there if `add`; rows of 32. Of the
 * columns only the first tile counts if n_b is 1. */
typedef void (*TilesListFn)(gint64 n, const TilesPair *list, gint n_b, gboolean add, float *sums);
/* Of n times sixteen numbers, those of a and of b beside each other; from one sixteen to the next `step`
 * further in `to`. */
typedef void (*TilesZipFn)(const guint16 *a, const guint16 *b, gint64 n, guint16 *to, gint64 step);
/* n times sixteen sums, `step` apart, plus a bias, rounded, one after the other. */
typedef void (*TilesPutFn)(const float *sums, gint64 step, gint64 n, float bias, guint16 *to);

typedef struct {
    TilesListFn list;
    TilesZipFn zip;
    TilesPutFn put;
} TilesKernels;

/* Of the processor, as far as TENON_CPU_ISA allows; only where it multiplies bf16. */
const TilesKernels *conv_tiles_kernels(void);
