/* safetensors-save.c: writing tensors in the safetensors format, the file replaced whole. */
#include <string.h>

#include "run-private.h"

typedef struct {
    const char *path;
    guint n;
    const TnNamedTensor *tensors;
    GString *header; /* with its length in front */
} Save;

/* The header is built as text: entries keep the caller's order, which JSON libraries need not. */
static void
append_entry(GString *json, const char *name, const TnType *type, guint64 begin, guint64 end)
{
    g_autoptr(TnValue) key = tn_value_string(name);
    g_autofree char *quoted = tn_json_print(key, FALSE);
    g_string_append_printf(json, "%s%s:{\"dtype\":\"%s\",\"shape\":[", json->len > 1 ? "," : "",
                           quoted, tn_dtype_info(type->dtype)->safetensors);
    for (gint i = 0; i < type->rank; i++)
        g_string_append_printf(json, "%s%" G_GINT64_FORMAT, i ? "," : "", type->dims[i]);
    g_string_append_printf(
        json, "],\"data_offsets\":[%" G_GUINT64_FORMAT ",%" G_GUINT64_FORMAT "]}", begin, end);
}

static GString *
make_header(guint n, const TnNamedTensor *tensors, const TnValue *metadata)
{
    g_autoptr(GString) json = g_string_new("{");
    if (metadata) {
        g_autofree char *text = tn_json_print(metadata, FALSE);
        g_string_append_printf(json, "\"__metadata__\":%s", text);
    }
    guint64 at = 0;
    for (guint i = 0; i < n; i++) {
        guint64 bytes = (guint64)tn_tensor_bytes(tensors[i].tensor);
        append_entry(json, tensors[i].name, tn_tensor_type(tensors[i].tensor), at, at + bytes);
        at += bytes;
    }
    g_string_append_c(json, '}');
    while (json->len % 8) /* the data part begins 8-aligned */
        g_string_append_c(json, ' ');
    GString *header = g_string_sized_new(json->len + 8);
    for (guint i = 0; i < 8; i++)
        g_string_append_c(header, (char)(guint8)((guint64)json->len >> (8 * i)));
    g_string_append_len(header, json->str, json->len);
    return header;
}

static gboolean
write_tensor(int fd, const char *path, TnTensor *tensor, GError **error)
{
    g_autoptr(TnTensor) plain = tn_tensor_is_contiguous(tensor)
                                    ? tn_tensor_ref(tensor)
                                    : tn_tensor_copy(tensor, NULL, TN_DTYPE_NONE, error);
    if (!plain)
        return FALSE;
    const void *bytes = tn_tensor_map(plain, TN_MAP_READ, error);
    if (!bytes)
        return FALSE;
    gboolean ok = tn_file_write_all(fd, path, bytes, (gsize)tn_tensor_bytes(plain), error);
    tn_tensor_unmap(plain);
    return ok;
}

static gboolean
write_file(int fd, gpointer data, GError **error)
{
    Save *save = data;
    if (!tn_file_write_all(fd, save->path, save->header->str, save->header->len, error))
        return FALSE;
    for (guint i = 0; i < save->n; i++)
        if (!write_tensor(fd, save->path, save->tensors[i].tensor, error))
            return FALSE;
    return TRUE;
}

/* folder: NULL, or where name is and through whose links nothing is written. */
static gboolean
save(const char *folder, const char *name, guint n, const TnNamedTensor *tensors,
     const TnValue *metadata, GError **error)
{
    for (gsize i = 0; metadata && i < tn_value_len(metadata); i++)
        g_return_val_if_fail(tn_value_type(tn_value_at(metadata, i)) == TN_VALUE_STRING, FALSE);
    for (guint i = 0; i < n; i++)
        for (guint j = 0; j < i && n < 64; j++)
            g_return_val_if_fail(strcmp(tensors[i].name, tensors[j].name) != 0, FALSE);
    g_autofree char *path = folder ? g_build_filename(folder, name, NULL) : g_strdup(name);
    Save data = { path, n, tensors, make_header(n, tensors, metadata) };
    gboolean ok = folder ? tn_file_replace_below(folder, name, write_file, &data, error)
                         : tn_file_replace(path, write_file, &data, error);
    g_string_free(data.header, TRUE);
    return ok;
}

gboolean
tn_safetensors_save(const char *path, guint n, const TnNamedTensor *tensors,
                    const TnValue *metadata, GError **error)
{
    return save(NULL, path, n, tensors, metadata, error);
}

gboolean
tn_safetensors_save_below(const char *folder, const char *name, guint n,
                          const TnNamedTensor *tensors, const TnValue *metadata, GError **error)
{
    return save(folder, name, n, tensors, metadata, error);
}
