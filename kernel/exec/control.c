/* control.c: running sub-graphs: an instruction of one program whose work is runs of others, in the
 * memory that it has as scratch. Inputs are pointed to where they lie; results are copied to where the
 * next step or the node's reader looks for them. */
#include "exec-private.h"

#include <string.h>
#include <tenon/base.h>

/* Of nothing there may be no memory at all. */
static void
copy(void *to, const void *from, gsize bytes)
{
    if (bytes > 0) {
        memcpy(to, from, bytes);
    }
}

/* One run of a child; its failure is the instruction's. */
static TnStatus
run_child(const TnRun *run, TnExec *child)
{
    TnExec *exec = run->exec;
    if (G_UNLIKELY(exec->context != NULL && tn_context_cancelled(exec->context))) {
        return TN_CANCELLED;
    }
    const gint64 begin = exec->watch.func != NULL ? tn_time_ns() : 0;
    const TnStatus status = tn_exec_run(child);
    if (begin != 0) {
        exec->inner_ns += tn_time_ns() - begin;
    }
    if (G_UNLIKELY(status == TN_FAILED)) {
        return tn_run_fail(run, "%s", child->error != NULL ? child->error->message : "failed");
    }
    return status;
}

static TnExec *
child_of(const TnControl *control, const TnRun *run, guint i)
{
    return run->exec->children[control->first_child + i];
}

/* Points inputs [first, end) of the child to those of the instruction. */
static TnStatus
point(const TnControl *control, const TnRun *run, TnExec *child, guint first, guint end)
{
    TnStatus status = TN_OK;
    for (guint i = first; i < end && status == TN_OK; i++) {
        status = tn_exec_point(child, i, run->in[control->skip + i]);
    }
    return status;
}

static TnStatus
fetch(const TnControl *control, TnExec *child, guint k, void *to)
{
    return tn_exec_fetch(child, k, to, control->out_bytes[k]);
}

TnStatus
tn_if_run(void *state, const TnRun *run)
{
    const TnControl *control = state;
    TnExec *child = child_of(control, run, *(const guint8 *)run->in[0] != 0 ? 0 : 1);
    TnStatus status = point(control, run, child, 0, control->n_in);
    status = status == TN_OK ? run_child(run, child) : status;
    for (guint k = 0; k < control->n_out && status == TN_OK; k++) {
        status = fetch(control, child, k, run->out[k]);
    }
    return status;
}

TnStatus
tn_while_run(void *state, const TnRun *run)
{
    const TnControl *control = state;
    TnExec *child = child_of(control, run, 0);
    guint8 go = *(const guint8 *)run->in[0];
    TnStatus status = point(control, run, child, control->n_states, control->n_in);
    for (guint i = 0; i < control->n_states; i++) {
        copy(run->out[i], run->in[i + 1], control->in_bytes[i]);
    }
    while (go != 0 && status == TN_OK) {
        for (guint i = 0; i < control->n_states && status == TN_OK; i++) {
            status = tn_exec_point(child, i, run->out[i]);
        }
        status = status == TN_OK ? run_child(run, child) : status;
        for (guint i = 0; i < control->n_states && status == TN_OK; i++) {
            status = fetch(control, child, i + 1, run->out[i]);
        }
        status = status == TN_OK ? fetch(control, child, 0, &go) : status;
    }
    return status;
}

/* --- Scan ------------------------------------------------------------------------------------- */

static char *
slice(const TnControl *control, void *stack, gint64 step, gsize bytes)
{
    const gint64 at = control->reverse ? control->steps - 1 - step : step;
    return (char *)stack + (gsize)at * bytes;
}

/* Where state i is before a step: where it was saved, else in the output. */
static void *
state_at(const TnControl *control, const TnRun *run, guint i, gint64 step)
{
    return control->save && step < control->steps
               ? slice(control, run->out[control->n_out + i], step, control->in_bytes[i])
               : run->out[i];
}

static TnStatus
scan_step(const TnControl *control, const TnRun *run, TnExec *child, gint64 step)
{
    TnStatus status = TN_OK;
    for (guint i = 0; i < control->n_states && status == TN_OK; i++) {
        status = tn_exec_point(child, i, state_at(control, run, i, step));
    }
    for (guint k = 0; k < control->n_slices && status == TN_OK; k++) {
        const guint i = control->n_states + k;
        status = tn_exec_point(child, i, slice(control, run->in[i], step, control->in_bytes[i]));
    }
    status = status == TN_OK ? run_child(run, child) : status;
    for (guint k = 0; k < control->n_out && status == TN_OK; k++) {
        void *to = k < control->n_states ? state_at(control, run, k, step + 1)
                                         : slice(control, run->out[k], step, control->out_bytes[k]);
        status = fetch(control, child, k, to);
    }
    return status;
}

TnStatus
tn_scan_run(void *state, const TnRun *run)
{
    const TnControl *control = state;
    TnExec *child = child_of(control, run, 0);
    TnStatus status =
        point(control, run, child, control->n_states + control->n_slices, control->n_in);
    for (guint i = 0; i < control->n_states; i++) {
        copy(state_at(control, run, i, 0), run->in[i], control->in_bytes[i]);
    }
    for (gint64 step = 0; step < control->steps && status == TN_OK; step++) {
        status = scan_step(control, run, child, step);
    }
    return status;
}
