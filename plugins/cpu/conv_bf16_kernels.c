/* conv_bf16_kernels.c: blocks of convolutions of bf16: tiles of AMX, pairs of AVX-512, and a loop that
 * any processor runs. A tile of images is 16 places of 32 channels, which lie in memory as the
 * instruction reads them. All add up over steps from the first; how pairs are put together, and so the
 * last bit, is the processor's. */
#include "conv_bf16_kernels.h"

#include "bf16.h"

#include <math.h>

#if defined(__x86_64__)
#include "tiles.h"
#endif

#define L CONV_BF16_L

/* --- Any processor ---------------------------------------------------------------------------- */

static CPU_INLINE void
place_body(const ConvBf16Reads *r, const guint16 *x, const guint16 *w, gboolean begins, float *sums)
{
    float sum[L] = { 0 };
    if (!begins) {
        memcpy(sum, sums, sizeof sum);
    }
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
finish_body(const ConvBf16Rest *rest)
{
    for (gint i = 0; i < rest->n; i++) {
        const float *sums = rest->sums + i * L;
        const gint64 to = rest->to[i] * (gint64)L;
        for (gint j = 0; j < L && to >= 0; j++) {
            float y = sums[j] + (rest->bias != NULL ? rest->bias[j] : 0);
            y = rest->more != NULL ? y + cpu_bf16_wide(rest->more[to + j]) : y;
            y = rest->relu && y <= 0 ? 0 : y;
            if (rest->wide) {
                ((float *)(void *)rest->out)[to + j] = y;
            } else {
                ((guint16 *)(void *)rest->out)[to + j] = cpu_bf16_narrow(y);
            }
        }
    }
}

static CPU_INLINE void
block_body(const ConvBf16Reads *r, const guint16 *const *x, gint rows, const guint16 *w,
           gboolean begins, ConvBf16Fetch fetch, const ConvBf16Rest *rest, float *sums)
{
    (void)fetch;
    finish_body(rest);
    for (gint g = 0; g < CONV_BF16_GROUPS && x[g] != NULL; g++) {
        for (gint i = 0; i < rows; i++) {
            place_body(r, x[g] + i * r->apart, w, begins, sums + (g * rows + i) * L);
        }
    }
}

CPU_FUNCTIONS(block,
              (const ConvBf16Reads *r, const guint16 *const *x, gint rows, const guint16 *w,
               gboolean begins, ConvBf16Fetch fetch, const ConvBf16Rest *rest, float *sums),
              (r, x, rows, w, begins, fetch, rest, sums))
CPU_FUNCTIONS(finish, (const ConvBf16Rest *rest), (rest))

static const ConvBf16Kernels plain[CPU_N_ISA] = {
    [CPU_PORTABLE] = { block_portable, finish_portable, NULL, NULL },
    [CPU_AVX2] = { block_avx2, finish_avx2, NULL, NULL },
    [CPU_AVX512] = { block_avx512, finish_avx512, NULL, NULL },
};

#if defined(__x86_64__)
/* --- AVX-512: pairs --------------------------------------------------------------------------- */

CPU_TARGET_PAIRS static CPU_INLINE __m512
wider(const guint16 *more)
{
    const __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)more));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}

/* Rounds as cpu_bf16_narrow does, but that results too small to be normal become zero. */
CPU_TARGET_PAIRS static CPU_INLINE void
follow_with(const ConvBf16Rest *rest, gint first, gint end, const guint16 *more, gboolean wide)
{
    const __m512 zero = _mm512_setzero_ps();
    const __m512 low = rest->bias != NULL ? _mm512_loadu_ps(rest->bias) : zero;
    const __m512 high = rest->bias != NULL ? _mm512_loadu_ps(rest->bias + L / 2) : zero;
    const __m512 least = rest->relu ? zero : _mm512_set1_ps(-INFINITY);
    const float *sums = rest->sums + first * L;
    char *out = rest->out;
    for (const gint32 *to = rest->to + first; to < rest->to + end; to++, sums += L) {
        const gint64 at = *to * (gint64)L;
        if (at < 0) {
            continue;
        }
        __m512 a = _mm512_add_ps(_mm512_loadu_ps(sums), low);
        __m512 b = _mm512_add_ps(_mm512_loadu_ps(sums + L / 2), high);
        if (more != NULL) {
            a = _mm512_add_ps(a, wider(more + at));
            b = _mm512_add_ps(b, wider(more + at + L / 2));
        }
        /* Of a NaN the second operand is the result. */
        a = _mm512_max_ps(least, a);
        b = _mm512_max_ps(least, b);
        if (wide) {
            _mm512_storeu_ps((float *)(void *)out + at, a);
            _mm512_storeu_ps((float *)(void *)out + at + L / 2, b);
        } else {
            _mm512_storeu_si512((guint16 *)(void *)out + at, (__m512i)_mm512_cvtne2ps_pbh(b, a));
        }
    }
}

/* Places [first, end) of the rest. Not inlined: loops of tiles keep their registers. */
CPU_TARGET_PAIRS static __attribute__((noinline)) void
follow(const ConvBf16Rest *rest, gint first, gint end)
{
    if (rest->wide) {
        follow_with(rest, first, end, rest->more, TRUE);
    } else if (rest->more != NULL) {
        follow_with(rest, first, end, rest->more, FALSE);
    } else {
        follow_with(rest, first, end, NULL, FALSE);
    }
}

static void
finish_pairs(const ConvBf16Rest *rest)
{
    follow(rest, 0, rest->n);
}

/* ROWS places, those from n on like the last. */
CPU_TARGET_PAIRS static void
places_pairs(const ConvBf16Reads *r, const guint16 *x, gint n, const guint16 *w, gboolean begins,
             float *sums)
{
    enum { ROWS = 8 };
    __m512 left[ROWS], right[ROWS];
    gint64 place[ROWS];
    for (gint i = 0; i < ROWS; i++) {
        const gint at = MIN(i, n - 1);
        left[i] = begins ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + at * L);
        right[i] = begins ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + at * L + L / 2);
        place[i] = at * r->apart;
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
            gboolean begins, ConvBf16Fetch fetch, const ConvBf16Rest *rest, float *sums)
{
    (void)fetch;
    finish_pairs(rest);
    for (gint g = 0; g < CONV_BF16_GROUPS && x[g] != NULL; g++) {
        for (gint i = 0; i < rows; i += 8) {
            places_pairs(r, x[g] + i * r->apart, MIN(8, rows - i), w, begins,
                         sums + (g * rows + i) * L);
        }
    }
}

static const ConvBf16Kernels pairs = { block_pairs, finish_pairs, NULL, NULL };

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

/* Products of tiles are started and take their time: what else there is to do goes between them. */
CPU_TARGET_TILES static CPU_INLINE void
block_with(const ConvBf16Reads *r, const guint16 *const *x, gboolean both, const guint16 *w,
           ConvBf16Fetch fetch, const ConvBf16Rest *rest)
{
    const gint64 row = r->apart * (gint64)sizeof *w, line = 2 * L * (gint64)sizeof *w;
    const gint places = (gint)cpu_parts(rest->n, r->steps);
    const char *next = (const char *)fetch.from;
    gint done = 0;
    for (gint64 s = 0; s < r->steps; s++, w += CONV_BF16_WEIGHTS) {
        _tile_loadd(4, x[0] + r->at[s], row);
        _tile_loadd(6, w, line);
        _tile_loadd(7, w + L, line);
        if (both) {
            _tile_loadd(5, x[1] + r->at[s], row);
        }
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (both) {
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        for (gint i = 0; i < fetch.lines; i++, next += TN_ALIGN) {
            __builtin_prefetch(next, 0, 2);
        }
        if (done < rest->n) {
            follow(rest, done, MIN(rest->n, done + places));
            done += places;
        }
    }
}

CPU_TARGET_TILES static void
block_tiles(const ConvBf16Reads *r, const guint16 *const *x, gint rows, const guint16 *w,
            gboolean begins, ConvBf16Fetch fetch, const ConvBf16Rest *rest, float *sums)
{
    const gint64 out = L * (gint64)sizeof *sums;
    float *second = sums + rows * L;
    if (begins) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, sums, out);
        _tile_loadd(1, sums + L / 2, out);
        _tile_loadd(2, second, out);
        _tile_loadd(3, second + L / 2, out);
    }
    if (x[1] != NULL) {
        block_with(r, x, TRUE, w, fetch, rest);
        _tile_stored(2, second, out);
        _tile_stored(3, second + L / 2, out);
    } else {
        block_with(r, x, FALSE, w, fetch, rest);
    }
    _tile_stored(0, sums, out);
    _tile_stored(1, sums + L / 2, out);
}

static const ConvBf16Kernels tiles = { block_tiles, finish_pairs, begin_tiles, end_tiles };
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
