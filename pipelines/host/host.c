/* host.c: a host's life, and how errors pass between C and Lua. */
#include "host-private.h"
#include <tenon/base.h>

#include <string.h>

#define DEFAULT_MEMORY (G_GUINT64_CONSTANT(256) << 20)
#define DEFAULT_SECONDS 10.0
#define MOST_FRAMES 12

/* --- Errors ----------------------------------------------------------------------------------- */

void
tn_fault_free(TnFault *fault)
{
    g_free(fault->path);
    g_free(fault->text);
    g_free(fault);
}

void
tn_host_fault(TnHost *host, TnWhere where, const char *path, const char *format, ...)
{
    TnFault *fault = g_new0(TnFault, 1);
    va_list args;
    va_start(args, format);
    fault->text = g_strdup_vprintf(format, args);
    va_end(args);
    fault->where = where;
    fault->path = g_strdup(path);
    g_ptr_array_add(host->faults, fault);
}

int
tn_host_raise(lua_State *L, GError *error)
{
    TnHost *host = tn_host_of(L);
    const TnWhere where = tn_host_where(L);
    g_clear_error(&host->error);
    host->error = error; /* owned here while Lua copies it, which may raise */
    host->code = error ? (TnErrorCode)error->code : TN_ERROR_FAILED;
    g_free(host->code_text);
    host->code_text = g_strdup(error ? error->message : "failed");
    const char *place =
        where.file ? lua_pushfstring(L, "%s:%d: ", where.file, where.line) : lua_pushliteral(L, "");
    /* Faults of a component's options have their place already. */
    lua_pushfstring(L, "%s%s", g_str_has_prefix(host->code_text, place) ? "" : place,
                    host->code_text);
    g_clear_error(&host->error);
    return lua_error(L);
}

int
tn_host_raise_text(lua_State *L, TnErrorCode code, const char *format, ...)
{
    GError *error = NULL;
    va_list args;
    va_start(args, format);
    g_clear_error(&tn_host_of(L)->error);
    error = g_error_new_valist(TN_ERROR, (gint)code, format, args);
    va_end(args);
    return tn_host_raise(L, error);
}

void
tn_host_complain(lua_State *L, TnWhere where, const char *path, const char *text)
{
    TnHost *host = tn_host_of(L);
    if (host->loading)
        tn_host_fault(host, where.line > 0 ? where : tn_host_where(L), path, "%s", text);
    else
        tn_host_raise_text(L, TN_ERROR_CONFIG, "%s%s%s", path ? path : "", path ? ": " : "", text);
}

/* Adds the frames of the user's files behind the first. */
int
tn_host_traceback(lua_State *L)
{
    lua_Debug ar;
    guint n = 0;
    const TnWhere first = tn_host_where(L);
    gboolean seen = FALSE;
    if (lua_type(L, 1) != LUA_TSTRING) {
        luaL_tolstring(L, 1, NULL);
        lua_replace(L, 1);
    }
    lua_settop(L, 1);
    /* An error in a module of ours has that module's place; the user's line comes before it. */
    if (first.file && !strstr(lua_tostring(L, 1), first.file)) {
        lua_pushfstring(L, "%s:%d: %s", first.file, first.line, lua_tostring(L, 1));
        lua_replace(L, 1);
    }
    for (int level = 0; n < MOST_FRAMES && lua_getstack(L, level, &ar); level++) {
        if (!lua_getinfo(L, "Sl", &ar) || ar.currentline <= 0 || ar.source[0] != '@')
            continue;
        if (!seen) {
            seen = TRUE;
            continue;
        }
        lua_pushfstring(L, "%s\n  called from %s:%d", lua_tostring(L, 1), ar.source + 1,
                        ar.currentline);
        lua_replace(L, 1);
        n++;
    }
    return 1;
}

gboolean
tn_host_call(TnHost *host, int n_args, int n_results, GError **error)
{
    lua_State *L = host->L;
    const int function = lua_gettop(L) - n_args;
    lua_pushcfunction(L, tn_host_traceback);
    lua_insert(L, function);
    const int status = lua_pcall(L, n_args, n_results, function);
    lua_remove(L, function);
    if (status == LUA_OK)
        return TRUE;
    const char *text = status == LUA_ERRMEM ? "there is not enough memory for Lua"
                                            : (lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1)
                                                                              : "unknown error");
    TnErrorCode code = status == LUA_ERRMEM ? TN_ERROR_NO_MEMORY : TN_ERROR_FAILED;
    if (host->code_text && strstr(text, host->code_text))
        code = host->code;
    g_set_error_literal(error, TN_ERROR, (gint)code, text);
    lua_pop(L, 1);
    return FALSE;
}

char *
tn_host_split(TnHost *host, const char *message, TnWhere *where)
{
    /* "FILE:LINE: text" where FILE is one that was loaded: a path may hold colons of its own. */
    for (const char *colon = strchr(message, ':'); colon; colon = strchr(colon + 1, ':')) {
        g_autofree char *file = g_strndup(message, (gsize)(colon - message));
        char *end;
        const guint64 line = g_ascii_strtoull(colon + 1, &end, 10);
        if (end == colon + 1 || *end != ':')
            continue;
        if (g_hash_table_contains(host->sources, file) || !where->file)
            *where = (TnWhere){ tn_intern(file), (gint)line };
        return g_strdup(end + 1 + strspn(end + 1, " "));
    }
    return g_strdup(message);
}

void
tn_host_metatable(lua_State *L, const char *name, const luaL_Reg *methods)
{
    luaL_newmetatable(L, name);
    luaL_setfuncs(L, methods, 0);
    if (lua_getfield(L, -1, "__index") == LUA_TNIL) {
        lua_pushvalue(L, -2);
        lua_setfield(L, -3, "__index");
    }
    lua_pop(L, 1);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

/* --- Life ------------------------------------------------------------------------------------- */

static int
open_all(lua_State *L)
{
    static const lua_CFunction parts[] = {
        tn_host_open_libs, tn_values_open,   tn_spec_open,    tn_component_open, tn_arg_open,
        tn_tensor_open,    tn_variable_open, tn_operand_open, tn_graph_open,     tn_function_open,
        tn_apply_open,     tn_eager_open,    tn_object_open,  tn_job_open,       tn_control_open,
    };
    /* Each part adds its functions to the table that is the module "tenon.core". */
    luaL_getsubtable(L, LUA_REGISTRYINDEX, TN_LOADED);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "tenon.core");
    for (guint i = 0; i < G_N_ELEMENTS(parts); i++) {
        lua_pushcfunction(L, parts[i]);
        lua_pushvalue(L, -2);
        lua_call(L, 1, 0);
    }
    return 0;
}

static char *
data_root(const TnHostOptions *options)
{
    const char *given = options && options->data_root ? options->data_root : g_getenv("TENON_DATA");
    return given && *given ? g_canonicalize_filename(given, NULL)
                           : g_build_filename(g_get_user_data_dir(), "tenon", "data", NULL);
}

static void
arg_row_free(gpointer data)
{
    TnArgRow *row = data;
    tn_value_unref(row->dflt);
    tn_value_unref(row->value);
    g_free(row->name);
    g_free(row->help);
    g_free(row->accepts);
    g_free(row);
}

static void
override_free(gpointer data)
{
    TnOverride *override = data;
    g_free(override->key);
    g_free(override->text);
    g_free(override);
}

TnHost *
tn_host_new(const TnHostOptions *options, GError **error)
{
    g_autoptr(TnHost) host = g_new0(TnHost, 1);
    atomic_init(&host->owners, 1);
    host->trust = options && options->trust;
    host->data_root = data_root(options);
    host->text = g_strdup(options ? options->text : NULL);
    host->kept = g_strdup(options ? options->kept : NULL);
    host->joins = options && options->joins;
    host->copies =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_bytes_unref);
    host->opened = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, tn_host_free_copy);
    host->memory_limit = options && options->memory_limit ? options->memory_limit : DEFAULT_MEMORY;
    host->seconds = options && options->load_seconds > 0 ? options->load_seconds : DEFAULT_SECONDS;
    host->sources = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    host->faults = g_ptr_array_new_with_free_func((GDestroyNotify)tn_fault_free);
    host->overrides = g_ptr_array_new_with_free_func(override_free);
    host->args = g_ptr_array_new_with_free_func(arg_row_free);
    host->classes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    host->class_order = g_ptr_array_new();
    host->funcs = g_hash_table_new(NULL, NULL);
    host->tape_vars = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    host->ops = g_hash_table_new(g_str_hash, g_str_equal);
    if (!tn_host_open_kept(host, error))
        return NULL;
    tn_stages_register();
    host->L = lua_newstate(tn_host_allocate, host);
    if (!host->L) {
        g_set_error(error, TN_ERROR, TN_ERROR_NO_MEMORY, "there is no memory for a Lua state");
        return NULL;
    }
    *(TnHost **)lua_getextraspace(host->L) = host;
    lua_pushcfunction(host->L, open_all);
    return tn_host_call(host, 0, 0, error) ? g_steal_pointer(&host) : NULL;
}

static void
free_config(TnHost *host)
{
    if (host->limit)
        tn_fault_free(host->limit);
    g_clear_pointer(&host->root, tn_spec_unref);
    g_ptr_array_unref(host->faults);
    g_ptr_array_unref(host->overrides);
    g_ptr_array_unref(host->args);
    g_hash_table_unref(host->sources);
    g_hash_table_unref(host->copies);
    g_hash_table_unref(host->opened);
    tn_value_unref(host->index);
    g_strfreev(host->launch);
    g_free(host->kept);
    g_free(host->keep);
    g_free(host->text);
    g_free(host->folder);
    free(host->real_folder); /* realpath's */
}

void
tn_host_free(TnHost *host)
{
    if (!host || atomic_fetch_sub(&host->owners, 1) > 1)
        return;
    for (guint i = 0; i < host->class_order->len; i++)
        tn_registry_remove_factory(&((TnClass *)host->class_order->pdata[i])->factory);
    tn_funcs_detach(host);
    if (host->L)
        lua_close(host->L);
    tn_tape_free(host->tape);
    tn_tape_free(host->scratch);
    g_hash_table_unref(host->tape_vars);
    g_clear_pointer(&host->tape_context, tn_context_unref);
    g_clear_pointer(&host->eager, tn_context_unref);
    for (guint i = 0; i < host->class_order->len; i++)
        tn_class_free(host->class_order->pdata[i]);
    g_ptr_array_unref(host->class_order);
    g_hash_table_unref(host->classes);
    g_hash_table_unref(host->funcs);
    g_hash_table_unref(host->ops);
    free_config(host);
    g_clear_error(&host->error);
    g_free(host->code_text);
    g_free(host->data_root);
    g_free(host);
}

const char *
tn_host_data_root(const TnHost *host)
{
    return host->data_root;
}

guint
tn_host_n_args(const TnHost *host)
{
    return host->lost ? 0 : host->args->len;
}

const TnHostArg *
tn_host_arg(const TnHost *host, guint i)
{
    return i < tn_host_n_args(host) ? &((TnArgRow *)host->args->pdata[i])->arg : NULL;
}

gboolean
tn_host_load_modules(TnHost *host, GError **error)
{
    lua_getglobal(host->L, "require");
    lua_pushstring(host->L, "tenon.all");
    return tn_host_call(host, 1, 0, error);
}
