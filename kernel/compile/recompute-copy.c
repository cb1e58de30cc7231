/* recompute-copy.c: the graph in which values are computed again: their nodes are copied to where the values
 * are read first after they were dropped, and readers from there on read the copies. */
#include "recompute.h"

typedef struct {
    const TnRecompute *r;
    const guint32 *was_again; /* of the old graph's nodes; NULL */
    guint32 readers;          /* numbers of `again` that are taken */
    guint32 *copy; /* of the old graph's nodes: the new one's that computes it again; TN_NO_VALUE */
    GArray *claims; /* TnClaim: of the new graph's nodes */
    GArray *again;  /* guint32: likewise */
} Copier;

static void
note_node(Copier *copier, guint number, TnClaim claim, guint32 again)
{
    g_array_set_size(copier->claims, number + 1);
    g_array_set_size(copier->again, number + 1);
    g_array_index(copier->claims, TnClaim, number) = claim;
    g_array_index(copier->again, guint32, number) = again;
}

static guint32 compute_again(Copier *copier, TnRewriter *rw, guint32 number, guint32 position);

/* val for a reader at position, which may be a copy itself. */
static TnVal
value_for(Copier *copier, TnRewriter *rw, TnVal val, guint32 position, gboolean for_copy)
{
    if (tn_val_is_none(val) || tn_recompute_is_given(copier->r, val)) {
        return tn_rewritten(rw, val);
    }
    const guint32 root = tn_recompute_root(copier->r, val);
    const guint32 split = root != TN_NO_VALUE ? copier->r->split[root] : TN_NO_STEP;
    const gboolean again = root == TN_NO_VALUE ? for_copy : split != TN_NO_STEP && position > split;
    return again ? (TnVal){ compute_again(copier, rw, val.node, position), val.out }
                 : tn_rewritten(rw, val);
}

static guint32
compute_again(Copier *copier, TnRewriter *rw, guint32 number, guint32 position)
{
    const TnGraphNode *node = tn_graph_node(rw->from, number);
    g_autofree TnVal *in = g_new(TnVal, (gsize)node->n_in + 1);
    if (copier->copy[number] != TN_NO_VALUE) {
        return copier->copy[number];
    }
    for (gint i = 0; i < node->n_in; i++) {
        in[i] = value_for(copier, rw, node->in[i], position, TRUE);
    }
    g_autofree char *name = g_strconcat("again.", node->name, NULL);
    copier->copy[number] = tn_graph_add_node(rw->to, node->op, node->attrs, name, node->path,
                                             node->n_in, in, node->n_out, node->out);
    note_node(copier, copier->copy[number], copier->r->claims[number],
              copier->readers + position + 1);
    return copier->copy[number];
}

static gboolean
copy_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
          gboolean *done, GError **error)
{
    (void)in;
    (void)done;
    (void)error;
    Copier *copier = rw->data;
    TnVal use[TN_MAX_IN];
    for (gint i = 0; i < node->n_in; i++) {
        use[i] = value_for(copier, rw, node->in[i], copier->r->position[number], FALSE);
    }
    const TnVal val = tn_rewrite_copy(rw, node, use, out);
    note_node(copier, val.node, copier->r->claims[number],
              copier->was_again != NULL ? copier->was_again[number] : 0);
    return TRUE;
}

static gint
by_position(gconstpointer a, gconstpointer b, gpointer data)
{
    const guint32 i = *(const guint32 *)a, k = *(const guint32 *)b, *position = data;
    return position[i] != position[k] ? (position[i] > position[k]) - (position[i] < position[k])
                                      : (i > k) - (i < k);
}

typedef struct {
    const TnClaim *claims; /* of the old graph's nodes */
    const guint32 *again;
    TnClaim *new_claims;
    guint32 *new_again;
} Keeper;

static gboolean
keep_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
          gboolean *done, GError **error)
{
    (void)done;
    (void)error;
    Keeper *keeper = rw->data;
    const TnVal val = tn_rewrite_copy(rw, node, in, out);
    keeper->new_claims[val.node] = keeper->claims[number];
    keeper->new_again[val.node] = keeper->again[number];
    return TRUE;
}

/* Nodes of which only copies are read any more are left out. */
static gboolean
drop_unread(TnCompiler *c, GError **error)
{
    const guint n = c->graph->nodes->len + 1;
    g_autofree gboolean *keep = g_new0(gboolean, n);
    Keeper keeper = { c->claims, c->again, g_new0(TnClaim, n), g_new0(guint32, n) };
    tn_mark_needed(c->graph, keep);
    TnGraph *graph = tn_rewrite(c->graph, keep, NULL, keep_node, &keeper, error);
    if (graph == NULL) {
        g_free(keeper.new_claims);
        g_free(keeper.new_again);
        return FALSE;
    }
    tn_compiler_set_graph(c, graph);
    c->claims = keeper.new_claims;
    c->again = keeper.new_again;
    return TRUE;
}

gboolean
tn_recompute_copy(TnCompiler *c, const TnRecompute *r, GError **error)
{
    const guint n = c->graph->nodes->len;
    g_autofree guint32 *order = g_new(guint32, n + 1);
    Copier copier = { .r = r,
                      .was_again = c->again,
                      .copy = g_new(guint32, n + 1),
                      .claims = g_array_new(FALSE, TRUE, sizeof(TnClaim)),
                      .again = g_array_new(FALSE, TRUE, sizeof(guint32)) };
    for (guint32 i = 0; i < n; i++) {
        copier.readers = MAX(copier.readers, c->again != NULL ? c->again[i] : 0);
        order[i] = i;
        copier.copy[i] = TN_NO_VALUE;
    }
    g_qsort_with_data(order, (gint)n, sizeof *order, by_position, r->position);
    TnGraph *graph = tn_rewrite(c->graph, NULL, order, copy_node, &copier, error);
    g_free(copier.copy);
    if (graph == NULL) {
        g_array_unref(copier.claims);
        g_array_unref(copier.again);
        return FALSE;
    }
    tn_compiler_set_graph(c, graph);
    c->claims = (TnClaim *)(void *)g_array_free(copier.claims, FALSE);
    c->again = (guint32 *)(void *)g_array_free(copier.again, FALSE);
    return drop_unread(c, error);
}
