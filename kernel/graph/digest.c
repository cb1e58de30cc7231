/* digest.c: a number that two graphs share when they compute the same: over operators, attributes
 * and wiring, not over names of nodes (streams of random nodes are attributes) nor over sizes of
 * inputs. */
#include "graph-private.h"

#include <tenon/base.h>

static guint64
hash_text(guint64 hash, const char *text)
{
    return tn_hash(hash, text, strlen(text) + 1);
}

static guint64
hash_val(guint64 hash, TnVal val)
{
    const guint32 words[] = { val.node, val.out };
    return tn_hash(hash, words, sizeof words);
}

static guint64
hash_ports(guint64 hash, const GArray *ports)
{
    for (guint i = 0; i < ports->len; i++) {
        const TnGraphPort *port = &g_array_index(ports, TnGraphPort, i);
        hash = hash_val(hash_text(hash, port->name), port->val);
    }
    const guint32 n = ports->len;
    return tn_hash(hash, &n, sizeof n);
}

gboolean
tn_op_draws_by_path(const TnOp *op)
{
    gboolean draws = tn_op_is_composite(op) && op->flags & TN_OP_RANDOM;
    for (guint32 i = 0; i < op->attrs.n; i++) {
        draws = draws || tn_options_row(&op->attrs, i)->type == TN_OPT_GRAPH;
    }
    return draws;
}

static guint64
hash_node(guint64 hash, const TnGraphNode *node)
{
    const gint32 counts[] = { node->n_in, node->n_out };
    hash = hash_text(hash, node->op->name);
    hash = tn_hash(hash, counts, sizeof counts);
    if (node->attrs != NULL) {
        const guint64 attrs = tn_options_hash(&node->op->attrs, node->attrs);
        hash = tn_hash(hash, &attrs, sizeof attrs);
    }
    for (gint i = 0; i < node->n_in; i++) {
        hash = hash_val(hash, node->in[i]);
    }
    return tn_op_draws_by_path(node->op) ? hash_text(hash, node->path) : hash;
}

guint64
tn_graph_digest(const TnGraph *graph)
{
    guint64 hash = TN_HASH_INIT;
    for (guint i = 0; i < graph->nodes->len; i++) {
        hash = hash_node(hash, tn_graph_node(graph, i));
    }
    return hash_ports(hash_ports(hash, graph->inputs), graph->outputs);
}
