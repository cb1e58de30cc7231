/* test_kernel_tables.c: which kernel a node gets when tables of kernels come and go. */
#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>

#include "tn_graphs.h"
#include "tn_test.h"

static TnStatus
run_nothing(void *state, const TnRun *run)
{
    (void)state;
    (void)run;
    return TN_OK;
}

#define KERNEL(rank_)                                                                              \
    {                                                                                              \
        .op = "neg", .dtypes = TN_DTYPES_FLOAT, .rank = (rank_), .run = run_nothing                \
    }
#define TABLE(kernel_)                                                                             \
    {                                                                                              \
        .size = sizeof(TnKernelTable), .kind = "nowhere", .kernel_size = sizeof(TnKernel),         \
        .n_kernels = 1, .kernels = &(kernel_)                                                      \
    }
#define FACTORY(name_, table_)                                                                     \
    {                                                                                              \
        .size = sizeof(TnFactory), .iface = "tenon.kernel/1", .name = (name_),                     \
        .help = "for a test", .vtable = &(table_)                                                  \
    }
static const TnKernel low = KERNEL(0), high = KERNEL(1);
static const TnKernelTable low_table = TABLE(low), high_table = TABLE(high);
static const TnFactory low_factory = FACTORY("low", low_table),
                       high_factory = FACTORY("high", high_table);

static const TnKernel *
find_for(gboolean batch_invariant)
{
    const TnArg arg = { .type = { .dtype = TN_DTYPE_F32 }, .count = 1 };
    const TnNode node = { .size = sizeof(TnNode),
                          .op = tn_op_find("neg", NULL),
                          .name = "neg",
                          .n_in = 1,
                          .n_out = 1,
                          .in = &arg,
                          .out = &arg,
                          .batch_invariant = batch_invariant };
    return tn_kernel_find("nowhere", &node);
}

static const TnKernel *
find(void)
{
    return find_for(FALSE);
}

/* Where samples' bits may not go by their number, only tables that say that they heed it are asked. */
static void
batch_invariant(void)
{
    static const TnKernel heedful = KERNEL(0);
    static const TnKernelTable heedful_table = { .size = sizeof(TnKernelTable),
                                                 .kind = "nowhere",
                                                 .kernel_size = sizeof(TnKernel),
                                                 .n_kernels = 1,
                                                 .kernels = &heedful,
                                                 .flags = TN_TABLE_BATCH_INVARIANT };
    static const TnFactory heedful_factory = FACTORY("heedful", heedful_table);
    tn_registry_add_factory(&high_factory, "test");
    TN_ASSERT(find_for(TRUE) == NULL);
    tn_registry_add_factory(&heedful_factory, "test");
    TN_ASSERT(find_for(FALSE) == &high);
    TN_ASSERT(find_for(TRUE) == &heedful);
    tn_registry_remove_factory(&heedful_factory);
    tn_registry_remove_factory(&high_factory);
}

static void
tables_come_and_go(void)
{
    TN_ASSERT(find() == NULL);
    tn_registry_add_factory(&low_factory, "test");
    TN_ASSERT(find() == &low);
    /* One for another: as many tables as before. */
    tn_registry_remove_factory(&low_factory);
    tn_registry_add_factory(&high_factory, "test");
    TN_ASSERT(find() == &high);
    tn_registry_add_factory(&low_factory, "test");
    TN_ASSERT(find() == &high);
    tn_registry_remove_factory(&high_factory);
    TN_ASSERT(find() == &low);
    tn_registry_remove_factory(&low_factory);
    TN_ASSERT(find() == NULL);
}

/* --- What was chosen once --------------------------------------------------------------------- */

static const TnKernel better[] = {
    { .op = "neg", .dtypes = TN_DTYPES_FLOAT, .rank = 99, .run = run_nothing },
    { .op = "gelu", .dtypes = TN_DTYPES_FLOAT, .rank = 99, .run = run_nothing },
};
static const TnKernelTable better_table = { .size = sizeof(TnKernelTable),
                                            .kind = "ref",
                                            .kernel_size = sizeof(TnKernel),
                                            .n_kernels = G_N_ELEMENTS(better),
                                            .kernels = better };
static const TnFactory better_factory = FACTORY("better", better_table);

/* -gelu(x) */
static TnGraph *
small_graph(void)
{
    TnGraph *graph = tn_graph_new("small");
    const TnVal x = tn_graph_input(graph, "x", tn_type(TN_DTYPE_F32, 1, (gint64[]){ 3 }));
    const TnVal y = tn_graph_add(graph, tn_op_find("gelu", NULL), NULL, 1, &x, NULL);
    tn_graph_output(graph, "y", tn_graph_add(graph, tn_op_find("neg", NULL), NULL, 1, &y, NULL));
    return graph;
}

static char *
kernels_of(TnGraph *graph, const TnValue *choices, TnValue *chosen)
{
    static const char *const no_fusing[] = { "fuse", NULL };
    TnDevice *ref = tn_test_device("ref");
    g_autoptr(GError) error = NULL;
    const TnCompile options = {
        .devices = &ref, .n_devices = 1, .skip = no_fusing, .choices = choices, .chosen = chosen
    };
    g_autoptr(TnProgram) program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    tn_device_unref(ref);
    return tn_program_kernels(program);
}

static const char *
choice_of(const TnValue *chosen, const char *op)
{
    g_autofree char *key = g_strdup_printf("ref %s ", op);
    for (gsize i = 0; i < tn_value_len(chosen); i++)
        if (g_str_has_prefix(tn_value_key_at(chosen, i), key))
            return tn_value_get_string(tn_value_at(chosen, i));
    return NULL;
}

static void
chosen_again(void)
{
    g_autoptr(TnGraph) graph = small_graph();
    g_autoptr(TnValue) first = tn_value_map(), best = tn_value_map(), again = tn_value_map();
    g_autoptr(TnValue) fallback = tn_value_map();
    g_autofree char *a = kernels_of(graph, NULL, first);
    TN_ASSERT_CMPSTR(choice_of(first, "gelu"), "none");
    TN_ASSERT(g_str_has_prefix(choice_of(first, "neg"), "ref"));
    tn_registry_add_factory(&better_factory, "test");
    g_autofree char *b = kernels_of(graph, NULL, best);
    TN_ASSERT_CMPSTR(b, "gelu ref 1\nneg ref 1\n");
    TN_ASSERT_CMPSTR(choice_of(best, "gelu"), "better 99");
    TN_ASSERT_CMPSTR(choice_of(best, "neg"), "better 99");
    g_autofree char *c = kernels_of(graph, first, again);
    TN_ASSERT_CMPSTR(c, a);
    TN_ASSERT(tn_value_equal(again, first));
    tn_registry_remove_factory(&better_factory);
    g_autofree char *d = kernels_of(graph, best, fallback);
    TN_ASSERT_CMPSTR(d, a);
    TN_ASSERT_CMPSTR(choice_of(fallback, "neg"), choice_of(first, "neg"));
}

/* Programs are shared among those that chose alike only. */
static void
contexts_choose(void)
{
    g_autoptr(TnGraph) graph = small_graph();
    g_autoptr(TnValue) first = tn_value_map();
    g_autoptr(GError) error = NULL;
    g_autofree char *kernels = kernels_of(graph, NULL, first);
    TN_ASSERT_CONTAINS(kernels, "neg ref 1\n");
    tn_registry_add_factory(&better_factory, "test");
    g_autoptr(TnContext) plain = tn_test_context("ref", NULL), bound = tn_test_context("ref", NULL);
    tn_context_set_choices(bound, first);
    g_autoptr(TnFunction) f = tn_function_new(graph, plain), g = tn_function_new(graph, bound);
    g_autoptr(TnTensor) x =
        tn_tensor_from(tn_type(TN_DTYPE_F32, 1, (gint64[]){ 3 }), (float[]){ 9, 9, 9 }, NULL);
    TnExec *a = tn_function_exec(f, 1, &x, &error), *b = tn_function_exec(g, 1, &x, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(tn_exec_program(a) != tn_exec_program(b));
    TN_ASSERT(tn_exec_run(b) == TN_OK);
    TN_ASSERT_NEAR(tn_tensor_get(tn_exec_output(b, 0), 0), -9, 1e-3, 0);
    tn_registry_remove_factory(&better_factory);
}

static const TnTest tests[] = {
    { "chosen again", chosen_again },
    { "contexts choose", contexts_choose },
    { "tables come and go", tables_come_and_go },
    { "batch invariant", batch_invariant },
};
TN_TEST_MAIN("kernel tables", tests)
