/* pool.c: maxima and averages over windows of up to 3 spatial axes, and their gradients, a
 * channel's plane at a time, in f32. Windows of 2 x 2 side by side have loops of their own, which
 * become vector code. */
#include <math.h>

#include <tenon/nn.h>

#include "cpu.h"
#include "tables.h"

typedef struct Plan Plan;
struct Plan {
    void (*plane)(const Plan *plan, const float *a, const float *b, float *out);
    gint64 planes, per_chunk;
    gint64 s[3], o[3], k[3], stride[3], dilation[3], pad[3];
    gint64 padded[3];      /* sizes with the user's padding, where windows' counts end */
    gint64 in, outs;       /* elements of a plane */
    gboolean side_by_side; /* windows of 2 x 2, stride 2, inside */
    gboolean count_padding;
};

typedef struct {
    const Plan *plan;
    const float *a, *b;
    float *out;
    gint64 a_plane, b_plane, out_plane;
} Job;

/* One window: taps [low, high) of each axis that lie inside the plane, at first + tap *
 * dilation. */
typedef struct {
    gint64 first[3], low[3], high[3];
} Window;

static Window
window_at(const Plan *p, gint64 number)
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
window_best(const Plan *p, const Window *w, const float *x)
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
max_plane(const Plan *p, const float *x, const float *unused, float *out)
{
    (void)unused;
    for (gint64 i = 0; i < p->outs; i++) {
        Window w = window_at(p, i);
        gint64 best = window_best(p, &w, x);
        out[i] = best < 0 ? -INFINITY : x[best];
    }
}

static void
max_grad_plane(const Plan *p, const float *x, const float *g, float *out)
{
    memset(out, 0, (gsize)p->in * sizeof(float));
    for (gint64 i = 0; i < p->outs; i++) {
        Window w = window_at(p, i);
        gint64 best = window_best(p, &w, x);
        if (best >= 0) {
            out[best] += g[i];
        }
    }
}

/* Elements that a window's average is over. */
static float
divisor(const Plan *p, const Window *w)
{
    gint64 count = 1;
    for (gint i = 0; i < 3; i++) {
        gint64 d = p->dilation[i];
        gint64 padded = MIN(p->k[i], (p->padded[i] - p->pad[i] - w->first[i] + d - 1) / d);
        count *= p->count_padding ? padded : w->high[i] - w->low[i];
    }
    return (float)count;
}

static void
average_plane(const Plan *p, const float *x, const float *unused, float *out)
{
    (void)unused;
    for (gint64 i = 0; i < p->outs; i++) {
        Window w = window_at(p, i);
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
        out[i] = (float)sum / divisor(p, &w);
    }
}

static void
average_grad_plane(const Plan *p, const float *g, const float *unused, float *out)
{
    (void)unused;
    memset(out, 0, (gsize)p->in * sizeof(float));
    for (gint64 i = 0; i < p->outs; i++) {
        Window w = window_at(p, i);
        float share = g[i] / divisor(p, &w);
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

/* --- Windows of 2 x 2 side by side ------------------------------------------------------------ */

/* Eight windows at a time, in vectors: their four elements are p0 p1 over p2 p3. */
#define LANES 8
typedef float Floats __attribute__((vector_size(LANES * sizeof(float))));
typedef gint32 Masks __attribute__((vector_size(LANES * sizeof(gint32))));
typedef Floats Loose __attribute__((aligned(4), may_alias));

#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#define FIRST_PAIRS 0, 8, 1, 9, 2, 10, 3, 11
#define LAST_PAIRS 4, 12, 5, 13, 6, 14, 7, 15

#define LOAD_SQUARES(a, b)                                                                         \
    Floats a0 = *(const Loose *)(a), a1 = *(const Loose *)((a) + LANES);                           \
    Floats b0 = *(const Loose *)(b), b1 = *(const Loose *)((b) + LANES);                           \
    Floats p0 = __builtin_shufflevector(a0, a1, EVEN), p1 = __builtin_shufflevector(a0, a1, ODD);  \
    Floats p2 = __builtin_shufflevector(b0, b1, EVEN), p3 = __builtin_shufflevector(b0, b1, ODD);

/* Where y takes x's place as the largest so far; NaN is the largest, the first stays. */
#define BEATS(y, x) ((Masks)((y) > (x)) | ((Masks)((y) != (y)) & (Masks)((x) == (x))))
#define CHOOSE(mask, y, x) (Floats)(((Masks)(y) & (mask)) | ((Masks)(x) & ~(mask)))

static CPU_INLINE void
max_squares(const float *a, const float *b, float *to)
{
    LOAD_SQUARES(a, b)
    Floats top = CHOOSE(BEATS(p1, p0), p1, p0), low = CHOOSE(BEATS(p3, p2), p3, p2);
    *(Loose *)to = CHOOSE(BEATS(low, top), low, top);
}

static CPU_INLINE void
grad_squares(const float *a, const float *b, const float *g, float *c, float *d)
{
    LOAD_SQUARES(a, b)
    Masks right = BEATS(p1, p0), right_low = BEATS(p3, p2);
    Floats top = CHOOSE(right, p1, p0), low = CHOOSE(right_low, p3, p2);
    Masks below = BEATS(low, top), v = (Masks)(*(const Loose *)g);
    Floats c0 = (Floats)(v & ~below & ~right), c1 = (Floats)(v & ~below & right);
    Floats d0 = (Floats)(v & below & ~right_low), d1 = (Floats)(v & below & right_low);
    *(Loose *)c = __builtin_shufflevector(c0, c1, FIRST_PAIRS);
    *(Loose *)(c + LANES) = __builtin_shufflevector(c0, c1, LAST_PAIRS);
    *(Loose *)d = __builtin_shufflevector(d0, d1, FIRST_PAIRS);
    *(Loose *)(d + LANES) = __builtin_shufflevector(d0, d1, LAST_PAIRS);
}

typedef void (*SquareFn)(const Plan *p, const float *x, const float *g, float *out);

static CPU_INLINE void
square_max_body(const Plan *p, const float *x, const float *g, float *out)
{
    gint64 n = p->o[2], full = n / LANES * LANES, rest = n - full;
    float a_end[2 * LANES] = { 0 }, b_end[2 * LANES] = { 0 }, end[LANES];
    (void)g;
    for (gint64 row = 0; row < p->o[1]; row++) {
        const float *a = x + row * 2 * p->s[2], *b = a + p->s[2];
        float *to = out + row * n;
        for (gint64 i = 0; i < full; i += LANES) {
            max_squares(a + 2 * i, b + 2 * i, to + i);
        }
        if (rest > 0) {
            memcpy(a_end, a + 2 * full, 2 * (gsize)rest * sizeof(float));
            memcpy(b_end, b + 2 * full, 2 * (gsize)rest * sizeof(float));
            max_squares(a_end, b_end, end);
            memcpy(to + full, end, (gsize)rest * sizeof(float));
        }
    }
}

static CPU_INLINE void
square_grad_body(const Plan *p, const float *x, const float *g, float *out)
{
    gint64 n = p->o[2], full = n / LANES * LANES, rest = n - full;
    float a_end[2 * LANES] = { 0 }, b_end[2 * LANES] = { 0 }, g_end[LANES] = { 0 };
    float c_end[2 * LANES], d_end[2 * LANES];
    for (gint64 row = 0; row < p->o[1]; row++) {
        const float *a = x + row * 2 * p->s[2], *b = a + p->s[2], *from = g + row * n;
        float *c = out + row * 2 * p->s[2], *d = c + p->s[2];
        for (gint64 i = 0; i < full; i += LANES) {
            grad_squares(a + 2 * i, b + 2 * i, from + i, c + 2 * i, d + 2 * i);
        }
        if (rest > 0) {
            memcpy(a_end, a + 2 * full, 2 * (gsize)rest * sizeof(float));
            memcpy(b_end, b + 2 * full, 2 * (gsize)rest * sizeof(float));
            memcpy(g_end, from + full, (gsize)rest * sizeof(float));
            grad_squares(a_end, b_end, g_end, c_end, d_end);
            memcpy(c + 2 * full, c_end, 2 * (gsize)rest * sizeof(float));
            memcpy(d + 2 * full, d_end, 2 * (gsize)rest * sizeof(float));
        }
        for (gint64 i = 2 * n; i < p->s[2]; i++) {
            c[i] = d[i] = 0;
        }
    }
    for (gint64 i = 2 * p->o[1] * p->s[2]; i < p->in; i++) {
        out[i] = 0;
    }
}

CPU_VERSIONS(square_max, SquareFn, (const Plan *p, const float *x, const float *g, float *out),
             (p, x, g, out))
CPU_VERSIONS(square_grad, SquareFn, (const Plan *p, const float *x, const float *g, float *out),
             (p, x, g, out))

/* --- Planes ----------------------------------------------------------------------------------- */

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    gint64 first = (gint64)chunk * plan->per_chunk,
           end = MIN(plan->planes, first + plan->per_chunk);
    (void)n;
    for (gint64 i = first; i < end; i++) {
        plan->plane(plan, job->a + i * job->a_plane, job->b ? job->b + i * job->b_plane : NULL,
                    job->out + i * job->out_plane);
    }
    return TN_OK;
}

static TnStatus
run_planes(const Plan *plan, const Job *job)
{
    if (plan->planes == 0) {
        return TN_OK;
    }
    return tn_parallel_for((gsize)((plan->planes + plan->per_chunk - 1) / plan->per_chunk),
                           run_chunk, (gpointer)(gsize)job);
}

static TnStatus
run_forward(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { plan, run->in[0], NULL, run->out[0], plan->in, 0, plan->outs };
    return run_planes(plan, &job);
}

static TnStatus
run_max_grad(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { plan, run->in[0], run->in[1], run->out[0], plan->in, plan->outs, plan->in };
    return run_planes(plan, &job);
}

static TnStatus
run_average_grad(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { plan, run->in[0], NULL, run->out[0], plan->outs, 0, plan->in };
    return run_planes(plan, &job);
}

static Plan *
plan_new(const TnNode *node, const TnType *x, const TnType *y)
{
    const TnPoolAttrs *attrs = node->attrs;
    gint n = attrs->window.kernel_shape.n;
    Plan *p = g_new0(Plan, 1);
    for (gint i = 0; i < 3; i++) {
        p->s[i] = p->o[i] = p->k[i] = p->stride[i] = p->dilation[i] = p->padded[i] = 1;
    }
    p->side_by_side = n == 2;
    for (gint i = 0; i < n; i++) {
        TnConvAxis axis = tn_window_axis(&attrs->window, i);
        gint to = i + 3 - n;
        p->s[to] = x->dims[2 + i];
        p->o[to] = y->dims[2 + i];
        p->k[to] = attrs->window.kernel_shape.v[i];
        p->stride[to] = axis.stride;
        p->dilation[to] = axis.dilation;
        p->pad[to] = axis.pad_begin;
        p->padded[to] = p->s[to] + axis.pad_begin + axis.pad_end;
        p->side_by_side = p->side_by_side && p->k[to] == 2 && axis.stride == 2 &&
                          axis.dilation == 1 && axis.pad_begin == 0 && 2 * p->o[to] <= p->s[to];
    }
    p->in = cpu_count(3, p->s);
    p->outs = cpu_count(3, p->o);
    p->planes = x->dims[0] * x->dims[1];
    p->count_padding = attrs->count_include_pad;
    const gint64 reads = cpu_times(p->outs, cpu_count(3, p->k));
    p->per_chunk = cpu_items_per_chunk(p->planes, MIN(p->in, G_MAXINT64 - reads) + reads);
    return p;
}

static gboolean
prepare_max(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *p = plan_new(node, &node->in[0].type, &node->out[0].type);
    (void)error;
    p->plane = p->side_by_side ? square_max[cpu_isa] : max_plane;
    prepared->state = p;
    return TRUE;
}

static gboolean
prepare_max_grad(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *p = plan_new(node, &node->in[0].type, &node->in[1].type);
    (void)error;
    p->plane = p->side_by_side ? square_grad[cpu_isa] : max_grad_plane;
    prepared->state = p;
    return TRUE;
}

static gboolean
prepare_average(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *p = plan_new(node, &node->in[0].type, &node->out[0].type);
    (void)error;
    p->plane = average_plane;
    prepared->state = p;
    return TRUE;
}

static gboolean
prepare_average_grad(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *p = plan_new(node, &node->out[0].type, &node->in[0].type);
    (void)error;
    p->plane = average_grad_plane;
    prepared->state = p;
    return TRUE;
}

#define ROW(name, prepare_, run_)                                                                  \
    {                                                                                              \
        .op = (name), .dtypes = TN_DT(F32), .prepare = (prepare_), .run = (run_),                  \
        .release = g_free                                                                          \
    }

static const TnKernel kernels[] = {
    ROW("max_pool", prepare_max, run_forward),
    ROW("max_pool_grad", prepare_max_grad, run_max_grad),
    ROW("average_pool", prepare_average, run_forward),
    ROW("average_pool_grad", prepare_average_grad, run_average_grad),
};

const TnKernelTable cpu_pool = CPU_TABLE(kernels);
