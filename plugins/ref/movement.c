/* movement.c: primitives that move, repeat or fill elements without arithmetic (unwindow, which
 * adds, is window's transpose). Each is a strided copy: only where it reads and writes differs. */
#include "ref.h"

/* A region: the same sizes read and written with different strides. */
typedef struct {
    gint rank;
    gint64 dims[TN_MAX_RANK];
    gint64 from[TN_MAX_RANK], to[TN_MAX_RANK]; /* strides */
    gint64 from_at, to_at;                     /* first elements */
} Region;

static void
copy_region(const Region *region, TnDtype dtype, const void *from, void *to)
{
    gsize size = tn_dtype_size(dtype);
    ref_copy(size, region->rank, region->dims, (char *)to + region->to_at * (gint64)size,
             region->to, (const char *)from + region->from_at * (gint64)size, region->from);
}

/* The whole of `in`, read as it is. */
static Region
region_of(const TnArg *in)
{
    Region region = { .rank = in->type.rank };
    for (gint i = 0; i < in->type.rank; i++) {
        region.dims[i] = in->type.dims[i];
        region.from[i] = in->strides[i];
    }
    return region;
}

/* The same elements in row-major order: identity, reshape and all that only change sizes. */
static TnStatus
run_same(void *state, const TnRun *run)
{
    const RefNode *node = state;
    Region region = region_of(&node->in[0]);
    tn_type_strides(&node->in[0].type, region.to);
    copy_region(&region, node->in[0].type.dtype, run->in[0], run->out[0]);
    return TN_OK;
}

/* Reads with given strides (elements of the input) into contiguous out. */
static void
gather_strided(const RefNode *node, const TnRun *run, const gint64 *strides, gint64 at)
{
    const TnArg *out = &node->out[0];
    Region region = { .rank = out->type.rank, .from_at = at };
    memcpy(region.dims, out->type.dims, sizeof region.dims);
    memcpy(region.from, strides, sizeof region.from);
    memcpy(region.to, out->strides, sizeof region.to);
    copy_region(&region, out->type.dtype, run->in[0], run->out[0]);
}

static TnStatus
run_expand(void *state, const TnRun *run)
{
    const RefNode *node = state;
    gint64 strides[TN_MAX_RANK] = { 0 };
    ref_broadcast(&node->in[0], node->out[0].type.rank, strides);
    gather_strided(node, run, strides, 0);
    return TN_OK;
}

static TnStatus
run_transpose(void *state, const TnRun *run)
{
    const RefNode *node = state;
    gint rank = node->in[0].type.rank, perm[TN_MAX_RANK];
    gint64 strides[TN_MAX_RANK] = { 0 };
    tn_transpose_resolve(node->attrs, rank, perm);
    for (gint i = 0; i < rank; i++) {
        strides[i] = node->in[0].strides[perm[i]];
    }
    gather_strided(node, run, strides, 0);
    return TN_OK;
}

static TnStatus
run_slice(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnArg *in = &node->in[0];
    gint64 start[TN_MAX_RANK], step[TN_MAX_RANK], count[TN_MAX_RANK];
    gint64 strides[TN_MAX_RANK] = { 0 };
    tn_slice_resolve(node->attrs, &in->type, start, step, count);
    for (gint i = 0; i < in->type.rank; i++) {
        strides[i] = step[i] * in->strides[i];
    }
    gather_strided(node, run, strides, ref_dot(in->type.rank, start, in->strides));
    return TN_OK;
}

static void
fill(const TnArg *out, void *to, double value)
{
    for (gint64 i = 0; i < out->count; i++) {
        ref_store_number(out->type.dtype, to, i, value);
    }
}

static TnStatus
run_unslice(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnArg *out = &node->out[0];
    gint64 start[TN_MAX_RANK], step[TN_MAX_RANK], count[TN_MAX_RANK];
    Region region = region_of(&node->in[0]);
    tn_slice_resolve(node->attrs, &out->type, start, step, count);
    for (gint i = 0; i < out->type.rank; i++) {
        region.to[i] = step[i] * out->strides[i];
    }
    region.to_at = ref_dot(out->type.rank, start, out->strides);
    fill(out, run->out[0], 0);
    copy_region(&region, out->type.dtype, run->in[0], run->out[0]);
    return TN_OK;
}

static TnStatus
run_pad(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnPadAttrs *attrs = node->attrs;
    const TnArg *in = &node->in[0], *out = &node->out[0];
    gint64 begin[TN_MAX_RANK], end[TN_MAX_RANK];
    Region region = region_of(in);
    tn_pad_resolve(attrs, in->type.rank, begin, end);
    for (gint i = 0; i < in->type.rank; i++) {
        gint64 crop = MAX(0, -begin[i]);
        region.dims[i] = MAX(0, in->type.dims[i] - crop - MAX(0, -end[i]));
        region.to[i] = out->strides[i];
        region.from_at += crop * in->strides[i];
        region.to_at += MAX(0, begin[i]) * out->strides[i];
    }
    fill(out, run->out[0], attrs->value);
    copy_region(&region, out->type.dtype, run->in[0], run->out[0]);
    return TN_OK;
}

static gint
axis_of(gint64 axis, gint rank)
{
    return (gint)(axis < 0 ? axis + rank : axis);
}

static TnStatus
run_concat(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnAxisAttrs *attrs = node->attrs;
    const TnArg *out = &node->out[0];
    gint axis = axis_of(attrs->axis, out->type.rank);
    gint64 place = 0;
    for (gint i = 0; i < node->n_in; i++) {
        Region region = region_of(&node->in[i]);
        memcpy(region.to, out->strides, sizeof region.to);
        region.to_at = place * out->strides[axis];
        copy_region(&region, out->type.dtype, run->in[i], run->out[0]);
        place += node->in[i].type.dims[axis];
    }
    return TN_OK;
}

static TnStatus
run_concat_part(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnConcatPartAttrs *attrs = node->attrs;
    const TnArg *in = &node->in[0];
    gint axis = axis_of(attrs->axis, in->type.rank);
    gint64 place = 0;
    for (gint64 i = 0; i < attrs->index; i++) {
        place += node->in[1 + i].type.dims[axis];
    }
    gather_strided(node, run, in->strides, place * in->strides[axis]);
    return TN_OK;
}

static TnStatus
run_split(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnSplitAttrs *attrs = node->attrs;
    const TnArg *in = &node->in[0];
    gint axis = axis_of(attrs->axis, in->type.rank);
    gint64 place = 0;
    for (gint i = 0; i < node->n_out; i++) {
        Region region = region_of(in);
        region.dims[axis] = node->out[i].type.dims[axis];
        memcpy(region.to, node->out[i].strides, sizeof region.to);
        region.from_at = place * in->strides[axis];
        copy_region(&region, in->type.dtype, run->in[0], run->out[i]);
        place += region.dims[axis];
    }
    return TN_OK;
}

static TnStatus
run_window(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnWindowAttrs *attrs = node->attrs;
    const TnArg *in = &node->in[0];
    gint n = attrs->kernel_shape.n, lead = in->type.rank - n;
    gint64 strides[TN_MAX_RANK] = { 0 };
    memcpy(strides, in->strides, (gsize)lead * sizeof(gint64));
    for (gint i = 0; i < n; i++) {
        TnConvAxis axis = tn_window_axis(attrs, i);
        strides[lead + i] = in->strides[lead + i] * axis.stride;
        strides[lead + n + i] = in->strides[lead + i] * axis.dilation;
    }
    gather_strided(node, run, strides, 0);
    return TN_OK;
}

/* Adds what reads element `index` of the windowed axes: every k of which some o * stride + k *
 * dilation is there. */
static void
unwindow_one(const RefNode *node, const void *g, const gint64 *index, void *out, gint64 to)
{
    const TnWindowAttrs *attrs = node->attrs;
    const TnArg *in = &node->in[0];
    TnDtype dtype = in->type.dtype;
    gint n = attrs->kernel_shape.n, lead = in->type.rank - 2 * n;
    gint64 base = ref_dot(lead, index, in->strides), k[TN_MAX_RANK] = { 0 };
    double sum = 0;
    guint64 bits = 0;
    do {
        gint64 at = base;
        gboolean inside = TRUE;
        for (gint i = 0; i < n && inside; i++) {
            TnConvAxis axis = tn_window_axis(attrs, i);
            gint64 place = index[lead + i] - k[i] * axis.dilation;
            inside = place >= 0 && place % axis.stride == 0 &&
                     place / axis.stride < in->type.dims[lead + i];
            at += place / axis.stride * in->strides[lead + i] + k[i] * in->strides[lead + n + i];
        }
        if (inside && ref_is_float(dtype)) {
            sum += ref_load_double(dtype, g, at);
        } else if (inside) {
            bits += ref_load(dtype, g, at).u64;
        }
    } while (ref_next(n, attrs->kernel_shape.v, k));
    ref_store_sum(dtype, out, to, sum, bits);
}

static TnStatus
run_unwindow(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnArg *out = &node->out[0];
    gint64 index[TN_MAX_RANK] = { 0 };
    for (gint64 i = 0; i < out->count; i++) {
        unwindow_one(node, run->in[0], index, run->out[0], i);
        ref_next(out->type.rank, out->type.dims, index);
    }
    return TN_OK;
}

static TnStatus
run_zeros(void *state, const TnRun *run)
{
    const RefNode *node = state;
    fill(&node->out[0], run->out[0], 0);
    return TN_OK;
}

static TnStatus
run_ones(void *state, const TnRun *run)
{
    const RefNode *node = state;
    fill(&node->out[0], run->out[0], 1);
    return TN_OK;
}

static TnStatus
run_full(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnFullLikeAttrs *attrs = node->attrs;
    fill(&node->out[0], run->out[0], attrs->value);
    return TN_OK;
}

/* An integer in any dtype, floats rounded. */
static void
store_integer(TnDtype dtype, void *to, gint64 at, gint64 value)
{
    ref_store_sum(dtype, to, at, (double)value, (guint64)value);
}

static TnStatus
run_size(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnSizeAttrs *attrs = node->attrs;
    const TnType *like = &node->in[0].type;
    guint32 mask = tn_axes_mask(&attrs->axes, like->rank);
    gint64 size = 1;
    for (gint i = 0; i < like->rank; i++) {
        size *= mask >> i & 1 ? like->dims[i] : 1;
    }
    store_integer(node->out[0].type.dtype, run->out[0], 0, size);
    return TN_OK;
}

static TnStatus
run_iota(void *state, const TnRun *run)
{
    const RefNode *node = state;
    for (gint64 i = 0; i < node->out[0].count; i++) {
        store_integer(node->out[0].type.dtype, run->out[0], i, i);
    }
    return TN_OK;
}

/* The same bytes; as the width does not change, a strided copy in the input's dtype. */
static const TnKernel kernels[] = {
    REF_ROW("identity", run_same),       REF_ROW("stop_gradient", run_same),
    REF_ROW("bitcast", run_same),        REF_ROW("reshape", run_same),
    REF_ROW("reshape_as", run_same),     REF_ROW("flatten", run_same),
    REF_ROW("squeeze", run_same),        REF_ROW("unsqueeze", run_same),
    REF_ROW("expand", run_expand),       REF_ROW("expand_as", run_expand),
    REF_ROW("transpose", run_transpose), REF_ROW("slice", run_slice),
    REF_ROW("unslice", run_unslice),     REF_ROW("pad", run_pad),
    REF_ROW("concat", run_concat),       REF_ROW("concat_part", run_concat_part),
    REF_ROW("split", run_split),         REF_ROW("window", run_window),
    REF_ROW("unwindow", run_unwindow),   REF_ROW("zeros_like", run_zeros),
    REF_ROW("ones_like", run_ones),      REF_ROW("full_like", run_full),
    REF_ROW("size", run_size),           REF_ROW("iota", run_iota),
};

const TnKernelTable ref_movement = REF_TABLE(kernels);
