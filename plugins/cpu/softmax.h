/* softmax.h: the innermost loops over one row of logits that its users share. */
#pragma once

#include "cpu.h"

/* out[i] = e^(x[i] - max x); their sum is returned through *sum and max x through *max. x and out
 * may be the same. */
typedef void (*SoftmaxRowFn)(const float *x, gint64 n, float *out, float *max, float *sum);
/* Sum of a[i] * b[i], or of a[i] if b is NULL. */
typedef void (*SoftmaxDotFn)(const float *a, const float *b, gint64 n, float *sum);

/* out may be what is read. */
typedef struct {
    /* max x and the sum of e^(x[i] - max x). */
    void (*total)(const float *x, gint64 n, float *max, float *sum);
    /* out = x factor. */
    void (*scale)(const float *x, gint64 n, float factor, float *out);
    /* out = x - max - log_sum. */
    void (*lower)(const float *x, gint64 n, float max, float log_sum, float *out);
    /* out = y (g - sum). */
    void (*grad)(const float *y, const float *g, gint64 n, float sum, float *out);
    /* out = g - e^y sum. */
    void (*log_grad)(const float *y, const float *g, gint64 n, float sum, float *out);
} SoftmaxRows;

/* Up to SOFTMAX_ROWS rows of few numbers at once, one a lane: terms[c][lane] = e^(x - max), and of
 * each row the largest, the sum of the terms and its logarithm. */
#define SOFTMAX_ROWS 16
#define SOFTMAX_FEW 64
typedef struct {
    float terms[SOFTMAX_FEW][SOFTMAX_ROWS];
    float max[SOFTMAX_ROWS], sum[SOFTMAX_ROWS], log_sum[SOFTMAX_ROWS];
} SoftmaxBlock;
typedef void (*SoftmaxBlockFn)(const float *x, gint64 rows, gint64 n, SoftmaxBlock *block);

extern const SoftmaxBlockFn softmax_block[CPU_N_ISA];
extern const SoftmaxRows softmax_rows[CPU_N_ISA];
extern const SoftmaxRowFn softmax_row[CPU_N_ISA];
extern const SoftmaxDotFn softmax_dot[CPU_N_ISA];
