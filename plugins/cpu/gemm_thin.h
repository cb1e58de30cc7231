/* gemm_thin.h: products of few rows, in f32 with AVX-512: nothing is packed, columns that lie one after
 * the other in memory are turned round in registers. */
#pragma once

#include "gemm.h"

#define GEMM_THIN_ROWS 8 /* at once of b's as they lie; with more, sums do not stay in registers */

/* Whether this is for the sizes and strides, on this processor. */
gboolean gemm_thin_fits(const CpuGemm *gemm);
/* Regions of a product that this is for: how much of b a thread reads is what counts. */
void gemm_thin_plan(CpuGemm *gemm);
/* Columns [col, col + cols) of all rows. With gemm->own, sums run over k in order, in blocks of
 * GEMM_BLOCK_K that begin with 0: the bits are those of the other products. */
void gemm_thin_run(const CpuGemm *gemm, const float *a, const float *b, float *c, gint64 col,
                   gint64 cols);
/* The same of a matrix whose columns are neighbours. */
void gemm_thin_rows(const CpuGemm *gemm, const float *a, const float *b, float *c, gint64 col,
                    gint64 cols);
