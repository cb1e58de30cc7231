/* common.c: dtypes and errors of HDF5, and the plugin's descriptor. */
#include "hdf5-private.h"

hid_t
h5_native(TnDtype dtype)
{
    switch (dtype) {
    case TN_DTYPE_F64: return H5T_NATIVE_DOUBLE;
    case TN_DTYPE_F32: return H5T_NATIVE_FLOAT;
    case TN_DTYPE_I8: return H5T_NATIVE_INT8;
    case TN_DTYPE_I16: return H5T_NATIVE_INT16;
    case TN_DTYPE_I32: return H5T_NATIVE_INT32;
    case TN_DTYPE_I64: return H5T_NATIVE_INT64;
    case TN_DTYPE_U8: return H5T_NATIVE_UINT8;
    case TN_DTYPE_U16: return H5T_NATIVE_UINT16;
    case TN_DTYPE_U32: return H5T_NATIVE_UINT32;
    case TN_DTYPE_U64: return H5T_NATIVE_UINT64;
    default: return -1;
    }
}

TnDtype
h5_dtype(hid_t type)
{
    static const struct {
        H5T_class_t klass;
        gboolean is_signed;
        gsize size;
        TnDtype dtype;
    } table[] = {
        { H5T_FLOAT, FALSE, 8, TN_DTYPE_F64 },   { H5T_FLOAT, FALSE, 4, TN_DTYPE_F32 },
        { H5T_FLOAT, FALSE, 2, TN_DTYPE_F32 }, /* half: HDF5 widens it */
        { H5T_INTEGER, TRUE, 1, TN_DTYPE_I8 },   { H5T_INTEGER, TRUE, 2, TN_DTYPE_I16 },
        { H5T_INTEGER, TRUE, 4, TN_DTYPE_I32 },  { H5T_INTEGER, TRUE, 8, TN_DTYPE_I64 },
        { H5T_INTEGER, FALSE, 1, TN_DTYPE_U8 },  { H5T_INTEGER, FALSE, 2, TN_DTYPE_U16 },
        { H5T_INTEGER, FALSE, 4, TN_DTYPE_U32 }, { H5T_INTEGER, FALSE, 8, TN_DTYPE_U64 },
    };
    H5T_class_t klass = H5Tget_class(type);
    gboolean is_signed = klass == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_2;
    gsize size = H5Tget_size(type);
    for (guint i = 0; i < G_N_ELEMENTS(table); i++)
        if (table[i].klass == klass && table[i].is_signed == is_signed && table[i].size == size)
            return table[i].dtype;
    return TN_DTYPE_NONE;
}

static herr_t
keep_text(unsigned n, const H5E_error2_t *entry, void *data)
{
    char **text = data;
    (void)n;
    if (entry->desc && *entry->desc) { /* walked outwards in: the last one is where it happened */
        g_free(*text);
        *text = g_strdup(entry->desc);
    }
    return 0;
}

char *
h5_error_text(void)
{
    char *text = NULL;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_text, &text);
    H5Eclear2(H5E_DEFAULT);
    return text ? text : g_strdup("no detail");
}

gboolean
h5_fail(GError **error, TnErrorCode code, const char *path, const char *what)
{
    g_autofree char *text = h5_error_text();
    g_set_error(error, TN_ERROR, code, "%s: %s: HDF5 says: %s", path, what, text);
    return FALSE;
}

void
h5_quiet(void)
{
    H5Eset_auto2(H5E_DEFAULT, NULL,
                 NULL); /* per thread in a thread-safe build: called at each entry */
}

static const TnFactory *const factories[] = { &h5_dataset_factory, &h5_writer_factory, NULL };

static const TnPlugin descriptor = {
    TN_PLUGIN_HEAD("hdf5", TN_PLUGIN_VERSION, "Apache-2.0", "datasets in HDF5 files"),
    .factories = factories,
};

TN_PLUGIN(hdf5, descriptor)
