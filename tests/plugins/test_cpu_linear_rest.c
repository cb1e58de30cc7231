/* test_cpu_linear_rest.c: a dense layer with what follows it gives the bits of the layer and of element-wise nodes
 * after it, which have tests of their own, for every kind of product and sizes that are not those of blocks, with
 * every instruction set and any number of threads. */
// tn-test: timeout=120
#include <tenon/nn.h>

#include "cpu_run.h"

enum { X, W, B, MORE, GATE, N_IN };

typedef struct {
    gint64 rows, in, out;
    gint64 panel; /* columns of a panel of turned weights; 0: weights as they are */
    gboolean bias, more, gate, relu;
} Case;

static const Case cases[] = {
    { 128, 300, 200, 0, TRUE, FALSE, FALSE, TRUE },    /* blocks of k, b is turned */
    { 131, 129, 70, 0, TRUE, TRUE, FALSE, TRUE },      /* nothing is a whole block */
    { 200, 140, 257, 257, FALSE, FALSE, TRUE, FALSE }, /* b as it lies, two blocks of rows */
    { 125, 64, 128, 64, TRUE, TRUE, TRUE, TRUE },      /* panels, all of it */
    { 1, 200, 67, 0, TRUE, FALSE, FALSE, TRUE },       /* thin products */
    { 5, 200, 300, 0, TRUE, TRUE, FALSE, FALSE },      { 9, 70, 192, 64, TRUE, FALSE, TRUE, TRUE },
    { 12, 40, 7, 0, FALSE, TRUE, TRUE, TRUE }, /* OpenBLAS's, where it is there */
    { 7, 0, 33, 0, TRUE, TRUE, FALSE, TRUE },  /* nothing is summed */
    { 0, 3, 33, 0, TRUE, TRUE, TRUE, TRUE },
};

/* Uniform in [-1, 1]; every now and then 0, -0, an infinity or no number where `odd`. */
static Array
random_array(TnType type, guint64 *state, gboolean odd)
{
    static const double ends[] = { 0, -0.0, INFINITY, -INFINITY, NAN };
    Array array = array_new(type, NULL);
    for (gint64 i = 0; i < array.arg.count; i++) {
        const guint64 kind = noise(state) % 50;
        const double value = noise_unit(state) * 2 - 1;
        array_set(&array, i, odd && kind < G_N_ELEMENTS(ends) ? ends[kind] : value);
    }
    return array;
}

static Array
absent(void)
{
    return (Array){ .arg.type.dtype = TN_DTYPE_NONE };
}

static void
inputs(const Case *c, Array *in)
{
    guint64 state = 77;
    const gint64 x[] = { c->rows, c->in }, w[] = { c->out, c->in }, out[] = { c->rows, c->out };
    const gint64 panels[] = { c->panel > 0 ? c->out / c->panel : 0, c->in, c->panel };
    const TnType whole = tn_type(TN_DTYPE_F32, 2, out);
    in[X] = random_array(tn_type(TN_DTYPE_F32, 2, x), &state, FALSE);
    in[W] =
        random_array(c->panel > 0 ? tn_type(TN_DTYPE_F32, 3, panels) : tn_type(TN_DTYPE_F32, 2, w),
                     &state, FALSE);
    in[B] = c->bias ? random_array(tn_type(TN_DTYPE_F32, 1, &c->out), &state, TRUE) : absent();
    in[MORE] = c->more ? random_array(whole, &state, TRUE) : absent();
    in[GATE] = c->gate ? random_array(whole, &state, TRUE) : absent();
}

/* In place of y: the layer's result, then one step after another. */
static void
in_steps(const Case *c, const Array *in, Array *y)
{
    const gboolean matrix = c->panel == c->out; /* [in, out], as products of gradients have it */
    const char *op = matrix ? "matmul" : c->panel > 0 ? "linear_turned" : "linear";
    Array of[] = { in[X], in[W], in[B] };
    if (matrix) {
        of[W].arg.type = tn_type(TN_DTYPE_F32, 2, in[W].arg.type.dims + 1);
        memmove(of[W].arg.strides, in[W].arg.strides + 1, 2 * sizeof *of[W].arg.strides);
    }
    TN_REQUIRE(kernel_run("cpu", tn_op_find(op, NULL), NULL, matrix ? 2 : 3, of, 1, y, NULL) ==
               TN_OK);
    for (gint64 i = 0; i < y->arg.count; i++) {
        float value = (float)array_get(y, i);
        value = c->more ? value + (float)array_get(&in[MORE], i) : value;
        value = c->relu && !(value > 0) && !isnan(value) ? 0 : value;
        value = c->gate && !(array_get(&in[GATE], i) > 0) ? 0 : value;
        array_set(y, i, value);
    }
}

static gboolean
same(const Array *a, const Array *b)
{
    for (gint64 i = 0; i < a->arg.count; i++) {
        const double x = array_get(a, i), y = array_get(b, i);
        if (memcmp(&x, &y, sizeof x) != 0 && !(isnan(x) && isnan(y))) {
            TN_FAIL("element %d: %g, expected %g", (int)i, x, y);
            return FALSE;
        }
    }
    return TRUE;
}

static void
check(const Case *c)
{
    const TnFusedLinearAttrs attrs = { c->relu };
    const gint64 dims[] = { c->rows, c->out };
    Array in[N_IN], want = array_new(tn_type(TN_DTYPE_F32, 2, dims), NULL);
    inputs(c, in);
    in_steps(c, in, &want);
    for (guint threads = 1; threads <= 3; threads++) {
        Array got = array_new(tn_type(TN_DTYPE_F32, 2, dims), NULL);
        tn_pool_set_threads(threads);
        TN_REQUIRE(kernel_run("cpu", tn_op_find("fused_linear", NULL), &attrs, N_IN, in, 1, &got,
                              NULL) == TN_OK);
        tn_test_check(same(&got, &want) && array_intact(&got), FALSE, __FILE__, __LINE__,
                      "%d x %d x %d, panels of %d, %u threads", (int)c->rows, (int)c->in,
                      (int)c->out, (int)c->panel, threads);
        array_clear(&got);
    }
    for (gint i = 0; i < N_IN; i++) {
        array_clear(&in[i]);
    }
    array_clear(&want);
}

static void
same_as_in_steps(void)
{
    open_plugins();
    tn_registry_open("nn", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        check(&cases[i]);
    }
}

/* With batch_invariant the first row alone has the bits that it has among others. */
static void
rows_alone(void)
{
    const Case *c = &cases[6];
    const TnFusedLinearAttrs attrs = { c->relu };
    const gint64 dims[] = { c->rows, c->out }, one[] = { 1, c->out };
    Array in[N_IN], all = array_new(tn_type(TN_DTYPE_F32, 2, dims), NULL);
    Array first = array_new(tn_type(TN_DTYPE_F32, 2, one), NULL);
    const TnOp *op = tn_op_find("fused_linear", NULL);
    inputs(c, in);
    batch_invariant = TRUE;
    TN_REQUIRE(kernel_run("cpu", op, &attrs, N_IN, in, 1, &all, NULL) == TN_OK);
    Array use[] = { in[X], in[W], in[B], in[MORE], in[GATE] };
    use[X].arg.type.dims[0] = use[GATE].arg.type.dims[0] = 1;
    use[X].arg.count = c->in;
    use[GATE].arg.count = c->out;
    TN_REQUIRE(kernel_run("cpu", op, &attrs, N_IN, use, 1, &first, NULL) == TN_OK);
    batch_invariant = FALSE;
    TN_ASSERT(same(&first, &all));
    for (gint i = 0; i < N_IN; i++) {
        array_clear(&in[i]);
    }
    array_clear(&all);
    array_clear(&first);
}

static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2", NULL },
                  (const char *const[]){ "same as in steps", "rows alone", NULL });
}

static const TnTest tests[] = {
    { "same as in steps", same_as_in_steps },
    { "rows alone", rows_alone },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("cpu dense layers and what follows", tests)
