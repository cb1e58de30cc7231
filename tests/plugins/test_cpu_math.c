/* Functions of the cpu device on f32: error in units of the last place against libm in long double,
 * over the whole range, and what NaN, infinities, zeros and subnormal numbers give; on each
 * instruction set. */
// tn-test: timeout=120
#include "cpu_run.h"

#include <float.h>

typedef struct {
    const char *op;
    long double (*exact)(long double);
    float low, high; /* where the error is measured */
    double ulps;
} Function;

static const Function functions[] = {
    { "exp", expl, -104, 89, 2 },
    { "log", logl, 0, INFINITY, 2 },
    { "sin", sinl, -INFINITY, INFINITY, 2 },
    { "cos", cosl, -INFINITY, INFINITY, 2 },
    { "tanh", tanhl, -INFINITY, INFINITY, 2 },
    { "erf", erfl, -INFINITY, INFINITY, 2 },
    { "sqrt", sqrtl, 0, INFINITY, 0.5 },
};

static float
from_bits(guint32 bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The distance from got to exact in units of the last place that exact has in f32. Errors below
 * twice the smallest normal number do not count, for what is that small on the way may be flushed
 * to zero: see tn_float_mode_enter. */
static double
error_ulps(float got, long double exact)
{
    float rounded = (float)exact;
    if (got == rounded || (isnan(got) && isnan(rounded))) {
        return 0;
    }
    if (isnan(got) || isnan(rounded) || isinf(rounded)) {
        return INFINITY;
    }
    if (fabsl((long double)got - exact) < 0x1p-125L) {
        return 0;
    }
    float next = nextafterf(fabsf(rounded), INFINITY);
    long double ulp = isinf(next) ? 0x1p104L : (long double)next - (long double)fabsf(rounded);
    return (double)fabsl(((long double)got - exact) / ulp);
}

/* Every 997th f32 between low and high; n of them. */
static float *
sweep(float low, float high, gint64 *n)
{
    GArray *array = g_array_new(FALSE, FALSE, sizeof(float));
    for (guint64 bits = 0; bits <= G_MAXUINT32; bits += 9973) {
        float x = from_bits((guint32)bits);
        if (x >= low && x <= high && isfinite(x)) {
            g_array_append_val(array, x);
        }
    }
    for (guint i = 0; i < 20000; i++) { /* dense where curves bend */
        float x = (float)((double)i / 10000 - 1) * 8;
        if (x >= low && x <= high) {
            g_array_append_val(array, x);
        }
    }
    *n = array->len;
    return (float *)(gpointer)g_array_free(array, FALSE);
}

static Array
vector_of(const float *x, gint64 n)
{
    Array array = array_new(tn_type(TN_DTYPE_F32, 1, &n), NULL);
    memcpy(array.first, x, (gsize)n * sizeof(float));
    return array;
}

static void
check_function(const Function *function)
{
    gint64 n;
    gint n_out;
    g_autofree float *x = sweep(function->low, function->high, &n);
    Array in = vector_of(x, n), out;
    double worst = 0;
    float at = 0, got_at = 0;
    op_run("cpu", function->op, NULL, 1, &in, &n_out, &out);
    const float *y = (const float *)(gpointer)out.first;
    for (gint64 i = 0; i < n; i++) {
        double error = error_ulps(y[i], function->exact((long double)x[i]));
        if (error > worst) {
            worst = error;
            at = x[i];
            got_at = y[i];
        }
    }
    if (!(worst <= function->ulps)) {
        TN_FAIL("%s(%a) is %a: %.2f units off", function->op, (double)at, (double)got_at, worst);
    }
    array_clear(&in);
    array_clear(&out);
}

static void
accuracy(void)
{
    open_plugins();
    for (guint i = 0; i < G_N_ELEMENTS(functions); i++) {
        check_function(&functions[i]);
    }
}

static void
power(void)
{
    guint64 state = 1;
    gint64 n = 200000;
    gint n_out;
    Array in[2] = { array_new(tn_type(TN_DTYPE_F32, 1, &n), NULL),
                    array_new(tn_type(TN_DTYPE_F32, 1, &n), NULL) };
    Array out;
    open_plugins();
    float *x = (float *)(gpointer)in[0].first, *y = (float *)(gpointer)in[1].first;
    for (gint64 i = 0; i < n; i++) {
        x[i] = from_bits((guint32)noise(&state));
        y[i] = (float)(noise_unit(&state) * 20 - 10);
        y[i] = i % 7 == 0 ? rintf(y[i]) : y[i];
        x[i] = i % 3 == 0 ? (float)(noise_unit(&state) * 4) : x[i];
    }
    op_run("cpu", "pow", NULL, 2, in, &n_out, &out);
    const float *z = (const float *)(gpointer)out.first;
    for (gint64 i = 0; i < n; i++) {
        double error = error_ulps(z[i], powl((long double)x[i], (long double)y[i]));
        if (!(error <= 2)) {
            TN_FAIL("pow(%a, %a) is %a: %.2f units off", (double)x[i], (double)y[i], (double)z[i],
                    error);
            break;
        }
    }
    array_clear(&in[0]);
    array_clear(&in[1]);
    array_clear(&out);
}

static const float special[] = { 0.0f,        -0.0f,   INFINITY, -INFINITY, NAN,
                                 -NAN,        FLT_MIN, -FLT_MIN, 0x1p-149f, -0x1p-149f,
                                 0x1.8p-130f, FLT_MAX, -FLT_MAX, 1,         -1,
                                 0.5f,        -0.5f,   1.5f,     -1.5f,     2.5f,
                                 -2.5f,       88.8f,   -103.9f,  1e30f,     -1e30f };

static gboolean
same_special(float got, float want)
{
    if (isnan(want)) {
        return isnan(got);
    }
    if (want == 0 || isinf(want)) {
        return got == want && signbit(got) == signbit(want);
    }
    return error_ulps(got, (long double)want) <= 2;
}

/* The special values at every place of a vector, among ordinary ones, and against ref. */
static void
specials(void)
{
    static const char *const ops[] = { "neg", "abs", "sign", "exp", "log",   "sqrt", "reciprocal",
                                       "sin", "cos", "tanh", "erf", "floor", "ceil", "round" };
    gint64 n = 37 * (gint64)G_N_ELEMENTS(special);
    g_autofree float *x = g_new(float, n);
    open_plugins();
    for (gint64 i = 0; i < n; i++) {
        x[i] = i % 37 == 0  ? special[i / 37]
               : i % 5 == 0 ? special[i % (gint64)G_N_ELEMENTS(special)]
                            : 0.25f;
    }
    for (guint k = 0; k < G_N_ELEMENTS(ops); k++) {
        gint n_out;
        Array in = vector_of(x, n), got, want;
        op_run("cpu", ops[k], NULL, 1, &in, &n_out, &got);
        op_run("ref", ops[k], NULL, 1, &in, &n_out, &want);
        const float *a = (const float *)(gpointer)got.first,
                    *b = (const float *)(gpointer)want.first;
        for (gint64 i = 0; i < n; i++) {
            if (!same_special(a[i], b[i])) {
                TN_FAIL("%s(%a) is %a, expected %a", ops[k], (double)x[i], (double)a[i],
                        (double)b[i]);
                break;
            }
        }
        array_clear(&in);
        array_clear(&got);
        array_clear(&want);
    }
}

/* max, min and comparisons of every pair of special values, in every arrangement of scalars. */
static void
special_pairs(void)
{
    static const char *const ops[] = {
        "add",   "mul",  "div",     "max",           "min",
        "equal", "less", "greater", "less_or_equal", "greater_or_equal",
        "mod",   "pow"
    };
    const gint64 n = G_N_ELEMENTS(special), row[] = { 1, n }, column[] = { n, 1 };
    open_plugins();
    for (guint k = 0; k < G_N_ELEMENTS(ops); k++) {
        static const TnModAttrs attrs = { FALSE };
        gint n_out;
        Array in[2] = { array_new(tn_type(TN_DTYPE_F32, 2, row), NULL),
                        array_new(tn_type(TN_DTYPE_F32, 2, column), NULL) };
        Array got, want;
        memcpy(in[0].first, special, sizeof special);
        memcpy(in[1].first, special, sizeof special);
        const void *a = strcmp(ops[k], "mod") == 0 ? &attrs : NULL;
        op_run("cpu", ops[k], a, 2, in, &n_out, &got);
        op_run("ref", ops[k], a, 2, in, &n_out, &want);
        for (gint64 i = 0; i < n * n; i++) {
            if (!same_special((float)array_get(&got, i), (float)array_get(&want, i))) {
                TN_FAIL("%s(%a, %a) is %a, expected %a", ops[k], (double)special[i % n],
                        (double)special[i / n], array_get(&got, i), array_get(&want, i));
                break;
            }
        }
        array_clear(&in[0]);
        array_clear(&in[1]);
        array_clear(&got);
        array_clear(&want);
    }
}

/* The tests above with every instruction set below this processor's best. */
static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2",
                                         "TENON_CPU_ISA=avx512", NULL },
                  (const char *const[]){ "accuracy", "power", "specials", "special_pairs", NULL });
}

/* An unknown name is refused with the ones there are. */
static void
wrong_instruction_set(void)
{
    const char *const env[] = { "TENON_CPU_ISA=mmx", NULL };
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    const char *const command[] = { self, "accuracy", NULL };
    TnChildOptions options = { .env = env, .timeout = 100 };
    g_auto(TnChild) child = { 0 };
    TN_REQUIRE(tn_test_spawn(&child, command, &options));
    TN_ASSERT_CMPINT(child.exit_code, ==, 1);
    g_autofree char *all = g_strconcat(child.out, child.err, NULL);
    TN_ASSERT_CONTAINS(all, "TENON_CPU_ISA is 'mmx'");
    TN_ASSERT_CONTAINS(all, "portable, avx2, avx512, avx512_bf16 or amx");
}

static const TnTest tests[] = {
    { "accuracy", accuracy },
    { "power", power },
    { "specials", specials },
    { "special_pairs", special_pairs },
    { "other_instruction_sets", other_instruction_sets },
    { "wrong_instruction_set", wrong_instruction_set },
};

TN_TEST_MAIN("cpu mathematics", tests)
