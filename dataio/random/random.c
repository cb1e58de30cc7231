/* random.c: a dataset of random samples: inputs from a normal distribution or random bytes, labels
 * uniform over classes. For benchmarks, tests and first steps without data. */
#include <string.h>

#include <tenon/base.h>
#include <tenon/dataset.h>

typedef struct {
    gint64 length, classes;
    TnShape shape;
    guint64 seed;
    gint dtype; /* of dtypes */
} RandomOptions;

enum { NORMAL_F32, BYTES_U8 };
static const char *const dtypes[] = { "f32", "u8", NULL };

typedef struct {
    RandomOptions options;
    TnField fields[2];
    gint64 count; /* elements of one x */
} RandomData;

static const TnOption rows[] = {
    { .name = "shape",
      .type = TN_OPT_SHAPE,
      .flags = TN_OPTION_REQUIRED | TN_OPTION_POSITIONAL,
      .offset = G_STRUCT_OFFSET(RandomOptions, shape),
      TN_RANGE_I(0, 1 << 30),
      .help = "sizes of one sample's x" },
    { .name = "classes",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(RandomOptions, classes),
      .dflt = "10",
      TN_RANGE_I(1, G_MAXINT32),
      .help = "labels y are 0 to this, exclusive" },
    { .name = "length",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(RandomOptions, length),
      .dflt = "1024",
      TN_RANGE_I(0, G_MAXINT64),
      .unit = "samples",
      .help = "samples there are" },
    { .name = "seed",
      .type = TN_OPT_UINT64,
      .offset = G_STRUCT_OFFSET(RandomOptions, seed),
      .dflt = "0",
      .help = "other numbers for other seeds" },
    { .name = "dtype",
      .type = TN_OPT_ENUM,
      .choices = dtypes,
      .offset = G_STRUCT_OFFSET(RandomOptions, dtype),
      .dflt = "f32",
      .help = "f32: x is normal; u8: uniform over 0 to 255, as images are" },
};

static void *
random_create(TnConfig *config, TnContext *context, GError **error)
{
    RandomData *data = g_new0(RandomData, 1);
    (void)context;
    data->options = *(const RandomOptions *)tn_config_data(config);
    data->fields[0] =
        (TnField){ "x", tn_type(data->options.dtype == BYTES_U8 ? TN_DTYPE_U8 : TN_DTYPE_F32,
                                data->options.shape.rank, data->options.shape.dims) };
    data->fields[1] = (TnField){ "y", tn_type(TN_DTYPE_I64, 0, NULL) };
    data->count = tn_type_count(&data->fields[0].type);
    if (data->count < 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE, "random: a sample of that shape is too large");
        g_free(data);
        return NULL;
    }
    return data;
}

static guint
random_n_fields(void *self)
{
    (void)self;
    return 2;
}

static const TnField *
random_field(void *self, guint i)
{
    return &((RandomData *)self)->fields[i];
}

static gint64
random_length(void *self)
{
    return ((RandomData *)self)->options.length;
}

/* Lowest byte of each word first, on every machine. */
static void
fill_bytes(TnRandom *random, gint64 n, guint8 *x)
{
    guint32 words[1024];
    for (gint64 done = 0; done < n;) {
        const gint64 bytes = MIN(n - done, (gint64)sizeof words), count = (bytes + 3) / 4;
        tn_random_fill_u32(random, count, words);
        for (gint64 i = 0; i < count; i++)
            words[i] = GUINT32_TO_LE(words[i]);
        memcpy(x + done, words, (gsize)bytes);
        done += bytes;
    }
}

static TnStatus
random_read(void *self, gsize n, const gint64 *position, void *const *out)
{
    const RandomData *data = self;
    gint64 *y = out[1];
    for (gsize i = 0; i < n; i++) {
        TnRandom random;
        if (position[i] < 0 || position[i] >= data->options.length)
            return TN_FAILED;
        tn_random_init(&random, data->options.seed, "random.sample", (guint64)position[i]);
        const guint64 label = tn_random_below(&random, (guint64)data->options.classes);
        if (y)
            y[i] = (gint64)label;
        if (out[0] && data->options.dtype == BYTES_U8)
            fill_bytes(&random, data->count, (guint8 *)out[0] + (gint64)i * data->count);
        else if (out[0])
            tn_random_fill_normal(&random, data->count, (float *)out[0] + (gint64)i * data->count);
    }
    return TN_OK;
}

static const char *
random_last_error(void *self)
{
    (void)self;
    return "a position outside the dataset was asked for";
}

static guint64
random_fingerprint(void *self)
{
    const RandomData *data = self;
    guint64 hash = tn_hash(TN_HASH_INIT, &data->options.seed, sizeof data->options.seed);
    hash = tn_hash(hash, &data->options.classes, sizeof data->options.classes);
    hash = tn_hash(hash, &data->options.length, sizeof data->options.length);
    hash = tn_hash(hash, &data->options.dtype, sizeof data->options.dtype);
    return tn_hash(hash, &data->options.shape, sizeof data->options.shape);
}

static const TnDatasetVTable vtable = {
    .size = sizeof(TnDatasetVTable),
    .n_fields = random_n_fields,
    .field = random_field,
    .length = random_length,
    .read = random_read,
    .last_error = random_last_error,
    .fingerprint = random_fingerprint,
};

static const TnFactory factory = {
    .size = sizeof(TnFactory),
    .iface = TN_IFACE_DATASET,
    .name = "random",
    .help = "random samples: x normal or bytes, y a class",
    .threads = TN_THREADS_ANY,
    .options = TN_OPTIONS(RandomOptions, rows),
    .create = random_create,
    .destroy = g_free,
    .vtable = &vtable,
};

static const TnFactory *const factories[] = { &factory, NULL };

static const TnPlugin descriptor = {
    TN_PLUGIN_HEAD("random", TN_PLUGIN_VERSION, "Apache-2.0", "datasets of random samples"),
    .factories = factories,
};

TN_PLUGIN(random, descriptor)
