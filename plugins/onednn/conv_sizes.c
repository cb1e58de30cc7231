/* conv_sizes.c: a node's convolution as the library sees it, and which nodes are taken. */
#include "conv_sizes.h"

#include "worth.h"

#include <string.h>

#include <tenon/ops.h>

/* Images that decide what is taken where their number may not. With 16 a training step of ResNet-18 took a
 * fifth longer for one image: Winograd's windows were transformed for it alone. */
#define IMAGES 8

gint64
onednn_box_count(const OneDnnBox *box)
{
    gint64 count = 1;
    for (gint i = 0; i < box->rank; i++) {
        count *= box->dims[i];
    }
    return count;
}

/* --- Sizes ------------------------------------------------------------------------------------ */

static OneDnnBox
box_of(const TnArg *arg)
{
    OneDnnBox box = { .dtype = arg->type.dtype, .rank = arg->type.rank };
    memcpy(box.dims, arg->type.dims, sizeof arg->type.dims);
    tn_type_strides(&arg->type, box.strides);
    return box;
}

/* Weights [M, C / groups, k…] as [groups, M / groups, C / groups, k…]. */
static OneDnnBox
grouped(const OneDnnBox *w, gint64 groups)
{
    OneDnnBox box = *w;
    box.rank = w->rank + 1;
    memmove(box.dims + 1, w->dims, (gsize)w->rank * sizeof *w->dims);
    memmove(box.strides + 1, w->strides, (gsize)w->rank * sizeof *w->strides);
    box.dims[0] = groups;
    box.dims[1] = w->dims[0] / groups;
    box.strides[0] = box.dims[1] * w->strides[0];
    return box;
}

OneDnnConv
onednn_conv_of(const TnNode *node, OneDnnConvKind kind, gboolean winograd)
{
    const TnConvAttrs *attrs = node->attrs;
    const TnArg *x = kind == ONEDNN_CONV_DATA ? &node->out[0] : &node->in[0];
    const TnArg *w = kind == ONEDNN_CONV_WEIGHT ? &node->out[0] : &node->in[1];
    const TnArg *y = kind == ONEDNN_CONV ? &node->out[0] : &node->in[kind == ONEDNN_CONV_WEIGHT];
    OneDnnConv conv = { .kind = kind, .winograd = winograd, .n = x->type.rank - 2 };
    conv.x = box_of(x);
    conv.w = box_of(w);
    conv.y = box_of(y);
    if (kind == ONEDNN_CONV && node->n_in > 2) {
        conv.bias = box_of(&node->in[2]);
    }
    if (attrs->group > 1) {
        conv.w = grouped(&conv.w, attrs->group);
    }
    for (gint i = 0; i < conv.n; i++) {
        const TnConvAxis axis = tn_conv_axis(attrs, conv.n, i);
        conv.stride[i] = axis.stride;
        conv.dilation[i] = axis.dilation;
        conv.pad[i] = axis.pad_begin;
    }
    return conv;
}

static void
append_numbers(GString *text, gint n, const gint64 *numbers)
{
    for (gint i = 0; i < n; i++) {
        g_string_append_printf(text, " %" G_GINT64_FORMAT, numbers[i]);
    }
    g_string_append_c(text, ',');
}

char *
onednn_conv_key(const OneDnnConv *conv)
{
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "%d %d %d %d", (int)conv->kind, conv->winograd, conv->x.dtype,
                           conv->bias.dtype);
    append_numbers(text, conv->x.rank, conv->x.dims);
    append_numbers(text, conv->w.rank, conv->w.dims);
    append_numbers(text, conv->y.rank, conv->y.dims);
    append_numbers(text, conv->n, conv->stride);
    append_numbers(text, conv->n, conv->dilation);
    append_numbers(text, conv->n, conv->pad);
    return g_string_free(text, FALSE);
}

/* --- What is taken ---------------------------------------------------------------------------- */

gboolean
onednn_conv_is_invariant(const TnNode *node, OneDnnConvKind kind)
{
    return node->batch_invariant && kind != ONEDNN_CONV_WEIGHT;
}

static gboolean
is_empty(const TnNode *node)
{
    return node->in[0].count == 0 || node->in[1].count == 0 || node->out[0].count == 0;
}

/* The sizes that are asked about. Where the number of images may not show they are those of IMAGES; and as
 * sixteen samples may become the last axis where there are as many (TN_KERNEL_LANES), what is taken there
 * and without must be the same: then both are asked about, whichever is there. */
typedef struct {
    OneDnnConv conv, lanes;
    gboolean both;
} Asked;

static void
set_box(OneDnnBox *box, gint rank, gint64 images, gint64 last)
{
    box->dims[0] = images > 0 ? images : box->dims[0];
    box->dims[rank - 1] = rank > box->rank ? last : box->dims[rank - 1];
    box->rank = rank;
}

static gboolean
has_lanes(const OneDnnConv *conv)
{
    return conv->n == 3 && conv->x.dims[4] == TN_LANES && conv->y.dims[4] == TN_LANES &&
           conv->w.dims[conv->w.rank - 1] == 1;
}

static Asked
asked_of(const TnNode *node, OneDnnConvKind kind, gboolean winograd)
{
    Asked asked = { .conv = onednn_conv_of(node, kind, winograd) };
    OneDnnConv *conv = &asked.conv, *lanes = &asked.lanes;
    if (!onednn_conv_is_invariant(node, kind)) {
        return asked;
    }
    asked.both = (conv->n == 2 || has_lanes(conv)) && conv->x.dtype == TN_DTYPE_F32;
    const gint w_rank = conv->w.rank - conv->n;
    conv->n = asked.both ? 2 : conv->n;
    set_box(&conv->x, 2 + conv->n, IMAGES, 0);
    set_box(&conv->y, 2 + conv->n, IMAGES, 0);
    set_box(&conv->w, w_rank + conv->n, 0, 0);
    if (!asked.both) {
        return asked;
    }
    *lanes = *conv;
    lanes->winograd = FALSE;
    lanes->n = 3;
    lanes->stride[2] = lanes->dilation[2] = 1;
    lanes->pad[2] = 0;
    set_box(&lanes->x, 5, 1, TN_LANES);
    set_box(&lanes->y, 5, 1, TN_LANES);
    set_box(&lanes->w, w_rank + 3, 0, 1);
    return asked;
}

gboolean
onednn_conv_claims(const TnNode *node, OneDnnConvKind kind, gboolean winograd)
{
    if (is_empty(node) || !onednn_takes(node->in[0].type.dtype)) {
        return FALSE;
    }
    const Asked asked = asked_of(node, kind, winograd);
    return (!winograd || (node->in[0].type.rank == 4 && onednn_winograd_fits(&asked.conv))) &&
           onednn_way_fits(onednn_conv_way(&asked.conv)) &&
           (!asked.both || onednn_way_fits(onednn_conv_way(&asked.lanes)));
}

gboolean
onednn_conv_of_node_pays(const TnNode *node, OneDnnConvKind kind, gboolean winograd)
{
    if (is_empty(node)) {
        return FALSE;
    }
    const Asked asked = asked_of(node, kind, winograd);
    return onednn_conv_pays(&asked.conv) && (!winograd || onednn_winograd_pays(&asked.conv)) &&
           (!asked.both || onednn_conv_pays(&asked.lanes));
}
