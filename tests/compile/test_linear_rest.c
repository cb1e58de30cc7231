/* test_linear_rest.c: dense layers take in what follows them where a device has a kernel for both, and nowhere
 * else, forward and backward; the bits are those of the nodes one after another. */
// tn-test: timeout=120
#include <tenon/base.h>
#include <tenon/nn.h>
#include <tenon/ops.h>
#include <tenon/pool.h>

#include "tn_graphs.h"
#include "tn_test.h"

enum { ROWS = 37, IN = 70, HIDDEN = 133, OUT = 70 };

typedef struct {
    gboolean read;  /* what a layer gives before relu is an output, too */
    gint together;  /* layers that take in what follows */
    const char *on; /* the device */
    TnDtype precision;
} Case;

static TnVal
input(TnGraph *graph, const char *name, gint rank, gint64 a, gint64 b)
{
    return tn_graph_input(graph, name, tn_type(TN_DTYPE_F32, rank, (gint64[]){ a, b }));
}

/* relu (x w^T + b), a second layer and x, and the gradients of all of it. */
static TnGraph *
build(const Case *c)
{
    TnGraph *graph = tn_graph_new("layers");
    const TnVal x = input(graph, "x", 2, ROWS, IN), w = input(graph, "w", 2, HIDDEN, IN);
    const TnVal b = input(graph, "b", 1, HIDDEN, 0), v = input(graph, "v", 2, OUT, HIDDEN);
    const TnVal first[] = { x, w, b };
    const TnVal sum = tn_graph_op(graph, "linear", NULL, 3, first, NULL);
    const TnVal y = tn_graph_op(graph, "relu", NULL, 1, &sum, NULL);
    const TnVal second[] = { y, v };
    const TnVal z = tn_f_add(graph, x, tn_graph_op(graph, "linear", NULL, 2, second, NULL));
    const TnVal loss = tn_f_reduce_sum(graph, tn_f_mul(graph, z, z), 0, NULL, FALSE);
    const TnVal of[] = { x, w, b, v };
    static const char *const names[] = { "dx", "dw", "db", "dv" };
    TnVal grad[G_N_ELEMENTS(of)];
    g_autoptr(GError) error = NULL;
    TN_REQUIRE(tn_grad(graph, loss, TN_VAL_NONE, G_N_ELEMENTS(of), of, grad, &error));
    tn_graph_output(graph, "z", z);
    for (gsize i = 0; i < G_N_ELEMENTS(of); i++) {
        tn_graph_output(graph, names[i], grad[i]);
    }
    if (c->read) {
        tn_graph_output(graph, "sum", sum);
    }
    return graph;
}

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

/* All outputs, one after another (transfer full), and how many nodes are layers with what follows them. */
static GArray *
run(const Case *c, TnDevice *device, const char *const *skip, gint *together)
{
    const TnCompile options = {
        .devices = &device, .n_devices = 1, .skip = skip, .precision = c->precision
    };
    GArray *values = g_array_new(FALSE, FALSE, sizeof(double));
    g_autoptr(TnGraph) graph = build(c);
    g_autoptr(GError) error = NULL;
    g_autoptr(TnProgram) program = tn_compile(graph, &options, &error);
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
    *together = 0;
    TnProgramStep step = { .size = sizeof step };
    for (guint i = 0; tn_program_step(program, i, &step); i++) {
        *together += strcmp(step.op->name, "fused_linear") == 0;
    }
    return values;
}

static void
check(const Case *c)
{
    static const char *const skip[] = { "algebra", NULL };
    g_autoptr(TnDevice) device = tn_test_device(c->on);
    gint before, after, again;
    tn_pool_set_threads(1);
    g_autoptr(GArray) want = run(c, device, skip, &before), one = run(c, device, NULL, &after);
    tn_pool_set_threads(2);
    g_autoptr(GArray) two = run(c, device, NULL, &again);
    TN_ASSERT_CMPINT(before, ==, 0);
    TN_ASSERT_CMPINT(after, ==, c->together);
    TN_REQUIRE(one->len == want->len && two->len == want->len);
    TN_ASSERT(memcmp(one->data, want->data, want->len * sizeof(double)) == 0);
    TN_ASSERT(memcmp(two->data, want->data, want->len * sizeof(double)) == 0);
}

static void
where_it_is_one(void)
{
    static const Case cases[] = {
        { FALSE, 3, "cpu", TN_DTYPE_NONE },
        { TRUE, 2, "cpu", TN_DTYPE_NONE },
        { FALSE, 0, "ref", TN_DTYPE_NONE },
        { FALSE, 0, "cpu", TN_DTYPE_BF16 },
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        check(&cases[i]);
    }
}

static const TnTest tests[] = {
    { "where it is one", where_it_is_one },
};

TN_TEST_MAIN("dense layers and what follows", tests)
