/* Convolutions and pooling over lanes of sixteen samples on the cpu device: convolutions against the
 * reference device, pooling against its definition, for sizes and attributes made at random, with every
 * instruction set; the same bits for any number of threads. */
// tn-test: timeout=120
#include <tenon/nn.h>

#include "cpu_run.h"

#define LANES 16

static guint64 state = 0x9e3779b97f4a7c15u;

static gint64
between(gint64 low, gint64 high)
{
    return low + (gint64)(noise(&state) % (guint64)(high - low + 1));
}

static Array
array_5(gint64 a, gint64 b, gint64 c, gint64 d, gint64 e)
{
    const gint64 dims[] = { a, b, c, d, e };
    return array_new(tn_type(TN_DTYPE_F32, 5, dims), NULL);
}

static void
fill(Array *array)
{
    for (gint64 i = 0; i < array->arg.count; i++) {
        array_set(array, i, 2 * noise_unit(&state) - 1);
    }
}

/* --- Convolutions ----------------------------------------------------------------------------- */

typedef struct {
    TnConvAttrs attrs;
    Array x, w, bias, y;
} Conv;

static Conv
conv_at_random(gboolean transposable)
{
    Conv c = { .attrs = { .group = 1 } };
    gint64 x[2], k[2], y[2];
    TnInts *const lists[] = { &c.attrs.strides, &c.attrs.dilations };
    for (guint i = 0; i < 2; i++) {
        k[i] = between(1, 7);
        const gint64 stride = transposable ? 1 : between(1, 3), dilation = between(1, 2);
        const gint64 reach = dilation * (k[i] - 1), before = between(0, reach + 2),
                     after = between(0, reach + 2);
        x[i] = between(MAX(1, reach + 1 - before - after), 13);
        y[i] = (x[i] + before + after - reach - 1) / stride + 1;
        lists[0]->v[i] = stride;
        lists[1]->v[i] = dilation;
        c.attrs.pads.v[i] = before;
        c.attrs.pads.v[3 + i] = after;
    }
    lists[0]->v[2] = lists[1]->v[2] = 1;
    lists[0]->n = lists[1]->n = 3;
    c.attrs.pads.n = 6;
    const gint64 blocks = between(1, 20), maps = between(1, 13), channels = between(1, 4);
    c.x = array_5(blocks, channels, x[0], x[1], LANES);
    c.w = array_5(maps, channels, k[0], k[1], 1);
    c.y = array_5(blocks, maps, y[0], y[1], LANES);
    c.bias = array_new(tn_type(TN_DTYPE_F32, 1, &maps), NULL);
    fill(&c.x);
    fill(&c.w);
    fill(&c.y);
    fill(&c.bias);
    return c;
}

static void
conv_clear(Conv *c)
{
    array_clear(&c->x);
    array_clear(&c->w);
    array_clear(&c->y);
    array_clear(&c->bias);
}

/* sum[n, m, o] + bias[m], of the reference's sum. */
static void
add_bias(Array *y, const Array *bias)
{
    const gint64 *dims = y->arg.type.dims, map = dims[2] * dims[3] * dims[4];
    for (gint64 i = 0; i < y->arg.count; i++) {
        array_set(y, i, array_get(y, i) + array_get(bias, i / map % dims[1]));
    }
}

static void
compare(const char *what, const Array *got, const Array *want)
{
    double most = 0;
    for (gint64 i = 0; i < want->arg.count; i++) {
        most = MAX(most, fabs(array_get(want, i)));
    }
    for (gint64 i = 0; i < want->arg.count; i++) {
        const double a = array_get(got, i), b = array_get(want, i);
        if (!(fabs(a - b) <= 1e-5 * most)) {
            TN_FAIL("%s: element %d is %.9g, expected %.9g", what, (int)i, a, b);
            break;
        }
    }
    TN_ASSERT(array_intact(got));
}

/* Whether the kernel that runs it is one over lanes; its flags. */
static guint32
run_lanes(const char *name, const void *attrs, gint n_in, const Array *in, const Array *out)
{
    guint32 flags = 0;
    const TnOp *op = tn_op_find(name, NULL);
    TN_REQUIRE(kernel_run("cpu", op, attrs, n_in, in, 1, out, &flags) == TN_OK);
    if (!(flags & TN_KERNEL_LANES)) {
        TN_FAIL("%s was not computed over lanes", name);
    }
    return flags;
}

/* With one thread and with three, and the reference's. */
static void
check_conv(const char *name, const char *reference, const Conv *c, gint n_in, const Array *in)
{
    Array want[TN_MAX_OUT], got[2];
    gint n_out;
    op_run("ref", reference, &c->attrs, MIN(n_in, strcmp(name, reference) ? 2 : 3), in, &n_out,
           want);
    if (strcmp(name, "conv_bias") == 0) {
        add_bias(&want[0], &c->bias);
    }
    for (guint i = 0; i < 2; i++) {
        got[i] = array_new(want[0].arg.type, NULL);
        tn_pool_set_threads(1 + 2 * i);
        run_lanes(name, &c->attrs, n_in, in, &got[i]);
    }
    tn_pool_set_threads(1);
    compare(name, &got[0], &want[0]);
    TN_ASSERT(memcmp(got[0].block, got[1].block, got[0].bytes) == 0);
    array_clear(&got[0]);
    array_clear(&got[1]);
    array_clear(&want[0]);
}

static void
convolutions(void)
{
    open_plugins();
    tn_registry_open("nn", NULL);
    for (guint i = 0; i < 40; i++) {
        Conv c = conv_at_random(FALSE);
        const Array forward[] = { c.x, c.w, c.bias }, weight[] = { c.x, c.y, c.w };
        check_conv("conv", "conv", &c, 2, forward);
        check_conv("conv_bias", "conv", &c, 3, forward);
        check_conv("conv_grad_weight", "conv_grad_weight", &c, 3, weight);
        conv_clear(&c);
        c = conv_at_random(TRUE);
        const Array back[] = { c.y, c.w, c.x };
        check_conv("conv_transpose", "conv_transpose", &c, 3, back);
        conv_clear(&c);
    }
}

/* --- Pooling ---------------------------------------------------------------------------------- */

typedef struct {
    TnPoolAttrs attrs;
    Array x, y;
} Pool;

static Pool
pool_at_random(void)
{
    Pool p = { .attrs.count_include_pad = noise(&state) & 1 };
    TnWindowAttrs *w = &p.attrs.window;
    const gboolean square = noise(&state) % 4 == 0; /* side by side, which has loops of its own */
    gint64 x[2], y[2];
    for (guint i = 0; i < 2; i++) {
        const gint64 k = square ? 2 : between(1, 3), stride = square ? 2 : between(1, 3);
        const gint64 dilation = square ? 1 : between(1, 2), reach = dilation * (k - 1);
        const gint64 before = square ? 0 : between(0, k / 2),
                     after = square ? 0 : between(0, k / 2);
        x[i] = between(reach + 1, 9);
        y[i] = (x[i] + before + after - reach - 1) / stride + 1;
        w->kernel_shape.v[i] = k;
        w->strides.v[i] = stride;
        w->dilations.v[i] = dilation;
        w->pads.v[i] = before;
        w->pads.v[3 + i] = after;
    }
    w->kernel_shape.v[2] = w->strides.v[2] = w->dilations.v[2] = 1;
    w->kernel_shape.n = w->strides.n = w->dilations.n = 3;
    w->pads.n = 6;
    const gint64 blocks = between(1, 3), maps = between(1, 3);
    p.x = array_5(blocks, maps, x[0], x[1], LANES);
    p.y = array_5(blocks, maps, y[0], y[1], LANES);
    fill(&p.x);
    fill(&p.y);
    for (gint64 i = 0; i < p.x.arg.count; i++) { /* equal ones, and what is not a number */
        const guint64 kind = noise(&state) % 16;
        if (kind < 6) {
            array_set(&p.x, i,
                      kind == 0   ? NAN
                      : kind == 1 ? -INFINITY
                      : kind == 2 ? INFINITY
                                  : 0.5);
        }
    }
    return p;
}

/* Elements of x that window number i of y sees, in order; how many. *divisor: what their mean is over. */
static gint
window(const Pool *p, gint64 i, gint64 at[9], double *divisor)
{
    const TnWindowAttrs *w = &p->attrs.window;
    const gint64 *x = p->x.arg.type.dims, *y = p->y.arg.type.dims;
    const gint64 lane = i % LANES, col = i / LANES % y[3], row = i / LANES / y[3] % y[2],
                 plane = i / LANES / y[3] / y[2];
    gint n = 0;
    *divisor = 0;
    for (gint64 a = 0; a < w->kernel_shape.v[0]; a++) {
        for (gint64 b = 0; b < w->kernel_shape.v[1]; b++) {
            const gint64 r = row * w->strides.v[0] - w->pads.v[0] + a * w->dilations.v[0];
            const gint64 c = col * w->strides.v[1] - w->pads.v[1] + b * w->dilations.v[1];
            if (r >= 0 && r < x[2] && c >= 0 && c < x[3]) {
                at[n++] = ((plane * x[2] + r) * x[3] + c) * LANES + lane;
            } else if (!p->attrs.count_include_pad) {
                continue;
            }
            *divisor += r < x[2] + w->pads.v[3] && c < x[3] + w->pads.v[4];
        }
    }
    return n;
}

static gint64
best_of(const Array *x, const gint64 *at, gint n)
{
    gint64 best = at[0];
    for (gint i = 1; i < n; i++) {
        const double a = array_get(x, at[i]), b = array_get(x, best);
        if (a > b || (isnan(a) && !isnan(b))) {
            best = at[i];
        }
    }
    return best;
}

static void
check_elements(const char *what, const Array *got, const double *want)
{
    for (gint64 i = 0; i < got->arg.count; i++) {
        const double a = array_get(got, i);
        if (!(a == want[i] || fabs(a - want[i]) <= 1e-6 * MAX(1, fabs(want[i])) ||
              (isnan(a) && isnan(want[i])))) {
            TN_FAIL("%s: element %d is %.9g, expected %.9g", what, (int)i, a, want[i]);
            break;
        }
    }
    TN_ASSERT(array_intact(got));
}

/* Over its own images, where the kernel says that it may. */
static gboolean
check_in_place(const Pool *p, guint32 flags, const double *want)
{
    if (!(flags & TN_KERNEL_IN_PLACE)) {
        return FALSE;
    }
    Array x = array_new(p->x.arg.type, NULL);
    for (gint64 i = 0; i < x.arg.count; i++) {
        array_set(&x, i, array_get(&p->x, i));
    }
    const Array in[] = { x, p->y };
    run_lanes("max_pool_grad", &p->attrs, 2, in, &x);
    check_elements("max_pool_grad in place", &x, want);
    array_clear(&x);
    return TRUE;
}

/* Whether the gradient of maxima was computed in place too. */
static gboolean
check_pool(const Pool *p)
{
    const gint64 n_x = p->x.arg.count, n_y = p->y.arg.count;
    g_autofree double *max = g_new0(double, n_y), *mean = g_new0(double, n_y);
    g_autofree double *max_grad = g_new0(double, n_x), *mean_grad = g_new0(double, n_x);
    for (gint64 i = 0; i < n_y; i++) {
        gint64 at[9];
        double divisor;
        const gint n = window(p, i, at, &divisor);
        const double g = array_get(&p->y, i);
        const gint64 best = best_of(&p->x, at, n);
        max[i] = array_get(&p->x, best);
        max_grad[best] += g;
        for (gint k = 0; k < n; k++) {
            mean[i] += array_get(&p->x, at[k]) / divisor;
            mean_grad[at[k]] += g / divisor;
        }
    }
    Array y = array_new(p->y.arg.type, NULL), x = array_new(p->x.arg.type, NULL);
    const Array both[] = { p->x, p->y }, back[] = { p->y, p->x };
    run_lanes("max_pool", &p->attrs, 1, both, &y);
    check_elements("max_pool", &y, max);
    const guint32 flags = run_lanes("max_pool_grad", &p->attrs, 2, both, &x);
    check_elements("max_pool_grad", &x, max_grad);
    const gboolean in_place = check_in_place(p, flags, max_grad);
    run_lanes("average_pool", &p->attrs, 1, both, &y);
    check_elements("average_pool", &y, mean);
    run_lanes("average_pool_grad", &p->attrs, 2, back, &x);
    check_elements("average_pool_grad", &x, mean_grad);
    array_clear(&x);
    array_clear(&y);
    return in_place;
}

static void
pooling(void)
{
    open_plugins();
    tn_registry_open("nn", NULL);
    guint in_place = 0;
    for (guint i = 0; i < 100; i++) {
        Pool p = pool_at_random();
        in_place += check_pool(&p);
        array_clear(&p.x);
        array_clear(&p.y);
    }
    TN_ASSERT_CMPUINT(in_place, >, 0);
}

/* The same with every instruction set below this processor's best. */
static void
other_instruction_sets(void)
{
    static const char *const sets[] = { "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2" };
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    for (guint i = 0; i < G_N_ELEMENTS(sets); i++) {
        const char *const command[] = { self, "convolutions", "pooling", NULL };
        const char *const env[] = { sets[i], NULL };
        TnChildOptions options = { .env = env, .timeout = 100 };
        g_auto(TnChild) child = { 0 };
        if (tn_test_spawn(&child, command, &options)) {
            TN_ASSERT_EXIT(&child, 0);
        }
    }
}

static const TnTest tests[] = {
    { "convolutions", convolutions },
    { "pooling", pooling },
    { "other instruction sets", other_instruction_sets },
};

TN_TEST_MAIN("cpu lanes", tests)
