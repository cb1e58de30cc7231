/* test_text.c: the dataset of windows over a text: where they lie, what they hold, parts of a file,
 * fingerprints, and files and options that make none. */
#include <string.h>

#include <tenon/base.h>
#include <tenon/context.h>
#include <tenon/dataset.h>

#include "tn_test.h"

static const char text[] = "0123456789abcdefghij"; /* 20 bytes */

static TnObject *
try_text(const char *path, gint64 length, gint64 stride, double begin, double end, GError **error)
{
    const TnFactory *factory = tn_registry_find(TN_IFACE_DATASET, "text", NULL);
    TN_REQUIRE(factory != NULL);
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnValue) options = tn_value_map();
    tn_value_set(options, "path", tn_value_string(path));
    tn_value_set(options, "length", tn_value_int(length));
    tn_value_set(options, "stride", tn_value_int(stride));
    tn_value_set(options, "begin", tn_value_double(begin));
    tn_value_set(options, "end", tn_value_double(end));
    return tn_object_create(factory, options, context, error);
}

static TnObject *
open_text(const char *contents, gssize size, gint64 length, gint64 stride, double begin, double end)
{
    g_autofree char *path = tn_test_tmp_path("text.txt");
    g_autoptr(GError) error = NULL;
    tn_test_write_file(path, contents, size);
    TnObject *object = try_text(path, length, stride, begin, end, &error);
    TN_REQUIRE_NO_ERROR(error);
    return object;
}

/* Each sample's x and y are the bytes at its place, and there are as many as said. */
static void
check_windows(gint64 length, gint64 stride, double begin, double end, const char *part,
              gint64 count)
{
    g_autoptr(TnObject) object = open_text(text, -1, length, stride, begin, end);
    const TnDatasetVTable *data = tn_object_vtable(object);
    void *self = tn_object_self(object);
    TN_REQUIRE(data->length(self) == count);
    const gint64 step = stride ? stride : length;
    for (gint64 i = count - 1; i >= 0; i--) {
        gint64 x[32], y[32];
        void *both[] = { x, y }, *second[] = { NULL, y };
        TN_REQUIRE(data->read(self, 1, &i, both) == TN_OK);
        for (gint64 k = 0; k < length; k++) {
            TN_ASSERT_CMPINT(x[k], ==, part[i * step + k]);
            TN_ASSERT_CMPINT(y[k], ==, part[i * step + k + 1]);
        }
        memset(y, 0, sizeof y);
        TN_REQUIRE(data->read(self, 1, &i, second) == TN_OK);
        TN_ASSERT_CMPINT(y[length - 1], ==, part[i * step + length]);
    }
}

static void
windows(void)
{
    check_windows(4, 0, 0, 1, text, 4); /* 16 bytes and the one behind them; 3 are left */
    check_windows(4, 1, 0, 1, text, 16);
    check_windows(4, 7, 0, 1, text, 3);
    check_windows(19, 0, 0, 1, text, 1);
    check_windows(1, 0, 0, 1, text, 19);
    check_windows(4, 0, 0.5, 1, "abcdefghij", 2);
    check_windows(4, 0, 0, 0.5, "0123456789", 2);
    check_windows(4, 2, 0.25, 0.75, "56789abcde", 3);
}

static void
fields(void)
{
    static const char bytes[] = { 'a', '\0', '\xff', '\n', '\x80' };
    g_autoptr(TnObject) object = open_text(bytes, sizeof bytes, 3, 1, 0, 1);
    const TnDatasetVTable *data = tn_object_vtable(object);
    void *self = tn_object_self(object);
    TN_ASSERT_CMPUINT(data->n_fields(self), ==, 2);
    for (guint i = 0; i < 2; i++) {
        g_autofree char *type = tn_type_print(&data->field(self, i)->type);
        TN_ASSERT_CMPSTR(type, "i64[3]");
        TN_ASSERT_CMPSTR(data->field(self, i)->name, i ? "y" : "x");
    }
    /* Bytes are numbers from 0 to 255; several samples in any order. */
    static const gint64 at[] = { 1, 0 };
    gint64 x[6];
    void *out[] = { x, NULL };
    static const gint64 want[] = { 0, 255, 10, 97, 0, 255 };
    TN_REQUIRE(data->read(self, 2, at, out) == TN_OK);
    TN_ASSERT(memcmp(x, want, sizeof want) == 0);
    static const gint64 outside[] = { -1, 2, G_MAXINT64 };
    for (guint i = 0; i < G_N_ELEMENTS(outside); i++)
        TN_ASSERT_CMPINT(data->read(self, 1, &outside[i], out), ==, TN_FAILED);
}

static guint64
mark(const char *contents, gint64 stride, double begin)
{
    g_autoptr(TnObject) object = open_text(contents, -1, 4, stride, begin, 1);
    const TnDatasetVTable *data = tn_object_vtable(object);
    return data->fingerprint(tn_object_self(object));
}

static void
fingerprints(void)
{
    const guint64 one = mark(text, 0, 0);
    TN_ASSERT(mark(text, 0, 0) == one);
    TN_ASSERT(mark("0123456789abcdefghiJ", 0, 0) != one);
    TN_ASSERT(mark(text, 1, 0) != one);
    TN_ASSERT(mark(text, 0, 0.5) != one);
}

static void
check_fails(const char *path, gint64 length, double begin, double end, const char *word)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnObject) object = try_text(path, length, 0, begin, end, &error);
    TN_ASSERT(object == NULL);
    TN_REQUIRE(error != NULL);
    TN_ASSERT(strstr(error->message, word) != NULL);
}

static void
failures(void)
{
    g_autofree char *path = tn_test_tmp_path("short.txt");
    g_autofree char *absent = tn_test_tmp_path("absent.txt");
    tn_test_write_file(path, text, -1);
    check_fails(absent, 4, 0, 1, "absent.txt");
    check_fails(tn_test_tmp_dir(), 4, 0, 1, "no plain file");
    check_fails(path, 20, 0, 1, "20 bytes");
    check_fails(path, 4, 0.5, 0.7, "length 4");
    check_fails(path, 4, 0.7, 0.5, "0 bytes from 0.7 to 0.5");
    check_fails(path, 0, 0, 1, "length");
    check_fails(path, 4, -0.5, 1, "begin");
    check_fails(path, 4, 0, 1.5, "end");
    tn_test_write_file(path, "", 0);
    check_fails(path, 1, 0, 1, "0 bytes");
}

static const TnTest tests[] = {
    { "windows", windows },
    { "fields", fields },
    { "fingerprints", fingerprints },
    { "failures", failures },
};

TN_TEST_MAIN("text dataset", tests)
