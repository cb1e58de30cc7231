/* exec-make.c: what an exec owns, made from its program and freed: arena, shadows of variables, staging,
 * streams, outputs, pointers, execs of sub-graphs. */
#include "exec-private.h"

#include <tenon/base.h>

/* --- Making ----------------------------------------------------------------------------------- */

static TnDevice *
space_device(const TnProgram *program, guint space)
{
    TnDevice *device = program->devices[program->spaces[space].device];
    return space == 0 && !tn_device_is_host(device) ? tn_device_host() : device;
}

static void
keep(gpointer data)
{
    (void)data; /* the exec around owns the memory */
}

/* within: memory of the exec around for what is on the host; NULL: there is none. */
static gboolean
make_arena(TnExec *exec, void *within, GError **error)
{
    const TnProgram *program = exec->program;
    const guint64 own = program->arena_bytes - (within != NULL ? program->spaces[0].bytes : 0);
    exec->arena = g_new0(TnStorage *, program->n_spaces + 1);
    if (exec->context != NULL) {
        g_autofree char *what = g_strdup_printf("program '%s'", program->name);
        if (!tn_context_take_memory(exec->context, own, what, error)) {
            return FALSE;
        }
        exec->taken = own;
    }
    if (within != NULL) {
        const gsize bytes = MAX(program->spaces[0].bytes, TN_ALIGN);
        exec->arena[0] = tn_storage_wrap(space_device(program, 0), within, bytes, keep, NULL);
    }
    for (guint i = within != NULL; i < program->n_spaces; i++) {
        const gsize bytes = MAX(program->spaces[i].bytes, TN_ALIGN);
        exec->arena[i] = tn_storage_new(space_device(program, i), bytes, error);
        if (exec->arena[i] == NULL) {
            tn_error_prefix(error, "program '%s'", program->name);
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
add_shadow(TnExec *exec, guint variable, GError **error)
{
    const TnProgramPort *port = &exec->program->variables[variable];
    TnDevice *device = exec->program->devices[port->device];
    TnDevice *at = tn_tensor_device(exec->variables[variable]);
    if (!tn_device_is_host(device) && !tn_device_is_host(at)) {
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                    "variable '%s' is on device '%s' and is used on device '%s'", port->name,
                    tn_device_name(at), tn_device_name(device));
        return FALSE;
    }
    TnStorage *storage = tn_storage_new(device, (gsize)tn_type_bytes(&port->type), error);
    if (storage == NULL) {
        return FALSE;
    }
    exec->shadows = g_renew(TnShadow, exec->shadows, exec->n_shadows + 1);
    exec->shadows[exec->n_shadows++] = (TnShadow){ variable, storage };
    return TRUE;
}

static gboolean
bind_variable(TnExec *exec, guint i, GError **error)
{
    const TnProgramPort *port = &exec->program->variables[i];
    TnVar *var = exec->store != NULL ? tn_store_find(exec->store, port->name) : NULL;
    if (var == NULL) {
        g_set_error(error, TN_ERROR, TN_ERROR_NOT_FOUND,
                    "program '%s': the store has no variable '%s'", exec->program->name,
                    port->name);
        return FALSE;
    }
    TnTensor *tensor = tn_var_tensor(var);
    if (!tn_type_equal(tn_tensor_type(tensor), &port->type)) {
        g_autofree char *want = tn_type_print(&port->type);
        g_autofree char *got = tn_type_print(tn_tensor_type(tensor));
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                    "program '%s': variable '%s' is %s, expected %s", exec->program->name,
                    port->name, got, want);
        return FALSE;
    }
    exec->vars[i] = var;
    exec->variables[i] = tn_tensor_ref(tensor);
    return tn_is_in_memory_of(tensor, exec->program->devices[port->device]) ||
           add_shadow(exec, i, error);
}

static gboolean
make_variables(TnExec *exec, GError **error)
{
    const TnProgram *program = exec->program;
    exec->variables = g_new0(TnTensor *, program->n_variables + 1);
    exec->vars = g_new0(TnVar *, program->n_variables + 1);
    exec->versions = g_new0(guint64, program->n_variables + 1);
    for (guint i = 0; i < program->n_variables; i++) {
        if (!bind_variable(exec, i, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* Inputs that a device computes with may be given on the host: then each run copies them to
 * where they are staged. */
static gboolean
make_bindings(TnExec *exec, GError **error)
{
    const TnProgram *program = exec->program;
    exec->bindings = g_new0(TnBinding, program->n_inputs + 1);
    for (guint i = 0; i < program->n_inputs; i++) {
        exec->unbound += program->inputs[i].n_patches > 0;
        TnDevice *device = program->devices[program->inputs[i].device];
        if (!tn_device_is_host(device)) {
            exec->bindings[i].staging =
                tn_storage_new(device, (gsize)tn_type_bytes(&program->inputs[i].type), error);
            if (exec->bindings[i].staging == NULL) {
                return FALSE;
            }
            exec->may_stage = TRUE;
        }
    }
    return TRUE;
}

static gboolean
make_streams(TnExec *exec, GError **error)
{
    const TnProgram *program = exec->program;
    exec->streams = g_new0(void *, program->n_streams + 1);
    exec->events = g_new0(void *, program->n_events + 1);
    for (guint i = 1; i < program->n_streams; i++) {
        TnDevice *device = program->devices[program->streams[i].device];
        exec->streams[i] = tn_device_vtable(device)->stream_new(tn_device_self(device));
        if (exec->streams[i] == NULL) {
            g_set_error(error, TN_ERROR, TN_ERROR_DEVICE, "device '%s' gives no stream",
                        tn_device_name(device));
            return FALSE;
        }
    }
    for (guint i = 0; i < program->n_events; i++) {
        TnDevice *device = program->devices[program->event_device[i]];
        exec->events[i] = tn_device_vtable(device)->event_new(tn_device_self(device));
        if (exec->events[i] == NULL) {
            g_set_error(error, TN_ERROR, TN_ERROR_DEVICE, "device '%s' gives no event",
                        tn_device_name(device));
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
make_outputs(TnExec *exec, GError **error)
{
    const TnProgram *program = exec->program;
    exec->outputs = g_new0(TnTensor *, program->n_outputs + 1);
    for (guint i = 0; i < program->n_outputs; i++) {
        const TnProgramOutput *output = &program->outputs[i];
        const gsize size = tn_dtype_size(output->type.dtype);
        exec->outputs[i] = tn_tensor_view(exec->arena[output->place.index], output->type, NULL,
                                          (gint64)(output->place.offset / size), error);
        if (exec->outputs[i] == NULL) {
            return FALSE;
        }
    }
    return TRUE;
}

static void
resolve_all(TnExec *exec)
{
    const TnProgram *program = exec->program;
    exec->pointers = g_new0(void *, program->n_args + 1);
    exec->runs = g_new0(TnRun, program->n_instructions + 1);
    for (guint i = 0; i < program->n_args; i++) {
        exec->pointers[i] = tn_exec_resolve(exec, &program->places[i]);
    }
    for (guint i = 0; i < program->n_instructions; i++) {
        const TnInstruction *code = &program->instructions[i];
        exec->runs[i] = (TnRun){
            .size = sizeof(TnRun),
            .exec = exec,
            .in = exec->pointers + code->first_arg,
            .out = exec->pointers + code->first_arg + code->n_in,
            .scratch = tn_exec_resolve(exec, &code->scratch),
            .stream = exec->streams[code->stream],
        };
    }
}

static TnExec *exec_new(TnProgram *program, TnStore *store, TnContext *context, void *within,
                        GError **error);

static gboolean
make_children(TnExec *exec, GError **error)
{
    const TnProgram *program = exec->program;
    exec->children = g_new0(TnExec *, program->n_children + 1);
    for (guint i = 0; i < program->n_children; i++) {
        const TnProgramChild *child = &program->children[i];
        void *within = tn_exec_resolve(exec, &child->memory);
        exec->children[i] = exec_new(child->program, NULL, exec->context, within, error);
        if (exec->children[i] == NULL) {
            return FALSE;
        }
        exec->children[i]->unbound = 0; /* who runs it sees to that */
    }
    return TRUE;
}

static TnExec *
exec_new(TnProgram *program, TnStore *store, TnContext *context, void *within, GError **error)
{
    g_autoptr(TnExec) exec = g_new0(TnExec, 1);
    exec->program = tn_program_ref(program);
    exec->store = store != NULL ? tn_store_ref(store) : NULL;
    exec->context = context != NULL ? tn_context_ref(context) : NULL;
    pthread_mutex_init(&exec->fail_lock, NULL);
    if (!make_arena(exec, within, error) || !make_variables(exec, error) ||
        !make_bindings(exec, error) || !make_streams(exec, error) || !make_outputs(exec, error)) {
        return NULL;
    }
    resolve_all(exec);
    tn_exec_drop_watch(exec);
    return make_children(exec, error) ? g_steal_pointer(&exec) : NULL;
}

TnExec *
tn_exec_new(TnProgram *program, TnStore *store, TnContext *context, GError **error)
{
    return exec_new(program, store, context, NULL, error);
}

/* --- Freeing ---------------------------------------------------------------------------------- */

static void
free_streams(TnExec *exec)
{
    const TnProgram *program = exec->program;
    for (guint i = 0; exec->events != NULL && i < program->n_events; i++) {
        TnDevice *device = program->devices[program->event_device[i]];
        if (exec->events[i] != NULL) {
            tn_device_vtable(device)->event_free(tn_device_self(device), exec->events[i]);
        }
    }
    for (guint i = 1; exec->streams != NULL && i < program->n_streams; i++) {
        TnDevice *device = program->devices[program->streams[i].device];
        if (exec->streams[i] != NULL) {
            tn_device_vtable(device)->stream_free(tn_device_self(device), exec->streams[i]);
        }
    }
    g_free(exec->events);
    g_free(exec->streams);
}

static void
free_tensors(TnTensor **tensors, guint n)
{
    for (guint i = 0; tensors != NULL && i < n; i++) {
        g_clear_pointer(&tensors[i], tn_tensor_unref);
    }
    g_free(tensors);
}

void
tn_exec_free(TnExec *exec)
{
    if (exec == NULL) {
        return;
    }
    TnProgram *program = exec->program;
    tn_exec_drop_watch(exec);
    for (guint i = 0; exec->children != NULL && i < program->n_children; i++) {
        tn_exec_free(exec->children[i]);
    }
    g_free(exec->children);
    free_streams(exec);
    free_tensors(exec->outputs, program->n_outputs);
    free_tensors(exec->variables, program->n_variables);
    g_free(exec->vars);
    g_free(exec->versions);
    for (guint i = 0; exec->bindings != NULL && i < program->n_inputs; i++) {
        g_clear_pointer(&exec->bindings[i].tensor, tn_tensor_unref);
        g_clear_pointer(&exec->bindings[i].staging, tn_storage_unref);
    }
    for (guint i = 0; i < exec->n_shadows; i++) {
        tn_storage_unref(exec->shadows[i].storage);
    }
    for (guint i = 0; exec->arena != NULL && i < program->n_spaces; i++) {
        g_clear_pointer(&exec->arena[i], tn_storage_unref);
    }
    g_free(exec->arena);
    g_free(exec->bindings);
    g_free(exec->shadows);
    g_free(exec->pointers);
    g_free(exec->runs);
    if (exec->context != NULL) {
        tn_context_give_memory(exec->context, exec->taken);
        tn_context_unref(exec->context);
    }
    g_clear_pointer(&exec->store, tn_store_unref);
    g_clear_error(&exec->error);
    pthread_mutex_destroy(&exec->fail_lock);
    tn_program_unref(program);
    g_free(exec);
}
