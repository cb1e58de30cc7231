/* function.c: functions as Lua sees them: graphs that are compiled when they are called with tensors; and
 * functions of a config, traced into graphs. */
#include "host-private.h"

#include <stdlib.h>

void
tn_push_function(lua_State *L, TnFunction *function)
{
    TnFunction **handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = NULL;
    luaL_setmetatable(L, TN_FUNCTION);
    if (function)
        *handle = tn_function_ref(function);
}

TnFunction *
tn_to_function(lua_State *L, int index)
{
    TnFunction **handle = luaL_checkudata(L, index, TN_FUNCTION);
    if (!*handle)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "the function was closed");
    return *handle;
}

static int
function_gc(lua_State *L)
{
    TnFunction **handle = luaL_checkudata(L, 1, TN_FUNCTION);
    g_clear_pointer(handle, tn_function_unref);
    return 0;
}

/* func(graph): compiled when it is called, once per set of shapes. */
static int
func(lua_State *L)
{
    TnGraph *g = tn_to_graph(L, 1);
    TnContext *context = tn_host_context(L);
    tn_push_function(L, NULL);
    TnFunction **handle = lua_touserdata(L, -1);
    tn_host_check_graph(L, g);
    *handle = tn_function_new(g, context);
    return 1;
}

/* f:call(tensor, …): its outputs as tensors. */
static int
function_call(lua_State *L)
{
    TnFunction *function = tn_to_function(L, 1);
    const guint n = (guint)lua_gettop(L) - 1;
    const guint n_out = tn_graph_n_outputs(tn_function_graph(function));
    GError *error = NULL;
    if (n != tn_graph_n_inputs(tn_function_graph(function)))
        return tn_host_raise_text(L, TN_ERROR_CONFIG, "the function takes %u tensors, got %u",
                                  tn_graph_n_inputs(tn_function_graph(function)), n);
    luaL_checkstack(L, (int)n_out + 4, "outputs");
    TnTensor **in = lua_newuserdatauv(L, (n + n_out + 1) * sizeof *in, 0), **out = in + n;
    for (guint i = 0; i < n; i++) {
        const TnLuaTensor *tensor = tn_to_tensor(L, (int)i + 2);
        if (!tensor)
            return tn_host_raise_text(L, TN_ERROR_CONFIG, "argument %u is %s, not a tensor", i + 1,
                                      tn_to_variable(L, (int)i + 2)
                                          ? "a variable (v:read() is its tensor)"
                                          : luaL_typename(L, (int)i + 2));
        in[i] = tensor->tensor;
    }
    const int first = lua_gettop(L) + 1;
    for (guint i = 0; i < n_out; i++)
        tn_push_tensor(L);
    tn_host_of(L)->writes++; /* it may assign */
    if (!tn_function_call(function, n, in, out, &error))
        return tn_host_raise(L, error);
    for (guint i = 0; i < n_out; i++) { /* all first: fill may collect, which may raise */
        TnLuaTensor *handle = lua_touserdata(L, first + (int)i);
        handle->tensor = out[i];
    }
    for (guint i = 0; i < n_out; i++)
        tn_fill_tensor(L, lua_touserdata(L, first + (int)i), out[i]);
    return (int)n_out;
}

/* --- Tracing a function of a config ----------------------------------------------------------- */

/* The fields of in as inputs: a table {name = value} on the stack. */
static void
push_batch(lua_State *L, TnGraph *g, const TnSchema *in)
{
    lua_newtable(L);
    for (guint i = 0; i < in->n; i++) {
        tn_push_val(L, g, tn_graph_input(g, in->names[i], in->types[i]));
        lua_setfield(L, -2, in->names[i]);
    }
}

static gint
by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The table at the top, {name = value}, as outputs in the order of their names. */
static void
take_outputs(lua_State *L, TnGraph *g)
{
    const char *names[TN_MAX_FIELDS];
    guint n = 0;
    if (lua_type(L, -1) != LUA_TTABLE)
        tn_host_raise_text(L, TN_ERROR_CONFIG,
                           "the function gives a %s; a table of fields was expected, as in { image "
                           "= …, label = … }",
                           luaL_typename(L, -1));
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || n == TN_MAX_FIELDS)
            tn_host_raise_text(L, TN_ERROR_CONFIG,
                               "the function gives fields with names, at most %d", TN_MAX_FIELDS);
        names[n++] = tn_intern(lua_tostring(L, -2));
    }
    qsort(names, n, sizeof *names, by_text);
    for (guint i = 0; i < n; i++) {
        TnType type;
        lua_getfield(L, -1, names[i]);
        if (!tn_operand_type(L, -1, &type))
            tn_host_raise_text(L, TN_ERROR_CONFIG, "the field '%s' is a %s; a value was expected",
                               names[i], luaL_typename(L, -1));
        tn_graph_output(g, names[i], tn_operand_in_graph(L, -1, g));
        lua_pop(L, 1);
    }
}

typedef struct {
    const TnValue *function;
    const TnSchema *in;
} Trace;

/* (trace) -> graph handle */
static int
trace(lua_State *L)
{
    TnHost *host = tn_host_of(L);
    const Trace *what = lua_touserdata(L, 1);
    TnGraph **handle = tn_push_graph(L, NULL);
    *handle = tn_graph_new("map");
    lua_pushcfunction(L, tn_host_build);
    lua_pushvalue(L, 2);
    if (!tn_push_func(L, what->function))
        return tn_host_raise_text(L, TN_ERROR_CONFIG, "a function was wanted%s",
                                  host->lost ? " (its state is gone)" : "");
    push_batch(L, *handle, what->in);
    lua_call(L, 3, 1);
    take_outputs(L, *handle);
    lua_settop(L, 2);
    return 1;
}

TnGraph *
tn_host_trace(const TnValue *function, const TnSchema *in, gpointer data, GError **error)
{
    TnHost *host = data;
    lua_State *L = host->L;
    Trace what = { function, in };
    lua_pushcfunction(L, trace);
    lua_pushlightuserdata(L, &what);
    if (!tn_host_call(host, 1, 1, error))
        return NULL;
    TnGraph *result = tn_graph_ref(*(TnGraph **)lua_touserdata(L, -1));
    lua_pop(L, 1);
    return result;
}

int
tn_function_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "__gc", function_gc },   { "__close", function_gc }, { "__call", function_call },
        { "call", function_call }, { "close", function_gc },   { NULL, NULL },
    };
    static const luaL_Reg functions[] = { { "func", func }, { NULL, NULL } };
    tn_host_metatable(L, TN_FUNCTION, methods);
    luaL_setfuncs(L, functions, 0);
    return 0;
}
