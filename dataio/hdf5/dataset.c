/* dataset.c: samples from a group of an HDF5 file: every array in it whose first dimension is the
 * number of samples. What lies in other files (external links and storage, virtual arrays) is not
 * followed: a file that somebody sends must not make a run read files of the machine's, and the
 * fingerprint could not cover them.
 *
 * A dataset that fits `cache` is read into memory once; a larger one is read sample by sample,
 * sorted by position so that a chunk is unpacked once a batch. */
#include <stdlib.h>
#include <string.h>

#include "hdf5-private.h"

#include <tenon/pool.h>

#define MAX_FIELDS 16

typedef struct {
    const char *path, *split;
    TnStrings fields;
    guint64 cache;
} H5Options;

typedef struct {
    TnField field;
    hid_t array;
    gsize bytes;    /* of one sample */
    guint8 *cached; /* all samples, or NULL */
} H5Field;

typedef struct {
    char *path;
    hid_t file, group;
    guint n;
    H5Field fields[MAX_FIELDS];
    gint64 length;
    char *error;
} H5Dataset;

typedef struct {
    gint64 position;
    gsize slot;
} Want;

static const TnOption rows[] = {
    { .name = "path",
      .type = TN_OPT_PATH,
      .offset = G_STRUCT_OFFSET(H5Options, path),
      .flags = TN_OPTION_REQUIRED | TN_OPTION_POSITIONAL,
      .help = "HDF5 file" },
    { .name = "split",
      .type = TN_OPT_STRING,
      .offset = G_STRUCT_OFFSET(H5Options, split),
      .dflt = "\"/\"",
      .help = "group that holds the arrays, such as train" },
    { .name = "fields",
      .type = TN_OPT_STRINGS,
      .offset = G_STRUCT_OFFSET(H5Options, fields),
      .help = "arrays to read; none: all of the group" },
    { .name = "cache",
      .type = TN_OPT_SIZE,
      .offset = G_STRUCT_OFFSET(H5Options, cache),
      .dflt = "\"1GiB\"",
      .unit = "bytes",
      .help = "keep the split in memory if it is no larger" },
};

static void
h5_free(void *self)
{
    H5Dataset *h5 = self;
    for (guint i = 0; i < h5->n; i++) {
        if (h5->fields[i].array >= 0)
            H5Dclose(h5->fields[i].array);
        g_free((char *)h5->fields[i].field.name);
        tn_data_free(h5->fields[i].cached);
    }
    if (h5->group >= 0)
        H5Gclose(h5->group);
    if (h5->file >= 0)
        H5Fclose(h5->file);
    g_free(h5->path);
    g_free(h5->error);
    g_free(h5);
}

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
    if (h5->n == MAX_FIELDS) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "%s: more than %d arrays; name those wanted in `fields`", h5->path, MAX_FIELDS);
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

static gboolean
open_dataset(H5Dataset *h5, const H5Options *options, GError **error)
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

static void *
h5_create(TnConfig *config, TnContext *context, GError **error)
{
    const H5Options *options = tn_config_data(config);
    H5Dataset *h5 = g_new0(H5Dataset, 1);
    (void)context;
    h5_quiet();
    h5->file = h5->group = -1;
    for (guint i = 0; i < MAX_FIELDS; i++)
        h5->fields[i].array = -1;
    h5->path = g_strdup(options->path);
    if (!open_dataset(h5, options, error)) {
        h5_free(h5);
        return NULL;
    }
    return h5;
}

static guint
h5_n_fields(void *self)
{
    return ((H5Dataset *)self)->n;
}

static const TnField *
h5_field(void *self, guint i)
{
    return &((H5Dataset *)self)->fields[i].field;
}

static gint64
h5_length(void *self)
{
    return ((H5Dataset *)self)->length;
}

static TnStatus read_failed(H5Dataset *h5, const char *format, ...) G_GNUC_PRINTF(2, 3);

static TnStatus
read_failed(H5Dataset *h5, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_free(h5->error);
    h5->error = g_strdup_printf("%s: %s", h5->path, text);
    return TN_FAILED;
}

static int
by_position(const void *a, const void *b)
{
    gint64 x = ((const Want *)a)->position, y = ((const Want *)b)->position;
    return x < y ? -1 : x > y;
}

/* Samples one at a time in the order of the file. */
static TnStatus
read_stored(H5Dataset *h5, const H5Field *f, gsize n, const Want *wants, guint8 *out)
{
    hsize_t start[TN_MAX_RANK] = { 0 }, count[TN_MAX_RANK] = { 1 };
    int rank = f->field.type.rank + 1;
    for (int i = 1; i < rank; i++)
        count[i] = (hsize_t)f->field.type.dims[i - 1];
    hid_t space = H5Dget_space(f->array), memory = H5Screate_simple(rank, count, NULL);
    TnStatus status = space < 0 || memory < 0 ? TN_FAILED : TN_OK;
    for (gsize i = 0; i < n && status == TN_OK; i++) {
        start[0] = (hsize_t)wants[i].position;
        if (H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
            H5Dread(f->array, h5_native(f->field.type.dtype), memory, space, H5P_DEFAULT,
                    out + wants[i].slot * f->bytes) < 0) {
            g_autofree char *text = h5_error_text();
            status = read_failed(h5, "array '%s', sample %" G_GINT64_FORMAT ": HDF5 says: %s",
                                 f->field.name, wants[i].position, text);
        }
    }
    if (memory >= 0)
        H5Sclose(memory);
    if (space >= 0)
        H5Sclose(space);
    return status;
}

typedef struct {
    const H5Field *field;
    gsize n, each; /* samples, and of them in a chunk */
    const gint64 *position;
    guint8 *out;
} Gather;

static TnStatus
gather_chunk(gpointer data, gsize chunk, gsize n)
{
    const Gather *gather = data;
    const gsize bytes = gather->field->bytes;
    const gsize end = MIN((chunk + 1) * gather->each, gather->n);
    (void)n;
    for (gsize i = chunk * gather->each; i < end; i++)
        memcpy(gather->out + i * bytes, gather->field->cached + (gsize)gather->position[i] * bytes,
               bytes);
    return TN_OK;
}

/* Samples that lie anywhere in memory: one processor alone waits for most of them. */
static void
gather(const H5Field *f, gsize n, const gint64 *position, guint8 *out)
{
    enum { WORTH = 32768, CHUNKS = 8 }; /* bytes that are worth another thread's attention */
    const gsize each = n * f->bytes < WORTH ? n : (n + CHUNKS - 1) / CHUNKS;
    Gather data = { f, n, MAX(1, each), position, out };
    tn_parallel_for((n + data.each - 1) / data.each, gather_chunk, &data);
}

static TnStatus
h5_read(void *self, gsize n, const gint64 *position, void *const *out)
{
    H5Dataset *h5 = self;
    g_autofree Want *wants = NULL;
    h5_quiet();
    for (gsize i = 0; i < n; i++)
        if (position[i] < 0 || position[i] >= h5->length)
            return read_failed(h5,
                               "sample %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " was asked for",
                               position[i], h5->length);
    for (guint k = 0; k < h5->n; k++) {
        H5Field *f = &h5->fields[k];
        if (!out[k])
            continue;
        if (f->cached) {
            gather(f, n, position, out[k]);
            continue;
        }
        if (!wants) {
            wants = g_new(Want, n);
            for (gsize i = 0; i < n; i++)
                wants[i] = (Want){ position[i], i };
            qsort(wants, n, sizeof *wants, by_position);
        }
        TnStatus status = read_stored(h5, f, n, wants, out[k]);
        if (status != TN_OK)
            return status;
    }
    return TN_OK;
}

static const char *
h5_last_error(void *self)
{
    H5Dataset *h5 = self;
    return h5->error ? h5->error : "no error";
}

/* --- Fingerprint ----------------------------------------------------------------------------- */

/* count samples from first on; buffer is used where they are not in memory. NULL if they cannot be
 * read. */
static const guint8 *
samples_at(const H5Field *f, gint64 first, gint64 count, guint8 *buffer)
{
    hsize_t start[TN_MAX_RANK] = { (hsize_t)first }, n[TN_MAX_RANK] = { (hsize_t)count };
    int rank = f->field.type.rank + 1;
    if (f->cached)
        return f->cached + (gsize)first * f->bytes;
    for (int i = 1; i < rank; i++)
        n[i] = (hsize_t)f->field.type.dims[i - 1];
    hid_t space = H5Dget_space(f->array), memory = H5Screate_simple(rank, n, NULL);
    gboolean ok =
        space >= 0 && memory >= 0 &&
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, n, NULL) >= 0 &&
        H5Dread(f->array, h5_native(f->field.type.dtype), memory, space, H5P_DEFAULT, buffer) >= 0;
    if (memory >= 0)
        H5Sclose(memory);
    if (space >= 0)
        H5Sclose(space);
    return ok ? buffer : NULL;
}

/* An array's contents up to 1 MiB, else up to 64 blocks of about 16 KiB (a sample at least, 16 MiB
 * together), spread evenly from the first sample to the last. The same whether they are in memory
 * or not. */
static guint64
hash_field(const H5Dataset *h5, const H5Field *f, guint64 hash)
{
    const gint64 bytes = MAX((gint64)f->bytes, 1);
    const gboolean small = h5->length <= (1 << 20) / bytes;
    const gint64 count = small ? h5->length : CLAMP(16384 / bytes, 1, h5->length);
    const gint64 blocks = small ? 1 : CLAMP((16 << 20) / (count * bytes), 2, 64);
    guint8 *buffer = f->cached ? NULL : tn_data_alloc((gsize)MAX(count * bytes, 1));
    for (gint64 i = 0; (buffer || f->cached) && count && i < blocks; i++) {
        const gint64 last = h5->length - count;
        const gint64 first =
            blocks > 1 ? last / (blocks - 1) * i + last % (blocks - 1) * i / (blocks - 1) : 0;
        const guint8 *samples = samples_at(f, first, count, buffer);
        if (samples)
            hash = tn_hash(hash, samples, (gsize)count * f->bytes);
    }
    tn_data_free(buffer);
    return hash;
}

static guint64
h5_fingerprint(void *self)
{
    const H5Dataset *h5 = self;
    guint64 hash = tn_hash(TN_HASH_INIT, &h5->length, sizeof h5->length);
    h5_quiet();
    for (guint i = 0; i < h5->n; i++) {
        const H5Field *f = &h5->fields[i];
        hash = tn_hash(hash, f->field.name, strlen(f->field.name));
        hash = tn_hash(hash, &f->field.type, sizeof f->field.type);
        hash = hash_field(h5, f, hash);
    }
    return hash;
}

static const TnDatasetVTable vtable = {
    .size = sizeof(TnDatasetVTable),
    .n_fields = h5_n_fields,
    .field = h5_field,
    .length = h5_length,
    .read = h5_read,
    .last_error = h5_last_error,
    .fingerprint = h5_fingerprint,
};

const TnFactory h5_dataset_factory = {
    .size = sizeof(TnFactory),
    .iface = TN_IFACE_DATASET,
    .name = "hdf5",
    .help = "a group of arrays in an HDF5 file",
    .threads = TN_THREADS_MODULE, /* Debian's library is serial behind one lock */
    .options = TN_OPTIONS(H5Options, rows),
    .create = h5_create,
    .destroy = h5_free,
    .vtable = &vtable,
};
