/* run.c: one run of an exec: a tight loop where everything runs in the host's own order, else
 * one that also waits for and signals events of streams. */
#include "exec-private.h"

#include "compile/kernels.h"

#include <stdarg.h>
#include <string.h>

#include <tenon/pool.h>

/* --- Failing ---------------------------------------------------------------------------------- */

static _Thread_local char last_text[512];

const char *
tn_run_last_text(void)
{
    return last_text;
}

TnStatus
tn_run_fail(const TnRun *run, const char *format, ...)
{
    char text[sizeof last_text];
    va_list ap;
    va_start(ap, format);
    g_vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    TnExec *exec = run->exec;
    if (exec == NULL) {
        memcpy(last_text, text, sizeof text);
        return TN_FAILED;
    }
    /* Chunks of one kernel may fail at once on several threads: the first one's words stay. */
    pthread_mutex_lock(&exec->fail_lock);
    if (!exec->has_fail_text) {
        memcpy(exec->fail_text, text, sizeof text);
        exec->has_fail_text = TRUE;
    }
    pthread_mutex_unlock(&exec->fail_lock);
    return TN_FAILED;
}

TnStatus
tn_exec_fail_at(TnExec *exec, guint number, TnStatus status)
{
    const TnInstructionInfo *info = &exec->program->infos[number];
    TnDevice *device = exec->program->devices[info->device];
    const TnDeviceVTable *vtable = tn_device_vtable(device);
    g_autofree char *text = NULL;
    pthread_mutex_lock(&exec->fail_lock);
    if (exec->has_fail_text) {
        text = g_strdup(exec->fail_text);
    } else if (vtable->last_error != NULL && info->kernel == NULL) {
        text = g_strdup(vtable->last_error(tn_device_self(device)));
    }
    exec->has_fail_text = FALSE;
    pthread_mutex_unlock(&exec->fail_lock);
    g_clear_error(&exec->error);
    if (text != NULL) {
        g_set_error(&exec->error, TN_ERROR, TN_ERROR_FAILED, "%s (%s on %s): %s", info->name,
                    info->op->name, tn_device_name(device), text);
    } else {
        tn_status_set_error(&exec->error, status, "%s (%s on %s)", info->name, info->op->name,
                            tn_device_name(device));
    }
    return status;
}

static TnStatus
fail_outside(TnExec *exec, TnStatus status, const char *what)
{
    g_clear_error(&exec->error);
    tn_status_set_error(&exec->error, status, "program '%s': %s", exec->program->name, what);
    return status;
}

/* --- Before and after ------------------------------------------------------------------------- */

/* device -1: all. */
TnStatus
tn_exec_sync(TnExec *exec, gint device)
{
    const TnProgram *program = exec->program;
    TnStatus status = TN_OK;
    for (guint i = 1; i < program->n_streams; i++) {
        if (device < 0 || program->streams[i].device == (guint)device) {
            const TnStatus one =
                tn_device_sync(program->devices[program->streams[i].device], exec->streams[i]);
            status = status == TN_OK ? one : status;
        }
    }
    return status;
}

static char *
tensor_memory(TnTensor *tensor)
{
    return (char *)tn_storage_memory(tn_tensor_storage(tensor)) +
           tn_tensor_offset(tensor) * (gint64)tn_dtype_size(tn_tensor_dtype(tensor));
}

static TnStatus
stage_inputs(TnExec *exec)
{
    const TnProgram *program = exec->program;
    for (guint i = 0; i < program->n_inputs; i++) {
        const TnBinding *binding = &exec->bindings[i];
        const gsize bytes = (gsize)tn_type_bytes(&program->inputs[i].type);
        if (binding->staged && bytes > 0) {
            const TnStatus status = tn_device_copy(
                program->devices[program->inputs[i].device], tn_storage_memory(binding->staging),
                tensor_memory(binding->tensor), bytes, TN_COPY_TO_DEVICE, NULL);
            if (status != TN_OK) {
                return fail_outside(exec, status, "copying an input to its device");
            }
        }
    }
    return TN_OK;
}

/* One of the two memories is the host's. to_shadow: from the variable, else back to it. */
static TnStatus
copy_shadow(TnExec *exec, const TnShadow *shadow, gboolean to_shadow)
{
    const TnProgramPort *port = &exec->program->variables[shadow->variable];
    TnTensor *tensor = exec->variables[shadow->variable];
    TnDevice *at = tn_tensor_device(tensor);
    TnDevice *works = exec->program->devices[port->device];
    const gboolean host_works = tn_device_is_host(works);
    TnDevice *acting = host_works ? at : works;
    void *theirs = tensor_memory(tensor), *ours = tn_storage_memory(shadow->storage);
    return tn_device_copy(acting, to_shadow ? ours : theirs, to_shadow ? theirs : ours,
                          (gsize)tn_type_bytes(&port->type),
                          host_works == to_shadow ? TN_COPY_TO_HOST : TN_COPY_TO_DEVICE, NULL);
}

static TnStatus
move_shadows(TnExec *exec, gboolean to_shadow)
{
    for (guint i = 0; i < exec->n_shadows; i++) {
        const TnShadow *shadow = &exec->shadows[i];
        const TnProgramPort *port = &exec->program->variables[shadow->variable];
        if ((to_shadow ? port->read : port->assigned) && tn_type_bytes(&port->type) > 0) {
            const TnStatus status = copy_shadow(exec, shadow, to_shadow);
            if (status != TN_OK) {
                return fail_outside(exec, status, "copying a variable to or from its device");
            }
        }
    }
    return TN_OK;
}

/* --- Loops ------------------------------------------------------------------------------------ */

static TnStatus
run_simple(TnExec *exec, guint first)
{
    const TnProgram *program = exec->program;
    const TnInstruction *code = program->instructions;
    const TnRun *run = exec->runs;
    const guint n = program->n_instructions;
    for (guint i = first; i < n; i++) {
        const TnStatus status = code[i].run(code[i].state, &run[i]);
        if (G_UNLIKELY(status != TN_OK)) {
            return tn_exec_fail_at(exec, i, status);
        }
    }
    return TN_OK;
}

TnStatus
tn_exec_step(TnExec *exec, guint number)
{
    const TnProgram *program = exec->program;
    const TnInstruction *code = &program->instructions[number];
    TnDevice *device = program->devices[program->infos[number].device];
    const TnDeviceVTable *vtable = tn_device_vtable(device);
    void *self = tn_device_self(device);
    void *stream = exec->streams[code->stream];
    TnStatus status = code->barrier >= 0 ? tn_exec_sync(exec, code->barrier) : TN_OK;
    for (guint32 i = 0; i < code->n_waits && status == TN_OK; i++) {
        status =
            vtable->event_wait(self, exec->events[program->waits[code->first_wait + i]], stream);
    }
    if (status == TN_OK) {
        status = code->run(code->state, &exec->runs[number]);
    }
    if (status == TN_OK && code->signal != TN_NO_EVENT) {
        status = vtable->event_record(self, exec->events[code->signal], stream);
    }
    return status;
}

static TnStatus
run_with_streams(TnExec *exec, guint first)
{
    for (guint i = first; i < exec->program->n_instructions; i++) {
        const TnStatus status = tn_exec_step(exec, i);
        if (status != TN_OK) {
            tn_exec_sync(exec, -1);
            return tn_exec_fail_at(exec, i, status);
        }
    }
    const TnStatus status = tn_exec_sync(exec, -1);
    if (status == TN_OK) {
        return TN_OK;
    }
    /* A stream tells of a failure late: the kernel's own words say what happened, nobody knows
     * where. */
    g_autofree char *text = g_strdup(exec->has_fail_text ? exec->fail_text : "the device failed");
    exec->has_fail_text = FALSE;
    return fail_outside(exec, status, text);
}

static TnStatus
run_all(TnExec *exec, guint first)
{
    return exec->program->simple ? run_simple(exec, first) : run_with_streams(exec, first);
}

/* --- Entry ------------------------------------------------------------------------------------ */

TnStatus
tn_exec_run(TnExec *exec)
{
    if (G_UNLIKELY(exec->unbound > 0)) {
        return fail_outside(exec, TN_FAILED, "not every input was given");
    }
    exec->has_fail_text = FALSE; /* of a kernel that went on after all */
    TnStatus status = exec->may_stage ? stage_inputs(exec) : TN_OK;
    if (status == TN_OK && exec->n_shadows > 0) {
        status = move_shadows(exec, TRUE);
    }
    if (status == TN_OK) {
        const TnFloatMode mode = tn_float_mode_enter();
        const guint first = tn_exec_begin(exec);
        status = exec->watch.func != NULL ? tn_exec_run_watched(exec, first) : run_all(exec, first);
        tn_float_mode_leave(mode);
        tn_exec_end(exec, status != TN_OK);
    }
    if (status == TN_OK && exec->n_shadows > 0) {
        status = move_shadows(exec, FALSE);
    }
    return status;
}
