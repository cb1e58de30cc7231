/* device.c: a device as the kernel holds it: a vtable, an instance, a count of references; and the
 * host, the device that is always there. */
#include <string.h>

#include <tenon/base.h>
#include <tenon/device.h>
#include <tenon/plugin.h>

#include "base/refs.h"

struct TnDevice {
    TnRefs refs;
    char *name;
    const TnDeviceVTable *vtable;
    void *self;
    void (*destroy)(void *);
};

static const TnDeviceVTable host_vtable = { .size = sizeof(TnDeviceVTable),
                                            .kind = "host",
                                            .host_memory = TRUE };
static char host_name[] = "host";
/* Its own reference is never given up. */
static TnDevice host = { .refs = 1, .name = host_name, .vtable = &host_vtable };

TnDevice *
tn_device_host(void)
{
    return &host;
}

TnDevice *
tn_device_new(const char *name, const TnDeviceVTable *vtable, void *self, void (*destroy)(void *))
{
    TnDevice *device = g_new0(TnDevice, 1);
    tn_refs_init(&device->refs);
    device->name = g_strdup(name);
    device->vtable = vtable;
    device->self = self;
    device->destroy = destroy;
    return device;
}

TnDevice *
tn_device_ref(TnDevice *device)
{
    tn_refs_inc(&device->refs);
    return device;
}

void
tn_device_unref(TnDevice *device)
{
    if (!device || !tn_refs_dec(&device->refs))
        return;
    if (device->destroy)
        device->destroy(device->self);
    g_free(device->name);
    g_free(device);
}

const char *
tn_device_name(const TnDevice *device)
{
    return device->name;
}

const char *
tn_device_kind(const TnDevice *device)
{
    return device->vtable->kind;
}

gboolean
tn_device_is_host(const TnDevice *device)
{
    return device->vtable->host_memory;
}

const TnDeviceVTable *
tn_device_vtable(const TnDevice *device)
{
    return device->vtable;
}

void *
tn_device_self(const TnDevice *device)
{
    return device->self;
}

void *
tn_device_alloc(TnDevice *device, gsize bytes)
{
    if (TN_HAS(device->vtable, alloc))
        return device->vtable->alloc(device->self, bytes);
    return tn_data_alloc(bytes);
}

void
tn_device_free(TnDevice *device, void *memory)
{
    if (TN_HAS(device->vtable, free))
        device->vtable->free(device->self, memory);
    else
        tn_data_free(memory);
}

TnStatus
tn_device_copy(TnDevice *device, void *to, const void *from, gsize bytes, TnCopyKind kind,
               void *stream)
{
    if (bytes == 0)
        return TN_OK;
    if (TN_HAS(device->vtable, copy))
        return device->vtable->copy(device->self, to, from, bytes, kind, stream);
    memcpy(to, from, bytes);
    return TN_OK;
}

TnStatus
tn_device_sync(TnDevice *device, void *stream)
{
    if (TN_HAS(device->vtable, stream_sync))
        return device->vtable->stream_sync(device->self, stream);
    return TN_OK;
}
