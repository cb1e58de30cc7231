/* gemm.c: products of matrices: regions, blocks of k, and packing where operands do not lie as the
 * innermost products want them (b's columns as neighbours, whole vectors of them). */
#include "gemm.h"

#include "blas.h"
#include "gemm_kernels.h"
#include "gemm_pack.h"
#include "gemm_thin.h"

/* What is packed at once: both copies stay in the second-level cache. They are made on the
 * stack. */
#define BLOCK_K GEMM_BLOCK_K
#define BLOCK_ROWS 192
#define BLOCK_COLS 256

/* Multiplications that a region should have at least. */
#define REGION_WORK 262144
#define MAX_COLS 512
#define PACKED_ROWS 48

/* A part of the result, and of k. */
typedef struct {
    const CpuGemm *gemm;
    const char *packed; /* all of b; NULL: a block packs what it needs */
    const char *bias;   /* NULL: none */
    gint64 row, rows, col, cols, k0, k;
} Block;

/* Both operands as a block reads them, packed or where they lie. */
typedef struct {
    const char *a, *b, *bias;
    gint64 a_row, a_col, a_group; /* a_group: from one group of rows to the next */
    gint64 b_row;
} Operands;

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

/* The set of innermost products for so many columns: narrow panels waste less with shorter
 * vectors. */
static const GemmKernels *
kernels_for(gint64 bytes)
{
    CpuIsa isa = bytes <= 16 ? CPU_PORTABLE : bytes <= 32 ? CPU_AVX2 : CPU_AVX512;
    return &gemm_kernels[MIN(isa, cpu_isa)];
}

/* Columns that a panel has, as many as one call of an innermost product takes. */
static gint64
panel_width(const CpuGemm *gemm)
{
    const GemmKernels *kernels = &gemm_kernels[cpu_isa];
    return kernels->lanes[gemm->f64] * kernels->vectors;
}

/* Whether panels of b are copied: columns apart, a part of a vector, or enough reuse to pay for the
 * copy. */
static gboolean
packs_b(const CpuGemm *gemm, gint64 rows, gint64 cols, gint64 width)
{
    return gemm->b_col != 1 || cols % width != 0 || (rows > 48 && gemm->b_row > 128);
}

/* Rows are read well where they lie, even a power of two apart: there are few of them at once. */
static gboolean
packs_a(const CpuGemm *gemm, gint64 cols)
{
    return gemm->k > 16 && cols > 64 && gemm->a_col != 1;
}

/* Moves the columns that there are from a panel's full rows, added to `from` if there is one. */
static void
store_edge(const CpuGemm *g, const void *edge, gint64 width, gint64 rows, gint64 cols, void *to,
           const void *from, gint64 from_row)
{
    for (gint64 r = 0; r < rows; r++) {
        for (gint64 j = 0; j < cols; j++) {
            const gint64 at = r * g->c_row + j, add = r * from_row + j, x = r * width + j;
            if (g->f64) {
                ((double *)to)[at] =
                    ((const double *)edge)[x] + (from ? ((const double *)from)[add] : 0);
            } else {
                ((float *)to)[at] =
                    ((const float *)edge)[x] + (from ? ((const float *)from)[add] : 0);
            }
        }
    }
}

/* One panel: every group of rows times its columns. */
static void
panel(const Block *block, const Operands *in, char *c, gint64 cols, const GemmKernels *kernels,
      gint64 width)
{
    const CpuGemm *g = block->gemm;
    const gboolean add = g->accumulate || block->k0 > 0;
    const gint64 from_row = add ? g->c_row : 0;
    gint vectors = (gint)(width / kernels->lanes[g->f64]);
    const char *a = in->a;
    double edge[GEMM_ROWS * 64];
    for (gint64 i = 0; i < block->rows; i += GEMM_ROWS) {
        gint64 rows = MIN(GEMM_ROWS, block->rows - i);
        char *to = c + i * g->c_row * size_of(g);
        GemmFn fn = kernels->fn[g->f64][rows - 1][vectors - 1];
        const char *from = add ? to : in->bias;
        if (cols == width) {
            fn(block->k, a, in->a_row, in->a_col, in->b, in->b_row, to, g->c_row, from, from_row);
        } else {
            fn(block->k, a, in->a_row, in->a_col, in->b, in->b_row, edge, width, NULL, 0);
            store_edge(g, edge, width, rows, cols, to, from, from_row);
        }
        a += in->a_group * size_of(g);
    }
}

/* cols columns of b from in->b on, all in panels of one width, `step` elements apart. */
static void
panels(const Block *block, Operands in, char *c, gint64 cols, const GemmKernels *kernels,
       gint64 width, gint64 step)
{
    for (gint64 j = 0; j < cols; j += width) {
        panel(block, &in, c + j * size_of(block->gemm), MIN(width, cols - j), kernels, width);
        in.b += step * size_of(block->gemm);
        in.bias = in.bias ? in.bias + width * size_of(block->gemm) : NULL;
    }
}

/* The same with the columns packed first. Apart, for its large frame is wanted only then. */
static G_GNUC_NO_INLINE void
packed_panels(const Block *block, Operands in, char *c, gint64 cols, const GemmKernels *kernels,
              gint64 width)
{
    const CpuGemm *g = block->gemm;
    guint8 packed[BLOCK_COLS * BLOCK_K * sizeof(double)] __attribute__((aligned(64)));
    GemmPart part = { g->f64, in.b, g->b_row, g->b_col };
    gemm_pack_b(&part, block->k, cols, width, packed);
    in.b = (const char *)packed;
    in.b_row = width;
    panels(block, in, c, cols, kernels, width, width * block->k);
}

/* b packed whole: blocks of k one after the other, in each the panels from left to right, the last one
 * as narrow as its vectors allow. */
typedef struct {
    gint64 full, last; /* columns in full panels, and of the one behind them */
    gint64 width;      /* of the last one */
    gint64 all;        /* columns with what widens the last one */
} Panels;

static Panels
panels_of(const CpuGemm *g)
{
    const gint64 most = panel_width(g), full = g->n / most * most, last = g->n - full;
    const gint64 width =
        last > 0 ? round_up(last, kernels_for(last * size_of(g))->lanes[g->f64]) : 0;
    return (Panels){ full, last, width, full + width };
}

/* Where the panel that begins with a column is, in the block of k from k0. */
static gint64
packed_at(const CpuGemm *g, gint64 k0, gint64 k, gint64 col)
{
    return (k0 * panels_of(g).all + k * col) * size_of(g);
}

gsize
cpu_gemm_packed_bytes(const CpuGemm *g)
{
    const gboolean pays = !g->blas && !g->thin && g->n_down > 1 && g->k > 0 && g->n > 0 &&
                          packs_b(g, g->rows, g->n, panel_width(g));
    return pays ? (gsize)(g->k * panels_of(g).all * size_of(g)) : 0;
}

gint64
cpu_gemm_pack_parts(const CpuGemm *g)
{
    return (g->k + BLOCK_K - 1) / BLOCK_K * ((g->n + BLOCK_COLS - 1) / BLOCK_COLS);
}

void
cpu_gemm_pack(const CpuGemm *g, const void *b, void *packed, gint64 part)
{
    const gint64 across = (g->n + BLOCK_COLS - 1) / BLOCK_COLS, col = part % across * BLOCK_COLS;
    const gint64 k0 = part / across * BLOCK_K, k = MIN(BLOCK_K, g->k - k0);
    const Panels panels = panels_of(g);
    const gint64 full = CLAMP(panels.full - col, 0, BLOCK_COLS);
    const char *from = (const char *)b + (k0 * g->b_row + col * g->b_col) * size_of(g);
    char *to = (char *)packed + packed_at(g, k0, k, col);
    if (full > 0) {
        const GemmPart columns = { g->f64, from, g->b_row, g->b_col };
        gemm_pack_b(&columns, k, full, panel_width(g), to);
    }
    if (panels.last > 0 && col + BLOCK_COLS > panels.full) {
        const GemmPart columns = { g->f64, from + full * g->b_col * size_of(g), g->b_row,
                                   g->b_col };
        gemm_pack_b(&columns, k, panels.last, panels.width, to + full * k * size_of(g));
    }
}

/* A block's columns, whole panels first, then what is left in shorter vectors. */
static void
block_columns(const Block *block, Operands in, const char *b, char *c)
{
    const CpuGemm *g = block->gemm;
    gint64 most = panel_width(g), size = size_of(g);
    for (gint64 col = 0; col < block->cols;) {
        gint64 left = block->cols - col, cols = MIN(left, BLOCK_COLS) / most * most;
        const GemmKernels *kernels = &gemm_kernels[cpu_isa];
        gint64 width = most, at = block->col + col;
        if (g->panel > 0) {
            left = MIN(left, g->panel - at % g->panel);
            cols = MIN(cols, left / most * most);
        }
        if (cols == 0) {
            cols = left;
            kernels = kernels_for(cols * size);
            width = round_up(cols, kernels->lanes[g->f64]);
        }
        char *to = c + (block->row * g->c_row + at) * size;
        in.b = b + cpu_gemm_b_at(g, block->k0, at) * size;
        in.b_row = g->b_row;
        in.bias = block->bias ? block->bias + at * size : NULL;
        if (block->packed != NULL) {
            in.b = block->packed + packed_at(g, block->k0, block->k, at);
            in.b_row = width;
            panels(block, in, to, cols, kernels, width, width * block->k);
        } else if (packs_b(g, block->rows, cols, width)) {
            packed_panels(block, in, to, cols, kernels, width);
        } else {
            panels(block, in, to, cols, kernels, width, width);
        }
        col += cols;
    }
}

static G_GNUC_NO_INLINE void
packed_block(const Block *block, const char *a, const char *b, char *c)
{
    const CpuGemm *g = block->gemm;
    guint8 packed[BLOCK_ROWS * BLOCK_K * sizeof(double)] __attribute__((aligned(64)));
    GemmPart part = { g->f64, a, g->a_row, g->a_col };
    gemm_pack_a(&part, block->rows, block->k, packed);
    Operands in = { (const char *)packed, NULL, NULL, 1, GEMM_ROWS, GEMM_ROWS * block->k, 0 };
    block_columns(block, in, b, c);
}

/* At most BLOCK_ROWS rows and BLOCK_K of k. */
static void
block_run(const Block *block, const char *a, const char *b, char *c)
{
    const CpuGemm *g = block->gemm;
    a += (block->row * g->a_row + block->k0 * g->a_col) * size_of(g);
    if (packs_a(g, block->cols)) {
        packed_block(block, a, b, c);
    } else {
        Operands in = { a, NULL, NULL, g->a_row, g->a_col, GEMM_ROWS * g->a_row, 0 };
        block_columns(block, in, b, c);
    }
}

/* --- Regions ---------------------------------------------------------------------------------- */

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
    gint64 width = panel_width(g), work = g->m * g->n * g->k;
    gint64 down = work > REGION_WORK ? (g->m + BLOCK_ROWS - 1) / BLOCK_ROWS : 1;
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
            block_run(&part, a, b, c);
        }
    }
}

void
cpu_gemm_region(const CpuGemm *g, const void *a, const void *b, const void *packed,
                const void *bias, void *c, gint64 region)
{
    const gint64 size = size_of(g);
    Block block = { .gemm = g, .packed = packed, .bias = bias };
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
        own_region(g, a, b, c, block);
    }
}

void
cpu_gemm_run(const CpuGemm *gemm, const void *a, const void *b, void *c)
{
    for (gint64 i = 0; i < cpu_gemm_regions(gemm); i++) {
        cpu_gemm_region(gemm, a, b, NULL, NULL, c, i);
    }
}
