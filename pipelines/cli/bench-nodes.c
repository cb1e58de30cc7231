/* bench-nodes.c: what the executor costs a node: a chain of nodes whose kernels do nothing, and one of
 * additions of a few numbers, with one thread and with two. */
#include "bench-core.h"
#include "bench-timing.h"

#include <string.h>

#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>
#include <tenon/pool.h>
#include <tenon/program.h>

#define NODES 1000
#define NUMBERS 16
#define RUNS 100 /* that are timed together */

/* --- Kernels that do nothing ------------------------------------------------------------------ */

#define IDLE "idle" /* the scope of nodes that get them */

static gboolean
is_idle(const TnNode *node)
{
    return g_str_has_prefix(node->name, IDLE ".");
}

static TnStatus
run_nothing(void *state, const TnRun *run)
{
    (void)state;
    (void)run;
    return TN_OK;
}

static const TnKernel idle = {
    .op = "add", .dtypes = TN_DTYPES_ALL, .rank = G_MAXINT32, .claims = is_idle, .run = run_nothing
};
static const TnKernelTable idle_table = { .size = sizeof(TnKernelTable),
                                          .kind = "cpu",
                                          .kernel_size = sizeof(TnKernel),
                                          .n_kernels = 1,
                                          .kernels = &idle };
static const TnFactory idle_factory = { .size = sizeof(TnFactory),
                                        .flags = TN_FACTORY_INTERNAL,
                                        .iface = "tenon.kernel/1",
                                        .name = "bench-idle",
                                        .help = "kernels that do nothing",
                                        .vtable = &idle_table };

/* --- A chain ---------------------------------------------------------------------------------- */

typedef struct {
    TnContext *context;
    TnGraph *graph;
    TnTensor *x;
    TnExec *exec;
} Chain;

static void
chain_clear(Chain *chain)
{
    g_clear_pointer(&chain->exec, tn_exec_free);
    g_clear_pointer(&chain->x, tn_tensor_unref);
    g_clear_pointer(&chain->graph, tn_graph_unref);
    g_clear_pointer(&chain->context, tn_context_unref);
}

static gboolean
is_done(const Chain *chain, TnStatus status, GError **error)
{
    if (status != TN_OK)
        g_propagate_error(error, g_error_copy(tn_exec_error(chain->exec)));
    return status == TN_OK;
}

/* v + x, again and again. Nothing is fused or found to be known. */
static gboolean
chain_open(Chain *chain, const char *scope, GError **error)
{
    static const char *const skip[] = { "fuse", "algebra", NULL };
    const TnType type = { .dtype = TN_DTYPE_F32, .rank = 1, .dims = { NUMBERS } };
    chain->context = tn_context_new();
    chain->graph = tn_graph_new("nodes");
    chain->x = tn_tensor_new(NULL, type, error);
    g_autoptr(TnDevice) device = chain->x ? tn_device_open("cpu", chain->context, error) : NULL;
    if (!device)
        return FALSE;
    memset(tn_tensor_map(chain->x, TN_MAP_WRITE, NULL), 0, NUMBERS * sizeof(float));
    tn_tensor_unmap(chain->x);
    const TnVal x = tn_graph_input(chain->graph, "x", type);
    TnVal v = x;
    tn_graph_push(chain->graph, scope);
    for (guint i = 0; i < NODES; i++)
        v = tn_graph_op(chain->graph, "add", NULL, 2, (TnVal[]){ v, x }, NULL);
    tn_graph_pop(chain->graph);
    tn_graph_output(chain->graph, "y", v);
    TnDevice *devices[] = { device };
    const TnCompile compile = { .devices = devices, .n_devices = 1, .skip = skip };
    g_autoptr(TnProgram) program = tn_compile(chain->graph, &compile, error);
    chain->exec = program ? tn_exec_new(program, NULL, chain->context, error) : NULL;
    return chain->exec && is_done(chain, tn_exec_bind(chain->exec, 0, chain->x), error);
}

/* Microseconds of a node: the median. */
static gboolean
time_node(Chain *chain, double seconds, double *median, GError **error)
{
    g_autoptr(GArray) times = bench_times();
    const gint64 end = g_get_monotonic_time() + (gint64)(seconds * 1e6);
    gint64 last = g_get_monotonic_time();
    while (last < end || times->len < 3) {
        for (guint i = 0; i < RUNS; i++)
            if (!is_done(chain, tn_exec_run(chain->exec), error))
                return FALSE;
        const gint64 at = g_get_monotonic_time();
        const double took = (double)(at - last) / (RUNS * NODES);
        g_array_append_val(times, took);
        last = at;
    }
    *median = bench_median(times);
    return TRUE;
}

typedef struct {
    const char *variant, *scope;
    guint threads;
    const char *what;
} Row;

static const Row rows[] = {
    { NULL, IDLE, 1, "a node whose kernel does nothing, of a chain of 1000, one thread" },
    { "add", "small", 1, "a node that adds 16 numbers, one thread" },
    { "add_threads", "small", 2, "the same with two threads: nothing may be lost" },
};

gboolean
bench_executor_nodes(TnBench *bench, GError **error)
{
    const guint threads = tn_pool_threads();
    gboolean ok = TRUE;
    tn_registry_add_factory(&idle_factory, "bench-nodes");
    for (guint i = 0; ok && i < G_N_ELEMENTS(rows); i++) {
        Chain chain = { NULL };
        tn_pool_set_threads(rows[i].threads);
        double took = 0;
        ok = chain_open(&chain, rows[i].scope, error) &&
             time_node(&chain, bench->seconds / G_N_ELEMENTS(rows), &took, error);
        if (ok)
            bench->report(bench, rows[i].variant, took, "us", rows[i].what);
        chain_clear(&chain);
    }
    tn_registry_remove_factory(&idle_factory);
    tn_pool_set_threads(threads);
    return ok;
}
