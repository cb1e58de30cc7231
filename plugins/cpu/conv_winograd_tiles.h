/* conv_winograd_tiles.h: Winograd's transforms of a tile of 6 x 6 places, of sixteen channels at once
 * (conv_winograd.c). */
#pragma once

#include <glib.h>

#define WINOGRAD_TILE 6 /* places of x that a tile sees along an axis */
#define WINOGRAD_OUT 4  /* places of y that it makes */
#define WINOGRAD_ALL 36 /* products of a tile */

/* Where a tile lies in a plane [size[0], size[1], 16]: at (row, column), which may be outside. */
typedef struct {
    gint64 size[2], row, column;
} WinogradPlace;

typedef struct {
    /* to[k * step] = product k's part of x, 0 where it is outside. */
    void (*in)(const float *x, const WinogradPlace *place, float *to, gint64 step);
    /* y = what is inside of the tile that from[k * step] make, + bias[16], + more as y; max (., 0) if
     * relu. bias, more NULL: none. */
    void (*out)(const float *from, gint64 step, const WinogradPlace *place, const float *bias,
                const float *more, gboolean relu, float *y);
} WinogradTiles;

/* Per instruction set. */
extern const WinogradTiles winograd_tiles[];
