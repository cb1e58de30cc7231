/* unwindow.c: overlap-add, the transpose of the sliding view. f32, f64 and 64-bit integers add
 * whole lines, tap by tap; the other dtypes gather what each element gets, so that it is rounded
 * once. */
#include "tables.h"
#include "tile.h"

typedef struct {
    TnDtype dtype;
    gboolean native;
    gsize size;
    gint lead, n; /* leading axes, windowed axes */
    gint64 lead_dims[TN_MAX_RANK], lead_strides[TN_MAX_RANK];
    gint64 s[TN_MAX_RANK], to[TN_MAX_RANK];        /* of the result: sizes and strides */
    gint64 o[TN_MAX_RANK], o_strides[TN_MAX_RANK]; /* of g */
    gint64 k[TN_MAX_RANK], k_strides[TN_MAX_RANK];
    gint64 stride[TN_MAX_RANK], dilation[TN_MAX_RANK];
    gint64 images, image, per_chunk;
} Plan;

typedef struct {
    const Plan *plan;
    const char *g;
    char *out;
} Job;

/* to[i * to_step] += from[i * step] */
static void
add_line(const Plan *plan, char *to, gint64 to_step, const char *from, gint64 step, gint64 n)
{
#define LINE(T)                                                                                    \
    {                                                                                              \
        T *a = (T *)(void *)to;                                                                    \
        const T *b = (const T *)(const void *)from;                                                \
        for (gint64 i = 0; i < n; i++) {                                                           \
            a[i * to_step] += b[i * step];                                                         \
        }                                                                                          \
    }
    if (plan->dtype == TN_DTYPE_F32) {
        LINE(float)
    } else if (plan->dtype == TN_DTYPE_F64) {
        LINE(double)
    } else {
        LINE(guint64)
    }
#undef LINE
}

/* One image, tap by tap. */
static void
add_image(const Plan *plan, const char *g, char *out)
{
    gint last = plan->n - 1;
    gint64 tap[TN_MAX_RANK] = { 0 }, size = (gint64)plan->size;
    memset(out, 0, (gsize)plan->image * plan->size);
    if (cpu_count(plan->n, plan->o) == 0 || cpu_count(plan->n, plan->k) == 0) {
        return;
    }
    do {
        gint64 to = 0, from = cpu_dot(plan->n, tap, plan->k_strides), at[TN_MAX_RANK] = { 0 };
        for (gint i = 0; i < plan->n; i++) {
            to += tap[i] * plan->dilation[i] * plan->to[i];
        }
        do {
            gint64 place = to;
            for (gint i = 0; i < last; i++) {
                place += at[i] * plan->stride[i] * plan->to[i];
            }
            add_line(plan, out + place * size, plan->stride[last] * plan->to[last],
                     g + (from + cpu_dot(last, at, plan->o_strides)) * size, plan->o_strides[last],
                     plan->o[last]);
        } while (cpu_next(last, plan->o, at));
    } while (cpu_next(plan->n, plan->k, tap));
}

/* What element `index` of the result gets. */
static void
gather_one(const Plan *plan, const char *g, const gint64 *index, char *to)
{
    const TnDtypeInfo *info = tn_dtype_info(plan->dtype);
    gint64 tap[TN_MAX_RANK] = { 0 };
    union {
        float f32;
        guint64 u64;
    } cell;
    double sum = 0;
    guint64 bits = 0;
    do {
        gint64 at = 0;
        gboolean inside = TRUE;
        for (gint i = 0; i < plan->n && inside; i++) {
            gint64 place = index[i] - tap[i] * plan->dilation[i];
            inside =
                place >= 0 && place % plan->stride[i] == 0 && place / plan->stride[i] < plan->o[i];
            at += place / plan->stride[i] * plan->o_strides[i] + tap[i] * plan->k_strides[i];
        }
        if (inside) {
            info->load(&cell, g + at * (gint64)plan->size, 1, 1);
            sum += info->compute == TN_COMPUTE_F32 ? (double)cell.f32 : 0;
            bits += info->compute == TN_COMPUTE_F32 ? 0 : cell.u64;
        }
    } while (cpu_next(plan->n, plan->k, tap));
    cell.u64 = bits;
    if (info->compute == TN_COMPUTE_F32) {
        cell.f32 = (float)sum;
    }
    info->store(to, &cell, 1, 1);
}

static void
gather_image(const Plan *plan, const char *g, char *out)
{
    gint64 index[TN_MAX_RANK] = { 0 };
    for (gint64 i = 0; i < plan->image; i++, out += plan->size) {
        gather_one(plan, g, index, out);
        cpu_next(plan->n, plan->s, index);
    }
}

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    gint64 first = (gint64)chunk * plan->per_chunk;
    gint64 end = MIN(plan->images, first + plan->per_chunk), index[TN_MAX_RANK] = { 0 };
    (void)n;
    cpu_position(plan->lead, plan->lead_dims, first, index);
    for (gint64 i = first; i < end; i++) {
        const char *g =
            job->g + cpu_dot(plan->lead, index, plan->lead_strides) * (gint64)plan->size;
        char *out = job->out + (gsize)(i * plan->image) * plan->size;
        if (plan->native) {
            add_image(plan, g, out);
        } else {
            gather_image(plan, g, out);
        }
        cpu_next(plan->lead, plan->lead_dims, index);
    }
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { plan, run->in[0], run->out[0] };
    if (plan->images == 0 || plan->image == 0) {
        return TN_OK;
    }
    return tn_parallel_for((gsize)((plan->images + plan->per_chunk - 1) / plan->per_chunk),
                           run_chunk, &job);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnWindowAttrs *attrs = node->attrs;
    const TnArg *g = &node->in[0], *out = &node->out[0];
    Plan *plan = g_new0(Plan, 1);
    (void)error;
    plan->dtype = g->type.dtype;
    plan->native = tile_is_native(plan->dtype);
    plan->size = tn_dtype_size(plan->dtype);
    plan->n = attrs->kernel_shape.n;
    plan->lead = out->type.rank - plan->n;
    memcpy(plan->lead_dims, g->type.dims, (gsize)plan->lead * sizeof(gint64));
    memcpy(plan->lead_strides, g->strides, (gsize)plan->lead * sizeof(gint64));
    for (gint i = 0; i < plan->n; i++) {
        TnConvAxis axis = tn_window_axis(attrs, i);
        plan->s[i] = out->type.dims[plan->lead + i];
        plan->to[i] = out->strides[plan->lead + i];
        plan->o[i] = g->type.dims[plan->lead + i];
        plan->o_strides[i] = g->strides[plan->lead + i];
        plan->k[i] = g->type.dims[plan->lead + plan->n + i];
        plan->k_strides[i] = g->strides[plan->lead + plan->n + i];
        plan->stride[i] = axis.stride;
        plan->dilation[i] = axis.dilation;
    }
    plan->images = cpu_count(plan->lead, plan->lead_dims);
    plan->image = cpu_count(plan->n, plan->s);
    plan->per_chunk = cpu_items_per_chunk(plan->images, cpu_count(plan->n, plan->o) *
                                                            cpu_count(plan->n, plan->k));
    prepared->state = plan;
    return TRUE;
}

static const TnKernel kernels[] = {
    { .op = "unwindow",
      .dtypes = TN_DTYPES_NUMBER,
      .flags = TN_KERNEL_STRIDED,
      .prepare = prepare,
      .run = run,
      .release = g_free },
};

const TnKernelTable cpu_window = CPU_TABLE(kernels);
