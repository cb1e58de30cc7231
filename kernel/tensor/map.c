/* map.c: host pointers to a tensor's elements: the memory itself, or a copy that is put back. */
#include "tensor/tensor-private.h"

/* Under the tensor's lock. */
static void *
map_stage(TnTensor *tensor, TnMapFlags flags, GError **error)
{
    const gsize size = tn_dtype_size(tensor->type.dtype);
    if (tensor->maps > 0)
        return (char *)tensor->stage.buffer + (gsize)(tensor->offset - tensor->stage.first) * size;
    /* Where elements lie apart, what is between them must be put back as it was. */
    const gboolean fill = (flags & TN_MAP_READ) || !tensor->contiguous;
    return tn_stage_begin(tensor, &tensor->stage, fill, error);
}

void *
tn_tensor_map(TnTensor *tensor, TnMapFlags flags, GError **error)
{
    if ((flags & TN_MAP_WRITE) && !tn_tensor_is_writable(tensor)) {
        g_autofree char *text = tn_type_print(&tensor->type);
        g_set_error(error, TN_ERROR, TN_ERROR_BUSY,
                    "%s: cannot be written while it is shared; write into a copy", text);
        return NULL;
    }
    TnStage none;
    if (tn_device_is_host(tn_tensor_device(tensor)))
        return tn_stage_begin(tensor, &none, FALSE, error);
    pthread_mutex_lock(&tensor->lock);
    void *memory = map_stage(tensor, flags, error);
    if (memory) {
        tensor->maps++;
        tensor->map_flags |= flags;
    }
    pthread_mutex_unlock(&tensor->lock);
    return memory;
}

void
tn_tensor_unmap(TnTensor *tensor)
{
    if (tn_device_is_host(tn_tensor_device(tensor)))
        return;
    pthread_mutex_lock(&tensor->lock);
    if (tensor->maps > 0 && --tensor->maps == 0) {
        g_autoptr(GError) error = NULL;
        if (!tn_stage_end(tensor, &tensor->stage, tensor->map_flags & TN_MAP_WRITE, &error))
            tn_log("tensor", TN_LOG_ERROR, "unmap: %s", error->message);
        tensor->map_flags = 0;
    }
    pthread_mutex_unlock(&tensor->lock);
}
