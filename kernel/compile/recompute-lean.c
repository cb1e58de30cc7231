/* recompute-lean.c: kernels that work in less memory. Under a memory limit the fastest kernel may work in
 * more than there is, whatever else is dropped: Winograd's convolutions take ten times their images. Where
 * a node's inputs, results and scratch alone are beyond an aim, the best kernel is taken with which they
 * are not: by measured times, else by rank. How much longer that takes is estimated, since computing again
 * may take less. */
#include "recompute.h"

#include <math.h>

#include <tenon/plugin.h>

#include "choose.h"

/* How much longer a kernel takes than the next better one, where they were not measured: direct
 * convolutions 1.5 to 1.7 times as long as Winograd's, those by columns up to 3 times as long as these. */
#define LEANER_TIMES 1.6
#define NOT_MEASURED 1e12 /* microseconds: tn_kernel_time gives more */

/* What is in the arena while the node runs, without scratch. */
static guint64
own_bytes(const TnGraph *graph, const TnGraphNode *node)
{
    guint64 bytes = 0;
    for (gint i = 0; i < node->n_in; i++) {
        if (tn_reads_data(node->op, i, node->in[i]) &&
            !tn_is_source(tn_graph_node(graph, node->in[i].node))) {
            bytes += tn_align((gsize)tn_type_bytes(tn_type_of(graph, node->in[i])));
        }
    }
    for (gint i = 0; i < node->n_out; i++) {
        bytes += tn_align((gsize)tn_type_bytes(&node->out[i]));
    }
    return bytes;
}

/* G_MAXUINT64: it cannot be prepared. */
static guint64
scratch_of(const TnKernel *kernel, const TnNode *node)
{
    TnPrepared prepared = { .size = sizeof prepared };
    if (kernel->prepare != NULL && !kernel->prepare(node, &prepared, NULL)) {
        return G_MAXUINT64;
    }
    if (kernel->release != NULL) {
        kernel->release(prepared.state);
    }
    return tn_align(prepared.scratch);
}

/* The best of the kernels that work in at most `room` bytes, else the one that works in least. */
static const TnKernel *
lean_kernel(const TnCompile *options, guint d, const TnNode *node, const GPtrArray *candidates,
            const TnKernel *now, guint64 room)
{
    const TnKernel *found = now;
    guint64 least = scratch_of(now, node);
    double best = INFINITY;
    for (guint i = 0; i < candidates->len && least > room; i++) {
        const TnKernel *kernel = g_ptr_array_index(candidates, i);
        const guint64 bytes = scratch_of(kernel, node);
        if (bytes < least) {
            found = kernel;
            least = bytes;
        }
    }
    for (guint i = 0; i < candidates->len && found != now; i++) {
        const TnKernel *kernel = g_ptr_array_index(candidates, i);
        const double us = tn_kernel_time(options, d, node, kernel);
        if (us < best && scratch_of(kernel, node) <= room) {
            found = kernel;
            best = us;
        }
    }
    return found;
}

/* The node as kernels are asked about it; FALSE: it has no kernel that could be another. */
static gboolean
view_of(const TnCompiler *c, guint i, TnNodeView *view)
{
    const TnClaim claim = c->claims[i];
    if (claim.kernel == NULL || (tn_graph_node(c->graph, i)->op->flags & TN_OP_CONTROL)) {
        return FALSE;
    }
    tn_node_view_claimed(view, c->graph, i, &claim);
    return TRUE;
}

static char *
key_of(const TnCompiler *c, guint i, const TnNode *node)
{
    return tn_node_key(tn_device_kind(c->options->devices[c->claims[i].device]), node);
}

/* Of nodes that look alike, by their keys, the most that one of them has in the arena: a choice is kept for all
 * of them, so that a resumed run makes the same. (transfer full). */
static GHashTable *
most_bytes(const TnCompiler *c)
{
    GHashTable *most = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    for (guint i = 0; i < c->graph->nodes->len; i++) {
        TnNodeView view;
        if (view_of(c, i, &view)) {
            g_autofree char *key = key_of(c, i, &view.node);
            const guint64 bytes = own_bytes(c->graph, tn_graph_node(c->graph, i));
            const guint64 *before = g_hash_table_lookup(most, key);
            if (before == NULL || *before < bytes) {
                g_hash_table_replace(most, g_steal_pointer(&key), g_memdup2(&bytes, sizeof bytes));
            }
        }
    }
    return most;
}

gboolean
tn_recompute_lean(TnCompiler *c, guint64 aim)
{
    g_autoptr(GHashTable) most = most_bytes(c);
    gboolean any = FALSE;
    /* What fits hangs on the number of samples, and what is taken on what fits. */
    for (guint i = 0; !c->options->batch_invariant && i < c->graph->nodes->len; i++) {
        const TnClaim claim = c->claims[i];
        TnNodeView view;
        if (!view_of(c, i, &view)) {
            continue;
        }
        g_autofree char *key = key_of(c, i, &view.node);
        const guint64 own = *(const guint64 *)g_hash_table_lookup(most, key);
        g_autoptr(GPtrArray) candidates =
            tn_kernel_candidates(tn_device_kind(c->options->devices[claim.device]), &view.node);
        if (candidates->len < 2) {
            continue;
        }
        c->claims[i].kernel = lean_kernel(c->options, (guint)claim.device, &view.node, candidates,
                                          claim.kernel, aim > own ? aim - own : 0);
        any = any || c->claims[i].kernel != claim.kernel;
    }
    return any;
}

/* How much longer the node's kernel takes than the best. */
static double
times_longer(const TnCompile *options, guint d, const TnNode *node, const TnKernel *kernel)
{
    const TnKernel *best = tn_choose_anew(options, d, node);
    if (best == NULL || best == kernel) {
        return 1;
    }
    const double before = tn_kernel_time(options, d, node, best),
                 after = tn_kernel_time(options, d, node, kernel);
    if (before < NOT_MEASURED && after < NOT_MEASURED) {
        return after / before;
    }
    g_autoptr(GPtrArray) candidates =
        tn_kernel_candidates(tn_device_kind(options->devices[d]), node);
    double times = 1;
    for (guint i = 0; i < candidates->len; i++) {
        const TnKernel *better = g_ptr_array_index(candidates, i);
        times *= better->rank > kernel->rank && better->rank <= best->rank ? LEANER_TIMES : 1;
    }
    return times;
}

double
tn_recompute_cost(const TnCompiler *c)
{
    TnCompile options = *c->options;
    double cost = 0;
    options.chosen = NULL;
    options.choice_sink = NULL;
    for (guint i = 0; i < c->graph->nodes->len; i++) {
        const TnGraphNode *node = tn_graph_node(c->graph, i);
        const TnClaim claim = c->claims[i];
        double times = 1;
        if (claim.kernel != NULL && !(node->op->flags & TN_OP_CONTROL)) {
            TnNodeView view;
            tn_node_view_claimed(&view, c->graph, i, &claim);
            view.node.batch_invariant = options.batch_invariant;
            times = times_longer(&options, (guint)claim.device, &view.node, claim.kernel);
        }
        cost += tn_recompute_node_cost(c->graph, node) * times;
    }
    return cost;
}

void
tn_recompute_note(const TnCompiler *c)
{
    for (guint i = 0; i < c->graph->nodes->len; i++) {
        const TnClaim claim = c->claims[i];
        if (claim.kernel != NULL) {
            TnNodeView view;
            tn_node_view_claimed(&view, c->graph, i, &claim);
            tn_choice_note(c->options, (guint)claim.device, &view.node, claim.kernel);
        }
    }
}
