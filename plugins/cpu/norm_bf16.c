/* norm_bf16.c: batch normalisation of bf16 while training, and its gradient: parameters, statistics and
 * sums in f32, over blocks in f64.
 *
 * Both moments come of one pass, of what is left of numbers after one of them is taken away: so nothing
 * is lost where the mean is far from 0 (Chan, Golub and LeVeque, Algorithms for Computing the Sample
 * Variance, 1983). */
#include <math.h>

#include <tenon/nn.h>

#include "bf16.h"
#include "cpu.h"
#include "tables.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define BLOCK 2048
#define LANES 16

/* Over n <= BLOCK neighbours. */
typedef struct {
    /* Sums of x - shift and of its square. */
    void (*moments)(const guint16 *x, gint64 n, float shift, float *sums);
    /* Sums of g and of g (x - shift). */
    void (*sums)(const guint16 *x, const guint16 *g, gint64 n, float shift, float *sums);
    /* y = a x + b g + c; g NULL: without it. */
    void (*combine)(const guint16 *x, const guint16 *g, gint64 n, const float *abc, guint16 *y);
} Loops;

/* --- Any processor ---------------------------------------------------------------------------- */

static CPU_INLINE void
moments_body(const guint16 *x, gint64 n, float shift, float *sums)
{
    float first[LANES] = { 0 }, second[LANES] = { 0 };
    for (gint64 i = 0; i < n; i++) {
        const float rest = cpu_bf16_wide(x[i]) - shift;
        first[i % LANES] += rest;
        second[i % LANES] += rest * rest;
    }
    sums[0] = sums[1] = 0;
    for (gint j = 0; j < LANES; j++) {
        sums[0] += first[j];
        sums[1] += second[j];
    }
}

static CPU_INLINE void
sums_body(const guint16 *x, const guint16 *g, gint64 n, float shift, float *sums)
{
    float first[LANES] = { 0 }, second[LANES] = { 0 };
    for (gint64 i = 0; i < n; i++) {
        first[i % LANES] += cpu_bf16_wide(g[i]);
        second[i % LANES] += cpu_bf16_wide(g[i]) * (cpu_bf16_wide(x[i]) - shift);
    }
    sums[0] = sums[1] = 0;
    for (gint j = 0; j < LANES; j++) {
        sums[0] += first[j];
        sums[1] += second[j];
    }
}

static CPU_INLINE void
combine_body(const guint16 *x, const guint16 *g, gint64 n, const float *abc, guint16 *y)
{
    for (gint64 i = 0; i < n; i++) {
        const float own = abc[0] * cpu_bf16_wide(x[i]) + abc[2];
        y[i] = cpu_bf16_narrow(g != NULL ? own + abc[1] * cpu_bf16_wide(g[i]) : own);
    }
}

CPU_FUNCTIONS(moments, (const guint16 *x, gint64 n, float shift, float *sums), (x, n, shift, sums))
CPU_FUNCTIONS(sums, (const guint16 *x, const guint16 *g, gint64 n, float shift, float *sums),
              (x, g, n, shift, sums))
CPU_FUNCTIONS(combine, (const guint16 *x, const guint16 *g, gint64 n, const float *abc, guint16 *y),
              (x, g, n, abc, y))

static const Loops plain[CPU_N_ISA] = {
    [CPU_PORTABLE] = { moments_portable, sums_portable, combine_portable },
    [CPU_AVX2] = { moments_avx2, sums_avx2, combine_avx2 },
    [CPU_AVX512] = { moments_avx512, sums_avx512, combine_avx512 },
};

/* --- AVX512_BF16 ------------------------------------------------------------------------------ */

#if defined(__x86_64__)

CPU_TARGET_PAIRS static inline __mmask16
mask(gint64 left)
{
    return left >= LANES ? 0xffff : (__mmask16)((1u << left) - 1);
}

CPU_TARGET_PAIRS static inline __m512
load(const guint16 *x, __mmask16 in)
{
    const __m512i bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(in, x));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}

CPU_TARGET_PAIRS static void
moments_fast(const guint16 *x, gint64 n, float shift, float *sums)
{
    __m512 first[2], second[2];
    first[0] = first[1] = second[0] = second[1] = _mm512_setzero_ps();
    for (gint64 i = 0; i < n; i += 2 * LANES) {
        for (gint j = 0; j < 2; j++) {
            const gint64 at = MIN(n, i + j * LANES);
            const __mmask16 in = mask(n - at);
            const __m512 rest = _mm512_maskz_sub_ps(in, load(x + at, in), _mm512_set1_ps(shift));
            first[j] = _mm512_add_ps(first[j], rest);
            second[j] = _mm512_fmadd_ps(rest, rest, second[j]);
        }
    }
    sums[0] = _mm512_reduce_add_ps(_mm512_add_ps(first[0], first[1]));
    sums[1] = _mm512_reduce_add_ps(_mm512_add_ps(second[0], second[1]));
}

CPU_TARGET_PAIRS static void
sums_fast(const guint16 *x, const guint16 *g, gint64 n, float shift, float *sums)
{
    __m512 first[2], second[2];
    first[0] = first[1] = second[0] = second[1] = _mm512_setzero_ps();
    for (gint64 i = 0; i < n; i += 2 * LANES) {
        for (gint j = 0; j < 2; j++) {
            const gint64 at = MIN(n, i + j * LANES);
            const __mmask16 in = mask(n - at);
            const __m512 rest = _mm512_maskz_sub_ps(in, load(x + at, in), _mm512_set1_ps(shift));
            const __m512 grad = load(g + at, in);
            first[j] = _mm512_add_ps(first[j], grad);
            second[j] = _mm512_fmadd_ps(grad, rest, second[j]);
        }
    }
    sums[0] = _mm512_reduce_add_ps(_mm512_add_ps(first[0], first[1]));
    sums[1] = _mm512_reduce_add_ps(_mm512_add_ps(second[0], second[1]));
}

CPU_TARGET_PAIRS static void
combine_fast(const guint16 *x, const guint16 *g, gint64 n, const float *abc, guint16 *y)
{
    const __m512 a = _mm512_set1_ps(abc[0]), b = _mm512_set1_ps(abc[1]);
    const __m512 c = _mm512_set1_ps(abc[2]);
    for (gint64 i = 0; i < n; i += LANES) {
        const __mmask16 in = mask(n - i);
        __m512 value = _mm512_fmadd_ps(load(x + i, in), a, c);
        if (g != NULL) {
            value = _mm512_fmadd_ps(load(g + i, in), b, value);
        }
        _mm256_mask_storeu_epi16(y + i, in, (__m256i)_mm512_cvtneps_pbh(value));
    }
}

static const Loops fast = { moments_fast, sums_fast, combine_fast };
#endif

static const Loops *
loops(void)
{
#if defined(__x86_64__)
    if (cpu_bf16 != CPU_BF16_PLAIN) {
        return &fast;
    }
#endif
    return &plain[cpu_isa];
}

/* --- Channels --------------------------------------------------------------------------------- */

typedef struct {
    double epsilon;
    gint64 batch, channels, run; /* [batch, channels, run] */
} Plan;

typedef struct {
    const Plan *plan;
    const guint16 *x, *g; /* g NULL: forward */
    const float *scale, *bias, *mean, *var;
    guint16 *y;
    float *out[2];
} Job;

/* Two sums over a channel, of its blocks in order. */
static void
sum_channel(const Job *job, gint64 channel, float shift, double *sums)
{
    const Plan *plan = job->plan;
    sums[0] = sums[1] = 0;
    for (gint64 i = 0; i < plan->batch; i++) {
        const gint64 first = (i * plan->channels + channel) * plan->run;
        for (gint64 at = first; at < first + plan->run; at += BLOCK) {
            const gint64 n = MIN(BLOCK, first + plan->run - at);
            float part[2];
            if (job->g != NULL) {
                loops()->sums(job->x + at, job->g + at, n, shift, part);
            } else {
                loops()->moments(job->x + at, n, shift, part);
            }
            sums[0] += (double)part[0];
            sums[1] += (double)part[1];
        }
    }
}

static void
combine_channel(const Job *job, gint64 channel, double a, double b, double c)
{
    const Plan *plan = job->plan;
    const float abc[] = { (float)a, (float)b, (float)c };
    for (gint64 i = 0; i < plan->batch; i++) {
        const gint64 at = (i * plan->channels + channel) * plan->run;
        loops()->combine(job->x + at, job->g != NULL ? job->g + at : NULL, plan->run, abc,
                         job->y + at);
    }
}

static void
forward(const Job *job, gint64 channel)
{
    const Plan *plan = job->plan;
    const double count = (double)(plan->batch * plan->run);
    const float begin = cpu_bf16_wide(job->x[channel * plan->run]),
                shift = isfinite(begin) ? begin : 0;
    double sums[2];
    sum_channel(job, channel, shift, sums);
    const double rest = sums[0] / count, mean = rest + (double)shift;
    const double variance = MAX(0, sums[1] / count - rest * rest);
    const double factor = (double)job->scale[channel] / sqrt(variance + plan->epsilon);
    combine_channel(job, channel, factor, 0, (double)job->bias[channel] - mean * factor);
    job->out[0][channel] = (float)mean;
    job->out[1][channel] = (float)variance;
}

/* dx = scale / deviation (g - mean (g) - h mean (g h)), h = (x - mean) / deviation. */
static void
backward(const Job *job, gint64 channel)
{
    const Plan *plan = job->plan;
    const double count = (double)(plan->batch * plan->run), mean = (double)job->mean[channel];
    const double inverse = 1 / sqrt((double)job->var[channel] + plan->epsilon);
    double sums[2];
    sum_channel(job, channel, (float)mean, sums);
    const double along = sums[1] * inverse, factor = inverse * (double)job->scale[channel];
    const double slope = -factor * inverse * along / count;
    combine_channel(job, channel, slope, factor, -factor * sums[0] / count - slope * mean);
    job->out[0][channel] = (float)along;
    job->out[1][channel] = (float)sums[0];
}

static TnStatus
channel_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    (void)n;
    if (job->g != NULL) {
        backward(job, (gint64)chunk);
    } else {
        forward(job, (gint64)chunk);
    }
    return TN_OK;
}

static TnStatus
run_job(Job *job)
{
    const Plan *plan = job->plan;
    if (plan->batch * plan->channels * plan->run >= CPU_GRAIN) {
        return tn_parallel_for((gsize)plan->channels, channel_chunk, job);
    }
    for (gint64 channel = 0; channel < plan->channels; channel++) {
        channel_chunk(job, (gsize)channel, (gsize)plan->channels);
    }
    return TN_OK;
}

static TnStatus
run_batch(void *state, const TnRun *run)
{
    Job job = { .plan = state,
                .x = run->in[0],
                .scale = run->in[1],
                .bias = run->in[2],
                .y = run->out[0],
                .out = { run->out[1], run->out[2] } };
    return run_job(&job);
}

static TnStatus
run_batch_grad(void *state, const TnRun *run)
{
    Job job = { .plan = state,
                .x = run->in[0],
                .scale = run->in[1],
                .mean = run->in[2],
                .var = run->in[3],
                .g = run->in[4],
                .y = run->out[0],
                .out = { run->out[1], run->out[2] } };
    return run_job(&job);
}

/* Images of bf16, all of each channel f32; runs of neighbours long enough to be vectors. */
static gboolean
claims(const TnNode *node)
{
    const TnType *x = &node->in[0].type;
    for (gint i = 1; i < node->n_in; i++) {
        const TnDtype want = node->in[i].type.rank > 1 ? TN_DTYPE_BF16 : TN_DTYPE_F32;
        if (node->in[i].type.dtype != want) {
            return FALSE;
        }
    }
    return node->in[0].count > 0 && cpu_count(x->rank - 2, x->dims + 2) >= 16;
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnEpsilonAttrs *attrs = node->attrs;
    const TnType *x = &node->in[0].type;
    Plan *plan = g_new0(Plan, 1);
    (void)error;
    plan->epsilon = attrs->epsilon;
    plan->batch = x->dims[0];
    plan->channels = x->dims[1];
    plan->run = cpu_count(x->rank - 2, x->dims + 2);
    prepared->state = plan;
    return TRUE;
}

#define ROW(name, run_)                                                                            \
    {                                                                                              \
        .op = (name), .dtypes = TN_DT(BF16), .flags = TN_KERNEL_LANES, .claims = claims,           \
        .prepare = prepare, .run = (run_), .release = g_free                                       \
    }

static const TnKernel kernels[] = {
    ROW("batch_normalization_training", run_batch),
    ROW("batch_normalization_grad", run_batch_grad),
};

const TnKernelTable cpu_norm_bf16 = CPU_TABLE(kernels);
