/* worth.h: for which sizes oneDNN is taken, for none of these kernels is faster everywhere. */
#pragma once

#include "call.h"

/* TENON_ONEDNN=all: whatever the library can do is taken, for tests and measurements. */
void onednn_take_all(gboolean all);

/* Whether the library can be used here for tensors of that dtype. */
gboolean onednn_takes(TnDtype dtype);
/* Whether what the library would do may be faster at all. */
gboolean onednn_way_fits(OneDnnWay way);
/* Whether a convolution is faster than the plugin cpu's. */
gboolean onednn_conv_pays(const OneDnnConv *conv);
/* Whether Winograd's algorithm is there for such windows; whether it is faster than the direct one
 * where it is. */
gboolean onednn_winograd_fits(const OneDnnConv *conv);
gboolean onednn_winograd_pays(const OneDnnConv *conv);
/* Whether averages over windows are, of so many elements read. */
gboolean onednn_pool_pays(gint64 reads);
/* Whether maxima are, of images of that rank. side_by_side: of 2 x 2 in steps of 2. */
gboolean onednn_max_pool_pays(gint64 reads, gint rank, gboolean side_by_side);
/* Whether softmax of so many numbers is. */
gboolean onednn_softmax_pays(TnDtype dtype, gint64 count);
/* Whether layer normalisation of such rows, or its gradient, is. */
gboolean onednn_layer_norm_pays(TnDtype dtype, gboolean gradient, gint64 rows, gint64 n);
/* Whether what only a table of times should ask for is. */
gboolean onednn_table_alone_pays(void);
/* Whether sums of 8-bit numbers with so many products in all are. */
gboolean onednn_integer_pays(gint64 work);
