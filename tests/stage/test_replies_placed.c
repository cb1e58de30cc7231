/* test_replies_placed.c: a stage that answers requests in other processes, which are killed, late, or not
 * what they say. */
// tn-test: timeout=180 label=threads
#include "squarer.h"

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
        TnPatience patience = tn_test_patience(PATIENCE);
        /* until both have joined and answered */
        for (guint64 base = 0; !other && tn_test_patient(&patience); base += 100) {
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
    ask(port, 3, 2000, 100);
    ask(port, 3, SQUARE, 100); /* sent, and waits behind it */
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
    TnPatience patience = tn_test_patience(PATIENCE);
    for (gint64 first = 0; !both && tn_test_patient(&patience); first = who) {
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

static const TnTest tests[] = {
    { "processes answer", processes_answer },
    { "late over there", late_over_there },
    { "a killed replier is replaced", a_killed_replier_is_replaced },
    { "a lost stage is no request's matter", a_lost_stage_is_no_requests_matter },
    { "a stage that takes none is refused", a_stage_that_takes_none_is_refused },
    { "members over tcp", members_over_tcp },
};

int
main(int argc, char **argv)
{
    return squarer_main("replies, placed", tests, G_N_ELEMENTS(tests), argc, argv);
}
