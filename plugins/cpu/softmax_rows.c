/* softmax_rows.c: e^(x - max) of a row, sums over it and what is made of them, 16 lanes at a time whatever
 * the row's length. */
#include "row_lanes.h"
#include "softmax.h"
#include "vmath.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* y where it is larger: not where one of them is NaN. */
#define LARGER(y, x) (V)(((M)(y) & ((y) > (x))) | ((M)(x) & ~(M)((y) > (x))))

#define TARGET
#define VERSION(name) name##_portable
#include "softmax_loops.h"
#undef TARGET
#undef VERSION
#define TARGET CPU_TARGET_AVX2
#define VERSION(name) name##_avx2
#include "softmax_loops.h"
#undef TARGET
#undef VERSION
#if defined(__x86_64__)
#undef LARGER
#define LARGER(y, x) (V) _mm512_max_ps((__m512)(y), (__m512)(x))
#endif
#define TARGET CPU_TARGET_AVX512
#define VERSION(name) name##_avx512
#include "softmax_loops.h"

static CPU_INLINE void
scale_body(const float *x, gint64 n, float factor, float *out)
{
    CPU_LOOP
    for (gint64 i = 0; i < n; i++) {
        out[i] = x[i] * factor;
    }
}

static CPU_INLINE void
lower_body(const float *x, gint64 n, float max, float log_sum, float *out)
{
    CPU_LOOP
    for (gint64 i = 0; i < n; i++) {
        out[i] = (x[i] - max) - log_sum;
    }
}

static CPU_INLINE void
grad_body(const float *y, const float *g, gint64 n, float sum, float *out)
{
    CPU_LOOP
    for (gint64 i = 0; i < n; i++) {
        out[i] = y[i] * (g[i] - sum);
    }
}

static CPU_INLINE void
log_grad_body(const float *y, const float *g, gint64 n, float sum, float *out)
{
    CPU_LOOP
    for (gint64 i = 0; i < n; i++) {
        out[i] = g[i] - vm_exp(y[i]) * sum;
    }
}

static CPU_INLINE void
block_body(const float *x, gint64 rows, gint64 n, SoftmaxBlock *b)
{
    for (gint j = 0; j < SOFTMAX_ROWS; j++) {
        b->max[j] = -INFINITY;
        b->sum[j] = 0;
    }
    for (gint64 i = 0; i < n; i++) {
        for (gint j = 0; j < SOFTMAX_ROWS; j++) {
            b->terms[i][j] = j < rows ? x[j * n + i] : 0;
        }
    }
    for (gint64 i = 0; i < n; i++) {
        for (gint j = 0; j < SOFTMAX_ROWS; j++) {
            b->max[j] = b->terms[i][j] > b->max[j] ? b->terms[i][j] : b->max[j];
        }
    }
    for (gint64 i = 0; i < n; i++) {
        for (gint j = 0; j < SOFTMAX_ROWS; j++) {
            b->terms[i][j] = vm_exp(b->terms[i][j] - b->max[j]);
        }
        for (gint j = 0; j < SOFTMAX_ROWS; j++) {
            b->sum[j] += b->terms[i][j];
        }
    }
    for (gint j = 0; j < SOFTMAX_ROWS; j++) {
        b->log_sum[j] = vm_log(b->sum[j]);
    }
}

CPU_FUNCTIONS(block, (const float *x, gint64 rows, gint64 n, SoftmaxBlock *b), (x, rows, n, b))
CPU_FUNCTIONS(scale, (const float *x, gint64 n, float factor, float *out), (x, n, factor, out))
CPU_FUNCTIONS(lower, (const float *x, gint64 n, float max, float log_sum, float *out),
              (x, n, max, log_sum, out))
CPU_FUNCTIONS(grad, (const float *y, const float *g, gint64 n, float sum, float *out),
              (y, g, n, sum, out))
CPU_FUNCTIONS(log_grad, (const float *y, const float *g, gint64 n, float sum, float *out),
              (y, g, n, sum, out))

#define SET(isa)                                                                                   \
    {                                                                                              \
        total_##isa, scale_##isa, lower_##isa, grad_##isa, log_grad_##isa                          \
    }
const SoftmaxRows softmax_rows[CPU_N_ISA] = {
    [CPU_PORTABLE] = SET(portable), [CPU_AVX2] = SET(avx2), [CPU_AVX512] = SET(avx512)
};
const SoftmaxRowFn softmax_row[CPU_N_ISA] = {
    [CPU_PORTABLE] = row_portable, [CPU_AVX2] = row_avx2, [CPU_AVX512] = row_avx512
};
const SoftmaxDotFn softmax_dot[CPU_N_ISA] = {
    [CPU_PORTABLE] = dot_portable, [CPU_AVX2] = dot_avx2, [CPU_AVX512] = dot_avx512
};
const SoftmaxBlockFn softmax_block[CPU_N_ISA] = {
    [CPU_PORTABLE] = block_portable, [CPU_AVX2] = block_avx2, [CPU_AVX512] = block_avx512
};
