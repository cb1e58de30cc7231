/* open.c: finding the arrays of a dataset in an HDF5 file. What lies in other files (external links and
 * storage, virtual arrays) is not followed: a file that somebody sends must not make a run read files of
 * the machine's, and the fingerprint could not cover them. */
#include "dataset-private.h"

static herr_t
refuse_file(const char *parent, const char *group, const char *file, const char *object,
            unsigned *flags, hid_t access, void *data)
{
    (void)parent, (void)group, (void)file, (void)object, (void)flags, (void)access;
    *(gboolean *)data = TRUE;
    return -1;
}

/* A property list to open objects of the class with, which stops at links to other files; *met says
 * that there was one. (transfer full): H5Pclose. */
static hid_t
own_file_only(hid_t klass, gboolean *met)
{
    hid_t list = H5Pcreate(klass);
    if (list >= 0)
        H5Pset_elink_cb(list, refuse_file, met);
    return list;
}

/* For what could not be opened. */
static gboolean
not_opened(const H5Dataset *h5, gboolean elsewhere, const char *what, GError **error)
{
    if (!elsewhere)
        return h5_fail(error, TN_ERROR_NOT_FOUND, h5->path, what);
    g_free(h5_error_text());
    g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                "%s: %s: it is a link to another file, which is not read", h5->path, what);
    return FALSE;
}

/* Whether an array's elements lie in its own file. */
static gboolean
is_stored_here(hid_t array)
{
    hid_t list = H5Dget_create_plist(array);
    gboolean here =
        list >= 0 && H5Pget_external_count(list) == 0 && H5Pget_layout(list) != H5D_VIRTUAL;
    if (list >= 0)
        H5Pclose(list);
    return here;
}

static gboolean
describe_array(H5Dataset *h5, H5Field *f, GError **error)
{
    if (!is_stored_here(f->array)) {
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                    "%s: array '%s' lies in other files, which are not read; copy it into one file",
                    h5->path, f->field.name);
        return FALSE;
    }
    hid_t type = H5Dget_type(f->array), space = H5Dget_space(f->array);
    hsize_t dims[H5S_MAX_RANK] = { 0 };
    int rank = H5Sget_simple_extent_ndims(space);
    f->field.type.dtype = h5_dtype(type);
    if (rank > 0)
        H5Sget_simple_extent_dims(space, dims, NULL);
    H5Tclose(type);
    H5Sclose(space);
    if (f->field.type.dtype == TN_DTYPE_NONE) {
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                    "%s: array '%s' holds neither integers nor floats", h5->path, f->field.name);
        return FALSE;
    }
    if (rank < 1 || rank > TN_MAX_RANK) {
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                    "%s: array '%s' has %d dimensions, 1 to %d are possible", h5->path,
                    f->field.name, rank, TN_MAX_RANK);
        return FALSE;
    }
    f->field.type.rank = rank - 1;
    for (int i = 1; i < rank; i++)
        f->field.type.dims[i - 1] = (gint64)dims[i];
    gint64 bytes = tn_type_bytes(&f->field.type);
    if (bytes < 0 || dims[0] > (hsize_t)G_MAXINT64) {
        g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT, "%s: array '%s' has impossible sizes",
                    h5->path, f->field.name);
        return FALSE;
    }
    if (h5->n > 0 && (gint64)dims[0] != h5->length) {
        g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT,
                    "%s: array '%s' has %" G_GUINT64_FORMAT " samples, '%s' has %" G_GINT64_FORMAT,
                    h5->path, f->field.name, (guint64)dims[0], h5->fields[0].field.name,
                    h5->length);
        return FALSE;
    }
    h5->length = (gint64)dims[0];
    f->bytes = (gsize)bytes;
    return TRUE;
}

static gboolean
add_array(H5Dataset *h5, const char *name, GError **error)
{
    if (h5->n == H5_MAX_FIELDS) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "%s: more than %d arrays; name those wanted in `fields`", h5->path,
                    H5_MAX_FIELDS);
        return FALSE;
    }
    H5Field *f = &h5->fields[h5->n];
    gboolean elsewhere = FALSE;
    hid_t access = own_file_only(H5P_DATASET_ACCESS, &elsewhere);
    f->field.name = g_strdup(name);
    f->array = H5Dopen2(h5->group, name, access);
    H5Pclose(access);
    gboolean ok = f->array >= 0;
    if (!ok) {
        g_autofree char *what = g_strdup_printf("array '%s' cannot be opened", name);
        not_opened(h5, elsewhere, what, error);
    }
    ok = ok && describe_array(h5, f, error);
    h5->n++; /* so that it is closed in any case */
    return ok;
}

typedef struct {
    H5O_type_t type;
    GPtrArray *names;
    hid_t access;
} Listing;

static herr_t
list_name(hid_t group, const char *name, const H5L_info_t *info, void *data)
{
    Listing *listing = data;
    H5O_info_t object;
    (void)info;
    if (H5Oget_info_by_name2(group, name, &object, H5O_INFO_BASIC, listing->access) >= 0 &&
        object.type == listing->type)
        g_ptr_array_add(listing->names, g_strdup(name));
    return 0;
}

/* Adds the names of a group's objects of a type; links to other files are passed over. */
static gboolean
list_names(hid_t group, H5O_type_t type, GPtrArray *names)
{
    gboolean elsewhere = FALSE;
    Listing listing = { type, names, own_file_only(H5P_LINK_ACCESS, &elsewhere) };
    const herr_t listed = H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, list_name, &listing);
    H5Pclose(listing.access);
    return listed >= 0;
}

static gboolean
no_group(const H5Dataset *h5, const char *split, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    list_names(h5->file, H5O_TYPE_GROUP, names);
    g_ptr_array_add(names, NULL);
    g_autofree char *known = g_strjoinv(", ", (char **)names->pdata);
    g_free(h5_error_text());
    g_set_error(error, TN_ERROR, TN_ERROR_NOT_FOUND, "%s: there is no group '%s'; there %s %s",
                h5->path, split, names->len == 2 ? "is" : "are", names->len > 1 ? known : "none");
    return FALSE;
}

static gboolean
open_arrays(H5Dataset *h5, const H5Options *options, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    for (gint i = 0; i < options->fields.n; i++)
        g_ptr_array_add(names, g_strdup(options->fields.v[i]));
    if (names->len == 0 && !list_names(h5->group, H5O_TYPE_DATASET, names))
        return h5_fail(error, TN_ERROR_CORRUPT, h5->path,
                       "the arrays cannot be listed (is the file damaged?)");
    if (names->len == 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "%s: group '%s' holds no arrays; `tenon data info` lists what is there",
                    h5->path, options->split);
        return FALSE;
    }
    for (guint i = 0; i < names->len; i++)
        if (!add_array(h5, g_ptr_array_index(names, i), error))
            return FALSE;
    return TRUE;
}

static gboolean
fill_cache(H5Dataset *h5, guint64 limit, GError **error)
{
    gsize total = 0;
    for (guint i = 0; i < h5->n; i++) {
        gsize bytes;
        if (!tn_size_mul((gsize)h5->length, h5->fields[i].bytes, &bytes) || bytes > limit ||
            total + bytes > limit)
            return TRUE;
        total += bytes;
    }
    for (guint i = 0; i < h5->n; i++) {
        H5Field *f = &h5->fields[i];
        f->cached = tn_data_alloc_for((gsize)h5->length * f->bytes, h5->path, error);
        if (!f->cached)
            return FALSE;
        if (H5Dread(f->array, h5_native(f->field.type.dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT,
                    f->cached) < 0) {
            g_autofree char *what =
                g_strdup_printf("array '%s' cannot be read (is the file damaged?)", f->field.name);
            return h5_fail(error, TN_ERROR_CORRUPT, h5->path, what);
        }
    }
    return TRUE;
}

gboolean
h5_open(H5Dataset *h5, const H5Options *options, GError **error)
{
    if (!g_file_test(options->path, G_FILE_TEST_EXISTS)) {
        g_set_error(
            error, TN_ERROR, TN_ERROR_NOT_FOUND,
            "%s: no such file; `tenon data import` makes one, --data-root says where data is",
            options->path);
        return FALSE;
    }
    h5->file = H5Fopen(options->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (h5->file < 0)
        return h5_fail(error, TN_ERROR_CORRUPT, h5->path,
                       "cannot be opened as HDF5 (is it cut short?)");
    gboolean elsewhere = FALSE;
    hid_t access = own_file_only(H5P_GROUP_ACCESS, &elsewhere);
    h5->group = H5Gopen2(h5->file, options->split, access);
    H5Pclose(access);
    if (h5->group < 0) {
        g_autofree char *what = g_strdup_printf("group '%s' cannot be opened", options->split);
        return elsewhere ? not_opened(h5, elsewhere, what, error)
                         : no_group(h5, options->split, error);
    }
    return open_arrays(h5, options, error) && fill_cache(h5, options->cache, error);
}
