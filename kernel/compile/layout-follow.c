/* layout-follow.c: nodes without a window that take an input as it is laid already: element-wise ones, sums
 * over samples, reductions over places. */
#include "layout.h"

#include <string.h>

#include <tenon/plugin.h>

/* An input of an element-wise node: split where it has the axis, else with one axis more, so that it
 * broadcasts as before. */
static TnVal
element_input(TnLaying *l, TnRewriter *rw, const TnGraphNode *node, TnVal x, TnSplit way)
{
    TnType type = *tn_type_of(rw->to, x);
    const gint missing = TN_IMAGE_RANK - type.rank;
    if (missing > tn_splits[way].axis || type.dims[tn_splits[way].axis - missing] == 1) {
        return type.rank == 0 ? x : tn_longer(rw, node, x);
    }
    if (missing > 0) {
        memmove(type.dims + missing, type.dims, (gsize)type.rank * sizeof *type.dims);
        for (gint i = 0; i < missing; i++) {
            type.dims[i] = 1;
        }
        type.rank = TN_IMAGE_RANK;
        x = tn_rewrite_reshape(rw, node, x, &type);
    }
    return tn_to_laid(l, rw, node, x, way);
}

gboolean
tn_lay_elements(TnLaying *l, TnRewriter *rw, const TnGraphNode *node, const TnVal *in, TnSplit way,
                TnVal *out)
{
    if (!(node->op->flags & TN_OP_ELEMENTWISE) || node->n_out != 1 || way == TN_NOT_LAID ||
        !tn_is_images(&node->out[0], way)) {
        return FALSE;
    }
    TnVal laid[TN_MAX_IN];
    for (gint i = 0; i < node->n_in; i++) {
        laid[i] = tn_val_is_none(in[i]) ? in[i] : element_input(l, rw, node, in[i], way);
    }
    const TnVal val = tn_rewrite_add(rw, node, node->op, node->attrs, node->n_in, laid);
    if (tn_val_is_none(val)) {
        return FALSE;
    }
    out[0] = tn_from_laid(l, rw, node, val, &node->out[0], way);
    return TRUE;
}

/* A sum over the samples, and maybe more, to the shape of what broadcasts with the images. */
gboolean
tn_lay_sum(TnLaying *l, TnRewriter *rw, const TnGraphNode *node, const TnVal *in, TnVal *out)
{
    const TnType *to = &node->out[0];
    if (node->op != tn_op_find("reduce_to", NULL) ||
        tn_laid_find(l->made[TN_SPLIT_SAMPLES], in[0]) == NULL ||
        (to->rank == TN_IMAGE_RANK && to->dims[0] != 1)) {
        return FALSE;
    }
    const TnType like = tn_longer_type(to);
    const TnVal laid[] = { tn_to_laid(l, rw, node, in[0], TN_SPLIT_SAMPLES),
                           tn_only_type(rw, node, &like) };
    const TnVal val = tn_rewrite_add(rw, node, node->op, node->attrs, 2, laid);
    if (tn_val_is_none(val)) {
        return FALSE;
    }
    out[0] = tn_rewrite_reshape(rw, node, val, to);
    return TRUE;
}

/* A reduction over all places of each channel: blocks and their channels are left in order. Sums of blocks are
 * made in another order than those of images; whether there are blocks may hang on the number of samples. */
gboolean
tn_lay_places(TnLaying *l, TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in,
              TnVal *out)
{
    static const char *const names[] = { "reduce_sum", "reduce_max" };
    gboolean is = FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        is = is || node->op == tn_op_find(names[i], NULL);
    }
    const TnSplit way = tn_way_of_inputs(l, node, in);
    const gboolean invariant = l->options->batch_invariant && !l->claims[number].mixed;
    is = is && !(invariant && node->op == tn_op_find("reduce_sum", NULL));
    if (!is || way == TN_NOT_LAID || way == TN_SPLIT_SAMPLES) {
        return FALSE;
    }
    const TnReduceAttrs *attrs = node->attrs;
    guint32 axes = 0;
    for (gint i = 0; i < attrs->axes.n; i++) {
        axes |= 1u << (attrs->axes.v[i] < 0 ? attrs->axes.v[i] + TN_IMAGE_RANK : attrs->axes.v[i]);
    }
    const TnReduceAttrs places = { .axes = { .n = 2, .v = { 2, 3 } }, .keepdims = TRUE };
    const TnVal laid = tn_to_laid(l, rw, node, in[0], way);
    if (axes != (1u << 2 | 1u << 3)) {
        return FALSE;
    }
    const TnVal val = tn_rewrite_add(rw, node, node->op, &places, 1, &laid);
    out[0] = tn_rewrite_reshape(rw, node, val, &node->out[0]);
    return TRUE;
}
