/* oneDNN's products and convolutions of 8-bit numbers against plain loops: every pair of types, zero
 * points of every kind, extremes, sizes that fill no block, several slices. Exact, and the same with
 * any number of threads. */
// tn-test: timeout=240 label=threads
#include "cpu_run.h"

#include <tenon/nn.h>

static guint64 state = 4321;

static void
open_all(void)
{
    g_autoptr(GError) error = NULL;
    g_setenv("TENON_ONEDNN", "all", FALSE);
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    if (!tn_registry_open("onednn", &error)) {
        tn_test_skip("%s", error->message);
    }
}

/* Integers in [low, high], ends too. */
static Array
random_array(TnDtype dtype, gint low, gint high, gint rank, const gint64 *dims)
{
    Array array = array_new(tn_type(dtype, rank, dims), NULL);
    for (gint64 i = 0; i < array.arg.count; i++) {
        array_set(&array, i, low + (gint)(noise(&state) >> 33) % (high - low + 1));
    }
    return array;
}

static Array
eight_bits(TnDtype dtype, gint rank, const gint64 *dims)
{
    const gboolean is_signed = dtype == TN_DTYPE_I8;
    return random_array(dtype, is_signed ? -128 : 0, is_signed ? 127 : 255, rank, dims);
}

/* Numbers of [0.002, 0.02]. */
static Array
scales(gint rank, gint64 n)
{
    Array array = array_new(tn_type(TN_DTYPE_F32, rank, &n), NULL);
    for (gint64 i = 0; i < array.arg.count; i++) {
        array_set(&array, i, 0.002 + 0.018 * noise_unit(&state));
    }
    return array;
}

typedef struct {
    TnDtype x, w, y; /* y i32: conv_integer, matmul_integer */
    gboolean zeros, each, bias;
} Types;

static const Types types[] = {
    { TN_DTYPE_U8, TN_DTYPE_I8, TN_DTYPE_I32, .zeros = FALSE },
    { TN_DTYPE_U8, TN_DTYPE_U8, TN_DTYPE_I32, .zeros = TRUE, .each = TRUE },
    { TN_DTYPE_I8, TN_DTYPE_I8, TN_DTYPE_I32, .zeros = TRUE },
    { TN_DTYPE_I8, TN_DTYPE_U8, TN_DTYPE_I32, .zeros = FALSE },
    { TN_DTYPE_U8, TN_DTYPE_I8, TN_DTYPE_U8, .zeros = TRUE, .each = TRUE, .bias = TRUE },
    { TN_DTYPE_I8, TN_DTYPE_U8, TN_DTYPE_I8, .zeros = TRUE },
};

/* A call's inputs but for x and w. */
enum { MOST = 9 };
typedef struct {
    Array in[MOST];
    gint n;
    gint x, x_zero, w, w_zero; /* positions */
    gint *of_x, *of_w;         /* their numbers */
} Call;

static gint *
numbers_of(const Array *array)
{
    gint *all = g_new(gint, (gsize)array->arg.count);
    for (gint64 i = 0; i < array->arg.count; i++) {
        all[i] = (gint)array_get(array, i);
    }
    return all;
}

static Call
call_new(const Types *t, Array x, Array w, gint64 maps, gboolean bias)
{
    const gboolean quantized = t->y != TN_DTYPE_I32;
    const gint each = t->each ? 1 : 0;
    Call c = { .x = 0, .x_zero = 2, .w = 1, .w_zero = 3, .n = t->zeros ? 4 : 2 };
    if (quantized) {
        c.w = 3;
        c.w_zero = 5;
        c.n = bias ? 9 : 8;
        c.in[1] = scales(0, 1);
        c.in[4] = scales(each, maps);
        c.in[6] = scales(0, 1);
        array_set(&c.in[6], 0, 0.8);
        c.in[7] = eight_bits(t->y, 0, NULL);
        c.in[8] = random_array(TN_DTYPE_I32, -20000, 20000, 1, &maps);
    }
    c.in[c.x] = x;
    c.in[c.w] = w;
    c.of_x = numbers_of(&x);
    c.of_w = numbers_of(&w);
    if (t->zeros) {
        c.in[c.x_zero] = eight_bits(t->x, 0, NULL);
        c.in[c.w_zero] = eight_bits(t->w, each, &maps);
    }
    return c;
}

static gint
zero_of(const Array *zero, gint64 i)
{
    return zero->block == NULL ? 0 : (gint)array_get(zero, zero->arg.type.rank == 0 ? 0 : i);
}

/* What a sum of column or map `col` becomes. */
static double
finished(const Types *t, const Call *c, gint64 col, gint64 sum)
{
    if (t->y == TN_DTYPE_I32) {
        return (double)sum;
    }
    const gboolean is_signed = t->y == TN_DTYPE_I8;
    const gint64 with = sum + (c->n > 8 ? (gint64)array_get(&c->in[8], col) : 0);
    const gint64 scale = c->in[4].arg.type.rank == 0 ? 0 : col;
    const float both = (float)array_get(&c->in[1], 0) * (float)array_get(&c->in[4], scale);
    const float steps = (float)with * (both / (float)array_get(&c->in[6], 0));
    const double q = rint((double)steps) + array_get(&c->in[7], 0);
    return CLAMP(q, is_signed ? -128 : 0, is_signed ? 127 : 255);
}

/* Runs it with several numbers of threads; want is of each element. */
static void
check(const char *name, const void *attrs, const Call *c, const double *want)
{
    const TnOp *op = tn_op_find(name, NULL);
    gint n_out;
    TN_REQUIRE(op != NULL);
    for (guint threads = 1; threads <= 3; threads++) {
        Array out[TN_MAX_OUT];
        batch_invariant = threads == 3; /* they may be taken then */
        tn_pool_set_threads(threads);
        TN_REQUIRE(outputs_new(op, attrs, c->n, c->in, NULL, &n_out, out, NULL));
        TN_REQUIRE(kernel_run("cpu", op, attrs, c->n, c->in, 1, out, NULL) == TN_OK);
        TN_ASSERT(array_intact(&out[0]));
        for (gint64 i = 0; i < out[0].arg.count; i++) {
            if (array_get(&out[0], i) != want[i]) {
                TN_FAIL("%s, %u threads: element %d is %g, expected %g", name, threads, (gint)i,
                        array_get(&out[0], i), want[i]);
                break;
            }
        }
        array_clear(&out[0]);
    }
    batch_invariant = FALSE;
    tn_pool_set_threads(1);
}

static void
call_clear(Call *c)
{
    for (gint i = 0; i < MOST; i++) {
        if (c->in[i].block != NULL) {
            array_clear(&c->in[i]);
        }
    }
    g_free(c->of_x);
    g_free(c->of_w);
}

/* --- Products --------------------------------------------------------------------------------- */

static void
check_product(const Types *t, gint64 m, gint64 k, gint64 n)
{
    const gint64 a_dims[] = { m, k }, b_dims[] = { k, n };
    Call c = call_new(t, eight_bits(t->x, 2, a_dims), eight_bits(t->w, 2, b_dims), n, FALSE);
    const gboolean rows = t->y == TN_DTYPE_I32 && t->each; /* zero points of a's rows, too */
    if (rows) {
        array_clear(&c.in[c.x_zero]);
        c.in[c.x_zero] = eight_bits(t->x, 1, &m);
    }
    g_autofree double *want = g_new(double, (gsize)(m * n));
    for (gint64 i = 0; i < m * n; i++) {
        const gint64 row = i / n, col = i % n;
        gint64 sum = 0;
        const gint a_zero = zero_of(&c.in[c.x_zero], row), b_zero = zero_of(&c.in[c.w_zero], col);
        for (gint64 l = 0; l < k; l++) {
            sum += (gint64)(c.of_x[row * k + l] - a_zero) * (c.of_w[l * n + col] - b_zero);
        }
        want[i] = finished(t, &c, col, sum);
    }
    check(t->y == TN_DTYPE_I32 ? "matmul_integer" : "qlinear_matmul", NULL, &c, want);
    call_clear(&c);
}

static void
products(void)
{
    static const gint64 sizes[][3] = {
        { 1, 7, 3 }, { 5, 1, 17 }, { 19, 131, 33 }, { 70, 130, 140 }, { 300, 33, 37 },
    };
    open_all();
    for (guint i = 0; i < G_N_ELEMENTS(types); i++) {
        for (guint k = 0; k < G_N_ELEMENTS(sizes); k++) {
            check_product(&types[i], sizes[k][0], sizes[k][1], sizes[k][2]);
        }
    }
}

/* --- Convolutions ----------------------------------------------------------------------------- */

typedef struct {
    gint64 n, channels, maps, x[2], kernel[2];
    TnConvAttrs attrs;
} Conv;

static gint64
conv_sum(const Conv *k, const Call *c, const gint64 *out, gint64 at)
{
    const gint64 col = at % out[1], row = at / out[1] % out[0], m = at / out[1] / out[0] % k->maps;
    const gint64 image = at / out[1] / out[0] / k->maps, depth = k->channels / k->attrs.group;
    const gint64 group = m / (k->maps / k->attrs.group);
    const TnConvAxis y = tn_conv_axis(&k->attrs, 2, 0), x = tn_conv_axis(&k->attrs, 2, 1);
    const gint x_zero = zero_of(&c->in[c->x_zero], 0), w_zero = zero_of(&c->in[c->w_zero], m);
    gint64 sum = 0;
    for (gint64 i = 0; i < depth * k->kernel[0] * k->kernel[1]; i++) {
        const gint64 v = i % k->kernel[1], u = i / k->kernel[1] % k->kernel[0],
                     d = i / k->kernel[1] / k->kernel[0];
        const gint64 from_row = row * y.stride + u * y.dilation - y.pad_begin;
        const gint64 from_col = col * x.stride + v * x.dilation - x.pad_begin;
        if (from_row < 0 || from_row >= k->x[0] || from_col < 0 || from_col >= k->x[1]) {
            continue;
        }
        const gint64 from =
            ((image * k->channels + group * depth + d) * k->x[0] + from_row) * k->x[1] + from_col;
        sum += (gint64)(c->of_x[from] - x_zero) *
               (c->of_w[m * depth * k->kernel[0] * k->kernel[1] + i] - w_zero);
    }
    return sum;
}

static void
check_conv(const Types *t, const Conv *k)
{
    const gint64 x[] = { k->n, k->channels, k->x[0], k->x[1] };
    const gint64 w[] = { k->maps, k->channels / k->attrs.group, k->kernel[0], k->kernel[1] };
    gint64 out[2];
    for (gint i = 0; i < 2; i++) {
        const TnConvAxis a = tn_conv_axis(&k->attrs, 2, i);
        out[i] =
            (k->x[i] + a.pad_begin + a.pad_end - (k->kernel[i] - 1) * a.dilation - 1) / a.stride +
            1;
    }
    Call c = call_new(t, eight_bits(t->x, 4, x), eight_bits(t->w, 4, w), k->maps, t->bias);
    const gint64 count = k->n * k->maps * out[0] * out[1];
    g_autofree double *want = g_new(double, (gsize)count);
    for (gint64 i = 0; i < count; i++) {
        want[i] = finished(t, &c, i / (out[0] * out[1]) % k->maps, conv_sum(k, &c, out, i));
    }
    check(t->y == TN_DTYPE_I32 ? "conv_integer" : "qlinear_conv", &k->attrs, &c, want);
    call_clear(&c);
}

static void
convolutions(void)
{
    static const Conv convs[] = {
        { 1, 3, 5, { 9, 7 }, { 3, 3 }, { .group = 1, .pads = { 4, { 1, 2, 0, 1 } } } },
        { 2, 17, 70, { 6, 9 }, { 1, 1 }, { .group = 1, .strides = { 2, { 2, 1 } } } },
        { 9,
          5,
          33,
          { 7, 6 },
          { 3, 2 },
          { .group = 1, .strides = { 2, { 2, 3 } }, .pads = { 4, { 1, 1, 1, 1 } } } },
        { 2,
          12,
          8,
          { 8, 8 },
          { 3, 3 },
          { .group = 4, .dilations = { 2, { 2, 1 } }, .pads = { 4, { 2, 0, 2, 1 } } } },
    };
    open_all();
    for (guint i = 0; i < G_N_ELEMENTS(types); i++) {
        for (guint k = 0; k < G_N_ELEMENTS(convs); k++) {
            check_conv(&types[i], &convs[k]);
        }
    }
}

static const TnTest tests[] = { { "products", products }, { "convolutions", convolutions } };

TN_TEST_MAIN("onednn integer", tests)
