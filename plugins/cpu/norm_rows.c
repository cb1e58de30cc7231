/* norm_rows.c: loops of normalisation. Sums run over 16 lanes in f32 for blocks of 2048 elements,
 * whose results are added in f64: the same order for every instruction set. */
#include "norm_rows.h"

#define LANES 16
#define BLOCK 2048

typedef float V __attribute__((vector_size(LANES * sizeof(float))));
typedef V U __attribute__((aligned(sizeof(float)), may_alias));

/* The lanes one after the other. */
#define ADD_LANES(lanes, sum)                                                                      \
    for (gint j = 0; j < LANES; j++) {                                                             \
        (sum) += (double)(lanes)[j];                                                               \
    }
/* Vectors by name, for what a compiler makes of loops over lanes differs. */
#define SUMS(isa, TARGET)                                                                          \
    TARGET static void spread_##isa(const float *x, gint64 n, float mean, double *sum)             \
    {                                                                                              \
        *sum = 0;                                                                                  \
        for (gint64 at = 0, end; at < n; at = end) {                                               \
            V lanes = { 0 };                                                                       \
            end = MIN(n, at + BLOCK);                                                              \
            for (; at + LANES <= end; at += LANES) {                                               \
                const V rest = *(const U *)(x + at) - mean;                                        \
                lanes += rest * rest;                                                              \
            }                                                                                      \
            for (gint j = 0; at + j < end; j++) {                                                  \
                const float rest = x[at + j] - mean;                                               \
                lanes[j] += rest * rest;                                                           \
            }                                                                                      \
            ADD_LANES(lanes, *sum)                                                                 \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    TARGET static void sums_##isa(const float *x, const float *g, gint64 n, float mean,            \
                                  float inverse, const float *scale, double *sum, double *along)   \
    {                                                                                              \
        *sum = *along = 0;                                                                         \
        for (gint64 at = 0, end; at < n; at = end) {                                               \
            V lanes = { 0 }, product = { 0 };                                                      \
            end = MIN(n, at + BLOCK);                                                              \
            for (; at + LANES <= end; at += LANES) {                                               \
                V a = *(const U *)(g + at);                                                        \
                a = scale ? a * *(const U *)(scale + at) : a;                                      \
                lanes += a;                                                                        \
                product += a * ((*(const U *)(x + at) - mean) * inverse);                          \
            }                                                                                      \
            for (gint j = 0; at + j < end; j++) {                                                  \
                const float a = scale ? g[at + j] * scale[at + j] : g[at + j];                     \
                lanes[j] += a;                                                                     \
                product[j] += a * ((x[at + j] - mean) * inverse);                                  \
            }                                                                                      \
            ADD_LANES(lanes, *sum)                                                                 \
            ADD_LANES(product, *along)                                                             \
        }                                                                                          \
    }
#define NO_TARGET
SUMS(portable, NO_TARGET)
SUMS(avx2, CPU_TARGET_AVX2)
SUMS(avx512, CPU_TARGET_AVX512)

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
