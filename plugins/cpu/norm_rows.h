/* norm_rows.h: the innermost loops of normalisation over a run of neighbours. h is (x - mean)
 * inverse. */
#pragma once

#include "cpu.h"

/* Rows x [row][n] normalised by their own means and variances into y. mean NULL: the mean is 0, and
 * neither it nor the inverse deviation of a row is kept. bias may be NULL. */
typedef struct {
    const float *x, *scale, *bias;
    float *y, *mean, *inverse;
    gint64 n;
    double epsilon;
} NormLayer;

typedef struct {
    /* Sum of x. */
    void (*sum)(const float *x, gint64 n, double *sum);
    /* Sum of (x - mean)^2. */
    void (*spread)(const float *x, gint64 n, float mean, double *sum);
    /* Rows first to end - 1. */
    void (*layer)(const NormLayer *layer, gint64 first, gint64 end);
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
