/* test_safetensors.c: the format against bytes written by hand, and every way a file can be
 * wrong. */
#include <tenon/base.h>
#include <tenon/run.h>

#include "tn_test.h"

/* A file of the format as its specification's own example lays it out: header length, header,
 * data. */
static GByteArray *
make_file(const char *header, const void *data, gsize n)
{
    GByteArray *file = g_byte_array_new();
    guint64 length = GUINT64_TO_LE((guint64)strlen(header));
    g_byte_array_append(file, (const guint8 *)&length, 8);
    g_byte_array_append(file, (const guint8 *)header, (guint)strlen(header));
    g_byte_array_append(file, data, (guint)n);
    return file;
}

static void
reads_bytes_written_by_hand(void)
{
    const float data[6] = { 1, 2, 3, 4, 5, 6 };
    g_autoptr(GByteArray) file =
        make_file("{\"__metadata__\":{\"who\":\"hand\"},\"b\":{\"dtype\":\"F32\",\"shape\":[2],"
                  "\"data_offsets\":"
                  "[16,24]},\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}",
                  data, sizeof data);
    g_autoptr(GError) error = NULL;
    g_autoptr(TnSafetensors) st = tn_safetensors_open_bytes(file->data, file->len, "hand", &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPUINT(tn_safetensors_n(st), ==, 2);
    TN_ASSERT_CMPSTR(tn_safetensors_name(st, 0), "a"); /* in the order of their data */
    gint b = tn_safetensors_find(st, "b");
    TN_ASSERT_CMPINT(b, ==, 1);
    TN_ASSERT_CMPINT(tn_safetensors_find(st, "c"), ==, -1);
    g_autoptr(TnTensor) t = tn_safetensors_get(st, (guint)b, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(t, 0), ==, 5);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(t, 1), ==, 6);
    TN_ASSERT_CMPSTR(tn_value_get_string(tn_value_get(tn_safetensors_metadata(st), "who")), "hand");
}

static void
refuses_what_is_wrong(void)
{
    static const struct {
        const char *header, *word;
        gsize data;
    } table[] = {
        { "[]", "not an object", 0 },
        { "{", "JSON", 0 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "cut short", 4 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", "needs 8", 4 },
        { "{\"a\":{\"dtype\":\"F99\",\"shape\":[2],\"data_offsets\":[0,8]}}", "F99", 8 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", "dimension", 8 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", "shape", 8 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,8]}}",
          "'a'", 8 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}",
          "dimensions", 8 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", "'a'", 8 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", "pair", 8 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", "begins", 12 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
          "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
          "'b'", 12 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "in the file", 8 },
        { "{\"a\":3}", "not an object", 0 },
        { "{\"__metadata__\":{\"k\":3}}", "not a string", 0 },
        { "{\"__metadata__\":3}", "not an object", 0 },
    };
    const guint8 zeros[16] = { 0 };
    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autoptr(GByteArray) file = make_file(table[i].header, zeros, table[i].data);
        g_autoptr(GError) error = NULL;
        TnSafetensors *st =
            tn_safetensors_open_bytes(file->data, file->len, "bad.safetensors", &error);
        TN_ASSERT(st == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, "bad.safetensors", table[i].word);
        tn_safetensors_free(st);
    }
}

static void
refuses_every_cut(void)
{
    const float data[4] = { 1, 2, 3, 4 };
    g_autoptr(GByteArray) file = make_file(
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", data, sizeof data);
    for (gsize n = 0; n < file->len; n++) {
        g_autoptr(GError) error = NULL;
        g_autofree guint8 *cut = g_memdup2(file->data, n); /* so that a read beyond it is seen */
        g_autoptr(TnSafetensors) st =
            tn_safetensors_open_bytes(cut ? cut : (const guint8 *)"", n, "cut", &error);
        TN_ASSERT(st == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, "cut");
    }
}

static void
saves_and_reads_back(void)
{
    g_autofree char *path = tn_test_tmp_path("all.safetensors");
    g_autoptr(GError) error = NULL;
    g_autoptr(TnValue) metadata = tn_value_map();
    TnNamedTensor tensors[TN_N_DTYPES];
    guint n = 0;
    tn_value_set(metadata, "quote\"d", tn_value_string("line\nbreak \xc3\xa9"));
    for (gint d = TN_DTYPE_NONE + 1; d < TN_N_DTYPES; d++) {
        gint64 dims[2] = { 3, d == TN_DTYPE_I8 ? 0 : 2 };
        TnTensor *t = tn_tensor_zeros(NULL, tn_type(d, 2, dims), &error);
        TN_REQUIRE_NO_ERROR(error);
        guint8 *bytes = tn_tensor_map(t, TN_MAP_WRITE, &error);
        for (gint64 i = 0; i < tn_tensor_bytes(t); i++)
            bytes[i] = d == TN_DTYPE_BOOL ? i & 1 : (guint8)(i * 7 + d);
        tn_tensor_unmap(t);
        tensors[n++] = (TnNamedTensor){ tn_dtype_name(d), t };
    }
    TN_ASSERT(tn_safetensors_save(path, n, tensors, metadata, &error));
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnSafetensors) st = tn_safetensors_open(path, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPUINT(tn_safetensors_n(st), ==, n);
    TN_ASSERT(tn_value_equal(tn_safetensors_metadata(st), metadata));
    for (guint i = 0; i < n; i++) {
        gint k = tn_safetensors_find(st, tensors[i].name);
        TN_REQUIRE(k >= 0);
        TN_ASSERT(
            tn_type_equal(tn_safetensors_type(st, (guint)k), tn_tensor_type(tensors[i].tensor)));
        const void *bytes = tn_tensor_map(tensors[i].tensor, TN_MAP_READ, &error);
        TN_ASSERT_BYTES(tn_safetensors_data(st, (guint)k), bytes,
                        tn_tensor_bytes(tensors[i].tensor));
        tn_tensor_unmap(tensors[i].tensor);
        tn_tensor_unref(tensors[i].tensor);
    }
}

static void
names_the_file_that_is_not_there(void)
{
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_safetensors_open("/nowhere/x.safetensors", &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, "/nowhere/x.safetensors");
    TN_ASSERT(tn_safetensors_open("/", &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_IO, "regular");
}

static const TnTest tests[] = {
    { "reads bytes written by hand", reads_bytes_written_by_hand },
    { "refuses what is wrong", refuses_what_is_wrong },
    { "refuses every cut", refuses_every_cut },
    { "saves and reads back every dtype", saves_and_reads_back },
    { "names the file that is not there", names_the_file_that_is_not_there },
};
TN_TEST_MAIN("safetensors", tests)
