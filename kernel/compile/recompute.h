/* recompute.h: what choosing values to compute again (recompute-choose.c), doing so (recompute-copy.c) and
 * trying several ways (recompute.c) share: a graph before fusing beside the plan of what it becomes. */
#pragma once

#include "plan-private.h"

/* Nodes that look alike, by their keys: a choice of kernels is kept for all of them, so that a resumed run makes
 * the same. */
typedef struct {
    const TnKernel *leaner; /* a kernel that works in less than theirs */
    gsize bytes;            /* that it works in */
    double times; /* how much longer it takes than theirs, estimated if it was not measured */
    gboolean taken;
} TnAlike;

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
    /* What takes at most this part of the bytes times positions that a dropped value frees is rather kept
     * for longer than computed again. */
    guint small_part;
    GArray *alike;     /* TnAlike; none if kernels are to stay */
    guint32 *alike_of; /* of graph's nodes: number in alike; TN_NO_VALUE: in none */
} TnRecompute;

/* The value of the plan that holds val in its memory; TN_NO_VALUE: it never reaches memory. */
guint32 tn_recompute_root(const TnRecompute *r, TnVal val);
/* Whether val's node is none that can be computed again, for it is no computation. */
static inline gboolean
tn_recompute_is_given(const TnRecompute *r, TnVal val)
{
    return tn_is_source(tn_graph_node(r->graph, val.node));
}
/* NULL: the node's kernel is to stay. */
static inline TnAlike *
tn_recompute_alike(const TnRecompute *r, guint number)
{
    const guint32 alike = r->alike_of[number];
    return alike != TN_NO_VALUE ? &g_array_index(r->alike, TnAlike, alike) : NULL;
}
/* Fills split, and says which of `alike` are taken, so that no more than `limit` bytes of the arena are alive at
 * once, or as few as can be reached. FALSE: nothing would make them fewer. */
gboolean tn_recompute_choose(TnRecompute *r, guint64 limit);
/* Makes c's graph the one in the plan's order, with what is computed again where it is read first. */
gboolean tn_recompute_copy(TnCompiler *c, const TnRecompute *r, GError **error);
/* What running the node takes, in bytes that could be moved meanwhile. */
double tn_recompute_node_cost(const TnGraph *graph, const TnGraphNode *node);
/* recompute-lean.c: fills alike_of and, with the nodes that have a kernel that works in less, alike. */
void tn_recompute_find_leaner(const TnCompiler *c, TnRecompute *r);
/* Gives c's nodes, which are r's, the leaner kernels that are taken. */
void tn_recompute_take_leaner(TnCompiler *c, const TnRecompute *r);
/* What running c's graph with its kernels takes, likewise. */
double tn_recompute_cost(const TnCompiler *c);
/* Writes the kernels that c's nodes have into the compilation's choices. */
void tn_recompute_note(const TnCompiler *c);
