/* pool_lanes.c: maxima and averages over windows, and their gradients, for sixteen samples at once: they
 * are the last axis of x [N / 16, C, h, w, 16], as the pass `layout` lays them. A plane, [h, w, 16] of
 * one channel, is computed at a time; every step is vertical. */
#include <math.h>

#include <tenon/nn.h>

#include "cpu.h"
#include "tables.h"

#define LANES 16
typedef float V __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
typedef gint32 M __attribute__((vector_size(LANES * sizeof(gint32)), aligned(4), may_alias));

typedef struct Plan Plan;
typedef void (*PlaneFn)(const Plan *plan, const float *a, const float *b, float *out);
struct Plan {
    PlaneFn plane;
    gint64 planes, per_chunk;
    gint64 s[2], o[2], k[2], stride[2], dilation[2], pad[2];
    gint64 padded[2]; /* sizes with the user's padding, where windows' counts end */
    gint64 a, b, out; /* floats of a plane */
    gboolean apart;   /* windows share no element */
    gboolean all;     /* each element is in a window */
    gboolean count_padding;
};

/* The taps of output row or column o that lie inside: [low, high), the first at `first`. */
typedef struct {
    gint64 first, low, high;
} Taps;

static CPU_INLINE Taps
taps_at(const Plan *p, gint axis, gint64 o)
{
    const gint64 d = p->dilation[axis], first = o * p->stride[axis] - p->pad[axis];
    Taps t = { first, first < 0 ? (-first + d - 1) / d : 0, 0 };
    t.high = MAX(t.low, MIN(p->k[axis], (p->s[axis] - first + d - 1) / d));
    return t;
}

/* The element of x that tap (i, j) of a window sees. */
#define AT(p, x, rows, cols, i, j)                                                                 \
    ((x) + (((rows).first + (i) * (p)->dilation[0]) * (p)->s[1] + (cols).first +                   \
            (j) * (p)->dilation[1]) *                                                              \
               LANES)
#define EACH_WINDOW(p, rows, cols)                                                                 \
    for (gint64 row = 0; row < (p)->o[0]; row++)                                                   \
        for (Taps rows = taps_at(p, 0, row), *once = &rows; once; once = NULL)                     \
            for (gint64 col = 0; col < (p)->o[1]; col++)                                           \
                for (Taps cols = taps_at(p, 1, col), *again = &cols; again; again = NULL)
#define EACH_TAP(rows, cols)                                                                       \
    for (gint64 i = (rows).low; i < (rows).high; i++)                                              \
        for (gint64 j = (cols).low; j < (cols).high; j++)

/* Where y takes x's place as the largest so far; NaN is the largest, the first stays. */
#define BEATS(y, x) ((M)((y) > (x)) | ((M)((y) != (y)) & (M)((x) == (x))))
#define CHOOSE(mask, y, x) (V)(((M)(y) & (mask)) | ((M)(x) & ~(mask)))

/* Elements that a window's average is over. */
static CPU_INLINE float
divisor(const Plan *p, const Taps *rows, const Taps *cols)
{
    const Taps *taps[2] = { rows, cols };
    gint64 count = 1;
    for (gint i = 0; i < 2; i++) {
        const gint64 d = p->dilation[i], end = p->padded[i] - p->pad[i] - taps[i]->first;
        const gint64 padded = MIN(p->k[i], (end + d - 1) / d);
        count *= p->count_padding ? padded : taps[i]->high - taps[i]->low;
    }
    return (float)count;
}

#define TARGET
#define VERSION(name) name##_portable
#include "pool_lanes_planes.h"
#undef TARGET
#undef VERSION
#define TARGET CPU_TARGET_AVX2
#define VERSION(name) name##_avx2
#include "pool_lanes_planes.h"
#undef TARGET
#undef VERSION
#define TARGET CPU_TARGET_AVX512
#define VERSION(name) name##_avx512
#include "pool_lanes_planes.h"

#define VERSIONS(name)                                                                             \
    {                                                                                              \
        name##_portable, name##_avx2, name##_avx512                                                \
    }
static const PlaneFn max_planes[CPU_N_ISA] = VERSIONS(max);
static const PlaneFn max_grad_planes[CPU_N_ISA] = VERSIONS(max_grad);
static const PlaneFn square_max_planes[CPU_N_ISA] = VERSIONS(square_max);
static const PlaneFn square_max_grad_planes[CPU_N_ISA] = VERSIONS(square_max_grad);
static const PlaneFn average_planes[CPU_N_ISA] = VERSIONS(average);
static const PlaneFn average_grad_planes[CPU_N_ISA] = VERSIONS(average_grad);

/* --- Running ---------------------------------------------------------------------------------- */

typedef struct {
    const Plan *plan;
    const float *a, *b;
    float *out;
} Job;

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = (gint64)chunk * p->per_chunk, end = MIN(p->planes, first + p->per_chunk);
    (void)n;
    for (gint64 i = first; i < end; i++) {
        p->plane(p, job->a + i * p->a, job->b ? job->b + i * p->b : NULL, job->out + i * p->out);
    }
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *p = state;
    Job job = { p, run->in[0], p->b ? run->in[1] : NULL, run->out[0] };
    return tn_parallel_for((gsize)((p->planes + p->per_chunk - 1) / p->per_chunk), run_chunk, &job);
}

static gboolean
is_lanes(const TnNode *node, const TnType *x)
{
    const TnPoolAttrs *attrs = node->attrs;
    const TnConvAxis lanes = tn_window_axis(&attrs->window, 2);
    return x->rank == 5 && x->dims[4] == LANES && attrs->window.kernel_shape.v[2] == 1 &&
           lanes.stride == 1 && lanes.pad_begin == 0 && lanes.pad_end == 0 &&
           tn_type_count(x) > 0 && node->out[0].count > 0;
}

static gboolean
claims(const TnNode *node)
{
    return is_lanes(node, &node->in[0].type);
}

/* Samples by themselves are summed in f64. */
static gboolean
claims_average(const TnNode *node)
{
    return !node->batch_invariant && claims(node);
}

static gboolean
claims_average_grad(const TnNode *node)
{
    return is_lanes(node, &node->out[0].type);
}

static void
prepare(const TnNode *node, TnPrepared *prepared, PlaneFn plane, const TnType *x, const TnType *y)
{
    const TnPoolAttrs *attrs = node->attrs;
    Plan *p = g_new0(Plan, 1);
    p->plane = plane;
    p->apart = p->all = TRUE;
    for (gint i = 0; i < 2; i++) {
        const TnConvAxis axis = tn_window_axis(&attrs->window, i);
        p->s[i] = x->dims[2 + i];
        p->o[i] = y->dims[2 + i];
        p->k[i] = attrs->window.kernel_shape.v[i];
        p->stride[i] = axis.stride;
        p->dilation[i] = axis.dilation;
        p->pad[i] = axis.pad_begin;
        p->padded[i] = p->s[i] + axis.pad_begin + axis.pad_end;
        p->apart = p->apart && axis.stride > axis.dilation * (p->k[i] - 1);
        p->all = p->all && axis.dilation == 1 && axis.stride <= p->k[i] &&
                 (p->o[i] - 1) * axis.stride - axis.pad_begin + p->k[i] >= p->s[i];
    }
    p->count_padding = attrs->count_include_pad;
    p->planes = x->dims[0] * x->dims[1];
    p->a = cpu_count(3, node->in[0].type.dims + 2);
    p->out = cpu_count(3, node->out[0].type.dims + 2);
    p->per_chunk = cpu_items_per_chunk(p->planes, p->a + p->out);
    prepared->state = p;
}

static gboolean
is_square(const TnNode *node, const TnType *x, const TnType *y)
{
    const TnPoolAttrs *attrs = node->attrs;
    gboolean square = TRUE;
    for (gint i = 0; i < 2; i++) {
        const TnConvAxis axis = tn_window_axis(&attrs->window, i);
        square = square && attrs->window.kernel_shape.v[i] == 2 && axis.stride == 2 &&
                 axis.dilation == 1 && axis.pad_begin == 0 && 2 * y->dims[2 + i] <= x->dims[2 + i];
    }
    return square;
}

/* Where the gradient may be computed into what the maxima were chosen from. */
static gboolean
claims_square_grad(const TnNode *node)
{
    return claims(node) && is_square(node, &node->in[0].type, &node->in[1].type);
}

static gboolean
prepare_max(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    const TnType *x = &node->in[0].type, *y = &node->out[0].type;
    prepare(node, prepared, (is_square(node, x, y) ? square_max_planes : max_planes)[cpu_isa], x, y);
    return TRUE;
}

static gboolean
prepare_max_grad(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    prepare(node, prepared, max_grad_planes[cpu_isa], &node->in[0].type, &node->in[1].type);
    ((Plan *)prepared->state)->b = cpu_count(3, node->in[1].type.dims + 2);
    return TRUE;
}

static gboolean
prepare_square_grad(const TnNode *node, TnPrepared *prepared, GError **error)
{
    prepare_max_grad(node, prepared, error);
    ((Plan *)prepared->state)->plane = square_max_grad_planes[cpu_isa];
    return TRUE;
}

static gboolean
prepare_average(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    prepare(node, prepared, average_planes[cpu_isa], &node->in[0].type, &node->out[0].type);
    return TRUE;
}

static gboolean
prepare_average_grad(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    prepare(node, prepared, average_grad_planes[cpu_isa], &node->out[0].type, &node->in[0].type);
    return TRUE;
}

#define ROW(name, rank_, flags_, claims_, prepare_)                                                \
    {                                                                                              \
        .op = (name), .dtypes = TN_DT(F32), .flags = TN_KERNEL_LANES | (flags_), .rank = (rank_),  \
        .claims = (claims_), .prepare = (prepare_), .run = run, .release = g_free                  \
    }

static const TnKernel kernels[] = {
    ROW("max_pool", 1, 0, claims, prepare_max),
    ROW("max_pool_grad", 2, TN_KERNEL_IN_PLACE, claims_square_grad, prepare_square_grad),
    ROW("max_pool_grad", 1, 0, claims, prepare_max_grad),
    ROW("average_pool", 1, 0, claims_average, prepare_average),
    ROW("average_pool_grad", 1, 0, claims_average_grad, prepare_average_grad),
};

const TnKernelTable cpu_pool_lanes = CPU_TABLE(kernels);
