/* Batch-invariant kernels of the cpu device where the axis of samples is not the first: what a sample gives
 * alone has the bits that it has among others. */
#include "cpu_run.h"

static guint64 state = 0x5eedull;

/* The first n samples of x, whose samples are the middle axis, laid out as `order` says. */
static Array
samples_of(const Array *x, gint64 n, const gint *order)
{
    TnType type = x->arg.type;
    gint64 strides[TN_MAX_RANK], step = 1;
    const gint64 all = type.dims[1];
    type.dims[1] = n;
    for (gint i = 2; i >= 0; i--) {
        strides[order[i]] = step;
        step *= type.dims[order[i]];
    }
    Array few = array_new(type, strides);
    const gint64 last = type.dims[2];
    for (gint64 i = 0; i < few.arg.count; i++) {
        const gint64 row = i / last, step_at = row / n, sample = row % n;
        array_set(&few, i, array_get(x, (step_at * all + sample) * last + i % last));
    }
    return few;
}

/* Element i of sample 0 of a result whose axis of samples has n. */
static double
of_first(const Array *y, gint64 n, gint64 i)
{
    const gint64 last = y->arg.type.dims[2];
    return array_get(y, i / last * n * last + i % last);
}

static void
check(const gint64 *dims, const TnReduceAttrs *attrs, const gint *order)
{
    static const gint64 numbers[] = { 2, 5 };
    Array x = array_new(tn_type(TN_DTYPE_F32, 3, dims), NULL);
    for (gint64 i = 0; i < x.arg.count; i++) {
        array_set(&x, i, 2 * noise_unit(&state) - 1);
    }
    Array alone = samples_of(&x, 1, order), one[TN_MAX_OUT], many[TN_MAX_OUT];
    gint n_out;
    op_run("cpu", "reduce_sum", attrs, 1, &alone, &n_out, one);
    for (guint k = 0; k < G_N_ELEMENTS(numbers); k++) {
        Array among = samples_of(&x, numbers[k], order);
        op_run("cpu", "reduce_sum", attrs, 1, &among, &n_out, many);
        for (gint64 i = 0; i < one[0].arg.count; i++) {
            const double got = of_first(&many[0], numbers[k], i), want = array_get(&one[0], i);
            if (got != want) {
                TN_FAIL("[%d, n, %d], %d axes, order %d%d%d: element %d among %d is %.9g, alone "
                        "%.9g",
                        (int)dims[0], (int)dims[2], attrs->axes.n, order[0], order[1], order[2],
                        (int)i, (int)numbers[k], got, want);
                break;
            }
        }
        array_clear(&among);
        array_clear(&many[0]);
    }
    array_clear(&x);
    array_clear(&alone);
    array_clear(&one[0]);
}

static void
sums(void)
{
    static const gint64 sizes[][3] = { { 70, 5, 1 },   { 1, 5, 70 },    { 70, 5, 3 },
                                       { 130, 5, 40 }, { 300, 5, 300 }, { 3, 5, 2 } };
    static const TnReduceAttrs axes[] = { { { 1, { 0 } }, TRUE },
                                          { { 1, { 2 } }, TRUE },
                                          { { 2, { 0, 2 } }, TRUE } };
    static const gint orders[][3] = { { 0, 1, 2 }, { 1, 0, 2 }, { 0, 2, 1 }, { 2, 1, 0 } };
    open_plugins();
    batch_invariant = TRUE;
    for (guint s = 0; s < G_N_ELEMENTS(sizes); s++) {
        for (guint a = 0; a < G_N_ELEMENTS(axes); a++) {
            /* Where another axis is 1 as well, its place among strides tells nothing. */
            const gboolean plain = sizes[s][0] == 1 || sizes[s][2] == 1;
            for (guint o = 0; o < (plain ? 2 : G_N_ELEMENTS(orders)); o++) {
                check(sizes[s], &axes[a], orders[o]);
            }
        }
    }
    batch_invariant = FALSE;
}

static const TnTest tests[] = { { "sums", sums } };
TN_TEST_MAIN("cpu samples", tests)
