/* softmax.c: softmax and log_softmax along one axis, and their gradients from their results. */
#include "nn.h"

static const TnOption axis_rows[] = {
    NN_ATTR(TnAxisAttrs, axis, TN_OPT_INT64, "axis along which the sum is 1", .dflt = "-1"),
};

static gint64
axis_of(const void *attrs)
{
    return ((const TnAxisAttrs *)attrs)->axis;
}

static gboolean
softmax_infer(TnInfer *infer, GError **error)
{
    gint axis;
    for (gint i = 1; i < infer->n_in; i++) {
        if (!nn_infer_want(infer, i, infer->in[0].rank, infer->in[0].dims, "the first input",
                           error)) {
            return FALSE;
        }
    }
    infer->out[0] = infer->in[0];
    return tn_infer_axis(axis_of(infer->attrs), infer->in[0].rank, &axis, error);
}

static TnVal
total(TnGraph *graph, TnVal x, gint64 axis)
{
    return tn_f_reduce_sum(graph, x, 1, &axis, TRUE);
}

/* x less its largest along the axis. No gradient passes through that: it changes nothing. */
static TnVal
lowered(TnGraph *graph, TnVal x, gint64 axis)
{
    const TnVal largest = tn_f_reduce_max(graph, x, 1, &axis, TRUE);
    return tn_f_sub(graph, x, nn_1(graph, "stop_gradient", NULL, largest));
}

static gboolean
softmax_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const gint64 axis = axis_of(body->attrs);
    (void)error;
    const TnVal terms = tn_f_exp(graph, lowered(graph, nn_wide(graph, body->in[0]), axis));
    const TnVal y = tn_f_div(graph, terms, total(graph, terms, axis));
    body->out[0] = nn_to(graph, y, nn_dtype(graph, body->in[0]));
    return TRUE;
}

static gboolean
log_softmax_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const gint64 axis = axis_of(body->attrs);
    (void)error;
    const TnVal low = lowered(graph, nn_wide(graph, body->in[0]), axis);
    const TnVal log = tn_f_log(graph, total(graph, tn_f_exp(graph, low), axis));
    body->out[0] = nn_to(graph, tn_f_sub(graph, low, log), nn_dtype(graph, body->in[0]));
    return TRUE;
}

/* y (g - sum (g y)) */
static gboolean
softmax_grad_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    (void)error;
    const TnVal y = nn_wide(graph, body->in[0]);
    const TnVal g = nn_wide(graph, body->in[1]);
    const TnVal mean = total(graph, tn_f_mul(graph, g, y), axis_of(body->attrs));
    const TnVal grad = tn_f_mul(graph, y, tn_f_sub(graph, g, mean));
    body->out[0] = nn_to(graph, grad, nn_dtype(graph, body->in[0]));
    return TRUE;
}

/* g - exp (y) sum (g) */
static gboolean
log_softmax_grad_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    (void)error;
    const TnVal y = nn_wide(graph, body->in[0]);
    const TnVal g = nn_wide(graph, body->in[1]);
    const TnVal sum = total(graph, g, axis_of(body->attrs));
    const TnVal grad = tn_f_sub(graph, g, tn_f_mul(graph, tn_f_exp(graph, y), sum));
    body->out[0] = nn_to(graph, grad, nn_dtype(graph, body->in[0]));
    return TRUE;
}

static gboolean
vjp_through(TnVjp *v, const char *op)
{
    if (v->need[0] && !tn_val_is_none(v->grad_out[0])) {
        v->grad_in[0] = nn_2(v->graph, op, v->attrs, v->out[0], v->grad_out[0]);
    }
    return TRUE;
}

static gboolean
softmax_vjp(TnVjp *v, GError **error)
{
    (void)error;
    return vjp_through(v, "softmax_grad");
}

static gboolean
log_softmax_vjp(TnVjp *v, GError **error)
{
    (void)error;
    return vjp_through(v, "log_softmax_grad");
}

#define AXIS(i) (&(const TnAxisAttrs){ i })
static const NnCase cases[] = {
    { 1, { NN_SHAPE(1) } },
    { 1, { NN_SHAPE(7) } },
    { 1, { NN_SHAPE(3, 5) } },
    { 1, { NN_SHAPE(3, 5) }, .attrs = AXIS(0) },
    { 1, { NN_SHAPE(2, 3, 4) }, .attrs = AXIS(1) },
    { 1, { NN_SHAPE(2, 3, 2, 2) }, .attrs = AXIS(-3) },
    { 1, { NN_SHAPE(2, 300) } },
    { 1, { NN_SHAPE(0, 3) } },
    { 1, { NN_SHAPE(3, 0) }, .attrs = AXIS(0) },
};
NN_SAMPLER(softmax_sample, cases, TnAxisAttrs)

static gboolean
grad_sample(TnSample *sample)
{
    if (!softmax_sample(sample)) {
        return FALSE;
    }
    sample->n_in = 2;
    sample->in[1] = sample->in[0];
    return TRUE;
}

#define X_ROW(name_, help_, ...)                                                                   \
    NN_ARG(name_, 'T', TN_DTYPES_FLOAT, help_, NN_RANK(1, TN_MAX_RANK), ##__VA_ARGS__)
#define ATTRS .attrs = TN_OPTIONS(TnAxisAttrs, axis_rows), .infer = softmax_infer

/* log (softmax x): which does not lose shares too small to be numbers, either. */
static TnVal
softmax_simplify(TnSimplify *s)
{
    const TnVal *in = s->of == 0 ? tn_simplify_inputs(s, s->in[0], "softmax") : NULL;
    return in != NULL && s->fast_math && strcmp(s->op->name, "log") == 0
               ? tn_simplify_add(s, "log_softmax", tn_graph_node_attrs(s->graph, s->in[0].node), 1,
                                 in)
               : TN_VAL_NONE;
}

NN_OP(softmax, "Softmax", "exp (x) over its sum along an axis",
      NN_IN(X_ROW("x", "rank 1 at least")),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "x's shape")), ATTRS, .vjp = softmax_vjp,
      .body = softmax_body, .sample = softmax_sample, .in_place = 1, .simplify = softmax_simplify);

NN_OP(log_softmax, "LogSoftmax", "Logarithm of softmax", NN_IN(X_ROW("x", "rank 1 at least")),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "x's shape")), ATTRS, .vjp = log_softmax_vjp,
      .body = log_softmax_body, .sample = softmax_sample, .in_place = 1);

NN_OP(softmax_grad, NULL, "Gradient of softmax from its result",
      NN_IN(X_ROW("y", "softmax's result"), X_ROW("g", "the result's gradient")),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "y's shape")), ATTRS, .body = softmax_grad_body,
      .sample = grad_sample, .in_place = 3);

NN_OP(log_softmax_grad, NULL, "Gradient of log_softmax from its result",
      NN_IN(X_ROW("y", "log_softmax's result"), X_ROW("g", "the result's gradient")),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "y's shape")), ATTRS,
      .body = log_softmax_grad_body, .sample = grad_sample, .in_place = 3);
