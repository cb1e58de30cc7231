/* pool_rules.c: rules of algebra for the largest of each window: rectified once instead of each element,
 * and of narrow numbers as they are stored. */
#include "pool.h"

/* What a rectifier's result was made of: max (x, c) of a number c. */
static gboolean
rectified(const TnSimplify *s, TnVal val, TnVal *x, double *c)
{
    const TnVal *relu = tn_simplify_inputs(s, val, "relu");
    const TnVal *max = tn_simplify_inputs(s, val, "max");
    *c = 0;
    if (relu != NULL) {
        *x = relu[0];
        return TRUE;
    }
    for (gint i = 0; max != NULL && i < 2; i++) {
        *x = max[i];
        if (tn_simplify_splat(s, max[1 - i], c)) {
            return tn_type_equal(tn_graph_type(s->graph, *x), tn_graph_type(s->graph, val));
        }
    }
    return FALSE;
}

/* Whether each window holds an element: else its maximum is -inf. */
static gboolean
sees_something(const TnPoolAttrs *attrs)
{
    const TnInts *pads = &attrs->window.pads;
    const gint n = attrs->window.kernel_shape.n;
    for (gint i = 0; i < pads->n; i++) {
        if (pads->v[i] > 0 && (pads->v[i] >= attrs->window.kernel_shape.v[i % n] ||
                               tn_window_axis(&attrs->window, i % n).dilation > 1)) {
            return FALSE;
        }
    }
    return !attrs->ceil_mode;
}

/* The largest of narrow numbers is the largest of what they were widened to, where a device takes them
 * as they are stored. */
static TnVal
max_pool_of_narrow(TnSimplify *s)
{
    const TnVal *cast = tn_simplify_inputs(s, s->in[0], "cast");
    if (cast == NULL || !tn_simplify_sole(s, 0)) {
        return TN_VAL_NONE;
    }
    const TnVal x = cast[0];
    const TnDtype wide = s->type->dtype, narrow = tn_graph_type(s->graph, x)->dtype;
    if (wide != TN_DTYPE_F32 || (narrow != TN_DTYPE_BF16 && narrow != TN_DTYPE_F16) ||
        !tn_simplify_has_kernel(s, "max_pool", s->attrs, 1, &x)) {
        return TN_VAL_NONE;
    }
    const TnVal best = tn_simplify_add(s, "max_pool", s->attrs, 1, &x);
    return tn_simplify_add(s, "cast", &(const TnCastAttrs){ wide }, 1, &best);
}

/* max (max_pool (x), c), as rectified says of val: max (x, c). */
static TnVal
rectified_max_pool(TnSimplify *s, const TnPoolAttrs *attrs, TnVal val, TnVal x)
{
    const TnVal *max = tn_simplify_inputs(s, val, "max");
    const TnVal number = max == NULL ? TN_VAL_NONE : tn_val_equal(max[0], x) ? max[1] : max[0];
    if (max != NULL && tn_graph_type(s->graph, number)->rank > 0) {
        return TN_VAL_NONE;
    }
    const TnVal in[] = { tn_simplify_add(s, "max_pool", attrs, 1, &x), number };
    return tn_simplify_add(s, max != NULL ? "max" : "relu", NULL, max != NULL ? 2 : 1, in);
}

/* max_pool (max (x, c)) is max (max_pool (x), c), of fewer elements. */
TnVal
nn_max_pool_simplify(TnSimplify *s)
{
    TnVal x;
    double c;
    if (s->of < 0 && !rectified(s, s->in[0], &x, &c)) {
        return max_pool_of_narrow(s);
    }
    if (s->of >= 0 || !rectified(s, s->in[0], &x, &c) || !sees_something(s->attrs)) {
        return TN_VAL_NONE;
    }
    return rectified_max_pool(s, s->attrs, s->in[0], x);
}

/* where (x > c, max_pool_grad (max (x, c), g), 0), or with max (x, c) > c: a window whose maximum is not
 * above c gives nothing, the others' maxima are x's. So it is max_pool_grad (x, where (y > c, g, 0)) with
 * y = max (max_pool (x), c), which the forward pass keeps: the rectified images are not needed, and the
 * choice is among fewer elements. */
TnVal
nn_max_pool_grad_simplify(TnSimplify *s)
{
    double c, other, zero;
    TnVal x;
    if (s->of != 1 || strcmp(s->op->name, "where") != 0 || !tn_simplify_splat(s, s->in[2], &zero) ||
        zero != 0 || tn_graph_type(s->graph, s->in[2])->rank > 0) {
        return TN_VAL_NONE;
    }
    const TnVal *grad = tn_simplify_inputs(s, s->in[1], "max_pool_grad");
    const TnVal *above = tn_simplify_inputs(s, s->in[0], "greater");
    const TnPoolAttrs *attrs = tn_graph_node_attrs(s->graph, s->in[1].node);
    if (above == NULL || !rectified(s, grad[0], &x, &c) ||
        !(tn_val_equal(above[0], x) || tn_val_equal(above[0], grad[0])) ||
        !tn_simplify_splat(s, above[1], &other) || other != c ||
        tn_graph_type(s->graph, above[1])->rank > 0 || !sees_something(attrs)) {
        return TN_VAL_NONE;
    }
    const TnVal g = grad[1], number = above[1];
    const TnVal best[] = { rectified_max_pool(s, attrs, grad[0], x), number };
    if (tn_val_is_none(best[0])) {
        return TN_VAL_NONE;
    }
    const TnVal some[] = { tn_simplify_add(s, "greater", NULL, 2, best), g, s->in[2] };
    const TnVal in[] = { x, tn_simplify_add(s, "where", NULL, 3, some) };
    return tn_simplify_add(s, "max_pool_grad", attrs, 2, in);
}
