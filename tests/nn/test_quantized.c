/* test_quantized.c: products of dequantised numbers: which become quantized_conv, what becomes part of
 * them, and that results stay what the graph says in f32, but for numbers that are rounded the other
 * way. */
#include <math.h>
#include <string.h>

#include <tenon/base.h>
#include <tenon/nn.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>

#include "conformance.h"
#include "tn_graphs.h"
#include "tn_test.h"

static TnDevice *devices[2];
static TnRandom numbers;
static const char *const no_algebra[] = { "algebra", NULL };

static void
set_up(void)
{
    devices[0] = tn_test_device("cpu");
    devices[1] = tn_test_device("ref");
    TN_REQUIRE(tn_registry_open("nn", NULL));
}

static void
tear_down(void)
{
    tn_device_unref(devices[0]);
    tn_device_unref(devices[1]);
}

/* --- Graphs ----------------------------------------------------------------------------------- */

#define TYPE(...)                                                                                  \
    tn_type(TN_DTYPE_F32, (gint)(sizeof((gint64[]){ __VA_ARGS__ }) / sizeof(gint64)),              \
            (const gint64[]){ __VA_ARGS__ })

static TnTensor *
random_tensor(TnType type, double low, double high)
{
    g_autofree double *values = g_new(double, (gsize)tn_type_count(&type) + 1);
    for (gint64 i = 0; i < tn_type_count(&type); i++) {
        values[i] = low + (high - low) * tn_random_f64(&numbers);
    }
    return tn_test_tensor(type, values);
}

static TnVal
fixed(TnGraph *graph, TnType type, double low, double high)
{
    g_autoptr(TnTensor) tensor = random_tensor(type, low, high);
    return tn_graph_constant(graph, tensor);
}

static TnVal
number(TnGraph *graph, TnDtype dtype, double value)
{
    return tn_graph_scalar(graph, dtype, value);
}

static TnVal
op(TnGraph *graph, const char *name, const void *attrs, gint n, const TnVal *in)
{
    return tn_graph_op(graph, name, attrs, n, in, NULL);
}

/* Through 8 bits and back. */
static TnVal
narrowed(TnGraph *graph, TnVal x, double scale, double zero)
{
    const TnVal in[] = { x, number(graph, TN_DTYPE_F32, scale), number(graph, TN_DTYPE_U8, zero) };
    const TnVal back[] = { op(graph, "quantize_linear", NULL, 3, in), in[1], in[2] };
    return op(graph, "dequantize_linear", NULL, 3, back);
}

/* Weights likewise, a scale for each map. */
static TnVal
weights(TnGraph *graph, TnType type, double zero)
{
    static const TnAxisAttrs first = { 0 };
    const gint64 maps = type.dims[0];
    g_autofree double *zeros = g_new(double, (gsize)maps);
    for (gint64 i = 0; i < maps; i++) {
        zeros[i] = zero;
    }
    g_autoptr(TnTensor) point = tn_test_tensor(tn_type(TN_DTYPE_I8, 1, &maps), zeros);
    const TnVal in[] = { fixed(graph, type, -0.5, 0.5), fixed(graph, TYPE(maps), 0.003, 0.004),
                         tn_graph_constant(graph, point) };
    const TnVal back[] = { op(graph, "quantize_linear", &first, 3, in), in[1], in[2] };
    return op(graph, "dequantize_linear", &first, zero == 0 ? 2 : 3, back);
}

static TnVal
normalised(TnGraph *graph, TnVal x, gint64 maps)
{
    const TnVal in[] = { x, fixed(graph, TYPE(maps), 0.5, 1), fixed(graph, TYPE(maps), -0.5, 0.5),
                         fixed(graph, TYPE(maps), -0.2, 0.2), fixed(graph, TYPE(maps), 0.5, 2) };
    return op(graph, "batch_normalization", NULL, 5, in);
}

static TnVal
relu(TnGraph *graph, TnVal x)
{
    return op(graph, "relu", NULL, 1, &x);
}

static TnVal
pair(TnGraph *graph, const char *name, const void *attrs, TnVal a, TnVal b)
{
    return op(graph, name, attrs, 2, (const TnVal[]){ a, b });
}

static TnProgram *
compile(const TnGraph *graph, const char *const *skip)
{
    g_autoptr(GError) error = NULL;
    const TnCompile options = { .devices = devices, .n_devices = 2, .skip = skip };
    TnProgram *program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    return program;
}

static TnTensor *
run(const TnProgram *program, TnTensor *x)
{
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnExec) exec = tn_exec_new((TnProgram *)program, NULL, context, NULL);
    TN_REQUIRE(exec != NULL && tn_exec_bind(exec, 0, x) == TN_OK);
    TN_REQUIRE(tn_exec_run(exec) == TN_OK);
    return tn_tensor_copy(tn_exec_output(exec, 0), NULL, TN_DTYPE_NONE, NULL);
}

static guint
count(const char *text, const char *word)
{
    guint n = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++) {
        n++;
    }
    return n;
}

/* Compiles with and without the rules. How many quantized_conv there are; the text of the program. */
static guint
check(TnGraph *graph, TnVal y, TnType x, char **text)
{
    tn_graph_output(graph, "y", y);
    g_autoptr(TnProgram) narrow = compile(graph, NULL), wide = compile(graph, no_algebra);
    g_autoptr(TnTensor) input = random_tensor(x, -1, 1);
    g_autoptr(TnTensor) got = run(narrow, input), want = run(wide, input);
    g_autofree char *plain = tn_program_print(wide);
    double most = 0, off = 0;
    for (gint64 i = 0; i < tn_tensor_count(want); i++) {
        most = MAX(most, fabs(tn_tensor_get(want, i)));
        off = MAX(off, fabs(tn_tensor_get(want, i) - tn_tensor_get(got, i)));
    }
    TN_ASSERT(most > 0.1);
    TN_ASSERT_CMPFLOAT(off, <=, 0.04 * most);
    TN_ASSERT_CMPUINT(count(plain, "quantized_conv"), ==, 0);
    *text = tn_program_print(narrow);
    return count(*text, " quantized_conv ");
}

#define INTS(...)                                                                                  \
    {                                                                                              \
        .n = (gint32)(sizeof((gint64[]){ __VA_ARGS__ }) / sizeof(gint64)), .v = { __VA_ARGS__ }    \
    }
static const TnConvAttrs same = { .group = 1, .pads = INTS(1, 1, 1, 1) };

/* Convolution, normalisation, rectifier, maximum; a block with a sum; a matrix. */
static void
a_chain_stays_narrow(void)
{
    const TnPoolAttrs pool = { { INTS(3, 3), INTS(2, 2), INTS(1, 1, 1, 1), { 0 } }, FALSE, FALSE };
    const TnAxisAttrs flat = { 1 };
    g_autofree char *text = NULL;
    g_autoptr(TnGraph) graph = tn_graph_new("chain");
    tn_random_init(&numbers, 3, "chain", 0);
    TnVal x = narrowed(graph, tn_graph_input(graph, "x", TYPE(2, 3, 11, 9)), 1 / 127.0, 128);
    x = pair(graph, "conv", &same, x, weights(graph, TYPE(20, 3, 3, 3), 0));
    x = relu(graph, normalised(graph, x, 20));
    x = narrowed(graph, op(graph, "max_pool", &pool, 1, &x), 0.01, 0);
    const TnVal inner[] = { x, weights(graph, TYPE(7, 20, 1, 1), 0), fixed(graph, TYPE(7), -1, 1) };
    TnVal y = narrowed(graph, relu(graph, op(graph, "conv_bias", NULL, 3, inner)), 0.02, 0);
    y = pair(graph, "conv", &same, y, weights(graph, TYPE(20, 7, 3, 3), 0));
    y = relu(graph, pair(graph, "add", NULL, x, normalised(graph, y, 20)));
    y = narrowed(graph, y, 0.02, 0);
    y = narrowed(graph, op(graph, "flatten", &flat, 1, &y), 0.02, 0);
    y = narrowed(graph,
                 relu(graph, pair(graph, "linear", NULL, y, weights(graph, TYPE(12, 600), 0))),
                 0.05, 0);
    y = pair(graph, "linear", NULL, y, weights(graph, TYPE(5, 12), 0));
    TN_ASSERT_CMPUINT(check(graph, y, TYPE(2, 3, 11, 9), &text), ==, 5);
    TN_ASSERT_CMPUINT(count(text, " conv "), ==, 0);
    TN_ASSERT_CMPUINT(count(text, " conv_blocked "), ==, 0);
    TN_ASSERT_CONTAINS(text, "u8[2, 1, 11, 9, 20]"); /* what is pooled */
}

static guint
one(const TnConvAttrs *attrs, TnType w, double zero, gboolean twice)
{
    g_autofree char *text = NULL;
    g_autoptr(TnGraph) graph = tn_graph_new("one");
    tn_random_init(&numbers, 5, "one", 0);
    const TnVal x = narrowed(graph, tn_graph_input(graph, "x", TYPE(1, 4, 8, 8)), 1 / 127.0, 128);
    TnVal y = pair(graph, "conv", attrs, x, weights(graph, w, zero));
    y = twice ? pair(graph, "add", NULL, relu(graph, y), narrowed(graph, y, 0.01, 100)) : y;
    return check(graph, y, TYPE(1, 4, 8, 8), &text);
}

static void
others_stay_wide(void)
{
    static const TnConvAttrs grouped = { .group = 2 };
    static const TnConvAttrs apart = { .group = 1, .dilations = INTS(1, 2) };
    static const TnConvAttrs rows = { .group = 1, .dilations = INTS(2, 1) };
    TN_ASSERT_CMPUINT(one(&same, TYPE(6, 4, 3, 3), 0, FALSE), ==, 1);
    TN_ASSERT_CMPUINT(one(&rows, TYPE(6, 4, 3, 3), 0, FALSE), ==, 1);
    TN_ASSERT_CMPUINT(one(&same, TYPE(6, 4, 3, 3), 0, TRUE), ==, 1); /* read twice */
    TN_ASSERT_CMPUINT(one(&same, TYPE(6, 4, 3, 3), 3, FALSE), ==, 0);
    TN_ASSERT_CMPUINT(one(&grouped, TYPE(6, 2, 3, 3), 0, FALSE), ==, 0);
    TN_ASSERT_CMPUINT(one(&apart, TYPE(6, 4, 3, 3), 0, FALSE), ==, 0);
}

static const TnTest tests[] = {
    { "a chain stays narrow", a_chain_stays_narrow },
    { "others stay wide", others_stay_wide },
};

TN_TEST_MAIN_WITH("quantized", tests, set_up, tear_down)
