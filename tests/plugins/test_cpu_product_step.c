/* test_cpu_product_step.c: steps of Adam whose gradient is a product give the bits of the product and of the
 * step one after the other, which have tests of their own, for sizes that are not those of blocks, lying every way,
 * with every instruction set. */
// tn-test: timeout=120
#include <float.h>
#include <tenon/nn.h>

#include "cpu_run.h"

#define N_IN 7
#define N_OUT 3

typedef struct {
    gint64 m, k, n;
    gboolean a_lies, b_lies,
        gaps; /* a and b column by column; parameter and moments with gaps in their rows */
    TnAdamAttrs attrs;
} Case;

#define PLAIN                                                                                      \
    {                                                                                              \
        0.9, 0.999, 1e-8, 0                                                                        \
    }
#define DECAYS                                                                                     \
    {                                                                                              \
        0.8, 0.95, 1e-6, 0.1                                                                       \
    }
static const Case cases[] = {
    { 171, 64, 192, TRUE, FALSE, FALSE, PLAIN },   /* the least that is taken */
    { 133, 65, 249, FALSE, FALSE, FALSE, DECAYS }, /* nothing is a whole block */
    { 170, 128, 200, TRUE, FALSE, TRUE, PLAIN },   /* parts of 24 rows and one of 2 */
    { 130, 129, 257, TRUE, TRUE, FALSE, DECAYS },  /* two blocks of k */
    { 49, 70, 1400, TRUE, FALSE, FALSE, PLAIN },   /* two parts beside one another */
    { 70, 256, 530, FALSE, FALSE, FALSE, PLAIN },  /* likewise, for b is large */
};

/* Uniform in [-1, 1], of sizes where `positive`; a few ends of the scale where `odd`. */
static void
fill(Array *array, guint64 *state, gboolean positive, gboolean odd)
{
    static const float ends[] = { 0, FLT_MIN, FLT_MAX, INFINITY, NAN };
    for (gint64 i = 0; i < array->arg.count; i++) {
        const guint64 kind = noise(state) % 2000;
        const double value = noise_unit(state) * 2 - 1;
        array_set(array, i,
                  odd && kind < G_N_ELEMENTS(ends) ? ends[kind]
                  : positive                       ? fabs(value)
                                                   : value);
    }
}

static Array
matrix(gint64 rows, gint64 cols, gboolean lies, gint64 gap)
{
    const gint64 dims[] = { rows, cols }, strides[] = { lies ? 1 : cols + gap, lies ? rows : 1 };
    return array_new(tn_type(TN_DTYPE_F32, 2, dims), strides);
}

static void
inputs(const Case *c, gboolean odd, Array *in)
{
    guint64 state = 4711;
    in[0] = matrix(c->m, c->k, c->a_lies, 0);
    in[1] = matrix(c->k, c->n, c->b_lies, 0);
    for (gint i = 2; i < 5; i++) {
        in[i] = matrix(c->m, c->n, FALSE, c->gaps ? i : 0);
    }
    for (gint i = 0; i < 5; i++) {
        /* An end of the scale in a product is in a whole row or column of it. */
        fill(&in[i], &state, i == 4, odd && i >= 2);
    }
    for (gint i = 5; i < N_IN; i++) {
        in[i] = array_new(tn_type(TN_DTYPE_F64, 0, NULL), NULL);
        array_set(&in[i], 0, i == 5 ? 0.01 : 3);
    }
    if (odd) {
        array_set(&in[0], c->k / 2, INFINITY);
        array_set(&in[1], c->n / 2, NAN);
    }
}

static void
clear(Array *arrays, gint n)
{
    for (gint i = 0; i < n; i++) {
        array_clear(&arrays[i]);
    }
}

/* What product and step give one after the other. */
static void
in_two(const Case *c, const char *step, const Array *in, Array *out)
{
    Array gradient = matrix(c->m, c->n, FALSE, 0), whole[3];
    for (gint i = 0; i < 3; i++) {
        whole[i] = array_copy(&in[2 + i], (gint64[]){ c->n, 1 });
        out[i] = matrix(c->m, c->n, FALSE, 0);
    }
    const Array of[] = { whole[0], gradient, whole[1], whole[2], in[5], in[6] };
    TN_REQUIRE(kernel_run("cpu", tn_op_find("matmul", NULL), NULL, 2, in, 1, &gradient, NULL) ==
               TN_OK);
    TN_REQUIRE(kernel_run("cpu", tn_op_find(step, NULL), &c->attrs, 6, of, 3, out, NULL) == TN_OK);
    array_clear(&gradient);
    clear(whole, 3);
}

static void
check(const Case *c, const char *step, const char *both, gboolean odd)
{
    Array in[N_IN], want[N_OUT], got[N_OUT];
    inputs(c, odd, in);
    in_two(c, step, in, want);
    for (gint i = 0; i < N_OUT; i++) {
        got[i] = matrix(c->m, c->n, FALSE, 0);
    }
    TN_REQUIRE(kernel_run("cpu", tn_op_find(both, NULL), &c->attrs, N_IN, in, N_OUT, got, NULL) ==
               TN_OK);
    for (gint i = 0; i < N_OUT; i++) {
        tn_test_check(array_same(&got[i], &want[i]) && array_intact(&got[i]), FALSE, __FILE__,
                      __LINE__, "%s of %d x %d x %d, output %d", both, (int)c->m, (int)c->k,
                      (int)c->n, i);
    }
    clear(in, N_IN);
    clear(want, N_OUT);
    clear(got, N_OUT);
}

static void
same_as_in_two(void)
{
    open_plugins();
    tn_registry_open("nn", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        check(&cases[i], "adam_step", "adam_product_step", i % 2);
        check(&cases[i], "adamw_step", "adamw_product_step", i % 2 == 0);
    }
}

/* Each output in the memory of the input that it replaces, as a program has it, with 1, 2 and 3 threads. */
static void
in_place(void)
{
    const Case *c = &cases[3];
    Array in[N_IN], want[N_OUT];
    open_plugins();
    tn_registry_open("nn", NULL);
    inputs(c, FALSE, in);
    in_two(c, "adam_step", in, want);
    for (guint threads = 1; threads <= 3; threads++) {
        Array out[N_OUT], use[N_IN];
        tn_pool_set_threads(threads);
        memcpy(use, in, sizeof in);
        for (gint i = 0; i < N_OUT; i++) {
            use[2 + i] = out[i] = array_copy(&in[2 + i], NULL);
        }
        TN_REQUIRE(kernel_run("cpu", tn_op_find("adam_product_step", NULL), &c->attrs, N_IN, use,
                              N_OUT, out, NULL) == TN_OK);
        for (gint i = 0; i < N_OUT; i++) {
            TN_ASSERT(array_same(&out[i], &want[i]) && array_intact(&out[i]));
        }
        clear(out, N_OUT);
    }
    clear(in, N_IN);
    clear(want, N_OUT);
}

static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2", NULL },
                  (const char *const[]){ "same as in two", "in place", NULL });
}

static const TnTest tests[] = {
    { "same as in two", same_as_in_two },
    { "in place", in_place },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("cpu steps of products", tests)
