/* text.c: a dataset of windows over the bytes of a file, for models that guess the next one: x is a
 * window, y the same moved on by one byte. Any file is a text; the bytes are held in memory. */
#include <string.h>

#include <tenon/base.h>
#include <tenon/dataset.h>

typedef struct {
    const char *path;
    gint64 length, stride;
    double begin, end;
} TextOptions;

typedef struct {
    guint8 *file;
    const guint8 *bytes; /* of the part that is used */
    gsize n_bytes;
    gint64 length, stride, count; /* of a window; between two; windows */
    TnField fields[2];
} TextData;

static const TnOption rows[] = {
    { .name = "path",
      .type = TN_OPT_PATH,
      .offset = G_STRUCT_OFFSET(TextOptions, path),
      .flags = TN_OPTION_REQUIRED | TN_OPTION_POSITIONAL,
      .help = "the file" },
    { .name = "length",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(TextOptions, length),
      .dflt = "128",
      TN_RANGE_I(1, 1 << 30),
      .unit = "bytes",
      .help = "size of a sample's x, and of its y" },
    { .name = "stride",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(TextOptions, stride),
      .dflt = "0",
      TN_RANGE_I(0, G_MAXINT32),
      .unit = "bytes",
      .help = "from where a sample begins to where the next one does; 0: length, so that each byte "
              "is guessed once" },
    { .name = "begin",
      .type = TN_OPT_DOUBLE,
      .offset = G_STRUCT_OFFSET(TextOptions, begin),
      .dflt = "0",
      TN_RANGE_F(0, 1),
      .help = "share of the file that is left out in front" },
    { .name = "end",
      .type = TN_OPT_DOUBLE,
      .offset = G_STRUCT_OFFSET(TextOptions, end),
      .dflt = "1",
      TN_RANGE_F(0, 1),
      .help = "share of the file behind which the rest is left out" },
};

static void
text_free(void *self)
{
    TextData *data = self;
    g_free(data->file);
    g_free(data);
}

static gboolean
read_file(TextData *data, const char *path, gsize *size, GError **error)
{
    g_autoptr(GError) why = NULL;
    char *file = NULL;
    /* What is no plain file may have no end. */
    if (g_file_test(path, G_FILE_TEST_EXISTS) && !g_file_test(path, G_FILE_TEST_IS_REGULAR)) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: is no plain file", path);
        return FALSE;
    }
    if (!g_file_get_contents(path, &file, size, &why)) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s", why->message);
        return FALSE;
    }
    data->file = (guint8 *)file;
    return TRUE;
}

/* Windows that lie in the part with the byte behind them. */
static gboolean
lay_windows(TextData *data, const TextOptions *options, gsize size, GError **error)
{
    const gsize from = (gsize)(options->begin * (double)size);
    const gsize to = (gsize)(options->end * (double)size);
    data->bytes = data->file + from;
    data->n_bytes = to > from ? to - from : 0;
    data->length = options->length;
    data->stride = options->stride ? options->stride : options->length;
    if (data->n_bytes <= (guint64)data->length) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "%s: %zu bytes from %g to %g of the file; a sample of length %" G_GINT64_FORMAT
                    " needs one more than that: choose a larger part or a smaller length",
                    options->path, data->n_bytes, options->begin, options->end, data->length);
        return FALSE;
    }
    data->count = ((gint64)data->n_bytes - 1 - data->length) / data->stride + 1;
    return TRUE;
}

static void *
text_create(TnConfig *config, TnContext *context, GError **error)
{
    const TextOptions *options = tn_config_data(config);
    TextData *data = g_new0(TextData, 1);
    gsize size;
    (void)context;
    if (!read_file(data, options->path, &size, error) || !lay_windows(data, options, size, error)) {
        text_free(data);
        return NULL;
    }
    const TnType type = tn_type(TN_DTYPE_I64, 1, &data->length);
    data->fields[0] = (TnField){ "x", type };
    data->fields[1] = (TnField){ "y", type };
    return data;
}

static guint
text_n_fields(void *self)
{
    (void)self;
    return 2;
}

static const TnField *
text_field(void *self, guint i)
{
    return &((TextData *)self)->fields[i];
}

static gint64
text_length(void *self)
{
    return ((TextData *)self)->count;
}

static TnStatus
text_read(void *self, gsize n, const gint64 *position, void *const *out)
{
    const TextData *data = self;
    for (gsize i = 0; i < n; i++) {
        if (position[i] < 0 || position[i] >= data->count)
            return TN_FAILED;
        for (guint field = 0; field < 2; field++) {
            const guint8 *from = data->bytes + position[i] * data->stride + field;
            gint64 *to = out[field];
            for (gint64 k = 0; to && k < data->length; k++)
                to[(gint64)i * data->length + k] = from[k];
        }
    }
    return TN_OK;
}

static const char *
text_last_error(void *self)
{
    (void)self;
    return "a position outside the dataset was asked for";
}

static guint64
text_fingerprint(void *self)
{
    const TextData *data = self;
    const guint64 hash = tn_hash(TN_HASH_INIT, &data->stride, sizeof data->stride);
    return tn_hash_sample(hash, data->bytes, data->n_bytes);
}

static const TnDatasetVTable vtable = {
    .size = sizeof(TnDatasetVTable),
    .n_fields = text_n_fields,
    .field = text_field,
    .length = text_length,
    .read = text_read,
    .last_error = text_last_error,
    .fingerprint = text_fingerprint,
};

static const TnFactory factory = {
    .size = sizeof(TnFactory),
    .iface = TN_IFACE_DATASET,
    .name = "text",
    .help = "windows over the bytes of a file: x, and y, which is x one byte later",
    .threads = TN_THREADS_ANY,
    .options = TN_OPTIONS(TextOptions, rows),
    .create = text_create,
    .destroy = text_free,
    .vtable = &vtable,
};

static const TnFactory *const factories[] = { &factory, NULL };

static const TnPlugin descriptor = {
    TN_PLUGIN_HEAD("text", TN_PLUGIN_VERSION, "Apache-2.0", "datasets of windows over texts"),
    .factories = factories,
};

TN_PLUGIN(text, descriptor)
