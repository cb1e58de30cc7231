/* verb-resume.c: `tenon resume RUN`: a run goes on from its newest sound checkpoint, made of what
 * it began with. */
#include "launch.h"
#include "profiling.h"
#include "record.h"
#include "settings.h"

typedef struct {
    ConfigOptions config;
    const char *runs;
    gboolean changed_data;
    gboolean profile;
} ResumeOptions;

static const TnOption rows[] = {
    CONFIG_ROWS(ResumeOptions, config),
    RUNS_ROW(ResumeOptions, runs),
    { .name = "changed-data",
      .type = TN_OPT_BOOL,
      .offset = G_STRUCT_OFFSET(ResumeOptions, changed_data),
      .help = "go on although a dataset is not the one that the run began with" },
    PROFILE_ROW(ResumeOptions, profile),
};

/* What the run was started with, then what is given now. FALSE: exit code in *code. */
static gboolean
merge_settings(TnVerbCall *call, TnRunDir *run, Settings *settings, ConfigOptions *config,
               gint *code, GError **error)
{
    const ResumeOptions *options = call->options;
    *code = 1;
    if (!settings_read(settings, run, error))
        return FALSE;
    *config = options->config;
    if (settings->trust && !config->trust) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                    "%s was started with --trust, so its config may run commands and write files; "
                    "give --trust again if it still may",
                    tn_run_path(run));
        *code = 2;
        return FALSE;
    }
    settings->trust = config->trust;
    if (!config->data_root)
        config->data_root = settings->data_root;
    for (gint i = 1; i < call->n_args; i++)
        settings_override(settings, call->args[i]);
    return TRUE;
}

/* Whether a run ended because its checkpoint is not of this config: what was given now is at fault. */
static gboolean
does_not_fit(const GError *error)
{
    return g_error_matches(error, TN_ERROR, TN_ERROR_SHAPE) ||
           g_error_matches(error, TN_ERROR, TN_ERROR_CORRUPT);
}

/* The job is prepared: what is true of it from now on is written, then it runs. Overrides that its
 * checkpoint does not fit are not kept: the next resume would fail of them too. */
static gint
go_on(TnVerbCall *call, TnRunDir *run, TnJob *job, const LoadedConfig *loaded, Settings *settings,
      GError **error)
{
    const ResumeOptions *options = call->options;
    g_auto(Settings) before = { 0 };
    if (!record_compare(call, run, job, options->changed_data, error))
        return g_error_matches(*error, TN_ERROR, TN_ERROR_CONFIG) ? 2 : 1;
    g_free(settings->data_root);
    settings->data_root = g_strdup(tn_host_data_root(loaded->host));
    if (!settings_read(&before, run, error) || !record_config(run, loaded, error) ||
        !settings_write(settings, run, error))
        return 1;
    const gint code = job_finish(call, job, run, settings->config, error);
    if (code != 0 && does_not_fit(*error))
        settings_write(&before, run, NULL);
    return code;
}

static gint
resume(TnVerbCall *call, GError **error)
{
    const ResumeOptions *options = call->options;
    g_autofree char *root = tn_runs_root(options->runs);
    g_autoptr(TnRunDir) run = tn_run_open(root, call->args[0], TRUE, error);
    if (!run)
        return g_error_matches(*error, TN_ERROR, TN_ERROR_NOT_FOUND) ? 2 : 1;
    g_auto(Settings) settings = { 0 };
    ConfigOptions config;
    LoadedConfig loaded;
    gint code;
    g_autoptr(TnProfile) profile = NULL;
    if (!merge_settings(call, run, &settings, &config, &code, error))
        return code;
    code = 2;
    if (config_load(call, &config, settings.config, tn_run_path(run), (gint)settings.overrides->len,
                    (const char *const *)settings.overrides->pdata, &loaded, error)) {
        code = 1;
        g_auto(GStrv) words =
            launch_words(&config, settings.config, tn_run_path(run), (gint)settings.overrides->len,
                         (const char *const *)settings.overrides->pdata, loaded.host);
        tn_host_set_launch(loaded.host, (const char *const *)words);
        profile = options->profile ? profiling_begin(call, loaded.host) : NULL;
        g_autoptr(TnJob) job = tn_job_prepare(loaded.host, loaded.root, run, TRUE, error);
        if (job)
            code = go_on(call, run, job, &loaded, &settings, error);
        if (profile && job)
            profiling_end(call, profile, job, run);
    }
    config_clear(&loaded);
    return code;
}

const TnVerb tn_verb_resume = {
    .size = sizeof(TnVerb),
    .name = "resume",
    .args = "RUN [KEY=VALUE ...]",
    .help = "go on with a run that was stopped or killed, from its newest checkpoint",
    .details =
        "RUN is a run's folder, NAME/TIME-ID under the runs folder, or NAME alone for its "
        "newest run. Without a checkpoint it begins anew in the same folder. The config and "
        "the modules it requires are those that the run began with, kept in its folder; so "
        "are --data-root (or TENON_DATA) and KEY=VALUE. What is given now replaces them, "
        "for later resumes too. --trust and --plugin-path are not kept, since they decide whose "
        "code may run: a run that was started with them must be given them again. Data that has "
        "changed ends the resume; the kernels are those "
        "that the run began with; another processor or plugin, or a kernel that is gone, is said "
        "in a warning.",
    .options = TN_OPTIONS(ResumeOptions, rows),
    .min_args = 1,
    .max_args = -1,
    .run = resume,
};
