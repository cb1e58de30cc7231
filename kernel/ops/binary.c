/* binary.c: element-wise operators of two inputs that broadcast, and where. */
#include "graph/graph-private.h"
#include "ops-private.h"

static const TnOption mod_rows[] = {
    TN_ATTR(TnModAttrs, fmod, TN_OPT_BOOL, "the remainder has the dividend's sign",
            .dflt = "false"),
};
static const char *const directions[] = { "left", "right", NULL };
static const TnOption shift_rows[] = {
    TN_ATTR(TnBitShiftAttrs, direction, TN_OPT_ENUM, "where bits move", .choices = directions,
            .dflt = "left"),
};

/* --- Gradients -------------------------------------------------------------------------------- */

static TnVal
sub_b(TnVjp *v, TnVal g)
{
    return tn_f_neg(v->graph, g);
}

static TnVal
mul_a(TnVjp *v, TnVal g)
{
    return tn_f_mul(v->graph, g, v->in[1]);
}

static TnVal
mul_b(TnVjp *v, TnVal g)
{
    return tn_f_mul(v->graph, g, v->in[0]);
}

static TnVal
div_a(TnVjp *v, TnVal g)
{
    return tn_f_div(v->graph, g, v->in[1]);
}

/* -g a / b^2 */
static TnVal
div_b(TnVjp *v, TnVal g)
{
    const TnVal quotient = tn_f_div(v->graph, g, v->in[1]);
    return tn_f_neg(v->graph, tn_f_mul(v->graph, quotient, v->out[0]));
}

/* A rank-0 constant other than 0: the usual exponent, which needs no guard. */
static gboolean
is_nonzero_scalar(const TnGraph *graph, TnVal val)
{
    TnTensor *value = tn_graph_static_value(graph, val);
    return value != NULL && tn_tensor_rank(value) == 0 && tn_tensor_get(value, 0) != 0;
}

/* g b a^(b - 1); where a and b are 0 the derivative is 0, not 0 * 0^-1. */
static TnVal
pow_a(TnVjp *v, TnVal g)
{
    TnGraph *graph = v->graph;
    const TnVal a = v->in[0];
    const TnVal b = v->in[1];
    const TnVal one = tn_f_const(graph, b, 1);
    TnVal less = tn_f_sub(graph, b, one);
    if (!is_nonzero_scalar(graph, b)) {
        const TnVal zero = tn_f_const(graph, b, 0);
        const TnVal both = tn_f_and(graph, tn_f_equal(graph, a, zero), tn_f_equal(graph, b, zero));
        less = tn_f_where(graph, both, one, less);
    }
    return tn_f_mul(graph, g, tn_f_mul(graph, b, tn_f_pow(graph, a, less)));
}

/* g a^b log a; 0 where a is 0 and b is not negative: there the logarithm never sees that 0, so that
 * no NaN reaches further derivatives. Where b is negative both are infinite, and so is this. */
static TnVal
pow_b(TnVjp *v, TnVal g)
{
    TnGraph *graph = v->graph;
    const TnVal a = v->in[0];
    const TnVal b = v->in[1];
    const TnVal is_zero = tn_f_equal(graph, a, tn_f_const(graph, a, 0));
    const TnVal flat =
        tn_f_and(graph, is_zero, tn_f_greater_or_equal(graph, b, tn_f_const(graph, b, 0)));
    const TnVal safe = tn_f_where(graph, flat, tn_f_const(graph, a, 1), a);
    return tn_f_mul(graph, g, tn_f_mul(graph, v->out[0], tn_f_log(graph, safe)));
}

/* -g times the whole quotient that was taken off: floor (a / b), or truncated if fmod. */
static TnVal
mod_b(TnVjp *v, TnVal g)
{
    TnGraph *graph = v->graph;
    const TnModAttrs *attrs = v->attrs;
    TnVal whole = tn_f_div(graph, v->in[0], v->in[1]);
    if (attrs->fmod) {
        const TnVal size = tn_f_floor(graph, tn_f_abs(graph, whole));
        whole = tn_f_mul(graph, tn_f_sign(graph, whole), size);
    } else {
        whole = tn_f_floor(graph, whole);
    }
    return tn_f_neg(graph, tn_f_mul(graph, g, whole));
}

/* g where in[i] wins; half of it where both are equal. */
static TnVal
extreme(TnVjp *v, TnVal g, TnVal wins)
{
    TnGraph *graph = v->graph;
    const TnVal tie = tn_f_equal(graph, v->in[0], v->in[1]);
    const TnVal half = tn_f_mul(graph, g, tn_f_const(graph, g, 0.5));
    const TnVal rest = tn_f_where(graph, tie, half, tn_f_const(graph, g, 0));
    return tn_f_where(graph, wins, g, rest);
}

static TnVal
max_a(TnVjp *v, TnVal g)
{
    return extreme(v, g, tn_f_greater(v->graph, v->in[0], v->in[1]));
}

static TnVal
max_b(TnVjp *v, TnVal g)
{
    return extreme(v, g, tn_f_less(v->graph, v->in[0], v->in[1]));
}

static TnVal
where_a(TnVjp *v, TnVal g)
{
    return tn_f_where(v->graph, v->in[0], g, tn_f_const(v->graph, g, 0));
}

static TnVal
where_b(TnVjp *v, TnVal g)
{
    return tn_f_where(v->graph, v->in[0], tn_f_const(v->graph, g, 0), g);
}

/* --- Samples ---------------------------------------------------------------------------------- */

static gboolean
mod_sample(TnSample *sample)
{
    const guint variant = sample->variant;
    ((TnModAttrs *)sample->attrs)->fmod = (gint)(variant % 2);
    sample->variant = variant / 2;
    const gboolean ok = tn_sample_binary(sample);
    sample->variant = variant;
    return ok;
}

static gboolean
shift_sample(TnSample *sample)
{
    const guint variant = sample->variant;
    ((TnBitShiftAttrs *)sample->attrs)->direction = (gint)(variant % 2);
    sample->variant = variant / 2;
    const gboolean ok = tn_sample_binary(sample);
    sample->variant = variant;
    return ok;
}

static const TnCase where_cases[] = {
    { 3, { TN_RANK0, TN_RANK0, TN_RANK0 }, { TN_DTYPE_BOOL } },
    { 3, { TN_SHAPE_OF(2, 3), TN_SHAPE_OF(2, 3), TN_SHAPE_OF(2, 3) }, { TN_DTYPE_BOOL } },
    { 3, { TN_SHAPE_OF(3), TN_SHAPE_OF(2, 3), TN_SHAPE_OF(2, 1) }, { TN_DTYPE_BOOL } },
    { 3, { TN_SHAPE_OF(2, 1, 4), TN_RANK0, TN_SHAPE_OF(3, 1) }, { TN_DTYPE_BOOL } },
    { 3, { TN_SHAPE_OF(4, 2, 1, 3), TN_SHAPE_OF(5, 1), TN_RANK0 }, { TN_DTYPE_BOOL } },
    { 3, { TN_RANK0, TN_SHAPE_OF(1, 3), TN_SHAPE_OF(2, 1) }, { TN_DTYPE_BOOL } },
    { 3, { TN_SHAPE_OF(0), TN_SHAPE_OF(2, 1), TN_SHAPE_OF(1) }, { TN_DTYPE_BOOL } },
};

static gboolean
where_sample(TnSample *sample)
{
    return tn_sample_case(sample, where_cases, G_N_ELEMENTS(where_cases), 0);
}

/* --- The table -------------------------------------------------------------------------------- */

/* b's sampling domain comes last; a has the usual one. */
#define BINARY(name_, onnx_, set, flags_, help_, a_, b_, ...)                                      \
    .op = { TN_OP(name_, onnx_, help_),                                                            \
            .flags = TN_OP_ELEMENTWISE | (flags_),                                                 \
            TN_INPUTS(TN_ARG_ROW("a", 'T', set, "any shape"),                                      \
                      TN_ARG_ROW("b", 'T', set, "broadcasts with a", ##__VA_ARGS__)),              \
            TN_OUTPUTS(TN_ARG_ROW("out", 'T', set, "the broadcast shape")),                        \
            .infer = tn_infer_elementwise,                                                         \
            .vjp = tn_vjp_elementwise,                                                             \
            .sample = tn_sample_binary,                                                            \
            .in_place = 3 },                                                                       \
    .rule = { a_, b_ }
#define COMPARE(name_, onnx_, set, flags_, help_)                                                  \
    {                                                                                              \
        .op = {                                                                                    \
            TN_OP(name_, onnx_, help_),                                                            \
            .flags = TN_OP_ELEMENTWISE | TN_OP_NO_GRAD | (flags_),                                 \
            TN_INPUTS(TN_ARG_ROW("a", 'T', set, "any shape"),                                      \
                      TN_ARG_ROW("b", 'T', set, "broadcasts with a")),                             \
            TN_OUTPUTS(TN_ARG_ROW("out", 'B', TN_BOOL, "the broadcast shape")),                    \
            .infer = tn_infer_elementwise,                                                         \
            .sample = tn_sample_binary,                                                            \
            .in_place = 3                                                                          \
        }                                                                                          \
    }
#define LOGIC(name_, onnx_, set, help_)                                                            \
    {                                                                                              \
        .op = {                                                                                    \
            TN_OP(name_, onnx_, help_),                                                            \
            .flags = TN_OP_ELEMENTWISE | TN_OP_NO_GRAD | TN_OP_COMMUTATIVE,                        \
            TN_INPUTS(TN_ARG_ROW("a", 'T', set, "any shape"),                                      \
                      TN_ARG_ROW("b", 'T', set, "broadcasts with a")),                             \
            TN_OUTPUTS(TN_ARG_ROW("out", 'T', set, "the broadcast shape")),                        \
            .infer = tn_infer_elementwise,                                                         \
            .sample = tn_sample_binary,                                                            \
            .in_place = 3                                                                          \
        }                                                                                          \
    }
#define AWAY_FROM_0 .lo = -2, .hi = 2, .kinks = { 0 }, .n_kinks = 1, .gap = 0.5

static const TnPrimitive rows[] = {
    { BINARY("add", "Add", TN_DTYPES_NUMBER, TN_OP_COMMUTATIVE, "a + b", tn_rule_pass,
             tn_rule_pass) },
    { BINARY("sub", "Sub", TN_DTYPES_NUMBER, 0, "a - b", tn_rule_pass, sub_b) },
    { BINARY("mul", "Mul", TN_DTYPES_NUMBER, TN_OP_COMMUTATIVE, "a * b", mul_a, mul_b) },
    { BINARY("div", "Div", TN_DTYPES_NUMBER, 0, "a / b; integers truncate toward zero", div_a,
             div_b, AWAY_FROM_0) },
    { BINARY("max", "Max", TN_DTYPES_NUMBER, TN_OP_COMMUTATIVE, "The larger; NaN if either is",
             max_a, max_b) },
    { BINARY("min", "Min", TN_DTYPES_NUMBER, TN_OP_COMMUTATIVE, "The smaller; NaN if either is",
             max_b, max_a) },
    { .op = { TN_OP("pow", "Pow", "a to the power b"), .flags = TN_OP_ELEMENTWISE,
              TN_INPUTS(TN_ARG_ROW("a", 'T', TN_DTYPES_NUMBER, "any shape", .lo = 0.3, .hi = 3),
                        TN_ARG_ROW("b", 'T', TN_DTYPES_NUMBER, "broadcasts with a")),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_NUMBER, "the broadcast shape")),
              .infer = tn_infer_elementwise, .vjp = tn_vjp_elementwise, .sample = tn_sample_binary,
              .in_place = 3 },
      .rule = { pow_a, pow_b } },
    /* a lies between multiples of b: |b| in [2.5, 4], |a| in [0.3, 2]. */
    { .op = { TN_OP("mod", "Mod", "Remainder of a / b"), .flags = TN_OP_ELEMENTWISE,
              TN_INPUTS(TN_ARG_ROW("a", 'T', TN_DTYPES_NUMBER, "any shape", .lo = -2, .hi = 2,
                                   .kinks = { 0 }, .n_kinks = 1, .gap = 0.3),
                        TN_ARG_ROW("b", 'T', TN_DTYPES_NUMBER, "broadcasts with a", .lo = -4,
                                   .hi = 4, .kinks = { 0 }, .n_kinks = 1, .gap = 2.5)),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_NUMBER, "the broadcast shape")),
              .attrs = TN_OPTIONS(TnModAttrs, mod_rows), .infer = tn_infer_elementwise,
              .vjp = tn_vjp_elementwise, .sample = mod_sample, .in_place = 3 },
      .rule = { tn_rule_pass, mod_b } },
    COMPARE("equal", "Equal", TN_DTYPES_ALL, TN_OP_COMMUTATIVE, "a = b"),
    COMPARE("less", "Less", TN_DTYPES_NUMBER, 0, "a < b"),
    COMPARE("greater", "Greater", TN_DTYPES_NUMBER, 0, "a > b"),
    COMPARE("less_or_equal", "LessOrEqual", TN_DTYPES_NUMBER, 0, "a <= b"),
    COMPARE("greater_or_equal", "GreaterOrEqual", TN_DTYPES_NUMBER, 0, "a >= b"),
    LOGIC("and", "And", TN_BOOL, "Both"),
    LOGIC("or", "Or", TN_BOOL, "One or both"),
    LOGIC("xor", "Xor", TN_BOOL, "One, not both"),
    LOGIC("bitwise_and", "BitwiseAnd", TN_INTEGERS, "Both, bit by bit"),
    LOGIC("bitwise_or", "BitwiseOr", TN_INTEGERS, "One or both, bit by bit"),
    LOGIC("bitwise_xor", "BitwiseXor", TN_INTEGERS, "One, not both, bit by bit"),
    { .op = { TN_OP("bit_shift", "BitShift", "a's bits moved by b places, zeros moving in"),
              .flags = TN_OP_ELEMENTWISE | TN_OP_NO_GRAD,
              TN_INPUTS(
                  TN_ARG_ROW("a", 'T', TN_DTYPES_UINT, "any shape", .lo = 0, .hi = 200),
                  TN_ARG_ROW("b", 'T', TN_DTYPES_UINT, "broadcasts with a", .lo = 0, .hi = 9)),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_UINT, "the broadcast shape")),
              .attrs = TN_OPTIONS(TnBitShiftAttrs, shift_rows), .infer = tn_infer_elementwise,
              .sample = shift_sample, .in_place = 3 } },
    { .op = { TN_OP("where", "Where", "a where the condition holds, b elsewhere"),
              .flags = TN_OP_ELEMENTWISE,
              TN_INPUTS(TN_ARG_ROW("condition", 'B', TN_BOOL, "any shape", .flags = TN_ARG_NO_GRAD),
                        TN_ARG_ROW("a", 'T', TN_DTYPES_ALL, "broadcasts with condition and b"),
                        TN_ARG_ROW("b", 'T', TN_DTYPES_ALL, "broadcasts with condition and a")),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "the broadcast shape")),
              .infer = tn_infer_elementwise, .vjp = tn_vjp_elementwise, .sample = where_sample,
              .in_place = 6 },
      .rule = { NULL, where_a, where_b } },
};

const TnFamily tn_family_binary = { rows, G_N_ELEMENTS(rows) };
