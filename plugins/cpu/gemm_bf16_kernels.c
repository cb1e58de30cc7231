/* gemm_bf16_kernels.c: blocks of products of bf16: tiles of AMX, pairs of AVX-512, and a loop that any
 * processor runs. All add up over k from its beginning; how pairs are put together, and so the last bit,
 * is the processor's. */
#include "gemm_bf16_kernels.h"

#include "bf16.h"

#if defined(__x86_64__)
#include "tiles.h"
#endif

/* --- Any processor ---------------------------------------------------------------------------- */

static CPU_INLINE void
row_body(gint64 deep, const guint16 *a, gint64 step, const guint16 *b, gboolean add, float *sums)
{
    float sum[BF16_TILE] = { 0 };
    if (add) {
        memcpy(sum, sums, sizeof sum);
    }
    for (gint64 t = 0; t < deep; t++, a += step, b += BF16_TILE_BYTES / 2) {
        for (gint p = 0; p < BF16_DEEP / 2; p++) {
            const float even = cpu_bf16_wide(a[2 * p]), odd = cpu_bf16_wide(a[2 * p + 1]);
            for (gint j = 0; j < BF16_TILE; j++) {
                guint32 pair;
                memcpy(&pair, b + (p * BF16_TILE + j) * 2, sizeof pair);
                const guint32 low = pair << 16, high = pair & 0xffff0000u;
                float x, y;
                memcpy(&x, &low, sizeof x);
                memcpy(&y, &high, sizeof y);
                sum[j] += even * x;
                sum[j] += odd * y;
            }
        }
    }
    memcpy(sums, sum, sizeof sum);
}

static CPU_INLINE void
block_body(gint64 deep, const Bf16Rows *a, const guint16 *const *b, gint n_b, gboolean add,
           float *sums)
{
    for (gint g = 0; g < 2 && a->from[g] != NULL; g++) {
        for (gint r = 0; r < BF16_TILE; r++) {
            float *to = sums + (g * BF16_TILE + r) * BF16_BLOCK;
            for (gint i = 0; i < n_b; i++) {
                row_body(deep, a->from[g] + r * a->row, a->step, b[i], add, to + i * BF16_TILE);
            }
        }
    }
}

static CPU_INLINE void
pair_body(const guint16 *from, gint64 stride, guint16 *to)
{
    for (gint p = 0; p < BF16_DEEP / 2; p++, from += 2 * stride, to += 2 * BF16_TILE) {
        for (gint j = 0; j < BF16_TILE; j++) {
            to[2 * j] = from[j];
            to[2 * j + 1] = from[stride + j];
        }
    }
}

static CPU_INLINE void
turn_body(const guint16 *from, gint64 stride, guint16 *to)
{
    for (gint j = 0; j < BF16_TILE; j++, from += stride) {
        for (gint p = 0; p < BF16_DEEP / 2; p++) {
            memcpy(to + (p * BF16_TILE + j) * 2, from + 2 * p, 2 * sizeof *to);
        }
    }
}

static CPU_INLINE void
store_body(const float *sums, const float *bias, gint64 n, guint16 *to)
{
    if (bias != NULL) {
        for (gint64 j = 0; j < n; j++) {
            to[j] = cpu_bf16_narrow(sums[j] + bias[j]);
        }
    } else {
        for (gint64 j = 0; j < n; j++) {
            to[j] = cpu_bf16_narrow(sums[j]);
        }
    }
}

static CPU_INLINE void
store_rows_body(const float *sums, const float *bias, gint64 rows, gint64 n, guint16 *to,
                gint64 stride)
{
    for (gint64 r = 0; r < rows; r++) {
        store_body(sums + r * BF16_BLOCK, bias, n, to + r * stride);
    }
}

CPU_FUNCTIONS(block,
              (gint64 deep, const Bf16Rows *a, const guint16 *const *b, gint n_b, gboolean add,
               float *sums),
              (deep, a, b, n_b, add, sums))
CPU_FUNCTIONS(pair, (const guint16 *from, gint64 stride, guint16 *to), (from, stride, to))
CPU_FUNCTIONS(turn, (const guint16 *from, gint64 stride, guint16 *to), (from, stride, to))
CPU_FUNCTIONS(store, (const float *sums, const float *bias, gint64 n, guint16 *to),
              (sums, bias, n, to))

CPU_FUNCTIONS(store_rows,
              (const float *sums, const float *bias, gint64 rows, gint64 n, guint16 *to,
               gint64 stride),
              (sums, bias, rows, n, to, stride))

#define PLAIN(isa)                                                                                 \
    {                                                                                              \
        .block = block_##isa, .pair = pair_##isa, .turn = turn_##isa, .store = store_##isa,        \
        .store_rows = store_rows_##isa                                                             \
    }
static const Bf16Kernels plain[CPU_N_ISA] = {
    [CPU_PORTABLE] = PLAIN(portable), [CPU_AVX2] = PLAIN(avx2), [CPU_AVX512] = PLAIN(avx512)
};

/* --- Copies of whole tiles -------------------------------------------------------------------- */

#if defined(__x86_64__)
CPU_TARGET_AVX512 static void
pair_fast(const guint16 *from, gint64 stride, guint16 *to)
{
    for (gint p = 0; p < BF16_DEEP / 2; p++, from += 2 * stride, to += 2 * BF16_TILE) {
        const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)from));
        const __m512i high =
            _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(from + stride)));
        _mm512_storeu_si512(to, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
}

/* 16 by 16 words: neighbouring rows, then pairs of them, within quarters; then the quarters. */
CPU_TARGET_AVX512 static void
turn_fast(const guint16 *from, gint64 stride, guint16 *to)
{
    __m512i r[16], s[16];
    for (gint i = 0; i < 16; i++) {
        r[i] = _mm512_loadu_si512(from + i * stride);
    }
    for (gint i = 0; i < 16; i += 2) {
        s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (gint i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(s[i], s[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(s[i], s[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(s[i + 1], s[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(s[i + 1], s[i + 3]);
    }
    for (gint i = 0; i < 4; i++) {
        s[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        s[i + 4] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        s[i + 8] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        s[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (gint i = 0; i < 4; i++) {
        _mm512_storeu_si512(to + i * 32, _mm512_shuffle_i32x4(s[i], s[i + 4], 0x88));
        _mm512_storeu_si512(to + (i + 8) * 32, _mm512_shuffle_i32x4(s[i], s[i + 4], 0xdd));
        _mm512_storeu_si512(to + (i + 4) * 32, _mm512_shuffle_i32x4(s[i + 8], s[i + 12], 0x88));
        _mm512_storeu_si512(to + (i + 12) * 32, _mm512_shuffle_i32x4(s[i + 8], s[i + 12], 0xdd));
    }
}

/* --- AVX-512: pairs --------------------------------------------------------------------------- */

/* Matrices are copied from the third-level cache, and no prefetcher follows so many rows, nor strides of whole
 * pages: what the next tiles are made of is fetched meanwhile, into the second-level cache, for rows a power
 * of two apart share a few places of the first. */
#define LINE 64
#define LINES_AHEAD 2
#define ROWS_AHEAD 64

static CPU_INLINE void
fetch(const guint16 *from, gint64 numbers)
{
    __builtin_prefetch((const char *)from + numbers * (gint64)sizeof *from, 0, 2);
}

/* Of each line the left half to one tile and the right half to the other. */
CPU_TARGET_PAIRS static void
pair_both(const guint16 *from, gint64 stride, guint16 *left, guint16 *right)
{
    guint16 order[2 * BF16_BLOCK];
    for (gint i = 0; i < 2 * BF16_BLOCK; i++) {
        order[i] = (guint16)(i / 2 + i % 2 * BF16_BLOCK);
    }
    const __m512i of_left = _mm512_loadu_si512(order);
    const __m512i of_right = _mm512_loadu_si512(order + BF16_BLOCK);
    for (gint p = 0; p < BF16_DEEP / 2; p++, from += 2 * stride, left += 32, right += 32) {
        const __m512i x = _mm512_loadu_si512(from), y = _mm512_loadu_si512(from + stride);
        fetch(from, ROWS_AHEAD * stride);
        fetch(from, (ROWS_AHEAD + 1) * stride);
        _mm512_storeu_si512(left, _mm512_permutex2var_epi16(x, of_left, y));
        _mm512_storeu_si512(right, _mm512_permutex2var_epi16(x, of_right, y));
    }
}

static void
turn_pairs(const guint16 *from, gint64 stride, guint16 *to)
{
    for (gint i = 0; i < BF16_TILE; i++) {
        fetch(from, i * stride + LINES_AHEAD * LINE / (gint64)sizeof *from);
    }
    turn_fast(from, stride, to);
}

/* Rounds as cpu_bf16_narrow does, but that results too small to be normal become zero. */
CPU_TARGET_PAIRS static void
store_pairs(const float *sums, const float *bias, gint64 n, guint16 *to)
{
    for (gint64 j = 0; j < n; j += 16) {
        const __mmask16 in = n - j >= 16 ? 0xffff : (__mmask16)((1u << (n - j)) - 1);
        __m512 x = _mm512_maskz_loadu_ps(in, sums + j);
        if (bias != NULL) {
            x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(in, bias + j));
        }
        _mm256_mask_storeu_epi16(to + j, in, (__m256i)_mm512_cvtneps_pbh(x));
    }
}

/* Both halves of a row by one instruction. */
CPU_TARGET_PAIRS static void
store_rows_pairs(const float *sums, const float *bias, gint64 rows, gint64 n, guint16 *to,
                 gint64 stride)
{
    const __mmask32 in = n >= BF16_BLOCK ? 0xffffffff : (1u << n) - 1;
    const __mmask16 in_left = (__mmask16)in, in_right = (__mmask16)(in >> BF16_TILE);
    __m512 left_bias = _mm512_setzero_ps(), right_bias = left_bias;
    if (bias != NULL) {
        left_bias = _mm512_maskz_loadu_ps(in_left, bias);
        right_bias = _mm512_maskz_loadu_ps(in_right, bias + BF16_TILE);
    }
    for (gint64 r = 0; r < rows; r++, sums += BF16_BLOCK, to += stride) {
        __m512 left = _mm512_loadu_ps(sums), right = _mm512_loadu_ps(sums + BF16_TILE);
        if (bias != NULL) {
            left = _mm512_add_ps(left, left_bias);
            right = _mm512_add_ps(right, right_bias);
        }
        _mm512_mask_storeu_epi16(to, in, (__m512i)_mm512_cvtne2ps_pbh(right, left));
    }
}

/* All of a short loop at once, before anything else: only so the sums never touch memory. */
#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 8")
#endif

#define ROWS 8 /* that are summed at once, each of one or two groups of columns */
typedef __m512 Sums[ROWS][2];

CPU_TARGET_PAIRS static CPU_INLINE void
begin_pairs(gint groups, const float *from, gint64 from_row, Sums sum)
{
    UNROLLED
    for (gint r = 0; r < ROWS; r++) {
        UNROLLED
        for (gint g = 0; g < groups; g++) {
            sum[r][g] = from != NULL ? _mm512_loadu_ps(from + r * from_row + g * BF16_TILE)
                                     : _mm512_setzero_ps();
        }
    }
}

/* rows from a on, as in Bf16Rows. */
CPU_TARGET_PAIRS static CPU_INLINE void
add_pairs(gint groups, gint64 deep, const guint16 *a, const Bf16Rows *rows, const guint16 *const *b,
          Sums sum)
{
    const guint16 *b0 = b[0], *b1 = b[groups - 1];
    const gint64 row = rows->row, apart = rows->apart > 0 ? rows->apart : 2;
    for (gint64 t = 0; t < deep; t++, a += rows->step) {
        const guint16 *at = a;
        for (gint p = 0; p < BF16_DEEP / 2; p++, b0 += 32, b1 += 32, at += apart) {
            const __m512bh x = (__m512bh)_mm512_loadu_si512(b0);
            const __m512bh y = (__m512bh)_mm512_loadu_si512(b1);
            UNROLLED
            for (gint r = 0; r < ROWS; r++) {
                gint32 pair;
                memcpy(&pair, at + r * row, sizeof pair);
                const __m512bh z = (__m512bh)_mm512_set1_epi32(pair);
                sum[r][0] = _mm512_dpbf16_ps(sum[r][0], z, x);
                if (groups > 1) {
                    sum[r][1] = _mm512_dpbf16_ps(sum[r][1], z, y);
                }
            }
        }
    }
}

/* groups: known to the compiler. */
CPU_TARGET_PAIRS static CPU_INLINE void
sums_body(gint groups, gint64 deep, const guint16 *a, const Bf16Rows *rows, const guint16 *const *b,
          const float *from, gint64 from_row, float *to, gint64 to_row)
{
    Sums sum;
    begin_pairs(groups, from, from_row, sum);
    add_pairs(groups, deep, a, rows, b, sum);
    UNROLLED
    for (gint r = 0; r < ROWS; r++) {
        UNROLLED
        for (gint g = 0; g < groups; g++) {
            _mm512_storeu_ps(to + r * to_row + g * BF16_TILE, sum[r][g]);
        }
    }
}

CPU_TARGET_PAIRS static void
sums_pairs(gint64 deep, const Bf16Rows *a, const guint16 *const *b, gint n_b, const float *from,
           gint64 from_row, float *to, gint64 to_row)
{
    for (gint i = 0; i < 2 * BF16_TILE && a->from[i / BF16_TILE] != NULL; i += ROWS) {
        const guint16 *rows = a->from[i / BF16_TILE] + i % BF16_TILE * a->row;
        const float *base = from != NULL ? from + i * from_row : NULL;
        if (n_b == 2) {
            sums_body(2, deep, rows, a, b, base, from_row, to + i * to_row, to_row);
        } else {
            sums_body(1, deep, rows, a, b, base, from_row, to + i * to_row, to_row);
        }
    }
}

static void
block_pairs(gint64 deep, const Bf16Rows *a, const guint16 *const *b, gint n_b, gboolean add,
            float *sums)
{
    sums_pairs(deep, a, b, n_b, add ? sums : NULL, BF16_BLOCK, sums, BF16_BLOCK);
}

/* Up to ROWS rows of a block, rounded from registers; cols: of the groups that there are. */
CPU_TARGET_PAIRS static CPU_INLINE void
narrow_body(gint groups, gint64 deep, const guint16 *a, const Bf16Rows *in, const guint16 *const *b,
            const float *bias, gint64 rows, __mmask32 cols, guint16 *to, gint64 stride)
{
    const __mmask16 left = (__mmask16)cols, right = (__mmask16)(cols >> BF16_TILE);
    Sums sum;
    begin_pairs(groups, NULL, 0, sum);
    add_pairs(groups, deep, a, in, b, sum);
    const __m512 none = _mm512_setzero_ps();
    const __m512 left_bias = bias != NULL ? _mm512_maskz_loadu_ps(left, bias) : none;
    const __m512 right_bias = bias != NULL ? _mm512_maskz_loadu_ps(right, bias + BF16_TILE) : none;
    UNROLLED
    for (gint r = 0; r < ROWS; r++) {
        if (r < rows) {
            const __m512 x = bias != NULL ? _mm512_add_ps(sum[r][0], left_bias) : sum[r][0];
            const __m512 z = groups < 2 ? none : sum[r][groups - 1];
            const __m512 y = bias != NULL ? _mm512_add_ps(z, right_bias) : z;
            _mm512_mask_storeu_epi16(to + r * stride, cols, (__m512i)_mm512_cvtne2ps_pbh(y, x));
        }
    }
}

CPU_TARGET_PAIRS static void
narrow_pairs(gint64 deep, const Bf16Rows *a, const guint16 *const *b, const float *bias,
             gint64 rows, gint64 n, guint16 *to, gint64 stride)
{
    const __mmask32 cols = n >= BF16_BLOCK ? 0xffffffff : (1u << n) - 1;
    for (gint64 i = 0; i < rows; i += ROWS, to += ROWS * stride) {
        const guint16 *in = a->from[i / BF16_TILE] + i % BF16_TILE * a->row;
        if (n > BF16_TILE) {
            narrow_body(2, deep, in, a, b, bias, rows - i, cols, to, stride);
        } else {
            narrow_body(1, deep, in, a, b, bias, rows - i, cols, to, stride);
        }
    }
}

static const Bf16Kernels pairs = {
    .block = block_pairs,
    .pair = pair_fast,
    .turn = turn_pairs,
    .store = store_pairs,
    .store_rows = store_rows_pairs,
    .pair_both = pair_both,
    .sums = sums_pairs,
    .narrow = narrow_pairs,
};

/* --- AMX: tiles ------------------------------------------------------------------------------- */

/* Eight tiles of 16 rows of 64 bytes: 0 to 3 sums, 4 and 5 of a, 6 and 7 of b. In memory of its own,
 * for compilers do not see that the instruction reads it. */
static const struct {
    guint8 palette, start, unused[14];
    guint16 bytes[16];
    guint8 rows[16];
} tile_config = { .palette = 1,
                  .bytes = { 64, 64, 64, 64, 64, 64, 64, 64 },
                  .rows = { 16, 16, 16, 16, 16, 16, 16, 16 } };

CPU_TARGET_TILES static void
begin_tiles(void)
{
    _tile_loadconfig(&tile_config);
}

CPU_TARGET_TILES static void
end_tiles(void)
{
    _tile_release();
}

CPU_TARGET_TILES static void
block_tiles(gint64 deep, const Bf16Rows *a, const guint16 *const *b, gint n_b, gboolean add,
            float *sums)
{
    const gint64 row = a->row * (gint64)sizeof(guint16), out = BF16_BLOCK * sizeof(float);
    const guint16 *a0 = a->from[0], *a1 = a->from[1], *b0 = b[0], *b1 = b[n_b - 1];
    if (add) {
        _tile_loadd(0, sums, out);
        _tile_loadd(1, sums + BF16_TILE, out);
        _tile_loadd(2, sums + BF16_TILE * BF16_BLOCK, out);
        _tile_loadd(3, sums + BF16_TILE * BF16_BLOCK + BF16_TILE, out);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    if (a1 != NULL) {
        for (gint64 t = 0; t < deep; t++) {
            _tile_loadd(4, a0 + t * a->step, row);
            _tile_loadd(6, b0 + t * 512, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, b1 + t * 512, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, a1 + t * a->step, row);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(2, sums + BF16_TILE * BF16_BLOCK, out);
        _tile_stored(3, sums + BF16_TILE * BF16_BLOCK + BF16_TILE, out);
    } else {
        for (gint64 t = 0; t < deep; t++) {
            _tile_loadd(4, a0 + t * a->step, row);
            _tile_loadd(6, b0 + t * 512, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, b1 + t * 512, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
    }
    _tile_stored(0, sums, out);
    _tile_stored(1, sums + BF16_TILE, out);
}

static const Bf16Kernels tiles = {
    .block = block_tiles,
    .pair = pair_fast,
    .turn = turn_fast,
    .store = store_pairs,
    .begin = begin_tiles,
    .end = end_tiles,
    .store_rows = store_rows_pairs,
};
#endif

const Bf16Kernels *
bf16_kernels(void)
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
