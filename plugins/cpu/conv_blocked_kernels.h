/* conv_blocked_kernels.h: the innermost loops of convolutions over blocks of channels
 * (conv_blocked.c). */
#pragma once

#include <glib.h>

#define BLOCKED_BLOCKS 4  /* of channels out that are computed together at most */
#define BLOCKED_PLACES 14 /* neighbouring places of a row, likewise */

/* A piece of what a place sees, and of the weights: floats before it. */
typedef struct {
    gint64 x, w;
} BlockedPiece;

/* What a place sees is pieces of memory, each multiplied with a piece of the weights. Distances are
 * in floats. */
typedef struct {
    gint64 pieces, length;  /* pieces, and floats of each */
    const BlockedPiece *at; /* of each piece, x from the place's first float */
    gint64 step;            /* from one place to the next */
    gint64 x_step,
        w_step; /* of BLOCKED_ANY: from one of a piece's floats to the next; else 1, 16 */
    gint64 w_block, out_block; /* from one block of channels out to the next */
} BlockedReads;

/* out[i][j] = sum over pieces and their floats f of x[j][f] w[i][f], a vector of 16 channels; + bias[i];
 * + more[i][j]; max (., 0) if relu. i of some blocks, j of some places. bias, more NULL: none. */
typedef void (*BlockedFn)(const BlockedReads *reads, const float *x, const float *w,
                          const float *bias, const float *more, gboolean relu, float *out);

/* Steps that have code of their own: neighbouring places of blocks, every second one; others. */
typedef enum { BLOCKED_NEXT, BLOCKED_SECOND, BLOCKED_ANY, BLOCKED_N_STEPS } BlockedStep;

typedef struct {
    gint places[BLOCKED_BLOCKS + 1]; /* the most for so many blocks; 0: no such size */
    BlockedFn run[BLOCKED_N_STEPS][BLOCKED_BLOCKS + 1][BLOCKED_PLACES + 1];
} BlockedKernels;

/* A line of any number of places for a number of blocks that there is code for. */
void conv_blocked_line(const BlockedKernels *kernels, BlockedStep step, const BlockedReads *reads,
                       gint64 blocks, gint64 places, const float *x, const float *w,
                       const float *bias, const float *more, gboolean relu, float *out);

/* Per instruction set. Of each number of blocks there are all numbers of places up to the most. */
extern const BlockedKernels conv_blocked_kernels[];
