/* test_hdf5.c: HDF5 files through the writer and the dataset, in memory and from the file, whole
 * and damaged. The format itself is judged by h5py in tests/interop. */
#include <glib/gstdio.h>
#include <tenon/base.h>
#include <tenon/context.h>
#include <tenon/dataset.h>
#include <unistd.h>

#include "tn_test.h"

#define N 1000

static TnObject *
make_object(const char *iface, const char *path, const char *key, TnValue *extra, GError **error)
{
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnValue) options = tn_value_map();
    const TnFactory *factory = tn_registry_find(iface, "hdf5", error);
    TN_REQUIRE(factory != NULL);
    tn_value_set(options, "path", tn_value_string(path));
    if (key)
        tn_value_set(options, key, extra);
    return tn_object_create(factory, options, context, error);
}

/* train: x = f32[3] {i, i + .25, i + .5}, y = i64 scalar i * i; test: one u8 field, no samples. */
static char *
write_file(const char *name, gint64 compress)
{
    char *path = tn_test_tmp_path("%s", name);
    g_autoptr(GError) error = NULL;
    g_autoptr(TnObject) object =
        make_object(TN_IFACE_DATASET_WRITER, path, "compress", tn_value_int(compress), &error);
    TN_REQUIRE_NO_ERROR(error);
    const TnDatasetWriterVTable *writer = tn_object_vtable(object);
    void *self = tn_object_self(object);
    TnField fields[] = { { "x", tn_type(TN_DTYPE_F32, 1, (gint64[]){ 3 }) },
                         { "y", tn_type(TN_DTYPE_I64, 0, NULL) } };
    TnField empty[] = { { "z", tn_type(TN_DTYPE_U8, 2, (gint64[]){ 2, 2 }) } };
    TN_REQUIRE(writer->begin(self, "train", 2, fields, N, &error));
    for (gint i = 0; i < N; i += 250) {
        float x[250][3];
        gint64 y[250];
        for (gint k = 0; k < 250; k++) {
            for (gint c = 0; c < 3; c++)
                x[k][c] = (float)(i + k) + 0.25f * (float)c;
            y[k] = (gint64)(i + k) * (i + k);
        }
        TN_REQUIRE(writer->write(self, 250, (const void *const[]){ x, y }, &error));
    }
    TN_REQUIRE(writer->begin(self, "test", 1, empty, 0, &error));
    TN_ASSERT(!g_file_test(path, G_FILE_TEST_EXISTS)); /* it appears whole */
    TN_REQUIRE(writer->finish(self, &error));
    return path;
}

static void
check_reads(const char *path, const char *cache)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnValue) options = tn_value_map();
    tn_value_set(options, "path", tn_value_string(path));
    tn_value_set(options, "split", tn_value_string("train"));
    tn_value_set(options, "cache", tn_value_parse(cache, NULL));
    g_autoptr(TnObject) object = tn_object_create(
        tn_registry_find(TN_IFACE_DATASET, "hdf5", &error), options, context, &error);
    TN_REQUIRE_NO_ERROR(error);
    const TnDatasetVTable *data = tn_object_vtable(object);
    void *self = tn_object_self(object);
    TN_ASSERT_CMPINT(data->length(self), ==, N);
    TN_REQUIRE(data->n_fields(self) == 2);
    TN_ASSERT_CMPSTR(data->field(self, 0)->name, "x");
    TN_ASSERT_CMPINT(data->field(self, 0)->type.dtype, ==, TN_DTYPE_F32);
    TN_ASSERT_CMPINT(data->field(self, 1)->type.dtype, ==, TN_DTYPE_I64);
    const gint64 positions[] = { 999, 0, 500, 0 };
    float x[4][3];
    gint64 y[4];
    TN_ASSERT_CMPINT(data->read(self, 4, positions, (void *const[]){ x, y }), ==, TN_OK);
    for (guint i = 0; i < 4; i++) {
        TN_ASSERT_CMPINT(y[i], ==, positions[i] * positions[i]);
        for (guint c = 0; c < 3; c++)
            TN_ASSERT_CMPFLOAT(x[i][c], ==, (float)positions[i] + 0.25f * (float)c);
    }
    /* So many that several threads copy. */
    enum { MANY = 20001 };
    g_autofree gint64 *at = g_new(gint64, MANY), *many_y = g_new(gint64, MANY);
    g_autofree float *many_x = g_new(float, 3 * MANY);
    guint wrong = 0;
    for (gint64 i = 0; i < MANY; i++)
        at[i] = i * 7919 % N;
    TN_ASSERT_CMPINT(data->read(self, MANY, at, (void *const[]){ many_x, many_y }), ==, TN_OK);
    for (guint i = 0; i < MANY; i++)
        wrong += many_y[i] != at[i] * at[i] || many_x[3 * i + 2] != (float)at[i] + 0.5f;
    TN_ASSERT_CMPUINT(wrong, ==, 0);
    TN_ASSERT_CMPINT(data->read(self, 1, (const gint64[]){ N }, (void *const[]){ x, y }), ==,
                     TN_FAILED);
    TN_ASSERT_CONTAINS(data->last_error(self), "1000");
}

static void
reads_what_was_written(void)
{
    g_autofree char *raw = write_file("raw.h5", 0), *packed = write_file("packed.h5", 6);
    check_reads(raw, "\"1GiB\"");
    check_reads(raw, "0");
    check_reads(packed, "\"1GiB\"");
    check_reads(packed, "0");
}

/* What is there is replaced if it is an HDF5 file, and nothing is written through a link. */
static void
spares_other_files(void)
{
    g_autofree char *path = tn_test_tmp_path("notes.txt"), *text = NULL;
    g_autofree char *fresh = tn_test_tmp_path("fresh.h5");
    g_autofree char *temporary = g_strdup_printf("%s.%d.tmp", fresh, (int)getpid());
    g_autoptr(GError) error = NULL;
    tn_test_write_file(path, "notes", -1);
    TN_ASSERT(make_object(TN_IFACE_DATASET_WRITER, path, NULL, NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, "notes.txt", "not replaced");
    TN_REQUIRE(symlink(path, temporary) == 0);
    g_free(write_file("fresh.h5", 0));
    TN_ASSERT(g_file_get_contents(path, &text, NULL, NULL));
    TN_ASSERT_CMPSTR(text, "notes");
}

/* The fingerprint of a file of 3000 samples f32[200], sample `odd` another one. */
static guint64
fingerprint(const char *name, gint64 compress, const char *cache, gint odd)
{
    g_autofree char *path = tn_test_tmp_path("%s", name);
    g_autofree float *x = g_new0(float, 3000 * 200);
    g_autoptr(GError) error = NULL;
    g_autoptr(TnObject) object =
        make_object(TN_IFACE_DATASET_WRITER, path, "compress", tn_value_int(compress), &error);
    TN_REQUIRE_NO_ERROR(error);
    const TnDatasetWriterVTable *writer = tn_object_vtable(object);
    const TnField field = { "x", tn_type(TN_DTYPE_F32, 1, (gint64[]){ 200 }) };
    for (gint i = 0; i < 3000 * 200; i++)
        x[i] = (float)(i % 1009);
    for (gint k = 0; odd >= 0 && k < 200; k++)
        x[odd * 200 + k] = -1;
    TN_REQUIRE(writer->begin(tn_object_self(object), "all", 1, &field, 3000, &error));
    TN_REQUIRE(writer->write(tn_object_self(object), 3000, (const void *const[]){ x }, &error));
    TN_REQUIRE(writer->finish(tn_object_self(object), &error));
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnValue) options = tn_value_map();
    tn_value_set(options, "path", tn_value_string(path));
    tn_value_set(options, "split", tn_value_string("all"));
    tn_value_set(options, "cache", tn_value_parse(cache, NULL));
    g_autoptr(TnObject) read = tn_object_create(tn_registry_find(TN_IFACE_DATASET, "hdf5", &error),
                                                options, context, &error);
    TN_REQUIRE_NO_ERROR(error);
    const TnDatasetVTable *data = tn_object_vtable(read);
    return data->fingerprint(tn_object_self(read));
}

/* It tells contents apart, and neither where they lie nor how they are stored or read. */
static void
fingerprint_of_contents(void)
{
    const guint64 expected = fingerprint("a.h5", 0, "\"1GiB\"", -1);
    TN_ASSERT_CMPUINT(fingerprint("b.h5", 0, "0", -1), ==, expected);
    TN_ASSERT_CMPUINT(fingerprint("c.h5", 6, "0", -1), ==, expected);
    TN_ASSERT_CMPUINT(fingerprint("d.h5", 0, "\"1GiB\"", 0), !=, expected);
    TN_ASSERT_CMPUINT(fingerprint("e.h5", 0, "\"1GiB\"", 2999), !=, expected);
    TN_ASSERT_CMPUINT(fingerprint("f.h5", 6, "0", 2999), ==,
                      fingerprint("g.h5", 0, "\"1GiB\"", 2999));
}

static void
reads_an_empty_split(void)
{
    g_autofree char *path = write_file("empty.h5", 0);
    g_autoptr(GError) error = NULL;
    g_autoptr(TnObject) object =
        make_object(TN_IFACE_DATASET, path, "split", tn_value_string("test"), &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPINT(
        ((const TnDatasetVTable *)tn_object_vtable(object))->length(tn_object_self(object)), ==, 0);
}

static void
names_what_is_missing(void)
{
    g_autofree char *path = write_file("names.h5", 0);
    g_autoptr(GError) error = NULL;
    TN_ASSERT(make_object(TN_IFACE_DATASET, path, "split", tn_value_string("trian"), &error) ==
              NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "names.h5", "'trian'; there ");
    TN_ASSERT(make_object(TN_IFACE_DATASET, path, NULL, NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "no arrays", "data info");
    TN_ASSERT(make_object(TN_IFACE_DATASET, "/nowhere/x.h5", NULL, NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "/nowhere/x.h5");
}

/* Cut at many lengths, and with bytes turned over: an error that names the file, or the right
 * samples; never a crash. */
static void
survives_damage(void)
{
    g_autofree char *path = write_file("sound.h5", 4), *bad = tn_test_tmp_path("damaged.h5");
    size_t n;
    g_autofree char *bytes = tn_test_read_file(path, &n);
    guint refused = 0;
    for (size_t cut = 0; cut < n; cut += n / 37 + 1) {
        g_autoptr(GError) error = NULL;
        tn_test_write_file(bad, bytes, (gssize)cut);
        g_autoptr(TnObject) object =
            make_object(TN_IFACE_DATASET, bad, "split", tn_value_string("train"), &error);
        TN_ASSERT(object == NULL);
        TN_ASSERT_CONTAINS(error ? error->message : NULL, "damaged.h5");
        refused++;
    }
    TN_ASSERT_CMPUINT(refused, >, 30);
    for (size_t at = 0; at < n; at += n / 61 + 1) {
        g_autoptr(GError) error = NULL;
        bytes[at] = (char)~bytes[at];
        tn_test_write_file(bad, bytes, (gssize)n);
        bytes[at] = (char)~bytes[at];
        g_autoptr(TnObject) object =
            make_object(TN_IFACE_DATASET, bad, "split", tn_value_string("train"), &error);
        TN_ASSERT((object == NULL) == (error != NULL));
    }
}

static void
an_unfinished_file_leaves_nothing(void)
{
    g_autofree char *path = tn_test_tmp_path("unfinished/x.h5"),
                    *folder = tn_test_tmp_path("unfinished");
    g_autoptr(GError) error = NULL;
    g_mkdir(folder, 0777);
    TnObject *object = make_object(TN_IFACE_DATASET_WRITER, path, NULL, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    tn_object_unref(object);
    GDir *dir = g_dir_open(folder, 0, NULL);
    TN_ASSERT(g_dir_read_name(dir) == NULL);
    g_dir_close(dir);
    TN_ASSERT(make_object(TN_IFACE_DATASET_WRITER, "/nowhere/x.h5", NULL, NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, "/nowhere/x.h5");
}

static const TnTest tests[] = {
    { "spares other files", spares_other_files },
    { "reads what was written", reads_what_was_written },
    { "fingerprint of contents", fingerprint_of_contents },
    { "reads an empty split", reads_an_empty_split },
    { "names what is missing", names_what_is_missing },
    { "survives damage", survives_damage },
    { "an unfinished file leaves nothing", an_unfinished_file_leaves_nothing },
};
TN_TEST_MAIN("hdf5", tests)
