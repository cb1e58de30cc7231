/* tensor.c: tensors: how they are made, what they say of themselves. */
#include <string.h>

#include "tensor/tensor-private.h"

static gboolean
is_row_major(const TnType *type, const gint64 *strides)
{
    gint64 expected[TN_MAX_RANK];
    tn_type_strides(type, expected);
    if (tn_type_count(type) == 0)
        return TRUE;
    for (gint i = 0; i < type->rank; i++)
        if (type->dims[i] != 1 && strides[i] != expected[i])
            return FALSE;
    return TRUE;
}

TnTensor *
tn_tensor_make(TnStorage *storage, const TnType *type, const gint64 *strides, gint64 offset)
{
    TnTensor *tensor = g_new0(TnTensor, 1);
    tn_refs_init(&tensor->refs);
    pthread_mutex_init(&tensor->lock, NULL);
    tensor->storage = storage;
    tensor->type = tn_type(type->dtype, type->rank, type->dims);
    tensor->offset = offset;
    tensor->count = tn_type_count(type);
    if (strides)
        memcpy(tensor->strides, strides, (gsize)type->rank * sizeof *strides);
    else
        tn_type_strides(type, tensor->strides);
    tensor->contiguous = !strides || is_row_major(type, strides);
    return tensor;
}

TnTensor *
tn_tensor_new(TnDevice *device, TnType type, GError **error)
{
    if (!tn_type_check(&type, error))
        return NULL;
    TnStorage *storage = tn_storage_new(device, (gsize)tn_type_bytes(&type), error);
    return storage ? tn_tensor_make(storage, &type, NULL, 0) : NULL;
}

/* Zeros travel to a device in pieces, so that no second tensor's worth of memory is needed. */
static gboolean
clear_on_device(TnTensor *tensor, GError **error)
{
    static char zeros[1 << 16]; /* never written */
    TnDevice *device = tn_tensor_device(tensor);
    char *to = tn_storage_memory(tensor->storage);
    const gsize bytes = tn_storage_bytes(tensor->storage);
    for (gsize done = 0; done < bytes; done += sizeof zeros) {
        const TnStatus status = tn_device_copy(
            device, to + done, zeros, MIN(bytes - done, sizeof zeros), TN_COPY_TO_DEVICE, NULL);
        if (status != TN_OK) {
            tn_status_set_error(error, status, "cannot clear a tensor on %s",
                                tn_device_name(device));
            return FALSE;
        }
    }
    return TRUE;
}

TnTensor *
tn_tensor_zeros(TnDevice *device, TnType type, GError **error)
{
    g_autoptr(TnTensor) tensor = tn_tensor_new(device, type, error);
    if (!tensor)
        return NULL;
    if (tn_device_is_host(tn_tensor_device(tensor)))
        memset(tn_storage_memory(tensor->storage), 0, tn_storage_bytes(tensor->storage));
    else if (!clear_on_device(tensor, error))
        return NULL;
    return g_steal_pointer(&tensor);
}

TnTensor *
tn_tensor_from(TnType type, const void *elements, GError **error)
{
    TnTensor *tensor = tn_tensor_new(NULL, type, error);
    if (tensor && tensor->count > 0)
        memcpy(tn_storage_memory(tensor->storage), elements, (gsize)tn_type_bytes(&type));
    return tensor;
}

TnTensor *
tn_tensor_scalar(TnDtype dtype, double value)
{
    g_return_val_if_fail(tn_dtype_info(dtype), NULL);
    /* As small as any other object, so it cannot fail either. */
    void *memory = g_aligned_alloc0(1, TN_ALIGN, TN_ALIGN);
    TnStorage *storage =
        tn_storage_wrap(NULL, memory, tn_dtype_size(dtype), g_aligned_free, memory);
    const TnType type = tn_type(dtype, 0, NULL);
    tn_dtype_convert(dtype, memory, 1, TN_DTYPE_F64, &value, 1, 1);
    return tn_tensor_make(storage, &type, NULL, 0);
}

TnTensor *
tn_tensor_view(TnStorage *storage, TnType type, const gint64 *strides, gint64 offset,
               GError **error)
{
    if (!tn_type_check(&type, error))
        return NULL;
    gint64 own[TN_MAX_RANK], first, last;
    tn_type_strides(&type, own);
    const gint64 room = (gint64)(storage->bytes / tn_dtype_size(type.dtype));
    if (!tn_view_extent(&type, strides ? strides : own, offset, &first, &last) || first < 0 ||
        last >= room || offset > room) {
        g_autofree char *text = tn_type_print(&type);
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                    "view %s at element %" G_GINT64_FORMAT
                    " reaches beyond its storage of %" G_GINT64_FORMAT " elements",
                    text, offset, room);
        return NULL;
    }
    return tn_tensor_make(tn_storage_ref(storage), &type, strides, offset);
}

TnTensor *
tn_tensor_ref(TnTensor *tensor)
{
    tn_refs_inc(&tensor->refs);
    return tensor;
}

void
tn_tensor_unref(TnTensor *tensor)
{
    if (!tensor || !tn_refs_dec(&tensor->refs))
        return;
    tn_data_free(tensor->stage.buffer);
    pthread_mutex_destroy(&tensor->lock);
    tn_storage_unref(tensor->storage);
    g_free(tensor);
}

const TnType *
tn_tensor_type(const TnTensor *tensor)
{
    return &tensor->type;
}

TnDtype
tn_tensor_dtype(const TnTensor *tensor)
{
    return tensor->type.dtype;
}

gint
tn_tensor_rank(const TnTensor *tensor)
{
    return tensor->type.rank;
}

gint64
tn_tensor_dim(const TnTensor *tensor, gint i)
{
    const gint axis = i < 0 ? i + tensor->type.rank : i;
    g_return_val_if_fail(axis >= 0 && axis < tensor->type.rank, -1);
    return tensor->type.dims[axis];
}

gint64
tn_tensor_count(const TnTensor *tensor)
{
    return tensor->count;
}

gint64
tn_tensor_bytes(const TnTensor *tensor)
{
    return tn_type_bytes(&tensor->type);
}

const gint64 *
tn_tensor_strides(const TnTensor *tensor)
{
    return tensor->strides;
}

gint64
tn_tensor_offset(const TnTensor *tensor)
{
    return tensor->offset;
}

TnStorage *
tn_tensor_storage(const TnTensor *tensor)
{
    return tensor->storage;
}

TnDevice *
tn_tensor_device(const TnTensor *tensor)
{
    return tensor->storage->device;
}

gboolean
tn_tensor_is_contiguous(const TnTensor *tensor)
{
    return tensor->contiguous;
}

gboolean
tn_tensor_is_writable(const TnTensor *tensor)
{
    return !tensor->storage->read_only && tn_refs_only(&tensor->refs) &&
           tn_refs_only(&tensor->storage->refs);
}
