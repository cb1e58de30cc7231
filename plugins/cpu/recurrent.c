/* recurrent.c: rnn, lstm and gru over whole sequences in one call (as in Appleyard et al., "Optimizing
 * performance of recurrent neural networks on GPUs", 2016). Weights are packed once a call. x's part of the
 * sums is computed for so many steps at once as stay in the second-level cache; a step adds h's part and
 * goes on to the gates while the sums are in the first-level one. */
#include "recurrent.h"

#include <tenon/nn.h>

#include "tables.h"

/* x's part of as many steps is computed at once. */
#define DRIVE_BYTES (1 << 20)

typedef struct {
    RecurrentSizes s;
    gboolean f64;
    PanelProduct of_x, of_h;
    gint64 at_once;               /* the most steps */
    gint64 bytes;                 /* of packed weights */
    gsize h_at, bias_at, sums_at; /* in scratch, behind x's weights */
    RecurrentStepFn fn;
} Plan;

typedef struct {
    const Plan *plan;
    char *const *in, *const *out;
    char *scratch;
    gint64 at_once; /* steps whose x's part is computed together */
    gboolean apart; /* a block goes from panel to panel on its own */
} Job;

static gint64
size_of(const Plan *p)
{
    return p->f64 ? sizeof(double) : sizeof(float);
}

/* --- Packing ---------------------------------------------------------------------------------- */

static void
pack_weights(const Plan *p, const PanelProduct *product, const gint *order, const char *w,
             gint64 panel, char *to)
{
    const gint64 unit = panel * p->s.gates->units,
                 units = MIN(p->s.gates->units, p->s.hidden - unit);
    for (gint i = 0; i < p->s.gates->gates; i++) {
        const gint64 row = order[i] * p->s.hidden + unit;
        panel_pack_rows(product, w + row * product->k * size_of(p), units, i * p->s.gates->units,
                        p->s.gates->units, to + panel * panel_bytes(product));
    }
}

static void
pack_panel(gconstpointer data, gint64 t, gint64 panel, gint64 row, gint64 rows)
{
    const Job *job = data;
    const Plan *p = job->plan;
    (void)t, (void)row, (void)rows;
    pack_weights(p, &p->of_x, p->s.gates->of_x, job->in[p->s.w], panel, job->scratch);
    pack_weights(p, &p->of_h, p->s.gates->of_h, job->in[p->s.w + 1], panel, job->scratch + p->h_at);
    recurrent_pack_bias(&p->s, p->f64 ? TN_DTYPE_F64 : TN_DTYPE_F32, job->in, panel,
                        job->scratch + p->bias_at + panel * p->s.width * size_of(p));
}

/* --- Steps ------------------------------------------------------------------------------------ */

/* Rows of a panel: those of the steps whose x's part is there, one after the other. Blocks that are apart
 * have the same place for all panels, which stays in the first-level cache. */
static char *
sums_of(const Job *job, gint64 panel, gint64 row)
{
    const Plan *p = job->plan;
    const gint64 first = job->apart ? 0 : panel * job->at_once * p->s.samples;
    const gint64 at = (first + row) * p->s.width;
    return job->scratch + p->sums_at + at * size_of(p);
}

static void
drive_rows(const Job *job, gint64 t, gint64 panel, gint64 row, gint64 rows, char *sums)
{
    const Plan *p = job->plan;
    const gint64 size = size_of(p);
    const gint64 of_x = p->of_x.cols * size, width = p->s.width * size;
    const char *bias = job->scratch + p->bias_at + panel * width;
    const char *x = job->in[0] + (t * p->s.samples + row) * p->s.features * size;
    for (gint64 i = 0; of_x < width && i < rows; i++) {
        memcpy(sums + i * width + of_x, bias + of_x, (gsize)(width - of_x));
    }
    const PanelRows product = { rows, x, p->s.features, bias, 0, sums, p->s.width };
    panel_multiply(&p->of_x, &product, p->of_x.cols, job->scratch + panel * panel_bytes(&p->of_x),
                   NULL);
}

/* x's part of the next steps; where these are all the samples, all of them are neighbours. */
static void
drive(const Job *job, gint64 t, gint64 panel, gint64 row, gint64 rows)
{
    const Plan *p = job->plan;
    const gint64 n = MIN(job->at_once, p->s.steps - t);
    if (rows == p->s.samples) {
        drive_rows(job, t, panel, 0, n * rows, sums_of(job, panel, 0));
        return;
    }
    for (gint64 i = 0; i < n; i++) {
        drive_rows(job, t + i, panel, row, rows, sums_of(job, panel, i * p->s.samples + row));
    }
}

/* The state before step t, of a kind that begins as input `first` and whose sequence is output k. */
static const char *
before(const Job *job, gint first, gint k, gint64 t, gint64 row)
{
    const Plan *p = job->plan;
    const char *from = t == 0 ? job->in[first] : job->out[k];
    const gint64 at = (MAX(t - 1, 0) * p->s.samples + row) * p->s.hidden;
    return from + at * size_of(p);
}

/* What `step` will write. */
static PanelAhead
ahead_of(const Plan *p, const RecurrentStep *step)
{
    const gint64 size = size_of(p), row = p->s.hidden * size;
    PanelAhead ahead = { .rows = step->rows, .bytes = step->units * size };
    for (gint i = 0; step->gates != NULL && i < 4; i++) {
        ahead.to[ahead.parts++] = (PanelTarget){ (char *)step->gates + i * row, 4 * row };
    }
    if (step->cells != NULL) {
        ahead.to[ahead.parts++] = (PanelTarget){ step->cells, row };
    }
    ahead.to[ahead.parts++] = (PanelTarget){ step->out, row };
    return ahead;
}

static void
step_panel(gconstpointer data, gint64 t, gint64 panel, gint64 row, gint64 rows)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const RecurrentGates *gates = p->s.gates;
    const gint64 size = size_of(p), unit = panel * gates->units;
    const gint64 at = ((t * p->s.samples + row) * p->s.hidden + unit) * size;
    const gint64 gates_at = ((t * p->s.samples + row) * 4 * p->s.hidden + unit) * size;
    const gboolean lstm = gates == &recurrent_gates[CELL_LSTM];
    const char *h = before(job, 1, 0, t, row);
    char *sums = sums_of(job, panel, t % job->at_once * p->s.samples + row);
    char *of_h = sums + gates->h_at * gates->units * size;
    const PanelRows product = { rows, h, p->s.hidden, of_h, p->s.width, of_h, p->s.width };
    const RecurrentStep step = {
        .rows = rows,
        .units = MIN(gates->units, p->s.hidden - unit),
        .hidden = p->s.hidden,
        .sums = sums,
        .sums_row = p->s.width,
        .width = gates->units,
        .before = (lstm ? before(job, 2, 1, t, row) : h) + unit * size,
        .out = job->out[0] + at,
        .cells = lstm ? job->out[1] + at : NULL,
        .gates = gates->parts > 1 ? job->out[lstm ? 2 : 1] + gates_at : NULL,
    };
    PanelAhead ahead = ahead_of(p, &step);
    if (t % job->at_once == 0) {
        drive(job, t, panel, row, rows);
    }
    panel_multiply(&p->of_h, &product, p->of_h.cols,
                   job->scratch + p->h_at + panel * panel_bytes(&p->of_h), &ahead);
    p->fn(&step);
}

TnStatus
recurrent_run(void *state, const TnRun *run)
{
    const Plan *p = state;
    const RecurrentGrid grid =
        recurrent_grid(p->s.panels, p->s.samples, 1, p->bytes, p->of_h.cols * p->s.hidden);
    const Job job = { .plan = p,
                      .in = (char *const *)run->in,
                      .out = (char *const *)run->out,
                      .scratch = run->scratch,
                      .at_once = grid.apart ? 1 : p->at_once,
                      .apart = grid.apart };
    const TnStatus status = recurrent_panels(p->s.panels, pack_panel, &job);
    return status == TN_OK ? recurrent_walk(&grid, 0, p->s.steps, 1, step_panel, &job) : status;
}

/* --- Sizes ------------------------------------------------------------------------------------ */

RecurrentCell
recurrent_cell(const TnNode *node)
{
    const TnSequenceAttrs *attrs = node->attrs;
    if (node->op->name[0] == 'r') {
        return attrs->nonlinearity == TN_RNN_RELU ? CELL_RNN_RELU : CELL_RNN_TANH;
    }
    return node->op->name[0] == 'l' ? CELL_LSTM : CELL_GRU;
}

/* A call of few products is better off with the body, which packs nothing. */
#define FEW_ROWS 4

gboolean
recurrent_worth(const TnNode *node)
{
    const TnType *out = &node->out[0].type;
    return node->out[0].count > 0 &&
           (node->batch_invariant || out->dims[0] * out->dims[1] >= FEW_ROWS);
}

gboolean
recurrent_claims(const TnNode *node)
{
    const TnDtype dtype = node->in[0].type.dtype;
    for (gint i = 0; i < node->n_in; i++) {
        if (node->in[i].type.dtype != dtype && node->in[i].type.dtype != TN_DTYPE_NONE) {
            return FALSE;
        }
    }
    return recurrent_worth(node);
}

RecurrentSizes
recurrent_sizes(const TnNode *node)
{
    const RecurrentCell cell = recurrent_cell(node);
    const RecurrentGates *gates = &recurrent_gates[cell];
    const TnType *x = &node->in[0].type;
    RecurrentSizes s = { gates, x->dims[0], x->dims[1], x->dims[2], node->in[1].type.dims[1] };
    s.w = cell == CELL_LSTM ? 3 : 2;
    for (gint i = 0; i < 2; i++) {
        const gint at = s.w + 2 + i;
        s.biases[i] = node->n_in > at && node->in[at].type.dtype != TN_DTYPE_NONE;
    }
    s.panels = (s.hidden + gates->units - 1) / gates->units;
    s.width = gates->parts * gates->units;
    return s;
}

void
recurrent_pack_bias(const RecurrentSizes *s, TnDtype dtype, char *const *in, gint64 panel, void *to)
{
    const gint64 unit = panel * s->gates->units, units = MIN(s->gates->units, s->hidden - unit);
    for (gint64 i = 0; i < s->width; i++) {
        if (dtype == TN_DTYPE_F64) {
            ((double *)to)[i] = -0.0;
        } else {
            ((float *)to)[i] = -0.0f;
        }
    }
    for (gint side = 0; side < 2; side++) {
        for (gint i = 0; s->biases[side] && i < s->gates->gates; i++) {
            const gint gate = side == 0 ? s->gates->of_x[i] : s->gates->of_h[i];
            const gint64 place = (i + (side == 0 ? 0 : s->gates->h_at)) * s->gates->units;
            const char *from =
                in[s->w + 2 + side] + (gate * s->hidden + unit) * (gint64)tn_dtype_size(dtype);
            for (gint64 u = 0; u < units; u++, from += tn_dtype_size(dtype)) {
                double bias;
                tn_dtype_convert(TN_DTYPE_F64, &bias, 1, dtype, from, 1, 1);
                if (dtype == TN_DTYPE_F64) {
                    ((double *)to)[place + u] += bias;
                } else {
                    ((float *)to)[place + u] += (float)bias;
                }
            }
        }
    }
}

/* --- Preparing -------------------------------------------------------------------------------- */

gboolean
recurrent_prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *p = g_new0(Plan, 1);
    (void)error;
    p->s = recurrent_sizes(node);
    p->f64 = node->in[0].type.dtype == TN_DTYPE_F64;
    const RecurrentGates *gates = p->s.gates;
    p->of_x = panel_product(p->f64, p->s.features, gates->gates * gates->units);
    p->of_h = panel_product(p->f64, p->s.hidden, gates->gates * gates->units);
    const gint64 of_x = p->s.panels * panel_bytes(&p->of_x),
                 of_h = p->s.panels * panel_bytes(&p->of_h);
    const gint64 step_bytes = p->s.samples * p->s.panels * p->s.width * size_of(p);
    p->bytes = of_x + of_h;
    p->at_once = CLAMP(DRIVE_BYTES / step_bytes, 1, p->s.steps);
    cpu_reserve(&prepared->scratch, of_x);
    p->h_at = cpu_reserve(&prepared->scratch, of_h);
    p->bias_at = cpu_reserve(&prepared->scratch, p->s.panels * p->s.width * size_of(p));
    p->sums_at = cpu_reserve(&prepared->scratch, p->at_once * step_bytes);
    p->fn = gates->step[p->f64][cpu_isa];
    prepared->state = p;
    return TRUE;
}

#define ROW(name)                                                                                  \
    {                                                                                              \
        .op = (name), .dtypes = TN_DT(F32) | TN_DT(F64), .claims = recurrent_claims,               \
        .prepare = recurrent_prepare, .run = recurrent_run, .release = g_free                      \
    }

static const TnKernel kernels[] = { ROW("rnn"), ROW("lstm"), ROW("gru") };

const TnKernelTable cpu_recurrent = CPU_TABLE(kernels);
