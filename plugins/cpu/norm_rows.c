/* norm_rows.c: loops of normalisation. Sums run over 16 lanes in f32 for blocks of 2048 elements,
 * whose results are added in f64: the same order for every instruction set. */
#include "norm_rows.h"

#define LANES 16
#define BLOCK 2048

static double
add_lanes(const float *lane)
{
    double sum = 0;
    for (gint j = 0; j < LANES; j++) {
        sum += (double)lane[j];
    }
    return sum;
}

#define SUMS(name, TARGET, N)                                                                      \
    TARGET static void spread_##name(const float *x, gint64 n, float mean, double *sum)            \
    {                                                                                              \
        VECTORS(N)                                                                                 \
        *sum = 0;                                                                                  \
        for (gint64 begin = 0; begin < n; begin += BLOCK) {                                        \
            V lane[LANES / N] = { { 0 } };                                                         \
            float sums[LANES];                                                                     \
            gint64 at = begin, end = MIN(n, begin + BLOCK);                                        \
            for (; at + LANES <= end; at += LANES) {                                               \
                for (gint v = 0; v < LANES / N; v++) {                                             \
                    const V rest = *(const U *)(x + at + v * N) - mean;                            \
                    lane[v] += rest * rest;                                                        \
                }                                                                                  \
            }                                                                                      \
            memcpy(sums, lane, sizeof sums);                                                       \
            for (gint j = 0; at + j < end; j++) {                                                  \
                const float rest = x[at + j] - mean;                                               \
                sums[j] += rest * rest;                                                            \
            }                                                                                      \
            *sum += add_lanes(sums);                                                               \
        }                                                                                          \
    }                                                                                              \
    TARGET static void sums_##name(const float *x, const float *g, gint64 n, float mean,           \
                                   float inverse, const float *scale, double *sum, double *along)  \
    {                                                                                              \
        VECTORS(N)                                                                                 \
        *sum = *along = 0;                                                                         \
        for (gint64 begin = 0; begin < n; begin += BLOCK) {                                        \
            V lane[LANES / N] = { { 0 } }, product[LANES / N] = { { 0 } };                         \
            float sums[LANES], products[LANES];                                                    \
            gint64 at = begin, end = MIN(n, begin + BLOCK);                                        \
            for (; at + LANES <= end; at += LANES) {                                               \
                for (gint v = 0; v < LANES / N; v++) {                                             \
                    const gint64 i = at + v * N;                                                   \
                    V a = *(const U *)(g + i);                                                     \
                    if (scale) {                                                                   \
                        a *= *(const U *)(scale + i);                                              \
                    }                                                                              \
                    lane[v] += a;                                                                  \
                    product[v] += a * ((*(const U *)(x + i) - mean) * inverse);                    \
                }                                                                                  \
            }                                                                                      \
            memcpy(sums, lane, sizeof sums);                                                       \
            memcpy(products, product, sizeof products);                                            \
            for (gint j = 0; at + j < end; j++) {                                                  \
                const gint64 i = at + j;                                                           \
                const float a = scale ? g[i] * scale[i] : g[i];                                    \
                sums[j] += a;                                                                      \
                products[j] += a * ((x[i] - mean) * inverse);                                      \
            }                                                                                      \
            *sum += add_lanes(sums);                                                               \
            *along += add_lanes(products);                                                         \
        }                                                                                          \
    }

#define VECTORS(N)                                                                                 \
    typedef float V __attribute__((vector_size(N * sizeof(float))));                               \
    typedef V U __attribute__((aligned(sizeof(float)), may_alias));
#define NO_TARGET

SUMS(portable, NO_TARGET, 4)
SUMS(avx2, CPU_TARGET_AVX2, 8)
SUMS(avx512, CPU_TARGET_AVX512, 16)

static CPU_INLINE void
apply_body(const float *x, gint64 n, float mean, float inverse, const float *scale,
           const float *bias, float factor, float shift, float *y)
{
    if (!scale) {
        CPU_LOOP
        for (gint64 i = 0; i < n; i++) {
            y[i] = (x[i] - mean) * factor + shift;
        }
    } else if (!bias) {
        CPU_LOOP
        for (gint64 i = 0; i < n; i++) {
            y[i] = (x[i] - mean) * inverse * scale[i];
        }
    } else {
        CPU_LOOP
        for (gint64 i = 0; i < n; i++) {
            y[i] = (x[i] - mean) * inverse * scale[i] + bias[i];
        }
    }
}

static CPU_INLINE void
grad_body(const float *x, const float *g, gint64 n, float mean, float inverse, const float *scale,
          float factor, float sum, float along, float *dx)
{
    if (scale) {
        CPU_LOOP
        for (gint64 i = 0; i < n; i++) {
            dx[i] = factor * (g[i] * scale[i] - sum - (x[i] - mean) * inverse * along);
        }
    } else {
        CPU_LOOP
        for (gint64 i = 0; i < n; i++) {
            dx[i] = factor * (g[i] - sum - (x[i] - mean) * inverse * along);
        }
    }
}

static CPU_INLINE void
columns_body(const float *x, const float *g, gint64 n, float mean, float inverse, float *dscale,
             float *dbias)
{
    CPU_LOOP
    for (gint64 i = 0; i < n; i++) {
        dscale[i] += g[i] * ((x[i] - mean) * inverse);
        dbias[i] += g[i];
    }
}

CPU_FUNCTIONS(apply,
              (const float *x, gint64 n, float mean, float inverse, const float *scale,
               const float *bias, float factor, float shift, float *y),
              (x, n, mean, inverse, scale, bias, factor, shift, y))
CPU_FUNCTIONS(grad,
              (const float *x, const float *g, gint64 n, float mean, float inverse,
               const float *scale, float factor, float sum, float along, float *dx),
              (x, g, n, mean, inverse, scale, factor, sum, along, dx))
CPU_FUNCTIONS(columns,
              (const float *x, const float *g, gint64 n, float mean, float inverse, float *dscale,
               float *dbias),
              (x, g, n, mean, inverse, dscale, dbias))

#define SET(isa)                                                                                   \
    {                                                                                              \
        spread_##isa, apply_##isa, sums_##isa, grad_##isa, columns_##isa                           \
    }
const NormRows norm_rows[CPU_N_ISA] = {
    [CPU_PORTABLE] = SET(portable), [CPU_AVX2] = SET(avx2), [CPU_AVX512] = SET(avx512)
};
