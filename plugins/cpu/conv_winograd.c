/* conv_winograd.c: convolutions of 3 x 3 over blocks of channels by Winograd's algorithm F (4 x 4,
 * 3 x 3): 36 products for 16 places instead of 144, in 36 independent products of matrices, [tiles,
 * channels] by [channels, maps], which are those of a convolution of 1 x 1 (conv_blocked_kernels.h).
 * Results differ from exact ones by up to some 1e-5 of the largest; what is not finite spreads over a tile.
 *
 * Some images at a time are transformed; then each chunk, some blocks of maps and some rows of tiles,
 * multiplies and transforms back, in memory of its own that stays in the cache. Chunks depend on the
 * sizes alone, and nothing is summed over them. */
#include "conv_blocked_kernels.h"
#include "conv_winograd_tiles.h"
#include "cpu.h"
#include "tables.h"

#include <tenon/nn.h>

#define L TN_LANES
#define ALL WINOGRAD_ALL
/* Multiplications that a chunk should have, blocks of maps, and bytes of transformed images at once. */
#define GRAIN (1 << 21)
#define GROUP 2
#define ROUND_BYTES (8 << 20)
/* Windows have four times as many numbers as before: they must meet many tiles, of channels that make
 * the transforms cheap. */
#define FEWEST_BLOCKS 2
#define FEWEST_TILES 32

typedef struct {
    gint64 images, blocks_in, blocks_out, x[2], y[2], pad[2];
    gint64 tiles[2], all_tiles;          /* of an image */
    gint64 groups, bands, rows_per_band; /* chunks of an image */
    gint64 round, rows_per_chunk;        /* images at once; rows of tiles transformed in a chunk */
    gint64 image, chunk;                 /* floats of an image and of a chunk, transformed */
    const BlockedKernels *kernels;
    const WinogradTiles *transform;
    gint n_in;
    gboolean relu;
    BlockedPiece at[]; /* blocks of channels in a transformed image */
} Plan;

typedef struct {
    const Plan *plan;
    const float *x, *u, *bias, *more;
    float *seen, *products, *out; /* transformed images; products of a chunk */
    gint64 first, images;         /* of this round */
} Job;

/* Rows of tiles of all blocks of the round's images. */
static TnStatus
transform_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 all = job->images * p->blocks_in * p->tiles[0];
    const gint64 first = (gint64)chunk * p->rows_per_chunk;
    const gint64 end = MIN(all, first + p->rows_per_chunk);
    (void)n;
    for (gint64 r = first; r < end; r++) {
        const gint64 row = r % p->tiles[0], plane = r / p->tiles[0];
        const gint64 image = plane / p->blocks_in, block = plane % p->blocks_in;
        const float *x = job->x + (job->first * p->blocks_in + plane) * p->x[0] * p->x[1] * L;
        float *to = job->seen + image * p->image + (block * p->all_tiles + row * p->tiles[1]) * L;
        WinogradPlace place = { { p->x[0], p->x[1] }, row * WINOGRAD_OUT - p->pad[0], -p->pad[1] };
        for (gint64 j = 0; j < p->tiles[1]; j++) {
            p->transform->in(x, &place, to + j * L, p->blocks_in * p->all_tiles * L);
            place.column += WINOGRAD_OUT;
        }
    }
    return TN_OK;
}

/* The products of some tiles with n blocks of maps. */
static void
multiply(const Plan *p, const float *seen, const float *u, gint64 n, gint64 tiles, float *to)
{
    const BlockedReads reads = { .pieces = p->blocks_in,
                                 .length = L,
                                 .at = p->at,
                                 .step = L,
                                 .w_block = p->blocks_in * L * L,
                                 .out_block = tiles * L };
    const gint64 at_once = p->kernels->places[n] > 0 ? n : 1;
    for (gint64 k = 0; k < ALL; k++) {
        const float *x = seen + k * p->blocks_in * p->all_tiles * L;
        for (gint64 b = 0; b < n; b += at_once) {
            conv_blocked_line(p->kernels, BLOCKED_NEXT, &reads, at_once, tiles, x,
                              u + (k * p->blocks_out + b) * reads.w_block, NULL, NULL, FALSE,
                              to + (k * n + b) * tiles * L);
        }
    }
}

static TnStatus
multiply_chunk(gpointer data, gsize chunk, gsize n_chunks)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 band = (gint64)chunk % p->bands, group = (gint64)chunk / p->bands % p->groups;
    const gint64 image = (gint64)chunk / p->bands / p->groups, block = group * GROUP;
    const gint64 first = MIN(p->tiles[0], band * p->rows_per_band);
    const gint64 end = MIN(p->tiles[0], first + p->rows_per_band);
    const gint64 tiles = (end - first) * p->tiles[1], n = MIN(GROUP, p->blocks_out - block);
    const gint64 plane = p->y[0] * p->y[1] * L;
    float *products = job->products + (gint64)chunk * p->chunk;
    (void)n_chunks;
    multiply(p, job->seen + image * p->image + first * p->tiles[1] * L,
             job->u + block * p->blocks_in * L * L, n, tiles, products);
    for (gint64 b = 0; b < n; b++) {
        const gint64 at = ((job->first + image) * p->blocks_out + block + b) * plane;
        for (gint64 t = 0; t < tiles; t++) {
            const WinogradPlace place = { { p->y[0], p->y[1] },
                                          (first + t / p->tiles[1]) * WINOGRAD_OUT,
                                          t % p->tiles[1] * WINOGRAD_OUT };
            p->transform->out(products + (b * tiles + t) * L, n * tiles * L, &place,
                              job->bias != NULL ? job->bias + (block + b) * L : NULL,
                              job->more != NULL ? job->more + at : NULL, p->relu, job->out + at);
        }
    }
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *p = state;
    TnStatus status = TN_OK;
    Job job = { .plan = p,
                .x = run->in[0],
                .u = run->in[1],
                .bias = p->n_in > 2 ? run->in[2] : NULL,
                .more = p->n_in > 3 ? run->in[3] : NULL,
                .seen = run->scratch,
                .products = (float *)run->scratch + p->round * p->image,
                .out = run->out[0] };
    for (; job.first < p->images && status == TN_OK; job.first += p->round) {
        job.images = MIN(p->round, p->images - job.first);
        const gint64 rows = job.images * p->blocks_in * p->tiles[0];
        status = tn_parallel_for((gsize)((rows + p->rows_per_chunk - 1) / p->rows_per_chunk),
                                 transform_chunk, &job);
        if (status == TN_OK) {
            status =
                tn_parallel_for((gsize)(job.images * p->groups * p->bands), multiply_chunk, &job);
        }
    }
    return status;
}

/* --- Planning --------------------------------------------------------------------------------- */

static void
set_sizes(Plan *p, const TnConvAttrs *attrs, const TnType *x, const TnType *y)
{
    p->images = x->dims[0];
    p->blocks_in = x->dims[1];
    p->blocks_out = y->dims[1];
    p->all_tiles = 1;
    for (gint i = 0; i < 2; i++) {
        p->x[i] = x->dims[2 + i];
        p->y[i] = y->dims[2 + i];
        p->pad[i] = tn_conv_axis(attrs, 2, i).pad_begin;
        p->tiles[i] = cpu_parts(p->y[i], WINOGRAD_OUT);
        p->all_tiles *= p->tiles[i];
    }
}

static gboolean
claims(const TnNode *node)
{
    const TnConvBlockedAttrs *attrs = node->attrs;
    Plan p;
    set_sizes(&p, &attrs->conv, &node->in[0].type, &node->out[0].type);
    return node->in[0].count > 0 && p.all_tiles >= FEWEST_TILES &&
           MIN(p.blocks_in, p.blocks_out) >= FEWEST_BLOCKS;
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnConvBlockedAttrs *attrs = node->attrs;
    const gint64 blocks = node->in[0].type.dims[1];
    (void)error;
    Plan *p = g_malloc0(sizeof *p + (gsize)blocks * sizeof *p->at);
    set_sizes(p, &attrs->conv, &node->in[0].type, &node->out[0].type);
    p->kernels = &conv_blocked_kernels[cpu_isa];
    p->transform = &winograd_tiles[cpu_isa];
    p->n_in = node->n_in;
    p->relu = attrs->relu;
    for (gint64 b = 0; b < blocks; b++) {
        p->at[b] = (BlockedPiece){ b * p->all_tiles * L, b * L * L };
    }
    p->groups = (p->blocks_out + GROUP - 1) / GROUP;
    const gint64 work = ALL * p->all_tiles * blocks * L * GROUP * L;
    const gint64 bands = CLAMP(work / GRAIN, 1, p->tiles[0]);
    p->rows_per_band = (p->tiles[0] + bands - 1) / bands;
    p->bands = (p->tiles[0] + p->rows_per_band - 1) / p->rows_per_band;
    p->image = ALL * blocks * p->all_tiles * L;
    p->chunk = ALL * GROUP * p->rows_per_band * p->tiles[1] * L;
    const gint64 bytes = (p->image + p->groups * p->bands * p->chunk) * (gint64)sizeof(float);
    p->round = CLAMP(ROUND_BYTES / bytes, 1, p->images);
    p->rows_per_chunk =
        cpu_items_per_chunk(p->round * blocks * p->tiles[0], p->tiles[1] * 2 * ALL * L);
    prepared->state = p;
    prepared->scratch = (gsize)(p->round * bytes);
    return TRUE;
}

static const TnKernel kernels[] = {
    { .op = "conv_winograd",
      .dtypes = TN_DT(F32),
      .flags = TN_KERNEL_IN_PLACE, /* each number of more is read before its place is written */
      .claims = claims,
      .prepare = prepare,
      .run = run,
      .release = g_free },
};

const TnKernelTable cpu_conv_winograd = CPU_TABLE(kernels);
