/* gemm_thin.c: products of few rows with a matrix whose columns lie in memory one after the other.
 * Sixteen columns of b, read along k, are turned round in registers, sixteen places of k at a time; then
 * each place is a vector of columns, multiplied with a number of each row. A single row, where its bits need not be
 * those of several, is multiplied along k, eight columns at a time: it takes little longer than reading b does. */
#include "gemm_thin.h"

#define L 16

typedef float V __attribute__((vector_size(L * sizeof(float))));
typedef V U __attribute__((aligned(sizeof(float)), may_alias));

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Rows that columns are turned for: sums and what was turned are in registers. */
#define TURNED_ROWS 10

/* Pairs of vectors interleaved within each four of their elements: ones, then pairs of them. */
#define LOW(a, b)                                                                                  \
    __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define HIGH(a, b)                                                                                 \
    __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LOW2(a, b)                                                                                 \
    __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define HIGH2(a, b)                                                                                \
    __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
/* Fours of two vectors: even ones, odd ones. */
#define EVEN4(a, b)                                                                                \
    __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
#define ODD4(a, b)                                                                                 \
    __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)

/* turned[p][j] = column j's element p, of sixteen columns. */
#define TURN(from, turned)                                                                         \
    {                                                                                              \
        V four[L];                                                                                 \
        UNROLL for (gint j = 0; j < L; j += 4)                                                     \
        {                                                                                          \
            const V x0 = *(const U *)(from[j]), x1 = *(const U *)(from[j + 1]);                    \
            const V x2 = *(const U *)(from[j + 2]), x3 = *(const U *)(from[j + 3]);                \
            const V l0 = LOW(x0, x1), h0 = HIGH(x0, x1), l1 = LOW(x2, x3), h1 = HIGH(x2, x3);      \
            four[j] = LOW2(l0, l1);                                                                \
            four[j + 1] = HIGH2(l0, l1);                                                           \
            four[j + 2] = LOW2(h0, h1);                                                            \
            four[j + 3] = HIGH2(h0, h1);                                                           \
        }                                                                                          \
        UNROLL for (gint f = 0; f < 4; f++)                                                        \
        {                                                                                          \
            const V e0 = EVEN4(four[f], four[4 + f]), o0 = ODD4(four[f], four[4 + f]);             \
            const V e1 = EVEN4(four[8 + f], four[12 + f]), o1 = ODD4(four[8 + f], four[12 + f]);   \
            turned[f] = EVEN4(e0, e1);                                                             \
            turned[8 + f] = ODD4(e0, e1);                                                          \
            turned[4 + f] = EVEN4(o0, o1);                                                         \
            turned[12 + f] = ODD4(o0, o1);                                                         \
        }                                                                                          \
    }

/* Sums over places [0, k) of sixteen columns, from 0. */
#define SUMS(N)                                                                                    \
    CPU_TARGET_AVX512 static void sums_##N(gint64 k, const float *const *columns, gint64 at,       \
                                           const float *a, gint64 a_row, V *total)                 \
    {                                                                                              \
        V sum[N];                                                                                  \
        gint64 p = 0;                                                                              \
        UNROLL for (gint i = 0; i < N; i++)                                                        \
        {                                                                                          \
            sum[i] = (V){ 0 };                                                                     \
        }                                                                                          \
        for (; p + L <= k; p += L) {                                                               \
            const float *from[L];                                                                  \
            V turned[L];                                                                           \
            UNROLL for (gint j = 0; j < L; j++)                                                    \
            {                                                                                      \
                from[j] = columns[j] + at + p;                                                     \
            }                                                                                      \
            TURN(from, turned)                                                                     \
            UNROLL for (gint q = 0; q < L; q++)                                                    \
            {                                                                                      \
                UNROLL for (gint i = 0; i < N; i++)                                                \
                {                                                                                  \
                    sum[i] += turned[q] * a[i * a_row + p + q];                                    \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        for (; p < k; p++) {                                                                       \
            V place;                                                                               \
            for (gint j = 0; j < L; j++) {                                                         \
                place[j] = columns[j][at + p];                                                     \
            }                                                                                      \
            for (gint i = 0; i < N; i++) {                                                         \
                sum[i] += place * a[i * a_row + p];                                                \
            }                                                                                      \
        }                                                                                          \
        UNROLL for (gint i = 0; i < N; i++)                                                        \
        {                                                                                          \
            total[i] = sum[i];                                                                     \
        }                                                                                          \
    }

SUMS(1)
SUMS(2)
SUMS(3)
SUMS(4)
SUMS(5)
SUMS(6)
SUMS(7)
SUMS(8)
SUMS(9)
SUMS(10)

typedef void (*SumsFn)(gint64 k, const float *const *columns, gint64 at, const float *a,
                       gint64 a_row, V *total);
static const SumsFn sums[TURNED_ROWS + 1] = { NULL,   sums_1, sums_2, sums_3, sums_4, sums_5,
                                              sums_6, sums_7, sums_8, sums_9, sums_10 };

/* Columns of one row at once: fewer read no faster, more are too many streams. */
#define DOTS 8

/* Sums of each of eight vectors: of pairs, of fours, then of the four fours. */
CPU_TARGET_AVX512 static CPU_INLINE V
sums_of(const V *x)
{
    V pair[DOTS / 2], four[2];
    UNROLL for (gint i = 0; i < DOTS / 2; i++)
    {
        pair[i] = LOW(x[2 * i], x[2 * i + 1]) + HIGH(x[2 * i], x[2 * i + 1]);
    }
    UNROLL for (gint i = 0; i < 2; i++)
    {
        four[i] = LOW2(pair[2 * i], pair[2 * i + 1]) + HIGH2(pair[2 * i], pair[2 * i + 1]);
    }
    const V eight = EVEN4(four[0], four[1]) + ODD4(four[0], four[1]);
    return EVEN4(eight, eight) + ODD4(eight, eight);
}

CPU_TARGET_AVX512 static void
dots(gint64 k, const float *const *columns, const float *a, V *total)
{
    V sum[DOTS];
    gint64 p = 0;
    UNROLL for (gint j = 0; j < DOTS; j++)
    {
        sum[j] = (V){ 0 };
    }
    for (; p + L <= k; p += L) {
        const V x = *(const U *)(a + p);
        UNROLL for (gint j = 0; j < DOTS; j++)
        {
            sum[j] += x * *(const U *)(columns[j] + p);
        }
    }
    if (p < k) {
        V x = { 0 };
        memcpy(&x, a + p, (gsize)(k - p) * sizeof *a);
        for (gint j = 0; j < DOTS; j++) {
            V y = { 0 };
            memcpy(&y, columns[j] + p, (gsize)(k - p) * sizeof *a);
            sum[j] += x * y;
        }
    }
    *total = sums_of(sum);
}

static gboolean
is_dots(const CpuGemm *g)
{
    return !g->own && g->m == 1 && g->b_row == 1 && g->panel == 0;
}

/* Rows with which it still pays to read a vector of columns for every eight of them rather than to pack it. */
#define NARROW_ROWS 32

/* With own, sums are those of other products. The last columns of their panels, where they are few, are
 * summed in shorter vectors without fused multiply-adds (gemm_block.c). */
gboolean
gemm_thin_fits(const CpuGemm *g)
{
    const gint64 last = g->n % (4 * L);
    if (cpu_isa != CPU_AVX512 || g->f64 || g->a_col != 1 || (g->panel != 0 && g->panel != 4 * L) ||
        (g->own && last > 0 && last <= 4)) {
        return FALSE;
    }
    const gint64 most = g->own && g->n <= L ? NARROW_ROWS : GEMM_THIN_ROWS;
    return is_dots(g) || (g->b_col == 1 ? g->m <= most && (g->own || g->n >= L)
                                        : g->own && g->b_row == 1 && g->m <= TURNED_ROWS);
}

/* Elements of b that a region should have at least, or multiplications, and regions at most. What is enough
 * for one region alone is cut all the same, for threads that are awake: in smaller ones, since one of them may be
 * held up. */
#define REGION_ELEMENTS 65536
#define REGION_WORK 262144
#define MOST_REGIONS 8
#define BRIEF_REGIONS 4

void
gemm_thin_plan(CpuGemm *g)
{
    const gint64 elements = g->n * g->k, work = g->m * elements;
    const gint64 unit = is_dots(g) ? DOTS : 4 * L;
    gint64 most = MIN(MOST_REGIONS, MAX(elements / REGION_ELEMENTS, work / REGION_WORK));
    gint64 across = 1;
    g->brief = most == 1;
    most = g->brief ? BRIEF_REGIONS : most;
    while (2 * across <= most) {
        across *= 2;
    }
    g->rows = g->m;
    g->cols = MAX(unit, cpu_parts(g->n, across * unit) * unit);
    g->n_down = g->m > 0 ? 1 : 0;
    g->n_across = cpu_parts(g->n, g->cols);
}

static void
store(gboolean add, const float *sum, float *to, gint64 cols)
{
    for (gint64 j = 0; j < cols; j++) {
        to[j] = add ? sum[j] + to[j] : sum[j];
    }
}

/* All rows of at most sixteen columns. */
static void
tile(const CpuGemm *g, const float *const *columns, const float *a, float *c, gint64 cols)
{
    _Alignas(64) V block[TURNED_ROWS];
    float *sum = (float *)(void *)block;
    for (gint64 k0 = 0; k0 < g->k; k0 += GEMM_BLOCK_K) {
        const gboolean add = g->accumulate || k0 > 0;
        sums[g->m](MIN(GEMM_BLOCK_K, g->k - k0), columns, k0, a + k0, g->a_row, block);
        for (gint64 i = 0; i < g->m; i++) {
            store(add, sum + i * L, c + i * g->c_row, cols);
        }
    }
}

static void
thin_columns(const CpuGemm *g, const float *a, const float *b, float *c, gint64 cols)
{
    for (gint64 j = 0; j < cols; j += L) {
        const float *columns[L];
        const gint64 n = MIN(L, cols - j);
        for (gint64 i = 0; i < L; i++) {
            /* The last one again where there are fewer. */
            columns[i] = b + (j + MIN(i, n - 1)) * g->b_col;
        }
        tile(g, columns, a, c + j, n);
    }
}

static void
dot_columns(const CpuGemm *g, const float *a, const float *b, float *c, gint64 cols)
{
    for (gint64 j = 0; j < cols; j += DOTS) {
        const float *columns[DOTS] = { b + j * g->b_col };
        const gint64 n = MIN(DOTS, cols - j);
        V total;
        UNROLL for (gint64 i = 1; i < DOTS; i++)
        {
            columns[i] = columns[i - 1] + (i < n ? g->b_col : 0);
        }
        dots(g->k, columns, a, &total);
        store(g->accumulate, (const float *)(const void *)&total, c + j, n);
    }
}

void
gemm_thin_run(const CpuGemm *g, const float *a, const float *b, float *c, gint64 col, gint64 cols)
{
    if (is_dots(g)) {
        dot_columns(g, a, b + col * g->b_col, c + col, cols);
    } else if (g->b_col == 1) {
        gemm_thin_rows(g, a, b, c, col, cols);
    } else {
        thin_columns(g, a, b + col * g->b_col, c + col, cols);
    }
}
