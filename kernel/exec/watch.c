/* watch.c: a run of which every instruction is shown when it is done, with the devices at rest in
 * between: to whoever watches the context, for measuring, or to who asked for this exec's tensors,
 * for finding the first one that went bad. */
#include "exec-private.h"

#include <tenon/base.h>

static void
drop_tensors(TnExec *exec)
{
    for (guint i = 0; exec->watch.tensors != NULL && i < exec->program->n_args; i++) {
        g_clear_pointer(&exec->watch.tensors[i], tn_tensor_unref);
    }
    g_clear_pointer(&exec->watch.tensors, g_free);
}

void
tn_exec_drop_watch(TnExec *exec)
{
    const TnWatch *watch = exec->context != NULL ? tn_context_watch(exec->context) : NULL;
    drop_tensors(exec);
    exec->watch.func = watch != NULL ? watch->instruction : NULL;
    exec->watch.data = watch != NULL ? watch->data : NULL;
}

void
tn_exec_watch(TnExec *exec, TnExecWatch watch, gpointer data)
{
    tn_exec_drop_watch(exec);
    if (watch != NULL) {
        exec->watch.func = watch;
        exec->watch.data = data;
        exec->watch.tensors = g_new0(TnTensor *, exec->program->n_args + 1);
    }
}

gboolean
tn_exec_is_watched(const TnExec *exec)
{
    return exec->watch.func != NULL;
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
show(TnExec *exec, guint number, gint64 begin)
{
    const TnInstruction *code = &exec->program->instructions[number];
    const TnInstructionInfo *info = &exec->program->infos[number];
    TnTensor *out[TN_MAX_OUT] = { NULL };
    const TnExecStep step = {
        .size = sizeof(TnExecStep),
        .number = number,
        .name = info->name,
        .begin = begin,
        .end = tn_time_ns(),
        .n_out = exec->watch.tensors != NULL ? code->n_out : 0,
        .out = out,
    };
    for (guint i = 0; i < step.n_out; i++) {
        if (!(info->unread >> i & 1)) {
            out[i] = watched_tensor(exec, code->first_arg + code->n_in + i, info->device);
        }
    }
    return exec->watch.func(exec, &step, exec->watch.data);
}

static TnStatus
run_shown(TnExec *exec, guint first)
{
    for (guint i = first; i < exec->program->n_instructions; i++) {
        const gint64 begin = tn_time_ns();
        TnStatus status = tn_exec_step(exec, i);
        const TnStatus synced = tn_exec_sync(exec, -1);
        status = status == TN_OK ? synced : status;
        if (status == TN_OK) {
            /* What the programs within it took was told of already. */
            status = show(exec, i, begin + exec->inner_ns);
        }
        exec->inner_ns = 0;
        if (status != TN_OK) {
            return tn_exec_fail_at(exec, i, status);
        }
    }
    return TN_OK;
}

TnStatus
tn_exec_run_watched(TnExec *exec, guint first)
{
    const gint64 begin = tn_span_begin(exec->context);
    const TnStatus status = run_shown(exec, first);
    tn_span_end(exec->context, "program", exec->program->name, begin);
    return status;
}
