/* attention.c: scaled dot product attention (Vaswani et al., "Attention is all you need", 2017), and its
 * gradient from the logarithms of the rows' sums, by which neither needs to keep the products (Dao et
 * al., "FlashAttention", 2022). */
#include "nn.h"

static const TnOption attention_rows[] = {
    NN_ATTR(TnAttentionAttrs, causal, TN_OPT_BOOL, "place i attends to places 0 … i alone",
            .dflt = "false"),
    NN_ATTR(TnAttentionAttrs, scale, TN_OPT_DOUBLE, "factor of the products; 0: 1 / sqrt (E)",
            .dflt = "0"),
};

/* The leading axes of q, k and v as one shape. */
static gboolean
leading(const TnInfer *infer, TnType *lead, GError **error)
{
    TnType parts[3];
    for (gint i = 0; i < 3; i++) {
        parts[i] = infer->in[i];
        parts[i].rank -= 2;
    }
    if (!tn_infer_broadcast(3, parts, lead, error)) {
        tn_error_prefix(error, "leading axes of 'q', 'k' and 'v'");
        return FALSE;
    }
    return TRUE;
}

/* out, the rows' statistic and the products' type from q, k and v. */
static gboolean
shapes(const TnInfer *infer, TnType *out, TnType *rows, TnType *scores, GError **error)
{
    const TnType *q = &infer->in[0], *k = &infer->in[1], *v = &infer->in[2];
    if (k->dims[k->rank - 1] != q->dims[q->rank - 1]) {
        g_autofree char *text = tn_type_print(q);
        return nn_infer_fail(infer, 1, error, "its last axis must be that of 'q' %s", text);
    }
    if (v->dims[v->rank - 2] != k->dims[k->rank - 2]) {
        g_autofree char *text = tn_type_print(k);
        return nn_infer_fail(infer, 2, error, "its last axis but one must be that of 'k' %s", text);
    }
    *out = (TnType){ .dtype = q->dtype };
    if (!leading(infer, out, error)) {
        return FALSE;
    }
    out->dims[out->rank++] = q->dims[q->rank - 2];
    *rows = *scores = *out;
    rows->dtype = nn_wider(q->dtype);
    rows->dims[rows->rank++] = 1;
    scores->dims[scores->rank++] = k->dims[k->rank - 2];
    out->dims[out->rank++] = v->dims[v->rank - 1];
    return TRUE;
}

static gboolean
mask_fits(const TnInfer *infer, gint i, const TnType *scores, GError **error)
{
    if (!nn_present(infer, i)) {
        return TRUE;
    }
    if (infer->in[i].dtype != TN_DTYPE_BOOL && infer->in[i].dtype != infer->in[0].dtype) {
        g_set_error(error, TN_ERROR, TN_ERROR_DTYPE, "input 'mask' is %s, must be bool or %s",
                    tn_dtype_name(infer->in[i].dtype), tn_dtype_name(infer->in[0].dtype));
        return FALSE;
    }
    return nn_infer_fits(infer, i, scores, "the products", error);
}

static gboolean
attention_infer(TnInfer *infer, GError **error)
{
    TnType scores;
    return shapes(infer, &infer->out[0], &infer->out[1], &scores, error) &&
           mask_fits(infer, 3, &scores, error);
}

static gboolean
attention_grad_infer(TnInfer *infer, GError **error)
{
    TnType out, rows, scores;
    if (!shapes(infer, &out, &rows, &scores, error)) {
        return FALSE;
    }
    for (gint i = 0; i < 3; i++) {
        infer->out[i] = infer->in[i];
    }
    return nn_infer_want(infer, 3, out.rank, out.dims, "the result", error) &&
           nn_infer_want(infer, 4, rows.rank, rows.dims, "the rows of the result", error) &&
           nn_infer_want(infer, 5, out.rank, out.dims, "the result", error) &&
           mask_fits(infer, 6, &scores, error);
}

static TnVal
minus_infinity(TnGraph *graph, TnVal scores)
{
    return tn_f_const(graph, scores, -INFINITY);
}

static TnVal
with_mask(TnGraph *graph, TnVal scores, TnVal mask)
{
    if (tn_val_is_none(mask)) {
        return scores;
    }
    if (nn_dtype(graph, mask) == TN_DTYPE_BOOL) {
        return tn_f_where(graph, mask, scores, minus_infinity(graph, scores));
    }
    return tn_f_add(graph, scores, nn_to(graph, mask, nn_dtype(graph, scores)));
}

static TnVal
with_past(TnGraph *graph, TnVal scores)
{
    const TnIotaAttrs down = { -2, TN_DTYPE_I64 };
    const TnIotaAttrs right = { -1, TN_DTYPE_I64 };
    const TnVal row = nn_insert(graph, nn_1(graph, "iota", &down, scores), 1, 1);
    const TnVal seen = tn_f_greater_or_equal(graph, row, nn_1(graph, "iota", &right, scores));
    return tn_f_where(graph, seen, scores, minus_infinity(graph, scores));
}

static TnVal
scale_of(TnBody *body, TnVal q)
{
    const TnAttentionAttrs *attrs = body->attrs;
    const gint64 features[] = { -1 };
    TnGraph *graph = body->graph;
    return attrs->scale != 0
               ? tn_f_const(graph, q, attrs->scale)
               : tn_f_reciprocal(graph, tn_f_sqrt(graph, tn_f_size(graph, q, 1, features)));
}

/* scale q k^T, masked, of the call's first two inputs; q comes wide and scaled. */
static TnVal
scores_of(TnBody *body, TnVal q, TnVal mask)
{
    TnGraph *graph = body->graph;
    const TnVal k = tn_f_transpose_matrix(graph, nn_wide(graph, body->in[1]));
    const TnVal scores = with_mask(graph, tn_f_matmul(graph, q, k), mask);
    return ((const TnAttentionAttrs *)body->attrs)->causal ? with_past(graph, scores) : scores;
}

/* Shares of a row's places, from the logarithm of its sum; all 0 in a row that attends to nothing. */
static TnVal
shares(TnGraph *graph, TnVal scores, TnVal log_sum)
{
    const TnVal none = tn_f_equal(graph, log_sum, minus_infinity(graph, log_sum));
    const TnVal base = tn_f_where(graph, none, tn_f_const(graph, log_sum, 0), log_sum);
    return tn_f_exp(graph, tn_f_sub(graph, scores, base));
}

static gboolean
attention_body(TnBody *body, GError **error)
{
    const TnReduceAttrs last = { NN_INTS(-1), TRUE };
    TnGraph *graph = body->graph;
    (void)error;
    const TnVal q = nn_wide(graph, body->in[0]);
    const TnVal scaled = tn_f_mul(graph, q, scale_of(body, q));
    const TnVal scores = scores_of(body, scaled, nn_in(body, 3));
    body->out[1] = nn_1(graph, "reduce_log_sum_exp", &last, scores);
    const TnVal share = shares(graph, scores, body->out[1]);
    const TnVal y = tn_f_matmul(graph, share, nn_wide(graph, body->in[2]));
    body->out[0] = nn_to(graph, y, nn_dtype(graph, body->in[0]));
    return TRUE;
}

/* With p the shares and s the scaled products: dv = p^T g, ds = p (g v^T - sum (g out)), for what the
 * sum of p g v^T over a row is, its result has weighed already. */
static gboolean
attention_grad_body(TnBody *body, GError **error)
{
    const gint64 last[] = { -1 };
    TnGraph *graph = body->graph;
    (void)error;
    const TnVal q = nn_wide(graph, body->in[0]), k = nn_wide(graph, body->in[1]);
    const TnVal v = nn_wide(graph, body->in[2]), out = nn_wide(graph, body->in[3]);
    const TnVal g = nn_wide(graph, body->in[5]), scale = scale_of(body, q);
    const TnVal scaled = tn_f_mul(graph, q, scale);
    const TnVal p = shares(graph, scores_of(body, scaled, nn_in(body, 6)), body->in[4]);
    const TnVal weighed = tn_f_reduce_sum(graph, tn_f_mul(graph, g, out), 1, last, TRUE);
    const TnVal dp = tn_f_matmul(graph, g, tn_f_transpose_matrix(graph, v));
    const TnVal ds = tn_f_mul(graph, p, tn_f_sub(graph, dp, weighed));
    const TnVal dq = tn_f_mul(graph, tn_f_matmul(graph, ds, k), scale);
    const TnVal dk = tn_f_matmul(graph, tn_f_transpose_matrix(graph, ds), scaled);
    const TnVal dv = tn_f_matmul(graph, tn_f_transpose_matrix(graph, p), g);
    body->out[0] = nn_reduce_like(graph, dq, body->in[0]);
    body->out[1] = nn_reduce_like(graph, dk, body->in[1]);
    body->out[2] = nn_reduce_like(graph, dv, body->in[2]);
    return TRUE;
}

/* The operator for it, unless the mask or the logarithms have a part in it, which need the products. */
static gboolean
attention_vjp(TnVjp *v, GError **error)
{
    TnVal grad[TN_MAX_OUT];
    const gboolean mask = v->n_in > 3 && !tn_val_is_none(v->in[3]);
    if (!tn_val_is_none(v->grad_out[1]) || (mask && v->need[3])) {
        return tn_vjp_of_body(v, error);
    }
    if (tn_val_is_none(v->grad_out[0])) {
        return TRUE;
    }
    const TnVal in[] = { v->in[0],
                         v->in[1],
                         v->in[2],
                         v->out[0],
                         v->out[1],
                         v->grad_out[0],
                         mask ? v->in[3] : TN_VAL_NONE };
    tn_graph_op(v->graph, "scaled_dot_product_attention_grad", v->attrs, 6 + mask, in, grad);
    if (!tn_graph_check(v->graph, NULL)) {
        return TRUE;
    }
    for (gint i = 0; i < 3; i++) {
        v->grad_in[i] = v->need[i] ? grad[i] : TN_VAL_NONE;
    }
    return TRUE;
}

#define ATTEND(...) (&(const TnAttentionAttrs){ __VA_ARGS__ })
static const NnCase attention_cases[] = {
    { 3, { NN_SHAPE(3, 4), NN_SHAPE(5, 4), NN_SHAPE(5, 2) } },
    { 3, { NN_SHAPE(2, 3, 4), NN_SHAPE(2, 3, 4), NN_SHAPE(2, 3, 4) }, .attrs = ATTEND(TRUE, 0) },
    { 4,
      { NN_SHAPE(2, 2, 3, 4), NN_SHAPE(2, 2, 5, 4), NN_SHAPE(2, 2, 5, 3), NN_SHAPE(3, 5) },
      .attrs = ATTEND(FALSE, 0.3) },
    { 4,
      { NN_SHAPE(2, 4, 3), NN_SHAPE(1, 4, 3), NN_SHAPE(2, 4, 2), NN_SHAPE(2, 1, 4) },
      .attrs = ATTEND(TRUE, 0) },
    { 4,
      { NN_SHAPE(2, 4, 3), NN_SHAPE(2, 2, 3), NN_SHAPE(2, 2, 2), NN_SHAPE(4, 2) },
      { [3] = TN_DTYPE_BOOL } },
    { 3, { NN_SHAPE(0, 3, 4), NN_SHAPE(0, 5, 4), NN_SHAPE(0, 5, 2) } },
};
/* The third row of [4, 2] attends to nothing. */
static const guint8 some[8] = { 1, 0, 1, 1, 0, 0, 1, 1 };

static gboolean
attention_sample(TnSample *sample)
{
    const gboolean ok = NN_SAMPLE(sample, attention_cases, TnAttentionAttrs);
    if (ok && sample->n_in == 4 && sample->in[3].dtype == TN_DTYPE_BOOL) {
        sample->value[3] = tn_tensor_from(sample->in[3], some, NULL);
    }
    return ok;
}

static const NnCase attention_grad_cases[] = {
    { 6,
      { NN_SHAPE(3, 4), NN_SHAPE(5, 4), NN_SHAPE(5, 2), NN_SHAPE(3, 2), NN_SHAPE(3, 1),
        NN_SHAPE(3, 2) } },
    { 6,
      { NN_SHAPE(2, 3, 4), NN_SHAPE(2, 3, 4), NN_SHAPE(2, 3, 4), NN_SHAPE(2, 3, 4),
        NN_SHAPE(2, 3, 1), NN_SHAPE(2, 3, 4) },
      .attrs = ATTEND(TRUE, 0) },
    { 7,
      { NN_SHAPE(2, 2, 3, 4), NN_SHAPE(2, 1, 5, 4), NN_SHAPE(2, 1, 5, 3), NN_SHAPE(2, 2, 3, 3),
        NN_SHAPE(2, 2, 3, 1), NN_SHAPE(2, 2, 3, 3), NN_SHAPE(3, 5) },
      .attrs = ATTEND(FALSE, 0.3) },
    { 7,
      { NN_SHAPE(2, 4, 3), NN_SHAPE(2, 2, 3), NN_SHAPE(2, 2, 2), NN_SHAPE(2, 4, 2),
        NN_SHAPE(2, 4, 1), NN_SHAPE(2, 4, 2), NN_SHAPE(4, 2) },
      { [6] = TN_DTYPE_BOOL } },
    { 6,
      { NN_SHAPE(0, 3, 4), NN_SHAPE(0, 5, 4), NN_SHAPE(0, 5, 2), NN_SHAPE(0, 3, 2),
        NN_SHAPE(0, 3, 1), NN_SHAPE(0, 3, 2) } },
};

static gboolean
attention_grad_sample(TnSample *sample)
{
    const gboolean ok = NN_SAMPLE(sample, attention_grad_cases, TnAttentionAttrs);
    sample->in[4].dtype = nn_wider(sample->dtype);
    if (ok && sample->n_in == 7 && sample->in[6].dtype == TN_DTYPE_BOOL) {
        sample->value[6] = tn_tensor_from(sample->in[6], some, NULL);
    }
    return ok;
}

#define M_ROW(name_, help_) NN_ARG(name_, 'T', TN_DTYPES_FLOAT, help_, NN_RANK(2, TN_MAX_RANK))
#define SUM_ROW                                                                                    \
    NN_ARG("log_sum_exp", 'S', NN_STAT, "[lead…, L, 1]: of each row's products",                   \
           NN_RANK(2, TN_MAX_RANK))
#define MASK_ROW                                                                                   \
    NN_ARG("mask", 'M', TN_DTYPES_FLOAT | TN_DT(BOOL),                                             \
           "broadcasts to [lead…, L, S]: bool, or added", .flags = TN_ARG_OPTIONAL)
NN_OP(scaled_dot_product_attention, "Attention", "softmax (q k^T scale + mask) v",
      NN_IN(M_ROW("q", "[lead…, L, E]"), M_ROW("k", "[lead…, S, E]"), M_ROW("v", "[lead…, S, D]"),
            MASK_ROW),
      NN_OUT(M_ROW("out", "[lead…, L, D]"), SUM_ROW),
      .attrs = TN_OPTIONS(TnAttentionAttrs, attention_rows), .infer = attention_infer,
      .vjp = attention_vjp, .body = attention_body, .sample = attention_sample,
      .precision = TN_PRECISION_FOLLOW);

NN_OP(scaled_dot_product_attention_grad, NULL,
      "Gradients of scaled_dot_product_attention from its results and g",
      NN_IN(M_ROW("q", "[lead…, L, E]"), M_ROW("k", "[lead…, S, E]"), M_ROW("v", "[lead…, S, D]"),
            M_ROW("out", "[lead…, L, D]"), SUM_ROW, M_ROW("g", "[lead…, L, D]"), MASK_ROW),
      NN_OUT(M_ROW("dq", "q's"), M_ROW("dk", "k's"), M_ROW("dv", "v's")),
      .attrs = TN_OPTIONS(TnAttentionAttrs, attention_rows), .infer = attention_grad_infer,
      .body = attention_grad_body, .sample = attention_grad_sample,
      .precision = TN_PRECISION_FOLLOW);
