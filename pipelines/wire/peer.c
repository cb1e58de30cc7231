/* peer.c: who is at the other side of a wire, and what of them is known and not told yet. */
#include "wire/wire-private.h"

#include <string.h>

TnPeer *
tn_wire_peer(const TnWire *wire, guint id)
{
    for (guint i = 0; i < wire->peers->len; i++) {
        TnPeer *peer = wire->peers->pdata[i];
        if (peer->id == id)
            return peer;
    }
    return NULL;
}

TnPeer *
tn_wire_peer_at(const TnWire *wire, const guint8 *route, gsize size)
{
    for (guint i = 0; i < wire->peers->len; i++) {
        TnPeer *peer = wire->peers->pdata[i];
        if (peer->route_size == size && memcmp(peer->route, route, size) == 0)
            return peer;
    }
    return NULL;
}

TnPeer *
tn_wire_add_peer(TnWire *wire, const guint8 *route, gsize size, guint64 session, gboolean shares)
{
    TnPeer *peer = g_new0(TnPeer, 1);
    peer->id = wire->next_peer++;
    peer->route_size = size;
    memcpy(peer->route, route, size);
    peer->session = session;
    peer->asked = g_hash_table_new(NULL, NULL);
    peer->counts = &wire->counts;
    tn_tensors_open(peer, shares, wire->most_shared);
    g_ptr_array_add(wire->peers, peer);
    return peer;
}

void
tn_peer_free(gpointer data)
{
    TnPeer *peer = data;
    tn_tensors_close(peer);
    g_hash_table_unref(peer->asked);
    g_free(peer->lost);
    g_free(peer);
}

/* --- Events ---------------------------------------------------------------------------------------- */

void
tn_wire_event_clear(TnWireEvent *event)
{
    tn_value_unref(event->hello);
    g_free(event->text);
    for (guint i = 0; i < event->n; i++)
        tn_tensor_unref(event->tensors[i]);
    *event = (TnWireEvent){ .n = 0 };
}

void
tn_wire_event_free(gpointer data)
{
    tn_wire_event_clear(data);
    g_free(data);
}

void
tn_wire_push(TnWire *wire, TnWireEvent event)
{
    g_queue_push_tail(&wire->events, g_memdup2(&event, sizeof event));
}

void
tn_wire_lose(TnWire *wire, TnPeer *peer, char *text)
{
    tn_count(&wire->counts.left, 1);
    tn_wire_push(wire, (TnWireEvent){ .kind = TN_WIRE_LEFT, .peer = peer->id, .text = text });
    g_ptr_array_remove(wire->peers, peer);
}
