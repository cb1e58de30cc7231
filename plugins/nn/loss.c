/* loss.c: losses that compare two tensors element by element, and how losses are reduced. */
#include "loss.h"

const char *const nn_reductions[] = { "mean", "sum", "none", "batchmean", NULL };
static const char *const reductions[] = { "mean", "sum", "none", NULL };

TnVal
nn_reduce_loss(TnGraph *graph, gint reduction, TnVal loss)
{
    const gint64 batch[] = { 0 };
    if (reduction == TN_LOSS_NONE) {
        return loss;
    }
    const TnVal sum = tn_f_reduce_sum(graph, loss, 0, NULL, FALSE);
    if (reduction == TN_LOSS_SUM) {
        return sum;
    }
    const gint n = reduction == TN_LOSS_BATCHMEAN ? 1 : 0;
    return tn_f_div(graph, sum, tn_f_size(graph, loss, n, batch));
}

/* The loss of each element: x and t in C. */
typedef TnVal (*Formula)(TnGraph *graph, const TnBody *body, TnVal x, TnVal t);

typedef struct {
    TnOp op; /* a pointer to it is one to the row */
    Formula formula;
} Loss;

static gboolean
loss_infer(TnInfer *infer, GError **error)
{
    const gint reduction = ((const TnLossAttrs *)infer->attrs)->reduction;
    const TnType *x = &infer->in[0];
    if (!nn_infer_want(infer, 1, x->rank, x->dims, "the first input", error)) {
        return FALSE;
    }
    for (gint i = 2; i < infer->n_in; i++) {
        if (nn_present(infer, i) && !nn_infer_fits(infer, i, x, "the first input", error)) {
            return FALSE;
        }
    }
    if (reduction == TN_LOSS_BATCHMEAN && x->rank == 0) {
        return nn_infer_fail(infer, 0, error, "batchmean needs an axis of samples");
    }
    infer->out[0] = reduction == TN_LOSS_NONE ? *x : tn_type(x->dtype, 0, NULL);
    return TRUE;
}

static gboolean
loss_body(TnBody *body, GError **error)
{
    const Loss *row = (const Loss *)body->op;
    TnGraph *graph = body->graph;
    (void)error;
    const TnVal x = nn_wide(graph, body->in[0]);
    const TnVal loss = row->formula(graph, body, x, nn_wide(graph, body->in[1]));
    const gint reduction = ((const TnLossAttrs *)body->attrs)->reduction;
    body->out[0] =
        nn_to(graph, nn_reduce_loss(graph, reduction, loss), nn_dtype(graph, body->in[0]));
    return TRUE;
}

/* --- Formulas -------------------------------------------------------------------------------- */

static TnVal
squared(TnGraph *graph, const TnBody *body, TnVal x, TnVal t)
{
    (void)body;
    const TnVal d = tn_f_sub(graph, x, t);
    return tn_f_mul(graph, d, d);
}

static TnVal
absolute(TnGraph *graph, const TnBody *body, TnVal x, TnVal t)
{
    (void)body;
    return tn_f_abs(graph, tn_f_sub(graph, x, t));
}

/* inner * d^2 / 2 up to |d| = edge, outer (|d| - edge / 2) beyond. */
static TnVal
bent(TnGraph *graph, TnVal d, double edge, double inner, double outer)
{
    const TnVal size = tn_f_abs(graph, d);
    const TnVal curve = tn_f_mul(graph, tn_f_mul(graph, d, d), tn_f_const(graph, d, inner / 2));
    TnVal line = tn_f_sub(graph, size, tn_f_const(graph, d, edge / 2));
    line = outer == 1 ? line : tn_f_mul(graph, line, tn_f_const(graph, d, outer));
    const TnVal near = tn_f_less_or_equal(graph, size, tn_f_const(graph, d, edge));
    return tn_f_where(graph, near, curve, line);
}

static TnVal
huber(TnGraph *graph, const TnBody *body, TnVal x, TnVal t)
{
    const double delta = ((const TnHuberAttrs *)body->attrs)->delta;
    return bent(graph, tn_f_sub(graph, x, t), delta, 1, delta);
}

static TnVal
smooth_l1(TnGraph *graph, const TnBody *body, TnVal x, TnVal t)
{
    const double beta = ((const TnHuberAttrs *)body->attrs)->delta;
    if (beta == 0) {
        return absolute(graph, body, x, t);
    }
    return bent(graph, tn_f_sub(graph, x, t), beta, 1 / beta, 1);
}

/* -(p t log s (x) + (1 - t) log s (-x)) with s the sigmoid. Small losses keep their digits on both
 * sides, as do gradients, which a single softplus less x t would lose for large x. */
static TnVal
bce(TnGraph *graph, const TnBody *body, TnVal x, TnVal t)
{
    const TnVal weight = nn_to(graph, nn_in(body, 2), nn_dtype(graph, x));
    const TnVal pos = nn_to(graph, nn_in(body, 3), nn_dtype(graph, x));
    const TnVal no = tn_f_sub(graph, tn_f_const(graph, x, 1), t);
    const TnVal yes = tn_val_is_none(pos) ? t : tn_f_mul(graph, pos, t);
    const TnVal missed = nn_1(graph, "softplus", NULL, tn_f_neg(graph, x));
    const TnVal loss = tn_f_add(graph, tn_f_mul(graph, yes, missed),
                                tn_f_mul(graph, no, nn_1(graph, "softplus", NULL, x)));
    return tn_val_is_none(weight) ? loss : tn_f_mul(graph, weight, loss);
}

/* t (log t - x), 0 where t is 0; with log_target exp (t) (t - x). */
static TnVal
divergence(TnGraph *graph, const TnBody *body, TnVal x, TnVal t)
{
    if (((const TnKlDivAttrs *)body->attrs)->log_target) {
        return tn_f_mul(graph, tn_f_exp(graph, t), tn_f_sub(graph, t, x));
    }
    const TnVal some = tn_f_greater(graph, t, tn_f_const(graph, t, 0));
    const TnVal safe = tn_f_where(graph, some, t, tn_f_const(graph, t, 1));
    const TnVal own = tn_f_mul(graph, t, tn_f_log(graph, safe));
    return tn_f_sub(graph, own, tn_f_mul(graph, t, x));
}

/* --- Attributes and samples ------------------------------------------------------------------ */

#define REDUCTION(Struct, choices_)                                                                \
    NN_ATTR(Struct, reduction, TN_OPT_ENUM, "what becomes of the losses of the elements",          \
            .choices = (choices_), .dflt = "mean")
static const TnOption loss_rows[] = { REDUCTION(TnLossAttrs, reductions) };
static const TnOption huber_rows[] = {
    REDUCTION(TnHuberAttrs, reductions),
    NN_ATTR(TnHuberAttrs, delta, TN_OPT_DOUBLE, "distance where the line begins", .dflt = "1",
            TN_RANGE_F(0, DBL_MAX), .flags = TN_OPTION_OPEN_MIN),
};
static const TnOption smooth_rows[] = {
    REDUCTION(TnHuberAttrs, reductions),
    { .name = "beta",
      .type = TN_OPT_DOUBLE,
      .offset = G_STRUCT_OFFSET(TnHuberAttrs, delta),
      .help = "distance where the line begins",
      .dflt = "1",
      TN_RANGE_F(0, DBL_MAX) },
};
static const TnOption kl_rows[] = {
    REDUCTION(TnKlDivAttrs, nn_reductions),
    NN_ATTR(TnKlDivAttrs, log_target, TN_OPT_BOOL, "the target is logarithms", .dflt = "false"),
};

#define LOSS(r) (&(const TnLossAttrs){ r })
static const NnCase loss_cases[] = {
    { 2, { NN_RANK0, NN_RANK0 } },
    { 2, { NN_SHAPE(7), NN_SHAPE(7) } },
    { 2, { NN_SHAPE(3, 5), NN_SHAPE(3, 5) }, .attrs = LOSS(TN_LOSS_SUM) },
    { 2, { NN_SHAPE(2, 3, 4), NN_SHAPE(2, 3, 4) }, .attrs = LOSS(TN_LOSS_NONE) },
    { 2, { NN_SHAPE(0, 4), NN_SHAPE(0, 4) }, .attrs = LOSS(TN_LOSS_SUM) },
};
NN_SAMPLER(loss_sample, loss_cases, TnLossAttrs)
#define HUBER(...) (&(const TnHuberAttrs){ __VA_ARGS__ })
static const NnCase huber_cases[] = {
    { 2, { NN_SHAPE(7), NN_SHAPE(7) } },
    { 2, { NN_SHAPE(3, 5), NN_SHAPE(3, 5) }, .attrs = HUBER(TN_LOSS_SUM, 0.5) },
    { 2, { NN_SHAPE(2, 3, 4), NN_SHAPE(2, 3, 4) }, .attrs = HUBER(TN_LOSS_NONE, 2) },
    { 2, { NN_SHAPE(0, 4), NN_SHAPE(0, 4) }, .attrs = HUBER(TN_LOSS_SUM, 1) },
};
NN_SAMPLER(huber_sample, huber_cases, TnHuberAttrs)
static const NnCase bce_cases[] = {
    { 2, { NN_SHAPE(7), NN_SHAPE(7) } },
    { 3, { NN_SHAPE(3, 5), NN_SHAPE(3, 5), NN_SHAPE(3, 1) }, .attrs = LOSS(TN_LOSS_SUM) },
    { 4, { NN_SHAPE(3, 5), NN_SHAPE(3, 5), NN_ABSENT, NN_SHAPE(5) }, .attrs = LOSS(TN_LOSS_NONE) },
    { 4, { NN_SHAPE(2, 3, 4), NN_SHAPE(2, 3, 4), NN_SHAPE(4), NN_SHAPE(3, 1) } },
    { 2, { NN_SHAPE(0, 4), NN_SHAPE(0, 4) }, .attrs = LOSS(TN_LOSS_SUM) },
};
NN_SAMPLER(bce_sample, bce_cases, TnLossAttrs)
#define KL(...) (&(const TnKlDivAttrs){ __VA_ARGS__ })
static const NnCase kl_cases[] = {
    { 2, { NN_SHAPE(7), NN_SHAPE(7) } },
    { 2, { NN_SHAPE(3, 5), NN_SHAPE(3, 5) }, .attrs = KL(TN_LOSS_BATCHMEAN, FALSE) },
    { 2, { NN_SHAPE(3, 5), NN_SHAPE(3, 5) }, .attrs = KL(TN_LOSS_NONE, TRUE) },
    { 2, { NN_SHAPE(2, 3, 4), NN_SHAPE(2, 3, 4) }, .attrs = KL(TN_LOSS_SUM, FALSE) },
    { 2, { NN_SHAPE(0, 4), NN_SHAPE(0, 4) }, .attrs = KL(TN_LOSS_SUM, FALSE) },
};
NN_SAMPLER(kl_sample, kl_cases, TnKlDivAttrs)

/* --- The table ------------------------------------------------------------------------------- */

#define F TN_DTYPES_FLOAT
#define ROW(ident, onnx_, help_, formula_, Struct, rows_, sample_, ...)                            \
    static const Loss ident##_row = {                                                              \
        .op = { NN_HEAD(ident, onnx_, help_),                                                      \
                NN_IN(NN_ARG("x", 'T', F, "any shape"), __VA_ARGS__),                              \
                NN_OUT(NN_ARG("out", 'T', F, "x's shape, or rank 0 if reduced")),                  \
                .attrs = TN_OPTIONS(Struct, rows_), .infer = loss_infer, .body = loss_body,        \
                .sample = sample_ },                                                               \
        .formula = formula_,                                                                       \
    };                                                                                             \
    NN_FACTORY(ident, help_, &ident##_row.op)
#define TARGET NN_ARG("target", 'T', F, "x's shape")
#define UNIT_TARGET NN_ARG("target", 'T', F, "x's shape, within [0, 1]", .lo = 0.1, .hi = 0.9)

ROW(mse_loss, NULL, "Square of the difference", squared, TnLossAttrs, loss_rows, loss_sample,
    TARGET);
ROW(l1_loss, NULL, "Size of the difference", absolute, TnLossAttrs, loss_rows, loss_sample, TARGET);
ROW(huber_loss, NULL, "Half the square up to delta, delta times the size beyond", huber,
    TnHuberAttrs, huber_rows, huber_sample, TARGET);
ROW(smooth_l1_loss, NULL, "Half the square over beta up to beta, the size beyond", smooth_l1,
    TnHuberAttrs, smooth_rows, huber_sample, TARGET);
ROW(bce_with_logits, NULL, "Binary cross-entropy of sigmoid (x)", bce, TnLossAttrs, loss_rows,
    bce_sample, UNIT_TARGET,
    NN_ARG("weight", 'T', F, "broadcasts to x's shape", .flags = TN_ARG_OPTIONAL),
    NN_ARG("pos_weight", 'T', F, "broadcasts to x's shape: weight of the positive part",
           .flags = TN_ARG_OPTIONAL));
ROW(kl_div, NULL, "Kullback-Leibler divergence from log probabilities x to the target", divergence,
    TnKlDivAttrs, kl_rows, kl_sample, UNIT_TARGET);
