/* blas.c: opens OpenBLAS with settings made first. */
#include "blas.h"

#include <dlfcn.h>

#include <tenon/base.h>

CpuBlas cpu_blas;

static CpuFeatures
features_here(void)
{
    CpuFeatures features = { 0 };
#if defined(__x86_64__)
    __builtin_cpu_init();
    features.amd = __builtin_cpu_is("amd") != 0;
    features.avx = __builtin_cpu_supports("avx") != 0;
    features.avx2 = __builtin_cpu_supports("avx2") != 0;
    features.fma = __builtin_cpu_supports("fma") != 0;
    features.avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
    return features;
}

/* One thread of its own: the pool calls it on slices. Set before it is opened, for it starts
 * threads at once. */
static void
set_environment(void)
{
    CpuFeatures features = features_here();
    const char *type = cpu_coretype(&features);
    if (type && !g_getenv("OPENBLAS_CORETYPE")) {
        g_setenv("OPENBLAS_CORETYPE", type, FALSE);
    }
    g_setenv("OPENBLAS_NUM_THREADS", "1", TRUE);
}

void
cpu_blas_open(void)
{
    if (g_strcmp0(g_getenv("TENON_CPU_BLAS"), "off") == 0) {
        g_strlcpy(cpu_blas.description, "OpenBLAS turned off by TENON_CPU_BLAS",
                  sizeof cpu_blas.description);
        return;
    }
    set_environment();
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        g_strlcpy(cpu_blas.description, "OpenBLAS is not installed: own matrix kernels",
                  sizeof cpu_blas.description);
        return;
    }
    void (*set_threads)(int) = (void (*)(int))dlsym(library, "openblas_set_num_threads");
    char *(*core)(void) = (char *(*)(void))dlsym(library, "openblas_get_corename");
    *(void **)&cpu_blas.sgemm = dlsym(library, "cblas_sgemm");
    *(void **)&cpu_blas.dgemm = dlsym(library, "cblas_dgemm");
    cpu_blas.available = cpu_blas.sgemm && cpu_blas.dgemm;
    if (set_threads) {
        set_threads(1);
    }
    g_snprintf(cpu_blas.description, sizeof cpu_blas.description, "OpenBLAS for %s",
               core ? core() : "an unknown processor");
}
