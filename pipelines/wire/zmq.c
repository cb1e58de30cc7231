/* zmq.c: opens ZeroMQ's library once. */
#include "wire/zmq.h"

#include <gmodule.h>
#include <pthread.h>

#include <tenon/base.h>

#define LIBRARY "libzmq.so.5"

static const struct {
    const char *name;
    gsize offset;
} rows[] = {
#define ROW(member, name)                                                                          \
    {                                                                                              \
        "zmq_" name, G_STRUCT_OFFSET(TnZmq, member)                                                \
    }
    ROW(ctx_new, "ctx_new"),
    ROW(ctx_set, "ctx_set"),
    ROW(ctx_term, "ctx_term"),
    ROW(ctx_shutdown, "ctx_shutdown"),
    ROW(socket, "socket"),
    ROW(close, "close"),
    ROW(setsockopt, "setsockopt"),
    ROW(getsockopt, "getsockopt"),
    ROW(bind, "bind"),
    ROW(connect, "connect"),
    ROW(disconnect, "disconnect"),
    ROW(unbind, "unbind"),
    ROW(send, "send"),
    ROW(recv, "recv"),
    ROW(poll, "poll"),
    ROW(msg_init, "msg_init"),
    ROW(msg_init_size, "msg_init_size"),
    ROW(msg_init_data, "msg_init_data"),
    ROW(msg_send, "msg_send"),
    ROW(msg_recv, "msg_recv"),
    ROW(msg_close, "msg_close"),
    ROW(msg_move, "msg_move"),
    ROW(msg_data, "msg_data"),
    ROW(msg_size, "msg_size"),
    ROW(msg_more, "msg_more"),
    ROW(socket_monitor, "socket_monitor"),
    ROW(errno_, "errno"),
    ROW(strerror, "strerror"),
    ROW(curve_keypair, "curve_keypair"),
    ROW(curve_public, "curve_public"),
    ROW(has, "has"),
#undef ROW
};

G_STATIC_ASSERT(G_N_ELEMENTS(rows) * sizeof(gpointer) == sizeof(TnZmq));

static TnZmq zmq;
static GError *why_not;

static void
open_once(void)
{
    GModule *module = g_module_open(LIBRARY, G_MODULE_BIND_LAZY | G_MODULE_BIND_LOCAL);
    if (!module) {
        g_set_error(&why_not, TN_ERROR, TN_ERROR_UNSUPPORTED,
                    "stages in other processes need ZeroMQ: %s (Debian: libzmq5)",
                    g_module_error());
        return;
    }
    g_module_make_resident(module);
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
        if (!g_module_symbol(module, rows[i].name,
                             (gpointer *)G_STRUCT_MEMBER_P(&zmq, rows[i].offset))) {
            g_set_error(&why_not, TN_ERROR, TN_ERROR_UNSUPPORTED,
                        LIBRARY " has no %s: version 4.3 or newer is wanted", rows[i].name);
            return;
        }
}

const TnZmq *
tn_zmq(GError **error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_once);
    if (!why_not)
        return &zmq;
    if (error)
        *error = g_error_copy(why_not);
    return NULL;
}
