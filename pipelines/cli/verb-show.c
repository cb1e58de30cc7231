/* verb-show.c: `tenon show CONFIG`: the model's table, the resolved options, and the graphs after
 * any pass. */
#include <string.h>

#include "job-verbs.h"
#include "show-kernels.h"

typedef struct {
    ConfigOptions config;
    const char *graph, *of;
    gint format; /* 1: dot */
    gboolean options, kernels;
} ShowOptions;

static const char *const formats[] = { "text", "dot", NULL };

static const TnOption rows[] = {
    CONFIG_ROWS(ShowOptions, config),
    { .name = "graph",
      .type = TN_OPT_STRING,
      .flags = TN_OPTION_NULLABLE,
      .offset = G_STRUCT_OFFSET(ShowOptions, graph),
      .help = "show graphs after this pass: built, a pass's name, program, or all" },
    { .name = "of",
      .type = TN_OPT_STRING,
      .flags = TN_OPTION_NULLABLE,
      .offset = G_STRUCT_OFFSET(ShowOptions, of),
      .help = "only the graph of this name, such as step" },
    { .name = "format",
      .type = TN_OPT_ENUM,
      .choices = formats,
      .dflt = "text",
      .offset = G_STRUCT_OFFSET(ShowOptions, format),
      .help = "of graphs: text, or dot for Graphviz" },
    { .name = "options",
      .type = TN_OPT_BOOL,
      .offset = G_STRUCT_OFFSET(ShowOptions, options),
      .help = "show only the tree, every option with its value, as resolved.lua of a run" },
    { .name = "kernels",
      .type = TN_OPT_BOOL,
      .offset = G_STRUCT_OFFSET(ShowOptions, kernels),
      .help = "show which kernels were chosen among several, and by what" },
};

typedef struct {
    TnVerbCall *call;
    const ShowOptions *options;
    const char *function;
    guint shown;
} GraphSink;

static void
print_graph(const char *pass, const TnGraph *graph, gpointer data)
{
    GraphSink *sink = data;
    const char *want = sink->options->graph;
    if (strcmp(want, "all") != 0 && strcmp(want, pass) != 0)
        return;
    gboolean dot = sink->options->format == 1;
    g_autofree char *text = dot ? tn_graph_to_dot(graph) : tn_graph_print(graph);
    fprintf(sink->call->out, "%s graph '%s' after %s\n%s", dot ? "//" : "#", sink->function, pass,
            text);
    sink->shown++;
}

/* One graph through the compiler, each pass shown that is wanted, then the program. */
static gboolean
show_function(TnVerbCall *call, TnJob *job, TnFunction *function, const char *name, guint *shown,
              GError **error)
{
    GraphSink sink = { call, call->options, name, 0 };
    TnContext *context = tn_job_context(job);
    TnDevice *devices[16];
    guint n = MIN(tn_context_n_devices(context), G_N_ELEMENTS(devices));
    for (guint i = 0; i < n; i++)
        devices[i] = tn_context_device(context, i);
    TnCompile compile = {
        .devices = devices,
        .n_devices = n,
        .sink = print_graph,
        .sink_data = &sink,
        .batch_invariant = tn_context_batch_invariant(context),
        .costs = tn_context_costs(context),
        .memory_limit = tn_context_program_limit(context),
    };
    print_graph("built", tn_function_graph(function), &sink);
    g_autoptr(TnProgram) program = tn_compile(tn_function_graph(function), &compile, error);
    if (!program)
        return FALSE;
    const char *want = sink.options->graph;
    if (strcmp(want, "program") == 0 || strcmp(want, "all") == 0) {
        g_autofree char *text = tn_program_print(program);
        fprintf(call->out, "# program of '%s'\n%s", name, text);
        sink.shown++;
    }
    *shown += sink.shown;
    return TRUE;
}

static gint
show_graphs(TnVerbCall *call, TnJob *job, GError **error)
{
    const ShowOptions *options = call->options;
    guint shown = 0;
    for (guint i = 0; i < tn_job_n_functions(job); i++) {
        const char *name;
        TnFunction *function = tn_job_function(job, i, &name);
        if (options->of && strcmp(options->of, name) != 0)
            continue;
        if (!show_function(call, job, function, name, &shown, error))
            return 1;
    }
    if (shown)
        return 0;
    g_autoptr(GString) graphs = g_string_new(NULL);
    for (guint i = 0; i < tn_job_n_functions(job); i++) {
        const char *name;
        tn_job_function(job, i, &name);
        g_string_append_printf(graphs, "%s%s", i ? ", " : "", name);
    }
    g_autoptr(GString) known = g_string_new("built");
    for (const char *const *pass = tn_passes(); *pass; pass++)
        g_string_append_printf(known, ", %s", *pass);
    g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                "--graph %s%s%s: no such graph; there are: %s; after: %s, program, all",
                options->graph, options->of ? " --of " : "", options->of ? options->of : "",
                graphs->len ? graphs->str : "none", known->str);
    return 2;
}

static void
show_options(TnVerbCall *call, const TnSpec *root)
{
    g_autoptr(TnValue) tree = tn_value_spec(tn_spec_ref((TnSpec *)root));
    g_autofree char *text = call->json ? tn_json_print(tree, TRUE) : tn_value_print(tree, 0);
    fprintf(call->out, "%s\n", text);
}

static gint
show_loaded(TnVerbCall *call, LoadedConfig *loaded, GError **error)
{
    const ShowOptions *options = call->options;
    if (options->options && !call->json) {
        g_autofree char *text = tn_host_resolved(loaded->host, loaded->root, NULL, error);
        fputs(text ? text : "", call->out);
        return text ? 0 : 1;
    }
    if (options->options) {
        show_options(call, loaded->root);
        return 0;
    }
    g_autoptr(TnJob) job = tn_job_prepare(loaded->host, loaded->root, NULL, FALSE, error);
    if (!job)
        return 1;
    if (options->kernels)
        return show_kernels(call, job, error) ? 0 : 1;
    if (options->graph)
        return show_graphs(call, job, error);
    g_autofree char *summary = tn_job_summary(job, error);
    if (!summary)
        return 1;
    fprintf(call->out, "%s\n", summary);
    show_options(call, loaded->root);
    return 0;
}

static gint
show(TnVerbCall *call, GError **error)
{
    const ShowOptions *options = call->options;
    LoadedConfig loaded;
    gint code = 2;
    if (config_load(call, &options->config, call->args[0], NULL, call->n_args - 1, call->args + 1,
                    &loaded, error))
        code = show_loaded(call, &loaded, error);
    config_clear(&loaded);
    return code;
}

const TnVerb tn_verb_show = {
    .size = sizeof(TnVerb),
    .name = "show",
    .args = "CONFIG [KEY=VALUE ...]",
    .help = "the model's layers, shapes, parameters and multiply-adds, the resolved options, the "
            "graphs",
    .options = TN_OPTIONS(ShowOptions, rows),
    .min_args = 1,
    .max_args = -1,
    .run = show,
};
