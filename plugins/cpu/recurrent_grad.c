/* recurrent_grad.c: back through the steps of rnn, lstm and gru in one call. A step adds to the gradient of
 * its output what the sums behind it give through packed weights, and goes on to the derivatives of its
 * gates. */
#include "recurrent.h"

#include <tenon/nn.h>

#include "tables.h"

/* Units of a panel, columns of w_hh: many are fastest, but there should be some panels to share out. */
#define UNITS 64
#define FEW_UNITS 32

typedef struct {
    RecurrentBackSizes s;
    gboolean f64;
    PanelProduct product;
    gint64 bytes;            /* of packed weights */
    gsize none_at, later_at; /* in scratch, behind the weights: units without a gradient; later */
    RecurrentBackFn fn;
} Plan;

typedef struct {
    const Plan *plan;
    char *const *in, *const *out;
    char *scratch;
} Job;

static gint64
size_of(const Plan *p)
{
    return p->f64 ? sizeof(double) : sizeof(float);
}

static void
pack_panel(gconstpointer data, gint64 t, gint64 panel, gint64 row, gint64 rows)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 unit = panel * p->s.units;
    (void)t, (void)row, (void)rows;
    panel_pack_columns(&p->product, job->in[RECURRENT_W_HH] + unit * size_of(p), p->s.hidden,
                       MIN(p->s.units, p->s.hidden - unit),
                       job->scratch + panel * panel_bytes(&p->product));
}

/* n times -0, to which anything may be added. */
static void
clear(const Plan *p, gint64 n, char *to)
{
    for (gint64 i = 0; i < n; i++) {
        if (p->f64) {
            ((double *)to)[i] = -0.0;
        } else {
            ((float *)to)[i] = -0.0f;
        }
    }
}

/* Nothing is behind the last step. */
static void
begin(const Job *job, gint64 row, gint64 rows, gint64 unit, gint64 units, char *later)
{
    const Plan *p = job->plan;
    clear(p, rows * p->s.units, later);
    for (gint64 i = row; p->s.cell == CELL_LSTM && i < row + rows; i++) {
        clear(p, units, job->out[2] + (i * p->s.hidden + unit) * size_of(p));
    }
}

static void
step(const Job *job, gint64 t, gint64 row, gint64 rows, gint64 unit, char *later)
{
    const Plan *p = job->plan;
    const gboolean lstm = p->s.cell == CELL_LSTM, gru = p->s.cell == CELL_GRU, gated = lstm || gru;
    const gint64 size = size_of(p), first = t * p->s.samples + row;
    const gint64 at = (first * p->s.hidden + unit) * size;
    const gint64 before = ((first - p->s.samples) * p->s.hidden + unit) * size;
    const gint64 state = (row * p->s.hidden + unit) * size;
    const gint64 sums_at = (first * p->s.all + unit) * size;
    const RecurrentBack back = {
        .rows = rows,
        .units = MIN(p->s.units, p->s.hidden - unit),
        .hidden = p->s.hidden,
        .later = later,
        .width = p->s.units,
        .g = job->in[RECURRENT_AFTER_STATES + gated] + at,
        .g_cells =
            p->s.g_cells ? job->in[RECURRENT_AFTER_STATES + 2] + at : job->scratch + p->none_at,
        .g_cells_row = p->s.g_cells ? p->s.hidden : 0,
        .now = job->in[RECURRENT_STATES] + at,
        .before = t > 0 ? job->in[RECURRENT_STATES] + before : job->in[RECURRENT_FIRST] + state,
        .gates = gated ? job->in[RECURRENT_AFTER_STATES] + (first * 4 * p->s.hidden + unit) * size
                       : NULL,
        .dc = lstm ? job->out[2] + state : NULL,
        .dsums = job->out[0] + sums_at,
        .dsums_h = gru ? job->out[1] + sums_at : NULL,
    };
    p->fn(&back);
}

static void
give(const Job *job, gint64 row, gint64 rows, gint64 unit, const char *later)
{
    const Plan *p = job->plan;
    const gint64 size = size_of(p), units = MIN(p->s.units, p->s.hidden - unit);
    char *dh = job->out[p->s.cell == CELL_GRU ? 2 : 1];
    for (gint64 i = 0; i < rows; i++) {
        memcpy(dh + ((row + i) * p->s.hidden + unit) * size, later + i * p->s.units * size,
               (gsize)(units * size));
    }
}

/* Adds what the step behind t gives; meanwhile what step t will write is fetched. */
static void
add_later(const Job *job, gint64 t, gint64 panel, gint64 row, gint64 rows, char *later)
{
    const Plan *p = job->plan;
    const gint64 size = size_of(p), unit = panel * p->s.units, k = p->product.k;
    const gint64 units = MIN(p->s.units, p->s.hidden - unit);
    const gboolean gru = p->s.cell == CELL_GRU;
    const char *sums = job->out[gru] + ((t + 1) * p->s.samples + row) * k * size;
    const PanelRows product = { rows, sums, k, later, p->s.units, later, p->s.units };
    PanelAhead ahead = { .rows = t >= 0 ? rows : 0, .bytes = units * size };
    for (gint i = 0; t >= 0 && i < p->s.gates->gates; i++) {
        const gint64 at = (t * p->s.samples + row) * k + i * p->s.hidden + unit;
        for (gint j = 0; j <= gru; j++) {
            ahead.to[ahead.parts++] = (PanelTarget){ job->out[j] + at * size, k * size };
        }
    }
    panel_multiply(&p->product, &product, units, job->scratch + panel * panel_bytes(&p->product),
                   &ahead);
}

/* Step -1: what the first one gives to the state before it. */
static void
back_panel(gconstpointer data, gint64 t, gint64 panel, gint64 row, gint64 rows)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 unit = panel * p->s.units, units = MIN(p->s.units, p->s.hidden - unit);
    char *later =
        job->scratch + p->later_at + (panel * p->s.samples + row) * p->s.units * size_of(p);
    if (t == p->s.steps - 1) {
        begin(job, row, rows, unit, units, later);
    } else {
        add_later(job, t, panel, row, rows, later);
    }
    if (t >= 0) {
        step(job, t, row, rows, unit, later);
    } else {
        give(job, row, rows, unit, later);
    }
}

TnStatus
recurrent_grad_run(void *state, const TnRun *run)
{
    const Plan *p = state;
    const RecurrentGrid grid =
        recurrent_grid(p->s.panels, p->s.samples, 1, p->bytes, p->product.k * p->s.units);
    const Job job = { .plan = p,
                      .in = (char *const *)run->in,
                      .out = (char *const *)run->out,
                      .scratch = run->scratch };
    clear(p, p->s.units, job.scratch + p->none_at);
    const TnStatus status = recurrent_panels(p->s.panels, pack_panel, &job);
    return status == TN_OK ? recurrent_walk(&grid, p->s.steps - 1, -2, -1, back_panel, &job)
                           : status;
}

RecurrentBackSizes
recurrent_back_sizes(const TnNode *node)
{
    const gint64 *dims = node->in[RECURRENT_STATES].type.dims;
    RecurrentBackSizes s = {
        .cell = recurrent_cell(node),
        .g_cells = node->n_in > 5 && node->in[5].type.dtype != TN_DTYPE_NONE,
        .steps = dims[0],
        .samples = dims[1],
        .hidden = dims[2],
        .units = dims[2] < 4 * UNITS ? FEW_UNITS : UNITS,
    };
    s.gates = &recurrent_gates[s.cell];
    s.panels = cpu_parts(s.hidden, s.units);
    s.all = s.gates->gates * s.hidden;
    return s;
}

gboolean
recurrent_grad_prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *p = g_new0(Plan, 1);
    (void)error;
    p->s = recurrent_back_sizes(node);
    p->f64 = node->in[RECURRENT_STATES].type.dtype == TN_DTYPE_F64;
    p->product = panel_product(p->f64, p->s.all, p->s.units);
    p->bytes = p->s.panels * panel_bytes(&p->product);
    cpu_reserve(&prepared->scratch, p->bytes);
    p->none_at = cpu_reserve(&prepared->scratch, p->s.units * size_of(p));
    p->later_at = cpu_reserve(&prepared->scratch,
                              cpu_times(p->s.panels * p->s.units * size_of(p), p->s.samples));
    p->fn = p->s.gates->back[p->f64][cpu_isa];
    prepared->state = p;
    return TRUE;
}

#define ROW(name, flags_)                                                                          \
    {                                                                                              \
        .op = (name), .dtypes = TN_DT(F32) | TN_DT(F64), .flags = (flags_),                        \
        .claims = recurrent_claims, .prepare = recurrent_grad_prepare, .run = recurrent_grad_run,  \
        .release = g_free                                                                          \
    }

static const TnKernel kernels[] = {
    ROW("rnn_grad", 0),
    /* A unit's gates of a step are read before the gradients of its sums, which are as many, are written. */
    ROW("lstm_grad", TN_KERNEL_IN_PLACE),
    ROW("gru_grad", 0),
};

const TnKernelTable cpu_recurrent_grad = CPU_TABLE(kernels);
