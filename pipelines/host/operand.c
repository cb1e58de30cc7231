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
    TnType type;
    if (lua_type(L, 2) != LUA_TSTRING)
        return tn_host_raise_text(L, TN_ERROR_CONFIG,
                                  "x[…]: elements are read by x:get(i, …), parts cut by x:slice");
    const char *key = lua_tostring(L, 2);
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

/* --- What Lua asks of numbers alone ----------------------------------------------------------- */

/* Raised instead of Lua's own error, which knows neither tensors nor graphs. Upvalues: what was asked; what may be done
 * instead; whether it is a number that is missing. */
static int
not_so(lua_State *L)
{
    const char *asked = lua_tostring(L, lua_upvalueindex(1));
    const gboolean number = lua_toboolean(L, lua_upvalueindex(3));
    if (number && (luaL_testudata(L, 1, TN_VALUE) || luaL_testudata(L, 2, TN_VALUE)))
        return tn_host_raise_text(L, TN_ERROR_CONFIG,
                                  "%s: a value of a graph has no number yet, only when the program "
                                  "runs: choose with tn.op.where or tn.cond, or leave this out of "
                                  "the jit",
                                  asked);
    return tn_host_raise_text(L, TN_ERROR_CONFIG, "%s: %s", asked,
                              lua_tostring(L, lua_upvalueindex(2)));
}

typedef struct {
    const char *field, *asked, *instead;
    gboolean number;
} Sentence;

/* Into the table at the top. */
static void
add_sentences(lua_State *L, guint n, const Sentence *rows)
{
    for (guint i = 0; i < n; i++) {
        lua_pushstring(L, rows[i].asked);
        lua_pushstring(L, rows[i].instead);
        lua_pushboolean(L, rows[i].number);
        lua_pushcclosure(L, not_so, 3);
        lua_setfield(L, -2, rows[i].field);
    }
}

static void
open_sentences(lua_State *L)
{
    static const char *const types[] = { TN_VALUE, TN_TENSOR, TN_VARIABLE };
    static const char compare[] =
        "tensors are compared by x:less(y) and its like, their numbers by x:item()";
    static const Sentence events[] = {
        { "__lt", "comparison", compare, TRUE },
        { "__le", "comparison", compare, TRUE },
        { "__concat", "..", "tostring(x) is a tensor's text, x:item() its number", TRUE },
        { "__len", "#", "sizes are in x.shape", FALSE },
        { "__idiv", "//", "(x / y):floor() is the whole part of a quotient", FALSE },
    };
    static const char read[] = "a variable is read first: v:read()";
    static const Sentence methods[] = {
        { "item", "item", read, TRUE },
        { "list", "list", read, TRUE },
        { "get", "get", read, TRUE },
    };
    for (guint i = 0; i < G_N_ELEMENTS(types); i++) {
        luaL_getmetatable(L, types[i]);
        add_sentences(L, G_N_ELEMENTS(events), events);
        lua_getfield(L, -1, "methods");
        if (strcmp(types[i], TN_TENSOR) != 0)
            add_sentences(L, G_N_ELEMENTS(methods), methods);
        lua_pop(L, 2);
    }
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
    open_sentences(L);
    return 0;
}
