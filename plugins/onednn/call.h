/* call.h: one call of oneDNN on plain tensors: a primitive, with copies before and after it where
 * it wants another layout.
 *
 * What is behind it is descriptors in the style of oneDNN 2.x (3.x has none): call.c alone makes them. A call is
 * made once: any number of threads run it at once, each with scratch memory of its own. */
#pragma once

#include <tenon/device.h>

/* Numbers in the library's arrays of sizes, whatever the rank. */
#define ONEDNN_DIMS 12

typedef enum {
    ONEDNN_A,
    ONEDNN_B, /* of norms the scale */
    ONEDNN_BIAS,
    ONEDNN_OUT,
    ONEDNN_MORE, /* of convolutions */
    ONEDNN_MEAN, /* from here on of norms */
    ONEDNN_VARIANCE,
    ONEDNN_G,
    ONEDNN_DSCALE,
    ONEDNN_DBIAS,
    ONEDNN_H, /* from here on of recurrent layers: the first state, the first cells, h's weights */
    ONEDNN_C,
    ONEDNN_W_H,
    ONEDNN_N_PORTS
} OneDnnPort;

/* How elements lie. Blocks are those of conv_blocked (nn.h), tiles those of quantized_conv, without
 * gaps. */
typedef enum {
    ONEDNN_STRIDED,
    ONEDNN_BLOCKS,        /* [N, C / 16, h, w, 16] */
    ONEDNN_WINDOWS,       /* [M / 16, C / 16, k, k, 16 of C, 16 of M], or the same of each group */
    ONEDNN_FIRST_WINDOWS, /* [M / 16, k, k, C, 16 of M] */
    ONEDNN_TILES          /* of a matrix [K, N] of 8 bits: [N / 16, K / 64, 16, 16 of N, 4 of K] */
} OneDnnLayout;

/* A tensor, or a box of one: sizes, and strides in elements. dtype TN_DTYPE_NONE: absent. */
typedef struct {
    TnDtype dtype; /* f32, bf16; of products and convolutions also u8 or i8, i8 → i32 */
    OneDnnLayout layout;
    gint rank;
    gint64 dims[ONEDNN_DIMS], strides[ONEDNN_DIMS];
} OneDnnBox;

/* y = conv (x, w) in terms of which x and which w: what A and B are, and what comes out. */
typedef enum {
    ONEDNN_CONV,       /* x, w → y; and a bias of y's maps, and more */
    ONEDNN_CONV_DATA,  /* y, w → x */
    ONEDNN_CONV_WEIGHT /* x, y → w */
} OneDnnConvKind;

/* x [N, C, s…], w [M, C, k…] or [groups, M / groups, C / groups, k…], y [N, M, o…]. */
typedef struct {
    OneDnnConvKind kind;
    gboolean winograd; /* Winograd's algorithm F(4x4, 3x3), not the direct one */
    gboolean in_place; /* tensors as they lie, not in the layouts that the library likes best */
    gboolean laid;     /* w comes in the library's layout (onednn_lay_new) */
    gint n;            /* spatial axes */
    OneDnnBox x, w, y, bias, more; /* more: added to what comes out, as y */
    gint64 stride[ONEDNN_DIMS], dilation[ONEDNN_DIMS], pad[ONEDNN_DIMS]; /* pad: before the first */
} OneDnnConv;

/* out [m, n] = a [m, k] b [k, n] + bias [1, n]; matrices with neighbours in one direction. */
typedef struct {
    OneDnnBox a, b, bias, out;
    gboolean pack; /* b is copied into the layout that the library likes best */
    gboolean laid; /* or comes in it (onednn_lay_new) */
} OneDnnMatmul;

/* y: averages or maxima over windows of x; as the gradient, of averages, x: what each of y's shares adds up
 * to. Both [1, planes, s…]. The largest of a window with NaN, or of infinities below 0 alone, is not what it
 * should be. */
typedef struct {
    gboolean max;
    gboolean gradient, count_padding; /* padding counts as elements */
    OneDnnBox x, y;
    gint64 kernel[ONEDNN_DIMS], stride[ONEDNN_DIMS], pad[ONEDNN_DIMS], pad_after[ONEDNN_DIMS];
} OneDnnPool;

/* Of each row of x [rows, n]; what comes out lies as x does. An element that is NaN does not make its
 * row NaN. */
typedef struct {
    gboolean log;
    OneDnnBox x;
} OneDnnSoftmax;

typedef enum { ONEDNN_LAYER, ONEDNN_BATCH } OneDnnNormKind;

/* Layer: x [rows, n], scale and bias [n], statistics [rows]; batch: x [N, C, 1, n], the others [C].
 * All but x f32. Forward: A, B, BIAS → OUT, MEAN, VARIANCE, the last two given if `fixed`; the gradient:
 * A, B, MEAN, VARIANCE, G → OUT, DSCALE, DBIAS; it wants BIAS too, of any contents. */
typedef struct {
    OneDnnNormKind kind;
    gboolean gradient, fixed;
    gboolean blocked; /* batch: x is copied into blocks of 16 channels */
    double epsilon;
    OneDnnBox x, scale, bias, stats;
} OneDnnNorm;

/* A layer of lstm (gates i, f, g, o) or of gru with the linear part before the reset (gates z, r, n) over a
 * sequence, in inference. x [steps, N, I], y [steps, N, H], h and c (lstm's, f32) [1, 1, N, H],
 * w_x [1, 1, I, gates, H], w_h [1, 1, H, gates, H], bias f32 [1, 1, gates, H]; gru has a fourth one, that of
 * h's part of n. w_x and w_h come in the library's layout (onednn_lay_new). */
typedef struct {
    gboolean gru;
    OneDnnBox x, y, h, c, w_x, w_h, bias;
} OneDnnRnn;

typedef struct OneDnnCall OneDnnCall;

/* How the library would do something on this processor: plain loops are its last resort. */
typedef enum { ONEDNN_NOT, ONEDNN_BY_LOOPS, ONEDNN_BY_CODE } OneDnnWay;

/* Nothing is compiled. Thread: any. */
OneDnnWay onednn_conv_way(const OneDnnConv *conv);
OneDnnWay onednn_matmul_way(const OneDnnMatmul *matmul);
OneDnnWay onednn_pool_way(const OneDnnPool *pool);
OneDnnWay onednn_softmax_way(const OneDnnSoftmax *softmax);
OneDnnWay onednn_norm_way(const OneDnnNorm *norm);
/* What calls itself plain loops here are products by the library's code, too. */
OneDnnWay onednn_rnn_way(const OneDnnRnn *rnn);
/* (transfer full): onednn_call_free. NULL with TN_ERROR_UNSUPPORTED or TN_ERROR_NO_MEMORY. May take
 * milliseconds: code is made. Thread: any. */
OneDnnCall *onednn_conv_new(const OneDnnConv *conv, GError **error);
/* As above. */
OneDnnCall *onednn_matmul_new(const OneDnnMatmul *matmul, GError **error);
OneDnnCall *onednn_pool_new(const OneDnnPool *pool, GError **error);
OneDnnCall *onednn_softmax_new(const OneDnnSoftmax *softmax, GError **error);
OneDnnCall *onednn_norm_new(const OneDnnNorm *norm, GError **error);
OneDnnCall *onednn_rnn_new(const OneDnnRnn *rnn, GError **error);
/* A call that lays a tensor, ONEDNN_A, as port of `call` takes it, ONEDNN_OUT: one that comes laid. *bytes: what
 * that takes. NULL without an error and 0 bytes: it is taken as it lies. */
OneDnnCall *onednn_lay_new(const OneDnnCall *call, OneDnnPort port, gsize *bytes, GError **error);
/* Whether both take the port's tensor in the same layout. */
gboolean onednn_lie_alike(const OneDnnCall *a, const OneDnnCall *b, OneDnnPort port);
void onednn_call_free(OneDnnCall *call);
/* Bytes of scratch, whole cache lines; TN_ALIGN aligned. */
gsize onednn_call_scratch(const OneDnnCall *call);
/* Makes what n threads need that run the call at once, so that nothing is made while they do. Without
 * memory it is made then. Thread: one, before the call is run. */
void onednn_call_spare(OneDnnCall *call, gint64 n);
/* Of so many slices, how many run at once with the threads that there are now. */
gint64 onednn_at_once(gint64 slices);
/* ports: to the first element of each box; NULL: absent. The library's own code makes small
 * allocations. Thread: any. */
TnStatus onednn_call_run(OneDnnCall *call, void *const *ports, void *scratch);
