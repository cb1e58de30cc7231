/* tape.c: imperative mode: each operator is a program of one node, run at once; the tape is the
 * graph of what was computed, so that gradients are more nodes of it. */
#include "tape-private.h"

#include "compile/compile-private.h"
#include "exec-private.h"
#include "graph/store-private.h"

#include <tenon/base.h>
#include <tenon/tape.h>

/* Programs of single nodes that a tape keeps ready. */
#define MAX_EXECS 512

static void
unref_tensor(gpointer tensor)
{
    if (tensor != NULL) {
        tn_tensor_unref(tensor);
    }
}

static void
free_exec(gpointer exec)
{
    tn_exec_free(exec);
}

TnTape *
tn_tape_new(TnContext *context)
{
    TnTape *tape = g_new0(TnTape, 1);
    tape->context = tn_context_ref(context);
    tape->graph = tn_graph_new("tape");
    tape->tensors = g_ptr_array_new_with_free_func(unref_tensor);
    tape->execs = g_hash_table_new_full(g_bytes_hash, g_bytes_equal, (GDestroyNotify)g_bytes_unref,
                                        free_exec);
    tape->drawing = g_hash_table_new(NULL, NULL);
    return tape;
}

void
tn_tape_free(TnTape *tape)
{
    if (tape == NULL) {
        return;
    }
    g_ptr_array_unref(tape->tensors);
    g_hash_table_unref(tape->execs);
    g_hash_table_unref(tape->drawing);
    tn_graph_unref(tape->graph);
    tn_context_unref(tape->context);
    g_free(tape);
}

void
tn_tape_clear(TnTape *tape)
{
    g_ptr_array_set_size(tape->tensors, 0);
    tn_graph_unref(tape->graph);
    tape->graph = tn_graph_new("tape");
    tape->n_inputs = 0; /* names of a new graph begin anew: they are interned for good */
    tape->bytes = 0;
}

TnGraph *
tn_tape_graph(TnTape *tape)
{
    return tape->graph;
}

guint64
tn_tape_bytes(const TnTape *tape)
{
    return tape->bytes;
}

/* --- Tensors of values ------------------------------------------------------------------------ */

void
tn_tape_set_tensor(TnTape *tape, TnVal val, TnTensor *tensor)
{
    const guint at = val.node * TN_MAX_OUT + val.out;
    if (tape->tensors->len <= at) {
        g_ptr_array_set_size(tape->tensors, (gint)(val.node + 1) * TN_MAX_OUT);
    }
    TnTensor *before = tape->tensors->pdata[at];
    tape->bytes -= before != NULL ? (guint64)tn_tensor_bytes(before) : 0;
    tape->bytes += (guint64)tn_tensor_bytes(tensor);
    unref_tensor(before);
    tape->tensors->pdata[at] = tensor;
}

TnTensor *
tn_tape_tensor(TnTape *tape, TnVal val)
{
    if (tn_val_is_none(val)) {
        return NULL;
    }
    const guint at = val.node * TN_MAX_OUT + val.out;
    TnTensor *tensor = at < tape->tensors->len ? tape->tensors->pdata[at] : NULL;
    return tensor != NULL ? tensor : tn_constant_value(tape->graph, val);
}

/* What went wrong while the graph grew is this call's error; the tape goes on without it. */
static gboolean
take_error(TnTape *tape, GError **error)
{
    const gboolean ok = tn_graph_check(tape->graph, error);
    g_clear_error(&tape->graph->error);
    return ok;
}

TnVal
tn_tape_add_input(TnTape *tape, const TnType *type)
{
    g_autofree char *name = g_strdup_printf("input_%u", tape->n_inputs++);
    return tn_graph_input(tape->graph, name, *type);
}

TnVal
tn_tape_input(TnTape *tape, TnTensor *tensor)
{
    const TnVal val = tn_tape_add_input(tape, tn_tensor_type(tensor));
    tn_tape_set_tensor(tape, val, tn_tensor_ref(tensor));
    return val;
}

TnVal
tn_tape_variable(TnTape *tape, TnVar *var, GError **error)
{
    TnTensor *now = tn_var_tensor(var);
    g_autoptr(TnTensor) copy = tn_tensor_copy(now, tn_tensor_device(now), TN_DTYPE_NONE, error);
    if (copy == NULL) {
        tn_error_prefix(error, "variable '%s'", tn_var_info(var)->name);
        return TN_VAL_NONE;
    }
    return tn_tape_input(tape, copy);
}

gboolean
tn_tape_assign(TnTape *tape, TnVar *var, TnVal val, GError **error)
{
    TnTensor *from = tn_tape_tensor(tape, val), *to = tn_var_tensor(var);
    if (from == NULL || !tn_type_equal(tn_tensor_type(from), tn_tensor_type(to))) {
        g_autofree char *got = from != NULL ? tn_type_print(tn_tensor_type(from)) : NULL;
        g_autofree char *want = tn_type_print(tn_tensor_type(to));
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE, "variable '%s' is %s, cannot be assigned %s",
                    tn_var_info(var)->name, want, got != NULL ? got : "nothing");
        return FALSE;
    }
    const gboolean ok = tn_tensor_copy_into(to, from, error);
    tn_var_touch(var); /* behind the write: who sees the version sees the elements */
    return ok;
}

/* --- Programs of one node --------------------------------------------------------------------- */

static void
put(GByteArray *key, const void *bytes, gsize size)
{
    g_byte_array_append(key, bytes, (guint)size);
}

static guint64
tensor_hash(TnTensor *tensor)
{
    g_autoptr(TnTensor) copy = tn_tensor_copy(tensor, NULL, TN_DTYPE_NONE, NULL);
    return copy == NULL ? 0
                        : tn_hash(TN_HASH_INIT, tn_storage_memory(tn_tensor_storage(copy)),
                                  (gsize)tn_tensor_bytes(copy));
}

/* What two nodes must have in common to share a program: operator, attributes, types, contents
 * of constants. */
static GBytes *
node_key(const TnTape *tape, const TnGraphNode *node)
{
    GByteArray *key = g_byte_array_new();
    const guint64 attrs = node->attrs != NULL ? tn_options_hash(&node->op->attrs, node->attrs) : 0;
    put(key, &node->op, sizeof node->op);
    put(key, &attrs, sizeof attrs);
    for (gint i = 0; i < node->n_in; i++) {
        const TnType type =
            tn_val_is_none(node->in[i]) ? (TnType){ 0 } : *tn_type_of(tape->graph, node->in[i]);
        TnTensor *constant = tn_constant_value(tape->graph, node->in[i]);
        put(key, &type.dtype, sizeof type.dtype);
        put(key, &type.rank, sizeof type.rank);
        put(key, type.dims, (gsize)type.rank * sizeof(gint64));
        const guint64 contents = constant != NULL ? tensor_hash(constant) : 0;
        put(key, &contents, sizeof contents);
    }
    if (tn_op_draws_by_path(node->op)) {
        put(key, node->path, strlen(node->path));
    }
    return g_byte_array_free_to_bytes(key);
}

/* A graph of the one node: inputs in the node's order, but for constants. */
static TnGraph *
node_graph(const TnTape *tape, const TnGraphNode *node)
{
    TnGraph *graph = tn_graph_new(node->name);
    TnVal in[TN_MAX_IN];
    for (gint i = 0; i < node->n_in; i++) {
        TnTensor *constant = tn_constant_value(tape->graph, node->in[i]);
        g_autofree char *name = g_strdup_printf("x%d", i);
        in[i] = node->in[i];
        if (constant != NULL) {
            in[i] = tn_graph_constant(graph, constant);
        } else if (!tn_val_is_none(node->in[i])) {
            in[i] = tn_graph_input(graph, name, *tn_type_of(tape->graph, node->in[i]));
        }
    }
    const guint number = tn_graph_add_node(graph, node->op, node->attrs, node->name, node->path,
                                           node->n_in, in, node->n_out, node->out);
    for (gint i = 0; i < node->n_out; i++) {
        g_autofree char *name = g_strdup_printf("y%d", i);
        tn_graph_output(graph, name, (TnVal){ number, (guint32)i });
    }
    return graph;
}

static TnExec *
new_exec(TnTape *tape, const TnGraphNode *node, GError **error)
{
    g_autoptr(TnGraph) graph = node_graph(tape, node);
    TnCompile options;
    tn_compile_init(&options, tape->context);
    options.choices = NULL; /* of programs, whose nodes these are not */
    options.memory_limit = 0;
    const gint64 begin = tn_span_begin(tape->context);
    g_autoptr(TnProgram) program = tn_compile_shared(graph, &options, error);
    tn_span_end(tape->context, "compile", node->name, begin);
    return program != NULL ? tn_exec_new(program, NULL, tape->context, error) : NULL;
}

static TnExec *
find_exec(TnTape *tape, const TnGraphNode *node, GError **error)
{
    g_autoptr(GBytes) key = node_key(tape, node);
    TnExec *exec = g_hash_table_lookup(tape->execs, key);
    if (exec == NULL) {
        exec = new_exec(tape, node, error);
        if (exec == NULL) {
            return NULL;
        }
        if (g_hash_table_size(tape->execs) >= MAX_EXECS) {
            g_hash_table_remove_all(tape->execs);
        }
        g_hash_table_insert(tape->execs, g_bytes_ref(key), exec);
    }
    return exec;
}

/* --- Computing -------------------------------------------------------------------------------- */

static gboolean
bind_inputs(TnTape *tape, const TnGraphNode *node, TnExec *exec, GError **error)
{
    guint input = 0;
    for (gint i = 0; i < node->n_in; i++) {
        if (tn_val_is_none(node->in[i]) || tn_constant_value(tape->graph, node->in[i]) != NULL) {
            continue;
        }
        TnTensor *tensor = tn_tape_tensor(tape, node->in[i]);
        if (tensor != NULL && !tn_tensor_is_contiguous(tensor)) {
            TnTensor *copy = tn_tensor_copy(tensor, tn_tensor_device(tensor), TN_DTYPE_NONE, error);
            if (copy == NULL) {
                return FALSE;
            }
            tn_tape_set_tensor(tape, node->in[i], copy);
            tensor = copy;
        }
        /* An input of which only the type counts need not have been computed. */
        if (tensor != NULL && tn_exec_bind(exec, input, tensor) != TN_OK) {
            g_propagate_error(error, g_error_copy(tn_exec_error(exec)));
            return FALSE;
        }
        input++;
    }
    return TRUE;
}

/* What is kept for later must not keep the tensors that it was used with. */
static void
unbind_inputs(TnExec *exec)
{
    for (guint i = 0; i < exec->program->n_inputs; i++) {
        tn_exec_bind(exec, i, NULL);
    }
}

static gboolean
run_bound(TnTape *tape, const TnGraphNode *node, TnExec *exec, GError **error)
{
    if (!bind_inputs(tape, node, exec, error)) {
        return FALSE;
    }
    if (tn_exec_run(exec) != TN_OK) {
        g_propagate_error(error, g_error_copy(tn_exec_error(exec)));
        return FALSE;
    }
    return TRUE;
}

static gboolean
compute(TnTape *tape, guint number, GError **error)
{
    const TnGraphNode *node = tn_graph_node(tape->graph, number);
    if (tn_is_source(node)) {
        return TRUE;
    }
    TnExec *exec = find_exec(tape, node, error);
    if (exec == NULL) {
        return FALSE;
    }
    const gboolean ok = run_bound(tape, node, exec, error);
    unbind_inputs(exec);
    if (!ok) {
        return FALSE;
    }
    for (gint i = 0; i < node->n_out; i++) {
        TnTensor *view = tn_exec_output(exec, (guint)i);
        TnTensor *copy = tn_tensor_copy(view, tn_tensor_device(view), TN_DTYPE_NONE, error);
        if (copy == NULL) {
            return FALSE;
        }
        tn_tape_set_tensor(tape, (TnVal){ number, (guint32)i }, copy);
    }
    return TRUE;
}

/* An input whose value infer wants to see goes into the graph as a constant. */
static gboolean
with_static_values(TnTape *tape, const TnOp *op, gint n_in, const TnVal *in, TnVal *use,
                   GError **error)
{
    for (gint i = 0; i < n_in; i++) {
        const TnOpArg *row = tn_op_input(op, i);
        use[i] = in[i];
        if (tn_val_is_none(in[i]) || row == NULL || !(row->flags & TN_ARG_STATIC)) {
            continue;
        }
        g_autoptr(TnTensor) value =
            tn_tensor_copy(tn_tape_tensor(tape, in[i]), NULL, TN_DTYPE_NONE, error);
        if (value == NULL) {
            return FALSE;
        }
        use[i] = tn_graph_constant(tape->graph, value);
    }
    return TRUE;
}

TnVal
tn_tape_op(TnTape *tape, const TnOp *op, const void *attrs, gint n_in, const TnVal *in, TnVal *out,
           GError **error)
{
    TnVal use[TN_MAX_IN];
    if (n_in > TN_MAX_IN) {
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED, "%s: %d inputs; at most %d are possible",
                    op->name, n_in, TN_MAX_IN);
        return TN_VAL_NONE;
    }
    if (!with_static_values(tape, op, n_in, in, use, error)) {
        return TN_VAL_NONE;
    }
    const guint before = tape->graph->nodes->len;
    if (op->flags & TN_OP_RANDOM || tn_op_draws_by_path(op)) {
        g_hash_table_add(tape->drawing, (gpointer)tn_intern(op->name));
    }
    const TnVal val = tn_graph_add(tape->graph, op, attrs, n_in, use, out);
    if (!take_error(tape, error)) {
        return TN_VAL_NONE;
    }
    for (guint i = before; i < tape->graph->nodes->len; i++) {
        if (!compute(tape, i, error)) {
            return TN_VAL_NONE;
        }
    }
    return val;
}

/* --- Gradients -------------------------------------------------------------------------------- */

/* Of the nodes from `first` on, those whose data the values in val[n] need. */
static void
mark_needed(const TnTape *tape, guint first, gint n, const TnVal *val, gboolean *needed)
{
    const TnGraph *graph = tape->graph;
    for (gint i = 0; i < n; i++) {
        if (val[i].node >= first) {
            needed[val[i].node - first] = TRUE;
        }
    }
    for (guint at = graph->nodes->len; at-- > first;) {
        const TnGraphNode *node = tn_graph_node(graph, at);
        for (gint i = 0; needed[at - first] && i < node->n_in; i++) {
            if (tn_reads_data(node->op, i, node->in[i]) && node->in[i].node >= first) {
                needed[node->in[i].node - first] = TRUE;
            }
        }
    }
}

gboolean
tn_tape_grad(TnTape *tape, TnVal y, gint n, const TnVal *x, TnVal *grad, GError **error)
{
    const guint first = tape->graph->nodes->len;
    if (!tn_grad(tape->graph, y, TN_VAL_NONE, n, x, grad, error)) {
        g_clear_error(&tape->graph->error);
        return FALSE;
    }
    if (!take_error(tape, error)) {
        return FALSE;
    }
    const guint n_new = tape->graph->nodes->len - first;
    g_autofree gboolean *needed = g_new0(gboolean, n_new + 1);
    mark_needed(tape, first, n, grad, needed);
    for (guint i = 0; i < n_new; i++) {
        if (needed[i] && !compute(tape, first + i, error)) {
            return FALSE;
        }
    }
    return TRUE;
}
