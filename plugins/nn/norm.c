/* norm.c: see norm.h. */
#include "norm.h"

double
nn_norm_epsilon(const void *attrs)
{
    return ((const TnEpsilonAttrs *)attrs)->epsilon;
}

gboolean
nn_norm_want_channels(const TnInfer *infer, gint first, gint last, GError **error)
{
    for (gint i = first; i <= last; i++) {
        if (!nn_infer_want(infer, i, 1, &infer->in[0].dims[1], "the channels of 'x'", error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean
nn_norm_channels_infer(TnInfer *infer, GError **error)
{
    infer->out[0] = infer->in[0];
    return nn_norm_want_channels(infer, 1, infer->n_in - 1, error);
}

TnVal
nn_norm_in(TnBody *body, gint i)
{
    TnGraph *graph = body->graph;
    return nn_to(graph, nn_in(body, i), nn_wider(nn_dtype(graph, body->in[0])));
}

TnVal
nn_norm_channel(TnBody *body, gint i)
{
    return nn_channel(body->graph, nn_norm_in(body, i), tn_f_rank(body->graph, body->in[0]));
}

void
nn_norm_give(TnBody *body, gint k, TnVal val, TnVal like)
{
    body->out[k] = nn_to(body->graph, val, nn_dtype(body->graph, like));
}

TnVal
nn_inverse_deviation(TnGraph *graph, TnVal var, double epsilon)
{
    const TnVal sum = tn_f_add(graph, var, tn_f_const(graph, var, epsilon));
    return tn_f_reciprocal(graph, tn_f_sqrt(graph, sum));
}

NnMoments
nn_moments(TnGraph *graph, TnVal x, gint n, const gint64 *axes)
{
    NnMoments m;
    m.mean = tn_f_reduce_mean(graph, x, n, axes, TRUE);
    m.rest = tn_f_sub(graph, x, m.mean);
    m.var = tn_f_reduce_mean(graph, tn_f_mul(graph, m.rest, m.rest), n, axes, TRUE);
    return m;
}

void
nn_norm_vjp(TnVjp *v, const char *op, gint n_in, const TnVal *in)
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

gboolean
nn_norm_vjp_through(TnVjp *v, const char *op, TnVal mean, TnVal spread, GError **error)
{
    if (!tn_val_is_none(v->grad_out[1]) || !tn_val_is_none(v->grad_out[2])) {
        return tn_vjp_of_body(v, error);
    }
    if (tn_val_is_none(v->grad_out[0])) {
        return TRUE;
    }
    const TnVal in[] = { v->in[0], v->in[1], mean, spread, v->grad_out[0] };
    nn_norm_vjp(v, op, G_N_ELEMENTS(in), in);
    return TRUE;
}
