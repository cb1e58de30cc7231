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

/* n places of a block of maps that are summed up and wait for what follows. */
typedef struct {
    QuantizedFinish finish;
    const gint32 *sums;
    const gint64 *to; /* which place of the result each is; -1: none */
    gint64 n, maps;   /* maps: of the block */
    gint64 apart;     /* numbers of out and of more from a place to the next */
    const char *more; /* NULL: none */
    char *out;        /* both: of place 0, from the block's first map on */
} QuantizedRest;

/* Lines of memory that are read later, so many with each tile of a place. */
typedef struct {
    const gint8 *from;
    gint64 lines;
} QuantizedFetch;

typedef struct {
    /* sums[QUANTIZED_PLACES][QUANTIZED_MAPS] of `places` places by one or both blocks of weights; w1
     * NULL: one. rest: what is done while products are under way, of other sums; those that cannot do so
     * leave it. */
    void (*block)(const QuantizedReads *reads, const guint8 *x, gint64 places, const gint8 *w0,
                  const gint8 *w1, QuantizedFetch fetch, const QuantizedRest *rest, gint32 *sums);
    void (*finish)(const QuantizedRest *rest);
    gboolean along; /* block finishes its rest */
    /* Around blocks of so many places on a thread; NULL: nothing. */
    void (*begin)(gint64 places);
    void (*end)(void);
} QuantizedKernels;

/* For cpu_isa and cpu_bf16. */
const QuantizedKernels *quantized_kernels(void);
