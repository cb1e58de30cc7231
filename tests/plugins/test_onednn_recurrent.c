/* oneDNN's lstm and gru over whole sequences against plain loops in f64 with the operators' formulas: sizes
 * that fill no vector, several slices, biases there and absent, bf16, NaN and infinities; the same bits with
 * any number of threads. Where somebody reads the gates or cells they stay with the plugin cpu, whose
 * results do not hang on whether anybody does. */
// tn-test: timeout=240 label=threads
#include "cpu_run.h"

#include <tenon/nn.h>

#define OURS 20 /* rank */
#define MOST_IN 7

typedef struct {
    gboolean gru;
    gint64 steps, samples, features, hidden;
    gboolean bf16, b_ih, b_hh, special;
} Case;

static const Case cases[] = {
    { FALSE, 3, 5, 7, 33, .b_ih = TRUE, .b_hh = TRUE },
    { TRUE, 3, 5, 7, 33, .b_ih = TRUE, .b_hh = TRUE },
    { FALSE, 40, 1, 3, 30, .b_hh = TRUE },
    { TRUE, 40, 1, 3, 30, .b_ih = TRUE },
    { FALSE, 1, 17, 1, 1 },
    { TRUE, 1, 17, 1, 1 },
    /* several slices, the last one smaller */
    { FALSE, 4, 50, 30, 160, .b_ih = TRUE, .b_hh = TRUE },
    { TRUE, 4, 75, 30, 131, .b_ih = TRUE, .b_hh = TRUE },
    { FALSE, 3, 5, 7, 33, .bf16 = TRUE, .b_ih = TRUE, .b_hh = TRUE },
    { TRUE, 3, 5, 7, 33, .bf16 = TRUE, .b_ih = TRUE, .b_hh = TRUE },
    { FALSE, 4, 50, 30, 160, .bf16 = TRUE, .b_ih = TRUE },
    { TRUE, 4, 75, 30, 131, .bf16 = TRUE, .b_hh = TRUE },
    { FALSE, 4, 6, 5, 20, .b_ih = TRUE, .special = TRUE },
    { TRUE, 4, 6, 5, 20, .b_hh = TRUE, .special = TRUE },
    { FALSE, 4, 6, 5, 20, .bf16 = TRUE, .special = TRUE },
    { TRUE, 4, 6, 5, 20, .bf16 = TRUE, .special = TRUE },
};

static guint64 state = 98765;

/* Uniform in [-reach, reach]. */
static Array
random_array(TnDtype dtype, double reach, gint rank, const gint64 *dims)
{
    Array array = array_new(tn_type(dtype, rank, dims), NULL);
    for (gint64 i = 0; i < array.arg.count; i++) {
        array_set(&array, i, reach * (2 * noise_unit(&state) - 1));
    }
    return array;
}

static gint
gates_of(const Case *k)
{
    return k->gru ? 3 : 4;
}

static const char *
name_of(const Case *k)
{
    return k->gru ? "gru" : "lstm";
}

/* x, h, c (lstm's), w_ih, w_hh, b_ih, b_hh; returns how many there are. */
static gint
make_inputs(const Case *k, Array *in)
{
    const TnDtype dtype = k->bf16 ? TN_DTYPE_BF16 : TN_DTYPE_F32;
    const gint64 rows = gates_of(k) * k->hidden;
    gint n = 0;
    in[n++] = random_array(dtype, 1, 3, (gint64[]){ k->steps, k->samples, k->features });
    for (gint i = 0; i < (k->gru ? 1 : 2); i++) {
        in[n++] = random_array(dtype, 1, 2, (gint64[]){ k->samples, k->hidden });
    }
    in[n++] = random_array(dtype, 0.5, 2, (gint64[]){ rows, k->features });
    in[n++] = random_array(dtype, 0.2, 2, (gint64[]){ rows, k->hidden });
    for (gint i = 0; i < 2; i++) {
        in[n++] = (i == 0 ? k->b_ih : k->b_hh) ? random_array(dtype, 0.5, 1, &rows) : (Array){ 0 };
    }
    if (k->special) {
        array_set(&in[0], 0, NAN);
        array_set(&in[0], k->features, INFINITY);
        array_set(&in[0], 2 * k->features, -INFINITY);
        array_set(&in[1], 3 * k->hidden, NAN);
    }
    return n;
}

/* --- Plain loops ------------------------------------------------------------------------------ */

static double
sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double
sum_of(const double *w, const double *bias, gint64 row, gint64 n, const double *x)
{
    double sum = bias != NULL ? bias[row] : 0;
    for (gint64 i = 0; i < n; i++) {
        sum += w[row * n + i] * x[i];
    }
    return sum;
}

/* h' and c of a sample; w: w_ih, w_hh, b_ih, b_hh. */
static void
one_step(const Case *k, double *const *w, const double *x, const double *h, double *c, double *to)
{
    const gint64 n = k->hidden;
    for (gint64 u = 0; u < n; u++) {
        double of_x[4], of_h[4];
        for (gint i = 0; i < gates_of(k); i++) {
            of_x[i] = sum_of(w[0], w[2], i * n + u, k->features, x);
            of_h[i] = sum_of(w[1], w[3], i * n + u, n, h);
        }
        if (k->gru) {
            const double r = sigmoid(of_x[0] + of_h[0]), z = sigmoid(of_x[1] + of_h[1]);
            const double new = tanh(of_x[2] + r * of_h[2]);
            to[u] = new + z *(h[u] - new);
        } else {
            c[u] = sigmoid(of_x[1] + of_h[1]) * c[u] +
                   sigmoid(of_x[0] + of_h[0]) * tanh(of_x[2] + of_h[2]);
            to[u] = sigmoid(of_x[3] + of_h[3]) * tanh(c[u]);
        }
    }
}

/* (transfer full): g_free. */
static double *
expected(const Case *k, const Array *in)
{
    double *all[MOST_IN] = { NULL };
    const gint w = k->gru ? 2 : 3;
    const gint64 row = k->samples * k->hidden;
    double *out = g_new(double, (gsize)(k->steps * row));
    for (gint i = 0; i < w + 4; i++) {
        all[i] = in[i].block != NULL ? array_doubles(&in[i]) : NULL;
    }
    for (gint64 t = 0; t < k->steps; t++) {
        for (gint64 n = 0; n < k->samples; n++) {
            const double *h = (t > 0 ? out + (t - 1) * row : all[1]) + n * k->hidden;
            double *c = k->gru ? NULL : all[2] + n * k->hidden;
            one_step(k, &all[w], all[0] + (t * k->samples + n) * k->features, h, c,
                     out + t * row + n * k->hidden);
        }
    }
    for (gint i = 0; i < MOST_IN; i++) {
        g_free(all[i]);
    }
    return out;
}

static void
compare(const Case *k, const char *what, const Array *got, const double *want)
{
    const double tolerance = k->bf16 ? 2e-2 : 1e-5; /* of numbers below 1 */
    for (gint64 i = 0; i < got->arg.count; i++) {
        const double a = array_get(got, i), b = want[i];
        if (isnan(b) ? !isnan(a) : !(fabs(a - b) <= tolerance)) {
            TN_FAIL("%s %s [%d, %d, %d] to %d: element %d is %.9g, expected %.9g", what, name_of(k),
                    (gint)k->steps, (gint)k->samples, (gint)k->features, (gint)k->hidden, (gint)i,
                    a, b);
            return;
        }
    }
}

/* --- Running ---------------------------------------------------------------------------------- */

static gint
rank_for(const TnOp *op, const void *attrs, gint n_in, const Array *in, gint n_out,
         const Array *out)
{
    TnArg in_args[TN_MAX_IN], out_args[TN_MAX_OUT];
    for (gint i = 0; i < n_in; i++) {
        in_args[i] = in[i].arg;
    }
    for (gint i = 0; i < n_out; i++) {
        out_args[i] = out[i].arg;
    }
    const TnNode node = { .size = sizeof node,
                          .op = op,
                          .attrs = attrs,
                          .name = "test",
                          .n_in = n_in,
                          .n_out = n_out,
                          .in = in_args,
                          .out = out_args };
    const TnKernel *kernel = tn_kernel_find("cpu", &node);
    return kernel != NULL ? kernel->rank : -100;
}

/* A run with the outputs of which a bit is set in `unread`; *rank: of the kernel. The first output. */
static Array
run_once(const Case *k, gint n_in, const Array *in, guint unread, gint *rank)
{
    const TnSequenceAttrs attrs = { .steps = k->steps };
    const TnOp *op = tn_op_find(name_of(k), NULL);
    Array out[TN_MAX_OUT];
    gint n_out;
    TN_REQUIRE(outputs_new(op, &attrs, n_in, in, NULL, &n_out, out, NULL));
    for (gint i = 0; i < n_out; i++) {
        out[i].arg.unread = unread >> i & 1;
    }
    *rank = rank_for(op, &attrs, n_in, in, n_out, out);
    TN_REQUIRE(kernel_run("cpu", op, &attrs, n_in, in, n_out, out, NULL) == TN_OK);
    for (gint i = 0; i < n_out; i++) {
        TN_ASSERT(array_intact(&out[i]));
        if (i > 0) {
            array_clear(&out[i]);
        }
    }
    return out[0];
}

static gboolean
same(const Array *a, const Array *b)
{
    return memcmp(a->first, b->first, (gsize)tn_type_bytes(&a->arg.type)) == 0;
}

static void
check_case(const Case *k, gint n_in, const Array *in, const double *want)
{
    const guint all = k->gru ? 2 : 6;
    gint rank;
    Array first = { 0 };
    for (guint threads = 1; threads <= 3; threads++) {
        tn_pool_set_threads(threads);
        Array out = run_once(k, n_in, in, all, &rank);
        TN_ASSERT_CMPINT(rank, ==, OURS);
        compare(k, "oneDNN's", &out, want);
        if (threads == 1) {
            first = out;
            continue;
        }
        TN_ASSERT(same(&first, &out));
        array_clear(&out);
    }
    array_clear(&first);
    tn_pool_set_threads(1);
    /* Somebody reads gates or cells. */
    static const guint some[] = { 0, 2, 4 };
    for (guint i = 0; i < G_N_ELEMENTS(some); i++) {
        if ((some[i] & all) != all) {
            Array out = run_once(k, n_in, in, some[i], &rank);
            TN_ASSERT_CMPINT(rank, <, OURS);
            compare(k, "the plugin cpu's", &out, want);
            array_clear(&out);
        }
    }
}

static void
against_loops(void)
{
    static Array in[G_N_ELEMENTS(cases)][MOST_IN];
    gint n_in[G_N_ELEMENTS(cases)], rank;
    g_autoptr(GError) error = NULL;
    g_setenv("TENON_ONEDNN", "all", FALSE);
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    /* The plugin cpu gives the same bits whether its gates are read or not. */
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        const Case *k = &cases[i];
        n_in[i] = make_inputs(k, in[i]);
        for (guint threads = 1; threads <= 2; threads++) {
            tn_pool_set_threads(threads);
            Array read = run_once(k, n_in[i], in[i], 0, &rank);
            Array unread = run_once(k, n_in[i], in[i], k->gru ? 2 : 6, &rank);
            TN_ASSERT(same(&read, &unread));
            array_clear(&read);
            array_clear(&unread);
        }
    }
    tn_pool_set_threads(1);
    if (!tn_registry_open("onednn", &error)) {
        tn_test_skip("%s", error->message);
    }
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree double *want = expected(&cases[i], in[i]);
        check_case(&cases[i], n_in[i], in[i], want);
        for (gint a = 0; a < n_in[i]; a++) {
            array_clear(&in[i][a]);
        }
    }
}

/* (k a mod b - c) / d for element k. */
static Array
pattern(gint rank, const gint64 *dims, gint64 a, gint64 b, gint64 c, gint64 d)
{
    Array array = array_new(tn_type(TN_DTYPE_F32, rank, dims), NULL);
    for (gint64 k = 0; k < array.arg.count; k++) {
        array_set(&array, k, (double)(k * a % b - c) / (double)d);
    }
    return array;
}

/* What PyTorch 2.15's nn.LSTM and nn.GRU give in f64 for 3 steps, 2 samples, 3 features and 2 units. */
static void
as_pytorch(void)
{
    static const double want[2][12] = {
        { -0.147777064, -0.100531196, 0.518588141, -0.0247751753, -0.313566428, -0.0182501576,
          0.527026142, -0.0428069843, -0.0327590622, -0.043292028, 0.521124942, -0.141009569 },
        { -0.411274876, -0.502018904, -0.0896885325, -0.0639704362, -0.316472403, -0.241007089,
          -0.00758687665, -0.159525174, 0.0345815536, 0.0277309884, 0.228681537, -0.0718405658 },
    };
    g_autoptr(GError) error = NULL;
    g_setenv("TENON_ONEDNN", "all", FALSE);
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    if (!tn_registry_open("onednn", &error)) {
        tn_test_skip("%s", error->message);
    }
    for (guint gru = 0; gru < 2; gru++) {
        const Case k = { gru != 0, 3, 2, 3, 2 };
        const gint64 rows = gates_of(&k) * k.hidden;
        Array in[MOST_IN];
        gint n = 0, rank;
        in[n++] = pattern(3, (gint64[]){ 3, 2, 3 }, 7, 11, 5, 4);
        in[n++] = pattern(2, (gint64[]){ 2, 2 }, 3, 5, 2, 4);
        if (!gru) {
            in[n++] = pattern(2, (gint64[]){ 2, 2 }, 2, 5, 2, 2);
        }
        in[n++] = pattern(2, (gint64[]){ rows, 3 }, 5, 13, 6, 8);
        in[n++] = pattern(2, (gint64[]){ rows, 2 }, 7, 11, 5, 4);
        in[n++] = pattern(1, &rows, 3, 7, 3, 4);
        in[n++] = pattern(1, &rows, 4, 9, 4, 4);
        Array out = run_once(&k, n, in, gru ? 2 : 6, &rank);
        TN_ASSERT_CMPINT(rank, ==, OURS);
        compare(&k, "oneDNN's", &out, want[gru]);
        array_clear(&out);
        for (gint i = 0; i < n; i++) {
            array_clear(&in[i]);
        }
    }
}

static const TnTest tests[] = { { "against_loops", against_loops }, { "as_pytorch", as_pytorch } };

TN_TEST_MAIN("onednn recurrent", tests)
