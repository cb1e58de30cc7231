/* precision.c: mixed precision. Products are computed from narrow numbers, the rest in f32: variables,
 * and so weights, stay as they are.
 *
 * Micikevicius et al., Mixed Precision Training (2018); Kalamkar et al., A Study of BFLOAT16 for Deep
 * Learning Training (2019): bf16 has f32's exponents, so that nothing needs to be scaled.
 *
 * What an operator does is its own row's word (TnOp.precision). Every value keeps its f32 self, for
 * whoever reads that; beside it stands, where somebody wants it, the narrow one, made once. Element-wise
 * nodes compute in f32 from what is stored narrow: the casts become part of their groups. */
#include "compile-private.h"

#include <tenon/plugin.h>

typedef struct {
    TnDtype narrow;
    GHashTable *made;        /* of a value of the new graph: TnVal, the same narrow */
    GHashTable *low;         /* values of the new graph that are no more exact than narrow ones */
    gboolean *is_wanted;     /* narrow, by a reader: of nodes of the old graph */
    const gboolean *weights; /* old nodes that do not count for what follows; NULL: all count */
    gboolean all;            /* all inputs that count must be low, not the largest of them alone */
    const TnOp *cast;
} Precision;

static guint64 *
key_of(TnVal val)
{
    const guint64 key = (guint64)val.node << 8 | val.out;
    return g_memdup2(&key, sizeof key);
}

static TnVal
find_made(const Precision *p, TnVal val)
{
    const guint64 key = (guint64)val.node << 8 | val.out;
    const TnVal *made = g_hash_table_lookup(p->made, &key);
    return made != NULL ? *made : TN_VAL_NONE;
}

static gboolean
is_low(const Precision *p, TnVal val)
{
    const guint64 key = (guint64)val.node << 8 | val.out;
    return g_hash_table_contains(p->low, &key);
}

static gboolean
is_f32(const TnGraph *graph, TnVal val)
{
    return tn_type_of(graph, val)->dtype == TN_DTYPE_F32;
}

/* Input i of a node, as data in f32 that is of the type of the first: what a product casts. */
static gboolean
is_main(const TnGraph *graph, const TnOp *op, gint i, TnVal val)
{
    return tn_reads_data(op, i, val) && is_f32(graph, val) &&
           tn_op_input(op, i)->type == tn_op_input(op, 0)->type;
}

static TnPrecision
precision_of(const TnOp *op)
{
    const gboolean moves = (op->flags & TN_OP_VIEW) && !(op->flags & TN_OP_ELEMENTWISE);
    const guint32 says = TN_HAS(op, precision) ? op->precision : TN_PRECISION_WIDE;
    return says != TN_PRECISION_WIDE ? (TnPrecision)says
           : moves                   ? TN_PRECISION_FOLLOW
                                     : TN_PRECISION_WIDE;
}

/* --- Casts ------------------------------------------------------------------------------------ */

static TnVal
cast(const Precision *p, TnRewriter *rw, const TnGraphNode *node, TnVal x, TnDtype to)
{
    const TnCastAttrs attrs = { to };
    return tn_rewrite_add(rw, node, p->cast, &attrs, 1, &x);
}

static void
remember(Precision *p, TnVal wide, TnVal narrow)
{
    g_hash_table_insert(p->made, key_of(wide), g_memdup2(&narrow, sizeof narrow));
}

/* The narrow value of an f32 one. What only moves elements is done to narrow ones, which are there or
 * serve other readers too. */
static TnVal
narrowed(Precision *p, TnRewriter *rw, const TnGraphNode *node, TnVal x)
{
    TnVal made = find_made(p, x);
    if (!tn_val_is_none(made)) {
        return made;
    }
    const TnGraphNode from = *tn_graph_node(rw->to, x.node);
    if ((from.op->flags & TN_OP_VIEW) && from.n_in >= 1 && from.n_out == 1 &&
        is_main(rw->to, from.op, 0, from.in[0])) {
        TnVal in[TN_MAX_IN];
        memcpy(in, from.in, (gsize)from.n_in * sizeof *in);
        for (gint i = 0; i < from.n_in; i++) {
            in[i] = is_main(rw->to, from.op, i, in[i]) ? narrowed(p, rw, node, in[i]) : in[i];
        }
        made = tn_rewrite_add(rw, &from, from.op, from.attrs, from.n_in, in);
    }
    if (tn_val_is_none(made)) {
        made = cast(p, rw, node, x, p->narrow);
    }
    remember(p, x, made);
    return made;
}

/* The f32 value of a narrow one that a node gave. */
static TnVal
widened(Precision *p, TnRewriter *rw, const TnGraphNode *node, TnVal narrow)
{
    const TnVal wide = cast(p, rw, node, narrow, TN_DTYPE_F32);
    remember(p, wide, narrow);
    g_hash_table_add(p->low, key_of(wide));
    return wide;
}

/* --- Nodes ------------------------------------------------------------------------------------ */

/* Whether input i counts for whether its node's result is no more exact than narrow numbers. */
static gboolean
counts(const Precision *p, const TnRewriter *rw, const TnGraphNode *node, gint i, TnVal x,
       gboolean only_main)
{
    const gboolean is = only_main ? is_main(rw->to, node->op, i, x)
                                  : tn_reads_data(node->op, i, x) && is_f32(rw->to, x);
    return is && (p->weights == NULL || !p->weights[node->in[i].node]);
}

/* Whether the largest of the inputs that count, or all of them, are no more exact than narrow ones: then neither
 * need be what is made of them. */
static gboolean
inputs_are_low(const Precision *p, const TnRewriter *rw, const TnGraphNode *node, const TnVal *in,
               gboolean only_main)
{
    gint64 most = -1;
    gboolean low = FALSE;
    for (gint i = 0; i < node->n_in; i++) {
        if (!counts(p, rw, node, i, in[i], only_main)) {
            continue;
        }
        const gint64 count = p->all ? 0 : tn_type_count(tn_type_of(rw->to, in[i]));
        if (count >= most) {
            low = (low || count > most) && is_low(p, in[i]);
            most = count;
        }
    }
    return low;
}

/* The node on narrow inputs; FALSE if the operator does not take them. */
static gboolean
narrow_node(Precision *p, TnRewriter *rw, const TnGraphNode *node, const TnVal *in, TnVal *out)
{
    TnVal use[TN_MAX_IN];
    for (gint i = 0; i < node->n_in; i++) {
        use[i] = is_main(rw->to, node->op, i, in[i]) ? narrowed(p, rw, node, in[i]) : in[i];
    }
    const TnVal first = tn_rewrite_add(rw, node, node->op, node->attrs, node->n_in, use);
    if (tn_val_is_none(first)) {
        return FALSE;
    }
    for (gint i = 0; i < node->n_out; i++) {
        const TnVal val = { first.node, (guint32)i };
        out[i] =
            tn_type_equal(tn_type_of(rw->to, val), &node->out[i]) ? val : widened(p, rw, node, val);
    }
    return TRUE;
}

/* An operator that widens what it must by itself gets what is stored narrow as it is stored. */
static void
take_stored(const Precision *p, const TnGraphNode *node, const TnVal *in, TnVal *use)
{
    for (gint i = 0; i < node->n_in; i++) {
        const gboolean low = tn_reads_data(node->op, i, in[i]) && is_low(p, in[i]);
        const TnVal made = low ? find_made(p, in[i]) : TN_VAL_NONE;
        const gboolean alone =
            low && tn_op_input(node->op, i)->type != tn_op_input(node->op, 0)->type;
        use[i] = alone && !tn_val_is_none(made) ? made : in[i];
    }
}

/* In f32 as it stands. What a product or what follows one reads is stored narrow, and read from there
 * by everybody. */
static void
element_node(Precision *p, TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in,
             TnVal *out)
{
    tn_rewrite_copy(rw, node, in, out);
    if (!is_f32(rw->to, out[0]) || !inputs_are_low(p, rw, node, in, FALSE)) {
        return;
    }
    if (p->is_wanted[number]) {
        out[0] = widened(p, rw, node, cast(p, rw, node, out[0], p->narrow));
    } else {
        g_hash_table_add(p->low, key_of(out[0]));
    }
}

static gboolean
precision_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
               gboolean *done, GError **error)
{
    Precision *p = rw->data;
    const TnPrecision precision = precision_of(node->op);
    TnVal use[TN_MAX_IN];
    (void)error;
    if (precision == TN_PRECISION_NARROW ||
        (precision == TN_PRECISION_FOLLOW && inputs_are_low(p, rw, node, in, TRUE))) {
        *done = narrow_node(p, rw, node, in, out);
    } else if (precision == TN_PRECISION_AS_STORED) {
        take_stored(p, node, in, use);
        tn_rewrite_copy(rw, node, use, out);
    } else if ((node->op->flags & TN_OP_ELEMENTWISE) && node->n_out == 1) {
        element_node(p, rw, number, node, in, out);
    } else {
        *done = FALSE;
    }
    return TRUE;
}

/* --- The pass --------------------------------------------------------------------------------- */

static void
find_wanted(const Precision *p, const TnGraph *graph)
{
    for (guint i = 0; i < graph->nodes->len; i++) {
        const TnGraphNode *node = tn_graph_node(graph, i);
        const TnPrecision precision = precision_of(node->op);
        const gboolean wants = precision == TN_PRECISION_NARROW || precision == TN_PRECISION_FOLLOW;
        for (gint k = 0; wants && k < node->n_in; k++) {
            if (is_main(graph, node->op, k, node->in[k])) {
                p->is_wanted[node->in[k].node] = TRUE;
            }
        }
    }
}

gboolean
tn_pass_precision(TnCompiler *c, GError **error)
{
    if (c->options->precision == TN_DTYPE_NONE || c->options->precision == TN_DTYPE_F32) {
        return TRUE;
    }
    g_autofree gboolean *is_wanted = g_new0(gboolean, c->graph->nodes->len + 1);
    Precision p = {
        .narrow = c->options->precision,
        .made = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free),
        .low = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL),
        .is_wanted = is_wanted,
        .cast = tn_op_find("cast", NULL),
    };
    /* Whether weights are as many as what they meet hangs on the number of samples. */
    TnFixed fixed = { NULL };
    p.weights = c->options->batch_invariant ? tn_fixed_nodes(&fixed, c->graph, c->graph) : NULL;
    /* Of others, as in bodies of control flow, that is not known. */
    p.all = c->options->batch_invariant;
    find_wanted(&p, c->graph);
    const gboolean ok = tn_rewrite_into(c, NULL, precision_node, &p, error);
    tn_fixed_clear(&fixed);
    g_hash_table_unref(p.made);
    g_hash_table_unref(p.low);
    return ok && tn_run_neutral(c, error);
}
