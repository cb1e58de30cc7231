/* blas.h: OpenBLAS, opened when the plugin is initialised. It has threads and settings of its own,
 * so nothing links it. */
#pragma once

#include <glib.h>

/* The processor's features that OpenBLAS's choice of kernels depends on. */
typedef struct {
    gboolean amd;
    gboolean avx, avx2, fma, avx512; /* avx512: f, bw, dq, vl */
} CpuFeatures;

/* The value of OPENBLAS_CORETYPE that fits the features, NULL to leave the choice to OpenBLAS. It
 * knows processors by their model number and takes newer ones for much older ones; the features
 * cannot be mistaken. */
const char *cpu_coretype(const CpuFeatures *features);

/* CBLAS's numbers, as its interface fixes them. */
enum { BLAS_ROW_MAJOR = 101, BLAS_NO_TRANS = 111, BLAS_TRANS = 112 };

typedef struct {
    gboolean available;
    char description[128];
    void (*sgemm)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                  const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);
    void (*dgemm)(int order, int trans_a, int trans_b, int m, int n, int k, double alpha,
                  const double *a, int lda, const double *b, int ldb, double beta, double *c,
                  int ldc);
} CpuBlas;

extern CpuBlas cpu_blas;
/* Opens it, single-threaded, unless TENON_CPU_BLAS is "off". Without it `available` stays FALSE and
 * the description says so. */
void cpu_blas_open(void);
