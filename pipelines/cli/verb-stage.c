/* verb-stage.c: `tenon stage CONFIG NAME --connect ADDRESS`: runs one stage of a config, with those
 * before it, for a run elsewhere. `tenon run` starts it for stages that it places on this host. */
#include <signal.h>

#include "launch.h"
#include "record.h"

typedef struct {
    ConfigOptions config;
    const char *connect, *stage, *kept, *key;
    gboolean insecure;
    double timeout;
    gint64 parent;
} StageOptions;

static const TnOption rows[] = {
    CONFIG_ROWS(StageOptions, config),
    { .name = "connect",
      .type = TN_OPT_STRING,
      .flags = TN_OPTION_REQUIRED,
      .offset = G_STRUCT_OFFSET(StageOptions, connect),
      .help = "where the run awaits it: what the stage's `place` says, with the run's host as seen "
              "from "
              "here: tcp://HOST:PORT or ipc://NAME" },
    { .name = "key",
      .type = TN_OPT_STRING,
      .flags = TN_OPTION_NULLABLE,
      .offset = G_STRUCT_OFFSET(StageOptions, key),
      .help = "name of the key; else the stage's `key` in the config" },
    { .name = "insecure",
      .type = TN_OPT_BOOL,
      .offset = G_STRUCT_OFFSET(StageOptions, insecure),
      .help = "no key, as `insecure` of the stage" },
    { .name = "timeout",
      .type = TN_OPT_DURATION,
      .dflt = "30s",
      .offset = G_STRUCT_OFFSET(StageOptions, timeout),
      .help = "how long the run is sought, at first and after it was lost" },
    { .name = "stage",
      .type = TN_OPT_STRING,
      .flags = TN_OPTION_NULLABLE,
      .offset = G_STRUCT_OFFSET(StageOptions, stage),
      .help = "the stage's name, if it does not follow CONFIG (the run says it so)" },
    { .name = "kept",
      .type = TN_OPT_STRING,
      .flags = TN_OPTION_NULLABLE,
      .offset = G_STRUCT_OFFSET(StageOptions, kept),
      .help = "a run's folder: its copies of config, modules and files are read" },
    { .name = "parent",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(StageOptions, parent),
      .dflt = "0",
      TN_RANGE_I(0, G_MAXINT32),
      .help = "process that started it: ends when that has ended" },
};

/* Of a process that a run started, the run decides when it ends: Ctrl-C reaches both, also while this
 * one begins. */
static void
leave_signals_to_run(const StageOptions *options)
{
    sigset_t none; /* a thread of the run that blocks signals may have started this */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (options->parent)
        signal(SIGINT, SIG_IGN);
}

/* An option of the stage as the config has it. */
static const TnValue *
config_option(const LoadedConfig *loaded, const char *stage, const char *option)
{
    const TnValue *stages = tn_value_get(tn_spec_options(loaded->root), "stages");
    const TnValue *spec =
        stages && tn_value_type(stages) == TN_VALUE_MAP ? tn_value_get(stages, stage) : NULL;
    return spec && tn_value_type(spec) == TN_VALUE_SPEC
               ? tn_value_get(tn_spec_options(tn_value_get_spec(spec)), option)
               : NULL;
}

static gint
serve(TnVerbCall *call, const LoadedConfig *loaded, const char *stage, GError **error)
{
    const StageOptions *options = call->options;
    const TnValue *key = config_option(loaded, stage, "key");
    const TnValue *insecure = config_option(loaded, stage, "insecure");
    g_autoptr(TnJob) job =
        tn_job_prepare_stage(loaded->host, loaded->root, stage, options->parent != 0, error);
    if (!job)
        return g_error_matches(*error, TN_ERROR, TN_ERROR_CONFIG) ? 2 : 1;
    g_autoptr(TnValue) about = record_kernels(job, error);
    if (!about)
        return 1;
    TnServe asked = { .about = about,
                      .address = options->connect,
                      .key = options->key,
                      .insecure = options->insecure,
                      .parent = options->parent,
                      .timeout = options->timeout };
    if (!asked.key && !asked.insecure && key && tn_value_type(key) == TN_VALUE_STRING)
        asked.key = tn_value_get_string(key);
    if (!asked.key && insecure && tn_value_type(insecure) == TN_VALUE_BOOL)
        asked.insecure = asked.insecure || tn_value_get_bool(insecure);
    job_watch_signals(tn_job_context(job), !options->parent);
    const gboolean ok = tn_job_serve(job, &asked, error);
    job_watch_signals(NULL, !options->parent); /* the context goes */
    if (ok)
        return 0;
    return g_error_matches(*error, TN_ERROR, TN_ERROR_CONFIG) ? 2 : 1;
}

static gint
run_stage(TnVerbCall *call, GError **error)
{
    const StageOptions *options = call->options;
    ConfigOptions config = options->config;
    LoadedConfig loaded;
    gint code = 2, first = 1;
    const char *stage = options->stage;
    leave_signals_to_run(options);
    if (!stage) {
        if (call->n_args < 2) {
            g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                        "which stage? `tenon stage CONFIG NAME --connect ADDRESS`");
            return 2;
        }
        stage = call->args[first++];
    }
    const gint n = call->n_args - first;
    config.joins = TRUE;
    if (config_load(call, &config, call->args[0], options->kept, n, call->args + first, &loaded,
                    error)) {
        g_auto(GStrv) words = launch_words(&options->config, call->args[0], options->kept, n,
                                           call->args + first, loaded.host);
        tn_host_set_launch(loaded.host, (const char *const *)words);
        code = serve(call, &loaded, stage, error);
    }
    config_clear(&loaded);
    return code;
}

const TnVerb tn_verb_stage = {
    .size = sizeof(TnVerb),
    .name = "stage",
    .args = "CONFIG NAME [KEY=VALUE ...]",
    .help = "run one stage of a config for a run elsewhere",
    .details =
        "A stage with place = \"tcp://HOST:PORT\" is awaited by the run at that address of its "
        "own; "
        "this, on another host, joins it there: it makes the stage's frames, with the stages "
        "before "
        "it, out of the same config, overrides and data, until the run is over. Any number may "
        "join; "
        "the run keeps the order. Stages with place = \"ipc\" are started by `tenon run` itself.",
    .options = TN_OPTIONS(StageOptions, rows),
    .min_args = 1,
    .max_args = -1,
    .run = run_stage,
};
