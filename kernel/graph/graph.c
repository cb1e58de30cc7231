/* graph.c: the builder: the life of a graph, its first error, names in scopes, nodes. What else there is
 * of it: ports.c (inputs, outputs, variables), read.c, body.c (bodies of composites), nested.c (graphs of
 * control flow). */
#include "graph-private.h"

#include <tenon/base.h>
#include <tenon/ops.h>

/* --- Life ------------------------------------------------------------------------------------- */

static void
node_free(gpointer data)
{
    TnGraphNode *node = data;
    if (node->attrs != NULL) {
        tn_options_drop(&node->op->attrs, node->attrs);
    }
    g_free(node->attrs);
    g_free(node->in);
    g_free(node->out);
    g_free(node);
}

TnGraph *
tn_graph_new(const char *name)
{
    TnGraph *graph = g_new0(TnGraph, 1);
    tn_refs_init(&graph->refs);
    graph->name = g_strdup(name);
    graph->nodes = g_ptr_array_new_with_free_func(node_free);
    graph->inputs = g_array_new(FALSE, FALSE, sizeof(TnGraphPort));
    graph->outputs = g_array_new(FALSE, FALSE, sizeof(TnGraphPort));
    graph->variables = g_array_new(FALSE, FALSE, sizeof(TnGraphVariable));
    graph->names = g_hash_table_new(g_str_hash, g_str_equal);
    graph->scopes = g_ptr_array_new_with_free_func(g_free);
    graph->paths = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(graph->scopes, g_strdup(""));
    g_ptr_array_add(graph->paths, g_strdup(""));
    return graph;
}

TnGraph *
tn_graph_ref(TnGraph *graph)
{
    tn_refs_inc(&graph->refs);
    return graph;
}

void
tn_graph_unref(TnGraph *graph)
{
    if (graph == NULL || !tn_refs_dec(&graph->refs)) {
        return;
    }
    g_ptr_array_unref(graph->nodes);
    g_array_unref(graph->inputs);
    g_array_unref(graph->outputs);
    g_array_unref(graph->variables);
    g_hash_table_unref(graph->names);
    g_ptr_array_unref(graph->scopes);
    g_ptr_array_unref(graph->paths);
    g_clear_pointer(&graph->path_names, g_hash_table_unref);
    g_clear_pointer(&graph->captures, g_array_unref);
    g_clear_pointer(&graph->outer, tn_graph_unref);
    g_clear_error(&graph->error);
    g_free(graph->name);
    g_free(graph);
}

const char *
tn_graph_name(const TnGraph *graph)
{
    return graph->name;
}

/* --- Errors ----------------------------------------------------------------------------------- */

void
tn_graph_latch(TnGraph *graph, GError *error)
{
    if (graph->error != NULL) {
        g_error_free(error);
        return;
    }
    graph->error = error;
}

void
tn_graph_fail(TnGraph *graph, TnErrorCode code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    GError *error = g_error_new_valist(TN_ERROR, (gint)code, format, args);
    va_end(args);
    if (*tn_graph_scope(graph) != '\0') {
        tn_error_prefix(&error, "%s", tn_graph_scope(graph));
    }
    tn_graph_latch(graph, error);
}

gboolean
tn_graph_check(const TnGraph *graph, GError **error)
{
    if (graph->error == NULL) {
        return TRUE;
    }
    g_propagate_error(error, g_error_copy(graph->error));
    return FALSE;
}

/* --- Names ------------------------------------------------------------------------------------ */

static char *
dotted(const char *scope, const char *name)
{
    return *scope == '\0' ? g_strdup(name) : g_strdup_printf("%s.%s", scope, name);
}

const char *
tn_graph_unique(GHashTable *names, const char *want)
{
    const char *first = tn_intern(want);
    guint last = GPOINTER_TO_UINT(g_hash_table_lookup(names, first));
    const char *name = first;
    while (last > 0 && g_hash_table_contains(names, name)) {
        g_autofree char *numbered = g_strdup_printf("%s_%u", first, ++last);
        name = tn_intern(numbered);
    }
    g_hash_table_insert(names, (gpointer)first, GUINT_TO_POINTER(MAX(last, 1)));
    if (name != first) {
        g_hash_table_insert(names, (gpointer)name, GUINT_TO_POINTER(1));
    }
    return name;
}

static const char *
top(const GPtrArray *stack)
{
    return g_ptr_array_index(stack, stack->len - 1);
}

void
tn_graph_push(TnGraph *graph, const char *name)
{
    g_ptr_array_add(graph->scopes, dotted(top(graph->scopes), name));
    g_ptr_array_add(graph->paths, dotted(top(graph->paths), name));
}

void
tn_graph_pop(TnGraph *graph)
{
    g_return_if_fail(graph->scopes->len > 1);
    g_ptr_array_remove_index(graph->scopes, graph->scopes->len - 1);
    g_ptr_array_remove_index(graph->paths, graph->paths->len - 1);
}

const char *
tn_graph_scope(const TnGraph *graph)
{
    return top(graph->scopes);
}

TnGraphBodyMark
tn_graph_begin_body(TnGraph *graph, const char *name, const char *path)
{
    const TnGraphBodyMark mark = { graph->path_names };
    g_ptr_array_add(graph->scopes, g_strdup(name));
    g_ptr_array_add(graph->paths, g_strdup(path));
    graph->path_names = g_hash_table_new(g_str_hash, g_str_equal);
    return mark;
}

void
tn_graph_end_body(TnGraph *graph, TnGraphBodyMark mark)
{
    tn_graph_pop(graph);
    g_hash_table_unref(graph->path_names);
    graph->path_names = mark.path_names;
}

/* --- Nodes ------------------------------------------------------------------------------------ */

/* name is unique; name and path are interned. */
static guint
append_node(TnGraph *graph, const TnOp *op, const void *attrs, const char *name, const char *path,
            gint n_in, const TnVal *in, gint n_out, const TnType *out)
{
    TnGraphNode *node = g_new0(TnGraphNode, 1);
    node->op = op;
    node->name = name;
    node->path = path;
    node->n_in = n_in;
    node->n_out = n_out;
    node->in = g_memdup2(in, sizeof(TnVal) * (gsize)n_in);
    node->out = g_memdup2(out, sizeof(TnType) * (gsize)n_out);
    if (op->attrs.struct_size > 0) {
        node->attrs = g_malloc0(op->attrs.struct_size);
        if (attrs != NULL) {
            memcpy(node->attrs, attrs, op->attrs.struct_size);
        } else {
            tn_options_defaults(&op->attrs, node->attrs);
        }
        tn_options_hold(&op->attrs, node->attrs);
    }
    g_ptr_array_add(graph->nodes, node);
    return graph->nodes->len - 1;
}

guint
tn_graph_add_node(TnGraph *graph, const TnOp *op, const void *attrs, const char *name,
                  const char *path, gint n_in, const TnVal *in, gint n_out, const TnType *out)
{
    const char *own = tn_graph_unique(graph->names, name);
    path = path != NULL ? tn_intern(path) : own;
    return append_node(graph, op, attrs, own, path, n_in, in, n_out, out);
}

/* Attributes that outlive the caller's: strings interned. A random node without a stream gets its
 * path's. */
static void
settle_attrs(const TnOp *op, void *attrs, const char *path)
{
    for (guint32 i = 0; i < op->attrs.n; i++) {
        const TnOption *row = tn_options_row(&op->attrs, i);
        char *member = (char *)attrs + row->offset;
        if (row->type == TN_OPT_STRING) {
            const char **text = (const char **)(gpointer)member;
            *text = tn_intern(*text);
        } else if (op->flags & TN_OP_RANDOM && row->type == TN_OPT_UINT64 &&
                   strcmp(row->name, "stream") == 0) {
            guint64 *stream = (guint64 *)(gpointer)member;
            *stream = *stream == 0 ? tn_random_stream(path) : *stream;
        }
    }
}

/* Types and known contents of a new node's inputs; FALSE if one is not a value of the graph. */
static gboolean
gather_inputs(TnGraph *graph, const TnOp *op, const char *name, gint n_in, const TnVal *in,
              TnType *types, TnTensor **values)
{
    if (n_in > TN_MAX_IN) {
        tn_graph_latch(graph, g_error_new(TN_ERROR, TN_ERROR_UNSUPPORTED,
                                          "%s (%s): %d inputs; at most %d are possible", name,
                                          op->name, n_in, TN_MAX_IN));
        return FALSE;
    }
    for (gint i = 0; i < n_in; i++) {
        const gboolean absent = tn_val_is_none(in[i]);
        if (!absent && (in[i].node >= graph->nodes->len ||
                        in[i].out >= (guint)tn_graph_node(graph, in[i].node)->n_out)) {
            tn_graph_latch(graph, g_error_new(TN_ERROR, TN_ERROR_USAGE,
                                              "%s (%s): input %d is not a value of graph '%s'",
                                              name, op->name, i, graph->name));
            return FALSE;
        }
        types[i] = *tn_graph_type(graph, in[i]);
        values[i] = absent ? NULL : tn_graph_static_value(graph, in[i]);
    }
    return TRUE;
}

static TnVal
no_value(TnVal *out)
{
    for (gint k = 0; out != NULL && k < TN_MAX_OUT; k++) {
        out[k] = TN_VAL_NONE;
    }
    return TN_VAL_NONE;
}

TnVal
tn_graph_add_named(TnGraph *graph, const TnOp *op, const void *attrs, const char *base, gint n_in,
                   const TnVal *in, TnVal *out)
{
    if (graph->error != NULL) {
        return no_value(out);
    }
    base = base != NULL ? base : op->name;
    TnType in_types[TN_MAX_IN], out_types[TN_MAX_OUT];
    TnTensor *values[TN_MAX_IN];
    gint n_out = 0;
    GError *error = NULL;
    g_autofree char *name = dotted(top(graph->scopes), base);
    g_autofree void *own = g_malloc0(MAX(op->attrs.struct_size, 1));
    if (attrs != NULL) {
        memcpy(own, attrs, op->attrs.struct_size);
    } else {
        tn_options_defaults(&op->attrs, own);
    }
    if (!gather_inputs(graph, op, name, n_in, in, in_types, values)) {
        return no_value(out);
    }
    if (!tn_op_infer(op, own, name, n_in, in_types, values, &n_out, out_types, &error)) {
        tn_graph_latch(graph, error);
        return no_value(out);
    }
    const char *own_name = tn_graph_unique(graph->names, name);
    const char *path = own_name;
    if (graph->path_names != NULL) {
        g_autofree char *want = dotted(top(graph->paths), base);
        path = tn_graph_unique(graph->path_names, want);
    }
    settle_attrs(op, own, path);
    const guint node = append_node(graph, op, own, own_name, path, n_in, in, n_out, out_types);
    for (gint k = 0; out != NULL && k < TN_MAX_OUT; k++) {
        out[k] = k < n_out ? (TnVal){ node, (guint32)k } : TN_VAL_NONE;
    }
    return (TnVal){ node, 0 };
}

TnVal
tn_graph_add(TnGraph *graph, const TnOp *op, const void *attrs, gint n_in, const TnVal *in,
             TnVal *out)
{
    return tn_graph_add_named(graph, op, attrs, NULL, n_in, in, out);
}

TnVal
tn_graph_op(TnGraph *graph, const char *op, const void *attrs, gint n_in, const TnVal *in,
            TnVal *out)
{
    GError *error = NULL;
    if (graph->error != NULL) {
        return no_value(out);
    }
    const TnOp *found = tn_op_find(op, &error);
    if (found == NULL) {
        tn_graph_latch(graph, error);
        return no_value(out);
    }
    return tn_graph_add(graph, found, attrs, n_in, in, out);
}
