/* conv_blocked_follow.c: what follows a convolution in blocks, or by Winograd's algorithm, becomes part of it. */
#include "nn.h"

/* A cast of the result: to f32, of which what follows is computed, or back. */
static gboolean
take_cast(const TnSimplify *s, TnConvBlockedAttrs *attrs, TnDtype narrow, TnDtype from)
{
    const gboolean widens = s->type->dtype == TN_DTYPE_F32 && from == narrow;
    const gboolean narrows = s->type->dtype == narrow && from == TN_DTYPE_F32;
    attrs->wide = widens;
    return narrow != TN_DTYPE_F32 && (widens || narrows);
}

/* A convolution whose f32 nobody else reads, as one that gives x's type; else TN_VAL_NONE. */
static TnVal
stored_narrow(TnSimplify *s, gint i, TnDtype narrow)
{
    const TnVal *in;
    if (tn_simplify_inputs(s, s->in[i], "conv_blocked") == NULL || !tn_simplify_sole(s, i)) {
        return TN_VAL_NONE;
    }
    const gint n_in = tn_graph_node_inputs(s->graph, s->in[i].node, &in);
    TnConvBlockedAttrs attrs =
        *(const TnConvBlockedAttrs *)tn_graph_node_attrs(s->graph, s->in[i].node);
    TnVal all[TN_MAX_IN];
    memcpy(all, in, (gsize)n_in * sizeof *all);
    attrs.wide = FALSE;
    return tn_graph_type(s->graph, in[0])->dtype == narrow
               ? tn_simplify_add(s, "conv_blocked", &attrs, n_in, all)
               : TN_VAL_NONE;
}

/* What is added, as numbers of x's type: as it is, as what it was widened from, or as another convolution
 * gives it. */
static TnVal
added(TnSimplify *s, gint i, TnDtype narrow)
{
    const TnVal *stored = tn_simplify_inputs(s, s->in[i], "cast");
    TnVal more = s->in[i];
    TnType type = *s->type;
    type.dtype = narrow;
    if (narrow != tn_graph_type(s->graph, more)->dtype) {
        more = stored != NULL ? stored[0] : stored_narrow(s, i, narrow);
    }
    return !tn_val_is_none(more) && tn_type_equal(tn_graph_type(s->graph, more), &type)
               ? more
               : TN_VAL_NONE;
}

/* A number for each channel, as a vector; else TN_VAL_NONE. Of what hangs on variables alone: what each image
 * adds of its own has this shape, too, where there is one image. */
static TnVal
added_bias(TnSimplify *s, TnVal other, TnDtype narrow)
{
    const TnType *type = tn_graph_type(s->graph, other), *out = s->type;
    const TnReshapeAttrs vector = { .shape = NN_SHAPE(out->dims[1] * out->dims[4]) };
    return tn_simplify_fixed(s, other) && type->dtype == narrow && type->rank == 5 &&
                   type->dims[0] == 1 && type->dims[1] == out->dims[1] && type->dims[2] == 1 &&
                   type->dims[3] == 1 && type->dims[4] == out->dims[4]
               ? tn_simplify_add(s, "reshape", &vector, 1, &other)
               : TN_VAL_NONE;
}

/* A bias, a sum with an image, max (., 0), or another dtype, of a result that nobody else reads is the operator's
 * own; then what is between is not rounded. */
TnVal
nn_conv_blocked_follow(TnSimplify *s)
{
    double zero;
    const TnVal val = s->in[s->of];
    const TnVal *in;
    const gint n_in = tn_graph_node_inputs(s->graph, val.node, &in);
    const TnDtype narrow = tn_graph_type(s->graph, in[0])->dtype;
    TnConvBlockedAttrs attrs = *(const TnConvBlockedAttrs *)tn_graph_node_attrs(s->graph, val.node);
    TnVal with[] = { in[0], in[1], n_in > 2 ? in[2] : TN_VAL_NONE, n_in > 3 ? in[3] : TN_VAL_NONE };
    if (!tn_simplify_sole(s, s->of)) {
        return TN_VAL_NONE;
    }
    if (strcmp(s->op->name, "cast") == 0) {
        if (!take_cast(s, &attrs, narrow, tn_graph_type(s->graph, val)->dtype)) {
            return TN_VAL_NONE;
        }
    } else if (s->n_in != 2 || attrs.relu) {
        return TN_VAL_NONE;
    } else if (strcmp(s->op->name, "add") == 0 && tn_val_is_none(with[3])) {
        /* Of a single image of a single place a bias has the shape of what a residual adds: as a bias it leaves
         * room for that, as with any other number of images. */
        const TnVal bias =
            tn_val_is_none(with[2]) ? added_bias(s, s->in[1 - s->of], narrow) : TN_VAL_NONE;
        if (!tn_val_is_none(bias)) {
            with[2] = bias;
        } else {
            with[3] = added(s, 1 - s->of, narrow);
        }
        if (tn_val_is_none(bias) && tn_val_is_none(with[3])) {
            return TN_VAL_NONE;
        }
    } else if (strcmp(s->op->name, "max") == 0 && tn_simplify_splat(s, s->in[1 - s->of], &zero) &&
               zero == 0) {
        attrs.relu = TRUE;
    } else {
        return TN_VAL_NONE;
    }
    const TnOp *op = tn_graph_node_op(s->graph, val.node);
    return tn_simplify_add(s, op->name, &attrs, G_N_ELEMENTS(with), with);
}
