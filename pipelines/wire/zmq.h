/* zmq.h: ZeroMQ's functions, found when the first wire is made: the library has threads and needs
 * others that would make every start of the program slow. */
#pragma once

#include <tenon/status.h>
#include <zmq.h>

/* Of ZeroMQ's drafts, and in every release since 4.3: a connection that needs leave is refused while
 * nobody answers, instead of let in. */
#ifndef ZMQ_ZAP_ENFORCE_DOMAIN
#define ZMQ_ZAP_ENFORCE_DOMAIN 93
#endif

typedef struct {
    __typeof__(&zmq_ctx_new) ctx_new;
    __typeof__(&zmq_ctx_set) ctx_set;
    __typeof__(&zmq_ctx_term) ctx_term;
    __typeof__(&zmq_ctx_shutdown) ctx_shutdown;
    __typeof__(&zmq_socket) socket;
    __typeof__(&zmq_close) close;
    __typeof__(&zmq_setsockopt) setsockopt;
    __typeof__(&zmq_getsockopt) getsockopt;
    __typeof__(&zmq_bind) bind;
    __typeof__(&zmq_connect) connect;
    __typeof__(&zmq_disconnect) disconnect;
    __typeof__(&zmq_unbind) unbind;
    __typeof__(&zmq_send) send;
    __typeof__(&zmq_recv) recv;
    __typeof__(&zmq_poll) poll;
    __typeof__(&zmq_msg_init) msg_init;
    __typeof__(&zmq_msg_init_size) msg_init_size;
    __typeof__(&zmq_msg_init_data) msg_init_data;
    __typeof__(&zmq_msg_send) msg_send;
    __typeof__(&zmq_msg_recv) msg_recv;
    __typeof__(&zmq_msg_close) msg_close;
    __typeof__(&zmq_msg_move) msg_move;
    __typeof__(&zmq_msg_data) msg_data;
    __typeof__(&zmq_msg_size) msg_size;
    __typeof__(&zmq_msg_more) msg_more;
    __typeof__(&zmq_socket_monitor) socket_monitor;
    __typeof__(&zmq_errno) errno_;
    __typeof__(&zmq_strerror) strerror;
    __typeof__(&zmq_curve_keypair) curve_keypair;
    __typeof__(&zmq_curve_public) curve_public;
    __typeof__(&zmq_has) has;
} TnZmq;

/* NULL with TN_ERROR_UNSUPPORTED where the library is not there or too old. Thread: any. */
TN_API const TnZmq *tn_zmq(GError **error);
