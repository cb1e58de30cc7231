// tn-test: timeout=180 label=threads
/* test_faults.c: ends of wires among strangers: noise, damaged and unasked messages, floods and servers
 * that are none. Whatever comes, those who are let in do not notice, what is dropped is counted, and
 * memory does not grow. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <tenon/base.h>
#include <tenon/pool.h>
#include <tenon/wire.h>

#include "wire/block.h"
#include "wire/message.c"
#include "wire/zmq.h"

#include "tn_test.h"

#define PATIENCE_US (20 * G_USEC_PER_SEC)
#define LONG_US (8 * G_USEC_PER_SEC) /* of which a busy machine may not do all items */
#define FLOOD (TN_TEST_SANITIZED ? 10000 : 100000)
#define ITEMS (TN_TEST_SANITIZED ? 10000 : 1000000)
#define WARM (TN_TEST_SANITIZED ? 20 : ITEMS / 50) /* items after which memory has its size */
#define MOST_BYTES (1 << 20)

static const TnWireHold none = { NULL, NULL };
static const TnZmq *zmq;
static void *context; /* of the strangers */

/* --- A server with one that it let in --------------------------------------------------------- */

typedef struct {
    TnWire *server, *member;
    guint peer;      /* the member */
    guint left;      /* of others: how many left */
    char *left_text; /* and why the last one did */
    guint asked;     /* by others */
} Scene;

static TnWire *
make_wire(const char *address, gboolean serve)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnValue) hello = tn_value_map();
    tn_value_set(hello, "config", tn_value_string("c"));
    TnWire *wire = tn_wire_new(&(TnWireOptions){ .address = address,
                                                 .serve = serve,
                                                 .insecure = TRUE,
                                                 .hello = hello,
                                                 .most_bytes = MOST_BYTES },
                               &error);
    TN_REQUIRE_NO_ERROR(error);
    return wire;
}

static void
note_other(Scene *scene, const TnWireEvent *event)
{
    scene->asked += event->kind == TN_WIRE_ASKED;
    if (event->kind != TN_WIRE_LEFT)
        return;
    scene->left++;
    g_free(scene->left_text);
    scene->left_text = g_strdup(event->text);
}

/* The server has the next event of the member; those of others are noted. FALSE: none came in time. */
static gboolean
next_of_member(Scene *scene, TnWireEventKind kind, TnWireEvent *event)
{
    const gint64 end = g_get_monotonic_time() + PATIENCE_US;
    while (g_get_monotonic_time() < end) {
        TnWireEvent other;
        while (tn_wire_next(scene->member, 0, &other) == TN_OK) {
            if (other.kind == TN_WIRE_ASKED)
                tn_wire_answer(scene->member, 0, other.number, other.topic + 1, 0, NULL, none);
            TN_ASSERT(other.kind != TN_WIRE_LEFT);
            tn_wire_event_clear(&other);
        }
        if (tn_wire_next(scene->server, 1, event) != TN_OK)
            continue;
        if (event->kind == kind && (kind == TN_WIRE_JOINED || event->peer == scene->peer))
            return TRUE;
        note_other(scene, event);
        tn_wire_event_clear(event);
    }
    return FALSE;
}

static Scene
open_scene(const char *address)
{
    TnWireEvent event;
    Scene scene = { .server = make_wire(address, TRUE) };
    scene.member = make_wire(tn_wire_url(scene.server), FALSE);
    TN_REQUIRE(next_of_member(&scene, TN_WIRE_JOINED, &event));
    scene.peer = event.peer;
    tn_wire_event_clear(&event);
    return scene;
}

/* Asks and answers with the one that was let in go on as ever. */
static void
serves(Scene *scene)
{
    for (guint i = 0; i < 20; i++) {
        guint64 number;
        TnWireEvent event;
        TN_REQUIRE(tn_wire_ask(scene->server, scene->peer, i, 0, NULL, none, &number) == TN_OK);
        TN_REQUIRE(next_of_member(scene, TN_WIRE_ANSWERED, &event));
        TN_ASSERT_CMPUINT(event.number, ==, number);
        TN_ASSERT_CMPUINT(event.topic, ==, i + 1);
        tn_wire_event_clear(&event);
    }
}

static void
close_scene(Scene *scene)
{
    serves(scene);
    tn_wire_free(scene->member);
    tn_wire_free(scene->server);
    g_free(scene->left_text);
}

static TnWireStats
stats_of(const TnWire *wire)
{
    TnWireStats stats;
    tn_wire_stats(wire, &stats);
    return stats;
}

/* Serves until so many messages were dropped. */
static void
serves_until_dropped(Scene *scene, guint64 n)
{
    const gint64 end = g_get_monotonic_time() + PATIENCE_US;
    do
        serves(scene);
    while (stats_of(scene->server).dropped < n && g_get_monotonic_time() < end);
    TN_ASSERT_CMPUINT(stats_of(scene->server).dropped, ==, n);
}

/* --- Strangers -------------------------------------------------------------------------------- */

static void *
knock(const char *url)
{
    const int none_ms = 0, wait_ms = 5000;
    void *socket = zmq->socket(context, ZMQ_DEALER);
    zmq->setsockopt(socket, ZMQ_LINGER, &none_ms, sizeof none_ms);
    zmq->setsockopt(socket, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
    zmq->setsockopt(socket, ZMQ_SNDTIMEO, &wait_ms, sizeof wait_ms);
    TN_REQUIRE(zmq->connect(socket, url) == 0);
    return socket;
}

static void
send_bytes(void *socket, const void *bytes, gsize n)
{
    TN_REQUIRE(zmq->send(socket, bytes, n, 0) == (int)n);
}

/* (transfer full): a message as bytes. */
static guint8 *
bytes_of(TnMessage message, gsize *n)
{
    *n = tn_message_size(&message);
    TN_REQUIRE(*n > 0);
    guint8 *bytes = g_malloc(*n);
    tn_message_write(&message, bytes);
    return bytes;
}

static void
send_message(void *socket, TnMessage message)
{
    gsize n;
    g_autofree guint8 *bytes = bytes_of(message, &n);
    send_bytes(socket, bytes, n);
}

static TnMessage
hello_with(const char *text)
{
    return (TnMessage){ .kind = TN_WIRE_HELLO, .text = text, .text_bytes = strlen(text) };
}

#define GOOD_HELLO "{\"hello\":{\"config\":\"c\"},\"about\":{}}"

/* The next message of this kind, its text copied to text (may be NULL); its number. */
static guint64
receive_kind(Scene *scene, void *socket, TnWireKind kind, char **text)
{
    static guint8 bytes[MOST_BYTES];
    const gint64 end = g_get_monotonic_time() + PATIENCE_US;
    while (g_get_monotonic_time() < end) {
        TnMessage message;
        const int n = zmq->recv(socket, bytes, sizeof bytes, ZMQ_DONTWAIT);
        if (n < 0 && scene)
            serves(scene);
        if (n < 0 || !tn_message_read(&message, bytes, (gsize)n, NULL) || message.kind != kind)
            continue;
        if (text)
            *text = g_strndup(message.text ? message.text : "", message.text_bytes);
        return message.number;
    }
    TN_FAIL("no %s came", tn_wire_kind_name(kind));
    return 0;
}

/* Says hello and is let in: its session. */
static guint64
get_in(Scene *scene, void *socket, const char *hello)
{
    send_message(socket, hello_with(hello));
    return receive_kind(scene, socket, TN_WIRE_WELCOME, NULL);
}

static gsize
resident(void)
{
    gsize pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file || fscanf(file, "%*u %zu", &pages) != 1)
        pages = 0;
    if (file)
        fclose(file);
    return pages * (gsize)sysconf(_SC_PAGESIZE);
}

/* Sanitizers keep what was freed. */
static void
is_flat(gsize before, gsize most)
{
    const gsize now = resident();
    if (!TN_TEST_SANITIZED)
        TN_ASSERT_CMPUINT(now > before ? now - before : 0, <, most);
}

/* --- Against a server ------------------------------------------------------------------------- */

static void
noise(void)
{
    enum { N = 1000 };
    Scene scene = open_scene("tcp://127.0.0.1:*");
    void *stranger = knock(tn_wire_url(scene.server));
    guint8 bytes[2048];
    TnRandom random;
    tn_random_init(&random, 7, "noise", 0);
    for (guint i = 0; i < N; i++) {
        const gsize n = tn_random_u32(&random) % sizeof bytes;
        for (gsize k = 0; k < n; k++)
            bytes[k] = (guint8)tn_random_u32(&random);
        send_bytes(stranger, bytes, n);
    }
    serves_until_dropped(&scene, N);
    zmq->close(stranger);
    close_scene(&scene);
}

/* Everything that a stranger or somebody let in may send, cut at every length. */
static void
cut_messages(void)
{
    Scene scene = open_scene("ipc");
    void *stranger = knock(tn_wire_url(scene.server)), *inside = knock(tn_wire_url(scene.server));
    const guint64 session = get_in(&scene, inside, GOOD_HELLO);
    const float x[3] = { 1, 2, 3 };
    TnMessage ask = { .kind = TN_WIRE_ASK, .session = session, .number = 1, .n = 1 };
    ask.tensors[0].type = tn_type(TN_DTYPE_F32, 1, (gint64[]){ 3 });
    ask.tensors[0].bytes = sizeof x;
    ask.tensors[0].data = x;
    gsize n_hello, n_ask;
    g_autofree guint8 *hello = bytes_of(hello_with(GOOD_HELLO), &n_hello);
    g_autofree guint8 *asked = bytes_of(ask, &n_ask);
    for (gsize n = 0; n < n_hello; n++)
        send_bytes(stranger, hello, n);
    for (gsize n = 0; n < n_ask; n++)
        send_bytes(inside, asked, n);
    serves_until_dropped(&scene, n_hello + n_ask);
    TN_ASSERT_CMPUINT(stats_of(scene.server).joined, ==, 2);
    TN_ASSERT_CMPUINT(scene.left, ==, 0);
    send_bytes(inside, asked, n_ask); /* whole it is one */
    for (guint i = 0; i < 100 && scene.asked == 0; i++)
        serves(&scene);
    TN_ASSERT_CMPUINT(scene.asked, ==, 1);
    zmq->close(stranger);
    zmq->close(inside);
    close_scene(&scene);
}

/* Who speaks another version is told both, once: what it says then is not answered. */
static void
another_version(void)
{
    Scene scene = open_scene("tcp://127.0.0.1:*");
    void *stranger = knock(tn_wire_url(scene.server));
    gsize n;
    g_autofree guint8 *bytes = bytes_of(hello_with(GOOD_HELLO), &n);
    g_autofree char *text = NULL;
    bytes[4] = TN_WIRE_VERSION + 1;
    send_bytes(stranger, bytes, n);
    receive_kind(&scene, stranger, TN_WIRE_REFUSE, &text);
    TN_ASSERT_CONTAINS(text, "version 2");
    TN_ASSERT_CONTAINS(text, "knows version 1");
    send_bytes(stranger, bytes, n);
    serves_until_dropped(&scene, 2);
    TN_ASSERT_CMPUINT(stats_of(scene.server).refused, ==, 1);
    zmq->close(stranger);
    close_scene(&scene);
}

/* A part beyond what is taken ends its connection; a message of too many parts is dropped. */
static void
too_much(void)
{
    Scene scene = open_scene("tcp://127.0.0.1:*");
    void *huge = knock(tn_wire_url(scene.server)), *many = knock(tn_wire_url(scene.server));
    g_autofree guint8 *bytes = g_malloc0(MOST_BYTES + 1);
    send_bytes(huge, bytes, MOST_BYTES + 1);
    for (guint i = 0; i < 5000; i++)
        TN_REQUIRE(zmq->send(many, bytes, 10, i + 1 < 5000 ? ZMQ_SNDMORE : 0) == 10);
    serves_until_dropped(&scene, 1);
    zmq->close(huge);
    zmq->close(many);
    close_scene(&scene);
}

/* In its session, but not what may be said there. */
static void
out_of_turn(void)
{
    Scene scene = open_scene("tcp://127.0.0.1:*");
    void *inside = knock(tn_wire_url(scene.server)), *again;
    const guint64 session = get_in(&scene, inside, GOOD_HELLO);
    const TnMessage unwanted[] = {
        hello_with(GOOD_HELLO), /* a second one */
        { .kind = TN_WIRE_WELCOME, .session = session, .number = 5 },
        { .kind = TN_WIRE_HELLO, .session = session },
        { .kind = TN_WIRE_ANSWER, .session = session, .number = 1 },
        { .kind = TN_WIRE_FAIL, .session = session, .number = 1 },
        { .kind = TN_WIRE_ANSWER, .session = session + 1, .number = 1 },
        { .kind = TN_WIRE_BYE, .session = session ^ 1 },
        { .kind = TN_WIRE_BLOCK, .session = session, .number = 9, .text = "1/1", .text_bytes = 3 },
    };
    for (guint i = 0; i < G_N_ELEMENTS(unwanted); i++)
        send_message(inside, unwanted[i]);
    serves_until_dropped(&scene, G_N_ELEMENTS(unwanted));
    TN_ASSERT_CMPUINT(scene.left, ==, 0);
    /* asks: only ever larger numbers */
    const guint64 numbers[] = { 3, 1, 3, 2, 7, 5 };
    for (guint i = 0; i < G_N_ELEMENTS(numbers); i++)
        send_message(inside,
                     (TnMessage){ .kind = TN_WIRE_ASK, .session = session, .number = numbers[i] });
    serves_until_dropped(&scene, G_N_ELEMENTS(unwanted) + 4);
    TN_ASSERT_CMPUINT(scene.asked, ==, 2);
    /* what was said in one session is nothing in the next */
    zmq->close(inside);
    again = knock(tn_wire_url(scene.server));
    TN_ASSERT(get_in(&scene, again, GOOD_HELLO) != session);
    const guint64 before = stats_of(scene.server).dropped;
    send_message(again, (TnMessage){ .kind = TN_WIRE_ASK, .session = session, .number = 9 });
    send_message(again, (TnMessage){ .kind = TN_WIRE_BYE, .session = session });
    serves_until_dropped(&scene, before + 2);
    TN_ASSERT_CMPUINT(scene.asked, ==, 2);
    zmq->close(again);
    close_scene(&scene);
}

/* A file as blocks are: its number; its key is 77. */
static int
make_block(gsize contents)
{
    const guint64 key = 77;
    const int fd = memfd_create("block", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    TN_REQUIRE(fd >= 0 && ftruncate(fd, (off_t)(TN_BLOCK_HEAD + contents)) == 0);
    TN_REQUIRE(write(fd, &key, sizeof key) == sizeof key);
    TN_REQUIRE(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
    return fd;
}

/* Somebody who can share memory, with a block of its own to show for it. */
static void *
get_in_sharing(Scene *scene, int block, guint64 *session)
{
    void *socket = knock(tn_wire_url(scene->server));
    g_autofree char *boot = NULL;
    char space[64] = "";
    g_file_get_contents("/proc/sys/kernel/random/boot_id", &boot, NULL, NULL);
    TN_REQUIRE(readlink("/proc/self/ns/pid", space, sizeof space - 1) > 0);
    g_autofree char *text =
        g_strdup_printf("{\"hello\":{\"config\":\"c\"},\"host\":\"%s %s %u\","
                        "\"block\":\"%d/%d/77/4096\"}",
                        g_strchomp(boot), space, (guint)geteuid(), (int)getpid(), block);
    *session = get_in(scene, socket, text);
    return socket;
}

/* An ask with a tensor in a block that was not announced, or is a file of somebody's, or no block at
 * all: whoever sends it is told and has left. */
static void
false_blocks(void)
{
    g_autofree char *path = tn_test_tmp_path("secret"), *zeros = g_malloc0(65536);
    tn_test_write_file(path, zeros, 65536);
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    g_autofree char *plain = g_strdup_printf("%d/%d", (int)getpid(), file);
    const char *const names[] = { NULL, plain, "1/0", "-1/-1", "0/0", "999999999/3", "x", "" };
    Scene scene = open_scene("ipc");
    const int block = make_block(4096);
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        guint64 session;
        void *inside = get_in_sharing(&scene, block, &session);
        g_autofree char *text = NULL;
        if (names[i])
            send_message(inside, (TnMessage){ .kind = TN_WIRE_BLOCK,
                                              .session = session,
                                              .number = 77,
                                              .extra = 65536 - TN_BLOCK_HEAD,
                                              .text = names[i],
                                              .text_bytes = strlen(names[i]) });
        TnMessage ask = { .kind = TN_WIRE_ASK, .session = session, .number = 1, .n = 1 };
        ask.tensors[0].type = tn_type(TN_DTYPE_F32, 1, (gint64[]){ 8192 });
        ask.tensors[0].bytes = 8192 * sizeof(float);
        ask.tensors[0].place = TN_WIRE_IN_BLOCK;
        ask.tensors[0].block = 77;
        send_message(inside, ask);
        receive_kind(&scene, inside, TN_WIRE_REFUSE, &text);
        TN_ASSERT_CONTAINS(text, "cannot be read");
        TN_ASSERT_CMPUINT(scene.left, ==, i + 1);
        zmq->close(inside);
    }
    TN_ASSERT_CMPUINT(scene.asked, ==, 0);
    close(block);
    close(file);
    close_scene(&scene);
}

/* As many as can be sent of a message, while the server looks now and then or never. */
static void
flood(Scene *scene, void *socket, const void *bytes, gsize n, gboolean looks)
{
    for (guint i = 0; i < FLOOD; i++) {
        if (zmq->send(socket, bytes, n, ZMQ_DONTWAIT) < 0 && !looks)
            return; /* it is held back */
        if (looks && i % 2000 == 0)
            serves(scene);
    }
}

static void
floods(void)
{
    Scene scene = open_scene("tcp://127.0.0.1:*");
    gsize n[3];
    g_autofree guint8 *wrong = bytes_of(hello_with("{\"hello\":{\"config\":\"d\"}}"), &n[0]);
    g_autofree guint8 *version = bytes_of(hello_with(GOOD_HELLO), &n[1]);
    g_autofree guint8 *big = g_malloc0(n[2] = 4096);
    const guint8 *const what[] = { wrong, version, big };
    version[4] = TN_WIRE_VERSION + 1;
    serves(&scene);
    for (guint i = 0; i < G_N_ELEMENTS(what); i++) {
        /* Nobody reads what the stranger is told. */
        void *stranger = knock(tn_wire_url(scene.server));
        const gsize before = resident();
        flood(&scene, stranger, what[i], n[i], TRUE);
        is_flat(before, 24 << 20);
        serves(&scene);
        /* The server is busy elsewhere, and what comes waits at its source. */
        flood(&scene, stranger, what[i], n[i], FALSE);
        is_flat(before, 64 << 20);
        zmq->close(stranger);
        serves(&scene);
    }
    TN_ASSERT_CMPUINT(stats_of(scene.server).dropped, >, 0);
    TN_ASSERT_CMPUINT(stats_of(scene.server).refused, <, 10);
    TN_ASSERT_CMPUINT(stats_of(scene.server).joined, ==, 1);
    close_scene(&scene);
}

/* Strangers that are held back hang up, and the server is busy elsewhere for longer than heartbeats take: none is due
 * to who is gone (see end.c). */
static void
floods_that_end(void)
{
    enum { N = 10 };
    static const char junk[] = "junk";
    Scene scene = open_scene("tcp://127.0.0.1:*");
    const int held_back_ms = 100;
    void *strangers[N];
    for (guint round = 0; round < 2; round++) {
        for (guint i = 0; i < N; i++) {
            strangers[i] = knock(tn_wire_url(scene.server));
            zmq->setsockopt(strangers[i], ZMQ_SNDTIMEO, &held_back_ms, sizeof held_back_ms);
            while (zmq->send(strangers[i], junk, sizeof junk, 0) >= 0)
                continue;
        }
        for (guint i = 0; i < N; i++)
            zmq->close(strangers[i]);
        g_usleep(1200 * 1000);
        serves(&scene);
    }
    TN_ASSERT_CMPUINT(stats_of(scene.server).joined, ==, 1);
    close_scene(&scene);
}

static int
raw_connection(const char *url)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    to.sin_port = htons((guint16)atoi(strrchr(url, ':') + 1));
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    TN_REQUIRE(fd >= 0);
    TN_REQUIRE(connect(fd, (const struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

/* Connections that say nothing, or what is no ZeroMQ. */
static void
connections(void)
{
    enum { N = 200 };
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    Scene scene = open_scene("tcp://127.0.0.1:*");
    int fds[N];
    guint8 bytes[512];
    TnRandom random;
    tn_random_init(&random, 3, "bytes", 0);
    for (guint round = 0; round < 3; round++) {
        for (guint i = 0; i < N; i++) {
            fds[i] = raw_connection(tn_wire_url(scene.server));
            for (gsize k = 0; k < sizeof bytes; k++)
                bytes[k] = (guint8)tn_random_u32(&random);
            if (round == 1)
                (void)!send(fds[i], bytes, sizeof bytes, MSG_NOSIGNAL);
            if (round == 2)
                (void)!send(fds[i], http, strlen(http), MSG_NOSIGNAL);
            if (i % 20 == 0)
                serves(&scene);
        }
        serves(&scene);
        for (guint i = 0; i < N; i++)
            close(fds[i]);
    }
    TN_ASSERT_CMPUINT(stats_of(scene.server).joined, ==, 1);
    TN_ASSERT_CMPUINT(scene.left, ==, 0);
    close_scene(&scene);
}

/* --- Against who joins ------------------------------------------------------------------------ */

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
    const gint64 end = g_get_monotonic_time() + PATIENCE_US;
    TnWireEvent event;
    while (stats_of(trap->member).dropped < n && g_get_monotonic_time() < end)
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

/* A stage may take long for a frame: what its run says meanwhile does not cut the connection. */
static void
a_long_silence(void)
{
    Trap trap = set_trap(0);
    TnWireEvent event;
    trap_message(&trap, welcome);
    TN_REQUIRE(tn_wire_next(trap.member, 5000, &event) == TN_OK && event.kind == TN_WIRE_JOINED);
    tn_wire_event_clear(&event);
    for (guint i = 0; i < 10000; i++) /* more than half an hour of them */
        trap_message(&trap, (TnMessage){ .kind = TN_WIRE_BEAT, .session = 9 });
    g_usleep(4 * G_USEC_PER_SEC);
    TN_ASSERT_CMPINT(tn_wire_next(trap.member, 500, &event), ==, TN_AGAIN);
    TN_ASSERT_CMPUINT(stats_of(trap.member).left, ==, 0);
    end_trap(&trap);
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
    const gint64 end = g_get_monotonic_time() + PATIENCE_US;
    for (guint i = 0;
         i < 20 || (stats_of(trap.member).dropped == 0 && g_get_monotonic_time() < end); i++) {
        const gint64 began = g_get_monotonic_time();
        TN_ASSERT_CMPINT(tn_wire_next(trap.member, 1, &event), ==, TN_AGAIN);
        longest = MAX(longest, (double)(g_get_monotonic_time() - began) * 1e-6);
    }
    atomic_store(&flooder.stop, TRUE);
    tn_thread_join(thread);
    TN_ASSERT_CMPFLOAT(longest, <, TN_TEST_SANITIZED ? 5 : 1); /* instead of for ever */
    is_flat(before, 64 << 20);
    TN_ASSERT_CMPUINT(stats_of(trap.member).dropped, >, 0);
    end_trap(&trap);
}

/* --- Patterns that would run full ------------------------------------------------------------- */

/* A member that sends whenever it may, one that takes a few items at a time. */
static void
a_slow_merge(void)
{
    TnWireEvent event;
    TnWire *server = make_wire("ipc", TRUE), *member = make_wire(tn_wire_url(server), FALSE);
    g_autoptr(TnWireMerge) merge = tn_wire_merge_new(server, 64);
    g_autoptr(TnWireSender) sender = tn_wire_sender_new(member);
    g_autoptr(TnTensor) item =
        tn_tensor_zeros(NULL, tn_type(TN_DTYPE_F32, 1, (gint64[]){ 16 }), NULL);
    guint taken = 0, under_way = 0;
    gsize before = 0;
    const gint64 end = g_get_monotonic_time() + LONG_US;
    while (taken < ITEMS / 2 && g_get_monotonic_time() < end) {
        while (tn_wire_next(member, 0, &event) == TN_OK) {
            tn_wire_sender_take(sender, &event);
            tn_wire_event_clear(&event);
        }
        while (tn_wire_sender_send(sender, 1, &item, none) == TN_OK)
            under_way++;
        TN_ASSERT_CMPUINT(under_way, <=, 64);
        for (guint i = 0; i < 40 && tn_wire_next(server, 0, &event) == TN_OK; i++) {
            if (tn_wire_merge_take(merge, &event)) {
                taken++;
                under_way--;
            }
            tn_wire_event_clear(&event);
        }
        if (!before && taken >= WARM)
            before = resident();
    }
    TN_ASSERT_CMPUINT(taken, >=, WARM);
    is_flat(before, 16 << 20);
    tn_wire_free(member);
    tn_wire_free(server);
}

/* More requests than the replier has done, which answers all that it has at once. */
static void
a_slow_pool(void)
{
    enum { WAITING = 200 };
    TnWireEvent event;
    TnWire *server = make_wire("ipc", TRUE), *member = make_wire(tn_wire_url(server), FALSE);
    g_autoptr(TnWirePool) pool = tn_wire_pool_new(server, 32);
    guint asked = 0, answered = 0;
    gsize before = 0;
    const gint64 end = g_get_monotonic_time() + LONG_US;
    while (answered < ITEMS / 2 && g_get_monotonic_time() < end) {
        while (tn_wire_next(member, 0, &event) == TN_OK) {
            if (event.kind == TN_WIRE_ASKED)
                tn_wire_answer(member, 0, event.number, 0, 0, NULL, none);
            tn_wire_event_clear(&event);
        }
        while (asked < ITEMS / 2 && tn_wire_pool_waiting(pool) < WAITING)
            tn_wire_pool_ask(pool, asked++, 0, NULL, 0);
        while (tn_wire_next(server, 0, &event) == TN_OK) {
            if (event.kind == TN_WIRE_JOINED)
                tn_wire_pool_add(pool, event.peer);
            answered += tn_wire_pool_take(pool, &event);
            tn_wire_event_clear(&event);
        }
        if (!before && answered >= WARM)
            before = resident();
    }
    TN_ASSERT_CMPUINT(answered, >=, WARM);
    is_flat(before, 16 << 20);
    tn_wire_pool_free(g_steal_pointer(&pool));
    tn_wire_free(member);
    tn_wire_free(server);
}

static void
setup(void)
{
    zmq = tn_zmq(NULL);
    TN_REQUIRE(zmq != NULL);
    context = zmq->ctx_new();
    zmq->ctx_set(context, ZMQ_BLOCKY, 0);
}

static void
teardown(void)
{
    zmq->ctx_shutdown(context);
    if (CU_get_number_of_failures() == 0) /* a test that was ended has left sockets open */
        zmq->ctx_term(context);
}

static const TnTest tests[] = {
    { "noise", noise },
    { "cut messages", cut_messages },
    { "another version", another_version },
    { "too much", too_much },
    { "out of turn", out_of_turn },
    { "false blocks", false_blocks },
    { "floods", floods },
    { "floods that end", floods_that_end },
    { "connections", connections },
    { "a server that is none", a_server_that_is_none },
    { "a server that cannot be read", a_server_that_cannot_be_read },
    { "a long silence", a_long_silence },
    { "a server that never stops", a_server_that_never_stops },
    { "a slow merge", a_slow_merge },
    { "a slow pool", a_slow_pool },
};
TN_TEST_MAIN_WITH("faults", tests, setup, teardown)
