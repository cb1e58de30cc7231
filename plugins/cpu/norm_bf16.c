/* norm_bf16.c: batch normalisation of bf16 while training, and its gradient: statistics, parameters and
 * sums in f32 and f64, by the loops that f32 is normalised with, on blocks that are widened. */
#include <math.h>

#include <tenon/nn.h>

#include "fold.h"
#include "norm_rows.h"
#include "tables.h"

#define BLOCK 2048

typedef struct {
    double epsilon;
    gint64 batch, channels, run; /* [batch, channels, run] */
    TileLoad widen;
    TileStore narrow;
    FoldFn sum;
} Plan;

typedef struct {
    const Plan *plan;
    const guint16 *x, *g;
    const float *scale, *bias, *mean, *var;
    guint16 *y;
    float *out[2];
} Job;

/* What is computed of a channel, or given: see norm_rows.h. */
typedef struct {
    double sum, spread, along;
    float mean, inverse, factor, shift, mean_g, mean_along;
} Channel;

/* One block: n elements at `at`, in x (and g) widened. */
typedef void (*BlockFn)(const Job *job, Channel *c, const float *x, const float *g, float *y,
                        gint64 n);

static void
for_blocks(const Job *job, gint64 channel, Channel *c, BlockFn func, gboolean writes)
{
    const Plan *plan = job->plan;
    float x[BLOCK], g[BLOCK], y[BLOCK];
    for (gint64 i = 0; i < plan->batch; i++) {
        const gint64 first = (i * plan->channels + channel) * plan->run;
        for (gint64 at = 0; at < plan->run; at += BLOCK) {
            const gint64 n = MIN(BLOCK, plan->run - at), from = first + at;
            plan->widen(x, job->x + from, 1, (gsize)n);
            if (job->g != NULL) {
                plan->widen(g, job->g + from, 1, (gsize)n);
            }
            func(job, c, x, g, y, n);
            if (writes) {
                plan->narrow(job->y + from, y, (gsize)n);
            }
        }
    }
}

/* --- Forward ---------------------------------------------------------------------------------- */

static void
add_sum(const Job *job, Channel *c, const float *x, const float *g, float *y, gint64 n)
{
    Fold fold = { .f64 = c->sum };
    (void)g;
    (void)y;
    job->plan->sum(&fold, x, n);
    c->sum = fold.f64;
}

static void
add_spread(const Job *job, Channel *c, const float *x, const float *g, float *y, gint64 n)
{
    double part;
    (void)job;
    (void)g;
    (void)y;
    norm_rows[cpu_isa].spread(x, n, c->mean, &part);
    c->spread += part;
}

static void
apply(const Job *job, Channel *c, const float *x, const float *g, float *y, gint64 n)
{
    (void)job;
    (void)g;
    norm_rows[cpu_isa].apply(x, n, c->mean, 0, NULL, NULL, c->factor, c->shift, y);
}

static void
forward(const Job *job, gint64 channel)
{
    const Plan *plan = job->plan;
    const double count = (double)(plan->batch * plan->run);
    Channel c = { .shift = job->bias[channel] };
    for_blocks(job, channel, &c, add_sum, FALSE);
    c.mean = (float)(c.sum / count);
    for_blocks(job, channel, &c, add_spread, FALSE);
    const double variance = c.spread / count;
    c.factor = (float)((double)job->scale[channel] / sqrt(variance + plan->epsilon));
    for_blocks(job, channel, &c, apply, TRUE);
    job->out[0][channel] = c.mean;
    job->out[1][channel] = (float)variance;
}

/* --- Gradient --------------------------------------------------------------------------------- */

static void
add_sums(const Job *job, Channel *c, const float *x, const float *g, float *y, gint64 n)
{
    double sum, along;
    (void)job;
    (void)y;
    norm_rows[cpu_isa].sums(x, g, n, c->mean, c->inverse, NULL, &sum, &along);
    c->sum += sum;
    c->along += along;
}

static void
grad(const Job *job, Channel *c, const float *x, const float *g, float *y, gint64 n)
{
    (void)job;
    norm_rows[cpu_isa].grad(x, g, n, c->mean, c->inverse, NULL, c->factor, c->mean_g, c->mean_along,
                            y);
}

static void
backward(const Job *job, gint64 channel)
{
    const Plan *plan = job->plan;
    const double count = (double)(plan->batch * plan->run);
    Channel c = { .mean = job->mean[channel],
                  .inverse = (float)(1 / sqrt((double)job->var[channel] + plan->epsilon)) };
    for_blocks(job, channel, &c, add_sums, FALSE);
    c.factor = c.inverse * job->scale[channel];
    c.mean_g = (float)(c.sum / count);
    c.mean_along = (float)(c.along / count);
    for_blocks(job, channel, &c, grad, TRUE);
    job->out[0][channel] = (float)c.along;
    job->out[1][channel] = (float)c.sum;
}

/* --- Channels --------------------------------------------------------------------------------- */

static TnStatus
channel_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    (void)n;
    if (job->g != NULL) {
        backward(job, (gint64)chunk);
    } else {
        forward(job, (gint64)chunk);
    }
    return TN_OK;
}

static TnStatus
run_job(Job *job)
{
    const Plan *plan = job->plan;
    if (plan->batch * plan->channels * plan->run >= CPU_GRAIN) {
        return tn_parallel_for((gsize)plan->channels, channel_chunk, job);
    }
    for (gint64 channel = 0; channel < plan->channels; channel++) {
        channel_chunk(job, (gsize)channel, (gsize)plan->channels);
    }
    return TN_OK;
}

static TnStatus
run_batch(void *state, const TnRun *run)
{
    Job job = { .plan = state,
                .x = run->in[0],
                .scale = run->in[1],
                .bias = run->in[2],
                .y = run->out[0],
                .out = { run->out[1], run->out[2] } };
    return run_job(&job);
}

static TnStatus
run_batch_grad(void *state, const TnRun *run)
{
    Job job = { .plan = state,
                .x = run->in[0],
                .scale = run->in[1],
                .mean = run->in[2],
                .var = run->in[3],
                .g = run->in[4],
                .y = run->out[0],
                .out = { run->out[1], run->out[2] } };
    return run_job(&job);
}

/* Images of bf16, all of each channel f32; runs of neighbours long enough to be vectors. */
static gboolean
claims(const TnNode *node)
{
    const TnType *x = &node->in[0].type;
    for (gint i = 1; i < node->n_in; i++) {
        const TnDtype want = node->in[i].type.rank > 1 ? TN_DTYPE_BF16 : TN_DTYPE_F32;
        if (node->in[i].type.dtype != want) {
            return FALSE;
        }
    }
    return node->in[0].count > 0 && cpu_count(x->rank - 2, x->dims + 2) >= 16;
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnEpsilonAttrs *attrs = node->attrs;
    const TnType *x = &node->in[0].type;
    Plan *plan = g_new0(Plan, 1);
    (void)error;
    plan->epsilon = attrs->epsilon;
    plan->batch = x->dims[0];
    plan->channels = x->dims[1];
    plan->run = cpu_count(x->rank - 2, x->dims + 2);
    plan->widen = tile_load(TN_DTYPE_BF16, TILE_F32);
    plan->narrow = tile_store(TN_DTYPE_BF16);
    plan->sum = fold_run(FOLD_SUM, TILE_F32);
    prepared->state = plan;
    return TRUE;
}

#define ROW(name, run_)                                                                            \
    {                                                                                              \
        .op = (name), .dtypes = TN_DT(BF16), .claims = claims, .prepare = prepare, .run = (run_),  \
        .release = g_free                                                                          \
    }

static const TnKernel kernels[] = {
    ROW("batch_normalization_training", run_batch),
    ROW("batch_normalization_grad", run_batch_grad),
};

const TnKernelTable cpu_norm_bf16 = CPU_TABLE(kernels);
