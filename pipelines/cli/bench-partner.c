/* bench-partner.c: the second process of cases that measure wires, on both sides.
 *
 * It is started with a variable that says whose partner it is and where it is awaited. It serves the
 * wire or the plain socket, one at a time, as it is told, and ends with the process that started it,
 * however that ends. */
#include "bench-partner.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tenon/base.h>

#define VARIABLE "TENON_BENCH_PARTNER" /* "PARENT LARGE WIRE PLAIN" */
#define BACK_BYTES 1                   /* a plain request of this size is the last */
#define PATIENCE_MS 20000              /* with the other process */

static const TnWireHold none = { NULL, NULL };

static gboolean
fail_zmq(const TnZmq *zmq, const char *what, GError **error)
{
    g_set_error(error, TN_ERROR, TN_ERROR_IO, "ZeroMQ: %s: %s", what, zmq->strerror(zmq->errno_()));
    return FALSE;
}

static TnWire *
make_wire(const char *address, gboolean serve, GError **error)
{
    g_autoptr(TnValue) hello = tn_value_map();
    const TnWireOptions options = {
        .address = address, .serve = serve, .insecure = TRUE, .hello = hello
    };
    /* That tcp is insecure is what this case wants. */
    if (!g_getenv("TENON_LOG"))
        tn_log_set_filter("wire:error,*:warn", NULL);
    TnWire *wire = tn_wire_new(&options, error);
    if (!g_getenv("TENON_LOG"))
        tn_log_set_filter("*:warn", NULL);
    return wire;
}

static gboolean
open_plain(const TnZmq *zmq, int type, void **context, void **socket, GError **error)
{
    const int linger = 0, patience = PATIENCE_MS;
    *context = zmq->ctx_new();
    *socket = *context ? zmq->socket(*context, type) : NULL;
    if (!*socket)
        return fail_zmq(zmq, "no socket", error);
    zmq->setsockopt(*socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq->setsockopt(*socket, ZMQ_RCVTIMEO, &patience, sizeof patience);
    return TRUE;
}

/* The next event of the wire that is of kind; others are passed over. */
static gboolean
wait_for(TnWire *wire, TnWireEventKind kind, TnWireEvent *event, GError **error)
{
    TnStatus status;
    while ((status = tn_wire_next(wire, PATIENCE_MS, event)) == TN_OK && event->kind != kind) {
        const gboolean left = event->kind == TN_WIRE_LEFT;
        if (left)
            g_set_error(error, TN_ERROR, TN_ERROR_IO, "the other process has gone: %s",
                        event->text);
        tn_wire_event_clear(event);
        if (left)
            return FALSE;
    }
    if (status == TN_FAILED)
        g_propagate_error(error, g_error_copy(tn_wire_error(wire)));
    else if (status != TN_OK)
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "the other process says nothing");
    return status == TN_OK;
}

/* --- The process that measures --------------------------------------------------------------------- */

static gboolean
spawn(Partner *partner, const char *program, const char *plain, gboolean large, GError **error)
{
    const char *const argv[] = { program, "bench", NULL };
    g_autofree char *how =
        g_strdup_printf("%d %d %s %s", (int)getpid(), large, tn_wire_url(partner->wire), plain);
    g_auto(GStrv) environment = g_environ_setenv(g_get_environ(), VARIABLE, how, TRUE);
    return g_spawn_async(NULL, (char **)argv, environment, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL,
                         &partner->pid, error);
}

/* At a ROUTER the partner says where it is. */
static gboolean
learn_route(Partner *partner, GError **error)
{
    char nothing[1];
    const int n = partner->zmq->recv(partner->socket, partner->route, sizeof partner->route, 0);
    if (n < 0 || partner->zmq->recv(partner->socket, nothing, sizeof nothing, 0) < 0)
        return fail_zmq(partner->zmq, "the partner does not come", error);
    partner->route_size = (gsize)n;
    return TRUE;
}

static gboolean
meet(Partner *partner, const char *program, const char *plain, gboolean large, GError **error)
{
    char bound[256];
    gsize size = sizeof bound;
    TnWireEvent event;
    if (partner->zmq->bind(partner->socket, plain) != 0 ||
        partner->zmq->getsockopt(partner->socket, ZMQ_LAST_ENDPOINT, bound, &size) != 0)
        return fail_zmq(partner->zmq, plain, error);
    if (!spawn(partner, program, bound, large, error) ||
        !wait_for(partner->wire, TN_WIRE_JOINED, &event, error))
        return FALSE;
    partner->peer = event.peer;
    tn_wire_event_clear(&event);
    return !large || learn_route(partner, error);
}

gboolean
partner_start(Partner *partner, const char *program, const char *place, const char *plain,
              gboolean large, GError **error)
{
    *partner = (Partner){ .zmq = tn_zmq(error) };
    if (partner->zmq && (partner->wire = make_wire(place, TRUE, error)) &&
        open_plain(partner->zmq, large ? ZMQ_ROUTER : ZMQ_REQ, &partner->context, &partner->socket,
                   error) &&
        meet(partner, program, plain, large, error))
        return TRUE;
    partner_end(partner);
    return FALSE;
}

void
partner_end(Partner *partner)
{
    if (partner->pid) {
        kill(partner->pid, SIGKILL);
        while (waitpid(partner->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    if (partner->socket)
        partner->zmq->close(partner->socket);
    if (partner->context)
        partner->zmq->ctx_term(partner->context);
    tn_wire_free(partner->wire);
    *partner = (Partner){ NULL };
}

gboolean
partner_ask(Partner *partner, PartnerAsk what, guint n, TnTensor *const *tensors,
            TnWireEvent *answer, GError **error)
{
    guint64 number;
    if (tn_wire_ask(partner->wire, partner->peer, what, n, tensors, none, &number) == TN_OK)
        return wait_for(partner->wire, TN_WIRE_ANSWERED, answer, error);
    g_set_error(error, TN_ERROR, TN_ERROR_IO, "the other process has gone");
    return FALSE;
}

gboolean
partner_ask_plain(Partner *partner, const void *request, gsize bytes, zmq_msg_t *answer,
                  GError **error)
{
    const TnZmq *zmq = partner->zmq;
    char route[255];
    if ((partner->route_size &&
         zmq->send(partner->socket, partner->route, partner->route_size, ZMQ_SNDMORE) < 0) ||
        zmq->send(partner->socket, request, bytes, 0) < 0 ||
        (partner->route_size && zmq->recv(partner->socket, route, sizeof route, 0) < 0))
        return fail_zmq(zmq, "a request", error);
    zmq->msg_init(answer);
    return zmq->msg_recv(answer, partner->socket, 0) >= 0 || fail_zmq(zmq, "an answer", error);
}

gboolean
partner_to_plain(Partner *partner, GError **error)
{
    TnWireEvent answer;
    if (!partner_ask(partner, PARTNER_PLAIN, 0, NULL, &answer, error))
        return FALSE;
    tn_wire_event_clear(&answer);
    return TRUE;
}

gboolean
partner_to_wire(Partner *partner, GError **error)
{
    zmq_msg_t answer;
    const char back[BACK_BYTES] = { 0 };
    if (!partner_ask_plain(partner, back, sizeof back, &answer, error))
        return FALSE;
    partner->zmq->msg_close(&answer);
    return TRUE;
}

/* --- The partner ----------------------------------------------------------------------------------- */

typedef struct {
    const TnZmq *zmq;
    gboolean large;
    TnWire *wire;
    void *context, *socket;
    TnTensor *small_answer, *large_answer;
    guint8 *bytes; /* of large_answer */
} Serving;

gboolean
partner_wanted(void)
{
    return g_getenv(VARIABLE) != NULL;
}

static TnTensor *
bytes_tensor(gint64 n, GError **error)
{
    TnTensor *tensor = tn_tensor_new(NULL, tn_type(TN_DTYPE_U8, 1, &n), error);
    guint8 *at = tensor ? tn_tensor_map(tensor, TN_MAP_WRITE, error) : NULL;
    if (!at)
        return NULL;
    memset(at, 1, (gsize)n);
    at[0] = PARTNER_FIRST;
    at[n - 1] = PARTNER_LAST;
    tn_tensor_unmap(tensor);
    return tensor;
}

static gboolean
join(Serving *s, const char *wire, const char *plain, GError **error)
{
    TnWireEvent event;
    s->zmq = tn_zmq(error);
    s->wire = s->zmq ? make_wire(wire, FALSE, error) : NULL;
    if (!s->wire ||
        !open_plain(s->zmq, s->large ? ZMQ_DEALER : ZMQ_REP, &s->context, &s->socket, error))
        return FALSE;
    if (s->zmq->connect(s->socket, plain) != 0 ||
        (s->large && s->zmq->send(s->socket, "", 0, 0) < 0))
        return fail_zmq(s->zmq, plain, error);
    if (!wait_for(s->wire, TN_WIRE_JOINED, &event, error))
        return FALSE;
    tn_wire_event_clear(&event);
    return TRUE;
}

static void
stays(void *data, void *hint)
{
    (void)data;
    (void)hint;
}

/* Answers one request; FALSE: it was the last. */
static gboolean
answer_plain(Serving *s)
{
    static guint8 small[PARTNER_ANSWER];
    zmq_msg_t message;
    s->zmq->msg_init(&message);
    const int n = s->zmq->msg_recv(&message, s->socket, 0);
    s->zmq->msg_close(&message);
    if (n < 0)
        return FALSE;
    if (s->large && n != BACK_BYTES) {
        s->zmq->msg_init_data(&message, s->bytes, PARTNER_BYTES, stays, NULL);
        s->zmq->msg_send(&message, s->socket, 0);
    } else {
        s->zmq->send(s->socket, small, sizeof small, 0);
    }
    return n != BACK_BYTES;
}

static void
answer(Serving *s, TnWireEvent *event)
{
    TnTensor *const tensor = event->topic == PARTNER_LARGE ? s->large_answer : s->small_answer;
    const guint n = event->topic == PARTNER_PLAIN ? 0 : 1;
    tn_wire_answer(s->wire, event->peer, event->number, 0, n, &tensor, none);
    const gboolean plain = event->topic == PARTNER_PLAIN;
    tn_wire_event_clear(event);
    while (plain && answer_plain(s))
        continue;
}

gboolean
partner_serve(GError **error)
{
    guint64 parent, large;
    g_auto(GStrv) words = g_strsplit(g_getenv(VARIABLE), " ", 4);
    if (g_strv_length(words) != 4 ||
        !g_ascii_string_to_unsigned(words[0], 10, 1, G_MAXINT32, &parent, NULL) ||
        !g_ascii_string_to_unsigned(words[1], 10, 0, 1, &large, NULL)) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE, VARIABLE " is for the program's own use");
        return FALSE;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != (pid_t)parent) /* it ended before that was said */
        return TRUE;
    Serving s = { .large = large != 0 };
    TnWireEvent event;
    s.small_answer = bytes_tensor(PARTNER_ANSWER, error);
    s.large_answer = s.small_answer ? bytes_tensor(large ? PARTNER_BYTES : 2, error) : NULL;
    if (!s.large_answer || !join(&s, words[2], words[3], error))
        return FALSE; /* the process ends, and all with it */
    s.bytes = tn_storage_memory(tn_tensor_storage(s.large_answer));
    while (wait_for(s.wire, TN_WIRE_ASKED, &event, error))
        answer(&s, &event);
    return FALSE;
}
