/* activation.c: element-wise composites: a formula and, where the body's own gradient is longer
 * or wrong at a kink, a formula of the gradient. */
#include "nn.h"

/* Values come in C and go back to the outputs' dtypes. */
typedef TnVal (*Formula)(TnGraph *graph, const void *attrs, TnVal x);
/* The gradient in x from y = formula (x) and its gradient g. */
typedef TnVal (*Rule)(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g);

typedef struct {
    TnOp op; /* the schema others see: a pointer to it is one to the row */
    Formula formula;
    Rule rule;
} Unary;

static gboolean
unary_body(TnBody *body, GError **error)
{
    const Unary *row = (const Unary *)body->op;
    const TnVal x = body->in[0];
    (void)error;
    const TnVal y = row->formula(body->graph, body->attrs, nn_wide(body->graph, x));
    const TnDtype dtype = nn_dtype(body->graph, y);
    const gboolean same = dtype == nn_wider(nn_dtype(body->graph, x));
    body->out[0] = same ? nn_to(body->graph, y, nn_dtype(body->graph, x)) : y;
    return TRUE;
}

static gboolean
unary_vjp(TnVjp *v, GError **error)
{
    const Unary *row = (const Unary *)v->op;
    TnGraph *graph = v->graph;
    (void)error;
    if (v->need[0] && !tn_val_is_none(v->grad_out[0])) {
        const TnVal grad = row->rule(graph, v->attrs, nn_wide(graph, v->in[0]),
                                     nn_wide(graph, v->out[0]), nn_wide(graph, v->grad_out[0]));
        v->grad_in[0] = nn_to(graph, grad, nn_dtype(graph, v->in[0]));
    }
    return TRUE;
}

static TnVal
constant(TnGraph *graph, TnVal x, double value)
{
    return tn_f_const(graph, x, value);
}

static TnVal
scaled(TnGraph *graph, TnVal x, double factor)
{
    return tn_f_mul(graph, x, constant(graph, x, factor));
}

static TnVal
shifted(TnGraph *graph, TnVal x, double term)
{
    return tn_f_add(graph, x, constant(graph, x, term));
}

static TnVal
positive(TnGraph *graph, TnVal x)
{
    return tn_f_greater(graph, x, constant(graph, x, 0));
}

/* g where the condition holds, else 0. */
static TnVal
gated(TnGraph *graph, TnVal condition, TnVal g)
{
    return tn_f_where(graph, condition, g, constant(graph, g, 0));
}

/* --- Rectifiers ------------------------------------------------------------------------------ */

static TnVal
relu_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    (void)attrs;
    return tn_f_max(graph, x, constant(graph, x, 0));
}

/* From y, so that x need not be kept. */
static TnVal
relu_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    (void)attrs;
    (void)x;
    return gated(graph, positive(graph, y), g);
}

static TnVal
leaky_relu_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    const double alpha = ((const TnAlphaAttrs *)attrs)->alpha;
    return tn_f_where(graph, positive(graph, x), x, scaled(graph, x, alpha));
}

static TnVal
leaky_relu_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    const double alpha = ((const TnAlphaAttrs *)attrs)->alpha;
    (void)y;
    return tn_f_where(graph, positive(graph, x), g, scaled(graph, g, alpha));
}

static TnVal
thresholded_relu_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    const double alpha = ((const TnAlphaAttrs *)attrs)->alpha;
    return gated(graph, tn_f_greater(graph, x, constant(graph, x, alpha)), x);
}

static TnVal
thresholded_relu_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    const double alpha = ((const TnAlphaAttrs *)attrs)->alpha;
    (void)y;
    return gated(graph, tn_f_greater(graph, x, constant(graph, x, alpha)), g);
}

/* exp (x) - 1 of numbers that are not positive, as tanh (x / 2) (exp (x) + 1): nothing is lost near
 * 0, in fewer steps than nn_expm1, which is right for all numbers. */
static TnVal
low_expm1(TnGraph *graph, TnVal x)
{
    const TnVal bend = tn_f_tanh(graph, scaled(graph, x, 0.5));
    return tn_f_mul(graph, bend, shifted(graph, tn_f_exp(graph, x), 1));
}

/* gamma x where x > 0, gamma alpha (exp (x / width) - 1) elsewhere: elu, celu and selu. exp
 * never sees a positive number, so that no infinity reaches a gradient. */
static TnVal
exponential_unit(TnGraph *graph, TnVal x, double alpha, double gamma, double width)
{
    TnVal low = tn_f_min(graph, x, constant(graph, x, 0));
    low = width == 1 ? low : tn_f_div(graph, low, constant(graph, x, width));
    const TnVal curve = scaled(graph, low_expm1(graph, low), alpha * gamma);
    const TnVal line = gamma == 1 ? x : scaled(graph, x, gamma);
    return tn_f_where(graph, positive(graph, x), line, curve);
}

/* There y + alpha gamma = alpha gamma exp (x / width). */
static TnVal
exponential_rule(TnGraph *graph, TnVal x, TnVal y, TnVal g, double alpha, double gamma,
                 double width)
{
    TnVal slope = shifted(graph, y, alpha * gamma);
    slope = width == 1 ? slope : scaled(graph, slope, 1 / width);
    const TnVal line = gamma == 1 ? g : scaled(graph, g, gamma);
    return tn_f_where(graph, positive(graph, x), line, tn_f_mul(graph, g, slope));
}

static TnVal
elu_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    return exponential_unit(graph, x, ((const TnAlphaAttrs *)attrs)->alpha, 1, 1);
}

static TnVal
elu_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    return exponential_rule(graph, x, y, g, ((const TnAlphaAttrs *)attrs)->alpha, 1, 1);
}

static TnVal
celu_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    const double alpha = ((const TnAlphaAttrs *)attrs)->alpha;
    return exponential_unit(graph, x, alpha, 1, alpha);
}

static TnVal
celu_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    const double alpha = ((const TnAlphaAttrs *)attrs)->alpha;
    return exponential_rule(graph, x, y, g, alpha, 1, alpha);
}

static TnVal
selu_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    const TnSeluAttrs *selu = attrs;
    return exponential_unit(graph, x, selu->alpha, selu->gamma, 1);
}

static TnVal
selu_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    const TnSeluAttrs *selu = attrs;
    return exponential_rule(graph, x, y, g, selu->alpha, selu->gamma, 1);
}

/* --- Smooth ones ----------------------------------------------------------------------------- */

static TnVal
gelu_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    TnVal bend;
    if (((const TnGeluAttrs *)attrs)->approximate == TN_GELU_TANH) {
        const TnVal cube = tn_f_mul(graph, tn_f_mul(graph, x, x), x);
        const TnVal inner = tn_f_add(graph, x, scaled(graph, cube, 0.044715));
        bend = tn_f_tanh(graph, scaled(graph, inner, sqrt(2 / G_PI)));
    } else {
        bend = tn_f_erf(graph, scaled(graph, x, sqrt(0.5)));
    }
    return tn_f_mul(graph, scaled(graph, x, 0.5), shifted(graph, bend, 1));
}

/* An operator of its own, so that nothing of the formula is kept until then but x. */
static TnVal
gelu_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    (void)y;
    return nn_2(graph, "gelu_grad", attrs, x, g);
}

static TnVal
sigmoid_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    (void)attrs;
    return nn_sigmoid(graph, x);
}

static TnVal
sigmoid_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    (void)attrs;
    (void)x;
    const TnVal rest = tn_f_sub(graph, constant(graph, y, 1), y);
    return tn_f_mul(graph, g, tn_f_mul(graph, y, rest));
}

static TnVal
log_sigmoid_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    (void)attrs;
    return tn_f_neg(graph, nn_softplus(graph, tn_f_neg(graph, x)));
}

static TnVal
log_sigmoid_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    (void)attrs;
    (void)y;
    return tn_f_mul(graph, g, nn_1(graph, "sigmoid", NULL, tn_f_neg(graph, x)));
}

static TnVal
silu_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    (void)attrs;
    return tn_f_mul(graph, x, nn_sigmoid(graph, x));
}

/* s (1 + x (1 - s)) with s = sigmoid (x) */
static TnVal
silu_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    (void)attrs;
    const TnVal s = nn_1(graph, "sigmoid", NULL, x);
    return tn_f_mul(graph, g, tn_f_add(graph, s, tn_f_sub(graph, y, tn_f_mul(graph, y, s))));
}

static TnVal
softplus_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    (void)attrs;
    return nn_softplus(graph, x);
}

static TnVal
softplus_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    (void)attrs;
    (void)y;
    return tn_f_mul(graph, g, nn_1(graph, "sigmoid", NULL, x));
}

static TnVal
softsign_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    (void)attrs;
    return tn_f_div(graph, x, shifted(graph, tn_f_abs(graph, x), 1));
}

static TnVal
softsign_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    (void)attrs;
    (void)y;
    const TnVal size = shifted(graph, tn_f_abs(graph, x), 1);
    return tn_f_div(graph, g, tn_f_mul(graph, size, size));
}

static TnVal
mish_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    (void)attrs;
    return tn_f_mul(graph, x, tn_f_tanh(graph, nn_softplus(graph, x)));
}

/* t + x (1 - t^2) sigmoid (x) with t = tanh (softplus (x)) */
static TnVal
mish_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    (void)attrs;
    (void)y;
    const TnVal t = tn_f_tanh(graph, nn_1(graph, "softplus", NULL, x));
    const TnVal bend = tn_f_sub(graph, constant(graph, x, 1), tn_f_mul(graph, t, t));
    const TnVal rest = tn_f_mul(graph, bend, nn_1(graph, "sigmoid", NULL, x));
    return tn_f_mul(graph, g, tn_f_add(graph, t, tn_f_mul(graph, x, rest)));
}

/* --- Piecewise linear ones ------------------------------------------------------------------- */

static TnVal
ramp(TnGraph *graph, TnVal x, double alpha, double beta)
{
    const TnVal line = shifted(graph, scaled(graph, x, alpha), beta);
    const TnVal least = tn_f_max(graph, line, constant(graph, x, 0));
    return tn_f_min(graph, least, constant(graph, x, 1));
}

/* Strictly between low and high. */
static TnVal
between(TnGraph *graph, TnVal x, double low, double high)
{
    const TnVal above = tn_f_greater(graph, x, constant(graph, x, low));
    return tn_f_and(graph, above, tn_f_less(graph, x, constant(graph, x, high)));
}

static TnVal
hard_sigmoid_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    const TnHardSigmoidAttrs *hard = attrs;
    return ramp(graph, x, hard->alpha, hard->beta);
}

static TnVal
hard_sigmoid_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    (void)x;
    const double alpha = ((const TnHardSigmoidAttrs *)attrs)->alpha;
    return gated(graph, between(graph, y, 0, 1), scaled(graph, g, alpha));
}

static TnVal
hard_swish_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    (void)attrs;
    return tn_f_mul(graph, x, ramp(graph, x, 1.0 / 6, 0.5));
}

/* ramp (x) + x / 6 on the ramp */
static TnVal
hard_swish_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    (void)attrs;
    (void)y;
    const TnVal height = ramp(graph, x, 1.0 / 6, 0.5);
    const TnVal slope = gated(graph, between(graph, x, -3, 3), scaled(graph, x, 1.0 / 6));
    return tn_f_mul(graph, g, tn_f_add(graph, height, slope));
}

static TnVal
clip_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    const TnClipAttrs *clip = attrs;
    TnVal y = x;
    y = clip->min > -DBL_MAX ? tn_f_max(graph, y, constant(graph, x, clip->min)) : y;
    y = clip->max < DBL_MAX ? tn_f_min(graph, y, constant(graph, x, clip->max)) : y;
    return tn_val_equal(y, x) ? nn_1(graph, "identity", NULL, x) : y;
}

/* PyTorch's: the bounds themselves pass the gradient on. */
static TnVal
clip_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    const TnClipAttrs *clip = attrs;
    (void)y;
    TnVal grad = g;
    if (clip->min > -DBL_MAX) {
        const TnVal above = tn_f_greater_or_equal(graph, x, constant(graph, x, clip->min));
        grad = gated(graph, above, grad);
    }
    if (clip->max < DBL_MAX) {
        const TnVal below = tn_f_less_or_equal(graph, x, constant(graph, x, clip->max));
        grad = gated(graph, below, grad);
    }
    return grad;
}

/* --- Mathematical functions ------------------------------------------------------------------ */

static TnVal
square_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    (void)attrs;
    return tn_f_mul(graph, x, x);
}

static TnVal
rsqrt_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    (void)attrs;
    return tn_f_reciprocal(graph, tn_f_sqrt(graph, x));
}

/* -y^3 / 2 */
static TnVal
rsqrt_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    (void)attrs;
    (void)x;
    const TnVal cube = tn_f_mul(graph, tn_f_mul(graph, y, y), y);
    return tn_f_mul(graph, g, scaled(graph, cube, -0.5));
}

static TnVal
tan_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    (void)attrs;
    return tn_f_div(graph, tn_f_sin(graph, x), tn_f_cos(graph, x));
}

static TnVal
tan_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    (void)attrs;
    (void)x;
    return tn_f_mul(graph, g, shifted(graph, tn_f_mul(graph, y, y), 1));
}

/* (e + e / (e + 1)) / 2 with e = expm1 (x): no digits are lost near 0. */
static TnVal
sinh_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    (void)attrs;
    const TnVal e = nn_expm1(graph, tn_f_abs(graph, x));
    const TnVal tail =
        tn_f_sub(graph, constant(graph, x, 1), tn_f_reciprocal(graph, shifted(graph, e, 1)));
    const TnVal small = tn_f_div(graph, e, shifted(graph, e, 1));
    const TnVal far = tn_f_greater(graph, e, constant(graph, x, 1));
    const TnVal sum = tn_f_add(graph, e, tn_f_where(graph, far, tail, small));
    return tn_f_mul(graph, tn_f_sign(graph, x), scaled(graph, sum, 0.5));
}

static TnVal
sinh_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    (void)attrs;
    (void)y;
    return tn_f_mul(graph, g, nn_1(graph, "cosh", NULL, x));
}

static TnVal
cosh_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    (void)attrs;
    const TnVal e = tn_f_exp(graph, tn_f_abs(graph, x));
    return scaled(graph, tn_f_add(graph, e, tn_f_reciprocal(graph, e)), 0.5);
}

static TnVal
cosh_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    (void)attrs;
    (void)y;
    return tn_f_mul(graph, g, nn_1(graph, "sinh", NULL, x));
}

static TnVal
expm1_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    (void)attrs;
    return nn_expm1(graph, x);
}

static TnVal
expm1_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    (void)attrs;
    (void)x;
    return tn_f_mul(graph, g, shifted(graph, y, 1));
}

static TnVal
log1p_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    (void)attrs;
    return nn_log1p(graph, x);
}

static TnVal
log1p_rule(TnGraph *graph, const void *attrs, TnVal x, TnVal y, TnVal g)
{
    (void)attrs;
    (void)y;
    return tn_f_div(graph, g, shifted(graph, x, 1));
}

static TnVal
isinf_formula(TnGraph *graph, const void *attrs, TnVal x)
{
    (void)attrs;
    return tn_f_equal(graph, tn_f_abs(graph, x), constant(graph, x, INFINITY));
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
static const char *const approximations[] = { "none", "tanh", NULL };
static const TnOption gelu_rows[] = {
    NN_ATTR(TnGeluAttrs, approximate, TN_OPT_ENUM, "none: with erf; tanh: the approximation",
            .choices = approximations, .dflt = "none"),
};
static const TnOption hard_sigmoid_rows[] = {
    NN_ATTR(TnHardSigmoidAttrs, alpha, TN_OPT_DOUBLE, "slope", .dflt = "0.2"),
    NN_ATTR(TnHardSigmoidAttrs, beta, TN_OPT_DOUBLE, "height at 0", .dflt = "0.5"),
};
static const TnOption clip_rows[] = {
    NN_ATTR(TnClipAttrs, min, TN_OPT_DOUBLE, "lower bound", .dflt = "-1.7976931348623157e308"),
    NN_ATTR(TnClipAttrs, max, TN_OPT_DOUBLE, "upper bound", .dflt = "1.7976931348623157e308"),
};

static const TnShape shapes[] = {
    NN_RANK0, NN_SHAPE(7), NN_SHAPE(2, 3), NN_SHAPE(2, 1, 4, 3), NN_SHAPE(1031), NN_SHAPE(0, 3),
};

static gboolean
sample_shape(TnSample *sample, guint i)
{
    sample->n_in = 1;
    sample->in[0] = tn_type(sample->dtype, shapes[i].rank, shapes[i].dims);
    return TRUE;
}

static gboolean
unary_sample(TnSample *sample)
{
    return sample->variant < G_N_ELEMENTS(shapes) && sample_shape(sample, sample->variant);
}

/* Attributes that are not the defaults, on the shapes after those with the defaults. */
static gboolean
sample_attrs(TnSample *sample, const void *attrs, gsize size, guint n)
{
    const guint beyond = sample->variant - G_N_ELEMENTS(shapes);
    if (sample->variant < G_N_ELEMENTS(shapes)) {
        return sample_shape(sample, sample->variant);
    }
    if (beyond >= n) {
        return FALSE;
    }
    memcpy(sample->attrs, (const char *)attrs + beyond * size, size);
    return sample_shape(sample, beyond % 2 + 2);
}

#define ATTRS_SAMPLER(ident, Struct, ...)                                                          \
    static gboolean ident(TnSample *sample)                                                        \
    {                                                                                              \
        static const Struct more[] = { __VA_ARGS__ };                                              \
        return sample_attrs(sample, more, sizeof more[0], G_N_ELEMENTS(more));                     \
    }
ATTRS_SAMPLER(alpha_sample, TnAlphaAttrs, { 0.3 }, { 1.5 })
ATTRS_SAMPLER(gelu_sample, TnGeluAttrs, { TN_GELU_TANH }, { TN_GELU_TANH })
ATTRS_SAMPLER(hard_sigmoid_sample, TnHardSigmoidAttrs, { 0.1, 0.25 })
ATTRS_SAMPLER(selu_sample, TnSeluAttrs, { 1.5, 2 })
ATTRS_SAMPLER(thresholded_sample, TnAlphaAttrs, { 0 })
ATTRS_SAMPLER(clip_sample, TnClipAttrs, { -1, 1 }, { -1, DBL_MAX }, { -DBL_MAX, 1 })

/* --- The table ------------------------------------------------------------------------------- */

#define NO_ATTRS                                                                                   \
    {                                                                                              \
        0                                                                                          \
    }
#define KINK_AT_0 .kinks = { 0 }, .n_kinks = 1, .gap = 0.1
#define KINKS(lo_, hi_, a, b)                                                                      \
    .lo = (lo_), .hi = (hi_), .kinks = { (a), (b) }, .n_kinks = 2, .gap = 0.1
#define UNARY(ident, onnx_, set, help_, attrs_, sample_, formula_, rule_, vjp_, says, ...)         \
    static const Unary ident##_row = {                                                             \
        .op = { NN_HEAD(ident, onnx_, help_), .flags = TN_OP_ELEMENTWISE,                          \
                NN_IN(NN_ARG("x", 'T', set, "any shape", ##__VA_ARGS__)),                          \
                NN_OUT(NN_ARG("out", 'T', set, "x's shape")), .attrs = attrs_,                     \
                .infer = nn_infer_shape, .vjp = vjp_, .body = unary_body, .sample = sample_,       \
                .in_place = 1, .precision = says },                                                \
        .formula = formula_,                                                                       \
        .rule = rule_,                                                                             \
    };                                                                                             \
    NN_FACTORY(ident, help_, &ident##_row.op)
/* With a gradient rule, with attributes and one, with the body's gradient. */
#define PLAIN(ident, onnx_, help_, ...)                                                            \
    UNARY(ident, onnx_, TN_DTYPES_FLOAT, help_, NO_ATTRS, unary_sample, ident##_formula,           \
          ident##_rule, unary_vjp, TN_PRECISION_WIDE, ##__VA_ARGS__)
#define WITH(ident, onnx_, help_, Struct, rows_, sample_, ...)                                     \
    UNARY(ident, onnx_, TN_DTYPES_FLOAT, help_, TN_OPTIONS(Struct, rows_), sample_,                \
          ident##_formula, ident##_rule, unary_vjp, TN_PRECISION_WIDE, ##__VA_ARGS__)

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
UNARY(gelu, "Gelu", TN_DTYPES_FLOAT, "x times the normal distribution's cumulative function",
      TN_OPTIONS(TnGeluAttrs, gelu_rows), gelu_sample, gelu_formula, gelu_rule, unary_vjp,
      TN_PRECISION_FOLLOW);
PLAIN(sigmoid, "Sigmoid", "1 / (1 + exp (-x))", .lo = -6, .hi = 6);
PLAIN(log_sigmoid, NULL, "Logarithm of sigmoid", .lo = -6, .hi = 6, KINK_AT_0);
PLAIN(silu, "Swish", "x sigmoid (x)", .lo = -6, .hi = 6);
PLAIN(softplus, "Softplus", "log (1 + exp (x))", .lo = -6, .hi = 6, KINK_AT_0);
PLAIN(softsign, "Softsign", "x / (1 + |x|)", KINK_AT_0);
PLAIN(mish, "Mish", "x tanh (softplus (x))", .lo = -6, .hi = 6, KINK_AT_0);
WITH(hard_sigmoid, "HardSigmoid", "alpha x + beta within [0, 1]", TnHardSigmoidAttrs,
     hard_sigmoid_rows, hard_sigmoid_sample, KINKS(-4, 4, -2.5, 2.5));
PLAIN(hard_swish, "HardSwish", "x times x / 6 + 1 / 2 within [0, 1]", KINKS(-4, 4, -3, 3));
UNARY(clip, "Clip", TN_DTYPES_NUMBER, "x within [min, max]", TN_OPTIONS(TnClipAttrs, clip_rows),
      clip_sample, clip_formula, clip_rule, unary_vjp, TN_PRECISION_WIDE, KINKS(-2, 2, -1, 1));
UNARY(square, NULL, TN_DTYPES_NUMBER, "x x", NO_ATTRS, unary_sample, square_formula, NULL, NULL,
      TN_PRECISION_WIDE);
PLAIN(rsqrt, NULL, "1 / sqrt (x)", .lo = 0.2, .hi = 4);
PLAIN(tan, "Tan", "Tangent of radians", .lo = -1.2, .hi = 1.2);
PLAIN(sinh, "Sinh", "Hyperbolic sine", KINK_AT_0);
PLAIN(cosh, "Cosh", "Hyperbolic cosine", KINK_AT_0);
PLAIN(expm1, NULL, "exp (x) - 1, accurate near 0", .lo = -3, .hi = 3);
PLAIN(log1p, NULL, "log (1 + x), accurate near 0", .lo = -0.8, .hi = 4);

static const Unary isinf_row = {
    .op = { NN_HEAD(isinf, "IsInf", "Whether x is infinite"),
            .flags = TN_OP_ELEMENTWISE | TN_OP_NO_GRAD,
            NN_IN(NN_ARG("x", 'T', TN_DTYPES_FLOAT, "any shape")),
            NN_OUT(NN_ARG("out", 'B', TN_DT(BOOL), "x's shape")), .infer = nn_infer_shape,
            .body = unary_body, .sample = unary_sample },
    .formula = isinf_formula,
};
NN_FACTORY(isinf, "Whether x is infinite", &isinf_row.op);

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
    const TnVal y = tn_f_where(graph, positive(graph, x), x, low);
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
        const TnVal factor = shifted(graph, scaled(graph, square, 0.044715), 1);
        bend = tn_f_tanh(graph, scaled(graph, tn_f_mul(graph, x, factor), sqrt(2 / G_PI)));
        const TnVal outer = tn_f_sub(graph, constant(graph, x, 1), tn_f_mul(graph, bend, bend));
        const TnVal inner = shifted(graph, scaled(graph, square, 3 * 0.044715), 1);
        slope = scaled(graph, tn_f_mul(graph, outer, inner), sqrt(0.5 / G_PI));
    } else {
        bend = tn_f_erf(graph, scaled(graph, x, sqrt(0.5)));
        slope = scaled(graph, tn_f_exp(graph, scaled(graph, square, -0.5)), sqrt(0.5 / G_PI));
    }
    const TnVal share = scaled(graph, shifted(graph, bend, 1), 0.5);
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
