/* quantize.c: ONNX's operators of 8-bit numbers: real = scale (q - zero point), where scale and zero
 * point are of the whole tensor or of each place of an axis. Sums of products are exact in 32 bits
 * (Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
 * inference", CVPR 2018). */
#include "quantize.h"

static const TnOption axis_rows[] = {
    NN_ATTR(TnAxisAttrs, axis, TN_OPT_INT64, "axis of scales and zero points that are not one",
            .dflt = "1"),
};

#define CONV(member_, type_, help_, ...) NN_ATTR(TnConvAttrs, member_, type_, help_, ##__VA_ARGS__)
#define FROM(least) TN_RANGE_I(least, G_MAXINT32)
static const TnOption conv_rows[] = {
    CONV(group, TN_OPT_INT64, "independent groups of channels", FROM(1), .dflt = "1"),
    CONV(strides, TN_OPT_INTS, "per spatial axis; empty: 1", FROM(1)),
    CONV(pads, TN_OPT_INTS, "zero points before, then after; empty: 0", FROM(0)),
    CONV(dilations, TN_OPT_INTS, "distances within the kernel; empty: 1", FROM(1)),
};

/* --- What the files share --------------------------------------------------------------------- */

TnVal
nn_along(TnGraph *graph, TnVal parameter, gint axis, gint rank)
{
    return tn_val_is_none(parameter) || tn_f_rank(graph, parameter) == 0
               ? parameter
               : nn_insert(graph, parameter, 1, rank - 1 - (axis < 0 ? axis + rank : axis));
}

TnVal
nn_less_zero(TnGraph *graph, TnVal x, TnVal zero, gint axis, TnDtype to)
{
    const TnVal wide = nn_to(graph, x, to);
    return tn_val_is_none(zero)
               ? wide
               : tn_f_sub(graph, wide,
                          nn_to(graph, nn_along(graph, zero, axis, tn_f_rank(graph, x)), to));
}

TnVal
nn_saturated(TnGraph *graph, TnVal steps, TnVal zero, TnDtype to)
{
    const TnVal low = tn_f_const(graph, steps, to == TN_DTYPE_U8 ? 0 : -128);
    const TnVal high = tn_f_const(graph, steps, to == TN_DTYPE_U8 ? 255 : 127);
    TnVal q = nn_1(graph, "round", NULL, steps);
    q = tn_val_is_none(zero) ? q : tn_f_add(graph, q, nn_to(graph, zero, TN_DTYPE_F32));
    q = tn_f_where(graph, tn_f_greater(graph, q, low), q, low);
    q = tn_f_where(graph, tn_f_less(graph, q, high), q, high);
    return tn_f_cast(graph, q, to);
}

TnVal
nn_rule_number(TnSimplify *s, TnDtype dtype, double value)
{
    g_autoptr(TnTensor) tensor = tn_tensor_scalar(dtype, value);
    return tn_simplify_add(s, "constant", &(const TnConstantAttrs){ .value = tensor }, 0, NULL);
}

TnVal
nn_rule_2(TnSimplify *s, const char *op, TnVal a, TnVal b)
{
    return tn_simplify_add(s, op, NULL, 2, (const TnVal[]){ a, b });
}

/* --- Infer ------------------------------------------------------------------------------------ */

/* Input i is one number, or one for each of n places. */
static gboolean
check_parameter(const TnInfer *infer, gint i, gint64 n, GError **error)
{
    return !nn_present(infer, i) || infer->in[i].rank == 0 ||
           nn_infer_want(infer, i, 1, &n, "one number, or one for each place of the axis", error);
}

/* x, then a scale and a zero point of x's axis. */
static gboolean
linear_infer(TnInfer *infer, GError **error)
{
    const TnType *x = &infer->in[0];
    gint64 n = -1;
    gint axis;
    if (infer->in[1].rank > 0) {
        if (!tn_infer_axis(((const TnAxisAttrs *)infer->attrs)->axis, x->rank, &axis, error)) {
            return FALSE;
        }
        n = x->dims[axis];
    }
    return check_parameter(infer, 1, n, error) &&
           (!nn_present(infer, 2) ||
            nn_infer_want(infer, 2, infer->in[1].rank, infer->in[1].dims, "the scale", error)) &&
           nn_infer_shape(infer, error);
}

static gboolean
quantize_infer(TnInfer *infer, GError **error)
{
    infer->out[0].dtype = nn_present(infer, 2) ? infer->in[2].dtype : TN_DTYPE_U8;
    return linear_infer(infer, error);
}

/* The type that `name` would have for these inputs in f64. */
static gboolean
infer_as(TnInfer *infer, const char *name, gint a, gint b, TnDtype out, GError **error)
{
    const TnOp *op = tn_op_find(name, error);
    TnType in[2] = { infer->in[a], infer->in[b] }, made[TN_MAX_OUT];
    gint n_out;
    in[0].dtype = in[1].dtype = TN_DTYPE_F64;
    if (op == NULL || !tn_op_infer(op, op->attrs.n > 0 ? infer->attrs : NULL, infer->name, 2, in,
                                   NULL, &n_out, made, error)) {
        return FALSE;
    }
    infer->out[0] = made[0];
    infer->out[0].dtype = out;
    return TRUE;
}

static gboolean
conv_integer_infer(TnInfer *infer, GError **error)
{
    return infer_as(infer, "conv", 0, 1, TN_DTYPE_I32, error) &&
           check_parameter(infer, 2, 1, error) &&
           check_parameter(infer, 3, infer->in[1].dims[0], error);
}

static gboolean
matmul_integer_infer(TnInfer *infer, GError **error)
{
    const TnType *a = &infer->in[0], *b = &infer->in[1];
    return infer_as(infer, "matmul", 0, 1, TN_DTYPE_I32, error) &&
           check_parameter(infer, 2, a->dims[a->rank - 2], error) &&
           check_parameter(infer, 3, b->dims[b->rank - 1], error);
}

/* Scales and zero points of the second operand and the zero point of the result, which says what
 * that is. */
static gboolean
check_qlinear(const TnInfer *infer, gint64 n, GError **error)
{
    return check_parameter(infer, 4, n, error) && check_parameter(infer, 5, n, error);
}

static gboolean
qlinear_conv_infer(TnInfer *infer, GError **error)
{
    const gint64 maps = infer->in[3].dims[0];
    return infer_as(infer, "conv", 0, 3, infer->in[7].dtype, error) &&
           check_qlinear(infer, maps, error) &&
           (!nn_present(infer, 8) || nn_infer_want(infer, 8, 1, &maps, "the channels out", error));
}

static gboolean
qlinear_matmul_infer(TnInfer *infer, GError **error)
{
    const TnType *b = &infer->in[3];
    return infer_as(infer, "matmul", 0, 3, infer->in[7].dtype, error) &&
           check_qlinear(infer, b->dims[b->rank - 1], error);
}

/* --- Bodies ----------------------------------------------------------------------------------- */

static gboolean
quantize_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const gint axis = (gint)((const TnAxisAttrs *)body->attrs)->axis;
    const gint rank = tn_f_rank(graph, body->in[0]);
    const TnVal zero = nn_in(body, 2);
    const TnDtype to = tn_val_is_none(zero) ? TN_DTYPE_U8 : nn_dtype(graph, zero);
    (void)error;
    const TnVal steps =
        nn_2(graph, "div", NULL, body->in[0], nn_along(graph, body->in[1], axis, rank));
    body->out[0] = nn_saturated(graph, steps, nn_along(graph, zero, axis, rank), to);
    return TRUE;
}

static gboolean
dequantize_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const gint axis = (gint)((const TnAxisAttrs *)body->attrs)->axis;
    (void)error;
    /* In 64 bits, as the difference of 32-bit integers may need more than 24. */
    const gboolean narrow = nn_dtype(graph, body->in[0]) != TN_DTYPE_I32;
    const TnVal steps = nn_less_zero(graph, body->in[0], nn_in(body, 2), axis,
                                     narrow ? TN_DTYPE_F32 : TN_DTYPE_F64);
    body->out[0] = tn_f_mul(graph, nn_to(graph, steps, TN_DTYPE_F32),
                            nn_along(graph, body->in[1], axis, tn_f_rank(graph, body->in[0])));
    return TRUE;
}

/* Sums of products in f64, which holds them exactly. zero of the second: of its axis `of`. */
static TnVal
sums(TnBody *body, const char *op, const TnVal *a, const TnVal *b, gint of_a, gint of_b)
{
    TnGraph *graph = body->graph;
    return nn_2(graph, op, strcmp(op, "conv") == 0 ? body->attrs : NULL,
                nn_less_zero(graph, a[0], a[1], of_a, TN_DTYPE_F64),
                nn_less_zero(graph, b[0], b[1], of_b, TN_DTYPE_F64));
}

static gboolean
conv_integer_body(TnBody *body, GError **error)
{
    (void)error;
    const TnVal sum = sums(body, "conv", (const TnVal[]){ body->in[0], nn_in(body, 2) },
                           (const TnVal[]){ body->in[1], nn_in(body, 3) }, 1, 0);
    body->out[0] = tn_f_cast(body->graph, sum, TN_DTYPE_I32);
    return TRUE;
}

static gboolean
matmul_integer_body(TnBody *body, GError **error)
{
    (void)error;
    const TnVal sum = sums(body, "matmul", (const TnVal[]){ body->in[0], nn_in(body, 2) },
                           (const TnVal[]){ body->in[1], nn_in(body, 3) }, -2, -1);
    body->out[0] = tn_f_cast(body->graph, sum, TN_DTYPE_I32);
    return TRUE;
}

/* axis: of the result, that of the second operand's scales. */
static gboolean
qlinear_body(TnBody *body, const char *op, gint of_b, gint axis)
{
    TnGraph *graph = body->graph;
    const TnVal *in = body->in, bias = nn_in(body, 8);
    TnVal sum =
        sums(body, op, (const TnVal[]){ in[0], in[2] }, (const TnVal[]){ in[3], in[5] }, 0, of_b);
    const gint rank = tn_f_rank(graph, sum);
    if (!tn_val_is_none(bias)) {
        sum = tn_f_add(graph, sum, nn_to(graph, nn_along(graph, bias, axis, rank), TN_DTYPE_F64));
    }
    const TnVal both = tn_f_mul(graph, in[1], nn_along(graph, in[4], axis, rank));
    const TnVal steps =
        tn_f_mul(graph, nn_to(graph, sum, TN_DTYPE_F32), nn_2(graph, "div", NULL, both, in[6]));
    body->out[0] = nn_saturated(graph, steps, in[7], nn_dtype(graph, in[7]));
    return TRUE;
}

static gboolean
qlinear_conv_body(TnBody *body, GError **error)
{
    (void)error;
    return qlinear_body(body, "conv", 0, 1);
}

static gboolean
qlinear_matmul_body(TnBody *body, GError **error)
{
    (void)error;
    return qlinear_body(body, "matmul", -1, -1);
}

/* --- Samples ---------------------------------------------------------------------------------- */

#define U TN_DTYPE_U8
#define S TN_DTYPE_I8
#define W TN_DTYPE_I32
#define R TN_DTYPE_F32
#define AXIS(axis_) (&(const TnAxisAttrs){ axis_ })
static const NnCase quantize_cases[] = {
    { 3, { NN_SHAPE(4, 5), NN_RANK0, NN_RANK0 }, { R, R, U } },
    { 3, { NN_SHAPE(2, 3, 4), NN_SHAPE(3), NN_SHAPE(3) }, { R, R, S } },
    { 3, { NN_SHAPE(3, 33), NN_SHAPE(3), NN_SHAPE(3) }, { R, R, S }, .attrs = AXIS(0) },
    { 3, { NN_SHAPE(3, 2), NN_SHAPE(2), NN_SHAPE(2) }, { R, R, U }, .attrs = AXIS(-1) },
    { 2, { NN_SHAPE(7), NN_RANK0 }, { R, R } },
    { 3, { NN_SHAPE(0, 5), NN_RANK0, NN_RANK0 }, { R, R, U } },
};
NN_SAMPLER(quantize_sample, quantize_cases, TnAxisAttrs)
static const NnCase dequantize_cases[] = {
    { 3, { NN_SHAPE(4, 5), NN_RANK0, NN_RANK0 }, { U, R, U } },
    { 3, { NN_SHAPE(2, 3, 4), NN_SHAPE(3), NN_SHAPE(3) }, { S, R, S } },
    { 3, { NN_SHAPE(3, 2), NN_SHAPE(2), NN_SHAPE(2) }, { U, R, U }, .attrs = AXIS(-1) },
    { 2, { NN_SHAPE(7), NN_RANK0 }, { W, R } },
    { 2, { NN_SHAPE(3, 7), NN_SHAPE(3) }, { S, R }, .attrs = AXIS(0) },
    { 3, { NN_SHAPE(0, 5), NN_RANK0, NN_RANK0 }, { U, R, U } },
};
NN_SAMPLER(dequantize_sample, dequantize_cases, TnAxisAttrs)

static const TnConvAttrs padded = { 1, .strides = NN_INTS(2, 1), .pads = NN_INTS(1, 0, 1, 1) };
static const TnConvAttrs grouped = { 2, .dilations = NN_INTS(1, 2) };
static const NnCase conv_integer_cases[] = {
    { 2, { NN_SHAPE(2, 3, 4, 5), NN_SHAPE(2, 3, 2, 2) }, { U, S } },
    { 4,
      { NN_SHAPE(1, 2, 5, 4), NN_SHAPE(3, 2, 3, 2), NN_RANK0, NN_SHAPE(3) },
      { U, S, U, S },
      .attrs = &padded },
    { 4,
      { NN_SHAPE(2, 4, 3, 6), NN_SHAPE(4, 2, 2, 2), NN_RANK0, NN_RANK0 },
      { S, U, S, U },
      .attrs = &grouped },
    { 3, { NN_SHAPE(1, 2, 7), NN_SHAPE(1, 2, 3), NN_RANK0 }, { U, U, U } },
    { 2, { NN_SHAPE(0, 3, 4, 5), NN_SHAPE(2, 3, 2, 2) }, { U, S } },
};
NN_SAMPLER(conv_integer_sample, conv_integer_cases, TnConvAttrs)
static const NnCase matmul_integer_cases[] = {
    { 2, { NN_SHAPE(3, 4), NN_SHAPE(4, 5) }, { U, S } },
    { 4, { NN_SHAPE(2, 3, 4), NN_SHAPE(4, 2), NN_RANK0, NN_SHAPE(2) }, { U, S, U, S } },
    { 4, { NN_SHAPE(3, 4), NN_SHAPE(4, 5), NN_SHAPE(3), NN_RANK0 }, { S, U, S, U } },
    { 2, { NN_SHAPE(0, 4), NN_SHAPE(4, 5) }, { U, U } },
};
NN_SAMPLER(matmul_integer_sample, matmul_integer_cases, TnAxisAttrs)
static const NnCase qlinear_conv_cases[] = {
    { 8,
      { NN_SHAPE(0, 2, 4, 5), NN_RANK0, NN_RANK0, NN_SHAPE(3, 2, 2, 2), NN_RANK0, NN_RANK0,
        NN_RANK0, NN_RANK0 },
      { U, R, U, S, R, S, R, U } },
    { 8,
      { NN_SHAPE(1, 2, 4, 5), NN_RANK0, NN_RANK0, NN_SHAPE(3, 2, 2, 2), NN_RANK0, NN_RANK0,
        NN_RANK0, NN_RANK0 },
      { U, R, U, S, R, S, R, U } },
    { 9,
      { NN_SHAPE(2, 2, 5, 4), NN_RANK0, NN_RANK0, NN_SHAPE(3, 2, 3, 2), NN_SHAPE(3), NN_SHAPE(3),
        NN_RANK0, NN_RANK0, NN_SHAPE(3) },
      { U, R, U, S, R, S, R, U, W },
      .attrs = &padded },
    { 9,
      { NN_SHAPE(2, 4, 3, 6), NN_RANK0, NN_RANK0, NN_SHAPE(4, 2, 2, 2), NN_SHAPE(4), NN_SHAPE(4),
        NN_RANK0, NN_RANK0, NN_SHAPE(4) },
      { S, R, S, S, R, S, R, S, W },
      .attrs = &grouped },
};
NN_SAMPLER(qlinear_conv_sample, qlinear_conv_cases, TnConvAttrs)
static const NnCase qlinear_matmul_cases[] = {
    { 8,
      { NN_SHAPE(0, 4), NN_RANK0, NN_RANK0, NN_SHAPE(4, 5), NN_RANK0, NN_RANK0, NN_RANK0,
        NN_RANK0 },
      { U, R, U, S, R, S, R, U } },
    { 8,
      { NN_SHAPE(3, 4), NN_RANK0, NN_RANK0, NN_SHAPE(4, 5), NN_RANK0, NN_RANK0, NN_RANK0,
        NN_RANK0 },
      { U, R, U, S, R, S, R, U } },
    { 8,
      { NN_SHAPE(2, 3, 4), NN_RANK0, NN_RANK0, NN_SHAPE(4, 2), NN_SHAPE(2), NN_SHAPE(2), NN_RANK0,
        NN_RANK0 },
      { U, R, U, S, R, S, R, S } },
};
NN_SAMPLER(qlinear_matmul_sample, qlinear_matmul_cases, TnAxisAttrs)

/* --- The table -------------------------------------------------------------------------------- */

#define WIDE_RANGE .lo = -120, .hi = 120
#define Q_ROW(name_, letter, help_, ...)                                                           \
    NN_ARG(name_, letter, NN_8BIT, help_, WIDE_RANGE, .flags = TN_ARG_NO_GRAD, ##__VA_ARGS__)
#define SCALE_ROW(name_, help_)                                                                    \
    NN_ARG(name_, 'R', TN_DT(F32), help_, .lo = 0.05, .hi = 1, .flags = TN_ARG_NO_GRAD)
#define ZERO_ROW(name_, letter, help_, ...)                                                        \
    NN_ARG(name_, letter, NN_8BIT, help_, .lo = -10, .hi = 10,                                     \
           .flags = TN_ARG_NO_GRAD | (__VA_ARGS__))
#define ATTRS(Struct, rows_) .attrs = TN_OPTIONS(Struct, rows_)
#define ONE_OR_AXIS "[], or one for each place of the axis"

NN_OP(quantize_linear, "QuantizeLinear",
      "x / scale rounded, halves to even, plus a zero point: 8 bits",
      NN_IN(NN_ARG("x", 'R', TN_DT(F32), "any shape", .flags = TN_ARG_NO_GRAD),
            SCALE_ROW("y_scale", ONE_OR_AXIS),
            ZERO_ROW("y_zero_point", 'Q', "as y_scale; its dtype is the result's; none: 0 of u8",
                     TN_ARG_OPTIONAL)),
      NN_OUT(NN_ARG("out", 'O', NN_8BIT, "x's shape; NaN becomes the lowest")),
      ATTRS(TnAxisAttrs, axis_rows), .flags = TN_OP_NO_GRAD, .infer = quantize_infer,
      .body = quantize_body, .sample = quantize_sample);
NN_OP(dequantize_linear, "DequantizeLinear", "scale (x - zero point)",
      NN_IN(NN_ARG("x", 'Q', NN_8BIT | TN_DT(I32), "any shape", WIDE_RANGE,
                   .flags = TN_ARG_NO_GRAD),
            SCALE_ROW("x_scale", ONE_OR_AXIS),
            NN_ARG("x_zero_point", 'Q', NN_8BIT | TN_DT(I32), "as x_scale; none: 0", .lo = -10,
                   .hi = 10, .flags = TN_ARG_NO_GRAD | TN_ARG_OPTIONAL)),
      NN_OUT(NN_ARG("out", 'R', TN_DT(F32), "x's shape")), ATTRS(TnAxisAttrs, axis_rows),
      .flags = TN_OP_NO_GRAD, .infer = linear_infer, .body = dequantize_body,
      .sample = dequantize_sample, .simplify = nn_dequantized_simplify);
NN_OP(conv_integer, "ConvInteger", "Convolution of 8-bit numbers, exact in 32 bits",
      NN_IN(Q_ROW("x", 'X', "[N, C, spatial…]", NN_RANK(3, 5)),
            Q_ROW("w", 'Y', "[M, C / group, kernel…]", NN_RANK(3, 5)),
            ZERO_ROW("x_zero_point", 'X', "[]; none: 0", TN_ARG_OPTIONAL),
            ZERO_ROW("w_zero_point", 'Y', "[] or [M]; none: 0", TN_ARG_OPTIONAL)),
      NN_OUT(NN_ARG("out", 'O', TN_DT(I32), "[N, M, positions…]")), ATTRS(TnConvAttrs, conv_rows),
      .flags = TN_OP_NO_GRAD, .infer = conv_integer_infer, .body = conv_integer_body,
      .sample = conv_integer_sample);
NN_OP(matmul_integer, "MatMulInteger", "Product of matrices of 8-bit numbers, exact in 32 bits",
      NN_IN(Q_ROW("A", 'X', "[…, m, k]", NN_RANK(2, TN_MAX_RANK)),
            Q_ROW("B", 'Y', "[…, k, n]", NN_RANK(2, TN_MAX_RANK)),
            ZERO_ROW("a_zero_point", 'X', "[] or [m]; none: 0", TN_ARG_OPTIONAL),
            ZERO_ROW("b_zero_point", 'Y', "[] or [n]; none: 0", TN_ARG_OPTIONAL)),
      NN_OUT(NN_ARG("out", 'O', TN_DT(I32), "[…, m, n]")), .flags = TN_OP_NO_GRAD,
      .infer = matmul_integer_infer, .body = matmul_integer_body, .sample = matmul_integer_sample);
NN_OP(qlinear_conv, "QLinearConv", "Convolution of 8-bit numbers, in 8 bits",
      NN_IN(Q_ROW("x", 'X', "[N, C, spatial…]", NN_RANK(3, 5)), SCALE_ROW("x_scale", "[]"),
            ZERO_ROW("x_zero_point", 'X', "[]", 0),
            Q_ROW("w", 'Y', "[M, C / group, kernel…]", NN_RANK(3, 5)),
            SCALE_ROW("w_scale", "[] or [M]"), ZERO_ROW("w_zero_point", 'Y', "[] or [M]", 0),
            SCALE_ROW("y_scale", "[]"),
            ZERO_ROW("y_zero_point", 'O', "[]: its dtype is the result's", 0),
            NN_ARG("B", 'B', TN_DT(I32), "[M], in steps of x_scale w_scale", .lo = -200, .hi = 200,
                   .flags = TN_ARG_OPTIONAL | TN_ARG_NO_GRAD)),
      NN_OUT(NN_ARG("out", 'O', NN_8BIT, "[N, M, positions…]")), ATTRS(TnConvAttrs, conv_rows),
      .flags = TN_OP_NO_GRAD, .infer = qlinear_conv_infer, .body = qlinear_conv_body,
      .sample = qlinear_conv_sample);
NN_OP(qlinear_matmul, "QLinearMatMul", "Product of matrices of 8-bit numbers, in 8 bits",
      NN_IN(Q_ROW("a", 'X', "[…, m, k]", NN_RANK(2, TN_MAX_RANK)), SCALE_ROW("a_scale", "[]"),
            ZERO_ROW("a_zero_point", 'X', "[]", 0),
            Q_ROW("b", 'Y', "[…, k, n]", NN_RANK(2, TN_MAX_RANK)),
            SCALE_ROW("b_scale", "[] or [n]"), ZERO_ROW("b_zero_point", 'Y', "[] or [n]", 0),
            SCALE_ROW("y_scale", "[]"),
            ZERO_ROW("y_zero_point", 'O', "[]: its dtype is the result's", 0)),
      NN_OUT(NN_ARG("out", 'O', NN_8BIT, "[…, m, n]")), .flags = TN_OP_NO_GRAD,
      .infer = qlinear_matmul_infer, .body = qlinear_matmul_body, .sample = qlinear_matmul_sample);
