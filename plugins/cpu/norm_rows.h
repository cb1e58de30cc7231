/* norm_rows.h: the innermost loops of normalisation over a run of neighbours. h is (x - mean)
 * inverse. */
#pragma once

#include "cpu.h"

typedef struct {
    /* Sum of (x - mean)^2. */
    void (*spread)(const float *x, gint64 n, float mean, double *sum);
    /* y = h scale[i] + bias[i]; scale, bias NULL: the numbers factor and shift for all. */
    void (*apply)(const float *x, gint64 n, float mean, float inverse, const float *scale,
                  const float *bias, float factor, float shift, float *y);
    /* Sums of a and of a h, a = g scale[i] (scale NULL: g). */
    void (*sums)(const float *x, const float *g, gint64 n, float mean, float inverse,
                 const float *scale, double *sum, double *along);
    /* dx = factor (a - sum - h along). */
    void (*grad)(const float *x, const float *g, gint64 n, float mean, float inverse,
                 const float *scale, float factor, float sum, float along, float *dx);
    /* dscale[i] += g h, dbias[i] += g. */
    void (*columns)(const float *x, const float *g, gint64 n, float mean, float inverse,
                    float *dscale, float *dbias);
} NormRows;

extern const NormRows norm_rows[CPU_N_ISA];
