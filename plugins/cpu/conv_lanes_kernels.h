/* conv_lanes_kernels.h: the innermost loops of convolutions over lanes (conv_lanes.c). */
#pragma once

#include <glib.h>

#define LANES_MAPS 6   /* output maps that are computed together at most */
#define LANES_PLACES 4 /* neighbouring places of a row, likewise */
#define LANES_TAPS 5   /* taps of a row whose weights' gradients are computed together, likewise */

/* Where the images of one axis' taps lie. Distances are in floats. */
typedef struct {
    gint64 maps, rows, taps;             /* maps, and the taps of an image: rows x taps */
    gint64 map_step, row_step, tap_step; /* of what is read */
    gint64 place_step;                   /* from one place of a row to the next */
    /* Columns of what is read: there are so many, the first place's first tap reads this one. What
     * lies outside is 0. */
    gint64 columns, column, tap_columns, place_columns;
} LanesReads;

/* out[i][j] = bias[i] + sum over maps c, rows r in [row, row_end), taps t in [tap, tap_end) of
 * w[c][r][t][i] x[c][r][t + j], each a vector over lanes; for i of some maps and j of some places.
 * `inside`: no column is outside. */
typedef void (*LanesForwardFn)(const LanesReads *reads, const float *x, const float *w, gint64 row,
                               gint64 row_end, gint64 tap, gint64 tap_end, gboolean inside,
                               const float *bias, float *out, gint64 out_map);
/* The gradients of some rows of places. Every tap of places [inside, outside) is of a column that
 * there is. Distances are in floats. */
typedef struct {
    gint64 rows, places, inside, outside;
    gint64 map_step, row_step;
} LanesGrads;

/* sum[i][t] += grads[i][r][j] x[r][t + j] over rows r and places j, for some maps i and taps t; sum is
 * vectors. reads->row_step is from a row of places to the next. */
typedef void (*LanesWeightFn)(const LanesReads *reads, const LanesGrads *g, const float *x,
                              const float *grads, float *sum);

typedef struct {
    gint lanes;                                               /* floats of a vector: divides 16 */
    gint maps, weight_maps;                                   /* the most of forward and weight */
    LanesForwardFn forward[LANES_MAPS + 1][LANES_PLACES + 1]; /* NULL: no such size */
    LanesWeightFn weight[LANES_MAPS + 1][LANES_TAPS + 1];
} LanesKernels;

/* Per instruction set. There are sizes of 1, so that greedy steps always end. */
extern const LanesKernels conv_lanes_kernels[];
