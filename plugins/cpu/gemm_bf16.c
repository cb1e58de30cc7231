/* gemm_bf16.c: products of matrices of bf16: tiles, regions, edges. */
#include "gemm_bf16.h"

#include "gemm_bf16_kernels.h"

/* Regions that a product should have, if each has this many multiplications. */
#define REGIONS 16
#define REGION_WORK (1 << 21)
/* Columns of blocks that are computed beside each other, so that rows of the result are written in runs. */
#define ACROSS 256

static gint64
groups(gint64 size)
{
    return (size + BF16_TILE - 1) / BF16_TILE;
}

static gint64
round_up(gint64 value, gint64 to)
{
    return (value + to - 1) / to * to;
}

/* Of `most` regions how many lie below each other: a power of two, so that they are nearly square and
 * what all of them read is least. */
static gint64
down_of(const CpuGemmBf16 *g, gint64 most)
{
    gint64 down = 1;
    while (down < most && cpu_times(down * down, g->n) < cpu_times(most, g->m) / 2) {
        down *= 2;
    }
    return down;
}

void
cpu_gemm_bf16_plan(CpuGemmBf16 *g)
{
    const gint64 block = BF16_BLOCK;
    g->deep = (g->k + BF16_DEEP - 1) / BF16_DEEP;
    g->packs_a = g->a_col != 1 || g->k % BF16_DEEP != 0 || g->m % BF16_TILE != 0;
    g->b_bytes = (gsize)(groups(g->n) * g->deep) * BF16_TILE_BYTES;
    g->a_bytes = g->packs_a ? (gsize)(groups(g->m) * g->deep) * BF16_TILE_BYTES : 0;
    const gint64 most = CLAMP(g->m * g->n * MAX(g->k, 1) / REGION_WORK, 1, REGIONS);
    const gint64 down = CLAMP(down_of(g, most), 1, MAX(1, cpu_parts(g->m, block)));
    g->rows = round_up((g->m + down - 1) / down, block);
    const gint64 across = CLAMP(most / down, 1, MAX(1, g->n / (2 * block)));
    g->cols = round_up((g->n + across - 1) / across, block);
    g->n_down = g->rows > 0 ? (g->m + g->rows - 1) / g->rows : 0;
    g->n_across = g->cols > 0 ? (g->n + g->cols - 1) / g->cols : 0;
}

/* --- Copies ----------------------------------------------------------------------------------- */

/* Whatever is there of a tile, element by element. */
static void
copy_part(const Bf16Columns *c, gint64 p0, gint64 j0, gboolean rows, guint16 *to)
{
    const gint64 deep = MIN(BF16_DEEP, c->deep - p0), columns = MIN(BF16_TILE, c->columns - j0);
    memset(to, 0, BF16_TILE_BYTES);
    for (gint64 j = 0; j < columns; j++) {
        const guint16 *from = c->from + (j0 + j) * c->stride + p0 * c->deep_stride;
        for (gint64 p = 0; p < deep; p++) {
            const gint64 at = rows ? j * BF16_DEEP + p : (p / 2 * BF16_TILE + j) * 2 + p % 2;
            to[at] = from[p * c->deep_stride];
        }
    }
}

/* One tile of b: pairs of k beside each other, a row for each pair. */
static void
pack_column_tile(const Bf16Columns *c, gint64 p0, gint64 j0, guint16 *to)
{
    const Bf16Kernels *kernels = bf16_kernels();
    const guint16 *from = c->from + j0 * c->stride + p0 * c->deep_stride;
    const gboolean whole = j0 + BF16_TILE <= c->columns && p0 + BF16_DEEP <= c->deep;
    if (whole && c->stride == 1) {
        kernels->pair(from, c->deep_stride, to);
    } else if (whole && c->deep_stride == 1) {
        kernels->turn(from, c->stride, to);
    } else {
        copy_part(c, p0, j0, FALSE, to);
    }
}

/* One tile of a: 32 of k a row. Where rows are neighbours, pairs of k are put together first, and then
 * turned as single words. */
static void
pack_row_tile(const Bf16Columns *c, gint64 p0, gint64 j0, guint16 *to)
{
    const Bf16Kernels *kernels = bf16_kernels();
    const guint16 *from = c->from + j0 * c->stride + p0 * c->deep_stride;
    const gboolean whole = j0 + BF16_TILE <= c->columns && p0 + BF16_DEEP <= c->deep;
    guint16 pairs[BF16_TILE_BYTES / 2] __attribute__((aligned(64)));
    if (whole && c->stride == 1) {
        kernels->pair(from, c->deep_stride, pairs);
        kernels->turn(pairs, BF16_DEEP, to);
    } else if (whole && c->deep_stride == 1) {
        for (gint64 j = 0; j < BF16_TILE; j++) {
            memcpy(to + j * BF16_DEEP, from + j * c->stride, BF16_DEEP * sizeof *to);
        }
    } else {
        copy_part(c, p0, j0, TRUE, to);
    }
}

/* Groups side by side: where columns are neighbours, two of them are one line of the cache. */
static void
pack_groups(const Bf16Columns *c, gint64 first, gint64 n, gboolean rows, guint16 *to)
{
    const gint64 tiles = cpu_parts(c->deep, BF16_DEEP), tile = BF16_TILE_BYTES / 2;
    const Bf16PairBothFn both =
        n == 2 && !rows && c->stride == 1 && (first + 2) * BF16_TILE <= c->columns
            ? bf16_kernels()->pair_both
            : NULL;
    for (gint64 t = 0; t < tiles; t++) {
        if (both != NULL && (t + 1) * BF16_DEEP <= c->deep) {
            both(c->from + first * BF16_TILE + t * BF16_DEEP * c->deep_stride, c->deep_stride,
                 to + t * tile, to + (tiles + t) * tile);
            continue;
        }
        for (gint64 i = 0; i < n; i++) {
            guint16 *at = to + (i * tiles + t) * tile;
            if (rows) {
                pack_row_tile(c, t * BF16_DEEP, (first + i) * BF16_TILE, at);
            } else {
                pack_column_tile(c, t * BF16_DEEP, (first + i) * BF16_TILE, at);
            }
        }
    }
}

void
cpu_gemm_bf16_pack_columns(const Bf16Columns *c, gint64 first, gint64 n, guint16 *to)
{
    pack_groups(c, first, n, FALSE, to);
}

void
cpu_gemm_bf16_pack_rows(const Bf16Columns *c, gint64 first, gint64 n, guint16 *to)
{
    pack_groups(c, first, n, TRUE, to);
}

/* Where rows may be read as pairs, a is copied as b is: it need not be turned. */
static gboolean
rows_as_columns(void)
{
    return bf16_kernels()->sums != NULL;
}

/* A part is two groups. */
gint64
cpu_gemm_bf16_parts(const CpuGemmBf16 *g)
{
    return cpu_parts(g->n, 2 * BF16_TILE) + (g->packs_a ? cpu_parts(g->m, 2 * BF16_TILE) : 0);
}

void
cpu_gemm_bf16_pack(const CpuGemmBf16 *g, const guint16 *a, const guint16 *b, guint16 *a_to,
                   guint16 *b_to, gint64 part)
{
    const gint64 of_b = cpu_parts(g->n, 2 * BF16_TILE), group = g->deep * BF16_TILE_BYTES / 2;
    const gint64 first = 2 * (part < of_b ? part : part - of_b);
    if (part < of_b) {
        const Bf16Columns columns = { b, g->b_row, g->b_col, g->k, g->n };
        pack_groups(&columns, first, MIN(2, groups(g->n) - first), FALSE, b_to + first * group);
    } else {
        const Bf16Columns rows = { a, g->a_col, g->a_row, g->k, g->m };
        pack_groups(&rows, first, MIN(2, groups(g->m) - first), !rows_as_columns(),
                    a_to + first * group);
    }
}

/* --- Regions ---------------------------------------------------------------------------------- */

typedef struct {
    const CpuGemmBf16 *gemm;
    const guint16 *a, *a_packed, *b_packed;
    const float *bias; /* of the block's columns; NULL: none */
    char *c;
} Region;

static void
store_block(const Region *r, const float *sums, gint64 row, gint64 col)
{
    const CpuGemmBf16 *g = r->gemm;
    const gint64 rows = MIN(BF16_BLOCK, g->m - row), cols = MIN(BF16_BLOCK, g->n - col);
    const gint64 at = row * g->n + col;
    if (!g->wide) {
        bf16_kernels()->store_rows(sums, r->bias, rows, cols, (guint16 *)(void *)r->c + at, g->n);
        return;
    }
    float *to = (float *)(void *)r->c + at;
    for (gint64 i = 0; i < rows; i++, sums += BF16_BLOCK, to += g->n) {
        for (gint64 j = 0; j < cols; j++) {
            to[j] = r->bias != NULL ? sums[j] + r->bias[j] : sums[j];
        }
    }
}

static void
block(const Region *r, gint64 row, gint64 col)
{
    const CpuGemmBf16 *g = r->gemm;
    const gint64 tile = BF16_TILE_BYTES / 2, group = g->deep * tile;
    const gint n_b = col + BF16_TILE < g->n ? 2 : 1;
    const guint16 *b[2] = { r->b_packed + col / BF16_TILE * group };
    float sums[BF16_BLOCK * BF16_BLOCK] __attribute__((aligned(64)));
    Bf16Rows rows = { { r->a + row * g->a_row }, g->a_row, BF16_DEEP, 0 };
    if (g->packs_a) {
        const gboolean pairs = rows_as_columns();
        rows = (Bf16Rows){ { r->a_packed + row / BF16_TILE * group },
                           pairs ? 2 : BF16_DEEP,
                           tile,
                           pairs ? 2 * BF16_TILE : 0 };
    }
    if (row + BF16_TILE < g->m) {
        rows.from[1] = rows.from[0] + (g->packs_a ? group : BF16_TILE * g->a_row);
    }
    b[1] = n_b == 2 ? b[0] + group : NULL;
    if (bf16_kernels()->narrow != NULL && !g->wide) {
        bf16_kernels()->narrow(g->deep, &rows, b, r->bias, MIN(BF16_BLOCK, g->m - row),
                               MIN(BF16_BLOCK, g->n - col),
                               (guint16 *)(void *)r->c + row * g->n + col, g->n);
        return;
    }
    bf16_kernels()->block(g->deep, &rows, b, n_b, FALSE, sums);
    store_block(r, sums, row, col);
}

void
cpu_gemm_bf16_region(const CpuGemmBf16 *g, const guint16 *a, const guint16 *a_packed,
                     const guint16 *b_packed, const guint16 *bias, gint64 bias_stride, void *c,
                     gint64 region)
{
    const gint64 row0 = region / g->n_across * g->rows, row1 = MIN(g->m, row0 + g->rows);
    const gint64 col0 = region % g->n_across * g->cols, col1 = MIN(g->n, col0 + g->cols);
    float wide_bias[ACROSS];
    Region r = { g, a, a_packed, b_packed, NULL, c };
    bf16_begin();
    for (gint64 left = col0; left < col1; left += ACROSS) {
        const gint64 right = MIN(col1, left + ACROSS);
        if (bias != NULL) {
            tn_dtype_convert(TN_DTYPE_F32, wide_bias, 1, TN_DTYPE_BF16, bias + left * bias_stride,
                             bias_stride, (gsize)(right - left));
        }
        for (gint64 row = row0; row < row1; row += BF16_BLOCK) {
            for (gint64 col = left; col < right; col += BF16_BLOCK) {
                r.bias = bias != NULL ? wide_bias + col - left : NULL;
                block(&r, row, col);
            }
        }
    }
    bf16_end();
}
