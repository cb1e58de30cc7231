/* What inference of convolutional networks in bf16 is made of on the cpu device: convolutions of images
 * in blocks of 32 channels against sums as they are defined, maxima over windows, and linear layers for
 * a few samples: at sizes around every border (tiles, pairs of them, lines, blocks, groups), with and
 * without what follows; the same bits for any number of threads; NaN and infinity; with every way of
 * multiplying that there is. */
// tn-test: timeout=120
#include <tenon/nn.h>

#include "cpu_run.h"

#define L TN_PAIR_LANES

static guint64 state = 0xc0bf16ull;

static Array
random_array(TnDtype dtype, gint rank, const gint64 *dims)
{
    Array array = array_new(tn_type(dtype, rank, dims), NULL);
    for (gint64 i = 0; i < array.arg.count; i++) {
        array_set(&array, i, 2 * noise_unit(&state) - 1);
    }
    return array;
}

static void
compare(const char *what, const Array *got, const double *want, double terms)
{
    TN_ASSERT(array_intact(got));
    for (gint64 i = 0; i < got->arg.count; i++) {
        const double a = array_get(got, i), b = want[i];
        const gboolean same = isnan(b)   ? isnan(a)
                              : isinf(b) ? a == b
                                         : fabs(a - b) <= fabs(b) / 128 + 1e-6 * (terms + 1);
        if (!same) {
            TN_FAIL("%s: element %d is %g, expected %g", what, (int)i, a, b);
            return;
        }
    }
}

/* On cpu with one thread and with three; the inputs are cleared. */
static void
check(const char *name, const void *attrs, gint n, Array *in, const double *want, double terms,
      const char *what)
{
    Array got[2];
    gint n_out;
    for (guint t = 0; t < 2; t++) {
        tn_pool_set_threads(1 + 2 * t);
        op_run("cpu", name, attrs, n, in, &n_out, &got[t]);
    }
    compare(what, &got[0], want, terms);
    TN_ASSERT(memcmp(got[0].block, got[1].block, got[0].bytes) == 0);
    array_clear(&got[0]);
    array_clear(&got[1]);
    for (gint i = 0; i < n; i++) {
        array_clear(&in[i]);
    }
    tn_pool_set_threads(1);
}

/* --- Convolutions ----------------------------------------------------------------------------- */

typedef struct {
    gint64 images, channels, maps, x[2], k[2];
    TnConvAttrs attrs;
    gboolean blocks, bias, more, relu, wide;
} Conv;

static const Conv convs[] = {
    /* 1 x 1: one line an image; fewer places than a tile, whole tiles, an odd one, a rest */
    { 1, 32, 32, { 2, 3 }, { 1, 1 }, { 1 }, TRUE },
    { 2, 64, 32, { 7, 7 }, { 1, 1 }, { 1 }, TRUE, TRUE, TRUE, TRUE },
    { 1, 32, 96, { 8, 6 }, { 1, 1 }, { 1 }, TRUE, FALSE, TRUE, FALSE, TRUE },
    { 3, 32, 64, { 5, 13 }, { 1, 1 }, { 1, .strides = { 2, { 2, 2 } } }, TRUE, TRUE, FALSE, TRUE },
    /* 3 x 3: one line with what is between rows, and a line a row */
    { 1, 64, 64, { 7, 7 }, { 3, 3 }, { 1, .pads = { 4, { 1, 1, 1, 1 } } }, TRUE, TRUE, TRUE, TRUE },
    { 2,
      32,
      32,
      { 9, 18 },
      { 3, 3 },
      { 1, .pads = { 4, { 1, 1, 1, 1 } } },
      TRUE,
      FALSE,
      FALSE,
      TRUE,
      TRUE },
    { 1, 32, 64, { 6, 37 }, { 3, 3 }, { 1 }, TRUE, TRUE },
    { 1,
      64,
      32,
      { 9, 37 },
      { 3, 3 },
      { 1, .strides = { 2, { 2, 2 } }, .pads = { 4, { 1, 0, 1, 2 } } },
      TRUE,
      TRUE,
      TRUE },
    { 1, 64, 128, { 6, 5 }, { 3, 3 }, { 2, .pads = { 4, { 1, 1, 1, 1 } } }, TRUE, TRUE },
    { 2,
      32,
      32,
      { 9, 8 },
      { 2, 3 },
      { 1, .strides = { 2, { 1, 2 } }, .dilations = { 2, { 2, 3 } },
        .pads = { 4, { 0, 3, 1, 2 } } },
      TRUE },
    /* enough for many chunks */
    { 1, 64, 128, { 14, 14 }, { 3, 3 }, { 1, .pads = { 4, { 1, 1, 1, 1 } } }, TRUE, TRUE },
    { 1, 32, 64, { 24, 24 }, { 3, 3 }, { 1, .pads = { 4, { 1, 1, 1, 1 } } }, TRUE, TRUE },
    /* steps in parts, taken in turn by more pairs of tiles than are at once */
    { 1,
      96,
      32,
      { 17, 18 },
      { 3, 3 },
      { 1, .pads = { 4, { 1, 1, 1, 1 } } },
      TRUE,
      TRUE,
      TRUE,
      TRUE },
    { 2, 352, 32, { 9, 11 }, { 1, 1 }, { 1 }, TRUE, TRUE, TRUE },
    { 1, 2464, 32, { 5, 7 }, { 1, 1 }, { 1 }, TRUE, TRUE, TRUE, TRUE },
    /* places a step apart beside each other: some of them are never seen, dilations, other steps */
    { 1, 64, 32, { 14, 15 }, { 1, 1 }, { 1, .strides = { 2, { 3, 2 } } }, TRUE, TRUE },
    { 2,
      32,
      64,
      { 15, 24 },
      { 2, 1 },
      { 1, .strides = { 2, { 3, 3 } }, .pads = { 4, { 0, 1, 2, 0 } } },
      TRUE,
      TRUE,
      TRUE,
      TRUE },
    { 1,
      32,
      32,
      { 13, 31 },
      { 3, 2 },
      { 1, .strides = { 2, { 2, 3 } }, .dilations = { 2, { 1, 5 } },
        .pads = { 4, { 1, 3, 1, 4 } } },
      TRUE,
      FALSE,
      TRUE },
    { 1,
      64,
      64,
      { 14, 14 },
      { 3, 3 },
      { 2, .strides = { 2, { 2, 2 } }, .pads = { 4, { 1, 1, 1, 1 } } },
      TRUE,
      TRUE,
      FALSE,
      TRUE,
      TRUE },
    /* images as they are: one step a row of the window, several, and none between places */
    { 1,
      3,
      64,
      { 21, 22 },
      { 7, 7 },
      { 1, .strides = { 2, { 2, 2 } }, .pads = { 4, { 3, 3, 3, 3 } } },
      FALSE,
      TRUE,
      FALSE,
      TRUE },
    { 2, 20, 32, { 6, 19 }, { 3, 3 }, { 1, .pads = { 4, { 1, 1, 1, 1 } } }, FALSE, TRUE, TRUE },
    { 1, 48, 32, { 4, 5 }, { 1, 1 }, { 1 }, FALSE, FALSE, FALSE, FALSE, TRUE },
    { 1,
      1,
      32,
      { 5, 4 },
      { 2, 3 },
      { 1, .strides = { 2, { 1, 3 } }, .pads = { 4, { 0, 2, 2, 0 } } },
      FALSE },
};

/* (transfer full). */
static double *
numbers(const Array *array)
{
    double *all = g_new(double, array->arg.count + 1);
    for (gint64 i = 0; i < array->arg.count; i++) {
        all[i] = array_get(array, i);
    }
    return all;
}

static double
image_at(const Conv *c, const double *x, gint64 n, gint64 channel, gint64 i, gint64 j)
{
    if (i < 0 || i >= c->x[0] || j < 0 || j >= c->x[1]) {
        return 0;
    }
    const gint64 place = i * c->x[1] + j, plane = c->x[0] * c->x[1];
    return x[c->blocks ? ((n * (c->channels / L) + channel / L) * plane + place) * L + channel % L
                       : (n * c->channels + channel) * plane + place];
}

/* channel: within the group. */
static double
weight_at(const Conv *c, const double *w, gint64 map, gint64 channel, gint64 i, gint64 j)
{
    const gint64 channels = c->channels / c->attrs.group, place = i * c->k[1] + j;
    const gint64 plane = c->k[0] * c->k[1];
    if (!c->blocks) {
        return w[((map / L * plane + place) * channels + channel) * L + map % L];
    }
    const gint64 block = (map / L * (channels / L) + channel / L) * plane + place;
    return w[((block * (L / 2) + channel % L / 2) * L + map % L) * 2 + channel % 2];
}

static double
sum_at(const Conv *c, const double *x, const double *w, gint64 n, gint64 map, gint64 oi, gint64 oj)
{
    const TnConvAxis down = tn_conv_axis(&c->attrs, 2, 0), along = tn_conv_axis(&c->attrs, 2, 1);
    const gint64 channels = c->channels / c->attrs.group;
    const gint64 first = map / (c->maps / c->attrs.group) * channels;
    double sum = 0;
    for (gint64 i = 0; i < c->k[0]; i++) {
        for (gint64 j = 0; j < c->k[1]; j++) {
            const gint64 row = oi * down.stride - down.pad_begin + i * down.dilation;
            const gint64 column = oj * along.stride - along.pad_begin + j * along.dilation;
            for (gint64 k = 0; k < channels; k++) {
                sum += image_at(c, x, n, first + k, row, column) * weight_at(c, w, map, k, i, j);
            }
        }
    }
    return sum;
}

/* (transfer full): the result as it is defined, given its type. */
static double *
expected(const Conv *c, const TnType *type, const Array *in)
{
    double *want = g_new(double, tn_type_count(type));
    g_autofree double *x = numbers(&in[0]), *w = numbers(&in[1]);
    gint64 at = 0;
    for (gint64 n = 0; n < type->dims[0]; n++) {
        for (gint64 block = 0; block < type->dims[1]; block++) {
            for (gint64 place = 0; place < type->dims[2] * type->dims[3]; place++) {
                for (gint64 lane = 0; lane < L; lane++, at++) {
                    const gint64 map = block * L + lane;
                    double y =
                        sum_at(c, x, w, n, map, place / type->dims[3], place % type->dims[3]);
                    y += c->bias ? array_get(&in[2], map) : 0;
                    y += c->more ? array_get(&in[3], at) : 0;
                    want[at] = c->relu && y < 0 ? 0 : y;
                }
            }
        }
    }
    return want;
}

/* odd: what one of the images' numbers is; 0: like the others. */
static void
convolve(const Conv *c, double odd)
{
    const gint64 group = c->attrs.group, channels = c->channels / group;
    const gint64 x[] = { c->images, c->channels / L, c->x[0], c->x[1], L };
    const gint64 x_plain[] = { c->images, c->channels, c->x[0], c->x[1] };
    const gint64 w[] = { c->maps / L, channels / L, c->k[0], c->k[1], L / 2, L, 2 };
    const gint64 w_plain[] = { c->maps / L, c->k[0], c->k[1], channels, L, 1 };
    const TnConvBlockedAttrs attrs = { c->attrs, c->relu, c->wide };
    const TnOp *op = tn_op_find("conv_blocked", NULL);
    const Array none = { 0 };
    Array in[] = { random_array(TN_DTYPE_BF16, c->blocks ? 5 : 4, c->blocks ? x : x_plain),
                   random_array(TN_DTYPE_BF16, c->blocks ? 7 : 6, c->blocks ? w : w_plain),
                   c->bias ? random_array(TN_DTYPE_BF16, 1, &c->maps) : none, none };
    TnType types[] = { in[0].arg.type, in[1].arg.type, in[2].arg.type, { 0 } }, out[TN_MAX_OUT];
    gint n_out;
    g_autoptr(GError) error = NULL;
    tn_op_infer(op, &attrs, "test", 4, types, NULL, &n_out, out, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPINT(out[0].dtype, ==, c->wide ? TN_DTYPE_F32 : TN_DTYPE_BF16);
    if (c->more) {
        in[3] = random_array(TN_DTYPE_BF16, 5, out[0].dims);
    }
    if (odd != 0) {
        array_set(&in[0], in[0].arg.count / 2, odd);
    }
    g_autofree double *want = expected(c, &out[0], in);
    g_autofree char *what = g_strdup_printf("%d channels of %d x %d to %d maps", (int)c->channels,
                                            (int)c->x[0], (int)c->x[1], (int)c->maps);
    check("conv_blocked", &attrs, 4, in, want, (double)(channels * c->k[0] * c->k[1]), what);
}

static void
convolutions(void)
{
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    for (guint i = 0; i < G_N_ELEMENTS(convs); i++) {
        convolve(&convs[i], 0);
    }
}

/* Lines of 1 to 33 places, beside each other in memory and apart: groups of every number of them. */
static void
numbers_of_places(void)
{
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    for (gint64 n = 1; n <= 33; n++) {
        for (gint64 step = 1; step <= 2; step++) {
            const Conv c = { 1,        64,
                             32,       { 1, step * (n - 1) + 1 },
                             { 1, 1 }, { 1, .strides = { 2, { 1, step } } },
                             TRUE,     TRUE };
            convolve(&c, 0);
        }
    }
}

static void
odd_numbers(void)
{
    static const double odd[] = { NAN, INFINITY, -INFINITY };
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    for (guint i = 0; i < G_N_ELEMENTS(convs); i++) {
        if (convs[i].images * convs[i].maps < 512) {
            convolve(&convs[i], odd[i % 3]);
        }
    }
}

/* --- Pooling ---------------------------------------------------------------------------------- */

static void
pool(gint64 lanes, TnInts kernel, TnInts strides, TnInts pads, double odd)
{
    const gint64 dims[] = { 2, 3, 9, 8, lanes };
    const gint n = lanes > 1 ? 3 : 2;
    const TnPoolAttrs attrs = { .window = {
                                    .kernel_shape = kernel, .strides = strides, .pads = pads } };
    Array in = random_array(TN_DTYPE_BF16, 2 + n, dims), got[2];
    TnType wide = in.arg.type;
    wide.dtype = TN_DTYPE_F32;
    Array same = array_new(wide, NULL), want;
    gint n_out;
    array_set(&in, 3 * lanes, odd);
    for (gint64 i = 0; i < in.arg.count; i++) {
        array_set(&same, i, array_get(&in, i));
    }
    op_run("cpu", "max_pool", &attrs, 1, &same, &n_out, &want);
    for (guint t = 0; t < 2; t++) {
        tn_pool_set_threads(1 + 2 * t);
        op_run("cpu", "max_pool", &attrs, 1, &in, &n_out, &got[t]);
        TN_ASSERT(array_intact(&got[t]));
        for (gint64 i = 0; i < want.arg.count; i++) {
            const double a = array_get(&got[t], i), b = array_get(&want, i);
            TN_ASSERT(a == b || (isnan(a) && isnan(b)));
        }
        array_clear(&got[t]);
    }
    tn_pool_set_threads(1);
    array_clear(&in);
    array_clear(&same);
    array_clear(&want);
}

static void
maxima(void)
{
    static const double odd[] = { NAN, -NAN, INFINITY, -INFINITY, -0.0 };
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    for (guint i = 0; i < G_N_ELEMENTS(odd); i++) {
        pool(L, (TnInts){ 3, { 3, 3, 1 } }, (TnInts){ 3, { 2, 2, 1 } },
             (TnInts){ 6, { 1, 1, 0, 1, 1, 0 } }, odd[i]);
        pool(5, (TnInts){ 3, { 2, 3, 1 } }, (TnInts){ 3, { 1, 2, 1 } }, (TnInts){ 0 }, odd[i]);
        pool(1, (TnInts){ 2, { 3, 2 } }, (TnInts){ 2, { 2, 1 } }, (TnInts){ 4, { 1, 0, 0, 1 } },
             odd[i]);
    }
}

/* --- Linear layers ---------------------------------------------------------------------------- */

static void
layer(gint64 rows, gint64 k, gint64 n, gboolean bias, double odd)
{
    const gint64 x[] = { rows, k }, w[] = { n, k };
    const Array none = { 0 };
    Array in[] = { random_array(TN_DTYPE_BF16, 2, x), random_array(TN_DTYPE_BF16, 2, w),
                   bias ? random_array(TN_DTYPE_BF16, 1, &n) : none };
    g_autofree double *want = g_new(double, rows *n);
    if (odd != 0) {
        array_set(&in[1], k - 1, odd);
    }
    for (gint64 at = 0; at < rows * n; at++) {
        want[at] = bias ? array_get(&in[2], at % n) : 0;
        for (gint64 i = 0; i < k; i++) {
            want[at] += array_get(&in[0], at / n * k + i) * array_get(&in[1], at % n * k + i);
        }
    }
    check("linear", NULL, bias ? 3 : 2, in, want, (double)k, "linear");
}

static void
layers(void)
{
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    for (gint64 rows = 1; rows <= 5; rows++) {
        layer(rows, 1, 3, FALSE, 0);
        layer(rows, 31, 7, TRUE, 0);
        layer(rows, 130, 50, rows % 2 == 0, 0);
        layer(rows, 545, 300, TRUE, INFINITY);
        layer(rows, 32, 2, FALSE, NAN);
    }
}

/* --- Ways of multiplying ---------------------------------------------------------------------- */

static void
other_instruction_sets(void)
{
    static const char *const sets[] = { "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2",
                                        "TENON_CPU_ISA=avx512", "TENON_CPU_ISA=avx512_bf16" };
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    for (guint i = 0; i < G_N_ELEMENTS(sets); i++) {
        const char *const command[] = { self,          "convolutions", "numbers of places",
                                        "odd numbers", "maxima",       "layers",
                                        NULL };
        const char *const env[] = { sets[i], NULL };
        TnChildOptions options = { .env = env, .timeout = 100 };
        g_auto(TnChild) child = { 0 };
        if (tn_test_spawn(&child, command, &options)) {
            TN_ASSERT_EXIT(&child, 0);
        }
    }
}

static const TnTest tests[] = {
    { "convolutions", convolutions },
    { "numbers of places", numbers_of_places },
    { "odd numbers", odd_numbers },
    { "maxima", maxima },
    { "layers", layers },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("cpu conv bf16", tests)
