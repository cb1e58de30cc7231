/* pool.c: the one pool of worker threads.
 *
 * A call of tn_parallel_for is a job on its caller's stack. It stands in a small table while chunks are left; workers look
 * through the table, enter a job, claim chunks by an atomic counter and leave. The caller claims chunks too, then waits
 * until those who entered have left: a short spin, then sleep. So a call makes no allocation, and if every worker is busy
 * elsewhere, the caller does all of it. Workers that find nothing spin for a moment and sleep until a job is posted. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include <tenon/base.h>
#include <tenon/pool.h>

#define MAX_THREADS 256
#define MAX_JOBS 16 /* callers at once that share the workers; a further one works alone */
#define SPIN_NS 20000

typedef struct {
    TnChunkFunc func;
    gpointer data;
    gsize n;
    atomic_size_t next;   /* chunk to claim */
    atomic_size_t failed; /* lowest chunk that failed; n: none */
    atomic_int status;    /* of that chunk */
    atomic_int inside;    /* workers that entered and have not left */
    pthread_mutex_t lock; /* of `status` beside `failed` */
} Job;

static struct {
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t posted, left;
    Job *jobs[MAX_JOBS];
    atomic_uint n_jobs;
    atomic_uint posts; /* counts jobs, so that a spinning worker sees a new one */
    guint threads;     /* wanted, the caller included; 0: not decided */
    guint running;     /* workers alive */
    guint sleeping;
    pthread_t ids[MAX_THREADS];
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER,
           .posted = PTHREAD_COND_INITIALIZER,
           .left = PTHREAD_COND_INITIALIZER };

static atomic_uint pool_threads; /* copy of pool.threads that is read without the lock */
static _Thread_local guint own_number;
static _Thread_local gboolean in_chunk;

static void
pause_a_moment(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static gint64
now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (gint64)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* --- Chunks ---------------------------------------------------------------------------------- */

static void
record_failure(Job *job, gsize chunk, TnStatus status)
{
    pthread_mutex_lock(&job->lock);
    if (chunk < atomic_load_explicit(&job->failed, memory_order_relaxed)) {
        atomic_store_explicit(&job->failed, chunk, memory_order_relaxed);
        atomic_store_explicit(&job->status, (int)status, memory_order_relaxed);
    }
    pthread_mutex_unlock(&job->lock);
}

/* Claims and does chunks until there are none. Chunks after a failed one are skipped; those before it still run, so that the
 * lowest failure is found whatever the order was. */
static void
work_on(Job *job)
{
    gboolean nested = in_chunk;
    in_chunk = TRUE;
    for (;;) {
        gsize chunk = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        if (chunk >= job->n)
            break;
        if (chunk > atomic_load_explicit(&job->failed, memory_order_relaxed))
            continue;
        TnStatus status = job->func(job->data, chunk, job->n);
        if (status != TN_OK)
            record_failure(job, chunk, status);
    }
    in_chunk = nested;
}

/* --- Workers ------------------------------------------------------------------------------------ */

/* A job that has chunks left, entered; NULL. Under the lock. */
static Job *
enter_any(void)
{
    for (guint i = 0; i < MAX_JOBS; i++) {
        Job *job = pool.jobs[i];
        if (job && atomic_load_explicit(&job->next, memory_order_relaxed) < job->n) {
            atomic_fetch_add_explicit(&job->inside, 1, memory_order_relaxed);
            return job;
        }
    }
    return NULL;
}

static void
leave(Job *job)
{
    /* After the last one has left, the job's memory is its caller's again: nothing of it is touched below. */
    if (atomic_fetch_sub_explicit(&job->inside, 1, memory_order_acq_rel) == 1) {
        pthread_mutex_lock(&pool.lock);
        pthread_cond_broadcast(&pool.left);
        pthread_mutex_unlock(&pool.lock);
    }
}

/* Waits for a job a moment without sleeping. */
static void
spin_for_post(guint seen)
{
    gint64 end = now_ns() + SPIN_NS;
    do {
        for (guint i = 0; i < 32; i++) {
            if (atomic_load_explicit(&pool.posts, memory_order_relaxed) != seen)
                return;
            pause_a_moment();
        }
    } while (now_ns() < end);
}

static void *
worker_main(void *data)
{
    own_number = GPOINTER_TO_UINT(data);
    for (;;) {
        pthread_mutex_lock(&pool.lock);
        Job *job = enter_any();
        guint seen = atomic_load_explicit(&pool.posts, memory_order_relaxed);
        gboolean over = own_number >= pool.threads;
        pthread_mutex_unlock(&pool.lock);
        if (job) {
            work_on(job);
            leave(job);
            continue;
        }
        if (over)
            return NULL;
        spin_for_post(seen);
        pthread_mutex_lock(&pool.lock);
        while (atomic_load_explicit(&pool.posts, memory_order_relaxed) == seen &&
               own_number < pool.threads) {
            pool.sleeping++;
            pthread_cond_wait(&pool.posted, &pool.lock);
            pool.sleeping--;
        }
        pthread_mutex_unlock(&pool.lock);
    }
}

/* Starts the workers that are wanted and not there. Under the lock. A thread that cannot be had is done without. */
static void
start_workers(void)
{
    while (pool.running + 1 < pool.threads) {
        guint number = pool.running + 1;
        if (pthread_create(&pool.ids[number], NULL, worker_main, GUINT_TO_POINTER(number)) != 0) {
            tn_log("pool", TN_LOG_WARN, "thread %u of %u cannot be started: %s", number,
                   pool.threads, g_strerror(errno));
            pool.threads = number;
            atomic_store(&pool_threads, number);
            return;
        }
        pool.running++;
    }
}

/* --- Jobs ---------------------------------------------------------------------------------------- */

/* TRUE if the job stands in the table. */
static gboolean
post(Job *job, guint *slot)
{
    gboolean posted = FALSE;
    pthread_mutex_lock(&pool.lock);
    start_workers();
    for (guint i = 0; i < MAX_JOBS && !posted; i++) {
        if (!pool.jobs[i]) {
            pool.jobs[i] = job;
            *slot = i;
            posted = TRUE;
        }
    }
    atomic_fetch_add_explicit(&pool.posts, 1, memory_order_relaxed);
    if (posted && pool.sleeping)
        pthread_cond_broadcast(&pool.posted);
    pthread_mutex_unlock(&pool.lock);
    return posted;
}

/* Takes the job out of the table and waits for those inside. */
static void
withdraw(Job *job, guint slot)
{
    pthread_mutex_lock(&pool.lock);
    pool.jobs[slot] = NULL;
    pthread_mutex_unlock(&pool.lock);
    gint64 end = 0;
    while (atomic_load_explicit(&job->inside, memory_order_acquire) != 0) {
        pause_a_moment();
        gint64 at = now_ns();
        end = end ? end : at + SPIN_NS;
        if (at < end)
            continue;
        pthread_mutex_lock(&pool.lock);
        while (atomic_load_explicit(&job->inside, memory_order_acquire) != 0)
            pthread_cond_wait(&pool.left, &pool.lock);
        pthread_mutex_unlock(&pool.lock);
    }
}

static TnStatus
run_alone(gsize n, TnChunkFunc func, gpointer data)
{
    for (gsize chunk = 0; chunk < n; chunk++) {
        TnStatus status = func(data, chunk, n);
        if (status != TN_OK)
            return status;
    }
    return TN_OK;
}

TnStatus
tn_parallel_for(gsize n, TnChunkFunc func, gpointer data)
{
    if (n <= 1 || in_chunk || tn_pool_threads() == 1)
        return run_alone(n, func, data);
    Job job = { .func = func, .data = data, .n = n };
    guint slot = 0;
    atomic_init(&job.next, 0);
    atomic_init(&job.failed, n);
    atomic_init(&job.status, TN_OK);
    atomic_init(&job.inside, 0);
    pthread_mutex_init(&job.lock, NULL);
    gboolean posted = post(&job, &slot);
    work_on(&job);
    if (posted)
        withdraw(&job, slot);
    pthread_mutex_destroy(&job.lock);
    return (TnStatus)atomic_load(&job.status);
}

/* --- How many --------------------------------------------------------------------------------------- */

static guint
default_threads(void)
{
    const char *text = g_getenv("TENON_THREADS");
    guint64 n = text ? g_ascii_strtoull(text, NULL, 10) : 0;
    cpu_set_t set;
    if (n == 0 && sched_getaffinity(0, sizeof set, &set) == 0)
        n = (guint64)CPU_COUNT(&set);
    return (guint)CLAMP(n, 1, MAX_THREADS);
}

guint
tn_pool_threads(void)
{
    guint n = atomic_load_explicit(&pool_threads, memory_order_relaxed);
    if (n)
        return n;
    pthread_mutex_lock(&pool.lock);
    if (!pool.threads)
        pool.threads = default_threads();
    atomic_store(&pool_threads, pool.threads);
    n = pool.threads;
    pthread_mutex_unlock(&pool.lock);
    return n;
}

void
tn_pool_set_threads(guint n)
{
    pthread_t ids[MAX_THREADS];
    guint first, last;
    n = CLAMP(n, 1, MAX_THREADS);
    g_return_if_fail(!in_chunk);
    pthread_mutex_lock(&pool.lock);
    pool.threads = n;
    atomic_store(&pool_threads, n);
    first = n;
    last = pool.running;
    for (guint i = first; i <= last; i++)
        ids[i] = pool.ids[i];
    pool.running = MIN(pool.running, n - 1);
    pthread_cond_broadcast(&pool.posted);
    pthread_mutex_unlock(&pool.lock);
    for (guint i = first; i <= last; i++)
        pthread_join(ids[i], NULL);
}

guint
tn_pool_thread(void)
{
    return own_number;
}
