/* conv_tiles_weight.c: gradients of convolutions' weights in tiles (conv_tiles.h): for each tap a product
 * of gradients and images over all places of all samples at which the tap is inside the image.
 *
 * A few places are read by all taps before the next ones, so that they stay in the first-level cache. Parts
 * of places, of a number that hangs on the sizes alone, have sums of their own, which are added in order. */
#include "conv_tiles.h"
#include "conv_tiles_kernels.h"
#include "tables.h"

#define CHUNKS 16
#define GROUP 16 /* places that all taps read before the next ones, at most */

typedef struct {
    TilesShape shape;
    gint64 rows, cols;       /* of y in a group of places */
    gint64 down, groups;     /* groups of rows of an image; of all pairs' images */
    gint64 parts, per_part;  /* of groups */
    gint64 x_bands, y_bands; /* parts in which a block of images is laid */
    gsize y_at, sums_at;     /* in scratch, behind x */
} Plan;

typedef struct {
    const Plan *plan;
    const guint16 *x, *y;
    guint16 *x_to, *y_to, *out;
    float *sums; /* [part][maps / 32][channels / 32][tap][32][32] */
} Job;

/* --- Images ----------------------------------------------------------------------------------- */

/* Part number `at` of images in blocks of 32 maps and in bands. */
static TilesImages
part_of(TilesImages images, gint64 blocks, gint64 bands, gint64 at)
{
    const gint64 each = cpu_parts(images.places, bands), band = at % bands;
    images.pair = at / bands / blocks;
    images.map_block = at / bands % blocks;
    images.first = MIN(images.places, band * each);
    images.end = MIN(images.places, (band + 1) * each);
    return images;
}

static TnStatus
lay_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const TilesShape *s = &plan->shape;
    const gint64 of_x = s->pairs * s->channel_blocks * plan->x_bands, at = (gint64)chunk;
    (void)n;
    if (at < of_x) {
        const TilesImages x =
            part_of((TilesImages){ job->x, s->blocks, s->channels, s->x_places, 0, 0, 0, 0 },
                    s->channel_blocks, plan->x_bands, at);
        const gint64 place = (x.pair * s->channel_blocks + x.map_block) * s->x_places + x.first;
        conv_tiles_lay_samples(&x, job->x_to + place * TILES_CELL);
    } else {
        const TilesImages y =
            part_of((TilesImages){ job->y, s->blocks, s->maps, s->y_places, 0, 0, 0, 0 },
                    s->map_blocks, plan->y_bands, at - of_x);
        const gint64 place = (y.pair * s->map_blocks + y.map_block) * s->y_places + y.first;
        conv_tiles_lay_rows(&y, job->y_to + place * TILES_CELL);
    }
    return TN_OK;
}

/* --- Products --------------------------------------------------------------------------------- */

/* The places of y in [first, end) at which a tap reads inside x. */
typedef struct {
    gint64 first, end;
} Range;

static Range
inside(const TilesAxis *a, gint64 tap, gint64 first, gint64 end)
{
    const gint64 at = tap * a->dilation - a->pad; /* read at place 0 */
    const gint64 low = at >= 0 ? 0 : (-at + a->stride - 1) / a->stride;
    const gint64 high = at >= a->x ? 0 : (a->x - 1 - at) / a->stride + 1;
    return (Range){ MAX(first, low), MIN(end, high) };
}

static gint64
list_of(const TilesShape *s, Range down, Range across, gint64 row_tap, gint64 col_tap,
        const guint16 *x, const guint16 *y, TilesPair *list)
{
    const TilesAxis *v = &s->axis[0], *h = &s->axis[1];
    gint64 n = 0;
    for (gint64 row = down.first; row < down.end; row++) {
        const gint64 x_row = row * v->stride + row_tap * v->dilation - v->pad;
        const gint64 x_col = col_tap * h->dilation - h->pad;
        for (gint64 col = across.first; col < across.end; col++) {
            list[n++] = (TilesPair){ y + (row * h->y + col) * TILES_CELL,
                                     x + (x_row * h->x + col * h->stride + x_col) * TILES_CELL };
        }
    }
    return n;
}

/* Adds what all taps make of a group of rows of a pair's images. */
static void
add_group(const Plan *plan, gint64 row0, const guint16 *x, const guint16 *y, float *sums)
{
    const TilesShape *s = &plan->shape;
    const TilesAxis *v = &s->axis[0], *h = &s->axis[1];
    const TilesKernels *kernels = conv_tiles_kernels();
    const gint64 row1 = MIN(v->y, row0 + plan->rows);
    TilesPair list[GROUP];
    for (gint64 col0 = 0; col0 < h->y; col0 += plan->cols) {
        for (gint64 tap = 0; tap < s->taps; tap++) {
            const gint64 row_tap = tap / h->kernel, col_tap = tap % h->kernel;
            const Range down = inside(v, row_tap, row0, row1);
            const Range across = inside(h, col_tap, col0, MIN(h->y, col0 + plan->cols));
            const gint64 n = list_of(s, down, across, row_tap, col_tap, x, y, list);
            if (n > 0) {
                kernels->list(n, list, 2, TRUE, sums + tap * TILES_SUMS);
            }
        }
    }
}

static TnStatus
part_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const TilesShape *s = &plan->shape;
    const Bf16Kernels *kernels = bf16_kernels();
    const gint64 blocks = s->map_blocks * s->channel_blocks, block = (gint64)chunk % blocks;
    const gint64 map = block / s->channel_blocks, channel = block % s->channel_blocks;
    const gint64 first = (gint64)chunk / blocks * plan->per_part;
    float *sums = job->sums + (gint64)chunk * s->taps * TILES_SUMS;
    (void)n;
    memset(sums, 0, (gsize)(s->taps * TILES_SUMS) * sizeof *sums);
    if (kernels->begin != NULL) {
        kernels->begin();
    }
    for (gint64 at = first; at < MIN(plan->groups, first + plan->per_part); at++) {
        const gint64 pair = at / plan->down;
        add_group(plan, at % plan->down * plan->rows,
                  job->x_to + (pair * s->channel_blocks + channel) * s->x_places * TILES_CELL,
                  job->y_to + (pair * s->map_blocks + map) * s->y_places * TILES_CELL, sums);
    }
    if (kernels->end != NULL) {
        kernels->end();
    }
    return TN_OK;
}

/* --- Sums ------------------------------------------------------------------------------------- */

/* A block's sums of all parts, [tap][map][channel], to where they belong, [map][channel][tap]. */
static TnStatus
put_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const TilesShape *s = &plan->shape;
    const gint64 map0 = (gint64)chunk / s->channel_blocks * BF16_BLOCK;
    const gint64 channel0 = (gint64)chunk % s->channel_blocks * BF16_BLOCK;
    const gint64 maps = MIN(BF16_BLOCK, s->maps - map0);
    const gint64 channels = MIN(BF16_BLOCK, s->channels - channel0), count = s->taps * TILES_SUMS;
    float line[BF16_BLOCK * TILES_TAPS], *sums = job->sums + (gint64)chunk * count;
    for (gint64 part = 1; part < plan->parts; part++) {
        const float *more = sums + part * (gint64)n * count;
        for (gint64 i = 0; i < count; i++) {
            sums[i] += more[i];
        }
    }
    for (gint64 m = 0; m < maps; m++) {
        for (gint64 tap = 0; tap < s->taps; tap++) {
            const float *from = sums + tap * TILES_SUMS + m * BF16_BLOCK;
            for (gint64 c = 0; c < channels; c++) {
                line[c * s->taps + tap] = from[c];
            }
        }
        bf16_kernels()->store(line, NULL, channels * s->taps,
                              job->out + ((map0 + m) * s->channels + channel0) * s->taps);
    }
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *plan = state;
    const TilesShape *s = &plan->shape;
    Job job = { .plan = plan,
                .x = run->in[0],
                .y = run->in[1],
                .x_to = run->scratch,
                .y_to = (void *)((char *)run->scratch + plan->y_at),
                .sums = (void *)((char *)run->scratch + plan->sums_at),
                .out = run->out[0] };
    const gint64 blocks = s->map_blocks * s->channel_blocks;
    const gint64 lays =
        s->pairs * (s->channel_blocks * plan->x_bands + s->map_blocks * plan->y_bands);
    TnStatus status = tn_parallel_for((gsize)lays, lay_chunk, &job);
    if (status == TN_OK) {
        status = tn_parallel_for((gsize)(plan->parts * blocks), part_chunk, &job);
    }
    return status == TN_OK ? tn_parallel_for((gsize)blocks, put_chunk, &job) : status;
}

/* --- Planning --------------------------------------------------------------------------------- */

static gboolean
claims(const TnNode *node)
{
    TilesShape shape;
    return node->in[1].type.dtype == TN_DTYPE_BF16 &&
           conv_tiles_shape(node, &node->in[0].type, &node->out[0].type, &node->in[1].type, &shape);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *plan = g_new0(Plan, 1);
    TilesShape *s = &plan->shape;
    const gint64 cell = TILES_CELL * sizeof(guint16);
    (void)error;
    conv_tiles_shape(node, &node->in[0].type, &node->out[0].type, &node->in[1].type, s);
    const gint64 blocks = s->map_blocks * s->channel_blocks, width = s->axis[1].y;
    plan->cols = cpu_parts(width, cpu_parts(width, GROUP));
    plan->rows = CLAMP(GROUP / plan->cols, 1, s->axis[0].y);
    plan->down = cpu_parts(s->axis[0].y, plan->rows);
    plan->groups = s->pairs * plan->down;
    plan->per_part = cpu_parts(plan->groups, CLAMP(CHUNKS / blocks, 1, plan->groups));
    plan->parts = cpu_parts(plan->groups, plan->per_part);
    plan->x_bands = CLAMP(CHUNKS / (s->pairs * s->channel_blocks), 1, s->x_places);
    plan->y_bands = CLAMP(CHUNKS / (s->pairs * s->map_blocks), 1, s->y_places);
    const gint64 x = cpu_times(cpu_times(s->pairs, s->channel_blocks), s->x_places);
    const gint64 y = cpu_times(cpu_times(s->pairs, s->map_blocks), s->y_places);
    const gint64 sums = cpu_times(cpu_times(plan->parts, blocks), s->taps);
    plan->y_at = conv_tiles_bytes(x, cell);
    plan->sums_at = plan->y_at + conv_tiles_bytes(y, cell);
    prepared->scratch = plan->sums_at + conv_tiles_bytes(sums, TILES_SUMS * sizeof(float));
    prepared->state = plan;
    return TRUE;
}

static const TnKernel kernels[] = {
    { .op = "conv_grad_weight",
      .dtypes = TN_DT(BF16),
      .flags = TN_KERNEL_LANES,
      .rank = 21,
      .claims = claims,
      .prepare = prepare,
      .run = run,
      .release = g_free },
};

const TnKernelTable cpu_conv_tiles_weight = CPU_TABLE(kernels);
