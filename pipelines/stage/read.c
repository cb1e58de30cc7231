/* read.c: the source stage: batches of a dataset's samples, in order or shuffled anew each epoch.
 *
 * Frame seq is batch seq % frames of epoch seq / frames: a pure function of (options, seed, seq). A
 * shuffle is Fisher-Yates (Knuth, TAOCP 3.4.2, algorithm P) over a table when there are at most
 * 2^24 samples, and the table-free permutation of tn_random_permute beyond. */
#include <string.h>

#include <tenon/base.h>
#include <tenon/dataset.h>

#include "stages.h"

#define TABLE_LIMIT (1 << 24)

typedef struct {
    TnStageCommon common;
    TnSpec *data;
    gint64 batch;
    gboolean shuffle, drop_last;
    gint64 epochs;
    gint64 limit;
} ReadOptions;

typedef struct {
    TnConfig *config;
    const ReadOptions *options;
    TnObject *object;
    const TnDatasetVTable *data;
    void *data_self;
    guint64 seed, stream;
    gint64 samples, frames;
} Read;

/* A worker's table of the epoch it is in. */
typedef struct {
    guint64 epoch; /* + 1; 0: none */
    guint32 *table;
    gint64 *position; /* of a batch */
} ReadWorker;

static const TnOption read_rows[] = {
    { .name = "data",
      .type = TN_OPT_COMPONENT,
      .offset = G_STRUCT_OFFSET(ReadOptions, data),
      .flags = TN_OPTION_REQUIRED,
      .iface = TN_IFACE_DATASET,
      .help = "dataset to read" },
    { .name = "batch",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(ReadOptions, batch),
      .dflt = "32",
      TN_RANGE_I(1, 1 << 30),
      .unit = "samples",
      .help = "samples in a frame" },
    { .name = "shuffle",
      .type = TN_OPT_BOOL,
      .offset = G_STRUCT_OFFSET(ReadOptions, shuffle),
      .dflt = "false",
      .help = "another order in every epoch, from the seed" },
    { .name = "drop_last",
      .type = TN_OPT_BOOL,
      .offset = G_STRUCT_OFFSET(ReadOptions, drop_last),
      .dflt = "false",
      .help = "leave out an epoch's last batch if it is not full" },
    { .name = "epochs",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(ReadOptions, epochs),
      .dflt = "0",
      TN_RANGE_I(0, G_MAXINT64),
      .help = "times through the data; 0: as often as asked" },
    { .name = "limit",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(ReadOptions, limit),
      .dflt = "0",
      TN_RANGE_I(0, G_MAXINT64),
      .unit = "samples",
      .help = "use only the first samples; 0: all" },
    TN_STAGE_ROWS(ReadOptions, common),
};

static void *
read_create(TnConfig *config, TnContext *context, GError **error)
{
    const ReadOptions *options = tn_config_data(config);
    TnObject *object = tn_object_new(options->data, context, error);
    if (!object)
        return NULL;
    Read *read = g_new0(Read, 1);
    read->config = tn_config_ref(config);
    read->options = options;
    read->object = object;
    read->data = tn_object_vtable(object);
    read->data_self = tn_object_self(object);
    read->seed = tn_context_seed(context);
    read->stream = tn_random_stream("shuffle");
    return read;
}

static void
read_destroy(void *self)
{
    Read *read = self;
    tn_object_unref(read->object);
    tn_config_unref(read->config);
    g_free(read);
}

static gboolean
read_schema(Read *read, TnSchema *out, GError **error)
{
    out->n = read->data->n_fields(read->data_self);
    if (out->n == 0 || out->n > TN_MAX_FIELDS) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "the dataset has %u fields, 1 to %d are possible", out->n, TN_MAX_FIELDS);
        return FALSE;
    }
    for (guint i = 0; i < out->n; i++) {
        const TnField *field = read->data->field(read->data_self, i);
        if (field->type.rank >= TN_MAX_RANK) {
            g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                        "field '%s': %d dimensions leave no room for a batch's", field->name,
                        field->type.rank);
            return FALSE;
        }
        TnType *type = &out->types[i];
        out->names[i] = tn_intern(field->name);
        type->dtype = field->type.dtype;
        type->rank = field->type.rank + 1;
        type->dims[0] = MIN(read->options->batch, read->samples);
        memcpy(&type->dims[1], field->type.dims, (gsize)field->type.rank * sizeof(gint64));
    }
    return TRUE;
}

static gboolean
read_open(void *self, TnContext *context, const TnSchema *in, TnSchema *out, GError **error)
{
    Read *read = self;
    (void)context;
    if (in) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG, "from: read is a source and takes no frames");
        return FALSE;
    }
    gint64 batch = read->options->batch;
    read->samples = read->data->length(read->data_self);
    if (read->options->limit)
        read->samples = MIN(read->samples, read->options->limit);
    read->frames = read->samples / batch + (read->samples % batch && !read->options->drop_last);
    if (read->frames == 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    read->samples ? "data: %" G_GINT64_FORMAT
                                    " samples do not fill a batch of %" G_GINT64_FORMAT
                                    ", and drop_last leaves out what does not"
                                  : "data: there are no samples",
                    read->samples, batch);
        return FALSE;
    }
    out->length = read->frames;
    out->samples = read->options->drop_last ? read->frames * batch : read->samples;
    return read_schema(read, out, error);
}

static void *
read_worker_new(void *self, GError **error)
{
    Read *read = self;
    ReadWorker *worker = g_new0(ReadWorker, 1);
    worker->position =
        tn_data_alloc_for((gsize)MIN(read->options->batch, read->samples) * sizeof(gint64),
                          "positions of a batch", error);
    if (worker->position && read->options->shuffle && read->samples <= TABLE_LIMIT)
        worker->table =
            tn_data_alloc_for((gsize)read->samples * sizeof(guint32), "order of an epoch", error);
    if (!worker->position ||
        (read->options->shuffle && read->samples <= TABLE_LIMIT && !worker->table)) {
        tn_data_free(worker->position);
        g_free(worker);
        return NULL;
    }
    return worker;
}

static void
read_worker_free(void *self, void *data)
{
    ReadWorker *worker = data;
    (void)self;
    tn_data_free(worker->table);
    tn_data_free(worker->position);
    g_free(worker);
}

static void
shuffle_table(const Read *read, ReadWorker *worker, guint64 epoch)
{
    if (worker->epoch == epoch + 1)
        return;
    TnRandom random;
    tn_random_init(&random, read->seed, "shuffle", epoch);
    for (guint32 i = 0; i < (guint32)read->samples; i++)
        worker->table[i] = i;
    for (guint32 i = (guint32)read->samples; i > 1; i--) {
        guint32 k = (guint32)tn_random_below(&random, i);
        guint32 moved = worker->table[i - 1];
        worker->table[i - 1] = worker->table[k];
        worker->table[k] = moved;
    }
    worker->epoch = epoch + 1;
}

static void
choose(const Read *read, ReadWorker *worker, guint64 epoch, gint64 first, gint64 n)
{
    if (read->options->shuffle && worker->table)
        shuffle_table(read, worker, epoch);
    for (gint64 i = 0; i < n; i++) {
        guint64 at = (guint64)(first + i);
        if (read->options->shuffle)
            at = worker->table ? worker->table[at]
                               : tn_random_permute(read->seed, read->stream, epoch,
                                                   (guint64)read->samples, at);
        worker->position[i] = (gint64)at;
    }
}

static TnStatus
read_make(void *self, void *data, guint64 seq, TnFrame *in, TnFrame *frame, GError **error)
{
    Read *read = self;
    ReadWorker *worker = data;
    (void)in;
    guint64 epoch = seq / (guint64)read->frames;
    gint64 first = (gint64)(seq % (guint64)read->frames) * read->options->batch;
    gint64 n = MIN(read->options->batch, read->samples - first);
    void *buffers[TN_MAX_FIELDS] = { NULL };
    if (read->options->epochs && epoch >= (guint64)read->options->epochs)
        return TN_EOS;
    choose(read, worker, epoch, first, n);
    for (guint i = 0; i < tn_frame_n(frame); i++) {
        const TnField *field = read->data->field(read->data_self, i);
        TnType type = { .dtype = field->type.dtype, .rank = field->type.rank + 1, .dims = { n } };
        memcpy(&type.dims[1], field->type.dims, (gsize)field->type.rank * sizeof(gint64));
        TnTensor *tensor = tn_frame_buffer(frame, i, type, error);
        if (!tensor)
            return TN_NO_MEMORY;
        buffers[i] = tn_storage_memory(tn_tensor_storage(tensor));
    }
    tn_object_enter(read->object);
    TnStatus status = read->data->read(read->data_self, (gsize)n, worker->position, buffers);
    if (status != TN_OK)
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s",
                    TN_HAS(read->data, last_error) ? read->data->last_error(read->data_self)
                                                   : tn_status_name(status));
    tn_object_leave(read->object);
    return status;
}

/* The files that the dataset's options name, by ", ". (transfer full): NULL if there is none. */
static char *
file_names(const Read *read)
{
    const TnOptions *rows = &tn_object_factory(read->object)->options;
    const char *options = tn_config_data(tn_object_config(read->object));
    GString *names = g_string_new(NULL);
    for (guint32 i = 0; i < rows->n; i++) {
        const TnOption *row = tn_options_row(rows, i);
        const char *file =
            row->type == TN_OPT_PATH ? *(const char *const *)(options + row->offset) : NULL;
        if (file)
            g_string_append_printf(names, "%s%s", names->len ? ", " : "", file);
    }
    return g_string_free(names, names->len == 0);
}

/* The dataset's own digest, and the form of its samples. */
static guint64
fingerprint(const Read *read)
{
    const gint64 length = read->data->length(read->data_self);
    guint64 hash = tn_hash(TN_HASH_INIT, &length, sizeof length);
    for (guint i = 0; i < read->data->n_fields(read->data_self); i++) {
        const TnField *field = read->data->field(read->data_self, i);
        g_autofree char *type = tn_type_print(&field->type);
        hash = tn_hash(hash, field->name, strlen(field->name) + 1);
        hash = tn_hash(hash, type, strlen(type) + 1);
    }
    const guint64 own =
        TN_HAS(read->data, fingerprint) ? read->data->fingerprint(read->data_self) : 0;
    return tn_hash(hash, &own, sizeof own);
}

static TnValue *
read_data(void *self)
{
    const Read *read = self;
    TnValue *map = tn_value_map();
    tn_object_enter(read->object);
    g_autofree char *digest = g_strdup_printf("%016" G_GINT64_MODIFIER "x", fingerprint(read));
    tn_object_leave(read->object);
    g_autofree char *files = file_names(read);
    tn_value_set(map, "dataset", tn_value_string(tn_object_factory(read->object)->name));
    if (files)
        tn_value_set(map, "files", tn_value_string(files));
    tn_value_set(map, "samples", tn_value_int(read->data->length(read->data_self)));
    tn_value_set(map, "fingerprint", tn_value_string(digest));
    return map;
}

static const TnStageVTable read_vtable = {
    .size = sizeof(TnStageVTable),
    .open = read_open,
    .worker_new = read_worker_new,
    .worker_free = read_worker_free,
    .make = read_make,
    .data = read_data,
};

const TnFactory tn_stage_read = {
    .size = sizeof(TnFactory),
    .iface = TN_IFACE_STAGE,
    .name = "read",
    .help = "batches of a dataset's samples, in order or shuffled",
    .options = TN_OPTIONS(ReadOptions, read_rows),
    .create = read_create,
    .destroy = read_destroy,
    .vtable = &read_vtable,
};
