/* linear_thin_bf16.c: linear layers of bf16 for a few samples, which take as long as their weights are
 * read: each weight once, from where it lies, not copied. Sums run along the rows of x and w in
 * vectors, whose elements are added in the end. */
#include "bf16.h"
#include "tables.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define MOST_ROWS 4

/* Sum of x[i] w[i]. */
typedef float (*DotFn)(const guint16 *x, const guint16 *w, gint64 n);

typedef struct {
    gint64 rows, n, k, per_chunk; /* n: of outputs */
    gboolean wide, bias;
    DotFn dot;
} Plan;

typedef struct {
    const Plan *plan;
    const guint16 *x, *w, *bias;
    char *out;
} Job;

/* --- Products --------------------------------------------------------------------------------- */

enum { LANES = 16 };

static CPU_INLINE float
dot_body(const guint16 *x, const guint16 *w, gint64 n)
{
    float sum[LANES] = { 0 }, all = 0;
    gint64 i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (gint j = 0; j < LANES; j++) {
            sum[j] += cpu_bf16_wide(x[i + j]) * cpu_bf16_wide(w[i + j]);
        }
    }
    for (gint j = 0; i + j < n; j++) {
        sum[j] += cpu_bf16_wide(x[i + j]) * cpu_bf16_wide(w[i + j]);
    }
    for (gint j = 0; j < LANES; j++) {
        all += sum[j];
    }
    return all;
}

static float
dot_portable(const guint16 *x, const guint16 *w, gint64 n)
{
    return dot_body(x, w, n);
}

CPU_TARGET_AVX2 static float
dot_avx2(const guint16 *x, const guint16 *w, gint64 n)
{
    return dot_body(x, w, n);
}

CPU_TARGET_AVX512 static float
dot_avx512(const guint16 *x, const guint16 *w, gint64 n)
{
    return dot_body(x, w, n);
}

static const DotFn plain[CPU_N_ISA] = { dot_portable, dot_avx2, dot_avx512 };

#if defined(__x86_64__)

CPU_TARGET_PAIRS static float
dot_pairs(const guint16 *x, const guint16 *w, gint64 n)
{
    enum { SUMS = 4, STEP = 32 };
    __m512 sum[SUMS] = { _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                         _mm512_setzero_ps() };
    gint64 i = 0;
    for (; i + SUMS * STEP <= n; i += SUMS * STEP) {
        for (gint s = 0; s < SUMS; s++) {
            sum[s] = _mm512_dpbf16_ps(sum[s], (__m512bh)_mm512_loadu_si512(x + i + s * STEP),
                                      (__m512bh)_mm512_loadu_si512(w + i + s * STEP));
        }
    }
    for (; i < n; i += STEP) {
        const __mmask32 in = n - i >= STEP ? ~(__mmask32)0 : ((__mmask32)1 << (n - i)) - 1;
        sum[0] = _mm512_dpbf16_ps(sum[0], (__m512bh)_mm512_maskz_loadu_epi16(in, x + i),
                                  (__m512bh)_mm512_maskz_loadu_epi16(in, w + i));
    }
    return _mm512_reduce_add_ps(
        _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
}
#endif

static DotFn
dot_function(void)
{
#if defined(__x86_64__)
    if (cpu_bf16 != CPU_BF16_PLAIN) {
        return dot_pairs;
    }
#endif
    return plain[cpu_isa];
}

/* --- Running ---------------------------------------------------------------------------------- */

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n_chunks)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = (gint64)chunk * p->per_chunk, end = MIN(p->n, first + p->per_chunk);
    (void)n_chunks;
    for (gint64 j = first; j < end; j++) {
        const float bias = p->bias ? cpu_bf16_wide(job->bias[j]) : 0;
        for (gint64 i = 0; i < p->rows; i++) {
            const float y = p->dot(job->x + i * p->k, job->w + j * p->k, p->k) + bias;
            if (p->wide) {
                ((float *)(void *)job->out)[i * p->n + j] = y;
            } else {
                ((guint16 *)(void *)job->out)[i * p->n + j] = cpu_bf16_narrow(y);
            }
        }
    }
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *p = state;
    Job job = { p, run->in[0], run->in[1], p->bias ? run->in[2] : NULL, run->out[0] };
    return tn_parallel_for((gsize)cpu_parts(p->n, p->per_chunk), run_chunk, &job);
}

/* Samples by themselves are summed as many are (TnNode.batch_invariant). */
static gboolean
claims(const TnNode *node)
{
    const TnArg *x = &node->in[0], *w = &node->in[1];
    const gint rank = x->type.rank;
    return !node->batch_invariant && rank <= 2 && x->count > 0 && w->count > 0 &&
           (rank == 1 || x->type.dims[0] <= MOST_ROWS);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnArg *x = &node->in[0], *w = &node->in[1];
    Plan *p = g_new0(Plan, 1);
    (void)error;
    p->rows = x->type.rank > 1 ? x->type.dims[0] : 1;
    p->n = w->type.dims[0];
    p->k = w->type.dims[1];
    p->bias = node->n_in > 2 && node->in[2].type.dtype != TN_DTYPE_NONE;
    p->wide = node->out[0].type.dtype == TN_DTYPE_F32;
    p->dot = dot_function();
    p->per_chunk = cpu_items_per_chunk(p->n, p->k);
    prepared->state = p;
    return TRUE;
}

static const TnKernel kernels[] = {
    { .op = "linear",
      .dtypes = TN_DT(BF16),
      .rank = 21,
      .claims = claims,
      .prepare = prepare,
      .run = run,
      .release = g_free },
};

const TnKernelTable cpu_linear_thin_bf16 = CPU_TABLE(kernels);
