/* conv_blocked_kernels.c: the innermost loops of convolutions over blocks of channels for each
 * instruction set, one function per number of blocks and places and kind of step; the compiler
 * unrolls the first two and keeps the sums in registers. */
#include "conv_blocked_kernels.h"

#include "cpu.h"

#define L 16 /* channels of a block */
/* Weights that are fetched beforehand, in places of the innermost loop. */
#define AHEAD 16

/* Distances that a kind of step knows; the others are those of the reads. */
#define STEP_next L
#define STEP_second (2 * L)
#define STEP_any r->step
#define X_STEP_next 1
#define X_STEP_second 1
#define X_STEP_any r->x_step
#define W_STEP_next L
#define W_STEP_second L
#define W_STEP_any r->w_step

/* Vector i of a place: part i % (L / N) of block i / (L / N), whose blocks are `block` apart. */
#define AT(N, i, block) ((i) * (N) / L * (block) + (i) * (N) % L)

#define KERNEL(name, TARGET, N, KIND, BLOCKS, PLACES)                                              \
    TARGET static void name##_##KIND##_##BLOCKS##_##PLACES(                                        \
        const BlockedReads *r, const float *x, const float *w, const float *bias,                  \
        const float *more, gboolean relu, float *out)                                              \
    {                                                                                              \
        enum { VECTORS = (BLOCKS)*L / (N) };                                                       \
        typedef float V __attribute__((vector_size((N) * sizeof(float))));                         \
        typedef gint32 M __attribute__((vector_size((N) * sizeof(gint32))));                       \
        typedef V U __attribute__((aligned(sizeof(float)), may_alias));                            \
        const gint64 step = STEP_##KIND, x_step = X_STEP_##KIND, w_step = W_STEP_##KIND;           \
        V sum[PLACES][VECTORS] = { { { 0 } } };                                                    \
        for (gint64 p = 0; p < r->pieces; p++) {                                                   \
            const float *from = x + r->at[p].x, *by = w + r->at[p].w;                              \
            for (gint64 f = 0; f < r->length; f++) {                                               \
                V weight[VECTORS];                                                                 \
                for (gint i = 0; i < VECTORS; i++) {                                               \
                    weight[i] = *(const U *)(by + AT(N, i, r->w_block));                           \
                    __builtin_prefetch(by + AT(N, i, r->w_block) + AHEAD * L);                     \
                }                                                                                  \
                for (gint j = 0; j < (PLACES); j++) {                                              \
                    const float seen = from[j * step];                                             \
                    for (gint i = 0; i < VECTORS; i++) {                                           \
                        sum[j][i] += weight[i] * seen;                                             \
                    }                                                                              \
                }                                                                                  \
                from += x_step;                                                                    \
                by += w_step;                                                                      \
            }                                                                                      \
        }                                                                                          \
        for (gint i = 0; i < VECTORS; i++) {                                                       \
            V last = { 0 };                                                                        \
            if (bias) {                                                                            \
                last = *(const U *)(bias + i * (N));                                               \
            }                                                                                      \
            for (gint j = 0; j < (PLACES); j++) {                                                  \
                const gint64 at = AT(N, i, r->out_block) + j * L;                                  \
                V y = sum[j][i] + last;                                                            \
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
#define SIZES_portable(X, kind) UP_TO_2(X, portable, NO_TARGET, 4, kind, 1)
#define SIZES_avx2(X, kind) UP_TO_6(X, avx2, CPU_TARGET_AVX2, 8, kind, 1)
#define SIZES_avx512(X, kind)                                                                      \
    UP_TO_14(X, avx512, CPU_TARGET_AVX512, 16, kind, 1)                                            \
    UP_TO_14(X, avx512, CPU_TARGET_AVX512, 16, kind, 2)                                            \
    UP_TO_7(X, avx512, CPU_TARGET_AVX512, 16, kind, 4)
#define STEPS(SIZES, X) SIZES(X, next) SIZES(X, second) SIZES(X, any)

STEPS(SIZES_portable, KERNEL)
STEPS(SIZES_avx2, KERNEL)
STEPS(SIZES_avx512, KERNEL)

#define NUMBER_next BLOCKED_NEXT
#define NUMBER_second BLOCKED_SECOND
#define NUMBER_any BLOCKED_ANY
#define ENTRY(name, TARGET, N, KIND, BLOCKS, PLACES)                                               \
    [NUMBER_##KIND][BLOCKS][PLACES] = name##_##KIND##_##BLOCKS##_##PLACES,

const BlockedKernels conv_blocked_kernels[CPU_N_ISA] = {
    [CPU_PORTABLE] = { { [1] = 2 }, { STEPS(SIZES_portable, ENTRY) } },
    [CPU_AVX2] = { { [1] = 6 }, { STEPS(SIZES_avx2, ENTRY) } },
    [CPU_AVX512] = { { [1] = 14, [2] = 14, [4] = 7 }, { STEPS(SIZES_avx512, ENTRY) } },
};

void
conv_blocked_line(const BlockedKernels *kernels, BlockedStep step, const BlockedReads *reads,
                  gint64 blocks, gint64 places, const float *x, const float *w, const float *bias,
                  const float *more, gboolean relu, float *out)
{
    const BlockedFn *run = kernels->run[step][blocks];
    for (gint64 left = places, n; left > 0; left -= n) {
        const gint64 parts = (left + kernels->places[blocks] - 1) / kernels->places[blocks];
        n = (left + parts - 1) / parts;
        run[n](reads, x, w, bias, more, relu, out);
        x += n * reads->step;
        out += n * L;
        more = more != NULL ? more + n * L : NULL;
    }
}
