/* layout-blocks.c: convolutions with fixed weights that take images in blocks of channels: the operator
 * that TnOp.blocked names, with its weights laid likewise. */
#include "layout.h"

#include <string.h>

#include <tenon/plugin.h>

/* Channels of narrow numbers are in pairs. */
static TnSplit
way_of_blocks(const TnRewriter *rw, TnVal x)
{
    return tn_dtype_size(tn_type_of(rw->to, x)->dtype) == 2 ? TN_SPLIT_PAIRED : TN_SPLIT_CHANNELS;
}

gboolean
tn_in_blocks(const TnRewriter *rw, TnVal x)
{
    return tn_is_images(tn_type_of(rw->to, x), way_of_blocks(rw, x));
}

/* The last two axes [c, m] as [c / 2, m, 2] of whole blocks, else as [c, m, 1]. */
static TnVal
in_pairs(TnRewriter *rw, const TnGraphNode *node, TnVal w, gboolean blocks)
{
    const gint rank = tn_type_of(rw->to, w)->rank;
    return blocks ? tn_move_axis(rw, node, tn_split_axis(rw, node, w, rank - 2, 2), rank - 1, rank)
                  : tn_longer(rw, node, w);
}

/* [M, C, kernel…] as [M / 16, C / 16, kernel…, 16, 16] or [M / 16, kernel…, C, 16]; maybe in pairs. */
static TnVal
window_in_blocks(TnRewriter *rw, const TnGraphNode *node, TnVal w, TnSplit way, gboolean blocks)
{
    const gint rank = tn_type_of(rw->to, w)->rank;
    const gint64 lanes = tn_splits[way].lanes;
    TnVal val = w;
    if (blocks) {
        val = tn_move_axis(rw, node, tn_split_axis(rw, node, val, 1, lanes), 2, rank);
    } else {
        val = tn_move_axis(rw, node, val, 1, rank - 1);
    }
    val = tn_split_axis(rw, node, val, 0, lanes);
    val = tn_move_axis(rw, node, val, 1, tn_type_of(rw->to, val)->rank - 1);
    return way == TN_SPLIT_PAIRED ? in_pairs(rw, node, val, blocks) : val;
}

/* Whether the node has images of TN_IMAGE_RANK axes and fixed windows, whose channels out make blocks. */
static gboolean
may_block(const TnLaying *l, const TnRewriter *rw, const TnGraphNode *node, const TnVal *in)
{
    const TnSplit way = way_of_blocks(rw, in[0]);
    const gint64 maps = tn_splits[way].lanes, channels = tn_in_blocks(rw, in[0]) ? maps : 1;
    gboolean windows = FALSE;
    for (gint i = 0; i < node->n_in; i++) {
        const guint32 flags = tn_op_input(node->op, i)->flags;
        if ((flags & TN_ARG_SPATIAL) && tn_type_of(rw->to, in[i])->rank != TN_IMAGE_RANK) {
            return FALSE;
        }
        if (flags & TN_ARG_WINDOW) {
            windows = TRUE;
            const TnType *type = tn_type_of(rw->to, in[i]);
            if (!l->fixed[node->in[i].node] || type->rank != TN_IMAGE_RANK ||
                type->dims[0] % maps != 0 || type->dims[1] % channels != 0) {
                return FALSE;
            }
        }
    }
    return windows && tn_is_images(&node->out[0], way);
}

gboolean
tn_lay_blocked(TnLaying *l, TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in,
               TnVal *out)
{
    const TnOp *op = TN_HAS(node->op, blocked) ? tn_op_find(node->op->blocked, NULL) : NULL;
    if (op == NULL || !may_block(l, rw, node, in)) {
        return FALSE;
    }
    const gint n_in = (gint)op->n_inputs;
    const TnSplit way = way_of_blocks(rw, in[0]);
    const gboolean blocks = tn_in_blocks(rw, in[0]);
    TnVal laid[TN_MAX_IN];
    TnType types[TN_MAX_IN] = { 0 };
    for (gint i = 0; i < n_in; i++) {
        const guint32 flags = i < node->n_in ? tn_op_input(node->op, i)->flags : 0;
        laid[i] = i >= node->n_in         ? TN_VAL_NONE
                  : flags & TN_ARG_WINDOW ? window_in_blocks(rw, node, in[i], way, blocks)
                  : (flags & TN_ARG_SPATIAL) && blocks ? tn_to_laid(l, rw, node, in[i], way)
                                                       : in[i];
        types[i] = tn_val_is_none(laid[i]) ? types[i] : *tn_type_of(rw->to, laid[i]);
    }
    g_autofree void *attrs = g_malloc0(op->attrs.struct_size);
    tn_options_defaults(&op->attrs, attrs);
    memcpy(attrs, node->attrs, node->op->attrs.struct_size);
    if (tn_kernel_laid(l, number, node, op, attrs, n_in, types, NULL) == NULL) {
        return FALSE;
    }
    const TnVal val = tn_rewrite_add(rw, node, op, attrs, n_in, laid);
    out[0] = tn_from_laid(l, rw, node, val, &node->out[0], way);
    return TRUE;
}
