/* recurrent_bf16.c: rnn, lstm and gru over whole sequences of bf16 in one call, as recurrent.c does it for
 * f32. Products are of bf16, summed in f32; gates, cells and gru's state from step to step are f32, and what
 * is given is rounded once. Samples go in blocks of 16, whose sums of a panel are few enough to stay in the
 * first-level cache between product and gates: x's part is computed with h's, step by step. */
#include "recurrent.h"
#include "recurrent_tiles.h"
#include "tables.h"

#include <tenon/nn.h>

/* Sums of a block in a panel: four groups of columns. */
#define WIDTH 64

/* A multiplication of bf16 takes so much less time than one of f32. */
#define FASTER 8

typedef struct {
    RecurrentSizes s;
    gint64 rows; /* samples, in whole blocks */
    TileProduct of_x, of_h;
    gboolean copies_x, copies_h; /* rows are not as products read them */
    gint64 bytes;                /* of packed weights */
    /* In scratch, behind x's weights. x_at: [steps, rows, features], h_at: [2, rows, hidden], both bf16 and
     * padded; state_at, cells_at: [samples, hidden], f32: h, the first c. */
    gsize of_h_at, bias_at, x_at, h_at, state_at, cells_at;
    RecurrentStepFn fn;
} Plan;

typedef struct {
    const Plan *plan;
    char *const *in, *const *out;
    char *scratch;
} Job;

static gboolean
is_lstm(const Plan *p)
{
    return p->s.gates == &recurrent_gates[CELL_LSTM];
}

static float *
f32_at(const Job *job, gsize at, gint64 row)
{
    return (float *)(void *)(job->scratch + at) + row * job->plan->s.hidden;
}

/* --- Before the steps ------------------------------------------------------------------------- */

static void
pack_weights(const Plan *p, const TileProduct *product, const gint *order, const char *w,
             gint64 panel, char *to)
{
    const gint64 each = p->s.gates->units, unit = panel * each;
    guint16 *packed = (guint16 *)(void *)(to + panel * tile_bytes(product));
    for (gint i = 0; i < p->s.gates->gates; i++) {
        const gint64 row = order[i] * p->s.hidden + unit;
        tile_pack_rows(product, (const guint16 *)(const void *)w + row * product->k,
                       MIN(each, p->s.hidden - unit), i * each, each, packed);
    }
}

static void
pack_panel(gconstpointer data, gint64 t, gint64 panel, gint64 row, gint64 rows)
{
    const Job *job = data;
    const Plan *p = job->plan;
    (void)t, (void)row, (void)rows;
    pack_weights(p, &p->of_x, p->s.gates->of_x, job->in[p->s.w], panel, job->scratch);
    pack_weights(p, &p->of_h, p->s.gates->of_h, job->in[p->s.w + 1], panel,
                 job->scratch + p->of_h_at);
    recurrent_pack_bias(&p->s, TN_DTYPE_BF16, job->in, panel,
                        (float *)(void *)(job->scratch + p->bias_at) + panel * p->s.width);
}

/* All samples at one step, with zeros around. */
static void
pad(const Plan *p, const char *from, gint64 n, gint64 to_row, char *to)
{
    memset(to, 0, (gsize)(p->rows * to_row) * sizeof(guint16));
    for (gint64 i = 0; i < p->s.samples; i++) {
        memcpy(to + i * to_row * (gint64)sizeof(guint16), from + i * n * (gint64)sizeof(guint16),
               (gsize)n * sizeof(guint16));
    }
}

static void
copy_x(gconstpointer data, gint64 t, gint64 step, gint64 row, gint64 rows)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 size = sizeof(guint16);
    (void)t, (void)row, (void)rows;
    pad(p, job->in[0] + step * p->s.samples * p->s.features * size, p->s.features, p->of_x.row,
        job->scratch + p->x_at + (gsize)(step * p->rows * p->of_x.row * size));
}

static TnStatus
prepare_steps(const Job *job)
{
    const Plan *p = job->plan;
    const guint16 *h = (const void *)job->in[1], *c = (const void *)job->in[2];
    TnStatus status = recurrent_panels(p->s.panels, pack_panel, job);
    if (status == TN_OK && p->copies_x) {
        status = recurrent_panels(p->s.steps, copy_x, job);
    }
    for (gint i = 0; i < 2 && p->copies_h; i++) {
        const gsize bytes = (gsize)(p->rows * p->of_h.row) * sizeof *h;
        pad(p, job->in[1], p->s.hidden, p->of_h.row, job->scratch + p->h_at + (gsize)i * bytes);
    }
    tile_widen(p->s.samples, p->s.hidden, h, p->s.hidden, f32_at(job, p->state_at, 0), p->s.hidden);
    if (is_lstm(p)) {
        tile_widen(p->s.samples, p->s.hidden, c, p->s.hidden, f32_at(job, p->cells_at, 0),
                   p->s.hidden);
    }
    return status;
}

/* --- Steps ------------------------------------------------------------------------------------ */

static const guint16 *
x_of(const Job *job, gint64 t, gint64 row)
{
    const Plan *p = job->plan;
    const char *from = p->copies_x ? job->scratch + p->x_at : job->in[0];
    return (const guint16 *)(const void *)from +
           (t * (p->copies_x ? p->rows : p->s.samples) + row) * p->of_x.row;
}

/* Copies of h before even steps and of that before odd ones. */
static guint16 *
copy_of_h(const Job *job, gint64 t, gint64 row)
{
    const Plan *p = job->plan;
    return (guint16 *)(void *)(job->scratch + p->h_at) + (t % 2 * p->rows + row) * p->of_h.row;
}

static guint16 *
out_of(const Job *job, gint64 t, gint64 row)
{
    const Plan *p = job->plan;
    return (guint16 *)(void *)job->out[0] + (t * p->s.samples + row) * p->s.hidden;
}

/* h before step t. */
static const guint16 *
h_of(const Job *job, gint64 t, gint64 row)
{
    return job->plan->copies_h ? copy_of_h(job, t, row)
           : t == 0 ? (const guint16 *)(const void *)job->in[1] + row * job->plan->s.hidden
                    : out_of(job, t - 1, row);
}

/* [16, WIDTH] */
static void
sum_up(const Job *job, gint64 t, gint64 panel, gint64 row, float *sums)
{
    const Plan *p = job->plan;
    const gint64 of_h = p->s.gates->h_at * p->s.gates->units, of_x = p->of_x.groups * BF16_TILE;
    const float *bias =
        (const float *)(const void *)(job->scratch + p->bias_at) + panel * p->s.width;
    const char *w = job->scratch + panel * tile_bytes(&p->of_x);
    const char *w_h = job->scratch + p->of_h_at + panel * tile_bytes(&p->of_h);
    for (gint i = 0; of_x < p->s.width && i < TILE_ROWS; i++) {
        memcpy(sums + i * WIDTH + of_x, bias + of_x, (gsize)(p->s.width - of_x) * sizeof *sums);
    }
    tile_multiply(&p->of_x, x_of(job, t, row), p->of_x.row, (const void *)w, bias, 0, sums, WIDTH);
    tile_multiply(&p->of_h, h_of(job, t, row), p->of_h.row, (const void *)w_h, sums + of_h, WIDTH,
                  sums + of_h, WIDTH);
}

/* At most 16 samples. */
static void
step_block(const Job *job, gint64 t, gint64 panel, gint64 row, gint64 rows)
{
    const Plan *p = job->plan;
    const gint64 hidden = p->s.hidden, unit = panel * p->s.gates->units;
    const gint64 units = MIN(p->s.gates->units, hidden - unit), at = t * p->s.samples + row;
    const gboolean lstm = is_lstm(p);
    float sums[TILE_ROWS * WIDTH] __attribute__((aligned(64)));
    float *state = f32_at(job, p->state_at, row) + unit;
    float *cells = lstm ? (float *)(void *)job->out[1] + at * hidden + unit : NULL;
    float *gates = (float *)(void *)job->out[lstm ? 2 : 1];
    const float *before = !lstm    ? state
                          : t == 0 ? f32_at(job, p->cells_at, row) + unit
                                   : cells - p->s.samples * hidden;
    sum_up(job, t, panel, row, sums);
    const RecurrentStep step = {
        .rows = rows,
        .units = units,
        .hidden = hidden,
        .sums = sums,
        .sums_row = WIDTH,
        .width = p->s.gates->units,
        .before = before,
        .out = state,
        .cells = cells,
        .gates = p->s.gates->parts > 1 ? gates + at * 4 * hidden + unit : NULL,
    };
    p->fn(&step);
    tile_narrow(rows, units, state, hidden, out_of(job, t, row) + unit, hidden);
    if (p->copies_h) {
        tile_narrow(rows, units, state, hidden, copy_of_h(job, t + 1, row) + unit, p->of_h.row);
    }
}

static void
step_panel(gconstpointer data, gint64 t, gint64 panel, gint64 row, gint64 rows)
{
    for (; rows > 0; row += TILE_ROWS, rows -= TILE_ROWS) {
        step_block(data, t, panel, row, MIN(TILE_ROWS, rows));
    }
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *p = state;
    RecurrentGrid grid = recurrent_grid(p->s.panels, p->s.samples, TILE_ROWS, p->bytes,
                                        p->of_h.groups * BF16_TILE * p->s.hidden / FASTER);
    const Job job = { .plan = p,
                      .in = (char *const *)run->in,
                      .out = (char *const *)run->out,
                      .scratch = run->scratch };
    grid.begin = tile_begin;
    grid.end = tile_end;
    const TnStatus status = prepare_steps(&job);
    return status == TN_OK ? recurrent_walk(&grid, 0, p->s.steps, 1, step_panel, &job) : status;
}

/* --- Preparing -------------------------------------------------------------------------------- */

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *p = g_new0(Plan, 1);
    (void)error;
    p->s = recurrent_sizes(node);
    const RecurrentSizes *s = &p->s;
    const gint64 columns = s->gates->gates * s->gates->units, size = sizeof(guint16);
    p->rows = cpu_parts(s->samples, TILE_ROWS) * TILE_ROWS;
    p->of_x = tile_product(s->features, columns);
    p->of_h = tile_product(s->hidden, columns);
    p->copies_x = p->rows != s->samples || p->of_x.row != s->features;
    p->copies_h = p->rows != s->samples || p->of_h.row != s->hidden;
    p->bytes = s->panels * (tile_bytes(&p->of_x) + tile_bytes(&p->of_h));
    cpu_reserve(&prepared->scratch, s->panels * tile_bytes(&p->of_x));
    p->of_h_at = cpu_reserve(&prepared->scratch, s->panels * tile_bytes(&p->of_h));
    p->bias_at = cpu_reserve(&prepared->scratch, s->panels * s->width * (gint64)sizeof(float));
    p->x_at =
        cpu_reserve(&prepared->scratch, p->copies_x ? s->steps * p->rows * p->of_x.row * size : 0);
    p->h_at = cpu_reserve(&prepared->scratch, p->copies_h ? 2 * p->rows * p->of_h.row * size : 0);
    p->state_at = cpu_reserve(&prepared->scratch, s->samples * s->hidden * (gint64)sizeof(float));
    p->cells_at = cpu_reserve(&prepared->scratch,
                              is_lstm(p) ? s->samples * s->hidden * (gint64)sizeof(float) : 0);
    p->fn = s->gates->step[0][cpu_isa];
    prepared->state = p;
    return TRUE;
}

/* Scratch is at most a few times what a row of padded numbers for each sample and step would take. */
static gboolean
claims(const TnNode *node)
{
    const TnType *out = &node->out[0].type;
    const gint64 row = MAX(node->in[0].type.dims[2], out->dims[2]);
    const gint64 most = cpu_times(cpu_times(out->dims[0], out->dims[1]), row);
    return cpu_bf16 != CPU_BF16_PLAIN && most < G_MAXINT64 >> 16 && recurrent_claims(node);
}

#define ROW(name_)                                                                                 \
    {                                                                                              \
        .op = (name_), .dtypes = TN_DT(BF16), .rank = 10, .claims = claims, .prepare = prepare,    \
        .run = run, .release = g_free                                                              \
    }

static const TnKernel kernels[] = { ROW("rnn"), ROW("lstm"), ROW("gru") };

const TnKernelTable cpu_recurrent_bf16 = CPU_TABLE(kernels);
