/* bench-partner.h: a second process of this program, joined by a wire and by a plain ZeroMQ socket, so
 * that both can be measured in turn between the same two processes. */
#pragma once

#include <tenon/wire.h>

#include "wire/zmq.h"

/* What is asked of a partner, over the wire as an ask's topic. */
typedef enum {
    PARTNER_SMALL = 1, /* answers PARTNER_ANSWER bytes */
    PARTNER_LARGE, /* answers PARTNER_BYTES bytes, of which the first and last are as told here */
    PARTNER_PLAIN, /* answers nothing, and then serves the plain socket until it is told `back` */
} PartnerAsk;

#define PARTNER_REQUEST 3072
#define PARTNER_ANSWER 40
#define PARTNER_BYTES 100000000
#define PARTNER_FIRST 17
#define PARTNER_LAST 71

typedef struct {
    const TnZmq *zmq;
    GPid pid;
    TnWire *wire;
    guint peer;
    void *context, *socket; /* plain */
    guint8 route[255];      /* of the partner at a plain ROUTER */
    gsize route_size;       /* 0: a plain REQ */
} Partner;

/* place: of the wire, "ipc" or "tcp://…". plain: ZeroMQ's address; large: what it sends are large
 * messages (ROUTER here, DEALER there), else it replies (REQ, REP). */
gboolean partner_start(Partner *partner, const char *program, const char *place, const char *plain,
                       gboolean large, GError **error);
void partner_end(Partner *partner);

/* Asks over the wire and waits; answer is to be cleared. */
gboolean partner_ask(Partner *partner, PartnerAsk what, guint n, TnTensor *const *tensors,
                     TnWireEvent *answer, GError **error);
/* Asks over the plain socket and waits; answer is to be closed. Between partner_to_plain and
 * partner_to_wire. */
gboolean partner_ask_plain(Partner *partner, const void *request, gsize bytes, zmq_msg_t *answer,
                           GError **error);
gboolean partner_to_plain(Partner *partner, GError **error);
gboolean partner_to_wire(Partner *partner, GError **error);

/* Whether this process was started as somebody's partner; then it does that and ends. */
gboolean partner_wanted(void);
gboolean partner_serve(GError **error);
