/* conv_kernels.c: the innermost loops of convolutions for each instruction set, one function per
 * number of rows and vectors; the compiler unrolls both and keeps the sums in registers. */
#include "conv_kernels.h"

#include "cpu.h"

/* All of a short loop at once, before anything else: only so the sums never touch memory. */
#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 8")
#endif

#define FORWARD(name, TARGET, LANES, ROWS, VECTORS)                                                \
    TARGET static void name##_forward_##ROWS##_##VECTORS(gint64 k, const float *a, gint64 a_row,   \
                                                         const float *b, const gint32 *offset,     \
                                                         float *c, gint64 c_row)                   \
    {                                                                                              \
        typedef float V __attribute__((vector_size(LANES * sizeof(float))));                       \
        typedef V U __attribute__((aligned(sizeof(float)), may_alias));                            \
        V sum[ROWS][VECTORS];                                                                      \
        UNROLLED                                                                                   \
        for (gint i = 0; i < ROWS; i++) {                                                          \
            UNROLLED                                                                               \
            for (gint j = 0; j < VECTORS; j++) {                                                   \
                sum[i][j] = (V){ 0 };                                                              \
            }                                                                                      \
        }                                                                                          \
        for (gint64 p = 0; p < k; p++) {                                                           \
            const float *from = b + offset[p];                                                     \
            V row[VECTORS];                                                                        \
            for (gint j = 0; j < VECTORS; j++) {                                                   \
                row[j] = *(const U *)(from + j * LANES);                                           \
            }                                                                                      \
            for (gint i = 0; i < ROWS; i++) {                                                      \
                float x = a[i * a_row + p];                                                        \
                for (gint j = 0; j < VECTORS; j++) {                                               \
                    sum[i][j] += row[j] * x;                                                       \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        UNROLLED                                                                                   \
        for (gint i = 0; i < ROWS; i++) {                                                          \
            UNROLLED                                                                               \
            for (gint j = 0; j < VECTORS; j++) {                                                   \
                *(U *)(c + i * c_row + j * LANES) = sum[i][j];                                     \
            }                                                                                      \
        }                                                                                          \
    }

#define WEIGHT(name, TARGET, LANES, ROWS)                                                          \
    TARGET static void name##_weight_##ROWS(gint64 steps, const float *g, gint64 g_row,            \
                                            const float *x, const gint32 *offset, float *total)    \
    {                                                                                              \
        typedef float V __attribute__((vector_size(LANES * sizeof(float))));                       \
        typedef V U __attribute__((aligned(sizeof(float)), may_alias));                            \
        V sum[ROWS][CONV_TAPS];                                                                    \
        const float *x0 = x + offset[0], *x1 = x + offset[1], *x2 = x + offset[2],                 \
                    *x3 = x + offset[3];                                                           \
        UNROLLED                                                                                   \
        for (gint i = 0; i < ROWS; i++) {                                                          \
            UNROLLED                                                                               \
            for (gint t = 0; t < CONV_TAPS; t++) {                                                 \
                sum[i][t] = *(const U *)(total + (i * CONV_TAPS + t) * LANES);                     \
            }                                                                                      \
        }                                                                                          \
        for (gint64 p = 0; p < steps * LANES; p += LANES) {                                        \
            V tap[CONV_TAPS] = { *(const U *)(x0 + p), *(const U *)(x1 + p), *(const U *)(x2 + p), \
                                 *(const U *)(x3 + p) };                                           \
            for (gint i = 0; i < ROWS; i++) {                                                      \
                V y = *(const U *)(g + i * g_row + p);                                             \
                for (gint t = 0; t < CONV_TAPS; t++) {                                             \
                    sum[i][t] += y * tap[t];                                                       \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        UNROLLED                                                                                   \
        for (gint i = 0; i < ROWS; i++) {                                                          \
            UNROLLED                                                                               \
            for (gint t = 0; t < CONV_TAPS; t++) {                                                 \
                *(U *)(total + (i * CONV_TAPS + t) * LANES) = sum[i][t];                           \
            }                                                                                      \
        }                                                                                          \
    }

#define ROWS_OF(name, TARGET, LANES, VECTORS)                                                      \
    FORWARD(name, TARGET, LANES, 1, VECTORS)                                                       \
    FORWARD(name, TARGET, LANES, 2, VECTORS)                                                       \
    FORWARD(name, TARGET, LANES, 3, VECTORS)                                                       \
    FORWARD(name, TARGET, LANES, 4, VECTORS)                                                       \
    FORWARD(name, TARGET, LANES, 5, VECTORS)                                                       \
    FORWARD(name, TARGET, LANES, 6, VECTORS)
#define NO_TARGET

ROWS_OF(portable, NO_TARGET, 4, 1)
ROWS_OF(portable, NO_TARGET, 4, 2)
WEIGHT(portable, NO_TARGET, 4, 1)
WEIGHT(portable, NO_TARGET, 4, 2)
ROWS_OF(avx2, CPU_TARGET_AVX2, 8, 1)
ROWS_OF(avx2, CPU_TARGET_AVX2, 8, 2)
WEIGHT(avx2, CPU_TARGET_AVX2, 8, 1)
WEIGHT(avx2, CPU_TARGET_AVX2, 8, 2)
ROWS_OF(avx512, CPU_TARGET_AVX512, 16, 1)
ROWS_OF(avx512, CPU_TARGET_AVX512, 16, 2)
ROWS_OF(avx512, CPU_TARGET_AVX512, 16, 3)
ROWS_OF(avx512, CPU_TARGET_AVX512, 16, 4)
WEIGHT(avx512, CPU_TARGET_AVX512, 16, 1)
WEIGHT(avx512, CPU_TARGET_AVX512, 16, 2)
WEIGHT(avx512, CPU_TARGET_AVX512, 16, 3)
WEIGHT(avx512, CPU_TARGET_AVX512, 16, 4)
WEIGHT(avx512, CPU_TARGET_AVX512, 16, 5)
WEIGHT(avx512, CPU_TARGET_AVX512, 16, 6)

#define ROW2(name, ROWS)                                                                           \
    {                                                                                              \
        name##_forward_##ROWS##_1, name##_forward_##ROWS##_2                                       \
    }
#define ROW4(name, ROWS)                                                                           \
    {                                                                                              \
        name##_forward_##ROWS##_1, name##_forward_##ROWS##_2, name##_forward_##ROWS##_3,           \
            name##_forward_##ROWS##_4                                                              \
    }
#define TABLE(name, ROW)                                                                           \
    {                                                                                              \
        ROW(name, 1), ROW(name, 2), ROW(name, 3), ROW(name, 4), ROW(name, 5), ROW(name, 6)         \
    }

const ConvKernels conv_kernels[CPU_N_ISA] = {
    [CPU_PORTABLE] = { 4, 2, 2, TABLE(portable, ROW2), { portable_weight_1, portable_weight_2 } },
    [CPU_AVX2] = { 8, 2, 2, TABLE(avx2, ROW2), { avx2_weight_1, avx2_weight_2 } },
    [CPU_AVX512] = { 16,
                     4,
                     6,
                     TABLE(avx512, ROW4),
                     { avx512_weight_1, avx512_weight_2, avx512_weight_3, avx512_weight_4,
                       avx512_weight_5, avx512_weight_6 } },
};
