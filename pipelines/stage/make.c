/* make.c: a stage's own part of a frame: its `make`, called the same way by whoever drives it. */
#include "stage/stage-private.h"

void
tn_made_drop(TnMade *made)
{
    tn_frame_unref(made->frame);
    g_clear_error(&made->error);
    *made = (TnMade){ TN_OK, NULL, NULL };
}

TnMade
tn_stage_make(TnNodeStage *stage, TnFramePool *pool, void *state, guint64 seq, TnMade in)
{
    if (in.status != TN_OK)
        return in;
    TnMade made = { TN_OK, tn_frame_pool_take(pool, seq), NULL };
    const gint64 begin = tn_span_begin(stage->context);
    const TnFloatMode mode = tn_float_mode_enter(); /* the same on every thread */
    made.status = stage->vtable->make(stage->self, state, seq, in.frame, made.frame, &made.error);
    tn_float_mode_leave(mode);
    tn_span_end(stage->context, "make", stage->name, begin);
    tn_frame_unref(in.frame);
    if (made.status == TN_OK)
        return made;
    tn_frame_unref(g_steal_pointer(&made.frame));
    if (made.status == TN_EOS || made.status == TN_CANCELLED) {
        g_clear_error(&made.error);
        return made;
    }
    if (!made.error)
        tn_status_set_error(&made.error, made.status, "frame %" G_GUINT64_FORMAT, seq);
    g_prefix_error(&made.error, "stage '%s': ", stage->name);
    made.status = TN_FAILED;
    return made;
}

TnMade
tn_stage_pull_input(const TnNodeStage *stage, gboolean wait)
{
    return stage->in ? tn_port_take(stage->in, wait) : (TnMade){ TN_OK, NULL, NULL };
}

gboolean
tn_stage_worker_new(TnNodeStage *stage, void **state, GError **error)
{
    if (!TN_HAS(stage->vtable, worker_new))
        return TRUE;
    *state = stage->vtable->worker_new(stage->self, error);
    return *state != NULL;
}

void
tn_stage_worker_free(TnNodeStage *stage, void *state)
{
    if (state && TN_HAS(stage->vtable, worker_free))
        stage->vtable->worker_free(stage->self, state);
}
