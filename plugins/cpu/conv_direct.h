/* conv_direct.h: convolutions of stride 1 in f32 without columns.
 *
 * An image is copied into a frame with its padding. Output o of a map then needs, for every tap,
 * one element at a fixed distance from the frame's element o, if outputs are counted along the
 * frame's rows: so a run of outputs is a product of the weights with runs of the frame, and what
 * falls between the rows is computed for nothing and dropped. */
#pragma once

#include "conv.h"

typedef struct {
    gint64 batch, groups;
    gint64 in_maps, out_maps; /* of a group */
    gint64 rows, cols;        /* of an image */
    gint64 out_rows, out_cols;
    gint64 pad_rows, pad_cols; /* before the first */
    gint64 frame_cols, frame;  /* elements of a frame's row, of a frame */
    gint64 taps, depth;        /* taps, in_maps * taps */
    gint64 run,
        padded_run; /* outputs counted along the frame's rows; rounded up to whole vectors */
    gint32 *offset; /* [depth, rounded up]: of a tap in a group's frames */
} ConvFrame;

/* Whether a convolution is worth it and can be done so. */
gboolean conv_frame_fits(const ConvShape *shape);
/* Of the convolution itself; flipped: of its transpose in x, from y to x. (transfer full):
 * conv_frame_clear. */
ConvFrame conv_frame_new(const ConvShape *shape, gboolean flipped);
void conv_frame_clear(ConvFrame *frame);

/* Floats of scratch that one chunk of images needs. */
gint64 conv_forward_floats(const ConvFrame *frame);
gint64 conv_weight_floats(const ConvFrame *frame);
/* Images [first, end): y = conv (x, w) + bias (NULL: none); w [groups * out_maps, depth]. */
void conv_forward_images(const ConvFrame *frame, gint64 first, gint64 end, const float *x,
                         const float *w, const float *bias, float *y, float *scratch);
/* Images [first, end): to [groups * out_maps, depth] = their gradient of the weights. */
void conv_weight_images(const ConvFrame *frame, gint64 first, gint64 end, const float *x,
                        const float *g, float *to, float *scratch);
/* w [groups * maps, channels, taps] to [groups * channels, maps, taps backwards]: weights of the
 * transpose. */
void conv_flip_weights(const ConvShape *shape, const float *w, float *to);
