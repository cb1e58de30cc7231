/* norm_batch.c: normalisation by statistics of each channel over a batch, given or its own. */
#include "norm.h"

/* --- Infer ----------------------------------------------------------------------------------- */

static gboolean
training_infer(TnInfer *infer, GError **error)
{
    const TnType statistic = tn_type(nn_wider(infer->in[0].dtype), 1, &infer->in[0].dims[1]);
    infer->out[1] = infer->out[2] = statistic;
    return nn_norm_channels_infer(infer, error);
}

static gboolean
batch_grad_infer(TnInfer *infer, GError **error)
{
    infer->out[0] = infer->in[0];
    infer->out[1] = infer->out[2] = infer->in[1];
    return nn_norm_want_channels(infer, 1, 3, error) &&
           nn_infer_want(infer, 4, infer->in[0].rank, infer->in[0].dims, "'x'", error);
}

/* --- Formulas -------------------------------------------------------------------------------- */

/* All axes but the channels'. */
static gint
batch_axes(TnGraph *graph, TnVal x, gint64 *axes)
{
    axes[0] = 0;
    return 1 + nn_range(2, tn_f_rank(graph, x), axes + 1);
}

static gboolean
batch_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    (void)error;
    const TnVal inverse =
        nn_inverse_deviation(graph, nn_norm_channel(body, 4), nn_norm_epsilon(body->attrs));
    const TnVal factor = tn_f_mul(graph, inverse, nn_norm_channel(body, 1));
    const TnVal rest = tn_f_sub(graph, nn_norm_in(body, 0), nn_norm_channel(body, 3));
    nn_norm_give(body, 0, tn_f_add(graph, tn_f_mul(graph, rest, factor), nn_norm_channel(body, 2)),
                 body->in[0]);
    return TRUE;
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
    const TnVal x = nn_norm_in(body, 0);
    const NnMoments m = nn_moments(graph, x, batch_axes(graph, x, axes), axes);
    const TnVal inverse = nn_inverse_deviation(graph, m.var, nn_norm_epsilon(body->attrs));
    const TnVal factor = tn_f_mul(graph, inverse, nn_norm_channel(body, 1));
    const TnVal y = tn_f_add(graph, tn_f_mul(graph, m.rest, factor), nn_norm_channel(body, 2));
    nn_norm_give(body, 0, y, body->in[0]);
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
    const TnVal x = nn_norm_in(body, 0);
    const TnVal g = nn_norm_in(body, 4);
    const gint n = batch_axes(graph, x, axes);
    const TnVal inverse =
        nn_inverse_deviation(graph, nn_norm_channel(body, 3), nn_norm_epsilon(body->attrs));
    const TnVal h = tn_f_mul(graph, tn_f_sub(graph, x, nn_norm_channel(body, 2)), inverse);
    const TnVal sum = tn_f_reduce_sum(graph, g, n, axes, TRUE);
    const TnVal along = tn_f_reduce_sum(graph, tn_f_mul(graph, g, h), n, axes, TRUE);
    const TnVal count = tn_f_size(graph, x, n, axes);
    const TnVal drift = tn_f_mul(graph, h, tn_f_div(graph, along, count));
    const TnVal rest = tn_f_sub(graph, tn_f_sub(graph, g, tn_f_div(graph, sum, count)), drift);
    const TnVal factor = tn_f_mul(graph, inverse, nn_norm_channel(body, 1));
    nn_norm_give(body, 0, tn_f_mul(graph, factor, rest), body->in[0]);
    nn_norm_give(body, 1, as_channels(graph, along, body->in[1]), body->in[1]);
    nn_norm_give(body, 2, as_channels(graph, sum, body->in[1]), body->in[1]);
    return TRUE;
}

static gboolean
training_vjp(TnVjp *v, GError **error)
{
    return nn_norm_vjp_through(v, "batch_normalization_grad", v->out[1], v->out[2], error);
}

/* --- Folded into a convolution ---------------------------------------------------------------- */

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
        add_2(s, "add", s->in[4], add_number(s, s->type->dtype, nn_norm_epsilon(s->attrs)));
    const TnVal root = tn_simplify_add(s, "sqrt", NULL, 1, &var);
    const TnVal factor = add_2(s, "div", s->in[1], root);
    const TnVal rest = biased != NULL ? add_2(s, "sub", bias, s->in[3])
                                      : tn_simplify_add(s, "neg", NULL, 1, &s->in[3]);
    const TnVal by = tn_simplify_add(s, "reshape", &column, 1, &factor);
    const TnVal folded[] = { x, add_2(s, "mul", w, by),
                             add_2(s, "add", add_2(s, "mul", rest, factor), s->in[2]) };
    return tn_simplify_add(s, "conv_bias", attrs, G_N_ELEMENTS(folded), folded);
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

/* --- The table ------------------------------------------------------------------------------- */

#define IMAGES(name_, help_, ...)                                                                  \
    NN_ARG(name_, 'T', TN_DTYPES_FLOAT, help_, .flags = TN_ARG_SPATIAL, ##__VA_ARGS__)

NN_OP(batch_normalization, "BatchNormalization", "Normalised by given statistics of each channel",
      NN_IN(NORM_X("[N, C, s…]", 2, TN_MAX_RANK), NORM_P("scale", "[C]"), NORM_P("bias", "[C]"),
            NORM_S("mean", "[C]"), NORM_S("var", "[C]", NORM_POSITIVE)),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "x's shape")),
      NORM_ATTRS(TnEpsilonAttrs, nn_epsilon_rows), .infer = nn_norm_channels_infer,
      .body = batch_body, .sample = batch_sample, .in_place = 1, .simplify = batch_simplify,
      .precision = TN_PRECISION_FOLLOW);
NN_OP(batch_normalization_training, NULL,
      "Normalised by the batch's own statistics of each channel",
      NN_IN(IMAGES("x", "[N, C, s…]", NN_RANK(2, TN_MAX_RANK)), NORM_P("scale", "[C]"),
            NORM_P("bias", "[C]")),
      NN_OUT(IMAGES("out", "x's shape"), NN_ARG("mean", 'S', NN_STAT, "[C]"),
             NN_ARG("var", 'S', NN_STAT, "[C], of the population")),
      NORM_ATTRS(TnEpsilonAttrs, nn_epsilon_rows), .infer = training_infer, .vjp = training_vjp,
      .body = training_body, .sample = training_sample, .flags = TN_OP_MIXES,
      .precision = TN_PRECISION_FOLLOW);
NN_OP(batch_normalization_grad, NULL, "Gradient of batch_normalization_training's first output",
      NN_IN(IMAGES("x", "[N, C, s…]", NN_RANK(2, TN_MAX_RANK)), NORM_P("scale", "[C]"),
            NORM_S("mean", "[C]"), NORM_S("var", "[C]", NORM_POSITIVE), IMAGES("g", "x's shape")),
      NN_OUT(IMAGES("dx", "x's shape"), NORM_P("dscale", "[C]"), NORM_P("dbias", "[C]")),
      NORM_ATTRS(TnEpsilonAttrs, nn_epsilon_rows), .infer = batch_grad_infer,
      .body = batch_grad_body, .sample = batch_grad_sample, .flags = TN_OP_MIXES,
      .precision = TN_PRECISION_FOLLOW);
