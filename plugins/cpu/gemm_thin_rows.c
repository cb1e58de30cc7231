/* gemm_thin_rows.c: products of few rows with a matrix whose rows lie in memory one after the other, all of
 * them or those of panels of 64 columns: they are read where they are, a mask for each vector of columns.
 * As many columns at once as there are registers for sums: with fewer, each would wait for the one before.
 * Where there are fewer columns than that, fewer vectors. */
#include "gemm_thin.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define L 16
/* Rows of b that are fetched beforehand: from one to the next is too far for the processor to guess. Those of
 * panels follow each other, and it does; asking, too, takes a single row of a longer. */
#define AHEAD 16

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* A block of k for some columns. */
typedef struct {
    gint64 k, a_row, b_row, c_row;
    const float *a, *b;
    float *c;
    gint64 panel; /* from four vectors of columns to the next four, in elements */
    gint64 cols;  /* more than half of what there is room for */
    gboolean add; /* to what is in c */
} Tile;

/* The first n of sixteen. */
static inline __mmask16
first(gint64 n)
{
    return (__mmask16)((1u << CLAMP(n, 0, L)) - 1);
}

/* Vector j of a row. */
#define AT(j) ((j) / 4 * panel + (j) % 4 * L)

#define TILE(N, W)                                                                                 \
    CPU_TARGET_AVX512 static void tile_##N##_##W(const Tile *t)                                    \
    {                                                                                              \
        __m512 sum[N][W];                                                                          \
        __mmask16 in[W];                                                                           \
        UNROLL for (gint j = 0; j < W; j++)                                                        \
        {                                                                                          \
            in[j] = j < (W) / 2 ? 0xffff : first(t->cols - j * L);                                 \
            UNROLL for (gint i = 0; i < N; i++)                                                    \
            {                                                                                      \
                sum[i][j] = _mm512_setzero_ps();                                                   \
            }                                                                                      \
        }                                                                                          \
        const gboolean fetches = (N) > 1 || t->b_row > 4 * L;                                      \
        const float *b = t->b;                                                                     \
        const gint64 ahead = AHEAD * t->b_row, panel = t->panel;                                   \
        for (gint64 p = 0; p < t->k; p++, b += t->b_row) {                                         \
            __m512 row[W];                                                                         \
            UNROLL for (gint j = 0; j < W; j++)                                                    \
            {                                                                                      \
                row[j] = _mm512_maskz_loadu_ps(in[j], b + AT(j));                                  \
                if (fetches) {                                                                     \
                    _mm_prefetch((const char *)(b + ahead + AT(j)), _MM_HINT_T0);                  \
                }                                                                                  \
            }                                                                                      \
            UNROLL for (gint i = 0; i < N; i++)                                                    \
            {                                                                                      \
                const __m512 x = _mm512_set1_ps(t->a[i * t->a_row + p]);                           \
                UNROLL for (gint j = 0; j < W; j++)                                                \
                {                                                                                  \
                    sum[i][j] += row[j] * x; /* as gemm_kernels.c */                               \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        UNROLL for (gint i = 0; i < N; i++)                                                        \
        {                                                                                          \
            UNROLL for (gint j = 0; j < W; j++)                                                    \
            {                                                                                      \
                float *to = t->c + i * t->c_row + j * L;                                           \
                if (t->add) {                                                                      \
                    sum[i][j] = _mm512_add_ps(sum[i][j], _mm512_maskz_loadu_ps(in[j], to));        \
                }                                                                                  \
                _mm512_mask_storeu_ps(to, in[j], sum[i][j]);                                       \
            }                                                                                      \
        }                                                                                          \
    }

#define TILES2(N) TILE(N, 1) TILE(N, 2)
#define TILES4(N) TILES2(N) TILE(N, 4)
#define TILES8(N) TILES4(N) TILE(N, 8)
TILES8(1)
TILES8(2)
TILES4(3)
TILES4(4)
TILES4(5)
TILES4(6)
TILES2(7)
TILES2(8)

typedef void (*TileFn)(const Tile *tile);
#define WIDTHS 4 /* 1, 2, 4 and 8 vectors */
#define ROW2(N)                                                                                    \
    {                                                                                              \
        tile_##N##_1, tile_##N##_2                                                                 \
    }
#define ROW4(N)                                                                                    \
    {                                                                                              \
        tile_##N##_1, tile_##N##_2, tile_##N##_4                                                   \
    }
#define ROW8(N)                                                                                    \
    {                                                                                              \
        tile_##N##_1, tile_##N##_2, tile_##N##_4, tile_##N##_8                                     \
    }
/* By rows and width; NULL: there is none. */
static const TileFn tiles[GEMM_THIN_ROWS + 1][WIDTHS] = {
    { NULL }, ROW8(1), ROW8(2), ROW4(3), ROW4(4), ROW4(5), ROW4(6), ROW2(7), ROW2(8),
};

/* The narrowest that holds all columns, else the widest. */
static gint
width_for(const TileFn *widths, gint64 cols)
{
    gint width = 0;
    while (width + 1 < WIDTHS && widths[width + 1] != NULL && (L << width) < cols) {
        width++;
    }
    return width;
}

/* At most GEMM_THIN_ROWS rows. */
static void
few_rows(const CpuGemm *g, gint64 rows, const float *a, const float *b, float *c, gint64 col,
         gint64 cols)
{
    const TileFn *widths = tiles[rows];
    for (gint64 k0 = 0; k0 < g->k; k0 += GEMM_BLOCK_K) {
        Tile t = { .k = MIN(GEMM_BLOCK_K, g->k - k0),
                   .a_row = g->a_row,
                   .b_row = g->b_row,
                   .c_row = g->c_row,
                   .a = a + k0,
                   .panel = g->panel > 0 ? g->k * 4 * L : 4 * L,
                   .add = g->accumulate || k0 > 0 };
        for (gint64 j = col; j < col + cols; j += t.cols) {
            const gint width = width_for(widths, col + cols - j);
            t.b = b + cpu_gemm_b_at(g, k0, j);
            t.c = c + j;
            t.cols = MIN(L << width, col + cols - j);
            widths[width](&t);
        }
    }
}

void
gemm_thin_rows(const CpuGemm *g, const float *a, const float *b, float *c, gint64 col, gint64 cols)
{
    const gint64 most = cpu_parts(g->m, cpu_parts(g->m, GEMM_THIN_ROWS));
    for (gint64 i = 0; i < g->m; i += most) {
        few_rows(g, MIN(most, g->m - i), a + i * g->a_row, b, c + i * g->c_row, col, cols);
    }
}

#else

/* Never called: gemm_thin_fits says no. */
void
gemm_thin_rows(const CpuGemm *g, const float *a, const float *b, float *c, gint64 col, gint64 cols)
{
    (void)g, (void)a, (void)b, (void)c, (void)col, (void)cols;
}

#endif
