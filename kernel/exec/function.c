/* function.c: a graph with its programs, one per set of input types and static values; the
 * newest are kept. */
#include "exec-private.h"

#include "base/refs.h"
#include "compile/compile-private.h"

#include <string.h>

#define MAX_KEPT 16

typedef struct {
    TnType *types;     /* of the inputs */
    TnTensor **values; /* of static inputs: copies; NULL elsewhere */
    TnExec *exec;
    guint64 used; /* when it was used last */
} Entry;

struct TnFunction {
    TnRefs refs;
    TnGraph *graph;
    TnContext *context;
    guint n_inputs;
    gboolean *is_static;
    gboolean any_static;
    GArray *entries; /* Entry */
    guint64 clock;
};

/* --- Static inputs ---------------------------------------------------------------------------- */

/* Marks what val is computed from: a size may come from an input by way of other nodes. */
static void
mark_static(const TnGraph *graph, TnVal val, gboolean *seen)
{
    g_autoptr(GArray) stack = g_array_new(FALSE, FALSE, sizeof(TnVal));
    g_array_append_val(stack, val);
    while (stack->len > 0) {
        const TnVal top = g_array_index(stack, TnVal, stack->len - 1);
        g_array_set_size(stack, stack->len - 1);
        if (tn_val_is_none(top) || seen[top.node]) {
            continue;
        }
        seen[top.node] = TRUE;
        const TnGraphNode *node = tn_graph_node(graph, top.node);
        for (gint i = 0; i < node->n_in; i++) {
            if (tn_reads_data(node->op, i, node->in[i])) {
                g_array_append_val(stack, node->in[i]);
            }
        }
    }
}

static void
find_static(TnFunction *function)
{
    const TnGraph *graph = function->graph;
    g_autofree gboolean *seen = g_new0(gboolean, graph->nodes->len + 1);
    for (guint i = 0; i < graph->nodes->len; i++) {
        const TnGraphNode *node = tn_graph_node(graph, i);
        for (gint k = 0; k < node->n_in; k++) {
            if (!tn_val_is_none(node->in[k]) && (tn_op_input(node->op, k)->flags & TN_ARG_STATIC)) {
                mark_static(graph, node->in[k], seen);
            }
        }
    }
    for (guint i = 0; i < function->n_inputs; i++) {
        function->is_static[i] = seen[g_array_index(graph->inputs, TnGraphPort, i).val.node];
        function->any_static |= function->is_static[i];
    }
}

/* --- References ------------------------------------------------------------------------------- */

TnFunction *
tn_function_new(TnGraph *graph, TnContext *context)
{
    TnFunction *function = g_new0(TnFunction, 1);
    tn_refs_init(&function->refs);
    function->graph = tn_graph_ref(graph);
    function->context = tn_context_ref(context);
    function->n_inputs = tn_graph_n_inputs(graph);
    function->is_static = g_new0(gboolean, function->n_inputs + 1);
    function->entries = g_array_new(FALSE, FALSE, sizeof(Entry));
    find_static(function);
    return function;
}

TnFunction *
tn_function_ref(TnFunction *function)
{
    tn_refs_inc(&function->refs);
    return function;
}

static void
clear_entry(TnFunction *function, Entry *entry)
{
    for (guint i = 0; i < function->n_inputs; i++) {
        g_clear_pointer(&entry->values[i], tn_tensor_unref);
    }
    g_free(entry->values);
    g_free(entry->types);
    tn_exec_free(entry->exec);
}

void
tn_function_unref(TnFunction *function)
{
    if (function == NULL || !tn_refs_dec(&function->refs)) {
        return;
    }
    for (guint i = 0; i < function->entries->len; i++) {
        clear_entry(function, &g_array_index(function->entries, Entry, i));
    }
    g_array_unref(function->entries);
    g_free(function->is_static);
    tn_graph_unref(function->graph);
    tn_context_unref(function->context);
    g_free(function);
}

TnGraph *
tn_function_graph(const TnFunction *function)
{
    return function->graph;
}

/* --- Finding an exec -------------------------------------------------------------------------- */

static const void *
host_memory(TnTensor *tensor)
{
    return (const char *)tn_storage_memory(tn_tensor_storage(tensor)) +
           tn_tensor_offset(tensor) * (gint64)tn_dtype_size(tn_tensor_dtype(tensor));
}

static gboolean
same_value(TnTensor *tensor, TnTensor *kept)
{
    return tn_device_is_host(tn_tensor_device(tensor)) && tn_tensor_is_contiguous(tensor) &&
           memcmp(host_memory(tensor), host_memory(kept), (gsize)tn_tensor_bytes(kept)) == 0;
}

static gboolean
fits(const TnFunction *function, const Entry *entry, TnTensor *const *inputs)
{
    for (guint i = 0; i < function->n_inputs; i++) {
        if (!tn_type_equal(tn_tensor_type(inputs[i]), &entry->types[i]) ||
            (entry->values[i] != NULL && !same_value(inputs[i], entry->values[i]))) {
            return FALSE;
        }
    }
    return TRUE;
}

static Entry *
find_entry(TnFunction *function, TnTensor *const *inputs)
{
    for (guint i = 0; i < function->entries->len; i++) {
        Entry *entry = &g_array_index(function->entries, Entry, i);
        if (fits(function, entry, inputs)) {
            return entry;
        }
    }
    return NULL;
}

static void
drop_oldest(TnFunction *function)
{
    guint oldest = 0;
    if (function->entries->len < MAX_KEPT) {
        return;
    }
    for (guint i = 1; i < function->entries->len; i++) {
        if (g_array_index(function->entries, Entry, i).used <
            g_array_index(function->entries, Entry, oldest).used) {
            oldest = i;
        }
    }
    clear_entry(function, &g_array_index(function->entries, Entry, oldest));
    g_array_remove_index_fast(function->entries, oldest);
}

static gboolean
fill_entry(TnFunction *function, Entry *entry, TnTensor *const *inputs, GError **error)
{
    for (guint i = 0; i < function->n_inputs; i++) {
        entry->types[i] = *tn_tensor_type(inputs[i]);
        if (function->is_static[i]) {
            entry->values[i] = tn_tensor_copy(inputs[i], NULL, TN_DTYPE_NONE, error);
            if (entry->values[i] == NULL) {
                return FALSE;
            }
        }
    }
    const guint n = tn_context_n_devices(function->context);
    g_autofree TnDevice **devices = g_new0(TnDevice *, n + 1);
    for (guint i = 0; i < n; i++) {
        devices[i] = tn_context_device(function->context, i);
    }
    const TnCompile options = {
        .inputs = entry->types,
        .values = entry->values,
        .devices = devices,
        .n_devices = n,
        .choices = tn_context_choices(function->context),
        .costs = tn_context_costs(function->context),
        .batch_invariant = tn_context_batch_invariant(function->context),
        .memory_limit = tn_context_program_limit(function->context),
    };
    const gint64 begin = tn_span_begin(function->context);
    g_autoptr(TnProgram) program = tn_compile_shared(function->graph, &options, error);
    tn_span_end(function->context, "compile", tn_graph_name(function->graph), begin);
    if (program == NULL) {
        return FALSE;
    }
    entry->exec =
        tn_exec_new(program, tn_context_store(function->context), function->context, error);
    return entry->exec != NULL;
}

static Entry *
add_entry(TnFunction *function, TnTensor *const *inputs, GError **error)
{
    Entry entry = { .types = g_new0(TnType, function->n_inputs + 1),
                    .values = g_new0(TnTensor *, function->n_inputs + 1) };
    drop_oldest(function);
    if (!fill_entry(function, &entry, inputs, error)) {
        clear_entry(function, &entry);
        return NULL;
    }
    g_array_append_val(function->entries, entry);
    return &g_array_index(function->entries, Entry, function->entries->len - 1);
}

TnExec *
tn_function_exec(TnFunction *function, guint n, TnTensor *const *inputs, GError **error)
{
    if (n != function->n_inputs) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "graph '%s' takes %u inputs, got %u",
                    tn_graph_name(function->graph), function->n_inputs, n);
        return NULL;
    }
    Entry *entry = find_entry(function, inputs);
    if (entry == NULL) {
        entry = add_entry(function, inputs, error);
    }
    if (entry == NULL) {
        return NULL;
    }
    entry->used = ++function->clock;
    for (guint i = 0; i < n; i++) {
        if (tn_exec_bind(entry->exec, i, inputs[i]) != TN_OK) {
            g_propagate_error(error, g_error_copy(tn_exec_error(entry->exec)));
            return NULL;
        }
    }
    return entry->exec;
}

gboolean
tn_function_call(TnFunction *function, guint n, TnTensor *const *inputs, TnTensor **out,
                 GError **error)
{
    TnExec *exec = tn_function_exec(function, n, inputs, error);
    if (exec == NULL) {
        return FALSE;
    }
    if (tn_exec_run(exec) != TN_OK) {
        g_propagate_error(error, g_error_copy(tn_exec_error(exec)));
        return FALSE;
    }
    const guint n_out = tn_graph_n_outputs(function->graph);
    for (guint i = 0; i < n_out; i++) {
        TnTensor *view = tn_exec_output(exec, i);
        out[i] = tn_tensor_copy(view, tn_tensor_device(view), TN_DTYPE_NONE, error);
        if (out[i] == NULL) {
            while (i-- > 0) {
                g_clear_pointer(&out[i], tn_tensor_unref);
            }
            return FALSE;
        }
    }
    return TRUE;
}
