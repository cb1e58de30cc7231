/* quantized_kernels.h: blocks of places and maps of products of 8-bit numbers, u8 by i8, and what is done
 * to their sums. Every instruction set gives the same sums, as they are exact. */
#pragma once

#include <glib.h>

#define QUANTIZED_PLACES 32 /* of a block */
#define QUANTIZED_MAPS 32   /* two tiles of weights */
#define QUANTIZED_TILE 1024 /* bytes of a tile of weights: 64 numbers of 16 maps */

/* What a place sees: rows of whole tiles of 64 bytes. */
typedef struct {
    gint64 n, tiles;  /* rows, and tiles of each */
    const gint64 *at; /* of each row, from the place's first byte */
    gint64 step;      /* bytes from a place to the next */
} QuantizedReads;

/* What becomes of sums: tenon/nn.h, quantized_conv. Of the block's first map on. */
typedef struct {
    const gint32 *offset;
    const float *scale, *bias;
    gboolean has_more, more_narrow; /* more_narrow: u8, else f32 */
    float more_scale, more_zero;
    gboolean relu, narrow; /* narrow: the result is u8 */
    float y_inverse, y_zero;
} QuantizedFinish;

typedef struct {
    /* sums[QUANTIZED_PLACES][QUANTIZED_MAPS] of `places` places by one or both blocks of weights; w1
     * NULL: one. */
    void (*block)(const QuantizedReads *reads, const guint8 *x, gint64 places, const gint8 *w0,
                  const gint8 *w1, gint32 *sums);
    /* The sums of `maps` maps of neighbouring places, whose results are `apart` elements apart, as are
     * those of more. */
    void (*finish)(const QuantizedFinish *finish, const gint32 *sums, gint64 places, gint64 maps,
                   gint64 apart, const void *more, void *out);
    /* Around blocks of so many places on a thread; NULL: nothing. */
    void (*begin)(gint64 places);
    void (*end)(void);
} QuantizedKernels;

/* For cpu_isa and cpu_bf16. */
const QuantizedKernels *quantized_kernels(void);
