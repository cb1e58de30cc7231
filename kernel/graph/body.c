/* body.c: graphs within graphs: bodies of composites, sub-graphs in place, copies; and types at
 * other input types. */
#include "graph-private.h"

#include <tenon/base.h>
#include <tenon/ops.h>

/* --- Copies ----------------------------------------------------------------------------------- */

TnGraph *
tn_graph_copy(const TnGraph *graph)
{
    TnGraph *copy = tn_graph_new(graph->name);
    for (guint i = 0; i < graph->nodes->len; i++) {
        const TnGraphNode *node = tn_graph_node(graph, i);
        tn_graph_add_node(copy, node->op, node->attrs, node->name, node->path, node->n_in, node->in,
                          node->n_out, node->out);
    }
    g_array_append_vals(copy->inputs, graph->inputs->data, graph->inputs->len);
    g_array_append_vals(copy->outputs, graph->outputs->data, graph->outputs->len);
    g_array_append_vals(copy->variables, graph->variables->data, graph->variables->len);
    copy->error = graph->error != NULL ? g_error_copy(graph->error) : NULL;
    return copy;
}

/* --- Sub-graphs in place ---------------------------------------------------------------------- */

/* What stands for each value of the inner graph: TN_MAX_OUT places a node. */
typedef struct {
    const TnGraph *inner;
    TnVal *val;
    gboolean *done; /* nodes that are not copied */
} Inlining;

static TnVal *
place(const Inlining *map, guint node)
{
    return &map->val[(gsize)node * TN_MAX_OUT];
}

/* Inputs and variables are those of the outer graph. */
static void
map_sources(Inlining *map, TnGraph *graph, const TnVal *in)
{
    const TnGraph *inner = map->inner;
    for (guint i = 0; i < inner->inputs->len; i++) {
        const guint node = g_array_index(inner->inputs, TnGraphPort, i).val.node;
        place(map, node)[0] = in[i];
        map->done[node] = TRUE;
    }
    for (guint i = 0; i < inner->variables->len; i++) {
        const TnGraphVariable *entry = &g_array_index(inner->variables, TnGraphVariable, i);
        if (!tn_val_is_none(entry->read)) {
            place(map, entry->read.node)[0] = tn_graph_read_named(graph, entry->name, &entry->type);
            map->done[entry->read.node] = TRUE;
        }
        if (entry->assign != G_MAXUINT) {
            map->done[entry->assign] = TRUE;
        }
    }
}

/* A stream that came from the node's path is asked for anew. */
static void
reset_stream(const TnGraphNode *node, void *attrs)
{
    for (guint32 i = 0; node->op->flags & TN_OP_RANDOM && i < node->op->attrs.n; i++) {
        const TnOption *row = tn_options_row(&node->op->attrs, i);
        guint64 *stream = (guint64 *)(gpointer)((char *)attrs + row->offset);
        if (row->type == TN_OPT_UINT64 && strcmp(row->name, "stream") == 0 &&
            *stream == tn_random_stream(node->path)) {
            *stream = 0;
        }
    }
}

static TnVal
mapped(const Inlining *map, TnVal val)
{
    return tn_val_is_none(val) ? val : place(map, val.node)[val.out];
}

static void
copy_node(const Inlining *map, TnGraph *graph, guint i)
{
    const TnGraphNode *node = tn_graph_node(map->inner, i);
    TnVal in[TN_MAX_IN];
    for (gint k = 0; k < node->n_in; k++) {
        in[k] = mapped(map, node->in[k]);
    }
    const gsize size = node->op->attrs.struct_size;
    g_autofree void *attrs = size > 0 ? g_memdup2(node->attrs, size) : NULL;
    if (attrs != NULL) {
        reset_stream(node, attrs);
    }
    tn_graph_add_named(graph, node->op, attrs, node->name, node->n_in, in, place(map, i));
}

void
tn_graph_inline(TnGraph *graph, const TnGraph *inner, const TnVal *in, TnVal *out)
{
    const guint n = inner->nodes->len;
    Inlining map = { inner, g_new0(TnVal, (gsize)n * TN_MAX_OUT), g_new0(gboolean, n) };
    if (inner->error != NULL) {
        tn_graph_latch(graph, g_error_copy(inner->error));
    }
    map_sources(&map, graph, in);
    for (guint i = 0; i < n; i++) {
        if (!map.done[i]) {
            copy_node(&map, graph, i);
        }
    }
    for (guint i = 0; i < inner->variables->len; i++) {
        const TnGraphVariable *entry = &g_array_index(inner->variables, TnGraphVariable, i);
        if (!tn_val_is_none(entry->assigned)) {
            tn_graph_assign_named(graph, entry->name, &entry->type, mapped(&map, entry->assigned));
        }
    }
    for (guint i = 0; i < inner->outputs->len; i++) {
        out[i] = mapped(&map, g_array_index(inner->outputs, TnGraphPort, i).val);
    }
    g_free(map.val);
    g_free(map.done);
}

/* --- Bodies ----------------------------------------------------------------------------------- */

static gboolean
check_results(const TnGraph *graph, gint n_out, const TnType *want, const TnVal *out,
              GError **error)
{
    for (gint k = 0; want != NULL && k < n_out; k++) {
        const TnType *got = tn_graph_type(graph, out[k]);
        if (!tn_type_equal(got, &want[k])) {
            g_autofree char *a = tn_type_print(&want[k]);
            g_autofree char *b = tn_type_print(got);
            g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                        "output %d is %s by infer, but its body gives %s", k, a, b);
            return FALSE;
        }
    }
    return TRUE;
}

gboolean
tn_graph_expand(TnGraph *graph, const TnOp *op, const void *attrs, const char *name,
                const char *path, gint n_in, const TnVal *in, gint n_out, const TnType *want,
                TnVal *out, GError **error)
{
    TnBody body = {
        .size = sizeof(TnBody),
        .graph = graph,
        .op = op,
        .attrs = attrs,
        .n_in = n_in,
        .in = in,
        .n_out = n_out,
        .out = out,
    };
    for (gint k = 0; k < n_out; k++) {
        out[k] = TN_VAL_NONE;
    }
    if (!tn_graph_check(graph, error)) {
        return FALSE;
    }
    const TnGraphBodyMark mark = tn_graph_begin_body(graph, name, path);
    const gboolean ok = op->body(&body, error);
    tn_graph_end_body(graph, mark);
    if (!ok) {
        return FALSE;
    }
    if (!tn_graph_check(graph, error)) {
        return FALSE;
    }
    if (!check_results(graph, n_out, want, out, error)) {
        tn_error_prefix(error, "%s (%s)", name, op->name);
        return FALSE;
    }
    return TRUE;
}

/* --- Types at another binding ----------------------------------------------------------------- */

void
tn_graph_types_clear(TnGraphTypes *types)
{
    g_clear_pointer(&types->first, g_free);
    g_clear_pointer(&types->type, g_free);
}

/* The number of the graph's input that a value is; -1 if it is none. */
static gint
input_number(const TnGraph *graph, TnVal val)
{
    for (guint i = 0; i < graph->inputs->len; i++) {
        if (tn_val_equal(g_array_index(graph->inputs, TnGraphPort, i).val, val)) {
            return (gint)i;
        }
    }
    return -1;
}

static gboolean
check_input(const TnGraph *graph, guint i, const TnType *type, GError **error)
{
    const TnGraphPort *port = &g_array_index(graph->inputs, TnGraphPort, i);
    const TnType *built = tn_graph_type(graph, port->val);
    if (type->dtype == built->dtype && type->rank == built->rank) {
        return TRUE;
    }
    g_autofree char *want = tn_type_print(built);
    g_autofree char *got = tn_type_print(type);
    g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                "input '%s' of graph '%s' is %s, must have the dtype and rank of %s", port->name,
                graph->name, got, want);
    return FALSE;
}

/* A graph is built for its ranks and dtypes: rules and bodies read them. */
static gboolean
check_kept(const TnGraphNode *node, gint n_out, const TnType *out, GError **error)
{
    gboolean kept = n_out == node->n_out;
    for (gint k = 0; kept && k < n_out; k++) {
        kept = out[k].dtype == node->out[k].dtype && out[k].rank == node->out[k].rank;
    }
    if (!kept) {
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                    "%s (%s): the rank or dtype of its output depends on sizes", node->name,
                    node->op->name);
    }
    return kept;
}

static gboolean
infer_node(const TnGraph *graph, guint i, TnTensor *const *values, TnGraphTypes *types,
           GError **error)
{
    const TnGraphNode *node = tn_graph_node(graph, i);
    TnType in[TN_MAX_IN] = { 0 };
    TnType out[TN_MAX_OUT];
    TnTensor *known[TN_MAX_IN] = { NULL };
    gint n_out;
    for (gint k = 0; k < node->n_in; k++) {
        if (tn_val_is_none(node->in[k])) {
            continue;
        }
        in[k] = *tn_graph_types_at(types, node->in[k]);
        if (tn_op_input(node->op, k)->flags & TN_ARG_STATIC) {
            const gint input = input_number(graph, node->in[k]);
            known[k] = tn_graph_static_value(graph, node->in[k]);
            known[k] = input >= 0 && values != NULL ? values[input] : known[k];
        }
    }
    if (!tn_op_infer(node->op, node->attrs, node->name, node->n_in, in, known, &n_out, out,
                     error) ||
        !check_kept(node, n_out, out, error)) {
        return FALSE;
    }
    memcpy(&types->type[types->first[i]], out, sizeof(TnType) * (gsize)n_out);
    return TRUE;
}

gboolean
tn_graph_infer(const TnGraph *graph, const TnType *inputs, TnTensor *const *values,
               TnGraphTypes *types, GError **error)
{
    const guint n = graph->nodes->len;
    guint32 total = 0;
    gboolean ok = TRUE;
    g_autofree gboolean *given = g_new0(gboolean, n);
    *types = (TnGraphTypes){ n, g_new(guint32, n), NULL };
    for (guint i = 0; i < n; i++) {
        types->first[i] = total;
        total += (guint32)tn_graph_node(graph, i)->n_out;
    }
    types->type = g_new0(TnType, total);
    for (guint i = 0; ok && i < graph->inputs->len; i++) {
        const TnVal val = g_array_index(graph->inputs, TnGraphPort, i).val;
        ok = check_input(graph, i, &inputs[i], error);
        types->type[types->first[val.node]] = inputs[i];
        given[val.node] = TRUE;
    }
    for (guint i = 0; ok && i < n; i++) {
        ok = given[i] || infer_node(graph, i, values, types, error);
    }
    if (!ok) {
        tn_graph_types_clear(types);
    }
    return ok;
}
