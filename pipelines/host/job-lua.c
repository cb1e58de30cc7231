/* job-lua.c: what a job component in Lua may do: devices, pipeline, steppers, loggers, checkpoints,
 * as methods of the one handle it is given. Everything belongs to the job; handles of its parts
 * hold a number and are checked on each use. */
#include "job-private.h"
#include <tenon/base.h>
#include <tenon/logger.h>

#include <math.h>
#include <string.h>

#define JOB "tenon.job"
#define PORT "tenon.port"
#define STEPPER "tenon.stepper"

typedef struct {
    TnPort *port;
    TnPipeline *pipeline; /* the one it belongs to */
} PortHandle;
typedef struct {
    TnStepper *stepper;
    TnJob *job;
} StepperHandle;

static TnJob *
the_job(lua_State *L)
{
    TnJob *job = tn_host_of(L)->job;
    luaL_checkudata(L, 1, JOB);
    if (!job)
        tn_host_raise_text(L, TN_ERROR_FAILED, "the job is over");
    return job;
}

/* --- Devices, pipeline ------------------------------------------------------------------------ */

/* job:seed(number) */
static int
job_seed(lua_State *L)
{
    tn_context_set_seed(the_job(L)->context, (guint64)luaL_checkinteger(L, 2));
    return 0;
}

/* job:batch_invariant(boolean) */
static int
job_batch_invariant(lua_State *L)
{
    tn_context_set_batch_invariant(the_job(L)->context, lua_toboolean(L, 2));
    return 0;
}

/* job:memory_limit(bytes): of each program. */
static int
job_memory_limit(lua_State *L)
{
    tn_context_set_program_limit(the_job(L)->context, (guint64)luaL_checkinteger(L, 2));
    return 0;
}

/* job:precision(name): what products are computed in. */
static int
job_precision(lua_State *L)
{
    tn_context_set_precision(the_job(L)->context, tn_dtype_from_name(luaL_checkstring(L, 2)));
    return 0;
}

/* job:device(name): adds it behind those that are there. */
static int
job_device(lua_State *L)
{
    TnJob *job = the_job(L);
    GError *error = NULL;
    return tn_job_add_device(job, luaL_checkstring(L, 2), &error) ? 0 : tn_host_raise(L, error);
}

/* job:device_later(name): adds it when something is first computed, so that a plugin nobody needs
 * stays closed. */
static int
job_device_later(lua_State *L)
{
    TnJob *job = the_job(L);
    g_ptr_array_add(job->later, g_strdup(luaL_checkstring(L, 2)));
    return 0;
}

/* job:pipeline{name = spec}: creates and opens the pure stages among them. */
static int
job_pipeline(lua_State *L)
{
    enum { MOST = 256 };
    TnJob *job = the_job(L);
    const char *names[MOST];
    TnSpec *specs[MOST];
    guint n = 0;
    GError *error = NULL;
    luaL_checktype(L, 2, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
        TnSpec *spec = tn_to_spec(L, -1);
        if (!spec || n == MOST || lua_type(L, -2) != LUA_TSTRING)
            return tn_host_raise_text(L, TN_ERROR_CONFIG, "stages are components with names");
        names[n] = tn_intern(lua_tostring(L, -2));
        specs[n++] = spec;
    }
    for (guint i = 0; i < n; i++)
        if (!tn_host_confine(job->host, specs[i], &error))
            return tn_host_raise(L, error);
    tn_stages_set_tracer(tn_host_trace, job->host);
    g_ptr_array_set_size(job->steppers, 0);
    g_clear_pointer(&job->pipeline, tn_pipeline_free);
    job->pipeline = tn_pipeline_new(job->context, n, names, specs, &job->placing, &error);
    tn_stages_set_tracer(NULL, NULL);
    return job->pipeline ? 0 : tn_host_raise(L, error);
}

static TnPort *
check_port(lua_State *L, int index)
{
    const PortHandle *handle = luaL_checkudata(L, index, PORT);
    const TnJob *job = tn_host_of(L)->job;
    if (!job || job->pipeline != handle->pipeline)
        tn_host_raise_text(L, TN_ERROR_FAILED, "the port's pipeline is gone");
    return handle->port;
}

/* job:port(stage): the consumer's end; once per stage. */
static int
job_port(lua_State *L)
{
    TnJob *job = the_job(L);
    GError *error = NULL;
    const char *name = luaL_checkstring(L, 2);
    PortHandle *handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = (PortHandle){ NULL, NULL };
    luaL_setmetatable(L, PORT);
    handle->port = job->pipeline ? tn_pipeline_port(job->pipeline, name, &error) : NULL;
    if (!handle->port)
        return error ? tn_host_raise(L, error)
                     : tn_host_raise_text(L, TN_ERROR_FAILED, "the job has no pipeline yet");
    handle->pipeline = job->pipeline;
    return 1;
}

/* port:fields(): {{name =, dtype =, shape =}, …} */
static int
port_fields(lua_State *L)
{
    const TnSchema *schema = tn_port_schema(check_port(L, 1));
    lua_createtable(L, (int)schema->n, 0);
    for (guint i = 0; i < schema->n; i++) {
        lua_newtable(L);
        lua_pushstring(L, schema->names[i]);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, tn_dtype_name(schema->types[i].dtype));
        lua_setfield(L, -2, "dtype");
        tn_push_shape(L, &schema->types[i]);
        lua_setfield(L, -2, "shape");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* port:length(): frames and samples of an epoch; 0, 0: endless. */
static int
port_length(lua_State *L)
{
    const TnSchema *schema = tn_port_schema(check_port(L, 1));
    lua_pushinteger(L, schema->length);
    lua_pushinteger(L, schema->samples);
    return 2;
}

static int
port_seq(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tn_port_seq(check_port(L, 1)));
    return 1;
}

static int
port_seek(lua_State *L)
{
    TnPort *port = check_port(L, 1);
    tn_port_seek(port, (guint64)luaL_checkinteger(L, 2));
    return 0;
}

/* job:pipeline_state(), job:seek_pipeline(state): what a checkpoint holds of it. */
static int
job_pipeline_state(lua_State *L)
{
    TnJob *job = the_job(L);
    TnValueBox *box = tn_push_box(L, NULL);
    box->value = job->pipeline ? tn_pipeline_save(job->pipeline) : tn_value_map();
    tn_push_value(L, box->value);
    return 1;
}

static int
job_seek_pipeline(lua_State *L)
{
    TnJob *job = the_job(L);
    GError *error = NULL;
    const TnValue *state = tn_box_from(L, 2, "state");
    if (job->pipeline && !tn_pipeline_load(job->pipeline, state, &error))
        return tn_host_raise(L, error);
    return 0;
}

/* --- Functions, steppers ---------------------------------------------------------------------- */

/* job:func(graph, name): compiled when it runs; shown by `tenon show`. */
static int
job_func(lua_State *L)
{
    TnJob *job = the_job(L);
    TnGraph *graph = tn_to_graph(L, 2);
    const char *name = luaL_checkstring(L, 3);
    GError *error = NULL;
    if (!tn_graph_check(graph, &error))
        return tn_host_raise(L, error);
    TnFunction *function = tn_function_new(graph, job->context);
    g_ptr_array_add(job->functions, function);
    g_ptr_array_add(job->names, g_strdup(name));
    tn_push_function(L, function);
    return 1;
}

static StepperHandle *
check_stepper(lua_State *L)
{
    StepperHandle *handle = luaL_checkudata(L, 1, STEPPER);
    TnJob *job = tn_host_of(L)->job;
    if (!job || job != handle->job || !g_ptr_array_find(job->steppers, handle->stepper, NULL))
        tn_host_raise_text(L, TN_ERROR_FAILED, "the stepper's job is over");
    return handle;
}

/* job:stepper(function, port | nil) */
static int
job_stepper(lua_State *L)
{
    TnJob *job = the_job(L);
    TnFunction *function = tn_to_function(L, 2);
    TnPort *port = lua_isnoneornil(L, 3) ? NULL : check_port(L, 3);
    GError *error = NULL;
    StepperHandle *handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = (StepperHandle){ NULL, job };
    luaL_setmetatable(L, STEPPER);
    handle->stepper = tn_stepper_new(function, port, job->context, &error);
    if (!handle->stepper)
        return tn_host_raise(L, error);
    g_ptr_array_add(job->steppers, handle->stepper);
    return 1;
}

/* The error of a failed run: the stepper's own, or what a stage posted. */
static int
raise_step(lua_State *L, const TnJob *job, const TnStepper *stepper)
{
    const GError *why = tn_stepper_error(stepper);
    if (!why && job->pipeline)
        why = tn_pipeline_error(job->pipeline);
    return why ? tn_host_raise(L, g_error_copy(why))
               : tn_host_raise_text(L, TN_ERROR_FAILED, "a step failed and does not say why");
}

/* stepper:run(k [, seconds]): "ok" | "eos" | "cancelled", steps done, samples done. */
static int
stepper_run(lua_State *L)
{
    StepperHandle *handle = check_stepper(L);
    const lua_Integer k = luaL_checkinteger(L, 2);
    guint64 done, samples;
    tn_host_of(L)->writes++;
    const TnStatus status = tn_stepper_run(handle->stepper, (guint64)MAX(k, 0),
                                           luaL_optnumber(L, 3, 0), &done, &samples);
    if (status != TN_OK && status != TN_EOS && status != TN_CANCELLED)
        return raise_step(L, handle->job, handle->stepper);
    lua_pushstring(L, tn_status_name(status));
    lua_pushinteger(L, (lua_Integer)done);
    lua_pushinteger(L, (lua_Integer)samples);
    return 3;
}

/* stepper:output(name): a copy of the last step's output, nil if there is none. */
static int
stepper_output(lua_State *L)
{
    StepperHandle *handle = check_stepper(L);
    TnTensor *view = tn_stepper_output(handle->stepper, luaL_checkstring(L, 2));
    GError *error = NULL;
    if (!view)
        return 0;
    TnLuaTensor *result = tn_push_tensor(L);
    TnTensor *copy = tn_tensor_copy(view, NULL, TN_DTYPE_NONE, &error);
    if (!copy)
        return tn_host_raise(L, error);
    tn_fill_tensor(L, result, copy);
    return 1;
}

/* stepper:find_bad(k): steps with every tensor watched; the text of the first bad number or nil,
 * whole steps before it. */
static int
stepper_find_bad(lua_State *L)
{
    StepperHandle *handle = check_stepper(L);
    guint64 done = 0;
    TnValueBox *box = tn_push_box(L, NULL);
    tn_host_of(L)->writes++;
    char *text = tn_stepper_find_bad(handle->stepper, (guint64)luaL_checkinteger(L, 2), &done);
    if (text)
        box->value = tn_value_string(text);
    g_free(text);
    tn_push_value(L, box->value);
    lua_pushinteger(L, (lua_Integer)done);
    return 2;
}

/* --- Loggers ---------------------------------------------------------------------------------- */

/* job:loggers{spec, …} */
static int
job_loggers(lua_State *L)
{
    TnJob *job = the_job(L);
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
    TnJob *job = the_job(L);
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
    TnJob *job = the_job(L);
    const char *name = luaL_checkstring(L, 2), *text = luaL_checkstring(L, 4);
    if (job->loggers)
        tn_loggers_text(job->loggers, name, (guint64)luaL_checkinteger(L, 3), text);
    return 0;
}

/* job:histogram(name, step, tensor) */
static int
job_histogram(lua_State *L)
{
    TnJob *job = the_job(L);
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
    TnJob *job = the_job(L);
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
    TnJob *job = the_job(L);
    if (job->loggers)
        tn_loggers_flush(job->loggers);
    return 0;
}

/* --- Checkpoints ------------------------------------------------------------------------------ */

/* job:save(step, state, keep): FALSE without a run folder. */
static int
job_save(lua_State *L)
{
    TnJob *job = the_job(L);
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
    TnJob *job = the_job(L);
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
    const TnJob *job = the_job(L);
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
    TnJob *job = the_job(L);
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
    TnStore *store = tn_context_store(the_job(L)->context);
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
    const TnJob *job = the_job(L);
    if (job->run)
        tn_checkpoint_pin(job->run, (guint64)luaL_checkinteger(L, 2));
    return 0;
}

static int
job_unpin(lua_State *L)
{
    const TnJob *job = the_job(L);
    if (job->run)
        tn_checkpoint_unpin(job->run, (guint64)luaL_checkinteger(L, 2));
    return 0;
}

/* --- The rest --------------------------------------------------------------------------------- */

static int
job_folder(lua_State *L)
{
    const TnJob *job = the_job(L);
    if (!job->run)
        return 0;
    lua_pushstring(L, tn_run_path(job->run));
    return 1;
}

static int
job_resumed(lua_State *L)
{
    lua_pushboolean(L, the_job(L)->resume);
    return 1;
}

static int
job_is_cancelled(lua_State *L)
{
    lua_pushboolean(L, tn_context_cancelled(the_job(L)->context));
    return 1;
}

/* job:stopped(): it ends because it was told to. */
static int
job_stopped(lua_State *L)
{
    the_job(L)->cancelled = TRUE;
    return 0;
}

/* job:result{name = value}: what to say at the end. */
static int
job_result(lua_State *L)
{
    TnJob *job = the_job(L);
    TnValue *value = tn_box_from(L, 2, "result");
    g_clear_pointer(&job->result, tn_value_unref);
    job->result = tn_value_ref(value);
    return 0;
}

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
        { "memory_limit", job_memory_limit },
        { "precision", job_precision },
        { "device", job_device },
        { "device_later", job_device_later },
        { "pipeline", job_pipeline },
        { "port", job_port },
        { "pipeline_state", job_pipeline_state },
        { "seek_pipeline", job_seek_pipeline },
        { "func", job_func },
        { "stepper", job_stepper },
        { "loggers", job_loggers },
        { "scalar", job_scalar },
        { "text", job_text },
        { "histogram", job_histogram },
        { "progress", job_progress },
        { "flush", job_flush },
        { "save", job_save },
        { "export", job_export },
        { "newest", job_newest },
        { "load", job_load },
        { "reset", job_reset },
        { "pin", job_pin },
        { "unpin", job_unpin },
        { "folder", job_folder },
        { "resumed", job_resumed },
        { "cancelled", job_is_cancelled },
        { "stopped", job_stopped },
        { "result", job_result },
        { NULL, NULL },
    };
    static const luaL_Reg port[] = {
        { "fields", port_fields },
        { "length", port_length },
        { "seq", port_seq },
        { "seek", port_seek },
        { NULL, NULL },
    };
    static const luaL_Reg stepper[] = {
        { "run", stepper_run },
        { "output", stepper_output },
        { "find_bad", stepper_find_bad },
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
    tn_host_metatable(L, JOB, methods);
    tn_host_metatable(L, PORT, port);
    tn_host_metatable(L, STEPPER, stepper);
    lua_newuserdatauv(L, 1, 0);
    luaL_setmetatable(L, JOB);
    lua_setfield(L, LUA_REGISTRYINDEX, "tenon.job.handle");
    luaL_setfuncs(L, functions, 0);
    return 0;
}
