/* Rows of softmax and log_softmax on the cpu device against plain loops in f64, of many lengths; those that
 * hold NaN and infinities, short and long ones: a NaN anywhere is the whole row's, in the gradient too; a class at -inf has no share. */
#include "cpu_run.h"

#define LONG 700

static Array
rows_of(gint64 n)
{
    const gint64 dims[] = { 1, n };
    return array_new(tn_type(TN_DTYPE_F32, 2, dims), NULL);
}

/* One row through op (with a gradient of ones as second input if `two`). */
static Array
run_row(const char *op, const Array *x, gboolean two)
{
    const TnAxisAttrs last = { -1 };
    Array in[2] = { *x, rows_of(x->arg.count) }, out[TN_MAX_OUT];
    gint n_out;
    for (gint64 i = 0; i < x->arg.count; i++) {
        array_set(&in[1], i, 1);
    }
    op_run("cpu", op, &last, two ? 2 : 1, in, &n_out, out);
    array_clear(&in[1]);
    return out[0];
}

static void
all_nan(const char *op, const Array *x, gboolean two)
{
    Array out = run_row(op, x, two);
    for (gint64 i = 0; i < out.arg.count; i++) {
        if (!isnan(array_get(&out, i))) {
            TN_FAIL("%s of %d with a NaN: element %d is %g", op, (int)out.arg.count, (int)i,
                    array_get(&out, i));
            break;
        }
    }
    array_clear(&out);
}

/* Whole blocks of NaN and of -inf, as well as single ones. */
static void
nan_rows(void)
{
    static const gint64 sizes[] = { 1, 7, 64, LONG };
    open_plugins();
    tn_registry_open("nn", NULL);
    for (guint k = 0; k < G_N_ELEMENTS(sizes); k++) {
        for (gint64 bad = 1; bad <= sizes[k]; bad += MAX(1, sizes[k] / 3)) {
            Array x = rows_of(sizes[k]);
            for (gint64 i = 0; i < sizes[k]; i++) {
                array_set(&x, i, i < bad ? NAN : i % 2 ? -INFINITY : 1);
            }
            all_nan("softmax", &x, FALSE);
            all_nan("log_softmax", &x, FALSE);
            for (gint64 i = bad; i < sizes[k]; i++) { /* as log_softmax gives it */
                array_set(&x, i, NAN);
            }
            all_nan("softmax_grad", &x, TRUE);
            all_nan("log_softmax_grad", &x, TRUE);
            array_clear(&x);
        }
    }
}

/* Blocks of -inf: no share, and the gradient passes as it came. */
static void
absent_classes(void)
{
    open_plugins();
    tn_registry_open("nn", NULL);
    Array x = rows_of(LONG);
    for (gint64 i = 0; i < LONG; i++) {
        array_set(&x, i, i == LONG - 1 ? 3 : -INFINITY);
    }
    Array share = run_row("softmax", &x, FALSE), logs = run_row("log_softmax", &x, FALSE);
    Array grad = run_row("log_softmax_grad", &logs, TRUE);
    for (gint64 i = 0; i < LONG; i += LONG - 1) {
        TN_ASSERT_NEAR(array_get(&share, i), i == 0 ? 0 : 1, 0, 0);
        TN_ASSERT(array_get(&logs, i) == (i == 0 ? -INFINITY : 0));
        TN_ASSERT_NEAR(array_get(&grad, i), i == 0 ? 1 : 1 - LONG, 0, 1e-3);
    }
    array_clear(&x);
    array_clear(&share);
    array_clear(&logs);
    array_clear(&grad);
}

/* --- Lengths ---------------------------------------------------------------------------------- */

#define MOST 2100

/* What op makes of a row y and its g, in f64. */
static void
expected(const char *op, gint64 n, const double *x, const double *g, double *out)
{
    const gboolean is_log = strncmp(op, "log", 3) == 0;
    double max = -INFINITY, sum = 0, dot = 0;
    for (gint64 i = 0; i < n; i++) {
        max = MAX(max, x[i]);
        dot += is_log ? g[i] : g[i] * x[i];
    }
    for (gint64 i = 0; i < n; i++) {
        sum += exp(x[i] - max);
    }
    for (gint64 i = 0; i < n; i++) {
        if (g_str_has_suffix(op, "grad")) {
            out[i] = is_log ? g[i] - exp(x[i]) * dot : x[i] * (g[i] - dot);
        } else {
            out[i] = is_log ? x[i] - max - log(sum) : exp(x[i] - max) / sum;
        }
    }
}

/* Two rows each: what is read or written beyond one would change the other. Numbers far below the largest,
 * which is where a row is not whole vectors. */
static void
lengths(void)
{
    static const char *const ops[] = { "softmax", "log_softmax", "softmax_grad",
                                       "log_softmax_grad" };
    static double x[2 * MOST], g[2 * MOST], want[2 * MOST];
    const TnAxisAttrs last = { -1 };
    guint64 state = 7;
    open_plugins();
    tn_registry_open("nn", NULL);
    for (gint64 n = 1; n <= MOST; n += n < 70 ? 1 : 677) {
        const gint64 dims[] = { 2, n };
        Array in[2], out[TN_MAX_OUT];
        gint n_out;
        for (gint k = 0; k < 2; k++) {
            in[k] = array_new(tn_type(TN_DTYPE_F32, 2, dims), NULL);
            for (gint64 i = 0; i < 2 * n; i++) {
                const double far = k == 0 && i % 5 == 1 ? -90 : 0;
                array_set(&in[k], i, far + (k == 0 && i % n == n - 1 ? 9 : noise_unit(&state) - 1));
                (k == 0 ? x : g)[i] = array_get(&in[k], i);
            }
        }
        for (guint o = 0; o < G_N_ELEMENTS(ops); o++) {
            op_run("cpu", ops[o], &last, o < 2 ? 1 : 2, in, &n_out, out);
            double most = 1e-30;
            for (gint row = 0; row < 2; row++) {
                expected(ops[o], n, x + row * n, g + row * n, want + row * n);
            }
            for (gint64 i = 0; i < 2 * n; i++) {
                most = MAX(most, fabs(want[i]));
            }
            for (gint64 i = 0; i < 2 * n; i++) {
                const double got = array_get(&out[0], i);
                if (!(fabs(got - want[i]) <= 2e-6 * most)) {
                    TN_FAIL("%s of %d: element %d is %.9g, expected %.9g", ops[o], (gint)n, (gint)i,
                            got, want[i]);
                    break;
                }
            }
            TN_ASSERT(array_intact(&out[0]));
            array_clear(&out[0]);
        }
        array_clear(&in[0]);
        array_clear(&in[1]);
    }
}

static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2",
                                         "TENON_CPU_ISA=avx512", NULL },
                  (const char *const[]){ "nan_rows", "absent_classes", "lengths", NULL });
}

static const TnTest tests[] = {
    { "nan_rows", nan_rows },
    { "absent_classes", absent_classes },
    { "lengths", lengths },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("softmax on cpu", tests)
