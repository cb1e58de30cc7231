/* object.c: instances of plugins' components as Lua sees them: one piece of code binds the method
 * rows of all of them. */
#include "host-private.h"

#include <string.h>

#define OBJECT "tenon.object"

void
tn_push_object(lua_State *L, TnObject *object)
{
    TnObject **handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = NULL;
    luaL_setmetatable(L, OBJECT);
    if (object)
        *handle = tn_object_ref(object);
}

static TnObject *
check_object(lua_State *L, int index)
{
    TnObject **handle = luaL_checkudata(L, index, OBJECT);
    if (!*handle)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "the object was closed");
    return *handle;
}

static int
object_gc(lua_State *L)
{
    TnObject **handle = luaL_checkudata(L, 1, OBJECT);
    g_clear_pointer(handle, tn_object_unref);
    return 0;
}

/* --- Methods ---------------------------------------------------------------------------------- */

/* Arguments from stack index 2 on, as a map in a new box: plain values by the positional rows,
 * names from a table. */
static TnValue *
box_arguments(lua_State *L, const TnMethod *method)
{
    const int n = lua_gettop(L);
    TnValueBox *map = tn_push_box(L, tn_value_map());
    TnValueBox *items = tn_push_box(L, tn_value_list());
    for (int i = 2; i <= n; i++) {
        TnValue *value = tn_box_argument(L, i, method->name);
        if (i == n && tn_value_type(value) == TN_VALUE_MAP) {
            for (gsize k = 0; k < tn_value_len(value); k++)
                tn_value_set(map->value, tn_value_key_at(value, k),
                             tn_value_ref(tn_value_at(value, k)));
        } else {
            tn_value_push(items->value, tn_value_ref(value));
        }
        lua_pop(L, 1);
    }
    gsize used = 0;
    for (guint32 i = 0; i < method->args.n && used < tn_value_len(items->value); i++) {
        const TnOption *row = tn_options_row(&method->args, i);
        if (row->flags & TN_OPTION_POSITIONAL)
            tn_value_set(map->value, row->name, tn_value_ref(tn_value_at(items->value, used++)));
    }
    if (used < tn_value_len(items->value))
        tn_host_raise_text(L, TN_ERROR_CONFIG,
                           "%s takes %" G_GSIZE_FORMAT
                           " values without a name, got %" G_GSIZE_FORMAT,
                           method->name, used, tn_value_len(items->value));
    return map->value;
}

/* object:method(…): the row is upvalue 1. */
static int
call(lua_State *L)
{
    const TnMethod *method = lua_touserdata(L, lua_upvalueindex(1));
    TnObject *object = check_object(L, 1);
    luaL_checkstack(L, 20, "method");
    const TnValue *map = box_arguments(L, method);
    TnValueBox *box = tn_push_box(L, NULL);
    GError *error = NULL;
    TnConfig *args = tn_config_new(&method->args, map, &error);
    if (args) {
        tn_object_enter(object);
        const gboolean ok =
            tn_host_confine_options(tn_host_of(L), &method->args, args, &error) &&
            method->call(tn_object_self(object), tn_config_data(args), &box->value, &error);
        tn_object_leave(object);
        tn_config_unref(args);
        if (ok) {
            tn_push_value(L, box->value);
            return 1;
        }
    }
    tn_error_prefix(&error, "%s:%s", tn_object_factory(object)->name, method->name);
    return tn_host_raise(L, error);
}

static int
object_index(lua_State *L)
{
    TnObject *object = check_object(L, 1);
    const char *key = luaL_checkstring(L, 2);
    const TnFactory *factory = tn_object_factory(object);
    for (guint32 i = 0; i < factory->n_methods; i++) {
        if (strcmp(factory->methods[i].name, key) != 0)
            continue;
        lua_pushlightuserdata(L, (void *)&factory->methods[i]);
        lua_pushcclosure(L, call, 1);
        return 1;
    }
    if (strcmp(key, "close") != 0)
        return tn_host_raise_text(L, TN_ERROR_CONFIG, "%s '%s' has no method '%s'", factory->iface,
                                  factory->name, key);
    lua_pushcfunction(L, object_gc);
    return 1;
}

/* object(spec): an instance of a component in C. */
static int
object(lua_State *L)
{
    TnSpec *spec = tn_to_spec(L, 1);
    GError *error = NULL;
    if (!spec)
        return tn_host_raise_text(L, TN_ERROR_CONFIG, "tn.new: wants a component, got a %s",
                                  luaL_typename(L, 1));
    TnContext *context = tn_host_context(L);
    tn_push_object(L, NULL);
    TnObject **handle = lua_touserdata(L, -1);
    if (tn_host_confine(tn_host_of(L), spec, &error))
        *handle = tn_object_new(spec, context, &error);
    return *handle ? 1 : tn_host_raise(L, error);
}

int
tn_object_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "__gc", object_gc }, { "__close", object_gc }, { "__index", object_index }, { NULL, NULL }
    };
    static const luaL_Reg functions[] = { { "object", object }, { NULL, NULL } };
    tn_host_metatable(L, OBJECT, methods);
    luaL_setfuncs(L, functions, 0);
    return 0;
}
