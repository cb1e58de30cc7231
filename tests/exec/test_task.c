/* test_task.c: work that can wait is done once, by a worker that has nothing else to do or by its
 * owner, and lets calls that cannot wait go first. */
// tn-test: label=threads timeout=120
#include <stdatomic.h>

#include <tenon/pool.h>

#include "tn_test.h"

typedef struct {
    atomic_uint done;
    atomic_uint by_worker;
} Work;

static void
count(gpointer data)
{
    Work *work = data;
    atomic_fetch_add(&work->done, 1);
    if (tn_pool_thread() > 0)
        atomic_fetch_add(&work->by_worker, 1);
}

/* One that lasts until it may end. */
typedef struct {
    Work work;
    atomic_bool may_end;
} Held;

static void
count_when_it_may(gpointer data)
{
    Held *held = data;
    while (!atomic_load(&held->may_end))
        g_usleep(20);
    count(&held->work);
}

static TnStatus
add_one(gpointer data, gsize chunk, gsize n)
{
    (void)chunk;
    (void)n;
    atomic_fetch_add((atomic_uint *)data, 1);
    return TN_OK;
}

/* Calls, so that workers are awake, until *word is at least `value`. */
static gboolean
call_until(atomic_uint *word, guint value)
{
    TnPatience patience = tn_test_patience(20);
    atomic_uint chunks = 0;
    while (atomic_load(word) < value && tn_test_patient(&patience)) {
        tn_parallel_for(2, add_one, &chunks);
        g_usleep(20);
    }
    return atomic_load(word) >= value;
}

static void
one_thread_offers_nothing(void)
{
    Work work = { 0 };
    tn_pool_set_threads(1);
    TN_ASSERT(tn_task_offer(count, &work) == NULL);
    TN_ASSERT_CMPUINT(work.done, ==, 0);
}

static void
idle_workers_do_it(void)
{
    Work work = { 0 };
    tn_pool_set_threads(3);
    for (guint i = 0; i < 20; i++) {
        TnTask *task = tn_task_offer(count, &work);
        TN_REQUIRE(task != NULL);
        TN_ASSERT(call_until(&work.by_worker, i + 1));
        TN_ASSERT(!tn_task_take_back(task));
        TN_ASSERT_CMPUINT(work.done, ==, i + 1);
    }
}

/* Whoever wins, each is done once; take_back says by whom. */
static void
each_once(void)
{
    tn_pool_set_threads(4);
    Work work = { 0 };
    atomic_uint chunks = 0;
    guint mine = 0;
    enum { ROUNDS = 3000 };
    for (guint i = 0; i < ROUNDS; i++) {
        TnTask *task = tn_task_offer(count, &work);
        tn_parallel_for(1 + i % 5, add_one, &chunks);
        if (i % 7 == 0)
            g_usleep(5);
        if (task && !tn_task_take_back(task))
            continue;
        count(&work);
        mine++;
    }
    TN_ASSERT_CMPUINT(work.done, ==, ROUNDS);
    TN_ASSERT_CMPUINT(work.done - work.by_worker, ==, mine);
}

/* The table is full, whatever the worker does meanwhile: the rest is left to the owner. */
static void
too_many(void)
{
    Held held = { 0 };
    Work work = { 0 };
    TnTask *tasks[100];
    guint offered = 0, left = 0;
    tn_pool_set_threads(2);
    for (guint i = 0; i < G_N_ELEMENTS(tasks); i++) {
        tasks[i] = tn_task_offer(count_when_it_may, &held);
        offered += tasks[i] != NULL;
    }
    atomic_store(&held.may_end, TRUE);
    TN_ASSERT_CMPUINT(offered, >=, 8);
    TN_ASSERT_CMPUINT(offered, <, G_N_ELEMENTS(tasks));
    for (guint i = 0; i < G_N_ELEMENTS(tasks); i++)
        left += tasks[i] && tn_task_take_back(tasks[i]);
    TN_ASSERT_CMPUINT(held.work.done + left, ==, offered);
    TnTask *again = tn_task_offer(count, &work);
    TN_REQUIRE(again != NULL); /* their places are free again */
    tn_task_take_back(again);
}

/* --- A long task and calls -------------------------------------------------------------------- */

typedef struct {
    atomic_uint begun, may_end, chunks, other;
} Long;

/* One chunk of a long task: it lasts until calls beside it have had workers in them. */
static TnStatus
long_chunk(gpointer data, gsize chunk, gsize n)
{
    Long *l = data;
    (void)n;
    atomic_fetch_add(&l->chunks, 1);
    if (chunk == 0)
        atomic_store(&l->begun, 1);
    g_usleep(100);
    return TN_OK;
}

static void
long_task(gpointer data)
{
    Long *l = data;
    while (!atomic_load(&l->may_end))
        tn_parallel_for(4, long_chunk, l);
}

static TnStatus
other_chunk(gpointer data, gsize chunk, gsize n)
{
    (void)chunk;
    (void)n;
    if (tn_pool_thread() > 0)
        atomic_fetch_add((atomic_uint *)data, 1);
    g_usleep(50);
    return TN_OK;
}

/* The only worker is in a task for long; between its chunks it helps with calls all the same. */
static void
calls_go_first(void)
{
    Long l = { 0 };
    tn_pool_set_threads(2);
    TnTask *task = tn_task_offer(long_task, &l);
    TN_REQUIRE(task != NULL);
    TN_ASSERT(call_until(&l.begun, 1));
    TnPatience patience = tn_test_patience(20);
    while (atomic_load(&l.other) < 20 && tn_test_patient(&patience))
        TN_ASSERT_CMPINT(tn_parallel_for(20, other_chunk, &l.other), ==, TN_OK);
    TN_ASSERT_CMPUINT(l.other, >=, 20);
    atomic_store(&l.may_end, 1);
    TN_ASSERT(!tn_task_take_back(task));
    TN_ASSERT_CMPUINT(l.chunks % 4, ==, 0);
}

/* Workers that are stopped end what they have begun. */
static void
resized(void)
{
    for (guint i = 0; i < 50; i++) {
        Work work = { 0 };
        atomic_uint chunks = 0;
        tn_pool_set_threads(2 + i % 3);
        TnTask *task = tn_task_offer(count, &work);
        tn_parallel_for(3, add_one, &chunks);
        tn_pool_set_threads(1);
        const gboolean mine = tn_task_take_back(task);
        TN_ASSERT_CMPUINT(work.done, ==, mine ? 0 : 1);
    }
    tn_pool_set_threads(2);
}

static const TnTest tests[] = {
    { "one-thread-offers-nothing", one_thread_offers_nothing },
    { "idle-workers-do-it", idle_workers_do_it },
    { "each-once", each_once },
    { "too-many", too_many },
    { "calls-go-first", calls_go_first },
    { "resized", resized },
};
TN_TEST_MAIN("task", tests)
