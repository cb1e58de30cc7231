/* brief.c: jobs of a few microseconds, which are shared only with workers that are awake, and only while these
 * help: where other processes want the processors, a worker costs its caller more time than it saves. */
#include <tenon/base.h>

#include "pool-private.h"

#define CLOSE_JOBS 16 /* in close succession, before workers are woken for them */
#define JUDGED_JOBS 256
#define ALONE_NS 50000000

/* Of one thread's brief jobs. */
typedef struct {
    gint64 last;        /* when workers were last found asleep */
    guint in_a_row;     /* such jobs that followed each other closely */
    guint jobs, helped; /* shared ones, of JUDGED_JOBS */
    gint64 alone_until; /* 0: they may be shared */
} Brief;

static _Thread_local Brief brief;

/* A worker that is woken stays awake between jobs that come closely: waking it is paid for by many. */
static gboolean
come_often(gint64 now)
{
    brief.in_a_row = now - brief.last < TN_SPIN_NS ? brief.in_a_row + 1 : 0;
    brief.last = now;
    return brief.in_a_row >= CLOSE_JOBS;
}

static gboolean
is_shared(gsize missing)
{
    if (brief.alone_until == 0 && missing == 0)
        return TRUE; /* without a look at the clock */
    const gint64 now = tn_now_ns();
    if (now < brief.alone_until)
        return FALSE;
    brief.alone_until = 0;
    return missing == 0 || come_often(now);
}

/* Goes on alone for a while where workers were held up, or came too late for one job in four. */
static void
learn(const TnShare *share)
{
    brief.jobs++;
    brief.helped += share->helped ? 1 : 0;
    const gboolean over = brief.jobs >= JUDGED_JOBS;
    if (share->slept || (over && brief.helped < JUDGED_JOBS / 4 * 3))
        brief.alone_until = tn_now_ns() + ALONE_NS;
    if (over || brief.alone_until != 0)
        brief.jobs = brief.helped = 0;
}

TnStatus
tn_parallel_for_brief(gsize n, TnChunkFunc func, gpointer data)
{
    const gsize useful = tn_pool_useful(n);
    TnShare share = { .wake = useful - MIN(useful, tn_pool_awake()) };
    if (useful == 0 || !is_shared(share.wake))
        return tn_pool_alone(n, func, data);
    const TnStatus status = tn_pool_share(n, func, data, &share);
    learn(&share);
    return status;
}
