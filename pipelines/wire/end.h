/* end.h: one end of a wire as a socket: where it is, how it is kept alive and private. */
#pragma once

#include "wire/wire-private.h"

typedef struct TnEnd TnEnd;
TnEnd *tn_end_new(const TnWireOptions *options, GError **error);
/* linger: what was sent last may not have arrived. */
void tn_end_free(TnEnd *end, gboolean linger);
/* Of a server: with the port or name that it got. */
const char *tn_end_url(const TnEnd *end);
gboolean tn_end_is_ipc(const TnEnd *end);
/* Sends and empties parts; never waits. 0; EHOSTUNREACH, EAGAIN: there is no connection. */
int tn_end_send(TnEnd *end, const guint8 *route, gsize route_size, TnParts *parts);
/* Waits up to wait_ms for a message. 0; EAGAIN; EMSGSIZE: it was no message of ours. Of who joins
 * *route_size is 0. */
int tn_end_receive(TnEnd *end, gint wait_ms, guint8 *route, gsize *route_size, TnParts *parts);

typedef enum {
    TN_END_SAME,
    TN_END_UP,      /* connected, keys agreed: it is time to say hello */
    TN_END_DOWN,    /* it is sought again */
    TN_END_REFUSED, /* the server does not know the key, or wants one */
} TnEndChange;
/* What became of the connection of who joins, oldest first. */
TnEndChange tn_end_change(TnEnd *end);
/* Connections that a server refused for their key. Thread: any. */
guint64 tn_end_refused(const TnEnd *end);
