/* random.c: composites that draw: dropout, bernoulli, random_categorical. Numbers come from the
 * node's own stream at the position in `key`, so that every copy of a body draws the same. */
#include "nn.h"

/* Uniform f32 numbers of x's shape. */
static TnVal
uniform(TnGraph *graph, TnVal key, TnVal x)
{
    const TnUniformAttrs attrs = { .random = { .dtype = TN_DTYPE_F32 }, .low = 0, .high = 1 };
    return nn_2(graph, "random_uniform", &attrs, key, x);
}

#define KEY_ROW                                                                                    \
    NN_ARG("key", 'K', TN_DT(U64), "[2]: seed and position", NN_RANK(1, 1), .flags = TN_ARG_NO_GRAD)

static gboolean
want_key(const TnInfer *infer, GError **error)
{
    return nn_infer_want(infer, 1, 1, (const gint64[]){ 2 }, "seed and position", error);
}

/* --- dropout --------------------------------------------------------------------------------- */

static const TnOption dropout_rows[] = {
    NN_ATTR(TnDropoutAttrs, p, TN_OPT_DOUBLE, "probability that an element becomes 0",
            TN_RANGE_F(0, 1), .dflt = "0.5"),
    NN_ATTR(TnDropoutAttrs, training, TN_OPT_BOOL, "false: x itself", .dflt = "true"),
};

static gboolean
dropout_infer(TnInfer *infer, GError **error)
{
    infer->out[0] = infer->out[1] = infer->in[0];
    infer->out[1].dtype = TN_DTYPE_BOOL;
    return want_key(infer, error);
}

/* x / (1 - p) where the mask holds. */
static TnVal
masked(TnGraph *graph, const TnDropoutAttrs *attrs, TnVal mask, TnVal x)
{
    const TnVal wide = nn_wide(graph, x);
    const TnVal scaled = tn_f_mul(graph, wide, tn_f_const(graph, wide, 1 / (1 - attrs->p)));
    const TnVal y = tn_f_where(graph, mask, scaled, tn_f_const(graph, wide, 0));
    return nn_to(graph, y, nn_dtype(graph, x));
}

static gboolean
dropout_body(TnBody *body, GError **error)
{
    const TnDropoutAttrs *attrs = body->attrs;
    const TnFullLikeAttrs all = { 1, TN_DTYPE_BOOL };
    TnGraph *graph = body->graph;
    (void)error;
    if (!attrs->training || attrs->p == 0) {
        body->out[0] = nn_1(graph, "identity", NULL, body->in[0]);
        body->out[1] = nn_1(graph, "full_like", &all, body->in[0]);
        return TRUE;
    }
    const TnVal u = uniform(graph, body->in[1], body->in[0]);
    body->out[1] = tn_f_greater_or_equal(graph, u, tn_f_const(graph, u, attrs->p));
    body->out[0] = masked(graph, attrs, body->out[1], body->in[0]);
    return TRUE;
}

static gboolean
dropout_vjp(TnVjp *v, GError **error)
{
    const TnDropoutAttrs *attrs = v->attrs;
    const TnVal g = v->grad_out[0];
    (void)error;
    if (v->need[0] && !tn_val_is_none(g)) {
        const gboolean still = !attrs->training || attrs->p == 0;
        v->grad_in[0] = still ? g : masked(v->graph, attrs, v->out[1], g);
    }
    return TRUE;
}

#define DROP(...) (&(const TnDropoutAttrs){ __VA_ARGS__ })
#define KEYED(shape_) { shape_, NN_SHAPE(2) }, .dtype = { 0, TN_DTYPE_U64 }
static const NnCase dropout_cases[] = {
    { 2, KEYED(NN_SHAPE(7)) },
    { 2, KEYED(NN_SHAPE(3, 50)), .attrs = DROP(0.1, TRUE) },
    { 2, KEYED(NN_SHAPE(2, 3)), .attrs = DROP(0.5, FALSE) },
    { 2, KEYED(NN_SHAPE(2, 3, 4)), .attrs = DROP(1, TRUE) },
    { 2, KEYED(NN_SHAPE(1031)), .attrs = DROP(0.25, TRUE) },
    { 2, KEYED(NN_SHAPE(0, 3)) },
};
NN_SAMPLER(dropout_sample, dropout_cases, TnDropoutAttrs)

NN_OP(dropout, "Dropout", "Zeros elements at random and scales the others", .flags = TN_OP_RANDOM,
      NN_IN(NN_ARG("x", 'T', TN_DTYPES_FLOAT, "any shape"), KEY_ROW),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "x's shape"),
             NN_ARG("mask", 'B', TN_DT(BOOL), "where x was kept")),
      .attrs = TN_OPTIONS(TnDropoutAttrs, dropout_rows), .infer = dropout_infer, .vjp = dropout_vjp,
      .body = dropout_body, .sample = dropout_sample, .in_place = 1);

/* --- bernoulli ------------------------------------------------------------------------------- */

static const TnOption bernoulli_rows[] = {
    NN_ATTR_DTYPE(TnBernoulliAttrs, dtype, "dtype of the output; none: p's", .dflt = "none"),
};

static gboolean
bernoulli_infer(TnInfer *infer, GError **error)
{
    const TnDtype dtype = (TnDtype)((const TnBernoulliAttrs *)infer->attrs)->dtype;
    infer->out[0] = infer->in[0];
    infer->out[0].dtype = dtype != TN_DTYPE_NONE ? dtype : infer->in[0].dtype;
    return want_key(infer, error);
}

static gboolean
bernoulli_body(TnBody *body, GError **error)
{
    const TnDtype dtype = (TnDtype)((const TnBernoulliAttrs *)body->attrs)->dtype;
    TnGraph *graph = body->graph;
    const TnVal p = body->in[0];
    (void)error;
    const TnVal u = uniform(graph, body->in[1], p);
    const TnVal hit = tn_f_less(graph, u, nn_to(graph, p, TN_DTYPE_F32));
    body->out[0] = nn_to(graph, hit, dtype != TN_DTYPE_NONE ? dtype : nn_dtype(graph, p));
    return TRUE;
}

static const NnCase bernoulli_cases[] = {
    { 2, KEYED(NN_SHAPE(9)) },
    { 2, KEYED(NN_SHAPE(3, 50)), .attrs = &(const TnBernoulliAttrs){ TN_DTYPE_BOOL } },
    { 2, KEYED(NN_RANK0), .attrs = &(const TnBernoulliAttrs){ TN_DTYPE_I32 } },
    { 2, KEYED(NN_SHAPE(0, 2)) },
};
NN_SAMPLER(bernoulli_sample, bernoulli_cases, TnBernoulliAttrs)

NN_OP(bernoulli, "Bernoulli", "1 with probability p, else 0", .flags = TN_OP_RANDOM | TN_OP_NO_GRAD,
      NN_IN(NN_ARG("p", 'T', TN_DTYPES_FLOAT, "any shape", .lo = 0.1, .hi = 0.9), KEY_ROW),
      NN_OUT(NN_ARG("out", 'O', TN_DTYPES_ALL, "p's shape")),
      .attrs = TN_OPTIONS(TnBernoulliAttrs, bernoulli_rows), .infer = bernoulli_infer,
      .body = bernoulli_body, .sample = bernoulli_sample);

/* --- random_categorical ---------------------------------------------------------------------- */

static gboolean
categorical_infer(TnInfer *infer, GError **error)
{
    const TnType *logits = &infer->in[0];
    if (logits->dims[logits->rank - 1] == 0) {
        return nn_infer_fail(infer, 0, error, "the last axis has no class to draw");
    }
    infer->out[0] = tn_type(TN_DTYPE_I64, logits->rank - 1, logits->dims);
    return want_key(infer, error);
}

/* The largest of logits + Gumbel noise is distributed as softmax (logits) (Gumbel 1954). */
static gboolean
categorical_body(TnBody *body, GError **error)
{
    const TnArgReduceAttrs last = { .axis = -1 };
    TnGraph *graph = body->graph;
    (void)error;
    const TnVal u = uniform(graph, body->in[1], body->in[0]);
    const TnVal waiting = tn_f_neg(graph, tn_f_log(graph, u));
    const TnVal noise = tn_f_neg(graph, tn_f_log(graph, waiting));
    const TnVal logits = nn_wide(graph, body->in[0]);
    const TnVal sum = tn_f_add(graph, logits, nn_to(graph, noise, nn_dtype(graph, logits)));
    body->out[0] = nn_1(graph, "argmax", &last, sum);
    return TRUE;
}

static const NnCase categorical_cases[] = {
    { 2, KEYED(NN_SHAPE(5)) },
    { 2, KEYED(NN_SHAPE(40, 4)) },
    { 2, KEYED(NN_SHAPE(2, 3, 1)) },
    { 2, KEYED(NN_SHAPE(0, 3)) },
};
NN_SAMPLER(categorical_sample, categorical_cases, char)

NN_OP(random_categorical, NULL, "A class drawn with probabilities softmax (logits)",
      .flags = TN_OP_RANDOM | TN_OP_NO_GRAD,
      NN_IN(NN_ARG("logits", 'T', TN_DTYPES_FLOAT, "[lead…, C]", NN_RANK(1, TN_MAX_RANK)), KEY_ROW),
      NN_OUT(NN_ARG("out", 'I', TN_DT(I64), "[lead…]")), .infer = categorical_infer,
      .body = categorical_body, .sample = categorical_sample);
