/* bench-busy.c: processes that keep processors busy. Each spins on one processor until it is told to
 * end, or the process that started it has ended. */
#include "bench-busy.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tenon/base.h>

/* Processor number `which` of the set, counted round and round; -1: the set is empty. */
static gint
nth_processor(const cpu_set_t *set, guint which)
{
    const gint n = CPU_COUNT(set);
    for (gint cpu = 0, left = n > 0 ? (gint)which % n : -1; left >= 0 && cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, set) && left-- == 0)
            return cpu;
    return -1;
}

G_GNUC_NORETURN static void
spin(gint processor, pid_t parent)
{
    cpu_set_t own;
    CPU_ZERO(&own);
    if (processor >= 0)
        CPU_SET(processor, &own);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || sched_setaffinity(0, sizeof own, &own) != 0)
        _exit(1);
    for (volatile guint64 turns = 0;; turns++)
        continue;
}

gboolean
busy_start(guint n, GPid *pids, GError **error)
{
    cpu_set_t all;
    const pid_t parent = getpid();
    if (sched_getaffinity(0, sizeof all, &all) != 0)
        CPU_ZERO(&all);
    for (guint i = 0; i < n; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            spin(nth_processor(&all, i), parent);
        if (pids[i] < 0) {
            g_set_error(error, TN_ERROR, TN_ERROR_FAILED, "a busy process: %s", g_strerror(errno));
            busy_stop(i, pids);
            return FALSE;
        }
    }
    return TRUE;
}

void
busy_stop(guint n, const GPid *pids)
{
    for (guint i = 0; i < n; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
}
