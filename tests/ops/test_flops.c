/* test_flops.c: floating-point operations of known calls against closed forms, and what is said
 * where nobody knows. */
#include "ops_test.h"

typedef struct {
    const char *op, *attrs, *in;
    double flops; /* -1: unknown */
} Case;

/* As tn_op_flops counts a call whose outputs are inferred. */
static double
flops_of(const char *name, const char *attrs_text, const char *in_text)
{
    g_autoptr(GError) error = NULL;
    TnType in[TN_MAX_IN], out[TN_MAX_OUT];
    gint n_out = 0;
    const gint n_in = ops_types(in_text, in);
    const TnOp *op = tn_op_find(name, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autofree void *attrs = ops_attrs(op, attrs_text);
    tn_op_infer(op, attrs, name, n_in, in, NULL, &n_out, out, &error);
    TN_REQUIRE_NO_ERROR(error);
    return tn_op_flops(op, attrs, n_in, in, n_out, out);
}

static void
check_cases(const Case *cases, gsize n)
{
    for (gsize i = 0; i < n; i++) {
        const double flops = flops_of(cases[i].op, cases[i].attrs, cases[i].in);
        tn_test_check(flops == cases[i].flops, FALSE, __FILE__, __LINE__,
                      "%s (%s) of %s: %g operations, expected %g", cases[i].op, cases[i].attrs,
                      cases[i].in, flops, cases[i].flops);
    }
}

/* m n sums of k products. */
static void
products(void)
{
    static const Case cases[] = {
        { "matmul", "-", "f32[2, 3] ; f32[3, 4]", 2.0 * 2 * 3 * 4 },
        { "matmul", "-", "f64[3] ; f64[3]", 2.0 * 3 },
        { "matmul", "-", "f32[3] ; f32[2, 3, 4]", 2.0 * 2 * 3 * 4 },
        { "matmul", "-", "f32[2, 1, 2, 3] ; f32[5, 3, 2]", 2.0 * 2 * 5 * 2 * 3 * 2 },
        { "matmul", "-", "f32[2, 0] ; f32[0, 3]", 0 },
        { "matmul", "-", "i64[2, 3] ; i64[3, 4]", 0 }, /* no floating-point numbers */
        { "linear", "-", "f32[128, 784] ; f32[512, 784] ; f32[512]",
          2.0 * 128 * 784 * 512 + 128 * 512 },
        { "linear", "-", "f32[2, 3, 4] ; f32[5, 4]", 2.0 * 2 * 3 * 4 * 5 },
        { "gemm", "-", "f32[3, 4] ; f32[4, 5] ; f32[5]", 2.0 * 3 * 4 * 5 + 3 * 5 },
        { "gemm", "trans_a=true;alpha=0.5;beta=2", "f32[4, 3] ; f32[4, 5] ; f32[3, 1]",
          2.0 * 3 * 4 * 5 + 15 + 15 + 3 },
    };
    check_cases(cases, G_N_ELEMENTS(cases));
}

/* Each of the three takes the operations of the convolution that it belongs to. */
static void
convolutions(void)
{
    const double grouped = 2.0 * (2 * 6 * 4 * 7) * (2 * 3 * 3);
    const Case cases[] = {
        { "conv", "-", "f32[2, 3, 6, 5] ; f32[4, 3, 3, 2]", 2.0 * (2 * 4 * 4 * 4) * (3 * 3 * 2) },
        { "conv", "group=2;strides={2,1};pads={1,1,1,1}", "f32[2, 4, 7, 7] ; f32[6, 2, 3, 3]",
          grouped },
        { "conv_transpose", "group=2;strides={2,1};pads={1,1,1,1}",
          "f32[2, 6, 4, 7] ; f32[6, 2, 3, 3] ; f32[2, 4, 7, 7]", grouped },
        { "conv_grad_weight", "group=2;strides={2,1};pads={1,1,1,1}",
          "f32[2, 4, 7, 7] ; f32[2, 6, 4, 7] ; f32[6, 2, 3, 3]", grouped },
        { "conv_bias", "-", "f32[2, 3, 6, 5] ; f32[4, 3, 3, 2] ; f32[4]",
          2.0 * (2 * 4 * 4 * 4) * (3 * 3 * 2) + 2 * 4 * 4 * 4 },
        { "conv", "-", "f32[0, 3, 6, 5] ; f32[4, 3, 3, 2]", 0 },
    };
    check_cases(cases, G_N_ELEMENTS(cases));
}

static void
elements(void)
{
    static const Case cases[] = {
        { "add", "-", "f32[2, 3] ; f32[3]", 6 },
        { "exp", "-", "f16[7]", 7 },
        { "less", "-", "f32[2, 3] ; f32[]", 6 },
        { "where", "-", "bool[4] ; f32[4] ; f32[]", 4 },
        { "add", "-", "i32[2, 3] ; i32[3]", 0 },
        { "relu", "-", "f32[2, 3]", 6 },
        { "reduce_sum", "axes={1}", "f32[4, 5]", 20 },
        { "reduce_max", "-", "f64[4, 5]", 20 },
        { "argmax", "axis=1", "f32[4, 5]", 20 },
        { "reduce_sum", "-", "i64[4, 5]", 0 },
        { "cumsum", "axis=0", "f32[4, 5]", 20 },
        { "reduce_to", "-", "f32[4, 5] ; f32[5]", 20 },
        { "scatter_add", "axis=0", "f32[9, 5] ; i64[4] ; f32[4, 5]", 20 },
    };
    check_cases(cases, G_N_ELEMENTS(cases));
}

/* Elements that are only moved. */
static void
nothing(void)
{
    static const Case cases[] = {
        { "transpose", "-", "f32[2, 3]", 0 },
        { "reshape", "shape={6}", "f32[2, 3]", 0 },
        { "concat", "axis=0", "f32[2, 3] ; f32[1, 3]", 0 },
        { "gather", "axis=0", "f32[9, 5] ; i64[4]", 0 },
        { "embedding", "-", "f32[9, 5] ; i64[4]", 0 },
        { "zeros_like", "-", "f32[2, 3]", 0 },
        { "identity", "-", "f32[2, 3]", 0 },
        { "size", "dtype=f32", "f32[2, 3]", 0 },
    };
    check_cases(cases, G_N_ELEMENTS(cases));
}

/* Of the body, an operation for each element: softmax subtracts the largest, takes exp, sums and
 * divides, after it has looked for the largest; attention does the same by way of a logarithm. */
static void
composites(void)
{
    const double scores = 2.0 * 6 * 7; /* [2, 6, 7] */
    const double gate = 3 * 8;         /* [3, 8] */
    const Case cases[] = {
        { "softmax", "axis=-1", "f32[4, 10]", 5 * 40 },
        { "max_pool", "kernel_shape={2,2};strides={2,2}", "f32[2, 3, 4, 6]",
          (2 * 3 * 2 * 3) * (2 * 2) },
        { "average_pool", "kernel_shape={2,2};strides={2,2}", "f32[2, 3, 4, 6]",
          (2 * 3 * 2 * 3) * (2 * 2 + 1) },
        { "global_max_pool", "-", "f32[2, 3, 4, 6]", 2 * 3 * 4 * 6 },
        /* Scaled q (the scale is a root and a reciprocal), q k', the logarithms of the sums (the largest,
         * less it, exp, sum), exp of what is less these, times v; seven for each row. */
        { "scaled_dot_product_attention", "-", "f32[2, 6, 16] ; f32[2, 7, 16] ; f32[2, 7, 5]",
          2 * 6 * 16 + 2 + 2.0 * 16 * scores + 6 * scores + 7 * 12 + 2.0 * 2 * 6 * 7 * 5 },
        /* Two products and their sum, four gates of one kind or another, three products and a sum. */
        { "mse_loss", "reduction=none", "f32[4, 10] ; f32[4, 10]", 2 * 40 },
        { "rnn_cell", "-", "f32[3, 5] ; f32[3, 8] ; f32[8, 5] ; f32[8, 8]",
          2.0 * 3 * 5 * 8 + 2.0 * 3 * 8 * 8 + 2 * gate },
    };
    check_cases(cases, G_N_ELEMENTS(cases));
}

/* --- Operators of others ---------------------------------------------------------------------- */

static double
three(const TnFlops *call)
{
    return call->n_in == 1 ? 3.0 * (double)tn_type_count(&call->in[0]) : TN_FLOPS_UNKNOWN;
}

static void
plugins_say_their_own(void)
{
    const TnType type = ops_type("f32[5]");
    TnOp op = { .size = sizeof(TnOp), .name = "mine", .flops = three };
    TN_ASSERT_CMPFLOAT(tn_op_flops(&op, NULL, 1, &type, 1, &type), ==, 15);
    op.flops = NULL;
    TN_ASSERT_CMPFLOAT(tn_op_flops(&op, NULL, 1, &type, 1, &type), <, 0);
    /* One that was compiled before schemas said this: the member is not looked at. */
    op.flops = three;
    op.flags = TN_OP_ELEMENTWISE;
    op.size = G_STRUCT_OFFSET(TnOp, flops);
    TN_ASSERT_CMPFLOAT(tn_op_flops(&op, NULL, 1, &type, 1, &type), ==, 5);
}

static void
sorting_is_unknown(void)
{
    static const Case cases[] = {
        { "sort", "-", "f32[4, 10]", -1 }, { "topk", "k=3", "f32[4, 10]", -1 }, /* its body sorts */
    };
    check_cases(cases, G_N_ELEMENTS(cases));
}

static const TnTest tests[] = {
    { "products", products },
    { "convolutions", convolutions },
    { "elements", elements },
    { "nothing", nothing },
    { "composites", composites },
    { "plugins say their own", plugins_say_their_own },
    { "sorting is unknown", sorting_is_unknown },
};
TN_TEST_MAIN("flops", tests)
