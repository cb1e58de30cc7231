/* fused_linear.c: a dense layer with what follows it as one node, so that a device does it with each part of the
 * result while that is in the cache: an activation and the sum with another value of the result's shape, in either
 * order. */
#include "nn.h"

enum { X, W, B, MORE, N_IN };

static const char *const activations[] = { "none", "relu", "gelu", "gelu_tanh", NULL };
static const TnOption rows[] = {
    NN_ATTR(TnFusedLinearAttrs, activation, TN_OPT_ENUM, "of the result", .choices = activations,
            .dflt = "none"),
    NN_ATTR(TnFusedLinearAttrs, last, TN_OPT_BOOL, "more is added behind the activation",
            .dflt = "false"),
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
    gint n_out;
    if (layer == NULL || !tn_op_infer(layer, NULL, infer->name, MIN(infer->n_in, MORE), infer->in,
                                      NULL, &n_out, infer->out, error)) {
        return FALSE;
    }
    return !nn_present(infer, MORE) ||
           nn_infer_want(infer, MORE, infer->out[0].rank, infer->out[0].dims, "the layer's result",
                         error);
}

static TnVal
activated(TnGraph *graph, gint activation, TnVal x)
{
    const TnGeluAttrs gelu = { activation == TN_LINEAR_GELU_TANH ? TN_GELU_TANH : TN_GELU_NONE };
    switch (activation) {
    case TN_LINEAR_RELU: return nn_1(graph, "relu", NULL, x);
    case TN_LINEAR_GELU:
    case TN_LINEAR_GELU_TANH: return nn_1(graph, "gelu", &gelu, x);
    default: return x;
    }
}

static gboolean
fused_body(TnBody *body, GError **error)
{
    const TnFusedLinearAttrs *attrs = body->attrs;
    TnGraph *graph = body->graph;
    const TnVal more = nn_in(body, MORE);
    const char *layer = layer_of(tn_f_rank(graph, body->in[W]));
    (void)error;
    TnVal y = tn_graph_op(graph, layer, NULL, MIN(body->n_in, MORE), body->in, NULL);
    if (!tn_val_is_none(more) && !attrs->last) {
        y = tn_f_add(graph, y, more);
    }
    y = activated(graph, attrs->activation, y);
    if (!tn_val_is_none(more) && attrs->last) {
        y = tn_f_add(graph, y, more);
    }
    body->out[0] = y;
    return TRUE;
}

/* --- The rule --------------------------------------------------------------------------------- */

/* TN_LINEAR_NONE: it is none of them. */
static gint
activation_of(const TnSimplify *s)
{
    if (strcmp(s->op->name, "relu") == 0) {
        return TN_LINEAR_RELU;
    }
    if (strcmp(s->op->name, "gelu") != 0) {
        return TN_LINEAR_NONE;
    }
    const TnGeluAttrs *gelu = s->attrs;
    return gelu->approximate == TN_GELU_TANH ? TN_LINEAR_GELU_TANH : TN_LINEAR_GELU;
}

/* Adds to a layer's attributes and inputs what the node does with its result; FALSE: it does something else. */
static gboolean
follow(const TnSimplify *s, TnFusedLinearAttrs *attrs, TnVal *in)
{
    const gint activation = activation_of(s);
    if (activation != TN_LINEAR_NONE) {
        const gboolean free = attrs->activation == TN_LINEAR_NONE;
        attrs->activation = activation;
        return free;
    }
    if (strcmp(s->op->name, "add") != 0 || !tn_val_is_none(in[MORE])) {
        return FALSE;
    }
    in[MORE] = s->in[1 - s->of];
    attrs->last = attrs->activation != TN_LINEAR_NONE;
    return tn_type_equal(tn_graph_type(s->graph, in[MORE]), s->type);
}

TnVal
nn_linear_join(TnSimplify *s)
{
    TnVal in[N_IN] = { TN_VAL_NONE, TN_VAL_NONE, TN_VAL_NONE, TN_VAL_NONE };
    TnFusedLinearAttrs attrs = { TN_LINEAR_NONE, FALSE };
    const TnVal *of;
    if (s->of < 0) {
        return TN_VAL_NONE;
    }
    const guint layer = s->in[s->of].node;
    const gint n_in = tn_graph_node_inputs(s->graph, layer, &of);
    memcpy(in, of, (gsize)n_in * sizeof *in);
    if (strcmp(tn_graph_node_op(s->graph, layer)->name, "fused_linear") == 0) {
        attrs = *(const TnFusedLinearAttrs *)tn_graph_node_attrs(s->graph, layer);
    }
    return follow(s, &attrs, in) && tn_simplify_joins(s, "fused_linear", &attrs, N_IN, in, s->of)
               ? tn_simplify_add(s, "fused_linear", &attrs, N_IN, in)
               : TN_VAL_NONE;
}

/* --- Samples ---------------------------------------------------------------------------------- */

#define DOES(...) (&(const TnFusedLinearAttrs){ __VA_ARGS__ })
static const NnCase cases[] = {
    { 3, { NN_SHAPE(4), NN_SHAPE(3, 4), NN_SHAPE(3) }, .attrs = DOES(TN_LINEAR_GELU) },
    { 4, { NN_SHAPE(5, 4), NN_SHAPE(3, 4), NN_SHAPE(3), NN_SHAPE(5, 3) } },
    { 4,
      { NN_SHAPE(2, 3, 4), NN_SHAPE(5, 4), NN_ABSENT, NN_SHAPE(2, 3, 5) },
      .attrs = DOES(TN_LINEAR_GELU_TANH) },
    { 4,
      { NN_SHAPE(33, 40), NN_SHAPE(17, 40), NN_ABSENT, NN_SHAPE(33, 17) },
      .attrs = DOES(TN_LINEAR_GELU, TRUE) },
    { 4,
      { NN_SHAPE(2, 1, 3, 140), NN_SHAPE(1, 140, 70), NN_SHAPE(70), NN_SHAPE(2, 1, 3, 70) },
      .attrs = DOES(TN_LINEAR_GELU_TANH, TRUE) },
    { 4,
      { NN_SHAPE(9, 40), NN_SHAPE(3, 40, 64), NN_SHAPE(192), NN_SHAPE(9, 192) },
      .attrs = DOES(TN_LINEAR_NONE, TRUE) },
    { 2, { NN_SHAPE(3, 4), NN_SHAPE(2, 4) } },
    { 3, { NN_SHAPE(5, 4), NN_SHAPE(3, 4), NN_SHAPE(3) }, .attrs = DOES(TN_LINEAR_RELU) },
    { 4, { NN_SHAPE(0, 4), NN_SHAPE(3, 4), NN_SHAPE(3), NN_SHAPE(0, 3) } },
    { 4,
      { NN_SHAPE(2, 0), NN_SHAPE(3, 0), NN_SHAPE(3), NN_SHAPE(2, 3) },
      .attrs = DOES(TN_LINEAR_GELU) },
};
NN_SAMPLER(fused_sample, cases, TnFusedLinearAttrs)

NN_OP(fused_linear, NULL, "A dense layer and what follows it: an activation, a sum",
      NN_IN(NN_ARG("x", 'T', TN_DTYPES_FLOAT, "[lead…, in]", NN_RANK(1, TN_MAX_RANK)),
            NN_ARG("w", 'T', TN_DTYPES_FLOAT, "[out, in], or [out / columns, in, columns]",
                   NN_RANK(2, 3)),
            NN_ARG("b", 'T', TN_DTYPES_FLOAT, "[out]", .flags = TN_ARG_OPTIONAL),
            NN_ARG("more", 'T', TN_DTYPES_FLOAT, "as out", .flags = TN_ARG_OPTIONAL)),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "[lead…, out]")),
      .attrs = TN_OPTIONS(TnFusedLinearAttrs, rows), .infer = fused_infer, .body = fused_body,
      .sample = fused_sample, .join = nn_linear_join, .precision = TN_PRECISION_NARROW);
