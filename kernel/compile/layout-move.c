/* layout-move.c: images moved to where their samples or channels are split, and back; what was moved before
 * is found again. */
#include "layout.h"

#include <string.h>

#include <tenon/plugin.h>

const struct TnSplitRow tn_splits[TN_N_SPLITS] = { [TN_SPLIT_SAMPLES] = { 0, TN_LANES },
                                                   [TN_SPLIT_CHANNELS] = { 1, TN_LANES },
                                                   [TN_SPLIT_PAIRED] = { 1, TN_PAIR_LANES } };

static guint64 *
key_of(TnVal val)
{
    const guint64 key = (guint64)val.node << 8 | val.out;
    return g_memdup2(&key, sizeof key);
}

TnVal *
tn_laid_find(GHashTable *table, TnVal val)
{
    const guint64 key = (guint64)val.node << 8 | val.out;
    return g_hash_table_lookup(table, &key);
}

TnType
tn_laid_type(const TnType *type, TnSplit way)
{
    TnType laid = *type;
    laid.rank = TN_IMAGE_RANK + 1;
    laid.dims[tn_splits[way].axis] = type->dims[tn_splits[way].axis] / tn_splits[way].lanes;
    laid.dims[TN_IMAGE_RANK] = tn_splits[way].lanes;
    return laid;
}

TnType
tn_longer_type(const TnType *type)
{
    TnType longer = *type;
    longer.dims[longer.rank++] = 1;
    return longer;
}

gboolean
tn_is_images(const TnType *type, TnSplit way)
{
    const gint64 size = type->dims[tn_splits[way].axis];
    return type->rank == TN_IMAGE_RANK && size > 0 && size % tn_splits[way].lanes == 0;
}

TnSplit
tn_way_of_inputs(const TnLaying *l, const TnGraphNode *node, const TnVal *in)
{
    for (gint i = 0; i < node->n_in; i++) {
        for (TnSplit way = 0; way < TN_N_SPLITS && tn_reads_data(node->op, i, in[i]); way++) {
            if (tn_laid_find(l->made[way], in[i]) != NULL) {
                return way;
            }
        }
    }
    return TN_NOT_LAID;
}

/* --- Movements -------------------------------------------------------------------------------- */

static TnVal
transpose(TnRewriter *rw, const TnGraphNode *node, TnVal x, gint rank, const gint64 *perm)
{
    TnTransposeAttrs attrs = { .perm = { .n = rank } };
    memcpy(attrs.perm.v, perm, (gsize)rank * sizeof *perm);
    return tn_rewrite_add(rw, node, tn_op_find("transpose", NULL), &attrs, 1, &x);
}

TnVal
tn_move_axis(TnRewriter *rw, const TnGraphNode *node, TnVal x, gint from, gint to)
{
    const gint rank = tn_type_of(rw->to, x)->rank;
    gint64 perm[TN_MAX_RANK];
    for (gint i = 0; i < rank; i++) {
        perm[i] = i == to ? from : i + (from < to ? i >= from && i < to : -(i > to && i <= from));
    }
    return transpose(rw, node, x, rank, perm);
}

TnVal
tn_split_axis(TnRewriter *rw, const TnGraphNode *node, TnVal x, gint axis, gint64 lanes)
{
    TnType type = *tn_type_of(rw->to, x);
    memmove(type.dims + axis + 1, type.dims + axis,
            (gsize)(type.rank++ - axis) * sizeof *type.dims);
    type.dims[axis] /= lanes;
    type.dims[axis + 1] = lanes;
    return tn_rewrite_reshape(rw, node, x, &type);
}

TnVal
tn_longer(TnRewriter *rw, const TnGraphNode *node, TnVal x)
{
    const TnType type = tn_longer_type(tn_type_of(rw->to, x));
    return tn_rewrite_reshape(rw, node, x, &type);
}

TnVal
tn_only_type(TnRewriter *rw, const TnGraphNode *node, const TnType *type)
{
    return (TnVal){ tn_graph_add_node(rw->to, &tn_type_only_op, NULL, node->name, node->path, 0,
                                      NULL, 1, type),
                    0 };
}

TnVal
tn_to_laid(TnLaying *l, TnRewriter *rw, const TnGraphNode *node, TnVal x, TnSplit way)
{
    const TnVal *known = tn_laid_find(l->laid[way], x);
    if (known != NULL) {
        return *known;
    }
    const gint axis = tn_splits[way].axis;
    const TnVal split = tn_split_axis(rw, node, x, axis, tn_splits[way].lanes);
    const TnVal laid = tn_move_axis(rw, node, split, axis + 1, TN_IMAGE_RANK);
    g_hash_table_insert(l->laid[way], key_of(x), g_memdup2(&laid, sizeof laid));
    return laid;
}

TnVal
tn_from_laid(TnLaying *l, TnRewriter *rw, const TnGraphNode *node, TnVal laid, const TnType *type,
             TnSplit way)
{
    const TnVal split = tn_move_axis(rw, node, laid, TN_IMAGE_RANK, tn_splits[way].axis + 1);
    const TnVal back = tn_rewrite_reshape(rw, node, split, type);
    g_hash_table_insert(l->laid[way], key_of(back), g_memdup2(&laid, sizeof laid));
    g_hash_table_add(l->made[way], key_of(back));
    return back;
}
