/* parse.c: the head of an IDX file and the order of its bytes.
 *
 * Format (Y. LeCun's description of the MNIST files): two zero bytes, a type code, the number of
 * dimensions, the sizes as big-endian u32, the elements in row-major order. */
#include "parse.h"

static const struct {
    guint8 code;
    TnDtype dtype;
} codes[] = {
    { 0x08, TN_DTYPE_U8 },  { 0x09, TN_DTYPE_I8 },  { 0x0b, TN_DTYPE_I16 },
    { 0x0c, TN_DTYPE_I32 }, { 0x0d, TN_DTYPE_F32 }, { 0x0e, TN_DTYPE_F64 },
};

static gboolean corrupt(GError **error, const char *name, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static gboolean
corrupt(GError **error, const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT, "%s: not a sound IDX file: %s", name, text);
    return FALSE;
}

static gboolean
parse_type(const guint8 *bytes, gsize size, const char *name, TnType *type, gsize *begin,
           GError **error)
{
    TnType found = { 0 };
    if (size < 4 || bytes[0] != 0 || bytes[1] != 0)
        return corrupt(error, name,
                       "it does not begin with two zero bytes, a type and a number of dimensions");
    for (guint i = 0; i < G_N_ELEMENTS(codes); i++)
        if (codes[i].code == bytes[2])
            found.dtype = codes[i].dtype;
    found.rank = bytes[3];
    if (found.dtype == TN_DTYPE_NONE)
        return corrupt(error, name, "unknown type code 0x%02x", bytes[2]);
    if (found.rank < 1 || found.rank > TN_MAX_RANK)
        return corrupt(error, name, "%d dimensions, 1 to %d are possible", found.rank, TN_MAX_RANK);
    gsize head = 4 + 4 * (gsize)found.rank;
    if (size < head)
        return corrupt(error, name, "it ends inside its head");
    for (gint i = 0; i < found.rank; i++) {
        const guint8 *at = bytes + 4 + 4 * i;
        found.dims[i] =
            (gint64)((guint32)at[0] << 24 | (guint32)at[1] << 16 | (guint32)at[2] << 8 | at[3]);
    }
    *type = found;
    *begin = head;
    return TRUE;
}

gboolean
idx_parse_head(const guint8 *bytes, gsize size, const char *name, TnType *type, gsize *begin,
               GError **error)
{
    TnType found;
    gsize head = 0;
    if (!parse_type(bytes, size, name, &found, &head, error))
        return FALSE;
    gint64 want = tn_type_bytes(&found);
    if (want < 0 || (guint64)want != size - head) {
        g_autofree char *text = tn_type_print(&found);
        return corrupt(error, name, "%s needs %" G_GINT64_FORMAT " bytes, %zu follow the head",
                       text, want, size - head);
    }
    *type = found;
    *begin = head;
    return TRUE;
}

gsize
idx_whole_size(const guint8 *bytes, gsize size)
{
    TnType type;
    gsize head = 0;
    if (!parse_type(bytes, size, "", &type, &head, NULL))
        return 0;
    gint64 want = tn_type_bytes(&type);
    return want < 0 ? 0 : head + (gsize)want;
}

void
idx_swap(TnDtype dtype, void *elements, gsize n)
{
    switch (tn_dtype_size(dtype)) {
    case 2:
        for (gsize i = 0; i < n; i++)
            ((guint16 *)elements)[i] = GUINT16_FROM_BE(((guint16 *)elements)[i]);
        break;
    case 4:
        for (gsize i = 0; i < n; i++)
            ((guint32 *)elements)[i] = GUINT32_FROM_BE(((guint32 *)elements)[i]);
        break;
    case 8:
        for (gsize i = 0; i < n; i++)
            ((guint64 *)elements)[i] = GUINT64_FROM_BE(((guint64 *)elements)[i]);
        break;
    default: break; /* single bytes have no order */
    }
}
