/* mixed.c: which nodes `batch_invariant` need not hold for: those all of whose results are made of what an
 * operator such as batch normalisation sums over all samples (TN_OP_MIXES). Such a result hangs on every
 * sample of the batch whatever kernel computes it.
 *
 * What is in doubt counts as not mixed. Whether such an operator does sum over the samples is seen from the
 * graph at one sample more: samples lie along the axes that grow. That is asked once, of the graph as it is
 * behind `infer`; nodes are known again by their paths. */
#include "compile-private.h"

#include <tenon/plugin.h>

/* Inputs of a graph that may grow; every part of them is tried. */
#define MOST_INPUTS 4

/* --- Operators that mix ----------------------------------------------------------------------- */

static gboolean
may_mix(const TnGraphNode *node)
{
    return (node->op->flags & TN_OP_MIXES) && node->n_in > 0 && node->n_out > 1;
}

/* The graph's inputs that have a first axis and no fixed contents; returns how many there are. */
static guint
find_growing(const TnCompiler *c, guint *growing)
{
    guint n = 0;
    for (guint i = 0; i < c->graph->inputs->len; i++) {
        const TnVal val = g_array_index(c->graph->inputs, TnGraphPort, i).val;
        const gboolean known = c->options->values != NULL && c->options->values[i] != NULL;
        if (!known && tn_type_of(c->graph, val)->rank > 0) {
            if (n < MOST_INPUTS) {
                growing[n] = i;
            }
            n++;
        }
    }
    return n;
}

/* The graph with one sample more in those of the inputs growing[] whose bits are set in `which`; NULL: it has
 * no such sizes. (transfer full). */
static TnGraph *
grown_graph(const TnCompiler *c, const guint *growing, guint which)
{
    const guint n = c->graph->inputs->len;
    g_autofree TnType *types = g_new(TnType, n + 1);
    for (guint i = 0; i < n; i++) {
        types[i] = *tn_type_of(c->graph, g_array_index(c->graph->inputs, TnGraphPort, i).val);
    }
    for (guint k = 0; which >> k != 0; k++) {
        types[growing[k]].dims[0] += which >> k & 1;
    }
    TnCompile options = *c->options;
    options.inputs = types;
    TnCompiler grown = { .options = &options, .graph = tn_graph_ref(c->graph) };
    TnGraph *graph = tn_infer_graph(&grown, NULL) ? tn_graph_ref(grown.graph) : NULL;
    tn_compiler_clear(&grown);
    return graph;
}

/* The graph with one sample more. NULL: it has no such sizes, or its inputs need not grow together, so that
 * it is not known whose samples are mixed. (transfer full). */
static TnGraph *
with_one_more(const TnCompiler *c)
{
    guint growing[MOST_INPUTS];
    const guint n = find_growing(c, growing);
    if (n == 0 || n > MOST_INPUTS) {
        return NULL;
    }
    const guint all = (1u << n) - 1;
    for (guint which = 1; which < all; which++) {
        g_autoptr(TnGraph) part = grown_graph(c, growing, which);
        if (part != NULL) {
            return NULL;
        }
    }
    return grown_graph(c, growing, all);
}

void
tn_find_mixers(TnCompiler *c)
{
    gboolean any = FALSE;
    for (guint i = 0; i < c->graph->nodes->len && !any; i++) {
        any = may_mix(tn_graph_node(c->graph, i));
    }
    /* A graph without variables may be a sub-graph, whose inputs' first axes are not those of samples. */
    if (!any || !c->options->batch_invariant || c->graph->variables->len == 0) {
        return;
    }
    g_autoptr(TnGraph) more = with_one_more(c);
    if (more == NULL || more->nodes->len != c->graph->nodes->len) {
        return;
    }
    c->mixed = g_hash_table_new(NULL, NULL);
    for (guint i = 0; i < c->graph->nodes->len; i++) {
        const TnGraphNode *node = tn_graph_node(c->graph, i), *grown = tn_graph_node(more, i);
        if (may_mix(node) &&
            !tn_type_equal(tn_type_of(c->graph, node->in[0]), tn_type_of(more, grown->in[0])) &&
            tn_type_equal(&node->out[1], &grown->out[1])) {
            g_hash_table_add(c->mixed, (gpointer)node->path);
        }
    }
}

/* --- What is made of their results ------------------------------------------------------------ */

/* What a node's results hang on. */
typedef enum { ON_NO_SAMPLE, ON_SOME, ON_ALL, N_STATES } Hangs;

/* Whether each result of a node of n inputs of data is made of its mixed ones, though others, which hang on no
 * sample, may come beside them: in a product, and element by element. Of several inputs the first may be
 * a choice between the others. What stands for a node that was so is so. */
static gboolean
is_made_of_each(const TnCompiler *c, const TnGraphNode *node, guint n, const Hangs *of)
{
    const gboolean product =
        TN_HAS(node->op, precision) && node->op->precision == TN_PRECISION_NARROW;
    return product || g_hash_table_contains(c->mixed, node->path) ||
           ((node->op->flags & TN_OP_ELEMENTWISE) && (n <= 2 || of[node->in[0].node] == ON_ALL));
}

static Hangs
node_hangs(const TnCompiler *c, const TnGraphNode *node, const Hangs *of)
{
    if (tn_is_source(node)) {
        return node->op == tn_source_ops()->input ? ON_SOME : ON_NO_SAMPLE;
    }
    if (may_mix(node) && g_hash_table_contains(c->mixed, node->path)) {
        return ON_ALL;
    }
    guint n[N_STATES] = { 0 };
    for (gint i = 0; i < node->n_in; i++) {
        if (tn_reads_data(node->op, i, node->in[i])) {
            n[of[node->in[i].node]]++;
        }
    }
    if (n[ON_SOME] + n[ON_ALL] == 0) {
        return ON_NO_SAMPLE;
    }
    const gboolean all =
        n[ON_SOME] == 0 && !(node->op->flags & TN_OP_FILLS) &&
        (n[ON_NO_SAMPLE] == 0 || is_made_of_each(c, node, n[ON_NO_SAMPLE] + n[ON_ALL], of));
    return all ? ON_ALL : ON_SOME;
}

gboolean *
tn_mixed_nodes(TnCompiler *c)
{
    const guint n = c->graph->nodes->len;
    gboolean *mixed = g_new0(gboolean, n + 1);
    g_autofree Hangs *of = g_new0(Hangs, n + 1);
    for (guint i = 0; i < n && c->mixed != NULL; i++) {
        const TnGraphNode *node = tn_graph_node(c->graph, i);
        of[i] = node_hangs(c, node, of);
        mixed[i] = of[i] == ON_ALL;
        if (mixed[i]) {
            g_hash_table_add(c->mixed, (gpointer)node->path);
        }
    }
    return mixed;
}

TnCompile
tn_claim_options(const TnCompile *options, const TnClaim *claim)
{
    TnCompile own = *options;
    own.batch_invariant = own.batch_invariant && !claim->mixed;
    return own;
}
