/* assign.c: variables are written at the end of a program: either the step that computes the new
 * value writes right into the variable, after everybody who reads the old one, or a copy does it
 * at the end. */
#include "plan-private.h"

/* --- Overwriting ------------------------------------------------------------------------------ */

static gboolean
whole(const TnPlan *plan, const TnPlanValue *value)
{
    const TnPlanValue *root = tn_plan_value(plan, value->root);
    return value->contiguous && value->layout.offset == 0 &&
           tn_type_bytes(&value->type) == tn_type_bytes(&root->type);
}

/* Whether the operator says of itself that output out may be computed into input in's memory. */
static gboolean
says_in_place(const TnOp *op, guint out, guint in)
{
    if (out == 0 && in < 32 && (op->in_place >> in & 1u)) {
        return TRUE;
    }
    const TnOpArg *row = out < op->n_outputs ? tn_op_output(op, (gint)out) : NULL;
    return row != NULL && (row->flags & TN_ARG_REPLACES) &&
           strcmp(row->name, tn_op_input(op, (gint)in)->name) == 0;
}

gboolean
tn_plan_may_overwrite(const TnPlan *plan, const TnStep *step, guint out, guint in)
{
    if (step->kind != TN_STEP_KERNEL || !(step->kernel->flags & TN_KERNEL_IN_PLACE) ||
        step->in[in] == TN_NO_VALUE) {
        return FALSE;
    }
    const TnOp *op = tn_graph_node(plan->graph, step->node)->op;
    const TnPlanValue *from = tn_plan_value(plan, step->in[in]);
    const TnPlanValue *to = tn_plan_value(plan, step->out + out);
    if (!tn_type_equal(&from->type, &to->type) || !whole(plan, from)) {
        return FALSE;
    }
    if (!(op->flags & TN_OP_ELEMENTWISE) && !says_in_place(op, out, in)) {
        return FALSE;
    }
    /* No other input may see the same memory in another layout; nor at all, unless the operator
     * goes element by element. */
    for (guint i = 0; i < step->n_in; i++) {
        if (i == in || step->in[i] == TN_NO_VALUE) {
            continue;
        }
        const TnPlanValue *other = tn_plan_value(plan, step->in[i]);
        if (other->root == from->root &&
            (!(op->flags & TN_OP_ELEMENTWISE) || !tn_type_equal(&other->type, &to->type) ||
             !whole(plan, other))) {
            return FALSE;
        }
    }
    return TRUE;
}

/* --- Readers and reachability ----------------------------------------------------------------- */

static gboolean
reads_root(const TnPlan *plan, const TnStep *step, guint32 root)
{
    for (guint i = 0; i < step->n_in; i++) {
        if (step->in[i] != TN_NO_VALUE && tn_plan_value(plan, step->in[i])->root == root) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Marks the steps that must come before `last` (and itself), as things stand. */
static void
mark_before(const TnPlan *plan, guint32 last, gboolean *before)
{
    g_autoptr(GArray) stack = g_array_new(FALSE, FALSE, sizeof(guint32));
    memset(before, 0, plan->steps->len * sizeof *before);
    before[last] = TRUE;
    g_array_append_val(stack, last);
    while (stack->len > 0) {
        const TnStep *step = tn_plan_step(plan, g_array_index(stack, guint32, stack->len - 1));
        g_array_set_size(stack, stack->len - 1);
        for (guint i = 0; i < step->n_in + step->before->len; i++) {
            guint32 pred = TN_NO_STEP;
            if (i >= step->n_in) {
                pred = g_array_index(step->before, guint32, i - step->n_in);
            } else if (step->in[i] != TN_NO_VALUE) {
                pred = tn_plan_root(plan, step->in[i])->producer;
            }
            if (pred != TN_NO_STEP && !before[pred]) {
                before[pred] = TRUE;
                g_array_append_val(stack, pred);
            }
        }
    }
}

/* Whether some reader of the old value needs, directly or not, what step `writer` computes. */
static gboolean
reader_needs(const TnPlan *plan, guint32 old_root, guint32 writer)
{
    g_autofree gboolean *before = g_new(gboolean, plan->steps->len);
    for (guint i = 0; i < plan->steps->len; i++) {
        if (i == writer || !reads_root(plan, tn_plan_step(plan, i), old_root)) {
            continue;
        }
        mark_before(plan, i, before);
        if (before[writer]) {
            return TRUE;
        }
    }
    return FALSE;
}

/* The step comes after every reader of the old value (but itself). */
static void
order_after_readers(TnPlan *plan, guint32 old_root, guint32 writer)
{
    for (guint32 i = 0; old_root != TN_NO_VALUE && i < plan->steps->len; i++) {
        if (i != writer && reads_root(plan, tn_plan_step(plan, i), old_root)) {
            g_array_append_val(tn_plan_step(plan, writer)->before, i);
        }
    }
}

/* --- Variables -------------------------------------------------------------------------------- */

/* Whether the step may write the new value over the old one that it reads itself. */
static gboolean
overwrites_safely(const TnPlan *plan, const TnStep *step, guint32 root, guint32 old_root)
{
    for (guint i = 0; i < step->n_in; i++) {
        if (step->in[i] != TN_NO_VALUE && tn_plan_value(plan, step->in[i])->root == old_root &&
            !tn_plan_may_overwrite(plan, step, root - step->out, i)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
may_write_directly(const TnPlan *plan, guint32 value, guint32 variable, guint32 old_root)
{
    const TnPlanValue *v = tn_plan_value(plan, value);
    const TnPlanValue *root = tn_plan_value(plan, v->root);
    const guint home = plan->program->variables[variable].device;
    if (tn_pass_skipped(plan->c->options, "assign") || root->producer == TN_NO_STEP ||
        root->place.kind != TN_PLACE_ARENA || root->is_output || !whole(plan, v) ||
        tn_plan_space(plan, root->device) != tn_plan_space(plan, home)) {
        return FALSE;
    }
    const TnStep *step = tn_plan_step(plan, root->producer);
    if (old_root == TN_NO_VALUE) {
        return TRUE;
    }
    return overwrites_safely(plan, step, v->root, old_root) &&
           !reader_needs(plan, old_root, root->producer);
}

static gboolean
is_assigned(const TnPlan *plan, guint32 variable)
{
    return !tn_val_is_none(
        g_array_index(plan->graph->variables, TnGraphVariable, variable).assigned);
}

/* The value to be written to variable i. What another variable was, if that one is overwritten
 * too, is copied first. */
static guint32
assigned_value(TnPlan *plan, guint32 i)
{
    const TnVal val = g_array_index(plan->graph->variables, TnGraphVariable, i).assigned;
    const guint32 value = tn_plan_value_of(plan, val);
    const TnPlanValue *root = tn_plan_root(plan, value);
    if (root->place.kind == TN_PLACE_VARIABLE && root->place.index != i &&
        is_assigned(plan, root->place.index)) {
        return tn_plan_add_copy(plan, value, val.node, root->device, -1);
    }
    return value;
}

static void
plan_assign(TnPlan *plan, guint32 i, guint32 value)
{
    const TnGraphVariable *variable = &g_array_index(plan->graph->variables, TnGraphVariable, i);
    const guint32 old_root = tn_plan_value_of(plan, variable->read);
    if (tn_plan_value(plan, value)->root == old_root || tn_type_count(&variable->type) == 0) {
        return;
    }
    if (may_write_directly(plan, value, i, old_root)) {
        TnPlanValue *direct = tn_plan_root(plan, value);
        direct->place = (TnPlace){ TN_PLACE_VARIABLE, i, 0 };
        order_after_readers(plan, old_root, direct->producer);
        return;
    }
    const guint home = plan->program->variables[i].device;
    TnStep *step = tn_plan_add_step(plan, TN_STEP_ASSIGN, variable->assigned.node, home, 1, 0);
    step->in[0] = value;
    step->variable = i;
}

void
tn_plan_assigns(TnPlan *plan)
{
    const guint n = plan->graph->variables->len;
    g_autofree guint32 *value = g_new(guint32, n + 1);
    for (guint i = 0; i < n; i++) {
        value[i] = is_assigned(plan, i) ? assigned_value(plan, i) : TN_NO_VALUE;
    }
    for (guint i = 0; i < n; i++) {
        if (value[i] != TN_NO_VALUE) {
            plan_assign(plan, i, value[i]);
        }
    }
    for (guint32 s = 0; s < plan->steps->len; s++) {
        const TnStep *step = tn_plan_step(plan, s);
        if (step->kind == TN_STEP_ASSIGN) {
            const TnGraphVariable *variable =
                &g_array_index(plan->graph->variables, TnGraphVariable, step->variable);
            order_after_readers(plan, tn_plan_value_of(plan, variable->read), s);
        }
    }
}
