/* door.c: who is let in: ZeroMQ's authentication protocol (ZAP 1.0, RFC 27) for one context.
 *
 * For each connection to a socket that has a domain ZeroMQ sends a request to the socket bound to
 * inproc://zeromq.zap.01: version, id, domain, address, identity, mechanism, and for CURVE the
 * client's public key. The answer: version, id, status, text, user id, metadata. A connection
 * waits until it comes.
 *
 * That socket is a ROUTER, which does what a REP would by its own hand: after a request without an
 * envelope whose sender is gone, REP (of 4.3.4) loses the answer to the next one. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <tenon/pool.h>

#include "wire/key.h"
#include "wire/zmq.h"

#define ENDPOINT "inproc://zeromq.zap.01"
#define CONTROL "inproc://tenon.door"
#define KEY_BYTES 32

/* What is known of a domain to which somebody was let in. */
typedef struct {
    GByteArray *keys; /* KEY_BYTES each */
    guint64 refused;
} Domain;

struct TnDoor {
    const TnZmq *zmq;
    pthread_mutex_t lock;
    GHashTable *domains; /* name -> Domain; lock */
    guint64 refused;     /* all; lock */
    void *requests;      /* ROUTER; the thread's */
    void *inside;        /* PAIR that ends the thread; the thread's */
    void *control;       /* its other end */
    TnThread *thread;
};

/* --- Requests ----------------------------------------------------------------------------------- */

enum { PEER, DELIMITER, VERSION, ID, DOMAIN, ADDRESS, IDENTITY, MECHANISM, KEY, N_PARTS };

/* No part that makes sense is longer. */
#define MOST 255

/* A request: its parts, cut off at MOST. */
typedef struct {
    gsize sizes[N_PARTS]; /* true ones */
    guint8 bytes[N_PARTS][MOST + 1];
    guint n; /* parts there were, also those beyond N_PARTS */
} Request;

/* Takes all parts. FALSE if there is none: it was taken back, or the context ends (errno). */
static gboolean
receive(TnDoor *door, Request *request)
{
    const TnZmq *zmq = door->zmq;
    int more = 1;
    for (request->n = 0; more; request->n++) {
        zmq_msg_t part;
        zmq->msg_init(&part);
        if (zmq->msg_recv(&part, door->requests, ZMQ_DONTWAIT) < 0) {
            zmq->msg_close(&part);
            return FALSE;
        }
        if (request->n < N_PARTS) {
            const gsize size = zmq->msg_size(&part);
            guint8 *bytes = request->bytes[request->n];
            request->sizes[request->n] = size;
            memcpy(bytes, zmq->msg_data(&part), MIN(size, MOST));
            bytes[MIN(size, MOST)] = '\0';
        }
        more = zmq->msg_more(&part);
        zmq->msg_close(&part);
    }
    return TRUE;
}

static gboolean
part_is(const Request *request, guint i, const char *text)
{
    return request->n > i && request->sizes[i] == strlen(text) &&
           memcmp(request->bytes[i], text, request->sizes[i]) == 0;
}

/* Whether part i is a domain's name; a zero byte in it would make it another's. */
static gboolean
is_text(const Request *request, guint i)
{
    return request->n > i && request->sizes[i] <= MOST &&
           strlen((const char *)request->bytes[i]) == request->sizes[i];
}

static gboolean
has_key(const Domain *domain, const guint8 *key)
{
    for (guint at = 0; at < domain->keys->len; at += KEY_BYTES)
        if (memcmp(domain->keys->data + at, key, KEY_BYTES) == 0)
            return TRUE;
    return FALSE;
}

/* Decides, and counts those who are refused. */
static gboolean
is_let_in(TnDoor *door, const Request *request)
{
    pthread_mutex_lock(&door->lock);
    Domain *domain = is_text(request, DOMAIN)
                         ? g_hash_table_lookup(door->domains, request->bytes[DOMAIN])
                         : NULL;
    const gboolean yes = request->n == N_PARTS && part_is(request, VERSION, "1.0") &&
                         part_is(request, MECHANISM, "CURVE") && request->sizes[KEY] == KEY_BYTES &&
                         domain && has_key(domain, request->bytes[KEY]);
    door->refused += !yes;
    if (domain)
        domain->refused += !yes;
    pthread_mutex_unlock(&door->lock);
    return yes;
}

/* Answers whoever can take an answer. */
static void
answer(TnDoor *door, const Request *request, gboolean yes)
{
    if (!part_is(request, DELIMITER, "") || request->sizes[PEER] > MOST)
        return;
    const gsize id = request->n > ID ? MIN(request->sizes[ID], MOST) : 0;
    const struct {
        const void *bytes;
        gsize size;
    } parts[] = {
        { request->bytes[PEER], request->sizes[PEER] },
        { "", 0 },
        { "1.0", 3 },
        { request->bytes[ID], id },
        { yes ? "200" : "400", 3 },
        { "", 0 }, /* text */
        { "", 0 }, /* user id */
        { "", 0 }, /* metadata */
    };
    for (guint i = 0; i < G_N_ELEMENTS(parts); i++)
        if (door->zmq->send(door->requests, parts[i].bytes, parts[i].size,
                            ZMQ_DONTWAIT | (i + 1 < G_N_ELEMENTS(parts) ? ZMQ_SNDMORE : 0)) < 0)
            return; /* who asked is gone, or the context ends, which the next wait tells */
}

/* Until somebody writes to control or the context ends. */
static gpointer
serve(gpointer data)
{
    TnDoor *door = data;
    const TnZmq *zmq = door->zmq;
    Request request;
    for (;;) {
        zmq_pollitem_t items[] = { { .socket = door->inside, .events = ZMQ_POLLIN },
                                   { .socket = door->requests, .events = ZMQ_POLLIN } };
        const int n = zmq->poll(items, G_N_ELEMENTS(items), -1);
        if (n < 0 && zmq->errno_() != EINTR)
            break;
        if (n <= 0)
            continue;
        if (items[0].revents)
            break;
        if (receive(door, &request))
            answer(door, &request, is_let_in(door, &request));
        else if (zmq->errno_() == ETERM)
            break;
    }
    /* Closing takes its time; the names are free at once, so that there may be another door. */
    zmq->unbind(door->requests, ENDPOINT);
    zmq->unbind(door->inside, CONTROL);
    zmq->close(door->requests);
    zmq->close(door->inside);
    return NULL;
}

/* --- The door ----------------------------------------------------------------------------------- */

static void
domain_free(gpointer data)
{
    Domain *domain = data;
    g_byte_array_unref(domain->keys);
    g_free(domain);
}

static void *
open_socket(const TnZmq *zmq, void *context, int type)
{
    void *socket = zmq->socket(context, type);
    if (socket)
        zmq->setsockopt(socket, ZMQ_LINGER, &(int){ 0 }, sizeof(int));
    return socket;
}

/* Makes the three sockets. They are bound before a thread has them, so that nobody finds the door
 * missing. */
static gboolean
open_sockets(TnDoor *door, void *context, GError **error)
{
    const TnZmq *zmq = door->zmq;
    door->requests = open_socket(zmq, context, ZMQ_ROUTER);
    door->inside = open_socket(zmq, context, ZMQ_PAIR);
    door->control = open_socket(zmq, context, ZMQ_PAIR);
    if (door->requests && door->inside && door->control &&
        zmq->bind(door->requests, ENDPOINT) == 0 && zmq->bind(door->inside, CONTROL) == 0 &&
        zmq->connect(door->control, CONTROL) == 0)
        return TRUE;
    const int code = zmq->errno_();
    g_set_error(error, TN_ERROR, code == EADDRINUSE ? TN_ERROR_BUSY : TN_ERROR_IO,
                "keys of wires cannot be checked: %s: %s", ENDPOINT, zmq->strerror(code));
    return FALSE;
}

static void
close_socket(const TnZmq *zmq, void *socket)
{
    if (socket)
        zmq->close(socket);
}

TnDoor *
tn_door_new(void *context, GError **error)
{
    const TnZmq *zmq = tn_zmq(error);
    if (!zmq)
        return NULL;
    TnDoor *door = g_new0(TnDoor, 1);
    door->zmq = zmq;
    door->domains = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, domain_free);
    pthread_mutex_init(&door->lock, NULL);
    if (open_sockets(door, context, error))
        door->thread = tn_thread_spawn("door", serve, door, error);
    if (door->thread)
        return door;
    close_socket(zmq, door->requests);
    close_socket(zmq, door->inside);
    tn_door_free(door);
    return NULL;
}

void
tn_door_free(TnDoor *door)
{
    if (!door)
        return;
    if (door->thread) {
        /* It fails when the context was shut down, and then the thread ends by that. */
        door->zmq->send(door->control, "", 0, ZMQ_DONTWAIT);
        tn_thread_join(door->thread);
    }
    close_socket(door->zmq, door->control);
    g_hash_table_unref(door->domains);
    pthread_mutex_destroy(&door->lock);
    g_free(door);
}

/* The domain's entry, made if it is missing; under lock. */
static Domain *
find_domain(TnDoor *door, const char *name)
{
    Domain *domain = g_hash_table_lookup(door->domains, name);
    if (domain)
        return domain;
    domain = g_new0(Domain, 1);
    domain->keys = g_byte_array_new();
    g_hash_table_insert(door->domains, g_strdup(name), domain);
    return domain;
}

void
tn_door_let_in(TnDoor *door, const char *domain, const char *public_key)
{
    guint8 key[KEY_BYTES];
    g_return_if_fail(tn_key_bytes(public_key, key));
    pthread_mutex_lock(&door->lock);
    Domain *found = find_domain(door, domain);
    if (!has_key(found, key))
        g_byte_array_append(found->keys, key, sizeof key);
    pthread_mutex_unlock(&door->lock);
}

void
tn_door_close_domain(TnDoor *door, const char *domain)
{
    pthread_mutex_lock(&door->lock);
    Domain *found = g_hash_table_lookup(door->domains, domain);
    if (found)
        g_byte_array_set_size(found->keys, 0);
    pthread_mutex_unlock(&door->lock);
}

guint64
tn_door_refused(TnDoor *door, const char *domain)
{
    pthread_mutex_lock(&door->lock);
    const Domain *found = domain ? g_hash_table_lookup(door->domains, domain) : NULL;
    const guint64 refused = !domain ? door->refused : found ? found->refused : 0;
    pthread_mutex_unlock(&door->lock);
    return refused;
}

void
tn_door_count(TnDoor *door, const char *domain)
{
    pthread_mutex_lock(&door->lock);
    Domain *found = g_hash_table_lookup(door->domains, domain);
    door->refused++;
    if (found)
        found->refused++;
    pthread_mutex_unlock(&door->lock);
}
