/* norm_rows.c: loops of normalisation. Sums run over lanes in f32 for blocks of 2048 elements, whose
 * results are added in f64: the same order for every instruction set. */
#include "norm_rows.h"
#include "row_lanes.h"

#include <math.h>

#define BLOCK 2048

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

#define TARGET
#define VERSION(name) name##_portable
#include "norm_rows_sums.h"
#undef TARGET
#undef VERSION
#define TARGET CPU_TARGET_AVX2
#define VERSION(name) name##_avx2
#include "norm_rows_sums.h"
#undef TARGET
#undef VERSION
#define TARGET CPU_TARGET_AVX512
#define VERSION(name) name##_avx512
#include "norm_rows_sums.h"

#define SET(isa)                                                                                   \
    {                                                                                              \
        sum_##isa, spread_##isa, layer_##isa, apply_##isa, sums_##isa, grad_##isa, columns_##isa   \
    }
const NormRows norm_rows[CPU_N_ISA] = {
    [CPU_PORTABLE] = SET(portable), [CPU_AVX2] = SET(avx2), [CPU_AVX512] = SET(avx512)
};
