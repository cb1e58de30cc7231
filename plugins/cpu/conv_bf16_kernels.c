/* conv_bf16_kernels.c: blocks of convolutions of bf16: tiles of AMX, pairs of AVX-512, and a loop that
 * any processor runs. A tile of images is 16 places of 32 channels, which lie in memory as the
 * instruction reads them. All add up over steps from the first; how pairs are put together, and so the
 * last bit, is the processor's. */
#include "conv_bf16_kernels.h"

#include "bf16.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define L CONV_BF16_L

/* --- Any processor ---------------------------------------------------------------------------- */

static CPU_INLINE void
place_body(const ConvBf16Reads *r, const guint16 *x, const guint16 *w, float *sums)
{
    float sum[L] = { 0 };
    for (gint64 s = 0; s < r->steps; s++) {
        const guint16 *from = x + r->at[s];
        for (gint p = 0; p < L / 2; p++, w += 2 * L) {
            const float even = cpu_bf16_wide(from[2 * p]), odd = cpu_bf16_wide(from[2 * p + 1]);
            for (gint j = 0; j < L; j++) {
                guint32 pair;
                memcpy(&pair, w + 2 * j, sizeof pair);
                const guint32 low = pair << 16, high = pair & 0xffff0000u;
                float a, b;
                memcpy(&a, &low, sizeof a);
                memcpy(&b, &high, sizeof b);
                sum[j] += even * a;
                sum[j] += odd * b;
            }
        }
    }
    memcpy(sums, sum, sizeof sum);
}

static CPU_INLINE void
block_body(const ConvBf16Reads *r, const guint16 *const *x, gint rows, const guint16 *w,
           const ConvBf16Fetch *fetch, float *sums)
{
    (void)fetch;
    for (gint g = 0; g < CONV_BF16_GROUPS && x[g] != NULL; g++) {
        for (gint i = 0; i < rows; i++) {
            place_body(r, x[g] + i * r->apart, w, sums + (g * rows + i) * L);
        }
    }
}

static CPU_INLINE void
store_body(const float *sums, gint64 n, const float *bias, const guint16 *more, gboolean relu,
           gboolean wide, void *out)
{
    for (gint64 i = 0; i < n; i++) {
        for (gint j = 0; j < L; j++) {
            float y = sums[i * L + j] + (bias != NULL ? bias[j] : 0);
            y = more != NULL ? y + cpu_bf16_wide(more[i * L + j]) : y;
            y = relu && y <= 0 ? 0 : y;
            if (wide) {
                ((float *)out)[i * L + j] = y;
            } else {
                ((guint16 *)out)[i * L + j] = cpu_bf16_narrow(y);
            }
        }
    }
}

CPU_FUNCTIONS(block,
              (const ConvBf16Reads *r, const guint16 *const *x, gint rows, const guint16 *w,
               const ConvBf16Fetch *fetch, float *sums),
              (r, x, rows, w, fetch, sums))
CPU_FUNCTIONS(store,
              (const float *sums, gint64 n, const float *bias, const guint16 *more, gboolean relu,
               gboolean wide, void *out),
              (sums, n, bias, more, relu, wide, out))

static const ConvBf16Kernels plain[CPU_N_ISA] = {
    [CPU_PORTABLE] = { block_portable, store_portable, NULL, NULL },
    [CPU_AVX2] = { block_avx2, store_avx2, NULL, NULL },
    [CPU_AVX512] = { block_avx512, store_avx512, NULL, NULL },
};

#if defined(__x86_64__)
/* --- AVX-512: pairs --------------------------------------------------------------------------- */

CPU_TARGET_PAIRS static inline __m512
added(__m512 sum, __m512 bias, const guint16 *more, gboolean relu)
{
    __m512 y = _mm512_add_ps(sum, bias);
    if (more != NULL) {
        const __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)more));
        y = _mm512_add_ps(y, _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16)));
    }
    /* Of a NaN the second operand is the result. */
    return relu ? _mm512_max_ps(_mm512_setzero_ps(), y) : y;
}

/* Rounds as cpu_bf16_narrow does, but that results too small to be normal become zero. */
CPU_TARGET_PAIRS static inline void
store_with(const float *sums, gint64 n, const float *bias, const guint16 *more, gboolean relu,
           gboolean wide, void *out)
{
    const __m512 low = bias != NULL ? _mm512_loadu_ps(bias) : _mm512_setzero_ps();
    const __m512 high = bias != NULL ? _mm512_loadu_ps(bias + L / 2) : _mm512_setzero_ps();
    for (gint64 i = 0; i < n * L; i += L) {
        const guint16 *other = more != NULL ? more + i : NULL;
        const __m512 a = added(_mm512_loadu_ps(sums + i), low, other, relu);
        const __m512 b = added(_mm512_loadu_ps(sums + i + L / 2), high,
                               other != NULL ? other + L / 2 : NULL, relu);
        if (wide) {
            _mm512_storeu_ps((float *)out + i, a);
            _mm512_storeu_ps((float *)out + i + L / 2, b);
        } else {
            _mm512_storeu_si512((guint16 *)out + i, (__m512i)_mm512_cvtne2ps_pbh(b, a));
        }
    }
}

CPU_TARGET_PAIRS static void
store_pairs(const float *sums, gint64 n, const float *bias, const guint16 *more, gboolean relu,
            gboolean wide, void *out)
{
    if (wide) {
        store_with(sums, n, bias, more, relu, TRUE, out);
    } else if (more != NULL) {
        store_with(sums, n, bias, more, relu, FALSE, out);
    } else {
        store_with(sums, n, bias, NULL, relu, FALSE, out);
    }
}

/* ROWS places, those from n on like the last. */
CPU_TARGET_PAIRS static void
places_pairs(const ConvBf16Reads *r, const guint16 *x, gint n, const guint16 *w, float *sums)
{
    enum { ROWS = 8 };
    __m512 left[ROWS], right[ROWS];
    gint64 place[ROWS];
    for (gint i = 0; i < ROWS; i++) {
        left[i] = right[i] = _mm512_setzero_ps();
        place[i] = MIN(i, n - 1) * r->apart;
    }
    for (gint64 s = 0; s < r->steps; s++) {
        const guint16 *from = x + r->at[s];
        for (gint p = 0; p < L / 2; p++, w += 2 * L) {
            const __m512bh a = (__m512bh)_mm512_loadu_si512(w);
            const __m512bh b = (__m512bh)_mm512_loadu_si512(w + L);
            for (gint i = 0; i < ROWS; i++) {
                gint32 pair;
                memcpy(&pair, from + place[i] + 2 * p, sizeof pair);
                const __m512bh seen = (__m512bh)_mm512_set1_epi32(pair);
                left[i] = _mm512_dpbf16_ps(left[i], seen, a);
                right[i] = _mm512_dpbf16_ps(right[i], seen, b);
            }
        }
    }
    for (gint i = 0; i < ROWS && i < n; i++) {
        _mm512_storeu_ps(sums + i * L, left[i]);
        _mm512_storeu_ps(sums + i * L + L / 2, right[i]);
    }
}

static void
block_pairs(const ConvBf16Reads *r, const guint16 *const *x, gint rows, const guint16 *w,
            const ConvBf16Fetch *fetch, float *sums)
{
    (void)fetch;
    for (gint g = 0; g < CONV_BF16_GROUPS && x[g] != NULL; g++) {
        for (gint i = 0; i < rows; i += 8) {
            places_pairs(r, x[g] + i * r->apart, MIN(8, rows - i), w, sums + (g * rows + i) * L);
        }
    }
}

static const ConvBf16Kernels pairs = { block_pairs, store_pairs, NULL, NULL };

/* --- AMX: tiles ------------------------------------------------------------------------------- */

/* Tiles of 64 bytes a row: 0 to 3 sums, 4 and 5 of images, 6 and 7 of weights. In memory of its own,
 * for compilers do not see that the instruction reads it. */
typedef struct {
    guint8 palette, start, unused[14];
    guint16 bytes[16];
    guint8 rows[16];
} TileConfig;

#define CONFIG(n)                                                                                  \
    [n] = { .palette = 1,                                                                          \
            .bytes = { 64, 64, 64, 64, 64, 64, 64, 64 },                                           \
            .rows = { n, n, n, n, n, n, 16, 16 } },
static const TileConfig configs[CONV_BF16_ROWS + 1] = { CONFIG(1) CONFIG(2) CONFIG(3) CONFIG(
    4) CONFIG(5) CONFIG(6) CONFIG(7) CONFIG(8) CONFIG(9) CONFIG(10) CONFIG(11) CONFIG(12) CONFIG(13)
                                                            CONFIG(14) CONFIG(15) CONFIG(16) };

CPU_TARGET_TILES static void
begin_tiles(gint rows)
{
    _tile_loadconfig(&configs[rows]);
}

CPU_TARGET_TILES static void
end_tiles(void)
{
    _tile_release();
}

/* Steps from the weights that are read to those that are fetched: memory answers that late. */
#define AHEAD 4

/* A step's lines of the next tiles, and of weights. Where they are known to be near, this would take
 * longer than it saves. */
static CPU_INLINE void
fetch_step(const ConvBf16Reads *r, gint64 s, gint rows, const guint16 *w, gboolean weights,
           const guint16 *const *next)
{
    for (gint i = 0; weights && i < CONV_BF16_WEIGHTS / L; i++) {
        __builtin_prefetch(w + AHEAD * CONV_BF16_WEIGHTS + i * L);
    }
    for (gint g = 0; next != NULL && g < CONV_BF16_GROUPS; g++) {
        for (gint i = 0; next[g] != NULL && i < rows; i++) {
            __builtin_prefetch(next[g] + r->at[s] + i * r->apart);
        }
    }
}

CPU_TARGET_TILES static inline __attribute__((always_inline)) void
block_with(const ConvBf16Reads *r, const guint16 *const *x, gint rows, const guint16 *w,
           gboolean weights, const guint16 *const *next, float *sums)
{
    const gint64 row = r->apart * (gint64)sizeof *w, line = 2 * L * (gint64)sizeof *w;
    const gint64 out = L * (gint64)sizeof *sums;
    const guint16 *a = x[0], *b = x[1];
    _tile_zero(0);
    _tile_zero(1);
    if (b != NULL) {
        _tile_zero(2);
        _tile_zero(3);
        for (gint64 s = 0; s < r->steps; s++, w += CONV_BF16_WEIGHTS) {
            const gint64 at = r->at[s];
            fetch_step(r, s, rows, w, weights, next);
            _tile_loadd(4, a + at, row);
            _tile_loadd(6, w, line);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, w + L, line);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, b + at, row);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(2, sums + rows * L, out);
        _tile_stored(3, sums + rows * L + L / 2, out);
    } else {
        for (gint64 s = 0; s < r->steps; s++, w += CONV_BF16_WEIGHTS) {
            fetch_step(r, s, rows, w, weights, next);
            _tile_loadd(4, a + r->at[s], row);
            _tile_loadd(6, w, line);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, w + L, line);
            _tile_dpbf16ps(1, 4, 7);
        }
    }
    _tile_stored(0, sums, out);
    _tile_stored(1, sums + L / 2, out);
}

CPU_TARGET_TILES static void
block_tiles(const ConvBf16Reads *r, const guint16 *const *x, gint rows, const guint16 *w,
            const ConvBf16Fetch *fetch, float *sums)
{
    if (fetch->weights && fetch->x[0] != NULL) {
        block_with(r, x, rows, w, TRUE, fetch->x, sums);
    } else if (fetch->weights) {
        block_with(r, x, rows, w, TRUE, NULL, sums);
    } else if (fetch->x[0] != NULL) {
        block_with(r, x, rows, w, FALSE, fetch->x, sums);
    } else {
        block_with(r, x, rows, w, FALSE, NULL, sums);
    }
}

static const ConvBf16Kernels tiles = { block_tiles, store_pairs, begin_tiles, end_tiles };
#endif

const ConvBf16Kernels *
conv_bf16_kernels(void)
{
#if defined(__x86_64__)
    if (cpu_bf16 == CPU_BF16_TILES) {
        return &tiles;
    }
    if (cpu_bf16 == CPU_BF16_PAIRS) {
        return &pairs;
    }
#endif
    return &plain[cpu_isa];
}
