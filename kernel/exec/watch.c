/* watch.c: a slow run that shows what each instruction gave, for finding the first tensor that
 * went bad. */
#include "exec-private.h"

void
tn_exec_drop_watch(TnExec *exec)
{
    for (guint i = 0; exec->watch.tensors != NULL && i < exec->program->n_args; i++) {
        g_clear_pointer(&exec->watch.tensors[i], tn_tensor_unref);
    }
    g_clear_pointer(&exec->watch.tensors, g_free);
    exec->watch.func = NULL;
}

void
tn_exec_watch(TnExec *exec, TnExecWatch watch, gpointer data)
{
    tn_exec_drop_watch(exec);
    exec->watch.func = watch;
    exec->watch.data = data;
    if (watch != NULL) {
        exec->watch.tensors = g_new0(TnTensor *, exec->program->n_args + 1);
    }
}

static void
keep(gpointer data)
{
    (void)data; /* the exec owns the memory */
}

/* A tensor over an argument's memory, made when first seen. */
static TnTensor *
watched_tensor(TnExec *exec, guint32 arg, guint device)
{
    const TnProgram *program = exec->program;
    if (exec->watch.tensors[arg] == NULL) {
        const TnType *type = &program->types[arg];
        g_autoptr(TnStorage) storage = tn_storage_wrap(
            program->devices[device], exec->pointers[arg], (gsize)tn_type_bytes(type), keep, NULL);
        exec->watch.tensors[arg] = tn_tensor_view(storage, *type, NULL, 0, NULL);
    }
    return exec->watch.tensors[arg];
}

static TnStatus
show(TnExec *exec, guint number)
{
    const TnInstruction *code = &exec->program->instructions[number];
    const TnInstructionInfo *info = &exec->program->infos[number];
    TnTensor *out[TN_MAX_OUT] = { NULL };
    for (guint i = 0; i < code->n_out; i++) {
        out[i] = watched_tensor(exec, code->first_arg + code->n_in + i, info->device);
    }
    return exec->watch.func(exec, info->name, code->n_out, out, exec->watch.data);
}

TnStatus
tn_exec_run_watched(TnExec *exec)
{
    for (guint i = 0; i < exec->program->n_instructions; i++) {
        TnStatus status = tn_exec_step(exec, i);
        const TnStatus synced = tn_exec_sync(exec, -1);
        status = status == TN_OK ? synced : status;
        if (status == TN_OK) {
            status = show(exec, i);
        }
        if (status != TN_OK) {
            return tn_exec_fail_at(exec, i, status);
        }
    }
    return TN_OK;
}
