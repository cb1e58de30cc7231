/* hub.c: the process's ZeroMQ context, made with the first wire and ended with the last. */
#include "wire/wire-private.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static TnHub hub;
static guint refs;

static gboolean
open_hub(const TnZmq *zmq, GError **error)
{
    hub.context = zmq->ctx_new();
    if (!hub.context) {
        g_set_error(error, TN_ERROR, TN_ERROR_NO_MEMORY, "ZeroMQ: %s",
                    zmq->strerror(zmq->errno_()));
        return FALSE;
    }
    zmq->ctx_set(hub.context, ZMQ_BLOCKY, 0);
    hub.door = tn_door_new(hub.context, error);
    if (hub.door)
        return TRUE;
    zmq->ctx_term(hub.context);
    hub.context = NULL;
    return FALSE;
}

TnHub *
tn_hub_ref(GError **error)
{
    const TnZmq *zmq = tn_zmq(error);
    if (!zmq)
        return NULL;
    pthread_mutex_lock(&lock);
    const gboolean ok = refs > 0 || open_hub(zmq, error);
    refs += ok ? 1 : 0;
    pthread_mutex_unlock(&lock);
    return ok ? &hub : NULL;
}

void
tn_hub_unref(TnHub *mine)
{
    if (!mine)
        return;
    pthread_mutex_lock(&lock);
    if (--refs == 0) {
        const TnZmq *zmq = tn_zmq(NULL);
        tn_door_free(hub.door);
        zmq->ctx_term(hub.context);
        hub = (TnHub){ NULL, NULL };
    }
    pthread_mutex_unlock(&lock);
}
