/* gemm_block.h: blocks of products of matrices: some rows of the result, some columns, and some of k. */
#pragma once

#include "gemm.h"

/* Rows of a block at most: those of a stay in the second-level cache while panels of b go by. */
#define GEMM_BLOCK_ROWS 192

typedef struct {
    const CpuGemm *gemm;
    const char *packed; /* all of b (cpu_gemm_pack); NULL: a block packs what it needs */
    const char *bias;   /* of the first column of all; NULL: none */
    gint64 row, rows, col, cols, k0, k;
} GemmBlock;

/* Columns that a panel has, as many as one call of an innermost product takes. */
gint64 gemm_panel_width(const CpuGemm *gemm);
/* At most GEMM_BLOCK_ROWS rows and GEMM_BLOCK_K of k. a, b, c: of the whole matrices. */
void gemm_block_run(const GemmBlock *block, const char *a, const char *b, char *c);
