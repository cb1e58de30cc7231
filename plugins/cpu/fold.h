/* fold.h: sums, products and extremes of runs of numbers, in a fixed order for any instruction
 * set. */
#pragma once

#include "tile.h"

/* A run may be cut at multiples of so many elements. */
#define FOLD_BLOCK 512
/* Rows that columns are added up over in their own type before they go to f64. */
#define FOLD_ROWS 64
/* Columns at once. */
#define FOLD_COLUMNS 512

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

/* Accumulators of n columns, of the type of their runs: the neutral element; whether they are added to
 * f64 every FOLD_ROWS rows and at the end; that. */
void fold_columns_begin(FoldKind kind, TnDtype dtype, void *acc, gint64 n);
gboolean fold_columns_widen(FoldKind kind, TnDtype dtype);
void fold_columns_flush(FoldKind kind, TnDtype dtype, void *acc, Fold *wide, gint64 n);
Fold fold_column(TnDtype dtype, const void *acc, gint64 j);

/* Where little is kept, what is reduced is cut into slices, whose results are put together in order. */
typedef struct {
    gint64 n, each; /* slices; positions along what is cut, of the last perhaps fewer */
} FoldSlices;
/* Blocks that columns are computed in. */
static inline gint64
fold_blocks(gint64 columns)
{
    return cpu_parts(columns, FOLD_COLUMNS);
}
/* How much counts for slices, where what is kept makes so many blocks. */
gint64 fold_sliced(gint64 blocks, gint64 n_kept, gint64 n_reduced, gboolean invariant);
/* first: positions along what is cut; slices are multiples of unit. */
FoldSlices fold_slices(gint64 sliced, gint64 first, gint64 unit);
/* What slices of a sum over all of that type are multiples of: whole rows, unless they are long. */
gint64 fold_unit(const TnType *type);
/* partial[slice][kept] into partial[0]. */
void fold_combine(FoldKind kind, TileType type, Fold *partial, gint64 slices, gint64 n_kept);
/* Rounded into memory of a dtype. */
void fold_store(TnDtype dtype, void *out, Fold fold);
/* Rounded to a dtype, as it is held in a tile. */
void fold_value(TnDtype dtype, void *to, Fold fold);
