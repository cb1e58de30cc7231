/* quantized_kernels.c: the innermost loops of products of 8-bit numbers: tiles of AMX, AVX-512's products
 * of four, AVX2's products of pairs of 16-bit numbers, and a loop that any processor runs. Weights lie in
 * fours (tenon/nn.h), so that all of them read a vector of weights for each four numbers of a place. */
#include "quantized_kernels.h"

#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
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
               const gint8 *w1, gint32 *sums)
{
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
finish_body(const QuantizedFinish *f, const gint32 *sums, gint64 places, gint64 maps, gint64 apart,
            const void *more, void *out)
{
    const float low = 0 - f->y_zero, high = 255 - f->y_zero;
    const gint64 more_step = f->more_narrow ? apart : apart * (gint64)sizeof(float);
    for (gint64 p = 0; p < places; p++, sums += QUANTIZED_MAPS) {
        const void *also = f->has_more ? (const char *)more + p * more_step : NULL;
        for (gint64 j = 0; j < maps; j++) {
            float y = finished(f, sums[j], j, also);
            if (f->narrow) {
                y *= f->y_inverse;
                y = y > low ? y : low;
                y = y < high ? y : high;
                ((guint8 *)out)[p * apart + j] = (guint8)(y + ROUNDER - ROUNDER + f->y_zero);
            } else {
                ((float *)out)[p * apart + j] = y;
            }
        }
    }
}

static void
finish_portable(const QuantizedFinish *finish, const gint32 *sums, gint64 places, gint64 maps,
                gint64 apart, const void *more, void *out)
{
    finish_body(finish, sums, places, maps, apart, more, out);
}

#if defined(__x86_64__)
CPU_TARGET_AVX2 static void
finish_avx2(const QuantizedFinish *finish, const gint32 *sums, gint64 places, gint64 maps,
            gint64 apart, const void *more, void *out)
{
    finish_body(finish, sums, places, maps, apart, more, out);
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
           const gint8 *w1, gint32 *sums)
{
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
            const gint8 *w1, gint32 *sums)
{
    for (gint64 p = 0; p < places; p += ROWS) {
        places_fours(reads, x + p * reads->step, MIN(ROWS, places - p), w0, w1 != NULL ? w1 : w0,
                     w1 != NULL, sums + p * QUANTIZED_MAPS);
    }
}

/* What finish_body does for sixteen maps, the cases taken out of the loop over places. */
CPU_TARGET_AVX512 static CPU_INLINE void
finish_maps(const QuantizedFinish *f, const gint32 *sums, gint64 places, gint64 apart, __mmask16 in,
            gboolean narrow, gboolean has_more, gboolean more_narrow, const void *more, void *out)
{
    const __m512 low = _mm512_set1_ps(0 - f->y_zero), high = _mm512_set1_ps(255 - f->y_zero);
    const __m512 inverse = _mm512_set1_ps(f->y_inverse), zero = _mm512_setzero_ps();
    const __m512 more_scale = _mm512_set1_ps(f->more_scale),
                 more_zero = _mm512_set1_ps(f->more_zero);
    const __m512i moved = _mm512_set1_epi32((gint32)f->y_zero);
    const __m512i offset = _mm512_maskz_loadu_epi32(in, f->offset);
    const __m512 scale = _mm512_maskz_loadu_ps(in, f->scale);
    const __m512 bias = _mm512_maskz_loadu_ps(in, f->bias);
    for (gint64 p = 0; p < places; p++) {
        const __m512i sum = _mm512_loadu_si512(sums + p * QUANTIZED_MAPS);
        __m512 y = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(sum, offset)), scale);
        y = _mm512_add_ps(y, bias);
        if (has_more && more_narrow) {
            const __m128i bytes = _mm_maskz_loadu_epi8(in, (const guint8 *)more + p * apart);
            const __m512 steps =
                _mm512_sub_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)), more_zero);
            y = _mm512_add_ps(y, _mm512_mul_ps(steps, more_scale));
        } else if (has_more) {
            y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(in, (const float *)more + p * apart));
        }
        if (f->relu) {
            y = _mm512_max_ps(zero, y); /* the second one where one is NaN */
        }
        if (narrow) {
            y = _mm512_min_ps(_mm512_max_ps(_mm512_mul_ps(y, inverse), low), high);
            const __m512i q = _mm512_add_epi32(_mm512_cvtps_epi32(y), moved);
            _mm_mask_storeu_epi8((guint8 *)out + p * apart, in, _mm512_cvtepi32_epi8(q));
        } else {
            _mm512_mask_storeu_ps((float *)out + p * apart, in, y);
        }
    }
}

CPU_TARGET_AVX512 static void
finish_wide(const QuantizedFinish *finish, const gint32 *sums, gint64 places, gint64 maps,
            gint64 apart, const void *more, void *out)
{
    QuantizedFinish f = *finish;
    const gint64 size = f.narrow ? 1 : sizeof(float), more_size = f.more_narrow ? 1 : sizeof(float);
    for (gint64 j = 0; j < maps; j += M) {
        const __mmask16 in = maps - j >= M ? 0xffff : (__mmask16)((1u << (maps - j)) - 1);
        void *to = (char *)out + j * size;
        const void *also = f.has_more ? (const char *)more + j * more_size : NULL;
        if (f.narrow && !f.has_more) {
            finish_maps(&f, sums + j, places, apart, in, TRUE, FALSE, FALSE, also, to);
        } else if (f.narrow && f.more_narrow) {
            finish_maps(&f, sums + j, places, apart, in, TRUE, TRUE, TRUE, also, to);
        } else {
            finish_maps(&f, sums + j, places, apart, in, f.narrow, f.has_more, f.more_narrow, also,
                        to);
        }
        f.offset += M;
        f.scale += M;
        f.bias += M;
    }
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

CPU_TARGET_TILES_8 static void
block_tiles(const QuantizedReads *r, const guint8 *x, gint64 places, const gint8 *w0,
            const gint8 *w1, gint32 *sums)
{
    enum { OUT = QUANTIZED_MAPS * sizeof(gint32) };
    const gint64 step = r->step;
    w1 = w1 != NULL ? w1 : w0; /* computed twice, and not read */
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (places > 16) {
        for (gint64 i = 0; i < r->n; i++) {
            const guint8 *from = x + r->at[i];
            for (gint64 t = 0; t < r->tiles;
                 t++, from += 64, w0 += QUANTIZED_TILE, w1 += QUANTIZED_TILE) {
                _tile_loadd(4, from, step);
                _tile_loadd(6, w0, 64);
                _tile_dpbusd(0, 4, 6);
                _tile_loadd(7, w1, 64);
                _tile_dpbusd(1, 4, 7);
                _tile_loadd(5, from + 16 * step, step);
                _tile_dpbusd(2, 5, 6);
                _tile_dpbusd(3, 5, 7);
            }
        }
        _tile_stored(2, sums + M * QUANTIZED_MAPS, OUT);
        _tile_stored(3, sums + M * QUANTIZED_MAPS + M, OUT);
    } else {
        for (gint64 i = 0; i < r->n; i++) {
            const guint8 *from = x + r->at[i];
            for (gint64 t = 0; t < r->tiles;
                 t++, from += 64, w0 += QUANTIZED_TILE, w1 += QUANTIZED_TILE) {
                _tile_loadd(4, from, step);
                _tile_loadd(6, w0, 64);
                _tile_dpbusd(0, 4, 6);
                _tile_loadd(7, w1, 64);
                _tile_dpbusd(1, 4, 7);
            }
        }
    }
    _tile_stored(0, sums, OUT);
    _tile_stored(1, sums + M, OUT);
}
#endif

/* --- The table -------------------------------------------------------------------------------- */

const QuantizedKernels *
quantized_kernels(void)
{
    static const QuantizedKernels portable = { block_portable, finish_portable, NULL, NULL };
#if defined(__x86_64__)
    static const QuantizedKernels avx2 = { block_avx2, finish_avx2, NULL, NULL };
    static const QuantizedKernels avx512 = { block_avx2, finish_wide, NULL, NULL };
    static const QuantizedKernels fours = { block_fours, finish_wide, NULL, NULL };
    static const QuantizedKernels tiles = { block_tiles, finish_wide, begin_tiles, end_tiles };
    guint a, b, c = 0, d = 0;
    __get_cpuid_count(7, 0, &a, &b, &c, &d);
    if (cpu_bf16 == CPU_BF16_TILES && (d & 1u << 25)) { /* AMX-INT8 */
        return &tiles;
    }
    if (cpu_bf16 != CPU_BF16_PLAIN && (c & 1u << 11)) { /* AVX512_VNNI */
        return &fours;
    }
    if (cpu_isa != CPU_PORTABLE) {
        return cpu_isa == CPU_AVX512 ? &avx512 : &avx2;
    }
#endif
    return &portable;
}
