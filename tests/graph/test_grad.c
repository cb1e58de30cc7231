/* The gradient's graph: which nodes are there, where it stops, what its nodes are called. Its
 * numbers are judged by the conformance suite. */
#include <tenon/base.h>
#include <tenon/graph.h>
#include <tenon/ops.h>
#include <tn_test.h>

static TnType
type_of(TnDtype dtype, gint rank, const gint64 *dims)
{
    return tn_type(dtype, rank, dims);
}
#define TYPE(dtype, ...)                                                                           \
    type_of(TN_DTYPE_##dtype, G_N_ELEMENTS(((const gint64[]){ __VA_ARGS__ })),                     \
            (const gint64[]){ __VA_ARGS__ })

static const char *
op_of(const TnGraph *graph, TnVal val)
{
    return tn_graph_node_op(graph, val.node)->name;
}

static const char *
name_of(const TnGraph *graph, TnVal val)
{
    return tn_graph_node_name(graph, val.node);
}

static TnVal
input_of(const TnGraph *graph, TnVal val, gint i)
{
    const TnVal *in;
    TN_REQUIRE(tn_graph_node_inputs(graph, val.node, &in) > i);
    return in[i];
}

static guint
count_op(const TnGraph *graph, const char *op)
{
    guint n = 0;
    for (guint i = 0; i < tn_graph_n_nodes(graph); i++) {
        n += strcmp(tn_graph_node_op(graph, i)->name, op) == 0;
    }
    return n;
}

static TnVal
sum(TnGraph *graph, TnVal x)
{
    return tn_f_reduce_sum(graph, x, 0, NULL, FALSE);
}

/* d sum(x * w) / dw = expand(1) * x, reduced to w. */
static void
product(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    g_autoptr(GError) error = NULL;
    const TnVal x = tn_graph_input(graph, "x", TYPE(F32, 4, 3));
    const TnVal w = tn_graph_input(graph, "w", TYPE(F32, 3));
    tn_graph_push(graph, "model");
    const TnVal y = tn_f_mul(graph, x, w);
    tn_graph_pop(graph);
    const TnVal loss = sum(graph, y);
    TnVal grad;
    TN_REQUIRE(tn_grad(graph, loss, TN_VAL_NONE, 1, &w, &grad, &error));
    TN_ASSERT_CMPSTR(op_of(graph, grad), "reduce_to");
    TN_ASSERT_CMPSTR(name_of(graph, grad), "grad.model.mul.reduce_to");
    TN_ASSERT(tn_val_equal(input_of(graph, grad, 1), w));
    const TnVal inner = input_of(graph, grad, 0);
    TN_ASSERT_CMPSTR(op_of(graph, inner), "mul");
    TN_ASSERT(tn_val_equal(input_of(graph, inner, 1), x));
    const TnVal spread = input_of(graph, inner, 0);
    TN_ASSERT_CMPSTR(op_of(graph, spread), "expand_as");
    TN_ASSERT_CMPSTR(name_of(graph, spread), "grad.reduce_sum.expand_as");
    TN_ASSERT_CMPSTR(op_of(graph, input_of(graph, spread, 0)), "ones_like");
    TN_ASSERT_CMPSTR(tn_graph_scope(graph), "");
    /* Only w was asked for: x's product is not there. */
    TN_ASSERT_CMPUINT(count_op(graph, "mul"), ==, 2);
}

/* A scalar needs no reduce_to where the other input has the output's rank. */
static void
no_needless_reduction(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    const TnVal x = tn_graph_input(graph, "x", TYPE(F32, 4, 3));
    const TnVal y = tn_f_mul(graph, tn_f_tanh(graph, x), tn_f_const(graph, x, 3));
    TnVal grad;
    TN_REQUIRE(tn_grad(graph, y, TN_VAL_NONE, 1, &x, &grad, NULL));
    TN_ASSERT_CMPUINT(count_op(graph, "reduce_to"), ==, 0);
}

static void
sums_of_paths(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    const TnVal x = tn_graph_input(graph, "x", TYPE(F32, 3));
    const TnVal a = tn_f_exp(graph, x);
    const TnVal y = tn_f_add(graph, a, tn_f_sin(graph, x));
    TnVal grad;
    TN_REQUIRE(tn_grad(graph, y, TN_VAL_NONE, 1, &x, &grad, NULL));
    TN_ASSERT_CMPSTR(op_of(graph, grad), "add");
    TN_ASSERT_CMPSTR(name_of(graph, grad), "grad.add.add");
    /* A value that is its own y has the seed for a gradient. */
    const TnVal seed = tn_graph_input(graph, "seed", TYPE(F32, 3));
    TnVal grads[3];
    const TnVal xs[] = { y, a, y };
    TN_REQUIRE(tn_grad(graph, y, seed, 3, xs, grads, NULL));
    TN_ASSERT(tn_val_equal(grads[0], seed) && tn_val_equal(grads[2], seed));
}

/* The gradient of an inner value takes only the paths behind it; that of an outer one passes
 * through it. */
static void
inner_values(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    const TnVal x = tn_graph_input(graph, "x", TYPE(F32, 3));
    const TnVal a = tn_f_exp(graph, x);
    const TnVal y = tn_f_sin(graph, a);
    TnVal grads[2];
    const TnVal xs[] = { x, a };
    TN_REQUIRE(tn_grad(graph, y, TN_VAL_NONE, 2, xs, grads, NULL));
    TN_ASSERT_CMPSTR(name_of(graph, grads[1]), "grad.sin.mul");
    TN_ASSERT_CMPSTR(name_of(graph, grads[0]), "grad.exp.mul");
    TN_ASSERT(tn_val_equal(input_of(graph, grads[0], 0), grads[1]));
}

static void
no_path(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    const TnVal x = tn_graph_input(graph, "x", TYPE(F32, 3));
    const TnVal z = tn_graph_input(graph, "z", TYPE(F64, 2, 2));
    const TnVal n = tn_graph_input(graph, "n", TYPE(I64, 5));
    const TnVal xs[] = { z, x, n };
    TnVal grads[3];
    /* Through an integer, a comparison, a floor, stop_gradient: nothing. */
    TnVal y = tn_f_cast(graph, tn_f_cast(graph, x, TN_DTYPE_I32), TN_DTYPE_F32);
    y = tn_f_add(graph, y, tn_f_cast(graph, tn_f_greater(graph, x, x), TN_DTYPE_F32));
    y = tn_f_add(graph, y, tn_f_floor(graph, x));
    y = tn_f_add(graph, y, tn_graph_op(graph, "stop_gradient", NULL, 1, &x, NULL));
    y = tn_f_add(graph, y, tn_f_ones_like(graph, x));
    y = tn_f_expand_as(graph, tn_graph_scalar(graph, TN_DTYPE_F32, 1), y);
    const guint before = tn_graph_n_nodes(graph);
    TN_REQUIRE(tn_grad(graph, y, TN_VAL_NONE, 3, xs, grads, NULL));
    for (gint i = 0; i < 3; i++) {
        TN_ASSERT_CMPSTR(op_of(graph, grads[i]), "zeros_like");
        TN_ASSERT(tn_type_equal(tn_graph_type(graph, grads[i]), tn_graph_type(graph, xs[i])));
    }
    /* The seed and three zeros: no rule was called. */
    TN_ASSERT_CMPUINT(tn_graph_n_nodes(graph), ==, before + 4);
}

static void
cast_between_floats(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    const TnVal x = tn_graph_input(graph, "x", TYPE(F64, 3));
    TnVal grad;
    TN_REQUIRE(tn_grad(graph, tn_f_cast(graph, x, TN_DTYPE_BF16), TN_VAL_NONE, 1, &x, &grad, NULL));
    TN_ASSERT_CMPINT(tn_graph_type(graph, grad)->dtype, ==, TN_DTYPE_F64);
}

/* The gradient of an embedding stays scatter_add(zeros_like(table), indices, g). */
static void
embedding(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    const TnVal in[] = { tn_graph_input(graph, "table", TYPE(F32, 1000, 8)),
                         tn_graph_input(graph, "ids", TYPE(I64, 4)) };
    const TnVal y = tn_graph_op(graph, "gather", NULL, 2, in, NULL);
    TnVal grad;
    TN_REQUIRE(tn_grad(graph, y, TN_VAL_NONE, 1, in, &grad, NULL));
    TN_ASSERT_CMPSTR(op_of(graph, grad), "scatter_add");
    TN_ASSERT_CMPSTR(op_of(graph, input_of(graph, grad, 0)), "zeros_like");
    TN_ASSERT(tn_val_equal(input_of(graph, grad, 1), in[1]));
}

static void
convolutions(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    const TnVal in[] = { tn_graph_input(graph, "x", TYPE(F32, 2, 3, 8)),
                         tn_graph_input(graph, "w", TYPE(F32, 4, 3, 3)) };
    const TnConvAttrs attrs = { 1, .strides = { 1, { 2 } } };
    const TnVal y = tn_graph_op(graph, "conv", &attrs, 2, in, NULL);
    TnVal grads[2];
    TN_REQUIRE(tn_grad(graph, y, TN_VAL_NONE, 2, in, grads, NULL));
    TN_ASSERT_CMPSTR(op_of(graph, grads[0]), "conv_transpose");
    TN_ASSERT(tn_val_equal(input_of(graph, grads[0], 2), in[0]));
    TN_ASSERT_CMPSTR(op_of(graph, grads[1]), "conv_grad_weight");
    TN_ASSERT(tn_val_equal(input_of(graph, grads[1], 2), in[1]));
}

/* The weights' gradient of a layer over a batch of sequences is one product of two matrices. */
static void
matmul_of_batch(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    const TnVal in[] = { tn_graph_input(graph, "x", TYPE(F32, 2, 5, 3)),
                         tn_graph_input(graph, "w", TYPE(F32, 3, 4)) };
    const TnVal y = tn_f_matmul(graph, in[0], in[1]);
    TnVal grads[2];
    TN_REQUIRE(tn_grad(graph, y, TN_VAL_NONE, 2, in, grads, NULL));
    TN_ASSERT_CMPSTR(op_of(graph, grads[0]), "matmul");
    TN_ASSERT_CMPSTR(op_of(graph, grads[1]), "matmul");
    TN_ASSERT_CMPINT(tn_f_rank(graph, input_of(graph, grads[1], 0)), ==, 2);
    TN_ASSERT_CMPUINT(count_op(graph, "reduce_to"), ==, 0);
}

/* --- Again ------------------------------------------------------------------------------------ */

static void
second_derivative(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    const TnVal x = tn_graph_input(graph, "x", TYPE(F64, 3));
    const TnVal y = tn_f_sin(graph, x);
    TnVal first, second;
    TN_REQUIRE(tn_grad(graph, y, TN_VAL_NONE, 1, &x, &first, NULL));
    TN_REQUIRE(tn_grad(graph, first, TN_VAL_NONE, 1, &x, &second, NULL));
    TN_ASSERT_CMPSTR(op_of(graph, second), "neg");
    TN_ASSERT_CMPSTR(name_of(graph, second), "grad.grad.sin.cos.neg");
    /* The same call twice gives other nodes under other names. */
    TnVal again;
    TN_REQUIRE(tn_grad(graph, y, TN_VAL_NONE, 1, &x, &again, NULL));
    TN_ASSERT(!tn_val_equal(first, again));
    TN_ASSERT_CMPSTR(name_of(graph, again), "grad.sin.mul_2");
}

static void
at_other_sizes(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    g_autoptr(GError) error = NULL;
    const TnVal x = tn_graph_input(graph, "x", TYPE(F32, 4, 3));
    const TnVal b = tn_graph_input(graph, "b", TYPE(F32, 1, 3));
    const gint64 axis[] = { 1 };
    const TnVal y = tn_f_reduce_mean(graph, tn_f_add(graph, x, b), 1, axis, FALSE);
    const TnVal xs[] = { x, b };
    TnVal grads[2];
    TN_REQUIRE(tn_grad(graph, y, TN_VAL_NONE, 2, xs, grads, NULL));
    const TnType other[] = { TYPE(F32, 1, 7), TYPE(F32, 9, 7) };
    TnGraphTypes types;
    TN_REQUIRE(tn_graph_infer(graph, other, NULL, &types, &error));
    for (gint i = 0; i < 2; i++) {
        TN_ASSERT(tn_type_equal(tn_graph_types_at(&types, grads[i]), &other[i]));
    }
    tn_graph_types_clear(&types);
}

/* --- Composites ------------------------------------------------------------------------------- */

static gboolean
product_body(TnBody *body, GError **error)
{
    body->out[0] = tn_f_mul(body->graph, body->in[0], body->in[1]);
    return tn_graph_check(body->graph, error);
}

static gboolean
noise_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const TnVal in[] = { body->in[1], body->in[0] };
    const TnVal noise = tn_graph_op(graph, "random_uniform", NULL, 2, in, NULL);
    const TnVal more = tn_graph_op(graph, "random_uniform", NULL, 2, in, NULL);
    tn_graph_push(graph, "mask");
    const TnVal inner = tn_graph_op(graph, "random_uniform", NULL, 2, in, NULL);
    tn_graph_pop(graph);
    body->out[0] =
        tn_f_mul(graph, body->in[0], tn_f_add(graph, tn_f_add(graph, noise, more), inner));
    return tn_graph_check(graph, error);
}

static gboolean
failing_body(TnBody *body, GError **error)
{
    body->out[0] = tn_f_matmul(body->graph, body->in[0], body->in[0]);
    return tn_graph_check(body->graph, error);
}

static gboolean
wrong_vjp(TnVjp *v, GError **error)
{
    (void)error;
    v->grad_in[0] = tn_f_reduce_sum(v->graph, v->grad_out[0], 0, NULL, FALSE);
    return TRUE;
}

#define FLOATS(name_)                                                                              \
    {                                                                                              \
        .name = (name_), .help = "any", .type = 'T', .dtypes = TN_DTYPES_FLOAT                     \
    }
static const TnOpArg pair[] = { FLOATS("a"), FLOATS("b") };
static const TnOpArg noisy[] = {
    FLOATS("x"), { .name = "key", .help = "[2]", .type = 'K', .dtypes = TN_DT(U64) }
};
static const TnOpArg result[] = { FLOATS("out") };
#define TEST_OP(name_, inputs_, body_, vjp_, flags_)                                               \
    {                                                                                              \
        .size = sizeof(TnOp), .flags = (flags_), .name = (name_), .help = "for this test",         \
        .inputs = (inputs_), .outputs = result, .n_inputs = G_N_ELEMENTS(inputs_), .n_outputs = 1, \
        .arg_size = sizeof(TnOpArg), .infer = tn_infer_same, .vjp = (vjp_), .body = (body_)        \
    }
static const TnOp op_product = TEST_OP("product", pair, product_body, NULL, 0);
static const TnOp op_noise = TEST_OP("noise", noisy, noise_body, NULL, TN_OP_RANDOM);
static const TnOp op_failing = TEST_OP("failing", pair, failing_body, NULL, 0);
static const TnOp op_wrong = TEST_OP("wrong", pair, product_body, wrong_vjp, 0);
static const TnOpArg fixed[] = {
    { .name = "a", .help = "any", .type = 'T', .dtypes = TN_DTYPES_FLOAT, .flags = TN_ARG_NO_GRAD },
    FLOATS("b"),
};
static const TnOp op_fixed = TEST_OP("fixed", fixed, product_body, NULL, 0);
static const TnOp op_bare = TEST_OP("bare", pair, NULL, NULL, 0);

static void
gradient_of_body(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    g_autoptr(GError) error = NULL;
    const TnVal in[] = { tn_graph_input(graph, "a", TYPE(F32, 3)),
                         tn_graph_input(graph, "b", TYPE(F32, 3)) };
    TnVal grads[2];
    tn_graph_push(graph, "model");
    const TnVal y = tn_graph_add(graph, &op_product, NULL, 2, in, NULL);
    tn_graph_pop(graph);
    TN_REQUIRE(tn_grad(graph, y, TN_VAL_NONE, 2, in, grads, &error));
    TN_ASSERT_CMPSTR(op_of(graph, grads[0]), "reduce_to");
    TN_ASSERT_CMPSTR(name_of(graph, input_of(graph, grads[0], 0)), "grad.model.product.mul.mul");
    TN_ASSERT(tn_val_equal(input_of(graph, input_of(graph, grads[0], 0), 1), in[1]));
}

/* x twice: both partial derivatives, once each: the sum has two terms, no more. */
static void
body_with_one_value_twice(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    const TnVal x = tn_graph_input(graph, "x", TYPE(F32, 3));
    const TnVal in[] = { x, x };
    const TnVal y = tn_graph_add(graph, &op_product, NULL, 2, in, NULL);
    TnVal grad;
    TN_REQUIRE(tn_grad(graph, y, TN_VAL_NONE, 1, &x, &grad, NULL));
    TN_ASSERT_CMPSTR(op_of(graph, grad), "add");
    TN_ASSERT_CMPUINT(count_op(graph, "add"), ==, 1);
    TN_ASSERT_CMPSTR(op_of(graph, input_of(graph, grad, 0)), "reduce_to");
    TN_ASSERT_CMPSTR(op_of(graph, input_of(graph, grad, 1)), "reduce_to");
}

/* The streams of random nodes in the order in which they stand, those of nodes before `first` left
 * out. */
static guint
streams_from(const TnGraph *graph, guint first, guint64 *streams)
{
    guint n = 0;
    for (guint i = first; i < tn_graph_n_nodes(graph); i++) {
        if (strcmp(tn_graph_node_op(graph, i)->name, "random_uniform") == 0) {
            streams[n++] = ((const TnRandomAttrs *)tn_graph_node_attrs(graph, i))->stream;
        }
    }
    return n;
}

/* x as a factor that gets no gradient and as one that does: the second alone counts. */
static void
body_with_a_value_that_also_gets_none(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    const TnVal x = tn_graph_input(graph, "x", TYPE(F32, 3));
    const TnVal in[] = { x, x };
    const TnVal y = tn_graph_add(graph, &op_fixed, NULL, 2, in, NULL);
    TnVal grad;
    TN_REQUIRE(tn_grad(graph, y, TN_VAL_NONE, 1, &x, &grad, NULL));
    TN_ASSERT_CMPSTR(op_of(graph, grad), "reduce_to");
    const TnVal product = input_of(graph, grad, 0);
    TN_ASSERT_CMPSTR(op_of(graph, product), "mul");
    TN_ASSERT_CMPSTR(op_of(graph, input_of(graph, product, 1)), "stop_gradient");
}

/* The body in the gradient, the body in its place, and the body in the gradient of the gradient
 * draw the same numbers. */
static void
random_in_body(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    g_autoptr(GError) error = NULL;
    const TnVal in[] = { tn_graph_input(graph, "x", TYPE(F32, 3)),
                         tn_graph_input(graph, "key", TYPE(U64, 2)) };
    guint64 forward[16], backward[16];
    TnVal grad, out;
    tn_graph_push(graph, "model");
    const TnVal y = tn_graph_add(graph, &op_noise, NULL, 2, in, NULL);
    tn_graph_pop(graph);
    guint first = tn_graph_n_nodes(graph);
    TN_REQUIRE(tn_grad(graph, y, TN_VAL_NONE, 1, in, &grad, &error));
    TN_ASSERT_CMPUINT(streams_from(graph, first, backward), ==, 3);
    first = tn_graph_n_nodes(graph);
    const char *name = tn_graph_node_name(graph, y.node);
    TN_REQUIRE(tn_graph_expand(graph, &op_noise, NULL, name, name, 2, in, 1, NULL, &out, &error));
    TN_ASSERT_CMPUINT(streams_from(graph, first, forward), ==, 3);
    TN_ASSERT_BYTES(forward, backward, 3 * sizeof forward[0]);
    TN_ASSERT(forward[0] == tn_random_stream("model.noise.random_uniform"));
    TN_ASSERT(forward[1] == tn_random_stream("model.noise.random_uniform_2"));
    TN_ASSERT(forward[2] == tn_random_stream("model.noise.mask.random_uniform"));
    first = tn_graph_n_nodes(graph);
    TN_REQUIRE(tn_grad(graph, tn_f_mul(graph, y, y), TN_VAL_NONE, 1, in, &grad, &error));
    TN_REQUIRE(tn_grad(graph, grad, TN_VAL_NONE, 1, in, &grad, &error));
    const guint n = streams_from(graph, first, backward);
    TN_ASSERT_CMPUINT(n, >=, 3);
    for (guint i = 0; i < n; i++) {
        TN_ASSERT(backward[i] == forward[i % 3]);
    }
}

static TnGraph *
cube_graph(void)
{
    TnGraph *graph = tn_graph_new("cube");
    const TnVal x = tn_graph_input(graph, "x", TYPE(F32, 3));
    tn_graph_output(graph, "square", tn_f_mul(graph, x, x));
    tn_graph_output(graph, "exp", tn_f_exp(graph, x));
    return graph;
}

/* A sub-graph's gradient is that of its nodes; outputs that nobody reads have none. */
static void
gradient_of_call(void)
{
    g_autoptr(TnGraph) inner = cube_graph();
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    g_autoptr(GError) error = NULL;
    const TnVal x = tn_graph_input(graph, "x", TYPE(F32, 5));
    const TnCallAttrs attrs = { inner };
    TnVal out[TN_MAX_OUT], grad;
    tn_graph_op(graph, "call", &attrs, 1, &x, out);
    const guint first = tn_graph_n_nodes(graph);
    TN_REQUIRE(tn_grad(graph, out[1], TN_VAL_NONE, 1, &x, &grad, &error));
    TN_ASSERT_CMPSTR(name_of(graph, grad), "grad.call.exp.mul");
    TN_ASSERT_CMPUINT(tn_graph_n_nodes(graph), >, first);
    TN_ASSERT(tn_type_equal(tn_graph_type(graph, grad), tn_graph_type(graph, x)));
}

/* --- Errors ----------------------------------------------------------------------------------- */

static void
assert_grad_fails(const TnOp *op, TnErrorCode code, const char *text)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    g_autoptr(GError) error = NULL;
    const TnVal in[] = { tn_graph_input(graph, "a", TYPE(F32, 3, 2)),
                         tn_graph_input(graph, "b", TYPE(F32, 3, 2)) };
    tn_graph_push(graph, "model");
    const TnVal y = tn_graph_add(graph, op, NULL, 2, in, NULL);
    tn_graph_pop(graph);
    TnVal grads[2] = { { 42, 0 }, { 43, 0 } };
    TN_ASSERT(!tn_grad(graph, y, TN_VAL_NONE, 2, in, grads, &error));
    TN_ASSERT_CMPUINT(grads[0].node, ==, 42);
    TN_ASSERT_CMPSTR(tn_graph_scope(graph), "");
    TN_ASSERT_ERROR(&error, TN_ERROR, (int)code, "model.", text);
}

static void
errors(void)
{
    assert_grad_fails(&op_bare, TN_ERROR_UNSUPPORTED,
                      "model.bare (bare): the operator has neither a gradient rule nor a body");
    assert_grad_fails(
        &op_wrong, TN_ERROR_SHAPE,
        "model.wrong (wrong): the gradient of input 'a' f32[3, 2] is f32[] by its rule");
    assert_grad_fails(&op_failing, TN_ERROR_SHAPE, "grad.model.failing.matmul (matmul)");
}

static void
wrong_calls(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("g");
    g_autoptr(GError) error = NULL;
    const TnVal x = tn_graph_input(graph, "x", TYPE(F32, 3));
    const TnVal n = tn_graph_input(graph, "n", TYPE(I64, 3));
    const TnVal y = tn_f_neg(graph, x);
    TnVal grad;
    TN_ASSERT(!tn_grad(graph, n, TN_VAL_NONE, 1, &x, &grad, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_DTYPE, "'n' i64[3]", "float");
    TN_ASSERT(!tn_grad(graph, y, sum(graph, x), 1, &x, &grad, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "'neg' f32[3]", "f32[]");
    const TnVal foreign = { 1000, 0 };
    TN_ASSERT(!tn_grad(graph, y, TN_VAL_NONE, 1, &foreign, &grad, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_USAGE, "not of this graph");
    TN_ASSERT(!tn_grad(graph, TN_VAL_NONE, TN_VAL_NONE, 1, &x, &grad, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_USAGE, "not of this graph");
    TN_ASSERT(tn_grad(graph, y, TN_VAL_NONE, 0, NULL, NULL, &error));
    TN_ASSERT(tn_graph_check(graph, NULL));
}

static const TnTest tests[] = {
    { "product", product },
    { "no_needless_reduction", no_needless_reduction },
    { "sums_of_paths", sums_of_paths },
    { "inner_values", inner_values },
    { "no_path", no_path },
    { "cast_between_floats", cast_between_floats },
    { "embedding", embedding },
    { "convolutions", convolutions },
    { "matmul_of_batch", matmul_of_batch },
    { "second_derivative", second_derivative },
    { "at_other_sizes", at_other_sizes },
    { "gradient_of_body", gradient_of_body },
    { "body_with_one_value_twice", body_with_one_value_twice },
    { "body_with_a_value_that_also_gets_none", body_with_a_value_that_also_gets_none },
    { "random_in_body", random_in_body },
    { "gradient_of_call", gradient_of_call },
    { "errors", errors },
    { "wrong_calls", wrong_calls },
};
TN_TEST_MAIN("graph/grad", tests)
