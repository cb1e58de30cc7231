/* conv_tiles_kernels.c: lists of products of tiles, and what stands before and after them. */
#include "conv_tiles_kernels.h"

#if defined(__x86_64__)
#include "tiles.h"

#define LANES BF16_TILE
#define TILE (BF16_TILE_BYTES / 2)
#define SUMS_AT_ONCE 16 /* in registers: as many as hide how long each product takes */

/* --- AVX512_BF16 ------------------------------------------------------------------------------ */

/* Rows [row, row + rows) of the sums, in registers from the first pair of the list to the last; of `columns`
 * tiles. */
CPU_TARGET_PAIRS static CPU_INLINE void
list_rows(gint64 n, const TilesPair *list, gint row, gint rows, gint columns, gboolean add,
          float *sums)
{
    __m512 sum[SUMS_AT_ONCE];
    float *to = sums + row * BF16_BLOCK;
    for (gint i = 0; i < rows * columns; i++) {
        const float *from = to + i / columns * BF16_BLOCK + i % columns * LANES;
        sum[i] = add ? _mm512_loadu_ps(from) : _mm512_setzero_ps();
    }
    for (const TilesPair *end = list + n; list < end; list++) {
        const guint16 *a = list->a + row * BF16_DEEP, *b = list->b;
        for (gint p = 0; p < BF16_DEEP / 2; p++, a += 2, b += 2 * LANES) {
            __m512bh seen[2];
            for (gint j = 0; j < columns; j++) {
                seen[j] = (__m512bh)_mm512_loadu_si512(b + j * TILE);
            }
            for (gint i = 0; i < rows; i++) {
                gint32 pair;
                memcpy(&pair, a + i * BF16_DEEP, sizeof pair);
                const __m512bh weights = (__m512bh)_mm512_set1_epi32(pair);
                for (gint j = 0; j < columns; j++) {
                    sum[i * columns + j] = _mm512_dpbf16_ps(sum[i * columns + j], weights, seen[j]);
                }
            }
        }
    }
    for (gint i = 0; i < rows * columns; i++) {
        _mm512_storeu_ps(to + i / columns * BF16_BLOCK + i % columns * LANES, sum[i]);
    }
}

CPU_TARGET_PAIRS static void
list_pairs(gint64 n, const TilesPair *list, gint n_b, gboolean add, float *sums)
{
    if (n_b == 2) {
        for (gint row = 0; row < BF16_BLOCK; row += SUMS_AT_ONCE / 2) {
            list_rows(n, list, row, SUMS_AT_ONCE / 2, 2, add, sums);
        }
    } else {
        for (gint row = 0; row < BF16_BLOCK; row += SUMS_AT_ONCE) {
            list_rows(n, list, row, SUMS_AT_ONCE, 1, add, sums);
        }
    }
}

CPU_TARGET_PAIRS static void
zip_fast(const guint16 *a, const guint16 *b, gint64 n, guint16 *to, gint64 step)
{
    for (gint64 i = 0; i < n; i++, a += LANES, b += LANES, to += step) {
        const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)a));
        const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)b));
        _mm512_storeu_si512(to, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
}

CPU_TARGET_PAIRS static void
put_fast(const float *sums, gint64 step, gint64 n, float bias, guint16 *to)
{
    const __m512 more = _mm512_set1_ps(bias);
    for (gint64 i = 0; i < n; i++, sums += step, to += LANES) {
        const __m512 x = _mm512_add_ps(_mm512_loadu_ps(sums), more);
        _mm256_storeu_si256((void *)to, (__m256i)_mm512_cvtneps_pbh(x));
    }
}

static const TilesKernels pairs = { list_pairs, zip_fast, put_fast };

/* --- AMX -------------------------------------------------------------------------------------- */

/* Tiles 0 to 3 are sums, 4 and 5 of a, 6 and 7 of b, as set up by bf16_kernels ()->begin. */
CPU_TARGET_TILES static void
list_tiles(gint64 n, const TilesPair *list, gint n_b, gboolean add, float *sums)
{
    const gint64 out = BF16_BLOCK * sizeof(float);
    if (add) {
        _tile_loadd(0, sums, out);
        _tile_loadd(1, sums + LANES, out);
        _tile_loadd(2, sums + LANES * BF16_BLOCK, out);
        _tile_loadd(3, sums + LANES * BF16_BLOCK + LANES, out);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    if (n_b == 2) {
        for (gint64 i = 0; i < n; i++) {
            const guint16 *a = list[i].a, *b = list[i].b;
            _tile_loadd(6, b, 64);
            _tile_loadd(4, a, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, b + TILE, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, a + TILE, 64);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(1, sums + LANES, out);
        _tile_stored(3, sums + LANES * BF16_BLOCK + LANES, out);
    } else {
        for (gint64 i = 0; i < n; i++) {
            const guint16 *a = list[i].a;
            _tile_loadd(6, list[i].b, 64);
            _tile_loadd(4, a, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(5, a + TILE, 64);
            _tile_dpbf16ps(2, 5, 6);
        }
    }
    _tile_stored(0, sums, out);
    _tile_stored(2, sums + LANES * BF16_BLOCK, out);
}

static const TilesKernels tiles = { list_tiles, zip_fast, put_fast };

const TilesKernels *
conv_tiles_kernels(void)
{
    return cpu_bf16 == CPU_BF16_TILES ? &tiles : &pairs;
}
#else
const TilesKernels *
conv_tiles_kernels(void)
{
    return NULL;
}
#endif
