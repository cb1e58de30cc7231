/* bench-core.c: steps and inference of networks, how long they take to compile, what a pipeline costs a
 * step, two trainings at once, and the time to start.
 *
 * A network's case is an ordinary config (pipelines/lua/tenon/bench), prepared like any job; measured
 * is the program of one of its graphs, run over and over on one batch, as the peers are: median time
 * of a run. */
#include "bench-core.h"
#include "bench-profile.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tenon/base.h>
#include <tenon/host.h>
#include <tenon/pool.h>
#include <tenon/program.h>

#define LEAST_STEPS 5

static gint n_overrides;
static const char *const *overrides;

static double
now(void)
{
    return (double)g_get_monotonic_time() * 1e-6;
}

static int
by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double
median(GArray *values)
{
    qsort(values->data, values->len, sizeof(double), by_value);
    return g_array_index(values, double, values->len / 2);
}

/* --- Networks --------------------------------------------------------------------------------- */

typedef struct {
    TnHost *host;
    TnSpec *root;
    TnJob *job;
    TnFunction *step; /* the graph that is measured */
    guint n_inputs;
    TnTensor *inputs[TN_MAX_FIELDS];
    TnExec *exec;
    gint64 batch;
} Training;

static void
training_clear(Training *t)
{
    for (guint i = 0; i < t->n_inputs; i++)
        if (t->inputs[i])
            tn_tensor_unref(t->inputs[i]);
    tn_job_free(t->job);
    if (t->root)
        tn_spec_unref(t->root);
    tn_host_free(t->host);
}

/* Random contents: floats normal, integers below ten. */
static gboolean
fill_input(TnTensor *tensor, const char *name, gint64 classes)
{
    TnRandom random;
    void *at = tn_tensor_map(tensor, TN_MAP_WRITE, NULL);
    gint64 n = tn_tensor_count(tensor);
    tn_random_init(&random, 0, name, 0);
    for (gint64 i = 0; i < n; i++) {
        if (tn_tensor_dtype(tensor) == TN_DTYPE_F32)
            ((float *)at)[i] = (float)tn_random_normal(&random);
        else
            ((gint64 *)at)[i] = (gint64)tn_random_below(&random, (guint64)classes);
    }
    tn_tensor_unmap(tensor);
    return TRUE;
}

static gboolean
make_inputs(Training *t, gint64 classes, GError **error)
{
    TnGraph *graph = tn_function_graph(t->step);
    gboolean ok = TRUE;
    t->n_inputs = MIN(tn_graph_n_inputs(graph), TN_MAX_FIELDS);
    for (guint i = 0; ok && i < t->n_inputs; i++) {
        const char *name;
        const TnType *type = tn_graph_type(graph, tn_graph_input_at(graph, i, &name));
        t->inputs[i] = tn_tensor_new(NULL, *type, error);
        ok = t->inputs[i] && fill_input(t->inputs[i], name, classes);
        if (i == 0)
            t->batch = type->dims[0];
    }
    return ok;
}

static gboolean
bind_inputs(Training *t, GError **error)
{
    t->exec = tn_function_exec(t->step, t->n_inputs, t->inputs, error);
    return t->exec != NULL;
}

static gboolean
training_open(Training *t, const char *config, const char *graph, gint n,
              const char *const *settings, gint64 classes, GError **error)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    t->host = tn_host_new(NULL, error);
    t->root = t->host ? tn_host_load(t->host, config, n, settings, faults) : NULL;
    if (!t->root) {
        tn_faults_to_error(faults, error);
        return FALSE;
    }
    t->job = tn_job_prepare(t->host, t->root, NULL, FALSE, error);
    for (guint i = 0; t->job && !t->step && i < tn_job_n_functions(t->job); i++) {
        const char *name;
        TnFunction *function = tn_job_function(t->job, i, &name);
        if (g_str_has_suffix(name, graph))
            t->step = function;
    }
    if (t->job && !t->step)
        g_set_error(error, TN_ERROR, TN_ERROR_FAILED, "%s has no graph '%s'", config, graph);
    return t->step && make_inputs(t, classes, error) && bind_inputs(t, error);
}

static gboolean
run_step(Training *t, GError **error)
{
    if (tn_exec_run(t->exec) == TN_OK)
        return TRUE;
    if (tn_exec_error(t->exec))
        g_propagate_error(error, g_error_copy(tn_exec_error(t->exec)));
    return FALSE;
}

/* What is measured of the config pipelines/lua/tenon/bench/NAME.lua. */
typedef struct {
    const char *name, *graph;
    gint64 classes; /* integers among the inputs are below this */
    gint64 items;   /* of a sample, for "items/s"; 0: the time of a call is told */
    const char *unit;
    double per_second; /* such units in a second, of times */
    guint calls;       /* that are timed together, where one is too short for the clock */
    guint threads;     /* 0: all */
    const char *what;
    const char *narrow; /* the same with products of bf16; NULL: not measured */
    const char *bytes;  /* and in 8 bits */
} Network;

static const Network networks[] = {
    { "train_tiny", "step", 2, 1, "samples/s", 0, 1, 0,
      "MLP 4-64-64-2 (tanh), batch 32, Adam, f32: overhead" },
    { "train_mlp", "step", 10, 1, "samples/s", 0, 1, 0,
      "MLP 784-512-512-10, batch 128, Adam, f32" },
    { "train_lenet", "step", 10, 1, "samples/s", 0, 1, 0,
      "LeNet-5 (ReLU, max-pool), batch 128, Adam, f32" },
    { "train_resnet18", "step", 10, 1, "samples/s", 0, 1, 0,
      "ResNet-18 for 32x32 images, batch 32, Adam, f32",
      "ResNet-18 for 32x32 images, batch 32, Adam, bf16" },
    { "train_lstm", "step", 10, 1, "samples/s", 0, 1, 0,
      "LSTM in 64 hidden 256, sequence 64, batch 32, Adam, f32",
      "LSTM in 64 hidden 256, sequence 64, batch 32, Adam, bf16" },
    { "train_gpt", "step", 256, 128, "tokens/s", 0, 1, 0,
      "GPT 4 layers, width 256, 8 heads, 128 tokens, batch 8, AdamW, f32",
      "GPT 4 layers, width 256, 8 heads, 128 tokens, batch 8, AdamW, bf16" },
    { "infer_resnet50", "infer", 1000, 0, "ms", 1e3, 1, 0, "ResNet-50 224x224 batch 1, f32",
      "ResNet-50 224x224 batch 1, bf16", "ResNet-50 224x224 batch 1, int8" },
    { "infer_tiny", "infer", 10, 0, "us", 1e6, 1000, 1,
      "MLP 784-128-10 batch 1, f32, one thread, per call" },
};

/* One call as a user makes it: a step finds its batch bound, inference is given its sample. */
static gboolean
call_network(const Network *network, Training *t, GError **error)
{
    gboolean ok = TRUE;
    for (guint i = 0; ok && i < network->calls; i++)
        ok = (network->items || bind_inputs(t, error)) && run_step(t, error);
    return ok;
}

static void
report_network(TnBench *bench, const Network *network, gint64 batch, const char *variant,
               double took, const char *what)
{
    const double value = network->items ? (double)(batch * network->items) / took
                                        : network->per_second * took / network->calls;
    bench->report(bench, variant, value, network->unit, what);
}

/* One precision of a network, which `what` describes; variant: its name, NULL for f32. */
static gboolean
measure_network(TnBench *bench, const Network *network, const char *variant, const char *what,
                GError **error)
{
    Training t = { NULL };
    g_autofree char *precision = g_strconcat("precision=", variant, NULL);
    g_autofree char *mean = variant ? g_strconcat(variant, "_mean", NULL) : g_strdup("mean");
    g_autoptr(GArray) times = g_array_new(FALSE, FALSE, sizeof(double));
    g_autofree char *config = g_strconcat("module:tenon.bench.", network->name, NULL);
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    for (gint i = 0; i < n_overrides; i++)
        g_ptr_array_add(all, (gpointer)overrides[i]);
    if (variant)
        g_ptr_array_add(all, precision);
    bench_forget_memory();
    gboolean ok = training_open(&t, config, network->graph, (gint)all->len,
                                (const char *const *)all->pdata, network->classes, error);
    for (guint i = 0; ok && i < 3; i++)
        ok = call_network(network, &t, error);
    double begin = now(), end = begin + bench->seconds, last = begin;
    while (ok && (last < end || times->len < LEAST_STEPS)) {
        ok = call_network(network, &t, error);
        double at = now(), took = at - last;
        g_array_append_val(times, took);
        last = at;
    }
    if (ok) {
        report_network(bench, network, t.batch, variant, median(times), what);
        report_network(bench, network, t.batch, mean, (last - begin) / times->len,
                       network->items ? "the same, mean of all steps"
                                      : "the same, mean of all calls");
        ok = bench_report_program(bench, t.exec, median(times) / network->calls, error);
    }
    training_clear(&t);
    return ok;
}

/* The row of the case's name. */
static gboolean
run_network(TnBench *bench, GError **error)
{
    const Network *network = networks;
    while (strcmp(network->name, bench->name) != 0)
        network++; /* every case that comes here has one */
    const guint threads = tn_pool_threads();
    if (network->threads)
        tn_pool_set_threads(network->threads);
    const struct {
        const char *variant, *what;
    } all[] = { { NULL, network->what }, { "bf16", network->narrow }, { "int8", network->bytes } };
    gboolean ok = TRUE;
    for (gsize i = 0; ok && i < G_N_ELEMENTS(all); i++)
        ok = all[i].what == NULL ||
             measure_network(bench, network, all[i].variant, all[i].what, error);
    if (network->threads)
        tn_pool_set_threads(threads);
    return ok;
}

/* --- Compiling -------------------------------------------------------------------------------- */

/* Graphs of networks' configs, from built to ready to run. */
static const struct {
    const char *name, *network, *graph, *what;
    gint64 classes;
} compiled[] = {
    { "compile_mlp", "train_mlp", "step", "the program of a step of train_mlp, from its graph",
      10 },
    { "compile_resnet50", "infer_resnet50", "infer",
      "the program of infer_resnet50, from its graph", 1000 },
};

static gboolean
compile_network(TnBench *bench, GError **error)
{
    guint row = 0;
    while (strcmp(compiled[row].name, bench->name) != 0)
        row++; /* every case that comes here has one */
    Training t = { NULL };
    TnCompile options;
    g_autoptr(GArray) times = g_array_new(FALSE, FALSE, sizeof(double));
    g_autofree char *config = g_strconcat("module:tenon.bench.", compiled[row].network, NULL);
    gboolean ok = training_open(&t, config, compiled[row].graph, n_overrides, overrides,
                                compiled[row].classes, error);
    if (ok)
        tn_compile_init(&options, tn_job_context(t.job));
    const double end = now() + bench->seconds;
    while (ok && (now() < end || times->len < LEAST_STEPS)) {
        const double begin = now();
        g_autoptr(TnProgram) program = tn_compile(tn_function_graph(t.step), &options, error);
        const double took = 1e3 * (now() - begin);
        ok = program != NULL;
        g_array_append_val(times, took);
    }
    if (ok)
        bench->report(bench, NULL, median(times), "ms", compiled[row].what);
    training_clear(&t);
    return ok;
}

/* --- Processes -------------------------------------------------------------------------------- */

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

static void
remove_folder(const char *folder)
{
    const char *const rm[] = { "/bin/rm", "-rf", folder, NULL };
    g_spawn_sync(NULL, (char **)rm, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL);
}

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
loop_init(Loop *loop, const Fed *fed, const Training *t, GError **error)
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
gather(Loop *loop, const Training *t)
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
time_bound(Training *t, Loop *loop, double *seconds, GError **error)
{
    const double begin = now();
    for (guint i = 0; i < TURN; i++) {
        if (loop)
            gather(loop, t);
        if (!run_step(t, error))
            return FALSE;
    }
    *seconds = (now() - begin) / TURN;
    return TRUE;
}

static gboolean
time_fed(TnStepper *stepper, double *seconds, GError **error)
{
    guint64 done, samples;
    const double begin = now();
    if (tn_stepper_run(stepper, TURN, 0, &done, &samples) != TN_OK) {
        g_propagate_error(error, g_error_copy(tn_stepper_error(stepper)));
        return FALSE;
    }
    *seconds = (now() - begin) / TURN;
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
take_turns(TnBench *bench, Training *t, const Fed *fed, Loop *loop, GError **error)
{
    TnStepper *stepper = tn_job_stepper(t->job, t->step);
    g_autoptr(GArray) times = g_array_new(FALSE, FALSE, sizeof(double));
    g_autoptr(GArray) shares = g_array_new(FALSE, FALSE, sizeof(double));
    g_autoptr(GArray) over_loop = g_array_new(FALSE, FALSE, sizeof(double));
    const double end = now() + bench->seconds / G_N_ELEMENTS(fed_by);
    for (guint turn = 0; turn < 6 || now() < end; turn++) {
        double bound, gathered = 1, took;
        if (!bind_inputs(t, error) || !time_bound(t, NULL, &bound, error) ||
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
    bench->report(bench, fed->rate, (double)t->batch / median(times), "samples/s", fed->what);
    bench->report(bench, fed->cost, median(shares), fed->cost_unit,
                  "what such a step takes longer than on one batch in memory");
    if (fed->over_loop)
        bench->report(bench, fed->over_loop, median(over_loop), fed->cost_unit,
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
    Training t = { NULL };
    Loop loop = { NULL };
    gint code;
    const gboolean ok = g_spawn_sync(NULL, (char **)import, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL,
                                     NULL, NULL, NULL, &code, error) &&
                        g_spawn_check_wait_status(code, error) &&
                        training_open(&t, "module:tenon.bench.train_mlp_pipeline", "step", 3,
                                      settings, 10, error) &&
                        loop_init(&loop, fed, &t, error) &&
                        take_turns(bench, &t, fed, &loop, error);
    tn_data_free(loop.samples);
    training_clear(&t);
    return ok;
}

static gboolean
train_mlp_pipeline(TnBench *bench, GError **error)
{
    g_autofree char *folder = g_dir_make_tmp("tenon-bench-XXXXXX", error);
    gboolean ok = folder != NULL;
    for (guint i = 0; ok && i < G_N_ELEMENTS(fed_by); i++) {
        g_autofree char *file = g_build_filename(folder, "random.h5", NULL);
        ok = measure_fed(bench, &fed_by[i], file, error);
    }
    if (folder)
        remove_folder(folder);
    return ok;
}

/* Two at once, two threads each; their sum, and its share of what one alone did just before and
 * after. */
static gboolean
train_mlp_two_jobs(TnBench *bench, GError **error)
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
static gboolean
startup(TnBench *bench, GError **error)
{
    g_autofree char *runs = g_dir_make_tmp("tenon-bench-XXXXXX", error);
    g_autoptr(GArray) times = g_array_new(FALSE, FALSE, sizeof(double));
    if (!runs)
        return FALSE;
    const char *const argv[] = {
        bench->program, "run", "--runs", runs, "module:tenon.bench.startup", NULL
    };
    double end = now() + bench->seconds;
    gboolean ok = TRUE;
    for (guint i = 0; ok && (i < 6 || now() < end); i++) {
        Child child;
        double begin = now();
        ok = start_child(&child, argv, error);
        g_autofree char *text = ok ? finish_child(&child) : NULL;
        double took = 1e3 * (now() - begin);
        if (ok && !strstr(text, "run ")) {
            g_set_error(error, TN_ERROR, TN_ERROR_FAILED, "`tenon run` did not name its run");
            ok = FALSE;
        }
        if (i > 0)
            g_array_append_val(times, took);
    }
    if (ok)
        bench->report(bench, NULL, median(times), "ms",
                      "tenon run of a one-tensor config, index warm, whole process");
    remove_folder(runs);
    return ok;
}

static const TnBenchCase cases[] = {
    { sizeof(TnBenchCase), "startup", "start, load a config, make one tensor, end", startup },
    { sizeof(TnBenchCase), "train_tiny", "steps of a tiny network: overhead", run_network },
    { sizeof(TnBenchCase), "train_mlp", "steps of a multilayer perceptron", run_network },
    { sizeof(TnBenchCase), "train_lenet", "steps of LeNet-5", run_network },
    { sizeof(TnBenchCase), "train_resnet18", "steps of ResNet-18", run_network },
    { sizeof(TnBenchCase), "train_lstm", "steps of a recurrent network", run_network },
    { sizeof(TnBenchCase), "train_gpt", "steps of a GPT", run_network },
    { sizeof(TnBenchCase), "infer_resnet50", "an image through ResNet-50", run_network },
    { sizeof(TnBenchCase), "infer_tiny", "a sample through a tiny network", run_network },
    { sizeof(TnBenchCase), "compile_mlp", "compiling a multilayer perceptron's step",
      compile_network },
    { sizeof(TnBenchCase), "compile_resnet50", "compiling ResNet-50", compile_network },
    { sizeof(TnBenchCase), "train_mlp_pipeline", "what reading and mapping cost a step",
      train_mlp_pipeline },
    { sizeof(TnBenchCase), "train_mlp_two_jobs", "two trainings at once on the same processors",
      train_mlp_two_jobs },
};

static const TnBenchVTable vtable = {
    .size = sizeof(TnBenchVTable),
    .case_size = sizeof(TnBenchCase),
    .n = G_N_ELEMENTS(cases),
    .cases = cases,
};

static const TnFactory factory = {
    .size = sizeof(TnFactory),
    .iface = TN_IFACE_BENCH,
    .name = "core",
    .help = "training steps, inference, starting, sharing the processors",
    .vtable = &vtable,
};

static const TnFactory *const factories[] = { &factory, NULL };

static const TnPlugin descriptor = {
    TN_PLUGIN_HEAD("bench-core", "0.1.0", "Apache-2.0", "the program's own benchmark cases"),
    .factories = factories,
};

gboolean
bench_core_register(GError **error)
{
    return tn_registry_add(&descriptor, error);
}

void
bench_core_set_threads(guint n)
{
    tn_pool_set_threads(n);
}

void
bench_core_set_overrides(gint n, const char *const *v)
{
    n_overrides = n;
    overrides = v;
}
