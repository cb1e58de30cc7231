/* test_traps.c: who joins a server that is none, cannot be read, or never stops. */
// tn-test: timeout=180 label=threads
#include <stdatomic.h>

#include <tenon/pool.h>

#include "strangers.h"

typedef struct {
    void *router;
    TnWire *member;
    guint8 route[255];
    gsize route_size;
} Trap;

/* The stranger's next message to the member, which it answers. */
static void
trap_send(Trap *trap, const void *bytes, gsize n)
{
    TN_REQUIRE(zmq->send(trap->router, trap->route, trap->route_size, ZMQ_SNDMORE) >= 0);
    TN_REQUIRE(zmq->send(trap->router, bytes, n, 0) >= 0);
}

static void
trap_message(Trap *trap, TnMessage message)
{
    gsize n;
    g_autofree guint8 *bytes = bytes_of(message, &n);
    trap_send(trap, bytes, n);
}

static Trap
set_trap(int most_queued)
{
    Trap trap = { .router = zmq->socket(context, ZMQ_ROUTER) };
    const int none_ms = 0, wait_ms = 50;
    char url[64];
    gsize size = sizeof url;
    guint8 bytes[4096];
    int n = -1;
    TnWireEvent event;
    zmq->setsockopt(trap.router, ZMQ_LINGER, &none_ms, sizeof none_ms);
    zmq->setsockopt(trap.router, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
    zmq->setsockopt(trap.router, ZMQ_SNDHWM, &most_queued, sizeof most_queued);
    TN_REQUIRE(zmq->bind(trap.router, "tcp://127.0.0.1:*") == 0);
    zmq->getsockopt(trap.router, ZMQ_LAST_ENDPOINT, url, &size);
    trap.member = make_wire(url, FALSE);
    for (guint i = 0; i < 200 && n < 0; i++) {
        TN_ASSERT_CMPINT(tn_wire_next(trap.member, 10, &event), ==, TN_AGAIN);
        n = zmq->recv(trap.router, trap.route, sizeof trap.route, 0);
    }
    TN_REQUIRE(n > 0);
    trap.route_size = (gsize)n;
    TN_REQUIRE(zmq->recv(trap.router, bytes, sizeof bytes, 0) > 0);
    return trap;
}

static void
end_trap(Trap *trap)
{
    tn_wire_free(trap->member);
    zmq->close(trap->router);
}

/* Until so many messages were dropped nothing happens. */
static void
member_drops(Trap *trap, guint64 n)
{
    TnPatience patience = tn_test_patience(PATIENCE);
    TnWireEvent event;
    while (stats_of(trap->member).dropped < n && tn_test_patient(&patience))
        TN_ASSERT_CMPINT(tn_wire_next(trap->member, 5, &event), ==, TN_AGAIN);
    TN_ASSERT_CMPUINT(stats_of(trap->member).dropped, ==, n);
}

static const TnMessage welcome = {
    .kind = TN_WIRE_WELCOME, .number = 9, .text = "{\"shares\":true}", .text_bytes = 15
};

static void
a_server_that_is_none(void)
{
    Trap trap = set_trap(1000);
    gsize n;
    g_autofree guint8 *bytes = bytes_of(welcome, &n);
    TnMessage no_session = welcome, no_map = welcome;
    TnWireEvent event;
    no_session.number = 0;
    no_map.text_bytes = 3;
    for (gsize k = 0; k < n; k++)
        trap_send(&trap, bytes, k);
    trap_message(&trap, no_session);
    trap_message(&trap, no_map);
    trap_message(&trap, (TnMessage){ .kind = TN_WIRE_ASK, .number = 1 });
    trap_message(&trap, (TnMessage){ .kind = TN_WIRE_ASK, .session = 9, .number = 1 });
    trap_message(&trap, hello_with(GOOD_HELLO));
    member_drops(&trap, n + 5);
    trap_message(&trap, welcome);
    TN_REQUIRE(tn_wire_next(trap.member, 5000, &event) == TN_OK && event.kind == TN_WIRE_JOINED);
    tn_wire_event_clear(&event);
    trap_message(&trap, welcome); /* a second one */
    trap_message(&trap, (TnMessage){ .kind = TN_WIRE_ANSWER, .session = 9, .number = 1 });
    trap_message(&trap, (TnMessage){ .kind = TN_WIRE_ASK, .session = 8, .number = 1 });
    member_drops(&trap, n + 8);
    end_trap(&trap);
}

/* What cannot be read ends it: it says so to the server, in its session, and to its user. */
static void
a_server_that_cannot_be_read(void)
{
    Trap trap = set_trap(1000);
    TnWireEvent event;
    guint8 bytes[4096];
    TnMessage said = { 0 }, ask = { .kind = TN_WIRE_ASK, .session = 9, .number = 1, .n = 1 };
    ask.tensors[0].type = tn_type(TN_DTYPE_F32, 1, (gint64[]){ 10000 });
    ask.tensors[0].bytes = 40000;
    ask.tensors[0].place = TN_WIRE_OWN_PART; /* which does not come */
    trap_message(&trap, welcome);
    trap_message(&trap, ask);
    TN_REQUIRE(tn_wire_next(trap.member, 5000, &event) == TN_OK && event.kind == TN_WIRE_JOINED);
    tn_wire_event_clear(&event);
    TN_REQUIRE(tn_wire_next(trap.member, 5000, &event) == TN_OK && event.kind == TN_WIRE_LEFT);
    tn_wire_event_clear(&event);
    TN_REQUIRE(tn_wire_next(trap.member, 5000, &event) == TN_FAILED);
    TN_ASSERT_CONTAINS(tn_wire_error(trap.member)->message, "cannot be read");
    for (guint i = 0; i < 100 && said.kind != TN_WIRE_REFUSE; i++) {
        const int n = zmq->recv(trap.router, bytes, sizeof bytes, 0);
        if (n > 0)
            tn_message_read(&said, bytes, (gsize)n, NULL);
    }
    TN_ASSERT_CMPINT(said.kind, ==, TN_WIRE_REFUSE);
    TN_ASSERT_CMPUINT(said.session, ==, 9);
    end_trap(&trap);
}

/* FALSE: this process stood still for long meanwhile, and heartbeats with it. */
static gboolean
stays_through_silence(void)
{
    enum { SECONDS = 4 };
    Trap trap = set_trap(0);
    TnWireEvent event;
    const gint64 began = g_get_monotonic_time();
    trap_message(&trap, welcome);
    TN_REQUIRE(tn_wire_next(trap.member, 5000, &event) == TN_OK && event.kind == TN_WIRE_JOINED);
    tn_wire_event_clear(&event);
    for (guint i = 0; i < 10000; i++) /* more than half an hour of them */
        trap_message(&trap, (TnMessage){ .kind = TN_WIRE_BEAT, .session = 9 });
    g_usleep(SECONDS * G_USEC_PER_SEC);
    const TnStatus status = tn_wire_next(trap.member, 500, &event);
    const gboolean went_on = g_get_monotonic_time() - began < (SECONDS + 2) * G_USEC_PER_SEC;
    if (status == TN_OK)
        tn_wire_event_clear(&event);
    if (went_on) {
        TN_ASSERT_CMPINT(status, ==, TN_AGAIN);
        TN_ASSERT_CMPUINT(stats_of(trap.member).left, ==, 0);
    }
    end_trap(&trap);
    return went_on;
}

/* A stage may take long for a frame: what its run says meanwhile does not cut the connection. */
static void
a_long_silence(void)
{
    guint tries = 0;
    while (tries < 5 && !stays_through_silence())
        tries++;
    TN_ASSERT_CMPUINT(tries, <, 5);
}

typedef struct {
    Trap *trap;
    atomic_bool stop;
} Flooder;

static gpointer
send_without_end(gpointer data)
{
    Flooder *flooder = data;
    const Trap *trap = flooder->trap;
    while (!atomic_load(&flooder->stop))
        if (zmq->send(trap->router, trap->route, trap->route_size, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0)
            zmq->send(trap->router, "junk", 4, ZMQ_DONTWAIT);
    return NULL;
}

/* A wait ends in its time however much comes meanwhile. */
static void
a_server_that_never_stops(void)
{
    Trap trap = set_trap(1000);
    Flooder flooder = { &trap, FALSE };
    TnWireEvent event;
    const gsize before = resident();
    double longest = 0;
    TnThread *thread = tn_thread_spawn("flooder", send_without_end, &flooder, NULL);
    TN_REQUIRE(thread != NULL);
    TnPatience patience = tn_test_patience(PATIENCE);
    for (guint i = 0; i < 20 || (stats_of(trap.member).dropped == 0 && tn_test_patient(&patience));
         i++) {
        const gint64 began = g_get_monotonic_time();
        TN_ASSERT_CMPINT(tn_wire_next(trap.member, 1, &event), ==, TN_AGAIN);
        longest = MAX(longest, (double)(g_get_monotonic_time() - began) * 1e-6);
    }
    atomic_store(&flooder.stop, TRUE);
    tn_thread_join(thread);
    TN_ASSERT_CMPFLOAT(longest, <, 60); /* instead of for ever */
    is_flat(before, 64 << 20);
    TN_ASSERT_CMPUINT(stats_of(trap.member).dropped, >, 0);
    end_trap(&trap);
}

static const TnTest tests[] = {
    { "a server that is none", a_server_that_is_none },
    { "a server that cannot be read", a_server_that_cannot_be_read },
    { "a long silence", a_long_silence },
    { "a server that never stops", a_server_that_never_stops },
};
TN_TEST_MAIN_WITH("traps", tests, strangers_setup, strangers_teardown)
