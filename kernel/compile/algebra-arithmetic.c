/* algebra-arithmetic.c: rules of element-wise operators. */
#include "algebra-private.h"

#include <math.h>

static gboolean
is_splat(const TnMatch *m, gint i, double want)
{
    double value;
    return tn_match_splat(m, m->in[i], &value) && value == want;
}

static gboolean
is_float(const TnMatch *m, gint i)
{
    return tn_dtype_in(tn_match_type(m, m->in[i])->dtype, TN_DTYPES_FLOAT);
}

static TnVal
keep_input(const TnMatch *m)
{
    return m->in[0];
}

/* Whether adding input i changes nothing. Of floats only -0 is neutral: -0 + 0 is 0, and 1 / x
 * tells them apart. */
static gboolean
is_neutral(const TnMatch *m, gint i, gboolean subtracted)
{
    double value;
    return tn_match_splat(m, m->in[i], &value) && value == 0 &&
           (!is_float(m, i) || (signbit(value) != 0) != subtracted);
}

/* x + 0, x + -y */
static TnVal
add_rule(const TnMatch *m)
{
    for (gint i = 0; i < 2; i++) {
        const TnVal negated = tn_match_inside(m, m->in[1 - i], "neg");
        if (is_neutral(m, 1 - i, FALSE)) {
            return m->in[i];
        }
        if (!tn_val_is_none(negated)) {
            return tn_match_add(m, "sub", NULL, 2, m->in[i], negated);
        }
    }
    return TN_VAL_NONE;
}

/* x - 0, x - -y */
static TnVal
sub_rule(const TnMatch *m)
{
    const TnVal negated = tn_match_inside(m, m->in[1], "neg");
    if (is_neutral(m, 1, TRUE)) {
        return m->in[0];
    }
    return tn_val_is_none(negated) ? TN_VAL_NONE
                                   : tn_match_add(m, "add", NULL, 2, m->in[0], negated);
}

/* x * 1, x * -1, -x * c */
static TnVal
mul_rule(const TnMatch *m)
{
    for (gint i = 0; i < 2; i++) {
        double c;
        if (!tn_match_splat(m, m->in[1 - i], &c)) {
            continue;
        }
        const TnVal negated = tn_match_inside(m, m->in[i], "neg");
        if (c == 1) {
            return m->in[i];
        }
        if (c == -1) {
            return tn_match_add(m, "neg", NULL, 1, m->in[i], TN_VAL_NONE);
        }
        if (!tn_val_is_none(negated) && is_float(m, i)) {
            return tn_match_add(m, "mul", NULL, 2, negated, tn_match_scalar(m, m->in[i], -c));
        }
    }
    return TN_VAL_NONE;
}

/* x / 1, x / c where 1/c is exact */
static TnVal
div_rule(const TnMatch *m)
{
    double c;
    int exponent;
    if (!tn_match_splat(m, m->in[1], &c)) {
        return TN_VAL_NONE;
    }
    if (c == 1) {
        return m->in[0];
    }
    /* Small exponents only, so that the reciprocal is a normal number of every float type. */
    if (!is_float(m, 1) || c == 0 || fabs(frexp(c, &exponent)) != 0.5 || ABS(exponent) > 12) {
        return TN_VAL_NONE;
    }
    return tn_match_add(m, "mul", NULL, 2, m->in[0], tn_match_scalar(m, m->in[1], 1 / c));
}

static TnVal
pow_rule(const TnMatch *m)
{
    return is_splat(m, 1, 1) ? m->in[0] : TN_VAL_NONE;
}

/* --x, -(a - b) is not b - a where that is zero, so only the pair */
static TnVal
neg_rule(const TnMatch *m)
{
    return tn_match_inside(m, m->in[0], "neg");
}

static TnVal
not_rule(const TnMatch *m)
{
    return tn_match_inside(m, m->in[0], "not");
}

static TnVal
where_rule(const TnMatch *m)
{
    return tn_val_equal(m->in[1], m->in[2]) ? m->in[1] : TN_VAL_NONE;
}

/* --- Cast ------------------------------------------------------------------------------------- */

/* Bits of exact integers that a type holds. */
static guint
exact_bits(const TnDtypeInfo *info)
{
    switch (info->klass) {
    case TN_CLASS_FLOAT:
        return info->id == TN_DTYPE_F64   ? 53
               : info->id == TN_DTYPE_F32 ? 24
               : info->id == TN_DTYPE_F16 ? 11
                                          : 8;
    case TN_CLASS_INT: return info->bits - 1;
    case TN_CLASS_UINT: return info->bits;
    case TN_CLASS_BOOL: return 1;
    }
    return 0;
}

/* Whether every value of `from` is one of `to`. */
static gboolean
is_lossless(TnDtype from, TnDtype to)
{
    const TnDtypeInfo *a = tn_dtype_info(from), *b = tn_dtype_info(to);
    if (a->klass == TN_CLASS_FLOAT) {
        return from == to || to == TN_DTYPE_F64 || (to == TN_DTYPE_F32 && from != TN_DTYPE_F64);
    }
    if (a->klass == TN_CLASS_INT && b->klass != TN_CLASS_INT && b->klass != TN_CLASS_FLOAT) {
        return FALSE;
    }
    return b->klass != TN_CLASS_BOOL ? exact_bits(a) <= exact_bits(b) : a->klass == TN_CLASS_BOOL;
}

/* Whether an integer type's values become others' by way of a float: that saturates, integers
 * wrap. */
static gboolean
saturates(TnDtype from, TnDtype through, TnDtype to)
{
    const TnDtypes integers = TN_DTYPES_INT | TN_DTYPES_UINT;
    return tn_dtype_in(from, integers) && tn_dtype_in(through, TN_DTYPES_FLOAT) &&
           tn_dtype_in(to, integers) && !is_lossless(from, to);
}

/* A cast to the type it has; one through a type that holds every value. */
static TnVal
cast_rule(const TnMatch *m)
{
    const TnVal inside = tn_match_inside(m, m->in[0], "cast");
    const TnDtype have = tn_match_type(m, m->in[0])->dtype, want = m->node->out[0].dtype;
    if (have == want) {
        return m->in[0];
    }
    const TnDtype first = tn_val_is_none(inside) ? have : tn_match_type(m, inside)->dtype;
    if (tn_val_is_none(inside) || !is_lossless(first, have) || saturates(first, have, want)) {
        return TN_VAL_NONE;
    }
    if (first == want) {
        return inside;
    }
    return tn_match_add(m, "cast", m->node->attrs, 1, inside, TN_VAL_NONE);
}

static const TnRule rules[] = {
    { "identity", keep_input }, { "stop_gradient", keep_input },
    { "add", add_rule },        { "sub", sub_rule },
    { "mul", mul_rule },        { "div", div_rule },
    { "pow", pow_rule },        { "neg", neg_rule },
    { "not", not_rule },        { "where", where_rule },
    { "cast", cast_rule },
};
const TnRules tn_arithmetic_rules = { rules, G_N_ELEMENTS(rules) };
