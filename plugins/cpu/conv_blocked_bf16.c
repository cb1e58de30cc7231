/* conv_blocked_bf16.c: convolutions of images of bf16 in blocks of 32 channels (conv_blocked), windows in
 * pairs. What sixteen neighbouring places see of a block at one place of the window is a tile as the
 * processor multiplies them, right where it lies. Padding is copied first, with the zeros around; where
 * channels are not in blocks, what each place sees of a row of the window is put beside each other.
 *
 * A line is places that see memory at equal distances: of images without padding and steps all places,
 * else of padded ones all as well, with some between rows that are nobody's and are dropped, or the
 * places of a row. Sums run over blocks, rows, columns and channels in order, whatever chunk a place
 * belongs to; chunks are some blocks of channels out and some pairs of tiles, and depend on the sizes
 * alone. (Georganas et al., "Harnessing deep learning via a single building block", IPDPS 2020.) */
#include "conv_bf16_kernels.h"
#include "cpu.h"
#include "tables.h"

#include <tenon/nn.h>

#define L CONV_BF16_L
#define ROWS CONV_BF16_ROWS
/* Multiplications that a chunk should have: of the first few, and of more. */
#define GRAIN (1 << 21)
#define FEW 4
#define LARGE_GRAIN (1 << 24)
#define MOST 64
/* Steps whose weights stay in the nearest cache, at most, and pairs of tiles that take them in turn. */
#define PART 10
#define AT_ONCE 4

typedef struct {
    gint64 images, blocks_in, blocks_out;
    gint64 seen_blocks, made_blocks; /* of a group of channels that does not meet the others */
    gint64 x[2], padded[2], y[2], pad[2], stride[2];
    gint64 channels, columns,
        across;             /* if plain: of x; of the window, and the distance between them */
    gint64 deep;            /* if plain: steps of a row of the window */
    gboolean plain, copies; /* plain: x is [N, C, h, w] */
    /* Where a window takes steps, places a step apart are put beside each other: a plane for each
     * that the first of them can be, as many as are seen, and the size of one. */
    gint64 parts[2], seen_parts[2], part_size[2];
    gint64 lines, length; /* of an image */
    gint64 line, pitch; /* numbers of x from a line to the next; places of a line to a row's next */
    gint rows;          /* of a tile */
    gint64 line_tiles, tiles; /* of a line, of all images */
    gint64 groups, bands;     /* chunks: of blocks out, of tiles */
    gint64 copy_items, copies_per_chunk;
    gint64 x_block, x_image, copy_row; /* numbers, as they are read */
    gint64 line_numbers;               /* if plain: of a padded row, and what is read beyond it */
    gsize weights_at, turned_at;       /* in scratch, if plain */
    ConvBf16Reads reads;
    gint64 part; /* steps that all pairs take before the next */
    const ConvBf16Kernels *kernels;
    gint n_in;
    gboolean relu, wide;
    gint64 size;  /* of a number of the result */
    gint64 *from; /* for each tile, where its first place is in x */
    gint32 *to;   /* for each place of a tile, which of the result it is */
    gint64 at[];
} Plan;

typedef struct {
    const Plan *plan;
    const guint16 *given, *x, *w, *bias, *more; /* x, w: as they are read */
    guint16 *copy, *turned;                     /* turned: a row for each chunk of copies */
    char *out;
} Job;

/* --- Copies ----------------------------------------------------------------------------------- */

/* Of a row of an image with the zeros around it, every so-manieth place from one of the first on. x: NULL:
 * all zeros. */
static void
pad_row(const Plan *p, const guint16 *x, gint64 from, guint16 *to)
{
    const gint64 inside = p->x[1] * L, begin = p->pad[1] * L;
    if (x == NULL) {
        memset(to, 0, (gsize)p->copy_row * sizeof *to);
    } else if (p->parts[1] == 1) {
        memset(to, 0, (gsize)begin * sizeof *to);
        memcpy(to + begin, x, (gsize)inside * sizeof *to);
        memset(to + begin + inside, 0, (gsize)(p->copy_row - begin - inside) * sizeof *to);
    } else {
        for (gint64 j = 0, at = from - p->pad[1]; j < p->part_size[1]; j++, at += p->parts[1]) {
            if (at >= 0 && at < p->x[1]) {
                memcpy(to + j * L, x + at * L, L * sizeof *to);
            } else {
                memset(to + j * L, 0, L * sizeof *to);
            }
        }
    }
}

/* A row of an image [C, h, w] as [w, C]; channels: p's, known to the compiler where that is common. */
static CPU_INLINE void
turn_row(const Plan *p, const guint16 *x, gint64 channels, guint16 *to)
{
    const gint64 plane = p->x[0] * p->x[1];
    CPU_LOOP
    for (gint64 j = 0; j < p->x[1]; j++) {
        for (gint64 c = 0; c < channels; c++) {
            to[j * channels + c] = x[c * plane + j];
        }
    }
}

/* Of such a row with the zeros around it, for each place along it what its window sees, and zeros up to
 * whole steps. */
static CPU_INLINE void
spread_body(const Plan *p, const guint16 *x, guint16 *line, guint16 *to)
{
    const gint64 seen = p->columns * p->channels, step = p->stride[1] * p->channels;
    memset(line, 0, (gsize)p->line_numbers * sizeof *line);
    if (p->channels == 3) {
        turn_row(p, x, 3, line + p->pad[1] * 3);
    } else {
        turn_row(p, x, p->channels, line + p->pad[1] * p->channels);
    }
    for (gint64 j = 0; j < p->y[1]; j++, line += step) {
        for (gint64 d = 0; d < p->deep; d++, to += L) {
            guint16 part[L];
            memcpy(part, line + d * L, sizeof part);
            for (gint i = 0; i < L; i++) {
                part[i] = d * L + i < seen ? part[i] : 0;
            }
            memcpy(to, part, sizeof part);
        }
    }
}

typedef void (*SpreadFn)(const Plan *p, const guint16 *x, guint16 *line, guint16 *to);
CPU_VERSIONS(spread, SpreadFn, (const Plan *p, const guint16 *x, guint16 *line, guint16 *to),
             (p, x, line, to))

/* Items are the rows of all images and blocks, as they are read. */
static TnStatus
copy_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = (gint64)chunk * p->copies_per_chunk;
    const gint64 end = MIN(p->copy_items, first + p->copies_per_chunk);
    (void)n;
    for (gint64 i = first; i < end; i++) {
        const gint64 part = i / p->part_size[0], plane = part / p->seen_parts[0];
        const gint64 row = i % p->part_size[0] * p->parts[0] + part % p->seen_parts[0] - p->pad[0];
        const gboolean inside = row >= 0 && row < p->x[0];
        if (p->plain) {
            guint16 *to = job->copy + i * p->copy_row;
            guint16 *line = job->turned + (gint64)chunk * p->line_numbers;
            if (inside) {
                spread[cpu_isa](p, job->given + (plane * p->channels * p->x[0] + row) * p->x[1],
                                line, to);
            } else {
                memset(to, 0, (gsize)p->copy_row * sizeof *to);
            }
            continue;
        }
        const guint16 *x = inside ? job->given + (plane * p->x[0] + row) * p->x[1] * L : NULL;
        for (gint64 j = 0; j < p->seen_parts[1]; j++) {
            const gint64 at = (part * p->seen_parts[1] + j) * p->part_size[0];
            pad_row(p, x, j, job->copy + (at + i % p->part_size[0]) * p->copy_row);
        }
    }
    return TN_OK;
}

/* Windows [M / L, k, k C, L, 1] in pairs, zeros behind each row. */
static void
pair_weights(const Plan *p, const guint16 *w, guint16 *to)
{
    const gint64 seen = p->columns * p->channels, rows = p->reads.steps / p->deep;
    memset(to, 0, (gsize)(p->blocks_out * p->reads.steps * CONV_BF16_WEIGHTS) * sizeof *to);
    for (gint64 r = 0; r < p->blocks_out * rows; r++, to += p->deep * CONV_BF16_WEIGHTS) {
        for (gint64 k = 0; k < seen; k++, w += L) {
            for (gint64 m = 0; m < L; m++) {
                to[(k / 2 * L + m) * 2 + k % 2] = w[m];
            }
        }
    }
}

/* --- Running ---------------------------------------------------------------------------------- */

/* What a thread is at: pairs of tiles [first, last) of one block out. */
typedef struct {
    const Job *job;
    gint64 first, last, block;
    float bias[2][L]; /* of the block and the one before */
    ConvBf16Rest rest;
    float sums[AT_ONCE + 1][CONV_BF16_SUMS] __attribute__((aligned(64)));
} Turn;

/* Steps [from, to) of a pair of tiles. */
static void
run_pair(Turn *turn, gint64 pair, gint64 from, gint64 to, ConvBf16Fetch fetch)
{
    const Job *job = turn->job;
    const Plan *p = job->plan;
    const gint64 seen = turn->block / p->made_blocks * p->seen_blocks * p->x_block;
    const guint16 *w = job->w + (turn->block * p->reads.steps + from) * CONV_BF16_WEIGHTS;
    const ConvBf16Reads reads = { p->reads.at + from, to - from, p->reads.apart };
    const gint64 *tiles = p->from + 2 * pair;
    const gboolean both = 2 * pair + 1 < p->tiles;
    const guint16 *x[2] = { job->x + tiles[0] + seen, both ? job->x + tiles[1] + seen : NULL };
    float *sums = turn->sums[pair % (AT_ONCE + 1)];
    p->kernels->block(&reads, x, p->rows, w, from == 0, fetch, &turn->rest, sums);
    turn->rest.n = 0;
    if (to == p->reads.steps) {
        const gint64 at = turn->block * p->y[0] * p->y[1] * L;
        turn->rest = (ConvBf16Rest){ .sums = sums,
                                     .bias = job->bias != NULL ? turn->bias[turn->block % 2] : NULL,
                                     .more = job->more != NULL ? job->more + at : NULL,
                                     .out = job->out + at * p->size,
                                     .to = p->to + 2 * pair * p->rows,
                                     .n = both ? 2 * p->rows : p->rows,
                                     .relu = p->relu,
                                     .wide = p->wide };
    }
}

/* One block out, some pairs at a time: while all of them take a part of the steps, its weights stay near.
 * Those of the next part are fetched where they were not read before. */
static void
run_block(Turn *turn)
{
    const Plan *p = turn->job->plan;
    const guint16 *w = turn->job->w + turn->block * p->reads.steps * CONV_BF16_WEIGHTS;
    for (gint64 pair = turn->first; pair < turn->last; pair += AT_ONCE) {
        const gint64 pairs = MIN(AT_ONCE, turn->last - pair);
        const gint64 lines = cpu_parts(p->part * (CONV_BF16_WEIGHTS / L), pairs);
        for (gint64 s = 0; s < p->reads.steps; s += p->part) {
            const gint64 end = MIN(p->reads.steps, s + p->part);
            for (gint64 i = 0; i < pairs; i++) {
                ConvBf16Fetch fetch = { NULL, 0 };
                if (pair == turn->first) {
                    fetch.from = w + end * CONV_BF16_WEIGHTS + i * lines * L;
                    fetch.lines = (gint)cpu_parts(lines, end - s);
                }
                run_pair(turn, pair + i, s, end, fetch);
            }
        }
    }
}

/* The band that is begun at position `order`: with two threads, which mostly take turns, one does the
 * first half and the other the second, with four a quarter each, as of the images before and after. */
static gint64
band_at(const Plan *p, gint64 order)
{
    gint64 band = 0;
    if ((p->bands & (p->bands - 1)) != 0) {
        return order;
    }
    for (gint64 bit = p->bands; bit > 1; bit /= 2, order /= 2) {
        band = band * 2 + order % 2;
    }
    return band;
}

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n_chunks)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 band = band_at(p, (gint64)chunk % p->bands), group = (gint64)chunk / p->bands;
    const gint64 pairs = cpu_parts(p->tiles, 2);
    const gint64 first_block = p->blocks_out * group / p->groups;
    const gint64 last_block = p->blocks_out * (group + 1) / p->groups;
    Turn turn = { .job = job,
                  .first = pairs * band / p->bands,
                  .last = pairs * (band + 1) / p->bands };
    (void)n_chunks;
    if (p->kernels->begin != NULL) {
        p->kernels->begin(p->rows);
    }
    for (turn.block = first_block; turn.block < last_block; turn.block++) {
        if (job->bias != NULL) {
            tn_dtype_convert(TN_DTYPE_F32, turn.bias[turn.block % 2], 1, TN_DTYPE_BF16,
                             job->bias + turn.block * L, 1, L);
        }
        run_block(&turn);
    }
    p->kernels->finish(&turn.rest);
    if (p->kernels->end != NULL) {
        p->kernels->end();
    }
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *p = state;
    guint16 *weights = (void *)((char *)run->scratch + p->weights_at);
    Job job = { .plan = p,
                .given = run->in[0],
                .x = p->copies ? run->scratch : run->in[0],
                .w = p->plain ? weights : run->in[1],
                .bias = p->n_in > 2 ? run->in[2] : NULL,
                .more = p->n_in > 3 ? run->in[3] : NULL,
                .copy = run->scratch,
                .turned = (void *)((char *)run->scratch + p->turned_at),
                .out = run->out[0] };
    if (p->plain) {
        pair_weights(p, run->in[1], weights);
    }
    if (p->copies) {
        const TnStatus status =
            tn_parallel_for((gsize)cpu_parts(p->copy_items, p->copies_per_chunk), copy_chunk, &job);
        if (status != TN_OK) {
            return status;
        }
    }
    return tn_parallel_for((gsize)(p->groups * p->bands), run_chunk, &job);
}

/* --- Planning --------------------------------------------------------------------------------- */

static gboolean
claims(const TnNode *node)
{
    const TnConvBlockedAttrs *attrs = node->attrs;
    const TnType *x = &node->in[0].type, *w = &node->in[1].type;
    const gboolean easy = attrs->conv.group == 1 && tn_conv_axis(&attrs->conv, 2, 1).dilation == 1;
    return w->rank == x->rank + 2 && (easy || x->rank == 5) && node->in[0].count > 0 &&
           node->in[1].count > 0 && node->out[0].count > 0;
}

/* In parts if the places of an image then make fewer tiles. */
static void
set_parts(Plan *p, const TnConvAttrs *attrs, const gint64 *window)
{
    const gint64 pitch = cpu_parts(p->padded[1], p->stride[1]);
    const gint64 whole = cpu_parts((p->y[0] - 1) * pitch + p->y[1], ROWS);
    const gboolean steps = p->stride[0] > 1 || p->stride[1] > 1;
    const gboolean fewer = steps && !p->plain && whole < p->y[0] * cpu_parts(p->y[1], ROWS);
    for (gint i = 0; i < 2; i++) {
        const gint64 seen = (window[i] - 1) * tn_conv_axis(attrs, 2, i).dilation + 1;
        p->parts[i] = fewer ? p->stride[i] : 1;
        p->seen_parts[i] = MIN(p->parts[i], seen);
        p->part_size[i] = cpu_parts(p->padded[i], p->parts[i]);
        p->stride[i] /= p->parts[i];
    }
    p->copies = p->copies || fewer;
}

static void
set_sizes(Plan *p, const TnConvAttrs *attrs, const TnType *x, const TnType *w, const TnType *y)
{
    const gint64 *window = w->dims + (x->rank == 4 ? 1 : 2);
    p->plain = x->rank == 4;
    p->images = x->dims[0];
    p->channels = p->plain ? x->dims[1] : L;
    p->blocks_in = p->plain ? 1 : x->dims[1];
    p->blocks_out = y->dims[1];
    p->seen_blocks = p->blocks_in / attrs->group;
    p->made_blocks = p->blocks_out / attrs->group;
    p->copies = p->plain;
    for (gint i = 0; i < 2; i++) {
        const TnConvAxis axis = tn_conv_axis(attrs, 2, i);
        p->x[i] = x->dims[2 + i];
        p->y[i] = y->dims[2 + i];
        p->pad[i] = axis.pad_begin;
        p->stride[i] = axis.stride;
        p->padded[i] = p->x[i] + axis.pad_begin + axis.pad_end;
        p->copies = p->copies || p->padded[i] != p->x[i];
    }
    set_parts(p, attrs, window);
    p->columns = window[1];
    p->across = tn_conv_axis(attrs, 2, 1).dilation;
    p->deep = p->plain ? cpu_parts(p->columns * p->channels, L) : 1;
    p->line_numbers = p->padded[1] * p->channels + p->deep * L;
    p->copy_row = p->plain ? p->y[1] * p->deep * L : p->part_size[1] * L;
    p->x_block = p->seen_parts[0] * p->seen_parts[1] * p->part_size[0] * p->copy_row;
    p->x_image = p->blocks_in * p->x_block;
}

/* Steps in the order of the weights. */
static void
set_reads(Plan *p, const TnConvAttrs *attrs, gint64 rows)
{
    const gint64 down = tn_conv_axis(attrs, 2, 0).dilation;
    const gint64 columns = p->plain ? p->deep : p->columns;
    ConvBf16Reads *r = &p->reads;
    r->at = p->at;
    r->apart = p->plain ? p->deep * L : p->stride[1] * L;
    for (gint64 b = 0; b < p->seen_blocks; b++) {
        for (gint64 i = 0; i < rows; i++) {
            for (gint64 j = 0; j < columns; j++) {
                const gint64 y = i * down, x = j * (p->plain ? 1 : p->across);
                const gint64 part = y % p->parts[0] * p->seen_parts[1] + x % p->parts[1];
                p->at[r->steps++] = b * p->x_block +
                                    (part * p->part_size[0] + y / p->parts[0]) * p->copy_row +
                                    x / p->parts[1] * L;
            }
        }
    }
}

/* One line an image where places follow each other and that makes fewer tiles. */
static void
set_lines(Plan *p)
{
    const gint64 row = p->plain ? p->y[1] : p->part_size[1];
    const gint64 whole = (p->y[0] - 1) * row + p->y[1];
    p->lines = p->y[0];
    p->length = p->y[1];
    p->line = p->stride[0] * p->copy_row;
    p->pitch = row;
    if (p->stride[0] == 1 && (p->plain || p->stride[1] == 1) &&
        cpu_parts(whole, ROWS) <= p->lines * cpu_parts(p->length, ROWS)) {
        p->lines = 1;
        p->length = whole;
    }
    p->line_tiles = cpu_parts(p->length, ROWS);
    p->rows = (gint)cpu_parts(p->length, p->line_tiles);
    p->tiles = p->images * p->lines * p->line_tiles;
}

/* The last tile of a line begins earlier where places are missing, and leaves those to the one before. */
static void
set_tiles(Plan *p)
{
    gint32 *to = p->to = g_new(gint32, (gsize)p->tiles * (gsize)p->rows);
    p->from = g_new(gint64, (gsize)p->tiles);
    for (gint64 tile = 0; tile < p->tiles; tile++) {
        const gint64 at = tile / p->line_tiles, image = at / p->lines, line = at % p->lines;
        const gint64 begin = tile % p->line_tiles * p->rows;
        const gint64 first = MIN(begin, p->length - p->rows);
        p->from[tile] = image * p->x_image + line * p->line + first * p->reads.apart;
        for (gint64 place = first; place < first + p->rows; place++) {
            const gint64 row = line + place / p->pitch, column = place % p->pitch;
            const gboolean own = place >= begin && column < p->y[1];
            *to++ = own ? (gint32)((image * p->blocks_out * p->y[0] + row) * p->y[1] + column) : -1;
        }
    }
}

/* Bands read all weights each, groups all of the images: so many of both that least is read. */
static void
set_chunks(Plan *p)
{
    const gint64 pairs = cpu_parts(p->tiles, 2);
    const gint64 weights = p->blocks_out * p->reads.steps * CONV_BF16_WEIGHTS;
    const gint64 work = cpu_times(pairs * 2 * ROWS, weights);
    const gint64 images = p->images * p->x_image;
    gint64 chunks = 1, least = G_MAXINT64;
    while (chunks < MOST && chunks * 2 <= work / (chunks < FEW ? GRAIN : LARGE_GRAIN)) {
        chunks *= 2;
    }
    p->groups = p->bands = 1;
    for (gint64 groups = 1; groups <= MIN(chunks, p->blocks_out); groups *= 2) {
        const gint64 bands = MIN(chunks / groups, pairs);
        const gint64 read = bands * weights + groups * images;
        if ((read < least && bands * groups >= MIN(chunks, FEW)) || groups == 1) {
            p->groups = groups;
            p->bands = bands;
            least = read;
        }
    }
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnConvBlockedAttrs *attrs = node->attrs;
    const TnType *x = &node->in[0].type, *w = &node->in[1].type;
    const gint64 *window = w->dims + (x->rank == 4 ? 1 : 2);
    const gint64 blocks = x->rank == 4 ? 1 : x->dims[1];
    const gint64 columns = x->rank == 4 ? cpu_parts(window[1] * x->dims[1], L) : window[1];
    (void)error;
    Plan *p = g_malloc0(sizeof *p + (gsize)(blocks * window[0] * columns) * sizeof *p->at);
    p->kernels = conv_bf16_kernels();
    p->n_in = node->n_in;
    p->relu = attrs->relu;
    p->wide = node->out[0].type.dtype == TN_DTYPE_F32;
    p->size = p->wide ? sizeof(float) : sizeof(guint16);
    set_sizes(p, &attrs->conv, x, w, &node->out[0].type);
    set_reads(p, &attrs->conv, window[0]);
    p->part = cpu_parts(p->reads.steps, cpu_parts(p->reads.steps, PART));
    set_lines(p);
    set_tiles(p);
    set_chunks(p);
    p->copy_items = p->images * p->blocks_in * p->seen_parts[0] * p->part_size[0];
    p->copies_per_chunk = cpu_items_per_chunk(p->copy_items, p->seen_parts[1] * p->copy_row);
    prepared->state = p;
    p->weights_at = p->copies ? (gsize)(p->images * p->x_image) * sizeof(guint16) : 0;
    prepared->scratch = p->turned_at = p->weights_at;
    if (p->plain) {
        p->turned_at +=
            (gsize)(p->blocks_out * p->reads.steps * CONV_BF16_WEIGHTS) * sizeof(guint16);
        prepared->scratch = p->turned_at + (gsize)(cpu_parts(p->copy_items, p->copies_per_chunk) *
                                                   p->line_numbers) *
                                               sizeof(guint16);
    }
    return TRUE;
}

static void
release(void *state)
{
    Plan *p = state;
    g_free(p->from);
    g_free(p->to);
    g_free(p);
}

static const TnKernel kernels[] = {
    { .op = "conv_blocked",
      .dtypes = TN_DT(BF16),
      .claims = claims,
      .prepare = prepare,
      .run = run,
      .release = release },
};

const TnKernelTable cpu_conv_blocked_bf16 = CPU_TABLE(kernels);
