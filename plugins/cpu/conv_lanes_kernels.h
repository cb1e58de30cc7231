/* conv_lanes_kernels.h: the innermost loops of convolutions over lanes (conv_lanes.c). Each is one loop over a
 * list of steps, distances that depend on sizes alone, instead of loops over maps, rows and taps: those are a
 * few turns each, and a processor that guesses wrong where each ends loses as much as it computes between. */
#pragma once

#include <glib.h>

#define LANES 16       /* floats from one place to the next */
#define LANES_MAPS 6   /* output maps that are computed together at most */
#define LANES_PLACES 4 /* neighbouring places of a row or a column, likewise */
#define LANES_TAPS 5   /* taps of a row whose weights' gradients are computed together, likewise */

/* Distances of what is multiplied: in floats of images, in windows' taps of weights. */
typedef struct {
    gint32 x, other;
} LanesStep;

/* n steps from `at` on, so again `runs` times, from the beginning of one to the next run_step. */
typedef struct {
    const LanesStep *at;
    gint64 n, runs, run_step;
} LanesSteps;

/* Where the results of some maps and places lie: floats from one to the next. */
typedef struct {
    gint64 map_step, place_step;
} LanesOut;

/* out[i][j] = bias[i] + the sum over steps of w[step.other][i] x[step.x + j place_step], each a vector over
 * lanes; for i of some maps and j of some places. */
typedef void (*LanesForwardFn)(const LanesSteps *steps, const float *x, gint64 place_step,
                               const float *w, const float *bias, float *out, const LanesOut *to);

/* The gradients of some places of some maps: floats from one map to the next, from what one tap reads to the
 * next's, and from one map's sums to the next's. */
typedef struct {
    gint64 map_step, tap_step, sum_step;
} LanesGrads;

/* sum[i][t] += grads[i][step.other] x[step.x + t tap_step] over n steps, for some maps i and taps t; sum is
 * vectors. */
typedef void (*LanesWeightFn)(const LanesStep *steps, gint64 n, const LanesGrads *g, const float *x,
                              const float *grads, float *sum);
/* to[i] = the sum of vector i, of n, a multiple of four. */
typedef void (*LanesSumFn)(const float *sum, gint64 n, float *to);

typedef struct {
    gint lanes;                                               /* floats of a vector: divides 16 */
    gint maps, weight_maps;                                   /* the most of forward and weight */
    LanesForwardFn forward[LANES_MAPS + 1][LANES_PLACES + 1]; /* NULL: no such size */
    LanesWeightFn weight[LANES_MAPS + 1][LANES_TAPS + 1];
    LanesSumFn sum;
} LanesKernels;

/* Per instruction set. There are sizes of 1, so that greedy steps always end. */
extern const LanesKernels conv_lanes_kernels[];
