// tn-test: timeout=120 label=threads
/* test_pipeline.c: pipelines of counted frames: order with any number of workers, seeking, state,
 * errors, cancelling. */
#include <stdatomic.h>
#include <unistd.h>

#include <tenon/base.h>
#include <tenon/context.h>
#include <tenon/dataset.h>
#include <tenon/pool.h>
#include <tenon/stage.h>

#include "tn_test.h"

/* --- A source of numbers and a map that squares, in this program ------------------------------ */

typedef struct {
    TnStageCommon common;
    gint64 fail_at, end;
} CountOptions;

static const TnOption count_rows[] = {
    { .name = "fail_at",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(CountOptions, fail_at),
      .dflt = "-1",
      .help = "frame that fails" },
    { .name = "end",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(CountOptions, end),
      .dflt = "1000000",
      .help = "frames there are" },
    TN_STAGE_ROWS(CountOptions, common),
};

static atomic_int made;         /* frames of the source */
static atomic_int made_by_pool; /* frames of any stage */

static void *
count_create(TnConfig *config, TnContext *context, GError **error)
{
    (void)context;
    (void)error;
    return tn_config_ref(config);
}

static void
count_destroy(void *self)
{
    tn_config_unref(self);
}

static gboolean
count_open(void *self, TnContext *context, const TnSchema *in, TnSchema *out, GError **error)
{
    (void)context;
    (void)error;
    (void)in;
    out->n = 1;
    out->names[0] = "x";
    out->types[0] = tn_type(TN_DTYPE_I64, 0, NULL);
    out->length = ((const CountOptions *)tn_config_data(self))->end;
    return TRUE;
}

static TnStatus
count_make(void *self, void *worker, guint64 seq, TnFrame *in, TnFrame *frame, GError **error)
{
    const CountOptions *options = tn_config_data(self);
    TnTensor *tensor = tn_frame_buffer(frame, 0, tn_type(TN_DTYPE_I64, 0, NULL), error);
    (void)worker;
    if (!tensor)
        return TN_NO_MEMORY;
    if (seq >= (guint64)options->end)
        return TN_EOS;
    if ((gint64)seq == options->fail_at) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "frame seven is bad");
        return TN_FAILED;
    }
    gint64 value = (gint64)seq;
    if (tn_pool_thread() > 0)
        atomic_fetch_add(&made_by_pool, 1);
    if (in) {
        value = (gint64)tn_tensor_get(tn_frame_tensor(in, 0), 0);
        value *= value;
        if (seq % 3 == 0)
            g_usleep(200); /* so that workers overtake each other */
    } else {
        atomic_fetch_add(&made, 1);
    }
    *(gint64 *)tn_storage_memory(tn_tensor_storage(tensor)) = value;
    return TN_OK;
}

static const TnStageVTable count_vtable = { .size = sizeof(TnStageVTable),
                                            .open = count_open,
                                            .make = count_make };
static const TnFactory count_factory = {
    .size = sizeof(TnFactory),
    .iface = TN_IFACE_STAGE,
    .name = "test_count",
    .help = "numbers, or squares of what comes in",
    .options = TN_OPTIONS(CountOptions, count_rows),
    .create = count_create,
    .destroy = count_destroy,
    .vtable = &count_vtable,
};

/* --- Helpers ---------------------------------------------------------------------------------- */

static TnSpec *
spec(const char *from, gint64 workers, gint64 queue, const char *key, gint64 value)
{
    TnSpec *s = tn_spec_new(TN_IFACE_STAGE, "test_count", (TnWhere){ "c.lua", 3 });
    if (from)
        tn_value_set(tn_spec_options(s), "from", tn_value_string(from));
    tn_value_set(tn_spec_options(s), "workers", tn_value_int(workers));
    tn_value_set(tn_spec_options(s), "queue", tn_value_int(queue));
    if (key)
        tn_value_set(tn_spec_options(s), key, tn_value_int(value));
    return s;
}

static TnPipeline *
chain(TnContext *context, gint64 source_workers, gint64 map_workers, const char *key, gint64 value,
      TnPort **port)
{
    g_autoptr(GError) error = NULL;
    /* the consumer is named first: the order of specs does not matter */
    g_autoptr(TnSpec) map = spec("numbers", map_workers, 0, NULL, 0);
    g_autoptr(TnSpec) source = spec(NULL, source_workers, 3, key, value);
    TnPipeline *pipeline =
        tn_pipeline_new(context, 2, (const char *const[]){ "squares", "numbers" },
                        (TnSpec *const[]){ map, source }, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    *port = tn_pipeline_port(pipeline, "squares", &error);
    TN_REQUIRE_NO_ERROR(error);
    return pipeline;
}

static gint64
pull(TnPort *port)
{
    TnFrame *frame = NULL;
    TnStatus status = tn_port_pull(port, &frame);
    if (status != TN_OK)
        return -(gint64)status;
    gint64 value = (gint64)tn_tensor_get(tn_frame_tensor(frame, 0), 0);
    tn_frame_unref(frame);
    return value;
}

static const struct {
    gint64 source, map;
} shapes[] = { { 0, 0 }, { 1, 0 }, { 0, 1 }, { 3, 0 }, { 0, 4 }, { 2, 3 } };

/* --- Tests ------------------------------------------------------------------------------------ */

static void
order_is_kept(void)
{
    for (guint s = 0; s < G_N_ELEMENTS(shapes); s++) {
        g_autoptr(TnContext) context = tn_context_new();
        TnPort *port;
        g_autoptr(TnPipeline) pipeline =
            chain(context, shapes[s].source, shapes[s].map, "end", 300, &port);
        for (gint64 i = 0; i < 300; i++)
            TN_ASSERT_CMPINT(pull(port), ==, i * i);
        TN_ASSERT_CMPINT(pull(port), ==, -TN_EOS);
        TN_ASSERT_CMPINT(pull(port), ==, -TN_EOS);
    }
}

static void
seeks_anywhere(void)
{
    for (guint s = 0; s < G_N_ELEMENTS(shapes); s++) {
        g_autoptr(TnContext) context = tn_context_new();
        TnPort *port;
        g_autoptr(TnPipeline) pipeline =
            chain(context, shapes[s].source, shapes[s].map, "end", 100, &port);
        static const gint64 places[] = { 50, 3, 97, 0, 99, 10 };
        for (guint i = 0; i < G_N_ELEMENTS(places); i++) {
            tn_port_seek(port, (guint64)places[i]);
            TN_ASSERT_CMPUINT(tn_port_seq(port), ==, places[i]);
            for (gint64 k = places[i]; k < MIN(places[i] + 5, 100); k++)
                TN_ASSERT_CMPINT(pull(port), ==, k * k);
            if (places[i] + 5 > 100)
                TN_ASSERT_CMPINT(pull(port), ==, -TN_EOS); /* and a seek brings it back */
        }
    }
}

static void
state_brings_back_the_place(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(GError) error = NULL;
    TnPort *port, *other;
    g_autoptr(TnPipeline) pipeline = chain(context, 2, 2, NULL, 0, &port);
    for (guint i = 0; i < 17; i++)
        pull(port);
    g_autoptr(TnValue) state = tn_pipeline_save(pipeline);
    g_autoptr(TnPipeline) second = chain(context, 0, 1, NULL, 0, &other);
    TN_ASSERT(tn_pipeline_load(second, state, &error));
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT_CMPINT(pull(other), ==, 17 * 17);
    g_autoptr(TnValue) empty = tn_value_map();
    TN_ASSERT(!tn_pipeline_load(second, empty, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, "squares");
}

static TnStatus
do_nothing(gpointer data, gsize chunk, gsize n)
{
    (void)data;
    (void)chunk;
    (void)n;
    return TN_OK;
}

/* Gives the pool's workers some milliseconds to look for work that can wait. */
static void
keep_pool_awake(void)
{
    for (guint i = 0; i < 100; i++) {
        tn_parallel_for(2, do_nothing, NULL);
        g_usleep(20);
    }
}

/* Without workers of its own a stage has its next frame made by threads that wait. */
static void
idle_threads_make_the_next_frame(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    TnPort *port;
    g_autoptr(TnPipeline) pipeline = chain(context, 0, 0, NULL, 0, &port);
    TnPatience patience = tn_test_patience(20);
    gint64 i = 0;
    tn_pool_set_threads(3);
    atomic_store(&made_by_pool, 0);
    while (atomic_load(&made_by_pool) < 10 && tn_test_patient(&patience)) {
        TN_ASSERT_CMPINT(pull(port), ==, i * i);
        i++;
        keep_pool_awake();
    }
    TN_ASSERT_CMPINT(atomic_load(&made_by_pool), >=, 10);
    const gint64 before = atomic_load(&made_by_pool);
    tn_pool_set_threads(1);
    tn_port_seek(port, 5);
    for (i = 5; i < 20; i++)
        TN_ASSERT_CMPINT(pull(port), ==, i * i);
    TN_ASSERT_CMPINT(atomic_load(&made_by_pool), ==, before);
    tn_pool_set_threads(2);
}

static void
an_error_comes_in_its_turn(void)
{
    for (guint s = 0; s < G_N_ELEMENTS(shapes); s++) {
        g_autoptr(TnContext) context = tn_context_new();
        TnPort *port;
        g_autoptr(TnPipeline) pipeline =
            chain(context, shapes[s].source, shapes[s].map, "fail_at", 7, &port);
        for (gint64 i = 0; i < 7; i++)
            TN_ASSERT_CMPINT(pull(port), ==, i * i);
        keep_pool_awake();
        TN_ASSERT(tn_pipeline_error(pipeline) == NULL); /* although it may be known by now */
        TN_ASSERT_CMPINT(pull(port), ==, -TN_FAILED);
        TN_REQUIRE(tn_pipeline_error(pipeline) != NULL);
        TN_ASSERT_CMPSTR(tn_pipeline_error(pipeline)->message,
                         "stage 'numbers': frame seven is bad");
    }
}

static void
work_ahead_is_bounded(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    TnPort *port;
    atomic_store(&made, 0);
    g_autoptr(TnPipeline) pipeline = chain(context, 2, 0, NULL, 0, &port);
    pull(port);
    g_usleep(50000);
    /* one taken, one that an idle thread has mapped ahead, three queued */
    TN_ASSERT_CMPINT(atomic_load(&made), <=, 1 + 1 + 3);
}

static gpointer
cancel_soon(gpointer context)
{
    g_usleep(20000);
    tn_context_cancel(context);
    return NULL;
}

static void
cancelling_ends_every_wait(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    TnPort *port;
    g_autoptr(TnPipeline) pipeline = chain(context, 1, 2, NULL, 0, &port);
    GThread *thread = g_thread_new("cancel", cancel_soon, context);
    gint64 value;
    while ((value = pull(port)) >= 0)
        ;
    TN_ASSERT_CMPINT(value, ==, -TN_CANCELLED);
    g_thread_join(thread);
}

static void
a_pipeline_can_be_dropped_at_any_time(void)
{
    for (guint i = 0; i < 50; i++) {
        g_autoptr(TnContext) context = tn_context_new();
        TnPort *port;
        TnPipeline *pipeline = chain(context, 1 + i % 3, i % 4, NULL, 0, &port);
        for (guint k = 0; k < i % 7; k++)
            pull(port);
        tn_pipeline_free(pipeline);
    }
}

static void
frames_live_again(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    TnPort *port;
    g_autoptr(TnPipeline) pipeline = chain(context, 0, 0, NULL, 0, &port);
    TnFrame *held, *frame;
    TN_ASSERT_CMPINT(tn_port_pull(port, &held), ==, TN_OK);
    TN_ASSERT_CMPINT(tn_port_pull(port, &frame), ==, TN_OK);
    const TnTensor *first = tn_frame_tensor(frame, 0);
    tn_frame_unref(frame);
    for (guint i = 0; i < 10; i++) {
        TN_ASSERT_CMPINT(tn_port_pull(port, &frame), ==, TN_OK);
        TN_ASSERT(tn_frame_tensor(frame, 0) == first);
        tn_frame_unref(frame);
    }
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_frame_tensor(held, 0), 0), ==, 0); /* untouched meanwhile */
    tn_frame_unref(held);
}

static void
wrong_wiring_is_told(void)
{
    static const struct {
        const char *from_a, *from_b, *words[2];
    } table[] = {
        { "b", "a", { "takes from", "in turn" } },
        { "c", NULL, { "no stage 'c'", "c.lua:3" } },
        { "bb", NULL, { "did you mean 'b'", "stages.a" } },
    };
    g_autoptr(TnContext) context = tn_context_new();
    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(TnSpec) a = spec(table[i].from_a, 0, 0, NULL, 0),
                          b = spec(table[i].from_b, 0, 0, NULL, 0);
        TN_ASSERT(!tn_pipeline_new(context, 2, (const char *const[]){ "a", "b" },
                                   (TnSpec *const[]){ a, b }, NULL, &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, table[i].words[0], table[i].words[1]);
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(TnSpec) a = spec(NULL, 0, 0, NULL, 0), b = spec("a", 0, 0, NULL, 0),
                      c = spec("a", 0, 0, NULL, 0);
    TN_ASSERT(!tn_pipeline_new(context, 3, (const char *const[]){ "a", "b", "c" },
                               (TnSpec *const[]){ a, b, c }, NULL, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "'a'", "already taken");
}

/* The same is told when the stages before a placed one are not opened here; nothing is started. */
static void
wrong_wiring_of_placed_stages_is_told(void)
{
    const TnPlacing placing = { .launch = (const char *const[]){ "/nowhere/tenon", NULL },
                                .digest = "d" };
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(TnSpec) a = spec(NULL, 0, 0, NULL, 0), b = spec("a", 0, 0, NULL, 0),
                      c = spec("a", 0, 0, NULL, 0), round = spec("b", 0, 0, NULL, 0);
    tn_value_set(tn_spec_options(b), "place", tn_value_string("ipc"));
    TN_ASSERT(!tn_pipeline_new(context, 3, (const char *const[]){ "a", "b", "c" },
                               (TnSpec *const[]){ a, b, c }, &placing, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "'a'", "already taken");
    TN_ASSERT(!tn_pipeline_new(context, 2, (const char *const[]){ "a", "b" },
                               (TnSpec *const[]){ round, b }, &placing, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "in turn");
    TN_ASSERT(!tn_pipeline_new(context, 2, (const char *const[]){ "a", "b" },
                               (TnSpec *const[]){ a, b }, &placing, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, "/nowhere/tenon", "cannot be started");
}

/* --- read ------------------------------------------------------------------------------------- */

static TnSpec *
read_spec(const char *path, gint64 batch, gboolean shuffle, gboolean drop_last, gint64 workers)
{
    TnSpec *data = tn_spec_new(TN_IFACE_DATASET, "idx", (TnWhere){ "c.lua", 1 });
    TnSpec *s = tn_spec_new(TN_IFACE_STAGE, "read", (TnWhere){ "c.lua", 2 });
    TnValue *options = tn_spec_options(s);
    tn_value_set(tn_spec_options(data), "image", tn_value_string(path));
    tn_value_set(options, "data", tn_value_spec(data));
    tn_value_set(options, "batch", tn_value_int(batch));
    tn_value_set(options, "shuffle", tn_value_bool(shuffle));
    tn_value_set(options, "drop_last", tn_value_bool(drop_last));
    tn_value_set(options, "workers", tn_value_int(workers));
    return s;
}

/* Ten samples 0 … 9. */
static char *
ten_samples(void)
{
    char *path = tn_test_tmp_path("ten");
    guint8 bytes[18] = { 0, 0, 8, 1, 0, 0, 0, 10 };
    for (guint i = 0; i < 10; i++)
        bytes[8 + i] = (guint8)i;
    tn_test_write_file(path, bytes, sizeof bytes);
    return path;
}

/* Samples of n frames as text: "0123|4567|89|…". */
static char *
read_text(gint64 batch, gboolean shuffle, gboolean drop_last, gint64 workers, guint64 seed, guint n)
{
    g_autofree char *path = ten_samples();
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(TnSpec) s = read_spec(path, batch, shuffle, drop_last, workers);
    GString *text = g_string_new(NULL);
    tn_context_set_seed(context, seed);
    g_autoptr(TnPipeline) pipeline =
        tn_pipeline_new(context, 1, (const char *const[]){ "r" }, &s, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    TnPort *port = tn_pipeline_port(pipeline, "r", &error);
    for (guint i = 0; i < n; i++) {
        TnFrame *frame;
        TN_REQUIRE(tn_port_pull(port, &frame) == TN_OK);
        for (gint64 k = 0; k < tn_frame_samples(frame); k++)
            g_string_append_printf(text, "%d", (int)tn_tensor_get(tn_frame_tensor(frame, 0), k));
        g_string_append_c(text, '|');
        tn_frame_unref(frame);
    }
    return g_string_free(text, FALSE);
}

static void
read_gives_batches(void)
{
    g_autofree char *whole = read_text(4, FALSE, FALSE, 0, 1, 4),
                    *dropped = read_text(4, FALSE, TRUE, 2, 1, 4);
    TN_ASSERT_CMPSTR(whole, "0123|4567|89|0123|");
    TN_ASSERT_CMPSTR(dropped, "0123|4567|0123|4567|");
}

static void
read_shuffles_anew_each_epoch(void)
{
    g_autofree char *a = read_text(10, TRUE, FALSE, 0, 5, 3),
                    *b = read_text(10, TRUE, FALSE, 3, 5, 3),
                    *c = read_text(10, TRUE, FALSE, 0, 6, 3);
    TN_ASSERT_CMPSTR(a, b); /* workers change nothing */
    TN_ASSERT(strcmp(a, c) != 0);
    TN_ASSERT(strncmp(a, a + 11, 10) != 0);
    for (guint epoch = 0; epoch < 3; epoch++)
        for (char digit = '0'; digit <= '9'; digit++)
            TN_ASSERT(memchr(a + 11 * epoch, digit, 10) != NULL);
}

static void
read_refuses(void)
{
    g_autofree char *path = ten_samples();
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(TnSpec) big = read_spec(path, 11, FALSE, TRUE, 0);
    TN_ASSERT(!tn_pipeline_new(context, 1, (const char *const[]){ "r" }, &big, NULL, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "10 samples", "11", "c.lua:2");
}

static void
setup(void)
{
    static const TnFactory *const factories[] = { &count_factory, NULL };
    static const TnPlugin plugin = { TN_PLUGIN_HEAD("test-stages", "0", "Apache-2.0",
                                                    "stages of this test"),
                                     .factories = factories };
    g_autoptr(GError) error = NULL;
    tn_registry_add(&plugin, &error);
    TN_ASSERT_NO_ERROR(error);
    tn_stages_register();
}

static const TnTest tests[] = {
    { "order is kept", order_is_kept },
    { "seeks anywhere", seeks_anywhere },
    { "state brings back the place", state_brings_back_the_place },
    { "idle threads make the next frame", idle_threads_make_the_next_frame },
    { "an error comes in its turn", an_error_comes_in_its_turn },
    { "work ahead is bounded", work_ahead_is_bounded },
    { "cancelling ends every wait", cancelling_ends_every_wait },
    { "a pipeline can be dropped at any time", a_pipeline_can_be_dropped_at_any_time },
    { "frames live again", frames_live_again },
    { "wrong wiring is told", wrong_wiring_is_told },
    { "wrong wiring of placed stages is told", wrong_wiring_of_placed_stages_is_told },
    { "read gives batches", read_gives_batches },
    { "read shuffles anew each epoch", read_shuffles_anew_each_epoch },
    { "read refuses", read_refuses },
};
TN_TEST_MAIN_WITH("pipeline", tests, setup, NULL)
