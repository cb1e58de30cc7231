/* attention.c: scaled dot product attention (Vaswani et al., "Attention is all you need", 2017). */
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

static gboolean
attention_infer(TnInfer *infer, GError **error)
{
    const TnType *q = &infer->in[0], *k = &infer->in[1], *v = &infer->in[2];
    TnType out = { .dtype = q->dtype };
    if (k->dims[k->rank - 1] != q->dims[q->rank - 1]) {
        g_autofree char *text = tn_type_print(q);
        return nn_infer_fail(infer, 1, error, "its last axis must be that of 'q' %s", text);
    }
    if (v->dims[v->rank - 2] != k->dims[k->rank - 2]) {
        g_autofree char *text = tn_type_print(k);
        return nn_infer_fail(infer, 2, error, "its last axis but one must be that of 'k' %s", text);
    }
    if (!leading(infer, &out, error)) {
        return FALSE;
    }
    TnType scores = out;
    scores.dims[scores.rank++] = q->dims[q->rank - 2];
    scores.dims[scores.rank++] = k->dims[k->rank - 2];
    out.dims[out.rank++] = q->dims[q->rank - 2];
    out.dims[out.rank++] = v->dims[v->rank - 1];
    infer->out[0] = out;
    if (!nn_present(infer, 3)) {
        return TRUE;
    }
    if (infer->in[3].dtype != TN_DTYPE_BOOL && infer->in[3].dtype != q->dtype) {
        g_set_error(error, TN_ERROR, TN_ERROR_DTYPE, "input 'mask' is %s, must be bool or %s",
                    tn_dtype_name(infer->in[3].dtype), tn_dtype_name(q->dtype));
        return FALSE;
    }
    return nn_infer_fits(infer, 3, &scores, "the products", error);
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

static gboolean
attention_body(TnBody *body, GError **error)
{
    const TnAttentionAttrs *attrs = body->attrs;
    const TnAxisAttrs last = { -1 };
    const gint64 features[] = { -1 };
    TnGraph *graph = body->graph;
    (void)error;
    const TnVal q = nn_wide(graph, body->in[0]);
    TnVal scale = tn_f_const(graph, q, attrs->scale);
    if (attrs->scale == 0) {
        scale = tn_f_reciprocal(graph, tn_f_sqrt(graph, tn_f_size(graph, q, 1, features)));
    }
    const TnVal k = tn_f_transpose_matrix(graph, nn_wide(graph, body->in[1]));
    TnVal scores = tn_f_matmul(graph, tn_f_mul(graph, q, scale), k);
    scores = with_mask(graph, scores, nn_in(body, 3));
    scores = attrs->causal ? with_past(graph, scores) : scores;
    const TnVal share = nn_1(graph, "softmax", &last, scores);
    const TnVal y = tn_f_matmul(graph, share, nn_wide(graph, body->in[2]));
    body->out[0] = nn_to(graph, y, nn_dtype(graph, body->in[0]));
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
/* Masks that leave every place something to attend to: no row is all -inf. */
static const guint8 some[8] = { 1, 0, 1, 1, 0, 1, 1, 1 };

static gboolean
attention_sample(TnSample *sample)
{
    const gboolean ok = NN_SAMPLE(sample, attention_cases, TnAttentionAttrs);
    if (ok && sample->n_in == 4 && sample->in[3].dtype == TN_DTYPE_BOOL) {
        sample->value[3] = tn_tensor_from(sample->in[3], some, NULL);
    }
    return ok;
}

#define M_ROW(name_, help_) NN_ARG(name_, 'T', TN_DTYPES_FLOAT, help_, NN_RANK(2, TN_MAX_RANK))
NN_OP(scaled_dot_product_attention, "Attention", "softmax (q k^T scale + mask) v",
      NN_IN(M_ROW("q", "[lead…, L, E]"), M_ROW("k", "[lead…, S, E]"), M_ROW("v", "[lead…, S, D]"),
            NN_ARG("mask", 'M', TN_DTYPES_FLOAT | TN_DT(BOOL),
                   "broadcasts to [lead…, L, S]: bool, or added", .flags = TN_ARG_OPTIONAL)),
      NN_OUT(M_ROW("out", "[lead…, L, D]")), .attrs = TN_OPTIONS(TnAttentionAttrs, attention_rows),
      .infer = attention_infer, .body = attention_body, .sample = attention_sample);
