/* cpu.h: what the kernels of the CPU device share: instruction sets chosen at run time, copies of
 * nodes, tables.
 *
 * A leaf function that is worth it is compiled once per instruction set (CPU_VERSIONS) and chosen
 * when its kernel is prepared, from what the processor has and TENON_CPU_ISA allows. Borders of
 * parallel chunks depend on shapes alone. */
#pragma once

#include <string.h>

#include <tenon/base.h>
#include <tenon/device.h>
#include <tenon/ops.h>
#include <tenon/pool.h>

typedef enum { CPU_PORTABLE, CPU_AVX2, CPU_AVX512, CPU_N_ISA } CpuIsa;

/* How products of bf16 are computed: by instructions of cpu_isa, by AVX-512's products of pairs, by
 * AMX's tiles. */
typedef enum { CPU_BF16_PLAIN, CPU_BF16_PAIRS, CPU_BF16_TILES } CpuBf16;

/* What kernels prepared from now on use; set once by the plugin's init. */
extern CpuIsa cpu_isa;
extern CpuBf16 cpu_bf16;
/* Reads the processor's features and TENON_CPU_ISA (portable, avx2, avx512, avx512_bf16 or amx: an
 * upper bound). */
gboolean cpu_isa_choose(GError **error);
/* features.c: the best that processor and system have beyond AVX-512; asks the system for AMX. */
CpuBf16 cpu_bf16_best(void);
/* features.c: whether the processor has products of tiles of 8 bits; asked where cpu_bf16 is CPU_BF16_TILES. */
gboolean cpu_has_tiles_8(void);
const char *cpu_bf16_name(CpuBf16 bf16);
const char *cpu_isa_name(CpuIsa isa);

#define CPU_INLINE inline __attribute__((always_inline))

/* No iteration of the next loop reads what another one writes (inputs may be the output's own
 * memory, index by index). */
#if defined(__clang__)
#define CPU_LOOP _Pragma("clang loop vectorize(assume_safety)")
#else
#define CPU_LOOP _Pragma("GCC ivdep")
#endif

#if defined(__x86_64__)
#define CPU_TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#define CPU_TARGET_AVX512                                                                          \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")))
/* Products of pairs of bf16 and of fours of 8 bits; tiles.h has the same of tiles. */
#define CPU_TARGET_PAIRS                                                                           \
    __attribute__((target("avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")))
#define CPU_TARGET_FOURS                                                                           \
    __attribute__((target("avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")))
#else
#define CPU_TARGET_AVX2
#define CPU_TARGET_AVX512
#endif

/* Defines name_portable, name_avx2, name_avx512 from the always-inlined name_body. */
#define CPU_FUNCTIONS(name, params, args)                                                          \
    static void name##_portable params                                                             \
    {                                                                                              \
        name##_body args;                                                                          \
    }                                                                                              \
    CPU_TARGET_AVX2 static void name##_avx2 params                                                 \
    {                                                                                              \
        name##_body args;                                                                          \
    }                                                                                              \
    CPU_TARGET_AVX512 static void name##_avx512 params                                             \
    {                                                                                              \
        name##_body args;                                                                          \
    }
/* These, and the static array `name` of the three. */
#define CPU_VERSIONS(name, type, params, args)                                                     \
    CPU_FUNCTIONS(name, params, args)                                                              \
    static const type name[CPU_N_ISA] = { name##_portable, name##_avx2, name##_avx512 };

#define CPU_TABLE(rows)                                                                            \
    {                                                                                              \
        .size = sizeof(TnKernelTable), .kind = "cpu", .kernel_size = sizeof(TnKernel),             \
        .n_kernels = G_N_ELEMENTS(rows), .kernels = (rows), .flags = TN_TABLE_BATCH_INVARIANT      \
    }

/* --- Walking ---------------------------------------------------------------------------------- */

/* TRUE while index is a position inside dims; begins at all zeros. */
static inline gboolean
cpu_next(gint rank, const gint64 *dims, gint64 *index)
{
    for (gint i = rank - 1; i >= 0; i--) {
        if (++index[i] < dims[i]) {
            return TRUE;
        }
        index[i] = 0;
    }
    return FALSE;
}

static inline gint64
cpu_dot(gint rank, const gint64 *index, const gint64 *strides)
{
    gint64 at = 0;
    for (gint i = 0; i < rank; i++) {
        at += index[i] * strides[i];
    }
    return at;
}

/* Position number `at` of dims in row-major order. */
static inline void
cpu_position(gint rank, const gint64 *dims, gint64 at, gint64 *index)
{
    for (gint i = rank - 1; i >= 0; i--) {
        index[i] = at % dims[i];
        at /= dims[i];
    }
}

/* a b of numbers that are not negative; the largest number where that is beyond it. */
static inline gint64
cpu_times(gint64 a, gint64 b)
{
    gint64 product;
    return __builtin_mul_overflow(a, b, &product) ? G_MAXINT64 : product;
}

/* Parts of that size that n things make, the last one perhaps smaller. */
static inline gint64
cpu_parts(gint64 n, gint64 size)
{
    const gint64 whole = MAX(1, size);
    return n / whole + (n % whole != 0);
}

/* So many bytes more of scratch, as cpu_times gives them, on lines of the cache; where. What no memory has stays
 * more than any memory has. */
static inline gsize
cpu_reserve(gsize *scratch, gint64 bytes)
{
    const gsize at = (*scratch + 63) & ~(gsize)63, most = G_MAXINT64 - 63;
    *scratch = MIN(at + (gsize)bytes, most);
    return at;
}

static inline gint64
cpu_count(gint rank, const gint64 *dims)
{
    gint64 count = 1;
    for (gint i = 0; i < rank; i++) {
        count = dims[i] == 0 ? 0 : cpu_times(count, dims[i]);
    }
    return count;
}

static inline gint
cpu_axis(gint64 axis, gint rank)
{
    return (gint)(axis < 0 ? axis + rank : axis);
}

/* Strides with which arg is read at positions of a shape of `rank` axes that it broadcasts to. */
void cpu_broadcast(const TnArg *arg, gint rank, gint64 *strides);
/* Merges neighbouring axes that all n operands walk in step, and drops axes of size 1.
 * strides[k][axis]. Returns the new rank (0 if there is one element); dims and strides are changed
 * in place. */
gint cpu_collapse(gint rank, gint64 *dims, gint n, gint64 (*strides)[TN_MAX_RANK]);
gboolean cpu_contiguous(const TnArg *arg);

/* Elements that one chunk of simple work should have. */
#define CPU_GRAIN 32768
/* Of items that cost `cost` elements each, how many make a chunk: all of them if they are less than
 * CPU_GRAIN together, else an eighth, a sixteenth … of them, so that two, four or eight threads end
 * at the same time. */
static inline gint64
cpu_items_per_chunk(gint64 items, gint64 cost)
{
    gint64 work;
    if (__builtin_mul_overflow(items, MAX(1, cost), &work) || work > G_MAXINT64 - CPU_GRAIN) {
        work = G_MAXINT64 - CPU_GRAIN;
    }
    if (work <= CPU_GRAIN) {
        return MAX(1, items);
    }
    const gint64 chunks = ((work + CPU_GRAIN - 1) / CPU_GRAIN + 7) & ~(gint64)7;
    return MAX(1, cpu_parts(items, chunks));
}
