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
#include "conv_blocked_bf16.h"
#include "tables.h"

#define L CONV_BF16_L
#define ROWS CONV_BF16_ROWS /* of a tile, at most */
/* Multiplications that a chunk should have: of the first few, and of more. */
#define GRAIN (1 << 21)
#define FEW 4
#define LARGE_GRAIN (1 << 24)
#define MOST 64
#define AT_ONCE 4 /* pairs of tiles that take a part of the steps in turn */

/* --- Running ---------------------------------------------------------------------------------- */

/* What a thread is at: pairs of tiles [first, last) of one block out. */
typedef struct {
    const BlockedBf16Job *job;
    gint64 first, last, block;
    float bias[2][L]; /* of the block and the one before */
    gint64 begun;     /* pairs so far */
    ConvBf16Rest rest;
    float sums[AT_ONCE + 1][CONV_BF16_SUMS] __attribute__((aligned(64)));
} Turn;

/* Steps [from, to) of a pair of tiles. */
static void
run_pair(Turn *turn, gint64 pair, gint64 from, gint64 to, ConvBf16Fetch fetch, float *sums)
{
    const BlockedBf16Job *job = turn->job;
    const BlockedBf16 *p = job->plan;
    const gint64 seen = turn->block / p->s.made_blocks * p->s.seen_blocks * p->x_block;
    const guint16 *w = job->w + (turn->block * p->reads.steps + from) * CONV_BF16_WEIGHTS;
    const ConvBf16Reads reads = { p->reads.at + from, to - from, p->reads.apart };
    const gint64 *tiles = p->from + 2 * pair;
    const gboolean both = 2 * pair + 1 < p->tiles;
    const guint16 *x[2] = { job->x + tiles[0] + seen, both ? job->x + tiles[1] + seen : NULL };
    p->kernels->block(&reads, x, p->rows, w, from == 0, fetch, &turn->rest, sums);
    turn->rest.n = 0;
    if (to == p->reads.steps) {
        const gint64 at = turn->block * p->s.y[0] * p->s.y[1] * L;
        turn->rest = (ConvBf16Rest){ .sums = sums,
                                     .bias = job->bias != NULL ? turn->bias[turn->block % 2] : NULL,
                                     .more = job->more != NULL ? job->more + at : NULL,
                                     .out = job->out + at * p->size,
                                     .to = p->to + 2 * pair * p->rows,
                                     .n = both ? 2 * p->rows : p->rows,
                                     .relu = p->s.relu,
                                     .wide = p->wide };
    }
}

/* One block out, some pairs at a time: while all of them take a part of the steps, its weights stay near.
 * Those of the next part are fetched where they were not read before. */
static void
run_block(Turn *turn)
{
    const BlockedBf16 *p = turn->job->plan;
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
                run_pair(turn, pair + i, s, end, fetch,
                         turn->sums[(turn->begun + i) % (AT_ONCE + 1)]);
            }
        }
        turn->begun += pairs;
    }
}

/* The band that is begun at position `order`: with two threads, which mostly take turns, one does the
 * first half and the other the second, with four a quarter each, as of the images before and after. */
static gint64
band_at(const BlockedBf16 *p, gint64 order)
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
    const BlockedBf16Job *job = data;
    const BlockedBf16 *p = job->plan;
    const gint64 band = band_at(p, (gint64)chunk % p->bands), group = (gint64)chunk / p->bands;
    const gint64 pairs = cpu_parts(p->tiles, 2);
    const gint64 first_block = p->s.blocks_out * group / p->groups;
    const gint64 last_block = p->s.blocks_out * (group + 1) / p->groups;
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
    const BlockedBf16 *p = state;
    guint16 *weights = (void *)((char *)run->scratch + p->weights_at);
    BlockedBf16Job job = { .plan = p,
                           .given = run->in[0],
                           .x = p->copies ? run->scratch : run->in[0],
                           .w = p->s.plain ? weights : run->in[1],
                           .bias = p->s.n_in > 2 ? run->in[2] : NULL,
                           .more = p->s.n_in > 3 ? run->in[3] : NULL,
                           .copy = run->scratch,
                           .turned = (void *)((char *)run->scratch + p->turned_at),
                           .out = run->out[0] };
    if (p->s.plain) {
        blocked_bf16_pair(p, run->in[1], weights);
    }
    if (p->copies) {
        const TnStatus status = tn_parallel_for(
            (gsize)cpu_parts(p->copy_items, p->copies_per_chunk), blocked_bf16_copy, &job);
        if (status != TN_OK) {
            return status;
        }
    }
    return tn_parallel_for((gsize)(p->groups * p->bands), run_chunk, &job);
}

/* --- Planning --------------------------------------------------------------------------------- */

/* Of images that are not in blocks, rows of the window are read whole. */
static gboolean
claims(const TnNode *node)
{
    BlockedShape s;
    return node->in[1].type.rank == node->in[0].type.rank + 2 && blocked_shape(node, &s) &&
           (!s.plain || (s.made_blocks == s.blocks_out && s.gap[1] == 1));
}

/* How long a line of so many places takes, in places. */
static gint64
time_of(const BlockedBf16 *p, gint64 length)
{
    const gint64 tiles = cpu_parts(length, p->kernels->rows);
    return tiles * MAX(cpu_parts(length, tiles), p->kernels->least);
}

/* In parts if the places of an image then take less. */
static void
set_parts(BlockedBf16 *p)
{
    const BlockedShape *s = &p->s;
    const gint64 pitch = cpu_parts(s->padded[1], s->stride[1]);
    const gint64 whole = time_of(p, (s->y[0] - 1) * pitch + s->y[1]);
    const gboolean steps = s->stride[0] > 1 || s->stride[1] > 1;
    const gboolean fewer = steps && !s->plain && whole < s->y[0] * time_of(p, s->y[1]);
    for (gint i = 0; i < 2; i++) {
        const gint64 seen = (s->window[i] - 1) * s->gap[i] + 1;
        p->parts[i] = fewer ? s->stride[i] : 1;
        p->seen_parts[i] = MIN(p->parts[i], seen);
        p->part_size[i] = cpu_parts(s->padded[i], p->parts[i]);
        p->step[i] = s->stride[i] / p->parts[i];
    }
    p->copies = s->plain || s->pads || fewer;
}

static void
set_sizes(BlockedBf16 *p)
{
    const BlockedShape *s = &p->s;
    set_parts(p);
    p->deep = s->plain ? cpu_parts(s->window[1] * s->channels, L) : 1;
    p->line_numbers = s->padded[1] * s->channels + p->deep * L;
    p->copy_row = (s->plain ? s->y[1] * p->deep : p->part_size[1]) * L;
    p->x_block = p->seen_parts[0] * p->seen_parts[1] * p->part_size[0] * p->copy_row;
    p->x_image = s->blocks_in * p->x_block;
    p->copy_items = s->images * s->blocks_in * p->seen_parts[0] * p->part_size[0];
    p->copies_per_chunk = cpu_items_per_chunk(p->copy_items, p->seen_parts[1] * p->copy_row);
}

/* Steps in the order of the weights. */
static void
set_reads(BlockedBf16 *p)
{
    const gint64 columns = p->s.plain ? p->deep : p->s.window[1];
    ConvBf16Reads *r = &p->reads;
    r->at = p->at;
    r->apart = p->s.plain ? p->deep * L : p->step[1] * L;
    for (gint64 b = 0; b < p->s.seen_blocks; b++) {
        for (gint64 i = 0; i < p->s.window[0]; i++) {
            for (gint64 j = 0; j < columns; j++) {
                const gint64 y = i * p->s.gap[0], x = j * p->s.gap[1];
                const gint64 part = y % p->parts[0] * p->seen_parts[1] + x % p->parts[1];
                p->at[r->steps++] = b * p->x_block +
                                    (part * p->part_size[0] + y / p->parts[0]) * p->copy_row +
                                    x / p->parts[1] * L;
            }
        }
    }
}

/* One line an image where places follow each other and that takes less. */
static void
set_lines(BlockedBf16 *p)
{
    const gint64 row = p->s.plain ? p->s.y[1] : p->part_size[1];
    const gint64 whole = (p->s.y[0] - 1) * row + p->s.y[1];
    p->lines = p->s.y[0];
    p->length = p->s.y[1];
    p->line = p->step[0] * p->copy_row;
    p->pitch = row;
    if (p->step[0] == 1 && (p->s.plain || p->step[1] == 1) &&
        time_of(p, whole) <= p->lines * time_of(p, p->length)) {
        p->lines = 1;
        p->length = whole;
    }
    p->line_tiles = cpu_parts(p->length, p->kernels->rows);
    p->rows = (gint)cpu_parts(p->length, p->line_tiles);
    p->tiles = p->s.images * p->lines * p->line_tiles;
}

/* The last tile of a line begins earlier where places are missing, and leaves those to the one before. */
static void
set_tiles(BlockedBf16 *p)
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
            const gboolean own = place >= begin && column < p->s.y[1];
            *to++ = own ? (gint32)((image * p->s.blocks_out * p->s.y[0] + row) * p->s.y[1] + column)
                        : -1;
        }
    }
}

/* Bands read all weights each, groups all of the images: so many of both that least is read. */
static void
set_chunks(BlockedBf16 *p)
{
    const gint64 pairs = cpu_parts(p->tiles, 2);
    const gint64 weights = p->s.blocks_out * p->reads.steps * CONV_BF16_WEIGHTS;
    const gint64 work = cpu_times(pairs * 2 * ROWS, weights);
    const gint64 images = p->s.images * p->x_image;
    gint64 chunks = 1, least = G_MAXINT64;
    while (chunks < MOST && chunks * 2 <= work / (chunks < FEW ? GRAIN : LARGE_GRAIN)) {
        chunks *= 2;
    }
    p->groups = p->bands = 1;
    for (gint64 groups = 1; groups <= MIN(chunks, p->s.blocks_out); groups *= 2) {
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
    BlockedShape s;
    (void)error;
    (void)blocked_shape(node, &s); /* as claimed */
    const gint64 columns = s.plain ? cpu_parts(s.window[1] * s.channels, L) : s.window[1];
    const gint64 steps = s.seen_blocks * s.window[0] * columns;
    BlockedBf16 *p = g_malloc0(sizeof *p + (gsize)steps * sizeof *p->at);
    p->s = s;
    p->kernels = conv_bf16_kernels();
    p->wide = node->out[0].type.dtype == TN_DTYPE_F32;
    p->size = p->wide ? sizeof(float) : sizeof(guint16);
    set_sizes(p);
    set_reads(p);
    p->part = cpu_parts(p->reads.steps, cpu_parts(p->reads.steps, p->kernels->part));
    set_lines(p);
    set_tiles(p);
    set_chunks(p);
    prepared->state = p;
    gint64 numbers = p->copies ? s.images * p->x_image : 0;
    p->weights_at = (gsize)numbers * sizeof(guint16);
    numbers += s.plain ? s.blocks_out * steps * CONV_BF16_WEIGHTS : 0;
    p->turned_at = (gsize)numbers * sizeof(guint16);
    numbers += s.plain ? cpu_parts(p->copy_items, p->copies_per_chunk) * p->line_numbers : 0;
    prepared->scratch = (gsize)numbers * sizeof(guint16);
    return TRUE;
}

static void
release(void *state)
{
    BlockedBf16 *p = state;
    g_free(p->from);
    g_free(p->to);
    g_free(p);
}

static const TnKernel kernels[] = {
    { .op = "conv_blocked",
      .dtypes = TN_DT(BF16),
      .flags = TN_KERNEL_IN_PLACE, /* each number of more is read before its place is written */
      .claims = claims,
      .prepare = prepare,
      .run = run,
      .release = release },
};

const TnKernelTable cpu_conv_blocked_bf16 = CPU_TABLE(kernels);
