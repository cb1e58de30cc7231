/* conv_blocked_shape.h: the sizes of convolutions over blocks of channels (conv_blocked), whatever their
 * numbers are. */
#pragma once

#include "cpu.h"

#include <tenon/nn.h>

typedef struct {
    gint64 images, blocks_in, blocks_out; /* blocks_in: of x as it is read */
    gint64 seen_blocks, made_blocks;      /* of a group of channels that does not meet the others */
    gint64 channels; /* of a block of x: its lanes, or all of those that are not in blocks */
    gint64 window[2], gap[2], x[2], padded[2], y[2], pad[2], stride[2]; /* gap: dilations */
    gboolean plain, pads; /* plain: x is [N, C, h, w] */
    gint n_in;
    gboolean relu;
} BlockedShape;

/* FALSE: there are no numbers, or more with the padding than can be counted. */
gboolean blocked_shape(const TnNode *node, BlockedShape *shape);
