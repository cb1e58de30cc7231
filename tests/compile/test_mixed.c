/* test_mixed.c: with `batch_invariant`, kernels of nodes all of whose results hang on the whole batch are
 * chosen as without it, and those of no other; what hangs on its own sample keeps its bits beside them. */
// tn-test: timeout=120
#include <string.h>

#include <tenon/base.h>
#include <tenon/device.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>

#include "tn_graphs.h"
#include "tn_test.h"

#define CHANNELS 16
#define SIDE 6

static TnDevice *devices[2];

static void
set_up(void)
{
    devices[0] = tn_test_device("cpu");
    devices[1] = tn_test_device("ref");
    TN_REQUIRE(tn_registry_open("nn", NULL));
    (void)tn_registry_open("onednn", NULL); /* more kernels to choose from, where it is there */
}

static void
tear_down(void)
{
    tn_device_unref(devices[0]);
    tn_device_unref(devices[1]);
}

/* --- Graphs ----------------------------------------------------------------------------------- */

/* A graph while it is built. */
typedef struct {
    TnGraph *graph;
    TnStore *store;
    gint64 samples;
    TnVal x;           /* f32[samples, CHANNELS, SIDE, SIDE], an input */
    guint n_variables; /* so far: their names */
} Net;

static TnVal
images(Net *net, const char *name, gint64 n)
{
    const gint64 dims[] = { n, CHANNELS, SIDE, SIDE };
    return tn_graph_input(net->graph, name, tn_type(TN_DTYPE_F32, 4, dims));
}

static TnVal
variable(Net *net, gint rank, const gint64 *dims)
{
    g_autofree char *name = g_strdup_printf("v%u", net->n_variables++);
    const TnVarInfo info = { .name = name,
                             .type = tn_type(TN_DTYPE_F32, rank, dims),
                             .init = { .kind = TN_INIT_NORMAL, .a = 0.2, .b = 0.1 } };
    TnVar *var = tn_store_var(net->store, NULL, &info, NULL);
    /* Assigned, as while training: nothing is folded into fixed weights. */
    const TnVal val = tn_graph_variable(net->graph, var);
    tn_graph_assign(net->graph, var, tn_f_mul(net->graph, val, tn_f_const(net->graph, val, 1)));
    return val;
}

static TnVal
conv(Net *net, const char *name, TnVal x)
{
    const gint64 dims[] = { CHANNELS, tn_graph_type(net->graph, x)->dims[1], 3, 3 };
    const TnConvAttrs attrs = { .group = 1, .pads = { .n = 4, .v = { 1, 1, 1, 1 } } };
    tn_graph_push(net->graph, name);
    const TnVal w = variable(net, 4, dims);
    const TnVal y = tn_graph_op(net->graph, "conv", &attrs, 2, (TnVal[]){ x, w }, NULL);
    tn_graph_pop(net->graph);
    return y;
}

static TnVal
normed_by(Net *net, TnVal x, TnVal scale, TnVal bias)
{
    TnVal out[TN_MAX_OUT];
    tn_graph_op(net->graph, "batch_normalization_training", NULL, 3, (TnVal[]){ x, scale, bias },
                out);
    return out[0];
}

static TnVal
normed(Net *net, TnVal x)
{
    const gint64 channels = CHANNELS;
    const TnVal scale = variable(net, 1, &channels), bias = variable(net, 1, &channels);
    return normed_by(net, x, scale, bias);
}

static TnVal
slice(Net *net, TnVal x, gint64 start, gint64 end)
{
    const TnSliceAttrs attrs = { .starts = { 1, { start } },
                                 .ends = { 1, { end } },
                                 .axes = { 1, { 0 } },
                                 .steps = { 1, { 1 } } };
    return tn_graph_op(net->graph, "slice", &attrs, 1, &x, NULL);
}

static TnVal
concat(Net *net, TnVal a, TnVal b, gint64 axis)
{
    return tn_graph_op(net->graph, "concat", &(const TnAxisAttrs){ axis }, 2, (TnVal[]){ a, b },
                       NULL);
}

/* --- What the last convolution reads ---------------------------------------------------------- */

static TnVal
normed_images(Net *net)
{
    return normed(net, net->x);
}

static TnVal
further_layers(Net *net)
{
    TnGraph *graph = net->graph;
    const TnVal y = normed(net, conv(net, "first", net->x)), zero = tn_f_const(graph, y, 0);
    const TnVal positive = tn_f_where(graph, tn_f_greater(graph, y, zero), y, zero);
    return tn_f_add(graph, conv(net, "second", positive), tn_f_const(graph, y, 3));
}

static TnVal
moved(Net *net)
{
    const gint64 back[] = { 0, 1, 3, 2 };
    return tn_f_transpose(net->graph, normed(net, net->x), 4, back);
}

/* Inputs of the same samples: one cannot have more than the other. */
static TnVal
two_inputs_of_the_samples(Net *net)
{
    const TnVal both = tn_f_mul(net->graph, net->x, images(net, "other", net->samples));
    return normed(net, both);
}

static TnVal
plain(Net *net)
{
    return net->x;
}

static TnVal
beside_its_own_sample(Net *net)
{
    return tn_f_add(net->graph, normed(net, net->x), net->x);
}

/* Half of the channels are of the sample alone. */
static TnVal
put_together(Net *net)
{
    return concat(net, normed(net, net->x), net->x, 1);
}

/* Some elements hang on no sample. */
static TnVal
chosen_by_weights(Net *net)
{
    const gint64 dims[] = { CHANNELS, SIDE, SIDE };
    TnGraph *graph = net->graph;
    const TnVal w = variable(net, 3, dims), zero = tn_f_const(graph, w, 0);
    return tn_f_where(graph, tn_f_greater(graph, w, zero), normed(net, net->x), zero);
}

static TnVal
of_one_sample(Net *net)
{
    return normed(net, slice(net, net->x, 0, 1));
}

/* The first sample by itself, the others together. */
static TnVal
each_part_by_itself(Net *net)
{
    const TnVal one = of_one_sample(net);
    return concat(net, one, normed(net, slice(net, net->x, 1, G_MAXINT64)), 0);
}

/* Samples stand where channels do, each with statistics of its own. */
static TnVal
of_each_sample(Net *net)
{
    static const gint64 turn[] = { 1, 0, 2, 3 }, others[] = { 1, 2, 3 };
    TnGraph *graph = net->graph;
    const TnVal own = tn_f_reduce_mean(graph, net->x, 3, others, FALSE);
    const TnVal turned = tn_f_transpose(graph, net->x, 4, turn);
    return tn_f_transpose(graph, normed_by(net, turned, own, own), 4, turn);
}

/* Whose samples are mixed are not those that the result is of. */
static TnVal
of_other_samples(Net *net)
{
    static const gint64 first = 0;
    const TnVal others = normed(net, images(net, "others", net->samples));
    const TnVal mean = tn_f_reduce_mean(net->graph, others, 1, &first, TRUE);
    return normed(net, tn_f_mul(net->graph, net->x, mean));
}

/* Two rows more of zeros, which hang on no sample. */
static TnVal
padded(Net *net)
{
    const TnPadAttrs attrs = { .pads = { 8, { 0, 0, 0, 0, 0, 0, 4, 0 } } };
    TnVal in[] = { normed(net, net->x) };
    return tn_graph_op(net->graph, "pad", &attrs, 1, in, NULL);
}

/* Without variables a graph may be one that a loop runs, whose first axes are anything. */
static TnVal
without_variables(Net *net)
{
    const gint64 channels = CHANNELS;
    g_autoptr(TnTensor) tensor = tn_tensor_zeros(NULL, tn_type(TN_DTYPE_F32, 1, &channels), NULL);
    const TnVal zeros = tn_graph_constant(net->graph, tensor);
    return normed_by(net, net->x, zeros, zeros);
}

/* --- Which kernels heed it -------------------------------------------------------------------- */

typedef struct {
    guint free, invariant; /* nodes of the convolution "last" */
    char kernel[64];       /* of it */
} Seen;

static void
see(const TnChoice *choice, gpointer data)
{
    Seen *seen = data;
    if (strstr(choice->node->op->name, "conv") != NULL &&
        g_str_has_prefix(choice->node->name, "last.")) {
        seen->free += !choice->node->batch_invariant;
        seen->invariant += choice->node->batch_invariant;
        g_strlcpy(seen->kernel, choice->id, sizeof seen->kernel);
    }
}

static TnProgram *
compile(const TnGraph *graph, gboolean invariant, const TnType *inputs, Seen *seen)
{
    g_autoptr(GError) error = NULL;
    const TnCompile options = { .devices = devices,
                                .n_devices = 2,
                                .inputs = inputs,
                                .batch_invariant = invariant,
                                .used_sink = seen != NULL ? see : NULL,
                                .choice_data = seen };
    TnProgram *program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    return program;
}

static const struct {
    const char *name;
    TnVal (*build)(Net *net);
    gboolean free; /* the last convolution is behind what mixes */
} cases[] = {
    { "normed", normed_images, TRUE },
    { "further layers", further_layers, TRUE },
    { "moved", moved, TRUE },
    { "two inputs of the samples", two_inputs_of_the_samples, TRUE },
    { "plain", plain, FALSE },
    { "beside its own sample", beside_its_own_sample, FALSE },
    { "put together", put_together, FALSE },
    { "chosen by weights", chosen_by_weights, FALSE },
    { "of one sample", of_one_sample, FALSE },
    { "each part by itself", each_part_by_itself, FALSE },
    { "of each sample", of_each_sample, FALSE },
    { "of other samples", of_other_samples, FALSE },
    { "padded", padded, FALSE },
};

/* weights NULL: the last convolution has a variable's. */
static void
check(const char *name, TnVal (*build)(Net *net), TnTensor *weights, gint64 samples, gboolean want)
{
    g_autoptr(TnGraph) graph = tn_graph_new("net");
    g_autoptr(TnStore) store = tn_store_new(0);
    Net net = { .graph = graph, .store = store, .samples = samples };
    Seen seen[2] = { { 0 } };
    net.x = images(&net, "x", samples);
    const TnVal y = build(&net);
    if (weights == NULL) {
        tn_graph_output(graph, "y", conv(&net, "last", y));
    } else {
        const TnVal in[] = { y, tn_graph_constant(graph, weights) };
        tn_graph_push(graph, "last");
        tn_graph_output(graph, "y", tn_graph_op(graph, "conv", NULL, 2, in, NULL));
        tn_graph_pop(graph);
    }
    for (guint invariant = 0; invariant < 2; invariant++) {
        g_autoptr(TnProgram) program = compile(graph, invariant, NULL, &seen[invariant]);
        const guint free = !invariant || want;
        TN_REQUIRE(program != NULL);
        tn_test_check(seen[invariant].free == free && seen[invariant].invariant == 1 - free, FALSE,
                      __FILE__, __LINE__,
                      "%s, %d samples: %u convolutions chosen freely, %u so that samples keep bits",
                      name, (int)samples, seen[invariant].free, seen[invariant].invariant);
    }
    /* Images are laid for it as they are without the option. */
    if (want) {
        TN_ASSERT_CMPSTR(seen[0].kernel, seen[1].kernel);
    }
}

static void
what_is_mixed(void)
{
    static const gint64 dims[] = { CHANNELS, CHANNELS, 3, 3 };
    g_autoptr(TnTensor) weights = tn_tensor_zeros(NULL, tn_type(TN_DTYPE_F32, 4, dims), NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        check(cases[i].name, cases[i].build, NULL, 4, cases[i].free);
        check(cases[i].name, cases[i].build, NULL, 2 * TN_LANES, cases[i].free);
    }
    check("without variables", without_variables, weights, 4, FALSE);
}

/* --- Bits ------------------------------------------------------------------------------------- */

/* The first n images of x through the program; output 0's elements. */
static GArray *
run(const TnGraph *graph, TnStore *store, const TnTensor *x, gint64 n)
{
    g_autoptr(GError) error = NULL;
    TnType type = *tn_tensor_type(x);
    type.dims[0] = n;
    g_autoptr(TnProgram) program = compile(graph, TRUE, &type, NULL);
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnExec) exec = tn_exec_new(program, store, context, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnTensor) few = tn_tensor_new(NULL, type, &error);
    TN_REQUIRE_NO_ERROR(error);
    memcpy(tn_tensor_map(few, TN_MAP_WRITE, NULL), tn_tensor_map((TnTensor *)x, TN_MAP_READ, NULL),
           (gsize)tn_tensor_bytes(few));
    tn_tensor_unmap((TnTensor *)x);
    tn_tensor_unmap(few);
    TN_REQUIRE(tn_exec_bind(exec, 0, few) == TN_OK && tn_exec_run(exec) == TN_OK);
    TnTensor *out = tn_exec_output(exec, 0);
    GArray *values = g_array_new(FALSE, FALSE, sizeof(float));
    g_array_append_vals(values, tn_tensor_map(out, TN_MAP_READ, NULL), (guint)tn_tensor_count(out));
    tn_tensor_unmap(out);
    return values;
}

/* Samples are computed to the same bits in batches of any number: those
 * of the graph's first output. */
static void
keep_bits(const Net *net)
{
    static const gint64 numbers[] = { 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 32 };
    const gint64 dims[] = { 33, CHANNELS, SIDE, SIDE };
    g_autoptr(TnTensor) x = tn_tensor_new(NULL, tn_type(TN_DTYPE_F32, 4, dims), NULL);
    TnRandom random;
    tn_random_init(&random, 5, "mixed", 0);
    tn_random_fill_normal(&random, tn_tensor_count(x), tn_tensor_map(x, TN_MAP_WRITE, NULL));
    tn_tensor_unmap(x);
    g_autoptr(GArray) all = run(net->graph, net->store, x, 33);
    for (gsize i = 0; i < G_N_ELEMENTS(numbers); i++) {
        g_autoptr(GArray) some = run(net->graph, net->store, x, numbers[i]);
        TN_REQUIRE(some->len == all->len / 33 * numbers[i]);
        tn_test_check(memcmp(some->data, all->data, some->len * sizeof(float)) == 0, FALSE,
                      __FILE__, __LINE__, "other bits in a batch of %d", (int)numbers[i]);
    }
}

/* What hangs on its own sample alone, before a norm and beside it. */
static void
samples_keep_their_bits(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("net");
    g_autoptr(TnStore) store = tn_store_new(0);
    Net net = { .graph = graph, .store = store };
    net.x = images(&net, "x", 33);
    const TnVal before = conv(&net, "before", net.x);
    const TnVal behind = conv(&net, "behind", normed(&net, before));
    tn_graph_output(graph, "own", conv(&net, "beside", tn_f_add(graph, before, net.x)));
    tn_graph_output(graph, "mixed", conv(&net, "end", tn_f_add(graph, behind, before)));
    keep_bits(&net);
}

/* Rows that are padded behind a norm hang on no sample: what weights alone make of them. */
static void
padding_keeps_its_bits(void)
{
    const TnPadAttrs eight = { .pads = { 8, { 0, 0, 0, 0, 0, 0, 8, 0 } }, .value = 0.37 };
    const TnSliceAttrs within = {
        .starts = { 1, { 9 } }, .ends = { 1, { 14 } }, .axes = { 1, { 2 } }, .steps = { 1, { 1 } }
    };
    g_autoptr(TnGraph) graph = tn_graph_new("net");
    g_autoptr(TnStore) store = tn_store_new(0);
    Net net = { .graph = graph, .store = store };
    net.x = images(&net, "x", 33);
    TnVal y = normed(&net, net.x);
    y = tn_graph_op(graph, "pad", &eight, 1, &y, NULL);
    y = tn_f_add(graph, conv(&net, "one", y), tn_f_const(graph, y, 0.3));
    y = conv(&net, "two", y);
    tn_graph_output(graph, "own", tn_graph_op(graph, "slice", &within, 1, &y, NULL));
    keep_bits(&net);
}

static const TnTest tests[] = {
    { "what is mixed", what_is_mixed },
    { "samples keep their bits", samples_keep_their_bits },
    { "padding keeps its bits", padding_keeps_its_bits },
};
TN_TEST_MAIN_WITH("mixed", tests, set_up, tear_down)
