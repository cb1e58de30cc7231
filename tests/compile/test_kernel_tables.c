/* test_kernel_tables.c: which kernel a node gets when tables of kernels come and go. */
#include <tenon/base.h>
#include <tenon/nn.h>
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

/* --- What nobody reads ------------------------------------------------------------------------ */

static guint unread_seen; /* when the kernel was prepared: a bit for each output */

static gboolean
claims_unread(const TnNode *node)
{
    return node->out[2].unread && !node->out[0].unread;
}

static gboolean
prepare_unread(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)prepared, (void)error;
    for (gint i = 0; i < node->n_out; i++)
        unread_seen |= (guint)(node->out[i].unread != 0) << i;
    return TRUE;
}

static const TnKernel narrow = { .op = "lstm",
                                 .dtypes = TN_DTYPES_FLOAT,
                                 .rank = 99,
                                 .claims = claims_unread,
                                 .prepare = prepare_unread,
                                 .run = run_nothing };
static const TnKernelTable narrow_table = { .size = sizeof(TnKernelTable),
                                            .kind = "ref",
                                            .kernel_size = sizeof(TnKernel),
                                            .n_kernels = 1,
                                            .kernels = &narrow };
static const TnFactory narrow_factory = FACTORY("narrow", narrow_table);

static TnType
lstm_input(guint i)
{
    static const gint64 sizes[][3] = { { 2, 3, 4 }, { 3, 5 }, { 3, 5 }, { 20, 4 }, { 20, 5 } };
    return tn_type(TN_DTYPE_F32, i == 0 ? 3 : 2, sizes[i]);
}

/* An lstm of which the outputs in `read` are read: a bit each, of cells by another node. */
static TnGraph *
lstm_graph(guint read)
{
    const TnSequenceAttrs attrs = { .steps = 2 };
    TnGraph *graph = tn_graph_new("lstm");
    TnVal in[5], out[TN_MAX_OUT];
    for (guint i = 0; i < 5; i++) {
        g_autofree char *name = g_strdup_printf("in%u", i);
        in[i] = tn_graph_input(graph, name, lstm_input(i));
    }
    tn_graph_add(graph, tn_op_find("lstm", NULL), &attrs, 5, in, out);
    for (guint i = 0; i < 3; i++) {
        g_autofree char *name = g_strdup_printf("out%u", i);
        if (read >> i & 1)
            tn_graph_output(
                graph, name,
                i == 1 ? tn_graph_add(graph, tn_op_find("neg", NULL), NULL, 1, &out[i], NULL)
                       : out[i]);
    }
    return graph;
}

/* data: a bit for each output of the node with three that is shown. */
static TnStatus
see_outputs(TnExec *exec, const TnExecStep *step, gpointer data)
{
    (void)exec;
    for (guint i = 0; step->n_out == 3 && i < 3; i++)
        *(guint *)data |= (guint)(step->out[i] != NULL) << i;
    return TN_OK;
}

static void
check_unread(guint read, const char *words, const char *kernel, guint unread)
{
    g_autoptr(TnGraph) graph = lstm_graph(read);
    g_autoptr(TnValue) chosen = tn_value_map();
    unread_seen = 0;
    g_free(kernels_of(graph, NULL, chosen));
    const char *key = NULL;
    for (gsize i = 0; i < tn_value_len(chosen); i++)
        if (g_str_has_prefix(tn_value_key_at(chosen, i), "ref lstm "))
            key = tn_value_key_at(chosen, i);
    TN_REQUIRE(key != NULL);
    TN_ASSERT_CONTAINS(key, words);
    TN_ASSERT_CMPSTR(choice_of(chosen, "lstm"), kernel);
    TN_ASSERT_CMPUINT(unread_seen, ==, unread);
}

static void
unread(void)
{
    tn_registry_add_factory(&narrow_factory, "test");
    check_unread(1, "-> f32[2, 3, 5] unread:f32[2, 3, 5] unread:f32[2, 3, 20]", "narrow 99", 6);
    check_unread(3, "-> f32[2, 3, 5] f32[2, 3, 5] unread:f32[2, 3, 20]", "narrow 99", 4);
    check_unread(5, "-> f32[2, 3, 5] unread:f32[2, 3, 5] f32[2, 3, 20]", "none", 0);
    check_unread(4, "-> unread:f32[2, 3, 5] unread:f32[2, 3, 5] f32[2, 3, 20]", "none", 0);
    check_unread(7, "-> f32[2, 3, 5] f32[2, 3, 5] f32[2, 3, 20]", "none", 0);
    tn_registry_remove_factory(&narrow_factory);
}

/* Who watches is not shown what may be unwritten. */
static void
unread_is_not_shown(void)
{
    g_autoptr(TnGraph) graph = lstm_graph(1);
    g_autoptr(GError) error = NULL;
    TnDevice *ref = tn_test_device("ref");
    const TnCompile options = { .devices = &ref, .n_devices = 1 };
    guint shown = 0;
    tn_registry_add_factory(&narrow_factory, "test");
    g_autoptr(TnProgram) program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnExec) exec = tn_exec_new(program, NULL, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    for (guint i = 0; i < 5; i++) {
        g_autoptr(TnTensor) zeros = tn_tensor_zeros(NULL, lstm_input(i), NULL);
        TN_ASSERT(tn_exec_bind(exec, i, zeros) == TN_OK);
    }
    tn_exec_watch(exec, see_outputs, &shown);
    TN_ASSERT(tn_exec_run(exec) == TN_OK);
    TN_ASSERT_CMPUINT(shown, ==, 1);
    tn_registry_remove_factory(&narrow_factory);
    tn_device_unref(ref);
}

static const TnTest tests[] = {
    { "unread", unread },
    { "unread is not shown", unread_is_not_shown },
    { "chosen again", chosen_again },
    { "contexts choose", contexts_choose },
    { "tables come and go", tables_come_and_go },
    { "batch invariant", batch_invariant },
};
TN_TEST_MAIN("kernel tables", tests)
