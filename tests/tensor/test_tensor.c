/* test_tensor.c: types, storages and tensors: sizes checked, references counted, memory refused. */
#include <math.h>

#include "tn_test.h"
#include "veiled.h"

#define DIMS(...) ((const gint64[]){ __VA_ARGS__ })

static void
types(void)
{
    TnType type = tn_type(TN_DTYPE_F32, 2, DIMS(128, 784));
    gint64 strides[TN_MAX_RANK];
    g_autofree char *text = tn_type_print(&type);
    TN_ASSERT_CMPSTR(text, "f32[128, 784]");
    TN_ASSERT_CMPINT(tn_type_count(&type), ==, 128 * 784);
    TN_ASSERT_CMPINT(tn_type_bytes(&type), ==, 4 * 128 * 784);
    tn_type_strides(&type, strides);
    TN_ASSERT(strides[0] == 784 && strides[1] == 1 && strides[2] == 0);
    const TnType scalar = tn_type(TN_DTYPE_BOOL, 0, NULL),
                 empty = tn_type(TN_DTYPE_F64, 2, DIMS(3, 0));
    g_autofree char *scalar_text = tn_type_print(&scalar);
    TN_ASSERT_CMPSTR(scalar_text, "bool[]");
    TN_ASSERT_CMPINT(tn_type_count(&scalar), ==, 1);
    TN_ASSERT_CMPINT(tn_type_count(&empty), ==, 0);
    const TnType other = tn_type(TN_DTYPE_F32, 2, DIMS(128, 783)),
                 more = tn_type(TN_DTYPE_F32, 1, DIMS(128));
    const TnType like = tn_type(TN_DTYPE_F32, 2, DIMS(128, 784));
    TN_ASSERT(tn_type_equal(&type, &like));
    TN_ASSERT(!tn_type_equal(&type, &other) && !tn_type_equal(&type, &more));
    type.dtype = TN_DTYPE_I32;
    TN_ASSERT(!tn_type_equal(&type, &like));
}

static void
overflow(void)
{
    const TnType wide = tn_type(TN_DTYPE_F64, 3, DIMS(1ll << 31, 1ll << 31, 4));
    const TnType nearly = tn_type(TN_DTYPE_F64, 1, DIMS(1ll << 60));
    const TnType zero = tn_type(TN_DTYPE_F64, 3, DIMS(G_MAXINT64, G_MAXINT64, 0));
    g_autoptr(GError) error = NULL;
    TN_ASSERT_CMPINT(tn_type_count(&wide), ==, -1);
    TN_ASSERT_CMPINT(tn_type_count(&nearly), ==, 1ll << 60);
    TN_ASSERT_CMPINT(tn_type_bytes(&nearly), ==, -1);
    TN_ASSERT_CMPINT(tn_type_count(&zero), ==, 0);
    TN_ASSERT(tn_tensor_new(NULL, wide, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "63 bits");
    TN_ASSERT(tn_tensor_new(NULL, nearly, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "63 bits");
    g_autoptr(TnTensor) empty = tn_tensor_new(NULL, zero, &error);
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT_CMPINT(tn_tensor_count(empty), ==, 0);
    TN_ASSERT(tn_tensor_new(NULL, tn_type(TN_DTYPE_F32, 1, DIMS(-1)), &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "-1");
    TnType bad = tn_type(TN_DTYPE_F32, 0, NULL);
    bad.rank = 9;
    TN_ASSERT(tn_tensor_new(NULL, bad, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "got 9");
    TN_ASSERT(tn_tensor_new(NULL, tn_type(TN_DTYPE_NONE, 0, NULL), &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_DTYPE);
    /* More than any machine has, but a size that can be written down. */
    TN_ASSERT(tn_tensor_new(NULL, tn_type(TN_DTYPE_U8, 1, DIMS(1ll << 62)), &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NO_MEMORY, "4611686018427387904 bytes");
}

static void
makes(void)
{
    static const gint32 numbers[] = { 1, -2, 3, -4, 5, -6 };
    g_autoptr(GError) error = NULL;
    g_autoptr(TnTensor) tensor =
        tn_tensor_from(tn_type(TN_DTYPE_I32, 2, DIMS(2, 3)), numbers, &error);
    g_autoptr(TnTensor) zeros = tn_tensor_zeros(NULL, tn_type(TN_DTYPE_F64, 1, DIMS(1000)), &error);
    g_autoptr(TnTensor) scalar = tn_tensor_scalar(TN_DTYPE_BF16, 1.5);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPINT(tn_tensor_rank(tensor), ==, 2);
    TN_ASSERT_CMPINT(tn_tensor_dim(tensor, 1), ==, 3);
    TN_ASSERT_CMPINT(tn_tensor_dim(tensor, -2), ==, 2);
    TN_ASSERT_CMPINT(tn_tensor_bytes(tensor), ==, 24);
    TN_ASSERT(tn_tensor_is_contiguous(tensor) && tn_tensor_device(tensor) == tn_device_host());
    for (gint i = 0; i < 6; i++)
        TN_ASSERT_CMPFLOAT(tn_tensor_get(tensor, i), ==, numbers[i]);
    for (gint i = 0; i < 1000; i++)
        TN_ASSERT_CMPFLOAT(tn_tensor_get(zeros, i), ==, 0);
    TN_ASSERT_CMPINT(tn_tensor_rank(scalar), ==, 0);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(scalar, 0), ==, 1.5);
    const void *memory = tn_storage_memory(tn_tensor_storage(scalar));
    TN_ASSERT_CMPUINT((guintptr)memory % TN_ALIGN, ==, 0);
}

static void
count_free(gpointer data)
{
    ++*(guint *)data;
}

static void
references(void)
{
    g_autoptr(GError) error = NULL;
    guint freed = 0;
    float numbers[6] = { 0, 1, 2, 3, 4, 5 };
    TnStorage *storage = tn_storage_wrap(NULL, numbers, sizeof numbers, count_free, &freed);
    TnTensor *view = tn_tensor_view(storage, tn_type(TN_DTYPE_F32, 1, DIMS(3)), NULL, 2, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT(!tn_tensor_is_writable(view)); /* the storage is held twice */
    TN_ASSERT(tn_tensor_map(view, TN_MAP_WRITE, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_BUSY, "f32[3]", "shared");
    tn_storage_unref(storage);
    TN_ASSERT(tn_tensor_is_writable(view));
    float *mapped = tn_tensor_map(view, TN_MAP_READ | TN_MAP_WRITE, &error);
    TN_ASSERT(mapped == numbers + 2);
    mapped[0] = 9;
    tn_tensor_unmap(view);
    tn_tensor_ref(view);
    TN_ASSERT(!tn_tensor_is_writable(view));
    tn_tensor_unref(view);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(view, 0), ==, 9);
    TN_ASSERT_CMPUINT(freed, ==, 0);
    tn_tensor_unref(view);
    TN_ASSERT_CMPUINT(freed, ==, 1);
    tn_tensor_unref(NULL);
}

/* A view is inside its storage or it is not made. */
static void
inside(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnStorage) storage = tn_storage_new(NULL, 48, &error); /* 12 f32 */
    static const struct {
        gint rank;
        gint64 dims[3], strides[3], offset;
        gboolean ok;
    } views[] = {
        { 1, { 12 }, { 1 }, 0, TRUE },
        { 1, { 12 }, { 1 }, 1, FALSE },
        { 1, { 13 }, { 1 }, 0, FALSE },
        { 1, { 6 }, { 2 }, 1, TRUE },
        { 1, { 6 }, { 2 }, 2, FALSE },
        { 1, { 12 }, { -1 }, 11, TRUE },
        { 1, { 12 }, { -1 }, 10, FALSE },
        { 1, { 1000 }, { 0 }, 11, TRUE },
        { 1, { 1 }, { 0 }, 12, FALSE },
        { 1, { 0 }, { 1 }, 12, TRUE },
        { 1, { 0 }, { 1 }, 13, FALSE },
        { 1, { 0 }, { 1 }, -1, FALSE },
        { 2, { 3, 4 }, { 4, 1 }, 0, TRUE },
        { 2, { 3, 4 }, { 4, 1 }, -1, FALSE },
        { 2, { 3, 4 }, { 1, 3 }, 0, TRUE },
        { 2, { 3, 4 }, { -4, -1 }, 11, TRUE },
        { 2, { 3, 4 }, { 4, -1 }, 3, TRUE },
        { 2, { 3, 4 }, { 4, -1 }, 2, FALSE },
        { 3, { 2, G_MAXINT64, 1 }, { 1, G_MAXINT64 / 2, 1 }, 0, FALSE },
        { 1, { 2 }, { G_MAXINT64 }, 2, FALSE },
        { 1, { 2 }, { G_MININT64 }, 2, FALSE },
        { 0, { 0 }, { 0 }, 11, TRUE },
        { 0, { 0 }, { 0 }, 12, FALSE },
    };
    for (guint i = 0; i < G_N_ELEMENTS(views); i++) {
        g_autoptr(TnTensor) view =
            tn_tensor_view(storage, tn_type(TN_DTYPE_F32, views[i].rank, views[i].dims),
                           views[i].strides, views[i].offset, &error);
        if (!!view != views[i].ok)
            TN_FAIL("view %u", i);
        if (view)
            TN_ASSERT_NO_ERROR(error);
        else
            TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE);
    }
}

static void
prints(void)
{
    static const struct {
        TnDtype dtype;
        const char *text;
    } expected[] = {
        { TN_DTYPE_F32, "f32[2, 2] {{0.1, -1.5}, {16777216, 3e+30}}" },
        { TN_DTYPE_F16, "f16[2, 2] {{0.1, -1.5}, {inf, inf}}" },
        { TN_DTYPE_I8, "i8[2, 2] {{0, -1}, {127, 127}}" },
        { TN_DTYPE_U64, "u64[2, 2] {{0, 0}, {16777216, 18446744073709551615}}" },
        { TN_DTYPE_BOOL, "bool[2, 2] {{true, true}, {true, true}}" },
    };
    static const double numbers[] = { 0.1, -1.5, 16777216, 3e30 };
    g_autoptr(TnTensor) source =
        tn_tensor_from(tn_type(TN_DTYPE_F64, 2, DIMS(2, 2)), numbers, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(expected); i++) {
        g_autoptr(TnTensor) tensor = tn_tensor_copy(source, NULL, expected[i].dtype, NULL);
        g_autofree char *text = tn_tensor_print(tensor);
        TN_ASSERT_CMPSTR(text, expected[i].text);
    }
    g_autoptr(TnTensor) scalar = tn_tensor_scalar(TN_DTYPE_F64, 2);
    g_autofree char *text = tn_tensor_print(scalar);
    TN_ASSERT_CMPSTR(text, "f64[] 2");
    g_autoptr(TnTensor) empty = tn_tensor_zeros(NULL, tn_type(TN_DTYPE_F32, 2, DIMS(0, 3)), NULL);
    g_autofree char *empty_text = tn_tensor_print(empty);
    TN_ASSERT_CMPSTR(empty_text, "f32[0, 3] {}");
    g_autoptr(TnTensor) large = tn_tensor_zeros(NULL, tn_type(TN_DTYPE_U8, 2, DIMS(2, 1000)), NULL);
    g_autofree char *large_text = tn_tensor_print(large);
    TN_ASSERT_CMPSTR(large_text, "u8[2, 1000] {{0, 0, 0, ..., 0, 0, 0}, {0, 0, 0, ..., 0, 0, 0}}");
}

/* --- Devices ---------------------------------------------------------------------------------- */

static void
host(void)
{
    TnDevice *device = tn_device_host();
    TN_ASSERT(tn_device_is_host(device));
    TN_ASSERT_CMPSTR(tn_device_name(device), "host");
    tn_device_ref(device);
    tn_device_unref(device);
    char from[] = "bytes", to[6];
    TN_ASSERT_CMPINT(tn_device_copy(device, to, from, 6, TN_COPY_ON_DEVICE, NULL), ==, TN_OK);
    TN_ASSERT_CMPSTR(to, "bytes");
    TN_ASSERT_CMPINT(tn_device_copy(device, NULL, NULL, 0, TN_COPY_TO_HOST, NULL), ==, TN_OK);
    TN_ASSERT_CMPINT(tn_device_sync(device, NULL), ==, TN_OK);
    void *memory = tn_device_alloc(device, 100);
    TN_ASSERT(memory != NULL);
    tn_device_free(device, memory);
}

/* A vtable from a time when it ended after `kind` and `host_memory`: what follows is not read. */
static void
short_vtable(void)
{
    static const TnDeviceVTable old = { .size = G_STRUCT_OFFSET(TnDeviceVTable, alloc),
                                        .kind = "old",
                                        .host_memory = TRUE,
                                        .alloc = (void *(*)(void *, gsize))(guintptr)1 };
    g_autoptr(TnDevice) device = tn_device_new("old", &old, NULL, NULL);
    g_autoptr(TnTensor) tensor = tn_tensor_zeros(device, tn_type(TN_DTYPE_F32, 1, DIMS(5)), NULL);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(tensor, 4), ==, 0);
}

static void
veiled(void)
{
    Veil veil = { 0 };
    TnDevice *device = veil_device(&veil);
    g_autoptr(GError) error = NULL;
    static const gint32 numbers[] = { 1, 2, 3, 4, 5, 6 };
    TnTensor *zeros = tn_tensor_zeros(device, tn_type(TN_DTYPE_F32, 1, DIMS(100000)), &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(zeros, 99999), ==, 0);
    tn_tensor_unref(zeros);
    g_autoptr(TnTensor) plain =
        tn_tensor_from(tn_type(TN_DTYPE_I32, 2, DIMS(2, 3)), numbers, &error);
    TnTensor *there = tn_tensor_copy(plain, device, TN_DTYPE_F64, &error);
    TN_REQUIRE_NO_ERROR(error);
    for (gint i = 0; i < 6; i++)
        TN_ASSERT_CMPFLOAT(tn_tensor_get(there, i), ==, numbers[i]);
    g_autofree char *text = tn_tensor_print(there);
    TN_ASSERT_CMPSTR(text, "f64[2, 3] {{1, 2, 3}, {4, 5, 6}}");
    TnTensor *twice = tn_tensor_copy(there, device, TN_DTYPE_NONE, &error);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(twice, 5), ==, 6);
    g_autoptr(TnTensor) back = tn_tensor_copy(twice, NULL, TN_DTYPE_I32, &error);
    TN_ASSERT_BYTES(tn_storage_memory(tn_tensor_storage(back)), numbers, sizeof numbers);
    tn_tensor_unref(twice);

    /* Writing through a map of every second column leaves the others as they were. */
    TnTensor *columns = tn_tensor_slice(there, 1, 2, -4, -2, &error);
    tn_tensor_unref(there);
    TN_REQUIRE_NO_ERROR(error);
    double *mapped = tn_tensor_map(columns, TN_MAP_WRITE, &error);
    TN_REQUIRE_NO_ERROR(error);
    const gint64 *strides = tn_tensor_strides(columns);
    for (gint i = 0; i < 4; i++)
        mapped[i / 2 * strides[0] + i % 2 * strides[1]] = 10 + i;
    TN_ASSERT(tn_tensor_map(columns, TN_MAP_READ, &error) == mapped); /* one copy for both */
    tn_tensor_unmap(columns);
    tn_tensor_unmap(columns);
    TnTensor *whole = tn_tensor_view(tn_tensor_storage(columns), tn_type(TN_DTYPE_F64, 1, DIMS(6)),
                                     NULL, 0, &error);
    g_autofree char *after = tn_tensor_print(whole);
    TN_ASSERT_CMPSTR(after, "f64[6] {11, 2, 10, 13, 5, 12}");
    tn_tensor_unref(whole);
    tn_tensor_unref(columns);
    tn_device_unref(device);
    TN_ASSERT_CMPUINT(veil.allocations, ==, veil.frees);
}

static void
failing_copies(void)
{
    Veil veil = { 0 };
    g_autoptr(TnDevice) device = veil_device(&veil);
    g_autoptr(GError) error = NULL;
    g_autoptr(TnTensor) tensor = tn_tensor_zeros(device, tn_type(TN_DTYPE_F32, 1, DIMS(4)), &error);
    veil.fail_copy = 1;
    TN_ASSERT(tn_tensor_map(tensor, TN_MAP_READ, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_DEVICE, "veiled:0");
    veil.fail_copy = 1;
    TN_ASSERT(tn_tensor_copy(tensor, NULL, TN_DTYPE_NONE, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_DEVICE, "from veiled:0");
    veil.fail_copy = 2; /* out of the device works, into it does not */
    TN_ASSERT(tn_tensor_copy(tensor, device, TN_DTYPE_F64, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_DEVICE, "to veiled:0");
    veil.fail_copy = 1;
    TN_ASSERT(tn_tensor_zeros(device, tn_type(TN_DTYPE_F32, 1, DIMS(4)), &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_DEVICE);
}

/* --- No memory -------------------------------------------------------------------------------- */

/* Every call that takes memory, with each of its allocations failing in turn. */
static gboolean
all_calls(TnDevice *device, GError **error)
{
    static const float numbers[] = { 1, 2, 3, 4 };
    const TnType type = tn_type(TN_DTYPE_F32, 2, DIMS(2, 2));
    g_autoptr(TnStorage) storage = tn_storage_new(device, 100, error);
    g_autoptr(TnTensor) from = storage ? tn_tensor_from(type, numbers, error) : NULL;
    g_autoptr(TnTensor) zeros = from ? tn_tensor_zeros(device, type, error) : NULL;
    g_autoptr(TnTensor) copied = zeros ? tn_tensor_copy(from, device, TN_DTYPE_F16, error) : NULL;
    g_autoptr(TnTensor) back = copied ? tn_tensor_copy(copied, NULL, TN_DTYPE_F32, error) : NULL;
    if (!back || !tn_tensor_copy_into(zeros, from, error) ||
        !tn_tensor_map(copied, TN_MAP_READ, error))
        return FALSE;
    tn_tensor_unmap(copied);
    TN_ASSERT_CMPFLOAT(tn_tensor_get(back, 3), ==, 4);
    return TRUE;
}

static void
no_memory(void)
{
    Veil veil = { 0 };
    g_autoptr(TnDevice) device = veil_device(&veil);
    for (guint nth = 1;; nth++) {
        g_autoptr(GError) error = NULL;
        (void)tn_data_fail_nth(nth);
        const gboolean ok = all_calls(device, &error);
        const guint64 calls = tn_data_fail_nth(0);
        TN_ASSERT_CMPUINT(veil.allocations, ==, veil.frees);
        if (ok) {
            TN_ASSERT_CMPUINT(calls, <, nth); /* all had their turn */
            TN_ASSERT_CMPUINT(nth, >, 8);
            return;
        }
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NO_MEMORY, "out of memory");
    }
}

static const TnTest tests[] = {
    { "types", types },
    { "overflow", overflow },
    { "makes", makes },
    { "inside", inside },
    { "references", references },
    { "prints", prints },
    { "host", host },
    { "short-vtable", short_vtable },
    { "veiled", veiled },
    { "failing-copies", failing_copies },
    { "no-memory", no_memory },
};
TN_TEST_MAIN("tensor", tests)
