/* bench-core.c: the table of the program's own cases, and what they are called with. */
#include "bench-core.h"

#include <tenon/base.h>
#include <tenon/pool.h>

gint bench_n_overrides;
const char *const *bench_overrides;

#define SAMPLES(network)                                                                           \
    {                                                                                              \
        sizeof(TnBenchCase), "samples_" #network,                                                  \
            "what batch_invariant costs " #network ": 1 to 128 samples", bench_samples             \
    }
#define RECOMPUTE(network)                                                                         \
    {                                                                                              \
        sizeof(TnBenchCase), "recompute_" #network,                                                \
            "what half the memory costs a step of " #network, bench_recompute                      \
    }
static const TnBenchCase cases[] = {
    { sizeof(TnBenchCase), "startup", "start, load a config, make one tensor, end", bench_startup },
    { sizeof(TnBenchCase), "train_tiny", "steps of a tiny network: overhead", bench_run_network },
    { sizeof(TnBenchCase), "train_mlp", "steps of a multilayer perceptron", bench_run_network },
    { sizeof(TnBenchCase), "train_lenet", "steps of LeNet-5", bench_run_network },
    { sizeof(TnBenchCase), "train_resnet18", "steps of ResNet-18", bench_run_network },
    { sizeof(TnBenchCase), "train_lstm", "steps of a recurrent network", bench_run_network },
    { sizeof(TnBenchCase), "train_gpt", "steps of a GPT", bench_run_network },
    { sizeof(TnBenchCase), "infer_resnet50", "an image through ResNet-50", bench_run_network },
    { sizeof(TnBenchCase), "infer_tiny", "a sample through a tiny network", bench_run_network },
    { sizeof(TnBenchCase), "compile_mlp", "compiling a multilayer perceptron's step",
      bench_compile_network },
    { sizeof(TnBenchCase), "compile_resnet50", "compiling ResNet-50", bench_compile_network },
    { sizeof(TnBenchCase), "train_mlp_pipeline", "what reading and mapping cost a step",
      bench_train_mlp_pipeline },
    { sizeof(TnBenchCase), "train_mlp_two_jobs", "two trainings at once on the same processors",
      bench_train_mlp_two_jobs },
    { sizeof(TnBenchCase), "executor_nodes", "what the executor costs a node",
      bench_executor_nodes },
    SAMPLES(mlp),
    SAMPLES(mlp_small),
    SAMPLES(lenet),
    SAMPLES(resnet18),
    SAMPLES(resnet50),
    SAMPLES(lstm),
    SAMPLES(gru),
    SAMPLES(gpt),
    RECOMPUTE(mlp),
    RECOMPUTE(lenet),
    RECOMPUTE(resnet18),
    RECOMPUTE(resnet34),
    RECOMPUTE(resnet50),
    RECOMPUTE(lstm),
    RECOMPUTE(gru),
    RECOMPUTE(language),
    RECOMPUTE(gpt),
    { sizeof(TnBenchCase), "wire_inproc", "a frame from one thread to another", bench_wire_inproc },
    { sizeof(TnBenchCase), "wire_ipc_small", "a small request to another process and its answer",
      bench_wire_ipc_small },
    { sizeof(TnBenchCase), "wire_ipc_large", "large tensors from another process",
      bench_wire_ipc_large },
    { sizeof(TnBenchCase), "wire_tcp_large", "large tensors over tcp", bench_wire_tcp_large },
    { sizeof(TnBenchCase), "train_placed", "what it costs to read in another process",
      bench_train_placed },
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
    .help = "training, inference, starting, the executor, wires",
    .vtable = &vtable,
};

static const TnFactory *const factories[] = { &factory, &bench_nothing_stage, NULL };

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
    bench_n_overrides = n;
    bench_overrides = v;
}
