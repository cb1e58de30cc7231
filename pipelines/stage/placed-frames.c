/* placed-frames.c: frames of a stage in other processes.
 *
 * The consumer asks for frames by number, a few ahead of its need, each of whichever process has least
 * to do, and takes them in order. So order, back-pressure and loss are one thing: what a lost process
 * was asked for is asked of another. A frame is a pure function of its number, so nothing else of it
 * matters, and a restarted process is told nothing but the next number.
 *
 * Frames of an asynchronous stage have no numbers of their own: each process is asked for its next one,
 * and they are taken in the order in which they come. */
#include "stage/placed-private.h"

typedef enum { OPEN, ASKED, READY } SlotState;

typedef struct {
    SlotState state;
    guint64
        topic; /* what is asked for: the frame's number; of an asynchronous stage just the ask's */
    guint64 came; /* the how manieth answer it was */
    TnMade made;
} Slot;

typedef struct {
    gboolean async;
    guint64 answers;
    guint n_slots;
    Slot slots[]; /* what is asked for as topic is in slot topic % n_slots */
} Frames;

static void
begin(TnPlaced *placed)
{
    Frames *frames = g_malloc0(sizeof *frames + placed->most * sizeof frames->slots[0]);
    frames->async = placed->flags & TN_STAGE_ASYNC;
    frames->n_slots = placed->most;
    for (guint i = 0; i < frames->n_slots; i++)
        frames->slots[i].topic = i;
    placed->state = frames;
    placed->pool = tn_wire_pool_new(placed->wire, frames->n_slots);
}

static void
end(TnPlaced *placed)
{
    Frames *frames = placed->state;
    for (guint i = 0; i < frames->n_slots; i++)
        tn_made_drop(&frames->slots[i].made);
    g_free(frames);
}

/* An answer to what was asked by the frame's number. */
static gboolean
take(TnPlaced *placed, TnWireEvent *event)
{
    Frames *frames = placed->state;
    if (!tn_wire_pool_take(placed->pool, event))
        return FALSE;
    Slot *slot = &frames->slots[event->topic % frames->n_slots];
    slot->state = READY;
    slot->came = ++frames->answers;
    atomic_fetch_add(&placed->ready, 1);
    slot->made = tn_placed_made(placed, event, event->topic);
    return TRUE;
}

static gint
ask(TnPlaced *placed)
{
    Frames *frames = placed->state;
    for (guint i = 0; i < frames->n_slots; i++) {
        const guint64 seq = placed->next + i;
        Slot *slot = &frames->slots[seq % frames->n_slots];
        if (slot->state != OPEN)
            continue;
        slot->state = ASKED;
        slot->topic = frames->async ? slot->topic + frames->n_slots : seq;
        tn_wire_pool_ask(placed->pool, slot->topic, 0, NULL, 0);
    }
    return G_MAXINT;
}

/* The slot whose frame is next, if it is there. */
static Slot *
next_slot(const TnPlaced *placed)
{
    Frames *frames = placed->state;
    Slot *first = frames->async ? NULL : &frames->slots[placed->next % frames->n_slots];
    for (guint i = 0; frames->async && i < frames->n_slots; i++) {
        Slot *slot = &frames->slots[i];
        if (slot->state == READY && (!first || slot->came < first->came))
            first = slot;
    }
    return first && first->state == READY ? first : NULL;
}

static gboolean
next(TnPlaced *placed, TnMade *made)
{
    Slot *slot = next_slot(placed);
    if (!slot)
        return FALSE;
    *made = slot->made;
    if (made->status != TN_OK) { /* an end or failure stays for the next pull, but is told once */
        slot->made.error = NULL;
        return TRUE;
    }
    tn_frame_set_seq(made->frame, placed->next);
    *slot = (Slot){ .state = OPEN, .topic = slot->topic };
    placed->next++;
    atomic_fetch_sub(&placed->ready, 1);
    tn_placed_took(placed);
    ask(placed);
    return TRUE;
}

static void
seek(TnPlaced *placed)
{
    Frames *frames = placed->state;
    if (frames->async) /* nothing of it can be had again */
        return;
    for (guint i = 0; i < frames->n_slots; i++) {
        tn_made_drop(&frames->slots[i].made);
        frames->slots[i] = (Slot){ .state = OPEN };
    }
    atomic_store(&placed->ready, 0);
    tn_wire_pool_forget(placed->pool);
}

const TnPlacedWay tn_placed_frames_way = {
    .begin = begin, .end = end, .take = take, .ask = ask, .next = next, .seek = seek
};
