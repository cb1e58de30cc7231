/* wire.c: a wire as its user sees it: peers that join and leave, asks and answers, each in its session. */
#include "wire/wire-private.h"

#include "wire/end.h"

#define SLICE_MS 50      /* between two looks at whatever is no message */
#define BEAT_MS 200      /* between beats to peers that are waited for */
#define PARTING_MS 300   /* for goodbyes to be answered */
#define TELL_MS 5000     /* between two words about who was refused */
#define AT_ONCE_US 10    /* what takes longer to come was not there */
#define MOST_WORDS 16384 /* that are read of those who are lost: others may never cease */

/* --- What is no message ---------------------------------------------------------------------------- */

static void
send_released(TnWire *wire, TnPeer *peer)
{
    g_autoptr(TnTensor) keys = peer->lost ? NULL : tn_tensors_released(peer);
    if (keys)
        tn_wire_send_tensors(wire, peer, &(TnMessage){ .kind = TN_WIRE_RELEASE }, 1, &keys,
                             (TnWireHold){ NULL, NULL });
}

static void
tell_peers(TnWire *wire, gboolean beat)
{
    for (guint i = 0; i < wire->peers->len; i++) {
        send_released(wire, wire->peers->pdata[i]);
        if (beat)
            tn_wire_send(wire, wire->peers->pdata[i], &(TnMessage){ .kind = TN_WIRE_BEAT });
    }
}

/* Peers that cannot be reached have left, once what they said has been read. */
static void
lose_lost(TnWire *wire)
{
    guint words = 0;
    while (words < MOST_WORDS && tn_wire_receive(wire, 0) == 0)
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
        while (change == TN_END_DOWN && tn_wire_receive(wire, 0) == 0)
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
    tn_wire_receive(wire, (gint)MIN(left, SLICE_MS));
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
        } else if (tn_wire_receive(wire, 0) != 0 || is_over(wire, status, left)) {
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
    wire->peers = g_ptr_array_new_with_free_func(tn_peer_free);
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
        tn_wire_send(wire, wire->peers->pdata[i - 1], &(TnMessage){ .kind = TN_WIRE_BYE });
    while (wire->peers->len && g_get_monotonic_time() < end)
        tn_wire_receive(wire, 5);
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
    g_queue_clear_full(&wire->events, tn_wire_event_free);
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
