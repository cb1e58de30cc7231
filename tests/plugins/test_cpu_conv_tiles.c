/* Convolutions of bf16 over lanes of sixteen samples on the cpu device, against the reference device: for
 * sizes around whole tiles and attributes made at random, odd numbers of lanes, with NaN and infinity; the
 * same bits for any number of threads; with every way of multiplying that there is. */
// tn-test: timeout=120
#include "cpu_run.h"

#define LANES 16

static guint64 state = 0xc0417111e5ull;

static gint64
between(gint64 low, gint64 high)
{
    return low + (gint64)(noise(&state) % (guint64)(high - low + 1));
}

static Array
random_array(gint rank, const gint64 *dims)
{
    Array array = array_new(tn_type(TN_DTYPE_BF16, rank, dims), NULL);
    for (gint64 i = 0; i < array.arg.count; i++) {
        array_set(&array, i, 2 * noise_unit(&state) - 1);
    }
    return array;
}

typedef struct {
    TnConvAttrs attrs;
    gint64 blocks, channels, maps, x[2], k[2], y[2];
    Array in[4]; /* x, weights, bias, y */
} Conv;

static void
conv_fill(Conv *c)
{
    const gint64 x[] = { c->blocks, c->channels, c->x[0], c->x[1], LANES };
    const gint64 w[] = { c->maps, c->channels, c->k[0], c->k[1], 1 };
    const gint64 y[] = { c->blocks, c->maps, c->y[0], c->y[1], LANES };
    c->in[0] = random_array(5, x);
    c->in[1] = random_array(5, w);
    c->in[2] = random_array(1, &c->maps);
    c->in[3] = random_array(5, y);
}

static void
conv_clear(Conv *c)
{
    for (guint i = 0; i < G_N_ELEMENTS(c->in); i++) {
        array_clear(&c->in[i]);
    }
}

/* A transpose's result is as large as the smallest image that gives its input. */
static Conv
conv_at_random(gboolean tight)
{
    static const gint64 sizes[] = { 3, 16, 31, 33, 48 };
    Conv c = { .attrs = { .group = 1 }, .blocks = between(1, 3) };
    c.channels = sizes[between(0, G_N_ELEMENTS(sizes) - 1)];
    do {
        c.maps = sizes[between(0, G_N_ELEMENTS(sizes) - 1)];
    } while (c.channels * c.maps < 128);
    for (guint i = 0; i < 2; i++) {
        c.k[i] = between(1, 3);
        const gint64 stride = between(1, 3), dilation = between(1, 2),
                     reach = dilation * (c.k[i] - 1);
        const gint64 before = between(0, reach + 1), after = between(0, reach + 1);
        c.x[i] = between(MAX(1, reach + 1 - before - after), 5);
        c.y[i] = (c.x[i] + before + after - reach - 1) / stride + 1;
        if (tight) {
            c.x[i] = MAX(1, (c.y[i] - 1) * stride + reach + 1 - before - after);
            c.y[i] = (c.x[i] + before + after - reach - 1) / stride + 1;
        }
        c.attrs.strides.v[i] = stride;
        c.attrs.dilations.v[i] = dilation;
        c.attrs.pads.v[i] = before;
        c.attrs.pads.v[3 + i] = after;
    }
    c.attrs.strides.v[2] = c.attrs.dilations.v[2] = 1;
    c.attrs.strides.n = c.attrs.dilations.n = 3;
    c.attrs.pads.n = 6;
    conv_fill(&c);
    return c;
}

/* What is rounded to bf16 differs by one of its steps, sums of `terms` by their order. */
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
    TN_ASSERT(array_intact(got));
}

/* With one thread and with three, and the reference's. */
static void
check(const char *name, const Conv *c, gint n_in, const Array *in, const Array *want, double terms)
{
    const TnOp *op = tn_op_find(name, NULL);
    Array got[2];
    guint32 flags = 0;
    for (guint i = 0; i < 2; i++) {
        got[i] = array_new(want->arg.type, NULL);
        tn_pool_set_threads(1 + 2 * i);
        TN_REQUIRE(kernel_run("cpu", op, &c->attrs, n_in, in, 1, &got[i], &flags) == TN_OK);
        TN_ASSERT(flags & TN_KERNEL_LANES);
    }
    tn_pool_set_threads(1);
    compare(name, &got[0], want, terms);
    TN_ASSERT(memcmp(got[0].block, got[1].block, got[0].bytes) == 0);
    array_clear(&got[0]);
    array_clear(&got[1]);
}

static void
check_like_ref(const char *name, const Conv *c, gint n_in, const Array *in, double terms)
{
    Array want[TN_MAX_OUT];
    gint n_out;
    op_run("ref", name, &c->attrs, n_in, in, &n_out, want);
    check(name, c, n_in, in, &want[0], terms);
    array_clear(&want[0]);
}

/* The reference's sum, in f32, and the bias. */
static void
check_bias(const Conv *c)
{
    Array wide[2], want[TN_MAX_OUT];
    gint n_out;
    for (guint i = 0; i < 2; i++) {
        TnType type = c->in[i].arg.type;
        type.dtype = TN_DTYPE_F32;
        wide[i] = array_new(type, NULL);
        for (gint64 k = 0; k < wide[i].arg.count; k++) {
            array_set(&wide[i], k, array_get(&c->in[i], k));
        }
    }
    op_run("ref", "conv", &c->attrs, 2, wide, &n_out, want);
    const gint64 *y = want[0].arg.type.dims, map = y[2] * y[3] * y[4];
    Array narrow = array_new(c->in[3].arg.type, NULL);
    for (gint64 i = 0; i < narrow.arg.count; i++) {
        array_set(&narrow, i, array_get(&want[0], i) + array_get(&c->in[2], i / map % y[1]));
    }
    check("conv_bias", c, 3, c->in, &narrow, 1000);
    array_clear(&narrow);
    array_clear(&want[0]);
    array_clear(&wide[0]);
    array_clear(&wide[1]);
}

static void
check_all(const Conv *c)
{
    const Array weight[] = { c->in[0], c->in[3], c->in[1] };
    const double terms = (double)(c->blocks * LANES * c->y[0] * c->y[1]);
    check_like_ref("conv", c, 2, c->in, 1000);
    check_like_ref("conv_grad_weight", c, 3, weight, terms);
}

static void
check_transpose(const Conv *c)
{
    const Array back[] = { c->in[3], c->in[1], c->in[0] };
    check_like_ref("conv_transpose", c, 3, back, 1000);
}

/* Skips the test where the processor does not multiply bf16. */
static void
open_or_skip(void)
{
    Conv c = { .attrs = { .group = 1 },
               .blocks = 1,
               .channels = 16,
               .maps = 16,
               .x = { 1, 1 },
               .k = { 1, 1 },
               .y = { 1, 1 } };
    guint32 flags = 0;
    open_plugins();
    tn_registry_open("nn", NULL);
    conv_fill(&c);
    kernel_run("cpu", tn_op_find("conv", NULL), &c.attrs, 2, c.in, 1, &c.in[3], &flags);
    conv_clear(&c);
    if (!(flags & TN_KERNEL_LANES)) {
        tn_test_skip("this processor has no instructions for products of bf16");
    }
}

static void
random_sizes(void)
{
    open_or_skip();
    for (guint i = 0; i < 6; i++) {
        Conv c = conv_at_random(FALSE);
        check_all(&c);
        check_bias(&c);
        conv_clear(&c);
        c = conv_at_random(TRUE);
        check_transpose(&c);
        conv_clear(&c);
    }
}

/* Several strips of places, groups of them and parts of sums. */
static void
larger(void)
{
    const TnConvAttrs attrs = { 1, .strides = { 3, { 1, 2, 1 } },
                                .pads = { 6, { 1, 1, 0, 1, 1, 0 } } };
    Conv c = { .attrs = attrs,
               .blocks = 1,
               .channels = 8,
               .maps = 16,
               .x = { 18, 39 },
               .k = { 3, 3 },
               .y = { 18, 20 } };
    open_or_skip();
    conv_fill(&c);
    check_all(&c);
    check_transpose(&c);
    conv_clear(&c);
}

static void
special_numbers(void)
{
    const TnConvAttrs attrs = { 1, .strides = { 3, { 1, 1, 1 } },
                                .pads = { 6, { 1, 1, 0, 1, 1, 0 } } };
    Conv c = { .attrs = attrs,
               .blocks = 1,
               .channels = 8,
               .maps = 20,
               .x = { 5, 4 },
               .k = { 3, 3 },
               .y = { 5, 4 } };
    open_or_skip();
    conv_fill(&c);
    array_set(&c.in[0], 5, NAN);
    array_set(&c.in[0], 700, INFINITY);
    array_set(&c.in[3], 1000, -INFINITY);
    array_set(&c.in[3], 2013, NAN);
    check_all(&c);
    check_transpose(&c);
    conv_clear(&c);
}

static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=avx512_bf16", NULL },
                  (const char *const[]){ "random sizes", "larger", "special numbers", NULL });
}

static const TnTest tests[] = {
    { "random sizes", random_sizes },
    { "larger", larger },
    { "special numbers", special_numbers },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("cpu conv tiles", tests)
