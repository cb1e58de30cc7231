/* test_fuse.c: element-wise groups as one node: fewer instructions, exactly the same results, no
 * group that needs itself. The device's own fused kernel is wanted; without one nothing is
 * grouped. */
// tn-test: timeout=120
#include <tenon/base.h>
#include <tenon/ops.h>

#include "tn_graphs.h"
#include "tn_test.h"

static TnDevice *cpu, *ref;
static const char *const no_fuse[] = { "fuse", NULL };

static void
set_up(void)
{
    ref = tn_test_device("ref");
    cpu = tn_test_device("cpu");
}

static void
tear_down(void)
{
    tn_device_unref(cpu);
    tn_device_unref(ref);
}

static guint64
n_seeds(guint64 n)
{
    const char *text = g_getenv("TN_SEEDS");
    return text != NULL ? g_ascii_strtoull(text, NULL, 10) : n;
}

static TnProgram *
compile(TnGraph *graph, TnDevice *device, const char *const *skip)
{
    TnDevice *const devices[] = { device, ref };
    const TnCompile options = { .devices = devices, .n_devices = 2, .skip = skip };
    g_autoptr(GError) error = NULL;
    TnProgram *program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    return program;
}

static guint
n_instructions(TnGraph *graph, TnDevice *device, const char *const *skip)
{
    g_autoptr(TnProgram) program = compile(graph, device, skip);
    return tn_program_n_instructions(program);
}

static TnVal
vector(TnGraph *graph, const char *name)
{
    const gint64 n[] = { 1000 };
    return tn_graph_input(graph, name, tn_type(TN_DTYPE_F32, 1, n));
}

static void
fusing_keeps_results(void)
{
    static const char *const ops[] = { "add",       "sub",        "mul",       "div",   "exp",
                                       "tanh",      "neg",        "cast",      "where", "less",
                                       "max",       "reduce_sum", "abs",       "sqrt",  "equal",
                                       "transpose", "matmul",     "expand_as", NULL };
    TnDevice *const devices[] = { cpu, ref };
    guint fused = 0;
    for (guint64 seed = 0; seed < n_seeds(80); seed++) {
        g_auto(TnRandomGraph) random = { 0 };
        tn_random_graph(&random, seed, 60, seed % 2 == 0 ? ops : NULL);
        const TnCompile plain = { .devices = devices, .n_devices = 2, .skip = no_fuse };
        const TnCompile options = { .devices = devices, .n_devices = 2 };
        g_autofree char *want = tn_random_graph_run(&random, &plain, 2);
        g_autofree char *got = tn_random_graph_run(&random, &options, 2);
        fused +=
            n_instructions(random.graph, cpu, NULL) < n_instructions(random.graph, cpu, no_fuse);
        if (g_strcmp0(want, got) != 0) {
            g_autofree char *graph = tn_graph_print(random.graph);
            TN_FAIL("seed %d differs\n%s\nunfused:\n%s\nfused:\n%s", (int)seed, graph, want, got);
        }
    }
    TN_ASSERT_CMPUINT(fused, >, n_seeds(80) / 4);
}

static void
chains_become_one(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("chain");
    const TnVal x = vector(graph, "x"), y = vector(graph, "y");
    const TnVal sum = tn_f_add(graph, x, tn_f_mul(graph, y, tn_f_const(graph, y, 3)));
    tn_graph_output(graph, "z", tn_f_tanh(graph, tn_f_mul(graph, sum, sum)));
    TN_ASSERT_CMPUINT(n_instructions(graph, cpu, NULL), ==, 1);
    TN_ASSERT_CMPUINT(n_instructions(graph, cpu, no_fuse), ==, 4);
    TN_ASSERT_CMPUINT(n_instructions(graph, ref, NULL), ==, 4);
}

/* What is read elsewhere is an output of the group as well. */
static void
values_read_elsewhere_are_outputs(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("outputs");
    const TnVal x = vector(graph, "x");
    const TnVal e = tn_f_exp(graph, x), t = tn_f_tanh(graph, e);
    tn_graph_output(graph, "t", t);
    tn_graph_output(graph, "sum", tn_f_reduce_sum(graph, e, 0, NULL, FALSE));
    g_autoptr(TnProgram) program = compile(graph, cpu, NULL);
    g_autofree char *text = tn_program_print(program);
    TN_ASSERT_CONTAINS(text, "fused");
    TN_ASSERT_CMPUINT(tn_program_n_instructions(program), ==, 2);
}

/* exp and add may not be one group: the sum between them needs the one and is needed by the
 * other. */
static void
no_group_needs_itself(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("cycle");
    const TnVal x = vector(graph, "x");
    const TnVal e = tn_f_exp(graph, x);
    const TnVal sum = tn_f_reduce_sum(graph, e, 0, NULL, TRUE);
    tn_graph_output(graph, "softmax", tn_f_div(graph, e, sum));
    TN_ASSERT_CMPUINT(n_instructions(graph, cpu, NULL), ==, 3);
}

static void
variables_are_updated_in_groups(void)
{
    g_autoptr(TnStore) store = tn_store_new(1);
    g_autoptr(TnGraph) graph = tn_graph_new("update");
    g_autoptr(GError) error = NULL;
    const gint64 n[] = { 1000 };
    const TnVarInfo info = { .name = "v",
                             .type = tn_type(TN_DTYPE_F32, 1, n),
                             .init = { .kind = TN_INIT_CONSTANT, .a = 5 } };
    const TnVarInfo slot = { .name = "m", .type = info.type };
    TnVar *v = tn_store_var(store, NULL, &info, NULL), *m = tn_store_var(store, NULL, &slot, NULL);
    const TnVal old = tn_graph_variable(graph, v), momentum = tn_graph_variable(graph, m);
    const TnVal half = tn_f_const(graph, old, 0.5);
    const TnVal next =
        tn_f_add(graph, tn_f_mul(graph, momentum, half), tn_f_tanh(graph, vector(graph, "g")));
    tn_graph_assign(graph, m, next);
    tn_graph_assign(graph, v, tn_f_sub(graph, old, tn_f_mul(graph, next, half)));
    g_autoptr(TnProgram) program = compile(graph, cpu, NULL);
    TN_ASSERT_CMPUINT(tn_program_n_instructions(program), ==, 1);
    TN_ASSERT_CMPUINT(tn_program_arena_bytes(program), <=, 4096 * 4); /* scratch at most */
    g_autoptr(TnExec) exec = tn_exec_new(program, store, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnTensor) zero = tn_tensor_zeros(NULL, info.type, NULL);
    TN_ASSERT(tn_exec_bind(exec, 0, zero) == TN_OK && tn_exec_run(exec) == TN_OK);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_var_tensor(v), 999), ==, 5);
}

static const TnTest tests[] = {
    { "fusing keeps results", fusing_keeps_results },
    { "chains become one", chains_become_one },
    { "values read elsewhere are outputs", values_read_elsewhere_are_outputs },
    { "no group needs itself", no_group_needs_itself },
    { "variables are updated in groups", variables_are_updated_in_groups },
};
TN_TEST_MAIN_WITH("fuse", tests, set_up, tear_down)
