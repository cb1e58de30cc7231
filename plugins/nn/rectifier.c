/* rectifier.c: activations with kinks: rectifiers, exponential units, piecewise linear ones. */
#include "unary.h"

/* --- Rectifiers ------------------------------------------------------------------------------ */

FORMULA(relu)
{
    return tn_f_max(graph, x, nn_constant(graph, x, 0));
}

/* From y, so that x need not be kept. */
RULE(relu)
{
    return nn_gated(graph, nn_positive(graph, y), g);
}

FORMULA(leaky_relu)
{
    const double alpha = ((const TnAlphaAttrs *)attrs)->alpha;
    return tn_f_where(graph, nn_positive(graph, x), x, nn_scaled(graph, x, alpha));
}

RULE(leaky_relu)
{
    const double alpha = ((const TnAlphaAttrs *)attrs)->alpha;
    return tn_f_where(graph, nn_positive(graph, x), g, nn_scaled(graph, g, alpha));
}

FORMULA(thresholded_relu)
{
    const double alpha = ((const TnAlphaAttrs *)attrs)->alpha;
    return nn_gated(graph, tn_f_greater(graph, x, nn_constant(graph, x, alpha)), x);
}

RULE(thresholded_relu)
{
    const double alpha = ((const TnAlphaAttrs *)attrs)->alpha;
    return nn_gated(graph, tn_f_greater(graph, x, nn_constant(graph, x, alpha)), g);
}

/* exp (x) - 1 of numbers that are not positive, as tanh (x / 2) (exp (x) + 1): nothing is lost near
 * 0, in fewer steps than nn_expm1, which is right for all numbers. */
static TnVal
low_expm1(TnGraph *graph, TnVal x)
{
    const TnVal bend = tn_f_tanh(graph, nn_scaled(graph, x, 0.5));
    return tn_f_mul(graph, bend, nn_shifted(graph, tn_f_exp(graph, x), 1));
}

/* gamma x where x > 0, gamma alpha (exp (x / width) - 1) elsewhere: elu, celu and selu. exp
 * never sees a positive number, so that no infinity reaches a gradient. */
static TnVal
exponential_unit(TnGraph *graph, TnVal x, double alpha, double gamma, double width)
{
    TnVal low = tn_f_min(graph, x, nn_constant(graph, x, 0));
    low = width == 1 ? low : tn_f_div(graph, low, nn_constant(graph, x, width));
    const TnVal curve = nn_scaled(graph, low_expm1(graph, low), alpha * gamma);
    const TnVal line = gamma == 1 ? x : nn_scaled(graph, x, gamma);
    return tn_f_where(graph, nn_positive(graph, x), line, curve);
}

/* There y + alpha gamma = alpha gamma exp (x / width). */
static TnVal
exponential_rule(TnGraph *graph, TnVal x, TnVal y, TnVal g, double alpha, double gamma,
                 double width)
{
    TnVal slope = nn_shifted(graph, y, alpha * gamma);
    slope = width == 1 ? slope : nn_scaled(graph, slope, 1 / width);
    const TnVal line = gamma == 1 ? g : nn_scaled(graph, g, gamma);
    return tn_f_where(graph, nn_positive(graph, x), line, tn_f_mul(graph, g, slope));
}

FORMULA(elu)
{
    return exponential_unit(graph, x, ((const TnAlphaAttrs *)attrs)->alpha, 1, 1);
}

RULE(elu)
{
    return exponential_rule(graph, x, y, g, ((const TnAlphaAttrs *)attrs)->alpha, 1, 1);
}

FORMULA(celu)
{
    const double alpha = ((const TnAlphaAttrs *)attrs)->alpha;
    return exponential_unit(graph, x, alpha, 1, alpha);
}

RULE(celu)
{
    const double alpha = ((const TnAlphaAttrs *)attrs)->alpha;
    return exponential_rule(graph, x, y, g, alpha, 1, alpha);
}

FORMULA(selu)
{
    const TnSeluAttrs *selu = attrs;
    return exponential_unit(graph, x, selu->alpha, selu->gamma, 1);
}

RULE(selu)
{
    const TnSeluAttrs *selu = attrs;
    return exponential_rule(graph, x, y, g, selu->alpha, selu->gamma, 1);
}

/* --- Piecewise linear ones ------------------------------------------------------------------- */

static TnVal
ramp(TnGraph *graph, TnVal x, double alpha, double beta)
{
    const TnVal line = nn_shifted(graph, nn_scaled(graph, x, alpha), beta);
    const TnVal least = tn_f_max(graph, line, nn_constant(graph, x, 0));
    return tn_f_min(graph, least, nn_constant(graph, x, 1));
}

/* Strictly between low and high. */
static TnVal
between(TnGraph *graph, TnVal x, double low, double high)
{
    const TnVal above = tn_f_greater(graph, x, nn_constant(graph, x, low));
    return tn_f_and(graph, above, tn_f_less(graph, x, nn_constant(graph, x, high)));
}

FORMULA(hard_sigmoid)
{
    const TnHardSigmoidAttrs *hard = attrs;
    return ramp(graph, x, hard->alpha, hard->beta);
}

RULE(hard_sigmoid)
{
    const double alpha = ((const TnHardSigmoidAttrs *)attrs)->alpha;
    return nn_gated(graph, between(graph, y, 0, 1), nn_scaled(graph, g, alpha));
}

FORMULA(hard_swish)
{
    return tn_f_mul(graph, x, ramp(graph, x, 1.0 / 6, 0.5));
}

/* ramp (x) + x / 6 on the ramp */
RULE(hard_swish)
{
    const TnVal height = ramp(graph, x, 1.0 / 6, 0.5);
    const TnVal slope = nn_gated(graph, between(graph, x, -3, 3), nn_scaled(graph, x, 1.0 / 6));
    return tn_f_mul(graph, g, tn_f_add(graph, height, slope));
}

FORMULA(clip)
{
    const TnClipAttrs *clip = attrs;
    TnVal y = x;
    y = clip->min > -DBL_MAX ? tn_f_max(graph, y, nn_constant(graph, x, clip->min)) : y;
    y = clip->max < DBL_MAX ? tn_f_min(graph, y, nn_constant(graph, x, clip->max)) : y;
    return tn_val_equal(y, x) ? nn_1(graph, "identity", NULL, x) : y;
}

/* PyTorch's: the bounds themselves pass the gradient on. */
RULE(clip)
{
    const TnClipAttrs *clip = attrs;
    TnVal grad = g;
    if (clip->min > -DBL_MAX) {
        const TnVal above = tn_f_greater_or_equal(graph, x, nn_constant(graph, x, clip->min));
        grad = nn_gated(graph, above, grad);
    }
    if (clip->max < DBL_MAX) {
        const TnVal below = tn_f_less_or_equal(graph, x, nn_constant(graph, x, clip->max));
        grad = nn_gated(graph, below, grad);
    }
    return grad;
}

/* --- Attributes and samples ------------------------------------------------------------------ */

#define ALPHA(dflt_, ...)                                                                          \
    NN_ATTR(TnAlphaAttrs, alpha, TN_OPT_DOUBLE, "slope or height of the lower part",               \
            .dflt = (dflt_), ##__VA_ARGS__)
static const TnOption leaky_rows[] = { ALPHA("0.01") };
static const TnOption elu_rows[] = { ALPHA("1") };
static const TnOption celu_rows[] = { ALPHA("1", TN_RANGE_F(0, DBL_MAX),
                                            .flags = TN_OPTION_OPEN_MIN) };
static const TnOption thresholded_rows[] = {
    NN_ATTR(TnAlphaAttrs, alpha, TN_OPT_DOUBLE, "what is not above it becomes 0", .dflt = "1"),
};
static const TnOption selu_rows[] = {
    NN_ATTR(TnSeluAttrs, alpha, TN_OPT_DOUBLE, "height of the lower part before scaling",
            .dflt = "1.6732632423543772"),
    NN_ATTR(TnSeluAttrs, gamma, TN_OPT_DOUBLE, "scale of the whole", .dflt = "1.0507009873554805"),
};
static const TnOption hard_sigmoid_rows[] = {
    NN_ATTR(TnHardSigmoidAttrs, alpha, TN_OPT_DOUBLE, "slope", .dflt = "0.2"),
    NN_ATTR(TnHardSigmoidAttrs, beta, TN_OPT_DOUBLE, "height at 0", .dflt = "0.5"),
};
static const TnOption clip_rows[] = {
    NN_ATTR(TnClipAttrs, min, TN_OPT_DOUBLE, "lower bound", .dflt = "-1.7976931348623157e308"),
    NN_ATTR(TnClipAttrs, max, TN_OPT_DOUBLE, "upper bound", .dflt = "1.7976931348623157e308"),
};

ATTRS_SAMPLER(alpha_sample, TnAlphaAttrs, { 0.3 }, { 1.5 })
ATTRS_SAMPLER(hard_sigmoid_sample, TnHardSigmoidAttrs, { 0.1, 0.25 })
ATTRS_SAMPLER(selu_sample, TnSeluAttrs, { 1.5, 2 })
ATTRS_SAMPLER(thresholded_sample, TnAlphaAttrs, { 0 })
ATTRS_SAMPLER(clip_sample, TnClipAttrs, { -1, 1 }, { -1, DBL_MAX }, { -DBL_MAX, 1 })

/* --- The table ------------------------------------------------------------------------------- */

PLAIN(relu, "Relu", "max (x, 0)", KINK_AT_0);
WITH(leaky_relu, "LeakyRelu", "x where x > 0, else alpha x", TnAlphaAttrs, leaky_rows, alpha_sample,
     KINK_AT_0);
WITH(elu, "Elu", "x where x > 0, else alpha (exp (x) - 1)", TnAlphaAttrs, elu_rows, alpha_sample,
     KINK_AT_0);
WITH(celu, "Celu", "x where x > 0, else alpha (exp (x / alpha) - 1)", TnAlphaAttrs, celu_rows,
     alpha_sample, KINK_AT_0);
WITH(selu, "Selu", "gamma x where x > 0, else gamma alpha (exp (x) - 1)", TnSeluAttrs, selu_rows,
     selu_sample, KINK_AT_0);
WITH(thresholded_relu, "ThresholdedRelu", "x where x > alpha, else 0", TnAlphaAttrs,
     thresholded_rows, thresholded_sample, .kinks = { 0, 1 }, .n_kinks = 2, .gap = 0.1);
WITH(hard_sigmoid, "HardSigmoid", "alpha x + beta within [0, 1]", TnHardSigmoidAttrs,
     hard_sigmoid_rows, hard_sigmoid_sample, KINKS(-4, 4, -2.5, 2.5));
PLAIN(hard_swish, "HardSwish", "x times x / 6 + 1 / 2 within [0, 1]", KINKS(-4, 4, -3, 3));
UNARY(clip, "Clip", TN_DTYPES_NUMBER, "x within [min, max]", TN_OPTIONS(TnClipAttrs, clip_rows),
      clip_sample, clip_formula, clip_rule, nn_unary_vjp, TN_PRECISION_WIDE, KINKS(-2, 2, -1, 1));

/* --- prelu: a learned slope ------------------------------------------------------------------ */

static gboolean
prelu_infer(TnInfer *infer, GError **error)
{
    infer->out[0] = infer->in[0];
    return nn_infer_fits(infer, 1, &infer->in[0], "x", error);
}

static gboolean
prelu_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    (void)error;
    const TnVal x = nn_wide(graph, body->in[0]);
    const TnVal low = tn_f_mul(graph, x, nn_wide(graph, body->in[1]));
    const TnVal y = tn_f_where(graph, nn_positive(graph, x), x, low);
    body->out[0] = nn_to(graph, y, nn_dtype(graph, body->in[0]));
    return TRUE;
}

static const NnCase prelu_cases[] = {
    { 2, { NN_RANK0, NN_RANK0 } },
    { 2, { NN_SHAPE(2, 3), NN_SHAPE(3) } },
    { 2, { NN_SHAPE(2, 3, 4, 2), NN_SHAPE(3, 1, 1) } },
    { 2, { NN_SHAPE(5, 4), NN_SHAPE(1) } },
    { 2, { NN_SHAPE(0, 4), NN_SHAPE(4) } },
};
NN_SAMPLER(prelu_sample, prelu_cases, char)

NN_OP(prelu, "PRelu", "x where x > 0, else slope x", .flags = TN_OP_ELEMENTWISE,
      NN_IN(NN_ARG("x", 'T', TN_DTYPES_FLOAT, "any shape", KINK_AT_0),
            NN_ARG("slope", 'T', TN_DTYPES_FLOAT, "broadcasts to x's shape")),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "x's shape")), .infer = prelu_infer,
      .body = prelu_body, .sample = prelu_sample, .in_place = 1);
