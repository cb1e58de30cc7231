/* test_view.c: reshaped, permuted, sliced and expanded views, and copies between strides, against
 * index arithmetic on plain arrays. */
#include "tn_test.h"
#include "veiled.h"

#define DIMS(...) ((const gint64[]){ __VA_ARGS__ })

/* 0, 1, 2 … in the given sizes. */
static TnTensor *
iota(gint rank, const gint64 *dims)
{
    const TnType type = tn_type(TN_DTYPE_I32, rank, dims);
    TnTensor *tensor = tn_tensor_new(NULL, type, NULL);
    gint32 *numbers = tn_storage_memory(tn_tensor_storage(tensor));
    for (gint64 i = 0; i < tn_type_count(&type); i++)
        numbers[i] = (gint32)i;
    return tensor;
}

static void
assert_shows(TnTensor *tensor, const char *expected)
{
    g_autofree char *text = tensor ? tn_tensor_print(tensor) : NULL;
    TN_ASSERT_CMPSTR(text, expected);
}

/* --- Slices ----------------------------------------------------------------------------------- */

/* Python's rule for one border, from its own documentation of slice.indices. */
static gint64
python_border(gint64 at, gint64 n, gint64 step)
{
    if (at < 0) {
        at += n;
        if (at < 0)
            at = step < 0 ? -1 : 0;
    } else if (at >= n) {
        at = step < 0 ? n - 1 : n;
    }
    return at;
}

static void
slices(void)
{
    static const gint64 borders[] = { G_MININT64, -9, -6, -5, -4, -1, 0,
                                      1,          2,  4,  5,  6,  9,  G_MAXINT64 };
    static const gint64 steps[] = { 1, 2, 3, 7, -1, -2, -5, G_MAXINT64, G_MININT64, -G_MAXINT64 };
    g_autoptr(TnTensor) tensor = iota(2, DIMS(2, 5));
    for (guint a = 0; a < G_N_ELEMENTS(borders); a++)
        for (guint b = 0; b < G_N_ELEMENTS(borders); b++)
            for (guint s = 0; s < G_N_ELEMENTS(steps); s++) {
                const gint64 step = steps[s];
                const gint64 start = python_border(borders[a], 5, step);
                const gint64 stop = python_border(borders[b], 5, step);
                gint64 expected[5], n = 0;
                for (gint64 i = start; step > 0 ? i < stop : i > stop;) {
                    expected[n++] = i;
                    if (__builtin_add_overflow(i, step, &i))
                        break;
                }
                g_autoptr(GError) error = NULL;
                g_autoptr(TnTensor) view =
                    tn_tensor_slice(tensor, -1, borders[a], borders[b], step, &error);
                TN_REQUIRE_NO_ERROR(error);
                TN_ASSERT_CMPINT(tn_tensor_dim(view, 1), ==, n);
                for (gint64 i = 0; i < 2 * n && tn_tensor_dim(view, 1) == n; i++)
                    TN_ASSERT_CMPFLOAT(tn_tensor_get(view, i), ==, i / n * 5 + expected[i % n]);
            }
}

static void
bad_slices(void)
{
    g_autoptr(TnTensor) tensor = iota(2, DIMS(2, 5));
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_tensor_slice(tensor, 2, 0, 1, 1, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "i32[2, 5]", "axis 2");
    TN_ASSERT(tn_tensor_slice(tensor, -3, 0, 1, 1, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "axis -3");
    TN_ASSERT(tn_tensor_slice(tensor, 0, 0, 1, 0, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "step 0");
    g_autoptr(TnTensor) reversed = tn_tensor_slice(tensor, 1, -1, G_MININT64, -1, &error);
    g_autoptr(TnTensor) again = tn_tensor_slice(reversed, 1, 1, 5, 2, &error);
    assert_shows(again, "i32[2, 2] {{3, 1}, {8, 6}}");
}

/* --- Reshape ---------------------------------------------------------------------------------- */

static void
reshapes(void)
{
    g_autoptr(TnTensor) tensor = iota(3, DIMS(2, 3, 4));
    g_autoptr(GError) error = NULL;
    g_autoptr(TnTensor) flat = tn_tensor_reshape(tensor, 1, DIMS(-1), &error);
    TN_ASSERT(tn_tensor_is_contiguous(flat) && tn_tensor_dim(flat, 0) == 24);
    TN_ASSERT(tn_tensor_storage(flat) == tn_tensor_storage(tensor));
    g_autoptr(TnTensor) other = tn_tensor_reshape(flat, 4, DIMS(4, 1, -1, 2), &error);
    TN_ASSERT_CMPINT(tn_tensor_dim(other, 2), ==, 3);
    g_autoptr(TnTensor) one = iota(2, DIMS(1, 1));
    g_autoptr(TnTensor) scalar = tn_tensor_reshape(one, 0, NULL, &error);
    assert_shows(scalar, "i32[] 0");
    g_autoptr(TnTensor) empty = iota(2, DIMS(0, 3));
    g_autoptr(TnTensor) other_empty = tn_tensor_reshape(empty, 3, DIMS(5, 0, 7), &error);
    assert_shows(other_empty, "i32[5, 0, 7] {}");
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT(tn_tensor_reshape(empty, 2, DIMS(0, -5), &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "reshape");
    static const struct {
        gint rank;
        gint64 dims[9];
    } bad[] = { { 1, { 23 } },
                { 2, { -1, -1 } },
                { 2, { 5, -1 } },
                { 2, { -2, 12 } },
                { 2, { -2, -12 } },
                { 2, { 0, -1 } },
                { 0, { 0 } },
                { 9, { 24, 1, 1, 1, 1, 1, 1, 1, 1 } },
                { 3, { 1ll << 62, 4, 24 } } };
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        TN_ASSERT(tn_tensor_reshape(tensor, bad[i].rank, bad[i].dims, &error) == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "reshape");
    }
}

/* Whether some strides give the elements order[0 .. n-1] in the sizes: the only candidates are the
 * steps between an element and its neighbour along each axis. */
static gboolean
has_strides(const gint32 *order, gint rank, const gint64 *dims)
{
    const TnType type = tn_type(TN_DTYPE_I32, rank, dims);
    gint64 unit[TN_MAX_RANK], steps[TN_MAX_RANK];
    tn_type_strides(&type, unit);
    for (gint i = 0; i < rank; i++)
        steps[i] = dims[i] > 1 ? order[unit[i]] - order[0] : 0;
    for (gint64 flat = 0; flat < tn_type_count(&type); flat++) {
        gint64 expected = order[0];
        for (gint i = 0; i < rank; i++)
            expected += flat / unit[i] % dims[i] * steps[i];
        if (order[flat] != expected)
            return FALSE;
    }
    return TRUE;
}

/* A permuted view is reshaped without a copy exactly when strides for it exist. */
static void
strided_reshapes(void)
{
    static const gint perms[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                     { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    static const struct {
        gint rank;
        gint64 dims[4];
    } shapes[] = { { 1, { 24 } },        { 2, { 2, 12 } },      { 2, { 12, 2 } },
                   { 2, { 6, 4 } },      { 2, { 4, 6 } },       { 2, { 3, 8 } },
                   { 2, { 8, 3 } },      { 3, { 2, 3, 4 } },    { 3, { 4, 3, 2 } },
                   { 3, { 3, 2, 4 } },   { 4, { 2, 3, 2, 2 } }, { 4, { 2, 1, 3, 4 } },
                   { 4, { 2, 2, 3, 2 } } };
    g_autoptr(TnTensor) tensor = iota(3, DIMS(2, 3, 4));
    for (guint p = 0; p < G_N_ELEMENTS(perms); p++) {
        g_autoptr(TnTensor) turned = tn_tensor_permute(tensor, perms[p], NULL);
        g_autoptr(TnTensor) plain = tn_tensor_copy(turned, NULL, TN_DTYPE_NONE, NULL);
        const gint32 *order = tn_storage_memory(tn_tensor_storage(plain));
        for (guint s = 0; s < G_N_ELEMENTS(shapes); s++) {
            g_autoptr(GError) error = NULL;
            g_autoptr(TnTensor) view =
                tn_tensor_reshape(turned, shapes[s].rank, shapes[s].dims, &error);
            TN_ASSERT_CMPINT(view != NULL, ==, has_strides(order, shapes[s].rank, shapes[s].dims));
            if (!view) {
                TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "copy it first");
                continue;
            }
            g_autoptr(TnTensor) copied = tn_tensor_copy(view, NULL, TN_DTYPE_NONE, NULL);
            TN_ASSERT_BYTES(tn_storage_memory(tn_tensor_storage(copied)), order, 24 * 4);
        }
    }
    g_autoptr(TnTensor) row = iota(2, DIMS(1, 4));
    g_autoptr(TnTensor) wide = tn_tensor_expand(row, 2, DIMS(3, 4), NULL);
    g_autoptr(TnTensor) split = tn_tensor_reshape(wide, 3, DIMS(3, 2, 2), NULL);
    assert_shows(split, "i32[3, 2, 2] {{{0, 1}, {2, 3}}, {{0, 1}, {2, 3}}, {{0, 1}, {2, 3}}}");
    TN_ASSERT(tn_tensor_reshape(wide, 1, DIMS(12), NULL) == NULL);
}

/* --- Permute and expand ----------------------------------------------------------------------- */

static void
permutes(void)
{
    g_autoptr(TnTensor) tensor = iota(2, DIMS(2, 3));
    g_autoptr(GError) error = NULL;
    g_autoptr(TnTensor) turned = tn_tensor_permute(tensor, (const gint[]){ 1, 0 }, &error);
    assert_shows(turned, "i32[3, 2] {{0, 3}, {1, 4}, {2, 5}}");
    TN_ASSERT(!tn_tensor_is_contiguous(turned));
    g_autoptr(TnTensor) back = tn_tensor_permute(turned, (const gint[]){ 1, 0 }, &error);
    TN_ASSERT(tn_tensor_is_contiguous(back));
    static const gint bad[][2] = { { 0, 0 }, { 0, 2 }, { -1, 0 } };
    for (guint i = 0; i < 3; i++) {
        TN_ASSERT(tn_tensor_permute(tensor, bad[i], &error) == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "permute");
    }
}

static void
expands(void)
{
    g_autoptr(TnTensor) tensor = iota(2, DIMS(2, 1));
    g_autoptr(GError) error = NULL;
    g_autoptr(TnTensor) wide = tn_tensor_expand(tensor, 3, DIMS(2, 2, 3), &error);
    assert_shows(wide, "i32[2, 2, 3] {{{0, 0, 0}, {1, 1, 1}}, {{0, 0, 0}, {1, 1, 1}}}");
    g_autoptr(TnTensor) none = tn_tensor_expand(tensor, 2, DIMS(2, 0), &error);
    assert_shows(none, "i32[2, 0] {}");
    g_autoptr(TnTensor) scalar = tn_tensor_scalar(TN_DTYPE_F32, 3);
    g_autoptr(TnTensor) many = tn_tensor_expand(scalar, 2, DIMS(1, 2), &error);
    assert_shows(many, "f32[1, 2] {{3, 3}}");
    g_autoptr(TnTensor) endless = tn_tensor_expand(scalar, 1, DIMS(1ll << 40), &error);
    TN_ASSERT_CMPINT(tn_tensor_count(endless), ==, 1ll << 40);
    static const struct {
        gint rank;
        gint64 dims[3];
    } bad[] = { { 2, { 3, 1 } },
                { 1, { 2 } },
                { 2, { 2, -1 } },
                { 3, { 1ll << 40, 2, 1ll << 40 } },
                { 9, { 1 } } };
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        TN_ASSERT(tn_tensor_expand(tensor, bad[i].rank, bad[i].dims, &error) == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE);
    }
}

/* --- Copies ----------------------------------------------------------------------------------- */

static void
copies_into(void)
{
    g_autoptr(TnTensor) to = iota(2, DIMS(3, 4)), from = iota(2, DIMS(4, 3));
    g_autoptr(GError) error = NULL;
    g_autoptr(TnTensor) turned = tn_tensor_permute(from, (const gint[]){ 1, 0 }, &error);
    g_autoptr(TnTensor) reversed = tn_tensor_slice(to, 0, -1, G_MININT64, -1, &error);
    TN_ASSERT(tn_tensor_copy_into(reversed, turned, &error));
    TN_ASSERT_NO_ERROR(error);
    assert_shows(to, "i32[3, 4] {{2, 5, 8, 11}, {1, 4, 7, 10}, {0, 3, 6, 9}}");
    TN_ASSERT(!tn_tensor_copy_into(to, from, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "i32[4, 3]", "i32[3, 4]");
    g_autoptr(TnTensor) floats = tn_tensor_copy(turned, NULL, TN_DTYPE_F32, &error);
    TN_ASSERT(!tn_tensor_copy_into(to, floats, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_DTYPE, "f32[3, 4]");
}

/* Rows moved by one within a tensor, where source and target overlap. */
static void
overlaps(void)
{
    g_autoptr(TnTensor) tensor = iota(2, DIMS(3, 2));
    g_autoptr(TnTensor) first = tn_tensor_slice(tensor, 0, 0, 2, 1, NULL);
    g_autoptr(TnTensor) last = tn_tensor_slice(tensor, 0, 1, 3, 1, NULL);
    TN_ASSERT(tn_tensor_copy_into(last, first, NULL));
    assert_shows(tensor, "i32[3, 2] {{0, 1}, {0, 1}, {2, 3}}");
    TN_ASSERT(tn_tensor_copy_into(tensor, tensor, NULL));
    assert_shows(tensor, "i32[3, 2] {{0, 1}, {0, 1}, {2, 3}}");
}

/* Random chains of views, host and device, against index arithmetic of their own. */
static void
random_views(void)
{
    enum { COUNT = 2 * 3 * 4 * 5 };
    TnRandom random;
    Veil veil = { 0 };
    g_autoptr(TnDevice) device = veil_device(&veil);
    g_autoptr(TnTensor) start = iota(4, DIMS(2, 3, 4, 5));
    g_autoptr(TnTensor) far_start = tn_tensor_copy(start, device, TN_DTYPE_NONE, NULL);
    tn_random_init(&random, 1, "views", 0);
    for (guint round = 0; round < 300; round++) {
        gint rank = 4;
        gint64 dims[8] = { 2, 3, 4, 5 }, strides[8] = { 60, 20, 5, 1 }, offset = 0;
        TnTensor *view = tn_tensor_ref(round % 2 ? far_start : start);
        for (guint step = 0; step < 4; step++) {
            const gint a = (gint)tn_random_below(&random, (guint64)rank);
            TnTensor *next = NULL;
            if (tn_random_below(&random, 2)) {
                const gint b = (gint)tn_random_below(&random, (guint64)rank);
                gint perm[8];
                for (gint i = 0; i < rank; i++)
                    perm[i] = i == a ? b : i == b ? a : i;
                next = tn_tensor_permute(view, perm, NULL);
                const gint64 dim = dims[a], stride = strides[a];
                dims[a] = dims[b], strides[a] = strides[b];
                dims[b] = dim, strides[b] = stride;
            } else {
                const gint64 by = (gint64)tn_random_below(&random, 2) ? 2 : -1;
                next = by > 0 ? tn_tensor_slice(view, a, 0, G_MAXINT64, 2, NULL)
                              : tn_tensor_slice(view, a, -1, G_MININT64, -1, NULL);
                offset += by < 0 ? (dims[a] - 1) * strides[a] : 0;
                dims[a] = by > 0 ? (dims[a] + 1) / 2 : dims[a];
                strides[a] *= by;
            }
            tn_tensor_unref(view);
            view = next;
            TN_REQUIRE(view != NULL);
        }
        g_autoptr(TnTensor) copied = tn_tensor_copy(view, NULL, TN_DTYPE_I64, NULL);
        const gint64 *got = tn_storage_memory(tn_tensor_storage(copied));
        gint64 i = 0;
        for (gint64 w = 0; w < dims[0]; w++)
            for (gint64 x = 0; x < dims[1]; x++)
                for (gint64 y = 0; y < dims[2]; y++)
                    for (gint64 z = 0; z < dims[3]; z++)
                        TN_ASSERT_CMPINT(got[i++], ==,
                                         offset + w * strides[0] + x * strides[1] + y * strides[2] +
                                             z * strides[3]);
        TN_ASSERT_CMPINT(i, ==, tn_tensor_count(copied));
        tn_tensor_unref(view);
    }
    TN_ASSERT_CMPINT(tn_tensor_count(start), ==, COUNT);
}

static const TnTest tests[] = {
    { "slices", slices },
    { "bad-slices", bad_slices },
    { "reshapes", reshapes },
    { "permutes", permutes },
    { "strided-reshapes", strided_reshapes },
    { "expands", expands },
    { "copies-into", copies_into },
    { "overlaps", overlaps },
    { "random-views", random_views },
};
TN_TEST_MAIN("view", tests)
