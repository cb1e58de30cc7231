/* conv_blocked_kernels.c: the innermost loops of convolutions over blocks of channels for each
 * instruction set, one function per number of blocks and places and kind of step; the compiler
 * unrolls the first two and keeps the sums in registers. */
#include "conv_blocked_kernels.h"

#include "cpu.h"

#define L 16 /* channels of a block */

/* Vector i of a place: part i % (L / N) of block i / (L / N), whose blocks are `block` apart. */
#define AT(N, i, block) ((i) * (N) / L * (block) + (i) * (N) % L)

#define KERNEL(name, TARGET, N, KIND, STEP, BLOCKS, PLACES)                                        \
    TARGET static void name##_##KIND##_##BLOCKS##_##PLACES(                                        \
        const BlockedReads *r, const float *x, const float *w, const float *bias,                  \
        const float *more, gboolean relu, float *out)                                              \
    {                                                                                              \
        enum { VECTORS = (BLOCKS)*L / (N) };                                                       \
        typedef float V __attribute__((vector_size((N) * sizeof(float))));                         \
        typedef gint32 M __attribute__((vector_size((N) * sizeof(gint32))));                       \
        typedef V U __attribute__((aligned(sizeof(float)), may_alias));                            \
        const gint64 step = (STEP);                                                                \
        V sum[PLACES][VECTORS];                                                                    \
        for (gint i = 0; i < VECTORS; i++) {                                                       \
            V first = { 0 };                                                                       \
            if (bias) {                                                                            \
                first = *(const U *)(bias + i * (N));                                              \
            }                                                                                      \
            for (gint j = 0; j < (PLACES); j++) {                                                  \
                sum[j][i] = first;                                                                 \
            }                                                                                      \
        }                                                                                          \
        for (gint64 p = 0; p < r->pieces; p++) {                                                   \
            const float *from = x + r->at[p];                                                      \
            for (gint64 f = 0; f < r->length; f++) {                                               \
                V weight[VECTORS];                                                                 \
                for (gint i = 0; i < VECTORS; i++) {                                               \
                    weight[i] = *(const U *)(w + AT(N, i, r->w_block));                            \
                }                                                                                  \
                for (gint j = 0; j < (PLACES); j++) {                                              \
                    const float seen = from[f + j * step];                                         \
                    for (gint i = 0; i < VECTORS; i++) {                                           \
                        sum[j][i] += weight[i] * seen;                                             \
                    }                                                                              \
                }                                                                                  \
                w += L;                                                                            \
            }                                                                                      \
        }                                                                                          \
        for (gint j = 0; j < (PLACES); j++) {                                                      \
            for (gint i = 0; i < VECTORS; i++) {                                                   \
                const gint64 at = AT(N, i, r->out_block) + j * L;                                  \
                V y = sum[j][i];                                                                   \
                if (more) {                                                                        \
                    y += *(const U *)(more + at);                                                  \
                }                                                                                  \
                if (relu) {                                                                        \
                    y = (V)((M)y & ((M)(y > 0) | (M)(y != y)));                                    \
                }                                                                                  \
                *(U *)(out + at) = y;                                                              \
            }                                                                                      \
        }                                                                                          \
    }

#define UP_TO_2(X, ...) X(__VA_ARGS__, 1) X(__VA_ARGS__, 2)
#define UP_TO_6(X, ...)                                                                            \
    UP_TO_2(X, __VA_ARGS__)                                                                        \
    X(__VA_ARGS__, 3) X(__VA_ARGS__, 4) X(__VA_ARGS__, 5) X(__VA_ARGS__, 6)
#define UP_TO_7(X, ...) UP_TO_6(X, __VA_ARGS__) X(__VA_ARGS__, 7)
#define UP_TO_14(X, ...)                                                                           \
    UP_TO_7(X, __VA_ARGS__)                                                                        \
    X(__VA_ARGS__, 8)                                                                              \
    X(__VA_ARGS__, 9)                                                                              \
    X(__VA_ARGS__, 10)                                                                             \
    X(__VA_ARGS__, 11)                                                                             \
    X(__VA_ARGS__, 12)                                                                             \
    X(__VA_ARGS__, 13)                                                                             \
    X(__VA_ARGS__, 14)
#define NO_TARGET

/* A step that is not known takes so many registers for places that few of them are computed at once. */
#define SIZES_portable(X, kind, step) UP_TO_2(X, portable, NO_TARGET, 4, kind, step, 1)
#define SIZES_avx2(X, kind, step) UP_TO_6(X, avx2, CPU_TARGET_AVX2, 8, kind, step, 1)
#define SIZES_avx512(X, kind, step)                                                                \
    UP_TO_14(X, avx512, CPU_TARGET_AVX512, 16, kind, step, 1)                                      \
    UP_TO_14(X, avx512, CPU_TARGET_AVX512, 16, kind, step, 2)                                      \
    UP_TO_7(X, avx512, CPU_TARGET_AVX512, 16, kind, step, 4)
#define STEPS(SIZES, X)                                                                            \
    SIZES(X, next, L)                                                                              \
    SIZES(X, second, 2 * L)                                                                        \
    SIZES(X, any, r->step)

STEPS(SIZES_portable, KERNEL)
STEPS(SIZES_avx2, KERNEL)
STEPS(SIZES_avx512, KERNEL)

#define NUMBER_next BLOCKED_NEXT
#define NUMBER_second BLOCKED_SECOND
#define NUMBER_any BLOCKED_ANY
#define ENTRY(name, TARGET, N, KIND, STEP, BLOCKS, PLACES)                                         \
    [NUMBER_##KIND][BLOCKS][PLACES] = name##_##KIND##_##BLOCKS##_##PLACES,

const BlockedKernels conv_blocked_kernels[CPU_N_ISA] = {
    [CPU_PORTABLE] = { { [1] = 2 }, { STEPS(SIZES_portable, ENTRY) } },
    [CPU_AVX2] = { { [1] = 6 }, { STEPS(SIZES_avx2, ENTRY) } },
    [CPU_AVX512] = { { [1] = 14, [2] = 14, [4] = 7 }, { STEPS(SIZES_avx512, ENTRY) } },
};
