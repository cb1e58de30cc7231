/* gemm_pack.c: packing for products of matrices. Rows that lie the other way round are transposed
 * in squares of 4, a cache line of each row at a time, for their rows may all fall on the same few
 * places of the cache. */
#include "gemm_pack.h"

#include <string.h>

#include "cpu.h"
#include "gemm_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LINE 16
/* Groups of rows that are packed at once where rows are neighbours. */
#define GROUPS 32
/* Rows, or lines of a row, that are fetched ahead: no prefetcher follows so many streams, nor strides of
 * whole pages, and weights come from the third-level cache in every step. */
#define AHEAD 8
#define LINES_AHEAD 2

/* Four vectors of four become their columns, interleaved in two steps. */
#define TRANSPOSE4(V, a, b, c, d)                                                                  \
    {                                                                                              \
        V ab = __builtin_shufflevector(a, b, 0, 4, 1, 5);                                          \
        V ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7);                                         \
        V cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);                                          \
        V cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);                                         \
        a = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);                                           \
        b = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);                                           \
        c = __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5);                                         \
        d = __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7);                                         \
    }

typedef char Line __attribute__((vector_size(64)));
typedef Line AnyLine __attribute__((aligned(1), may_alias));

/* Whole panels of rows whose elements are neighbours, all panels of a row before the next row. */
static CPU_INLINE void
copy_body(const char *from, gint64 row, gint64 k, gint64 panels, gint64 width, char *to)
{
    for (gint64 p = 0; p < k; p++, from += row) {
        const char *line = from;
        for (gint64 j = 0; j < panels; j++) {
            char *at = to + (j * k + p) * width;
            for (gint64 q = 0; q < width; q += (gint64)sizeof(Line), line += sizeof(Line)) {
                __builtin_prefetch(line + AHEAD * row);
                *(AnyLine *)(at + q) = *(const AnyLine *)line;
            }
        }
    }
}

typedef void (*CopyFn)(const char *from, gint64 row, gint64 k, gint64 panels, gint64 width,
                       char *to);
CPU_VERSIONS(copy, CopyFn,
             (const char *from, gint64 row, gint64 k, gint64 panels, gint64 width, char *to),
             (from, row, k, panels, width, to))

#define WIDE 16 /* columns that are turned at once, where vectors hold as many */

#if defined(__x86_64__)
/* Four numbers each of rows 0, 4, 8 and 12. */
CPU_TARGET_AVX512 static CPU_INLINE __m512
gather4(const float *from, gint64 col)
{
    const __m512 first = _mm512_castps128_ps512(_mm_loadu_ps(from));
    const __m512 two = _mm512_insertf32x4(first, _mm_loadu_ps(from + 4 * col), 1);
    const __m512 three = _mm512_insertf32x4(two, _mm_loadu_ps(from + 8 * col), 2);
    return _mm512_insertf32x4(three, _mm_loadu_ps(from + 12 * col), 3);
}

/* to[p][j] = from[j][p] for 16 columns j and n (a multiple of 4) rows p: squares of 4, four of them in the
 * parts of a vector. */
CPU_TARGET_AVX512 static void
wide_turn_f32(const float *from, gint64 col, gint64 n, gint64 width, float *to)
{
    for (gint64 j = 0; j < WIDE; j++) {
        _mm_prefetch((const char *)(from + j * col + LINES_AHEAD * LINE), _MM_HINT_T0);
    }
    for (gint64 p = 0; p < n; p += 4, from += 4, to += 4 * width) {
        const __m512 a = gather4(from, col), b = gather4(from + col, col);
        const __m512 c = gather4(from + 2 * col, col), d = gather4(from + 3 * col, col);
        const __m512d ab = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
        const __m512d ab2 = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
        const __m512d cd = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
        const __m512d cd2 = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
        _mm512_storeu_ps(to, _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)));
        _mm512_storeu_ps(to + width, _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
        _mm512_storeu_ps(to + 2 * width, _mm512_castpd_ps(_mm512_unpacklo_pd(ab2, cd2)));
        _mm512_storeu_ps(to + 3 * width, _mm512_castpd_ps(_mm512_unpackhi_pd(ab2, cd2)));
    }
}

static gint64
wide_f32(gint64 cols)
{
    return cpu_isa >= CPU_AVX512 ? cols / WIDE * WIDE : 0;
}
#else
#define wide_f32(cols) 0
#define wide_turn_f32(from, col, n, width, to)
#endif
#define wide_f64(cols) 0
#define wide_turn_f64(from, col, n, width, to)

#define DEFINE(T, suffix)                                                                                        \
    static void group_##suffix(const T *from, gint64 row, gint64 col, gint64 rows, gint64 k,                     \
                               T *to)                                                                            \
    {                                                                                                            \
        for (gint64 p = 0; p < k; p++, from += col, to += GEMM_ROWS) {                                           \
            for (gint64 r = 0; r < rows; r++) {                                                                  \
                to[r] = from[r * row];                                                                           \
            }                                                                                                    \
        }                                                                                                        \
    }                                                                                                            \
                                                                                                                 \
    /* to[p][j] = from[j][p] for 4 columns j and n (a multiple of 4) rows p. */                                  \
    static inline void turn_##suffix(const T *from, gint64 col, gint64 n, gint64 width, T *to)                   \
    {                                                                                                            \
        typedef T V __attribute__((vector_size(4 * sizeof(T))));                                                 \
        typedef V U __attribute__((aligned(sizeof(T)), may_alias));                                              \
        for (gint64 p = 0; p < n; p += 4, from += 4, to += 4 * width) {                                          \
            V a = *(const U *)from, b = *(const U *)(from + col);                                                \
            V c = *(const U *)(from + 2 * col), d = *(const U *)(from + 3 * col);                                \
            TRANSPOSE4(V, a, b, c, d)                                                                            \
            *(U *)to = a;                                                                                        \
            *(U *)(to + width) = b;                                                                              \
            *(U *)(to + 2 * width) = c;                                                                          \
            *(U *)(to + 3 * width) = d;                                                                          \
        }                                                                                                        \
    }                                                                                                            \
                                                                                                                 \
    /* A panel of columns whose elements are neighbours. */                                                      \
    static void columns_##suffix(const T *from, gint64 col, gint64 cols, gint64 k, gint64 width,                 \
                                 gint64 step, T *to)                                                             \
    {                                                                                                            \
        const gint64 full = cols & ~(gint64)3, even = k & ~(gint64)3;                                            \
        const gint64 wide = wide_##suffix(cols);                                                                 \
        for (gint64 p = 0; p < even; p += LINE) {                                                                \
            const gint64 n = MIN(LINE, even - p);                                                                \
            for (gint64 j = 0; j < wide; j += WIDE) {                                                            \
                wide_turn_##suffix(from + j * col + p, col, n, step, to + p * step + j);                         \
            }                                                                                                    \
            for (gint64 j = wide; j < full; j += 4) {                                                            \
                for (gint64 q = 0; q < 4; q++) {                                                                 \
                    __builtin_prefetch(from + (j + q) * col + p + LINES_AHEAD * LINE);                           \
                }                                                                                                \
                turn_##suffix(from + j * col + p, col, n, step, to + p * step + j);                              \
            }                                                                                                    \
        }                                                                                                        \
        for (gint64 p = 0; p < k; p++) {                                                                         \
            for (gint64 j = p < even ? full : 0; j < width; j++) {                                               \
                to[p * step + j] = j < cols ? from[j * col + p] : 0;                                             \
            }                                                                                                    \
        }                                                                                                        \
    }                                                                                                            \
                                                                                                                 \
    /* Panels of rows. */                                                                                        \
    static void rows_##suffix(const T *from, gint64 row, gint64 col, gint64 cols, gint64 k,                      \
                              gint64 width, T *to)                                                               \
    {                                                                                                            \
        const gint64 bytes = width * (gint64)sizeof(T);                                                          \
        const gint64 full =                                                                                      \
            col == 1 && bytes % (gint64)sizeof(Line) == 0 ? cols / width * width : 0;                            \
        if (full > 0) {                                                                                          \
            copy[cpu_isa]((const char *)from, row * (gint64)sizeof(T), k, full / width, bytes,                   \
                          (char *)to);                                                                           \
        }                                                                                                        \
        for (gint64 p = 0; p < k && full < cols; p++, from += row) {                                             \
            for (gint64 j = full; j < cols; j += width) {                                                        \
                T *line = to + j * k + p * width;                                                                \
                const gint64 n = MIN(width, cols - j);                                                           \
                for (gint64 q = 0; q < n; q++) {                                                                 \
                    line[q] = from[(j + q) * col];                                                               \
                }                                                                                                \
                for (gint64 q = n; q < width; q++) {                                                             \
                    line[q] = 0;                                                                                 \
                }                                                                                                \
            }                                                                                                    \
        }                                                                                                        \
    }                                                                                                            \
                                                                                                                 \
    /* Rows that are neighbours: eight at once are moved to a group of six, the next place of k is written over\
     * the other two. */ \
    typedef T Eight_##suffix                                                                                     \
        __attribute__((vector_size(8 * sizeof(T)), aligned(sizeof(T)), may_alias));                              \
    static CPU_INLINE void beside_##suffix##_body(const T *from, gint64 col, gint64 rows,                        \
                                                  gint64 k, T *to)                                               \
    {                                                                                                            \
        for (gint64 p = 0; p < k; p++, from += col, to += GEMM_ROWS) {                                           \
            T *line = to;                                                                                        \
            gint64 i = 0;                                                                                        \
            for (gint64 q = 0; q < rows; q += LINE) {                                                            \
                __builtin_prefetch(from + AHEAD * col + q);                                                      \
            }                                                                                                    \
            for (; i + 8 <= rows && p + 1 < k; i += GEMM_ROWS, line += GEMM_ROWS * k) {                          \
                *(Eight_##suffix *)line = *(const Eight_##suffix *)(from + i);                                   \
            }                                                                                                    \
            for (; i + GEMM_ROWS <= rows; i += GEMM_ROWS, line += GEMM_ROWS * k) {                               \
                memcpy(line, from + i, GEMM_ROWS * sizeof(T));                                                   \
            }                                                                                                    \
            for (gint64 r = i; r < rows; r++) {                                                                  \
                line[r - i] = from[r];                                                                           \
            }                                                                                                    \
        }                                                                                                        \
    }                                                                                                            \
    typedef void (*BesideFn_##suffix)(const T *from, gint64 col, gint64 rows, gint64 k, T *to);                  \
    CPU_VERSIONS(beside_##suffix, BesideFn_##suffix,                                                             \
                 (const T *from, gint64 col, gint64 rows, gint64 k, T *to),                                      \
                 (from, col, rows, k, to))                                                                       \
                                                                                                                 \
    static void pack_a_##suffix(const GemmPart *a, gint64 rows, gint64 k, T *to)                                 \
    {                                                                                                            \
        const gint64 step = a->row == 1 ? GROUPS * GEMM_ROWS : GEMM_ROWS;                                        \
        const T *from = a->from;                                                                                 \
        for (gint64 i = 0; i < rows; i += step, to += step * k) {                                                \
            const gint64 n = MIN(step, rows - i);                                                                \
            if (a->row == 1) {                                                                                   \
                beside_##suffix[cpu_isa](from + i, a->col, n, k, to);                                            \
            } else {                                                                                             \
                group_##suffix(from + i * a->row, a->row, a->col, n, k, to);                                     \
            }                                                                                                    \
        }                                                                                                        \
    }                                                                                                            \
                                                                                                                 \
    static void pack_b_##suffix(const GemmPart *b, gint64 k, gint64 cols, gint64 width, T *to)                   \
    {                                                                                                            \
        const T *from = b->from;                                                                                 \
        if (b->row != 1 || b->col == 1) {                                                                        \
            rows_##suffix(from, b->row, b->col, cols, k, width, to);                                             \
            return;                                                                                              \
        }                                                                                                        \
        for (gint64 j = 0; j < cols; j += width) {                                                               \
            columns_##suffix(from + j * b->col, b->col, MIN(width, cols - j), k, width, width,                   \
                             to + j * k);                                                                        \
        }                                                                                                        \
    }

DEFINE(float, f32)
DEFINE(double, f64)

void
gemm_pack_a(const GemmPart *a, gint64 rows, gint64 k, void *to)
{
    if (a->f64) {
        pack_a_f64(a, rows, k, to);
    } else {
        pack_a_f32(a, rows, k, to);
    }
}

void
gemm_pack_b(const GemmPart *b, gint64 k, gint64 cols, gint64 width, void *to)
{
    if (b->f64) {
        pack_b_f64(b, k, cols, width, to);
    } else {
        pack_b_f32(b, k, cols, width, to);
    }
}

void
gemm_pack_columns(const GemmPart *b, gint64 k, gint64 cols, gint64 width, gint64 step, void *to)
{
    if (b->f64) {
        columns_f64(b->from, b->col, cols, k, width, step, to);
    } else {
        columns_f32(b->from, b->col, cols, k, width, step, to);
    }
}
