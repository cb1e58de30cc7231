/* pool.c: maxima and averages over windows of up to 3 spatial axes, and their gradients, a channel's plane
 * at a time, in f32; maxima of bf16, too. pool_laid.c and pool_squares.c compute planes; gradients of large
 * windows, or of few, a plane's only window, and windows that see almost nothing but padding, are computed
 * here, one window after the other. */
#include <math.h>

#include <tenon/nn.h>

#include "pool.h"
#include "tables.h"

/* Chunks that have memory of their own, at most. */
#define MOST_CHUNKS 64
/* Elements that a plane is laid as, at most, in all (there are tables as long as an axis) and for each of it and
 * of its windows (no memory may have what is almost all padding). */
#define MOST_LAID ((gint64)1 << 28)
#define MOST_SPREAD 256

typedef struct {
    const PoolPlan *plan;
    const guint8 *a, *b;
    guint8 *out, *scratch;
    gsize a_plane, b_plane, out_plane; /* bytes */
} Job;

gint64
pool_count(const PoolPlan *p, gint axis, gint64 o)
{
    const gint64 d = p->dilation[axis], first = o * p->stride[axis] - p->pad[axis];
    const gint64 low = first < 0 ? (-first + d - 1) / d : 0;
    const gint64 end = p->count_padding ? p->padded[axis] - p->pad[axis] : p->s[axis];
    const gint64 high = MIN(p->k[axis], (end - first + d - 1) / d);
    return p->count_padding ? high : MAX(0, high - low);
}

/* One window: taps [low, high) of each axis that lie inside the plane, at first + tap *
 * dilation. */
typedef struct {
    gint64 first[3], low[3], high[3];
} Window;

static Window
window_at(const PoolPlan *p, gint64 number)
{
    Window w;
    for (gint i = 2; i >= 0; i--) {
        gint64 o = number % p->o[i], d = p->dilation[i];
        number /= p->o[i];
        w.first[i] = o * p->stride[i] - p->pad[i];
        w.low[i] = w.first[i] < 0 ? (-w.first[i] + d - 1) / d : 0;
        w.high[i] = MIN(p->k[i], (p->s[i] - w.first[i] + d - 1) / d);
        w.high[i] = MAX(w.high[i], w.low[i]);
    }
    return w;
}

/* The place of the largest element, the first of equals; NaN is the largest. -1 if the window is
 * empty. */
static gint64
window_best(const PoolPlan *p, const Window *w, const float *x)
{
    gint64 best = -1;
    for (gint64 a = w->low[0]; a < w->high[0]; a++) {
        for (gint64 b = w->low[1]; b < w->high[1]; b++) {
            gint64 line =
                ((w->first[0] + a * p->dilation[0]) * p->s[1] + w->first[1] + b * p->dilation[1]) *
                    p->s[2] +
                w->first[2];
            for (gint64 c = w->low[2]; c < w->high[2]; c++) {
                gint64 at = line + c * p->dilation[2];
                if (best < 0 || x[at] > x[best] || (x[at] != x[at] && x[best] == x[best])) {
                    best = at;
                }
            }
        }
    }
    return best;
}

static void
max_plane(const PoolPlan *p, const void *from_x, const void *unused, void *to_y, void *scratch)
{
    const float *x = from_x;
    float *out = to_y;
    (void)unused;
    (void)scratch;
    for (gint64 i = 0; i < p->outs; i++) {
        const Window w = window_at(p, i);
        const gint64 best = window_best(p, &w, x);
        out[i] = best < 0 ? -INFINITY : x[best];
    }
}

static void
max_grad_plane(const PoolPlan *p, const void *from_x, const void *from_g, void *to_dx,
               void *scratch)
{
    const float *x = from_x, *g = from_g;
    float *out = to_dx;
    (void)scratch;
    memset(out, 0, (gsize)p->in * sizeof(float));
    for (gint64 i = 0; i < p->outs; i++) {
        Window w = window_at(p, i);
        gint64 best = window_best(p, &w, x);
        if (best >= 0) {
            out[best] += g[i];
        }
    }
}

/* Elements that window number o averages over. */
static float
window_count(const PoolPlan *p, gint64 o)
{
    gint64 count = 1;
    for (gint axis = 2; axis >= 0; axis--) {
        count = cpu_times(count, pool_count(p, axis, o % p->o[axis]));
        o /= p->o[axis];
    }
    return (float)count;
}

static void
average_plane(const PoolPlan *p, const void *from_x, const void *unused, void *to_y, void *scratch)
{
    const float *x = from_x;
    float *out = to_y;
    (void)unused;
    (void)scratch;
    for (gint64 i = 0; i < p->outs; i++) {
        const Window w = window_at(p, i);
        double sum = 0;
        for (gint64 a = w.low[0]; a < w.high[0]; a++) {
            for (gint64 b = w.low[1]; b < w.high[1]; b++) {
                const float *line = x + ((w.first[0] + a * p->dilation[0]) * p->s[1] + w.first[1] +
                                         b * p->dilation[1]) *
                                            p->s[2];
                for (gint64 c = w.low[2]; c < w.high[2]; c++) {
                    sum += (double)line[w.first[2] + c * p->dilation[2]];
                }
            }
        }
        out[i] = (float)sum / window_count(p, i);
    }
}

static void
average_grad_plane(const PoolPlan *p, const void *from_g, const void *unused, void *to_dx,
                   void *scratch)
{
    const float *g = from_g;
    float *out = to_dx;
    (void)unused;
    (void)scratch;
    memset(out, 0, (gsize)p->in * sizeof(float));
    for (gint64 i = 0; i < p->outs; i++) {
        Window w = window_at(p, i);
        float share = g[i] / window_count(p, i);
        for (gint64 a = w.low[0]; a < w.high[0]; a++) {
            for (gint64 b = w.low[1]; b < w.high[1]; b++) {
                float *line = out + ((w.first[0] + a * p->dilation[0]) * p->s[1] + w.first[1] +
                                     b * p->dilation[1]) *
                                        p->s[2];
                for (gint64 c = w.low[2]; c < w.high[2]; c++) {
                    line[w.first[2] + c * p->dilation[2]] += share;
                }
            }
        }
    }
}

/* --- Planes ----------------------------------------------------------------------------------- */

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const PoolPlan *plan = job->plan;
    const gsize first = chunk * (gsize)plan->per_chunk;
    const gsize end = MIN((gsize)plan->planes, first + (gsize)plan->per_chunk);
    (void)n;
    for (gsize i = first; i < end; i++) {
        plan->plane(plan, job->a + i * job->a_plane, job->b ? job->b + i * job->b_plane : NULL,
                    job->out + i * job->out_plane, job->scratch + chunk * plan->scratch);
    }
    return TN_OK;
}

/* n_a, n_b, n_out: elements of a plane of in[0], in[1] (0: there is none), out[0]. */
static TnStatus
run_planes(const PoolPlan *plan, const TnRun *run, gint64 n_a, gint64 n_b, gint64 n_out)
{
    const gsize size = tn_dtype_size(plan->dtype);
    Job job = { .plan = plan,
                .a = run->in[0],
                .b = n_b > 0 ? run->in[1] : NULL,
                .out = run->out[0],
                .scratch = run->scratch,
                .a_plane = (gsize)n_a * size,
                .b_plane = (gsize)n_b * size,
                .out_plane = (gsize)n_out * size };
    if (plan->planes == 0 || n_out == 0) {
        return TN_OK;
    }
    return tn_parallel_for((gsize)cpu_parts(plan->planes, plan->per_chunk), run_chunk, &job);
}

static TnStatus
run_forward(void *state, const TnRun *run)
{
    const PoolPlan *plan = state;
    return run_planes(plan, run, plan->in, 0, plan->outs);
}

static TnStatus
run_max_grad(void *state, const TnRun *run)
{
    const PoolPlan *plan = state;
    return run_planes(plan, run, plan->in, plan->outs, plan->in);
}

static TnStatus
run_average_grad(void *state, const TnRun *run)
{
    const PoolPlan *plan = state;
    return run_planes(plan, run, plan->outs, 0, plan->in);
}

static void
plan_free(void *state)
{
    pool_laid_clear(state);
    g_free(state);
}

/* What windows over x, y of them, are: a plan without what pool_laid.c sets of it. */
static void
plan_windows(PoolPlan *p, const TnNode *node, const TnType *x, const TnType *y)
{
    const TnPoolAttrs *attrs = node->attrs;
    gint n = attrs->window.kernel_shape.n;
    for (gint i = 0; i < 3; i++) {
        p->s[i] = p->o[i] = p->k[i] = p->stride[i] = p->dilation[i] = p->padded[i] = 1;
    }
    for (gint i = 0; i < n; i++) {
        TnConvAxis axis = tn_window_axis(&attrs->window, i);
        gint to = i + 3 - n;
        p->s[to] = x->dims[2 + i];
        p->o[to] = y->dims[2 + i];
        p->k[to] = attrs->window.kernel_shape.v[i];
        p->dilation[to] = p->k[to] > 1 ? axis.dilation : 1;
        /* That of a single window is no matter; along rows, which pool_laid.c goes through first, one as long
         * as the window leaves nothing to be computed beside it. */
        p->stride[to] = p->o[to] > 1 ? axis.stride
                        : to == 2    ? (p->k[to] - 1) * p->dilation[to] + 1
                                     : 1;
        p->pad[to] = axis.pad_begin;
        p->padded[to] = p->s[to] + axis.pad_begin + axis.pad_end;
    }
    p->dtype = x->dtype;
    p->in = cpu_count(3, p->s);
    p->outs = cpu_count(3, p->o);
    p->planes = x->dims[0] * x->dims[1];
    p->count_padding = attrs->count_include_pad;
    const gint64 laid = pool_laid_size(p);
    /* A single window is faster gone through as it lies; of bf16 there is no loop that does. */
    p->laid = (p->outs != 1 || p->dtype == TN_DTYPE_BF16) && laid <= MOST_LAID &&
              laid / MOST_SPREAD - MOST_SPREAD - p->outs <= p->in;
}

/* A plan without `plane`. */
static PoolPlan *
plan_new(const TnNode *node, const TnType *x, const TnType *y)
{
    PoolPlan *p = g_new0(PoolPlan, 1);
    plan_windows(p, node, x, y);
    if (p->laid) {
        pool_lay_out(p);
    }
    return p;
}

/* Windows one after the other are of f32. */
static gboolean
claims_max(const TnNode *node)
{
    PoolPlan plan = { 0 };
    plan_windows(&plan, node, &node->in[0].type, &node->out[0].type);
    return plan.laid || plan.dtype == TN_DTYPE_F32;
}

/* How a plane is computed, at which cost (elements of simple work) and with how many numbers of scratch. */
static void
set_plane(TnPrepared *prepared, PoolPlan *p, PoolPlaneFn plane, gint64 cost, gint64 numbers)
{
    p->plane = plane;
    p->scratch = ((gsize)numbers * sizeof(float) + 63) & ~(gsize)63;
    p->per_chunk = cpu_items_per_chunk(p->planes, cost);
    if (numbers > 0) {
        p->per_chunk = MAX(p->per_chunk, cpu_parts(p->planes, MOST_CHUNKS));
    }
    prepared->state = p;
    prepared->scratch = (gsize)cpu_parts(p->planes, p->per_chunk) * p->scratch;
}

/* Elements that the windows of a plane see. */
static gint64
reads_of(const PoolPlan *p)
{
    const gint64 reads = cpu_times(p->outs, cpu_count(3, p->k));
    return MIN(p->in, G_MAXINT64 - reads) + reads;
}

static gint64
laid_cost(const PoolPlan *p, gint64 taps)
{
    return p->in + p->all + cpu_times(p->length, taps) / 4;
}

static gboolean
prepare_forward(const TnNode *node, TnPrepared *prepared, PoolPlaneFn laid, PoolPlaneFn by_window)
{
    PoolPlan *p = plan_new(node, &node->in[0].type, &node->out[0].type);
    if (p->laid) {
        set_plane(prepared, p, laid, laid_cost(p, p->k[0] + p->k[1] + p->k[2]),
                  pool_laid_numbers(p));
    } else {
        set_plane(prepared, p, by_window, reads_of(p), 0);
    }
    return TRUE;
}

static gboolean
prepare_max(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    prepare_forward(node, prepared, pool_laid_max, max_plane);
    PoolPlan *p = prepared->state;
    if (p->dtype == TN_DTYPE_F32 && pool_is_squares(p)) {
        set_plane(prepared, p, pool_square_max[cpu_isa], reads_of(p), 0);
    }
    return TRUE;
}

static gboolean
prepare_average(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return prepare_forward(node, prepared, pool_laid_average, average_plane);
}

static gboolean
prepare_max_grad(const TnNode *node, TnPrepared *prepared, GError **error)
{
    PoolPlan *p = plan_new(node, &node->in[0].type, &node->in[1].type);
    (void)error;
    if (pool_is_squares(p)) {
        set_plane(prepared, p, pool_square_grad[cpu_isa], reads_of(p), 0);
    } else if (pool_laid_fits(p)) {
        set_plane(prepared, p, pool_laid_max_grad, laid_cost(p, 2 * cpu_count(3, p->k)),
                  pool_laid_max_grad_numbers(p));
    } else {
        set_plane(prepared, p, max_grad_plane, reads_of(p), 0);
    }
    return TRUE;
}

static gboolean
prepare_average_grad(const TnNode *node, TnPrepared *prepared, GError **error)
{
    PoolPlan *p = plan_new(node, &node->out[0].type, &node->in[0].type);
    (void)error;
    if (pool_laid_fits(p)) {
        set_plane(prepared, p, pool_laid_average_grad, laid_cost(p, cpu_count(3, p->k)),
                  pool_laid_average_grad_numbers(p));
    } else {
        set_plane(prepared, p, average_grad_plane, reads_of(p), 0);
    }
    return TRUE;
}

#define ROW(name, dtypes_, claims_, prepare_, run_)                                                \
    {                                                                                              \
        .op = (name), .dtypes = (dtypes_), .claims = (claims_), .prepare = (prepare_),             \
        .run = (run_), .release = plan_free                                                        \
    }

static const TnKernel kernels[] = {
    ROW("max_pool", TN_DT(F32) | TN_DT(BF16), claims_max, prepare_max, run_forward),
    ROW("max_pool_grad", TN_DT(F32), NULL, prepare_max_grad, run_max_grad),
    ROW("average_pool", TN_DT(F32), NULL, prepare_average, run_forward),
    ROW("average_pool_grad", TN_DT(F32), NULL, prepare_average_grad, run_average_grad),
};

const TnKernelTable cpu_pool = CPU_TABLE(kernels);
