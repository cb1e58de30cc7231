/* quantized_kernels.c: the innermost loops of products of 8-bit numbers: tiles of AMX, AVX-512's products
 * of four, AVX2's products of pairs of 16-bit numbers, and a loop that any processor runs. Weights lie in
 * fours (tenon/nn.h), so that all of them read a vector of weights for each four numbers of a place. */
#include "quantized_kernels.h"

#include "cpu.h"

#if defined(__x86_64__)
#include "tiles.h"
#include <cpuid.h>
#endif

#define M 16   /* maps of a tile */
#define FOUR 4 /* numbers that are multiplied at once */
#define FOURS 16

/* --- Any processor ---------------------------------------------------------------------------- */

/* One place by one tile's maps. */
static CPU_INLINE void
place_body(const QuantizedReads *r, const guint8 *x, const gint8 *w, gint32 *sums)
{
    gint32 sum[M] = { 0 };
    for (gint64 i = 0; i < r->n; i++) {
        const guint8 *from = x + r->at[i];
        for (gint64 q = 0; q < r->tiles * FOURS; q++, from += FOUR, w += M * FOUR) {
            for (gint j = 0; j < M; j++) {
                sum[j] += from[0] * w[4 * j] + from[1] * w[4 * j + 1] + from[2] * w[4 * j + 2] +
                          from[3] * w[4 * j + 3];
            }
        }
    }
    memcpy(sums, sum, sizeof sum);
}

static void
block_portable(const QuantizedReads *reads, const guint8 *x, gint64 places, const gint8 *w0,
               const gint8 *w1, QuantizedFetch fetch, const QuantizedRest *rest, gint32 *sums)
{
    (void)fetch;
    (void)rest;
    for (gint64 p = 0; p < places; p++) {
        place_body(reads, x + p * reads->step, w0, sums + p * QUANTIZED_MAPS);
        if (w1 != NULL) {
            place_body(reads, x + p * reads->step, w1, sums + p * QUANTIZED_MAPS + M);
        }
    }
}

/* 1.5 * 2^23: sums with it have no digits behind the point, so it rounds, halves to even. */
#define ROUNDER 12582912.0F

/* A number that is not one becomes the lowest. */
static CPU_INLINE float
finished(const QuantizedFinish *f, gint32 sum, gint64 j, const void *more)
{
    float y = (float)(gint32)((guint32)sum + (guint32)f->offset[j]) * f->scale[j];
    y += f->bias[j];
    if (f->has_more) {
        y += f->more_narrow ? ((float)((const guint8 *)more)[j] - f->more_zero) * f->more_scale
                            : ((const float *)more)[j];
    }
    return f->relu && y < 0 ? 0 : y;
}

static CPU_INLINE void
finish_body(const QuantizedRest *rest)
{
    const QuantizedFinish *f = &rest->finish;
    const float low = 0 - f->y_zero, high = 255 - f->y_zero;
    const gint64 more_size = f->more_narrow ? 1 : sizeof(float);
    for (gint64 p = 0; p < rest->n; p++) {
        const gint64 at = rest->to[p] * rest->apart;
        const gint32 *sums = rest->sums + p * QUANTIZED_MAPS;
        const char *more = f->has_more && at >= 0 ? rest->more + at * more_size : NULL;
        for (gint64 j = 0; j < rest->maps && at >= 0; j++) {
            float y = finished(f, sums[j], j, more);
            if (f->narrow) {
                y *= f->y_inverse;
                y = y > low ? y : low;
                y = y < high ? y : high;
                ((guint8 *)rest->out)[at + j] = (guint8)(y + ROUNDER - ROUNDER + f->y_zero);
            } else {
                ((float *)(void *)rest->out)[at + j] = y;
            }
        }
    }
}

static void
finish_portable(const QuantizedRest *rest)
{
    finish_body(rest);
}

#if defined(__x86_64__)
CPU_TARGET_AVX2 static void
finish_avx2(const QuantizedRest *rest)
{
    finish_body(rest);
}

/* --- AVX2: pairs of 16-bit numbers ------------------------------------------------------------ */

/* Two places by one tile's maps; each sum comes in two halves. */
CPU_TARGET_AVX2 static void
places_avx2(const QuantizedReads *r, const guint8 *x, gint64 next, const gint8 *w, gint32 *a,
            gint32 *b)
{
    __m256i sum[2][4] = { { _mm256_setzero_si256() } };
    for (gint i = 0; i < 8; i++) {
        sum[i / 4][i % 4] = _mm256_setzero_si256();
    }
    for (gint64 i = 0; i < r->n; i++) {
        const guint8 *from = x + r->at[i];
        for (gint64 q = 0; q < r->tiles * FOURS; q++, from += FOUR, w += M * FOUR) {
            gint32 four[2];
            memcpy(&four[0], from, sizeof four[0]);
            memcpy(&four[1], from + next, sizeof four[1]);
            const __m256i s =
                _mm256_broadcastq_epi64(_mm_cvtepu8_epi16(_mm_cvtsi32_si128(four[0])));
            const __m256i t =
                _mm256_broadcastq_epi64(_mm_cvtepu8_epi16(_mm_cvtsi32_si128(four[1])));
            for (gint v = 0; v < 4; v++) {
                const __m256i words =
                    _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)(w + v * 16)));
                sum[0][v] = _mm256_add_epi32(sum[0][v], _mm256_madd_epi16(s, words));
                sum[1][v] = _mm256_add_epi32(sum[1][v], _mm256_madd_epi16(t, words));
            }
        }
    }
    for (gint p = 0; p < 2; p++) {
        for (gint v = 0; v < 4; v += 2) {
            const __m256i both = _mm256_hadd_epi32(sum[p][v], sum[p][v + 1]);
            _mm256_storeu_si256((void *)((p == 0 ? a : b) + v * 4),
                                _mm256_permute4x64_epi64(both, 0xd8));
        }
    }
}

static void
block_avx2(const QuantizedReads *reads, const guint8 *x, gint64 places, const gint8 *w0,
           const gint8 *w1, QuantizedFetch fetch, const QuantizedRest *rest, gint32 *sums)
{
    (void)fetch;
    (void)rest;
    gint32 spare[M] = { 0 };
    for (gint64 p = 0; p < places; p += 2) {
        const gboolean two = p + 1 < places;
        const gint64 next = two ? reads->step : 0;
        gint32 *a = sums + p * QUANTIZED_MAPS, *b = a + QUANTIZED_MAPS;
        places_avx2(reads, x + p * reads->step, next, w0, a, two ? b : spare);
        if (w1 != NULL) {
            places_avx2(reads, x + p * reads->step, next, w1, a + M, two ? b + M : spare);
        }
    }
}

/* --- AVX-512: fours --------------------------------------------------------------------------- */

enum { ROWS = 8 };

/* Up to eight places by two tiles' maps; a place that is not there is the first once more. */
CPU_TARGET_FOURS static void
places_fours(const QuantizedReads *r, const guint8 *x, gint64 places, const gint8 *w0,
             const gint8 *w1, gboolean both, gint32 *sums)
{
    __m512i left[ROWS], right[ROWS];
    gint64 at[ROWS];
    for (gint p = 0; p < ROWS; p++) {
        left[p] = right[p] = _mm512_setzero_si512();
        at[p] = p < places ? p * r->step : 0;
    }
    for (gint64 i = 0; i < r->n; i++) {
        const guint8 *from = x + r->at[i];
        for (gint64 q = 0; q < r->tiles * FOURS;
             q++, from += FOUR, w0 += M * FOUR, w1 += M * FOUR) {
            const __m512i u = _mm512_loadu_si512(w0), v = _mm512_loadu_si512(w1);
            for (gint p = 0; p < ROWS; p++) {
                gint32 four;
                memcpy(&four, from + at[p], sizeof four);
                const __m512i s = _mm512_set1_epi32(four);
                left[p] = _mm512_dpbusd_epi32(left[p], s, u);
                right[p] = _mm512_dpbusd_epi32(right[p], s, v);
            }
        }
    }
    for (gint p = 0; p < ROWS; p++) {
        if (p < places) {
            _mm512_storeu_si512(sums + p * QUANTIZED_MAPS, left[p]);
        }
        if (p < places && both) {
            _mm512_storeu_si512(sums + p * QUANTIZED_MAPS + M, right[p]);
        }
    }
}

static void
block_fours(const QuantizedReads *reads, const guint8 *x, gint64 places, const gint8 *w0,
            const gint8 *w1, QuantizedFetch fetch, const QuantizedRest *rest, gint32 *sums)
{
    (void)fetch;
    (void)rest;
    for (gint64 p = 0; p < places; p += ROWS) {
        places_fours(reads, x + p * reads->step, MIN(ROWS, places - p), w0, w1 != NULL ? w1 : w0,
                     w1 != NULL, sums + p * QUANTIZED_MAPS);
    }
}

/* What follows the sums of sixteen maps. */
typedef struct {
    __m512i offset;
    __m512 scale, bias;
    __mmask16 in;
} Following;

CPU_TARGET_AVX512 static CPU_INLINE Following
following(const QuantizedFinish *f, gint64 map, gint64 maps)
{
    const gint64 n = CLAMP(maps - map, 0, M);
    const __mmask16 in = (__mmask16)((1u << n) - 1);
    return (Following){ _mm512_maskz_loadu_epi32(in, f->offset + map),
                        _mm512_maskz_loadu_ps(in, f->scale + map),
                        _mm512_maskz_loadu_ps(in, f->bias + map), in };
}

typedef struct {
    __m512 more_scale, more_zero, inverse, high;
} Steps;

/* Whole: of each block all maps are there. */
CPU_TARGET_AVX512 static CPU_INLINE __m512
follow_sums(const QuantizedFinish *f, const Following *by, const Steps *steps, const gint32 *sums,
            gboolean whole, gboolean has_more, gboolean more_narrow, const void *more)
{
    const __m512i sum = _mm512_add_epi32(_mm512_loadu_si512(sums), by->offset);
    __m512 y = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), by->scale), by->bias);
    if (has_more && more_narrow) {
        const __m128i bytes = whole ? _mm_loadu_si128(more) : _mm_maskz_loadu_epi8(by->in, more);
        const __m512 wide = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
        y = _mm512_add_ps(y,
                          _mm512_mul_ps(_mm512_sub_ps(wide, steps->more_zero), steps->more_scale));
    } else if (has_more) {
        y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(by->in, more));
    }
    if (f->relu) {
        y = _mm512_max_ps(_mm512_setzero_ps(), y); /* the second one where one is NaN */
    }
    return y;
}

/* Numbers of 8 bits. What is none, and what is below all of them, is the lowest of 32 bits, then of 16,
 * then of 8. */
CPU_TARGET_AVX512 static CPU_INLINE __m256i
narrowed(const Steps *steps, __m512i moved, __m512 a, __m512 b)
{
    const __m512i left =
        _mm512_cvtps_epi32(_mm512_min_ps(steps->high, _mm512_mul_ps(a, steps->inverse)));
    const __m512i right =
        _mm512_cvtps_epi32(_mm512_min_ps(steps->high, _mm512_mul_ps(b, steps->inverse)));
    const __m512i words = _mm512_adds_epi16(_mm512_packs_epi32(left, right), moved);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 4, 8, 12, 1, 5, 9, 13);
    const __m512i bytes = _mm512_packus_epi16(words, words);
    return _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, bytes));
}

/* Places [first, end) of the rest, the cases taken out of the loop over them. */
CPU_TARGET_AVX512 static CPU_INLINE void
follow_with(const QuantizedRest *rest, gint64 first, gint64 end, gboolean whole, gboolean narrow,
            gboolean has_more, gboolean more_narrow)
{
    const QuantizedFinish *f = &rest->finish;
    const Following low = following(f, 0, rest->maps), high = following(f, M, rest->maps);
    const Steps steps = { _mm512_set1_ps(f->more_scale), _mm512_set1_ps(f->more_zero),
                          _mm512_set1_ps(f->y_inverse), _mm512_set1_ps(255 - f->y_zero) };
    const __m512i moved = _mm512_set1_epi16((gint16)f->y_zero);
    const __mmask32 in = (__mmask32)low.in | (__mmask32)high.in << M;
    const gint64 more_size = more_narrow ? 1 : sizeof(float);
    for (gint64 p = first; p < end; p++) {
        const gint64 at = rest->to[p] * rest->apart;
        const gint32 *sums = rest->sums + p * QUANTIZED_MAPS;
        if (at < 0) {
            continue;
        }
        const char *more = has_more ? rest->more + at * more_size : NULL;
        const char *also = has_more ? more + M * more_size : NULL;
        const __m512 a = follow_sums(f, &low, &steps, sums, whole, has_more, more_narrow, more);
        const __m512 b =
            follow_sums(f, &high, &steps, sums + M, whole, has_more, more_narrow, also);
        if (narrow && whole) {
            _mm256_storeu_si256((void *)(rest->out + at), narrowed(&steps, moved, a, b));
        } else if (narrow) {
            _mm256_mask_storeu_epi8(rest->out + at, in, narrowed(&steps, moved, a, b));
        } else {
            float *out = (float *)(void *)rest->out + at;
            _mm512_mask_storeu_ps(out, low.in, a);
            _mm512_mask_storeu_ps(out + M, high.in, b);
        }
    }
}

/* Not inlined: loops of tiles keep their registers. */
CPU_TARGET_AVX512 static __attribute__((noinline)) void
follow(const QuantizedRest *rest, gint64 first, gint64 end)
{
    const QuantizedFinish *f = &rest->finish;
    const gboolean whole = rest->maps == QUANTIZED_MAPS;
    if (whole && f->narrow && !f->has_more) {
        follow_with(rest, first, end, TRUE, TRUE, FALSE, FALSE);
    } else if (whole && f->narrow && f->more_narrow) {
        follow_with(rest, first, end, TRUE, TRUE, TRUE, TRUE);
    } else {
        follow_with(rest, first, end, FALSE, f->narrow, f->has_more, f->more_narrow);
    }
}

static void
finish_wide(const QuantizedRest *rest)
{
    follow(rest, 0, rest->n);
}

/* --- AMX: tiles ------------------------------------------------------------------------------- */

/* Tiles 0 to 3 are sums, 4 and 5 places, 6 and 7 weights. */
typedef struct {
    guint8 palette, start, unused[14];
    guint16 bytes[16];
    guint8 rows[16];
} TileConfig;

CPU_TARGET_TILES_8 static void
begin_tiles(gint64 places)
{
    const guint8 first = (guint8)MIN(places, 16), second = (guint8)MAX(places - 16, 1);
    const TileConfig config = { .palette = 1,
                                .bytes = { 64, 64, 64, 64, 64, 64, 64, 64 },
                                .rows = { first, first, second, second, first, second, 16, 16 } };
    /* Compilers do not see that the instruction reads it. */
    __asm__ volatile("" : : "r"(&config) : "memory");
    _tile_loadconfig(&config);
}

CPU_TARGET_TILES_8 static void
end_tiles(void)
{
    _tile_release();
}

/* Products of tiles are started and take their time: what else there is to do goes between them. */
CPU_TARGET_TILES_8 static CPU_INLINE void
block_with(const QuantizedReads *r, const guint8 *x, gboolean second, const gint8 *w0,
           const gint8 *w1, QuantizedFetch fetch, const QuantizedRest *rest)
{
    const gint64 step = r->step, places = cpu_parts(rest->n, r->n * r->tiles);
    const gint8 *next = fetch.from;
    gint64 done = 0;
    for (gint64 i = 0; i < r->n; i++) {
        const guint8 *from = x + r->at[i];
        for (gint64 t = 0; t < r->tiles;
             t++, from += 64, w0 += QUANTIZED_TILE, w1 += QUANTIZED_TILE) {
            _tile_loadd(4, from, step);
            _tile_loadd(6, w0, 64);
            _tile_dpbusd(0, 4, 6);
            _tile_loadd(7, w1, 64);
            _tile_dpbusd(1, 4, 7);
            if (second) {
                _tile_loadd(5, from + 16 * step, step);
                _tile_dpbusd(2, 5, 6);
                _tile_dpbusd(3, 5, 7);
            }
            for (gint64 l = 0; l < fetch.lines; l++, next += TN_ALIGN) {
                __builtin_prefetch(next, 0, 2);
            }
            if (done < rest->n) {
                follow(rest, done, MIN(rest->n, done + places));
                done += places;
            }
        }
    }
}

CPU_TARGET_TILES_8 static void
block_tiles(const QuantizedReads *r, const guint8 *x, gint64 places, const gint8 *w0,
            const gint8 *w1, QuantizedFetch fetch, const QuantizedRest *rest, gint32 *sums)
{
    enum { OUT = QUANTIZED_MAPS * sizeof(gint32) };
    w1 = w1 != NULL ? w1 : w0; /* computed twice, and not read */
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (places > 16) {
        block_with(r, x, TRUE, w0, w1, fetch, rest);
        _tile_stored(2, sums + M * QUANTIZED_MAPS, OUT);
        _tile_stored(3, sums + M * QUANTIZED_MAPS + M, OUT);
    } else {
        block_with(r, x, FALSE, w0, w1, fetch, rest);
    }
    _tile_stored(0, sums, OUT);
    _tile_stored(1, sums + M, OUT);
}
#endif

/* --- The table -------------------------------------------------------------------------------- */

const QuantizedKernels *
quantized_kernels(void)
{
    static const QuantizedKernels portable = { block_portable, finish_portable, FALSE, NULL, NULL };
#if defined(__x86_64__)
    static const QuantizedKernels avx2 = { block_avx2, finish_avx2, FALSE, NULL, NULL };
    static const QuantizedKernels avx512 = { block_avx2, finish_wide, FALSE, NULL, NULL };
    static const QuantizedKernels fours = { block_fours, finish_wide, FALSE, NULL, NULL };
    static const QuantizedKernels tiles = { block_tiles, finish_wide, TRUE, begin_tiles,
                                            end_tiles };
    if (cpu_bf16 == CPU_BF16_TILES && cpu_has_tiles_8()) {
        return &tiles;
    }
    guint a, b, c = 0, d;
    __get_cpuid_count(7, 0, &a, &b, &c, &d);
    if (cpu_bf16 != CPU_BF16_PLAIN && (c & 1u << 11)) { /* AVX512_VNNI */
        return &fours;
    }
    if (cpu_isa != CPU_PORTABLE) {
        return cpu_isa == CPU_AVX512 ? &avx512 : &avx2;
    }
#endif
    return &portable;
}
