/* gemm_kernels.c: the innermost products for each instruction set, one function per number of rows
 * and vectors. The compiler unrolls both and keeps the sums in registers: 6 x 4 of 16 lanes
 * (AVX-512), 6 x 2 of 8 (AVX2) or of 4 (SSE2). */
#include "gemm_kernels.h"

#include "cpu.h"

#define NO_TARGET

/* All of a short loop at once, before anything else: only so the sums never touch memory. */
#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 8")
#endif

/* One place of k: a row of b times a number of each row of a. */
#define PLACE(ROWS, VECTORS, LANES)                                                                \
    {                                                                                              \
        V row[VECTORS];                                                                            \
        UNROLLED                                                                                   \
        for (gint j = 0; j < VECTORS; j++) {                                                       \
            row[j] = *(const U *)(b + j * LANES);                                                  \
        }                                                                                          \
        UNROLLED                                                                                   \
        for (gint i = 0; i < ROWS; i++) {                                                          \
            T x = a[i * a_row];                                                                    \
            UNROLLED                                                                               \
            for (gint j = 0; j < VECTORS; j++) {                                                   \
                sum[i][j] += row[j] * x;                                                           \
            }                                                                                      \
        }                                                                                          \
        a += a_col;                                                                                \
        b += b_row;                                                                                \
    }

/* Several places go by for each turn of the loop, and for what is done in EACH: where another program shares the
 * core, instructions count as much as multiplications. */
#define PRODUCT(TYPE, LANES, ROWS, VECTORS, EACH)                                                  \
    {                                                                                              \
        typedef TYPE T;                                                                            \
        typedef T V __attribute__((vector_size(LANES * sizeof(T))));                               \
        typedef V U __attribute__((aligned(sizeof(T)), may_alias));                                \
        const T *a = from_a, *b = from_b;                                                          \
        const T *from = add;                                                                       \
        T *c = to_c;                                                                               \
        V sum[ROWS][VECTORS];                                                                      \
        gint64 left = k;                                                                           \
        UNROLLED                                                                                   \
        for (gint i = 0; i < ROWS; i++) {                                                          \
            UNROLLED                                                                               \
            for (gint j = 0; j < VECTORS; j++) {                                                   \
                sum[i][j] = (V){ 0 };                                                              \
            }                                                                                      \
        }                                                                                          \
        for (; left >= GEMM_STEP; left -= GEMM_STEP) {                                             \
            EACH UNROLLED for (gint q = 0; q < GEMM_STEP; q++)                                     \
            {                                                                                      \
                PLACE(ROWS, VECTORS, LANES)                                                        \
            }                                                                                      \
        }                                                                                          \
        for (; left > 0; left--) {                                                                 \
            PLACE(ROWS, VECTORS, LANES)                                                            \
        }                                                                                          \
        UNROLLED                                                                                   \
        for (gint i = 0; i < ROWS; i++) {                                                          \
            UNROLLED                                                                               \
            for (gint j = 0; j < VECTORS; j++) {                                                   \
                U *to = (U *)(c + i * c_row + j * LANES);                                          \
                if (from) {                                                                        \
                    sum[i][j] += *(const U *)(from + i * add_row + j * LANES);                     \
                }                                                                                  \
                *to = sum[i][j];                                                                   \
            }                                                                                      \
        }                                                                                          \
    }

#define NOTHING
#define PARAMS                                                                                     \
    gint64 k, const void *from_a, gint64 a_row, gint64 a_col, const void *from_b, gint64 b_row,    \
        void *to_c, gint64 c_row, const void *add, gint64 add_row
#define KERNEL(name, TARGET, T, LANES, ROWS, VECTORS)                                              \
    TARGET static void name##_##ROWS##_##VECTORS(PARAMS) PRODUCT(T, LANES, ROWS, VECTORS, NOTHING)

#define FETCH(ALSO)                                                                                \
    if (next->rows > 0) {                                                                          \
        __builtin_prefetch(next->at, 0, 2);                                                        \
        ALSO next->at += GEMM_LINE;                                                                \
        if (next->at >= next->row_end) {                                                           \
            next->at += next->skip;                                                                \
            next->row_end += next->row;                                                            \
            next->rows--;                                                                          \
        }                                                                                          \
    }
#define FETCH_TWO                                                                                  \
    __builtin_prefetch((const void *)((guintptr)next->at + next->also[0]), 0, 2);                  \
    __builtin_prefetch((const void *)((guintptr)next->at + next->also[1]), 0, 2);
#define NEXT(name, TARGET, T, LANES, VECTORS)                                                      \
    TARGET static void name##_next(PARAMS, GemmNext *next)                                         \
        PRODUCT(T, LANES, GEMM_ROWS, VECTORS, FETCH(NOTHING))
#define NEXT_THREE(name, TARGET, T, LANES, VECTORS)                                                \
    TARGET static void name##_next_three(PARAMS, GemmNext *next)                                   \
        PRODUCT(T, LANES, GEMM_ROWS, VECTORS, FETCH(FETCH_TWO))

#define KERNELS(name, TARGET, T, LANES, VECTORS)                                                   \
    KERNEL(name, TARGET, T, LANES, 1, VECTORS)                                                     \
    KERNEL(name, TARGET, T, LANES, 2, VECTORS)                                                     \
    KERNEL(name, TARGET, T, LANES, 3, VECTORS)                                                     \
    KERNEL(name, TARGET, T, LANES, 4, VECTORS)                                                     \
    KERNEL(name, TARGET, T, LANES, 5, VECTORS)                                                     \
    KERNEL(name, TARGET, T, LANES, 6, VECTORS)

KERNELS(portable32, NO_TARGET, float, 4, 1)
KERNELS(portable32, NO_TARGET, float, 4, 2)
KERNELS(portable64, NO_TARGET, double, 2, 1)
KERNELS(portable64, NO_TARGET, double, 2, 2)
KERNELS(avx2_32, CPU_TARGET_AVX2, float, 8, 1)
KERNELS(avx2_32, CPU_TARGET_AVX2, float, 8, 2)
KERNELS(avx2_64, CPU_TARGET_AVX2, double, 4, 1)
KERNELS(avx2_64, CPU_TARGET_AVX2, double, 4, 2)
KERNELS(avx512_32, CPU_TARGET_AVX512, float, 16, 1)
KERNELS(avx512_32, CPU_TARGET_AVX512, float, 16, 2)
KERNELS(avx512_32, CPU_TARGET_AVX512, float, 16, 3)
KERNELS(avx512_32, CPU_TARGET_AVX512, float, 16, 4)
KERNELS(avx512_64, CPU_TARGET_AVX512, double, 8, 1)
KERNELS(avx512_64, CPU_TARGET_AVX512, double, 8, 2)
KERNELS(avx512_64, CPU_TARGET_AVX512, double, 8, 3)
KERNELS(avx512_64, CPU_TARGET_AVX512, double, 8, 4)

NEXT(portable32, NO_TARGET, float, 4, 2)
NEXT(portable64, NO_TARGET, double, 2, 2)
NEXT(avx2_32, CPU_TARGET_AVX2, float, 8, 2)
NEXT(avx2_64, CPU_TARGET_AVX2, double, 4, 2)
NEXT(avx512_32, CPU_TARGET_AVX512, float, 16, 4)
NEXT(avx512_64, CPU_TARGET_AVX512, double, 8, 4)
NEXT_THREE(portable32, NO_TARGET, float, 4, 2)
NEXT_THREE(avx2_32, CPU_TARGET_AVX2, float, 8, 2)
NEXT_THREE(avx512_32, CPU_TARGET_AVX512, float, 16, 4)

#define ROWS2(name)                                                                                \
    {                                                                                              \
        { name##_1_1, name##_1_2 }, { name##_2_1, name##_2_2 }, { name##_3_1, name##_3_2 },        \
            { name##_4_1, name##_4_2 }, { name##_5_1, name##_5_2 }, { name##_6_1, name##_6_2 },    \
    }
#define ROW4(name, ROWS)                                                                           \
    {                                                                                              \
        name##_##ROWS##_1, name##_##ROWS##_2, name##_##ROWS##_3, name##_##ROWS##_4                 \
    }
#define ROWS4(name)                                                                                \
    {                                                                                              \
        ROW4(name, 1), ROW4(name, 2), ROW4(name, 3), ROW4(name, 4), ROW4(name, 5), ROW4(name, 6)   \
    }

const GemmKernels gemm_kernels[CPU_N_ISA] = {
    [CPU_PORTABLE] = { { 4, 2 },
                       2,
                       { ROWS2(portable32), ROWS2(portable64) },
                       { portable32_next, portable64_next },
                       portable32_next_three },
    [CPU_AVX2] = { { 8, 4 },
                   2,
                   { ROWS2(avx2_32), ROWS2(avx2_64) },
                   { avx2_32_next, avx2_64_next },
                   avx2_32_next_three },
    [CPU_AVX512] = { { 16, 8 },
                     4,
                     { ROWS4(avx512_32), ROWS4(avx512_64) },
                     { avx512_32_next, avx512_64_next },
                     avx512_32_next_three },
};
