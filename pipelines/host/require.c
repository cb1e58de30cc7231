/* require.c: where a config's modules come from: those of ours, files of the config's own folder (links
 * followed and then judged), those of plugins. Of what is read until the job runs a copy is kept, and
 * what was not there is noted (keep.c). */
#include "host-private.h"
#include <tenon/base.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "run-lua.h"

/* "a.b_c" and the like: words between single dots. */
static gboolean
is_module_name(const char *name)
{
    gboolean in_word = FALSE;
    for (const char *c = name; *c; c++) {
        if (*c == '.' && !in_word)
            return FALSE;
        if (*c != '.' && !g_ascii_isalnum(*c) && *c != '_' && *c != '-')
            return FALSE;
        in_word = *c != '.';
    }
    return in_word;
}

/* Loads text as chunk `name`; raises on a syntax error. */
static void
load_chunk(lua_State *L, const char *text, gsize size, const char *name)
{
    if (luaL_loadbufferx(L, text, size, name, "t") != LUA_OK)
        lua_error(L);
}

/* Reads the source tree's copy of an embedded module into host->sources, if TENON_LUA_DIR names
 * one. */
static gboolean
read_source_copy(lua_State *L, const char *path)
{
    const char *dir = g_getenv("TENON_LUA_DIR");
    if (!dir || !path)
        return FALSE;
    g_autofree char *file = g_build_filename(dir, path, NULL);
    g_autofree char *text = NULL;
    gsize size;
    if (!g_file_get_contents(file, &text, &size, NULL))
        return FALSE;
    TnHost *host = tn_host_of(L);
    g_hash_table_insert(host->sources, g_strconcat("=", path, NULL), g_steal_pointer(&text));
    return TRUE;
}

static void
load_embedded(lua_State *L, const char *name, const char *bytes, gsize size, const char *path)
{
    if (read_source_copy(L, path)) {
        lua_pushfstring(L, "=%s", path);
        const char *text = g_hash_table_lookup(tn_host_of(L)->sources, lua_tostring(L, -1));
        load_chunk(L, text, strlen(text), lua_tostring(L, -1));
    } else {
        lua_pushfstring(L, "=%s", path ? path : name);
        load_chunk(L, bytes, size, lua_tostring(L, -1));
    }
    lua_remove(L, -2);
}

/* Pushes the chunk of an embedded module; FALSE if there is none of that name. */
static gboolean
find_embedded(lua_State *L, const char *name)
{
    for (guint i = 0; tn_lua_run_modules[i].name; i++) {
        if (strcmp(tn_lua_run_modules[i].name, name) != 0)
            continue;
        load_embedded(L, name, (const char *)tn_lua_run_modules[i].bytes,
                      tn_lua_run_modules[i].size, tn_lua_run_modules[i].path);
        return TRUE;
    }
    return FALSE;
}

/* The same for "tn.NAME", a module that a plugin brings. */
static gboolean
find_plugin_module(lua_State *L, const char *name)
{
    if (!g_str_has_prefix(name, "tn."))
        return FALSE;
    GError *error = NULL;
    const TnLuaModule *module = tn_registry_lua(name + 3, &error);
    if (!module)
        tn_host_raise(L, error);
    load_embedded(L, name, (const char *)module->bytes, module->n_bytes, module->path);
    return TRUE;
}

/* A file of the config's folder: its text into host->sources. NULL with *error if it leads out of
 * the folder or cannot be read; *file NULL if there is none. */
static const char *
read_module_file(TnHost *host, const char *relative, char **file, GError **error)
{
    char real[PATH_MAX];
    g_autofree char *path = g_build_filename(host->folder, relative, NULL);
    g_autofree char *text = NULL;
    gsize size;
    *file = NULL;
    if (!host->real_folder || !realpath(path, real))
        return NULL;
    if (!host->trust &&
        !(g_str_has_prefix(real, host->real_folder) &&
          (real[strlen(host->real_folder)] == '/' || strcmp(host->real_folder, "/") == 0))) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "require: '%s' leads out of the config's folder, to '%s'", path, real);
        return NULL;
    }
    if (!g_file_get_contents(real, &text, &size, error))
        return NULL;
    if (strlen(text) != size) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG, "require: '%s' is not text", path);
        return NULL;
    }
    *file = g_steal_pointer(&path);
    char *kept = g_steal_pointer(&text);
    g_hash_table_insert(host->sources, g_strdup(*file), kept);
    return kept;
}

/* The same from the copy that an earlier load kept; *file is where it stood. */
static const char *
read_module_copy(TnHost *host, const char *copy, char **file, GError **error)
{
    g_autoptr(GBytes) bytes = tn_host_copy(host, copy, error);
    gsize size;
    const char *data = bytes ? g_bytes_get_data(bytes, &size) : NULL;
    if (!data)
        return NULL;
    char *text = g_strndup(data, size);
    if (g_str_has_prefix(copy, TN_KEPT_MODULES "/"))
        copy += strlen(TN_KEPT_MODULES "/");
    *file = g_build_filename(host->folder, copy, NULL);
    g_hash_table_insert(host->sources, g_strdup(*file), text);
    return text;
}

/* The text of module `name` in the config's folder, or its copy; *file as above. That there is none
 * is noted too: one that appears later is no part of the run. Not of a trusted config, which may
 * write the module after it looked for it. */
static const char *
read_module(TnHost *host, const char *name, char **file, GError **error)
{
    static const char *const endings[] = { ".lua", "/init.lua" };
    const char *copy, *text = NULL;
    g_autoptr(GError) why = NULL;
    *file = NULL;
    if (tn_host_kept(host, TN_KEPT_MODULES, name, &copy) && (copy || !host->trust))
        return copy ? read_module_copy(host, copy, file, error) : NULL;
    for (guint i = 0; !text && !why && i < G_N_ELEMENTS(endings); i++) {
        g_autofree char *slashed = g_strdelimit(g_strdup(name), ".", '/');
        g_autofree char *relative = g_strconcat(slashed, endings[i], NULL);
        g_autofree char *to = g_strconcat(TN_KEPT_MODULES "/", relative, NULL);
        text = read_module_file(host, relative, file, &why);
        g_autoptr(GBytes) bytes = text ? g_bytes_new(text, strlen(text)) : NULL;
        if (text)
            tn_host_note(host, TN_KEPT_MODULES, name, to, bytes);
    }
    if (why)
        g_propagate_error(error, g_steal_pointer(&why));
    else if (!text && !host->trust)
        tn_host_note(host, TN_KEPT_MODULES, name, NULL, NULL);
    return text;
}

/* Pushes the chunk of a module in the config's folder. */
static gboolean
find_beside(lua_State *L, const char *name)
{
    TnHost *host = tn_host_of(L);
    GError *error = NULL;
    char *file = NULL;
    if (!host->folder)
        return FALSE;
    const char *text = read_module(host, name, &file, &error);
    if (error)
        tn_host_raise(L, error);
    if (!text)
        return FALSE;
    const char *kept = tn_intern(file);
    g_free(file);
    lua_pushfstring(L, "@%s", kept);
    load_chunk(L, text, strlen(text), lua_tostring(L, -1));
    lua_remove(L, -2);
    return TRUE;
}

int
tn_host_require(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    lua_pop(L, 1);
    if (!is_module_name(name) || strlen(name) != lua_rawlen(L, 1)) {
        if (!lua_isnil(L, lua_upvalueindex(2)))
            goto own;
        return tn_host_raise_text(L, TN_ERROR_CONFIG,
                                  "require: '%s' is no name of a module: words between dots, such "
                                  "as \"layers\" for layers.lua beside the config",
                                  name);
    }
    if (!find_embedded(L, name) && !find_beside(L, name) && !find_plugin_module(L, name)) {
        if (!lua_isnil(L, lua_upvalueindex(2)))
            goto own;
        return tn_host_raise_text(L, TN_ERROR_CONFIG,
                                  "require: there is no module '%s': neither of Tenon nor a file "
                                  "in the config's folder",
                                  name);
    }
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, TRUE);
    }
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -2);
    lua_rawset(L, lua_upvalueindex(1));
    return 1;
own:
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_pushvalue(L, 1);
    lua_call(L, 1, LUA_MULTRET);
    return lua_gettop(L) - 1;
}
