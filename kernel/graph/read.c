/* read.c: what can be read of a graph. */
#include "graph-private.h"

guint
tn_graph_n_nodes(const TnGraph *graph)
{
    return graph->nodes->len;
}

const TnType *
tn_graph_type(const TnGraph *graph, TnVal val)
{
    static const TnType none;
    if (val.node >= graph->nodes->len) {
        return &none;
    }
    const TnGraphNode *node = tn_graph_node(graph, val.node);
    return (gint)val.out < node->n_out ? &node->out[val.out] : &none;
}

const TnOp *
tn_graph_node_op(const TnGraph *graph, guint node)
{
    return tn_graph_node(graph, node)->op;
}

const void *
tn_graph_node_attrs(const TnGraph *graph, guint node)
{
    return tn_graph_node(graph, node)->attrs;
}

const char *
tn_graph_node_name(const TnGraph *graph, guint node)
{
    return tn_graph_node(graph, node)->name;
}

gint
tn_graph_node_inputs(const TnGraph *graph, guint node, const TnVal **in)
{
    const TnGraphNode *entry = tn_graph_node(graph, node);
    *in = entry->in;
    return entry->n_in;
}

gint
tn_graph_node_n_outputs(const TnGraph *graph, guint node)
{
    return tn_graph_node(graph, node)->n_out;
}

guint
tn_graph_n_inputs(const TnGraph *graph)
{
    return graph->inputs->len;
}

static TnVal
port_at(const GArray *ports, guint i, const char **name)
{
    const TnGraphPort *port = &g_array_index(ports, TnGraphPort, i);
    if (name != NULL) {
        *name = port->name;
    }
    return port->val;
}

TnVal
tn_graph_input_at(const TnGraph *graph, guint i, const char **name)
{
    return port_at(graph->inputs, i, name);
}

guint
tn_graph_n_outputs(const TnGraph *graph)
{
    return graph->outputs->len;
}

TnVal
tn_graph_output_at(const TnGraph *graph, guint i, const char **name)
{
    return port_at(graph->outputs, i, name);
}

guint
tn_graph_n_variables(const TnGraph *graph)
{
    return graph->variables->len;
}

const char *
tn_graph_variable_at(const TnGraph *graph, guint i, TnType *type, TnVal *read, TnVal *assigned)
{
    const TnGraphVariable *entry = &g_array_index(graph->variables, TnGraphVariable, i);
    if (type != NULL) {
        *type = entry->type;
    }
    if (read != NULL) {
        *read = entry->read;
    }
    if (assigned != NULL) {
        *assigned = entry->assigned;
    }
    return entry->name;
}

TnTensor *
tn_graph_static_value(const TnGraph *graph, TnVal val)
{
    const TnGraphNode *node = tn_graph_node(graph, val.node);
    if (!(node->op->flags & TN_OP_SOURCE) || node->attrs == NULL) {
        return NULL;
    }
    for (guint32 i = 0; i < node->op->attrs.n; i++) {
        const TnOption *row = tn_options_row(&node->op->attrs, i);
        if (row->type == TN_OPT_TENSOR) {
            return *(TnTensor **)(gpointer)((char *)node->attrs + row->offset);
        }
    }
    return NULL;
}
