/* exec.c: one thread's use of a program: where its arguments lie, what inputs are bound to, what is
 * computed once. exec-make.c makes one, run.c runs it. */
#include "exec-private.h"

#include "graph/store-private.h"

#include <string.h>
#include <tenon/base.h>

/* --- Pointers --------------------------------------------------------------------------------- */

static void *
tensor_memory(TnTensor *tensor)
{
    return (char *)tn_storage_memory(tn_tensor_storage(tensor)) +
           tn_tensor_offset(tensor) * (gint64)tn_dtype_size(tn_tensor_dtype(tensor));
}

/* Where a variable's elements begin for this program. */
static char *
variable_memory(const TnExec *exec, guint32 variable)
{
    for (guint i = 0; i < exec->n_shadows; i++) {
        if (exec->shadows[i].variable == variable) {
            return tn_storage_memory(exec->shadows[i].storage);
        }
    }
    return tensor_memory(exec->variables[variable]);
}

static char *
input_memory(const TnExec *exec, guint32 input)
{
    const TnBinding *binding = &exec->bindings[input];
    if (binding->tensor == NULL) {
        return NULL;
    }
    return binding->staged ? tn_storage_memory(binding->staging) : tensor_memory(binding->tensor);
}

void *
tn_exec_resolve(const TnExec *exec, const TnPlace *place)
{
    char *base = NULL;
    switch (place->kind) {
    case TN_PLACE_NONE: return NULL;
    case TN_PLACE_ARENA: base = tn_storage_memory(exec->arena[place->index]); break;
    case TN_PLACE_INPUT: base = input_memory(exec, place->index); break;
    case TN_PLACE_VARIABLE: base = variable_memory(exec, place->index); break;
    case TN_PLACE_CONSTANT: base = exec->program->constants[place->index].memory; break;
    }
    return base != NULL ? base + place->offset : NULL;
}

/* Points all arguments that lie in an input or variable to where it is now. */
static void
patch(TnExec *exec, const TnProgramPort *port, char *base)
{
    const TnProgram *program = exec->program;
    for (guint32 i = 0; i < port->n_patches; i++) {
        const guint32 arg = program->patches[port->first_patch + i];
        exec->pointers[arg] = base + program->places[arg].offset;
    }
}

/* --- Binding ---------------------------------------------------------------------------------- */

gboolean
tn_is_in_memory_of(TnTensor *tensor, TnDevice *device)
{
    TnDevice *at = tn_tensor_device(tensor);
    return at == device || (tn_device_is_host(at) && tn_device_is_host(device));
}

static TnStatus
bind_failed(TnExec *exec, guint i, const char *text)
{
    const TnProgramPort *port = &exec->program->inputs[i];
    g_clear_error(&exec->error);
    g_set_error(&exec->error, TN_ERROR, TN_ERROR_SHAPE, "program '%s': input '%s' %s",
                exec->program->name, port->name, text);
    return TN_FAILED;
}

static TnStatus
wrong_type(TnExec *exec, guint i, const TnType *got)
{
    g_autofree char *want_text = tn_type_print(&exec->program->inputs[i].type);
    g_autofree char *got_text = tn_type_print(got);
    g_autofree char *text = g_strdup_printf("is %s, expected %s", got_text, want_text);
    return bind_failed(exec, i, text);
}

/* A program made for certain contents of an input is wrong for others. */
static gboolean
has_value(TnTensor *tensor, TnTensor *value)
{
    const gsize bytes = (gsize)tn_tensor_bytes(value);
    return tensor == value ||
           (tn_device_is_host(tn_tensor_device(tensor)) && tn_tensor_is_contiguous(value) &&
            memcmp(tensor_memory(tensor), tensor_memory(value), bytes) == 0);
}

TnStatus
tn_exec_bind(TnExec *exec, guint i, TnTensor *tensor)
{
    if (i >= exec->program->n_inputs) {
        g_clear_error(&exec->error);
        g_set_error(&exec->error, TN_ERROR, TN_ERROR_USAGE,
                    "program '%s': there is no input %u, only %u", exec->program->name, i,
                    exec->program->n_inputs);
        return TN_FAILED;
    }
    const TnProgramPort *port = &exec->program->inputs[i];
    TnBinding *binding = &exec->bindings[i];
    if (tensor == NULL) {
        if (binding->tensor != NULL && port->n_patches > 0) {
            exec->unbound++;
        }
        g_clear_pointer(&binding->tensor, tn_tensor_unref);
        binding->staged = FALSE;
        return TN_OK;
    }
    if (!tn_type_equal(tn_tensor_type(tensor), &port->type)) {
        return wrong_type(exec, i, tn_tensor_type(tensor));
    }
    if (!tn_tensor_is_contiguous(tensor)) {
        return bind_failed(exec, i, "is a strided view; copy it first");
    }
    if (port->value != NULL && !has_value(tensor, port->value)) {
        return bind_failed(exec, i, "has other contents than the program was made for");
    }
    const gboolean there = tn_is_in_memory_of(tensor, exec->program->devices[port->device]);
    if (!there && !(binding->staging != NULL && tn_device_is_host(tn_tensor_device(tensor)))) {
        return bind_failed(exec, i,
                           "is on another device; copy it to the host or the program's device");
    }
    tn_tensor_ref(tensor);
    if (binding->tensor != NULL) {
        tn_tensor_unref(binding->tensor);
    } else if (port->n_patches > 0) {
        exec->unbound--;
    }
    binding->tensor = tensor;
    binding->staged = !there;
    patch(exec, port, input_memory(exec, i));
    return TN_OK;
}

TnStatus
tn_exec_point(TnExec *exec, guint i, const void *memory)
{
    const TnProgramPort *port = &exec->program->inputs[i];
    TnBinding *binding = &exec->bindings[i];
    const void *given = memory;
    const gsize bytes = (gsize)tn_type_bytes(&port->type);
    if (binding->staging != NULL) {
        memory = tn_storage_memory(binding->staging);
    }
    if (binding->memory != memory) {
        binding->memory = memory;
        patch(exec, port, (char *)memory);
    }
    return binding->staging == NULL || bytes == 0
               ? TN_OK
               : tn_device_copy(exec->program->devices[port->device], (void *)memory, given, bytes,
                                TN_COPY_TO_DEVICE, NULL);
}

TnStatus
tn_exec_fetch(TnExec *exec, guint i, void *memory, gsize bytes)
{
    const TnProgramOutput *output = &exec->program->outputs[i];
    TnDevice *device = exec->program->devices[output->device];
    const void *from = tn_exec_resolve(exec, &output->place);
    if (bytes > 0 && !tn_device_is_host(device)) {
        return tn_device_copy(device, memory, from, bytes, TN_COPY_TO_HOST, NULL);
    }
    if (bytes > 0) {
        memcpy(memory, from, bytes);
    }
    return TN_OK;
}

/* --- What is computed once -------------------------------------------------------------------- */

guint
tn_exec_begin(TnExec *exec)
{
    const TnProgram *program = exec->program;
    gboolean changed = !exec->computed;
    for (guint i = 0; program->n_once > 0 && i < program->n_variables; i++) {
        if (program->variables[i].once) {
            const guint64 version = tn_var_version(exec->vars[i]);
            changed |= version != exec->versions[i];
            exec->versions[i] = version;
        }
    }
    exec->computed = TRUE;
    return changed ? 0 : program->n_once;
}

void
tn_exec_end(TnExec *exec, gboolean failed)
{
    for (guint i = 0; i < exec->program->n_variables; i++) {
        if (exec->program->variables[i].assigned) {
            tn_var_touch(exec->vars[i]);
        }
    }
    exec->computed = exec->computed && !failed;
}

/* --- Reading ---------------------------------------------------------------------------------- */

TnTensor *
tn_exec_output(TnExec *exec, guint i)
{
    g_return_val_if_fail(i < exec->program->n_outputs, NULL);
    return exec->outputs[i]; /* a run ends with the device's streams at rest */
}

gint
tn_exec_find_output(const TnExec *exec, const char *name)
{
    for (guint i = 0; i < exec->program->n_outputs; i++) {
        if (strcmp(exec->program->outputs[i].name, name) == 0) {
            return (gint)i;
        }
    }
    return -1;
}

gint
tn_exec_find_input(const TnExec *exec, const char *name)
{
    for (guint i = 0; i < exec->program->n_inputs; i++) {
        if (strcmp(exec->program->inputs[i].name, name) == 0) {
            return (gint)i;
        }
    }
    return -1;
}

const GError *
tn_exec_error(const TnExec *exec)
{
    return exec->error;
}

TnProgram *
tn_exec_program(const TnExec *exec)
{
    return exec->program;
}
