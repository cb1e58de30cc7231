/* wire-private.h: what the files of a wire share: the process's ZeroMQ context, a wire, its peers. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include <tenon/base.h>
#include <tenon/wire.h>

#include "wire/block.h"
#include "wire/key.h"
#include "wire/message.h"
#include "wire/zmq.h"

/* What a wire has done, in figures that any thread may read. */
typedef struct {
    atomic_ullong messages_in, messages_out, bytes_in, bytes_out, bytes_shared;
    atomic_ullong waits, waited_ns, refused, dropped, joined, left;
} TnWireCounts;

/* --- hub.c: one ZeroMQ context for all wires of the process -------------------------------------- */
typedef struct {
    void *context;
    TnDoor *door;
} TnHub;
/* (transfer full): tn_hub_unref. Thread: any. */
TnHub *tn_hub_ref(GError **error);
void tn_hub_unref(TnHub *hub);

/* --- parts.c: a message as it comes and goes ----------------------------------------------------- */
/* Parts of one message; those below n are open. */
typedef struct {
    guint n;
    zmq_msg_t parts[1 + TN_WIRE_MOST_TENSORS];
} TnParts;
void tn_parts_clear(const TnZmq *zmq, TnParts *parts);
/* Receives all parts; of a router's socket the first says who sent it: route gets it (255 bytes), else
 * route is NULL. 0, or ZeroMQ's errno: EAGAIN; EMSGSIZE: more parts than a message has (it is gone). */
int tn_parts_receive(const TnZmq *zmq, void *socket, gboolean wait, guint8 *route,
                     gsize *route_size, TnParts *parts);
/* Sends and empties them. 0 or errno. */
int tn_parts_send(const TnZmq *zmq, void *socket, const guint8 *route, gsize route_size,
                  TnParts *parts);

/* --- tensors.c: tensors into messages and out ---------------------------------------------------- */
typedef struct TnPeer TnPeer;
/* All parts of message, whose head and text are set: large tensors go into a block if the peer shares
 * memory, else into parts of their own that are sent from where they lie. Takes hold in any case.
 * announce: a block that the peer has not heard of yet; key 0: none. */
gboolean tn_tensors_pack(const TnZmq *zmq, TnPeer *peer, TnMessage *message, guint n,
                         TnTensor *const *tensors, TnWireHold hold, TnParts *parts,
                         TnBlockName *announce, GError **error);
/* Tensors of a message that was read from parts; takes out of parts what they lie in. (transfer
 * full). */
gboolean tn_tensors_unpack(const TnZmq *zmq, TnPeer *peer, const TnMessage *message, TnParts *parts,
                           TnTensor **tensors, GError **error);
/* The peer has announced a block of its own. FALSE: that was not agreed upon. */
gboolean tn_tensors_announced(TnPeer *peer, const TnBlockName *name);
/* What a message that is dropped has of shared memory is free again. */
void tn_tensors_drop(TnPeer *peer, const TnMessage *message);
void tn_tensors_open(TnPeer *peer, gboolean shares, gsize most_shared);
void tn_tensors_close(TnPeer *peer);
/* Keys of blocks that nobody reads any more, as a tensor; NULL: there are none. (transfer full). */
TnTensor *tn_tensors_released(TnPeer *peer);

/* --- A wire and its peers --------------------------------------------------------------------------- */
typedef struct TnReleases TnReleases;

struct TnPeer {
    guint id;
    guint8 route[255];
    gsize route_size; /* 0: the server, of who joins */
    guint64 session;
    GHashTable *asked; /* numbers of asks that have no answer yet, as pointers */
    guint64 last_ask;  /* number of the last ask that came from it */
    char *lost; /* why it cannot be reached; it has left once all that it said is read. NULL */
    /* tensors.c */
    TnBlocks *blocks;      /* NULL: it shares no memory */
    GHashTable *announced; /* keys of blocks that it knows */
    GHashTable *blocks_in; /* key -> TnBlockName: blocks of its own that it has announced */
    TnBlockMaps *maps;
    TnReleases *releases;
    TnWireCounts *counts;
};

struct TnWire {
    struct TnEnd *end;
    const TnZmq *zmq;
    TnContext *context;
    TnValue *hello, *about;
    gboolean serve;
    gsize most_shared;
    GPtrArray *peers; /* of TnPeer */
    guint next_peer;
    guint64 next_ask;
    GQueue events;   /* of TnWireEvent: what is known and not told yet */
    gint64 looked;   /* when it last did what is no message, monotonic ms */
    gint64 beaten;   /* when it last sent beats */
    gboolean losing; /* a peer is lost and has not left */
    GError *error;
    gboolean parting; /* it has said goodbye itself */
    TnWireCounts counts;
    char *key;            /* what this end has, in words */
    guint64 refused_told; /* connections that were refused and told */
    gint64 tell_at;       /* no further ones before that time */
    /* hello.c */
    char *host;
    GHashTable *routes_refused; /* of a server: GBytes of those who were told why */
    TnBlocks *probe;            /* of who joins: a block that the server tries to open; NULL */
    gboolean hello_due;
};

/* --- peer.c ------------------------------------------------------------------------------------------ */
/* By number, by route; (transfer none), NULL: it has left, or never came. */
TnPeer *tn_wire_peer(const TnWire *wire, guint id);
TnPeer *tn_wire_peer_at(const TnWire *wire, const guint8 *route, gsize size);
/* (transfer none). A peer that shares memory gets blocks and maps. */
TnPeer *tn_wire_add_peer(TnWire *wire, const guint8 *route, gsize size, guint64 session,
                         gboolean shares);
void tn_peer_free(gpointer peer);
void tn_wire_event_free(gpointer event);
void tn_wire_push(TnWire *wire, TnWireEvent event);
/* The peer is gone: told once. text (transfer full): why. */
void tn_wire_lose(TnWire *wire, TnPeer *peer, char *text);

/* --- send.c ------------------------------------------------------------------------------------------ */
/* A message without tensors to a route. 0 or errno. */
int tn_wire_send_to(TnWire *wire, const guint8 *route, gsize size, TnMessage *message);
/* The same to a peer, in its session. Who cannot be reached is lost, TN_FAILED. */
TnStatus tn_wire_send(TnWire *wire, TnPeer *peer, TnMessage *message);
/* With tensors; hold is called in any case. */
TnStatus tn_wire_send_tensors(TnWire *wire, TnPeer *peer, TnMessage *message, guint n,
                              TnTensor *const *tensors, TnWireHold hold);
/* The peer is told why it cannot be used, and has left. Who joins has no other peer, so that is its
 * end; the server knows it by its session. */
void tn_wire_refuse_peer(TnWire *wire, TnPeer *peer, const char *text);

/* --- receive.c --------------------------------------------------------------------------------------- */
/* What comes within so many milliseconds. 0: there may be more; EAGAIN: there is nothing. */
int tn_wire_receive(TnWire *wire, gint wait_ms);

/* --- hello.c: who is let in ------------------------------------------------------------------------- */
/* This machine and what of it can share memory. (transfer full). */
char *tn_hello_host(void);
/* Of who joins: the connection is there. FALSE: it could not be said yet. */
gboolean tn_hello_say(TnWire *wire);
/* Of a server: somebody said hello. */
void tn_hello_take(TnWire *wire, const guint8 *route, gsize size, const TnMessage *message);
/* Of who joins: it was let in. */
void tn_hello_welcome(TnWire *wire, const TnMessage *message);
/* Of a server: tells a route why, and the log; once, whatever else comes from there. FALSE: it was told. */
gboolean tn_hello_refuse(TnWire *wire, const guint8 *route, gsize size, const char *text);

static inline void
tn_count(atomic_ullong *count, guint64 n)
{
    atomic_fetch_add_explicit(count, n, memory_order_relaxed);
}
