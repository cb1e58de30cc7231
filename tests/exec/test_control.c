/* test_control.c: control flow in programs: what is built, refused, left out, printed; the same bits
 * for any thread count; failures and cancelling within it. Values and derivatives are compared by
 * tests/lua/control.lua and by the conformance suite. */
// tn-test: timeout=120 label=threads
#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/pool.h>

#include "conformance.h"
#include "tn_graphs.h"
#include "tn_test.h"

static TnContext *on_ref, *on_cpu;

static void
set_up(void)
{
    on_ref = tn_test_context("ref", NULL);
    on_cpu = tn_test_context("cpu", "ref", NULL);
}

static void
tear_down(void)
{
    tn_context_unref(on_ref);
    tn_context_unref(on_cpu);
}

static TnType
of(TnDtype dtype, gint rank, gint64 a, gint64 b)
{
    return tn_type(dtype, rank, (const gint64[]){ a, b });
}

static TnTensor *
filled(TnType type, double scale)
{
    const gint64 n = tn_type_count(&type);
    g_autofree double *values = g_new(double, (gsize)n + 1);
    for (gint64 i = 0; i < n; i++) {
        values[i] = scale * (double)((i * 7919) % 101 - 50) / 50;
    }
    return tn_test_tensor(type, values);
}

/* h = tanh (h w + x) over x [steps, n], w captured; outputs: the last h, all h, and the gradient of
 * their sum in w. */
static TnGraph *
recurrent(gint64 n)
{
    TnGraph *graph = tn_graph_new("recurrent");
    g_autoptr(GError) error = NULL;
    const TnVal x = tn_graph_input(graph, "x", of(TN_DTYPE_F32, 2, 6, n));
    const TnVal w = tn_graph_input(graph, "w", of(TN_DTYPE_F32, 2, n, n));
    const TnVal h0 = tn_graph_input(graph, "h", of(TN_DTYPE_F32, 1, n, 0));
    g_autoptr(TnGraph) body = tn_graph_nested(graph, "body");
    const TnVal h = tn_graph_input(body, "h", of(TN_DTYPE_F32, 1, n, 0));
    const TnVal slice = tn_graph_input(body, "x", of(TN_DTYPE_F32, 1, n, 0));
    const TnVal inner = tn_graph_capture(body, graph, w);
    TN_ASSERT(tn_val_equal(inner, tn_graph_capture(body, graph, w)));
    const TnVal next = tn_f_tanh(body, tn_f_add(body, tn_f_matmul(body, h, inner), slice));
    tn_graph_output(body, "h", next);
    tn_graph_output(body, "y", next);
    TnVal out[TN_MAX_OUT], grad;
    tn_graph_scan(graph, body, 1, &h0, 1, &x, FALSE, out);
    const TnVal sum = tn_f_reduce_sum(graph, out[1], 0, NULL, FALSE);
    TN_REQUIRE(tn_grad(graph, sum, TN_VAL_NONE, 1, &w, &grad, &error));
    tn_graph_output(graph, "h", out[0]);
    tn_graph_output(graph, "ys", out[1]);
    tn_graph_output(graph, "grad", grad);
    TN_REQUIRE(tn_graph_check(graph, NULL));
    return graph;
}

static void
call(TnGraph *graph, TnContext *context, guint n, TnTensor **in, TnTensor **out)
{
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    g_autoptr(GError) error = NULL;
    tn_function_call(function, n, in, out, &error);
    TN_REQUIRE_NO_ERROR(error);
}

static void
same_bits(void)
{
    enum { N = 160 }; /* large enough for products in several chunks */
    g_autoptr(TnGraph) graph = recurrent(N);
    TnTensor *in[] = { filled(of(TN_DTYPE_F32, 2, 6, N), 1), filled(of(TN_DTYPE_F32, 2, N, N), 0.1),
                       filled(of(TN_DTYPE_F32, 1, N, 0), 0.5) };
    TnTensor *want[3] = { NULL };
    const guint before = tn_pool_threads();
    for (guint threads = 1; threads <= 4; threads++) {
        TnTensor *got[3];
        tn_pool_set_threads(threads);
        call(graph, on_cpu, 3, in, got);
        for (guint i = 0; i < 3; i++) {
            TN_ASSERT(threads == 1 || tn_test_same(got[i], want[i]));
            if (threads == 1) {
                want[i] = tn_tensor_ref(got[i]);
            }
            tn_tensor_unref(got[i]);
        }
    }
    tn_pool_set_threads(before);
    for (guint i = 0; i < 3; i++) {
        tn_tensor_unref(in[i]);
        tn_tensor_unref(want[i]);
    }
}

static TnProgram *
compile(TnGraph *graph, TnDevice *device)
{
    g_autoptr(GError) error = NULL;
    const TnCompile options = { .devices = &device, .n_devices = 1 };
    TnProgram *program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    return program;
}

/* The arena has room for what runs within; states are saved for a gradient alone. */
static void
one_arena(void)
{
    enum { STEPS = 1000, N = 64 };
    guint64 bytes[2];
    for (guint with_grad = 0; with_grad < 2; with_grad++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(TnGraph) graph = tn_graph_new("sum");
        const TnVal x = tn_graph_input(graph, "x", of(TN_DTYPE_F64, 2, STEPS, N));
        const TnVal s0 = tn_graph_input(graph, "s", of(TN_DTYPE_F64, 1, N, 0));
        g_autoptr(TnGraph) body = tn_graph_nested(graph, "body");
        const TnVal s = tn_graph_input(body, "s", of(TN_DTYPE_F64, 1, N, 0));
        const TnVal slice = tn_graph_input(body, "x", of(TN_DTYPE_F64, 1, N, 0));
        TnVal out[TN_MAX_OUT], grad;
        tn_graph_output(body, "s", tn_f_mul(body, tn_f_cos(body, s), slice));
        tn_graph_output(body, "unread", tn_f_exp(body, slice));
        tn_graph_scan(graph, body, 1, &s0, 1, &x, FALSE, out);
        tn_graph_output(graph, "s", out[0]);
        if (with_grad) {
            TN_REQUIRE(tn_grad(graph, tn_f_reduce_sum(graph, out[0], 0, NULL, FALSE), TN_VAL_NONE,
                               1, &s0, &grad, &error));
            tn_graph_output(graph, "grad", grad);
        }
        g_autoptr(TnProgram) program = compile(graph, tn_context_device(on_ref, 0));
        g_autofree char *text = tn_program_print(program);
        TN_ASSERT_CONTAINS(text, "program 'body'");
        TN_ASSERT(strstr(text, " exp ") == NULL);
        bytes[with_grad] = tn_program_arena_bytes(program);
    }
    TN_ASSERT_CMPUINT(bytes[0], <, 16 * N * sizeof(double));
    TN_ASSERT_CMPUINT(bytes[1], >=, STEPS * N * sizeof(double));
    TN_ASSERT_CMPUINT(bytes[1], <, 2 * STEPS * N * sizeof(double));
}

/* An index leaves its range in the third step. */
static void
inner_failures_are_named(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("outer");
    g_autoptr(GError) error = NULL;
    const TnVal table = tn_graph_input(graph, "table", of(TN_DTYPE_F32, 1, 3, 0));
    const TnVal at = tn_graph_input(graph, "at", of(TN_DTYPE_I64, 1, 4, 0));
    const TnVal zero = tn_graph_scalar(graph, TN_DTYPE_F32, 0);
    g_autoptr(TnGraph) body = tn_graph_nested(graph, "look");
    const TnVal sum = tn_graph_input(body, "sum", of(TN_DTYPE_F32, 0, 0, 0));
    const TnVal i = tn_graph_input(body, "i", of(TN_DTYPE_I64, 0, 0, 0));
    const TnVal in[] = { tn_graph_capture(body, graph, table), i };
    TnVal out[TN_MAX_OUT];
    tn_graph_output(body, "sum",
                    tn_f_add(body, sum, tn_graph_op(body, "gather", NULL, 2, in, NULL)));
    tn_graph_scan(graph, body, 1, &zero, 1, &at, FALSE, out);
    tn_graph_output(graph, "sum", out[0]);
    g_autoptr(TnFunction) function = tn_function_new(graph, on_ref);
    TnTensor *given[] = { filled(of(TN_DTYPE_F32, 1, 3, 0), 1),
                          tn_tensor_from(of(TN_DTYPE_I64, 1, 4, 0), (const gint64[]){ 0, -1, 7, 1 },
                                         NULL) };
    TnTensor *result;
    TN_ASSERT(!tn_function_call(function, 2, given, &result, &error));
    TN_ASSERT_CONTAINS(error->message, "scan");
    TN_ASSERT_CONTAINS(error->message, "look.gather");
    TN_ASSERT_CONTAINS(error->message, "7");
    tn_tensor_unref(given[0]);
    tn_tensor_unref(given[1]);
}

/* A loop that would never end. */
static void
can_be_cancelled(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("forever");
    g_autoptr(GError) error = NULL;
    g_autoptr(TnContext) context = tn_test_context("ref", NULL);
    const TnVal x = tn_graph_input(graph, "x", of(TN_DTYPE_F32, 0, 0, 0));
    const TnVal yes = tn_graph_scalar(graph, TN_DTYPE_BOOL, 1);
    g_autoptr(TnGraph) body = tn_graph_nested(graph, "body");
    const TnVal s = tn_graph_input(body, "s", of(TN_DTYPE_F32, 0, 0, 0));
    TnVal out[TN_MAX_OUT];
    tn_graph_output(body, "go", tn_graph_scalar(body, TN_DTYPE_BOOL, 1));
    tn_graph_output(body, "s", tn_f_neg(body, s));
    tn_graph_while(graph, yes, body, 1, &x, 0, out);
    tn_graph_output(graph, "s", out[0]);
    g_autoptr(TnFunction) function = tn_function_new(graph, context);
    TnTensor *given = tn_tensor_scalar(TN_DTYPE_F32, 1);
    TnExec *exec = tn_function_exec(function, 1, &given, &error);
    TN_REQUIRE(exec != NULL);
    tn_context_cancel(context);
    TN_ASSERT_CMPINT(tn_exec_run(exec), ==, TN_CANCELLED);
    tn_tensor_unref(given);
}

/* --- What is refused -------------------------------------------------------------------------- */

static void
refused(TnGraph *graph, const char *words)
{
    g_autoptr(GError) error = NULL;
    TN_ASSERT(!tn_graph_check(graph, &error));
    TN_ASSERT_CONTAINS(error != NULL ? error->message : "", words);
}

static void
states_keep_their_types(void)
{
    static const struct {
        gboolean loop;
        const char *words;
    } rows[] = {
        { FALSE, "state 0 's' is f32[2] before a step and f64[2] after it" },
        { TRUE, "state 0 's' is f32[2] before a step and f64[2] after it" },
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(TnGraph) graph = tn_graph_new("outer");
        const TnVal x = tn_graph_input(graph, "x", of(TN_DTYPE_F32, 2, 3, 2));
        const TnVal s0 = tn_graph_input(graph, "s", of(TN_DTYPE_F32, 1, 2, 0));
        const TnVal go = tn_graph_input(graph, "go", of(TN_DTYPE_BOOL, 0, 0, 0));
        g_autoptr(TnGraph) body = tn_graph_nested(graph, "body");
        const TnVal s = tn_graph_input(body, "s", of(TN_DTYPE_F32, 1, 2, 0));
        TnVal out[TN_MAX_OUT];
        if (rows[i].loop) {
            tn_graph_output(body, "go", tn_graph_capture(body, graph, go));
        } else {
            tn_graph_input(body, "x", of(TN_DTYPE_F32, 1, 2, 0));
        }
        tn_graph_output(body, "s", tn_f_cast(body, s, TN_DTYPE_F64));
        if (rows[i].loop) {
            tn_graph_while(graph, go, body, 1, &s0, 0, out);
        } else {
            tn_graph_scan(graph, body, 1, &s0, 1, &x, FALSE, out);
        }
        refused(graph, rows[i].words);
        TN_ASSERT(tn_val_is_none(out[0]));
    }
}

static void
branches_agree(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("outer");
    const TnVal x = tn_graph_input(graph, "x", of(TN_DTYPE_F32, 1, 2, 0));
    const TnVal go = tn_graph_input(graph, "go", of(TN_DTYPE_BOOL, 0, 0, 0));
    g_autoptr(TnGraph) yes = tn_graph_nested(graph, "then");
    g_autoptr(TnGraph) no = tn_graph_nested(graph, "else");
    TnVal out[TN_MAX_OUT];
    tn_graph_output(yes, "y", tn_graph_capture(yes, graph, x));
    tn_graph_output(no, "y", tn_graph_capture(no, graph, go));
    tn_graph_if(graph, go, yes, no, out);
    refused(graph, "output 0 is f32[2] of one branch and bool[] of the other");
}

static void
values_stay_in_their_graphs(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("outer"), other = tn_graph_new("other");
    g_autoptr(TnStore) store = tn_store_new(0);
    const TnVarInfo info = { .name = "v", .type = of(TN_DTYPE_F32, 1, 2, 0) };
    TnVar *var = tn_store_var(store, NULL, &info, NULL);
    const TnVal x = tn_graph_input(other, "x", of(TN_DTYPE_F32, 1, 2, 0));
    g_autoptr(TnGraph) body = tn_graph_nested(graph, "body");
    g_autoptr(TnGraph) second = tn_graph_nested(graph, "body");
    TN_ASSERT(tn_graph_is_within(body, graph) && !tn_graph_is_within(graph, body) &&
              !tn_graph_is_within(body, other));
    TN_ASSERT(strcmp(tn_graph_name(body), tn_graph_name(second)) != 0);
    tn_graph_capture(body, other, x);
    refused(body, "'other'");
    tn_graph_assign(second, var, tn_graph_variable(second, var));
    refused(second, "'v' cannot be assigned within control flow");
}

static const TnTest tests[] = {
    { "same bits", same_bits },
    { "one arena", one_arena },
    { "inner failures are named", inner_failures_are_named },
    { "can be cancelled", can_be_cancelled },
    { "states keep their types", states_keep_their_types },
    { "branches agree", branches_agree },
    { "values stay in their graphs", values_stay_in_their_graphs },
};
TN_TEST_MAIN_WITH("exec: control flow", tests, set_up, tear_down)
