/* oneDNN's convolutions and dense layers of 8-bit numbers with what follows them against loops by the definition:
 * exact for windows of every rank, channels and maps that fill no tile, many places or few, on other instruction
 * sets, too, where the plugin cpu takes over if sums would saturate. */
// tn-test: timeout=240 label=threads
#include "cpu_run.h"

#include <tenon/nn.h>

enum { X, W, X_ZERO, OFFSET, SCALE, BIAS, MORE, MORE_SCALE, MORE_ZERO, Y_SCALE, Y_ZERO, N_IN };
enum { AXES = 3 };

typedef enum { NONE, NUMBERS, STEPS } More;

/* n axes of the window; those of `x` and `kernel` that are missing come first and are 1. */
typedef struct {
    gint n;
    gint64 images, x[AXES], channels, maps, kernel[AXES], stride, pad, gap;
    gboolean relu, narrow;
    More more;
} Case;

static const Case cases[] = {
    { 0, 5, { 1, 1, 1 }, 64, 33, { 1, 1, 1 }, 1, 0, 1, TRUE, TRUE, NONE },
    { 0, 300, { 1, 1, 1 }, 130, 17, { 1, 1, 1 }, 1, 0, 1, FALSE, TRUE, STEPS },
    { 0, 1, { 1, 1, 1 }, 192, 1000, { 1, 1, 1 }, 1, 0, 1, FALSE, FALSE, NONE },
    { 1, 3, { 1, 1, 50 }, 7, 5, { 1, 1, 4 }, 2, 2, 1, FALSE, FALSE, NUMBERS },
    { 2, 1, { 1, 9, 7 }, 64, 32, { 1, 3, 3 }, 1, 1, 1, TRUE, TRUE, NONE },
    { 2, 2, { 1, 9, 5 }, 64, 33, { 1, 1, 1 }, 1, 0, 1, FALSE, TRUE, STEPS },
    { 2, 3, { 1, 9, 11 }, 40, 150, { 1, 1, 1 }, 2, 0, 1, TRUE, TRUE, NUMBERS },
    { 2, 1, { 1, 20, 23 }, 3, 70, { 1, 7, 7 }, 2, 3, 1, TRUE, FALSE, STEPS },
    { 2, 2, { 1, 8, 6 }, 17, 48, { 1, 2, 3 }, 1, 2, 2, FALSE, FALSE, NONE },
    { 2, 1, { 1, 5, 6 }, 70, 200, { 1, 3, 2 }, 1, 4, 1, FALSE, TRUE, NONE },
    { 2, 2, { 1, 30, 40 }, 64, 64, { 1, 3, 3 }, 1, 1, 1, TRUE, TRUE, STEPS },
    { 3, 2, { 5, 4, 6 }, 6, 19, { 2, 3, 2 }, 1, 1, 2, TRUE, TRUE, NUMBERS },
};

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

/* --- Inputs ----------------------------------------------------------------------------------- */

static gint64
gap_of(const Case *c, gint axis)
{
    return axis == AXES - 1 || axis < AXES - c->n ? 1 : c->gap;
}

static gint64
out_size(const Case *c, gint axis)
{
    const gint64 pad = axis < AXES - c->n ? 0 : c->pad;
    const gint64 step = axis < AXES - c->n ? 1 : c->stride;
    return (c->x[axis] + 2 * pad - (c->kernel[axis] - 1) * gap_of(c, axis) - 1) / step + 1;
}

static gint64
rows_of(const Case *c)
{
    return c->kernel[0] * c->kernel[1];
}

static gint64
tiles_of(const Case *c)
{
    return (c->kernel[2] * c->channels + 63) / 64;
}

/* Where weight k of a row is in tiles. */
static gint64
tiled(const Case *c, gint64 map, gint64 row, gint64 k)
{
    const gint64 tile = ((map / 16) * rows_of(c) + row) * tiles_of(c) + k / 64;
    return ((tile * 16 + k % 64 / 4) * 16 + map % 16) * 4 + k % 4;
}

static TnType
images(const Case *c, TnDtype dtype, gboolean out)
{
    TnType type = { .dtype = dtype, .rank = c->n + 2, .dims = { c->images } };
    for (gint i = 0; i < c->n; i++) {
        const gint axis = AXES - c->n + i;
        type.dims[1 + i] = out ? out_size(c, axis) : c->x[axis];
    }
    type.dims[c->n + 1] = out ? c->maps : c->channels;
    return type;
}

static Array
filled(TnType type, guint64 *seed, double low, double high)
{
    Array array = array_new(type, NULL);
    const gboolean whole = type.dtype != TN_DTYPE_F32;
    for (gint64 i = 0; i < array.arg.count; i++) {
        const double value = low + (high - low) * noise_unit(seed);
        array_set(&array, i, whole ? rint(value) : value);
    }
    return array;
}

static void
make_inputs(const Case *c, Array *in)
{
    guint64 seed = 99;
    const TnType byte = { TN_DTYPE_U8, 0, { 0 } }, number = { TN_DTYPE_F32, 0, { 0 } };
    const TnType w = { TN_DTYPE_I8,
                       6,
                       { (c->maps + 15) / 16, rows_of(c), tiles_of(c), 16, 16, 4 } };
    in[X] = filled(images(c, TN_DTYPE_U8, FALSE), &seed, 0, 255);
    in[W] = filled(w, &seed, 0, 0);
    for (gint64 map = 0; map < c->maps; map++) {
        for (gint64 i = 0; i < rows_of(c) * c->kernel[2] * c->channels; i++) {
            const gint64 length = c->kernel[2] * c->channels;
            array_set(&in[W], tiled(c, map, i / length, i % length),
                      rint(noise_unit(&seed) * 255) - 128);
        }
    }
    in[X_ZERO] = filled(byte, &seed, 1, 255);
    in[OFFSET] = filled(tn_type(TN_DTYPE_I32, 1, &c->maps), &seed, -50000, 50000);
    in[SCALE] = filled(tn_type(TN_DTYPE_F32, 1, &c->maps), &seed, 1e-5, 1e-4);
    in[BIAS] = filled(tn_type(TN_DTYPE_F32, 1, &c->maps), &seed, -2, 2);
    const TnDtype more = c->more == STEPS ? TN_DTYPE_U8 : TN_DTYPE_F32;
    if (c->more != NONE) {
        in[MORE] = filled(images(c, more, TRUE), &seed, 0, c->more == STEPS ? 255 : 5);
    }
    if (c->more == STEPS) {
        in[MORE_SCALE] = filled(number, &seed, 0.01, 0.1);
        in[MORE_ZERO] = filled(byte, &seed, 0, 200);
    }
    if (c->narrow) {
        in[Y_SCALE] = filled(number, &seed, 0.01, 0.05);
        in[Y_ZERO] = filled(byte, &seed, 0, 200);
    }
}

/* --- The definition --------------------------------------------------------------------------- */

/* Of element `at` of the result. */
static gint64
sum_of(const Case *c, const Array *in, gint64 at)
{
    const gint64 map = at % c->maps, length = c->kernel[2] * c->channels;
    const gint64 x_zero = in[X_ZERO].first[0];
    gint64 place[AXES], rest = at / c->maps, sum = 0;
    for (gint i = AXES - 1; i >= 0; i--) {
        place[i] = rest % out_size(c, i);
        rest /= out_size(c, i);
    }
    for (gint64 k = 0; k < rows_of(c) * length; k++) {
        const gint64 tap[AXES] = { k / length / c->kernel[1], k / length % c->kernel[1],
                                   k % length / c->channels };
        gint64 from = rest;
        gboolean inside = TRUE;
        for (gint i = 0; i < AXES; i++) {
            const gboolean there = i >= AXES - c->n;
            const gint64 pos =
                place[i] * (there ? c->stride : 1) + tap[i] * gap_of(c, i) - (there ? c->pad : 0);
            inside = inside && pos >= 0 && pos < c->x[i];
            from = from * c->x[i] + pos;
        }
        const gint64 seen =
            inside ? (gint64)in[X].first[from * c->channels + k % c->channels] : x_zero;
        sum += seen * (gint8)in[W].first[tiled(c, map, k / length, k % length)];
    }
    return sum + (gint64)array_get(&in[OFFSET], map);
}

static double
wanted(const Case *c, const Array *in, gint64 at)
{
    const gint64 map = at % c->maps;
    float y = (float)sum_of(c, in, at) * (float)array_get(&in[SCALE], map);
    y += (float)array_get(&in[BIAS], map);
    if (c->more == STEPS) {
        const float steps = (float)(array_get(&in[MORE], at) - array_get(&in[MORE_ZERO], 0));
        y += steps * (float)array_get(&in[MORE_SCALE], 0);
    } else if (c->more == NUMBERS) {
        y += (float)array_get(&in[MORE], at);
    }
    y = c->relu && y < 0 ? 0 : y;
    if (!c->narrow) {
        return y;
    }
    if (isnan(y)) {
        return 0;
    }
    y *= 1 / (float)array_get(&in[Y_SCALE], 0);
    return CLAMP(rint(y) + array_get(&in[Y_ZERO], 0), 0, 255);
}

/* (transfer full): g_free. */
static double *
wanted_each(const Case *c, const Array *in, gint64 n, gint64 step)
{
    double *all = g_new0(double, (gsize)n);
    for (gint64 i = 0; i < n; i += step) {
        all[i] = wanted(c, in, i);
    }
    return all;
}

/* --- Tests ------------------------------------------------------------------------------------ */

static void
check(const Case *c, Array *in)
{
    TnQuantizedConvAttrs attrs = { .window = { .kernel_shape = { .n = c->n },
                                               .strides = { .n = c->n },
                                               .pads = { .n = 2 * c->n },
                                               .dilations = { .n = c->n } },
                                   .channels = c->channels,
                                   .maps = c->maps,
                                   .relu = c->relu };
    for (gint i = 0; i < c->n; i++) {
        const gint axis = AXES - c->n + i;
        attrs.window.kernel_shape.v[i] = c->kernel[axis];
        attrs.window.strides.v[i] = c->stride;
        attrs.window.dilations.v[i] = gap_of(c, axis);
        attrs.window.pads.v[i] = attrs.window.pads.v[c->n + i] = c->pad;
    }
    const TnOp *op = tn_op_find("quantized_conv", NULL);
    g_autofree double *want = NULL;
    for (guint threads = 1; threads <= 3; threads++) {
        Array out;
        gint n_out;
        batch_invariant = threads == 3; /* it may be taken then */
        tn_pool_set_threads(threads);
        TN_REQUIRE(outputs_new(op, &attrs, N_IN, in, NULL, &n_out, &out, NULL));
        const TnStatus status = kernel_run("cpu", op, &attrs, N_IN, in, n_out, &out, NULL);
        if (c->n == AXES && status == TN_UNSUPPORTED) { /* the plugin cpu has none of that rank */
            array_clear(&out);
            break;
        }
        TN_REQUIRE(status == TN_OK);
        TN_ASSERT(array_intact(&out));
        /* All of small results, some of large ones. */
        const gint64 step = out.arg.count > 10000 ? 37 : 1;
        if (want == NULL) {
            want = wanted_each(c, in, out.arg.count, step);
        }
        for (gint64 i = 0; i < out.arg.count; i += step) {
            const double got = array_get(&out, i);
            if (got != want[i] && !(isnan(got) && isnan(want[i]))) {
                TN_FAIL("case %d, %u threads: element %d is %g, expected %g", (gint)(c - cases),
                        threads, (gint)i, got, want[i]);
                break;
            }
        }
        array_clear(&out);
    }
    batch_invariant = FALSE;
    tn_pool_set_threads(1);
}

static void
each_case(void (*change)(Array *in))
{
    open_all();
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Array in[N_IN] = { 0 };
        make_inputs(&cases[i], in);
        if (change != NULL) {
            change(in);
        }
        check(&cases[i], in);
        for (gint k = 0; k < N_IN; k++) {
            if (in[k].block != NULL) {
                array_clear(&in[k]);
            }
        }
    }
}

static void
by_definition(void)
{
    each_case(NULL);
}

static void
set_extremes(Array *in)
{
    static const double odd[] = { NAN, INFINITY, -INFINITY, -0.0, 1e30 };
    for (gsize i = 0; i < G_N_ELEMENTS(odd); i++) {
        array_set(&in[BIAS], (gint64)i % in[BIAS].arg.count, odd[i]);
    }
    /* Two such products in a row leave 16 bits: what saturates there is found. */
    memset(in[X].first, 255, (gsize)in[X].arg.count);
    for (gint64 i = 0; i < in[W].arg.count; i++) {
        in[W].first[i] = in[W].first[i] == 0 ? 0 : 127;
    }
}

static void
extremes(void)
{
    each_case(set_extremes);
}

static void
other_instruction_sets(void)
{
    static const char *const tests[] = { "by definition", "extremes", NULL };
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=avx2", "TENON_CPU_ISA=avx512",
                                         "DNNL_MAX_CPU_ISA=AVX512_CORE_VNNI", NULL },
                  tests);
}

static const TnTest tests[] = {
    { "by definition", by_definition },
    { "extremes", extremes },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("onednn quantized", tests)
