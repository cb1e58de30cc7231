/* conv_blocked.c: convolutions of images in blocks of sixteen channels (conv_blocked). The channels out
 * are the lanes of vectors: each float that a place sees is multiplied with a vector of weights, and
 * what a place sees is a few pieces of memory, a row of the window each. Where there is padding, images
 * are copied first, with the zeros around them.
 *
 * Sums run over blocks, rows, columns and channels in order, whatever chunk a place belongs to; chunks
 * are some blocks of channels out and some rows, and depend on the sizes alone. Images that are not in
 * blocks are summed over channels, rows and columns, as the plugin's other direct convolutions do it: one
 * of sixteen samples at once (conv_lanes.c) gives the same bits. (Georganas et al., "Anatomy of
 * high-performance deep learning convolutions on SIMD architectures", SC 2018.) */
#include "conv_blocked_kernels.h"
#include "conv_blocked_shape.h"
#include "cpu.h"
#include "tables.h"

#define L TN_LANES
/* Multiplications that a chunk should have. */
#define GRAIN (1 << 21)

typedef struct {
    BlockedShape s;
    gboolean copies;
    gboolean flat;        /* places are one row, whatever row of the image they are in */
    gint64 lines, places; /* rows that chunks divide, and places of each; the last may have fewer */
    gint64 groups, bands, lines_per_band; /* chunks of an image; groups: of blocks out */
    gint64 per_group;                     /* blocks of a group, at most */
    gint64 planes, cell; /* of an image as it is read: [planes, rows, columns, cell] */
    gint64 copy_items, copies_per_chunk;
    gint64 x_image, y_image; /* floats; x_image: as it is read */
    BlockedReads reads;
    BlockedStep step;
    const BlockedKernels *kernels;
    BlockedPiece at[];
} Plan;

typedef struct {
    const Plan *plan;
    const float *given, *x, *w, *bias, *more; /* x: as it is read */
    float *copy, *out;
} Job;

/* --- Padding ---------------------------------------------------------------------------------- */

/* Items are the padded rows of all images and planes. */
static TnStatus
copy_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = (gint64)chunk * p->copies_per_chunk;
    const gint64 end = MIN(p->copy_items, first + p->copies_per_chunk);
    const gint64 row_floats = p->s.padded[1] * p->cell, inside = p->s.x[1] * p->cell;
    (void)n;
    for (gint64 i = first; i < end; i++) {
        const gint64 plane = i / p->s.padded[0], row = i % p->s.padded[0] - p->s.pad[0];
        float *to = job->copy + i * row_floats;
        if (row < 0 || row >= p->s.x[0]) {
            memset(to, 0, (gsize)row_floats * sizeof *to);
            continue;
        }
        float *begin = to + p->s.pad[1] * p->cell;
        memset(to, 0, (gsize)(begin - to) * sizeof *to);
        memcpy(begin, job->given + (plane * p->s.x[0] + row) * inside, (gsize)inside * sizeof *to);
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
    const gint64 last_block = MIN(p->s.blocks_out, (group + 1) * p->per_group);
    const gint64 seen = group * p->per_group / p->s.made_blocks * p->s.seen_blocks;
    const float *x = job->x + image * p->x_image + seen * p->s.padded[0] * p->s.padded[1] * p->cell;
    const gint64 row = (p->flat ? p->places : p->s.stride[0] * p->s.padded[1]) * p->cell;
    (void)n_chunks;
    for (gint64 block = group * p->per_group, n; block < last_block; block += n) {
        n = blocks_at_once(p, last_block - block);
        const float *bias = job->bias != NULL ? job->bias + block * L : NULL;
        const float *w = job->w + block * p->reads.w_block;
        for (gint64 line = first; line < end; line++) {
            const gint64 at =
                image * p->y_image + block * p->reads.out_block + line * p->places * L;
            const gint64 left = p->s.y[0] * p->s.y[1] - line * p->places;
            conv_blocked_line(p->kernels, p->step, &p->reads, n, MIN(p->places, left),
                              x + line * row, w, bias, job->more != NULL ? job->more + at : NULL,
                              p->s.relu, job->out + at);
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
                .bias = p->s.n_in > 2 ? run->in[2] : NULL,
                .more = p->s.n_in > 3 ? run->in[3] : NULL,
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
    return tn_parallel_for((gsize)(p->s.images * p->groups * p->bands), run_chunk, &job);
}

/* --- Planning --------------------------------------------------------------------------------- */

static gboolean
claims(const TnNode *node)
{
    BlockedShape s;
    return node->in[1].type.rank == node->in[0].type.rank + 1 && blocked_shape(node, &s) &&
           (!s.plain || s.made_blocks == s.blocks_out);
}

static void
set_sizes(Plan *p)
{
    const BlockedShape *s = &p->s;
    const gboolean steps =
        s->stride[0] > 1 || s->stride[1] > 1 || s->window[0] > 1 || s->window[1] > 1;
    p->copies = s->pads;
    p->flat = !s->pads && !steps;
    p->planes = s->plain ? s->channels : s->blocks_in;
    p->cell = s->plain ? 1 : s->channels;
    p->x_image = p->planes * s->padded[0] * s->padded[1] * p->cell;
    p->y_image = s->blocks_out * s->y[0] * s->y[1] * L;
}

/* Of blocks, rows of the window, or its single columns where there are gaps between them. */
static void
read_blocks(Plan *p)
{
    const BlockedShape *s = &p->s;
    const gint64 apart = s->gap[1] > 1 ? s->window[1] : 1;
    BlockedReads *r = &p->reads;
    r->length = s->window[1] / apart * p->cell;
    r->x_step = 1;
    r->w_step = L;
    for (gint64 b = 0; b < s->seen_blocks; b++) {
        for (gint64 i = 0; i < s->window[0]; i++) {
            for (gint64 j = 0; j < apart; j++) {
                const gint64 row = b * s->padded[0] + i * s->gap[0];
                p->at[r->pieces] = (BlockedPiece){ (row * s->padded[1] + j * s->gap[1]) * p->cell,
                                                   r->pieces * r->length * L };
                r->pieces++;
            }
        }
    }
}

/* Of what is not in blocks, rows of a channel's window; or a place of all channels. */
static void
read_planes(Plan *p)
{
    const BlockedShape *s = &p->s;
    const gint64 row = s->padded[1], plane = s->padded[0] * row;
    const gboolean single = s->window[0] == 1 && s->window[1] == 1;
    BlockedReads *r = &p->reads;
    r->length = single ? s->channels : s->window[1];
    r->x_step = single ? plane : s->gap[1];
    r->w_step = single ? L : s->channels * L;
    for (gint64 c = 0; c < (single ? 1 : s->channels); c++) {
        for (gint64 i = 0; i < s->window[0]; i++) {
            p->at[r->pieces++] = (BlockedPiece){ c * plane + i * s->gap[0] * row,
                                                 (i * s->window[1] * s->channels + c) * L };
        }
    }
}

static void
set_reads(Plan *p)
{
    const BlockedShape *s = &p->s;
    BlockedReads *r = &p->reads;
    r->at = p->at;
    r->step = s->stride[1] * p->cell;
    if (s->plain) {
        read_planes(p);
    } else {
        read_blocks(p);
    }
    r->w_block = r->pieces * r->length * L;
    r->out_block = s->y[0] * s->y[1] * L;
    p->step = s->plain           ? BLOCKED_ANY
              : r->step == L     ? BLOCKED_NEXT
              : r->step == 2 * L ? BLOCKED_SECOND
                                 : BLOCKED_ANY;
}

/* Few blocks at once for long rows, whose weights are then read less often. */
static void
set_chunks(Plan *p)
{
    const gint *most = p->kernels->places;
    const gint64 places = p->s.y[0] * p->s.y[1];
    p->per_group = 1;
    for (gint64 n = 2; n <= BLOCKED_BLOCKS; n++) {
        if (most[n] > 0 && p->s.made_blocks % n == 0 &&
            (n <= 2 || (p->flat ? places : p->s.y[1]) <= most[n])) {
            p->per_group = n;
        }
    }
    p->places = p->flat ? most[p->per_group] : p->s.y[1];
    p->lines = (places + p->places - 1) / p->places;
    p->groups = (p->s.blocks_out + p->per_group - 1) / p->per_group;
    const gint64 work = places * p->per_group * p->reads.w_block;
    const gint64 bands = CLAMP(work / GRAIN, 1, p->lines);
    p->lines_per_band = (p->lines + bands - 1) / bands;
    p->bands = (p->lines + p->lines_per_band - 1) / p->lines_per_band;
    p->copy_items = p->s.images * p->planes * p->s.padded[0];
    p->copies_per_chunk = cpu_items_per_chunk(p->copy_items, p->s.padded[1] * p->cell);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    BlockedShape s;
    (void)error;
    (void)blocked_shape(node, &s); /* as claimed */
    const gint64 planes = s.plain ? s.channels : s.seen_blocks;
    Plan *p = g_malloc0(sizeof *p + (gsize)(planes * s.window[0] * s.window[1]) * sizeof *p->at);
    p->s = s;
    p->kernels = &conv_blocked_kernels[cpu_isa];
    set_sizes(p);
    set_reads(p);
    set_chunks(p);
    prepared->state = p;
    prepared->scratch = p->copies ? (gsize)(s.images * p->x_image) * sizeof(float) : 0;
    return TRUE;
}

static const TnKernel kernels[] = {
    { .op = "conv_blocked",
      .dtypes = TN_DT(F32),
      .flags = TN_KERNEL_IN_PLACE, /* each number of more is read before its place is written */
      .claims = claims,
      .prepare = prepare,
      .run = run,
      .release = g_free },
};

const TnKernelTable cpu_conv_blocked = CPU_TABLE(kernels);
