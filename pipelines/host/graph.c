/* graph.c: graphs, their values and functions as Lua sees them. A value is a graph and a node of
 * it; it keeps the graph. */
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

static void
check_ok(lua_State *L, TnGraph *g)
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
    check_ok(L, g);
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
    check_ok(L, g);
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
    check_ok(L, g);
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
    check_ok(L, g);
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

/* --- Multiply-adds ---------------------------------------------------------------------------- */

static gint64
count(const TnGraph *g, TnVal val)
{
    return tn_type_count(tn_graph_type(g, val));
}

/* Products of a sum of products: out elements times what each sums over. */
static double
macs_matmul(const TnGraph *g, const TnVal *in, TnVal out)
{
    const TnType *a = tn_graph_type(g, in[0]);
    return (double)count(g, out) * (double)(a->rank ? a->dims[a->rank - 1] : 0);
}

static double
macs_gemm(const TnGraph *g, const TnVal *in, TnVal out)
{
    const gint64 rows = tn_graph_type(g, out)->dims[0];
    return rows ? (double)count(g, out) * (double)(count(g, in[0]) / rows) : 0;
}

static double
macs_conv(const TnGraph *g, const TnVal *in, TnVal out)
{
    const gint64 maps = tn_graph_type(g, in[1])->dims[0];
    return maps ? (double)count(g, out) * (double)(count(g, in[1]) / maps) : 0;
}

static double
macs_conv_transpose(const TnGraph *g, const TnVal *in, TnVal out)
{
    (void)out;
    const gint64 maps = tn_graph_type(g, in[1])->dims[0];
    return maps ? (double)count(g, in[0]) * (double)(count(g, in[1]) / maps) : 0;
}

static double
macs_attention(const TnGraph *g, const TnVal *in, TnVal out)
{
    const TnType *k = tn_graph_type(g, in[1]);
    const double keys = (double)k->dims[k->rank - 2];
    return keys * (double)(count(g, in[0]) + count(g, out));
}

/* rnn_cell and gru_cell: x, h, w_ih, w_hh; lstm_cell has c before the weights. */
static double
macs_cell(const TnGraph *g, const TnVal *in, TnVal out)
{
    const gint first = tn_graph_type(g, in[2])->dims[0] == tn_graph_type(g, in[0])->dims[0] &&
                               tn_type_equal(tn_graph_type(g, in[2]), tn_graph_type(g, in[1]))
                           ? 3
                           : 2;
    (void)out;
    return (double)tn_graph_type(g, in[0])->dims[0] *
           (double)(count(g, in[first]) + count(g, in[first + 1]));
}

/* The same of a sequence: x is [steps, N, I], and lstm has another output. */
static double
macs_sequence(const TnGraph *g, const TnVal *in, TnVal out)
{
    const gint first = tn_graph_node_n_outputs(g, out.node) == 3 ? 3 : 2;
    const TnType *x = tn_graph_type(g, in[0]);
    return (double)x->dims[0] * (double)x->dims[1] *
           (double)(count(g, in[first]) + count(g, in[first + 1]));
}

/* g:macs(from, to): multiply-adds of nodes from .. to - 1 at the sizes the graph was built with. */
static int
graph_macs(lua_State *L)
{
    static const struct {
        const char *op;
        double (*macs)(const TnGraph *, const TnVal *, TnVal);
    } rows[] = {
        { "matmul", macs_matmul },
        { "linear", macs_matmul },
        { "gemm", macs_gemm },
        { "conv", macs_conv },
        { "conv_bias", macs_conv },
        { "conv_transpose", macs_conv_transpose },
        { "conv_transpose_bias", macs_conv_transpose },
        { "scaled_dot_product_attention", macs_attention },
        { "rnn_cell", macs_cell },
        { "lstm_cell", macs_cell },
        { "gru_cell", macs_cell },
        { "rnn", macs_sequence },
        { "lstm", macs_sequence },
        { "gru", macs_sequence },
    };
    TnGraph *g = tn_to_graph(L, 1);
    const lua_Integer to = luaL_checkinteger(L, 3);
    double sum = 0;
    for (lua_Integer node = luaL_checkinteger(L, 2);
         node < to && node < (lua_Integer)tn_graph_n_nodes(g); node++) {
        const TnVal *in;
        const char *name = tn_graph_node_op(g, (guint)node)->name;
        tn_graph_node_inputs(g, (guint)node, &in);
        for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
            if (strcmp(rows[i].op, name) == 0)
                sum += rows[i].macs(g, in, (TnVal){ (guint32)node, 0 });
    }
    lua_pushnumber(L, sum);
    return 1;
}

/* --- Building --------------------------------------------------------------------------------- */

/* build(graph | nil, f, …): calls f with graph as what is built at present, and puts back what was
 * before, come what may. */
static int
build(lua_State *L)
{
    TnHost *host = tn_host_of(L);
    TnGraph *before = host->build.graph;
    host->build.graph = lua_isnil(L, 1) ? NULL : tn_to_graph(L, 1);
    const int status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
    host->build.graph = before;
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

/* --- Functions -------------------------------------------------------------------------------- */

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
    check_ok(L, g);
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
    lua_pushcfunction(L, build);
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
        { "macs", graph_macs },
        { "close", graph_gc },
        { NULL, NULL },
    };
    static const luaL_Reg function_methods[] = {
        { "__gc", function_gc },   { "__close", function_gc }, { "__call", function_call },
        { "call", function_call }, { "close", function_gc },   { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "graph", graph }, { "build", build }, { "current_graph", current_graph },
        { "func", func },   { NULL, NULL },
    };
    tn_host_metatable(L, TN_VALUE, value);
    tn_host_metatable(L, TN_GRAPH, graph_methods);
    tn_host_metatable(L, TN_FUNCTION, function_methods);
    luaL_setfuncs(L, functions, 0);
    return 0;
}
