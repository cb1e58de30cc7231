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

/* {run, state, step, steps, epoch …} of one folder, as in its status.json; NULL if it is none.
 * "running" without its lock is "killed". */
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
    for (gsize i = 0; i < tn_value_len(status); i++)
        if (!tn_value_get(row, tn_value_key_at(status, i)))
            tn_value_set(row, tn_value_key_at(status, i), tn_value_copy(tn_value_at(status, i)));
    return row;
}

static double
number(const TnValue *map, const char *key, double otherwise)
{
    const TnValue *value = tn_value_get(map, key);
    const TnValueType type = tn_value_type(value);
    return type == TN_VALUE_INT      ? (double)tn_value_get_int(value)
           : type == TN_VALUE_DOUBLE ? tn_value_get_double(value)
                                     : otherwise;
}

/* "3" or "3/10"; "-" if it is not known. */
static char *
part_of(const TnValue *row, const char *key, const char *all)
{
    const double done = number(row, key, number(tn_value_get(row, "result"), key, -1));
    const double total = number(row, all, 0);
    if (done < 0)
        return g_strdup("-");
    return total > 0 ? g_strdup_printf("%.0f/%.0f", done, total) : g_strdup_printf("%.0f", done);
}

/* "12 s", "3 min", "2 h", "5 d"; "-" if it is not known. */
static char *
duration(double seconds)
{
    if (seconds < 0)
        return g_strdup("-");
    return seconds < 100         ? g_strdup_printf("%.0f s", seconds)
           : seconds < 100 * 60  ? g_strdup_printf("%.0f min", seconds / 60)
           : seconds < 72 * 3600 ? g_strdup_printf("%.0f h", seconds / 3600)
                                 : g_strdup_printf("%.0f d", seconds / 86400);
}

/* What it measured: of the end if it has one, else what was logged last; how much is left; why it
 * failed. */
static void
print_rest(TnVerbCall *call, const TnValue *row)
{
    const TnValue *result = tn_value_get(row, "result"), *error = tn_value_get(row, "error");
    const TnValue *metrics = tn_value_len(result) ? result : tn_value_get(row, "metrics");
    const gboolean running =
        g_strcmp0(tn_value_get_string(tn_value_get(row, "state")), "running") == 0;
    const double left = number(row, "seconds_left", -1);
    if (running && left >= 0) {
        g_autofree char *text = duration(left);
        fprintf(call->out, "  %s left", text);
    }
    for (gsize i = 0; i < tn_value_len(metrics); i++)
        if (tn_value_type(tn_value_at(metrics, i)) == TN_VALUE_DOUBLE &&
            strcmp(tn_value_key_at(metrics, i), "seconds") != 0)
            fprintf(call->out, "  %s %.4g", tn_value_key_at(metrics, i),
                    tn_value_get_double(tn_value_at(metrics, i)));
    if (tn_value_type(error) == TN_VALUE_STRING) {
        const char *text = tn_value_get_string(error);
        fprintf(call->out, "  %.*s", (int)strcspn(text, "\n"), text);
    }
}

static void
print_row(TnVerbCall *call, const TnValue *row)
{
    const double checkpoint = number(row, "checkpoint", -1), time = number(row, "time", -1);
    const double now = (double)g_get_real_time() * 1e-6;
    g_autofree char *step = part_of(row, "step", "steps"), *epoch = part_of(row, "epoch", "epochs"),
                    *age = duration(time < 0 ? -1 : MAX(now - time, 0)),
                    *saved = checkpoint < 0 ? g_strdup("-") : g_strdup_printf("%.0f", checkpoint);
    fprintf(call->out, "%-44s %-8s %-15s %-8s %-10s %-8s",
            tn_value_get_string(tn_value_get(row, "run")),
            tn_value_get_string(tn_value_get(row, "state")), step, epoch, saved, age);
    print_rest(call, row);
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
    if (tn_value_len(list))
        fprintf(call->out, "%-44s %-8s %-15s %-8s %-10s %-8s  %s\n", "RUN", "STATE", "STEP",
                "EPOCH", "CHECKPOINT", "AGE", "METRICS");
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
    .help = "list run folders: state, step, epoch, newest checkpoint, age, metrics",
    .details =
        "A run at work tells its state about once a second, whenever it logs. AGE is how long ago "
        "that was. `killed` is a run whose process is gone: `tenon resume` goes on with it.",
    .options = TN_OPTIONS(RunsOptions, rows),
    .min_args = 0,
    .max_args = 1,
    .run = list_runs,
};
