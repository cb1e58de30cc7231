/* samples.h: whether calls on several images give the bits that a call on one gives. */
#pragma once

#include "slices.h"

/* Slices of a convolution of some images, and the same of one. */
typedef struct {
    const Slices *slices;
    gboolean by_images;       /* what is cut is images, else channels of all images */
    gint64 images;            /* that a slice has at most */
    OneDnnCall *alone;        /* of one image */
    const gint64 *step;       /* bytes from slice to slice, of ONEDNN_A, B, BIAS and OUT */
    gsize bytes[ONEDNN_MORE]; /* of the same: of an image, of weights, of a bias; 0: absent */
    TnDtype dtype;
} OneDnnSamples;

/* Runs them on random numbers: FALSE if an image has other bits in a slice, or without memory. Which way
 * the library goes, and with it the order of each sum, depends on sizes, not on numbers. Thread: one. */
gboolean onednn_same_alone(const OneDnnSamples *samples);

/* What was found out about something by its name: -1: nothing yet. Thread: any. */
gint onednn_found(const char *name);
void onednn_keep(const char *name, gint what);
