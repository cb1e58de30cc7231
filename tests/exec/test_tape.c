/* test_tape.c: operators run one at a time, with gradients that are values again. */
#include <math.h>
#include <string.h>
#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/tape.h>

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

static TnVal
run(TnTape *tape, const char *op, const void *attrs, TnVal a, TnVal b)
{
    g_autoptr(GError) error = NULL;
    const TnVal in[] = { a, b };
    const TnVal out =
        tn_tape_op(tape, tn_op_find(op, NULL), attrs, tn_val_is_none(b) ? 1 : 2, in, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    return out;
}

static double
first(TnTape *tape, TnVal val)
{
    return tn_tensor_get(tn_tape_tensor(tape, val), 0);
}

static void
computes_at_once(void)
{
    g_autoptr(TnTape) tape = tn_tape_new(context);
    g_autoptr(TnTensor) two = tn_tensor_scalar(TN_DTYPE_F64, 2),
                        three = tn_tensor_scalar(TN_DTYPE_F64, 3);
    const TnVal x = tn_tape_input(tape, two), y = tn_tape_input(tape, three);
    const TnVal product = run(tape, "mul", NULL, x, y);
    TN_ASSERT_CMPFLOAT(first(tape, product), ==, 6);
    TN_ASSERT_CMPFLOAT(first(tape, run(tape, "add", NULL, product, product)), ==, 12);
    TN_ASSERT_CMPFLOAT(first(tape, run(tape, "mul", NULL, y, y)), ==, 9); /* the same program */
    TN_ASSERT_CMPFLOAT(first(tape, product), ==, 6);
    TN_ASSERT(tn_tape_tensor(tape, x) == two);
}

static void
gradients_are_values(void)
{
    g_autoptr(TnTape) tape = tn_tape_new(context);
    g_autoptr(TnTensor) tensor = tn_tensor_scalar(TN_DTYPE_F64, 0.5);
    g_autoptr(GError) error = NULL;
    const TnVal x = tn_tape_input(tape, tensor);
    const TnVal y =
        run(tape, "exp", NULL, run(tape, "mul", NULL, x, x), TN_VAL_NONE); /* exp (x²) */
    TnVal g, gg;
    TN_ASSERT(tn_tape_grad(tape, y, 1, &x, &g, &error));
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(fabs(first(tape, g) - exp(0.25)) < 1e-12); /* 2 x exp (x²) */
    TN_ASSERT(tn_tape_grad(tape, g, 1, &x, &gg, &error));
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(fabs(first(tape, gg) - 3 * exp(0.25)) < 1e-12); /* (2 + 4 x²) exp (x²) */
}

static void
variables_are_read_and_written(void)
{
    g_autoptr(TnTape) tape = tn_tape_new(context);
    g_autoptr(TnStore) store = tn_store_new(1);
    g_autoptr(GError) error = NULL;
    const TnVarInfo info = { .name = "w",
                             .type = tn_type(TN_DTYPE_F64, 0, NULL),
                             .init = { .kind = TN_INIT_CONSTANT, .a = 3 } };
    TnVar *var = tn_store_var(store, NULL, &info, NULL);
    const TnVal w = tn_tape_variable(tape, var, &error);
    const TnVal loss = run(tape, "mul", NULL, w, w);
    TnVal g;
    TN_ASSERT(tn_tape_grad(tape, loss, 1, &w, &g, &error));
    TN_ASSERT(tn_tape_assign(tape, var, run(tape, "sub", NULL, w, g), &error));
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_var_tensor(var), 0), ==, -3);
    TN_ASSERT_CMPFLOAT(first(tape, w), ==, 3); /* what it was */
    TN_ASSERT_CMPFLOAT(first(tape, tn_tape_variable(tape, var, NULL)), ==, -3);
    g_autoptr(TnTensor) wrong = tn_tensor_scalar(TN_DTYPE_F32, 1);
    TN_ASSERT(!tn_tape_assign(tape, var, tn_tape_input(tape, wrong), &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "'w'", "f32[]", "f64[]");
}

static void
several_outputs(void)
{
    g_autoptr(TnTape) tape = tn_tape_new(context);
    g_autoptr(GError) error = NULL;
    const gint64 four[] = { 4 };
    const float data[] = { 3, 1, 2, 0 };
    g_autoptr(TnTensor) tensor = tn_tensor_from(tn_type(TN_DTYPE_F32, 1, four), data, NULL);
    const TnVal x = tn_tape_input(tape, tensor);
    TnVal out[TN_MAX_OUT];
    tn_tape_op(tape, tn_op_find("sort", NULL), NULL, 1, &x, out, &error);
    TN_REQUIRE_NO_ERROR(error);
    for (gint64 i = 0; i < 4; i++) {
        TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_tape_tensor(tape, out[0]), i), ==, (double)i);
        TN_ASSERT_CMPFLOAT(data[(gint64)tn_tensor_get(tn_tape_tensor(tape, out[1]), i)], ==,
                           (double)i);
    }
}

/* A wrong call is an error of that call alone. */
static void
errors_pass(void)
{
    g_autoptr(TnTape) tape = tn_tape_new(context);
    g_autoptr(GError) error = NULL;
    const gint64 two[] = { 2 }, three[] = { 3 };
    g_autoptr(TnTensor) a = tn_tensor_zeros(NULL, tn_type(TN_DTYPE_F32, 1, two), NULL);
    g_autoptr(TnTensor) b = tn_tensor_zeros(NULL, tn_type(TN_DTYPE_F32, 1, three), NULL);
    const TnVal in[] = { tn_tape_input(tape, a), tn_tape_input(tape, b) };
    TN_ASSERT(tn_val_is_none(tn_tape_op(tape, tn_op_find("add", NULL), NULL, 2, in, NULL, &error)));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "[2]", "[3]");
    TN_ASSERT_CMPFLOAT(first(tape, run(tape, "exp", NULL, in[0], TN_VAL_NONE)), ==, 1);
    const gint64 far_away[] = { 9 };
    const gint64 one[] = { 1 };
    g_autoptr(TnTensor) i = tn_tensor_from(tn_type(TN_DTYPE_I64, 1, one), far_away, NULL);
    const TnVal gather[] = { in[0], tn_tape_input(tape, i) };
    TN_ASSERT(tn_val_is_none(
        tn_tape_op(tape, tn_op_find("gather", NULL), NULL, 2, gather, NULL, &error)));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_FAILED, "gather", "9");
    TN_ASSERT_CMPFLOAT(first(tape, run(tape, "exp", NULL, in[1], TN_VAL_NONE)), ==, 1);
}

static void
clearing_starts_again(void)
{
    g_autoptr(TnTape) tape = tn_tape_new(context);
    g_autoptr(TnTensor) two = tn_tensor_scalar(TN_DTYPE_F64, 2);
    for (guint step = 0; step < 5; step++) {
        const TnVal x = tn_tape_input(tape, two);
        TN_ASSERT_CMPFLOAT(first(tape, run(tape, "mul", NULL, x, x)), ==, 4);
        TN_ASSERT_CMPUINT(tn_graph_n_nodes(tn_tape_graph(tape)), ==, 2);
        tn_tape_clear(tape);
    }
}

/* Who gave a tensor may write it again once the tape has let it go. */
static void
clearing_lets_go(void)
{
    g_autoptr(TnTape) tape = tn_tape_new(context);
    g_autoptr(TnTensor) two = tn_tensor_scalar(TN_DTYPE_F64, 2);
    const TnVal x = tn_tape_input(tape, two);
    run(tape, "mul", NULL, x, x);
    TN_ASSERT(!tn_tensor_is_writable(two));
    tn_tape_clear(tape);
    TN_ASSERT(tn_tensor_is_writable(two));
}

/* bits: of cos (x²), its derivative and its second one; forget: what is of no use is dropped before each. */
static void
derive(gboolean forget, guint64 *bits)
{
    g_autoptr(TnTape) tape = tn_tape_new(context);
    g_autoptr(TnTensor) tensor = tn_tensor_scalar(TN_DTYPE_F64, 0.7);
    g_autoptr(GError) error = NULL;
    TnVal val[4] = { tn_tape_input(tape, tensor), TN_VAL_NONE, TN_VAL_NONE, TN_VAL_NONE };
    run(tape, "exp", NULL, val[0], TN_VAL_NONE); /* of no use, as is what follows */
    run(tape, "sqrt", NULL, run(tape, "mul", NULL, val[0], val[0]), TN_VAL_NONE);
    val[1] = run(tape, "cos", NULL, run(tape, "mul", NULL, val[0], val[0]), TN_VAL_NONE);
    for (guint i = 1; i < 4; i++) {
        g_autofree guint32 *now = forget ? tn_tape_keep(tape, 4, val) : NULL;
        for (guint k = 0; forget && k < i + 1; k++) {
            val[k].node = now[val[k].node];
            TN_REQUIRE(val[k].node != G_MAXUINT32);
        }
        const double value = first(tape, val[i]);
        memcpy(&bits[i - 1], &value, sizeof value);
        if (i < 3) {
            TN_ASSERT(tn_tape_grad(tape, val[i], 1, &val[0], &val[i + 1], &error));
            TN_REQUIRE_NO_ERROR(error);
            run(tape, "exp", NULL, val[i + 1], TN_VAL_NONE);
        }
    }
}

static void
keeping_leaves_gradients(void)
{
    guint64 kept[3], all[3];
    double slope;
    derive(TRUE, kept);
    derive(FALSE, all);
    memcpy(&slope, &all[1], sizeof slope);
    TN_ASSERT(fabs(slope + 2 * 0.7 * sin(0.49)) < 1e-12);
    for (guint i = 0; i < 3; i++) {
        TN_ASSERT_CMPUINT(kept[i], ==, all[i]);
    }
}

/* What is kept has its tensors and new numbers, all else is let go. */
static void
keeping_lets_go(void)
{
    g_autoptr(TnTape) tape = tn_tape_new(context);
    g_autoptr(TnTensor) two = tn_tensor_scalar(TN_DTYPE_F64, 2),
                        three = tn_tensor_scalar(TN_DTYPE_F64, 3);
    const TnVal gone = tn_tape_input(tape, two), x = tn_tape_input(tape, three);
    const TnVal also_gone = run(tape, "mul", NULL, gone, x);
    const TnVal y[] = { TN_VAL_NONE, run(tape, "mul", NULL, x, x) };
    TN_ASSERT_CMPUINT(tn_tape_bytes(tape), ==, 4 * sizeof(double));
    g_autofree guint32 *now = tn_tape_keep(tape, 2, y);
    TN_ASSERT_CMPUINT(now[gone.node], ==, G_MAXUINT32);
    TN_ASSERT_CMPUINT(now[also_gone.node], ==, G_MAXUINT32);
    TN_ASSERT_CMPUINT(tn_graph_n_nodes(tn_tape_graph(tape)), ==, 2);
    TN_ASSERT_CMPUINT(tn_tape_bytes(tape), ==, 2 * sizeof(double));
    TN_ASSERT_CMPFLOAT(first(tape, (TnVal){ now[y[1].node], 0 }), ==, 9);
    TN_ASSERT(tn_tape_tensor(tape, (TnVal){ now[x.node], 0 }) == three);
    TN_ASSERT(tn_tensor_is_writable(two));
    TN_ASSERT(!tn_tensor_is_writable(three));
    g_autofree guint32 *none = tn_tape_keep(tape, 0, NULL);
    TN_ASSERT_CMPUINT(tn_graph_n_nodes(tn_tape_graph(tape)), ==, 0);
    TN_ASSERT_CMPUINT(tn_tape_bytes(tape), ==, 0);
    TN_ASSERT(tn_tensor_is_writable(three));
    TN_ASSERT_CMPFLOAT(first(tape, run(tape, "neg", NULL, tn_tape_input(tape, two), TN_VAL_NONE)),
                       ==, -2);
}

/* Nodes with attributes, and with outputs behind the first. */
static void
keeping_many_kinds(void)
{
    g_autoptr(TnTape) tape = tn_tape_new(context);
    g_autoptr(GError) error = NULL;
    const gint64 two[] = { 2 };
    const float data[] = { 3, 1 };
    g_autoptr(TnTensor) tensor = tn_tensor_from(tn_type(TN_DTYPE_F32, 1, two), data, NULL);
    g_autoptr(TnTensor) five = tn_tensor_scalar(TN_DTYPE_F32, 5);
    TnVal x = tn_tape_input(tape, tensor), out[TN_MAX_OUT];
    for (guint i = 0; i < 3; i++) { /* the first of each round goes */
        run(tape, "add", NULL, x, tn_graph_constant(tn_tape_graph(tape), five));
        x = run(tape, "add", NULL, x, tn_graph_constant(tn_tape_graph(tape), five));
        tn_tape_op(tape, tn_op_find("sort", NULL), NULL, 1, &x, out, &error);
        TN_REQUIRE_NO_ERROR(error);
        g_autofree guint32 *now = tn_tape_keep(tape, 1, &out[1]);
        x.node = now[x.node];
        out[1].node = now[out[1].node];
        TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_tape_tensor(tape, out[1]), 0), ==, 1);
        TN_ASSERT_CMPFLOAT(first(tape, x), ==, 8 + 5 * i);
        TN_ASSERT_CMPUINT(tn_graph_n_nodes(tn_tape_graph(tape)), ==, 4 + 2 * i);
    }
}

/* The same key again and again: the numbers are others each time, whatever was dropped between. */
static void
keeping_goes_on_drawing(void)
{
    TnTape *tapes[] = { tn_tape_new(context), tn_tape_new(context) };
    const gint64 dims[] = { 2 };
    const guint64 seed[] = { 7, 0 };
    const TnUniformAttrs attrs = { .random = { .shape = { 1, { 8 } } }, .high = 1 };
    g_autoptr(TnTensor) key = tn_tensor_from(tn_type(TN_DTYPE_U64, 1, dims), seed, NULL);
    double numbers[2][4];
    for (guint t = 0; t < 2; t++) {
        for (guint i = 0; i < 4; i++) {
            numbers[t][i] = first(tapes[t], run(tapes[t], "random_uniform", &attrs,
                                                tn_tape_input(tapes[t], key), TN_VAL_NONE));
            g_free(t == 1 ? tn_tape_keep(tapes[t], 0, NULL) : NULL);
        }
        tn_tape_free(tapes[t]);
    }
    TN_ASSERT(numbers[0][0] != numbers[0][1]);
    TN_ASSERT(memcmp(numbers[0], numbers[1], sizeof numbers[0]) == 0);
}

/* The same sub-graph twice: each call draws its own numbers. */
static void
calls_draw_their_own(void)
{
    const gint64 dims[] = { 2 }, many[] = { 8 };
    const guint64 seed[] = { 7, 0 };
    g_autoptr(TnGraph) inner = tn_graph_new("noise");
    const TnVal key = tn_graph_input(inner, "key", tn_type(TN_DTYPE_U64, 1, dims));
    const TnUniformAttrs attrs = { .random = { .shape = { 1, { many[0] } } }, .high = 1 };
    tn_graph_output(inner, "y", tn_graph_op(inner, "random_uniform", &attrs, 1, &key, NULL));
    g_autoptr(TnTape) tape = tn_tape_new(context);
    g_autoptr(TnTensor) tensor = tn_tensor_from(tn_type(TN_DTYPE_U64, 1, dims), seed, NULL);
    const TnVal in = tn_tape_input(tape, tensor);
    const TnCallAttrs call = { .graph = inner };
    TnVal out[2];
    for (guint i = 0; i < 2; i++) {
        g_autoptr(GError) error = NULL;
        out[i] = tn_tape_op(tape, tn_op_find("call", NULL), &call, 1, &in, NULL, &error);
        TN_REQUIRE_NO_ERROR(error);
    }
    TN_ASSERT(!tn_test_same(tn_tape_tensor(tape, out[0]), tn_tape_tensor(tape, out[1])));
}

/* An operator whose output size depends on data: on the tape it works, in a graph it says where
 * it does. */
static gboolean
count_infer(TnInfer *infer, GError **error)
{
    const gint64 n = infer->value[0] != NULL ? (gint64)tn_tensor_get(infer->value[0], 0) : 1;
    (void)error;
    infer->out[0] = tn_type(TN_DTYPE_F64, 1, &n);
    return TRUE;
}

static gboolean
count_body(TnBody *body, GError **error)
{
    (void)error;
    TnVal x = tn_f_unsqueeze(body->graph, body->in[0], 1, (const gint64[]){ 0 });
    const TnVal in[] = { x, x, x };
    body->out[0] = tn_graph_op(body->graph, "concat", NULL, 3, in, NULL); /* right for 3 only */
    return TRUE;
}

static const TnOpArg count_in[] = {
    { .name = "n", .type = 'T', .dtypes = TN_DT(F64), .flags = TN_ARG_STATIC },
};
static const TnOpArg count_out[] = { { .name = "out", .type = 'T', .dtypes = TN_DT(F64) } };
static const TnOp count_op = { .size = sizeof(TnOp),
                               .arg_size = sizeof(TnOpArg),
                               .name = "test_count",
                               .help = "n, n times",
                               .flags = TN_OP_IMPERATIVE,
                               .inputs = count_in,
                               .n_inputs = 1,
                               .outputs = count_out,
                               .n_outputs = 1,
                               .infer = count_infer,
                               .body = count_body };

static void
sizes_may_depend_on_data(void)
{
    g_autoptr(TnTape) tape = tn_tape_new(context);
    g_autoptr(GError) error = NULL;
    g_autoptr(TnTensor) three = tn_tensor_scalar(TN_DTYPE_F64, 3);
    const TnVal n = tn_tape_input(tape, three);
    const TnVal out = tn_tape_op(tape, &count_op, NULL, 1, &n, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPINT(tn_tensor_count(tn_tape_tensor(tape, out)), ==, 3);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tn_tape_tensor(tape, out), 2), ==, 3);

    g_autoptr(TnGraph) graph = tn_graph_new("dynamic");
    const TnVal x = tn_graph_input(graph, "x", tn_type(TN_DTYPE_F64, 0, NULL));
    tn_graph_output(graph, "y", tn_graph_add(graph, &count_op, NULL, 1, &x, NULL));
    TnDevice *device = tn_context_device(context, 0);
    const TnCompile options = { .devices = &device, .n_devices = 1 };
    TN_ASSERT(tn_compile(graph, &options, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_UNSUPPORTED, "test_count", "imperative");
}

static void
runs_far_away(void)
{
    g_autoptr(TnContext) far = tn_test_context("far", NULL);
    g_autoptr(TnTape) tape = tn_tape_new(far);
    g_autoptr(GError) error = NULL;
    g_autoptr(TnTensor) two = tn_tensor_scalar(TN_DTYPE_F64, 2);
    const TnVal x = tn_tape_input(tape, two);
    const TnVal y = run(tape, "mul", NULL, run(tape, "mul", NULL, x, x), x);
    TnVal g;
    TN_ASSERT(tn_tape_grad(tape, y, 1, &x, &g, &error));
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(!tn_device_is_host(tn_tensor_device(tn_tape_tensor(tape, y))));
    TN_ASSERT_CMPFLOAT(first(tape, y), ==, 8);
    TN_ASSERT_CMPFLOAT(first(tape, g), ==, 12);
}

static const TnTest tests[] = {
    { "computes at once", computes_at_once },
    { "gradients are values", gradients_are_values },
    { "variables are read and written", variables_are_read_and_written },
    { "several outputs", several_outputs },
    { "errors pass", errors_pass },
    { "clearing starts again", clearing_starts_again },
    { "clearing lets go", clearing_lets_go },
    { "keeping leaves gradients", keeping_leaves_gradients },
    { "keeping lets go", keeping_lets_go },
    { "keeping many kinds", keeping_many_kinds },
    { "keeping goes on drawing", keeping_goes_on_drawing },
    { "calls draw their own", calls_draw_their_own },
    { "sizes may depend on data", sizes_may_depend_on_data },
    { "runs far away", runs_far_away },
};
TN_TEST_MAIN_WITH("tape", tests, set_up, tear_down)
