/* component.c: components written in Lua. tn.component declares the same rows as a plugin's, made
 * into a factory at run time, so that check, help, overrides and faults do not know the difference.
 * An instance is a table: its options are its fields, the component is its metatable. */
#include "host-private.h"
#include <tenon/base.h>

#include <math.h>
#include <string.h>

/* --- Rows ------------------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    TnOptionType type;
    guint size; /* of the member */
} RowType;

static const RowType row_types[] = {
    { "bool", TN_OPT_BOOL, sizeof(gboolean) },
    { "int", TN_OPT_INT64, sizeof(gint64) },
    { "uint", TN_OPT_UINT64, sizeof(guint64) },
    { "number", TN_OPT_DOUBLE, sizeof(double) },
    { "string", TN_OPT_STRING, sizeof(char *) },
    { "path", TN_OPT_PATH, sizeof(char *) },
    { "enum", TN_OPT_ENUM, sizeof(gint) },
    { "flags", TN_OPT_FLAGS, sizeof(guint32) },
    { "duration", TN_OPT_DURATION, sizeof(double) },
    { "size", TN_OPT_SIZE, sizeof(guint64) },
    { "shape", TN_OPT_SHAPE, sizeof(TnShape) },
    { "ints", TN_OPT_INTS, sizeof(TnInts) },
    { "numbers", TN_OPT_DOUBLES, sizeof(TnDoubles) },
    { "strings", TN_OPT_STRINGS, sizeof(TnStrings) },
    { "component", TN_OPT_COMPONENT, sizeof(TnSpec *) },
    { "components", TN_OPT_COMPONENTS, sizeof(TnSpecs) },
    { "component_map", TN_OPT_COMPONENT_MAP, sizeof(TnSpecs) },
    { "function", TN_OPT_FUNCTION, sizeof(TnValue *) },
    { "value", TN_OPT_VALUE, sizeof(TnValue *) },
};

/* A string field of the table at the top, interned; NULL if absent. Raises if it is of another
 * type. */
static const char *
string_field(lua_State *L, const char *key)
{
    const char *text = NULL;
    const int type = lua_getfield(L, -1, key);
    if (type != LUA_TNIL && type != LUA_TSTRING)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "tn.component: '%s' is a string, not a %s", key,
                           lua_typename(L, type));
    if (type == LUA_TSTRING)
        text = tn_intern(lua_tostring(L, -1));
    lua_pop(L, 1);
    return text;
}

static gboolean
flag_field(lua_State *L, const char *key)
{
    lua_getfield(L, -1, key);
    const gboolean set = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return set;
}

static const RowType *
row_type(lua_State *L, const char *row, const char *name)
{
    const char *names[G_N_ELEMENTS(row_types)];
    for (guint i = 0; i < G_N_ELEMENTS(row_types); i++) {
        if (name && strcmp(row_types[i].name, name) == 0)
            return &row_types[i];
        names[i] = row_types[i].name;
    }
    const char *near = name ? tn_nearest(name, names, G_N_ELEMENTS(names)) : NULL;
    tn_host_raise_text(L, TN_ERROR_CONFIG, "tn.component: option '%s': unknown type '%s'%s%s%s",
                       row, name ? name : "nil", near ? "; did you mean '" : "", near ? near : "",
                       near ? "'?" : "");
    return NULL;
}

static gboolean
is_integer(TnOptionType type)
{
    return type == TN_OPT_INT64 || type == TN_OPT_UINT64 || type == TN_OPT_SIZE ||
           type == TN_OPT_SHAPE || type == TN_OPT_INTS;
}

/* A bound; an absent one is the widest. */
static void
read_bound(lua_State *L, const char *key, TnNumber *bound, gboolean upper)
{
    bound->i = upper ? G_MAXINT64 : G_MININT64;
    bound->f = upper ? G_MAXDOUBLE : -G_MAXDOUBLE;
    if (lua_getfield(L, -1, key) == LUA_TNUMBER) {
        bound->f = lua_tonumber(L, -1);
        bound->i = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : (gint64)bound->f;
    }
    lua_pop(L, 1);
}

static void
read_bounds(lua_State *L, TnOption *row)
{
    lua_getfield(L, -1, "min");
    lua_getfield(L, -2, "max");
    const gboolean bounded = !lua_isnil(L, -1) || !lua_isnil(L, -2);
    lua_pop(L, 2);
    if (!bounded)
        return;
    read_bound(L, "min", &row->min, FALSE);
    read_bound(L, "max", &row->max, TRUE);
    if ((row->type == TN_OPT_UINT64 || row->type == TN_OPT_SIZE) && row->min.i < 0)
        row->min.i = 0;
    if (is_integer(row->type) || row->type == TN_OPT_DOUBLE || row->type == TN_OPT_DURATION ||
        row->type == TN_OPT_DOUBLES)
        return;
    tn_host_raise_text(L, TN_ERROR_CONFIG,
                       "tn.component: option '%s': only numbers have 'min' and 'max'", row->name);
}

static void
read_choices(lua_State *L, TnClass *klass, TnOption *row)
{
    if (lua_getfield(L, -1, "choices") == LUA_TTABLE) {
        const guint n = (guint)lua_rawlen(L, -1);
        const char **choices = g_new0(const char *, n + 1);
        g_ptr_array_add(klass->tables, choices);
        for (guint i = 0; i < n; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i + 1);
            choices[i] = tn_intern(luaL_checkstring(L, -1));
            lua_pop(L, 1);
        }
        row->choices = choices;
    } else if (row->type == TN_OPT_ENUM || row->type == TN_OPT_FLAGS) {
        tn_host_raise_text(L, TN_ERROR_CONFIG, "tn.component: option '%s': an enum has 'choices'",
                           row->name);
    }
    lua_pop(L, 1);
}

/* The default as text that tn_value_parse reads. */
static void
read_default(lua_State *L, TnOption *row)
{
    if (lua_getfield(L, -1, "default") != LUA_TNIL) {
        TnValueBox *box = (tn_box_from(L, -1, "default"), lua_touserdata(L, -1));
        char *text = tn_value_print(box->value, 0);
        row->dflt = tn_intern(text);
        g_free(text);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* "schedule" -> "tenon.schedule/1"; a full name stays. */
static const char *
full_iface(const char *of)
{
    if (!of || strchr(of, '/'))
        return of;
    g_autofree char *full = g_strdup_printf("tenon.%s/1", of);
    return tn_intern(full);
}

/* A row that takes a component or a plain number: `wrap` names the component that the number stands
 * for. */
static void
read_wrap(lua_State *L, TnClass *klass, guint i, TnOption *row)
{
    klass->wrap[i] = string_field(L, "wrap");
    klass->wrap_default[i] = NAN;
    if (!klass->wrap[i]) {
        read_default(L, row);
        return;
    }
    if (lua_getfield(L, -1, "default") == LUA_TNUMBER)
        klass->wrap_default[i] = lua_tonumber(L, -1);
    lua_pop(L, 1);
    char number[G_ASCII_DTOSTR_BUF_SIZE] = "";
    if (isfinite(klass->wrap_default[i]))
        g_ascii_formatd(number, sizeof number, "%g", klass->wrap_default[i]);
    char *help = g_strdup_printf("%s; a number or a %s%s%s", row->help ? row->help : "",
                                 "component", *number ? ", default " : "", number);
    row->help = tn_intern(help);
    g_free(help);
}

static void
read_row(lua_State *L, TnClass *klass, guint i, TnOption *row)
{
    static const struct {
        const char *name;
        guint32 flag;
    } flags[] = {
        { "required", TN_OPTION_REQUIRED },     { "nullable", TN_OPTION_NULLABLE },
        { "secret", TN_OPTION_SECRET },         { "runtime", TN_OPTION_RUNTIME },
        { "search_log", TN_OPTION_SEARCH_LOG }, { "search_linear", TN_OPTION_SEARCH_LINEAR },
        { "open_min", TN_OPTION_OPEN_MIN },     { "open_max", TN_OPTION_OPEN_MAX },
        { "positional", TN_OPTION_POSITIONAL }, { "sibling", TN_OPTION_SIBLING },
        { "output", TN_OPTION_OUTPUT },
    };
    row->name = string_field(L, "name");
    if (!row->name)
        tn_host_raise_text(L, TN_ERROR_CONFIG, "tn.component: option %d has no name", (int)i + 1);
    const RowType *type = row_type(L, row->name, string_field(L, "type"));
    row->type = type->type;
    row->offset = klass->factory.options.struct_size;
    klass->factory.options.struct_size += (type->size + 7u) & ~7u;
    row->help = string_field(L, "help");
    row->unit = string_field(L, "unit");
    row->since = string_field(L, "since");
    row->was = string_field(L, "was");
    row->iface = full_iface(string_field(L, "of"));
    for (guint f = 0; f < G_N_ELEMENTS(flags); f++)
        if (flag_field(L, flags[f].name))
            row->flags |= flags[f].flag;
    read_bounds(L, row);
    read_choices(L, klass, row);
    read_wrap(L, klass, i, row);
}

static void
read_rows(lua_State *L, TnClass *klass)
{
    lua_getfield(L, 1, "options");
    const guint n = lua_istable(L, -1) ? (guint)lua_rawlen(L, -1) : 0;
    TnOption *rows = g_new0(TnOption, n + 1);
    g_ptr_array_add(klass->tables, rows);
    g_ptr_array_add(klass->tables, klass->wrap = g_new0(const char *, n + 1));
    g_ptr_array_add(klass->tables, klass->wrap_default = g_new0(double, n + 1));
    klass->factory.options =
        (TnOptions){ .struct_size = 8, .row_size = sizeof(TnOption), .n = n, .rows = rows };
    for (guint i = 0; i < n; i++) {
        if (lua_rawgeti(L, -1, (lua_Integer)i + 1) != LUA_TTABLE)
            tn_host_raise_text(L, TN_ERROR_CONFIG, "tn.component: option %d is a table, not a %s",
                               (int)i + 1, luaL_typename(L, -1));
        read_row(L, klass, i, &rows[i]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* --- Classes ---------------------------------------------------------------------------------- */

static char *
class_key(const char *iface, const char *component)
{
    return g_strconcat(iface, " ", component, NULL);
}

TnClass *
tn_host_class(TnHost *host, const char *iface, const char *component)
{
    g_autofree char *key = class_key(iface, component);
    return g_hash_table_lookup(host->classes, key);
}

void
tn_class_free(TnClass *klass)
{
    g_ptr_array_unref(klass->tables);
    g_free(klass);
}

/* Whether the code that calls tn.component is neither this library's nor of the layers that come
 * with it. */
static gboolean
is_own(lua_State *L)
{
    static const char *const ours[] = { "=pipelines/lua/", "=plugins/nn/" };
    lua_Debug ar;
    for (int level = 1; lua_getstack(L, level, &ar) && lua_getinfo(L, "S", &ar); level++) {
        if (strcmp(ar.source, "=pipelines/lua/tenon/init.lua") == 0) /* tn.component itself */
            continue;
        for (guint i = 0; i < G_N_ELEMENTS(ours); i++)
            if (g_str_has_prefix(ar.source, ours[i]))
                return FALSE;
        return TRUE;
    }
    return TRUE;
}

/* class(definition): registers it and makes definition the metatable of instances. The class
 * belongs to the host from the start, so an error on the way leaves nothing behind. */
static int
define(lua_State *L)
{
    TnHost *host = tn_host_of(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    TnClass *klass = g_new0(TnClass, 1);
    klass->tables = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(host->class_order, klass);
    klass->host = host;
    const char *iface = full_iface(string_field(L, "interface"));
    const char *name = string_field(L, "name");
    if (!iface || !name)
        return tn_host_raise_text(L, TN_ERROR_CONFIG,
                                  "tn.component: 'interface' and 'name' are needed");
    klass->factory.size = sizeof(TnFactory);
    klass->factory.iface = iface;
    klass->factory.name = name;
    klass->factory.help = string_field(L, "help");
    klass->factory.threads = TN_THREADS_OWNER;
    klass->own = is_own(L);
    read_rows(L, klass);
    lua_pushvalue(L, 1);
    klass->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    g_hash_table_replace(host->classes, class_key(iface, name), klass);
    tn_registry_add_factory(&klass->factory, "lua");
    tn_push_constructor(L, iface, name);
    return 1;
}

/* --- Instances -------------------------------------------------------------------------------- */

/* An instance in the place of the spec at the top of the stack, if its component is written in
 * Lua. */
static void
replace_spec(lua_State *L, const char *name)
{
    TnSpec *spec = tn_to_spec(L, -1);
    if (!spec || !tn_host_class(tn_host_of(L), tn_spec_iface(spec), tn_spec_component(spec)))
        return;
    tn_push_instance(L, spec, name);
    lua_remove(L, -2);
}

/* The list or map at the top of the stack with instances for specs. Items of a list given without a
 * key are called by their number, those of other lists "option.number". */
static void
replace_items(lua_State *L, const TnOption *row, const TnValue *value)
{
    const gsize n = tn_value_len(value);
    luaL_checkstack(L, 8, "components");
    for (gsize i = 0; i < n; i++) {
        const char *key = tn_value_type(value) == TN_VALUE_MAP ? tn_value_key_at(value, i) : NULL;
        if (key)
            lua_pushstring(L, key);
        else if (row->flags & TN_OPTION_POSITIONAL)
            lua_pushfstring(L, "%d", (int)i + 1);
        else
            lua_pushfstring(L, "%s.%d", row->name, (int)i + 1);
        const char *name = lua_tostring(L, -1);
        if (key)
            lua_getfield(L, -2, key);
        else
            lua_rawgeti(L, -2, (lua_Integer)i + 1);
        replace_spec(L, name);
        if (key)
            lua_setfield(L, -3, key);
        else
            lua_rawseti(L, -3, (lua_Integer)i + 1);
        lua_pop(L, 1);
    }
}

/* Raises the faults and frees them: an error of Lua's passes by what is freed at the end of a block. */
static void
raise_faults(lua_State *L, TnFaults *faults)
{
    GError *error = NULL;
    tn_faults_to_error(faults, &error);
    tn_faults_free(faults);
    tn_host_raise(L, error);
}

/* Checked options of spec as a map in a new box on the stack. */
static TnValue *
box_options(lua_State *L, const TnSpec *spec, const TnOptions *rows)
{
    TnValueBox *box = tn_push_box(L, tn_value_map());
    const TnWhere where = tn_spec_where(spec);
    g_autoptr(TnFaults) faults = tn_faults_new();
    char *folder = where.file ? g_path_get_dirname(where.file) : NULL;
    TnConfig *config = tn_config_parse(rows, tn_spec_options(spec), tn_spec_component(spec), where,
                                       folder, faults);
    g_free(folder);
    if (!config)
        raise_faults(L, g_steal_pointer(&faults));
    for (guint32 i = 0; i < rows->n; i++) {
        const TnOption *row = tn_options_row(rows, i);
        /* What was not given and has no default is nil. */
        if (tn_config_is_set(config, row->name) || row->dflt)
            tn_value_set(box->value, row->name, tn_option_get(row, tn_config_data(config)));
    }
    tn_config_unref(config);
    return box->value;
}

void
tn_push_instance(lua_State *L, TnSpec *spec, const char *name)
{
    TnHost *host = tn_host_of(L);
    const TnClass *klass = tn_host_class(host, tn_spec_iface(spec), tn_spec_component(spec));
    luaL_checkstack(L, 16, "components are nested too deep");
    lua_newtable(L);
    const int self = lua_gettop(L);
    const TnValue *options = box_options(L, spec, &klass->factory.options);
    for (gsize i = 0; i < tn_value_len(options); i++) {
        const TnOption *row = tn_options_find(&klass->factory.options, tn_value_key_at(options, i));
        const TnValue *value = tn_value_at(options, i);
        tn_push_value(L, value);
        if (row->type == TN_OPT_COMPONENT)
            replace_spec(L, row->name);
        else if (row->type == TN_OPT_COMPONENTS || row->type == TN_OPT_COMPONENT_MAP)
            replace_items(L, row, value);
        lua_setfield(L, self, row->name);
    }
    lua_settop(L, self);
    tn_push_spec(L, spec);
    lua_setfield(L, self, "_spec");
    if (name) {
        lua_pushstring(L, name);
        lua_setfield(L, self, "_name");
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, klass->ref);
    lua_setmetatable(L, self);
    if (lua_getfield(L, self, "init") == LUA_TFUNCTION) {
        lua_pushvalue(L, self);
        lua_call(L, 1, 0);
    }
    lua_settop(L, self);
}

/* A spec that a script made while it ran was not judged with the config: raises all that is wrong with it and
 * with those inside it. */
static void
check_tree(lua_State *L, const TnSpec *spec)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    if (!tn_spec_check(spec, tn_spec_component(spec), faults))
        raise_faults(L, g_steal_pointer(&faults));
}

/* instance(spec [, name]): of a component written in Lua. */
static int
instance(lua_State *L)
{
    TnSpec *spec = tn_to_spec(L, 1);
    if (!spec)
        return tn_host_raise_text(L, TN_ERROR_CONFIG, "tn.new: wants a component, got a %s",
                                  luaL_typename(L, 1));
    if (!tn_host_class(tn_host_of(L), tn_spec_iface(spec), tn_spec_component(spec)))
        return 0;
    tn_host_wrap_numbers(tn_host_of(L), spec); /* a spec of the config's tree has that behind it */
    if (!lua_isnoneornil(L, 2) && !lua_isstring(L, 2))
        return tn_host_raise_text(L, TN_ERROR_CONFIG, "tn.new: a name is a string, not a %s",
                                  luaL_typename(L, 2));
    check_tree(L, spec);
    tn_push_instance(L, spec, lua_tostring(L, 2));
    return 1;
}

/* checked(spec): its options as a table, by the rows of its component, which is written in Lua; specs among them stay
 * specs. */
static int
checked(lua_State *L)
{
    TnHost *host = tn_host_of(L);
    TnSpec *spec = tn_to_spec(L, 1);
    const TnClass *klass =
        spec ? tn_host_class(host, tn_spec_iface(spec), tn_spec_component(spec)) : NULL;
    if (!klass)
        return luaL_argerror(L, 1, "a component written in Lua was expected");
    tn_push_value(L, box_options(L, spec, &klass->factory.options));
    return 1;
}

/* class_of(iface, component): the table that was given to tn.component. */
static int
class_of(lua_State *L)
{
    const TnClass *klass =
        tn_host_class(tn_host_of(L), luaL_checkstring(L, 1), luaL_checkstring(L, 2));
    if (!klass)
        return 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, klass->ref);
    return 1;
}

int
tn_component_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "define", define },     { "instance", instance }, { "checked", checked },
        { "class_of", class_of }, { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
    return 0;
}
