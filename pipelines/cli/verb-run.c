/* verb-run.c: `tenon run CONFIG`: a new run folder, the job it names, its end told. */
#include <string.h>

#include "job-verbs.h"

typedef struct {
    ConfigOptions config;
    const char *runs, *name;
} RunOptions;

static const TnOption rows[] = {
    CONFIG_ROWS(RunOptions, config),
    RUNS_ROW(RunOptions, runs),
    { .name = "name",
      .type = TN_OPT_STRING,
      .flags = TN_OPTION_NULLABLE,
      .offset = G_STRUCT_OFFSET(RunOptions, name),
      .help = "name of the run; else the config's `name`, else its file's" },
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

/* What was given and what came of it, before anything runs. */
static gboolean
keep_config(TnRunDir *run, const char *path, const TnSpec *root, GError **error)
{
    g_autofree char *text = tn_host_config_text(path, error);
    g_autoptr(TnValue) tree = tn_value_spec(tn_spec_ref((TnSpec *)root));
    g_autofree char *resolved = tn_value_print(tree, 0);
    g_autofree char *line = g_strconcat(
        "-- The tree that the config gave, overrides applied.\nreturn ", resolved, "\n", NULL);
    return text && tn_run_put(run, "config.lua", text, error) &&
           tn_run_put(run, "resolved.lua", line, error);
}

/* Which kernel computes what, for each graph at the shapes it was built with. Compiled programs are kept, so this costs
 * nothing twice. */
static TnValue *
kernels_chosen(TnJob *job, GError **error)
{
    g_autoptr(TnValue) map = tn_value_map();
    TnContext *context = tn_job_context(job);
    TnDevice *devices[16];
    guint n = MIN(tn_context_n_devices(context), G_N_ELEMENTS(devices));
    for (guint i = 0; i < n; i++)
        devices[i] = tn_context_device(context, i);
    for (guint i = 0; i < tn_job_n_functions(job); i++) {
        const char *name;
        TnFunction *function = tn_job_function(job, i, &name);
        TnCompile compile = { .devices = devices, .n_devices = n };
        g_autoptr(TnProgram) program = tn_compile(tn_function_graph(function), &compile, error);
        if (!program)
            return NULL;
        g_autofree char *kernels = tn_program_kernels(program);
        g_auto(GStrv) lines = g_strsplit(g_strchomp(kernels), "\n", -1);
        TnValue *list = tn_value_list();
        for (guint k = 0; lines[k]; k++)
            tn_value_push(list, tn_value_string(lines[k]));
        tn_value_set(map, name, list);
    }
    return g_steal_pointer(&map);
}

/* The words that the program was called with, options too. (transfer full). */
static GPtrArray *
command_line(void)
{
    GPtrArray *words = g_ptr_array_new_with_free_func(g_free);
    gsize size = 0;
    char *text = tn_file_read("/proc/self/cmdline", 0, &size, NULL);
    for (gsize at = 0; text && at < size; at += strlen(text + at) + 1)
        g_ptr_array_add(words, g_strdup(text + at));
    tn_data_free(text);
    return words;
}

static gboolean
keep_provenance(TnVerbCall *call, TnRunDir *run, TnJob *job, const char *path, GError **error)
{
    g_autoptr(TnValue) extra = tn_value_map();
    g_autofree char *full = g_str_has_prefix(path, TN_CONFIG_MODULE)
                                ? g_strdup(path)
                                : g_canonicalize_filename(path, NULL);
    TnValue *overrides = tn_value_list();
    g_autoptr(GPtrArray) words = command_line();
    for (gint i = 1; i < call->n_args; i++)
        tn_value_push(overrides, tn_value_string(call->args[i]));
    tn_value_set(extra, "config", tn_value_string(full));
    tn_value_set(extra, "overrides", overrides);
    TnValue *kernels = kernels_chosen(job, error);
    if (!kernels)
        return FALSE;
    tn_value_set(extra, "kernels", kernels);
    return tn_run_write_provenance(run, tn_job_context(job), (int)words->len,
                                   (char *const *)words->pdata, extra, error);
}

static gint
run_config(TnVerbCall *call, GError **error)
{
    const RunOptions *options = call->options;
    const char *path = call->args[0];
    LoadedConfig loaded;
    gint code = 2;
    if (config_load(call, &options->config, path, NULL, call->n_args - 1, call->args + 1, &loaded,
                    error)) {
        g_autofree char *root = tn_runs_root(options->runs);
        g_autofree char *name = run_name(options, loaded.root, path);
        g_autoptr(TnRunDir) run = tn_run_create(root, name, error);
        g_autoptr(GError) why = NULL;
        code = 1;
        if (run && keep_config(run, path, loaded.root, &why)) {
            g_autoptr(TnJob) job = tn_job_prepare(loaded.host, loaded.root, run, FALSE, &why);
            if (job && keep_provenance(call, run, job, path, &why))
                code = job_finish(call, job, run, path, error);
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
