/* port.c: an edge and the consumer's end of it: frames made when asked for, or ahead, always in
 * order.
 *
 * Who makes them depends on the stage: workers (ring.c), other processes (placed.c), whoever answers its
 * requests (replies.c), a worker that makes versions (latest.c).
 *
 * Without any of these the frame after the one that was asked for is offered to the pool: a thread that
 * has nothing else to do makes it meanwhile, or else the consumer when it asks. An error waits with
 * its frame until that is asked for. */
#include "stage/latest.h"
#include "stage/placed.h"
#include "stage/replies.h"
#include "stage/ring.h"

struct TnPort {
    TnNodeStage *stage;
    TnContext *context;
    TnBus *bus;
    TnFramePool *pool;
    TnRing *ring;       /* of a stage with workers, here; NULL */
    TnReplies *replies; /* of a stage that replies, here; NULL */
    TnLatest *latest;   /* of a worker that makes versions, here; NULL */
    gboolean fresh;     /* what it gives should be as new as it can be: nothing is made ahead */
    GError *error;      /* of the request that was told last; NULL: it was none */
    guint64 about;      /* number of that request */
    guint64 next;       /* number that the next pull gives */
    /* without any of these */
    void *state;  /* the stage's */
    TnTask *task; /* makes the frame that the next pull gives; NULL: it is not on offer */
    TnMade ahead; /* by the task */
};

/* --- Making a frame -------------------------------------------------------------------------- */

static TnMade
make_next(TnPort *port, gboolean wait)
{
    return tn_stage_make(port->stage, port->pool, port->state, port->next,
                         tn_stage_pull_input(port->stage, wait));
}

/* The pool's threads compute; they wait for nobody's frames. */
static void
make_ahead(gpointer data)
{
    TnPort *port = data;
    port->ahead = make_next(port, FALSE);
}

/* Waits for the frame that is being made ahead, or has it never made; FALSE: there is none. */
static gboolean
end_ahead(TnPort *port)
{
    TnTask *task = g_steal_pointer(&port->task);
    return task && !tn_task_take_back(task);
}

static TnMade
pull_inline(TnPort *port, gboolean wait)
{
    TnMade made = end_ahead(port) ? port->ahead : make_next(port, wait);
    port->ahead = (TnMade){ TN_OK, NULL, NULL };
    if (made.status == TN_AGAIN && wait)
        made = make_next(port, TRUE);
    if (made.status == TN_OK) {
        port->next++;
        port->task = port->fresh ? NULL : tn_task_offer(make_ahead, port);
    }
    return made;
}

/* --- Pulling --------------------------------------------------------------------------------- */

static TnMade
pull_ring(TnPort *port, gboolean wait)
{
    const TnMade made = tn_ring_pull(port->ring, wait);
    port->next = tn_ring_next(port->ring);
    return made;
}

static TnMade
pull_placed(TnPort *port, gboolean wait)
{
    const TnMade made = tn_placed_pull(port->stage->placed, wait);
    port->next = tn_placed_next(port->stage->placed);
    return made;
}

static TnMade
pull_latest(TnPort *port, gboolean wait)
{
    const TnMade made = tn_latest_pull(port->latest, wait);
    if (made.status == TN_OK)
        port->next = tn_frame_seq(made.frame) + 1;
    return made;
}

TnMade
tn_port_take(TnPort *port, gboolean wait)
{
    if (tn_context_cancelled(port->context))
        return (TnMade){ TN_CANCELLED, NULL, NULL };
    const gint64 begin = tn_span_begin(port->context);
    TnMade made;
    if (port->stage->placed)
        made = pull_placed(port, wait);
    else if (port->replies)
        made = tn_replies_pull(port->replies, wait);
    else if (port->latest)
        made = pull_latest(port, wait);
    else
        made = port->ring ? pull_ring(port, wait) : pull_inline(port, wait);
    tn_span_end(port->context, "wait", port->stage->name, begin);
    return made;
}

guint32
tn_port_flags(const TnPort *port)
{
    return port->stage->flags;
}

/* --- Interface ------------------------------------------------------------------------------- */

const TnSchema *
tn_port_schema(const TnPort *port)
{
    return &port->stage->schema;
}

/* What came of a pull, as its caller has it. */
static TnStatus
give(TnPort *port, TnMade made, TnFrame **frame)
{
    g_clear_error(&port->error);
    if (made.status != TN_OK && made.frame) { /* one request's matter */
        port->about = tn_frame_seq(made.frame);
        port->error = g_steal_pointer(&made.error);
        tn_frame_unref(g_steal_pointer(&made.frame));
    }
    if (made.error)
        tn_bus_post(port->bus, made.error);
    *frame = made.frame;
    return made.status;
}

TnStatus
tn_port_pull(TnPort *port, TnFrame **frame)
{
    return give(port, tn_port_take(port, TRUE), frame);
}

TnStatus
tn_port_latest(TnPort *port, TnFrame **frame)
{
    *frame = NULL;
    return port->stage->flags & TN_STAGE_LATEST ? give(port, tn_port_take(port, FALSE), frame)
                                                : TN_UNSUPPORTED;
}

const TnSchema *
tn_port_requests(const TnPort *port)
{
    return port->stage->requests;
}

const GError *
tn_port_error(const TnPort *port, guint64 *number)
{
    if (port->error && number)
        *number = port->about;
    return port->error;
}

/* Why nothing can be asked; TN_OK: it can. */
static TnStatus
check_request(TnPort *port, const TnFrame *request)
{
    const TnNodeStage *stage = port->stage;
    if (!stage->requests) {
        g_set_error(&port->error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                    "stage '%s' takes no requests: its frames are pulled", stage->name);
        return TN_UNSUPPORTED;
    }
    if (tn_context_cancelled(port->context))
        return TN_CANCELLED;
    return tn_request_check(stage->name, stage->requests, request, &port->error) ? TN_OK
                                                                                 : TN_FAILED;
}

TnStatus
tn_port_ask(TnPort *port, TnFrame *request, guint milliseconds, guint64 *number)
{
    g_clear_error(&port->error);
    port->about = port->next;
    const TnStatus status = check_request(port, request);
    if (status != TN_OK) {
        tn_frame_unref(request);
        return status;
    }
    *number = port->stage->placed ? tn_placed_ask(port->stage->placed, request, milliseconds)
                                  : tn_replies_ask(port->replies, request, milliseconds);
    port->next = *number + 1;
    return TN_OK;
}

guint64
tn_port_seq(const TnPort *port)
{
    return port->next;
}

/* Whether a jump changes anything: what is asked for anew has been given already, or is newer. */
static gboolean
may_seek(TnPort *port, guint64 seq)
{
    const guint32 flags = port->stage->flags;
    if (flags & TN_STAGE_LATEST)
        return seq > port->next;
    return flags & TN_STAGE_REPLIES || port->next != seq ||
           (port->ring && tn_ring_ended(port->ring));
}

void
tn_port_seek(TnPort *port, guint64 seq)
{
    if (!may_seek(port, seq))
        return;
    if (end_ahead(port))
        tn_made_drop(&port->ahead);
    if (port->stage->placed)
        tn_placed_seek(port->stage->placed, seq);
    else if (port->replies)
        tn_replies_seek(port->replies, seq);
    else if (port->latest)
        tn_latest_seek(port->latest, seq);
    else if (port->ring)
        tn_ring_seek(port->ring, seq);
    else if (port->stage->in)
        tn_port_seek(port->stage->in, seq);
    port->next = seq;
}

/* Whoever makes the frames. */
static gboolean
start(TnPort *port, GError **error)
{
    TnNodeStage *stage = port->stage;
    if (stage->placed) /* processes */
        return TRUE;
    if (stage->flags & TN_STAGE_REPLIES)
        return (port->replies = tn_replies_new(stage, port->context, port->pool, error)) != NULL;
    if (stage->flags & TN_STAGE_LATEST && stage->common.workers)
        return (port->latest = tn_latest_new(stage, port->context, port->pool, error)) != NULL;
    if (stage->common.workers)
        return (port->ring = tn_ring_new(stage, port->context, port->pool, error)) != NULL;
    return tn_stage_worker_new(stage, &port->state, error);
}

TnPort *
tn_port_new(TnNodeStage *stage, TnContext *context, TnBus *bus, GError **error)
{
    TnPort *port = g_new0(TnPort, 1);
    port->stage = stage;
    port->context = context;
    port->bus = bus;
    port->pool = tn_frame_pool_new(stage->schema.n);
    port->fresh = stage->flags & TN_STAGE_LATEST || (stage->in && stage->in->fresh);
    if (start(port, error))
        return port;
    tn_port_free(port);
    return NULL;
}

void
tn_port_stop(TnPort *port)
{
    if (!port)
        return;
    if (port->ring)
        tn_ring_stop(port->ring);
    if (port->replies)
        tn_replies_stop(port->replies);
    if (port->latest)
        tn_latest_stop(port->latest);
    if (port->stage->placed)
        tn_placed_stop(port->stage->placed);
}

void
tn_port_free(TnPort *port)
{
    if (!port)
        return;
    tn_port_stop(port);
    if (end_ahead(port))
        tn_made_drop(&port->ahead);
    tn_ring_free(port->ring);
    tn_stage_worker_free(port->stage, port->state);
    tn_replies_free(port->replies);
    tn_latest_free(port->latest);
    tn_frame_pool_close(port->pool);
    g_clear_error(&port->error);
    g_free(port);
}
