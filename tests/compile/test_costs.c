/* test_costs.c: which of several kernels a node gets by measured times: the very node's, those of one
 * near it, none; tables that are not sound; measuring. */
#include <math.h>
#include <string.h>

#include <tenon/base.h>
#include <tenon/cost.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>
#include <tenon/program.h>

#include "tn_graphs.h"
#include "tn_test.h"

/* --- Kernels of a kind of device that is only here -------------------------------------------- */

#define SLOW_US 1000

static gboolean fails;

static TnStatus
run_fast(void *state, const TnRun *run)
{
    (void)state;
    return fails ? tn_run_fail(run, "as told") : TN_OK;
}

static TnStatus
run_slow(void *state, const TnRun *run)
{
    (void)state;
    (void)run;
    g_usleep(SLOW_US);
    return TN_OK;
}

static gboolean
never(const TnNode *node)
{
    (void)node;
    return FALSE;
}

static gboolean
is_short(const TnNode *node)
{
    return node->in[0].count < 1000;
}

static const TnKernel kernels[] = {
    { .op = "neg", .dtypes = TN_DTYPES_FLOAT, .rank = 1000, .run = run_slow },
    { .op = "neg", .dtypes = TN_DTYPES_FLOAT, .rank = 1001, .run = run_fast, .pays = never },
    { .op = "neg",
      .dtypes = TN_DTYPES_FLOAT,
      .rank = 1002,
      .run = run_fast,
      .pays = never,
      .claims = is_short },
    { .op = "gelu", .dtypes = TN_DTYPES_FLOAT, .rank = 1003, .run = run_fast, .pays = never },
    { .op = "sort", .dtypes = TN_DTYPES_FLOAT, .rank = 1004, .run = run_slow },
    { .op = "sort", .dtypes = TN_DTYPES_FLOAT, .rank = 1005, .run = run_fast, .pays = never },
};
static const TnKernelTable table = { .size = sizeof(TnKernelTable),
                                     .kind = "ref",
                                     .kernel_size = sizeof(TnKernel),
                                     .n_kernels = G_N_ELEMENTS(kernels),
                                     .kernels = kernels };
static const TnFactory factory = { .size = sizeof(TnFactory),
                                   .iface = "tenon.kernel/1",
                                   .name = "fake",
                                   .help = "for a test",
                                   .vtable = &table };

static void
setup(void)
{
    tn_registry_add_factory(&factory, "test");
}

static void
teardown(void)
{
    tn_registry_remove_factory(&factory);
}

/* --- Tables ----------------------------------------------------------------------------------- */

/* "node; id = us; id = us" */
static TnValue *
row(const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, "; ", -1);
    TnValue *map = tn_value_map(), *us = tn_value_map();
    tn_value_set(map, "node", tn_value_string(parts[0]));
    for (guint i = 1; parts[i] != NULL; i++) {
        g_auto(GStrv) pair = g_strsplit(parts[i], " = ", 2);
        tn_value_set(us, pair[0], tn_value_double(g_ascii_strtod(pair[1], NULL)));
    }
    tn_value_set(map, "us", us);
    return map;
}

static TnCosts *
costs_of(const char *const *texts)
{
    g_autoptr(TnValue) list = tn_value_list();
    g_autoptr(GError) error = NULL;
    for (guint i = 0; texts[i] != NULL; i++)
        tn_value_push(list, row(texts[i]));
    TnCosts *costs = tn_costs_new(list, &error);
    TN_REQUIRE_NO_ERROR(error);
    return costs;
}

/* What is chosen for "neg" of n floats (or of gelu), as "ID source candidates". */
typedef struct {
    const char *op;
    char *text;
} Seen;

static void
see(const TnChoice *choice, gpointer data)
{
    Seen *seen = data;
    if (strcmp(choice->node->op->name, seen->op) == 0) {
        g_free(seen->text);
        seen->text = g_strdup_printf("%s/%d/%u", choice->id != NULL ? choice->id : "none",
                                     (int)choice->source, choice->n_candidates);
    }
}

static char *
chosen(const char *op, gint64 n, const TnCosts *costs, const TnValue *choices, TnValue *written)
{
    static const char *const no_fusing[] = { "fuse", NULL };
    g_autoptr(TnGraph) graph = tn_graph_new("one");
    g_autoptr(TnDevice) ref = tn_test_device("ref");
    g_autoptr(GError) error = NULL;
    Seen seen = { op, NULL };
    const TnVal x = tn_graph_input(graph, "x", tn_type(TN_DTYPE_F32, 1, &n));
    const TnSortAttrs last = { .axis = -1 };
    const void *attrs = strcmp(op, "sort") == 0 ? &last : NULL;
    tn_graph_output(graph, "y", tn_graph_op(graph, op, attrs, 1, &x, NULL));
    const TnCompile options = { .devices = &ref,
                                .n_devices = 1,
                                .skip = no_fusing,
                                .costs = costs,
                                .choices = choices,
                                .chosen = written,
                                .choice_sink = see,
                                .choice_data = &seen };
    g_autoptr(TnProgram) program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    return seen.text;
}

#define ASSERT_CHOSEN(expected, ...)                                                               \
    do {                                                                                           \
        g_autofree char *is_ = chosen(__VA_ARGS__, NULL, NULL);                                    \
        TN_ASSERT_CMPSTR(is_, expected);                                                           \
    } while (0)

#define NEG(n) "ref neg f32[" n "] -> f32[" n "]"

static void
chooses_by_time(void)
{
    static const char *const texts[] = {
        NEG("64") "; fake 1000 = 9; fake 1001 = 3; fake 1002 = 2",
        NEG("65536") "; fake 1002 = 1; fake 1001 = 3; fake 1000 = 9",
        NEG("16777216") "; gone 7 = 1; fake 1000 = 3.05; fake 1001 = 3",
        "ref gelu f32[64] -> f32[64]; fake 1003 = 1",
        NULL,
    };
    g_autoptr(TnCosts) costs = costs_of(texts);
    /* 0: by rank, 1: the very node, 2: one near. */
    ASSERT_CHOSEN("fake 1000/0/4", "neg", 64, NULL);
    ASSERT_CHOSEN("fake 1002/1/4", "neg", 64, costs);
    ASSERT_CHOSEN("fake 1001/1/3", "neg", 65536, costs);    /* 1002 does not take it */
    ASSERT_CHOSEN("fake 1000/1/3", "neg", 16777216, costs); /* nearly as fast as 1001 */
    ASSERT_CHOSEN("fake 1002/2/4", "neg", 100, costs);
    ASSERT_CHOSEN("fake 1001/2/3", "neg", 40000, costs);
    ASSERT_CHOSEN("fake 1000/0/3", "neg", 2048, costs); /* in nobody's reach */
    /* What is expanded unless it is measured stays so: the parts' times are not known. */
    ASSERT_CHOSEN("none/0/1", "gelu", 64, costs);
}

static void
kept_choices_come_first(void)
{
    static const char *const texts[] = { NEG("64") "; fake 1000 = 9; fake 1001 = 3", NULL };
    static const char *const others[] = { NEG("64") "; fake 1000 = 3; fake 1001 = 9", NULL };
    g_autoptr(TnCosts) costs = costs_of(texts), other = costs_of(others), same = costs_of(texts);
    g_autoptr(TnValue) first = tn_value_map(), second = tn_value_map();
    TN_ASSERT(tn_costs_digest(costs) == tn_costs_digest(same));
    TN_ASSERT(tn_costs_digest(costs) != tn_costs_digest(other));
    g_autofree char *a = chosen("neg", 64, costs, NULL, first);
    TN_ASSERT_CMPSTR(a, "fake 1001/1/4");
    g_autofree char *b = chosen("neg", 64, other, first, second);
    TN_ASSERT_CMPSTR(b, "fake 1001/3/4");
    TN_ASSERT(tn_value_equal(first, second));
}

/* Tables and choices of before outputs that nobody reads were told apart say nothing of nodes that have some:
 * these go by rank. */
static void
keys_without_unread(void)
{
    g_autoptr(TnValue) now = tn_value_map(), before = tn_value_map();
    g_autofree char *usual = chosen("sort", 64, NULL, NULL, now);
    TN_ASSERT_CMPSTR(usual, "fake 1004/0/3");
    g_autofree char *key = NULL;
    for (gsize i = 0; i < tn_value_len(now); i++) {
        const char *at = tn_value_key_at(now, i);
        if (g_str_has_prefix(at, "ref sort "))
            key = g_strdup(at);
        else /* that the graph was compiled at these sizes */
            tn_value_set(before, at, tn_value_copy(tn_value_at(now, i)));
    }
    TN_ASSERT_CONTAINS(key, " -> f32[64] unread:i64[64]");
    g_auto(GStrv) parts = g_strsplit(key, "unread:", -1);
    g_autofree char *old = g_strjoinv("", parts);
    g_autofree char *row = g_strconcat(key, "; fake 1004 = 9; fake 1005 = 3", NULL);
    g_autofree char *old_row = g_strconcat(old, "; fake 1004 = 9; fake 1005 = 3", NULL);
    g_autoptr(TnCosts) costs = costs_of((const char *[]){ row, NULL });
    g_autoptr(TnCosts) old_costs = costs_of((const char *[]){ old_row, NULL });
    ASSERT_CHOSEN("fake 1005/1/3", "sort", 64, costs);
    ASSERT_CHOSEN("fake 1004/0/3", "sort", 64, old_costs);
    tn_value_set(now, key, tn_value_string("fake 1005"));
    tn_value_set(before, old, tn_value_string("fake 1005"));
    g_autofree char *kept = chosen("sort", 64, NULL, now, NULL);
    TN_ASSERT_CMPSTR(kept, "fake 1005/3/3");
    g_autofree char *anew = chosen("sort", 64, NULL, before, NULL);
    TN_ASSERT_CMPSTR(anew, "fake 1004/0/3");
}

/* Functions of contexts with other tables do not share programs. */
static void
contexts_have_tables(void)
{
    static const char *const texts[] = { NEG("64") "; fake 1000 = 9; fake 1001 = 3", NULL };
    g_autoptr(TnCosts) costs = costs_of(texts);
    g_autoptr(TnContext) plain = tn_test_context("ref", NULL), tuned = tn_test_context("ref", NULL);
    g_autoptr(TnGraph) graph = tn_graph_new("one");
    g_autoptr(GError) error = NULL;
    const gint64 n = 64;
    const TnVal x = tn_graph_input(graph, "x", tn_type(TN_DTYPE_F32, 1, &n));
    tn_graph_output(graph, "y", tn_graph_op(graph, "neg", NULL, 1, &x, NULL));
    tn_context_set_costs(tuned, costs);
    TN_ASSERT(tn_context_costs(tuned) == costs && tn_context_costs(plain) == NULL);
    g_autoptr(TnFunction) f = tn_function_new(graph, plain), g = tn_function_new(graph, tuned);
    g_autoptr(TnTensor) t = tn_tensor_new(NULL, tn_type(TN_DTYPE_F32, 1, &n), &error);
    TnExec *a = tn_function_exec(f, 1, &t, &error), *b = tn_function_exec(g, 1, &t, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(tn_exec_program(a) != tn_exec_program(b));
}

static void
refuses(void)
{
    static const char *const nodes[] = { NULL, "", NEG("8"), NEG("8") };
    for (guint i = 0; i < 8; i++) {
        g_autoptr(TnValue) list = i == 0 ? tn_value_int(3) : tn_value_list();
        g_autoptr(GError) error = NULL;
        TnValue *bad = i == 1 ? tn_value_string("row") : row(NEG("4") "; fake 1000 = 1");
        const double times[] = { [3] = 0, [4] = -1, [5] = NAN, [6] = INFINITY };
        if (i == 2)
            tn_value_set(bad, "us", tn_value_map());
        if (i >= 3 && i <= 6)
            tn_value_set(tn_value_get(bad, "us"), "fake 1000", tn_value_double(times[i]));
        if (i == 7)
            tn_value_set(bad, "node", tn_value_int(7));
        if (i > 0)
            tn_value_push(list, bad);
        else
            tn_value_unref(bad);
        TN_ASSERT(tn_costs_new(list, &error) == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, i == 0 ? "no list" : "row 1 ");
    }
    /* The same node twice, and one of more sizes than there are. */
    g_autoptr(TnValue) twice = tn_value_list(), many = tn_value_list();
    g_autoptr(GError) error = NULL;
    for (guint i = 2; i < 4; i++)
        tn_value_push(twice, row(nodes[i]));
    for (gsize i = 0; i < 2; i++)
        tn_value_set(tn_value_get(tn_value_at(twice, i), "us"), "fake 1000", tn_value_int(1));
    TN_ASSERT(tn_costs_new(twice, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, "row 2 ");
    g_autoptr(GString) text = g_string_new("ref neg f32[");
    for (guint i = 0; i < 300; i++)
        g_string_append(text, "9, ");
    g_string_append(text, "9]; fake 1000 = 1");
    tn_value_push(many, row(text->str));
    TN_ASSERT(tn_costs_new(many, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, "row 1 ");
}

/* --- Measuring -------------------------------------------------------------------------------- */

static void
measures(void)
{
    const gint64 n = 64;
    const TnArg arg = { .type = tn_type(TN_DTYPE_BF16, 1, &n), .strides = { 1 }, .count = n };
    const TnNode node = { .size = sizeof(TnNode),
                          .op = tn_op_find("neg", NULL),
                          .name = "neg",
                          .n_in = 1,
                          .n_out = 1,
                          .in = &arg,
                          .out = &arg };
    g_autoptr(TnDevice) ref = tn_test_device("ref");
    g_autoptr(GError) error = NULL;
    g_autoptr(TnValue) list = tn_value_list();
    TN_ASSERT(tn_kernel_find("ref", &node) == &kernels[0]);
    TnValue *all = tn_costs_measure("ref", &node, 1e-4, 2, &error);
    TN_REQUIRE_NO_ERROR(error);
    tn_value_push(list, all);
    TN_ASSERT_CMPSTR(tn_value_get_string(tn_value_get(all, "node")),
                     "ref neg bf16[64] -> bf16[64]");
    const TnValue *us = tn_value_get(all, "us");
    TN_ASSERT_CMPUINT(tn_value_len(us), ==, 4);
    TN_ASSERT(tn_value_get_double(tn_value_get(us, "fake 1000")) >= SLOW_US);
    TN_ASSERT(tn_value_get_double(tn_value_get(us, "fake 1001")) > 0);
    g_autoptr(TnCosts) costs = tn_costs_new(list, &error);
    TN_REQUIRE_NO_ERROR(error);
    /* Those that fail are left out. */
    fails = TRUE;
    g_autoptr(TnValue) rest = tn_costs_measure("ref", &node, 1e-4, 1, &error);
    fails = FALSE;
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPUINT(tn_value_len(tn_value_get(rest, "us")), ==, 2);
    TN_ASSERT(tn_costs_measure("nowhere", &node, 1e-4, 1, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_FAILED, "no kernel could run it");
}

static const TnTest tests[] = {
    { "chooses by time", chooses_by_time },
    { "kept choices come first", kept_choices_come_first },
    { "keys without unread", keys_without_unread },
    { "contexts have tables", contexts_have_tables },
    { "refuses", refuses },
    { "measures", measures },
};
TN_TEST_MAIN_WITH("costs", tests, setup, teardown)
