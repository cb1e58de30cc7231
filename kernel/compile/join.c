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
    TnTypesChoice choice;
} Taken;

static Taken
taken(const TnMatch *m, const TnOp *op, const void *attrs, gint n_in, const TnVal *in, guint others)
{
    const TnCompile *options = m->algebra->options;
    Taken by = { -1, { INFINITY, FALSE } };
    TnType types[TN_MAX_IN];
    tn_match_types(m, op, n_in, in, types);
    for (guint d = 0; d < options->n_devices && by.device < 0; d++) {
        const TnKernel *kernel = tn_kernel_of_types(options, d, op, attrs, m->node->name, n_in,
                                                    types, others, &by.choice);
        by.device = kernel != NULL ? (gint)d : -1;
    }
    return by;
}

/* Where not all was measured, the one is taken to be faster, but not than what a table chose. */
static gboolean
pays(const TnTypesChoice *one, const TnTypesChoice *first, const TnTypesChoice *second)
{
    const double two = first->us + second->us;
    return one->us < INFINITY && two < INFINITY ? one->us <= two * (1 + TN_COST_MARGIN)
                                                : first->usual && second->usual;
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
    /* What rules have only just laid bare has readers that were not counted. */
    const TnGraphNode *from = tn_match_node(m, m->in[i]);
    if (tn_graph_node(m->rw->from, m->node->in[i].node)->op != from->op) {
        return FALSE;
    }
    const Taken one = taken(m, op, attrs, n_in, in, 1);
    if (one.device < 0) {
        return FALSE;
    }
    const Taken first = taken(m, from->op, from->attrs, from->n_in, from->in, 0);
    const Taken second = taken(m, m->node->op, m->node->attrs, m->node->n_in, m->in, 0);
    return first.device == one.device && second.device == one.device &&
           pays(&one.choice, &first.choice, &second.choice);
}
