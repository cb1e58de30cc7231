/* verb-resume.c: `tenon resume RUN`: a run goes on from its newest sound checkpoint, with the config it began with. */
#include "job-verbs.h"

typedef struct {
    ConfigOptions config;
    const char *runs;
} ResumeOptions;

static const TnOption rows[] = {
    CONFIG_ROWS(ResumeOptions, config),
    RUNS_ROW(ResumeOptions, runs),
};

/* The overrides it was started with, then those given now. (transfer container). */
static GPtrArray *
all_overrides(const TnValue *provenance, TnVerbCall *call)
{
    GPtrArray *words = g_ptr_array_new();
    const TnValue *first = tn_value_get(provenance, "overrides");
    for (gsize i = 0; i < tn_value_len(first); i++)
        g_ptr_array_add(words, (gpointer)tn_value_get_string(tn_value_at(first, i)));
    for (gint i = 1; i < call->n_args; i++)
        g_ptr_array_add(words, (gpointer)call->args[i]);
    return words;
}

static gint
resume(TnVerbCall *call, GError **error)
{
    const ResumeOptions *options = call->options;
    g_autofree char *root = tn_runs_root(options->runs);
    g_autoptr(TnRunDir) run = tn_run_open(root, call->args[0], TRUE, error);
    if (!run)
        return g_error_matches(*error, TN_ERROR, TN_ERROR_NOT_FOUND) ? 2 : 1;
    g_autoptr(TnValue) provenance = tn_run_get_json(run, "provenance.json", error);
    if (!provenance)
        return 1;
    const TnValue *original = tn_value_get(provenance, "config");
    g_autofree char *copy = g_build_filename(tn_run_path(run), "config.lua", NULL);
    g_autofree char *text = read_text(copy, error);
    const char *path =
        tn_value_type(original) == TN_VALUE_STRING ? tn_value_get_string(original) : copy;
    if (!text)
        return 1;
    g_autoptr(GPtrArray) overrides = all_overrides(provenance, call);
    LoadedConfig loaded;
    gint code = 2;
    if (config_load(call, &options->config, path, text, (gint)overrides->len,
                    (const char *const *)overrides->pdata, &loaded, error)) {
        code = 1;
        g_autoptr(TnJob) job = tn_job_prepare(loaded.host, loaded.root, run, TRUE, error);
        if (job)
            code = job_finish(call, job, run, path, error);
    }
    config_clear(&loaded);
    return code;
}

const TnVerb tn_verb_resume = {
    .size = sizeof(TnVerb),
    .name = "resume",
    .args = "RUN [KEY=VALUE ...]",
    .help = "go on with a run that was stopped or killed, from its newest checkpoint",
    .details = "RUN is a run's folder, NAME/TIME-ID under the runs folder, or NAME alone for its "
               "newest run. Without a checkpoint "
               "it begins anew in the same folder.",
    .options = TN_OPTIONS(ResumeOptions, rows),
    .min_args = 1,
    .max_args = -1,
    .run = resume,
};
