/* job-checkpoints.c: what a job component in Lua may do with its checkpoints and variables. */
#include "job-private.h"

#include <tenon/base.h>

/* job:save(step, state, keep): FALSE without a run folder. */
static int
job_save(lua_State *L)
{
    TnJob *job = tn_job_of(L);
    const guint64 step = (guint64)luaL_checkinteger(L, 2);
    const guint keep = (guint)luaL_optinteger(L, 4, 0);
    GError *error = NULL;
    if (job->run) {
        const TnValue *state = tn_box_from(L, 3, "state");
        const gint64 begin = tn_span_begin(job->context);
        const gboolean ok =
            tn_checkpoint_save(job->run, step, tn_context_store(job->context), state, keep, &error);
        tn_span_end(job->context, "checkpoint", "save", begin);
        if (!ok)
            return tn_host_raise(L, error);
    }
    lua_pushboolean(L, job->run != NULL);
    return 1;
}

/* job:export(name): parameters and statistics into a file of the run's folder; false without one. */
static int
job_export(lua_State *L)
{
    TnJob *job = tn_job_of(L);
    GError *error = NULL;
    if (job->run && !tn_checkpoint_export(job->run, luaL_checkstring(L, 2),
                                          tn_context_store(job->context), &error))
        return tn_host_raise(L, error);
    lua_pushboolean(L, job->run != NULL);
    return 1;
}

/* job:newest(): step of the newest readable checkpoint, or nil. */
static int
job_newest(lua_State *L)
{
    const TnJob *job = tn_job_of(L);
    const gint64 step = job->run ? tn_checkpoint_newest(job->run) : -1;
    if (step < 0)
        return 0;
    lua_pushinteger(L, step);
    return 1;
}

/* job:load(step): restores the variables, gives the state. */
static int
job_load(lua_State *L)
{
    TnJob *job = tn_job_of(L);
    const guint64 step = (guint64)luaL_checkinteger(L, 2);
    GError *error = NULL;
    if (!job->run)
        return tn_host_raise_text(L, TN_ERROR_NOT_FOUND, "there is no run folder");
    TnValueBox *box = tn_push_box(L, NULL);
    tn_host_of(L)->writes++;
    const gint64 begin = tn_span_begin(job->context);
    box->value = tn_checkpoint_load(job->run, step, tn_context_store(job->context), &error);
    tn_span_end(job->context, "checkpoint", "load", begin);
    if (!box->value)
        return tn_host_raise(L, error);
    tn_push_value(L, box->value);
    return 1;
}

/* job:reset(): every variable begins again. */
static int
job_reset(lua_State *L)
{
    TnStore *store = tn_context_store(tn_job_of(L)->context);
    GError *error = NULL;
    tn_host_of(L)->writes++;
    for (guint i = 0; i < tn_store_n(store); i++)
        if (!tn_var_reset(tn_store_at(store, i), &error))
            return tn_host_raise(L, error);
    return 0;
}

static int
job_pin(lua_State *L)
{
    const TnJob *job = tn_job_of(L);
    if (job->run)
        tn_checkpoint_pin(job->run, (guint64)luaL_checkinteger(L, 2));
    return 0;
}

static int
job_unpin(lua_State *L)
{
    const TnJob *job = tn_job_of(L);
    if (job->run)
        tn_checkpoint_unpin(job->run, (guint64)luaL_checkinteger(L, 2));
    return 0;
}

int
tn_job_checkpoints_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "save", job_save },   { "export", job_export }, { "newest", job_newest },
        { "load", job_load },   { "reset", job_reset },   { "pin", job_pin },
        { "unpin", job_unpin }, { NULL, NULL },
    };
    tn_host_metatable(L, TN_JOB_HANDLE, methods);
    return 0;
}
