/* strangers.h: for tests of wires among strangers: a server with one that it let in, sockets that speak
 * for themselves, and what is looked at: that the one is served as ever, that memory does not grow. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <tenon/base.h>
#include <tenon/wire.h>

#include "wire/message.c"
#include "wire/zmq.h"

#include "tn_test.h"

#define PATIENCE 20 /* seconds */
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

static inline TnWire *
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

static inline void
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
static inline gboolean
next_of_member(Scene *scene, TnWireEventKind kind, TnWireEvent *event)
{
    TnPatience patience = tn_test_patience(PATIENCE);
    while (tn_test_patient(&patience)) {
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

static inline Scene
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
static inline void
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

static inline void
close_scene(Scene *scene)
{
    serves(scene);
    tn_wire_free(scene->member);
    tn_wire_free(scene->server);
    g_free(scene->left_text);
}

static inline TnWireStats
stats_of(const TnWire *wire)
{
    TnWireStats stats;
    tn_wire_stats(wire, &stats);
    return stats;
}

/* Serves until so many messages were dropped. */
static inline void
serves_until_dropped(Scene *scene, guint64 n)
{
    TnPatience patience = tn_test_patience(PATIENCE);
    do
        serves(scene);
    while (stats_of(scene->server).dropped < n && tn_test_patient(&patience));
    TN_ASSERT_CMPUINT(stats_of(scene->server).dropped, ==, n);
}

/* Serves until no more are dropped for a second. */
static inline void
serves_until_quiet(Scene *scene)
{
    TnPatience quiet = tn_test_patience(1);
    for (guint64 before = 0; tn_test_patient(&quiet);) {
        serves(scene);
        if (stats_of(scene->server).dropped != before)
            quiet = tn_test_patience(1);
        before = stats_of(scene->server).dropped;
    }
}

/* --- Strangers -------------------------------------------------------------------------------- */

static inline void *
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

static inline void
send_bytes(void *socket, const void *bytes, gsize n)
{
    TN_REQUIRE(zmq->send(socket, bytes, n, 0) == (int)n);
}

/* (transfer full): a message as bytes. */
static inline guint8 *
bytes_of(TnMessage message, gsize *n)
{
    *n = tn_message_size(&message);
    TN_REQUIRE(*n > 0);
    guint8 *bytes = g_malloc(*n);
    tn_message_write(&message, bytes);
    return bytes;
}

static inline void
send_message(void *socket, TnMessage message)
{
    gsize n;
    g_autofree guint8 *bytes = bytes_of(message, &n);
    send_bytes(socket, bytes, n);
}

static inline TnMessage
hello_with(const char *text)
{
    return (TnMessage){ .kind = TN_WIRE_HELLO, .text = text, .text_bytes = strlen(text) };
}

#define GOOD_HELLO "{\"hello\":{\"config\":\"c\"},\"about\":{}}"

/* The next message of this kind, its text copied to text (may be NULL); its number. */
static inline guint64
receive_kind(Scene *scene, void *socket, TnWireKind kind, char **text)
{
    static guint8 bytes[MOST_BYTES];
    TnPatience patience = tn_test_patience(PATIENCE);
    while (tn_test_patient(&patience)) {
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
static inline guint64
get_in(Scene *scene, void *socket, const char *hello)
{
    send_message(socket, hello_with(hello));
    return receive_kind(scene, socket, TN_WIRE_WELCOME, NULL);
}

static inline gsize
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
static inline void
is_flat(gsize before, gsize most)
{
    const gsize now = resident();
    if (!TN_TEST_SANITIZED)
        TN_ASSERT_CMPUINT(now > before ? now - before : 0, <, most);
}

static inline void
strangers_setup(void)
{
    zmq = tn_zmq(NULL);
    TN_REQUIRE(zmq != NULL);
    context = zmq->ctx_new();
    zmq->ctx_set(context, ZMQ_BLOCKY, 0);
}

static inline void
strangers_teardown(void)
{
    zmq->ctx_shutdown(context);
    if (CU_get_number_of_failures() == 0) /* a test that was ended has left sockets open */
        zmq->ctx_term(context);
}
