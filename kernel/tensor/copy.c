/* copy.c: elements from one tensor to another: between strides, dtypes and devices. */
#include <string.h>

#include "tensor/tensor-private.h"

/* --- On the host ------------------------------------------------------------------------------ */

typedef struct {
    gint rank;
    gint64 dims[TN_MAX_RANK], to[TN_MAX_RANK], from[TN_MAX_RANK];
} Loop;

/* Dimensions that both sides step through as if they were one become one. */
static Loop
plan(const TnType *type, const gint64 *to, const gint64 *from)
{
    Loop loop = { 0 };
    for (gint i = 0; i < type->rank; i++) {
        const gint64 dim = type->dims[i];
        const gint last = loop.rank - 1;
        if (dim == 1)
            continue;
        if (last >= 0 && loop.to[last] == to[i] * dim && loop.from[last] == from[i] * dim) {
            loop.dims[last] *= dim;
            loop.to[last] = to[i];
            loop.from[last] = from[i];
        } else {
            loop.dims[loop.rank] = dim;
            loop.to[loop.rank] = to[i];
            loop.from[loop.rank++] = from[i];
        }
    }
    return loop;
}

void
tn_copy_strided(const TnType *type, void *to, const gint64 *to_strides, TnDtype from_dtype,
                const void *from, const gint64 *from_strides)
{
    const gint64 to_size = (gint64)tn_dtype_size(type->dtype);
    const gint64 from_size = (gint64)tn_dtype_size(from_dtype);
    if (tn_type_count(type) <= 0)
        return;
    const Loop loop = plan(type, to_strides, from_strides);
    const gint inner = loop.rank - 1;
    const gsize n = inner >= 0 ? (gsize)loop.dims[inner] : 1;
    gint64 index[TN_MAX_RANK] = { 0 }, to_at = 0, from_at = 0;
    gint axis;
    do {
        tn_dtype_convert(type->dtype, (char *)to + to_at * to_size, inner >= 0 ? loop.to[inner] : 1,
                         from_dtype, (const char *)from + from_at * from_size,
                         inner >= 0 ? loop.from[inner] : 1, n);
        for (axis = inner - 1; axis >= 0; axis--) {
            to_at += loop.to[axis];
            from_at += loop.from[axis];
            if (++index[axis] < loop.dims[axis])
                break;
            to_at -= loop.to[axis] * loop.dims[axis];
            from_at -= loop.from[axis] * loop.dims[axis];
            index[axis] = 0;
        }
    } while (axis >= 0);
}

/* --- Between devices -------------------------------------------------------------------------- */

static char *
device_at(const TnTensor *tensor, gint64 element)
{
    return (char *)tensor->storage->memory + element * (gint64)tn_dtype_size(tensor->type.dtype);
}

static gboolean
transfer(TnDevice *device, void *to, const void *from, gsize bytes, TnCopyKind kind, GError **error)
{
    const TnStatus status = tn_device_copy(device, to, from, bytes, kind, NULL);
    if (status == TN_OK)
        return TRUE;
    tn_status_set_error(error, status, "cannot copy %" G_GSIZE_FORMAT " bytes %s %s", bytes,
                        kind == TN_COPY_TO_HOST ? "from" : "to", tn_device_name(device));
    return FALSE;
}

void *
tn_stage_begin(TnTensor *tensor, TnStage *stage, gboolean fill, GError **error)
{
    *stage = (TnStage){ NULL, 0, 0 };
    TnDevice *device = tn_tensor_device(tensor);
    const gsize size = tn_dtype_size(tensor->type.dtype);
    if (tn_device_is_host(device))
        return device_at(tensor, tensor->offset);
    gint64 last = 0;
    (void)tn_view_extent(&tensor->type, tensor->strides, tensor->offset, &stage->first, &last);
    stage->count = last - stage->first + 1;
    const gsize bytes = (gsize)stage->count * size;
    stage->buffer = tn_data_alloc_for(bytes, "a copy of a tensor on the host", error);
    if (!stage->buffer)
        return NULL;
    if (fill && !transfer(device, stage->buffer, device_at(tensor, stage->first), bytes,
                          TN_COPY_TO_HOST, error)) {
        g_clear_pointer(&stage->buffer, tn_data_free);
        return NULL;
    }
    return (char *)stage->buffer + (gsize)(tensor->offset - stage->first) * size;
}

gboolean
tn_stage_end(TnTensor *tensor, TnStage *stage, gboolean write, GError **error)
{
    gboolean ok = TRUE;
    if (stage->buffer && write)
        ok = transfer(tn_tensor_device(tensor), device_at(tensor, stage->first), stage->buffer,
                      (gsize)stage->count * tn_dtype_size(tensor->type.dtype), TN_COPY_TO_DEVICE,
                      error);
    g_clear_pointer(&stage->buffer, tn_data_free);
    return ok;
}

/* Everything but a plain block of one device goes through host memory. */
static gboolean
copy_elements(TnTensor *to, TnTensor *from, GError **error)
{
    TnDevice *device = tn_tensor_device(to);
    if (to->count == 0)
        return TRUE;
    if (to->contiguous && from->contiguous && to->type.dtype == from->type.dtype &&
        device == tn_tensor_device(from) && !tn_device_is_host(device))
        return transfer(device, device_at(to, to->offset), device_at(from, from->offset),
                        (gsize)tn_type_bytes(&to->type), TN_COPY_ON_DEVICE, error);
    TnStage to_stage, from_stage;
    const void *source = tn_stage_begin(from, &from_stage, TRUE, error);
    if (!source)
        return FALSE;
    void *target = tn_stage_begin(to, &to_stage, !to->contiguous, error);
    if (target)
        tn_copy_strided(&to->type, target, to->strides, from->type.dtype, source, from->strides);
    (void)tn_stage_end(from, &from_stage, FALSE, NULL);
    return target && tn_stage_end(to, &to_stage, TRUE, error);
}

TnTensor *
tn_tensor_copy(TnTensor *tensor, TnDevice *device, TnDtype dtype, GError **error)
{
    TnType type = tensor->type;
    if (dtype != TN_DTYPE_NONE)
        type.dtype = dtype;
    g_autoptr(TnTensor) copied = tn_tensor_new(device, type, error);
    if (!copied || !copy_elements(copied, tensor, error))
        return NULL;
    return g_steal_pointer(&copied);
}

gboolean
tn_tensor_copy_into(TnTensor *to, TnTensor *from, GError **error)
{
    if (!tn_type_equal(&to->type, &from->type)) {
        g_autofree char *a = tn_type_print(&from->type);
        g_autofree char *b = tn_type_print(&to->type);
        g_set_error(error, TN_ERROR,
                    to->type.dtype == from->type.dtype ? TN_ERROR_SHAPE : TN_ERROR_DTYPE,
                    "copy: %s does not fit into %s", a, b);
        return FALSE;
    }
    if (to->storage->read_only) {
        g_set_error(error, TN_ERROR, TN_ERROR_FAILED, "copy: the target's memory is read-only");
        return FALSE;
    }
    if (to->storage != from->storage)
        return copy_elements(to, from, error);
    /* Views of one storage may overlap. */
    g_autoptr(TnTensor) copied = tn_tensor_copy(from, tn_tensor_device(to), TN_DTYPE_NONE, error);
    return copied && copy_elements(to, copied, error);
}
