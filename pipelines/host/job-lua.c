/* job-lua.c: the one handle that a job component in Lua is given: its methods are what it may do, here what
 * concerns the job as a whole. Everything belongs to the job; handles of its parts hold a number and are
 * checked on each use. */
#include "job-private.h"

#include <tenon/base.h>

TnJob *
tn_job_of(lua_State *L)
{
    TnJob *job = tn_host_of(L)->job;
    luaL_checkudata(L, 1, TN_JOB_HANDLE);
    if (!job)
        tn_host_raise_text(L, TN_ERROR_FAILED, "the job is over");
    return job;
}

/* --- Settings --------------------------------------------------------------------------------- */

/* job:seed(number) */
static int
job_seed(lua_State *L)
{
    tn_context_set_seed(tn_job_of(L)->context, (guint64)luaL_checkinteger(L, 2));
    return 0;
}

/* job:batch_invariant(boolean) */
static int
job_batch_invariant(lua_State *L)
{
    tn_context_set_batch_invariant(tn_job_of(L)->context, lua_toboolean(L, 2));
    return 0;
}

/* job:fast_math(boolean) */
static int
job_fast_math(lua_State *L)
{
    tn_context_set_fast_math(tn_job_of(L)->context, lua_toboolean(L, 2));
    return 0;
}

/* job:memory_limit(bytes): of each program. */
static int
job_memory_limit(lua_State *L)
{
    tn_context_set_program_limit(tn_job_of(L)->context, (guint64)luaL_checkinteger(L, 2));
    return 0;
}

/* job:precision(name): what products are computed in. */
static int
job_precision(lua_State *L)
{
    tn_context_set_precision(tn_job_of(L)->context, tn_dtype_from_name(luaL_checkstring(L, 2)));
    return 0;
}

/* job:device(name): adds it behind those that are there. */
static int
job_device(lua_State *L)
{
    TnJob *job = tn_job_of(L);
    GError *error = NULL;
    return tn_job_add_device(job, luaL_checkstring(L, 2), &error) ? 0 : tn_host_raise(L, error);
}

/* job:device_later(name): adds it when something is first computed, so that a plugin nobody needs
 * stays closed. */
static int
job_device_later(lua_State *L)
{
    TnJob *job = tn_job_of(L);
    g_ptr_array_add(job->later, g_strdup(luaL_checkstring(L, 2)));
    return 0;
}

/* --- The run ---------------------------------------------------------------------------------- */

static int
job_folder(lua_State *L)
{
    const TnJob *job = tn_job_of(L);
    if (!job->run)
        return 0;
    lua_pushstring(L, tn_run_path(job->run));
    return 1;
}

static int
job_resumed(lua_State *L)
{
    lua_pushboolean(L, tn_job_of(L)->resume);
    return 1;
}

static int
job_is_cancelled(lua_State *L)
{
    lua_pushboolean(L, tn_context_cancelled(tn_job_of(L)->context));
    return 1;
}

/* job:stopped(): it ends because it was told to. */
static int
job_stopped(lua_State *L)
{
    tn_job_of(L)->cancelled = TRUE;
    return 0;
}

/* job:result{name = value}: what to say at the end. */
static int
job_result(lua_State *L)
{
    TnJob *job = tn_job_of(L);
    TnValue *value = tn_box_from(L, 2, "result");
    g_clear_pointer(&job->result, tn_value_unref);
    job->result = tn_value_ref(value);
    return 0;
}

/* --- Functions -------------------------------------------------------------------------------- */

/* clock(): seconds that only go forward. */
static int
clock_now(lua_State *L)
{
    lua_pushnumber(L, (double)g_get_monotonic_time() * 1e-6);
    return 1;
}

/* fail(kind, text): an error with its kind, for messages that need no line. */
static int
fail(lua_State *L)
{
    static const char *const kinds[] = { "failed", "config", "numeric", "unsupported", NULL };
    static const TnErrorCode codes[] = { TN_ERROR_FAILED, TN_ERROR_CONFIG, TN_ERROR_NUMERIC,
                                         TN_ERROR_UNSUPPORTED };
    const int kind = luaL_checkoption(L, 1, NULL, kinds);
    return tn_host_raise_text(L, codes[kind], "%s", luaL_checkstring(L, 2));
}

/* log(level, text) */
static int
log_line(lua_State *L)
{
    static const char *const levels[] = { "error", "warn", "info", "debug", NULL };
    const int level = luaL_checkoption(L, 1, NULL, levels);
    tn_log("config", (TnLogLevel)level, "%s", luaL_checkstring(L, 2));
    return 0;
}

/* where(spec): "FILE:LINE" */
static int
where(lua_State *L)
{
    const TnSpec *spec = tn_to_spec(L, 1);
    const TnWhere at = spec ? tn_spec_where(spec) : (TnWhere){ NULL, 0 };
    lua_pushfstring(L, "%s:%d", at.file ? at.file : "config", at.line);
    return 1;
}

int
tn_job_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "seed", job_seed },
        { "batch_invariant", job_batch_invariant },
        { "fast_math", job_fast_math },
        { "memory_limit", job_memory_limit },
        { "precision", job_precision },
        { "device", job_device },
        { "device_later", job_device_later },
        { "folder", job_folder },
        { "resumed", job_resumed },
        { "cancelled", job_is_cancelled },
        { "stopped", job_stopped },
        { "result", job_result },
        { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "clock", clock_now },
        { "fail", fail },
        { "log", log_line },
        { "where", where },
        { "traceback", tn_host_traceback },
        { NULL, NULL },
    };
    static const lua_CFunction parts[] = { tn_job_pipeline_open, tn_job_stepper_open,
                                           tn_job_loggers_open, tn_job_checkpoints_open };
    tn_host_metatable(L, TN_JOB_HANDLE, methods);
    for (gsize i = 0; i < G_N_ELEMENTS(parts); i++)
        parts[i](L);
    lua_newuserdatauv(L, 1, 0);
    luaL_setmetatable(L, TN_JOB_HANDLE);
    lua_setfield(L, LUA_REGISTRYINDEX, "tenon.job.handle");
    luaL_setfuncs(L, functions, 0);
    return 0;
}
