/* context.c: one experiment: seed, rank, devices, store, memory budget, metric sinks, cancel flag. */
#include <stdatomic.h>

#include <tenon/base.h>
#include <tenon/context.h>
#include <tenon/device.h>
#include <tenon/store.h>

typedef struct {
    TnMetricSink sink;
    gpointer data;
} Sink;

struct TnContext {
    atomic_int refs;
    guint64 seed;
    guint rank, world;
    GPtrArray *devices;
    TnStore *store;
    guint64 memory_limit;
    atomic_ullong memory_used;
    GArray *sinks; /* of Sink */
    atomic_bool cancelled;
};

TnContext *
tn_context_new(void)
{
    TnContext *context = g_new0(TnContext, 1);
    atomic_init(&context->refs, 1);
    atomic_init(&context->memory_used, 0);
    atomic_init(&context->cancelled, FALSE);
    context->world = 1;
    context->devices = g_ptr_array_new_with_free_func((GDestroyNotify)tn_device_unref);
    context->store = tn_store_new(0);
    context->sinks = g_array_new(FALSE, FALSE, sizeof(Sink));
    return context;
}

TnContext *
tn_context_ref(TnContext *context)
{
    atomic_fetch_add_explicit(&context->refs, 1, memory_order_relaxed);
    return context;
}

void
tn_context_unref(TnContext *context)
{
    if (!context || atomic_fetch_sub_explicit(&context->refs, 1, memory_order_acq_rel) != 1)
        return;
    tn_store_unref(context->store); /* variables before the devices that hold their memory */
    g_ptr_array_unref(context->devices);
    g_array_unref(context->sinks);
    g_free(context);
}

guint64
tn_context_seed(const TnContext *context)
{
    return context->seed;
}

void
tn_context_set_seed(TnContext *context, guint64 seed)
{
    context->seed = seed;
    tn_store_set_seed(context->store, seed);
}

guint
tn_context_rank(const TnContext *context)
{
    return context->rank;
}

guint
tn_context_world(const TnContext *context)
{
    return context->world;
}

void
tn_context_set_rank(TnContext *context, guint rank, guint world)
{
    g_return_if_fail(rank < world);
    context->rank = rank;
    context->world = world;
}

void
tn_context_add_device(TnContext *context, TnDevice *device)
{
    g_ptr_array_add(context->devices, tn_device_ref(device));
}

guint
tn_context_n_devices(const TnContext *context)
{
    return context->devices->len;
}

TnDevice *
tn_context_device(const TnContext *context, guint i)
{
    return i < context->devices->len ? g_ptr_array_index(context->devices, i) : NULL;
}

TnStore *
tn_context_store(const TnContext *context)
{
    return context->store;
}

void
tn_context_set_memory_limit(TnContext *context, guint64 bytes)
{
    context->memory_limit = bytes;
}

gboolean
tn_context_take_memory(TnContext *context, guint64 bytes, const char *what, GError **error)
{
    unsigned long long used = atomic_load(&context->memory_used);
    do {
        if (context->memory_limit &&
            (bytes > context->memory_limit || used > context->memory_limit - bytes)) {
            g_autofree char *need = g_format_size_full(bytes, G_FORMAT_SIZE_IEC_UNITS);
            g_autofree char *taken = g_format_size_full(used, G_FORMAT_SIZE_IEC_UNITS);
            g_autofree char *limit =
                g_format_size_full(context->memory_limit, G_FORMAT_SIZE_IEC_UNITS);
            g_set_error(error, TN_ERROR, TN_ERROR_NO_MEMORY,
                        "%s needs %s, %s of the memory limit of %s are taken; raise memory_limit",
                        what, need, taken, limit);
            return FALSE;
        }
    } while (!atomic_compare_exchange_weak(&context->memory_used, &used, used + bytes));
    return TRUE;
}

void
tn_context_give_memory(TnContext *context, guint64 bytes)
{
    atomic_fetch_sub(&context->memory_used, bytes);
}

guint64
tn_context_memory_used(const TnContext *context)
{
    return atomic_load(&((TnContext *)context)->memory_used);
}

void
tn_context_cancel(TnContext *context)
{
    atomic_store_explicit(&context->cancelled, TRUE, memory_order_relaxed);
}

gboolean
tn_context_cancelled(const TnContext *context)
{
    return atomic_load_explicit(&((TnContext *)context)->cancelled, memory_order_relaxed);
}

void
tn_context_clear_cancel(TnContext *context)
{
    atomic_store_explicit(&context->cancelled, FALSE, memory_order_relaxed);
}

void
tn_context_add_metric_sink(TnContext *context, TnMetricSink sink, gpointer data)
{
    Sink row = { sink, data };
    g_array_append_val(context->sinks, row);
}

void
tn_context_metric(TnContext *context, const char *name, guint64 step, double value)
{
    for (guint i = 0; i < context->sinks->len; i++) {
        Sink *row = &g_array_index(context->sinks, Sink, i);
        row->sink(name, step, value, row->data);
    }
}
