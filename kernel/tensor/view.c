/* view.c: other views of a tensor's storage: reshaped, permuted, sliced, expanded. */
#include <string.h>

#include "tensor/tensor-private.h"

static TnTensor *
view_of(TnTensor *tensor, const TnType *type, const gint64 *strides, gint64 offset)
{
    return tn_tensor_make(tn_storage_ref(tensor->storage), type, strides, offset);
}

/* --- Reshape ---------------------------------------------------------------------------------- */

/* Works out the size written as -1, and checks that the number of elements stays. */
static gboolean
resolve(const TnTensor *tensor, TnType *type, GError **error)
{
    gint unknown = -1;
    TnType known = *type;
    gboolean ok = TRUE;
    for (gint i = 0; i < type->rank && ok; i++) {
        if (type->dims[i] != -1)
            continue;
        ok = unknown < 0;
        unknown = i;
        known.dims[i] = 1;
    }
    if (ok && unknown >= 0) {
        const gint64 rest = tn_type_count(&known);
        ok = rest > 0 && tensor->count % rest == 0;
        if (ok)
            known.dims[unknown] = tensor->count / rest;
    }
    if (!ok || tn_type_count(&known) != tensor->count) {
        g_autofree char *from = tn_type_print(&tensor->type);
        g_autofree char *to = tn_type_print(type);
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                    "reshape: %s of %" G_GINT64_FORMAT " elements does not become %s", from,
                    tensor->count, to);
        return FALSE;
    }
    *type = known;
    return TRUE;
}

/* Dimensions without those of size 1, and neighbours that lie in memory as one joined. */
static gint
join(const TnTensor *tensor, gint64 *dims, gint64 *strides)
{
    gint n = 0;
    for (gint i = 0; i < tensor->type.rank; i++) {
        const gint64 dim = tensor->type.dims[i], stride = tensor->strides[i];
        if (dim == 1)
            continue;
        if (n > 0 && strides[n - 1] == dim * stride) {
            dims[n - 1] *= dim;
            strides[n - 1] = stride;
        } else {
            dims[n] = dim;
            strides[n++] = stride;
        }
    }
    return n;
}

/* Strides of a non-empty tensor's elements in new sizes: each joined dimension must be a run of the
 * new ones, taken from the last. */
static gboolean
split(const TnTensor *tensor, const TnType *type, gint64 *strides)
{
    gint64 dims[TN_MAX_RANK], joined[TN_MAX_RANK];
    gint j = join(tensor, dims, joined) - 1;
    gint64 left = j >= 0 ? dims[j] : 1, stride = j >= 0 ? joined[j] : 1;
    for (gint i = type->rank - 1; i >= 0; i--) {
        if (left == 1 && type->dims[i] != 1 && j > 0) {
            left = dims[--j];
            stride = joined[j];
        }
        if (left % type->dims[i] != 0)
            return FALSE;
        strides[i] = stride;
        left /= type->dims[i];
        stride *= type->dims[i];
    }
    return left == 1 && j <= 0;
}

TnTensor *
tn_tensor_reshape(TnTensor *tensor, gint rank, const gint64 *dims, GError **error)
{
    if (rank < 0 || rank > TN_MAX_RANK) {
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE, "reshape: expected 0 to %d dimensions, got %d",
                    TN_MAX_RANK, rank);
        return NULL;
    }
    TnType type = tn_type(tensor->type.dtype, rank, dims);
    if (!resolve(tensor, &type, error))
        return NULL;
    gint64 strides[TN_MAX_RANK] = { 0 };
    if (tensor->contiguous)
        return view_of(tensor, &type, NULL, tensor->offset);
    if (!split(tensor, &type, strides)) {
        g_autofree char *from = tn_type_print(&tensor->type);
        g_autofree char *to = tn_type_print(&type);
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                    "reshape: the strides of this view of %s cannot express %s; copy it first",
                    from, to);
        return NULL;
    }
    return view_of(tensor, &type, strides, tensor->offset);
}

/* --- The others ------------------------------------------------------------------------------- */

TnTensor *
tn_tensor_permute(TnTensor *tensor, const gint *perm, GError **error)
{
    TnType type = tensor->type;
    gint64 strides[TN_MAX_RANK] = { 0 };
    guint seen = 0;
    for (gint i = 0; i < type.rank; i++) {
        const gint axis = perm[i];
        if (axis < 0 || axis >= type.rank || (seen >> axis & 1)) {
            g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                        "permute: expected each of 0 to %d once, got %d%s", type.rank - 1, axis,
                        axis >= 0 && axis < type.rank ? " twice" : "");
            return NULL;
        }
        seen |= 1u << axis;
        type.dims[i] = tensor->type.dims[axis];
        strides[i] = tensor->strides[axis];
    }
    return view_of(tensor, &type, strides, tensor->offset);
}

/* A border counted from the end if negative, brought into [lowest, highest]. */
static gint64
border(gint64 at, gint64 dim, gint64 lowest, gint64 highest)
{
    return CLAMP(at < 0 ? at + dim : at, lowest, highest);
}

TnTensor *
tn_tensor_slice(TnTensor *tensor, gint axis, gint64 start, gint64 stop, gint64 step, GError **error)
{
    const gint rank = tensor->type.rank;
    if (axis < -rank || axis >= rank || step == 0) {
        g_autofree char *text = tn_type_print(&tensor->type);
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                    "slice: expected an axis of %s and a step other than 0, got axis %d and "
                    "step %" G_GINT64_FORMAT,
                    text, axis, step);
        return NULL;
    }
    axis += axis < 0 ? rank : 0;
    const gint64 dim = tensor->type.dims[axis];
    const gint64 lowest = step < 0 ? -1 : 0, highest = step < 0 ? dim - 1 : dim;
    const gint64 from = border(start, dim, lowest, highest);
    const gint64 to = border(stop, dim, lowest, highest);
    const gint64 span = step < 0 ? from - to : to - from;
    const guint64 pace = step < 0 ? -(guint64)step : (guint64)step;
    const gint64 count = span > 0 ? (gint64)(((guint64)span - 1) / pace) + 1 : 0;
    TnType type = tensor->type;
    gint64 strides[TN_MAX_RANK];
    memcpy(strides, tensor->strides, sizeof strides);
    type.dims[axis] = count;
    /* With one element or none the step is never taken, and its product might overflow. */
    strides[axis] = count > 1 ? strides[axis] * step : strides[axis];
    return view_of(tensor, &type, strides,
                   tensor->offset + (count > 0 ? from * tensor->strides[axis] : 0));
}

TnTensor *
tn_tensor_expand(TnTensor *tensor, gint rank, const gint64 *dims, GError **error)
{
    const gint lead = rank - tensor->type.rank;
    gint64 strides[TN_MAX_RANK] = { 0 };
    gboolean ok = lead >= 0 && rank <= TN_MAX_RANK;
    TnType type = tn_type(tensor->type.dtype, ok ? rank : 0, dims);
    for (gint i = 0; i < type.rank; i++) {
        const gint64 own = i < lead ? 1 : tensor->type.dims[i - lead];
        ok = ok && (own == dims[i] || own == 1);
        strides[i] = own == dims[i] && i >= lead ? tensor->strides[i - lead] : 0;
    }
    if (!ok) {
        g_autofree char *from = tn_type_print(&tensor->type);
        g_autofree char *to = tn_type_print(&type);
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE, "expand: %s does not broadcast to %s", from,
                    to);
        return NULL;
    }
    if (!tn_type_check(&type, error))
        return NULL;
    return view_of(tensor, &type, strides, tensor->offset);
}
