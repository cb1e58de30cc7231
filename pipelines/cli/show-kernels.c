/* show-kernels.c: `tenon show --kernels`: which kernel of several, and by what. */
#include "show-kernels.h"

#include <string.h>

static const char *const sources[] = {
    [TN_CHOICE_RANK] = "by rank",
    [TN_CHOICE_MEASURED] = "measured",
    [TN_CHOICE_NEAR] = "measured nearby",
    [TN_CHOICE_KEPT] = "as the run began",
};

typedef struct {
    FILE *out;
    GHashTable *seen; /* keys */
} Choices;

static void
print_choice(const TnChoice *choice, gpointer data)
{
    Choices *choices = data;
    if (choice->n_candidates > 1 && g_hash_table_add(choices->seen, g_strdup(choice->key)))
        fprintf(choices->out, "  %.*s: %s, %s, one of %u\n", (int)strcspn(choice->key, "#"),
                choice->key, choice->id ? choice->id : "none", sources[choice->source],
                choice->n_candidates);
}

static gboolean
show_graph(TnVerbCall *call, TnContext *context, TnGraph *graph, const char *name, GError **error)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    Choices choices = { call->out, seen };
    TnDevice *devices[16];
    const guint n = MIN(tn_context_n_devices(context), G_N_ELEMENTS(devices));
    for (guint i = 0; i < n; i++)
        devices[i] = tn_context_device(context, i);
    const TnCompile options = { .devices = devices,
                                .n_devices = n,
                                .choices = tn_context_choices(context),
                                .costs = tn_context_costs(context),
                                .batch_invariant = tn_context_batch_invariant(context),
                                .memory_limit = tn_context_program_limit(context),
                                .choice_sink = print_choice,
                                .choice_data = &choices };
    fprintf(call->out, "# kernels of '%s' that are one of several\n", name);
    g_autoptr(TnProgram) program = tn_compile(graph, &options, error);
    return program != NULL;
}

gboolean
show_kernels(TnVerbCall *call, TnJob *job, GError **error)
{
    TnContext *context = tn_job_context(job);
    const TnCosts *costs = tn_context_costs(context);
    g_autofree char *path = tn_costs_path();
    gboolean ok = TRUE;
    if (costs)
        fprintf(call->out, "# measured times: %s, %zu nodes, digest %016" G_GINT64_MODIFIER "x\n",
                path, tn_value_len(tn_costs_rows(costs)), tn_costs_digest(costs));
    else
        fprintf(call->out, "# no measured times: kernels are chosen by rank\n");
    for (guint i = 0; ok && i < tn_job_n_functions(job); i++) {
        const char *name;
        TnFunction *function = tn_job_function(job, i, &name);
        ok = show_graph(call, context, tn_function_graph(function), name, error);
    }
    return ok;
}
