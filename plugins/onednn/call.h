/* call.h: one call of oneDNN on plain tensors: a primitive, with copies before and after it where
 * it wants another layout.
 *
 * What is behind it is descriptors in the style of oneDNN 2.x (3.x has none): call.c alone knows
 * them. A call is made once: any number of threads run it at once, each with scratch memory of its
 * own. */
#pragma once

#include <tenon/device.h>

/* Numbers in the library's arrays of sizes, whatever the rank. */
#define ONEDNN_DIMS 12

typedef enum { ONEDNN_A, ONEDNN_B, ONEDNN_BIAS, ONEDNN_OUT, ONEDNN_N_PORTS } OneDnnPort;

/* A tensor, or a box of one: sizes, and strides in elements. dtype TN_DTYPE_NONE: absent. */
typedef struct {
    TnDtype dtype; /* f32 or bf16 */
    gint rank;
    gint64 dims[ONEDNN_DIMS], strides[ONEDNN_DIMS];
} OneDnnBox;

/* y = conv (x, w) in terms of which x and which w: what A and B are, and what comes out. */
typedef enum {
    ONEDNN_CONV,       /* x, w → y; and a bias of y's maps */
    ONEDNN_CONV_DATA,  /* y, w → x */
    ONEDNN_CONV_WEIGHT /* x, y → w */
} OneDnnConvKind;

/* x [N, C, s…], w [M, C, k…] or [groups, M / groups, C / groups, k…], y [N, M, o…]. */
typedef struct {
    OneDnnConvKind kind;
    gboolean winograd; /* Winograd's algorithm F(4x4, 3x3), not the direct one */
    gint n;            /* spatial axes */
    OneDnnBox x, w, y, bias;
    gint64 stride[ONEDNN_DIMS], dilation[ONEDNN_DIMS], pad[ONEDNN_DIMS]; /* pad: before the first */
} OneDnnConv;

/* out [m, n] = a [m, k] b [k, n] + bias [1, n]; matrices with neighbours in one direction. */
typedef struct {
    OneDnnBox a, b, bias, out;
    gboolean pack; /* b is copied into the layout that the library likes best */
} OneDnnMatmul;

/* y: averages over windows of x; as the gradient, x: what each of y's shares adds up to. Both
 * [1, planes, s…]. */
typedef struct {
    gboolean gradient, count_padding; /* padding counts as elements */
    OneDnnBox x, y;
    gint64 kernel[ONEDNN_DIMS], stride[ONEDNN_DIMS], pad[ONEDNN_DIMS], pad_after[ONEDNN_DIMS];
} OneDnnPool;

typedef struct OneDnnCall OneDnnCall;

/* How the library would do something on this processor: plain loops are its last resort. */
typedef enum { ONEDNN_NOT, ONEDNN_BY_LOOPS, ONEDNN_BY_CODE } OneDnnWay;

/* Nothing is compiled. Thread: any. */
OneDnnWay onednn_conv_way(const OneDnnConv *conv);
OneDnnWay onednn_pool_way(const OneDnnPool *pool);
/* (transfer full): onednn_call_free. NULL with TN_ERROR_UNSUPPORTED or TN_ERROR_NO_MEMORY. May take
 * milliseconds: code is made. Thread: any. */
OneDnnCall *onednn_conv_new(const OneDnnConv *conv, GError **error);
/* As above. */
OneDnnCall *onednn_matmul_new(const OneDnnMatmul *matmul, GError **error);
OneDnnCall *onednn_pool_new(const OneDnnPool *pool, GError **error);
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
