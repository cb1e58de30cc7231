/* wire.c: a wire as its user sees it: peers that join and leave, asks and answers, each in its session. */
#include "wire/wire-private.h"

#include <errno.h>
#include <string.h>

#include "wire/end.h"

#define SLICE_MS 50      /* between two looks at whatever is no message */
#define BEAT_MS 200      /* between beats to peers that are waited for */
#define PARTING_MS 300   /* for goodbyes to be answered */
#define TELL_MS 5000     /* between two words about who was refused */
#define AT_ONCE_US 10    /* what takes longer to come was not there */
#define MOST_WORDS 16384 /* that are read of those who are lost: others may never cease */

/* --- Peers ----------------------------------------------------------------------------------------- */

static TnPeer *
find_peer(const TnWire *wire, guint id)
{
    for (guint i = 0; i < wire->peers->len; i++) {
        TnPeer *peer = wire->peers->pdata[i];
        if (peer->id == id)
            return peer;
    }
    return NULL;
}

static TnPeer *
find_route(const TnWire *wire, const guint8 *route, gsize size)
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

static void
free_peer(gpointer data)
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

static void
free_event(gpointer data)
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

/* --- Sending --------------------------------------------------------------------------------------- */

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

/* A message without tensors. */
static TnStatus
send_plain(TnWire *wire, TnPeer *peer, TnMessage *message)
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
    return send_plain(wire, peer,
                      &(TnMessage){ .kind = TN_WIRE_BLOCK,
                                    .number = name->key,
                                    .extra = name->bytes,
                                    .text = text,
                                    .text_bytes = strlen(text) });
}

static TnStatus
send_tensors(TnWire *wire, TnPeer *peer, TnMessage *message, guint n, TnTensor *const *tensors,
             TnWireHold hold)
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
    TnPeer *peer = find_peer(wire, id);
    if (!peer || peer->lost) {
        drop_hold(hold);
        return TN_FAILED;
    }
    *number = ++wire->next_ask;
    g_hash_table_add(peer->asked, (gpointer)(gsize)*number);
    const TnStatus status = send_tensors(
        wire, peer, &(TnMessage){ .kind = TN_WIRE_ASK, .number = *number, .extra = topic }, n,
        tensors, hold);
    if (status != TN_OK && (peer = find_peer(wire, id)))
        g_hash_table_remove(peer->asked, (gpointer)(gsize)*number);
    return status;
}

TnStatus
tn_wire_answer(TnWire *wire, guint id, guint64 number, guint64 topic, guint n,
               TnTensor *const *tensors, TnWireHold hold)
{
    TnPeer *peer = find_peer(wire, id);
    if (!peer || peer->lost) {
        drop_hold(hold);
        return TN_FAILED;
    }
    return send_tensors(wire, peer,
                        &(TnMessage){ .kind = TN_WIRE_ANSWER, .number = number, .extra = topic }, n,
                        tensors, hold);
}

TnStatus
tn_wire_fail(TnWire *wire, guint id, guint64 number, TnStatus status, const char *text)
{
    TnPeer *peer = find_peer(wire, id);
    return peer ? send_plain(
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
    TnPeer *peer = find_peer(wire, id);
    if (!peer)
        return TN_FAILED;
    g_hash_table_remove_all(peer->asked);
    return send_plain(wire, peer, &(TnMessage){ .kind = TN_WIRE_FORGET, .number = wire->next_ask });
}

/* The peer is told why it cannot be used, and has left. Who joins has no other peer, so that is its
 * end; the server knows it by its session. */
static void
refuse(TnWire *wire, TnPeer *peer, const char *text)
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
    TnPeer *peer = find_peer(wire, id);
    va_list args;
    if (!peer)
        return;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    refuse(wire, peer, text);
}

/* --- Receiving ------------------------------------------------------------------------------------- */

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
    refuse(wire, peer, text);
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
    TnPeer *peer = find_route(wire, route, size);
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

/* What comes within so many milliseconds. 0: there may be more; EAGAIN: there is nothing. */
static int
receive(TnWire *wire, gint wait_ms)
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

/* --- What is no message ---------------------------------------------------------------------------- */

static void
send_released(TnWire *wire, TnPeer *peer)
{
    g_autoptr(TnTensor) keys = peer->lost ? NULL : tn_tensors_released(peer);
    if (keys)
        send_tensors(wire, peer, &(TnMessage){ .kind = TN_WIRE_RELEASE }, 1, &keys,
                     (TnWireHold){ NULL, NULL });
}

static void
tell_peers(TnWire *wire, gboolean beat)
{
    for (guint i = 0; i < wire->peers->len; i++) {
        send_released(wire, wire->peers->pdata[i]);
        if (beat)
            send_plain(wire, wire->peers->pdata[i], &(TnMessage){ .kind = TN_WIRE_BEAT });
    }
}

/* Peers that cannot be reached have left, once what they said has been read. */
static void
lose_lost(TnWire *wire)
{
    guint words = 0;
    while (words < MOST_WORDS && receive(wire, 0) == 0)
        words++;
    for (guint i = wire->peers->len; i > 0; i--) {
        TnPeer *peer = wire->peers->pdata[i - 1];
        if (peer->lost)
            tn_wire_lose(wire, peer, g_steal_pointer(&peer->lost));
    }
    wire->losing = FALSE;
}

static void
watch_connection(TnWire *wire)
{
    TnEndChange change;
    while ((change = tn_end_change(wire->end)) != TN_END_SAME) {
        if (change == TN_END_UP)
            wire->hello_due = TRUE;
        while (change == TN_END_DOWN && receive(wire, 0) == 0)
            continue; /* what was said before it went down */
        if (change == TN_END_DOWN && wire->peers->len)
            tn_wire_lose(wire, wire->peers->pdata[0], g_strdup("the connection was lost"));
        if (change == TN_END_REFUSED && !wire->error) {
            tn_count(&wire->counts.refused, 1);
            g_set_error(&wire->error, TN_ERROR, TN_ERROR_CONFIG,
                        "%s refused the connection: this side has %s; both need the same key, or "
                        "none with insecure = true",
                        tn_wire_url(wire), wire->key);
        }
    }
    if (wire->hello_due && tn_hello_say(wire))
        wire->hello_due = FALSE;
}

/* Of a server, that strangers knock: once a while, however many there are. */
static void
tell_refused(TnWire *wire)
{
    const guint64 refused = tn_end_refused(wire->end);
    if (refused == wire->refused_told || wire->looked < wire->tell_at)
        return;
    tn_log("wire", TN_LOG_WARN,
           "%s: %" G_GUINT64_FORMAT " connection%s refused: another key, or none; here it is %s",
           tn_wire_url(wire), refused - wire->refused_told,
           refused - wire->refused_told == 1 ? " was" : "s were", wire->key);
    wire->refused_told = refused;
    wire->tell_at = wire->looked + TELL_MS;
}

static void
look_around(TnWire *wire, gint64 now)
{
    const gboolean beat = wire->serve && now - wire->beaten >= BEAT_MS;
    wire->looked = now;
    if (beat)
        wire->beaten = now;
    watch_connection(wire);
    tell_refused(wire);
    tell_peers(wire, beat);
}

/* --- Interface ------------------------------------------------------------------------------------- */

/* Whether a wait that ought to end does so although there is more to receive: what comes may be nothing
 * but noise. */
static gboolean
is_over(const TnWire *wire, TnStatus status, gint64 left)
{
    return wire->events.length == 0 && (status != TN_AGAIN || left <= -SLICE_MS);
}

static gboolean
pop_event(TnWire *wire, TnWireEvent *event)
{
    TnWireEvent *first = g_queue_pop_head(&wire->events);
    if (!first)
        return FALSE;
    *event = *first;
    g_free(first);
    return TRUE;
}

/* Why a wait ends without an event; TN_OK: it does not. */
static TnStatus
end_of_wait(const TnWire *wire, gint64 left)
{
    if (wire->error)
        return TN_FAILED;
    if (wire->context && tn_context_cancelled(wire->context))
        return TN_CANCELLED;
    return left > 0 ? TN_OK : TN_AGAIN;
}

/* Waits for a message, after peers were told what they wait for before this one does. To look first
 * whether one is there would ask the system twice. *now is set anew. Microseconds that it took, if
 * there was none. */
static gint64
wait_for_message(TnWire *wire, gint64 left, gint64 *now)
{
    const gint64 began = *now;
    tell_peers(wire, FALSE);
    receive(wire, (gint)MIN(left, SLICE_MS));
    *now = g_get_monotonic_time();
    return *now - began > AT_ONCE_US ? *now - began : 0;
}

TnStatus
tn_wire_next(TnWire *wire, gint milliseconds, TnWireEvent *event)
{
    const gint64 began = g_get_monotonic_time();
    gint64 now = began, waited = 0;
    TnStatus status = TN_OK;
    while (!pop_event(wire, event)) {
        const gint64 left = milliseconds < 0 ? SLICE_MS : milliseconds - (now - began) / 1000;
        if (now / 1000 - wire->looked >= SLICE_MS)
            look_around(wire, now / 1000);
        if (wire->losing)
            lose_lost(wire);
        if (wire->events.length)
            continue;
        status = end_of_wait(wire, left);
        if (status == TN_OK) {
            waited += wait_for_message(wire, left, &now);
        } else if (receive(wire, 0) != 0 || is_over(wire, status, left)) {
            break;
        } else { /* what has come still counts */
            now = g_get_monotonic_time();
            status = TN_OK;
        }
    }
    if (waited) {
        tn_count(&wire->counts.waits, 1);
        tn_count(&wire->counts.waited_ns, (guint64)waited * 1000);
    }
    return status;
}

TnWire *
tn_wire_new(const TnWireOptions *options, GError **error)
{
    g_autoptr(TnWire) wire = g_new0(TnWire, 1);
    TnWireOptions settled = *options;
    settled.most_bytes = options->most_bytes ? options->most_bytes : (gsize)1 << 30;
    wire->serve = options->serve;
    wire->most_shared = options->most_shared ? options->most_shared : (gsize)1 << 30;
    wire->context = options->context ? tn_context_ref(options->context) : NULL;
    wire->hello = tn_value_copy(options->hello);
    wire->about = options->about ? tn_value_copy(options->about) : tn_value_map();
    wire->host = tn_hello_host();
    wire->key = options->key ? g_strdup_printf("the key '%s'", options->key) : g_strdup("no key");
    wire->peers = g_ptr_array_new_with_free_func(free_peer);
    g_queue_init(&wire->events);
    wire->routes_refused =
        g_hash_table_new_full(g_bytes_hash, g_bytes_equal, (GDestroyNotify)g_bytes_unref, NULL);
    wire->zmq = tn_zmq(error);
    wire->end = wire->zmq ? tn_end_new(&settled, error) : NULL;
    return wire->end ? g_steal_pointer(&wire) : NULL;
}

/* What a socket has not sent when it is closed is lost, and a connection that is closed while more comes
 * over it is cut. So what comes is received until all have answered. */
static void
say_goodbye(TnWire *wire)
{
    const gint64 end = g_get_monotonic_time() + PARTING_MS * 1000;
    wire->parting = TRUE;
    for (guint i = wire->peers->len; i > 0; i--)
        send_plain(wire, wire->peers->pdata[i - 1], &(TnMessage){ .kind = TN_WIRE_BYE });
    while (wire->peers->len && g_get_monotonic_time() < end)
        receive(wire, 5);
}

void
tn_wire_free(TnWire *wire)
{
    if (!wire)
        return;
    if (wire->end)
        say_goodbye(wire);
    tn_end_free(wire->end, wire->peers->len > 0);
    g_ptr_array_unref(wire->peers);
    g_queue_clear_full(&wire->events, free_event);
    tn_blocks_free(wire->probe);
    tn_value_unref(wire->hello);
    tn_value_unref(wire->about);
    if (wire->context)
        tn_context_unref(wire->context);
    g_clear_error(&wire->error);
    g_hash_table_unref(wire->routes_refused);
    g_free(wire->host);
    g_free(wire->key);
    g_free(wire);
}

const char *
tn_wire_url(const TnWire *wire)
{
    return tn_end_url(wire->end);
}

const GError *
tn_wire_error(const TnWire *wire)
{
    return wire->error;
}

void
tn_wire_stats(const TnWire *wire, TnWireStats *stats)
{
    const TnWireCounts *c = &wire->counts;
    *stats = (TnWireStats){
        .messages_in = c->messages_in,
        .messages_out = c->messages_out,
        .bytes_in = c->bytes_in,
        .bytes_out = c->bytes_out,
        .bytes_shared = c->bytes_shared,
        .waits = c->waits,
        .seconds_waited = (double)c->waited_ns * 1e-9,
        .refused = c->refused + tn_end_refused(wire->end),
        .dropped = c->dropped,
        .joined = c->joined,
        .left = c->left,
    };
}
