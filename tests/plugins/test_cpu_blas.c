/* Which of OpenBLAS's sets of kernels is asked for, from features of processors alone. */
#include "../../plugins/cpu/coretype.c"
#include "tn_test.h"

static void
core_types(void)
{
    static const struct {
        CpuFeatures features;
        const char *type;
    } rows[] = {
        /* A Xeon newer than the library knows: never a set without AVX-512. */
        { { .avx = TRUE, .avx2 = TRUE, .fma = TRUE, .avx512 = TRUE }, "SkylakeX" },
        { { .amd = TRUE, .avx = TRUE, .avx2 = TRUE, .fma = TRUE, .avx512 = TRUE }, "SkylakeX" },
        { { .avx = TRUE, .avx2 = TRUE, .fma = TRUE }, "Haswell" },
        { { .amd = TRUE, .avx = TRUE, .avx2 = TRUE, .fma = TRUE }, "Zen" },
        { { .avx = TRUE, .avx2 = TRUE }, "Sandybridge" },
        { { .avx = TRUE }, "Sandybridge" },
        { { .amd = TRUE, .avx = TRUE }, NULL },
        { { .avx = FALSE }, NULL },
    };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        TN_ASSERT_CMPSTR(cpu_coretype(&rows[i].features), rows[i].type);
    }
}

static const TnTest tests[] = { { "core_types", core_types } };

TN_TEST_MAIN("cpu core types", tests)
