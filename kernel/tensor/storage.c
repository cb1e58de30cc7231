/* storage.c: memory of one device with a count of references. */
#include "tensor/tensor-private.h"

static TnStorage *
make(TnDevice *device, void *memory, gsize bytes, GDestroyNotify release, gpointer data)
{
    TnStorage *storage = g_new(TnStorage, 1);
    *storage = (TnStorage){ .device = tn_device_ref(device),
                            .memory = memory,
                            .bytes = bytes,
                            .release = release,
                            .data = data };
    tn_refs_init(&storage->refs);
    return storage;
}

TnStorage *
tn_storage_new(TnDevice *device, gsize bytes, GError **error)
{
    if (!device)
        device = tn_device_host();
    void *memory = tn_device_alloc(device, bytes);
    if (!memory) {
        g_set_error(error, TN_ERROR, TN_ERROR_NO_MEMORY,
                    "out of memory: %" G_GSIZE_FORMAT " bytes for a tensor on %s", bytes,
                    tn_device_name(device));
        return NULL;
    }
    return make(device, memory, bytes, NULL, NULL);
}

static void
nothing(gpointer data)
{
    (void)data;
}

TnStorage *
tn_storage_wrap(TnDevice *device, void *memory, gsize bytes, GDestroyNotify release, gpointer data)
{
    return make(device ? device : tn_device_host(), memory, bytes, release ? release : nothing,
                data);
}

TnStorage *
tn_storage_ref(TnStorage *storage)
{
    tn_refs_inc(&storage->refs);
    return storage;
}

void
tn_storage_unref(TnStorage *storage)
{
    if (!storage || !tn_refs_dec(&storage->refs))
        return;
    if (storage->release)
        storage->release(storage->data);
    else
        tn_device_free(storage->device, storage->memory);
    tn_device_unref(storage->device);
    g_free(storage);
}

TnDevice *
tn_storage_device(const TnStorage *storage)
{
    return storage->device;
}

gsize
tn_storage_bytes(const TnStorage *storage)
{
    return storage->bytes;
}

void *
tn_storage_memory(const TnStorage *storage)
{
    return storage->memory;
}
