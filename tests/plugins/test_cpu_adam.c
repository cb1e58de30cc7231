/* Steps of Adam on the cpu device against the formulas in f64 (Kingma & Ba 2015, algorithm 1; Loshchilov &
 * Hutter 2019, algorithm 2): for gradients from the smallest to those whose square is infinite, with every
 * instruction set, and in place. */
#include <float.h>
#include <tenon/nn.h>

#include "cpu_run.h"

#define N 4099

typedef struct {
    Array in[6], out[3];
} Step;

/* Over all magnitudes, and the ends of the scale. */
static float
sample(guint64 *state, gboolean positive)
{
    static const float ends[] = { 0, 1e-45f, FLT_MIN, FLT_MAX, INFINITY, NAN };
    const guint64 kind = noise(state) % 100;
    const float sign = positive || noise(state) & 1 ? 1.0f : -1.0f;
    if (kind < G_N_ELEMENTS(ends)) {
        return sign * ends[kind];
    }
    return sign * (float)exp2(60 * noise_unit(state) - 40);
}

static Step
step_new(double lr, double step)
{
    const gint64 n = N;
    guint64 state = 4711;
    Step s;
    for (gint i = 0; i < 4; i++) {
        s.in[i] = array_new(tn_type(TN_DTYPE_F32, 1, &n), NULL);
        for (gint64 k = 0; k < n; k++) {
            array_set(&s.in[i], k, sample(&state, i == 3));
        }
    }
    for (gint i = 4; i < 6; i++) {
        s.in[i] = array_new(tn_type(TN_DTYPE_F64, 0, NULL), NULL);
        array_set(&s.in[i], 0, i == 4 ? lr : step);
    }
    for (gint i = 0; i < 3; i++) {
        s.out[i] = array_new(tn_type(TN_DTYPE_F32, 1, &n), NULL);
    }
    return s;
}

static void
step_clear(Step *s)
{
    for (gint i = 0; i < 6; i++) {
        array_clear(&s->in[i]);
    }
    for (gint i = 0; i < 3; i++) {
        array_clear(&s->out[i]);
    }
}

/* Whether got is want, given that terms of the sum were as large as scale. */
static gboolean
near(double got, double want, double scale)
{
    if (!isfinite((float)want)) {
        return isnan(want) ? isnan(got) : got == want || fabs(got) >= FLT_MAX / 2;
    }
    /* What is smaller than FLT_MIN is 0. */
    return fabs(got - want) <= 8 * FLT_EPSILON * scale + FLT_MIN;
}

static void
check_step(const char *op, const TnAdamAttrs *a, double lr, double step)
{
    Step s = step_new(lr, step);
    const gboolean itself = strcmp(op, "adamw_step") == 0;
    const double root = sqrt(1 - pow(a->beta2, step)), rate = lr / (1 - pow(a->beta1, step));
    TN_REQUIRE(kernel_run("cpu", tn_op_find(op, NULL), a, 6, s.in, 3, s.out, NULL) == TN_OK);
    for (gint64 i = 0; i < N; i++) {
        const double p = array_get(&s.in[0], i), m = array_get(&s.in[2], i),
                     v = array_get(&s.in[3], i);
        const double added = !itself && a->weight_decay > 0 ? a->weight_decay * p : 0;
        const double grad = array_get(&s.in[1], i) + added;
        const double mean = a->beta1 * m + (1 - a->beta1) * grad;
        /* As large numbers as f32 has. */
        const double square = (float)(a->beta2 * v + (1 - a->beta2) * (float)(grad * grad));
        const double divisor = (float)(sqrt(square) / root + a->eps);
        const double way = rate * (double)((float)mean / (float)divisor);
        const double exact = rate * (mean / divisor);
        const double left = itself ? p * (1 - lr * a->weight_decay) : p;
        /* What sums of terms of both signs lose. */
        const double terms = fabs(array_get(&s.in[1], i)) + fabs(grad) + fabs(added);
        const double sizes = fabs(a->beta1 * m) + (1 - a->beta1) * terms;
        const double squares = fabs(square) + (1 - a->beta2) * fabs(grad) * terms;
        const double lost =
            isinf(square) ? 0 : sizes / MAX(fabs(mean), DBL_MIN) + squares / MAX(square, DBL_MIN);
        /* A quotient that is too large for f32 may be so no more once the rate is in it. */
        const gboolean moved =
            near(array_get(&s.out[0], i), left - way, fabs(left) + fabs(way) * (1 + lost)) ||
            (isinf(way) &&
             near(array_get(&s.out[0], i), left - exact, fabs(left) + fabs(exact) * (1 + lost)));
        const gboolean ok = near(array_get(&s.out[1], i), mean, sizes) &&
                            near(array_get(&s.out[2], i), square, 2 * squares) &&
                            (fabs(mean) > FLT_MAX || moved);
        if (!ok) {
            TN_FAIL("%s: of %g, %g, %g, %g: %g, %g, %g, expected %g, %g, %g", op, p,
                    array_get(&s.in[1], i), m, v, array_get(&s.out[0], i), array_get(&s.out[1], i),
                    array_get(&s.out[2], i), left - way, mean, square);
            break;
        }
    }
    for (gint i = 0; i < 3; i++) {
        TN_ASSERT(array_intact(&s.out[i]));
    }
    step_clear(&s);
}

static void
formulas(void)
{
    const TnAdamAttrs plain = { 0.9, 0.999, 1e-8, 0 }, decaying = { 0.8, 0.95, 1e-6, 0.1 };
    open_plugins();
    tn_registry_open("nn", NULL);
    check_step("adam_step", &plain, 1e-3, 1);
    check_step("adam_step", &decaying, 0.1, 17);
    check_step("adamw_step", &plain, 1e-3, 1);
    check_step("adamw_step", &decaying, 0.1, 1e6);
}

/* Each output in the memory of the input that it replaces, as a program has it. */
static void
in_place(void)
{
    const TnAdamAttrs attrs = { 0.9, 0.999, 1e-8, 0.01 };
    const TnOp *op;
    open_plugins();
    tn_registry_open("nn", NULL);
    op = tn_op_find("adam_step", NULL);
    Step s = step_new(1e-2, 3);
    TN_REQUIRE(kernel_run("cpu", op, &attrs, 6, s.in, 3, s.out, NULL) == TN_OK);
    const Array over[] = { s.in[0], s.in[2], s.in[3] };
    TN_REQUIRE(kernel_run("cpu", op, &attrs, 6, s.in, 3, over, NULL) == TN_OK);
    for (gint i = 0; i < 3; i++) {
        TN_ASSERT(memcmp(over[i].first, s.out[i].first, N * sizeof(float)) == 0);
    }
    step_clear(&s);
}

static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2", NULL },
                  (const char *const[]){ "formulas", "in place", NULL });
}

static const TnTest tests[] = {
    { "formulas", formulas },
    { "in place", in_place },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("cpu adam", tests)
