/* verb-stages.c: `tenon stages RUN`: the stages of a run that other processes and hosts make. */
#include <tenon/run.h>

#include "job-verbs.h"

typedef struct {
    const char *runs;
} StagesOptions;

static const TnOption rows[] = { RUNS_ROW(StagesOptions, runs) };

static double
number(const TnValue *map, const char *key)
{
    const TnValue *value = tn_value_get(map, key);
    const TnValueType type = value ? tn_value_type(value) : TN_VALUE_NIL;
    return type == TN_VALUE_INT      ? (double)tn_value_get_int(value)
           : type == TN_VALUE_DOUBLE ? tn_value_get_double(value)
                                     : 0;
}

static const char *
text(const TnValue *map, const char *key)
{
    const TnValue *value = tn_value_get(map, key);
    return value && tn_value_type(value) == TN_VALUE_STRING ? tn_value_get_string(value) : "-";
}

/* "4711@host 4712@host" */
static char *
processes(const TnValue *place)
{
    const TnValue *list = tn_value_get(place, "processes");
    GString *line = g_string_new(NULL);
    for (gsize i = 0; list && tn_value_type(list) == TN_VALUE_LIST && i < tn_value_len(list); i++)
        g_string_append_printf(line, "%s%.0f@%s", i ? " " : "", number(tn_value_at(list, i), "pid"),
                               text(tn_value_at(list, i), "host"));
    return g_string_free(line, FALSE);
}

static void
print_place(TnVerbCall *call, const TnValue *place)
{
    g_autofree char *who = processes(place);
    g_autofree char *queue =
        g_strdup_printf("%.0f/%.0f", number(place, "queue"), number(place, "queue_most"));
    fprintf(call->out, "%-16s %8.0f %-8s %8.1f %10.1f %8.0f  %-32s %s\n", text(place, "stage"),
            number(place, "rate"), queue, number(place, "lag"),
            number(tn_value_get(place, "wire"), "bytes_in") / (1 << 20), number(place, "restarts"),
            text(place, "place"), *who ? who : "nobody");
}

static gint
list_stages(TnVerbCall *call, GError **error)
{
    const StagesOptions *options = call->options;
    g_autofree char *root = tn_runs_root(options->runs);
    g_autoptr(TnRunDir) run = tn_run_open(root, call->args[0], FALSE, error);
    if (!run)
        return g_error_matches(*error, TN_ERROR, TN_ERROR_NOT_FOUND) ? 2 : 1;
    g_autoptr(TnValue) status = tn_run_get_json(run, "status.json", error);
    if (!status)
        return 1;
    const TnValue *stages = tn_value_get(status, "stages");
    const gboolean any = stages && tn_value_type(stages) == TN_VALUE_LIST;
    if (call->json) {
        g_autoptr(TnValue) none = tn_value_list();
        g_autofree char *json = tn_json_print(any ? stages : none, TRUE);
        fprintf(call->out, "%s\n", json);
        return 0;
    }
    if (!any || tn_value_len(stages) == 0) {
        fprintf(call->err,
                "tenon: all stages of %s run in its own process, or it has not told yet\n",
                tn_run_path(run));
        return 0;
    }
    if (!tn_run_is_held(run))
        fprintf(call->err, "tenon: %s is not running: this is what it told last\n",
                tn_run_path(run));
    fprintf(call->out, "%-16s %8s %-8s %8s %10s %8s  %-32s %s\n", "STAGE", "FRAMES/S", "QUEUE",
            "LAG ms", "MiB IN", "RESTARTS", "PLACE", "PROCESSES");
    for (gsize i = 0; i < tn_value_len(stages); i++)
        print_place(call, tn_value_at(stages, i));
    return 0;
}

const TnVerb tn_verb_stages = {
    .size = sizeof(TnVerb),
    .name = "stages",
    .args = "RUN",
    .help = "list a run's stages in other processes and on other hosts",
    .details =
        "RUN is a run's folder, NAME/TIME-ID under the runs folder, or NAME alone for its "
        "newest run. FRAMES/S is how fast the run takes frames, QUEUE how many wait for it and "
        "how many may, LAG how long it waited for a frame on average since it told last, which "
        "is about every second.",
    .options = TN_OPTIONS(StagesOptions, rows),
    .min_args = 1,
    .max_args = 1,
    .run = list_stages,
};
