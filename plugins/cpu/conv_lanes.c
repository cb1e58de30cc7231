/* conv_lanes.c: convolutions of few and small maps, computed for sixteen samples at once. The samples
 * are the last axis of x [N / 16, C, h, w, 16], as the pass `layout` lays them: to the operator an axis
 * along which the window has one tap. So every step is vertical: a weight times a vector, whatever the
 * sizes of images and windows, and nothing is copied, padded or shuffled.
 *
 * Sums run over maps, rows and taps in order for each sample by itself. */
#include "conv_lanes.h"

#include "conv_direct.h"
#include "cpu.h"
#include "tables.h"

/* Bytes of the images of sixteen samples, beyond which they leave the second-level cache, and products
 * of matrices are faster. */
#define MOST_BYTES (3 << 19)
/* Many weights' gradients of few places are mostly sums over lanes: products of matrices are faster. */
#define MANY_WEIGHTS (1 << 16)
#define FEW_PLACES 48

typedef enum { FORWARD, TRANSPOSE, WEIGHT } Kind;

/* --- Sizes ------------------------------------------------------------------------------------ */

static gboolean
is_lanes(const TnType *x, const TnType *w, const TnConvAttrs *attrs)
{
    const TnConvAxis lanes = tn_conv_axis(attrs, 3, 2);
    return x->rank == 5 && x->dims[4] == LANES && w->dims[4] == 1 && lanes.stride == 1 &&
           lanes.pad_begin == 0 && lanes.pad_end == 0 && lanes.output_padding == 0 &&
           attrs->group == 1;
}

static LanesPlan
sizes(const TnConvAttrs *attrs, const TnType *x, const TnType *w, const TnType *y)
{
    LanesPlan p = { .blocks = x->dims[0],
                    .x_maps = x->dims[1],
                    .y_maps = y->dims[1],
                    .weights = cpu_count(w->rank, w->dims),
                    .kernels = &conv_lanes_kernels[cpu_isa] };
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
turn_round(LanesPlan *p)
{
    p->turned = TRUE;
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
same_alone(const LanesPlan *p)
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
    const LanesPlan p = sizes(attrs, x, w, y);
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

/* --- Running ---------------------------------------------------------------------------------- */

static gboolean
prepare_forward(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const LanesPlan p =
        sizes(node->attrs, &node->in[0].type, &node->in[1].type, &node->out[0].type);
    (void)error;
    lanes_images_prepare(&p, FALSE, prepared);
    return TRUE;
}

static gboolean
prepare_forward_bias(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const LanesPlan p =
        sizes(node->attrs, &node->in[0].type, &node->in[1].type, &node->out[0].type);
    (void)error;
    lanes_images_prepare(&p, TRUE, prepared);
    return TRUE;
}

static gboolean
prepare_transpose(const TnNode *node, TnPrepared *prepared, GError **error)
{
    LanesPlan p = sizes(node->attrs, &node->out[0].type, &node->in[1].type, &node->in[0].type);
    (void)error;
    turn_round(&p);
    lanes_images_prepare(&p, FALSE, prepared);
    return TRUE;
}

static gboolean
prepare_weight(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const LanesPlan p =
        sizes(node->attrs, &node->in[0].type, &node->out[0].type, &node->in[1].type);
    (void)error;
    lanes_weight_prepare(&p, prepared);
    return TRUE;
}

#define ROW(name, claims_, prepare_, work)                                                         \
    {                                                                                              \
        .op = (name), .dtypes = TN_DT(F32), .flags = TN_KERNEL_LANES, .rank = 1,                   \
        .claims = (claims_), .prepare = (prepare_), .run = lanes_##work##_run,                     \
        .release = lanes_##work##_free                                                             \
    }

static const TnKernel kernels[] = {
    ROW("conv", claims_forward, prepare_forward, images),
    ROW("conv_bias", claims_forward, prepare_forward_bias, images),
    ROW("conv_transpose", claims_transpose, prepare_transpose, images),
    ROW("conv_grad_weight", claims_weight, prepare_weight, weight),
};

const TnKernelTable cpu_conv_lanes = CPU_TABLE(kernels);
