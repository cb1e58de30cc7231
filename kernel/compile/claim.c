/* claim.c: which device runs which node, and composites that nobody takes replaced by their
 * bodies. */
#include "compile-private.h"

#include "choose.h"

/* Sources are there already, assigns are done by the plan, transfers by the devices themselves. */
static gboolean
is_run(const TnGraphNode *node)
{
    return !tn_is_source(node) && node->op != tn_source_ops()->assign &&
           node->op != &tn_transfer_op;
}

static const TnClaim no_claim = { .device = -1 };

static TnClaim
claim_by(guint device, const TnKernel *kernel, const TnNodeView *view, gboolean mixed)
{
    TnClaim claim = { (gint)device, kernel, 0, mixed };
    for (gint i = 0; i < view->node.n_out; i++) {
        claim.unread |= (guint64)(view->out[i].unread != 0) << i;
    }
    return claim;
}

static TnClaim
claim_node(TnCompiler *c, guint number, gboolean mixed)
{
    const TnCompile options = tn_claim_options(c->options, &(TnClaim){ .mixed = mixed });
    TnNodeView view;
    const TnKernel *kernel = NULL;
    tn_node_view(&view, c->graph, number);
    kernel = tn_control_kernel(view.node.op);
    for (guint d = 0; kernel != NULL && d < c->options->n_devices; d++) {
        if (tn_device_is_host(c->options->devices[d])) {
            return claim_by(d, kernel, &view, mixed);
        }
    }
    for (guint d = 0; d < c->options->n_devices; d++) {
        kernel = tn_choose_kernel(&options, d, &view.node);
        if (kernel != NULL) {
            return claim_by(d, kernel, &view, mixed);
        }
    }
    /* A composite that was expanded is so again; what else nobody has as chosen goes to the first that
     * takes it. */
    const gboolean anew = c->options->choices != NULL && !tn_op_is_composite(view.node.op);
    for (guint d = 0; anew && d < c->options->n_devices; d++) {
        kernel = tn_choose_anew(&options, d, &view.node);
        if (kernel != NULL) {
            return claim_by(d, kernel, &view, mixed);
        }
    }
    return no_claim;
}

gboolean
tn_pass_claim(TnCompiler *c, GError **error)
{
    (void)error;
    const guint n = c->graph->nodes->len;
    g_autofree gboolean *mixed = tn_mixed_nodes(c);
    tn_kernels_refresh();
    g_free(c->claims);
    c->claims = g_new(TnClaim, n + 1);
    for (guint i = 0; i < n; i++) {
        c->claims[i] = is_run(tn_graph_node(c->graph, i)) ? claim_node(c, i, mixed[i]) : no_claim;
    }
    return TRUE;
}

/* --- Expansion -------------------------------------------------------------------------------- */

static gboolean
is_open(const TnCompiler *c, guint number)
{
    const TnGraphNode *node = tn_graph_node(c->graph, number);
    return is_run(node) && c->claims[number].kernel == NULL;
}

static gboolean
expand_node(TnRewriter *rw, guint number, const TnGraphNode *node, const TnVal *in, TnVal *out,
            gboolean *done, GError **error)
{
    const TnClaim *claims = rw->data;
    *done = is_run(node) && claims[number].kernel == NULL && tn_op_is_composite(node->op);
    return !*done || tn_graph_expand(rw->to, node->op, node->attrs, node->name, node->path,
                                     node->n_in, in, node->n_out, node->out, out, error);
}

static void
describe_open(const TnCompiler *c, guint number, GString *text)
{
    const TnGraphNode *node = tn_graph_node(c->graph, number);
    g_string_append_printf(text, "\n  %s (%s):", node->name, node->op->name);
    for (gint i = 0; i < node->n_in; i++) {
        g_autofree char *type =
            tn_val_is_none(node->in[i]) ? NULL : tn_type_print(tn_type_of(c->graph, node->in[i]));
        g_string_append_printf(text, "%s %s", i > 0 ? "," : "", type ? type : "-");
    }
    g_string_append(text, " ->");
    for (gint i = 0; i < node->n_out; i++) {
        g_autofree char *type = tn_type_print(&node->out[i]);
        g_string_append_printf(text, "%s %s", i > 0 ? "," : "", type);
    }
}

/* FALSE with every node that nobody takes. */
static gboolean
check_all_claimed(const TnCompiler *c, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < c->graph->nodes->len; i++) {
        if (is_open(c, i)) {
            describe_open(c, i, text);
        }
    }
    if (text->len == 0) {
        return TRUE;
    }
    g_autoptr(GString) devices = g_string_new(NULL);
    for (guint i = 0; i < c->options->n_devices; i++) {
        g_string_append_printf(devices, "%s%s", i > 0 ? ", " : "",
                               tn_device_name(c->options->devices[i]));
    }
    g_set_error(
        error, TN_ERROR, TN_ERROR_UNSUPPORTED,
        "no device (%s) takes these nodes; add a device or a plugin that has kernels for them:%s",
        devices->str, text->str);
    return FALSE;
}

static gboolean
has_open_composite(const TnCompiler *c)
{
    for (guint i = 0; i < c->graph->nodes->len; i++) {
        if (is_open(c, i) && tn_op_is_composite(tn_graph_node(c->graph, i)->op)) {
            return TRUE;
        }
    }
    return FALSE;
}

gboolean
tn_pass_expand(TnCompiler *c, GError **error)
{
    while (has_open_composite(c)) {
        g_autofree TnClaim *claims = g_steal_pointer(&c->claims);
        if (!tn_rewrite_into(c, NULL, expand_node, claims, error) || !tn_run_neutral(c, error) ||
            !tn_pass_claim(c, error)) {
            return FALSE;
        }
    }
    return check_all_claimed(c, error);
}
