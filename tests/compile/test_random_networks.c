/* test_random_networks.c: networks of convolutions made at random, of sizes down to one place and one
 * image, compiled with and without the passes that lay, fold and fuse them: the same results, gradients
 * too; and with `batch_invariant` the same bits whatever the number of images. TN_SEEDS asks for more. */
// tn-test: timeout=180
#include <math.h>

#include <stdio.h>
#include <string.h>

#include <tenon/ops.h>
#include <tenon/plugin.h>

#include "tn_graphs.h"
#include "tn_nets.h"
#include "tn_test.h"

#define MAX_IMAGES 8

static TnDevice *cpu, *ref;

static void
set_up(void)
{
    ref = tn_test_device("ref");
    cpu = tn_test_device("cpu");
    TN_REQUIRE(tn_registry_open("nn", NULL));
}

static void
tear_down(void)
{
    tn_device_unref(cpu);
    tn_device_unref(ref);
}

/* --- Networks --------------------------------------------------------------------------------- */

typedef struct {
    TnNet net;
    GRand *rand;
    TnVal images[MAX_IMAGES]; /* the last one is built upon, the others may be added to it */
    guint n, n_layers;
    gboolean smooth; /* nothing whose gradient jumps */
} Random;

#define PICK(r, ...)                                                                               \
    ((const gint64[]){ __VA_ARGS__ })[g_rand_int_range(                                            \
        (r)->rand, 0, (gint32)G_N_ELEMENTS(((const gint64[]){ __VA_ARGS__ })))]

static gboolean
maybe(Random *r, double chance)
{
    return g_rand_double(r->rand) < chance;
}

static const gint64 *
dims_of(const Random *r, TnVal val)
{
    return tn_graph_type(r->net.graph, val)->dims;
}

static char *
layer_name(Random *r)
{
    return g_strdup_printf("l%u", r->n_layers++);
}

static TnVal
some_conv(Random *r, TnVal x, gint64 maps, gint64 stride)
{
    g_autofree char *name = layer_name(r);
    const gint64 *dims = dims_of(r, x);
    const gint64 channels = dims[1], least = MIN(dims[2], dims[3]);
    const gint64 kernel = least < 2 && maybe(r, 0.5) ? 1 : PICK(r, 1, 3);
    const gint64 group = channels % 2 == 0 && maps % 2 == 0 && maybe(r, 0.2) ? 2 : 1;
    TnVal y = tn_net_conv(
        &r->net, name, x,
        (TnNetConv){ maps, channels, kernel, stride, kernel / 2, group, maybe(r, 0.4) });
    return maybe(r, 0.6) ? tn_net_norm(&r->net, name, y) : y;
}

/* What was computed before, with as many places and maps: as it is, or by way of a convolution. */
static TnVal
some_residual(Random *r, TnVal x)
{
    const gint64 *dims = dims_of(r, x);
    const TnVal from = r->images[g_rand_int_range(r->rand, 0, (gint32)r->n)];
    const gint64 *have = dims_of(r, from);
    if (have[2] != dims[2] || have[3] != dims[3]) {
        return TN_VAL_NONE;
    }
    return have[1] == dims[1] && maybe(r, 0.7) ? from : some_conv(r, from, dims[1], 1);
}

/* A number for each channel: of the store, or of the images themselves. */
static TnVal
per_channel(Random *r, TnVal x)
{
    g_autofree char *name = layer_name(r);
    const gint64 dims[] = { dims_of(r, x)[1], 1, 1 };
    return maybe(r, 0.5) ? tn_net_op1(&r->net, "global_average_pool", x)
                         : tn_net_param(&r->net, name, "g", 3, dims, 0, 1);
}

static TnVal
some_layer(Random *r, TnVal x)
{
    const gint64 *dims = dims_of(r, x);
    TnGraph *graph = r->net.graph;
    TnVal other;
    switch (g_rand_int_range(r->rand, 0, 8)) {
    case 0:
        other = some_residual(r, x);
        return tn_val_is_none(other) ? x : tn_f_add(graph, x, other);
    case 1: return tn_f_add(graph, x, per_channel(r, x));
    case 2: return tn_f_mul(graph, x, per_channel(r, x));
    case 3:
        if (dims[2] > 1 && dims[3] > 1) {
            const gboolean largest = !r->smooth && maybe(r, 0.6);
            return tn_net_pool(&r->net, largest ? "max_pool" : "average_pool", x, 2, 2);
        }
        return tn_net_op1(&r->net, r->smooth ? "tanh" : "relu", x);
    case 4: return tn_net_op1(&r->net, r->smooth ? "tanh" : "relu", x);
    default:
        x = some_conv(r, x, PICK(r, 8, 16, 32, 33, 48, 64), PICK(r, 1, 1, 2));
        return maybe(r, 0.5) ? tn_net_op1(&r->net, r->smooth ? "tanh" : "relu", x) : x;
    }
}

static TnVal
some_linear(Random *r, TnVal x, gint64 out)
{
    g_autofree char *name = layer_name(r);
    const gint64 in = dims_of(r, x)[1], w[] = { out, in };
    const double reach = 1.5 / sqrt((double)in);
    const TnVal of[] = { x, tn_net_param(&r->net, name, "w", 2, w, -reach, reach),
                         tn_net_param(&r->net, name, "b", 1, &out, -0.5, 0.5) };
    return tn_graph_op(r->net.graph, "linear", NULL, maybe(r, 0.7) ? 3 : 2, of, NULL);
}

/* Dense layers with activations, sums with what was before, and some results that are read again, of the means. */
static TnVal
dense_layers(Random *r, TnVal mean)
{
    TnGraph *graph = r->net.graph;
    const TnAxisAttrs rows = { 1 };
    TnVal x = tn_graph_op(graph, "flatten", &rows, 1, &mean, NULL);
    const gint layers = g_rand_int_range(r->rand, 1, 4);
    for (gint i = 0; i < layers; i++) {
        const gint64 width = dims_of(r, x)[1];
        const TnVal before = x, y = some_linear(r, x, maybe(r, 0.6) ? width : PICK(r, 7, 32, 128));
        const gboolean adds = maybe(r, 0.5) && dims_of(r, y)[1] == width;
        x = adds && maybe(r, 0.5) ? tn_f_add(graph, y, before) : y;
        x = maybe(r, 0.7) ? tn_net_op1(&r->net, r->smooth || maybe(r, 0.4) ? "gelu" : "relu", x)
                          : x;
        x = adds && maybe(r, 0.5) ? tn_f_add(graph, before, x) : x;
        x = maybe(r, 0.2) ? tn_f_add(graph, x, tn_net_op1(&r->net, "tanh", y)) : x;
    }
    tn_graph_output(graph, "dense", x);
    return x;
}

static void
add_gradients(Random *r, TnVal mean)
{
    g_autoptr(GError) error = NULL;
    TnGraph *graph = r->net.graph;
    const TnVal loss = tn_f_reduce_sum(graph, tn_f_mul(graph, mean, mean), 0, NULL, FALSE);
    TnVal of[16], out[16];
    gint n = 0;
    of[n++] = r->images[0];
    for (guint i = 0; i < tn_graph_n_variables(graph) && n < 16; i++) {
        (void)tn_graph_variable_at(graph, i, NULL, &of[n++], NULL);
    }
    TN_REQUIRE(tn_grad(graph, loss, TN_VAL_NONE, (guint)n, of, out, &error));
    for (gint i = 0; i < n; i++) {
        g_autofree char *name = g_strdup_printf("d%d", i);
        if (!tn_val_is_none(out[i])) {
            tn_graph_output(graph, name, out[i]);
        }
    }
}

static Random
random_network(guint64 seed, gboolean gradients)
{
    Random r = { .net = tn_net_new(seed),
                 .rand = g_rand_new_with_seed((guint32)seed),
                 .smooth = gradients };
    const gint64 dims[] = { PICK(&r, 1, 2, 16, 17, 32), PICK(&r, 1, 3, 16, 32, 64),
                            PICK(&r, 1, 2, 5, 8), PICK(&r, 1, 3, 8) };
    TnVal y = tn_graph_input(r.net.graph, "x", tn_type(TN_DTYPE_F32, 4, dims));
    r.images[r.n++] = y;
    y = some_conv(&r, y, PICK(&r, 16, 32, 64), 1);
    const gint layers = g_rand_int_range(r.rand, 2, 8);
    for (gint i = 0; i < layers; i++) {
        r.images[r.n < MAX_IMAGES ? r.n++ : MAX_IMAGES - 1] = y;
        y = some_layer(&r, y);
    }
    const TnVal mean = tn_net_op1(&r.net, "global_average_pool", y);
    tn_graph_output(r.net.graph, "images", y);
    tn_graph_output(r.net.graph, "mean", mean);
    const TnVal dense = dense_layers(&r, mean);
    if (gradients) {
        add_gradients(&r, dense);
    }
    return r;
}

static void
random_clear(Random *r)
{
    tn_net_clear(&r->net);
    g_rand_free(r->rand);
}

/* --- Running ---------------------------------------------------------------------------------- */

typedef struct {
    const char *const *skip;
    TnDtype precision;
    gboolean batch_invariant;
    const TnType *x; /* NULL: as built */
} How;

/* An exec that has run. (transfer full). */
static TnExec *
run(const Random *r, How how)
{
    TnDevice *const devices[] = { cpu, ref };
    const TnCompile options = { .devices = devices,
                                .n_devices = 2,
                                .skip = how.skip,
                                .precision = how.precision,
                                .batch_invariant = how.batch_invariant,
                                .inputs = how.x };
    g_autoptr(GError) error = NULL;
    g_autoptr(TnProgram) program = tn_compile(r->net.graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    TnExec *exec = tn_net_exec(&r->net, program, how.x, 0);
    /* Twice: what runs once is not run again. */
    TN_REQUIRE(tn_exec_run(exec) == TN_OK && tn_exec_run(exec) == TN_OK);
    return exec;
}

static guint64
n_seeds(guint64 n)
{
    const char *text = g_getenv("TN_SEEDS");
    return text != NULL ? g_ascii_strtoull(text, NULL, 10) : n;
}

static void
compare(guint64 seed, const Random *r, TnExec *got, TnExec *want, const char *what, double bound)
{
    for (guint i = 0; i < tn_graph_n_outputs(r->net.graph); i++) {
        const double off = tn_test_difference(tn_exec_output(got, i), tn_exec_output(want, i));
        if (!(off <= bound)) {
            TN_FAIL("seed %u, %s: output %u is %g of the largest apart, %g at most expected",
                    (guint)seed, what, i, off, bound);
        }
    }
}

/* --- Tests ------------------------------------------------------------------------------------ */

static const char *const plain[] = { "layout", "algebra", "join", "once", "fuse", NULL };
static const char *const alone[][2] = {
    { "layout" }, { "algebra" }, { "join" }, { "once" }, { "fuse" }
};

static void
passes_keep_results_of(gboolean gradients, guint64 first)
{
    for (guint64 seed = first; seed < first + n_seeds(TN_TEST_SANITIZED ? 6 : 25); seed++) {
        Random r = random_network(seed, gradients);
        g_autoptr(TnExec) want = run(&r, (How){ .skip = plain });
        g_autoptr(TnExec) all = run(&r, (How){ .skip = NULL });
        compare(seed, &r, all, want, "every pass", 1e-4);
        for (gsize i = 0; i < G_N_ELEMENTS(alone); i++) {
            g_autoptr(TnExec) without = run(&r, (How){ .skip = alone[i] });
            compare(seed, &r, without, want, alone[i][0], 1e-4);
        }
        random_clear(&r);
    }
}

static void
passes_keep_results(void)
{
    passes_keep_results_of(FALSE, 0);
}

static void
passes_keep_gradients(void)
{
    passes_keep_results_of(TRUE, 1000);
}

/* What is stored in 16 bits, and when, differs; the numbers stay near. */
static void
narrow_numbers_stay_near(void)
{
    for (guint64 seed = 2000; seed < 2000 + n_seeds(TN_TEST_SANITIZED ? 6 : 25); seed++) {
        Random r = random_network(seed, FALSE);
        g_autoptr(TnExec) want = run(&r, (How){ .skip = plain });
        g_autoptr(TnExec) all = run(&r, (How){ .precision = TN_DTYPE_BF16 });
        g_autoptr(TnExec) rest = run(&r, (How){ .skip = plain, .precision = TN_DTYPE_BF16 });
        compare(seed, &r, all, want, "bf16, every pass", 0.05);
        compare(seed, &r, rest, want, "bf16, no pass", 0.05);
        random_clear(&r);
    }
}

/* The first image's results, of one image and of many. */
static void
same_bits_of_any_number(void)
{
    static const TnDtype precisions[] = { TN_DTYPE_F32, TN_DTYPE_BF16 };
    for (guint64 seed = 3000; seed < 3000 + n_seeds(TN_TEST_SANITIZED ? 6 : 25); seed++) {
        Random r = random_network(seed, FALSE);
        for (gsize p = 0; p < G_N_ELEMENTS(precisions); p++) {
            TnType one = *tn_graph_type(r.net.graph, r.images[0]), many = one;
            one.dims[0] = 1;
            many.dims[0] = MAX(many.dims[0], 2);
            const How how = { .precision = precisions[p], .batch_invariant = TRUE };
            How a = how, b = how;
            a.x = &one;
            b.x = &many;
            g_autoptr(TnExec) of_one = run(&r, a), of_many = run(&r, b);
            for (guint i = 0; i < 3; i++) {
                g_autoptr(GError) error = NULL;
                TnTensor *all = tn_exec_output(of_many, i);
                g_autoptr(TnTensor) first = tn_tensor_slice(all, 0, 0, 1, 1, &error);
                TN_REQUIRE_NO_ERROR(error);
                if (!tn_test_same(first, tn_exec_output(of_one, i))) {
                    TN_FAIL("seed %u, %s: output %u of one image has other bits than of %d",
                            (guint)seed, tn_dtype_name(precisions[p]), i, (int)many.dims[0]);
                }
            }
        }
        random_clear(&r);
    }
}

static const TnTest tests[] = {
    { "passes keep results", passes_keep_results },
    { "passes keep gradients", passes_keep_gradients },
    { "narrow numbers stay near", narrow_numbers_stay_near },
    { "same bits of any number", same_bits_of_any_number },
};
TN_TEST_MAIN_WITH("random networks", tests, set_up, tear_down)
