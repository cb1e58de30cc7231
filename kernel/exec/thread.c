/* thread.c: named threads that wait (I/O, sockets), as the pool's are for computing. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include <tenon/pool.h>

struct TnThread {
    pthread_t id;
    char name[16]; /* what the system keeps of a thread's name */
    gpointer (*func)(gpointer);
    gpointer data;
};

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
    sigset_t all, old;
    g_strlcpy(thread->name, name, sizeof thread->name);
    thread->func = func;
    thread->data = data;
    /* Signals are the main thread's: SIGINT must not end up in a thread that cannot act on it. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&thread->id, NULL, thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
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
