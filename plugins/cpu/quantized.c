/* quantized.c: quantized_conv: convolutions and products of matrices of 8-bit numbers, and what follows
 * them.
 *
 * What a place sees are rows of the window, pieces of memory as the channels lie last; sixteen places
 * are the rows of a tile, as far apart as places are in the image. So nothing is copied but images
 * with padding, to which the zero point is put around, and those of which a window of 1 sees only some
 * places. Where the steps are 1, all places of an image make one line, with a few beside it, in the
 * padding, that are computed and not stored.
 *
 * Sums are exact; chunks depend on the sizes alone. */
#include "cpu.h"
#include "quantized_kernels.h"
#include "tables.h"

#include <tenon/nn.h>

/* Multiplications that a chunk should have. */
#define GRAIN ((gint64)1 << 23)
#define MAX_ROWS 1024 /* of a window */
#define SLACK 64      /* bytes that a tile may read beyond the last place */
#define NEAR 24576    /* bytes of weights that stay in the nearest cache */
#define FETCHES 4     /* blocks of places that fetch weights for later */
#define BAND 16       /* blocks of places, at most */

enum { X, W, X_ZERO, OFFSET, SCALE, BIAS, MORE, MORE_SCALE, MORE_ZERO, Y_SCALE, Y_ZERO, N_IN };

typedef struct {
    gint64 images, channels, maps, map_blocks, window[2];
    gint64 x[2], y[2], pad[2], stride[2]; /* of the node */
    gint64 pick[2];                       /* every such place of x is copied */
    gint64 seen[2];                       /* sizes of images as they are read */
    gint64 step[2];                       /* between places in these */
    gboolean copies;
    gint64 lines, places; /* and how many places each has */
    gint64 row_places;    /* of a row of a line */
    gint64 image_places;  /* of a line's image; 0: lines are rows of y */
    gint64 blocks;        /* of places, of a line */
    gint64 bands, groups, pairs_per_group, pairs;
    gint64 near; /* pairs */
    gint64 copy_items, copies_per_chunk, copy_bytes;
    QuantizedReads reads;
    const QuantizedKernels *kernels;
    gboolean relu, has_more, more_narrow, narrow;
    gint64 at[];
} Plan;

typedef struct {
    const Plan *plan;
    const guint8 *given, *x; /* x: as it is read */
    const gint8 *w;
    guint8 *copy, *out, zero;
    const char *more;
    QuantizedFinish finish; /* of map 0 on */
} Job;

/* --- Copies ----------------------------------------------------------------------------------- */

/* Items are rows of all images as they are read. */
static TnStatus
copy_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = (gint64)chunk * p->copies_per_chunk;
    const gint64 end = MIN(p->copy_items, first + p->copies_per_chunk);
    const gint64 row = p->seen[1] * p->channels;
    (void)n;
    for (gint64 i = first; i < end; i++) {
        const gint64 image = i / p->seen[0], from = i % p->seen[0] * p->pick[0] - p->pad[0];
        guint8 *to = job->copy + i * row;
        if (from < 0 || from >= p->x[0]) {
            memset(to, job->zero, (gsize)row);
            continue;
        }
        const guint8 *x = job->given + (image * p->x[0] + from) * p->x[1] * p->channels;
        if (p->pick[1] > 1) {
            for (gint64 j = 0; j < p->seen[1]; j++) {
                memcpy(to + j * p->channels, x + j * p->pick[1] * p->channels, (gsize)p->channels);
            }
            continue;
        }
        const gint64 before = p->pad[1] * p->channels, inside = p->x[1] * p->channels;
        memset(to, job->zero, (gsize)before);
        memcpy(to + before, x, (gsize)inside);
        memset(to + before + inside, job->zero, (gsize)(row - before - inside));
    }
    return TN_OK;
}

/* --- Running ---------------------------------------------------------------------------------- */

/* How many places from place `at` of a line on are neighbours in the result as well, from number *to on,
 * or, negative, how many are none of it. */
static gint64
neighbours(const Plan *p, gint64 line, gint64 at, gint64 left, gint64 *to)
{
    if (p->image_places == p->y[0] * p->y[1] || p->image_places == 0) {
        *to = line * p->places + at;
        return left;
    }
    const gint64 image = at / p->image_places, rest = at % p->image_places;
    const gint64 row = rest / p->row_places, col = rest % p->row_places;
    const gboolean there = row < p->y[0] && col < p->y[1];
    *to = (image * p->y[0] + row) * p->y[1] + col;
    return there ? MIN(left, p->y[1] - col) : -MIN(left, p->row_places - col);
}

/* Where the line's first place is. */
static const guint8 *
line_of(const Job *job, gint64 line)
{
    const Plan *p = job->plan;
    const gint64 row = line / p->y[0] * p->seen[0] + line % p->y[0] * p->step[0];
    return job->x + (p->image_places > 0 ? 0 : row * p->seen[1] * p->channels);
}

/* What a thread is at. */
typedef struct {
    const Job *job;
    QuantizedRest rest;
    gint64 set;                     /* places that the tiles are set for */
    gint64 turns, blocks;           /* of blocks of places, of maps with them: so far */
    gint64 to[2][QUANTIZED_PLACES]; /* of the block of places and the one before */
    gint32 sums[2][QUANTIZED_PLACES * QUANTIZED_MAPS] __attribute__((aligned(64)));
} Turn;

/* Which places of the result those of a block are. */
static void
set_to(const Plan *p, gint64 line, gint64 first, gint64 places, gint64 *to)
{
    for (gint64 i = 0, n; i < places;) {
        gint64 place;
        n = neighbours(p, line, first + i, places - i, &place);
        for (gint64 end = i + ABS(n); i < end; i++) {
            to[i] = n > 0 ? place++ : -1;
        }
    }
}

static QuantizedRest
rest_of(const Job *job, const gint64 *to, gint64 places, gint64 pair, const gint32 *sums)
{
    const Plan *p = job->plan;
    const gint64 map = pair * QUANTIZED_MAPS;
    QuantizedRest rest = { .finish = job->finish,
                           .sums = sums,
                           .to = to,
                           .n = places,
                           .maps = MIN(QUANTIZED_MAPS, p->maps - map),
                           .apart = p->maps };
    rest.finish.offset += map;
    rest.finish.scale += map;
    rest.finish.bias += map;
    if (job->more != NULL) {
        rest.more = job->more + map * (p->more_narrow ? 1 : (gint64)sizeof(float));
    }
    rest.out = (char *)job->out + map * (p->narrow ? 1 : (gint64)sizeof(float));
    return rest;
}

/* Block b of places by pairs [first, last) of blocks of maps. Weights that come as far behind are
 * fetched with the first few blocks of places: so many lines with each tile, from line `skip` on. */
static void
run_block(Turn *turn, gint64 b, gint64 first, gint64 last, gint64 lines, gint64 skip)
{
    const Job *job = turn->job;
    const Plan *p = job->plan;
    const QuantizedKernels *kernels = p->kernels;
    const gint64 w_block = p->reads.n * p->reads.tiles * QUANTIZED_TILE;
    const gint64 line = b / p->blocks, place = b % p->blocks * QUANTIZED_PLACES;
    const gint64 places = MIN(QUANTIZED_PLACES, p->places - place);
    const guint8 *x = line_of(job, line) + place * p->reads.step;
    gint64 *to = turn->to[turn->turns++ % 2];
    if (kernels->begin != NULL && places != turn->set) {
        kernels->begin(places);
        turn->set = places;
    }
    set_to(p, line, place, places, to);
    for (gint64 pair = first; pair < last; pair++) {
        const gint8 *w = job->w + 2 * pair * w_block;
        const gboolean both = 2 * pair + 1 < p->map_blocks;
        const gint64 next = pair + last - first;
        const QuantizedFetch fetch = { w + 2 * (last - first) * w_block + skip * TN_ALIGN,
                                       next < p->pairs ? lines : 0 };
        gint32 *sums = turn->sums[turn->blocks++ % 2];
        if (!kernels->along) {
            kernels->finish(&turn->rest);
        }
        kernels->block(&p->reads, x, places, w, both ? w + w_block : NULL, fetch, &turn->rest,
                       sums);
        turn->rest = rest_of(job, to, places, pair, sums);
    }
}

/* Chunks are bands of blocks of places, of groups of pairs of blocks of maps, of which as many take turns
 * as stay near. */
static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 band = (gint64)chunk / p->groups, group = (gint64)chunk % p->groups;
    const gint64 blocks = p->lines * p->blocks;
    const gint64 begin = blocks * band / p->bands, end = blocks * (band + 1) / p->bands;
    const gint64 last = MIN(p->pairs, (group + 1) * p->pairs_per_group);
    const gint64 steps = p->reads.n * p->reads.tiles;
    const gint64 lines = cpu_parts(2 * QUANTIZED_TILE / TN_ALIGN, MIN(end - begin, FETCHES));
    Turn turn = { .job = job };
    (void)n;
    for (gint64 pair = group * p->pairs_per_group; pair < last; pair += p->near) {
        for (gint64 b = begin; b < end; b++) {
            const gint64 fetched = b - begin < FETCHES ? lines : 0;
            run_block(&turn, b, pair, MIN(last, pair + p->near), fetched,
                      (b - begin) * lines * steps);
        }
    }
    p->kernels->finish(&turn.rest);
    if (p->kernels->end != NULL && turn.set > 0) {
        p->kernels->end();
    }
    return TN_OK;
}

static QuantizedFinish
finish_of(const Plan *p, const TnRun *run)
{
    QuantizedFinish finish = { .offset = run->in[OFFSET],
                               .scale = run->in[SCALE],
                               .bias = run->in[BIAS],
                               .has_more = p->has_more,
                               .more_narrow = p->more_narrow,
                               .relu = p->relu,
                               .narrow = p->narrow };
    if (p->more_narrow) {
        finish.more_scale = *(const float *)run->in[MORE_SCALE];
        finish.more_zero = *(const guint8 *)run->in[MORE_ZERO];
    }
    if (p->narrow) {
        finish.y_inverse = 1 / *(const float *)run->in[Y_SCALE];
        finish.y_zero = *(const guint8 *)run->in[Y_ZERO];
    }
    return finish;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *p = state;
    Job job = { .plan = p,
                .given = run->in[X],
                .x = p->copies ? run->scratch : run->in[X],
                .w = run->in[W],
                .copy = run->scratch,
                .out = run->out[0],
                .zero = *(const guint8 *)run->in[X_ZERO],
                .more = p->has_more ? run->in[MORE] : NULL,
                .finish = finish_of(p, run) };
    if (p->copies) {
        /* What tiles read beyond the end is multiplied by 0. */
        memset(job.copy + p->copy_bytes, 0, SLACK);
        tn_parallel_for((gsize)cpu_parts(p->copy_items, p->copies_per_chunk), copy_chunk, &job);
    }
    return tn_parallel_for((gsize)(p->bands * p->groups), run_chunk, &job);
}

/* --- Planning --------------------------------------------------------------------------------- */

/* Axis i, of two, of the node's n; a missing first one is of size 1. */
static void
set_axis(Plan *p, const TnNode *node, gint i)
{
    const TnQuantizedConvAttrs *attrs = node->attrs;
    const gint n = attrs->window.kernel_shape.n, axis = i - (2 - n);
    const TnConvAttrs conv = { .strides = attrs->window.strides, .pads = attrs->window.pads };
    const TnConvAxis at = axis >= 0 ? tn_conv_axis(&conv, n, axis) : (TnConvAxis){ .stride = 1 };
    p->x[i] = axis >= 0 ? node->in[X].type.dims[1 + axis] : 1;
    p->y[i] = axis >= 0 ? node->out[0].type.dims[1 + axis] : 1;
    p->window[i] = axis >= 0 ? attrs->window.kernel_shape.v[axis] : 1;
    p->pad[i] = at.pad_begin;
    p->stride[i] = at.stride;
    p->seen[i] = p->x[i] + at.pad_begin + at.pad_end;
    p->pick[i] = 1;
    p->step[i] = at.stride;
}

/* Of a window of 1 in steps, only the places that it sees are copied. */
static void
set_sizes(Plan *p, const TnNode *node)
{
    const TnQuantizedConvAttrs *attrs = node->attrs;
    const gint n = attrs->window.kernel_shape.n;
    p->images = node->in[X].type.dims[0];
    p->channels = attrs->channels;
    p->maps = attrs->maps;
    for (gint i = 0; i < 2; i++) {
        set_axis(p, node, i);
    }
    const gboolean padded = p->seen[0] != p->x[0] || p->seen[1] != p->x[1];
    if (!padded && p->window[0] == 1 && p->window[1] == 1) {
        for (gint i = 0; i < 2; i++) {
            p->pick[i] = p->stride[i];
            p->seen[i] = p->y[i];
            p->step[i] = 1;
        }
    }
    p->copies = padded || p->pick[0] > 1 || p->pick[1] > 1 ||
                p->window[1] * p->channels % TN_QUANTIZED_DEEP != 0;
    p->reads.n = p->window[0];
    p->reads.tiles = cpu_parts(p->window[1] * p->channels, TN_QUANTIZED_DEEP);
    p->reads.step = p->step[1] * p->channels;
    p->reads.at = p->at;
    const gint64 gap = n == 2 && attrs->window.dilations.n > 0 ? attrs->window.dilations.v[0] : 1;
    for (gint64 i = 0; i < p->reads.n; i++) {
        p->at[i] = i * gap * p->seen[1] * p->channels;
    }
    p->copy_items = p->images * p->seen[0];
    p->copies_per_chunk = cpu_items_per_chunk(p->copy_items, p->seen[1] * p->channels);
    p->copy_bytes = p->copy_items * p->seen[1] * p->channels;
}

/* The last line's last place needs its whole window: lines end there. */
static void
set_lines(Plan *p)
{
    if (p->step[0] == 1 && p->step[1] == 1) {
        p->lines = 1;
        p->row_places = p->seen[1];
        p->image_places = p->seen[0] * p->seen[1];
        p->places = (p->images - 1) * p->image_places + (p->y[0] - 1) * p->row_places + p->y[1];
    } else {
        p->lines = p->images * p->y[0];
        p->places = p->y[1];
    }
    p->blocks = cpu_parts(p->places, QUANTIZED_PLACES);
}

static void
set_chunks(Plan *p)
{
    const gint64 blocks = p->lines * p->blocks;
    const gint64 work = QUANTIZED_PLACES * QUANTIZED_MAPS * p->reads.n * p->reads.tiles *
                        TN_QUANTIZED_DEEP; /* of a block and a pair */
    const gint64 per_chunk = CLAMP(GRAIN / work, 1, blocks * p->pairs);
    const gint64 bands = cpu_parts(blocks, BAND);
    p->bands = bands > 1 ? MIN(blocks, bands + bands % 2) : 1;
    p->pairs_per_group = CLAMP(per_chunk / cpu_parts(blocks, p->bands), 1, p->pairs);
    p->groups = cpu_parts(p->pairs, p->pairs_per_group);
    p->near =
        CLAMP(NEAR / (2 * p->reads.n * p->reads.tiles * QUANTIZED_TILE), 1, p->pairs_per_group);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnQuantizedConvAttrs *attrs = node->attrs;
    const TnInts *window = &attrs->window.kernel_shape;
    const gint64 rows = window->n == 2 ? window->v[0] : 1;
    (void)error;
    Plan *p = g_malloc0(sizeof *p + (gsize)rows * sizeof *p->at);
    p->kernels = quantized_kernels();
    p->map_blocks = node->in[W].type.dims[0];
    p->pairs = cpu_parts(p->map_blocks, 2);
    p->relu = attrs->relu;
    p->has_more = node->n_in > MORE && node->in[MORE].type.dtype != TN_DTYPE_NONE;
    p->more_narrow = p->has_more && node->in[MORE].type.dtype == TN_DTYPE_U8;
    p->narrow = node->out[0].type.dtype == TN_DTYPE_U8;
    set_sizes(p, node);
    set_lines(p);
    set_chunks(p);
    prepared->state = p;
    prepared->scratch = p->copies ? (gsize)p->copy_bytes + SLACK : 0;
    return TRUE;
}

/* Sizes with padding can be beyond what numbers hold. */
static gboolean
claims(const TnNode *node)
{
    const TnQuantizedConvAttrs *attrs = node->attrs;
    const TnWindowAttrs *window = &attrs->window;
    const gint n = window->kernel_shape.n;
    gint64 padded = cpu_times(node->in[X].type.dims[0], attrs->channels);
    if (n > 2 || node->out[0].count == 0 || (n == 2 && window->kernel_shape.v[0] > MAX_ROWS)) {
        return FALSE;
    }
    for (gint i = 0; i < n; i++) {
        const TnConvAttrs conv = { .pads = window->pads };
        const TnConvAxis axis = tn_conv_axis(&conv, n, i);
        const gint64 size = MIN(node->in[X].type.dims[1 + i], G_MAXINT32);
        padded = cpu_times(padded, size + axis.pad_begin + axis.pad_end);
    }
    return padded < G_MAXINT64 / 4096 && node->out[0].count < G_MAXINT64 / 4096 &&
           node->in[W].count < G_MAXINT32;
}

static const TnKernel kernels[] = {
    { .op = "quantized_conv",
      .dtypes = TN_DT(U8),
      .flags = TN_KERNEL_IN_PLACE, /* each number of more is read before its place is written */
      .claims = claims,
      .prepare = prepare,
      .run = run,
      .release = g_free },
};

const TnKernelTable cpu_quantized = CPU_TABLE(kernels);
