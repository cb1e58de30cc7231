/* test_cpu_quantized.c: convolutions of 8-bit numbers against loops written here, at sizes that are no
 * multiples of blocks, for every instruction set and any number of threads: the same bits. */
// tn-test: timeout=120 label=threads
#include "cpu_run.h"

#include <tenon/nn.h>

enum { X, W, X_ZERO, OFFSET, SCALE, BIAS, MORE, MORE_SCALE, MORE_ZERO, Y_SCALE, Y_ZERO, N_IN };

typedef struct {
    gint64 n, h, w, channels, maps, kernel[2], stride, pad, gap;
    gboolean relu, more, narrow_more, narrow;
} Case;

/* Sizes around blocks of 16 and 32 places and maps and rows of 64 numbers; one image or several; padding,
 * steps, windows of 1 in steps. */
static const Case cases[] = {
    { 1, 7, 7, 64, 32, { 3, 3 }, 1, 1, 1, TRUE, FALSE, FALSE, TRUE },
    { 2, 9, 5, 64, 33, { 1, 1 }, 1, 0, 1, FALSE, TRUE, TRUE, TRUE },
    { 3, 9, 11, 40, 16, { 1, 1 }, 2, 0, 1, TRUE, TRUE, FALSE, TRUE },
    { 1, 20, 23, 3, 70, { 7, 7 }, 2, 3, 1, TRUE, FALSE, FALSE, TRUE },
    { 2, 8, 6, 17, 48, { 2, 3 }, 1, 2, 2, FALSE, TRUE, TRUE, FALSE },
    { 1, 14, 14, 130, 15, { 3, 3 }, 2, 1, 1, FALSE, FALSE, FALSE, FALSE },
    { 4, 1, 1, 200, 37, { 1, 1 }, 1, 0, 1, FALSE, TRUE, FALSE, TRUE },
    { 2, 40, 40, 64, 64, { 3, 3 }, 1, 1, 1, TRUE, TRUE, TRUE, TRUE },
};

static void
fill(Array *array, guint64 *seed, double low, double high)
{
    const gboolean whole = array->arg.type.dtype != TN_DTYPE_F32;
    for (gint64 i = 0; i < array->arg.count; i++) {
        const double value = low + (high - low) * noise_unit(seed);
        array_set(array, i, whole ? floor(value + 0.5) : value);
    }
}

static gint64
rows_of(const Case *c)
{
    return (c->kernel[1] * c->channels + 63) / 64;
}

static gint64
size_out(const Case *c, gint axis)
{
    const gint64 size = (axis == 0 ? c->h : c->w) + 2 * c->pad;
    return (size - (axis == 0 ? c->gap : 1) * (c->kernel[axis] - 1) - 1) / c->stride + 1;
}

/* Where weight (map, row, number of the row) is in tiles. */
static gint64
tiled(const Case *c, gint64 map, gint64 row, gint64 k)
{
    const gint64 tile = ((map / 16) * c->kernel[0] + row) * rows_of(c) + k / 64;
    return ((tile * 16 + k % 64 / 4) * 16 + map % 16) * 4 + k % 4;
}

static void
make_inputs(const Case *c, Array *in)
{
    guint64 seed = 77;
    const gint64 x[] = { c->n, c->h, c->w, c->channels };
    const gint64 y[] = { c->n, size_out(c, 0), size_out(c, 1), c->maps };
    const gint64 w[] = { (c->maps + 15) / 16, c->kernel[0], rows_of(c), 16, 16, 4 };
    const TnType none = { 0 };
    in[X] = array_new(tn_type(TN_DTYPE_U8, 4, x), NULL);
    in[W] = array_new(tn_type(TN_DTYPE_I8, 6, w), NULL);
    in[X_ZERO] = array_new(tn_type(TN_DTYPE_U8, 0, NULL), NULL);
    in[OFFSET] = array_new(tn_type(TN_DTYPE_I32, 1, &c->maps), NULL);
    in[SCALE] = array_new(tn_type(TN_DTYPE_F32, 1, &c->maps), NULL);
    in[BIAS] = array_new(tn_type(TN_DTYPE_F32, 1, &c->maps), NULL);
    in[MORE] = c->more ? array_new(tn_type(c->narrow_more ? TN_DTYPE_U8 : TN_DTYPE_F32, 4, y), NULL)
                       : (Array){ .arg.type = none };
    for (gint i = MORE_SCALE; i < N_IN; i++) {
        const gboolean there = i <= MORE_ZERO ? c->more && c->narrow_more : c->narrow;
        const gboolean scale = i == MORE_SCALE || i == Y_SCALE;
        in[i] = there ? array_new(tn_type(scale ? TN_DTYPE_F32 : TN_DTYPE_U8, 0, NULL), NULL)
                      : (Array){ .arg.type = none };
    }
    fill(&in[X], &seed, 0, 255);
    fill(&in[W], &seed, 0, 0);
    for (gint64 i = 0; i < c->maps * c->kernel[0] * c->kernel[1] * c->channels; i++) {
        const gint64 length = c->kernel[1] * c->channels;
        array_set(&in[W],
                  tiled(c, i / length / c->kernel[0], i / length % c->kernel[0], i % length),
                  floor(noise_unit(&seed) * 255) - 127);
    }
    fill(&in[X_ZERO], &seed, 1, 200);
    fill(&in[OFFSET], &seed, -50000, 50000);
    fill(&in[SCALE], &seed, 1e-5, 1e-4);
    fill(&in[BIAS], &seed, -2, 2);
    fill(&in[MORE], &seed, 0, 5);
    fill(&in[MORE_SCALE], &seed, 0.01, 0.1);
    fill(&in[MORE_ZERO], &seed, 0, 9);
    fill(&in[Y_SCALE], &seed, 0.01, 0.05);
    fill(&in[Y_ZERO], &seed, 0, 200);
}

/* Element (image, row, column, map) by the definition; the sum in whole numbers. */
static double
wanted(const Case *c, const Array *in, gint64 image, gint64 row, gint64 col, gint64 map, gint64 at)
{
    gint64 sum = (gint64)array_get(&in[OFFSET], map);
    const gint64 length = c->kernel[1] * c->channels;
    for (gint64 i = 0; i < c->kernel[0]; i++) {
        const gint64 y = row * c->stride + i * c->gap - c->pad;
        for (gint64 k = 0; k < length; k++) {
            const gint64 x = col * c->stride + k / c->channels - c->pad;
            const gboolean inside = y >= 0 && y < c->h && x >= 0 && x < c->w;
            const gint64 from = ((image * c->h + y) * c->w + x) * c->channels + k % c->channels;
            const gint64 seen = inside ? in[X].first[from] : in[X_ZERO].first[0];
            sum += seen * (gint8)in[W].first[tiled(c, map, i, k)];
        }
    }
    float value = (float)sum * (float)array_get(&in[SCALE], map);
    value += (float)array_get(&in[BIAS], map);
    if (c->more && c->narrow_more) {
        const float steps = (float)(array_get(&in[MORE], at) - array_get(&in[MORE_ZERO], 0));
        value += steps * (float)array_get(&in[MORE_SCALE], 0);
    } else if (c->more) {
        value += (float)array_get(&in[MORE], at);
    }
    value = c->relu && value < 0 ? 0 : value;
    if (!c->narrow) {
        return value;
    }
    const float inverse = 1 / (float)array_get(&in[Y_SCALE], 0);
    return CLAMP(rint(value * inverse) + array_get(&in[Y_ZERO], 0), 0, 255);
}

static void
check(const Case *c, const Array *in, const Array *out)
{
    const gint64 h = size_out(c, 0), w = size_out(c, 1);
    for (gint64 i = 0; i < out->arg.count; i++) {
        /* All of small results, some of large ones. */
        if (out->arg.count > 20000 && i % 37 != 0) {
            continue;
        }
        const gint64 map = i % c->maps, place = i / c->maps;
        const double want = wanted(c, in, place / w / h, place / w % h, place % w, map, i);
        if (array_get(out, i) != want) {
            TN_FAIL("case %d: element %d is %g, expected %g", (gint)(c - cases), (gint)i,
                    array_get(out, i), want);
            return;
        }
    }
}

static void
convolutions(void)
{
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        const Case *c = &cases[i];
        const TnQuantizedConvAttrs attrs = {
            .window = { .kernel_shape = { 2, { c->kernel[0], c->kernel[1] } },
                        .strides = { 2, { c->stride, c->stride } },
                        .pads = { 4, { c->pad, c->pad, c->pad, c->pad } },
                        .dilations = { 2, { c->gap, 1 } } },
            .channels = c->channels,
            .maps = c->maps,
            .relu = c->relu,
        };
        Array in[N_IN], out[2];
        gint n_out;
        make_inputs(c, in);
        for (guint threads = 1; threads <= 2; threads++) {
            tn_pool_set_threads(threads);
            op_run("cpu", "quantized_conv", &attrs, N_IN, in, &n_out, &out[threads - 1]);
            TN_ASSERT(array_intact(&out[threads - 1]));
        }
        check(c, in, &out[0]);
        TN_ASSERT(memcmp(out[0].block, out[1].block, out[0].bytes) == 0);
        if (c->more && tn_type_equal(&in[MORE].arg.type, &out[0].arg.type)) {
            /* Over what is added, as a program has it. */
            const TnOp *op = tn_op_find("quantized_conv", NULL);
            TN_ASSERT(kernel_run("cpu", op, &attrs, N_IN, in, 1, &in[MORE], NULL) == TN_OK);
            TN_ASSERT(memcmp(in[MORE].block, out[0].block, out[0].bytes) == 0);
        }
        for (gint k = 0; k < N_IN; k++) {
            array_clear(&in[k]);
        }
        array_clear(&out[0]);
        array_clear(&out[1]);
    }
}

static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2",
                                         "TENON_CPU_ISA=avx512", "TENON_CPU_ISA=avx512_bf16",
                                         NULL },
                  (const char *const[]){ "convolutions", NULL });
}

static const TnTest tests[] = {
    { "convolutions", convolutions },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("cpu quantized", tests)
