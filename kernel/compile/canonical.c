/* canonical.c: one way to write what can be written in several, so that other passes need to
 * know only that one: inputs that only lend their type, the order of inputs that may be swapped,
 * operators that change nothing but a shape, parts of one value. */
#include "compile-private.h"

#include <pthread.h>

/* Operators that keep the elements in row-major order: at sizes that are known each is a
 * reshape. */
static const char *const reshape_names[] = { "flatten", "squeeze", "unsqueeze", "reshape_as" };
static struct {
    const TnOp *reshape, *split, *slice;
    const TnOp *as_reshape[G_N_ELEMENTS(reshape_names)];
} ops;
static pthread_once_t ops_once = PTHREAD_ONCE_INIT;

static void
find_ops(void)
{
    ops.reshape = tn_op_find("reshape", NULL);
    ops.split = tn_op_find("split", NULL);
    ops.slice = tn_op_find("slice", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(reshape_names); i++) {
        ops.as_reshape[i] = tn_op_find(reshape_names[i], NULL);
    }
}

static gboolean
is_reshape(const TnGraphNode *node)
{
    for (gsize i = 0; i < G_N_ELEMENTS(reshape_names); i++) {
        if (node->op == ops.as_reshape[i]) {
            return TRUE;
        }
    }
    return node->op == ops.reshape;
}

TnVal
tn_rewrite_reshape(TnRewriter *rw, const TnGraphNode *node, TnVal x, const TnType *type)
{
    pthread_once(&ops_once, find_ops);
    TnReshapeAttrs attrs = { .allowzero = TRUE, .shape = { .rank = type->rank } };
    memcpy(attrs.shape.dims, type->dims, sizeof type->dims);
    return tn_rewrite_add(rw, node, ops.reshape, &attrs, 1, &x);
}

/* An input of which only the type counts must not keep its node alive. */
static TnVal
type_only(TnRewriter *rw, const TnGraphNode *node, TnVal val)
{
    if (tn_graph_node(rw->to, val.node)->op == &tn_type_only_op) {
        return val;
    }
    const TnType type = *tn_type_of(rw->to, val);
    g_autofree char *name = g_strconcat(node->name, ".like", NULL);
    return (TnVal){
        tn_graph_add_node(rw->to, &tn_type_only_op, NULL, name, NULL, 0, NULL, 1, &type), 0
    };
}

/* At sizes that are known the parts are slices, which are views where all readers take strides. */
static void
parts_of(TnRewriter *rw, const TnGraphNode *node, TnVal x, TnVal *out)
{
    const TnSplitAttrs *attrs = node->attrs;
    const gint64 axis = attrs->axis + (attrs->axis < 0 ? node->out[0].rank : 0);
    gint64 place = 0;
    for (gint k = 0; k < node->n_out; k++) {
        const gint64 end = place + node->out[k].dims[axis];
        const TnSliceAttrs part = { .starts = { 1, { place } },
                                    .ends = { 1, { end } },
                                    .axes = { 1, { axis } } };
        out[k] = tn_rewrite_add(rw, node, ops.slice, &part, 1, &x);
        place = end;
    }
}

static guint64
order_key(const TnGraph *graph, TnVal val)
{
    const guint64 last = tn_constant_value(graph, val) != NULL;
    return last << 48 | (guint64)val.node << 8 | val.out;
}

static gboolean
canonical_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
               gboolean *done, GError **error)
{
    (void)number;
    (void)error;
    (void)done;
    TnVal use[TN_MAX_IN];
    for (gint i = 0; i < node->n_in; i++) {
        const gboolean shape = !tn_val_is_none(in[i]) && !tn_reads_data(node->op, i, in[i]);
        use[i] = shape ? type_only(rw, node, in[i]) : in[i];
    }
    if ((node->op->flags & TN_OP_COMMUTATIVE) && node->n_in >= 2 &&
        order_key(rw->to, use[0]) > order_key(rw->to, use[1])) {
        const TnVal first = use[0];
        use[0] = use[1];
        use[1] = first;
    }
    if (is_reshape(node)) {
        out[0] = tn_rewrite_reshape(rw, node, use[0], &node->out[0]);
        if (!tn_val_is_none(out[0])) {
            return TRUE;
        }
    }
    if (node->op == ops.split) {
        parts_of(rw, node, use[0], out);
        return TRUE;
    }
    tn_rewrite_copy(rw, node, use, out);
    return TRUE;
}

gboolean
tn_pass_canonical(TnCompiler *c, GError **error)
{
    pthread_once(&ops_once, find_ops);
    return tn_rewrite_into(c, NULL, canonical_node, NULL, error);
}
