/* conv_lanes_kernels.c: the innermost loops of convolutions over lanes for each instruction set, one
 * function per number of maps and places; the compiler unrolls both and keeps the sums in
 * registers. */
#include "conv_lanes_kernels.h"

#include "cpu.h"

#define LANES 16 /* floats from one place to the next */

/* All of a short loop at once, before anything else: only so the sums never touch memory. */
#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 8")
#endif

#define TAPS_INSIDE(V, U, MAPS, PLACES)                                                            \
    for (gint64 t = tap; t < tap_end; t++) {                                                       \
        const float *from = line + t * reads->tap_step;                                            \
        V place[PLACES];                                                                           \
        for (gint j = 0; j < PLACES; j++) {                                                        \
            place[j] = *(const U *)(from + j * reads->place_step);                                 \
        }                                                                                          \
        for (gint i = 0; i < MAPS; i++) {                                                          \
            const float weight = weights[t * MAPS + i];                                            \
            for (gint j = 0; j < PLACES; j++) {                                                    \
                sum[i][j] += place[j] * weight;                                                    \
            }                                                                                      \
        }                                                                                          \
    }

/* Nothing is added for what is outside. */
#define TAPS_BORDER(V, U, MAPS, PLACES)                                                            \
    for (gint64 t = tap; t < tap_end; t++) {                                                       \
        const float *from = line + t * reads->tap_step;                                            \
        const gint64 column = reads->column + t * reads->tap_columns;                              \
        V weight[MAPS];                                                                            \
        for (gint i = 0; i < MAPS; i++) {                                                          \
            weight[i] = weights[t * MAPS + i] - (V){ 0 };                                          \
        }                                                                                          \
        for (gint j = 0; j < PLACES; j++) {                                                        \
            if ((guint64)(column + j * reads->place_columns) < (guint64)reads->columns) {          \
                const V place = *(const U *)(from + j * reads->place_step);                        \
                for (gint i = 0; i < MAPS; i++) {                                                  \
                    sum[i][j] += place * weight[i];                                                \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

#define FORWARD(name, TARGET, N, MAPS, PLACES)                                                     \
    TARGET static void name##_forward_##MAPS##_##PLACES(                                           \
        const LanesReads *reads, const float *x, const float *w, gint64 row, gint64 row_end,       \
        gint64 tap, gint64 tap_end, gboolean inside, const float *bias, float *out,                \
        gint64 out_map)                                                                            \
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
        for (gint64 c = 0; c < reads->maps; c++) {                                                 \
            for (gint64 r = row; r < row_end; r++) {                                               \
                const float *line = x + c * reads->map_step + r * reads->row_step;                 \
                const float *weights = w + (c * reads->rows + r) * reads->taps * MAPS;             \
                if (inside) {                                                                      \
                    TAPS_INSIDE(V, U, MAPS, PLACES)                                                \
                } else {                                                                           \
                    TAPS_BORDER(V, U, MAPS, PLACES)                                                \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        UNROLLED                                                                                   \
        for (gint i = 0; i < MAPS; i++) {                                                          \
            UNROLLED                                                                               \
            for (gint j = 0; j < PLACES; j++) {                                                    \
                *(U *)(out + i * out_map + j * LANES) = sum[i][j] + bias[i];                       \
            }                                                                                      \
        }                                                                                          \
    }

#define PLACES_INSIDE(V, U, MAPS, TAPS, END)                                                       \
    for (; j < (END); j++) {                                                                       \
        const float *from = line + j * reads->place_step, *to = row + j * LANES;                   \
        V read[TAPS];                                                                              \
        for (gint t = 0; t < TAPS; t++) {                                                          \
            read[t] = *(const U *)(from + t * reads->tap_step);                                    \
        }                                                                                          \
        for (gint i = 0; i < MAPS; i++) {                                                          \
            const V y = *(const U *)(to + i * g->map_step);                                        \
            for (gint t = 0; t < TAPS; t++) {                                                      \
                total[i][t] += y * read[t];                                                        \
            }                                                                                      \
        }                                                                                          \
    }

#define PLACES_BORDER(V, U, MAPS, TAPS, END)                                                       \
    for (; j < (END); j++) {                                                                       \
        const float *from = line + j * reads->place_step, *to = row + j * LANES;                   \
        const gint64 column = reads->column + j * reads->place_columns;                            \
        for (gint t = 0; t < TAPS; t++) {                                                          \
            if ((guint64)(column + t * reads->tap_columns) < (guint64)reads->columns) {            \
                const V read = *(const U *)(from + t * reads->tap_step);                           \
                for (gint i = 0; i < MAPS; i++) {                                                  \
                    total[i][t] += *(const U *)(to + i * g->map_step) * read;                      \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

#define WEIGHT(name, TARGET, N, MAPS, TAPS)                                                        \
    TARGET static void name##_weight_##MAPS##_##TAPS(const LanesReads *reads,                      \
                                                     const LanesGrads *g, const float *x,          \
                                                     const float *grads, float *sum)               \
    {                                                                                              \
        typedef float V __attribute__((vector_size(N * sizeof(float))));                           \
        typedef V U __attribute__((aligned(sizeof(float)), may_alias));                            \
        V total[MAPS][TAPS];                                                                       \
        UNROLLED                                                                                   \
        for (gint i = 0; i < MAPS; i++) {                                                          \
            UNROLLED                                                                               \
            for (gint t = 0; t < TAPS; t++) {                                                      \
                total[i][t] = *(const U *)(sum + (i * TAPS + t) * N);                              \
            }                                                                                      \
        }                                                                                          \
        for (gint64 r = 0; r < g->rows; r++) {                                                     \
            const float *line = x + r * reads->row_step, *row = grads + r * g->row_step;           \
            gint64 j = 0;                                                                          \
            PLACES_BORDER(V, U, MAPS, TAPS, g->inside)                                             \
            PLACES_INSIDE(V, U, MAPS, TAPS, g->outside)                                            \
            PLACES_BORDER(V, U, MAPS, TAPS, g->places)                                             \
        }                                                                                          \
        UNROLLED                                                                                   \
        for (gint i = 0; i < MAPS; i++) {                                                          \
            UNROLLED                                                                               \
            for (gint t = 0; t < TAPS; t++) {                                                      \
                *(U *)(sum + (i * TAPS + t) * N) = total[i][t];                                    \
            }                                                                                      \
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
                       { WEIGHT_ROW(portable, 1), WEIGHT_ROW(portable, 2) } },
    [CPU_AVX2] = { 8,
                   2,
                   2,
                   { FORWARD_ROW(avx2, 1), FORWARD_ROW(avx2, 2) },
                   { WEIGHT_ROW(avx2, 1), WEIGHT_ROW(avx2, 2) } },
    [CPU_AVX512] = { 16,
                     6,
                     4,
                     { FORWARD_ROW(avx512, 1), FORWARD_ROW(avx512, 2), FORWARD_ROW(avx512, 4),
                       FORWARD_ROW(avx512, 6) },
                     { WEIGHT_ROW(avx512, 1), WEIGHT_ROW(avx512, 2), WEIGHT_ROW(avx512, 4) } },
};
