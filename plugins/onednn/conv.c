/* conv.c: convolutions and their two gradients by oneDNN, on slices that depend on the sizes alone.
 *
 * A slice is some images, or some of the channels that come out. Each does all that it needs by
 * itself, layouts included, so what it does not divide is done again in every slice: the weights
 * where images are shared out, the images where channels are. The less of the two is repeated.
 * Gradients of weights from slices of images are summed in order. Where the number of images may not show,
 * slices are those that give the bits of single images (samples.c). */
#include "conv_sizes.h"
#include "samples.h"
#include "tables.h"

#include <string.h>

#include <tenon/ops.h>
#include <tenon/pool.h>

/* Slices at most, and multiplications that one should have. */
#define MOST_SLICES 8
/* What is repeated are transforms too, which take a third of the time at 8 slices. */
#define MOST_WINOGRAD_SLICES 4
#define SLICE_WORK (1 << 24)
/* Channels of a slice are a multiple of this: whole blocks of the library's layouts. */
#define CHANNELS 32
#define SUM_GRAIN 16384

typedef enum { BY_IMAGES, BY_CHANNELS } SliceKind;

typedef struct {
    Slices slices; /* of images or channels */
    OneDnnConv conv;
    TnDtype dtype;
    SliceKind by;
    gint64 step[ONEDNN_N_PORTS]; /* bytes from slice to slice */
    gsize partial_at;            /* of a slice's own scratch: its partial sums */
    gint64 count;                /* elements that come out */
    gboolean sums;               /* gradients of weights from several slices, or of bf16 */
} Plan;

typedef struct {
    const Plan *plan;
    const TnRun *run;
} Job;

/* --- Slices ----------------------------------------------------------------------------------- */

static void
choose_slices(Plan *plan)
{
    const OneDnnConv *conv = &plan->conv;
    const gboolean groups = conv->w.rank > conv->n + 2;
    const gint64 images = onednn_box_count(&conv->x) + onednn_box_count(&conv->y);
    const gint64 weights = onednn_box_count(&conv->w) * (conv->winograd ? 4 : 1);
    const gint64 channels = (conv->kind == ONEDNN_CONV_DATA ? &conv->x : &conv->y)->dims[1];
    const gint64 work = onednn_box_count(&conv->y) * (onednn_box_count(&conv->w) / conv->y.dims[1]);
    const gint64 limit = conv->winograd ? MOST_WINOGRAD_SLICES : MOST_SLICES;
    const gint64 most = MIN(limit, work / SLICE_WORK);
    plan->by = !groups && weights > images && channels >= 2 * CHANNELS ? BY_CHANNELS : BY_IMAGES;
    if (plan->by == BY_CHANNELS) {
        slices_cut(&plan->slices, channels, CHANNELS, most);
    } else {
        slices_cut(&plan->slices, conv->x.dims[0], 1, most);
    }
}

/* The convolution of a slice of `size` images or channels. */
static OneDnnConv
slice_of(const OneDnnConv *conv, SliceKind by, gint64 size)
{
    OneDnnConv slice = *conv;
    if (by == BY_IMAGES) {
        slice.x.dims[0] = slice.y.dims[0] = size;
    } else if (conv->kind == ONEDNN_CONV_DATA) {
        slice.x.dims[1] = slice.w.dims[1] = size;
    } else {
        slice.y.dims[1] = slice.w.dims[0] = slice.bias.dims[0] = size;
    }
    return slice;
}

/* Bytes from a slice's first element to that of the next. */
static void
set_steps(Plan *plan)
{
    const OneDnnConv *conv = &plan->conv;
    const gsize cell = tn_dtype_size(plan->dtype);
    const gboolean images = plan->by == BY_IMAGES, data = conv->kind == ONEDNN_CONV_DATA;
    const gint64 x = images ? conv->x.strides[0] : data ? conv->x.strides[1] : 0;
    const gint64 w = images ? 0 : conv->w.strides[data ? 1 : 0];
    const gint64 y = images ? conv->y.strides[0] : data ? 0 : conv->y.strides[1];
    const gint64 steps[][ONEDNN_N_PORTS] = {
        [ONEDNN_CONV] = { x, w, images ? 0 : 1, y },
        [ONEDNN_CONV_DATA] = { y, w, 0, x },
        [ONEDNN_CONV_WEIGHT] = { x, y, 0, w },
    };
    for (gint i = 0; i < ONEDNN_N_PORTS; i++) {
        plan->step[i] = steps[conv->kind][i] * plan->slices.per * (gint64)cell;
    }
}

/* --- Running ---------------------------------------------------------------------------------- */

static float *
partial_of(const Job *job, gsize slice)
{
    const Plan *plan = job->plan;
    char *own = slices_own(&plan->slices, slice, job->run->scratch);
    return (float *)(void *)(own + plan->partial_at);
}

static TnStatus
run_slice(gpointer data, gsize slice, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const TnRun *run = job->run;
    void *ports[ONEDNN_N_PORTS] = { run->in[0], run->in[1], NULL, run->out[0] };
    if (plan->conv.bias.dtype != TN_DTYPE_NONE) {
        ports[ONEDNN_BIAS] = run->in[2];
    }
    for (gint i = 0; i < ONEDNN_N_PORTS; i++) {
        if (ports[i] != NULL) {
            ports[i] = (char *)ports[i] + (gint64)slice * plan->step[i];
        }
    }
    if (plan->sums) {
        ports[ONEDNN_OUT] = partial_of(job, slice);
    }
    (void)n;
    return slices_call(&plan->slices, slice, ports, run->scratch);
}

/* Elements of all partial gradients, added in the slices' order. */
static TnStatus
sum_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const gint64 first = (gint64)chunk * SUM_GRAIN, count = MIN(SUM_GRAIN, plan->count - first);
    float *to = partial_of(job, 0) + first;
    (void)n;
    for (gsize s = 1; s < (gsize)plan->slices.n; s++) {
        const float *from = partial_of(job, s) + first;
        for (gint64 i = 0; i < count; i++) {
            to[i] += from[i];
        }
    }
    const TnDtypeInfo *info = tn_dtype_info(plan->dtype);
    info->store((char *)job->run->out[0] + (gsize)first * tn_dtype_size(plan->dtype), to, 1,
                (gsize)count);
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { plan, run };
    TnStatus status = slices_run(&plan->slices, run, run_slice, &job, "a convolution");
    if (status == TN_OK && plan->sums) {
        status =
            tn_parallel_for((gsize)((plan->count + SUM_GRAIN - 1) / SUM_GRAIN), sum_chunk, &job);
    }
    return status;
}

/* --- Planning --------------------------------------------------------------------------------- */

static OneDnnCall *
slice_new(gconstpointer data, gint64 size, GError **error)
{
    const Plan *plan = data;
    const OneDnnConv slice = slice_of(&plan->conv, plan->by, size);
    return onednn_conv_new(&slice, error);
}

static gsize
bytes_of(const OneDnnBox *box)
{
    return box->dtype == TN_DTYPE_NONE ? 0
                                       : (gsize)onednn_box_count(box) * tn_dtype_size(box->dtype);
}

/* Whether an image has the bits in these slices that it has by itself. */
static gboolean
same_alone(const Plan *plan)
{
    const OneDnnConv one = slice_of(&plan->conv, BY_IMAGES, 1);
    const OneDnnBox *a = one.kind == ONEDNN_CONV ? &one.x : &one.y;
    const OneDnnBox *out = one.kind == ONEDNN_CONV ? &one.y : &one.x;
    OneDnnSamples samples = {
        .slices = &plan->slices,
        .by_images = plan->by == BY_IMAGES,
        .images = plan->by == BY_IMAGES ? plan->slices.per : plan->conv.x.dims[0],
        .step = plan->step,
        .bytes = { [ONEDNN_A] = bytes_of(a),
                   [ONEDNN_B] = bytes_of(&one.w),
                   [ONEDNN_BIAS] = bytes_of(&one.bias),
                   [ONEDNN_OUT] = bytes_of(out) },
        .dtype = plan->dtype,
    };
    samples.alone = onednn_conv_new(&one, NULL);
    const gboolean same = samples.alone != NULL && onednn_same_alone(&samples);
    g_clear_pointer(&samples.alone, onednn_call_free);
    return same;
}

static gboolean
make_slices(Plan *plan, GError **error)
{
    set_steps(plan);
    return slices_make(&plan->slices, slice_new, error);
}

static void
cut_images(Plan *plan, gint64 most)
{
    for (gint i = 0; i < 2; i++) {
        g_clear_pointer(&plan->slices.call[i], onednn_call_free);
    }
    plan->slices.bytes = 0;
    plan->by = BY_IMAGES;
    slices_cut(&plan->slices, plan->conv.x.dims[0], 1, most);
}

/* Slices that do not show how many images there are: those that were chosen if they give the right bits,
 * as many of images, or a slice an image, which is tried last and so only once. What was found is kept for
 * nodes of the same sizes. */
static gboolean
make_invariant(Plan *plan, GError **error)
{
    const gint64 images = plan->conv.x.dims[0], n = plan->slices.n;
    const gboolean by_images = plan->by == BY_IMAGES;
    const struct {
        gint64 n;
        gboolean tried; /* no other one is the same */
    } cuts[] = { { n, !by_images || n < images },
                 { n, !by_images && n < images },
                 { images, TRUE } };
    const gint last = G_N_ELEMENTS(cuts) - 1;
    g_autofree char *key = onednn_conv_key(&plan->conv);
    const gint known = onednn_found(key);
    for (gint i = MAX(0, known);; i++) {
        if (!cuts[i].tried) {
            continue;
        }
        if (i > 0) {
            cut_images(plan, cuts[i].n);
        }
        const gboolean made = make_slices(plan, i == last ? error : NULL);
        if (i == last || (made && (i == known || same_alone(plan)))) {
            onednn_keep(key, i);
            return made;
        }
    }
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, OneDnnConvKind kind, gboolean winograd,
        GError **error)
{
    Plan *plan = g_new0(Plan, 1);
    OneDnnConv *conv = &plan->conv;
    *conv = onednn_conv_of(node, kind, winograd);
    plan->dtype = conv->x.dtype;
    choose_slices(plan);
    plan->count = node->out[0].count;
    plan->sums = kind == ONEDNN_CONV_WEIGHT && plan->by == BY_IMAGES &&
                 (plan->slices.n > 1 || conv->x.dtype != TN_DTYPE_F32);
    if (plan->sums) {
        conv->w.dtype = TN_DTYPE_F32;
        plan->partial_at = slices_reserve_own(&plan->slices, plan->count * (gint64)sizeof(float));
    }
    if (!(onednn_conv_is_invariant(node, kind) ? make_invariant : make_slices)(plan, error)) {
        slices_release(plan);
        return FALSE;
    }
    return slices_prepare(plan, slice_new, prepared, error);
}

#define DEFINE(name, kind, winograd)                                                               \
    static gboolean claims_##name(const TnNode *node)                                              \
    {                                                                                              \
        return onednn_conv_claims(node, kind, winograd);                                           \
    }                                                                                              \
    static gboolean pays_##name(const TnNode *node)                                                \
    {                                                                                              \
        return onednn_conv_of_node_pays(node, kind, winograd);                                     \
    }                                                                                              \
    static gboolean prepare_##name(const TnNode *node, TnPrepared *prepared, GError **error)       \
    {                                                                                              \
        return prepare(node, prepared, kind, winograd, error);                                     \
    }
DEFINE(forward, ONEDNN_CONV, FALSE)
DEFINE(data, ONEDNN_CONV_DATA, FALSE)
DEFINE(weight, ONEDNN_CONV_WEIGHT, FALSE)
DEFINE(forward_winograd, ONEDNN_CONV, TRUE)
DEFINE(data_winograd, ONEDNN_CONV_DATA, TRUE)
DEFINE(weight_winograd, ONEDNN_CONV_WEIGHT, TRUE)

#define ROW(op_, name, dtypes_, rank_)                                                             \
    {                                                                                              \
        .op = (op_), .dtypes = (dtypes_), .rank = (rank_), .claims = claims_##name,                \
        .prepare = prepare_##name, .run = run, .release = slices_release, .pays = pays_##name      \
    }
#define DIRECT(op_, name, dtypes_) ROW(op_, name, dtypes_, ONEDNN_RANK)
/* Rows of their own: they are faster at some sizes, and need more scratch. */
#define WINOGRAD(op_, name) ROW(op_, name##_winograd, TN_DT(F32), ONEDNN_RANK + 1)

static const TnKernel kernels[] = {
    WINOGRAD("conv", forward),
    WINOGRAD("conv_bias", forward),
    WINOGRAD("conv_transpose", data),
    WINOGRAD("conv_grad_weight", weight),
    DIRECT("conv", forward, TN_DT(F32) | TN_DT(BF16)),
    DIRECT("conv_bias", forward, TN_DT(F32) | TN_DT(BF16)),
    DIRECT("conv_transpose", data, TN_DT(F32) | TN_DT(BF16)),
    DIRECT("conv_grad_weight", weight, TN_DT(F32)), /* of bf16 the plugin cpu's is faster */
};

const TnKernelTable onednn_conv = ONEDNN_TABLE_THAT(kernels, TN_TABLE_BATCH_INVARIANT);
