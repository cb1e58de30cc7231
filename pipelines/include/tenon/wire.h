/* wire.h: wires between processes and hosts: one end serves, any number of others join it, and either
 * side asks the other for what it wants.
 *
 * All data is the answer to an ask, so what may be under way is what was asked for: back-pressure,
 * order, loss and what is nobody's business are one mechanism. Who asks ahead of its need never
 * waits; who asks for numbers gets an order; who asks for "newer than v" gets the latest only; who
 * asks whoever is free has a pool of repliers; who asks every member that comes has a merge of
 * members that come and go. TnWirePool, TnWirePublisher and TnWireMerge, below, are these.
 *
 * Ends find each other by a hello, in which the server's map must equal the member's, item by item;
 * else the member is refused and both sides say both maps. A wire carries a session's number in each
 * message: what comes from an earlier connection, from a stranger or unasked is dropped and counted.
 * Peers that are silent, although ZeroMQ's heartbeats ask them, have left.
 *
 * Large tensors lie in shared memory between processes of one host (ipc), are sent from where they
 * lie over tcp, and are received where a program can bind them.
 *
 * Thread: a wire belongs to one thread at a time. */
#pragma once

#include <tenon/context.h>
#include <tenon/tensor.h>
#include <tenon/value.h>

G_BEGIN_DECLS

typedef struct TnWire TnWire;

typedef struct {
    const char *address; /* ipc, ipc://NAME, tcp://HOST:PORT; who joins may also give what
                            tn_wire_url said */
    gboolean serve;
    const char *key;      /* name of a CURVE key: tcp needs one or `insecure` */
    gboolean insecure;    /* tcp without encryption; said in the log */
    const TnValue *hello; /* map: what both ends must agree upon */
    const TnValue *about; /* map: what this end says of itself beside; NULL: nothing */
    gsize most_bytes;     /* of a message that is taken; 0: 1 GiB */
    gsize most_shared;    /* bytes of shared memory for what is sent; 0: 1 GiB */
    TnContext *context;   /* whose cancel flag ends waits; NULL: none */
} TnWireOptions;

/* (transfer full). TN_ERROR_CONFIG, TN_ERROR_BUSY (address in use), TN_ERROR_UNSUPPORTED (ZeroMQ is
 * not there), TN_ERROR_NOT_FOUND (key). Who joins is not connected yet when it returns. */
TN_API TnWire *tn_wire_new(const TnWireOptions *options, GError **error);
/* Says goodbye to those who are there. */
TN_API void tn_wire_free(TnWire *wire);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnWire, tn_wire_free)
/* Where a server is, with the name or port that was found for it; give it to those who join.
 * (transfer none). */
TN_API const char *tn_wire_url(const TnWire *wire);

#define TN_WIRE_GOODBYE "it said goodbye"

typedef enum {
    TN_WIRE_JOINED = 1, /* hello: the peer's map with `about`; of who joins: it was let in */
    TN_WIRE_LEFT,       /* text: why, for people; TN_WIRE_GOODBYE if it meant to */
    TN_WIRE_ASKED,      /* number, topic, tensors */
    TN_WIRE_ANSWERED,   /* number, tensors */
    TN_WIRE_FAILED,     /* number, status, text */
    TN_WIRE_FORGOTTEN,  /* asks up to number are void */
} TnWireEventKind;

typedef struct {
    TnWireEventKind kind;
    guint peer;     /* a number never used again; of who joins: 0 is the server */
    guint64 number; /* of the ask */
    guint64 topic;  /* what is asked for, or what the answer says that it is */
    TnStatus status;
    TnValue *hello;
    char *text;
    guint n;
    TnTensor *tensors[16];
} TnWireEvent;
TN_API void tn_wire_event_clear(TnWireEvent *event);

/* The next event: TN_OK; TN_AGAIN if there was none for so many milliseconds (0: none is there now;
 * -1: waits on); TN_CANCELLED; TN_FAILED (tn_wire_error): who joins was refused, or cannot go on. */
TN_API TnStatus tn_wire_next(TnWire *wire, gint milliseconds, TnWireEvent *event);
TN_API const GError *tn_wire_error(const TnWire *wire);

/* Keeps what is sent in place until it has been: called once, whatever the status, on another thread
 * or before the call returns. func NULL: the tensors' own references do. */
typedef struct {
    GDestroyNotify func;
    gpointer data;
} TnWireHold;

/* Asks a peer; *number is the ask's. TN_FAILED: the peer is not there any more; TN_WIRE_LEFT has
 * come or will. */
TN_API TnStatus tn_wire_ask(TnWire *wire, guint peer, guint64 topic, guint n,
                            TnTensor *const *tensors, TnWireHold hold, guint64 *number);
/* topic: what the answer is, such as a version; event.topic over there. */
TN_API TnStatus tn_wire_answer(TnWire *wire, guint peer, guint64 number, guint64 topic, guint n,
                               TnTensor *const *tensors, TnWireHold hold);
TN_API TnStatus tn_wire_fail(TnWire *wire, guint peer, guint64 number, TnStatus status,
                             const char *text);
/* No answer to what was asked so far is wanted. */
TN_API TnStatus tn_wire_forget(TnWire *wire, guint peer);
/* A peer that cannot be used: it is told why and has left. */
TN_API void tn_wire_refuse(TnWire *wire, guint peer, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* --- Patterns: each looks at the events of a wire and sends what follows ------------------------ */
/* All: give every event of tn_wire_next to …_take, which says whether it was for the pattern and then
 * has cleared or changed it as is said there. One wire may have several. */

/* Requests to whichever replier has least to do. What a replier that leaves had to do is asked of
 * another; a request that gets no answer in time fails. Results come as they are ready: who numbers
 * its requests and keeps results until their turn has an ordered merge (stages do). */
typedef struct TnWirePool TnWirePool;
/* each: requests under way at one replier; others wait here. */
TN_API TnWirePool *tn_wire_pool_new(TnWire *wire, guint each);
TN_API void tn_wire_pool_free(TnWirePool *pool);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnWirePool, tn_wire_pool_free)
/* Repliers: peers that have joined. Peers that leave are taken out by …_take. */
TN_API void tn_wire_pool_add(TnWirePool *pool, guint peer);
TN_API guint tn_wire_pool_repliers(const TnWirePool *pool);
TN_API guint tn_wire_pool_waiting(const TnWirePool *pool); /* requests without an answer */
/* Keeps references to tensors until the answer is there. milliseconds: 0: as long as it takes. */
TN_API void tn_wire_pool_ask(TnWirePool *pool, guint64 topic, guint n, TnTensor *const *tensors,
                             guint milliseconds);
/* No answers to anything asked so far. */
TN_API void tn_wire_pool_forget(TnWirePool *pool);
/* TRUE: *event is an answer or failure, its topic the request's. FALSE: it is something else, or was an
 * answer that nobody waits for (n, text and hello are then empty). */
TN_API gboolean tn_wire_pool_take(TnWirePool *pool, TnWireEvent *event);
/* Sends what can be sent. TRUE: *event is the failure (status TN_AGAIN) of a request whose time is
 * over; call again. */
TN_API gboolean tn_wire_pool_look(TnWirePool *pool, TnWireEvent *event);

/* The newest version of something, such as weights, for any number of subscribers; they never get an
 * older one than they have, and of those they were too slow for none. */
typedef struct TnWirePublisher TnWirePublisher;
TN_API TnWirePublisher *tn_wire_publisher_new(TnWire *wire);
TN_API void tn_wire_publisher_free(TnWirePublisher *publisher);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnWirePublisher, tn_wire_publisher_free)
/* version: larger than the last, from 1. Keeps references until the next one. */
TN_API void tn_wire_publish(TnWirePublisher *publisher, guint64 version, guint n,
                            TnTensor *const *tensors);
/* TRUE: *event was a subscriber's, and is cleared. */
TN_API gboolean tn_wire_publisher_take(TnWirePublisher *publisher, TnWireEvent *event);
/* A subscriber: asks for what is newer than it has; the answer's topic is its version. Once at a time;
 * again after the answer. */
TN_API TnStatus tn_wire_subscribe(TnWire *wire, guint peer, guint64 have, guint64 *number);

/* What many members send, in the order in which it comes; members join and leave. */
typedef struct TnWireMerge TnWireMerge;
/* each: items that one member may have sent and nobody has taken: then it waits. */
TN_API TnWireMerge *tn_wire_merge_new(TnWire *wire, guint each);
TN_API void tn_wire_merge_free(TnWireMerge *merge);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnWireMerge, tn_wire_merge_free)
/* TRUE: *event is an item (TN_WIRE_ANSWERED) of event.peer. */
TN_API gboolean tn_wire_merge_take(TnWireMerge *merge, TnWireEvent *event);
/* A member: asks that it has not answered yet. */
typedef struct TnWireSender TnWireSender;
TN_API TnWireSender *tn_wire_sender_new(TnWire *wire);
TN_API void tn_wire_sender_free(TnWireSender *sender);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnWireSender, tn_wire_sender_free)
TN_API gboolean tn_wire_sender_take(TnWireSender *sender, TnWireEvent *event);
/* TN_AGAIN: the one that merges wants no more at present. */
TN_API TnStatus tn_wire_sender_send(TnWireSender *sender, guint n, TnTensor *const *tensors,
                                    TnWireHold hold);

/* What a wire has done so far. Thread: any; figures may be of slightly different moments. */
typedef struct {
    guint64 messages_in, messages_out, bytes_in,
        bytes_out;        /* tensors' bytes, however they travelled */
    guint64 bytes_shared; /* of them through shared memory */
    guint64 waits;        /* calls of tn_wire_next that had to wait longer than some microseconds */
    double seconds_waited;
    guint64 refused; /* hellos, and connections with a wrong key or none */
    guint64 dropped; /* malformed, of another session, unasked */
    guint64 joined, left;
} TnWireStats;
TN_API void tn_wire_stats(const TnWire *wire, TnWireStats *stats);

G_END_DECLS
