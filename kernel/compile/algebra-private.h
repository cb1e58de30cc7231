/* algebra-private.h: how rules are written. A rule belongs to one operator; it looks at a node
 * whose inputs are simplified already and gives a value that may stand for output 0, or
 * TN_VAL_NONE. Values of another type are not taken, so a rule need not check that its result
 * has the node's. */
#pragma once

#include "compile-private.h"

typedef struct {
    const TnCompile *options;
    const guint *readers; /* of each value of the graph that is rewritten */
    TnFixed fixed;        /* of the one that is made */
    gboolean joins;       /* rules that make one node of two are asked, not those that simplify */
    gboolean joined;      /* one was taken: what it stands for is dead */
} TnAlgebra;

typedef struct {
    TnRewriter *rw;
    guint number; /* the node's, in rw->from */
    const TnGraphNode *node;
    const TnVal *in; /* in rw->to */
    TnAlgebra *algebra;
} TnMatch;

typedef struct {
    const char *op;
    TnVal (*rule)(const TnMatch *m);
} TnRule;

typedef struct {
    const TnRule *rules;
    guint n;
} TnRules;

extern const TnRules tn_arithmetic_rules, tn_movement_rules, tn_fast_rules;

static inline const TnGraphNode *
tn_match_node(const TnMatch *m, TnVal val)
{
    return tn_graph_node(m->rw->to, val.node);
}
static inline const TnType *
tn_match_type(const TnMatch *m, TnVal val)
{
    return tn_type_of(m->rw->to, val);
}
/* The types of values as inputs of op, as the pass `precision` will have them; of an absent one dtype
 * TN_DTYPE_NONE. */
void tn_match_types(const TnMatch *m, const TnOp *op, gint n_in, const TnVal *in, TnType *types);
/* Whether a node is of the named operator: looked up only if the first letters agree. */
static inline gboolean
tn_is_op(const TnGraphNode *node, const char *op)
{
    return node->op->name[0] == op[0] && node->op == tn_op_find(op, NULL);
}
/* The input of val's node if that is of the named operator; TN_VAL_NONE. */
TnVal tn_match_inside(const TnMatch *m, TnVal val, const char *op);
/* A new node of the named operator. */
TnVal tn_match_add(const TnMatch *m, const char *op, const void *attrs, gint n_in, TnVal a,
                   TnVal b);
/* A constant of rank 0 of like's dtype. */
TnVal tn_match_scalar(const TnMatch *m, TnVal like, double value);
/* Whether every element of val is the same known number. */
gboolean tn_match_splat(const TnMatch *m, TnVal val, double *value);
