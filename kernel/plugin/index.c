/* index.c: what is known of every plugin file found so far, kept in one file of the user's cache,
 * so that a process reads it instead of opening plugins. A file is known by path, time of change
 * and size. The index is a convenience: one that is missing, damaged or cannot be written costs
 * time, nothing else. */
#include "plugin-private.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* What is not remembered is described again in the next process; in this one after TRANSIENT_SECONDS and RARELY times as
 * long as it took, so that a file which hangs does not take all of its time. */
enum { MAX_INDEX = 64 << 20, TRANSIENT_SECONDS = 2, RARELY = 10 };

static struct {
    gboolean loaded;
    char *path;
    GHashTable *known; /* path -> TnRecord *, of every folder ever seen */
    GPtrArray *now;    /* of TnRecord *, by name: what the search folders hold */
    GPtrArray *old;    /* of TnRecord *: replaced, but their strings may be in use */
} index_;

/* --- The file --------------------------------------------------------------------------------- */

static void
put_head(GString *out)
{
    g_string_append_printf(out, "tenon-index 2\t%d.%d\t%s\n", TN_ABI_MAJOR, TN_ABI_MINOR,
                           tn_version());
}

/* "file<TAB>PATH<TAB>MTIME<TAB>SIZE<TAB>HOST", then the block. */
static void
put_record(GString *out, const TnRecord *record)
{
    g_string_append(out, "file");
    tn_plugin_add_field(out, record->info.path);
    g_string_append_printf(
        out, "\t%" G_GINT64_FORMAT "\t%" G_GUINT64_FORMAT "\t%" G_GUINT64_FORMAT "\n%s",
        record->mtime, record->size, record->host, record->text);
}

static TnRecord *
get_record(const char **at)
{
    g_autofree char *why = NULL;
    g_autofree char *name = NULL;
    gint64 mtime;
    guint64 size, host;
    const char *end = strchr(*at, '\n');
    if (end == NULL)
        return NULL;
    g_autofree char *line = g_strndup(*at, (gsize)(end - *at));
    g_auto(GStrv) fields = g_strsplit(line, "\t", -1);
    if (g_strv_length(fields) != 5 || strcmp(fields[0], "file") != 0 ||
        !g_ascii_string_to_signed(fields[2], 10, G_MININT64, G_MAXINT64, &mtime, NULL) ||
        !g_ascii_string_to_unsigned(fields[3], 10, 0, G_MAXUINT64, &size, NULL) ||
        !g_ascii_string_to_unsigned(fields[4], 10, 0, G_MAXUINT64, &host, NULL))
        return NULL;
    g_autofree char *path = tn_record_unescape(fields[1], strlen(fields[1]));
    g_autofree char *base = g_path_get_basename(path);
    if (!tn_plugin_name_of_file(base, &name))
        return NULL;
    *at = end + 1;
    TnRecord *record = tn_record_parse(at, path, name, &why);
    if (record != NULL) {
        record->mtime = mtime;
        record->size = size;
        record->host = host;
    }
    return record;
}

/* Adds what the file knows and known does not. FALSE if the file is not whole. */
static gboolean
read_index(const char *path, GHashTable *known)
{
    gsize size = 0;
    char *text = tn_file_read(path, MAX_INDEX, &size, NULL);
    g_autoptr(GString) head = g_string_new(NULL);
    gboolean ok = FALSE;
    put_head(head);
    /* The last line is a sum of all before it. */
    const gsize n_sum = strlen("sum\t0123456789abcdef\n");
    if (text != NULL && strlen(text) == size && size >= head->len + n_sum &&
        memcmp(text, head->str, head->len) == 0) {
        g_autofree char *sum = g_strdup_printf("sum\t%016" G_GINT64_MODIFIER "x\n",
                                               tn_hash(TN_HASH_INIT, text, size - n_sum));
        ok = strcmp(text + size - n_sum, sum) == 0;
        if (ok)
            text[size - n_sum] = '\0';
    }
    for (const char *at = ok ? text + head->len : ""; *at != '\0';) {
        TnRecord *record = get_record(&at);
        if (record == NULL)
            break;
        if (g_hash_table_contains(known, record->info.path))
            tn_record_free(record);
        else
            g_hash_table_insert(known, (gpointer)record->info.path, record);
    }
    tn_data_free(text);
    return ok;
}

static void
load(void)
{
    g_autofree char *name =
        g_strdup_printf("plugins-%d.%d-%s.index", TN_ABI_MAJOR, TN_ABI_MINOR, tn_version());
    index_.loaded = TRUE;
    index_.old = g_ptr_array_new();
    index_.now = g_ptr_array_new();
    index_.known = g_hash_table_new(g_str_hash, g_str_equal);
    index_.path = g_build_filename(g_get_user_cache_dir(), "tenon", name, NULL);
    if (!read_index(index_.path, index_.known) && g_file_test(index_.path, G_FILE_TEST_EXISTS))
        tn_log("plugin", TN_LOG_DEBUG, "%s is damaged or of another kind: made anew", index_.path);
}

static gint
by_path(gconstpointer a, gconstpointer b)
{
    const TnRecord *const *x = a, *const *y = b;
    return strcmp((*x)->info.path, (*y)->info.path);
}

/* Another process may have added files of other folders meanwhile; those that are gone are
 * dropped. */
static void
save(void)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    g_autoptr(GString) out = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = g_path_get_dirname(index_.path);
    GHashTableIter iter;
    gpointer value;
    read_index(index_.path, index_.known);
    g_hash_table_iter_init(&iter, index_.known);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const TnRecord *record = value;
        if (!record->transient && g_file_test(record->info.path, G_FILE_TEST_EXISTS))
            g_ptr_array_add(all, value);
    }
    g_ptr_array_sort(all, by_path);
    put_head(out);
    for (guint i = 0; i < all->len; i++)
        put_record(out, all->pdata[i]);
    g_string_append_printf(out, "sum\t%016" G_GINT64_MODIFIER "x\n",
                           tn_hash(TN_HASH_INIT, out->str, out->len));
    if (g_mkdir_with_parents(folder, 0700) != 0)
        tn_log("plugin", TN_LOG_DEBUG, "%s: %s; plugins are described again next time", folder,
               g_strerror(errno));
    else if (!tn_file_replace_bytes(index_.path, out->str, out->len, &error))
        tn_log("plugin", TN_LOG_DEBUG, "%s; plugins are described again next time", error->message);
}

/* --- Bringing it up to date ------------------------------------------------------------------- */

static gboolean
is_fresh(const TnRecord *record, const struct stat *st)
{
    const gint64 mtime = (gint64)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    if (record == NULL || record->mtime != mtime || record->size != (guint64)st->st_size)
        return FALSE;
    if (record->expires != 0 && g_get_real_time() / G_USEC_PER_SEC >= record->expires)
        return FALSE;
    /* What one libtenon refuses, another may take. */
    return record->info.broken == NULL || record->host == tn_plugin_library_stamp();
}

static TnRecord *
describe(const char *path, const char *name, const struct stat *st)
{
    const gint64 begin = g_get_monotonic_time();
    TnRecord *record = tn_plugin_scan(path, name);
    const gint64 took = (g_get_monotonic_time() - begin) / G_USEC_PER_SEC;
    record->mtime = (gint64)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    record->size = (guint64)st->st_size;
    if (record->info.broken != NULL) {
        record->host = tn_plugin_library_stamp();
        tn_log("plugin", TN_LOG_INFO, "%s: %s", path, record->info.broken);
    }
    if (record->transient)
        record->expires = g_get_real_time() / G_USEC_PER_SEC + TRANSIENT_SECONDS + RARELY * took;
    return record;
}

/* Adds the folder's plugins to found (name -> record) unless an earlier folder has one of that
 * name. TRUE if a file had to be described. */
static gboolean
look_in(const char *folder, GHashTable *found)
{
    gboolean changed = FALSE;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        struct stat st;
        g_autofree char *name = NULL;
        if (!tn_plugin_name_of_file(entry->d_name, &name) || g_hash_table_contains(found, name))
            continue;
        g_autofree char *path = g_build_filename(folder, entry->d_name, NULL);
        if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        TnRecord *record = g_hash_table_lookup(index_.known, path);
        if (!is_fresh(record, &st)) {
            record = describe(path, name, &st);
            if (g_hash_table_contains(index_.known, path))
                g_ptr_array_add(index_.old, g_hash_table_lookup(index_.known, path));
            g_hash_table_replace(index_.known, (gpointer)record->info.path, record);
            changed |= !record->transient;
        }
        g_hash_table_insert(found, (gpointer)record->info.name, record);
    }
    if (dir != NULL)
        closedir(dir);
    return changed;
}

static gint
by_name(gconstpointer a, gconstpointer b)
{
    const TnRecord *const *x = a, *const *y = b;
    return strcmp((*x)->info.name, (*y)->info.name);
}

GPtrArray *
tn_index_refresh(void)
{
    g_autoptr(GPtrArray) folders = tn_plugin_folders();
    g_autoptr(GHashTable) found = g_hash_table_new(g_str_hash, g_str_equal);
    gboolean changed = FALSE;
    GHashTableIter iter;
    gpointer value;
    if (!index_.loaded)
        load();
    for (guint i = 0; i < folders->len; i++)
        changed |= look_in(folders->pdata[i], found);
    if (changed)
        save();
    g_ptr_array_set_size(index_.now, 0);
    g_hash_table_iter_init(&iter, found);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        g_ptr_array_add(index_.now, value);
    g_ptr_array_sort(index_.now, by_name);
    return index_.now;
}
