/* test_cpu_linear_rest.c: a dense layer with what follows it gives the bits of the layer and of element-wise kernels
 * after it, which have tests of their own: for every kind of product and sizes that are not those of blocks, however
 * operands lie, with every instruction set and any number of threads. */
// tn-test: timeout=120
#include <tenon/nn.h>

#include "cpu_run.h"

enum { X, W, B, MORE, N_IN };

/* How a matrix [rows, columns] lies. */
typedef enum { PLAIN, GAPS, TURNED, HOLES, REPEATED, ABSENT } Lay;

typedef struct {
    gint64 rows, in, out;
    gint64 panel; /* columns of a panel of turned weights; 0: weights as they are */
    Lay x, w, more;
    gboolean bias;
    gint activation;
    gboolean last;
} Case;

static const Case cases[] = {
    /* blocks of k, b is turned */
    { 128, 300, 200, 0, PLAIN, PLAIN, ABSENT, TRUE, TN_LINEAR_RELU, FALSE },
    /* nothing is a whole block */
    { 131, 129, 70, 0, PLAIN, PLAIN, PLAIN, TRUE, TN_LINEAR_RELU, FALSE },
    { 131, 129, 70, 0, GAPS, GAPS, GAPS, TRUE, TN_LINEAR_RELU, TRUE },
    /* b as it lies, two blocks of rows, regions beside one another */
    { 400, 140, 1100, 0, PLAIN, TURNED, TURNED, FALSE, TN_LINEAR_GELU, FALSE },
    { 400, 140, 1100, 0, TURNED, PLAIN, REPEATED, TRUE, TN_LINEAR_GELU_TANH, TRUE },
    { 60, 31, 129, 0, HOLES, HOLES, HOLES, TRUE, TN_LINEAR_RELU, TRUE },
    /* panels */
    { 125, 64, 128, 64, PLAIN, PLAIN, PLAIN, TRUE, TN_LINEAR_GELU_TANH, FALSE },
    { 9, 70, 192, 64, PLAIN, PLAIN, ABSENT, TRUE, TN_LINEAR_RELU, FALSE },
    /* thin products */
    { 1, 200, 67, 0, PLAIN, PLAIN, ABSENT, TRUE, TN_LINEAR_RELU, FALSE },
    { 1, 784, 128, 0, PLAIN, PLAIN, TURNED, TRUE, TN_LINEAR_RELU, TRUE },
    { 5, 200, 300, 0, PLAIN, PLAIN, GAPS, TRUE, TN_LINEAR_NONE, FALSE },
    /* OpenBLAS's, where it is there */
    { 12, 40, 7, 0, PLAIN, PLAIN, REPEATED, FALSE, TN_LINEAR_RELU, FALSE },
    /* longer rows than strips, one column, nothing that is summed, nothing at all */
    { 3, 5, 5000, 0, PLAIN, PLAIN, GAPS, TRUE, TN_LINEAR_GELU, TRUE },
    { 70, 33, 1, 0, PLAIN, PLAIN, GAPS, TRUE, TN_LINEAR_RELU, FALSE },
    { 7, 0, 330, 0, PLAIN, PLAIN, PLAIN, TRUE, TN_LINEAR_RELU, FALSE },
    { 7, 0, 330, 0, PLAIN, PLAIN, PLAIN, TRUE, TN_LINEAR_GELU, TRUE },
    { 7, 0, 330, 0, PLAIN, PLAIN, TURNED, FALSE, TN_LINEAR_NONE, TRUE },
    { 0, 3, 33, 0, PLAIN, PLAIN, PLAIN, TRUE, TN_LINEAR_RELU, FALSE },
    { 3, 3, 0, 0, PLAIN, PLAIN, PLAIN, TRUE, TN_LINEAR_RELU, TRUE },
};

/* Uniform in [-1, 1]; every now and then 0, -0, an infinity or no number where `odd`. */
static Array
random_array(TnType type, const gint64 *strides, guint64 *state, gboolean odd)
{
    static const double ends[] = { 0, -0.0, INFINITY, -INFINITY, NAN };
    Array array = array_new(type, strides);
    for (gint64 i = 0; i < array.arg.count; i++) {
        const guint64 kind = noise(state) % 30;
        const double value = noise_unit(state) * 2 - 1;
        array_set(&array, i, odd && kind < G_N_ELEMENTS(ends) ? ends[kind] : value);
    }
    return array;
}

static Array
matrix(TnDtype dtype, gint64 rows, gint64 cols, Lay lay, guint64 *state, gboolean odd)
{
    const gint64 strides[][2] = { [PLAIN] = { cols, 1 },
                                  [GAPS] = { cols + 5, 1 },
                                  [TURNED] = { 1, rows },
                                  [HOLES] = { 3 * cols + 1, 3 },
                                  [REPEATED] = { 0, 1 } };
    if (lay == ABSENT) {
        return (Array){ .arg.type.dtype = TN_DTYPE_NONE };
    }
    return random_array(tn_type(dtype, 2, (gint64[]){ rows, cols }), strides[lay], state, odd);
}

static void
inputs(const Case *c, TnDtype dtype, Array *in)
{
    guint64 state = 77;
    in[X] = matrix(dtype, c->rows, c->in, c->x, &state, FALSE);
    if (c->panel > 0) {
        const gint64 panels[] = { c->out / c->panel, c->in, c->panel };
        in[W] = random_array(tn_type(dtype, 3, panels), NULL, &state, FALSE);
    } else {
        in[W] = matrix(dtype, c->out, c->in, c->w, &state, FALSE);
    }
    in[B] = c->bias ? random_array(tn_type(dtype, 1, &c->out), NULL, &state, TRUE)
                    : (Array){ .arg.type.dtype = TN_DTYPE_NONE };
    in[MORE] = matrix(dtype, c->rows, c->out, c->more, &state, TRUE);
}

static void
step(const char *op, const void *attrs, gint n_in, const Array *in, Array *y)
{
    Array out = array_new(y->arg.type, NULL);
    TN_REQUIRE(kernel_run("cpu", tn_op_find(op, NULL), attrs, n_in, in, 1, &out, NULL) == TN_OK);
    array_clear(y);
    *y = out;
}

static void
activate(const Case *c, Array *y)
{
    const TnGeluAttrs gelu = { c->activation == TN_LINEAR_GELU_TANH ? TN_GELU_TANH : TN_GELU_NONE };
    Array zero = array_new(tn_type(y->arg.type.dtype, 0, NULL), NULL);
    array_set(&zero, 0, 0);
    if (c->activation == TN_LINEAR_RELU) {
        step("max", NULL, 2, (const Array[]){ *y, zero }, y);
    } else if (c->activation != TN_LINEAR_NONE) {
        step("gelu", &gelu, 1, y, y);
    }
    array_clear(&zero);
}

/* The layer, then one kernel after another. */
static Array
in_steps(const Case *c, const Array *in, TnType type)
{
    Array y = array_new(type, NULL);
    step(c->panel > 0 ? "linear_turned" : "linear", NULL, c->bias ? 3 : 2, in, &y);
    if (c->more != ABSENT && !c->last) {
        step("add", NULL, 2, (const Array[]){ y, in[MORE] }, &y);
    }
    activate(c, &y);
    if (c->more != ABSENT && c->last) {
        step("add", NULL, 2, (const Array[]){ y, in[MORE] }, &y);
    }
    return y;
}

static void
clear(Array *in)
{
    for (gint i = 0; i < N_IN; i++) {
        array_clear(&in[i]);
    }
}

static void
check(const Case *c, TnDtype dtype)
{
    const TnFusedLinearAttrs attrs = { c->activation, c->last };
    const TnType type = tn_type(dtype, 2, (gint64[]){ c->rows, c->out });
    const gint n_in = c->more != ABSENT ? 4 : c->bias ? 3 : 2;
    Array in[N_IN];
    inputs(c, dtype, in);
    Array want = in_steps(c, in, type);
    for (guint threads = 1; threads <= 3; threads++) {
        Array got = array_new(type, NULL);
        tn_pool_set_threads(threads);
        TN_REQUIRE(kernel_run("cpu", tn_op_find("fused_linear", NULL), &attrs, n_in, in, 1, &got,
                              NULL) == TN_OK);
        tn_test_check(array_same(&got, &want) && array_intact(&got), FALSE, __FILE__, __LINE__,
                      "%d x %d x %d, case %d, %u threads", (int)c->rows, (int)c->in, (int)c->out,
                      (int)(c - cases), threads);
        array_clear(&got);
    }
    clear(in);
    array_clear(&want);
}

static void
begin(void)
{
    open_plugins();
    tn_registry_open("nn", NULL);
}

static void
same_as_in_steps(void)
{
    begin();
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        check(&cases[i], TN_DTYPE_F32);
        if (cases[i].activation <= TN_LINEAR_RELU) {
            check(&cases[i], TN_DTYPE_F64);
        }
    }
}

/* Without a function for it, or of a type that would be rounded in between, the nodes stay apart. */
static void
what_is_refused(void)
{
    static const Case c = { 4, 8, 6, 0, PLAIN, PLAIN, PLAIN, TRUE, TN_LINEAR_GELU, FALSE };
    const TnFusedLinearAttrs attrs = { c.activation, c.last };
    begin();
    for (guint i = 0; i < 2; i++) {
        const TnDtype dtype = i == 0 ? TN_DTYPE_F64 : TN_DTYPE_BF16;
        Array in[N_IN], out = array_new(tn_type(dtype, 2, (gint64[]){ c.rows, c.out }), NULL);
        inputs(&c, dtype, in);
        TN_ASSERT(kernel_run("cpu", tn_op_find("fused_linear", NULL), &attrs, N_IN, in, 1, &out,
                             NULL) == TN_UNSUPPORTED);
        clear(in);
        array_clear(&out);
    }
}

/* With batch_invariant the first rows alone have the bits that they have among others. */
static void
rows_alone(void)
{
    static const gsize of[] = { 0, 1, 4, 6, 7 };
    const TnOp *op = tn_op_find("fused_linear", NULL);
    begin();
    batch_invariant = TRUE;
    for (gsize i = 0; i < G_N_ELEMENTS(of); i++) {
        const Case *c = &cases[of[i]];
        const TnFusedLinearAttrs attrs = { c->activation, c->last };
        Array in[N_IN],
            all = array_new(tn_type(TN_DTYPE_F32, 2, (gint64[]){ c->rows, c->out }), NULL);
        inputs(c, TN_DTYPE_F32, in);
        TN_REQUIRE(kernel_run("cpu", op, &attrs, N_IN, in, 1, &all, NULL) == TN_OK);
        for (gint64 rows = 1; rows <= 3; rows += 2) {
            Array part = array_new(tn_type(TN_DTYPE_F32, 2, (gint64[]){ rows, c->out }), NULL);
            Array use[] = { in[X], in[W], in[B], in[MORE] };
            use[X].arg.type.dims[0] = use[MORE].arg.type.dims[0] = rows;
            use[X].arg.count = rows * c->in;
            use[MORE].arg.count = rows * c->out;
            TN_REQUIRE(kernel_run("cpu", op, &attrs, N_IN, use, 1, &part, NULL) == TN_OK);
            TN_ASSERT(array_same(&part, &all));
            array_clear(&part);
        }
        clear(in);
        array_clear(&all);
    }
    batch_invariant = FALSE;
}

static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2", NULL },
                  (const char *const[]){ "same as in steps", "rows alone", NULL });
}

static const TnTest tests[] = {
    { "same as in steps", same_as_in_steps },
    { "what is refused", what_is_refused },
    { "rows alone", rows_alone },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("cpu dense layers and what follows", tests)
