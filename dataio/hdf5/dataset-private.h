/* dataset-private.h: an open dataset, as who opens it and who reads it share it. */
#pragma once

#include "hdf5-private.h"

#define H5_MAX_FIELDS 16

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
    H5Field fields[H5_MAX_FIELDS];
    gint64 length;
    char *error;
} H5Dataset;

/* Opens what the options name into h5, whose handles are all -1, and reads it into memory if it fits the
 * cache. FALSE with *error: what is open so far is h5's still. */
gboolean h5_open(H5Dataset *h5, const H5Options *options, GError **error);
