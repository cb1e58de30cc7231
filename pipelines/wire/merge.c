/* merge.c: what many members send, one after another: each is asked for a few items ahead, so a member
 * that is too fast waits for asks. */
#include "wire/wire-private.h"

/* --- The one that merges ---------------------------------------------------------------------------- */

struct TnWireMerge {
    TnWire *wire;
    guint each;
};

TnWireMerge *
tn_wire_merge_new(TnWire *wire, guint each)
{
    TnWireMerge *merge = g_new0(TnWireMerge, 1);
    merge->wire = wire;
    merge->each = MAX(each, 1);
    return merge;
}

void
tn_wire_merge_free(TnWireMerge *merge)
{
    g_free(merge);
}

static gboolean
ask(TnWireMerge *merge, guint peer)
{
    guint64 number;
    return tn_wire_ask(merge->wire, peer, 0, 0, NULL, (TnWireHold){ NULL, NULL }, &number) == TN_OK;
}

gboolean
tn_wire_merge_take(TnWireMerge *merge, TnWireEvent *event)
{
    if (event->kind == TN_WIRE_JOINED)
        for (guint i = 0; i < merge->each && ask(merge, event->peer); i++)
            continue;
    if (event->kind != TN_WIRE_ANSWERED)
        return FALSE;
    ask(merge, event->peer); /* its place is free: whoever took the event holds the item */
    return TRUE;
}

/* --- A member ---------------------------------------------------------------------------------------- */

struct TnWireSender {
    TnWire *wire;
    GArray *asks; /* of guint64: numbers, the oldest first */
    guint peer;
};

TnWireSender *
tn_wire_sender_new(TnWire *wire)
{
    TnWireSender *sender = g_new0(TnWireSender, 1);
    sender->wire = wire;
    sender->asks = g_array_new(FALSE, FALSE, sizeof(guint64));
    return sender;
}

void
tn_wire_sender_free(TnWireSender *sender)
{
    if (!sender)
        return;
    g_array_unref(sender->asks);
    g_free(sender);
}

gboolean
tn_wire_sender_take(TnWireSender *sender, TnWireEvent *event)
{
    if (event->kind == TN_WIRE_LEFT)
        g_array_set_size(sender->asks, 0);
    if (event->kind != TN_WIRE_ASKED)
        return FALSE;
    sender->peer = event->peer;
    g_array_append_val(sender->asks, event->number);
    tn_wire_event_clear(event);
    return TRUE;
}

TnStatus
tn_wire_sender_send(TnWireSender *sender, guint n, TnTensor *const *tensors, TnWireHold hold)
{
    if (sender->asks->len == 0) {
        if (hold.func)
            hold.func(hold.data);
        return TN_AGAIN;
    }
    const guint64 number = g_array_index(sender->asks, guint64, 0);
    g_array_remove_index(sender->asks, 0);
    return tn_wire_answer(sender->wire, sender->peer, number, 0, n, tensors, hold);
}
