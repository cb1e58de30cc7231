/* fuse-private.h: what the parts of the pass `fuse` share: fuse-groups.c (which nodes go together),
 * fuse-body.c (a group as a small graph, and the kernel that takes it), fuse.c (the new graph). */
#pragma once

#include "compile-private.h"

#define MAX_OUTPUTS 8
#define MAX_INPUTS 12
#define NO_GROUP G_MAXUINT32

typedef struct {
    GArray *members;  /* guint32: nodes, in order */
    gboolean emitted; /* its node is in the new graph */
    guint32 node;     /* that node */
    guint32 last;     /* highest member */
    gboolean reduces; /* a member is a reduction */
    TnType space;     /* the shape over which it runs */
} TnFuseGroup;

typedef struct {
    TnCompiler *c;
    const TnGraph *graph;
    const TnOp *fused;
    GPtrArray *groups; /* TnFuseGroup *, or NULL once merged into another */
    guint32 *group;    /* of each node, NO_GROUP */
    guint32 *spans;    /* of each node: groups with members both up to it and after it */
    guint32 *seen;     /* of each node: the last walk backwards that came to it */
    guint32 walk;
    GArray **readers; /* of each node: guint32, nodes that read it; G_MAXUINT32: the graph itself */
    gboolean *widens; /* of each node: a cast that is done again in every group that reads it */
    GArray *claims;   /* TnClaim of the new graph's nodes */
    const TnClaim *old_claims;
    const guint32 *again; /* of the old graph's nodes; NULL */
} TnFuse;

/* A group written as inputs, outputs and a graph over them. Values are of the old graph. */
typedef struct {
    TnGraph *body;
    guint n_in, n_out;
    TnVal in[TN_MAX_IN];
    TnVal out[TN_MAX_IN]; /* more than MAX_OUTPUTS: too many */
} TnFuseBody;

static inline TnFuseGroup *
tn_fuse_group(const TnFuse *f, guint32 number)
{
    return g_ptr_array_index(f->groups, number);
}

/* Whether a node is of a kind that groups are made of. */
static inline gboolean
tn_fuse_may_join(const TnGraphNode *node)
{
    return (node->op->flags & (TN_OP_ELEMENTWISE | TN_OP_REDUCTION)) && node->n_out == 1;
}

/* The value that a group needs for one that it reads. */
static inline TnVal
tn_fuse_stored(const TnFuse *f, TnVal val)
{
    return !tn_val_is_none(val) && f->widens[val.node] ? tn_graph_node(f->graph, val.node)->in[0]
                                                       : val;
}

void tn_fuse_group_free(gpointer group);
/* Fills f->groups and f->group; readers and casts that widen are known. */
void tn_fuse_find_groups(TnFuse *f);
/* What a node reads onto a stack of nodes; through casts that widen if it is of a group. */
void tn_fuse_push_inputs(const TnFuse *f, guint32 number, GArray *stack);
/* Whether a node's value is read by others than its group. */
gboolean tn_fuse_is_read_outside(const TnFuse *f, guint32 node, guint32 group);
/* Writes a group as a graph, which is the caller's. */
void tn_fuse_body(const TnFuse *f, guint32 number, TnFuseBody *body);
/* The kernel of the device that takes the body, or NULL. */
const TnKernel *tn_fuse_kernel(const TnFuse *f, const TnFuseBody *body, gint device);
