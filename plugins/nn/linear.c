/* linear.c: products of matrices as networks use them: gemm, linear, convolutions with a bias. */
#include "nn.h"

/* --- gemm ------------------------------------------------------------------------------------ */

static const TnOption gemm_rows[] = {
    NN_ATTR(TnGemmAttrs, alpha, TN_OPT_DOUBLE, "factor of the product", .dflt = "1"),
    NN_ATTR(TnGemmAttrs, beta, TN_OPT_DOUBLE, "factor of c", .dflt = "1"),
    NN_ATTR(TnGemmAttrs, trans_a, TN_OPT_BOOL, "a is given transposed", .dflt = "false"),
    NN_ATTR(TnGemmAttrs, trans_b, TN_OPT_BOOL, "b is given transposed", .dflt = "false"),
};

static gboolean
gemm_infer(TnInfer *infer, GError **error)
{
    const TnGemmAttrs *attrs = infer->attrs;
    const gint64 *a = infer->in[0].dims;
    const gint64 *b = infer->in[1].dims;
    const gint64 inner = a[attrs->trans_a ? 0 : 1];
    if (b[attrs->trans_b ? 1 : 0] != inner) {
        g_autofree char *type = tn_type_print(&infer->in[0]);
        return nn_infer_fail(infer, 1, error,
                             "its inner size must be %" G_GINT64_FORMAT ", for 'a' %s", inner,
                             type);
    }
    const gint64 dims[] = { a[attrs->trans_a ? 1 : 0], b[attrs->trans_b ? 0 : 1] };
    infer->out[0] = tn_type(infer->in[0].dtype, 2, dims);
    return !nn_present(infer, 2) || nn_infer_fits(infer, 2, &infer->out[0], "the product", error);
}

static gboolean
gemm_body(TnBody *body, GError **error)
{
    const TnGemmAttrs *attrs = body->attrs;
    TnGraph *graph = body->graph;
    const TnVal c = nn_in(body, 2);
    (void)error;
    const TnVal a = attrs->trans_a ? tn_f_transpose_matrix(graph, body->in[0]) : body->in[0];
    const TnVal b = attrs->trans_b ? tn_f_transpose_matrix(graph, body->in[1]) : body->in[1];
    TnVal y = tn_f_matmul(graph, a, b);
    if (attrs->alpha != 1) {
        y = tn_f_mul(graph, y, tn_f_const(graph, y, attrs->alpha));
    }
    if (!tn_val_is_none(c)) {
        const TnVal term =
            attrs->beta == 1 ? c : tn_f_mul(graph, c, tn_f_const(graph, c, attrs->beta));
        y = tn_f_add(graph, y, term);
    }
    body->out[0] = y;
    return TRUE;
}

#define GEMM(...) (&(const TnGemmAttrs){ __VA_ARGS__ })
static const NnCase gemm_cases[] = {
    { 2, { NN_SHAPE(1, 1), NN_SHAPE(1, 1) } },
    { 3, { NN_SHAPE(3, 4), NN_SHAPE(4, 5), NN_SHAPE(5) } },
    { 3, { NN_SHAPE(4, 3), NN_SHAPE(4, 5), NN_SHAPE(3, 1) }, .attrs = GEMM(0.5, 2, TRUE, FALSE) },
    { 3, { NN_SHAPE(3, 4), NN_SHAPE(5, 4), NN_RANK0 }, .attrs = GEMM(2, 1, FALSE, TRUE) },
    { 2, { NN_SHAPE(4, 3), NN_SHAPE(5, 4) }, .attrs = GEMM(1, 1, TRUE, TRUE) },
    { 3, { NN_SHAPE(17, 33), NN_SHAPE(33, 9), NN_SHAPE(17, 9) } },
    { 3, { NN_SHAPE(2, 0), NN_SHAPE(0, 3), NN_SHAPE(3) } },
    { 2, { NN_SHAPE(0, 2), NN_SHAPE(2, 3) } },
};
NN_SAMPLER(gemm_sample, gemm_cases, TnGemmAttrs)

NN_OP(gemm, "Gemm", "alpha a b + beta c",
      NN_IN(NN_ARG("a", 'T', TN_DTYPES_FLOAT, "[M, K], or [K, M] if trans_a", NN_RANK(2, 2)),
            NN_ARG("b", 'T', TN_DTYPES_FLOAT, "[K, N], or [N, K] if trans_b", NN_RANK(2, 2)),
            NN_ARG("c", 'T', TN_DTYPES_FLOAT, "broadcasts to [M, N]", .flags = TN_ARG_OPTIONAL)),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "[M, N]")),
      .attrs = TN_OPTIONS(TnGemmAttrs, gemm_rows), .infer = gemm_infer, .body = gemm_body,
      .sample = gemm_sample, .precision = TN_PRECISION_NARROW);

/* --- linear ---------------------------------------------------------------------------------- */

static gboolean
linear_infer(TnInfer *infer, GError **error)
{
    const TnType *x = &infer->in[0];
    const TnType *w = &infer->in[1];
    const gint64 wanted[] = { w->dims[0], x->dims[x->rank - 1] };
    if (!nn_infer_want(infer, 1, 2, wanted, "the last axis of 'x'", error)) {
        return FALSE;
    }
    if (nn_present(infer, 2) &&
        !nn_infer_want(infer, 2, 1, w->dims, "the first axis of 'w'", error)) {
        return FALSE;
    }
    infer->out[0] = *x;
    infer->out[0].dims[x->rank - 1] = w->dims[0];
    return TRUE;
}

static gboolean
linear_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const TnVal b = nn_in(body, 2);
    (void)error;
    const TnVal y = tn_f_matmul(graph, body->in[0], tn_f_transpose_matrix(graph, body->in[1]));
    body->out[0] = tn_val_is_none(b) ? y : tn_f_add(graph, y, b);
    return TRUE;
}

/* All axes but the last as one. */
static TnVal
rows_of(TnGraph *graph, TnVal x)
{
    const TnAxisAttrs last = { -1 };
    return tn_f_rank(graph, x) == 2 ? x : nn_1(graph, "flatten", &last, x);
}

/* One product over all leading axes for w, where the body's gradient would make one for each and
 * add them up. */
static gboolean
linear_vjp(TnVjp *v, GError **error)
{
    TnGraph *graph = v->graph;
    const TnVal g = v->grad_out[0];
    (void)error;
    if (tn_val_is_none(g)) {
        return TRUE;
    }
    if (v->need[0]) {
        v->grad_in[0] = tn_f_matmul(graph, g, v->in[1]);
    }
    if (v->need[1]) {
        const TnVal columns = tn_f_transpose_matrix(graph, rows_of(graph, g));
        v->grad_in[1] = tn_f_matmul(graph, columns, rows_of(graph, v->in[0]));
    }
    if (v->n_in > 2 && v->need[2] && !tn_val_is_none(v->in[2])) {
        v->grad_in[2] = tn_f_reduce_to(graph, g, v->in[2]);
    }
    return TRUE;
}

/* Columns that turned weights keep together, where these are whole panels: as many as products take at once
 * in the longest vectors. Rows that are a power of two apart would share few places of a cache. */
#define PANEL 64

/* Fixed weights, turned once, where a device finds that it pays. Those of 8 bits are left to the rules of
 * quantized_rules.c. */
static TnVal
linear_simplify(TnSimplify *s)
{
    if (s->of >= 0 || strcmp(s->op->name, "linear") != 0 || !tn_simplify_fixed(s, s->in[1]) ||
        tn_simplify_inputs(s, s->in[1], "dequantize_linear") != NULL) {
        return TN_VAL_NONE;
    }
    const TnType *w = tn_graph_type(s->graph, s->in[1]);
    const gint64 panel = w->dims[0] % PANEL == 0 ? PANEL : MAX(1, w->dims[0]);
    const TnReshapeAttrs apart = { .shape = NN_SHAPE(w->dims[0] / panel, panel, w->dims[1]),
                                   .allowzero = TRUE };
    const TnTransposeAttrs turn = { .perm = NN_INTS(0, 2, 1) };
    const TnVal panels = tn_simplify_add(s, "reshape", &apart, 1, &s->in[1]);
    const TnVal in[] = { s->in[0], tn_simplify_add(s, "transpose", &turn, 1, &panels),
                         s->n_in > 2 ? s->in[2] : TN_VAL_NONE };
    const gint n_in = tn_val_is_none(in[2]) ? 2 : 3;
    return tn_simplify_has_kernel(s, "linear_turned", NULL, n_in, in)
               ? tn_simplify_add(s, "linear_turned", NULL, n_in, in)
               : TN_VAL_NONE;
}

static const NnCase linear_cases[] = {
    { 3, { NN_SHAPE(4), NN_SHAPE(3, 4), NN_SHAPE(3) } },
    { 3, { NN_SHAPE(5, 4), NN_SHAPE(3, 4), NN_SHAPE(3) } },
    { 2, { NN_SHAPE(2, 3, 4), NN_SHAPE(5, 4) } },
    { 3, { NN_SHAPE(2, 2, 3, 4), NN_SHAPE(5, 4), NN_SHAPE(5) } },
    { 3, { NN_SHAPE(33, 40), NN_SHAPE(17, 40), NN_SHAPE(17) } },
    { 3, { NN_SHAPE(0, 4), NN_SHAPE(3, 4), NN_SHAPE(3) } },
    { 3, { NN_SHAPE(2, 0), NN_SHAPE(3, 0), NN_SHAPE(3) } },
};
NN_SAMPLER(linear_sample, linear_cases, char)

NN_OP(linear, NULL, "x w^T + b over the last axis",
      NN_IN(NN_ARG("x", 'T', TN_DTYPES_FLOAT, "[lead…, in]", NN_RANK(1, TN_MAX_RANK)),
            NN_ARG("w", 'T', TN_DTYPES_FLOAT, "[out, in]", NN_RANK(2, 2)),
            NN_ARG("b", 'T', TN_DTYPES_FLOAT, "[out]", .flags = TN_ARG_OPTIONAL)),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "[lead…, out]")), .infer = linear_infer,
      .vjp = linear_vjp, .body = linear_body, .sample = linear_sample, .simplify = linear_simplify,
      .join = nn_linear_join, .precision = TN_PRECISION_NARROW);

/* --- linear_turned --------------------------------------------------------------------------- */

static gboolean
turned_infer(TnInfer *infer, GError **error)
{
    const TnType *x = &infer->in[0];
    const TnType *w = &infer->in[1];
    const gint64 wanted[] = { w->dims[0], x->dims[x->rank - 1], w->dims[2] };
    gint64 out;
    if (__builtin_mul_overflow(w->dims[0], w->dims[2], &out)) {
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE, "%s: 'w' has too many columns", infer->name);
        return FALSE;
    }
    if (!nn_infer_want(infer, 1, 3, wanted, "the last axis of 'x'", error) ||
        (nn_present(infer, 2) && !nn_infer_want(infer, 2, 1, &out, "the columns of 'w'", error))) {
        return FALSE;
    }
    infer->out[0] = *x;
    infer->out[0].dims[x->rank - 1] = out;
    return TRUE;
}

static gboolean
turned_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const TnTransposeAttrs columns = { .perm = NN_INTS(1, 0, 2) };
    const TnAxisAttrs first = { 1 };
    const TnVal turned = nn_1(graph, "transpose", &columns, body->in[1]);
    const TnVal rows = tn_f_transpose_matrix(graph, nn_1(graph, "flatten", &first, turned));
    const TnVal in[] = { body->in[0], rows, nn_in(body, 2) };
    (void)error;
    body->out[0] = tn_graph_op(graph, "linear", NULL, tn_val_is_none(in[2]) ? 2 : 3, in, NULL);
    return TRUE;
}

static const NnCase turned_cases[] = {
    { 3, { NN_SHAPE(4), NN_SHAPE(1, 4, 3), NN_SHAPE(3) } },
    { 3, { NN_SHAPE(5, 4), NN_SHAPE(3, 4, 2), NN_SHAPE(6) } },
    { 2, { NN_SHAPE(2, 3, 4), NN_SHAPE(1, 4, 5) } },
    { 3, { NN_SHAPE(3, 40), NN_SHAPE(1, 40, 67), NN_SHAPE(67) } },
    { 3, { NN_SHAPE(9, 40), NN_SHAPE(3, 40, 64), NN_SHAPE(192) } },
    { 3, { NN_SHAPE(0, 4), NN_SHAPE(1, 4, 3), NN_SHAPE(3) } },
    { 3, { NN_SHAPE(2, 0), NN_SHAPE(2, 0, 3), NN_SHAPE(6) } },
};
NN_SAMPLER(turned_sample, turned_cases, char)

NN_OP(linear_turned, NULL, "x w + b over the last axis, for weights that were turned once",
      NN_IN(NN_ARG("x", 'T', TN_DTYPES_FLOAT, "[lead…, in]", NN_RANK(1, TN_MAX_RANK)),
            NN_ARG("w", 'T', TN_DTYPES_FLOAT, "[out / columns, in, columns]", NN_RANK(3, 3)),
            NN_ARG("b", 'T', TN_DTYPES_FLOAT, "[out]", .flags = TN_ARG_OPTIONAL)),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "[lead…, out]")), .infer = turned_infer,
      .body = turned_body, .sample = turned_sample, .join = nn_linear_join,
      .precision = TN_PRECISION_NARROW);

/* --- Convolutions with a bias ---------------------------------------------------------------- */

#define CONV_ROWS                                                                                  \
    NN_ATTR(TnConvAttrs, group, TN_OPT_INT64, "channels in groups that do not meet",               \
            TN_RANGE_I(1, G_MAXINT32), .dflt = "1"),                                               \
        NN_ATTR(TnConvAttrs, strides, TN_OPT_INTS, "steps of the kernel; empty: 1",                \
                TN_RANGE_I(1, G_MAXINT32)),                                                        \
        NN_ATTR(TnConvAttrs, pads, TN_OPT_INTS, "zeros around x: begins, then ends; empty: 0",     \
                TN_RANGE_I(0, G_MAXINT32)),                                                        \
        NN_ATTR(TnConvAttrs, dilations, TN_OPT_INTS, "distances within the kernel; empty: 1",      \
                TN_RANGE_I(1, G_MAXINT32))
static const TnOption conv_rows[] = { CONV_ROWS };
static const TnOption conv_transpose_rows[] = {
    CONV_ROWS,
    NN_ATTR(TnConvAttrs, output_padding, TN_OPT_INTS, "sizes added at the ends; empty: 0",
            TN_RANGE_I(0, G_MAXINT32)),
};

/* The primitive's own infer, then b against its channels. */
static gboolean
conv_infer_as(TnInfer *infer, const char *primitive, GError **error)
{
    const TnOp *op = tn_op_find(primitive, error);
    TnType out[TN_MAX_OUT];
    gint n_out;
    if (op == NULL ||
        !tn_op_infer(op, infer->attrs, infer->name, 2, infer->in, NULL, &n_out, out, error)) {
        return FALSE;
    }
    infer->out[0] = out[0];
    return nn_infer_want(infer, 2, 1, &out[0].dims[1], "the channels out", error);
}

static gboolean
conv_bias_infer(TnInfer *infer, GError **error)
{
    return conv_infer_as(infer, "conv", error);
}

static gboolean
conv_transpose_bias_infer(TnInfer *infer, GError **error)
{
    return conv_infer_as(infer, "conv_transpose", error);
}

static gboolean
conv_body_as(TnBody *body, const char *primitive)
{
    TnGraph *graph = body->graph;
    const TnVal y = nn_2(graph, primitive, body->attrs, body->in[0], body->in[1]);
    const gint rank = tn_f_rank(graph, body->in[0]);
    body->out[0] = tn_f_add(graph, y, nn_channel(graph, body->in[2], rank));
    return TRUE;
}

static gboolean
conv_bias_body(TnBody *body, GError **error)
{
    (void)error;
    return conv_body_as(body, "conv");
}

static gboolean
conv_transpose_bias_body(TnBody *body, GError **error)
{
    (void)error;
    return conv_body_as(body, "conv_transpose");
}

#define CONV(...) (&(const TnConvAttrs){ __VA_ARGS__ })
static const NnCase conv_cases[] = {
    { 3, { NN_SHAPE(1, 1, 5), NN_SHAPE(2, 1, 3), NN_SHAPE(2) } },
    { 3, { NN_SHAPE(2, 3, 6, 5), NN_SHAPE(4, 3, 3, 2), NN_SHAPE(4) } },
    { 3,
      { NN_SHAPE(2, 4, 7, 7), NN_SHAPE(6, 2, 3, 3), NN_SHAPE(6) },
      .attrs = CONV(2, NN_INTS(2, 1), NN_INTS(1, 0, 1, 2), NN_INTS(1, 2)) },
    { 3,
      { NN_SHAPE(1, 2, 3, 4, 4), NN_SHAPE(3, 2, 2, 2, 2), NN_SHAPE(3) },
      .attrs = CONV(1, NN_INTS(1, 2, 1)) },
    { 3,
      { NN_SHAPE(1, 1, 3, 3, 16), NN_SHAPE(3, 1, 3, 3, 1), NN_SHAPE(3) },
      .attrs = CONV(1, NN_INTS(1, 1, 1), NN_INTS(1, 2, 0, 0, 1, 0), NN_INTS(1, 1, 1)) },
    { 3, { NN_SHAPE(0, 3, 6, 5), NN_SHAPE(4, 3, 3, 2), NN_SHAPE(4) } },
};
NN_SAMPLER(conv_bias_sample, conv_cases, TnConvAttrs)
static const NnCase conv_transpose_cases[] = {
    { 3, { NN_SHAPE(1, 2, 5), NN_SHAPE(2, 1, 3), NN_SHAPE(1) } },
    { 3,
      { NN_SHAPE(2, 4, 3, 4), NN_SHAPE(4, 3, 3, 2), NN_SHAPE(6) },
      .attrs = CONV(2, NN_INTS(2, 1), NN_INTS(1, 0, 1, 1), NN_INTS(1, 2), NN_INTS(1, 0)) },
    { 3, { NN_SHAPE(0, 2, 5), NN_SHAPE(2, 1, 3), NN_SHAPE(1) } },
};
NN_SAMPLER(conv_transpose_bias_sample, conv_transpose_cases, TnConvAttrs)

NN_OP(conv_bias, NULL, "Cross-correlation plus a bias for each channel",
      NN_IN(NN_ARG("x", 'T', TN_DTYPES_FLOAT, "[N, C, s…], 1 to 3 spatial axes", NN_RANK(3, 5),
                   .flags = TN_ARG_SPATIAL),
            NN_ARG("w", 'T', TN_DTYPES_FLOAT, "[M, C / group, k…]", NN_RANK(3, 5),
                   .flags = TN_ARG_WINDOW),
            NN_ARG("b", 'T', TN_DTYPES_FLOAT, "[M]", NN_RANK(1, 1))),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "[N, M, o…]", .flags = TN_ARG_SPATIAL)),
      .attrs = TN_OPTIONS(TnConvAttrs, conv_rows), .infer = conv_bias_infer, .body = conv_bias_body,
      .sample = conv_bias_sample, .blocked = "conv_blocked", .precision = TN_PRECISION_NARROW);

NN_OP(conv_transpose_bias, NULL, "Transposed convolution plus a bias for each channel",
      NN_IN(NN_ARG("x", 'T', TN_DTYPES_FLOAT, "[N, M, o…], 1 to 3 spatial axes", NN_RANK(3, 5)),
            NN_ARG("w", 'T', TN_DTYPES_FLOAT, "[M, C / group, k…]", NN_RANK(3, 5)),
            NN_ARG("b", 'T', TN_DTYPES_FLOAT, "[C]", NN_RANK(1, 1))),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "[N, C, s…]")),
      .attrs = TN_OPTIONS(TnConvAttrs, conv_transpose_rows), .infer = conv_transpose_bias_infer,
      .body = conv_transpose_bias_body, .sample = conv_transpose_bias_sample,
      .precision = TN_PRECISION_NARROW);
