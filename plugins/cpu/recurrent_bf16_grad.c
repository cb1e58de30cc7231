/* recurrent_bf16_grad.c: back through the steps of rnn, lstm and gru of bf16 in one call, as
 * recurrent_grad.c does it for f32. Gradients of sums are rounded to bf16, as they are given, before the
 * product with the weights; gradients of states are f32 from step to step. */
#include "recurrent.h"
#include "recurrent_tiles.h"
#include "tables.h"

#include <tenon/nn.h>

#define FASTER 8

typedef struct {
    RecurrentBackSizes s;
    gint64 rows; /* samples, in whole blocks */
    TileProduct product;
    gboolean copies; /* the sums' gradients are not as products read them */
    gint64 bytes;    /* of packed weights */
    /* In scratch, behind the weights. f32: later_at: [panels, rows, units]; g_at, state_at, dc_at: [samples,
     * hidden]; sums_at: [2, samples, all]; none_at: [hidden], no gradient. sums_at: what copies_at [2, rows, padded],
     * bf16, is made of. */
    gsize later_at, g_at, state_at, dc_at, sums_at, none_at, copies_at;
    RecurrentBackFn fn;
} Plan;

typedef struct {
    const Plan *plan;
    char *const *in, *const *out;
    char *scratch;
} Job;

static float *
f32_at(const Job *job, gsize at, gint64 i)
{
    return (float *)(void *)(job->scratch + at) + i;
}

static const guint16 *
in_bf16(const Job *job, gint i, gint64 at)
{
    return (const guint16 *)(const void *)job->in[i] + at;
}

/* --- Before the steps ------------------------------------------------------------------------- */

static void
pack_panel(gconstpointer data, gint64 t, gint64 panel, gint64 row, gint64 rows)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 unit = panel * p->s.units;
    (void)t, (void)row, (void)rows;
    tile_pack_columns(&p->product, in_bf16(job, RECURRENT_W_HH, unit), p->s.hidden,
                      MIN(p->s.units, p->s.hidden - unit),
                      (void *)(job->scratch + panel * tile_bytes(&p->product)));
}

/* n times -0, to which anything may be added. */
static void
clear(gint64 n, float *to)
{
    for (gint64 i = 0; i < n; i++) {
        to[i] = -0.0f;
    }
}

static TnStatus
prepare_steps(const Job *job)
{
    const Plan *p = job->plan;
    clear(p->s.panels * p->rows * p->s.units, f32_at(job, p->later_at, 0));
    clear(p->s.hidden, f32_at(job, p->none_at, 0));
    if (p->s.cell == CELL_LSTM) {
        clear(p->s.samples * p->s.hidden, f32_at(job, p->dc_at, 0));
    }
    if (p->copies) {
        memset(job->scratch + p->copies_at, 0, (gsize)(2 * p->rows * p->product.row) * 2);
    }
    return recurrent_panels(p->s.panels, pack_panel, job);
}

/* --- Steps ------------------------------------------------------------------------------------ */

/* The sums' gradients that w_hh gets. */
static guint16 *
sums_out(const Job *job, gint k, gint64 t, gint64 row)
{
    const Plan *p = job->plan;
    return (guint16 *)(void *)job->out[k] + (t * p->s.samples + row) * p->s.all;
}

static guint16 *
copy_of_sums(const Job *job, gint64 t, gint64 row)
{
    const Plan *p = job->plan;
    return (guint16 *)(void *)(job->scratch + p->copies_at) +
           (t % 2 * p->rows + row) * p->product.row;
}

/* Units of a state at step t (-1: the first) as f32; lstm's cells are. */
static const float *
state_of(const Job *job, gint64 t, gint64 row, gint64 rows, gint64 unit, gint64 units)
{
    const Plan *p = job->plan;
    const gint64 at = ((MAX(t, 0) * p->s.samples) + row) * p->s.hidden + unit;
    if (p->s.cell == CELL_LSTM && t >= 0) {
        return (const float *)(const void *)job->in[RECURRENT_STATES] + at;
    }
    float *to = f32_at(job, p->state_at, row * p->s.hidden + unit);
    tile_widen(rows, units, in_bf16(job, t < 0 ? RECURRENT_FIRST : RECURRENT_STATES, at),
               p->s.hidden, to, p->s.hidden);
    return to;
}

/* Rounds what a step gives for output k; sums: as the gates' function left it. */
static void
give_sums(const Job *job, gint k, gint64 t, gint64 row, gint64 rows, gint64 unit, gint64 units,
          const float *sums)
{
    const Plan *p = job->plan;
    const gboolean last = k == (p->s.cell == CELL_GRU);
    for (gint64 at = 0; at < p->s.all; at += p->s.hidden) {
        tile_narrow(rows, units, sums + at, p->s.all, sums_out(job, k, t, row) + at + unit,
                    p->s.all);
        if (p->copies && last) {
            tile_narrow(rows, units, sums + at, p->s.all, copy_of_sums(job, t, row) + at + unit,
                        p->product.row);
        }
    }
}

static void
step(const Job *job, gint64 t, gint64 row, gint64 rows, gint64 unit, float *later)
{
    const Plan *p = job->plan;
    const gboolean gated = p->s.cell == CELL_LSTM || p->s.cell == CELL_GRU,
                   gru = p->s.cell == CELL_GRU;
    const gint64 units = MIN(p->s.units, p->s.hidden - unit), first = t * p->s.samples + row;
    const gint64 at = first * p->s.hidden + unit, state = row * p->s.hidden + unit;
    float *g = f32_at(job, p->g_at, state);
    float *sums = f32_at(job, p->sums_at, row * p->s.all + unit);
    float *sums_h = sums + p->s.samples * p->s.all;
    tile_widen(rows, units, in_bf16(job, RECURRENT_AFTER_STATES + gated, at), p->s.hidden, g,
               p->s.hidden);
    const RecurrentBack back = {
        .rows = rows,
        .units = units,
        .hidden = p->s.hidden,
        .later = later,
        .width = p->s.units,
        .g = g,
        .g_cells = p->s.g_cells ? (float *)(void *)job->in[RECURRENT_AFTER_STATES + 2] + at
                                : f32_at(job, p->none_at, 0),
        .g_cells_row = p->s.g_cells ? p->s.hidden : 0,
        .now = gru ? NULL : state_of(job, t, row, rows, unit, units),
        .before = gated ? state_of(job, t - 1, row, rows, unit, units) : NULL,
        .gates = gated ? (float *)(void *)job->in[RECURRENT_AFTER_STATES] +
                             first * 4 * p->s.hidden + unit
                       : NULL,
        .dc = p->s.cell == CELL_LSTM ? f32_at(job, p->dc_at, state) : NULL,
        .dsums = sums,
        .dsums_h = gru ? sums_h : NULL,
    };
    p->fn(&back);
    give_sums(job, 0, t, row, rows, unit, units, sums);
    if (gru) {
        give_sums(job, 1, t, row, rows, unit, units, sums_h);
    }
}

static void
give_states(const Job *job, gint64 row, gint64 rows, gint64 unit, const float *later)
{
    const Plan *p = job->plan;
    const gint64 units = MIN(p->s.units, p->s.hidden - unit), at = row * p->s.hidden + unit;
    guint16 *dh = (guint16 *)(void *)job->out[p->s.cell == CELL_GRU ? 2 : 1];
    tile_narrow(rows, units, later, p->s.units, dh + at, p->s.hidden);
    if (p->s.cell == CELL_LSTM) {
        tile_narrow(rows, units, f32_at(job, p->dc_at, at), p->s.hidden,
                    (guint16 *)(void *)job->out[2] + at, p->s.hidden);
    }
}

/* At most 16 samples. Step -1: what the first one gives to the state before it. */
static void
back_block(const Job *job, gint64 t, gint64 panel, gint64 row, gint64 rows)
{
    const Plan *p = job->plan;
    const gint64 unit = panel * p->s.units;
    float *later = f32_at(job, p->later_at, (panel * p->rows + row) * p->s.units);
    if (t < p->s.steps - 1) {
        const guint16 *sums = p->copies ? copy_of_sums(job, t + 1, row)
                                        : sums_out(job, p->s.cell == CELL_GRU, t + 1, row);
        tile_multiply(&p->product, sums, p->product.row,
                      (const void *)(job->scratch + panel * tile_bytes(&p->product)), later,
                      p->s.units, later, p->s.units);
    }
    if (t >= 0) {
        step(job, t, row, rows, unit, later);
    } else {
        give_states(job, row, rows, unit, later);
    }
}

static void
back_panel(gconstpointer data, gint64 t, gint64 panel, gint64 row, gint64 rows)
{
    for (; rows > 0; row += TILE_ROWS, rows -= TILE_ROWS) {
        back_block(data, t, panel, row, MIN(TILE_ROWS, rows));
    }
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *p = state;
    RecurrentGrid grid = recurrent_grid(p->s.panels, p->s.samples, TILE_ROWS, p->bytes,
                                        p->product.k * p->s.units / FASTER);
    const Job job = { .plan = p,
                      .in = (char *const *)run->in,
                      .out = (char *const *)run->out,
                      .scratch = run->scratch };
    grid.begin = tile_begin;
    grid.end = tile_end;
    const TnStatus status = prepare_steps(&job);
    return status == TN_OK ? recurrent_walk(&grid, p->s.steps - 1, -2, -1, back_panel, &job)
                           : status;
}

/* --- Preparing -------------------------------------------------------------------------------- */

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const gint64 wide = sizeof(float);
    Plan *p = g_new0(Plan, 1);
    (void)error;
    p->s = recurrent_back_sizes(node);
    p->rows = cpu_parts(p->s.samples, TILE_ROWS) * TILE_ROWS;
    p->product = tile_product(p->s.all, p->s.units);
    p->copies = p->rows != p->s.samples || p->product.row != p->s.all;
    p->bytes = p->s.panels * tile_bytes(&p->product);
    cpu_reserve(&prepared->scratch, p->bytes);
    p->later_at = cpu_reserve(&prepared->scratch, p->s.panels * p->rows * p->s.units * wide);
    p->g_at = cpu_reserve(&prepared->scratch, p->s.samples * p->s.hidden * wide);
    p->state_at = cpu_reserve(&prepared->scratch, p->s.samples * p->s.hidden * wide);
    p->dc_at = cpu_reserve(&prepared->scratch, p->s.samples * p->s.hidden * wide);
    p->sums_at = cpu_reserve(&prepared->scratch,
                             (1 + (p->s.cell == CELL_GRU)) * p->s.samples * p->s.all * wide);
    p->none_at = cpu_reserve(&prepared->scratch, p->s.hidden * wide);
    p->copies_at =
        cpu_reserve(&prepared->scratch, p->copies ? 2 * p->rows * p->product.row * 2 : 0);
    p->fn = p->s.gates->back[0][cpu_isa];
    prepared->state = p;
    return TRUE;
}

/* All of bf16, but for what lstm and gru keep for this. */
static gboolean
claims(const TnNode *node)
{
    const gint gates = recurrent_cell(node) >= CELL_LSTM ? RECURRENT_AFTER_STATES : -1;
    const gboolean lstm = recurrent_cell(node) == CELL_LSTM;
    for (gint i = 0; i < node->n_in; i++) {
        const gboolean kept =
            i == gates || (lstm && (i == RECURRENT_STATES || i == RECURRENT_AFTER_STATES + 2));
        const TnDtype dtype = node->in[i].type.dtype;
        if (dtype != TN_DTYPE_NONE && dtype != (kept ? TN_DTYPE_F32 : TN_DTYPE_BF16)) {
            return FALSE;
        }
    }
    return cpu_bf16 != CPU_BF16_PLAIN && node->out[0].type.dtype == TN_DTYPE_BF16 &&
           node->out[0].count < G_MAXINT64 >> 16 && recurrent_worth(node);
}

#define ROW(name_)                                                                                 \
    {                                                                                              \
        .op = (name_), .dtypes = TN_DT(BF16), .rank = 10, .claims = claims, .prepare = prepare,    \
        .run = run, .release = g_free                                                              \
    }

static const TnKernel kernels[] = { ROW("rnn_grad"), ROW("lstm_grad"), ROW("gru_grad") };

const TnKernelTable cpu_recurrent_bf16_grad = CPU_TABLE(kernels);
