/* steps.c: what is to be run: a step for each node that is an instruction, and copies for
 * outputs that would otherwise lie in memory that is not the arena's. */
#include "plan-private.h"

TnStep *
tn_plan_add_step(TnPlan *plan, TnStepKind kind, guint32 node, guint device, guint n_in, guint n_out)
{
    TnStep *step = g_new0(TnStep, 1);
    step->kind = kind;
    step->node = node;
    step->device = device;
    step->from = -1;
    step->n_in = n_in;
    step->in = g_new(guint32, n_in + 1);
    step->n_out = n_out;
    step->out = TN_NO_VALUE;
    step->before = g_array_new(FALSE, FALSE, sizeof(guint32));
    step->prepared.size = sizeof(TnPrepared);
    step->scratch_slot = TN_NO_VALUE;
    g_ptr_array_add(plan->steps, step);
    return step;
}

guint32
tn_plan_add_copy(TnPlan *plan, guint32 value, guint32 node, guint device, gint from)
{
    const TnType type = tn_plan_value(plan, value)->type;
    TnStep *step = tn_plan_add_step(plan, TN_STEP_COPY, node, device, 1, 1);
    TnPlanValue copy = {
        .type = type,
        .root = plan->values->len,
        .device = device,
        .place = { .kind = TN_PLACE_ARENA },
        .producer = plan->steps->len - 1,
        .slot = TN_NO_VALUE,
        .contiguous = TRUE,
    };
    tn_type_strides(&type, copy.layout.strides);
    step->from = from;
    step->in[0] = value;
    step->out = copy.root;
    g_array_append_val(plan->values, copy);
    return copy.root;
}

/* --- Sources ---------------------------------------------------------------------------------- */

static void
place_sources(TnPlan *plan)
{
    const TnGraph *graph = plan->graph;
    const TnProgram *program = plan->program;
    for (guint i = 0; i < graph->inputs->len; i++) {
        const TnVal val = g_array_index(graph->inputs, TnGraphPort, i).val;
        TnPlanValue *value = tn_plan_value(plan, tn_plan_value_of(plan, val));
        value->place = (TnPlace){ TN_PLACE_INPUT, i, 0 };
        value->device = program->inputs[i].device;
    }
    for (guint i = 0; i < graph->variables->len; i++) {
        const TnVal val = g_array_index(graph->variables, TnGraphVariable, i).read;
        if (!tn_val_is_none(val)) {
            TnPlanValue *value = tn_plan_value(plan, tn_plan_value_of(plan, val));
            value->place = (TnPlace){ TN_PLACE_VARIABLE, i, 0 };
            value->device = program->variables[i].device;
        }
    }
}

/* --- Nodes ------------------------------------------------------------------------------------ */

static gboolean
all_empty(const TnGraphNode *node)
{
    for (gint i = 0; i < node->n_out; i++) {
        if (tn_type_count(&node->out[i]) != 0) {
            return FALSE;
        }
    }
    return node->n_out > 0 && !(node->op->flags & TN_OP_EFFECT);
}

static void
add_node(TnPlan *plan, guint number)
{
    const TnGraphNode *node = tn_graph_node(plan->graph, number);
    const TnClaim claim = plan->c->claims[number];
    const gboolean transfer = node->op == &tn_transfer_op;
    const TnTransferAttrs *attrs = node->attrs;
    const guint device = transfer ? (guint)attrs->device : (guint)claim.device;
    for (gint i = 0; i < node->n_out; i++) {
        TnPlanValue *value = tn_plan_value(plan, plan->first_value[number] + (guint)i);
        value->place = (TnPlace){ .kind = TN_PLACE_ARENA };
        value->device = device;
    }
    if (plan->is_view[number] || all_empty(node)) {
        return;
    }
    TnStep *step = tn_plan_add_step(plan, transfer ? TN_STEP_COPY : TN_STEP_KERNEL, number, device,
                                    (guint)node->n_in, (guint)node->n_out);
    step->kernel = claim.kernel;
    step->from = transfer ? attrs->from : -1;
    step->out = plan->first_value[number];
    for (gint i = 0; i < node->n_in; i++) {
        step->in[i] = tn_reads_data(node->op, i, node->in[i]) ? tn_plan_value_of(plan, node->in[i])
                                                              : TN_NO_VALUE;
    }
    for (gint i = 0; i < node->n_out; i++) {
        tn_plan_value(plan, step->out + (guint)i)->producer = plan->steps->len - 1;
    }
}

static void
place_node(TnPlan *plan, guint number)
{
    const TnGraphNode *node = tn_graph_node(plan->graph, number);
    const TnSourceOps *ops = tn_source_ops();
    if (node->op == ops->constant) {
        TnPlanValue *value = tn_plan_value(plan, plan->first_value[number]);
        value->place = (TnPlace){ TN_PLACE_CONSTANT, number, 0 };
    } else if (!tn_is_source(node) && node->op != ops->assign) {
        add_node(plan, number);
    }
}

/* --- Outputs ---------------------------------------------------------------------------------- */

/* An output is valid until the next run, whatever happens to inputs and variables: it lies in
 * the arena. */
static void
place_output(TnPlan *plan, guint i)
{
    const TnVal val = g_array_index(plan->graph->outputs, TnGraphPort, i).val;
    guint32 value = tn_plan_value_of(plan, val);
    const TnPlanValue *root = tn_plan_root(plan, value);
    if (root->place.kind != TN_PLACE_ARENA) {
        value = tn_plan_add_copy(plan, value, val.node, root->device, -1);
    }
    tn_plan_root(plan, value)->is_output = TRUE;
    plan->output[i] = value;
}

void
tn_plan_steps(TnPlan *plan)
{
    place_sources(plan);
    for (guint i = 0; i < plan->graph->nodes->len; i++) {
        place_node(plan, i);
    }
    for (guint i = 0; i < plan->graph->outputs->len; i++) {
        place_output(plan, i);
    }
}
