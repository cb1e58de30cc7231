/* nested.c: control flow in the builder: graphs within a graph, the values that they capture, and the
 * nodes that run them. */
#include "graph-private.h"

#include <tenon/ops.h>
#include <tenon/tensor.h>

/* --- Graphs within a graph -------------------------------------------------------------------- */

TnGraph *
tn_graph_nested(TnGraph *outer, const char *name)
{
    g_autofree char *scope = *tn_graph_scope(outer) == '\0'
                                 ? g_strdup(name)
                                 : g_strdup_printf("%s.%s", tn_graph_scope(outer), name);
    TnGraph *graph = tn_graph_new(tn_graph_unique(outer->names, scope));
    graph->outer = tn_graph_ref(outer);
    graph->captures = g_array_new(FALSE, FALSE, sizeof(TnGraphCapture));
    tn_graph_push(graph, graph->name);
    return graph;
}

gboolean
tn_graph_is_within(const TnGraph *graph, const TnGraph *of)
{
    while (graph != NULL && graph != of) {
        graph = graph->outer;
    }
    return graph != NULL;
}

static gboolean
has_input(const TnGraph *graph, const char *name)
{
    for (guint i = 0; i < graph->inputs->len; i++) {
        if (strcmp(g_array_index(graph->inputs, TnGraphPort, i).name, name) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

TnVal
tn_graph_further_input(TnGraph *graph, const char *name, const TnType *type)
{
    g_autofree char *own = g_strdup(name);
    for (guint i = 2; has_input(graph, own); i++) {
        g_free(own);
        own = g_strdup_printf("%s_%u", name, i);
    }
    return tn_graph_input(graph, own, *type);
}

static TnVal
add_capture(TnGraph *graph, TnVal outer)
{
    const TnGraphNode *node = tn_graph_node(graph->outer, outer.node);
    const TnVal inner = tn_graph_further_input(graph, node->name, &node->out[outer.out]);
    const TnGraphCapture capture = { outer, inner };
    g_array_append_val(graph->captures, capture);
    return inner;
}

TnVal
tn_graph_capture(TnGraph *graph, TnGraph *of, TnVal val)
{
    if (graph == of || tn_val_is_none(val)) {
        return val;
    }
    if (!tn_graph_is_within(graph, of)) {
        tn_graph_fail(graph, TN_ERROR_USAGE,
                      "a value of graph '%s' cannot be used in graph '%s', which is not within it",
                      of->name, graph->name);
        return TN_VAL_NONE;
    }
    const TnVal outer = tn_graph_capture(graph->outer, of, val);
    if (tn_val_is_none(outer) || graph->error != NULL) {
        return TN_VAL_NONE;
    }
    TnTensor *constant = tn_graph_static_value(graph->outer, outer);
    if (constant != NULL) {
        return tn_graph_constant(graph, constant);
    }
    for (guint i = 0; i < graph->captures->len; i++) {
        const TnGraphCapture *known = &g_array_index(graph->captures, TnGraphCapture, i);
        if (tn_val_equal(known->outer, outer)) {
            return known->inner;
        }
    }
    return add_capture(graph, outer);
}

/* --- Nodes that run them ---------------------------------------------------------------------- */

/* The sub-graph has all that it will have; its failure is graph's. FALSE after that. */
static gboolean
is_complete(TnGraph *graph, TnGraph *inner)
{
    if (inner->error != NULL) {
        tn_graph_latch(graph, g_error_copy(inner->error));
    } else if (inner->outer != graph) {
        tn_graph_fail(graph, TN_ERROR_USAGE, "graph '%s' was not made for a node of graph '%s'",
                      inner->name, graph->name);
    }
    return graph->error == NULL;
}

/* Inputs of a node while they are gathered; too many are counted, and refused by tn_graph_add. */
typedef struct {
    gint n;
    TnVal val[TN_MAX_IN];
} Inputs;

static void
add_inputs(Inputs *in, gint n, const TnVal *val)
{
    for (gint i = 0; i < n; i++, in->n++) {
        if (in->n < TN_MAX_IN) {
            in->val[in->n] = val[i];
        }
    }
}

static void
add_captures(Inputs *in, TnGraph *inner)
{
    for (guint i = 0; i < inner->captures->len; i++) {
        add_inputs(in, 1, &g_array_index(inner->captures, TnGraphCapture, i).outer);
    }
    g_clear_pointer(&inner->outer, tn_graph_unref);
}

static void
no_outputs(TnVal *out)
{
    for (gint k = 0; k < TN_MAX_OUT; k++) {
        out[k] = TN_VAL_NONE;
    }
}

static const TnGraphCapture *
capture_at(const TnGraph *graph, guint i)
{
    return &g_array_index(graph->captures, TnGraphCapture, i);
}

/* Captures what `like` captures. */
static void
capture_same(TnGraph *graph, const TnGraph *like)
{
    for (guint i = 0; i < like->captures->len; i++) {
        tn_graph_capture(graph, graph->outer, capture_at(like, i)->outer);
    }
}

/* Of two graphs with the same captures and no other inputs: inputs in the order of like's. */
static void
order_inputs(TnGraph *graph, const TnGraph *like)
{
    GArray *inputs = g_array_new(FALSE, FALSE, sizeof(TnGraphPort));
    for (guint i = 0; i < like->captures->len; i++) {
        guint at = 0;
        while (!tn_val_equal(capture_at(graph, at)->outer, capture_at(like, i)->outer)) {
            at++;
        }
        g_array_append_val(inputs, g_array_index(graph->inputs, TnGraphPort, at));
    }
    g_array_unref(graph->inputs);
    graph->inputs = inputs;
}

void
tn_graph_if(TnGraph *graph, TnVal condition, TnGraph *then_branch, TnGraph *else_branch, TnVal *out)
{
    const TnIfAttrs attrs = { then_branch, else_branch };
    Inputs in = { 0 };
    no_outputs(out);
    if (!is_complete(graph, then_branch) || !is_complete(graph, else_branch)) {
        return;
    }
    if (then_branch->inputs->len != then_branch->captures->len ||
        else_branch->inputs->len != else_branch->captures->len) {
        tn_graph_fail(graph, TN_ERROR_USAGE, "if: a branch has inputs of its own");
        return;
    }
    capture_same(then_branch, else_branch);
    capture_same(else_branch, then_branch);
    order_inputs(else_branch, then_branch);
    add_inputs(&in, 1, &condition);
    add_captures(&in, then_branch);
    g_clear_pointer(&else_branch->outer, tn_graph_unref);
    tn_graph_op(graph, "if", &attrs, in.n, in.val, out);
}

void
tn_graph_scan(TnGraph *graph, TnGraph *body, gint n_states, const TnVal *states, gint n_xs,
              const TnVal *xs, gboolean reverse, TnVal *out)
{
    const TnScanAttrs attrs = { body, n_states, n_xs, reverse, TRUE };
    Inputs in = { 0 };
    no_outputs(out);
    if (is_complete(graph, body)) {
        add_inputs(&in, n_states, states);
        add_inputs(&in, n_xs, xs);
        add_captures(&in, body);
        tn_graph_op(graph, "scan", &attrs, in.n, in.val, out);
    }
}

/* --- While ------------------------------------------------------------------------------------ */

/* What a bounded loop does once it has ended: nothing, with the inputs of body. */
static TnGraph *
idle(const TnGraph *body, gint n)
{
    TnGraph *graph = tn_graph_new("idle");
    g_autoptr(TnTensor) no = tn_tensor_scalar(TN_DTYPE_BOOL, 0);
    tn_graph_output(graph, "continue", tn_graph_constant(graph, no));
    for (guint i = 0; i < body->inputs->len; i++) {
        const TnGraphPort *port = &g_array_index(body->inputs, TnGraphPort, i);
        const TnVal val = tn_graph_input(graph, port->name, *tn_graph_type(body, port->val));
        if ((gint)i < n) {
            tn_graph_output(graph, port->name, val);
        }
    }
    return graph;
}

/* A scan input that says nothing but how many steps there are. */
static TnVal
steps_of(TnGraph *graph, gint64 n)
{
    const TnType type = tn_type(TN_DTYPE_U8, 1, &n);
    g_autoptr(TnTensor) tensor = tn_tensor_zeros(NULL, type, NULL);
    if (tensor == NULL) {
        tn_graph_fail(graph, TN_ERROR_NO_MEMORY, "while: %" G_GINT64_FORMAT " iterations", n);
        return TN_VAL_NONE;
    }
    return tn_graph_constant(graph, tensor);
}

/* A scan over as many steps, each of which is an `if`: so that its gradient is theirs. */
static void
bounded(TnGraph *graph, TnVal condition, TnGraph *body, gint n, const TnVal *states, gint64 most,
        TnVal *out)
{
    TnGraph *step = tn_graph_nested(graph, "while.step");
    g_autoptr(TnGraph) rest = idle(body, n);
    const TnIfAttrs attrs = { body, rest };
    const TnVal steps = steps_of(graph, most);
    Inputs in = { 0 }, begin = { 0 };
    TnVal next[TN_MAX_OUT] = { 0 };
    add_inputs(&begin, 1, &condition);
    add_inputs(&begin, n, states);
    for (gint i = 0; i <= n && begin.n <= TN_MAX_IN; i++) {
        const char *name =
            i == 0 ? "continue" : g_array_index(body->inputs, TnGraphPort, (guint)i - 1).name;
        const TnVal val = tn_graph_input(step, name, *tn_graph_type(graph, begin.val[i]));
        add_inputs(&in, 1, &val);
    }
    tn_graph_input(step, "step", tn_type(TN_DTYPE_U8, 0, NULL));
    for (guint i = 0; i < body->captures->len; i++) {
        const TnVal val = tn_graph_capture(step, graph, capture_at(body, i)->outer);
        add_inputs(&in, 1, &val);
    }
    g_clear_pointer(&body->outer, tn_graph_unref);
    tn_graph_op(step, "if", &attrs, in.n, in.val, next);
    for (gint i = 0; i <= n && step->error == NULL; i++) {
        g_autofree char *name = g_strdup_printf("next_%d", i);
        tn_graph_output(step, name, next[i]);
    }
    tn_graph_scan(graph, step, begin.n, begin.val, 1, &steps, FALSE, next);
    for (gint i = 0; i < n && graph->error == NULL; i++) {
        out[i] = next[i + 1];
    }
    tn_graph_unref(step);
}

void
tn_graph_while(TnGraph *graph, TnVal condition, TnGraph *body, gint n, const TnVal *states,
               gint64 max_iterations, TnVal *out)
{
    const TnWhileAttrs attrs = { body };
    Inputs in = { 0 };
    no_outputs(out);
    if (!is_complete(graph, body)) {
        return;
    }
    if (max_iterations < 0 || body->inputs->len != (guint)n + body->captures->len) {
        tn_graph_fail(graph, TN_ERROR_USAGE,
                      "while: %" G_GINT64_FORMAT " iterations, %d states for %u inputs",
                      max_iterations, n, body->inputs->len - body->captures->len);
        return;
    }
    if (max_iterations > 0) {
        bounded(graph, condition, body, n, states, max_iterations, out);
        return;
    }
    add_inputs(&in, 1, &condition);
    add_inputs(&in, n, states);
    add_captures(&in, body);
    tn_graph_op(graph, "while", &attrs, in.n, in.val, out);
}
