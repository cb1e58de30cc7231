/* cross_entropy.c: cross-entropy from logits and its gradient, one pass over the logits each, in
 * f32. Losses are added in f64 in the order of the samples. Label smoothing and other dtypes are
 * left to the operators' bodies. */
#include <math.h>

#include <tenon/nn.h>

#include "softmax.h"
#include "tables.h"

/* Classes that are gathered on the stack. */
#define MAX_CLASSES 4096

typedef struct {
    gint64 samples, classes, places; /* logits [samples, classes, places] */
    gint64 items, per_chunk;         /* samples * places */
    gboolean i32, weighted;
    gint reduction;
    gint64 ignore;
    gboolean few; /* few classes in neighbouring rows: many samples at once */
} Plan;

/* A sample's own terms. */
typedef struct {
    float loss, weight;
} Term;

typedef struct {
    const Plan *plan;
    const TnRun *run;
    const float *logits, *weight, *g;
    float *out;   /* the gradient */
    Term *terms;  /* the loss */
    double total; /* of the weights */
} Job;

static gint64
target_at(const Job *job, gint64 item)
{
    return job->plan->i32 ? ((const gint32 *)job->run->in[1])[item]
                          : ((const gint64 *)job->run->in[1])[item];
}

/* The class of a sample; -1 if it is ignored, -2 if it is none. */
static gint64
class_of(const Job *job, gint64 item)
{
    const Plan *plan = job->plan;
    gint64 target = target_at(job, item);
    if (target == plan->ignore) {
        return -1;
    }
    return target >= 0 && target < plan->classes ? target : -2;
}

static TnStatus
out_of_range(const Job *job, gint64 item)
{
    gint64 n = job->plan->classes;
    return tn_run_fail(job->run,
                       "cross_entropy: target %" G_GINT64_FORMAT " of sample %" G_GINT64_FORMAT
                       " is not in [0, %" G_GINT64_FORMAT "); ignore_index is %" G_GINT64_FORMAT,
                       target_at(job, item), item, n, job->plan->ignore);
}

/* The logits of an item, neighbours: where they lie, or copied into `buffer`. */
static const float *
row_of(const Plan *plan, const float *logits, gint64 item, float *buffer)
{
    gint64 at = item / plan->places * plan->classes * plan->places + item % plan->places;
    if (plan->places == 1) {
        return logits + at;
    }
    for (gint64 c = 0; c < plan->classes; c++) {
        buffer[c] = logits[at + c * plan->places];
    }
    return buffer;
}

/* Samples [item, item + n), n <= SOFTMAX_ROWS, of few classes. */
static TnStatus
loss_few(const Job *job, gint64 item, gint64 n)
{
    const Plan *plan = job->plan;
    const float *rows = job->logits + item * plan->classes;
    SoftmaxBlock block;
    softmax_block[cpu_isa](rows, n, plan->classes, &block);
    for (gint64 i = 0; i < n; i++) {
        gint64 target = class_of(job, item + i);
        job->terms[item + i] = (Term){ 0, 0 };
        if (target == -2) {
            return out_of_range(job, item + i);
        }
        if (target >= 0) {
            float weight = plan->weighted ? job->weight[target] : 1;
            float logp = (rows[i * plan->classes + target] - block.max[i]) - block.log_sum[i];
            job->terms[item + i] = (Term){ -(logp * weight), weight };
        }
    }
    return TN_OK;
}

static TnStatus
loss_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    gint64 first = (gint64)chunk * plan->per_chunk, end = MIN(plan->items, first + plan->per_chunk);
    float buffer[MAX_CLASSES], max, sum;
    (void)n;
    for (gint64 item = first; plan->few && item < end; item += SOFTMAX_ROWS) {
        TnStatus status = loss_few(job, item, MIN(SOFTMAX_ROWS, end - item));
        if (status != TN_OK) {
            return status;
        }
    }
    for (gint64 item = first; !plan->few && item < end; item++) {
        gint64 target = class_of(job, item);
        job->terms[item] = (Term){ 0, 0 };
        if (target == -2) {
            return out_of_range(job, item);
        }
        if (target >= 0) {
            const float *row = row_of(plan, job->logits, item, buffer);
            float weight = plan->weighted ? job->weight[target] : 1;
            softmax_rows[cpu_isa].total(row, plan->classes, &max, &sum);
            float logp = (row[target] - max) - logf(sum);
            job->terms[item] = (Term){ -(logp * weight), weight };
        }
    }
    return TN_OK;
}

static TnStatus
run_loss(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { .plan = plan, .run = run, .logits = run->in[0], .terms = run->scratch };
    float *out = run->out[0];
    double loss = 0, weight = 0;
    TnStatus status = TN_OK;
    job.weight = plan->weighted ? run->in[2] : NULL;
    if (plan->items > 0) {
        status = tn_parallel_for((gsize)((plan->items + plan->per_chunk - 1) / plan->per_chunk),
                                 loss_chunk, &job);
    }
    for (gint64 i = 0; status == TN_OK && i < plan->items; i++) {
        if (plan->reduction == TN_LOSS_NONE) {
            out[i] = job.terms[i].loss;
        } else {
            loss += (double)job.terms[i].loss;
            weight += (double)job.terms[i].weight;
        }
    }
    if (plan->reduction != TN_LOSS_NONE) {
        out[0] = (float)(plan->reduction == TN_LOSS_MEAN ? loss / weight : loss);
    }
    return status;
}

/* What a sample's gradient is multiplied by. */
static float
scale_of(const Job *job, gint64 item, gint64 target)
{
    const Plan *plan = job->plan;
    float g = job->g[plan->reduction == TN_LOSS_NONE ? item : 0];
    float weight = plan->weighted ? job->weight[target] : 1;
    g = plan->reduction == TN_LOSS_MEAN ? (float)((double)g / job->total) : g;
    return g * weight;
}

static TnStatus
grad_few(const Job *job, gint64 item, gint64 n)
{
    const Plan *plan = job->plan;
    SoftmaxBlock block;
    softmax_block[cpu_isa](job->logits + item * plan->classes, n, plan->classes, &block);
    for (gint64 i = 0; i < n; i++) {
        gint64 target = class_of(job, item + i);
        float *to = job->out + (item + i) * plan->classes;
        if (target == -2) {
            return out_of_range(job, item + i);
        }
        float scale = target >= 0 ? scale_of(job, item + i, target) : 0;
        for (gint64 c = 0; c < plan->classes; c++) {
            float p = block.terms[c][i] / block.sum[i] - (c == target ? 1.0f : 0.0f);
            to[c] = target >= 0 ? p * scale : 0;
        }
    }
    return TN_OK;
}

static void
grad_row(const Job *job, gint64 item, gint64 target, const float *row, float *terms, float *to)
{
    const Plan *plan = job->plan;
    float scale = scale_of(job, item, target), max, sum;
    softmax_row[cpu_isa](row, plan->classes, terms, &max, &sum);
    const float own = terms[target];
    softmax_rows[cpu_isa].scale(terms, plan->classes, scale / sum, plan->places == 1 ? to : terms);
    for (gint64 c = 0; plan->places > 1 && c < plan->classes; c++) {
        to[c * plan->places] = terms[c];
    }
    to[target * plan->places] = (own / sum - 1) * scale;
}

static TnStatus
grad_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    gint64 first = (gint64)chunk * plan->per_chunk, end = MIN(plan->items, first + plan->per_chunk);
    float buffer[MAX_CLASSES], terms[MAX_CLASSES];
    (void)n;
    for (gint64 item = first; plan->few && item < end; item += SOFTMAX_ROWS) {
        TnStatus status = grad_few(job, item, MIN(SOFTMAX_ROWS, end - item));
        if (status != TN_OK) {
            return status;
        }
    }
    for (gint64 item = first; !plan->few && item < end; item++) {
        gint64 target = class_of(job, item);
        gint64 at = item / plan->places * plan->classes * plan->places + item % plan->places;
        if (target == -2) {
            return out_of_range(job, item);
        }
        if (target >= 0) {
            grad_row(job, item, target, row_of(plan, job->logits, item, buffer), terms,
                     job->out + at);
        } else {
            for (gint64 c = 0; c < plan->classes; c++) {
                job->out[at + c * plan->places] = 0;
            }
        }
    }
    return TN_OK;
}

static TnStatus
run_grad(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { .plan = plan,
                .run = run,
                .logits = run->in[0],
                .weight = plan->weighted ? run->in[2] : NULL,
                .g = run->in[3],
                .out = run->out[0] };
    for (gint64 i = 0; plan->reduction == TN_LOSS_MEAN && i < plan->items; i++) {
        gint64 target = class_of(&job, i);
        if (target >= 0) {
            job.total += plan->weighted ? (double)job.weight[target] : 1;
        }
    }
    if (plan->items == 0) {
        return TN_OK;
    }
    return tn_parallel_for((gsize)((plan->items + plan->per_chunk - 1) / plan->per_chunk),
                           grad_chunk, &job);
}

static gboolean
claims(const TnNode *node)
{
    const TnCrossEntropyAttrs *attrs = node->attrs;
    const TnType *logits = &node->in[0].type;
    gboolean plain = node->n_in < 3 || node->in[2].type.dtype == TN_DTYPE_NONE ||
                     node->in[2].type.dtype == TN_DTYPE_F32;
    return attrs->label_smoothing == 0 && plain && logits->dims[1] > 0 &&
           logits->dims[1] <= MAX_CLASSES;
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnCrossEntropyAttrs *attrs = node->attrs;
    const TnType *logits = &node->in[0].type;
    Plan *plan = g_new0(Plan, 1);
    (void)error;
    plan->samples = logits->dims[0];
    plan->classes = logits->dims[1];
    plan->places = cpu_count(logits->rank - 2, logits->dims + 2);
    plan->items = plan->samples * plan->places;
    plan->per_chunk = cpu_items_per_chunk(plan->items, plan->classes * 8 + 32);
    plan->few = plan->places == 1 && plan->classes <= SOFTMAX_FEW;
    plan->i32 = node->in[1].type.dtype == TN_DTYPE_I32;
    plan->weighted = node->n_in > 2 && node->in[2].type.dtype != TN_DTYPE_NONE;
    plan->reduction = attrs->reduction;
    plan->ignore = attrs->ignore_index;
    prepared->state = plan;
    prepared->scratch = (gsize)plan->items * sizeof(Term);
    return TRUE;
}

static const TnKernel kernels[] = {
    { .op = "cross_entropy",
      .dtypes = TN_DT(F32),
      .claims = claims,
      .prepare = prepare,
      .run = run_loss,
      .release = g_free },
    { .op = "cross_entropy_grad",
      .dtypes = TN_DT(F32),
      .claims = claims,
      .prepare = prepare,
      .run = run_grad,
      .release = g_free },
};

const TnKernelTable cpu_cross_entropy = CPU_TABLE(kernels);
