/* conv.c: convolution and its two transposes: those of stride 1 over framed images (conv_direct.h),
 * the others through columns and products of matrices. Images are shared out in a number
 * of chunks that depends on the sizes alone; each chunk has its own columns. Weight gradients are
 * summed over a chunk's images in order, and over the chunks in order; where there are many
 * channels they are what is shared out instead. */
#include "conv.h"
#include "conv_direct.h"
#include "gemm.h"
#include "tables.h"

#define MAX_CHUNKS 8
/* Direct gradients of weights keep a vector for each weight, in every chunk: beyond so many these leave
 * the second-level cache, and soon the memory. */
#define MAX_DIRECT_WEIGHTS 16384

typedef enum { FORWARD, TRANSPOSE, WEIGHT } ConvKind;

typedef struct {
    ConvKind kind;
    ConvShape shape;
    gboolean direct;
    ConvFrame frame; /* if direct */
    gsize flip_at;   /* in scratch: the transpose's weights, if direct */
    TnDtype dtype;
    gint64 chunks;
    gboolean by_channels; /* WEIGHT: chunks share out channels instead of images */
    gint64 per_chunk;     /* images or channels */
    gsize chunk_bytes;    /* columns, and for WEIGHT by images a partial result */
    gsize col_bytes;
    gsize chunks_at;  /* of the first chunk's part of scratch */
    gboolean bias;    /* input 2 is added to each map */
    gboolean convert; /* f16, bf16: everything goes through f32 in scratch */
    gint64 count[3];  /* elements of both inputs and the output */
    gsize at[3];      /* of their f32 copies in scratch */
} Plan;

typedef struct {
    const Plan *plan;
    const char *a, *b; /* the operator's data inputs */
    const char *bias;  /* of each map; NULL: none */
    char *out;
    char *scratch;
} Job;

static char *
offset(const void *base, gint64 elements, const ConvShape *c)
{
    return (char *)(gsize)base + elements * (gint64)c->size;
}

/* The product for one block of columns: rows x cols over k. */
static void
product(const ConvShape *c, gint64 m, gint64 n, gint64 k, const void *a, gint64 a_row, gint64 a_col,
        const void *b, gint64 b_row, gint64 b_col, void *out, gint64 out_row, gboolean accumulate)
{
    CpuGemm g = { .f64 = c->f64,
                  .m = m,
                  .n = n,
                  .k = k,
                  .a_row = a_row,
                  .a_col = a_col,
                  .b_row = b_row,
                  .b_col = b_col,
                  .c_row = out_row,
                  .accumulate = accumulate };
    cpu_gemm_plan(&g);
    cpu_gemm_run(&g, a, b, out);
}

/* The maps of a group, filled with their bias. */
static void
begin_with_bias(const Job *job, gint64 group, char *y)
{
    const ConvShape *c = &job->plan->shape;
    for (gint64 m = 0; m < c->maps; m++) {
        const char *bias = offset(job->bias, group * c->maps + m, c);
        for (gint64 i = 0; i < c->outs; i++) {
            memcpy(offset(y, m * c->outs + i, c), bias, c->size);
        }
    }
}

/* y [M, O] = w [M, C*K] col [C*K, O], for the images of a chunk. */
static void
forward(const Job *job, gint64 image, gint64 group, void *col)
{
    const ConvShape *c = &job->plan->shape;
    const char *x = offset(job->a, (image * c->groups + group) * c->channels * c->in, c);
    const char *w = offset(job->b, group * c->maps * c->depth, c);
    char *y = offset(job->out, (image * c->groups + group) * c->maps * c->outs, c);
    gboolean add = job->bias != NULL;
    if (add) {
        begin_with_bias(job, group, y);
    }
    if (c->plain) {
        product(c, c->maps, c->outs, c->depth, w, c->depth, 1, x, c->in, 1, y, c->outs, add);
        return;
    }
    for (gint64 row = 0; row < c->rows; row += c->block_rows) {
        gint64 rows = MIN(c->block_rows, c->rows - row), n = rows * c->o[2];
        conv_im2col(c, x, 0, c->channels, row, rows, col, n);
        product(c, c->maps, n, c->depth, w, c->depth, 1, col, n, 1, offset(y, row * c->o[2], c),
                c->outs, add);
    }
}

/* x += columns of w' [C*K, M] y [M, O]. */
static void
transpose(const Job *job, gint64 image, gint64 group, void *col)
{
    const ConvShape *c = &job->plan->shape;
    const char *y = offset(job->a, (image * c->groups + group) * c->maps * c->outs, c);
    const char *w = offset(job->b, group * c->maps * c->depth, c);
    char *x = offset(job->out, (image * c->groups + group) * c->channels * c->in, c);
    if (c->plain) {
        product(c, c->depth, c->outs, c->maps, w, 1, c->depth, y, c->outs, 1, x, c->in, FALSE);
        return;
    }
    memset(x, 0, (gsize)(c->channels * c->in) * c->size);
    for (gint64 row = 0; row < c->rows; row += c->block_rows) {
        gint64 rows = MIN(c->block_rows, c->rows - row), n = rows * c->o[2];
        product(c, c->depth, n, c->maps, w, 1, c->depth, offset(y, row * c->o[2], c), c->outs, 1,
                col, n, FALSE);
        conv_col2im(c, col, n, row, rows, x);
    }
}

/* to [M, C*K] += y [M, O] col' [O, C*K], for channels [first, first + n) of a group. */
static void
weight(const Job *job, gint64 image, gint64 group, gint64 first, gint64 n, void *col, void *to)
{
    const ConvShape *c = &job->plan->shape;
    const char *x = offset(job->a, (image * c->groups + group) * c->channels * c->in, c);
    const char *y = offset(job->b, (image * c->groups + group) * c->maps * c->outs, c);
    char *out = offset(to, group * c->maps * c->depth + first * c->taps, c);
    for (gint64 row = 0; row < c->rows; row += c->block_rows) {
        gint64 rows = MIN(c->block_rows, c->rows - row), o = rows * c->o[2];
        conv_im2col(c, x, first, n, row, rows, col, o);
        product(c, c->maps, n * c->taps, o, offset(y, row * c->o[2], c), c->outs, 1, col, 1, o, out,
                c->depth, TRUE);
    }
}

static void *
chunk_memory(const Job *job, gsize chunk)
{
    return job->scratch + job->plan->chunks_at + chunk * job->plan->chunk_bytes;
}

static void
weight_by_images(const Job *job, gsize chunk, gint64 first, gint64 end)
{
    const ConvShape *c = &job->plan->shape;
    char *col = chunk_memory(job, chunk), *partial = col + job->plan->col_bytes;
    memset(partial, 0, (gsize)(c->groups * c->maps * c->depth) * c->size);
    for (gint64 image = first; image < end; image++) {
        for (gint64 group = 0; group < c->groups; group++) {
            weight(job, image, group, 0, c->channels, col, partial);
        }
    }
}

/* Channels are counted over all groups; a chunk's are in one group or span whole ones. */
static void
weight_by_channels(const Job *job, gsize chunk, gint64 first, gint64 end)
{
    const ConvShape *c = &job->plan->shape;
    char *col = chunk_memory(job, chunk);
    for (gint64 at = first; at < end;) {
        gint64 group = at / c->channels, channel = at % c->channels;
        gint64 n = MIN(end - at, c->channels - channel);
        for (gint64 m = 0; m < c->maps; m++) {
            gint64 row = (group * c->maps + m) * c->depth + channel * c->taps;
            memset(offset(job->out, row, c), 0, (gsize)(n * c->taps) * c->size);
        }
        for (gint64 image = 0; image < c->batch; image++) {
            weight(job, image, group, channel, n, col, job->out);
        }
        at += n;
    }
}

/* A chunk's images without columns. */
static void
run_direct(const Job *job, gsize chunk, gint64 first, gint64 end)
{
    const Plan *plan = job->plan;
    float *memory = chunk_memory(job, chunk);
    const float *a = (const float *)(const void *)job->a, *b = (const float *)(const void *)job->b;
    float *out = (float *)(void *)job->out;
    switch (plan->kind) {
    case FORWARD:
        conv_forward_images(&plan->frame, first, end, a, b, (const float *)(const void *)job->bias,
                            out, memory);
        break;
    case TRANSPOSE:
        b = (const float *)(const void *)(job->scratch + plan->flip_at);
        conv_forward_images(&plan->frame, first, end, a, b, NULL, out, memory);
        break;
    case WEIGHT:
        out = memory + plan->col_bytes / sizeof(float);
        conv_weight_images(&plan->frame, first, end, a, b, out, memory);
        break;
    }
}

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const ConvShape *c = &plan->shape;
    gint64 all = plan->by_channels ? c->groups * c->channels : c->batch;
    gint64 first = MIN(all, (gint64)chunk * plan->per_chunk);
    gint64 end = MIN(all, first + plan->per_chunk);
    (void)n;
    if (plan->direct) {
        run_direct(job, chunk, first, end);
        return TN_OK;
    }
    if (plan->by_channels) {
        weight_by_channels(job, chunk, first, end);
        return TN_OK;
    }
    if (plan->kind == WEIGHT) {
        weight_by_images(job, chunk, first, end);
        return TN_OK;
    }
    for (gint64 image = first; image < end; image++) {
        for (gint64 group = 0; group < c->groups; group++) {
            if (plan->kind == FORWARD) {
                forward(job, image, group, chunk_memory(job, chunk));
            } else {
                transpose(job, image, group, chunk_memory(job, chunk));
            }
        }
    }
    return TN_OK;
}

/* The chunks' partial weight gradients, summed in order. */
static void
sum_partials(const Job *job)
{
    const ConvShape *c = &job->plan->shape;
    gint64 n = c->groups * c->maps * c->depth;
    memcpy(job->out, (char *)chunk_memory(job, 0) + job->plan->col_bytes, (gsize)n * c->size);
    for (gint64 chunk = 1; chunk < job->plan->chunks; chunk++) {
        const char *part = (char *)chunk_memory(job, (gsize)chunk) + job->plan->col_bytes;
        if (c->f64) {
            double *to = (double *)(void *)job->out;
            for (gint64 i = 0; i < n; i++) {
                to[i] += ((const double *)(const void *)part)[i];
            }
        } else {
            float *to = (float *)(void *)job->out;
            for (gint64 i = 0; i < n; i++) {
                to[i] += ((const float *)(const void *)part)[i];
            }
        }
    }
}

static TnStatus
run_floats(const Plan *plan, const void *a, const void *b, const void *bias, void *out,
           void *scratch)
{
    Job job = { plan, a, b, bias, out, scratch };
    TnStatus status = TN_OK;
    if (plan->count[2] == 0) {
        return TN_OK;
    }
    if (!bias && (plan->count[0] == 0 || plan->count[1] == 0)) {
        memset(out, 0, (gsize)plan->count[2] * plan->shape.size);
        return TN_OK;
    }
    if (plan->direct && plan->kind == TRANSPOSE) {
        conv_flip_weights(&plan->shape, b, (float *)(void *)(job.scratch + plan->flip_at));
    }
    status = tn_parallel_for((gsize)plan->chunks, run_chunk, &job);
    if (status == TN_OK && plan->kind == WEIGHT && !plan->by_channels) {
        sum_partials(&job);
    }
    return status;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *plan = state;
    const TnDtypeInfo *info = tn_dtype_info(plan->dtype);
    char *scratch = run->scratch;
    if (!plan->convert) {
        return run_floats(plan, run->in[0], run->in[1], plan->bias ? run->in[2] : NULL, run->out[0],
                          scratch);
    }
    info->load(scratch + plan->at[0], run->in[0], 1, (gsize)plan->count[0]);
    info->load(scratch + plan->at[1], run->in[1], 1, (gsize)plan->count[1]);
    TnStatus status = run_floats(plan, scratch + plan->at[0], scratch + plan->at[1], NULL,
                                 scratch + plan->at[2], scratch);
    info->store(run->out[0], scratch + plan->at[2], 1, (gsize)plan->count[2]);
    return status;
}

/* --- Planning --------------------------------------------------------------------------------- */

static gsize
place_copies(Plan *plan)
{
    gsize bytes = 0;
    for (gint i = 0; plan->convert && i < 3; i++) {
        plan->at[i] = bytes;
        bytes += ((gsize)plan->count[i] * sizeof(float) + 63) & ~(gsize)63;
    }
    return bytes;
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, ConvKind kind, const TnType *x, const TnType *w,
        const TnType *y)
{
    Plan *plan = g_new0(Plan, 1);
    plan->kind = kind;
    plan->dtype = x->dtype;
    plan->shape = conv_shape(node->attrs, x, w, y);
    plan->convert = x->dtype != TN_DTYPE_F32 && x->dtype != TN_DTYPE_F64;
    plan->count[0] = node->in[0].count;
    plan->count[1] = node->in[1].count;
    plan->count[2] = node->out[0].count;
    ConvShape *c = &plan->shape;
    gint64 weights = c->groups * c->maps * c->depth;
    plan->direct = conv_frame_fits(c) && plan->count[2] > 0 &&
                   (kind != WEIGHT || c->maps * c->depth <= MAX_DIRECT_WEIGHTS);
    if (plan->direct) {
        plan->frame = conv_frame_new(c, kind == TRANSPOSE);
    }
    plan->by_channels = !plan->direct && kind == WEIGHT && c->groups * c->channels >= MAX_CHUNKS &&
                        (c->batch < 4 || weights > 65536);
    gint64 all = plan->by_channels ? c->groups * c->channels : c->batch;
    gint64 work = c->batch * c->groups * c->maps * c->depth * c->outs;
    /* The lanes of direct gradients are added up in every chunk: that takes as long as an image. */
    const gint64 most = plan->direct && kind == WEIGHT ? MIN(all, MAX(2, all / 2)) : all;
    plan->chunks = CLAMP(work / CPU_GRAIN, 1, MIN(MAX_CHUNKS, MAX(1, most)));
    plan->per_chunk = (all + plan->chunks - 1) / plan->chunks;
    plan->col_bytes = (gsize)conv_col_bytes(c);
    if (plan->direct) {
        gint64 floats =
            kind == WEIGHT ? conv_weight_floats(&plan->frame) : conv_forward_floats(&plan->frame);
        plan->col_bytes = ((gsize)floats * sizeof(float) + 63) & ~(gsize)63;
    }
    plan->chunk_bytes = plan->col_bytes;
    if (kind == WEIGHT && !plan->by_channels) {
        plan->chunk_bytes += ((gsize)weights * c->size + 63) & ~(gsize)63;
    }
    plan->chunks_at = place_copies(plan);
    plan->flip_at = plan->chunks_at + (gsize)plan->chunks * plan->chunk_bytes;
    prepared->scratch = plan->flip_at;
    if (plan->direct && kind == TRANSPOSE) {
        prepared->scratch += (gsize)weights * sizeof(float);
    }
    prepared->state = plan;
    return TRUE;
}

static gboolean
prepare_forward(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return prepare(node, prepared, FORWARD, &node->in[0].type, &node->in[1].type,
                   &node->out[0].type);
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
    return prepare(node, prepared, TRANSPOSE, &node->out[0].type, &node->in[1].type,
                   &node->in[0].type);
}

static gboolean
prepare_weight(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return prepare(node, prepared, WEIGHT, &node->in[0].type, &node->out[0].type,
                   &node->in[1].type);
}

static void
release(void *state)
{
    Plan *plan = state;
    conv_frame_clear(&plan->frame);
    g_free(plan);
}

#define ROW(name, function)                                                                        \
    {                                                                                              \
        .op = (name), .dtypes = TN_DTYPES_FLOAT, .prepare = (function), .run = run,                \
        .release = release                                                                         \
    }

static const TnKernel kernels[] = {
    ROW("conv", prepare_forward),
    { .op = "conv_bias",
      .dtypes = TN_DT(F32) | TN_DT(F64),
      .prepare = prepare_forward_bias,
      .run = run,
      .release = release },
    ROW("conv_transpose", prepare_transpose),
    ROW("conv_grad_weight", prepare_weight),
};

const TnKernelTable cpu_conv = CPU_TABLE(kernels);
