/* test_wire.c: ends of wires in one thread: who is let in, asks and answers, what is dropped, and the
 * patterns. */
// tn-test: timeout=180 label=threads
#include <sys/wait.h>
#include <unistd.h>

#include <tenon/base.h>
#include <tenon/wire.h>

#include "tn_test.h"

#define PATIENCE 20 /* seconds */

static const TnWireHold none = { NULL, NULL };

/* --- Helpers ---------------------------------------------------------------------------------- */

static TnValue *
hello_of(const char *config)
{
    TnValue *hello = tn_value_map();
    tn_value_set(hello, "config", tn_value_string(config));
    tn_value_set(hello, "stage", tn_value_string("read"));
    return hello;
}

static TnWire *
make_wire(const char *address, gboolean serve, const char *config)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnValue) hello = hello_of(config);
    g_autoptr(TnValue) about = tn_value_map();
    tn_value_set(about, "pid", tn_value_int(getpid()));
    TnWire *wire = tn_wire_new(
        &(TnWireOptions){
            .address = address, .serve = serve, .insecure = TRUE, .hello = hello, .about = about },
        &error);
    TN_REQUIRE_NO_ERROR(error);
    return wire;
}

/* Both ends get their turns until one of kind comes to `at`; events of the others are dropped. */
static gboolean
wait_for(TnWire *at, guint n, TnWire *const *others, TnWireEventKind kind, TnWireEvent *event)
{
    TnPatience patience = tn_test_patience(PATIENCE);
    while (tn_test_patient(&patience)) {
        TnWireEvent other;
        const TnStatus status = tn_wire_next(at, 1, event);
        if (status == TN_OK && event->kind == kind)
            return TRUE;
        if (status == TN_OK)
            tn_wire_event_clear(event);
        else if (status != TN_AGAIN)
            break;
        for (guint i = 0; i < n; i++)
            if (tn_wire_next(others[i], 0, &other) == TN_OK)
                tn_wire_event_clear(&other);
    }
    *event = (TnWireEvent){ .n = 0 };
    return FALSE;
}

typedef struct {
    TnWire *server, *member;
    guint peer; /* the member, of the server */
} Pair;

static Pair
make_pair(const char *address)
{
    TnWireEvent event;
    Pair pair = { .server = make_wire(address, TRUE, "c") };
    pair.member = make_wire(tn_wire_url(pair.server), FALSE, "c");
    TN_REQUIRE(wait_for(pair.server, 1, &pair.member, TN_WIRE_JOINED, &event));
    pair.peer = event.peer;
    TN_ASSERT_CMPINT(tn_value_get_int(tn_value_get(event.hello, "pid")), ==, getpid());
    tn_wire_event_clear(&event);
    TN_REQUIRE(wait_for(pair.member, 1, &pair.server, TN_WIRE_JOINED, &event));
    TN_ASSERT_CMPUINT(event.peer, ==, 0);
    tn_wire_event_clear(&event);
    return pair;
}

static void
free_pair(Pair *pair)
{
    tn_wire_free(pair->member);
    tn_wire_free(pair->server);
}

static TnTensor *
numbers(gint64 n, float first)
{
    TnTensor *tensor = tn_tensor_new(NULL, tn_type(TN_DTYPE_F32, 1, &n), NULL);
    float *at = tn_tensor_map(tensor, TN_MAP_WRITE, NULL);
    for (gint64 i = 0; i < n; i++)
        at[i] = first + (float)i;
    tn_tensor_unmap(tensor);
    return tensor;
}

static gboolean
same(TnTensor *a, TnTensor *b)
{
    gboolean equal = tn_type_equal(tn_tensor_type(a), tn_tensor_type(b));
    const void *x = tn_tensor_map(a, TN_MAP_READ, NULL), *y = tn_tensor_map(b, TN_MAP_READ, NULL);
    equal = equal && memcmp(x, y, (size_t)tn_tensor_bytes(a)) == 0;
    tn_tensor_unmap(a);
    tn_tensor_unmap(b);
    return equal;
}

static const char *const addresses[] = { "ipc", "tcp://127.0.0.1:*" };

/* --- Asks and answers ------------------------------------------------------------------------- */

/* Sizes: inside the message, in a part or block of its own, several of each, nothing at all. */
static void
answers_are_what_was_sent(void)
{
    for (guint a = 0; a < G_N_ELEMENTS(addresses); a++) {
        Pair pair = make_pair(addresses[a]);
        const gint64 sizes[] = { 3, 100000, 0, 5000, 250000 };
        TnTensor *sent[G_N_ELEMENTS(sizes)];
        for (guint i = 0; i < G_N_ELEMENTS(sizes); i++)
            sent[i] = numbers(sizes[i], (float)i);
        for (guint round = 0; round < 20; round++) {
            guint64 number;
            TnWireEvent event;
            TN_ASSERT_CMPINT(
                tn_wire_ask(pair.server, pair.peer, 40 + round, 2, sent, none, &number), ==, TN_OK);
            TN_REQUIRE(wait_for(pair.member, 1, &pair.server, TN_WIRE_ASKED, &event));
            TN_ASSERT_CMPUINT(event.number, ==, number);
            TN_ASSERT_CMPUINT(event.topic, ==, 40 + round);
            TN_REQUIRE(event.n == 2);
            TN_ASSERT(same(event.tensors[0], sent[0]) && same(event.tensors[1], sent[1]));
            tn_wire_event_clear(&event);
            TN_ASSERT_CMPINT(
                tn_wire_answer(pair.member, 0, number, 7, G_N_ELEMENTS(sizes), sent, none), ==,
                TN_OK);
            TN_REQUIRE(wait_for(pair.server, 1, &pair.member, TN_WIRE_ANSWERED, &event));
            TN_ASSERT_CMPUINT(event.number, ==, number);
            TN_ASSERT_CMPUINT(event.topic, ==, 7);
            TN_REQUIRE(event.n == G_N_ELEMENTS(sizes));
            for (guint i = 0; i < event.n; i++)
                TN_ASSERT(same(event.tensors[i], sent[i]));
            tn_wire_event_clear(&event);
        }
        TnWireStats stats;
        tn_wire_stats(pair.member, &stats);
        TN_ASSERT_CMPUINT(stats.bytes_out, ==, 20 * (3 + 100000 + 5000 + 250000) * sizeof(float));
        TN_ASSERT_CMPUINT(stats.dropped, ==, 0);
        if (a == 0)
            TN_ASSERT_CMPUINT(stats.bytes_shared, >, 0);
        else
            TN_ASSERT_CMPUINT(stats.bytes_shared, ==, 0);
        for (guint i = 0; i < G_N_ELEMENTS(sizes); i++)
            tn_tensor_unref(sent[i]);
        free_pair(&pair);
    }
}

static void
note_held(gpointer data)
{
    g_atomic_int_set((gint *)data, 1);
}

/* What is sent in place is let go once, and not before it has been sent. */
static void
holds_are_let_go(void)
{
    Pair pair = make_pair("tcp://127.0.0.1:*");
    TnTensor *big = numbers(100000, 1);
    gint gone = 0, unsent = 0;
    guint64 number;
    TnWireEvent event;
    TN_ASSERT_CMPINT(
        tn_wire_ask(pair.server, pair.peer, 1, 1, &big, (TnWireHold){ note_held, &gone }, &number),
        ==, TN_OK);
    TN_REQUIRE(wait_for(pair.member, 1, &pair.server, TN_WIRE_ASKED, &event));
    TN_ASSERT(same(event.tensors[0], big));
    tn_wire_event_clear(&event);
    TnPatience patience = tn_test_patience(PATIENCE);
    while (!g_atomic_int_get(&gone) && tn_test_patient(&patience))
        g_usleep(1000);
    TN_ASSERT_CMPINT(g_atomic_int_get(&gone), ==, 1);
    TN_ASSERT_CMPINT(
        tn_wire_ask(pair.server, 12345, 1, 1, &big, (TnWireHold){ note_held, &unsent }, &number),
        ==, TN_FAILED);
    TN_ASSERT_CMPINT(unsent, ==, 1);
    tn_tensor_unref(big);
    free_pair(&pair);
}

static void
failures_travel(void)
{
    Pair pair = make_pair("ipc");
    guint64 number;
    TnWireEvent event;
    tn_wire_ask(pair.server, pair.peer, 1, 0, NULL, none, &number);
    TN_REQUIRE(wait_for(pair.member, 1, &pair.server, TN_WIRE_ASKED, &event));
    tn_wire_event_clear(&event);
    tn_wire_fail(pair.member, 0, number, TN_EOS, "no more");
    TN_REQUIRE(wait_for(pair.server, 1, &pair.member, TN_WIRE_FAILED, &event));
    TN_ASSERT_CMPINT(event.status, ==, TN_EOS);
    TN_ASSERT_CMPSTR(event.text, "no more");
    tn_wire_event_clear(&event);
    free_pair(&pair);
}

/* An answer that comes after its ask was forgotten, a second one, one that nobody asked for: dropped,
 * and shared memory that they lie in is free again. */
static void
unasked_is_dropped(void)
{
    Pair pair = make_pair("ipc");
    TnTensor *big = numbers(100000, 1);
    TnWireStats stats;
    TnWireEvent event;
    guint64 first, second;
    tn_wire_ask(pair.server, pair.peer, 1, 0, NULL, none, &first);
    TN_ASSERT_CMPINT(tn_wire_forget(pair.server, pair.peer), ==, TN_OK);
    tn_wire_ask(pair.server, pair.peer, 2, 0, NULL, none, &second);
    TN_REQUIRE(wait_for(pair.member, 1, &pair.server, TN_WIRE_FORGOTTEN, &event));
    TN_ASSERT_CMPUINT(event.number, ==, first);
    tn_wire_event_clear(&event);
    tn_wire_answer(pair.member, 0, first, 0, 1, &big, none);
    tn_wire_answer(pair.member, 0, second, 0, 1, &big, none);
    tn_wire_answer(pair.member, 0, second, 0, 1, &big, none);
    tn_wire_answer(pair.member, 0, 999, 0, 1, &big, none);
    TN_REQUIRE(wait_for(pair.server, 1, &pair.member, TN_WIRE_ANSWERED, &event));
    TN_ASSERT_CMPUINT(event.number, ==, second);
    tn_wire_event_clear(&event);
    TnPatience patience = tn_test_patience(PATIENCE);
    do {
        TN_ASSERT_CMPINT(tn_wire_next(pair.server, 1, &event), ==, TN_AGAIN);
        tn_wire_stats(pair.server, &stats);
    } while (stats.dropped < 3 && tn_test_patient(&patience));
    TN_ASSERT_CMPUINT(stats.dropped, ==, 3);
    tn_tensor_unref(big);
    free_pair(&pair);
}

/* --- Who is let in ---------------------------------------------------------------------------- */

static void
another_config_is_refused(void)
{
    TnWire *server = make_wire("ipc", TRUE, "mine");
    TnWire *member = make_wire(tn_wire_url(server), FALSE, "another");
    TnPatience patience = tn_test_patience(PATIENCE);
    TnStatus status = TN_AGAIN;
    TnWireEvent event;
    while (status == TN_AGAIN && tn_test_patient(&patience)) {
        TN_ASSERT_CMPINT(tn_wire_next(server, 1, &event), ==, TN_AGAIN);
        status = tn_wire_next(member, 1, &event);
    }
    TN_REQUIRE(status == TN_FAILED);
    const char *text = tn_wire_error(member)->message;
    TN_ASSERT(strstr(text, "\"mine\"") && strstr(text, "\"another\"") && strstr(text, "config"));
    TN_ASSERT(strstr(text, "stage") != NULL);
    TnWireStats stats;
    tn_wire_stats(server, &stats);
    TN_ASSERT_CMPUINT(stats.refused, ==, 1);
    TN_ASSERT_CMPUINT(stats.joined, ==, 0);
    tn_wire_free(member);
    tn_wire_free(server);
}

static void
tcp_wants_a_key(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnValue) hello = hello_of("c");
    const TnWireOptions options = { .address = "tcp://127.0.0.1:*", .serve = TRUE, .hello = hello };
    TN_ASSERT(tn_wire_new(&options, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "tenon key new");
}

static void
an_address_in_use(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnValue) hello = hello_of("c");
    for (guint a = 0; a < G_N_ELEMENTS(addresses); a++) {
        TnWire *first = make_wire(a == 0 ? "ipc://tn-test-in-use" : addresses[a], TRUE, "c");
        const TnWireOptions options = { .address =
                                            a == 0 ? "ipc://tn-test-in-use" : tn_wire_url(first),
                                        .serve = TRUE,
                                        .insecure = TRUE,
                                        .hello = hello };
        TN_ASSERT(tn_wire_new(&options, &error) == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_BUSY, a == 0 ? "tn-test-in-use" : "127.0.0.1");
        tn_wire_free(first);
    }
}

/* --- Who leaves ------------------------------------------------------------------------------- */

static void
goodbye_is_told(void)
{
    Pair pair = make_pair("ipc");
    TnWireEvent event;
    tn_wire_free(g_steal_pointer(&pair.member));
    TN_REQUIRE(wait_for(pair.server, 0, NULL, TN_WIRE_LEFT, &event));
    TN_ASSERT_CMPUINT(event.peer, ==, pair.peer);
    TN_ASSERT_CMPSTR(event.text, TN_WIRE_GOODBYE);
    tn_wire_event_clear(&event);
    free_pair(&pair);
    pair = make_pair("ipc");
    tn_wire_free(g_steal_pointer(&pair.server));
    TN_REQUIRE(wait_for(pair.member, 0, NULL, TN_WIRE_LEFT, &event));
    TN_ASSERT_CMPSTR(event.text, TN_WIRE_GOODBYE);
    tn_wire_event_clear(&event);
    free_pair(&pair);
}

/* A member in another process, which is killed while it holds asks. */
static void
a_killed_member_has_left(void)
{
    for (guint a = 0; a < G_N_ELEMENTS(addresses); a++) {
        TnWireEvent event;
        guint64 number;
        TnWire *server = make_wire(addresses[a], TRUE, "c");
        g_autofree char *url = g_strdup(tn_wire_url(server));
        g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
        const char *const argv[] = { self, NULL };
        GPid pid;
        g_auto(GStrv) environment = g_get_environ();
        environment = g_environ_setenv(environment, "TN_TEST_WIRE_URL", url, TRUE);
        TN_REQUIRE(g_spawn_async(NULL, (char **)argv, environment,
                                 G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL,
                                 &pid, NULL));
        TN_REQUIRE(wait_for(server, 0, NULL, TN_WIRE_JOINED, &event));
        const guint peer = event.peer;
        tn_wire_event_clear(&event);
        tn_wire_ask(server, peer, 1, 0, NULL, none, &number);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        TN_REQUIRE(wait_for(server, 0, NULL, TN_WIRE_LEFT, &event));
        TN_ASSERT_CMPUINT(event.peer, ==, peer);
        tn_wire_event_clear(&event);
        TN_ASSERT_CMPINT(tn_wire_ask(server, peer, 1, 0, NULL, none, &number), ==, TN_FAILED);
        tn_wire_free(server);
    }
}

G_NORETURN static void
be_member(const char *url)
{
    TnWire *member = make_wire(url, FALSE, "c");
    TnWireEvent event;
    for (;;)
        if (tn_wire_next(member, 100, &event) == TN_OK)
            tn_wire_event_clear(&event);
}

/* --- Patterns --------------------------------------------------------------------------------- */

/* Repliers square the topic, each in its way: the second is slow, the third never answers. */
static void
requests_and_replies(void)
{
    enum { N = 200 };
    Pair first = make_pair("ipc");
    TnWire *wires[3] = { first.member };
    g_autoptr(TnWirePool) pool = tn_wire_pool_new(first.server, 4);
    tn_wire_pool_add(pool, first.peer);
    TnWireEvent event;
    for (guint i = 1; i < 3; i++) {
        wires[i] = make_wire(tn_wire_url(first.server), FALSE, "c");
        TN_REQUIRE(wait_for(first.server, i + 1, wires, TN_WIRE_JOINED, &event));
        tn_wire_pool_add(pool, event.peer);
        tn_wire_event_clear(&event);
    }
    TN_ASSERT_CMPUINT(tn_wire_pool_repliers(pool), ==, 3);
    guint answered[N] = { 0 }, n = 0;
    for (guint i = 0; i < N; i++)
        tn_wire_pool_ask(pool, i, 0, NULL, 0);
    TnPatience patience = tn_test_patience(PATIENCE);
    while (n < N && tn_test_patient(&patience)) {
        for (guint w = 0; w < 3; w++) {
            if (!wires[w] || tn_wire_next(wires[w], 0, &event) != TN_OK)
                continue;
            if (event.kind == TN_WIRE_ASKED && w < 2) {
                TnTensor *square = numbers(1, (float)(event.topic * event.topic));
                tn_wire_answer(wires[w], 0, event.number, 0, 1, &square, none);
                tn_tensor_unref(square);
            }
            tn_wire_event_clear(&event);
        }
        if (n == N / 4) /* what it was asked for goes to the others */
            g_clear_pointer(&wires[2], tn_wire_free);
        if (tn_wire_next(first.server, 0, &event) != TN_OK)
            continue;
        if (tn_wire_pool_take(pool, &event)) {
            TN_REQUIRE(event.topic < N && event.n == 1);
            TN_ASSERT_CMPINT((gint64)tn_tensor_get(event.tensors[0], 0), ==,
                             event.topic * event.topic);
            n += answered[event.topic]++ == 0;
        }
        tn_wire_event_clear(&event);
    }
    TN_ASSERT_CMPUINT(n, ==, N);
    for (guint i = 0; i < N; i++)
        TN_ASSERT_CMPUINT(answered[i], ==, 1);
    TN_ASSERT_CMPUINT(tn_wire_pool_waiting(pool), ==, 0);
    TN_ASSERT_CMPUINT(tn_wire_pool_repliers(pool), ==, 2);
    tn_wire_free(wires[1]);
    free_pair(&first);
}

/* Nobody answers: the request fails when its time is over; so does one for which there is no replier. */
static void
requests_end_in_time(void)
{
    Pair pair = make_pair("ipc");
    g_autoptr(TnWirePool) pool = tn_wire_pool_new(pair.server, 1);
    TnWireEvent event;
    tn_wire_pool_add(pool, pair.peer);
    tn_wire_pool_ask(pool, 1, 0, NULL, 30);
    tn_wire_pool_ask(pool, 2, 0, NULL, 30); /* waits behind it */
    gboolean ended[3] = { FALSE };
    TnPatience patience = tn_test_patience(PATIENCE);
    while (!(ended[1] && ended[2]) && tn_test_patient(&patience)) {
        if (tn_wire_next(pair.server, 5, &event) == TN_OK)
            tn_wire_event_clear(&event);
        while (tn_wire_pool_look(pool, &event)) {
            TN_ASSERT_CMPINT(event.kind, ==, TN_WIRE_FAILED);
            TN_ASSERT_CMPINT(event.status, ==, TN_AGAIN);
            TN_REQUIRE(event.topic < 3);
            ended[event.topic] = TRUE;
            tn_wire_event_clear(&event);
        }
    }
    TN_ASSERT(ended[1] && ended[2]);
    TN_ASSERT_CMPUINT(tn_wire_pool_waiting(pool), ==, 0);
    /* a late answer is nobody's */
    TN_REQUIRE(wait_for(pair.member, 1, &pair.server, TN_WIRE_ASKED, &event));
    tn_wire_answer(pair.member, 0, event.number, 0, 0, NULL, none);
    tn_wire_event_clear(&event);
    TN_REQUIRE(wait_for(pair.server, 1, &pair.member, TN_WIRE_ANSWERED, &event));
    TN_ASSERT(!tn_wire_pool_take(pool, &event));
    TN_ASSERT_CMPINT(event.kind, ==, 0); /* nor any other event */
    free_pair(&pair);
}

/* Two subscribers, one of which looks seldom: each gets newer and newer versions, and the last one. */
static void
the_latest_version(void)
{
    enum { VERSIONS = 300 };
    Pair pair = make_pair("ipc");
    TnWireEvent event;
    TnWire *wires[2] = { pair.member, make_wire(tn_wire_url(pair.server), FALSE, "c") };
    g_autoptr(TnWirePublisher) publisher = tn_wire_publisher_new(pair.server);
    TN_REQUIRE(wait_for(wires[1], 1, &pair.server, TN_WIRE_JOINED, &event));
    tn_wire_event_clear(&event);
    guint64 have[2] = { 0 }, got[2] = { 0 }, number;
    for (guint w = 0; w < 2; w++)
        TN_ASSERT_CMPINT(tn_wire_subscribe(wires[w], 0, 0, &number), ==, TN_OK);
    TnPatience patience = tn_test_patience(PATIENCE);
    for (guint64 version = 1; have[0] < VERSIONS || have[1] < VERSIONS; version++) {
        if (!tn_test_patient(&patience))
            break;
        if (version <= VERSIONS) {
            TnTensor *weights = numbers(20000, (float)version);
            tn_wire_publish(publisher, version, 1, &weights);
            tn_tensor_unref(weights);
        }
        while (tn_wire_next(pair.server, 0, &event) == TN_OK) {
            tn_wire_publisher_take(publisher, &event);
            tn_wire_event_clear(&event);
        }
        for (guint w = 0; w < 2; w++) {
            if (w == 1 && version % 40 != 0 && version < VERSIONS)
                continue;
            if (tn_wire_next(wires[w], 0, &event) != TN_OK)
                continue;
            if (event.kind == TN_WIRE_ANSWERED) {
                TN_ASSERT_CMPUINT(event.topic, >, have[w]);
                have[w] = event.topic;
                got[w]++;
                TN_REQUIRE(event.n == 1);
                TN_ASSERT_CMPINT((gint64)tn_tensor_get(event.tensors[0], 0), ==, event.topic);
                if (have[w] < VERSIONS)
                    tn_wire_subscribe(wires[w], 0, have[w], &number);
            }
            tn_wire_event_clear(&event);
        }
    }
    TN_ASSERT_CMPUINT(have[0], ==, VERSIONS);
    TN_ASSERT_CMPUINT(have[1], ==, VERSIONS);
    TN_ASSERT_CMPUINT(got[1], <, VERSIONS / 2); /* it skipped what was old by then */
    tn_wire_free(wires[1]);
    free_pair(&pair);
}

/* Members that join and leave send numbered items; of each the items come in its order, none twice,
 * and no more are under way than were asked for. */
static void
many_to_one(void)
{
    enum { MEMBERS = 4, EACH = 3, ITEMS = 100 };
    TnWireEvent event;
    TnWire *server = make_wire("ipc", TRUE, "c"), *members[MEMBERS];
    TnWireSender *senders[MEMBERS];
    guint sent[MEMBERS] = { 0 }, left = 0, pushed_back = 0;
    gint64 next[MEMBERS * 2];
    g_autoptr(TnWireMerge) merge = tn_wire_merge_new(server, EACH);
    for (guint m = 0; m < MEMBERS; m++) {
        members[m] = make_wire(tn_wire_url(server), FALSE, "c");
        senders[m] = tn_wire_sender_new(members[m]);
    }
    for (guint i = 0; i < G_N_ELEMENTS(next); i++)
        next[i] = 0;
    guint taken = 0;
    TnPatience patience = tn_test_patience(PATIENCE);
    while (left < MEMBERS && tn_test_patient(&patience)) {
        for (guint m = 0; m < MEMBERS; m++) {
            if (!members[m])
                continue;
            while (tn_wire_next(members[m], 0, &event) == TN_OK) {
                tn_wire_sender_take(senders[m], &event);
                tn_wire_event_clear(&event);
            }
            TnTensor *item = numbers(1, (float)sent[m]);
            const TnStatus status = tn_wire_sender_send(senders[m], 1, &item, none);
            pushed_back += status == TN_AGAIN;
            sent[m] += status == TN_OK;
            tn_tensor_unref(item);
            if (sent[m] == ITEMS + 10 * m) {
                g_clear_pointer(&senders[m], tn_wire_sender_free);
                g_clear_pointer(&members[m], tn_wire_free);
            }
        }
        if (tn_wire_next(server, 0, &event) != TN_OK)
            continue;
        if (tn_wire_merge_take(merge, &event)) {
            TN_REQUIRE(event.peer < G_N_ELEMENTS(next) && event.n == 1);
            TN_ASSERT_CMPINT((gint64)tn_tensor_get(event.tensors[0], 0), ==, next[event.peer]);
            next[event.peer]++;
            taken++;
        }
        left += event.kind == TN_WIRE_LEFT;
        tn_wire_event_clear(&event);
    }
    TN_ASSERT_CMPUINT(left, ==, MEMBERS);
    TN_ASSERT_CMPUINT(taken, ==, MEMBERS * ITEMS + 10 * (0 + 1 + 2 + 3));
    TN_ASSERT_CMPUINT(pushed_back, >, 0);
    tn_wire_free(server);
}

static const TnTest tests[] = {
    { "answers are what was sent", answers_are_what_was_sent },
    { "holds are let go", holds_are_let_go },
    { "failures travel", failures_travel },
    { "unasked is dropped", unasked_is_dropped },
    { "another config is refused", another_config_is_refused },
    { "tcp wants a key", tcp_wants_a_key },
    { "an address in use", an_address_in_use },
    { "goodbye is told", goodbye_is_told },
    { "a killed member has left", a_killed_member_has_left },
    { "requests and replies", requests_and_replies },
    { "requests end in time", requests_end_in_time },
    { "the latest version", the_latest_version },
    { "many to one", many_to_one },
};

int
main(int argc, char **argv)
{
    const char *url = g_getenv("TN_TEST_WIRE_URL");
    if (url)
        be_member(url);
    return tn_test_main("wire", tests, G_N_ELEMENTS(tests), NULL, NULL, argc, argv);
}
