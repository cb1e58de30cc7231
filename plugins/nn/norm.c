/* norm.c: normalisation by statistics of the batch, of features, of groups of channels. */
#include "nn.h"

#define EPSILON(Struct)                                                                            \
    NN_ATTR(Struct, epsilon, TN_OPT_DOUBLE, "added to the variance", TN_RANGE_F(0, 1),             \
            .dflt = "1e-5")
static const TnOption epsilon_rows[] = { EPSILON(TnEpsilonAttrs) };
static const TnOption norm_rows[] = {
    EPSILON(TnNormAttrs),
    NN_ATTR(TnNormAttrs, axis, TN_OPT_INT64, "the first normalised axis", .dflt = "-1"),
};
static const TnOption group_rows[] = {
    EPSILON(TnGroupNormAttrs),
    NN_ATTR(TnGroupNormAttrs, num_groups, TN_OPT_INT64, "groups of channels",
            TN_RANGE_I(1, G_MAXINT32), .flags = TN_OPTION_REQUIRED),
};

static double
epsilon_of(const void *attrs)
{
    return ((const TnEpsilonAttrs *)attrs)->epsilon;
}

/* --- Infer ----------------------------------------------------------------------------------- */

/* Inputs [first, last] are [C] of input 0's axis 1. */
static gboolean
want_channels(const TnInfer *infer, gint first, gint last, GError **error)
{
    for (gint i = first; i <= last; i++) {
        if (!nn_infer_want(infer, i, 1, &infer->in[0].dims[1], "the channels of 'x'", error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
channels_infer(TnInfer *infer, GError **error)
{
    infer->out[0] = infer->in[0];
    return want_channels(infer, 1, infer->n_in - 1, error);
}

static gboolean
training_infer(TnInfer *infer, GError **error)
{
    const TnType statistic = tn_type(nn_wider(infer->in[0].dtype), 1, &infer->in[0].dims[1]);
    infer->out[1] = infer->out[2] = statistic;
    return channels_infer(infer, error);
}

static gboolean
batch_grad_infer(TnInfer *infer, GError **error)
{
    infer->out[0] = infer->in[0];
    infer->out[1] = infer->out[2] = infer->in[1];
    return want_channels(infer, 1, 3, error) &&
           nn_infer_want(infer, 4, infer->in[0].rank, infer->in[0].dims, "'x'", error);
}

static gboolean
group_infer(TnInfer *infer, GError **error)
{
    const gint64 groups = ((const TnGroupNormAttrs *)infer->attrs)->num_groups;
    if (groups < 1 || infer->in[0].dims[1] % groups != 0) {
        return nn_infer_fail(infer, 0, error,
                             "its channels do not divide into %" G_GINT64_FORMAT " groups", groups);
    }
    return channels_infer(infer, error);
}

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

/* Input i in the dtype that is computed in, which is that of x. */
static TnVal
computed(TnBody *body, gint i)
{
    TnGraph *graph = body->graph;
    return nn_to(graph, nn_in(body, i), nn_wider(nn_dtype(graph, body->in[0])));
}

/* The same for [C], in a shape that broadcasts with x. */
static TnVal
channel(TnBody *body, gint i)
{
    return nn_channel(body->graph, computed(body, i), tn_f_rank(body->graph, body->in[0]));
}

static void
give(TnBody *body, gint k, TnVal val, TnVal like)
{
    body->out[k] = nn_to(body->graph, val, nn_dtype(body->graph, like));
}

static TnVal
inverse_deviation(TnGraph *graph, TnVal var, double epsilon)
{
    const TnVal sum = tn_f_add(graph, var, tn_f_const(graph, var, epsilon));
    return tn_f_reciprocal(graph, tn_f_sqrt(graph, sum));
}

/* All axes but the channels'. */
static gint
batch_axes(TnGraph *graph, TnVal x, gint64 *axes)
{
    axes[0] = 0;
    return 1 + nn_range(2, tn_f_rank(graph, x), axes + 1);
}

/* Axes from the normalised one on, counted from the last. */
static gint
feature_axes(TnGraph *graph, const void *attrs, TnVal x, gint64 *axes)
{
    const gint64 axis = ((const TnNormAttrs *)attrs)->axis;
    const gint rank = tn_f_rank(graph, x);
    return nn_range((gint)(axis < 0 ? axis : axis - rank), 0, axes);
}

typedef struct {
    TnVal mean, var, rest; /* rest: x less its mean */
} Moments;

/* Over axes, which stay. */
static Moments
moments(TnGraph *graph, TnVal x, gint n, const gint64 *axes)
{
    Moments m;
    m.mean = tn_f_reduce_mean(graph, x, n, axes, TRUE);
    m.rest = tn_f_sub(graph, x, m.mean);
    m.var = tn_f_reduce_mean(graph, tn_f_mul(graph, m.rest, m.rest), n, axes, TRUE);
    return m;
}

/* --- Batch ----------------------------------------------------------------------------------- */

static gboolean
batch_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    (void)error;
    const TnVal inverse = inverse_deviation(graph, channel(body, 4), epsilon_of(body->attrs));
    const TnVal factor = tn_f_mul(graph, inverse, channel(body, 1));
    const TnVal rest = tn_f_sub(graph, computed(body, 0), channel(body, 3));
    give(body, 0, tn_f_add(graph, tn_f_mul(graph, rest, factor), channel(body, 2)), body->in[0]);
    return TRUE;
}

static TnVal
add_number(TnSimplify *s, TnDtype dtype, double value)
{
    g_autoptr(TnTensor) tensor = tn_tensor_scalar(dtype, value);
    return tn_simplify_add(s, "constant", &(const TnConstantAttrs){ .value = tensor }, 0, NULL);
}

static TnVal
add_2(TnSimplify *s, const char *op, TnVal a, TnVal b)
{
    return tn_simplify_add(s, op, NULL, 2, (const TnVal[]){ a, b });
}

/* Normalising what a convolution gave is a convolution with other weights and another bias, where
 * those are known beforehand. */
static TnVal
batch_simplify(TnSimplify *s)
{
    if (s->of >= 0 || !tn_simplify_sole(s, 0)) {
        return TN_VAL_NONE;
    }
    const TnVal conv = s->in[0];
    const TnVal *in = tn_simplify_inputs(s, conv, "conv"), *biased = NULL;
    in = in != NULL ? in : (biased = tn_simplify_inputs(s, conv, "conv_bias"));
    if (in == NULL || s->type->dtype != nn_wider(s->type->dtype)) {
        return TN_VAL_NONE;
    }
    const TnVal x = in[0], w = in[1], bias = biased != NULL ? in[2] : TN_VAL_NONE;
    const TnVal fixed[] = { w, s->in[1], s->in[2], s->in[3], s->in[4], biased != NULL ? bias : w };
    for (gsize i = 0; i < G_N_ELEMENTS(fixed); i++) {
        if (!tn_simplify_fixed(s, fixed[i]) ||
            tn_graph_type(s->graph, fixed[i])->dtype != s->type->dtype) {
            return TN_VAL_NONE;
        }
    }
    TnReshapeAttrs column = { .shape = { .rank = s->type->rank, .dims = { -1 } } };
    for (gint i = 1; i < s->type->rank; i++) {
        column.shape.dims[i] = 1;
    }
    g_autofree void *attrs =
        g_memdup2(tn_graph_node_attrs(s->graph, conv.node), sizeof(TnConvAttrs));
    const TnVal var =
        add_2(s, "add", s->in[4], add_number(s, s->type->dtype, epsilon_of(s->attrs)));
    const TnVal root = tn_simplify_add(s, "sqrt", NULL, 1, &var);
    const TnVal factor = add_2(s, "div", s->in[1], root);
    const TnVal rest = biased != NULL ? add_2(s, "sub", bias, s->in[3])
                                      : tn_simplify_add(s, "neg", NULL, 1, &s->in[3]);
    const TnVal by = tn_simplify_add(s, "reshape", &column, 1, &factor);
    const TnVal folded[] = { x, add_2(s, "mul", w, by),
                             add_2(s, "add", add_2(s, "mul", rest, factor), s->in[2]) };
    return tn_simplify_add(s, "conv_bias", attrs, G_N_ELEMENTS(folded), folded);
}

/* Without the axes of size 1 around the channels. */
static TnVal
as_channels(TnGraph *graph, TnVal kept, TnVal like)
{
    return tn_f_reshape_as(graph, kept, like);
}

static gboolean
training_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    gint64 axes[TN_MAX_RANK];
    (void)error;
    const TnVal x = computed(body, 0);
    const Moments m = moments(graph, x, batch_axes(graph, x, axes), axes);
    const TnVal inverse = inverse_deviation(graph, m.var, epsilon_of(body->attrs));
    const TnVal factor = tn_f_mul(graph, inverse, channel(body, 1));
    const TnVal y = tn_f_add(graph, tn_f_mul(graph, m.rest, factor), channel(body, 2));
    give(body, 0, y, body->in[0]);
    body->out[1] = as_channels(graph, m.mean, body->in[1]);
    body->out[2] = as_channels(graph, m.var, body->in[1]);
    return TRUE;
}

/* With h = (x - mean) / deviation: dbias = sum (g), dscale = sum (g h), dx = scale / deviation
 * (g - mean (g) - h mean (g h)) (Ioffe & Szegedy, "Batch normalization", ICML 2015). */
static gboolean
batch_grad_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    gint64 axes[TN_MAX_RANK];
    (void)error;
    const TnVal x = computed(body, 0);
    const TnVal g = computed(body, 4);
    const gint n = batch_axes(graph, x, axes);
    const TnVal inverse = inverse_deviation(graph, channel(body, 3), epsilon_of(body->attrs));
    const TnVal h = tn_f_mul(graph, tn_f_sub(graph, x, channel(body, 2)), inverse);
    const TnVal sum = tn_f_reduce_sum(graph, g, n, axes, TRUE);
    const TnVal along = tn_f_reduce_sum(graph, tn_f_mul(graph, g, h), n, axes, TRUE);
    const TnVal count = tn_f_size(graph, x, n, axes);
    const TnVal drift = tn_f_mul(graph, h, tn_f_div(graph, along, count));
    const TnVal rest = tn_f_sub(graph, tn_f_sub(graph, g, tn_f_div(graph, sum, count)), drift);
    const TnVal factor = tn_f_mul(graph, inverse, channel(body, 1));
    give(body, 0, tn_f_mul(graph, factor, rest), body->in[0]);
    give(body, 1, as_channels(graph, along, body->in[1]), body->in[1]);
    give(body, 2, as_channels(graph, sum, body->in[1]), body->in[1]);
    return TRUE;
}

/* op computes all inputs' gradients. */
static void
vjp_of(TnVjp *v, const char *op, gint n_in, const TnVal *in)
{
    TnVal grad[TN_MAX_OUT];
    tn_graph_op(v->graph, op, v->attrs, n_in, in, grad);
    if (!tn_graph_check(v->graph, NULL)) {
        return;
    }
    for (gint i = 0; i < v->n_in; i++) {
        v->grad_in[i] = v->need[i] ? grad[i] : TN_VAL_NONE;
    }
}

/* The fast gradient, if nobody asks for that of the statistics: in, grad_in: x, scale, bias. */
static gboolean
vjp_through(TnVjp *v, const char *op, TnVal mean, TnVal spread, GError **error)
{
    if (!tn_val_is_none(v->grad_out[1]) || !tn_val_is_none(v->grad_out[2])) {
        return tn_vjp_of_body(v, error);
    }
    if (tn_val_is_none(v->grad_out[0])) {
        return TRUE;
    }
    const TnVal in[] = { v->in[0], v->in[1], mean, spread, v->grad_out[0] };
    vjp_of(v, op, G_N_ELEMENTS(in), in);
    return TRUE;
}

static gboolean
training_vjp(TnVjp *v, GError **error)
{
    return vjp_through(v, "batch_normalization_grad", v->out[1], v->out[2], error);
}

/* --- Layer, rms ------------------------------------------------------------------------------ */

static gboolean
layer_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    gint64 axes[TN_MAX_RANK];
    (void)error;
    const TnVal x = computed(body, 0);
    const Moments m = moments(graph, x, feature_axes(graph, body->attrs, x, axes), axes);
    const TnVal inverse = inverse_deviation(graph, m.var, epsilon_of(body->attrs));
    const TnVal bias = computed(body, 2);
    TnVal y = tn_f_mul(graph, tn_f_mul(graph, m.rest, inverse), computed(body, 1));
    y = tn_val_is_none(bias) ? y : tn_f_add(graph, y, bias);
    give(body, 0, y, body->in[0]);
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
    const TnVal x = computed(body, 0);
    const TnVal g = computed(body, 4);
    const TnVal inverse = computed(body, 3);
    const gint n = feature_axes(graph, body->attrs, x, axes);
    const TnVal h = tn_f_mul(graph, tn_f_sub(graph, x, computed(body, 2)), inverse);
    const TnVal gs = tn_f_mul(graph, g, computed(body, 1));
    const TnVal mean = tn_f_reduce_mean(graph, gs, n, axes, TRUE);
    const TnVal along = tn_f_reduce_mean(graph, tn_f_mul(graph, gs, h), n, axes, TRUE);
    const TnVal rest = tn_f_sub(graph, tn_f_sub(graph, gs, mean), tn_f_mul(graph, h, along));
    give(body, 0, tn_f_mul(graph, inverse, rest), body->in[0]);
    body->out[1] = nn_reduce_like(graph, tn_f_mul(graph, g, h), body->in[1]);
    body->out[2] = nn_reduce_like(graph, g, body->in[1]);
    return TRUE;
}

static gboolean
layer_vjp(TnVjp *v, GError **error)
{
    return vjp_through(v, "layer_normalization_grad", v->out[1], v->out[2], error);
}

static gboolean
rms_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    gint64 axes[TN_MAX_RANK];
    (void)error;
    const TnVal x = computed(body, 0);
    const gint n = feature_axes(graph, body->attrs, x, axes);
    const TnVal mean = tn_f_reduce_mean(graph, tn_f_mul(graph, x, x), n, axes, TRUE);
    const TnVal inverse = inverse_deviation(graph, mean, epsilon_of(body->attrs));
    const TnVal y = tn_f_mul(graph, tn_f_mul(graph, x, inverse), computed(body, 1));
    give(body, 0, y, body->in[0]);
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
    const TnVal x = computed(body, 0);
    const TnVal g = computed(body, 2);
    const gint n = feature_axes(graph, body->attrs, x, axes);
    const TnVal mean = tn_f_reduce_mean(graph, tn_f_mul(graph, x, x), n, axes, TRUE);
    const TnVal inverse = inverse_deviation(graph, mean, epsilon_of(body->attrs));
    const TnVal h = tn_f_mul(graph, x, inverse);
    const TnVal gs = tn_f_mul(graph, g, computed(body, 1));
    const TnVal along = tn_f_reduce_mean(graph, tn_f_mul(graph, gs, h), n, axes, TRUE);
    const TnVal rest = tn_f_sub(graph, gs, tn_f_mul(graph, h, along));
    give(body, 0, tn_f_mul(graph, inverse, rest), body->in[0]);
    body->out[1] = nn_reduce_like(graph, tn_f_mul(graph, g, h), body->in[1]);
    return TRUE;
}

static gboolean
rms_vjp(TnVjp *v, GError **error)
{
    const TnVal in[] = { v->in[0], v->in[1], v->grad_out[0] };
    (void)error;
    if (!tn_val_is_none(v->grad_out[0])) {
        vjp_of(v, "rms_normalization_grad", G_N_ELEMENTS(in), in);
    }
    return TRUE;
}

/* --- Group, instance ------------------------------------------------------------------------- */

/* x in parts [N, parts, rest] or as it is, normalised over axes of that, scaled by channel. */
static void
normalised(TnBody *body, TnVal parts, gint n, const gint64 *axes)
{
    TnGraph *graph = body->graph;
    const Moments m = moments(graph, parts, n, axes);
    const TnVal inverse = inverse_deviation(graph, m.var, epsilon_of(body->attrs));
    const TnVal h = tn_f_reshape_as(graph, tn_f_mul(graph, m.rest, inverse), body->in[0]);
    const TnVal y = tn_f_add(graph, tn_f_mul(graph, h, channel(body, 1)), channel(body, 2));
    give(body, 0, y, body->in[0]);
}

static gboolean
group_body(TnBody *body, GError **error)
{
    const TnGroupNormAttrs *attrs = body->attrs;
    const TnReshapeAttrs parts = { .shape = NN_SHAPE(0, attrs->num_groups, -1) };
    const gint64 last[] = { -1 };
    (void)error;
    normalised(body, nn_1(body->graph, "reshape", &parts, computed(body, 0)), 1, last);
    return TRUE;
}

static gboolean
instance_body(TnBody *body, GError **error)
{
    gint64 axes[TN_MAX_RANK];
    const gint n = nn_range(2, tn_f_rank(body->graph, body->in[0]), axes);
    (void)error;
    normalised(body, computed(body, 0), n, axes);
    return TRUE;
}

/* --- Samples --------------------------------------------------------------------------------- */

#define C3 NN_SHAPE(3)
static const NnCase batch_cases[] = {
    { 5, { NN_SHAPE(4, 3), C3, C3, C3, C3 } },
    { 5, { NN_SHAPE(2, 3, 5), C3, C3, C3, C3 } },
    { 5, { NN_SHAPE(2, 3, 4, 2), C3, C3, C3, C3 }, .attrs = &(const TnEpsilonAttrs){ 1e-3 } },
    { 5, { NN_SHAPE(0, 3, 4), C3, C3, C3, C3 } },
};
NN_SAMPLER(batch_sample, batch_cases, TnEpsilonAttrs)
static const NnCase training_cases[] = {
    { 3, { NN_SHAPE(4, 3), C3, C3 } },
    { 3, { NN_SHAPE(2, 3, 5), C3, C3 } },
    { 3, { NN_SHAPE(2, 3, 4, 2), C3, C3 }, .attrs = &(const TnEpsilonAttrs){ 1e-3 } },
    { 3, { NN_SHAPE(3, 1, 2, 2, 2), NN_SHAPE(1), NN_SHAPE(1) } },
    { 3, { NN_SHAPE(3, 0, 2), NN_SHAPE(0), NN_SHAPE(0) } },
};
NN_SAMPLER(training_sample, training_cases, TnEpsilonAttrs)
static const NnCase batch_grad_cases[] = {
    { 5, { NN_SHAPE(4, 3), C3, C3, C3, NN_SHAPE(4, 3) } },
    { 5,
      { NN_SHAPE(2, 3, 4, 2), C3, C3, C3, NN_SHAPE(2, 3, 4, 2) },
      .attrs = &(const TnEpsilonAttrs){ 1e-3 } },
    { 5, { NN_SHAPE(2, 0, 3), NN_SHAPE(0), NN_SHAPE(0), NN_SHAPE(0), NN_SHAPE(2, 0, 3) } },
};
NN_SAMPLER(batch_grad_sample, batch_grad_cases, TnEpsilonAttrs)

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

#define GROUPS(n_) (&(const TnGroupNormAttrs){ 1e-3, n_ })
static const NnCase group_cases[] = {
    { 3, { NN_SHAPE(2, 4), NN_SHAPE(4), NN_SHAPE(4) }, .attrs = GROUPS(2) },
    { 3, { NN_SHAPE(2, 6, 3), NN_SHAPE(6), NN_SHAPE(6) }, .attrs = GROUPS(3) },
    { 3, { NN_SHAPE(2, 3, 2, 3), NN_SHAPE(3), NN_SHAPE(3) }, .attrs = GROUPS(1) },
    { 3, { NN_SHAPE(0, 4, 3), NN_SHAPE(4), NN_SHAPE(4) }, .attrs = GROUPS(2) },
};
NN_SAMPLER(group_sample, group_cases, TnGroupNormAttrs)
static const NnCase instance_cases[] = {
    { 3, { NN_SHAPE(2, 3, 5), NN_SHAPE(3), NN_SHAPE(3) } },
    { 3,
      { NN_SHAPE(2, 3, 4, 2), NN_SHAPE(3), NN_SHAPE(3) },
      .attrs = &(const TnEpsilonAttrs){ 1e-3 } },
    { 3, { NN_SHAPE(0, 3, 4), NN_SHAPE(3), NN_SHAPE(3) } },
};
NN_SAMPLER(instance_sample, instance_cases, TnEpsilonAttrs)

/* --- The table ------------------------------------------------------------------------------- */

#define F TN_DTYPES_FLOAT
#define X_ROW(help_, ...) NN_ARG("x", 'T', F, help_, NN_RANK(__VA_ARGS__))
#define IMAGES(name_, help_, ...)                                                                  \
    NN_ARG(name_, 'T', F, help_, .flags = TN_ARG_SPATIAL, ##__VA_ARGS__)
#define P_ROW(name_, help_, ...) NN_ARG(name_, 'P', F, help_, ##__VA_ARGS__)
#define S_ROW(name_, help_, ...) NN_ARG(name_, 'S', F, help_, ##__VA_ARGS__)
#define POSITIVE .lo = 0.3, .hi = 2
#define ATTRS(Struct, rows_) .attrs = TN_OPTIONS(Struct, rows_)

NN_OP(batch_normalization, "BatchNormalization", "Normalised by given statistics of each channel",
      NN_IN(X_ROW("[N, C, s…]", 2, TN_MAX_RANK), P_ROW("scale", "[C]"), P_ROW("bias", "[C]"),
            S_ROW("mean", "[C]"), S_ROW("var", "[C]", POSITIVE)),
      NN_OUT(NN_ARG("out", 'T', F, "x's shape")), ATTRS(TnEpsilonAttrs, epsilon_rows),
      .infer = channels_infer, .body = batch_body, .sample = batch_sample, .in_place = 1,
      .simplify = batch_simplify, .precision = TN_PRECISION_FOLLOW);
NN_OP(batch_normalization_training, NULL,
      "Normalised by the batch's own statistics of each channel",
      NN_IN(IMAGES("x", "[N, C, s…]", NN_RANK(2, TN_MAX_RANK)), P_ROW("scale", "[C]"),
            P_ROW("bias", "[C]")),
      NN_OUT(IMAGES("out", "x's shape"), NN_ARG("mean", 'S', NN_STAT, "[C]"),
             NN_ARG("var", 'S', NN_STAT, "[C], of the population")),
      ATTRS(TnEpsilonAttrs, epsilon_rows), .infer = training_infer, .vjp = training_vjp,
      .body = training_body, .sample = training_sample, .precision = TN_PRECISION_FOLLOW);
NN_OP(batch_normalization_grad, NULL, "Gradient of batch_normalization_training's first output",
      NN_IN(IMAGES("x", "[N, C, s…]", NN_RANK(2, TN_MAX_RANK)), P_ROW("scale", "[C]"),
            S_ROW("mean", "[C]"), S_ROW("var", "[C]", POSITIVE), IMAGES("g", "x's shape")),
      NN_OUT(IMAGES("dx", "x's shape"), P_ROW("dscale", "[C]"), P_ROW("dbias", "[C]")),
      ATTRS(TnEpsilonAttrs, epsilon_rows), .infer = batch_grad_infer, .body = batch_grad_body,
      .sample = batch_grad_sample, .precision = TN_PRECISION_FOLLOW);
NN_OP(layer_normalization, "LayerNormalization", "Normalised over the axes from one on",
      NN_IN(X_ROW("rank 1 at least", 1, TN_MAX_RANK), P_ROW("scale", "the normalised axes"),
            P_ROW("bias", "the normalised axes", .flags = TN_ARG_OPTIONAL)),
      NN_OUT(NN_ARG("out", 'T', F, "x's shape"),
             NN_ARG("mean", 'S', NN_STAT, "x's shape, the normalised axes 1"),
             NN_ARG("inv_std", 'S', NN_STAT, "as mean")),
      ATTRS(TnNormAttrs, norm_rows), .infer = layer_infer, .vjp = layer_vjp, .body = layer_body,
      .sample = layer_sample);
NN_OP(layer_normalization_grad, NULL, "Gradient of layer_normalization's first output",
      NN_IN(X_ROW("rank 1 at least", 1, TN_MAX_RANK), P_ROW("scale", "the normalised axes"),
            S_ROW("mean", "x's shape, the normalised axes 1"),
            S_ROW("inv_std", "as mean", POSITIVE), NN_ARG("g", 'T', F, "x's shape")),
      NN_OUT(NN_ARG("dx", 'T', F, "x's shape"), P_ROW("dscale", "scale's shape"),
             P_ROW("dbias", "scale's shape")),
      ATTRS(TnNormAttrs, norm_rows), .infer = layer_grad_infer, .body = layer_grad_body,
      .sample = layer_grad_sample);
NN_OP(rms_normalization, "RMSNormalization", "Divided by the root of the mean square",
      NN_IN(X_ROW("rank 1 at least", 1, TN_MAX_RANK), P_ROW("scale", "the normalised axes")),
      NN_OUT(NN_ARG("out", 'T', F, "x's shape")), ATTRS(TnNormAttrs, norm_rows), .infer = rms_infer,
      .vjp = rms_vjp, .body = rms_body, .sample = rms_sample);
NN_OP(rms_normalization_grad, NULL, "Gradient of rms_normalization",
      NN_IN(X_ROW("rank 1 at least", 1, TN_MAX_RANK), P_ROW("scale", "the normalised axes"),
            NN_ARG("g", 'T', F, "x's shape")),
      NN_OUT(NN_ARG("dx", 'T', F, "x's shape"), P_ROW("dscale", "scale's shape")),
      ATTRS(TnNormAttrs, norm_rows), .infer = rms_grad_infer, .body = rms_grad_body,
      .sample = rms_grad_sample);
NN_OP(group_normalization, "GroupNormalization", "Normalised over groups of channels",
      NN_IN(X_ROW("[N, C, s…]", 2, TN_MAX_RANK), P_ROW("scale", "[C]"), P_ROW("bias", "[C]")),
      NN_OUT(NN_ARG("out", 'T', F, "x's shape")), ATTRS(TnGroupNormAttrs, group_rows),
      .infer = group_infer, .body = group_body, .sample = group_sample);
NN_OP(instance_normalization, "InstanceNormalization", "Normalised over the places of each channel",
      NN_IN(X_ROW("[N, C, s…]", 3, TN_MAX_RANK), P_ROW("scale", "[C]"), P_ROW("bias", "[C]")),
      NN_OUT(NN_ARG("out", 'T', F, "x's shape")), ATTRS(TnEpsilonAttrs, epsilon_rows),
      .infer = channels_infer, .body = instance_body, .sample = instance_sample);
