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
#include "compile-private.h"

#include <math.h>
#include <string.h>

#include <tenon/plugin.h>

#include "choose.h"

#define RANK 4 /* [N, C, h, w] */

/* What is split: samples, channels, channels of numbers that are multiplied in pairs. */
typedef enum { SAMPLES, CHANNELS, PAIRED, N_SPLITS, NOT_LAID } Split;

/* The axis of that, and the length of its last part. */
static const struct {
    gint axis;
    gint64 lanes;
} splits[N_SPLITS] = {
    [SAMPLES] = { 0, TN_LANES }, [CHANNELS] = { 1, TN_LANES }, [PAIRED] = { 1, TN_PAIR_LANES }
};

typedef struct {
    TnCompiler *c;
    const TnCompile *options;
    const TnClaim *claims;
    const gboolean *fixed;      /* of the old graph's nodes */
    GHashTable *laid[N_SPLITS]; /* of a value of the new graph: TnVal, the same split */
    GHashTable
        *made[N_SPLITS]; /* values that came of a split node: those of laid that cost nothing */
} Layout;

static guint64 *
key_of(TnVal val)
{
    const guint64 key = (guint64)val.node << 8 | val.out;
    return g_memdup2(&key, sizeof key);
}

static TnVal *
find(GHashTable *table, TnVal val)
{
    const guint64 key = (guint64)val.node << 8 | val.out;
    return g_hash_table_lookup(table, &key);
}

static TnType
laid_type(const TnType *type, Split way)
{
    TnType laid = *type;
    laid.rank = RANK + 1;
    laid.dims[splits[way].axis] = type->dims[splits[way].axis] / splits[way].lanes;
    laid.dims[RANK] = splits[way].lanes;
    return laid;
}

/* One axis of size 1 more. */
static TnType
longer_type(const TnType *type)
{
    TnType longer = *type;
    longer.dims[longer.rank++] = 1;
    return longer;
}

static gboolean
is_images(const TnType *type, Split way)
{
    const gint64 size = type->dims[splits[way].axis];
    return type->rank == RANK && size > 0 && size % splits[way].lanes == 0;
}

/* --- Movements -------------------------------------------------------------------------------- */

static TnVal
transpose(TnRewriter *rw, const TnGraphNode *node, TnVal x, gint rank, const gint64 *perm)
{
    TnTransposeAttrs attrs = { .perm = { .n = rank } };
    memcpy(attrs.perm.v, perm, (gsize)rank * sizeof *perm);
    return tn_rewrite_add(rw, node, tn_op_find("transpose", NULL), &attrs, 1, &x);
}

/* x with axis `from` standing where axis `to` did. */
static TnVal
move_axis(TnRewriter *rw, const TnGraphNode *node, TnVal x, gint from, gint to)
{
    const gint rank = tn_type_of(rw->to, x)->rank;
    gint64 perm[TN_MAX_RANK];
    for (gint i = 0; i < rank; i++) {
        perm[i] = i == to ? from : i + (from < to ? i >= from && i < to : -(i > to && i <= from));
    }
    return transpose(rw, node, x, rank, perm);
}

/* x with an axis as two, the second of `lanes`. */
static TnVal
split_axis(TnRewriter *rw, const TnGraphNode *node, TnVal x, gint axis, gint64 lanes)
{
    TnType type = *tn_type_of(rw->to, x);
    memmove(type.dims + axis + 1, type.dims + axis,
            (gsize)(type.rank++ - axis) * sizeof *type.dims);
    type.dims[axis] /= lanes;
    type.dims[axis + 1] = lanes;
    return tn_rewrite_reshape(rw, node, x, &type);
}

static TnVal
only_type(TnRewriter *rw, const TnGraphNode *node, const TnType *type)
{
    return (TnVal){ tn_graph_add_node(rw->to, &tn_type_only_op, NULL, node->name, node->path, 0,
                                      NULL, 1, type),
                    0 };
}

static TnVal
to_laid(Layout *l, TnRewriter *rw, const TnGraphNode *node, TnVal x, Split way)
{
    const TnVal *known = find(l->laid[way], x);
    if (known != NULL) {
        return *known;
    }
    const gint axis = splits[way].axis;
    const TnVal split = split_axis(rw, node, x, axis, splits[way].lanes);
    const TnVal laid = move_axis(rw, node, split, axis + 1, RANK);
    g_hash_table_insert(l->laid[way], key_of(x), g_memdup2(&laid, sizeof laid));
    return laid;
}

static TnVal
from_laid(Layout *l, TnRewriter *rw, const TnGraphNode *node, TnVal laid, const TnType *type,
          Split way)
{
    const TnVal split = move_axis(rw, node, laid, RANK, splits[way].axis + 1);
    const TnVal back = tn_rewrite_reshape(rw, node, split, type);
    g_hash_table_insert(l->laid[way], key_of(back), g_memdup2(&laid, sizeof laid));
    g_hash_table_add(l->made[way], key_of(back));
    return back;
}

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

/* --- Nodes ------------------------------------------------------------------------------------ */

static TnVal
longer(TnRewriter *rw, const TnGraphNode *node, TnVal x)
{
    const TnType type = longer_type(tn_type_of(rw->to, x));
    return tn_rewrite_reshape(rw, node, x, &type);
}

/* How an input is there at no cost. */
static Split
way_of_inputs(const Layout *l, const TnGraphNode *node, const TnVal *in)
{
    for (gint i = 0; i < node->n_in; i++) {
        for (Split way = 0; way < N_SPLITS && tn_reads_data(node->op, i, in[i]); way++) {
            if (find(l->made[way], in[i]) != NULL) {
                return way;
            }
        }
    }
    return NOT_LAID;
}

static gboolean
is_spatial(const TnRewriter *rw, const TnGraphNode *node, const TnVal *in, Split way,
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
        if ((flags & TN_ARG_SPATIAL) && !is_images(type, way)) {
            return FALSE;
        }
        *window = *window || ((flags & TN_ARG_WINDOW) && type->rank == RANK);
        images = images || (flags & TN_ARG_SPATIAL);
    }
    return images;
}

/* Input i of a spatial node as it would be. */
static TnType
spatial_type(const TnRewriter *rw, const TnGraphNode *node, gint i, TnVal x, Split way)
{
    const guint32 flags = tn_op_input(node->op, i)->flags;
    if (tn_val_is_none(x)) {
        return (TnType){ 0 };
    }
    const TnType *type = tn_type_of(rw->to, x);
    return flags & TN_ARG_SPATIAL  ? laid_type(type, way)
           : flags & TN_ARG_WINDOW ? longer_type(type)
                                   : *type;
}

/* What the device that runs the node would have for op on these; us: tn_kernel_of_types. */
static const TnKernel *
kernel_for(const Layout *l, guint number, const TnGraphNode *node, const TnOp *op,
           const void *attrs, gint n_in, const TnType *types, double *us)
{
    return tn_kernel_of_types(l->options, (guint)l->claims[number].device, op, attrs, node->name,
                              n_in, types, us);
}

/* Bytes moved in a microsecond, about. */
#define MOVED 8e3

/* Microseconds that it takes to lay the inputs that are not laid yet. */
static double
moving_cost(const Layout *l, const TnRewriter *rw, const TnGraphNode *node, const TnVal *in,
            Split way)
{
    double bytes = 0;
    for (gint i = 0; i < node->n_in; i++) {
        if (tn_reads_data(node->op, i, in[i]) && find(l->made[way], in[i]) == NULL &&
            (tn_op_input(node->op, i)->flags & TN_ARG_SPATIAL)) {
            bytes += (double)tn_type_bytes(tn_type_of(rw->to, in[i]));
        }
    }
    return bytes / MOVED;
}

/* Whether the node as it is was measured to take less than `us`, what it was measured to take in lanes. */
static gboolean
is_faster_plain(const Layout *l, const TnRewriter *rw, guint number, double us)
{
    TnNodeView plain;
    if (l->options->costs == NULL || us == INFINITY) {
        return FALSE;
    }
    tn_node_view(&plain, rw->from, number);
    return tn_choice_cost(l->options, (guint)l->claims[number].device, &plain.node) < us;
}

static TnVal
spatial_input(Layout *l, TnRewriter *rw, const TnGraphNode *node, gint i, TnVal x, Split way)
{
    const guint32 flags = tn_op_input(node->op, i)->flags;
    if (tn_val_is_none(x) || !(flags & (TN_ARG_SPATIAL | TN_ARG_WINDOW))) {
        return x;
    }
    if (flags & TN_ARG_SHAPE) {
        const TnType laid = spatial_type(rw, node, i, x, way);
        return only_type(rw, node, &laid);
    }
    return flags & TN_ARG_SPATIAL ? to_laid(l, rw, node, x, way) : longer(rw, node, x);
}

static gboolean
lay_spatial(Layout *l, TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in,
            Split way, TnVal *out)
{
    gboolean window;
    if (way == NOT_LAID || !is_spatial(rw, node, in, way, &window) ||
        (window ? way != SAMPLES : way_of_inputs(l, node, in) != way)) {
        return FALSE;
    }
    g_autofree void *attrs = longer_attrs(node);
    TnType types[TN_MAX_IN];
    for (gint i = 0; i < node->n_in; i++) {
        types[i] = spatial_type(rw, node, i, in[i], way);
    }
    double us = INFINITY;
    const TnKernel *kernel = kernel_for(l, number, node, node->op, attrs, node->n_in, types, &us);
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
        out[i] = flags & TN_ARG_SPATIAL  ? from_laid(l, rw, node, val, &node->out[i], way)
                 : flags & TN_ARG_WINDOW ? tn_rewrite_reshape(rw, node, val, &node->out[i])
                                         : val;
    }
    return TRUE;
}

/* --- Blocks of channels ----------------------------------------------------------------------- */

/* Channels of narrow numbers are in pairs. */
static Split
way_of_blocks(const TnRewriter *rw, TnVal x)
{
    return tn_dtype_size(tn_type_of(rw->to, x)->dtype) == 2 ? PAIRED : CHANNELS;
}

/* Whether channels of x make whole blocks; else it is taken as it is. */
static gboolean
in_blocks(const TnRewriter *rw, TnVal x)
{
    return is_images(tn_type_of(rw->to, x), way_of_blocks(rw, x));
}

/* The last two axes [c, m] as [c / 2, m, 2] of whole blocks, else as [c, m, 1]. */
static TnVal
in_pairs(TnRewriter *rw, const TnGraphNode *node, TnVal w, gboolean blocks)
{
    const gint rank = tn_type_of(rw->to, w)->rank;
    return blocks ? move_axis(rw, node, split_axis(rw, node, w, rank - 2, 2), rank - 1, rank)
                  : longer(rw, node, w);
}

/* [M, C, kernel…] as [M / 16, C / 16, kernel…, 16, 16] or [M / 16, kernel…, C, 16]; maybe in pairs. */
static TnVal
window_in_blocks(TnRewriter *rw, const TnGraphNode *node, TnVal w, Split way, gboolean blocks)
{
    const gint rank = tn_type_of(rw->to, w)->rank;
    const gint64 lanes = splits[way].lanes;
    TnVal val = w;
    if (blocks) {
        val = move_axis(rw, node, split_axis(rw, node, val, 1, lanes), 2, rank);
    } else {
        val = move_axis(rw, node, val, 1, rank - 1);
    }
    val = split_axis(rw, node, val, 0, lanes);
    val = move_axis(rw, node, val, 1, tn_type_of(rw->to, val)->rank - 1);
    return way == PAIRED ? in_pairs(rw, node, val, blocks) : val;
}

/* Whether the node has images of `RANK` axes and fixed windows, whose channels out make blocks. */
static gboolean
may_block(const Layout *l, const TnRewriter *rw, const TnGraphNode *node, const TnVal *in)
{
    const Split way = way_of_blocks(rw, in[0]);
    const gint64 maps = splits[way].lanes, channels = in_blocks(rw, in[0]) ? maps : 1;
    gboolean windows = FALSE;
    for (gint i = 0; i < node->n_in; i++) {
        const guint32 flags = tn_op_input(node->op, i)->flags;
        if ((flags & TN_ARG_SPATIAL) && tn_type_of(rw->to, in[i])->rank != RANK) {
            return FALSE;
        }
        if (flags & TN_ARG_WINDOW) {
            windows = TRUE;
            const TnType *type = tn_type_of(rw->to, in[i]);
            if (!l->fixed[node->in[i].node] || type->rank != RANK || type->dims[0] % maps != 0 ||
                type->dims[1] % channels != 0) {
                return FALSE;
            }
        }
    }
    return windows && is_images(&node->out[0], way);
}

static gboolean
lay_blocked(Layout *l, TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in,
            TnVal *out)
{
    const TnOp *op = TN_HAS(node->op, blocked) ? tn_op_find(node->op->blocked, NULL) : NULL;
    if (op == NULL || !may_block(l, rw, node, in)) {
        return FALSE;
    }
    const gint n_in = (gint)op->n_inputs;
    const Split way = way_of_blocks(rw, in[0]);
    const gboolean blocks = in_blocks(rw, in[0]);
    TnVal laid[TN_MAX_IN];
    TnType types[TN_MAX_IN] = { 0 };
    for (gint i = 0; i < n_in; i++) {
        const guint32 flags = i < node->n_in ? tn_op_input(node->op, i)->flags : 0;
        laid[i] = i >= node->n_in         ? TN_VAL_NONE
                  : flags & TN_ARG_WINDOW ? window_in_blocks(rw, node, in[i], way, blocks)
                  : (flags & TN_ARG_SPATIAL) && blocks ? to_laid(l, rw, node, in[i], way)
                                                       : in[i];
        types[i] = tn_val_is_none(laid[i]) ? types[i] : *tn_type_of(rw->to, laid[i]);
    }
    g_autofree void *attrs = g_malloc0(op->attrs.struct_size);
    tn_options_defaults(&op->attrs, attrs);
    memcpy(attrs, node->attrs, node->op->attrs.struct_size);
    if (kernel_for(l, number, node, op, attrs, n_in, types, NULL) == NULL) {
        return FALSE;
    }
    const TnVal val = tn_rewrite_add(rw, node, op, attrs, n_in, laid);
    out[0] = from_laid(l, rw, node, val, &node->out[0], way);
    return TRUE;
}

/* --- What follows ----------------------------------------------------------------------------- */

/* An input of an element-wise node: split where it has the axis, else with one axis more, so that it
 * broadcasts as before. */
static TnVal
element_input(Layout *l, TnRewriter *rw, const TnGraphNode *node, TnVal x, Split way)
{
    TnType type = *tn_type_of(rw->to, x);
    const gint missing = RANK - type.rank;
    if (missing > splits[way].axis || type.dims[splits[way].axis - missing] == 1) {
        return type.rank == 0 ? x : longer(rw, node, x);
    }
    if (missing > 0) {
        memmove(type.dims + missing, type.dims, (gsize)type.rank * sizeof *type.dims);
        for (gint i = 0; i < missing; i++) {
            type.dims[i] = 1;
        }
        type.rank = RANK;
        x = tn_rewrite_reshape(rw, node, x, &type);
    }
    return to_laid(l, rw, node, x, way);
}

static gboolean
lay_elements(Layout *l, TnRewriter *rw, const TnGraphNode *node, const TnVal *in, Split way,
             TnVal *out)
{
    if (!(node->op->flags & TN_OP_ELEMENTWISE) || node->n_out != 1 || way == NOT_LAID ||
        !is_images(&node->out[0], way)) {
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
    out[0] = from_laid(l, rw, node, val, &node->out[0], way);
    return TRUE;
}

/* A sum over the samples, and maybe more, to the shape of what broadcasts with the images. */
static gboolean
lay_sum(Layout *l, TnRewriter *rw, const TnGraphNode *node, const TnVal *in, TnVal *out)
{
    const TnType *to = &node->out[0];
    if (node->op != tn_op_find("reduce_to", NULL) || find(l->made[SAMPLES], in[0]) == NULL ||
        (to->rank == RANK && to->dims[0] != 1)) {
        return FALSE;
    }
    const TnType like = longer_type(to);
    const TnVal laid[] = { to_laid(l, rw, node, in[0], SAMPLES), only_type(rw, node, &like) };
    const TnVal val = tn_rewrite_add(rw, node, node->op, node->attrs, 2, laid);
    if (tn_val_is_none(val)) {
        return FALSE;
    }
    out[0] = tn_rewrite_reshape(rw, node, val, to);
    return TRUE;
}

/* A reduction over all places of each channel: blocks and their channels are left in order. */
static gboolean
lay_places(Layout *l, TnRewriter *rw, const TnGraphNode *node, const TnVal *in, TnVal *out)
{
    static const char *const names[] = { "reduce_sum", "reduce_max" };
    gboolean is = FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        is = is || node->op == tn_op_find(names[i], NULL);
    }
    const Split way = way_of_inputs(l, node, in);
    if (!is || way == NOT_LAID || way == SAMPLES) {
        return FALSE;
    }
    const TnReduceAttrs *attrs = node->attrs;
    guint32 axes = 0;
    for (gint i = 0; i < attrs->axes.n; i++) {
        axes |= 1u << (attrs->axes.v[i] < 0 ? attrs->axes.v[i] + RANK : attrs->axes.v[i]);
    }
    const TnReduceAttrs places = { .axes = { .n = 2, .v = { 2, 3 } }, .keepdims = TRUE };
    const TnVal laid = to_laid(l, rw, node, in[0], way);
    if (axes != (1u << 2 | 1u << 3)) {
        return FALSE;
    }
    const TnVal val = tn_rewrite_add(rw, node, node->op, &places, 1, &laid);
    out[0] = tn_rewrite_reshape(rw, node, val, &node->out[0]);
    return TRUE;
}

static gboolean
layout_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
            gboolean *done, GError **error)
{
    Layout *l = rw->data;
    (void)error;
    /* What a random node draws for an element goes by where that lies. */
    const Split way = way_of_inputs(l, node, in);
    /* Whether samples can be split hangs on how many there are; blocks sum in an order of their own. */
    const gboolean blocks_first = l->options->batch_invariant;
    *done = l->claims[number].device >= 0 && !(node->op->flags & TN_OP_RANDOM) &&
            ((blocks_first && lay_blocked(l, rw, number, node, in, out)) ||
             lay_spatial(l, rw, number, node, in, SAMPLES, out) ||
             lay_spatial(l, rw, number, node, in, way, out) ||
             lay_blocked(l, rw, number, node, in, out) || lay_elements(l, rw, node, in, way, out) ||
             lay_sum(l, rw, node, in, out) || lay_places(l, rw, node, in, out));
    return TRUE;
}

gboolean
tn_pass_layout(TnCompiler *c, GError **error)
{
    g_autofree TnClaim *claims = g_steal_pointer(&c->claims);
    g_autoptr(TnGraph) from = tn_graph_ref(c->graph);
    TnFixed fixed = { NULL };
    Layout l = {
        .c = c, .options = c->options, .claims = claims, .fixed = tn_fixed_nodes(&fixed, from, from)
    };
    for (Split way = 0; way < N_SPLITS; way++) {
        l.laid[way] = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
        l.made[way] = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    }
    gboolean ok = tn_rewrite_into(c, NULL, layout_node, &l, error), changed = FALSE;
    for (Split way = 0; way < N_SPLITS; way++) {
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
