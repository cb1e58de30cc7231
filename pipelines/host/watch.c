/* watch.c: the limits of loading a config: memory, instructions, time.
 *
 * Memory is counted by Lua's allocator. Instructions are counted by a hook, which also looks
 * whether the time is up; but the hook does not fire inside C functions (string.find on a hostile
 * pattern runs for years) nor in finalisers. So the load runs in a thread of its own: when it does
 * not answer the hook either, the caller leaves it behind with its state and goes on to report the
 * fault. A thread that was left behind touches only its own host, and frees it if it ever comes
 * back. */
#include "host-private.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define HOOK_EVERY 10000
#define MOST_INSTRUCTIONS G_GUINT64_CONSTANT(4000000000)
#define GRACE 2.0 /* seconds between the stop flag and giving the thread up */

static void
set_limit(TnHost *host, TnWhere where, char *text)
{
    if (host->limit) {
        g_free(text);
        return;
    }
    host->limit = g_new0(TnFault, 1);
    host->limit->where = where;
    host->limit->text = text;
}

void *
tn_host_allocate(void *data, void *memory, size_t old_size, size_t new_size)
{
    TnHost *host = data;
    const size_t had = memory ? old_size : 0; /* old_size tells a type where memory is NULL */
    if (new_size == 0) {
        free(memory);
        host->memory -= had;
        return NULL;
    }
    if (new_size > had && host->memory + (new_size - had) > host->memory_limit) {
        /* Lua collects its garbage, tries again, then raises without a place. */
        if (host->loading && host->L)
            host->memory_where = tn_host_where(host->L);
        return NULL;
    }
    void *result = realloc(memory, new_size);
    if (result)
        host->memory += new_size - had;
    return result;
}

static void
hook(lua_State *L, lua_Debug *ar)
{
    TnHost *host = tn_host_of(L);
    const gboolean late = atomic_load(&host->stop);
    host->instructions += HOOK_EVERY;
    if (!late && host->instructions < MOST_INSTRUCTIONS)
        return;
    /* From here every instruction raises, so that a pcall of the config cannot go on for long. */
    lua_sethook(L, hook, LUA_MASKCOUNT, 1);
    lua_getinfo(L, "Sl", ar);
    TnWhere where = tn_host_where(L);
    if (late)
        set_limit(host, where,
                  g_strdup_printf("the config was still loading after %g s: a loop that does not "
                                  "end? (work that takes long belongs into the run)",
                                  host->seconds));
    else
        set_limit(host, where,
                  g_strdup_printf("the config took more than %" G_GUINT64_FORMAT
                                  " instructions to load: a loop that does not end?",
                                  MOST_INSTRUCTIONS));
    lua_pushstring(L, "loading was stopped");
    lua_error(L);
}

/* --- The thread ------------------------------------------------------------------------------- */

typedef enum { WATCH_RUNNING, WATCH_DONE, WATCH_LEFT } WatchState;
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    WatchState state;
    TnHost *host;
    void (*body)(TnHost *host);
} Watch;

static void
watch_free(Watch *watch)
{
    pthread_cond_destroy(&watch->changed);
    pthread_mutex_destroy(&watch->lock);
    g_free(watch);
}

static void *
watch_main(void *data)
{
    Watch *watch = data;
    if (!watch->host->trust)
        lua_sethook(watch->host->L, hook, LUA_MASKCOUNT, HOOK_EVERY);
    watch->body(watch->host);
    lua_sethook(watch->host->L, NULL, 0, 0);
    pthread_mutex_lock(&watch->lock);
    const gboolean left = watch->state == WATCH_LEFT;
    watch->state = WATCH_DONE;
    pthread_cond_signal(&watch->changed);
    pthread_mutex_unlock(&watch->lock);
    if (left) {
        tn_host_free(watch->host);
        watch_free(watch);
    }
    return NULL;
}

static struct timespec
later(double seconds)
{
    struct timespec t;
    double whole;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const double part = modf(seconds, &whole) * 1e9 + (double)t.tv_nsec;
    t.tv_sec += (time_t)whole + (part >= 1e9);
    t.tv_nsec = (long)(part >= 1e9 ? part - 1e9 : part);
    return t;
}

/* TRUE if the thread was done in time. The lock is held. */
static gboolean
wait_done(Watch *watch, double seconds)
{
    const struct timespec end = later(seconds);
    int code = 0;
    while (watch->state != WATCH_DONE && code != ETIMEDOUT)
        code = pthread_cond_timedwait(&watch->changed, &watch->lock, &end);
    return watch->state == WATCH_DONE;
}

gboolean
tn_host_watch(TnHost *host, void (*body)(TnHost *host))
{
    pthread_t thread;
    pthread_condattr_t attr;
    if (host->trust) {
        body(host);
        return TRUE;
    }
    Watch *watch = g_new0(Watch, 1);
    watch->host = host;
    watch->body = body;
    pthread_mutex_init(&watch->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&watch->changed, &attr);
    pthread_condattr_destroy(&attr);
    atomic_store(&host->stop, FALSE);
    if (pthread_create(&thread, NULL, watch_main, watch) != 0) {
        watch_free(watch);
        body(host); /* no thread to be had: better unwatched than not at all */
        return TRUE;
    }
    pthread_mutex_lock(&watch->lock);
    gboolean done = wait_done(watch, host->seconds);
    if (!done) {
        atomic_store(&host->stop, TRUE);
        done = wait_done(watch, GRACE);
    }
    if (!done) {
        watch->state = WATCH_LEFT;
        atomic_fetch_add(&host->owners, 1);
        host->lost = TRUE;
    }
    pthread_mutex_unlock(&watch->lock);
    if (!done) {
        pthread_detach(thread);
        return FALSE;
    }
    pthread_join(thread, NULL);
    watch_free(watch);
    return TRUE;
}
