/* adam.c: steps of Adam and AdamW over f32, one pass over parameter, gradient and moments. What is the
 * same for all elements is computed in f64, as in the operator's body.
 *
 * With AVX-512 the division and the roots, which take longer than the memory does, are estimates of 14
 * bits and one step of Newton: within 3 ulp of the direction. Moments are exact everywhere. */
#include <float.h>
#include <math.h>

#include <tenon/nn.h>

#include "cpu.h"
#include "tables.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { PARAM, GRAD, MEAN, SQUARE, LR, STEP };

/* The numbers of a step. */
typedef struct {
    float keep1, add1, keep2, add2; /* of the moments */
    float root;                     /* sqrt (1 - beta2^step) */
    float eps, rate;                /* lr / (1 - beta1^step) */
    float decay;                    /* share of the parameter that is added to its gradient */
    float left;                     /* share of the parameter that stays, where it decays itself */
} Numbers;

typedef struct {
    float *param, *mean, *square; /* new */
    const float *old_param, *old_mean, *old_square;
    const void *grad; /* f32, or bf16 */
    gboolean narrow;
} Elements;

typedef void (*StepFn)(const Numbers *s, const Elements *e, gint64 n);

typedef struct {
    TnAdamAttrs attrs;
    gboolean decays_itself, narrow; /* narrow: gradients of bf16 */
    gint64 n, per_chunk;
    StepFn step;
} Plan;

static CPU_INLINE float
grad_at(const Elements *e, gint64 i, gboolean narrow)
{
    guint32 bits;
    if (!narrow) {
        return ((const float *)e->grad)[i];
    }
    bits = (guint32)((const guint16 *)e->grad)[i] << 16;
    float g;
    memcpy(&g, &bits, sizeof g);
    return g;
}

static CPU_INLINE void
elements_body(const Numbers *s, const Elements *e, gint64 n, gboolean narrow)
{
    CPU_LOOP
    for (gint64 i = 0; i < n; i++) {
        const float old = e->old_param[i], grad = grad_at(e, i, narrow);
        const float g = s->decay != 0 ? grad + old * s->decay : grad;
        const float mean = e->old_mean[i] * s->keep1 + g * s->add1;
        const float square = e->old_square[i] * s->keep2 + g * g * s->add2;
        const float size = sqrtf(square) / s->root + s->eps;
        e->mean[i] = mean;
        e->square[i] = square;
        e->param[i] = old * s->left - mean / size * s->rate;
    }
}

static CPU_INLINE void
step_body(const Numbers *s, const Elements *e, gint64 n)
{
    if (e->narrow) {
        elements_body(s, e, n, TRUE);
    } else {
        elements_body(s, e, n, FALSE);
    }
}

#if defined(__x86_64__)
/* mean / (sqrt (square) / root + eps). 0 and infinity are kept away from the estimates, where a step of
 * Newton would make NaN of them; of NaN and another number the second operand comes through. */
CPU_TARGET_AVX512 static inline __m512
direction(__m512 mean, __m512 square, __m512 unroot, __m512 eps)
{
    const __m512 most = _mm512_set1_ps(FLT_MAX), least = _mm512_set1_ps(FLT_MIN);
    const __m512 half = _mm512_set1_ps(0.5f), three_halves = _mm512_set1_ps(1.5f);
    const __m512 x = _mm512_max_ps(least, _mm512_min_ps(most, square));
    __m512 r = _mm512_rsqrt14_ps(x);
    r = _mm512_mul_ps(r,
                      _mm512_fnmadd_ps(_mm512_mul_ps(_mm512_mul_ps(half, x), r), r, three_halves));
    const __m512 size = _mm512_fmadd_ps(_mm512_mul_ps(square, r), unroot, eps);
    const __m512 d = _mm512_max_ps(least, _mm512_min_ps(most, size));
    __m512 q = _mm512_rcp14_ps(d);
    q = _mm512_mul_ps(q, _mm512_fnmadd_ps(d, q, _mm512_set1_ps(2)));
    return _mm512_mul_ps(mean, q);
}

CPU_TARGET_AVX512 static inline __m512
grad_avx512(const Elements *e, gint64 i, __mmask16 in)
{
    if (!e->narrow) {
        return _mm512_maskz_loadu_ps(in, (const float *)e->grad + i);
    }
    const __m256i half = _mm256_maskz_loadu_epi16(in, (const guint16 *)e->grad + i);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

CPU_TARGET_AVX512 static void
step_avx512(const Numbers *s, const Elements *e, gint64 n)
{
    const __m512 keep1 = _mm512_set1_ps(s->keep1), add1 = _mm512_set1_ps(s->add1);
    const __m512 keep2 = _mm512_set1_ps(s->keep2), add2 = _mm512_set1_ps(s->add2);
    const __m512 unroot = _mm512_set1_ps(1 / s->root), eps = _mm512_set1_ps(s->eps);
    const __m512 rate = _mm512_set1_ps(s->rate), left = _mm512_set1_ps(s->left);
    const __m512 decay = _mm512_set1_ps(s->decay);
    for (gint64 i = 0; i < n; i += 16) {
        const __mmask16 in = n - i >= 16 ? 0xffff : (__mmask16)((1u << (n - i)) - 1);
        const __m512 old = _mm512_maskz_loadu_ps(in, e->old_param + i);
        __m512 g = grad_avx512(e, i, in);
        if (s->decay != 0) { /* nothing of an infinite parameter */
            g = _mm512_add_ps(g, _mm512_mul_ps(old, decay));
        }
        const __m512 mean =
            _mm512_add_ps(_mm512_mul_ps(_mm512_maskz_loadu_ps(in, e->old_mean + i), keep1),
                          _mm512_mul_ps(g, add1));
        const __m512 square =
            _mm512_add_ps(_mm512_mul_ps(_mm512_maskz_loadu_ps(in, e->old_square + i), keep2),
                          _mm512_mul_ps(_mm512_mul_ps(g, g), add2));
        const __m512 way = _mm512_mul_ps(direction(mean, square, unroot, eps), rate);
        _mm512_mask_storeu_ps(e->mean + i, in, mean);
        _mm512_mask_storeu_ps(e->square + i, in, square);
        _mm512_mask_storeu_ps(e->param + i, in, _mm512_sub_ps(_mm512_mul_ps(old, left), way));
    }
}
#else
#define step_avx512 step_portable
#endif

static void
step_portable(const Numbers *s, const Elements *e, gint64 n)
{
    step_body(s, e, n);
}

CPU_TARGET_AVX2 static void
step_avx2(const Numbers *s, const Elements *e, gint64 n)
{
    step_body(s, e, n);
}

static const StepFn steps[CPU_N_ISA] = { step_portable, step_avx2, step_avx512 };

/* --- Running ---------------------------------------------------------------------------------- */

typedef struct {
    const Plan *plan;
    Numbers numbers;
    Elements elements;
} Job;

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const gint64 at = (gint64)chunk * plan->per_chunk;
    const Elements *e = &job->elements;
    const Elements part = {
        e->param + at,
        e->mean + at,
        e->square + at,
        e->old_param + at,
        e->old_mean + at,
        e->old_square + at,
        (const char *)e->grad + at * (gint64)(e->narrow ? sizeof(guint16) : sizeof(float)),
        e->narrow,
    };
    (void)n;
    plan->step(&job->numbers, &part, MIN(plan->per_chunk, plan->n - at));
    return TN_OK;
}

static Numbers
numbers_of(const Plan *plan, double lr, double step)
{
    const TnAdamAttrs *a = &plan->attrs;
    return (Numbers){
        .keep1 = (float)a->beta1,
        .add1 = (float)(1 - a->beta1),
        .keep2 = (float)a->beta2,
        .add2 = (float)(1 - a->beta2),
        .root = (float)sqrt(1 - pow(a->beta2, step)),
        .eps = (float)a->eps,
        .rate = (float)(lr / (1 - pow(a->beta1, step))),
        .decay = plan->decays_itself ? 0 : (float)a->weight_decay,
        .left = plan->decays_itself ? (float)(1 - lr * a->weight_decay) : 1,
    };
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *plan = state;
    const double lr = *(const double *)run->in[LR], step = *(const double *)run->in[STEP];
    Job job = {
        .plan = plan,
        .numbers = numbers_of(plan, lr, step),
        .elements = { run->out[0], run->out[1], run->out[2], run->in[PARAM], run->in[MEAN],
                      run->in[SQUARE], run->in[GRAD], plan->narrow },
    };
    if (plan->n == 0) {
        return TN_OK;
    }
    return tn_parallel_for((gsize)((plan->n + plan->per_chunk - 1) / plan->per_chunk), run_chunk,
                           &job);
}

/* Moments too small for the estimates to see must not count: beside eps they do not. */
static gboolean
claims(const TnNode *node)
{
    const TnAdamAttrs *attrs = node->attrs;
    for (gint i = PARAM; i <= SQUARE; i++) {
        const TnDtypes dtypes = i == GRAD ? TN_DT(F32) | TN_DT(BF16) : TN_DT(F32);
        if (!tn_dtype_in(node->in[i].type.dtype, dtypes)) {
            return FALSE;
        }
    }
    return node->in[LR].type.dtype == TN_DTYPE_F64 && node->in[STEP].type.dtype == TN_DTYPE_F64 &&
           attrs->eps >= 1e-12;
}

static void
prepare(const TnNode *node, TnPrepared *prepared, gboolean decays_itself)
{
    Plan *plan = g_new(Plan, 1);
    *plan = (Plan){
        .attrs = *(const TnAdamAttrs *)node->attrs,
        .decays_itself = decays_itself,
        .narrow = node->in[GRAD].type.dtype == TN_DTYPE_BF16,
        .n = node->in[PARAM].count,
        .per_chunk = (cpu_items_per_chunk(node->in[PARAM].count, 4) + 15) & ~(gint64)15,
        .step = steps[cpu_isa],
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
