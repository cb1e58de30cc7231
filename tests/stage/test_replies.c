/* test_replies.c: a stage that answers requests: in the order of the asks or as they are ready, inline,
 * in threads, in processes that are killed; requests that come to nothing, each alone. The processes
 * are this program again. */
// tn-test: timeout=180 label=threads
#include "own_process.h"

#define PATIENCE_US (30 * G_USEC_PER_SEC)

/* --- A stage that squares ----------------------------------------------------------------------- */

/* What to do with a request, its second field; more: sleep so many milliseconds first. */
enum { SQUARE = 0, FAIL = -1, END = -2, WAIT = -3, SHRUG = -4 };

typedef struct {
    TnStageCommon common;
    gint64 rows;
} SquareOptions;

typedef struct {
    TnConfig *config;
    TnSchema requests;
} Squarer;

static const TnOption square_rows[] = {
    { .name = "rows",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(SquareOptions, rows),
      .dflt = "3",
      .help = "of a request at most" },
    TN_STAGE_ROWS(SquareOptions, common),
};

static atomic_bool gate;   /* WAIT waits until it is open */
static atomic_uint begun;  /* requests that somebody works at, or has */
static atomic_uint states; /* of workers */

static void *
square_create(TnConfig *config, TnContext *context, GError **error)
{
    Squarer *squarer = g_new0(Squarer, 1);
    (void)context;
    (void)error;
    squarer->config = tn_config_ref(config);
    return squarer;
}

static void
square_destroy(void *self)
{
    tn_config_unref(((Squarer *)self)->config);
    g_free(self);
}

static gboolean
square_open(void *self, TnContext *context, const TnSchema *in, TnSchema *out, GError **error)
{
    Squarer *squarer = self;
    const gint64 two[] = { 2 };
    const gint64 rows = ((const SquareOptions *)tn_config_data(squarer->config))->rows;
    const gint64 x[] = { rows, 2 };
    (void)context;
    (void)error;
    TN_ASSERT(in == NULL);
    squarer->requests =
        (TnSchema){ .n = 2,
                    .names = { tn_intern("x"), tn_intern("what") },
                    .types = { tn_type(TN_DTYPE_F32, 2, x), tn_type(TN_DTYPE_I64, 0, NULL) } };
    out->n = 2;
    out->names[0] = tn_intern("y");
    out->types[0] = squarer->requests.types[0];
    out->names[1] = tn_intern("who");
    out->types[1] = tn_type(TN_DTYPE_I64, 1, two);
    return TRUE;
}

static void *
square_worker_new(void *self, GError **error)
{
    (void)self;
    (void)error;
    atomic_fetch_add(&states, 1);
    return g_new0(gint, 1);
}

static void
square_worker_free(void *self, void *worker)
{
    (void)self;
    atomic_fetch_sub(&states, 1);
    g_free(worker);
}

static const TnSchema *
square_requests(void *self)
{
    return &((Squarer *)self)->requests;
}

static TnStatus
square_make(void *self, void *worker, guint64 number, TnFrame *in, TnFrame *frame, GError **error)
{
    const gint64 two[] = { 2 };
    const gint64 what = (gint64)tn_tensor_get(tn_frame_tensor(in, 1), 0);
    TnTensor *x = tn_frame_tensor(in, 0);
    (void)self;
    ++*(gint *)worker; /* one thread at a time */
    atomic_fetch_add(&begun, 1);
    if (what == SHRUG)
        return TN_UNSUPPORTED;
    if (what == END)
        return TN_EOS;
    if (what == FAIL) {
        g_set_error(error, TN_ERROR, TN_ERROR_NUMERIC, "%g is no number", tn_tensor_get(x, 0));
        return TN_FAILED;
    }
    const gint64 end = g_get_monotonic_time() + PATIENCE_US;
    while (what == WAIT && !atomic_load(&gate) && g_get_monotonic_time() < end)
        g_usleep(500);
    if (what > 0)
        g_usleep((gulong)what * 1000);
    TnTensor *y = tn_frame_buffer(frame, 0, *tn_tensor_type(x), error);
    TnTensor *who = tn_frame_buffer(frame, 1, tn_type(TN_DTYPE_I64, 1, two), error);
    if (!y || !who)
        return TN_NO_MEMORY;
    const float *from = tn_tensor_map(x, TN_MAP_READ, error);
    float *to = tn_storage_memory(tn_tensor_storage(y));
    for (gint64 i = 0; i < tn_tensor_count(x); i++)
        to[i] = from[i] * from[i];
    tn_tensor_unmap(x);
    gint64 *at = tn_storage_memory(tn_tensor_storage(who));
    at[0] = getpid();
    at[1] = (gint64)number;
    return TN_OK;
}

#define SQUARE_VTABLE(more)                                                                        \
    {                                                                                              \
        .size = sizeof(TnStageVTable), .open = square_open, .worker_new = square_worker_new,       \
        .worker_free = square_worker_free, .make = square_make,                                    \
        .flags = TN_STAGE_REPLIES | (more), .requests = square_requests                            \
    }
static const TnStageVTable ordered_vtable = SQUARE_VTABLE(0),
                           async_vtable = SQUARE_VTABLE(TN_STAGE_ASYNC),
                           both_vtable = SQUARE_VTABLE(TN_STAGE_LATEST);
/* As a plugin has it that was built before requests. */
static const TnStageVTable old_vtable = { .size = G_STRUCT_OFFSET(TnStageVTable, requests),
                                          .open = square_open,
                                          .make = square_make,
                                          .flags = TN_STAGE_REPLIES };

/* --- One that does not -------------------------------------------------------------------------- */

static TnStatus
plain_make(void *self, void *worker, guint64 number, TnFrame *in, TnFrame *frame, GError **error)
{
    (void)self;
    (void)worker;
    (void)number;
    (void)in;
    return tn_frame_buffer(frame, 0, tn_type(TN_DTYPE_I64, 0, NULL), error) ? TN_OK : TN_NO_MEMORY;
}

static gboolean
plain_open(void *self, TnContext *context, const TnSchema *in, TnSchema *out, GError **error)
{
    (void)self;
    (void)context;
    (void)in;
    (void)error;
    out->n = 1;
    out->names[0] = tn_intern("x");
    out->types[0] = tn_type(TN_DTYPE_I64, 0, NULL);
    return TRUE;
}

static const TnStageVTable plain_vtable = { .size = sizeof(TnStageVTable),
                                            .open = plain_open,
                                            .make = plain_make };

#define FACTORY(id, table)                                                                         \
    {                                                                                              \
        .size = sizeof(TnFactory), .iface = TN_IFACE_STAGE, .name = (id),                          \
        .help = "squares of what it is asked", .options = TN_OPTIONS(SquareOptions, square_rows),  \
        .create = square_create, .destroy = square_destroy, .vtable = &(table)                     \
    }
static const TnFactory ordered_factory = FACTORY("test_ordered", ordered_vtable),
                       async_factory = FACTORY("test_async", async_vtable),
                       both_factory = FACTORY("test_both", both_vtable),
                       old_factory = FACTORY("test_old", old_vtable),
                       plain_factory = FACTORY("test_plain", plain_vtable);
static const TnFactory *const factories[] = { &ordered_factory, &async_factory, &both_factory,
                                              &old_factory,     &plain_factory, NULL };
static const TnPlugin plugin = {
    TN_PLUGIN_HEAD("test-replies", "1.0.0", "Apache-2.0", "for this test"),
    .factories = factories,
};

/* --- Asking ------------------------------------------------------------------------------------- */

static TnTensor *
floats(gint64 rows, float first)
{
    const gint64 dims[] = { rows, 2 };
    TnTensor *tensor = tn_tensor_new(NULL, tn_type(TN_DTYPE_F32, 2, dims), NULL);
    float *at = tn_tensor_map(tensor, TN_MAP_WRITE, NULL);
    for (gint64 i = 0; i < 2 * rows; i++)
        at[i] = first + (float)i;
    tn_tensor_unmap(tensor);
    return tensor;
}

static TnTensor *
integer(gint64 value)
{
    TnTensor *tensor = tn_tensor_new(NULL, tn_type(TN_DTYPE_I64, 0, NULL), NULL);
    *(gint64 *)tn_storage_memory(tn_tensor_storage(tensor)) = value;
    return tensor;
}

/* A request that begins with its number. */
static guint64
ask(TnPort *port, gint64 rows, gint64 what, guint milliseconds)
{
    guint64 number = G_MAXUINT64;
    TnFrame *request = tn_frame_new(0, 2);
    tn_frame_set(request, 0, floats(rows, (float)tn_port_seq(port)));
    tn_frame_set(request, 1, integer(what));
    TN_REQUIRE(tn_port_ask(port, request, milliseconds, &number) == TN_OK);
    TN_ASSERT(tn_port_error(port, NULL) == NULL);
    TN_ASSERT_CMPUINT(tn_port_seq(port), ==, number + 1);
    return number;
}

/* The answer that comes next, whose process is *who; G_MAXUINT64: it is none. */
static guint64
answer(TnPort *port, gint64 rows, gint64 *who)
{
    TnFrame *frame = NULL;
    const TnStatus status = tn_port_pull(port, &frame);
    if (status != TN_OK) {
        TN_FAIL("%s: %s", tn_status_name(status),
                tn_port_error(port, NULL) ? tn_port_error(port, NULL)->message : "no request's");
        return G_MAXUINT64;
    }
    const guint64 number = tn_frame_seq(frame);
    TnTensor *y = tn_frame_tensor(frame, 0);
    const float *at = tn_tensor_map(y, TN_MAP_READ, NULL);
    gint64 wrong = tn_tensor_dim(y, 0) != rows;
    for (gint64 i = 0; i < 2 * rows && !wrong; i++)
        wrong += at[i] != ((float)number + (float)i) * ((float)number + (float)i);
    tn_tensor_unmap(y);
    TN_ASSERT_CMPINT(wrong, ==, 0);
    TN_ASSERT_CMPUINT((guint64)tn_tensor_get(tn_frame_tensor(frame, 1), 1), ==, number);
    if (who)
        *who = (gint64)tn_tensor_get(tn_frame_tensor(frame, 1), 0);
    tn_frame_unref(frame);
    return number;
}

/* What comes next is that a request has come to nothing. */
static void
comes_to_nothing(TnPort *port, TnStatus status, guint64 number, const char *word)
{
    TnFrame *frame = (TnFrame *)1;
    guint64 about = G_MAXUINT64;
    TN_ASSERT_CMPINT(tn_port_pull(port, &frame), ==, status);
    TN_ASSERT(frame == NULL);
    const GError *error = tn_port_error(port, &about);
    TN_ASSERT_CONTAINS(error ? error->message : NULL, word);
    TN_ASSERT_CMPUINT(about, ==, number);
}

static void
nothing_is_asked(TnPort *port)
{
    TnFrame *frame;
    TN_ASSERT_CMPINT(tn_port_pull(port, &frame), ==, TN_EOS);
    TN_ASSERT(tn_port_error(port, NULL) == NULL);
}

static void
wait_for_begun(guint n)
{
    const gint64 end = g_get_monotonic_time() + PATIENCE_US;
    while (atomic_load(&begun) < n && g_get_monotonic_time() < end)
        g_usleep(200);
    TN_ASSERT_CMPUINT(atomic_load(&begun), ==, n);
}

static const char *const here[] = { "workers=0", "workers=1", "workers=3" };

/* --- In this process ---------------------------------------------------------------------------- */

static void
answers_in_order(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(here); i++) {
        g_autoptr(TnContext) context = tn_context_new();
        TnPort *port;
        g_autoptr(TnPipeline) pipeline =
            own_open(context, &(Own){ "test_ordered", NULL, here[i] }, &port);
        TN_ASSERT_CMPUINT(tn_port_requests(port)->n, ==, 2);
        nothing_is_asked(port);
        for (guint round = 0; round < 3; round++) {
            for (guint k = 0; k < 40; k++)
                TN_ASSERT_CMPUINT(ask(port, 1 + k % 3, k % 3 == 0 ? 1 : SQUARE, 0), ==,
                                  round * 40 + k);
            for (guint k = 0; k < 40; k++)
                TN_ASSERT_CMPUINT(answer(port, 1 + k % 3, NULL), ==, round * 40 + k);
            nothing_is_asked(port);
        }
    }
    TN_ASSERT_CMPUINT(atomic_load(&states), ==, 0);
}

/* One waits: those after it overtake it, or do not. */
static void
answers_as_they_are_ready(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    TnPort *port;
    g_autoptr(TnPipeline) pipeline =
        own_open(context, &(Own){ "test_async", NULL, "workers=2" }, &port);
    atomic_store(&gate, FALSE);
    ask(port, 3, WAIT, 0);
    for (guint k = 0; k < 20; k++)
        ask(port, 3, SQUARE, 0);
    gboolean seen[21] = { FALSE };
    for (guint k = 0; k < 20; k++) {
        const guint64 number = answer(port, 3, NULL);
        TN_REQUIRE(number > 0 && number <= 20);
        TN_ASSERT(!seen[number]);
        seen[number] = TRUE;
    }
    atomic_store(&gate, TRUE);
    TN_ASSERT_CMPUINT(answer(port, 3, NULL), ==, 0);
    nothing_is_asked(port);
}

/* The first gets no answer in time, and its late one is nobody's: neither way. */
static void
late_answers_are_dropped(void)
{
    static const char *const components[] = { "test_ordered", "test_async" };
    for (guint i = 0; i < 2; i++) {
        g_autoptr(TnContext) context = tn_context_new();
        TnPort *port;
        g_autoptr(TnPipeline) pipeline =
            own_open(context, &(Own){ components[i], NULL, "workers=1" }, &port);
        atomic_store(&gate, FALSE);
        atomic_store(&begun, 0);
        ask(port, 3, WAIT, 20);
        wait_for_begun(1);
        ask(port, 3, SQUARE, 20); /* waits behind it, and is never begun */
        ask(port, 3, SQUARE, 0);
        comes_to_nothing(port, TN_AGAIN, 0, "request 0 had no answer in time");
        comes_to_nothing(port, TN_AGAIN, 1, "request 1");
        atomic_store(&gate, TRUE);
        TN_ASSERT_CMPUINT(answer(port, 3, NULL), ==, 2);
        TN_ASSERT(tn_port_error(port, NULL) == NULL);
        TN_ASSERT_CMPUINT(atomic_load(&begun), ==, 2);
        nothing_is_asked(port);
        TN_ASSERT_CMPUINT(ask(port, 3, SQUARE, 60000), ==, 3);
        TN_ASSERT_CMPUINT(answer(port, 3, NULL), ==, 3);
    }
}

static void
late_inline(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    TnPort *port;
    g_autoptr(TnPipeline) pipeline =
        own_open(context, &(Own){ "test_ordered", NULL, "workers=0" }, &port);
    atomic_store(&begun, 0);
    ask(port, 3, SQUARE, 1); /* over before anybody pulls: not made */
    g_usleep(3000);
    comes_to_nothing(port, TN_AGAIN, 0, "in time");
    TN_ASSERT_CMPUINT(atomic_load(&begun), ==, 0);
    ask(port, 3, 300, 100); /* over while it is made */
    ask(port, 3, SQUARE, 0);
    comes_to_nothing(port, TN_AGAIN, 1, "in time");
    TN_ASSERT_CMPUINT(answer(port, 3, NULL), ==, 2);
    nothing_is_asked(port);
}

/* Where it is: here, in threads, in a process. */
static void
one_fails_alone(void)
{
    static const Own ways[] = { { "test_ordered", NULL, "workers=0" },
                                { "test_ordered", NULL, "workers=2" },
                                { "test_ordered", "ipc", "workers=1" } };
    for (guint i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_autoptr(TnContext) context = tn_context_new();
        TnPort *port;
        g_autoptr(TnPipeline) pipeline = own_open(context, &ways[i], &port);
        static const gint64 what[] = { SQUARE, FAIL, SQUARE, END, SHRUG, SQUARE };
        for (guint k = 0; k < G_N_ELEMENTS(what); k++)
            ask(port, 3, what[k], 0);
        TN_ASSERT_CMPUINT(answer(port, 3, NULL), ==, 0);
        comes_to_nothing(port, TN_FAILED, 1, "stage 'stage': 1 is no number");
        TN_ASSERT_CMPUINT(answer(port, 3, NULL), ==, 2);
        comes_to_nothing(port, TN_FAILED, 3, "request 3 has no answer");
        comes_to_nothing(port, TN_FAILED, 4, "unsupported");
        TN_ASSERT_CMPUINT(answer(port, 3, NULL), ==, 5);
        TN_ASSERT(tn_pipeline_error(pipeline) == NULL);
    }
}

static void
is_refused(TnPort *port, guint n, TnTensor *x, TnTensor *what, const char *shows)
{
    TnTensor *const tensors[] = { x, what };
    const guint64 next = tn_port_seq(port);
    TnFrame *request = tn_frame_new(0, n);
    guint64 number = 77, about = 0;
    for (guint i = 0; i < MIN(n, 2); i++)
        tn_frame_set(request, i, tensors[i]);
    if (n < 2 && what)
        tn_tensor_unref(what);
    TN_ASSERT_CMPINT(tn_port_ask(port, request, 0, &number), ==, TN_FAILED);
    TN_ASSERT_CMPUINT(number, ==, 77);
    const GError *error = tn_port_error(port, &about);
    TN_REQUIRE(error != NULL);
    TN_ASSERT(g_error_matches(error, TN_ERROR, TN_ERROR_SHAPE));
    TN_ASSERT_CONTAINS(error->message, "takes requests of x f32[3, 2], what i64[]");
    TN_ASSERT_CONTAINS(error->message, shows);
    TN_ASSERT_CMPUINT(about, ==, next);
    TN_ASSERT_CMPUINT(tn_port_seq(port), ==, next);
}

static void
others_are_refused(void)
{
    static const Own ways[] = { { "test_ordered", NULL, "workers=1" },
                                { "test_ordered", "ipc", "workers=1" } };
    for (guint i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_autoptr(TnContext) context = tn_context_new();
        TnPort *port;
        g_autoptr(TnPipeline) pipeline = own_open(context, &ways[i], &port);
        is_refused(port, 2, floats(4, 0), integer(0), "has x f32[4, 2], what i64[]");
        is_refused(port, 2, floats(3, 0), floats(1, 0), "what f32[1, 2]");
        is_refused(port, 2, integer(0), integer(0), "has x i64[]");
        is_refused(port, 1, floats(3, 0), NULL, "has x f32[3, 2]");
        is_refused(port, 3, floats(3, 0), integer(0), "more");
        is_refused(port, 2, floats(3, 0), NULL, "what none[]");
        nothing_is_asked(port);
        ask(port, 2, SQUARE, 0);
        TN_ASSERT_CMPUINT(answer(port, 2, NULL), ==, 0);
    }
}

static void
others_take_no_requests(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    TnPort *port;
    g_autoptr(TnPipeline) pipeline =
        own_open(context, &(Own){ "test_plain", NULL, "workers=0" }, &port);
    guint64 number;
    TnFrame *frame;
    TN_ASSERT(tn_port_requests(port) == NULL);
    TN_ASSERT_CMPINT(tn_port_ask(port, tn_frame_new(0, 0), 0, &number), ==, TN_UNSUPPORTED);
    TN_ASSERT_CONTAINS(tn_port_error(port, NULL)->message, "takes no requests");
    TN_ASSERT_CMPINT(tn_port_latest(port, &frame), ==, TN_UNSUPPORTED);
    TN_ASSERT_CMPINT(tn_port_pull(port, &frame), ==, TN_OK);
    TN_ASSERT(tn_port_error(port, NULL) == NULL);
    tn_frame_unref(frame);
}

static void
a_jump_drops_what_is_asked(void)
{
    static const Own ways[] = { { "test_ordered", NULL, "workers=0" },
                                { "test_ordered", NULL, "workers=1" },
                                { "test_async", NULL, "workers=2" },
                                { "test_ordered", "ipc", "workers=2" } };
    for (guint i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_autoptr(TnContext) context = tn_context_new();
        g_autoptr(GError) error = NULL;
        TnPort *port;
        g_autoptr(TnPipeline) pipeline = own_open(context, &ways[i], &port);
        for (guint k = 0; k < 5; k++)
            ask(port, 3, 2, 0);
        g_autoptr(TnValue) state = tn_pipeline_save(pipeline);
        TN_ASSERT_CMPINT(tn_value_get_int(tn_value_get(tn_value_get(state, "stage"), "seq")), ==,
                         5);
        TN_ASSERT(tn_pipeline_load(pipeline, state, &error)); /* also to where it is */
        nothing_is_asked(port);
        ask(port, 3, 1, 0);
        tn_port_seek(port, 3); /* numbers that were asked before */
        nothing_is_asked(port);
        TN_ASSERT_CMPUINT(ask(port, 2, SQUARE, 0), ==, 3);
        TN_ASSERT_CMPUINT(answer(port, 2, NULL), ==, 3);
        nothing_is_asked(port);
    }
}

/* Somebody works at a request while its number is given to another. */
static void
a_number_is_used_again(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    TnPort *port;
    g_autoptr(TnPipeline) pipeline =
        own_open(context, &(Own){ "test_ordered", NULL, "workers=1" }, &port);
    atomic_store(&gate, FALSE);
    atomic_store(&begun, 0);
    ask(port, 3, WAIT, 0);
    wait_for_begun(1);
    tn_port_seek(port, 0);
    TN_ASSERT_CMPUINT(ask(port, 2, SQUARE, 0), ==, 0);
    atomic_store(&gate, TRUE);
    TN_ASSERT_CMPUINT(answer(port, 2, NULL), ==, 0);
    nothing_is_asked(port);
}

/* --- What cannot be ----------------------------------------------------------------------------- */

static void
is_no_pipeline(const char *first, const char *second, const char *word)
{
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(TnSpec) a = own_spec(&(Own){ first, NULL, "" });
    g_autoptr(TnSpec) b = own_spec(&(Own){ second, NULL, "" });
    tn_value_set(tn_spec_options(b), "from", tn_value_string("a"));
    g_autoptr(TnPipeline) pipeline = tn_pipeline_new(context, 2, (const char *const[]){ "a", "b" },
                                                     (TnSpec *const[]){ a, b }, NULL, &error);
    TN_ASSERT(pipeline == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "c.lua:1: stages.b: from:", word);
}

static void
what_cannot_be_is_told(void)
{
    static const struct {
        const char *component, *word;
    } wrong[] = { { "test_old", "not what requests" }, { "test_both", "one of them" } };
    is_no_pipeline("test_ordered", "test_plain", "stage 'a' answers requests");
    is_no_pipeline("test_plain", "test_ordered", "leave `from` out");
    for (guint i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(TnContext) context = tn_context_new();
        g_autoptr(GError) error = NULL;
        TnPort *port;
        TN_ASSERT(own_pipeline(context, &(Own){ wrong[i].component, NULL, "" }, &port, &error) ==
                  NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "stages.stage", wrong[i].word);
    }
}

/* Nothing that steps by itself asks. */
static void
a_stepper_is_refused(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(TnGraph) graph = tn_graph_new("step");
    const gint64 dims[] = { 3, 2 };
    TnPort *port;
    g_autoptr(TnPipeline) pipeline =
        own_open(context, &(Own){ "test_ordered", NULL, "workers=0" }, &port);
    const TnVal y = tn_graph_input(graph, "y", tn_type(TN_DTYPE_F32, 2, dims));
    tn_graph_output(graph, "z", y);
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    TN_ASSERT(tn_stepper_new(function, port, context, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "graph 'step'", "answers requests");
}

/* --- Processes ---------------------------------------------------------------------------------- */

/* Rows so that tensors lie in shared memory, too. */
static void
processes_answer(void)
{
    static const char *const components[] = { "test_ordered", "test_async" };
    static const gint64 rows[] = { 3, 20000 };
    for (guint i = 0; i < 4; i++) {
        g_autoptr(TnContext) context = tn_context_new();
        g_autofree char *options = g_strdup_printf("workers=2,rows=%" G_GINT64_FORMAT, rows[i / 2]);
        TnPort *port;
        g_autoptr(TnPipeline) pipeline =
            own_open(context, &(Own){ components[i % 2], "ipc", options }, &port);
        gint64 first = 0, who = 0;
        gboolean other = FALSE, seen[100] = { FALSE };
        const gint64 end = g_get_monotonic_time() + PATIENCE_US;
        /* until both have joined and answered */
        for (guint64 base = 0; !other && g_get_monotonic_time() < end; base += 100) {
            memset(seen, 0, sizeof seen);
            for (guint k = 0; k < 100; k++)
                ask(port, k % 2 ? rows[i / 2] : 1, k % 10 == 0 ? 1 : SQUARE, 0);
            for (guint k = 0; k < 100; k++) {
                TnFrame *frame = NULL;
                TN_REQUIRE(tn_port_pull(port, &frame) == TN_OK);
                const guint64 number = tn_frame_seq(frame) - base;
                const float *y = tn_tensor_map(tn_frame_tensor(frame, 0), TN_MAP_READ, NULL);
                const float x = (float)tn_frame_seq(frame) + 1;
                TN_REQUIRE(number < 100 && !seen[number]);
                TN_ASSERT(y[1] == x * x);
                TN_ASSERT(i % 2 || number == k);
                tn_tensor_unmap(tn_frame_tensor(frame, 0));
                who = (gint64)tn_tensor_get(tn_frame_tensor(frame, 1), 0);
                first = first ? first : who;
                other = other || who != first;
                seen[number] = TRUE;
                tn_frame_unref(frame);
            }
            nothing_is_asked(port);
        }
        TN_ASSERT(other);
        TN_ASSERT_CMPINT(first, !=, getpid());
    }
}

static void
late_over_there(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    TnPort *port;
    g_autoptr(TnPipeline) pipeline =
        own_open(context, &(Own){ "test_ordered", "ipc", "workers=1" }, &port);
    ask(port, 3, 300, 30);
    ask(port, 3, SQUARE, 30); /* sent, and waits behind it */
    for (guint k = 0; k < 20; k++)
        ask(port, 3, SQUARE, 0);
    ask(port, 3, SQUARE, 1); /* not sent, as the replier has enough to do */
    comes_to_nothing(port, TN_AGAIN, 0, "request 0 had no answer in time");
    comes_to_nothing(port, TN_AGAIN, 1, "in time");
    for (guint k = 0; k < 20; k++)
        TN_ASSERT_CMPUINT(answer(port, 3, NULL), ==, 2 + k);
    comes_to_nothing(port, TN_AGAIN, 22, "in time");
    nothing_is_asked(port);
    ask(port, 3, SQUARE, 60000);
    TN_ASSERT_CMPUINT(answer(port, 3, NULL), ==, 23);
}

/* Whoever has answered first is killed with requests under way: none is lost, none comes twice. */
static void
a_killed_replier_is_replaced(void)
{
    for (guint workers = 1; workers < 3; workers++) {
        g_autoptr(TnContext) context = tn_context_new();
        g_autofree char *options = g_strdup_printf("workers=%u,restart=1,rows=5000", workers);
        TnPort *port;
        g_autoptr(TnPipeline) pipeline =
            own_open(context, &(Own){ "test_ordered", "ipc", options }, &port);
        gint64 killed = 0, who = 0;
        for (guint k = 0; k < 60; k++)
            ask(port, 5000, 3, k == 59 ? 60000 : 0);
        for (guint k = 0; k < 60; k++) {
            TN_REQUIRE(answer(port, 5000, &who) == k);
            TN_ASSERT(k < 20 || who != killed);
            if (k == 5) {
                killed = who;
                TN_ASSERT(kill((pid_t)who, SIGKILL) == 0);
            }
        }
        nothing_is_asked(port);
    }
}

static void
a_lost_stage_is_no_requests_matter(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    TnPort *port;
    g_autoptr(TnPipeline) pipeline =
        own_open(context, &(Own){ "test_ordered", "ipc", "workers=1" }, &port);
    gint64 who = 0;
    TnFrame *frame = NULL;
    ask(port, 3, SQUARE, 0);
    ask(port, 3, 60000, 0);
    TN_ASSERT_CMPUINT(answer(port, 3, &who), ==, 0);
    kill((pid_t)who, SIGKILL);
    TN_ASSERT_CMPINT(tn_port_pull(port, &frame), ==, TN_FAILED);
    TN_ASSERT(frame == NULL && tn_port_error(port, NULL) == NULL);
    TN_REQUIRE(tn_pipeline_error(pipeline) != NULL);
    TN_ASSERT_CONTAINS(tn_pipeline_error(pipeline)->message, "killed by signal 9");
}

/* It does not say what requests it takes. */
static void
a_stage_that_takes_none_is_refused(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(GError) error = NULL;
    TnPort *port;
    g_setenv(OWN_ROGUE, "1", TRUE);
    TN_ASSERT(own_pipeline(context, &(Own){ "test_ordered", "ipc", "workers=1" }, &port, &error) ==
              NULL);
    g_unsetenv(OWN_ROGUE);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_FAILED, "stage 'stage' at ipc",
                    "ended before it had begun: exit code 1");
}

/* Two members over tcp, of which one is killed: the other has its requests. */
static void
members_over_tcp(void)
{
    g_autoptr(TnContext) context = tn_context_new();
    g_autofree char *place = own_tcp();
    const Own own = { "test_ordered", place, "insecure=1,workers=2,rows=20000,timeout=30" };
    const GPid members[] = { own_member(&own), own_member(&own) };
    TnPort *port;
    g_autoptr(TnPipeline) pipeline = own_open(context, &own, &port);
    gint64 killed = 0, who = 0;
    gboolean both = FALSE;
    const gint64 end = g_get_monotonic_time() + PATIENCE_US;
    for (gint64 first = 0; !both && g_get_monotonic_time() < end; first = who) {
        ask(port, 20000, 1, 0);
        ask(port, 20000, 1, 0);
        answer(port, 20000, &first);
        answer(port, 20000, &who);
        both = first != who;
    }
    TN_ASSERT(both);
    const guint64 base = tn_port_seq(port);
    for (guint k = 0; k < 40; k++)
        ask(port, 20000, 5, 0);
    for (guint k = 0; k < 40; k++) {
        TN_REQUIRE(answer(port, 20000, &who) == base + k);
        if (k == 5) {
            killed = who;
            own_end((GPid)killed, SIGKILL);
        }
    }
    TN_ASSERT_CMPINT(who, !=, killed);
    nothing_is_asked(port);
    g_clear_pointer(&pipeline, tn_pipeline_free);
    own_end(members[0] == killed ? members[1] : members[0], 0); /* the run has said goodbye */
}

/* --- The end ------------------------------------------------------------------------------------ */

static gpointer
cancel(gpointer data)
{
    g_usleep(20000);
    tn_context_cancel(data);
    return NULL;
}

/* A pull that waits ends with the run, and so do requests under way. */
static void
every_wait_ends(void)
{
    static const Own ways[] = { { "test_ordered", NULL, "workers=1" },
                                { "test_async", NULL, "workers=2" },
                                { "test_ordered", "ipc", "workers=1" } };
    for (guint i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_autoptr(TnContext) context = tn_context_new();
        TnPort *port;
        TnFrame *frame = NULL;
        guint64 number;
        atomic_store(&gate, FALSE);
        g_autoptr(TnPipeline) pipeline = own_open(context, &ways[i], &port);
        for (guint k = 0; k < 4; k++)
            ask(port, 3, ways[i].place ? 500 : WAIT, 0);
        TnThread *thread = tn_thread_spawn("cancel", cancel, context, NULL);
        TN_ASSERT_CMPINT(tn_port_pull(port, &frame), ==, TN_CANCELLED);
        tn_thread_join(thread);
        TN_ASSERT_CMPINT(tn_port_ask(port, tn_frame_new(0, 2), 0, &number), ==, TN_CANCELLED);
        TN_ASSERT(tn_port_error(port, NULL) == NULL);
        atomic_store(&gate, TRUE);
    }
    g_autoptr(TnContext) context = tn_context_new();
    TnPort *port;
    TnPipeline *pipeline = own_open(context, &(Own){ "test_async", NULL, "workers=3" }, &port);
    for (guint k = 0; k < 100; k++)
        ask(port, 3, 1, 1 + k);
    tn_pipeline_free(pipeline);
    TN_ASSERT_CMPUINT(atomic_load(&states), ==, 0);
}

static void
setup(void)
{
    g_autoptr(GError) error = NULL;
    TN_REQUIRE(tn_registry_add(&plugin, &error));
}

static const TnTest tests[] = {
    { "answers in order", answers_in_order },
    { "answers as they are ready", answers_as_they_are_ready },
    { "late answers are dropped", late_answers_are_dropped },
    { "late inline", late_inline },
    { "one fails alone", one_fails_alone },
    { "others are refused", others_are_refused },
    { "others take no requests", others_take_no_requests },
    { "a jump drops what is asked", a_jump_drops_what_is_asked },
    { "a number is used again", a_number_is_used_again },
    { "what cannot be is told", what_cannot_be_is_told },
    { "a stepper is refused", a_stepper_is_refused },
    { "processes answer", processes_answer },
    { "late over there", late_over_there },
    { "a killed replier is replaced", a_killed_replier_is_replaced },
    { "a lost stage is no request's matter", a_lost_stage_is_no_requests_matter },
    { "a stage that takes none is refused", a_stage_that_takes_none_is_refused },
    { "members over tcp", members_over_tcp },
    { "every wait ends", every_wait_ends },
};

int
main(int argc, char **argv)
{
    if (argc > 5 && strcmp(argv[1], "--serve") == 0)
        return own_serve(&plugin, argv);
    return tn_test_main("replies", tests, G_N_ELEMENTS(tests), setup, NULL, argc, argv);
}
