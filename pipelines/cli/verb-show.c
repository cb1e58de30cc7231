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
      .help = "show graphs after this pass: built, a pass's name, program, or all; after passes of "
              "the memory plan the program so far" },
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
    const char *last; /* pass whose graph was told last */
    guint shown;
} GraphSink;

static gboolean
is_wanted(const GraphSink *sink, const char *pass)
{
    const char *want = sink->options->graph;
    return strcmp(want, "all") == 0 || strcmp(want, pass) == 0;
}

static void
print_graph(const char *pass, const TnGraph *graph, gpointer data)
{
    GraphSink *sink = data;
    sink->last = pass;
    if (!is_wanted(sink, pass))
        return;
    gboolean dot = sink->options->format == 1;
    g_autofree char *text = dot ? tn_graph_to_dot(graph) : tn_graph_print(graph);
    fprintf(sink->call->out, "%s graph '%s' after %s\n%s", dot ? "//" : "#", sink->function, pass,
            text);
    sink->shown++;
}

static void
print_program(GraphSink *sink, const TnProgram *program, const char *after)
{
    g_autofree char *text = tn_program_print(program);
    fprintf(sink->call->out, "# program of '%s'%s%s\n%s", sink->function, after ? " after " : "",
            after ? after : "", text);
    sink->shown++;
}

/* Passes of the memory plan change no graph, so they are told none. What they make of it is shown as the
 * program without those behind them; a limit is met by all of them together only. */
static gboolean
show_plans(GraphSink *sink, const TnGraph *graph, TnCompile compile, GError **error)
{
    const guint64 limit = compile.memory_limit;
    gboolean is_plan = FALSE;
    compile.sink = NULL;
    for (const char *const *pass = tn_passes(); *pass; pass++) {
        if (is_plan && is_wanted(sink, *pass)) {
            compile.skip = pass + 1;
            compile.memory_limit = pass[1] ? 0 : limit;
            g_autoptr(TnProgram) program = tn_compile(graph, &compile, error);
            if (!program)
                return FALSE;
            print_program(sink, program, *pass);
        }
        is_plan = is_plan || strcmp(*pass, sink->last) == 0;
    }
    return TRUE;
}

/* One graph through the compiler, each pass shown that is wanted, then the program. */
static gboolean
show_function(TnVerbCall *call, TnJob *job, TnFunction *function, const char *name, guint *shown,
              GError **error)
{
    GraphSink sink = { call, call->options, name, NULL, 0 };
    const TnGraph *graph = tn_function_graph(function);
    TnCompile compile;
    tn_compile_init(&compile, tn_job_context(job));
    compile.sink = print_graph;
    compile.sink_data = &sink;
    print_graph("built", graph, &sink);
    g_autoptr(TnProgram) program = tn_compile(graph, &compile, error);
    if (!program || !show_plans(&sink, graph, compile, error))
        return FALSE;
    if (is_wanted(&sink, "program"))
        print_program(&sink, program, NULL);
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
                "--graph %s%s%s: there is none; --graph takes %s, program, all; --of takes %s",
                options->graph, options->of ? " --of " : "", options->of ? options->of : "",
                known->str, graphs->len ? graphs->str : "nothing here, there are no graphs");
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
