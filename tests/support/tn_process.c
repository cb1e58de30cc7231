/*
 * tn_process.c - child processes for tests: run to the end with a time limit, catch what they
 * print, send them a signal at a chosen moment.
 */
#include "tn_test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { IN, OUT, ERR, STATUS, N_PIPES };

typedef struct {
    pid_t pid;
    int fds[N_PIPES]; /* our ends; -1 when closed */
    GString *text[2]; /* stdout, stderr */
    const char *input;
    gboolean signal_sent;
    gboolean ended;
    int status; /* of waitpid, once it has ended */
} Running;

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void
close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static char **
make_env(const char *const *changes)
{
    char **env = g_get_environ();
    for (size_t i = 0; changes != NULL && changes[i] != NULL; i++) {
        char **pair = g_strsplit(changes[i], "=", 2);
        if (pair[1] != NULL)
            env = g_environ_setenv(env, pair[0], pair[1], TRUE);
        else
            env = g_environ_unsetenv(env, pair[0]);
        g_strfreev(pair);
    }
    return env;
}

/* In the child: only calls that are safe between fork and exec; a failure's errno goes to the
 * status pipe. */
G_NORETURN static void
become(const char *const *argv, char **env, const char *cwd, int ends[N_PIPES][2])
{
    setpgid(0, 0);
    if (dup2(ends[IN][0], 0) >= 0 && dup2(ends[OUT][1], 1) >= 0 && dup2(ends[ERR][1], 2) >= 0 &&
        (cwd == NULL || chdir(cwd) == 0))
        execvpe(argv[0], (char *const *)argv, env);
    const int code = errno;
    if (write(ends[STATUS][1], &code, sizeof code) < 0)
        _exit(126);
    _exit(127);
}

static gboolean
start(Running *r, const char *const *argv, const TnChildOptions *options)
{
    int ends[N_PIPES][2];
    for (int i = 0; i < N_PIPES; i++) {
        if (pipe2(ends[i], O_CLOEXEC) != 0)
            return FALSE;
    }
    char **env = make_env(options->env);
    r->pid = fork();
    if (r->pid == 0)
        become(argv, env, options->cwd, ends);
    g_strfreev(env);
    close(ends[IN][0]);
    r->fds[IN] = ends[IN][1];
    /* A write that waited for the child would keep it waiting for its output to be read. */
    fcntl(r->fds[IN], F_SETFL, O_NONBLOCK);
    for (int i = OUT; i < N_PIPES; i++) {
        close(ends[i][1]);
        r->fds[i] = ends[i][0];
    }
    int code = 0;
    const gboolean failed = r->pid < 0 || read(r->fds[STATUS], &code, sizeof code) > 0;
    close_fd(&r->fds[STATUS]);
    if (failed) {
        if (r->pid > 0)
            waitpid(r->pid, NULL, 0);
        errno = code;
    }
    return !failed;
}

static void
feed(Running *r)
{
    const size_t left = strlen(r->input);
    const ssize_t n = left > 0 ? write(r->fds[IN], r->input, left) : 0;
    if (n > 0)
        r->input += n;
    if ((n <= 0 && errno != EAGAIN) || *r->input == '\0')
        close_fd(&r->fds[IN]);
}

static void
collect(Running *r, int which)
{
    char buffer[8192];
    const ssize_t n = read(r->fds[which], buffer, sizeof buffer);
    if (n > 0)
        g_string_append_len(r->text[which - OUT], buffer, n);
    else if (n == 0 || errno != EINTR)
        close_fd(&r->fds[which]);
}

static void
maybe_signal(Running *r, const TnChildOptions *o, double elapsed)
{
    gboolean due = o->signal_after > 0 && elapsed >= o->signal_after;
    if (o->signal_when_text != NULL)
        due |= strstr(r->text[0]->str, o->signal_when_text) != NULL ||
               strstr(r->text[1]->str, o->signal_when_text) != NULL;
    if (due && !r->signal_sent) {
        r->signal_sent = TRUE;
        kill(r->pid, o->signal_number);
    }
}

static gboolean
has_ended(Running *r)
{
    if (!r->ended)
        r->ended = waitpid(r->pid, &r->status, WNOHANG) == r->pid;
    return r->ended;
}

/*
 * Serves the pipes until the child has ended and what it wrote has been read. A grandchild that
 * holds the pipes open is not waited for. Returns TRUE if the child had to be killed because its
 * time was up.
 */
static gboolean
serve(Running *r, const TnChildOptions *o, double begin, double timeout)
{
    gboolean timed_out = FALSE;
    TnPatience patience = tn_test_patience(timeout);
    for (;;) {
        struct pollfd p[3] = { { r->fds[IN], POLLOUT, 0 },
                               { r->fds[OUT], POLLIN, 0 },
                               { r->fds[ERR], POLLIN, 0 } };
        const gboolean ended = has_ended(r);
        const int ready = poll(p, 3, ended ? 0 : 2);
        if (ended && ready <= 0)
            return timed_out;
        if (p[0].revents != 0)
            feed(r);
        for (int i = OUT; i <= ERR; i++)
            if (p[i].revents != 0)
                collect(r, i);
        if (ended && r->fds[OUT] < 0 && r->fds[ERR] < 0)
            return timed_out;
        if (!ended)
            maybe_signal(r, o, now() - begin);
        if (!tn_test_patient(&patience) && !timed_out) {
            timed_out = !ended;
            kill(-r->pid, SIGKILL);
        }
    }
}

gboolean
tn_test_spawn(TnChild *child, const char *const *argv, const TnChildOptions *options)
{
    static const TnChildOptions none;
    const TnChildOptions *o = options != NULL ? options : &none;
    Running r = { .pid = -1, .fds = { -1, -1, -1, -1 }, .input = o->input != NULL ? o->input : "" };
    const double begin = now();
    *child = (TnChild){ .exit_code = -1 };
    signal(SIGPIPE, SIG_IGN);
    if (!start(&r, argv, o)) {
        for (int i = 0; i < N_PIPES; i++)
            close_fd(&r.fds[i]);
        return tn_test_check(FALSE, FALSE, __FILE__, __LINE__, "cannot run %s: %s", argv[0],
                             g_strerror(errno));
    }
    for (int i = 0; i < 2; i++)
        r.text[i] = g_string_new(NULL);
    const double timeout = (o->timeout > 0 ? o->timeout : 30) * (TN_TEST_SANITIZED ? 5 : 1);
    child->timed_out = serve(&r, o, begin, timeout);
    child->seconds = now() - begin;
    child->exit_code = WIFEXITED(r.status) ? WEXITSTATUS(r.status) : -1;
    child->signal = WIFSIGNALED(r.status) ? WTERMSIG(r.status) : 0;
    child->out = g_string_free(r.text[0], FALSE);
    child->err = g_string_free(r.text[1], FALSE);
    for (int i = 0; i < N_PIPES; i++)
        close_fd(&r.fds[i]);
    return TRUE;
}

static GPtrArray *
gather(const char *first, va_list ap)
{
    GPtrArray *argv = g_ptr_array_new();
    g_ptr_array_add(argv, (gpointer)first);
    for (const char *arg = va_arg(ap, const char *); arg != NULL; arg = va_arg(ap, const char *))
        g_ptr_array_add(argv, (gpointer)arg);
    g_ptr_array_add(argv, NULL);
    return argv;
}

gboolean
tn_test_run(TnChild *child, const char *program, ...)
{
    va_list ap;
    va_start(ap, program);
    GPtrArray *argv = gather(program, ap);
    va_end(ap);
    const gboolean ok = tn_test_spawn(child, (const char *const *)argv->pdata, NULL);
    g_ptr_array_free(argv, TRUE);
    return ok;
}

gboolean
tn_test_tenon(TnChild *child, ...)
{
    char *program = tn_test_build_path("tenon");
    va_list ap;
    va_start(ap, child);
    GPtrArray *argv = gather(program, ap);
    va_end(ap);
    const gboolean ok = tn_test_spawn(child, (const char *const *)argv->pdata, NULL);
    g_ptr_array_free(argv, TRUE);
    g_free(program);
    return ok;
}

void
tn_child_clear(TnChild *child)
{
    g_clear_pointer(&child->out, g_free);
    g_clear_pointer(&child->err, g_free);
}

gboolean
tn_test_exit(const TnChild *child, int code, const char *file, unsigned int line)
{
    return tn_test_check(child->exit_code == code, FALSE, file, line,
                         "exit code %d was expected, got %d (signal %d%s); stderr:\n%s", code,
                         child->exit_code, child->signal, child->timed_out ? ", timed out" : "",
                         child->err != NULL ? child->err : "");
}

void
tn_test_again(const char *const *settings, const char *const *tests)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autoptr(GPtrArray) command = g_ptr_array_new();
    g_ptr_array_add(command, self);
    for (; *tests != NULL; tests++) {
        g_ptr_array_add(command, (gpointer)*tests);
    }
    g_ptr_array_add(command, NULL);
    for (; *settings != NULL; settings++) {
        const char *const env[] = { *settings, NULL };
        const TnChildOptions options = { .env = env, .timeout = 200 };
        g_auto(TnChild) child = { 0 };
        if (tn_test_spawn(&child, (const char *const *)command->pdata, &options)) {
            TN_ASSERT_EXIT(&child, 0);
        }
    }
}
