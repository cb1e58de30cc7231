/* test_blocked.c: inference of convolutions in blocks of channels: batch normalisation folded into
 * them, what follows taken along, weights laid once. The same results as without; only where weights
 * are fixed; again where a variable has changed. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/plugin.h>

#include "tn_graphs.h"
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

typedef struct {
    TnGraph *graph;
    TnStore *store;
} Net;

static TnVar *
variable(TnStore *store, const char *name, TnType type, double low, double high)
{
    const TnVarInfo info = { .name = name,
                             .type = type,
                             .init = { .kind = TN_INIT_UNIFORM, .a = low, .b = high } };
    TnVar *var = tn_store_var(store, NULL, &info, NULL);
    TN_REQUIRE(var != NULL);
    return var;
}

static TnVal
param(Net *net, const char *layer, const char *name, gint rank, const gint64 *dims, double low,
      double high)
{
    g_autofree char *full = g_strconcat(layer, ".", name, NULL);
    return tn_graph_variable(
        net->graph, variable(net->store, full, tn_type(TN_DTYPE_F32, rank, dims), low, high));
}

typedef struct {
    gint64 maps, channels, kernel, stride, pad, group;
    gboolean bias;
} Conv;

static TnVal
conv(Net *net, const char *name, TnVal x, Conv c)
{
    const gint64 group = MAX(1, c.group);
    const gint64 dims[] = { c.maps, c.channels / group, c.kernel, c.kernel };
    const TnConvAttrs attrs = { .group = group,
                                .strides = { 2, { c.stride, c.stride } },
                                .pads = { 4, { c.pad, c.pad, c.pad, c.pad } } };
    const TnVal in[] = { x, param(net, name, "weight", 4, dims, -0.3, 0.3),
                         c.bias ? param(net, name, "bias", 1, dims, -1, 1) : TN_VAL_NONE };
    return tn_graph_op(net->graph, c.bias ? "conv_bias" : "conv", &attrs, c.bias ? 3 : 2, in, NULL);
}

static TnVal
norm(Net *net, const char *name, TnVal x)
{
    const gint64 *channels = &tn_graph_type(net->graph, x)->dims[1];
    const TnVal in[] = { x, param(net, name, "scale", 1, channels, 0.5, 1.5),
                         param(net, name, "shift", 1, channels, -1, 1),
                         param(net, name, "mean", 1, channels, -1, 1),
                         param(net, name, "var", 1, channels, 0.5, 2) };
    return tn_graph_op(net->graph, "batch_normalization", NULL, 5, in, NULL);
}

static TnVal
relu(Net *net, TnVal x)
{
    return tn_graph_op(net->graph, "relu", NULL, 1, &x, NULL);
}

/* By name, as the struct is the plugin's. */
static TnVal
max_pool(Net *net, TnVal x)
{
    const TnOp *pool = tn_op_find("max_pool", NULL);
    g_autofree void *attrs = g_malloc0(pool->attrs.struct_size);
    tn_options_defaults(&pool->attrs, attrs);
    const TnOption *row = tn_options_find(&pool->attrs, "kernel_shape");
    *(TnInts *)(void *)((char *)attrs + row->offset) = (TnInts){ .n = 2, .v = { 2, 3 } };
    return tn_graph_add(net->graph, pool, attrs, 1, &x, NULL);
}

/* A residual network of each kind of convolution, element-wise nodes that broadcast, and both ways out
 * of the blocks. */
static Net
network(gint64 images)
{
    const gint64 dims[] = { images, 3, 13, 11 }, wide[] = { 32, 1, 1 };
    Net net = { tn_graph_new("net"), tn_store_new(7) };
    const TnVal x = tn_graph_input(net.graph, "x", tn_type(TN_DTYPE_F32, 4, dims));
    TnVal y = relu(&net, norm(&net, "n1", conv(&net, "c1", x, (Conv){ 16, 3, 3, 2, 1 })));
    y = max_pool(&net, y);
    const TnVal side = norm(&net, "n2", conv(&net, "c2", y, (Conv){ 32, 16, 1, 1, 0 }));
    y = relu(&net, norm(&net, "n3", conv(&net, "c3", y, (Conv){ 48, 16, 3, 1, 1, 1, TRUE })));
    y = conv(&net, "c4", y, (Conv){ 32, 48, 1, 1, 0, 1, TRUE });
    y = relu(&net, tn_f_add(net.graph, norm(&net, "n4", y), side));
    tn_graph_output(net.graph, "images", y);
    y = tn_f_mul(net.graph, y, param(&net, "gate", "g", 3, wide, 0, 1));
    y = conv(&net, "c5", y, (Conv){ 64, 32, 3, 2, 0, 2 });
    tn_graph_output(net.graph, "mean",
                    tn_graph_op(net.graph, "global_average_pool", NULL, 1, &y, NULL));
    return net;
}

static void
net_clear(Net *net)
{
    tn_graph_unref(net->graph);
    tn_store_unref(net->store);
}

/* --- Running ---------------------------------------------------------------------------------- */

static TnProgram *
compile(const Net *net, const char *const *skip)
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
exec_of(const Net *net, const char *const *skip, double odd)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TnProgram) program = compile(net, skip);
    TnExec *exec = tn_exec_new(program, net->store, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    const TnVal val = tn_graph_input_at(net->graph, 0, NULL);
    g_autoptr(TnTensor) tensor = tn_tensor_new(NULL, *tn_graph_type(net->graph, val), &error);
    TN_REQUIRE_NO_ERROR(error);
    float *elements = tn_storage_memory(tn_tensor_storage(tensor));
    for (gint64 k = 0; k < tn_tensor_count(tensor); k++) {
        elements[k] = (float)sin(0.7 * (double)k);
    }
    elements[40] = odd != 0 ? (float)odd : elements[40];
    TN_REQUIRE(tn_exec_bind(exec, 0, tensor) == TN_OK);
    return exec;
}

/* Largest difference as a share of the largest element; both NaN: none. */
static double
difference(TnTensor *a, TnTensor *b)
{
    double most = 1e-30, off = 0;
    TN_REQUIRE(tn_type_equal(tn_tensor_type(a), tn_tensor_type(b)));
    for (gint64 k = 0; k < tn_tensor_count(a); k++) {
        const double x = tn_tensor_get(a, k), y = tn_tensor_get(b, k);
        if (isnan(x) && isnan(y)) {
            continue;
        }
        most = isfinite(y) ? MAX(most, fabs(y)) : most;
        off = x == y ? off : isfinite(x - y) ? MAX(off, fabs(x - y)) : INFINITY;
    }
    return off / most;
}

static void
check_within(TnExec *a, TnExec *b, double bound)
{
    TN_REQUIRE(tn_exec_run(a) == TN_OK && tn_exec_run(b) == TN_OK);
    for (guint i = 0; i < 2; i++) {
        TN_ASSERT_CMPFLOAT(difference(tn_exec_output(a, i), tn_exec_output(b, i)), <=, bound);
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
        Net net = network(images[i]);
        g_autoptr(TnExec) a = exec_of(&net, NULL, 0), b = exec_of(&net, plain, 0);
        check_same(a, b);
        check_same(a, b); /* without what runs once */
        net_clear(&net);
    }
}

/* What is not a number, or not finite, goes through folded and fused nodes as through the others. */
static void
odd_numbers(void)
{
    static const double odd[] = { NAN, INFINITY, -INFINITY, -0.0 };
    Net net = network(1);
    for (guint i = 0; i < G_N_ELEMENTS(odd); i++) {
        g_autoptr(TnExec) a = exec_of(&net, NULL, odd[i]), b = exec_of(&net, plain, odd[i]);
        check_same(a, b);
    }
    net_clear(&net);
}

/* All five in blocks, with what follows them; nothing is moved but the images that are asked for. */
static void
what_is_left(void)
{
    Net net = network(2);
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
    net_clear(&net);
}

/* A result that is read beside its normalisation is not computed twice. */
static void
read_twice(void)
{
    const gint64 dims[] = { 1, 16, 4, 4 };
    Net net = { tn_graph_new("net"), tn_store_new(7) };
    const TnVal x = tn_graph_input(net.graph, "x", tn_type(TN_DTYPE_F32, 4, dims));
    const TnVal y = conv(&net, "c", x, (Conv){ 16, 16, 3, 1, 1 });
    tn_graph_output(net.graph, "a", relu(&net, y));
    tn_graph_output(net.graph, "b", norm(&net, "n", y));
    g_autoptr(TnProgram) program = compile(&net, NULL);
    TN_ASSERT_CMPUINT(count_of(program, "conv_blocked", FALSE), ==, 1);
    g_autoptr(TnExec) a = exec_of(&net, NULL, 0), b = exec_of(&net, plain, 0);
    check_same(a, b);
    net_clear(&net);
}

/* Weights that the program assigns are laid as they always are. */
static void
assigned(void)
{
    Net net = network(1);
    TnVar *weight = tn_store_find(net.store, "c3.weight");
    const TnVal now = tn_graph_variable(net.graph, weight);
    tn_graph_assign(net.graph, weight, tn_f_mul(net.graph, now, now));
    g_autoptr(TnProgram) program = compile(&net, NULL);
    TN_ASSERT_CMPUINT(count_of(program, "conv_blocked", FALSE), ==, 4);
    net_clear(&net);
}

/* Windows of 3 x 3 over many places by Winograd's algorithm, with what follows them, of whole and of
 * cut tiles, a block of maps left over, and more images than are transformed at once. */
static void
winograd(void)
{
    static const gint64 sizes[][3] = { { 1, 26, 24 }, { 3, 25, 27 }, { 40, 24, 24 } };
    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        const gint64 dims[] = { sizes[i][0], 32, sizes[i][1], sizes[i][2] };
        Net net = { tn_graph_new("net"), tn_store_new(7) };
        const TnVal x = tn_graph_input(net.graph, "x", tn_type(TN_DTYPE_F32, 4, dims));
        TnVal y = norm(&net, "n1", conv(&net, "c1", x, (Conv){ 48, 32, 3, 1, 1 }));
        const TnVal z = conv(&net, "c2", x, (Conv){ 48, 32, 1, 1, 0, 1, TRUE });
        y = relu(&net, tn_f_add(net.graph, y, z));
        tn_graph_output(net.graph, "a", y);
        tn_graph_output(net.graph, "b", conv(&net, "c3", y, (Conv){ 32, 48, 3, 1, 0 }));
        g_autoptr(TnProgram) program = compile(&net, NULL);
        TN_ASSERT_CMPUINT(count_of(program, "conv_winograd", FALSE), ==, 2);
        TN_ASSERT_CMPUINT(count_of(program, "conv_blocked", FALSE), ==, 1);
        TN_ASSERT_CMPUINT(count_of(program, "add", FALSE), ==, 0);
        g_autoptr(TnExec) a = exec_of(&net, NULL, 0), b = exec_of(&net, plain, 0);
        check_within(a, b, 5e-5);
        net_clear(&net);
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
    Net net = network(1);
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
    Net other = { tn_graph_new("other"), tn_store_ref(net.store) };
    const TnVal now = tn_graph_variable(other.graph, weight);
    tn_graph_assign(other.graph, weight, tn_f_mul(other.graph, now, now));
    g_autoptr(TnProgram) program = compile(&other, NULL);
    g_autoptr(TnExec) writer = tn_exec_new(program, net.store, NULL, NULL);
    TN_REQUIRE(writer != NULL && tn_exec_run(writer) == TN_OK);
    TN_ASSERT_CMPUINT(steps_of(a), ==, all);
    check_same(a, b);
    net_clear(&other);
    net_clear(&net);
}

/* The same program comes of what was chosen; another number of images is not bound by that. */
static void
as_chosen_before(void)
{
    TnDevice *const devices[] = { cpu, ref };
    g_autoptr(TnValue) chosen = tn_value_map();
    g_autoptr(GError) error = NULL;
    Net net = network(2);
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
    net_clear(&net);
}

/* The same of bf16, in blocks of 32: two branches that meet, pooling, groups, a convolution that is not
 * in blocks. */
static Net
narrow_network(void)
{
    const gint64 dims[] = { 2, 3, 19, 17 };
    Net net = { tn_graph_new("net"), tn_store_new(7) };
    const TnVal x = tn_graph_input(net.graph, "x", tn_type(TN_DTYPE_F32, 4, dims));
    TnVal y = relu(&net, norm(&net, "n1", conv(&net, "c1", x, (Conv){ 32, 3, 7, 2, 3 })));
    y = max_pool(&net, y);
    const TnVal side = norm(&net, "n2", conv(&net, "c2", y, (Conv){ 64, 32, 1, 2, 0 }));
    TnVal z = relu(&net, norm(&net, "n3", conv(&net, "c3", y, (Conv){ 64, 32, 3, 2, 1 })));
    z = norm(&net, "n4", conv(&net, "c4", z, (Conv){ 64, 64, 3, 1, 1, 2 }));
    y = relu(&net, tn_f_add(net.graph, z, side));
    z = norm(&net, "n5", conv(&net, "c5", y, (Conv){ 64, 64, 1, 1, 0, 1, TRUE }));
    y = relu(&net, tn_f_add(net.graph, y, z));
    tn_graph_output(net.graph, "images", y);
    y = relu(&net, conv(&net, "c6", y, (Conv){ 48, 64, 1, 1, 0 }));
    tn_graph_output(net.graph, "mean",
                    tn_graph_op(net.graph, "global_average_pool", NULL, 1, &y, NULL));
    return net;
}

static void
narrow_numbers(void)
{
    Net net = narrow_network();
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
    net_clear(&net);
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
};

TN_TEST_MAIN_WITH("blocked", tests, set_up, tear_down)
