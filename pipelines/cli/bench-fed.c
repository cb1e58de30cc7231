/* bench-fed.c: what reading and mapping cost a step: steps on one bound batch, on batches that a loop
 * gathers, and fed by the pipeline. */
#include "bench-core.h"
#include "bench-timing.h"
#include "bench-training.h"

#include <string.h>

/* Data that the case makes with `tenon data import random`, and what is said of steps on it. */
typedef struct {
    const char *shape, *dtype;
    gint64 length;                /* samples */
    const char *bytes, *hidden;   /* arguments of the config */
    const char *rate, *cost;      /* variants of the case's name */
    const char *over_loop;        /* likewise: beside a loop that gathers batches by hand; NULL */
    const char *what, *cost_unit; /* %: of a step; us: of a frame */
} Fed;

static const Fed fed_by[] = {
    { "shape={784}", "dtype=f32", 128, "bytes=false", "hidden=512", NULL, "share", "over_loop",
      "train_mlp fed by read: one batch's samples, shuffled", "%" },
    { "shape={784}", "dtype=u8", 60000, "bytes=true", "hidden=512", "images", "images_share",
      "images_over_loop", "train_mlp fed by read and map: 60000 byte images, shuffled, to f32",
      "%" },
    { "shape={1}", "dtype=u8", 60000, "bytes=true", "hidden=8", "tiny", "frame", NULL,
      "the same of a tiny network on samples of one byte: what a frame costs beside its bytes",
      "us" },
};

/* Samples in memory, of which a loop puts a batch together: what one would write without a pipeline. */
typedef struct {
    guint8 *samples;
    gsize bytes; /* of a sample */
    gint64 length;
    gboolean convert; /* bytes become floats from 0 to 1 */
    TnRandom random;
} Loop;

static gboolean
loop_init(Loop *loop, const Fed *fed, const BenchTraining *t, GError **error)
{
    const gint64 values = tn_tensor_count(t->inputs[0]) / t->batch;
    loop->convert = strcmp(fed->dtype, "dtype=u8") == 0;
    loop->bytes = (gsize)values * (loop->convert ? 1 : sizeof(float));
    loop->length = fed->length;
    loop->samples = tn_data_alloc_for((gsize)loop->length * loop->bytes, "samples", error);
    if (!loop->samples)
        return FALSE;
    tn_random_init(&loop->random, 0, "samples", 0);
    for (gsize i = 0; i < (gsize)loop->length * loop->bytes / 4; i++)
        ((float *)(void *)loop->samples)[i] = (float)tn_random_normal(&loop->random);
    return TRUE;
}

static void
gather(Loop *loop, const BenchTraining *t)
{
    /* Not by a map: it is bound, but nothing runs now. */
    float *x = tn_storage_memory(tn_tensor_storage(t->inputs[0]));
    const gsize values = (gsize)(tn_tensor_count(t->inputs[0]) / t->batch);
    for (gint64 i = 0; i < t->batch; i++, x += values) {
        const guint64 which = tn_random_below(&loop->random, (guint64)loop->length);
        const guint8 *sample = loop->samples + which * loop->bytes;
        if (!loop->convert)
            memcpy(x, sample, loop->bytes);
        for (gsize k = 0; loop->convert && k < values; k++)
            x[k] = (float)sample[k] / 255;
    }
}

enum { TURN = 12 };

/* Seconds of a step: on the batch that is bound, put together by the loop first if there is one. */
static gboolean
time_bound(BenchTraining *t, Loop *loop, double *seconds, GError **error)
{
    const double begin = bench_now();
    for (guint i = 0; i < TURN; i++) {
        if (loop)
            gather(loop, t);
        if (!bench_training_step(t, error))
            return FALSE;
    }
    *seconds = (bench_now() - begin) / TURN;
    return TRUE;
}

static gboolean
time_fed(TnStepper *stepper, double *seconds, GError **error)
{
    guint64 done, samples;
    const double begin = bench_now();
    if (tn_stepper_run(stepper, TURN, 0, &done, &samples) != TN_OK) {
        g_propagate_error(error, g_error_copy(tn_stepper_error(stepper)));
        return FALSE;
    }
    *seconds = (bench_now() - begin) / TURN;
    return TRUE;
}

static double
cost(const Fed *fed, double took, double other)
{
    return strcmp(fed->cost_unit, "%") == 0 ? 100 * (took - other) / other : 1e6 * (took - other);
}

/* Steps on one bound batch, on batches that a loop gathers, and fed by the pipeline take turns in one
 * process, on the same program and weights; a share is the median of what a turn of the last took
 * longer. */
static gboolean
take_turns(TnBench *bench, BenchTraining *t, const Fed *fed, Loop *loop, GError **error)
{
    TnStepper *stepper = tn_job_stepper(t->job, t->step);
    g_autoptr(GArray) times = bench_times();
    g_autoptr(GArray) shares = bench_times();
    g_autoptr(GArray) over_loop = bench_times();
    if (!stepper) {
        g_set_error(error, TN_ERROR, TN_ERROR_FAILED, "nothing feeds the graph 'step'");
        return FALSE;
    }
    const double end = bench_now() + bench->seconds / G_N_ELEMENTS(fed_by);
    for (guint turn = 0; turn < 6 || bench_now() < end; turn++) {
        double bound, gathered = 1, took;
        if (!bench_training_bind(t, error) || !time_bound(t, NULL, &bound, error) ||
            (fed->over_loop && !time_bound(t, loop, &gathered, error)) ||
            !time_fed(stepper, &took, error))
            return FALSE;
        const double share = cost(fed, took, bound), over = cost(fed, took, gathered);
        if (turn > 0) {
            g_array_append_val(times, took);
            g_array_append_val(shares, share);
            g_array_append_val(over_loop, over);
        }
    }
    bench->report(bench, fed->rate, (double)t->batch / bench_median(times), "samples/s", fed->what);
    bench->report(bench, fed->cost, bench_median(shares), fed->cost_unit,
                  "what such a step takes longer than on one batch in memory");
    if (fed->over_loop)
        bench->report(bench, fed->over_loop, bench_median(over_loop), fed->cost_unit,
                      "what it takes longer than after a loop in C that gathers the batch");
    return TRUE;
}

static gboolean
measure_fed(TnBench *bench, const Fed *fed, const char *file, GError **error)
{
    g_autofree char *length = g_strdup_printf("length=%" G_GINT64_FORMAT, fed->length);
    const char *const import[] = { bench->program, "data",     "import",   "random", file,
                                   "--force",      fed->shape, fed->dtype, length,   NULL };
    g_autofree char *data = g_strdup_printf("data=%s", file);
    const char *const settings[] = { data, fed->bytes, fed->hidden };
    BenchTraining t = { NULL };
    Loop loop = { NULL };
    gint code;
    const gboolean ok = g_spawn_sync(NULL, (char **)import, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL,
                                     NULL, NULL, NULL, &code, error) &&
                        g_spawn_check_wait_status(code, error) &&
                        bench_training_open(&t, "module:tenon.bench.train_mlp_pipeline", "step", 3,
                                            settings, 10, error) &&
                        loop_init(&loop, fed, &t, error) &&
                        take_turns(bench, &t, fed, &loop, error);
    tn_data_free(loop.samples);
    bench_training_clear(&t);
    return ok;
}

gboolean
bench_train_mlp_pipeline(TnBench *bench, GError **error)
{
    g_autofree char *folder = g_dir_make_tmp("tenon-bench-XXXXXX", error);
    gboolean ok = folder != NULL;
    for (guint i = 0; ok && i < G_N_ELEMENTS(fed_by); i++) {
        g_autofree char *file = g_build_filename(folder, "random.h5", NULL);
        ok = measure_fed(bench, &fed_by[i], file, error);
    }
    if (folder)
        bench_remove_folder(folder);
    return ok;
}
