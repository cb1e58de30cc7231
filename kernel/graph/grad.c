/* grad.c: gradients as nodes: reverse accumulation over the nodes between y and x.
 *
 * Griewank and Walther, Evaluating Derivatives (2008), chapter 3. The gradients of a node's outputs
 * are complete when the walk from the last node to the first reaches it, for all readers come
 * later. */
#include "graph-private.h"

/* Values by number, packed so that they fit a hash table's pointers; 0 is no value. */
static gpointer
pack(TnVal val)
{
    return GSIZE_TO_POINTER((gsize)val.node * TN_MAX_OUT + val.out + 1);
}

static TnVal
unpack(gpointer packed)
{
    const gsize number = GPOINTER_TO_SIZE(packed);
    if (number == 0) {
        return TN_VAL_NONE;
    }
    return (TnVal){ (guint32)((number - 1) / TN_MAX_OUT), (guint32)((number - 1) % TN_MAX_OUT) };
}

typedef struct {
    TnGraph *graph;
    GHashTable *active; /* values that depend on an x */
    GHashTable *grads;  /* value → the sum of its gradients so far */
    gboolean inner;     /* of a body: its nodes' names say "grad." already */
} Walk;

static gboolean
is_float(const TnGraph *graph, TnVal val)
{
    return tn_dtype_in(tn_graph_type(graph, val)->dtype, TN_DTYPES_FLOAT);
}

/* Whether a gradient may pass from the node to its input k and on to an x. */
static gboolean
needs(const Walk *walk, const TnGraphNode *node, gint k)
{
    const guint32 closed = TN_ARG_SHAPE | TN_ARG_NO_GRAD | TN_ARG_INDEX | TN_ARG_STATIC;
    return !(node->op->flags & TN_OP_NO_GRAD) && !(tn_op_input(node->op, k)->flags & closed) &&
           !tn_val_is_none(node->in[k]) && g_hash_table_contains(walk->active, pack(node->in[k]));
}

/* Marks what depends on an x, in the nodes' order. */
static void
mark_active(Walk *walk, guint first, guint end, gint n, const TnVal *x)
{
    for (gint i = 0; i < n; i++) {
        if (is_float(walk->graph, x[i])) {
            g_hash_table_add(walk->active, pack(x[i]));
        }
    }
    for (guint i = first; i < end; i++) {
        const TnGraphNode *node = tn_graph_node(walk->graph, i);
        gboolean depends = FALSE;
        for (gint k = 0; k < node->n_in && !depends; k++) {
            depends = needs(walk, node, k);
        }
        for (guint32 k = 0; depends && k < (guint32)node->n_out; k++) {
            const TnVal out = { i, k };
            if (is_float(walk->graph, out)) {
                g_hash_table_add(walk->active, pack(out));
            }
        }
    }
}

static void
accumulate(Walk *walk, TnVal val, TnVal grad)
{
    const TnVal sum = unpack(g_hash_table_lookup(walk->grads, pack(val)));
    const TnVal total = tn_val_is_none(sum) ? grad : tn_f_add(walk->graph, sum, grad);
    if (!tn_val_is_none(total)) {
        g_hash_table_insert(walk->grads, pack(val), pack(total));
    }
}

/* A rule must give what has its input's type: everything after it would be wrong otherwise. */
static gboolean
check_rule(const TnVjp *v, const TnGraphNode *node, GError **error)
{
    for (gint i = 0; i < v->n_in; i++) {
        if (!v->need[i] || tn_val_is_none(v->grad_in[i])) {
            continue;
        }
        const TnType *want = tn_graph_type(v->graph, v->in[i]);
        const TnType *got = tn_graph_type(v->graph, v->grad_in[i]);
        if (!tn_type_equal(want, got)) {
            g_autofree char *a = tn_type_print(want);
            g_autofree char *b = tn_type_print(got);
            g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                        "%s (%s): the gradient of input '%s' %s is %s by its rule", node->name,
                        node->op->name, tn_op_input(node->op, i)->name, a, b);
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
call_rule(TnVjp *v, const TnGraphNode *node, GError **error)
{
    if (node->op->vjp != NULL) {
        return node->op->vjp(v, error);
    }
    if (tn_op_is_composite(node->op)) {
        return tn_vjp_of_body(v, error);
    }
    g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                "%s (%s): the operator has neither a gradient rule nor a body", node->name,
                node->op->name);
    return FALSE;
}

/* Names of what a rule adds begin with "grad." and the node's name; random nodes follow the node's
 * path, so that a rule which draws again draws the same. */
static gboolean
call_rule_in_scope(const Walk *walk, TnVjp *v, const TnGraphNode *node, GError **error)
{
    g_autofree char *scope = g_strconcat(walk->inner ? "" : "grad.", node->name, NULL);
    const TnGraphBodyMark mark = tn_graph_begin_body(walk->graph, scope, node->path);
    const gboolean ok = call_rule(v, node, error);
    tn_graph_end_body(walk->graph, mark);
    return ok && tn_graph_check(walk->graph, error) && check_rule(v, node, error);
}

/* One step of the walk: from the gradients of node i's outputs to those of its inputs. */
static gboolean
step_back(Walk *walk, guint i, GError **error)
{
    const TnGraphNode *node = tn_graph_node(walk->graph, i);
    TnVal out[TN_MAX_OUT], grad_out[TN_MAX_OUT], grad_in[TN_MAX_IN];
    gboolean need[TN_MAX_IN];
    gboolean reached = FALSE;
    gboolean wanted = FALSE;
    for (guint32 k = 0; k < (guint32)node->n_out; k++) {
        out[k] = (TnVal){ i, k };
        grad_out[k] = unpack(g_hash_table_lookup(walk->grads, pack(out[k])));
        reached = reached || !tn_val_is_none(grad_out[k]);
    }
    for (gint k = 0; reached && k < node->n_in; k++) {
        grad_in[k] = TN_VAL_NONE;
        need[k] = needs(walk, node, k);
        wanted = wanted || need[k];
    }
    if (!wanted) {
        return TRUE;
    }
    TnVjp v = {
        .size = sizeof(TnVjp),
        .graph = walk->graph,
        .op = node->op,
        .attrs = node->attrs,
        .n_in = node->n_in,
        .in = node->in,
        .n_out = node->n_out,
        .out = out,
        .grad_out = grad_out,
        .need = need,
        .grad_in = grad_in,
    };
    if (!call_rule_in_scope(walk, &v, node, error)) {
        return FALSE;
    }
    for (gint k = 0; k < node->n_in; k++) {
        if (need[k] && !tn_val_is_none(grad_in[k])) {
            accumulate(walk, node->in[k], grad_in[k]);
        }
    }
    return tn_graph_check(walk->graph, error);
}

/* d(sum over k of sum(y[k] * seed[k])) / d(x[i]) over nodes [first, now); TN_VAL_NONE where there
 * is no path. */
static gboolean
walk_back(TnGraph *graph, gboolean inner, guint first, gint n_y, const TnVal *y, const TnVal *seed,
          gint n_x, const TnVal *x, TnVal *grad, GError **error)
{
    Walk walk = { graph, g_hash_table_new(NULL, NULL), g_hash_table_new(NULL, NULL), inner };
    const guint end = graph->nodes->len;
    gboolean ok = TRUE;
    mark_active(&walk, first, end, n_x, x);
    for (gint k = 0; k < n_y; k++) {
        if (!tn_val_is_none(seed[k]) && g_hash_table_contains(walk.active, pack(y[k]))) {
            accumulate(&walk, y[k], seed[k]);
        }
    }
    for (guint i = end; ok && i > first; i--) {
        ok = step_back(&walk, i - 1, error);
    }
    for (gint i = 0; ok && i < n_x; i++) {
        grad[i] = unpack(g_hash_table_lookup(walk.grads, pack(x[i])));
    }
    g_hash_table_unref(walk.active);
    g_hash_table_unref(walk.grads);
    return ok;
}

/* --- Public ----------------------------------------------------------------------------------- */

static gboolean
check_call(const TnGraph *graph, TnVal y, TnVal seed, gint n, const TnVal *x, GError **error)
{
    if (!tn_graph_check(graph, error)) {
        return FALSE;
    }
    gboolean known = tn_graph_type(graph, y)->dtype != TN_DTYPE_NONE;
    for (gint i = 0; i < n; i++) {
        known = known && tn_graph_type(graph, x[i])->dtype != TN_DTYPE_NONE;
    }
    if (!known) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                    "gradient in graph '%s': a value is not of this graph", graph->name);
        return FALSE;
    }
    g_autofree char *type = tn_type_print(tn_graph_type(graph, y));
    const char *name = tn_graph_node_name(graph, y.node);
    if (!is_float(graph, y)) {
        g_set_error(error, TN_ERROR, TN_ERROR_DTYPE, "gradient of '%s' %s: must be of a float type",
                    name, type);
        return FALSE;
    }
    if (!tn_val_is_none(seed) &&
        !tn_type_equal(tn_graph_type(graph, y), tn_graph_type(graph, seed))) {
        g_autofree char *got = tn_type_print(tn_graph_type(graph, seed));
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                    "gradient of '%s' %s: the seed is %s, must be of the same type", name, type,
                    got);
        return FALSE;
    }
    return TRUE;
}

gboolean
tn_grad(TnGraph *graph, TnVal y, TnVal seed, gint n, const TnVal *x, TnVal *grad, GError **error)
{
    if (!check_call(graph, y, seed, n, x, error)) {
        return FALSE;
    }
    g_autofree TnVal *found = g_new(TnVal, MAX(n, 1));
    const char *name = tn_graph_node_name(graph, y.node);
    g_autofree char *scope = g_strconcat("grad.", name, NULL);
    /* Nodes after y cannot be on the path, but the walk's end is where the seed would be added. */
    g_ptr_array_add(graph->scopes, g_strdup(scope));
    g_ptr_array_add(graph->paths, g_strdup(scope));
    seed = tn_val_is_none(seed) ? tn_f_ones_like(graph, y) : seed;
    gboolean ok = walk_back(graph, FALSE, 0, 1, &y, &seed, n, x, found, error);
    for (gint i = 0; ok && i < n; i++) {
        found[i] = tn_val_is_none(found[i]) ? tn_f_zeros_like(graph, x[i]) : found[i];
    }
    tn_graph_pop(graph);
    ok = ok && tn_graph_check(graph, error);
    if (ok && n > 0) {
        memcpy(grad, found, sizeof(TnVal) * (gsize)n);
    }
    return ok;
}

/* Input i for the body. One that gets no gradient may be the same value as one that does: the walk,
 * which knows values only, must not go on through it. */
static TnVal
body_input(const TnVjp *v, gint i)
{
    gboolean shared = FALSE;
    for (gint k = 0; k < v->n_in; k++) {
        shared = shared || (v->need[k] && tn_val_equal(v->in[k], v->in[i]));
    }
    return shared && !v->need[i] ? tn_graph_op(v->graph, "stop_gradient", NULL, 1, &v->in[i], NULL)
                                 : v->in[i];
}

gboolean
tn_vjp_of_body(TnVjp *v, GError **error)
{
    TnVal in[TN_MAX_IN];
    TnBody body = {
        .size = sizeof(TnBody),
        .graph = v->graph,
        .op = v->op,
        .attrs = v->attrs,
        .n_in = v->n_in,
        .in = in,
        .n_out = v->n_out,
    };
    const guint first = v->graph->nodes->len;
    TnVal out[TN_MAX_OUT], x[TN_MAX_IN], grad[TN_MAX_IN];
    gint n = 0;
    body.out = out;
    for (gint i = 0; i < v->n_in; i++) {
        in[i] = body_input(v, i);
    }
    for (gint k = 0; k < v->n_out; k++) {
        out[k] = TN_VAL_NONE;
    }
    if (!v->op->body(&body, error) || !tn_graph_check(v->graph, error)) {
        return FALSE;
    }
    for (gint i = 0; i < v->n_in; i++) {
        if (v->need[i]) {
            x[n++] = v->in[i];
        }
    }
    if (!walk_back(v->graph, TRUE, first, v->n_out, out, v->grad_out, n, x, grad, error)) {
        return FALSE;
    }
    /* The gradient of a value that is an input twice is that of all its uses: told once. */
    n = 0;
    for (gint i = 0; i < v->n_in; i++) {
        gboolean told = FALSE;
        for (gint k = 0; k < i; k++) {
            told = told || (v->need[k] && tn_val_equal(v->in[k], v->in[i]));
        }
        v->grad_in[i] = v->need[i] ? grad[n++] : TN_VAL_NONE;
        v->grad_in[i] = told ? TN_VAL_NONE : v->grad_in[i];
    }
    return TRUE;
}

/* --- Of graphs as a whole --------------------------------------------------------------------- */

TnGraph *
tn_graph_pullback(const TnGraph *graph, const gboolean *given, const gboolean *wanted,
                  GError **error)
{
    const guint n_y = graph->outputs->len, n_x = graph->inputs->len;
    g_autoptr(TnGraph) back = tn_graph_copy(graph);
    g_autoptr(GArray) gradients = g_array_new(FALSE, FALSE, sizeof(TnGraphPort));
    g_autofree TnVal *y = g_new(TnVal, n_y + 1), *seed = g_new(TnVal, n_y + 1);
    g_autofree TnVal *x = g_new(TnVal, n_x + 1), *grad = g_new(TnVal, n_x + 1);
    gint n = 0;
    for (guint k = 0; k < n_y; k++) {
        const TnGraphPort *port = &g_array_index(graph->outputs, TnGraphPort, k);
        g_autofree char *name = g_strdup_printf("grad.%s", port->name);
        y[k] = port->val;
        seed[k] = given[k] ? tn_graph_further_input(back, name, tn_graph_type(graph, port->val))
                           : TN_VAL_NONE;
    }
    for (guint i = 0; i < n_x; i++) {
        if (wanted[i]) {
            x[n++] = g_array_index(graph->inputs, TnGraphPort, i).val;
        }
    }
    if (!tn_graph_check(back, error) ||
        !walk_back(back, FALSE, 0, (gint)n_y, y, seed, n, x, grad, error)) {
        return NULL;
    }
    n = 0;
    for (guint i = 0; i < n_x; i++) {
        const TnGraphPort *port = &g_array_index(graph->inputs, TnGraphPort, i);
        if (wanted[i]) {
            const TnVal found = grad[n++];
            const TnGraphPort own = { port->name, tn_val_is_none(found)
                                                      ? tn_f_zeros_like(back, port->val)
                                                      : found };
            g_array_append_val(gradients, own);
        }
    }
    g_array_set_size(back->outputs, 0);
    g_array_append_vals(back->outputs, gradients->data, gradients->len);
    return tn_graph_check(back, error) ? g_steal_pointer(&back) : NULL;
}
