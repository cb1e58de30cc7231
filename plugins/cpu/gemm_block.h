/* gemm_block.h: blocks of products of matrices: some rows of the result, some columns, and some of k. */
#pragma once

#include "gemm.h"

/* Rows of a block at most: those of a stay in the second-level cache while panels of b go by. */
#define GEMM_BLOCK_ROWS 192

/* What is done with every part of the result as soon as it is there, while it is in the cache: rows
 * [row, row + rows) and columns [col, col + cols) of all, c: the first of them. It works on three matrices
 * of f32 that lie as the whole result would, which are fetched in time. */
typedef struct GemmAfter GemmAfter;
struct GemmAfter {
    void (*run)(const GemmAfter *after, gint64 row, gint64 rows, gint64 col, gint64 cols,
                const float *c, gint64 c_row);
    const char *works_on; /* the first of the three matrices, gemm->n elements a row */
    guintptr also[2];     /* bytes from there to the others */
};

typedef struct {
    const CpuGemm *gemm;
    const GemmAfter *after; /* of the last part of k: c is not written then; NULL: nothing */
    const char *packed;     /* all of b (cpu_gemm_pack); NULL: a block packs what it needs */
    const char *bias;       /* of the first column of all; NULL: none */
    gint64 row, rows, col, cols, k0, k;
} GemmBlock;

/* Columns that a panel has, as many as one call of an innermost product takes. */
gint64 gemm_panel_width(const CpuGemm *gemm);
/* At most GEMM_BLOCK_ROWS rows and GEMM_BLOCK_K of k. a, b: of the whole matrices; c: the block's first
 * element. */
void gemm_block_run(const GemmBlock *block, const char *a, const char *b, char *c);
