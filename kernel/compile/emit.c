/* emit.c: kernels' own preparation, and the plan written down as a program: one flat array of
 * instructions, one of places. */
#include "plan-private.h"

/* --- Preparation ------------------------------------------------------------------------------ */

static const void *
constant_pointer(const TnPlan *plan, const TnPlanValue *value)
{
    const TnPlanValue *root = tn_plan_value(plan, value->root);
    if (root->place.kind != TN_PLACE_CONSTANT) {
        return NULL;
    }
    TnTensor *tensor = tn_constant_value(plan->graph, (TnVal){ root->place.index, 0 });
    if (tensor == NULL || !tn_tensor_is_contiguous(tensor)) {
        return NULL;
    }
    const gint64 size = (gint64)tn_dtype_size(value->type.dtype);
    return (const char *)tn_storage_memory(tn_tensor_storage(tensor)) +
           (tn_tensor_offset(tensor) + value->layout.offset) * size;
}

static void
describe_input(const TnPlan *plan, const TnStep *step, guint i, TnArg *arg)
{
    const TnGraphNode *node = tn_graph_node(plan->graph, step->node);
    if (tn_val_is_none(node->in[i])) {
        tn_arg_contiguous(arg, &(TnType){ 0 });
        return;
    }
    tn_arg_contiguous(arg, tn_type_of(plan->graph, node->in[i]));
    if (step->in[i] != TN_NO_VALUE) {
        const TnPlanValue *value = tn_plan_value(plan, step->in[i]);
        const TnPlanValue *root = tn_plan_value(plan, value->root);
        memcpy(arg->strides, value->layout.strides, sizeof arg->strides);
        arg->value = constant_pointer(plan, value);
        arg->variable = root->place.kind == TN_PLACE_VARIABLE;
        arg->fixed = tn_plan_is_fixed(plan, step->in[i]);
    }
}

static gboolean
prepare_step(TnPlan *plan, TnStep *step, GError **error)
{
    const TnGraphNode *node = tn_graph_node(plan->graph, step->node);
    TnNodeView view;
    view.node = (TnNode){
        .size = sizeof(TnNode),
        .op = node->op,
        .attrs = node->attrs,
        .name = node->name,
        .n_in = node->n_in,
        .n_out = node->n_out,
        .in = view.in,
        .out = view.out,
        .batch_invariant = plan->c->options->batch_invariant && !plan->c->claims[step->node].mixed,
    };
    for (gint i = 0; i < node->n_in; i++) {
        describe_input(plan, step, (guint)i, &view.in[i]);
    }
    for (gint i = 0; i < node->n_out; i++) {
        tn_arg_contiguous(&view.out[i], &node->out[i]);
        memcpy(view.out[i].strides, tn_plan_value(plan, step->out + (guint)i)->layout.strides,
               sizeof view.out[i].strides);
        view.out[i].variable =
            tn_plan_value(plan, step->out + (guint)i)->place.kind == TN_PLACE_VARIABLE;
    }
    tn_node_mark_unread(&view, plan->graph, step->node);
    for (gint i = 0; i < node->n_out; i++) {
        step->unread |= (guint64)(view.out[i].unread != 0) << i;
    }
    const gboolean control = node->op->flags & TN_OP_CONTROL;
    if (control ? !tn_control_prepare(plan->c->options, &view.node, &step->prepared, error)
                : step->kernel->prepare != NULL &&
                      !step->kernel->prepare(&view.node, &step->prepared, error)) {
        tn_error_prefix(error, "%s (%s)", node->name, node->op->name);
        /* Nothing was made, so there is nothing for release to free. */
        step->kernel = NULL;
        return FALSE;
    }
    if (step->prepared.kept > 0) {
        tn_plan_add_keep(plan, step);
    }
    return TRUE;
}

gboolean
tn_plan_prepare(TnPlan *plan, GError **error)
{
    const guint n = plan->steps->len; /* what kernels keep comes behind */
    for (guint p = 0; p < n; p++) {
        TnStep *step = tn_plan_step(plan, p);
        if (step->kind == TN_STEP_KERNEL && !prepare_step(plan, step, error)) {
            /* Steps that were not reached own nothing either. */
            for (guint rest = p + 1; rest < n; rest++) {
                tn_plan_step(plan, rest)->kernel = NULL;
            }
            return FALSE;
        }
    }
    return TRUE;
}

/* --- Constants -------------------------------------------------------------------------------- */

typedef struct {
    TnPlan *plan;
    GArray *constants; /* TnProgramConstant */
    GHashTable *known; /* "node number, space" → index + 1 */
} Emit;

static gboolean
upload(TnDevice *device, TnProgramConstant *constant, GError **error)
{
    TnTensor *tensor = constant->tensor;
    const gsize bytes = (gsize)tn_tensor_bytes(tensor);
    const char *from = (const char *)tn_storage_memory(tn_tensor_storage(tensor)) +
                       tn_tensor_offset(tensor) * (gint64)tn_dtype_size(tn_tensor_dtype(tensor));
    constant->memory = (void *)from;
    if (tn_device_is_host(device)) {
        return TRUE;
    }
    constant->storage = tn_storage_new(device, bytes, error);
    if (constant->storage == NULL) {
        return FALSE;
    }
    constant->memory = tn_storage_memory(constant->storage);
    const TnStatus status =
        bytes == 0 ? TN_OK
                   : tn_device_copy(device, constant->memory, from, bytes, TN_COPY_TO_DEVICE, NULL);
    if (status != TN_OK) {
        tn_status_set_error(error, status, "a constant of %" G_GSIZE_FORMAT " bytes to device '%s'",
                            bytes, tn_device_name(device));
    }
    return status == TN_OK;
}

/* The number of a constant in the memory of a device. */
static gboolean
constant_number(Emit *emit, guint32 node, guint device, guint32 *number, GError **error)
{
    TnPlan *plan = emit->plan;
    const gsize key = (gsize)node << 8 | tn_plan_space(plan, device);
    const gsize found = GPOINTER_TO_SIZE(g_hash_table_lookup(emit->known, GSIZE_TO_POINTER(key)));
    if (found != 0) {
        *number = (guint32)(found - 1);
        return TRUE;
    }
    TnTensor *tensor = tn_constant_value(plan->graph, (TnVal){ node, 0 });
    TnProgramConstant constant = { .tensor =
                                       tn_tensor_is_contiguous(tensor)
                                           ? tn_tensor_ref(tensor)
                                           : tn_tensor_copy(tensor, NULL, TN_DTYPE_NONE, error) };
    if (constant.tensor == NULL) {
        return FALSE;
    }
    const gboolean ok = upload(plan->c->options->devices[device], &constant, error);
    *number = emit->constants->len;
    g_array_append_val(emit->constants, constant);
    g_hash_table_insert(emit->known, GSIZE_TO_POINTER(key), GSIZE_TO_POINTER((gsize)*number + 1));
    return ok;
}

/* --- Instructions ----------------------------------------------------------------------------- */

static TnReach
reach_of(const TnPlan *plan, guint32 root)
{
    const TnPlanValue *value = tn_plan_value(plan, root);
    return (TnReach){ value->place.offset, (gsize)tn_type_bytes(&value->type) };
}

/* Bytes of memory that a value's elements lie in: a view may show an element more than once. */
static guint64
bytes_touched(const TnPlan *plan, const TnPlanValue *value)
{
    const guint64 most = (guint64)tn_type_bytes(&tn_plan_value(plan, value->root)->type);
    guint64 bytes = tn_dtype_size(value->type.dtype);
    for (gint i = 0; i < value->type.rank; i++) {
        bytes *= value->layout.strides[i] != 0 || value->type.dims[i] == 0
                     ? (guint64)value->type.dims[i]
                     : 1;
    }
    return MIN(bytes, most);
}

static gboolean
emit_input(Emit *emit, const TnStep *step, guint32 number, guint i, guint32 arg, GError **error)
{
    TnPlan *plan = emit->plan;
    TnProgram *program = plan->program;
    program->places[arg] = (TnPlace){ .kind = TN_PLACE_NONE };
    if (step->in[i] == TN_NO_VALUE) {
        return TRUE;
    }
    const TnPlanValue *value = tn_plan_value(plan, step->in[i]);
    TnPlace place = tn_plan_value(plan, value->root)->place;
    plan->reach[arg] = reach_of(plan, value->root);
    if (place.kind == TN_PLACE_CONSTANT &&
        !constant_number(emit, place.index, step->device, &place.index, error)) {
        return FALSE;
    }
    place.offset += (gsize)value->layout.offset * tn_dtype_size(value->type.dtype);
    program->places[arg] = place;
    program->types[arg] = value->type;
    program->infos[number].bytes_read += bytes_touched(plan, value);
    return TRUE;
}

static void
emit_outputs(Emit *emit, const TnStep *step, guint32 arg)
{
    TnPlan *plan = emit->plan;
    TnProgram *program = plan->program;
    if (step->kind == TN_STEP_ASSIGN) {
        program->places[arg] = (TnPlace){ TN_PLACE_VARIABLE, step->variable, 0 };
        program->types[arg] = program->variables[step->variable].type;
        plan->reach[arg] = (TnReach){ 0, (gsize)tn_type_bytes(&program->types[arg]) };
    }
    for (guint i = 0; i < step->n_out; i++) {
        const TnPlanValue *value = tn_plan_value(plan, step->out + i);
        program->places[arg + i] = value->place;
        program->types[arg + i] = value->type;
        plan->reach[arg + i] = reach_of(plan, step->out + i);
    }
}

static void
emit_copy(TnPlan *plan, const TnStep *step, TnInstruction *code)
{
    TnCopyState *state = g_new(TnCopyState, 1);
    TnDevice *const *devices = plan->program->devices;
    const gboolean from_far = step->from >= 0 && !tn_device_is_host(devices[step->from]);
    const guint acting = from_far ? (guint)step->from : step->device;
    state->device = devices[acting];
    state->bytes = (gsize)tn_type_bytes(&tn_plan_value(plan, step->in[0])->type);
    state->kind = TN_COPY_ON_DEVICE;
    if (step->from >= 0) {
        state->kind = from_far ? TN_COPY_TO_HOST : TN_COPY_TO_DEVICE;
        code->barrier = (gint32)acting;
    }
    code->run = tn_copy_run;
    code->state = state;
}

static const TnOp *
op_of(const TnStep *step, const TnGraphNode *node)
{
    switch (step->kind) {
    case TN_STEP_KERNEL: return node->op;
    case TN_STEP_KEEP: return &tn_keep_op;
    default: return &tn_transfer_op;
    }
}

static gboolean
emit_step(Emit *emit, TnStep *step, guint32 number, guint32 *arg, GError **error)
{
    TnPlan *plan = emit->plan;
    TnProgram *program = plan->program;
    TnInstruction *code = &program->instructions[number];
    TnInstructionInfo *info = &program->infos[number];
    const TnGraphNode *node = tn_graph_node(plan->graph, step->node);
    *code = (TnInstruction){
        .first_arg = *arg,
        .n_in = (guint16)step->n_in,
        .n_out = (guint16)(step->kind == TN_STEP_ASSIGN ? 1 : step->n_out),
        .signal = TN_NO_EVENT,
        .barrier = -1,
    };
    info->op = op_of(step, node);
    info->name = step->kind == TN_STEP_ASSIGN ? g_strdup(program->variables[step->variable].name)
                                              : g_strdup(node->name);
    info->device = step->device;
    info->node = step->node;
    info->unread = step->unread;
    if (step->kind == TN_STEP_KERNEL) {
        info->kernel = step->kernel;
        code->run = step->kernel->run;
        code->state = step->prepared.state;
        step->kernel = NULL; /* the program owns the state now */
    } else if (step->kind == TN_STEP_KEEP) {
        code->run = step->prepared.keep;
        code->state = step->prepared.state; /* the kernel's instruction's */
    } else {
        emit_copy(plan, step, code);
    }
    program->n_instructions = number + 1;
    for (guint i = 0; i < step->n_in; i++) {
        if (!emit_input(emit, step, number, i, *arg + i, error)) {
            return FALSE;
        }
    }
    emit_outputs(emit, step, *arg + step->n_in);
    if (step->scratch_slot != TN_NO_VALUE) {
        const TnSlot *slot = &g_array_index(plan->slots, TnSlot, step->scratch_slot);
        code->scratch = (TnPlace){ TN_PLACE_ARENA, slot->space, slot->offset };
        plan->scratch[number] = (TnReach){ slot->offset, slot->bytes };
    }
    if (step->kind == TN_STEP_KERNEL && node->op->flags & TN_OP_CONTROL) {
        tn_control_place(program, code->state, &code->scratch);
    }
    *arg += (guint32)code->n_in + code->n_out;
    return TRUE;
}

static void
emit_program_outputs(TnPlan *plan)
{
    TnProgram *program = plan->program;
    for (guint i = 0; i < program->n_outputs; i++) {
        const TnPlanValue *value = tn_plan_value(plan, plan->output[i]);
        const TnPlanValue *root = tn_plan_value(plan, value->root);
        TnProgramOutput *output = &program->outputs[i];
        output->type = value->type;
        output->device = root->device;
        output->place = root->place;
        output->place.offset += (gsize)value->layout.offset * tn_dtype_size(value->type.dtype);
    }
}

/* Arguments that point into each input and variable, so that a binding touches those alone. */
static void
emit_patches(TnProgram *program)
{
    guint32 n = 0;
    program->patches = g_new(guint32, program->n_args + 1);
    for (guint kind = 0; kind < 2; kind++) {
        TnProgramPort *ports = kind == 0 ? program->inputs : program->variables;
        const guint n_ports = kind == 0 ? program->n_inputs : program->n_variables;
        const TnPlaceKind want = kind == 0 ? TN_PLACE_INPUT : TN_PLACE_VARIABLE;
        for (guint p = 0; p < n_ports; p++) {
            ports[p].first_patch = n;
            for (guint32 a = 0; a < program->n_args; a++) {
                if (program->places[a].kind == want && program->places[a].index == p) {
                    program->patches[n++] = a;
                }
            }
            ports[p].n_patches = n - ports[p].first_patch;
        }
    }
}

gboolean
tn_plan_emit(TnPlan *plan, GError **error)
{
    TnProgram *program = plan->program;
    const guint n = plan->steps->len;
    guint32 arg = 0;
    for (guint p = 0; p < n; p++) {
        const TnStep *step = tn_plan_step(plan, p);
        program->n_args += step->n_in + (step->kind == TN_STEP_ASSIGN ? 1 : step->n_out);
    }
    program->instructions = g_new0(TnInstruction, n + 1);
    program->infos = g_new0(TnInstructionInfo, n + 1);
    program->places = g_new0(TnPlace, program->n_args + 1);
    program->types = g_new0(TnType, program->n_args + 1);
    plan->reach = g_new0(TnReach, program->n_args + 1);
    plan->scratch = g_new0(TnReach, n + 1);
    Emit emit = { .plan = plan,
                  .constants = g_array_new(FALSE, FALSE, sizeof(TnProgramConstant)),
                  .known = g_hash_table_new(NULL, NULL) };
    gboolean ok = TRUE;
    for (guint p = 0; p < n && ok; p++) {
        ok = emit_step(&emit, tn_plan_step(plan, plan->order[p]), p, &arg, error);
    }
    program->n_constants = emit.constants->len;
    program->constants = (TnProgramConstant *)(void *)g_array_free(emit.constants, FALSE);
    g_hash_table_unref(emit.known);
    if (ok) {
        emit_program_outputs(plan);
        emit_patches(program);
    }
    return ok;
}
