/* conv_lanes_kernels.c: the innermost loops of convolutions over lanes for each instruction set, one
 * function per number of maps and places; the compiler unrolls both and keeps the sums in
 * registers. */
#include "conv_lanes_kernels.h"

#include "cpu.h"

/* All of a short loop at once, before anything else: only so the sums never touch memory. */
#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 8")
#endif

#define FORWARD(name, TARGET, N, MAPS, PLACES)                                                     \
    TARGET static void name##_forward_##MAPS##_##PLACES(                                           \
        const LanesSteps *steps, const float *x, gint64 place_step, const float *w,                \
        const float *bias, float *out, const LanesOut *to)                                         \
    {                                                                                              \
        typedef float V __attribute__((vector_size(N * sizeof(float))));                           \
        typedef V U __attribute__((aligned(sizeof(float)), may_alias));                            \
        V sum[MAPS][PLACES];                                                                       \
        UNROLLED                                                                                   \
        for (gint i = 0; i < MAPS; i++) {                                                          \
            UNROLLED                                                                               \
            for (gint j = 0; j < PLACES; j++) {                                                    \
                sum[i][j] = (V){ 0 };                                                              \
            }                                                                                      \
        }                                                                                          \
        for (gint64 run = 0; run < steps->runs; run++) {                                           \
            const LanesStep *step = steps->at + run * steps->run_step, *end = step + steps->n;     \
            for (; step < end; step++) {                                                           \
                const float *from = x + step->x, *weights = w + (gint64)step->other * MAPS;        \
                V place[PLACES];                                                                   \
                for (gint j = 0; j < PLACES; j++) {                                                \
                    place[j] = *(const U *)(from + j * place_step);                                \
                }                                                                                  \
                for (gint i = 0; i < MAPS; i++) {                                                  \
                    for (gint j = 0; j < PLACES; j++) {                                            \
                        sum[i][j] += place[j] * weights[i];                                        \
                    }                                                                              \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        UNROLLED                                                                                   \
        for (gint i = 0; i < MAPS; i++) {                                                          \
            UNROLLED                                                                               \
            for (gint j = 0; j < PLACES; j++) {                                                    \
                *(U *)(out + i * to->map_step + j * to->place_step) = sum[i][j] + bias[i];         \
            }                                                                                      \
        }                                                                                          \
    }

#define WEIGHT(name, TARGET, N, MAPS, TAPS)                                                        \
    TARGET static void name##_weight_##MAPS##_##TAPS(const LanesStep *steps, gint64 n,             \
                                                     const LanesGrads *g, const float *x,          \
                                                     const float *grads, float *sum)               \
    {                                                                                              \
        typedef float V __attribute__((vector_size(N * sizeof(float))));                           \
        typedef V U __attribute__((aligned(sizeof(float)), may_alias));                            \
        const gint64 map_step = g->map_step, tap_step = g->tap_step;                               \
        V total[MAPS][TAPS];                                                                       \
        UNROLLED                                                                                   \
        for (gint i = 0; i < MAPS; i++) {                                                          \
            UNROLLED                                                                               \
            for (gint t = 0; t < TAPS; t++) {                                                      \
                total[i][t] = *(const U *)(sum + i * g->sum_step + t * N);                         \
            }                                                                                      \
        }                                                                                          \
        for (gint64 k = 0; k < n; k++) {                                                           \
            const float *from = x + steps[k].x, *row = grads + steps[k].other;                     \
            V read[TAPS];                                                                          \
            for (gint t = 0; t < TAPS; t++) {                                                      \
                read[t] = *(const U *)(from + t * tap_step);                                       \
            }                                                                                      \
            for (gint i = 0; i < MAPS; i++) {                                                      \
                const V y = *(const U *)(row + i * map_step);                                      \
                for (gint t = 0; t < TAPS; t++) {                                                  \
                    total[i][t] += y * read[t];                                                    \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        UNROLLED                                                                                   \
        for (gint i = 0; i < MAPS; i++) {                                                          \
            UNROLLED                                                                               \
            for (gint t = 0; t < TAPS; t++) {                                                      \
                *(U *)(sum + i * g->sum_step + t * N) = total[i][t];                               \
            }                                                                                      \
        }                                                                                          \
    }

#define SUM(name, TARGET, N)                                                                       \
    TARGET static void name##_sum(const float *sum, gint64 n, float *to)                           \
    {                                                                                              \
        typedef float V __attribute__((vector_size(4 * sizeof(float))));                           \
        typedef V U __attribute__((aligned(sizeof(float)), may_alias));                            \
        for (gint64 k = 0; k < n; k += 4, sum += 4 * N) {                                          \
            V t[4];                                                                                \
            UNROLLED                                                                               \
            for (gint i = 0; i < 4; i++) {                                                         \
                t[i] = *(const U *)(sum + i * N);                                                  \
                UNROLLED                                                                           \
                for (gint lane = 4; lane < N; lane += 4) {                                         \
                    t[i] += *(const U *)(sum + i * N + lane);                                      \
                }                                                                                  \
            }                                                                                      \
            const V a = __builtin_shufflevector(t[0], t[1], 0, 4, 1, 5);                           \
            const V b = __builtin_shufflevector(t[2], t[3], 0, 4, 1, 5);                           \
            const V c = __builtin_shufflevector(t[0], t[1], 2, 6, 3, 7);                           \
            const V d = __builtin_shufflevector(t[2], t[3], 2, 6, 3, 7);                           \
            const V first = __builtin_shufflevector(a, b, 0, 1, 4, 5);                             \
            const V second = __builtin_shufflevector(a, b, 2, 3, 6, 7);                            \
            const V third = __builtin_shufflevector(c, d, 0, 1, 4, 5);                             \
            const V fourth = __builtin_shufflevector(c, d, 2, 3, 6, 7);                            \
            *(U *)(to + k) = (first + third) + (second + fourth);                                  \
        }                                                                                          \
    }

#define FORWARDS(name, TARGET, N, MAPS)                                                            \
    FORWARD(name, TARGET, N, MAPS, 1)                                                              \
    FORWARD(name, TARGET, N, MAPS, 2)                                                              \
    FORWARD(name, TARGET, N, MAPS, 4)
#define BOTH(name, TARGET, N, MAPS)                                                                \
    FORWARDS(name, TARGET, N, MAPS)                                                                \
    WEIGHT(name, TARGET, N, MAPS, 1)                                                               \
    WEIGHT(name, TARGET, N, MAPS, 3)                                                               \
    WEIGHT(name, TARGET, N, MAPS, 5)
#define NO_TARGET

BOTH(portable, NO_TARGET, 4, 1)
BOTH(portable, NO_TARGET, 4, 2)
BOTH(avx2, CPU_TARGET_AVX2, 8, 1)
BOTH(avx2, CPU_TARGET_AVX2, 8, 2)
BOTH(avx512, CPU_TARGET_AVX512, 16, 1)
BOTH(avx512, CPU_TARGET_AVX512, 16, 2)
BOTH(avx512, CPU_TARGET_AVX512, 16, 4)
FORWARDS(avx512, CPU_TARGET_AVX512, 16, 6)
SUM(portable, NO_TARGET, 4)
SUM(avx2, CPU_TARGET_AVX2, 8)
SUM(avx512, CPU_TARGET_AVX512, 16)

#define FORWARD_ROW(name, MAPS)                                                                    \
    [MAPS] = { [1] = name##_forward_##MAPS##_1,                                                    \
               [2] = name##_forward_##MAPS##_2,                                                    \
               [4] = name##_forward_##MAPS##_4 }
#define WEIGHT_ROW(name, MAPS)                                                                     \
    [MAPS] = { [1] = name##_weight_##MAPS##_1,                                                     \
               [3] = name##_weight_##MAPS##_3,                                                     \
               [5] = name##_weight_##MAPS##_5 }

const LanesKernels conv_lanes_kernels[CPU_N_ISA] = {
    [CPU_PORTABLE] = { 4,
                       2,
                       2,
                       { FORWARD_ROW(portable, 1), FORWARD_ROW(portable, 2) },
                       { WEIGHT_ROW(portable, 1), WEIGHT_ROW(portable, 2) },
                       portable_sum },
    [CPU_AVX2] = { 8,
                   2,
                   2,
                   { FORWARD_ROW(avx2, 1), FORWARD_ROW(avx2, 2) },
                   { WEIGHT_ROW(avx2, 1), WEIGHT_ROW(avx2, 2) },
                   avx2_sum },
    [CPU_AVX512] = { 16,
                     6,
                     4,
                     { FORWARD_ROW(avx512, 1), FORWARD_ROW(avx512, 2), FORWARD_ROW(avx512, 4),
                       FORWARD_ROW(avx512, 6) },
                     { WEIGHT_ROW(avx512, 1), WEIGHT_ROW(avx512, 2), WEIGHT_ROW(avx512, 4) },
                     avx512_sum },
};
