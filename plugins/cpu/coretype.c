/* coretype.c: which of OpenBLAS's sets of kernels a processor's features can run best. */
#include "blas.h"

const char *
cpu_coretype(const CpuFeatures *features)
{
    if (features->avx512) {
        return "SkylakeX";
    }
    if (features->avx2 && features->fma) {
        return features->amd ? "Zen" : "Haswell";
    }
    return features->avx && !features->amd ? "Sandybridge" : NULL;
}
