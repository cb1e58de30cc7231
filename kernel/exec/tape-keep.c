/* tape-keep.c: what a tape forgets: its graph and tensors are copied but for values that nobody asks for. */
#include "tape-private.h"

#include <tenon/base.h>
#include <tenon/tape.h>

/* Whether each node is one of val[n] or something that they were computed from. (transfer full). */
static gboolean *
find_origins(const TnGraph *graph, guint n, const TnVal *val)
{
    gboolean *keep = g_new0(gboolean, graph->nodes->len + 1);
    for (guint i = 0; i < n; i++) {
        if (!tn_val_is_none(val[i])) {
            keep[val[i].node] = TRUE;
        }
    }
    for (guint at = graph->nodes->len; at-- > 0;) {
        const TnGraphNode *node = tn_graph_node(graph, at);
        for (gint i = 0; keep[at] && i < node->n_in; i++) {
            if (!tn_val_is_none(node->in[i])) {
                keep[node->in[i].node] = TRUE;
            }
        }
    }
    return keep;
}

/* Adds a node of the former graph to the tape's; now: numbers of those before it. Inputs get new names, since the
 * numbers in theirs would grow for good. Returns its number. */
static guint32
move_node(TnTape *tape, const TnGraphNode *node, const TnOp *input, const guint32 *now)
{
    TnVal in[TN_MAX_IN];
    if (node->op == input) {
        return tn_tape_add_input(tape, &node->out[0]).node;
    }
    for (gint i = 0; i < node->n_in; i++) {
        in[i] = tn_val_is_none(node->in[i]) ? TN_VAL_NONE
                                            : (TnVal){ now[node->in[i].node], node->in[i].out };
    }
    return tn_graph_add_node(tape->graph, node->op, node->attrs, node->name, node->path, node->n_in,
                             in, node->n_out, node->out);
}

/* The tensors of one node's outputs, from among from[n]; is G_MAXUINT32: they go. */
static void
move_tensors(TnTape *tape, gpointer *from, gsize n, guint32 was, guint32 is)
{
    for (guint k = 0; k < TN_MAX_OUT && was * TN_MAX_OUT + k < n; k++) {
        TnTensor *tensor = from[was * TN_MAX_OUT + k];
        if (tensor != NULL && is != G_MAXUINT32) {
            tn_tape_set_tensor(tape, (TnVal){ is, k }, tensor);
        } else if (tensor != NULL) {
            tn_tensor_unref(tensor);
        }
    }
}

/* Random streams follow names: no node to come gets that of a node which is gone. */
static void
move_counts(const TnTape *tape, const TnGraph *from)
{
    GHashTableIter iter;
    gpointer name;
    g_hash_table_iter_init(&iter, tape->drawing);
    while (g_hash_table_iter_next(&iter, &name, NULL)) {
        gpointer last = g_hash_table_lookup(from->names, name);
        if (last != NULL) {
            g_hash_table_insert(tape->graph->names, name, last);
        }
    }
}

guint32 *
tn_tape_keep(TnTape *tape, guint n, const TnVal *val)
{
    g_autoptr(TnGraph) from = tn_graph_ref(tape->graph);
    gsize n_tensors;
    g_autofree gpointer *tensors = g_ptr_array_steal(tape->tensors, &n_tensors);
    g_autofree gboolean *keep = find_origins(from, n, val);
    const TnOp *input = tn_op_find("input", NULL);
    guint32 *now = g_new(guint32, from->nodes->len + 1);
    tn_tape_clear(tape);
    for (guint i = 0; i < from->nodes->len; i++) {
        now[i] = keep[i] ? move_node(tape, tn_graph_node(from, i), input, now) : G_MAXUINT32;
        move_tensors(tape, tensors, n_tensors, i, now[i]);
    }
    move_counts(tape, from);
    return now;
}
