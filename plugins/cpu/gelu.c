/* gelu.c: gelu and its gradient, each one pass over memory; computed in f32, of bf16 a strip at a time. */
#include <tenon/nn.h>

#include "bf16.h"
#include "gelu.h"
#include "gemm_bf16_kernels.h"
#include "tables.h"
#include "tile.h"

/* Elements of a chunk: inputs and outputs of two stay in the second-level cache. */
#define CHUNK 16384
/* Of bf16, before results are rounded. */
#define STRIP 1024

/* out = f (x), or g f' (x) */
typedef void (*GeluFn)(const guint16 *x, const guint16 *g, gint64 n, float *out);

typedef struct {
    gint64 n;
    TileFn fn;     /* of f32 */
    GeluFn narrow; /* of bf16; NULL: f32 */
} Gelu;

#define NARROW(name, G)                                                                            \
    static CPU_INLINE void name##_body(const guint16 *x, const guint16 *g, gint64 n, float *out)   \
    {                                                                                              \
        (void)g;                                                                                   \
        CPU_LOOP                                                                                   \
        for (gint64 i = 0; i < n; i++) {                                                           \
            out[i] = gelu_##name##_at(cpu_bf16_wide(x[i]), G);                                     \
        }                                                                                          \
    }                                                                                              \
    CPU_VERSIONS(name, GeluFn, (const guint16 *x, const guint16 *g, gint64 n, float *out),         \
                 (x, g, n, out))
NARROW(by_tanh, 0)
NARROW(by_erf, 0)
NARROW(by_tanh_grad, cpu_bf16_wide(g[i]))
NARROW(by_erf_grad, cpu_bf16_wide(g[i]))

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
    const void *const in[TILE_MAX_ARITY] = { x + at, g != NULL ? g + at : NULL };
    const TileOp op = { 0 };
    (void)n_chunks;
    job->gelu->fn((float *)job->out + at, in, n, &op);
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
prepare(const TnNode *node, TnPrepared *prepared, const char *name, GeluFn narrow)
{
    guint arity;
    gboolean to_bool;
    Gelu *gelu = g_new0(Gelu, 1);
    gelu->n = node->in[0].count;
    gelu->fn = tile_find(name, TILE_F32, &arity, &to_bool)[cpu_isa];
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
    return with_tanh(node) ? prepare(node, prepared, "gelu_tanh", by_tanh[cpu_isa])
                           : prepare(node, prepared, "gelu_erf", by_erf[cpu_isa]);
}

static gboolean
prepare_grad(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return with_tanh(node) ? prepare(node, prepared, "gelu_grad_tanh", by_tanh_grad[cpu_isa])
                           : prepare(node, prepared, "gelu_grad_erf", by_erf_grad[cpu_isa]);
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
