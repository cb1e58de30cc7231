/* conv_tiles.c: convolutions of bf16 and their transposes in tiles (conv_tiles.h): maps of windows times
 * maps of images laid for it, a list of products for each place.
 *
 * Sums of a strip of places are kept while the next 32 maps are read, so that the windows' part of these
 * stays in the first-level cache. They run over the maps, and in them over the taps, in order. */
#include "conv_tiles.h"
#include "conv_tiles_kernels.h"
#include "tables.h"

#define LANES TN_LANES
#define CHUNKS 16
#define STRIP 32 /* places, about */
/* From the sums of one place to the next; not a power of two, so that those of a map do not meet in the
 * same places of the cache. */
#define SUMS (TILES_SUMS + 32)
#define FEW_TAPS 9       /* of a list, at least, if there are so many maps */
#define MOST_PLACES 1024 /* along an axis */
/* Of a block's 32 by 32 pairs of maps, those that must be there. */
#define FEW_PAIRS 128

typedef enum { FORWARD, TRANSPOSE } Kind;

/* What one place of the result reads along an axis. */
typedef struct {
    gint n;
    gint8 tap[TILES_TAPS];
    gint16 from[TILES_TAPS];
} Reach;

/* The transpose is a pass from y to x. */
typedef struct {
    Kind kind;
    TilesShape shape;
    gboolean bias;
    gint64 from_maps, to_maps, from_blocks, to_blocks; /* blocks of maps */
    gint64 from[2], to[2], from_places, to_places;
    Reach *reach[2];     /* of each place along an axis */
    gint64 at_once;      /* blocks of maps in a list */
    gint64 rows, strips; /* of a strip; of all places */
    gint64 bands;        /* parts in which a block of images is laid */
    gint64 items, per_chunk;
    gsize images_at, sums_at; /* in scratch, behind the windows */
} Plan;

typedef struct {
    const Plan *plan;
    const guint16 *from, *w, *bias;
    guint16 *windows, *images, *out;
    float *sums;
} Job;

/* --- Sizes ------------------------------------------------------------------------------------ */

gboolean
conv_tiles_shape(const TnNode *node, const TnType *x, const TnType *w, const TnType *y,
                 TilesShape *shape)
{
    const TnConvAttrs *attrs = node->attrs;
    if (cpu_bf16 == CPU_BF16_PLAIN || node->batch_invariant || x->rank != 5 ||
        x->dims[4] != LANES || w->dims[4] != 1 || attrs->group != 1 || tn_type_count(x) == 0 ||
        tn_type_count(y) == 0 || tn_type_count(w) == 0) {
        return FALSE;
    }
    const TnConvAxis lanes = tn_conv_axis(attrs, 3, 2);
    if (lanes.stride != 1 || lanes.pad_begin != 0 || lanes.pad_end != 0 ||
        lanes.output_padding != 0) {
        return FALSE;
    }
    *shape = (TilesShape){ .blocks = x->dims[0],
                           .pairs = cpu_parts(x->dims[0], 2),
                           .channels = x->dims[1],
                           .maps = y->dims[1],
                           .channel_blocks = cpu_parts(x->dims[1], BF16_BLOCK),
                           .map_blocks = cpu_parts(y->dims[1], BF16_BLOCK),
                           .x_places = cpu_count(2, x->dims + 2),
                           .y_places = cpu_count(2, y->dims + 2) };
    for (gint i = 0; i < 2; i++) {
        const TnConvAxis axis = tn_conv_axis(attrs, 3, i);
        if (MAX(x->dims[2 + i], y->dims[2 + i]) > MOST_PLACES) {
            return FALSE;
        }
        shape->axis[i] = (TilesAxis){ .x = x->dims[2 + i],
                                      .y = y->dims[2 + i],
                                      .kernel = w->dims[2 + i],
                                      .stride = axis.stride,
                                      .dilation = axis.dilation,
                                      .pad = axis.pad_begin };
    }
    shape->taps = cpu_times(w->dims[2], w->dims[3]);
    return shape->taps <= TILES_TAPS && cpu_times(x->dims[1], y->dims[1]) >= FEW_PAIRS;
}

/* Which taps read what for place `at` of the result. */
static Reach
reach_of(const TilesAxis *a, Kind kind, gint64 at)
{
    Reach reach = { 0 };
    for (gint64 tap = 0; tap < a->kernel; tap++) {
        gint64 from = at * a->stride + tap * a->dilation - a->pad;
        gboolean reads = from >= 0 && from < a->x;
        if (kind == TRANSPOSE) {
            from = at + a->pad - tap * a->dilation;
            reads = from >= 0 && from % a->stride == 0 && from / a->stride < a->y;
            from /= a->stride;
        }
        if (reads) {
            reach.tap[reach.n] = (gint8)tap;
            reach.from[reach.n++] = (gint16)from;
        }
    }
    return reach;
}

/* --- Windows ---------------------------------------------------------------------------------- */

/* Windows of 32 maps of the result, in rows of 32 maps of what is read: [tap][to][from]. */
static void
lay_forward(const Job *job, gint64 to_block, gint64 from_block, guint16 *to)
{
    const Plan *plan = job->plan;
    const gint64 taps = plan->shape.taps, first = from_block * BF16_BLOCK;
    const gint64 maps = MIN(BF16_BLOCK, plan->to_maps - to_block * BF16_BLOCK);
    const gint64 channels = MIN(BF16_BLOCK, plan->from_maps - first);
    if (maps < BF16_BLOCK || channels < BF16_BLOCK) {
        memset(to, 0, (gsize)(taps * TILES_CELL) * sizeof *to);
    }
    for (gint64 m = 0; m < maps; m++) {
        const guint16 *w = job->w + ((to_block * BF16_BLOCK + m) * plan->from_maps + first) * taps;
        for (gint64 c = 0; c < channels; c++) {
            for (gint64 tap = 0; tap < taps; tap++) {
                to[tap * TILES_CELL + m * BF16_DEEP + c] = w[c * taps + tap];
            }
        }
    }
}

/* The same of windows [from][to]: laid as they are, each tap is then turned. */
static void
lay_transpose(const Job *job, gint64 to_block, gint64 from_block, guint16 *to)
{
    const Bf16Kernels *kernels = bf16_kernels();
    const Plan *plan = job->plan;
    guint16 plain[TILES_CELL] __attribute__((aligned(64)));
    guint16 pairs[TILES_CELL / 2] __attribute__((aligned(64)));
    const gint64 taps = plan->shape.taps, first = to_block * BF16_BLOCK;
    const gint64 maps = MIN(BF16_BLOCK, plan->to_maps - first);
    const gint64 channels = MIN(BF16_BLOCK, plan->from_maps - from_block * BF16_BLOCK);
    memset(plain, 0, sizeof plain);
    for (gint64 tap = 0; tap < taps; tap++) {
        for (gint64 c = 0; c < channels; c++) {
            const guint16 *w =
                job->w + ((from_block * BF16_BLOCK + c) * plan->to_maps + first) * taps + tap;
            for (gint64 m = 0; m < maps; m++) {
                plain[c * BF16_BLOCK + m] = w[m * taps];
            }
        }
        for (gint64 half = 0; half < 2; half++, to += TILES_CELL / 2) {
            kernels->pair(plain + half * BF16_TILE, BF16_BLOCK, pairs);
            kernels->turn(pairs, BF16_DEEP, to);
        }
    }
}

/* First all windows, then all images. */
static TnStatus
lay_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const gint64 windows = plan->to_blocks * plan->from_blocks;
    gint64 at = (gint64)chunk;
    (void)n;
    if (at < windows) {
        guint16 *to = job->windows + at * plan->shape.taps * TILES_CELL;
        (plan->kind == FORWARD ? lay_forward : lay_transpose)(job, at / plan->from_blocks,
                                                              at % plan->from_blocks, to);
        return TN_OK;
    }
    at -= windows;
    const gint64 band = at % plan->bands, each = cpu_parts(plan->from_places, plan->bands);
    const TilesImages images = {
        .from = job->from,
        .blocks = plan->shape.blocks,
        .maps = plan->from_maps,
        .places = plan->from_places,
        .pair = at / plan->bands / plan->from_blocks,
        .map_block = at / plan->bands % plan->from_blocks,
        .first = MIN(plan->from_places, band * each),
        .end = MIN(plan->from_places, (band + 1) * each),
    };
    conv_tiles_lay_maps(
        &images, job->images + (at / plan->bands * plan->from_places + images.first) * TILES_CELL);
    return TN_OK;
}

/* --- Products --------------------------------------------------------------------------------- */

/* One strip of 32 maps of two blocks of samples. */
typedef struct {
    gint64 pair, block, row, end;
} Strip;

static gint64
list_of(const Plan *plan, const Reach *down, const Reach *across, const guint16 *windows,
        const guint16 *images, TilesPair *list)
{
    gint64 n = 0;
    for (gint i = 0; i < down->n; i++) {
        const guint16 *w = windows + down->tap[i] * plan->shape.axis[1].kernel * TILES_CELL;
        const guint16 *line = images + down->from[i] * plan->from[1] * TILES_CELL;
        for (gint j = 0; j < across->n; j++) {
            list[n++] =
                (TilesPair){ w + across->tap[j] * TILES_CELL, line + across->from[j] * TILES_CELL };
        }
    }
    return n;
}

static void
sum_strip(const Job *job, const Strip *strip, gint n_b, float *sums)
{
    const Plan *plan = job->plan;
    const TilesKernels *kernels = conv_tiles_kernels();
    const gint64 windows = plan->shape.taps * TILES_CELL, images = plan->from_places * TILES_CELL;
    TilesPair list[TILES_TAPS];
    for (gint64 first = 0; first < plan->from_blocks; first += plan->at_once) {
        const gint64 end = MIN(plan->from_blocks, first + plan->at_once);
        float *at = sums;
        for (gint64 row = strip->row; row < strip->end; row++) {
            for (gint64 col = 0; col < plan->to[1]; col++, at += SUMS) {
                gint64 n = 0;
                for (gint64 b = first; b < end; b++) {
                    n += list_of(plan, &plan->reach[0][row], &plan->reach[1][col],
                                 job->windows + (strip->block * plan->from_blocks + b) * windows,
                                 job->images + (strip->pair * plan->from_blocks + b) * images,
                                 list + n);
                }
                kernels->list(n, list, n_b, first > 0, at);
            }
        }
    }
}

static void
put_strip(const Job *job, const Strip *strip, gint n_b, const float *sums)
{
    const Plan *plan = job->plan;
    const gint64 map0 = strip->block * BF16_BLOCK, maps = MIN(BF16_BLOCK, plan->to_maps - map0);
    const gint64 place = strip->row * plan->to[1], n = strip->end * plan->to[1] - place;
    for (gint64 m = 0; m < maps; m++) {
        float bias = 0;
        if (job->bias != NULL) {
            tn_dtype_convert(TN_DTYPE_F32, &bias, 1, TN_DTYPE_BF16, job->bias + map0 + m, 1, 1);
        }
        for (gint64 half = 0; half < n_b; half++) {
            const gint64 image = (2 * strip->pair + half) * plan->to_maps + map0 + m;
            conv_tiles_kernels()->put(sums + m * BF16_BLOCK + half * LANES, SUMS, n, bias,
                                      job->out + (image * plan->to_places + place) * LANES);
        }
    }
}

static TnStatus
strip_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const Bf16Kernels *kernels = bf16_kernels();
    const gint64 first = (gint64)chunk * plan->per_chunk;
    float *sums = job->sums + (gint64)chunk * plan->rows * plan->to[1] * SUMS;
    (void)n;
    if (kernels->begin != NULL) {
        kernels->begin();
    }
    for (gint64 i = first; i < MIN(plan->items, first + plan->per_chunk); i++) {
        const gint64 at = i / plan->to_blocks, row = at % plan->strips * plan->rows;
        const Strip strip = { at / plan->strips, i % plan->to_blocks, row,
                              MIN(plan->to[0], row + plan->rows) };
        const gint n_b = 2 * strip.pair + 1 < plan->shape.blocks ? 2 : 1;
        sum_strip(job, &strip, n_b, sums);
        put_strip(job, &strip, n_b, sums);
    }
    if (kernels->end != NULL) {
        kernels->end();
    }
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { .plan = plan,
                .from = run->in[0],
                .w = run->in[1],
                .bias = plan->bias ? run->in[2] : NULL,
                .windows = run->scratch,
                .images = (void *)((char *)run->scratch + plan->images_at),
                .sums = (void *)((char *)run->scratch + plan->sums_at),
                .out = run->out[0] };
    const gint64 lays =
        plan->to_blocks * plan->from_blocks + plan->shape.pairs * plan->from_blocks * plan->bands;
    const TnStatus status = tn_parallel_for((gsize)lays, lay_chunk, &job);
    return status != TN_OK
               ? status
               : tn_parallel_for((gsize)cpu_parts(plan->items, plan->per_chunk), strip_chunk, &job);
}

/* --- Planning --------------------------------------------------------------------------------- */

static gboolean
claims_forward(const TnNode *node)
{
    TilesShape shape;
    return conv_tiles_shape(node, &node->in[0].type, &node->in[1].type, &node->out[0].type, &shape);
}

static gboolean
claims_transpose(const TnNode *node)
{
    TilesShape shape;
    return conv_tiles_shape(node, &node->out[0].type, &node->in[1].type, &node->in[0].type, &shape);
}

/* Where the images and the sums are in scratch; how much there is of all. */
static void
plan_scratch(Plan *plan, TnPrepared *prepared)
{
    const TilesShape *s = &plan->shape;
    const gint64 cell = TILES_CELL * sizeof(guint16),
                 chunks = cpu_parts(plan->items, plan->per_chunk);
    const gint64 windows = cpu_times(cpu_times(plan->to_blocks, plan->from_blocks), s->taps);
    const gint64 images = cpu_times(cpu_times(s->pairs, plan->from_blocks), plan->from_places);
    const gint64 sums = cpu_times(cpu_times(chunks, plan->rows), plan->to[1]);
    plan->images_at = conv_tiles_bytes(windows, cell);
    plan->sums_at = plan->images_at + conv_tiles_bytes(images, cell);
    prepared->scratch = plan->sums_at + conv_tiles_bytes(sums, SUMS * sizeof(float));
}

static void
prepare(const TnNode *node, TnPrepared *prepared, Kind kind)
{
    const gboolean forward = kind == FORWARD;
    Plan *plan = g_new0(Plan, 1);
    TilesShape *s = &plan->shape;
    conv_tiles_shape(node, forward ? &node->in[0].type : &node->out[0].type, &node->in[1].type,
                     forward ? &node->out[0].type : &node->in[0].type, s);
    plan->kind = kind;
    plan->from_maps = forward ? s->channels : s->maps;
    plan->to_maps = forward ? s->maps : s->channels;
    plan->from_blocks = forward ? s->channel_blocks : s->map_blocks;
    plan->to_blocks = forward ? s->map_blocks : s->channel_blocks;
    plan->from_places = forward ? s->x_places : s->y_places;
    plan->to_places = forward ? s->y_places : s->x_places;
    for (gint i = 0; i < 2; i++) {
        const TilesAxis *a = &s->axis[i];
        plan->from[i] = forward ? a->x : a->y;
        plan->to[i] = forward ? a->y : a->x;
        plan->reach[i] = g_new(Reach, plan->to[i]);
        for (gint64 at = 0; at < plan->to[i]; at++) {
            plan->reach[i][at] = reach_of(a, kind, at);
        }
    }
    plan->at_once = MAX(1, FEW_TAPS / s->taps);
    plan->rows = CLAMP(STRIP / plan->to[1], 1, plan->to[0]);
    plan->strips = cpu_parts(plan->to[0], plan->rows);
    plan->bands = CLAMP(CHUNKS / (s->pairs * plan->from_blocks), 1, plan->from_places);
    plan->items = s->pairs * plan->strips * plan->to_blocks;
    plan->per_chunk = cpu_parts(plan->items, CHUNKS);
    plan_scratch(plan, prepared);
    prepared->state = plan;
}

static gboolean
prepare_forward(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    prepare(node, prepared, FORWARD);
    return TRUE;
}

static gboolean
prepare_forward_bias(const TnNode *node, TnPrepared *prepared, GError **error)
{
    prepare_forward(node, prepared, error);
    ((Plan *)prepared->state)->bias = TRUE;
    return TRUE;
}

static gboolean
prepare_transpose(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    prepare(node, prepared, TRANSPOSE);
    return TRUE;
}

static void
release(void *state)
{
    Plan *plan = state;
    g_free(plan->reach[0]);
    g_free(plan->reach[1]);
    g_free(plan);
}

#define ROW(name, claims_, prepare_)                                                               \
    {                                                                                              \
        .op = (name), .dtypes = TN_DT(BF16), .flags = TN_KERNEL_LANES, .rank = 21,                 \
        .claims = (claims_), .prepare = (prepare_), .run = run, .release = release                 \
    }

static const TnKernel kernels[] = {
    ROW("conv", claims_forward, prepare_forward),
    ROW("conv_bias", claims_forward, prepare_forward_bias),
    ROW("conv_transpose", claims_transpose, prepare_transpose),
};

const TnKernelTable cpu_conv_tiles = CPU_TABLE(kernels);
