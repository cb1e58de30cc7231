/* fold.c: small values that hang on constants alone are computed while compiling, but for what only makes
 * numbers wider: kernels that read them as they are need less memory, and rules are to see that they are
 * narrow (8-bit weights). */
#include "compile-private.h"

/* Larger results would make the program heavier than the work they spare. */
#define MAX_RESULT_BYTES 4096
#define MAX_INPUT_BYTES (64 * 1024)
#define LEAST_NARROW 32 /* elements; fewer are not worth a node */

/* Whether the result is an operand's elements in more bytes each. */
static gboolean
widens(const TnRewriter *rw, const TnGraphNode *node, const TnVal *in)
{
    const gint64 n = tn_type_count(&node->out[0]);
    for (gint i = 0; i < node->n_in && n >= LEAST_NARROW; i++) {
        const TnType *type = tn_val_is_none(in[i]) ? NULL : tn_type_of(rw->to, in[i]);
        if (type != NULL && type->dtype != TN_DTYPE_BOOL && tn_type_count(type) == n &&
            tn_dtype_size(type->dtype) < tn_dtype_size(node->out[0].dtype)) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean
may_fold(const TnRewriter *rw, const TnGraphNode *node, const TnVal *in)
{
    if (tn_is_source(node) || node->n_out < 1 || node->op == &tn_transfer_op ||
        (node->op->flags & (TN_OP_RANDOM | TN_OP_EFFECT)) || widens(rw, node, in)) {
        return FALSE;
    }
    for (gint i = 0; i < node->n_out; i++) {
        if (tn_type_bytes(&node->out[i]) > MAX_RESULT_BYTES) {
            return FALSE;
        }
    }
    for (gint i = 0; i < node->n_in; i++) {
        if (tn_reads_data(node->op, i, in[i]) &&
            (tn_constant_value(rw->to, in[i]) == NULL ||
             tn_type_bytes(tn_type_of(rw->to, in[i])) > MAX_INPUT_BYTES)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
fold_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
          gboolean *done, GError **error)
{
    (void)number;
    (void)error;
    TnTensor *values[TN_MAX_IN] = { NULL }, *results[TN_MAX_OUT] = { NULL };
    TnType types[TN_MAX_IN] = { 0 };
    *done = FALSE;
    if (!may_fold(rw, node, in)) {
        return TRUE;
    }
    for (gint i = 0; i < node->n_in; i++) {
        if (!tn_val_is_none(in[i])) {
            types[i] = *tn_type_of(rw->to, in[i]);
            values[i] = tn_reads_data(node->op, i, in[i]) ? tn_constant_value(rw->to, in[i]) : NULL;
        }
    }
    /* What cannot be computed now fails, if at all, when the program runs. */
    if (!tn_eval_node(rw->data, node, types, values, results, NULL)) {
        return TRUE;
    }
    for (gint i = 0; i < node->n_out; i++) {
        out[i] = tn_rewrite_constant(rw, node, results[i]);
        tn_tensor_unref(results[i]);
    }
    *done = TRUE;
    return TRUE;
}

gboolean
tn_pass_fold(TnCompiler *c, GError **error)
{
    return tn_rewrite_into(c, NULL, fold_node, (gpointer)c->options, error);
}
