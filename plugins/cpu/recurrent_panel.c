/* recurrent_panel.c: products with panels of packed weights, and sharing out panels and rows. */
#include "gemm_kernels.h"
#include "gemm_pack.h"
#include "recurrent.h"

/* What of a panel is multiplied at once: it stays in the first-level cache, for all rows. */
#define PANEL_BYTES 32768

/* Multiplications that a chunk should have at least. */
#define CHUNK_WORK 131072

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
    return (PanelProduct){ f64, k, cols, vectors * lanes };
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

/* Groups of rows as even as can be: a short last one would take as long as a full one. */
static void
multiply_block(const PanelProduct *p, gint64 rows, gint64 k, const char *a, gint64 a_row,
               const char *b, char *c, gint64 c_row)
{
    const GemmKernels *kernels = &gemm_kernels[cpu_isa];
    const gint vectors = (gint)(p->width / kernels->lanes[p->f64]);
    for (gint64 groups = (rows + GEMM_ROWS - 1) / GEMM_ROWS; groups > 0; groups--) {
        const gint64 n = (rows + groups - 1) / groups;
        kernels->fn[p->f64][n - 1][vectors - 1](k, a, a_row, 1, b, p->width, c, c_row, c, c_row);
        a += n * a_row * size_of(p);
        c += n * c_row * size_of(p);
        rows -= n;
    }
}

void
panel_multiply(const PanelProduct *p, gint64 rows, gint64 cols, const void *a, gint64 a_row,
               const void *panel, void *c, gint64 c_row)
{
    const gint64 size = size_of(p), most = PANEL_BYTES / size / p->width;
    for (gint64 k0 = 0; k0 < p->k; k0 += most) {
        for (gint64 col = 0; col < cols; col += p->width) {
            multiply_block(p, rows, MIN(most, p->k - k0), (const char *)a + k0 * size, a_row,
                           (const char *)panel + (col * p->k + k0 * p->width) * size,
                           (char *)c + col * size, c_row);
        }
    }
}

/* --- Running ---------------------------------------------------------------------------------- */

RecurrentGrid
recurrent_grid(gint64 panels, gint64 rows, gint64 cost)
{
    const gint64 most = MIN(rows, RECURRENT_ROWS), work = MAX(1, most * MAX(1, cost));
    return (RecurrentGrid){ panels, (rows + RECURRENT_ROWS - 1) / RECURRENT_ROWS,
                            (CHUNK_WORK + work - 1) / work };
}

typedef struct {
    const RecurrentGrid *grid;
    gint64 rows;
    RecurrentItemFn item;
    gpointer data;
} Job;

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const RecurrentGrid *grid = job->grid;
    const gint64 end = MIN(grid->panels * grid->blocks, ((gint64)chunk + 1) * grid->per_chunk);
    (void)n;
    for (gint64 i = (gint64)chunk * grid->per_chunk; i < end; i++) {
        const gint64 row = i % grid->blocks * RECURRENT_ROWS;
        job->item(job->data, i / grid->blocks, row, MIN(RECURRENT_ROWS, job->rows - row));
    }
    return TN_OK;
}

TnStatus
recurrent_run(const RecurrentGrid *grid, gint64 rows, RecurrentItemFn item, gpointer data)
{
    Job job = { grid, rows, item, data };
    const gint64 items = grid->panels * grid->blocks;
    return tn_parallel_for((gsize)((items + grid->per_chunk - 1) / grid->per_chunk), run_chunk,
                           &job);
}
