/* graph.c: graphs and their values as Lua sees them. A value is a graph and a node of it; it keeps the
 * graph. */
#include "host-private.h"
#include <tenon/base.h>

#include <string.h>

/* --- Values ----------------------------------------------------------------------------------- */

void
tn_push_val(lua_State *L, TnGraph *graph, TnVal val)
{
    TnLuaValue *handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = (TnLuaValue){ NULL, val };
    luaL_setmetatable(L, TN_VALUE);
    handle->graph = tn_graph_ref(graph);
}

TnLuaValue *
tn_to_val(lua_State *L, int index)
{
    TnLuaValue *handle = luaL_testudata(L, index, TN_VALUE);
    if (handle && !handle->graph)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "the value's graph was closed");
    return handle;
}

static int
value_gc(lua_State *L)
{
    TnLuaValue *handle = luaL_checkudata(L, 1, TN_VALUE);
    g_clear_pointer(&handle->graph, tn_graph_unref);
    return 0;
}

/* Pushes text and frees it. */
static int
push_text(lua_State *L, TnValueBox *box, char *text)
{
    box->value = tn_value_string(text);
    g_free(text);
    lua_pushstring(L, tn_value_get_string(box->value));
    return 1;
}

static int
value_tostring(lua_State *L)
{
    const TnLuaValue *value = tn_to_val(L, 1);
    TnValueBox *box = tn_push_box(L, NULL);
    g_autofree char *type = tn_type_print(tn_graph_type(value->graph, value->val));
    char *text = g_strdup_printf("value %s of '%s'", type,
                                 tn_graph_node_name(value->graph, value->val.node));
    g_free(g_steal_pointer(&type));
    return push_text(L, box, text);
}

/* --- Graphs ----------------------------------------------------------------------------------- */

static TnGraph **
check_graph(lua_State *L, int index)
{
    TnGraph **handle = luaL_checkudata(L, index, TN_GRAPH);
    if (!*handle)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "the graph was closed");
    return handle;
}

TnGraph *
tn_to_graph(lua_State *L, int index)
{
    return *check_graph(L, index);
}

static int
graph_gc(lua_State *L)
{
    TnGraph **handle = luaL_checkudata(L, 1, TN_GRAPH);
    g_clear_pointer(handle, tn_graph_unref);
    return 0;
}

TnGraph **
tn_push_graph(lua_State *L, TnGraph *graph)
{
    TnGraph **handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = NULL;
    luaL_setmetatable(L, TN_GRAPH);
    if (graph)
        *handle = tn_graph_ref(graph);
    return handle;
}

/* graph(name) */
static int
graph(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    TnGraph **handle = tn_push_graph(L, NULL);
    *handle = tn_graph_new(name);
    return 1;
}

void
tn_host_check_graph(lua_State *L, TnGraph *g)
{
    GError *error = NULL;
    if (!tn_graph_check(g, &error))
        tn_host_raise(L, error);
}

/* g:input(name, dtype, shape) */
static int
graph_input(lua_State *L)
{
    TnGraph *g = tn_to_graph(L, 1);
    const TnType type = tn_check_type(L, luaL_checkstring(L, 3), 4);
    const TnVal val = tn_graph_input(g, luaL_checkstring(L, 2), type);
    tn_host_check_graph(L, g);
    tn_push_val(L, g, val);
    return 1;
}

TnVal
tn_number_in_graph(lua_State *L, int index, TnGraph *graph, TnDtype dtype, const char *who,
                   const char *hint)
{
    TnTensor *tensor = tn_number_scalar(L, index, dtype, who, hint);
    const TnVal val = tn_graph_constant(graph, tensor);
    tn_tensor_unref(tensor);
    return val;
}

/* g:scalar(dtype, number) */
static int
graph_scalar(lua_State *L)
{
    TnGraph *g = tn_to_graph(L, 1);
    const TnType type = tn_check_type(L, luaL_checkstring(L, 2), 4);
    const TnVal val = tn_number_in_graph(L, 3, g, type.dtype, NULL, NULL);
    tn_host_check_graph(L, g);
    tn_push_val(L, g, val);
    return 1;
}

/* g:value(x): any operand as a value of this graph. */
static int
graph_value(lua_State *L)
{
    TnGraph *g = tn_to_graph(L, 1);
    TnVal val;
    if (lua_type(L, 2) == LUA_TNUMBER)
        val = tn_number_in_graph(L, 2, g, TN_DTYPE_F32, NULL, NULL);
    else
        val = tn_operand_in_graph(L, 2, g);
    tn_host_check_graph(L, g);
    tn_push_val(L, g, val);
    return 1;
}

/* g:output(name, x) */
static int
graph_output(lua_State *L)
{
    TnGraph *g = tn_to_graph(L, 1);
    const char *name = luaL_checkstring(L, 2);
    tn_graph_output(g, name, tn_operand_in_graph(L, 3, g));
    tn_host_check_graph(L, g);
    return 0;
}

static int
graph_push(lua_State *L)
{
    tn_graph_push(tn_to_graph(L, 1), luaL_checkstring(L, 2));
    return 0;
}

static int
graph_pop(lua_State *L)
{
    tn_graph_pop(tn_to_graph(L, 1));
    return 0;
}

static int
graph_scope(lua_State *L)
{
    lua_pushstring(L, tn_graph_scope(tn_to_graph(L, 1)));
    return 1;
}

static int
graph_n_nodes(lua_State *L)
{
    lua_pushinteger(L, tn_graph_n_nodes(tn_to_graph(L, 1)));
    return 1;
}

static int
graph_tostring(lua_State *L)
{
    TnGraph *g = tn_to_graph(L, 1);
    TnValueBox *box = tn_push_box(L, NULL);
    return push_text(L, box, tn_graph_print(g));
}

/* --- Building --------------------------------------------------------------------------------- */

int
tn_host_build(lua_State *L)
{
    TnHost *host = tn_host_of(L);
    TnGraph *before = host->build.graph;
    const guint no_grad = host->no_grad;
    if (!before)
        host->no_grad = 0; /* who calls the program later is not within it */
    host->build.graph = lua_isnil(L, 1) ? NULL : tn_to_graph(L, 1);
    const int status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
    host->build.graph = before;
    host->no_grad = no_grad;
    if (status != LUA_OK)
        return lua_error(L);
    return lua_gettop(L) - 1;
}

/* current_graph(): the graph that is built at present, or nil. */
static int
current_graph(lua_State *L)
{
    TnHost *host = tn_host_of(L);
    if (!host->build.graph)
        return 0;
    tn_push_graph(L, host->build.graph);
    return 1;
}

int
tn_graph_open(lua_State *L)
{
    static const luaL_Reg value[] = { { "__gc", value_gc },
                                      { "__close", value_gc },
                                      { "__tostring", value_tostring },
                                      { NULL, NULL } };
    static const luaL_Reg graph_methods[] = {
        { "__gc", graph_gc },
        { "__close", graph_gc },
        { "__tostring", graph_tostring },
        { "input", graph_input },
        { "scalar", graph_scalar },
        { "value", graph_value },
        { "output", graph_output },
        { "push", graph_push },
        { "pop", graph_pop },
        { "scope", graph_scope },
        { "n_nodes", graph_n_nodes },
        { "macs", tn_host_macs },
        { "close", graph_gc },
        { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "graph", graph },
        { "build", tn_host_build },
        { "current_graph", current_graph },
        { NULL, NULL },
    };
    tn_host_metatable(L, TN_VALUE, value);
    tn_host_metatable(L, TN_GRAPH, graph_methods);
    luaL_setfuncs(L, functions, 0);
    return 0;
}
