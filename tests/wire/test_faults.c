/* test_faults.c: servers of wires among strangers: noise, damaged and unasked messages, floods. Whatever
 * comes, those who are let in do not notice, what is dropped is counted, and memory does not grow. */
// tn-test: timeout=180 label=threads
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "strangers.h"
#include "wire/block.h"

#define FLOOD (TN_TEST_SANITIZED ? 10000 : 100000)

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
        /* It hangs up when all has come: libzmq 4.3 aborts the process if a heartbeat is due to somebody
         * who hung up before. */
        serves_until_quiet(&scene);
        zmq->close(stranger);
        serves(&scene);
    }
    TN_ASSERT_CMPUINT(stats_of(scene.server).dropped, >, 0);
    TN_ASSERT_CMPUINT(stats_of(scene.server).refused, <, 10);
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

static const TnTest tests[] = {
    { "noise", noise },
    { "cut messages", cut_messages },
    { "another version", another_version },
    { "too much", too_much },
    { "out of turn", out_of_turn },
    { "false blocks", false_blocks },
    { "floods", floods },
    { "connections", connections },
};
TN_TEST_MAIN_WITH("faults", tests, strangers_setup, strangers_teardown)
