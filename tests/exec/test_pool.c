/* test_pool.c: every chunk once, the lowest failure, several callers at once, and threads that
 * wait. */
// tn-test: label=threads timeout=120
#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include <tenon/pool.h>

#include "tn_test.h"

/* Both ways to share a job out. */
static TnStatus (*const shares[])(gsize n, TnChunkFunc func, gpointer data) = {
    tn_parallel_for,
    tn_parallel_for_brief,
};

/* --- Chunks ----------------------------------------------------------------------------------- */

typedef struct {
    atomic_uint *seen;   /* per chunk */
    atomic_uint threads; /* one bit a thread */
    gsize n;
} Count;

static TnStatus
count_chunk(gpointer data, gsize chunk, gsize n)
{
    Count *count = data;
    if (n != count->n || chunk >= n)
        return TN_FAILED;
    atomic_fetch_add(&count->seen[chunk], 1);
    atomic_fetch_or(&count->threads, 1u << MIN(tn_pool_thread(), 31));
    return TN_OK;
}

static void
check_once(guint threads, gsize n, guint share)
{
    Count count = { .seen = g_new0(atomic_uint, n + 1), .n = n };
    guint wrong = 0;
    TN_ASSERT_CMPINT(shares[share](n, count_chunk, &count), ==, TN_OK);
    for (gsize i = 0; i < n; i++)
        wrong += count.seen[i] != 1;
    TN_ASSERT_CMPUINT(wrong, ==, 0);
    TN_ASSERT_CMPUINT(count.threads >> threads, ==, 0); /* no higher number */
    g_free(count.seen);
}

static void
each_once(void)
{
    static const gsize sizes[] = { 0, 1, 2, 3, 7, 64, 1000, 20000 };
    static const guint threads[] = { 1, 2, 3, 8, 2 };
    for (guint t = 0; t < G_N_ELEMENTS(threads); t++) {
        tn_pool_set_threads(threads[t]);
        TN_ASSERT_CMPUINT(tn_pool_threads(), ==, threads[t]);
        for (guint s = 0; s < G_N_ELEMENTS(sizes); s++)
            for (guint round = 0; round < 20 * G_N_ELEMENTS(shares); round++)
                check_once(threads[t], sizes[s], round % G_N_ELEMENTS(shares));
    }
}

/* Nobody is woken, or started, for a brief job alone; but for many, and then what is awake helps. */
static void
brief(void)
{
    atomic_uint seen[2] = { 0 };
    Count count = { .seen = seen, .n = 2 };
    g_usleep(1000); /* jobs of earlier tests are not followed closely by these */
    tn_pool_set_threads(2);
    for (guint i = 0; i < 8; i++)
        TN_ASSERT_CMPINT(tn_parallel_for_brief(2, count_chunk, &count), ==, TN_OK);
    TN_ASSERT_CMPUINT(count.threads, ==, 1);
    const time_t end = time(NULL) + 60;
    while (count.threads == 1 && time(NULL) < end)
        (void)tn_parallel_for_brief(2, count_chunk, &count);
    TN_ASSERT_CMPUINT(count.threads, ==, 3);
    TN_ASSERT_CMPUINT(seen[0], ==, seen[1]);
}

/* When a worker let its caller go that slept for it. */
static _Atomic gint64 let_go;

/* Counts; a worker holds its caller up until that sleeps. */
static TnStatus
lag_chunk(gpointer data, gsize chunk, gsize n)
{
    g_autofree char *path = g_strdup_printf("/proc/self/task/%d/stat", (int)getpid());
    gboolean sleeps = FALSE;
    for (guint i = 0; i < 10000 && !sleeps && tn_pool_thread() != 0; i++) {
        g_autofree char *text = NULL;
        g_usleep(100);
        sleeps = g_file_get_contents(path, &text, NULL, NULL) && strstr(text, ") S ");
    }
    if (sleeps)
        atomic_store(&let_go, g_get_monotonic_time());
    return count_chunk(data, chunk, n);
}

/* Counts, and takes long enough for whoever is awake to come. */
static TnStatus
long_chunk(gpointer data, gsize chunk, gsize n)
{
    const gint64 end = g_get_monotonic_time() + 20;
    while (g_get_monotonic_time() < end)
        continue;
    return count_chunk(data, chunk, n);
}

/* A caller that had to wait for a worker goes on alone for a while. */
static void
brief_held_up(void)
{
    atomic_uint seen[2] = { 0 };
    Count count = { .seen = seen, .n = 2 };
    tn_pool_set_threads(2);
    const gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    gboolean judged = FALSE;
    while (!judged && g_get_monotonic_time() < end) {
        atomic_store(&let_go, 0);
        (void)tn_parallel_for_brief(2, lag_chunk, &count);
        if (atomic_load(&let_go) == 0)
            continue;
        count.threads = 0;
        for (guint i = 0; i < 100; i++)
            (void)tn_parallel_for_brief(2, long_chunk, &count);
        judged = g_get_monotonic_time() - atomic_load(&let_go) < 40000; /* else too late to tell */
        TN_ASSERT(!judged || count.threads == 1);
    }
    TN_ASSERT(judged);
}

/* Holds every chunk until as many threads as there are work at once. */
static TnStatus
meet(gpointer data, gsize chunk, gsize n)
{
    atomic_uint *here = data;
    (void)chunk;
    const guint wanted = (guint)n;
    const time_t end = time(NULL) + 20;
    atomic_fetch_add(here, 1);
    while (atomic_load(here) < wanted && time(NULL) < end)
        sched_yield();
    return atomic_load(here) >= wanted ? TN_OK : TN_FAILED;
}

static void
all_work(void)
{
    static const guint threads[] = { 2, 4, 7 };
    for (guint t = 0; t < G_N_ELEMENTS(threads); t++)
        for (guint round = 0; round < 20; round++) {
            atomic_uint here = 0;
            tn_pool_set_threads(threads[t]);
            TN_ASSERT_CMPINT(tn_parallel_for(threads[t], meet, &here), ==, TN_OK);
            if (round % 5 == 0)
                g_usleep(1000); /* long enough for the workers to fall asleep */
        }
}

/* --- Failure ---------------------------------------------------------------------------------- */

typedef struct {
    gsize first, second; /* chunks that fail, in their own ways */
    atomic_uint after;   /* chunks beyond `first` that ran */
    gboolean slow;
} Trouble;

static TnStatus
fail_chunk(gpointer data, gsize chunk, gsize n)
{
    Trouble *trouble = data;
    (void)n;
    if (chunk == trouble->first && trouble->slow)
        g_usleep(2000); /* the later failure comes first */
    if (chunk == trouble->first)
        return TN_DEVICE_LOST;
    if (chunk == trouble->second)
        return TN_CANCELLED;
    if (chunk > trouble->first) {
        atomic_fetch_add(&trouble->after, 1);
        g_usleep(1); /* or the others would be through while who fails is kept from saying so */
    }
    return TN_OK;
}

static void
lowest_failure(void)
{
    for (guint t = 1; t <= 4; t++) {
        tn_pool_set_threads(t);
        for (guint round = 0; round < 60; round++) {
            Trouble trouble = { .first = 3, .second = 4, .slow = round % 2 };
            const guint share = round / 2 % G_N_ELEMENTS(shares);
            TN_ASSERT_CMPINT(shares[share](100000, fail_chunk, &trouble), ==, TN_DEVICE_LOST);
            TN_ASSERT_CMPUINT(trouble.after, <, 99000); /* the rest was skipped */
        }
        Trouble last = { .first = 999, .second = G_MAXSIZE };
        TN_ASSERT_CMPINT(tn_parallel_for(1000, fail_chunk, &last), ==, TN_DEVICE_LOST);
        Trouble none = { .first = 1000, .second = 1000 };
        TN_ASSERT_CMPINT(tn_parallel_for(1000, fail_chunk, &none), ==, TN_OK);
        Trouble single = { .first = 0, .second = 1 };
        TN_ASSERT_CMPINT(tn_parallel_for(1, fail_chunk, &single), ==, TN_DEVICE_LOST);
    }
}

/* --- Nested and concurrent calls -------------------------------------------------------------- */

typedef struct {
    guint thread;
    atomic_uint *total;
} Inner;

static TnStatus
inner_chunk(gpointer data, gsize chunk, gsize n)
{
    const Inner *inner = data;
    (void)chunk;
    (void)n;
    atomic_fetch_add(inner->total, 1);
    return tn_pool_thread() == inner->thread ? TN_OK : TN_FAILED; /* on the caller alone */
}

static TnStatus
outer_chunk(gpointer data, gsize chunk, gsize n)
{
    const Inner inner = { tn_pool_thread(), data };
    (void)chunk;
    (void)n;
    return tn_parallel_for(50, inner_chunk, (gpointer)&inner);
}

static void
nested(void)
{
    atomic_uint total = 0;
    tn_pool_set_threads(4);
    TN_ASSERT_CMPINT(tn_parallel_for(40, outer_chunk, &total), ==, TN_OK);
    TN_ASSERT_CMPUINT(total, ==, 2000);
}

static TnStatus
add_chunk(gpointer data, gsize chunk, gsize n)
{
    (void)n;
    atomic_fetch_add((atomic_ullong *)data, chunk + 1);
    return TN_OK;
}

static gpointer
call_often(gpointer data)
{
    guint *wrong = data;
    for (guint i = 0; i < 400; i++) {
        atomic_ullong sum = 0;
        const gsize n = 1 + i % 40;
        *wrong += tn_parallel_for(n, add_chunk, &sum) != TN_OK || sum != n * (n + 1) / 2;
        if (i % 100 == 99)
            g_usleep(200);
    }
    return NULL;
}

/* More callers than the table of jobs has room for. */
static void
many_callers(void)
{
    enum { CALLERS = 40 };
    TnThread *threads[CALLERS];
    guint wrong[CALLERS] = { 0 };
    tn_pool_set_threads(4);
    for (guint i = 0; i < CALLERS; i++)
        threads[i] = tn_thread_spawn("caller", call_often, &wrong[i], NULL);
    for (guint i = 0; i < CALLERS; i++) {
        tn_thread_join(threads[i]);
        TN_ASSERT_CMPUINT(wrong[i], ==, 0);
    }
}

/* The number of threads changes under calls that run. */
static void
resized(void)
{
    TnThread *threads[3];
    guint wrong[3] = { 0 };
    tn_pool_set_threads(3);
    for (guint i = 0; i < 3; i++)
        threads[i] = tn_thread_spawn("caller", call_often, &wrong[i], NULL);
    for (guint i = 0; i < 30; i++)
        tn_pool_set_threads(1 + i % 5);
    for (guint i = 0; i < 3; i++) {
        tn_thread_join(threads[i]);
        TN_ASSERT_CMPUINT(wrong[i], ==, 0);
    }
}

typedef struct {
    atomic_uint working, most, stop;
} Crowd;

static TnStatus
crowd_chunk(gpointer data, gsize chunk, gsize n)
{
    Crowd *crowd = data;
    (void)chunk;
    (void)n;
    const guint now = atomic_fetch_add(&crowd->working, 1) + 1;
    guint most = atomic_load(&crowd->most);
    while (now > most && !atomic_compare_exchange_weak(&crowd->most, &most, now))
        continue;
    g_usleep(100);
    atomic_fetch_sub(&crowd->working, 1);
    return TN_OK;
}

static gpointer
crowd_call(gpointer data)
{
    for (guint i = 0; i < 20; i++)
        (void)tn_parallel_for(30, crowd_chunk, data);
    return NULL;
}

/* Callers and workers together are as many as were asked for; a worker that stands back finishes
 * its chunk first, so there may be one more for a moment. */
static void
shared(void)
{
    Crowd crowd = { 0 };
    TnThread *threads[2];
    tn_pool_set_threads(4);
    for (guint i = 0; i < 2; i++)
        threads[i] = tn_thread_spawn("crowd", crowd_call, &crowd, NULL);
    for (guint i = 0; i < 2; i++)
        tn_thread_join(threads[i]);
    TN_ASSERT_CMPUINT(crowd.most, <=, 5);
    TN_ASSERT_CMPUINT(crowd.most, >=, 2);
}

/* --- Environment of workers ------------------------------------------------------------------- */

#if defined(__x86_64__)
static TnStatus
check_mode(gpointer data, gsize chunk, gsize n)
{
    atomic_uint *here = data;
    volatile float tiny = 0x1p-126f, third = 1.0F / 3;
    (void)meet(here, chunk, n);
    return tiny / 4 == 0 && third * 3 == 1 ? TN_OK : TN_FAILED;
}

/* Every thread computes in the same mode, whatever the caller's is, and the caller gets its own
 * back. */
static void
one_mode(void)
{
    static const guint modes[] = { 0x1f80, 0x9fc0, 0x7f80 }; /* IEEE, flushing, towards zero */
    for (guint i = 0; i < G_N_ELEMENTS(modes); i++)
        for (guint n = 1; n <= 3; n += 2) { /* on the caller alone, on the workers too */
            atomic_uint here = 0;
            const guint before = _mm_getcsr();
            tn_pool_set_threads(3);
            _mm_setcsr(modes[i]);
            const TnStatus status = tn_parallel_for(n, check_mode, &here);
            const guint after = _mm_getcsr() & ~0x3fU;
            _mm_setcsr(before);
            TN_ASSERT_CMPINT(status, ==, TN_OK);
            TN_ASSERT_CMPUINT(after, ==, modes[i]);
        }
}
#else
static void
one_mode(void)
{
    tn_test_skip("needs x86-64");
}
#endif

/* TENON_THREADS, and whether it is warned about. */
static void
environment(void)
{
    static const struct {
        const char *text;
        guint threads; /* 0: as without it */
        gboolean warned;
    } cases[] = {
        { "5", 5, FALSE }, { "256", 256, FALSE }, { "", 0, FALSE },   { "0", 0, TRUE },
        { "-3", 0, TRUE }, { "257", 0, TRUE },    { "5x", 0, TRUE },  { "abc", 0, TRUE },
        { " 5", 0, TRUE }, { "5.0", 0, TRUE },    { "1e9", 0, TRUE },
    };
    const char *child_text = g_getenv("TN_TEST_POOL_CHILD");
    if (child_text) {
        printf("%u\n", tn_pool_threads());
        return;
    }
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    const char *const argv[] = { self, "environment", NULL };
    cpu_set_t cpus;
    TN_REQUIRE(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        TnChild child = { 0 };
        g_autofree char *set = g_strdup_printf("TENON_THREADS=%s", cases[i].text);
        const char *const env[] = { set, "TN_TEST_POOL_CHILD=1", NULL };
        const TnChildOptions options = { .env = env };
        TN_REQUIRE(tn_test_spawn(&child, argv, &options));
        TN_ASSERT_EXIT(&child, 0);
        const guint threads = cases[i].threads ? cases[i].threads : (guint)CPU_COUNT(&cpus);
        g_autofree char *line = g_strdup_printf("%u\n", threads);
        TN_ASSERT(strstr(child.out, line) != NULL);
        TN_ASSERT_CMPINT(strstr(child.err, set + strlen("TENON_THREADS=")) != NULL &&
                             strstr(child.err, "TENON_THREADS") != NULL,
                         ==, cases[i].warned);
        tn_child_clear(&child);
    }
}

/* --- Threads that wait ------------------------------------------------------------------------ */

static gpointer
say_name(gpointer data)
{
    char *name = data;
    pthread_getname_np(pthread_self(), name, 32);
    return name;
}

static void
threads_that_wait(void)
{
    char name[32];
    g_autoptr(GError) error = NULL;
    TnThread *thread = tn_thread_spawn("a name that is too long", say_name, name, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(tn_thread_join(thread) == name);
    TN_ASSERT_CMPSTR(name, "a name that is ");
}

static gpointer
stack_size(gpointer data)
{
    pthread_attr_t attr;
    TN_REQUIRE(pthread_getattr_np(pthread_self(), &attr) == 0);
    pthread_attr_getstacksize(&attr, data);
    pthread_attr_destroy(&attr);
    return NULL;
}

static TnStatus
stack_chunk(gpointer data, gsize chunk, gsize n)
{
    gsize size = SIZE_MAX;
    (void)n;
    if (tn_pool_thread() > 0) {
        stack_size(&size);
    }
    ((gsize *)data)[chunk] = size;
    return TN_OK;
}

static void
stacks(void)
{
    gsize size = 0, sizes[64];
    g_autoptr(GError) error = NULL;
    TnThread *thread = tn_thread_spawn("stack", stack_size, &size, &error);
    TN_REQUIRE_NO_ERROR(error);
    tn_thread_join(thread);
    TN_ASSERT_CMPUINT(size, >=, 2 << 20);
    tn_pool_set_threads(3);
    TN_ASSERT_CMPINT(tn_parallel_for(64, stack_chunk, sizes), ==, TN_OK);
    for (guint i = 0; i < 64; i++) {
        TN_ASSERT_CMPUINT(sizes[i], >=, 2 << 20);
    }
}

/* The limit of a process is what threads get where nobody asks for more. */
static void
stacks_of_a_small_limit(void)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    const char *const command[] = { "/bin/sh", "-c", "ulimit -s 512 && exec \"$0\" stacks", self,
                                    NULL };
    TnChildOptions options = { .timeout = 30 };
    g_auto(TnChild) child = { 0 };
    if (tn_test_spawn(&child, command, &options)) {
        TN_ASSERT_EXIT(&child, 0);
        TN_ASSERT_CONTAINS(child.out, "passed=1");
    }
}

static const TnTest tests[] = {
    { "environment", environment },
    { "each-once", each_once },
    { "brief", brief },
    { "brief-held-up", brief_held_up },
    { "all-work", all_work },
    { "lowest-failure", lowest_failure },
    { "nested", nested },
    { "many-callers", many_callers },
    { "resized", resized },
    { "shared", shared },
    { "one-mode", one_mode },
    { "threads-that-wait", threads_that_wait },
    { "stacks", stacks },
    { "stacks-of-a-small-limit", stacks_of_a_small_limit },
};
TN_TEST_MAIN("pool", tests)
