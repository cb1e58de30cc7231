/* verb-runs.c: `tenon runs`: the run folders, newest last, with how they ended. */
#include <string.h>

#include <tenon/run.h>

#include "job-verbs.h"

typedef struct {
    const char *runs;
} RunsOptions;

static const TnOption rows[] = { RUNS_ROW(RunsOptions, runs) };

static gint
by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names in a folder, sorted. (transfer full). */
static GPtrArray *
names_in(const char *folder)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    GDir *dir = g_dir_open(folder, 0, NULL);
    const char *name;
    while (dir && (name = g_dir_read_name(dir)))
        g_ptr_array_add(names, g_strdup(name));
    if (dir)
        g_dir_close(dir);
    g_ptr_array_sort(names, by_text);
    return names;
}

/* {run, state, result …} of one folder; NULL if it is none. "running" without its lock is "killed". */
static TnValue *
describe(const char *root, const char *name)
{
    g_autoptr(TnRunDir) run = tn_run_open(root, name, FALSE, NULL);
    if (!run)
        return NULL;
    TnValue *row = tn_value_map();
    g_autoptr(TnValue) status = tn_run_get_json(run, "status.json", NULL);
    const TnValue *state = status ? tn_value_get(status, "state") : NULL;
    const char *text =
        state && tn_value_type(state) == TN_VALUE_STRING ? tn_value_get_string(state) : "unknown";
    if (strcmp(text, "running") == 0 && !tn_run_is_held(run))
        text = "killed";
    tn_value_set(row, "run", tn_value_string(name));
    tn_value_set(row, "state", tn_value_string(text));
    tn_value_set(row, "checkpoint", tn_value_int(tn_checkpoint_newest(run)));
    const TnValue *result = status ? tn_value_get(status, "result") : NULL;
    if (tn_value_type(result) == TN_VALUE_MAP)
        tn_value_set(row, "result", tn_value_copy(result));
    return row;
}

static void
print_row(TnVerbCall *call, const TnValue *row)
{
    const TnValue *result = tn_value_get(row, "result");
    gint64 step = tn_value_get_int(tn_value_get(row, "checkpoint"));
    fprintf(call->out, "%-44s %-8s", tn_value_get_string(tn_value_get(row, "run")),
            tn_value_get_string(tn_value_get(row, "state")));
    if (step >= 0)
        fprintf(call->out, " checkpoint %" G_GINT64_FORMAT, step);
    for (gsize i = 0; i < tn_value_len(result); i++)
        if (tn_value_type(tn_value_at(result, i)) == TN_VALUE_DOUBLE)
            fprintf(call->out, "  %s %.4g", tn_value_key_at(result, i),
                    tn_value_get_double(tn_value_at(result, i)));
    fputc('\n', call->out);
}

static gint
list_runs(TnVerbCall *call, GError **error)
{
    const RunsOptions *options = call->options;
    g_autofree char *root = tn_runs_root(options->runs);
    g_autoptr(GPtrArray) groups = names_in(root);
    g_autoptr(TnValue) list = tn_value_list();
    (void)error;
    for (guint i = 0; i < groups->len; i++) {
        const char *group = g_ptr_array_index(groups, i);
        if (call->n_args && strcmp(call->args[0], group) != 0)
            continue;
        g_autofree char *folder = g_build_filename(root, group, NULL);
        g_autoptr(GPtrArray) ids = names_in(folder);
        for (guint k = 0; k < ids->len; k++) {
            g_autofree char *name =
                g_build_filename(group, (char *)g_ptr_array_index(ids, k), NULL);
            TnValue *row = describe(root, name);
            if (row)
                tn_value_push(list, row);
        }
    }
    if (call->json) {
        g_autofree char *text = tn_json_print(list, TRUE);
        fprintf(call->out, "%s\n", text);
        return 0;
    }
    for (gsize i = 0; i < tn_value_len(list); i++)
        print_row(call, tn_value_at(list, i));
    if (tn_value_len(list) == 0)
        fprintf(call->err, "tenon: no runs in %s\n", root);
    return 0;
}

const TnVerb tn_verb_runs = {
    .size = sizeof(TnVerb),
    .name = "runs",
    .args = "[NAME]",
    .help = "list run folders with their state, newest checkpoint and results",
    .options = TN_OPTIONS(RunsOptions, rows),
    .min_args = 0,
    .max_args = 1,
    .run = list_runs,
};
