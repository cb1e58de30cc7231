/* oneDNN's softmax, layer and batch normalisation and their gradients against plain loops in f64 with
 * the operators' formulas: sizes that fill no vector, several slices, bf16, NaN and infinities; the
 * same bits with any number of threads. */
// tn-test: timeout=240 label=threads
#include "cpu_run.h"

#include <tenon/nn.h>

static guint64 state = 12345;

static void
open_all(void)
{
    g_autoptr(GError) error = NULL;
    g_setenv("TENON_ONEDNN", "all", FALSE);
    open_plugins();
    TN_REQUIRE(tn_registry_open("nn", NULL));
    if (!tn_registry_open("onednn", &error)) {
        tn_test_skip("%s", error->message);
    }
}

/* Uniform in [-1, 1], around `middle`. */
static Array
random_array(TnDtype dtype, double middle, gint rank, const gint64 *dims)
{
    Array array = array_new(tn_type(dtype, rank, dims), NULL);
    for (gint64 i = 0; i < array.arg.count; i++) {
        array_set(&array, i, middle + 2 * noise_unit(&state) - 1);
    }
    return array;
}

static double *
doubles_of(const Array *array)
{
    double *all = g_new(double, (gsize)array->arg.count);
    for (gint64 i = 0; i < array->arg.count; i++) {
        all[i] = array_get(array, i);
    }
    return all;
}

/* Relative to the largest element, 1 at least; NaN where it should be. */
static void
compare(const char *what, const Array *got, const double *want)
{
    const double tolerance = got->arg.type.dtype == TN_DTYPE_BF16 ? 8e-3 : 1e-5;
    double most = 1;
    for (gint64 i = 0; i < got->arg.count; i++) {
        most = isfinite(want[i]) ? MAX(most, fabs(want[i])) : most;
    }
    for (gint64 i = 0; i < got->arg.count; i++) {
        const double a = array_get(got, i), b = want[i];
        if (isfinite(b) ? !(fabs(a - b) <= tolerance * most) : !(isnan(b) ? isnan(a) : a == b)) {
            TN_FAIL("%s: element %d is %.9g, expected %.9g", what, (gint)i, a, b);
            return;
        }
    }
}

/* Whether oneDNN's kernel is the one that is taken. */
static gboolean
is_ours(const TnOp *op, const void *attrs, gint n_in, const Array *in, gint n_out, const Array *out)
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
    return kernel != NULL && kernel->rank == 10;
}

/* With oneDNN, with every number of threads; out: of the last. */
static void
run_all(const char *name, const void *attrs, gint n_in, const Array *in, Array *out)
{
    const TnOp *op = tn_op_find(name, NULL);
    Array first[TN_MAX_OUT];
    gint n_out;
    TN_REQUIRE(op != NULL);
    for (guint threads = 1; threads <= 3; threads++) {
        TN_REQUIRE(outputs_new(op, attrs, n_in, in, NULL, &n_out, out, NULL));
        tn_pool_set_threads(threads);
        TN_ASSERT(is_ours(op, attrs, n_in, in, n_out, out));
        TN_REQUIRE(kernel_run("cpu", op, attrs, n_in, in, n_out, out, NULL) == TN_OK);
        for (gint k = 0; k < n_out; k++) {
            TN_ASSERT(array_intact(&out[k]));
            if (threads == 1) {
                first[k] = out[k];
                continue;
            }
            if (memcmp(first[k].first, out[k].first, (gsize)tn_type_bytes(&out[k].arg.type)) != 0) {
                TN_FAIL("%s: %u threads give other bits than one", name, threads);
            }
            if (threads == 2) {
                array_clear(&out[k]);
            }
        }
    }
    for (gint k = 0; k < n_out; k++) {
        array_clear(&first[k]);
    }
    tn_pool_set_threads(1);
}

static void
clear(gint n, Array *arrays)
{
    for (gint i = 0; i < n; i++) {
        array_clear(&arrays[i]);
    }
}

/* --- Softmax ---------------------------------------------------------------------------------- */

static void
softmax_row(gboolean log_of, gint64 n, const double *x, double *y)
{
    double most = -INFINITY, sum = 0;
    for (gint64 i = 0; i < n; i++) {
        most = x[i] > most || isnan(x[i]) ? x[i] : most;
    }
    for (gint64 i = 0; i < n; i++) {
        sum += exp(x[i] - most);
    }
    for (gint64 i = 0; i < n; i++) {
        y[i] = log_of ? x[i] - most - log(sum) : exp(x[i] - most) / sum;
    }
}

/* Rows with NaN, infinity, minus infinity in some places and in all. */
static void
put_special(Array *x, gint64 rows, gint64 n)
{
    if (rows < 5) {
        return;
    }
    array_set(x, n - 1, NAN);
    array_set(x, 1 * n, INFINITY);
    for (gint64 i = 0; i < n; i++) {
        array_set(x, 2 * n + i, -INFINITY);
    }
    array_set(x, 3 * n + n / 2, -INFINITY);
}

static void
softmax(void)
{
    static const gint64 sizes[][2] = { { 5, 1 },    { 7, 3 },     { 6, 16 },   { 33, 37 },
                                       { 1, 1000 }, { 300, 257 }, { 3, 70000 } };
    static const TnDtype dtypes[] = { TN_DTYPE_F32, TN_DTYPE_BF16 };
    open_all();
    for (guint i = 0; i < 4 * G_N_ELEMENTS(sizes); i++) {
        const gint64 *dims = sizes[i / 4];
        const gboolean log_of = i % 2 == 1;
        const char *name = log_of ? "log_softmax" : "softmax";
        const TnAxisAttrs attrs = { i % 4 == 1 ? 1 : -1 };
        Array x = random_array(dtypes[i / 2 % 2], 0, 2, dims), y;
        put_special(&x, dims[0], dims[1]);
        g_autofree double *from = doubles_of(&x), *want = g_new(double, (gsize)x.arg.count);
        for (gint64 row = 0; row < dims[0]; row++) {
            softmax_row(log_of, dims[1], from + row * dims[1], want + row * dims[1]);
        }
        run_all(name, &attrs, 1, &x, &y);
        compare(name, &y, want);
        array_clear(&x);
        array_clear(&y);
    }
}

/* --- Norms ------------------------------------------------------------------------------------ */

/* Numbers that are normalised together: `count` of them, in runs of `run` that are `far` apart; of
 * layers the scale goes with the place, of batches there is one. */
typedef struct {
    gint64 first, run, runs, far, scale;
    gboolean layer;
} Part;

static gint64
at(const Part *p, gint64 i)
{
    return p->first + i / p->run * p->far + i % p->run;
}

static gint64
scale_at(const Part *p, gint64 i)
{
    return p->layer ? i : p->scale;
}

static void
moments(const Part *p, const double *x, double *mean, double *variance)
{
    const gint64 n = p->run * p->runs;
    double sum = 0, spread = 0;
    for (gint64 i = 0; i < n; i++) {
        sum += x[at(p, i)];
    }
    *mean = sum / (double)n;
    for (gint64 i = 0; i < n; i++) {
        spread += (x[at(p, i)] - *mean) * (x[at(p, i)] - *mean);
    }
    *variance = spread / (double)n;
}

static void
forward(const Part *p, const double *x, const double *scale, const double *bias, double mean,
        double inverse, double *y)
{
    for (gint64 i = 0; i < p->run * p->runs; i++) {
        const gint64 s = scale_at(p, i);
        y[at(p, i)] = (x[at(p, i)] - mean) * inverse * scale[s] + (bias != NULL ? bias[s] : 0);
    }
}

static void
backward(const Part *p, const double *x, const double *scale, double mean, double inverse,
         const double *g, double *dx, double *dscale, double *dbias)
{
    const double n = (double)(p->run * p->runs);
    double sum = 0, along = 0;
    for (gint64 i = 0; i < p->run * p->runs; i++) {
        const gint64 k = at(p, i), s = scale_at(p, i);
        const double h = (x[k] - mean) * inverse;
        sum += g[k] * scale[s];
        along += g[k] * scale[s] * h;
        dscale[s] += g[k] * h;
        dbias[s] += g[k];
    }
    for (gint64 i = 0; i < p->run * p->runs; i++) {
        const gint64 k = at(p, i);
        const double h = (x[k] - mean) * inverse;
        dx[k] = inverse * (g[k] * scale[scale_at(p, i)] - sum / n - h * along / n);
    }
}

/* x [N, C, run]: layers are normalised over the last axis, or the last two; batches over the others. */
typedef struct {
    TnDtype dtype;
    gint64 dims[3], axis; /* axis: of layers; 0: batches */
    gboolean bias, nan;
} NormCase;

static const NormCase norm_cases[] = {
    { TN_DTYPE_F32, { 3, 5, 19 }, 2, TRUE },          { TN_DTYPE_F32, { 2, 5, 1 }, 2, TRUE },
    { TN_DTYPE_F32, { 3, 5, 19 }, 1, FALSE },         { TN_DTYPE_F32, { 7, 131, 133 }, 2, TRUE },
    { TN_DTYPE_F32, { 7, 31, 33 }, 2, TRUE, TRUE },   { TN_DTYPE_BF16, { 5, 61, 259 }, 2, TRUE },
    { TN_DTYPE_BF16, { 5, 61, 256 }, 2, TRUE, TRUE }, { TN_DTYPE_F32, { 3, 5, 19 }, 0, TRUE },
    { TN_DTYPE_F32, { 7, 3, 1 }, 0, TRUE },           { TN_DTYPE_F32, { 5, 83, 391 }, 0, TRUE },
    { TN_DTYPE_F32, { 5, 83, 391 }, 0, TRUE, TRUE },  { TN_DTYPE_BF16, { 6, 83, 391 }, 0, TRUE },
};

static gint64
n_parts(const NormCase *k)
{
    return k->axis == 2 ? k->dims[0] * k->dims[1] : k->axis == 1 ? k->dims[0] : k->dims[1];
}

static Part
part_of(const NormCase *k, gint64 i)
{
    const gint64 run = k->axis == 1 ? k->dims[1] * k->dims[2] : k->dims[2];
    if (k->axis > 0) {
        return (Part){ i * run, run, 1, 0, 0, TRUE };
    }
    return (Part){ i * run, run, k->dims[0], k->dims[1] * run, i, FALSE };
}

/* The inputs, what they should give, and what is known of every part. */
typedef struct {
    Array x, g, scale, bias;
    double *from, *of_g, *of_scale, *of_bias;
    double *mean, *spread, *y, *dx, *dscale,
        *dbias; /* spread: batches' variance, layers' inverse */
} Norm;

static Norm
norm_new(const NormCase *k)
{
    const gint first = k->axis > 0 ? (gint)k->axis : 1, rank = k->axis > 0 ? 3 - first : 1;
    Norm n = { .x = random_array(k->dtype, 1, 3, k->dims),
               .g = random_array(k->dtype, 0, 3, k->dims),
               .scale = random_array(TN_DTYPE_F32, 1, rank, k->dims + first),
               .bias = random_array(TN_DTYPE_F32, 0, rank, k->dims + first) };
    const gsize count = (gsize)n.x.arg.count, scales = (gsize)n.scale.arg.count;
    if (k->nan) {
        array_set(&n.x, (gint64)count / 2, NAN);
    }
    n.from = doubles_of(&n.x);
    n.of_g = doubles_of(&n.g);
    n.of_scale = doubles_of(&n.scale);
    n.of_bias = doubles_of(&n.bias);
    n.mean = g_new(double, (gsize)n_parts(k));
    n.spread = g_new(double, (gsize)n_parts(k));
    n.y = g_new(double, count);
    n.dx = g_new(double, count);
    n.dscale = g_new0(double, scales);
    n.dbias = g_new0(double, scales);
    for (gint64 i = 0; i < n_parts(k); i++) {
        const Part part = part_of(k, i);
        double variance;
        moments(&part, n.from, &n.mean[i], &variance);
        const double inverse = 1 / sqrt(variance + 1e-3);
        n.spread[i] = k->axis > 0 ? inverse : variance;
        forward(&part, n.from, n.of_scale, k->bias ? n.of_bias : NULL, n.mean[i], inverse, n.y);
        backward(&part, n.from, n.of_scale, n.mean[i], inverse, n.of_g, n.dx, n.dscale, n.dbias);
    }
    return n;
}

static void
norm_clear(Norm *n)
{
    Array *arrays[] = { &n->x, &n->g, &n->scale, &n->bias };
    double *all[] = { n->from,   n->of_g, n->of_scale, n->of_bias, n->mean,
                      n->spread, n->y,    n->dx,       n->dscale,  n->dbias };
    for (guint i = 0; i < G_N_ELEMENTS(arrays); i++) {
        array_clear(arrays[i]);
    }
    for (guint i = 0; i < G_N_ELEMENTS(all); i++) {
        g_free(all[i]);
    }
}

static void
norms(void)
{
    open_all();
    for (guint i = 0; i < G_N_ELEMENTS(norm_cases); i++) {
        const NormCase *k = &norm_cases[i];
        const gboolean layer = k->axis > 0;
        const TnNormAttrs layer_attrs = { 1e-3, layer ? k->axis : 0 };
        const TnEpsilonAttrs batch_attrs = { 1e-3 };
        const void *attrs = layer ? (const void *)&layer_attrs : (const void *)&batch_attrs;
        Norm n = norm_new(k);
        const Array in[] = { n.x, n.scale, n.bias };
        Array out[TN_MAX_OUT], grad[TN_MAX_OUT], y[TN_MAX_OUT];
        run_all(layer ? "layer_normalization" : "batch_normalization_training", attrs,
                k->bias ? 3 : 2, in, out);
        compare("normalised", &out[0], n.y);
        compare("means", &out[1], n.mean);
        compare("spreads", &out[2], n.spread);
        const Array back[] = { n.x, n.scale, out[1], out[2], n.g };
        run_all(layer ? "layer_normalization_grad" : "batch_normalization_grad", attrs, 5, back,
                grad);
        compare("gradient in x", &grad[0], n.dx);
        compare("gradient in scale", &grad[1], n.dscale);
        compare("gradient in bias", &grad[2], n.dbias);
        if (!layer) {
            const Array given[] = { n.x, n.scale, n.bias, out[1], out[2] };
            run_all("batch_normalization", attrs, 5, given, y);
            compare("normalised by given statistics", &y[0], n.y);
            array_clear(&y[0]);
        }
        clear(3, out);
        clear(3, grad);
        norm_clear(&n);
    }
}

static const TnTest tests[] = { { "softmax", softmax }, { "norms", norms } };

TN_TEST_MAIN("onednn norm", tests)
