/* bench-process.c: cases that time whole processes: starting, and two trainings at once. */
#include "bench-core.h"
#include "bench-timing.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tenon/base.h>

/* The value that a child printed for `line` ("train_mlp.mean"), NAN if it did not. */
static double
value_of(const char *out, const char *line)
{
    g_autofree char *head = g_strdup_printf("%s\t", line);
    const char *at = strstr(out, head);
    return at ? g_ascii_strtod(at + strlen(head), NULL) : 0.0 / 0.0;
}

typedef struct {
    GPid pid;
    int out;
} Child;

static gboolean
start_child(Child *child, const char *const *argv, GError **error)
{
    return g_spawn_async_with_pipes(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL,
                                    NULL, &child->pid, NULL, &child->out, NULL, error);
}

static char *
finish_child(Child *child)
{
    GString *text = g_string_new(NULL);
    char buffer[4096];
    ssize_t n;
    while ((n = read(child->out, buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR))
        g_string_append_len(text, buffer, MAX(n, 0));
    close(child->out);
    waitpid(child->pid, NULL, 0);
    return g_string_free(text, FALSE);
}

void
bench_remove_folder(const char *folder)
{
    const char *const rm[] = { "/bin/rm", "-rf", folder, NULL };
    g_spawn_sync(NULL, (char **)rm, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL);
}

/* Two at once, two threads each; their sum, and its share of what one alone did just before and
 * after. */
gboolean
bench_train_mlp_two_jobs(TnBench *bench, GError **error)
{
    g_autofree char *seconds = g_strdup_printf("%g", bench->seconds);
    const char *const argv[] = { bench->program, "bench", "--threads", "2",
                                 "--seconds",    seconds, "train_mlp", NULL };
    double alone = 0, both = 0;
    for (guint round = 0; round < 2; round++) {
        Child one, a, b;
        if (!start_child(&one, argv, error))
            return FALSE;
        g_autofree char *text = finish_child(&one);
        alone = MAX(alone, value_of(text, "train_mlp.mean"));
        if (!start_child(&a, argv, error))
            return FALSE;
        gboolean second = start_child(&b, argv, error);
        g_autofree char *first_text = finish_child(&a);
        g_autofree char *second_text = second ? finish_child(&b) : g_strdup("");
        if (!second)
            return FALSE;
        both = MAX(both, value_of(first_text, "train_mlp.mean") +
                             value_of(second_text, "train_mlp.mean"));
    }
    if (!(alone > 0) || !(both > 0)) {
        g_set_error(error, TN_ERROR, TN_ERROR_FAILED,
                    "a child gave no figure; `tenon bench train_mlp` tells why");
        return FALSE;
    }
    bench->report(bench, NULL, both, "samples/s",
                  "two trainings at once, two threads each, combined");
    bench->report(bench, "share", 100 * both / alone, "%", "of one alone with two threads");
    return TRUE;
}

/* `tenon run` of a config that makes one tensor, the index warm. */
gboolean
bench_startup(TnBench *bench, GError **error)
{
    g_autofree char *runs = g_dir_make_tmp("tenon-bench-XXXXXX", error);
    g_autoptr(GArray) times = bench_times();
    if (!runs)
        return FALSE;
    const char *const argv[] = {
        bench->program, "run", "--runs", runs, "module:tenon.bench.startup", NULL
    };
    double end = bench_now() + bench->seconds;
    gboolean ok = TRUE;
    for (guint i = 0; ok && (i < 6 || bench_now() < end); i++) {
        Child child;
        double begin = bench_now();
        ok = start_child(&child, argv, error);
        g_autofree char *text = ok ? finish_child(&child) : NULL;
        double took = 1e3 * (bench_now() - begin);
        if (ok && !strstr(text, "run ")) {
            g_set_error(error, TN_ERROR, TN_ERROR_FAILED, "`tenon run` did not name its run");
            ok = FALSE;
        }
        if (i > 0)
            g_array_append_val(times, took);
    }
    if (ok)
        bench->report(bench, NULL, bench_median(times), "ms",
                      "tenon run of a one-tensor config, index warm, whole process");
    bench_remove_folder(runs);
    return ok;
}
