/* pool_bf16.c: maxima of bf16 over windows of two axes, of planes [h, w, lanes]. Numbers become
 * whole ones of the same order, which processors compare many at once: first the largest of each column
 * of the window's rows, then of neighbouring columns. A NaN is the largest. */
#include <tenon/nn.h>

#include "cpu.h"
#include "tables.h"

typedef struct Plan Plan;
typedef void (*RowFn)(const Plan *plan, const guint16 *plane, gint64 row, gint16 *columns,
                      guint16 *out);
struct Plan {
    RowFn row;
    gint64 s[2], o[2], k[2], stride[2], dilation[2], pad[2], lanes;
    gint64 rows, per_chunk; /* of results, of all planes */
};

typedef struct {
    const Plan *plan;
    const guint16 *x;
    guint16 *out;
    gint16 *columns; /* a row for each chunk */
} Job;

#define LEAST ((gint16)(0xff80 ^ 0x7fff)) /* what -infinity becomes */

static CPU_INLINE gint16
ordered(guint16 x)
{
    const gint16 bits = (gint16)x, whole = (gint16)(bits ^ ((bits >> 15) & 0x7fff));
    return (x & 0x7fff) > 0x7f80 ? 0x7fff : whole;
}

/* Row `row` of the results; lanes: p's, known to the compiler where that is common. */
static CPU_INLINE void
row_of(const Plan *p, const guint16 *plane, gint64 row, gint64 lanes, gint16 *columns, guint16 *out)
{
    const gint64 width = p->s[1] * lanes;
    for (gint64 i = 0; i < width; i++) {
        columns[i] = LEAST;
    }
    for (gint64 k = 0; k < p->k[0]; k++) {
        const gint64 line = row * p->stride[0] - p->pad[0] + k * p->dilation[0];
        if (line < 0 || line >= p->s[0]) {
            continue;
        }
        const guint16 *x = plane + line * width;
        for (gint64 i = 0; i < width; i++) {
            const gint16 y = ordered(x[i]);
            columns[i] = y > columns[i] ? y : columns[i];
        }
    }
    for (gint64 j = 0; j < p->o[1]; j++) {
        gint16 *to = (gint16 *)out + j * lanes;
        for (gint64 i = 0; i < lanes; i++) {
            to[i] = LEAST;
        }
        for (gint64 k = 0; k < p->k[1]; k++) {
            const gint64 column = j * p->stride[1] - p->pad[1] + k * p->dilation[1];
            if (column < 0 || column >= p->s[1]) {
                continue;
            }
            const gint16 *from = columns + column * lanes;
            for (gint64 i = 0; i < lanes; i++) {
                to[i] = from[i] > to[i] ? from[i] : to[i];
            }
        }
        for (gint64 i = 0; i < lanes; i++) {
            to[i] = (gint16)(to[i] ^ ((to[i] >> 15) & 0x7fff));
        }
    }
}

static CPU_INLINE void
max_row_body(const Plan *p, const guint16 *plane, gint64 row, gint16 *columns, guint16 *out)
{
    if (p->lanes == TN_PAIR_LANES) {
        row_of(p, plane, row, TN_PAIR_LANES, columns, out);
    } else {
        row_of(p, plane, row, p->lanes, columns, out);
    }
}

CPU_VERSIONS(max_row, RowFn,
             (const Plan *p, const guint16 *plane, gint64 row, gint16 *columns, guint16 *out),
             (p, plane, row, columns, out))

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = (gint64)chunk * p->per_chunk, end = MIN(p->rows, first + p->per_chunk);
    const gint64 x_plane = p->s[0] * p->s[1] * p->lanes, out_row = p->o[1] * p->lanes;
    (void)n;
    for (gint64 i = first; i < end; i++) {
        p->row(p, job->x + i / p->o[0] * x_plane, i % p->o[0],
               job->columns + (gint64)chunk * p->s[1] * p->lanes, job->out + i * out_row);
    }
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *p = state;
    Job job = { p, run->in[0], run->out[0], run->scratch };
    return tn_parallel_for((gsize)cpu_parts(p->rows, p->per_chunk), run_chunk, &job);
}

/* Of a third axis each place is by itself. */
static gboolean
claims(const TnNode *node)
{
    const TnPoolAttrs *attrs = node->attrs;
    const TnType *x = &node->in[0].type;
    const TnConvAxis lanes = tn_window_axis(&attrs->window, 2);
    return x->rank == 5 && x->dims[4] > 1 && node->in[0].count > 0 && node->out[0].count > 0 &&
           attrs->window.kernel_shape.v[2] == 1 && lanes.stride == 1 && lanes.pad_begin == 0 &&
           lanes.pad_end == 0;
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnPoolAttrs *attrs = node->attrs;
    const TnType *x = &node->in[0].type, *y = &node->out[0].type;
    Plan *p = g_new0(Plan, 1);
    (void)error;
    p->row = max_row[cpu_isa];
    p->lanes = x->rank == 5 ? x->dims[4] : 1;
    for (gint i = 0; i < 2; i++) {
        const TnConvAxis axis = tn_window_axis(&attrs->window, i);
        p->s[i] = x->dims[2 + i];
        p->o[i] = y->dims[2 + i];
        p->k[i] = attrs->window.kernel_shape.v[i];
        p->stride[i] = axis.stride;
        p->dilation[i] = axis.dilation;
        p->pad[i] = axis.pad_begin;
    }
    p->rows = x->dims[0] * x->dims[1] * p->o[0];
    const gint64 row = p->lanes * (p->s[1] * p->k[0] + p->o[1] * p->k[1]);
    p->per_chunk = cpu_items_per_chunk(p->rows, MAX(1, row / 8));
    prepared->state = p;
    prepared->scratch =
        (gsize)(cpu_parts(p->rows, p->per_chunk) * p->s[1] * p->lanes) * sizeof(gint16);
    return TRUE;
}

/* Where both take images, before cpu-pool, which goes by planes without lanes. */
static const TnKernel kernels[] = {
    { .op = "max_pool",
      .rank = 1,
      .dtypes = TN_DT(BF16),
      .flags = TN_KERNEL_LANES,
      .claims = claims,
      .prepare = prepare,
      .run = run,
      .release = g_free },
};

const TnKernelTable cpu_pool_bf16 = CPU_TABLE(kernels);
