/* values.c: values of Lua as the tree of values.h, and back.
 *
 * What is under construction hangs in a box, a userdata on Lua's stack, so that an error of Lua's
 * leaves nothing behind. Functions stay in Lua: the tree holds a handle. */
#include "host-private.h"
#include <tenon/base.h>

#include <math.h>
#include <string.h>

#define BOX "tenon.box"
#define SPEC "tenon.spec"
#define DEEPEST 64

/* --- Boxes ------------------------------------------------------------------------------------ */

TnValueBox *
tn_push_box(lua_State *L, TnValue *value)
{
    TnValueBox *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->value = value;
    luaL_setmetatable(L, BOX);
    return box;
}

static int
box_gc(lua_State *L)
{
    TnValueBox *box = luaL_checkudata(L, 1, BOX);
    g_clear_pointer(&box->value, tn_value_unref);
    return 0;
}

/* --- Functions -------------------------------------------------------------------------------- */

typedef struct {
    TnHost *host; /* NULL: the host is gone */
    int ref;
} Func;

static void
func_free(gpointer data)
{
    Func *func = data;
    if (func->host) {
        luaL_unref(func->host->L, LUA_REGISTRYINDEX, func->ref);
        g_hash_table_remove(func->host->funcs, func);
    }
    g_free(func);
}

void
tn_funcs_detach(TnHost *host)
{
    GHashTableIter iter;
    gpointer func;
    g_hash_table_iter_init(&iter, host->funcs);
    while (g_hash_table_iter_next(&iter, &func, NULL))
        ((Func *)func)->host = NULL;
    g_hash_table_remove_all(host->funcs);
}

static TnValue *
func_value(lua_State *L, int index)
{
    lua_pushvalue(L, index);
    const int ref = luaL_ref(L, LUA_REGISTRYINDEX);
    Func *func = g_new(Func, 1);
    *func = (Func){ tn_host_of(L), ref };
    g_hash_table_add(func->host->funcs, func);
    return tn_value_func(func, func_free);
}

gboolean
tn_push_func(lua_State *L, const TnValue *value)
{
    const Func *func = tn_value_type(value) == TN_VALUE_FUNC ? tn_value_get_func(value) : NULL;
    if (!func || func->host != tn_host_of(L)) {
        lua_pushnil(L);
        return FALSE;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, func->ref);
    return TRUE;
}

/* --- Specs ------------------------------------------------------------------------------------ */

void
tn_push_spec(lua_State *L, TnSpec *spec)
{
    TnSpec **handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = spec ? tn_spec_ref(spec) : NULL;
    luaL_setmetatable(L, SPEC);
}

TnSpec *
tn_to_spec(lua_State *L, int index)
{
    TnSpec **handle = luaL_testudata(L, index, SPEC);
    return handle ? *handle : NULL;
}

static int
spec_gc(lua_State *L)
{
    TnSpec **handle = luaL_checkudata(L, 1, SPEC);
    g_clear_pointer(handle, tn_spec_unref);
    return 0;
}

/* spec.key: an option as given, or nil. */
static int
spec_index(lua_State *L)
{
    TnSpec **handle = luaL_checkudata(L, 1, SPEC);
    const char *key = luaL_checkstring(L, 2);
    if (strcmp(key, "interface_") == 0)
        lua_pushstring(L, tn_spec_iface(*handle));
    else if (strcmp(key, "component_") == 0)
        lua_pushstring(L, tn_spec_component(*handle));
    else
        tn_push_value(L, tn_value_get(tn_spec_options(*handle), key));
    return 1;
}

static int
spec_newindex(lua_State *L)
{
    return tn_host_raise_text(L, TN_ERROR_CONFIG,
                              "a component does not change once it is written; give the option "
                              "where it is constructed");
}

/* spec(…): a layer is called once it is made. */
static int
spec_call(lua_State *L)
{
    TnSpec **handle = luaL_checkudata(L, 1, SPEC);
    const char *component = tn_spec_component(*handle);
    GError *error = NULL;
    if (!tn_registry_find(tn_spec_iface(*handle), component, &error))
        return tn_host_raise(L, error);
    return tn_host_raise_text(L, TN_ERROR_CONFIG,
                              "'%s' is only described here: tn.new makes what can be called",
                              component);
}

static int
spec_tostring(lua_State *L)
{
    TnSpec **handle = luaL_checkudata(L, 1, SPEC);
    TnValueBox *box = tn_push_box(L, NULL);
    box->value = tn_value_spec(tn_spec_ref(*handle));
    char *text = tn_value_print(box->value, 0);
    tn_value_unref(box->value);
    box->value = tn_value_string(text);
    g_free(text);
    lua_pushstring(L, tn_value_get_string(box->value));
    return 1;
}

/* --- From Lua --------------------------------------------------------------------------------- */

static TnValue *scalar_from(lua_State *L, int index, TnWhere where, const char *path);

static gint
by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

typedef struct {
    lua_State *L;
    TnWhere where;
    GHashTable *lines; /* path -> line; NULL: unknown */
    gint depth;
} Fill;

typedef struct {
    GHashTable *lines;
    const char *path; /* of the table */
} Order;

static gint
line_of_key(const Order *order, const char *key)
{
    g_autofree char *path = g_strconcat(order->path, *order->path ? "." : "", key, NULL);
    return GPOINTER_TO_INT(g_hash_table_lookup(order->lines, path));
}

/* As written in the file, so that what is printed reads like it. */
static gint
by_line(gconstpointer a, gconstpointer b, gpointer order)
{
    const gint x = line_of_key(order, *(const char *const *)a);
    const gint y = line_of_key(order, *(const char *const *)b);
    return x != y ? (x < y ? -1 : 1) : by_name(a, b);
}

/* The string keys of the table at index, interned, sorted by name. Other keys than strings and 1 ..
 * n are complained of. Interned, so that an error leaves only a list behind, which hangs in a
 * userdata of its own. */
typedef struct {
    GPtrArray *names;
    GHashTable *lines;
} Keys;
#define KEYS "tenon.keys"

static int
keys_gc(lua_State *L)
{
    Keys *keys = luaL_checkudata(L, 1, KEYS);
    g_clear_pointer(&keys->names, g_ptr_array_unref);
    g_clear_pointer(&keys->lines, g_hash_table_unref);
    return 0;
}

static Keys *
push_keys(lua_State *L, int table, TnWhere where, const char *path)
{
    Keys *keys = lua_newuserdatauv(L, sizeof *keys, 0);
    *keys = (Keys){ NULL, NULL };
    luaL_setmetatable(L, KEYS);
    keys->names = g_ptr_array_new();
    const lua_Integer n = (lua_Integer)lua_rawlen(L, table);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_type(L, -2) == LUA_TSTRING) {
            size_t size;
            const char *name = lua_tolstring(L, -2, &size);
            if (strlen(name) == size)
                g_ptr_array_add(keys->names, (gpointer)tn_intern(name));
            else
                tn_host_complain(L, where, path, "a key holds a NUL byte");
        } else if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) < 1 || lua_tointeger(L, -2) > n) {
            tn_host_complain(L, where, path, "keys are names or the numbers from 1 without a gap");
        }
    }
    g_ptr_array_sort(keys->names, by_name);
    return keys;
}

static void fill_list(Fill *fill, int table, TnValue *list, const char *path);
static void fill_keys(Fill *fill, int table, Keys *keys, TnValue *map, const char *path);

static TnWhere
line_of(const Fill *fill, const char *path)
{
    TnWhere where = fill->where;
    const gpointer line = fill->lines ? g_hash_table_lookup(fill->lines, path) : NULL;
    if (line)
        where.line = GPOINTER_TO_INT(line);
    return where;
}

/* A new value of the thing at the top of the stack; containers are filled after add hung them up.
 * path is on Lua's stack. */
static void
fill_item(Fill *fill, TnValue *into, const char *key, const char *path)
{
    lua_State *L = fill->L;
    const TnWhere where = line_of(fill, path);
    const int at = lua_gettop(L);
    TnValue *value;
    Keys *keys = NULL;
    if (lua_type(L, at) != LUA_TTABLE) {
        value = scalar_from(L, at, where, path);
    } else if (fill->depth >= DEEPEST) {
        tn_host_complain(L, where, path, "tables are nested too deep, or hold themselves");
        return;
    } else {
        luaL_checkstack(L, 16, "tables are nested too deep");
        keys = push_keys(L, at, where, path);
        value = keys->names->len ? tn_value_map() : tn_value_list();
    }
    if (!value)
        return;
    tn_value_set_where(value, where);
    if (key)
        tn_value_set(into, key, value);
    else
        tn_value_push(into, value);
    if (!keys)
        return;
    if (keys->names->len && lua_rawlen(L, at) > 0)
        tn_host_complain(L, where, path, "a table here has either names or a list, not both");
    fill->depth++;
    if (keys->names->len)
        fill_keys(fill, at, keys, value, path);
    else
        fill_list(fill, at, value, path);
    fill->depth--;
    lua_settop(L, at);
}

static void
fill_list(Fill *fill, int table, TnValue *list, const char *path)
{
    lua_State *L = fill->L;
    const lua_Integer n = (lua_Integer)lua_rawlen(L, table);
    for (lua_Integer i = 1; i <= n; i++) {
        const char *below = lua_pushfstring(L, "%s[%I]", path, (LUAI_UACINT)i);
        lua_rawgeti(L, table, i);
        fill_item(fill, list, NULL, below);
        lua_pop(L, 2);
    }
}

static void
fill_keys(Fill *fill, int table, Keys *keys, TnValue *map, const char *path)
{
    lua_State *L = fill->L;
    Order order = { fill->lines, path };
    if (fill->lines)
        g_ptr_array_sort_with_data(keys->names, by_line, &order);
    for (guint i = 0; i < keys->names->len; i++) {
        const char *name = keys->names->pdata[i];
        const char *below = lua_pushfstring(L, "%s%s%s", path, *path ? "." : "", name);
        lua_pushstring(L, name);
        lua_rawget(L, table);
        fill_item(fill, map, name, below);
        lua_pop(L, 2);
    }
}

static TnValue *
scalar_from(lua_State *L, int index, TnWhere where, const char *path)
{
    size_t size;
    const char *text;
    switch (lua_type(L, index)) {
    case LUA_TNIL: return tn_value_nil();
    case LUA_TBOOLEAN: return tn_value_bool(lua_toboolean(L, index));
    case LUA_TNUMBER:
        return lua_isinteger(L, index) ? tn_value_int(lua_tointeger(L, index))
                                       : tn_value_double(lua_tonumber(L, index));
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &size);
        if (strlen(text) != size)
            tn_host_complain(L, where, path, "the string holds a NUL byte");
        return tn_value_string(text);
    case LUA_TFUNCTION: return func_value(L, index);
    case LUA_TUSERDATA:
        if (tn_to_spec(L, index))
            return tn_value_spec(tn_spec_ref(tn_to_spec(L, index)));
        break;
    default: break;
    }
    lua_pushfstring(L, "a %s cannot stand in a config", luaL_typename(L, index));
    tn_host_complain(L, where, path, lua_tostring(L, -1));
    lua_pop(L, 1);
    return NULL;
}

static TnValue *
box_at(lua_State *L, int index, const char *what, TnWhere where)
{
    index = lua_absindex(L, index);
    TnValueBox *box = tn_push_box(L, tn_value_list());
    Fill fill = { L, where, NULL, 0 };
    lua_pushstring(L, what ? what : "");
    lua_pushvalue(L, index);
    fill_item(&fill, box->value, NULL, lua_tostring(L, -2));
    lua_pop(L, 2);
    TnValue *item = tn_value_at(box->value, 0);
    item = item ? tn_value_ref(item) : tn_value_nil();
    tn_value_unref(box->value);
    box->value = item;
    return item;
}

TnValue *
tn_box_from(lua_State *L, int index, const char *what)
{
    return box_at(L, index, what, tn_host_where(L));
}

TnValue *
tn_box_argument(lua_State *L, int index, const char *what)
{
    return box_at(L, index, what, (TnWhere){ NULL, 0 });
}

void
tn_fill_map(lua_State *L, int table, TnValue *map, TnValue *items, TnWhere where)
{
    TnHost *host = tn_host_of(L);
    table = lua_absindex(L, table);
    Keys *keys = push_keys(L, table, where, NULL);
    const char *text = tn_host_source(host, where.file);
    const char *name = lua_tostring(L, lua_upvalueindex(2));
    if (text && name)
        keys->lines = tn_source_lines(text, where.line, name,
                                      (const char *const *)keys->names->pdata, keys->names->len);
    Fill fill = { L, where, keys->lines, 0 };
    fill_keys(&fill, table, keys, map, "");
    fill_list(&fill, table, items, "");
    lua_pop(L, 1);
}

/* --- To Lua ----------------------------------------------------------------------------------- */

static void
push_uint(lua_State *L, guint64 value)
{
    if (value <= G_MAXINT64)
        lua_pushinteger(L, (lua_Integer)value);
    else
        lua_pushnumber(L, (lua_Number)value);
}

static void
push_container(lua_State *L, const TnValue *value)
{
    const gsize n = tn_value_len(value);
    luaL_checkstack(L, 8, "value");
    lua_createtable(L, 0, 0);
    for (gsize i = 0; i < n; i++) {
        const char *key = tn_value_type(value) == TN_VALUE_MAP ? tn_value_key_at(value, i) : NULL;
        tn_push_value(L, tn_value_at(value, i));
        if (key)
            lua_setfield(L, -2, key);
        else
            lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

void
tn_push_value(lua_State *L, const TnValue *value)
{
    switch (tn_value_type(value)) {
    case TN_VALUE_NIL: lua_pushnil(L); break;
    case TN_VALUE_BOOL: lua_pushboolean(L, tn_value_get_bool(value)); break;
    case TN_VALUE_INT: lua_pushinteger(L, tn_value_get_int(value)); break;
    case TN_VALUE_UINT: push_uint(L, tn_value_get_uint(value)); break;
    case TN_VALUE_DOUBLE: lua_pushnumber(L, tn_value_get_double(value)); break;
    case TN_VALUE_STRING: lua_pushstring(L, tn_value_get_string(value)); break;
    case TN_VALUE_LIST:
    case TN_VALUE_MAP: push_container(L, value); break;
    case TN_VALUE_SPEC: tn_push_spec(L, tn_value_get_spec(value)); break;
    case TN_VALUE_FUNC: tn_push_func(L, value); break;
    }
}

int
tn_values_open(lua_State *L)
{
    static const luaL_Reg box[] = { { "__gc", box_gc }, { NULL, NULL } };
    static const luaL_Reg keys[] = { { "__gc", keys_gc }, { NULL, NULL } };
    static const luaL_Reg spec[] = {
        { "__gc", spec_gc },     { "__index", spec_index },       { "__newindex", spec_newindex },
        { "__call", spec_call }, { "__tostring", spec_tostring }, { NULL, NULL }
    };
    tn_host_metatable(L, BOX, box);
    tn_host_metatable(L, KEYS, keys);
    tn_host_metatable(L, SPEC, spec);
    return 0;
}
