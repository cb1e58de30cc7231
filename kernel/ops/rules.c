/* rules.c: how rows' gradient rules are called, and the rules that many rows share. */
#include "ops-private.h"

gboolean
tn_vjp_rules(TnVjp *v, GError **error)
{
    const TnPrimitive *row = (const TnPrimitive *)v->op; /* op is its first member */
    const TnVal g = v->grad_out[0];
    (void)error;
    for (gint i = 0; i < MIN(v->n_in, TN_MAX_RULES); i++) {
        if (v->need[i] && row->rule[i] != NULL && !tn_val_is_none(g)) {
            v->grad_in[i] = row->rule[i](v, g);
        }
    }
    return TRUE;
}

/* Whether input i has the output's shape at every binding, as far as ranks tell. */
static gboolean
never_broadcast(const TnVjp *v, gint i)
{
    gboolean alone = tn_f_rank(v->graph, v->in[i]) == tn_f_rank(v->graph, v->out[0]);
    for (gint k = 0; k < v->n_in; k++) {
        alone = alone && (k == i || tn_f_rank(v->graph, v->in[k]) == 0);
    }
    return alone;
}

gboolean
tn_vjp_elementwise(TnVjp *v, GError **error)
{
    if (!tn_vjp_rules(v, error)) {
        return FALSE;
    }
    for (gint i = 0; i < v->n_in; i++) {
        if (!tn_val_is_none(v->grad_in[i]) && !never_broadcast(v, i)) {
            v->grad_in[i] = tn_f_reduce_to(v->graph, v->grad_in[i], v->in[i]);
        }
    }
    return TRUE;
}

TnVal
tn_rule_pass(TnVjp *v, TnVal g)
{
    (void)v;
    return g;
}

TnVal
tn_rule_reshape(TnVjp *v, TnVal g)
{
    return tn_f_reshape_as(v->graph, g, v->in[0]);
}
