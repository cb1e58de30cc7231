/* pool.c: the one pool of worker threads.
 *
 * A call puts its job into a slot of a fixed table, works on it itself, and returns when the last
 * worker has left the slot. Joining, claiming a chunk and leaving are single atomic operations; a
 * lock is taken only to sleep and to wake sleepers. Slots are static, so a worker that looks into
 * one too late finds it closed, never gone. */
#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <tenon/base.h>

#include "pool-private.h"

#define MAX_THREADS 256
#define MAX_JOBS 32 /* calls that share the workers; further ones run alone */
#define MAX_PARTS 8 /* of a job's chunks, one for each of so many threads to begin with */
/* A slot's state: two flags of its caller, and how many workers are inside. */
#define TAKEN 0x80000000u
#define OPEN 0x40000000u    /* workers may join */
#define WAITING 0x20000000u /* the caller sleeps until the last worker leaves */
#define HELPERS 0x0000ffffu

/* Chunks [next, end), in a cache line of its own: every claim writes next. */
typedef struct {
    _Alignas(TN_ALIGN) atomic_size_t next;
    gsize end;
} Part;

typedef struct {
    _Alignas(TN_ALIGN) atomic_uint state;
    /* Written by the caller while no worker can join. */
    TnChunkFunc func;
    gpointer data;
    gsize n;
    guint n_parts;
    Part parts[MAX_PARTS];
    _Alignas(TN_ALIGN) atomic_ullong failure; /* chunk << 8 | status of the lowest failing chunk */
    _Alignas(TN_ALIGN) pthread_mutex_t lock;
    pthread_cond_t left;
} Slot;

#define NO_FAILURE G_MAXUINT64

static struct {
    Slot slots[MAX_JOBS];
    _Alignas(TN_ALIGN) atomic_uint news; /* grows whenever there may be something new to do */
    atomic_uint callers;                 /* calls whose jobs are open */
    atomic_uint threads;                 /* 0: not asked yet */
    atomic_uint started;                 /* workers, of threads - 1 */
    atomic_uint asleep;
    atomic_bool stop;
    pthread_mutex_t sleep_lock;
    pthread_cond_t wake;
    /* Starting and stopping workers. */
    pthread_mutex_t admin_lock;
    pthread_cond_t ended;
    guint live; /* under admin_lock */
} pool = {
    .sleep_lock = PTHREAD_MUTEX_INITIALIZER,
    .wake = PTHREAD_COND_INITIALIZER,
    .admin_lock = PTHREAD_MUTEX_INITIALIZER,
    .ended = PTHREAD_COND_INITIALIZER,
};

static _Thread_local guint thread_number;
static _Thread_local gboolean inside;  /* in a chunk: calls from here run inline */
static _Thread_local gboolean in_task; /* a worker is in work that can wait */

__attribute__((constructor)) static void
init_slots(void)
{
    for (guint i = 0; i < MAX_JOBS; i++) {
        pthread_mutex_init(&pool.slots[i].lock, NULL);
        pthread_cond_init(&pool.slots[i].left, NULL);
    }
}

/* --- Spinning --------------------------------------------------------------------------------- */

gboolean
tn_look_again(gint64 began)
{
    const gint64 waited = tn_now_ns() - began;
    if (waited >= TN_SPIN_NS)
        sched_yield();
    return waited < TN_YIELD_NS;
}

/* --- Chunks ----------------------------------------------------------------------------------- */

static void
record_failure(Slot *slot, gsize chunk, TnStatus status)
{
    const guint64 mine = (guint64)chunk << 8 | (guint64)status;
    unsigned long long lowest = atomic_load(&slot->failure);
    while (mine < lowest && !atomic_compare_exchange_weak(&slot->failure, &lowest, mine))
        continue;
}

/* Workers that may work at once: with the callers they make up the number of threads. */
static gboolean
is_wanted(guint worker)
{
    const guint callers = atomic_load_explicit(&pool.callers, memory_order_relaxed);
    return worker + callers <= atomic_load_explicit(&pool.threads, memory_order_relaxed);
}

/* Claims chunks of a part until there are none; how many it claimed. */
static gsize
work_on_part(Slot *slot, Part *part)
{
    const TnChunkFunc func = slot->func;
    const gpointer data = slot->data;
    const gsize n = slot->n, end = part->end;
    gsize worked = 0;
    while (thread_number == 0 || is_wanted(thread_number)) {
        const gsize chunk = atomic_fetch_add_explicit(&part->next, 1, memory_order_relaxed);
        if (chunk >= end)
            break;
        worked++;
        if (atomic_load_explicit(&slot->failure, memory_order_relaxed) >> 8 < chunk)
            continue;
        const TnStatus status = func(data, chunk, n);
        if (status != TN_OK)
            record_failure(slot, chunk, status);
    }
    return worked;
}

/* Each thread begins with its own part, and takes of the others' when there is nothing left: so the same
 * chunks of successive jobs, which mostly read what those before wrote, stay with one thread and in its
 * cache. Only chunks above one that failed are passed over, so the lowest failure is the same for any number
 * of threads. */
static gsize
work_on(Slot *slot)
{
    const guint n = slot->n_parts;
    gsize worked = 0;
    for (guint i = 0; i < n; i++)
        worked += work_on_part(slot, &slot->parts[(thread_number + i) % n]);
    return worked;
}

static void
part_chunks(Slot *slot, gsize n, guint threads)
{
    slot->n = n;
    slot->n_parts = (guint)MIN(n, MIN(threads, MAX_PARTS));
    for (guint i = 0; i < slot->n_parts; i++) {
        Part *part = &slot->parts[i];
        atomic_store_explicit(&part->next, n / slot->n_parts * i + MIN(i, n % slot->n_parts),
                              memory_order_relaxed);
        part->end = n / slot->n_parts * (i + 1) + MIN(i + 1, n % slot->n_parts);
    }
}

/* --- Workers ---------------------------------------------------------------------------------- */

static gboolean
join_slot(Slot *slot)
{
    guint state = atomic_load_explicit(&slot->state, memory_order_relaxed);
    while (state & OPEN)
        if (atomic_compare_exchange_weak_explicit(&slot->state, &state, state + 1,
                                                  memory_order_acquire, memory_order_relaxed))
            return TRUE;
    return FALSE;
}

static void
leave_slot(Slot *slot)
{
    const guint before = atomic_fetch_sub_explicit(&slot->state, 1, memory_order_acq_rel);
    if ((before & HELPERS) == 1 && (before & WAITING)) {
        pthread_mutex_lock(&slot->lock);
        pthread_cond_signal(&slot->left);
        pthread_mutex_unlock(&slot->lock);
    }
}

/* One look at every job; TRUE if there was something to do. */
static gboolean
help(guint worker)
{
    gboolean worked = FALSE;
    for (guint i = 0; i < MAX_JOBS && is_wanted(worker); i++) {
        /* Workers begin at different slots, so that several jobs get their share. */
        Slot *slot = &pool.slots[(i + worker - 1) % MAX_JOBS];
        if (!join_slot(slot))
            continue;
        worked = work_on(slot) > 0 || worked;
        leave_slot(slot);
    }
    return worked;
}

/* Waits for a while, and does work that can wait, until there may be something else to do: FALSE if
 * there is nothing. The gaps between one program's instructions are shorter than the first look. */
static gboolean
pass_time(guint worker, guint seen)
{
    const gint64 began = tn_now_ns();
    do {
        for (guint i = 0; i < TN_LOOKS; i++) {
            if (atomic_load_explicit(&pool.news, memory_order_acquire) != seen)
                return TRUE;
            tn_relax();
        }
        if (is_wanted(worker)) {
            in_task = TRUE;
            const gboolean worked = tn_task_help();
            in_task = FALSE;
            if (worked)
                return TRUE;
        }
    } while (tn_look_again(began));
    return FALSE;
}

/* Sleeps until the news is another than the one seen. The opener changes the news and then looks
 * for sleepers, a sleeper counts itself and then looks at the news: one of them sees the other. */
static void
sleep_since(guint seen)
{
    pthread_mutex_lock(&pool.sleep_lock);
    atomic_fetch_add(&pool.asleep, 1);
    while (atomic_load(&pool.news) == seen)
        pthread_cond_wait(&pool.wake, &pool.sleep_lock);
    atomic_fetch_sub(&pool.asleep, 1);
    pthread_mutex_unlock(&pool.sleep_lock);
}

static void *
worker_main(void *data)
{
    const guint worker = GPOINTER_TO_UINT(data);
    char name[16];
    g_snprintf(name, sizeof name, "tenon-pool-%u", worker);
    pthread_setname_np(pthread_self(), name);
    fesetenv(FE_DFL_ENV); /* a new thread inherits its maker's */
    tn_float_mode_enter();
    thread_number = worker;
    inside = TRUE;
    for (;;) {
        const guint seen = atomic_load(&pool.news);
        if (atomic_load(&pool.stop))
            break;
        if (!help(worker) && !pass_time(worker, seen))
            sleep_since(seen);
    }
    pthread_mutex_lock(&pool.admin_lock);
    pool.live--;
    pthread_cond_broadcast(&pool.ended);
    pthread_mutex_unlock(&pool.admin_lock);
    return NULL;
}

/* Tells up to n sleeping workers to look again. */
static void
wake_workers(gsize n)
{
    atomic_fetch_add(&pool.news, 1);
    const guint asleep = n > 0 ? atomic_load(&pool.asleep) : 0;
    if (asleep == 0)
        return;
    pthread_mutex_lock(&pool.sleep_lock);
    if (n >= asleep)
        pthread_cond_broadcast(&pool.wake);
    else
        for (gsize i = 0; i < n; i++)
            pthread_cond_signal(&pool.wake);
    pthread_mutex_unlock(&pool.sleep_lock);
}

/* The first call that wants workers starts them. Where the system gives no more threads, fewer have
 * to do. */
static void
start_workers(void)
{
    pthread_mutex_lock(&pool.admin_lock);
    const guint wanted = tn_pool_threads() - 1;
    int code = 0;
    for (guint i = atomic_load(&pool.started); i < wanted && code == 0; i++) {
        pthread_t thread;
        code = tn_thread_start(&thread, TRUE, worker_main, GUINT_TO_POINTER(i + 1));
        pool.live += code == 0 ? 1 : 0;
    }
    if (code != 0)
        tn_log("pool", TN_LOG_WARN, "%u of %u worker threads started: %s", pool.live, wanted,
               g_strerror(code));
    atomic_store(&pool.started, wanted);
    pthread_mutex_unlock(&pool.admin_lock);
}

/* --- Calls ------------------------------------------------------------------------------------ */

/* Work that can wait lets calls that cannot go first, also one that follows upon another. */
static void
let_calls_pass(void)
{
    guint looks = 0;
    while (atomic_load_explicit(&pool.callers, memory_order_relaxed) == 0) {
        if (looks++ == TN_LOOKS)
            return;
        tn_relax();
    }
    in_task = FALSE;
    (void)help(thread_number);
    in_task = TRUE;
}

TnStatus
tn_pool_alone(gsize n, TnChunkFunc func, gpointer data)
{
    const TnFloatMode mode = tn_float_mode_enter();
    TnStatus status = TN_OK;
    for (gsize i = 0; i < n && status == TN_OK; i++) {
        if (in_task)
            let_calls_pass();
        status = func(data, i, n);
    }
    tn_float_mode_leave(mode);
    return status;
}

/* A free slot; NULL if all are taken. */
static Slot *
take_slot(void)
{
    static _Thread_local guint last; /* a thread's calls stay in one slot, in its cache */
    for (guint i = 0; i < MAX_JOBS; i++) {
        Slot *slot = &pool.slots[(last + i) % MAX_JOBS];
        guint state = 0;
        if (atomic_load_explicit(&slot->state, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong_explicit(&slot->state, &state, TAKEN,
                                                    memory_order_acquire, memory_order_relaxed)) {
            last = (last + i) % MAX_JOBS;
            return slot;
        }
    }
    return NULL;
}

/* Lets nobody in any more and waits for those inside: TRUE if that took so long that it slept. */
static gboolean
close_slot(Slot *slot)
{
    const guint before = atomic_fetch_and_explicit(&slot->state, ~OPEN, memory_order_acq_rel);
    guint helpers = before & HELPERS;
    const gint64 began = helpers > 0 ? tn_now_ns() : 0;
    while (helpers > 0 && tn_look_again(began))
        for (guint i = 0; i < 32 && helpers > 0; i++) {
            tn_relax();
            helpers = atomic_load_explicit(&slot->state, memory_order_acquire) & HELPERS;
        }
    if (helpers == 0)
        return FALSE;
    pthread_mutex_lock(&slot->lock);
    atomic_fetch_or(&slot->state, WAITING);
    while (atomic_load(&slot->state) & HELPERS)
        pthread_cond_wait(&slot->left, &slot->lock);
    pthread_mutex_unlock(&slot->lock);
    return TRUE;
}

TnStatus
tn_pool_share(gsize n, TnChunkFunc func, gpointer data, TnShare *share)
{
    const guint threads = tn_pool_threads();
    Slot *slot = take_slot();
    if (!slot)
        return tn_pool_alone(n, func, data);
    if (atomic_load_explicit(&pool.started, memory_order_acquire) < threads - 1)
        start_workers();
    slot->func = func;
    slot->data = data;
    part_chunks(slot, n, threads);
    atomic_store_explicit(&slot->failure, NO_FAILURE, memory_order_relaxed);
    atomic_fetch_add(&pool.callers, 1);
    atomic_store_explicit(&slot->state, TAKEN | OPEN, memory_order_release);
    wake_workers(share->wake);
    const TnFloatMode mode = tn_float_mode_enter();
    inside = TRUE;
    share->helped = work_on(slot) < n;
    inside = FALSE;
    tn_float_mode_leave(mode);
    share->slept = close_slot(slot);
    const guint64 failure = atomic_load_explicit(&slot->failure, memory_order_relaxed);
    atomic_store_explicit(&slot->state, 0, memory_order_release);
    /* Workers that stood back for this call may help another. */
    if (atomic_fetch_sub(&pool.callers, 1) > 1)
        wake_workers(1);
    return failure == NO_FAILURE ? TN_OK : (TnStatus)(failure & 0xff);
}

gsize
tn_pool_useful(gsize n)
{
    return n > 1 && !inside ? MIN(n, tn_pool_threads()) - 1 : 0;
}

guint
tn_pool_awake(void)
{
    const guint started = atomic_load_explicit(&pool.started, memory_order_relaxed);
    const guint asleep = atomic_load_explicit(&pool.asleep, memory_order_relaxed);
    return started - MIN(started, asleep);
}

TnStatus
tn_parallel_for(gsize n, TnChunkFunc func, gpointer data)
{
    TnShare share = { .wake = tn_pool_useful(n) };
    return share.wake > 0 ? tn_pool_share(n, func, data, &share) : tn_pool_alone(n, func, data);
}

/* --- Settings --------------------------------------------------------------------------------- */

static guint
default_threads(void)
{
    const char *text = getenv("TENON_THREADS");
    guint64 asked;
    if (text && g_ascii_string_to_unsigned(text, 10, 1, MAX_THREADS, &asked, NULL))
        return (guint)asked;
    cpu_set_t cpus;
    const gboolean known = sched_getaffinity(0, sizeof cpus, &cpus) == 0;
    const gint found = known ? CPU_COUNT(&cpus) : (gint)g_get_num_processors();
    const guint threads = (guint)CLAMP(found, 1, MAX_THREADS);
    if (text && *text)
        tn_log(
            "pool", TN_LOG_WARN,
            "TENON_THREADS is '%s', not a number from 1 to %d: taking the %u processors there are",
            text, MAX_THREADS, threads);
    return threads;
}

guint
tn_pool_threads(void)
{
    guint threads = atomic_load_explicit(&pool.threads, memory_order_relaxed);
    if (threads == 0) {
        /* Another thread that is here at the same time finds the same number. */
        const guint found = default_threads();
        if (atomic_compare_exchange_strong(&pool.threads, &threads, found))
            threads = found;
    }
    return threads;
}

void
tn_pool_set_threads(guint n)
{
    g_return_if_fail(n >= 1 && n <= MAX_THREADS && !inside);
    pthread_mutex_lock(&pool.admin_lock);
    atomic_store(&pool.stop, TRUE);
    wake_workers(G_MAXSIZE);
    /* A worker ends when it has left its job; a call that loses its workers finishes alone. */
    while (pool.live > 0)
        pthread_cond_wait(&pool.ended, &pool.admin_lock);
    atomic_store(&pool.stop, FALSE);
    atomic_store(&pool.threads, n);
    atomic_store(&pool.started, 0);
    pthread_mutex_unlock(&pool.admin_lock);
}

guint
tn_pool_thread(void)
{
    return thread_number;
}
