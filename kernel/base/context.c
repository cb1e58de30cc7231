/* context.c: one experiment as the kernel sees it. */
#include <stdatomic.h>

#include <tenon/base.h>
#include <tenon/context.h>
#include <tenon/cost.h>
#include <tenon/device.h>
#include <tenon/value.h>

#include "base/refs.h"
#include "graph/store-private.h"

typedef struct {
    TnMetricSink call;
    gpointer data;
} Sink;

struct TnContext {
    TnRefs refs;
    guint64 seed;
    guint rank, world;
    GPtrArray *devices; /* TnDevice * */
    TnStore *store;
    TnValue *choices;
    gboolean batch_invariant, fast_math;
    guint64 program_limit;
    TnCosts *costs;
    TnDtype precision;
    atomic_ullong limit, used; /* bytes; limit 0: none */
    atomic_int cancelled;      /* lock-free, so a signal handler may set it */
    GArray *sinks;             /* Sink */
    const TnWatch *watch;
};

TnContext *
tn_context_new(void)
{
    TnContext *context = g_new0(TnContext, 1);
    tn_refs_init(&context->refs);
    context->world = 1;
    context->precision = TN_DTYPE_F32;
    context->devices = g_ptr_array_new_with_free_func((GDestroyNotify)tn_device_unref);
    context->sinks = g_array_new(FALSE, FALSE, sizeof(Sink));
    context->store = tn_store_new(0);
    tn_store_set_context(context->store, context);
    return context;
}

TnContext *
tn_context_ref(TnContext *context)
{
    tn_refs_inc(&context->refs);
    return context;
}

void
tn_context_unref(TnContext *context)
{
    if (!context || !tn_refs_dec(&context->refs))
        return;
    /* Somebody may keep the store longer. */
    tn_store_set_context(context->store, NULL);
    tn_store_unref(context->store);
    tn_value_unref(context->choices);
    tn_costs_unref(context->costs);
    g_ptr_array_unref(context->devices);
    g_array_unref(context->sinks);
    g_free(context);
}

/* --- Seed and rank ---------------------------------------------------------------------------- */

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

/* --- Devices and store ------------------------------------------------------------------------ */

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

TnDevice *const *
tn_context_devices(const TnContext *context)
{
    return (TnDevice *const *)context->devices->pdata;
}

void
tn_context_set_choices(TnContext *context, TnValue *choices)
{
    TnValue *old = context->choices;
    context->choices = choices ? tn_value_ref(choices) : NULL;
    tn_value_unref(old);
}

const TnValue *
tn_context_choices(const TnContext *context)
{
    return context->choices;
}

void
tn_context_set_batch_invariant(TnContext *context, gboolean invariant)
{
    context->batch_invariant = invariant;
}

gboolean
tn_context_batch_invariant(const TnContext *context)
{
    return context->batch_invariant;
}

void
tn_context_set_fast_math(TnContext *context, gboolean fast)
{
    context->fast_math = fast;
}

gboolean
tn_context_fast_math(const TnContext *context)
{
    return context->fast_math;
}

void
tn_context_set_costs(TnContext *context, TnCosts *costs)
{
    TnCosts *old = context->costs;
    context->costs = costs ? tn_costs_ref(costs) : NULL;
    tn_costs_unref(old);
}

TnCosts *
tn_context_costs(const TnContext *context)
{
    return context->costs;
}

void
tn_context_set_precision(TnContext *context, TnDtype precision)
{
    context->precision = precision;
}

TnDtype
tn_context_precision(const TnContext *context)
{
    return context->precision;
}

TnStore *
tn_context_store(const TnContext *context)
{
    return context->store;
}

/* --- Memory ----------------------------------------------------------------------------------- */

void
tn_context_set_memory_limit(TnContext *context, guint64 bytes)
{
    atomic_store(&context->limit, bytes);
}

gboolean
tn_context_take_memory(TnContext *context, guint64 bytes, const char *what, GError **error)
{
    const guint64 limit = atomic_load(&context->limit);
    unsigned long long used = atomic_load(&context->used);
    guint64 sum;
    do {
        if (__builtin_add_overflow((guint64)used, bytes, &sum) || (limit > 0 && sum > limit)) {
            g_set_error(error, TN_ERROR, TN_ERROR_NO_MEMORY,
                        "%s: %" G_GUINT64_FORMAT " bytes would pass the limit of %" G_GUINT64_FORMAT
                        ", of which %llu are in use",
                        what, bytes, limit, used);
            return FALSE;
        }
    } while (!atomic_compare_exchange_weak(&context->used, &used, sum));
    return TRUE;
}

void
tn_context_give_memory(TnContext *context, guint64 bytes)
{
    atomic_fetch_sub(&context->used, bytes);
}

guint64
tn_context_memory_used(const TnContext *context)
{
    return atomic_load((atomic_ullong *)&context->used);
}

void
tn_context_set_program_limit(TnContext *context, guint64 bytes)
{
    context->program_limit = bytes;
}

guint64
tn_context_program_limit(const TnContext *context)
{
    return context->program_limit;
}

/* --- Cancelling ------------------------------------------------------------------------------- */

void
tn_context_cancel(TnContext *context)
{
    atomic_store_explicit(&context->cancelled, 1, memory_order_release);
}

gboolean
tn_context_cancelled(const TnContext *context)
{
    return atomic_load_explicit((atomic_int *)&context->cancelled, memory_order_acquire) != 0;
}

void
tn_context_clear_cancel(TnContext *context)
{
    atomic_store_explicit(&context->cancelled, 0, memory_order_release);
}

/* --- Metrics ---------------------------------------------------------------------------------- */

void
tn_context_add_metric_sink(TnContext *context, TnMetricSink sink, gpointer data)
{
    const Sink added = { sink, data };
    g_array_append_val(context->sinks, added);
}

void
tn_context_metric(TnContext *context, const char *name, guint64 step, double value)
{
    for (guint i = 0; i < context->sinks->len; i++) {
        const Sink *sink = &g_array_index(context->sinks, Sink, i);
        sink->call(name, step, value, sink->data);
    }
}

/* --- Where time goes -------------------------------------------------------------------------- */

void
tn_context_set_watch(TnContext *context, const TnWatch *watch)
{
    context->watch = watch;
}

const TnWatch *
tn_context_watch(const TnContext *context)
{
    return context->watch;
}

gint64
tn_span_begin(const TnContext *context)
{
    const TnWatch *watch = context ? context->watch : NULL;
    if (G_LIKELY(!watch || !watch->begin))
        return 0;
    watch->begin(watch->data);
    return tn_time_ns();
}

void
tn_span_end(const TnContext *context, const char *kind, const char *name, gint64 begin)
{
    if (G_LIKELY(begin == 0))
        return;
    const gint64 end = tn_time_ns();
    context->watch->end(kind, name, begin, end, context->watch->data);
}
