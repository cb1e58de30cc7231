/* What the conformance suite cannot see of the composites: gradients that are no derivatives, ties,
 * numbers far out, and what their messages say. */
#include "conformance.h"
#include "tn_graphs.h"
#include "tn_test.h"

#include <float.h>
#include <math.h>
#include <tenon/nn.h>

static TnContext *on_ref;

static void
close_device(void)
{
    g_clear_pointer(&on_ref, tn_context_unref);
}

static void
open_device(void)
{
    if (on_ref == NULL) {
        tn_conformance_open();
        on_ref = tn_test_context("ref", NULL);
    }
}

/* op (in…), or the gradient in input 0 of the sum of its first output. (transfer full). */
static TnTensor *
compute(const char *op, const void *attrs, gboolean gradient, guint n, TnTensor *const *in)
{
    open_device();
    g_autoptr(TnGraph) graph = tn_graph_new(op);
    g_autoptr(GError) error = NULL;
    TnVal x[4], y[TN_MAX_OUT], g;
    TnTensor *out = NULL;
    for (guint i = 0; i < n; i++) {
        g_autofree char *name = g_strdup_printf("x%u", i);
        x[i] = tn_graph_input(graph, name, *tn_tensor_type(in[i]));
    }
    tn_graph_op(graph, op, attrs, (gint)n, x, y);
    if (gradient) {
        TN_REQUIRE(tn_grad(graph, y[0], TN_VAL_NONE, 1, x, &g, &error));
        y[0] = g;
    }
    tn_graph_output(graph, "y", y[0]);
    g_autoptr(TnFunction) function = tn_function_new(graph, on_ref);
    tn_function_call(function, n, in, &out, &error);
    TN_REQUIRE_NO_ERROR(error);
    return out;
}

/* What op gives of the n numbers x in `dtype`, against `want`. */
static void
check_line(const char *op, const void *attrs, gboolean gradient, TnDtype dtype, gsize n,
           const double *x, const double *want, double rtol)
{
    const gint64 dims[] = { (gint64)n };
    g_autoptr(TnTensor) in = tn_test_tensor(tn_type(dtype, 1, dims), x);
    g_autoptr(TnTensor) out = compute(op, attrs, gradient, 1, &in);
    g_autofree double *got = tn_test_doubles(out);
    TN_ASSERT_NEAR_F64(got, want, n, rtol, 0);
}

/* f32 keeps its digits where 1 would swallow the number, and nothing overflows far out. */
static void
far_out(void)
{
    static const double small[] = { 1e-8, -1e-8, 1e-20, 0 };
    static const double wide[] = { 0, 100, -80, 1e30, -1e30 };
    check_line("log1p", NULL, FALSE, TN_DTYPE_F32, 4, small, small, 1e-6);
    check_line("expm1", NULL, FALSE, TN_DTYPE_F32, 4, small, small, 1e-6);
    check_line("sinh", NULL, FALSE, TN_DTYPE_F32, 4, small, small, 1e-6);
    const double softplus[] = { log(2), 100, 1.8048513878454153e-35, 1e30, 0 };
    check_line("softplus", NULL, FALSE, TN_DTYPE_F32, 5, wide, softplus, 1e-5);
    const double slope[] = { 0.5, 1, 0, 1, 0 };
    check_line("sigmoid", NULL, FALSE, TN_DTYPE_F64, 4, (double[]){ 0, 100, -1000, 1e30 },
               (double[]){ 0.5, 1, 0, 1 }, 1e-12);
    const double ends[] = { 0, 100, -1000, 1e30, -1e30 };
    check_line("softplus", NULL, TRUE, TN_DTYPE_F64, 5, ends, slope, 1e-12);
    const TnAlphaAttrs alpha = { 1 };
    static const double below[] = { -1e-8, -1e-20, -3e-4, -0.25, -1, -3, -20, -1e30, 0 };
    double curve[G_N_ELEMENTS(below)], selu[G_N_ELEMENTS(below)];
    const TnSeluAttrs of_selu = { 1.5, 2 };
    for (guint i = 0; i < G_N_ELEMENTS(below); i++) {
        curve[i] = expm1(below[i]);
        selu[i] = 3 * curve[i];
    }
    check_line("elu", &alpha, FALSE, TN_DTYPE_F32, G_N_ELEMENTS(below), below, curve, 1e-6);
    check_line("celu", &alpha, FALSE, TN_DTYPE_F32, G_N_ELEMENTS(below), below, curve, 1e-6);
    check_line("selu", &of_selu, FALSE, TN_DTYPE_F32, G_N_ELEMENTS(below), below, selu, 1e-6);
    check_line("elu", &alpha, FALSE, TN_DTYPE_F64, G_N_ELEMENTS(below), below, curve, 1e-14);
    check_line("elu", &alpha, TRUE, TN_DTYPE_F32, 3, (double[]){ 1e30, -1e30, 200 },
               (double[]){ 1, 0, 1 }, 1e-6);
}

/* Sums of large numbers: exp of none of them. */
static void
large_logits(void)
{
    static const double x[] = { 1000, 1000, -1000 };
    const TnAxisAttrs axis = { -1 };
    check_line("softmax", &axis, FALSE, TN_DTYPE_F32, 3, x, (double[]){ 0.5, 0.5, 0 }, 1e-6);
    check_line("log_softmax", &axis, FALSE, TN_DTYPE_F32, 3, x,
               (double[]){ -M_LN2, -M_LN2, -2000 - M_LN2 }, 1e-6);
    const TnReduceAttrs all = { .keepdims = TRUE };
    const gint64 dims[] = { 3 };
    g_autoptr(TnTensor) in = tn_test_tensor(tn_type(TN_DTYPE_F32, 1, dims), x);
    g_autoptr(TnTensor) sum = compute("reduce_log_sum_exp", &all, FALSE, 1, &in);
    TN_ASSERT_NEAR(tn_tensor_get(sum, 0), 1000 + M_LN2, 1e-6, 0);
}

/* PyTorch's choices where the derivative jumps. */
static void
at_the_kink(void)
{
    static const double x[] = { -1, 0, 1 };
    check_line("relu", NULL, TRUE, TN_DTYPE_F64, 3, x, (double[]){ 0, 0, 1 }, 0);
    const TnClipAttrs clip = { -1, 1 };
    check_line("clip", &clip, TRUE, TN_DTYPE_F64, 3, x, (double[]){ 1, 1, 1 }, 0);
    const TnAlphaAttrs alpha = { 0.25 };
    check_line("leaky_relu", &alpha, TRUE, TN_DTYPE_F64, 3, x, (double[]){ 0.25, 0.25, 1 }, 0);
}

/* Of equal elements the first of the window gets all. */
static void
ties_in_windows(void)
{
    static const double x[] = { 5, 5, 1, 1, 1, 1 };
    const gint64 dims[] = { 1, 1, 6 };
    const TnPoolAttrs attrs = { .window = { .kernel_shape = { 1, { 3 } },
                                            .strides = { 1, { 3 } } } };
    g_autoptr(TnTensor) in = tn_test_tensor(tn_type(TN_DTYPE_F64, 3, dims), x);
    g_autoptr(TnTensor) grad = compute("max_pool", &attrs, TRUE, 1, &in);
    g_autofree double *got = tn_test_doubles(grad);
    TN_ASSERT_NEAR_F64(got, ((double[]){ 1, 0, 0, 1, 0, 0 }), 6, 0, 0);
}

/* With ceil_mode windows that would begin behind the input are left out, as PyTorch does. */
static void
windows_behind(void)
{
    static const struct {
        gint64 size, kernel, stride, begin, end, dilation, windows;
    } rows[] = {
        { 3, 2, 2, 1, 1, 1, 2 }, { 5, 2, 3, 1, 1, 1, 2 }, { 4, 2, 2, 1, 1, 1, 3 },
        { 4, 3, 3, 1, 1, 1, 2 }, { 5, 1, 4, 0, 0, 1, 2 }, { 6, 1, 4, 0, 0, 1, 2 },
        { 7, 2, 5, 1, 1, 2, 2 }, { 5, 3, 2, 0, 0, 1, 2 }, { 6, 3, 2, 0, 0, 1, 3 },
    };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        const TnPoolAttrs attrs = { .window = { .kernel_shape = { 1, { rows[i].kernel } },
                                                .strides = { 1, { rows[i].stride } },
                                                .pads = { 2, { rows[i].begin, rows[i].end } },
                                                .dilations = { 1, { rows[i].dilation } } },
                                    .ceil_mode = TRUE };
        const gint64 dims[] = { 1, 1, rows[i].size };
        const double x[] = { 1, 2, 3, 4, 5, 6, 7 };
        g_autoptr(TnTensor) in = tn_test_tensor(tn_type(TN_DTYPE_F32, 3, dims), x);
        g_autoptr(TnTensor) out = compute("max_pool", &attrs, FALSE, 1, &in);
        g_autoptr(TnTensor) grad = compute("average_pool", &attrs, TRUE, 1, &in);
        TN_ASSERT_CMPINT(tn_tensor_count(out), ==, rows[i].windows);
        for (gint64 k = 0; k < rows[i].windows; k++)
            TN_ASSERT(tn_tensor_get(out, k) >= 1);
        TN_ASSERT_CMPINT(tn_tensor_count(grad), ==, rows[i].size);
    }
}

/* Rows of the table get a gradient as often as they are read, the padding none. */
static void
padding_of_embeddings(void)
{
    const gint64 table[] = { 3, 2 }, places[] = { 4 };
    const TnEmbeddingAttrs attrs = { 1 };
    g_autoptr(TnTensor) weight =
        tn_test_tensor(tn_type(TN_DTYPE_F64, 2, table), (double[]){ 1, 2, 3, 4, 5, 6 });
    g_autoptr(TnTensor) at =
        tn_test_tensor(tn_type(TN_DTYPE_I64, 1, places), (double[]){ 1, 2, 2, 1 });
    TnTensor *const in[] = { weight, at };
    g_autoptr(TnTensor) rows = compute("embedding", &attrs, FALSE, 2, in);
    g_autoptr(TnTensor) grad = compute("embedding", &attrs, TRUE, 2, in);
    g_autofree double *values = tn_test_doubles(rows);
    g_autofree double *got = tn_test_doubles(grad);
    TN_ASSERT_NEAR_F64(values, ((double[]){ 3, 4, 5, 6, 5, 6, 3, 4 }), 8, 0, 0);
    TN_ASSERT_NEAR_F64(got, ((double[]){ 0, 0, 0, 0, 2, 2 }), 6, 0, 0);
}

/* A class that is not there, below 0 too, fails the run, with and without weights. */
static void
targets(void)
{
    const gint64 dims[] = { 2, 3 }, samples[] = { 2 }, classes[] = { 3 };
    const double logits[] = { 0.1, 0.7, -0.3, 1.2, 0.4, 0.9 };
    static const double wrong[] = { -1, -3, -99, 3, 1e9 };
    const TnCrossEntropyAttrs attrs = { TN_LOSS_MEAN, -100, 0 };
    open_device();
    for (guint i = 0; i < G_N_ELEMENTS(wrong); i++)
        for (guint weighted = 0; weighted < 2; weighted++) {
            g_autoptr(TnTensor) x = tn_test_tensor(tn_type(TN_DTYPE_F64, 2, dims), logits);
            g_autoptr(TnTensor) at =
                tn_test_tensor(tn_type(TN_DTYPE_I64, 1, samples), (double[]){ 2, wrong[i] });
            g_autoptr(TnTensor) weight =
                tn_test_tensor(tn_type(TN_DTYPE_F64, 1, classes), (double[]){ 1, 2, 3 });
            TnTensor *const in[] = { x, at, weight };
            g_autoptr(TnGraph) graph = tn_graph_new("targets");
            g_autoptr(GError) error = NULL;
            TnVal vals[3], y[TN_MAX_OUT];
            for (guint k = 0; k < 2 + weighted; k++)
                vals[k] =
                    tn_graph_input(graph, k ? k > 1 ? "w" : "t" : "x", *tn_tensor_type(in[k]));
            tn_graph_op(graph, "cross_entropy", &attrs, 2 + (gint)weighted, vals, y);
            tn_graph_output(graph, "y", y[0]);
            g_autoptr(TnFunction) function = tn_function_new(graph, on_ref);
            TnTensor *out = NULL;
            TN_ASSERT(!tn_function_call(function, 2 + weighted, in, &out, &error));
            TN_REQUIRE(error != NULL);
            TN_ASSERT_CONTAINS(error->message, "cross_entropy");
        }
}

/* What an ignored sample holds, infinities too, is neither in the loss nor in the gradients of the
 * others. */
static void
ignored_samples(void)
{
    static const double logits[] = { 0.5, 1.5, -INFINITY, 2 };
    static const double logp[] = { -0.5, -1, -INFINITY, 0 };
    const gint64 dims[] = { 2, 2 }, samples[] = { 2 };
    for (gint smoothed = 0; smoothed < 2; smoothed++) {
        const TnCrossEntropyAttrs attrs = { TN_LOSS_MEAN, -100, smoothed ? 0.1 : 0 };
        const double loss = log(1 + exp(1.0)) - (smoothed ? 0.05 : 0);
        g_autoptr(TnTensor) x = tn_test_tensor(tn_type(TN_DTYPE_F64, 2, dims), logits);
        g_autoptr(TnTensor) at =
            tn_test_tensor(tn_type(TN_DTYPE_I64, 1, samples), (double[]){ 0, -100 });
        TnTensor *const in[] = { x, at };
        g_autoptr(TnTensor) out = compute("cross_entropy", &attrs, FALSE, 2, in);
        g_autoptr(TnTensor) grad = compute("cross_entropy", &attrs, TRUE, 2, in);
        TN_ASSERT_NEAR(tn_tensor_get(out, 0), loss, 1e-12, 0);
        TN_ASSERT_NEAR(tn_tensor_get(grad, 2), 0, 0, 0);
        TN_ASSERT_NEAR(tn_tensor_get(grad, 3), 0, 0, 0);
        g_autoptr(TnTensor) y = tn_test_tensor(tn_type(TN_DTYPE_F64, 2, dims), logp);
        g_autoptr(TnTensor) nll = compute("nll_loss", &attrs, FALSE, 2, (TnTensor *[]){ y, at });
        TN_ASSERT_NEAR(tn_tensor_get(nll, 0), smoothed ? 0.525 : 0.5, 1e-12, 0);
    }
}

/* A loss far smaller than the logit keeps its digits, on both sides; its slope at 0 is that of the
 * formula. */
static void
small_losses(void)
{
    static const double logits[] = { 20, -20, 0, -50 }, targets[] = { 1, 0, 1, 1 };
    const double tiny = log1p(exp(-20.0));
    const gint64 dims[] = { 4 };
    const TnLossAttrs attrs = { TN_LOSS_NONE };
    g_autoptr(TnTensor) x = tn_test_tensor(tn_type(TN_DTYPE_F32, 1, dims), logits);
    g_autoptr(TnTensor) t = tn_test_tensor(tn_type(TN_DTYPE_F32, 1, dims), targets);
    TnTensor *const in[] = { x, t };
    g_autoptr(TnTensor) loss = compute("bce_with_logits", &attrs, FALSE, 2, in);
    g_autoptr(TnTensor) slope = compute("bce_with_logits", &attrs, TRUE, 2, in);
    g_autofree double *got = tn_test_doubles(loss), *slopes = tn_test_doubles(slope);
    const double slope_at_20 = 1 / (1 + exp(20.0));
    TN_ASSERT_NEAR_F64(got, ((double[]){ tiny, tiny, M_LN2, 50 }), 4, 1e-6, 0);
    TN_ASSERT_NEAR_F64(slopes, ((double[]){ -slope_at_20, slope_at_20, -0.5, -1 }), 4, 1e-6, 0);
}

static void
refuse(const char *op, const void *attrs, gint n, const TnType *in, const char *words)
{
    open_device();
    g_autoptr(GError) error = NULL;
    const TnOp *found = tn_op_find(op, &error);
    TnType out[TN_MAX_OUT];
    gint n_out;
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(!tn_op_infer(found, attrs, "model.1", n, in, NULL, &n_out, out, &error));
    TN_REQUIRE(error != NULL);
    TN_ASSERT_CONTAINS(error->message, "model.1");
    TN_ASSERT_CONTAINS(error->message, words);
}

/* Wrong shapes are told with the input and what was wanted. */
static void
messages(void)
{
    const TnType x = tn_type(TN_DTYPE_F32, 2, (const gint64[]){ 2, 3 });
    const TnType w = tn_type(TN_DTYPE_F32, 2, (const gint64[]){ 5, 4 });
    const TnType image = tn_type(TN_DTYPE_F32, 3, (const gint64[]){ 1, 6, 4 });
    const TnType channels = tn_type(TN_DTYPE_F32, 1, (const gint64[]){ 6 });
    const TnType number = tn_type(TN_DTYPE_F32, 0, NULL);
    refuse("linear", NULL, 2, (const TnType[]){ x, w }, "f32[5, 3]");
    const TnGemmAttrs gemm = { 1, 1, FALSE, FALSE };
    refuse("gemm", &gemm, 2, (const TnType[]){ x, w }, "inner size must be 3");
    const TnPoolAttrs wide = { .window = { .kernel_shape = { 1, { 5 } } } };
    refuse("max_pool", &wide, 1, &image, "shorter than the window");
    const TnPoolAttrs flat = { .window = { .kernel_shape = { 2, { 2, 2 } } } };
    refuse("max_pool", &flat, 1, &image, "spatial axes");
    const TnGroupNormAttrs groups = { 1e-5, 4 };
    refuse("group_normalization", &groups, 3, (const TnType[]){ image, channels, channels },
           "4 groups");
    const TnSgdAttrs sgd = { .momentum = 0.9 };
    refuse("sgd_step", &sgd, 3, (const TnType[]){ x, x, number }, "momentum_buffer");
    const TnTopkAttrs topk = { 4, -1, TRUE };
    refuse("topk", &topk, 1, &x, "no 4 elements");
    const TnType empty = tn_type(TN_DTYPE_F32, 2, (const gint64[]){ 2, 0 });
    const TnType table = tn_type(TN_DTYPE_F32, 2, (const gint64[]){ 0, 3 });
    const TnType two = tn_type(TN_DTYPE_I64, 1, (const gint64[]){ 2 });
    refuse("embedding", NULL, 2, (const TnType[]){ table, two }, "no rows");
    const TnCrossEntropyAttrs plain = { 0 };
    refuse("nll_loss", &plain, 2, (const TnType[]){ empty, two }, "no classes");
    const TnType vast = tn_type(TN_DTYPE_F32, 2, (const gint64[]){ 0, G_MAXINT64 });
    refuse("gru_cell", NULL, 4, (const TnType[]){ vast, vast, vast, vast }, "too large");
    const TnType seven = tn_type(TN_DTYPE_F32, 3, (const gint64[]){ 7, 2, 3 });
    const TnType state = tn_type(TN_DTYPE_F32, 2, (const gint64[]){ 2, 5 });
    const TnType w_ih = tn_type(TN_DTYPE_F32, 2, (const gint64[]){ 20, 3 });
    const TnType w_hh = tn_type(TN_DTYPE_F32, 2, (const gint64[]){ 20, 4 });
    const TnSequenceAttrs seven_steps = { 7, TN_RNN_TANH }, eight_steps = { 8, TN_RNN_TANH };
    refuse("lstm", &eight_steps, 5, (const TnType[]){ seven, state, state, w_ih, w_hh },
           "f32[8, 2, 3] for the attribute 'steps'");
    refuse("lstm", &seven_steps, 5, (const TnType[]){ seven, state, state, w_ih, w_hh },
           "f32[20, 5] for the gates of 'h' and its size");
    refuse("gru", &seven_steps, 4, (const TnType[]){ seven, state, w_ih, w_hh },
           "f32[15, 3] for the gates of 'h' and the features of 'x'");
    const TnArangeAttrs endless = { 0, 1, 0, TN_DTYPE_I64 };
    refuse("arange", &endless, 0, NULL, "step other than 0");
}

static const TnTest tests[] = {
    { "far_out", far_out },
    { "large_logits", large_logits },
    { "at_the_kink", at_the_kink },
    { "ties_in_windows", ties_in_windows },
    { "windows_behind", windows_behind },
    { "padding_of_embeddings", padding_of_embeddings },
    { "targets", targets },
    { "ignored_samples", ignored_samples },
    { "small_losses", small_losses },
    { "messages", messages },
};

TN_TEST_MAIN_WITH("composites", tests, NULL, close_device)
