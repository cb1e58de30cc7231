/* dlpack.c: tensors to and from other libraries of the same process, without a copy. */
#include <tenon/dlpack.h>

#include "tensor/tensor-private.h"

/* --- Out -------------------------------------------------------------------------------------- */

typedef struct {
    DLManagedTensorVersioned managed;
    TnTensor *tensor;
    int64_t shape[TN_MAX_RANK], strides[TN_MAX_RANK];
} Export;

static void
export_free(DLManagedTensorVersioned *managed)
{
    Export *export = managed->manager_ctx;
    tn_tensor_unref(export->tensor);
    g_free(export);
}

DLManagedTensorVersioned *
tn_tensor_to_dlpack(TnTensor *tensor, GError **error)
{
    if (!tn_device_is_host(tn_tensor_device(tensor))) {
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                    "DLPack: the memory of %s is not the host's; copy the tensor first",
                    tn_device_name(tn_tensor_device(tensor)));
        return NULL;
    }
    const TnDtypeInfo *info = tn_dtype_info(tensor->type.dtype);
    const gboolean writable = tn_tensor_is_writable(tensor);
    Export *export = g_new0(Export, 1);
    export->tensor = tn_tensor_ref(tensor);
    for (gint i = 0; i < tensor->type.rank; i++) {
        export->shape[i] = tensor->type.dims[i];
        export->strides[i] = tensor->strides[i];
    }
    const gint64 size = (gint64)tn_dtype_size(tensor->type.dtype);
    export->managed = (DLManagedTensorVersioned){
        .version = { DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION },
        .manager_ctx = export,
        .deleter = export_free,
        .flags = writable ? 0 : DLPACK_FLAG_BITMASK_READ_ONLY,
        .dl_tensor = { .data = (char *)tensor->storage->memory + tensor->offset * size,
                       .device = { kDLCPU, 0 },
                       .ndim = tensor->type.rank,
                       .dtype = { info->dlpack_code, (uint8_t)info->bits, 1 },
                       .shape = export->shape,
                       .strides = export->strides },
    };
    return &export->managed;
}

/* --- In --------------------------------------------------------------------------------------- */

static void
import_release(gpointer data)
{
    DLManagedTensorVersioned *managed = data;
    if (managed->deleter)
        managed->deleter(managed);
}

static TnDtype
find_dtype(DLDataType dtype)
{
    for (gint i = TN_DTYPE_NONE + 1; i < TN_N_DTYPES && dtype.lanes == 1; i++) {
        const TnDtypeInfo *info = tn_dtype_info((TnDtype)i);
        if (info->dlpack_code == dtype.code && info->bits == dtype.bits)
            return (TnDtype)i;
    }
    return TN_DTYPE_NONE;
}

/* Checks all that can be known of the foreign struct; fills type and strides. */
static gboolean
read_import(const DLManagedTensorVersioned *managed, TnDevice *device, TnType *type,
            gint64 *strides, GError **error)
{
    const DLTensor *dl = &managed->dl_tensor;
    if (managed->version.major != DLPACK_MAJOR_VERSION) {
        g_set_error(error, TN_ERROR, TN_ERROR_VERSION,
                    "DLPack: expected a tensor of version %d, got %u.%u", DLPACK_MAJOR_VERSION,
                    managed->version.major, managed->version.minor);
        return FALSE;
    }
    const gboolean on_host =
        dl->device.device_type == kDLCPU || dl->device.device_type == kDLCUDAHost;
    if (on_host != tn_device_is_host(device)) {
        g_set_error(error, TN_ERROR, TN_ERROR_DEVICE,
                    "DLPack: memory of a device of type %d is not that of %s",
                    dl->device.device_type, tn_device_name(device));
        return FALSE;
    }
    const TnDtype dtype = find_dtype(dl->dtype);
    if (dtype == TN_DTYPE_NONE) {
        g_set_error(error, TN_ERROR, TN_ERROR_DTYPE,
                    "DLPack: no dtype has code %u with %u bits and %u lanes", dl->dtype.code,
                    dl->dtype.bits, dl->dtype.lanes);
        return FALSE;
    }
    if (dl->ndim < 0 || dl->ndim > TN_MAX_RANK || (dl->ndim > 0 && !dl->shape)) {
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                    "DLPack: expected 0 to %d dimensions with their sizes, got %d", TN_MAX_RANK,
                    dl->ndim);
        return FALSE;
    }
    *type = tn_type(dtype, 0, NULL);
    for (type->rank = 0; type->rank < dl->ndim; type->rank++)
        type->dims[type->rank] = dl->shape[type->rank];
    if (!tn_type_check(type, error))
        return FALSE;
    tn_type_strides(type, strides);
    for (gint i = 0; i < dl->ndim && dl->strides; i++)
        strides[i] = dl->strides[i];
    return TRUE;
}

static TnTensor *
import(DLManagedTensorVersioned *managed, TnDevice *device, GError **error)
{
    TnType type;
    gint64 strides[TN_MAX_RANK], first, last;
    if (!read_import(managed, device, &type, strides, error))
        return NULL;
    const gint64 size = (gint64)tn_dtype_size(type.dtype);
    gint64 from, reach, bytes;
    char *data = managed->dl_tensor.data;
    if (data)
        data += managed->dl_tensor.byte_offset;
    /* A view with negative steps begins before its first element. */
    if (!tn_view_extent(&type, strides, 0, &first, &last) || first == G_MININT64 ||
        __builtin_mul_overflow(first, size, &from) ||
        __builtin_sub_overflow(last, first - 1, &reach) ||
        __builtin_mul_overflow(reach, size, &bytes) ||
        (bytes > 0 && (!data || (guintptr)data % (guintptr)size != 0))) {
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                    "DLPack: the tensor's memory is missing, not aligned to its elements of "
                    "%" G_GINT64_FORMAT " bytes, or does not end",
                    size);
        return NULL;
    }
    TnStorage *storage =
        tn_storage_wrap(device, data ? data + from : NULL, (gsize)bytes, import_release, managed);
    storage->read_only = (managed->flags & DLPACK_FLAG_BITMASK_READ_ONLY) != 0;
    return tn_tensor_make(storage, &type, strides, -first);
}

TnTensor *
tn_tensor_from_dlpack(DLManagedTensorVersioned *managed, TnDevice *device, GError **error)
{
    TnTensor *tensor = import(managed, device ? device : tn_device_host(), error);
    if (!tensor)
        import_release(managed);
    return tensor;
}
