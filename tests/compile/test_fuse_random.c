/* test_fuse_random.c: element-wise nodes and reductions at random, with views and broadcast inputs, now and
 * then of no elements: groups of them give the bits of their nodes one by one. */
// tn-test: timeout=120
#include "fuse_check.h"

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

static const TnTest tests[] = {
    { "same bits at random", same_bits_at_random },
};
TN_TEST_MAIN_WITH("fuse random", tests, set_up, tear_down)
