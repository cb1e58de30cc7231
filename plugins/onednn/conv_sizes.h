/* conv_sizes.h: a node's convolution as the library sees it, and which nodes are taken. */
#pragma once

#include "call.h"

gint64 onednn_box_count(const OneDnnBox *box);
/* The whole convolution of a node. */
OneDnnConv onednn_conv_of(const TnNode *node, OneDnnConvKind kind, gboolean winograd);
/* Says all that the library's choices go by. (transfer full): g_free. */
char *onednn_conv_key(const OneDnnConv *conv);
/* Whether the number of images may not show. Gradients of weights are sums over them anyway. */
gboolean onednn_conv_is_invariant(const TnNode *node, OneDnnConvKind kind);
/* `claims` and `pays` of kernels (TnKernel). */
gboolean onednn_conv_claims(const TnNode *node, OneDnnConvKind kind, gboolean winograd);
gboolean onednn_conv_of_node_pays(const TnNode *node, OneDnnConvKind kind, gboolean winograd);
