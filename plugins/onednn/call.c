/* call.c: descriptors of oneDNN 2.x, a kind of primitive each; what surrounds a primitive is ports.c.
 *
 * A primitive is made for the layout that the library likes best ("any"). Layouts that last from one
 * operator to the next would be met here: a port whose tensor has that layout already needs no copy. */
#include "ports.h"

G_STATIC_ASSERT(ONEDNN_DIMS == DNNL_MAX_NDIMS);

/* --- Descriptors ------------------------------------------------------------------------------ */

static dnnl_data_type_t
type_of(TnDtype dtype)
{
    return dtype == TN_DTYPE_BF16 ? dnnl_bf16 : dnnl_f32;
}

gboolean
onednn_plain_desc(const OneDnnBox *box, dnnl_memory_desc_t *desc)
{
    return onednn.memory_desc_init_by_strides(desc, box->rank, box->dims, type_of(box->dtype),
                                              box->strides) == dnnl_success;
}

static gboolean
any_desc(const OneDnnBox *box, dnnl_memory_desc_t *desc)
{
    return onednn.memory_desc_init_by_tag(desc, box->rank, box->dims, type_of(box->dtype),
                                          dnnl_format_tag_any) == dnnl_success;
}

static dnnl_primitive_desc_t
desc_new(const_dnnl_op_desc_t op, dnnl_primitive_desc_t hint)
{
    dnnl_primitive_desc_t desc = NULL;
    const dnnl_status_t status =
        onednn.primitive_desc_create(&desc, op, onednn.attr, onednn.engine, hint);
    return status == dnnl_success ? desc : NULL;
}

static void
desc_free(dnnl_primitive_desc_t desc)
{
    if (desc != NULL) {
        onednn.primitive_desc_destroy(desc);
    }
}

/* Takes desc, which may be NULL. */
static OneDnnWay
way_of(dnnl_primitive_desc_t desc)
{
    const char *name = "";
    if (desc == NULL) {
        return ONEDNN_NOT;
    }
    onednn.primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &name);
    const gboolean loops = g_str_has_prefix(name, "ref") || g_str_has_prefix(name, "simple");
    desc_free(desc);
    return loops ? ONEDNN_BY_LOOPS : ONEDNN_BY_CODE;
}

/* --- Convolutions ----------------------------------------------------------------------------- */

/* Zeros after the last element, as many as y's size needs: fewer than were asked for where a stride
 * does not reach them. */
static void
pads_after(const OneDnnConv *conv, dnnl_dims_t after)
{
    const gint first = conv->w.rank - conv->n;
    for (gint i = 0; i < conv->n; i++) {
        const gint64 reach = conv->dilation[i] * (conv->w.dims[first + i] - 1);
        const gint64 last = (conv->y.dims[2 + i] - 1) * conv->stride[i] + reach;
        after[i] = last - conv->pad[i] - (conv->x.dims[2 + i] - 1);
    }
}

static dnnl_primitive_desc_t
conv_desc(const OneDnnConv *conv)
{
    /* Not dnnl_convolution_auto, which takes Winograd's for few of the sizes where it is faster. */
    const dnnl_alg_kind_t algorithm =
        conv->winograd ? dnnl_convolution_winograd : dnnl_convolution_direct;
    const gboolean bias = conv->bias.dtype != TN_DTYPE_NONE;
    OneDnnBox hint = conv->w; /* gradients of weights may be of another type than x */
    dnnl_memory_desc_t x, w, y, b, hint_w;
    dnnl_convolution_desc_t op;
    dnnl_dims_t dilates, after;
    hint.dtype = conv->x.dtype;
    if (!any_desc(&conv->x, &x) || !any_desc(&conv->w, &w) || !any_desc(&conv->y, &y) ||
        !any_desc(&hint, &hint_w) || (bias && !onednn_plain_desc(&conv->bias, &b))) {
        return NULL;
    }
    for (gint i = 0; i < conv->n; i++) {
        dilates[i] = conv->dilation[i] - 1;
    }
    pads_after(conv, after);
    /* Gradients want the forward convolution as a hint. As in training, for in inference Winograd's
     * algorithm takes weights that were transformed before, which the library does slowly. */
    dnnl_status_t status = onednn.dilated_convolution_forward_desc_init(
        &op, dnnl_forward_training, algorithm, &x, &hint_w, bias ? &b : NULL, &y, conv->stride,
        dilates, conv->pad, after);
    dnnl_primitive_desc_t forward = status == dnnl_success ? desc_new(&op, NULL) : NULL;
    if (forward == NULL || conv->kind == ONEDNN_CONV) {
        return forward;
    }
    if (conv->kind == ONEDNN_CONV_DATA) {
        status = onednn.dilated_convolution_backward_data_desc_init(
            &op, algorithm, &x, &w, &y, conv->stride, dilates, conv->pad, after);
    } else {
        status = onednn.dilated_convolution_backward_weights_desc_init(
            &op, algorithm, &x, &w, NULL, &y, conv->stride, dilates, conv->pad, after);
    }
    dnnl_primitive_desc_t backward = status == dnnl_success ? desc_new(&op, forward) : NULL;
    desc_free(forward);
    return backward;
}

OneDnnWay
onednn_conv_way(const OneDnnConv *conv)
{
    onednn_enter_thread();
    return way_of(conv_desc(conv));
}

OneDnnCall *
onednn_conv_new(const OneDnnConv *conv, GError **error)
{
    const OneDnnBox *x = &conv->x, *w = &conv->w, *y = &conv->y;
    const OneDnnPortUse uses[][ONEDNN_N_PORTS] = {
        [ONEDNN_CONV] = { [ONEDNN_A] = { x, DNNL_ARG_SRC, dnnl_query_src_md },
                          [ONEDNN_B] = { w, DNNL_ARG_WEIGHTS, dnnl_query_weights_md },
                          [ONEDNN_BIAS] = { &conv->bias, DNNL_ARG_BIAS },
                          [ONEDNN_OUT] = { y, DNNL_ARG_DST, dnnl_query_dst_md, TRUE } },
        [ONEDNN_CONV_DATA] = { [ONEDNN_A] = { y, DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md },
                               [ONEDNN_B] = { w, DNNL_ARG_WEIGHTS, dnnl_query_weights_md },
                               [ONEDNN_OUT] = { x, DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md,
                                                TRUE } },
        [ONEDNN_CONV_WEIGHT] = { [ONEDNN_A] = { x, DNNL_ARG_SRC, dnnl_query_src_md },
                                 [ONEDNN_B] = { y, DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md },
                                 [ONEDNN_OUT] = { w, DNNL_ARG_DIFF_WEIGHTS,
                                                  dnnl_query_diff_weights_md, TRUE } },
    };
    onednn_enter_thread();
    return onednn_call_new(conv_desc(conv), uses[conv->kind], error);
}

/* --- Products --------------------------------------------------------------------------------- */

static dnnl_primitive_desc_t
matmul_desc(const OneDnnMatmul *matmul)
{
    const OneDnnBox *b = &matmul->b;
    const gboolean has_bias = matmul->bias.dtype != TN_DTYPE_NONE;
    dnnl_memory_desc_t a_desc, b_desc, bias, out;
    dnnl_matmul_desc_t op;
    if (!onednn_plain_desc(&matmul->a, &a_desc) || !onednn_plain_desc(&matmul->out, &out) ||
        !(matmul->pack ? any_desc(b, &b_desc) : onednn_plain_desc(b, &b_desc)) ||
        (has_bias && !onednn_plain_desc(&matmul->bias, &bias)) ||
        onednn.matmul_desc_init(&op, &a_desc, &b_desc, has_bias ? &bias : NULL, &out) !=
            dnnl_success) {
        return NULL;
    }
    return desc_new(&op, NULL);
}

OneDnnCall *
onednn_matmul_new(const OneDnnMatmul *matmul, GError **error)
{
    const OneDnnPortUse uses[ONEDNN_N_PORTS] = {
        [ONEDNN_A] = { &matmul->a, DNNL_ARG_SRC },
        [ONEDNN_B] = { &matmul->b, DNNL_ARG_WEIGHTS, dnnl_query_weights_md },
        [ONEDNN_BIAS] = { &matmul->bias, DNNL_ARG_BIAS },
        [ONEDNN_OUT] = { &matmul->out, DNNL_ARG_DST, dnnl_query_undef, TRUE },
    };
    onednn_enter_thread();
    return onednn_call_new(matmul_desc(matmul), uses, error);
}

/* --- Pooling ---------------------------------------------------------------------------------- */

/* Plain throughout: the library turns what it needs by itself. */
static dnnl_primitive_desc_t
pool_desc(const OneDnnPool *pool)
{
    const dnnl_alg_kind_t algorithm =
        pool->count_padding ? dnnl_pooling_avg_include_padding : dnnl_pooling_avg_exclude_padding;
    dnnl_memory_desc_t x, y;
    dnnl_pooling_desc_t op;
    if (!onednn_plain_desc(&pool->x, &x) || !onednn_plain_desc(&pool->y, &y) ||
        onednn.pooling_forward_desc_init(&op, dnnl_forward_training, algorithm, &x, &y,
                                         pool->stride, pool->kernel, pool->pad,
                                         pool->pad_after) != dnnl_success) {
        return NULL;
    }
    dnnl_primitive_desc_t forward = desc_new(&op, NULL);
    if (forward == NULL || !pool->gradient) {
        return forward;
    }
    const dnnl_status_t status = onednn.pooling_backward_desc_init(
        &op, algorithm, &x, &y, pool->stride, pool->kernel, pool->pad, pool->pad_after);
    dnnl_primitive_desc_t backward = status == dnnl_success ? desc_new(&op, forward) : NULL;
    desc_free(forward);
    return backward;
}

OneDnnWay
onednn_pool_way(const OneDnnPool *pool)
{
    onednn_enter_thread();
    return way_of(pool_desc(pool));
}

OneDnnCall *
onednn_pool_new(const OneDnnPool *pool, GError **error)
{
    const OneDnnPortUse forward[ONEDNN_N_PORTS] = {
        [ONEDNN_A] = { &pool->x, DNNL_ARG_SRC },
        [ONEDNN_OUT] = { &pool->y, DNNL_ARG_DST, dnnl_query_undef, TRUE },
    };
    const OneDnnPortUse gradient[ONEDNN_N_PORTS] = {
        [ONEDNN_A] = { &pool->y, DNNL_ARG_DIFF_DST },
        [ONEDNN_OUT] = { &pool->x, DNNL_ARG_DIFF_SRC, dnnl_query_undef, TRUE },
    };
    onednn_enter_thread();
    return onednn_call_new(pool_desc(pool), pool->gradient ? gradient : forward, error);
}
