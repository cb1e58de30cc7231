/* recurrent_tiles.c: products of 16 samples with packed weights of bf16. A panel's sums of all samples stay
 * in four tiles from their first number of k to the last. */
#include "recurrent_tiles.h"

#include "gemm_bf16_kernels.h"

#if defined(__x86_64__)
#include "tiles.h"
#endif

/* --- Packing ---------------------------------------------------------------------------------- */

TileProduct
tile_product(gint64 k, gint64 columns)
{
    const gint64 deep = cpu_parts(k, BF16_DEEP);
    return (TileProduct){ k, deep, deep * BF16_DEEP, (gint)cpu_parts(columns, BF16_TILE) };
}

/* One group of columns; col: from one to the next. */
static void
pack_group(const TileProduct *p, const guint16 *w, gint64 deep_stride, gint64 col, gint64 n,
           gint64 group, guint16 *panel)
{
    guint16 *to = panel + group * p->deep * (BF16_TILE_BYTES / 2);
    const CpuGemmBf16 gemm = {
        .n = MIN(n, BF16_TILE), .k = p->k, .b_row = deep_stride, .b_col = col, .deep = p->deep
    };
    if (n > 0) {
        cpu_gemm_bf16_pack(&gemm, NULL, w, NULL, to, 0);
    } else {
        memset(to, 0, (gsize)p->deep * BF16_TILE_BYTES);
    }
}

void
tile_pack_rows(const TileProduct *p, const guint16 *w, gint64 n, gint64 first, gint64 room,
               guint16 *panel)
{
    for (gint64 j = 0; j < room; j += BF16_TILE) {
        pack_group(p, w + MIN(j, n) * p->k, 1, p->k, n - j, (first + j) / BF16_TILE, panel);
    }
}

void
tile_pack_columns(const TileProduct *p, const guint16 *w, gint64 w_row, gint64 n, guint16 *panel)
{
    for (gint g = 0; g < p->groups; g++) {
        const gint64 j = (gint64)g * BF16_TILE;
        pack_group(p, w + MIN(j, n), w_row, 1, n - j, g, panel);
    }
}

/* --- Products --------------------------------------------------------------------------------- */

void
tile_begin(void)
{
    if (bf16_kernels()->begin != NULL) {
        bf16_kernels()->begin();
    }
}

void
tile_end(void)
{
    if (bf16_kernels()->end != NULL) {
        bf16_kernels()->end();
    }
}

/* By blocks of two groups. */
static void
multiply_sums(const TileProduct *p, const guint16 *a, gint64 a_row, const guint16 *b,
              const float *from, gint64 from_row, float *to, gint64 to_row)
{
    const Bf16Rows rows = { { a }, a_row, BF16_DEEP };
    const gint64 group = p->deep * (BF16_TILE_BYTES / 2);
    for (gint j = 0; j < p->groups; j += 2) {
        const guint16 *const tiles[] = { b + j * group, b + (j + 1) * group };
        bf16_kernels()->sums(p->deep, &rows, tiles, MIN(2, p->groups - j), from + j * BF16_TILE,
                             from_row, to + j * BF16_TILE, to_row);
    }
}

/* By blocks of two groups, which have rows of their own. */
static void
multiply_blocks(const TileProduct *p, const guint16 *a, gint64 a_row, const guint16 *b,
                const float *from, gint64 from_row, float *to, gint64 to_row)
{
    const Bf16Rows rows = { { a }, a_row, BF16_DEEP };
    const gint64 group = p->deep * (BF16_TILE_BYTES / 2);
    float sums[BF16_TILE * BF16_BLOCK] __attribute__((aligned(64))) = { 0 };
    for (gint j = 0; j < p->groups; j += 2) {
        const gint n = MIN(2, p->groups - j), at = j * BF16_TILE;
        const gsize bytes = (gsize)n * BF16_TILE * sizeof *sums;
        const guint16 *const tiles[] = { b + j * group, n > 1 ? b + (j + 1) * group : NULL };
        for (gint r = 0; r < BF16_TILE; r++) {
            memcpy(sums + r * BF16_BLOCK, from + r * from_row + at, bytes);
        }
        bf16_kernels()->block(p->deep, &rows, tiles, n, TRUE, sums);
        for (gint r = 0; r < BF16_TILE; r++) {
            memcpy(to + r * to_row + at, sums + r * BF16_BLOCK, bytes);
        }
    }
}

#if defined(__x86_64__)

/* Tiles 0 to 3: sums, 4: of a, 5 to 7: of b. */
CPU_TARGET_TILES static CPU_INLINE void
tiles_body(gint n, gint64 deep, const guint16 *a, gint64 a_row, const guint16 *b, const float *from,
           gint64 from_row, float *to, gint64 to_row)
{
    const gint64 row = a_row * (gint64)sizeof *a, tile = BF16_TILE_BYTES / 2, group = deep * tile;
    const gint64 in = from_row * (gint64)sizeof *from, out = to_row * (gint64)sizeof *to;
    _tile_loadd(0, from, in);
    if (n > 1) {
        _tile_loadd(1, from + BF16_TILE, in);
    }
    if (n > 2) {
        _tile_loadd(2, from + 2 * BF16_TILE, in);
    }
    if (n > 3) {
        _tile_loadd(3, from + 3 * BF16_TILE, in);
    }
    for (gint64 t = 0; t < deep; t++, a += BF16_DEEP, b += tile) {
        _tile_loadd(4, a, row);
        _tile_loadd(5, b, 64);
        _tile_dpbf16ps(0, 4, 5);
        if (n > 1) {
            _tile_loadd(6, b + group, 64);
            _tile_dpbf16ps(1, 4, 6);
        }
        if (n > 2) {
            _tile_loadd(7, b + 2 * group, 64);
            _tile_dpbf16ps(2, 4, 7);
        }
        if (n > 3) {
            _tile_loadd(5, b + 3 * group, 64);
            _tile_dpbf16ps(3, 4, 5);
        }
    }
    _tile_stored(0, to, out);
    if (n > 1) {
        _tile_stored(1, to + BF16_TILE, out);
    }
    if (n > 2) {
        _tile_stored(2, to + 2 * BF16_TILE, out);
    }
    if (n > 3) {
        _tile_stored(3, to + 3 * BF16_TILE, out);
    }
}

CPU_TARGET_TILES static void
multiply_tiles(const TileProduct *p, const guint16 *a, gint64 a_row, const guint16 *b,
               const float *from, gint64 from_row, float *to, gint64 to_row)
{
    switch (p->groups) {
    case 1: tiles_body(1, p->deep, a, a_row, b, from, from_row, to, to_row); break;
    case 2: tiles_body(2, p->deep, a, a_row, b, from, from_row, to, to_row); break;
    case 3: tiles_body(3, p->deep, a, a_row, b, from, from_row, to, to_row); break;
    default: tiles_body(4, p->deep, a, a_row, b, from, from_row, to, to_row); break;
    }
}
#endif

void
tile_multiply(const TileProduct *p, const guint16 *a, gint64 a_row, const guint16 *panel,
              const float *from, gint64 from_row, float *to, gint64 to_row)
{
#if defined(__x86_64__)
    if (cpu_bf16 == CPU_BF16_TILES) {
        multiply_tiles(p, a, a_row, panel, from, from_row, to, to_row);
        return;
    }
#endif
    if (bf16_kernels()->sums != NULL) {
        multiply_sums(p, a, a_row, panel, from, from_row, to, to_row);
    } else {
        multiply_blocks(p, a, a_row, panel, from, from_row, to, to_row);
    }
}

/* --- Rows ------------------------------------------------------------------------------------- */

#if defined(__x86_64__)

static CPU_INLINE guint16
lanes_left(gint64 n)
{
    return n >= 16 ? 0xffff : (guint16)((1u << n) - 1);
}

CPU_TARGET_PAIRS void
tile_narrow(gint64 rows, gint64 n, const float *from, gint64 from_row, guint16 *to, gint64 to_row)
{
    for (gint64 j = 0; j < n; j += 16) {
        const __mmask16 in = lanes_left(n - j);
        for (gint64 i = 0; i < rows; i++) {
            const __m512 x = _mm512_maskz_loadu_ps(in, from + i * from_row + j);
            _mm256_mask_storeu_epi16(to + i * to_row + j, in, (__m256i)_mm512_cvtneps_pbh(x));
        }
    }
}

CPU_TARGET_PAIRS void
tile_widen(gint64 rows, gint64 n, const guint16 *from, gint64 from_row, float *to, gint64 to_row)
{
    for (gint64 j = 0; j < n; j += 16) {
        const __mmask16 in = lanes_left(n - j);
        for (gint64 i = 0; i < rows; i++) {
            const __m256i x = _mm256_maskz_loadu_epi16(in, from + i * from_row + j);
            const __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16);
            _mm512_mask_storeu_ps(to + i * to_row + j, in, _mm512_castsi512_ps(wide));
        }
    }
}
#else
void
tile_narrow(gint64 rows, gint64 n, const float *from, gint64 from_row, guint16 *to, gint64 to_row)
{
    for (gint64 i = 0; i < rows; i++) {
        tn_dtype_convert(TN_DTYPE_BF16, to + i * to_row, 1, TN_DTYPE_F32, from + i * from_row, 1,
                         (gsize)n);
    }
}

void
tile_widen(gint64 rows, gint64 n, const guint16 *from, gint64 from_row, float *to, gint64 to_row)
{
    for (gint64 i = 0; i < rows; i++) {
        tn_dtype_convert(TN_DTYPE_F32, to + i * to_row, 1, TN_DTYPE_BF16, from + i * from_row, 1,
                         (gsize)n);
    }
}
#endif
