/* features.c: what processor and system have for products of bf16. AMX's tiles are state that a process
 * must ask the system for once, before its threads use them. */
#include "cpu.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

CpuBf16
cpu_bf16_best(void)
{
    guint a, b, c, d;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & 1u << 5)) { /* AVX512_BF16 */
        return CPU_BF16_PLAIN;
    }
    __get_cpuid_count(7, 0, &a, &b, &c, &d);
    const guint both = 1u << 22 | 1u << 24; /* AMX-BF16, AMX-TILE */
    const gboolean tiles =
        (d & both) == both && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
    return tiles ? CPU_BF16_TILES : CPU_BF16_PAIRS;
}
#else
CpuBf16
cpu_bf16_best(void)
{
    return CPU_BF16_PLAIN;
}
#endif
