/* cpu.c: the plugin `cpu`: its device, its tables of kernels, and helpers that they share.
 *
 * Environment, read once when the plugin is opened: TENON_CPU_ISA=portable|avx2|avx512|
 * avx512_bf16|amx is the most that may be used of what the processor has; TENON_CPU_BLAS=off leaves OpenBLAS closed;
 * OPENBLAS_CORETYPE, if the user set it, is left as it is. Results depend on the first two in their
 * last bits, never on the number of threads. */
#include "cpu.h"

#include "blas.h"
#include "tables.h"

#include <tenon/plugin.h>

CpuIsa cpu_isa;
CpuBf16 cpu_bf16;

/* Those of CpuIsa, then what comes on top of the last one. */
static const char *const isa_names[] = { "portable", "avx2", "avx512", "avx512_bf16", "amx", NULL };

const char *
cpu_isa_name(CpuIsa isa)
{
    return isa_names[isa];
}

const char *
cpu_bf16_name(CpuBf16 bf16)
{
    return bf16 == CPU_BF16_PLAIN ? "f32" : isa_names[CPU_AVX512 + (gint)bf16];
}

static CpuIsa
best_isa(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    gboolean avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        return CPU_AVX512;
    }
    return avx2 ? CPU_AVX2 : CPU_PORTABLE;
#else
    return CPU_PORTABLE;
#endif
}

gboolean
cpu_isa_choose(GError **error)
{
    const char *wish = g_getenv("TENON_CPU_ISA");
    const gint n = (gint)G_N_ELEMENTS(isa_names) - 1;
    gint most = wish ? 0 : n - 1;
    while (wish && most < n && strcmp(wish, isa_names[most]) != 0) {
        most++;
    }
    if (most == n) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "TENON_CPU_ISA is '%s': expected portable, avx2, avx512, avx512_bf16 or amx",
                    wish);
        return FALSE;
    }
    cpu_isa = MIN((CpuIsa)MIN(most, (gint)CPU_AVX512), best_isa());
    cpu_bf16 = CPU_BF16_PLAIN;
    if (cpu_isa == CPU_AVX512 && most > (gint)CPU_AVX512) {
        cpu_bf16 = MIN((CpuBf16)(most - (gint)CPU_AVX512), cpu_bf16_best());
    }
    return TRUE;
}

void
cpu_broadcast(const TnArg *arg, gint rank, gint64 *strides)
{
    gint lead = rank - arg->type.rank;
    for (gint i = 0; i < rank; i++) {
        strides[i] = i < lead || arg->type.dims[i - lead] == 1 ? 0 : arg->strides[i - lead];
    }
}

static gboolean
in_step(gint n, gint64 (*strides)[TN_MAX_RANK], gint outer, gint inner, gint64 size)
{
    for (gint k = 0; k < n; k++) {
        gint64 step;
        if (__builtin_mul_overflow(strides[k][inner], size, &step) || strides[k][outer] != step) {
            return FALSE;
        }
    }
    return TRUE;
}

gint
cpu_collapse(gint rank, gint64 *dims, gint n, gint64 (*strides)[TN_MAX_RANK])
{
    gint to = 0;
    for (gint i = 0; i < rank; i++) {
        if (dims[i] == 1) {
            continue;
        }
        gboolean merge = to > 0 && in_step(n, strides, to - 1, i, dims[i]);
        gint at = merge ? to - 1 : to;
        dims[at] = merge ? dims[at] * dims[i] : dims[i];
        for (gint k = 0; k < n; k++) {
            strides[k][at] = strides[k][i];
        }
        to = at + 1;
    }
    return to;
}

gboolean
cpu_contiguous(const TnArg *arg)
{
    gint64 expected = 1;
    for (gint i = arg->type.rank - 1; i >= 0; i--) {
        if (arg->type.dims[i] != 1 && arg->strides[i] != expected) {
            return FALSE;
        }
        expected *= arg->type.dims[i];
    }
    return TRUE;
}

static void *
device_new(TnConfig *config, TnContext *context, GError **error)
{
    (void)config;
    (void)context;
    (void)error;
    static char self; /* the device has no state; its address says that there is one */
    return &self;
}

static char description[192];

static gboolean
init(GError **error)
{
    if (!cpu_isa_choose(error)) {
        return FALSE;
    }
    cpu_blas_open();
    g_snprintf(description, sizeof description, "instruction set %s, products of bf16 by %s, %s",
               cpu_isa_name(cpu_isa), cpu_bf16_name(cpu_bf16), cpu_blas.description);
    tn_log("cpu", TN_LOG_INFO, "%s", description);
    return TRUE;
}

static const char *
about(void)
{
    return description;
}

static const TnDeviceVTable device_vtable = { .size = sizeof device_vtable,
                                              .kind = "cpu",
                                              .host_memory = TRUE };

static const TnFactory device = { .size = sizeof device,
                                  .iface = "tenon.device/1",
                                  .name = "cpu",
                                  .help = "this machine's processors, through the pool",
                                  .rank = 0,
                                  .create = device_new,
                                  .vtable = &device_vtable };

#define FACTORY(ident, text)                                                                       \
    static const TnFactory table_##ident = { .size = sizeof table_##ident,                         \
                                             .flags = TN_FACTORY_INTERNAL,                         \
                                             .iface = "tenon.kernel/1",                            \
                                             .name = "cpu-" #ident,                                \
                                             .help = text,                                         \
                                             .vtable = &cpu_##ident };
#define ENTRY(ident, text) &table_##ident,
CPU_TABLES(FACTORY)

static const TnFactory *const factories[] = { &device, CPU_TABLES(ENTRY) NULL };

static const TnPlugin plugin = { TN_PLUGIN_HEAD(
                                     "cpu", TN_PLUGIN_VERSION, "Apache-2.0",
                                     "This machine's processors: vector kernels and OpenBLAS"),
                                 .factories = factories, .init = init, .about = about };

TN_PLUGIN(cpu, plugin)
