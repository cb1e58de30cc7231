/* test_async.c: an asynchronous stage in several processes: what each sends comes in its order, from
 * all of them, and goes on when one is killed and begun anew. The processes are this program again. */
// tn-test: timeout=120 label=threads
#include <signal.h>
#include <unistd.h>

#include <tenon/base.h>
#include <tenon/context.h>
#include <tenon/stage.h>

#include "tn_test.h"

/* --- A stage that says which process it is and counts ------------------------------------------ */

typedef struct {
    TnStageCommon common;
    gint64 end;
} TellOptions;

typedef struct {
    TnConfig *config;
    gint64 count;
} Tell;

static const TnOption tell_rows[] = {
    { .name = "end",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(TellOptions, end),
      .dflt = "1000000",
      .help = "frames that a process gives" },
    TN_STAGE_ROWS(TellOptions, common),
};

static void *
tell_create(TnConfig *config, TnContext *context, GError **error)
{
    Tell *tell = g_new0(Tell, 1);
    (void)context;
    (void)error;
    tell->config = tn_config_ref(config);
    return tell;
}

static void
tell_destroy(void *self)
{
    tn_config_unref(((Tell *)self)->config);
    g_free(self);
}

static gboolean
tell_open(void *self, TnContext *context, const TnSchema *in, TnSchema *out, GError **error)
{
    const gint64 two = 2;
    (void)self;
    (void)context;
    (void)in;
    (void)error;
    out->n = 1;
    out->names[0] = "x";
    out->types[0] = tn_type(TN_DTYPE_I64, 1, &two);
    return TRUE;
}

static TnStatus
tell_make(void *self, void *worker, guint64 seq, TnFrame *in, TnFrame *frame, GError **error)
{
    Tell *tell = self;
    const gint64 two = 2;
    TnTensor *tensor = tn_frame_buffer(frame, 0, tn_type(TN_DTYPE_I64, 1, &two), error);
    (void)worker;
    (void)seq;
    (void)in;
    if (!tensor)
        return TN_NO_MEMORY;
    if (tell->count >= ((const TellOptions *)tn_config_data(tell->config))->end)
        return TN_EOS;
    gint64 *at = tn_storage_memory(tn_tensor_storage(tensor));
    at[0] = getpid();
    at[1] = tell->count++;
    g_usleep(getpid() % 2 ? 100 : 300);
    return TN_OK;
}

static const TnStageVTable tell_vtable = {
    .size = sizeof(TnStageVTable), .open = tell_open, .make = tell_make, .flags = TN_STAGE_ASYNC
};
static const TnFactory tell_factory = {
    .size = sizeof(TnFactory),
    .iface = TN_IFACE_STAGE,
    .name = "test_tell",
    .help = "which process it is, and a count",
    .options = TN_OPTIONS(TellOptions, tell_rows),
    .create = tell_create,
    .destroy = tell_destroy,
    .vtable = &tell_vtable,
};

static const TnFactory *const factories[] = { &tell_factory, NULL };
static const TnPlugin plugin = {
    TN_PLUGIN_HEAD("test-tell", "1.0.0", "Apache-2.0", "for this test"),
    .factories = factories,
};

/* --- Both sides -------------------------------------------------------------------------------- */

static TnPipeline *
make_pipeline(TnContext *context, const TnPlacing *placing, gint64 end, gboolean restart)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnSpec) spec = tn_spec_new(TN_IFACE_STAGE, "test_tell", (TnWhere){ "c.lua", 1 });
    tn_value_set(tn_spec_options(spec), "place", tn_value_string("ipc"));
    tn_value_set(tn_spec_options(spec), "workers", tn_value_int(3));
    tn_value_set(tn_spec_options(spec), "restart", tn_value_bool(restart));
    tn_value_set(tn_spec_options(spec), "end", tn_value_int(end));
    TnPipeline *pipeline = tn_pipeline_new(context, 1, (const char *const[]){ "tell" },
                                           (TnSpec *const[]){ spec }, placing, &error);
    TN_REQUIRE_NO_ERROR(error);
    return pipeline;
}

/* The program as a stage's process: END --stage=tell --connect=URL */
static int
serve(char **argv)
{
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(GError) error = NULL;
    const TnPlacing placing = { .launch = (const char *const[]){ "none", NULL },
                                .digest = "d",
                                .here = "tell" };
    if (!tn_registry_add(&plugin, &error))
        return 3;
    g_autoptr(TnPipeline) pipeline =
        make_pipeline(context, &placing, g_ascii_strtoll(argv[2], NULL, 10), FALSE);
    const TnServe options = { .stage = "tell",
                              .address = strchr(argv[4], '=') + 1,
                              .placing = &placing,
                              .parent = getppid(),
                              .timeout = 20 };
    return tn_stage_serve(pipeline, context, &options, &error) ? 0 : 1;
}

typedef struct {
    gint64 pid, next;
} Seen;

/* The process of a frame; its count goes on from where it was. */
static Seen *
look(GArray *seen, TnFrame *frame)
{
    const gint64 pid = (gint64)tn_tensor_get(tn_frame_tensor(frame, 0), 0);
    const gint64 count = (gint64)tn_tensor_get(tn_frame_tensor(frame, 0), 1);
    guint i = 0;
    while (i < seen->len && g_array_index(seen, Seen, i).pid != pid)
        i++;
    if (i == seen->len)
        g_array_append_val(seen, ((Seen){ pid, 0 }));
    Seen *one = &g_array_index(seen, Seen, i);
    TN_ASSERT_CMPINT(count, ==, one->next);
    one->next = count + 1;
    return one;
}

static void
frames_come_from_all(void)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    const char *const words[] = { self, "--serve", "1000000", NULL };
    const TnPlacing placing = { .launch = words, .digest = "d" };
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(TnPipeline) pipeline = make_pipeline(context, &placing, 1000000, TRUE);
    g_autoptr(GArray) seen = g_array_new(FALSE, FALSE, sizeof(Seen));
    TnPort *port = tn_pipeline_port(pipeline, "tell", &error);
    TN_REQUIRE_NO_ERROR(error);
    TnPatience patience = tn_test_patience(60);
    gint64 killed = 0, after = 0;
    guint64 number = 0;
    /* Until three have worked, one was killed, and its successor has worked too. */
    while ((seen->len < 4 || after < 300) && tn_test_patient(&patience)) {
        TnFrame *frame = NULL;
        TN_REQUIRE(tn_port_pull(port, &frame) == TN_OK);
        TN_ASSERT_CMPUINT(tn_frame_seq(frame), ==, number++);
        const Seen *one = look(seen, frame);
        tn_frame_unref(frame);
        if (!killed && seen->len == 3 && one->next > 50) {
            killed = one->pid;
            kill((pid_t)killed, SIGKILL);
        }
        after += killed && one->pid != killed;
    }
    TN_ASSERT_CMPUINT(seen->len, >=, 4);
    TN_ASSERT_CMPINT(after, >=, 300);
    tn_port_seek(port, 5); /* a number and no more */
    TnFrame *frame = NULL;
    TN_REQUIRE(tn_port_pull(port, &frame) == TN_OK);
    TN_ASSERT_CMPUINT(tn_frame_seq(frame), ==, 5);
    look(seen, frame);
    tn_frame_unref(frame);
}

static void
it_ends_with_the_first_that_ends(void)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    const char *const words[] = { self, "--serve", "20", NULL };
    const TnPlacing placing = { .launch = words, .digest = "d" };
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnPipeline) pipeline = make_pipeline(context, &placing, 20, FALSE);
    TnPort *port = tn_pipeline_port(pipeline, "tell", NULL);
    guint n = 0;
    TnStatus status;
    TnFrame *frame = NULL;
    while ((status = tn_port_pull(port, &frame)) == TN_OK) {
        tn_frame_unref(frame);
        n++;
    }
    TN_ASSERT_CMPINT(status, ==, TN_EOS);
    TN_ASSERT_CMPUINT(n, >=, 20);
    TN_ASSERT_CMPUINT(n, <=, 60);
    TN_ASSERT_CMPINT(tn_port_pull(port, &frame), ==, TN_EOS);
}

static void
setup(void)
{
    g_autoptr(GError) error = NULL;
    TN_REQUIRE(tn_registry_add(&plugin, &error));
}

static const TnTest tests[] = {
    { "frames come from all", frames_come_from_all },
    { "it ends with the first that ends", it_ends_with_the_first_that_ends },
};

int
main(int argc, char **argv)
{
    if (argc > 4 && strcmp(argv[1], "--serve") == 0)
        return serve(argv);
    return tn_test_main("async", tests, G_N_ELEMENTS(tests), setup, NULL, argc, argv);
}
