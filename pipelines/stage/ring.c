/* ring.c: frames that a stage's workers make ahead, in a ring of slots.
 *
 * A worker claims the next number and its input frame together, so that inputs are pulled in order, makes
 * the frame, and puts it into its slot with its number; the consumer takes what has the number that is next.
 * Neither takes a lock that the other takes, nor writes what the other does: to pass memory from one
 * processor's cache to another's is most of what a frame costs. Who must wait looks again for a moment,
 * which costs less than to sleep and be woken, then sleeps; nobody is signalled unless somebody sleeps. All
 * waits look at the cancel flag at least every 50 ms. */
#include "stage/ring.h"

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
    TnRing *ring;
    void *state; /* the stage's */
    TnThread *thread;
} Worker;

struct TnRing {
    TnNodeStage *stage;
    TnContext *context;
    TnFramePool *pool;
    guint n_workers;
    Worker *workers;
    guint n_slots;
    Slot *slots;
    guint8 apart[LINE];
    atomic_ullong next; /* number that the next pull gives; the consumer writes it */
    guint8 apart_too[LINE];
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
wait_until(TnRing *ring, News *news, gboolean (*is_so)(TnRing *ring))
{
    for (guint pause = 1; pause <= LONGEST_PAUSE; pause *= 2) {
        if (is_so(ring))
            return;
        relax(pause);
    }
    pthread_mutex_lock(&ring->lock);
    for (;;) {
        atomic_store(&news->awaited, TRUE);
        if (is_so(ring))
            break;
        tn_cond_wait(&news->cond, &ring->lock, TN_LOOK_US);
    }
    pthread_mutex_unlock(&ring->lock);
}

/* After what they wait for was brought about. It takes a while until they are awake: until one sleeps
 * again they are not called twice. */
static void
wake(TnRing *ring, News *news)
{
    if (!atomic_load(&news->awaited) || !atomic_exchange(&news->awaited, FALSE))
        return;
    pthread_mutex_lock(&ring->lock);
    pthread_cond_broadcast(&news->cond);
    pthread_mutex_unlock(&ring->lock);
}

/* --- Workers --------------------------------------------------------------------------------- */

static Slot *
slot_of(const TnRing *ring, guint64 seq)
{
    return &ring->slots[seq % ring->n_slots];
}

static gboolean
holds(Slot *slot, guint64 seq)
{
    return atomic_load(&slot->number) == seq + 1;
}

/* Whether there is a free slot. Where the consumer is, is read only if it seemed full: `next` is in the
 * consumer's cache. What was seen is behind it, or after a jump beyond `claimed`, which seems full. */
static gboolean
has_room(TnRing *ring)
{
    if (ring->claimed - ring->seen >= ring->n_slots)
        ring->seen = atomic_load(&ring->next);
    return ring->claimed - ring->seen < ring->n_slots;
}

static gboolean
may_claim(TnRing *ring)
{
    return atomic_load(&ring->stopped) || atomic_load(&ring->paused) ||
           (!atomic_load(&ring->ended) && has_room(ring));
}

static gboolean
may_go_on(TnRing *ring)
{
    return atomic_load(&ring->stopped) || !atomic_load(&ring->paused);
}

/* Claims the next number with its input; FALSE: the ring has stopped. */
static gboolean
claim(TnRing *ring, guint64 *seq, TnMade *in)
{
    for (;;) {
        pthread_mutex_lock(&ring->inputs);
        wait_until(ring, &ring->taken, may_claim);
        const gboolean paused = atomic_load(&ring->paused), stopped = atomic_load(&ring->stopped);
        const gboolean may = !paused && !stopped;
        if (may) {
            *seq = ring->claimed++;
            *in = tn_stage_pull_input(ring->stage, TRUE);
        }
        pthread_mutex_unlock(&ring->inputs);
        if (may || stopped)
            return may;
        wait_until(ring, &ring->taken, may_go_on);
    }
}

static void
put(TnRing *ring, guint64 seq, TnMade made)
{
    Slot *slot = slot_of(ring, seq);
    slot->made = made;
    if (made.status != TN_OK)
        atomic_store(&ring->ended, TRUE);
    atomic_store(&slot->number, seq + 1);
    wake(ring, &ring->made);
}

static gpointer
work(gpointer data)
{
    Worker *worker = data;
    TnRing *ring = worker->ring;
    guint64 seq = 0;
    TnMade in = { TN_OK, NULL, NULL };
    while (claim(ring, &seq, &in))
        put(ring, seq, tn_stage_make(ring->stage, ring->pool, worker->state, seq, in));
    return NULL;
}

/* --- The consumer ---------------------------------------------------------------------------- */

static gboolean
is_made(TnRing *ring)
{
    const guint64 next = atomic_load(&ring->next);
    return holds(slot_of(ring, next), next) || atomic_load(&ring->stopped) ||
           tn_context_cancelled(ring->context);
}

TnMade
tn_ring_pull(TnRing *ring, gboolean wait)
{
    const guint64 next = atomic_load(&ring->next);
    Slot *slot = slot_of(ring, next);
    if (wait)
        wait_until(ring, &ring->made, is_made);
    if (!holds(slot, next))
        return (TnMade){ wait ? TN_CANCELLED : TN_AGAIN, NULL, NULL };
    const TnMade made = slot->made;
    if (made.status != TN_OK) { /* an end or failure stays for the next pull, but is told once */
        slot->made.error = NULL;
        return made;
    }
    atomic_store(&ring->next, next + 1);
    wake(ring, &ring->taken);
    return made;
}

guint64
tn_ring_next(const TnRing *ring)
{
    return ring->next;
}

gboolean
tn_ring_ended(const TnRing *ring)
{
    return ring->ended;
}

/* Everything claimed is made. */
static gboolean
is_idle(TnRing *ring)
{
    for (guint64 seq = ring->next; seq < ring->claimed; seq++)
        if (!holds(slot_of(ring, seq), seq))
            return FALSE;
    return TRUE;
}

/* What was made and not taken; nobody makes any. */
static void
empty_slots(TnRing *ring)
{
    for (guint64 seq = ring->next; seq < ring->claimed; seq++)
        if (holds(slot_of(ring, seq), seq))
            tn_made_drop(&slot_of(ring, seq)->made);
    for (guint i = 0; i < ring->n_slots; i++)
        atomic_store(&ring->slots[i].number, 0);
}

/* Takes inputs; then no worker makes anything. */
static void
pause_workers(TnRing *ring)
{
    atomic_store(&ring->paused, TRUE);
    wake(ring, &ring->taken);
    pthread_mutex_lock(&ring->inputs);
    wait_until(ring, &ring->made, is_idle);
    empty_slots(ring);
}

static void
resume_workers(TnRing *ring)
{
    atomic_store(&ring->ended, FALSE);
    atomic_store(&ring->paused, FALSE);
    pthread_mutex_unlock(&ring->inputs);
    wake(ring, &ring->taken);
}

void
tn_ring_seek(TnRing *ring, guint64 seq)
{
    pause_workers(ring);
    if (ring->stage->in)
        tn_port_seek(ring->stage->in, seq);
    atomic_store(&ring->next, seq);
    ring->claimed = seq;
    resume_workers(ring);
}

/* --- Life ------------------------------------------------------------------------------------ */

static gboolean
start_workers(TnRing *ring, GError **error)
{
    TnNodeStage *stage = ring->stage;
    ring->n_slots =
        stage->common.queue ? (guint)stage->common.queue : 2 * (guint)stage->common.workers;
    ring->slots = g_new0(Slot, ring->n_slots);
    ring->workers = g_new0(Worker, (gsize)stage->common.workers);
    for (gint64 i = 0; i < stage->common.workers; i++) {
        Worker *worker = &ring->workers[i];
        worker->ring = ring;
        if (!tn_stage_worker_new(stage, &worker->state, error))
            return FALSE;
        ring->n_workers++;
        worker->thread = tn_thread_spawn(stage->name, work, worker, error);
        if (!worker->thread)
            return FALSE;
    }
    return TRUE;
}

TnRing *
tn_ring_new(TnNodeStage *stage, TnContext *context, TnFramePool *pool, GError **error)
{
    TnRing *ring = g_new0(TnRing, 1);
    ring->stage = stage;
    ring->context = context;
    ring->pool = pool;
    pthread_mutex_init(&ring->lock, NULL);
    pthread_mutex_init(&ring->inputs, NULL);
    news_init(&ring->made);
    news_init(&ring->taken);
    if (start_workers(ring, error))
        return ring;
    tn_ring_free(ring);
    return NULL;
}

void
tn_ring_stop(TnRing *ring)
{
    atomic_store(&ring->stopped, TRUE);
    wake(ring, &ring->made);
    wake(ring, &ring->taken);
}

void
tn_ring_free(TnRing *ring)
{
    if (!ring)
        return;
    tn_ring_stop(ring);
    for (guint i = 0; i < ring->n_workers; i++)
        if (ring->workers[i].thread)
            tn_thread_join(ring->workers[i].thread);
    empty_slots(ring);
    for (guint i = 0; i < ring->n_workers; i++)
        tn_stage_worker_free(ring->stage, ring->workers[i].state);
    pthread_cond_destroy(&ring->made.cond);
    pthread_cond_destroy(&ring->taken.cond);
    pthread_mutex_destroy(&ring->inputs);
    pthread_mutex_destroy(&ring->lock);
    g_free(ring->workers);
    g_free(ring->slots);
    g_free(ring);
}
