/* bench-training.c: see bench-training.h. */
#include "bench-training.h"

void
bench_training_clear(BenchTraining *t)
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
make_inputs(BenchTraining *t, gint64 classes, GError **error)
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

gboolean
bench_training_bind(BenchTraining *t, GError **error)
{
    t->exec = tn_function_exec(t->step, t->n_inputs, t->inputs, error);
    return t->exec != NULL;
}

TnFunction *
bench_function_of(const TnJob *job, const char *config, const char *graph, GError **error)
{
    for (guint i = 0; i < tn_job_n_functions(job); i++) {
        const char *name;
        TnFunction *function = tn_job_function(job, i, &name);
        if (g_str_has_suffix(name, graph))
            return function;
    }
    g_set_error(error, TN_ERROR, TN_ERROR_FAILED, "%s has no graph '%s'", config, graph);
    return NULL;
}

gboolean
bench_training_open(BenchTraining *t, const char *config, const char *graph, gint n,
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
    t->step = t->job ? bench_function_of(t->job, config, graph, error) : NULL;
    return t->step && make_inputs(t, classes, error) && bench_training_bind(t, error);
}

gboolean
bench_training_step(BenchTraining *t, GError **error)
{
    if (tn_exec_run(t->exec) == TN_OK)
        return TRUE;
    if (tn_exec_error(t->exec))
        g_propagate_error(error, g_error_copy(tn_exec_error(t->exec)));
    return FALSE;
}
