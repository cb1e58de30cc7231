/* bench-recompute.c: what half the memory costs: steps of every kind of network
 * (pipelines/lua/tenon/bench/recompute.lua) with a limit of their variables and half of their arena, or of
 * the least arena that can be reached where that is more, and without one in turns. */
#include "bench-core.h"
#include "bench-training.h"
#include "bench-turns.h"

#include <string.h>

#define CONFIG "module:tenon.bench.recompute"
#define MIB (1024.0 * 1024.0)

/* limit: 0: none. */
static gboolean
open_with(BenchTraining *t, const char *network, guint64 limit, GError **error)
{
    g_autofree char *which = g_strconcat("network=", network, NULL);
    g_autofree char *memory = g_strdup_printf("memory_limit=%" G_GUINT64_FORMAT "B", limit);
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    g_ptr_array_add(all, which);
    for (gint i = 0; i < bench_n_overrides; i++)
        g_ptr_array_add(all, (gpointer)bench_overrides[i]);
    if (limit > 0)
        g_ptr_array_add(all, memory);
    return bench_training_open(t, CONFIG, "step", (gint)all->len, (const char *const *)all->pdata,
                               10, error);
}

static guint64
variable_bytes(const TnGraph *graph)
{
    guint64 sum = 0;
    for (guint i = 0; i < tn_graph_n_variables(graph); i++) {
        TnType type;
        tn_graph_variable_at(graph, i, &type, NULL, NULL);
        sum += (guint64)tn_type_bytes(&type);
    }
    return sum;
}

/* 0: it needs nothing. */
static guint64
least_limit(const BenchTraining *t)
{
    guint64 least = 0;
    TnCompile options;
    g_autoptr(GError) error = NULL;
    tn_compile_init(&options, tn_job_context(t->job));
    options.memory_limit = 1;
    options.least_limit = &least;
    g_autoptr(TnProgram) program = tn_compile(tn_function_graph(t->step), &options, &error);
    return least;
}

static double
flops_of(const BenchTraining *t)
{
    return tn_program_flops(tn_exec_program(t->exec), NULL);
}

static gboolean
compare(TnBench *bench, const BenchTraining *whole, const BenchTraining *limited, double share,
        GError **error)
{
    TnExec *const exec[] = { whole->exec, limited->exec };
    double one, times;
    if (!bench_take_turns(exec, bench->seconds, &one, &times, error))
        return FALSE;
    g_autofree char *what = g_strdup_printf(
        "of %.4g ms without a limit, %.1f %% more operations, in %.0f %% of the arena", 1e3 * one,
        100 * (flops_of(limited) / flops_of(whole) - 1), 100 * share);
    bench->report(bench, "time", times, "x", what);
    return TRUE;
}

gboolean
bench_recompute(TnBench *bench, GError **error)
{
    const char *network = bench->name + strlen("recompute_");
    BenchTraining whole = { NULL }, limited = { NULL };
    gboolean ok = open_with(&whole, network, 0, error);
    if (ok) {
        const guint64 variables = variable_bytes(tn_function_graph(whole.step)),
                      arena = tn_program_arena_bytes(tn_exec_program(whole.exec)),
                      least = MAX(least_limit(&whole), variables) - variables,
                      limit = MAX(arena / 2, least);
        g_autofree char *beside = g_strdup_printf("without a limit, beside %.4g MiB of variables",
                                                  (double)variables / MIB);
        bench->report(bench, "arena", (double)arena / MIB, "MiB", beside);
        bench->report(bench, "least", (double)least / MIB, "MiB", "the least that can be met");
        ok = open_with(&limited, network, variables + limit, error) &&
             compare(bench, &whole, &limited, (double)limit / (double)arena, error);
    }
    bench_training_clear(&limited);
    bench_training_clear(&whole);
    return ok;
}
