/* recurrent_panel.c: products with panels of packed weights, and sharing out panels and rows. */
#include "gemm_kernels.h"
#include "gemm_pack.h"
#include "recurrent.h"

/* What of a panel is multiplied at once stays in the first-level cache for all rows of a block; in the
 * second-level one where that would take many parts, each of which costs a beginning and an end. */
#define FIRST_BYTES (1 << 15)
#define SECOND_BYTES (1 << 18)
#define MOST_PARTS 4

/* Bytes that are fetched at once, and what is multiplied meanwhile: rows times k. */
#define LINE 64
#define LINE_WORK 48

/* Multiplications that a chunk should have at least. */
#define CHUNK_WORK 131072

/* Samples of a block; of one that goes through all steps on its own, and bytes of weights that a core keeps
 * in its second-level cache meanwhile. Where a step gives each thread so many panels and multiplications,
 * waiting for it costs less than reading all weights on every core for a part of the samples. */
#define MOST_ROWS 48
#define LEAST_APART 8
#define MOST_APART (3 << 19)
#define STEP_PANELS 6
#define STEP_WORK (1 << 21)

static gint64
size_of(const PanelProduct *p)
{
    return p->f64 ? sizeof(double) : sizeof(float);
}

PanelProduct
panel_product(gboolean f64, gint64 k, gint64 cols)
{
    const GemmKernels *kernels = &gemm_kernels[cpu_isa];
    const gint64 lanes = kernels->lanes[f64];
    gint64 vectors = kernels->vectors;
    while (cols / lanes % vectors != 0) {
        vectors--;
    }
    PanelProduct p = { f64, k, cols, vectors * lanes, 0 };
    p.deep = FIRST_BYTES / size_of(&p) / p.width;
    if (k > MOST_PARTS * p.deep) {
        p.deep = SECOND_BYTES / size_of(&p) / p.width;
    }
    return p;
}

void
panel_pack_rows(const PanelProduct *p, const void *w, gint64 n, gint64 first, gint64 room,
                void *panel)
{
    const gint64 lanes = gemm_kernels[cpu_isa].lanes[p->f64], size = size_of(p);
    for (gint64 j = 0; j < room; j += lanes) {
        const gint64 col = first + j, at = col / p->width * p->width * p->k + col % p->width;
        const GemmPart part = { p->f64, (const char *)w + j * p->k * size, 1, p->k };
        gemm_pack_columns(&part, p->k, CLAMP(n - j, 0, lanes), lanes, p->width,
                          (char *)panel + at * size);
    }
}

void
panel_pack_columns(const PanelProduct *p, const void *w, gint64 w_row, gint64 n, void *panel)
{
    const GemmPart part = { p->f64, w, w_row, 1 };
    gemm_pack_b(&part, p->k, n, p->width, panel);
}

/* Of so many rows, how many come next: what one call of the innermost product takes, or less so that all
 * such groups are about as large. */
static gint64
group_of(gint64 rows)
{
    const gint64 groups = (rows + GEMM_ROWS - 1) / GEMM_ROWS;
    return (rows + groups - 1) / groups;
}

/* The next lines of `ahead`, a few for so much of a product, so that none has to wait for the others. */
static void
fetch(PanelAhead *ahead, gint64 work)
{
    for (gint64 lines = work / LINE_WORK; lines > 0 && ahead->part < ahead->parts; lines--) {
        const PanelTarget *to = &ahead->to[ahead->part];
        __builtin_prefetch(to->at + ahead->row * to->row + ahead->byte, 1);
        ahead->byte += LINE;
        if (ahead->byte >= ahead->bytes) {
            ahead->byte = 0;
            ahead->row++;
        }
        if (ahead->row == ahead->rows) {
            ahead->row = 0;
            ahead->part++;
        }
    }
}

static void
multiply_block(const PanelProduct *p, const PanelRows *r, gint64 k, const char *b,
               PanelAhead *ahead)
{
    const GemmKernels *kernels = &gemm_kernels[cpu_isa];
    const gint64 size = size_of(p), vectors = p->width / kernels->lanes[p->f64];
    for (gint64 n, row = 0; row < r->rows; row += n) {
        n = group_of(r->rows - row);
        if (ahead != NULL) {
            fetch(ahead, n * k);
        }
        kernels->fn[p->f64][n - 1][vectors - 1](k, r->a + row * r->a_row * size, r->a_row, 1, b,
                                                p->width, r->c + row * r->c_row * size, r->c_row,
                                                r->from + row * r->from_row * size, r->from_row);
    }
}

void
panel_multiply(const PanelProduct *p, const PanelRows *rows, gint64 cols, const char *panel,
               PanelAhead *ahead)
{
    const gint64 size = size_of(p);
    gint64 k = 0;
    do {
        for (gint64 col = 0; col < cols; col += p->width) {
            PanelRows r = *rows;
            r.a += k * size;
            r.from = (k == 0 ? r.from : r.c) + col * size;
            r.from_row = k == 0 ? r.from_row : r.c_row;
            r.c += col * size;
            multiply_block(p, &r, MIN(p->deep, p->k - k),
                           panel + (col * p->k + k * p->width) * size, ahead);
        }
        k += p->deep;
    } while (k < p->k);
}

/* --- Running ---------------------------------------------------------------------------------- */

static gint64
parts_of(gint64 n, gint64 most)
{
    return (n + most - 1) / most;
}

RecurrentGrid
recurrent_grid(gint64 panels, gint64 samples, gint64 unit, gint64 bytes, gint64 cost)
{
    const gint64 threads = tn_pool_threads();
    const gint64 each = parts_of(samples, threads * parts_of(samples, threads * MOST_ROWS));
    const gboolean large =
        panels >= STEP_PANELS * threads && panels * samples * cost >= STEP_WORK * threads;
    const gboolean apart = each >= LEAST_APART && bytes <= MOST_APART && !large;
    const gint64 block = parts_of(apart ? each : MIN(samples, MOST_ROWS), unit) * unit;
    return (RecurrentGrid){ .panels = panels,
                            .samples = samples,
                            .block = block,
                            .apart = apart,
                            .per_chunk = parts_of(CHUNK_WORK, MAX(1, block * cost)) };
}

typedef struct {
    const RecurrentGrid *grid;
    gint64 first, end, step, blocks;
    RecurrentItemFn item;
    gconstpointer job;
} Walk;

static void
do_item(const Walk *walk, gint64 t, gint64 panel, gint64 block)
{
    const RecurrentGrid *grid = walk->grid;
    const gint64 row = block * grid->block;
    walk->item(walk->job, t, panel, row, MIN(grid->block, grid->samples - row));
}

static void
begin_chunk(const RecurrentGrid *grid)
{
    if (grid->begin != NULL) {
        grid->begin();
    }
}

static void
end_chunk(const RecurrentGrid *grid)
{
    if (grid->end != NULL) {
        grid->end();
    }
}

static TnStatus
block_chunk(gpointer data, gsize chunk, gsize n)
{
    const Walk *walk = data;
    (void)n;
    begin_chunk(walk->grid);
    for (gint64 t = walk->first; t != walk->end; t += walk->step) {
        for (gint64 panel = 0; panel < walk->grid->panels; panel++) {
            do_item(walk, t, panel, (gint64)chunk);
        }
    }
    end_chunk(walk->grid);
    return TN_OK;
}

static TnStatus
step_chunk(gpointer data, gsize chunk, gsize n)
{
    const Walk *walk = data;
    const RecurrentGrid *grid = walk->grid;
    const gint64 end = MIN(grid->panels * walk->blocks, ((gint64)chunk + 1) * grid->per_chunk);
    (void)n;
    begin_chunk(grid);
    for (gint64 i = (gint64)chunk * grid->per_chunk; i < end; i++) {
        do_item(walk, walk->first, i / walk->blocks, i % walk->blocks);
    }
    end_chunk(grid);
    return TN_OK;
}

TnStatus
recurrent_walk(const RecurrentGrid *grid, gint64 first, gint64 end, gint64 step,
               RecurrentItemFn item, gconstpointer job)
{
    Walk walk = { grid, first, end, step, parts_of(grid->samples, grid->block), item, job };
    if (grid->apart) {
        return tn_parallel_for((gsize)walk.blocks, block_chunk, &walk);
    }
    const gint64 items = grid->panels * walk.blocks;
    const gsize chunks = (gsize)parts_of(items, grid->per_chunk);
    TnStatus status = TN_OK;
    for (; walk.first != end && status == TN_OK; walk.first += step) {
        status = tn_parallel_for(chunks, step_chunk, &walk);
    }
    return status;
}

TnStatus
recurrent_panels(gint64 panels, RecurrentItemFn item, gconstpointer job)
{
    const RecurrentGrid grid = { .panels = panels, .samples = 1, .block = 1, .per_chunk = 1 };
    return recurrent_walk(&grid, 0, 1, 1, item, job);
}
