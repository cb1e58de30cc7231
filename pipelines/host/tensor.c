/* tensor.c: tensors as Lua sees them. A handle has one reference; it may be closed,
 * and its bytes count towards the next garbage collection. */
#include "host-private.h"

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
    if (handle->on_tape.data)
        g_queue_unlink(&tn_host_of(L)->on_tape, &handle->on_tape);
    handle->on_tape.data = NULL;
    g_clear_pointer(&handle->tensor, tn_tensor_unref);
    g_clear_pointer(&handle->graph, tn_graph_unref);
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

/* A table's keys are 1 .. n. */
static void
check_sizes_alone(lua_State *L, int shape, lua_Unsigned n)
{
    lua_Unsigned found = 0;
    for (lua_pushnil(L); lua_next(L, shape); lua_pop(L, 1))
        found++;
    if (found != n)
        tn_host_raise_text(L, TN_ERROR_SHAPE,
                           "a shape has sizes alone, as in { 2, 3 }; this table has names or gaps");
}

/* owner: what is of that type, NULL: whatever the line that asks makes. */
TnType
tn_check_type_of(lua_State *L, const char *owner, const char *dtype, int shape)
{
    TnType type = { .dtype = check_dtype(L, dtype) };
    if (lua_isnoneornil(L, shape))
        return type;
    if (lua_type(L, shape) != LUA_TTABLE)
        tn_host_raise_text(L, TN_ERROR_SHAPE,
                           "a shape is a table of sizes, as in { 2, 3 }, not a %s",
                           luaL_typename(L, shape));
    const lua_Unsigned rank = lua_rawlen(L, shape);
    if (rank > TN_MAX_RANK)
        tn_host_raise_text(L, TN_ERROR_SHAPE, "a shape has at most %d sizes, not %d", TN_MAX_RANK,
                           (int)rank);
    type.rank = (gint)rank;
    check_sizes_alone(L, lua_absindex(L, shape), rank);
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
    return tn_check_type_of(L, NULL, dtype, shape);
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

/* Where the lists' numbers go, row-major. */
typedef struct {
    const TnType *type;
    char *elements;
    gint64 at; /* number of the next */
} Fill;

static void
read_element(lua_State *L, Fill *fill)
{
    const TnDtype dtype = fill->type->dtype;
    const int type = lua_type(L, -1);
    if (type != LUA_TNUMBER && type != LUA_TBOOLEAN && type != LUA_TSTRING)
        tn_host_raise_text(L, TN_ERROR_SHAPE,
                           "element %" G_GINT64_FORMAT " is %s%s, not a "
                           "number (are the lists of equal length?)",
                           fill->at + 1, type == LUA_TNIL ? "" : "a ", luaL_typename(L, -1));
    if (!tn_number_read(L, -1, dtype, fill->elements)) {
        const char *who = lua_pushfstring(L, "element %I", (LUAI_UACINT)fill->at + 1);
        tn_number_refuse(L, -2, dtype, who, NULL);
    }
    fill->elements += tn_dtype_size(dtype);
    fill->at++;
}

/* The list at the top; raises if it is ragged. */
static void
read_lists(lua_State *L, Fill *fill, gint depth)
{
    if (depth == fill->type->rank) {
        read_element(L, fill);
        return;
    }
    const gint64 n = fill->type->dims[depth];
    if (lua_type(L, -1) != LUA_TTABLE || (gint64)lua_rawlen(L, -1) != n)
        tn_host_raise_text(L, TN_ERROR_SHAPE,
                           "the lists are of different lengths: %" G_GINT64_FORMAT
                           " items were expected at depth %d",
                           n, depth + 1);
    for (gint64 i = 0; i < n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        read_lists(L, fill, depth + 1);
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
    GError *error = NULL;
    if (tn_type_bytes(&type) < 0)
        return tn_host_raise_text(L, TN_ERROR_SHAPE, "the shape is too large");
    check_budget(L, &type);
    TnLuaTensor *handle = tn_push_tensor(L);
    handle->tensor = tn_tensor_new(NULL, type, &error);
    if (!handle->tensor)
        return tn_host_raise(L, error);
    Fill fill = { &type, tn_storage_memory(tn_tensor_storage(handle->tensor)), 0 };
    lua_pushvalue(L, 1);
    luaL_checkstack(L, TN_MAX_RANK + 4, "tensor");
    read_lists(L, &fill, 0);
    lua_pop(L, 1);
    tn_fill_tensor(L, handle, handle->tensor);
    return 1;
}

/* full(shape, number [, dtype]) */
static int
full(lua_State *L)
{
    const TnType type = tn_check_type(L, luaL_optstring(L, 3, "f32"), 1);
    GError *error = NULL;
    guint64 element;
    tn_number_check(L, 2, type.dtype, &element);
    check_budget(L, &type);
    TnLuaTensor *handle = tn_push_tensor(L);
    TnTensor *made = tn_tensor_new(NULL, type, &error);
    if (!made)
        return tn_host_raise(L, error);
    tn_dtype_convert(type.dtype, tn_storage_memory(tn_tensor_storage(made)), 1, type.dtype,
                     &element, 0, (gsize)tn_type_count(&type));
    tn_fill_tensor(L, handle, made);
    return 1;
}

lua_Integer
tn_check_seed(lua_State *L, int index)
{
    int whole;
    const lua_Integer seed = lua_tointegerx(L, index, &whole);
    if (!whole)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "a seed is a whole number, not %s",
                           luaL_tolstring(L, index, NULL));
    return seed;
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
    tn_random_init(&random, (guint64)(lua_isnoneornil(L, 3) ? 0 : tn_check_seed(L, 3)),
                   luaL_optstring(L, 4, "tensor"), 0);
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

/* Element i in row-major order. */
static void
push_element(lua_State *L, TnTensor *t, gint64 i)
{
    const gsize size = tn_dtype_size(tn_tensor_dtype(t));
    const gint64 *strides = tn_tensor_strides(t);
    gint64 place = 0;
    guint64 element = 0;
    GError *error = NULL;
    for (gint axis = tn_tensor_rank(t) - 1; axis >= 0; axis--) {
        place += i % tn_tensor_dim(t, axis) * strides[axis];
        i /= tn_tensor_dim(t, axis);
    }
    const char *elements = tn_tensor_map(t, TN_MAP_READ, &error);
    if (!elements) {
        tn_host_raise(L, error);
        return;
    }
    memcpy(&element, elements + place * (gint64)size, size);
    tn_tensor_unmap(t);
    tn_number_push(L, tn_tensor_dtype(t), &element);
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
push_lists(lua_State *L, const TnType *type, gint depth, const char **element)
{
    if (depth == type->rank) {
        tn_number_push(L, type->dtype, *element);
        *element += tn_dtype_size(type->dtype);
        return;
    }
    lua_createtable(L, (int)type->dims[depth], 0);
    for (gint64 i = 0; i < type->dims[depth]; i++) {
        push_lists(L, type, depth + 1, element);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* t:list(): nested lists of its numbers. */
static int
tensor_list(lua_State *L)
{
    TnTensor *t = check_tensor(L)->tensor;
    GError *error = NULL;
    if (tn_tensor_count(t) > MOST_LISTED)
        return tn_host_raise_text(L, TN_ERROR_SHAPE, "list: more than %d elements", MOST_LISTED);
    luaL_checkstack(L, TN_MAX_RANK + 4, "list");
    TnLuaTensor *copy = tn_push_tensor(L); /* row-major, on the host */
    copy->tensor = tn_tensor_copy(t, NULL, TN_DTYPE_NONE, &error);
    if (!copy->tensor)
        return tn_host_raise(L, error);
    const char *element = tn_storage_memory(tn_tensor_storage(copy->tensor));
    push_lists(L, tn_tensor_type(copy->tensor), 0, &element);
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

int
tn_tensor_open(lua_State *L)
{
    static const luaL_Reg events[] = { { "__gc", tensor_gc },
                                       { "__close", tensor_gc },
                                       { "__tostring", tensor_tostring },
                                       { NULL, NULL } };
    static const luaL_Reg methods[] = {
        { "get", tensor_get },
        { "item", tensor_item },
        { "list", tensor_list },
        { "track", tensor_track },
        { "detach", tensor_detach },
        { "close", tensor_gc },
        { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "tensor", tensor },
        { "full", full },
        { "random", random_tensor },
        { NULL, NULL },
    };
    tn_operand_metatable(L, TN_TENSOR, events, methods);
    luaL_setfuncs(L, functions, 0);
    return 0;
}
