/* end.c: the socket of a wire: a ROUTER that is bound, or a DEALER that seeks it until it is closed.
 *
 * ZeroMQ's threads exchange heartbeats whatever this process computes, so a connection over which
 * nothing comes for SILENCE_MS is cut: a router then refuses to send there, and a dealer's monitor
 * says so. */
#include "wire/end.h"

#include <errno.h>
#include <string.h>

#include "wire/address.h"

#define BEAT_MS 500
#define SILENCE_MS 2000
#define HANDSHAKE_MS 5000
#define MOST_CLOSED 5 /* connections in a row that were closed in the middle of the handshake */
/* For what peers have not got yet. Only where some did not answer the goodbye: while a closed socket lingers
 * it takes no message, and libzmq 4.3 aborts the process if its connection breaks then and a heartbeat is due
 * (its issue 4364). */
#define LINGER_MS 300
#define BACKLOG 4096 /* messages of a peer that nobody receives, before it is held back */
/* The same of who joins. A connection that is held back has no heartbeats and is cut, so the server's
 * beats of two days must fit in: a stage may be long at one frame. */
#define BACKLOG_BEATS (1 << 20)

struct TnEnd {
    const TnZmq *zmq;
    TnHub *hub;
    void *socket, *monitor;
    gboolean serve, bound;
    char *url;
    char *domain;        /* of the keys that are let in; NULL: no keys */
    gint timeout;        /* as the socket has it */
    gint64 connected_us; /* of who joins: when it last reached somebody */
    guint closed;        /* and how often in a row that one hung up at once */
};

static gboolean
fail(const TnEnd *end, const char *what, GError **error)
{
    const int code = end->zmq->errno_();
    g_set_error(error, TN_ERROR, code == EADDRINUSE ? TN_ERROR_BUSY : TN_ERROR_IO, "%s: %s: %s",
                end->url, what, end->zmq->strerror(code));
    return FALSE;
}

/* --- Options ---------------------------------------------------------------------------------------- */

static gboolean
set_int(TnEnd *end, int option, int value, GError **error)
{
    return end->zmq->setsockopt(end->socket, option, &value, sizeof value) == 0 ||
           fail(end, "a socket option", error);
}

static gboolean
set_text(TnEnd *end, int option, const char *text, GError **error)
{
    return end->zmq->setsockopt(end->socket, option, text, strlen(text)) == 0 ||
           fail(end, "a key", error);
}

static gboolean
set_options(TnEnd *end, gsize most_bytes, GError **error)
{
    const struct {
        int option, value;
    } rows[] = {
        { ZMQ_LINGER, LINGER_MS },
        { ZMQ_HEARTBEAT_IVL, BEAT_MS },
        { ZMQ_HEARTBEAT_TIMEOUT, SILENCE_MS },
        { ZMQ_HEARTBEAT_TTL, SILENCE_MS },
        { ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS },
        { ZMQ_SNDHWM, 0 }, /* what is under way was asked for */
        { ZMQ_RCVHWM, end->serve ? BACKLOG : BACKLOG_BEATS },
        { ZMQ_IPV6, strchr(end->url, '[') != NULL },
        { end->serve ? ZMQ_ROUTER_MANDATORY : ZMQ_IMMEDIATE, 1 },
    };
    const gint64 most = (gint64)MIN(most_bytes, (gsize)G_MAXINT64);
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
        if (!set_int(end, rows[i].option, rows[i].value, error))
            return FALSE;
    if (!end->serve && (!set_int(end, ZMQ_RECONNECT_IVL, 100, error) ||
                        !set_int(end, ZMQ_RECONNECT_IVL_MAX, 1000, error)))
        return FALSE;
    return end->zmq->setsockopt(end->socket, ZMQ_MAXMSGSIZE, &most, sizeof most) == 0 ||
           fail(end, "a socket option", error);
}

static gboolean
use_key(TnEnd *end, const TnKey *key, GError **error)
{
    if (!end->serve)
        return set_text(end, ZMQ_CURVE_SERVERKEY, key->public_key, error) &&
               set_text(end, ZMQ_CURVE_PUBLICKEY, key->public_key, error) &&
               set_text(end, ZMQ_CURVE_SECRETKEY, key->secret_key, error);
    end->domain = g_strdup_printf("%p", (void *)end);
    tn_door_let_in(end->hub->door, end->domain, key->public_key);
    return set_int(end, ZMQ_CURVE_SERVER, 1, error) &&
           set_int(end, ZMQ_ZAP_ENFORCE_DOMAIN, 1, error) &&
           set_text(end, ZMQ_CURVE_SECRETKEY, key->secret_key, error) &&
           set_text(end, ZMQ_ZAP_DOMAIN, end->domain, error);
}

static gboolean
set_privacy(TnEnd *end, const TnWireOptions *options, GError **error)
{
    TnKey key;
    if (tn_end_is_ipc(end) && !options->key)
        return TRUE;
    if (!options->key && !options->insecure) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG, "%s: " TN_ADDRESS_WANTS_KEY,
                    options->address);
        return FALSE;
    }
    if (!options->key) {
        tn_log("wire", TN_LOG_WARN,
               "%s is INSECURE: whoever reaches it may read and change what goes over it",
               options->address);
        return TRUE;
    }
    if (!tn_key_load(options->key, &key, error))
        return FALSE;
    const gboolean ok = use_key(end, &key, error);
    tn_key_clear(&key);
    return ok;
}

/* --- Life ------------------------------------------------------------------------------------------- */

static gboolean
watch(TnEnd *end, GError **error)
{
    g_autofree char *inside = g_strdup_printf("inproc://tenon-monitor-%p", (void *)end);
    end->monitor = end->zmq->socket(end->hub->context, ZMQ_PAIR);
    return (end->monitor && end->zmq->socket_monitor(end->socket, inside, ZMQ_EVENT_ALL) == 0 &&
            end->zmq->connect(end->monitor, inside) == 0) ||
           fail(end, "cannot be watched", error);
}

static gboolean
bind_socket(TnEnd *end, GError **error)
{
    char bound[256];
    gsize size = sizeof bound;
    tn_address_sweep();
    if (!tn_address_check_serve(end->url, error) || (end->domain && !watch(end, error)))
        return FALSE;
    if (end->zmq->bind(end->socket, end->url) != 0)
        return fail(end, "cannot be served", error);
    end->bound = TRUE;
    if (end->zmq->getsockopt(end->socket, ZMQ_LAST_ENDPOINT, bound, &size) == 0) {
        g_free(end->url);
        end->url = g_strdup(bound);
    }
    return TRUE;
}

static gboolean
connect_socket(TnEnd *end, GError **error)
{
    if (!tn_address_check_join(end->url, error) || !watch(end, error))
        return FALSE;
    return end->zmq->connect(end->socket, end->url) == 0 || fail(end, "cannot be joined", error);
}

/* A place, or the url that a server said. (transfer full). */
static char *
find_url(const TnWireOptions *options, GError **error)
{
    TnAddress address;
    if (!options->serve && g_str_has_prefix(options->address, "ipc:///"))
        return g_strdup(options->address);
    return tn_address_parse(options->address, &address, error)
               ? tn_address_url(&address, options->serve, error)
               : NULL;
}

TnEnd *
tn_end_new(const TnWireOptions *options, GError **error)
{
    const TnZmq *zmq = tn_zmq(error);
    if (!zmq)
        return NULL;
    TnEnd *end = g_new0(TnEnd, 1);
    end->zmq = zmq;
    end->serve = options->serve;
    end->timeout = -1;
    end->url = find_url(options, error);
    end->hub = end->url ? tn_hub_ref(error) : NULL;
    if (end->hub) {
        end->socket = zmq->socket(end->hub->context, end->serve ? ZMQ_ROUTER : ZMQ_DEALER);
        if (!end->socket)
            fail(end, "no socket", error);
        else if (set_options(end, options->most_bytes, error) && set_privacy(end, options, error) &&
                 (end->serve ? bind_socket(end, error) : connect_socket(end, error)))
            return end;
    }
    tn_end_free(end, FALSE);
    return NULL;
}

/* ZeroMQ leaves the file, and listens a little longer while other wires keep its threads. */
static void
remove_socket(const char *url)
{
    for (guint i = 0; i < 20 && g_file_test(url + strlen("ipc://"), G_FILE_TEST_EXISTS); i++) {
        if (i > 0)
            g_usleep(5000);
        tn_address_remove(url);
    }
}

void
tn_end_free(TnEnd *end, gboolean linger)
{
    const int none = 0;
    if (!end)
        return;
    if (end->monitor) {
        end->zmq->socket_monitor(end->socket, NULL, 0);
        end->zmq->setsockopt(end->monitor, ZMQ_LINGER, &none, sizeof none);
        end->zmq->close(end->monitor);
    }
    if (end->socket && !linger)
        end->zmq->setsockopt(end->socket, ZMQ_LINGER, &none, sizeof none);
    if (end->socket)
        end->zmq->close(end->socket);
    if (end->domain)
        tn_door_close_domain(end->hub->door, end->domain);
    tn_hub_unref(end->hub);
    if (end->bound && tn_end_is_ipc(end))
        remove_socket(end->url);
    g_free(end->domain);
    g_free(end->url);
    g_free(end);
}

const char *
tn_end_url(const TnEnd *end)
{
    return end->url;
}

gboolean
tn_end_is_ipc(const TnEnd *end)
{
    return g_str_has_prefix(end->url, "ipc:");
}

guint64
tn_end_refused(const TnEnd *end)
{
    return end->domain ? tn_door_refused(end->hub->door, end->domain) : 0;
}

/* --- Messages --------------------------------------------------------------------------------------- */

int
tn_end_send(TnEnd *end, const guint8 *route, gsize route_size, TnParts *parts)
{
    return tn_parts_send(end->zmq, end->socket, route, route_size, parts);
}

int
tn_end_receive(TnEnd *end, gint wait_ms, guint8 *route, gsize *route_size, TnParts *parts)
{
    *route_size = 0;
    if (wait_ms > 0 && wait_ms != end->timeout) {
        end->zmq->setsockopt(end->socket, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
        end->timeout = wait_ms;
    }
    return tn_parts_receive(end->zmq, end->socket, wait_ms > 0, end->serve ? route : NULL,
                            route_size, parts);
}

/* A server whose key is another, or that has one where this end has none, hangs up without a word. So
 * does one that ends this moment, but not again and again; one that is stopped does nothing at all. */
static TnEndChange
hung_up(TnEnd *end)
{
    if (g_get_monotonic_time() - end->connected_us > HANDSHAKE_MS * 500)
        end->closed = 0;
    else
        end->closed++;
    return end->closed >= MOST_CLOSED ? TN_END_REFUSED : TN_END_SAME;
}

static TnEndChange
meaning(TnEnd *end, guint event)
{
    switch (event) {
    case ZMQ_EVENT_CONNECTED: end->connected_us = g_get_monotonic_time(); return TN_END_SAME;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED: end->closed = 0; return TN_END_UP;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL: return hung_up(end);
    case ZMQ_EVENT_DISCONNECTED: return TN_END_DOWN;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL: return TN_END_REFUSED;
    default: return TN_END_SAME;
    }
}

TnEndChange
tn_end_change(TnEnd *end)
{
    TnEndChange change = TN_END_SAME;
    TnParts parts;
    while (end->monitor && change == TN_END_SAME &&
           tn_parts_receive(end->zmq, end->monitor, FALSE, NULL, NULL, &parts) == 0) {
        guint16 event = 0;
        if (end->zmq->msg_size(&parts.parts[0]) >= sizeof event)
            memcpy(&event, end->zmq->msg_data(&parts.parts[0]), sizeof event);
        change = end->serve ? TN_END_SAME : meaning(end, event);
        if (end->serve && event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL)
            tn_door_count(end->hub->door, end->domain); /* it did not get as far as the door */
        tn_parts_clear(end->zmq, &parts);
    }
    return change;
}
