/* test_replies.c: a stage that answers requests: in the order of the asks or as they are ready, inline or
 * in threads; requests that come to nothing, each alone. */
// tn-test: timeout=180 label=threads
#include "squarer.h"

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
        ask(port, 3, WAIT, 500); /* by when a thread must have begun with it */
        wait_for_begun(1);
        ask(port, 3, SQUARE, 500); /* waits behind it, and is never begun */
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
    { "every wait ends", every_wait_ends },
};

int
main(int argc, char **argv)
{
    return squarer_main("replies", tests, G_N_ELEMENTS(tests), argc, argv);
}
