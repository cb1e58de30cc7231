/* cross_entropy.c: negative log likelihood of integer targets, from log probabilities or from
 * logits.
 *
 * With w the weight of a sample's target (1 without weights, 0 where the target is ignored), w_c
 * that of class c and e the smoothing, a sample's loss is -(1 - e) w log p[target] - e / C sum_c
 * w_c log p[c], and `mean` divides their sum by that of w. */
#include "loss.h"

static const char *const reductions[] = { "mean", "sum", "none", NULL };
#define COMMON_ROWS                                                                                \
    NN_ATTR(TnCrossEntropyAttrs, reduction, TN_OPT_ENUM, "what becomes of the samples' losses",    \
            .choices = reductions, .dflt = "mean"),                                                \
        NN_ATTR(TnCrossEntropyAttrs, ignore_index, TN_OPT_INT64,                                   \
                "a target that counts for nothing", .dflt = "-100")
static const TnOption nll_rows[] = { COMMON_ROWS };
static const TnOption cross_rows[] = {
    COMMON_ROWS,
    NN_ATTR(TnCrossEntropyAttrs, label_smoothing, TN_OPT_DOUBLE,
            "share of the target that is spread over all classes", TN_RANGE_F(0, 1), .dflt = "0"),
};

/* --- Infer ----------------------------------------------------------------------------------- */

/* The type of the loss. */
static gboolean
loss_type(const TnInfer *infer, TnType *out, GError **error)
{
    const gint reduction = ((const TnCrossEntropyAttrs *)infer->attrs)->reduction;
    const TnType *x = &infer->in[0];
    TnType samples = *x;
    samples.rank--;
    for (gint i = 1; i < samples.rank; i++) {
        samples.dims[i] = x->dims[i + 1];
    }
    if (!nn_infer_want(infer, 1, samples.rank, samples.dims, "the samples of the first input",
                       error)) {
        return FALSE;
    }
    if (nn_present(infer, 2) &&
        !nn_infer_want(infer, 2, 1, &x->dims[1], "the classes of the first input", error)) {
        return FALSE;
    }
    if (x->dims[1] == 0 && tn_type_count(&samples) > 0) {
        return nn_infer_fail(infer, 0, error, "there are no classes to choose from");
    }
    *out = reduction == TN_LOSS_NONE ? samples : tn_type(x->dtype, 0, NULL);
    return TRUE;
}

static gboolean
loss_infer(TnInfer *infer, GError **error)
{
    return loss_type(infer, &infer->out[0], error);
}

static gboolean
grad_infer(TnInfer *infer, GError **error)
{
    TnType loss;
    infer->out[0] = infer->in[0];
    return loss_type(infer, &loss, error) &&
           nn_infer_want(infer, 3, loss.rank, loss.dims, "the loss", error);
}

/* --- Bodies ---------------------------------------------------------------------------------- */

/* What all bodies begin with. Shapes: samples [N, d…]; classes [C, 1…], which broadcasts with
 * the logits. */
typedef struct {
    TnGraph *graph;
    const TnCrossEntropyAttrs *attrs;
    TnDtype dtype;      /* C */
    gint rank;          /* of the logits */
    TnVal target;       /* [N, d…]; 0 where ignored */
    TnVal ignored;      /* [N, d…]: bool */
    TnVal kept;         /* [N, d…]: 1, or 0 where ignored */
    TnVal weight;       /* [N, d…]: of the sample's target, 0 where ignored */
    TnVal class_weight; /* [C, 1…], none without weights */
} Samples;

static Samples
samples_of(TnBody *body)
{
    TnGraph *graph = body->graph;
    Samples s = { .graph = graph, .attrs = body->attrs, .rank = tn_f_rank(graph, body->in[0]) };
    const TnVal given = body->in[1];
    const TnVal weight = nn_in(body, 2);
    s.dtype = nn_wider(nn_dtype(graph, body->in[0]));
    const TnVal ignore = tn_f_const(graph, given, (double)s.attrs->ignore_index);
    s.ignored = tn_f_equal(graph, given, ignore);
    /* Elsewhere positions below 0 count from the end; a class below 0 is none, so it becomes one
     * that gather refuses. */
    const TnVal zero = tn_f_const(graph, given, 0);
    const TnSizeAttrs size = { NN_INTS(1), (gint)nn_dtype(graph, given) };
    const TnVal none = nn_1(graph, "size", &size, body->in[0]);
    const TnVal named = tn_f_where(graph, tn_f_less(graph, given, zero), none, given);
    s.target = tn_f_where(graph, s.ignored, zero, named);
    s.kept = tn_f_cast(graph, tn_f_not(graph, s.ignored), s.dtype);
    s.weight = s.kept;
    s.class_weight = TN_VAL_NONE;
    if (!tn_val_is_none(weight)) {
        const TnVal classes = nn_to(graph, weight, s.dtype);
        const TnAxisAttrs first = { 0 };
        s.class_weight = nn_channel(graph, classes, s.rank);
        s.weight = tn_f_mul(graph, s.kept, nn_2(graph, "gather", &first, classes, s.target));
    }
    return s;
}

static TnVal
by_classes(const Samples *s, TnVal samples)
{
    return nn_insert(s->graph, samples, 1, 1);
}

/* 0 instead of what an ignored sample has: infinities and NaN in it must not reach the loss. */
static TnVal
unless_ignored(const Samples *s, TnVal samples)
{
    return tn_f_where(s->graph, s->ignored, tn_f_const(s->graph, samples, 0), samples);
}

/* Losses of the samples from log probabilities. */
static TnVal
sample_losses(const Samples *s, TnVal logp)
{
    const double e = s->attrs->label_smoothing;
    const TnAxisAttrs classes = { 1 };
    const gint64 axis[] = { 1 };
    TnGraph *graph = s->graph;
    const TnVal at = nn_2(graph, "gather_elements", &classes, logp, by_classes(s, s->target));
    const TnVal picked = unless_ignored(s, tn_f_squeeze(graph, at, 1, axis));
    const TnVal own = tn_f_mul(graph, picked, s->weight);
    if (e == 0) {
        return tn_f_neg(graph, own);
    }
    const gboolean plain = tn_val_is_none(s->class_weight);
    const TnVal each = plain ? logp : tn_f_mul(graph, logp, s->class_weight);
    const TnVal all = unless_ignored(s, tn_f_reduce_sum(graph, each, 1, axis, FALSE));
    const TnVal share =
        tn_f_div(graph, tn_f_const(graph, logp, e), tn_f_size(graph, logp, 1, axis));
    const TnVal sum = tn_f_add(graph, tn_f_mul(graph, own, tn_f_const(graph, logp, 1 - e)),
                               tn_f_mul(graph, all, share));
    return tn_f_neg(graph, sum);
}

static TnVal
reduced(const Samples *s, TnVal losses)
{
    if (s->attrs->reduction != TN_LOSS_MEAN) {
        return nn_reduce_loss(s->graph, s->attrs->reduction, losses);
    }
    const TnVal weights = tn_f_reduce_sum(s->graph, s->weight, 0, NULL, FALSE);
    return tn_f_div(s->graph, tn_f_reduce_sum(s->graph, losses, 0, NULL, FALSE), weights);
}

static gboolean
nll_body(TnBody *body, GError **error)
{
    const Samples s = samples_of(body);
    (void)error;
    const TnVal losses = sample_losses(&s, nn_to(body->graph, body->in[0], s.dtype));
    body->out[0] = nn_to(body->graph, reduced(&s, losses), nn_dtype(body->graph, body->in[0]));
    return TRUE;
}

static gboolean
cross_body(TnBody *body, GError **error)
{
    const Samples s = samples_of(body);
    const TnAxisAttrs classes = { 1 };
    TnGraph *graph = body->graph;
    (void)error;
    const TnVal logits = nn_to(graph, body->in[0], s.dtype);
    const TnVal losses = sample_losses(&s, nn_1(graph, "log_softmax", &classes, logits));
    body->out[0] = nn_to(graph, reduced(&s, losses), nn_dtype(graph, body->in[0]));
    return TRUE;
}

/* 1 at each sample's target, in the logits' shape. */
static TnVal
hot(const Samples *s, TnVal logits)
{
    TnGraph *graph = s->graph;
    const TnDtype dtype = nn_dtype(graph, s->target);
    const TnIotaAttrs along = { 1, (gint)dtype };
    const TnVal classes = nn_channel(graph, nn_1(graph, "iota", &along, logits), s->rank);
    return tn_f_cast(graph, tn_f_equal(graph, by_classes(s, s->target), classes), s->dtype);
}

/* The sample's gradient times (p sum (q) - q), q being what its target gives each class: (1 - e)
 * w at the target and e / C w_c everywhere. */
static gboolean
cross_grad_body(TnBody *body, GError **error)
{
    const Samples s = samples_of(body);
    const double e = s.attrs->label_smoothing;
    const TnAxisAttrs classes = { 1 };
    const gint64 axis[] = { 1 };
    TnGraph *graph = body->graph;
    (void)error;
    const TnVal logits = nn_to(graph, body->in[0], s.dtype);
    const TnVal p = nn_1(graph, "softmax", &classes, logits);
    TnVal q = tn_f_mul(graph, hot(&s, logits), by_classes(&s, s.weight));
    TnVal sum = s.weight;
    if (e != 0) {
        const TnVal size = tn_f_size(graph, logits, 1, axis);
        TnVal spread = tn_f_div(graph, by_classes(&s, s.kept), size);
        if (!tn_val_is_none(s.class_weight)) {
            spread = tn_f_mul(graph, spread, s.class_weight);
        }
        q = tn_f_mul(graph, q, tn_f_const(graph, q, 1 - e));
        q = tn_f_add(graph, q, tn_f_mul(graph, spread, tn_f_const(graph, q, e)));
        sum = tn_f_reduce_sum(graph, tn_f_add(graph, q, nn_1(graph, "zeros_like", NULL, logits)), 1,
                              axis, FALSE);
    }
    TnVal g = nn_to(graph, body->in[3], s.dtype);
    if (s.attrs->reduction == TN_LOSS_MEAN) {
        g = tn_f_div(graph, g, tn_f_reduce_sum(graph, s.weight, 0, NULL, FALSE));
    }
    if (s.attrs->reduction == TN_LOSS_NONE) {
        g = by_classes(&s, g);
    }
    const TnVal grad = tn_f_sub(graph, tn_f_mul(graph, p, by_classes(&s, sum)), q);
    const TnVal product = tn_f_mul(graph, g, grad);
    const TnVal kept =
        tn_f_where(graph, by_classes(&s, s.ignored), tn_f_const(graph, product, 0), product);
    body->out[0] = nn_to(graph, kept, nn_dtype(graph, body->in[0]));
    return TRUE;
}

static gboolean
cross_vjp(TnVjp *v, GError **error)
{
    (void)error;
    if (v->need[0] && !tn_val_is_none(v->grad_out[0])) {
        const TnVal in[] = { v->in[0], v->in[1], nn_in(v, 2), v->grad_out[0] };
        v->grad_in[0] =
            tn_graph_op(v->graph, "cross_entropy_grad", v->attrs, G_N_ELEMENTS(in), in, NULL);
    }
    return TRUE;
}

/* --- Samples --------------------------------------------------------------------------------- */

#define CROSS(...) (&(const TnCrossEntropyAttrs){ __VA_ARGS__ })
#define TARGETS(dtype_, classes_) .dtype = { 0, TN_DTYPE_##dtype_ }, .bound = { 0, classes_ }
static const NnCase loss_cases[] = {
    { 2, { NN_SHAPE(1, 3), NN_SHAPE(1) }, TARGETS(I64, 3) },
    { 2, { NN_SHAPE(4, 5), NN_SHAPE(4) }, TARGETS(I32, 5) },
    { 3,
      { NN_SHAPE(4, 5), NN_SHAPE(4), NN_SHAPE(5) },
      TARGETS(I64, 5),
      .attrs = CROSS(TN_LOSS_MEAN, -100, 0) },
    { 2,
      { NN_SHAPE(2, 3, 4), NN_SHAPE(2, 4) },
      TARGETS(I64, 3),
      .attrs = CROSS(TN_LOSS_NONE, -100, 0) },
    { 3,
      { NN_SHAPE(2, 4, 3, 5), NN_SHAPE(2, 3, 5), NN_SHAPE(4) },
      TARGETS(I64, 4),
      .attrs = CROSS(TN_LOSS_MEAN, 1, 0) },
    { 2, { NN_SHAPE(9, 4), NN_SHAPE(9) }, TARGETS(I32, 4), .attrs = CROSS(TN_LOSS_SUM, 2, 0) },
    { 2, { NN_SHAPE(0, 4), NN_SHAPE(0) }, TARGETS(I64, 4), .attrs = CROSS(TN_LOSS_SUM, -100, 0) },
};
NN_SAMPLER(nll_sample, loss_cases, TnCrossEntropyAttrs)

/* The same, then with smoothing. */
static gboolean
cross_sample(TnSample *sample)
{
    const guint variant = sample->variant;
    sample->variant = variant % G_N_ELEMENTS(loss_cases);
    const gboolean ok = variant < 2 * G_N_ELEMENTS(loss_cases) && nll_sample(sample);
    sample->variant = variant;
    if (variant >= G_N_ELEMENTS(loss_cases)) {
        ((TnCrossEntropyAttrs *)sample->attrs)->label_smoothing = 0.1;
    }
    return ok;
}

static gboolean
cross_grad_sample(TnSample *sample)
{
    if (!cross_sample(sample)) {
        return FALSE;
    }
    const gint reduction = ((const TnCrossEntropyAttrs *)sample->attrs)->reduction;
    if (sample->n_in == 2) {
        sample->in[2] = (TnType){ .dtype = TN_DTYPE_NONE };
    }
    sample->n_in = 4;
    sample->in[3] = reduction == TN_LOSS_NONE ? sample->in[1] : tn_type(sample->dtype, 0, NULL);
    sample->in[3].dtype = sample->dtype;
    return TRUE;
}

/* --- The table ------------------------------------------------------------------------------- */

#define X_ROW(name_, help_) NN_ARG(name_, 'T', TN_DTYPES_FLOAT, help_, NN_RANK(2, TN_MAX_RANK))
#define TARGET_ROW                                                                                 \
    NN_ARG("target", 'I', NN_INDICES, "[N, d…]: classes", .flags = TN_ARG_INDEX | TN_ARG_NO_GRAD)
#define WEIGHT_ROW                                                                                 \
    NN_ARG("weight", 'T', TN_DTYPES_FLOAT, "[C]: of each class",                                   \
           .flags = TN_ARG_OPTIONAL | TN_ARG_NO_GRAD, .lo = 0.2, .hi = 2)
#define LOSS_ROW NN_ARG("out", 'T', TN_DTYPES_FLOAT, "[N, d…], or rank 0 if reduced")
#define ATTRS(rows_) .attrs = TN_OPTIONS(TnCrossEntropyAttrs, rows_)

NN_OP(nll_loss, "NegativeLogLikelihoodLoss", "Negative log likelihood of integer targets",
      NN_IN(X_ROW("x", "[N, C, d…]: log probabilities"), TARGET_ROW, WEIGHT_ROW), NN_OUT(LOSS_ROW),
      ATTRS(nll_rows), .infer = loss_infer, .body = nll_body, .sample = nll_sample);
NN_OP(cross_entropy, "SoftmaxCrossEntropyLoss", "Cross-entropy of softmax with integer targets",
      NN_IN(X_ROW("logits", "[N, C, d…]"), TARGET_ROW, WEIGHT_ROW), NN_OUT(LOSS_ROW),
      ATTRS(cross_rows), .infer = loss_infer, .vjp = cross_vjp, .body = cross_body,
      .sample = cross_sample);
NN_OP(cross_entropy_grad, NULL, "Gradient of cross_entropy in the logits",
      NN_IN(X_ROW("logits", "[N, C, d…]"), TARGET_ROW, WEIGHT_ROW,
            NN_ARG("g", 'T', TN_DTYPES_FLOAT, "the loss's shape")),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "the logits' shape")), ATTRS(cross_rows),
      .infer = grad_infer, .body = cross_grad_body, .sample = cross_grad_sample);
