/* conv_lanes.c: convolutions of few and small maps, computed for sixteen samples at once. The samples
 * are the last axis of x [N / 16, C, h, w, 16], as the pass `layout` lays them: to the operator an axis
 * along which the window has one tap. So every step is vertical: a weight times a vector, whatever the
 * sizes of images and windows, and nothing is copied, padded or shuffled.
 *
 * Sums run over maps, rows and taps in order for each sample by itself. Weights' gradients are summed
 * for each lane over a chunk's images in order, then over the lanes, then over the chunks; chunks
 * depend on the sizes alone. */
#include "conv_direct.h"
#include "conv_lanes_kernels.h"
#include "cpu.h"
#include "tables.h"

#define LANES 16
#define CHUNKS 8
/* Bytes of the images of sixteen samples, beyond which they leave the second-level cache, and products
 * of matrices are faster. */
#define MOST_BYTES (3 << 19)
/* Many weights' gradients of few places are mostly sums over lanes: products of matrices are faster. */
#define MANY_WEIGHTS (1 << 16)
#define FEW_PLACES 48
/* Rows of images and gradients that are read again for every row of taps: they stay in the first-level
 * cache. */
#define STRIP_BYTES (40 << 10)

typedef enum { FORWARD, TRANSPOSE, WEIGHT } Kind;

/* A convolution of x into y; the transpose is one of y into x, with the window turned round. */
typedef struct {
    Kind kind;
    gint64 blocks, x_maps, y_maps;
    gint64 x[2], y[2], k[2], stride[2], dilation[2], pad[2];
    gint64 x_block, y_block, weights; /* floats */
    gint64 bands;                     /* forward: parts of a block's rows */
    gint64 chunks, per_chunk;         /* weight: blocks */
    gint64 chunk_floats, sums_at;     /* weight: of scratch, gradients and the sums over lanes */
    gint64 strip;                     /* weight: rows of places at a time */
    const LanesKernels *kernels;
    gboolean bias;
} Plan;

typedef struct {
    const Plan *plan;
    const float *x, *w, *y, *bias; /* what is read of them; w in groups of maps */
    float *out;
} Job;

/* --- Sizes ------------------------------------------------------------------------------------ */

static gboolean
is_lanes(const TnType *x, const TnType *w, const TnConvAttrs *attrs)
{
    const TnConvAxis lanes = tn_conv_axis(attrs, 3, 2);
    return x->rank == 5 && x->dims[4] == LANES && w->dims[4] == 1 && lanes.stride == 1 &&
           lanes.pad_begin == 0 && lanes.pad_end == 0 && lanes.output_padding == 0 &&
           attrs->group == 1;
}

static Plan
sizes(Kind kind, const TnConvAttrs *attrs, const TnType *x, const TnType *w, const TnType *y)
{
    Plan p = { .kind = kind,
               .blocks = x->dims[0],
               .x_maps = x->dims[1],
               .y_maps = y->dims[1],
               .weights = cpu_count(w->rank, w->dims) };
    for (gint i = 0; i < 2; i++) {
        const TnConvAxis axis = tn_conv_axis(attrs, 3, i);
        p.x[i] = x->dims[2 + i];
        p.y[i] = y->dims[2 + i];
        p.k[i] = w->dims[2 + i];
        p.stride[i] = axis.stride;
        p.dilation[i] = axis.dilation;
        p.pad[i] = axis.pad_begin;
    }
    p.x_block = p.x_maps * p.x[0] * p.x[1] * LANES;
    p.y_block = p.y_maps * p.y[0] * p.y[1] * LANES;
    return p;
}

/* The transpose as a convolution. */
static void
turn_round(Plan *p)
{
    for (gint i = 0; i < 2; i++) {
        const gint64 x = p->x[i];
        p->x[i] = p->y[i];
        p->y[i] = x;
        p->pad[i] = p->dilation[i] * (p->k[i] - 1) - p->pad[i];
    }
    const gint64 maps = p->x_maps, block = p->x_block;
    p->x_maps = p->y_maps;
    p->y_maps = maps;
    p->x_block = p->y_block;
    p->y_block = block;
}

/* Whether samples by themselves are computed with the same sums, in the same order (conv_direct.h). */
static gboolean
same_alone(const Plan *p)
{
    const ConvShape c = {
        .groups = 1,
        .channels = p->x_maps,
        .maps = p->y_maps,
        .s = { 1, p->x[0], p->x[1] },
        .k = { 1, p->k[0], p->k[1] },
        .o = { 1, p->y[0], p->y[1] },
        .stride = { 1, p->stride[0], p->stride[1] },
        .dilation = { 1, p->dilation[0], p->dilation[1] },
        .pad = { 0, p->pad[0], p->pad[1] },
        .taps = p->k[0] * p->k[1],
        .depth = p->x_maps * p->k[0] * p->k[1],
    };
    return conv_frame_fits(&c);
}

static gboolean
pays(const TnNode *node, Kind kind, const TnType *x, const TnType *w, const TnType *y)
{
    const TnConvAttrs *attrs = node->attrs;
    if (!is_lanes(x, w, attrs) || tn_type_count(x) == 0 || tn_type_count(y) == 0 ||
        tn_type_count(w) == 0) {
        return FALSE;
    }
    const Plan p = sizes(kind, attrs, x, w, y);
    if (kind == WEIGHT && p.weights > MANY_WEIGHTS && p.y[0] * p.y[1] < FEW_PLACES) {
        return FALSE;
    }
    for (gint i = 0; kind == TRANSPOSE && i < 2; i++) {
        if (p.stride[i] != 1) {
            return FALSE;
        }
    }
    return (p.x_block + p.y_block) * (gint64)sizeof(float) <= MOST_BYTES &&
           (!node->batch_invariant || same_alone(&p));
}

static gboolean
claims_forward(const TnNode *node)
{
    return pays(node, FORWARD, &node->in[0].type, &node->in[1].type, &node->out[0].type);
}

static gboolean
claims_transpose(const TnNode *node)
{
    return pays(node, TRANSPOSE, &node->out[0].type, &node->in[1].type, &node->in[0].type);
}

static gboolean
claims_weight(const TnNode *node)
{
    return pays(node, WEIGHT, &node->in[0].type, &node->out[0].type, &node->in[1].type);
}

/* --- Images ----------------------------------------------------------------------------------- */

static LanesReads
reads_of(const Plan *p)
{
    return (LanesReads){
        .maps = p->x_maps,
        .rows = p->k[0],
        .taps = p->k[1],
        .map_step = p->x[0] * p->x[1] * LANES,
        .row_step = p->dilation[0] * p->x[1] * LANES,
        .tap_step = p->dilation[1] * LANES,
        .place_step = p->stride[1] * LANES,
        .columns = p->x[1],
        .tap_columns = p->dilation[1],
        .place_columns = p->stride[1],
    };
}

/* The first of n steps from `at` that is not below 0; n if there is none. */
static gint64
first_inside(gint64 at, gint64 step, gint64 n)
{
    return at >= 0 ? 0 : MIN(n, (-at + step - 1) / step);
}

/* The first of n steps from `at` that is not below `size`. */
static gint64
end_inside(gint64 at, gint64 step, gint64 n, gint64 size)
{
    return at >= size ? 0 : MIN(n, (size - at + step - 1) / step);
}

static gint64
maps_at_once(gint64 left, gint most)
{
    static const gint steps[] = { 6, 4, 2 };
    for (guint i = 0; i < G_N_ELEMENTS(steps); i++) {
        if (steps[i] <= most && steps[i] <= left) {
            return steps[i];
        }
    }
    return 1;
}

/* One row of some maps: w and bias begin with them, out at the row of the first. */
static void
forward_row(const Plan *p, gint64 maps, gint64 row, const float *x, const float *w,
            const float *bias, float *out)
{
    LanesReads reads = reads_of(p);
    const gint64 at = row * p->stride[0] - p->pad[0], lanes = p->kernels->lanes;
    const gint64 first = first_inside(at, p->dilation[0], p->k[0]);
    const gint64 end = end_inside(at, p->dilation[0], p->k[0], p->x[0]);
    for (gint64 place = 0, n; place < p->y[1]; place += n) {
        n = p->y[1] - place >= 4 ? 4 : p->y[1] - place >= 2 ? 2 : 1;
        reads.column = place * p->stride[1] - p->pad[1];
        const gint64 last = reads.column + (n - 1) * p->stride[1];
        const gint64 tap = first_inside(last, p->dilation[1], p->k[1]);
        const gint64 tap_end = end_inside(reads.column, p->dilation[1], p->k[1], p->x[1]);
        const gboolean inside =
            reads.column >= 0 && last + (p->k[1] - 1) * p->dilation[1] < p->x[1];
        for (gint64 part = 0; part < LANES; part += lanes) {
            p->kernels->forward[maps][n](&reads, x + (at * p->x[1] + reads.column) * LANES + part,
                                         w, first, end, tap, tap_end, inside, bias,
                                         out + place * LANES + part, p->y[0] * p->y[1] * LANES);
        }
    }
}

static const float no_bias[LANES_MAPS];

static TnStatus
forward_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 block = (gint64)chunk / p->bands, band = (gint64)chunk % p->bands;
    const gint64 rows = (p->y[0] + p->bands - 1) / p->bands;
    const gint64 first = MIN(p->y[0], band * rows), end = MIN(p->y[0], first + rows);
    const float *x = job->x + block * p->x_block;
    (void)n;
    for (gint64 map = 0, maps; map < p->y_maps; map += maps) {
        maps = maps_at_once(p->y_maps - map, p->kernels->maps);
        const float *w = job->w + map * p->x_maps * p->k[0] * p->k[1];
        const float *bias = job->bias ? job->bias + map : no_bias;
        float *out = job->out + block * p->y_block + map * p->y[0] * p->y[1] * LANES;
        for (gint64 row = first; row < end; row++) {
            forward_row(p, maps, row, x, w, bias, out + row * p->y[1] * LANES);
        }
    }
    return TN_OK;
}

/* w [y_maps, x_maps, k0, k1], of the transpose [x_maps, y_maps, k0, k1] turned round, into groups of
 * the maps that are computed together: [group][x_maps, k0, k1][maps of the group]. */
static void
pack(const Plan *p, const float *w, float *to)
{
    const gint64 window = p->k[0] * p->k[1];
    for (gint64 map = 0, maps; map < p->y_maps; map += maps) {
        maps = maps_at_once(p->y_maps - map, p->kernels->maps);
        for (gint64 c = 0; c < p->x_maps; c++) {
            for (gint64 tap = 0; tap < window; tap++) {
                for (gint64 i = map; i < map + maps; i++) {
                    *to++ = p->kind == FORWARD ? w[(i * p->x_maps + c) * window + tap]
                                               : w[(c * p->y_maps + i) * window + window - 1 - tap];
                }
            }
        }
    }
}

/* --- Weights ---------------------------------------------------------------------------------- */

/* What one row of taps from `tap` on gives for rows [first, end) of a block's places. */
static void
weight_taps(const Plan *p, gint64 maps, gint64 taps, gint64 row, gint64 tap, gint64 first, gint64 end,
            const float *x, const float *g, float *sum)
{
    const gint64 at = row * p->dilation[0] - p->pad[0], n = p->y[1], lanes = p->kernels->lanes;
    const gint64 column = tap * p->dilation[1] - p->pad[1];
    const gint64 last = column + (taps - 1) * p->dilation[1];
    const gint64 inside = first_inside(column, p->stride[1], n);
    LanesReads reads = reads_of(p);
    reads.row_step = p->stride[0] * p->x[1] * LANES;
    reads.column = column;
    first = MAX(first, first_inside(at, p->stride[0], p->y[0]));
    end = MIN(end, end_inside(at, p->stride[0], p->y[0], p->x[0]));
    if (first >= end) {
        return;
    }
    const LanesGrads grads = { .rows = end - first,
                               .places = n,
                               .inside = inside,
                               .outside = MAX(inside, end_inside(last, p->stride[1], n, p->x[1])),
                               .map_step = p->y[0] * n * LANES,
                               .row_step = n * LANES };
    x += ((at + first * p->stride[0]) * p->x[1] + column) * LANES;
    g += first * n * LANES;
    for (gint64 part = 0; part < LANES; part += lanes) {
        p->kernels->weight[maps][taps](&reads, &grads, x + part, g + part, sum);
    }
}

static float
sum_lanes(const float *sum, gint64 lanes)
{
    typedef float Four __attribute__((vector_size(4 * sizeof(float))));
    Four total = { 0 };
    for (gint64 i = 0; i < lanes; i += 4) {
        total += *(const Four *)(const void *)(sum + i);
    }
    return (total[0] + total[2]) + (total[1] + total[3]);
}

static gint64
taps_at_once(gint64 left)
{
    return left >= 5 ? 5 : left >= 3 ? 3 : 1;
}

/* Of map c of x and maps [map, map + maps) of y: sums [k0][k1][map][lanes], within a row of taps those that
 * are computed together have maps before taps. Some rows of places at a time, for all taps, so that they
 * stay in the first-level cache. */
static void
weight_window(const Job *job, gint64 first, gint64 end, gint64 c, gint64 map, gint64 maps, float *sum,
              float *to)
{
    const Plan *p = job->plan;
    const gint64 lanes = p->kernels->lanes, window = p->k[0] * p->k[1];
    memset(sum, 0, (gsize)(window * maps * lanes) * sizeof *sum);
    for (gint64 block = first; block < end; block++) {
        const float *x = job->x + block * p->x_block + c * p->x[0] * p->x[1] * LANES;
        const float *g = job->y + block * p->y_block + map * p->y[0] * p->y[1] * LANES;
        for (gint64 strip = 0; strip < p->y[0]; strip += p->strip) {
            for (gint64 row = 0; row < p->k[0]; row++) {
                for (gint64 tap = 0, taps; tap < p->k[1]; tap += taps) {
                    taps = taps_at_once(p->k[1] - tap);
                    weight_taps(p, maps, taps, row, tap, strip, strip + p->strip, x, g,
                                sum + (row * p->k[1] + tap) * maps * lanes);
                }
            }
        }
    }
    for (gint64 row = 0; row < p->k[0]; row++) {
        for (gint64 tap = 0, taps; tap < p->k[1]; tap += taps) {
            taps = taps_at_once(p->k[1] - tap);
            for (gint64 i = map; i < map + maps; i++) {
                float *window_row = to + ((i * p->x_maps + c) * p->k[0] + row) * p->k[1] + tap;
                for (gint64 t = 0; t < taps; t++, sum += lanes) {
                    window_row[t] = sum_lanes(sum, lanes);
                }
            }
        }
    }
}

static TnStatus
weight_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = MIN(p->blocks, (gint64)chunk * p->per_chunk);
    const gint64 end = MIN(p->blocks, first + p->per_chunk);
    float *out = job->out + (gint64)chunk * p->chunk_floats, *sum = out + p->sums_at;
    (void)n;
    for (gint64 map = 0, maps; map < p->y_maps; map += maps) {
        maps = maps_at_once(p->y_maps - map, p->kernels->weight_maps);
        for (gint64 c = 0; c < p->x_maps; c++) {
            weight_window(job, first, end, c, map, maps, sum, out);
        }
    }
    return TN_OK;
}

/* --- Running ---------------------------------------------------------------------------------- */

static TnStatus
run_images(void *state, const TnRun *run)
{
    const Plan *p = state;
    float *packed = run->scratch;
    const Job job = {
        .plan = p,
        .x = run->in[0],
        .w = packed,
        .bias = p->bias ? run->in[2] : NULL,
        .out = run->out[0],
    };
    pack(p, run->in[1], packed);
    return tn_parallel_for((gsize)(p->blocks * p->bands), forward_chunk, (gpointer)(gsize)&job);
}

static TnStatus
run_weight(void *state, const TnRun *run)
{
    const Plan *p = state;
    float *parts = run->scratch, *out = run->out[0];
    const Job job = { .plan = p, .x = run->in[0], .y = run->in[1], .out = parts };
    const TnStatus status = tn_parallel_for((gsize)p->chunks, weight_chunk, (gpointer)(gsize)&job);
    if (status != TN_OK) {
        return status;
    }
    memcpy(out, parts, (gsize)p->weights * sizeof(float));
    for (gint64 chunk = 1; chunk < p->chunks; chunk++) {
        for (gint64 i = 0; i < p->weights; i++) {
            out[i] += parts[chunk * p->chunk_floats + i];
        }
    }
    return TN_OK;
}

static gboolean
prepare_images(const TnNode *node, TnPrepared *prepared, Kind kind, const TnType *x,
               const TnType *y)
{
    Plan *p = g_new(Plan, 1);
    *p = sizes(kind, node->attrs, x, &node->in[1].type, y);
    if (kind == TRANSPOSE) {
        turn_round(p);
    }
    p->kernels = &conv_lanes_kernels[cpu_isa];
    p->bands = CLAMP((CHUNKS + p->blocks - 1) / p->blocks, 1, p->y[0]);
    prepared->state = p;
    prepared->scratch = (gsize)p->weights * sizeof(float);
    return TRUE;
}

static gboolean
prepare_forward(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return prepare_images(node, prepared, FORWARD, &node->in[0].type, &node->out[0].type);
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
    return prepare_images(node, prepared, TRANSPOSE, &node->out[0].type, &node->in[0].type);
}

static gboolean
prepare_weight(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *p = g_new(Plan, 1);
    (void)error;
    *p = sizes(WEIGHT, node->attrs, &node->in[0].type, &node->out[0].type, &node->in[1].type);
    p->kernels = &conv_lanes_kernels[cpu_isa];
    p->per_chunk = (p->blocks + CHUNKS - 1) / CHUNKS;
    p->chunks = (p->blocks + p->per_chunk - 1) / p->per_chunk;
    const gint64 row = (p->x[1] * p->stride[0] + p->y[1] * p->kernels->weight_maps) * LANES;
    p->strip = CLAMP(STRIP_BYTES / (gint64)sizeof(float) / row, 1, p->y[0]);
    p->sums_at = cpu_parts(p->weights, LANES) * LANES;
    p->chunk_floats = p->sums_at + p->kernels->weight_maps * p->k[0] * p->k[1] * LANES;
    prepared->state = p;
    prepared->scratch = (gsize)(p->chunks * p->chunk_floats) * sizeof(float);
    return TRUE;
}

#define ROW(name, claims_, prepare_, run_)                                                         \
    {                                                                                              \
        .op = (name), .dtypes = TN_DT(F32), .flags = TN_KERNEL_LANES, .rank = 1,                   \
        .claims = (claims_), .prepare = (prepare_), .run = (run_), .release = g_free               \
    }

static const TnKernel kernels[] = {
    ROW("conv", claims_forward, prepare_forward, run_images),
    ROW("conv_bias", claims_forward, prepare_forward_bias, run_images),
    ROW("conv_transpose", claims_transpose, prepare_transpose, run_images),
    ROW("conv_grad_weight", claims_weight, prepare_weight, run_weight),
};

const TnKernelTable cpu_conv_lanes = CPU_TABLE(kernels);
