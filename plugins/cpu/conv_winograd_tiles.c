/* conv_winograd_tiles.c: B^T d B and A^T m A of Lavin and Gray, "Fast algorithms for convolutional
 * neural networks" (2016), for F (4 x 4, 3 x 3). */
#include "conv_winograd_tiles.h"

#include "cpu.h"

#define L 16
#define T WINOGRAD_TILE
#define O WINOGRAD_OUT

static const float zeros[L] = { 0 };

/* Of six in d[0], d[s], … d[5 s]. */
#define IN(V, d, s)                                                                                \
    {                                                                                              \
        const V far = d[4 * s] - 4.0f * d[2 * s], odd = d[3 * s] - 4.0f * d[s];                    \
        const V near = d[4 * s] - d[2 * s], twice = 2.0f * (d[3 * s] - d[s]);                      \
        const V first = 4.0f * d[0] - 5.0f * d[2 * s] + d[4 * s];                                  \
        const V last = 4.0f * d[s] - 5.0f * d[3 * s] + d[5 * s];                                   \
        d[0] = first;                                                                              \
        d[s] = far + odd;                                                                          \
        d[2 * s] = far - odd;                                                                      \
        d[3 * s] = near + twice;                                                                   \
        d[4 * s] = near - twice;                                                                   \
        d[5 * s] = last;                                                                           \
    }
/* Four of six, in place. */
#define OUT(V, d, s)                                                                               \
    {                                                                                              \
        const V sum = d[s] + d[2 * s], rest = d[s] - d[2 * s];                                     \
        const V sums = d[3 * s] + d[4 * s], rests = d[3 * s] - d[4 * s];                           \
        d[0] = d[0] + sum + sums;                                                                  \
        d[s] = rest + 2.0f * rests;                                                                \
        d[2 * s] = sum + 4.0f * sums;                                                              \
        d[3 * s] = rest + 8.0f * rests + d[5 * s];                                                 \
    }

#define TILES(name, TARGET, N)                                                                     \
    TARGET static void in_##name(const float *x, const WinogradPlace *p, float *to, gint64 step)   \
    {                                                                                              \
        typedef float V __attribute__((vector_size(N * sizeof(float))));                           \
        typedef V U __attribute__((aligned(sizeof(float)), may_alias));                            \
        for (gint part = 0; part < L; part += N) {                                                 \
            V d[T * T];                                                                            \
            for (gint i = 0; i < T; i++) {                                                         \
                const gint64 row = p->row + i;                                                     \
                const gboolean inside = row >= 0 && row < p->size[0];                              \
                for (gint j = 0; j < T; j++) {                                                     \
                    const gint64 column = p->column + j;                                           \
                    const float *at = inside && column >= 0 && column < p->size[1]                 \
                                          ? x + (row * p->size[1] + column) * L                    \
                                          : zeros;                                                 \
                    d[i * T + j] = *(const U *)(at + part);                                        \
                }                                                                                  \
            }                                                                                      \
            for (gint i = 0; i < T; i++) {                                                         \
                V *row = d + i * T;                                                                \
                IN(V, row, 1)                                                                      \
            }                                                                                      \
            for (gint j = 0; j < T; j++) {                                                         \
                V *column = d + j;                                                                 \
                IN(V, column, T)                                                                   \
            }                                                                                      \
            for (gint k = 0; k < T * T; k++) {                                                     \
                *(U *)(to + k * step + part) = d[k];                                               \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    TARGET static void out_##name(const float *from, gint64 step, const WinogradPlace *p,          \
                                  const float *bias, const float *more, gboolean relu, float *y)   \
    {                                                                                              \
        typedef float V __attribute__((vector_size(N * sizeof(float))));                           \
        typedef gint32 M __attribute__((vector_size(N * sizeof(gint32))));                         \
        typedef V U __attribute__((aligned(sizeof(float)), may_alias));                            \
        const gint64 rows = MIN(O, p->size[0] - p->row), columns = MIN(O, p->size[1] - p->column); \
        for (gint part = 0; part < L; part += N) {                                                 \
            V d[T * T];                                                                            \
            for (gint k = 0; k < T * T; k++) {                                                     \
                d[k] = *(const U *)(from + k * step + part);                                       \
            }                                                                                      \
            for (gint i = 0; i < T; i++) {                                                         \
                V *row = d + i * T;                                                                \
                OUT(V, row, 1)                                                                     \
            }                                                                                      \
            for (gint j = 0; j < O; j++) {                                                         \
                V *column = d + j;                                                                 \
                OUT(V, column, T)                                                                  \
            }                                                                                      \
            V first = { 0 };                                                                       \
            if (bias) {                                                                            \
                first = *(const U *)(bias + part);                                                 \
            }                                                                                      \
            for (gint64 i = 0; i < rows; i++) {                                                    \
                for (gint64 j = 0; j < columns; j++) {                                             \
                    const gint64 at = ((p->row + i) * p->size[1] + p->column + j) * L + part;      \
                    V v = d[i * T + j] + first;                                                    \
                    if (more) {                                                                    \
                        v += *(const U *)(more + at);                                              \
                    }                                                                              \
                    if (relu) {                                                                    \
                        v = (V)((M)v & ((M)(v > 0) | (M)(v != v)));                                \
                    }                                                                              \
                    *(U *)(y + at) = v;                                                            \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define NO_TARGET

TILES(portable, NO_TARGET, 4)
TILES(avx2, CPU_TARGET_AVX2, 8)
TILES(avx512, CPU_TARGET_AVX512, 16)

const WinogradTiles winograd_tiles[CPU_N_ISA] = { [CPU_PORTABLE] = { in_portable, out_portable },
                                                  [CPU_AVX2] = { in_avx2, out_avx2 },
                                                  [CPU_AVX512] = { in_avx512, out_avx512 } };
