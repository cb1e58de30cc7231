/* algebra.c: the loop over rules that replace a node by something that computes the same with
 * less. Rules keep the bits of every result, but for a sum of one element: what is left out
 * might have made 0 of -0. */
#include "algebra-private.h"

#include <pthread.h>

static const TnRules *const families[] = { &tn_arithmetic_rules, &tn_movement_rules };
static pthread_once_t once = PTHREAD_ONCE_INIT;
static GHashTable *by_op; /* const TnOp * → GPtrArray of const TnRule * */

static void
index_rules(void)
{
    by_op = g_hash_table_new(NULL, NULL);
    for (gsize f = 0; f < G_N_ELEMENTS(families); f++) {
        for (guint i = 0; i < families[f]->n; i++) {
            const TnRule *rule = &families[f]->rules[i];
            const TnOp *op = tn_op_find(rule->op, NULL);
            GPtrArray *list = op != NULL ? g_hash_table_lookup(by_op, op) : NULL;
            if (op != NULL && list == NULL) {
                list = g_ptr_array_new();
                g_hash_table_insert(by_op, (gpointer)op, list);
            }
            if (list != NULL) {
                g_ptr_array_add(list, (gpointer)rule);
            }
        }
    }
}

/* --- What rules are made of ------------------------------------------------------------------- */

TnVal
tn_match_inside(const TnMatch *m, TnVal val, const char *op)
{
    const TnGraphNode *node = tn_match_node(m, val);
    return tn_is_op(node, op) ? node->in[0] : TN_VAL_NONE;
}

TnVal
tn_match_add(const TnMatch *m, const char *op, const void *attrs, gint n_in, TnVal a, TnVal b)
{
    const TnVal in[2] = { a, b };
    return tn_rewrite_add(m->rw, m->node, tn_op_find(op, NULL), attrs, n_in, in);
}

gboolean
tn_match_splat(const TnMatch *m, TnVal val, double *value)
{
    const TnGraphNode *node = tn_match_node(m, val);
    const gboolean ones = tn_is_op(node, "ones_like");
    if (ones || tn_is_op(node, "zeros_like")) {
        *value = ones;
        return TRUE;
    }
    const TnVal inside = tn_match_inside(m, val, "expand_as");
    return tn_constant_splat(m->rw->to, tn_val_is_none(inside) ? val : inside, value);
}

/* --- The pass --------------------------------------------------------------------------------- */

/* Element-wise operators broadcast by themselves: an input need not be expanded for them. */
static gboolean
drop_expansions(TnRewriter *rw, const TnGraphNode *node, const TnVal *in, TnVal *use)
{
    static const char *const names[] = { "expand_as", "expand" };
    gboolean changed = FALSE;
    memcpy(use, in, (gsize)node->n_in * sizeof *in);
    if (!(node->op->flags & TN_OP_ELEMENTWISE) || tn_op_is_composite(node->op) || node->n_in < 2) {
        return FALSE;
    }
    for (gint i = 0; i < node->n_in; i++) {
        for (gsize k = 0; k < G_N_ELEMENTS(names) && !tn_val_is_none(use[i]); k++) {
            const TnGraphNode *from = tn_graph_node(rw->to, use[i].node);
            if (!tn_is_op(from, names[k])) {
                continue;
            }
            const TnVal before = use[i];
            TnType types[TN_MAX_IN], out = { 0 };
            use[i] = from->in[0];
            for (gint j = 0; j < node->n_in; j++) {
                types[j] = *tn_type_of(rw->to, use[j]);
            }
            out.dtype = node->out[0].dtype;
            if (tn_infer_broadcast(node->n_in, types, &out, NULL) &&
                tn_type_equal(&out, &node->out[0])) {
                changed = TRUE;
            } else {
                use[i] = before;
            }
        }
    }
    return changed;
}

static gboolean
algebra_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
             gboolean *done, GError **error)
{
    (void)number;
    (void)error;
    TnVal use[TN_MAX_IN];
    const gboolean dropped = drop_expansions(rw, node, in, use);
    const TnMatch match = { rw, node, use };
    GPtrArray *rules = g_hash_table_lookup(by_op, node->op);
    for (guint i = 0; rules != NULL && i < rules->len; i++) {
        const TnRule *rule = g_ptr_array_index(rules, i);
        const TnVal val = rule->rule(&match);
        if (!tn_val_is_none(val) && tn_type_equal(tn_type_of(rw->to, val), &node->out[0])) {
            out[0] = val;
            return TRUE;
        }
    }
    if (dropped) {
        tn_rewrite_copy(rw, node, use, out);
    }
    *done = dropped;
    return TRUE;
}

gboolean
tn_pass_algebra(TnCompiler *c, GError **error)
{
    pthread_once(&once, index_rules);
    return tn_rewrite_into(c, NULL, algebra_node, NULL, error);
}
