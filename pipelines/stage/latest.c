/* latest.c: versions that a thread makes one after another, of which only the newest is kept: who takes
 * one too late for it has the next. */
#include "stage/latest.h"

struct TnLatest {
    TnNodeStage *stage;
    TnContext *context;
    TnFramePool *pool;
    void *state; /* the stage's */
    TnThread *thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* anything of what follows */
    guint64 next;           /* version that is made next */
    TnMade newest;          /* that nobody has taken; no frame: there is none */
    TnMade end;             /* why there will be none after it; TN_OK: it goes on */
    gboolean wanted;        /* somebody has asked for the first */
    gboolean making, paused, stopped;
};

static gboolean
may_make(const TnLatest *latest)
{
    return latest->wanted && !latest->paused && latest->end.status == TN_OK &&
           !tn_context_cancelled(latest->context);
}

/* Makes one version, without the lock meanwhile. */
static void
make(TnLatest *latest)
{
    const guint64 seq = latest->next;
    latest->making = TRUE;
    pthread_mutex_unlock(&latest->lock);
    TnMade made = tn_stage_make(latest->stage, latest->pool, latest->state, seq,
                                tn_stage_pull_input(latest->stage, TRUE));
    pthread_mutex_lock(&latest->lock);
    latest->making = FALSE;
    if (made.status == TN_OK) {
        tn_made_drop(&latest->newest);
        latest->newest = made;
        latest->next = seq + 1;
    } else {
        latest->end = made;
    }
    pthread_cond_broadcast(&latest->changed);
}

static gpointer
make_on(gpointer data)
{
    TnLatest *latest = data;
    pthread_mutex_lock(&latest->lock);
    while (!latest->stopped) {
        if (may_make(latest))
            make(latest);
        else
            tn_cond_wait(&latest->changed, &latest->lock, TN_LOOK_US);
    }
    pthread_mutex_unlock(&latest->lock);
    return NULL;
}

/* With the lock. TN_AGAIN: there is none yet. */
static TnMade
take(TnLatest *latest)
{
    TnMade made = { TN_AGAIN, NULL, NULL };
    if (latest->newest.frame) {
        made = latest->newest;
        latest->newest = (TnMade){ TN_OK, NULL, NULL };
    } else if (latest->end.status != TN_OK) { /* stays for the next pull, but is told once */
        made = latest->end;
        latest->end.error = NULL;
    } else if (latest->stopped || tn_context_cancelled(latest->context)) {
        made.status = TN_CANCELLED;
    }
    return made;
}

TnMade
tn_latest_pull(TnLatest *latest, gboolean wait)
{
    pthread_mutex_lock(&latest->lock);
    latest->wanted = TRUE;
    pthread_cond_broadcast(&latest->changed);
    TnMade made = take(latest);
    while (wait && made.status == TN_AGAIN) {
        tn_cond_wait(&latest->changed, &latest->lock, TN_LOOK_US);
        made = take(latest);
    }
    pthread_mutex_unlock(&latest->lock);
    return made;
}

void
tn_latest_seek(TnLatest *latest, guint64 next)
{
    pthread_mutex_lock(&latest->lock);
    latest->paused = TRUE;
    while (latest->making)
        tn_cond_wait(&latest->changed, &latest->lock, TN_LOOK_US);
    tn_made_drop(&latest->newest);
    tn_made_drop(&latest->end);
    if (latest->stage->in)
        tn_port_seek(latest->stage->in, next);
    latest->next = next;
    latest->paused = FALSE;
    pthread_cond_broadcast(&latest->changed);
    pthread_mutex_unlock(&latest->lock);
}

TnLatest *
tn_latest_new(TnNodeStage *stage, TnContext *context, TnFramePool *pool, GError **error)
{
    TnLatest *latest = g_new0(TnLatest, 1);
    latest->stage = stage;
    latest->context = context;
    latest->pool = pool;
    pthread_mutex_init(&latest->lock, NULL);
    tn_cond_init(&latest->changed);
    if (tn_stage_worker_new(stage, &latest->state, error) &&
        (latest->thread = tn_thread_spawn(stage->name, make_on, latest, error)))
        return latest;
    tn_latest_free(latest);
    return NULL;
}

void
tn_latest_stop(TnLatest *latest)
{
    pthread_mutex_lock(&latest->lock);
    latest->stopped = TRUE;
    pthread_cond_broadcast(&latest->changed);
    pthread_mutex_unlock(&latest->lock);
}

void
tn_latest_free(TnLatest *latest)
{
    if (!latest)
        return;
    tn_latest_stop(latest);
    if (latest->thread)
        tn_thread_join(latest->thread);
    tn_stage_worker_free(latest->stage, latest->state);
    tn_made_drop(&latest->newest);
    tn_made_drop(&latest->end);
    pthread_cond_destroy(&latest->changed);
    pthread_mutex_destroy(&latest->lock);
    g_free(latest);
}
