/* veiled.h: a device for tests whose bytes lie in memory inverted, so that code which reads or
 * writes them without the device's copy gets wrong numbers; its copies can be made to fail. */
#pragma once

#include <tenon/base.h>
#include <tenon/device.h>

typedef struct {
    guint copies, allocations, frees;
    guint fail_copy; /* the nth copy from now fails; 0: none */
} Veil;

static void *
veil_alloc(void *self, gsize bytes)
{
    void *memory = tn_data_alloc(bytes);
    ((Veil *)self)->allocations += memory != NULL;
    return memory;
}

static void
veil_free(void *self, void *memory)
{
    ((Veil *)self)->frees++;
    tn_data_free(memory);
}

static TnStatus
veil_copy(void *self, void *to, const void *from, gsize bytes, TnCopyKind kind, void *stream)
{
    Veil *veil = self;
    (void)stream;
    veil->copies++;
    if (veil->fail_copy > 0 && --veil->fail_copy == 0)
        return TN_DEVICE_LOST;
    for (gsize i = 0; i < bytes; i++)
        ((guint8 *)to)[i] = ((const guint8 *)from)[i] ^ (kind == TN_COPY_ON_DEVICE ? 0 : 0xff);
    return TN_OK;
}

static const TnDeviceVTable veil_vtable = {
    .size = sizeof(TnDeviceVTable),
    .kind = "veiled",
    .alloc = veil_alloc,
    .free = veil_free,
    .copy = veil_copy,
};

/* (transfer full). */
static inline TnDevice *
veil_device(Veil *veil)
{
    return tn_device_new("veiled:0", &veil_vtable, veil, NULL);
}
