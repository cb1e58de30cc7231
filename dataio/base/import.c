/* import.c: `tenon data import`: every split of a dataset in one format into a file that
 * experiments read fast. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "data-private.h"

#define BLOCK_BYTES (4u << 20)

typedef struct {
    const char *data_root, *writer;
    gboolean force;
    gint64 compress;
} ImportOptions;

static const TnOption rows[] = {
    { .name = "data-root",
      .type = TN_OPT_STRING,
      .offset = G_STRUCT_OFFSET(ImportOptions, data_root),
      .flags = TN_OPTION_NULLABLE,
      .help = "folder for targets given by name alone" },
    { .name = "writer",
      .type = TN_OPT_STRING,
      .offset = G_STRUCT_OFFSET(ImportOptions, writer),
      .dflt = "\"hdf5\"",
      .help = "component that writes the target" },
    { .name = "compress",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(ImportOptions, compress),
      .dflt = "0",
      TN_RANGE_I(0, 9),
      .help = "level of compression; 0: none, fastest to read" },
    { .name = "force",
      .type = TN_OPT_BOOL,
      .offset = G_STRUCT_OFFSET(ImportOptions, force),
      .dflt = "false",
      .help = "replace a target that exists" },
};

/* "train.image=x" words, grouped by what is before the first dot: {split: {option: value}}. Without
 * a dot the split is "data". */
static TnValue *
group_by_split(const TnValue *words)
{
    TnValue *splits = tn_value_map();
    for (gsize i = 0; i < tn_value_len(words); i++) {
        const char *key = tn_value_key_at(words, i), *dot = strchr(key, '.');
        g_autofree char *split = dot ? g_strndup(key, (gsize)(dot - key)) : g_strdup("data");
        TnValue *options = tn_value_get(splits, split);
        if (!options) {
            options = tn_value_map();
            tn_value_set(splits, split, options);
        }
        tn_value_set(options, dot ? dot + 1 : key, tn_value_ref(tn_value_at(words, i)));
    }
    return splits;
}

typedef struct {
    TnObject *from, *to;
    guint n;
    guint8 *buffers[16];
    gsize bytes[16];
    gint64 block; /* samples at once */
    gint64 *positions;
} Copy;

static void
copy_clear(Copy *copy)
{
    for (guint i = 0; i < copy->n; i++)
        tn_data_free(copy->buffers[i]);
    g_free(copy->positions);
}

static gboolean
copy_blocks(Copy *copy, gint64 length, GError **error)
{
    const TnDatasetVTable *from = tn_object_vtable(copy->from);
    const TnDatasetWriterVTable *to = tn_object_vtable(copy->to);
    for (gint64 at = 0; at < length; at += copy->block) {
        gsize n = (gsize)MIN(copy->block, length - at);
        for (gsize i = 0; i < n; i++)
            copy->positions[i] = at + (gint64)i;
        tn_object_enter(copy->from);
        TnStatus status = from->read(tn_object_self(copy->from), n, copy->positions,
                                     (void *const *)copy->buffers);
        if (status != TN_OK)
            tn_status_set_error(
                error, status, "%s",
                TN_HAS(from, last_error) ? from->last_error(tn_object_self(copy->from)) : "read");
        tn_object_leave(copy->from);
        if (status != TN_OK ||
            !to->write(tn_object_self(copy->to), n, (const void *const *)copy->buffers, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean
copy_split(TnVerbCall *call, TnObject *from, TnObject *to, const char *split, GError **error)
{
    const TnDatasetVTable *data = tn_object_vtable(from);
    const TnDatasetWriterVTable *writer = tn_object_vtable(to);
    Copy copy = { .from = from, .to = to };
    TnField fields[16];
    gsize sample = 1;
    gint64 length = data->length(tn_object_self(from));
    copy.n = MIN(data->n_fields(tn_object_self(from)), G_N_ELEMENTS(fields));
    for (guint i = 0; i < copy.n; i++) {
        fields[i] = *data->field(tn_object_self(from), i);
        copy.bytes[i] = (gsize)tn_type_bytes(&fields[i].type);
        sample += copy.bytes[i];
    }
    copy.block = (gint64)MAX(BLOCK_BYTES / sample, 1);
    copy.positions = g_new(gint64, copy.block);
    gboolean ok = TRUE;
    for (guint i = 0; ok && i < copy.n; i++)
        ok = (copy.buffers[i] = tn_data_alloc_for((gsize)copy.block * copy.bytes[i],
                                                  "a block of samples", error)) != NULL;
    ok = ok && writer->begin(tn_object_self(to), split, copy.n, fields, length, error) &&
         copy_blocks(&copy, length, error);
    copy_clear(&copy);
    if (ok) {
        fprintf(call->out, "  %s: %" G_GINT64_FORMAT " samples", split, length);
        for (guint i = 0; i < copy.n; i++) {
            g_autofree char *type = tn_type_print(&fields[i].type);
            fprintf(call->out, ", %s %s", fields[i].name, type);
        }
        fputc('\n', call->out);
    }
    return ok;
}

static TnObject *
make_writer(const ImportOptions *options, const char *path, TnContext *context, GError **error)
{
    const TnFactory *factory = tn_registry_find(TN_IFACE_DATASET_WRITER, options->writer, error);
    g_autoptr(TnValue) map = tn_value_map();
    g_autofree char *folder = g_path_get_dirname(path);
    if (!factory)
        return NULL;
    if (g_mkdir_with_parents(folder, 0777) < 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: %s", folder, g_strerror(errno));
        return NULL;
    }
    tn_value_set(map, "path", tn_value_string(path));
    tn_value_set(map, "compress", tn_value_int(options->compress));
    return tn_object_create(factory, map, context, error);
}

static gint
run(TnVerbCall *call, GError **error)
{
    const ImportOptions *options = call->options;
    const char *component = call->args[0];
    g_autofree char *root = data_root(options->data_root);
    g_autofree char *path = data_path(root, call->args[1]);
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnValue) words = tn_value_map();
    if (!data_parse_words(call->n_args - 2, call->args + 2, words, error))
        return 2;
    g_autoptr(TnValue) splits = group_by_split(words);
    if (!options->force && g_file_test(path, G_FILE_TEST_EXISTS)) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "%s exists; --force replaces it", path);
        return 2;
    }
    g_autoptr(TnObject) writer = make_writer(options, path, context, error);
    if (!writer)
        return 1;
    const TnDatasetWriterVTable *vtable = tn_object_vtable(writer);
    fprintf(call->out, "importing into %s\n", path);
    for (gsize i = 0; i < tn_value_len(splits); i++) {
        g_autoptr(TnObject) data = data_open(context, component, tn_value_at(splits, i), error);
        if (!data || !copy_split(call, data, writer, tn_value_key_at(splits, i), error))
            return 1;
    }
    return vtable->finish(tn_object_self(writer), error) ? 0 : 1;
}

const TnVerb data_verb_import = {
    .size = sizeof(TnVerb),
    .name = "data import",
    .args = "COMPONENT TARGET [SPLIT.]OPTION=VALUE ...",
    .help = "write a dataset of another format into a file that experiments read fast",
    .details = "COMPONENT is a dataset component (`tenon help COMPONENT` lists its options), "
               "TARGET the file to write; a name "
               "without a folder goes where tn.data looks. Options are those of the component, for "
               "each split:\n\n"
               "  tenon data import idx digits.h5 train.image=a.gz train.label=b.gz "
               "test.image=c.gz test.label=d.gz",
    .options = TN_OPTIONS(ImportOptions, rows),
    .min_args = 3,
    .max_args = -1,
    .run = run,
};
