/* norm_features.c: normalisation of each sample over its axes from one on: of layers, and by the root of
 * the mean square. */
#include "norm.h"

static const TnOption norm_rows[] = {
    NN_EPSILON(TnNormAttrs),
    NN_ATTR(TnNormAttrs, axis, TN_OPT_INT64, "the first normalised axis", .dflt = "-1"),
};

/* --- Infer ----------------------------------------------------------------------------------- */

/* scale (and bias) have x's axes from `axis` on. */
static gboolean
features_infer(TnInfer *infer, gint first, gint last, gint *axis, GError **error)
{
    const TnType *x = &infer->in[0];
    if (!tn_infer_axis(((const TnNormAttrs *)infer->attrs)->axis, x->rank, axis, error)) {
        return FALSE;
    }
    for (gint i = first; i <= last; i++) {
        if (nn_present(infer, i) && !nn_infer_want(infer, i, x->rank - *axis, x->dims + *axis,
                                                   "the normalised axes of 'x'", error)) {
            return FALSE;
        }
    }
    infer->out[0] = *x;
    return TRUE;
}

static TnType
layer_statistic(const TnType *x, gint axis)
{
    TnType type = *x;
    type.dtype = nn_wider(x->dtype);
    for (gint i = axis; i < x->rank; i++) {
        type.dims[i] = 1;
    }
    return type;
}

static gboolean
layer_infer(TnInfer *infer, GError **error)
{
    gint axis;
    if (!features_infer(infer, 1, 2, &axis, error)) {
        return FALSE;
    }
    infer->out[1] = infer->out[2] = layer_statistic(&infer->in[0], axis);
    return TRUE;
}

static gboolean
layer_grad_infer(TnInfer *infer, GError **error)
{
    gint axis;
    if (!features_infer(infer, 1, 1, &axis, error)) {
        return FALSE;
    }
    const TnType statistic = layer_statistic(&infer->in[0], axis);
    infer->out[1] = infer->out[2] = infer->in[1];
    return nn_infer_want(infer, 2, statistic.rank, statistic.dims, "'x'", error) &&
           nn_infer_want(infer, 3, statistic.rank, statistic.dims, "'x'", error) &&
           nn_infer_want(infer, 4, infer->in[0].rank, infer->in[0].dims, "'x'", error);
}

static gboolean
rms_infer(TnInfer *infer, GError **error)
{
    gint axis;
    return features_infer(infer, 1, 1, &axis, error);
}

static gboolean
rms_grad_infer(TnInfer *infer, GError **error)
{
    gint axis;
    infer->out[1] = infer->in[1];
    return features_infer(infer, 1, 1, &axis, error) &&
           nn_infer_want(infer, 2, infer->in[0].rank, infer->in[0].dims, "'x'", error);
}

/* --- Formulas -------------------------------------------------------------------------------- */

/* Axes from the normalised one on, counted from the last. */
static gint
feature_axes(TnGraph *graph, const void *attrs, TnVal x, gint64 *axes)
{
    const gint64 axis = ((const TnNormAttrs *)attrs)->axis;
    const gint rank = tn_f_rank(graph, x);
    return nn_range((gint)(axis < 0 ? axis : axis - rank), 0, axes);
}

static gboolean
layer_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    gint64 axes[TN_MAX_RANK];
    (void)error;
    const TnVal x = nn_norm_in(body, 0);
    const NnMoments m = nn_moments(graph, x, feature_axes(graph, body->attrs, x, axes), axes);
    const TnVal inverse = nn_inverse_deviation(graph, m.var, nn_norm_epsilon(body->attrs));
    const TnVal bias = nn_norm_in(body, 2);
    TnVal y = tn_f_mul(graph, tn_f_mul(graph, m.rest, inverse), nn_norm_in(body, 1));
    y = tn_val_is_none(bias) ? y : tn_f_add(graph, y, bias);
    nn_norm_give(body, 0, y, body->in[0]);
    body->out[1] = m.mean;
    body->out[2] = inverse;
    return TRUE;
}

/* As batch_grad_body with g scale instead of g in dx (Ba et al., "Layer normalization", 2016). */
static gboolean
layer_grad_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    gint64 axes[TN_MAX_RANK];
    (void)error;
    const TnVal x = nn_norm_in(body, 0);
    const TnVal g = nn_norm_in(body, 4);
    const TnVal inverse = nn_norm_in(body, 3);
    const gint n = feature_axes(graph, body->attrs, x, axes);
    const TnVal h = tn_f_mul(graph, tn_f_sub(graph, x, nn_norm_in(body, 2)), inverse);
    const TnVal gs = tn_f_mul(graph, g, nn_norm_in(body, 1));
    const TnVal mean = tn_f_reduce_mean(graph, gs, n, axes, TRUE);
    const TnVal along = tn_f_reduce_mean(graph, tn_f_mul(graph, gs, h), n, axes, TRUE);
    const TnVal rest = tn_f_sub(graph, tn_f_sub(graph, gs, mean), tn_f_mul(graph, h, along));
    nn_norm_give(body, 0, tn_f_mul(graph, inverse, rest), body->in[0]);
    body->out[1] = nn_reduce_like(graph, tn_f_mul(graph, g, h), body->in[1]);
    body->out[2] = nn_reduce_like(graph, g, body->in[1]);
    return TRUE;
}

static gboolean
layer_vjp(TnVjp *v, GError **error)
{
    return nn_norm_vjp_through(v, "layer_normalization_grad", v->out[1], v->out[2], error);
}

static gboolean
rms_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    gint64 axes[TN_MAX_RANK];
    (void)error;
    const TnVal x = nn_norm_in(body, 0);
    const gint n = feature_axes(graph, body->attrs, x, axes);
    const TnVal mean = tn_f_reduce_mean(graph, tn_f_mul(graph, x, x), n, axes, TRUE);
    const TnVal inverse = nn_inverse_deviation(graph, mean, nn_norm_epsilon(body->attrs));
    const TnVal y = tn_f_mul(graph, tn_f_mul(graph, x, inverse), nn_norm_in(body, 1));
    nn_norm_give(body, 0, y, body->in[0]);
    return TRUE;
}

/* With h = x / root: dscale = sum (g h), dx = (g scale - h mean (g scale h)) / root (Zhang and Sennrich,
 * "Root mean square layer normalization", 2019). */
static gboolean
rms_grad_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    gint64 axes[TN_MAX_RANK];
    (void)error;
    const TnVal x = nn_norm_in(body, 0);
    const TnVal g = nn_norm_in(body, 2);
    const gint n = feature_axes(graph, body->attrs, x, axes);
    const TnVal mean = tn_f_reduce_mean(graph, tn_f_mul(graph, x, x), n, axes, TRUE);
    const TnVal inverse = nn_inverse_deviation(graph, mean, nn_norm_epsilon(body->attrs));
    const TnVal h = tn_f_mul(graph, x, inverse);
    const TnVal gs = tn_f_mul(graph, g, nn_norm_in(body, 1));
    const TnVal along = tn_f_reduce_mean(graph, tn_f_mul(graph, gs, h), n, axes, TRUE);
    const TnVal rest = tn_f_sub(graph, gs, tn_f_mul(graph, h, along));
    nn_norm_give(body, 0, tn_f_mul(graph, inverse, rest), body->in[0]);
    body->out[1] = nn_reduce_like(graph, tn_f_mul(graph, g, h), body->in[1]);
    return TRUE;
}

static gboolean
rms_vjp(TnVjp *v, GError **error)
{
    const TnVal in[] = { v->in[0], v->in[1], v->grad_out[0] };
    (void)error;
    if (!tn_val_is_none(v->grad_out[0])) {
        nn_norm_vjp(v, "rms_normalization_grad", G_N_ELEMENTS(in), in);
    }
    return TRUE;
}

/* --- Samples --------------------------------------------------------------------------------- */

#define NORM(axis_) (&(const TnNormAttrs){ 1e-3, axis_ })
static const NnCase layer_cases[] = {
    { 3, { NN_SHAPE(7), NN_SHAPE(7), NN_SHAPE(7) } },
    { 3, { NN_SHAPE(4, 5), NN_SHAPE(5), NN_SHAPE(5) } },
    { 2, { NN_SHAPE(2, 3, 4), NN_SHAPE(3, 4) }, .attrs = NORM(1) },
    { 3, { NN_SHAPE(2, 2, 3, 2), NN_SHAPE(3, 2), NN_SHAPE(3, 2) }, .attrs = NORM(-2) },
    { 3, { NN_SHAPE(3, 130), NN_SHAPE(130), NN_SHAPE(130) } },
    { 3, { NN_SHAPE(0, 5), NN_SHAPE(5), NN_SHAPE(5) } },
};
NN_SAMPLER(layer_sample, layer_cases, TnNormAttrs)
static const NnCase layer_grad_cases[] = {
    { 5, { NN_SHAPE(4, 5), NN_SHAPE(5), NN_SHAPE(4, 1), NN_SHAPE(4, 1), NN_SHAPE(4, 5) } },
    { 5,
      { NN_SHAPE(2, 3, 4), NN_SHAPE(3, 4), NN_SHAPE(2, 1, 1), NN_SHAPE(2, 1, 1),
        NN_SHAPE(2, 3, 4) },
      .attrs = NORM(1) },
    { 5, { NN_SHAPE(3, 130), NN_SHAPE(130), NN_SHAPE(3, 1), NN_SHAPE(3, 1), NN_SHAPE(3, 130) } },
    { 5, { NN_SHAPE(0, 5), NN_SHAPE(5), NN_SHAPE(0, 1), NN_SHAPE(0, 1), NN_SHAPE(0, 5) } },
};
NN_SAMPLER(layer_grad_sample, layer_grad_cases, TnNormAttrs)
static const NnCase rms_cases[] = {
    { 2, { NN_SHAPE(7), NN_SHAPE(7) } },
    { 2, { NN_SHAPE(4, 5), NN_SHAPE(5) } },
    { 2, { NN_SHAPE(2, 3, 4), NN_SHAPE(3, 4) }, .attrs = NORM(1) },
    { 2, { NN_SHAPE(0, 5), NN_SHAPE(5) } },
};
NN_SAMPLER(rms_sample, rms_cases, TnNormAttrs)
static const NnCase rms_grad_cases[] = {
    { 3, { NN_SHAPE(4, 5), NN_SHAPE(5), NN_SHAPE(4, 5) } },
    { 3, { NN_SHAPE(2, 3, 4), NN_SHAPE(3, 4), NN_SHAPE(2, 3, 4) }, .attrs = NORM(1) },
    { 3, { NN_SHAPE(3, 130), NN_SHAPE(130), NN_SHAPE(3, 130) } },
    { 3, { NN_SHAPE(0, 5), NN_SHAPE(5), NN_SHAPE(0, 5) } },
};
NN_SAMPLER(rms_grad_sample, rms_grad_cases, TnNormAttrs)

/* --- The table ------------------------------------------------------------------------------- */

NN_OP(layer_normalization, "LayerNormalization", "Normalised over the axes from one on",
      NN_IN(NORM_X("rank 1 at least", 1, TN_MAX_RANK), NORM_P("scale", "the normalised axes"),
            NORM_P("bias", "the normalised axes", .flags = TN_ARG_OPTIONAL)),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "x's shape"),
             NN_ARG("mean", 'S', NN_STAT, "x's shape, the normalised axes 1"),
             NN_ARG("inv_std", 'S', NN_STAT, "as mean")),
      NORM_ATTRS(TnNormAttrs, norm_rows), .infer = layer_infer, .vjp = layer_vjp,
      .body = layer_body, .sample = layer_sample);
NN_OP(layer_normalization_grad, NULL, "Gradient of layer_normalization's first output",
      NN_IN(NORM_X("rank 1 at least", 1, TN_MAX_RANK), NORM_P("scale", "the normalised axes"),
            NORM_S("mean", "x's shape, the normalised axes 1"),
            NORM_S("inv_std", "as mean", NORM_POSITIVE),
            NN_ARG("g", 'T', TN_DTYPES_FLOAT, "x's shape")),
      NN_OUT(NN_ARG("dx", 'T', TN_DTYPES_FLOAT, "x's shape"), NORM_P("dscale", "scale's shape"),
             NORM_P("dbias", "scale's shape")),
      NORM_ATTRS(TnNormAttrs, norm_rows), .infer = layer_grad_infer, .body = layer_grad_body,
      .sample = layer_grad_sample);
NN_OP(rms_normalization, "RMSNormalization", "Divided by the root of the mean square",
      NN_IN(NORM_X("rank 1 at least", 1, TN_MAX_RANK), NORM_P("scale", "the normalised axes")),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "x's shape")), NORM_ATTRS(TnNormAttrs, norm_rows),
      .infer = rms_infer, .vjp = rms_vjp, .body = rms_body, .sample = rms_sample);
NN_OP(rms_normalization_grad, NULL, "Gradient of rms_normalization",
      NN_IN(NORM_X("rank 1 at least", 1, TN_MAX_RANK), NORM_P("scale", "the normalised axes"),
            NN_ARG("g", 'T', TN_DTYPES_FLOAT, "x's shape")),
      NN_OUT(NN_ARG("dx", 'T', TN_DTYPES_FLOAT, "x's shape"), NORM_P("dscale", "scale's shape")),
      NORM_ATTRS(TnNormAttrs, norm_rows), .infer = rms_grad_infer, .body = rms_grad_body,
      .sample = rms_grad_sample);
