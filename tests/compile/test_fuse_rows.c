/* test_fuse_rows.c: groups with reductions: norms, softmax, losses and gradients written from primitives
 * become one pass over memory, to the same bits as their nodes one by one: of rows that are put together,
 * that fit a tile, that are longer; with what is no number; with any number of threads. */
// tn-test: timeout=120
#include <math.h>

#include <tenon/base.h>
#include <tenon/ops.h>
#include <tenon/pool.h>

#include "conformance.h"
#include "tn_graphs.h"
#include "tn_test.h"

static TnDevice *cpu, *ref;
static const char *const no_fuse[] = { "fuse", NULL };
static const gint64 last[] = { -1 }, first[] = { 0 };

static void
set_up(void)
{
    ref = tn_test_device("ref");
    cpu = tn_test_device("cpu");
}

static void
tear_down(void)
{
    tn_device_unref(cpu);
    tn_device_unref(ref);
}

/* --- What a user writes ----------------------------------------------------------------------- */

/* Outputs of the graph made of x [n, d], y [n, d], a [d] and r [n, 1]. */
typedef void (*Build)(TnGraph *g, const TnVal *in);

static TnVal
unary(TnGraph *g, const char *op, TnVal x)
{
    return tn_graph_op(g, op, NULL, 1, &x, NULL);
}

static TnVal
sum_last(TnGraph *g, TnVal x)
{
    return tn_f_reduce_sum(g, x, 1, last, TRUE);
}

static TnVal
mean_last(TnGraph *g, TnVal x)
{
    return tn_f_div(g, sum_last(g, x), tn_f_size(g, x, 1, last));
}

static TnVal
max_last(TnGraph *g, TnVal x)
{
    return tn_f_reduce_max(g, x, 1, last, TRUE);
}

static TnVal
layer_norm(TnGraph *g, TnVal x, TnVal scale)
{
    const TnVal c = tn_f_sub(g, x, mean_last(g, x));
    const TnVal v = tn_f_add(g, mean_last(g, tn_f_mul(g, c, c)), tn_f_const(g, x, 1e-5));
    return tn_f_mul(g, tn_f_mul(g, c, unary(g, "reciprocal", tn_f_sqrt(g, v))), scale);
}

static TnVal
log_softmax(TnGraph *g, TnVal x)
{
    const TnVal m = tn_f_sub(g, x, max_last(g, x));
    return tn_f_sub(g, m, tn_f_log(g, sum_last(g, tn_f_exp(g, m))));
}

static void
build_norm(TnGraph *g, const TnVal *in)
{
    tn_graph_output(g, "norm", layer_norm(g, tn_f_add(g, in[0], in[1]), in[2]));
}

static void
build_softmax(TnGraph *g, const TnVal *in)
{
    const TnVal e = tn_f_exp(g, tn_f_sub(g, in[0], max_last(g, in[0])));
    tn_graph_output(g, "softmax", tn_f_div(g, e, sum_last(g, e)));
}

static void
build_log_softmax(TnGraph *g, const TnVal *in)
{
    const TnVal y = log_softmax(g, in[0]);
    tn_graph_output(g, "y", y);
    tn_graph_output(g, "picked", tn_f_mul(g, sum_last(g, tn_f_mul(g, y, in[1])), in[3]));
}

/* Sums of everything beside what they are made of. */
static void
build_loss(TnGraph *g, const TnVal *in)
{
    const TnVal d = tn_f_sub(g, tn_f_mul(g, in[0], in[2]), in[1]);
    tn_graph_output(g, "loss", tn_f_reduce_sum(g, tn_f_mul(g, d, d), 0, NULL, FALSE));
    tn_graph_output(g, "most", tn_f_reduce_max(g, tn_f_abs(g, d), 0, NULL, TRUE));
    tn_graph_output(g, "d", d);
}

/* Sums of columns, of which one has a row's sum in it. */
static void
build_columns(TnGraph *g, const TnVal *in)
{
    const TnVal e = tn_f_exp(g, tn_f_mul(g, in[0], in[2]));
    tn_graph_output(g, "columns", tn_f_reduce_sum(g, e, 1, first, FALSE));
    tn_graph_output(g, "shares",
                    tn_f_reduce_sum(g, tn_f_div(g, e, sum_last(g, e)), 1, first, TRUE));
    tn_graph_output(g, "e", e);
}

/* A row's results alone, one without its axis. */
static void
build_rows(TnGraph *g, const TnVal *in)
{
    const TnVal p = tn_f_mul(g, in[0], in[1]);
    const TnVal sum = tn_f_add(g, sum_last(g, p), in[3]);
    tn_graph_output(g, "sum", sum);
    tn_graph_output(g, "more", tn_f_greater(g, sum, in[3])); /* of one byte */
    const TnReduceAttrs least = { { 1, { -1 } }, FALSE };
    tn_graph_output(g, "least", tn_graph_op(g, "reduce_min", &least, 1, &p, NULL));
    tn_graph_output(g, "spread", tn_f_add(g, max_last(g, p), tn_f_const(g, p, 1)));
}

static TnVal
total(TnGraph *g, TnVal x)
{
    return tn_f_reduce_sum(g, tn_f_cast(g, x, TN_DTYPE_F32), 0, NULL, FALSE);
}

static void
build_gradient(TnGraph *g, const TnVal *in)
{
    const TnVal y = layer_norm(g, in[0], in[2]);
    const TnVal loss = total(g, tn_f_mul(g, log_softmax(g, y), in[1]));
    TnVal grad[3];
    g_autoptr(GError) error = NULL;
    TN_REQUIRE(tn_grad(g, loss, TN_VAL_NONE, 3, in, grad, &error));
    tn_graph_output(g, "loss", loss);
    tn_graph_output(g, "dx", grad[0]);
    tn_graph_output(g, "dy", grad[1]);
    tn_graph_output(g, "da", grad[2]);
}

/* Rows of two axes that inputs walk in their own way: x as [n, d / 5, 5], scaled along its middle. */
static void
build_several(TnGraph *g, const TnVal *in)
{
    static const gint64 both[] = { 1, 2 };
    const TnReshapeAttrs attrs = { { 3, { 0, -1, 5 } } };
    const TnVal x = tn_graph_op(g, "reshape", &attrs, 1, &in[0], NULL);
    const TnVal part = tn_f_reduce_max(g, x, 1, last, TRUE);
    const TnVal e = tn_f_exp(g, tn_f_mul(g, x, tn_f_reduce_max(g, part, 1, first, TRUE)));
    tn_graph_output(g, "share", tn_f_div(g, e, tn_f_reduce_sum(g, e, 2, both, TRUE)));
}

/* x from behind: a view that is loaded. */
static TnVal
backwards(TnGraph *g, TnVal x, gint64 axis)
{
    const TnSliceAttrs turn = {
        { 1, { -1 } }, { 1, { G_MININT64 } }, { 1, { axis } }, { 1, { -1 } }
    };
    return tn_graph_op(g, "slice", &turn, 1, &x, NULL);
}

/* Outputs that cannot be written where they lie, for y is read after them: of f64 they take so many
 * registers that y must be loaded, for then they can. */
static void
build_crowded(TnGraph *g, const TnVal *in)
{
    TnVal x = backwards(g, in[0], 1), y[7] = { x };
    for (guint i = 1; i < G_N_ELEMENTS(y); i++) {
        g_autofree char *name = g_strdup_printf("y%u", i);
        y[i] = unary(g, i % 2 ? "exp" : "sqrt", y[i - 1]);
        tn_graph_output(g, name, y[i]);
    }
    const TnVal less = tn_f_sub(g, in[1], y[5]), more = tn_f_add(g, in[1], y[6]);
    const TnVal rest = tn_f_sub(g, tn_f_mul(g, less, more), x);
    tn_graph_output(g, "last", tn_f_sub(g, rest, sum_last(g, tn_f_exp(g, in[1]))));
}

/* --- Made at random --------------------------------------------------------------------------- */

#define POOL 24

/* Values of the shapes that go together: the whole, a row's, a column's, one number; of floats and bool. */
typedef struct {
    TnGraph *g;
    TnRandom random;
    TnVal value[POOL];
    guint n;
} Pool;

static guint64 random_seed;

static guint
below(Pool *p, guint n)
{
    return (guint)tn_random_below(&p->random, n);
}

static void
keep(Pool *p, TnVal x)
{
    if (p->n < POOL) {
        p->value[p->n++] = x;
    }
}

/* A value of x's dtype whose shape goes with x's; at the worst x itself. */
static TnVal
partner(Pool *p, TnVal x)
{
    for (guint i = 0; i < 20; i++) {
        const TnVal y = p->value[below(p, p->n)];
        const TnType types[] = { *tn_graph_type(p->g, x), *tn_graph_type(p->g, y) };
        TnType out = { 0 };
        if (types[0].dtype == types[1].dtype && tn_infer_broadcast(2, types, &out, NULL)) {
            return y;
        }
    }
    return x;
}

static void
add_step(Pool *p)
{
    static const char *const ones[] = { "exp",  "abs",  "neg",     "tanh",
                                        "sqrt", "relu", "sigmoid", "identity" };
    static const char *const twos[] = { "add", "sub", "mul", "div", "max", "min" };
    static const char *const folds[] = { "reduce_sum", "reduce_max", "reduce_min", "reduce_prod" };
    static const TnReduceAttrs over[] = {
        { { 1, { -1 } }, TRUE },  { { 1, { 0 } }, TRUE },  { { 0 }, TRUE },
        { { 1, { -1 } }, FALSE }, { { 1, { 0 } }, FALSE }, { { 0 }, FALSE },
    };
    const TnVal x = partner(p, p->value[0]), y = partner(p, x);
    const TnVal both[] = { x, y };
    switch (below(p, 9)) {
    case 0:
    case 1: keep(p, unary(p->g, ones[below(p, G_N_ELEMENTS(ones))], x)); break;
    case 2:
    case 3:
        keep(p, tn_graph_op(p->g, twos[below(p, G_N_ELEMENTS(twos))], NULL, 2, both, NULL));
        break;
    case 4: {
        const TnVal is = tn_f_greater(p->g, x, y);
        keep(p, is);
        keep(p, tn_f_where(p->g, is, x, y));
        break;
    }
    case 5: {
        const TnDtype dtype = tn_graph_type(p->g, x)->dtype;
        const TnDtype other = dtype == TN_DTYPE_F32 ? TN_DTYPE_BF16 : TN_DTYPE_F32;
        keep(p, tn_f_cast(p->g, tn_f_cast(p->g, x, other), dtype));
        break;
    }
    case 6: {
        const gint64 axis = below(p, 2);
        if (tn_graph_type(p->g, x)->rank == 2) {
            keep(p, backwards(p->g, x, axis));
        }
        break;
    }
    default:
        if (tn_graph_type(p->g, x)->rank == 2) {
            const guint fold = below(p, 12);
            keep(p, tn_graph_op(p->g, folds[fold < 4 ? fold : 0],
                                &over[below(p, G_N_ELEMENTS(over))], 1, &x, NULL));
        }
    }
}

static void
build_random(TnGraph *g, const TnVal *in)
{
    Pool p = { .g = g };
    tn_random_init(&p.random, random_seed, "groups", 0);
    for (guint i = 0; i < 4; i++) {
        keep(&p, in[i]);
    }
    const guint steps = 3 + below(&p, 16);
    for (guint i = 0; i < steps; i++) {
        add_step(&p);
    }
    for (guint i = 4; i < p.n; i++) {
        if (i + 1 == p.n || below(&p, 3) == 0) {
            g_autofree char *name = g_strdup_printf("y%u", i);
            tn_graph_output(g, name, p.value[i]);
        }
    }
    if (p.n == 4) {
        tn_graph_output(g, "y", tn_f_add(g, in[0], in[1]));
    }
}

/* --- Both ways -------------------------------------------------------------------------------- */

static const double specials[] = {
    0, -0.0, 1, -1, INFINITY, -INFINITY, NAN, 3e38, -3e38, 1e-38, -2
};

/* Small numbers; with `special` some that are none. */
static TnTensor *
make_tensor(TnType type, guint64 seed, gboolean special)
{
    const gint64 n = tn_type_count(&type);
    g_autofree double *x = g_new(double, (gsize)n + 1);
    TnRandom random;
    tn_random_init(&random, seed, "rows", 0);
    for (gint64 i = 0; i < n; i++) {
        x[i] = (double)tn_random_below(&random, 4001) / 1000 - 2;
        if (special && tn_random_below(&random, 40) == 0) {
            x[i] = specials[tn_random_below(&random, G_N_ELEMENTS(specials))];
        }
    }
    return tn_test_tensor(type, x);
}

/* The outputs' memory, one after the other. (transfer full). */
static GByteArray *
run(TnGraph *graph, TnTensor *const *inputs, const char *const *skip, guint *n)
{
    TnDevice *const devices[] = { cpu, ref };
    const TnCompile options = { .devices = devices, .n_devices = 2, .skip = skip };
    g_autoptr(GError) error = NULL;
    g_autoptr(TnProgram) program = tn_compile(graph, &options, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnStore) store = tn_store_new(0);
    g_autoptr(TnExec) exec = tn_exec_new(program, store, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    for (guint i = 0; i < tn_graph_n_inputs(graph); i++) {
        TN_REQUIRE(tn_exec_bind(exec, i, inputs[i]) == TN_OK);
    }
    TN_REQUIRE(tn_exec_run(exec) == TN_OK);
    GByteArray *bytes = g_byte_array_new();
    for (guint k = 0; k < tn_graph_n_outputs(graph); k++) {
        g_autofree double *x = tn_test_doubles(tn_exec_output(exec, k));
        const gint64 count = tn_tensor_count(tn_exec_output(exec, k));
        for (gint64 i = 0; i < count; i++) {
            x[i] = isnan(x[i]) ? NAN : x[i]; /* one of all that are none */
        }
        g_byte_array_append(bytes, (const guint8 *)x, (guint)count * sizeof *x);
    }
    *n = tn_program_n_instructions(program);
    return bytes;
}

/* Instructions of the fused program. */
static guint
check(const char *name, Build build, gint64 rows, gint64 width, TnDtype dtype, gboolean special)
{
    const gint64 full[] = { rows, width }, row[] = { rows, 1 };
    const TnType types[] = { tn_type(dtype, 2, full), tn_type(dtype, 2, full),
                             tn_type(dtype, 1, &width), tn_type(dtype, 2, row) };
    static const char *const names[] = { "x", "y", "a", "r" };
    g_autoptr(TnGraph) graph = tn_graph_new(name);
    TnTensor *inputs[4];
    TnVal in[4];
    guint n_plain, n_fused, n_two;
    for (guint i = 0; i < 4; i++) {
        in[i] = tn_graph_input(graph, names[i], types[i]);
        inputs[i] = make_tensor(types[i], i + (guint64)width, special);
    }
    build(graph, in);
    tn_pool_set_threads(1);
    g_autoptr(GByteArray) want = run(graph, inputs, no_fuse, &n_plain);
    g_autoptr(GByteArray) got = run(graph, inputs, NULL, &n_fused);
    tn_pool_set_threads(2);
    g_autoptr(GByteArray) two = run(graph, inputs, NULL, &n_two);
    TN_ASSERT_CMPUINT(want->len, ==, got->len);
    if (memcmp(want->data, got->data, want->len) != 0 ||
        memcmp(want->data, two->data, want->len) != 0) {
        guint i = 0;
        const double *a = (const double *)(gpointer)want->data, *b = (gpointer)got->data;
        while (memcmp(&a[i], &b[i], sizeof a[i]) == 0 && (i + 1) * sizeof *a < want->len) {
            i++;
        }
        TN_FAIL("%s %s of %d x %d: element %u is %a fused, %a alone", name, tn_dtype_name(dtype),
                (int)rows, (int)width, i, b[i], a[i]);
    }
    for (guint i = 0; i < 4; i++) {
        tn_tensor_unref(inputs[i]);
    }
    return n_fused;
}

static const struct {
    const char *name;
    Build build;
} graphs[] = {
    { "norm", build_norm },
    { "softmax", build_softmax },
    { "log_softmax", build_log_softmax },
    { "loss", build_loss },
    { "columns", build_columns },
    { "rows", build_rows },
    { "gradient", build_gradient },
    { "crowded", build_crowded },
    { "several", build_several },
};
#define N_SIMPLE 8 /* of any width */
/* Rows put together; that fit a tile; longer than one; few and many; slices. */
static const gint64 sizes[][2] = { { 7, 3 },    { 130, 10 },  { 33, 65 },  { 5, 255 },  { 9, 256 },
                                   { 17, 300 }, { 6, 1000 },  { 5, 2500 }, { 4, 9000 }, { 1, 700 },
                                   { 700, 64 }, { 300, 257 }, { 90, 784 } };

static void
same_bits(void)
{
    for (guint g = 0; g < G_N_ELEMENTS(graphs); g++) {
        for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
            if (graphs[g].build != build_several || sizes[i][1] % 5 == 0) {
                check(graphs[g].name, graphs[g].build, sizes[i][0], sizes[i][1], TN_DTYPE_F32,
                      FALSE);
            }
        }
    }
}

/* Now and then of no elements. */
static void
same_bits_at_random(void)
{
    static const TnDtype dtypes[] = { TN_DTYPE_F32, TN_DTYPE_F32, TN_DTYPE_BF16, TN_DTYPE_F64 };
    for (random_seed = 0; random_seed < 160; random_seed++) {
        const gint64 *size = sizes[random_seed % G_N_ELEMENTS(sizes)];
        const gint64 rows = random_seed % 29 == 7 ? 0 : size[0];
        const gint64 width = random_seed % 31 == 9 ? 0 : size[1];
        g_autofree char *name = g_strdup_printf("random %" G_GUINT64_FORMAT, random_seed);
        check(name, build_random, rows, width, dtypes[random_seed / 13 % 4], random_seed % 3 == 0);
    }
}

static void
same_bits_of_specials(void)
{
    for (guint g = 0; g < N_SIMPLE; g++) {
        for (guint i = 0; i < G_N_ELEMENTS(sizes); i += 2) {
            check(graphs[g].name, graphs[g].build, sizes[i][0], sizes[i][1], TN_DTYPE_F32, TRUE);
        }
    }
}

static void
same_bits_of_dtypes(void)
{
    static const TnDtype dtypes[] = { TN_DTYPE_F64, TN_DTYPE_BF16, TN_DTYPE_F16 };
    for (guint g = 0; g < N_SIMPLE; g++) {
        for (guint i = 0; i < G_N_ELEMENTS(sizes); i += 3) {
            for (guint d = 0; d < G_N_ELEMENTS(dtypes); d++) {
                check(graphs[g].name, graphs[g].build, sizes[i][0], sizes[i][1], dtypes[d], i % 2);
            }
        }
    }
}

/* --- One pass --------------------------------------------------------------------------------- */

static void
one_pass(void)
{
    static const gint64 some[][2] = { { 130, 10 }, { 40, 1000 }, { 20, 1500 } };
    for (guint i = 0; i < G_N_ELEMENTS(some); i++) {
        for (guint g = 0; g < 6; g++) {
            TN_ASSERT_CMPUINT(
                check(graphs[g].name, graphs[g].build, some[i][0], some[i][1], TN_DTYPE_F32, FALSE),
                ==, 1);
        }
    }
}

static void
other_instruction_sets(void)
{
    static const char *const sets[] = { "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2" };
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    for (guint i = 0; i < G_N_ELEMENTS(sets); i++) {
        const char *const command[] = { self, "same bits", NULL };
        const char *const env[] = { sets[i], NULL };
        TnChildOptions options = { .env = env, .timeout = 100 };
        g_auto(TnChild) child = { 0 };
        if (tn_test_spawn(&child, command, &options)) {
            TN_ASSERT_EXIT(&child, 0);
        }
    }
}

static const TnTest tests[] = {
    { "same bits", same_bits },
    { "same bits at random", same_bits_at_random },
    { "same bits of specials", same_bits_of_specials },
    { "same bits of dtypes", same_bits_of_dtypes },
    { "one pass", one_pass },
    { "other instruction sets", other_instruction_sets },
};
TN_TEST_MAIN_WITH("fuse rows", tests, set_up, tear_down)
