/* look.c: `tenon data info` and `tenon data head`: what is in a dataset, and its first samples. */
#include <string.h>

#include "data-private.h"

typedef struct {
    const char *data_root, *component;
    gint64 n;
} LookOptions;

#define LOOK_ROWS                                                                                  \
    { .name = "data-root",                                                                         \
      .type = TN_OPT_STRING,                                                                       \
      .offset = G_STRUCT_OFFSET(LookOptions, data_root),                                           \
      .flags = TN_OPTION_NULLABLE,                                                                 \
      .help = "folder for files given by name alone" },                                            \
    {                                                                                              \
        .name = "component", .type = TN_OPT_STRING,                                                \
        .offset = G_STRUCT_OFFSET(LookOptions, component), .dflt = "\"hdf5\"",                     \
        .help = "dataset component that reads it"                                                  \
    }

static const TnOption info_rows[] = { LOOK_ROWS };
static const TnOption head_rows[] = {
    LOOK_ROWS,
    { .name = "n",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(LookOptions, n),
      .dflt = "5",
      TN_RANGE_I(1, 1000000),
      .unit = "samples",
      .help = "samples to show" },
};

/* The file as an option map of the component. */
static TnValue *
file_options(const LookOptions *options, const TnVerbCall *call, GError **error)
{
    g_autofree char *root = data_root(options->data_root);
    g_autofree char *path = data_path(root, call->args[0]);
    g_autoptr(TnValue) map = tn_value_map();
    tn_value_set(map, strcmp(options->component, "idx") == 0 ? "image" : "path",
                 tn_value_string(path));
    if (!data_parse_words(call->n_args - 1, call->args + 1, map, error))
        return NULL;
    return tn_value_ref(map);
}

static void
print_fields(TnVerbCall *call, TnObject *data, const char *split)
{
    const TnDatasetVTable *vtable = tn_object_vtable(data);
    void *self = tn_object_self(data);
    fprintf(call->out, "%s: %" G_GINT64_FORMAT " samples, fingerprint %016" G_GINT64_MODIFIER "x\n",
            split, vtable->length(self),
            TN_HAS(vtable, fingerprint) ? vtable->fingerprint(self) : 0);
    for (guint i = 0; i < vtable->n_fields(self); i++) {
        const TnField *field = vtable->field(self, i);
        g_autofree char *type = tn_type_print(&field->type);
        fprintf(call->out, "  %-16s %s\n", field->name, type);
    }
}

static TnObject *
open_split(TnContext *context, const LookOptions *options, TnValue *map, const char *split,
           GError **error)
{
    if (split)
        tn_value_set(map, "split", tn_value_string(split));
    return data_open(context, options->component, map, error);
}

static gint
run_info(TnVerbCall *call, GError **error)
{
    static const char *const usual[] = { "train", "validation", "test", "data" };
    const LookOptions *options = call->options;
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnValue) map = file_options(options, call, error);
    guint found = 0;
    if (!map)
        return 2;
    g_autoptr(TnObject) whole = open_split(context, options, map, NULL, error);
    if (whole) {
        const TnValue *split = tn_value_get(map, "split");
        print_fields(call, whole, split ? tn_value_get_string(split) : "/");
        return 0;
    }
    for (guint i = 0; i < G_N_ELEMENTS(usual) && !tn_value_get(map, "split"); i++) {
        g_autoptr(TnValue) trial = tn_value_copy(map);
        g_autoptr(TnObject) data = open_split(context, options, trial, usual[i], NULL);
        if (data) {
            print_fields(call, data, usual[i]);
            found++;
        }
    }
    if (found)
        g_clear_error(error);
    return found ? 0 : 1;
}

static void
print_sample(TnVerbCall *call, const TnField *field, const guint8 *bytes)
{
    g_autoptr(TnTensor) tensor = tn_tensor_from(field->type, bytes, NULL);
    g_autofree char *text = tensor ? tn_tensor_print(tensor) : g_strdup("?");
    fprintf(call->out, "  %s = %s\n", field->name, text);
}

static gint
print_head(TnVerbCall *call, TnObject *data, gint64 n, GError **error)
{
    const TnDatasetVTable *vtable = tn_object_vtable(data);
    void *self = tn_object_self(data);
    n = MIN(n, vtable->length(self));
    for (gint64 i = 0; i < n; i++) {
        guint8 *out[16] = { NULL };
        guint n_fields = MIN(vtable->n_fields(self), G_N_ELEMENTS(out));
        TnStatus status = TN_OK;
        for (guint f = 0; f < n_fields && status == TN_OK; f++) {
            out[f] = tn_data_alloc((gsize)tn_type_bytes(&vtable->field(self, f)->type));
            status = out[f] ? TN_OK : TN_NO_MEMORY;
        }
        status = status == TN_OK ? vtable->read(self, 1, &i, (void *const *)out) : status;
        if (status == TN_OK)
            fprintf(call->out, "[%" G_GINT64_FORMAT "]\n", i);
        else
            tn_status_set_error(error, status, "sample %" G_GINT64_FORMAT ": %s", i,
                                status == TN_FAILED && TN_HAS(vtable, last_error)
                                    ? vtable->last_error(self)
                                    : "cannot be shown");
        for (guint f = 0; f < n_fields; f++) {
            if (status == TN_OK)
                print_sample(call, vtable->field(self, f), out[f]);
            tn_data_free(out[f]);
        }
        if (status != TN_OK)
            return 1;
    }
    return 0;
}

static gint
run_head(TnVerbCall *call, GError **error)
{
    const LookOptions *options = call->options;
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnValue) map = file_options(options, call, error);
    if (!map)
        return 2;
    g_autoptr(TnObject) data = open_split(context, options, map, NULL, error);
    return data ? print_head(call, data, options->n, error) : 1;
}

const TnVerb data_verb_info = {
    .size = sizeof(TnVerb),
    .name = "data info",
    .args = "FILE [OPTION=VALUE ...]",
    .help = "fields, sizes and fingerprint of a dataset, each usual split of the file",
    .options = TN_OPTIONS(LookOptions, info_rows),
    .min_args = 1,
    .max_args = -1,
    .run = run_info,
};

const TnVerb data_verb_head = {
    .size = sizeof(TnVerb),
    .name = "data head",
    .args = "FILE [OPTION=VALUE ...]",
    .help = "the first samples of a dataset, such as `tenon data head digits.h5 split=train`",
    .options = TN_OPTIONS(LookOptions, head_rows),
    .min_args = 1,
    .max_args = -1,
    .run = run_head,
};
