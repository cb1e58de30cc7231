/* replies.c: requests to a stage of this process, and its replies.
 *
 * Requests wait in a queue, of which each worker takes the first, and what came of them waits until the
 * consumer pulls. A lock and two conditions, and no ring without locks as of frames: a request is made by
 * its consumer one at a time, and an answer, such as a policy's step, takes longer than a lock. Without
 * workers the consumer's pull makes the answer. */
#include "stage/replies.h"

#include "stage/asks.h"

typedef struct {
    TnReplies *replies;
    void *state; /* the stage's */
    TnThread *thread;
} Worker;

struct TnReplies {
    TnNodeStage *stage;
    TnContext *context;
    TnFramePool *pool;
    guint n_workers;
    Worker *workers; /* one at least: without threads the consumer is it */
    pthread_mutex_t lock;
    pthread_cond_t asked, answered;
    TnAsks asks;
    GQueue waiting; /* numbers of asks that nobody works at; some may be over */
    guint64 jumps;  /* an answer to what was asked before one is nobody's */
    gboolean stopped;
};

/* A request that somebody works at. */
typedef struct {
    guint64 number, jumps;
    TnFrame *request;
} Work;

/* --- Answering (with the lock) ---------------------------------------------------------------- */

/* The next request; FALSE: there is none that somebody still waits for. */
static gboolean
claim(TnReplies *replies, Work *work)
{
    while (replies->waiting.length) {
        const guint64 number = (guint64)(gsize)g_queue_pop_head(&replies->waiting);
        TnAsk *ask = tn_asks_find(&replies->asks, number);
        if (!ask)
            continue;
        if (ask->ends <= g_get_monotonic_time()) {
            tn_asks_end_late(&replies->asks, number);
            pthread_cond_broadcast(&replies->answered);
            continue;
        }
        *work = (Work){ number, replies->jumps, g_steal_pointer(&ask->request) };
        return TRUE;
    }
    return FALSE;
}

static void
put(TnReplies *replies, const Work *work, TnMade made)
{
    const TnAsk *ask =
        work->jumps == replies->jumps ? tn_asks_find(&replies->asks, work->number) : NULL;
    if (ask && ask->ends > g_get_monotonic_time()) {
        tn_asks_end(&replies->asks, work->number, made);
    } else {
        tn_made_drop(&made);
        if (ask)
            tn_asks_end_late(&replies->asks, work->number);
    }
    pthread_cond_broadcast(&replies->answered);
}

/* Answers one request, without the lock meanwhile; FALSE: there is none. */
static gboolean
answer(TnReplies *replies, void *state)
{
    Work work;
    if (!claim(replies, &work))
        return FALSE;
    pthread_mutex_unlock(&replies->lock);
    const TnMade made = tn_stage_make(replies->stage, replies->pool, state, work.number,
                                      (TnMade){ TN_OK, work.request, NULL });
    pthread_mutex_lock(&replies->lock);
    put(replies, &work, made);
    return TRUE;
}

static gpointer
work_on(gpointer data)
{
    const Worker *worker = data;
    TnReplies *replies = worker->replies;
    pthread_mutex_lock(&replies->lock);
    while (!replies->stopped)
        if (!answer(replies, worker->state))
            tn_cond_wait(&replies->asked, &replies->lock, TN_LOOK_US);
    pthread_mutex_unlock(&replies->lock);
    return NULL;
}

/* --- The consumer ----------------------------------------------------------------------------- */

guint64
tn_replies_ask(TnReplies *replies, TnFrame *request, guint milliseconds)
{
    pthread_mutex_lock(&replies->lock);
    const guint64 number = tn_asks_add(&replies->asks, request, milliseconds)->number;
    g_queue_push_tail(&replies->waiting, (gpointer)(gsize)number);
    pthread_cond_signal(&replies->asked);
    pthread_mutex_unlock(&replies->lock);
    return number;
}

TnMade
tn_replies_pull(TnReplies *replies, gboolean wait)
{
    TnMade made = { TN_OK, NULL, NULL };
    pthread_mutex_lock(&replies->lock);
    while (made.status == TN_OK) {
        tn_asks_look(&replies->asks, g_get_monotonic_time());
        if (tn_asks_take(&replies->asks, &made))
            break;
        made.status = TN_OK;
        if (replies->stopped || tn_context_cancelled(replies->context))
            made.status = TN_CANCELLED;
        else if (replies->n_workers == 0)
            answer(replies, replies->workers[0].state);
        else if (!wait)
            made.status = TN_AGAIN;
        else
            tn_cond_wait(&replies->answered, &replies->lock,
                         tn_asks_soonest(&replies->asks) - g_get_monotonic_time());
    }
    pthread_mutex_unlock(&replies->lock);
    return made;
}

void
tn_replies_seek(TnReplies *replies, guint64 next)
{
    pthread_mutex_lock(&replies->lock);
    replies->jumps++;
    g_queue_clear(&replies->waiting);
    tn_asks_forget(&replies->asks, next);
    pthread_mutex_unlock(&replies->lock);
}

/* --- Life ------------------------------------------------------------------------------------- */

static gboolean
start(TnReplies *replies, GError **error)
{
    const guint n = (guint)replies->stage->common.workers;
    replies->workers = g_new0(Worker, MAX(n, 1));
    for (guint i = 0; i < MAX(n, 1); i++) {
        Worker *worker = &replies->workers[i];
        worker->replies = replies;
        if (!tn_stage_worker_new(replies->stage, &worker->state, error))
            return FALSE;
        if (n == 0)
            return TRUE;
        replies->n_workers++;
        worker->thread = tn_thread_spawn(replies->stage->name, work_on, worker, error);
        if (!worker->thread)
            return FALSE;
    }
    return TRUE;
}

TnReplies *
tn_replies_new(TnNodeStage *stage, TnContext *context, TnFramePool *pool, GError **error)
{
    TnReplies *replies = g_new0(TnReplies, 1);
    replies->stage = stage;
    replies->context = context;
    replies->pool = pool;
    pthread_mutex_init(&replies->lock, NULL);
    tn_cond_init(&replies->asked);
    tn_cond_init(&replies->answered);
    tn_asks_init(&replies->asks, stage->name, !(stage->flags & TN_STAGE_ASYNC));
    g_queue_init(&replies->waiting);
    if (start(replies, error))
        return replies;
    tn_replies_free(replies);
    return NULL;
}

void
tn_replies_stop(TnReplies *replies)
{
    pthread_mutex_lock(&replies->lock);
    replies->stopped = TRUE;
    pthread_cond_broadcast(&replies->asked);
    pthread_cond_broadcast(&replies->answered);
    pthread_mutex_unlock(&replies->lock);
}

void
tn_replies_free(TnReplies *replies)
{
    if (!replies)
        return;
    tn_replies_stop(replies);
    for (guint i = 0; i < MAX(replies->n_workers, 1); i++) {
        if (replies->workers[i].thread)
            tn_thread_join(replies->workers[i].thread);
        tn_stage_worker_free(replies->stage, replies->workers[i].state);
    }
    g_queue_clear(&replies->waiting);
    tn_asks_clear(&replies->asks);
    pthread_cond_destroy(&replies->asked);
    pthread_cond_destroy(&replies->answered);
    pthread_mutex_destroy(&replies->lock);
    g_free(replies->workers);
    g_free(replies);
}
