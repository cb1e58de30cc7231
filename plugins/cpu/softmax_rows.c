/* softmax_rows.c: e^(x - max) of a row and sums over it, 16 lanes at a time whatever the row's
 * length. */
#include "softmax.h"
#include "vmath.h"

#define LANES 16

static CPU_INLINE float
add_lanes(float *lane)
{
    for (gint half = LANES / 2; half > 0; half /= 2) {
        for (gint j = 0; j < half; j++) {
            lane[j] += lane[j + half];
        }
    }
    return lane[0];
}

static CPU_INLINE float
row_max(const float *x, gint64 n)
{
    float lane[LANES];
    gint64 i = 0;
    for (gint j = 0; j < LANES; j++) {
        lane[j] = -INFINITY;
    }
    for (; i + LANES <= n; i += LANES) {
        for (gint j = 0; j < LANES; j++) {
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
        }
    }
    for (gint j = 0; i + j < n; j++) {
        lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    }
    for (gint j = 1; j < LANES; j++) {
        lane[0] = lane[j] > lane[0] ? lane[j] : lane[0];
    }
    return lane[0];
}

/* Lanes behind the end compute e^0 and count for nothing. */
static CPU_INLINE void
row_body(const float *x, gint64 n, float *out, float *max, float *sum)
{
    float lane[LANES] = { 0 }, part[LANES], most = row_max(x, n);
    gint64 i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (gint j = 0; j < LANES; j++) {
            out[i + j] = vm_exp(x[i + j] - most);
        }
        for (gint j = 0; j < LANES; j++) {
            lane[j] += out[i + j];
        }
    }
    if (i < n) {
        gint rest = (gint)(n - i);
        for (gint j = 0; j < LANES; j++) {
            part[j] = most;
        }
        memcpy(part, x + i, (gsize)rest * sizeof(float));
        for (gint j = 0; j < LANES; j++) {
            part[j] = vm_exp(part[j] - most);
        }
        for (gint j = 0; j < LANES; j++) {
            lane[j] += j < rest ? part[j] : 0;
        }
        memcpy(out + i, part, (gsize)rest * sizeof(float));
    }
    *max = most;
    *sum = add_lanes(lane);
}

static CPU_INLINE void
dot_body(const float *a, const float *b, gint64 n, float *sum)
{
    float lane[LANES] = { 0 };
    gint64 i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (gint j = 0; j < LANES; j++) {
            lane[j] += b ? a[i + j] * b[i + j] : a[i + j];
        }
    }
    for (gint j = 0; i + j < n; j++) {
        lane[j] += b ? a[i + j] * b[i + j] : a[i + j];
    }
    *sum = add_lanes(lane);
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
CPU_FUNCTIONS(row, (const float *x, gint64 n, float *out, float *max, float *sum),
              (x, n, out, max, sum))
CPU_FUNCTIONS(dot, (const float *a, const float *b, gint64 n, float *sum), (a, b, n, sum))

const SoftmaxRowFn softmax_row[CPU_N_ISA] = {
    [CPU_PORTABLE] = row_portable, [CPU_AVX2] = row_avx2, [CPU_AVX512] = row_avx512
};
const SoftmaxDotFn softmax_dot[CPU_N_ISA] = {
    [CPU_PORTABLE] = dot_portable, [CPU_AVX2] = dot_avx2, [CPU_AVX512] = dot_avx512
};
const SoftmaxBlockFn softmax_block[CPU_N_ISA] = {
    [CPU_PORTABLE] = block_portable, [CPU_AVX2] = block_avx2, [CPU_AVX512] = block_avx512
};
