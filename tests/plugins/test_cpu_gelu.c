/* gelu by tanh and its gradient on the cpu device against their formulas in f64 (Hendrycks & Gimpel, "Gaussian Error
 * Linear Units", 2016), on each instruction set: over all magnitudes and at the ends of the scale, and of bf16 the
 * rounded results of f32. */
#include <float.h>
#include <tenon/nn.h>

#include "cpu_run.h"

/* Several chunks and strips, the last ones not full. */
#define N 36891
#define ROOT 0.79788456080286535588
#define CUBIC 0.044715

static const TnGeluAttrs by_tanh = { TN_GELU_TANH };
static const float ends[] = { 0,       -0.0f,   INFINITY, -INFINITY, NAN,   1e-40f,
                              -1e-40f, FLT_MIN, 14.5f,    -14.5f,    1e10f, -1e10f };

static Array
vector(TnDtype dtype)
{
    const gint64 n = N;
    return array_new(tn_type(dtype, 1, &n), NULL);
}

/* Dense where the function bends, then all magnitudes and the ends. */
static void
fill(Array *x)
{
    guint64 state = 7;
    for (gint64 i = 0; i < N; i++) {
        const double dense = (double)i / N * 30 - 15, sign = noise(&state) & 1 ? 1 : -1;
        const double any = sign * exp2(60 * noise_unit(&state) - 40);
        array_set(x, i,
                  i % 11 == 0  ? (double)ends[(gsize)i / 11 % G_N_ELEMENTS(ends)]
                  : i % 3 == 0 ? any
                               : dense);
    }
}

static void
run(const char *op, const Array *x, const Array *g, Array *out)
{
    gint n_out;
    const Array in[] = { *x, *g };
    op_run("cpu", op, &by_tanh, strcmp(op, "gelu") == 0 ? 1 : 2, in, &n_out, out);
}

/* What rounding the exponent loses grows with it; shares below the smallest normal number are 0, times what they
 * are multiplied with. */
static gboolean
near(double got, double want, double terms, double u, double factor)
{
    if (isnan(want)) {
        return isnan(got);
    }
    const double lost = (double)FLT_MIN * (1 + MIN(fabs(factor), 1e4));
    return got == want ||
           fabs(got - want) <= 4 * (double)FLT_EPSILON * terms * (1 + 2 * fabs(u)) + lost;
}

static void
formulas(void)
{
    open_plugins();
    tn_registry_open("nn", NULL);
    Array x = vector(TN_DTYPE_F32), g = vector(TN_DTYPE_F32), y, dx;
    fill(&x);
    for (gint64 i = 0; i < N; i++) {
        array_set(&g, i, i % 2 == 0 ? 1.5 : -0.25);
    }
    run("gelu", &x, &g, &y);
    run("gelu_grad", &x, &g, &dx);
    for (gint64 i = 0; i < N; i++) {
        const double v = array_get(&x, i), u = ROOT * v * (CUBIC * v * v + 1);
        const double share = 1 / (1 + exp(-2 * u)), grad = array_get(&g, i);
        const double bend = v * 2 * ROOT * (3 * CUBIC * v * v + 1),
                     slope = bend * share * (1 - share);
        const double dy = grad * (share + slope), terms = fabs(grad) * (share + fabs(slope));
        if (!near(array_get(&y, i), v * share, fabs(v * share), u, v)) {
            TN_FAIL("gelu(%a) is %a, expected %a", v, array_get(&y, i), v * share);
            break;
        }
        if (!near(array_get(&dx, i), dy, terms, u, grad * bend)) {
            TN_FAIL("gelu_grad(%a, %g) is %a, expected %a", v, grad, array_get(&dx, i), dy);
            break;
        }
    }
    array_clear(&x);
    array_clear(&g);
    array_clear(&y);
    array_clear(&dx);
}

/* The bits of the result in f32, rounded. */
static void
narrow(void)
{
    static const char *const ops[] = { "gelu", "gelu_grad" };
    open_plugins();
    tn_registry_open("nn", NULL);
    Array x = vector(TN_DTYPE_BF16), g = vector(TN_DTYPE_BF16), wide = vector(TN_DTYPE_F32),
          wide_g = vector(TN_DTYPE_F32);
    fill(&x);
    for (gint64 i = 0; i < N; i++) {
        array_set(&g, i, i % 7 - 3.0);
        array_set(&wide, i, array_get(&x, i));
        array_set(&wide_g, i, array_get(&g, i));
    }
    for (guint k = 0; k < G_N_ELEMENTS(ops); k++) {
        Array y, want, rounded = vector(TN_DTYPE_BF16);
        run(ops[k], &x, &g, &y);
        run(ops[k], &wide, &wide_g, &want);
        for (gint64 i = 0; i < N; i++) {
            array_set(&rounded, i, array_get(&want, i));
            const double a = array_get(&y, i), b = array_get(&rounded, i);
            if (!(a == b || (isnan(a) && isnan(b)))) {
                TN_FAIL("%s(%a) is %a, expected %a", ops[k], array_get(&x, i), a, b);
                break;
            }
        }
        array_clear(&y);
        array_clear(&want);
        array_clear(&rounded);
    }
    array_clear(&x);
    array_clear(&g);
    array_clear(&wide);
    array_clear(&wide_g);
}

static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2",
                                         "TENON_CPU_ISA=avx512", NULL },
                  (const char *const[]){ "formulas", "narrow", NULL });
}

static const TnTest tests[] = {
    { "formulas", formulas },
    { "narrow", narrow },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("cpu gelu", tests)
