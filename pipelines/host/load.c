/* load.c: from a config file to a checked tree: evaluate, override, validate, all faults at
 * once. */
#include "host-private.h"
#include "run-lua.h"
#include <tenon/base.h>

#include <errno.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_TEXT TN_MOST_KEPT

/* --- Evaluate --------------------------------------------------------------------------------- */

/* The interned name of the config's file is light userdata 1; the text is in host->sources. */
static int
evaluate(lua_State *L)
{
    TnHost *host = tn_host_of(L);
    const char *file = lua_touserdata(L, 1);
    const char *text = tn_host_source(host, file);
    lua_pushfstring(L, "@%s", file);
    const char *name = lua_tostring(L, -1);
    if (g_str_has_prefix(text, "\xef\xbb\xbf")) /* the mark that some editors put first */
        text += 3;
    const gboolean comment = text[0] == '#'; /* #! line: kept as an empty one */
    const char *body = comment ? text + strcspn(text, "\n") : text;
    if (luaL_loadbufferx(L, body, strlen(body), name, "t") != LUA_OK)
        return lua_error(L);
    lua_call(L, 0, 1);
    TnSpec *root = tn_to_spec(L, -1);
    if (!root)
        return tn_host_raise_text(
            L, TN_ERROR_CONFIG,
            "%s:1: the config returns %s; it ends with `return tn.experiment { ... }`", file,
            lua_isnil(L, -1) ? "nothing" : luaL_typename(L, -1));
    host->root = tn_spec_ref(root);
    return 0;
}

/* Runs in the watched thread. */
static void
evaluate_watched(TnHost *host)
{
    lua_State *L = host->L;
    GError *error = NULL;
    /* No allocation may fail here outside a protected call: both are light. */
    void *file = lua_touserdata(L, -1);
    lua_pop(L, 1);
    lua_pushcfunction(L, evaluate);
    lua_pushlightuserdata(L, file);
    if (tn_host_call(host, 1, 0, &error))
        return;
    if (!host->limit) {
        TnWhere where = { NULL, 0 };
        g_autofree char *text = NULL;
        if (g_str_equal(error->message, TN_LUA_MEMORY)) {
            text = g_strdup_printf("the config needs more than %" G_GUINT64_FORMAT
                                   " MiB of memory to load",
                                   host->memory_limit >> 20);
            where = host->memory_where;
        } else {
            text = tn_host_split(host, error->message, &where);
        }
        if (!where.file)
            where = (TnWhere){ file, 1 };
        tn_host_fault(host, where, NULL, "%s", text);
    }
    g_error_free(error);
}

/* --- Overrides and file ----------------------------------------------------------------------- */

static void
read_overrides(TnHost *host, gint n, const char *const *texts)
{
    for (gint i = 0; i < n; i++) {
        const char *equals = strchr(texts[i], '=');
        if (!equals || equals == texts[i]) {
            tn_host_fault(host, (TnWhere){ "command line", 0 }, NULL,
                          "'%s': an override is written key=value", texts[i]);
            continue;
        }
        TnOverride *override = g_new0(TnOverride, 1);
        override->key = g_strndup(texts[i], (gsize)(equals - texts[i]));
        override->text = g_strdup(equals + 1);
        g_ptr_array_add(host->overrides, override);
    }
}

/* The text of a module of the library, such as "tenon.bench.train_mlp"; NULL if there is none. */
static char *
module_text(const char *name)
{
    for (guint i = 0; tn_lua_run_modules[i].name; i++)
        if (strcmp(tn_lua_run_modules[i].name, name) == 0)
            return g_strndup((const char *)tn_lua_run_modules[i].bytes, tn_lua_run_modules[i].size);
    return NULL;
}

/* The text that a config's path stands for. */
static char *
config_text(const char *path, GError **error)
{
    char *text = NULL;
    GStatBuf info;
    gsize size = 0;
    g_autoptr(GError) why = NULL;
    if (g_str_has_prefix(path, TN_CONFIG_MODULE)) {
        text = module_text(path + strlen(TN_CONFIG_MODULE));
        if (!text)
            g_set_error(error, TN_ERROR, TN_ERROR_NOT_FOUND, "the library has no such module");
        return text;
    }
    if (g_stat(path, &info) != 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s", g_strerror(errno));
        return NULL;
    }
    if (S_ISDIR(info.st_mode)) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "is a folder; a config is a file");
        return NULL;
    }
    if (info.st_size > MOST_TEXT) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG, "the file is larger than %u MiB: no config",
                    MOST_TEXT >> 20);
        return NULL;
    }
    if (!g_file_get_contents(path, &text, &size, &why)) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s", why->message);
        return NULL;
    }
    const gboolean binary = size > 0 && text[0] == LUA_SIGNATURE[0];
    if (!binary && strlen(text) == size)
        return text;
    g_set_error(error, TN_ERROR, TN_ERROR_CONFIG, "%s",
                binary ? "this is a compiled chunk; a config is text"
                       : "the file holds a NUL byte: a config is text");
    g_free(text);
    return NULL;
}

static gboolean
read_file(TnHost *host, const char *path)
{
    const TnWhere where = { tn_intern(path), 0 };
    g_autoptr(GError) error = NULL;
    const gboolean module = g_str_has_prefix(path, TN_CONFIG_MODULE);
    g_autofree char *folder = module ? g_strdup(".") : g_path_get_dirname(path);
    g_autofree char *copy = host->kept ? g_build_filename(host->kept, "config.lua", NULL) : NULL;
    char *text = host->text ? g_strdup(host->text) : config_text(copy ? copy : path, &error);
    if (!text) {
        tn_host_fault(host, where, NULL, "%s", error->message);
        return FALSE;
    }
    g_hash_table_replace(host->sources, g_strdup(path), text);
    host->config = where.file;
    g_free(host->folder);
    free(host->real_folder);
    host->folder = g_steal_pointer(&folder);
    host->real_folder = realpath(host->folder, NULL);
    if (host->real_folder || host->kept)
        return TRUE;
    tn_host_fault(host, where, NULL, "%s: %s", host->folder, g_strerror(errno));
    return FALSE;
}

/* --- Validate --------------------------------------------------------------------------------- */

char *
tn_host_path_below(const char *path, const TnValue *value, gsize i)
{
    const char *key = tn_value_key_at(value, i);
    return key ? g_strconcat(path ? path : "", path && *path ? "." : "", key, NULL)
               : g_strdup_printf("%s[%" G_GSIZE_FORMAT "]", path ? path : "", i + 1);
}

static void check_below(const TnValue *value, const char *path, gboolean known, TnFaults *faults);

static void
check_options(const TnSpec *spec, const char *path, gboolean known, TnFaults *faults)
{
    const TnValue *options = tn_spec_options(spec);
    for (gsize i = 0; i < tn_value_len(options); i++) {
        g_autofree char *below = tn_host_path_below(path, options, i);
        check_below(tn_value_at(options, i), below, known, faults);
    }
}

/* tn_spec_check follows the rows down; below a component nobody knows it has none to follow, so
 * what hangs there is checked from here. */
static void
check_below(const TnValue *value, const char *path, gboolean known, TnFaults *faults)
{
    const TnValueType type = tn_value_type(value);
    if (type == TN_VALUE_SPEC) {
        const TnSpec *spec = tn_value_get_spec(value);
        if (g_str_has_prefix(tn_spec_iface(spec), TN_IFACE_SEARCH))
            return;
        if (!known)
            tn_spec_check(spec, path, faults);
        check_options(spec, path,
                      tn_registry_find(tn_spec_iface(spec), tn_spec_component(spec), NULL) != NULL,
                      faults);
    } else if (type == TN_VALUE_LIST || type == TN_VALUE_MAP) {
        for (gsize i = 0; i < tn_value_len(value); i++) {
            g_autofree char *below = tn_host_path_below(path, value, i);
            check_below(tn_value_at(value, i), below, known, faults);
        }
    }
}

static void
validate(TnHost *host, TnSpec *root, TnFaults *faults)
{
    if (strcmp(tn_spec_iface(root), TN_IFACE_JOB) != 0) {
        tn_host_fault(host, tn_spec_where(root), NULL,
                      "the config returns a component of %s, '%s'; it ends with `return "
                      "tn.experiment { ... }`",
                      tn_spec_iface(root), tn_spec_component(root));
        return;
    }
    tn_spec_check(root, NULL, faults);
    check_options(root, NULL, tn_registry_find(TN_IFACE_JOB, tn_spec_component(root), NULL) != NULL,
                  faults);
    tn_host_check_outputs(host, root, faults);
    tn_host_check_places(host, root, faults);
}

static void
hand_over(TnHost *host, TnFaults *faults)
{
    if (host->limit)
        tn_faults_add(faults, host->limit->where, NULL, "%s", host->limit->text);
    for (guint i = 0; i < host->faults->len; i++) {
        const TnFault *fault = host->faults->pdata[i];
        tn_faults_add(faults, fault->where, fault->path, "%s", fault->text);
    }
    g_ptr_array_set_size(host->faults, 0);
}

/* The tree as a copy that shares nothing, so that an override changes one place. */
static TnSpec *
own_copy(const TnSpec *root)
{
    g_autoptr(TnValue) value = tn_value_spec(tn_spec_ref((TnSpec *)root));
    g_autoptr(TnValue) copy = tn_value_copy(value);
    return tn_spec_ref(tn_value_get_spec(copy));
}

TnSpec *
tn_host_load(TnHost *host, const char *path, gint n_overrides, const char *const *overrides,
             TnFaults *faults)
{
    const gsize before = tn_faults_count(faults);
    const char *file = tn_intern(path);
    g_autoptr(TnSpec) root = NULL;
    g_return_val_if_fail(!host->root, NULL); /* a host loads one config */
    read_overrides(host, n_overrides, overrides);
    if (!read_file(host, path)) {
        hand_over(host, faults);
        return NULL;
    }
    const double seconds = host->seconds;
    host->loading = TRUE;
    lua_pushlightuserdata(host->L, (void *)file);
    if (!tn_host_watch(host, evaluate_watched)) {
        tn_faults_add(faults, (TnWhere){ file, 1 }, NULL,
                      "the config was still loading after %g s, inside a function of Lua's own "
                      "library (a pattern that takes for ever?)",
                      seconds);
        return NULL;
    }
    host->loading = FALSE;
    host->memory_limit = G_MAXUINT64; /* the budget was for loading */
    if (host->root) {
        root = own_copy(host->root);
        tn_host_apply_overrides(host, root);
        tn_host_wrap_numbers(host, root);
        validate(host, root, faults);
    }
    hand_over(host, faults);
    return tn_faults_count(faults) == before ? g_steal_pointer(&root) : NULL;
}
