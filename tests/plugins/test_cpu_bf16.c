/* Products, gradients of convolutions and normalisation of bf16 on the cpu device: against the reference
 * device at sizes around every border (tiles, pairs, blocks, regions), lying any way; the same bits for
 * any number of threads; NaN and infinity; with every way of multiplying that there is. */
// tn-test: timeout=120
#include <tenon/nn.h>

#include "cpu_run.h"

static guint64 state = 0xb16b00ull;

static Array
random_array(TnDtype dtype, gint rank, const gint64 *dims, const gint64 *strides)
{
    Array array = array_new(tn_type(dtype, rank, dims), strides);
    for (gint64 i = 0; i < array.arg.count; i++) {
        array_set(&array, i, 2 * noise_unit(&state) - 1);
    }
    return array;
}

static Array
matrix(gint64 rows, gint64 cols, gboolean turned)
{
    const gint64 dims[] = { rows, cols }, strides[] = { turned ? 1 : cols, turned ? rows : 1 };
    return random_array(TN_DTYPE_BF16, 2, dims, strides);
}

/* Sums of `terms` products differ by their order, what is rounded to bf16 by one of its steps. */
static void
compare(const char *what, const Array *got, const Array *want, double terms)
{
    for (gint64 i = 0; i < want->arg.count; i++) {
        const double a = array_get(got, i), b = array_get(want, i);
        const gboolean same = isnan(b)   ? isnan(a)
                              : isinf(b) ? a == b
                                         : fabs(a - b) <= fabs(b) / 128 + 1e-6 * (terms + 1);
        if (!same) {
            TN_FAIL("%s: element %d is %g, expected %g", what, (int)i, a, b);
            return;
        }
    }
}

/* The same numbers, in f32. */
static Array
widened(const Array *from)
{
    TnType type = from->arg.type;
    type.dtype = type.dtype == TN_DTYPE_BF16 ? TN_DTYPE_F32 : type.dtype;
    Array array = array_new(type, NULL);
    for (gint64 i = 0; i < from->arg.count; i++) {
        array_set(&array, i, array_get(from, i));
    }
    return array;
}

/* On cpu, with one thread and with three, as on ref; of a composite, which ref does not have, as cpu
 * computes it in f32. */
static void
check(const char *name, const void *attrs, gint n, Array *in, double terms, const char *what)
{
    const TnOp *op = tn_op_find(name, NULL);
    Array plain[5], want[TN_MAX_OUT], got[2][TN_MAX_OUT];
    gint n_out, unused;
    for (gint i = 0; i < n; i++) {
        plain[i] = tn_op_is_composite(op) ? widened(&in[i]) : array_copy(&in[i], NULL);
    }
    op_run(tn_op_is_composite(op) ? "cpu" : "ref", name, attrs, n, plain, &n_out, want);
    for (guint t = 0; t < 2; t++) {
        tn_pool_set_threads(1 + 2 * t);
        op_run("cpu", name, attrs, n, in, &unused, got[t]);
    }
    for (gint i = 0; i < n_out; i++) {
        TN_ASSERT(array_intact(&got[0][i]));
        compare(what, &got[0][i], &want[i], terms);
        TN_ASSERT(memcmp(got[0][i].block, got[1][i].block, got[0][i].bytes) == 0);
        array_clear(&got[0][i]);
        array_clear(&got[1][i]);
        array_clear(&want[i]);
    }
    for (gint i = 0; i < n; i++) {
        array_clear(&plain[i]);
        array_clear(&in[i]);
    }
    tn_pool_set_threads(1);
}

/* --- Products --------------------------------------------------------------------------------- */

static void
product(gint64 m, gint64 k, gint64 n, guint way)
{
    Array in[] = { matrix(m, k, way & 1), matrix(k, n, way >> 1 & 1) };
    g_autofree char *what = g_strdup_printf("%d x %d x %d, way %u", (int)m, (int)k, (int)n, way);
    check("matmul", NULL, 2, in, (double)k, what);
}

static void
products(void)
{
    static const gint64 ms[] = { 1, 16, 33 }, ks[] = { 1, 31, 96 }, ns[] = { 1, 17, 70 };
    guint way = 0;
    open_plugins();
    for (guint i = 0; i < G_N_ELEMENTS(ms); i++) {
        for (guint j = 0; j < G_N_ELEMENTS(ks); j++) {
            for (guint l = 0; l < G_N_ELEMENTS(ns); l++) {
                product(ms[i], ks[j], ns[l], way++ % 4);
            }
        }
    }
    product(0, 3, 4, 0);
    product(3, 0, 4, 0);
    product(208, 64, 180, 2);
    product(200, 96, 150, 1);
}

static void
batches(void)
{
    const gint64 a[] = { 2, 3, 17, 40 }, b[] = { 3, 40, 33 }, row[] = { 40 }, one[] = { 40, 20 };
    open_plugins();
    Array both[] = { random_array(TN_DTYPE_BF16, 4, a, NULL),
                     random_array(TN_DTYPE_BF16, 3, b, NULL) };
    check("matmul", NULL, 2, both, 40, "batches");
    Array tall[] = { random_array(TN_DTYPE_BF16, 4, a, NULL),
                     random_array(TN_DTYPE_BF16, 2, one, NULL) };
    check("matmul", NULL, 2, tall, 40, "batches and one matrix");
    Array vector[] = { random_array(TN_DTYPE_BF16, 4, a, NULL),
                       random_array(TN_DTYPE_BF16, 1, row, NULL) };
    check("matmul", NULL, 2, vector, 40, "batches and a vector");
    const gint64 repeated[] = { 0, 0, 40, 1 };
    Array again[] = { random_array(TN_DTYPE_BF16, 4, a, repeated),
                      random_array(TN_DTYPE_BF16, 3, b, NULL) };
    check("matmul", NULL, 2, again, 40, "a matrix repeated");
}

static void
layers(void)
{
    const gint64 x[] = { 5, 7, 65 }, w[] = { 50, 65 }, b[] = { 50 };
    open_plugins();
    Array in[] = { random_array(TN_DTYPE_BF16, 3, x, NULL), random_array(TN_DTYPE_BF16, 2, w, NULL),
                   random_array(TN_DTYPE_BF16, 1, b, NULL) };
    check("linear", NULL, 3, in, 65, "linear");
    Array bare[] = { random_array(TN_DTYPE_BF16, 3, x, NULL),
                     random_array(TN_DTYPE_BF16, 2, w, NULL) };
    check("linear", NULL, 2, bare, 65, "linear without bias");
    /* A few samples, whose weights are read some rows at once. */
    for (gint64 k = 65; k <= 353; k += 144) {
        const gint64 few[] = { 3, k }, outputs[] = { 50, k };
        Array thin[] = { random_array(TN_DTYPE_BF16, 2, few, NULL),
                         random_array(TN_DTYPE_BF16, 2, outputs, NULL),
                         random_array(TN_DTYPE_BF16, 1, b, NULL) };
        check("linear", NULL, 3, thin, k, "linear of a few samples");
    }
}

static void
special_numbers(void)
{
    open_plugins();
    for (guint way = 0; way < 4; way++) {
        Array in[] = { matrix(40, 50, way & 1), matrix(50, 40, way >> 1 & 1) };
        array_set(&in[0], 3 * 50 + 7, NAN);
        array_set(&in[0], 17 * 50 + 49, INFINITY);
        array_set(&in[1], 20 * 40 + 5, -INFINITY);
        array_set(&in[1], 49 * 40 + 39, 0);
        check("matmul", NULL, 2, in, 50, "special numbers");
    }
}

/* --- Convolutions, normalisation -------------------------------------------------------------- */

typedef struct {
    gint64 x[4], w[4];
    TnConvAttrs attrs;
} Conv;

static const Conv convs[] = {
    { { 2, 3, 32, 32 }, { 4, 3, 3, 3 }, { 1, .pads = { 4, { 1, 1, 1, 1 } } } },
    { { 3, 20, 8, 8 }, { 40, 20, 3, 3 }, { 1, .pads = { 4, { 1, 1, 1, 1 } } } },
    { { 5, 33, 4, 4 }, { 17, 33, 3, 3 }, { 1, .pads = { 4, { 1, 1, 1, 1 } } } },
    { { 2, 7, 16, 17 },
      { 18, 7, 3, 3 },
      { 1, .strides = { 2, { 2, 2 } }, .pads = { 4, { 1, 1, 1, 1 } } } },
    { { 2, 16, 9, 8 }, { 32, 16, 1, 1 }, { 1, .strides = { 2, { 2, 2 } } } },
    { { 2, 4, 14, 11 },
      { 5, 4, 5, 3 },
      { 1, .strides = { 2, { 3, 1 } }, .pads = { 4, { 2, 0, 1, 2 } },
        .dilations = { 2, { 1, 2 } } } },
    { { 1, 3, 30, 30 },
      { 16, 3, 7, 7 },
      { 1, .strides = { 2, { 2, 2 } }, .pads = { 4, { 3, 3, 3, 3 } } } },
    { { 2, 2, 5, 5 }, { 3, 2, 3, 3 }, { 1 } },
};

static void
convolutions(void)
{
    open_plugins();
    for (guint i = 0; i < G_N_ELEMENTS(convs); i++) {
        const Conv *c = &convs[i];
        gint64 g[] = { c->x[0], c->w[0], 0, 0 };
        for (gint k = 0; k < 2; k++) {
            const TnConvAxis axis = tn_conv_axis(&c->attrs, 2, k);
            g[2 + k] = (c->x[2 + k] + axis.pad_begin + axis.pad_end -
                        (axis.dilation * (c->w[2 + k] - 1) + 1)) /
                           axis.stride +
                       1;
        }
        Array in[] = { random_array(TN_DTYPE_BF16, 4, c->x, NULL),
                       random_array(TN_DTYPE_BF16, 4, g, NULL),
                       random_array(TN_DTYPE_BF16, 4, c->w, NULL) };
        g_autofree char *what = g_strdup_printf("convolution %u", i);
        check("conv_grad_weight", &c->attrs, 3, in, (double)(g[0] * g[2] * g[3]), what);
    }
}

static void
normalisation(void)
{
    const gint64 x[] = { 3, 5, 7, 9 }, c[] = { 5 }, wide[] = { 2, 3, 50, 50 }, three[] = { 3 };
    const TnEpsilonAttrs attrs = { 1e-3 };
    open_plugins();
    for (guint i = 0; i < 2; i++) {
        const gint64 *dims = i == 0 ? x : wide, *channels = i == 0 ? c : three;
        Array in[] = { random_array(TN_DTYPE_BF16, 4, dims, NULL),
                       random_array(TN_DTYPE_F32, 1, channels, NULL),
                       random_array(TN_DTYPE_F32, 1, channels, NULL) };
        check("batch_normalization_training", &attrs, 3, in, 10, "batch normalisation");
        Array back[] = { random_array(TN_DTYPE_BF16, 4, dims, NULL),
                         random_array(TN_DTYPE_F32, 1, channels, NULL),
                         random_array(TN_DTYPE_F32, 1, channels, NULL),
                         random_array(TN_DTYPE_F32, 1, channels, NULL),
                         random_array(TN_DTYPE_BF16, 4, dims, NULL) };
        for (gint64 k = 0; k < back[3].arg.count; k++) {
            array_set(&back[3], k, 0.5 + noise_unit(&state));
        }
        check("batch_normalization_grad", &attrs, 5, back, 5000, "its gradient");
    }
}

/* --- Ways of multiplying ---------------------------------------------------------------------- */

static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2",
                                         "TENON_CPU_ISA=avx512", "TENON_CPU_ISA=avx512_bf16",
                                         NULL },
                  (const char *const[]){ "products", "batches", "layers", "special numbers",
                                         "convolutions", "normalisation", NULL });
}

static const TnTest tests[] = {
    { "products", products },
    { "batches", batches },
    { "layers", layers },
    { "special numbers", special_numbers },
    { "convolutions", convolutions },
    { "normalisation", normalisation },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("cpu bf16", tests)
