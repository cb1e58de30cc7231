/* Batch-invariant kernels of the cpu device: what a sample gives alone has the bits that it has among
 * others, sums where the axis of samples is not the first, convolutions whichever kernel the number of
 * samples asks for. */
// tn-test: timeout=120
#include <tenon/nn.h>

#include "cpu_run.h"

static guint64 state = 0x5eedull;

/* The first n samples of x, whose samples are the middle axis, laid out as `order` says. */
static Array
samples_of(const Array *x, gint64 n, const gint *order)
{
    TnType type = x->arg.type;
    gint64 strides[TN_MAX_RANK], step = 1;
    const gint64 all = type.dims[1];
    type.dims[1] = n;
    for (gint i = 2; i >= 0; i--) {
        strides[order[i]] = step;
        step *= type.dims[order[i]];
    }
    Array few = array_new(type, strides);
    const gint64 last = type.dims[2];
    for (gint64 i = 0; i < few.arg.count; i++) {
        const gint64 row = i / last, step_at = row / n, sample = row % n;
        array_set(&few, i, array_get(x, (step_at * all + sample) * last + i % last));
    }
    return few;
}

/* Element i of sample 0 of a result whose axis of samples has n. */
static double
of_first(const Array *y, gint64 n, gint64 i)
{
    const gint64 last = y->arg.type.dims[2];
    return array_get(y, i / last * n * last + i % last);
}

static void
check(const gint64 *dims, const TnReduceAttrs *attrs, const gint *order)
{
    static const gint64 numbers[] = { 2, 5 };
    Array x = array_new(tn_type(TN_DTYPE_F32, 3, dims), NULL);
    for (gint64 i = 0; i < x.arg.count; i++) {
        array_set(&x, i, 2 * noise_unit(&state) - 1);
    }
    Array alone = samples_of(&x, 1, order), one[TN_MAX_OUT], many[TN_MAX_OUT];
    gint n_out;
    op_run("cpu", "reduce_sum", attrs, 1, &alone, &n_out, one);
    for (guint k = 0; k < G_N_ELEMENTS(numbers); k++) {
        Array among = samples_of(&x, numbers[k], order);
        op_run("cpu", "reduce_sum", attrs, 1, &among, &n_out, many);
        for (gint64 i = 0; i < one[0].arg.count; i++) {
            const double got = of_first(&many[0], numbers[k], i), want = array_get(&one[0], i);
            if (got != want) {
                TN_FAIL("[%d, n, %d], %d axes, order %d%d%d: element %d among %d is %.9g, alone "
                        "%.9g",
                        (int)dims[0], (int)dims[2], attrs->axes.n, order[0], order[1], order[2],
                        (int)i, (int)numbers[k], got, want);
                break;
            }
        }
        array_clear(&among);
        array_clear(&many[0]);
    }
    array_clear(&x);
    array_clear(&alone);
    array_clear(&one[0]);
}

static void
sums(void)
{
    static const gint64 sizes[][3] = { { 70, 5, 1 },   { 1, 5, 70 },    { 70, 5, 3 },
                                       { 130, 5, 40 }, { 300, 5, 300 }, { 3, 5, 2 } };
    static const TnReduceAttrs axes[] = { { { 1, { 0 } }, TRUE },
                                          { { 1, { 2 } }, TRUE },
                                          { { 2, { 0, 2 } }, TRUE } };
    static const gint orders[][3] = { { 0, 1, 2 }, { 1, 0, 2 }, { 0, 2, 1 }, { 2, 1, 0 } };
    open_plugins();
    batch_invariant = TRUE;
    for (guint s = 0; s < G_N_ELEMENTS(sizes); s++) {
        for (guint a = 0; a < G_N_ELEMENTS(axes); a++) {
            /* Where another axis is 1 as well, its place among strides tells nothing. */
            const gboolean plain = sizes[s][0] == 1 || sizes[s][2] == 1;
            for (guint o = 0; o < (plain ? 2 : G_N_ELEMENTS(orders)); o++) {
                check(sizes[s], &axes[a], orders[o]);
            }
        }
    }
    batch_invariant = FALSE;
}

/* --- Convolutions ----------------------------------------------------------------------------- */

#define L TN_LANES

/* x [L, c, h, w], of maps blocks of L. */
typedef struct {
    gint64 c, maps, h, w, k[2], pad, dilation[2];
    gboolean bias;
} Conv;

static TnConvAttrs
attrs_of(const Conv *c, gint n)
{
    TnConvAttrs attrs = { .group = 1, .pads.n = 2 * n, .dilations.n = n };
    for (gint i = 0; i < n; i++) {
        attrs.pads.v[i] = attrs.pads.v[n + i] = i < 2 ? c->pad : 0;
        attrs.dilations.v[i] = i < 2 ? c->dilation[i] : 1;
    }
    return attrs;
}

/* [L, …] with samples as the last axis, or back. */
static Array
turned(const Array *x, TnType type, gboolean back)
{
    Array to = array_new(type, NULL);
    const gint64 each = x->arg.count / L;
    for (gint64 i = 0; i < x->arg.count; i++) {
        const gint64 sample = i / each, place = i % each, last = place * L + sample;
        array_set(&to, back ? i : last, array_get(x, back ? last : i));
    }
    return to;
}

/* The result of sixteen samples at once, as that of each by itself. */
static Array
by_lanes(const Conv *c, const char *op, gint n_in, const Array *in, TnType type)
{
    const gint64 *d = in[1].arg.type.dims, x[] = { 1, c->c, c->h, c->w, L };
    const gint64 w[] = { d[0], d[1], d[2], d[3], 1 };
    const TnConvAttrs attrs = attrs_of(c, 3);
    Array lanes[] = { turned(&in[0], tn_type(TN_DTYPE_F32, 5, x), FALSE), in[1], in[2] }, y;
    gint n_out;
    lanes[1].arg.type = tn_type(TN_DTYPE_F32, 5, w);
    tn_type_strides(&lanes[1].arg.type, lanes[1].arg.strides);
    op_run("cpu", op, &attrs, n_in, lanes, &n_out, &y);
    const Array back = turned(&y, type, TRUE);
    array_clear(&lanes[0]);
    array_clear(&y);
    return back;
}

/* That in blocks of maps, likewise. */
static Array
by_blocks(const Conv *c, gint n_in, const Array *in, TnType type)
{
    const gint64 dims[] = { c->maps, c->k[0], c->k[1], c->c, L }, taps = c->k[0] * c->k[1];
    const TnConvBlockedAttrs attrs = { .conv = attrs_of(c, 2) };
    Array laid[] = { in[0], array_new(tn_type(TN_DTYPE_F32, 5, dims), NULL), in[2] }, y;
    gint n_out;
    for (gint64 i = 0; i < in[1].arg.count; i++) {
        const gint64 map = i / taps / c->c, channel = i / taps % c->c;
        array_set(&laid[1], ((map / L * taps + i % taps) * c->c + channel) * L + map % L,
                  array_get(&in[1], i));
    }
    op_run("cpu", "conv_blocked", &attrs, n_in, laid, &n_out, &y);
    Array back = array_new(type, NULL);
    const gint64 places = type.dims[2] * type.dims[3];
    for (gint64 i = 0; i < back.arg.count; i++) {
        const gint64 plane = i / places;
        array_set(&back, i, array_get(&y, (plane / L * places + i % places) * L + plane % L));
    }
    array_clear(&laid[1]);
    array_clear(&y);
    return back;
}

static void
compare(const char *what, const Conv *c, const Array *got, const Array *want)
{
    for (gint64 i = 0; i < want->arg.count; i++) {
        const double a = array_get(got, i), b = array_get(want, i);
        if (memcmp(&a, &b, sizeof a) != 0) {
            TN_FAIL("%s, %d to %d maps: element %d is %.9g, by itself %.9g", what, (int)c->c,
                    (int)(c->maps * L), (int)i, a, b);
            return;
        }
    }
}

static void
check_conv(const Conv *c)
{
    const gint64 x[] = { L, c->c, c->h, c->w }, m = c->maps * L;
    const gint64 w[] = { m, c->c, c->k[0], c->k[1] };
    const TnConvAttrs attrs = attrs_of(c, 2);
    const char *op = c->bias ? "conv_bias" : "conv";
    const gint n_in = c->bias ? 3 : 2;
    Array in[] = { array_new(tn_type(TN_DTYPE_F32, 4, x), NULL),
                   array_new(tn_type(TN_DTYPE_F32, 4, w), NULL),
                   array_new(tn_type(TN_DTYPE_F32, 1, &m), NULL) };
    for (guint i = 0; i < G_N_ELEMENTS(in); i++) {
        for (gint64 k = 0; k < in[i].arg.count; k++) {
            array_set(&in[i], k, 2 * noise_unit(&state) - 1);
        }
    }
    Array want;
    gint n_out;
    op_run("cpu", op, &attrs, n_in, in, &n_out, &want);
    Array lanes = by_lanes(c, op, n_in, in, want.arg.type);
    Array blocks = by_blocks(c, n_in, in, want.arg.type);
    compare("sixteen at once", c, &lanes, &want);
    compare("in blocks", c, &blocks, &want);
    Array *const all[] = { &in[0], &in[1], &in[2], &want, &lanes, &blocks };
    for (guint i = 0; i < G_N_ELEMENTS(all); i++) {
        array_clear(all[i]);
    }
}

static void
convolutions(void)
{
    static const Conv shapes[] = {
        { 6, 1, 14, 14, { 5, 5 }, 0, { 1, 1 }, TRUE },
        { 1, 2, 12, 13, { 3, 3 }, 1, { 1, 1 }, FALSE },
        { 3, 3, 9, 21, { 3, 2 }, 1, { 2, 1 }, TRUE },
        { 7, 1, 15, 17, { 2, 3 }, 0, { 1, 2 }, FALSE },
        { 2, 4, 8, 8, { 1, 3 }, 0, { 1, 1 }, TRUE },
    };
    open_plugins();
    tn_registry_open("nn", NULL);
    batch_invariant = TRUE;
    for (guint i = 0; i < G_N_ELEMENTS(shapes); i++) {
        check_conv(&shapes[i]);
    }
    batch_invariant = FALSE;
}

static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2",
                                         "TENON_CPU_ISA=avx512", NULL },
                  (const char *const[]){ "sums", "convolutions", NULL });
}

static const TnTest tests[] = {
    { "sums", sums },
    { "convolutions", convolutions },
    { "other instruction sets", other_instruction_sets },
};
TN_TEST_MAIN("cpu samples", tests)
