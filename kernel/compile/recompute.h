/* recompute.h: what choosing values to compute again (recompute-choose.c) and doing so (recompute.c)
 * share: a graph before fusing beside the plan of what it becomes. */
#pragma once

#include "plan-private.h"

typedef struct {
    const TnGraph *graph;  /* before `fuse` */
    const TnClaim *claims; /* of its nodes */
    const TnPlan *plan;    /* of what it becomes */
    const TnVal *trace;    /* as TnCompiler.trace; NULL: the plan is of the same nodes */
    gsize *scratch;        /* bytes that the plan gives each node of graph to work in */
    guint32 *position; /* of graph's nodes: where the plan computes them; of views and sources, from
                             * where on they are there */
    /* Of the plan's values: steps after this position read the value computed again; TN_NO_STEP: none
     * does. */
    guint32 *split;
} TnRecompute;

/* The value of the plan that holds val in its memory; TN_NO_VALUE: it never reaches memory. */
guint32 tn_recompute_root(const TnRecompute *r, TnVal val);
/* Whether val's node is none that can be computed again, for it is no computation. */
static inline gboolean
tn_recompute_is_given(const TnRecompute *r, TnVal val)
{
    return tn_is_source(tn_graph_node(r->graph, val.node));
}
/* Fills split so that no more than `limit` bytes of the arena are alive at once, or as few as can be
 * reached. FALSE: nothing would make them fewer. */
gboolean tn_recompute_choose(TnRecompute *r, guint64 limit);
/* What running the node takes, in bytes that could be moved meanwhile. */
double tn_recompute_node_cost(const TnGraph *graph, const TnGraphNode *node);
/* Gives nodes that need more than `aim` bytes by themselves kernels that work in less (recompute-lean.c).
 * FALSE: none has such a kernel. */
gboolean tn_recompute_lean(TnCompiler *c, guint64 aim);
/* What running c's graph with its kernels takes, likewise. */
double tn_recompute_cost(const TnCompiler *c);
/* Writes the kernels that c's nodes have into the compilation's choices. */
void tn_recompute_note(const TnCompiler *c);
