/* writer.c: samples into an HDF5 file that appears whole: written beside its place, then
 * renamed. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hdf5-private.h"

#define MAX_FIELDS 16
#define CHUNK_BYTES (256 * 1024)

typedef struct {
    const char *path;
    gint64 compress;
} WriterOptions;

typedef struct {
    char *path, *temporary;
    gint64 compress;
    hid_t file, group;
    guint n;
    hid_t arrays[MAX_FIELDS];
    TnField fields[MAX_FIELDS];
    gint64 written, length;
} Writer;

static const TnOption rows[] = {
    { .name = "path",
      .type = TN_OPT_PATH,
      .offset = G_STRUCT_OFFSET(WriterOptions, path),
      .flags = TN_OPTION_REQUIRED | TN_OPTION_POSITIONAL | TN_OPTION_OUTPUT,
      .help = "file to write" },
    { .name = "compress",
      .type = TN_OPT_INT64,
      .offset = G_STRUCT_OFFSET(WriterOptions, compress),
      .dflt = "0",
      TN_RANGE_I(0, 9),
      .help = "gzip level; 0: none" },
};

static void
close_split(Writer *writer)
{
    for (guint i = 0; i < writer->n; i++)
        H5Dclose(writer->arrays[i]);
    writer->n = 0;
    if (writer->group >= 0)
        H5Gclose(writer->group);
    writer->group = -1;
}

static void
writer_free(void *self)
{
    Writer *writer = self;
    close_split(writer);
    if (writer->file >= 0) { /* not finished: nothing stays */
        H5Fclose(writer->file);
        g_unlink(writer->temporary);
    }
    g_free(writer->path);
    g_free(writer->temporary);
    g_free(writer);
}

static void *
writer_create(TnConfig *config, TnContext *context, GError **error)
{
    const WriterOptions *options = tn_config_data(config);
    Writer *writer = g_new0(Writer, 1);
    (void)context;
    h5_quiet();
    writer->file = writer->group = -1;
    writer->path = g_strdup(options->path);
    writer->temporary = g_strdup_printf("%s.%d.tmp", options->path, (int)getpid());
    writer->compress = options->compress;
    if (g_file_test(writer->path, G_FILE_TEST_EXISTS) && H5Fis_hdf5(writer->path) <= 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO,
                    "%s: is there and is no HDF5 file, so it is not replaced", writer->path);
        writer_free(writer);
        return NULL;
    }
    g_unlink(writer->temporary); /* of a process that was killed; never written through a link */
    writer->file = H5Fcreate(writer->temporary, H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT);
    if (writer->file < 0) {
        h5_fail(error, TN_ERROR_IO, writer->temporary, "cannot be made");
        writer_free(writer);
        return NULL;
    }
    return writer;
}

/* Chunks of about CHUNK_BYTES, whole samples. */
static hid_t
make_array(Writer *writer, const TnField *field, gint64 length)
{
    hsize_t dims[TN_MAX_RANK], chunk[TN_MAX_RANK];
    int rank = field->type.rank + 1;
    gsize sample = MAX((gsize)tn_type_bytes(&field->type), 1);
    dims[0] = (hsize_t)length;
    chunk[0] = MAX(1, MIN((hsize_t)length, CHUNK_BYTES / sample));
    for (int i = 1; i < rank; i++)
        dims[i] = chunk[i] = (hsize_t)field->type.dims[i - 1];
    hid_t space = H5Screate_simple(rank, dims, NULL), plist = H5Pcreate(H5P_DATASET_CREATE);
    gboolean ok = space >= 0 && plist >= 0;
    if (length > 0 && tn_type_count(&field->type) > 0) {
        ok = ok && H5Pset_chunk(plist, rank, chunk) >= 0;
        ok = ok && (!writer->compress || H5Pset_deflate(plist, (unsigned)writer->compress) >= 0);
    }
    hid_t array = ok ? H5Dcreate2(writer->group, field->name, h5_native(field->type.dtype), space,
                                  H5P_DEFAULT, plist, H5P_DEFAULT)
                     : -1;
    H5Pclose(plist);
    H5Sclose(space);
    return array;
}

static gboolean
writer_begin(void *self, const char *split, guint n, const TnField *fields, gint64 length,
             GError **error)
{
    Writer *writer = self;
    h5_quiet();
    close_split(writer);
    writer->written = 0;
    writer->length = length;
    writer->group = H5Gcreate2(writer->file, split, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (writer->group < 0)
        return h5_fail(error, TN_ERROR_IO, writer->path, "a group cannot be made");
    for (guint i = 0; i < MIN(n, MAX_FIELDS); i++) {
        if (h5_native(fields[i].type.dtype) < 0) {
            g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                        "%s: field '%s' is %s, which HDF5 files do not hold", writer->path,
                        fields[i].name, tn_dtype_name(fields[i].type.dtype));
            return FALSE;
        }
        writer->arrays[i] = make_array(writer, &fields[i], length);
        if (writer->arrays[i] < 0)
            return h5_fail(error, TN_ERROR_IO, writer->path, "an array cannot be made");
        writer->fields[i] = fields[i];
        writer->n++;
    }
    return TRUE;
}

static gboolean
writer_write(void *self, gsize count, const void *const *fields, GError **error)
{
    Writer *writer = self;
    h5_quiet();
    g_return_val_if_fail(writer->written + (gint64)count <= writer->length, FALSE);
    for (guint i = 0; i < writer->n && count > 0; i++) {
        hsize_t start[TN_MAX_RANK] = { (hsize_t)writer->written }, size[TN_MAX_RANK] = { count };
        int rank = writer->fields[i].type.rank + 1;
        for (int k = 1; k < rank; k++)
            size[k] = (hsize_t)writer->fields[i].type.dims[k - 1];
        hid_t space = H5Dget_space(writer->arrays[i]), memory = H5Screate_simple(rank, size, NULL);
        herr_t ok = H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, size, NULL);
        ok = ok < 0 ? ok
                    : H5Dwrite(writer->arrays[i], h5_native(writer->fields[i].type.dtype), memory,
                               space, H5P_DEFAULT, fields[i]);
        H5Sclose(memory);
        H5Sclose(space);
        if (ok < 0)
            return h5_fail(error, TN_ERROR_IO, writer->path,
                           "samples cannot be written (is the disk full?)");
    }
    writer->written += (gint64)count;
    return TRUE;
}

static gboolean
sync_file(const char *path, GError **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    gboolean ok = fd >= 0 && fsync(fd) == 0;
    if (!ok)
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: %s", path, g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return ok;
}

static gboolean
writer_finish(void *self, GError **error)
{
    Writer *writer = self;
    h5_quiet();
    close_split(writer);
    herr_t flushed = H5Fflush(writer->file, H5F_SCOPE_GLOBAL);
    herr_t closed = H5Fclose(writer->file);
    writer->file = -1;
    gboolean ok = flushed >= 0 && closed >= 0;
    if (!ok)
        h5_fail(error, TN_ERROR_IO, writer->path, "cannot be closed (is the disk full?)");
    ok = ok && sync_file(writer->temporary, error);
    if (ok && rename(writer->temporary, writer->path) < 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: %s", writer->path, g_strerror(errno));
        ok = FALSE;
    }
    if (!ok)
        g_unlink(writer->temporary);
    return ok;
}

static const TnDatasetWriterVTable vtable = {
    .size = sizeof(TnDatasetWriterVTable),
    .begin = writer_begin,
    .write = writer_write,
    .finish = writer_finish,
};

const TnFactory h5_writer_factory = {
    .size = sizeof(TnFactory),
    .iface = TN_IFACE_DATASET_WRITER,
    .name = "hdf5",
    .help = "an HDF5 file, a group for each split",
    .threads = TN_THREADS_MODULE,
    .options = TN_OPTIONS(WriterOptions, rows),
    .create = writer_create,
    .destroy = writer_free,
    .vtable = &vtable,
};
