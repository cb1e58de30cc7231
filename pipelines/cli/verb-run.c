/* verb-run.c: `tenon run CONFIG`: a new run folder, the job it names, its end told. */
#include <string.h>

#include "launch.h"
#include "profiling.h"
#include "record.h"
#include "settings.h"

typedef struct {
    ConfigOptions config;
    const char *runs, *name;
    gboolean profile;
} RunOptions;

static const TnOption rows[] = {
    CONFIG_ROWS(RunOptions, config),
    RUNS_ROW(RunOptions, runs),
    { .name = "name",
      .type = TN_OPT_STRING,
      .flags = TN_OPTION_NULLABLE,
      .offset = G_STRUCT_OFFSET(RunOptions, name),
      .help = "name of the run; else the config's `name`, else its file's" },
    PROFILE_ROW(RunOptions, profile),
};

/* The config's `name` option, else the file's name without its ending. (transfer full). */
static char *
run_name(const RunOptions *options, const TnSpec *root, const char *path)
{
    if (options->name)
        return g_strdup(options->name);
    const TnValue *name = tn_value_get(tn_spec_options(root), "name");
    if (name && tn_value_type(name) == TN_VALUE_STRING)
        return g_strdup(tn_value_get_string(name));
    char *base = g_path_get_basename(path);
    char *dot = strrchr(base, '.');
    if (dot && dot > base)
        *dot = '\0';
    return base;
}

static void
given_settings(Settings *settings, const TnVerbCall *call, const TnHost *host)
{
    const RunOptions *options = call->options;
    settings_init(settings, call->args[0]);
    settings->data_root = g_strdup(tn_host_data_root(host));
    settings->trust = options->config.trust;
    for (gint i = 1; i < call->n_args; i++)
        settings_override(settings, call->args[i]);
}

static gint
run_config(TnVerbCall *call, GError **error)
{
    const RunOptions *options = call->options;
    const char *path = call->args[0];
    const gint n = call->n_args - 1;
    LoadedConfig loaded;
    gint code = 2;
    g_autoptr(TnProfile) profile = NULL;
    if (config_load(call, &options->config, path, NULL, n, call->args + 1, &loaded, error)) {
        g_autofree char *root = tn_runs_root(options->runs);
        g_autofree char *name = run_name(options, loaded.root, path);
        g_autoptr(TnRunDir) run = tn_run_create(root, name, error);
        g_autoptr(GError) why = NULL;
        code = 1;
        if (run && record_config(run, &loaded, &why)) {
            g_auto(Settings) settings = { 0 };
            given_settings(&settings, call, loaded.host);
            g_auto(GStrv) words = launch_words(&options->config, settings.config, tn_run_path(run),
                                               n, call->args + 1, loaded.host);
            tn_host_set_launch(loaded.host, (const char *const *)words);
            profile = options->profile ? profiling_begin(call, loaded.host) : NULL;
            g_autoptr(TnJob) job = tn_job_prepare(loaded.host, loaded.root, run, FALSE, &why);
            /* The provenance last: with it the run has begun. */
            if (job && settings_write(&settings, run, &why) &&
                record_provenance(run, job, settings.config, n, call->args + 1, &why))
                code = job_finish(call, job, run, path, error);
            if (profile && job)
                profiling_end(call, profile, job, run);
        }
        if (why) {
            job_failed(run, why);
            g_propagate_error(error, g_steal_pointer(&why));
        }
    }
    config_clear(&loaded);
    return code;
}

const TnVerb tn_verb_run = {
    .size = sizeof(TnVerb),
    .name = "run",
    .args = "CONFIG [KEY=VALUE ...]",
    .help = "run the job that a config describes",
    .details = "KEY is a path of the config's tree, such as train.optimizer.lr, or the name of a "
               "tn.arg. `tenon help CONFIG` "
               "lists the latter, `tenon show CONFIG` the tree. Everything about the run is kept "
               "in a folder of its own.",
    .options = TN_OPTIONS(RunOptions, rows),
    .min_args = 1,
    .max_args = -1,
    .run = run_config,
};
