/* gelu.c: gelu and its gradient, each one pass over memory; computed in f32, of bf16 a strip at a time. */
#include <math.h>

#include <tenon/nn.h>

#include "bf16.h"
#include "gemm_bf16_kernels.h"
#include "tables.h"
#include "vmath.h"

/* Elements of a chunk: inputs and outputs of two stay in the second-level cache. */
#define CHUNK 16384
/* Of bf16, widened at once. */
#define STRIP 1024

/* out = f (x), or g f' (x) */
typedef void (*GeluFn)(const float *x, const float *g, gint64 n, float *out);

typedef struct {
    gint64 n;
    gboolean narrow; /* bf16 */
    GeluFn fn;
} Gelu;

#define ROOT_2_PI 0.7978845608028654f
#define CUBIC 0.044715f

/* (1 + tanh (u)) / 2, without the sum that loses small results. */
static CPU_INLINE float
half_bend(float u)
{
    return 1 / (1 + vm_exp(-2 * u));
}

static CPU_INLINE void
by_tanh_body(const float *x, const float *g, gint64 n, float *out)
{
    (void)g;
    CPU_LOOP
    for (gint64 i = 0; i < n; i++) {
        const float v = x[i];
        out[i] = v * half_bend(ROOT_2_PI * (v * (CUBIC * (v * v) + 1)));
    }
}

static CPU_INLINE void
by_erf_body(const float *x, const float *g, gint64 n, float *out)
{
    (void)g;
    CPU_LOOP
    for (gint64 i = 0; i < n; i++) {
        out[i] = 0.5f * x[i] * (vm_erf(x[i] * (float)G_SQRT2 / 2) + 1);
    }
}

static CPU_INLINE void
by_tanh_grad_body(const float *x, const float *g, gint64 n, float *out)
{
    CPU_LOOP
    for (gint64 i = 0; i < n; i++) {
        const float v = x[i], z = v * v, share = half_bend(ROOT_2_PI * (v * (CUBIC * z + 1)));
        const float slope = 2 * ROOT_2_PI * (share * (1 - share) * (3 * CUBIC * z + 1));
        out[i] = g[i] * (share + v * slope);
    }
}

static CPU_INLINE void
by_erf_grad_body(const float *x, const float *g, gint64 n, float *out)
{
    CPU_LOOP
    for (gint64 i = 0; i < n; i++) {
        const float v = x[i], slope = ROOT_2_PI / 2 * vm_exp(-0.5f * (v * v));
        out[i] = g[i] * (0.5f * (vm_erf(v * (float)G_SQRT2 / 2) + 1) + v * slope);
    }
}

#define VERSIONS(name)                                                                             \
    CPU_VERSIONS(name, GeluFn, (const float *x, const float *g, gint64 n, float *out),             \
                 (x, g, n, out))
VERSIONS(by_tanh)
VERSIONS(by_erf)
VERSIONS(by_tanh_grad)
VERSIONS(by_erf_grad)

static CPU_INLINE void
widen_body(const guint16 *from, gint64 n, float *to)
{
    CPU_LOOP
    for (gint64 i = 0; i < n; i++) {
        to[i] = cpu_bf16_wide(from[i]);
    }
}
typedef void (*WidenFn)(const guint16 *from, gint64 n, float *to);
CPU_VERSIONS(widen, WidenFn, (const guint16 *from, gint64 n, float *to), (from, n, to))

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
        float wide_x[STRIP], wide_g[STRIP];
        widen[cpu_isa](x + at, n, wide_x);
        if (g != NULL) {
            widen[cpu_isa](g + at, n, wide_g);
        }
        job->gelu->fn(wide_x, wide_g, n, wide_x);
        bf16_kernels()->store(wide_x, NULL, n, (guint16 *)job->out + at);
    }
    return TN_OK;
}

static TnStatus
run_with(const Gelu *gelu, const TnRun *run, const void *g)
{
    Job job = { gelu, run->in[0], g, run->out[0] };
    return tn_parallel_for((gsize)cpu_parts(gelu->n, CHUNK),
                           gelu->narrow ? run_narrow_chunk : run_chunk, &job);
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
prepare(const TnNode *node, TnPrepared *prepared, GeluFn with_tanh, GeluFn with_erf)
{
    Gelu *gelu = g_new0(Gelu, 1);
    const gint approximate = ((const TnGeluAttrs *)node->attrs)->approximate;
    gelu->n = node->in[0].count;
    gelu->narrow = node->in[0].type.dtype == TN_DTYPE_BF16;
    gelu->fn = approximate == TN_GELU_TANH ? with_tanh : with_erf;
    prepared->state = gelu;
    return TRUE;
}

static gboolean
prepare_gelu(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return prepare(node, prepared, by_tanh[cpu_isa], by_erf[cpu_isa]);
}

static gboolean
prepare_grad(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return prepare(node, prepared, by_tanh_grad[cpu_isa], by_erf_grad[cpu_isa]);
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
