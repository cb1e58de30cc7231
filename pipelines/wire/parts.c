/* parts.c: multipart messages over a socket, whole or not at all. */
#include <errno.h>
#include <string.h>

#include "wire/wire-private.h"

void
tn_parts_clear(const TnZmq *zmq, TnParts *parts)
{
    for (guint i = 0; i < parts->n; i++)
        zmq->msg_close(&parts->parts[i]);
    parts->n = 0;
}

static int
receive_one(const TnZmq *zmq, void *socket, gboolean wait, zmq_msg_t *part)
{
    int got;
    zmq->msg_init(part);
    do
        got = zmq->msg_recv(part, socket, wait ? 0 : ZMQ_DONTWAIT);
    while (got < 0 && zmq->errno_() == EINTR);
    if (got >= 0)
        return 0;
    const int code = zmq->errno_();
    zmq->msg_close(part);
    return code;
}

/* The rest of a message that is too long. */
static void
receive_rest(const TnZmq *zmq, void *socket)
{
    zmq_msg_t part;
    int more = 1;
    while (more && receive_one(zmq, socket, FALSE, &part) == 0) {
        more = zmq->msg_more(&part);
        zmq->msg_close(&part);
    }
}

int
tn_parts_receive(const TnZmq *zmq, void *socket, gboolean wait, guint8 *route, gsize *route_size,
                 TnParts *parts)
{
    gboolean more = TRUE;
    parts->n = 0;
    if (route) {
        zmq_msg_t part;
        const int code = receive_one(zmq, socket, wait, &part);
        if (code)
            return code;
        *route_size = MIN(zmq->msg_size(&part), 255);
        memcpy(route, zmq->msg_data(&part), *route_size);
        more = zmq->msg_more(&part);
        zmq->msg_close(&part);
        wait = FALSE; /* parts of one message come together */
    }
    while (more) {
        if (parts->n == G_N_ELEMENTS(parts->parts)) {
            receive_rest(zmq, socket);
            tn_parts_clear(zmq, parts);
            return EMSGSIZE;
        }
        const int code = receive_one(zmq, socket, wait, &parts->parts[parts->n]);
        if (code) {
            tn_parts_clear(zmq, parts);
            return code;
        }
        more = zmq->msg_more(&parts->parts[parts->n++]);
        wait = FALSE;
    }
    return parts->n ? 0 : EMSGSIZE;
}

int
tn_parts_send(const TnZmq *zmq, void *socket, const guint8 *route, gsize route_size, TnParts *parts)
{
    int code = 0;
    if (route_size && zmq->send(socket, route, route_size, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        code = zmq->errno_();
    for (guint i = 0; i < parts->n && code == 0; i++) {
        const int flags = ZMQ_DONTWAIT | (i + 1 < parts->n ? ZMQ_SNDMORE : 0);
        if (zmq->msg_send(&parts->parts[i], socket, flags) < 0)
            code = zmq->errno_();
    }
    tn_parts_clear(zmq, parts); /* those that were sent are empty */
    return code;
}
