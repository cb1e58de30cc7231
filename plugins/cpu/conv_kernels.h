/* conv_kernels.h: the innermost loops of convolutions of stride 1 over padded images. */
#pragma once

#include <glib.h>

#define CONV_ROWS 6
#define CONV_VECTORS 4
#define CONV_TAPS 4

/* c[i][j] = (add: c[i][j] +) sum over p < k of a[i][p] * b[offset[p] + j] for up to 6 rows i and 4
 * vectors of j. */
typedef void (*ConvForwardFn)(gint64 k, const float *a, gint64 a_row, const float *b,
                              const gint32 *offset, float *c, gint64 c_row);
/* sum[i][t] (vectors) += g[i][j] * x[offset[t] + j] over `steps` vectors j, for up to 6 rows i and
 * 4 taps t. */
typedef void (*ConvWeightFn)(gint64 steps, const float *g, gint64 g_row, const float *x,
                             const gint32 *offset, float *sum);

typedef struct {
    gint lanes, vectors, weight_rows; /* the most vectors of forward; the most rows of weight */
    ConvForwardFn forward[CONV_ROWS][CONV_VECTORS];
    ConvWeightFn weight[CONV_ROWS];
} ConvKernels;

/* Per instruction set. */
extern const ConvKernels conv_kernels[];
