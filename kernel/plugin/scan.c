/* scan.c: has a plugin file described by tenon-scan, a child process: whatever the file does, it
 * costs that process alone. */
#include "plugin-private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SCAN_SECONDS = 5, MAX_OUTPUT = 8 << 20, SLICE_MS = 100 };

typedef struct {
    pid_t pid;
    int fd; /* what it prints */
} Child;

static gint64
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (gint64)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Time that a child may still take. */
typedef struct {
    gint64 at; /* when that was */
    gint64 left;
} Patience;

static Patience
patience(double seconds)
{
    return (Patience){ now_ms(), (gint64)(seconds * 1000) };
}

/* What is left, in ms. Time in which this process was stopped, or the machine was, is none of the child's: between two
 * looks a slice passes at most. */
static gint64
spend(Patience *p)
{
    const gint64 now = now_ms();
    p->left -= MIN(now - p->at, SLICE_MS);
    p->at = now;
    return p->left;
}

/* A group of its own, so that what it starts can be ended with it; nothing on its stdin, its stderr
 * thrown away. */
static int
start(Child *child, const char *program, const char *const *args, char **env)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return errno;
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_ptr_array_add(argv, (gpointer)program);
    for (; *args != NULL; args++)
        g_ptr_array_add(argv, (gpointer)*args);
    g_ptr_array_add(argv, NULL);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, pipe;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attr);
    sigemptyset(&none);
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &pipe);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                        POSIX_SPAWN_SETSIGDEF);
    const int failed =
        posix_spawn(&child->pid, program, &actions, &attr, (char *const *)argv->pdata, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    child->fd = ends[0];
    if (failed != 0)
        close(ends[0]);
    return failed;
}

/* Reads until the child closes its end or the time is up; FALSE then. */
static gboolean
collect(const Child *child, GString *text, Patience *rest)
{
    for (;;) {
        char buffer[8192];
        struct pollfd p = { child->fd, POLLIN, 0 };
        if (spend(rest) <= 0 || text->len > MAX_OUTPUT)
            return FALSE;
        if (poll(&p, 1, SLICE_MS) <= 0)
            continue;
        const ssize_t n = read(child->fd, buffer, sizeof buffer);
        if (n > 0)
            g_string_append_len(text, buffer, n);
        else if (n == 0 || errno != EINTR)
            return TRUE;
    }
}

/* Waits for its end, by force once the time is up. FALSE if force was needed. */
static gboolean
reap(const Child *child, Patience *rest, int *status)
{
    gboolean in_time = TRUE;
    for (;;) {
        const pid_t got = waitpid(child->pid, status, in_time ? WNOHANG : 0);
        if (got == child->pid)
            return in_time;
        if (got < 0 && errno != EINTR) {
            /* Somebody else in the program waits for every child; how it ended is lost. */
            *status = 0;
            return in_time;
        }
        if (in_time && spend(rest) <= 0) {
            kill(-child->pid, SIGKILL);
            kill(child->pid, SIGKILL);
            in_time = FALSE;
        } else if (in_time) {
            usleep(200);
        }
    }
}

static char *
end_fault(int status)
{
    if (WIFSIGNALED(status))
        return g_strdup_printf("it crashed while it was being described (signal %d, %s)",
                               WTERMSIG(status), g_strsignal(WTERMSIG(status)));
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        return g_strdup_printf("it ended the process that described it (exit code %d)",
                               WEXITSTATUS(status));
    return NULL;
}

char *
tn_plugin_run_scanner(const char *const *args, const char *folders, double seconds, char **output,
                      gboolean *transient)
{
    g_autofree char *missing = NULL;
    g_autofree char *program = tn_plugin_scanner(&missing);
    *output = NULL;
    *transient = TRUE;
    if (program == NULL)
        return g_strdup_printf("it cannot be described, tenon-scan is missing: %s", missing);
    g_auto(GStrv) env = g_get_environ();
    if (folders != NULL)
        env = g_environ_setenv(env, "TENON_PLUGIN_PATH", folders, TRUE);
    Child child;
    const int failed = start(&child, program, args, env);
    if (failed != 0)
        return g_strdup_printf("it cannot be described, %s does not start: %s", program,
                               g_strerror(failed));
    g_autoptr(GString) text = g_string_new(NULL);
    Patience rest = patience(seconds);
    int status = 0;
    const gboolean whole = collect(&child, text, &rest);
    if (!whole)
        rest.left = 0;
    const gboolean in_time = reap(&child, &rest, &status) && whole;
    close(child.fd);
    *transient = FALSE;
    if (!in_time && text->len > MAX_OUTPUT)
        return g_strdup("its description has no end");
    *transient = !in_time; /* the machine may have been too busy */
    if (!in_time)
        return g_strdup_printf("it did not end within %g s while it was being described", seconds);
    char *fault = end_fault(status);
    if (fault == NULL)
        *output = g_string_free(g_steal_pointer(&text), FALSE);
    return fault;
}

TnRecord *
tn_plugin_scan(const char *path, const char *name)
{
    g_autofree char *output = NULL;
    g_autofree char *why = NULL;
    gboolean transient = FALSE;
    const char *args[] = { path, NULL };
    tn_log("plugin", TN_LOG_DEBUG, "describing %s", path);
    g_autofree char *fault = tn_plugin_run_scanner(args, NULL, SCAN_SECONDS, &output, &transient);
    TnRecord *record = NULL;
    if (fault == NULL) {
        const char *at = output;
        /* The first line of what the scanner says: whether the reason, if any, lies outside the
         * file. */
        transient = g_str_has_prefix(at, "outside\n");
        if (transient)
            at += strlen("outside\n");
        record = tn_record_parse(&at, path, name, &why);
        if (record != NULL && *at == '\0') {
            record->transient = transient;
            return record;
        }
        fault = g_strdup_printf("its description cannot be read: %s",
                                why != NULL ? why : "more follows its end");
    }
    record = tn_record_broken(path, name, fault);
    record->transient = transient;
    return record;
}
