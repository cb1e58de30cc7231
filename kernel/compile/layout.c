/* layout.c: images laid for kernels that compute many samples at once. Such a kernel (TN_KERNEL_LANES)
 * wants x [N, C, h, w] as [N / 16, C, h, w, 16]: to the operator, sixteen samples are one more spatial
 * axis, along which its window is 1 (see TN_ARG_SPATIAL). So the graph stays one of the same operators
 * over ordinary values, of one axis more; nothing else of the compiler knows of layouts.
 *
 * A node with a window of weights is laid so wherever the device has such a kernel for it; what only
 * follows, other spatial operators, element-wise ones, sums over the samples, where an input is laid so
 * already. What reads a value the ordinary way gets it moved back; movements that nobody reads are
 * dropped. */
#include "compile-private.h"

#include <string.h>

#include "choose.h"

#define RANK 4 /* [N, C, h, w] */

typedef struct {
    TnCompiler *c;
    TnCompile options; /* that writes nothing down: a node that is looked at may not come */
    const TnClaim *claims;
    GHashTable *laid; /* of a value of the new graph: TnVal, the same in lanes */
    GHashTable *made; /* values that came of a node in lanes: those of laid that cost nothing */
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
lanes_type(const TnType *type)
{
    TnType laid = *type;
    laid.rank = RANK + 1;
    laid.dims[0] = type->dims[0] / TN_LANES;
    laid.dims[RANK] = TN_LANES;
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
is_images(const TnType *type)
{
    return type->rank == RANK && type->dims[0] > 0 && type->dims[0] % TN_LANES == 0;
}

/* --- Movements -------------------------------------------------------------------------------- */

static TnVal
transpose(TnRewriter *rw, const TnGraphNode *node, TnVal x, const gint64 *perm)
{
    TnTransposeAttrs attrs = { .perm = { .n = RANK + 1 } };
    memcpy(attrs.perm.v, perm, (RANK + 1) * sizeof *perm);
    return tn_rewrite_add(rw, node, tn_op_find("transpose", NULL), &attrs, 1, &x);
}

static TnVal
only_type(TnRewriter *rw, const TnGraphNode *node, const TnType *type)
{
    return (TnVal){ tn_graph_add_node(rw->to, &tn_type_only_op, NULL, node->name, node->path, 0,
                                      NULL, 1, type),
                    0 };
}

static TnVal
to_lanes(Layout *l, TnRewriter *rw, const TnGraphNode *node, TnVal x)
{
    static const gint64 perm[] = { 0, 2, 3, 4, 1 };
    const TnVal *known = find(l->laid, x);
    if (known != NULL) {
        return *known;
    }
    const TnType *type = tn_type_of(rw->to, x);
    const TnType split = { .dtype = type->dtype,
                           .rank = RANK + 1,
                           .dims = { type->dims[0] / TN_LANES, TN_LANES, type->dims[1],
                                     type->dims[2], type->dims[3] } };
    const TnVal laid = transpose(rw, node, tn_rewrite_reshape(rw, node, x, &split), perm);
    g_hash_table_insert(l->laid, key_of(x), g_memdup2(&laid, sizeof laid));
    return laid;
}

static TnVal
from_lanes(Layout *l, TnRewriter *rw, const TnGraphNode *node, TnVal laid, const TnType *type)
{
    static const gint64 perm[] = { 0, 4, 1, 2, 3 };
    const TnVal back = tn_rewrite_reshape(rw, node, transpose(rw, node, laid, perm), type);
    g_hash_table_insert(l->laid, key_of(back), g_memdup2(&laid, sizeof laid));
    g_hash_table_add(l->made, key_of(back));
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

/* Whether an input is there in lanes at no cost. */
static gboolean
has_laid_input(const Layout *l, const TnGraphNode *node, const TnVal *in)
{
    for (gint i = 0; i < node->n_in; i++) {
        if (tn_reads_data(node->op, i, in[i]) && find(l->made, in[i]) != NULL) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean
is_spatial(const TnRewriter *rw, const TnGraphNode *node, const TnVal *in, gboolean *window)
{
    gboolean images = FALSE;
    *window = FALSE;
    for (gint i = 0; i < node->n_in; i++) {
        const guint32 flags = tn_op_input(node->op, i)->flags;
        if (tn_val_is_none(in[i])) {
            continue;
        }
        const TnType *type = tn_type_of(rw->to, in[i]);
        if ((flags & TN_ARG_SPATIAL) && !is_images(type)) {
            return FALSE;
        }
        *window = *window || ((flags & TN_ARG_WINDOW) && type->rank == RANK);
        images = images || (flags & TN_ARG_SPATIAL);
    }
    return images;
}

/* Input i of a spatial node as it would be. */
static TnType
spatial_type(const TnRewriter *rw, const TnGraphNode *node, gint i, TnVal x)
{
    const guint32 flags = tn_op_input(node->op, i)->flags;
    if (tn_val_is_none(x)) {
        return (TnType){ 0 };
    }
    const TnType *type = tn_type_of(rw->to, x);
    return flags & TN_ARG_SPATIAL  ? lanes_type(type)
           : flags & TN_ARG_WINDOW ? longer_type(type)
                                   : *type;
}

/* Bytes moved in a microsecond, about. */
#define MOVED 8e3

/* Microseconds that it takes to lay the inputs that are not laid yet. */
static double
moving_cost(const Layout *l, const TnRewriter *rw, const TnGraphNode *node, const TnVal *in)
{
    double bytes = 0;
    for (gint i = 0; i < node->n_in; i++) {
        if (tn_reads_data(node->op, i, in[i]) && find(l->made, in[i]) == NULL &&
            (tn_op_input(node->op, i)->flags & TN_ARG_SPATIAL)) {
            bytes += (double)tn_type_bytes(tn_type_of(rw->to, in[i]));
        }
    }
    return bytes / MOVED;
}

/* Whether the node as it is was measured to be faster than in lanes. */
static gboolean
is_faster_plain(const Layout *l, guint device, const TnNode *plain, const TnNode *laid,
                double moving)
{
    return l->options.costs != NULL && l->options.choices == NULL &&
           tn_choice_cost(&l->options, device, plain) <
               tn_choice_cost(&l->options, device, laid) + moving;
}

/* Whether the device that runs the node has a kernel that wants lanes for it. */
static gboolean
wants_lanes(const Layout *l, const TnRewriter *rw, guint number, const TnGraphNode *node,
            const TnVal *in, const void *attrs)
{
    const guint device = (guint)l->claims[number].device;
    TnNodeView view = { .node = { .size = sizeof(TnNode),
                                  .op = node->op,
                                  .attrs = attrs,
                                  .name = node->name,
                                  .n_in = node->n_in,
                                  .n_out = node->n_out,
                                  .in = view.in,
                                  .out = view.out } };
    TnType types[TN_MAX_IN], out[TN_MAX_OUT];
    TnTensor *values[TN_MAX_IN] = { NULL };
    for (gint i = 0; i < node->n_in; i++) {
        types[i] = spatial_type(rw, node, i, in[i]);
        tn_arg_contiguous(&view.in[i], &types[i]);
    }
    if (!tn_op_infer(node->op, attrs, node->name, node->n_in, types, values, &view.node.n_out, out,
                     NULL)) {
        return FALSE;
    }
    for (gint i = 0; i < node->n_out; i++) {
        tn_arg_contiguous(&view.out[i], &out[i]);
    }
    if (!tn_choice_known(&l->options, device, &view.node)) {
        return FALSE;
    }
    const TnKernel *kernel = tn_choose_kernel(&l->options, device, &view.node);
    TnNodeView plain;
    tn_node_view(&plain, rw->from, number);
    return kernel != NULL && (kernel->flags & TN_KERNEL_LANES) &&
           !is_faster_plain(l, device, &plain.node, &view.node, moving_cost(l, rw, node, in));
}

static TnVal
spatial_input(Layout *l, TnRewriter *rw, const TnGraphNode *node, gint i, TnVal x)
{
    const guint32 flags = tn_op_input(node->op, i)->flags;
    if (tn_val_is_none(x) || !(flags & (TN_ARG_SPATIAL | TN_ARG_WINDOW))) {
        return x;
    }
    if (flags & TN_ARG_SHAPE) {
        const TnType laid = spatial_type(rw, node, i, x);
        return only_type(rw, node, &laid);
    }
    return flags & TN_ARG_SPATIAL ? to_lanes(l, rw, node, x) : longer(rw, node, x);
}

static gboolean
lay_spatial(Layout *l, TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in,
            TnVal *out)
{
    gboolean window;
    if (!is_spatial(rw, node, in, &window) || (!window && !has_laid_input(l, node, in))) {
        return FALSE;
    }
    g_autofree void *attrs = longer_attrs(node);
    if (!wants_lanes(l, rw, number, node, in, attrs)) {
        return FALSE;
    }
    TnVal laid[TN_MAX_IN];
    for (gint i = 0; i < node->n_in; i++) {
        laid[i] = spatial_input(l, rw, node, i, in[i]);
    }
    const TnVal first = tn_rewrite_add(rw, node, node->op, attrs, node->n_in, laid);
    for (gint i = 0; i < node->n_out; i++) {
        const guint32 flags = tn_op_output(node->op, i)->flags;
        const TnVal val = { first.node, (guint32)i };
        out[i] = flags & TN_ARG_SPATIAL  ? from_lanes(l, rw, node, val, &node->out[i])
                 : flags & TN_ARG_WINDOW ? tn_rewrite_reshape(rw, node, val, &node->out[i])
                                         : val;
    }
    return TRUE;
}

/* An input of an element-wise node of type `type`: in lanes what has the samples, else with one axis
 * more, so that it broadcasts as before. */
static TnVal
element_input(Layout *l, TnRewriter *rw, const TnGraphNode *node, TnVal x)
{
    const TnType *type = tn_type_of(rw->to, x);
    if (is_images(type) && type->dims[0] == node->out[0].dims[0]) {
        return to_lanes(l, rw, node, x);
    }
    return type->rank == 0 ? x : longer(rw, node, x);
}

static gboolean
lay_elements(Layout *l, TnRewriter *rw, const TnGraphNode *node, const TnVal *in, TnVal *out)
{
    if (!(node->op->flags & TN_OP_ELEMENTWISE) || node->n_out != 1 || !is_images(&node->out[0]) ||
        !has_laid_input(l, node, in)) {
        return FALSE;
    }
    TnVal laid[TN_MAX_IN];
    for (gint i = 0; i < node->n_in; i++) {
        laid[i] = tn_val_is_none(in[i]) ? in[i] : element_input(l, rw, node, in[i]);
    }
    const TnVal val = tn_rewrite_add(rw, node, node->op, node->attrs, node->n_in, laid);
    if (tn_val_is_none(val)) {
        return FALSE;
    }
    out[0] = from_lanes(l, rw, node, val, &node->out[0]);
    return TRUE;
}

/* A sum over the samples, and maybe more, to the shape of what broadcasts with the images. */
static gboolean
lay_sum(Layout *l, TnRewriter *rw, const TnGraphNode *node, const TnVal *in, TnVal *out)
{
    const TnType *to = &node->out[0];
    if (node->op != tn_op_find("reduce_to", NULL) || find(l->made, in[0]) == NULL ||
        (to->rank == RANK && to->dims[0] != 1)) {
        return FALSE;
    }
    const TnType like = longer_type(to);
    const TnVal laid[] = { to_lanes(l, rw, node, in[0]), only_type(rw, node, &like) };
    const TnVal val = tn_rewrite_add(rw, node, node->op, node->attrs, 2, laid);
    if (tn_val_is_none(val)) {
        return FALSE;
    }
    out[0] = tn_rewrite_reshape(rw, node, val, to);
    return TRUE;
}

static gboolean
layout_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
            gboolean *done, GError **error)
{
    Layout *l = rw->data;
    (void)error;
    /* What a random node draws for an element goes by where that lies. */
    *done = l->claims[number].device >= 0 && !(node->op->flags & TN_OP_RANDOM) &&
            (lay_spatial(l, rw, number, node, in, out) || lay_elements(l, rw, node, in, out) ||
             lay_sum(l, rw, node, in, out));
    return TRUE;
}

gboolean
tn_pass_layout(TnCompiler *c, GError **error)
{
    g_autofree TnClaim *claims = g_steal_pointer(&c->claims);
    Layout l = { .c = c,
                 .options = *c->options,
                 .claims = claims,
                 .laid = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free),
                 .made = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL) };
    l.options.chosen = NULL;
    const gboolean ok = tn_rewrite_into(c, NULL, layout_node, &l, error);
    const gboolean changed = g_hash_table_size(l.made) > 0;
    g_hash_table_unref(l.laid);
    g_hash_table_unref(l.made);
    /* Without movements there and back. */
    return ok && (!changed || tn_run_neutral(c, error)) && tn_pass_dce(c, error) &&
           tn_pass_claim(c, error);
}
