/* conv_blocked.c: convolutions of images in blocks of sixteen channels (conv_blocked). The channels out
 * are the lanes of vectors: each float that a place sees is multiplied with a vector of weights, and
 * what a place sees is a few pieces of memory, a row of the window each. Padding, and images that are
 * not in blocks, are copied first, to [rows, columns, channels] with the zeros around them.
 *
 * Sums run over blocks, rows, columns and channels in order, whatever chunk a place belongs to; chunks
 * are some blocks of channels out and some rows, and depend on the sizes alone. (Georganas et al.,
 * "Anatomy of high-performance deep learning convolutions on SIMD architectures", SC 2018.) */
#include "conv_blocked_kernels.h"
#include "cpu.h"
#include "tables.h"

#include <tenon/nn.h>

#define L TN_LANES
/* Multiplications that a chunk should have. */
#define GRAIN (1 << 21)

typedef struct {
    gint64 images, blocks_in, blocks_out; /* blocks_in: as they are read */
    gint64 seen_blocks, made_blocks;      /* of a group of channels that does not meet the others */
    gint64 block; /* channels of one: L, or all of those that are not in blocks */
    gint64 x[2], padded[2], y[2], pad[2], stride[2];
    gboolean copies, plain; /* plain: x is [N, C, h, w] */
    gboolean flat;          /* places are one row, whatever row of the image they are in */
    gint64 lines, places; /* rows that chunks divide, and places of each; the last may have fewer */
    gint64 groups, bands, lines_per_band; /* chunks of an image; groups: of blocks out */
    gint64 per_group;                     /* blocks of a group, at most */
    gint64 copy_items, copies_per_chunk;
    gint64 x_image, y_image; /* floats; x_image: as it is read */
    BlockedReads reads;
    BlockedStep step;
    const BlockedKernels *kernels;
    gint n_in;
    gboolean relu;
    gint64 at[];
} Plan;

typedef struct {
    const Plan *plan;
    const float *given, *x, *w, *bias, *more; /* x: as it is read */
    float *copy, *out;
} Job;

/* --- Padding ---------------------------------------------------------------------------------- */

/* A row of an image [C, h, w] as [w, C]. */
static void
turn_row(const Plan *p, const float *x, float *to)
{
    const gint64 plane = p->x[0] * p->x[1];
    for (gint64 j = 0; j < p->x[1]; j++) {
        for (gint64 c = 0; c < p->block; c++) {
            to[j * p->block + c] = x[c * plane + j];
        }
    }
}

/* Items are the padded rows of all images and blocks. */
static TnStatus
copy_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = (gint64)chunk * p->copies_per_chunk;
    const gint64 end = MIN(p->copy_items, first + p->copies_per_chunk);
    const gint64 row_floats = p->padded[1] * p->block, inside = p->x[1] * p->block;
    (void)n;
    for (gint64 i = first; i < end; i++) {
        const gint64 plane = i / p->padded[0], row = i % p->padded[0] - p->pad[0];
        float *to = job->copy + i * row_floats;
        if (row < 0 || row >= p->x[0]) {
            memset(to, 0, (gsize)row_floats * sizeof *to);
            continue;
        }
        float *begin = to + p->pad[1] * p->block;
        memset(to, 0, (gsize)(begin - to) * sizeof *to);
        if (p->plain) {
            turn_row(p, job->given + (plane * p->block * p->x[0] + row) * p->x[1], begin);
        } else {
            memcpy(begin, job->given + (plane * p->x[0] + row) * inside,
                   (gsize)inside * sizeof *to);
        }
        memset(begin + inside, 0, (gsize)(to + row_floats - begin - inside) * sizeof *to);
    }
    return TN_OK;
}

/* --- Running ---------------------------------------------------------------------------------- */

static gint64
blocks_at_once(const Plan *p, gint64 left)
{
    for (gint64 n = MIN(left, p->per_group); n > 1; n--) {
        if (p->kernels->places[n] > 0) {
            return n;
        }
    }
    return 1;
}

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n_chunks)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 band = (gint64)chunk % p->bands, group = (gint64)chunk / p->bands % p->groups;
    const gint64 image = (gint64)chunk / p->bands / p->groups;
    const gint64 first = MIN(p->lines, band * p->lines_per_band);
    const gint64 end = MIN(p->lines, first + p->lines_per_band);
    const gint64 last_block = MIN(p->blocks_out, (group + 1) * p->per_group);
    const gint64 seen = group * p->per_group / p->made_blocks * p->seen_blocks;
    const float *x = job->x + image * p->x_image + seen * p->padded[0] * p->padded[1] * p->block;
    const gint64 row = (p->flat ? p->places : p->stride[0] * p->padded[1]) * p->block;
    (void)n_chunks;
    for (gint64 block = group * p->per_group, n; block < last_block; block += n) {
        n = blocks_at_once(p, last_block - block);
        const float *bias = job->bias != NULL ? job->bias + block * L : NULL;
        const float *w = job->w + block * p->reads.w_block;
        for (gint64 line = first; line < end; line++) {
            const gint64 at =
                image * p->y_image + block * p->reads.out_block + line * p->places * L;
            const gint64 left = p->y[0] * p->y[1] - line * p->places;
            conv_blocked_line(p->kernels, p->step, &p->reads, n, MIN(p->places, left),
                              x + line * row, w, bias, job->more != NULL ? job->more + at : NULL,
                              p->relu, job->out + at);
        }
    }
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *p = state;
    Job job = { .plan = p,
                .given = run->in[0],
                .x = p->copies ? run->scratch : run->in[0],
                .w = run->in[1],
                .bias = p->n_in > 2 ? run->in[2] : NULL,
                .more = p->n_in > 3 ? run->in[3] : NULL,
                .copy = run->scratch,
                .out = run->out[0] };
    if (p->copies) {
        const TnStatus status = tn_parallel_for(
            (gsize)((p->copy_items + p->copies_per_chunk - 1) / p->copies_per_chunk), copy_chunk,
            &job);
        if (status != TN_OK) {
            return status;
        }
    }
    return tn_parallel_for((gsize)(p->images * p->groups * p->bands), run_chunk, &job);
}

/* --- Planning --------------------------------------------------------------------------------- */

static gboolean
claims(const TnNode *node)
{
    const TnConvBlockedAttrs *attrs = node->attrs;
    return node->in[1].type.rank == node->in[0].type.rank + 1 &&
           (attrs->conv.group == 1 || node->in[0].type.rank == 5) && node->in[0].count > 0 &&
           node->in[1].count > 0 && node->out[0].count > 0;
}

static void
set_sizes(Plan *p, const TnConvAttrs *attrs, const TnType *x, const TnType *w, const TnType *y)
{
    gboolean padded = FALSE, steps = FALSE;
    p->plain = x->rank == 4;
    p->images = x->dims[0];
    p->block = p->plain ? x->dims[1] : L;
    p->blocks_in = p->plain ? 1 : x->dims[1];
    p->blocks_out = y->dims[1];
    p->seen_blocks = p->blocks_in / attrs->group;
    p->made_blocks = p->blocks_out / attrs->group;
    for (gint i = 0; i < 2; i++) {
        const TnConvAxis axis = tn_conv_axis(attrs, 2, i);
        p->x[i] = x->dims[2 + i];
        p->y[i] = y->dims[2 + i];
        p->pad[i] = axis.pad_begin;
        p->stride[i] = axis.stride;
        p->padded[i] = p->x[i] + axis.pad_begin + axis.pad_end;
        padded = padded || p->padded[i] != p->x[i];
        steps = steps || axis.stride > 1 || w->dims[(p->plain ? 1 : 2) + i] > 1;
    }
    p->copies = padded || p->plain;
    p->flat = !padded && !steps;
    p->x_image = p->blocks_in * p->padded[0] * p->padded[1] * p->block;
    p->y_image = p->blocks_out * p->y[0] * p->y[1] * L;
}

/* Rows of the window, or its single columns where there are gaps between them. */
static void
set_reads(Plan *p, const TnConvAttrs *attrs, const gint64 *window)
{
    const gint64 gap[] = { tn_conv_axis(attrs, 2, 0).dilation, tn_conv_axis(attrs, 2, 1).dilation };
    const gint64 apart = gap[1] > 1 ? window[1] : 1;
    BlockedReads *r = &p->reads;
    r->length = window[1] / apart * p->block;
    r->step = p->stride[1] * p->block;
    r->at = p->at;
    for (gint64 b = 0; b < p->seen_blocks; b++) {
        for (gint64 i = 0; i < window[0]; i++) {
            for (gint64 j = 0; j < apart; j++) {
                p->at[r->pieces++] =
                    ((b * p->padded[0] + i * gap[0]) * p->padded[1] + j * gap[1]) * p->block;
            }
        }
    }
    r->w_block = r->pieces * r->length * L;
    r->out_block = p->y[0] * p->y[1] * L;
    p->step = r->step == L ? BLOCKED_NEXT : r->step == 2 * L ? BLOCKED_SECOND : BLOCKED_ANY;
}

/* Few blocks at once for long rows, whose weights are then read less often. */
static void
set_chunks(Plan *p)
{
    const gint *most = p->kernels->places;
    const gint64 places = p->y[0] * p->y[1];
    p->per_group = 1;
    for (gint64 n = 2; n <= BLOCKED_BLOCKS; n++) {
        if (most[n] > 0 && p->made_blocks % n == 0 &&
            (n <= 2 || (p->flat ? places : p->y[1]) <= most[n])) {
            p->per_group = n;
        }
    }
    p->places = p->flat ? most[p->per_group] : p->y[1];
    p->lines = (places + p->places - 1) / p->places;
    p->groups = (p->blocks_out + p->per_group - 1) / p->per_group;
    const gint64 work = places * p->per_group * p->reads.w_block;
    const gint64 bands = CLAMP(work / GRAIN, 1, p->lines);
    p->lines_per_band = (p->lines + bands - 1) / bands;
    p->bands = (p->lines + p->lines_per_band - 1) / p->lines_per_band;
    p->copy_items = p->images * p->blocks_in * p->padded[0];
    p->copies_per_chunk = cpu_items_per_chunk(p->copy_items, p->padded[1] * p->block);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnConvBlockedAttrs *attrs = node->attrs;
    const TnType *x = &node->in[0].type, *w = &node->in[1].type;
    const gint64 *window = w->dims + (x->rank == 4 ? 1 : 2);
    const gint64 blocks = x->rank == 4 ? 1 : x->dims[1];
    (void)error;
    Plan *p = g_malloc0(sizeof *p + (gsize)(blocks * window[0] * window[1]) * sizeof *p->at);
    p->kernels = &conv_blocked_kernels[cpu_isa];
    p->n_in = node->n_in;
    p->relu = attrs->relu;
    set_sizes(p, &attrs->conv, x, w, &node->out[0].type);
    set_reads(p, &attrs->conv, window);
    set_chunks(p);
    prepared->state = p;
    prepared->scratch = p->copies ? (gsize)(p->images * p->x_image) * sizeof(float) : 0;
    return TRUE;
}

static const TnKernel kernels[] = {
    { .op = "conv_blocked",
      .dtypes = TN_DT(F32),
      .claims = claims,
      .prepare = prepare,
      .run = run,
      .release = g_free },
};

const TnKernelTable cpu_conv_blocked = CPU_TABLE(kernels);
