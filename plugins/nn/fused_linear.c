/* fused_linear.c: a dense layer with what follows it as one node, so that a device does it with each part of the
 * result while that is in the cache: a sum, max (., 0), and in the other direction the gradient of that. */
#include "linear.h"

enum { X, W, B, MORE, GATE, N_IN };

static const TnOption rows[] = {
    NN_ATTR(TnFusedLinearAttrs, relu, TN_OPT_BOOL, "max (., 0) of the result", .dflt = "false"),
};

static const char *
layer_of(gint w_rank)
{
    return w_rank == 3 ? "linear_turned" : "linear";
}

static gboolean
fused_infer(TnInfer *infer, GError **error)
{
    const TnOp *layer = tn_op_find(layer_of(infer->in[W].rank), error);
    const gint n_in = MIN(infer->n_in, MORE);
    gint n_out;
    if (layer == NULL ||
        !tn_op_infer(layer, NULL, infer->name, n_in, infer->in, NULL, &n_out, infer->out, error)) {
        return FALSE;
    }
    for (gint i = MORE; i < N_IN; i++) {
        if (nn_present(infer, i) && !nn_infer_want(infer, i, infer->out[0].rank, infer->out[0].dims,
                                                   "the layer's result", error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
fused_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const TnVal more = nn_in(body, MORE), gate = nn_in(body, GATE);
    const char *layer = layer_of(tn_f_rank(graph, body->in[W]));
    (void)error;
    TnVal y = tn_graph_op(graph, layer, NULL, MIN(body->n_in, MORE), body->in, NULL);
    y = tn_val_is_none(more) ? y : tn_f_add(graph, y, more);
    y = ((const TnFusedLinearAttrs *)body->attrs)->relu
            ? tn_f_max(graph, y, tn_f_const(graph, y, 0))
            : y;
    if (!tn_val_is_none(gate)) {
        const TnVal open = tn_f_greater(graph, gate, tn_f_const(graph, gate, 0));
        y = tn_f_where(graph, open, y, tn_f_const(graph, y, 0));
    }
    body->out[0] = y;
    return TRUE;
}

/* --- Rules ------------------------------------------------------------------------------------ */

static TnVal
fused(TnSimplify *s, const TnFusedLinearAttrs *attrs, const TnVal *in)
{
    return tn_simplify_has_kernel(s, "fused_linear", attrs, N_IN, in)
               ? tn_simplify_add(s, "fused_linear", attrs, N_IN, in)
               : TN_VAL_NONE;
}

TnVal
nn_linear_and_rest(TnSimplify *s)
{
    const TnVal layer = s->in[s->of];
    const gboolean begun =
        strcmp(tn_graph_node_op(s->graph, layer.node)->name, "fused_linear") == 0;
    TnVal in[N_IN] = { TN_VAL_NONE, TN_VAL_NONE, TN_VAL_NONE, TN_VAL_NONE, TN_VAL_NONE };
    TnFusedLinearAttrs attrs = { FALSE };
    const TnVal *of;
    const gint n_in = tn_graph_node_inputs(s->graph, layer.node, &of);
    memcpy(in, of, (gsize)n_in * sizeof *in);
    if (!tn_simplify_sole(s, s->of) ||
        tn_simplify_inputs(s, in[W], "dequantize_linear") != NULL) { /* quantized_rules.c's */
        return TN_VAL_NONE;
    }
    if (begun) {
        attrs = *(const TnFusedLinearAttrs *)tn_graph_node_attrs(s->graph, layer.node);
    }
    if (attrs.relu || !tn_val_is_none(in[GATE])) {
        return TN_VAL_NONE;
    }
    if (strcmp(s->op->name, "relu") == 0) {
        attrs.relu = TRUE;
    } else if (strcmp(s->op->name, "add") == 0 && tn_val_is_none(in[MORE]) &&
               tn_type_equal(tn_graph_type(s->graph, s->in[1 - s->of]), s->type)) {
        in[MORE] = s->in[1 - s->of];
    } else {
        return TN_VAL_NONE;
    }
    return fused(s, &attrs, in);
}

/* The gradient of relu of a product with a matrix [in, out] is the same layer with these weights turned, as one
 * panel, and a gate. */
TnVal
nn_relu_grad_simplify(TnSimplify *s)
{
    const TnVal *product = tn_simplify_inputs(s, s->in[1], "matmul");
    if (s->of >= 0 || product == NULL || !tn_simplify_sole(s, 1)) {
        return TN_VAL_NONE;
    }
    const TnType *w = tn_graph_type(s->graph, product[1]);
    if (w->rank != 2) {
        return TN_VAL_NONE;
    }
    const TnReshapeAttrs panel = { .shape = NN_SHAPE(1, w->dims[0], w->dims[1]),
                                   .allowzero = TRUE };
    const TnVal x = product[0];
    const TnVal in[N_IN] = { x, tn_simplify_add(s, "reshape", &panel, 1, &product[1]), TN_VAL_NONE,
                             TN_VAL_NONE, s->in[0] };
    return fused(s, &(const TnFusedLinearAttrs){ FALSE }, in);
}

static TnVal
fused_simplify(TnSimplify *s)
{
    return s->of >= 0 ? nn_linear_and_rest(s) : TN_VAL_NONE;
}

/* --- Samples ---------------------------------------------------------------------------------- */

#define RELU (&(const TnFusedLinearAttrs){ TRUE })
static const NnCase cases[] = {
    { 3, { NN_SHAPE(4), NN_SHAPE(3, 4), NN_SHAPE(3) }, .attrs = RELU },
    { 4, { NN_SHAPE(5, 4), NN_SHAPE(3, 4), NN_SHAPE(3), NN_SHAPE(5, 3) }, .attrs = RELU },
    { 4, { NN_SHAPE(2, 3, 4), NN_SHAPE(5, 4), NN_ABSENT, NN_SHAPE(2, 3, 5) } },
    { 5, { NN_SHAPE(33, 40), NN_SHAPE(17, 40), NN_ABSENT, NN_ABSENT, NN_SHAPE(33, 17) } },
    { 5,
      { NN_SHAPE(2, 1, 3, 140), NN_SHAPE(1, 140, 70), NN_SHAPE(70), NN_SHAPE(2, 1, 3, 70),
        NN_SHAPE(2, 1, 3, 70) },
      .attrs = RELU },
    { 5,
      { NN_SHAPE(9, 40), NN_SHAPE(3, 40, 64), NN_SHAPE(192), NN_ABSENT, NN_SHAPE(9, 192) },
      .attrs = RELU },
    { 2, { NN_SHAPE(3, 4), NN_SHAPE(2, 4) } },
    { 4, { NN_SHAPE(0, 4), NN_SHAPE(3, 4), NN_SHAPE(3), NN_SHAPE(0, 3) } },
    { 4, { NN_SHAPE(2, 0), NN_SHAPE(3, 0), NN_SHAPE(3), NN_SHAPE(2, 3) }, .attrs = RELU },
};
NN_SAMPLER(fused_sample, cases, TnFusedLinearAttrs)

NN_OP(fused_linear, NULL, "A dense layer and what follows it: a sum, max (., 0), a gate",
      NN_IN(NN_ARG("x", 'T', TN_DTYPES_FLOAT, "[lead…, in]", NN_RANK(1, TN_MAX_RANK)),
            NN_ARG("w", 'T', TN_DTYPES_FLOAT, "[out, in], or [out / columns, in, columns]",
                   NN_RANK(2, 3)),
            NN_ARG("b", 'T', TN_DTYPES_FLOAT, "[out]", .flags = TN_ARG_OPTIONAL),
            NN_ARG("more", 'T', TN_DTYPES_FLOAT, "as out", .flags = TN_ARG_OPTIONAL),
            NN_ARG("gate", 'T', TN_DTYPES_FLOAT, "as out", .flags = TN_ARG_OPTIONAL, .kinks = { 0 },
                   .n_kinks = 1, .gap = 0.1)),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "[lead…, out]")),
      .attrs = TN_OPTIONS(TnFusedLinearAttrs, rows), .infer = fused_infer, .body = fused_body,
      .sample = fused_sample, .simplify = fused_simplify, .precision = TN_PRECISION_NARROW);
