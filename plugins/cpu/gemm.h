/* gemm.h: products of matrices with any strides: c = a b, or c += a b.
 *
 * The result is cut into regions that depend on the sizes alone; each is computed by one thread,
 * sums run over k in one fixed order, so any number of threads gives the same bits. */
#pragma once

#include "cpu.h"

/* Places of k that are summed from 0 before they are added to what was there. */
#define GEMM_BLOCK_K 128

typedef struct {
    gboolean f64;
    gint64 m, n, k;
    gint64 a_row, a_col, b_row, b_col, c_row; /* strides in elements; c's columns are neighbours */
    gint64 panel; /* b's columns that make a matrix by themselves, one behind the other; 0: all */
    gboolean accumulate;
    gboolean own;            /* OpenBLAS is not asked: its sums go by the number of rows */
    gboolean blas;           /* OpenBLAS computes the regions */
    gboolean thin;           /* gemm_thin.h does */
    gboolean brief;          /* all regions take but microseconds: for tn_parallel_for_brief */
    gint64 rows, cols;       /* of a region */
    gint64 n_down, n_across; /* regions */
} CpuGemm;

/* Where b's element at row k and that column is. */
static inline gint64
cpu_gemm_b_at(const CpuGemm *gemm, gint64 k, gint64 col)
{
    const gint64 in = gemm->panel > 0 ? col % gemm->panel : col;
    return (col - in) * gemm->k + k * gemm->b_row + in * gemm->b_col;
}

/* Chooses regions (and whether OpenBLAS computes them) for the sizes and strides, which are filled
 * in. */
void cpu_gemm_plan(CpuGemm *gemm);
static inline gint64
cpu_gemm_regions(const CpuGemm *gemm)
{
    return gemm->n_down * gemm->n_across;
}
/* packed: what cpu_gemm_pack made of b; NULL: nothing. bias: a row of n neighbours that is added to each
 * row; NULL: none. */
void cpu_gemm_region(const CpuGemm *gemm, const void *a, const void *b, const void *packed,
                     const void *bias, void *c, gint64 region);
/* Regions one above the other read the same columns of b: where these are packed, it pays to do so once
 * for all of them. Bytes that it takes, 0: it does not; in so many parts, in any order, on any
 * threads. */
gsize cpu_gemm_packed_bytes(const CpuGemm *gemm);
gint64 cpu_gemm_pack_parts(const CpuGemm *gemm);
void cpu_gemm_pack(const CpuGemm *gemm, const void *b, void *packed, gint64 part);
/* All regions, one after the other. */
void cpu_gemm_run(const CpuGemm *gemm, const void *a, const void *b, void *c);
