/* conv_blocked_bf16.h: what a convolution of bf16 over blocks of 32 channels is planned as, and how images
 * and windows are copied for it. */
#pragma once

#include "conv_bf16_kernels.h"
#include "conv_blocked_shape.h"

typedef struct {
    BlockedShape s;
    gboolean copies;
    gint64 deep; /* if plain: steps of a row of the window */
    /* Where a window takes steps, places a step apart are put beside each other: a plane for each
     * that the first of them can be, as many as are seen, and the size of one. */
    gint64 parts[2], seen_parts[2], part_size[2];
    gint64 step[2];       /* between places, within such a plane */
    gint64 lines, length; /* of an image */
    gint64 line, pitch; /* numbers of x from a line to the next; places of a line to a row's next */
    gint rows;          /* of a tile */
    gint64 line_tiles, tiles; /* of a line, of all images */
    gint64 groups, bands;     /* chunks: of blocks out, of tiles */
    gint64 copy_items, copies_per_chunk;
    gint64 x_block, x_image, copy_row; /* numbers, as they are read */
    gint64 line_numbers;               /* if plain: of a padded row, and what is read beyond it */
    gsize weights_at, turned_at;       /* in scratch, if plain */
    ConvBf16Reads reads;
    gint64 part; /* steps that all pairs take before the next */
    const ConvBf16Kernels *kernels;
    gboolean wide;
    gint64 size;  /* of a number of the result */
    gint64 *from; /* for each tile, where its first place is in x */
    gint32 *to;   /* for each place of a tile, which of the result it is */
    gint64 at[];
} BlockedBf16;

typedef struct {
    const BlockedBf16 *plan;
    const guint16 *given, *x, *w, *bias, *more; /* x, w: as they are read */
    guint16 *copy, *turned;                     /* turned: a row for each chunk of copies */
    char *out;
} BlockedBf16Job;

/* A chunk of copies; items are the rows of all images and blocks, as they are read. */
TnStatus blocked_bf16_copy(gpointer job, gsize chunk, gsize n);
/* Windows [M / 32, k, k C, 32, 1] in pairs, zeros behind each row. */
void blocked_bf16_pair(const BlockedBf16 *plan, const guint16 *w, guint16 *to);
