/* What oneDNN's convolutions are cut into where the number of images may not show and calls on several images
 * give other bits than calls on one. No sizes are known at which slices of images do, so the plugin's own files
 * are built in, with comparisons that fail. */
#include "cpu_run.h"

#if __has_include(<oneapi/dnnl/dnnl.h>)

#include "../../plugins/onednn/call.c"
#include "../../plugins/onednn/conv.c"
#undef ROW
#include "../../plugins/onednn/conv_sizes.c"
#include "../../plugins/onednn/library.c"
#include "../../plugins/onednn/ports.c"
#include "../../plugins/onednn/slices.c"
#include "../../plugins/onednn/worth.c"

/* Instead of samples.c: comparisons that are still to fail, those that were asked for, what was kept. */
static gint failing, asked_for, kept;

gboolean
onednn_same_alone(const OneDnnSamples *samples)
{
    (void)samples;
    asked_for++;
    return failing-- <= 0;
}

gint
onednn_found(const char *name)
{
    (void)name;
    return kept;
}

void
onednn_keep(const char *name, gint what)
{
    (void)name;
    kept = what;
}

/* 160 maps of 6 x 6: few images are cut into channels, and are so much work that there are several slices. */
enum { IMAGES_GIVEN = 5, MAPS = 160, SIZE = 6 };
static const TnConvAttrs attrs = { .group = 1, .pads = { 4, { 1, 1, 1, 1 } } };

/* The first `images` images. */
typedef struct {
    TnArg in[2], out;
    TnNode node;
} Given;

static void
give(Given *g, const Array *x, const Array *w, const Array *y, gint64 images)
{
    *g = (Given){ .in = { x->arg, w->arg }, .out = y->arg };
    g->in[0].type.dims[0] = g->out.type.dims[0] = images;
    g->in[0].count = g->out.count = images * MAPS * SIZE * SIZE;
    g->node = (TnNode){ .size = sizeof g->node,
                        .op = tn_op_find("conv", NULL),
                        .attrs = &attrs,
                        .name = "test",
                        .n_in = 2,
                        .n_out = 1,
                        .in = g->in,
                        .out = &g->out,
                        .batch_invariant = TRUE };
}

/* Runs the direct convolution of that many images into y; gives the slices. */
static gint64
convolve(const Array *x, const Array *w, Array *y, gint64 images, SliceKind *by)
{
    Given g;
    TnPrepared prepared = { .size = sizeof prepared };
    void *const in[] = { x->first, w->first }, *out[] = { y->first };
    give(&g, x, w, y, images);
    TN_REQUIRE(prepare_forward(&g.node, &prepared, NULL));
    const Plan *plan = prepared.state;
    const gint64 n = plan->slices.n;
    void *scratch = tn_data_alloc(prepared.scratch + 1);
    const TnRun once = { .size = sizeof once, .in = in, .out = out, .scratch = scratch };
    *by = plan->by;
    TN_ASSERT_CMPINT(run(prepared.state, &once), ==, TN_OK);
    tn_data_free(scratch);
    slices_release(prepared.state);
    return n;
}

static Array
filled(gint64 first, gint64 second, gint64 size)
{
    static guint64 state = 77;
    const gint64 dims[] = { first, second, size, size };
    Array array = array_new(tn_type(TN_DTYPE_F32, 4, dims), NULL);
    for (gint64 i = 0; i < array.arg.count; i++) {
        array_set(&array, i, 2 * noise_unit(&state) - 1);
    }
    return array;
}

static void
cuts(void)
{
    g_autoptr(GError) error = NULL;
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    if (!onednn_open("libdnnl.so.2", &error)) {
        tn_test_skip("%s", error->message);
    }
    Array x = filled(IMAGES_GIVEN, MAPS, SIZE), w = filled(MAPS, MAPS, 3);
    Array y = filled(IMAGES_GIVEN, MAPS, SIZE), first = filled(1, MAPS, SIZE);
    const gsize bytes = (gsize)first.arg.count * sizeof(float);
    SliceKind by;
    kept = -1;
    failing = 0;
    (void)convolve(&x, &w, &first, 1, &by);
    for (gint fails = 0; fails < 3; fails++) {
        kept = -1;
        failing = fails;
        asked_for = 0;
        const gint64 slices = convolve(&x, &w, &y, IMAGES_GIVEN, &by);
        /* The last cut, an image each, is what is compared with: it is not asked about. */
        TN_ASSERT_CMPINT(asked_for, ==, MIN(fails + 1, 2));
        TN_ASSERT_CMPINT(kept, ==, fails);
        TN_ASSERT_CMPINT(by, ==, fails == 0 ? BY_CHANNELS : BY_IMAGES);
        TN_ASSERT(fails < 2 || slices == IMAGES_GIVEN);
        TN_ASSERT(memcmp(y.first, first.first, bytes) == 0);
        /* What was found is taken the next time. */
        TN_ASSERT_CMPINT(convolve(&x, &w, &y, IMAGES_GIVEN, &by), ==, slices);
        TN_ASSERT_CMPINT(asked_for, ==, MIN(fails + 1, 2));
        TN_ASSERT(memcmp(y.first, first.first, bytes) == 0);
    }
    Array *const all[] = { &x, &w, &y, &first };
    for (guint i = 0; i < G_N_ELEMENTS(all); i++) {
        array_clear(all[i]);
    }
}

#else

static void
cuts(void)
{
    tn_test_skip("oneDNN's headers are not there");
}

#endif

static const TnTest tests[] = { { "cuts", cuts } };
TN_TEST_MAIN("oneDNN alone", tests)
