/* Whole sequences through recurrent networks on the cpu device, and their gradients, against plain loops in
 * f64 with the operators' formulas: odd sizes, every way of sharing work out, special numbers, with every
 * instruction set; the same bits for any number of threads. */
// tn-test: timeout=120 label=threads
#include <tenon/nn.h>

#include "cpu_run.h"

typedef enum { RNN, LSTM, GRU } Cell;
static const char *const names[] = { "rnn", "lstm", "gru" };
static const char *const grad_names[] = { "rnn_grad", "lstm_grad", "gru_grad" };
static const gint gates_of[] = { 1, 4, 3 };

typedef struct {
    Cell cell;
    gint64 steps, samples, features, hidden;
    gboolean f64, bf16, relu, b_ih, b_hh, g_cells;
} Case;

static const Case cases[] = {
    /* one block of samples, several */
    { LSTM, 3, 5, 7, 33, .b_ih = TRUE, .b_hh = TRUE },
    { LSTM, 5, 32, 64, 70, .b_ih = TRUE, .b_hh = TRUE, .g_cells = TRUE },
    { GRU, 4, 37, 5, 50, .b_ih = TRUE, .b_hh = TRUE },
    { GRU, 3, 130, 2, 17, .b_hh = TRUE },
    { RNN, 5, 40, 9, 130, .b_ih = TRUE },
    { RNN, 6, 9, 3, 65, .relu = TRUE, .b_ih = TRUE, .b_hh = TRUE },
    /* weights that a core cannot keep */
    { LSTM, 6, 50, 3, 320, .b_ih = TRUE, .b_hh = TRUE },
    { GRU, 2, 100, 30, 370 },
    { RNN, 2, 60, 8, 650, .b_ih = TRUE },
    /* steps that are long enough to wait for, with few threads */
    { LSTM, 2, 32, 5, 256, .b_ih = TRUE },
    { GRU, 2, 45, 3, 250, .b_hh = TRUE },
    /* one sample, one step, no features, one unit */
    { LSTM, 40, 1, 3, 300, .b_ih = TRUE, .g_cells = TRUE },
    { GRU, 20, 1, 300, 20, .b_ih = TRUE, .b_hh = TRUE },
    { RNN, 33, 1, 1, 256 },
    { LSTM, 1, 20, 6, 16 },
    { LSTM, 2, 4, 0, 3, .b_hh = TRUE },
    { GRU, 3, 11, 2, 1, .b_ih = TRUE },
    { RNN, 3, 25, 2, 1, .relu = TRUE },
    { LSTM, 3, 24, 5, 40, .f64 = TRUE, .b_ih = TRUE, .b_hh = TRUE, .g_cells = TRUE },
    { LSTM, 4, 3, 5, 260, .f64 = TRUE },
    { GRU, 3, 19, 7, 45, .f64 = TRUE, .b_ih = TRUE, .b_hh = TRUE },
    { RNN, 4, 23, 2, 100, .f64 = TRUE, .b_ih = TRUE },
    /* sizes that tiles have, whole and in part, and weights that a core cannot keep */
    { LSTM, 4, 32, 32, 64, .bf16 = TRUE, .b_ih = TRUE, .b_hh = TRUE },
    { LSTM, 3, 37, 7, 33, .bf16 = TRUE, .b_ih = TRUE, .g_cells = TRUE },
    { LSTM, 3, 40, 33, 640, .bf16 = TRUE, .b_ih = TRUE, .b_hh = TRUE, .g_cells = TRUE },
    { GRU, 4, 16, 64, 32, .bf16 = TRUE, .b_ih = TRUE, .b_hh = TRUE },
    { GRU, 5, 39, 5, 50, .bf16 = TRUE, .b_hh = TRUE },
    { GRU, 3, 130, 2, 272, .bf16 = TRUE },
    { RNN, 5, 40, 9, 130, .bf16 = TRUE, .b_ih = TRUE },
    { RNN, 6, 9, 3, 65, .bf16 = TRUE, .relu = TRUE, .b_ih = TRUE, .b_hh = TRUE },
    { RNN, 3, 64, 64, 64, .bf16 = TRUE },
    { LSTM, 20, 1, 3, 300, .bf16 = TRUE, .b_ih = TRUE },
    { LSTM, 2, 4, 0, 3, .bf16 = TRUE, .b_hh = TRUE },
    { GRU, 1, 11, 2, 1, .bf16 = TRUE, .b_ih = TRUE },
};

static guint64 state = 0x9e3779b97f4a7c15u;

static gboolean
takes_long(const Case *k)
{
    return k->steps * k->samples * k->hidden * k->hidden > 1 << 22;
}

/* Samples know nothing of each other, so under sanitizers some are judged of a case that takes long: one
 * or two of each block, at various places in it, and the last. */
static gboolean
judged(const Case *k, gint64 n)
{
    return !TN_TEST_SANITIZED || !takes_long(k) || n % 11 == 3 || n == k->samples - 1;
}

static TnDtype
dtype_of(const Case *k)
{
    return k->f64 ? TN_DTYPE_F64 : k->bf16 ? TN_DTYPE_BF16 : TN_DTYPE_F32;
}

/* Uniform in [-reach, reach]. */
static Array
random_array(TnDtype dtype, double reach, gint rank, gint64 a, gint64 b, gint64 c)
{
    const gint64 dims[] = { a, b, c };
    Array array = array_new(tn_type(dtype, rank, dims), NULL);
    g_autofree double *all = g_new(double, (gsize)array.arg.count + 1);
    for (gint64 i = 0; i < array.arg.count; i++) {
        all[i] = reach * (2 * noise_unit(&state) - 1);
    }
    tn_dtype_convert(dtype, array.first, 1, TN_DTYPE_F64, all, 1, array.arg.count);
    return array;
}

/* --- Plain loops ------------------------------------------------------------------------------ */

static double
sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* Row `row` of w times a sample's vector, and the bias. */
static double
sum_of(const double *w, gint64 row, gint64 n, const double *x, const double *bias)
{
    double sum = bias != NULL ? bias[row] : 0;
    for (gint64 i = 0; i < n; i++) {
        sum += w[row * n + i] * x[i];
    }
    return sum;
}

typedef struct {
    double *x, *h, *c, *w_ih, *w_hh, *b_ih, *b_hh; /* b: NULL: none */
    double *out, *cells, *gates;
} Sequence;

static void
forward(const Case *k, const Sequence *s, gint64 t, gint64 n)
{
    const gint64 size = k->hidden, at = (t * k->samples + n) * size;
    const double *x = s->x + (t * k->samples + n) * k->features;
    const double *h = t > 0 ? s->out + at - k->samples * size : s->h + n * size;
    const double *c = t > 0 ? s->cells + at - k->samples * size : s->c + n * size;
    double *gate = s->gates + 4 * at;
    for (gint64 u = 0; u < size; u++) {
        double of_x[4], of_h[4];
        for (gint i = 0; i < gates_of[k->cell]; i++) {
            of_x[i] = sum_of(s->w_ih, i * size + u, k->features, x, s->b_ih);
            of_h[i] = sum_of(s->w_hh, i * size + u, size, h, s->b_hh);
        }
        if (k->cell == RNN) {
            const double sum = of_x[0] + of_h[0];
            s->out[at + u] = k->relu ? (sum > 0 || isnan(sum) ? sum : 0) : tanh(sum);
        } else if (k->cell == LSTM) {
            for (gint i = 0; i < 4; i++) {
                const double sum = of_x[i] + of_h[i];
                gate[i * size + u] = i == 2 ? tanh(sum) : sigmoid(sum);
            }
            s->cells[at + u] = gate[size + u] * c[u] + gate[u] * gate[2 * size + u];
            s->out[at + u] = gate[3 * size + u] * tanh(s->cells[at + u]);
        } else {
            const double r = sigmoid(of_x[0] + of_h[0]), z = sigmoid(of_x[1] + of_h[1]);
            const double new = tanh(of_x[2] + r * of_h[2]);
            gate[u] = r;
            gate[size + u] = z;
            gate[2 * size + u] = new;
            gate[3 * size + u] = of_h[2];
            s->out[at + u] = (1 - z) * new + z *h[u];
        }
    }
}

typedef struct {
    double *w_hh, *first, *states, *gates, *g, *g_cells; /* g_cells NULL: none */
    double *dsums, *dsums_h, *dh, *dc;                   /* dh, dc: from step to step */
} Back;

static void
backward(const Case *k, const Back *b, gint64 t, gint64 n)
{
    const gint64 size = k->hidden, at = (t * k->samples + n) * size,
                 rows = gates_of[k->cell] * size;
    const double *before = t > 0 ? b->states + at - k->samples * size : b->first + n * size;
    const double *gate = b->gates + 4 * at;
    double *dsum = b->dsums + (t * k->samples + n) * rows, *dh = b->dh + n * size;
    double *of_h = b->dsums_h + (t * k->samples + n) * rows, *dc = b->dc + n * size;
    for (gint64 u = 0; u < size; u++) {
        const double d = b->g[at + u] + dh[u], now = b->states[at + u];
        dh[u] = 0;
        if (k->cell == RNN) {
            dsum[u] = k->relu ? (now > 0 ? d : 0) : d * (1 - now * now);
        } else if (k->cell == LSTM) {
            const double i = gate[u], f = gate[size + u], g = gate[2 * size + u];
            const double o = gate[3 * size + u], y = tanh(now);
            const double e = dc[u] + d * o * (1 - y * y) + (b->g_cells ? b->g_cells[at + u] : 0);
            dsum[u] = e * g * i * (1 - i);
            dsum[size + u] = e * before[u] * f * (1 - f);
            dsum[2 * size + u] = e * i * (1 - g * g);
            dsum[3 * size + u] = d * y * o * (1 - o);
            dc[u] = e * f;
        } else {
            const double r = gate[u], z = gate[size + u], new = gate[2 * size + u];
            dsum[2 * size + u] = d * (1 - z) * (1 - new *new);
            dsum[size + u] = of_h[size + u] = d * (before[u] - new) * z * (1 - z);
            dsum[u] = of_h[u] = dsum[2 * size + u] * gate[3 * size + u] * r * (1 - r);
            of_h[2 * size + u] = dsum[2 * size + u] * r;
            dh[u] = d * z;
        }
    }
    const double *through = k->cell == GRU ? of_h : dsum;
    for (gint64 j = 0; j < rows; j++) {
        for (gint64 u = 0; u < size; u++) {
            dh[u] += through[j] * b->w_hh[j * size + u];
        }
    }
}

/* --- Comparing -------------------------------------------------------------------------------- */

static char *
print_case(const Case *k, const char *op)
{
    return g_strdup_printf("%s%s of %d steps, %d samples, %d features, %d units%s", op,
                           k->relu ? " (relu)" : "", (gint)k->steps, (gint)k->samples,
                           (gint)k->features, (gint)k->hidden,
                           k->f64    ? ", f64"
                           : k->bf16 ? ", bf16"
                                     : "");
}

static void
compare(const Case *k, const char *op, gint output, const Array *got, const double *want)
{
    g_autofree char *text = print_case(k, op);
    /* bf16: what products read and what is given is exact to 2^-9 */
    const double tolerance = k->f64 ? 1e-11 : k->bf16 ? 0.01 : 3e-5;
    const gint64 row = got->arg.type.dims[got->arg.type.rank - 1];
    g_autofree double *all = array_doubles(got);
    for (gint64 i = 0; i < got->arg.count; i++) {
        if (!judged(k, i / row % k->samples)) {
            continue;
        }
        const double a = all[i], b = want[i];
        const gboolean same = a == b || (isnan(a) && isnan(b));
        if (!same && !(fabs(a - b) <= tolerance * (1 + fabs(b)))) {
            TN_FAIL("%s: output %d[%d] is %.9g, plain loops give %.9g", text, output, (gint)i, a,
                    b);
            return;
        }
    }
}

/* With 1, 2, 3 and 5 threads; the results of one thread stay in out. */
static void
run_all(const Case *k, const char *name, gint n_in, const Array *in, gint *n_out, Array *out)
{
    static const guint threads[] = { 1, 2, 3, 5 };
    const TnSequenceAttrs attrs = { k->steps, k->relu ? TN_RNN_RELU : TN_RNN_TANH };
    g_autoptr(GError) error = NULL;
    const TnOp *op = tn_op_find(name, &error);
    TN_REQUIRE_NO_ERROR(error);
    for (guint i = 0; i < G_N_ELEMENTS(threads); i++) {
        Array again[TN_MAX_OUT], *to = i == 0 ? out : again;
        TN_REQUIRE(outputs_new(op, &attrs, n_in, in, NULL, n_out, to, &error));
        tn_pool_set_threads(threads[i]);
        TN_ASSERT_CMPINT(kernel_run("cpu", op, &attrs, n_in, in, *n_out, to, NULL), ==, TN_OK);
        for (gint j = 0; j < *n_out; j++) {
            const gsize bytes = (gsize)tn_type_bytes(&out[j].arg.type);
            TN_ASSERT(array_intact(&to[j]));
            if (i > 0 && memcmp(out[j].first, to[j].first, bytes) != 0) {
                g_autofree char *text = print_case(k, name);
                TN_FAIL("%s: %u threads give other bits than one", text, threads[i]);
            }
            if (i > 0) {
                array_clear(&to[j]);
            }
        }
    }
    tn_pool_set_threads(1);
}

static void
check_forward(const Case *k, const Array *in, gint n_out, const Array *out)
{
    const gint w = k->cell == LSTM ? 3 : 2;
    const gsize all = (gsize)(k->steps * k->samples * k->hidden);
    Sequence s = {
        .x = array_doubles(&in[0]),
        .h = array_doubles(&in[1]),
        .c = array_doubles(&in[w - 1]),
        .w_ih = array_doubles(&in[w]),
        .w_hh = array_doubles(&in[w + 1]),
        .b_ih = k->b_ih ? array_doubles(&in[w + 2]) : NULL,
        .b_hh = k->b_hh ? array_doubles(&in[w + 3]) : NULL,
        .out = g_new0(double, all),
        .cells = g_new0(double, all),
        .gates = g_new0(double, 4 * all),
    };
    for (gint64 i = 0; i < k->steps * k->samples; i++) {
        if (judged(k, i % k->samples)) {
            forward(k, &s, i / k->samples, i % k->samples);
        }
    }
    double *const want[] = { s.out, k->cell == LSTM ? s.cells : s.gates, s.gates };
    for (gint i = 0; i < n_out; i++) {
        compare(k, names[k->cell], i, &out[i], want[i]);
    }
    double *const mine[] = {
        s.x, s.h, s.c, s.w_ih, s.w_hh, s.b_ih, s.b_hh, s.out, s.cells, s.gates
    };
    for (guint i = 0; i < G_N_ELEMENTS(mine); i++) {
        g_free(mine[i]);
    }
}

static void
check_backward(const Case *k, gint n_in, const Array *in, gint n_out, const Array *out)
{
    const gboolean gated = k->cell != RNN;
    const gsize all = (gsize)(k->steps * k->samples * k->hidden);
    Back b = {
        .w_hh = array_doubles(&in[0]),
        .first = array_doubles(&in[1]),
        .states = array_doubles(&in[2]),
        .gates = gated ? array_doubles(&in[3]) : NULL,
        .g = array_doubles(&in[3 + gated]),
        .g_cells = n_in > 5 ? array_doubles(&in[5]) : NULL,
        .dsums = g_new0(double, 4 * all),
        .dsums_h = g_new0(double, 4 * all),
        .dh = g_new0(double, (gsize)(k->samples * k->hidden)),
        .dc = g_new0(double, (gsize)(k->samples * k->hidden)),
    };
    for (gint64 i = k->steps * k->samples - 1; i >= 0; i--) {
        if (judged(k, i % k->samples)) {
            backward(k, &b, i / k->samples, i % k->samples);
        }
    }
    double *const want[] = { b.dsums, k->cell == GRU ? b.dsums_h : b.dh,
                             k->cell == GRU ? b.dh : b.dc };
    for (gint i = 0; i < n_out; i++) {
        compare(k, grad_names[k->cell], i, &out[i], want[i]);
    }
    double *const mine[] = { b.w_hh,    b.first, b.states,  b.gates, b.g,
                             b.g_cells, b.dsums, b.dsums_h, b.dh,    b.dc };
    for (guint i = 0; i < G_N_ELEMENTS(mine); i++) {
        g_free(mine[i]);
    }
}

/* --- Tests ------------------------------------------------------------------------------------ */

/* spoil: numbers that are none, and infinities, in the first samples. */
static void
check_case(const Case *k, gboolean spoil)
{
    const gint gates = gates_of[k->cell], w = k->cell == LSTM ? 3 : 2;
    const gint64 rows = gates * k->hidden;
    const double reach = 1 / sqrt((double)k->hidden);
    const TnDtype dtype = dtype_of(k);
    Array in[7] = { 0 }, out[TN_MAX_OUT], back[6] = { 0 }, back_out[TN_MAX_OUT];
    gint n_out = 0, n_back = 0, n_back_out = 0;
    in[0] = random_array(dtype, 1, 3, k->steps, k->samples, k->features);
    for (gint i = 1; i < w; i++) {
        in[i] = random_array(dtype, 1, 2, k->samples, k->hidden, 0);
    }
    in[w] = random_array(dtype, reach, 2, rows, k->features, 0);
    in[w + 1] = random_array(dtype, reach, 2, rows, k->hidden, 0);
    for (gint i = 0; i < 2; i++) {
        if (i == 0 ? k->b_ih : k->b_hh) {
            in[w + 2 + i] = random_array(dtype, reach, 1, rows, 0, 0);
        }
    }
    for (gint i = 0; spoil && i < 3; i++) {
        array_set(&in[0], i * k->features, ((const double[]){ NAN, INFINITY, -INFINITY })[i]);
    }
    run_all(k, names[k->cell], w + 4, in, &n_out, out);
    check_forward(k, in, n_out, out);
    back[n_back++] = in[w + 1];
    back[n_back++] = in[w - 1];
    back[n_back++] = out[k->cell == LSTM];
    if (k->cell != RNN) {
        back[n_back++] = out[k->cell == LSTM ? 2 : 1];
    }
    const gint own = n_back;
    back[n_back++] = random_array(dtype, 1, 3, k->steps, k->samples, k->hidden);
    if (k->g_cells) {
        back[n_back++] = random_array(k->f64 ? TN_DTYPE_F64 : TN_DTYPE_F32, 1, 3, k->steps,
                                      k->samples, k->hidden);
    }
    run_all(k, grad_names[k->cell], n_back, back, &n_back_out, back_out);
    check_backward(k, n_back, back, n_back_out, back_out);
    for (gint i = 0; i < w + 4; i++) {
        if (in[i].block != NULL) {
            array_clear(&in[i]);
        }
    }
    for (gint i = own; i < n_back; i++) {
        array_clear(&back[i]);
    }
    for (gint i = 0; i < n_out; i++) {
        array_clear(&out[i]);
    }
    for (gint i = 0; i < n_back_out; i++) {
        array_clear(&back_out[i]);
    }
}

static void
sequences(void)
{
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    /* Work is shared out alike with every instruction set: sanitizers watch long cases with one. */
    const gboolean all = !TN_TEST_SANITIZED || g_getenv("TENON_CPU_ISA") == NULL;
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        if (all || !takes_long(&cases[i])) {
            check_case(&cases[i], FALSE);
        }
    }
}

static void
special_numbers(void)
{
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    for (gint i = 0; i < 12; i++) {
        const Case k = {
            (Cell)(i % 3),      4,           8, 3, 20, .f64 = i / 4 == 1, .bf16 = i / 4 > 1,
            .relu = i % 4 == 0, .b_ih = TRUE
        };
        check_case(&k, TRUE);
    }
}

/* The first samples of a sequence [steps, samples, n] or of states [samples, n]. */
static Array
first_samples(const Array *from, gint64 samples)
{
    const gint rank = from->arg.type.rank;
    const gsize n = (gsize)from->arg.type.dims[rank - 1] * tn_dtype_size(from->arg.type.dtype);
    const gsize all = (gsize)from->arg.type.dims[rank - 2];
    const gint64 steps = rank == 3 ? from->arg.type.dims[0] : 1;
    TnType type = from->arg.type;
    type.dims[rank - 2] = samples;
    Array array = array_new(type, NULL);
    for (gint64 t = 0; t < steps; t++) {
        memcpy(array.first + (gsize)(t * samples) * n, from->first + (gsize)t * all * n,
               (gsize)samples * n);
    }
    return array;
}

/* A sample's bits are those that it has among others. */
static void
check_invariant(Cell cell, TnDtype dtype, const gint64 *sizes)
{
    const TnSequenceAttrs attrs = { 5, TN_RNN_TANH };
    const gint64 most = 70, features = 9, hidden = 40, rows = gates_of[cell] * hidden;
    const gint w = cell == LSTM ? 3 : 2;
    Array in[5], all[TN_MAX_OUT];
    gint n_out;
    in[0] = random_array(dtype, 1, 3, attrs.steps, most, features);
    for (gint i = 1; i < w; i++) {
        in[i] = random_array(dtype, 1, 2, most, hidden, 0);
    }
    in[w] = random_array(dtype, 0.2, 2, rows, features, 0);
    in[w + 1] = random_array(dtype, 0.2, 2, rows, hidden, 0);
    op_run("cpu", names[cell], &attrs, w + 2, in, &n_out, all);
    for (; *sizes > 0; sizes++) {
        Array few[5], got[TN_MAX_OUT];
        for (gint i = 0; i < w + 2; i++) {
            few[i] = i < w ? first_samples(&in[i], *sizes) : in[i];
        }
        op_run("cpu", names[cell], &attrs, w + 2, few, &n_out, got);
        Array want = first_samples(&all[0], *sizes);
        if (memcmp(got[0].first, want.first, (gsize)tn_type_bytes(&want.arg.type)) != 0) {
            TN_FAIL("%s of %s: %d samples have other bits", names[cell], tn_dtype_name(dtype),
                    (gint)*sizes);
        }
        array_clear(&want);
        for (gint i = 0; i < w; i++) {
            array_clear(&few[i]);
        }
        for (gint i = 0; i < n_out; i++) {
            array_clear(&got[i]);
        }
    }
    for (gint i = 0; i < w + 2; i++) {
        array_clear(&in[i]);
    }
    for (gint i = 0; i < n_out; i++) {
        array_clear(&all[i]);
    }
}

static void
numbers_of_samples(void)
{
    static const gint64 sizes[] = { 1, 2, 7, 15, 16, 17, 33, 64, 0 };
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    batch_invariant = TRUE;
    for (gint i = 0; i < 6; i++) {
        tn_pool_set_threads(1 + (guint)i % 2);
        check_invariant((Cell)(i % 3), i < 3 ? TN_DTYPE_F32 : TN_DTYPE_BF16, sizes);
    }
    tn_pool_set_threads(1);
    batch_invariant = FALSE;
}

/* The sums of lstm's gates are x itself: the gates' functions over their whole range. */
static void
functions_of_gates(void)
{
    enum { SAMPLES = 4000, UNITS = 17 };
    const TnSequenceAttrs attrs = { 1, TN_RNN_TANH };
    Array in[5], out[TN_MAX_OUT];
    gint n_out;
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    in[0] = random_array(TN_DTYPE_F32, 1, 3, 1, SAMPLES, 1);
    for (gint i = 0; i < SAMPLES; i++) {
        const double size = i % 4 == 0 ? 100 : i % 4 == 1 ? 10 : i % 4 == 2 ? 1 : exp2(-i % 120);
        array_set(&in[0], i, array_get(&in[0], i) * size);
    }
    for (gint i = 1; i < 5; i++) {
        const gint64 rows = i < 3 ? SAMPLES : 4 * UNITS, cols = i == 3 ? 1 : UNITS;
        in[i] = array_new(tn_type(TN_DTYPE_F32, 2, (const gint64[]){ rows, cols }), NULL);
        for (gint64 k = 0; k < in[i].arg.count; k++) {
            array_set(&in[i], k, i == 3);
        }
    }
    op_run("cpu", "lstm", &attrs, 5, in, &n_out, out);
    gint wrong = 0;
    for (gint64 i = 0; i < out[2].arg.count && wrong < 3; i++) {
        const double x = array_get(&in[0], i / (4 * UNITS)), got = array_get(&out[2], i);
        const gint64 gate = i / UNITS % 4;
        const double want = gate == 2 ? tanh(x) : sigmoid(x);
        if (!(fabs(got - want) <= (0x1p-22 + 0x1p-26 * fabs(x)) * fabs(want) + 2e-38)) {
            TN_FAIL("gate %d of %.9g is %.9g, not %.9g", (gint)gate, x, got, want);
            wrong++;
        }
    }
    for (gint i = 0; i < 5; i++) {
        array_clear(&in[i]);
    }
    for (gint i = 0; i < n_out; i++) {
        array_clear(&out[i]);
    }
}

static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2",
                                         "TENON_CPU_ISA=avx512_bf16", NULL },
                  (const char *const[]){ "sequences", "special numbers", "numbers of samples",
                                         "functions of the gates", NULL });
}

static const TnTest tests[] = {
    { "sequences", sequences },
    { "special numbers", special_numbers },
    { "numbers of samples", numbers_of_samples },
    { "functions of the gates", functions_of_gates },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("cpu recurrent", tests)
