/* conv_tiles_lay.c: images over lanes of samples as the tiles that products read (conv_tiles.h). */
#include "conv_tiles.h"

#define LANES TN_LANES
/* Places that are read of a map before the next one: reads and writes both stay in the first-level
 * cache. */
#define STEP 8
#define ROW (2 * LANES)
#define PIECES 2

/* n times sixteen samples of a map from a place on, in pieces, `step` apart in each of `to`. */
static void
lanes_at(const TilesImages *images, gint64 map, gint64 half, gint64 place, gint64 n,
         guint16 *const *to, gint64 step)
{
    const TilesShape *shape = images->shape;
    const gint64 block = 2 * images->pair + half, at = images->map_block * BF16_BLOCK + map;
    const gint64 first = ((block * images->maps + at) * images->places + place) * LANES;
    const gboolean is = block < shape->blocks && at < images->maps;
    for (gint64 i = 0; i < n; i++) {
        guint16 *lanes = to[0] + i * step, *rest = to[1] + i * step;
        if (!is) {
            memset(lanes, 0, LANES * sizeof *lanes);
            memset(rest, 0, LANES * sizeof *rest);
        } else if (shape->pieces == 1) {
            memcpy(lanes, (const guint16 *)images->from + first + i * LANES, LANES * sizeof *lanes);
        } else {
            conv_tiles_kernels()->split((const float *)images->from + first + i * LANES, LANES,
                                        lanes, rest);
        }
    }
}

static void
rows_at(const TilesImages *images, gint64 place, gint64 n, guint16 *to)
{
    const TilesShape *shape = images->shape;
    for (gint64 map = 0; map < BF16_BLOCK; map++) {
        for (gint64 half = 0; half < 2; half++) {
            guint16 *at = to + map * ROW + half * LANES;
            guint16 *const pieces[] = { at, at + (shape->pieces - 1) * TILES_CELL };
            lanes_at(images, map, half, place, n, pieces, shape->cell);
        }
    }
}

void
conv_tiles_lay_rows(const TilesImages *images, guint16 *to)
{
    for (gint64 place = images->first; place < images->end; place += STEP) {
        const gint64 n = MIN(STEP, images->end - place);
        rows_at(images, place, n, to);
        to += n * images->shape->cell;
    }
}

void
conv_tiles_lay_samples(const TilesImages *images, guint16 *to)
{
    const Bf16Kernels *kernels = bf16_kernels();
    guint16 rows[STEP * PIECES * TILES_CELL] __attribute__((aligned(64)));
    for (gint64 place = images->first; place < images->end; place += STEP) {
        const gint64 n = MIN(STEP, images->end - place);
        rows_at(images, place, n, rows);
        for (gint64 i = 0; i < n * images->shape->cell; i += TILES_CELL / 2) {
            kernels->turn(rows + i, ROW, to + i);
        }
        to += n * images->shape->cell;
    }
}

void
conv_tiles_lay_maps(const TilesImages *images, guint16 *to)
{
    const TilesKernels *kernels = conv_tiles_kernels();
    const TilesShape *shape = images->shape;
    guint16 lanes[2][PIECES][STEP * LANES];
    guint16 *const even[] = { lanes[0][0], lanes[0][1] }, *const odd[] = { lanes[1][0],
                                                                           lanes[1][1] };
    for (gint64 place = images->first; place < images->end; place += STEP) {
        const gint64 n = MIN(STEP, images->end - place);
        for (gint64 half = 0; half < 2; half++) {
            for (gint64 map = 0; map < BF16_BLOCK; map += 2) {
                lanes_at(images, map, half, place, n, even, LANES);
                lanes_at(images, map + 1, half, place, n, odd, LANES);
                for (gint64 k = 0; k < shape->pieces; k++) {
                    kernels->zip(even[k], odd[k], n,
                                 to + k * TILES_CELL + half * TILES_CELL / 2 + map * LANES,
                                 shape->cell);
                }
            }
        }
        to += n * shape->cell;
    }
}
