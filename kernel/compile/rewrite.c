/* rewrite.c: makes a new graph out of an old one, node by node. Every pass that changes the
 * graph is a function given to tn_rewrite; what it does not change is copied. */
#include "compile-private.h"

#include <math.h>
#include <pthread.h>

/* --- Operators by name, looked up once -------------------------------------------------------- */

static TnSourceOps source_ops;
static pthread_once_t source_once = PTHREAD_ONCE_INIT;

static void
find_source_ops(void)
{
    source_ops = (TnSourceOps){
        .input = tn_op_find("input", NULL),
        .variable = tn_op_find("variable", NULL),
        .constant = tn_op_find("constant", NULL),
        .assign = tn_op_find("assign", NULL),
        .call = tn_op_find("call", NULL),
        .fused = tn_op_find("fused", NULL),
    };
}

const TnSourceOps *
tn_source_ops(void)
{
    pthread_once(&source_once, find_source_ops);
    return &source_ops;
}

static double
no_flops(const TnFlops *call)
{
    (void)call;
    return 0;
}

static const TnOpArg any_arg[] = {
    { .name = "x", .help = "any", .type = 'T', .dtypes = TN_DTYPES_ALL },
};

const TnOp tn_type_only_op = {
    .size = sizeof(TnOp),
    .arg_size = sizeof(TnOpArg),
    .name = "type",
    .help = "a value of which only the type is looked at",
    .flags = TN_OP_SOURCE | TN_OP_NO_GRAD,
    .outputs = any_arg,
    .n_outputs = 1,
};

static const TnOption transfer_rows[] = {
    { .name = "device", .type = TN_OPT_ENUM, .offset = G_STRUCT_OFFSET(TnTransferAttrs, device) },
};

const TnOp tn_transfer_op = {
    .size = sizeof(TnOp),
    .arg_size = sizeof(TnOpArg),
    .name = "copy",
    .help = "a copy in the memory of a device",
    .flops = no_flops,
    .inputs = any_arg,
    .n_inputs = 1,
    .outputs = any_arg,
    .n_outputs = 1,
    .attrs = { sizeof(TnTransferAttrs), sizeof(TnOption), 0, transfer_rows },
};

const TnOp tn_keep_op = {
    .size = sizeof(TnOp),
    .arg_size = sizeof(TnOpArg),
    .name = "keep",
    .help = "what a kernel makes of fixed inputs and keeps from run to run",
    .flops = no_flops,
    .inputs = any_arg,
    .n_inputs = 1,
    .outputs = any_arg,
    .n_outputs = 1,
};

/* --- Constants -------------------------------------------------------------------------------- */

TnTensor *
tn_constant_value(const TnGraph *graph, TnVal val)
{
    if (tn_val_is_none(val)) {
        return NULL;
    }
    const TnGraphNode *node = tn_graph_node(graph, val.node);
    return node->op == tn_source_ops()->constant ? ((const TnConstantAttrs *)node->attrs)->value
                                                 : NULL;
}

gboolean
tn_constant_splat(const TnGraph *graph, TnVal val, double *value)
{
    TnTensor *tensor = tn_constant_value(graph, val);
    if (tensor == NULL || tn_tensor_count(tensor) < 1 || tn_tensor_count(tensor) > 64) {
        return FALSE;
    }
    const double first = tn_tensor_get(tensor, 0);
    for (gint64 i = 1; i < tn_tensor_count(tensor); i++) {
        if (tn_tensor_get(tensor, i) != first) {
            return FALSE;
        }
    }
    *value = first;
    return isfinite(first);
}

/* --- Rewriting -------------------------------------------------------------------------------- */

TnVal
tn_rewrite_copy(TnRewriter *rw, const TnGraphNode *node, const TnVal *in, TnVal *out)
{
    const guint number = tn_graph_add_node(rw->to, node->op, node->attrs, node->name, node->path,
                                           node->n_in, in, node->n_out, node->out);
    for (gint i = 0; i < node->n_out && out != NULL; i++) {
        out[i] = (TnVal){ number, (guint32)i };
    }
    return (TnVal){ number, 0 };
}

TnVal
tn_rewrite_add(TnRewriter *rw, const TnGraphNode *node, const TnOp *op, const void *attrs,
               gint n_in, const TnVal *in)
{
    TnType types[TN_MAX_IN], out[TN_MAX_OUT];
    TnTensor *values[TN_MAX_IN];
    for (gint i = 0; i < n_in; i++) {
        types[i] = tn_val_is_none(in[i]) ? (TnType){ 0 } : *tn_type_of(rw->to, in[i]);
        values[i] = tn_constant_value(rw->to, in[i]);
    }
    gint n_out = (gint)op->n_outputs;
    if (!tn_op_infer(op, attrs, node->name, n_in, types, values, &n_out, out, NULL)) {
        return TN_VAL_NONE;
    }
    return (TnVal){
        tn_graph_add_node(rw->to, op, attrs, node->name, node->path, n_in, in, n_out, out), 0
    };
}

TnVal
tn_rewrite_constant(TnRewriter *rw, const TnGraphNode *node, TnTensor *tensor)
{
    const TnConstantAttrs attrs = { .value = tensor };
    return (TnVal){ tn_graph_add_node(rw->to, tn_source_ops()->constant, &attrs, node->name,
                                      node->path, 0, NULL, 1, tn_tensor_type(tensor)),
                    0 };
}

/* Variables are known to the new graph from the beginning, because sub-graphs put in place may
 * use them as well. */
static void
begin_variables(TnRewriter *rw)
{
    for (guint i = 0; i < rw->from->variables->len; i++) {
        TnGraphVariable variable = g_array_index(rw->from->variables, TnGraphVariable, i);
        variable.read = TN_VAL_NONE;
        variable.assigned = TN_VAL_NONE;
        variable.assign = G_MAXUINT;
        g_array_append_val(rw->to->variables, variable);
    }
}

static TnGraphVariable *
find_variable(TnGraph *graph, const char *name)
{
    for (guint i = 0; i < graph->variables->len; i++) {
        TnGraphVariable *variable = &g_array_index(graph->variables, TnGraphVariable, i);
        if (strcmp(variable->name, name) == 0) {
            return variable;
        }
    }
    return NULL;
}

/* A variable is read by one node and assigned by one. */
static void
note_variable(TnRewriter *rw, const TnGraphNode *node, TnVal *out)
{
    const TnSourceOps *ops = tn_source_ops();
    if (node->op != ops->variable && node->op != ops->assign) {
        return;
    }
    TnGraphVariable *variable = find_variable(rw->to, ((const TnVariableAttrs *)node->attrs)->name);
    if (node->op == ops->assign) {
        variable->assign = rw->to->nodes->len - 1;
    } else if (tn_val_is_none(variable->read)) {
        variable->read = out[0];
    } else {
        out[0] = variable->read;
    }
}

static gboolean
end_variables(TnRewriter *rw, GError **error)
{
    for (guint i = 0; i < rw->from->variables->len; i++) {
        const TnGraphVariable *from = &g_array_index(rw->from->variables, TnGraphVariable, i);
        TnGraphVariable *to = &g_array_index(rw->to->variables, TnGraphVariable, i);
        if (tn_val_is_none(from->assigned)) {
            continue;
        }
        if (!tn_val_is_none(to->assigned)) {
            g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                        "variable '%s' is assigned by the graph and by a sub-graph of it",
                        from->name);
            return FALSE;
        }
        to->assigned = tn_rewritten(rw, from->assigned);
    }
    return TRUE;
}

/* The names of ports are interned, so that copying the structs is enough. */
static void
copy_ports(TnRewriter *rw)
{
    const TnGraph *from = rw->from;
    for (guint i = 0; i < from->inputs->len; i++) {
        TnGraphPort port = g_array_index(from->inputs, TnGraphPort, i);
        port.val = tn_rewritten(rw, port.val);
        g_array_append_val(rw->to->inputs, port);
    }
    for (guint i = 0; i < from->outputs->len; i++) {
        TnGraphPort port = g_array_index(from->outputs, TnGraphPort, i);
        port.val = tn_rewritten(rw, port.val);
        g_array_append_val(rw->to->outputs, port);
    }
}

static gboolean
rewrite_node(TnRewriter *rw, guint number, TnRewrite func, GError **error)
{
    const TnGraphNode *node = tn_graph_node(rw->from, number);
    TnVal in[TN_MAX_IN], out[TN_MAX_OUT];
    gboolean done = TRUE;
    for (gint i = 0; i < node->n_in; i++) {
        in[i] = tn_rewritten(rw, node->in[i]);
    }
    for (gint i = 0; i < TN_MAX_OUT; i++) {
        out[i] = TN_VAL_NONE;
    }
    if (func == NULL) {
        done = FALSE;
    } else if (!func(rw, number, node, in, out, &done, error)) {
        return FALSE;
    }
    if (!done) {
        tn_rewrite_copy(rw, node, in, out);
    }
    note_variable(rw, node, out);
    for (gint i = 0; i < node->n_out; i++) {
        rw->map[rw->first[number] + (guint)i] = out[i];
    }
    return TRUE;
}

TnGraph *
tn_rewrite(const TnGraph *from, const gboolean *keep, const guint32 *order, TnRewrite func,
           gpointer data, GError **error)
{
    const guint n = from->nodes->len;
    g_autofree guint32 *first = g_new(guint32, n + 1);
    guint32 n_values = 0;
    for (guint i = 0; i < n; i++) {
        first[i] = n_values;
        n_values += (guint32)tn_graph_node(from, i)->n_out;
    }
    g_autofree TnVal *map = g_new(TnVal, n_values + 1);
    for (guint i = 0; i < n_values; i++) {
        map[i] = TN_VAL_NONE;
    }
    g_autoptr(TnGraph) to = tn_graph_new(from->name);
    TnRewriter rw = {
        .from = from, .to = to, .first = first, .map = map, .keep = keep, .data = data
    };
    begin_variables(&rw);
    const TnOp *const input = tn_source_ops()->input;
    for (guint k = 0; k < n; k++) {
        const guint i = order != NULL ? order[k] : k;
        if ((keep == NULL || keep[i] || tn_graph_node(from, i)->op == input) &&
            !rewrite_node(&rw, i, func, error)) {
            return NULL;
        }
    }
    if (!end_variables(&rw, error)) {
        return NULL;
    }
    copy_ports(&rw);
    return g_steal_pointer(&to);
}

void
tn_compiler_set_graph(TnCompiler *c, TnGraph *graph)
{
    if (c->graph != NULL) {
        tn_graph_unref(c->graph);
    }
    c->graph = graph;
    g_clear_pointer(&c->claims, g_free);
    g_clear_pointer(&c->again, g_free);
}

void
tn_compiler_clear(TnCompiler *c)
{
    tn_compiler_set_graph(c, NULL);
    g_free(c->trace);
    g_free(c->space);
    g_free(c->input_home);
    g_free(c->variable_home);
    g_clear_pointer(&c->mixed, g_hash_table_unref);
}

guint64
tn_compiler_variable_bytes(const TnCompiler *c)
{
    guint64 sum = 0;
    for (guint i = 0; i < c->graph->variables->len; i++) {
        sum += (guint64)tn_type_bytes(&g_array_index(c->graph->variables, TnGraphVariable, i).type);
    }
    return sum;
}

gboolean
tn_rewrite_into(TnCompiler *c, const gboolean *keep, TnRewrite func, gpointer data, GError **error)
{
    TnGraph *graph = tn_rewrite(c->graph, keep, NULL, func, data, error);
    if (graph == NULL) {
        return FALSE;
    }
    tn_compiler_set_graph(c, graph);
    return TRUE;
}
