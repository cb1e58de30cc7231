/* idx.c: datasets in IDX files, plain or gzipped: images in one file, labels in another, all held
 * in memory. */
#include <errno.h>
#include <string.h>
#include <zlib.h>

#include <tenon/base.h>
#include <tenon/dataset.h>

#include "parse.h"

#define FIELDS 2
#define FIRST_READ (1u << 20)
#define READ_LIMIT (G_GUINT64_CONSTANT(1) << 36) /* 64 GiB unpacked: a bomb, not a dataset */

typedef struct {
    const char *image, *label;
    gboolean channel;
} IdxOptions;

typedef struct {
    guint n;
    TnField fields[FIELDS];
    guint8 *bytes[FIELDS]; /* whole files, unpacked */
    gsize begin[FIELDS];   /* of the elements */
    gint64 length;
} Idx;

static const TnOption rows[] = {
    { .name = "image",
      .type = TN_OPT_PATH,
      .offset = G_STRUCT_OFFSET(IdxOptions, image),
      .flags = TN_OPTION_REQUIRED | TN_OPTION_POSITIONAL,
      .help = "IDX file of the samples, may be gzipped" },
    { .name = "label",
      .type = TN_OPT_PATH,
      .offset = G_STRUCT_OFFSET(IdxOptions, label),
      .flags = TN_OPTION_NULLABLE | TN_OPTION_POSITIONAL,
      .help = "IDX file of the labels, may be gzipped" },
    { .name = "channel",
      .type = TN_OPT_BOOL,
      .offset = G_STRUCT_OFFSET(IdxOptions, channel),
      .dflt = "true",
      .help = "give flat images a channel dimension of 1 in front" },
};

static void
idx_free(void *self)
{
    Idx *idx = self;
    for (guint i = 0; i < FIELDS; i++)
        tn_data_free(idx->bytes[i]);
    g_free(idx);
}

/* Unpacks a whole file (gzread gives plain ones as they are), but not much beyond what its head
 * says: a few bytes can unpack into all memory. */
static guint8 *
read_all(const char *path, gsize *size, GError **error)
{
    gzFile file = gzopen(path, "rb");
    if (!file) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: %s", path,
                    g_strerror(errno ? errno : ENOMEM));
        return NULL;
    }
    gsize room = FIRST_READ, used = 0;
    guint8 *bytes = tn_data_alloc_for(room, path, error);
    gboolean ok = bytes != NULL;
    while (ok) {
        int n = gzread(file, bytes + used, (unsigned)MIN(room - used, 1u << 30));
        int code;
        const char *text = gzerror(file, &code);
        if (n < 0 || (n == 0 && code != Z_OK && code != Z_STREAM_END)) {
            g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT,
                        "%s: cannot be unpacked beyond byte %zu: %s", path, used, text);
            ok = FALSE;
        }
        if (n <= 0)
            break;
        used += (gsize)n;
        if (used >= IDX_HEAD && used > idx_whole_size(bytes, used))
            break; /* the head is wrong, or too short: idx_parse_head says how */
        if (used < room)
            continue;
        guint8 *more = room * 2 <= READ_LIMIT ? tn_data_alloc_for(room * 2, path, error) : NULL;
        ok = more != NULL;
        if (more) {
            memcpy(more, bytes, used);
            tn_data_free(bytes);
            bytes = more;
            room *= 2;
        }
    }
    gzclose(file);
    if (!ok) {
        tn_data_free(bytes);
        if (error && !*error)
            g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT, "%s: more than %d GiB when unpacked",
                        path, 64);
        return NULL;
    }
    *size = used;
    return bytes;
}

/* The type of one sample, with a channel dimension where flat images want one. */
static TnType
sample_type(const TnType *all, gboolean channel)
{
    TnType type = { .dtype = all->dtype };
    if (channel && all->rank == 3)
        type.dims[type.rank++] = 1;
    for (gint i = 1; i < all->rank; i++)
        type.dims[type.rank++] = all->dims[i];
    return type;
}

static gboolean
load_field(Idx *idx, const char *name, const char *path, gboolean channel, GError **error)
{
    gsize size;
    TnType type;
    guint i = idx->n;
    idx->bytes[i] = read_all(path, &size, error);
    if (!idx->bytes[i] || !idx_parse_head(idx->bytes[i], size, path, &type, &idx->begin[i], error))
        return FALSE;
    if (i > 0 && type.dims[0] != idx->length) {
        g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT,
                    "%s: %" G_GINT64_FORMAT " samples, the file of '%s' has %" G_GINT64_FORMAT,
                    path, type.dims[0], idx->fields[0].name, idx->length);
        return FALSE;
    }
    gsize bytes = (gsize)tn_type_bytes(&type);
    if (idx->begin[i] %
        tn_dtype_size(type.dtype)) { /* elements are swapped and read where they lie aligned */
        memmove(idx->bytes[i], idx->bytes[i] + idx->begin[i], bytes);
        idx->begin[i] = 0;
    }
    idx_swap(type.dtype, idx->bytes[i] + idx->begin[i], (gsize)tn_type_count(&type));
    idx->length = type.dims[0];
    idx->fields[i] = (TnField){ name, sample_type(&type, channel) };
    idx->n++;
    return TRUE;
}

static void *
idx_create(TnConfig *config, TnContext *context, GError **error)
{
    const IdxOptions *options = tn_config_data(config);
    Idx *idx = g_new0(Idx, 1);
    (void)context;
    if (!load_field(idx, "image", options->image, options->channel, error) ||
        (options->label && !load_field(idx, "label", options->label, FALSE, error))) {
        idx_free(idx);
        return NULL;
    }
    return idx;
}

static guint
idx_n_fields(void *self)
{
    return ((Idx *)self)->n;
}

static const TnField *
idx_field(void *self, guint i)
{
    return &((Idx *)self)->fields[i];
}

static gint64
idx_length(void *self)
{
    return ((Idx *)self)->length;
}

static TnStatus
idx_read(void *self, gsize n, const gint64 *position, void *const *out)
{
    Idx *idx = self;
    for (guint f = 0; f < idx->n; f++) {
        gsize bytes = (gsize)tn_type_bytes(&idx->fields[f].type);
        for (gsize i = 0; out[f] && i < n; i++) {
            if (position[i] < 0 || position[i] >= idx->length)
                return TN_FAILED;
            memcpy((guint8 *)out[f] + i * bytes,
                   idx->bytes[f] + idx->begin[f] + (gsize)position[i] * bytes, bytes);
        }
    }
    return TN_OK;
}

static const char *
idx_last_error(void *self)
{
    (void)self;
    return "a position outside the dataset was asked for";
}

static guint64
idx_fingerprint(void *self)
{
    Idx *idx = self;
    guint64 hash = TN_HASH_INIT;
    for (guint f = 0; f < idx->n; f++)
        hash = tn_hash_sample(hash, idx->bytes[f] + idx->begin[f],
                              (gsize)tn_type_bytes(&idx->fields[f].type) * (gsize)idx->length);
    return hash;
}

static const TnDatasetVTable vtable = {
    .size = sizeof(TnDatasetVTable),
    .n_fields = idx_n_fields,
    .field = idx_field,
    .length = idx_length,
    .read = idx_read,
    .last_error = idx_last_error,
    .fingerprint = idx_fingerprint,
};

static const TnFactory factory = {
    .size = sizeof(TnFactory),
    .iface = TN_IFACE_DATASET,
    .name = "idx",
    .help = "IDX files, the format of MNIST and its kin, plain or gzipped",
    .threads = TN_THREADS_ANY,
    .options = TN_OPTIONS(IdxOptions, rows),
    .create = idx_create,
    .destroy = idx_free,
    .vtable = &vtable,
};

static const TnFactory *const factories[] = { &factory, NULL };

static const TnPlugin descriptor = {
    TN_PLUGIN_HEAD("idx", TN_PLUGIN_VERSION, "Apache-2.0", "datasets in IDX files"),
    .factories = factories,
};

TN_PLUGIN(idx, descriptor)
