/* gemm.c: products of matrices: regions, blocks of k, and packing where operands do not lie as the innermost products
 * want them (b's columns as neighbours, whole vectors of them). */
#include "gemm.h"

#include "blas.h"
#include "gemm_kernels.h"

/* A block of k and of rows: both packed operands stay in the second-level cache. Packed on the stack. */
#define BLOCK_K 256
#define BLOCK_ROWS 96
#define BLOCK_COLS 64

/* Below this many multiplications one region is enough. */
#define ONE_REGION 131072

typedef struct {
    const CpuGemm *gemm;
    gint64 row, rows, col, cols, k0, k; /* what of c and of k */
} Block;

/* Columns that a panel has, as much as one call of an innermost product does. */
static gint64
panel_width(const CpuGemm *gemm)
{
    const GemmKernels *kernels = &gemm_kernels[cpu_isa];
    return (gemm->f64 ? kernels->lanes / 2 : kernels->lanes) * kernels->vectors;
}

/* Whether panels of b are copied: columns apart, a part of a vector, or enough reuse to pay for the copy. */
static gboolean
packs_b(const CpuGemm *gemm, gint64 rows, gint64 cols, gint64 lanes)
{
    return gemm->b_col != 1 || cols % lanes != 0 || (rows > 48 && gemm->b_row > 128);
}

static gboolean
packs_a(const CpuGemm *gemm)
{
    return gemm->a_col != 1 && gemm->n > 64 && gemm->k > 32;
}

#define DEFINE(T, suffix, member, HALF)                                                            \
    /* Rows in groups of GEMM_ROWS, within a group column by column. */                            \
    static void pack_a_##suffix(const Block *block, const T *a, T *to)                             \
    {                                                                                              \
        const CpuGemm *g = block->gemm;                                                            \
        for (gint64 i = 0; i < block->rows; i += GEMM_ROWS) {                                      \
            gint64 rows = MIN(GEMM_ROWS, block->rows - i);                                         \
            const T *from = a + (block->row + i) * g->a_row + block->k0 * g->a_col;                \
            for (gint64 p = 0; p < block->k; p++, from += g->a_col, to += GEMM_ROWS) {             \
                for (gint64 r = 0; r < rows; r++) {                                                \
                    to[r] = from[r * g->a_row];                                                    \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    /* cols columns from `col`, `width` apart, zeros after the last. */                            \
    static void pack_b_##suffix(const Block *block, const T *b, gint64 col, gint64 cols,           \
                                gint64 width, T *to)                                               \
    {                                                                                              \
        const CpuGemm *g = block->gemm;                                                            \
        const T *from = b + block->k0 * g->b_row + col * g->b_col;                                 \
        if (g->b_row == 1) {                                                                       \
            for (gint64 j = 0; j < width; j++) {                                                   \
                for (gint64 p = 0; p < block->k; p++) {                                            \
                    to[p * width + j] = j < cols ? from[j * g->b_col + p] : 0;                     \
                }                                                                                  \
            }                                                                                      \
            return;                                                                                \
        }                                                                                          \
        for (gint64 p = 0; p < block->k; p++, from += g->b_row, to += width) {                     \
            if (g->b_col == 1) {                                                                   \
                memcpy(to, from, (gsize)cols * sizeof(T));                                         \
            } else {                                                                               \
                for (gint64 j = 0; j < cols; j++) {                                                \
                    to[j] = from[j * g->b_col];                                                    \
                }                                                                                  \
            }                                                                                      \
            for (gint64 j = cols; j < width; j++) {                                                \
                to[j] = 0;                                                                         \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    /* One panel: every group of rows times `vectors` vectors of columns. */                       \
    static void panel_##suffix(const Block *block, const T *a, gint64 a_row, gint64 a_col,         \
                               gint64 a_group, const T *b, gint64 b_row, T *c, gint64 cols,        \
                               gint vectors, gint64 lanes)                                         \
    {                                                                                              \
        const CpuGemm *g = block->gemm;                                                            \
        gboolean add = g->accumulate || block->k0 > 0;                                             \
        gint64 width = vectors * lanes;                                                            \
        for (gint64 i = 0; i < block->rows; i += GEMM_ROWS) {                                      \
            gint64 rows = MIN(GEMM_ROWS, block->rows - i);                                         \
            T *to = c + i * g->c_row;                                                              \
            if (cols == width) {                                                                   \
                gemm_kernels[cpu_isa].member[rows - 1][vectors - 1](block->k, a, a_row, a_col, b,  \
                                                                    b_row, to, g->c_row, add);     \
            } else {                                                                               \
                T edge[GEMM_ROWS * BLOCK_COLS];                                                    \
                gemm_kernels[cpu_isa].member[rows - 1][vectors - 1](block->k, a, a_row, a_col, b,  \
                                                                    b_row, edge, width, FALSE);    \
                for (gint64 r = 0; r < rows; r++) {                                                \
                    for (gint64 j = 0; j < cols; j++) {                                            \
                        T sum = edge[r * width + j];                                               \
                        to[r * g->c_row + j] = add ? to[r * g->c_row + j] + sum : sum;             \
                    }                                                                              \
                }                                                                                  \
            }                                                                                      \
            a += a_group;                                                                          \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    static void block_##suffix(const Block *block, const T *a, const T *b, T *c)                   \
    {                                                                                              \
        const CpuGemm *g = block->gemm;                                                            \
        T packed_a[BLOCK_ROWS * BLOCK_K] __attribute__((aligned(64)));                             \
        T packed_b[BLOCK_COLS * BLOCK_K] __attribute__((aligned(64)));                             \
        gint64 lanes = gemm_kernels[cpu_isa].lanes / (HALF), most = panel_width(g);                \
        gboolean pack_a = packs_a(g);                                                              \
        const T *from_a = pack_a ? packed_a : a + block->row * g->a_row + block->k0 * g->a_col;    \
        gint64 a_row = pack_a ? 1 : g->a_row, a_col = pack_a ? GEMM_ROWS : g->a_col;               \
        gint64 a_group = pack_a ? GEMM_ROWS * block->k : GEMM_ROWS * g->a_row;                     \
        if (pack_a) {                                                                              \
            pack_a_##suffix(block, a, packed_a);                                                   \
        }                                                                                          \
        for (gint64 j = 0; j < block->cols; j += most) {                                           \
            gint64 cols = MIN(most, block->cols - j), col = block->col + j;                        \
            gint vectors = (gint)((cols + lanes - 1) / lanes);                                     \
            gint64 width = vectors * lanes, b_row = g->b_row;                                      \
            const T *from_b = b + block->k0 * g->b_row + col;                                      \
            if (packs_b(g, block->rows, cols, lanes)) {                                            \
                pack_b_##suffix(block, b, col, cols, width, packed_b);                             \
                from_b = packed_b;                                                                 \
                b_row = width;                                                                     \
            }                                                                                      \
            panel_##suffix(block, from_a, a_row, a_col, a_group, from_b, b_row,                    \
                           c + block->row * g->c_row + col, cols, vectors, lanes);                 \
        }                                                                                          \
    }

DEFINE(float, f32, f32, 1)
DEFINE(double, f64, f64, 2)

/* --- Regions ------------------------------------------------------------------------------------------------ */

/* Leading dimension and transposition of a matrix for BLAS; FALSE if it has no neighbours in either direction. */
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
    return cpu_blas.available && g->m < G_MAXINT && g->n < G_MAXINT && g->k < G_MAXINT &&
           g->c_row < G_MAXINT && blas_layout(g->m, g->k, g->a_row, g->a_col, &trans, &ld) &&
           blas_layout(g->k, g->n, g->b_row, g->b_col, &trans, &ld);
}

static gint64
round_up(gint64 value, gint64 to)
{
    return (value + to - 1) / to * to;
}

/* Regions of about the same size, at least a few where there is work for several threads. */
void
cpu_gemm_plan(CpuGemm *g)
{
    gint64 width = panel_width(g), work = g->m * g->n * g->k;
    g->blas = FALSE;
    g->rows = MAX(1, g->m);
    g->cols = MAX(1, g->n);
    if (work > ONE_REGION) {
        gint64 wanted = CLAMP(work / ONE_REGION, 2, 16);
        gint64 panels = (g->n + width - 1) / width;
        if (panels >= wanted || panels * width > g->m) {
            gint64 across = MIN(panels, wanted);
            g->cols = round_up((g->n + across - 1) / across, width);
        }
        gint64 across = (g->n + g->cols - 1) / g->cols;
        gint64 down = MAX(1, wanted / across);
        g->rows = round_up((g->m + down - 1) / down, GEMM_ROWS);
    }
    g->n_down = (g->m + g->rows - 1) / g->rows;
    g->n_across = (g->n + g->cols - 1) / g->cols;
    g->blas = work > ONE_REGION * 4 && fits_blas(g);
}

static void
blas_region(const CpuGemm *g, const char *a, const char *b, char *c, gint64 rows, gint64 cols)
{
    int trans_a = 0, trans_b = 0, lda = 0, ldb = 0;
    blas_layout(g->m, g->k, g->a_row, g->a_col, &trans_a, &lda);
    blas_layout(g->k, g->n, g->b_row, g->b_col, &trans_b, &ldb);
    if (g->f64) {
        cpu_blas.dgemm(BLAS_ROW_MAJOR, trans_a, trans_b, (int)rows, (int)cols, (int)g->k, 1,
                       (const double *)a, lda, (const double *)b, ldb, g->accumulate, (double *)c,
                       (int)g->c_row);
    } else {
        cpu_blas.sgemm(BLAS_ROW_MAJOR, trans_a, trans_b, (int)rows, (int)cols, (int)g->k, 1,
                       (const float *)a, lda, (const float *)b, ldb, (float)g->accumulate,
                       (float *)c, (int)g->c_row);
    }
}

static void
own_region(const CpuGemm *g, const void *a, const void *b, void *c, Block block)
{
    gint64 rows_end = block.row + block.rows;
    for (block.k0 = 0; block.k0 < g->k; block.k0 += BLOCK_K) {
        block.k = MIN(BLOCK_K, g->k - block.k0);
        for (gint64 row = block.row; row < rows_end; row += BLOCK_ROWS) {
            Block part = block;
            part.row = row;
            part.rows = MIN(BLOCK_ROWS, rows_end - row);
            if (g->f64) {
                block_f64(&part, a, b, c);
            } else {
                block_f32(&part, a, b, c);
            }
        }
    }
}

void
cpu_gemm_region(const CpuGemm *g, const void *a, const void *b, void *c, gint64 region)
{
    gsize size = g->f64 ? sizeof(double) : sizeof(float);
    Block block = { .gemm = g };
    block.row = region / g->n_across * g->rows;
    block.col = region % g->n_across * g->cols;
    block.rows = MIN(g->rows, g->m - block.row);
    block.cols = MIN(g->cols, g->n - block.col);
    if (g->k == 0) {
        for (gint64 i = 0; !g->accumulate && i < block.rows; i++) {
            memset((char *)c + (gsize)((block.row + i) * g->c_row + block.col) * size, 0,
                   (gsize)block.cols * size);
        }
    } else if (g->blas) {
        blas_region(g, (const char *)a + block.row * g->a_row * (gint64)size,
                    (const char *)b + block.col * g->b_col * (gint64)size,
                    (char *)c + (block.row * g->c_row + block.col) * (gint64)size, block.rows,
                    block.cols);
    } else {
        own_region(g, a, b, c, block);
    }
}

void
cpu_gemm_run(const CpuGemm *gemm, const void *a, const void *b, void *c)
{
    for (gint64 i = 0; i < cpu_gemm_regions(gemm); i++) {
        cpu_gemm_region(gemm, a, b, c, i);
    }
}
