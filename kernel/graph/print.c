/* print.c: a graph as text, a node a line, and as Graphviz. */
#include "graph-private.h"

static void
append_val(GString *text, const TnGraph *graph, TnVal val)
{
    if (tn_val_is_none(val)) {
        g_string_append_c(text, '_');
        return;
    }
    g_string_append_printf(text, "%%%u", val.node);
    if (tn_graph_node(graph, val.node)->n_out > 1) {
        g_string_append_printf(text, ".%u", val.out);
    }
}

static void
append_types(GString *text, const TnGraphNode *node)
{
    for (gint k = 0; k < node->n_out; k++) {
        g_autofree char *type = tn_type_print(&node->out[k]);
        g_string_append_printf(text, "%s%s", k > 0 ? ", " : "", type);
    }
}

/* "[axis=1]", empty if all attributes have their defaults. */
static void
append_attrs(GString *text, const TnGraphNode *node)
{
    if (node->attrs == NULL) {
        return;
    }
    g_autofree char *attrs = tn_options_print(&node->op->attrs, node->attrs);
    if (*attrs != '\0') {
        g_string_append_printf(text, " [%s]", attrs);
    }
}

static void append_graph(GString *text, const TnGraph *graph, gint depth);

/* What a node of control flow runs, below it. */
static void
append_inner(GString *text, const TnGraphNode *node, gint depth)
{
    for (guint32 i = 0; node->op->flags & TN_OP_CONTROL && i < node->op->attrs.n; i++) {
        const TnOption *row = tn_options_row(&node->op->attrs, i);
        if (row->type == TN_OPT_GRAPH) {
            const TnGraph *graph =
                *(TnGraph *const *)(gconstpointer)((const char *)node->attrs + row->offset);
            g_string_append_printf(text, "%*s%s '%s':\n", 4 * depth, "", row->name, graph->name);
            append_graph(text, graph, depth);
        }
    }
}

static void
append_graph(GString *text, const TnGraph *graph, gint depth)
{
    for (guint i = 0; i < graph->nodes->len; i++) {
        const TnGraphNode *node = tn_graph_node(graph, i);
        g_string_append_printf(text, "%*s%%%u %s = %s(", 4 * depth, "", i, node->name,
                               node->op->name);
        for (gint k = 0; k < node->n_in; k++) {
            g_string_append(text, k > 0 ? ", " : "");
            append_val(text, graph, node->in[k]);
        }
        g_string_append_c(text, ')');
        append_attrs(text, node);
        g_string_append(text, node->n_out > 0 ? " : " : "");
        append_types(text, node);
        g_string_append_c(text, '\n');
        append_inner(text, node, depth + 1);
    }
    for (guint i = 0; i < graph->outputs->len; i++) {
        const TnGraphPort *port = &g_array_index(graph->outputs, TnGraphPort, i);
        g_string_append_printf(text, "%*soutput %s = ", 4 * depth, "", port->name);
        append_val(text, graph, port->val);
        g_string_append_c(text, '\n');
    }
}

char *
tn_graph_print(const TnGraph *graph)
{
    GString *text = g_string_new(NULL);
    append_graph(text, graph, 0);
    return g_string_free(text, FALSE);
}

/* Inside a quoted string of Graphviz. */
static void
append_quoted(GString *text, const char *plain)
{
    for (; *plain != '\0'; plain++) {
        if (*plain == '"' || *plain == '\\') {
            g_string_append_c(text, '\\');
        }
        g_string_append_c(text, *plain);
    }
}

static void
append_edges(GString *text, const TnGraphNode *node, guint i)
{
    for (gint k = 0; k < node->n_in; k++) {
        if (!tn_val_is_none(node->in[k])) {
            const gboolean shape = tn_op_input(node->op, k)->flags & TN_ARG_SHAPE;
            g_string_append_printf(text, "  n%u -> n%u%s;\n", node->in[k].node, i,
                                   shape ? " [style=dashed]" : "");
        }
    }
}

char *
tn_graph_to_dot(const TnGraph *graph)
{
    GString *text = g_string_new("digraph \"");
    append_quoted(text, graph->name);
    g_string_append(text, "\" {\n  node [shape=box, fontname=\"sans-serif\"];\n");
    for (guint i = 0; i < graph->nodes->len; i++) {
        const TnGraphNode *node = tn_graph_node(graph, i);
        g_autoptr(GString) types = g_string_new(NULL);
        append_types(types, node);
        g_string_append_printf(text, "  n%u [label=\"%s\\n", i, node->op->name);
        append_quoted(text, node->name);
        g_string_append_printf(text, "\\n%s\"%s];\n", types->str,
                               node->op->flags & TN_OP_SOURCE ? ", style=rounded" : "");
        append_edges(text, node, i);
    }
    for (guint i = 0; i < graph->outputs->len; i++) {
        const TnGraphPort *port = &g_array_index(graph->outputs, TnGraphPort, i);
        g_string_append_printf(text, "  o%u [label=\"", i);
        append_quoted(text, port->name);
        g_string_append_printf(text, "\", shape=ellipse];\n  n%u -> o%u;\n", port->val.node, i);
    }
    g_string_append(text, "}\n");
    return g_string_free(text, FALSE);
}
