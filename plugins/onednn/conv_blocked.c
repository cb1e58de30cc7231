/* conv_blocked.c: convolutions of images in blocks of channels, with what follows them (conv_blocked),
 * by oneDNN in f32. The operator's layouts are the library's own: nothing is copied, and weights are
 * laid once, by the graph. A bias and another image are added by the library; its max (., 0) would
 * make 0 of NaN, so that is done here, a slice at a time.
 *
 * Slices are some images, or an image's share of blocks of channels out, by sizes alone. */
#include "slices.h"
#include "tables.h"
#include "worth.h"

#include <string.h>

#include <tenon/nn.h>
#include <tenon/ops.h>

#define L TN_LANES
/* Slices at most where one image is not a slice, and multiplications that one should have. */
#define MOST_SLICES 8
#define SLICE_WORK (1 << 22)

enum { X, W, BIAS, MORE };

typedef struct {
    Slices slices;   /* of images, or of blocks of channels out of each image */
    OneDnnConv conv; /* of all images */
    gboolean relu, by_images;
    gint64 images, blocks;
    gint64 x_image, y_image, y_block, w_block; /* floats */
} Plan;

typedef struct {
    const Plan *plan;
    const TnRun *run;
} Job;

/* --- Sizes ------------------------------------------------------------------------------------ */

static OneDnnBox
blocks_of(const TnType *type)
{
    return (
        OneDnnBox){ .dtype = TN_DTYPE_F32,
                    .layout = ONEDNN_BLOCKS,
                    .rank = 4,
                    .dims = { type->dims[0], type->dims[1] * L, type->dims[2], type->dims[3] } };
}

static OneDnnBox
plain_of(const TnType *type)
{
    OneDnnBox box = { .dtype = TN_DTYPE_F32, .rank = 4 };
    memcpy(box.dims, type->dims, 4 * sizeof *box.dims);
    tn_type_strides(type, box.strides);
    return box;
}

static OneDnnBox
windows_of(const TnType *w, gint64 groups)
{
    const gboolean first = w->rank == 5;
    OneDnnBox box = { .dtype = TN_DTYPE_F32,
                      .layout = first ? ONEDNN_FIRST_WINDOWS : ONEDNN_WINDOWS,
                      .rank = 4,
                      .dims = { w->dims[0] * L, first ? w->dims[3] : w->dims[1] * L,
                                w->dims[first ? 1 : 2], w->dims[first ? 2 : 3] } };
    if (groups > 1) {
        box.rank = 5;
        memmove(box.dims + 1, box.dims, 4 * sizeof *box.dims);
        box.dims[0] = groups;
        box.dims[1] /= groups;
    }
    return box;
}

static gboolean
is_there(const TnNode *node, gint i)
{
    return node->n_in > i && node->in[i].type.dtype != TN_DTYPE_NONE;
}

static void
plan_conv(Plan *plan, const TnNode *node)
{
    const TnConvBlockedAttrs *attrs = node->attrs;
    const TnType *x = &node->in[X].type, *w = &node->in[W].type, *y = &node->out[0].type;
    OneDnnConv *conv = &plan->conv;
    *conv = (OneDnnConv){ .kind = ONEDNN_CONV, .in_place = TRUE, .n = 2 };
    conv->x = x->rank == 5 ? blocks_of(x) : plain_of(x);
    conv->w = windows_of(w, attrs->conv.group);
    conv->y = blocks_of(y);
    if (is_there(node, BIAS)) {
        conv->bias = (OneDnnBox){
            .dtype = TN_DTYPE_F32, .rank = 1, .dims = { y->dims[1] * L }, .strides = { 1 }
        };
    }
    if (is_there(node, MORE)) {
        conv->more = conv->y;
    }
    for (gint i = 0; i < conv->n; i++) {
        const TnConvAxis axis = tn_conv_axis(&attrs->conv, conv->n, i);
        conv->stride[i] = axis.stride;
        conv->dilation[i] = axis.dilation;
        conv->pad[i] = axis.pad_begin;
    }
    plan->relu = attrs->relu;
    plan->images = y->dims[0];
    plan->blocks = y->dims[1];
    plan->x_image = node->in[X].count / plan->images;
    plan->y_image = node->out[0].count / plan->images;
    plan->y_block = plan->y_image / plan->blocks;
    plan->w_block = node->in[W].count / plan->blocks;
}

static void
plan_slices(Plan *plan)
{
    const gint64 work = plan->y_image * plan->w_block / L; /* of an image */
    const gboolean groups = plan->conv.w.rank > 4;
    const gint64 most = MIN(MOST_SLICES, MIN(plan->blocks, work / SLICE_WORK));
    plan->by_images = plan->images >= MOST_SLICES || groups || most < 2;
    if (plan->by_images) {
        slices_cut(&plan->slices, plan->images, CLAMP(SLICE_WORK / MAX(1, work), 1, plan->images),
                   plan->images);
    } else {
        slices_cut(&plan->slices, plan->blocks, 1, most);
        plan->slices.times = plan->images;
    }
}

/* Of so many images, or so many blocks of channels out of one. */
static OneDnnConv
slice_of(const Plan *plan, gint64 size)
{
    OneDnnConv slice = plan->conv;
    slice.x.dims[0] = slice.y.dims[0] = slice.more.dims[0] = plan->by_images ? size : 1;
    if (!plan->by_images) {
        slice.y.dims[1] = slice.more.dims[1] = slice.w.dims[0] = slice.bias.dims[0] = size * L;
    }
    return slice;
}

/* --- Running ---------------------------------------------------------------------------------- */

static void
rectify(float *y, gint64 n)
{
    for (gint64 i = 0; i < n; i++) {
        y[i] = y[i] <= 0 ? 0 : y[i]; /* NaN stays */
    }
}

static TnStatus
run_slice(gpointer data, gsize slice, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const TnRun *run = job->run;
    const gint64 first = slices_first(&plan->slices, slice),
                 size = slices_size(&plan->slices, slice);
    const gint64 image = plan->by_images ? first : slices_batch(&plan->slices, slice);
    const gint64 block = plan->by_images ? 0 : first;
    const gint64 at = image * plan->y_image + block * plan->y_block;
    float *y = (float *)run->out[0] + at;
    void *ports[ONEDNN_N_PORTS] = { NULL };
    (void)n;
    ports[ONEDNN_A] = (float *)run->in[X] + image * plan->x_image;
    ports[ONEDNN_B] = (float *)run->in[W] + block * plan->w_block;
    ports[ONEDNN_OUT] = y;
    if (plan->conv.bias.dtype != TN_DTYPE_NONE) {
        ports[ONEDNN_BIAS] = (float *)run->in[BIAS] + block * L;
    }
    if (plan->conv.more.dtype != TN_DTYPE_NONE) {
        ports[ONEDNN_MORE] = (float *)run->in[MORE] + at;
    }
    const TnStatus status = slices_call(&plan->slices, slice, ports, run->scratch);
    if (plan->relu) {
        rectify(y, size * (plan->by_images ? plan->y_image : plan->y_block));
    }
    return status;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { plan, run };
    return slices_run(&plan->slices, run, run_slice, &job, "a convolution");
}

/* --- Planning --------------------------------------------------------------------------------- */

static OneDnnCall *
slice_new(gconstpointer plan, gint64 size, GError **error)
{
    const OneDnnConv slice = slice_of(plan, size);
    return onednn_conv_new(&slice, error);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *plan = g_new0(Plan, 1);
    plan_conv(plan, node);
    plan_slices(plan);
    return slices_prepare(plan, slice_new, prepared, error);
}

/* Blocks of 16 channels; the library's code takes images that are not in blocks where they have few. */
static gboolean
claims(const TnNode *node)
{
    Plan plan = { .images = 0 };
    if (node->in[W].type.rank != node->in[X].type.rank + 1 || node->in[X].count == 0 ||
        node->out[0].count == 0 || !onednn_takes(TN_DTYPE_F32)) {
        return FALSE;
    }
    plan_conv(&plan, node);
    return onednn_way_fits(onednn_conv_way(&plan.conv));
}

static gboolean
pays(const TnNode *node)
{
    (void)node;
    return onednn_table_alone_pays();
}

static const TnKernel kernels[] = {
    { .op = "conv_blocked",
      .dtypes = TN_DT(F32),
      .rank = ONEDNN_RANK,
      .claims = claims,
      .prepare = prepare,
      .run = run,
      .release = slices_release,
      .pays = pays },
};

const TnKernelTable onednn_conv_blocked = ONEDNN_TABLE(kernels);
