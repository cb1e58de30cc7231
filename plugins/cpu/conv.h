/* conv.h: convolutions as products of matrices: sizes, and moving between images and columns.
 *
 * x [N, G*C, s0, s1, s2], w [G*M, C, k0, k1, k2], y [N, G*M, o0, o1, o2]; fewer spatial axes are
 * preceded by ones. Column (o) of the matrix `col` [C*K, O] holds what the tap (c, k) reads for
 * output o; it is made for some rows of outputs at once, so that it stays in the second-level
 * cache. */
#pragma once

#include "cpu.h"

typedef struct {
    gboolean f64;
    gsize size;
    gint64 batch, groups, channels, maps; /* channels and maps of a group */
    gint64 s[3], k[3], o[3];
    gint64 stride[3], dilation[3], pad[3];
    gint64 in, taps, outs;   /* elements of an image's channel, of a kernel, of an output's map */
    gint64 depth;            /* channels * taps */
    gint64 rows, block_rows; /* o0 * o1, and how many make one block of columns */
    gboolean plain;          /* col is x itself: kernel 1, stride 1, no padding */
} ConvShape;

/* x, w and y as conv has them, whatever the operator's own inputs are. */
ConvShape conv_shape(const TnConvAttrs *attrs, const TnType *x, const TnType *w, const TnType *y);
gint64 conv_col_bytes(const ConvShape *shape);
/* col for output rows [row, row + rows) of one group of one image; `ld` elements from one row of
 * col to the next. Channels [first, first + n) of the group. */
void conv_im2col(const ConvShape *shape, const void *image, gint64 first, gint64 n, gint64 row,
                 gint64 rows, void *col, gint64 ld);
/* Adds col to the image: the transpose of conv_im2col over all channels. */
void conv_col2im(const ConvShape *shape, const void *col, gint64 ld, gint64 row, gint64 rows,
                 void *image);
