/* test_idx.c: IDX files written here byte by byte, read as a dataset; and files that are wrong. */
#include <unistd.h>

#include <tenon/base.h>
#include <tenon/context.h>
#include <tenon/dataset.h>

#include "tn_test.h"

static TnObject *
open_idx(const char *image, const char *label, GError **error)
{
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnValue) options = tn_value_map();
    const TnFactory *factory = tn_registry_find(TN_IFACE_DATASET, "idx", error);
    TN_REQUIRE(factory != NULL);
    tn_value_set(options, "image", tn_value_string(image));
    if (label)
        tn_value_set(options, "label", tn_value_string(label));
    return tn_object_create(factory, options, context, error);
}

static char *
write_images(const char *name, gboolean gzip)
{
    char *path = tn_test_tmp_path("%s", name);
    guint8 bytes[16 + 3 * 2 * 2] = { 0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 2 };
    for (guint i = 0; i < 12; i++)
        bytes[16 + i] = (guint8)(100 + i);
    tn_test_write_file(path, bytes, sizeof bytes);
    if (gzip) {
        g_auto(TnChild) child = { 0 };
        g_autofree char *packed = g_strconcat(path, ".gz", NULL);
        tn_test_run(&child, "gzip", "-f", path, NULL);
        TN_ASSERT_EXIT(&child, 0);
        g_free(path);
        return g_steal_pointer(&packed);
    }
    return path;
}

static void
reads_images_and_labels(void)
{
    static const guint8 labels[] = { 0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9 };
    g_autofree char *image = write_images("i", TRUE), *label = tn_test_tmp_path("l");
    g_autoptr(GError) error = NULL;
    tn_test_write_file(label, labels, sizeof labels);
    g_autoptr(TnObject) object = open_idx(image, label, &error);
    TN_REQUIRE_NO_ERROR(error);
    const TnDatasetVTable *data = tn_object_vtable(object);
    void *self = tn_object_self(object);
    TN_ASSERT_CMPINT(data->length(self), ==, 3);
    TN_ASSERT_CMPUINT(data->n_fields(self), ==, 2);
    g_autofree char *type = tn_type_print(&data->field(self, 0)->type);
    TN_ASSERT_CMPSTR(type, "u8[1, 2, 2]");
    TN_ASSERT_CMPINT(data->field(self, 1)->type.rank, ==, 0);
    const gint64 positions[] = { 2, 0, 2 };
    guint8 pixels[12], classes[3];
    void *out[] = { pixels, classes };
    TN_ASSERT_CMPINT(data->read(self, 3, positions, out), ==, TN_OK);
    static const guint8 expected[12] = {
        108, 109, 110, 111, 100, 101, 102, 103, 108, 109, 110, 111
    };
    TN_ASSERT_BYTES(pixels, expected, 12);
    TN_ASSERT_BYTES(classes, ((const guint8[]){ 9, 7, 9 }), 3);
    void *only_labels[] = { NULL, classes };
    TN_ASSERT_CMPINT(data->read(self, 1, positions, only_labels), ==, TN_OK);
    TN_ASSERT_CMPINT(data->read(self, 1, (const gint64[]){ 3 }, out), ==, TN_FAILED);
    TN_ASSERT_CMPINT(data->read(self, 1, (const gint64[]){ -1 }, out), ==, TN_FAILED);
}

static void
turns_big_endian(void)
{
    static const guint8 file[] = {
        0, 0, 0x0d, 1, 0, 0, 0, 2, 0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0
    }; /* 1.0f, -2.0f */
    g_autofree char *path = tn_test_tmp_path("floats");
    g_autoptr(GError) error = NULL;
    tn_test_write_file(path, file, sizeof file);
    g_autoptr(TnObject) object = open_idx(path, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    const TnDatasetVTable *data = tn_object_vtable(object);
    float values[2];
    void *out[] = { values };
    TN_ASSERT_CMPINT(data->read(tn_object_self(object), 2, (const gint64[]){ 0, 1 }, out), ==,
                     TN_OK);
    TN_ASSERT_CMPFLOAT(values[0], ==, 1);
    TN_ASSERT_CMPFLOAT(values[1], ==, -2);
}

static void
refuses_what_is_wrong(void)
{
    static const struct {
        const char *bytes;
        gsize n;
        const char *word;
    } table[] = {
        { "", 0, "begin" },
        { "\0\0\x08", 3, "begin" },
        { "\1\0\x08\1\0\0\0\0", 8, "begin" },
        { "\0\0\x07\1\0\0\0\0", 8, "type code 0x07" },
        { "\0\0\x08\0", 4, "dimensions" },
        { "\0\0\x08\x09", 4, "dimensions" },
        { "\0\0\x08\2\0\0\0\1", 8, "head" },
        { "\0\0\x08\1\0\0\0\5abc", 11, "needs 5" },
        { "\0\0\x08\1\0\0\0\1abc", 11, "needs 1" },
        { "\0\0\x0e\3\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 16, "needs" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autofree char *path = tn_test_tmp_path("bad.idx");
        g_autoptr(GError) error = NULL;
        tn_test_write_file(path, table[i].bytes, (gssize)table[i].n);
        TN_ASSERT(open_idx(path, NULL, &error) == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, "bad.idx", table[i].word);
    }
}

static void
refuses_a_cut_gzip(void)
{
    g_autofree char *path = write_images("whole", TRUE), *cut = tn_test_tmp_path("cut.gz");
    g_autoptr(GError) error = NULL;
    size_t n;
    g_autofree char *bytes = tn_test_read_file(path, &n);
    tn_test_write_file(cut, bytes, (gssize)n - 6);
    TN_ASSERT(open_idx(cut, NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, "cut.gz");
    TN_ASSERT(open_idx("/nowhere/x", NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, "/nowhere/x");
}

/* 256 MiB of zeros behind a head that speaks of one byte: not all of them are unpacked, which the
 * memory that may be had would not allow. */
static void
stops_at_a_bomb(void)
{
    static const char head[] = { 0, 0, 8, 1, 0, 0, 0, 1 };
    g_autofree char *path = tn_test_tmp_path("bomb");
    g_autofree char *packed = g_strconcat(path, ".gz", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(TnChild) child = { 0 };
    tn_test_write_file(path, head, sizeof head);
    TN_REQUIRE(truncate(path, 256 << 20) == 0);
    tn_test_run(&child, "gzip", "-1", "-f", path, NULL);
    TN_ASSERT_EXIT(&child, 0);
    tn_data_fail_nth(3); /* the second block that is twice as large */
    TN_ASSERT(open_idx(packed, NULL, &error) == NULL);
    tn_data_fail_nth(0);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, "bomb.gz", "needs 1 bytes");
}

static void
refuses_unequal_numbers(void)
{
    static const guint8 labels[] = { 0, 0, 8, 1, 0, 0, 0, 2, 7, 8 };
    g_autofree char *image = write_images("i2", FALSE), *label = tn_test_tmp_path("l2");
    g_autoptr(GError) error = NULL;
    tn_test_write_file(label, labels, sizeof labels);
    TN_ASSERT(open_idx(image, label, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, "2 samples", "3");
}

static void
survives_failing_allocations(void)
{
    g_autofree char *image = write_images("i3", FALSE);
    g_autoptr(GError) error = NULL;
    gboolean opened = FALSE;
    guint failures = 0;
    for (guint64 nth = 1; !opened && nth < 20; nth++) {
        tn_data_fail_nth(nth);
        g_autoptr(TnObject) object = open_idx(image, NULL, &error);
        tn_data_fail_nth(0);
        opened = object != NULL;
        if (!opened) {
            failures++;
            TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NO_MEMORY, "i3");
        }
    }
    TN_ASSERT(opened);
    TN_ASSERT_CMPUINT(failures, >, 0);
}

static const TnTest tests[] = {
    { "reads images and labels", reads_images_and_labels },
    { "turns big-endian", turns_big_endian },
    { "stops at a bomb", stops_at_a_bomb },
    { "refuses what is wrong", refuses_what_is_wrong },
    { "refuses a cut gzip", refuses_a_cut_gzip },
    { "refuses unequal numbers of samples", refuses_unequal_numbers },
    { "survives failing allocations", survives_failing_allocations },
};
TN_TEST_MAIN("idx", tests)
