/* job-pipeline.c: what a job component in Lua may do with its pipeline: make it, pull from its stages through
 * ports, save and restore where it is. */
#include "job-private.h"

#define PORT "tenon.port"

typedef struct {
    TnPort *port;
    TnPipeline *pipeline; /* the one it belongs to */
} PortHandle;

/* job:pipeline{name = spec}: creates and opens the pure stages among them. */
static int
job_pipeline(lua_State *L)
{
    enum { MOST = 256 };
    TnJob *job = tn_job_of(L);
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

TnPort *
tn_check_port(lua_State *L, int index)
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
    TnJob *job = tn_job_of(L);
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
    const TnSchema *schema = tn_port_schema(tn_check_port(L, 1));
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
    const TnSchema *schema = tn_port_schema(tn_check_port(L, 1));
    lua_pushinteger(L, schema->length);
    lua_pushinteger(L, schema->samples);
    return 2;
}

static int
port_seq(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tn_port_seq(tn_check_port(L, 1)));
    return 1;
}

static int
port_seek(lua_State *L)
{
    TnPort *port = tn_check_port(L, 1);
    tn_port_seek(port, (guint64)luaL_checkinteger(L, 2));
    return 0;
}

/* job:pipeline_state(), job:seek_pipeline(state): what a checkpoint holds of it. */
static int
job_pipeline_state(lua_State *L)
{
    TnJob *job = tn_job_of(L);
    TnValueBox *box = tn_push_box(L, NULL);
    box->value = job->pipeline ? tn_pipeline_save(job->pipeline) : tn_value_map();
    tn_push_value(L, box->value);
    return 1;
}

static int
job_seek_pipeline(lua_State *L)
{
    TnJob *job = tn_job_of(L);
    GError *error = NULL;
    const TnValue *state = tn_box_from(L, 2, "state");
    if (job->pipeline && !tn_pipeline_load(job->pipeline, state, &error))
        return tn_host_raise(L, error);
    return 0;
}

int
tn_job_pipeline_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "pipeline", job_pipeline },
        { "port", job_port },
        { "pipeline_state", job_pipeline_state },
        { "seek_pipeline", job_seek_pipeline },
        { NULL, NULL },
    };
    static const luaL_Reg port[] = {
        { "fields", port_fields },
        { "length", port_length },
        { "seq", port_seq },
        { "seek", port_seek },
        { NULL, NULL },
    };
    tn_host_metatable(L, TN_JOB_HANDLE, methods);
    tn_host_metatable(L, PORT, port);
    return 0;
}
