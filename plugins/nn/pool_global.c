/* pool_global.c: the largest and the mean over all spatial axes. */
#include "nn.h"

static gboolean
global_infer(TnInfer *infer, GError **error)
{
    (void)error;
    infer->out[0] = infer->in[0];
    for (gint i = 2; i < infer->in[0].rank; i++) {
        infer->out[0].dims[i] = 1;
    }
    return TRUE;
}

static gboolean
global_average_pool_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const TnVal x = nn_wide(graph, body->in[0]);
    gint64 axes[TN_MAX_RANK];
    const gint n = nn_range(2, tn_f_rank(graph, x), axes);
    (void)error;
    const TnVal y = tn_f_reduce_mean(graph, x, n, axes, TRUE);
    body->out[0] = nn_to(graph, y, nn_dtype(graph, body->in[0]));
    return TRUE;
}

static gboolean
global_max_pool_body(TnBody *body, GError **error)
{
    gint64 axes[TN_MAX_RANK];
    const gint n = nn_range(2, tn_f_rank(body->graph, body->in[0]), axes);
    (void)error;
    body->out[0] = tn_f_reduce_max(body->graph, body->in[0], n, axes, TRUE);
    return TRUE;
}

static const NnCase global_cases[] = {
    { 1, { NN_SHAPE(1, 1, 1) } },    { 1, { NN_SHAPE(2, 3, 5) } },
    { 1, { NN_SHAPE(2, 3, 4, 5) } }, { 1, { NN_SHAPE(1, 2, 2, 3, 2) } },
    { 1, { NN_SHAPE(0, 2, 3) } },
};
NN_SAMPLER(global_sample, global_cases, char)

NN_OP(global_average_pool, "GlobalAveragePool", "Mean over all spatial axes",
      NN_IN(NN_ARG("x", 'T', TN_DTYPES_FLOAT, "[N, C, s…]", NN_RANK(3, TN_MAX_RANK))),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "[N, C, 1…]")), .infer = global_infer,
      .body = global_average_pool_body, .sample = global_sample);
NN_OP(global_max_pool, "GlobalMaxPool", "Largest over all spatial axes",
      NN_IN(NN_ARG("x", 'T', TN_DTYPES_FLOAT, "[N, C, s…]", NN_RANK(3, TN_MAX_RANK))),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "[N, C, 1…]")), .infer = global_infer,
      .body = global_max_pool_body, .sample = global_sample);
