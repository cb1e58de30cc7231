/* pool-private.h: what the pool's files share: waiting, and the tasks that its workers look for. */
#pragma once

#include <pthread.h>
#include <time.h>

#include <tenon/pool.h>

/* How long a waiting thread looks before it sleeps: first alone, then giving its processor to
 * whoever wants it. Waking a sleeper takes as long as all of a small operator. */
#define TN_SPIN_NS 20000
#define TN_YIELD_NS 100000
#define TN_LOOKS 32 /* before one asks for the time, or does something that takes longer */

static inline gint64
tn_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (gint64)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void
tn_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* How a job is shared with workers, and how that went. */
typedef struct {
    gsize wake;      /* sleeping workers to wake, at most */
    gboolean helped; /* workers did part of it */
    gboolean slept;  /* the caller did, until the last of them was done */
} TnShare;

TnStatus tn_pool_share(gsize n, TnChunkFunc func, gpointer data, TnShare *share);
TnStatus tn_pool_alone(gsize n, TnChunkFunc func, gpointer data);
/* Workers that a job of so many chunks could do with; 0: this thread is to do it alone. */
gsize tn_pool_useful(gsize n);
/* Workers that do not sleep. */
guint tn_pool_awake(void);

/* Between two looks; FALSE: it is time to sleep. */
gboolean tn_look_again(gint64 began);

/* Does one task that is on offer, if there is any. From a worker's thread. */
gboolean tn_task_help(void);

/* Bytes of stack that a thread has at least, whatever the limit of the process is: kernels keep what one
 * chunk needs there, up to half of it. */
#define TN_STACK (2 << 20)

/* A thread with such a stack that blocks all signals: they are for the threads that expect them. An errno
 * where the system gives no more threads. */
int tn_thread_start(pthread_t *thread, gboolean detached, void *(*func)(void *), void *data);
