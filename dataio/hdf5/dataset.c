/* dataset.c: samples from a group of an HDF5 file: every array in it whose first dimension is the
 * number of samples. open.c finds them.
 *
 * A dataset that fits `cache` is read into memory once; a larger one is read sample by sample,
 * sorted by position so that a chunk is unpacked once a batch. */
#include <stdlib.h>
#include <string.h>

#include "dataset-private.h"

#include <tenon/pool.h>

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

static void *
h5_create(TnConfig *config, TnContext *context, GError **error)
{
    const H5Options *options = tn_config_data(config);
    H5Dataset *h5 = g_new0(H5Dataset, 1);
    (void)context;
    h5_quiet();
    h5->file = h5->group = -1;
    for (guint i = 0; i < H5_MAX_FIELDS; i++)
        h5->fields[i].array = -1;
    h5->path = g_strdup(options->path);
    if (!h5_open(h5, options, error)) {
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
