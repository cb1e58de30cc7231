/* gelu.c: gelu and its gradient, each one pass over memory; computed in f32, of bf16 a strip at a time. */
#include <math.h>

#include <tenon/nn.h>

#include "bf16.h"
#include "gemm_bf16_kernels.h"
#include "tables.h"
#include "vmath.h"

/* Elements of a chunk: inputs and outputs of two stay in the second-level cache. */
#define CHUNK 16384
/* Of bf16, before results are rounded. */
#define STRIP 1024

/* out = f (x), or g f' (x) */
typedef void (*GeluFn)(const float *x, const float *g, gint64 n, float *out);
typedef void (*GeluNarrowFn)(const guint16 *x, const guint16 *g, gint64 n, float *out);

typedef struct {
    gint64 n;
    GeluFn fn;
    GeluNarrowFn narrow; /* of bf16; NULL: f32 */
} Gelu;

#define ROOT_2_PI 0.7978845608028654f
#define CUBIC 0.044715f

/* (1 + tanh (u)) / 2, without the sum that loses small results. */
static CPU_INLINE float
half_bend(float u)
{
    return 1 / (1 + vm_exp(-2 * u));
}

static CPU_INLINE float
by_tanh_at(float v, float g)
{
    (void)g;
    return v * half_bend(ROOT_2_PI * (v * (CUBIC * (v * v) + 1)));
}

static CPU_INLINE float
by_erf_at(float v, float g)
{
    (void)g;
    return 0.5f * v * (vm_erf(v * (float)G_SQRT2 / 2) + 1);
}

static CPU_INLINE float
by_tanh_grad_at(float v, float g)
{
    const float z = v * v, share = half_bend(ROOT_2_PI * (v * (CUBIC * z + 1)));
    const float slope = 2 * ROOT_2_PI * (share * (1 - share) * (3 * CUBIC * z + 1));
    return g * (share + v * slope);
}

static CPU_INLINE float
by_erf_grad_at(float v, float g)
{
    const float slope = ROOT_2_PI / 2 * vm_exp(-0.5f * (v * v));
    return g * (0.5f * (vm_erf(v * (float)G_SQRT2 / 2) + 1) + v * slope);
}

/* name: of f32; name_narrow: of bf16. */
#define VERSIONS(name, G, NARROW_G)                                                                \
    static CPU_INLINE void name##_body(const float *x, const float *g, gint64 n, float *out)       \
    {                                                                                              \
        (void)g;                                                                                   \
        CPU_LOOP                                                                                   \
        for (gint64 i = 0; i < n; i++) {                                                           \
            out[i] = name##_at(x[i], G);                                                           \
        }                                                                                          \
    }                                                                                              \
    static CPU_INLINE void name##_narrow_body(const guint16 *x, const guint16 *g, gint64 n,        \
                                              float *out)                                          \
    {                                                                                              \
        (void)g;                                                                                   \
        CPU_LOOP                                                                                   \
        for (gint64 i = 0; i < n; i++) {                                                           \
            out[i] = name##_at(cpu_bf16_wide(x[i]), NARROW_G);                                     \
        }                                                                                          \
    }                                                                                              \
    CPU_VERSIONS(name, GeluFn, (const float *x, const float *g, gint64 n, float *out),             \
                 (x, g, n, out))                                                                   \
    CPU_VERSIONS(name##_narrow, GeluNarrowFn,                                                      \
                 (const guint16 *x, const guint16 *g, gint64 n, float *out), (x, g, n, out))
VERSIONS(by_tanh, 0, 0)
VERSIONS(by_erf, 0, 0)
VERSIONS(by_tanh_grad, g[i], cpu_bf16_wide(g[i]))
VERSIONS(by_erf_grad, g[i], cpu_bf16_wide(g[i]))

typedef struct {
    const Gelu *gelu;
    const void *x, *g;
    void *out;
} Job;

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n_chunks)
{
    const Job *job = data;
    const gint64 at = (gint64)chunk * CHUNK, n = MIN(CHUNK, job->gelu->n - at);
    const float *x = job->x, *g = job->g;
    (void)n_chunks;
    job->gelu->fn(x + at, g != NULL ? g + at : NULL, n, (float *)job->out + at);
    return TN_OK;
}

static TnStatus
run_narrow_chunk(gpointer data, gsize chunk, gsize n_chunks)
{
    const Job *job = data;
    const gint64 first = (gint64)chunk * CHUNK, end = MIN(job->gelu->n, first + CHUNK);
    const guint16 *x = job->x, *g = job->g;
    (void)n_chunks;
    for (gint64 at = first; at < end; at += STRIP) {
        const gint64 n = MIN(STRIP, end - at);
        float strip[STRIP];
        job->gelu->narrow(x + at, g != NULL ? g + at : NULL, n, strip);
        bf16_kernels()->store(strip, NULL, n, (guint16 *)job->out + at);
    }
    return TN_OK;
}

static TnStatus
run_with(const Gelu *gelu, const TnRun *run, const void *g)
{
    Job job = { gelu, run->in[0], g, run->out[0] };
    return tn_parallel_for((gsize)cpu_parts(gelu->n, CHUNK),
                           gelu->narrow != NULL ? run_narrow_chunk : run_chunk, &job);
}

static TnStatus
run_gelu(void *state, const TnRun *run)
{
    return run_with(state, run, NULL);
}

static TnStatus
run_grad(void *state, const TnRun *run)
{
    return run_with(state, run, run->in[1]);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GeluFn fn, GeluNarrowFn narrow)
{
    Gelu *gelu = g_new0(Gelu, 1);
    gelu->n = node->in[0].count;
    gelu->fn = fn;
    gelu->narrow = node->in[0].type.dtype == TN_DTYPE_BF16 ? narrow : NULL;
    prepared->state = gelu;
    return TRUE;
}

static gboolean
with_tanh(const TnNode *node)
{
    return ((const TnGeluAttrs *)node->attrs)->approximate == TN_GELU_TANH;
}

static gboolean
prepare_gelu(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return with_tanh(node) ? prepare(node, prepared, by_tanh[cpu_isa], by_tanh_narrow[cpu_isa])
                           : prepare(node, prepared, by_erf[cpu_isa], by_erf_narrow[cpu_isa]);
}

static gboolean
prepare_grad(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return with_tanh(node)
               ? prepare(node, prepared, by_tanh_grad[cpu_isa], by_tanh_grad_narrow[cpu_isa])
               : prepare(node, prepared, by_erf_grad[cpu_isa], by_erf_grad_narrow[cpu_isa]);
}

static const TnKernel kernels[] = {
    { .op = "gelu",
      .dtypes = TN_DT(F32) | TN_DT(BF16),
      .flags = TN_KERNEL_IN_PLACE,
      .prepare = prepare_gelu,
      .run = run_gelu,
      .release = g_free },
    { .op = "gelu_grad",
      .dtypes = TN_DT(F32) | TN_DT(BF16),
      .flags = TN_KERNEL_IN_PLACE,
      .prepare = prepare_grad,
      .run = run_grad,
      .release = g_free },
};

const TnKernelTable cpu_gelu = CPU_TABLE(kernels);
