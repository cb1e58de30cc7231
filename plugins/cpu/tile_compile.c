/* tile_compile.c: from a node to steps: composites and groups through the graph of their body, operator by
 * operator (tile_emit.c). */
#include "tile_compile.h"

#include <tenon/graph.h>

static gboolean emit_body(TileBuilder *b, TileCall *call, GError **error);

static gboolean
refuse(const TileCall *call, GError **error)
{
    g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                "the cpu device has no element-wise %s of %s", call->op->name,
                call->n_in > 0 ? tn_dtype_name(call->in_type[0].dtype) : "nothing");
    return FALSE;
}

static gboolean
emit(TileBuilder *b, TileCall *call, GError **error)
{
    if (tile_emit_own(b, call)) {
        return TRUE;
    }
    if (call->op->body) {
        return emit_body(b, call, error);
    }
    if (tile_emit_row(b, call, call->op->name)) {
        return TRUE;
    }
    return refuse(call, error);
}

/* --- Graphs ----------------------------------------------------------------------------------- */

/* Values of a graph's nodes: outputs of node i begin at first[i]. */
typedef struct {
    const TnGraph *graph;
    guint *first;
    gint *value;
} Map;

static gboolean
emit_node(TileBuilder *b, Map *map, guint number, GError **error)
{
    const TnVal *in;
    g_autofree TileCall *call = g_new0(TileCall, 1);
    call->op = tn_graph_node_op(map->graph, number);
    call->attrs = tn_graph_node_attrs(map->graph, number);
    call->n_in = tn_graph_node_inputs(map->graph, number, &in);
    call->n_out = tn_graph_node_n_outputs(map->graph, number);
    for (gint i = 0; i < call->n_in; i++) {
        call->in[i] = -1;
        if (!tn_val_is_none(in[i])) {
            call->in[i] = map->value[map->first[in[i].node] + in[i].out];
            call->in_type[i] = *tn_graph_type(map->graph, in[i]);
        }
    }
    for (gint i = 0; i < call->n_out; i++) {
        call->out_type[i] = *tn_graph_type(map->graph, (TnVal){ number, (guint32)i });
    }
    if (!emit(b, call, error)) {
        return FALSE;
    }
    memcpy(map->value + map->first[number], call->out, (gsize)call->n_out * sizeof(gint));
    return TRUE;
}

/* Every node of graph whose inputs are in[]; the values of wanted[n]. */
static gboolean
emit_graph(TileBuilder *b, const TnGraph *graph, const gint *in, gint n, const TnVal *wanted,
           gint *out, GError **error)
{
    guint n_nodes = tn_graph_n_nodes(graph), total = 0;
    g_autofree guint *first = g_new0(guint, n_nodes + 1);
    for (guint i = 0; i < n_nodes; i++) {
        first[i] = total;
        total += (guint)tn_graph_node_n_outputs(graph, i);
    }
    g_autofree gint *value = g_new0(gint, total + 1);
    g_autofree gboolean *done = g_new0(gboolean, n_nodes + 1);
    Map map = { graph, first, value };
    for (guint i = 0; i < tn_graph_n_inputs(graph); i++) {
        TnVal val = tn_graph_input_at(graph, i, NULL);
        value[first[val.node] + val.out] = in[i];
        done[val.node] = TRUE;
    }
    for (guint i = 0; i < n_nodes; i++) {
        if (!done[i] && !emit_node(b, &map, i, error)) {
            return FALSE;
        }
    }
    for (gint i = 0; i < n; i++) {
        out[i] = value[first[wanted[i].node] + wanted[i].out];
    }
    return TRUE;
}

static gboolean
emit_body(TileBuilder *b, TileCall *call, GError **error)
{
    g_autoptr(TnGraph) graph = tn_graph_new(call->op->name);
    TnVal in[TN_MAX_IN], out[TN_MAX_OUT];
    gint present[TN_MAX_IN], n_present = 0;
    for (gint i = 0; i < call->n_in; i++) {
        in[i] = TN_VAL_NONE;
        if (call->in_type[i].dtype != TN_DTYPE_NONE) {
            g_autofree char *name = g_strdup_printf("x%d", i);
            in[i] = tn_graph_input(graph, name, call->in_type[i]);
            present[n_present++] = call->in[i];
        }
    }
    TnBody body = { .size = sizeof body,
                    .graph = graph,
                    .op = call->op,
                    .attrs = call->attrs,
                    .n_in = call->n_in,
                    .in = in,
                    .n_out = call->n_out,
                    .out = out };
    if (!call->op->body(&body, error) || !tn_graph_check(graph, error)) {
        return FALSE;
    }
    return emit_graph(b, graph, present, call->n_out, out, call->out, error);
}

/* --- A node ----------------------------------------------------------------------------------- */

static void
builder_init(TileBuilder *b, const TnNode *node)
{
    *b =
        (TileBuilder){ .node = node,
                       .values = g_array_new(FALSE, TRUE, sizeof(TileValue)),
                       .steps = g_array_new(FALSE, TRUE, sizeof(TileStep)),
                       .folds = g_array_new(FALSE, TRUE, sizeof(TileReduction)),
                       .sources = g_array_new(FALSE, TRUE, sizeof(TileSource)),
                       .constants = g_byte_array_new(),
                       .tensors = g_ptr_array_new_with_free_func((GDestroyNotify)tn_tensor_unref) };
    for (gint i = 0; i < node->n_in; i++) {
        TileSource source = { .in = i, .arg = node->in[i], .value = -1 };
        g_array_append_val(b->sources, source);
    }
}

static void
builder_clear(TileBuilder *b)
{
    g_array_unref(b->values);
    g_array_unref(b->steps);
    g_array_unref(b->folds);
    g_array_unref(b->sources);
    g_byte_array_unref(b->constants);
    g_clear_pointer(&b->tensors, g_ptr_array_unref);
}

/* Values of the node's inputs; reading a type alone needs none. */
static void
node_call(TileBuilder *b, TileCall *call)
{
    const TnNode *node = b->node;
    call->op = node->op;
    call->attrs = node->attrs;
    call->n_in = node->n_in;
    call->n_out = node->n_out;
    for (gint i = 0; i < node->n_in; i++) {
        gboolean absent = node->in[i].type.dtype == TN_DTYPE_NONE ||
                          (tn_op_input(node->op, i)->flags & TN_ARG_SHAPE);
        call->in_type[i] = node->in[i].type;
        call->in[i] = absent ? -1 : tile_add_source(b, (guint)i);
    }
    for (gint i = 0; i < node->n_out; i++) {
        call->out_type[i] = node->out[i].type;
    }
}

static TileProgram *
compile(const TnNode *node, gboolean any_strides, GError **error)
{
    TileBuilder b;
    TileProgram *program = NULL;
    g_autofree TileCall *call = g_new0(TileCall, 1);
    builder_init(&b, node);
    b.any_strides = any_strides;
    node_call(&b, call);
    if (emit(&b, call, error)) {
        memcpy(b.outputs, call->out, sizeof b.outputs);
        program = tile_plan(&b, error);
    }
    builder_clear(&b);
    return program;
}

TileProgram *
tile_compile(const TnNode *node, GError **error)
{
    /* Of inputs that are read where they are outputs may have to wait in registers, more than there are. */
    TileProgram *program = compile(node, FALSE, NULL);
    return program != NULL ? program : compile(node, TRUE, error);
}

TileProgram *
tile_compile_any(const TnNode *node, GError **error)
{
    return compile(node, TRUE, error);
}
