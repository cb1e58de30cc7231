/* test_fast_math.c: what `fast_math` allows: fewer instructions, results that are the same for real numbers,
 * and nothing of it unless asked for. */
#include <math.h>
#include <string.h>

#include <tenon/ops.h>
#include <tenon/plugin.h>
#include <tenon/program.h>

#include "tn_graphs.h"
#include "tn_test.h"

static TnDevice *ref;

static void
set_up(void)
{
    ref = tn_test_device("ref");
    TN_REQUIRE(tn_registry_open("nn", NULL));
}

static void
tear_down(void)
{
    tn_device_unref(ref);
}

static TnVal
op1(TnGraph *graph, const char *op, const void *attrs, TnVal x)
{
    return tn_graph_op(graph, op, attrs, 1, &x, NULL);
}

/* The program of y as a function of x, and what it gives. (transfer full): y. */
static TnTensor *
run(TnGraph *graph, gboolean fast, TnTensor *x, char **kernels)
{
    g_autoptr(GError) error = NULL;
    const TnCompile options = { .devices = &ref, .n_devices = 1, .fast_math = fast };
    g_autoptr(TnProgram) program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnExec) exec = tn_exec_new(program, NULL, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPINT(tn_exec_bind(exec, 0, x), ==, TN_OK);
    TN_ASSERT_CMPINT(tn_exec_run(exec), ==, TN_OK);
    *kernels = tn_program_kernels(program);
    return tn_tensor_copy(tn_exec_output(exec, 0), NULL, TN_DTYPE_NONE, &error);
}

static void
compare(TnTensor *got, const float *want, gint64 n)
{
    TN_ASSERT_CMPINT(tn_type_count(tn_tensor_type(got)), ==, n);
    for (gint64 i = 0; i < n; i++) {
        TN_ASSERT_NEAR(tn_tensor_get(got, i), want[i], 1e-5, 1e-6);
    }
}

/* Under fast_math the operator is not run; without it it is; both give `want`, n numbers. */
static void
check(TnGraph *graph, TnVal y, TnTensor *x, const char *op, const float *want, gint64 n)
{
    g_autofree char *word = g_strconcat(op, " ", NULL);
    tn_graph_output(graph, "y", y);
    for (gint fast = 0; fast < 2; fast++) {
        g_autofree char *kernels = NULL;
        g_autoptr(TnTensor) got = run(graph, fast, x, &kernels);
        g_auto(GStrv) lines = g_strsplit(kernels, "\n", -1);
        gboolean runs = FALSE;
        for (guint i = 0; lines[i] != NULL; i++) {
            runs = runs || g_str_has_prefix(lines[i], word);
        }
        TN_ASSERT_CMPINT(runs, ==, !fast);
        compare(got, want, n);
    }
}

static const gint64 two_three[] = { 2, 3 };
static const float six[] = { 1, 2, 3, 0.5F, 4, 2.5F };

static TnVal
six_numbers(TnGraph *graph)
{
    return tn_graph_input(graph, "x", tn_type(TN_DTYPE_F32, 2, two_three));
}

static void
log_and_exp_undo_each_other(void)
{
    static const char *const order[][2] = { { "exp", "log" }, { "log", "exp" } };
    g_autoptr(TnTensor) x = tn_tensor_from(tn_type(TN_DTYPE_F32, 2, two_three), six, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(order); i++) {
        g_autoptr(TnGraph) graph = tn_graph_new("undo");
        const TnVal inner = op1(graph, order[i][0], NULL, six_numbers(graph));
        check(graph, op1(graph, order[i][1], NULL, inner), x, order[i][0], six, 6);
    }
}

/* (a / b) * b and b * (a / b), but not (a / b) * a. */
static void
products_undo_quotients(void)
{
    g_autoptr(TnTensor) x = tn_tensor_from(tn_type(TN_DTYPE_F32, 2, two_three), six, NULL);
    for (gint turned = 0; turned < 3; turned++) {
        g_autoptr(TnGraph) graph = tn_graph_new("undo");
        const TnVal a = six_numbers(graph), b = op1(graph, "exp", NULL, a);
        const TnVal quotient = tn_f_div(graph, a, b), other = turned == 2 ? a : b;
        const TnVal y =
            turned == 1 ? tn_f_mul(graph, other, quotient) : tn_f_mul(graph, quotient, other);
        g_autofree char *kernels = NULL;
        if (turned < 2) {
            check(graph, y, x, "div", six, 6);
            continue;
        }
        tn_graph_output(graph, "y", y);
        g_autoptr(TnTensor) got = run(graph, TRUE, x, &kernels);
        TN_ASSERT_NEAR(tn_tensor_get(got, 2), 9 * exp(-3), 1e-5, 0);
    }
}

/* Quotients of integers are truncated: 7 / 2 * 2 is 6. */
static void
quotients_of_integers_stay(void)
{
    g_autoptr(TnTensor) x = tn_tensor_scalar(TN_DTYPE_I32, 7),
                        two = tn_tensor_scalar(TN_DTYPE_I32, 2);
    g_autoptr(TnGraph) graph = tn_graph_new("integers");
    g_autofree char *kernels = NULL;
    const TnVal a = tn_graph_input(graph, "x", *tn_tensor_type(x)),
                b = tn_graph_constant(graph, two);
    tn_graph_output(graph, "y", tn_f_mul(graph, tn_f_div(graph, a, b), b));
    g_autoptr(TnTensor) got = run(graph, TRUE, x, &kernels);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(got, 0), ==, 6);
}

static void
log_of_softmax(void)
{
    float want[6];
    g_autoptr(TnTensor) x = tn_tensor_from(tn_type(TN_DTYPE_F32, 2, two_three), six, NULL);
    g_autoptr(TnGraph) graph = tn_graph_new("softmax");
    for (gint i = 0; i < 6; i++) {
        const float *row = six + i / 3 * 3;
        want[i] = six[i] - logf(expf(row[0]) + expf(row[1]) + expf(row[2]));
    }
    const TnVal shares = op1(graph, "softmax", NULL, six_numbers(graph));
    /* ref has no kernel of softmax: its body's quotient is what is left out. */
    check(graph, op1(graph, "log", NULL, shares), x, "div", want, 6);
}

/* x [2, 3] repeated to [4, 2, 3]: sums over what is repeated and over what is not. */
static void
sums_of_what_is_repeated(void)
{
    static const struct {
        TnReduceAttrs attrs;
        gint64 n;
        float want[24];
    } rows[] = {
        { { { .n = 1, .v = { 0 } } }, 6, { 4, 8, 12, 2, 16, 10 } },
        { { { .n = 1, .v = { 0 } }, TRUE }, 6, { 4, 8, 12, 2, 16, 10 } },
        { { { .n = 2, .v = { 0, 2 } } }, 2, { 24, 28 } },
        { { { .n = 2, .v = { -1, -3 } }, TRUE }, 2, { 24, 28 } },
        { { { .n = 0 } }, 1, { 52 } },
    };
    const TnExpandAttrs repeat = { .shape = { .rank = 3, .dims = { 4, 2, 3 } } };
    g_autoptr(TnTensor) x = tn_tensor_from(tn_type(TN_DTYPE_F32, 2, two_three), six, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(TnGraph) graph = tn_graph_new("repeated");
        const TnVal many = op1(graph, "expand", &repeat, six_numbers(graph));
        tn_graph_output(graph, "y", op1(graph, "reduce_sum", &rows[i].attrs, many));
        for (gint fast = 0; fast < 2; fast++) {
            g_autofree char *found = NULL;
            g_autoptr(TnTensor) got = run(graph, fast, x, &found);
            compare(got, rows[i].want, rows[i].n);
            TN_ASSERT_CMPINT(strstr(found, "mul ") != NULL, ==, fast);
        }
    }
}

/* [2, 1] repeated to [2, 3], summed over rows: the columns stay three. */
static void
repeated_axes_that_stay(void)
{
    static const gint64 two_one[] = { 2, 1 };
    static const float two[] = { 1.5F, -4 }, want[] = { -10, -10, -10 };
    const TnReduceAttrs over = { .axes = { .n = 2, .v = { 0, 1 } } };
    const TnExpandAttrs repeat = { .shape = { .rank = 3, .dims = { 2, 4, 3 } } };
    const TnReshapeAttrs shape = { .shape = { .rank = 3, .dims = { 2, 1, 1 } } };
    g_autoptr(TnTensor) x = tn_tensor_from(tn_type(TN_DTYPE_F32, 2, two_one), two, NULL);
    g_autoptr(TnGraph) graph = tn_graph_new("stay");
    const TnVal in = tn_graph_input(graph, "x", tn_type(TN_DTYPE_F32, 2, two_one));
    const TnVal many = op1(graph, "expand", &repeat, op1(graph, "reshape", &shape, in));
    tn_graph_output(graph, "y", op1(graph, "reduce_sum", &over, many));
    for (gint fast = 0; fast < 2; fast++) {
        g_autofree char *found = NULL;
        g_autoptr(TnTensor) got = run(graph, fast, x, &found);
        compare(got, want, 3);
    }
}

/* Integers wrap alike, so they need no leave; those too short for the number keep their sum. */
static void
integers(void)
{
    static const struct {
        TnDtype dtype;
        double x, sum;
        gboolean product;
    } rows[] = {
        { TN_DTYPE_I32, 123, 123000, TRUE },
        { TN_DTYPE_I32, 2147483, 2147483000, TRUE },
        { TN_DTYPE_I32, 2147484, 2147484000 - 4294967296.0, TRUE },
        { TN_DTYPE_I8, 123, 120, FALSE }, /* 123000 = 480 * 256 + 120 */
    };
    const TnExpandAttrs repeat = { .shape = { .rank = 1, .dims = { 1000 } } };
    const TnReduceAttrs all = { .keepdims = FALSE };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(TnTensor) x = tn_tensor_scalar(rows[i].dtype, rows[i].x);
        g_autoptr(TnGraph) graph = tn_graph_new("integers");
        g_autofree char *found = NULL;
        const TnVal in = tn_graph_input(graph, "x", *tn_tensor_type(x));
        tn_graph_output(graph, "y",
                        op1(graph, "reduce_sum", &all, op1(graph, "expand", &repeat, in)));
        g_autoptr(TnTensor) got = run(graph, FALSE, x, &found);
        TN_ASSERT_CMPINT(strstr(found, "mul ") != NULL, ==, rows[i].product);
        TN_ASSERT_CMPFLOAT(tn_tensor_get(got, 0), ==, rows[i].sum);
    }
}

/* Whoever does not ask gets no number for the logarithm of what is negative. */
static void
nothing_unless_asked(void)
{
    static const float negative[] = { -1, -2, 90, 100, -0.0F, 0 };
    g_autoptr(TnTensor) x = tn_tensor_from(tn_type(TN_DTYPE_F32, 2, two_three), negative, NULL);
    g_autoptr(TnGraph) graph = tn_graph_new("strict");
    tn_graph_output(graph, "y", tn_f_exp(graph, tn_f_log(graph, six_numbers(graph))));
    g_autofree char *found = NULL;
    g_autoptr(TnTensor) got = run(graph, FALSE, x, &found);
    TN_ASSERT(isnan(tn_tensor_get(got, 0)));
    TN_ASSERT_CONTAINS(found, "exp ");
}

static const TnTest tests[] = {
    { "log and exp undo each other", log_and_exp_undo_each_other },
    { "products undo quotients", products_undo_quotients },
    { "quotients of integers stay", quotients_of_integers_stay },
    { "log of softmax", log_of_softmax },
    { "sums of what is repeated", sums_of_what_is_repeated },
    { "repeated axes that stay", repeated_axes_that_stay },
    { "integers", integers },
    { "nothing unless asked", nothing_unless_asked },
};
TN_TEST_MAIN_WITH("fast math", tests, set_up, tear_down)
