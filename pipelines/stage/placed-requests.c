/* placed-requests.c: requests to a stage in other processes: a pool of repliers, of which whichever has
 * least to do is asked, and the asks' own numbers by which answers find their turn. */
#include "stage/asks.h"
#include "stage/placed-private.h"

static void
begin(TnPlaced *placed)
{
    TnAsks *asks = g_new0(TnAsks, 1);
    tn_asks_init(asks, placed->name, !(placed->flags & TN_STAGE_ASYNC));
    placed->state = asks;
    /* What waits here goes to whoever is free first; what waits over there is bound to one. */
    placed->pool = tn_wire_pool_new(placed->wire,
                                    MAX(placed->most / (guint)MAX(placed->common->workers, 1), 1));
}

static void
end(TnPlaced *placed)
{
    tn_asks_clear(placed->state);
    g_free(placed->state);
}

static void
count_waiting(TnPlaced *placed)
{
    const TnAsks *asks = placed->state;
    atomic_store(&placed->ready, g_hash_table_size(asks->table));
}

static gboolean
take(TnPlaced *placed, TnWireEvent *event)
{
    if (!tn_wire_pool_take(placed->pool, event))
        return FALSE;
    tn_asks_end(placed->state, event->topic, tn_placed_made(placed, event, event->topic));
    return TRUE;
}

static void
look(TnPlaced *placed)
{
    TnWireEvent event;
    while (tn_wire_pool_look(placed->pool, &event)) {
        tn_asks_end_late(placed->state, event.topic);
        tn_wire_event_clear(&event);
    }
}

static gint
ask(TnPlaced *placed)
{
    const gint64 soonest = tn_asks_soonest(placed->state);
    const gint64 left = soonest < G_MAXINT64 ? soonest - g_get_monotonic_time() : G_MAXINT64;
    return (gint)CLAMP(left / 1000 + 1, 0, G_MAXINT);
}

static gboolean
next(TnPlaced *placed, TnMade *made)
{
    if (!tn_asks_take(placed->state, made))
        return FALSE;
    count_waiting(placed);
    if (made->status == TN_OK)
        tn_placed_took(placed);
    return TRUE;
}

static void
seek(TnPlaced *placed)
{
    tn_wire_pool_forget(placed->pool);
    tn_asks_forget(placed->state, placed->next);
    count_waiting(placed);
}

guint64
tn_placed_ask(TnPlaced *placed, TnFrame *request, guint milliseconds)
{
    TnTensor *tensors[TN_MAX_FIELDS];
    const guint n = tn_frame_n(request);
    for (guint i = 0; i < n; i++)
        tensors[i] = tn_frame_tensor(request, i);
    /* The frame is kept until the answer is there: its memory must not be used again meanwhile. */
    const TnAsk *ask = tn_asks_add(placed->state, request, milliseconds);
    tn_wire_pool_ask(placed->pool, ask->number, n, tensors, milliseconds);
    placed->next = ask->number + 1;
    count_waiting(placed);
    return ask->number;
}

const TnPlacedWay tn_placed_requests_way = {
    .begin = begin, .end = end, .take = take, .ask = ask, .look = look, .next = next, .seek = seek
};
