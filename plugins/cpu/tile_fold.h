/* tile_fold.h: a reduction in a program. */
#pragma once

#include "fold.h"

/* Over a row; over everything; over all rows, of columns. */
typedef enum { REACH_ROW, REACH_ALL, REACH_COLUMNS } TileReach;

struct TileFold {
    TileReach reach;
    FoldKind kind;
    TileType type; /* of its run */
    TnDtype dtype; /* of its result */
    FoldFn run;
    FoldColumnsFn columns;
    guint16 in, out; /* slots; out: of REACH_ROW */
    gint output;     /* number of the node's output that it is, else -1 */
    gint64 width;    /* columns; 1 */
    gint64 slices;
    gsize scratch; /* where its partial results [slice][width] lie, then accumulators of columns */
};

/* An element for each row of a tile, to all elements of the row. Any type of that many bytes. */
TileFn tile_spread(gsize size);
