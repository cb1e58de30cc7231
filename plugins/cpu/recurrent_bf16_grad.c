/* recurrent_bf16_grad.c: back through the steps of rnn, lstm and gru of bf16 in one call, as
 * recurrent_grad.c does it for f32. Gradients of sums are rounded to bf16, as they are given, before the
 * product with the weights; gradients of states are f32 from step to step. */
#include "recurrent.h"
#include "recurrent_tiles.h"
#include "tables.h"

#include <tenon/nn.h>

enum { W_HH, FIRST, STATES, AFTER_STATES };

/* Units of a panel, columns of w_hh: many are fastest, but there should be some panels to share out. */
#define UNITS 64
#define FEW_UNITS 32

#define FASTER 8

typedef struct {
    RecurrentCell cell;
    const RecurrentGates *gates;
    gboolean g_cells;
    gint64 steps, samples, hidden, panels, units, all; /* all: sums of a sample */
    gint64 rows;                                       /* samples, in whole blocks */
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
    const gint64 unit = panel * p->units;
    (void)t, (void)row, (void)rows;
    tile_pack_columns(&p->product, in_bf16(job, W_HH, unit), p->hidden,
                      MIN(p->units, p->hidden - unit),
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
    clear(p->panels * p->rows * p->units, f32_at(job, p->later_at, 0));
    clear(p->hidden, f32_at(job, p->none_at, 0));
    if (p->cell == CELL_LSTM) {
        clear(p->samples * p->hidden, f32_at(job, p->dc_at, 0));
    }
    if (p->copies) {
        memset(job->scratch + p->copies_at, 0, (gsize)(2 * p->rows * p->product.row) * 2);
    }
    return recurrent_panels(p->panels, pack_panel, job);
}

/* --- Steps ------------------------------------------------------------------------------------ */

/* The sums' gradients that w_hh gets. */
static guint16 *
sums_out(const Job *job, gint k, gint64 t, gint64 row)
{
    const Plan *p = job->plan;
    return (guint16 *)(void *)job->out[k] + (t * p->samples + row) * p->all;
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
    const gint64 at = ((MAX(t, 0) * p->samples) + row) * p->hidden + unit;
    if (p->cell == CELL_LSTM && t >= 0) {
        return (const float *)(const void *)job->in[STATES] + at;
    }
    float *to = f32_at(job, p->state_at, row * p->hidden + unit);
    tile_widen(rows, units, in_bf16(job, t < 0 ? FIRST : STATES, at), p->hidden, to, p->hidden);
    return to;
}

/* Rounds what a step gives for output k; sums: as the gates' function left it. */
static void
give_sums(const Job *job, gint k, gint64 t, gint64 row, gint64 rows, gint64 unit, gint64 units,
          const float *sums)
{
    const Plan *p = job->plan;
    const gboolean last = k == (p->cell == CELL_GRU);
    for (gint64 at = 0; at < p->all; at += p->hidden) {
        tile_narrow(rows, units, sums + at, p->all, sums_out(job, k, t, row) + at + unit, p->all);
        if (p->copies && last) {
            tile_narrow(rows, units, sums + at, p->all, copy_of_sums(job, t, row) + at + unit,
                        p->product.row);
        }
    }
}

static void
step(const Job *job, gint64 t, gint64 row, gint64 rows, gint64 unit, float *later)
{
    const Plan *p = job->plan;
    const gboolean gated = p->cell == CELL_LSTM || p->cell == CELL_GRU, gru = p->cell == CELL_GRU;
    const gint64 units = MIN(p->units, p->hidden - unit), first = t * p->samples + row;
    const gint64 at = first * p->hidden + unit, state = row * p->hidden + unit;
    float *g = f32_at(job, p->g_at, state);
    float *sums = f32_at(job, p->sums_at, row * p->all + unit);
    float *sums_h = sums + p->samples * p->all;
    tile_widen(rows, units, in_bf16(job, AFTER_STATES + gated, at), p->hidden, g, p->hidden);
    const RecurrentBack back = {
        .rows = rows,
        .units = units,
        .hidden = p->hidden,
        .later = later,
        .width = p->units,
        .g = g,
        .g_cells = p->g_cells ? (float *)(void *)job->in[AFTER_STATES + 2] + at
                              : f32_at(job, p->none_at, 0),
        .g_cells_row = p->g_cells ? p->hidden : 0,
        .now = gru ? NULL : state_of(job, t, row, rows, unit, units),
        .before = gated ? state_of(job, t - 1, row, rows, unit, units) : NULL,
        .gates =
            gated ? (float *)(void *)job->in[AFTER_STATES] + first * 4 * p->hidden + unit : NULL,
        .dc = p->cell == CELL_LSTM ? f32_at(job, p->dc_at, state) : NULL,
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
    const gint64 units = MIN(p->units, p->hidden - unit), at = row * p->hidden + unit;
    guint16 *dh = (guint16 *)(void *)job->out[p->cell == CELL_GRU ? 2 : 1];
    tile_narrow(rows, units, later, p->units, dh + at, p->hidden);
    if (p->cell == CELL_LSTM) {
        tile_narrow(rows, units, f32_at(job, p->dc_at, at), p->hidden,
                    (guint16 *)(void *)job->out[2] + at, p->hidden);
    }
}

/* At most 16 samples. Step -1: what the first one gives to the state before it. */
static void
back_block(const Job *job, gint64 t, gint64 panel, gint64 row, gint64 rows)
{
    const Plan *p = job->plan;
    const gint64 unit = panel * p->units;
    float *later = f32_at(job, p->later_at, (panel * p->rows + row) * p->units);
    if (t < p->steps - 1) {
        const guint16 *sums = p->copies ? copy_of_sums(job, t + 1, row)
                                        : sums_out(job, p->cell == CELL_GRU, t + 1, row);
        tile_multiply(&p->product, sums, p->product.row,
                      (const void *)(job->scratch + panel * tile_bytes(&p->product)), later,
                      p->units, later, p->units);
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
    RecurrentGrid grid = recurrent_grid(p->panels, p->samples, TILE_ROWS, p->bytes,
                                        p->product.k * p->units / FASTER);
    const Job job = { .plan = p,
                      .in = (char *const *)run->in,
                      .out = (char *const *)run->out,
                      .scratch = run->scratch };
    grid.begin = tile_begin;
    grid.end = tile_end;
    const TnStatus status = prepare_steps(&job);
    return status == TN_OK ? recurrent_walk(&grid, p->steps - 1, -2, -1, back_panel, &job) : status;
}

/* --- Preparing -------------------------------------------------------------------------------- */

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnType *states = &node->in[STATES].type;
    const gint64 wide = sizeof(float);
    Plan *p = g_new0(Plan, 1);
    (void)error;
    p->cell = recurrent_cell(node);
    p->gates = &recurrent_gates[p->cell];
    p->g_cells = node->n_in > 5 && node->in[5].type.dtype != TN_DTYPE_NONE;
    p->steps = states->dims[0];
    p->samples = states->dims[1];
    p->hidden = states->dims[2];
    p->units = p->hidden < 4 * UNITS ? FEW_UNITS : UNITS;
    p->panels = cpu_parts(p->hidden, p->units);
    p->all = p->gates->gates * p->hidden;
    p->rows = cpu_parts(p->samples, TILE_ROWS) * TILE_ROWS;
    p->product = tile_product(p->all, p->units);
    p->copies = p->rows != p->samples || p->product.row != p->all;
    p->bytes = p->panels * tile_bytes(&p->product);
    recurrent_reserve(prepared, p->bytes);
    p->later_at = recurrent_reserve(prepared, p->panels * p->rows * p->units * wide);
    p->g_at = recurrent_reserve(prepared, p->samples * p->hidden * wide);
    p->state_at = recurrent_reserve(prepared, p->samples * p->hidden * wide);
    p->dc_at = recurrent_reserve(prepared, p->samples * p->hidden * wide);
    p->sums_at =
        recurrent_reserve(prepared, (1 + (p->cell == CELL_GRU)) * p->samples * p->all * wide);
    p->none_at = recurrent_reserve(prepared, p->hidden * wide);
    p->copies_at = recurrent_reserve(prepared, p->copies ? 2 * p->rows * p->product.row * 2 : 0);
    p->fn = p->gates->back[0][cpu_isa];
    prepared->state = p;
    return TRUE;
}

/* All of bf16, but for what lstm and gru keep for this. */
static gboolean
claims(const TnNode *node)
{
    const gint gates = recurrent_cell(node) >= CELL_LSTM ? AFTER_STATES : -1;
    const gboolean lstm = recurrent_cell(node) == CELL_LSTM;
    for (gint i = 0; i < node->n_in; i++) {
        const gboolean kept = i == gates || (lstm && (i == STATES || i == AFTER_STATES + 2));
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
