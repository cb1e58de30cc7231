/* thread.c: named threads that wait (I/O, sockets), as the pool's are for computing; what both are made
 * with. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include <tenon/pool.h>

#include "pool-private.h"

struct TnThread {
    pthread_t id;
    char name[16]; /* what the system keeps of a thread's name */
    gpointer (*func)(gpointer);
    gpointer data;
};

int
tn_thread_start(pthread_t *thread, gboolean detached, void *(*func)(void *), void *data)
{
    sigset_t all, before;
    pthread_attr_t attr;
    gsize stack = 0;
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr,
                                detached ? PTHREAD_CREATE_DETACHED : PTHREAD_CREATE_JOINABLE);
    if (pthread_attr_getstacksize(&attr, &stack) == 0 && stack < TN_STACK) {
        pthread_attr_setstacksize(&attr, TN_STACK);
    }
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int code = pthread_create(thread, &attr, func, data);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return code;
}

static void *
thread_main(void *data)
{
    TnThread *thread = data;
    pthread_setname_np(pthread_self(), thread->name);
    return thread->func(thread->data);
}

TnThread *
tn_thread_spawn(const char *name, gpointer (*func)(gpointer), gpointer data, GError **error)
{
    TnThread *thread = g_new0(TnThread, 1);
    g_strlcpy(thread->name, name, sizeof thread->name);
    thread->func = func;
    thread->data = data;
    const int failed = tn_thread_start(&thread->id, FALSE, thread_main, thread);
    if (failed) {
        g_set_error(error, TN_ERROR, TN_ERROR_NO_MEMORY, "thread '%s' cannot be started: %s", name,
                    g_strerror(failed));
        g_free(thread);
        return NULL;
    }
    return thread;
}

gpointer
tn_thread_join(TnThread *thread)
{
    void *result = NULL;
    pthread_join(thread->id, &result);
    g_free(thread);
    return result;
}
