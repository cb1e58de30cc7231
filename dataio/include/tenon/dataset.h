/* dataset.h: "tenon.dataset/1" and "tenon.dataset-writer/1": samples by number, and a place to
 * put them.
 *
 * A dataset is a fixed list of samples, each with the same named fields. Reading is a pure
 * function of the positions. */
#pragma once

#include <tenon/plugin.h>

G_BEGIN_DECLS

#define TN_IFACE_DATASET "tenon.dataset/1"
#define TN_IFACE_DATASET_WRITER "tenon.dataset-writer/1"

/* One field of a sample. */
typedef struct {
    const char *name; /* "image", "label" */
    TnType type;      /* of one sample: "u8[1, 28, 28]"; a batch has the count in front */
} TnField;

typedef struct {
    guint32 size, minor;
    guint (*n_fields)(void *self);
    const TnField *(*field)(void *self, guint i); /* (transfer none), as long as the instance */
    gint64 (*length)(void *self);                 /* samples */
    /* Samples at position[0 .. n-1] (any order, repeats allowed) into out[field], contiguous
     * host memory of [n, field's dims]; out[i] NULL: that field is not wanted. */
    TnStatus (*read)(void *self, gsize n, const gint64 *position, void *const *out);
    /* Text of the last failure on the calling thread (transfer none): names the file and place. */
    const char *(*last_error)(void *self);
    /* Digest of what the data is, wherever it lies: kept with a run, which is not resumed on other
     * data. Computed when a run begins, so in bounded time: tn_hash_sample. */
    guint64 (*fingerprint)(void *self);
} TnDatasetVTable;

/* A writer is created with its target as an option, then takes one or more splits, then
 * finishes: the file appears whole. */
typedef struct {
    guint32 size, minor;
    /* A new group of samples such as "train"; n fields of one sample each, length samples. */
    gboolean (*begin)(void *self, const char *split, guint n, const TnField *fields, gint64 length,
                      GError **error);
    /* count more samples, contiguous per field. */
    gboolean (*write)(void *self, gsize count, const void *const *fields, GError **error);
    gboolean (*finish)(void *self, GError **error);
} TnDatasetWriterVTable;

G_END_DECLS
