/* once.c: what hangs on variables alone that the program does not assign: weights folded, packed or
 * cast, and what kernels make of that and keep. It is computed once and again when a variable has changed,
 * so its instructions come first and their results stay in the arena from run to run. */
#include "plan-private.h"

/* --- In a graph ------------------------------------------------------------------------------- */

static gboolean
is_assigned(const TnGraph *graph, const char *name)
{
    for (guint i = 0; i < graph->variables->len; i++) {
        const TnGraphVariable *variable = &g_array_index(graph->variables, TnGraphVariable, i);
        if (strcmp(variable->name, name) == 0) {
            return !tn_val_is_none(variable->assigned);
        }
    }
    return TRUE;
}

static gboolean
is_fixed(const TnGraph *graph, const TnGraph *assigned, guint number, const gboolean *fixed)
{
    const TnGraphNode *node = tn_graph_node(graph, number);
    const TnSourceOps *ops = tn_source_ops();
    if (node->op == ops->variable) {
        return !is_assigned(assigned, ((const TnVariableAttrs *)node->attrs)->name);
    }
    if (tn_is_source(node)) {
        return node->op == ops->constant || node->op == &tn_type_only_op;
    }
    gboolean all = !(node->op->flags & (TN_OP_RANDOM | TN_OP_EFFECT)) && node->op != ops->assign;
    for (gint i = 0; i < node->n_in && all; i++) {
        all = !tn_reads_data(node->op, i, node->in[i]) || fixed[node->in[i].node];
    }
    return all;
}

const gboolean *
tn_fixed_nodes(TnFixed *f, const TnGraph *graph, const TnGraph *assigned)
{
    f->fixed = f->fixed != NULL ? f->fixed : g_array_new(FALSE, FALSE, sizeof(gboolean));
    for (guint i = f->fixed->len; i < graph->nodes->len; i++) {
        const gboolean fixed =
            is_fixed(graph, assigned, i, (const gboolean *)(const void *)f->fixed->data);
        g_array_append_val(f->fixed, fixed);
    }
    return (const gboolean *)(const void *)f->fixed->data;
}

void
tn_fixed_clear(TnFixed *f)
{
    g_clear_pointer(&f->fixed, g_array_unref);
}

/* --- In a plan -------------------------------------------------------------------------------- */

/* What a value hangs on. */
typedef enum { ON_RUN, ON_CONSTANTS, ON_VARIABLES } Hangs;

static Hangs
value_hangs(const TnPlan *plan, guint32 root, const Hangs *of_step)
{
    const TnPlanValue *value = tn_plan_value(plan, root);
    switch (value->place.kind) {
    case TN_PLACE_CONSTANT: return ON_CONSTANTS;
    case TN_PLACE_VARIABLE:
        return value->producer == TN_NO_STEP &&
                       !plan->program->variables[value->place.index].assigned
                   ? ON_VARIABLES
                   : ON_RUN;
    case TN_PLACE_ARENA: return value->producer != TN_NO_STEP ? of_step[value->producer] : ON_RUN;
    default: return ON_RUN;
    }
}

static Hangs
step_hangs(const TnPlan *plan, const TnStep *step, const Hangs *of_step)
{
    Hangs on = ON_CONSTANTS;
    if (step->kind != TN_STEP_KERNEL ||
        (tn_graph_node(plan->graph, step->node)->op->flags & (TN_OP_RANDOM | TN_OP_EFFECT))) {
        return ON_RUN;
    }
    for (guint i = 0; i < step->n_out; i++) {
        if (tn_plan_value(plan, step->out + i)->place.kind != TN_PLACE_ARENA) {
            return ON_RUN;
        }
    }
    for (guint i = 0; i < step->n_in && on != ON_RUN; i++) {
        if (step->in[i] != TN_NO_VALUE) {
            const Hangs in = value_hangs(plan, tn_plan_value(plan, step->in[i])->root, of_step);
            on = in == ON_RUN ? ON_RUN : MAX(on, in);
        }
    }
    return on;
}

/* Marks what the step reads: constants' results that something computed once needs come with it. */
static void
mark_inputs(const TnPlan *plan, const TnStep *step)
{
    for (guint i = 0; i < step->n_in; i++) {
        if (step->in[i] == TN_NO_VALUE) {
            continue;
        }
        const TnPlanValue *root = tn_plan_root(plan, step->in[i]);
        if (root->producer != TN_NO_STEP) {
            tn_plan_step(plan, root->producer)->once = TRUE;
        } else if (root->place.kind == TN_PLACE_VARIABLE) {
            plan->program->variables[root->place.index].once = TRUE;
        }
    }
}

void
tn_plan_once(TnPlan *plan)
{
    const guint n = plan->steps->len;
    if (plan->c->n_spaces > 1 || tn_pass_skipped(plan->c->options, "once")) {
        return;
    }
    g_autofree Hangs *of_step = g_new(Hangs, n + 1);
    for (guint i = 0; i < n; i++) {
        TnStep *step = tn_plan_step(plan, i);
        of_step[i] = step_hangs(plan, step, of_step);
        step->once = of_step[i] == ON_VARIABLES;
    }
    for (guint i = n; i-- > 0;) {
        const TnStep *step = tn_plan_step(plan, i);
        if (step->once) {
            plan->program->n_once++;
            mark_inputs(plan, step);
        }
    }
}

gboolean
tn_plan_is_fixed(const TnPlan *plan, guint32 value)
{
    const TnCompile *options = plan->c->options;
    const TnPlanValue *root = tn_plan_root(plan, value);
    /* A program without variables may be a sub-graph's, whose memory is another's scratch. */
    if (plan->c->n_spaces > 1 || options->memory_limit > 0 || plan->program->n_variables == 0 ||
        tn_pass_skipped(options, "once")) {
        return FALSE;
    }
    switch (root->place.kind) {
    case TN_PLACE_CONSTANT: return TRUE;
    case TN_PLACE_VARIABLE:
        return root->producer == TN_NO_STEP &&
               !plan->program->variables[root->place.index].assigned;
    case TN_PLACE_ARENA:
        return root->producer != TN_NO_STEP && tn_plan_step(plan, root->producer)->once;
    default: return FALSE;
    }
}

static guint32
add_kept_value(TnPlan *plan, const TnStep *step)
{
    const TnType type =
        tn_type(TN_DTYPE_U8, 1, (gint64[]){ (gint64)tn_align(step->prepared.kept) });
    TnPlanValue kept = {
        .type = type,
        .root = plan->values->len,
        .device = step->device,
        .place = { .kind = TN_PLACE_ARENA },
        .producer = plan->steps->len - 1,
        .slot = TN_NO_VALUE,
        .contiguous = TRUE,
    };
    tn_type_strides(&type, kept.layout.strides);
    g_array_append_val(plan->values, kept);
    return kept.root;
}

void
tn_plan_add_keep(TnPlan *plan, TnStep *step)
{
    TnStep *keep = tn_plan_add_step(plan, TN_STEP_KEEP, step->node, step->device, step->n_in, 1);
    for (guint i = 0; i < step->n_in; i++) {
        const gboolean fixed = step->in[i] != TN_NO_VALUE && tn_plan_is_fixed(plan, step->in[i]);
        keep->in[i] = fixed ? step->in[i] : TN_NO_VALUE;
    }
    keep->prepared = step->prepared;
    keep->once = TRUE;
    keep->out = add_kept_value(plan, step);
    mark_inputs(plan, keep);
    plan->program->n_once++;
    step->in = g_renew(guint32, step->in, step->n_in + 1);
    step->in[step->n_in++] = keep->out;
}
