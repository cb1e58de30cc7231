/* job-stepper.c: what a job component in Lua may do with graphs: functions of them, and steppers that run one
 * over and over. */
#include "job-private.h"

#define STEPPER "tenon.stepper"

typedef struct {
    TnStepper *stepper;
    TnJob *job;
} StepperHandle;

/* job:func(graph, name): compiled when it runs; shown by `tenon show`. */
static int
job_func(lua_State *L)
{
    TnJob *job = tn_job_of(L);
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
    TnJob *job = tn_job_of(L);
    TnFunction *function = tn_to_function(L, 2);
    TnPort *port = lua_isnoneornil(L, 3) ? NULL : tn_check_port(L, 3);
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

int
tn_job_stepper_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "func", job_func },
        { "stepper", job_stepper },
        { NULL, NULL },
    };
    static const luaL_Reg stepper[] = {
        { "run", stepper_run },
        { "output", stepper_output },
        { "find_bad", stepper_find_bad },
        { NULL, NULL },
    };
    tn_host_metatable(L, TN_JOB_HANDLE, methods);
    tn_host_metatable(L, STEPPER, stepper);
    return 0;
}
