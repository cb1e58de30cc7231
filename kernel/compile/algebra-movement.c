/* algebra-movement.c: rules of movements and reductions that move or reduce nothing at these
 * sizes. */
#include "algebra-private.h"

/* Whatever gives what it got. */
static gboolean
same_type(const TnMatch *m)
{
    return tn_type_equal(tn_match_type(m, m->in[0]), &m->node->out[0]);
}

static TnVal
same_rule(const TnMatch *m)
{
    return same_type(m) ? m->in[0] : TN_VAL_NONE;
}

static gboolean
same_count(const TnMatch *m)
{
    return tn_type_count(tn_match_type(m, m->in[0])) == tn_type_count(&m->node->out[0]);
}

/* Between shapes of as many elements nothing is repeated or summed: the order of elements stays. */
static TnVal
reshape_if_same_count(const TnMatch *m)
{
    if (same_type(m)) {
        return m->in[0];
    }
    return same_count(m) && tn_match_type(m, m->in[0])->dtype == m->node->out[0].dtype
               ? tn_rewrite_reshape(m->rw, m->node, m->in[0], &m->node->out[0])
               : TN_VAL_NONE;
}

/* A reduction over axes of size 1. Without elements it would still have to fill its output. */
static TnVal
reduce_rule(const TnMatch *m)
{
    const TnType *type = tn_match_type(m, m->in[0]);
    const TnReduceAttrs *attrs = m->node->attrs;
    const guint32 mask = tn_axes_mask(&attrs->axes, type->rank);
    for (gint i = 0; i < type->rank; i++) {
        if ((mask >> i & 1u) && type->dims[i] != 1) {
            return TN_VAL_NONE;
        }
    }
    return reshape_if_same_count(m);
}

/* A reshape of a reshape. */
static TnVal
reshape_rule(const TnMatch *m)
{
    const TnVal inside = tn_match_inside(m, m->in[0], "reshape");
    if (same_type(m)) {
        return m->in[0];
    }
    if (tn_val_is_none(inside)) {
        return TN_VAL_NONE;
    }
    return tn_type_equal(tn_match_type(m, inside), &m->node->out[0])
               ? inside
               : tn_rewrite_reshape(m->rw, m->node, inside, &m->node->out[0]);
}

static gboolean
is_ordered(const TnType *type, const gint *perm)
{
    gint last = -1;
    for (gint i = 0; i < type->rank; i++) {
        if (type->dims[perm[i]] == 1) {
            continue;
        }
        if (perm[i] < last) {
            return FALSE;
        }
        last = perm[i];
    }
    return TRUE;
}

/* A transpose that leaves the order of elements; one of another. */
static TnVal
transpose_rule(const TnMatch *m)
{
    const TnType *type = tn_match_type(m, m->in[0]);
    const TnVal inside = tn_match_inside(m, m->in[0], "transpose");
    gint perm[TN_MAX_RANK], first[TN_MAX_RANK];
    tn_transpose_resolve(m->node->attrs, type->rank, perm);
    if (is_ordered(type, perm)) {
        return reshape_if_same_count(m);
    }
    if (tn_val_is_none(inside)) {
        return TN_VAL_NONE;
    }
    TnTransposeAttrs attrs = { .perm = { .n = type->rank } };
    tn_transpose_resolve(tn_match_node(m, m->in[0])->attrs, type->rank, first);
    for (gint i = 0; i < type->rank; i++) {
        attrs.perm.v[i] = first[perm[i]];
    }
    gint both[TN_MAX_RANK];
    tn_transpose_resolve(&attrs, type->rank, both);
    if (is_ordered(tn_match_type(m, inside), both)) {
        return tn_type_equal(tn_match_type(m, inside), &m->node->out[0])
                   ? inside
                   : tn_rewrite_reshape(m->rw, m->node, inside, &m->node->out[0]);
    }
    return tn_match_add(m, "transpose", &attrs, 1, inside, TN_VAL_NONE);
}

/* A slice that takes all, in order. */
static TnVal
slice_rule(const TnMatch *m)
{
    const TnType *type = tn_match_type(m, m->in[0]);
    gint64 start[TN_MAX_RANK], step[TN_MAX_RANK], count[TN_MAX_RANK];
    tn_slice_resolve(m->node->attrs, type, start, step, count);
    for (gint i = 0; i < type->rank; i++) {
        if (count[i] != type->dims[i] || (count[i] > 1 && step[i] != 1)) {
            return TN_VAL_NONE;
        }
    }
    return m->in[0];
}

static TnVal
pad_rule(const TnMatch *m)
{
    gint64 begin[TN_MAX_RANK], end[TN_MAX_RANK];
    const gint rank = tn_match_type(m, m->in[0])->rank;
    tn_pad_resolve(m->node->attrs, rank, begin, end);
    for (gint i = 0; i < rank; i++) {
        if (begin[i] != 0 || end[i] != 0) {
            return TN_VAL_NONE;
        }
    }
    return m->in[0];
}

static TnVal
concat_rule(const TnMatch *m)
{
    return m->node->n_in == 1 ? m->in[0] : TN_VAL_NONE;
}

static const TnRule rules[] = {
    { "expand_as", reshape_if_same_count },
    { "expand", reshape_if_same_count },
    { "reduce_to", reshape_if_same_count },
    { "reduce_sum", reduce_rule },
    { "reduce_prod", reduce_rule },
    { "reduce_max", reduce_rule },
    { "reduce_min", reduce_rule },
    { "reshape", reshape_rule },
    { "transpose", transpose_rule },
    { "slice", slice_rule },
    { "pad", pad_rule },
    { "concat", concat_rule },
    { "concat_part", same_rule },
};
const TnRules tn_movement_rules = { rules, G_N_ELEMENTS(rules) };
