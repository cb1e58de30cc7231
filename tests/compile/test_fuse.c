/* test_fuse.c: element-wise groups as one node: fewer instructions, exactly the same results, no
 * group that needs itself. The device's own fused kernel is wanted; without one nothing is
 * grouped. */
// tn-test: timeout=120
#include <math.h>

#include <tenon/base.h>
#include <tenon/nn.h>
#include <tenon/ops.h>

#include "conformance.h"
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

/* NaN, infinities, zeros of both signs and the ends of the range instead of an input's floats. */
static TnTensor *
special(TnTensor *input, guint64 seed)
{
    static const double values[] = { 0,    -0.0,  1,     -1,    INFINITY, -INFINITY, NAN,
                                     3e38, -3e38, 88.5,  -88.5, 1e-38,    -1e-38,    0.5,
                                     -0.5, 1e-8,  -1e-8, 1e4,   -1e4,     2,         -3 };
    const TnType *type = tn_tensor_type(input);
    if (!tn_dtype_in(type->dtype, TN_DTYPES_FLOAT)) {
        return tn_tensor_ref(input);
    }
    const gint64 n = tn_tensor_count(input);
    g_autofree double *x = g_new(double, (gsize)n + 1);
    for (gint64 i = 0; i < n; i++) {
        x[i] = values[((guint64)i * (2 * seed + 1) + seed) % G_N_ELEMENTS(values)];
    }
    return tn_test_tensor(*type, x);
}

static gboolean
same_bits(double a, double b)
{
    return isnan(a) ? isnan(b) : a == b && signbit(a) == signbit(b);
}

/* One run: outputs as doubles, of all of them one after the other. (transfer full). */
static GArray *
run_special(const TnRandomGraph *random, TnTensor *const *inputs, const char *const *skip)
{
    GArray *values = g_array_new(FALSE, FALSE, sizeof(double));
    g_autoptr(GError) error = NULL;
    for (guint i = 0; i < tn_store_n(random->store); i++) {
        TN_REQUIRE(tn_var_reset(tn_store_at(random->store, i), NULL));
    }
    g_autoptr(TnProgram) program = compile(random->graph, cpu, skip);
    g_autoptr(TnExec) exec = tn_exec_new(program, random->store, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    for (guint i = 0; i < random->n_inputs; i++) {
        TN_REQUIRE(tn_exec_bind(exec, i, inputs[i]) == TN_OK);
    }
    TN_REQUIRE(tn_exec_run(exec) == TN_OK);
    for (guint k = 0; k < tn_graph_n_outputs(random->graph); k++) {
        TnTensor *output = tn_exec_output(exec, k);
        g_autofree double *x = tn_test_doubles(output);
        g_array_append_vals(values, x, (guint)tn_tensor_count(output));
    }
    return values;
}

/* What is no number, or beside the numbers, comes out of groups as of single nodes, to the sign of a
 * zero. */
static void
fusing_keeps_specials(void)
{
    static const char *const ops[] = { "add",     "sub",      "mul",  "div",       "exp",
                                       "log",     "tanh",     "neg",  "cast",      "where",
                                       "less",    "max",      "min",  "abs",       "sqrt",
                                       "equal",   "sign",     "erf",  "pow",       "floor",
                                       "sigmoid", "softplus", "relu", "expand_as", NULL };
    for (guint64 seed = 0; seed < n_seeds(80); seed++) {
        g_auto(TnRandomGraph) random = { 0 };
        TnTensor *inputs[8];
        tn_random_graph(&random, 1000 + seed, 40, ops);
        for (guint i = 0; i < random.n_inputs; i++) {
            inputs[i] = special(random.inputs[i], seed + i);
        }
        GArray *want = run_special(&random, inputs, no_fuse);
        GArray *got = run_special(&random, inputs, NULL);
        gboolean same = want->len == got->len;
        for (guint i = 0; i < want->len && same; i++) {
            const double a = g_array_index(want, double, i), b = g_array_index(got, double, i);
            same = same_bits(a, b);
            if (!same) {
                g_autofree char *graph = tn_graph_print(random.graph);
                TN_FAIL("seed %d: element %u is %a fused, %a alone\n%s", (int)seed, i, b, a, graph);
            }
        }
        for (guint i = 0; i < random.n_inputs; i++) {
            tn_tensor_unref(inputs[i]);
        }
        g_array_unref(want);
        g_array_unref(got);
    }
}

/* (transfer full). */
static TnTensor *
run_one(TnGraph *graph, TnTensor *input, const char *const *skip)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnStore) store = tn_store_new(0);
    g_autoptr(TnProgram) program = compile(graph, cpu, skip);
    g_autoptr(TnExec) exec = tn_exec_new(program, store, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_REQUIRE(tn_exec_bind(exec, 0, input) == TN_OK && tn_exec_run(exec) == TN_OK);
    return tn_tensor_ref(tn_exec_output(exec, 0));
}

/* The device has kernels of their own for gelu and its gradient: a group gives what they do, of narrow
 * numbers too. */
static void
gelu_is_as_alone(void)
{
    static const TnDtype dtypes[] = { TN_DTYPE_F32, TN_DTYPE_BF16 };
    const gint64 n[] = { 1000 };
    double values[1000];
    for (gint i = 0; i < 1000; i++) {
        values[i] = i % 50 == 0 ? (i % 100 == 0 ? -INFINITY : NAN) : (i - 500) / 61.0;
    }
    for (gint i = 0; i < 4; i++) {
        const TnType type = tn_type(dtypes[i / 2], 1, n);
        const TnGeluAttrs attrs = { .approximate = i % 2 ? TN_GELU_TANH : TN_GELU_NONE };
        g_autoptr(TnGraph) graph = tn_graph_new("gelu");
        const TnVal x = tn_graph_input(graph, "x", type);
        const TnVal y = tn_graph_op(graph, "gelu", &attrs, 1, &x, NULL);
        const TnVal in[] = { tn_f_neg(graph, x), y };
        tn_graph_output(graph, "y", tn_graph_op(graph, "gelu_grad", &attrs, 2, in, NULL));
        TN_ASSERT_CMPUINT(n_instructions(graph, cpu, NULL), ==, 1);
        TN_ASSERT_CMPUINT(n_instructions(graph, cpu, no_fuse), ==, 3);
        g_autoptr(TnTensor) input = tn_test_tensor(type, values);
        g_autoptr(TnTensor) want = run_one(graph, input, no_fuse);
        g_autoptr(TnTensor) got = run_one(graph, input, NULL);
        TN_ASSERT(tn_test_same(got, want));
    }
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

/* What no group takes. */
static TnVal
running_sum(TnGraph *graph, TnVal x)
{
    const TnCumsumAttrs attrs = { 0 };
    return tn_graph_op(graph, "cumsum", &attrs, 1, &x, NULL);
}

/* What is read elsewhere is an output of the group as well. */
static void
values_read_elsewhere_are_outputs(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("outputs");
    const TnVal x = vector(graph, "x");
    const TnVal e = tn_f_exp(graph, x), t = tn_f_tanh(graph, e);
    tn_graph_output(graph, "t", t);
    tn_graph_output(graph, "sum", running_sum(graph, e));
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
    tn_graph_output(graph, "share", tn_f_div(graph, e, running_sum(graph, e)));
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
    { "fusing keeps specials", fusing_keeps_specials },
    { "gelu is as alone", gelu_is_as_alone },
    { "chains become one", chains_become_one },
    { "values read elsewhere are outputs", values_read_elsewhere_are_outputs },
    { "no group needs itself", no_group_needs_itself },
    { "variables are updated in groups", variables_are_updated_in_groups },
};
TN_TEST_MAIN_WITH("fuse", tests, set_up, tear_down)
