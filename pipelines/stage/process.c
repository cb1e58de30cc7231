/* process.c: processes that this one starts for its stages. */
#include "stage/process.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include <tenon/base.h>

struct TnProcess {
    GPid pid;
    gboolean ended;
    int status; /* waitpid's */
};

TnProcess *
tn_process_start(const char *const *words, GError **error)
{
    GPid pid;
    g_autoptr(GError) why = NULL;
    const GSpawnFlags flags = G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL;
    if (!g_spawn_async(NULL, (char **)words, NULL, flags, NULL, NULL, &pid, &why)) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s cannot be started: %s", words[0],
                    why->message);
        return NULL;
    }
    TnProcess *process = g_new0(TnProcess, 1);
    process->pid = pid;
    return process;
}

gint
tn_process_pid(const TnProcess *process)
{
    return process->pid;
}

gboolean
tn_process_ended(TnProcess *process)
{
    if (process->ended)
        return TRUE;
    pid_t got;
    do
        got = waitpid(process->pid, &process->status, WNOHANG);
    while (got < 0 && errno == EINTR);
    if (got < 0) /* somebody else has reaped it */
        process->status = 0;
    process->ended = got != 0;
    return process->ended;
}

char *
tn_process_fate(const TnProcess *process)
{
    if (!process->ended)
        return g_strdup("still there");
    if (WIFSIGNALED(process->status))
        return g_strdup_printf("killed by signal %d (%s)", WTERMSIG(process->status),
                               strsignal(WTERMSIG(process->status)));
    return g_strdup_printf("exit code %d", WEXITSTATUS(process->status));
}

gint
tn_process_code(const TnProcess *process)
{
    return WIFEXITED(process->status) ? WEXITSTATUS(process->status) : -1;
}

void
tn_process_kill(TnProcess *process)
{
    if (!tn_process_ended(process))
        kill(process->pid, SIGKILL);
}

void
tn_process_free(TnProcess *process, gint patience_ms)
{
    if (!process)
        return;
    const gint64 end = g_get_monotonic_time() + patience_ms * 1000;
    while (!tn_process_ended(process) && g_get_monotonic_time() < end)
        g_usleep(2000);
    if (!tn_process_ended(process)) {
        kill(process->pid, SIGKILL);
        while (waitpid(process->pid, &process->status, 0) < 0 && errno == EINTR)
            continue;
    }
    g_free(process);
}
