/* gemm.c: products of matrices: regions, each computed by one thread, and who computes them: the blocks of
 * gemm_block.c, gemm_thin.c, or OpenBLAS. */
#include "gemm.h"

#include "blas.h"
#include "gemm_block.h"
#include "gemm_kernels.h"
#include "gemm_thin.h"

/* Multiplications that a region should have at least. */
#define REGION_WORK 262144
#define MAX_COLS 512
#define PACKED_ROWS 48

static gint64
size_of(const CpuGemm *gemm)
{
    return gemm->f64 ? sizeof(double) : sizeof(float);
}

static gint64
round_up(gint64 value, gint64 to)
{
    return (value + to - 1) / to * to;
}

/* Leading dimension and transposition of a matrix for BLAS; FALSE if it has no neighbours in either
 * direction. */
static gboolean
blas_layout(gint64 rows, gint64 cols, gint64 row, gint64 col, int *trans, int *ld)
{
    gint64 lead;
    if (col == 1 && row >= cols) {
        *trans = BLAS_NO_TRANS;
        lead = row;
    } else if (row == 1 && col >= rows) {
        *trans = BLAS_TRANS;
        lead = col;
    } else {
        return FALSE;
    }
    *ld = (int)lead;
    return lead < G_MAXINT;
}

static gboolean
fits_blas(const CpuGemm *g)
{
    int trans, ld;
    return cpu_blas.available && g->panel == 0 && g->m < G_MAXINT && g->n < G_MAXINT &&
           g->k < G_MAXINT && g->c_row < G_MAXINT &&
           blas_layout(g->m, g->k, g->a_row, g->a_col, &trans, &ld) &&
           blas_layout(g->k, g->n, g->b_row, g->b_col, &trans, &ld);
}

/* Where OpenBLAS was measured to win: products so small or narrow that copying a panel does not
 * pay. */
static gboolean
blas_is_faster(const CpuGemm *g)
{
    gint64 work = g->m * g->n * g->k;
    return (g->b_col != 1 && g->m < 16) || (g->n < 16 && g->k > 4 && work < 32768);
}

/* Where a is packed it is so for each region beside another, so regions are rather one below the other: as
 * many as two, four or eight threads end at the same time with. */
static gint64
rows_apart(gint64 m, gint64 work)
{
    gint64 down = 1;
    while (down < 8 && m >= 2 * down * PACKED_ROWS && work >= 2 * down * REGION_WORK) {
        down *= 2;
    }
    return down;
}

/* Rows of one block, and columns enough for a few regions where there is work for several
 * threads. */
void
cpu_gemm_plan(CpuGemm *g)
{
    gint64 width = gemm_panel_width(g), work = g->m * g->n * g->k;
    gint64 down = work > REGION_WORK ? (g->m + GEMM_BLOCK_ROWS - 1) / GEMM_BLOCK_ROWS : 1;
    if (g->a_col != 1) {
        down = MAX(down, rows_apart(g->m, work));
    }
    gint64 across = CLAMP(work / REGION_WORK, 1, 8) / MAX(1, down);
    if (work > REGION_WORK && g->a_col == 1) {
        across = MAX(across, (g->n + MAX_COLS - 1) / MAX_COLS);
    }
    g->rows = MAX(1, round_up((g->m + down - 1) / MAX(1, down), GEMM_ROWS));
    g->cols = MAX(width, round_up((g->n + MAX(1, across) - 1) / MAX(1, across), width));
    g->n_down = (g->m + g->rows - 1) / g->rows;
    g->n_across = (g->n + g->cols - 1) / g->cols;
    g->thin = gemm_thin_fits(g);
    if (g->thin) {
        gemm_thin_plan(g);
    }
    g->blas = !g->own && !g->thin && fits_blas(g) && blas_is_faster(g);
}

/* What a region is before anything is added to it. */
static void
begin(const CpuGemm *g, const char *bias, char *c, gint64 rows, gint64 cols)
{
    for (gint64 i = 0; i < rows && !g->accumulate; i++, c += g->c_row * size_of(g)) {
        if (bias != NULL) {
            memcpy(c, bias, (gsize)(cols * size_of(g)));
        } else {
            memset(c, 0, (gsize)(cols * size_of(g)));
        }
    }
}

static void
blas_region(const CpuGemm *g, const char *a, const char *b, const char *bias, char *c, gint64 rows,
            gint64 cols)
{
    const gboolean add = g->accumulate || bias != NULL;
    int trans_a = 0, trans_b = 0, lda = 0, ldb = 0;
    blas_layout(g->m, g->k, g->a_row, g->a_col, &trans_a, &lda);
    blas_layout(g->k, g->n, g->b_row, g->b_col, &trans_b, &ldb);
    if (bias != NULL) {
        begin(g, bias, c, rows, cols);
    }
    if (g->f64) {
        cpu_blas.dgemm(BLAS_ROW_MAJOR, trans_a, trans_b, (int)rows, (int)cols, (int)g->k, 1,
                       (const double *)a, lda, (const double *)b, ldb, add, (double *)c,
                       (int)g->c_row);
    } else {
        cpu_blas.sgemm(BLAS_ROW_MAJOR, trans_a, trans_b, (int)rows, (int)cols, (int)g->k, 1,
                       (const float *)a, lda, (const float *)b, ldb, (float)add, (float *)c,
                       (int)g->c_row);
    }
}

/* c: the region's first element. */
static void
own_region(const CpuGemm *g, const void *a, const void *b, char *c, GemmBlock block)
{
    const gint64 first = block.row, rows_end = block.row + block.rows;
    for (block.k0 = 0; block.k0 < g->k; block.k0 += GEMM_BLOCK_K) {
        block.k = MIN(GEMM_BLOCK_K, g->k - block.k0);
        for (gint64 row = first; row < rows_end; row += GEMM_BLOCK_ROWS) {
            GemmBlock part = block;
            part.row = row;
            part.rows = MIN(GEMM_BLOCK_ROWS, rows_end - row);
            gemm_block_run(&part, a, b, c + (row - first) * g->c_row * size_of(g));
        }
    }
}

void
cpu_gemm_region(const CpuGemm *g, const void *a, const void *b, const void *packed,
                const void *bias, void *c, gint64 region)
{
    const gint64 size = size_of(g);
    GemmBlock block = { .gemm = g, .packed = packed, .bias = bias };
    block.row = region / g->n_across * g->rows;
    block.col = region % g->n_across * g->cols;
    block.rows = MIN(g->rows, g->m - block.row);
    block.cols = MIN(g->cols, g->n - block.col);
    char *first = (char *)c + (block.row * g->c_row + block.col) * size;
    const char *row = bias ? (const char *)bias + block.col * size : NULL;
    if (g->k == 0) {
        begin(g, row, first, block.rows, block.cols);
    } else if (g->blas) {
        blas_region(g, (const char *)a + block.row * g->a_row * size,
                    (const char *)b + block.col * g->b_col * size, row, first, block.rows,
                    block.cols);
    } else if (g->thin) {
        CpuGemm thin = *g;
        if (row != NULL) {
            begin(g, row, first, block.rows, block.cols);
            thin.accumulate = TRUE;
        }
        gemm_thin_run(&thin, a, b, c, block.col, block.cols);
    } else {
        own_region(g, a, b, first, block);
    }
}

void
cpu_gemm_run(const CpuGemm *gemm, const void *a, const void *b, void *c)
{
    for (gint64 i = 0; i < cpu_gemm_regions(gemm); i++) {
        cpu_gemm_region(gemm, a, b, NULL, NULL, c, i);
    }
}
