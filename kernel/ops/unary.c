/* unary.c: element-wise operators of one input. */
#include "ops-private.h"

#include <math.h>

/* --- Attributes and infer --------------------------------------------------------------------- */

static const TnOption cast_rows[] = {
    TN_ATTR_DTYPE(TnCastAttrs, to, "dtype of the output", .flags = TN_OPTION_REQUIRED),
};

static gboolean
unary_infer(TnInfer *infer, GError **error)
{
    (void)error;
    return tn_infer_shape_of(infer, 0);
}

static gboolean
cast_infer(TnInfer *infer, GError **error)
{
    const TnCastAttrs *attrs = infer->attrs;
    if (attrs->to <= TN_DTYPE_NONE || attrs->to >= TN_N_DTYPES) {
        g_set_error(error, TN_ERROR, TN_ERROR_DTYPE, "attribute 'to' must name a dtype");
        return FALSE;
    }
    infer->out[0].dtype = (TnDtype)attrs->to;
    return tn_infer_shape_of(infer, 0);
}

static gboolean
bitcast_infer(TnInfer *infer, GError **error)
{
    if (!cast_infer(infer, error)) {
        return FALSE;
    }
    const TnDtypeInfo *from = tn_dtype_info(infer->in[0].dtype);
    const TnDtypeInfo *to = tn_dtype_info(infer->out[0].dtype);
    if (from->bits == to->bits && to->klass != TN_CLASS_BOOL) {
        return TRUE;
    }
    g_set_error(error, TN_ERROR, TN_ERROR_DTYPE,
                "input 'x' is %s of %u bits, 'to' is %s: must be a number of the same width",
                from->name, from->bits, to->name);
    return FALSE;
}

/* --- Gradients: g times the derivative -------------------------------------------------------- */

static TnVal
neg_rule(TnVjp *v, TnVal g)
{
    return tn_f_neg(v->graph, g);
}

static TnVal
abs_rule(TnVjp *v, TnVal g)
{
    return tn_f_mul(v->graph, g, tn_f_sign(v->graph, v->in[0]));
}

static TnVal
exp_rule(TnVjp *v, TnVal g)
{
    return tn_f_mul(v->graph, g, v->out[0]);
}

static TnVal
log_rule(TnVjp *v, TnVal g)
{
    return tn_f_div(v->graph, g, v->in[0]);
}

static TnVal
sqrt_rule(TnVjp *v, TnVal g)
{
    const TnVal half = tn_f_mul(v->graph, g, tn_f_const(v->graph, g, 0.5));
    return tn_f_div(v->graph, half, v->out[0]);
}

static TnVal
reciprocal_rule(TnVjp *v, TnVal g)
{
    const TnVal square = tn_f_mul(v->graph, v->out[0], v->out[0]);
    return tn_f_neg(v->graph, tn_f_mul(v->graph, g, square));
}

static TnVal
sin_rule(TnVjp *v, TnVal g)
{
    return tn_f_mul(v->graph, g, tn_f_cos(v->graph, v->in[0]));
}

static TnVal
cos_rule(TnVjp *v, TnVal g)
{
    return tn_f_neg(v->graph, tn_f_mul(v->graph, g, tn_f_sin(v->graph, v->in[0])));
}

static TnVal
tanh_rule(TnVjp *v, TnVal g)
{
    const TnVal square = tn_f_mul(v->graph, v->out[0], v->out[0]);
    const TnVal one = tn_f_const(v->graph, g, 1);
    return tn_f_mul(v->graph, g, tn_f_sub(v->graph, one, square));
}

/* 2 / sqrt(pi) * exp(-x^2) */
static TnVal
erf_rule(TnVjp *v, TnVal g)
{
    const TnVal x = v->in[0];
    const TnVal bell = tn_f_exp(v->graph, tn_f_neg(v->graph, tn_f_mul(v->graph, x, x)));
    const TnVal factor = tn_f_const(v->graph, g, M_2_SQRTPI);
    return tn_f_mul(v->graph, g, tn_f_mul(v->graph, factor, bell));
}

/* Between floats; whatever passed through an integer has no gradient. */
static TnVal
cast_rule(TnVjp *v, TnVal g)
{
    const TnDtype from = tn_graph_type(v->graph, v->in[0])->dtype;
    const TnDtype to = tn_graph_type(v->graph, v->out[0])->dtype;
    if (!tn_dtype_in(from, TN_DTYPES_FLOAT) || !tn_dtype_in(to, TN_DTYPES_FLOAT)) {
        return TN_VAL_NONE;
    }
    return tn_f_cast(v->graph, g, from);
}

/* --- Samples ---------------------------------------------------------------------------------- */

/* Every dtype (i of those that `set` holds) over every shape. */
static gboolean
sample_to(TnSample *sample, TnDtypes set)
{
    guint left = sample->variant;
    for (gint to = TN_DTYPE_NONE + 1; to < TN_N_DTYPES; to++) {
        if (!tn_dtype_in((TnDtype)to, set)) {
            continue;
        }
        if (left < tn_sample_n_shapes()) {
            ((TnCastAttrs *)sample->attrs)->to = to;
            return tn_sample_shape(sample, left);
        }
        left -= tn_sample_n_shapes();
    }
    return FALSE;
}

static gboolean
cast_sample(TnSample *sample)
{
    return sample_to(sample, TN_DTYPES_ALL);
}

static gboolean
bitcast_sample(TnSample *sample)
{
    TnDtypes same = 0;
    for (gint to = TN_DTYPE_NONE + 1; to < TN_DTYPE_BOOL; to++) {
        const gboolean fits = tn_dtype_size((TnDtype)to) == tn_dtype_size(sample->dtype);
        same |= fits ? 1u << to : 0;
    }
    return sample_to(sample, same);
}

/* --- The table -------------------------------------------------------------------------------- */

#define UNARY(name_, onnx_, set, help_, rule_, ...)                                                \
    {                                                                                              \
        .op = { TN_OP(name_, onnx_, help_),                                                        \
                .flags = TN_OP_ELEMENTWISE,                                                        \
                TN_INPUTS(TN_ARG_ROW("x", 'T', set, "any shape", ##__VA_ARGS__)),                  \
                TN_OUTPUTS(TN_ARG_ROW("out", 'T', set, "x's shape")),                              \
                .infer = unary_infer,                                                              \
                .vjp = tn_vjp_elementwise,                                                         \
                .sample = tn_sample_unary,                                                         \
                .in_place = 1 },                                                                   \
        .rule = {                                                                                  \
            rule_                                                                                  \
        }                                                                                          \
    }
/* No gradient; `out` has its own dtypes where they are not x's. */
#define UNARY_FLAT(name_, onnx_, set, letter_out, set_out, help_, ...)                             \
    {                                                                                              \
        .op = {                                                                                    \
            TN_OP(name_, onnx_, help_),                                                            \
            .flags = TN_OP_ELEMENTWISE | TN_OP_NO_GRAD,                                            \
            TN_INPUTS(TN_ARG_ROW("x", 'T', set, "any shape", ##__VA_ARGS__)),                      \
            TN_OUTPUTS(TN_ARG_ROW("out", letter_out, set_out, "x's shape")),                       \
            .infer = unary_infer,                                                                  \
            .sample = tn_sample_unary,                                                             \
            .in_place = 1                                                                          \
        }                                                                                          \
    }
#define KINK_AT_0 .kinks = { 0 }, .n_kinks = 1, .gap = 0.1
#define CASTING(name_, onnx_, set, set_out, help_, flags_, infer_, sample_)                        \
    .op = { TN_OP(name_, onnx_, help_),                                                            \
            .flags = TN_OP_ELEMENTWISE | (flags_),                                                 \
            TN_INPUTS(TN_ARG_ROW("x", 'T', set, "any shape")),                                     \
            TN_OUTPUTS(TN_ARG_ROW("out", 'O', set_out, "x's shape")),                              \
            .attrs = TN_OPTIONS(TnCastAttrs, cast_rows),                                           \
            .infer = infer_,                                                                       \
            .vjp = tn_vjp_elementwise,                                                             \
            .sample = sample_,                                                                     \
            .in_place = 1 }
#define SAME(name_, onnx_, help_, flags_, rule_)                                                   \
    {                                                                                              \
        .op = { TN_OP(name_, onnx_, help_),                                                        \
                .flags = TN_OP_ELEMENTWISE | TN_OP_VIEW | (flags_),                                \
                TN_INPUTS(TN_ARG_ROW("x", 'T', TN_DTYPES_ALL, "any shape")),                       \
                TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "x's shape")),                    \
                .infer = unary_infer,                                                              \
                .vjp = tn_vjp_elementwise,                                                         \
                .view = tn_view_same,                                                              \
                .sample = tn_sample_unary,                                                         \
                .in_place = 1 },                                                                   \
        .rule = {                                                                                  \
            rule_                                                                                  \
        }                                                                                          \
    }

static const TnPrimitive rows[] = {
    SAME("identity", "Identity", "The input itself", 0, tn_rule_pass),
    SAME("stop_gradient", NULL, "The input itself, through which no gradient passes", TN_OP_NO_GRAD,
         NULL),
    UNARY("neg", "Neg", TN_DTYPES_NUMBER, "-x", neg_rule),
    UNARY("abs", "Abs", TN_DTYPES_NUMBER, "|x|", abs_rule, KINK_AT_0),
    UNARY_FLAT("sign", "Sign", TN_DTYPES_NUMBER, 'T', TN_DTYPES_NUMBER, "-1, 0 or 1", KINK_AT_0),
    UNARY("exp", "Exp", TN_DTYPES_FLOAT, "e to the x", exp_rule),
    UNARY("log", "Log", TN_DTYPES_FLOAT, "Natural logarithm", log_rule, .lo = 0.2, .hi = 4),
    UNARY("sqrt", "Sqrt", TN_DTYPES_FLOAT, "Square root", sqrt_rule, .lo = 0.2, .hi = 4),
    UNARY("reciprocal", "Reciprocal", TN_DTYPES_FLOAT, "1 / x", reciprocal_rule, .lo = -2, .hi = 2,
          .kinks = { 0 }, .n_kinks = 1, .gap = 0.3),
    UNARY("sin", "Sin", TN_DTYPES_FLOAT, "Sine of radians", sin_rule, .lo = -4, .hi = 4),
    UNARY("cos", "Cos", TN_DTYPES_FLOAT, "Cosine of radians", cos_rule, .lo = -4, .hi = 4),
    UNARY("tanh", "Tanh", TN_DTYPES_FLOAT, "Hyperbolic tangent", tanh_rule),
    UNARY("erf", "Erf", TN_DTYPES_FLOAT, "Error function", erf_rule),
    UNARY_FLAT("floor", "Floor", TN_DTYPES_FLOAT, 'T', TN_DTYPES_FLOAT,
               "Largest integer not above x", .lo = -1.9, .hi = 1.9, .kinks = { -1, 0, 1 },
               .n_kinks = 3, .gap = 0.1),
    UNARY_FLAT("ceil", "Ceil", TN_DTYPES_FLOAT, 'T', TN_DTYPES_FLOAT,
               "Smallest integer not below x", .lo = -1.9, .hi = 1.9, .kinks = { -1, 0, 1 },
               .n_kinks = 3, .gap = 0.1),
    UNARY_FLAT("round", "Round", TN_DTYPES_FLOAT, 'T', TN_DTYPES_FLOAT,
               "Nearest integer, halves to the even one", .lo = -2, .hi = 2,
               .kinks = { -1.5, -0.5, 0.5, 1.5 }, .n_kinks = 4, .gap = 0.1),
    UNARY_FLAT("not", "Not", TN_BOOL, 'T', TN_BOOL, "Logical negation"),
    UNARY_FLAT("bitwise_not", "BitwiseNot", TN_INTEGERS, 'T', TN_INTEGERS, "Every bit turned"),
    UNARY_FLAT("isnan", "IsNaN", TN_DTYPES_FLOAT, 'B', TN_BOOL, "Whether x is not a number"),
    { CASTING("cast", "Cast", TN_DTYPES_ALL, TN_DTYPES_ALL, "Converted to another dtype", 0,
              cast_infer, cast_sample),
      .rule = { cast_rule } },
    { CASTING("bitcast", "BitCast", TN_DTYPES_NUMBER, TN_DTYPES_NUMBER,
              "The same bytes read as another dtype of the same width", TN_OP_NO_GRAD,
              bitcast_infer, bitcast_sample) },
};

const TnFamily tn_family_unary = { rows, G_N_ELEMENTS(rows) };
