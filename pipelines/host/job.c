/* job.c: a job's life: the component that the config returns is made, told to prepare, and run.
 * What it does is Lua (tenon/experiment.lua); what it holds is here, so that it goes away in the
 * right order. */
#include "job-private.h"

#include <tenon/base.h>

/* (job): the component's instance, prepared, into the registry. */
static int
prepare(lua_State *L)
{
    TnJob *job = lua_touserdata(L, 1);
    const char *method = job->here ? "prepare_stage" : "prepare";
    if (!tn_host_class(job->host, tn_spec_iface(job->root), tn_spec_component(job->root)))
        return tn_host_raise_text(L, TN_ERROR_UNSUPPORTED, "job '%s' is not written in Lua",
                                  tn_spec_component(job->root));
    tn_push_instance(L, job->root, NULL);
    lua_pushvalue(L, -1);
    job->instance = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_getfield(L, -1, method);
    if (lua_isnil(L, -1))
        return tn_host_raise_text(L, TN_ERROR_CONFIG, "a job '%s' has no stages",
                                  tn_spec_component(job->root));
    lua_insert(L, -2);
    lua_getfield(L, LUA_REGISTRYINDEX, "tenon.job.handle");
    lua_pushstring(L, job->here);
    lua_call(L, 3, 0);
    return 0;
}

/* --- Kernels and devices ---------------------------------------------------------------------- */

/* why names the file. A run's own table cannot be had again. */
static void
say_unused(const GError *why, gboolean machine)
{
    tn_log("run", TN_LOG_WARN, "%s; kernels are chosen without it%s", why->message,
           machine ? ", `tenon tune --anew` makes another" : "");
}

/* What was measured is used, or said to be of no use: one warning. Without a table nothing is said. */
static void
take_costs(TnJob *job, const char *path, gboolean machine)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnCosts) costs = tn_costs_load(path, machine, machine ? &job->costs : NULL, &error);
    tn_context_set_costs(job->context, costs);
    if (!costs && !g_error_matches(error, TN_ERROR, TN_ERROR_NOT_FOUND))
        say_unused(error, machine);
}

gboolean
tn_job_add_device(TnJob *job, const char *name, GError **error)
{
    g_autoptr(GError) why = NULL;
    TnDevice *device = tn_device_open(name, job->context, error);
    if (!device)
        return FALSE;
    tn_context_add_device(job->context, device);
    tn_device_unref(device);
    if (job->costs && !tn_costs_fit(job->costs, &why)) {
        g_autofree char *path = tn_costs_path();
        g_prefix_error(&why, "%s: ", path);
        say_unused(why, TRUE);
        g_clear_pointer(&job->costs, tn_value_unref);
        tn_context_set_costs(job->context, NULL);
    }
    return TRUE;
}

/* The kernels that the run began with are those it goes on with, also in its stages' own processes.
 * That there is no provenance, or none yet, is said where it is compared. FALSE: there is none. */
static gboolean
choose_as_stored(TnJob *job, TnRunDir *run)
{
    g_autoptr(TnValue) provenance = run ? tn_run_get_json(run, TN_PROVENANCE, NULL) : NULL;
    TnValue *placed = provenance ? tn_value_get(provenance, TN_PROVENANCE_PLACED) : NULL;
    if (job->here && placed)
        tn_context_set_choices(job->context, tn_value_get(placed, job->here));
    else if (provenance)
        tn_context_set_choices(job->context, tn_value_get(provenance, TN_PROVENANCE_CHOICES));
    if (provenance) {
        g_autofree char *path = g_build_filename(tn_run_path(run), TN_RUN_COSTS, NULL);
        take_costs(job, path, FALSE);
    }
    return provenance != NULL;
}

/* By what is stored, if the job goes on with something; else by what was measured on this machine. */
static void
choose_kernels(TnJob *job)
{
    g_autoptr(TnRunDir) kept =
        job->here && job->host->kept ? tn_run_open(NULL, job->host->kept, FALSE, NULL) : NULL;
    g_autofree char *path = tn_costs_path();
    if (!choose_as_stored(job, job->resume ? job->run : kept) && path)
        take_costs(job, path, TRUE);
}

static TnJob *
prepare_job(TnHost *host, TnSpec *root, TnRunDir *run, gboolean resume, const char *stage,
            gboolean single, GError **error)
{
    g_autoptr(TnJob) job = g_new0(TnJob, 1);
    g_return_val_if_fail(!host->job, NULL); /* one at a time */
    job->host = host;
    job->root = tn_spec_ref(root);
    job->context = tn_context_new();
    tn_context_set_watch(job->context, host->watch);
    job->run = run;
    job->resume = resume;
    job->digest = tn_host_digest(host);
    job->here = g_strdup(stage);
    job->typed = tn_host_typed(host);
    job->placing = (TnPlacing){ .launch = (const char *const *)host->launch,
                                .digest = job->digest,
                                .here = job->here,
                                .single = single,
                                .typed = job->typed };
    job->later = g_ptr_array_new_with_free_func(g_free);
    job->steppers = g_ptr_array_new_with_free_func((GDestroyNotify)tn_stepper_free);
    job->functions = g_ptr_array_new_with_free_func((GDestroyNotify)tn_function_unref);
    job->names = g_ptr_array_new_with_free_func(g_free);
    job->instance = LUA_NOREF;
    choose_kernels(job);
    host->job = job;
    lua_pushcfunction(host->L, prepare);
    lua_pushlightuserdata(host->L, job);
    const gint64 begin = tn_span_begin(job->context);
    const gboolean ok = tn_host_call(host, 1, 0, error);
    tn_span_end(job->context, "prepare", "", begin);
    return ok ? g_steal_pointer(&job) : NULL;
}

void
tn_host_set_watch(TnHost *host, const TnWatch *watch)
{
    host->watch = watch;
}

TnJob *
tn_job_prepare(TnHost *host, TnSpec *root, TnRunDir *run, gboolean resume, GError **error)
{
    return prepare_job(host, root, run, resume, NULL, FALSE, error);
}

TnJob *
tn_job_prepare_stage(TnHost *host, TnSpec *root, const char *stage, gboolean single, GError **error)
{
    return prepare_job(host, root, NULL, FALSE, stage, single, error);
}

gboolean
tn_job_serve(TnJob *job, const TnServe *serve, GError **error)
{
    TnServe own = *serve;
    own.placing = &job->placing;
    own.stage = job->here;
    return tn_stage_serve(job->pipeline, job->context, &own, error);
}

void
tn_job_free(TnJob *job)
{
    if (!job)
        return;
    TnHost *host = job->host;
    luaL_unref(host->L, LUA_REGISTRYINDEX, job->instance);
    host->job = NULL;
    tn_loggers_free(job->loggers);
    g_ptr_array_unref(job->steppers);
    tn_pipeline_free(job->pipeline);
    g_ptr_array_unref(job->functions);
    g_ptr_array_unref(job->names);
    g_ptr_array_unref(job->later);
    tn_value_unref(job->result);
    tn_value_unref(job->progress);
    tn_value_unref(job->places);
    tn_value_unref(job->costs);
    tn_spec_unref(job->root);
    tn_context_unref(job->context);
    g_free(job->digest);
    g_free(job->typed);
    g_free(job->here);
    g_free(job);
}

TnContext *
tn_job_context(TnJob *job)
{
    return job->context;
}

/* (job, name of a method) -> what it gives */
static int
call_method(lua_State *L)
{
    TnJob *job = lua_touserdata(L, 1);
    /* The component's own method, never an option of that name. */
    lua_rawgeti(L, LUA_REGISTRYINDEX, job->instance);
    lua_getmetatable(L, -1);
    lua_getfield(L, -1, lua_tostring(L, 2));
    lua_remove(L, -2);
    if (lua_isnil(L, -1))
        return 0;
    lua_insert(L, -2);
    lua_getfield(L, LUA_REGISTRYINDEX, "tenon.job.handle");
    lua_call(L, 2, 1);
    return 1;
}

/* The result is at the top of the stack. */
static gboolean
run_method(TnJob *job, const char *name, GError **error)
{
    lua_State *L = job->host->L;
    lua_pushcfunction(L, call_method);
    lua_pushlightuserdata(L, job);
    lua_pushstring(L, name);
    return tn_host_call(job->host, 2, 1, error);
}

TnStatus
tn_job_run(TnJob *job, GError **error)
{
    GError *why = NULL;
    job->host->settled = TRUE;
    const gint64 begin = tn_span_begin(job->context);
    const gboolean ok = run_method(job, "run", &why);
    tn_span_end(job->context, "job", "", begin);
    if (!ok) {
        const TnStatus status =
            g_error_matches(why, TN_ERROR, TN_ERROR_CANCELLED) ? TN_CANCELLED : TN_FAILED;
        g_propagate_error(error, why);
        return status;
    }
    lua_pop(job->host->L, 1);
    return job->cancelled ? TN_CANCELLED : TN_OK;
}

guint
tn_job_n_functions(const TnJob *job)
{
    return job->functions->len;
}

TnFunction *
tn_job_function(const TnJob *job, guint i, const char **name)
{
    if (i >= job->functions->len)
        return NULL;
    if (name)
        *name = job->names->pdata[i];
    return job->functions->pdata[i];
}

TnStepper *
tn_job_stepper(const TnJob *job, const TnFunction *function)
{
    for (guint i = 0; i < job->steppers->len; i++)
        if (tn_stepper_function(job->steppers->pdata[i]) == function)
            return job->steppers->pdata[i];
    return NULL;
}

char *
tn_job_summary(TnJob *job, GError **error)
{
    lua_State *L = job->host->L;
    if (!run_method(job, "summary", error))
        return NULL;
    char *text = g_strdup(lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "");
    lua_pop(L, 1);
    return text;
}

const TnValue *
tn_job_placed(const TnJob *job, guint i, const char **name)
{
    return job->pipeline ? tn_pipeline_placed(job->pipeline, i, name) : NULL;
}

TnGraph *
tn_job_stage_graph(const TnJob *job, guint i, const char **name)
{
    return job->pipeline ? tn_pipeline_graph(job->pipeline, i, name) : NULL;
}

TnValue *
tn_job_data(const TnJob *job)
{
    return job->pipeline ? tn_pipeline_data(job->pipeline) : tn_value_map();
}

TnValue *
tn_job_progress(const TnJob *job)
{
    return job->progress ? tn_value_ref(job->progress) : tn_value_map();
}

TnValue *
tn_job_result(TnJob *job)
{
    return job->result ? tn_value_ref(job->result) : tn_value_map();
}
