/* fold.h: sums, products and extremes of runs of numbers, in a fixed order for any instruction
 * set. */
#pragma once

#include "tile.h"

typedef enum { FOLD_SUM, FOLD_PROD, FOLD_MAX, FOLD_MIN, FOLD_N } FoldKind;

/* An accumulator: floats of any kind in f64. */
typedef union {
    double f64;
    gint64 i64;
    guint64 u64;
} Fold;

/* Types of runs; bool is folded as u64 after loading. */
typedef void (*FoldFn)(Fold *acc, const void *x, gint64 n);
/* acc[j] (in the run's own type) op= x[j]. */
typedef void (*FoldColumnsFn)(void *acc, const void *x, gint64 n);

FoldFn fold_run(FoldKind kind, TileType type);
FoldColumnsFn fold_columns(FoldKind kind, TileType type);
/* For x as it lies in memory, of a dtype that runs are not of; NULL: there is none. */
FoldColumnsFn fold_columns_of(FoldKind kind, TnDtype dtype);
/* The neutral element of a dtype: 0, 1, the lowest, the highest. */
Fold fold_begin(FoldKind kind, TnDtype dtype);
