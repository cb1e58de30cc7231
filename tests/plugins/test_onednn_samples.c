/* oneDNN's convolutions and their gradients in the images where the number of these may not show: an image
 * has the bits among others that it has by itself, whatever they are cut into; the same kernel is asked for
 * any number, also where sixteen samples would be the last axis. */
// tn-test: timeout=240
#include "cpu_run.h"

#include <tenon/nn.h>

/* Square images of some size, windows of 3 x 3. */
typedef struct {
    const char *op;
    TnDtype dtype;
    gint64 channels, maps, size, stride;
    gint rank; /* of oneDNN's kernel; 0: the plugin cpu's is taken */
} Case;

enum { DIRECT = 10, WINOGRAD = 11 };

static const Case cases[] = {
    { "conv", TN_DTYPE_F32, 32, 64, 16, 1, WINOGRAD },        /* slices of images */
    { "conv_bias", TN_DTYPE_F32, 160, 160, 12, 1, WINOGRAD }, /* of channels where images are few */
    { "conv_transpose", TN_DTYPE_F32, 64, 32, 15, 1, WINOGRAD },
    { "conv_transpose", TN_DTYPE_F32, 160, 192, 12, 1, WINOGRAD },
    { "conv", TN_DTYPE_F32, 256, 256, 6, 1, DIRECT },
    { "conv_transpose", TN_DTYPE_F32, 256, 256, 4, 1, DIRECT },
    { "conv_bias", TN_DTYPE_F32, 32, 80, 17, 2, DIRECT },
    { "conv_transpose", TN_DTYPE_F32, 80, 32, 9, 2, DIRECT },
    { "conv", TN_DTYPE_F32, 3, 32, 24, 1, DIRECT },
    { "conv", TN_DTYPE_F32, 16, 16, 12, 1, 0 }, /* few enough for lanes */
    { "conv", TN_DTYPE_BF16, 64, 96, 8, 1, DIRECT },
    { "conv_transpose", TN_DTYPE_BF16, 96, 64, 8, 1, DIRECT },
};

#define MOST 33

typedef struct {
    const Case *c;
    TnConvAttrs attrs;
    gint n_in;
    Array in[3]; /* of MOST images */
} Given;

/* Sizes of inputs for so many images, sixteen of them last if `lanes`. */
static TnType
type_of(const Case *c, gint input, gint64 images, gboolean lanes)
{
    const gboolean back = strcmp(c->op, "conv_transpose") == 0;
    const gint64 y = (c->size - 1) / c->stride + 1, size = back ? y : c->size;
    const gint64 x[] = { images, c->channels, size, size, TN_LANES };
    const gint64 w[] = { back ? c->channels : c->maps, back ? c->maps : c->channels, 3, 3, 1 };
    const gint64 like[] = { images, c->maps, c->size, c->size, TN_LANES };
    const gint rank = lanes ? 5 : 4;
    return input == 0   ? tn_type(c->dtype, rank, x)
           : input == 1 ? tn_type(c->dtype, rank, w)
           : back       ? tn_type(c->dtype, rank, like)
                        : tn_type(c->dtype, 1, &c->maps);
}

static TnConvAttrs
attrs_of(const Case *c, gboolean lanes)
{
    TnConvAttrs attrs = { .group = 1 };
    const gint n = lanes ? 3 : 2;
    attrs.strides.n = n;
    attrs.pads.n = 2 * n;
    for (gint i = 0; i < n; i++) {
        attrs.strides.v[i] = i < 2 ? c->stride : 1;
        attrs.pads.v[i] = attrs.pads.v[n + i] = i < 2;
    }
    return attrs;
}

/* The same array with other sizes, of which it has at least as many elements. */
static Array
part_of(const Array *all, gint64 skip, TnType type)
{
    Array part = *all;
    part.arg.type = type;
    part.arg.count = tn_type_count(&type);
    tn_type_strides(&type, part.arg.strides);
    part.first += skip * (gint64)tn_dtype_size(type.dtype);
    return part;
}

/* Of n images from `first` on. */
static Array
run_images(const Given *g, gint64 first, gint64 n)
{
    Array in[3], out;
    gint n_out;
    for (gint i = 0; i < g->n_in; i++) {
        const TnType type = type_of(g->c, i, n, FALSE);
        in[i] = part_of(&g->in[i], i == 0 ? first * (tn_type_count(&type) / n) : 0, type);
    }
    op_run("cpu", g->c->op, &g->attrs, g->n_in, in, &n_out, &out);
    return out;
}

static void
check_bits(const Given *g)
{
    static const gint64 numbers[] = { 2, 3, 16, MOST };
    const gint64 images[] = { 0, 1, 2, 15, MOST - 1 };
    Array alone[G_N_ELEMENTS(images)];
    for (guint i = 0; i < G_N_ELEMENTS(images); i++) {
        alone[i] = run_images(g, images[i], 1);
    }
    for (guint k = 0; k < G_N_ELEMENTS(numbers); k++) {
        tn_pool_set_threads(1 + k % 2);
        Array among = run_images(g, 0, numbers[k]);
        for (guint i = 0; i < G_N_ELEMENTS(images) && images[i] < numbers[k]; i++) {
            const gsize bytes = (gsize)tn_type_bytes(&alone[i].arg.type);
            if (memcmp(among.first + (gsize)images[i] * bytes, alone[i].first, bytes) != 0) {
                TN_FAIL("%s, %d to %d maps of %d x %d: image %d has other bits among %d", g->c->op,
                        (int)g->c->channels, (int)g->c->maps, (int)g->c->size, (int)g->c->size,
                        (int)images[i], (int)numbers[k]);
            }
        }
        array_clear(&among);
    }
    for (guint i = 0; i < G_N_ELEMENTS(images); i++) {
        array_clear(&alone[i]);
    }
}

static TnArg
arg_of(const TnType *type)
{
    TnArg arg = { .type = *type, .count = tn_type_count(type) };
    tn_type_strides(type, arg.strides);
    return arg;
}

/* The kernel that would be taken for so many images; lanes: sixteen times as many. */
static const TnKernel *
kernel_for(const Given *g, gint64 images, gboolean lanes)
{
    const TnOp *op = tn_op_find(g->c->op, NULL);
    const TnConvAttrs attrs = attrs_of(g->c, lanes);
    TnArg in[3], out;
    TnType types[3], made[TN_MAX_OUT];
    TnTensor *none[TN_MAX_IN] = { NULL };
    gint n_out;
    for (gint i = 0; i < g->n_in; i++) {
        types[i] = type_of(g->c, i, images, lanes);
        in[i] = arg_of(&types[i]);
    }
    TN_REQUIRE(tn_op_infer(op, &attrs, "test", g->n_in, types, none, &n_out, made, NULL));
    out = arg_of(&made[0]);
    const TnNode node = { .size = sizeof node,
                          .op = op,
                          .attrs = &attrs,
                          .name = "test",
                          .n_in = g->n_in,
                          .n_out = 1,
                          .in = in,
                          .out = &out,
                          .batch_invariant = TRUE };
    return tn_kernel_find("cpu", &node);
}

static void
check_choice(const Given *g)
{
    static const gint64 numbers[] = { 1, 2, 7, 16, 128 };
    const TnKernel *first = kernel_for(g, 1, FALSE), *at_once = kernel_for(g, 1, TRUE);
    TN_ASSERT_CMPINT(first->rank, ==, g->c->rank);
    for (guint i = 0; i < G_N_ELEMENTS(numbers); i++) {
        TN_ASSERT(kernel_for(g, numbers[i], FALSE) == first);
        TN_ASSERT(kernel_for(g, numbers[i], TRUE) == at_once);
    }
    /* Lanes of f32 are the plugin cpu's, where all of it is. */
    if (g->c->dtype == TN_DTYPE_F32) {
        TN_ASSERT((at_once->rank == DIRECT) == (g->c->rank > 0));
    }
}

static void
give(const Case *c, Given *given)
{
    guint64 state = 4321;
    *given = (Given){ .c = c, .attrs = attrs_of(c, FALSE) };
    given->n_in = strcmp(c->op, "conv") == 0 ? 2 : 3;
    for (gint i = 0; i < given->n_in; i++) {
        given->in[i] = array_new(type_of(c, i, MOST, FALSE), NULL);
        for (gint64 k = 0; k < given->in[i].arg.count; k++) {
            array_set(&given->in[i], k, noise_unit(&state) * 2 - 1);
        }
    }
}

static void
open_all(void)
{
    g_autoptr(GError) error = NULL;
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    if (!tn_registry_open("onednn", &error)) {
        tn_test_skip("%s", error->message);
    }
    batch_invariant = TRUE;
}

static void
same_bits(void)
{
    open_all();
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        Given given;
        give(&cases[i], &given);
        check_bits(&given);
        for (gint k = 0; k < given.n_in; k++) {
            array_clear(&given.in[k]);
        }
    }
    tn_pool_set_threads(1);
}

static void
same_kernels(void)
{
    open_all();
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        Given given = { .c = &cases[i], .n_in = strcmp(cases[i].op, "conv") == 0 ? 2 : 3 };
        check_choice(&given);
    }
}

static const TnTest tests[] = {
    { "same bits", same_bits },
    { "same kernels", same_kernels },
};
TN_TEST_MAIN("oneDNN samples", tests)
