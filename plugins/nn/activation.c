/* activation.c: smooth activations, and the gradient of gelu. */
#include "unary.h"

FORMULA(gelu)
{
    TnVal bend;
    if (((const TnGeluAttrs *)attrs)->approximate == TN_GELU_TANH) {
        const TnVal cube = tn_f_mul(graph, tn_f_mul(graph, x, x), x);
        const TnVal inner = tn_f_add(graph, x, nn_scaled(graph, cube, 0.044715));
        bend = tn_f_tanh(graph, nn_scaled(graph, inner, sqrt(2 / G_PI)));
    } else {
        bend = tn_f_erf(graph, nn_scaled(graph, x, sqrt(0.5)));
    }
    return tn_f_mul(graph, nn_scaled(graph, x, 0.5), nn_shifted(graph, bend, 1));
}

/* An operator of its own, so that nothing of the formula is kept until then but x. */
RULE(gelu)
{
    return nn_2(graph, "gelu_grad", attrs, x, g);
}

FORMULA(sigmoid)
{
    return nn_sigmoid(graph, x);
}

RULE(sigmoid)
{
    const TnVal rest = tn_f_sub(graph, nn_constant(graph, y, 1), y);
    return tn_f_mul(graph, g, tn_f_mul(graph, y, rest));
}

FORMULA(log_sigmoid)
{
    return tn_f_neg(graph, nn_softplus(graph, tn_f_neg(graph, x)));
}

RULE(log_sigmoid)
{
    return tn_f_mul(graph, g, nn_1(graph, "sigmoid", NULL, tn_f_neg(graph, x)));
}

FORMULA(silu)
{
    return tn_f_mul(graph, x, nn_sigmoid(graph, x));
}

/* s (1 + x (1 - s)) with s = sigmoid (x) */
RULE(silu)
{
    const TnVal s = nn_1(graph, "sigmoid", NULL, x);
    return tn_f_mul(graph, g, tn_f_add(graph, s, tn_f_sub(graph, y, tn_f_mul(graph, y, s))));
}

FORMULA(softplus)
{
    return nn_softplus(graph, x);
}

RULE(softplus)
{
    return tn_f_mul(graph, g, nn_1(graph, "sigmoid", NULL, x));
}

FORMULA(softsign)
{
    return tn_f_div(graph, x, nn_shifted(graph, tn_f_abs(graph, x), 1));
}

RULE(softsign)
{
    const TnVal size = nn_shifted(graph, tn_f_abs(graph, x), 1);
    return tn_f_div(graph, g, tn_f_mul(graph, size, size));
}

FORMULA(mish)
{
    return tn_f_mul(graph, x, tn_f_tanh(graph, nn_softplus(graph, x)));
}

/* t + x (1 - t^2) sigmoid (x) with t = tanh (softplus (x)) */
RULE(mish)
{
    const TnVal t = tn_f_tanh(graph, nn_1(graph, "softplus", NULL, x));
    const TnVal bend = tn_f_sub(graph, nn_constant(graph, x, 1), tn_f_mul(graph, t, t));
    const TnVal rest = tn_f_mul(graph, bend, nn_1(graph, "sigmoid", NULL, x));
    return tn_f_mul(graph, g, tn_f_add(graph, t, tn_f_mul(graph, x, rest)));
}

/* --- The table ------------------------------------------------------------------------------- */

static const char *const approximations[] = { "none", "tanh", NULL };
static const TnOption gelu_rows[] = {
    NN_ATTR(TnGeluAttrs, approximate, TN_OPT_ENUM, "none: with erf; tanh: the approximation",
            .choices = approximations, .dflt = "none"),
};

ATTRS_SAMPLER(gelu_sample, TnGeluAttrs, { TN_GELU_TANH }, { TN_GELU_TANH })

UNARY(gelu, "Gelu", TN_DTYPES_FLOAT, "x times the normal distribution's cumulative function",
      TN_OPTIONS(TnGeluAttrs, gelu_rows), gelu_sample, gelu_formula, gelu_rule, nn_unary_vjp,
      TN_PRECISION_FOLLOW);
PLAIN(sigmoid, "Sigmoid", "1 / (1 + exp (-x))", .lo = -6, .hi = 6);
PLAIN(log_sigmoid, NULL, "Logarithm of sigmoid", .lo = -6, .hi = 6, KINK_AT_0);
PLAIN(silu, "Swish", "x sigmoid (x)", .lo = -6, .hi = 6);
PLAIN(softplus, "Softplus", "log (1 + exp (x))", .lo = -6, .hi = 6, KINK_AT_0);
PLAIN(softsign, "Softsign", "x / (1 + |x|)", KINK_AT_0);
PLAIN(mish, "Mish", "x tanh (softplus (x))", .lo = -6, .hi = 6, KINK_AT_0);

/* --- gelu's gradient ------------------------------------------------------------------------- */

/* g times (1 + bend) / 2 + x slope, slope half the derivative of bend. */
static gboolean
gelu_grad_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const TnVal x = nn_wide(graph, body->in[0]), square = tn_f_mul(graph, x, x);
    TnVal bend, slope;
    (void)error;
    if (((const TnGeluAttrs *)body->attrs)->approximate == TN_GELU_TANH) {
        const TnVal factor = nn_shifted(graph, nn_scaled(graph, square, 0.044715), 1);
        bend = tn_f_tanh(graph, nn_scaled(graph, tn_f_mul(graph, x, factor), sqrt(2 / G_PI)));
        const TnVal outer = tn_f_sub(graph, nn_constant(graph, x, 1), tn_f_mul(graph, bend, bend));
        const TnVal inner = nn_shifted(graph, nn_scaled(graph, square, 3 * 0.044715), 1);
        slope = nn_scaled(graph, tn_f_mul(graph, outer, inner), sqrt(0.5 / G_PI));
    } else {
        bend = tn_f_erf(graph, nn_scaled(graph, x, sqrt(0.5)));
        slope = nn_scaled(graph, tn_f_exp(graph, nn_scaled(graph, square, -0.5)), sqrt(0.5 / G_PI));
    }
    const TnVal share = nn_scaled(graph, nn_shifted(graph, bend, 1), 0.5);
    const TnVal grad = tn_f_add(graph, share, tn_f_mul(graph, x, slope));
    const TnVal y = tn_f_mul(graph, nn_wide(graph, body->in[1]), grad);
    body->out[0] = nn_to(graph, y, nn_dtype(graph, body->in[0]));
    return TRUE;
}

static gboolean
gelu_grad_infer(TnInfer *infer, GError **error)
{
    infer->out[0] = infer->in[0];
    return nn_infer_want(infer, 1, infer->in[0].rank, infer->in[0].dims, "'x'", error);
}

#define BY_TANH (&(const TnGeluAttrs){ TN_GELU_TANH })
static const NnCase gelu_grad_cases[] = {
    { 2, { NN_RANK0, NN_RANK0 } },
    { 2, { NN_SHAPE(2, 3), NN_SHAPE(2, 3) }, .attrs = BY_TANH },
    { 2, { NN_SHAPE(1031), NN_SHAPE(1031) } },
    { 2, { NN_SHAPE(2, 1, 4, 3), NN_SHAPE(2, 1, 4, 3) }, .attrs = BY_TANH },
    { 2, { NN_SHAPE(0, 3), NN_SHAPE(0, 3) } },
};
NN_SAMPLER(gelu_grad_sample, gelu_grad_cases, TnGeluAttrs)

NN_OP(gelu_grad, NULL, "Gradient of gelu in x", .flags = TN_OP_ELEMENTWISE,
      NN_IN(NN_ARG("x", 'T', TN_DTYPES_FLOAT, "any shape"),
            NN_ARG("g", 'T', TN_DTYPES_FLOAT, "x's shape")),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "x's shape")),
      .attrs = TN_OPTIONS(TnGeluAttrs, gelu_rows), .infer = gelu_grad_infer, .body = gelu_grad_body,
      .sample = gelu_grad_sample, .in_place = 3, .precision = TN_PRECISION_FOLLOW);
