/* oneDNN's kernels: what the plugin cpu gives, the same bits with any number of threads, no thread
 * of the library's own; an absent or another library; the conformance suite where they take all
 * sizes. */
// tn-test: timeout=240 label=threads
#include "cpu_run.h"

#include <dlfcn.h>
#include <tenon/nn.h>

typedef struct {
    const char *op;
    const void *attrs;
    gint n_in;
    TnType in[4];
} Case;

#define RANK(...) (gint)(sizeof((const gint64[]){ __VA_ARGS__ }) / sizeof(gint64))
#define T(dtype_, ...)                                                                             \
    {                                                                                              \
        TN_DTYPE_##dtype_, RANK(__VA_ARGS__),                                                      \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define CONV(...) (&(const TnConvAttrs){ .group = 1, __VA_ARGS__ })
#define POOL(...) (&(const TnPoolAttrs){ __VA_ARGS__ })
#define BLOCKED(relu_, ...) (&(const TnConvBlockedAttrs){ { __VA_ARGS__ }, relu_ })
#define SAME CONV(.pads = { 4, { 1, 1, 1, 1 } })
#define HALF CONV(.strides = { 2, { 2, 2 } }, .pads = { 4, { 1, 1, 1, 1 } })

/* Winograd's algorithm and the direct one, slices of images and of channels, a last slice that is
 * smaller, sums of partial gradients. */
static const Case cases[] = {
    { "conv", SAME, 2, { T(F32, 8, 64, 16, 16), T(F32, 64, 64, 3, 3) } },
    { "conv", SAME, 2, { T(F32, 4, 160, 8, 8), T(F32, 160, 160, 3, 3) } },
    { "conv", HALF, 2, { T(F32, 9, 32, 33, 31), T(F32, 64, 32, 3, 3) } },
    { "conv",
      CONV(.pads = { 4, { 2, 2, 2, 2 } }, .dilations = { 2, { 2, 2 } }),
      2,
      { T(F32, 7, 32, 20, 20), T(F32, 32, 32, 3, 3) } },
    { "conv",
      (&(const TnConvAttrs){ .group = 2, .pads = { 4, { 1, 1, 1, 1 } } }),
      2,
      { T(F32, 8, 64, 24, 24), T(F32, 64, 32, 3, 3) } },
    { "conv",
      CONV(.strides = { 3, { 1, 2, 1 } }),
      2,
      { T(F32, 3, 16, 9, 9, 9), T(F32, 16, 16, 3, 3, 3) } },
    { "conv_bias",
      CONV(.pads = { 2, { 2, 1 } }),
      3,
      { T(F32, 7, 16, 300), T(F32, 32, 16, 5), T(F32, 32) } },
    { "conv_bias", SAME, 3, { T(F32, 4, 160, 8, 8), T(F32, 160, 160, 3, 3), T(F32, 160) } },
    { "conv_transpose",
      SAME,
      3,
      { T(F32, 8, 64, 16, 16), T(F32, 64, 64, 3, 3), T(F32, 8, 64, 16, 16) } },
    { "conv_transpose",
      SAME,
      3,
      { T(F32, 4, 160, 8, 8), T(F32, 160, 160, 3, 3), T(F32, 4, 160, 8, 8) } },
    { "conv_transpose",
      CONV(.strides = { 2, { 2, 3 } }, .pads = { 4, { 1, 0, 0, 1 } },
           .output_padding = { 2, { 1, 2 } }),
      2,
      { T(F32, 9, 48, 14, 13), T(F32, 48, 32, 3, 3) } },
    { "conv_grad_weight",
      SAME,
      3,
      { T(F32, 9, 64, 16, 16), T(F32, 9, 64, 16, 16), T(F32, 64, 64, 3, 3) } },
    { "conv_grad_weight",
      SAME,
      3,
      { T(F32, 4, 160, 8, 8), T(F32, 4, 160, 8, 8), T(F32, 160, 160, 3, 3) } },
    { "conv_grad_weight",
      HALF,
      3,
      { T(F32, 9, 32, 33, 31), T(F32, 9, 64, 17, 16), T(F32, 64, 32, 3, 3) } },
    { "conv", SAME, 2, { T(BF16, 8, 64, 16, 16), T(BF16, 64, 64, 3, 3) } },
    { "conv_transpose",
      SAME,
      3,
      { T(BF16, 8, 64, 16, 16), T(BF16, 64, 64, 3, 3), T(BF16, 8, 64, 16, 16) } },
    /* Whole images, an image's shares of channels, images that are not in blocks, groups. */
    { "conv_blocked",
      BLOCKED(TRUE, .group = 1, .pads = { 4, { 1, 1, 1, 1 } }),
      4,
      { T(F32, 9, 2, 13, 11, 16), T(F32, 3, 2, 3, 3, 16, 16), T(F32, 48),
        T(F32, 9, 3, 13, 11, 16) } },
    { "conv_blocked",
      BLOCKED(TRUE, .group = 1, .strides = { 2, { 2, 1 } }, .pads = { 4, { 1, 0, 0, 2 } }),
      4,
      { T(F32, 3, 2, 37, 35, 16), T(F32, 9, 2, 3, 3, 16, 16), T(F32, 144),
        T(F32, 3, 9, 18, 35, 16) } },
    { "conv_blocked",
      BLOCKED(FALSE, .group = 1, .strides = { 2, { 2, 2 } }, .pads = { 4, { 3, 3, 3, 3 } }),
      3,
      { T(F32, 2, 3, 65, 61), T(F32, 4, 7, 7, 3, 16), T(F32, 64) } },
    { "conv_blocked",
      BLOCKED(TRUE, .group = 2, .dilations = { 2, { 2, 1 } }),
      2,
      { T(F32, 2, 4, 15, 14, 16), T(F32, 2, 2, 3, 3, 16, 16) } },
    { "matmul", NULL, 2, { T(F32, 600, 400), T(F32, 400, 300) } },
    { "matmul", NULL, 2, { T(F32, 3000, 200), T(F32, 200, 70) } },
    { "matmul", NULL, 2, { T(F32, 3, 1, 50, 90), T(F32, 4, 90, 200) } },
    { "linear", NULL, 3, { T(F32, 700, 300), T(F32, 333, 300), T(F32, 333) } },
    { "matmul", NULL, 2, { T(BF16, 300, 200), T(BF16, 200, 170) } },
    { "linear", NULL, 3, { T(BF16, 2, 70, 130), T(BF16, 333, 130), T(BF16, 333) } },
    /* The last column of x is in no window. */
    { "max_pool",
      POOL(.window = { .kernel_shape = { 2, { 3, 2 } },
                       .strides = { 2, { 2, 1 } },
                       .pads = { 4, { 1, 0, 0, 1 } } }),
      1,
      { T(F32, 5, 40, 17, 15) } },
    { "max_pool",
      POOL(.window = { .kernel_shape = { 3, { 2, 2, 2 } }, .strides = { 3, { 2, 2, 2 } } }),
      1,
      { T(F32, 2, 16, 6, 6, 10) } },
    { "average_pool",
      POOL(.window = { .kernel_shape = { 2, { 3, 3 } }, .strides = { 2, { 2, 2 } } }),
      1,
      { T(F32, 9, 50, 17, 18) } },
    { "average_pool_grad",
      POOL(.window = { .kernel_shape = { 2, { 3, 3 } }, .strides = { 2, { 2, 2 } } }),
      2,
      { T(F32, 9, 50, 8, 8), T(F32, 9, 50, 17, 18) } },
    { "average_pool",
      POOL(.window = { .kernel_shape = { 1, { 4 } }, .pads = { 2, { 2, 1 } } },
           .count_include_pad = TRUE),
      1,
      { T(F32, 5, 50, 70) } },
};

static void
open_onednn(void)
{
    g_autoptr(GError) error = NULL;
    g_setenv("TENON_ONEDNN", "all", FALSE);
    if (!tn_registry_open("onednn", &error)) {
        tn_test_skip("%s", error->message);
    }
}

static void
open_others(void)
{
    if (g_getenv("TN_EARLY_OPENMP") != NULL) {
        TN_REQUIRE(dlopen("libgomp.so.1", RTLD_NOW | RTLD_GLOBAL) != NULL);
    }
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
}

/* Of the kernel that would be taken; -100: none. */
static gint
rank_for(const TnOp *op, const void *attrs, gint n_in, const Array *in, const Array *out)
{
    TnArg args[4];
    for (gint i = 0; i < n_in; i++) {
        args[i] = in[i].arg;
    }
    const TnNode node = { .size = sizeof node,
                          .op = op,
                          .attrs = attrs,
                          .name = "test",
                          .n_in = n_in,
                          .n_out = 1,
                          .in = args,
                          .out = &out->arg };
    const TnKernel *kernel = tn_kernel_find("cpu", &node);
    return kernel != NULL ? kernel->rank : -100;
}

/* --- Bits ------------------------------------------------------------------------------------- */

typedef struct {
    const TnOp *op;
    Array in[4], want;
    gint rank; /* of the plugin cpu's kernel */
} Given;

/* The inputs, and what the plugin cpu makes of them. */
static void
give(const Case *row, Given *given)
{
    g_autoptr(GError) error = NULL;
    guint64 state = 12345;
    gint n_out;
    memset(given, 0, sizeof *given);
    given->op = tn_op_find(row->op, &error);
    TN_REQUIRE_NO_ERROR(error);
    for (gint i = 0; i < row->n_in; i++) {
        given->in[i] = array_new(row->in[i], NULL);
        for (gint64 k = 0; k < given->in[i].arg.count; k++) {
            array_set(&given->in[i], k, noise_unit(&state) * 2 - 1);
        }
    }
    if (strcmp(row->op, "conv_blocked") == 0) {
        array_set(&given->in[0], 100, NAN); /* also where it is rectified */
    }
    if (strcmp(row->op, "max_pool") == 0) {
        const gint64 plane = given->in[0].arg.count / row->in[0].dims[0] / row->in[0].dims[1];
        array_set(&given->in[0], 3 * plane + 20, NAN);
        array_set(&given->in[0], 7 * plane + 1, INFINITY);
        for (gint64 i = 0; i < plane; i++) {
            array_set(&given->in[0], 9 * plane + i, -INFINITY);
        }
    }
    outputs_new(given->op, row->attrs, row->n_in, given->in, NULL, &n_out, &given->want, &error);
    TN_REQUIRE_NO_ERROR(error);
    given->rank = rank_for(given->op, row->attrs, row->n_in, given->in, &given->want);
    TN_ASSERT_CMPINT(
        kernel_run("cpu", given->op, row->attrs, row->n_in, given->in, 1, &given->want, NULL), ==,
        TN_OK);
}

static void
take_back(const Case *row, Given *given)
{
    for (gint i = 0; i < row->n_in; i++) {
        array_clear(&given->in[i]);
    }
    array_clear(&given->want);
}

/* Sums in another order, and Winograd's transforms: relative to the largest element. */
static void
compare(const Case *row, const Array *got, const Array *want)
{
    const double tolerance = row->in[0].dtype == TN_DTYPE_F32 ? 5e-6 : 8e-3;
    double most = 0;
    for (gint64 i = 0; i < want->arg.count; i++) {
        const double b = fabs(array_get(want, i));
        most = b > most && !isinf(b) ? b : most;
    }
    for (gint64 i = 0; i < want->arg.count; i++) {
        const double a = array_get(got, i), b = array_get(want, i);
        if (isnan(b) ? !isnan(a) : isinf(b) ? a != b : !(fabs(a - b) <= tolerance * most)) {
            TN_FAIL("%s: element %d is %.9g, expected %.9g", row->op, (int)i, a, b);
            return;
        }
    }
}

static void
check_threads(const Case *row, const Given *given)
{
    static const guint threads[] = { 1, 2, 3, 7 };
    Array first = { 0 };
    TN_ASSERT_CMPINT(rank_for(given->op, row->attrs, row->n_in, given->in, &given->want), >,
                     given->rank);
    for (guint t = 0; t < G_N_ELEMENTS(threads); t++) {
        Array out = array_new(given->want.arg.type, NULL);
        tn_pool_set_threads(threads[t]);
        TN_ASSERT_CMPINT(
            kernel_run("cpu", given->op, row->attrs, row->n_in, given->in, 1, &out, NULL), ==,
            TN_OK);
        TN_ASSERT(array_intact(&out));
        if (t == 0) {
            compare(row, &out, &given->want);
            first = out;
            continue;
        }
        if (memcmp(first.first, out.first, (gsize)tn_type_bytes(&out.arg.type)) != 0) {
            TN_FAIL("%s: %u threads give other bits than one", row->op, threads[t]);
        }
        array_clear(&out);
    }
    array_clear(&first);
}

static void
same_bits(void)
{
    Given given[G_N_ELEMENTS(cases)];
    open_others();
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        give(&cases[i], &given[i]);
    }
    open_onednn();
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        check_threads(&cases[i], &given[i]);
        take_back(&cases[i], &given[i]);
    }
    tn_pool_set_threads(1);
}

/* --- Sizes ------------------------------------------------------------------------------------ */

static gint
rank_of_conv(gint64 n, gint64 c, gint64 size, gint64 m)
{
    const gint64 x[] = { n, c, size, size }, w[] = { m, c, 3, 3 };
    const TnOp *op = tn_op_find("conv", NULL);
    Array in[2] = { array_new(tn_type(TN_DTYPE_F32, 4, x), NULL),
                    array_new(tn_type(TN_DTYPE_F32, 4, w), NULL) };
    Array out[TN_MAX_OUT];
    gint n_out;
    TN_REQUIRE(outputs_new(op, SAME, 2, in, NULL, &n_out, out, NULL));
    const gint rank = rank_for(op, SAME, 2, in, out);
    array_clear(&in[0]);
    array_clear(&in[1]);
    array_clear(&out[0]);
    return rank;
}

/* Winograd's algorithm has rows of its own, above the direct one's, for windows that it is for. */
static void
two_algorithms(void)
{
    open_others();
    open_onednn();
    TN_ASSERT_CMPINT(rank_of_conv(8, 64, 16, 64), ==, rank_of_conv(8, 16, 16, 16) + 1);
}

/* Nothing to compute is left to others whatever is taken. */
static void
empty_sizes(void)
{
    open_others();
    open_onednn();
    TN_ASSERT_CMPINT(rank_of_conv(1, 1, 4, 1), >, 0);
    TN_ASSERT_CMPINT(rank_of_conv(0, 16, 16, 16), ==, 0);
    TN_ASSERT_CMPINT(rank_of_conv(4, 16, 16, 0), ==, 0);
    TN_ASSERT_CMPINT(rank_of_conv(4, 0, 16, 16), ==, 0);
}

/* A test of this program in a process of its own. */
static void
spawn(const char *program, const char *test, const char *const *env)
{
    const char *const command[] = { program, test, NULL };
    const TnChildOptions options = { .env = env, .timeout = 100 };
    g_auto(TnChild) child = { 0 };
    if (tn_test_spawn(&child, command, &options)) {
        TN_ASSERT_EXIT(&child, 0);
    }
}

static void
spawn_self(const char *test, const char *const *env)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    spawn(self, test, env);
}

/* Without a wish, sizes where the plugin cpu is faster stay with it. */
static void
sizes_that_pay(void)
{
    if (g_getenv("TN_CHILD") == NULL) {
        spawn_self("sizes_that_pay", (const char *const[]){ "TN_CHILD=1", "TENON_ONEDNN", NULL });
        return;
    }
    open_others();
    if (!tn_registry_open("onednn", NULL)) {
        tn_test_skip("oneDNN cannot be used");
    }
    TN_ASSERT_CMPINT(rank_of_conv(32, 64, 16, 64), >, 0);
    TN_ASSERT_CMPINT(rank_of_conv(1, 1, 8, 4), ==, 0);
    TN_ASSERT_CMPINT(rank_of_conv(128, 1, 28, 6), ==, 0);
}

/* --- The library ------------------------------------------------------------------------------ */

static guint
count_tasks(void)
{
    guint n = 0;
    g_autoptr(GDir) dir = g_dir_open("/proc/self/task", 0, NULL);
    TN_REQUIRE(dir != NULL);
    while (g_dir_read_name(dir) != NULL) {
        n++;
    }
    return n;
}

static gpointer
nothing(gpointer data)
{
    return data;
}

/* Whatever OpenMP was told, and also where something else has loaded it before. */
static void
no_threads_of_its_own(void)
{
    if (g_getenv("OMP_NUM_THREADS") == NULL) {
        spawn_self("no_threads_of_its_own", (const char *const[]){ "OMP_NUM_THREADS=5", NULL });
        spawn_self("no_threads_of_its_own",
                   (const char *const[]){ "OMP_NUM_THREADS=5", "TN_EARLY_OPENMP=1", NULL });
        return;
    }
    tn_pool_set_threads(1);
    open_others();
    /* With a process's first thread comes one of ThreadSanitizer's. */
    tn_thread_join(tn_thread_spawn("first", nothing, NULL, NULL));
    const guint before = count_tasks();
    Given given[G_N_ELEMENTS(cases)];
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        give(&cases[i], &given[i]);
    }
    open_onednn();
    TN_ASSERT_CMPSTR(g_getenv("OMP_NUM_THREADS"), "5");
    for (guint threads = 1; threads <= 3; threads += 2) {
        tn_pool_set_threads(threads);
        for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
            const Case *row = &cases[i];
            Array out = array_new(given[i].want.arg.type, NULL);
            TN_ASSERT_CMPINT(
                kernel_run("cpu", given[i].op, row->attrs, row->n_in, given[i].in, 1, &out, NULL),
                ==, TN_OK);
            array_clear(&out);
        }
        TN_ASSERT_CMPUINT(count_tasks(), <=, before + threads - 1);
    }
    tn_pool_set_threads(1);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        take_back(&cases[i], &given[i]);
    }
}

/* A device that names the plugin goes on without it. */
static void
absent_library(void)
{
    static const struct {
        const char *env, *words;
    } rows[] = {
        { "TENON_ONEDNN_LIBRARY=/nonexistent/libdnnl.so.2", "libdnnl2" },
        { "TENON_ONEDNN_LIBRARY=libm.so.6", "has no function dnnl_version" },
        { "TENON_ONEDNN=some", "expected all" },
    };
    const char *words = g_getenv("TN_WORDS");
    for (guint i = 0; words == NULL && i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *expected = g_strconcat("TN_WORDS=", rows[i].words, NULL);
        spawn_self("absent_library", (const char *const[]){ rows[i].env, expected, NULL });
    }
    if (words == NULL) {
        return;
    }
    g_autoptr(GError) error = NULL;
    open_others();
    TnDevice *device = tn_device_open("cpu+onednn", NULL, &error);
    if (g_error_matches(error, TN_ERROR, TN_ERROR_NOT_FOUND)) {
        tn_test_skip("%s", error->message);
    }
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPSTR(tn_device_kind(device), "cpu");
    tn_device_unref(device);
    /* What may be missing is no part of the name. */
    device = tn_device_open("cpu+onednn?+absent?", NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPSTR(tn_device_name(device), "cpu");
    tn_device_unref(device);
    TN_ASSERT(tn_device_open("cpu+absent", NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "device 'cpu+absent': ");
    TN_ASSERT(!tn_registry_open("onednn", &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_PLUGIN, "plugin 'onednn'", words);
    TN_ASSERT_CMPINT(rank_of_conv(32, 64, 16, 64), ==, 0);
}

/* --- Conformance ------------------------------------------------------------------------------ */

/* The suite's own programs, with these kernels where they can do a call at all. */
static void
conformance(void)
{
    static const char *const programs[][2] = { { "tests/test_kernels", "cpu" },
                                               { "tests/test_forward", "cpu" } };
    static const char *const ops[] = {
        "TN_OP=conv",         "TN_OP=matmul",  "TN_OP=linear",
        "TN_OP=average_pool", "TN_OP=softmax", "TN_OP=normalization"
    };
    open_onednn();
    for (guint p = 0; p < G_N_ELEMENTS(programs); p++) {
        g_autofree char *program = tn_test_build_path(programs[p][0]);
        for (guint i = 0; i < G_N_ELEMENTS(ops); i++) {
            spawn(program, programs[p][1],
                  (const char *const[]){ ops[i], "TN_KERNELS=onednn", "TENON_ONEDNN=all", NULL });
        }
    }
}

/* What TENON_CPU_ISA keeps from the plugin `cpu` it keeps from the library. */
static void
other_instruction_sets(void)
{
    static const char *const again[] = { "conformance", NULL };
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2",
                                         "TENON_CPU_ISA=avx512", NULL },
                  again);
}

static const TnTest tests[] = {
    { "same_bits", same_bits },
    { "empty_sizes", empty_sizes },
    { "two_algorithms", two_algorithms },
    { "sizes_that_pay", sizes_that_pay },
    { "no_threads_of_its_own", no_threads_of_its_own },
    { "absent_library", absent_library },
    { "conformance", conformance },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("onednn", tests)
