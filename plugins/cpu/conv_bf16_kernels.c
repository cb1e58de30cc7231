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

#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif
#define L CONV_BF16_L
/* Places whose sums by 32 channels fit into the registers of AVX-512, also where they are far apart, and
 * how many it takes that no product waits for one before it. */
#define MOST_PLACES 14
#define MOST_FAR 7
#define LEAST_PLACES 6
/* Steps whose weights stay in the first-level cache, or in the second-level one, which is fast enough for
 * pairs: sums are loaded and stored less often. */
#define NEAR_PART 10
#define PAIRS_PART 72

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

#define PLAIN(isa)                                                                                 \
    {                                                                                              \
        block_##isa, finish_##isa, NULL, NULL, CONV_BF16_ROWS, CONV_BF16_ROWS, NEAR_PART           \
    }
static const ConvBf16Kernels plain[CPU_N_ISA] = {
    [CPU_PORTABLE] = PLAIN(portable),
    [CPU_AVX2] = PLAIN(avx2),
    [CPU_AVX512] = PLAIN(avx512),
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

/* n places: sums are in registers from the first step to the last. */
CPU_TARGET_PAIRS static CPU_INLINE void
places_body_pairs(const ConvBf16Reads *r, const guint16 *x, gint n, gint64 apart, const guint16 *w,
                  gboolean begins, float *sums)
{
    __m512 left[MOST_PLACES], right[MOST_PLACES];
    UNROLLED
    for (gint i = 0; i < n; i++) {
        left[i] = begins ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + i * L);
        right[i] = begins ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + i * L + L / 2);
    }
    for (gint64 s = 0; s < r->steps; s++) {
        const guint16 *from = x + r->at[s];
        for (gint p = 0; p < L / 2; p++, w += 2 * L) {
            const __m512bh a = (__m512bh)_mm512_loadu_si512(w);
            const __m512bh b = (__m512bh)_mm512_loadu_si512(w + L);
            UNROLLED
            for (gint i = 0; i < n; i++) {
                gint32 pair;
                memcpy(&pair, from + i * apart + 2 * p, sizeof pair);
                const __m512bh seen = (__m512bh)_mm512_set1_epi32(pair);
                left[i] = _mm512_dpbf16_ps(left[i], seen, a);
                right[i] = _mm512_dpbf16_ps(right[i], seen, b);
            }
        }
    }
    UNROLLED
    for (gint i = 0; i < n; i++) {
        _mm512_storeu_ps(sums + i * L, left[i]);
        _mm512_storeu_ps(sums + i * L + L / 2, right[i]);
    }
}

/* So many places, each number of them a function of its own: none is computed that is thrown away. Where they
 * are one after the other in memory no register holds where each is read, and more are computed at once. */
#define PLACES(n, name, apart)                                                                     \
    CPU_TARGET_PAIRS static void name##_##n(const ConvBf16Reads *r, const guint16 *x,              \
                                            const guint16 *w, gboolean begins, float *sums)        \
    {                                                                                              \
        places_body_pairs(r, x, n, apart, w, begins, sums);                                        \
    }
#define FEW_PLACES(X, name, apart)                                                                 \
    X(1, name, apart)                                                                              \
    X(2, name, apart)                                                                              \
    X(3, name, apart) X(4, name, apart) X(5, name, apart) X(6, name, apart) X(7, name, apart)
#define ALL_PLACES(X, name, apart)                                                                 \
    FEW_PLACES(X, name, apart)                                                                     \
    X(8, name, apart)                                                                              \
    X(9, name, apart)                                                                              \
    X(10, name, apart) X(11, name, apart) X(12, name, apart) X(13, name, apart) X(14, name, apart)
ALL_PLACES(PLACES, near, L)
FEW_PLACES(PLACES, far, r->apart)

typedef void (*PlacesFn)(const ConvBf16Reads *r, const guint16 *x, const guint16 *w,
                         gboolean begins, float *sums);
#define ROW(n, name, apart) [n] = name##_##n,
static const PlacesFn near_places[MOST_PLACES + 1] = { ALL_PLACES(ROW, near, ) };
static const PlacesFn far_places[MOST_FAR + 1] = { FEW_PLACES(ROW, far, ) };
#undef ROW

static void
block_pairs(const ConvBf16Reads *r, const guint16 *const *x, gint rows, const guint16 *w,
            gboolean begins, ConvBf16Fetch fetch, const ConvBf16Rest *rest, float *sums)
{
    const PlacesFn *places = r->apart == L ? near_places : far_places;
    const gint each =
        (gint)cpu_parts(rows, cpu_parts(rows, r->apart == L ? MOST_PLACES : MOST_FAR));
    (void)fetch;
    finish_pairs(rest);
    for (gint g = 0; g < CONV_BF16_GROUPS && x[g] != NULL; g++) {
        for (gint i = 0; i < rows; i += each) {
            places[MIN(each, rows - i)](r, x[g] + i * r->apart, w, begins,
                                        sums + (g * rows + i) * L);
        }
    }
}

static const ConvBf16Kernels pairs = { block_pairs, finish_pairs, NULL,      NULL,
                                       MOST_PLACES, LEAST_PLACES, PAIRS_PART };

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

static const ConvBf16Kernels tiles = { block_tiles,    finish_pairs,   begin_tiles, end_tiles,
                                       CONV_BF16_ROWS, CONV_BF16_ROWS, NEAR_PART };
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
