/* verb-bench.c: `tenon bench`: the cases of every domain, a line a figure. */
#include <string.h>
#include <unistd.h>

#include <tenon/bench.h>

#include "bench-busy.h"
#include "bench-core.h"
#include "bench-nodes.h"
#include "bench-partner.h"
#include "bench-recompute.h"
#include "bench-samples.h"
#include "bench-wire.h"
#include "job-verbs.h"

typedef struct {
    double seconds;
    gint64 threads, busy;
    TnStrings set;
    gboolean list, profile;
} BenchOptions;

static const TnOption rows[] = {
    { .name = "seconds",
      .type = TN_OPT_DURATION,
      .dflt = "4",
      .offset = G_STRUCT_OFFSET(BenchOptions, seconds),
      TN_RANGE_F(0.01, 3600),
      .unit = "s",
      .help = "time to measure each case for" },
    { .name = "threads",
      .type = TN_OPT_INT64,
      .dflt = "0",
      .offset = G_STRUCT_OFFSET(BenchOptions, threads),
      TN_RANGE_I(0, 256),
      .help = "threads that compute; 0: TENON_THREADS, else the processors at hand" },
    { .name = "busy",
      .type = TN_OPT_INT64,
      .dflt = "0",
      .offset = G_STRUCT_OFFSET(BenchOptions, busy),
      TN_RANGE_I(0, BUSY_MOST),
      .help = "after each case the same beside so many processes that keep a processor busy each: "
              "CASE.busy, and its share of the speed alone" },
    { .name = "set",
      .type = TN_OPT_STRINGS,
      .offset = G_STRUCT_OFFSET(BenchOptions, set),
      .help = "KEY=VALUE of the networks' configs, such as batch_invariant=true or "
              "stages.read.batch=32" },
    { .name = "list",
      .type = TN_OPT_BOOL,
      .offset = G_STRUCT_OFFSET(BenchOptions, list),
      .help = "name the cases" },
    { .name = "profile",
      .type = TN_OPT_BOOL,
      .offset = G_STRUCT_OFFSET(BenchOptions, profile),
      .help = "after a case's figures a table of its operators by time" },
};

typedef struct {
    TnBench bench;
    TnVerbCall *call;
    gboolean printed;
    GHashTable *alone; /* variant → double *: without busy processes */
    gboolean busy;
} Report;

static void
print_figure(const Report *r, const char *variant, const char *busy, double value, const char *unit,
             const char *what)
{
    fprintf(r->call->out, "%s%s%s%s\t%.6g\t%s\t%s\n", r->bench.name, variant ? "." : "",
            variant ? variant : "", busy, value, unit, what);
    fflush(r->call->out);
}

/* How fast beside busy processes, in % of alone; NAN if a figure says nothing of speed. */
static double
busy_share(double alone, double busy, const char *unit)
{
    static const char *const times[] = { "s", "ms", "us", NULL };
    return g_str_has_suffix(unit, "/s")   ? 100 * busy / alone
           : g_strv_contains(times, unit) ? 100 * alone / busy
                                          : 0.0 / 0.0;
}

static void
report(TnBench *bench, const char *variant, double value, const char *unit, const char *what)
{
    Report *r = (Report *)bench;
    const char *key = variant ? variant : "";
    const double *alone = r->busy ? g_hash_table_lookup(r->alone, key) : NULL;
    print_figure(r, variant, r->busy ? ".busy" : "", value, unit, what);
    if (!r->busy)
        g_hash_table_insert(r->alone, g_strdup(key), g_memdup2(&value, sizeof value));
    const double share = alone ? busy_share(*alone, value, unit) : 0.0 / 0.0;
    if (share == share)
        print_figure(r, variant, ".busy_share", share, "%",
                     "of the speed without busy processes just before");
}

static void
print(TnBench *bench, const char *text)
{
    Report *r = (Report *)bench;
    r->printed = TRUE;
    fprintf(r->call->out, "\n%s\n", text);
    fflush(r->call->out);
}

static void
remark(TnBench *bench, const char *text)
{
    Report *r = (Report *)bench;
    fprintf(r->call->out, "%s: %s\n", bench->name, text);
    fflush(r->call->out);
}

/* Every case there is: this library's, and those of plugins that say they have some. (transfer
 * container). */
static GPtrArray *
all_cases(void)
{
    GPtrArray *cases = g_ptr_array_new();
    g_autoptr(GPtrArray) plugins = tn_registry_list();
    for (guint i = 0; i < plugins->len; i++) {
        const TnPluginInfo *info = g_ptr_array_index(plugins, i);
        for (guint k = 0; k < info->n_factories; k++)
            if (strcmp(info->ifaces[k], TN_IFACE_BENCH) == 0)
                tn_registry_find(TN_IFACE_BENCH, info->names[k], NULL); /* opens it */
    }
    g_autoptr(GPtrArray) factories = tn_registry_query(TN_IFACE_BENCH);
    for (guint i = 0; i < factories->len; i++) {
        const TnFactory *factory = g_ptr_array_index(factories, i);
        const TnBenchVTable *vtable = factory->vtable;
        for (guint k = 0; k < vtable->n; k++)
            g_ptr_array_add(cases,
                            (gpointer)((const guint8 *)vtable->cases + k * vtable->case_size));
    }
    return cases;
}

static const TnBenchCase *
find_case(const GPtrArray *cases, const char *name, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (guint i = 0; i < cases->len; i++) {
        const TnBenchCase *one = g_ptr_array_index(cases, i);
        if (strcmp(one->name, name) == 0)
            return one;
        g_ptr_array_add(names, (gpointer)one->name);
    }
    const char *near = tn_nearest(name, (const char *const *)names->pdata, names->len);
    g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                "there is no case '%s'%s%s%s; `tenon bench --list` names them", name,
                near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return NULL;
}

static gboolean
run_case(TnVerbCall *call, const TnBenchCase *one, const char *program, GError **error)
{
    const BenchOptions *options = call->options;
    Report r = {
        .bench = { sizeof(TnBench), options->seconds, program, one->name, report, options->profile,
                   print, remark },
        .call = call,
        .alone = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free),
    };
    GPid pids[BUSY_MOST];
    gboolean ok = one->run(&r.bench, error);
    if (ok && options->busy && busy_start((guint)options->busy, pids, error)) {
        r.busy = TRUE;
        ok = one->run(&r.bench, error);
        busy_stop((guint)options->busy, pids);
    } else if (options->busy) {
        ok = FALSE;
    }
    g_hash_table_unref(r.alone);
    if (ok && options->profile && !r.printed)
        fprintf(call->err, "tenon: %s: there is no table, it times no program of its own\n",
                one->name);
    if (!ok)
        tn_error_prefix(error, "%s", one->name);
    return ok;
}

static gint
bench(TnVerbCall *call, GError **error)
{
    const BenchOptions *options = call->options;
    if (partner_wanted())
        return partner_serve(error) ? 0 : 1;
    g_autofree char *program = g_file_read_link("/proc/self/exe", error);
    if (!program || !bench_core_register(error) || !bench_nodes_register(error) ||
        !bench_wire_register(error) || !bench_samples_register(error) ||
        !bench_recompute_register(error))
        return 1;
    if (options->threads)
        bench_core_set_threads((guint)options->threads);
    bench_core_set_overrides((gint)options->set.n, options->set.v);
    g_autoptr(GPtrArray) cases = all_cases();
    for (guint i = 0; options->list && i < cases->len; i++) {
        const TnBenchCase *one = g_ptr_array_index(cases, i);
        fprintf(call->out, "%-22s %s\n", one->name, one->help);
    }
    if (options->list)
        return 0;
    for (gint i = 0; i < call->n_args; i++)
        if (!find_case(cases, call->args[i], error))
            return 2;
    for (guint i = 0; call->n_args == 0 && i < cases->len; i++)
        if (!run_case(call, g_ptr_array_index(cases, i), program, error))
            return 1;
    for (gint i = 0; i < call->n_args; i++)
        if (!run_case(call, find_case(cases, call->args[i], NULL), program, error))
            return 1;
    return 0;
}

const TnVerb tn_verb_bench = {
    .size = sizeof(TnVerb),
    .name = "bench",
    .args = "[CASE ...]",
    .help = "measure speed: case, value, unit and what was run, a line each",
    .details = "Machines are shared and drift: compare figures of one sitting only, best of "
               "several alternating runs.",
    .options = TN_OPTIONS(BenchOptions, rows),
    .min_args = 0,
    .max_args = -1,
    .run = bench,
};
