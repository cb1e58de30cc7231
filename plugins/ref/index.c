/* index.c: reading and writing at computed places, and sorting. An index out of range fails the
 * run. */
#include "ref.h"

#include <math.h>

static gint
axis_of(gint64 axis, gint rank)
{
    return (gint)(axis < 0 ? axis + rank : axis);
}

static TnStatus
out_of_range(const TnRun *run, const RefNode *node, gint64 at, gint64 n)
{
    gint64 index = ref_load(node->in[1].type.dtype, run->in[1], at).i64;
    return tn_run_fail(run,
                       "%s: index %" G_GINT64_FORMAT " is not in [-%" G_GINT64_FORMAT
                       ", %" G_GINT64_FORMAT ")",
                       node->op->name, index, n, n);
}

/* Of gather: where in data and in indices position `index` of out = data[:axis] x indices x
 * data[axis + 1:] lies, but for the indexed axis. */
static void
gather_places(const RefNode *node, gint axis, const gint64 *index, gint64 *in_data,
              gint64 *in_indices)
{
    const TnArg *data = &node->in[0], *indices = &node->in[1];
    gint n = indices->type.rank;
    *in_data = ref_dot(axis, index, data->strides);
    for (gint i = axis + 1; i < data->type.rank; i++) {
        *in_data += index[i + n - 1] * data->strides[i];
    }
    *in_indices = ref_dot(n, index + axis, indices->strides);
}

static TnStatus
run_gather(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnAxisAttrs *attrs = node->attrs;
    const TnArg *data = &node->in[0], *out = &node->out[0];
    gint axis = axis_of(attrs->axis, data->type.rank);
    gsize size = tn_dtype_size(data->type.dtype);
    gint64 index[TN_MAX_RANK] = { 0 };
    for (gint64 i = 0; i < out->count; i++) {
        gint64 from, at;
        gather_places(node, axis, index, &from, &at);
        gint64 row = ref_index_at(node->in[1].type.dtype, run->in[1], at, data->type.dims[axis]);
        if (row < 0) {
            return out_of_range(run, node, at, data->type.dims[axis]);
        }
        from += row * data->strides[axis];
        memcpy((char *)run->out[0] + i * (gint64)size,
               (const char *)run->in[0] + from * (gint64)size, size);
        ref_next(out->type.rank, out->type.dims, index);
    }
    return TN_OK;
}

/* The first step of every scatter: out begins as data. */
static void
copy_data(const RefNode *node, const TnRun *run)
{
    const TnArg *data = &node->in[0];
    ref_copy(tn_dtype_size(data->type.dtype), data->type.rank, data->type.dims, run->out[0],
             node->out[0].strides, run->in[0], data->strides);
}

static void
add_at(TnDtype dtype, void *out, gint64 at, const void *from, gint64 from_at)
{
    RefValue a = ref_load(dtype, out, at), b = ref_load(dtype, from, from_at);
    switch (tn_dtype_info(dtype)->compute) {
    case TN_COMPUTE_F32: a.f32 += b.f32; break;
    case TN_COMPUTE_F64: a.f64 += b.f64; break;
    default: a.u64 += b.u64; break;
    }
    ref_store(dtype, out, at, a);
}

static TnStatus
run_scatter_add(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnAxisAttrs *attrs = node->attrs;
    const TnArg *data = &node->in[0], *updates = &node->in[2], *out = &node->out[0];
    gint axis = axis_of(attrs->axis, data->type.rank), n = node->in[1].type.rank;
    gint64 index[TN_MAX_RANK] = { 0 };
    copy_data(node, run);
    for (gint64 i = 0; i < updates->count; i++) {
        gint64 unused, at;
        gather_places(node, axis, index, &unused, &at);
        gint64 row = ref_index_at(node->in[1].type.dtype, run->in[1], at, data->type.dims[axis]);
        if (row < 0) {
            return out_of_range(run, node, at, data->type.dims[axis]);
        }
        gint64 to = ref_dot(axis, index, out->strides) + row * out->strides[axis];
        for (gint k = axis + 1; k < data->type.rank; k++) {
            to += index[k + n - 1] * out->strides[k];
        }
        add_at(data->type.dtype, run->out[0], to, run->in[2],
               ref_dot(updates->type.rank, index, updates->strides));
        ref_next(updates->type.rank, updates->type.dims, index);
    }
    return TN_OK;
}

static TnStatus
run_gather_elements(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnAxisAttrs *attrs = node->attrs;
    const TnArg *data = &node->in[0], *indices = &node->in[1];
    gint rank = data->type.rank, axis = axis_of(attrs->axis, rank);
    gsize size = tn_dtype_size(data->type.dtype);
    gint64 index[TN_MAX_RANK] = { 0 };
    for (gint64 i = 0; i < indices->count; i++) {
        gint64 at = ref_dot(rank, index, indices->strides);
        gint64 row = ref_index_at(indices->type.dtype, run->in[1], at, data->type.dims[axis]);
        if (row < 0) {
            return out_of_range(run, node, at, data->type.dims[axis]);
        }
        gint64 from =
            ref_dot(rank, index, data->strides) + (row - index[axis]) * data->strides[axis];
        memcpy((char *)run->out[0] + i * (gint64)size,
               (const char *)run->in[0] + from * (gint64)size, size);
        ref_next(rank, indices->type.dims, index);
    }
    return TN_OK;
}

static TnStatus
run_scatter_elements(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnScatterAttrs *attrs = node->attrs;
    const TnArg *data = &node->in[0], *indices = &node->in[1], *updates = &node->in[2];
    const TnArg *out = &node->out[0];
    gint rank = data->type.rank, axis = axis_of(attrs->axis, rank);
    TnDtype dtype = data->type.dtype;
    gint64 index[TN_MAX_RANK] = { 0 };
    copy_data(node, run);
    for (gint64 i = 0; i < indices->count; i++) {
        gint64 at = ref_dot(rank, index, indices->strides);
        gint64 row = ref_index_at(indices->type.dtype, run->in[1], at, data->type.dims[axis]);
        if (row < 0) {
            return out_of_range(run, node, at, data->type.dims[axis]);
        }
        gint64 to = ref_dot(rank, index, out->strides) + (row - index[axis]) * out->strides[axis];
        gint64 from = ref_dot(rank, index, updates->strides);
        if (attrs->reduction == TN_SCATTER_ADD) {
            add_at(dtype, run->out[0], to, run->in[2], from);
        } else {
            ref_store(dtype, run->out[0], to, ref_load(dtype, run->in[2], from));
        }
        ref_next(rank, indices->type.dims, index);
    }
    return TN_OK;
}

/* --- Sorting ---------------------------------------------------------------------------------- */

typedef struct {
    RefValue value;
    gint64 place;
} Item;

/* Negative if a comes before b in ascending order; NaN is larger than everything. */
static gint
order(TnDtype dtype, RefValue a, RefValue b)
{
    switch (tn_dtype_info(dtype)->compute) {
    case TN_COMPUTE_F32:
        if (isnan(a.f32) || isnan(b.f32)) {
            return !!isnan(a.f32) - !!isnan(b.f32);
        }
        return (a.f32 > b.f32) - (a.f32 < b.f32);
    case TN_COMPUTE_F64:
        if (isnan(a.f64) || isnan(b.f64)) {
            return !!isnan(a.f64) - !!isnan(b.f64);
        }
        return (a.f64 > b.f64) - (a.f64 < b.f64);
    case TN_COMPUTE_I64: return (a.i64 > b.i64) - (a.i64 < b.i64);
    default: return (a.u64 > b.u64) - (a.u64 < b.u64);
    }
}

/* Stable insertion by binary search: places items[0, n) in order. */
static void
sort_items(TnDtype dtype, gboolean descending, Item *items, gint64 n)
{
    for (gint64 i = 1; i < n; i++) {
        Item item = items[i];
        gint64 low = 0, high = i;
        while (low < high) {
            gint64 middle = (low + high) / 2;
            gint o = order(dtype, item.value, items[middle].value);
            if (descending ? o > 0 : o < 0) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        memmove(items + low + 1, items + low, (gsize)(i - low) * sizeof *items);
        items[low] = item;
    }
}

static gint64
sorted_size(const TnType *type, gint64 axis)
{
    return type->rank > 0 ? type->dims[axis_of(axis, type->rank)] : 1;
}

static gboolean
prepare_sort(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnSortAttrs *attrs = node->attrs;
    prepared->scratch = (gsize)sorted_size(&node->in[0].type, attrs->axis) * sizeof(Item);
    return ref_prepare(node, prepared, error);
}

static TnStatus
run_sort(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnSortAttrs *attrs = node->attrs;
    const TnArg *in = &node->in[0], *out = &node->out[0];
    TnDtype dtype = in->type.dtype;
    gint rank = in->type.rank, axis = rank > 0 ? axis_of(attrs->axis, rank) : 0;
    gint64 n = sorted_size(&in->type, attrs->axis), dims[TN_MAX_RANK] = { 0 };
    gint64 index[TN_MAX_RANK] = { 0 }, step = rank > 0 ? in->strides[axis] : 0,
           to_step = rank > 0 ? out->strides[axis] : 0;
    Item *items = run->scratch;
    memcpy(dims, in->type.dims, sizeof dims);
    dims[axis] = 1;
    for (gint64 i = 0; n > 0 && i < in->count / n; i++) {
        gint64 from = ref_dot(rank, index, in->strides), to = ref_dot(rank, index, out->strides);
        for (gint64 k = 0; k < n; k++) {
            items[k] = (Item){ ref_load(dtype, run->in[0], from + k * step), k };
        }
        sort_items(dtype, attrs->descending, items, n);
        for (gint64 k = 0; k < n; k++) {
            ref_store(dtype, run->out[0], to + k * to_step, items[k].value);
            ((gint64 *)run->out[1])[to + k * to_step] = items[k].place;
        }
        ref_next(rank, dims, index);
    }
    return TN_OK;
}

static const TnKernel kernels[] = {
    REF_ROW("gather", run_gather),
    REF_ROW("scatter_add", run_scatter_add),
    REF_ROW("gather_elements", run_gather_elements),
    REF_ROW("scatter_elements", run_scatter_elements),
    { .op = "sort",
      .dtypes = TN_DTYPES_ALL,
      .flags = REF_FLAGS,
      .prepare = prepare_sort,
      .run = run_sort,
      .release = g_free },
};

const TnKernelTable ref_index = REF_TABLE(kernels);
