/* gemm_thin_rows.c: products of few rows with a matrix whose rows lie in memory one after the other: they
 * are read where they are, a mask for each vector of columns. As many columns at once as there are
 * registers for sums: with fewer, each would wait for the one before. */
#include "gemm_thin.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define L 16

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
    gint64 cols;
    gboolean add; /* to what is in c */
} Tile;

/* The first n of sixteen. */
static inline __mmask16
first(gint64 n)
{
    return (__mmask16)((1u << CLAMP(n, 0, L)) - 1);
}

#define TILE(N, W)                                                                                 \
    CPU_TARGET_AVX512 static void tile_##N(const Tile *t)                                          \
    {                                                                                              \
        __m512 sum[N][W];                                                                          \
        __mmask16 in[W];                                                                           \
        UNROLL for (gint j = 0; j < W; j++)                                                        \
        {                                                                                          \
            in[j] = first(t->cols - j * L);                                                        \
            UNROLL for (gint i = 0; i < N; i++)                                                    \
            {                                                                                      \
                sum[i][j] = _mm512_setzero_ps();                                                   \
            }                                                                                      \
        }                                                                                          \
        const float *b = t->b;                                                                     \
        for (gint64 p = 0; p < t->k; p++, b += t->b_row) {                                         \
            __m512 row[W];                                                                         \
            UNROLL for (gint j = 0; j < W; j++)                                                    \
            {                                                                                      \
                row[j] = _mm512_maskz_loadu_ps(in[j], b + j * L);                                  \
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

TILE(1, 8)
TILE(2, 8)
TILE(3, 4)
TILE(4, 4)
TILE(5, 4)
TILE(6, 4)
TILE(7, 2)
TILE(8, 2)

static const struct {
    void (*run)(const Tile *tile);
    gint64 cols;
} tiles[GEMM_THIN_ROWS + 1] = {
    { NULL, 0 },       { tile_1, 8 * L }, { tile_2, 8 * L }, { tile_3, 4 * L }, { tile_4, 4 * L },
    { tile_5, 4 * L }, { tile_6, 4 * L }, { tile_7, 2 * L }, { tile_8, 2 * L },
};

void
gemm_thin_rows(const CpuGemm *g, const float *a, const float *b, float *c, gint64 col, gint64 cols)
{
    for (gint64 k0 = 0; k0 < g->k; k0 += GEMM_BLOCK_K) {
        Tile t = { .k = MIN(GEMM_BLOCK_K, g->k - k0),
                   .a_row = g->a_row,
                   .b_row = g->b_row,
                   .c_row = g->c_row,
                   .a = a + k0,
                   .add = g->accumulate || k0 > 0 };
        for (gint64 j = col; j < col + cols; j += tiles[g->m].cols) {
            t.b = b + k0 * g->b_row + j;
            t.c = c + j;
            t.cols = MIN(tiles[g->m].cols, col + cols - j);
            tiles[g->m].run(&t);
        }
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
