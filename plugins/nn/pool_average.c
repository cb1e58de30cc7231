/* pool_average.c: the mean of each window, and its gradient. */
#include "pool.h"

static gboolean
average_pool_grad_infer(TnInfer *infer, GError **error)
{
    return nn_pool_grad_infer(infer, 1, 0, error);
}

static gboolean
has_pads(const TnInts *pads)
{
    for (gint i = 0; i < pads->n; i++) {
        if (pads->v[i] != 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* What each average divides by, in `dtype`: a constant, or [1, 1, o…] where windows differ. x
 * gives sizes only. */
static TnVal
divisor(TnGraph *graph, const TnPoolAttrs *attrs, TnVal x, TnDtype dtype)
{
    const TnInts own = nn_pool_own_pads(attrs);
    const TnInts more = nn_pool_more_pads(attrs);
    gint64 axes[TN_MAX_RANK];
    if (!has_pads(&more) && (attrs->count_include_pad || !has_pads(&own))) {
        double count = 1;
        for (gint i = 0; i < attrs->window.kernel_shape.n; i++) {
            count *= (double)attrs->window.kernel_shape.v[i];
        }
        return tn_graph_scalar(graph, dtype, count);
    }
    const TnSliceAttrs one = { .starts = NN_INTS(0, 0),
                               .ends = NN_INTS(1, 1),
                               .axes = NN_INTS(0, 1) };
    const TnFullLikeAttrs full = { 1, (gint)dtype };
    TnVal ones = nn_1(graph, "slice", &one, nn_1(graph, "full_like", &full, x));
    ones = nn_padded(graph, ones, &own, attrs->count_include_pad ? 1 : 0, 1);
    ones = nn_pool_windows(graph, attrs, nn_padded(graph, ones, &more, 0, 1));
    return tn_f_reduce_sum(graph, ones, nn_pool_axes(attrs, axes), axes, FALSE);
}

static gboolean
average_pool_body(TnBody *body, GError **error)
{
    const TnPoolAttrs *attrs = body->attrs;
    TnGraph *graph = body->graph;
    const TnVal x = nn_wide(graph, body->in[0]);
    const TnInts pads = nn_pool_all_pads(attrs);
    gint64 axes[TN_MAX_RANK];
    (void)error;
    const TnVal view = nn_pool_windows(graph, attrs, nn_padded(graph, x, &pads, 0, 1));
    const TnVal sum = tn_f_reduce_sum(graph, view, nn_pool_axes(attrs, axes), axes, FALSE);
    const TnVal y = tn_f_div(graph, sum, divisor(graph, attrs, x, nn_dtype(graph, x)));
    body->out[0] = nn_to(graph, y, nn_dtype(graph, body->in[0]));
    return TRUE;
}

static gboolean
average_pool_grad_body(TnBody *body, GError **error)
{
    const TnPoolAttrs *attrs = body->attrs;
    TnGraph *graph = body->graph;
    const TnVal g = nn_wide(graph, body->in[0]);
    const TnInts pads = nn_pool_all_pads(attrs);
    gint64 axes[TN_MAX_RANK];
    (void)error;
    const TnVal share = tn_f_div(graph, g, divisor(graph, attrs, body->in[1], nn_dtype(graph, g)));
    const TnFullLikeAttrs zeros = { 0, (gint)nn_dtype(graph, g) };
    const TnVal like = nn_1(graph, "full_like", &zeros, body->in[1]);
    const TnVal wide = nn_padded(graph, like, &pads, 0, 1);
    const TnVal column = tn_f_unsqueeze(graph, share, nn_pool_axes(attrs, axes), axes);
    const TnVal values = tn_f_expand_as(graph, column, nn_pool_windows(graph, attrs, wide));
    const TnVal grad = nn_pool_scattered(graph, attrs, values, wide, &pads);
    body->out[0] = nn_to(graph, grad, nn_dtype(graph, body->in[0]));
    return TRUE;
}

static gboolean
average_pool_vjp(TnVjp *v, GError **error)
{
    (void)error;
    if (v->need[0] && !tn_val_is_none(v->grad_out[0])) {
        v->grad_in[0] = nn_2(v->graph, "average_pool_grad", v->attrs, v->grad_out[0], v->in[0]);
    }
    return TRUE;
}

static gboolean
average_pool_grad_sample(TnSample *sample)
{
    const gboolean ok = nn_pool_grad_sample(sample);
    const TnType x = sample->in[0];
    sample->in[0] = sample->in[1];
    sample->in[1] = x;
    return ok;
}

NN_OP(average_pool, "AveragePool", "Mean of each window", NN_IN(POOL_X("[N, C, s…]")),
      NN_OUT(POOL_Y("out", "[N, C, o…]")), POOL_ATTRS, .infer = nn_pool_infer,
      .vjp = average_pool_vjp, .body = average_pool_body, .sample = nn_pool_sample);
NN_OP(average_pool_grad, NULL, "Gradient of average_pool",
      NN_IN(POOL_Y("g", "[N, C, o…]"),
            NN_ARG("like", 0, TN_DTYPES_ALL, "[N, C, s…]", NN_RANK(3, 5),
                   .flags = TN_ARG_SHAPE | TN_ARG_NO_GRAD | TN_ARG_SPATIAL)),
      NN_OUT(POOL_Y("out", "like's shape")), POOL_ATTRS, .infer = average_pool_grad_infer,
      .body = average_pool_grad_body, .sample = average_pool_grad_sample);
