/* test_context.c: seed, rank, devices, memory limit, cancel flag and metrics of an experiment. */
// tn-test: label=threads
#include <pthread.h>

#include <tenon/context.h>
#include <tenon/device.h>
#include <tenon/store.h>

#include "tn_test.h"

static void
beginning(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    TN_ASSERT_CMPUINT(tn_context_seed(context), ==, 0);
    TN_ASSERT_CMPUINT(tn_context_rank(context), ==, 0);
    TN_ASSERT_CMPUINT(tn_context_world(context), ==, 1);
    TN_ASSERT_CMPUINT(tn_context_n_devices(context), ==, 0);
    TN_ASSERT(tn_context_device(context, 0) == NULL);
    TN_ASSERT_CMPUINT(tn_store_n(tn_context_store(context)), ==, 0);
    TN_ASSERT(!tn_context_cancelled(context));
    tn_context_set_seed(context, 77);
    TN_ASSERT_CMPUINT(tn_context_seed(context), ==, 77);
    TN_ASSERT_CMPUINT(tn_store_seed(tn_context_store(context)), ==, 77);
    tn_context_set_rank(context, 3, 4);
    TN_ASSERT_CMPUINT(tn_context_rank(context), ==, 3);
    TN_ASSERT_CMPUINT(tn_context_world(context), ==, 4);
    tn_context_cancel(context);
    TN_ASSERT(tn_context_cancelled(context));
    tn_context_clear_cancel(context);
    TN_ASSERT(!tn_context_cancelled(context));
}

static const TnDeviceVTable vtable = { .size = sizeof vtable, .kind = "test", .host_memory = TRUE };

static void
count_end(void *self)
{
    ++*(guint *)self;
}

static void
devices(void)
{
    guint ended = 0;
    TnContext *context = tn_context_new();
    TnDevice *device = tn_device_new("test:0", &vtable, &ended, count_end);
    tn_context_add_device(context, device);
    tn_context_add_device(context, tn_device_host());
    tn_device_unref(device);
    TN_ASSERT_CMPUINT(tn_context_n_devices(context), ==, 2);
    TN_ASSERT(tn_context_device(context, 0) == device);
    TN_ASSERT(tn_context_device(context, 1) == tn_device_host());
    TN_ASSERT(tn_context_device(context, 2) == NULL);
    tn_context_ref(context);
    tn_context_unref(context);
    TN_ASSERT_CMPUINT(ended, ==, 0);
    tn_context_unref(context);
    TN_ASSERT_CMPUINT(ended, ==, 1);
}

static void
memory(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_context_take_memory(context, 1ull << 62, "much", &error)); /* no limit */
    tn_context_give_memory(context, 1ull << 62);
    tn_context_set_memory_limit(context, 100);
    TN_ASSERT(tn_context_take_memory(context, 60, "an arena", &error));
    TN_ASSERT(tn_context_take_memory(context, 40, "another", &error));
    TN_ASSERT_CMPUINT(tn_context_memory_used(context), ==, 100);
    TN_ASSERT(!tn_context_take_memory(context, 1, "one byte", &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NO_MEMORY, "one byte", "100");
    TN_ASSERT(!tn_context_take_memory(context, G_MAXUINT64, "overflow", &error));
    g_clear_error(&error);
    TN_ASSERT_CMPUINT(tn_context_memory_used(context), ==, 100);
    tn_context_give_memory(context, 100);
    TN_ASSERT_CMPUINT(tn_context_memory_used(context), ==, 0);
}

/* Variables count, and a store may outlive its context. */
static void
store_counts(void)
{
    TnContext *context = tn_context_new();
    g_autoptr(GError) error = NULL;
    const gint64 dims[] = { 10 };
    TnVarInfo info = { .name = "w", .type = tn_type(TN_DTYPE_F32, 1, dims) };
    tn_context_set_memory_limit(context, 60);
    TnStore *store = tn_store_ref(tn_context_store(context));
    TN_ASSERT(tn_store_var(store, NULL, &info, &error) != NULL);
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT_CMPUINT(tn_context_memory_used(context), ==, 40);
    info.name = "v";
    TN_ASSERT(tn_store_var(store, NULL, &info, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NO_MEMORY, "v", "60");
    TN_ASSERT_CMPUINT(tn_context_memory_used(context), ==, 40);
    TN_ASSERT_CMPUINT(tn_store_n(store), ==, 1);
    tn_context_unref(context);
    TN_ASSERT(tn_store_find(store, "w") != NULL);
    tn_store_unref(store);
}

typedef struct {
    GString *text;
    const char *mark;
} Metric;

static void
note(const char *name, guint64 step, double value, gpointer data)
{
    const Metric *metric = data;
    g_string_append_printf(metric->text, "%s %s %u %g;", metric->mark, name, (guint)step, value);
}

static void
metrics(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(GString) text = g_string_new(NULL);
    Metric a = { text, "a" }, b = { text, "b" };
    tn_context_metric(context, "nobody", 0, 1);
    tn_context_add_metric_sink(context, note, &a);
    tn_context_add_metric_sink(context, note, &b);
    tn_context_metric(context, "loss", 7, 0.5);
    TN_ASSERT_CMPSTR(text->str, "a loss 7 0.5;b loss 7 0.5;");
}

static void *
take_and_give(void *data)
{
    TnContext *context = data;
    for (guint i = 0; i < 2000; i++)
        if (tn_context_take_memory(context, 3, "three", NULL))
            tn_context_give_memory(context, 3);
    tn_context_cancel(context);
    tn_context_unref(context);
    return NULL;
}

static void
threads(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    pthread_t ids[3];
    tn_context_set_memory_limit(context, 7);
    for (guint i = 0; i < 3; i++)
        TN_REQUIRE(pthread_create(&ids[i], NULL, take_and_give, tn_context_ref(context)) == 0);
    while (!tn_context_cancelled(context))
        TN_REQUIRE(tn_context_memory_used(context) <= 7);
    for (guint i = 0; i < 3; i++)
        pthread_join(ids[i], NULL);
    TN_ASSERT_CMPUINT(tn_context_memory_used(context), ==, 0);
}

static const TnTest tests[] = {
    { "beginning", beginning },       { "devices", devices }, { "memory", memory },
    { "store-counts", store_counts }, { "metrics", metrics }, { "threads", threads },
};
TN_TEST_MAIN("context", tests)
