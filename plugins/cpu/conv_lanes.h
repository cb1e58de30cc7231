/* conv_lanes.h: sizes of a convolution over lanes, and its two kinds of work: images (conv_lanes_images.c) and
 * gradients of weights (conv_lanes_weight.c). */
#pragma once

#include <tenon/plugin.h>

#include "conv_lanes_kernels.h"

/* A convolution of x into y; the transpose is one of y into x, with the window turned round. */
typedef struct {
    gint64 blocks, x_maps, y_maps;
    gint64 x[2], y[2], k[2], stride[2], dilation[2], pad[2];
    gint64 x_block, y_block, weights; /* floats */
    const LanesKernels *kernels;
    gboolean turned; /* of the transpose */
} LanesPlan;

/* The first of n steps from `at` that is not below 0; n if there is none. */
static inline gint64
lanes_first_inside(gint64 at, gint64 step, gint64 n)
{
    return at >= 0 ? 0 : MIN(n, (-at + step - 1) / step);
}

/* The first of n steps from `at` that is not below `size`. */
static inline gint64
lanes_end_inside(gint64 at, gint64 step, gint64 n, gint64 size)
{
    return at >= size ? 0 : MIN(n, (size - at + step - 1) / step);
}

static inline gint64
lanes_maps_at_once(gint64 left, gint most)
{
    static const gint steps[] = { 6, 4, 2 };
    for (guint i = 0; i < G_N_ELEMENTS(steps); i++) {
        if (steps[i] <= most && steps[i] <= left) {
            return steps[i];
        }
    }
    return 1;
}

/* Work that was planned, for TnKernel's run and release. `prepared` gets it, and the scratch it needs. */
void lanes_images_prepare(const LanesPlan *plan, gboolean bias, TnPrepared *prepared);
TnStatus lanes_images_run(void *state, const TnRun *run);
void lanes_images_free(void *state);
void lanes_weight_prepare(const LanesPlan *plan, TnPrepared *prepared);
TnStatus lanes_weight_run(void *state, const TnRun *run);
void lanes_weight_free(void *state);
