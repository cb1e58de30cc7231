/* verb-check.c: `tenon check CONFIG`: every fault of a config at once, nothing created. */
#include "job-verbs.h"

typedef struct {
    ConfigOptions config;
} CheckOptions;

static const TnOption rows[] = { CONFIG_ROWS(CheckOptions, config) };

static gint
check(TnVerbCall *call, GError **error)
{
    const CheckOptions *options = call->options;
    LoadedConfig loaded;
    gboolean ok = config_load(call, &options->config, call->args[0], NULL, call->n_args - 1,
                              call->args + 1, &loaded, error);
    if (ok)
        fprintf(call->out, "%s: no faults\n", call->args[0]);
    config_clear(&loaded);
    return ok ? 0 : 2;
}

const TnVerb tn_verb_check = {
    .size = sizeof(TnVerb),
    .name = "check",
    .args = "CONFIG [KEY=VALUE ...]",
    .help = "tell every fault of a config, with file and line, without running it",
    .options = TN_OPTIONS(CheckOptions, rows),
    .min_args = 1,
    .max_args = -1,
    .run = check,
};
