/* operand.c: what values of graphs, tensors and variables have in common in Lua: properties of their types,
 * and methods, which are operators where nothing else has the name. */
#include "host-private.h"

#include <string.h>

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

/* A metatable whose __index looks among methods, then properties, then operators. */
void
tn_operand_metatable(lua_State *L, const char *name, const luaL_Reg *events,
                     const luaL_Reg *methods)
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
tn_operand_open(lua_State *L)
{
    static const luaL_Reg none[] = { { NULL, NULL } };
    static const luaL_Reg functions[] = {
        { "add_method", add_method },
        { NULL, NULL },
    };
    tn_operand_metatable(L, TN_VALUE, none, none);
    luaL_setfuncs(L, functions, 0);
    return 0;
}
