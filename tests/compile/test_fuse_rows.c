/* test_fuse_rows.c: groups with reductions: norms, softmax, losses and gradients written from primitives
 * become one pass over memory, to the same bits as their nodes one by one: of rows that are put together,
 * that fit a tile, that are longer; with what is no number; with any number of threads. */
// tn-test: timeout=120
#include "fuse_check.h"

static const gint64 last[] = { -1 }, first[] = { 0 };

/* --- What a user writes ----------------------------------------------------------------------- */

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
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2", NULL },
                  (const char *const[]){ "same bits", NULL });
}

static const TnTest tests[] = {
    { "same bits", same_bits },
    { "same bits of specials", same_bits_of_specials },
    { "same bits of dtypes", same_bits_of_dtypes },
    { "one pass", one_pass },
    { "other instruction sets", other_instruction_sets },
};
TN_TEST_MAIN_WITH("fuse rows", tests, set_up, tear_down)
