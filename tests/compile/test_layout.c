/* test_layout.c: images laid in lanes of samples: the same results as without the pass, for a network
 * with everything around convolutions that follows them into lanes or ends them; only where the number
 * of samples and the kernels allow it; as an earlier compilation chose. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>

#include "tn_graphs.h"
#include "tn_test.h"

#define N_OUTPUTS 9

static TnDevice *cpu, *ref;
static const char *const no_layout[] = { "layout", NULL };

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

static TnVal
input(TnGraph *graph, const char *name, gint rank, gint64 a, gint64 b, gint64 c, gint64 d)
{
    const gint64 dims[] = { a, b, c, d };
    return tn_graph_input(graph, name, tn_type(TN_DTYPE_F32, rank, dims));
}

static TnVal
conv(TnGraph *graph, TnVal x, TnVal w, TnVal b)
{
    const TnConvAttrs attrs = { .group = 1, .pads = { .n = 4, .v = { 1, 2, 0, 1 } } };
    const TnVal in[] = { x, w, b };
    return tn_graph_op(graph, tn_val_is_none(b) ? "conv" : "conv_bias", &attrs,
                       tn_val_is_none(b) ? 2 : 3, in, NULL);
}

/* Pooling's attributes by name, as its struct is the plugin's. */
static TnVal
pool(TnGraph *graph, const char *op, TnVal x)
{
    g_autoptr(GError) error = NULL;
    const TnOp *pool = tn_op_find(op, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autofree void *attrs = g_malloc0(pool->attrs.struct_size);
    tn_options_defaults(&pool->attrs, attrs);
    const TnOption *row = tn_options_find(&pool->attrs, "kernel_shape");
    const TnOption *strides = tn_options_find(&pool->attrs, "strides");
    *(TnInts *)(void *)((char *)attrs + row->offset) = (TnInts){ .n = 2, .v = { 2, 3 } };
    *(TnInts *)(void *)((char *)attrs + strides->offset) = (TnInts){ .n = 2, .v = { 2, 2 } };
    return tn_graph_add(graph, pool, attrs, 1, &x, NULL);
}

/* Two convolutions with what stands around them, and every gradient. */
static TnGraph *
network(gint64 samples)
{
    static const char *const names[N_OUTPUTS] = { "y",  "mean", "sums", "loss", "dx",
                                                  "dw", "db",   "dc",   "dv" };
    TnGraph *graph = tn_graph_new("network");
    const TnVal x = input(graph, "x", 4, samples, 2, 9, 8);
    const TnVal w = input(graph, "w", 4, 5, 2, 3, 3), b = input(graph, "b", 1, 5, 0, 0, 0);
    const TnVal c = input(graph, "c", 3, 5, 1, 1, 0), v = input(graph, "v", 4, 3, 5, 2, 2);
    const TnVal row = input(graph, "row", 1, 4, 0, 0, 0);
    TnVal y = conv(graph, x, w, b);
    y = tn_f_max(graph, y, tn_f_const(graph, y, 0));
    y = tn_f_mul(graph, y, c); /* of each channel */
    y = pool(graph, "max_pool", y);
    y = tn_f_add(graph, y, row); /* along the last axis */
    y = conv(graph, y, v, TN_VAL_NONE);
    const TnVal mean = pool(graph, "average_pool", y);
    const gint64 axes[] = { 0, 2 };
    const TnVal some = tn_f_reduce_sum(graph, tn_f_tanh(graph, y), 2, axes, FALSE);
    const TnVal loss = tn_f_reduce_sum(graph, tn_f_mul(graph, mean, mean), 0, NULL, FALSE);
    TnVal out[N_OUTPUTS] = { y, mean, some, loss };
    const TnVal of[] = { x, w, b, c, v };
    g_autoptr(GError) error = NULL;
    TN_REQUIRE(tn_grad(graph, loss, TN_VAL_NONE, 5, of, out + 4, &error));
    for (guint i = 0; i < N_OUTPUTS; i++) {
        tn_graph_output(graph, names[i], out[i]);
    }
    return graph;
}

static TnProgram *
compile(TnGraph *graph, const char *const *skip, const TnValue *choices, TnValue *chosen)
{
    TnDevice *const devices[] = { cpu, ref };
    const TnCompile options = {
        .devices = devices, .n_devices = 2, .skip = skip, .choices = choices, .chosen = chosen
    };
    g_autoptr(GError) error = NULL;
    TnProgram *program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    return program;
}

/* Instructions of the program over images in lanes. */
static guint
n_in_lanes(TnProgram *program)
{
    g_autofree char *text = tn_program_print(program);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    guint n = 0;
    for (guint i = 0; lines[i]; i++) {
        char op[64] = "";
        n += sscanf(lines[i], " %*d cpu %63s", op) == 1 && strstr(lines[i], ", 16]") &&
             (strncmp(op, "conv", 4) == 0 || strstr(op, "pool"));
    }
    return n;
}

static TnExec *
run(TnProgram *program, const TnGraph *graph)
{
    g_autoptr(GError) error = NULL;
    TnExec *exec = tn_exec_new(program, NULL, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    for (guint i = 0; i < tn_graph_n_inputs(graph); i++) {
        const TnVal val = tn_graph_input_at(graph, i, NULL);
        g_autoptr(TnTensor) tensor = tn_tensor_new(NULL, *tn_graph_type(graph, val), &error);
        TN_REQUIRE_NO_ERROR(error);
        for (gint64 k = 0; k < tn_tensor_count(tensor); k++) {
            ((float *)tn_storage_memory(tn_tensor_storage(tensor)))[k] =
                (float)sin(0.7 * (double)k + i);
        }
        TN_REQUIRE(tn_exec_bind(exec, i, tensor) == TN_OK);
    }
    TN_REQUIRE(tn_exec_run(exec) == TN_OK);
    return exec;
}

static void
check_close(TnExec *a, TnExec *b, guint i)
{
    TnTensor *x = tn_exec_output(a, i), *y = tn_exec_output(b, i);
    double most = 0;
    TN_REQUIRE(tn_type_equal(tn_tensor_type(x), tn_tensor_type(y)));
    for (gint64 k = 0; k < tn_tensor_count(y); k++) {
        most = MAX(most, fabs(tn_tensor_get(y, k)));
    }
    for (gint64 k = 0; k < tn_tensor_count(y); k++) {
        if (!(fabs(tn_tensor_get(x, k) - tn_tensor_get(y, k)) <= 1e-5 * most)) {
            TN_FAIL("output %u, element %d: %g and %g", i, (int)k, tn_tensor_get(x, k),
                    tn_tensor_get(y, k));
            return;
        }
    }
}

static void
same_results(void)
{
    static const gint64 samples[] = { 16, 48 };
    for (guint i = 0; i < G_N_ELEMENTS(samples); i++) {
        g_autoptr(TnGraph) graph = network(samples[i]);
        g_autoptr(TnProgram) with = compile(graph, NULL, NULL, NULL);
        g_autoptr(TnProgram) without = compile(graph, no_layout, NULL, NULL);
        g_autoptr(TnExec) a = run(with, graph), b = run(without, graph);
        /* Two convolutions and two kinds of pooling, their gradients: of inputs, of weights. */
        TN_ASSERT_CMPUINT(n_in_lanes(with), ==, 10);
        TN_ASSERT_CMPUINT(n_in_lanes(without), ==, 0);
        for (guint k = 0; k < N_OUTPUTS; k++) {
            check_close(a, b, k);
        }
    }
}

static void
other_numbers_of_samples(void)
{
    static const gint64 samples[] = { 1, 15, 17 };
    for (guint i = 0; i < G_N_ELEMENTS(samples); i++) {
        g_autoptr(TnGraph) graph = network(samples[i]);
        g_autoptr(TnProgram) program = compile(graph, NULL, NULL, NULL);
        TN_ASSERT_CMPUINT(n_in_lanes(program), ==, 0);
    }
}

/* Values go into lanes and back once, however many read them. */
static void
few_movements(void)
{
    g_autoptr(TnGraph) graph = tn_graph_new("chain");
    const TnVal x = input(graph, "x", 4, 32, 2, 9, 8), w = input(graph, "w", 4, 2, 2, 3, 3);
    TnVal y = x;
    for (guint i = 0; i < 4; i++) {
        y = tn_f_tanh(graph, conv(graph, y, w, TN_VAL_NONE));
    }
    tn_graph_output(graph, "y", tn_f_add(graph, y, y));
    tn_graph_output(graph, "z", y);
    g_autoptr(TnProgram) program = compile(graph, NULL, NULL, NULL);
    g_autofree char *text = tn_program_kernels(program);
    TN_ASSERT_CMPUINT(n_in_lanes(program), ==, 4);
    /* There, and back for the two outputs, which are kept apart. */
    TN_ASSERT_CONTAINS(text, "transpose cpu 1\n");
    TN_ASSERT_CONTAINS(text, "reshape cpu 2\n");
}

static void
as_chosen_before(void)
{
    g_autoptr(TnGraph) graph = network(16);
    g_autoptr(TnValue) plain = tn_value_map();
    g_autoptr(TnValue) lanes = tn_value_map();
    g_autoptr(TnProgram) a = compile(graph, no_layout, NULL, plain);
    g_autoptr(TnProgram) b = compile(graph, NULL, NULL, lanes);
    g_autoptr(TnProgram) again_a = compile(graph, NULL, plain, NULL);
    g_autoptr(TnProgram) again_b = compile(graph, NULL, lanes, NULL);
    TN_ASSERT_CMPUINT(n_in_lanes(again_a), ==, 0);
    TN_ASSERT_CMPUINT(n_in_lanes(again_b), ==, n_in_lanes(b));
}

static const TnTest tests[] = {
    { "same results", same_results },
    { "other numbers of samples", other_numbers_of_samples },
    { "few movements", few_movements },
    { "as chosen before", as_chosen_before },
};

TN_TEST_MAIN_WITH("layout", tests, set_up, tear_down)
