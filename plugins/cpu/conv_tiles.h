/* conv_tiles.h: convolutions of bf16 over lanes of sixteen samples, as products of tiles: what the passes
 * over images (conv_tiles.c) and the gradients of weights (conv_tiles_weight.c) share.
 *
 * Two lanes of samples are computed together, so that each block of products is 32 maps by 32 samples at
 * one place, or 32 by 32 weights of one tap. Whatever hangs on the place, which taps are inside the
 * image, is the same for all of a block: nothing is padded, and no product is with padding. */
#pragma once

#include "gemm_bf16_kernels.h"

#define TILES_TAPS 64                          /* of a window, at most */
#define TILES_CELL (BF16_TILE * BF16_DEEP * 2) /* numbers of two tiles, one after the other */
#define TILES_SUMS (BF16_BLOCK * BF16_BLOCK)

/* One spatial axis: of x, of y, of the window. */
typedef struct {
    gint64 x, y, kernel, stride, dilation, pad;
} TilesAxis;

/* A convolution of x [blocks, channels, …, 16] into y [blocks, maps, …, 16]. */
typedef struct {
    gint64 blocks, pairs;                              /* of sixteen samples; two of them */
    gint64 channels, maps, channel_blocks, map_blocks; /* blocks of 32 */
    gint64 taps, x_places, y_places;
    TilesAxis axis[2];
} TilesShape;

/* FALSE: not over lanes, or not worth it. */
gboolean conv_tiles_shape(const TnNode *node, const TnType *x, const TnType *w, const TnType *y,
                          TilesShape *shape);

/* n of so many bytes; a few of these together do not overflow. */
static inline gsize
conv_tiles_bytes(gint64 n, gint64 each)
{
    return (gsize)MIN(cpu_times(n, each), G_MAXINT64 / 4);
}

/* Images [blocks, maps, places, 16], of which some are laid: 32 maps of two blocks at places
 * [first, end), a place after the other. */
typedef struct {
    const guint16 *from;
    gint64 blocks, maps, places;
    gint64 pair, map_block, first, end;
} TilesImages;

/* As [map][sample]: rows of two tiles of 16 maps. */
void conv_tiles_lay_rows(const TilesImages *images, guint16 *to);
/* Pairs of maps of each sample beside each other: two tiles of 16 samples, 32 maps deep. */
void conv_tiles_lay_maps(const TilesImages *images, guint16 *to);
/* Pairs of samples of each map beside each other: two tiles of 16 maps, 32 samples deep. */
void conv_tiles_lay_samples(const TilesImages *images, guint16 *to);
