/* Every kernel that shares its work out gives the same bits with 1, 2 and 3 threads, and agrees
 * with ref or a sum of its own. */
// tn-test: timeout=120 label=threads
#include "cpu_run.h"

#include <tenon/nn.h>

typedef struct {
    const char *op;
    const void *attrs;
    gint n_in;
    TnType in[6];
    gint64 bound;      /* of integer inputs */
    gboolean with_ref; /* compared with ref as well (a primitive, small enough) */
} Case;

#define F32(...)                                                                                   \
    {                                                                                              \
        TN_DTYPE_F32, TN_RANK_OF(__VA_ARGS__),                                                     \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define F64(...)                                                                                   \
    {                                                                                              \
        TN_DTYPE_F64, TN_RANK_OF(__VA_ARGS__),                                                     \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define I64(...)                                                                                   \
    {                                                                                              \
        TN_DTYPE_I64, TN_RANK_OF(__VA_ARGS__),                                                     \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define U64(...)                                                                                   \
    {                                                                                              \
        TN_DTYPE_U64, TN_RANK_OF(__VA_ARGS__),                                                     \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define TN_RANK_OF(...) (gint)(sizeof((const gint64[]){ __VA_ARGS__ }) / sizeof(gint64))
#define NONE                                                                                       \
    {                                                                                              \
        TN_DTYPE_NONE, 0,                                                                          \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define SCALAR(type)                                                                               \
    {                                                                                              \
        type, 0,                                                                                   \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define ATTRS(Type, ...) (&(const Type){ __VA_ARGS__ })
#define REDUCE(...) ATTRS(TnReduceAttrs, .axes = { TN_RANK_OF(__VA_ARGS__), { __VA_ARGS__ } })
#define CONV(stride, pad)                                                                          \
    ATTRS(TnConvAttrs, .group = 1, .strides = { 2, { stride, stride } },                           \
          .pads = { 4, { pad, pad, pad, pad } })
#define POOL(size, step)                                                                           \
    ATTRS(TnPoolAttrs,                                                                             \
          .window = { .kernel_shape = { 2, { size, size } }, .strides = { 2, { step, step } } })

static const Case cases[] = {
    { "add", NULL, 2, { F32(300, 700), F32(700) }, 0, TRUE },
    { "mul", NULL, 2, { F32(70000, 3), F32(70000, 1) }, 0, TRUE },
    { "exp", NULL, 1, { F32(100001) }, 0, TRUE },
    { "sub", NULL, 2, { F64(211, 503), F64(211, 1) }, 0, TRUE },
    { "transpose", ATTRS(TnTransposeAttrs, .perm = { 0 }), 1, { F32(311, 257) }, 0, TRUE },
    { "matmul", NULL, 2, { F32(128, 300), F32(300, 200) }, 0, FALSE },
    { "matmul", NULL, 2, { F32(1000, 33), F32(33, 70) }, 0, TRUE },
    { "matmul", NULL, 2, { F64(120, 300), F64(300, 100) }, 0, FALSE },
    { "matmul", NULL, 2, { F32(20, 40, 50), F32(20, 50, 60) }, 0, TRUE },
    { "linear", NULL, 3, { F32(128, 400), F32(120, 400), F32(120) }, 0, FALSE },
    { "reduce_sum", REDUCE(0), 1, { F32(3000, 70) }, 0, TRUE },
    { "reduce_sum", REDUCE(1), 1, { F32(300, 700) }, 0, TRUE },
    { "reduce_sum", REDUCE(0, 1), 1, { F32(700, 301) }, 0, TRUE },
    { "reduce_sum", REDUCE(0, 2, 3), 1, { F32(64, 6, 28, 28) }, 0, TRUE },
    { "reduce_max", REDUCE(0, 1), 1, { F32(700, 301) }, 0, TRUE },
    { "reduce_prod", REDUCE(0, 1), 1, { U64(701, 301) }, 9, TRUE },
    { "argmax", ATTRS(TnArgReduceAttrs, .axis = 1), 1, { F32(3000, 40) }, 0, TRUE },
    { "cumsum", ATTRS(TnCumsumAttrs, .axis = 0), 1, { F32(400, 300) }, 0, TRUE },
    { "sort", ATTRS(TnSortAttrs, .axis = 1), 1, { F32(40, 900) }, 0, TRUE },
    { "gather", ATTRS(TnAxisAttrs, 0), 2, { F32(500, 80), I64(3000) }, 500, TRUE },
    { "scatter_add",
      ATTRS(TnAxisAttrs, 0),
      3,
      { F32(50, 600), I64(700), F32(700, 600) },
      50,
      TRUE },
    { "random_uniform",
      ATTRS(TnUniformAttrs, { .shape = { 1, { 50001 } }, .dtype = TN_DTYPE_F32, .stream = 7 }, 0,
            1),
      2,
      { U64(2), NONE },
      99,
      TRUE },
    { "random_normal",
      ATTRS(TnNormalAttrs, { .shape = { 1, { 50001 } }, .dtype = TN_DTYPE_F64, .stream = 7 }, 0, 1),
      2,
      { U64(2), NONE },
      99,
      TRUE },
    { "conv", CONV(1, 2), 2, { F32(9, 3, 28, 28), F32(6, 3, 5, 5) }, 0, TRUE },
    { "conv", CONV(2, 1), 2, { F32(9, 3, 28, 28), F32(6, 3, 3, 3) }, 0, TRUE },
    { "conv_transpose", CONV(1, 0), 3, { F32(9, 16, 10, 10), F32(16, 6, 5, 5), NONE }, 0, TRUE },
    { "conv_grad_weight",
      CONV(1, 0),
      3,
      { F32(9, 6, 14, 14), F32(9, 16, 10, 10), F32(16, 6, 5, 5) },
      0,
      TRUE },
    { "conv_grad_weight",
      CONV(2, 1),
      3,
      { F32(9, 3, 28, 28), F32(9, 6, 14, 14), F32(6, 3, 3, 3) },
      0,
      TRUE },
    { "max_pool", POOL(2, 2), 1, { F32(32, 16, 28, 28) }, 0, FALSE },
    { "max_pool_grad", POOL(3, 2), 2, { F32(32, 16, 27, 27), F32(32, 16, 13, 13) }, 0, FALSE },
    { "softmax", ATTRS(TnAxisAttrs, -1), 1, { F32(500, 100) }, 0, FALSE },
    { "cross_entropy",
      ATTRS(TnCrossEntropyAttrs, .ignore_index = -100),
      3,
      { F32(4000, 20), I64(4000), NONE },
      20,
      FALSE },
};

static void
fill(Array *array, gint64 bound, guint64 *state)
{
    for (gint64 i = 0; i < array->arg.count; i++) {
        gboolean whole = tn_dtype_info(array->arg.type.dtype)->klass != TN_CLASS_FLOAT;
        array_set(array, i,
                  whole ? (double)(noise(state) % (guint64)MAX(1, bound))
                        : noise_unit(state) * 2 - 1);
    }
}

static void
compare_with_ref(const Case *row, const TnOp *op, const Array *in, gint n_out, const Array *got)
{
    Array want[TN_MAX_OUT];
    for (gint k = 0; k < n_out; k++) {
        want[k] = array_new(got[k].arg.type, NULL);
    }
    TN_ASSERT_CMPINT(kernel_run("ref", op, row->attrs, row->n_in, in, n_out, want, NULL), ==,
                     TN_OK);
    for (gint k = 0; k < n_out; k++) {
        for (gint64 i = 0; i < want[k].arg.count; i++) {
            double a = array_get(&got[k], i), b = array_get(&want[k], i);
            if (!(a == b || fabs(a - b) <= 2e-4 + 2e-5 * fabs(b))) {
                TN_FAIL("%s: output %d[%d] is %.9g, ref has %.9g", row->op, k, (int)i, a, b);
                break;
            }
        }
        array_clear(&want[k]);
    }
}

static void
check_case(const Case *row)
{
    g_autoptr(GError) error = NULL;
    const TnOp *op = tn_op_find(row->op, &error);
    Array in[6] = { 0 }, first[TN_MAX_OUT], out[TN_MAX_OUT];
    guint64 state = 12345;
    gint n_out = 0;
    TN_REQUIRE_NO_ERROR(error);
    for (gint i = 0; i < row->n_in; i++) {
        if (row->in[i].dtype != TN_DTYPE_NONE) {
            in[i] = array_new(row->in[i], NULL);
            fill(&in[i], row->bound, &state);
        }
    }
    outputs_new(op, row->attrs, row->n_in, in, NULL, &n_out, first, &error);
    TN_REQUIRE_NO_ERROR(error);
    for (guint threads = 1; threads <= 3; threads++) {
        tn_pool_set_threads(threads);
        for (gint k = 0; k < n_out; k++) {
            out[k] = array_new(first[k].arg.type, NULL);
        }
        const Array *to = threads == 1 ? first : out;
        TN_ASSERT_CMPINT(kernel_run("cpu", op, row->attrs, row->n_in, in, n_out, to, NULL), ==,
                         TN_OK);
        for (gint k = 0; k < n_out; k++) {
            gsize bytes = (gsize)first[k].arg.count * tn_dtype_size(first[k].arg.type.dtype);
            if (threads > 1 && memcmp(first[k].first, out[k].first, bytes) != 0) {
                TN_FAIL("%s: %u threads give other bits than one", row->op, threads);
            }
            TN_ASSERT(array_intact(&to[k]));
            array_clear(&out[k]);
        }
    }
    if (row->with_ref) {
        compare_with_ref(row, op, in, n_out, first);
    }
    for (gint i = 0; i < row->n_in; i++) {
        if (in[i].block) {
            array_clear(&in[i]);
        }
    }
    for (gint k = 0; k < n_out; k++) {
        array_clear(&first[k]);
    }
}

static void
same_bits(void)
{
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        check_case(&cases[i]);
    }
    tn_pool_set_threads(1);
}

/* An index out of range fails the run whatever chunk it is in. */
static void
bad_index(void)
{
    const gint64 rows[] = { 100, 50 }, n[] = { 4000 };
    Array in[2] = { array_new(tn_type(TN_DTYPE_F32, 2, rows), NULL),
                    array_new(tn_type(TN_DTYPE_I64, 1, n), NULL) };
    Array out[TN_MAX_OUT];
    TnAxisAttrs attrs = { 0 };
    guint64 state = 1;
    gint n_out;
    open_plugins();
    fill(&in[0], 0, &state);
    fill(&in[1], 100, &state);
    const TnOp *op = tn_op_find("gather", NULL);
    TN_REQUIRE(outputs_new(op, &attrs, 2, in, NULL, &n_out, out, NULL));
    for (guint threads = 1; threads <= 2; threads++) {
        tn_pool_set_threads(threads);
        array_set(&in[1], 3999, 100);
        TN_ASSERT_CMPINT(kernel_run("cpu", op, &attrs, 2, in, 1, out, NULL), ==, TN_FAILED);
        array_set(&in[1], 3999, -101);
        TN_ASSERT_CMPINT(kernel_run("cpu", op, &attrs, 2, in, 1, out, NULL), ==, TN_FAILED);
        array_set(&in[1], 3999, -100);
        TN_ASSERT_CMPINT(kernel_run("cpu", op, &attrs, 2, in, 1, out, NULL), ==, TN_OK);
    }
    tn_pool_set_threads(1);
    array_clear(&in[0]);
    array_clear(&in[1]);
    array_clear(&out[0]);
}

/* The same cases with every instruction set, and without OpenBLAS. */
static void
other_paths(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2",
                                         "TENON_CPU_BLAS=off", NULL },
                  (const char *const[]){ "same_bits", NULL });
}

static const TnTest tests[] = {
    { "same_bits", same_bits },
    { "bad_index", bad_index },
    { "other_paths", other_paths },
};

TN_TEST_MAIN("cpu threads", tests)
