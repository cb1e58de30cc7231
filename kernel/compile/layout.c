/* layout.c: images laid for kernels that compute sixteen samples, or sixteen or 32 channels at once.
 *
 * Either axis of x [N, C, h, w] is split, and the sixteen become the last axis: [N / 16, C, h, w, 16]
 * or [N, C / 16, h, w, 16]. To an operator that sees the axis as one of many alike, sixteen samples, or
 * sixteen channels for pooling, are one more spatial axis, along which its window is 1 (see
 * TN_ARG_SPATIAL). So the graph stays one of the same operators over ordinary values, of one axis more;
 * nothing else of the compiler knows of layouts. Convolutions sum over channels: an operator says which
 * other one takes them in blocks (TnOp.blocked), with its weights laid likewise, which pays where that
 * is done once.
 *
 * A node with a window of weights is laid so wherever the device has such a kernel for it; what only
 * follows, other spatial operators, element-wise ones, sums over samples or places, where an input is
 * laid so already. What reads a value the ordinary way gets it moved back; movements that nobody reads
 * are dropped. */
#include "layout.h"

#include <math.h>
#include <string.h>

#include <tenon/plugin.h>

#include "choose.h"

/* --- Attributes of spatial operators ---------------------------------------------------------- */

/* Adds to a list of numbers per spatial axis what is `plain` of the new one; `twice`: of its beginning
 * and its end. None given is none given. */
static void
add_axis(TnInts *list, gint64 plain, gboolean twice)
{
    const gint n = list->n, before = twice ? n / 2 : n;
    if (n == 0) {
        return;
    }
    memmove(list->v + before + 1, list->v + before, (gsize)(n - before) * sizeof *list->v);
    list->v[before] = plain;
    list->n++;
    if (twice) {
        list->v[list->n++] = plain;
    }
}

/* (transfer full): g_free. */
static void *
longer_attrs(const TnGraphNode *node)
{
    static const struct {
        const char *name;
        gint64 plain;
        gboolean twice;
    } lists[] = { { "kernel_shape", 1, FALSE },
                  { "strides", 1, FALSE },
                  { "dilations", 1, FALSE },
                  { "pads", 0, TRUE },
                  { "output_padding", 0, FALSE } };
    const TnOptions *rows = &node->op->attrs;
    char *attrs = g_memdup2(node->attrs, rows->struct_size);
    for (guint32 i = 0; i < rows->n; i++) {
        const TnOption *row = tn_options_row(rows, i);
        for (gsize k = 0; k < G_N_ELEMENTS(lists); k++) {
            if (row->type == TN_OPT_INTS && strcmp(row->name, lists[k].name) == 0) {
                add_axis((TnInts *)(void *)(attrs + row->offset), lists[k].plain, lists[k].twice);
            }
        }
    }
    return attrs;
}

/* --- Nodes with a window ----------------------------------------------------------------------- */

static gboolean
is_spatial(const TnRewriter *rw, const TnGraphNode *node, const TnVal *in, TnSplit way,
           gboolean *window)
{
    gboolean images = FALSE;
    *window = FALSE;
    for (gint i = 0; i < node->n_in; i++) {
        const guint32 flags = tn_op_input(node->op, i)->flags;
        if (tn_val_is_none(in[i])) {
            continue;
        }
        const TnType *type = tn_type_of(rw->to, in[i]);
        if ((flags & TN_ARG_SPATIAL) && !tn_is_images(type, way)) {
            return FALSE;
        }
        *window = *window || ((flags & TN_ARG_WINDOW) && type->rank == TN_IMAGE_RANK);
        images = images || (flags & TN_ARG_SPATIAL);
    }
    return images;
}

/* Input i of a spatial node as it would be. */
static TnType
spatial_type(const TnRewriter *rw, const TnGraphNode *node, gint i, TnVal x, TnSplit way)
{
    const guint32 flags = tn_op_input(node->op, i)->flags;
    if (tn_val_is_none(x)) {
        return (TnType){ 0 };
    }
    const TnType *type = tn_type_of(rw->to, x);
    return flags & TN_ARG_SPATIAL  ? tn_laid_type(type, way)
           : flags & TN_ARG_WINDOW ? tn_longer_type(type)
                                   : *type;
}

const TnKernel *
tn_kernel_laid(const TnLaying *l, guint number, const TnGraphNode *node, const TnOp *op,
               const void *attrs, gint n_in, const TnType *types, double *us)
{
    TnTypesChoice choice = { INFINITY, FALSE };
    const TnCompile options = tn_claim_options(l->options, &l->claims[number]);
    const TnKernel *kernel =
        tn_kernel_of_types(&options, (guint)l->claims[number].device, op, attrs, node->name, n_in,
                           types, 0, us != NULL ? &choice : NULL);
    if (us != NULL) {
        *us = choice.us;
    }
    return kernel;
}

/* Bytes moved in a microsecond, about. */
#define MOVED 8e3

/* Microseconds that it takes to lay the inputs that are not laid yet. */
static double
moving_cost(const TnLaying *l, const TnRewriter *rw, const TnGraphNode *node, const TnVal *in,
            TnSplit way)
{
    double bytes = 0;
    for (gint i = 0; i < node->n_in; i++) {
        if (tn_reads_data(node->op, i, in[i]) && tn_laid_find(l->made[way], in[i]) == NULL &&
            (tn_op_input(node->op, i)->flags & TN_ARG_SPATIAL)) {
            bytes += (double)tn_type_bytes(tn_type_of(rw->to, in[i]));
        }
    }
    return bytes / MOVED;
}

/* Whether the node as it is was measured to take less than `us`, what it was measured to take in lanes. */
static gboolean
is_faster_plain(const TnLaying *l, const TnRewriter *rw, guint number, double us)
{
    TnNodeView plain;
    const TnCompile options = tn_claim_options(l->options, &l->claims[number]);
    if (l->options->costs == NULL || us == INFINITY) {
        return FALSE;
    }
    tn_node_view(&plain, rw->from, number);
    return tn_choice_cost(&options, (guint)l->claims[number].device, &plain.node) < us;
}

static TnVal
spatial_input(TnLaying *l, TnRewriter *rw, const TnGraphNode *node, gint i, TnVal x, TnSplit way)
{
    const guint32 flags = tn_op_input(node->op, i)->flags;
    if (tn_val_is_none(x) || !(flags & (TN_ARG_SPATIAL | TN_ARG_WINDOW))) {
        return x;
    }
    if (flags & TN_ARG_SHAPE) {
        const TnType laid = spatial_type(rw, node, i, x, way);
        return tn_only_type(rw, node, &laid);
    }
    return flags & TN_ARG_SPATIAL ? tn_to_laid(l, rw, node, x, way) : tn_longer(rw, node, x);
}

static gboolean
lay_spatial(TnLaying *l, TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in,
            TnSplit way, TnVal *out)
{
    gboolean window;
    if (way == TN_NOT_LAID || !is_spatial(rw, node, in, way, &window) ||
        (window ? way != TN_SPLIT_SAMPLES : tn_way_of_inputs(l, node, in) != way)) {
        return FALSE;
    }
    g_autofree void *attrs = longer_attrs(node);
    TnType types[TN_MAX_IN];
    for (gint i = 0; i < node->n_in; i++) {
        types[i] = spatial_type(rw, node, i, in[i], way);
    }
    double us = INFINITY;
    const TnKernel *kernel =
        tn_kernel_laid(l, number, node, node->op, attrs, node->n_in, types, &us);
    if (kernel == NULL || !(kernel->flags & TN_KERNEL_LANES) ||
        is_faster_plain(l, rw, number, us + moving_cost(l, rw, node, in, way))) {
        return FALSE;
    }
    TnVal laid[TN_MAX_IN];
    for (gint i = 0; i < node->n_in; i++) {
        laid[i] = spatial_input(l, rw, node, i, in[i], way);
    }
    const TnVal first = tn_rewrite_add(rw, node, node->op, attrs, node->n_in, laid);
    for (gint i = 0; i < node->n_out; i++) {
        const guint32 flags = tn_op_output(node->op, i)->flags;
        const TnVal val = { first.node, (guint32)i };
        out[i] = flags & TN_ARG_SPATIAL  ? tn_from_laid(l, rw, node, val, &node->out[i], way)
                 : flags & TN_ARG_WINDOW ? tn_rewrite_reshape(rw, node, val, &node->out[i])
                                         : val;
    }
    return TRUE;
}

/* --- The pass --------------------------------------------------------------------------------- */

static gboolean
layout_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
            gboolean *done, GError **error)
{
    TnLaying *l = rw->data;
    (void)error;
    /* What a random node draws for an element goes by where that lies. */
    const TnSplit way = tn_way_of_inputs(l, node, in);
    /* Whether samples can be split hangs on how many there are. Blocks that are read are summed in an order
     * of their own; images that are not in blocks in the same one as split samples. */
    const gboolean invariant = l->options->batch_invariant && !l->claims[number].mixed;
    const gboolean blocks_first =
        invariant && node->n_in > 0 && !tn_val_is_none(in[0]) && tn_in_blocks(rw, in[0]);
    *done = l->claims[number].device >= 0 && !(node->op->flags & TN_OP_RANDOM) &&
            ((blocks_first && tn_lay_blocked(l, rw, number, node, in, out)) ||
             lay_spatial(l, rw, number, node, in, TN_SPLIT_SAMPLES, out) ||
             lay_spatial(l, rw, number, node, in, way, out) ||
             tn_lay_blocked(l, rw, number, node, in, out) ||
             tn_lay_elements(l, rw, node, in, way, out) || tn_lay_sum(l, rw, node, in, out) ||
             tn_lay_places(l, rw, number, node, in, out));
    return TRUE;
}

gboolean
tn_pass_layout(TnCompiler *c, GError **error)
{
    g_autofree TnClaim *claims = g_steal_pointer(&c->claims);
    g_autoptr(TnGraph) from = tn_graph_ref(c->graph);
    TnFixed fixed = { NULL };
    TnLaying l = {
        .c = c, .options = c->options, .claims = claims, .fixed = tn_fixed_nodes(&fixed, from, from)
    };
    for (TnSplit way = 0; way < TN_N_SPLITS; way++) {
        l.laid[way] = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
        l.made[way] = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    }
    gboolean ok = tn_rewrite_into(c, NULL, layout_node, &l, error), changed = FALSE;
    for (TnSplit way = 0; way < TN_N_SPLITS; way++) {
        changed = changed || g_hash_table_size(l.made[way]) > 0;
        g_hash_table_unref(l.laid[way]);
        g_hash_table_unref(l.made[way]);
    }
    tn_fixed_clear(&fixed);
    /* Without movements there and back, and without readers that only those have. */
    ok = ok && tn_pass_dce(c, error);
    return ok && (!changed || (tn_run_neutral(c, error) && tn_pass_dce(c, error))) &&
           tn_pass_claim(c, error);
}
