/* placed-private.h: a stage in other processes, as the files of it share it. */
#pragma once

#include <tenon/wire.h>

#include "stage/placed.h"

/* What processes are asked for, and how that becomes frames. All on the consumer's thread. */
typedef struct {
    void (*begin)(TnPlaced *placed); /* what the stage gives is known: makes state */
    void (*end)(TnPlaced *placed);   /* frees it */
    /* TRUE: the event was an answer. FALSE: it is somebody else's too. */
    gboolean (*take)(TnPlaced *placed, TnWireEvent *event);
    /* Asks for whatever may be under way and is not. Milliseconds until it wants to look again. */
    gint (*ask)(TnPlaced *placed);
    void (*look)(TnPlaced *placed); /* all that had come was taken; NULL */
    /* What the consumer gets now, frame or end; FALSE: it has to wait. */
    gboolean (*next)(TnPlaced *placed, TnMade *made);
    void (*seek)(TnPlaced *placed); /* what is under way is of no use, but for placed->next */
} TnPlacedWay;
extern const TnPlacedWay tn_placed_frames_way, tn_placed_requests_way, tn_placed_latest_way;

/* Somebody who has joined. */
typedef struct {
    guint id;
    gint64 pid; /* as it says */
    char *where;
} TnPlacedWorker;

struct TnPlaced {
    char *name;
    guint32 flags; /* TnStageFlags */
    const TnPlacedWay *way;
    gpointer state; /* the way's */
    const TnStageCommon *common;
    const TnPlacing *placing;
    TnContext *context;
    TnWire *wire;
    TnWirePool *pool; /* of who has joined; NULL: the way asks them itself */
    TnSchema schema, requests;
    TnValue *about; /* what the first process said of itself */
    gboolean known; /* about and schema are there */
    guint most;     /* frames that may be under way or wait */
    guint64 next;   /* as tn_port_seq */
    GArray *workers;
    guint n_seats; /* processes of ours */
    struct TnSeat *seats;
    guint ends, losses; /* of them, and of connections, since the last frame */
    atomic_bool stopped;
    /* for those who watch, on any thread */
    pthread_mutex_t watched; /* held while workers change */
    atomic_ullong frames, waited_us, restarts;
    atomic_uint ready;
    gint64 lost_at; /* monotonic ms: somebody left and was not replaced; 0: nobody */
    char *lost_how;
    GError *error; /* told once */
    gboolean failed;
};

/* The stage cannot go on. FALSE. */
gboolean tn_placed_fail(TnPlaced *placed, TnErrorCode code, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
/* The consumer has got a frame. */
void tn_placed_took(TnPlaced *placed);
/* What an answer is: frame seq, or a failure. The event's tensors become the frame's. */
TnMade tn_placed_made(const TnPlaced *placed, TnWireEvent *event, guint64 seq);

/* Milliseconds of the monotonic clock. */
static inline gint64
tn_now_ms(void)
{
    return g_get_monotonic_time() / 1000;
}
/* How long somebody may take to join. */
static inline gint64
tn_placed_timeout_ms(const TnPlaced *placed)
{
    return (gint64)(placed->common->timeout * 1000);
}

/* placed-processes.c. Starts the processes that an ipc place has; of another there are none. */
gboolean tn_placed_start(TnPlaced *placed, GError **error);
/* Looks whether any has ended, or stopped answering, and begins it anew where that was asked for. FALSE:
 * the stage cannot go on. */
gboolean tn_placed_look(TnPlaced *placed);
void tn_placed_seat_joined(TnPlaced *placed, gint64 pid); /* if it is one of ours */
void tn_placed_end(TnPlaced *placed);                     /* waits a moment for each, then kills */

/* placed-workers.c: TN_WIRE_JOINED, TN_WIRE_LEFT. */
void tn_placed_joined(TnPlaced *placed, const TnWireEvent *event);
void tn_placed_left(TnPlaced *placed, const TnWireEvent *event);
