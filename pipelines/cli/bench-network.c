/* bench-network.c: steps and inference of networks, and how long they take to compile.
 *
 * A network's case is an ordinary config (pipelines/lua/tenon/bench); measured is the program of one of its
 * graphs, run over and over on one batch, as the peers are: median time of a run. */
#include "bench-core.h"
#include "bench-profile.h"
#include "bench-timing.h"
#include "bench-training.h"

#include <string.h>

#include <tenon/pool.h>

#define LEAST_STEPS 5

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
    const char *shared; /* and with all threads, where threads says another number */
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
      "MLP 784-128-10 batch 1, f32, one thread, per call", .shared = "the same with all threads" },
};

/* One call as a user makes it: a step finds its batch bound, inference is given its sample. */
static gboolean
call_network(const Network *network, BenchTraining *t, GError **error)
{
    gboolean ok = TRUE;
    for (guint i = 0; ok && i < network->calls; i++)
        ok = (network->items || bench_training_bind(t, error)) && bench_training_step(t, error);
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

/* A network in one way, which `what` describes; variant: its name, NULL for f32; precision: NULL for the
 * config's own. */
static gboolean
measure_network(TnBench *bench, const Network *network, const char *variant, const char *precision,
                const char *what, GError **error)
{
    BenchTraining t = { NULL };
    g_autofree char *mean = variant ? g_strconcat(variant, "_mean", NULL) : g_strdup("mean");
    g_autoptr(GArray) times = bench_times();
    g_autofree char *config = g_strconcat("module:tenon.bench.", network->name, NULL);
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    for (gint i = 0; i < bench_n_overrides; i++)
        g_ptr_array_add(all, (gpointer)bench_overrides[i]);
    if (precision)
        g_ptr_array_add(all, (gpointer)precision);
    bench_forget_memory();
    gboolean ok = bench_training_open(&t, config, network->graph, (gint)all->len,
                                      (const char *const *)all->pdata, network->classes, error);
    for (guint i = 0; ok && i < 3; i++)
        ok = call_network(network, &t, error);
    double begin = bench_now(), end = begin + bench->seconds, last = begin;
    while (ok && (last < end || times->len < LEAST_STEPS)) {
        ok = call_network(network, &t, error);
        double at = bench_now(), took = at - last;
        g_array_append_val(times, took);
        last = at;
    }
    if (ok) {
        report_network(bench, network, t.batch, variant, bench_median(times), what);
        report_network(bench, network, t.batch, mean, (last - begin) / times->len,
                       network->items ? "the same, mean of all steps"
                                      : "the same, mean of all calls");
        ok = bench_report_program(bench, t.exec, bench_median(times) / network->calls, error);
    }
    bench_training_clear(&t);
    return ok;
}

/* The row of the case's name. */
gboolean
bench_run_network(TnBench *bench, GError **error)
{
    const Network *network = networks;
    while (strcmp(network->name, bench->name) != 0)
        network++; /* every case that comes here has one */
    const guint threads = tn_pool_threads();
    const struct {
        const char *variant, *precision, *what;
        guint threads;
    } all[] = {
        { NULL, NULL, network->what, network->threads },
        { "bf16", "precision=bf16", network->narrow, network->threads },
        { "int8", "precision=int8", network->bytes, network->threads },
        { "threads", NULL, network->shared, 0 },
    };
    gboolean ok = TRUE;
    for (gsize i = 0; ok && i < G_N_ELEMENTS(all); i++) {
        if (all[i].threads)
            tn_pool_set_threads(all[i].threads);
        ok = all[i].what == NULL ||
             measure_network(bench, network, all[i].variant, all[i].precision, all[i].what, error);
        if (all[i].threads)
            tn_pool_set_threads(threads);
    }
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

gboolean
bench_compile_network(TnBench *bench, GError **error)
{
    guint row = 0;
    while (strcmp(compiled[row].name, bench->name) != 0)
        row++; /* every case that comes here has one */
    BenchTraining t = { NULL };
    TnCompile options;
    g_autoptr(GArray) times = bench_times();
    g_autofree char *config = g_strconcat("module:tenon.bench.", compiled[row].network, NULL);
    gboolean ok = bench_training_open(&t, config, compiled[row].graph, bench_n_overrides,
                                      bench_overrides, compiled[row].classes, error);
    if (ok)
        tn_compile_init(&options, tn_job_context(t.job));
    const double end = bench_now() + bench->seconds;
    while (ok && (bench_now() < end || times->len < LEAST_STEPS)) {
        const double begin = bench_now();
        g_autoptr(TnProgram) program = tn_compile(tn_function_graph(t.step), &options, error);
        const double took = 1e3 * (bench_now() - begin);
        ok = program != NULL;
        g_array_append_val(times, took);
    }
    if (ok)
        bench->report(bench, NULL, bench_median(times), "ms", compiled[row].what);
    bench_training_clear(&t);
    return ok;
}
