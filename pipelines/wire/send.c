/* send.c: what a wire sends: asks, answers, refusals, each in the session of its peer. */
#include "wire/wire-private.h"

#include <errno.h>
#include <string.h>

#include "wire/end.h"

/* What sending to a peer gave: who cannot be reached is lost. What it said before may still be there to
 * be read, a goodbye among it, so it has not left yet. */
static TnStatus
sent(TnWire *wire, TnPeer *peer, int code)
{
    if (code == 0) {
        tn_count(&wire->counts.messages_out, 1);
        return TN_OK;
    }
    if (!peer->lost) /* the first reason counts: more may be sent before it is looked at */
        peer->lost =
            g_strdup(code == EHOSTUNREACH || code == EAGAIN
                         ? "the connection was lost, or nothing came over it for two seconds"
                         : wire->zmq->strerror(code));
    wire->losing = TRUE;
    return TN_FAILED;
}

int
tn_wire_send_to(TnWire *wire, const guint8 *route, gsize route_size, TnMessage *message)
{
    TnParts parts;
    parts.n = 1;
    const gsize size = tn_message_size(message);
    if (size == 0 || wire->zmq->msg_init_size(&parts.parts[0], size) != 0)
        return ENOMEM;
    tn_message_write(message, wire->zmq->msg_data(&parts.parts[0]));
    return tn_end_send(wire->end, route, route_size, &parts);
}

TnStatus
tn_wire_send(TnWire *wire, TnPeer *peer, TnMessage *message)
{
    message->session = peer->session;
    if (peer->lost)
        return TN_FAILED;
    return sent(wire, peer, tn_wire_send_to(wire, peer->route, peer->route_size, message));
}

static TnStatus
announce_block(TnWire *wire, TnPeer *peer, const TnBlockName *name)
{
    char text[32];
    g_snprintf(text, sizeof text, "%d/%d", name->pid, name->fd);
    return tn_wire_send(wire, peer,
                        &(TnMessage){ .kind = TN_WIRE_BLOCK,
                                      .number = name->key,
                                      .extra = name->bytes,
                                      .text = text,
                                      .text_bytes = strlen(text) });
}

TnStatus
tn_wire_send_tensors(TnWire *wire, TnPeer *peer, TnMessage *message, guint n,
                     TnTensor *const *tensors, TnWireHold hold)
{
    TnParts parts;
    TnBlockName block;
    g_autoptr(GError) error = NULL;
    message->session = peer->session;
    if (!tn_tensors_pack(wire->zmq, peer, message, n, tensors, hold, &parts, &block, &error)) {
        tn_log("wire", TN_LOG_WARN, "%s", error->message);
        return tn_error_status(error);
    }
    if (block.key) {
        const TnStatus status = announce_block(wire, peer, &block);
        if (status != TN_OK) {
            tn_parts_clear(wire->zmq, &parts);
            return status;
        }
    }
    if (message->kind == TN_WIRE_ASK || message->kind == TN_WIRE_ANSWER)
        tn_count(&wire->counts.bytes_out, tn_message_bytes(message));
    return sent(wire, peer, tn_end_send(wire->end, peer->route, peer->route_size, &parts));
}

static void
drop_hold(TnWireHold hold)
{
    if (hold.func)
        hold.func(hold.data);
}

TnStatus
tn_wire_ask(TnWire *wire, guint id, guint64 topic, guint n, TnTensor *const *tensors,
            TnWireHold hold, guint64 *number)
{
    TnPeer *peer = tn_wire_peer(wire, id);
    if (!peer || peer->lost) {
        drop_hold(hold);
        return TN_FAILED;
    }
    *number = ++wire->next_ask;
    g_hash_table_add(peer->asked, (gpointer)(gsize)*number);
    const TnStatus status = tn_wire_send_tensors(
        wire, peer, &(TnMessage){ .kind = TN_WIRE_ASK, .number = *number, .extra = topic }, n,
        tensors, hold);
    if (status != TN_OK && (peer = tn_wire_peer(wire, id)))
        g_hash_table_remove(peer->asked, (gpointer)(gsize)*number);
    return status;
}

TnStatus
tn_wire_answer(TnWire *wire, guint id, guint64 number, guint64 topic, guint n,
               TnTensor *const *tensors, TnWireHold hold)
{
    TnPeer *peer = tn_wire_peer(wire, id);
    if (!peer || peer->lost) {
        drop_hold(hold);
        return TN_FAILED;
    }
    return tn_wire_send_tensors(
        wire, peer, &(TnMessage){ .kind = TN_WIRE_ANSWER, .number = number, .extra = topic }, n,
        tensors, hold);
}

TnStatus
tn_wire_fail(TnWire *wire, guint id, guint64 number, TnStatus status, const char *text)
{
    TnPeer *peer = tn_wire_peer(wire, id);
    return peer ? tn_wire_send(
                      wire, peer,
                      &(TnMessage){ .kind = TN_WIRE_FAIL,
                                    .number = number,
                                    .extra = status,
                                    .text = text,
                                    .text_bytes = text ? MIN(strlen(text), TN_WIRE_MOST_TEXT) : 0 })
                : TN_FAILED;
}

TnStatus
tn_wire_forget(TnWire *wire, guint id)
{
    TnPeer *peer = tn_wire_peer(wire, id);
    if (!peer)
        return TN_FAILED;
    g_hash_table_remove_all(peer->asked);
    return tn_wire_send(wire, peer,
                        &(TnMessage){ .kind = TN_WIRE_FORGET, .number = wire->next_ask });
}

void
tn_wire_refuse_peer(TnWire *wire, TnPeer *peer, const char *text)
{
    if (wire->serve) {
        tn_hello_refuse(wire, peer->route, peer->route_size, text);
    } else {
        tn_wire_send_to(wire, peer->route, peer->route_size,
                        &(TnMessage){ .kind = TN_WIRE_REFUSE,
                                      .session = peer->session,
                                      .text = text,
                                      .text_bytes = strlen(text) });
        if (!wire->error)
            g_set_error(&wire->error, TN_ERROR, TN_ERROR_CORRUPT, "%s: %s", tn_wire_url(wire),
                        text);
    }
    tn_wire_lose(wire, peer, g_strdup(text));
}

void
tn_wire_refuse(TnWire *wire, guint id, const char *format, ...)
{
    TnPeer *peer = tn_wire_peer(wire, id);
    va_list args;
    if (!peer)
        return;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    tn_wire_refuse_peer(wire, peer, text);
}
