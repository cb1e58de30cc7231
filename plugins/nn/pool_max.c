/* pool_max.c: the largest of each window, and its gradient, which goes to the first of them. */
#include "pool.h"

static gboolean
max_pool_grad_infer(TnInfer *infer, GError **error)
{
    return nn_pool_grad_infer(infer, 0, 1, error);
}

static gboolean
max_pool_body(TnBody *body, GError **error)
{
    const TnPoolAttrs *attrs = body->attrs;
    TnGraph *graph = body->graph;
    const TnInts pads = nn_pool_all_pads(attrs);
    gint64 axes[TN_MAX_RANK];
    (void)error;
    const TnDtype dtype = nn_dtype(graph, body->in[0]);
    const double lowest = dtype == TN_DTYPE_U8 ? 0 : dtype == TN_DTYPE_I8 ? -128 : -INFINITY;
    const TnVal wide = nn_padded(graph, body->in[0], &pads, lowest, 1);
    const TnVal view = nn_pool_windows(graph, attrs, wide);
    body->out[0] = tn_f_reduce_max(graph, view, nn_pool_axes(attrs, axes), axes, FALSE);
    return TRUE;
}

/* [lead…, o…, k…] with the axes of a window as one. */
static TnVal
flat_windows(TnGraph *graph, const TnPoolAttrs *attrs, TnVal view)
{
    const TnInts *kernel = &attrs->window.kernel_shape;
    TnReshapeAttrs shape = { .shape = { .rank = 2 + kernel->n + 1 } };
    gint64 count = 1;
    for (gint i = 0; i < kernel->n; i++) {
        count *= kernel->v[i];
    }
    shape.shape.dims[2 + kernel->n] = count;
    return nn_1(graph, "reshape", &shape, view);
}

static gboolean
max_pool_grad_body(TnBody *body, GError **error)
{
    const TnPoolAttrs *attrs = body->attrs;
    TnGraph *graph = body->graph;
    const TnInts pads = nn_pool_all_pads(attrs);
    const TnArgReduceAttrs first = { .axis = -1, .keepdims = TRUE };
    const TnIotaAttrs along = { .axis = -1, .dtype = TN_DTYPE_I64 };
    const TnAxesAttrs end = { .axes = NN_INTS(-1) };
    (void)error;
    const TnVal wide = nn_padded(graph, body->in[0], &pads, -INFINITY, 1);
    const TnVal view = nn_pool_windows(graph, attrs, wide);
    const TnVal flat = flat_windows(graph, attrs, view);
    const TnVal best = nn_1(graph, "argmax", &first, flat);
    const TnVal hit = tn_f_equal(graph, best, nn_1(graph, "iota", &along, flat));
    const TnVal g = nn_1(graph, "unsqueeze", &end, nn_wide(graph, body->in[1]));
    const TnVal share = tn_f_where(graph, hit, g, tn_f_const(graph, g, 0));
    const TnVal values = tn_f_reshape_as(graph, share, view);
    const TnVal grad = nn_pool_scattered(graph, attrs, values, wide, &pads);
    body->out[0] = nn_to(graph, grad, nn_dtype(graph, body->in[1]));
    return TRUE;
}

static gboolean
max_pool_vjp(TnVjp *v, GError **error)
{
    (void)error;
    if (v->need[0] && !tn_val_is_none(v->grad_out[0])) {
        v->grad_in[0] = nn_2(v->graph, "max_pool_grad", v->attrs, v->in[0], v->grad_out[0]);
    }
    return TRUE;
}

#define MAX_DTYPES (TN_DTYPES_FLOAT | TN_DT(U8) | TN_DT(I8))
NN_OP(max_pool, "MaxPool", "Largest of each window",
      NN_IN(POOL_IMAGES("x", MAX_DTYPES, "[N, C, s…]")),
      NN_OUT(POOL_IMAGES("out", MAX_DTYPES, "[N, C, o…]")), POOL_ATTRS, .infer = nn_pool_infer,
      .vjp = max_pool_vjp, .body = max_pool_body, .sample = nn_pool_sample,
      .simplify = nn_max_pool_simplify);
NN_OP(max_pool_grad, NULL, "Gradient of max_pool: to the first largest of each window",
      NN_IN(POOL_X("[N, C, s…]"), POOL_Y("g", "[N, C, o…]")), NN_OUT(POOL_Y("out", "x's shape")),
      POOL_ATTRS, .infer = max_pool_grad_infer, .body = max_pool_grad_body,
      .sample = nn_pool_grad_sample, .simplify = nn_max_pool_grad_simplify, .in_place = 1);
