/* verb-tune.c: `tenon tune`: measures, for nodes that several kernels can compute, how long each takes,
 * and keeps it as this user's table of costs.
 *
 * What is to be measured is seen by compiling: every choice of a kernel is told, and those that are
 * one are measured there. It is done twice, the first time to count. The table is tune-table.c's. */
#include <math.h>
#include <string.h>

#include <tenon/pool.h>

#include "cli.h"
#include "job-verbs.h"
#include "tune-table.h"
#include "tune.h"

#define ROUNDS 3

typedef struct {
    ConfigOptions config;
    const char *device;
    TnStrings ops;
    double seconds;
    gboolean missing, anew;
} TuneOptions;

static const TnOption rows[] = {
    CONFIG_ROWS(TuneOptions, config),
    { .name = "device",
      .type = TN_OPT_STRING,
      .dflt = "cpu+onednn?",
      .offset = G_STRUCT_OFFSET(TuneOptions, device),
      .help = "device whose kernels are measured; by default oneDNN's too where it can be used" },
    { .name = "ops",
      .type = TN_OPT_STRINGS,
      .offset = G_STRUCT_OFFSET(TuneOptions, ops),
      .help = "only these operators, such as matmul,conv" },
    { .name = "seconds",
      .type = TN_OPT_DURATION,
      .dflt = "0.06",
      .offset = G_STRUCT_OFFSET(TuneOptions, seconds),
      TN_RANGE_F(0.001, 60),
      .unit = "s",
      .help = "time for each kernel at each size" },
    { .name = "missing",
      .type = TN_OPT_BOOL,
      .offset = G_STRUCT_OFFSET(TuneOptions, missing),
      .help = "only what the table does not have, as after a tune that was stopped" },
    { .name = "anew",
      .type = TN_OPT_BOOL,
      .offset = G_STRUCT_OFFSET(TuneOptions, anew),
      .help = "forget what was measured before" },
};

typedef struct {
    TnVerbCall *call;
    const TuneOptions *options;
    TnContext *context;  /* that signals cancel */
    const TnContext *of; /* of the job whose graphs are looked at; NULL: the grid's */
    TnDevice *devices[2];
    gboolean measuring; /* else counting */
    guint at, total;
    gboolean met, had; /* a node of the operators asked for; one that the table has */
    GHashTable *only;  /* operators asked for; NULL: all */
    GHashTable *seen;  /* keys */
    GHashTable *sums;  /* operator → Sum * */
    TuneTable *table;
    GError *why; /* a row could not be kept: nothing more is measured */
} Tune;

/* Of one operator: what its kernels win, and what choosing by time saves. */
typedef struct {
    GHashTable *wins; /* id → number */
    guint n;
    double usual, best; /* microseconds */
} Sum;

static void
sum_free(gpointer data)
{
    Sum *sum = data;
    g_hash_table_unref(sum->wins);
    g_free(sum);
}

/* --- One node --------------------------------------------------------------------------------- */

static gboolean
is_over(const Tune *tune)
{
    return tune->why != NULL || tn_context_cancelled(tune->context);
}

static gboolean
is_asked_for(const Tune *tune, const TnChoice *choice)
{
    return tune->only == NULL || g_hash_table_contains(tune->only, choice->node->op->name);
}

/* Of images there is a choice even with one kernel: to lay them otherwise. */
static gboolean
is_choice(const TnChoice *choice)
{
    const TnNode *node = choice->node;
    gboolean window = FALSE;
    for (gint i = 0; i < node->n_in; i++)
        window |= (tn_op_input(node->op, i)->flags & TN_ARG_WINDOW) != 0;
    return choice->id && (choice->n_candidates > 1 || (window && choice->n_candidates > 0));
}

/* Each node once, in a counting or a measuring. */
static gboolean
is_wanted(Tune *tune, const TnChoice *choice)
{
    if (!is_asked_for(tune, choice))
        return FALSE;
    tune->met = TRUE;
    if (!is_choice(choice) || !g_hash_table_add(tune->seen, g_strdup(choice->key)))
        return FALSE;
    const gboolean has =
        tune->options->missing && tune_table_has(tune->table, choice->key, choice->candidates);
    tune->had |= has;
    return !has;
}

static void
note_result(Tune *tune, const TnChoice *choice, const TnValue *us)
{
    Sum *sum = g_hash_table_lookup(tune->sums, choice->node->op->name);
    const char *winner = NULL;
    double best = INFINITY;
    if (!sum) {
        sum = g_new0(Sum, 1);
        sum->wins = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        g_hash_table_insert(tune->sums, g_strdup(choice->node->op->name), sum);
    }
    for (gsize i = 0; i < tn_value_len(us); i++) {
        const double time = tn_value_get_double(tn_value_at(us, i));
        if (time < best) {
            best = time;
            winner = tn_value_key_at(us, i);
        }
    }
    const TnValue *usual = tn_value_get(us, choice->id);
    sum->n++;
    sum->best += best;
    sum->usual += usual ? tn_value_get_double(usual) : best;
    const gsize wins = GPOINTER_TO_SIZE(g_hash_table_lookup(sum->wins, winner)) + 1;
    g_hash_table_insert(sum->wins, g_strdup(winner), GSIZE_TO_POINTER(wins));
}

static void
print_result(const Tune *tune, const TnChoice *choice, const TnValue *us)
{
    FILE *err = tune->call->err;
    fprintf(err, "%*u/%u %.*s:", tune->total > 999 ? 4 : 3, tune->at, tune->total,
            (int)strcspn(choice->key, "#"), choice->key);
    for (gsize i = 0; i < tn_value_len(us); i++)
        fprintf(err, "%s %s %.4g us%s", i ? "," : "", tn_value_key_at(us, i),
                tn_value_get_double(tn_value_at(us, i)),
                strcmp(tn_value_key_at(us, i), choice->id) == 0 ? " (usual)" : "");
    fputc('\n', err);
}

static void
look_at(const TnChoice *choice, gpointer data)
{
    Tune *tune = data;
    g_autoptr(GError) error = NULL;
    if (is_over(tune) || !is_wanted(tune, choice))
        return;
    tune->total += !tune->measuring;
    if (!tune->measuring)
        return;
    tune->at++;
    TnValue *row = tn_costs_measure(choice->kind, choice->node, tune->options->seconds / ROUNDS,
                                    ROUNDS, &error);
    if (!row) {
        fprintf(tune->call->err, "tenon: warning: %s\n", error->message);
        return;
    }
    print_result(tune, choice, tn_value_get(row, "us"));
    note_result(tune, choice, tn_value_get(row, "us"));
    (void)tune_table_add(tune->table, row, &tune->why);
}

/* --- All of them ------------------------------------------------------------------------------ */

static gboolean
compile_graph(TnGraph *graph, gpointer data, GError **error)
{
    Tune *tune = data;
    const TnCompile options = {
        .devices = tune->devices,
        .n_devices = G_N_ELEMENTS(tune->devices),
        .choice_sink = look_at,
        .choice_data = tune,
        .precision = tune->of ? tn_context_precision(tune->of) : TN_DTYPE_NONE,
        .fast_math = tune->of && tn_context_fast_math(tune->of),
    };
    if (is_over(tune))
        return TRUE;
    if (!tn_graph_check(graph, error))
        return FALSE;
    g_autoptr(TnProgram) program = tn_compile(graph, &options, error);
    return program != NULL;
}

/* Every graph of a config's job. */
static gboolean
each_of_config(Tune *tune, const char *path, GError **error)
{
    LoadedConfig loaded;
    gboolean ok = FALSE;
    if (config_load(tune->call, &tune->options->config, path, NULL, 0, NULL, &loaded, error)) {
        g_autoptr(TnJob) job = tn_job_prepare(loaded.host, loaded.root, NULL, FALSE, error);
        const char *name;
        TnGraph *graph;
        ok = job != NULL;
        tune->of = job ? tn_job_context(job) : NULL;
        for (guint i = 0; ok && i < tn_job_n_functions(job); i++)
            ok = compile_graph(tn_function_graph(tn_job_function(job, i, &name)), tune, error);
        for (guint i = 0; ok && (graph = tn_job_stage_graph(job, i, &name)); i++)
            ok = compile_graph(graph, tune, error);
        tune->of = NULL;
    }
    config_clear(&loaded);
    return ok;
}

static gboolean
each_graph(Tune *tune, GError **error)
{
    const TnVerbCall *call = tune->call;
    g_hash_table_remove_all(tune->seen);
    for (gint i = 0; i < call->n_args; i++)
        if (!each_of_config(tune, call->args[i], error))
            return FALSE;
    return call->n_args > 0 || tune_grid(compile_graph, tune, error);
}

/* --- The end ---------------------------------------------------------------------------------- */

static void
print_sums(const Tune *tune)
{
    FILE *out = tune->call->out;
    g_autoptr(GList) ops = g_list_sort(g_hash_table_get_keys(tune->sums), (GCompareFunc)strcmp);
    for (const GList *at = ops; at; at = at->next) {
        const Sum *sum = g_hash_table_lookup(tune->sums, at->data);
        g_autoptr(GList) ids = g_list_sort(g_hash_table_get_keys(sum->wins), (GCompareFunc)strcmp);
        fprintf(out, "%-20s %4u nodes, all together %.2fx as fast as by rank;",
                (const char *)at->data, sum->n, sum->usual / sum->best);
        for (const GList *id = ids; id; id = id->next)
            fprintf(out, "%s %s wins %zu", id == ids ? "" : ",", (const char *)id->data,
                    GPOINTER_TO_SIZE(g_hash_table_lookup(sum->wins, id->data)));
        fputc('\n', out);
    }
}

/* What was measured is kept, whatever came between. */
static gboolean
measure(Tune *tune, GError **error)
{
    tune->measuring = TRUE;
    const gboolean ok = each_graph(tune, error);
    if (tune->why) {
        g_clear_error(error);
        g_propagate_error(error, g_steal_pointer(&tune->why));
        return FALSE;
    }
    return tune_table_save(tune->table, ok ? error : NULL) && ok;
}

static void
print_end(const Tune *tune, double seconds)
{
    FILE *out = tune->call->out, *err = tune->call->err;
    g_autoptr(TnValue) list = tune_table_rows(tune->table);
    if (tune->call->json)
        print_json(out, list);
    else
        print_sums(tune);
    fprintf(err, "tenon: %u nodes took %.0f s; %zu are in %s\n", tune->at, seconds,
            tn_value_len(list), tune->table->path);
}

static const char *
why_nothing(const Tune *tune)
{
    if (tune->had)
        return "the table has it all";
    return tune->met ? "there is no choice, one kernel at most takes each node"
                     : "no node is of these operators";
}

static gint
run_tune(Tune *tune, GError **error)
{
    FILE *err = tune->call->err;
    if (!tune->options->anew && !tune_table_take_up(tune->table, err, error))
        return 1;
    if (!each_graph(tune, error))
        return 1;
    if (tn_context_cancelled(tune->context)) {
        fprintf(err, "tenon: stopped before anything was measured\n");
        return 1;
    }
    if (tune->total == 0) {
        fprintf(err, "tenon: there is nothing to measure: %s\n", why_nothing(tune));
        return 0;
    }
    fprintf(err, "tenon: %u nodes to measure\n", tune->total);
    const gint64 begin = tn_time_ns();
    if (!measure(tune, error))
        return 1;
    print_end(tune, (double)(tn_time_ns() - begin) * 1e-9);
    if (!tn_context_cancelled(tune->context))
        return 0;
    fprintf(err, "tenon: stopped after %u of %u; `tenon tune --missing` goes on\n", tune->at,
            tune->total);
    return 1;
}

/* Names as they are written: apart, or with commas between them. */
static gboolean
read_ops(Tune *tune, const TnStrings *ops, GError **error)
{
    for (gint i = 0; i < ops->n; i++) {
        /* No text is one name, too, which no operator has. */
        g_auto(GStrv) names = g_strsplit(*ops->v[i] ? ops->v[i] : ",", ",", -1);
        for (guint k = 0; names[k] != NULL; k++) {
            const TnOp *op = tn_op_find(g_strstrip(names[k]), error);
            if (op == NULL)
                return FALSE;
            if (tune->only == NULL)
                tune->only = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
            g_hash_table_add(tune->only, g_strdup(op->name));
        }
    }
    return TRUE;
}

static gint
tune(TnVerbCall *call, GError **error)
{
    const TuneOptions *options = call->options;
    g_autoptr(TnContext) context = tn_context_new();
    Tune tune = { .call = call, .options = options, .context = context };
    g_autofree char *path = tn_costs_path();
    gint code = 1;
    if (!path) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                    "TENON_COSTS is none: there is no file to write to");
        return 2;
    }
    if (!read_ops(&tune, &options->ops, error)) {
        g_clear_pointer(&tune.only, g_hash_table_unref);
        return 2;
    }
    if (options->config.threads)
        tn_pool_set_threads((guint)options->config.threads);
    tune.devices[0] = tn_device_open(options->device, context, error);
    tune.devices[1] = tune.devices[0] ? tn_device_open("ref", context, error) : NULL;
    tune.seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    tune.sums = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, sum_free);
    tune.table = tune_table_new(path);
    job_watch_signals(context, TRUE);
    if (tune.devices[1])
        code = run_tune(&tune, error);
    job_watch_signals(NULL, FALSE);
    for (guint i = 0; i < G_N_ELEMENTS(tune.devices); i++)
        if (tune.devices[i])
            tn_device_unref(tune.devices[i]);
    g_clear_pointer(&tune.only, g_hash_table_unref);
    g_hash_table_unref(tune.seen);
    g_hash_table_unref(tune.sums);
    tune_table_free(tune.table);
    return code;
}

const TnVerb tn_verb_tune = {
    .size = sizeof(TnVerb),
    .name = "tune",
    .args = "[CONFIG ...]",
    .help = "measure once which kernel is the fastest at which sizes on this machine",
    .details =
        "Operators that several kernels can compute are timed with each, at the sizes that the "
        "configs' graphs have, or without a config at a grid of sizes. The times are kept in "
        "XDG_CACHE_HOME/tenon/costs.json, or the file that TENON_COSTS names, and added to what "
        "is there. From then on kernels are chosen by them when a graph is compiled, at sizes "
        "nearby too; nothing is measured then. A run keeps the table that it began with. "
        "The table is written every few seconds: stopped or killed, the tune keeps what it has, "
        "and "
        "with --missing the next one goes on from there. TENON_COSTS=none runs without a table; "
        "one "
        "that was made on another machine or with other libraries is said in a warning and not "
        "used; `tenon tune` replaces it. A file that is no table is replaced only with --anew.",
    .options = TN_OPTIONS(TuneOptions, rows),
    .min_args = 0,
    .max_args = -1,
    .run = tune,
};
