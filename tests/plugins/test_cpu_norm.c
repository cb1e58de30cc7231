/* Layer normalisation, its kind without a mean, and their gradients on the cpu device against plain loops in
 * f64: rows of many lengths, whole vectors or not, with a mean far from 0. */
#include "cpu_run.h"

#include <tenon/nn.h>

#define ROWS 3
#define MOST 4200

typedef struct {
    gint64 n;
    gboolean centred;
    double x[ROWS * MOST], g[ROWS * MOST], scale[MOST], bias[MOST];
    double mean[ROWS], inverse[ROWS], y[ROWS * MOST], dx[ROWS * MOST], dscale[MOST], dbias[MOST];
} Layer;

/* All of layer but x, g, scale and bias. */
static void
expect(Layer *l)
{
    const gint64 n = l->n;
    memset(l->dscale, 0, sizeof l->dscale);
    memset(l->dbias, 0, sizeof l->dbias);
    for (gint row = 0; row < ROWS; row++) {
        const double *x = l->x + row * n, *g = l->g + row * n;
        double sum = 0, spread = 0, a_sum = 0, along = 0;
        for (gint64 i = 0; i < n; i++) {
            sum += x[i];
        }
        const double mean = l->centred ? sum / (double)n : 0;
        for (gint64 i = 0; i < n; i++) {
            spread += (x[i] - mean) * (x[i] - mean);
        }
        const double inverse = 1 / sqrt(spread / (double)n + 1e-5);
        for (gint64 i = 0; i < n; i++) {
            const double h = (x[i] - mean) * inverse;
            l->y[row * n + i] = h * l->scale[i] + (l->centred ? l->bias[i] : 0);
            l->dscale[i] += g[i] * h;
            l->dbias[i] += g[i];
            a_sum += l->centred ? g[i] * l->scale[i] : 0;
            along += g[i] * l->scale[i] * h;
        }
        for (gint64 i = 0; i < n; i++) {
            const double h = (x[i] - mean) * inverse;
            l->dx[row * n + i] =
                inverse * (g[i] * l->scale[i] - a_sum / (double)n - h * along / (double)n);
        }
        l->mean[row] = mean;
        l->inverse[row] = inverse;
    }
}

/* Against the largest of what is expected. */
static void
check(const char *what, gint64 n, const Array *got, const double *want)
{
    double most = 0.1;
    for (gint64 i = 0; i < got->arg.count; i++) {
        most = MAX(most, fabs(want[i]));
    }
    for (gint64 i = 0; i < got->arg.count; i++) {
        if (!(fabs(array_get(got, i) - want[i]) <= 1e-5 * most)) {
            TN_FAIL("%s, rows of %d: element %d is %.9g, expected %.9g", what, (gint)n, (gint)i,
                    array_get(got, i), want[i]);
            break;
        }
    }
    TN_ASSERT(array_intact(got));
}

/* Numbers of `unit` about `middle`, rounded to f32; (transfer full): array_clear. */
static Array
numbers(gint rank, const gint64 *dims, double middle, double unit, double *to)
{
    static guint64 state = 99;
    Array array = array_new(tn_type(TN_DTYPE_F32, rank, dims), NULL);
    for (gint64 i = 0; i < array.arg.count; i++) {
        array_set(&array, i, middle + unit * (2 * noise_unit(&state) - 1));
        to[i] = array_get(&array, i);
    }
    return array;
}

static void
one_length(Layer *l)
{
    const TnNormAttrs attrs = { .epsilon = 1e-5, .axis = -1 };
    const gint64 dims[] = { ROWS, l->n };
    Array x = numbers(2, dims, l->centred ? 3 : 0.2, 1, l->x), g = numbers(2, dims, 0, 1, l->g),
          out[TN_MAX_OUT];
    Array scale = numbers(1, dims + 1, 1, 0.5, l->scale),
          bias = numbers(1, dims + 1, 0, 1, l->bias);
    gint n_out;
    expect(l);
    op_run("cpu", l->centred ? "layer_normalization" : "rms_normalization", &attrs,
           l->centred ? 3 : 2, (Array[]){ x, scale, bias }, &n_out, out);
    check("y", l->n, &out[0], l->y);
    array_clear(&out[0]);
    Array grads[TN_MAX_OUT], in[5] = { x, scale, g };
    if (l->centred) {
        check("mean", l->n, &out[1], l->mean);
        check("inverse deviation", l->n, &out[2], l->inverse);
        in[2] = out[1];
        in[3] = out[2];
        in[4] = g;
    }
    op_run("cpu", l->centred ? "layer_normalization_grad" : "rms_normalization_grad", &attrs,
           l->centred ? 5 : 3, in, &n_out, grads);
    check("dx", l->n, &grads[0], l->dx);
    check("dscale", l->n, &grads[1], l->dscale);
    if (l->centred) {
        check("dbias", l->n, &grads[2], l->dbias);
    }
    for (gint i = 0; i < n_out; i++) {
        array_clear(&grads[i]);
    }
    for (gint i = l->centred ? 2 : 0; i > 0; i--) {
        array_clear(&out[i]);
    }
    array_clear(&x);
    array_clear(&g);
    array_clear(&scale);
    array_clear(&bias);
}

static void
lengths(void)
{
    g_autofree Layer *layer = g_new0(Layer, 1);
    open_plugins();
    tn_registry_open("nn", NULL);
    for (gint centred = 0; centred < 2; centred++) {
        layer->centred = centred;
        for (layer->n = 3; layer->n <= MOST; layer->n += layer->n < 70 ? 1 : 677) {
            one_length(layer);
        }
    }
}

static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2",
                                         "TENON_CPU_ISA=avx512", NULL },
                  (const char *const[]){ "lengths", NULL });
}

static const TnTest tests[] = { { "lengths", lengths },
                                { "other instruction sets", other_instruction_sets } };

TN_TEST_MAIN("normalisation on cpu", tests)
