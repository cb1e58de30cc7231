/* spec.c: constructors: what `tn.dataset.hdf5 { … }` does. While a config loads they record what is wrong and
 * do not raise for it. */
#include "host-private.h"

#include <string.h>

#define DEEPEST 256 /* components one in another: each costs stack wherever the tree is walked */

/* A row that takes a list. */
static gboolean
takes_list(const TnOption *row)
{
    switch (row->type) {
    case TN_OPT_SHAPE:
    case TN_OPT_INTS:
    case TN_OPT_DOUBLES:
    case TN_OPT_STRINGS:
    case TN_OPT_COMPONENTS: return TRUE;
    default: return FALSE;
    }
}

/* Moves items from `from` on into one list. */
static TnValue *
rest_of(TnValue *items, gsize from)
{
    TnValue *list = tn_value_list();
    tn_value_set_where(list, tn_value_where(tn_value_at(items, from)));
    for (gsize i = from; i < tn_value_len(items); i++)
        tn_value_push(list, tn_value_ref(tn_value_at(items, i)));
    return list;
}

void
tn_place_items(lua_State *L, const TnOptions *rows, TnValue *map, TnValue *items, TnWhere where,
               const char *what)
{
    const gsize n = tn_value_len(items);
    gsize used = 0;
    for (guint32 i = 0; i < rows->n && used < n; i++) {
        const TnOption *row = tn_options_row(rows, i);
        TnValue *item = tn_value_at(items, used);
        if (!(row->flags & TN_OPTION_POSITIONAL))
            continue;
        /* A list's row takes all that is left, unless that is one list already. */
        if (takes_list(row) && !(n - used == 1 && tn_value_type(item) == TN_VALUE_LIST)) {
            tn_value_set(map, row->name, rest_of(items, used));
            used = n;
        } else {
            tn_value_set(map, row->name, tn_value_ref(item));
            used++;
        }
    }
    if (used == n)
        return;
    const TnWhere at = tn_value_where(tn_value_at(items, used));
    const char *text =
        used > 0
            ? lua_pushfstring(L, "%s takes %d values without a key, got %d", what, (int)used,
                              (int)n)
            : lua_pushfstring(
                  L, "%s takes options by their names, as in { %s = … }; one was given without",
                  what, rows->n > 0 ? tn_options_row(rows, 0)->name : "name");
    tn_host_complain(L, at.file ? at : where, NULL, text);
    lua_pop(L, 1);
}

/* Options from the arguments: one table of them, or one plain value, into the spec. Stack: argument
 * at 1. */
static void
read_arguments(lua_State *L, TnSpec *spec, TnValue *items)
{
    TnValue *map = tn_spec_options(spec);
    const TnWhere where = tn_spec_where(spec);
    const int n = lua_gettop(L) - 2; /* the spec and the items lie behind them */
    if (n > 1) {
        const char *text = lua_pushfstring(L, "'%s' takes one table of options, got %d arguments",
                                           tn_spec_component(spec), n);
        tn_host_complain(L, where, NULL, text);
        lua_pop(L, 1);
    }
    if (n < 1 || lua_isnil(L, 1))
        return;
    if (lua_type(L, 1) == LUA_TTABLE) {
        tn_fill_map(L, 1, map, items, where);
    } else {
        TnValue *value = tn_box_from(L, 1, NULL);
        tn_value_push(items, tn_value_ref(value));
        lua_pop(L, 1);
    }
}

/* How many components are one in another. What is walked was made by constructors, and is no deeper than they allow. */
static guint
depth_of(const TnValue *value)
{
    const gboolean spec = tn_value_type(value) == TN_VALUE_SPEC;
    const TnValue *inside = spec ? tn_spec_options(tn_value_get_spec(value)) : value;
    const TnValueType type = tn_value_type(inside);
    const gsize n = type == TN_VALUE_LIST || type == TN_VALUE_MAP ? tn_value_len(inside) : 0;
    guint most = 0;
    for (gsize i = 0; i < n; i++) {
        const guint depth = depth_of(tn_value_at(inside, i));
        most = MAX(most, depth);
    }
    return most + spec;
}

/* The constructor: interface and component are upvalues 1 and 2. */
static int
construct(lua_State *L)
{
    const char *iface = lua_tostring(L, lua_upvalueindex(1));
    const char *component = lua_tostring(L, lua_upvalueindex(2));
    luaL_checkstack(L, 20, "constructor");
    tn_push_spec(L, NULL);
    TnSpec **handle = lua_touserdata(L, -1);
    *handle = tn_spec_new(iface, component, tn_host_where(L));
    TnValueBox *items = tn_push_box(L, tn_value_list());
    read_arguments(L, *handle, items->value);
    if (g_str_has_prefix(iface, TN_IFACE_SEARCH)) {
        if (tn_value_len(items->value))
            tn_value_set(tn_spec_options(*handle), "of", tn_value_ref(items->value));
    } else if (tn_value_len(items->value)) {
        /* That there is no such component is said when the tree is checked, with its path. */
        const TnFactory *factory = tn_registry_find(iface, component, NULL);
        if (factory)
            tn_place_items(L, &factory->options, tn_spec_options(*handle), items->value,
                           tn_spec_where(*handle), component);
    }
    lua_pop(L, 1);
    if (depth_of(tn_spec_options(*handle)) >= DEEPEST)
        return tn_host_raise_text(L, TN_ERROR_CONFIG,
                                  "'%s': more than %d components are one in another", component,
                                  DEEPEST);
    return 1;
}

void
tn_push_constructor(lua_State *L, const char *iface, const char *component)
{
    lua_pushstring(L, iface);
    lua_pushstring(L, component);
    lua_pushcclosure(L, construct, 2);
}

/* constructor(iface, component): the function that makes such specs. */
static int
constructor(lua_State *L)
{
    tn_push_constructor(L, luaL_checkstring(L, 1), luaL_checkstring(L, 2));
    return 1;
}

/* is_spec(x [, iface]) */
static int
is_spec(lua_State *L)
{
    const TnSpec *spec = tn_to_spec(L, 1);
    const char *iface = luaL_optstring(L, 2, NULL);
    lua_pushboolean(L, spec && (!iface || strcmp(tn_spec_iface(spec), iface) == 0));
    return 1;
}

/* data(name): where a data set lies: "name" below the data root; absolute paths stay. */
static int
data(lua_State *L)
{
    TnHost *host = tn_host_of(L);
    const char *name = luaL_checkstring(L, 1);
    if (strlen(name) != lua_rawlen(L, 1))
        return tn_host_raise_text(L, TN_ERROR_CONFIG, "tn.data: the name holds a NUL byte");
    char *path =
        g_path_is_absolute(name) ? g_strdup(name) : g_build_filename(host->data_root, name, NULL);
    TnValueBox *box = tn_push_box(L, tn_value_string(path));
    g_free(path);
    lua_pushstring(L, tn_value_get_string(box->value));
    return 1;
}

/* has_module(name): whether a plugin brings the Lua module tn.NAME; raises if it should and
 * cannot. */
static int
plugin_module(lua_State *L)
{
    GError *error = NULL;
    const TnLuaModule *module = tn_registry_lua(luaL_checkstring(L, 1), &error);
    if (!module)
        return tn_host_raise(L, error);
    lua_pushboolean(L, TRUE);
    return 1;
}

int
tn_spec_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "constructor", constructor },     { "is_spec", is_spec }, { "data", data },
        { "plugin_module", plugin_module }, { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
    return 0;
}
