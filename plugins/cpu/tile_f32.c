/* tile_f32.c: micro-operations on f32 that round each operation by itself. */
#include <math.h>

#include "tile_math.h"

TILE_FLOATS(f32, float, f)

const TileRow tile_f32_rows[] = { TILE_FLOAT_ROWS(TILE_F32, f32) };
const guint tile_n_f32_rows = G_N_ELEMENTS(tile_f32_rows);
