/* show-kernels.c: `tenon show --kernels`: which kernel of several, and by what. */
#include "show-kernels.h"

#include <string.h>

static const char *const sources[] = {
    [TN_CHOICE_RANK] = "by rank",
    [TN_CHOICE_MEASURED] = "measured",
    [TN_CHOICE_NEAR] = "measured nearby",
    [TN_CHOICE_KEPT] = "as the run began",
};

/* What was chosen for a node, by its key: drafts choose for nodes that the program has not. */
typedef struct {
    char *id;
    TnChoiceSource source;
    guint n_candidates;
    gboolean shown;
} Chosen;

typedef struct {
    FILE *out;
    GHashTable *chosen; /* key → Chosen */
} Choices;

static void
chosen_free(gpointer data)
{
    Chosen *chosen = data;
    g_free(chosen->id);
    g_free(chosen);
}

static void
note_choice(const TnChoice *choice, gpointer data)
{
    Choices *choices = data;
    if (choice->n_candidates > 1 && !g_hash_table_contains(choices->chosen, choice->key)) {
        const Chosen chosen = { g_strdup(choice->id), choice->source, choice->n_candidates, FALSE };
        g_hash_table_insert(choices->chosen, g_strdup(choice->key),
                            g_memdup2(&chosen, sizeof chosen));
    }
}

/* A kernel that was not chosen stands in where the chosen one needs more memory than there is. */
static void
print_used(const TnChoice *used, gpointer data)
{
    Choices *choices = data;
    Chosen *chosen = g_hash_table_lookup(choices->chosen, used->key);
    if (!chosen || chosen->shown)
        return;
    chosen->shown = TRUE;
    fprintf(choices->out, "  %.*s: %s, %s, one of %u\n", (int)strcspn(used->key, "#"), used->key,
            used->id,
            g_strcmp0(chosen->id, used->id) == 0 ? sources[chosen->source] : "in less memory",
            chosen->n_candidates);
}

static gboolean
show_graph(TnVerbCall *call, TnContext *context, TnGraph *graph, const char *name, GError **error)
{
    g_autoptr(GHashTable) chosen =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, chosen_free);
    Choices choices = { call->out, chosen };
    TnCompile options;
    tn_compile_init(&options, context);
    options.choice_sink = note_choice;
    options.used_sink = print_used;
    options.choice_data = &choices;
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
