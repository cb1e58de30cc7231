/* recompute-lean.c: kernels that work in less memory. Under a memory limit the fastest kernel may work in
 * more than there is, whatever else is dropped: Winograd's convolutions take ten times their images. Which
 * kernels do with less, the best of them by measured times, else by rank, and how much longer they take is
 * said here; whether that or computing again takes less time is weighed in recompute-choose.c. */
#include "recompute.h"

#include <math.h>

#include <tenon/plugin.h>

#include "choose.h"

/* How much longer a kernel takes than the next better one, where they were not measured: direct
 * convolutions 1.2 to 2.3 times as long as Winograd's, those by columns up to 3 times as long as these. */
#define LEANER_TIMES 2.0
/* A leaner kernel works in at most one part of so many. */
#define CLEARLY_LESS 2
/* Nodes that work in less than one part of the arena of so many are not worth a look. */
#define LEAST_PART 256
#define NOT_MEASURED 1e12 /* microseconds: tn_kernel_time gives more */

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

/* --- Nodes that look alike ---------------------------------------------------------------------- */

/* The best of the kernels that work in clearly less than `bytes`; NULL: none does. */
static const TnKernel *
leaner_kernel(const TnCompile *options, guint d, const TnNode *node, guint64 bytes,
              gsize *leaner_bytes)
{
    const TnKernel *found = NULL;
    double best = INFINITY;
    g_autoptr(GPtrArray) candidates =
        tn_kernel_candidates(tn_device_kind(options->devices[d]), node);
    for (guint k = 0; k < candidates->len; k++) {
        const TnKernel *kernel = g_ptr_array_index(candidates, k);
        const double us = tn_kernel_time(options, d, node, kernel);
        const guint64 its = us < best ? scratch_of(kernel, node) : bytes;
        if (its <= bytes / CLEARLY_LESS) {
            found = kernel;
            best = us;
            *leaner_bytes = (gsize)its;
        }
    }
    return found;
}

/* Of nodes that have this claim and now work in `bytes`. */
static TnAlike
find_alike(const TnCompiler *c, TnClaim claim, const TnNode *node, guint64 bytes)
{
    TnAlike alike = { NULL, 0, 1, FALSE };
    const guint d = (guint)claim.device;
    TnCompile options = *c->options; /* nothing is chosen yet */
    options.chosen = NULL;
    options.choice_sink = NULL;
    alike.leaner = leaner_kernel(&options, d, node, bytes, &alike.bytes);
    if (alike.leaner != NULL) {
        alike.times = times_longer(&options, d, node, alike.leaner) /
                      times_longer(&options, d, node, claim.kernel);
    }
    return alike;
}

void
tn_recompute_find_leaner(const TnCompiler *c, TnRecompute *r)
{
    g_autoptr(GHashTable) numbers =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL); /* 1 and on */
    const guint64 least = r->plan->program->arena_bytes / LEAST_PART;
    /* What fits hangs on the number of samples, and what is taken on what fits. */
    for (guint i = 0; !c->options->batch_invariant && i < c->graph->nodes->len; i++) {
        TnNodeView view;
        if (r->scratch[i] <= least || !view_of(c, i, &view)) {
            continue;
        }
        g_autofree char *key = key_of(c, i, &view.node);
        gsize number = GPOINTER_TO_SIZE(g_hash_table_lookup(numbers, key));
        if (number == 0) {
            const TnAlike alike = find_alike(c, c->claims[i], &view.node, r->scratch[i]);
            g_array_append_val(r->alike, alike);
            number = r->alike->len;
            g_hash_table_insert(numbers, g_steal_pointer(&key), GSIZE_TO_POINTER(number));
        }
        r->alike_of[i] = (guint32)number - 1;
    }
}

void
tn_recompute_take_leaner(TnCompiler *c, const TnRecompute *r)
{
    for (guint i = 0; i < c->graph->nodes->len && r->alike->len > 0; i++) {
        const TnAlike *alike = tn_recompute_alike(r, i);
        if (alike != NULL && alike->taken) {
            c->claims[i].kernel = alike->leaner;
        }
    }
}

double
tn_recompute_cost(const TnCompiler *c)
{
    double cost = 0;
    for (guint i = 0; i < c->graph->nodes->len; i++) {
        const TnGraphNode *node = tn_graph_node(c->graph, i);
        const TnClaim claim = c->claims[i];
        double times = 1;
        if (claim.kernel != NULL && !(node->op->flags & TN_OP_CONTROL)) {
            TnNodeView view;
            TnCompile options = tn_claim_options(c->options, &claim);
            options.chosen = NULL;
            options.choice_sink = NULL;
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
            const TnCompile options = tn_claim_options(c->options, &claim);
            tn_node_view_claimed(&view, c->graph, i, &claim);
            tn_choice_note(&options, (guint)claim.device, &view.node, claim.kernel);
        }
    }
}
