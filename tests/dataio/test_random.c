/* test_random.c: the dataset of random samples: what its options say, moments, the same samples for
 * the same seed. */
#include <math.h>
#include <string.h>

#include <tenon/base.h>
#include <tenon/context.h>
#include <tenon/dataset.h>

#include "tn_test.h"

enum { LENGTH = 500, WIDTH = 37, CLASSES = 7 };

static TnObject *
open_random(const char *dtype, guint64 seed)
{
    const TnFactory *factory = tn_registry_find(TN_IFACE_DATASET, "random", NULL);
    TN_REQUIRE(factory != NULL);
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnValue) options = tn_value_map(), shape = tn_value_list();
    g_autoptr(GError) error = NULL;
    tn_value_push(shape, tn_value_int(WIDTH));
    tn_value_set(options, "shape", tn_value_ref(shape));
    tn_value_set(options, "dtype", tn_value_string(dtype));
    tn_value_set(options, "length", tn_value_int(LENGTH));
    tn_value_set(options, "classes", tn_value_int(CLASSES));
    tn_value_set(options, "seed", tn_value_uint(seed));
    TnObject *object = tn_object_create(factory, options, context, &error);
    TN_REQUIRE_NO_ERROR(error);
    return object;
}

/* Samples [first, first + n), one field of which may be left out. */
static void
read_all(TnObject *object, gint64 first, gsize n, void *x, gint64 *y)
{
    const TnDatasetVTable *data = tn_object_vtable(object);
    g_autofree gint64 *at = g_new(gint64, n);
    void *out[] = { x, y };
    for (gsize i = 0; i < n; i++)
        at[i] = first + (gint64)i;
    TN_REQUIRE(data->read(tn_object_self(object), n, at, out) == TN_OK);
}

/* Mean and deviation of n numbers within five standard errors of the exact ones. */
static void
check_moments(const double *x, gsize n, double mean, double deviation)
{
    double sum = 0, squares = 0;
    for (gsize i = 0; i < n; i++)
        sum += x[i];
    for (gsize i = 0; i < n; i++)
        squares += (x[i] - sum / (double)n) * (x[i] - sum / (double)n);
    TN_ASSERT_NEAR(sum / (double)n, mean, 0, 5 * deviation / sqrt((double)n));
    TN_ASSERT_NEAR(sqrt(squares / (double)n), deviation, 0, 5 * deviation / sqrt((double)n));
}

static void
bytes(void)
{
    g_autoptr(TnObject) object = open_random("u8", 3);
    const TnDatasetVTable *data = tn_object_vtable(object);
    static guint8 x[LENGTH][WIDTH], again[LENGTH][WIDTH];
    static double numbers[LENGTH * WIDTH];
    gint64 y[LENGTH];
    guint count[256] = { 0 }, classes[CLASSES] = { 0 };
    g_autofree char *type = tn_type_print(&data->field(tn_object_self(object), 0)->type);
    TN_ASSERT_CMPSTR(type, "u8[37]");
    read_all(object, 0, LENGTH, x, y);
    for (guint i = 0; i < LENGTH * WIDTH; i++) {
        numbers[i] = x[i / WIDTH][i % WIDTH];
        count[x[i / WIDTH][i % WIDTH]]++;
    }
    for (guint i = 0; i < LENGTH; i++) {
        TN_REQUIRE(y[i] >= 0 && y[i] < CLASSES);
        classes[y[i]]++;
    }
    /* Uniform over 0 to 255: every value comes, mean 127.5, variance (256^2 - 1) / 12. */
    for (guint i = 0; i < 256; i++)
        TN_ASSERT_CMPUINT(count[i], >, 20);
    for (guint i = 0; i < CLASSES; i++)
        TN_ASSERT_CMPUINT(classes[i], >, LENGTH / CLASSES / 2);
    check_moments(numbers, LENGTH * WIDTH, 127.5, sqrt(65535.0 / 12));
    /* One at a time, without labels, the same. */
    for (guint i = 0; i < LENGTH; i++)
        read_all(object, i, 1, again[i], NULL);
    TN_ASSERT(memcmp(x, again, sizeof x) == 0);
}

static void
normal(void)
{
    g_autoptr(TnObject) object = open_random("f32", 3), other = open_random("f32", 4);
    static float x[LENGTH][WIDTH], z[LENGTH][WIDTH];
    static double numbers[LENGTH * WIDTH];
    read_all(object, 0, LENGTH, x, NULL);
    read_all(other, 0, LENGTH, z, NULL);
    guint same = 0;
    for (guint i = 0; i < LENGTH * WIDTH; i++) {
        numbers[i] = x[i / WIDTH][i % WIDTH];
        same += x[i / WIDTH][i % WIDTH] == z[i / WIDTH][i % WIDTH];
    }
    check_moments(numbers, LENGTH * WIDTH, 0, 1);
    TN_ASSERT_CMPUINT(same, <, 5);
}

static void
fingerprints(void)
{
    g_autoptr(TnObject) one = open_random("f32", 3), same = open_random("f32", 3);
    g_autoptr(TnObject) seed = open_random("f32", 4), dtype = open_random("u8", 3);
    const TnDatasetVTable *data = tn_object_vtable(one);
    const guint64 mark = data->fingerprint(tn_object_self(one));
    TN_ASSERT(data->fingerprint(tn_object_self(same)) == mark);
    TN_ASSERT(data->fingerprint(tn_object_self(seed)) != mark);
    TN_ASSERT(data->fingerprint(tn_object_self(dtype)) != mark);
}

static void
outside(void)
{
    g_autoptr(TnObject) object = open_random("u8", 0);
    const TnDatasetVTable *data = tn_object_vtable(object);
    guint8 x[WIDTH];
    void *out[] = { x, NULL };
    static const gint64 wrong[] = { -1, LENGTH, G_MAXINT64 };
    for (guint i = 0; i < G_N_ELEMENTS(wrong); i++)
        TN_ASSERT_CMPINT(data->read(tn_object_self(object), 1, &wrong[i], out), ==, TN_FAILED);
}

static const TnTest tests[] = {
    { "bytes", bytes },
    { "normal", normal },
    { "fingerprints", fingerprints },
    { "outside", outside },
};

TN_TEST_MAIN("random dataset", tests)
