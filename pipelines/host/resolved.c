/* resolved.c: the tree that runs, as a config of its own: every component by name, every option
 * with its value, defaults too.
 *
 * A function of the config cannot be printed, nor can a component that the config declares. Such a
 * file therefore begins with `local given = tn.given { … }`, which loads the config that is kept
 * beside it, with the arguments of that run, and takes those from there: `apply =
 * given.stages.scale.apply`. */
#include "host-private.h"
#include <tenon/base.h>

#include <math.h>
#include <string.h>

#define COLUMNS 100
#define ARGS "tenon.given" /* registry: arguments of the given config that loads; nil: none does */
#define ABOVE "=above" /* in that table: the one of the config that gives it; no argument's name */
#define SPELLER                                                                                    \
    "tenon.spell"      /* registry: function of an interface: how a config writes its namespace */
#define GIVEN "=given" /* and a number, in the index of modules: no name that `require` takes */

/* --- Printing --------------------------------------------------------------------------------- */

typedef struct {
    TnHost *host;
    GString *text;
    gboolean needs_given;
    GString *secrets; /* names of options that are not printed */
    GError *error;    /* the first */
} Printer;

static void print(Printer *printer, const TnValue *value, gint indent);

static void
print_string(GString *to, const char *string)
{
    g_string_append_c(to, '"');
    for (const guchar *p = (const guchar *)string; *p; p++) {
        if (*p == '"' || *p == '\\')
            g_string_append_printf(to, "\\%c", *p);
        else if (*p < 32 || *p == 127)
            g_string_append_printf(to, "\\x%02x", *p);
        else
            g_string_append_c(to, (char)*p);
    }
    g_string_append_c(to, '"');
}

/* What is written alike in Lua, but for the numbers that it has no digits for. */
static void
print_plain(GString *to, const TnValue *value)
{
    g_autofree char *plain = tn_value_print(value, -1);
    const double number = tn_value_type(value) == TN_VALUE_DOUBLE ? tn_value_get_double(value) : 0;
    if (isnan(number))
        g_string_append(to, "0 / 0");
    else if (isinf(number))
        g_string_append(to, number > 0 ? "math.huge" : "-math.huge");
    else if (strcmp(plain, "-9223372036854775808") == 0) /* a double in Lua */
        g_string_append(to, "math.mininteger");
    else
        g_string_append(to, plain);
}

static gboolean
is_plain_key(const char *key)
{
    static const char *const reserved[] = { "and",   "break",  "do",     "else",     "elseif",
                                            "end",   "false",  "for",    "function", "goto",
                                            "if",    "in",     "local",  "nil",      "not",
                                            "or",    "repeat", "return", "then",     "true",
                                            "until", "while",  NULL };
    if (!g_ascii_isalpha(*key) && *key != '_')
        return FALSE;
    for (const char *at = key; *at; at++)
        if (!g_ascii_isalnum(*at) && *at != '_')
            return FALSE;
    return !g_strv_contains(reserved, key);
}

/* ".key", or "[\"key\"]". */
static void
print_field(GString *to, const char *key)
{
    if (is_plain_key(key)) {
        g_string_append_printf(to, ".%s", key);
    } else {
        g_string_append_c(to, '[');
        print_string(to, key);
        g_string_append_c(to, ']');
    }
}

static void
print_key(GString *to, const char *key)
{
    const gsize before = to->len;
    print_field(to, key);
    if (to->str[before] == '.')
        g_string_erase(to, (gssize)before, 1);
    g_string_append(to, " = ");
}

/* indent < 0: on one line. */
static void
print_items(Printer *printer, const TnValue *table, gint indent)
{
    GString *text = printer->text;
    const gsize n = tn_value_len(table);
    g_string_append(text, n ? "{" : "{}");
    for (gsize i = 0; i < n; i++) {
        if (indent < 0)
            g_string_append(text, i ? ", " : " ");
        else
            g_string_append_printf(text, "\n%*s", indent + 2, "");
        if (tn_value_type(table) == TN_VALUE_MAP)
            print_key(text, tn_value_key_at(table, i));
        print(printer, tn_value_at(table, i), indent < 0 ? -1 : indent + 2);
        if (indent >= 0)
            g_string_append_c(text, ',');
    }
    if (n && indent < 0)
        g_string_append(text, " }");
    else if (n)
        g_string_append_printf(text, "\n%*s}", indent, "");
}

/* On one line where it fits. */
static void
print_table(Printer *printer, const TnValue *table, gint indent)
{
    GString *text = printer->text;
    const gsize before = text->len;
    const char *line = strrchr(text->str, '\n');
    const gsize start = line ? (gsize)(line + 1 - text->str) : 0;
    print_items(printer, table, -1);
    if (indent >= 0 && text->len - start >= COLUMNS) {
        g_string_truncate(text, before);
        print_items(printer, table, indent);
    }
}

/* Appends to path where func stands in the tree. */
static gboolean
find_func(const TnValue *tree, const TnValue *func, GString *path)
{
    const TnValueType type = tn_value_type(tree);
    const TnValue *items = type == TN_VALUE_SPEC ? tn_spec_options(tn_value_get_spec(tree)) : tree;
    const gsize before = path->len;
    if (type == TN_VALUE_FUNC)
        return tn_value_get_func(tree) == tn_value_get_func(func);
    for (gsize i = 0; i < tn_value_len(items); i++) {
        const char *key = tn_value_key_at(items, i);
        if (key)
            print_field(path, key);
        else
            g_string_append_printf(path, "[%" G_GSIZE_FORMAT "]", i + 1);
        if (find_func(tn_value_at(items, i), func, path))
            return TRUE;
        g_string_truncate(path, before);
    }
    return FALSE;
}

/* A function is taken from where the given config has it. */
static void
print_func(Printer *printer, const TnValue *func)
{
    g_autoptr(TnValue) given = tn_value_spec(tn_spec_ref(printer->host->root));
    g_autoptr(GString) path = g_string_new("given");
    if (!find_func(given, func, path) && !printer->error)
        g_set_error(&printer->error, TN_ERROR, TN_ERROR_FAILED,
                    "a function of the tree is nowhere in the config's");
    printer->needs_given = TRUE;
    g_string_append(printer->text, path->str);
}

/* What spec's component takes: what was given, and what has a default. (transfer full). */
static TnValue *
options_of(Printer *printer, const TnSpec *spec)
{
    const TnFactory *factory = tn_registry_find(tn_spec_iface(spec), tn_spec_component(spec), NULL);
    const TnWhere where = tn_spec_where(spec);
    g_autoptr(TnFaults) faults = tn_faults_new();
    if (!factory)
        return tn_value_ref(tn_spec_options(spec));
    g_autofree char *folder = where.file ? g_path_get_dirname(where.file) : NULL;
    g_autoptr(TnConfig) config = tn_config_parse(&factory->options, tn_spec_options(spec),
                                                 tn_spec_component(spec), where, folder, faults);
    TnValue *map = tn_value_map();
    if (!config)
        tn_faults_to_error(faults, printer->error ? NULL : &printer->error);
    for (guint32 i = 0; config && i < factory->options.n; i++) {
        const TnOption *row = tn_options_row(&factory->options, i);
        g_autoptr(TnValue) value = NULL;
        if (tn_config_is_set(config, row->name) || row->dflt)
            value = tn_option_get(row, tn_config_data(config));
        if (value && row->flags & TN_OPTION_SECRET)
            g_string_append_printf(printer->secrets, " %s.%s", tn_spec_component(spec), row->name);
        else if (value && tn_value_type(value) != TN_VALUE_NIL)
            tn_value_set(map, row->name, g_steal_pointer(&value));
    }
    return map;
}

/* "tn.stage", and for an interface without a namespace of its own a call. */
static void
print_namespace(Printer *printer, const char *iface)
{
    lua_State *L = printer->host->L;
    lua_getfield(L, LUA_REGISTRYINDEX, SPELLER);
    lua_pushstring(L, iface);
    if (!tn_host_call(printer->host, 1, 1, printer->error ? NULL : &printer->error))
        return;
    g_string_append(printer->text, lua_tostring(L, -1) ? lua_tostring(L, -1) : "");
    lua_pop(L, 1);
}

static void
print_spec(Printer *printer, const TnSpec *spec, gint indent)
{
    const TnClass *klass =
        tn_host_class(printer->host, tn_spec_iface(spec), tn_spec_component(spec));
    g_autoptr(TnValue) options = options_of(printer, spec);
    printer->needs_given |= klass && klass->own;
    print_namespace(printer, tn_spec_iface(spec));
    print_field(printer->text, tn_spec_component(spec));
    g_string_append_c(printer->text, ' ');
    print_table(printer, options, indent);
}

static void
print(Printer *printer, const TnValue *value, gint indent)
{
    switch (tn_value_type(value)) {
    case TN_VALUE_STRING: print_string(printer->text, tn_value_get_string(value)); break;
    case TN_VALUE_FUNC: print_func(printer, value); break;
    case TN_VALUE_SPEC: print_spec(printer, tn_value_get_spec(value), indent); break;
    case TN_VALUE_LIST:
    case TN_VALUE_MAP: print_table(printer, value, indent); break;
    default: print_plain(printer->text, value); break;
    }
}

/* The arguments that the command line gave. (transfer full). */
static TnValue *
arguments(const TnHost *host)
{
    TnValue *map = tn_value_map();
    for (guint i = 0; i < host->args->len; i++) {
        const TnArgRow *row = host->args->pdata[i];
        if (row->value)
            tn_value_set(map, row->name, tn_value_ref(row->value));
    }
    return map;
}

char *
tn_host_resolved(TnHost *host, const TnSpec *root, const char *name, GError **error)
{
    g_autoptr(GString) tree = g_string_new("return "), text = g_string_new(NULL);
    g_autoptr(GString) secrets = g_string_new(NULL);
    g_autoptr(TnValue) args = arguments(host), given = tn_value_spec(tn_spec_ref((TnSpec *)root));
    g_autoptr(TnValue) whole = tn_value_copy(given);
    TnValue *options = tn_spec_options(tn_value_get_spec(whole));
    Printer printer = { host, tree, FALSE, secrets, NULL };
    if (name && !tn_value_get(options, "name"))
        tn_value_set(options, "name", tn_value_string(name));
    print(&printer, whole, 0);
    g_string_append(text, "-- What ran: the config's tree after overrides, every option with its "
                          "value.\nlocal tn = require \"tenon\"\n");
    if (secrets->len)
        g_string_append_printf(text, "-- Secret, so to be given again:%s\n", secrets->str);
    if (printer.needs_given) {
        g_string_append(text, "-- config.lua beside this file, for its functions and components\n"
                              "local given = tn.given ");
        printer.text = text;
        print_table(&printer, args, 0);
        g_string_append_c(text, '\n');
    }
    g_string_append_printf(text, "\n%s\n", tree->str);
    if (printer.error)
        g_propagate_error(error, printer.error);
    return printer.error ? NULL : g_string_free(g_steal_pointer(&text), FALSE);
}

/* --- tn.given --------------------------------------------------------------------------------- */

gboolean
tn_given_arg(lua_State *L, const char *name)
{
    if (lua_getfield(L, LUA_REGISTRYINDEX, ARGS) != LUA_TTABLE) {
        lua_pop(L, 1);
        return FALSE;
    }
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    return TRUE;
}

/* How many given configs are being loaded inside each other, with one more. */
static guint
depth_of(lua_State *L)
{
    guint depth = 1;
    for (int type = lua_getfield(L, LUA_REGISTRYINDEX, ARGS); type == LUA_TTABLE; depth++) {
        type = lua_getfield(L, -1, ABOVE);
        lua_remove(L, -2);
    }
    lua_pop(L, 1);
    return depth;
}

/* Entries of host->index that are given configs. */
static guint
n_given(const TnHost *host)
{
    const TnValue *modules = tn_value_get(host->index, TN_KEPT_MODULES);
    guint n = 0;
    for (gsize i = 0; i < tn_value_len(modules); i++)
        n += g_str_has_prefix(tn_value_key_at(modules, i), GIVEN);
    return n;
}

static char *
given_name(guint depth)
{
    return g_strdup_printf(GIVEN "%u", depth);
}

/* Loads the bytes of all that the index names, so that they are this run's own. */
static gboolean
hold_copies(TnHost *host, const char *kind, GError **error)
{
    const TnValue *entries = tn_value_get(host->index, kind);
    for (gsize i = 0; i < tn_value_len(entries); i++) {
        const char *file = tn_value_get_string(tn_value_at(entries, i));
        GBytes *bytes = file ? tn_host_copy(host, file, error) : NULL;
        if (file && !bytes)
            return FALSE;
        if (file)
            g_hash_table_replace(host->copies, g_strdup(file), bytes);
    }
    return TRUE;
}

/* Takes over from the load's own index what was not there when it was looked for (as with a module
 * of a plugin, which may stand beside the config). FALSE if anything was read, or would be read now:
 * a resumed run, which has one index from its start, would not see the same. */
static gboolean
take_absences(TnHost *host, const TnValue *before, const char *kind, GError **error)
{
    const TnValue *entries = tn_value_get(before, kind);
    TnValue *into = tn_value_get(host->index, kind);
    for (gsize i = 0; i < tn_value_len(entries); i++) {
        const char *name = tn_value_key_at(entries, i);
        if (tn_value_get_string(tn_value_at(entries, i)) ||
            tn_value_get_string(tn_value_get(into, name))) {
            g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                        "it comes before all that is read, other modules too, but '%s' was before "
                        "it",
                        name);
            return FALSE;
        }
        tn_value_set(into, name, tn_value_bool(FALSE));
    }
    return TRUE;
}

/* What the folder of the file that loads keeps becomes what this load is made of: its config, in
 * which others may have been given, and all that was read. */
static gboolean
adopt(TnHost *host, GError **error)
{
    g_autoptr(TnValue) before = host->index;
    host->index = NULL;
    host->kept = g_strdup(host->folder);
    const gboolean ok =
        tn_host_open_kept(host, error) && take_absences(host, before, TN_KEPT_MODULES, error) &&
        take_absences(host, before, TN_KEPT_FILES, error) &&
        hold_copies(host, TN_KEPT_MODULES, error) && hold_copies(host, TN_KEPT_FILES, error);
    g_autoptr(GBytes) config = ok ? tn_host_copy(host, "config.lua", error) : NULL;
    g_clear_pointer(&host->kept, g_free);
    if (!config) {
        tn_value_unref(host->index);
        host->index = g_steal_pointer(&before);
        return FALSE;
    }
    TnValue *modules = tn_value_get(host->index, TN_KEPT_MODULES);
    const guint n = n_given(host);
    for (guint i = n; i > 0; i--) { /* one further in */
        g_autofree char *from = given_name(i), *to = given_name(i + 1);
        tn_value_set(modules, to, tn_value_copy(tn_value_get(modules, from)));
    }
    g_autofree char *file = g_strdup_printf("given%u.lua", n + 1);
    tn_host_note(host, TN_KEPT_MODULES, GIVEN "1", file, config);
    return TRUE;
}

/* What the config that is given at this depth is called among the sources, in the folder from which
 * its relative paths start: as no module can be, and as the config that gives it is not. (transfer
 * full). */
static char *
source_name(const TnHost *host, guint depth)
{
    g_autofree char *name = g_strdup_printf("config.lua (given %u)", depth);
    char *path = g_build_filename(host->folder, name, NULL);
    while (g_strcmp0(path, host->config) == 0) {
        char *longer = g_strconcat(path, "'", NULL);
        g_free(path);
        path = longer;
    }
    return path;
}

/* The config that is given at this depth into host->sources; the interned name that its chunk has
 * there. */
static const char *
read_given(TnHost *host, guint depth, GError **error)
{
    const char *file = NULL;
    g_autofree char *name = given_name(depth);
    if (!tn_host_kept(host, TN_KEPT_MODULES, name, &file)) {
        if (depth == 1 && !host->kept && !adopt(host, error))
            return NULL;
        tn_host_kept(host, TN_KEPT_MODULES, name, &file);
    }
    g_autoptr(GBytes) bytes = file ? tn_host_copy(host, file, error) : NULL;
    gsize size = 0;
    const char *text = bytes ? g_bytes_get_data(bytes, &size) : NULL;
    if (!text) {
        if (!*error)
            g_set_error(error, TN_ERROR, TN_ERROR_NOT_FOUND, "no config is kept there");
        return NULL;
    }
    g_autofree char *path = source_name(host, depth);
    g_hash_table_replace(host->sources, g_strdup(path), g_strndup(text, size));
    return tn_intern(path);
}

/* given{argument = value, …}: the tree of the config that is kept beside the one that loads. The
 * table, with the one above it, is where arguments are looked up until that config is loaded. */
static int
given(lua_State *L)
{
    TnHost *host = tn_host_of(L);
    GError *error = NULL;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    const char *path = read_given(host, depth_of(L), &error);
    if (!path) {
        tn_error_prefix(&error,
                        "tn.given: loads what a run's folder keeps beside its resolved.lua");
        return tn_host_raise(L, error);
    }
    lua_getfield(L, LUA_REGISTRYINDEX, ARGS);
    lua_setfield(L, 1, ABOVE);
    lua_pushvalue(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, ARGS);
    lua_pushfstring(L, "@%s", path);
    const char *text = tn_host_source(host, path);
    int status = luaL_loadbufferx(L, text, strlen(text), lua_tostring(L, 2), "t");
    if (status == LUA_OK)
        status = lua_pcall(L, 0, 1, 0);
    lua_getfield(L, 1, ABOVE);
    lua_setfield(L, LUA_REGISTRYINDEX, ARGS);
    if (status != LUA_OK)
        return lua_error(L);
    if (!tn_to_spec(L, -1))
        return tn_host_raise_text(L, TN_ERROR_CONFIG,
                                  "tn.given: the config there returns no component");
    return 1;
}

static int
set_speller(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_setfield(L, LUA_REGISTRYINDEX, SPELLER);
    return 0;
}

int
tn_resolved_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "given", given },
        { "set_speller", set_speller },
        { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
    return 0;
}
