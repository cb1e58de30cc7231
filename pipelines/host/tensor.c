/* tensor.c: tensors and variables as Lua sees them. A handle has one reference; it may be closed,
 * and its bytes count towards the next garbage collection. */
#include "host-private.h"

#include <math.h>
#include <string.h>

#define COLLECT_FROM (G_GUINT64_CONSTANT(64) << 20)
#define MOST_LISTED 1000000

/* --- Handles ---------------------------------------------------------------------------------- */

TnLuaTensor *
tn_push_tensor(lua_State *L)
{
    TnLuaTensor *handle = lua_newuserdatauv(L, sizeof *handle, 0);
    memset(handle, 0, sizeof *handle);
    handle->val = TN_VAL_NONE;
    luaL_setmetatable(L, TN_TENSOR);
    return handle;
}

void
tn_fill_tensor(lua_State *L, TnLuaTensor *handle, TnTensor *tensor)
{
    TnHost *host = tn_host_of(L);
    handle->tensor = tensor;
    host->held += (guint64)tn_tensor_bytes(tensor);
    if (host->held < MAX(host->held_limit, COLLECT_FROM))
        return;
    /* Lua counts a handle as a few bytes; what hangs on it is collected when it has become much. */
    host->held = 0;
    lua_gc(L, LUA_GCCOLLECT, 0);
}

TnLuaTensor *
tn_to_tensor(lua_State *L, int index)
{
    TnLuaTensor *handle = luaL_testudata(L, index, TN_TENSOR);
    if (handle && !handle->tensor)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "the tensor was closed");
    return handle;
}

static TnLuaTensor *
check_tensor(lua_State *L)
{
    TnLuaTensor *handle = tn_to_tensor(L, 1);
    return handle ? handle : luaL_checkudata(L, 1, TN_TENSOR);
}

static int
tensor_gc(lua_State *L)
{
    TnLuaTensor *handle = luaL_checkudata(L, 1, TN_TENSOR);
    g_clear_pointer(&handle->tensor, tn_tensor_unref);
    return 0;
}

/* --- Types ------------------------------------------------------------------------------------ */

void
tn_push_shape(lua_State *L, const TnType *type)
{
    lua_createtable(L, type->rank, 0);
    for (gint i = 0; i < type->rank; i++) {
        lua_pushinteger(L, type->dims[i]);
        lua_rawseti(L, -2, i + 1);
    }
}

static TnDtype
check_dtype(lua_State *L, const char *name)
{
    const TnDtype dtype = tn_dtype_from_name(name);
    if (dtype == TN_DTYPE_NONE) {
        const char *near = tn_nearest(name, tn_dtype_choices + 1, TN_N_DTYPES - 1);
        tn_host_raise_text(L, TN_ERROR_DTYPE, "there is no dtype '%s'%s%s%s", name,
                           near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    return dtype;
}

/* owner: what is of that type, NULL: whatever the line that asks makes. */
static TnType
check_type_of(lua_State *L, const char *owner, const char *dtype, int shape)
{
    TnType type = { .dtype = check_dtype(L, dtype) };
    if (lua_isnoneornil(L, shape))
        return type;
    luaL_checktype(L, shape, LUA_TTABLE);
    const lua_Unsigned rank = lua_rawlen(L, shape);
    if (rank > TN_MAX_RANK)
        tn_host_raise_text(L, TN_ERROR_SHAPE, "a shape has at most %d sizes, not %d", TN_MAX_RANK,
                           (int)rank);
    type.rank = (gint)rank;
    for (gint i = 0; i < type.rank; i++) {
        lua_rawgeti(L, shape, i + 1);
        if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 0)
            tn_host_raise_text(L, TN_ERROR_SHAPE, "size %d of a shape is no whole number from 0",
                               i + 1);
        type.dims[i] = lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    if (tn_type_bytes(&type) < 0) {
        char *text = tn_type_print(&type);
        lua_pushstring(L, text);
        g_free(text);
        tn_host_raise_text(L, TN_ERROR_SHAPE, "%s%s%s%s is too large to address",
                           owner ? "variable '" : "", owner ? owner : "", owner ? "': " : "",
                           lua_tostring(L, -1));
    }
    return type;
}

TnType
tn_check_type(lua_State *L, const char *dtype, int shape)
{
    return check_type_of(L, NULL, dtype, shape);
}

/* While a config loads, what it allocates counts against its limit, wherever it lies. */
static void
check_budget(lua_State *L, const TnType *type)
{
    TnHost *host = tn_host_of(L);
    if (host->loading && !host->trust &&
        (guint64)tn_type_bytes(type) + host->memory > host->memory_limit)
        tn_host_raise_text(L, TN_ERROR_NO_MEMORY,
                           "a tensor this large belongs into the run, not into a config");
}

/* --- From Lua numbers ------------------------------------------------------------------------- */

/* Sizes of nested lists: the first element of each depth tells. */
static TnType
list_type(lua_State *L, int index, TnDtype dtype)
{
    TnType type = { .dtype = dtype };
    const int top = lua_gettop(L);
    luaL_checkstack(L, TN_MAX_RANK + 2, "tensor");
    lua_pushvalue(L, index);
    while (lua_type(L, -1) == LUA_TTABLE) {
        if (type.rank == TN_MAX_RANK)
            tn_host_raise_text(L, TN_ERROR_SHAPE, "a tensor has at most %d dimensions",
                               TN_MAX_RANK);
        type.dims[type.rank++] = (gint64)lua_rawlen(L, -1);
        lua_rawgeti(L, -1, 1);
    }
    lua_settop(L, top);
    return type;
}

/* Writes the lists' numbers into values, row-major; raises if they are ragged. The list is at the
 * top. */
static void
read_lists(lua_State *L, const TnType *type, gint depth, double *values, gint64 *at)
{
    if (depth == type->rank) {
        if (lua_type(L, -1) == LUA_TBOOLEAN)
            values[(*at)++] = lua_toboolean(L, -1);
        else if (lua_type(L, -1) == LUA_TNUMBER)
            values[(*at)++] = lua_tonumber(L, -1);
        else
            tn_host_raise_text(L, TN_ERROR_SHAPE,
                               "element %" G_GINT64_FORMAT " is a %s, not a "
                               "number (are the lists of equal length?)",
                               *at + 1, luaL_typename(L, -1));
        return;
    }
    if (lua_type(L, -1) != LUA_TTABLE || (gint64)lua_rawlen(L, -1) != type->dims[depth])
        tn_host_raise_text(L, TN_ERROR_SHAPE,
                           "the lists are of different lengths: %" G_GINT64_FORMAT
                           " items were expected at depth %d",
                           type->dims[depth], depth + 1);
    for (gint64 i = 0; i < type->dims[depth]; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        read_lists(L, type, depth + 1, values, at);
        lua_pop(L, 1);
    }
}

/* tensor(lists [, dtype]) */
static int
tensor(lua_State *L)
{
    const TnDtype dtype = check_dtype(L, luaL_optstring(L, 2, "f32"));
    lua_settop(L, 1);
    const TnType type = list_type(L, 1, dtype);
    const gint64 n = tn_type_count(&type);
    if (n < 0)
        return tn_host_raise_text(L, TN_ERROR_SHAPE, "the shape is too large");
    check_budget(L, &type);
    TnLuaTensor *handle = tn_push_tensor(L);
    double *values = lua_newuserdatauv(L, (gsize)MAX(n, 1) * sizeof(double), 0);
    gint64 at = 0;
    GError *error = NULL;
    lua_pushvalue(L, 1);
    luaL_checkstack(L, TN_MAX_RANK + 4, "tensor");
    read_lists(L, &type, 0, values, &at);
    lua_pop(L, 1);
    TnTensor *made = tn_tensor_new(NULL, type, &error);
    if (!made)
        return tn_host_raise(L, error);
    tn_dtype_convert(dtype, tn_storage_memory(tn_tensor_storage(made)), 1, TN_DTYPE_F64, values, 1,
                     (gsize)n);
    tn_fill_tensor(L, handle, made);
    lua_pop(L, 1);
    return 1;
}

/* full(shape, number [, dtype]) */
static int
full(lua_State *L)
{
    const double number = luaL_checknumber(L, 2);
    const TnType type = tn_check_type(L, luaL_optstring(L, 3, "f32"), 1);
    GError *error = NULL;
    check_budget(L, &type);
    TnLuaTensor *handle = tn_push_tensor(L);
    TnTensor *made = tn_tensor_new(NULL, type, &error);
    if (!made)
        return tn_host_raise(L, error);
    tn_dtype_convert(type.dtype, tn_storage_memory(tn_tensor_storage(made)), 1, TN_DTYPE_F64,
                     &number, 0, (gsize)tn_type_count(&type));
    tn_fill_tensor(L, handle, made);
    return 1;
}

/* random(shape, "uniform" | "normal", seed, name): f32, a pure function of its arguments. */
static int
random_tensor(lua_State *L)
{
    static const char *const kinds[] = { "uniform", "normal", NULL };
    const TnType type = tn_check_type(L, "f32", 1);
    const int kind = luaL_checkoption(L, 2, "uniform", kinds);
    TnRandom random;
    GError *error = NULL;
    tn_random_init(&random, (guint64)luaL_optinteger(L, 3, 0), luaL_optstring(L, 4, "tensor"), 0);
    check_budget(L, &type);
    TnLuaTensor *handle = tn_push_tensor(L);
    TnTensor *made = tn_tensor_new(NULL, type, &error);
    if (!made)
        return tn_host_raise(L, error);
    float *values = tn_storage_memory(tn_tensor_storage(made));
    if (kind == 1)
        tn_random_fill_normal(&random, tn_type_count(&type), values);
    for (gint64 i = 0; kind == 0 && i < tn_type_count(&type); i++)
        values[i] = (float)tn_random_f64(&random);
    tn_fill_tensor(L, handle, made);
    return 1;
}

/* --- To Lua ----------------------------------------------------------------------------------- */

static void
push_element(lua_State *L, TnTensor *t, gint64 i)
{
    const TnDtypeInfo *info = tn_dtype_info(tn_tensor_dtype(t));
    const double number = tn_tensor_get(t, i);
    if (info->klass == TN_CLASS_BOOL)
        lua_pushboolean(L, number != 0);
    else if (info->klass == TN_CLASS_FLOAT || fabs(number) > 0x1p53)
        lua_pushnumber(L, number);
    else
        lua_pushinteger(L, (lua_Integer)number);
}

/* t:get(i, j, …), from 1 as everything in Lua. */
static int
tensor_get(lua_State *L)
{
    TnTensor *t = check_tensor(L)->tensor;
    const gint rank = tn_tensor_rank(t);
    gint64 at = 0;
    if (lua_gettop(L) - 1 != rank)
        return tn_host_raise_text(L, TN_ERROR_SHAPE, "get: %d indices for %d dimensions",
                                  lua_gettop(L) - 1, rank);
    for (gint i = 0; i < rank; i++) {
        const lua_Integer k = luaL_checkinteger(L, i + 2);
        if (k < 1 || k > tn_tensor_dim(t, i))
            return tn_host_raise_text(L, TN_ERROR_SHAPE,
                                      "get: index %d is %" G_GINT64_FORMAT
                                      ", outside 1 to %" G_GINT64_FORMAT,
                                      i + 1, (gint64)k, tn_tensor_dim(t, i));
        at = at * tn_tensor_dim(t, i) + (k - 1);
    }
    push_element(L, t, at);
    return 1;
}

static int
tensor_item(lua_State *L)
{
    TnTensor *t = check_tensor(L)->tensor;
    if (tn_tensor_count(t) != 1)
        return tn_host_raise_text(L, TN_ERROR_SHAPE,
                                  "item: the tensor has %" G_GINT64_FORMAT " elements, not one",
                                  tn_tensor_count(t));
    push_element(L, t, 0);
    return 1;
}

static void
push_lists(lua_State *L, TnTensor *t, gint depth, gint64 *at)
{
    if (depth == tn_tensor_rank(t)) {
        push_element(L, t, (*at)++);
        return;
    }
    const gint64 n = tn_tensor_dim(t, depth);
    lua_createtable(L, (int)n, 0);
    for (gint64 i = 0; i < n; i++) {
        push_lists(L, t, depth + 1, at);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* t:list(): nested lists of its numbers. */
static int
tensor_list(lua_State *L)
{
    TnTensor *t = check_tensor(L)->tensor;
    gint64 at = 0;
    if (tn_tensor_count(t) > MOST_LISTED)
        return tn_host_raise_text(L, TN_ERROR_SHAPE, "list: more than %d elements", MOST_LISTED);
    luaL_checkstack(L, TN_MAX_RANK + 4, "list");
    push_lists(L, t, 0, &at);
    return 1;
}

/* t:track(): gradients may be asked of it from now on. */
static int
tensor_track(lua_State *L)
{
    TnLuaTensor *handle = check_tensor(L);
    handle->tracked = handle->leaf = TRUE;
    handle->round = 0;
    lua_settop(L, 1);
    return 1;
}

/* t:detach(): the same numbers, no gradient. */
static int
tensor_detach(lua_State *L)
{
    TnTensor *t = check_tensor(L)->tensor;
    TnLuaTensor *handle = tn_push_tensor(L);
    tn_fill_tensor(L, handle, tn_tensor_ref(t));
    return 1;
}

/* What every kind of operand tells of its type; FALSE if key is something else. */
static gboolean
push_property(lua_State *L, const TnType *type, const char *key)
{
    if (strcmp(key, "shape") == 0) {
        tn_push_shape(L, type);
    } else if (strcmp(key, "dtype") == 0) {
        lua_pushstring(L, tn_dtype_name(type->dtype));
    } else if (strcmp(key, "rank") == 0) {
        lua_pushinteger(L, type->rank);
    } else if (strcmp(key, "type") == 0) {
        TnValueBox *box = tn_push_box(L, NULL);
        char *text = tn_type_print(type);
        box->value = tn_value_string(text);
        g_free(text);
        lua_pushstring(L, tn_value_get_string(box->value));
    } else {
        return FALSE;
    }
    return TRUE;
}

/* operand.key: a property, one of its own methods (upvalue 1), or an operator. */
static int
operand_index(lua_State *L)
{
    const char *key = luaL_checkstring(L, 2);
    TnType type;
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    if (!tn_operand_type(L, 1, &type))
        return 0;
    if (!push_property(L, &type, key))
        tn_push_op(L, key);
    return 1;
}

static int
tensor_tostring(lua_State *L)
{
    TnLuaTensor *handle = luaL_checkudata(L, 1, TN_TENSOR);
    TnValueBox *box = tn_push_box(L, NULL);
    char *text = handle->tensor ? tn_tensor_print(handle->tensor) : g_strdup("closed tensor");
    box->value = tn_value_string(text);
    g_free(text);
    lua_pushstring(L, tn_value_get_string(box->value));
    return 1;
}

/* --- Variables -------------------------------------------------------------------------------- */

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

/* "zeros", or {"uniform", -0.1, 0.1, fan_in = 4, zero_row = 1}, at index. */
static TnInit
read_init(lua_State *L, int index)
{
    TnInit init = { .kind = TN_INIT_ZEROS };
    const char *name = "zeros";
    const int top = lua_gettop(L);
    if (lua_type(L, index) == LUA_TSTRING) {
        name = lua_tostring(L, index);
    } else if (lua_type(L, index) == LUA_TTABLE) {
        lua_rawgeti(L, index, 1);
        name = luaL_checkstring(L, -1);
        lua_rawgeti(L, index, 2);
        init.a = luaL_optnumber(L, -1, 0);
        lua_rawgeti(L, index, 3);
        init.b = luaL_optnumber(L, -1, 0);
        lua_getfield(L, index, "fan_in");
        init.fan_in = luaL_optinteger(L, -1, 0);
        lua_getfield(L, index, "zero_row");
        init.zero_row = luaL_optinteger(L, -1, 0);
    }
    for (guint i = 0; i < G_N_ELEMENTS(init_names); i++) {
        if (strcmp(init_names[i], name) != 0)
            continue;
        init.kind = (TnInitKind)i;
        lua_settop(L, top);
        return init;
    }
    const char *near = tn_nearest(name, init_names, G_N_ELEMENTS(init_names));
    tn_host_raise_text(L, TN_ERROR_CONFIG, "there is no initialiser '%s'%s%s%s", name,
                       near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return init;
}

/* variable{name =, shape =, dtype =, role =, of =, init =, frozen =}: made, or found again, in the
 * present store. */
static int
variable(lua_State *L)
{
    static const char *const roles[] = { "param", "slot", "stat", "counter", NULL };
    GError *error = NULL;
    luaL_checktype(L, 1, LUA_TTABLE);
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
        .name = luaL_checkstring(L, 2),
        .type = check_type_of(L, lua_tostring(L, 2), luaL_optstring(L, 4, "f32"), 3),
        .role = (TnRole)luaL_checkoption(L, 5, "param", roles),
        .of = luaL_optstring(L, 6, NULL),
        .init = read_init(L, 7),
        .frozen = lua_toboolean(L, 8),
    };
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

/* v:read(): a tensor with its present value. */
static int
variable_read(lua_State *L)
{
    TnLuaVar *handle = check_variable(L);
    GError *error = NULL;
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

/* v:write(x): a tensor or a number for all elements. In a graph: v:assign(value). */
static int
variable_write(lua_State *L)
{
    TnLuaVar *handle = check_variable(L);
    const TnLuaTensor *tensor = tn_to_tensor(L, 2);
    TnTensor *from = NULL;
    GError *error = NULL;
    if (tensor) {
        from = tn_tensor_ref(tensor->tensor);
    } else {
        const double number = luaL_checknumber(L, 2);
        from = tn_tensor_new(NULL, tn_var_info(handle->var)->type, &error);
        if (from)
            tn_dtype_convert(tn_tensor_dtype(from), tn_storage_memory(tn_tensor_storage(from)), 1,
                             TN_DTYPE_F64, &number, 0, (gsize)tn_tensor_count(from));
    }
    const gboolean ok = from && write_tensor(handle->var, from, &error);
    g_clear_pointer(&from, tn_tensor_unref);
    tn_host_of(L)->writes++;
    return ok ? 0 : tn_host_raise(L, error);
}

/* v:assign(x): at the end of the program if x is a value of a graph, now otherwise. */
static int
variable_assign(lua_State *L)
{
    TnLuaVar *handle = check_variable(L);
    const TnLuaValue *value = tn_to_val(L, 2);
    GError *error = NULL;
    if (!value)
        return variable_write(L);
    tn_graph_assign(value->graph, handle->var, value->val);
    return tn_graph_check(value->graph, &error) ? 0 : tn_host_raise(L, error);
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

/* --- Opening ---------------------------------------------------------------------------------- */

/* A metatable whose __index looks among methods, then properties, then operators. */
static void
operand_metatable(lua_State *L, const char *name, const luaL_Reg *events, const luaL_Reg *methods)
{
    tn_host_metatable(L, name, events);
    luaL_getmetatable(L, name);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "methods");
    lua_pushcclosure(L, operand_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

/* add_method(name, f): of values, tensors and variables. */
static int
add_method(lua_State *L)
{
    static const char *const types[] = { TN_VALUE, TN_TENSOR, TN_VARIABLE };
    luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    for (guint i = 0; i < G_N_ELEMENTS(types); i++) {
        luaL_getmetatable(L, types[i]);
        lua_getfield(L, -1, "methods");
        lua_pushvalue(L, 1);
        lua_pushvalue(L, 2);
        lua_rawset(L, -3);
        lua_pop(L, 2);
    }
    return 0;
}

int
tn_tensor_open(lua_State *L)
{
    static const luaL_Reg tensor_events[] = { { "__gc", tensor_gc },
                                              { "__close", tensor_gc },
                                              { "__tostring", tensor_tostring },
                                              { NULL, NULL } };
    static const luaL_Reg tensor_methods[] = {
        { "get", tensor_get },
        { "item", tensor_item },
        { "list", tensor_list },
        { "track", tensor_track },
        { "detach", tensor_detach },
        { "close", tensor_gc },
        { NULL, NULL },
    };
    static const luaL_Reg variable_events[] = { { "__gc", variable_gc },
                                                { "__close", variable_gc },
                                                { "__tostring", variable_tostring },
                                                { NULL, NULL } };
    static const luaL_Reg variable_methods[] = {
        { "read", variable_read },     { "write", variable_write }, { "assign", variable_assign },
        { "reset", variable_reset },   { "name", variable_name },   { "role", variable_role },
        { "frozen", variable_frozen }, { "close", variable_gc },    { NULL, NULL },
    };
    static const luaL_Reg value_events[] = { { NULL, NULL } };
    static const luaL_Reg value_methods[] = { { NULL, NULL } };
    static const luaL_Reg functions[] = {
        { "tensor", tensor },
        { "full", full },
        { "random", random_tensor },
        { "variable", variable },
        { "variables", variables },
        { "step_variable", step_variable },
        { "key_variable", key_variable },
        { "add_method", add_method },
        { NULL, NULL },
    };
    operand_metatable(L, TN_TENSOR, tensor_events, tensor_methods);
    operand_metatable(L, TN_VARIABLE, variable_events, variable_methods);
    operand_metatable(L, TN_VALUE, value_events, value_methods);
    luaL_setfuncs(L, functions, 0);
    return 0;
}
