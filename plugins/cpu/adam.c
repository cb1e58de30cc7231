/* adam.c: steps of Adam and AdamW over f32, one pass over parameter, gradient and moments. What is the
 * same for all elements is computed in f64, as in the operator's body.
 *
 * With AVX-512 the division and the root, which take longer than all else, are estimates of 14 bits and one
 * step of Newton: within 3 ulp of the direction. Moments are sums of products, there rounded once less. */
#include "adam.h"

#include <float.h>
#include <math.h>

#include "tables.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { PARAM, GRAD, MEAN, SQUARE, LR, STEP };

typedef struct {
    CpuAdam adam;
    gboolean narrow; /* gradients of bf16 */
    gint64 n, per_chunk;
} Plan;

/* --- Elements --------------------------------------------------------------------------------- */

static CPU_INLINE float
grad_at(const void *grad, gint64 i, gboolean narrow)
{
    guint32 bits;
    if (!narrow) {
        return ((const float *)grad)[i];
    }
    bits = (guint32)((const guint16 *)grad)[i] << 16;
    float g;
    memcpy(&g, &bits, sizeof g);
    return g;
}

static CPU_INLINE void
elements_body(const AdamNumbers *s, const AdamElements *e, gint64 n, gboolean narrow)
{
    CPU_LOOP
    for (gint64 i = 0; i < n; i++) {
        const float old = e->old_param[i], grad = grad_at(e->grad, i, narrow);
        const float g = s->decay != 0 ? grad + old * s->decay : grad;
        const float mean = e->old_mean[i] * s->keep1 + g * s->add1;
        const float square = e->old_square[i] * s->keep2 + g * g * s->add2;
        const float size = sqrtf(square) / s->root + s->eps;
        e->mean[i] = mean;
        e->square[i] = square;
        e->param[i] = old * s->left - mean / size * s->rate;
    }
}

/* Row r alone. */
static CPU_INLINE AdamElements
row_of(const AdamElements *e, gint64 r)
{
    const gint64 at = r * e->row, size = e->narrow ? sizeof(guint16) : sizeof(float);
    return (AdamElements){ e->param + at,
                           e->mean + at,
                           e->square + at,
                           e->old_param + at,
                           e->old_mean + at,
                           e->old_square + at,
                           (const char *)e->grad + r * e->grad_row * size,
                           e->narrow,
                           e->row,
                           e->grad_row };
}

static CPU_INLINE void
step_body(const AdamNumbers *s, const AdamElements *e, gint64 rows, gint64 n)
{
    for (gint64 r = 0; r < rows; r++) {
        const AdamElements row = row_of(e, r);
        if (e->narrow) {
            elements_body(s, &row, n, TRUE);
        } else {
            elements_body(s, &row, n, FALSE);
        }
    }
}

#if defined(__x86_64__)
/* 1 / (sqrt (square) + eps). 0 is kept away from the estimate of the root, where a step of Newton would make
 * NaN of it, and an infinite square gives 0; of NaN and another number `max` gives the second. */
CPU_TARGET_AVX512 static inline __m512
inverse(__m512 square, __m512 eps)
{
    const __mmask16 finite = _mm512_cmp_ps_mask(square, _mm512_set1_ps(INFINITY), _CMP_NEQ_UQ);
    const __m512 r = _mm512_rsqrt14_ps(_mm512_max_ps(_mm512_set1_ps(FLT_MIN), square));
    const __m512 y = _mm512_mul_ps(square, r);
    const __m512 more =
        _mm512_fnmadd_ps(_mm512_mul_ps(y, r), _mm512_set1_ps(0.5f), _mm512_set1_ps(1.5f));
    const __m512 size = _mm512_fmadd_ps(y, more, eps);
    const __m512 q = _mm512_rcp14_ps(size);
    return _mm512_maskz_mul_ps(finite, q, _mm512_fnmadd_ps(size, q, _mm512_set1_ps(2)));
}

CPU_TARGET_AVX512 static inline __m512
grad_avx512(const void *grad, gint64 i, __mmask16 in, gboolean narrow)
{
    if (!narrow) {
        return _mm512_maskz_loadu_ps(in, (const float *)grad + i);
    }
    const __m256i half = _mm256_maskz_loadu_epi16(in, (const guint16 *)grad + i);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

typedef struct {
    __m512 keep1, add1, keep2, add2, eps, rate, decay, left;
} Vectors;

/* The elements `in` of 16 from i on. decays: nothing of an infinite parameter goes into gradients otherwise.
 * rate / (sqrt (square) / root + eps) = rate root / (sqrt (square) + eps root). */
CPU_TARGET_AVX512 static CPU_INLINE void
sixteen(const Vectors *s, const AdamElements *e, gint64 i, __mmask16 in, gboolean narrow,
        gboolean decays)
{
    const __m512 old = _mm512_maskz_loadu_ps(in, e->old_param + i);
    const __m512 old_mean = _mm512_maskz_loadu_ps(in, e->old_mean + i);
    const __m512 old_square = _mm512_maskz_loadu_ps(in, e->old_square + i);
    __m512 g = grad_avx512(e->grad, i, in, narrow);
    if (decays) {
        g = _mm512_fmadd_ps(old, s->decay, g);
    }
    const __m512 mean = _mm512_fmadd_ps(old_mean, s->keep1, _mm512_mul_ps(g, s->add1));
    const __m512 square =
        _mm512_fmadd_ps(old_square, s->keep2, _mm512_mul_ps(_mm512_mul_ps(g, g), s->add2));
    const __m512 share = _mm512_mul_ps(inverse(square, s->eps), s->rate);
    _mm512_mask_storeu_ps(e->mean + i, in, mean);
    _mm512_mask_storeu_ps(e->square + i, in, square);
    _mm512_mask_storeu_ps(e->param + i, in,
                          _mm512_fnmadd_ps(mean, share, _mm512_mul_ps(old, s->left)));
}

CPU_TARGET_AVX512 static CPU_INLINE void
rows_avx512(const AdamNumbers *s, const AdamElements *e, gint64 rows, gint64 n, gboolean narrow,
            gboolean decays)
{
    const Vectors vectors = {
        _mm512_set1_ps(s->keep1),         _mm512_set1_ps(s->add1),
        _mm512_set1_ps(s->keep2),         _mm512_set1_ps(s->add2),
        _mm512_set1_ps(s->eps * s->root), _mm512_set1_ps(s->rate * s->root),
        _mm512_set1_ps(s->decay),         _mm512_set1_ps(s->left),
    };
    for (gint64 r = 0; r < rows; r++) {
        const AdamElements row = row_of(e, r);
        gint64 i = 0;
        for (; i + 16 <= n; i += 16) {
            sixteen(&vectors, &row, i, 0xffff, narrow, decays);
        }
        if (i < n) {
            sixteen(&vectors, &row, i, (__mmask16)((1u << (n - i)) - 1), narrow, decays);
        }
    }
}

CPU_TARGET_AVX512 static void
step_avx512(const AdamNumbers *s, const AdamElements *e, gint64 rows, gint64 n)
{
    if (e->narrow) {
        rows_avx512(s, e, rows, n, TRUE, s->decay != 0);
    } else if (s->decay != 0) {
        rows_avx512(s, e, rows, n, FALSE, TRUE);
    } else {
        rows_avx512(s, e, rows, n, FALSE, FALSE);
    }
}
#else
#define step_avx512 step_portable
#endif

static void
step_portable(const AdamNumbers *s, const AdamElements *e, gint64 rows, gint64 n)
{
    step_body(s, e, rows, n);
}

CPU_TARGET_AVX2 static void
step_avx2(const AdamNumbers *s, const AdamElements *e, gint64 rows, gint64 n)
{
    step_body(s, e, rows, n);
}

static const AdamFn steps[CPU_N_ISA] = { step_portable, step_avx2, step_avx512 };

/* Moments too small for the estimates to see must not count: beside eps they do not. Nor is a divisor ever
 * too large for them. */
gboolean
cpu_adam_fits(const TnAdamAttrs *attrs)
{
    return attrs->eps >= 1e-12 && attrs->eps <= 1e30;
}

CpuAdam
cpu_adam_plan(const TnAdamAttrs *attrs, gboolean decays_itself)
{
    return (CpuAdam){ *attrs, decays_itself, steps[cpu_isa] };
}

AdamNumbers
cpu_adam_numbers(const CpuAdam *adam, double lr, double step)
{
    const TnAdamAttrs *a = &adam->attrs;
    return (AdamNumbers){
        .keep1 = (float)a->beta1,
        .add1 = (float)(1 - a->beta1),
        .keep2 = (float)a->beta2,
        .add2 = (float)(1 - a->beta2),
        .root = (float)sqrt(1 - pow(a->beta2, step)),
        .eps = (float)a->eps,
        .rate = (float)(lr / (1 - pow(a->beta1, step))),
        .decay = adam->decays_itself ? 0 : (float)a->weight_decay,
        .left = adam->decays_itself ? (float)(1 - lr * a->weight_decay) : 1,
    };
}

/* --- Running ---------------------------------------------------------------------------------- */

typedef struct {
    const Plan *plan;
    AdamNumbers numbers;
    AdamElements elements; /* one row */
} Job;

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const gint64 at = (gint64)chunk * plan->per_chunk;
    AdamElements all = job->elements;
    all.row = all.grad_row = at;
    const AdamElements part = row_of(&all, 1);
    (void)n;
    plan->adam.step(&job->numbers, &part, 1, MIN(plan->per_chunk, plan->n - at));
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *plan = state;
    const double lr = *(const double *)run->in[LR], step = *(const double *)run->in[STEP];
    Job job = {
        .plan = plan,
        .numbers = cpu_adam_numbers(&plan->adam, lr, step),
        .elements = { run->out[0], run->out[1], run->out[2], run->in[PARAM], run->in[MEAN],
                      run->in[SQUARE], run->in[GRAD], plan->narrow },
    };
    if (plan->n == 0) {
        return TN_OK;
    }
    return tn_parallel_for((gsize)((plan->n + plan->per_chunk - 1) / plan->per_chunk), run_chunk,
                           &job);
}

static gboolean
claims(const TnNode *node)
{
    for (gint i = PARAM; i <= SQUARE; i++) {
        const TnDtypes dtypes = i == GRAD ? TN_DT(F32) | TN_DT(BF16) : TN_DT(F32);
        if (!tn_dtype_in(node->in[i].type.dtype, dtypes)) {
            return FALSE;
        }
    }
    return node->in[LR].type.dtype == TN_DTYPE_F64 && node->in[STEP].type.dtype == TN_DTYPE_F64 &&
           cpu_adam_fits(node->attrs);
}

static void
prepare(const TnNode *node, TnPrepared *prepared, gboolean decays_itself)
{
    Plan *plan = g_new(Plan, 1);
    *plan = (Plan){
        .adam = cpu_adam_plan(node->attrs, decays_itself),
        .narrow = node->in[GRAD].type.dtype == TN_DTYPE_BF16,
        .n = node->in[PARAM].count,
        .per_chunk = (cpu_items_per_chunk(node->in[PARAM].count, 4) + 15) & ~(gint64)15,
    };
    prepared->state = plan;
}

static gboolean
prepare_adam(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    prepare(node, prepared, FALSE);
    return TRUE;
}

static gboolean
prepare_adamw(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    prepare(node, prepared, TRUE);
    return TRUE;
}

#define ROW(name, prepare_)                                                                        \
    {                                                                                              \
        .op = (name), .dtypes = TN_DT(F32), .flags = TN_KERNEL_IN_PLACE, .rank = 1,                \
        .claims = claims, .prepare = (prepare_), .run = run, .release = g_free                     \
    }

static const TnKernel kernels[] = {
    ROW("adam_step", prepare_adam),
    ROW("adamw_step", prepare_adamw),
};

const TnKernelTable cpu_adam = CPU_TABLE(kernels);
