/* receive.c: what comes over a wire: looked at, taken in its session, or dropped. */
#include "wire/wire-private.h"

#include <errno.h>
#include <string.h>

#include "wire/end.h"

/* A message that nobody wants. */
static void
drop(TnWire *wire, TnPeer *peer, const TnMessage *message, const char *why)
{
    tn_count(&wire->counts.dropped, 1);
    tn_log("wire", TN_LOG_DEBUG, "%s: a message was dropped: %s", tn_wire_url(wire), why);
    if (peer && message)
        tn_tensors_drop(peer, message);
}

static char *
copy_text(const TnMessage *message)
{
    return message->text_bytes ? g_utf8_make_valid(message->text, (gssize)message->text_bytes)
                               : NULL;
}

/* An ask or an answer, with its tensors. A peer that sends what cannot be read has left: it is
 * another program than it says. */
static void
take_tensors(TnWire *wire, TnPeer *peer, const TnMessage *message, TnParts *parts)
{
    g_autoptr(GError) error = NULL;
    TnWireEvent event = {
        .peer = peer->id, .number = message->number, .topic = message->extra, .n = message->n
    };
    event.kind = message->kind == TN_WIRE_ASK ? TN_WIRE_ASKED : TN_WIRE_ANSWERED;
    if (tn_tensors_unpack(wire->zmq, peer, message, parts, event.tensors, &error)) {
        tn_wire_push(wire, event);
        return;
    }
    drop(wire, peer, message, error->message);
    g_autofree char *text = g_strdup_printf("a message cannot be read: %s", error->message);
    tn_wire_refuse_peer(wire, peer, text);
}

static void
take_block(TnWire *wire, TnPeer *peer, const TnMessage *message)
{
    g_autofree char *text = copy_text(message);
    TnBlockName name = { .key = message->number, .bytes = message->extra };
    if (!text || !tn_block_name_read(&name, text) || !tn_tensors_announced(peer, &name))
        drop(wire, NULL, NULL, "a block that was not agreed upon");
}

static void
take_released(TnPeer *peer, const TnMessage *message)
{
    const guint8 *keys = message->n == 1 ? message->tensors[0].data : NULL;
    for (gsize i = 0; keys && peer->blocks && i < message->tensors[0].bytes / sizeof(guint64);
         i++) {
        guint64 key;
        memcpy(&key, keys + i * sizeof key, sizeof key);
        tn_blocks_release(peer->blocks, GUINT64_FROM_LE(key));
    }
}

/* It is answered: who says goodbye waits for that. */
static void
take_goodbye(TnWire *wire, TnPeer *peer)
{
    if (!wire->parting)
        tn_wire_send_to(wire, peer->route, peer->route_size,
                        &(TnMessage){ .kind = TN_WIRE_BYE, .session = peer->session });
    tn_wire_lose(wire, peer, g_strdup(TN_WIRE_GOODBYE));
}

/* A message of a peer, in its session. */
static void
take_from_peer(TnWire *wire, TnPeer *peer, const TnMessage *message, TnParts *parts)
{
    const gpointer number = (gpointer)(gsize)message->number;
    switch (message->kind) {
    case TN_WIRE_ASK:
        if (message->number <= peer->last_ask) {
            drop(wire, peer, message, "an ask that came before");
            return;
        }
        peer->last_ask = message->number;
        take_tensors(wire, peer, message, parts);
        return;
    case TN_WIRE_ANSWER:
        if (g_hash_table_remove(peer->asked, number))
            take_tensors(wire, peer, message, parts);
        else
            drop(wire, peer, message, "an answer that was not asked for");
        return;
    case TN_WIRE_FAIL:
        if (!g_hash_table_remove(peer->asked, number))
            drop(wire, NULL, NULL, "a failure of what was not asked for");
        else
            tn_wire_push(wire, (TnWireEvent){ .kind = TN_WIRE_FAILED,
                                              .peer = peer->id,
                                              .number = message->number,
                                              .status = message->extra <= TN_FAILED
                                                            ? (TnStatus)message->extra
                                                            : TN_FAILED,
                                              .text = copy_text(message) });
        return;
    case TN_WIRE_FORGET:
        tn_wire_push(wire, (TnWireEvent){ .kind = TN_WIRE_FORGOTTEN,
                                          .peer = peer->id,
                                          .number = message->number });
        return;
    case TN_WIRE_BLOCK: take_block(wire, peer, message); return;
    case TN_WIRE_RELEASE: take_released(peer, message); return;
    case TN_WIRE_BYE: take_goodbye(wire, peer); return;
    case TN_WIRE_REFUSE: tn_wire_lose(wire, peer, copy_text(message)); return;
    case TN_WIRE_BEAT: return;
    default: drop(wire, NULL, NULL, tn_wire_kind_name(message->kind));
    }
}

/* Of who joins: the server speaks before it let it in. */
static void
take_from_server(TnWire *wire, const TnMessage *message)
{
    if (message->kind == TN_WIRE_WELCOME) {
        tn_hello_welcome(wire, message);
    } else if (message->kind == TN_WIRE_REFUSE && !wire->error) {
        g_autofree char *text = copy_text(message);
        tn_count(&wire->counts.refused, 1);
        g_set_error(&wire->error, TN_ERROR, TN_ERROR_CONFIG, "%s refused this stage: %s",
                    tn_wire_url(wire), text ? text : "no reason was given");
    } else {
        drop(wire, NULL, NULL, "a message before the welcome");
    }
}

static void
take(TnWire *wire, const guint8 *route, gsize size, TnParts *parts)
{
    TnMessage message;
    g_autoptr(GError) error = NULL;
    TnPeer *peer = tn_wire_peer_at(wire, route, size);
    tn_count(&wire->counts.messages_in, 1);
    if (!tn_message_read(&message, wire->zmq->msg_data(&parts->parts[0]),
                         wire->zmq->msg_size(&parts->parts[0]), &error)) {
        /* Who speaks another version is told so; noise is not answered. */
        if (g_error_matches(error, TN_ERROR, TN_ERROR_VERSION) && !peer && wire->serve)
            tn_hello_refuse(wire, route, size, error->message);
        drop(wire, NULL, NULL, error->message);
    } else if (peer && message.session == peer->session) {
        take_from_peer(wire, peer, &message, parts);
    } else if (!wire->serve) {
        take_from_server(wire, &message);
    } else if (!peer && message.kind == TN_WIRE_HELLO) {
        tn_hello_take(wire, route, size, &message);
    } else {
        drop(wire, NULL, NULL, "it is of no session that is");
    }
}

int
tn_wire_receive(TnWire *wire, gint wait_ms)
{
    guint8 route[255];
    gsize size;
    TnParts parts;
    const int code = tn_end_receive(wire->end, wait_ms, route, &size, &parts);
    if (code == 0) {
        take(wire, route, size, &parts);
        tn_parts_clear(wire->zmq, &parts);
    } else if (code == EMSGSIZE) {
        drop(wire, NULL, NULL, "it has too many parts");
        return 0;
    }
    return code;
}
