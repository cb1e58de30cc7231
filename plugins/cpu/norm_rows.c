/* norm_rows.c: loops of normalisation. Sums run over 16 lanes in f32 for blocks of 2048 elements,
 * whose results are added in f64: the same order for every instruction set. */
#include "norm_rows.h"

#define LANES 16
#define BLOCK 2048

static CPU_INLINE double
add_lanes(const float *lane)
{
    double sum = 0;
    for (gint j = 0; j < LANES; j++) {
        sum += (double)lane[j];
    }
    return sum;
}

/* Runs `term` for each element i of a block, into lane i % LANES. */
#define BY_LANES(n, at, end, TERM)                                                                 \
    for (; at + LANES <= end; at += LANES) {                                                       \
        for (gint j = 0; j < LANES; j++) {                                                         \
            gint64 i = at + j;                                                                     \
            TERM                                                                                   \
        }                                                                                          \
    }                                                                                              \
    for (gint j = 0; at + j < end; j++) {                                                          \
        gint64 i = at + j;                                                                         \
        TERM                                                                                       \
    }

static CPU_INLINE void
spread_body(const float *x, gint64 n, float mean, double *sum)
{
    *sum = 0;
    for (gint64 begin = 0; begin < n; begin += BLOCK) {
        float lane[LANES] = { 0 };
        gint64 at = begin, end = MIN(n, begin + BLOCK);
        BY_LANES(n, at, end, {
            float rest = x[i] - mean;
            lane[j] += rest * rest;
        })
        *sum += add_lanes(lane);
    }
}

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
sums_body(const float *x, const float *g, gint64 n, float mean, float inverse, const float *scale,
          double *sum, double *along)
{
    *sum = *along = 0;
    for (gint64 begin = 0; begin < n; begin += BLOCK) {
        float lane[LANES] = { 0 }, product[LANES] = { 0 };
        gint64 at = begin, end = MIN(n, begin + BLOCK);
        if (scale) {
            BY_LANES(n, at, end, {
                float a = g[i] * scale[i];
                lane[j] += a;
                product[j] += a * ((x[i] - mean) * inverse);
            })
        } else {
            BY_LANES(n, at, end, {
                lane[j] += g[i];
                product[j] += g[i] * ((x[i] - mean) * inverse);
            })
        }
        *sum += add_lanes(lane);
        *along += add_lanes(product);
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

CPU_FUNCTIONS(spread, (const float *x, gint64 n, float mean, double *sum), (x, n, mean, sum))
CPU_FUNCTIONS(apply,
              (const float *x, gint64 n, float mean, float inverse, const float *scale,
               const float *bias, float factor, float shift, float *y),
              (x, n, mean, inverse, scale, bias, factor, shift, y))
CPU_FUNCTIONS(sums,
              (const float *x, const float *g, gint64 n, float mean, float inverse,
               const float *scale, double *sum, double *along),
              (x, g, n, mean, inverse, scale, sum, along))
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
