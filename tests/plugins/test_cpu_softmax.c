/* Rows of softmax and log_softmax on the cpu device that hold NaN and infinities, short and long
 * ones: a NaN anywhere is the whole row's, in the gradient too; a class at -inf has no share. */
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

static const TnTest tests[] = { { "nan_rows", nan_rows }, { "absent_classes", absent_classes } };

TN_TEST_MAIN("softmax on cpu", tests)
