/* Products of matrices on the cpu device, whose second operand is packed whole: against the reference
 * device at sizes around every border (blocks of rows and of k, panels, vectors), lying both ways; the
 * same bits for any number of threads; with every instruction set. */
// tn-test: timeout=120
#include "cpu_run.h"

static guint64 state = 0xdecafbadull;

static Array
matrix(TnDtype dtype, gint64 rows, gint64 cols, gboolean turned)
{
    const gint64 dims[] = { rows, cols }, strides[] = { turned ? 1 : cols, turned ? rows : 1 };
    Array array = array_new(tn_type(dtype, 2, dims), strides);
    for (gint64 i = 0; i < array.arg.count; i++) {
        array_set(&array, i, 2 * noise_unit(&state) - 1);
    }
    return array;
}

static void
check(TnDtype dtype, gint64 m, gint64 k, gint64 n, guint way)
{
    const TnOp *op = tn_op_find("matmul", NULL);
    Array in[] = { matrix(dtype, m, k, way & 1), matrix(dtype, k, n, way >> 1 & 1) };
    Array plain[] = { array_copy(&in[0], NULL), array_copy(&in[1], NULL) };
    Array want[TN_MAX_OUT], got[2];
    gint n_out;
    op_run("ref", "matmul", NULL, 2, plain, &n_out, want);
    for (guint i = 0; i < 2; i++) {
        got[i] = array_new(want[0].arg.type, NULL);
        tn_pool_set_threads(1 + 2 * i);
        TN_REQUIRE(kernel_run("cpu", op, NULL, 2, in, 1, &got[i], NULL) == TN_OK);
        TN_ASSERT(array_intact(&got[i]));
    }
    const double most = (dtype == TN_DTYPE_F64 ? 1e-14 : 1e-6) * (double)k;
    for (gint64 i = 0; i < want[0].arg.count; i++) {
        const double a = array_get(&got[0], i), b = array_get(&want[0], i);
        if (!(fabs(a - b) <= most)) {
            TN_FAIL("%d x %d x %d, way %u: element %d is %g, expected %g", (int)m, (int)k, (int)n,
                    way, (int)i, a, b);
            break;
        }
    }
    TN_ASSERT(memcmp(got[0].block, got[1].block, got[0].bytes) == 0);
    Array *const all[] = { &in[0], &in[1], &plain[0], &plain[1], &got[0], &got[1], &want[0] };
    for (guint i = 0; i < G_N_ELEMENTS(all); i++) {
        array_clear(all[i]);
    }
    tn_pool_set_threads(1);
}

static void
tall(void)
{
    static const gint64 ks[] = { 1, 128, 257 }, cols[] = { 17, 64, 65, 130 };
    guint number = 0;
    open_plugins();
    for (guint j = 0; j < G_N_ELEMENTS(ks); j++) {
        for (guint l = 0; l < G_N_ELEMENTS(cols); l++, number++) {
            check(number % 3 == 2 ? TN_DTYPE_F64 : TN_DTYPE_F32, 193, ks[j], cols[l], number % 4);
        }
    }
    check(TN_DTYPE_F32, 391, 270, 300, 2);
}

/* Several blocks of rows and of k, several panels and a narrow one, an operand a power of two apart. */
static void
blocks(void)
{
    open_plugins();
    for (guint way = 0; way < 4; way++) {
        check(TN_DTYPE_F32, 200, 270, 204, way);
        check(TN_DTYPE_F32, 130, 143, 256, way);
        check(TN_DTYPE_F64, 67, 150, 107, way);
    }
}

static void
one_row(void)
{
    static const gint64 ks[] = { 1, 15, 16, 17, 300, 784 }, cols[] = { 1, 7, 8, 9, 70 };
    open_plugins();
    for (guint i = 0; i < G_N_ELEMENTS(ks) * G_N_ELEMENTS(cols); i++) {
        check(TN_DTYPE_F32, 1, ks[i % G_N_ELEMENTS(ks)], cols[i / G_N_ELEMENTS(ks)], 2);
    }
    check(TN_DTYPE_F32, 0, 40, 70, 0);
}

/* Products of microseconds, so often that workers come to help: the bits stay those of one thread. */
static void
brief(void)
{
    static const gint64 sizes[][3] = { { 1, 784, 128 }, { 1, 530, 131 }, { 5, 257, 300 } };
    open_plugins();
    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        const gint64 m = sizes[i][0], k = sizes[i][1], n = sizes[i][2];
        check(TN_DTYPE_F32, m, k, n, 0);
        check(TN_DTYPE_F32, m, k, n, 2);
        Array in[] = { matrix(TN_DTYPE_F32, m, k, FALSE), matrix(TN_DTYPE_F32, k, n, TRUE) };
        Array one[TN_MAX_OUT], got = { 0 };
        gint n_out;
        guint wrong = 0;
        op_run("cpu", "matmul", NULL, 2, in, &n_out, one);
        got = array_new(one[0].arg.type, NULL);
        tn_pool_set_threads(2);
        for (guint run = 0; run < 1000; run++) {
            memset(got.first, 0xff, (gsize)got.arg.count * sizeof(float));
            wrong += kernel_run("cpu", tn_op_find("matmul", NULL), NULL, 2, in, 1, &got, NULL) !=
                         TN_OK ||
                     memcmp(got.first, one[0].first, (gsize)got.arg.count * sizeof(float)) != 0;
        }
        TN_ASSERT_CMPUINT(wrong, ==, 0);
        tn_pool_set_threads(1);
        Array *const all[] = { &in[0], &in[1], &one[0], &got };
        for (guint j = 0; j < G_N_ELEMENTS(all); j++) {
            array_clear(all[j]);
        }
    }
}

/* The first rows of a product, batch-invariant: those of one with more rows, bit for bit. */
static void
check_rows(const char *op, const Array *x, const Array *rest, gint n_in, gint64 rows,
           const Array *all)
{
    Array in[] = { array_copy(x, NULL), rest[0], rest[n_in - 2] }, got[TN_MAX_OUT];
    gint n_out;
    in[0].arg.type.dims[0] = rows;
    in[0].arg.count = rows * x->arg.type.dims[1];
    op_run("cpu", op, NULL, n_in, in, &n_out, got);
    if (memcmp(got[0].first, all->first, (gsize)got[0].arg.count * sizeof(float)) != 0) {
        TN_FAIL("%s: %d rows of %d numbers, %d columns, %d inputs: other bits", op, (int)rows,
                (int)x->arg.type.dims[1], (int)all->arg.type.dims[1], n_in);
    }
    array_clear(&in[0]);
    array_clear(&got[0]);
}

/* Weights w [n, k] in panels [n / columns, k, columns], as linear_turned takes them. */
static Array
panels_of(const Array *w, gint64 columns)
{
    const gint64 n = w->arg.type.dims[0], k = w->arg.type.dims[1];
    const gint64 dims[] = { n / columns, k, columns };
    Array panels = array_new(tn_type(w->arg.type.dtype, 3, dims), NULL);
    for (gint64 j = 0; j < k * n; j++) {
        const gint64 row = j / (k * columns) * columns + j % columns;
        array_set(&panels, j, array_get(w, row * k + j / columns % k));
    }
    return panels;
}

/* Panels for more rows than are a block. Only those that no region cuts can be summed like other weights. */
static void
wide_panels(void)
{
    static const gint64 all_columns[] = { 64, 67, 128, 192 };
    enum { ROWS = 200, K = 70 };
    open_plugins();
    batch_invariant = TRUE;
    for (guint i = 0; i < G_N_ELEMENTS(all_columns); i++) {
        const gint64 n = 3 * all_columns[i];
        Array x = matrix(TN_DTYPE_F32, ROWS, K, FALSE), w = matrix(TN_DTYPE_F32, n, K, FALSE);
        Array turned = panels_of(&w, all_columns[i]), in[] = { x, w }, all[TN_MAX_OUT];
        gint n_out;
        op_run("cpu", "linear", NULL, 2, in, &n_out, all);
        if (all_columns[i] % 64 == 0) {
            check_rows("linear_turned", &x, &turned, 2, ROWS, &all[0]);
        } else {
            const Array odd[] = { x, turned };
            TN_ASSERT(kernel_run("cpu", tn_op_find("linear_turned", NULL), NULL, 2, odd, 1, all,
                                 NULL) == TN_UNSUPPORTED);
        }
        Array *const used[] = { &x, &w, &turned, &all[0] };
        for (guint j = 0; j < G_N_ELEMENTS(used); j++) {
            array_clear(used[j]);
        }
    }
    batch_invariant = FALSE;
}

static void
few_rows(void)
{
    static const gint64 ks[] = { 1, 15, 16, 17, 255, 256, 257, 530 },
                        cols[] = { 1, 4, 5, 16, 17, 65, 70, 64, 192 };
    open_plugins();
    batch_invariant = TRUE;
    for (guint i = 0; i < G_N_ELEMENTS(ks) * G_N_ELEMENTS(cols) * 2; i++) {
        const gint64 k = ks[i / 2 % G_N_ELEMENTS(ks)], n = cols[i / 2 / G_N_ELEMENTS(ks)];
        const gint n_in = 2 + (gint)(i % 2);
        Array x = matrix(TN_DTYPE_F32, 40, k, FALSE), bias = matrix(TN_DTYPE_F32, 1, n, FALSE);
        Array rest[] = { matrix(TN_DTYPE_F32, n, k, FALSE),
                         array_new(tn_type(TN_DTYPE_F32, 1, &n), NULL) };
        for (gint64 j = 0; j < n; j++) {
            array_set(&rest[1], j, array_get(&bias, j));
        }
        Array turned[] = { panels_of(&rest[0], n % 64 == 0 ? 64 : n), rest[1] };
        Array in[] = { x, rest[0], rest[1] }, all[TN_MAX_OUT];
        gint n_out;
        op_run("cpu", "linear", NULL, n_in, in, &n_out, all);
        for (gint64 rows = 1; rows <= 33; rows += rows < 18 ? 1 : 5) {
            check_rows("linear", &x, rest, n_in, rows, &all[0]);
            check_rows("linear_turned", &x, turned, n_in, rows, &all[0]);
        }
        Array *const used[] = { &x, &bias, &rest[0], &rest[1], &turned[0], &all[0] };
        for (guint j = 0; j < G_N_ELEMENTS(used); j++) {
            array_clear(used[j]);
        }
    }
    batch_invariant = FALSE;
}

static void
other_instruction_sets(void)
{
    static const char *const sets[] = { "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2" };
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    for (guint i = 0; i < G_N_ELEMENTS(sets); i++) {
        const char *const command[] = { self,    "tall",     "blocks",      "one row",
                                        "brief", "few rows", "wide panels", NULL };
        const char *const env[] = { sets[i], NULL };
        TnChildOptions options = { .env = env, .timeout = 100 };
        g_auto(TnChild) child = { 0 };
        if (tn_test_spawn(&child, command, &options)) {
            TN_ASSERT_EXIT(&child, 0);
        }
    }
}

static const TnTest tests[] = {
    { "tall", tall },
    { "blocks", blocks },
    { "one row", one_row },
    { "brief", brief },
    { "few rows", few_rows },
    { "wide panels", wide_panels },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("cpu gemm", tests)
