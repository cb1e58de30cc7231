/* norm_group.c: normalisation of each sample over groups of channels (Wu and He, "Group normalization",
 * ECCV 2018) or each channel alone. */
#include "norm.h"

static const TnOption group_rows[] = {
    NN_EPSILON(TnGroupNormAttrs),
    NN_ATTR(TnGroupNormAttrs, num_groups, TN_OPT_INT64, "groups of channels",
            TN_RANGE_I(1, G_MAXINT32), .flags = TN_OPTION_REQUIRED),
};

static gboolean
group_infer(TnInfer *infer, GError **error)
{
    const gint64 groups = ((const TnGroupNormAttrs *)infer->attrs)->num_groups;
    if (groups < 1 || infer->in[0].dims[1] % groups != 0) {
        return nn_infer_fail(infer, 0, error,
                             "its channels do not divide into %" G_GINT64_FORMAT " groups", groups);
    }
    return nn_norm_channels_infer(infer, error);
}

/* x in parts [N, parts, rest] or as it is, normalised over axes of that, scaled by channel. */
static void
normalised(TnBody *body, TnVal parts, gint n, const gint64 *axes)
{
    TnGraph *graph = body->graph;
    const NnMoments m = nn_moments(graph, parts, n, axes);
    const TnVal inverse = nn_inverse_deviation(graph, m.var, nn_norm_epsilon(body->attrs));
    const TnVal h = tn_f_reshape_as(graph, tn_f_mul(graph, m.rest, inverse), body->in[0]);
    const TnVal y =
        tn_f_add(graph, tn_f_mul(graph, h, nn_norm_channel(body, 1)), nn_norm_channel(body, 2));
    nn_norm_give(body, 0, y, body->in[0]);
}

static gboolean
group_body(TnBody *body, GError **error)
{
    const TnGroupNormAttrs *attrs = body->attrs;
    const TnReshapeAttrs parts = { .shape = NN_SHAPE(0, attrs->num_groups, -1) };
    const gint64 last[] = { -1 };
    (void)error;
    normalised(body, nn_1(body->graph, "reshape", &parts, nn_norm_in(body, 0)), 1, last);
    return TRUE;
}

static gboolean
instance_body(TnBody *body, GError **error)
{
    gint64 axes[TN_MAX_RANK];
    const gint n = nn_range(2, tn_f_rank(body->graph, body->in[0]), axes);
    (void)error;
    normalised(body, nn_norm_in(body, 0), n, axes);
    return TRUE;
}

/* --- Samples --------------------------------------------------------------------------------- */

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

NN_OP(group_normalization, "GroupNormalization", "Normalised over groups of channels",
      NN_IN(NORM_X("[N, C, s…]", 2, TN_MAX_RANK), NORM_P("scale", "[C]"), NORM_P("bias", "[C]")),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "x's shape")),
      NORM_ATTRS(TnGroupNormAttrs, group_rows), .infer = group_infer, .body = group_body,
      .sample = group_sample);
NN_OP(instance_normalization, "InstanceNormalization", "Normalised over the places of each channel",
      NN_IN(NORM_X("[N, C, s…]", 3, TN_MAX_RANK), NORM_P("scale", "[C]"), NORM_P("bias", "[C]")),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "x's shape")),
      NORM_ATTRS(TnEpsilonAttrs, nn_epsilon_rows), .infer = nn_norm_channels_infer,
      .body = instance_body, .sample = instance_sample);
