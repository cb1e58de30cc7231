/* tn_segments.h - what checkpoints of equal segments would take: the textbook's way to compute values again,
 * to hold the compiler's against. */
#ifndef TN_SEGMENTS_H
#define TN_SEGMENTS_H

#include <tenon/program.h>

/* The instructions up to the last one whose name begins with `loss` are cut into segments of `length`, or
 * of the root of their number if that is 0. What later segments read is kept; what only gradients read is
 * dropped, and the whole segment computed again when they read it first, but for the last segment: Chen
 * et al., Training Deep Nets with Sublinear Memory Cost (2016), algorithm 1. Going by the graph and the
 * order of a program that was compiled with these options (without a limit). */
typedef struct {
    guint n, length; /* instructions of the forward pass; of a segment */
    guint64 peak;    /* bytes alive at most, with what kernels work in, as if memory had no gaps */
    double flops;    /* of one run, what is computed again included */
} TnSegments;

/* options->sink is replaced. */
void tn_segments(const TnGraph *graph, const TnCompile *options, const char *loss, guint length,
                 TnSegments *found);

#endif
