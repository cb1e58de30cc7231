/* linear_thin_bf16.c: linear layers of bf16 for a few samples, which take as long as their weights are
 * read: each weight once, from where it lies, not copied. Sums run along the rows of x and w in
 * vectors, whose elements are added in the end. Some rows of weights are read at once, as processors
 * fetch each ahead by itself, and begin anew with every row. */
#include "bf16.h"
#include "tables.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define MOST_ROWS 4

/* y[r] = sum of x[i] w[r][i], for AT_ONCE rows [n] of w or fewer. */
#define AT_ONCE 4
typedef void (*DotsFn)(const guint16 *x, const guint16 *w, gint64 n, gint rows, float *y);

typedef struct {
    gint64 rows, n, k, per_chunk; /* n: of outputs */
    gboolean wide, bias;
    DotsFn dots;
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

static CPU_INLINE void
dots_body(const guint16 *x, const guint16 *w, gint64 n, gint rows, float *y)
{
    for (gint r = 0; r < rows; r++) {
        y[r] = dot_body(x, w + r * n, n);
    }
}

CPU_VERSIONS(dots, DotsFn, (const guint16 *x, const guint16 *w, gint64 n, gint rows, float *y),
             (x, w, n, rows, y))

#if defined(__x86_64__)

/* rows: known to the compiler. */
CPU_TARGET_PAIRS static CPU_INLINE void
rows_pairs(const guint16 *x, const guint16 *w, gint64 n, gint rows, float *y)
{
    enum { SUMS = 4, STEP = 32 };
    __m512 sum[AT_ONCE][SUMS];
    for (gint r = 0; r < rows; r++) {
        for (gint s = 0; s < SUMS; s++) {
            sum[r][s] = _mm512_setzero_ps();
        }
    }
    gint64 i = 0;
    for (; i + SUMS * STEP <= n; i += SUMS * STEP) {
        for (gint r = 0; r < rows; r++) {
            for (gint s = 0; s < SUMS; s++) {
                const gint64 at = i + s * STEP;
                sum[r][s] = _mm512_dpbf16_ps(sum[r][s], (__m512bh)_mm512_loadu_si512(x + at),
                                             (__m512bh)_mm512_loadu_si512(w + r * n + at));
            }
        }
    }
    for (; i < n; i += STEP) {
        const __mmask32 in = n - i >= STEP ? ~(__mmask32)0 : ((__mmask32)1 << (n - i)) - 1;
        for (gint r = 0; r < rows; r++) {
            sum[r][0] = _mm512_dpbf16_ps(sum[r][0], (__m512bh)_mm512_maskz_loadu_epi16(in, x + i),
                                         (__m512bh)_mm512_maskz_loadu_epi16(in, w + r * n + i));
        }
    }
    for (gint r = 0; r < rows; r++) {
        y[r] = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sum[r][0], sum[r][1]),
                                                  _mm512_add_ps(sum[r][2], sum[r][3])));
    }
}

CPU_TARGET_PAIRS static void
dots_pairs(const guint16 *x, const guint16 *w, gint64 n, gint rows, float *y)
{
    if (rows == AT_ONCE) {
        rows_pairs(x, w, n, AT_ONCE, y);
        return;
    }
    for (gint r = 0; r < rows; r++) {
        rows_pairs(x, w + r * n, n, 1, y + r);
    }
}
#endif

static DotsFn
dots_function(void)
{
#if defined(__x86_64__)
    if (cpu_bf16 != CPU_BF16_PLAIN) {
        return dots_pairs;
    }
#endif
    return dots[cpu_isa];
}

/* --- Running ---------------------------------------------------------------------------------- */

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n_chunks)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = (gint64)chunk * p->per_chunk, end = MIN(p->n, first + p->per_chunk);
    (void)n_chunks;
    for (gint64 j = first; j < end; j += AT_ONCE) {
        const gint outputs = (gint)MIN(AT_ONCE, end - j);
        for (gint64 i = 0; i < p->rows; i++) {
            float y[AT_ONCE];
            p->dots(job->x + i * p->k, job->w + j * p->k, p->k, outputs, y);
            for (gint r = 0; r < outputs; r++) {
                const float sum = y[r] + (p->bias ? cpu_bf16_wide(job->bias[j + r]) : 0);
                const gint64 at = i * p->n + j + r;
                if (p->wide) {
                    ((float *)(void *)job->out)[at] = sum;
                } else {
                    ((guint16 *)(void *)job->out)[at] = cpu_bf16_narrow(sum);
                }
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
    p->dots = dots_function();
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
