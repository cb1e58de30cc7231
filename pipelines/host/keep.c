/* keep.c: what a config was made of, as copies in a run's folder, so that a resumed run is made of
 * the same.
 *
 * The folder gets config.lua, the text that was evaluated; modules/…, each file that `require`
 * found beside the config; files/…, each file that the config read with io.open or io.lines; and
 * sources.json, which says what is which:
 *
 *   {"time": 1763708400, "modules": {"net.block": "modules/net/block.lua", "net.extra": false},
 *    "files": {"words.txt": "files/1", "DATA/none.txt": false}}
 *
 * (DATA: the data root; time: what os.time gave; false: there was no such file or module). What the run needs
 * later, such as a module that a callback requires, is added when it is read. A host that is given
 * such a folder reads the copies and looks nowhere else for what they hold. */
#include "host-private.h"
#include <tenon/base.h>

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define INDEX "sources.json"

/* --- The folder ------------------------------------------------------------------------------- */

static gboolean
write_index(TnHost *host, GError **error)
{
    g_autofree char *text = tn_json_print(host->index, TRUE);
    g_autofree char *line = g_strconcat(text, "\n", NULL);
    return tn_file_put_below(host->keep, INDEX, line, strlen(line), error);
}

static gboolean
write_copy(TnHost *host, const char *file, GBytes *bytes, GError **error)
{
    gsize size;
    const void *data = g_bytes_get_data(bytes, &size);
    return tn_file_put_below(host->keep, file, data, size, error);
}

/* The copies first: the index never names one that is not there. */
static gboolean
write_all(TnHost *host, GError **error)
{
    GHashTableIter iter;
    gpointer file, bytes;
    g_hash_table_iter_init(&iter, host->copies);
    while (g_hash_table_iter_next(&iter, &file, &bytes)) {
        if (!write_copy(host, file, bytes, error))
            return FALSE;
        g_hash_table_iter_remove(&iter);
    }
    return write_index(host, error);
}

gboolean
tn_host_keep(TnHost *host, const char *folder, GError **error)
{
    g_return_val_if_fail(!host->lost && host->config, FALSE); /* after a load */
    const char *text = tn_host_source(host, host->config);
    const gboolean there = g_strcmp0(host->kept, folder) == 0; /* it was read from there */
    g_free(host->keep);
    host->keep = g_strdup(folder);
    return (there || tn_file_put_below(folder, "config.lua", text, strlen(text), error)) &&
           write_all(host, error);
}

/* Whether a folder's index may name a file so: somebody else may have written it, and what it names is
 * read and written again. */
static gboolean
is_kept_name(const char *file)
{
    g_auto(GStrv) parts = g_strsplit(file, "/", -1);
    const gboolean inside =
        g_strcmp0(parts[0], TN_KEPT_MODULES) == 0 || g_strcmp0(parts[0], TN_KEPT_FILES) == 0;
    if (!inside) /* tn.given's */
        return g_str_has_prefix(file, "given") && g_str_has_suffix(file, ".lua") && !parts[1];
    for (guint i = 0; parts[i]; i++)
        if (!*parts[i] || strcmp(parts[i], ".") == 0 || strcmp(parts[i], "..") == 0)
            return FALSE;
    return parts[1] != NULL;
}

static gboolean
check_index(const TnValue *index, const char *kind, GError **error)
{
    const TnValue *entries = tn_value_get(index, kind);
    for (gsize i = 0; i < tn_value_len(entries); i++) {
        const char *file = tn_value_get_string(tn_value_at(entries, i));
        if (file && !is_kept_name(file)) {
            g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT,
                        "%s.%s: '%s' is not below " TN_KEPT_MODULES "/ or " TN_KEPT_FILES "/", kind,
                        tn_value_key_at(entries, i), file);
            return FALSE;
        }
    }
    return TRUE;
}

gboolean
tn_host_open_kept(TnHost *host, GError **error)
{
    static const char *const kinds[] = { TN_KEPT_MODULES, TN_KEPT_FILES };
    g_autofree char *path = host->kept ? g_build_filename(host->kept, INDEX, NULL) : NULL;
    gsize size = 0;
    if (path) {
        char *text = tn_file_read(path, 64u << 20, &size, error);
        host->index = text ? tn_json_parse(text, size, error) : NULL;
        tn_data_free(text);
        if (!host->index) {
            tn_error_prefix(error, "%s", path);
            return FALSE;
        }
    } else {
        host->index = tn_value_map();
    }
    if (tn_value_type(host->index) != TN_VALUE_MAP) {
        g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT, "%s: holds no table", path);
        return FALSE;
    }
    for (guint i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (tn_value_type(tn_value_get(host->index, kinds[i])) != TN_VALUE_MAP)
            tn_value_set(host->index, kinds[i], tn_value_map());
        if (!check_index(host->index, kinds[i], error)) {
            tn_error_prefix(error, "%s", path ? path : INDEX);
            return FALSE;
        }
    }
    if (tn_value_type(tn_value_get(host->index, "time")) != TN_VALUE_INT)
        tn_value_set(host->index, "time", tn_value_int(g_get_real_time() / G_USEC_PER_SEC));
    return TRUE;
}

gint64
tn_host_load_time(const TnHost *host)
{
    return tn_value_get_int(tn_value_get(host->index, "time"));
}

/* --- What was read ---------------------------------------------------------------------------- */

void
tn_host_note(TnHost *host, const char *kind, const char *name, const char *file, GBytes *bytes)
{
    g_autoptr(GError) error = NULL;
    tn_value_set(tn_value_get(host->index, kind), name,
                 file ? tn_value_string(file) : tn_value_bool(FALSE));
    if (file)
        g_hash_table_replace(host->copies, g_strdup(file), g_bytes_ref(bytes));
    if (host->keep && !write_all(host, &error))
        tn_log("host", TN_LOG_WARN, "%s; a resumed run reads '%s' again", error->message, name);
}

gboolean
tn_host_kept(TnHost *host, const char *kind, const char *name, const char **file)
{
    const TnValue *entry = tn_value_get(tn_value_get(host->index, kind), name);
    *file = tn_value_type(entry) == TN_VALUE_STRING ? tn_value_get_string(entry) : NULL;
    return entry != NULL;
}

/* A file's bytes as GBytes; NULL with *error, also for one that is larger than copies are. */
static GBytes *
read_bytes(const char *path, GError **error)
{
    gsize size;
    char *bytes = tn_file_read(path, TN_MOST_KEPT, &size, error);
    return bytes ? g_bytes_new_with_free_func(bytes, size, tn_data_free, bytes) : NULL;
}

GBytes *
tn_host_copy(TnHost *host, const char *file, GError **error)
{
    GBytes *bytes = g_hash_table_lookup(host->copies, file);
    if (bytes)
        return g_bytes_ref(bytes);
    const char *folder = host->keep ? host->keep : host->kept;
    g_autofree char *path = g_build_filename(folder ? folder : "", file, NULL);
    return read_bytes(path, error);
}

/* --- Files that a config reads ---------------------------------------------------------------- */

/* What a file is called in the index: what lies under the data root, which may be elsewhere next
 * time, is named from there. (transfer full). */
static char *
file_key(const TnHost *host, const char *name)
{
    const gsize n = strlen(host->data_root);
    return g_str_has_prefix(name, host->data_root) && name[n] == '/'
               ? g_strconcat("DATA", name + n, NULL)
               : g_strdup(name);
}

/* Notes a file that a config is about to read. What cannot be kept is left to Lua. */
static void
note_file(TnHost *host, const char *name, const char *key)
{
    g_autoptr(GError) error = NULL;
    const TnValue *files = tn_value_get(host->index, TN_KEPT_FILES);
    struct stat found;
    const gboolean there = stat(name, &found) == 0;
    g_autofree char *file =
        there ? g_strdup_printf("files/%" G_GSIZE_FORMAT, tn_value_len(files) + 1) : NULL;
    if (!there && errno != ENOENT && errno != ENOTDIR) /* Lua tells why */
        return;
    if (there && !S_ISREG(found.st_mode)) {
        tn_log("host", TN_LOG_DEBUG, "%s: is no plain file, so no copy of it is kept", name);
        return;
    }
    g_autoptr(GBytes) bytes = there ? read_bytes(name, &error) : NULL;
    if (error)
        tn_log("host", TN_LOG_WARN, "%s: no copy is kept (%s); a resumed run reads it again", name,
               error->message);
    else
        tn_host_note(host, TN_KEPT_FILES, key, file, bytes);
}

/* A copy while handles read it, which share it. */
typedef struct {
    GBytes *bytes;
    guint users;
} OpenCopy;

/* A handle of Lua's io library that knows whose bytes it reads. */
typedef struct {
    luaL_Stream stream; /* first */
    char *file;
} CopyHandle;

void
tn_host_free_copy(gpointer open_copy)
{
    g_bytes_unref(((OpenCopy *)open_copy)->bytes);
    g_free(open_copy);
}

/* One more user of a kept file's bytes; NULL with *error. */
static GBytes *
open_copy(TnHost *host, const char *file, GError **error)
{
    OpenCopy *copy = g_hash_table_lookup(host->opened, file);
    if (!copy) {
        GBytes *bytes = tn_host_copy(host, file, error);
        if (!bytes)
            return NULL;
        copy = g_new0(OpenCopy, 1);
        copy->bytes = bytes;
        g_hash_table_insert(host->opened, g_strdup(file), copy);
    }
    copy->users++;
    return copy->bytes;
}

static void
drop_copy(TnHost *host, const char *file)
{
    OpenCopy *copy = g_hash_table_lookup(host->opened, file);
    if (copy && --copy->users == 0)
        g_hash_table_remove(host->opened, file);
}

/* Also when a handle that nobody closed is collected. */
static int
close_copy(lua_State *L)
{
    CopyHandle *handle = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    const gboolean ok = fclose(handle->stream.f) == 0;
    drop_copy(tn_host_of(L), handle->file);
    g_clear_pointer(&handle->file, g_free);
    return luaL_fileresult(L, ok, NULL);
}

/* Pushes a handle of a kept file, as io.open would. */
static int
push_copy(lua_State *L, TnHost *host, const char *name, const char *file)
{
    CopyHandle *handle = lua_newuserdatauv(L, sizeof *handle, 0);
    GError *error = NULL;
    *handle = (CopyHandle){ 0 }; /* closed, until it is open */
    luaL_setmetatable(L, LUA_FILEHANDLE);
    GBytes *bytes = open_copy(host, file, &error);
    if (!bytes)
        return tn_host_raise(L, error);
    gsize size;
    const void *data = g_bytes_get_data(bytes, &size);
    /* The mode is "r": what is const stays so. */
    handle->stream.f = size ? fmemopen((void *)data, size, "r") : fopen("/dev/null", "r");
    if (!handle->stream.f) {
        drop_copy(host, file);
        return luaL_fileresult(L, 0, name);
    }
    handle->file = g_strdup(file);
    handle->stream.closef = close_copy;
    return 1;
}

int
tn_host_push_file(lua_State *L, const char *name)
{
    TnHost *host = tn_host_of(L);
    const char *file;
    if (host->settled)
        return 0;
    g_autofree char *key = file_key(host, name);
    if (!tn_host_kept(host, TN_KEPT_FILES, key, &file))
        note_file(host, name, key);
    const gboolean known = tn_host_kept(host, TN_KEPT_FILES, key, &file);
    g_free(g_steal_pointer(&key)); /* what follows may raise */
    if (!known)
        return 0;
    if (file)
        return push_copy(L, host, name, file);
    errno = ENOENT;
    return luaL_fileresult(L, 0, name);
}
