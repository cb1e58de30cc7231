// tn-test: timeout=120 label=threads
/* test_door.c: who is let in: pairs of sockets over TCP with the right key, another one, none, and
 * another domain's; requests of any form do the door no harm. Waits are bounded. */
#include <errno.h>

#include <tenon/base.h>

#include "tn_test.h"
#include "wire/key.h"
#include "wire/zmq.h"

#define SECONDS 20
#define REQUESTS 1000

static const TnZmq *zmq;

/* A context with its door, and whatever sockets a test opens. */
typedef struct {
    void *context;
    TnDoor *door;
} House;

static House
house_new(void)
{
    g_autoptr(GError) error = NULL;
    House house = { 0 };
    zmq = tn_zmq(&error);
    TN_REQUIRE_NO_ERROR(error);
    house.context = zmq->ctx_new();
    house.door = tn_door_new(house.context, &error);
    TN_REQUIRE_NO_ERROR(error);
    return house;
}

static void
house_end(House *house)
{
    tn_door_free(house->door);
    zmq->ctx_term(house->context);
}

static TnKey
new_key(void)
{
    TnKey key = { 0 };
    TN_REQUIRE(zmq->curve_keypair(key.public_key, key.secret_key) == 0);
    return key;
}

static void *
open_socket(const House *house, int type)
{
    void *socket = zmq->socket(house->context, type);
    TN_REQUIRE(socket != NULL);
    zmq->setsockopt(socket, ZMQ_LINGER, &(int){ 0 }, sizeof(int));
    return socket;
}

/* A ROUTER bound to a free port, for who has the key and is let in to the domain. */
static void *
serve(const House *house, const TnKey *key, const char *domain, char endpoint[128])
{
    void *socket = open_socket(house, ZMQ_ROUTER);
    gsize size = 128;
    zmq->setsockopt(socket, ZMQ_CURVE_SERVER, &(int){ 1 }, sizeof(int));
    zmq->setsockopt(socket, ZMQ_CURVE_SECRETKEY, key->secret_key, 41);
    zmq->setsockopt(socket, ZMQ_ZAP_DOMAIN, domain, strlen(domain));
    TN_REQUIRE(zmq->setsockopt(socket, ZMQ_ZAP_ENFORCE_DOMAIN, &(int){ 1 }, sizeof(int)) == 0);
    TN_REQUIRE(zmq->bind(socket, "tcp://127.0.0.1:*") == 0);
    TN_REQUIRE(zmq->getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &size) == 0);
    return socket;
}

/* A DEALER that sends a word as soon as it can; key NULL: without CURVE. */
static void *
join(const House *house, const TnKey *key, const char *server_key, const char *endpoint)
{
    void *socket = open_socket(house, ZMQ_DEALER);
    if (key) {
        zmq->setsockopt(socket, ZMQ_CURVE_SERVERKEY, server_key, 41);
        zmq->setsockopt(socket, ZMQ_CURVE_PUBLICKEY, key->public_key, 41);
        zmq->setsockopt(socket, ZMQ_CURVE_SECRETKEY, key->secret_key, 41);
    }
    TN_REQUIRE(zmq->connect(socket, endpoint) == 0);
    zmq->send(socket, "word", 4, ZMQ_DONTWAIT);
    return socket;
}

/* Waits for a message and drops it; FALSE if none came in that time. */
static gboolean
arrives(void *socket, double seconds)
{
    zmq_pollitem_t item = { .socket = socket, .events = ZMQ_POLLIN };
    char bytes[256];
    if (zmq->poll(&item, 1, (long)(seconds * 1000)) <= 0)
        return FALSE;
    while (zmq->recv(socket, bytes, sizeof bytes, ZMQ_DONTWAIT) >= 0)
        ;
    return TRUE;
}

/* Waits until the domain has refused more than before. */
static gboolean
refuses(const House *house, const char *domain, guint64 before)
{
    TnPatience patience = tn_test_patience(SECONDS);
    while (tn_door_refused(house->door, domain) <= before && tn_test_patient(&patience))
        g_usleep(2000);
    return tn_door_refused(house->door, domain) > before;
}

static void
right_key(void)
{
    House house = house_new();
    char endpoint[128];
    const TnKey key = new_key();
    tn_door_let_in(house.door, "a", key.public_key);
    void *router = serve(&house, &key, "a", endpoint);
    void *dealer = join(&house, &key, key.public_key, endpoint);
    TN_ASSERT(arrives(router, SECONDS));
    TN_ASSERT_CMPUINT(tn_door_refused(house.door, "a"), ==, 0);
    TN_ASSERT_CMPUINT(tn_door_refused(house.door, NULL), ==, 0);
    zmq->close(dealer);
    zmq->close(router);
    house_end(&house);
}

/* Knows the server's key but was not let in. */
static void
wrong_key(void)
{
    House house = house_new();
    char endpoint[128];
    const TnKey key = new_key(), stranger = new_key();
    tn_door_let_in(house.door, "a", key.public_key);
    void *router = serve(&house, &key, "a", endpoint);
    void *dealer = join(&house, &stranger, key.public_key, endpoint);
    TN_ASSERT(refuses(&house, "a", 0));
    TN_ASSERT(!arrives(router, 0.3));
    /* Another one who may come in is not held up by that. */
    void *friend = join(&house, &key, key.public_key, endpoint);
    TN_ASSERT(arrives(router, SECONDS));
    zmq->close(friend);
    zmq->close(dealer);
    zmq->close(router);
    house_end(&house);
}

static void
another_domain(void)
{
    House house = house_new();
    char a[128], b[128];
    const TnKey server = new_key(), key_a = new_key(), key_b = new_key();
    tn_door_let_in(house.door, "a", key_a.public_key);
    tn_door_let_in(house.door, "b", key_b.public_key);
    void *router_a = serve(&house, &server, "a", a), *router_b = serve(&house, &server, "b", b);
    void *crossed = join(&house, &key_b, server.public_key, a);
    void *straight = join(&house, &key_b, server.public_key, b);
    TN_ASSERT(arrives(router_b, SECONDS));
    TN_ASSERT(refuses(&house, "a", 0));
    TN_ASSERT(!arrives(router_a, 0.3));
    TN_ASSERT_CMPUINT(tn_door_refused(house.door, "b"), ==, 0);
    TN_ASSERT_CMPUINT(tn_door_refused(house.door, "c"), ==, 0);
    zmq->close(crossed);
    zmq->close(straight);
    zmq->close(router_a);
    zmq->close(router_b);
    house_end(&house);
}

/* A closed domain lets nobody in, and can be opened again. */
static void
closed_domain(void)
{
    House house = house_new();
    char endpoint[128];
    const TnKey key = new_key();
    tn_door_let_in(house.door, "a", key.public_key);
    tn_door_let_in(house.door, "a", key.public_key);
    tn_door_close_domain(house.door, "a");
    tn_door_close_domain(house.door, "never opened");
    void *router = serve(&house, &key, "a", endpoint);
    void *dealer = join(&house, &key, key.public_key, endpoint);
    TN_ASSERT(refuses(&house, "a", 0));
    TN_ASSERT(!arrives(router, 0.3));
    tn_door_let_in(house.door, "a", key.public_key);
    void *again = join(&house, &key, key.public_key, endpoint);
    TN_ASSERT(arrives(router, SECONDS));
    zmq->close(again);
    zmq->close(dealer);
    zmq->close(router);
    house_end(&house);
}

/* --- Before anybody is asked -------------------------------------------------------------------- */

/* Counts in the domain what a monitor tells, until one came. */
static gboolean
monitor_counts(const House *house, void *monitor, const char *domain)
{
    zmq_pollitem_t item = { .socket = monitor, .events = ZMQ_POLLIN };
    if (zmq->poll(&item, 1, SECONDS * 1000) <= 0)
        return FALSE;
    guint8 event[6];
    char place[256];
    const gboolean ok = zmq->recv(monitor, event, sizeof event, 0) == sizeof event &&
                        zmq->recv(monitor, place, sizeof place, 0) >= 0;
    tn_door_count(house->door, domain);
    return ok;
}

/* key NULL: a plain client. */
static void
fails_before(const TnKey *client, const char *server_key)
{
    House house = house_new();
    char endpoint[128];
    const TnKey key = new_key();
    tn_door_let_in(house.door, "a", key.public_key);
    void *router = serve(&house, &key, "a", endpoint);
    void *monitor = open_socket(&house, ZMQ_PAIR);
    TN_REQUIRE(
        zmq->socket_monitor(router, "inproc://monitor", ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL) == 0);
    TN_REQUIRE(zmq->connect(monitor, "inproc://monitor") == 0);
    void *dealer = join(&house, client, server_key, endpoint);
    TN_ASSERT(monitor_counts(&house, monitor, "a"));
    TN_ASSERT(refuses(&house, "a", 0));
    TN_ASSERT_CMPUINT(tn_door_refused(house.door, NULL), ==, 1);
    TN_ASSERT(!arrives(router, 0.3));
    zmq->close(dealer);
    zmq->socket_monitor(router, NULL, 0);
    zmq->close(monitor);
    zmq->close(router);
    house_end(&house);
}

static void
no_key(void)
{
    fails_before(NULL, NULL);
}

static void
wrong_server_key(void)
{
    zmq = tn_zmq(NULL);
    TN_REQUIRE(zmq != NULL);
    const TnKey stranger = new_key();
    fails_before(&stranger, stranger.public_key);
}

/* --- Requests of any form ----------------------------------------------------------------------- */

static void *
asker(const House *house)
{
    void *socket = open_socket(house, ZMQ_DEALER);
    TN_REQUIRE(zmq->connect(socket, "inproc://zeromq.zap.01") == 0);
    return socket;
}

/* Sends a good request for domain "a"; the status that comes back, -1 if none. */
static int
ask_well(void *socket, const char *mechanism, const char *public_key)
{
    guint8 key[32];
    char part[256], status[4] = "";
    tn_key_bytes(public_key, key);
    static const char *const parts[] = { "", "1.0", "id-7", "a", "127.0.0.1", "" };
    for (guint i = 0; i < G_N_ELEMENTS(parts); i++)
        zmq->send(socket, parts[i], strlen(parts[i]), ZMQ_SNDMORE);
    zmq->send(socket, mechanism, strlen(mechanism), ZMQ_SNDMORE);
    zmq->send(socket, key, sizeof key, 0);
    zmq_pollitem_t item = { .socket = socket, .events = ZMQ_POLLIN };
    if (zmq->poll(&item, 1, SECONDS * 1000) <= 0)
        return -1;
    guint n = 0;
    int more = 1;
    for (gsize size = sizeof more; more; n++) {
        const int got = zmq->recv(socket, part, sizeof part, 0);
        if (n == 1)
            TN_ASSERT(got == 3 && memcmp(part, "1.0", 3) == 0);
        if (n == 2)
            TN_ASSERT(got == 4 && memcmp(part, "id-7", 4) == 0);
        if (n == 3 && got == 3)
            memcpy(status, part, 3);
        zmq->getsockopt(socket, ZMQ_RCVMORE, &more, &size);
    }
    TN_ASSERT_CMPUINT(n, ==, 7);
    return (int)g_ascii_strtoll(status, NULL, 10);
}

/* A part that is often what belongs there, and otherwise anything. */
static void
send_part(void *socket, TnRandom *random, guint i, const char *domain, gboolean last)
{
    static const char *const usual[] = { "1.0", "7", NULL, "127.0.0.1", "", "CURVE" };
    guint8 bytes[600];
    gsize size = tn_random_below(random, 4) ? tn_random_below(random, 40)
                                            : tn_random_below(random, sizeof bytes);
    for (gsize k = 0; k < size; k++)
        bytes[k] = (guint8)tn_random_u32(random);
    const char *text = i < G_N_ELEMENTS(usual) ? usual[i] ? usual[i] : domain : NULL;
    if (i == 6 && tn_random_below(random, 2))
        size = 32;
    if (text && tn_random_below(random, 8)) {
        size = strlen(text);
        memcpy(bytes, text, size);
    }
    zmq->send(socket, bytes, size, ZMQ_DONTWAIT | (last ? 0 : ZMQ_SNDMORE));
}

static void
random_requests(void)
{
    House house = house_new();
    const TnKey key = new_key(), stranger = new_key();
    TnRandom random;
    guint sent = 0;
    tn_random_init(&random, 6, "zap", 0);
    tn_door_let_in(house.door, "a", key.public_key);
    for (guint k = 0; k < REQUESTS; k++) {
        void *socket = asker(&house);
        const gboolean delimited = tn_random_below(&random, 10) > 0;
        const guint n = tn_random_below(&random, 2) ? 7 : 1 + (guint)tn_random_below(&random, 12);
        if (delimited)
            zmq->send(socket, "", 0, ZMQ_DONTWAIT | ZMQ_SNDMORE);
        for (guint i = 0; i < n; i++)
            send_part(socket, &random, i, "a", i + 1 == n);
        /* Some wait for their answer, some go at once. */
        if (delimited && tn_random_below(&random, 2)) {
            TN_ASSERT(arrives(socket, SECONDS));
            sent++;
        }
        zmq->close(socket);
    }
    TN_ASSERT_CMPUINT(tn_door_refused(house.door, NULL), >=, sent);
    TN_ASSERT_CMPUINT(tn_door_refused(house.door, NULL), <=, REQUESTS);
    TN_ASSERT_CMPUINT(tn_door_refused(house.door, "a"), <=, tn_door_refused(house.door, NULL));
    void *socket = asker(&house);
    TN_ASSERT_CMPINT(ask_well(socket, "CURVE", key.public_key), ==, 200);
    TN_ASSERT_CMPINT(ask_well(socket, "CURVE", stranger.public_key), ==, 400);
    TN_ASSERT_CMPINT(ask_well(socket, "PLAIN", key.public_key), ==, 400);
    TN_ASSERT_CMPINT(ask_well(socket, "NULL", key.public_key), ==, 400);
    TN_ASSERT_CMPINT(ask_well(socket, "CURVE", key.public_key), ==, 200);
    zmq->close(socket);
    char endpoint[128];
    void *router = serve(&house, &key, "a", endpoint);
    void *dealer = join(&house, &key, key.public_key, endpoint);
    TN_ASSERT(arrives(router, SECONDS));
    zmq->close(dealer);
    zmq->close(router);
    house_end(&house);
}

/* --- Ends --------------------------------------------------------------------------------------- */

static void
one_door_a_context(void)
{
    House house = house_new(), other = house_new();
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_door_new(house.context, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_BUSY, "zap");
    house_end(&other);
    /* After it is gone there may be another. */
    tn_door_free(house.door);
    house.door = tn_door_new(house.context, &error);
    TN_ASSERT_NO_ERROR(error);
    house_end(&house);
    tn_door_free(NULL);
}

static void
context_shut_down(void)
{
    House house = house_new();
    zmq->ctx_shutdown(house.context);
    house_end(&house);
}

/* Nobody is let in while nobody answers. */
static void
without_a_door(void)
{
    House house = house_new();
    char endpoint[128];
    const TnKey key = new_key();
    tn_door_let_in(house.door, "a", key.public_key);
    void *router = serve(&house, &key, "a", endpoint);
    g_clear_pointer(&house.door, tn_door_free);
    void *dealer = join(&house, &key, key.public_key, endpoint);
    TN_ASSERT(!arrives(router, 0.5));
    zmq->close(dealer);
    zmq->close(router);
    house_end(&house);
}

static const TnTest tests[] = {
    { "the right key", right_key },
    { "the wrong key", wrong_key },
    { "another domain's key", another_domain },
    { "a closed domain", closed_domain },
    { "no key", no_key },
    { "another server's key", wrong_server_key },
    { "random requests", random_requests },
    { "one door a context", one_door_a_context },
    { "the context is shut down", context_shut_down },
    { "without a door", without_a_door },
};
TN_TEST_MAIN("door", tests)
