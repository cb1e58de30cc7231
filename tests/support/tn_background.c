/*
 * tn_background.c - programs that run beside a test, and processes found by their command lines.
 */
#include "tn_background.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLACK (TN_TEST_SANITIZED ? 5 : 1)

static double
now(void)
{
    return (double)g_get_monotonic_time() * 1e-6;
}

/* In the child: only what is safe between fork and exec. */
G_NORETURN static void
become(const char *const *argv, char **env, int out, int (*func)(void *data), void *data)
{
    const int nothing = open("/dev/null", O_RDONLY);
    const int code = func ? func(data) : 0;
    if (code)
        _exit(code);
    setpgid(0, 0);
    if (dup2(nothing, 0) >= 0 && dup2(out, 1) >= 0 && dup2(out, 2) >= 0)
        execvpe(argv[0], (char *const *)argv, env);
    _exit(127);
}

void
tn_background_start(TnBackground *child, const char *const *argv, const char *const *env)
{
    tn_background_start_with(child, argv, env, NULL, NULL);
}

void
tn_background_start_with(TnBackground *child, const char *const *argv, const char *const *env,
                         int (*func)(void *data), void *data)
{
    static guint number;
    g_auto(GStrv) all = g_get_environ();
    for (guint i = 0; env && env[i]; i++) {
        g_auto(GStrv) pair = g_strsplit(env[i], "=", 2);
        all = g_environ_setenv(all, pair[0], pair[1], TRUE);
    }
    *child = (TnBackground){ .exit_code = -1, .began = now() };
    child->path = tn_test_tmp_path("said-%u", number++);
    const int out = open(child->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    TN_REQUIRE(out >= 0);
    child->pid = fork();
    if (child->pid == 0)
        become(argv, all, out, func, data);
    close(out);
    TN_REQUIRE(child->pid > 0);
    child->group = child->pid;
    setpgid(child->pid, child->pid); /* whoever is first */
}

static gboolean
has_ended(TnBackground *child)
{
    int status;
    if (child->pid == 0)
        return TRUE;
    if (waitpid(child->pid, &status, WNOHANG) != child->pid)
        return FALSE;
    child->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    child->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    child->seconds = now() - child->began;
    child->pid = 0;
    return TRUE;
}

gboolean
tn_background_kill(TnBackground *child, int number)
{
    return !has_ended(child) && kill(child->pid, number) == 0;
}

gboolean
tn_background_wait(TnBackground *child, double seconds)
{
    TnPatience patience = tn_test_patience(seconds * SLACK);
    while (!has_ended(child)) {
        if (!tn_test_patient(&patience))
            return FALSE;
        g_usleep(2000);
    }
    return TRUE;
}

char *
tn_background_text(const TnBackground *child)
{
    return tn_test_read_file(child->path, NULL);
}

gboolean
tn_background_says(TnBackground *child, const char *text, double seconds)
{
    TnPatience patience = tn_test_patience(seconds * SLACK);
    for (;;) {
        const gboolean ended = has_ended(child);
        g_autofree char *said = tn_background_text(child);
        if (strstr(said, text))
            return TRUE;
        if (ended || !tn_test_patient(&patience))
            return FALSE;
        g_usleep(5000);
    }
}

gboolean
tn_background_exit(TnBackground *child, int code, const char *file, unsigned int line)
{
    const gboolean ended = tn_background_wait(child, 60);
    enum { SHOWN = 3000 }; /* what matters stands at the end */
    g_autofree char *said = tn_background_text(child);
    const size_t length = strlen(said);
    return tn_test_check(ended && child->exit_code == code, FALSE, file, line,
                         "%s with code %d (signal %d), expected %d; it said:\n%s",
                         ended ? "it ended" : "it did not end", child->exit_code, child->signal,
                         code, said + (length > SHOWN ? length - SHOWN : 0));
}

void
tn_background_clear(TnBackground *child)
{
    if (child->group)
        kill(-child->group, SIGKILL);
    if (child->pid)
        waitpid(child->pid, NULL, 0);
    g_clear_pointer(&child->path, g_free);
    *child = (TnBackground){ .exit_code = -1 };
}

/* --- Processes -------------------------------------------------------------------------------- */

static gboolean
has_word(const char *pid, const char *word)
{
    g_autofree char *path = g_build_filename("/proc", pid, "cmdline", NULL), *text = NULL;
    gsize n;
    if (!g_file_get_contents(path, &text, &n, NULL)) /* of a zombie it is empty */
        return FALSE;
    for (gsize at = 0; at < n; at += strlen(text + at) + 1)
        if (strcmp(text + at, word) == 0)
            return TRUE;
    return FALSE;
}

guint
tn_background_find(const char *word, guint most, pid_t *pids)
{
    guint n = 0;
    GDir *dir = g_dir_open("/proc", 0, NULL);
    for (const char *name; dir && n < most && (name = g_dir_read_name(dir));)
        if (g_ascii_isdigit(name[0]) && has_word(name, word))
            pids[n++] = (pid_t)atoi(name);
    if (dir)
        g_dir_close(dir);
    return n;
}

gboolean
tn_background_none(const char *word, double seconds)
{
    pid_t pid;
    TnPatience patience = tn_test_patience(seconds * SLACK);
    while (tn_background_find(word, 1, &pid)) {
        if (!tn_test_patient(&patience))
            return FALSE;
        g_usleep(10000);
    }
    return TRUE;
}
