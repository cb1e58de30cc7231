/* unary.c: what element-wise composites of one input have in common. */
#include "unary.h"

gboolean
nn_unary_body(TnBody *body, GError **error)
{
    const NnUnary *row = (const NnUnary *)body->op;
    const TnVal x = body->in[0];
    (void)error;
    const TnVal y = row->formula(body->graph, body->attrs, nn_wide(body->graph, x));
    const TnDtype dtype = nn_dtype(body->graph, y);
    const gboolean same = dtype == nn_wider(nn_dtype(body->graph, x));
    body->out[0] = same ? nn_to(body->graph, y, nn_dtype(body->graph, x)) : y;
    return TRUE;
}

gboolean
nn_unary_vjp(TnVjp *v, GError **error)
{
    const NnUnary *row = (const NnUnary *)v->op;
    TnGraph *graph = v->graph;
    (void)error;
    if (v->need[0] && !tn_val_is_none(v->grad_out[0])) {
        const TnVal grad = row->rule(graph, v->attrs, nn_wide(graph, v->in[0]),
                                     nn_wide(graph, v->out[0]), nn_wide(graph, v->grad_out[0]));
        v->grad_in[0] = nn_to(graph, grad, nn_dtype(graph, v->in[0]));
    }
    return TRUE;
}

static const TnShape shapes[] = {
    NN_RANK0, NN_SHAPE(7), NN_SHAPE(2, 3), NN_SHAPE(2, 1, 4, 3), NN_SHAPE(1031), NN_SHAPE(0, 3),
};

static gboolean
sample_shape(TnSample *sample, guint i)
{
    sample->n_in = 1;
    sample->in[0] = tn_type(sample->dtype, shapes[i].rank, shapes[i].dims);
    return TRUE;
}

gboolean
nn_unary_sample(TnSample *sample)
{
    return sample->variant < G_N_ELEMENTS(shapes) && sample_shape(sample, sample->variant);
}

gboolean
nn_unary_sample_attrs(TnSample *sample, const void *attrs, gsize size, guint n)
{
    const guint beyond = sample->variant - G_N_ELEMENTS(shapes);
    if (sample->variant < G_N_ELEMENTS(shapes)) {
        return sample_shape(sample, sample->variant);
    }
    if (beyond >= n) {
        return FALSE;
    }
    memcpy(sample->attrs, (const char *)attrs + beyond * size, size);
    return sample_shape(sample, beyond % 2 + 2);
}
