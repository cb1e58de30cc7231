/* worth.c: rules of thumb for which sizes oneDNN is taken.
 *
 * Measured with oneDNN 2.6.3 on one core with AVX-512 and AMX (Sapphire Rapids), tensors plain
 * before and after, as ratios of the plugin cpu's time to oneDNN's, copies included. The sizes were
 * ResNet's at 32 and 224 pixels, LeNet's, depthwise and grouped ones: see docs/onednn.md. Where a row
 * lets something through the ratio was above 1, or too close to 1 to tell on a busy machine. Where
 * `tenon tune` has measured these sizes, or some near them, its table decides instead. */
#include "worth.h"

#include "library.h"

static gboolean take_all;

void
onednn_take_all(gboolean all)
{
    take_all = all;
}

gboolean
onednn_takes(TnDtype dtype)
{
    return onednn.usable && (dtype != TN_DTYPE_BF16 || onednn.bf16);
}

gboolean
onednn_way_fits(OneDnnWay way)
{
    return way == ONEDNN_BY_CODE || (way == ONEDNN_BY_LOOPS && take_all);
}

#define SMALL (1 << 20)
#define ANY G_MAXINT64

/* A convolution is taken if one row of its type and kind has no more than it has of the first, and
 * no less of the last. Channels and maps (x's and y's) are those of a group; positions are the
 * places of all images at which y is; work is multiplications. */
typedef struct {
    TnDtype dtype;
    OneDnnConvKind kind;
    gint64 taps, channels, maps, positions, work; /* at least */
    gint64 groups, stride;                        /* at most */
} ConvRule;

static const ConvRule conv_rules[] = {
    { TN_DTYPE_F32, ONEDNN_CONV, 2, 1, 16, 256, SMALL, 1, ANY },
    { TN_DTYPE_F32, ONEDNN_CONV, 2, 16, 16, 256, SMALL, ANY, ANY },
    { TN_DTYPE_F32, ONEDNN_CONV_DATA, 2, 16, 16, 1, SMALL, 1, ANY },
    { TN_DTYPE_F32, ONEDNN_CONV_WEIGHT, 2, 1, 16, 1, SMALL, 1, 1 },
    { TN_DTYPE_F32, ONEDNN_CONV_WEIGHT, 2, 16, 16, 1, SMALL, ANY, 1 },
    { TN_DTYPE_F32, ONEDNN_CONV_WEIGHT, 2, 1, 16, 4096, SMALL, 1, ANY },
    /* The plugin cpu computes bf16 in f32, with copies of everything. */
    { TN_DTYPE_BF16, ONEDNN_CONV, 1, 1, 1, 1, SMALL, ANY, ANY },
    { TN_DTYPE_BF16, ONEDNN_CONV_DATA, 1, 4, 1, 1, SMALL, ANY, ANY },
};

/* A convolution's sizes as the rules count them. */
typedef struct {
    gint64 taps, channels, maps, positions, work, groups, stride;
} ConvSize;

static ConvSize
size_of(const OneDnnConv *conv)
{
    const gint first = conv->w.rank - conv->n;
    ConvSize size = { .taps = 1, .positions = conv->y.dims[0] };
    for (gint i = 0; i < conv->n; i++) {
        size.taps *= conv->w.dims[first + i];
        size.positions *= conv->y.dims[2 + i];
        size.stride = MAX(size.stride, conv->stride[i]);
    }
    size.groups = first > 2 ? conv->w.dims[0] : 1;
    size.channels = conv->w.dims[first - 1];
    size.maps = conv->w.dims[first - 2];
    size.work = size.positions * size.groups * size.maps * size.channels * size.taps;
    return size;
}

/* Sixteen samples as the last axis, and few channels: the plugin cpu has kernels for just that. */
static gboolean
is_lanes(const OneDnnConv *conv, const ConvSize *size)
{
    const gint last = conv->n - 1;
    return conv->n == 3 && conv->x.dtype == TN_DTYPE_F32 && conv->x.dims[2 + last] == TN_LANES &&
           conv->w.dims[conv->w.rank - 1] == 1 && MAX(size->channels, size->maps) <= 16;
}

gboolean
onednn_conv_pays(const OneDnnConv *conv)
{
    const ConvSize size = size_of(conv);
    if (is_lanes(conv, &size)) {
        return take_all;
    }
    for (guint i = 0; i < G_N_ELEMENTS(conv_rules); i++) {
        const ConvRule *r = &conv_rules[i];
        if (r->dtype == conv->x.dtype && r->kind == conv->kind && size.taps >= r->taps &&
            size.channels >= r->channels && size.maps >= r->maps &&
            size.positions >= r->positions && size.work >= r->work && size.groups <= r->groups &&
            size.stride <= r->stride) {
            return TRUE;
        }
    }
    return take_all;
}

/* The transforms of weights and images pay with this many channels on both sides, and if the
 * weights meet this many positions of images. */
#define WINOGRAD_CHANNELS 32
#define WINOGRAD_POSITIONS 1024
#define WINOGRAD_WEIGHT_POSITIONS 512

gboolean
onednn_winograd_fits(const OneDnnConv *conv)
{
    if (conv->x.dtype != TN_DTYPE_F32 || conv->n != 2 || conv->w.rank > 4) {
        return FALSE;
    }
    for (gint i = 0; i < conv->n; i++) {
        if (conv->w.dims[2 + i] != 3 || conv->stride[i] != 1 || conv->dilation[i] != 1) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean
onednn_winograd_pays(const OneDnnConv *conv)
{
    const ConvSize size = size_of(conv);
    const gint64 positions =
        conv->kind == ONEDNN_CONV_WEIGHT ? WINOGRAD_WEIGHT_POSITIONS : WINOGRAD_POSITIONS;
    return MIN(size.channels, size.maps) >= WINOGRAD_CHANNELS && size.positions >= positions;
}

/* Averages and their gradients took the plugin cpu 0.7 to 14 times as long, most where planes have few places
 * (Zen 4): only calls that are over before the library has begun stay with it. */
gboolean
onednn_pool_pays(gint64 reads)
{
    return take_all || reads >= 1 << 14;
}

/* Maxima of 2 x 2 side by side are the plugin cpu's, and those of sixteen samples as the last axis (rank 5);
 * other windows took it 1.1 to 10 times as long, most where planes have few places (Zen 4). The result is the
 * same. */
gboolean
onednn_max_pool_pays(gint64 reads, gint rank, gboolean side_by_side)
{
    return take_all || (rank == 4 && !side_by_side && reads >= 1 << 14);
}

/* Rows of f32 took the plugin cpu 0.3 to 0.9 of oneDNN's time on Zen 4. With tiles (Sapphire Rapids) only
 * former kernels of it were measured, of which those of few numbers alone were as fast. Of bf16 it has no
 * kernel: what the body is fused to took 1.0 to 3.1 times as long, in programs of the operator alone. */
gboolean
onednn_softmax_pays(TnDtype dtype, gint64 count)
{
    return take_all || dtype == TN_DTYPE_BF16 || (onednn.tiles && count >= 2048);
}

/* The same of bf16: 1.2 to 3.5 times as long, the gradient 1.6 to 5.6 times, of rows of whole vectors, for
 * which alone the library has code: others took it up to a hundred times as long as the body. The gradient of
 * few rows took it 2 to 8 times as long. Of f32 the plugin cpu took 0.4 to 1.3 of oneDNN's time (Zen 4), most
 * of rows of 64 numbers: too little to have other bits for. */
gboolean
onednn_layer_norm_pays(TnDtype dtype, gboolean gradient, gint64 rows, gint64 n)
{
    const gboolean fits = dtype == TN_DTYPE_BF16 && n % 16 == 0;
    return take_all || (fits && (!gradient || rows >= 16));
}

/* In programs the plugin cpu's products of f32 win at every size, those of bf16 took 0.3 to 1.2 of
 * oneDNN's time but for a single row (1.8); its convolutions over blocks of channels took
 * 0.79 to 1.12 of oneDNN's time at ResNet-50's sizes, most of them less; its batch normalisation took 0.3 to 0.5 of
 * oneDNN's time; of its recurrent layers those of f32 0.2 to 1.2, lstm of bf16 0.5 to 1.8, gru 0.3 to 0.9.
 * Only a table of times asks for these. */
gboolean
onednn_table_alone_pays(void)
{
    return take_all;
}

/* What the plugin cpu makes of these, products of f64, took it 1.3 to 6.4 times as long from 262,144
 * products on; 0.44 to 0.94 of at most 13,824. */
gboolean
onednn_integer_pays(gint64 work)
{
    return take_all || work >= 1 << 18;
}
