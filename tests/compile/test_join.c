/* test_join.c: dense layers take in what follows them where a device has a kernel for both and nobody else reads
 * what is between, and nowhere else, forward and backward; the bits are those of the nodes one after another. */
// tn-test: timeout=120
#include <tenon/base.h>
#include <tenon/cost.h>
#include <tenon/nn.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>
#include <tenon/pool.h>

#include "tn_graphs.h"
#include "tn_test.h"

enum { ROWS = 37, IN = 70, HIDDEN = 133 };

typedef struct Case {
    TnVal (*build)(TnGraph *graph, TnVal x);
    gint together; /* layers that take in what follows */
    gint products;
    const char *on; /* the device; NULL: cpu */
    TnDtype precision;
} Case;

static TnVal
input(TnGraph *graph, const char *name, gint rank, gint64 a, gint64 b)
{
    return tn_graph_input(graph, name, tn_type(TN_DTYPE_F32, rank, (gint64[]){ a, b }));
}

/* Of `out` columns, with weights and a bias that are inputs. */
static TnVal
layer(TnGraph *graph, const char *name, TnVal x, gint64 in, gint64 out)
{
    g_autofree char *bias = g_strconcat(name, ".bias", NULL);
    const TnVal of[] = { x, input(graph, name, 2, out, in), input(graph, bias, 1, out, 0) };
    return tn_graph_op(graph, "linear", NULL, 3, of, NULL);
}

static TnVal
relu(TnGraph *graph, TnVal x)
{
    return tn_graph_op(graph, "relu", NULL, 1, &x, NULL);
}

/* --- Networks --------------------------------------------------------------------------------- */

/* A step of relu (x w^T + b) v^T + x: all gradients, too. */
static TnVal
trained(TnGraph *graph, TnVal x)
{
    static const char *const names[] = { "dx", "dw", "db", "dv" };
    const TnVal w = input(graph, "w", 2, HIDDEN, IN), b = input(graph, "b", 1, HIDDEN, 0);
    const TnVal v = input(graph, "v", 2, IN, HIDDEN);
    const TnVal first[] = { x, w, b };
    const TnVal second[] = { relu(graph, tn_graph_op(graph, "linear", NULL, 3, first, NULL)), v };
    const TnVal z = tn_f_add(graph, x, tn_graph_op(graph, "linear", NULL, 2, second, NULL));
    const TnVal loss = tn_f_reduce_sum(graph, tn_f_mul(graph, z, z), 0, NULL, FALSE);
    const TnVal of[] = { x, w, b, v };
    TnVal grad[G_N_ELEMENTS(of)];
    g_autoptr(GError) error = NULL;
    TN_REQUIRE(tn_grad(graph, loss, TN_VAL_NONE, G_N_ELEMENTS(of), of, grad, &error));
    for (gsize i = 0; i < G_N_ELEMENTS(of); i++) {
        tn_graph_output(graph, names[i], grad[i]);
    }
    return z;
}

/* x + gelu (layer), then relu (layer + that), then a sum too many. */
static TnVal
both_orders(TnGraph *graph, TnVal x)
{
    const TnGeluAttrs tanh = { TN_GELU_TANH };
    TnVal y = layer(graph, "w", x, IN, IN);
    y = tn_f_add(graph, tn_graph_op(graph, "gelu", &tanh, 1, &y, NULL), x);
    TnVal z = relu(graph, tn_f_add(graph, layer(graph, "v", y, IN, IN), y));
    return tn_f_add(graph, z, x);
}

/* Somebody else reads what is between. */
static TnVal
read_twice(TnGraph *graph, TnVal x)
{
    const TnVal y = layer(graph, "w", x, IN, HIDDEN);
    return tn_f_mul(graph, relu(graph, y), y);
}

/* The other reader reads it through something that is left out, before or behind the one. */
static TnVal
read_through(TnGraph *graph, TnVal x)
{
    const TnVal y = layer(graph, "w", x, IN, HIDDEN);
    const TnVal same = tn_graph_op(graph, "identity", NULL, 1, &y, NULL);
    const TnVal also = tn_f_add(graph, y, tn_f_const(graph, y, 0));
    return tn_f_mul(graph, tn_f_mul(graph, same, relu(graph, same)), also);
}

/* Two equal layers are one product. */
static TnVal
equal_layers(TnGraph *graph, TnVal x)
{
    const TnVal w = input(graph, "w", 2, HIDDEN, IN);
    const TnVal in[] = { x, w };
    const TnVal a = tn_graph_op(graph, "linear", NULL, 2, in, NULL);
    const TnVal b = tn_graph_op(graph, "linear", NULL, 2, in, NULL);
    return tn_f_mul(graph, relu(graph, a), b);
}

/* Sums that are not of the result's shape, or whose shape the layer's result is not. */
static TnVal
other_shapes(TnGraph *graph, TnVal x)
{
    const TnVal y =
        tn_f_add(graph, layer(graph, "w", x, IN, HIDDEN), input(graph, "r", 1, HIDDEN, 0));
    const TnVal wide =
        tn_graph_input(graph, "wide", tn_type(TN_DTYPE_F32, 3, (gint64[]){ 2, ROWS, IN }));
    return tn_f_add(graph, layer(graph, "v", y, HIDDEN, IN), wide);
}

/* The same value twice. */
static TnVal
doubled(TnGraph *graph, TnVal x)
{
    const TnVal y = layer(graph, "w", x, IN, HIDDEN);
    return tn_f_add(graph, y, y);
}

/* Two layers are added: one takes in the other's result. */
static TnVal
summed(TnGraph *graph, TnVal x)
{
    return relu(
        graph, tn_f_add(graph, layer(graph, "w", x, IN, HIDDEN), layer(graph, "v", x, IN, HIDDEN)));
}

/* --- Running ---------------------------------------------------------------------------------- */

static TnTensor *
random_tensor(TnGraph *graph, guint i)
{
    const TnType *type = tn_graph_type(graph, tn_graph_input_at(graph, i, NULL));
    const gint64 n = tn_type_count(type);
    g_autofree float *values = g_new(float, (gsize)n);
    TnRandom random;
    tn_random_init(&random, 5, "input", i);
    for (gint64 k = 0; k < n; k++) {
        values[k] = (float)(tn_random_f64(&random) - 0.5);
    }
    return tn_tensor_from(*type, values, NULL);
}

/* How many steps of a program are of an operator, or of a dense layer in any form. */
typedef struct {
    gint together, products;
} Found;

/* All outputs, one after another (transfer full). */
static GArray *
run(const Case *c, const TnCompile *options, Found *found)
{
    GArray *values = g_array_new(FALSE, FALSE, sizeof(double));
    g_autoptr(TnGraph) graph = tn_graph_new("layers");
    tn_graph_output(graph, "y", c->build(graph, input(graph, "x", 2, ROWS, IN)));
    g_autoptr(GError) error = NULL;
    g_autoptr(TnProgram) program = tn_compile(graph, options, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnStore) store = tn_store_new(0);
    g_autoptr(TnExec) exec = tn_exec_new(program, store, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    for (guint i = 0; i < tn_graph_n_inputs(graph); i++) {
        g_autoptr(TnTensor) tensor = random_tensor(graph, i);
        TN_REQUIRE(tn_exec_bind(exec, i, tensor) == TN_OK);
    }
    TN_REQUIRE(tn_exec_run(exec) == TN_OK);
    for (guint k = 0; k < tn_graph_n_outputs(graph); k++) {
        TnTensor *out = tn_exec_output(exec, k);
        for (gint64 i = 0; i < tn_tensor_count(out); i++) {
            const double value = tn_tensor_get(out, i);
            g_array_append_val(values, value);
        }
    }
    *found = (Found){ 0, 0 };
    TnProgramStep step = { .size = sizeof step };
    for (guint i = 0; tn_program_step(program, i, &step); i++) {
        found->together += strcmp(step.op->name, "fused_linear") == 0;
        found->products += strstr(step.op->name, "linear") != NULL;
    }
    return values;
}

static void
check(const Case *c, const char *what)
{
    static const char *const skip[] = { "join", NULL };
    g_autoptr(TnDevice) device = tn_test_device(c->on != NULL ? c->on : "cpu");
    const TnCompile plain = {
        .devices = &device, .n_devices = 1, .skip = skip, .precision = c->precision
    };
    TnCompile options = plain;
    Found before, after, again;
    options.skip = NULL;
    tn_pool_set_threads(1);
    g_autoptr(GArray) want = run(c, &plain, &before), one = run(c, &options, &after);
    tn_pool_set_threads(2);
    g_autoptr(GArray) two = run(c, &options, &again);
    TN_ASSERT_CMPINT(before.together, ==, 0);
    tn_test_check(after.together == c->together && after.products == c->products, FALSE, __FILE__,
                  __LINE__, "%s: %d of %d products with what follows", what, after.together,
                  after.products);
    TN_REQUIRE(one->len == want->len && two->len == want->len);
    TN_ASSERT(memcmp(one->data, want->data, want->len * sizeof(double)) == 0);
    TN_ASSERT(memcmp(two->data, want->data, want->len * sizeof(double)) == 0);
}

#define ROW(build, ...)                                                                            \
    {                                                                                              \
#build,                                                                                    \
        {                                                                                          \
            build, __VA_ARGS__                                                                     \
        }                                                                                          \
    }

static void
where_it_is_one(void)
{
    static const struct {
        const char *name;
        Case c;
    } rows[] = {
        ROW(trained, 2, 2),        ROW(both_orders, 2, 2),
        ROW(read_twice, 0, 1),     ROW(read_through, 0, 1),
        ROW(equal_layers, 0, 1),   ROW(other_shapes, 0, 2),
        ROW(doubled, 0, 1),        ROW(summed, 1, 2),
        ROW(trained, 0, 0, "ref"), ROW(both_orders, 0, 2, NULL, TN_DTYPE_BF16),
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        check(&rows[i].c, rows[i].name);
    }
}

/* --- Kernels of others ------------------------------------------------------------------------- */

static TnStatus
run_nothing(void *state, const TnRun *run)
{
    (void)state;
    (void)run;
    return TN_OK;
}

static gboolean with_higher;

static gboolean
higher_claims(const TnNode *node)
{
    (void)node;
    return with_higher;
}

static const TnKernel kernels[] = {
    { .op = "linear",
      .dtypes = TN_DT(F32),
      .rank = 7,
      .claims = higher_claims,
      .run = run_nothing },
    { .op = "linear", .dtypes = TN_DT(F32), .rank = -7, .run = run_nothing },
};
static const TnKernelTable kernel_table = { .size = sizeof(TnKernelTable),
                                            .kernel_size = sizeof(TnKernel),
                                            .kind = "cpu",
                                            .n_kernels = G_N_ELEMENTS(kernels),
                                            .kernels = kernels };
static const TnFactory factory = { .size = sizeof(TnFactory),
                                   .iface = "tenon.kernel/1",
                                   .name = "test-others",
                                   .help = "kernels of another plugin",
                                   .vtable = &kernel_table };
static const TnFactory *const factories[] = { &factory, NULL };
static const TnPlugin plugin = {
    TN_PLUGIN_HEAD("test-others", "0.1.0", "Apache-2.0", "kernels of another plugin"),
    .factories = factories,
};

static TnCosts *
table(double usual, double other)
{
    g_autofree char *text =
        g_strdup_printf("{{node = \"cpu linear f32[37, 70] f32[70, 70] f32[70] -> f32[37, 70]\", "
                        "us = {[\"cpu-matmul 0\"] = %g, [\"test-others -7\"] = %g}}}",
                        usual, other);
    g_autoptr(GError) error = NULL;
    g_autoptr(TnValue) list = tn_value_parse(text, &error);
    TN_REQUIRE_NO_ERROR(error);
    TnCosts *costs = tn_costs_new(list, &error);
    TN_REQUIRE_NO_ERROR(error);
    return costs;
}

static void
check_together(const TnCosts *costs, gint together)
{
    static const Case c = { both_orders, 0, 2, NULL, TN_DTYPE_NONE };
    g_autoptr(TnDevice) device = tn_test_device("cpu");
    const TnCompile options = { .devices = &device, .n_devices = 1, .costs = costs };
    Found found;
    g_array_unref(run(&c, &options, &found));
    TN_ASSERT_CMPINT(found.together, ==, together);
    TN_ASSERT_CMPINT(found.products, ==, 2);
}

/* What a table or a higher rank chose is not passed over. */
static void
others_kernels_stay(void)
{
    g_autoptr(GError) error = NULL;
    TN_REQUIRE(tn_registry_add(&plugin, &error));
    g_autoptr(TnCosts) slower = table(1, 100), faster = table(100, 1);
    check_together(NULL, 2);
    check_together(slower, 2);
    check_together(faster, 0);
    with_higher = TRUE;
    check_together(NULL, 0);
    with_higher = FALSE;
}

static const TnTest tests[] = {
    { "where it is one", where_it_is_one },
    { "others' kernels stay", others_kernels_stay }, /* last: the plugin stays */
};

TN_TEST_MAIN("two nodes as one", tests)
