/* safetensors.c: reading the safetensors format from a mapped file or from memory.
 *
 * Layout (README of the format's project): u64 little-endian length of the header, a JSON object
 * {name: {dtype, shape, data_offsets: [begin, end]}} with an optional "__metadata__" of strings,
 * then the data. The whole header is checked before anything is handed out: a file is right or
 * refused. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tenon/base.h>
#include <tenon/run.h>

#define MAX_HEADER (100u << 20) /* the format's own bound */

typedef struct {
    char *name;
    TnType type;
    guint64 begin, end; /* in the data part */
} Entry;

struct TnSafetensors {
    char *path;
    const guint8 *bytes;
    gsize size;
    gsize data; /* where the data part begins */
    gboolean mapped;
    GArray *entries;   /* of Entry, in order of their data */
    GHashTable *index; /* name -> position + 1 */
    TnValue *metadata;
};

static void
entry_clear(gpointer data)
{
    g_free(((Entry *)data)->name);
}

static gboolean corrupt(const TnSafetensors *file, GError **error, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static gboolean
corrupt(const TnSafetensors *file, GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT, "%s: not a sound safetensors file: %s",
                file->path, text);
    return FALSE;
}

static gboolean
read_size(const TnValue *value, guint64 *size)
{
    if (tn_value_type(value) != TN_VALUE_INT || tn_value_get_int(value) < 0)
        return FALSE;
    *size = (guint64)tn_value_get_int(value);
    return TRUE;
}

static gboolean
read_shape(TnSafetensors *file, Entry *entry, const TnValue *shape, GError **error)
{
    if (tn_value_type(shape) != TN_VALUE_LIST)
        return corrupt(file, error, "'%s': shape is not a list", entry->name);
    if (tn_value_len(shape) > TN_MAX_RANK)
        return corrupt(file, error, "'%s': %zu dimensions, at most %d are supported", entry->name,
                       tn_value_len(shape), TN_MAX_RANK);
    entry->type.rank = (gint32)tn_value_len(shape);
    for (gint i = 0; i < entry->type.rank; i++) {
        guint64 dim;
        if (!read_size(tn_value_at(shape, i), &dim))
            return corrupt(file, error, "'%s': dimension %d is not a whole number", entry->name, i);
        entry->type.dims[i] = (gint64)dim;
    }
    return TRUE;
}

static gboolean
read_entry(TnSafetensors *file, Entry *entry, const TnValue *value, GError **error)
{
    if (tn_value_type(value) != TN_VALUE_MAP)
        return corrupt(file, error, "'%s' is not an object", entry->name);
    const TnValue *dtype = tn_value_get(value, "dtype");
    if (tn_value_type(dtype) != TN_VALUE_STRING)
        return corrupt(file, error, "'%s': no dtype", entry->name);
    for (gint i = TN_DTYPE_NONE + 1; i < TN_N_DTYPES; i++)
        if (g_strcmp0(tn_dtype_info(i)->safetensors, tn_value_get_string(dtype)) == 0)
            entry->type.dtype = i;
    if (entry->type.dtype == TN_DTYPE_NONE)
        return corrupt(file, error, "'%s': unknown dtype '%s'", entry->name,
                       tn_value_get_string(dtype));
    if (!read_shape(file, entry, tn_value_get(value, "shape"), error))
        return FALSE;
    const TnValue *offsets = tn_value_get(value, "data_offsets");
    if (tn_value_len(offsets) != 2 || !read_size(tn_value_at(offsets, 0), &entry->begin) ||
        !read_size(tn_value_at(offsets, 1), &entry->end))
        return corrupt(file, error, "'%s': data_offsets is not a pair of whole numbers",
                       entry->name);
    gint64 bytes = tn_type_bytes(&entry->type);
    guint64 room = file->size - file->data;
    if (entry->end < entry->begin || entry->end > room)
        return corrupt(file, error,
                       "'%s': bytes %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT
                       " of %" G_GUINT64_FORMAT " (is the file cut short?)",
                       entry->name, entry->begin, entry->end, room);
    if (bytes < 0 || (guint64)bytes != entry->end - entry->begin) {
        g_autofree char *type = tn_type_print(&entry->type);
        return corrupt(file, error,
                       "'%s': %s needs %" G_GINT64_FORMAT
                       " bytes, data_offsets give %" G_GUINT64_FORMAT,
                       entry->name, type, bytes, entry->end - entry->begin);
    }
    return TRUE;
}

static gint
by_begin(gconstpointer a, gconstpointer b)
{
    const Entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The format wants the data part covered without holes or overlaps. */
static gboolean
check_cover(TnSafetensors *file, GError **error)
{
    guint64 at = 0;
    for (guint i = 0; i < file->entries->len; i++) {
        const Entry *entry = &g_array_index(file->entries, Entry, i);
        if (entry->begin != at)
            return corrupt(file, error,
                           "'%s' begins at byte %" G_GUINT64_FORMAT ", expected %" G_GUINT64_FORMAT,
                           entry->name, entry->begin, at);
        at = entry->end;
    }
    if (at != file->size - file->data)
        return corrupt(file, error, "%" G_GUINT64_FORMAT " bytes of data, %zu in the file", at,
                       file->size - file->data);
    return TRUE;
}

static gboolean
check_metadata(TnSafetensors *file, TnValue *metadata, GError **error)
{
    if (tn_value_type(metadata) != TN_VALUE_MAP)
        return corrupt(file, error, "__metadata__ is not an object");
    for (gsize i = 0; i < tn_value_len(metadata); i++)
        if (tn_value_type(tn_value_at(metadata, i)) != TN_VALUE_STRING)
            return corrupt(file, error, "__metadata__ '%s' is not a string",
                           tn_value_key_at(metadata, i));
    file->metadata = tn_value_ref(metadata);
    return TRUE;
}

static gboolean
read_header(TnSafetensors *file, GError **error)
{
    if (file->size < 8)
        return corrupt(file, error, "%zu bytes, at least 8 expected", file->size);
    guint64 length = 0;
    for (gint i = 7; i >= 0; i--)
        length = length << 8 | file->bytes[i];
    if (length > MAX_HEADER || length > file->size - 8)
        return corrupt(file, error, "a header of %" G_GUINT64_FORMAT " bytes in a file of %zu",
                       length, file->size);
    file->data = 8 + length;
    g_autoptr(GError) json_error = NULL;
    g_autoptr(TnValue) header = tn_json_parse((const char *)file->bytes + 8, length, &json_error);
    if (!header)
        return corrupt(file, error, "%s", json_error->message);
    if (tn_value_type(header) != TN_VALUE_MAP)
        return corrupt(file, error, "the header is not an object");
    for (gsize i = 0; i < tn_value_len(header); i++) {
        const char *key = tn_value_key_at(header, i);
        if (g_strcmp0(key, "__metadata__") == 0) {
            if (!check_metadata(file, tn_value_at(header, i), error))
                return FALSE;
            continue;
        }
        Entry entry = { .name = g_strdup(key) };
        gboolean ok = read_entry(file, &entry, tn_value_at(header, i), error);
        g_array_append_val(file->entries, entry);
        if (!ok)
            return FALSE;
    }
    g_array_sort(file->entries, by_begin);
    for (guint i = 0; i < file->entries->len; i++)
        g_hash_table_insert(file->index, g_array_index(file->entries, Entry, i).name,
                            GUINT_TO_POINTER(i + 1));
    return check_cover(file, error);
}

static TnSafetensors *
file_new(const char *path, const void *bytes, gsize size, gboolean mapped)
{
    TnSafetensors *file = g_new0(TnSafetensors, 1);
    file->path = g_strdup(path);
    file->bytes = bytes;
    file->size = size;
    file->mapped = mapped;
    file->entries = g_array_new(FALSE, TRUE, sizeof(Entry));
    g_array_set_clear_func(file->entries, entry_clear);
    file->index = g_hash_table_new(g_str_hash, g_str_equal);
    return file;
}

TnSafetensors *
tn_safetensors_open_bytes(const void *bytes, gsize size, const char *name, GError **error)
{
    g_autoptr(TnSafetensors) file = file_new(name, bytes, size, FALSE);
    return read_header(file, error) ? g_steal_pointer(&file) : NULL;
}

TnSafetensors *
tn_safetensors_open(const char *path, GError **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: %s", path, g_strerror(errno));
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    if (!S_ISREG(st.st_mode)) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: not a regular file", path);
        close(fd);
        return NULL;
    }
    gsize size = (gsize)st.st_size;
    void *bytes = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : (void *)"";
    int mmap_errno = errno;
    close(fd);
    if (bytes == MAP_FAILED) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: cannot be mapped: %s", path,
                    g_strerror(mmap_errno));
        return NULL;
    }
    g_autoptr(TnSafetensors) file = file_new(path, bytes, size, size > 0);
    return read_header(file, error) ? g_steal_pointer(&file) : NULL;
}

void
tn_safetensors_free(TnSafetensors *file)
{
    if (!file)
        return;
    if (file->mapped)
        munmap((void *)file->bytes, file->size);
    g_hash_table_unref(file->index);
    g_array_unref(file->entries);
    tn_value_unref(file->metadata);
    g_free(file->path);
    g_free(file);
}

static const Entry *
entry_at(const TnSafetensors *file, guint i)
{
    g_return_val_if_fail(i < file->entries->len, NULL);
    return &g_array_index(file->entries, Entry, i);
}

guint
tn_safetensors_n(const TnSafetensors *file)
{
    return file->entries->len;
}

const char *
tn_safetensors_name(const TnSafetensors *file, guint i)
{
    return entry_at(file, i)->name;
}

const TnType *
tn_safetensors_type(const TnSafetensors *file, guint i)
{
    return &entry_at(file, i)->type;
}

const void *
tn_safetensors_data(const TnSafetensors *file, guint i)
{
    return file->bytes + file->data + entry_at(file, i)->begin;
}

gint
tn_safetensors_find(const TnSafetensors *file, const char *name)
{
    return (gint)GPOINTER_TO_UINT(g_hash_table_lookup(file->index, name)) - 1;
}

TnTensor *
tn_safetensors_get(const TnSafetensors *file, guint i, GError **error)
{
    return tn_tensor_from(*tn_safetensors_type(file, i), tn_safetensors_data(file, i), error);
}

const TnValue *
tn_safetensors_metadata(const TnSafetensors *file)
{
    return file->metadata;
}
