/* test_store.c: variables by name, on the host and on devices; what initialisers draw. */
#include <math.h>

#include <tenon/pool.h>
#include <tenon/store.h>

#include "../tensor/veiled.h"
#include "tn_test.h"

#define DIMS(...) ((const gint64[]){ __VA_ARGS__ })

static TnVarInfo
param(const char *name, TnDtype dtype, gint rank, const gint64 *dims, TnInit init)
{
    return (TnVarInfo){ .name = name, .type = tn_type(dtype, rank, dims), .init = init };
}

/* --- The store -------------------------------------------------------------------------------- */

static void
by_name(void)
{
    g_autoptr(TnStore) store = tn_store_new(5);
    g_autoptr(GError) error = NULL;
    char name[] = "model.w";
    TnVarInfo info = param(name, TN_DTYPE_F32, 2, DIMS(2, 3), (TnInit){ TN_INIT_ONES });
    TnVar *w = tn_store_var(store, NULL, &info, &error);
    TN_REQUIRE_NO_ERROR(error);
    name[0] = 'x'; /* strings were copied */
    TN_ASSERT_CMPSTR(tn_var_info(w)->name, "model.w");
    TN_ASSERT(tn_store_find(store, "model.w") == w && tn_store_find(store, "xodel.w") == NULL);
    info.name = "model.w";
    TN_ASSERT(tn_store_var(store, NULL, &info, &error) == w);
    TnVarInfo slot =
        param("optim.m/model.w", TN_DTYPE_F32, 2, DIMS(2, 3), (TnInit){ TN_INIT_ZEROS });
    slot.role = TN_ROLE_SLOT;
    slot.of = "model.w";
    TnVar *m = tn_store_var(store, NULL, &slot, &error);
    TN_ASSERT_CMPSTR(tn_var_info(m)->of, "model.w");
    TN_ASSERT(tn_store_n(store) == 2 && tn_store_at(store, 0) == w && tn_store_at(store, 1) == m);
    TN_ASSERT(tn_store_at(store, 2) == NULL);
    TN_ASSERT_CMPUINT(tn_store_bytes(store), ==, 48);
    TN_ASSERT_CMPUINT(tn_store_seed(store), ==, 5);
    /* The same name for something else. */
    info.type.dims[0] = 3;
    TN_ASSERT(tn_store_var(store, NULL, &info, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "model.w", "f32[2, 3]", "f32[3, 3]");
    slot.role = TN_ROLE_STAT;
    TN_ASSERT(tn_store_var(store, NULL, &slot, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "slot", "stat");
    info.name = "";
    TN_ASSERT(tn_store_var(store, NULL, &info, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG);
    info.name = "negative";
    info.type.dims[0] = -3;
    TN_ASSERT(tn_store_var(store, NULL, &info, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "negative");
    TN_ASSERT_CMPUINT(tn_store_n(store), ==, 2);
}

static void
reads_and_writes(void)
{
    Veil veil = { 0 };
    TnDevice *device = veil_device(&veil);
    for (gint on_device = 0; on_device < 2; on_device++) {
        TnStore *store = tn_store_new(1);
        g_autoptr(GError) error = NULL;
        const TnVarInfo info =
            param("v", TN_DTYPE_I16, 1, DIMS(3), (TnInit){ TN_INIT_CONSTANT, .a = -7 });
        TnVar *var = tn_store_var(store, on_device ? device : NULL, &info, &error);
        TN_REQUIRE_NO_ERROR(error);
        gint16 numbers[] = { 0, 0, 0 }, more[] = { 1, 2, 3 };
        TN_ASSERT(tn_var_read(var, numbers, sizeof numbers, &error));
        TN_ASSERT(numbers[0] == -7 && numbers[2] == -7);
        TN_ASSERT(tn_var_write(var, more, sizeof more, &error));
        g_autoptr(TnTensor) got = tn_var_get(var, &error);
        TN_ASSERT(tn_tensor_is_writable(got) && tn_tensor_device(got) == tn_device_host());
        TN_ASSERT_CMPFLOAT(tn_tensor_get(got, 2), ==, 3);
        TN_ASSERT(tn_tensor_device(tn_var_tensor(var)) == (on_device ? device : tn_device_host()));
        TN_ASSERT(tn_var_reset(var, &error));
        TN_ASSERT(tn_var_read(var, numbers, sizeof numbers, &error) && numbers[1] == -7);
        TN_ASSERT(!tn_var_read(var, numbers, 4, &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "v", "6 bytes");
        TN_ASSERT(!tn_var_write(var, numbers, 8, &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_SHAPE, "i16[3]");
        if (on_device) {
            veil.fail_copy = 1;
            TN_ASSERT(!tn_var_read(var, numbers, sizeof numbers, &error));
            TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_DEVICE, "'v'", "veiled:0");
        }
        tn_store_unref(store);
    }
    tn_device_unref(device);
    TN_ASSERT_CMPUINT(veil.allocations, ==, veil.frees);
}

static void
counters(void)
{
    g_autoptr(TnStore) store = tn_store_new(0xfedcba9876543210u);
    g_autoptr(GError) error = NULL;
    TnVar *step = tn_store_step(store, &error), *key = tn_store_random_key(store, &error);
    TN_REQUIRE_NO_ERROR(error);
    guint64 value = 7, pair[2] = { 7, 7 };
    TN_ASSERT(tn_var_read(step, &value, 8, &error) && value == 0);
    TN_ASSERT(tn_var_read(key, pair, 16, &error));
    TN_ASSERT(pair[0] == 0xfedcba9876543210u && pair[1] == 0);
    pair[1] = 12;
    TN_ASSERT(tn_var_write(key, pair, 16, &error));
    TN_ASSERT(tn_store_random_key(store, &error) == key && tn_store_step(store, &error) == step);
    TN_ASSERT(tn_var_read(key, pair, 16, &error) && pair[1] == 12); /* not drawn again */
    TN_ASSERT(tn_var_reset(key, &error) && tn_var_read(key, pair, 16, &error));
    TN_ASSERT(pair[0] == 0xfedcba9876543210u && pair[1] == 0);
    TN_ASSERT_CMPINT(tn_var_info(step)->role, ==, TN_ROLE_COUNTER);
    TN_ASSERT(tn_store_find(store, "train.step") == step &&
              tn_store_find(store, "random.key") == key);
    const TnVarInfo other = param("train.step", TN_DTYPE_F32, 0, NULL, (TnInit){ TN_INIT_ZEROS });
    TN_ASSERT(tn_store_var(store, NULL, &other, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "train.step");
}

/* --- What is drawn ---------------------------------------------------------------------------- */

/* The values of a fresh variable as f64. (transfer full): g_free. */
static double *
draw(guint64 seed, const TnVarInfo *info, TnDevice *device)
{
    g_autoptr(TnStore) store = tn_store_new(seed);
    g_autoptr(GError) error = NULL;
    TnVar *var = tn_store_var(store, device, info, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnTensor) host = tn_var_get(var, &error);
    g_autoptr(TnTensor) wide = tn_tensor_copy(host, NULL, TN_DTYPE_F64, &error);
    return g_memdup2(tn_storage_memory(tn_tensor_storage(wide)), (gsize)tn_tensor_bytes(wide));
}

/* The same numbers for any number of threads, order of creation and device; others for another name
 * or seed. */
static void
keyed(void)
{
    static const TnInitKind kinds[] = { TN_INIT_UNIFORM, TN_INIT_NORMAL, TN_INIT_ORTHOGONAL };
    Veil veil = { 0 };
    g_autoptr(TnDevice) device = veil_device(&veil);
    for (guint k = 0; k < G_N_ELEMENTS(kinds); k++) {
        const gsize n = 100 * 333;
        TnVarInfo info = param("a", TN_DTYPE_F32, 2, DIMS(100, 333), (TnInit){ kinds[k], 0, 1, 0 });
        tn_pool_set_threads(1);
        g_autofree double *one = draw(9, &info, NULL);
        tn_pool_set_threads(3);
        g_autofree double *three = draw(9, &info, NULL);
        g_autofree double *there = draw(9, &info, device);
        TN_ASSERT_BYTES(three, one, n * sizeof *one);
        TN_ASSERT_BYTES(there, one, n * sizeof *one);
        g_autofree double *other_seed = draw(10, &info, NULL);
        info.name = "b";
        g_autofree double *other_name = draw(9, &info, NULL);
        guint same_seed = 0, same_name = 0;
        for (gsize i = 0; i < n; i++) {
            same_seed += one[i] == other_seed[i];
            same_name += one[i] == other_name[i];
        }
        TN_ASSERT(same_seed < 10 && same_name < 10);
    }
    /* A longer variable begins like a shorter one: element i depends on i alone. */
    const TnVarInfo few = param("a", TN_DTYPE_F64, 1, DIMS(7), (TnInit){ TN_INIT_NORMAL, 0, 1, 0 });
    const TnVarInfo many =
        param("a", TN_DTYPE_F64, 1, DIMS(20001), (TnInit){ TN_INIT_NORMAL, 0, 1, 0 });
    g_autofree double *short_one = draw(1, &few, NULL), *long_one = draw(1, &many, NULL);
    TN_ASSERT_BYTES(short_one, long_one, 7 * sizeof *short_one);
    tn_pool_set_threads(2);
}

/* A new seed counts for variables made later; a reset draws what the first time drew. */
static void
seeds(void)
{
    g_autoptr(TnStore) store = tn_store_new(1);
    g_autoptr(GError) error = NULL;
    const TnInit init = { TN_INIT_UNIFORM, 0, 1, 0 };
    const TnVarInfo a = param("a", TN_DTYPE_F64, 1, DIMS(3), init),
                    b = param("b", TN_DTYPE_F64, 1, DIMS(3), init);
    TnVar *first = tn_store_var(store, NULL, &a, &error);
    tn_store_set_seed(store, 2);
    TnVar *second = tn_store_var(store, NULL, &b, &error);
    double got[3];
    TN_ASSERT(tn_var_write(first, (const double[]){ 1, 2, 3 }, sizeof got, &error));
    TN_ASSERT(tn_var_reset(first, &error) && tn_var_read(first, got, sizeof got, &error));
    g_autofree double *of_one = draw(1, &a, NULL), *of_two = draw(2, &b, NULL);
    TN_ASSERT_BYTES(got, of_one, sizeof got);
    TN_ASSERT(tn_var_read(second, got, sizeof got, &error));
    TN_ASSERT_BYTES(got, of_two, sizeof got);
}

/* Means and deviations by the formulas of the papers; dims [64, 32, 3, 3]: fan in 288, fan out
 * 576. */
static void
statistics(void)
{
    enum { N = 64 * 32 * 9 };
    const double gain = 1.5;
    const struct {
        TnInit init;
        double mean, deviation, bound; /* bound 0: normal */
    } kinds[] = {
        { { TN_INIT_UNIFORM, -1, 3, 0 }, 1, 4 / sqrt(12), 2 },
        { { TN_INIT_NORMAL, 2, 0.5, 0 }, 2, 0.5, 0 },
        { { TN_INIT_GLOROT_UNIFORM, 0, 0, 0 }, 0, sqrt(2.0 / 864), sqrt(6.0 / 864) },
        { { TN_INIT_GLOROT_UNIFORM, gain, 0, 0 },
          0,
          gain * sqrt(2.0 / 864),
          gain * sqrt(6.0 / 864) },
        { { TN_INIT_GLOROT_NORMAL, 0, 0, 0 }, 0, sqrt(2.0 / 864), 0 },
        { { TN_INIT_HE_UNIFORM, 0, 0, 0 }, 0, sqrt(2.0 / 288), sqrt(6.0 / 288) },
        { { TN_INIT_HE_NORMAL, 0, 0, 0 }, 0, sqrt(2.0 / 288), 0 },
        { { TN_INIT_HE_NORMAL, gain, 0, 0 }, 0, gain / sqrt(288), 0 },
        { { TN_INIT_HE_NORMAL, 0, 0, 100 }, 0, sqrt(2.0 / 100), 0 },
        { { TN_INIT_LECUN_UNIFORM, 0, 0, 0 }, 0, 1 / sqrt(288), sqrt(3.0 / 288) },
        { { TN_INIT_LECUN_NORMAL, 0, 0, 0 }, 0, 1 / sqrt(288), 0 },
        { { TN_INIT_FAN_IN_UNIFORM, 0, 0, 0 }, 0, 1 / sqrt(3 * 288.0), 1 / sqrt(288) },
    };
    for (guint k = 0; k < G_N_ELEMENTS(kinds); k++) {
        const TnVarInfo info = param("s", TN_DTYPE_F32, 4, DIMS(64, 32, 3, 3), kinds[k].init);
        g_autofree double *x = draw(3, &info, NULL);
        double mean = 0, square = 0, fourth = 0, most = 0;
        for (guint i = 0; i < N; i++) {
            const double d = x[i] - kinds[k].mean;
            mean += d / N;
            square += d * d / N;
            fourth += d * d * d * d / N;
            most = MAX(most, fabs(d));
        }
        const double s = kinds[k].deviation;
        TN_ASSERT_NEAR(mean, 0, 0, 5 * s / sqrt(N));
        TN_ASSERT_NEAR(square, s * s, 5 * sqrt(2.0 / N), 0);
        /* A normal number has the kurtosis 3, a uniform one 1.8. */
        TN_ASSERT_NEAR(fourth / (s * s * s * s), kinds[k].bound > 0 ? 1.8 : 3, 0, 0.2);
        if (kinds[k].bound > 0)
            TN_ASSERT(most <= kinds[k].bound * (1 + 1e-6) && most > kinds[k].bound * 0.999);
        else
            TN_ASSERT(most > 3.3 * s);
        /* Neighbours know nothing of each other. */
        double together = 0;
        for (guint i = 1; i < N; i++)
            together += (x[i] - kinds[k].mean) * (x[i - 1] - kinds[k].mean) / N;
        TN_ASSERT_NEAR(together / (s * s), 0, 0, 5 / sqrt(N));
    }
}

/* [a, b) in f32 and f64 does not reach b. */
static void
half_open(void)
{
    static const TnDtype dtypes[] = { TN_DTYPE_F32, TN_DTYPE_F64 };
    for (guint d = 0; d < G_N_ELEMENTS(dtypes); d++) {
        const TnVarInfo info =
            param("u", dtypes[d], 1, DIMS(500000), (TnInit){ TN_INIT_UNIFORM, 0, 1, 0 });
        g_autofree double *x = draw(4, &info, NULL);
        guint outside = 0;
        for (guint i = 0; i < 500000; i++)
            outside += x[i] < 0 || x[i] >= 1;
        TN_ASSERT_CMPUINT(outside, ==, 0);
    }
}

static void
orthogonal(void)
{
    static const struct {
        gint rank;
        gint64 dims[4];
        double gain;
    } shapes[] = { { 2, { 20, 20 }, 0 },     { 2, { 7, 31 }, 2 }, { 2, { 31, 7 }, 0.5 },
                   { 4, { 8, 3, 2, 2 }, 0 }, { 1, { 5 }, 0 },     { 2, { 1, 6 }, 0 },
                   { 0, { 0 }, 3 },          { 2, { 0, 4 }, 0 },  { 2, { 1, 1 }, 0 } };
    for (guint s = 0; s < G_N_ELEMENTS(shapes); s++) {
        const TnVarInfo info = param("q", TN_DTYPE_F64, shapes[s].rank, shapes[s].dims,
                                     (TnInit){ TN_INIT_ORTHOGONAL, shapes[s].gain, 0, 0 });
        g_autofree double *q = draw(s, &info, NULL);
        const gint64 count = tn_type_count(&info.type),
                     rows = shapes[s].rank > 0 ? shapes[s].dims[0] : 1;
        const gint64 columns = rows ? count / rows : 0, n = MIN(rows, columns),
                     m = MAX(rows, columns);
        const double square = shapes[s].gain != 0 ? shapes[s].gain * shapes[s].gain : 1;
        double worst = 0;
        for (gint64 i = 0; i < n; i++)
            for (gint64 j = 0; j < n; j++) {
                double product = 0;
                for (gint64 k = 0; k < m; k++)
                    product += rows <= columns ? q[i * columns + k] * q[j * columns + k]
                                               : q[k * columns + i] * q[k * columns + j];
                worst = MAX(worst, fabs(product - (i == j ? square : 0)));
            }
        TN_ASSERT_CMPFLOAT(worst, <, 1e-13 * square);
    }
    /* Drawn evenly: the first entry of a 3 x 3 has mean 0 and variance 1 / 3. */
    double mean = 0, square = 0;
    for (guint i = 0; i < 3000; i++) {
        const TnVarInfo info =
            param("q", TN_DTYPE_F64, 2, DIMS(3, 3), (TnInit){ TN_INIT_ORTHOGONAL });
        g_autofree double *q = draw(i, &info, NULL);
        mean += q[0] / 3000;
        square += q[0] * q[0] / 3000;
    }
    TN_ASSERT_NEAR(mean, 0, 0, 5 * sqrt(1.0 / 3 / 3000));
    TN_ASSERT_NEAR(square, 1.0 / 3, 0, 5 * sqrt(0.09 / 3000));
}

static void
dtypes(void)
{
    for (gint d = 1; d < TN_N_DTYPES; d++) {
        const TnVarInfo info =
            param("c", (TnDtype)d, 1, DIMS(300), (TnInit){ TN_INIT_CONSTANT, .a = 1 });
        g_autofree double *x = draw(0, &info, NULL);
        TN_ASSERT(x[0] == 1 && x[299] == 1);
        const TnVarInfo empty =
            param("e", (TnDtype)d, 2, DIMS(3, 0), (TnInit){ TN_INIT_HE_NORMAL });
        g_free(draw(0, &empty, NULL));
    }
}

/* --- No memory -------------------------------------------------------------------------------- */

static void
no_memory(void)
{
    Veil veil = { 0 };
    g_autoptr(TnDevice) device = veil_device(&veil);
    guint failures = 0;
    for (guint nth = 1;; nth++) {
        g_autoptr(TnStore) store = tn_store_new(1);
        g_autoptr(GError) error = NULL;
        const TnVarInfo info =
            param("q", TN_DTYPE_F32, 2, DIMS(8, 9), (TnInit){ TN_INIT_ORTHOGONAL });
        (void)tn_data_fail_nth(nth);
        TnVar *var = tn_store_var(store, device, &info, &error);
        TnTensor *got = var ? tn_var_get(var, &error) : NULL;
        (void)tn_data_fail_nth(0);
        if (got) {
            tn_tensor_unref(got);
            break;
        }
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NO_MEMORY, "out of memory");
        TN_ASSERT_CMPUINT(tn_store_n(store), ==, var ? 1 : 0);
        failures++;
    }
    TN_ASSERT_CMPUINT(failures, >=, 4);
    TN_ASSERT_CMPUINT(veil.allocations, ==, veil.frees);
}

static const TnTest tests[] = {
    { "by-name", by_name },     { "reads-and-writes", reads_and_writes },
    { "counters", counters },   { "keyed", keyed },
    { "seeds", seeds },         { "statistics", statistics },
    { "half-open", half_open }, { "orthogonal", orthogonal },
    { "dtypes", dtypes },       { "no-memory", no_memory },
};
TN_TEST_MAIN("store", tests)
