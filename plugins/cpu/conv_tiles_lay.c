/* conv_tiles_lay.c: images over lanes of samples as the tiles that products read (conv_tiles.h). */
#include "conv_tiles.h"
#include "conv_tiles_kernels.h"

#define LANES TN_LANES
/* Places that are read of a map before the next one: reads and writes both stay in the first-level
 * cache. */
#define STEP 8
#define ROW (2 * LANES)

static const guint16 zeros[STEP * LANES];

static const guint16 *
lane_of(const TilesImages *images, gint64 map, gint64 half, gint64 place)
{
    const gint64 block = 2 * images->pair + half, at = images->map_block * BF16_BLOCK + map;
    if (block >= images->blocks || at >= images->maps) {
        return zeros;
    }
    return images->from + ((block * images->maps + at) * images->places + place) * LANES;
}

static void
rows_at(const TilesImages *images, gint64 place, gint64 n, guint16 *to)
{
    for (gint64 map = 0; map < BF16_BLOCK; map++) {
        for (gint64 half = 0; half < 2; half++) {
            const guint16 *from = lane_of(images, map, half, place);
            guint16 *at = to + map * ROW + half * LANES;
            for (gint64 i = 0; i < n; i++) {
                memcpy(at + i * TILES_CELL, from + i * LANES, LANES * sizeof *to);
            }
        }
    }
}

void
conv_tiles_lay_rows(const TilesImages *images, guint16 *to)
{
    for (gint64 place = images->first; place < images->end; place += STEP) {
        const gint64 n = MIN(STEP, images->end - place);
        rows_at(images, place, n, to);
        to += n * TILES_CELL;
    }
}

void
conv_tiles_lay_samples(const TilesImages *images, guint16 *to)
{
    const Bf16Kernels *kernels = bf16_kernels();
    guint16 rows[STEP * TILES_CELL] __attribute__((aligned(64)));
    for (gint64 place = images->first; place < images->end; place += STEP) {
        const gint64 n = MIN(STEP, images->end - place);
        rows_at(images, place, n, rows);
        for (gint64 i = 0; i < 2 * n; i++, to += TILES_CELL / 2) {
            kernels->turn(rows + i * TILES_CELL / 2, ROW, to);
        }
    }
}

void
conv_tiles_lay_maps(const TilesImages *images, guint16 *to)
{
    const TilesKernels *kernels = conv_tiles_kernels();
    for (gint64 place = images->first; place < images->end; place += STEP) {
        const gint64 n = MIN(STEP, images->end - place);
        for (gint64 half = 0; half < 2; half++) {
            for (gint64 map = 0; map < BF16_BLOCK; map += 2) {
                kernels->zip(lane_of(images, map, half, place),
                             lane_of(images, map + 1, half, place), n,
                             to + half * TILES_CELL / 2 + map * LANES, TILES_CELL);
            }
        }
        to += n * TILES_CELL;
    }
}
