/* job-loggers.c: what a job component in Lua tells its loggers, and who watches the run. */
#include "job-private.h"

#include <tenon/base.h>
#include <tenon/logger.h>

/* job:loggers{spec, …} */
static int
job_loggers(lua_State *L)
{
    TnJob *job = tn_job_of(L);
    GError *error = NULL;
    luaL_checktype(L, 2, LUA_TTABLE);
    const lua_Unsigned n = lua_rawlen(L, 2);
    TnSpec **specs = lua_newuserdatauv(L, ((gsize)n + 1) * sizeof *specs, 0);
    for (lua_Unsigned i = 0; i < n; i++, lua_pop(L, 1)) {
        lua_rawgeti(L, 2, (lua_Integer)i + 1);
        specs[i] = tn_to_spec(L, -1); /* the table keeps it */
        if (!specs[i])
            return tn_host_raise_text(L, TN_ERROR_CONFIG, "loggers are components");
        if (!tn_host_confine(job->host, specs[i], &error))
            return tn_host_raise(L, error);
    }
    g_clear_pointer(&job->loggers, tn_loggers_free);
    if (job->run && job->resume &&
        !tn_run_drop_metrics(job->run, tn_checkpoint_newest(job->run), &error))
        return tn_host_raise(L, error);
    job->loggers = tn_loggers_new(job->context, (guint)n, specs, job->run, job->resume, &error);
    return job->loggers ? 0 : tn_host_raise(L, error);
}

/* job:scalar(name, step, value) */
static int
job_scalar(lua_State *L)
{
    TnJob *job = tn_job_of(L);
    const char *name = luaL_checkstring(L, 2);
    const guint64 step = (guint64)luaL_checkinteger(L, 3);
    const double value = luaL_checknumber(L, 4);
    if (job->loggers)
        tn_loggers_scalar(job->loggers, name, step, value);
    tn_context_metric(job->context, name, step, value);
    return 0;
}

static int
job_text(lua_State *L)
{
    TnJob *job = tn_job_of(L);
    const char *name = luaL_checkstring(L, 2), *text = luaL_checkstring(L, 4);
    if (job->loggers)
        tn_loggers_text(job->loggers, name, (guint64)luaL_checkinteger(L, 3), text);
    return 0;
}

/* job:histogram(name, step, tensor) */
static int
job_histogram(lua_State *L)
{
    TnJob *job = tn_job_of(L);
    const char *name = luaL_checkstring(L, 2);
    const guint64 step = (guint64)luaL_checkinteger(L, 3);
    const TnLuaTensor *tensor = tn_to_tensor(L, 4);
    luaL_argcheck(L, tensor, 4, "a tensor was expected");
    if (job->loggers)
        tn_loggers_tensor(job->loggers, name, step, tensor->tensor);
    return 0;
}

static double
number_field(lua_State *L, int table, const char *key, double otherwise)
{
    lua_getfield(L, table, key);
    const double number = luaL_optnumber(L, -1, otherwise);
    lua_pop(L, 1);
    return number;
}

/* status.json of a run at work, so that others can watch it: not for the disk's sake, and not more
 * often than they look. */
static void
put_status(TnJob *job)
{
    const gint64 now = g_get_monotonic_time();
    g_autoptr(GError) error = NULL;
    if (!job->run || now - job->status_put < G_USEC_PER_SEC)
        return;
    job->status_put = now;
    g_autoptr(TnValue) status = tn_value_copy(job->progress);
    tn_value_set(status, "state", tn_value_string("running"));
    if (!tn_run_put_json(job->run, "status.json", status, &error))
        tn_log("run", TN_LOG_WARN, "%s", error->message);
}

static void
keep_progress(TnJob *job, const TnProgress *progress)
{
    TnValue *map = tn_value_map(), *metrics = tn_value_map();
    for (guint i = 0; i < progress->n; i++)
        tn_value_set(metrics, progress->names[i], tn_value_double(progress->values[i]));
    tn_value_set(map, "time", tn_value_double((double)g_get_real_time() * 1e-6));
    tn_value_set(map, "step", tn_value_int((gint64)progress->step));
    tn_value_set(map, "steps", tn_value_int((gint64)progress->steps));
    tn_value_set(map, "epoch", tn_value_int((gint64)progress->epoch));
    tn_value_set(map, "epochs", tn_value_int((gint64)progress->epochs));
    if (progress->samples_per_second > 0)
        tn_value_set(map, "samples_per_second", tn_value_double(progress->samples_per_second));
    if (progress->seconds_left >= 0)
        tn_value_set(map, "seconds_left", tn_value_double(progress->seconds_left));
    tn_value_set(map, "metrics", metrics);
    g_clear_pointer(&job->progress, tn_value_unref);
    job->progress = map;
}

/* job:progress{step =, steps =, epoch =, epochs =, rate =, left =, {name, value}, …} */
static int
job_progress(lua_State *L)
{
    TnJob *job = tn_job_of(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    const gsize n = (gsize)lua_rawlen(L, 2);
    const char **names = lua_newuserdatauv(L, (n + 1) * sizeof *names, 0);
    double *values = lua_newuserdatauv(L, (n + 1) * sizeof *values, 0);
    for (gsize i = 0; i < n; i++) {
        lua_rawgeti(L, 2, (lua_Integer)i + 1);
        luaL_checktype(L, -1, LUA_TTABLE);
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        names[i] = tn_intern(luaL_checkstring(L, -2));
        values[i] = luaL_checknumber(L, -1);
        lua_pop(L, 3);
    }
    TnStageProgress stages[TN_MOST_PLACES];
    TnProgress p = {
        .step = (guint64)number_field(L, 2, "step", 0),
        .steps = (guint64)number_field(L, 2, "steps", 0),
        .epoch = (guint64)number_field(L, 2, "epoch", 0),
        .epochs = (guint64)number_field(L, 2, "epochs", 0),
        .samples_per_second = number_field(L, 2, "rate", 0),
        .seconds_left = number_field(L, 2, "left", -1),
        .n = (guint)n,
        .names = names,
        .values = values,
    };
    TnValue *places = tn_job_look_at_places(job, p.step, &p, stages);
    keep_progress(job, &p);
    if (places)
        tn_value_set(job->progress, "stages", places);
    put_status(job);
    if (job->loggers)
        tn_loggers_progress(job->loggers, &p);
    return 0;
}

static int
job_flush(lua_State *L)
{
    TnJob *job = tn_job_of(L);
    if (job->loggers)
        tn_loggers_flush(job->loggers);
    return 0;
}

int
tn_job_loggers_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "loggers", job_loggers },
        { "scalar", job_scalar },
        { "text", job_text },
        { "histogram", job_histogram },
        { "progress", job_progress },
        { "flush", job_flush },
        { NULL, NULL },
    };
    tn_host_metatable(L, TN_JOB_HANDLE, methods);
    return 0;
}
