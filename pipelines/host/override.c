/* override.c: values from the command line: arguments that a config declares with tn.arg, and paths
 * into its tree. */
#include "host-private.h"
#include <tenon/base.h>

#include <math.h>
#include <string.h>

#define FROM_COMMAND_LINE ((TnWhere){ "command line", 0 })

/* --- tn.arg ----------------------------------------------------------------------------------- */

static TnOverride *
find_override(const TnHost *host, const char *key)
{
    for (guint i = host->overrides->len; i > 0; i--) { /* the last one given counts */
        TnOverride *override = host->overrides->pdata[i - 1];
        if (strcmp(override->key, key) == 0)
            return override;
    }
    return NULL;
}

/* A member for any type that an argument may have. */
typedef union {
    gboolean b;
    gint64 i;
    double f;
    const char *s;
    gint choice;
    const TnValue *v;
} ArgSlot;

static void
arg_bounds(lua_State *L, TnOption *row)
{
    if (lua_type(L, 3) != LUA_TTABLE)
        return;
    lua_getfield(L, 3, "min");
    lua_getfield(L, 3, "max");
    if (lua_isnumber(L, -1) || lua_isnumber(L, -2)) {
        row->min = (TnNumber){ G_MININT64, -G_MAXDOUBLE };
        row->max = (TnNumber){ G_MAXINT64, G_MAXDOUBLE };
        if (lua_isnumber(L, -2))
            row->min = (TnNumber){ (gint64)lua_tonumber(L, -2), lua_tonumber(L, -2) };
        if (lua_isnumber(L, -1))
            row->max = (TnNumber){ (gint64)lua_tonumber(L, -1), lua_tonumber(L, -1) };
    }
    lua_pop(L, 2);
}

/* The row that judges the argument, from its default and its choices; choices are interned into
 * names[most]. */
static void
arg_row(lua_State *L, TnOption *row, const char **names, guint most)
{
    static const TnOptionType of_value[] = {
        [TN_VALUE_NIL] = TN_OPT_VALUE,     [TN_VALUE_BOOL] = TN_OPT_BOOL,
        [TN_VALUE_INT] = TN_OPT_INT64,     [TN_VALUE_UINT] = TN_OPT_UINT64,
        [TN_VALUE_DOUBLE] = TN_OPT_DOUBLE, [TN_VALUE_STRING] = TN_OPT_STRING,
        [TN_VALUE_LIST] = TN_OPT_VALUE,    [TN_VALUE_MAP] = TN_OPT_VALUE,
        [TN_VALUE_SPEC] = TN_OPT_VALUE,    [TN_VALUE_FUNC] = TN_OPT_VALUE,
    };
    const TnValueBox *dflt = luaL_checkudata(L, 4, "tenon.box");
    row->type = of_value[tn_value_type(dflt->value)];
    arg_bounds(L, row);
    if (lua_type(L, 3) != LUA_TTABLE || lua_getfield(L, 3, "choices") != LUA_TTABLE)
        return;
    guint n = 0;
    for (; n < most && lua_rawgeti(L, -1, (lua_Integer)n + 1) == LUA_TSTRING; n++) {
        names[n] = tn_intern(lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    names[n] = NULL;
    row->choices = names;
    row->type = TN_OPT_ENUM;
    lua_settop(L, 4);
}

/* Judges value against the row; what is wrong goes to the host's faults. TRUE if it fits. */
static gboolean
judge(TnHost *host, TnOption *row, TnValue *value, TnWhere where)
{
    const TnOptions rows = { sizeof(ArgSlot), sizeof(TnOption), 1, row };
    g_autoptr(TnValue) map = tn_value_map();
    g_autoptr(GError) error = NULL;
    TnValue *judged = tn_value_copy(value);
    tn_value_set_where(judged, (TnWhere){ NULL, 0 }); /* the fault has the place */
    tn_value_set(map, row->name, judged);
    g_autoptr(TnConfig) config = tn_config_new(&rows, map, &error);
    if (config)
        return TRUE;
    tn_host_fault(host, where, NULL, "%s", error->message);
    return FALSE;
}

/* The value that the command line gives, in a box on the stack; FALSE if it gives none that
 * fits. */
static gboolean
given_value(lua_State *L, TnOption *row)
{
    TnHost *host = tn_host_of(L);
    TnOverride *override = find_override(host, row->name);
    if (!override)
        return FALSE;
    override->used = TRUE;
    TnValueBox *box = tn_push_box(L, NULL);
    GError *error = NULL;
    /* Where text is wanted, what looks like a number is text. */
    box->value = row->type == TN_OPT_STRING || row->type == TN_OPT_ENUM
                     ? tn_value_string(override->text)
                     : tn_value_parse(override->text, &error);
    if (!box->value) {
        tn_host_fault(host, FROM_COMMAND_LINE, row->name, "%s", error->message);
        g_error_free(error);
        return FALSE;
    }
    tn_value_set_where(box->value, FROM_COMMAND_LINE);
    if (!judge(host, row, box->value, FROM_COMMAND_LINE))
        return FALSE;
    TnArgRow *known = host->args->pdata[host->args->len - 1];
    known->value = tn_value_ref(box->value);
    return TRUE;
}

static void
remember(lua_State *L, const char *name, TnValue *dflt, const TnOption *option)
{
    TnHost *host = tn_host_of(L);
    TnArgRow *row = g_new0(TnArgRow, 1);
    g_ptr_array_add(host->args, row);
    row->name = g_strdup(name);
    row->dflt = tn_value_ref(dflt);
    if (lua_type(L, 3) == LUA_TTABLE) {
        if (lua_getfield(L, 3, "help") == LUA_TSTRING)
            row->help = g_strdup(lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    row->accepts = tn_option_describe(option);
    row->arg = (TnHostArg){ row->name, row->help, row->dflt, tn_host_where(L), row->accepts };
}

/* arg(name, default [, {help =, choices =, min =, max =}]) */
static int
arg(lua_State *L)
{
    enum { MOST_CHOICES = 64 };
    TnHost *host = tn_host_of(L);
    const char *choices[MOST_CHOICES + 1];
    const char *name = tn_intern(luaL_checkstring(L, 1));
    if (strlen(name) != lua_rawlen(L, 1) || strchr(name, '='))
        return tn_host_raise_text(L, TN_ERROR_CONFIG, "tn.arg: '%s' is no name", name);
    if (tn_given_arg(L, name)) { /* a config that another one loads: its arguments are settled */
        if (lua_isnil(L, -1))
            lua_pushvalue(L, 2);
        return 1;
    }
    for (guint i = 0; i < host->args->len; i++)
        if (strcmp(((TnArgRow *)host->args->pdata[i])->name, name) == 0)
            return tn_host_raise_text(L, TN_ERROR_CONFIG, "tn.arg: '%s' is declared twice", name);
    lua_settop(L, 3);
    TnValue *dflt = tn_box_from(L, 2, name); /* its box is at 4 */
    TnOption row = { .name = name };
    arg_row(L, &row, choices, MOST_CHOICES);
    lua_settop(L, 4);
    remember(L, name, dflt, &row);
    if (tn_value_type(dflt) != TN_VALUE_NIL)
        judge(host, &row, dflt, tn_host_where(L));
    if (!given_value(L, &row)) {
        lua_pushvalue(L, 2);
        return 1;
    }
    const TnValueBox *box = lua_touserdata(L, -1);
    if (row.type == TN_OPT_DOUBLE)
        lua_pushnumber(L, tn_value_get_double(box->value));
    else
        tn_push_value(L, box->value);
    return 1;
}

/* --- Paths ------------------------------------------------------------------------------------ */

/* The first word of a path. */
static char *
head_of(const char *path)
{
    return g_strndup(path, strcspn(path, ".["));
}

static const TnFactory *
factory_of(const TnSpec *spec)
{
    return tn_registry_find(tn_spec_iface(spec), tn_spec_component(spec), NULL);
}

/* A short path made whole: "train.epochs" is "stages.train.epochs" where only `stages` has a
 * component of that name. NULL and a fault if it is nowhere, or in two places. */
static char *
whole_path(TnHost *host, const TnSpec *root, const TnOverride *override)
{
    const TnFactory *factory = factory_of(root);
    g_autofree char *head = head_of(override->key);
    g_autoptr(GPtrArray) known = g_ptr_array_new();
    g_autofree char *found = NULL;
    guint places = 0;
    if (!factory || tn_options_find(&factory->options, head))
        return g_strdup(override->key);
    for (guint32 i = 0; i < factory->options.n; i++) {
        const TnOption *row = tn_options_row(&factory->options, i);
        const TnValue *map = tn_value_get(tn_spec_options(root), row->name);
        g_ptr_array_add(known, (gpointer)row->name);
        if (row->type != TN_OPT_COMPONENT_MAP || tn_value_type(map) != TN_VALUE_MAP)
            continue;
        for (gsize k = 0; k < tn_value_len(map); k++)
            g_ptr_array_add(known, (gpointer)tn_value_key_at(map, k));
        if (!tn_value_get(map, head))
            continue;
        g_free(found);
        found = g_strconcat(row->name, ".", override->key, NULL);
        places++;
    }
    if (places == 1)
        return g_steal_pointer(&found);
    for (guint i = 0; i < host->args->len; i++)
        g_ptr_array_add(known, ((TnArgRow *)host->args->pdata[i])->name);
    const char *near = tn_nearest(head, (const char *const *)known->pdata, known->len);
    tn_host_fault(host, FROM_COMMAND_LINE, override->key,
                  places ? "'%s' is in several places; write the whole path%s%s%s"
                         : "the config has no option, component or argument '%s'%s%s%s",
                  head, near && !places ? "; did you mean '" : "", near && !places ? near : "",
                  near && !places ? "'?" : "");
    return NULL;
}

/* Splits "a.b.c" into the spec that has option c, and c: NULL if that parent is no spec. */
static TnSpec *
parent_spec(const TnSpec *root, const char *path, const char **last)
{
    const char *dot = strrchr(path, '.');
    *last = dot ? dot + 1 : path;
    if (!dot)
        return (TnSpec *)root;
    g_autofree char *parent = g_strndup(path, (gsize)(dot - path));
    const TnValue *value = tn_value_find(tn_spec_options(root), parent, NULL);
    return tn_value_type(value) == TN_VALUE_SPEC ? tn_value_get_spec(value) : NULL;
}

/* "train.lr" where train has no option lr, but one component of its options has: that one's. NULL:
 * as it stands. */
static char *
deeper_path(const TnSpec *root, const char *path)
{
    const char *last;
    g_autofree char *found = NULL;
    const TnSpec *spec = parent_spec(root, path, &last);
    const TnFactory *factory = spec ? factory_of(spec) : NULL;
    if (!factory || tn_options_find(&factory->options, last))
        return NULL;
    const TnValue *options = tn_spec_options(spec);
    for (gsize i = 0; i < tn_value_len(options); i++) {
        const TnValue *item = tn_value_at(options, i);
        const TnFactory *inner =
            tn_value_type(item) == TN_VALUE_SPEC ? factory_of(tn_value_get_spec(item)) : NULL;
        if (!inner || !tn_options_find(&inner->options, last))
            continue;
        if (found)
            return NULL;
        found = g_strdup_printf("%.*s%s.%s", (int)(last - path), path, tn_value_key_at(options, i),
                                last);
    }
    return g_steal_pointer(&found);
}

/* Whether the option that path names holds text, so that 2024 is a name and not a number. */
static gboolean
wants_text(const TnSpec *root, const char *path)
{
    const char *last;
    const TnSpec *spec = parent_spec(root, path, &last);
    const TnFactory *factory = spec ? factory_of(spec) : NULL;
    const TnOption *row = factory ? tn_options_find(&factory->options, last) : NULL;
    return row && (row->type == TN_OPT_STRING || row->type == TN_OPT_PATH);
}

static void
apply(TnHost *host, TnSpec *root, const TnOverride *override)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = whole_path(host, root, override);
    if (!path)
        return;
    char *deeper = deeper_path(root, path);
    if (deeper) {
        g_free(path);
        path = deeper;
    }
    TnValue *value = tn_value_parse(override->text, &error);
    if (value && tn_value_type(value) != TN_VALUE_STRING && tn_value_type(value) != TN_VALUE_NIL &&
        wants_text(root, path)) {
        tn_value_unref(value);
        value = tn_value_string(override->text);
    }
    if (value) {
        tn_value_set_where(value, FROM_COMMAND_LINE);
        tn_value_assign(tn_spec_options(root), path, value, &error);
    }
    /* What cannot be read is said of the key; what cannot be set, with the whole path. */
    if (error)
        tn_host_fault(host, FROM_COMMAND_LINE, value ? NULL : override->key, "%s", error->message);
}

void
tn_host_apply_overrides(TnHost *host, TnSpec *root)
{
    for (guint i = 0; i < host->overrides->len; i++) {
        const TnOverride *override = host->overrides->pdata[i];
        if (!override->used)
            apply(host, root, override);
    }
}

/* --- Numbers and names in the place of components --------------------------------------------- */

static TnValue *
spec_in_place(const TnOption *row, const char *component, TnWhere where, TnValue *number)
{
    TnSpec *spec = tn_spec_new(row->iface, component, where);
    if (number)
        tn_value_set(tn_spec_options(spec), "value", number);
    TnValue *item = tn_value_spec(spec);
    tn_value_set_where(item, where);
    return item;
}

/* A number, where the row says what component it stands for. */
static void
wrap_number(const TnClass *klass, guint32 i, TnSpec *spec)
{
    const TnOption *row = tn_options_row(&klass->factory.options, i);
    TnValue *options = tn_spec_options(spec);
    TnValue *value = tn_value_get(options, row->name);
    const TnValueType type = tn_value_type(value);
    TnWhere where = tn_spec_where(spec);
    if (value ? type != TN_VALUE_INT && type != TN_VALUE_DOUBLE : !isfinite(klass->wrap_default[i]))
        return;
    if (value && tn_value_where(value).file)
        where = tn_value_where(value);
    tn_value_set(
        options, row->name,
        spec_in_place(row, klass->wrap[i], where,
                      value ? tn_value_ref(value) : tn_value_double(klass->wrap_default[i])));
}

/* Has Lua load the module that supplies components of an interface; it may well be one of C's. */
static void
load_module_of(TnHost *host, const char *iface)
{
    g_autoptr(GError) error = NULL;
    if (lua_getfield(host->L, LUA_REGISTRYINDEX, "tenon.loader") != LUA_TFUNCTION) {
        lua_pop(host->L, 1);
        return;
    }
    lua_pushstring(host->L, iface);
    if (!tn_host_call(host, 1, 0, &error))
        tn_log("host", TN_LOG_DEBUG, "%s", error->message);
}

/* set_loader(f) */
static int
set_loader(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_setfield(L, LUA_REGISTRYINDEX, "tenon.loader");
    return 0;
}

/* A component's name alone stands for it with its defaults; as a spec it is checked like any other.
 * (transfer full). */
static TnValue *
named_component(TnHost *host, const TnOption *row, TnWhere otherwise, TnValue *value)
{
    const TnWhere where = tn_value_where(value);
    if (tn_value_type(value) != TN_VALUE_STRING || !row->iface)
        return tn_value_ref(value);
    load_module_of(host, row->iface);
    return spec_in_place(row, tn_value_get_string(value), where.file ? where : otherwise, NULL);
}

static void
wrap_names(TnHost *host, const TnOption *row, TnSpec *spec)
{
    TnValue *options = tn_spec_options(spec);
    TnValue *value = tn_value_get(options, row->name);
    const TnValueType type = tn_value_type(value);
    const gboolean several = type == TN_VALUE_LIST || type == TN_VALUE_MAP;
    if (!value || (row->type != TN_OPT_COMPONENT && row->type != TN_OPT_COMPONENTS &&
                   row->type != TN_OPT_COMPONENT_MAP))
        return;
    const TnWhere where = tn_value_where(value).file ? tn_value_where(value) : tn_spec_where(spec);
    if (!several || row->type == TN_OPT_COMPONENT) {
        tn_value_set(options, row->name, named_component(host, row, where, value));
        return;
    }
    TnValue *items = type == TN_VALUE_LIST ? tn_value_list() : tn_value_map();
    tn_value_set_where(items, tn_value_where(value));
    for (gsize i = 0; i < tn_value_len(value); i++) {
        TnValue *item = named_component(host, row, where, tn_value_at(value, i));
        if (type == TN_VALUE_LIST)
            tn_value_push(items, item);
        else
            tn_value_set(items, tn_value_key_at(value, i), item);
    }
    tn_value_set(options, row->name, items);
}

static void
wrap_below(TnHost *host, TnValue *value)
{
    if (tn_value_type(value) == TN_VALUE_SPEC)
        tn_host_wrap_numbers(host, tn_value_get_spec(value));
    else if (tn_value_type(value) == TN_VALUE_LIST || tn_value_type(value) == TN_VALUE_MAP)
        for (gsize i = 0; i < tn_value_len(value); i++)
            wrap_below(host, tn_value_at(value, i));
}

void
tn_host_wrap_numbers(TnHost *host, TnSpec *spec)
{
    const TnClass *klass = tn_host_class(host, tn_spec_iface(spec), tn_spec_component(spec));
    for (guint32 i = 0; klass && i < klass->factory.options.n; i++)
        if (klass->wrap[i])
            wrap_number(klass, i, spec);
    const TnFactory *factory = factory_of(spec);
    for (guint32 i = 0; factory && i < factory->options.n; i++)
        wrap_names(host, tn_options_row(&factory->options, i), spec);
    wrap_below(host, tn_spec_options(spec));
}

int
tn_arg_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "arg", arg },
        { "set_loader", set_loader },
        { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
    return tn_resolved_open(L) + tn_sink_open(L);
}
