/* pool.c: averages over windows and their gradients, and maxima, by oneDNN, in f32, on slices of planes.
 *
 * The library's maxima pass over NaN, which must be the largest (a network that has gone wrong would look
 * sound), and begin with the lowest finite number. So planes that have NaN or an infinity are done again
 * here. The gradient of maxima is the plugin cpu's: it looks for them in x. */
#include "slices.h"
#include "tables.h"
#include "worth.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include <tenon/nn.h>
#include <tenon/ops.h>

/* Slices at most, elements read that one should have; its planes are a multiple of this. */
#define MOST_SLICES 8
#define SLICE_READS 65536
#define PLANES 16
#define AXES 3 /* spatial, at most */

typedef struct {
    Slices slices; /* of planes */
    OneDnnPool pool;
    gint64 in, out; /* elements of a plane */
} Plan;

typedef struct {
    const Plan *plan;
    const TnRun *run;
} Job;

static OneDnnBox
planes_of(const TnType *type)
{
    OneDnnBox box = { .dtype = type->dtype, .rank = type->rank };
    gint64 step = 1;
    for (gint i = type->rank - 1; i >= 0; i--) {
        box.dims[i] = type->dims[i];
        box.strides[i] = step;
        step *= type->dims[i];
    }
    box.dims[1] *= box.dims[0];
    box.dims[0] = 1;
    return box;
}

/* The library has fast code only for what it knows as row-major, the first stride included. */
static void
set_planes(OneDnnBox *box, gint64 planes)
{
    box->dims[1] = planes;
    box->strides[0] = planes * box->strides[1];
}

/* FALSE: windows that the library has not: with gaps, in the padding alone, or beyond it
 * (ceil_mode). */
static gboolean
plan_pool(Plan *plan, const TnNode *node, gboolean gradient)
{
    const TnPoolAttrs *attrs = node->attrs;
    const TnType *x = gradient ? &node->out[0].type : &node->in[0].type;
    const TnType *y = gradient ? &node->in[0].type : &node->out[0].type;
    OneDnnPool *p = &plan->pool;
    p->max = strcmp(node->op->name, "max_pool") == 0;
    p->gradient = gradient;
    p->count_padding = attrs->count_include_pad;
    p->x = planes_of(x);
    p->y = planes_of(y);
    for (gint i = 0; i < attrs->window.kernel_shape.n; i++) {
        const TnConvAxis axis = tn_window_axis(&attrs->window, i);
        const gint64 kernel = attrs->window.kernel_shape.v[i];
        const gint64 end = (y->dims[2 + i] - 1) * axis.stride + kernel;
        p->kernel[i] = kernel;
        p->stride[i] = axis.stride;
        p->pad[i] = axis.pad_begin;
        p->pad_after[i] = end - axis.pad_begin - x->dims[2 + i];
        if (axis.dilation != 1 || axis.pad_begin >= kernel || p->pad_after[i] >= kernel ||
            end > x->dims[2 + i] + axis.pad_begin + axis.pad_end) {
            return FALSE;
        }
    }
    return TRUE;
}

static gint64
size_of_plane(const OneDnnBox *box)
{
    return box->strides[1];
}

static gint64
reads_of(const OneDnnPool *p)
{
    gint64 reads = p->y.dims[1] * size_of_plane(&p->y);
    for (gint i = 2; i < p->y.rank; i++) {
        reads *= p->kernel[i - 2];
    }
    return reads;
}

/* --- Maxima of what is not finite ------------------------------------------------------------- */

static gboolean
is_finite(const float *x, gint64 n)
{
    gint any = 0;
    for (gint64 i = 0; i < n; i++) {
        any |= !(fabsf(x[i]) <= FLT_MAX);
    }
    return any == 0;
}

/* The largest of a window of a plane [d, h, w], sizes that are not there 1; NaN if one is. */
static float
largest(const float *x, const gint64 *size, const gint64 *first, const gint64 *end)
{
    float best = -INFINITY;
    for (gint64 i = MAX(0, first[0]); i < MIN(size[0], end[0]); i++) {
        for (gint64 j = MAX(0, first[1]); j < MIN(size[1], end[1]); j++) {
            for (gint64 k = MAX(0, first[2]); k < MIN(size[2], end[2]); k++) {
                const float value = x[(i * size[1] + j) * size[2] + k];
                best = value <= best ? best : value;
                if (isnan(value)) {
                    return value;
                }
            }
        }
    }
    return best;
}

static void
maxima_of_plane(const OneDnnPool *p, const float *x, float *y)
{
    const gint n = p->x.rank - 2, none = AXES - n;
    gint64 size[AXES], places[AXES], kernel[AXES], stride[AXES], pad[AXES];
    for (gint i = 0; i < AXES; i++) {
        const gint k = i - none;
        size[i] = k < 0 ? 1 : p->x.dims[2 + k];
        places[i] = k < 0 ? 1 : p->y.dims[2 + k];
        kernel[i] = k < 0 ? 1 : p->kernel[k];
        stride[i] = k < 0 ? 1 : p->stride[k];
        pad[i] = k < 0 ? 0 : p->pad[k];
    }
    for (gint64 at = 0; at < places[0] * places[1] * places[2]; at++) {
        const gint64 place[AXES] = { at / places[2] / places[1], at / places[2] % places[1],
                                     at % places[2] };
        gint64 first[AXES], end[AXES];
        for (gint i = 0; i < AXES; i++) {
            first[i] = place[i] * stride[i] - pad[i];
            end[i] = first[i] + kernel[i];
        }
        y[at] = largest(x, size, first, end);
    }
}

/* --- Running ---------------------------------------------------------------------------------- */

static TnStatus
run_slice(gpointer data, gsize slice, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const gint64 first = slices_first(&plan->slices, slice);
    void *ports[ONEDNN_N_PORTS] = { [ONEDNN_A] = (float *)job->run->in[0] + first * plan->in,
                                    [ONEDNN_OUT] = (float *)job->run->out[0] + first * plan->out };
    const TnStatus status = slices_call(&plan->slices, slice, ports, job->run->scratch);
    (void)n;
    for (gint64 i = 0; plan->pool.max && i < slices_size(&plan->slices, slice); i++) {
        const float *x = (const float *)ports[ONEDNN_A] + i * plan->in;
        if (!is_finite(x, plan->in)) {
            maxima_of_plane(&plan->pool, x, (float *)ports[ONEDNN_OUT] + i * plan->out);
        }
    }
    return status;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { plan, run };
    return slices_run(&plan->slices, run, run_slice, &job, "a pooling");
}

/* --- Planning --------------------------------------------------------------------------------- */

static OneDnnCall *
slice_new(gconstpointer data, gint64 size, GError **error)
{
    const Plan *plan = data;
    OneDnnPool slice = plan->pool;
    set_planes(&slice.x, size);
    set_planes(&slice.y, size);
    return onednn_pool_new(&slice, error);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, gboolean gradient, GError **error)
{
    Plan *plan = g_new0(Plan, 1);
    plan_pool(plan, node, gradient);
    plan->in = size_of_plane(gradient ? &plan->pool.y : &plan->pool.x);
    plan->out = size_of_plane(gradient ? &plan->pool.x : &plan->pool.y);
    slices_cut(&plan->slices, plan->pool.x.dims[1], PLANES,
               MIN(MOST_SLICES, reads_of(&plan->pool) / SLICE_READS));
    return slices_prepare(plan, slice_new, prepared, error);
}

static gboolean
claims(const TnNode *node, gboolean gradient)
{
    Plan plan = { .in = 0 };
    if (node->in[0].count == 0 || node->out[0].count == 0 || !onednn_takes(TN_DTYPE_F32) ||
        node->in[0].type.rank > 2 + AXES || !plan_pool(&plan, node, gradient)) {
        return FALSE;
    }
    set_planes(&plan.pool.x, plan.pool.x.dims[1]);
    set_planes(&plan.pool.y, plan.pool.y.dims[1]);
    return onednn_way_fits(onednn_pool_way(&plan.pool));
}

static gboolean
pays(const TnNode *node, gboolean gradient)
{
    Plan plan = { .in = 0 };
    const OneDnnPool *p = &plan.pool;
    if (node->in[0].count == 0 || node->out[0].count == 0 || !plan_pool(&plan, node, gradient)) {
        return FALSE;
    }
    if (p->max) {
        const gboolean side_by_side = p->kernel[0] == 2 && p->kernel[1] == 2 && p->stride[0] == 2 &&
                                      p->stride[1] == 2 && p->pad[0] == 0 && p->pad[1] == 0;
        return onednn_max_pool_pays(reads_of(p), p->x.rank, side_by_side);
    }
    return onednn_pool_pays(reads_of(p));
}

#define DEFINE(name, gradient)                                                                     \
    static gboolean claims_##name(const TnNode *node)                                              \
    {                                                                                              \
        return claims(node, gradient);                                                             \
    }                                                                                              \
    static gboolean pays_##name(const TnNode *node)                                                \
    {                                                                                              \
        return pays(node, gradient);                                                               \
    }                                                                                              \
    static gboolean prepare_##name(const TnNode *node, TnPrepared *prepared, GError **error)       \
    {                                                                                              \
        return prepare(node, prepared, gradient, error);                                           \
    }
DEFINE(forward, FALSE)
DEFINE(gradient, TRUE)

#define ROW(op_, name)                                                                             \
    {                                                                                              \
        .op = (op_), .dtypes = TN_DT(F32), .rank = ONEDNN_RANK, .claims = claims_##name,           \
        .prepare = prepare_##name, .run = run, .release = slices_release, .pays = pays_##name      \
    }

static const TnKernel kernels[] = {
    ROW("average_pool", forward),
    ROW("average_pool_grad", gradient),
    ROW("max_pool", forward),
};

const TnKernelTable onednn_pool = ONEDNN_TABLE(kernels);
