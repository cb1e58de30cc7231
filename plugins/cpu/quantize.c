/* quantize.c: quantize_linear with one scale: f32 as 8-bit numbers. */
#include "cpu.h"
#include "tables.h"

typedef struct {
    gint64 count, per_chunk;
    float low, high; /* of the result's type */
    gboolean has_zero, is_signed;
} Plan;

typedef struct {
    const Plan *plan;
    const float *x;
    guint8 *out;
    float scale, zero;
} Job;

/* 1.5 * 2^23: sums with it have no digits behind the point, so it rounds, halves to even. */
#define ROUNDER 12582912.0F

/* NaN becomes the lowest. Results of either type are the low byte of whole numbers. */
static CPU_INLINE void
steps_body(const float *x, float scale, float zero, float low, float high, gint64 n, guint8 *to)
{
    for (gint64 i = 0; i < n; i++) {
        float q = x[i] / scale;
        q = q > low ? q : low;
        q = q < high ? q : high;
        to[i] = (guint8)(gint32)(q + ROUNDER - ROUNDER + zero);
    }
}
typedef void (*Steps)(const float *x, float scale, float zero, float low, float high, gint64 n,
                      guint8 *to);
CPU_VERSIONS(steps, Steps,
             (const float *x, float scale, float zero, float low, float high, gint64 n, guint8 *to),
             (x, scale, zero, low, high, n, to))

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = (gint64)chunk * p->per_chunk, count = MIN(p->per_chunk, p->count - first);
    (void)n;
    steps[cpu_isa](job->x + first, job->scale, job->zero, p->low - job->zero, p->high - job->zero,
                   count, job->out + first);
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *p = state;
    Job job = { p, run->in[0], run->out[0], *(const float *)run->in[1], 0 };
    if (p->has_zero) {
        job.zero = p->is_signed ? *(const gint8 *)run->in[2] : *(const guint8 *)run->in[2];
    }
    return tn_parallel_for((gsize)cpu_parts(p->count, p->per_chunk), run_chunk, &job);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *p = g_new0(Plan, 1);
    (void)error;
    p->count = node->out[0].count;
    p->per_chunk = cpu_items_per_chunk(p->count, 1);
    p->has_zero = node->n_in > 2 && node->in[2].type.dtype != TN_DTYPE_NONE;
    p->is_signed = node->out[0].type.dtype == TN_DTYPE_I8;
    p->low = p->is_signed ? -128 : 0;
    p->high = p->is_signed ? 127 : 255;
    prepared->state = p;
    return TRUE;
}

static gboolean
claims(const TnNode *node)
{
    return node->in[1].type.rank == 0 && node->out[0].count > 0;
}

static const TnKernel kernels[] = {
    { .op = "quantize_linear",
      .dtypes = TN_DT(F32),
      .claims = claims,
      .prepare = prepare,
      .run = run,
      .release = g_free },
};

const TnKernelTable cpu_quantize = CPU_TABLE(kernels);
