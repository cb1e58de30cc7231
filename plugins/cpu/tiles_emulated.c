/* tiles_emulated.c: AMX's tiles in memory, for tests. After the pseudocode of TDPBF16PS and TDPBUSD in Intel's
 * Architecture Instruction Set Extensions Programming Reference, chapter 3. */
#include <string.h>

#include <glib.h>

#if defined(CPU_TILES_EMULATED)
#include "tiles.h"

#define N_TILES 8
#define ROWS 16
#define BYTES 64

typedef gfloat Floats __attribute__((vector_size(BYTES)));
typedef guint32 Words __attribute__((vector_size(BYTES)));

/* What LDTILECFG reads. */
typedef struct {
    guint8 palette, start, unused[14];
    guint16 bytes[16];
    guint8 rows[16];
} TileConfig;

/* Rows and bytes beyond a tile's own are zero. */
static _Thread_local struct {
    TileConfig config;
    guint32 row[N_TILES][ROWS][BYTES / 4];
} tiles;

void
cpu_tile_config(const void *config)
{
    memset(&tiles, 0, sizeof tiles);
    memcpy(&tiles.config, config, sizeof tiles.config);
    g_assert(tiles.config.palette == 1 && tiles.config.start == 0);
    for (gint t = 0; t < N_TILES; t++) {
        g_assert(tiles.config.rows[t] <= ROWS && tiles.config.bytes[t] <= BYTES &&
                 tiles.config.bytes[t] % 4 == 0);
    }
}

/* The instructions fault at a tile that is not configured. */
static gint
rows_of(gint tile)
{
    g_assert(tile >= 0 && tile < N_TILES && tiles.config.rows[tile] > 0);
    return tiles.config.rows[tile];
}

void
cpu_tile_zero(gint tile)
{
    g_assert(rows_of(tile) > 0);
    memset(tiles.row[tile], 0, sizeof tiles.row[tile]);
}

void
cpu_tile_load(gint tile, const void *from, gint64 step)
{
    cpu_tile_zero(tile);
    for (gint r = 0; r < rows_of(tile); r++) {
        memcpy(tiles.row[tile][r], (const gchar *)from + r * step, tiles.config.bytes[tile]);
    }
}

void
cpu_tile_store(gint tile, void *to, gint64 step)
{
    for (gint r = 0; r < rows_of(tile); r++) {
        memcpy((gchar *)to + r * step, tiles.row[tile][r], tiles.config.bytes[tile]);
    }
}

/* Checks that the three fit each other, as the instructions do; returns the depth in words. */
static gint
depth(gint sums, gint a, gint b)
{
    const TileConfig *c = &tiles.config;
    g_assert(rows_of(sums) == rows_of(a) && c->bytes[sums] == c->bytes[b] &&
             c->bytes[a] / 4 == rows_of(b));
    return rows_of(b);
}

static gfloat
float_of(guint32 bits)
{
    gfloat f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

void
cpu_tile_pairs(gint sums, gint a, gint b)
{
    const gint deep = depth(sums, a, b);
    Floats even[ROWS], odd[ROWS];
    for (gint k = 0; k < deep; k++) {
        Words w;
        memcpy(&w, tiles.row[b][k], sizeof w);
        even[k] = (Floats)(w << 16);
        odd[k] = (Floats)(w & 0xffff0000u);
    }
    for (gint m = 0; m < rows_of(sums); m++) {
        Floats s, of_even = { 0 }, of_odd = { 0 };
        memcpy(&s, tiles.row[sums][m], sizeof s);
        for (gint k = 0; k < deep; k++) {
            const guint32 pair = tiles.row[a][m][k];
            of_even += float_of(pair << 16) * even[k];
            of_odd += float_of(pair & 0xffff0000u) * odd[k];
        }
        s += of_even + of_odd;
        memcpy(tiles.row[sums][m], &s, sizeof s);
    }
}

void
cpu_tile_fours(gint sums, gint a, gint b)
{
    const gint deep = depth(sums, a, b);
    for (gint m = 0; m < rows_of(sums); m++) {
        for (gint k = 0; k < deep; k++) {
            const guint8 *left = (const guint8 *)&tiles.row[a][m][k];
            for (gint n = 0; n < BYTES / 4; n++) {
                const gint8 *right = (const gint8 *)&tiles.row[b][k][n];
                gint32 sum = 0;
                for (gint i = 0; i < 4; i++) {
                    sum += left[i] * right[i];
                }
                tiles.row[sums][m][n] += (guint32)sum;
            }
        }
    }
}
#endif
