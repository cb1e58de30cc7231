/* Pooling on the cpu device against plain loops in f64: windows of any size, stride, padding and dilation
 * over one to three axes, in f32 and maxima of bf16; NaN, infinities, zeros of either sign, equal numbers. */
// tn-test: timeout=120
#include "cpu_run.h"

#include <tenon/nn.h>

static guint64 state = 77;

static gint64
below(gint64 n)
{
    return (gint64)(noise(&state) % (guint64)n);
}

/* A case: sizes of three axes, those before the first that there is are 1. */
typedef struct {
    TnPoolAttrs attrs;
    gint n; /* axes */
    gint64 planes, s[3], o[3], k[3], stride[3], dilation[3], pad[3], pad_end[3];
} Case;

static Case
case_new(gint n, gint64 planes)
{
    Case c = { .n = n, .planes = planes };
    for (gint i = 0; i < 3; i++) {
        c.s[i] = c.o[i] = c.k[i] = c.stride[i] = c.dilation[i] = 1;
    }
    return c;
}

/* The attributes that say it. */
static void
case_end(Case *c)
{
    TnWindowAttrs *w = &c->attrs.window;
    w->kernel_shape.n = w->strides.n = w->dilations.n = c->n;
    w->pads.n = 2 * c->n;
    for (gint i = 0; i < c->n; i++) {
        const gint from = i + 3 - c->n;
        w->kernel_shape.v[i] = c->k[from];
        w->strides.v[i] = c->stride[from];
        w->dilations.v[i] = c->dilation[from];
        w->pads.v[i] = c->pad[from];
        w->pads.v[c->n + i] = c->pad_end[from];
    }
}

static Case
random_case(void)
{
    Case c = case_new(1 + (gint)below(3), 1 + below(5));
    for (gint i = 3 - c.n; i < 3; i++) {
        c.k[i] = 1 + below(4);
        c.stride[i] = 1 + below(4);
        c.dilation[i] = 1 + below(3);
        c.pad[i] = below(c.k[i]);
        c.pad_end[i] = below(c.k[i]);
        c.s[i] = (c.k[i] - 1) * c.dilation[i] + 1 + below(i == 2 ? 40 : 6);
    }
    c.attrs.ceil_mode = below(2) == 0;
    c.attrs.count_include_pad = below(2) == 0;
    case_end(&c);
    return c;
}

static TnType
type_of(const Case *c, TnDtype dtype, const gint64 *sizes)
{
    gint64 dims[5] = { 1, c->planes };
    for (gint i = 0; i < c->n; i++) {
        dims[2 + i] = sizes[i + 3 - c->n];
    }
    return tn_type(dtype, 2 + c->n, dims);
}

/* special: NaN, infinities, and zeros among few different numbers. */
static Array
images(const TnType *type, gboolean special)
{
    static const double few[] = { -1, -0.0, 0, 0, 1, -INFINITY, -INFINITY, INFINITY, NAN };
    Array array = array_new(*type, NULL);
    for (gint64 i = 0; i < array.arg.count; i++) {
        const double any = 2 * noise_unit(&state) - 1;
        array_set(&array, i, special ? few[below(i % 7 == 0 ? 9 : 7)] : any);
    }
    return array;
}

typedef struct {
    double largest, sum, count;
    gint64 first; /* of the largest: its place in the plane, -1 without one */
} Seen;

/* What window number o of a plane x (NULL: no matter what) sees, with the places of all its elements in
 * places[*n]. */
static Seen
look(const Case *c, const double *x, gint64 o, gint64 *places, gint *n)
{
    const gint64 at[3] = { o / c->o[2] / c->o[1], o / c->o[2] % c->o[1], o % c->o[2] };
    Seen seen = { .largest = -INFINITY, .first = -1 };
    *n = 0;
    for (gint64 t = 0; t < c->k[0] * c->k[1] * c->k[2]; t++) {
        const gint64 tap[3] = { t / c->k[2] / c->k[1], t / c->k[2] % c->k[1], t % c->k[2] };
        gboolean inside = TRUE, padded = TRUE;
        gint64 place = 0;
        for (gint i = 0; i < 3; i++) {
            const gint64 p = at[i] * c->stride[i] + tap[i] * c->dilation[i] - c->pad[i];
            inside = inside && p >= 0 && p < c->s[i];
            padded = padded && p < c->s[i] + c->pad_end[i];
            place = place * c->s[i] + p;
        }
        seen.count += c->attrs.count_include_pad ? padded : inside;
        if (!inside) {
            continue;
        }
        places[(*n)++] = place;
        if (x != NULL) {
            seen.sum += x[place];
            if (seen.first < 0 || x[place] > seen.largest ||
                (isnan(x[place]) && !isnan(seen.largest))) {
                seen.first = place;
                seen.largest = x[place];
            }
        }
    }
    return seen;
}

static void
check(const char *op, const Case *c, const Array *got, const double *want)
{
    for (gint64 i = 0; i < got->arg.count; i++) {
        const double a = array_get(got, i), b = want[i];
        if (isnan(b) ? !isnan(a) : !(a == b || fabs(a - b) <= 1e-5 * MAX(1, fabs(b)))) {
            TN_FAIL("%s of %d axes, [%d %d %d] by [%d %d %d], strides [%d %d %d], dilations [%d %d "
                    "%d], pads "
                    "[%d %d %d], ceil %d: element %d is %g, expected %g",
                    op, c->n, (gint)c->s[0], (gint)c->s[1], (gint)c->s[2], (gint)c->k[0],
                    (gint)c->k[1], (gint)c->k[2], (gint)c->stride[0], (gint)c->stride[1],
                    (gint)c->stride[2], (gint)c->dilation[0], (gint)c->dilation[1],
                    (gint)c->dilation[2], (gint)c->pad[0], (gint)c->pad[1], (gint)c->pad[2],
                    c->attrs.ceil_mode, (gint)i, a, b);
            break;
        }
    }
    TN_ASSERT(array_intact(got));
}

/* The four operators; of bf16 maxima alone. */
static void
run_case(Case *c, TnDtype dtype, gboolean special)
{
    const TnType type = type_of(c, dtype, c->s);
    Array x = images(&type, special), out[TN_MAX_OUT];
    gint n_out, n;
    op_run("cpu", "max_pool", &c->attrs, 1, &x, &n_out, out);
    for (gint i = 0; i < c->n; i++) {
        c->o[i + 3 - c->n] = out[0].arg.type.dims[2 + i];
    }
    const gint64 in = c->s[0] * c->s[1] * c->s[2], outs = c->o[0] * c->o[1] * c->o[2];
    Array g = images(&out[0].arg.type, FALSE), both[] = { x, g }, back[] = { g, x };
    g_autofree double *xs = array_doubles(&x), *gs = array_doubles(&g);
    g_autofree double *largest = g_new(double, (gsize)(c->planes * outs)),
                      *mean = g_new(double, (gsize)(c->planes * outs));
    g_autofree double *to_largest = g_new0(double, (gsize)(c->planes * in)),
                      *to_all = g_new0(double, (gsize)(c->planes * in));
    g_autofree gint64 *places = g_new(gint64, (gsize)(c->k[0] * c->k[1] * c->k[2]));
    for (gint64 i = 0; i < c->planes * outs; i++) {
        const gint64 plane = i / outs * in;
        const Seen seen = look(c, xs + plane, i % outs, places, &n);
        largest[i] = seen.largest;
        mean[i] = seen.sum / seen.count;
        for (gint k = 0; k < n; k++) {
            to_all[plane + places[k]] += gs[i] / seen.count;
            to_largest[plane + places[k]] += places[k] == seen.first ? gs[i] : 0;
        }
    }
    check("max_pool", c, &out[0], largest);
    array_clear(&out[0]);
    if (dtype == TN_DTYPE_F32) {
        const struct {
            const char *op;
            gint n_in;
            const Array *in;
            const double *want;
        } rest[] = { { "max_pool_grad", 2, both, to_largest },
                     { "average_pool", 1, &x, mean },
                     { "average_pool_grad", 2, back, to_all } };
        for (guint k = 0; k < G_N_ELEMENTS(rest); k++) {
            op_run("cpu", rest[k].op, &c->attrs, rest[k].n_in, rest[k].in, &n_out, out);
            check(rest[k].op, c, &out[0], rest[k].want);
            array_clear(&out[0]);
        }
    }
    array_clear(&x);
    array_clear(&g);
}

static void
open_all(void)
{
    open_plugins();
    tn_registry_open("nn", NULL);
}

static void
any_windows(void)
{
    open_all();
    for (gint i = 0; i < 600; i++) {
        Case c = random_case();
        run_case(&c, i % 4 == 3 ? TN_DTYPE_BF16 : TN_DTYPE_F32, i % 3 == 2);
    }
}

/* Two axes of one geometry each. */
static void
run_square(TnDtype dtype, gint64 size, gint64 k, gint64 stride, gint64 dilation, gint64 pad)
{
    Case c = case_new(2, 3);
    for (gint i = 1; i < 3; i++) {
        c.s[i] = size + i;
        c.k[i] = k;
        c.stride[i] = stride;
        c.dilation[i] = dilation;
        c.pad[i] = c.pad_end[i] = pad;
    }
    case_end(&c);
    run_case(&c, dtype, FALSE);
    run_case(&c, dtype, TRUE);
}

/* Networks' windows; those of more taps than gradients go through at once, and of a single window, whose
 * stride is no matter. */
static void
usual_windows(void)
{
    static const gint64 rows[][5] = {
        { 112, 3, 2, 1, 1 }, { 28, 2, 2, 1, 0 },   { 14, 3, 1, 1, 1 },   { 13, 5, 1, 1, 2 },
        { 7, 7, 7, 1, 0 },   { 40, 33, 1, 1, 16 }, { 9, 3, 1000, 1, 1 }, { 20, 2, 1, 13, 1 },
        { 56, 4, 4, 1, 0 },  { 31, 1, 3, 1, 0 },   { 35, 3, 3, 2, 1 }
    };
    open_all();
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        for (gint k = 0; k < 2; k++) {
            run_square(k ? TN_DTYPE_BF16 : TN_DTYPE_F32, rows[i][0], rows[i][1], rows[i][2],
                       rows[i][3], rows[i][4]);
        }
    }
}

/* Almost all that windows see is padding, more than any memory has. */
static void
far_windows(void)
{
    static const gint64 distances[] = { 3000, 1000000, 2000000000 };
    open_all();
    for (guint i = 0; i < G_N_ELEMENTS(distances); i++) {
        run_square(TN_DTYPE_F32, 4, 2, distances[i], distances[i], distances[i]);
    }
}

static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2",
                                         "TENON_CPU_ISA=avx512", NULL },
                  (const char *const[]){ "any windows", "usual windows", NULL });
}

static const TnTest tests[] = {
    { "any windows", any_windows },
    { "usual windows", usual_windows },
    { "far windows", far_windows },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("pooling on cpu", tests)
