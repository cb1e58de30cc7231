/* bench-samples.c: what `batch_invariant` costs: steps and inference of every kind of network
 * (pipelines/lua/tenon/bench/samples.lua), with 1 to 128 samples, with and without it in turns. */

#include "bench-core.h"
#include "bench-training.h"
#include "bench-turns.h"

#include <string.h>

#include <tenon/base.h>
#include <tenon/host.h>
#include <tenon/program.h>

#define CONFIG "module:tenon.bench.samples"

/* A network, prepared with or without batch_invariant. */
typedef struct {
    TnHost *host;
    TnSpec *root;
    TnJob *job;
} Side;

static gboolean
side_open(Side *side, const char *network, gboolean invariant, GError **error)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autofree char *which = g_strconcat("network=", network, NULL);
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    g_ptr_array_add(all, which);
    for (gint i = 0; i < bench_n_overrides; i++)
        g_ptr_array_add(all, (gpointer)bench_overrides[i]);
    g_ptr_array_add(all, invariant ? "batch_invariant=true" : "batch_invariant=false");
    side->host = tn_host_new(NULL, error);
    side->root = side->host ? tn_host_load(side->host, CONFIG, (gint)all->len,
                                           (const char *const *)all->pdata, faults)
                            : NULL;
    if (!side->root) {
        tn_faults_to_error(faults, error);
        return FALSE;
    }
    side->job = tn_job_prepare(side->host, side->root, NULL, FALSE, error);
    return side->job != NULL;
}

static void
side_clear(Side *side)
{
    tn_job_free(side->job);
    if (side->root)
        tn_spec_unref(side->root);
    tn_host_free(side->host);
}

/* So many samples at random, every input's; *n of them were made. */
static gboolean
make_inputs(TnGraph *graph, gint64 samples, TnTensor **inputs, guint *n, GError **error)
{
    if (tn_graph_n_inputs(graph) > TN_MAX_FIELDS) {
        g_set_error(error, TN_ERROR, TN_ERROR_FAILED, "%s: more than %d inputs",
                    tn_graph_name(graph), TN_MAX_FIELDS);
        return FALSE;
    }
    for (guint i = 0; i < tn_graph_n_inputs(graph); i++) {
        const char *name;
        TnRandom random;
        TnType type = *tn_graph_type(graph, tn_graph_input_at(graph, i, &name));
        type.dims[0] = samples;
        inputs[i] = tn_tensor_new(NULL, type, error);
        if (!inputs[i])
            return FALSE;
        *n = i + 1;
        void *at = tn_tensor_map(inputs[i], TN_MAP_WRITE, NULL);
        tn_random_init(&random, 0, name, 0);
        const gint64 count = tn_tensor_count(inputs[i]);
        if (type.dtype == TN_DTYPE_F32)
            tn_random_fill_normal(&random, count, at);
        for (gint64 k = 0; type.dtype != TN_DTYPE_F32 && k < count; k++)
            ((gint64 *)at)[k] = (gint64)tn_random_below(&random, 10);
        tn_tensor_unmap(inputs[i]);
    }
    return TRUE;
}

/* --- Sizes ------------------------------------------------------------------------------------ */

static const gint64 counts[] = { 1, 2, 4, 8, 9, 16, 32, 128 };
static const char *const graphs[] = { "infer", "step" };

static gboolean
compare(TnBench *bench, const Side *sides, const char *graph, gint64 samples, GError **error)
{
    TnTensor *inputs[TN_MAX_FIELDS];
    TnExec *exec[2] = { NULL };
    TnFunction *functions[2];
    double without = 0, share = 0;
    for (guint i = 0; i < 2; i++) {
        functions[i] = bench_function_of(sides[i].job, CONFIG, graph, error);
        if (!functions[i])
            return FALSE;
    }
    guint n = 0;
    gboolean ok = make_inputs(tn_function_graph(functions[0]), samples, inputs, &n, error);
    for (guint i = 0; ok && i < 2; i++) {
        exec[i] = tn_function_exec(functions[i], n, inputs, error);
        ok = exec[i] != NULL;
    }
    ok =
        ok && bench_take_turns(exec, bench->seconds / (G_N_ELEMENTS(counts) * G_N_ELEMENTS(graphs)),
                               &without, &share, error);
    if (ok) {
        g_autofree char *variant = g_strdup_printf("%s.%d", graph, (int)samples);
        g_autofree char *what =
            g_strdup_printf("of %.4g us without batch_invariant", 1e6 * without);
        bench->report(bench, variant, share, "x", what);
    }
    for (guint i = 0; i < n; i++)
        tn_tensor_unref(inputs[i]);
    return ok;
}

gboolean
bench_samples(TnBench *bench, GError **error)
{
    const char *network = bench->name + strlen("samples_");
    Side sides[2] = { { NULL } };
    gboolean ok =
        side_open(&sides[0], network, FALSE, error) && side_open(&sides[1], network, TRUE, error);
    for (guint g = 0; ok && g < G_N_ELEMENTS(graphs); g++)
        for (guint i = 0; ok && i < G_N_ELEMENTS(counts); i++)
            ok = compare(bench, sides, graphs[g], counts[i], error);
    for (guint i = 0; i < 2; i++)
        side_clear(&sides[i]);
    return ok;
}
