/* norm.c: layer normalisation, its kind without a mean (rms) and batch normalisation while training, and
 * their gradients, in f32. Means and variances are computed in two passes. What the gradients of the
 * first two sum over rows is summed in a fixed number of slices. */
#include <math.h>

#include <tenon/nn.h>

#include "norm_rows.h"
#include "tables.h"

#define MAX_SLICES 8
/* Channels of a chunk at most, and elements of a sample that it should have. */
#define MOST_CHANNELS 64
#define PIECE 8192
/* What a row of a layer takes beside its elements, counted as elements. */
#define ROW_COST 128

typedef struct {
    double epsilon;
    gint64 rows, n;              /* layer: rows of n features */
    gint64 batch, channels, run; /* batch: [batch, channels, run] */
    gboolean centred;            /* layer: a mean is taken away; else it is 0 */
    gboolean bias;
    gint64 slices, per_slice; /* layer's gradient: of rows */
    gint64 per_chunk;
} Plan;

typedef struct {
    const Plan *plan;
    const float *in[5];
    float *out[3];
    float *partial; /* [slice][dscale, dbias][n] */
} Job;

static Job
job_of(const Plan *plan, const TnRun *run, gint n_in, gint n_out)
{
    Job job = { .plan = plan, .partial = run->scratch };
    for (gint i = 0; i < n_in; i++) {
        job.in[i] = run->in[i];
    }
    for (gint i = 0; i < n_out; i++) {
        job.out[i] = run->out[i];
    }
    return job;
}

static double
sum_of(const float *x, gint64 n)
{
    double sum;
    norm_rows[cpu_isa].sum(x, n, &sum);
    return sum;
}

/* --- Layers, rms ------------------------------------------------------------------------------ */

static float
inverse_of(const Plan *plan, const float *x, float mean)
{
    double spread;
    norm_rows[cpu_isa].spread(x, plan->n, mean, &spread);
    return (float)(1 / sqrt(spread / (double)plan->n + plan->epsilon));
}

static TnStatus
layer_chunk(gpointer data, gsize chunk, gsize n_chunks)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const gint64 first = (gint64)chunk * plan->per_chunk;
    const NormLayer layer = { .x = job->in[0],
                              .scale = job->in[1],
                              .bias = plan->bias ? job->in[2] : NULL,
                              .y = job->out[0],
                              .mean = plan->centred ? job->out[1] : NULL,
                              .inverse = plan->centred ? job->out[2] : NULL,
                              .n = plan->n,
                              .epsilon = plan->epsilon };
    (void)n_chunks;
    norm_rows[cpu_isa].layer(&layer, first, MIN(plan->rows, first + plan->per_chunk));
    return TN_OK;
}

static TnStatus
run_layer(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = job_of(plan, run, plan->bias ? 3 : 2, plan->centred ? 3 : 1);
    if (plan->rows == 0) {
        return TN_OK;
    }
    return tn_parallel_for((gsize)((plan->rows + plan->per_chunk - 1) / plan->per_chunk),
                           layer_chunk, &job);
}

/* Inputs: x, scale, with a mean also the means and inverse deviations, g. */
static TnStatus
layer_grad_slice(gpointer data, gsize slice, gsize n_slices)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const NormRows *rows = &norm_rows[cpu_isa];
    const float *all_g = job->in[plan->centred ? 4 : 2];
    gint64 n = plan->n, first = (gint64)slice * plan->per_slice;
    gint64 end = MIN(plan->rows, first + plan->per_slice);
    float *dscale = job->partial + (gint64)slice * 2 * n, *dbias = dscale + n;
    (void)n_slices;
    memset(dscale, 0, 2 * (gsize)n * sizeof(float));
    for (gint64 row = first; row < end; row++) {
        const float *x = job->in[0] + row * n, *g = all_g + row * n;
        const float mean = plan->centred ? job->in[2][row] : 0;
        const float inverse = plan->centred ? job->in[3][row] : inverse_of(plan, x, 0);
        double sum, along;
        rows->sums(x, g, n, mean, inverse, job->in[1], &sum, &along);
        sum = plan->centred ? sum : 0;
        rows->grad(x, g, n, mean, inverse, job->in[1], inverse, (float)(sum / (double)n),
                   (float)(along / (double)n), job->out[0] + row * n);
        rows->columns(x, g, n, mean, inverse, dscale, dbias);
    }
    return TN_OK;
}

static TnStatus
run_layer_grad(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = job_of(plan, run, plan->centred ? 5 : 3, plan->centred ? 3 : 2);
    TnStatus status = TN_OK;
    if (plan->slices > 0) {
        status = tn_parallel_for((gsize)plan->slices, layer_grad_slice, &job);
    }
    for (gint64 i = 0; i < plan->n; i++) {
        double dscale = 0, dbias = 0;
        for (gint64 s = 0; s < plan->slices; s++) {
            dscale += (double)job.partial[s * 2 * plan->n + i];
            dbias += (double)job.partial[(s * 2 + 1) * plan->n + i];
        }
        job.out[1][i] = (float)dscale;
        if (plan->centred) {
            job.out[2][i] = (float)dbias;
        }
    }
    return status;
}

static gboolean
all_f32(const TnNode *node)
{
    for (gint i = 0; i < node->n_in; i++) {
        TnDtype dtype = node->in[i].type.dtype;
        if (dtype != TN_DTYPE_F32 && dtype != TN_DTYPE_NONE) {
            return FALSE;
        }
    }
    for (gint i = 0; i < node->n_out; i++) {
        if (node->out[i].type.dtype != TN_DTYPE_F32) {
            return FALSE;
        }
    }
    return node->in[0].count > 0;
}

static gboolean
prepare_layer(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnNormAttrs *attrs = node->attrs;
    const TnType *x = &node->in[0].type;
    gint axis = cpu_axis(attrs->axis, x->rank);
    Plan *plan = g_new0(Plan, 1);
    (void)error;
    plan->epsilon = attrs->epsilon;
    plan->rows = cpu_count(axis, x->dims);
    plan->n = cpu_count(x->rank - axis, x->dims + axis);
    plan->centred = node->n_out == 3;
    plan->bias = plan->centred && node->n_in == 3 && node->in[2].type.dtype != TN_DTYPE_NONE;
    plan->per_chunk = cpu_items_per_chunk(plan->rows, plan->n * 4 + ROW_COST);
    plan->slices = CLAMP(plan->rows * plan->n / CPU_GRAIN, 1, MIN(MAX_SLICES, plan->rows));
    plan->per_slice = (plan->rows + plan->slices - 1) / plan->slices;
    prepared->state = plan;
    prepared->scratch = (gsize)(plan->slices * 2 * plan->n) * sizeof(float);
    return TRUE;
}

/* --- Batches ---------------------------------------------------------------------------------- */

/* First element of a channel of a sample. */
static gint64
place(const Plan *plan, gint64 sample, gint64 channel)
{
    return (sample * plan->channels + channel) * plan->run;
}

/* Channels first to first + n: their runs of a sample are neighbours in memory, so that long pieces are
 * read. */
static void
batch_channels(const Job *job, gint64 first, gint64 n)
{
    const Plan *plan = job->plan;
    const NormRows *rows = &norm_rows[cpu_isa];
    const double count = (double)(plan->batch * plan->run);
    double sum[MOST_CHANNELS] = { 0 }, spread[MOST_CHANNELS] = { 0 }, part;
    float mean[MOST_CHANNELS], factor[MOST_CHANNELS];
    for (gint64 i = 0; i < plan->batch; i++) {
        for (gint64 c = 0; c < n; c++) {
            sum[c] += sum_of(job->in[0] + place(plan, i, first + c), plan->run);
        }
    }
    for (gint64 c = 0; c < n; c++) {
        mean[c] = (float)(sum[c] / count);
    }
    for (gint64 i = 0; i < plan->batch; i++) {
        for (gint64 c = 0; c < n; c++) {
            rows->spread(job->in[0] + place(plan, i, first + c), plan->run, mean[c], &part);
            spread[c] += part;
        }
    }
    for (gint64 c = 0; c < n; c++) {
        const double variance = spread[c] / count;
        factor[c] = (float)((double)job->in[1][first + c] / sqrt(variance + plan->epsilon));
        job->out[1][first + c] = mean[c];
        job->out[2][first + c] = (float)variance;
    }
    for (gint64 i = 0; i < plan->batch; i++) {
        for (gint64 c = 0; c < n; c++) {
            const gint64 at = place(plan, i, first + c);
            rows->apply(job->in[0] + at, plan->run, mean[c], 0, NULL, NULL, factor[c],
                        job->in[2][first + c], job->out[0] + at);
        }
    }
}

/* Inputs: x, scale, mean, variance, g. */
static void
batch_grad_channels(const Job *job, gint64 first, gint64 n)
{
    const Plan *plan = job->plan;
    const NormRows *rows = &norm_rows[cpu_isa];
    const float *mean = job->in[2] + first;
    const double count = (double)(plan->batch * plan->run);
    double sum[MOST_CHANNELS] = { 0 }, along[MOST_CHANNELS] = { 0 }, part, part_along;
    float inverse[MOST_CHANNELS];
    for (gint64 c = 0; c < n; c++) {
        inverse[c] = (float)(1 / sqrt((double)job->in[3][first + c] + plan->epsilon));
    }
    for (gint64 i = 0; i < plan->batch; i++) {
        for (gint64 c = 0; c < n; c++) {
            const gint64 at = place(plan, i, first + c);
            rows->sums(job->in[0] + at, job->in[4] + at, plan->run, mean[c], inverse[c], NULL,
                       &part, &part_along);
            sum[c] += part;
            along[c] += part_along;
        }
    }
    for (gint64 i = 0; i < plan->batch; i++) {
        for (gint64 c = 0; c < n; c++) {
            const gint64 at = place(plan, i, first + c);
            rows->grad(job->in[0] + at, job->in[4] + at, plan->run, mean[c], inverse[c], NULL,
                       inverse[c] * job->in[1][first + c], (float)(sum[c] / count),
                       (float)(along[c] / count), job->out[0] + at);
        }
    }
    for (gint64 c = 0; c < n; c++) {
        job->out[1][first + c] = (float)along[c];
        job->out[2][first + c] = (float)sum[c];
    }
}

static TnStatus
batch_chunk(gpointer data, gsize chunk, gsize n)
{
    const Plan *plan = ((const Job *)data)->plan;
    const gint64 first = (gint64)chunk * plan->per_chunk;
    (void)n;
    batch_channels(data, first, MIN(plan->per_chunk, plan->channels - first));
    return TN_OK;
}

static TnStatus
batch_grad_chunk(gpointer data, gsize chunk, gsize n)
{
    const Plan *plan = ((const Job *)data)->plan;
    const gint64 first = (gint64)chunk * plan->per_chunk;
    (void)n;
    batch_grad_channels(data, first, MIN(plan->per_chunk, plan->channels - first));
    return TN_OK;
}

/* Few elements: all channels by the caller, for handing one over would take longer. */
static TnStatus
for_channels(const Plan *plan, TnChunkFunc func, Job *job)
{
    const gint64 chunks = (plan->channels + plan->per_chunk - 1) / plan->per_chunk;
    if (plan->batch * plan->channels * plan->run >= CPU_GRAIN) {
        return tn_parallel_for((gsize)chunks, func, job);
    }
    for (gint64 chunk = 0; chunk < chunks; chunk++) {
        func(job, (gsize)chunk, (gsize)chunks);
    }
    return TN_OK;
}

static TnStatus
run_batch(void *state, const TnRun *run)
{
    Job job = job_of(state, run, 3, 3);
    return for_channels(state, batch_chunk, &job);
}

static TnStatus
run_batch_grad(void *state, const TnRun *run)
{
    Job job = job_of(state, run, 5, 3);
    return for_channels(state, batch_grad_chunk, &job);
}

/* Runs of neighbours long enough to be vectors; others are left to the body. */
static gboolean
claims_batch(const TnNode *node)
{
    const TnType *x = &node->in[0].type;
    return all_f32(node) && cpu_count(x->rank - 2, x->dims + 2) >= 16;
}

static gboolean
prepare_batch(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnEpsilonAttrs *attrs = node->attrs;
    const TnType *x = &node->in[0].type;
    Plan *plan = g_new0(Plan, 1);
    (void)error;
    plan->epsilon = attrs->epsilon;
    plan->batch = x->dims[0];
    plan->channels = x->dims[1];
    plan->run = cpu_count(x->rank - 2, x->dims + 2);
    plan->per_chunk =
        CLAMP(PIECE / MAX(1, plan->run), 1, CLAMP(plan->channels / 16, 1, MOST_CHANNELS));
    prepared->state = plan;
    return TRUE;
}

#define ROW(name, claims_, prepare_, run_)                                                         \
    {                                                                                              \
        .op = (name), .dtypes = TN_DT(F32), .claims = (claims_), .prepare = (prepare_),            \
        .run = (run_), .release = g_free                                                           \
    }

static const TnKernel kernels[] = {
    ROW("layer_normalization", all_f32, prepare_layer, run_layer),
    ROW("layer_normalization_grad", all_f32, prepare_layer, run_layer_grad),
    ROW("rms_normalization", all_f32, prepare_layer, run_layer),
    ROW("rms_normalization_grad", all_f32, prepare_layer, run_layer_grad),
    ROW("batch_normalization_training", claims_batch, prepare_batch, run_batch),
    ROW("batch_normalization_grad", claims_batch, prepare_batch, run_batch_grad),
};

const TnKernelTable cpu_norm = CPU_TABLE(kernels);
