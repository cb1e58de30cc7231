/* variable.c: variables as Lua sees them: made or found again in the present store, read, written, assigned. A
 * handle keeps the context, and with it the store. */
#include "host-private.h"

#include <math.h>
#include <string.h>

TnLuaVar *
tn_push_variable(lua_State *L, TnVar *var, TnContext *context)
{
    TnLuaVar *handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = (TnLuaVar){ var, NULL };
    luaL_setmetatable(L, TN_VARIABLE);
    handle->context = tn_context_ref(context);
    return handle;
}

TnLuaVar *
tn_to_variable(lua_State *L, int index)
{
    TnLuaVar *handle = luaL_testudata(L, index, TN_VARIABLE);
    if (handle && !handle->context)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "the variable was closed");
    return handle;
}

static TnLuaVar *
check_variable(lua_State *L)
{
    TnLuaVar *handle = tn_to_variable(L, 1);
    return handle ? handle : luaL_checkudata(L, 1, TN_VARIABLE);
}

static int
variable_gc(lua_State *L)
{
    TnLuaVar *handle = luaL_checkudata(L, 1, TN_VARIABLE);
    g_clear_pointer(&handle->context, tn_context_unref);
    return 0;
}

static const char *const init_names[] = {
    [TN_INIT_ZEROS] = "zeros",
    [TN_INIT_ONES] = "ones",
    [TN_INIT_CONSTANT] = "constant",
    [TN_INIT_UNIFORM] = "uniform",
    [TN_INIT_NORMAL] = "normal",
    [TN_INIT_GLOROT_UNIFORM] = "glorot_uniform",
    [TN_INIT_GLOROT_NORMAL] = "glorot_normal",
    [TN_INIT_HE_UNIFORM] = "he_uniform",
    [TN_INIT_HE_NORMAL] = "he_normal",
    [TN_INIT_LECUN_UNIFORM] = "lecun_uniform",
    [TN_INIT_LECUN_NORMAL] = "lecun_normal",
    [TN_INIT_FAN_IN_UNIFORM] = "fan_in_uniform",
    [TN_INIT_ORTHOGONAL] = "orthogonal",
};

/* The text at index, or otherwise, NULL: it must be there; what: of which it is. */
static const char *
read_text(lua_State *L, int index, const char *what, const char *otherwise)
{
    size_t size;
    if (lua_isnil(L, index) && otherwise)
        return otherwise;
    if (lua_type(L, index) != LUA_TSTRING)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "variable: %s is a string, not %s%s", what,
                           lua_isnil(L, index) ? "" : "a ", luaL_typename(L, index));
    const char *text = lua_tolstring(L, index, &size);
    if (strlen(text) != size)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "variable: %s holds a NUL byte", what);
    return text;
}

/* The number at the top, 0 for nil; popped. */
static double
read_number(lua_State *L, const char *what)
{
    const double number = lua_tonumber(L, -1);
    if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TNUMBER)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "variable: %s of init is a number, not a %s", what,
                           luaL_typename(L, -1));
    lua_pop(L, 1);
    return number;
}

static double
read_field(lua_State *L, int index, const char *key)
{
    lua_getfield(L, index, key);
    return read_number(L, key);
}

static gint64
read_whole(lua_State *L, int index, const char *key)
{
    const double number = read_field(L, index, key);
    if (!(number >= 0 && number <= 0x1p53) || number != floor(number))
        tn_host_raise_text(L, TN_ERROR_CONFIG,
                           "variable: %s of init is a whole number from 0, not %g", key, number);
    return (gint64)number;
}

static TnInit
read_init_table(lua_State *L, int index, const char **name)
{
    TnInit init = { .kind = TN_INIT_ZEROS };
    lua_rawgeti(L, index, 1);
    *name = read_text(L, -1, "the initialiser's name", NULL);
    lua_pop(L, 1); /* the table has it */
    lua_rawgeti(L, index, 2);
    init.a = read_number(L, "the first number");
    lua_rawgeti(L, index, 3);
    init.b = read_number(L, "the second number");
    init.fan_in = read_whole(L, index, "fan_in");
    init.zero_row = read_whole(L, index, "zero_row");
    if (strcmp(*name, "constant") != 0 && !(isfinite(init.a) && isfinite(init.b)))
        tn_host_raise_text(
            L, TN_ERROR_CONFIG,
            "variable: init: %s of %g and %g; numbers of a finite size were expected", *name,
            init.a, init.b);
    return init;
}

/* "zeros", or {"uniform", -0.1, 0.1, fan_in = 4, zero_row = 1}, at index. */
static TnInit
read_init(lua_State *L, int index)
{
    TnInit init = { .kind = TN_INIT_ZEROS };
    const char *name = "zeros";
    if (lua_type(L, index) == LUA_TTABLE)
        init = read_init_table(L, index, &name);
    else
        name = read_text(L, index, "init, if it is no table such as { 'uniform', -1, 1 },", name);
    for (guint i = 0; i < G_N_ELEMENTS(init_names); i++) {
        if (strcmp(init_names[i], name) != 0)
            continue;
        init.kind = (TnInitKind)i;
        return init;
    }
    const char *near = tn_nearest(name, init_names, G_N_ELEMENTS(init_names));
    tn_host_raise_text(L, TN_ERROR_CONFIG, "there is no initialiser '%s'%s%s%s", name,
                       near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return init;
}

/* A constant that the variable's dtype holds; the initialiser's table is at index. */
static void
check_constant(lua_State *L, int index, const TnVarInfo *info)
{
    guint64 element;
    if (info->init.kind != TN_INIT_CONSTANT || lua_type(L, index) != LUA_TTABLE)
        return;
    lua_rawgeti(L, index, 2);
    const gboolean exact =
        tn_number_is_double(L, -1) || tn_dtype_info(info->type.dtype)->klass == TN_CLASS_FLOAT;
    const char *who = lua_pushfstring(L, "variable '%s'", info->name);
    if (!exact)
        tn_host_raise_text(
            L, TN_ERROR_DTYPE,
            "%s: a constant begins as whole numbers up to 2^53; v:write(%" G_GINT64_FORMAT
            ") takes all",
            who, (gint64)lua_tointeger(L, -2));
    if (!lua_isnil(L, -2) && !tn_number_read(L, -2, info->type.dtype, &element))
        tn_number_refuse(L, -2, info->type.dtype, who, NULL);
    lua_pop(L, 2);
}

static TnRole
read_role(lua_State *L, int index)
{
    static const char *const roles[] = { "param", "slot", "stat", "counter" };
    const char *name = read_text(L, index, "role", "param");
    for (guint i = 0; i < G_N_ELEMENTS(roles); i++)
        if (strcmp(name, roles[i]) == 0)
            return (TnRole)i;
    tn_host_raise_text(L, TN_ERROR_CONFIG,
                       "variable: there is no role '%s'; roles are param, slot, stat and counter",
                       name);
    return TN_ROLE_PARAM;
}

/* variable{name =, shape =, dtype =, role =, of =, init =, frozen =}: made, or found again, in the
 * present store. */
static int
variable(lua_State *L)
{
    GError *error = NULL;
    if (lua_type(L, 1) != LUA_TTABLE)
        return tn_host_raise_text(
            L, TN_ERROR_CONFIG,
            "a variable is made of a table, as in { name = 'w', shape = { 2, 3 } }");
    lua_settop(L, 1);
    lua_getfield(L, 1, "name");
    lua_getfield(L, 1, "shape");
    lua_getfield(L, 1, "dtype");
    lua_getfield(L, 1, "role");
    lua_getfield(L, 1, "of");
    lua_getfield(L, 1, "init");
    lua_getfield(L, 1, "frozen");
    TnContext *context = tn_host_context(L);
    const TnVarInfo info = {
        .name = read_text(L, 2, "name", NULL),
        .type = tn_check_type_of(L, lua_tostring(L, 2), read_text(L, 4, "dtype", "f32"), 3),
        .role = read_role(L, 5),
        .of = lua_isnil(L, 6) ? NULL : read_text(L, 6, "of", NULL),
        .init = read_init(L, 7),
        .frozen = lua_toboolean(L, 8),
    };
    check_constant(L, 7, &info);
    TnVar *var =
        tn_store_var(tn_context_store(context), tn_context_device(context, 0), &info, &error);
    if (!var)
        return tn_host_raise(L, error);
    tn_push_variable(L, var, context);
    return 1;
}

static int
well_known(lua_State *L, TnVar *(*find)(TnStore *, GError **))
{
    GError *error = NULL;
    TnContext *context = tn_host_context(L);
    TnVar *var = find(tn_context_store(context), &error);
    if (!var)
        return tn_host_raise(L, error);
    tn_push_variable(L, var, context);
    return 1;
}

static int
step_variable(lua_State *L)
{
    return well_known(L, tn_store_step);
}

static int
key_variable(lua_State *L)
{
    return well_known(L, tn_store_random_key);
}

/* variables(): a list of all in the present store. */
static int
variables(lua_State *L)
{
    TnContext *context = tn_host_context(L);
    TnStore *store = tn_context_store(context);
    lua_newtable(L);
    for (guint i = 0; i < tn_store_n(store); i++) {
        tn_push_variable(L, tn_store_at(store, i), context);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* v:read(): a tensor with its present value; while a graph is built, the value that a run begins with. */
static int
variable_read(lua_State *L)
{
    TnLuaVar *handle = check_variable(L);
    TnGraph *built = tn_host_of(L)->build.graph;
    GError *error = NULL;
    if (built) {
        /* What is read at once is tracked by nobody: no gradient goes through it here either. */
        const TnVal var = tn_graph_variable(built, handle->var);
        const TnVal val = tn_graph_op(built, "stop_gradient", NULL, 1, &var, NULL);
        tn_host_check_graph(L, built);
        tn_push_val(L, built, val);
        return 1;
    }
    TnLuaTensor *result = tn_push_tensor(L);
    TnTensor *value = tn_var_get(handle->var, &error);
    if (!value)
        return tn_host_raise(L, error);
    tn_fill_tensor(L, result, value);
    return 1;
}

/* Writes the tensor's numbers, on the host and of the variable's type by now. */
static gboolean
write_tensor(TnVar *var, TnTensor *tensor, GError **error)
{
    const TnType *type = &tn_var_info(var)->type;
    g_autoptr(TnTensor) host = tn_tensor_copy(tensor, NULL, type->dtype, error);
    if (!host)
        return FALSE;
    if (!tn_type_equal(tn_tensor_type(host), type)) {
        g_autofree char *got = tn_type_print(tn_tensor_type(host));
        g_autofree char *want = tn_type_print(type);
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE, "variable '%s' is %s, cannot take %s",
                    tn_var_info(var)->name, want, got);
        return FALSE;
    }
    return tn_var_write(var, tn_storage_memory(tn_tensor_storage(host)),
                        (gsize)tn_tensor_bytes(host), error);
}

/* The tensor at index 2, or one of the variable's type with the number there as all elements; NULL with the
 * error. */
static TnTensor *
written(lua_State *L, const TnLuaVar *handle, GError **error)
{
    const TnLuaTensor *tensor = tn_to_tensor(L, 2);
    const TnType *type = &tn_var_info(handle->var)->type;
    guint64 element;
    if (tensor)
        return tn_tensor_ref(tensor->tensor);
    tn_number_check(L, 2, type->dtype, &element);
    TnTensor *from = tn_tensor_new(NULL, *type, error);
    if (from)
        tn_dtype_convert(type->dtype, tn_storage_memory(tn_tensor_storage(from)), 1, type->dtype,
                         &element, 0, (gsize)tn_tensor_count(from));
    return from;
}

/* v:write(x): a tensor or a number for all elements, now. */
static int
variable_write(lua_State *L)
{
    TnLuaVar *handle = check_variable(L);
    GError *error = NULL;
    TnTensor *from = written(L, handle, &error);
    const gboolean ok = from && write_tensor(handle->var, from, &error);
    g_clear_pointer(&from, tn_tensor_unref);
    tn_host_of(L)->writes++;
    return ok ? 0 : tn_host_raise(L, error);
}

/* v:assign(x): at the end of the program if x is a value of a graph or one is built, now otherwise. */
static int
variable_assign(lua_State *L)
{
    TnLuaVar *handle = check_variable(L);
    const TnLuaValue *value = tn_to_val(L, 2);
    TnGraph *graph = value ? value->graph : tn_host_of(L)->build.graph;
    GError *error = NULL;
    if (!graph)
        return variable_write(L);
    if (value || tn_to_variable(L, 2)) {
        tn_graph_assign(graph, handle->var, tn_operand_in_graph(L, 2, graph));
    } else {
        TnTensor *from = written(L, handle, &error);
        /* Of the variable's dtype, as it is written at once. */
        TnTensor *host =
            from ? tn_tensor_copy(from, NULL, tn_var_info(handle->var)->type.dtype, &error) : NULL;
        g_clear_pointer(&from, tn_tensor_unref);
        if (!host)
            return tn_host_raise(L, error);
        tn_graph_assign(graph, handle->var, tn_graph_constant(graph, host));
        tn_tensor_unref(host);
    }
    return tn_graph_check(graph, &error) ? 0 : tn_host_raise(L, error);
}

static int
variable_reset(lua_State *L)
{
    GError *error = NULL;
    TnLuaVar *handle = check_variable(L);
    tn_host_of(L)->writes++;
    return tn_var_reset(handle->var, &error) ? 0 : tn_host_raise(L, error);
}

static int
variable_name(lua_State *L)
{
    lua_pushstring(L, tn_var_info(check_variable(L)->var)->name);
    return 1;
}

static int
variable_role(lua_State *L)
{
    static const char *const roles[] = { "param", "slot", "stat", "counter" };
    lua_pushstring(L, roles[tn_var_info(check_variable(L)->var)->role]);
    return 1;
}

static int
variable_frozen(lua_State *L)
{
    lua_pushboolean(L, tn_var_info(check_variable(L)->var)->frozen);
    return 1;
}

static int
variable_tostring(lua_State *L)
{
    const TnVarInfo *info = tn_var_info(check_variable(L)->var);
    lua_pushfstring(L, "variable '%s'", info->name);
    return 1;
}

int
tn_variable_open(lua_State *L)
{
    static const luaL_Reg events[] = { { "__gc", variable_gc },
                                       { "__close", variable_gc },
                                       { "__tostring", variable_tostring },
                                       { NULL, NULL } };
    static const luaL_Reg methods[] = {
        { "read", variable_read },     { "write", variable_write }, { "assign", variable_assign },
        { "reset", variable_reset },   { "name", variable_name },   { "role", variable_role },
        { "frozen", variable_frozen }, { "close", variable_gc },    { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "variable", variable },
        { "variables", variables },
        { "step_variable", step_variable },
        { "key_variable", key_variable },
        { NULL, NULL },
    };
    tn_operand_metatable(L, TN_VARIABLE, events, methods);
    luaL_setfuncs(L, functions, 0);
    return 0;
}
