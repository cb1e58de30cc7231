/* quantized_pool.c: maxima over windows of u8 images whose channels lie last: [N, 1, h, w, C] with a
 * window of 1 along C. Chunks are rows of the result. */
#include "cpu.h"
#include "tables.h"

#include <tenon/nn.h>

typedef struct {
    gint64 channels, items, per_chunk, x[2], y[2];
    gint64 window[2], gap[2], stride[2], pad[2];
} Plan;

typedef struct {
    const Plan *plan;
    const guint8 *x;
    guint8 *out;
} Job;

typedef void (*Larger)(guint8 *to, const guint8 *x, gint64 n);

static CPU_INLINE void
larger_body(guint8 *to, const guint8 *x, gint64 n)
{
    for (gint64 i = 0; i < n; i++) {
        to[i] = MAX(to[i], x[i]);
    }
}
CPU_VERSIONS(larger, Larger, (guint8 * to, const guint8 *x, gint64 n), (to, x, n))

/* The window's places within x along an axis: from *first to before *end. */
static void
inside(const Plan *p, gint axis, gint64 begin, gint64 *first, gint64 *end)
{
    const gint64 gap = p->gap[axis], left = p->x[axis] - begin;
    *first = begin < 0 ? (gap - 1 - begin) / gap : 0;
    *end = left <= 0 ? 0 : MIN(p->window[axis], cpu_parts(left, gap));
}

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 end = MIN(p->items, ((gint64)chunk + 1) * p->per_chunk);
    (void)n;
    for (gint64 item = (gint64)chunk * p->per_chunk; item < end; item++) {
        const gint64 top = item % p->y[0] * p->stride[0] - p->pad[0];
        const guint8 *image = job->x + item / p->y[0] * p->x[0] * p->x[1] * p->channels;
        gint64 rows[2], cols[2];
        inside(p, 0, top, &rows[0], &rows[1]);
        for (gint64 j = 0; j < p->y[1]; j++) {
            const gint64 left = j * p->stride[1] - p->pad[1];
            guint8 *to = job->out + (item * p->y[1] + j) * p->channels;
            inside(p, 1, left, &cols[0], &cols[1]);
            memset(to, 0, (gsize)p->channels);
            for (gint64 k = rows[0]; k < rows[1]; k++) {
                const guint8 *row = image + (top + k * p->gap[0]) * p->x[1] * p->channels;
                for (gint64 l = cols[0]; l < cols[1]; l++) {
                    larger[cpu_isa](to, row + (left + l * p->gap[1]) * p->channels, p->channels);
                }
            }
        }
    }
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *p = state;
    Job job = { p, run->in[0], run->out[0] };
    return tn_parallel_for((gsize)cpu_parts(p->items, p->per_chunk), run_chunk, &job);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnPoolAttrs *attrs = node->attrs;
    const gint64 *x = node->in[0].type.dims, *y = node->out[0].type.dims;
    Plan *p = g_new0(Plan, 1);
    (void)error;
    p->channels = x[4];
    for (gint i = 0; i < 2; i++) {
        const TnConvAxis axis = tn_window_axis(&attrs->window, i);
        p->x[i] = x[2 + i];
        p->y[i] = y[2 + i];
        p->window[i] = attrs->window.kernel_shape.v[i];
        p->gap[i] = axis.dilation;
        p->stride[i] = axis.stride;
        p->pad[i] = axis.pad_begin;
    }
    p->items = x[0] * p->y[0];
    p->per_chunk = cpu_items_per_chunk(
        p->items,
        cpu_times(cpu_times(p->y[1], p->channels), cpu_times(p->window[0], p->window[1])) / 16);
    prepared->state = p;
    return TRUE;
}

static gboolean
claims(const TnNode *node)
{
    const TnPoolAttrs *attrs = node->attrs;
    if (node->in[0].type.rank != 5 || node->in[0].type.dims[1] != 1 || node->out[0].count == 0) {
        return FALSE;
    }
    const TnConvAxis last = tn_window_axis(&attrs->window, 2);
    return attrs->window.kernel_shape.v[2] == 1 && last.stride == 1 && last.pad_begin == 0 &&
           last.pad_end == 0;
}

static const TnKernel kernels[] = {
    { .op = "max_pool",
      .dtypes = TN_DT(U8),
      .claims = claims,
      .prepare = prepare,
      .run = run,
      .release = g_free },
};

const TnKernelTable cpu_quantized_pool = CPU_TABLE(kernels);
