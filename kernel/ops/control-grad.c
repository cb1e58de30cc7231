/* control-grad.c: gradients of if and scan: operators of the same kind over pullbacks of their
 * sub-graphs. */
#include "graph/graph-private.h"
#include "ops-private.h"

static gboolean
is_float(const TnGraph *graph, TnVal val)
{
    return tn_dtype_in(tn_graph_type(graph, val)->dtype, TN_DTYPES_FLOAT);
}

/* An `if` of the branches' gradients. */
gboolean
tn_control_if_vjp(TnVjp *v, GError **error)
{
    const TnIfAttrs *attrs = v->attrs;
    gboolean given[TN_MAX_OUT];
    TnVal in[TN_MAX_IN], out[TN_MAX_OUT];
    gint n = 0, at = 0;
    for (gint i = 0; i < v->n_in; i++) {
        in[n++] = v->in[i];
    }
    for (gint k = 0; k < v->n_out; k++) {
        given[k] = !tn_val_is_none(v->grad_out[k]);
        if (given[k] && n < TN_MAX_IN) {
            in[n++] = v->grad_out[k];
        }
    }
    g_autoptr(TnGraph) then = tn_graph_pullback(attrs->then_branch, given, v->need + 1, error);
    g_autoptr(TnGraph) otherwise =
        then != NULL ? tn_graph_pullback(attrs->else_branch, given, v->need + 1, error) : NULL;
    if (otherwise == NULL) {
        return FALSE;
    }
    const TnIfAttrs back = { then, otherwise };
    tn_graph_op(v->graph, "if", &back, n, in, out);
    for (gint i = 1; i < v->n_in; i++) {
        v->grad_in[i] = v->need[i] ? out[at++] : TN_VAL_NONE;
    }
    return TRUE;
}

gboolean
tn_control_while_vjp(TnVjp *v, GError **error)
{
    (void)v;
    g_set_error(
        error, TN_ERROR, TN_ERROR_UNSUPPORTED,
        "a while without a bound has no gradient, as the states of each iteration would have to "
        "be kept: give max_iterations");
    return FALSE;
}

/* The gradient of a scan is a scan the other way. Of a step it has the state before, which was saved, and
 * computes the rest again; its own states are the gradients of the states and, summed up, those of
 * captures. */
typedef struct {
    TnVjp *v;
    const TnScanAttrs *attrs;
    gint n, m, q; /* states, scan inputs, stacks */
    TnGraph *body;
    const TnVal *saved;      /* states before each step */
    GArray *ports[3];        /* TnGraphPort: the new body's inputs by kind */
    GArray *given[3];        /* TnVal: what its node gives them */
    GArray *states, *stacks; /* TnGraphPort: the new body's outputs */
} ScanBack;

enum { STATE, SLICE, CAPTURE };

static void
put_input(ScanBack *b, gint kind, TnGraphPort port, TnVal given)
{
    g_array_append_val(b->ports[kind], port);
    g_array_append_val(b->given[kind], given);
}

/* A further input of the body. */
static TnVal
new_input(ScanBack *b, gint kind, const char *prefix, guint like, TnVal given)
{
    const TnGraphPort old = g_array_index(b->body->inputs, TnGraphPort, like);
    g_autofree char *name = g_strconcat(prefix, old.name, NULL);
    tn_graph_further_input(b->body, name, tn_graph_type(b->body, old.val));
    const TnGraphPort port = g_array_index(b->body->inputs, TnGraphPort, b->body->inputs->len - 1);
    put_input(b, kind, port, given);
    return port.val;
}

/* State i goes back with gradient `grad` after a step, `next` before it. */
static void
put_state(ScanBack *b, guint i, TnGraphPort grad, TnGraphPort next)
{
    TnGraph *graph = b->v->graph;
    const TnVal *got = b->v->grad_out;
    const TnVal saved = b->attrs->save ? got[b->n + b->q + (gint)i] : TN_VAL_NONE, last = got[i];
    put_input(b, STATE, grad, tn_val_is_none(last) ? tn_f_zeros_like(graph, b->v->out[i]) : last);
    if (!tn_val_is_none(saved)) {
        next.val = tn_f_add(b->body, next.val, new_input(b, SLICE, "grad.saved.", i, saved));
    }
    g_array_append_val(b->states, next);
}

static void
put_capture(ScanBack *b, guint i, TnGraphPort grad)
{
    const TnVal zero = tn_f_zeros_like(b->v->graph, b->v->in[i]);
    const TnVal sum = new_input(b, STATE, "sum.", i, zero);
    grad.val = tn_f_add(b->body, sum, grad.val);
    g_array_append_val(b->states, grad);
}

/* Inputs and outputs of the pullback, each to its place. */
static void
arrange(ScanBack *b, const gboolean *given, const gboolean *wanted)
{
    const TnVjp *v = b->v;
    const guint n_in = (guint)v->n_in, n = (guint)b->n, m = (guint)b->m;
    guint seed = n_in, found = 0;
    g_autoptr(GArray) in = g_array_copy(b->body->inputs), out = g_array_copy(b->body->outputs);
    for (guint i = 0; i < n_in; i++) {
        const TnVal from = i < n ? b->saved[i] : v->in[i];
        put_input(b, i < n + m ? SLICE : CAPTURE, g_array_index(in, TnGraphPort, i), from);
    }
    for (guint i = 0; i < n_in; i++) {
        const TnGraphPort grad =
            wanted[i] ? g_array_index(out, TnGraphPort, found++) : (TnGraphPort){ 0 };
        if (i < n && wanted[i]) {
            put_state(b, i, g_array_index(in, TnGraphPort, seed++), grad);
        } else if (i < n + m && wanted[i]) {
            g_array_append_val(b->stacks, grad);
        } else if (wanted[i]) {
            put_capture(b, i, grad);
        }
    }
    for (guint k = n; k < n + (guint)b->q; k++) {
        if (given[k]) {
            put_input(b, SLICE, g_array_index(in, TnGraphPort, seed++), v->grad_out[k]);
        }
    }
    g_array_set_size(b->body->inputs, 0);
    for (gint kind = STATE; kind <= CAPTURE; kind++) {
        g_array_append_vals(b->body->inputs, b->ports[kind]->data, b->ports[kind]->len);
    }
    g_array_set_size(b->body->outputs, 0);
    g_array_append_vals(b->body->outputs, b->states->data, b->states->len);
    g_array_append_vals(b->body->outputs, b->stacks->data, b->stacks->len);
}

static void
add_scan_back(ScanBack *b, const gboolean *wanted)
{
    TnVjp *v = b->v;
    TnVal in[TN_MAX_IN] = { 0 }, out[TN_MAX_OUT];
    gint n_in = 0, state = 0, stack = (gint)b->states->len;
    const TnScanAttrs attrs = { b->body, b->ports[STATE]->len, b->ports[SLICE]->len,
                                !b->attrs->reverse, TRUE };
    for (gint kind = STATE; kind <= CAPTURE; kind++) {
        for (guint i = 0; i < b->given[kind]->len; i++, n_in++) {
            in[MIN(n_in, TN_MAX_IN - 1)] = g_array_index(b->given[kind], TnVal, i);
        }
    }
    tn_graph_op(v->graph, "scan", &attrs, n_in, in, out);
    for (gint i = 0; i < v->n_in && v->graph->error == NULL; i++) {
        const gboolean is_slice = i >= b->n && i < b->n + b->m;
        if (wanted[i]) {
            const TnVal grad = is_slice ? out[stack++] : out[state++];
            v->grad_in[i] = v->need[i] ? grad : TN_VAL_NONE;
        }
    }
}

gboolean
tn_control_scan_vjp(TnVjp *v, GError **error)
{
    const TnScanAttrs *attrs = v->attrs;
    const TnGraph *body = attrs->body;
    const gint n = (gint)attrs->num_states;
    ScanBack b = { v, attrs, n, (gint)attrs->num_scan_inputs, (gint)body->outputs->len - n };
    gboolean given[TN_MAX_OUT], wanted[TN_MAX_IN];
    TnVal again[TN_MAX_OUT];
    b.saved = v->out + n + b.q;
    if (!attrs->save) { /* then it is run once more */
        TnScanAttrs saving = *attrs;
        saving.save = TRUE;
        tn_graph_op(v->graph, "scan", &saving, v->n_in, v->in, again);
        b.saved = again + n + b.q;
    }
    /* A state that no gradient reaches may get one on the way, from another state or a capture. */
    for (gint k = 0; k < n + b.q; k++) {
        given[k] = k < n ? is_float(v->graph, v->out[k]) : !tn_val_is_none(v->grad_out[k]);
    }
    for (gint i = 0; i < v->n_in; i++) {
        wanted[i] = i < n ? is_float(v->graph, v->in[i]) : v->need[i];
    }
    b.body = tn_graph_pullback(body, given, wanted, error);
    if (b.body == NULL) {
        return FALSE;
    }
    for (gint kind = STATE; kind <= CAPTURE; kind++) {
        b.ports[kind] = g_array_new(FALSE, FALSE, sizeof(TnGraphPort));
        b.given[kind] = g_array_new(FALSE, FALSE, sizeof(TnVal));
    }
    b.states = g_array_new(FALSE, FALSE, sizeof(TnGraphPort));
    b.stacks = g_array_new(FALSE, FALSE, sizeof(TnGraphPort));
    arrange(&b, given, wanted);
    const gboolean ok = tn_graph_check(b.body, error);
    if (ok) {
        add_scan_back(&b, wanted);
    }
    for (gint kind = STATE; kind <= CAPTURE; kind++) {
        g_array_unref(b.ports[kind]);
        g_array_unref(b.given[kind]);
    }
    g_array_unref(b.states);
    g_array_unref(b.stacks);
    tn_graph_unref(b.body);
    return ok;
}
