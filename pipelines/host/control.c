/* control.c: control flow as Lua builds it: graphs within a graph, and the nodes that run them. What a
 * config calls is pipelines/lua/tenon/control.lua. */
#include "host-private.h"

static void
check_ok(lua_State *L, TnGraph *graph)
{
    GError *error = NULL;
    if (!tn_graph_check(graph, &error))
        tn_host_raise(L, error);
}

/* nested(graph, name): a graph for one node of graph. */
static int
nested(lua_State *L)
{
    TnGraph *graph = tn_to_graph(L, 1);
    const char *name = luaL_checkstring(L, 2);
    TnGraph **handle = tn_push_graph(L, NULL);
    *handle = tn_graph_nested(graph, name);
    return 1;
}

/* Values of the list at index, in graph. */
static gint
list_values(lua_State *L, int index, TnGraph *graph, TnVal *out)
{
    luaL_checktype(L, index, LUA_TTABLE);
    const gint n = (gint)lua_rawlen(L, index);
    if (n > TN_MAX_IN)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "%d values; at most %d are possible", n, TN_MAX_IN);
    for (gint i = 0; i < n; i++) {
        lua_rawgeti(L, index, i + 1);
        out[i] = tn_operand_in_graph(L, -1, graph);
        lua_pop(L, 1);
    }
    return n;
}

static int
push_values(lua_State *L, TnGraph *graph, gint n, const TnVal *val)
{
    check_ok(L, graph);
    lua_createtable(L, n, 0);
    for (gint i = 0; i < n; i++) {
        tn_push_val(L, graph, val[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* control_if(graph, condition, then, else): a list. */
static int
control_if(lua_State *L)
{
    TnGraph *graph = tn_to_graph(L, 1), *then = tn_to_graph(L, 3), *otherwise = tn_to_graph(L, 4);
    const TnVal condition = tn_operand_in_graph(L, 2, graph);
    TnVal out[TN_MAX_OUT];
    tn_graph_if(graph, condition, then, otherwise, out);
    return push_values(L, graph, (gint)tn_graph_n_outputs(then), out);
}

/* control_while(graph, condition, body, states, max_iterations | 0): a list. */
static int
control_while(lua_State *L)
{
    TnGraph *graph = tn_to_graph(L, 1), *body = tn_to_graph(L, 3);
    const TnVal condition = tn_operand_in_graph(L, 2, graph);
    TnVal states[TN_MAX_IN], out[TN_MAX_OUT];
    const gint n = list_values(L, 4, graph, states);
    tn_graph_while(graph, condition, body, n, states, (gint64)luaL_checkinteger(L, 5), out);
    return push_values(L, graph, n, out);
}

/* control_scan(graph, body, states, xs, reverse): a list, states first. */
static int
control_scan(lua_State *L)
{
    TnGraph *graph = tn_to_graph(L, 1), *body = tn_to_graph(L, 2);
    TnVal states[TN_MAX_IN], xs[TN_MAX_IN], out[TN_MAX_OUT];
    const gint n_states = list_values(L, 3, graph, states), n_xs = list_values(L, 4, graph, xs);
    tn_graph_scan(graph, body, n_states, states, n_xs, xs, lua_toboolean(L, 5), out);
    return push_values(L, graph, (gint)tn_graph_n_outputs(body), out);
}

int
tn_control_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "nested", nested },
        { "control_if", control_if },
        { "control_while", control_while },
        { "control_scan", control_scan },
        { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
    return 0;
}
