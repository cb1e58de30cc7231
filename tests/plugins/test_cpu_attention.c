/* Attention on the cpu device and its gradient, of f32 and of bf16, against plain sums in f64: sizes around
 * the borders of blocks and vectors, masks of every kind, shared and strided operands, rows that attend to nothing,
 * NaN and infinities; the same bits with any number of threads. */
// tn-test: timeout=120 label=threads
#include "cpu_run.h"

#include <tenon/nn.h>

typedef enum { Q, K, V, OUT, SUM, G, MASK, N_PARTS } Part;

typedef struct {
    gint64 n, h, k_heads, l, s, e, d;
    TnAttentionAttrs attrs;
    char mask;        /* 0: none; b: bool; f: added; r: bool, one row for all */
    gboolean strided; /* q, k, v and g lie as [n, l, h, e] */
} Case;

typedef struct {
    const Case *c;
    TnDtype dtype;
    Array part[N_PARTS], dq, dk, dv;
    double *values[N_PARTS]; /* of the parts, contiguous; what judges reads them */
    gboolean gradients;      /* are judged too */
} Call;

static gint64
at4(const Array *array, gint64 n, gint64 h, gint64 row, gint64 col)
{
    const TnType *type = &array->arg.type;
    return ((n % type->dims[0] * type->dims[1] + h % type->dims[1]) * type->dims[2] +
            row % type->dims[2]) *
               type->dims[3] +
           col;
}

static Array
array4(TnDtype dtype, gint64 a, gint64 b, gint64 c, gint64 d, gboolean strided, guint64 *state)
{
    const gint64 dims[] = { a, b, c, d }, strides[] = { c * b * d, d, b * d, 1 };
    Array array = array_new(tn_type(dtype, 4, dims), strided ? strides : NULL);
    for (gint64 i = 0; i < array.arg.count; i++) {
        const double x = noise_unit(state);
        array_set(&array, i, dtype == TN_DTYPE_BOOL ? x < 0.7 : 4 * x - 2);
    }
    return array;
}

/* q, k, v, g and a mask of the case, whose row 1 attends to nothing. */
static void
call_new(Call *call, const Case *c, TnDtype dtype)
{
    guint64 state = 88172645463325252u + (guint64)(c->l * 131 + c->s);
    const gboolean st = c->strided;
    *call = (Call){ .c = c, .dtype = dtype, .gradients = TRUE };
    call->part[Q] = array4(dtype, c->n, c->h, c->l, c->e, st, &state);
    call->part[K] = array4(dtype, c->n, c->k_heads, c->s, c->e, st, &state);
    call->part[V] = array4(dtype, c->n, c->k_heads, c->s, c->d, st, &state);
    call->part[G] = array4(dtype, c->n, c->h, c->l, c->d, st, &state);
    if (c->mask != 0) {
        Array *mask = &call->part[MASK];
        *mask = array4(c->mask == 'f' ? dtype : TN_DTYPE_BOOL, c->mask == 'f' ? c->n : 1, 1,
                       c->mask == 'r' ? 1 : c->l, c->s, FALSE, &state);
        for (gint64 j = 0; mask->arg.type.dims[2] > 1 && j < c->s; j++) {
            array_set(mask, at4(mask, 0, 0, 1, j), c->mask == 'f' ? -INFINITY : 0);
        }
    }
}

static void
call_clear(Call *call)
{
    for (gint i = 0; i < N_PARTS; i++) {
        array_clear(&call->part[i]);
        g_free(call->values[i]);
    }
    array_clear(&call->dq);
    array_clear(&call->dk);
    array_clear(&call->dv);
}

static void
run(Call *call)
{
    g_autoptr(GError) error = NULL;
    const TnAttentionAttrs *attrs = &call->c->attrs;
    const TnOp *op = tn_op_find("scaled_dot_product_attention", &error);
    const TnOp *grad = tn_op_find("scaled_dot_product_attention_grad", &error);
    TN_REQUIRE_NO_ERROR(error);
    const gint masked = call->c->mask != 0;
    Array in[N_PARTS] = { call->part[Q], call->part[K], call->part[V], call->part[MASK] }, out[4];
    gint n_out;
    TN_REQUIRE(outputs_new(op, attrs, 3 + masked, in, NULL, &n_out, out, &error));
    TN_ASSERT(kernel_run("cpu", op, attrs, 3 + masked, in, n_out, out, NULL) == TN_OK);
    call->part[OUT] = out[0];
    call->part[SUM] = out[1];
    TN_REQUIRE(outputs_new(grad, attrs, 6 + masked, call->part, NULL, &n_out, out, &error));
    TN_ASSERT(kernel_run("cpu", grad, attrs, 6 + masked, call->part, n_out, out, NULL) == TN_OK);
    call->dq = out[0];
    call->dk = out[1];
    call->dv = out[2];
    for (gint i = 0; i < N_PARTS; i++) {
        call->values[i] = array_doubles(&call->part[i]);
    }
    TN_ASSERT(array_intact(&call->part[OUT]) && array_intact(&call->part[SUM]));
    TN_ASSERT(array_intact(&call->dq) && array_intact(&call->dk) && array_intact(&call->dv));
}

/* --- The same in f64 -------------------------------------------------------------------------- */

typedef struct {
    double *p, *out, *dk, *dv; /* a row's shares and result; gradients of all keys and values */
    double tolerated, worst;   /* difference, the latter in units of the former */
} Sums;

/* A row of a part, dimensions of 1 repeated. */
static const double *
row_at(const Call *call, Part part, gint64 n, gint64 h, gint64 i)
{
    return call->values[part] + at4(&call->part[part], n, h, i, 0);
}

static double
score(const Call *call, gint64 n, gint64 h, gint64 i, gint64 j)
{
    const Case *c = call->c;
    const double *q = row_at(call, Q, n, h, i), *k = row_at(call, K, n, h, j);
    double sum = 0;
    for (gint64 x = 0; x < c->e; x++) {
        sum += q[x] * k[x];
    }
    sum *= c->attrs.scale != 0 ? c->attrs.scale : 1 / sqrt((double)c->e);
    const double mask = c->mask ? row_at(call, MASK, n, 0, i)[j] : 0;
    sum = c->mask == 'f' ? sum + mask : c->mask && mask == 0 ? -INFINITY : sum;
    return c->attrs.causal && j > i ? -INFINITY : sum;
}

/* Both NaN, both the same infinity, or near each other. */
static void
compare(Sums *sums, double got, double want)
{
    const gboolean odd = !isfinite(got) || !isfinite(want);
    const gboolean same = (isnan(got) && isnan(want)) || got == want;
    const double off =
        odd ? (same ? 0 : INFINITY) : fabs(got - want) / (sums->tolerated * (1 + fabs(want)));
    sums->worst = off > sums->worst ? off : sums->worst;
}

static void
row(const Call *call, Sums *sums, gint64 n, gint64 h, gint64 i)
{
    const Case *c = call->c;
    const double scale = c->attrs.scale != 0 ? c->attrs.scale : 1 / sqrt((double)c->e);
    const double *q = row_at(call, Q, n, h, i), *g = row_at(call, G, n, h, i);
    const double *out = row_at(call, OUT, n, h, i);
    const gint64 keys = c->attrs.causal ? MIN(i + 1, c->s) : c->s;
    double max = -INFINITY, total = 0, weighed = 0;
    for (gint64 j = 0; j < c->s; j++) {
        sums->p[j] = score(call, n, h, i, j);
        max = sums->p[j] > max || isnan(sums->p[j]) ? sums->p[j] : max;
    }
    for (gint64 j = 0; j < c->s; j++) {
        total += exp(sums->p[j] - max);
    }
    const double log_sum = isinf(max) ? max : max + log(total);
    compare(sums, *row_at(call, SUM, n, h, i), log_sum);
    for (gint64 j = 0; j < c->s; j++) {
        sums->p[j] = max == -INFINITY ? 0 : exp(sums->p[j] - log_sum);
    }
    memset(sums->out, 0, (gsize)c->d * sizeof *sums->out);
    for (gint64 j = 0; j < keys; j++) {
        const double *v = row_at(call, V, n, h, j);
        for (gint64 x = 0; x < c->d; x++) {
            sums->out[x] += sums->p[j] * v[x];
        }
    }
    for (gint64 x = 0; x < c->d; x++) {
        compare(sums, out[x], sums->out[x]);
        weighed += sums->out[x] * g[x];
    }
    double dq[256] = { 0 };
    for (gint64 j = 0; j < keys && call->gradients; j++) {
        const gint64 key = (n * c->k_heads + h % c->k_heads) * c->s + j;
        const double *k = row_at(call, K, n, h, j), *v = row_at(call, V, n, h, j);
        double dp = -weighed;
        for (gint64 x = 0; x < c->d; x++) {
            dp += g[x] * v[x];
            sums->dv[key * c->d + x] += sums->p[j] * g[x];
        }
        const double of_score = sums->p[j] * dp * scale;
        for (gint64 x = 0; x < c->e; x++) {
            dq[x] += of_score * k[x];
            sums->dk[key * c->e + x] += of_score * q[x];
        }
    }
    for (gint64 x = 0; x < c->e && call->gradients; x++) {
        compare(sums, array_get(&call->dq, at4(&call->dq, n, h, i, x)), dq[x]);
    }
}

static void
judge(const Call *call)
{
    const Case *c = call->c;
    const gint64 keys = c->n * c->k_heads * c->s;
    Sums sums = { g_new0(double, c->s),
                  g_new0(double, c->d),
                  g_new0(double, keys * c->e),
                  g_new0(double, keys * c->d),
                  0,
                  0 };
    /* Shares and gradients of scores are rounded to bf16 in between. */
    sums.tolerated = call->dtype == TN_DTYPE_BF16 ? 0.05 : 2e-5;
    for (gint64 at = 0; at < c->n * c->h * c->l; at++) {
        row(call, &sums, at / c->l / c->h, at / c->l % c->h, at % c->l);
    }
    for (gint64 i = 0; i < keys * c->e && call->gradients; i++) {
        compare(&sums, array_get(&call->dk, i), sums.dk[i]);
    }
    for (gint64 i = 0; i < keys * c->d && call->gradients; i++) {
        compare(&sums, array_get(&call->dv, i), sums.dv[i]);
    }
    if (sums.worst > 1) {
        TN_FAIL("%s, l %d, s %d, e %d, d %d, %s, mask %c: %g times what is tolerated",
                tn_dtype_name(call->dtype), (int)c->l, (int)c->s, (int)c->e, (int)c->d,
                c->attrs.causal ? "causal" : "all", c->mask ? c->mask : '-', sums.worst);
    }
    g_free(sums.p);
    g_free(sums.out);
    g_free(sums.dk);
    g_free(sums.dv);
}

/* --- Tests ------------------------------------------------------------------------------------ */

static const Case cases[] = {
    { 1, 1, 1, 1, 1, 1, 1, { FALSE, 0 }, 0, FALSE },
    { 2, 3, 3, 7, 5, 4, 3, { FALSE, 0 }, 'b', FALSE },
    { 2, 4, 4, 128, 128, 32, 32, { TRUE, 0 }, 0, TRUE },
    { 1, 2, 2, 97, 97, 16, 64, { TRUE, 0.3 }, 'b', TRUE },
    { 1, 2, 1, 50, 193, 24, 40, { FALSE, 0 }, 'f', TRUE },
    { 2, 4, 1, 30, 70, 33, 80, { FALSE, -0.2 }, 'r', FALSE },
    { 1, 1, 1, 200, 210, 20, 17, { TRUE, 0 }, 0, FALSE },
    { 1, 1, 1, 210, 130, 8, 70, { TRUE, 0 }, 'f', TRUE },
    { 1, 2, 2, 13, 600, 20, 32, { FALSE, 1 }, 0, FALSE },
    { 1, 3, 3, 1, 77, 64, 64, { FALSE, 0 }, 0, TRUE },
};

static void
open_all(void)
{
    open_plugins();
    tn_registry_open("nn", NULL);
}

static const TnDtype dtypes[] = { TN_DTYPE_F32, TN_DTYPE_BF16 };

static void
agrees(void)
{
    open_all();
    for (guint i = 0; i < 2 * G_N_ELEMENTS(cases); i++) {
        Call call;
        call_new(&call, &cases[i / 2], dtypes[i % 2]);
        run(&call);
        judge(&call);
        call_clear(&call);
    }
}

/* In q a whole row, in k a place that later rows alone see, and scores that are too large. */
static void
odd_numbers(void)
{
    static const Case some[] = { { 1, 2, 2, 40, 40, 16, 16, { TRUE, 0 }, 0, FALSE },
                                 { 1, 1, 1, 20, 300, 8, 8, { FALSE, 0 }, 'b', FALSE } };
    static const double odd[] = { NAN, INFINITY, -INFINITY, 1e30, -0.0 };
    open_all();
    for (guint i = 0; i < 2 * G_N_ELEMENTS(some) * G_N_ELEMENTS(odd); i++) {
        const double x = odd[i / 2 / G_N_ELEMENTS(some)];
        Call call;
        call_new(&call, &some[i / 2 % G_N_ELEMENTS(some)], dtypes[i % 2]);
        array_set(&call.part[Q], at4(&call.part[Q], 0, 0, 5, 2), x);
        /* Differences of such numbers mean nothing; blocks of bf16 multiply them by 0 as well. */
        call.gradients = x != 1e30 && (isfinite(x) || call.dtype == TN_DTYPE_F32);
        run(&call);
        judge(&call);
        call_clear(&call);
    }
}

static void
any_threads(void)
{
    open_all();
    for (guint i = 4; i < 12; i++) {
        Call one, many;
        call_new(&one, &cases[i / 2], dtypes[i % 2]);
        call_new(&many, &cases[i / 2], dtypes[i % 2]);
        tn_pool_set_threads(1);
        run(&one);
        tn_pool_set_threads(3);
        run(&many);
        const Array *pairs[][2] = { { &one.part[OUT], &many.part[OUT] },
                                    { &one.part[SUM], &many.part[SUM] },
                                    { &one.dq, &many.dq },
                                    { &one.dk, &many.dk },
                                    { &one.dv, &many.dv } };
        for (guint k = 0; k < G_N_ELEMENTS(pairs); k++) {
            TN_ASSERT(memcmp(pairs[k][0]->block, pairs[k][1]->block, pairs[k][0]->bytes) == 0);
        }
        call_clear(&one);
        call_clear(&many);
    }
    tn_pool_set_threads(1);
}

static void
other_instruction_sets(void)
{
    tn_test_again((const char *const[]){ "TENON_CPU_ISA=portable", "TENON_CPU_ISA=avx2",
                                         "TENON_CPU_ISA=avx512", "TENON_CPU_ISA=avx512_bf16",
                                         NULL },
                  (const char *const[]){ "agrees", "odd_numbers", NULL });
}

static const TnTest tests[] = { { "agrees", agrees },
                                { "odd_numbers", odd_numbers },
                                { "any_threads", any_threads },
                                { "other_instruction_sets", other_instruction_sets } };

TN_TEST_MAIN("attention on cpu", tests)
