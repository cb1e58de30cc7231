/* compile.c: from a graph to a program: passes, then the memory plan. */
#include "choose.h"
#include "plan-private.h"

#include <tenon/tensor.h>

/* Memories: all devices whose memory the host can use share the first. */
static void
find_spaces(TnCompiler *c)
{
    c->space = g_new0(guint, c->options->n_devices + 1);
    c->n_spaces = 1;
    for (guint i = 0; i < c->options->n_devices; i++) {
        c->space[i] = tn_device_is_host(c->options->devices[i]) ? 0 : c->n_spaces++;
    }
}

/* --- The program's ports ---------------------------------------------------------------------- */

static void
fill_inputs(const TnCompiler *c, TnProgram *program)
{
    const TnGraph *graph = c->graph;
    program->n_inputs = graph->inputs->len;
    program->inputs = g_new0(TnProgramPort, program->n_inputs + 1);
    for (guint i = 0; i < program->n_inputs; i++) {
        const TnGraphPort *port = &g_array_index(graph->inputs, TnGraphPort, i);
        TnTensor *value = c->options->values != NULL ? c->options->values[i] : NULL;
        program->inputs[i] = (TnProgramPort){
            .name = g_strdup(port->name),
            .type = *tn_type_of(graph, port->val),
            .device = c->input_home[i],
            .space = c->space[c->input_home[i]],
            .value = value != NULL ? tn_tensor_ref(value) : NULL,
        };
    }
}

static void
fill_variables(const TnCompiler *c, TnProgram *program)
{
    const TnGraph *graph = c->graph;
    program->n_variables = graph->variables->len;
    program->variables = g_new0(TnProgramPort, program->n_variables + 1);
    for (guint i = 0; i < program->n_variables; i++) {
        const TnGraphVariable *variable = &g_array_index(graph->variables, TnGraphVariable, i);
        program->variables[i] = (TnProgramPort){
            .name = g_strdup(variable->name),
            .type = variable->type,
            .device = c->variable_home[i],
            .space = c->space[c->variable_home[i]],
            .read = !tn_val_is_none(variable->read),
            .assigned = !tn_val_is_none(variable->assigned),
        };
    }
}

static TnProgram *
begin_program(const TnCompiler *c)
{
    TnProgram *program = g_new0(TnProgram, 1);
    const TnGraph *graph = c->graph;
    program->n_refs = 1;
    program->name = g_strdup(graph->name);
    program->graph = tn_graph_ref(c->graph);
    program->n_devices = c->options->n_devices;
    program->devices = g_new0(TnDevice *, program->n_devices + 1);
    for (guint i = 0; i < program->n_devices; i++) {
        program->devices[i] = tn_device_ref(c->options->devices[i]);
    }
    program->space = g_memdup2(c->space, (program->n_devices + 1) * sizeof *c->space);
    program->n_spaces = c->n_spaces;
    program->spaces = g_new0(TnProgramSpace, program->n_spaces + 1);
    for (guint i = program->n_devices; i-- > 0;) {
        program->spaces[program->space[i]].device = i;
    }
    fill_inputs(c, program);
    fill_variables(c, program);
    program->n_outputs = graph->outputs->len;
    program->outputs = g_new0(TnProgramOutput, program->n_outputs + 1);
    for (guint i = 0; i < program->n_outputs; i++) {
        program->outputs[i].name = g_strdup(g_array_index(graph->outputs, TnGraphPort, i).name);
    }
    return program;
}

/* --- Planning --------------------------------------------------------------------------------- */

/* "12.5 MiB", "37 bytes"; (transfer full). */
static char *
size_text(guint64 bytes)
{
    const gboolean large = bytes >= 1 << 20;
    if (bytes < 1 << 10) {
        return g_strdup_printf("%" G_GUINT64_FORMAT " byte%s", bytes, bytes == 1 ? "" : "s");
    }
    return g_strdup_printf("%.1f %s", (double)bytes / (large ? 1 << 20 : 1 << 10),
                           large ? "MiB" : "KiB");
}

/* FALSE with how much is missing. */
static gboolean
is_within_limit(const TnCompiler *c, const TnProgram *program, GError **error)
{
    const guint64 limit = c->options->memory_limit, variables = tn_compiler_variable_bytes(c);
    const gboolean invariant = c->options->batch_invariant;
    if (limit == 0 || program->arena_bytes + variables <= limit) {
        return TRUE;
    }
    const guint64 arena = c->least_bytes > 0 ? c->least_bytes : program->arena_bytes;
    const guint64 least = arena + variables;
    if (c->options->least_limit != NULL) {
        *c->options->least_limit = least;
    }
    g_autofree char *whole = size_text(least), *stored = size_text(variables),
                    *between = size_text(arena), *given = size_text(limit),
                    *missing = size_text(least - limit);
    g_set_error(error, TN_ERROR, TN_ERROR_NO_MEMORY,
                "needs %s (%s for variables, %s for intermediate results) however much is computed "
                "again, %s more than the memory limit of %s%s; a limit of %" G_GUINT64_FORMAT
                " bytes can be met, or use smaller batches%s",
                whole, stored, between, missing, given,
                invariant ? ", and kernels that work in less are not taken with batch_invariant"
                          : "",
                least, invariant ? ", or leave out batch_invariant" : "");
    return FALSE;
}

static void
free_step(gpointer data)
{
    TnStep *step = data;
    if (step->kind == TN_STEP_KERNEL && step->kernel != NULL && step->kernel->release != NULL) {
        step->kernel->release(step->prepared.state);
    }
    g_array_unref(step->before);
    g_free(step->in);
    g_free(step);
}

gboolean
tn_plan_make(TnPlan *plan, TnCompiler *c, GError **error)
{
    const guint n = c->graph->nodes->len;
    *plan = (TnPlan){ .c = c,
                      .graph = c->graph,
                      .program = begin_program(c),
                      .first_value = g_new0(guint32, n + 1),
                      .values = g_array_new(FALSE, FALSE, sizeof(TnPlanValue)),
                      .is_view = g_new0(gboolean, n + 1),
                      .steps = g_ptr_array_new_with_free_func(free_step),
                      .slots = g_array_new(FALSE, FALSE, sizeof(TnSlot)),
                      .output = g_new0(guint32, c->graph->outputs->len + 1) };
    tn_plan_views(plan);
    tn_plan_steps(plan);
    tn_plan_assigns(plan);
    tn_plan_once(plan);
    if (!tn_plan_prepare(plan, error)) {
        return FALSE;
    }
    tn_plan_order(plan);
    return tn_plan_arena(plan, error);
}

void
tn_plan_clear(TnPlan *plan)
{
    g_ptr_array_unref(plan->steps);
    g_array_unref(plan->values);
    g_array_unref(plan->slots);
    g_free(plan->first_value);
    g_free(plan->is_view);
    g_free(plan->order);
    g_free(plan->output);
    g_free(plan->reach);
    g_free(plan->scratch);
}

static void
tell_used(const TnPlan *plan)
{
    for (guint i = 0; i < plan->steps->len; i++) {
        const TnStep *step = tn_plan_step(plan, i);
        if (step->kind == TN_STEP_KERNEL) {
            const TnClaim *claim = &plan->c->claims[step->node];
            TnNodeView view;
            tn_node_view_claimed(&view, plan->graph, step->node, claim);
            const TnCompile options = tn_claim_options(plan->c->options, claim);
            tn_choice_used(&options, (guint)claim->device, &view.node, claim->kernel);
        }
    }
}

static TnProgram *
plan_program(TnCompiler *c, GError **error)
{
    TnPlan plan;
    gboolean ok = tn_plan_make(&plan, c, error) && is_within_limit(c, plan.program, error) &&
                  tn_plan_emit(&plan, error);
    if (ok) {
        tn_plan_streams(&plan);
        if (c->options->used_sink != NULL) {
            tell_used(&plan);
        }
    } else {
        g_clear_pointer(&plan.program, tn_program_destroy);
    }
    tn_plan_clear(&plan);
    return plan.program;
}

/* --- Entry ------------------------------------------------------------------------------------ */

void
tn_compile_init(TnCompile *options, const TnContext *context)
{
    *options = (TnCompile){
        .devices = tn_context_devices(context),
        .n_devices = tn_context_n_devices(context),
        .choices = tn_context_choices(context),
        .costs = tn_context_costs(context),
        .precision = tn_context_precision(context),
        .memory_limit = tn_context_program_limit(context),
        .batch_invariant = tn_context_batch_invariant(context),
        .fast_math = tn_context_fast_math(context),
    };
}

static gboolean
check_options(const TnGraph *graph, const TnCompile *options, GError **error)
{
    if (!tn_graph_check(graph, error)) {
        return FALSE;
    }
    if (options->n_devices == 0 || options->n_devices > 64) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                    "graph '%s': %u devices given, 1 to 64 expected", tn_graph_name(graph),
                    options->n_devices);
        return FALSE;
    }
    for (guint i = 0; options->skip != NULL && options->skip[i] != NULL; i++) {
        if (!g_strv_contains(tn_passes(), options->skip[i])) {
            const char *near = tn_nearest(options->skip[i], tn_passes(), tn_n_passes);
            g_set_error(error, TN_ERROR, TN_ERROR_NOT_FOUND, "there is no pass '%s'%s%s%s",
                        options->skip[i], near ? "; did you mean '" : "", near ? near : "",
                        near ? "'?" : "");
            return FALSE;
        }
    }
    return TRUE;
}

/* A graph and the sizes that it is compiled for, as choices name it. */
static char *
name_of(const TnGraph *graph, const TnCompile *options)
{
    g_autoptr(GString) name = g_string_new("graph ");
    g_string_append(name, tn_graph_name(graph));
    for (guint i = 0; i < graph->inputs->len; i++) {
        const TnGraphPort *port = &g_array_index(graph->inputs, TnGraphPort, i);
        const TnType *type =
            options->inputs != NULL ? &options->inputs[i] : tn_type_of(graph, port->val);
        g_autofree char *text = tn_type_print(type);
        g_string_append_printf(name, " %s", text);
    }
    return g_string_free(g_steal_pointer(&name), FALSE);
}

/* Choices made for other sizes say nothing of what these have instead: to compile as if there were none
 * is what the run that made them did. */
static void
heed_choices(TnCompile *own, const TnGraph *graph)
{
    if (own->choices == NULL && own->chosen == NULL) {
        return;
    }
    g_autofree char *name = name_of(graph, own);
    if (tn_value_get(own->choices, name) == NULL) {
        own->choices = NULL;
    }
    if (own->chosen != NULL) {
        tn_value_set(own->chosen, name, tn_value_string("chosen"));
    }
}

TnProgram *
tn_compile(const TnGraph *graph, const TnCompile *options, GError **error)
{
    if (!check_options(graph, options, error)) {
        return NULL;
    }
    TnCompile own = *options;
    heed_choices(&own, graph);
    TnCompiler c = { .options = &own, .graph = tn_graph_ref((TnGraph *)graph) };
    TnProgram *program = NULL;
    find_spaces(&c);
    if (tn_run_passes(&c, error)) {
        program = plan_program(&c, error);
        if (program == NULL) {
            tn_error_prefix(error, "graph '%s'", tn_graph_name(graph));
        }
    }
    tn_compiler_clear(&c);
    return program;
}
