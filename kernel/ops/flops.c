/* flops.c: how many floating-point operations a node takes: what its schema says, else what follows
 * from its flags, else the sum over its body.
 *
 * Counted is what the definition takes, whatever a kernel does: a product and a sum are two
 * operations, a function such as exp is one, an element that is compared or chosen is one.
 * Operations on integers, and elements that are only moved, are none. */
#include "graph/graph-private.h"
#include "ops-private.h"

#include <tenon/plugin.h>

static gboolean
is_float(const TnType *type)
{
    const TnDtypeInfo *info = tn_dtype_info(type->dtype);
    return info != NULL && info->klass == TN_CLASS_FLOAT;
}

static gboolean
any_float(gint n, const TnType *types)
{
    for (gint i = 0; i < n; i++) {
        if (is_float(&types[i])) {
            return TRUE;
        }
    }
    return FALSE;
}

/* --- What rows of primitives say -------------------------------------------------------------- */

double
tn_flops_none(const TnFlops *call)
{
    (void)call;
    return 0;
}

double
tn_flops_outputs(const TnFlops *call)
{
    const gboolean floats = any_float(call->n_in, call->in) || any_float(call->n_out, call->out);
    return floats ? (double)tn_type_count(&call->out[0]) : 0;
}

double
tn_flops_inputs(const TnFlops *call)
{
    return is_float(&call->in[0]) ? (double)tn_type_count(&call->in[0]) : 0;
}

double
tn_flops_updates(const TnFlops *call)
{
    return is_float(&call->in[2]) ? (double)tn_type_count(&call->in[2]) : 0;
}

/* --- Any operator ----------------------------------------------------------------------------- */

static double
node_flops(const TnGraph *graph, const TnGraphNode *node)
{
    TnType in[TN_MAX_IN] = { 0 };
    for (gint i = 0; i < node->n_in; i++) {
        if (!tn_val_is_none(node->in[i])) {
            in[i] = *tn_graph_type(graph, node->in[i]);
        }
    }
    return tn_op_flops(node->op, node->attrs, node->n_in, in, node->n_out, node->out);
}

static double
graph_flops(const TnGraph *graph)
{
    double sum = 0;
    for (guint i = 0; i < graph->nodes->len; i++) {
        const double flops = node_flops(graph, tn_graph_node(graph, i));
        if (flops < 0) {
            return TN_FLOPS_UNKNOWN;
        }
        sum += flops;
    }
    return sum;
}

static double
body_flops(const TnFlops *call)
{
    g_autoptr(TnGraph) graph = tn_graph_new("flops");
    TnVal in[TN_MAX_IN], out[TN_MAX_OUT];
    for (gint i = 0; i < call->n_in; i++) {
        g_autofree char *name = g_strdup_printf("x%d", i);
        in[i] = call->in[i].dtype == TN_DTYPE_NONE ? TN_VAL_NONE
                                                   : tn_graph_input(graph, name, call->in[i]);
    }
    return tn_graph_expand(graph, call->op, call->attrs, "body", "body", call->n_in, in,
                           call->n_out, NULL, out, NULL)
               ? graph_flops(graph)
               : TN_FLOPS_UNKNOWN;
}

double
tn_op_flops(const TnOp *op, const void *attrs, gint n_in, const TnType *in, gint n_out,
            const TnType *out)
{
    const TnFlops call = { sizeof(TnFlops), op, attrs, n_in, in, n_out, out };
    if (TN_HAS(op, flops)) {
        return op->flops(&call);
    }
    if (op->flags & (TN_OP_VIEW | TN_OP_SOURCE)) {
        return 0;
    }
    if (op->body != NULL) {
        return body_flops(&call);
    }
    return op->flags & TN_OP_ELEMENTWISE ? tn_flops_outputs(&call) : TN_FLOPS_UNKNOWN;
}
