/* softmax.c: softmax, log_softmax and their gradients over the last axis, row by row, in f32. Other
 * axes and dtypes are left to the operators' bodies. */
#include <math.h>

#include "softmax.h"
#include "tables.h"

typedef struct Plan Plan;
struct Plan {
    void (*row)(const Plan *plan, const float *a, const float *b, float *out);
    gint64 rows, n, per_chunk;
};

typedef struct {
    const Plan *plan;
    const float *a, *b;
    float *out;
} Job;

static void
softmax(const Plan *plan, const float *a, const float *b, float *out)
{
    float max, sum;
    (void)b;
    softmax_row[cpu_isa](a, plan->n, out, &max, &sum);
    softmax_rows[cpu_isa].scale(out, plan->n, 1 / sum, out);
}

static void
log_softmax(const Plan *plan, const float *a, const float *b, float *out)
{
    float max, sum;
    (void)b;
    softmax_rows[cpu_isa].total(a, plan->n, &max, &sum);
    softmax_rows[cpu_isa].lower(a, plan->n, max, logf(sum), out);
}

/* y (g - sum (g y)) */
static void
softmax_grad(const Plan *plan, const float *y, const float *g, float *out)
{
    float sum;
    softmax_dot[cpu_isa](y, g, plan->n, &sum);
    softmax_rows[cpu_isa].grad(y, g, plan->n, sum, out);
}

/* g - e^y sum (g) */
static void
log_softmax_grad(const Plan *plan, const float *y, const float *g, float *out)
{
    float sum;
    softmax_dot[cpu_isa](g, NULL, plan->n, &sum);
    softmax_rows[cpu_isa].log_grad(y, g, plan->n, sum, out);
}

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    gint64 first = (gint64)chunk * plan->per_chunk, end = MIN(plan->rows, first + plan->per_chunk);
    (void)n;
    for (gint64 row = first; row < end; row++) {
        plan->row(plan, job->a + row * plan->n, job->b ? job->b + row * plan->n : NULL,
                  job->out + row * plan->n);
    }
    return TN_OK;
}

static TnStatus
run_rows(const Plan *plan, const TnRun *run, const void *second)
{
    Job job = { plan, run->in[0], second, run->out[0] };
    if (plan->rows == 0 || plan->n == 0) {
        return TN_OK;
    }
    return tn_parallel_for((gsize)((plan->rows + plan->per_chunk - 1) / plan->per_chunk), run_chunk,
                           &job);
}

static TnStatus
run_one(void *state, const TnRun *run)
{
    return run_rows(state, run, NULL);
}

static TnStatus
run_two(void *state, const TnRun *run)
{
    return run_rows(state, run, run->in[1]);
}

static gboolean
claims(const TnNode *node)
{
    const TnAxisAttrs *attrs = node->attrs;
    gint rank = node->in[0].type.rank;
    return rank > 0 && cpu_axis(attrs->axis, rank) == rank - 1;
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared,
        void (*row)(const Plan *plan, const float *a, const float *b, float *out))
{
    const TnType *x = &node->in[0].type;
    Plan *plan = g_new0(Plan, 1);
    plan->row = row;
    plan->n = x->dims[x->rank - 1];
    plan->rows = cpu_count(x->rank - 1, x->dims);
    plan->per_chunk = cpu_items_per_chunk(plan->rows, cpu_times(plan->n, 8));
    prepared->state = plan;
    return TRUE;
}

#define PREPARE(name)                                                                              \
    static gboolean prepare_##name(const TnNode *node, TnPrepared *prepared, GError **error)       \
    {                                                                                              \
        (void)error;                                                                               \
        return prepare(node, prepared, name);                                                      \
    }
PREPARE(softmax)
PREPARE(log_softmax)
PREPARE(softmax_grad)
PREPARE(log_softmax_grad)

#define ROW(name, run_)                                                                            \
    {                                                                                              \
        .op = #name, .dtypes = TN_DT(F32), .claims = claims, .prepare = prepare_##name,            \
        .run = (run_), .release = g_free                                                           \
    }

static const TnKernel kernels[] = {
    ROW(softmax, run_one),
    ROW(log_softmax, run_one),
    ROW(softmax_grad, run_two),
    ROW(log_softmax_grad, run_two),
};

const TnKernelTable cpu_softmax = CPU_TABLE(kernels);
