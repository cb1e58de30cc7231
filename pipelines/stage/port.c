/* port.c: an edge and the consumer's end of it: frames made when asked for, or ahead, always in
 * order.
 *
 * A stage that runs in other processes has a side of its own here (placed.c).
 *
 * Without workers the frame after the one that was asked for is offered to the pool: a thread that
 * has nothing else to do makes it meanwhile, or else the consumer when it asks. An error waits with
 * its frame until that is asked for.
 *
 * With workers the edge is a ring of slots. A worker claims the next number and its input frame
 * together, so that inputs are pulled in order, makes the frame without the lock, and puts it into
 * its slot; the consumer waits for the slot that is next. All waits look at the cancel flag at
 * least every 50 ms. */
#include <errno.h>
#include <time.h>

#include "stage/placed.h"

#define LOOK_MS 50

typedef enum { SLOT_EMPTY, SLOT_BUSY, SLOT_READY } SlotState;

typedef struct {
    SlotState state;
    TnMade made; /* of a ready slot */
} Slot;

typedef struct {
    TnPort *port;
    void *state; /* the stage's */
    TnThread *thread;
} Worker;

struct TnPort {
    TnNodeStage *stage;
    TnContext *context;
    TnBus *bus;
    TnFramePool *pool;
    guint64 next; /* number that the next pull gives */
    /* without workers */
    void *state;
    TnTask *task; /* makes the frame that the next pull gives; NULL: it is not on offer */
    TnMade ahead; /* by the task */
    /* with workers */
    guint n_workers;
    Worker *workers;
    guint n_slots;
    Slot *slots;
    pthread_mutex_t lock;   /* of all below */
    pthread_mutex_t inputs; /* held while claiming a number with its input */
    pthread_cond_t made, taken;
    guint64 claimed; /* number that the next worker claims */
    guint busy;      /* workers between claim and put */
    gboolean paused; /* a seek wants them out */
    gboolean stopped;
    gboolean ended; /* a claim met the end: no further ones */
};

/* --- Waiting -------------------------------------------------------------------------------- */

static void
wait_a_little(pthread_cond_t *cond, pthread_mutex_t *lock)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_cond_timedwait(cond, lock, &until);
}

static void
cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

/* --- Making a frame -------------------------------------------------------------------------- */

static TnMade port_pull(TnPort *port, gboolean wait);

static void
drop(TnMade *made)
{
    tn_frame_unref(made->frame);
    g_clear_error(&made->error);
    *made = (TnMade){ TN_OK, NULL, NULL };
}

/* Makes frame seq of what came of its input: in (transfer full), all zero for a source. */
static TnMade
make_frame(TnPort *port, void *state, guint64 seq, TnMade in)
{
    TnNodeStage *stage = port->stage;
    if (in.status != TN_OK)
        return in;
    TnMade made = { TN_OK, tn_frame_pool_take(port->pool, seq), NULL };
    const TnFloatMode mode = tn_float_mode_enter(); /* the same on every thread */
    made.status = stage->vtable->make(stage->self, state, seq, in.frame, made.frame, &made.error);
    tn_float_mode_leave(mode);
    tn_frame_unref(in.frame);
    if (made.status == TN_OK)
        return made;
    tn_frame_unref(g_steal_pointer(&made.frame));
    if (made.status == TN_EOS || made.status == TN_CANCELLED) {
        g_clear_error(&made.error);
        return made;
    }
    if (!made.error)
        tn_status_set_error(&made.error, made.status, "frame %" G_GUINT64_FORMAT, seq);
    g_prefix_error(&made.error, "stage '%s': ", stage->name);
    made.status = TN_FAILED;
    return made;
}

static TnMade
pull_input(TnPort *port, gboolean wait)
{
    return port->stage->in ? port_pull(port->stage->in, wait) : (TnMade){ TN_OK, NULL, NULL };
}

static TnMade
make_next(TnPort *port, gboolean wait)
{
    return make_frame(port, port->state, port->next, pull_input(port, wait));
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
        port->task = tn_task_offer(make_ahead, port);
    }
    return made;
}

/* --- Workers --------------------------------------------------------------------------------- */

/* Waits until the next number may be claimed; TRUE with the slot marked busy. Holds inputs. */
static gboolean
claim_slot(TnPort *port, guint64 *seq)
{
    gboolean ok = FALSE;
    pthread_mutex_lock(&port->lock);
    while (!port->stopped &&
           (port->paused || port->ended || port->claimed - port->next >= port->n_slots))
        pthread_cond_wait(&port->taken, &port->lock);
    if (!port->stopped) {
        *seq = port->claimed++;
        port->slots[*seq % port->n_slots].state = SLOT_BUSY;
        port->busy++;
        ok = TRUE;
    }
    pthread_mutex_unlock(&port->lock);
    return ok;
}

static void
put_slot(TnPort *port, guint64 seq, TnMade made)
{
    pthread_mutex_lock(&port->lock);
    port->slots[seq % port->n_slots] = (Slot){ SLOT_READY, made };
    port->ended = port->ended || made.status != TN_OK;
    port->busy--;
    pthread_cond_broadcast(&port->made);
    pthread_mutex_unlock(&port->lock);
}

static gpointer
work(gpointer data)
{
    Worker *worker = data;
    TnPort *port = worker->port;
    for (;;) {
        guint64 seq;
        TnMade in = { TN_OK, NULL, NULL };
        pthread_mutex_lock(&port->inputs);
        gboolean claimed = claim_slot(port, &seq);
        if (claimed)
            in = pull_input(port, TRUE);
        pthread_mutex_unlock(&port->inputs);
        if (!claimed)
            return NULL;
        put_slot(port, seq, make_frame(port, worker->state, seq, in));
    }
}

static TnMade
pull_made(TnPort *port, gboolean wait)
{
    TnMade made = { wait ? TN_CANCELLED : TN_AGAIN, NULL, NULL };
    pthread_mutex_lock(&port->lock);
    Slot *slot = &port->slots[port->next % port->n_slots];
    while (wait && slot->state != SLOT_READY && !port->stopped &&
           !tn_context_cancelled(port->context))
        wait_a_little(&port->made, &port->lock);
    if (slot->state == SLOT_READY) {
        made = slot->made;
        slot->made.error = NULL; /* an end or failure stays for the next pull, but is told once */
        if (made.status == TN_OK) {
            *slot = (Slot){ SLOT_EMPTY, { TN_OK, NULL, NULL } };
            port->next++;
            pthread_cond_broadcast(&port->taken);
        }
    }
    pthread_mutex_unlock(&port->lock);
    return made;
}

static TnMade
pull_placed(TnPort *port, gboolean wait)
{
    TnMade made = tn_placed_pull(port->stage->placed, port->next, wait);
    port->next += made.status == TN_OK ? 1 : 0;
    return made;
}

static TnMade
port_pull(TnPort *port, gboolean wait)
{
    if (tn_context_cancelled(port->context))
        return (TnMade){ TN_CANCELLED, NULL, NULL };
    if (port->stage->placed)
        return pull_placed(port, wait);
    return port->n_workers ? pull_made(port, wait) : pull_inline(port, wait);
}

TnMade
tn_port_take(TnPort *port)
{
    return port_pull(port, TRUE);
}

/* --- Interface ------------------------------------------------------------------------------- */

const TnSchema *
tn_port_schema(const TnPort *port)
{
    return &port->stage->schema;
}

TnStatus
tn_port_pull(TnPort *port, TnFrame **frame)
{
    TnMade made = port_pull(port, TRUE);
    if (made.error)
        tn_bus_post(port->bus, made.error);
    *frame = made.frame;
    return made.status;
}

guint64
tn_port_seq(const TnPort *port)
{
    return port->next;
}

void
tn_port_seek(TnPort *port, guint64 seq)
{
    pthread_mutex_lock(&port->lock);
    const gboolean there = port->next == seq && !port->ended;
    pthread_mutex_unlock(&port->lock);
    if (there)
        return;
    if (port->n_workers) {
        pthread_mutex_lock(&port->lock);
        port->paused = TRUE;
        while (port->busy)
            wait_a_little(&port->made, &port->lock);
        for (guint i = 0; i < port->n_slots; i++) {
            drop(&port->slots[i].made);
            port->slots[i].state = SLOT_EMPTY;
        }
        pthread_mutex_unlock(&port->lock);
    }
    if (end_ahead(port))
        drop(&port->ahead);
    if (port->stage->placed)
        tn_placed_forget(port->stage->placed);
    if (port->stage->in)
        tn_port_seek(port->stage->in, seq);
    if (port->n_workers)
        pthread_mutex_lock(&port->lock);
    port->next = port->claimed = seq;
    port->ended = port->paused = FALSE;
    if (port->n_workers) {
        pthread_cond_broadcast(&port->taken);
        pthread_mutex_unlock(&port->lock);
    }
}

static gboolean
start_workers(TnPort *port, GError **error)
{
    TnNodeStage *stage = port->stage;
    port->n_slots =
        stage->common.queue ? (guint)stage->common.queue : 2 * (guint)stage->common.workers;
    port->slots = g_new0(Slot, port->n_slots);
    port->workers = g_new0(Worker, (gsize)stage->common.workers);
    for (gint64 i = 0; i < stage->common.workers; i++) {
        Worker *worker = &port->workers[i];
        worker->port = port;
        if (TN_HAS(stage->vtable, worker_new) &&
            !(worker->state = stage->vtable->worker_new(stage->self, error)))
            return FALSE;
        port->n_workers++;
        worker->thread = tn_thread_spawn(stage->name, work, worker, error);
        if (!worker->thread)
            return FALSE;
    }
    return TRUE;
}

TnPort *
tn_port_new(TnNodeStage *stage, TnContext *context, TnBus *bus, GError **error)
{
    TnPort *port = g_new0(TnPort, 1);
    port->stage = stage;
    port->context = context;
    port->bus = bus;
    port->pool = tn_frame_pool_new(stage->schema.n);
    pthread_mutex_init(&port->lock, NULL);
    pthread_mutex_init(&port->inputs, NULL);
    cond_init(&port->made);
    cond_init(&port->taken);
    gboolean ok = TRUE;
    if (stage->placed) /* its workers are processes */
        return port;
    if (stage->common.workers)
        ok = start_workers(port, error);
    else if (TN_HAS(stage->vtable, worker_new))
        ok = (port->state = stage->vtable->worker_new(stage->self, error)) != NULL;
    if (!ok) {
        tn_port_free(port);
        return NULL;
    }
    return port;
}

void
tn_port_stop(TnPort *port)
{
    if (!port)
        return;
    pthread_mutex_lock(&port->lock);
    port->stopped = TRUE;
    pthread_cond_broadcast(&port->made);
    pthread_cond_broadcast(&port->taken);
    pthread_mutex_unlock(&port->lock);
}

void
tn_port_free(TnPort *port)
{
    if (!port)
        return;
    const TnStageVTable *vtable = port->stage->vtable;
    tn_port_stop(port);
    if (end_ahead(port))
        drop(&port->ahead);
    for (guint i = 0; i < port->n_workers; i++)
        if (port->workers[i].thread)
            tn_thread_join(port->workers[i].thread);
    for (guint i = 0; i < port->n_slots; i++)
        drop(&port->slots[i].made);
    for (guint i = 0; i < port->n_workers; i++)
        if (port->workers[i].state && TN_HAS(vtable, worker_free))
            vtable->worker_free(port->stage->self, port->workers[i].state);
    if (port->state && TN_HAS(vtable, worker_free))
        vtable->worker_free(port->stage->self, port->state);
    pthread_cond_destroy(&port->made);
    pthread_cond_destroy(&port->taken);
    pthread_mutex_destroy(&port->inputs);
    pthread_mutex_destroy(&port->lock);
    tn_frame_pool_unref(port->pool);
    g_free(port->workers);
    g_free(port->slots);
    g_free(port);
}
