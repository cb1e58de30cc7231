/* test_latest.c: a stage whose frames are versions: who pulls gets the newest and never an older one,
 * from the stage itself, a thread, a process or those that replace it. The processes are this program
 * again. */
// tn-test: timeout=180 label=threads
#include "own_process.h"

#define PATIENCE 30 /* seconds */

/* --- Stages ------------------------------------------------------------------------------------- */

typedef struct {
    TnStageCommon common;
    gint64 end, fail_at, pause, rows;
} VersionOptions;

static const TnOption version_rows[] = {
    { .name = "end",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(VersionOptions, end),
      .dflt = "1000000000",
      .help = "versions that there are" },
    { .name = "fail_at",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(VersionOptions, fail_at),
      .dflt = "-1",
      .help = "version that cannot be made" },
    { .name = "pause",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(VersionOptions, pause),
      .dflt = "0",
      .help = "microseconds that a version takes; less than 0: until the gate is open" },
    { .name = "rows",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(VersionOptions, rows),
      .dflt = "3",
      .help = "elements of a version" },
    TN_STAGE_ROWS(VersionOptions, common),
};

static atomic_uint gate; /* versions that may be made while `pause` is less than 0 */
static atomic_uint made;

static void *
version_create(TnConfig *config, TnContext *context, GError **error)
{
    (void)context;
    (void)error;
    return tn_config_ref(config);
}

static void
version_destroy(void *self)
{
    tn_config_unref(self);
}

static gboolean
version_open(void *self, TnContext *context, const TnSchema *in, TnSchema *out, GError **error)
{
    const gint64 rows = ((const VersionOptions *)tn_config_data(self))->rows;
    (void)context;
    (void)error;
    out->n = 2;
    out->names[0] = tn_intern("w");
    out->types[0] = tn_type(TN_DTYPE_I64, 1, &rows);
    out->names[1] = tn_intern("pid");
    out->types[1] = tn_type(TN_DTYPE_I64, 0, NULL);
    out->length = in ? in->length : 0;
    return TRUE;
}

static void
wait_for_gate(gint64 pause)
{
    TnPatience patience = tn_test_patience(PATIENCE);
    if (pause > 0)
        g_usleep((gulong)pause);
    while (pause < 0 && atomic_load(&made) >= atomic_load(&gate) && tn_test_patient(&patience))
        g_usleep(200);
}

/* Every element is the version, or what its input was made as. */
static TnStatus
version_make(void *self, void *worker, guint64 seq, TnFrame *in, TnFrame *frame, GError **error)
{
    const VersionOptions *options = tn_config_data(self);
    TnTensor *w = tn_frame_buffer(frame, 0, tn_type(TN_DTYPE_I64, 1, &options->rows), error);
    TnTensor *pid = tn_frame_buffer(frame, 1, tn_type(TN_DTYPE_I64, 0, NULL), error);
    (void)worker;
    if (!w || !pid)
        return TN_NO_MEMORY;
    if (seq >= (guint64)options->end)
        return TN_EOS;
    if ((gint64)seq == options->fail_at) {
        g_set_error(error, TN_ERROR, TN_ERROR_NUMERIC, "version %d is bad", (int)seq);
        return TN_FAILED;
    }
    wait_for_gate(options->pause);
    gint64 *at = tn_storage_memory(tn_tensor_storage(w));
    for (gint64 i = 0; i < options->rows; i++)
        at[i] = in ? (gint64)tn_tensor_get(tn_frame_tensor(in, 0), 0) : (gint64)seq;
    *(gint64 *)tn_storage_memory(tn_tensor_storage(pid)) = getpid();
    atomic_fetch_add(&made, in ? 0 : 1);
    return TN_OK;
}

static const TnStageVTable version_vtable = { .size = sizeof(TnStageVTable),
                                              .open = version_open,
                                              .make = version_make,
                                              .flags = TN_STAGE_LATEST },
                           copy_vtable = { .size = sizeof(TnStageVTable),
                                           .open = version_open,
                                           .make = version_make };
#define FACTORY(id, table)                                                                         \
    {                                                                                              \
        .size = sizeof(TnFactory), .iface = TN_IFACE_STAGE, .name = (id), .help = "versions",      \
        .options = TN_OPTIONS(VersionOptions, version_rows), .create = version_create,             \
        .destroy = version_destroy, .vtable = &(table)                                             \
    }
static const TnFactory version_factory = FACTORY("test_version", version_vtable),
                       copy_factory = FACTORY("test_copy", copy_vtable);
static const TnFactory *const factories[] = { &version_factory, &copy_factory, NULL };
static const TnPlugin plugin = {
    TN_PLUGIN_HEAD("test-latest", "1.0.0", "Apache-2.0", "for this test"),
    .factories = factories,
};

/* --- Looking ------------------------------------------------------------------------------------ */

/* A whole frame of one version: its number. Takes it. */
static gint64
version_of(TnFrame *frame, gint64 *pid)
{
    TnTensor *w = tn_frame_tensor(frame, 0);
    const gint64 *at = tn_tensor_map(w, TN_MAP_READ, NULL), first = at[0];
    gint64 others = 0;
    for (gint64 i = 0; i < tn_tensor_count(w); i++)
        others += at[i] != first;
    tn_tensor_unmap(w);
    TN_ASSERT_CMPINT(others, ==, 0);
    if (pid)
        *pid = (gint64)tn_tensor_get(tn_frame_tensor(frame, 1), 0);
    tn_frame_unref(frame);
    return first;
}

/* Versions only grow; what a pull gave instead of one, with its reason. */
static gboolean
is_newer(TnPipeline *pipeline, gint64 version, gint64 last)
{
    const GError *error = tn_pipeline_error(pipeline);
    if (version <= last)
        TN_FAIL("%" G_GINT64_FORMAT " after %" G_GINT64_FORMAT ": %s", version, last,
                error ? error->message : "no error");
    return version > last;
}

/* The next version of a port, whose frame has its number; less than 0: the status. */
static gint64
pull(TnPort *port, gint64 *pid)
{
    TnFrame *frame = NULL;
    const TnStatus status = tn_port_pull(port, &frame);
    if (status != TN_OK)
        return -(gint64)status;
    const guint64 seq = tn_frame_seq(frame);
    const gint64 version = version_of(frame, pid);
    TN_ASSERT_CMPUINT(seq, ==, version);
    TN_ASSERT_CMPUINT(tn_port_seq(port), ==, seq + 1);
    return version;
}

static gint64
latest(TnPort *port, gint64 *pid)
{
    TnFrame *frame = (TnFrame *)1;
    const TnStatus status = tn_port_latest(port, &frame);
    TN_ASSERT((status == TN_OK) == (frame != NULL));
    return status == TN_OK ? version_of(frame, pid) : -(gint64)status;
}

static void
open_gate(guint versions)
{
    atomic_store(&gate, versions);
    TnPatience patience = tn_test_patience(PATIENCE);
    while (atomic_load(&made) < versions && tn_test_patient(&patience))
        g_usleep(200);
    TN_ASSERT_CMPUINT(atomic_load(&made), ==, versions);
}

/* --- In this process ---------------------------------------------------------------------------- */

static void
inline_the_next_one_is_made(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    TnPort *port;
    g_autoptr(TnPipeline) pipeline =
        own_open(context, &(Own){ "test_version", NULL, "end=6" }, &port);
    guint64 number;
    atomic_store(&made, 0);
    for (gint64 i = 0; i < 4; i++)
        TN_ASSERT_CMPINT(i % 2 ? latest(port, NULL) : pull(port, NULL), ==, i);
    TN_ASSERT_CMPUINT(atomic_load(&made), ==, 4); /* none ahead: it would be old */
    tn_port_seek(port, 2);                        /* has been given */
    TN_ASSERT_CMPINT(pull(port, NULL), ==, 4);
    TN_ASSERT_CMPINT(pull(port, NULL), ==, 5);
    TN_ASSERT_CMPINT(pull(port, NULL), ==, -TN_EOS);
    TN_ASSERT_CMPINT(latest(port, NULL), ==, -TN_EOS);
    TN_ASSERT_CMPINT(tn_port_ask(port, tn_frame_new(0, 0), 0, &number), ==, TN_UNSUPPORTED);
}

static void
a_thread_keeps_the_newest(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    TnPort *port;
    g_autoptr(TnPipeline) pipeline =
        own_open(context, &(Own){ "test_version", NULL, "workers=1,pause=-1" }, &port);
    atomic_store(&made, 0);
    atomic_store(&gate, 0);
    TN_ASSERT_CMPINT(latest(port, NULL), ==, -TN_AGAIN); /* and so the first is wanted */
    open_gate(1);
    TN_ASSERT_CMPINT(pull(port, NULL), ==, 0);
    TN_ASSERT_CMPINT(latest(port, NULL), ==, -TN_AGAIN);
    open_gate(5);
    atomic_store(&gate, 6); /* what is counted is made, though it may not be there yet */
    gint64 version = pull(port, NULL);
    TN_ASSERT_CMPINT(version, >=, 3);
    while (version < 5)
        version = pull(port, NULL);
    TN_ASSERT_CMPINT(version, ==, 5);
    TN_ASSERT_CMPINT(latest(port, NULL), ==, -TN_AGAIN);
    open_gate(20);
    atomic_store(&gate, 21);
    for (gint64 last = version; version < 20; last = version) {
        const gint64 next = latest(port, NULL);
        TN_ASSERT(next == -TN_AGAIN || (next > last && next >= 18));
        version = next == -TN_AGAIN ? version : next;
    }
    atomic_store(&gate, G_MAXUINT);
}

static void
a_slow_consumer_skips(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    TnPort *port;
    g_autoptr(TnPipeline) pipeline =
        own_open(context, &(Own){ "test_version", NULL, "workers=1,rows=500" }, &port);
    gint64 last = -1, skipped = 0;
    atomic_store(&made, 0);
    for (guint i = 0; i < 300; i++) {
        const guint before = atomic_load(&made);
        const gint64 version = pull(port, NULL);
        TN_REQUIRE(is_newer(pipeline, version, last));
        TN_ASSERT_CMPINT(version, >=, (gint64)before - 2);
        skipped += version - last - 1;
        last = version;
        if (i % 10 == 0)
            g_usleep(1000);
    }
    TN_ASSERT_CMPINT(skipped, >, 0);
}

static void
jumps_go_forward(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(GError) error = NULL;
    TnPort *port;
    g_autoptr(TnPipeline) pipeline =
        own_open(context, &(Own){ "test_version", NULL, "workers=1,pause=50" }, &port);
    g_autoptr(TnValue) state = tn_pipeline_save(pipeline);
    tn_port_seek(port, 1000);
    const gint64 first = pull(port, NULL);
    TN_ASSERT_CMPINT(first, >=, 1000);
    TN_ASSERT(tn_pipeline_load(pipeline, state, &error)); /* back */
    TN_ASSERT_CMPINT(pull(port, NULL), >, first);
    for (gint64 i = 1; i < 20; i++) {
        tn_port_seek(port, 100000 * (guint64)i);
        TN_ASSERT_CMPINT(pull(port, NULL), >=, 100000 * i);
    }
}

static void
the_last_one_comes_before_the_end(void)
{
    static const Own ways[] = { { "test_version", NULL, "workers=1,end=50" },
                                { "test_version", NULL, "workers=1,fail_at=50" },
                                { "test_version", "ipc", "workers=1,end=50" },
                                { "test_version", "ipc", "workers=1,fail_at=50" } };
    for (guint i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_autoptr(TnContext) context = tn_context_new();
        TnPort *port;
        g_autoptr(TnPipeline) pipeline = own_open(context, &ways[i], &port);
        gint64 version = -1, last = -1;
        while ((version = pull(port, NULL)) >= 0) {
            TN_ASSERT_CMPINT(version, >, last);
            last = version;
        }
        TN_ASSERT_CMPINT(last, ==, 49);
        TN_ASSERT_CMPINT(version, ==, i % 2 ? -TN_FAILED : -TN_EOS);
        TN_ASSERT_CMPINT(pull(port, NULL), ==, version);
        TN_ASSERT_CMPINT(latest(port, NULL), ==, version);
        TN_ASSERT((tn_pipeline_error(pipeline) != NULL) == (i % 2 == 1));
        tn_port_seek(port, 51); /* beyond what failed there may be more */
        TN_ASSERT(i % 2 ? pull(port, NULL) >= 51 : pull(port, NULL) == -TN_EOS);
        if (tn_pipeline_error(pipeline))
            TN_ASSERT_CMPSTR(tn_pipeline_error(pipeline)->message,
                             "stage 'stage': version 50 is bad");
    }
}

/* The stage behind it counts for itself, and gets newer and newer ones. */
static void
a_stage_takes_versions(void)
{
    static const struct {
        gint64 source, workers;
        const char *place;
    } shapes[] = { { 0, 0, NULL }, { 1, 0, NULL }, { 1, 2, NULL }, { 0, 0, "ipc" } };
    for (guint i = 0; i < G_N_ELEMENTS(shapes); i++) {
        g_autoptr(TnContext) context = tn_context_new();
        g_autoptr(GError) error = NULL;
        g_autofree char *a = g_strdup_printf("workers=%d,pause=30", (int)shapes[i].source);
        g_autofree char *b = g_strdup_printf("workers=%d", (int)shapes[i].workers);
        g_autoptr(TnSpec) source = own_spec(&(Own){ "test_version", shapes[i].place, a });
        g_autoptr(TnSpec) map = own_spec(&(Own){ "test_copy", NULL, b });
        tn_value_set(tn_spec_options(map), "from", tn_value_string("stage"));
        g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
        const char *const words[] = { self, "--serve", "test_version", a, NULL };
        const TnPlacing placing = { .launch = words, .digest = "d" };
        g_autoptr(TnPipeline) pipeline =
            tn_pipeline_new(context, 2, (const char *const[]){ "stage", "map" },
                            (TnSpec *const[]){ source, map }, &placing, &error);
        TN_REQUIRE_NO_ERROR(error);
        TnPort *port = tn_pipeline_port(pipeline, "map", &error);
        gint64 last = -1;
        for (guint64 k = 0; k < 200; k++) {
            TnFrame *frame = NULL;
            TN_REQUIRE(tn_port_pull(port, &frame) == TN_OK);
            TN_ASSERT_CMPUINT(tn_frame_seq(frame), ==, k);
            const gint64 version = version_of(frame, NULL);
            TN_ASSERT_CMPINT(version, >, last);
            last = version;
            if (k == 100) /* the input is not taken back: nobody has an older version */
                tn_port_seek(port, 101);
        }
        TnFrame *frame;
        TN_ASSERT_CMPINT(tn_port_latest(port, &frame), ==, TN_UNSUPPORTED);
    }
}

static void
several_workers_are_refused(void)
{
    static const char *const places[] = { NULL, "ipc" };
    for (guint i = 0; i < 2; i++) {
        g_autoptr(TnContext) context = tn_context_new();
        g_autoptr(GError) error = NULL;
        TnPort *port;
        TN_ASSERT(own_pipeline(context, &(Own){ "test_version", places[i], "workers=2" }, &port,
                               &error) == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG,
                        "c.lua:1: stages.stage: workers:", "those of 2 workers");
    }
}

/* --- Processes ---------------------------------------------------------------------------------- */

static void
a_process_publishes(void)
{
    static const char *const options[] = { "pause=20", "pause=20,rows=50000" };
    for (guint i = 0; i < 2; i++) {
        g_autoptr(TnContext) context = tn_context_new();
        TnPort *port;
        g_autoptr(TnPipeline) pipeline =
            own_open(context, &(Own){ "test_version", "ipc", options[i] }, &port);
        gint64 last = -1, pid = 0, skipped = 0;
        guint again = 0;
        for (guint k = 0; k < 200; k++) {
            const gint64 version = pull(port, &pid);
            TN_REQUIRE(is_newer(pipeline, version, last));
            skipped += version - last - 1;
            last = version;
            if (k % 10 == 0)
                g_usleep(5000);
        }
        TN_ASSERT_CMPINT(skipped, >, 0);
        TN_ASSERT_CMPINT(pid, !=, getpid());
        TnPatience patience = tn_test_patience(PATIENCE);
        for (guint got = 0; got < 50 && tn_test_patient(&patience);) {
            const gint64 version = latest(port, NULL);
            TN_REQUIRE(version == -TN_AGAIN || is_newer(pipeline, version, last));
            again += version == -TN_AGAIN;
            got += version > last;
            last = MAX(version, last);
        }
        TN_ASSERT_CMPUINT(again, >, 0);
        tn_port_seek(port, (guint64)last + 1000000);
        TN_ASSERT_CMPINT(pull(port, NULL), >=, last + 1000000);
    }
}

/* By kill -9, with and without an ask under way: whoever is next goes on above. */
static void
a_killed_publisher_is_replaced(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    TnPort *port;
    g_autoptr(TnPipeline) pipeline =
        own_open(context, &(Own){ "test_version", "ipc", "restart=1,pause=100,rows=5000" }, &port);
    gint64 last = -1, pid = 0;
    tn_port_seek(port, 500000000); /* nobody gets there who begins with the first */
    for (guint kills = 0; kills < 3; kills++) {
        for (guint k = 0; k < 50; k++) {
            const gint64 version = pull(port, &pid);
            TN_REQUIRE(is_newer(pipeline, version, last));
            last = version;
        }
        const gint64 killed = pid, before = last;
        TN_ASSERT(kill((pid_t)killed, SIGKILL) == 0);
        TnPatience patience = tn_test_patience(PATIENCE);
        while (pid == killed && tn_test_patient(&patience)) {
            const gint64 version = kills == 1 ? latest(port, &pid) : pull(port, &pid);
            TN_REQUIRE(version == -TN_AGAIN || is_newer(pipeline, version, last));
            last = MAX(version, last);
        }
        TN_ASSERT_CMPINT(pid, !=, killed);
        TN_ASSERT_CMPINT(last, >, before);
    }
    TN_ASSERT(tn_pipeline_error(pipeline) == NULL);
}

static void
a_lost_publisher_is_told(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    TnPort *port;
    g_autoptr(TnPipeline) pipeline =
        own_open(context, &(Own){ "test_version", "ipc", "pause=100" }, &port);
    gint64 pid = 0, version = pull(port, &pid);
    kill((pid_t)pid, SIGKILL);
    while (version >= 0)
        version = pull(port, NULL);
    TN_ASSERT_CMPINT(version, ==, -TN_FAILED);
    TN_REQUIRE(tn_pipeline_error(pipeline) != NULL);
    TN_ASSERT_CONTAINS(tn_pipeline_error(pipeline)->message, "killed by signal 9");
}

/* Who was asked for more than it has given must not give that again. */
static void
an_old_version_is_told(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    TnPort *port;
    TnFrame *frame = NULL;
    g_setenv(OWN_ROGUE, "1", TRUE);
    g_autoptr(TnPipeline) pipeline =
        own_open(context, &(Own){ "test_version", "ipc", "rows=1" }, &port);
    g_unsetenv(OWN_ROGUE);
    TN_REQUIRE(tn_port_pull(port, &frame) == TN_OK);
    TN_ASSERT_CMPUINT(tn_frame_seq(frame), ==, 0);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_frame_tensor(frame, 0), 0), ==, 5);
    tn_frame_unref(frame);
    TN_ASSERT_CMPINT(tn_port_pull(port, &frame), ==, TN_FAILED);
    TN_REQUIRE(tn_pipeline_error(pipeline) != NULL);
    TN_ASSERT_CONTAINS(tn_pipeline_error(pipeline)->message,
                       "asked for more than 1 versions and gives 1");
}

/* Two members over tcp: one publishes, the other does when that one is gone. */
static void
members_over_tcp(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    g_autofree char *place = own_tcp();
    const Own own = { "test_version", place, "insecure=1,pause=100,rows=50000,timeout=30" };
    const GPid members[] = { own_member(&own), own_member(&own) };
    TnPort *port;
    g_autoptr(TnPipeline) pipeline = own_open(context, &own, &port);
    gint64 last = -1, pid = 0, first = 0;
    const TnValue *processes = NULL;
    g_autoptr(TnValue) places = NULL;
    TnPatience patience = tn_test_patience(PATIENCE);
    do { /* until both are there; only one of them gives versions */
        const gint64 version = pull(port, &pid);
        TN_REQUIRE(is_newer(pipeline, version, last));
        last = version;
        first = first ? first : pid;
        TN_ASSERT_CMPINT(pid, ==, first);
        tn_value_unref(places);
        places = tn_pipeline_places(pipeline);
        processes = tn_value_get(tn_value_at(places, 0), "processes");
    } while (tn_value_len(processes) < 2 && tn_test_patient(&patience));
    own_end((GPid)first, SIGKILL);
    while (pid == first && tn_test_patient(&patience)) {
        const gint64 version = pull(port, &pid);
        TN_REQUIRE(is_newer(pipeline, version, last));
        last = version;
    }
    TN_ASSERT_CMPINT(pid, !=, first);
    g_clear_pointer(&pipeline, tn_pipeline_free);
    own_end(members[0] == first ? members[1] : members[0], 0); /* the run has said goodbye */
}

/* --- The end ------------------------------------------------------------------------------------ */

static gpointer
cancel(gpointer data)
{
    g_usleep(20000);
    tn_context_cancel(data);
    return NULL;
}

static void
every_wait_ends(void)
{
    static const Own ways[] = { { "test_version", NULL, "workers=1,pause=-1" },
                                { "test_version", "ipc", "pause=300000" } };
    for (guint i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_autoptr(TnContext) context = tn_context_new();
        TnPort *port;
        atomic_store(&made, 0);
        atomic_store(&gate, 0);
        g_autoptr(TnPipeline) pipeline = own_open(context, &ways[i], &port);
        TnThread *thread = tn_thread_spawn("cancel", cancel, context, NULL);
        TN_ASSERT_CMPINT(pull(port, NULL), ==, -TN_CANCELLED);
        tn_thread_join(thread);
        TN_ASSERT_CMPINT(latest(port, NULL), ==, -TN_CANCELLED);
        atomic_store(&gate, G_MAXUINT);
    }
    /* while it makes one after another, and before it was asked for any */
    for (guint i = 0; i < 2; i++) {
        g_autoptr(TnContext) context = tn_context_new();
        TnPort *port;
        TnPipeline *pipeline =
            own_open(context, &(Own){ "test_version", NULL, "workers=1" }, &port);
        if (i == 0)
            TN_ASSERT_CMPINT(pull(port, NULL), >=, 0);
        tn_pipeline_free(pipeline);
    }
}

/* A worker that waits for a version of another process does not keep the pipeline. */
static void
it_ends_while_a_worker_waits(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(TnSpec) source = own_spec(&(Own){ "test_version", "ipc", "pause=600000000" });
    g_autoptr(TnSpec) map = own_spec(&(Own){ "test_copy", NULL, "workers=2" });
    tn_value_set(tn_spec_options(map), "from", tn_value_string("stage"));
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    const char *const words[] = { self, "--serve", "test_version", "pause=600000000", NULL };
    const TnPlacing placing = { .launch = words, .digest = "d" };
    TnPipeline *pipeline = tn_pipeline_new(context, 2, (const char *const[]){ "stage", "map" },
                                           (TnSpec *const[]){ source, map }, &placing, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_usleep(20000);
    tn_pipeline_free(pipeline);
}

static void
setup(void)
{
    g_autoptr(GError) error = NULL;
    TN_REQUIRE(tn_registry_add(&plugin, &error));
}

static const TnTest tests[] = {
    { "inline the next one is made", inline_the_next_one_is_made },
    { "a thread keeps the newest", a_thread_keeps_the_newest },
    { "a slow consumer skips", a_slow_consumer_skips },
    { "jumps go forward", jumps_go_forward },
    { "the last one comes before the end", the_last_one_comes_before_the_end },
    { "a stage takes versions", a_stage_takes_versions },
    { "several workers are refused", several_workers_are_refused },
    { "a process publishes", a_process_publishes },
    { "a killed publisher is replaced", a_killed_publisher_is_replaced },
    { "a lost publisher is told", a_lost_publisher_is_told },
    { "an old version is told", an_old_version_is_told },
    { "members over tcp", members_over_tcp },
    { "every wait ends", every_wait_ends },
    { "it ends while a worker waits", it_ends_while_a_worker_waits },
};

int
main(int argc, char **argv)
{
    if (argc > 5 && strcmp(argv[1], "--serve") == 0)
        return own_serve(&plugin, argv);
    return tn_test_main("latest", tests, G_N_ELEMENTS(tests), setup, NULL, argc, argv);
}
