/* task.c: work that can wait, offered to workers that have nothing else to do.
 *
 * Offers are slots of a fixed table. Whoever moves a slot from OFFERED to RUNNING does the work:
 * a worker that would otherwise wait, or the owner once it needs the result. Slots are static, so
 * a worker that looks at one too late finds it in another state, never gone. */
#include <pthread.h>
#include <stdatomic.h>

#include <tenon/base.h>

#include "pool-private.h"

#define MAX_TASKS 32

typedef enum { FREE, TAKEN, OFFERED, RUNNING, DONE } TaskState;

struct TnTask {
    _Alignas(TN_ALIGN) atomic_uint state;
    /* Written by the owner while the slot is TAKEN. */
    TnTaskFunc func;
    gpointer data;
    pthread_mutex_t lock; /* to sleep until it is DONE */
    pthread_cond_t done;
};

static struct {
    TnTask slots[MAX_TASKS];
    _Alignas(TN_ALIGN) atomic_uint offered; /* slots that are OFFERED */
} tasks;

__attribute__((constructor)) static void
init_tasks(void)
{
    for (guint i = 0; i < MAX_TASKS; i++) {
        pthread_mutex_init(&tasks.slots[i].lock, NULL);
        pthread_cond_init(&tasks.slots[i].done, NULL);
    }
}

static gboolean
move(TnTask *task, TaskState from, TaskState to)
{
    guint state = from;
    return atomic_load_explicit(&task->state, memory_order_relaxed) == from &&
           atomic_compare_exchange_strong_explicit(&task->state, &state, to, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

/* The right to do it, or to take it back. */
static gboolean
claim(TnTask *task)
{
    if (!move(task, OFFERED, RUNNING))
        return FALSE;
    atomic_fetch_sub_explicit(&tasks.offered, 1, memory_order_relaxed);
    return TRUE;
}

static void
wait_until_done(TnTask *task)
{
    const gint64 began = tn_now_ns();
    do
        for (guint i = 0; i < TN_LOOKS; i++) {
            if (atomic_load_explicit(&task->state, memory_order_acquire) == DONE)
                return;
            tn_relax();
        }
    while (tn_look_again(began));
    pthread_mutex_lock(&task->lock);
    while (atomic_load(&task->state) != DONE)
        pthread_cond_wait(&task->done, &task->lock);
    pthread_mutex_unlock(&task->lock);
}

gboolean
tn_task_help(void)
{
    if (atomic_load_explicit(&tasks.offered, memory_order_relaxed) == 0)
        return FALSE;
    for (guint i = 0; i < MAX_TASKS; i++) {
        TnTask *task = &tasks.slots[i];
        if (!claim(task))
            continue;
        task->func(task->data);
        pthread_mutex_lock(&task->lock);
        atomic_store(&task->state, DONE);
        pthread_cond_signal(&task->done);
        pthread_mutex_unlock(&task->lock);
        return TRUE;
    }
    return FALSE;
}

TnTask *
tn_task_offer(TnTaskFunc func, gpointer data)
{
    static _Thread_local guint last; /* a thread's offers stay in few slots */
    if (tn_pool_threads() == 1)
        return NULL;
    for (guint i = 0; i < MAX_TASKS; i++) {
        TnTask *task = &tasks.slots[(last + i) % MAX_TASKS];
        if (!move(task, FREE, TAKEN))
            continue;
        last = (last + i) % MAX_TASKS;
        task->func = func;
        task->data = data;
        atomic_fetch_add_explicit(&tasks.offered, 1, memory_order_relaxed);
        atomic_store_explicit(&task->state, OFFERED, memory_order_release);
        return task;
    }
    return NULL;
}

gboolean
tn_task_take_back(TnTask *task)
{
    const gboolean mine = claim(task);
    if (!mine)
        wait_until_done(task);
    atomic_store_explicit(&task->state, FREE, memory_order_release);
    return mine;
}
