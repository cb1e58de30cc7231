/* algebra-fast.c: rules under `fast_math`: what is the same for real numbers with less to compute, though it is
 * rounded otherwise. What overflows or is no number on the way, as the logarithm of what is negative, does not
 * reach the result. Sums of repeated integers keep their bits, so that rule holds for them always. */
#include "algebra-private.h"

#include <string.h>

static TnVal
unless_strict(const TnMatch *m, TnVal val)
{
    return m->algebra->options->fast_math ? val : TN_VAL_NONE;
}

/* log (exp x) */
static TnVal
log_rule(const TnMatch *m)
{
    return unless_strict(m, tn_match_inside(m, m->in[0], "exp"));
}

/* exp (log x) */
static TnVal
exp_rule(const TnMatch *m)
{
    return unless_strict(m, tn_match_inside(m, m->in[0], "log"));
}

/* (a / b) * b: what the gradient of log (exp x) is, where exp x may be infinite. Not of integers, whose quotients
 * are truncated. */
static TnVal
mul_rule(const TnMatch *m)
{
    const gboolean real = tn_dtype_in(m->node->out[0].dtype, TN_DTYPES_FLOAT);
    for (gint i = 0; i < 2 && real; i++) {
        const TnGraphNode *quotient = tn_match_node(m, m->in[i]);
        if (tn_is_op(quotient, "div") && tn_val_equal(quotient->in[1], m->in[1 - i])) {
            return unless_strict(m, quotient->in[0]);
        }
    }
    return TN_VAL_NONE;
}

/* Whether n times a number of this type may stand for a sum of n. Of types too short for n it may not; integers
 * wrap alike either way. */
static gboolean
counts_in(const TnMatch *m, TnDtype dtype, gint64 n)
{
    const TnDtypeInfo *info = tn_dtype_info(dtype);
    return info->bits >= 32 && n <= G_MAXINT32 &&
           (info->klass != TN_CLASS_FLOAT || m->algebra->options->fast_math);
}

/* A sum over axes along which x is repeated: x times how often, summed over the others. */
static TnVal
sum_rule(const TnMatch *m)
{
    const TnType *type = tn_match_type(m, m->in[0]), *out = &m->node->out[0];
    const TnReduceAttrs *attrs = m->node->attrs;
    const guint32 mask = tn_axes_mask(&attrs->axes, type->rank);
    TnVal x = tn_match_inside(m, m->in[0], "expand");
    x = tn_val_is_none(x) ? tn_match_inside(m, m->in[0], "expand_as") : x;
    if (tn_val_is_none(x) || tn_type_count(type) == 0) {
        return TN_VAL_NONE;
    }
    const TnType *from = tn_match_type(m, x);
    TnType whole = *type, left = *out;
    gint64 times = 1;
    for (gint i = 0, o = 0; i < type->rank; i++) {
        const gint k = i - (type->rank - from->rank);
        const gboolean reduced = mask >> i & 1u;
        whole.dims[i] = k < 0 ? 1 : from->dims[k];
        times *= reduced && whole.dims[i] != type->dims[i] ? type->dims[i] : 1;
        if (!reduced || attrs->keepdims) {
            left.dims[o++] = reduced ? 1 : whole.dims[i];
        }
    }
    if (times == 1 || !counts_in(m, type->dtype, times)) {
        return TN_VAL_NONE;
    }
    x = tn_rewrite_reshape(m->rw, m->node, x, &whole);
    x = tn_match_add(m, "reduce_sum", attrs, 1, x, TN_VAL_NONE);
    x = tn_match_add(m, "mul", NULL, 2, x, tn_match_scalar(m, x, (double)times));
    if (tn_type_equal(&left, out)) {
        return x;
    }
    TnExpandAttrs again = { .shape = { .rank = out->rank } };
    memcpy(again.shape.dims, out->dims, (gsize)out->rank * sizeof *out->dims);
    return tn_match_add(m, "expand", &again, 1, x, TN_VAL_NONE);
}

static const TnRule rules[] = {
    { "log", log_rule },
    { "exp", exp_rule },
    { "mul", mul_rule },
    { "reduce_sum", sum_rule },
};
const TnRules tn_fast_rules = { rules, G_N_ELEMENTS(rules) };
