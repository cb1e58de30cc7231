/* gemm_block.c: a block of a product: panels of columns, each times every group of rows. What does not lie as
 * the innermost products want it (b's columns as neighbours, whole vectors of them, not many lines on the same
 * places of the cache) is packed, b a panel at a time, so that it is still in the first-level cache
 * when it is used. Operands come from the third-level cache in every step of a training run: while a panel is
 * multiplied, what the next one is made of is fetched. Of a result that is only worked on (GemmAfter) each part
 * is handed on as it comes, and what that work reads is fetched instead. */
#include "gemm_block.h"

#include "gemm_kernels.h"
#include "gemm_pack.h"

/* Bytes of a row of the widest panel: four vectors. */
#define PANEL_ROW 256
/* Places of k from which on fetching ahead is worth its own cost. */
#define FETCH_K 64
/* Columns that are packed at once where all of b is: a multiple of every panel's width, so that all parts begin
 * with a panel. */
#define PACK_COLS 256

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

/* Neighbouring columns of a block that are computed together; width: with what fills the last vector. */
typedef struct {
    const GemmKernels *kernels;
    gint64 col, cols, width; /* col: in the whole matrix */
} Panel;

/* Both operands as a panel reads them, packed or where they lie. */
typedef struct {
    const char *a, *b, *bias;
    gint64 a_row, a_col, a_group; /* a_group: from one group of rows to the next */
    gint64 b_row;
} Operands;

/* A part of the result: up to GEMM_ROWS rows of a panel. */
typedef struct {
    gint64 row, rows;
    const char *a, *from; /* from: is added; NULL: nothing */
    char *to;
    gint64 from_row, to_row;
} Part;

/* The set of innermost products for so many columns: narrow panels waste less with shorter
 * vectors. */
static const GemmKernels *
kernels_for(gint64 bytes)
{
    CpuIsa isa = bytes <= 16 ? CPU_PORTABLE : bytes <= 32 ? CPU_AVX2 : CPU_AVX512;
    return &gemm_kernels[MIN(isa, cpu_isa)];
}

gint64
gemm_panel_width(const CpuGemm *gemm)
{
    const GemmKernels *kernels = &gemm_kernels[cpu_isa];
    return kernels->lanes[gemm->f64] * kernels->vectors;
}

/* The panel that begins so many columns into a block. */
static Panel
panel_from(const GemmBlock *block, gint64 col)
{
    const CpuGemm *g = block->gemm;
    const gint64 most = gemm_panel_width(g), at = block->col + col;
    const gint64 within = g->panel > 0 ? g->panel - at % g->panel : G_MAXINT64;
    const gint64 left = MIN(block->cols - col, within);
    if (left >= most) {
        return (Panel){ &gemm_kernels[cpu_isa], at, most, most };
    }
    const GemmKernels *kernels = kernels_for(left * size_of(g));
    return (Panel){ kernels, at, left, round_up(left, kernels->lanes[g->f64]) };
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
#define STORE_EDGE(T, suffix)                                                                      \
    static void store_edge_##suffix(const T *edge, gint64 width, gint64 rows, gint64 cols, T *to,  \
                                    gint64 to_row, const T *from, gint64 from_row)                 \
    {                                                                                              \
        for (gint64 r = 0; r < rows; r++, edge += width, to += to_row) {                           \
            if (from == NULL) {                                                                    \
                memcpy(to, edge, (gsize)cols * sizeof(T));                                         \
                continue;                                                                          \
            }                                                                                      \
            CPU_LOOP                                                                               \
            for (gint64 j = 0; j < cols; j++) {                                                    \
                to[j] = edge[j] + from[j];                                                         \
            }                                                                                      \
            from += from_row;                                                                      \
        }                                                                                          \
    }
STORE_EDGE(float, f32)
STORE_EDGE(double, f64)

static void
store_edge(const CpuGemm *g, const void *edge, const Panel *panel, const Part *part)
{
    if (g->f64) {
        store_edge_f64(edge, panel->width, part->rows, panel->cols, (double *)(void *)part->to,
                       part->to_row, (const double *)(const void *)part->from, part->from_row);
    } else {
        store_edge_f32(edge, panel->width, part->rows, panel->cols, (float *)(void *)part->to,
                       part->to_row, (const float *)(const void *)part->from, part->from_row);
    }
}

/* --- All of b ---------------------------------------------------------------------------------- */

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
    const gint64 most = gemm_panel_width(g), full = g->n / most * most, last = g->n - full;
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
    /* Panels of b are no whole matrix; they lie well as they are. */
    const gboolean pays = !g->blas && !g->thin && g->panel == 0 && g->n_down > 1 && g->k > 0 &&
                          g->n > 0 && packs_b(g, g->rows, g->n, gemm_panel_width(g));
    return pays ? (gsize)(g->k * panels_of(g).all * size_of(g)) : 0;
}

gint64
cpu_gemm_pack_parts(const CpuGemm *g)
{
    return (g->k + GEMM_BLOCK_K - 1) / GEMM_BLOCK_K * ((g->n + PACK_COLS - 1) / PACK_COLS);
}

void
cpu_gemm_pack(const CpuGemm *g, const void *b, void *packed, gint64 part)
{
    const gint64 across = (g->n + PACK_COLS - 1) / PACK_COLS, col = part % across * PACK_COLS;
    const gint64 k0 = part / across * GEMM_BLOCK_K, k = MIN(GEMM_BLOCK_K, g->k - k0);
    const Panels panels = panels_of(g);
    const gint64 full = CLAMP(panels.full - col, 0, PACK_COLS);
    const char *from = (const char *)b + (k0 * g->b_row + col * g->b_col) * size_of(g);
    char *to = (char *)packed + packed_at(g, k0, k, col);
    if (full > 0) {
        const GemmPart columns = { g->f64, from, g->b_row, g->b_col };
        gemm_pack_b(&columns, k, full, gemm_panel_width(g), to);
    }
    if (panels.last > 0 && col + PACK_COLS > panels.full) {
        const GemmPart columns = { g->f64, from + full * g->b_col * size_of(g), g->b_row,
                                   g->b_col };
        gemm_pack_b(&columns, k, panels.last, panels.width, to + full * k * size_of(g));
    }
}

/* --- A block ----------------------------------------------------------------------------------- */

/* Where a panel's part of b is, before a block packs it. */
static GemmNext
source_of(const GemmBlock *block, const Panel *panel, const char *b)
{
    const CpuGemm *g = block->gemm;
    const gint64 size = size_of(g);
    const char *from = b + cpu_gemm_b_at(g, block->k0, panel->col) * size;
    if (block->packed != NULL) {
        from = block->packed + packed_at(g, block->k0, block->k, panel->col);
        return gemm_next(from, 1, 0, block->k * panel->width * size);
    }
    if (g->b_col == 1) {
        return gemm_next(from, block->k, g->b_row * size, panel->cols * size);
    }
    return gemm_next(from, g->b_row == 1 ? panel->cols : 0, g->b_col * size, block->k * size);
}

/* What is read after the panel that ends before column `col` of a block: the next one of it, or the first with
 * the next part of k. */
static GemmNext
source_after(const GemmBlock *block, gint64 col, const char *b)
{
    GemmBlock next = *block;
    if (col >= block->cols) {
        next.k0 += block->k;
        next.k = MIN(GEMM_BLOCK_K, block->gemm->k - next.k0);
        col = 0;
    }
    if (next.k <= 0) {
        return (GemmNext){ .rows = 0 };
    }
    const Panel panel = panel_from(&next, col);
    return source_of(&next, &panel, b);
}

/* What the work after a block's parts reads for the part that follows the one from `row` on: the next rows,
 * the first ones of the next panel, or what is likely to be the thread's next block. */
static GemmNext
after_next(const GemmBlock *block, const Panel *panel, gint64 row)
{
    const CpuGemm *g = block->gemm;
    const gint64 size = size_of(g), end = block->row + block->rows;
    gint64 col = panel->col;
    row += GEMM_ROWS;
    if (row >= end) {
        row = block->row;
        col += panel->cols;
    }
    if (col >= block->col + block->cols) {
        row = end;
        col = block->col;
    }
    GemmNext next =
        gemm_next(block->after->works_on + (row * g->n + col) * size, MIN(GEMM_ROWS, g->m - row),
                  g->n * size, MIN(panel->cols, g->n - col) * size);
    next.also[0] = block->after->also[0];
    next.also[1] = block->after->also[1];
    return next;
}

/* The product of GEMM_ROWS rows and a whole panel, and the memory that is fetched meanwhile. */
static void
multiply_whole(const GemmBlock *block, const Operands *in, const Panel *panel, const Part *part,
               GemmNext *next)
{
    const CpuGemm *g = block->gemm;
    GemmNextFn fn = panel->kernels->next[g->f64];
    GemmNext soon;
    if (block->after != NULL) {
        fn = panel->kernels->next_three;
        soon = after_next(block, panel, part->row);
        next = &soon;
    } else if (block->k0 == 0) {
        const gint64 size = size_of(g), left = block->row + block->rows - part->row - GEMM_ROWS;
        soon = gemm_next(part->to + GEMM_ROWS * g->c_row * size, MIN(left, GEMM_ROWS),
                         g->c_row * size, panel->cols * size);
        next = &soon;
    }
    fn(block->k, part->a, in->a_row, in->a_col, in->b, in->b_row, part->to, part->to_row,
       part->from, part->from_row, next);
}

static void
multiply_part(const GemmBlock *block, const Operands *in, const Panel *panel, const Part *part,
              GemmNext *next)
{
    const CpuGemm *g = block->gemm;
    const gint vectors = (gint)(panel->width / panel->kernels->lanes[g->f64]);
    const gboolean whole = panel->cols == panel->width;
    const GemmFn fn = panel->kernels->fn[g->f64][part->rows - 1][vectors - 1];
    guint8 edge[GEMM_ROWS * PANEL_ROW] __attribute__((aligned(64)));
    if (whole && vectors == panel->kernels->vectors && block->k >= FETCH_K &&
        part->rows == GEMM_ROWS) {
        multiply_whole(block, in, panel, part, next);
    } else if (whole) {
        fn(block->k, part->a, in->a_row, in->a_col, in->b, in->b_row, part->to, part->to_row,
           part->from, part->from_row);
    } else {
        fn(block->k, part->a, in->a_row, in->a_col, in->b, in->b_row, edge, panel->width, NULL, 0);
        store_edge(g, edge, panel, part);
    }
}

/* One panel: every group of rows times its columns. c: its first element. */
static void
multiply(const GemmBlock *block, const Operands *in, const Panel *panel, char *c, GemmNext next)
{
    const CpuGemm *g = block->gemm;
    const gint64 size = size_of(g), end = block->row + block->rows;
    const gboolean add = g->accumulate || block->k0 > 0;
    guint8 result[GEMM_ROWS * PANEL_ROW] __attribute__((aligned(64)));
    Part part = { .row = block->row, .a = in->a, .from_row = add ? g->c_row : 0 };
    for (; part.row < end; part.row += GEMM_ROWS) {
        part.rows = MIN(GEMM_ROWS, end - part.row);
        part.from = add ? c : in->bias;
        part.to = block->after != NULL ? (char *)result : c;
        part.to_row = block->after != NULL ? panel->width : g->c_row;
        multiply_part(block, in, panel, &part, &next);
        if (block->after != NULL) {
            block->after->run(block->after, part.row, part.rows, panel->col, panel->cols,
                              (const float *)result, panel->width);
        }
        part.a += in->a_group * size;
        c += GEMM_ROWS * g->c_row * size;
    }
}

/* The same with the columns packed first. Apart, for its large frame is wanted only then. */
static G_GNUC_NO_INLINE void
multiply_packed(const GemmBlock *block, Operands in, const Panel *panel, char *c, GemmNext next)
{
    const CpuGemm *g = block->gemm;
    guint8 packed[PANEL_ROW * GEMM_BLOCK_K] __attribute__((aligned(64)));
    GemmPart part = { g->f64, in.b, g->b_row, g->b_col };
    gemm_pack_b(&part, block->k, panel->cols, panel->width, packed);
    in.b = (const char *)packed;
    in.b_row = panel->width;
    multiply(block, &in, panel, c, next);
}

static void
block_columns(const GemmBlock *block, Operands in, const char *b, char *c)
{
    const CpuGemm *g = block->gemm;
    const gint64 size = size_of(g);
    for (gint64 col = 0; col < block->cols;) {
        const Panel panel = panel_from(block, col);
        char *to = c + (panel.col - block->col) * size;
        const GemmNext next = block->k >= FETCH_K ? source_after(block, col + panel.cols, b)
                                                  : (GemmNext){ .rows = 0 };
        in.b = source_of(block, &panel, b).at;
        in.b_row = block->packed ? panel.width : g->b_row;
        in.bias = block->bias ? block->bias + panel.col * size : NULL;
        if (block->packed == NULL && packs_b(g, block->rows, panel.cols, panel.width)) {
            multiply_packed(block, in, &panel, to, next);
        } else {
            multiply(block, &in, &panel, to, next);
        }
        col += panel.cols;
    }
}

static G_GNUC_NO_INLINE void
packed_block(const GemmBlock *block, const char *a, const char *b, char *c)
{
    const CpuGemm *g = block->gemm;
    guint8 packed[GEMM_BLOCK_ROWS * GEMM_BLOCK_K * sizeof(double)] __attribute__((aligned(64)));
    GemmPart part = { g->f64, a, g->a_row, g->a_col };
    gemm_pack_a(&part, block->rows, block->k, packed);
    const Operands in = {
        .a = (const char *)packed, .a_row = 1, .a_col = GEMM_ROWS, .a_group = GEMM_ROWS * block->k
    };
    block_columns(block, in, b, c);
}

void
gemm_block_run(const GemmBlock *block, const char *a, const char *b, char *c)
{
    const CpuGemm *g = block->gemm;
    a += (block->row * g->a_row + block->k0 * g->a_col) * size_of(g);
    if (packs_a(g, block->cols)) {
        packed_block(block, a, b, c);
    } else {
        const Operands in = {
            .a = a, .a_row = g->a_row, .a_col = g->a_col, .a_group = GEMM_ROWS * g->a_row
        };
        block_columns(block, in, b, c);
    }
}
