/* features.c: what processor and system have for products of bf16. AMX's tiles are state that a process
 * must ask the system for once, before its threads use them. */
#include "cpu.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

#if defined(CPU_TILES_EMULATED)
static gboolean
has_tiles(void)
{
    return TRUE;
}
#else
static gboolean
has_tiles(void)
{
    guint a, b, c, d = 0;
    __get_cpuid_count(7, 0, &a, &b, &c, &d);
    const guint both = 1u << 22 | 1u << 24; /* AMX-BF16, AMX-TILE */
    return (d & both) == both &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}
#endif

CpuBf16
cpu_bf16_best(void)
{
    guint a, b, c, d;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & 1u << 5)) { /* AVX512_BF16 */
        return CPU_BF16_PLAIN;
    }
    return has_tiles() ? CPU_BF16_TILES : CPU_BF16_PAIRS;
}

gboolean
cpu_has_tiles_8(void)
{
#if defined(CPU_TILES_EMULATED)
    return TRUE;
#else
    guint a, b, c, d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & 1u << 25) != 0; /* AMX-INT8 */
#endif
}
#else
CpuBf16
cpu_bf16_best(void)
{
    return CPU_BF16_PLAIN;
}

gboolean
cpu_has_tiles_8(void)
{
    return FALSE;
}
#endif
