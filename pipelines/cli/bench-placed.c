/* bench-placed.c: what it costs a training to read and map in another process. */
#include "bench-core.h"
#include "bench-timing.h"
#include "bench-training.h"

#include <unistd.h>

#include <tenon/base.h>
#include <tenon/host.h>
#include <tenon/stage.h>

#include "launch.h"

#define TURNS 8 /* of each way */

/* A training that is fed by read and map, here or in a process of theirs. */
typedef struct {
    TnHost *host;
    TnSpec *root;
    TnJob *job;
    TnStepper *stepper;
} Fed;

static gboolean
fed_open(Fed *t, gint n, const char *const *overrides, GError **error)
{
    static const char config[] = "module:tenon.bench.train_placed";
    const ConfigOptions none = { 0 };
    g_autoptr(TnFaults) faults = tn_faults_new();
    t->host = tn_host_new(NULL, error);
    t->root = t->host ? tn_host_load(t->host, config, n, overrides, faults) : NULL;
    if (!t->root) {
        tn_faults_to_error(faults, error);
        return FALSE;
    }
    g_auto(GStrv) words = launch_words(&none, config, NULL, n, overrides, t->host);
    tn_host_set_launch(t->host, (const char *const *)words);
    t->job = tn_job_prepare(t->host, t->root, NULL, FALSE, error);
    const TnFunction *step = t->job ? bench_function_of(t->job, config, "step", error) : NULL;
    t->stepper = step ? tn_job_stepper(t->job, step) : NULL;
    if (step && !t->stepper)
        g_set_error(error, TN_ERROR, TN_ERROR_FAILED, "%s: nothing feeds 'step'", config);
    return t->stepper != NULL;
}

static void
fed_clear(Fed *t)
{
    tn_job_free(t->job);
    if (t->root)
        tn_spec_unref(t->root);
    tn_host_free(t->host);
}

/* Samples a second of a turn; before, it runs until what was made ahead is used up. 0: *error. */
static double
train_some(Fed *t, GError **error)
{
    enum { FIRST = 8, STEPS = 40 };
    guint64 done, samples = 0;
    double begin = 0;
    for (guint half = 0; half < 2; half++) {
        begin = bench_now();
        if (tn_stepper_run(t->stepper, half ? STEPS : FIRST, 0, &done, &samples) != TN_OK) {
            g_propagate_error(error, g_error_copy(tn_stepper_error(t->stepper)));
            return 0;
        }
    }
    return (double)samples / (bench_now() - begin);
}

static gboolean
train_in_turns(TnBench *bench, Fed *here, Fed *placed, GError **error)
{
    g_autoptr(GArray) rates = bench_times(), rates_here = bench_times(), shares = bench_times();
    const double end = bench_now() + bench->seconds;
    for (guint turn = 0; turn < 3 || bench_now() < end; turn++) {
        const double a = train_some(here, error), b = a > 0 ? train_some(placed, error) : 0;
        const double share = 100 * b / a;
        if (!(a > 0 && b > 0))
            return FALSE;
        g_array_append_val(rates_here, a);
        g_array_append_val(rates, b);
        g_array_append_val(shares, share);
    }
    bench->report(bench, NULL, bench_quantile(rates, 0.5), "samples/s",
                  "LeNet-5 on byte images that another process reads and scales (place = \"ipc\")");
    bench->report(bench, "here", bench_quantile(rates_here, 0.5), "samples/s",
                  "the same, read and scaled in the process that trains");
    bench->report(bench, "share", bench_quantile(shares, 0.5), "%", "of that, median of turns");
    return TRUE;
}

static gboolean
make_images(TnBench *bench, const char *file, GError **error)
{
    const char *const import[] = { bench->program,    "data",     "import",       "random", file,
                                   "shape={1,28,28}", "dtype=u8", "length=60000", NULL };
    gint code;
    return g_spawn_sync(NULL, (char **)import, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL,
                        NULL, &code, error) &&
           g_spawn_check_wait_status(code, error);
}

gboolean
bench_train_placed(TnBench *bench, GError **error)
{
    g_autofree char *folder = g_dir_make_tmp("tenon-bench-XXXXXX", error);
    g_autofree char *file = folder ? g_build_filename(folder, "images.h5", NULL) : NULL;
    g_autofree char *data = g_strdup_printf("data=%s", file);
    const char *const overrides[] = { data, "map.place=ipc" };
    Fed here = { NULL }, placed = { NULL };
    const gboolean ok =
        folder && make_images(bench, file, error) && fed_open(&here, 1, overrides, error) &&
        fed_open(&placed, 2, overrides, error) && train_in_turns(bench, &here, &placed, error);
    fed_clear(&placed);
    fed_clear(&here);
    if (folder) {
        unlink(file);
        rmdir(folder);
    }
    return ok;
}
