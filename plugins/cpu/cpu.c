/* cpu.c: the plugin `cpu`: its device, its tables of kernels, and helpers that they share.
 *
 * Environment, read once when the plugin is opened: TENON_CPU_ISA=portable|avx2|avx512 is the most
 * that may be used of what the processor has; TENON_CPU_BLAS=off leaves OpenBLAS closed;
 * OPENBLAS_CORETYPE, if the user set it, is left as it is. Results depend on the first two in their
 * last bits, never on the number of threads. */
#include "cpu.h"

#include "blas.h"
#include "tables.h"

#include <tenon/plugin.h>

CpuIsa cpu_isa;

static const char *const isa_names[] = { "portable", "avx2", "avx512", NULL };

const char *
cpu_isa_name(CpuIsa isa)
{
    return isa_names[isa];
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
    CpuIsa best = best_isa();
    for (gint i = 0; wish && i < CPU_N_ISA; i++) {
        if (strcmp(wish, isa_names[i]) == 0) {
            cpu_isa = MIN((CpuIsa)i, best);
            return TRUE;
        }
    }
    if (wish) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "TENON_CPU_ISA is '%s': expected portable, avx2 or avx512", wish);
        return FALSE;
    }
    cpu_isa = best;
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
        if (strides[k][outer] != strides[k][inner] * size) {
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

static gboolean
init(GError **error)
{
    if (!cpu_isa_choose(error)) {
        return FALSE;
    }
    cpu_blas_open();
    tn_log("cpu", TN_LOG_INFO, "instruction set %s, %s", cpu_isa_name(cpu_isa),
           cpu_blas.description);
    return TRUE;
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

#define TABLE(ident, text)                                                                         \
    static const TnFactory table_##ident = { .size = sizeof table_##ident,                         \
                                             .flags = TN_FACTORY_INTERNAL,                         \
                                             .iface = "tenon.kernel/1",                            \
                                             .name = "cpu-" #ident,                                \
                                             .help = text,                                         \
                                             .vtable = &cpu_##ident }

TABLE(elementwise, "element-wise operators, alone and fused");
TABLE(matmul, "products of matrices");
TABLE(conv, "convolutions and their transposes");
TABLE(adam, "steps of Adam");
TABLE(conv_lanes, "convolutions over lanes of samples");
TABLE(reduce, "reductions");
TABLE(scan, "positions of extremes, cumulative sums, sorting");
TABLE(movement, "operators that move or fill elements");
TABLE(index, "gathering and scattering");
TABLE(random, "random numbers");
TABLE(window, "overlap-add");
TABLE(softmax, "softmax and log_softmax");
TABLE(cross_entropy, "cross-entropy from logits");
TABLE(pool, "pooling");
TABLE(pool_lanes, "pooling over lanes of samples");
TABLE(norm, "layer and batch normalisation");
TABLE(recurrent, "sequences through recurrent networks");
TABLE(recurrent_grad, "their gradients");
TABLE(recurrent_narrow, "both in bf16 and f16");

static const TnFactory *const factories[] = { &device,
                                              &table_adam,
                                              &table_elementwise,
                                              &table_matmul,
                                              &table_conv,
                                              &table_conv_lanes,
                                              &table_reduce,
                                              &table_scan,
                                              &table_movement,
                                              &table_index,
                                              &table_random,
                                              &table_window,
                                              &table_softmax,
                                              &table_cross_entropy,
                                              &table_pool,
                                              &table_pool_lanes,
                                              &table_norm,
                                              &table_recurrent,
                                              &table_recurrent_grad,
                                              &table_recurrent_narrow,
                                              NULL };

static const TnPlugin plugin = { TN_PLUGIN_HEAD(
                                     "cpu", TN_PLUGIN_VERSION, "Apache-2.0",
                                     "This machine's processors: vector kernels and OpenBLAS"),
                                 .factories = factories, .init = init };

TN_PLUGIN(cpu, plugin)
