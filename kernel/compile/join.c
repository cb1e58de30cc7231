/* join.c: whether one node is to stand for two: for a node and the one that gives it an input, which nobody
 * else reads and which then is never in memory. A choice like that of a kernel: it goes by what was measured
 * where that says something, and is not made against a table. */
#include <math.h>

#include <tenon/cost.h>

#include "algebra-private.h"
#include "choose.h"

/* A node as the first device that takes it would run it. */
typedef struct {
    gint device; /* -1: none takes it */
    gint32 rank; /* of the kernel */
    TnTypesChoice choice;
} Taken;

static Taken
taken(const TnMatch *m, const TnOp *op, const void *attrs, gint n_in, const TnVal *in, guint others)
{
    const TnCompile *options = m->algebra->options;
    Taken by = { .device = -1, .choice = { INFINITY, FALSE } };
    TnType types[TN_MAX_IN];
    tn_match_types(m, op, n_in, in, types);
    for (guint d = 0; d < options->n_devices && by.device < 0; d++) {
        const TnKernel *kernel = tn_kernel_of_types(options, d, op, attrs, m->node->name, n_in,
                                                    types, others, &by.choice);
        if (kernel != NULL) {
            by.device = (gint)d;
            by.rank = kernel->rank;
        }
    }
    return by;
}

/* The node itself. An element-wise one without a kernel is expanded, and goes with the others around it. */
static Taken
second_taken(const TnMatch *m, gint device)
{
    const TnGraphNode *node = m->node;
    const Taken by = taken(m, node->op, node->attrs, node->n_in, m->in, 0);
    if (by.device < 0 && (node->op->flags & TN_OP_ELEMENTWISE) && tn_op_is_composite(node->op)) {
        return (Taken){ .device = device, .choice = { .us = 0, .usual = TRUE } };
    }
    return by;
}

/* Where not all was measured, the one is taken to be faster, but not than what a table or a higher rank
 * chose. */
static gboolean
pays(const Taken *one, const Taken *first, const Taken *second)
{
    const double two = first->choice.us + second->choice.us;
    return one->choice.us < INFINITY && two < INFINITY
               ? one->choice.us <= two * (1 + TN_COST_MARGIN)
               : first->choice.usual && second->choice.usual && one->rank >= first->rank;
}

gboolean
tn_simplify_joins(const TnSimplify *simplify, const char *name, const void *attrs, gint n_in,
                  const TnVal *in, gint i)
{
    const TnMatch *m = simplify->data;
    const TnOp *op = tn_op_find(name, NULL);
    if (op == NULL || !tn_simplify_sole(simplify, i)) {
        return FALSE;
    }
    const Taken one = taken(m, op, attrs, n_in, in, 1);
    if (one.device < 0) {
        return FALSE;
    }
    const TnGraphNode *from = tn_match_node(m, m->in[i]);
    const Taken first = taken(m, from->op, from->attrs, from->n_in, from->in, 0);
    const Taken second = second_taken(m, one.device);
    return first.device == one.device && second.device == one.device && pays(&one, &first, &second);
}
