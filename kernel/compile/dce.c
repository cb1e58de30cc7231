/* dce.c: drops nodes that no output, assignment or effect needs. Inputs stay: their order is the
 * caller's. */
#include "compile-private.h"

static void
mark(TnVal val, gboolean *keep, GArray *stack)
{
    if (!tn_val_is_none(val) && !keep[val.node]) {
        keep[val.node] = TRUE;
        g_array_append_val(stack, val.node);
    }
}

static void
mark_roots(const TnGraph *graph, gboolean *keep, GArray *stack)
{
    for (guint i = 0; i < graph->outputs->len; i++) {
        mark(g_array_index(graph->outputs, TnGraphPort, i).val, keep, stack);
    }
    for (guint i = 0; i < graph->variables->len; i++) {
        mark(g_array_index(graph->variables, TnGraphVariable, i).assigned, keep, stack);
    }
    for (guint i = 0; i < graph->nodes->len; i++) {
        if (tn_graph_node(graph, i)->op->flags & TN_OP_EFFECT) {
            mark((TnVal){ i, 0 }, keep, stack);
        }
    }
}

/* Of a graph's nodes that are kept, values that are read: TN_MAX_OUT places a node. NULL: no node runs
 * sub-graphs, so nobody asks. (transfer full). */
static gboolean *
find_read(const TnGraph *graph, const gboolean *keep)
{
    gboolean any = FALSE;
    for (guint i = 0; i < graph->nodes->len && !any; i++) {
        any = tn_graph_node(graph, i)->op->flags & TN_OP_CONTROL;
    }
    if (!any) {
        return NULL;
    }
    gboolean *read = g_new0(gboolean, (gsize)graph->nodes->len * TN_MAX_OUT);
    for (guint i = 0; i < graph->nodes->len; i++) {
        const TnGraphNode *node = tn_graph_node(graph, i);
        for (gint k = 0; keep[i] && k < node->n_in; k++) {
            if (!tn_val_is_none(node->in[k])) {
                read[(gsize)node->in[k].node * TN_MAX_OUT + node->in[k].out] = TRUE;
            }
        }
    }
    for (guint i = 0; i < graph->outputs->len; i++) {
        const TnVal val = g_array_index(graph->outputs, TnGraphPort, i).val;
        read[(gsize)val.node * TN_MAX_OUT + val.out] = TRUE;
    }
    return read; /* what is assigned is read by a node */
}

static gboolean
narrow_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
            gboolean *done, GError **error)
{
    const gboolean *read = rw->data;
    (void)error;
    *done = tn_control_narrow(rw, node, &read[(gsize)number * TN_MAX_OUT], in, out);
    return TRUE;
}

void
tn_mark_needed(const TnGraph *graph, gboolean *keep)
{
    g_autoptr(GArray) stack = g_array_new(FALSE, FALSE, sizeof(guint32));
    mark_roots(graph, keep, stack);
    while (stack->len > 0) {
        const TnGraphNode *node =
            tn_graph_node(graph, g_array_index(stack, guint32, stack->len - 1));
        g_array_set_size(stack, stack->len - 1);
        for (gint i = 0; i < node->n_in; i++) {
            mark(node->in[i], keep, stack);
        }
    }
}

gboolean
tn_pass_dce(TnCompiler *c, GError **error)
{
    g_autofree gboolean *keep = g_new0(gboolean, c->graph->nodes->len + 1);
    tn_mark_needed(c->graph, keep);
    g_autofree gboolean *read = find_read(c->graph, keep);
    return tn_rewrite_into(c, keep, read != NULL ? narrow_node : NULL, read, error);
}
