/* infer.c: the first pass: the graph at this binding's input types, with calls of sub-graphs put
 * in place. */
#include "compile-private.h"

typedef struct {
    TnCompiler *c;
    /* Node number + 1 in the new graph → TnTensor *: static values worked out. */
    GHashTable *known;
} Infer;

static TnTensor *known_value(Infer *infer, const TnGraph *graph, TnVal val);

/* A value that hangs on constants and static inputs alone, computed: for sizes that a graph
 * computes. */
static TnTensor *
compute_known(Infer *infer, const TnGraph *graph, TnVal val)
{
    const TnGraphNode *node = tn_graph_node(graph, val.node);
    TnTensor *in[TN_MAX_IN] = { NULL }, *out[TN_MAX_OUT] = { NULL };
    TnType types[TN_MAX_IN] = { 0 };
    if (tn_is_source(node) || (node->op->flags & (TN_OP_RANDOM | TN_OP_EFFECT)) ||
        node->n_out != 1) {
        return NULL;
    }
    for (gint i = 0; i < node->n_in; i++) {
        if (tn_val_is_none(node->in[i])) {
            continue;
        }
        types[i] = *tn_type_of(graph, node->in[i]);
        if (tn_reads_data(node->op, i, node->in[i])) {
            in[i] = known_value(infer, graph, node->in[i]);
            if (in[i] == NULL) {
                return NULL;
            }
        }
    }
    return tn_eval_node(infer->c->options, node, types, in, out, NULL) ? out[0] : NULL;
}

static TnTensor *
known_value(Infer *infer, const TnGraph *graph, TnVal val)
{
    TnTensor *constant = tn_constant_value(graph, val);
    const gpointer key = GUINT_TO_POINTER(val.node + 1);
    if (constant != NULL || val.out != 0) {
        return constant;
    }
    TnTensor *found = g_hash_table_lookup(infer->known, key);
    if (found == NULL) {
        found = compute_known(infer, graph, val);
        if (found != NULL) {
            g_hash_table_insert(infer->known, key, found);
        }
    }
    return found;
}

static gboolean
infer_types(Infer *infer, TnRewriter *rw, const TnGraphNode *node, const TnVal *in, TnType *out,
            GError **error)
{
    TnType types[TN_MAX_IN] = { 0 };
    TnTensor *values[TN_MAX_IN] = { NULL };
    for (gint i = 0; i < node->n_in; i++) {
        if (tn_val_is_none(in[i])) {
            continue;
        }
        types[i] = *tn_type_of(rw->to, in[i]);
        if (tn_op_input(node->op, i)->flags & TN_ARG_STATIC) {
            values[i] = known_value(infer, rw->to, in[i]);
            if (values[i] == NULL && (node->op->flags & TN_OP_IMPERATIVE)) {
                g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                            "%s (%s): the size of its output depends on data, so it runs in "
                            "imperative mode only",
                            node->name, node->op->name);
                return FALSE;
            }
        }
    }
    gint n_out = node->n_out;
    if (!tn_op_infer(node->op, node->attrs, node->name, node->n_in, types, values, &n_out, out,
                     error)) {
        return FALSE;
    }
    if (n_out != node->n_out) {
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                    "%s (%s): has %d outputs at these sizes, was built with %d", node->name,
                    node->op->name, n_out, node->n_out);
        return FALSE;
    }
    return TRUE;
}

static gint
find_input(const TnGraph *graph, guint number)
{
    for (guint i = 0; i < graph->inputs->len; i++) {
        if (g_array_index(graph->inputs, TnGraphPort, i).val.node == number) {
            return (gint)i;
        }
    }
    return -1;
}

/* Types of a node that has no inputs to infer from: those it was built with, but for the graph's
 * inputs. */
static gboolean
source_type(Infer *infer, TnRewriter *rw, guint number, const TnGraphNode *node, TnType *out,
            GError **error)
{
    const TnCompile *options = infer->c->options;
    *out = node->out[0];
    const gint i = node->op == tn_source_ops()->input ? find_input(rw->from, number) : -1;
    if (i < 0 || options->inputs == NULL) {
        return TRUE;
    }
    const TnType *given = &options->inputs[i];
    if (given->dtype != out->dtype || given->rank != out->rank || tn_type_count(given) < 0) {
        g_autofree char *want = tn_type_print(out), *got = tn_type_print(given);
        g_set_error(error, TN_ERROR, given->dtype != out->dtype ? TN_ERROR_DTYPE : TN_ERROR_SHAPE,
                    "input '%s' is %s, expected the dtype and rank of %s", node->name, got, want);
        return FALSE;
    }
    *out = *given;
    return TRUE;
}

static void
remember_input(Infer *infer, TnRewriter *rw, guint number, TnVal val)
{
    const gint i = find_input(rw->from, number);
    TnTensor *const *values = infer->c->options->values;
    if (i >= 0 && values != NULL && values[i] != NULL) {
        g_hash_table_insert(infer->known, GUINT_TO_POINTER(val.node + 1), tn_tensor_ref(values[i]));
    }
}

static gboolean
infer_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
           gboolean *done, GError **error)
{
    (void)done;
    Infer *infer = rw->data;
    TnType types[TN_MAX_OUT];
    const gboolean source = tn_is_source(node) && node->n_in == 0;
    if (source ? !source_type(infer, rw, number, node, types, error)
               : !infer_types(infer, rw, node, in, types, error)) {
        return FALSE;
    }
    if (node->op == tn_source_ops()->call) {
        return tn_graph_expand(rw->to, node->op, node->attrs, node->name, node->path, node->n_in,
                               in, node->n_out, types, out, error);
    }
    const guint added = tn_graph_add_node(rw->to, node->op, node->attrs, node->name, node->path,
                                          node->n_in, in, node->n_out, types);
    for (gint i = 0; i < node->n_out; i++) {
        out[i] = (TnVal){ added, (guint32)i };
    }
    if (source) {
        remember_input(infer, rw, number, out[0]);
    }
    return TRUE;
}

gboolean
tn_infer_graph(TnCompiler *c, GError **error)
{
    Infer infer = { c, g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)tn_tensor_unref) };
    const gboolean ok = tn_rewrite_into(c, NULL, infer_node, &infer, error);
    g_hash_table_unref(infer.known);
    return ok;
}

gboolean
tn_pass_infer(TnCompiler *c, GError **error)
{
    const gboolean ok = tn_infer_graph(c, error);
    if (ok) {
        tn_find_mixers(c);
    }
    return ok;
}
