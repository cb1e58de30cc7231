/* test_profile.c: that a profile's columns sum up, that its tables name what ran, that the trace is
 * valid, monotonic and bounded. */
#include <math.h>
#include <stdlib.h>

#include <tenon/base.h>
#include <tenon/pool.h>
#include <tenon/profile.h>

#include "tn_graphs.h"
#include "tn_test.h"

static TnType
matrix(gint64 rows, gint64 columns)
{
    return tn_type(TN_DTYPE_F32, 2, (const gint64[]){ rows, columns });
}

/* y = tanh (a b) and what sorting gives, which nobody counts. */
static TnFunction *
network(TnContext *context)
{
    g_autoptr(TnGraph) graph = tn_graph_new("net \"1\"");
    const TnVal a = tn_graph_input(graph, "a", matrix(8, 16)),
                b = tn_graph_input(graph, "b", matrix(16, 8));
    TnVal sorted[TN_MAX_OUT];
    tn_graph_push(graph, "model.3");
    const TnVal c = tn_f_matmul(graph, a, b);
    tn_graph_op(graph, "sort", NULL, 1, &c, sorted);
    tn_graph_output(graph, "y", tn_f_tanh(graph, c));
    tn_graph_output(graph, "s", sorted[0]);
    tn_graph_pop(graph);
    return tn_function_new(graph, context);
}

static void
run_often(TnFunction *function, guint times)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnTensor) a = tn_tensor_zeros(NULL, matrix(8, 16), NULL),
                        b = tn_tensor_zeros(NULL, matrix(16, 8), NULL);
    TnTensor *const inputs[] = { a, b };
    TnExec *exec = tn_function_exec(function, 2, inputs, &error);
    TN_REQUIRE_NO_ERROR(error);
    for (guint i = 0; i < times; i++)
        TN_ASSERT(tn_exec_run(exec) == TN_OK);
}

typedef struct {
    TnProfile *profile;
    TnContext *context;
    TnFunction *function;
    guint times;
} Work;

/* Steps of which each runs the function `times` times. */
static void
take_steps(Work *work, guint n)
{
    for (guint i = 0; i < n; i++) {
        const gint64 begin = tn_span_begin(work->context);
        run_often(work->function, work->times);
        tn_span_end(work->context, "step", "net", begin);
    }
}

static void
open_work(Work *work)
{
    work->profile = tn_profile_new();
    work->context = tn_test_context("cpu", "ref", NULL);
    tn_context_set_watch(work->context, tn_profile_watch(work->profile));
    work->function = network(work->context);
    work->times = 3;
}

static void
close_work(Work *work)
{
    tn_function_unref(work->function);
    tn_context_unref(work->context);
    tn_profile_free(work->profile);
}

static guint
instructions(const Work *work)
{
    g_autoptr(TnTensor) a = tn_tensor_zeros(NULL, matrix(8, 16), NULL),
                        b = tn_tensor_zeros(NULL, matrix(16, 8), NULL);
    TnTensor *const inputs[] = { a, b };
    const TnExec *exec = tn_function_exec(work->function, 2, inputs, NULL);
    TN_REQUIRE(exec != NULL);
    return tn_program_n_instructions(tn_exec_program(exec));
}

static gpointer
make_frames(gpointer data)
{
    Work *work = data;
    g_autoptr(TnFunction) function = network(work->context);
    const gint64 begin = tn_span_begin(work->context);
    run_often(function, 2);
    tn_span_end(work->context, "make", "map", begin);
    return NULL;
}

/* --- Sums ------------------------------------------------------------------------------------- */

/* Every nanosecond of the main thread is in one row, none in two. */
static void
rows_sum_up(void)
{
    Work work;
    TnProfileTotals totals = { .size = sizeof totals };
    open_work(&work);
    tn_profile_start(work.profile);
    take_steps(&work, 5);
    TnThread *thread = tn_thread_spawn("frames", make_frames, &work, NULL);
    tn_thread_join(thread);
    tn_profile_stop(work.profile);
    tn_profile_totals(work.profile, &totals);
    TN_ASSERT_CMPINT(totals.wall, >, 0);
    TN_ASSERT_CMPINT(totals.rows, ==, totals.wall);
    TN_ASSERT_CMPINT(totals.main_instructions, >, 0);
    TN_ASSERT_CMPINT(totals.instructions, >, totals.main_instructions);
    TN_ASSERT_CMPINT(totals.main_instructions, <, totals.wall);
    TN_ASSERT_CMPUINT(totals.programs, ==, 1); /* of both threads */
    TN_ASSERT_CMPUINT(totals.kinds, ==, instructions(&work));
    TN_ASSERT_CMPUINT(totals.calls, ==, (5 * 3 + 2) * instructions(&work));
    close_work(&work);
}

/* --- Tables ----------------------------------------------------------------------------------- */

static void
tables_name_what_ran(void)
{
    Work work;
    open_work(&work);
    tn_profile_set_peak(work.profile, 2e9);
    tn_profile_start(work.profile);
    take_steps(&work, 4);
    make_frames(&work);
    tn_profile_stop(work.profile);
    g_autofree char *text = tn_profile_text(work.profile, work.context),
                    *operators = tn_profile_operators(work.profile);
    static const char *const words[] = {
        "wall time of the main thread",
        "compiling programs",
        "around programs",
        "making frames, but for instructions: map",
        "plugin/kernel",
        "cpu/cpu-matmul",
        "model.3.matmul",
        "f32[8, 16] f32[16, 8] -> f32[8, 8]",
        "net \"1\"",
        "alive at instruction",
        "measured peak of products of f32 matrices: 2.0 GFLOP/s",
    };
    for (guint i = 0; i < G_N_ELEMENTS(words); i++)
        TN_ASSERT_CONTAINS(text, words[i]);
    /* sort, and so the sum, has an unknown rate; 14 calls of each. */
    const char *sort = strstr(operators, "\nsort "), *sum = strstr(operators, "\nsum ");
    TN_REQUIRE(sort && sum);
    g_autofree char *line = g_strndup(sort + 1, strcspn(sort + 1, "\n"));
    TN_ASSERT_CONTAINS(line, " ? ");
    TN_ASSERT_CONTAINS(line, " 14 ");
    TN_ASSERT_CONTAINS(sum, " ? ");
    TN_ASSERT_CONTAINS(sum, "100.0 %");
    close_work(&work);
}

/* Nothing ran at all. */
static void
an_empty_profile_is_told(void)
{
    g_autoptr(TnProfile) profile = tn_profile_new();
    tn_profile_start(profile);
    tn_profile_stop(profile);
    g_autofree char *text = tn_profile_text(profile, NULL), *trace = tn_profile_trace(profile);
    g_autoptr(GError) error = NULL;
    g_autoptr(TnValue) value = tn_json_parse(trace, strlen(trace), &error);
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT_CONTAINS(text, "sum");
    TN_ASSERT(!strstr(text, " nan") && !strstr(text, " inf"));
}

/* --- Trace ------------------------------------------------------------------------------------ */

static double
number(const TnValue *map, const char *key)
{
    const TnValue *value = tn_value_get(map, key);
    if (value && tn_value_type(value) == TN_VALUE_INT)
        return (double)tn_value_get_int(value);
    TN_REQUIRE(value && tn_value_type(value) == TN_VALUE_DOUBLE);
    return tn_value_get_double(value);
}

static const char *
string(const TnValue *map, const char *key)
{
    const TnValue *value = tn_value_get(map, key);
    TN_REQUIRE(value && tn_value_type(value) == TN_VALUE_STRING);
    return tn_value_get_string(value);
}

typedef struct {
    double last;     /* begin of the slice before */
    double open[64]; /* ends of slices that the present one lies in */
    guint depth;
} Row;

/* Slices of a thread begin in order, and each lies in the one around it or after it. */
static void
check_slice(Row *row, const TnValue *event)
{
    const double ts = number(event, "ts"), end = ts + number(event, "dur");
    const double rounding = 0.0021; /* of three decimals, of two numbers */
    TN_ASSERT_CMPFLOAT(ts, >=, row->last);
    TN_ASSERT_CMPFLOAT(ts, >=, 0);
    TN_ASSERT_CMPFLOAT(end, >=, ts);
    while (row->depth > 0 && row->open[row->depth - 1] <= ts + rounding)
        row->depth--;
    TN_ASSERT(row->depth == 0 || end <= row->open[row->depth - 1] + rounding);
    TN_REQUIRE(row->depth < G_N_ELEMENTS(row->open));
    row->open[row->depth++] = end;
    row->last = ts;
}

/* Checks every event; how many slices of that category there are. */
static guint
check_trace(const char *trace, const char *category)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnValue) value = tn_json_parse(trace, strlen(trace), &error);
    TN_REQUIRE_NO_ERROR(error);
    const TnValue *events = tn_value_get(value, "traceEvents");
    Row rows[16] = { 0 };
    guint n = 0;
    TN_REQUIRE(events && tn_value_type(events) == TN_VALUE_LIST);
    for (gsize i = 0; i < tn_value_len(events); i++) {
        const TnValue *event = tn_value_at(events, i);
        const char *phase = string(event, "ph");
        const guint thread = (guint)number(event, "tid");
        TN_ASSERT_CMPFLOAT(number(event, "pid"), ==, 1);
        TN_ASSERT(*string(event, "name") != '\0');
        TN_REQUIRE(thread < G_N_ELEMENTS(rows));
        if (strcmp(phase, "X") == 0) {
            check_slice(&rows[thread], event);
            n += strcmp(string(event, "cat"), category) == 0;
        } else if (strcmp(phase, "C") == 0) {
            TN_ASSERT_CMPFLOAT(number(tn_value_get(event, "args"), "bytes"), >=, 0);
            TN_ASSERT_CMPFLOAT(number(event, "ts"), >=, 0);
        } else {
            TN_ASSERT_CMPSTR(phase, "M");
            TN_ASSERT(*string(tn_value_get(event, "args"), "name") != '\0');
        }
    }
    return n;
}

static void
traces_are_valid(void)
{
    Work work;
    open_work(&work);
    tn_profile_start(work.profile);
    take_steps(&work, 2);
    TnThread *thread = tn_thread_spawn("frames", make_frames, &work, NULL);
    tn_thread_join(thread);
    tn_profile_stop(work.profile);
    g_autofree char *trace = tn_profile_trace(work.profile);
    TN_ASSERT_CMPUINT(check_trace(trace, "instruction"), ==, (2 * 3 + 2) * instructions(&work));
    TN_ASSERT_CMPUINT(check_trace(trace, "step"), ==, 2);
    TN_ASSERT_CONTAINS(trace, "\"arena in use: net \\\"1\\\"\"");
    TN_ASSERT_CONTAINS(trace, "\"frames\"");
    close_work(&work);
}

/* After the first steps slices are no longer kept, or after so many; everything is counted. */
static void
traces_are_bounded(void)
{
    Work work;
    open_work(&work);
    tn_profile_start(work.profile);
    take_steps(&work, 30);
    g_autofree char *steps = tn_profile_trace(work.profile);
    tn_profile_stop(work.profile);
    TN_ASSERT_CMPUINT(check_trace(steps, "step"), ==, 20);
    close_work(&work);
    open_work(&work);
    work.times = 20000;
    tn_profile_start(work.profile);
    take_steps(&work, 1);
    tn_profile_stop(work.profile);
    g_autofree char *slices = tn_profile_trace(work.profile);
    TnProfileTotals totals = { .size = sizeof totals };
    tn_profile_totals(work.profile, &totals);
    const guint kept = check_trace(slices, "instruction");
    TN_ASSERT_CMPUINT(kept, <=, 40000);
    TN_ASSERT_CMPUINT(kept, >, 29000); /* the rest are spans of runs */
    TN_ASSERT_CMPUINT(strlen(slices), <, 24u << 20);
    TN_ASSERT_CMPUINT(totals.calls, ==, 20000 * instructions(&work));
    close_work(&work);
}

/* --- Peak ------------------------------------------------------------------------------------- */

static void
peaks_are_measured(void)
{
    g_autoptr(GError) error = NULL;
    const double peak = tn_measure_peak(&error);
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT(isfinite(peak) && peak > 0);
}

static const TnTest tests[] = {
    { "rows sum up", rows_sum_up },
    { "tables name what ran", tables_name_what_ran },
    { "an empty profile is told", an_empty_profile_is_told },
    { "traces are valid", traces_are_valid },
    { "traces are bounded", traces_are_bounded },
    { "peaks are measured", peaks_are_measured },
};
TN_TEST_MAIN("profile", tests)
