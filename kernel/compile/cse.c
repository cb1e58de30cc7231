/* cse.c: nodes of the same operator, attributes, inputs and types become one. Never those that
 * draw random numbers or do something besides computing. */
#include "compile-private.h"

/* Larger constants are not compared by content each time. */
#define MAX_CONSTANT_BYTES 4096

typedef struct {
    const TnGraphNode *node;
    const TnGraph *graph;
    guint number;
} Seen;

static guint
hash_node(gconstpointer key)
{
    const TnGraphNode *node = ((const Seen *)key)->node;
    guint64 hash = tn_hash(TN_HASH_INIT, &node->op, sizeof node->op);
    hash = tn_hash(hash, node->in, (gsize)node->n_in * sizeof(TnVal));
    for (gint i = 0; i < node->n_out; i++) {
        hash = tn_hash(hash, &node->out[i].dtype, sizeof node->out[i].dtype);
        hash = tn_hash(hash, node->out[i].dims, (gsize)node->out[i].rank * sizeof(gint64));
    }
    if (node->attrs != NULL) {
        hash ^= tn_options_hash(&node->op->attrs, node->attrs);
    }
    return (guint)(hash ^ hash >> 32);
}

static gboolean
equal_nodes(gconstpointer a, gconstpointer b)
{
    const TnGraphNode *x = ((const Seen *)a)->node, *y = ((const Seen *)b)->node;
    if (x->op != y->op || x->n_in != y->n_in || x->n_out != y->n_out) {
        return FALSE;
    }
    for (gint i = 0; i < x->n_in; i++) {
        if (!tn_val_equal(x->in[i], y->in[i])) {
            return FALSE;
        }
    }
    for (gint i = 0; i < x->n_out; i++) {
        if (!tn_type_equal(&x->out[i], &y->out[i])) {
            return FALSE;
        }
    }
    return x->attrs == NULL || tn_options_equal(&x->op->attrs, x->attrs, y->attrs);
}

static gboolean
may_merge(const TnGraphNode *node)
{
    const TnSourceOps *ops = tn_source_ops();
    if ((node->op->flags & (TN_OP_RANDOM | TN_OP_EFFECT)) || node->op == ops->input ||
        node->op == ops->variable || node->op == &tn_transfer_op) {
        return FALSE;
    }
    return node->op != ops->constant || tn_type_bytes(&node->out[0]) <= MAX_CONSTANT_BYTES;
}

static gboolean
merge_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
           gboolean *done, GError **error)
{
    (void)number;
    (void)error;
    GHashTable *seen = rw->data;
    if (!may_merge(node)) {
        *done = FALSE;
        return TRUE;
    }
    tn_rewrite_copy(rw, node, in, out);
    Seen *added = g_new(Seen, 1);
    *added = (Seen){ tn_graph_node(rw->to, out[0].node), rw->to, out[0].node };
    Seen *first = g_hash_table_lookup(seen, added);
    if (first == NULL) {
        g_hash_table_add(seen, added);
        return TRUE;
    }
    for (gint i = 0; i < node->n_out; i++) {
        out[i].node = first->number; /* the copy is left for dce */
    }
    g_free(added);
    return TRUE;
}

gboolean
tn_pass_cse(TnCompiler *c, GError **error)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(hash_node, equal_nodes, g_free, NULL);
    return tn_rewrite_into(c, NULL, merge_node, seen, error);
}
