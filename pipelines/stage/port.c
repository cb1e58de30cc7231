/* port.c: an edge and the consumer's end of it: frames made when asked for, or ahead, always in
 * order.
 *
 * A stage that runs in other processes has a side of its own here (placed.c), so has one that replies
 * (replies.c) and a worker that makes versions (latest.c).
 *
 * Without workers the frame after the one that was asked for is offered to the pool: a thread that
 * has nothing else to do makes it meanwhile, or else the consumer when it asks. An error waits with
 * its frame until that is asked for.
 *
 * With workers the edge is a ring of slots. A worker claims the next number and its input frame
 * together, so that inputs are pulled in order, makes the frame, and puts it into its slot with its
 * number; the consumer takes what has the number that is next. Neither takes a lock that the other
 * takes, nor writes what the other does: to pass memory from one processor's cache to another's is
 * most of what a frame costs. Who must wait looks again for a moment, which costs less than to sleep
 * and be woken, then sleeps; nobody is signalled unless somebody sleeps. All waits look at the
 * cancel flag at least every 50 ms. */
#include "stage/latest.h"
#include "stage/placed.h"
#include "stage/replies.h"

#define LONGEST_PAUSE 256 /* of who waits, before it sleeps: some microseconds */
#define LINE 64           /* bytes of a cache line: what two threads write lies in two */

typedef struct {
    atomic_ullong number; /* of the frame that is there, from 1; anything else: it is not */
    TnMade made;          /* the consumer's once it has moved on from there */
} Slot;

/* Something that is waited for. Whoever brings it about does so, then looks for sleepers; whoever
 * sleeps says so, then looks once more: in the one order of all that is sequentially consistent,
 * one of them sees the other. */
typedef struct {
    pthread_cond_t cond;
    atomic_bool awaited; /* somebody sleeps */
} News;

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
    TnReplies *replies; /* of a stage that replies, here; NULL */
    TnLatest *latest;   /* of a worker that makes versions, here; NULL */
    gboolean fresh;     /* what it gives should be as new as it can be: nothing is made ahead */
    GError *error;      /* of the request that was told last; NULL: it was none */
    guint64 about;      /* number of that request */
    guint8 apart[LINE];
    atomic_ullong next; /* number that the next pull gives; the consumer writes it */
    guint8 apart_too[LINE];
    /* without workers */
    void *state;
    TnTask *task; /* makes the frame that the next pull gives; NULL: it is not on offer */
    TnMade ahead; /* by the task */
    /* with workers */
    guint n_workers;
    Worker *workers;
    guint n_slots;
    Slot *slots;
    pthread_mutex_t inputs; /* held while claiming a number with its input; a seek takes it too */
    pthread_mutex_t lock;   /* of who sleeps and who wakes */
    News made, taken;
    guint8 apart_as_well[LINE];
    guint64 seen;       /* next as a worker read it last, with inputs */
    guint64 claimed;    /* number that the next worker claims, with inputs */
    atomic_bool paused; /* a seek wants inputs */
    atomic_bool stopped;
    atomic_bool ended; /* a claim met the end: no further ones */
};

/* --- Waiting -------------------------------------------------------------------------------- */

static void
news_init(News *news)
{
    tn_cond_init(&news->cond);
    atomic_init(&news->awaited, FALSE);
}

static void
relax(guint times)
{
    for (guint i = 0; i < times; i++) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }
}

/* Looks less and less often: each look takes what is looked at out of the cache of who writes it. */
static void
wait_until(TnPort *port, News *news, gboolean (*is_so)(TnPort *port))
{
    for (guint pause = 1; pause <= LONGEST_PAUSE; pause *= 2) {
        if (is_so(port))
            return;
        relax(pause);
    }
    pthread_mutex_lock(&port->lock);
    for (;;) {
        atomic_store(&news->awaited, TRUE);
        if (is_so(port))
            break;
        tn_cond_wait(&news->cond, &port->lock, TN_LOOK_US);
    }
    pthread_mutex_unlock(&port->lock);
}

/* After what they wait for was brought about. It takes a while until they are awake: until one sleeps
 * again they are not called twice. */
static void
wake(TnPort *port, News *news)
{
    if (!atomic_load(&news->awaited) || !atomic_exchange(&news->awaited, FALSE))
        return;
    pthread_mutex_lock(&port->lock);
    pthread_cond_broadcast(&news->cond);
    pthread_mutex_unlock(&port->lock);
}

/* --- Making a frame -------------------------------------------------------------------------- */

static TnMade
pull_input(TnPort *port, gboolean wait)
{
    return port->stage->in ? tn_port_take(port->stage->in, wait) : (TnMade){ TN_OK, NULL, NULL };
}

static TnMade
make_next(TnPort *port, gboolean wait)
{
    return tn_stage_make(port->stage, port->pool, port->state, port->next, pull_input(port, wait));
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

/* --- Workers --------------------------------------------------------------------------------- */

static Slot *
slot_of(const TnPort *port, guint64 seq)
{
    return &port->slots[seq % port->n_slots];
}

static gboolean
holds(Slot *slot, guint64 seq)
{
    return atomic_load(&slot->number) == seq + 1;
}

/* Whether there is a free slot. Where the consumer is, is read only if it seemed full: `next` is in the
 * consumer's cache. What was seen is behind it, or after a jump beyond `claimed`, which seems full. */
static gboolean
has_room(TnPort *port)
{
    if (port->claimed - port->seen >= port->n_slots)
        port->seen = atomic_load(&port->next);
    return port->claimed - port->seen < port->n_slots;
}

static gboolean
may_claim(TnPort *port)
{
    return atomic_load(&port->stopped) || atomic_load(&port->paused) ||
           (!atomic_load(&port->ended) && has_room(port));
}

static gboolean
may_go_on(TnPort *port)
{
    return atomic_load(&port->stopped) || !atomic_load(&port->paused);
}

/* Claims the next number with its input; FALSE: the port has stopped. */
static gboolean
claim(TnPort *port, guint64 *seq, TnMade *in)
{
    for (;;) {
        pthread_mutex_lock(&port->inputs);
        wait_until(port, &port->taken, may_claim);
        const gboolean paused = atomic_load(&port->paused), stopped = atomic_load(&port->stopped);
        const gboolean may = !paused && !stopped;
        if (may) {
            *seq = port->claimed++;
            *in = pull_input(port, TRUE);
        }
        pthread_mutex_unlock(&port->inputs);
        if (may || stopped)
            return may;
        wait_until(port, &port->taken, may_go_on);
    }
}

static void
put(TnPort *port, guint64 seq, TnMade made)
{
    Slot *slot = slot_of(port, seq);
    slot->made = made;
    if (made.status != TN_OK)
        atomic_store(&port->ended, TRUE);
    atomic_store(&slot->number, seq + 1);
    wake(port, &port->made);
}

static gpointer
work(gpointer data)
{
    Worker *worker = data;
    TnPort *port = worker->port;
    guint64 seq = 0;
    TnMade in = { TN_OK, NULL, NULL };
    while (claim(port, &seq, &in))
        put(port, seq, tn_stage_make(port->stage, port->pool, worker->state, seq, in));
    return NULL;
}

static gboolean
is_made(TnPort *port)
{
    const guint64 next = atomic_load(&port->next);
    return holds(slot_of(port, next), next) || atomic_load(&port->stopped) ||
           tn_context_cancelled(port->context);
}

static TnMade
pull_made(TnPort *port, gboolean wait)
{
    const guint64 next = atomic_load(&port->next);
    Slot *slot = slot_of(port, next);
    if (wait)
        wait_until(port, &port->made, is_made);
    if (!holds(slot, next))
        return (TnMade){ wait ? TN_CANCELLED : TN_AGAIN, NULL, NULL };
    const TnMade made = slot->made;
    if (made.status != TN_OK) { /* an end or failure stays for the next pull, but is told once */
        slot->made.error = NULL;
        return made;
    }
    atomic_store(&port->next, next + 1);
    wake(port, &port->taken);
    return made;
}

static TnMade
pull_placed(TnPort *port, gboolean wait)
{
    const TnMade made = tn_placed_pull(port->stage->placed, wait);
    atomic_store(&port->next, tn_placed_next(port->stage->placed));
    return made;
}

static TnMade
pull_latest(TnPort *port, gboolean wait)
{
    const TnMade made = tn_latest_pull(port->latest, wait);
    if (made.status == TN_OK)
        atomic_store(&port->next, tn_frame_seq(made.frame) + 1);
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
        made = port->n_workers ? pull_made(port, wait) : pull_inline(port, wait);
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
    atomic_store(&port->next, *number + 1);
    return TN_OK;
}

guint64
tn_port_seq(const TnPort *port)
{
    return port->next;
}

/* Everything claimed is made. */
static gboolean
is_idle(TnPort *port)
{
    for (guint64 seq = port->next; seq < port->claimed; seq++)
        if (!holds(slot_of(port, seq), seq))
            return FALSE;
    return TRUE;
}

/* What was made and not taken; nobody makes any. */
static void
empty_slots(TnPort *port)
{
    for (guint64 seq = port->next; seq < port->claimed; seq++)
        if (holds(slot_of(port, seq), seq))
            tn_made_drop(&slot_of(port, seq)->made);
    for (guint i = 0; i < port->n_slots; i++)
        atomic_store(&port->slots[i].number, 0);
}

/* Takes inputs; then no worker makes anything. */
static void
pause_workers(TnPort *port)
{
    atomic_store(&port->paused, TRUE);
    wake(port, &port->taken);
    pthread_mutex_lock(&port->inputs);
    wait_until(port, &port->made, is_idle);
    empty_slots(port);
}

static void
resume_workers(TnPort *port)
{
    atomic_store(&port->ended, FALSE);
    atomic_store(&port->paused, FALSE);
    pthread_mutex_unlock(&port->inputs);
    wake(port, &port->taken);
}

/* Whether a jump changes anything: what is asked for anew has been given already, or is newer. */
static gboolean
may_seek(TnPort *port, guint64 seq)
{
    const guint32 flags = port->stage->flags;
    if (flags & TN_STAGE_LATEST)
        return seq > port->next;
    return flags & TN_STAGE_REPLIES || port->next != seq || atomic_load(&port->ended);
}

void
tn_port_seek(TnPort *port, guint64 seq)
{
    if (!may_seek(port, seq))
        return;
    if (port->n_workers)
        pause_workers(port);
    if (end_ahead(port))
        tn_made_drop(&port->ahead);
    if (port->stage->placed)
        tn_placed_seek(port->stage->placed, seq);
    else if (port->replies)
        tn_replies_seek(port->replies, seq);
    else if (port->latest)
        tn_latest_seek(port->latest, seq);
    else if (port->stage->in)
        tn_port_seek(port->stage->in, seq);
    atomic_store(&port->next, seq);
    if (port->n_workers) {
        port->claimed = seq;
        resume_workers(port);
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
        if (!tn_stage_worker_new(stage, &worker->state, error))
            return FALSE;
        port->n_workers++;
        worker->thread = tn_thread_spawn(stage->name, work, worker, error);
        if (!worker->thread)
            return FALSE;
    }
    return TRUE;
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
    return stage->common.workers ? start_workers(port, error)
                                 : tn_stage_worker_new(stage, &port->state, error);
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
    pthread_mutex_init(&port->lock, NULL);
    pthread_mutex_init(&port->inputs, NULL);
    news_init(&port->made);
    news_init(&port->taken);
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
    atomic_store(&port->stopped, TRUE);
    wake(port, &port->made);
    wake(port, &port->taken);
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
    for (guint i = 0; i < port->n_workers; i++)
        if (port->workers[i].thread)
            tn_thread_join(port->workers[i].thread);
    empty_slots(port);
    for (guint i = 0; i < port->n_workers; i++)
        tn_stage_worker_free(port->stage, port->workers[i].state);
    tn_stage_worker_free(port->stage, port->state);
    tn_replies_free(port->replies);
    tn_latest_free(port->latest);
    pthread_cond_destroy(&port->made.cond);
    pthread_cond_destroy(&port->taken.cond);
    pthread_mutex_destroy(&port->inputs);
    pthread_mutex_destroy(&port->lock);
    tn_frame_pool_close(port->pool);
    g_clear_error(&port->error);
    g_free(port->workers);
    g_free(port->slots);
    g_free(port);
}
