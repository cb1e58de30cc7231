/* conv_weight_bf16.c: gradients of convolutions' weights from images of bf16: for each tap a product of
 * images, shifted, and gradients, over all positions of all images.
 *
 * Images are laid out with zeros between their rows, so that what a tap reads for all positions is one
 * run of memory: a shift by a tap is a shift of where the run begins, and nothing is copied for a tap.
 * Zeros that follow a row are the next one's zeros before it. With strides there is such a layout for
 * each remainder of a place (a phase). Gradients are laid out at the same positions, zeros between
 * them. */
#include "gemm_bf16_kernels.h"
#include "tables.h"

#define BLOCK BF16_BLOCK
#define TILE (BF16_TILE_BYTES / 2) /* numbers */
#define MAX_TAPS 64
#define CHUNK 64 /* tiles of positions that all taps read before the next ones: they stay near */

/* One spatial axis. */
typedef struct {
    gint64 in, out, kernel, stride, dilation, pad;
    gint64 pitch; /* places from one line to the next */
} Axis;

typedef struct {
    gint64 images, channels, maps, taps;
    Axis axis[2];
    gint64 phases, run; /* numbers of a channel in a phase, zeros behind it too */
    gint64 deep;        /* tiles over all positions */
    gint64 c_blocks, m_blocks, c_rows, m_groups; /* 32 channels, 32 maps; 16s of both */
    gsize g_at, sums_at;                         /* in scratch, behind the images */
} Plan;

typedef struct {
    const Plan *plan;
    const guint16 *x, *g;
    guint16 *out, *x_to, *g_to;
    float *sums;
} Job;

/* --- Layouts ---------------------------------------------------------------------------------- */

/* The first and the last place of a phase that is not padding. */
static gint64
first_place(const Axis *a, gint64 phase)
{
    return (MAX(0, a->pad - phase) + a->stride - 1) / a->stride;
}

static gint64
last_place(const Axis *a, gint64 phase)
{
    const gint64 last = a->pad + a->in - 1 - phase;
    return last < 0 ? -1 : last / a->stride;
}

static gint64
furthest(const Axis *a)
{
    return (a->kernel - 1) * a->dilation / a->stride;
}

/* As short as the zeros before the next line allow. */
static void
choose_pitch(Axis *a)
{
    gint64 zeros = G_MAXINT64, last = 0;
    for (gint64 p = 0; p < a->stride; p++) {
        zeros = MIN(zeros, first_place(a, p));
        last = MAX(last, last_place(a, p));
    }
    a->pitch = MAX(MAX(a->out + furthest(a) - zeros, a->out), last + 1);
}

/* A channel of all images in a phase, zeros all around. */
static void
lay_channel(const Job *job, gint64 phase, gint64 channel)
{
    const Plan *plan = job->plan;
    const Axis *v = &plan->axis[0], *h = &plan->axis[1];
    const gint64 pv = phase / h->stride, ph = phase % h->stride;
    const gint64 left = first_place(h, ph), right = last_place(h, ph);
    const gint64 from = left * h->stride + ph - h->pad;
    guint16 *to = job->x_to + (phase * plan->c_rows + channel) * plan->run;
    memset(to, 0, (gsize)plan->run * sizeof *to);
    if (channel >= plan->channels) {
        return;
    }
    for (gint64 i = 0; i < plan->images; i++, to += v->pitch * h->pitch) {
        const guint16 *image = job->x + (i * plan->channels + channel) * v->in * h->in;
        for (gint64 row = first_place(v, pv); row <= last_place(v, pv); row++) {
            const guint16 *line = image + (row * v->stride + pv - v->pad) * h->in + from;
            guint16 *place = to + row * h->pitch + left;
            if (h->stride == 1) {
                memcpy(place, line, (gsize)(right - left + 1) * sizeof *to);
                continue;
            }
            for (gint64 j = 0; j <= right - left; j++) {
                place[j] = line[j * h->stride];
            }
        }
    }
}

/* Positions [first, first + 32) of 16 maps of gradients, 32 a row. */
static void
lay_positions(const Job *job, gint64 group, gint64 first, guint16 *to)
{
    const Plan *plan = job->plan;
    const Axis *v = &plan->axis[0], *h = &plan->axis[1];
    const gint64 maps = MIN(BF16_TILE, plan->maps - group * BF16_TILE), out = v->out * h->out;
    memset(to, 0, BF16_TILE_BYTES);
    for (gint64 q = first; q < first + BF16_DEEP;) {
        const gint64 col = q % h->pitch, row = q / h->pitch % v->pitch;
        const gint64 image = q / h->pitch / v->pitch;
        const gint64 n = MIN(first + BF16_DEEP - q, h->pitch - col), inside = MIN(n, h->out - col);
        if (image < plan->images && row < v->out && inside > 0) {
            const guint16 *from =
                job->g + (image * plan->maps + group * BF16_TILE) * out + row * h->out + col;
            for (gint64 m = 0; m < maps; m++) {
                memcpy(to + m * BF16_DEEP + q - first, from + m * out, (gsize)inside * sizeof *to);
            }
        }
        q += n;
    }
}

/* Runs of positions so that each tile's pairs are neighbours. */
static void
lay_maps(const Job *job, gint64 group)
{
    const Plan *plan = job->plan;
    guint16 *to = job->g_to + group * plan->deep * TILE;
    guint16 rows[TILE] __attribute__((aligned(64)));
    for (gint64 t = 0; t < plan->deep; t++, to += TILE) {
        lay_positions(job, group, t * BF16_DEEP, rows);
        bf16_kernels()->turn(rows, BF16_DEEP, to);
    }
}

static TnStatus
lay_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const gint64 groups = job->plan->m_groups, at = (gint64)chunk - groups;
    (void)n;
    if (at < 0) {
        lay_maps(job, (gint64)chunk);
    } else {
        lay_channel(job, at / job->plan->c_rows, at % job->plan->c_rows);
    }
    return TN_OK;
}

/* --- Products --------------------------------------------------------------------------------- */

/* Where the run that a tap reads begins, for channel 0. */
static const guint16 *
tap_run(const Job *job, gint64 tap)
{
    const Plan *plan = job->plan;
    const Axis *v = &plan->axis[0], *h = &plan->axis[1];
    const gint64 kv = tap / h->kernel * v->dilation, kh = tap % h->kernel * h->dilation;
    const gint64 phase = kv % v->stride * h->stride + kh % h->stride;
    return job->x_to + phase * plan->c_rows * plan->run + kv / v->stride * h->pitch +
           kh / h->stride;
}

/* A block's sums, [tap][channel][map], to where they belong, [map][channel][tap]. */
static void
put_block(const Job *job, const float *sums, gint64 c0, gint64 m0)
{
    const Plan *plan = job->plan;
    const gint64 channels = MIN(BLOCK, plan->channels - c0), maps = MIN(BLOCK, plan->maps - m0);
    float line[BLOCK * MAX_TAPS];
    for (gint64 m = 0; m < maps; m++) {
        for (gint64 c = 0; c < channels; c++) {
            for (gint64 t = 0; t < plan->taps; t++) {
                line[c * plan->taps + t] = sums[(t * BLOCK + c) * BLOCK + m];
            }
        }
        bf16_kernels()->store(line, NULL, channels * plan->taps,
                              job->out + ((m0 + m) * plan->channels + c0) * plan->taps);
    }
}

static TnStatus
block_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const Bf16Kernels *kernels = bf16_kernels();
    const gint64 c0 = (gint64)chunk / plan->m_blocks * BLOCK;
    const gint64 m0 = (gint64)chunk % plan->m_blocks * BLOCK;
    const gint64 rows = BF16_TILE * plan->run, group = plan->deep * TILE;
    const gint n_b = m0 + BF16_TILE < plan->maps ? 2 : 1;
    float *sums = job->sums + (gint64)chunk * plan->taps * BLOCK * BLOCK;
    (void)n;
    memset(sums, 0, (gsize)(plan->taps * BLOCK * BLOCK) * sizeof *sums);
    if (kernels->begin != NULL) {
        kernels->begin();
    }
    for (gint64 t0 = 0; t0 < plan->deep; t0 += CHUNK) {
        const gint64 deep = MIN(CHUNK, plan->deep - t0);
        const guint16 *g = job->g_to + m0 / BF16_TILE * group + t0 * TILE;
        const guint16 *const b[2] = { g, n_b == 2 ? g + group : NULL };
        for (gint64 tap = 0; tap < plan->taps; tap++) {
            const guint16 *x = tap_run(job, tap) + c0 * plan->run + t0 * BF16_DEEP;
            const gboolean second = c0 + BF16_TILE < plan->channels;
            const Bf16Rows a = { { x, second ? x + rows : NULL }, plan->run, BF16_DEEP };
            kernels->block(deep, &a, b, n_b, TRUE, sums + tap * BLOCK * BLOCK);
        }
    }
    if (kernels->end != NULL) {
        kernels->end();
    }
    put_block(job, sums, c0, m0);
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { .plan = plan,
                .x = run->in[0],
                .g = run->in[1],
                .out = run->out[0],
                .x_to = run->scratch,
                .g_to = (void *)((char *)run->scratch + plan->g_at),
                .sums = (void *)((char *)run->scratch + plan->sums_at) };
    const gint64 lays = plan->m_groups + plan->phases * plan->c_rows;
    const TnStatus status = tn_parallel_for((gsize)lays, lay_chunk, &job);
    return status != TN_OK
               ? status
               : tn_parallel_for((gsize)(plan->c_blocks * plan->m_blocks), block_chunk, &job);
}

/* --- Planning --------------------------------------------------------------------------------- */

static gint64
up(gint64 value, gint64 to)
{
    return (value + to - 1) / to * to;
}

static Plan
plan_of(const TnNode *node)
{
    const TnType *x = &node->in[0].type, *g = &node->in[1].type, *w = &node->out[0].type;
    Plan plan = { .images = x->dims[0], .channels = x->dims[1], .maps = g->dims[1] };
    for (gint i = 0; i < 2; i++) {
        const TnConvAxis of = tn_conv_axis(node->attrs, 2, i);
        Axis *a = &plan.axis[i];
        *a = (Axis){ .in = x->dims[2 + i],
                     .out = g->dims[2 + i],
                     .kernel = w->dims[2 + i],
                     .stride = of.stride,
                     .dilation = of.dilation,
                     .pad = of.pad_begin };
        choose_pitch(a);
    }
    const Axis *v = &plan.axis[0], *h = &plan.axis[1];
    plan.taps = v->kernel * h->kernel;
    plan.phases = v->stride * h->stride;
    plan.deep = up(plan.images * v->pitch * h->pitch, BF16_DEEP) / BF16_DEEP;
    /* An odd number of lines of the cache, so that channels do not meet in the same places of it. */
    plan.run = plan.deep * BF16_DEEP + furthest(v) * h->pitch + furthest(h);
    plan.run = (up(plan.run, BF16_DEEP) / BF16_DEEP | 1) * BF16_DEEP;
    plan.c_blocks = up(plan.channels, BLOCK) / BLOCK;
    plan.m_blocks = up(plan.maps, BLOCK) / BLOCK;
    plan.c_rows = up(plan.channels, BF16_TILE);
    plan.m_groups = up(plan.maps, BF16_TILE) / BF16_TILE;
    plan.g_at = (gsize)(plan.phases * plan.c_rows * plan.run) * sizeof(guint16);
    plan.sums_at = plan.g_at + (gsize)(plan.m_groups * plan.deep) * BF16_TILE_BYTES;
    return plan;
}

/* Two axes, one group, steps of the kernel and paddings that leave most of a layout to images; where the
 * processor multiplies bf16. */
static gboolean
claims(const TnNode *node)
{
    const TnConvAttrs *attrs = node->attrs;
    if (cpu_bf16 == CPU_BF16_PLAIN || node->in[0].type.rank != 4 || attrs->group != 1 ||
        node->in[1].type.dtype != TN_DTYPE_BF16 || node->in[0].count == 0 ||
        node->in[1].count == 0 || node->out[0].count == 0) {
        return FALSE;
    }
    const Plan plan = plan_of(node);
    const Axis *v = &plan.axis[0], *h = &plan.axis[1];
    return plan.taps <= MAX_TAPS && v->pitch * h->pitch <= 4 * v->out * h->out && v->stride <= 4 &&
           h->stride <= 4;
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *plan = g_new(Plan, 1);
    (void)error;
    *plan = plan_of(node);
    prepared->state = plan;
    prepared->scratch = plan->sums_at + (gsize)(plan->c_blocks * plan->m_blocks * plan->taps) *
                                            BLOCK * BLOCK * sizeof(float);
    return TRUE;
}

static const TnKernel kernels[] = {
    { .op = "conv_grad_weight",
      .dtypes = TN_DT(BF16),
      .rank = 20,
      .claims = claims,
      .prepare = prepare,
      .run = run,
      .release = g_free },
};

const TnKernelTable cpu_conv_bf16 = CPU_TABLE(kernels);
