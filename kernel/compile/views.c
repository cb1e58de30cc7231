/* views.c: which movements are no instruction. A view is a stride pattern over its root's
 * memory; it becomes an instruction again if strides cannot express it, or if a reader wants it
 * contiguous and it is not. What a kernel gives in any order of axes lies as a transpose that reads it
 * wants it, which so costs nothing either. */
#include "plan-private.h"

gboolean
tn_layout_contiguous(const TnType *type, const TnLayout *layout)
{
    gint64 want = 1;
    if (tn_type_count(type) == 0) {
        return TRUE;
    }
    for (gint i = type->rank - 1; i >= 0; i--) {
        if (type->dims[i] != 1 && layout->strides[i] != want) {
            return FALSE;
        }
        want *= type->dims[i];
    }
    return TRUE;
}

static void
set_root(TnPlan *plan, guint32 value)
{
    TnPlanValue *v = tn_plan_value(plan, value);
    v->root = value;
    v->layout = (TnLayout){ .offset = 0 };
    tn_type_strides(&v->type, v->layout.strides);
    v->contiguous = TRUE;
}

static void
make_values(TnPlan *plan)
{
    const TnGraph *graph = plan->graph;
    for (guint i = 0; i < graph->nodes->len; i++) {
        const TnGraphNode *node = tn_graph_node(graph, i);
        plan->first_value[i] = plan->values->len;
        for (gint k = 0; k < node->n_out; k++) {
            const TnPlanValue value = { .type = node->out[k],
                                        .producer = TN_NO_STEP,
                                        .slot = TN_NO_VALUE };
            g_array_append_val(plan->values, value);
            set_root(plan, plan->values->len - 1);
        }
    }
}

static gboolean
may_be_view(const TnPlan *plan, guint number)
{
    const TnGraphNode *node = tn_graph_node(plan->graph, number);
    return (node->op->flags & TN_OP_VIEW) && node->op->view != NULL && node->n_out == 1 &&
           node->n_in >= 1 && plan->c->claims[number].kernel != NULL;
}

static void
want(const TnPlan *plan, TnVal val, gboolean *wanted)
{
    if (!tn_val_is_none(val)) {
        wanted[tn_plan_value_of(plan, val)] = TRUE;
    }
}

/* Values that some reader needs contiguous, given which nodes are views at present. */
static void
find_wanted(const TnPlan *plan, gboolean *wanted)
{
    const TnGraph *graph = plan->graph;
    memset(wanted, 0, plan->values->len * sizeof *wanted);
    for (guint i = 0; i < graph->nodes->len; i++) {
        const TnGraphNode *node = tn_graph_node(graph, i);
        const TnKernel *kernel = plan->c->claims[i].kernel;
        const gboolean strided = kernel != NULL && (kernel->flags & TN_KERNEL_STRIDED);
        for (gint k = 0; k < node->n_in && !plan->is_view[i] && !strided; k++) {
            if (tn_reads_data(node->op, k, node->in[k])) {
                want(plan, node->in[k], wanted);
            }
        }
    }
    for (guint i = 0; i < graph->outputs->len; i++) {
        want(plan, g_array_index(graph->outputs, TnGraphPort, i).val, wanted);
    }
    for (guint i = 0; i < graph->variables->len; i++) {
        want(plan, g_array_index(graph->variables, TnGraphVariable, i).assigned, wanted);
    }
}

/* Lays the node's output over its input; FALSE if that is not possible or not wanted. */
static gboolean
lay_view(TnPlan *plan, guint number, const gboolean *wanted)
{
    const TnGraphNode *node = tn_graph_node(plan->graph, number);
    const TnPlanValue *in = tn_plan_value(plan, tn_plan_value_of(plan, node->in[0]));
    TnPlanValue *out = tn_plan_value(plan, plan->first_value[number]);
    TnLayout layout = { .offset = 0 };
    TnType types[TN_MAX_IN] = { 0 };
    for (gint i = 0; i < node->n_in; i++) {
        if (!tn_val_is_none(node->in[i])) {
            types[i] = tn_plan_value(plan, tn_plan_value_of(plan, node->in[i]))->type;
        }
    }
    if (!node->op->view(node->attrs, types, &in->layout, &out->type, &layout)) {
        return FALSE;
    }
    const gboolean contiguous = tn_layout_contiguous(&out->type, &layout);
    if (!contiguous && wanted[plan->first_value[number]]) {
        return FALSE;
    }
    out->root = in->root;
    out->layout = layout;
    out->contiguous = contiguous;
    if (contiguous) {
        tn_type_strides(&out->type, out->layout.strides);
    }
    return TRUE;
}

/* --- Outputs in another order ----------------------------------------------------------------- */

/* Strides of a value with which its view of these strides, as seen while the value is contiguous, is
 * contiguous; FALSE if the view is no other order of the axes, or moves the last one. */
static gboolean
inverse_order(const TnType *type, const gint64 *own, const TnType *view, const gint64 *seen,
              gint64 *strides)
{
    gint64 contiguous[TN_MAX_RANK] = { 0 };
    if (view->rank != type->rank || type->rank < 2) {
        return FALSE;
    }
    tn_type_strides(view, contiguous);
    for (gint i = 0; i < type->rank; i++) {
        gint at = 0;
        while (at < type->rank && (seen[at] != own[i] || view->dims[at] != type->dims[i])) {
            at++;
        }
        if (at == type->rank || (type->dims[i] < 2 && i == type->rank - 1)) {
            return FALSE;
        }
        strides[i] = contiguous[at];
    }
    return strides[type->rank - 1] == 1;
}

/* Lays a node's outputs as the first view that reads them in another order wants them. */
static void
lay_output(TnPlan *plan, guint reader)
{
    const TnGraphNode *node = tn_graph_node(plan->graph, reader);
    const TnVal from = node->in[0];
    const TnKernel *kernel = plan->c->claims[from.node].kernel;
    TnPlanValue *value = tn_plan_value(plan, tn_plan_value_of(plan, from));
    TnLayout layout = { .offset = 0 }, own = { .offset = 0 };
    if (kernel == NULL || !(kernel->flags & TN_KERNEL_ANY_ORDER) || plan->is_view[from.node] ||
        !value->contiguous || tn_type_count(&value->type) == 0 ||
        !node->op->view(node->attrs, &value->type, &value->layout, &node->out[0], &layout) ||
        tn_layout_contiguous(&node->out[0], &layout) ||
        !inverse_order(&value->type, value->layout.strides, &node->out[0], layout.strides,
                       own.strides)) {
        return;
    }
    value->layout = own;
    value->contiguous = FALSE;
}

static void
lay_outputs(TnPlan *plan)
{
    for (guint i = 0; i < plan->graph->nodes->len; i++) {
        if (plan->is_view[i] && tn_graph_node(plan->graph, i)->n_in == 1) {
            lay_output(plan, i);
        }
    }
}

/* Whether an output lay so in vain, for somebody wants it contiguous. */
static gboolean
straighten(TnPlan *plan, const gboolean *wanted)
{
    gboolean changed = FALSE;
    for (guint i = 0; i < plan->values->len; i++) {
        const TnPlanValue *value = tn_plan_value(plan, i);
        if (value->root == i && !value->contiguous && wanted[i]) {
            set_root(plan, i);
            changed = TRUE;
        }
    }
    return changed;
}

void
tn_plan_views(TnPlan *plan)
{
    const guint n = plan->graph->nodes->len;
    const gboolean skip = tn_pass_skipped(plan->c->options, "views");
    make_values(plan);
    g_autofree gboolean *wanted = g_new0(gboolean, plan->values->len + 1);
    for (guint i = 0; i < n; i++) {
        plan->is_view[i] = !skip && may_be_view(plan, i);
    }
    lay_outputs(plan);
    /* A view that becomes an instruction may want its own input contiguous: again, until nothing
     * changes. */
    for (gboolean changed = TRUE; changed;) {
        find_wanted(plan, wanted);
        changed = straighten(plan, wanted);
        for (guint i = 0; i < n; i++) {
            if (plan->is_view[i] && !lay_view(plan, i, wanted)) {
                plan->is_view[i] = FALSE;
                set_root(plan, plan->first_value[i]);
                changed = TRUE;
            }
        }
    }
}
