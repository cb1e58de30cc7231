/* pool.h: the one pool of worker threads; all CPU-bound work is its tasks.
 *
 * Borders of chunks depend on the work alone, never on the number of threads; chunks are handed
 * out dynamically; the caller works too and can finish alone. Waiting is a short spin, then
 * sleep. */
#pragma once

#include <tenon/status.h>

G_BEGIN_DECLS

/* Does chunk `chunk` of `n`. Runs on any thread; must not wait for another chunk, nor for a lock that
 * is held around a parallel call. */
typedef TnStatus (*TnChunkFunc)(gpointer data, gsize chunk, gsize n);

/* Runs chunks 0 .. n-1 and returns when all are done. On failure chunks not yet begun are
 * skipped, and the status of the failing chunk with the lowest index is returned. Nested calls
 * run their chunks on the caller alone. At n == 1, or with one thread, no lock is taken and no
 * other thread is touched. Allocates nothing. Thread: any that has 1 MiB of stack left; several callers
 * share the workers. */
TN_API TnStatus tn_parallel_for(gsize n, TnChunkFunc func, gpointer data);

/* The same for a job of a few microseconds, less than it takes to wake a sleeping worker: none is woken unless
 * such jobs of this thread come in close succession. Where too few are awake, or their processors are taken by
 * others, the caller works alone. */
TN_API TnStatus tn_parallel_for_brief(gsize n, TnChunkFunc func, gpointer data);

/* Threads that work at once, callers included: from the last tn_pool_set_threads, else
 * TENON_THREADS, else the processors this process may run on. Workers start with the first
 * parallel call that wants them. */
TN_API guint tn_pool_threads(void);
/* 1 .. 256. Waits for running calls. */
TN_API void tn_pool_set_threads(guint n);
/* Number of this thread inside the pool: 0 for any caller, 1 .. threads-1 for workers. */
TN_API guint tn_pool_thread(void);

/* Work that can wait, such as the next batch while this one is computed with: a worker that has
 * nothing else to do does it, in the floating-point mode below; nobody is woken for it. */
typedef struct TnTask TnTask;
typedef void (*TnTaskFunc)(gpointer data);

/* Offers func (data) to the workers; what it reads must stay until tn_task_take_back. NULL if there
 * is one thread or too much is on offer: the owner does it itself then. Parallel calls in func run
 * their chunks alone. Allocates nothing. Thread: any. */
TN_API TnTask *tn_task_offer(TnTaskFunc func, gpointer data);
/* Ends the offer: TRUE if nobody had begun, and nobody will; FALSE once it is done, which is waited
 * for. task is gone either way. Thread: any, one at a time. */
TN_API gboolean tn_task_take_back(TnTask *task);

/* The floating-point mode in which kernels compute: round to nearest, and results below the
 * smallest normal number (f32 and bf16 1.2e-38, f64 2.2e-308; f16 keeps its own) become zero where
 * the processor can do that (x86-64; on AArch64 operands too). Processors work off such numbers
 * many times more slowly, and optimiser slots of inputs that are always zero decay into them. Pool
 * workers, callers of tn_parallel_for, programs and imperative mode are in this mode; a device that
 * runs kernels in threads of its own enters it there. Leaving restores what the caller had.
 * Thread: any. */
typedef guint64 TnFloatMode;
TN_API TnFloatMode tn_float_mode_enter(void);
TN_API void tn_float_mode_leave(TnFloatMode before);

/* A named thread that waits (I/O, sockets), not one that computes; joined by tn_thread_join.
 * (transfer full). */
typedef struct TnThread TnThread;
TN_API TnThread *tn_thread_spawn(const char *name, gpointer (*func)(gpointer), gpointer data,
                                 GError **error);
TN_API gpointer tn_thread_join(TnThread *thread);

G_END_DECLS
