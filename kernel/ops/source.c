/* source.c: nodes that are of the graph itself: input, variable, constant, assign; and call, a
 * sub-graph in place. */
#include "graph/graph-private.h"
#include "ops-private.h"

static const TnOption input_rows[] = {
    TN_ATTR(TnInputAttrs, name, TN_OPT_STRING, "name of the input"),
    TN_ATTR_DTYPE(TnInputAttrs, dtype, "dtype of the input"),
    TN_ATTR(TnInputAttrs, rank, TN_OPT_INT64, "number of axes", TN_RANGE_I(0, TN_MAX_RANK)),
};
static const TnOption variable_rows[] = {
    TN_ATTR(TnVariableAttrs, name, TN_OPT_STRING, "name of the variable"),
    TN_ATTR_DTYPE(TnVariableAttrs, dtype, "dtype of the variable"),
    TN_ATTR(TnVariableAttrs, shape, TN_OPT_SHAPE, "sizes of the variable"),
};
static const TnOption constant_rows[] = {
    TN_ATTR(TnConstantAttrs, value, TN_OPT_TENSOR, "the tensor"),
};
static const TnOption call_rows[] = {
    TN_ATTR(TnCallAttrs, graph, TN_OPT_GRAPH, "the sub-graph"),
};

/* The sizes are the binding's: whoever holds the graph knows them, the attributes do not. */
static gboolean
input_infer(TnInfer *infer, GError **error)
{
    (void)infer;
    g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "an input is made by tn_graph_input only");
    return FALSE;
}

static TnType
variable_type(const TnVariableAttrs *attrs)
{
    return tn_type((TnDtype)attrs->dtype, attrs->shape.rank, attrs->shape.dims);
}

static gboolean
variable_infer(TnInfer *infer, GError **error)
{
    (void)error;
    infer->out[0] = variable_type(infer->attrs);
    return TRUE;
}

static gboolean
constant_infer(TnInfer *infer, GError **error)
{
    const TnConstantAttrs *attrs = infer->attrs;
    if (attrs->value == NULL) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "attribute 'value' is missing");
        return FALSE;
    }
    infer->out[0] = *tn_tensor_type(attrs->value);
    return TRUE;
}

static gboolean
assign_infer(TnInfer *infer, GError **error)
{
    const TnVariableAttrs *attrs = infer->attrs;
    const TnType want = variable_type(attrs);
    if (tn_type_equal(&want, &infer->in[0])) {
        return TRUE;
    }
    g_autofree char *text = tn_type_print(&want);
    return tn_infer_fail(infer, 0, error, "variable '%s' is %s", attrs->name, text);
}

static gboolean
call_infer(TnInfer *infer, GError **error)
{
    const TnGraph *graph = ((const TnCallAttrs *)infer->attrs)->graph;
    if (graph == NULL) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "attribute 'graph' is missing");
        return FALSE;
    }
    if ((guint)infer->n_in != graph->inputs->len) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "sub-graph '%s' takes %u inputs, got %d",
                    graph->name, graph->inputs->len, infer->n_in);
        return FALSE;
    }
    if (graph->outputs->len > TN_MAX_OUT) {
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                    "sub-graph '%s' has %u outputs; at most %d are possible", graph->name,
                    graph->outputs->len, TN_MAX_OUT);
        return FALSE;
    }
    if (graph->variables->len > 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                    "sub-graph '%s' has a variable '%s': give it as an input", graph->name,
                    g_array_index(graph->variables, TnGraphVariable, 0).name);
        return FALSE;
    }
    TnGraphTypes types;
    if (!tn_graph_infer(graph, infer->in, infer->value, &types, error)) {
        return FALSE;
    }
    infer->n_out = (gint)graph->outputs->len;
    for (gint k = 0; k < infer->n_out; k++) {
        infer->out[k] = *tn_graph_types_at(&types, tn_graph_output_at(graph, (guint)k, NULL));
    }
    tn_graph_types_clear(&types);
    return TRUE;
}

static gboolean
call_body(TnBody *body, GError **error)
{
    const TnCallAttrs *attrs = body->attrs;
    tn_graph_inline(body->graph, attrs->graph, body->in, body->out);
    return tn_graph_check(body->graph, error);
}

/* A sub-graph of two inputs and two outputs, x * y and x + x * y, over a few shapes. */
static gboolean
call_sample(TnSample *sample)
{
    if (!tn_sample_binary(sample)) {
        return FALSE;
    }
    TnGraph *graph = tn_graph_new("sample");
    const TnVal x = tn_graph_input(graph, "x", sample->in[0]);
    const TnVal y = tn_graph_input(graph, "y", sample->in[1]);
    const TnVal product = tn_f_mul(graph, x, y);
    tn_graph_output(graph, "product", product);
    tn_graph_output(graph, "sum", tn_f_add(graph, x, product));
    ((TnCallAttrs *)sample->attrs)->graph = graph;
    return TRUE;
}

/* x * y + x over a few shapes: what the compiler makes of two nodes. */
static gboolean
fused_sample(TnSample *sample)
{
    if (!tn_sample_binary(sample)) {
        return FALSE;
    }
    TnGraph *graph = tn_graph_new("sample");
    const TnVal x = tn_graph_input(graph, "x", sample->in[0]);
    const TnVal y = tn_graph_input(graph, "y", sample->in[1]);
    tn_graph_output(graph, "out", tn_f_add(graph, tn_f_mul(graph, x, y), x));
    ((TnCallAttrs *)sample->attrs)->graph = graph;
    return TRUE;
}

static const TnPrimitive rows[] = {
    { .op = { TN_OP("input", NULL, "A value given from outside"),
              .flags = TN_OP_SOURCE | TN_OP_NO_GRAD,
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "the value")),
              .attrs = TN_OPTIONS(TnInputAttrs, input_rows), .infer = input_infer } },
    { .op = { TN_OP("variable", NULL, "A variable's value when the program begins"),
              .flags = TN_OP_SOURCE | TN_OP_NO_GRAD,
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "the value")),
              .attrs = TN_OPTIONS(TnVariableAttrs, variable_rows), .infer = variable_infer } },
    { .op = { TN_OP("constant", "Constant", "A tensor kept by the graph"),
              .flags = TN_OP_SOURCE | TN_OP_NO_GRAD,
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "the tensor")),
              .attrs = TN_OPTIONS(TnConstantAttrs, constant_rows), .infer = constant_infer } },
    { .op = { TN_OP("assign", NULL, "Writes a value to a variable when the program ends"),
              .flags = TN_OP_EFFECT | TN_OP_NO_GRAD,
              TN_INPUTS(TN_ARG_ROW("x", 'T', TN_DTYPES_ALL, "of the variable's type",
                                   .flags = TN_ARG_NO_GRAD)),
              .attrs = TN_OPTIONS(TnVariableAttrs, variable_rows), .infer = assign_infer,
              .flops = tn_flops_none } },
    { .op = { TN_OP("call", NULL, "A sub-graph in place"),
              TN_INPUTS(TN_ARG_ROW("in", 0, TN_DTYPES_ALL, "the sub-graph's inputs in order",
                                   .flags = TN_ARG_VARIADIC)),
              TN_OUTPUTS(TN_ARG_ROW("out", 0, TN_DTYPES_ALL, "the sub-graph's outputs in order",
                                    .flags = TN_ARG_VARIADIC)),
              .attrs = TN_OPTIONS(TnCallAttrs, call_rows), .infer = call_infer, .body = call_body,
              .sample = call_sample } },
    { .op = { TN_OP("fused", NULL, "A sub-graph of element-wise nodes and reductions in place"),
              .flags = TN_OP_ELEMENTWISE,
              TN_INPUTS(TN_ARG_ROW("in", 0, TN_DTYPES_ALL, "the sub-graph's inputs in order",
                                   .flags = TN_ARG_VARIADIC)),
              TN_OUTPUTS(TN_ARG_ROW("out", 0, TN_DTYPES_ALL, "the sub-graph's outputs in order",
                                    .flags = TN_ARG_VARIADIC)),
              .attrs = TN_OPTIONS(TnCallAttrs, call_rows), .infer = call_infer, .body = call_body,
              .sample = fused_sample } },
};

const TnFamily tn_family_source = { rows, G_N_ELEMENTS(rows) };
