/* movement.c: operators that move or fill elements: each is planned as a fill and a few strided
 * copies. unwindow, which adds, is in unwindow.c. */
#include "copy.h"
#include "tables.h"

typedef struct {
    gint in, out;
    gint64 from_at, to_at; /* first elements */
    CpuCopy copy;
} Move;

typedef struct {
    gsize size;
    gint n_out;
    gint64 fill_count; /* of output 0, before anything is copied */
    guint64 fill;      /* the element's bytes */
    gint n;
    Move moves[];
} Plan;

static Plan *
plan_new(const TnNode *node, gint n)
{
    Plan *plan = g_malloc0(sizeof(Plan) + (gsize)n * sizeof(Move));
    plan->size = tn_dtype_size(node->out[0].type.dtype);
    plan->n = n;
    return plan;
}

static void
plan_fill(Plan *plan, const TnArg *out, double value)
{
    plan->fill_count = out->count;
    tn_dtype_convert(out->type.dtype, &plan->fill, 1, TN_DTYPE_F64, &value, 1, 1);
}

static gboolean
finish(TnPrepared *prepared, Plan *plan)
{
    prepared->state = plan;
    return TRUE;
}

/* out is read from input 0 with these strides, from element `at` on. */
static gboolean
read_strided(const TnNode *node, TnPrepared *prepared, const gint64 *strides, gint64 at)
{
    const TnArg *out = &node->out[0];
    Plan *plan = plan_new(node, 1);
    plan->moves[0].from_at = at;
    cpu_copy_plan(&plan->moves[0].copy, plan->size, out->type.rank, out->type.dims, out->strides,
                  strides);
    return finish(prepared, plan);
}

static gboolean
prepare_same(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnArg *in = &node->in[0];
    gint64 to[TN_MAX_RANK] = { 0 };
    Plan *plan = plan_new(node, 1);
    (void)error;
    tn_type_strides(&in->type, to);
    cpu_copy_plan(&plan->moves[0].copy, plan->size, in->type.rank, in->type.dims, to, in->strides);
    return finish(prepared, plan);
}

static gboolean
prepare_expand(const TnNode *node, TnPrepared *prepared, GError **error)
{
    gint64 strides[TN_MAX_RANK] = { 0 };
    (void)error;
    cpu_broadcast(&node->in[0], node->out[0].type.rank, strides);
    return read_strided(node, prepared, strides, 0);
}

static gboolean
prepare_transpose(const TnNode *node, TnPrepared *prepared, GError **error)
{
    gint rank = node->in[0].type.rank, perm[TN_MAX_RANK];
    gint64 strides[TN_MAX_RANK] = { 0 };
    (void)error;
    tn_transpose_resolve(node->attrs, rank, perm);
    for (gint i = 0; i < rank; i++) {
        strides[i] = node->in[0].strides[perm[i]];
    }
    return read_strided(node, prepared, strides, 0);
}

static gboolean
prepare_slice(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnArg *in = &node->in[0];
    gint64 start[TN_MAX_RANK], step[TN_MAX_RANK], count[TN_MAX_RANK];
    gint64 strides[TN_MAX_RANK] = { 0 };
    (void)error;
    tn_slice_resolve(node->attrs, &in->type, start, step, count);
    for (gint i = 0; i < in->type.rank; i++) {
        strides[i] = step[i] * in->strides[i];
    }
    return read_strided(node, prepared, strides, cpu_dot(in->type.rank, start, in->strides));
}

static gboolean
prepare_unslice(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnArg *in = &node->in[0], *out = &node->out[0];
    gint64 start[TN_MAX_RANK], step[TN_MAX_RANK], count[TN_MAX_RANK], to[TN_MAX_RANK] = { 0 };
    Plan *plan = plan_new(node, 1);
    (void)error;
    tn_slice_resolve(node->attrs, &out->type, start, step, count);
    for (gint i = 0; i < out->type.rank; i++) {
        to[i] = step[i] * out->strides[i];
    }
    plan_fill(plan, out, 0);
    plan->moves[0].to_at = cpu_dot(out->type.rank, start, out->strides);
    cpu_copy_plan(&plan->moves[0].copy, plan->size, in->type.rank, in->type.dims, to, in->strides);
    return finish(prepared, plan);
}

static gboolean
prepare_pad(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnPadAttrs *attrs = node->attrs;
    const TnArg *in = &node->in[0], *out = &node->out[0];
    gint64 begin[TN_MAX_RANK], end[TN_MAX_RANK], dims[TN_MAX_RANK] = { 0 };
    Plan *plan = plan_new(node, 1);
    Move *move = &plan->moves[0];
    (void)error;
    tn_pad_resolve(attrs, in->type.rank, begin, end);
    for (gint i = 0; i < in->type.rank; i++) {
        gint64 crop = MAX(0, -begin[i]);
        dims[i] = MAX(0, in->type.dims[i] - crop - MAX(0, -end[i]));
        move->from_at += crop * in->strides[i];
        move->to_at += MAX(0, begin[i]) * out->strides[i];
    }
    plan_fill(plan, out, attrs->value);
    cpu_copy_plan(&move->copy, plan->size, in->type.rank, dims, out->strides, in->strides);
    return finish(prepared, plan);
}

static gboolean
prepare_concat(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnAxisAttrs *attrs = node->attrs;
    const TnArg *out = &node->out[0];
    gint axis = cpu_axis(attrs->axis, out->type.rank);
    gint64 place = 0;
    Plan *plan = plan_new(node, node->n_in);
    (void)error;
    for (gint i = 0; i < node->n_in; i++) {
        const TnArg *in = &node->in[i];
        plan->moves[i].in = i;
        plan->moves[i].to_at = place * out->strides[axis];
        cpu_copy_plan(&plan->moves[i].copy, plan->size, in->type.rank, in->type.dims, out->strides,
                      in->strides);
        place += in->type.dims[axis];
    }
    return finish(prepared, plan);
}

static gboolean
prepare_concat_part(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnConcatPartAttrs *attrs = node->attrs;
    const TnArg *in = &node->in[0];
    gint axis = cpu_axis(attrs->axis, in->type.rank);
    gint64 place = 0;
    (void)error;
    for (gint64 i = 0; i < attrs->index; i++) {
        place += node->in[1 + i].type.dims[axis];
    }
    return read_strided(node, prepared, in->strides, place * in->strides[axis]);
}

static gboolean
prepare_split(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnSplitAttrs *attrs = node->attrs;
    const TnArg *in = &node->in[0];
    gint axis = cpu_axis(attrs->axis, in->type.rank);
    gint64 place = 0;
    Plan *plan = plan_new(node, node->n_out);
    (void)error;
    for (gint i = 0; i < node->n_out; i++) {
        const TnArg *out = &node->out[i];
        plan->moves[i].out = i;
        plan->moves[i].from_at = place * in->strides[axis];
        cpu_copy_plan(&plan->moves[i].copy, plan->size, out->type.rank, out->type.dims,
                      out->strides, in->strides);
        place += out->type.dims[axis];
    }
    return finish(prepared, plan);
}

static gboolean
prepare_window(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnWindowAttrs *attrs = node->attrs;
    const TnArg *in = &node->in[0];
    gint n = attrs->kernel_shape.n, lead = in->type.rank - n;
    gint64 strides[TN_MAX_RANK] = { 0 };
    (void)error;
    memcpy(strides, in->strides, (gsize)lead * sizeof(gint64));
    for (gint i = 0; i < n; i++) {
        TnConvAxis axis = tn_window_axis(attrs, i);
        strides[lead + i] = in->strides[lead + i] * axis.stride;
        strides[lead + n + i] = in->strides[lead + i] * axis.dilation;
    }
    return read_strided(node, prepared, strides, 0);
}

static gboolean
prepare_value(const TnNode *node, TnPrepared *prepared, double value)
{
    Plan *plan = plan_new(node, 0);
    plan_fill(plan, &node->out[0], value);
    return finish(prepared, plan);
}

static gboolean
prepare_zeros(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return prepare_value(node, prepared, 0);
}

static gboolean
prepare_ones(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return prepare_value(node, prepared, 1);
}

static gboolean
prepare_full(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnFullLikeAttrs *attrs = node->attrs;
    (void)error;
    return prepare_value(node, prepared, attrs->value);
}

static gboolean
prepare_size(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnSizeAttrs *attrs = node->attrs;
    const TnType *like = &node->in[0].type;
    guint32 mask = tn_axes_mask(&attrs->axes, like->rank);
    gint64 size = 1;
    Plan *plan = plan_new(node, 0);
    (void)error;
    for (gint i = 0; i < like->rank; i++) {
        size *= mask >> i & 1 ? like->dims[i] : 1;
    }
    plan->fill_count = 1;
    tn_dtype_convert(node->out[0].type.dtype, &plan->fill, 1, TN_DTYPE_I64, &size, 1, 1);
    return finish(prepared, plan);
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *plan = state;
    TnStatus status = TN_OK;
    if (plan->fill_count > 0) {
        status = cpu_fill(run->out[0], plan->size, plan->fill_count, &plan->fill);
    }
    for (gint i = 0; i < plan->n && status == TN_OK; i++) {
        const Move *move = &plan->moves[i];
        if (run->in[move->in] && run->out[move->out]) {
            status = cpu_copy_run(
                &move->copy, (char *)run->out[move->out] + move->to_at * (gint64)plan->size,
                (const char *)run->in[move->in] + move->from_at * (gint64)plan->size);
        }
    }
    return status;
}

typedef struct {
    TnDtype dtype;
    gint64 count;
} Iota;

static gboolean
prepare_iota(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Iota *iota = g_new0(Iota, 1);
    (void)error;
    iota->dtype = node->out[0].type.dtype;
    iota->count = node->out[0].count;
    prepared->state = iota;
    return TRUE;
}

static TnStatus
run_iota(void *state, const TnRun *run)
{
    const Iota *iota = state;
    gsize size = tn_dtype_size(iota->dtype);
    for (gint64 i = 0; i < iota->count; i++) {
        tn_dtype_convert(iota->dtype, (char *)run->out[0] + (gsize)i * size, 1, TN_DTYPE_I64, &i, 1,
                         1);
    }
    return TN_OK;
}

#define ROW(name, function)                                                                        \
    {                                                                                              \
        .op = (name), .dtypes = TN_DTYPES_ALL, .flags = TN_KERNEL_STRIDED, .prepare = (function),  \
        .run = run, .release = g_free                                                              \
    }

static const TnKernel kernels[] = {
    ROW("identity", prepare_same),
    ROW("stop_gradient", prepare_same),
    ROW("bitcast", prepare_same),
    ROW("reshape", prepare_same),
    ROW("reshape_as", prepare_same),
    ROW("flatten", prepare_same),
    ROW("squeeze", prepare_same),
    ROW("unsqueeze", prepare_same),
    ROW("expand", prepare_expand),
    ROW("expand_as", prepare_expand),
    ROW("transpose", prepare_transpose),
    ROW("slice", prepare_slice),
    ROW("unslice", prepare_unslice),
    ROW("pad", prepare_pad),
    ROW("concat", prepare_concat),
    ROW("concat_part", prepare_concat_part),
    ROW("split", prepare_split),
    ROW("window", prepare_window),
    ROW("zeros_like", prepare_zeros),
    ROW("ones_like", prepare_ones),
    ROW("full_like", prepare_full),
    ROW("size", prepare_size),
    { .op = "iota",
      .dtypes = TN_DTYPES_ALL,
      .flags = TN_KERNEL_STRIDED,
      .prepare = prepare_iota,
      .run = run_iota,
      .release = g_free },
};

const TnKernelTable cpu_movement = CPU_TABLE(kernels);
