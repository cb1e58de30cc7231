/* test_function.c: a graph with its programs: found again by input types and static values,
 * shared between functions, the newest kept. */
#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>

#include "tn_graphs.h"
#include "tn_test.h"

static TnContext *context;

static void
set_up(void)
{
    context = tn_test_context("ref", NULL);
}

static void
tear_down(void)
{
    tn_context_unref(context);
}

static TnType
vector(gint64 n)
{
    return tn_type(TN_DTYPE_F32, 1, &n);
}

/* sum (tanh (x)): its gradient too is right at any size. */
static TnGraph *
sum_graph(void)
{
    TnGraph *graph = tn_graph_new("sum");
    const TnVal x = tn_graph_input(graph, "x", vector(3));
    const TnVal y = tn_f_reduce_sum(graph, tn_f_mul(graph, x, x), 0, NULL, FALSE);
    TnVal grad;
    TN_REQUIRE(tn_grad(graph, y, TN_VAL_NONE, 1, &x, &grad, NULL));
    tn_graph_output(graph, "y", y);
    tn_graph_output(graph, "grad", grad);
    return graph;
}

static TnTensor *
ones(gint64 n)
{
    TnTensor *tensor = tn_tensor_zeros(NULL, vector(n), NULL);
    float *data = tn_tensor_map(tensor, TN_MAP_WRITE, NULL);
    for (gint64 i = 0; i < n; i++) {
        data[i] = 1;
    }
    tn_tensor_unmap(tensor);
    return tensor;
}

static TnExec *
exec_for(TnFunction *function, gint64 n)
{
    g_autoptr(TnTensor) x = ones(n);
    g_autoptr(GError) error = NULL;
    TnExec *exec = tn_function_exec(function, 1, &x, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(tn_exec_run(exec) == TN_OK);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_exec_output(exec, 0), 0), ==, (double)n);
    TN_ASSERT_CMPINT(tn_tensor_count(tn_exec_output(exec, 1)), ==, n);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_exec_output(exec, 1), n - 1), ==, 2);
    return exec;
}

static void
sizes_are_compiled_once(void)
{
    g_autoptr(TnGraph) graph = sum_graph();
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    const guint nodes = tn_graph_n_nodes(graph);
    TnExec *three = exec_for(function, 3), *five = exec_for(function, 5);
    TN_ASSERT(three != five);
    TN_ASSERT(exec_for(function, 3) == three);
    TN_ASSERT(exec_for(function, 5) == five);
    TN_ASSERT_CMPUINT(tn_graph_n_nodes(graph), ==, nodes); /* nothing was built again */
    TN_ASSERT(tn_function_graph(function) == graph);
}

static void
the_newest_sixteen_are_kept(void)
{
    g_autoptr(TnGraph) graph = sum_graph();
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    const guint64 before = tn_context_memory_used(context);
    TnExec *first = exec_for(function, 1);
    TnExec *kept[17];
    for (gint64 n = 2; n <= 16; n++) {
        kept[n] = exec_for(function, n);
    }
    const guint64 full = tn_context_memory_used(context);
    TN_ASSERT(exec_for(function, 1) == first); /* used again: now the newest */
    exec_for(function, 17);                    /* takes the place of 2 */
    TN_ASSERT_CMPUINT(tn_context_memory_used(context), <=, full + 64);
    TN_ASSERT_CMPUINT(full, >, before);
    TN_ASSERT(exec_for(function, 1) == first);
    for (gint64 n = 3; n <= 16; n++) {
        TN_ASSERT(exec_for(function, n) == kept[n]);
    }
}

static void
programs_are_shared(void)
{
    g_autoptr(TnGraph) one = sum_graph(), other = sum_graph();
    g_autoptr(TnFunction) a = tn_function_new(one, context), b = tn_function_new(other, context);
    TN_ASSERT(exec_for(a, 4) != exec_for(b, 4));
    TN_ASSERT(tn_exec_program(exec_for(a, 4)) == tn_exec_program(exec_for(b, 4)));
    TN_ASSERT(tn_exec_program(exec_for(a, 4)) != tn_exec_program(exec_for(b, 6)));
}

/* --- Static inputs: an operator whose output is as long as an input says ---------------------- */

static gboolean
repeat_infer(TnInfer *infer, GError **error)
{
    /* While the graph is built nobody knows yet: any size will do, each binding has its own. */
    const gint64 n = infer->value[1] != NULL ? (gint64)tn_tensor_get(infer->value[1], 0) : 1;
    if (n < 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE, "'n' is %d", (gint)n);
        return FALSE;
    }
    infer->out[0] = tn_type(TN_DTYPE_F32, 1, &n);
    return TRUE;
}

static gboolean
repeat_prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    prepared->state = GSIZE_TO_POINTER((gsize)node->out[0].count);
    return TRUE;
}

static TnStatus
repeat_run(void *state, const TnRun *run)
{
    for (gsize i = 0; i < GPOINTER_TO_SIZE(state); i++) {
        ((float *)run->out[0])[i] = *(const float *)run->in[0];
    }
    return TN_OK;
}

static const TnOpArg repeat_in[] = {
    { .name = "x", .type = 'T', .dtypes = TN_DT(F32) },
    { .name = "n", .type = 'I', .dtypes = TN_DT(I64), .flags = TN_ARG_STATIC | TN_ARG_NO_GRAD },
};
static const TnOpArg repeat_out[] = { { .name = "out", .type = 'T', .dtypes = TN_DT(F32) } };
static const TnOp repeat = { .size = sizeof(TnOp),
                             .arg_size = sizeof(TnOpArg),
                             .name = "test_repeat",
                             .help = "x n times",
                             .inputs = repeat_in,
                             .n_inputs = 2,
                             .outputs = repeat_out,
                             .n_outputs = 1,
                             .infer = repeat_infer };
static const TnKernel repeat_kernel[] = {
    { .op = "test_repeat", .dtypes = TN_DTYPES_ALL, .prepare = repeat_prepare, .run = repeat_run },
};
static const TnKernelTable repeat_table = { .size = sizeof(TnKernelTable),
                                            .kind = "ref",
                                            .kernel_size = sizeof(TnKernel),
                                            .n_kernels = 1,
                                            .kernels = repeat_kernel };
static const TnFactory repeat_factory = { .size = sizeof(TnFactory),
                                          .flags = TN_FACTORY_INTERNAL,
                                          .iface = "tenon.kernel/1",
                                          .name = "repeat",
                                          .help = "a kernel",
                                          .vtable = &repeat_table };
static const TnFactory *const repeat_factories[] = { &repeat_factory, NULL };
static const TnPlugin repeat_plugin = { TN_PLUGIN_HEAD("test-repeat", "0.1.0", "Apache-2.0",
                                                       "An operator's kernel"),
                                        .factories = repeat_factories };

static TnTensor *
integer(gint64 value)
{
    return tn_tensor_from(tn_type(TN_DTYPE_I64, 0, NULL), &value, NULL);
}

/* n is an input, and half of it is computed: both are known when a program is made. */
static void
static_values_make_programs(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("static");
    g_autoptr(GError) error = NULL;
    TN_REQUIRE(tn_registry_add(&repeat_plugin, NULL));
    const TnVal n = tn_graph_input(graph, "n", tn_type(TN_DTYPE_I64, 0, NULL));
    const TnVal x = tn_graph_input(graph, "x", tn_type(TN_DTYPE_F32, 0, NULL));
    const TnVal half = tn_f_div(graph, n, tn_f_const(graph, n, 2));
    tn_graph_output(graph, "n", tn_graph_add(graph, &repeat, NULL, 2, (TnVal[]){ x, n }, NULL));
    tn_graph_output(graph, "half",
                    tn_graph_add(graph, &repeat, NULL, 2, (TnVal[]){ x, half }, NULL));
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    g_autoptr(TnTensor) six = integer(6), also_six = integer(6), four = integer(4),
                        bad = integer(-2);
    g_autoptr(TnTensor) scalar = tn_tensor_scalar(TN_DTYPE_F32, 7);
    TnExec *at_six = tn_function_exec(function, 2, (TnTensor *[]){ six, scalar }, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(tn_exec_run(at_six) == TN_OK);
    TN_ASSERT_CMPINT(tn_tensor_count(tn_exec_output(at_six, 0)), ==, 6);
    TN_ASSERT_CMPINT(tn_tensor_count(tn_exec_output(at_six, 1)), ==, 3);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_exec_output(at_six, 0), 5), ==, 7);
    TnExec *at_four = tn_function_exec(function, 2, (TnTensor *[]){ four, scalar }, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(at_four != at_six);
    TN_ASSERT_CMPINT(tn_tensor_count(tn_exec_output(at_four, 0)), ==, 4);
    TN_ASSERT(tn_function_exec(function, 2, (TnTensor *[]){ also_six, scalar }, &error) == at_six);
    /* A program for six must not be run with four. */
    TN_ASSERT(tn_exec_bind(at_six, 0, four) != TN_OK);
    TN_ASSERT_CONTAINS(tn_exec_error(at_six)->message, "other contents");
    TN_ASSERT(tn_function_exec(function, 2, (TnTensor *[]){ bad, scalar }, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "test_repeat", "-2");
}

/* 6 + 4 + 2, from every other element backwards. */
static void
static_values_may_be_strided(void)
{
    const gint64 numbers[] = { 1, 2, 3, 4, 5, 6 }, six[] = { 6 };
    g_autoptr(TnTensor) whole = tn_tensor_from(tn_type(TN_DTYPE_I64, 1, six), numbers, NULL);
    g_autoptr(TnTensor) part = tn_tensor_slice(whole, 0, 5, G_MININT64, -2, NULL);
    g_autoptr(TnGraph) graph = tn_graph_new("strided");
    g_autoptr(GError) error = NULL;
    (void)tn_registry_add(&repeat_plugin, NULL);
    const TnVal n = tn_f_reduce_sum(graph, tn_graph_constant(graph, part), 0, NULL, FALSE);
    const TnVal x = tn_graph_scalar(graph, TN_DTYPE_F32, 7);
    tn_graph_output(graph, "y", tn_graph_add(graph, &repeat, NULL, 2, (TnVal[]){ x, n }, NULL));
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    TnExec *exec = tn_function_exec(function, 0, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPINT(tn_tensor_count(tn_exec_output(exec, 0)), ==, 12);
}

static void
calls_copy_their_outputs(void)
{
    g_autoptr(TnGraph) graph = sum_graph();
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    g_autoptr(TnTensor) x = ones(3), y = ones(2);
    g_autoptr(GError) error = NULL;
    TnTensor *first[2] = { NULL }, *second[2] = { NULL };
    TN_ASSERT(tn_function_call(function, 1, &x, first, &error));
    TN_ASSERT(tn_function_call(function, 1, &x, second, &error));
    TN_ASSERT(first[0] != second[0]);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(first[0], 0), ==, 3);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(second[1], 2), ==, 2);
    for (guint i = 0; i < 2; i++) {
        tn_tensor_unref(first[i]);
        tn_tensor_unref(second[i]);
    }
    TnTensor *const two[] = { x, y };
    TN_ASSERT(!tn_function_call(function, 2, two, first, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_USAGE, "sum", "takes 1 inputs, got 2");
    g_autoptr(TnTensor) scalar = tn_tensor_scalar(TN_DTYPE_F32, 1), n = integer(3);
    TN_ASSERT(!tn_function_call(function, 1, &scalar, first, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "'x'");
    TN_ASSERT(!tn_function_call(function, 1, &n, first, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_DTYPE, "'x'");
}

static void
hear(const char *category, TnLogLevel level, const char *line, gpointer data)
{
    if (strcmp(category, "compile") == 0 && level == TN_LOG_INFO) {
        g_string_append_printf(data, "%s\n", line);
    }
}

static void
other_sizes_are_said(void)
{
    g_autoptr(TnGraph) graph = sum_graph();
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    g_autoptr(GString) said = g_string_new(NULL);
    TN_REQUIRE(tn_log_set_filter("*:info", NULL));
    const guint sink = tn_log_add_sink(hear, said);
    exec_for(function, 3);
    TN_ASSERT_CMPSTR(said->str, "");
    exec_for(function, 5);
    exec_for(function, 3); /* it is there */
    tn_log_remove_sink(sink);
    TN_ASSERT_CONTAINS(said->str,
                       "graph 'sum': input 'x' was f32[3], is f32[5]: compiled again, 2 of "
                       "at most 16");
    TN_ASSERT(strchr(said->str, '\n') == said->str + said->len - 1);
}

static const TnTest tests[] = {
    { "sizes are compiled once", sizes_are_compiled_once },
    { "the newest sixteen are kept", the_newest_sixteen_are_kept },
    { "programs are shared", programs_are_shared },
    { "static values make programs", static_values_make_programs },
    { "static values may be strided", static_values_may_be_strided },
    { "calls copy their outputs", calls_copy_their_outputs },
    { "other sizes are said", other_sizes_are_said },
};
TN_TEST_MAIN_WITH("function", tests, set_up, tear_down)
