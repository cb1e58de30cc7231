/* test_blocked.c: inference of convolutions in blocks of channels: batch normalisation folded into
 * them, what follows taken along, weights laid once. The same results as without; only where weights
 * are fixed; again where a variable has changed. */
// tn-test: timeout=120
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>

#include "tn_graphs.h"
#include "tn_nets.h"
#include "tn_test.h"

static TnDevice *cpu, *ref;
static const char *const plain[] = { "layout", "algebra", "once", NULL };
static const char *const no_once[] = { "once", NULL };
static TnDtype precision; /* of what is compiled; none: f32 */

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

/* --- A network -------------------------------------------------------------------------------- */

/* A residual network of each kind of convolution, element-wise nodes that broadcast, and both ways out
 * of the blocks. */
static TnNet
network(gint64 images)
{
    const gint64 dims[] = { images, 3, 13, 11 }, wide[] = { 32, 1, 1 };
    TnNet net = tn_net_new(7);
    const TnVal x = tn_graph_input(net.graph, "x", tn_type(TN_DTYPE_F32, 4, dims));
    TnVal y = tn_net_op1(
        &net, "relu",
        tn_net_norm(&net, "n1", tn_net_conv(&net, "c1", x, (TnNetConv){ 16, 3, 3, 2, 1 })));
    y = tn_net_pool(&net, "max_pool", y, 2, 3);
    const TnVal side =
        tn_net_norm(&net, "n2", tn_net_conv(&net, "c2", y, (TnNetConv){ 32, 16, 1, 1, 0 }));
    y = tn_net_op1(
        &net, "relu",
        tn_net_norm(&net, "n3",
                    tn_net_conv(&net, "c3", y, (TnNetConv){ 48, 16, 3, 1, 1, 1, TRUE })));
    y = tn_net_conv(&net, "c4", y, (TnNetConv){ 32, 48, 1, 1, 0, 1, TRUE });
    y = tn_net_op1(&net, "relu", tn_f_add(net.graph, tn_net_norm(&net, "n4", y), side));
    tn_graph_output(net.graph, "images", y);
    y = tn_f_mul(net.graph, y, tn_net_param(&net, "gate", "g", 3, wide, 0, 1));
    y = tn_net_conv(&net, "c5", y, (TnNetConv){ 64, 32, 3, 2, 0, 2 });
    tn_graph_output(net.graph, "mean", tn_net_op1(&net, "global_average_pool", y));
    return net;
}

/* --- Running ---------------------------------------------------------------------------------- */

static TnProgram *
compile(const TnNet *net, const char *const *skip)
{
    TnDevice *const devices[] = { cpu, ref };
    const TnCompile options = {
        .devices = devices, .n_devices = 2, .skip = skip, .precision = precision
    };
    g_autoptr(GError) error = NULL;
    TnProgram *program = tn_compile(net->graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    return program;
}

static TnExec *
exec_of(const TnNet *net, const char *const *skip, double odd)
{
    g_autoptr(TnProgram) program = compile(net, skip);
    return tn_net_exec(net, program, NULL, odd);
}

static void
check_within(TnExec *a, TnExec *b, double bound)
{
    TN_REQUIRE(tn_exec_run(a) == TN_OK && tn_exec_run(b) == TN_OK);
    for (guint i = 0; i < 2; i++) {
        TN_ASSERT_CMPFLOAT(tn_test_difference(tn_exec_output(a, i), tn_exec_output(b, i)), <=,
                           bound);
    }
}

static void
check_same(TnExec *a, TnExec *b)
{
    check_within(a, b, 1e-5);
}

/* Instructions of an operator, of those that run once and of the others. */
static guint
count_of(const TnProgram *program, const char *op, gboolean once)
{
    g_autofree char *text = tn_program_print(program);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    guint n = 0;
    for (guint i = 0; lines[i]; i++) {
        char name[64] = "";
        n += sscanf(lines[i], " %*d cpu %63s", name) == 1 && strcmp(name, op) == 0 &&
             (strstr(lines[i], " once") != NULL) == once;
    }
    return n;
}

/* --- Tests ------------------------------------------------------------------------------------ */

static void
same_results(void)
{
    static const gint64 images[] = { 1, 3 };
    for (guint i = 0; i < G_N_ELEMENTS(images); i++) {
        TnNet net = network(images[i]);
        g_autoptr(TnExec) a = exec_of(&net, NULL, 0), b = exec_of(&net, plain, 0);
        check_same(a, b);
        check_same(a, b); /* without what runs once */
        tn_net_clear(&net);
    }
}

/* What is not a number, or not finite, goes through folded and fused nodes as through the others. */
static void
odd_numbers(void)
{
    static const double odd[] = { NAN, INFINITY, -INFINITY, -0.0 };
    TnNet net = network(1);
    for (guint i = 0; i < G_N_ELEMENTS(odd); i++) {
        g_autoptr(TnExec) a = exec_of(&net, NULL, odd[i]), b = exec_of(&net, plain, odd[i]);
        check_same(a, b);
    }
    tn_net_clear(&net);
}

/* All five in blocks, with what follows them; nothing is moved but the images that are asked for. */
static void
what_is_left(void)
{
    TnNet net = network(2);
    g_autoptr(TnProgram) with = compile(&net, NULL), without = compile(&net, plain);
    g_autofree char *text = tn_program_kernels(with);
    TN_ASSERT_CMPUINT(count_of(with, "conv_blocked", FALSE), ==, 5);
    TN_ASSERT_CMPUINT(count_of(with, "max_pool", FALSE), ==, 1);
    TN_ASSERT_CMPUINT(count_of(with, "reduce_sum", FALSE), ==, 1);
    TN_ASSERT_CMPUINT(count_of(with, "transpose", FALSE), ==, 0);
    TN_ASSERT_CMPUINT(count_of(with, "reshape", FALSE), ==, 1);
    TN_ASSERT_CMPUINT(count_of(with, "batch_normalization", FALSE), ==, 0);
    TN_ASSERT_CONTAINS(text, "max cpu 1\n"); /* that behind max_pool, of fewer elements */
    TN_ASSERT_CMPUINT(count_of(without, "conv_blocked", FALSE), ==, 0);
    tn_net_clear(&net);
}

/* A result that is read beside its normalisation is not computed twice. */
static void
read_twice(void)
{
    const gint64 dims[] = { 1, 16, 4, 4 };
    TnNet net = tn_net_new(7);
    const TnVal x = tn_graph_input(net.graph, "x", tn_type(TN_DTYPE_F32, 4, dims));
    const TnVal y = tn_net_conv(&net, "c", x, (TnNetConv){ 16, 16, 3, 1, 1 });
    tn_graph_output(net.graph, "a", tn_net_op1(&net, "relu", y));
    tn_graph_output(net.graph, "b", tn_net_norm(&net, "n", y));
    g_autoptr(TnProgram) program = compile(&net, NULL);
    TN_ASSERT_CMPUINT(count_of(program, "conv_blocked", FALSE), ==, 1);
    g_autoptr(TnExec) a = exec_of(&net, NULL, 0), b = exec_of(&net, plain, 0);
    check_same(a, b);
    tn_net_clear(&net);
}

/* Weights that the program assigns are laid as they always are. */
static void
assigned(void)
{
    TnNet net = network(1);
    TnVar *weight = tn_store_find(net.store, "c3.weight");
    const TnVal now = tn_graph_variable(net.graph, weight);
    tn_graph_assign(net.graph, weight, tn_f_mul(net.graph, now, now));
    g_autoptr(TnProgram) program = compile(&net, NULL);
    TN_ASSERT_CMPUINT(count_of(program, "conv_blocked", FALSE), ==, 4);
    tn_net_clear(&net);
}

/* Windows of 3 x 3 over many places by Winograd's algorithm, with what follows them, of whole and of
 * cut tiles, a block of maps left over, and more images than are transformed at once. */
static void
winograd(void)
{
    static const gint64 sizes[][3] = { { 1, 26, 24 }, { 3, 25, 27 }, { 40, 24, 24 } };
    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        const gint64 dims[] = { sizes[i][0], 32, sizes[i][1], sizes[i][2] };
        TnNet net = tn_net_new(7);
        const TnVal x = tn_graph_input(net.graph, "x", tn_type(TN_DTYPE_F32, 4, dims));
        TnVal y =
            tn_net_norm(&net, "n1", tn_net_conv(&net, "c1", x, (TnNetConv){ 48, 32, 3, 1, 1 }));
        const TnVal z = tn_net_conv(&net, "c2", x, (TnNetConv){ 48, 32, 1, 1, 0, 1, TRUE });
        y = tn_net_op1(&net, "relu", tn_f_add(net.graph, y, z));
        tn_graph_output(net.graph, "a", y);
        tn_graph_output(net.graph, "b", tn_net_conv(&net, "c3", y, (TnNetConv){ 32, 48, 3, 1, 0 }));
        g_autoptr(TnProgram) program = compile(&net, NULL);
        TN_ASSERT_CMPUINT(count_of(program, "conv_winograd", FALSE), ==, 2);
        TN_ASSERT_CMPUINT(count_of(program, "conv_blocked", FALSE), ==, 1);
        TN_ASSERT_CMPUINT(count_of(program, "add", FALSE), ==, 0);
        g_autoptr(TnExec) a = exec_of(&net, NULL, 0), b = exec_of(&net, plain, 0);
        check_within(a, b, 5e-5);
        tn_net_clear(&net);
    }
}

static TnStatus
count_step(TnExec *exec, const TnExecStep *step, gpointer data)
{
    (void)exec;
    (void)step;
    ++*(guint *)data;
    return TN_OK;
}

static guint
steps_of(TnExec *exec)
{
    guint n = 0;
    tn_exec_watch(exec, count_step, &n);
    TN_REQUIRE(tn_exec_run(exec) == TN_OK);
    tn_exec_watch(exec, NULL, NULL);
    return n;
}

/* After its first run an exec computes less, and all of it once more when somebody has written a
 * variable: by hand, or a program. */
static void
once(void)
{
    TnNet net = network(1);
    g_autoptr(TnExec) a = exec_of(&net, NULL, 0), b = exec_of(&net, no_once, 0);
    const guint all = steps_of(a), less = steps_of(a);
    TN_ASSERT_CMPUINT(less, <, all);
    TN_ASSERT_CMPUINT(steps_of(a), ==, less);
    TN_ASSERT_CMPUINT(steps_of(b), ==, all);
    TN_ASSERT_CMPUINT(steps_of(b), ==, all);

    TnVar *var = tn_store_find(net.store, "n3.var");
    g_autoptr(TnTensor) value = tn_var_get(var, NULL);
    const gsize bytes = (gsize)tn_tensor_bytes(value);
    ((float *)tn_storage_memory(tn_tensor_storage(value)))[5] = 9;
    TN_REQUIRE(tn_var_write(var, tn_storage_memory(tn_tensor_storage(value)), bytes, NULL));
    TN_ASSERT_CMPUINT(steps_of(a), ==, all);
    TN_ASSERT_CMPUINT(steps_of(a), ==, less);
    check_same(a, b);

    TnVar *weight = tn_store_find(net.store, "c4.weight");
    TnNet other = { tn_graph_new("other"), tn_store_ref(net.store) };
    const TnVal now = tn_graph_variable(other.graph, weight);
    tn_graph_assign(other.graph, weight, tn_f_mul(other.graph, now, now));
    g_autoptr(TnProgram) program = compile(&other, NULL);
    g_autoptr(TnExec) writer = tn_exec_new(program, net.store, NULL, NULL);
    TN_REQUIRE(writer != NULL && tn_exec_run(writer) == TN_OK);
    TN_ASSERT_CMPUINT(steps_of(a), ==, all);
    check_same(a, b);
    tn_net_clear(&other);
    tn_net_clear(&net);
}

/* The same program comes of what was chosen; another number of images is not bound by that. */
static void
as_chosen_before(void)
{
    TnDevice *const devices[] = { cpu, ref };
    g_autoptr(TnValue) chosen = tn_value_map();
    g_autoptr(GError) error = NULL;
    TnNet net = network(2);
    const gint64 dims[] = { 3, 3, 13, 11 };
    const TnType other = tn_type(TN_DTYPE_F32, 4, dims);
    TnCompile options = { .devices = devices, .n_devices = 2, .chosen = chosen };
    g_autoptr(TnProgram) first = tn_compile(net.graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    for (guint i = 0; i < 2; i++) {
        options = (TnCompile){ .devices = devices, .n_devices = 2, .inputs = i ? &other : NULL };
        g_autoptr(TnProgram) free = tn_compile(net.graph, &options, &error);
        TN_REQUIRE_NO_ERROR(error);
        options.choices = chosen;
        g_autoptr(TnProgram) again = tn_compile(net.graph, &options, &error);
        TN_REQUIRE_NO_ERROR(error);
        g_autofree char *want = tn_program_print(free), *got = tn_program_print(again);
        TN_ASSERT_CMPSTR(got, want);
        TN_ASSERT_CMPUINT(count_of(again, "conv_blocked", FALSE), ==, 5);
    }
    tn_net_clear(&net);
}

/* The same of bf16, in blocks of 32: two branches that meet, pooling, groups, a convolution that is not
 * in blocks. */
static TnNet
narrow_network(void)
{
    const gint64 dims[] = { 2, 3, 19, 17 };
    TnNet net = tn_net_new(7);
    const TnVal x = tn_graph_input(net.graph, "x", tn_type(TN_DTYPE_F32, 4, dims));
    TnVal y = tn_net_op1(
        &net, "relu",
        tn_net_norm(&net, "n1", tn_net_conv(&net, "c1", x, (TnNetConv){ 32, 3, 7, 2, 3 })));
    y = tn_net_pool(&net, "max_pool", y, 2, 3);
    const TnVal side =
        tn_net_norm(&net, "n2", tn_net_conv(&net, "c2", y, (TnNetConv){ 64, 32, 1, 2, 0 }));
    TnVal z = tn_net_op1(
        &net, "relu",
        tn_net_norm(&net, "n3", tn_net_conv(&net, "c3", y, (TnNetConv){ 64, 32, 3, 2, 1 })));
    z = tn_net_norm(&net, "n4", tn_net_conv(&net, "c4", z, (TnNetConv){ 64, 64, 3, 1, 1, 2 }));
    y = tn_net_op1(&net, "relu", tn_f_add(net.graph, z, side));
    z = tn_net_norm(&net, "n5",
                    tn_net_conv(&net, "c5", y, (TnNetConv){ 64, 64, 1, 1, 0, 1, TRUE }));
    y = tn_net_op1(&net, "relu", tn_f_add(net.graph, y, z));
    tn_graph_output(net.graph, "images", y);
    y = tn_net_op1(&net, "relu", tn_net_conv(&net, "c6", y, (TnNetConv){ 48, 64, 1, 1, 0 }));
    tn_graph_output(net.graph, "mean", tn_net_op1(&net, "global_average_pool", y));
    return net;
}

static void
narrow_numbers(void)
{
    TnNet net = narrow_network();
    g_autoptr(TnExec) wide = exec_of(&net, NULL, 0);
    precision = TN_DTYPE_BF16;
    g_autoptr(TnExec) with = exec_of(&net, NULL, 0);
    g_autoptr(TnProgram) program = compile(&net, NULL);
    precision = TN_DTYPE_NONE;
    check_within(with, wide, 0.02);
    check_within(with, wide, 0.02); /* without what runs once */
    TN_ASSERT_CMPUINT(count_of(program, "conv_blocked", FALSE), ==, 5);
    TN_ASSERT_CMPUINT(count_of(program, "max_pool", FALSE), ==, 1);
    TN_ASSERT_CMPUINT(count_of(program, "add", FALSE), ==, 0);
    tn_net_clear(&net);
}

static void
other_instruction_sets(void)
{
    tn_test_again(
        (const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2",
                               "TENON_CPU_ISA=avx512", "TENON_CPU_ISA=avx512_bf16", NULL },
        (const char *const[]){ "same results", "odd numbers", "winograd", "narrow numbers", NULL });
}

static const TnTest tests[] = {
    { "same results", same_results },
    { "odd numbers", odd_numbers },
    { "what is left", what_is_left },
    { "read twice", read_twice },
    { "assigned", assigned },
    { "winograd", winograd },
    { "once", once },
    { "as chosen before", as_chosen_before },
    { "narrow numbers", narrow_numbers },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN_WITH("blocked", tests, set_up, tear_down)
