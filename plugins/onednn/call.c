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
    switch (dtype) {
    case TN_DTYPE_BF16: return dnnl_bf16;
    case TN_DTYPE_U8: return dnnl_u8;
    case TN_DTYPE_I8: return dnnl_s8;
    case TN_DTYPE_I32: return dnnl_s32;
    default: return dnnl_f32;
    }
}

/* The library's name for a layout of blocks. */
static dnnl_format_tag_t
tag_of(const OneDnnBox *box)
{
    switch (box->layout) {
    case ONEDNN_BLOCKS: return dnnl_aBcd16b;
    case ONEDNN_WINDOWS: return box->rank == 5 ? dnnl_aBCde16c16b : dnnl_ABcd16b16a;
    case ONEDNN_FIRST_WINDOWS: return dnnl_Acdb16a;
    case ONEDNN_TILES: return dnnl_BA16a16b4a;
    default: return dnnl_format_tag_undef;
    }
}

static gboolean
tag_desc(const OneDnnBox *box, dnnl_format_tag_t tag, dnnl_memory_desc_t *desc)
{
    return onednn.memory_desc_init_by_tag(desc, box->rank, box->dims, type_of(box->dtype), tag) ==
           dnnl_success;
}

gboolean
onednn_plain_desc(const OneDnnBox *box, dnnl_memory_desc_t *desc)
{
    return box->layout == ONEDNN_STRIDED
               ? onednn.memory_desc_init_by_strides(desc, box->rank, box->dims, type_of(box->dtype),
                                                    box->strides) == dnnl_success
               : tag_desc(box, tag_of(box), desc);
}

gboolean
onednn_any_desc(const OneDnnBox *box, dnnl_memory_desc_t *desc)
{
    return tag_desc(box, dnnl_format_tag_any, desc);
}

static dnnl_primitive_desc_t
desc_new_with(const_dnnl_op_desc_t op, const_dnnl_primitive_attr_t attr, dnnl_primitive_desc_t hint)
{
    dnnl_primitive_desc_t desc = NULL;
    const dnnl_status_t status = onednn.primitive_desc_create(&desc, op, attr, onednn.engine, hint);
    return status == dnnl_success ? desc : NULL;
}

dnnl_primitive_desc_t
onednn_desc_new(const_dnnl_op_desc_t op, dnnl_primitive_desc_t hint)
{
    return desc_new_with(op, onednn.attr, hint);
}

static void
desc_free(dnnl_primitive_desc_t desc)
{
    if (desc != NULL) {
        onednn.primitive_desc_destroy(desc);
    }
}

OneDnnWay
onednn_way_of(dnnl_primitive_desc_t desc)
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

/* As desc_new, adding a tensor like the result to it. */
static dnnl_primitive_desc_t
desc_new_adding(const_dnnl_op_desc_t op, const dnnl_memory_desc_t *more)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    dnnl_primitive_desc_t desc = NULL;
    if (onednn_attr_new(&attr) && onednn.post_ops_create(&ops) == dnnl_success &&
        onednn.post_ops_append_binary(ops, dnnl_binary_add, more) == dnnl_success &&
        onednn.primitive_attr_set_post_ops(attr, ops) == dnnl_success) {
        desc = desc_new_with(op, attr, NULL);
    }
    if (ops != NULL) {
        onednn.post_ops_destroy(ops);
    }
    if (attr != NULL) {
        onednn.primitive_attr_destroy(attr);
    }
    return desc;
}

/* A convolution's tensor: as it lies, or as the library likes it best. */
static gboolean
conv_box(const OneDnnConv *conv, const OneDnnBox *box, dnnl_memory_desc_t *desc)
{
    return conv->in_place ? onednn_plain_desc(box, desc) : onednn_any_desc(box, desc);
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
    hint.dtype = conv->kind == ONEDNN_CONV ? conv->w.dtype : conv->x.dtype;
    if (!conv_box(conv, &conv->x, &x) || !conv_box(conv, &conv->w, &w) ||
        !conv_box(conv, &conv->y, &y) || !conv_box(conv, &hint, &hint_w) ||
        (bias && !onednn_plain_desc(&conv->bias, &b))) {
        return NULL;
    }
    for (gint i = 0; i < conv->n; i++) {
        dilates[i] = conv->dilation[i] - 1;
    }
    pads_after(conv, after);
    /* Gradients want the forward convolution as a hint. As in training, for in inference Winograd's
     * algorithm takes weights that were transformed before, which the library does slowly. */
    const gboolean integers = conv->y.dtype == TN_DTYPE_I32;
    dnnl_status_t status = onednn.dilated_convolution_forward_desc_init(
        &op, integers ? dnnl_forward_inference : dnnl_forward_training, algorithm, &x, &hint_w,
        bias ? &b : NULL, &y, conv->stride, dilates, conv->pad, after);
    if (conv->more.dtype != TN_DTYPE_NONE) {
        return status == dnnl_success ? desc_new_adding(&op, &y) : NULL;
    }
    dnnl_primitive_desc_t forward = status == dnnl_success ? onednn_desc_new(&op, NULL) : NULL;
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
    dnnl_primitive_desc_t backward = status == dnnl_success ? onednn_desc_new(&op, forward) : NULL;
    desc_free(forward);
    return backward;
}

OneDnnWay
onednn_conv_way(const OneDnnConv *conv)
{
    onednn_enter_thread();
    return onednn_way_of(conv_desc(conv));
}

OneDnnCall *
onednn_conv_new(const OneDnnConv *conv, GError **error)
{
    const OneDnnBox *x = &conv->x, *w = &conv->w, *y = &conv->y;
    const OneDnnPortUse uses[][ONEDNN_N_PORTS] = {
        [ONEDNN_CONV] = { [ONEDNN_A] = { x, DNNL_ARG_SRC, TRUE },
                          [ONEDNN_B] = { w, DNNL_ARG_WEIGHTS, TRUE, .laid = conv->laid },
                          [ONEDNN_BIAS] = { &conv->bias, DNNL_ARG_BIAS },
                          [ONEDNN_MORE] = { &conv->more,
                                            DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1 },
                          [ONEDNN_OUT] = { y, DNNL_ARG_DST, TRUE, TRUE } },
        [ONEDNN_CONV_DATA] = { [ONEDNN_A] = { y, DNNL_ARG_DIFF_DST, TRUE },
                               [ONEDNN_B] = { w, DNNL_ARG_WEIGHTS, TRUE },
                               [ONEDNN_OUT] = { x, DNNL_ARG_DIFF_SRC, TRUE, TRUE } },
        [ONEDNN_CONV_WEIGHT] = { [ONEDNN_A] = { x, DNNL_ARG_SRC, TRUE },
                                 [ONEDNN_B] = { y, DNNL_ARG_DIFF_DST, TRUE },
                                 [ONEDNN_OUT] = { w, DNNL_ARG_DIFF_WEIGHTS, TRUE, TRUE } },
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
        !(matmul->pack || matmul->laid ? onednn_any_desc : onednn_plain_desc)(b, &b_desc) ||
        (has_bias && !onednn_plain_desc(&matmul->bias, &bias)) ||
        onednn.matmul_desc_init(&op, &a_desc, &b_desc, has_bias ? &bias : NULL, &out) !=
            dnnl_success) {
        return NULL;
    }
    return onednn_desc_new(&op, NULL);
}

OneDnnWay
onednn_matmul_way(const OneDnnMatmul *matmul)
{
    onednn_enter_thread();
    return onednn_way_of(matmul_desc(matmul));
}

OneDnnCall *
onednn_matmul_new(const OneDnnMatmul *matmul, GError **error)
{
    const OneDnnPortUse uses[ONEDNN_N_PORTS] = {
        [ONEDNN_A] = { &matmul->a, DNNL_ARG_SRC },
        [ONEDNN_B] = { &matmul->b, DNNL_ARG_WEIGHTS, TRUE, .laid = matmul->laid },
        [ONEDNN_BIAS] = { &matmul->bias, DNNL_ARG_BIAS },
        [ONEDNN_OUT] = { &matmul->out, DNNL_ARG_DST, FALSE, TRUE },
    };
    onednn_enter_thread();
    return onednn_call_new(matmul_desc(matmul), uses, error);
}

/* --- Pooling ---------------------------------------------------------------------------------- */

/* Plain throughout: the library turns what it needs by itself. */
static dnnl_primitive_desc_t
pool_desc(const OneDnnPool *pool)
{
    const dnnl_alg_kind_t algorithm = pool->max             ? dnnl_pooling_max
                                      : pool->count_padding ? dnnl_pooling_avg_include_padding
                                                            : dnnl_pooling_avg_exclude_padding;
    /* Of maxima training would give places for the library's own gradient. */
    const dnnl_prop_kind_t way = pool->max ? dnnl_forward_inference : dnnl_forward_training;
    dnnl_memory_desc_t x, y;
    dnnl_pooling_desc_t op;
    if (!onednn_plain_desc(&pool->x, &x) || !onednn_plain_desc(&pool->y, &y) ||
        onednn.pooling_forward_desc_init(&op, way, algorithm, &x, &y, pool->stride, pool->kernel,
                                         pool->pad, pool->pad_after) != dnnl_success) {
        return NULL;
    }
    dnnl_primitive_desc_t forward = onednn_desc_new(&op, NULL);
    if (forward == NULL || !pool->gradient) {
        return forward;
    }
    const dnnl_status_t status = onednn.pooling_backward_desc_init(
        &op, algorithm, &x, &y, pool->stride, pool->kernel, pool->pad, pool->pad_after);
    dnnl_primitive_desc_t backward = status == dnnl_success ? onednn_desc_new(&op, forward) : NULL;
    desc_free(forward);
    return backward;
}

OneDnnWay
onednn_pool_way(const OneDnnPool *pool)
{
    onednn_enter_thread();
    return onednn_way_of(pool_desc(pool));
}

OneDnnCall *
onednn_pool_new(const OneDnnPool *pool, GError **error)
{
    const OneDnnPortUse forward[ONEDNN_N_PORTS] = {
        [ONEDNN_A] = { &pool->x, DNNL_ARG_SRC },
        [ONEDNN_OUT] = { &pool->y, DNNL_ARG_DST, FALSE, TRUE },
    };
    const OneDnnPortUse gradient[ONEDNN_N_PORTS] = {
        [ONEDNN_A] = { &pool->y, DNNL_ARG_DIFF_DST },
        [ONEDNN_OUT] = { &pool->x, DNNL_ARG_DIFF_SRC, FALSE, TRUE },
    };
    onednn_enter_thread();
    return onednn_call_new(pool_desc(pool), pool->gradient ? gradient : forward, error);
}

/* --- Softmax ---------------------------------------------------------------------------------- */

static dnnl_primitive_desc_t
softmax_desc(const OneDnnSoftmax *softmax)
{
    const dnnl_alg_kind_t algorithm = softmax->log ? dnnl_softmax_log : dnnl_softmax_accurate;
    dnnl_memory_desc_t x;
    dnnl_softmax_v2_desc_t op;
    return onednn_plain_desc(&softmax->x, &x) &&
                   onednn.softmax_v2_forward_desc_init(&op, dnnl_forward_inference, algorithm, &x,
                                                       &x, 1) == dnnl_success
               ? onednn_desc_new(&op, NULL)
               : NULL;
}

OneDnnWay
onednn_softmax_way(const OneDnnSoftmax *softmax)
{
    onednn_enter_thread();
    return onednn_way_of(softmax_desc(softmax));
}

OneDnnCall *
onednn_softmax_new(const OneDnnSoftmax *softmax, GError **error)
{
    const OneDnnPortUse uses[ONEDNN_N_PORTS] = {
        [ONEDNN_A] = { &softmax->x, DNNL_ARG_SRC },
        [ONEDNN_OUT] = { &softmax->x, DNNL_ARG_DST, FALSE, TRUE },
    };
    onednn_enter_thread();
    return onednn_call_new(softmax_desc(softmax), uses, error);
}

/* --- Norms ------------------------------------------------------------------------------------ */

/* Layer's and batch's descriptors. */
typedef union {
    dnnl_layer_normalization_desc_t layer;
    dnnl_batch_normalization_desc_t batch;
} NormOp;

static dnnl_status_t
norm_init(const OneDnnNorm *norm, gboolean gradient, const dnnl_memory_desc_t *x, NormOp *op)
{
    const float epsilon = (float)norm->epsilon;
    const dnnl_prop_kind_t forward = norm->fixed ? dnnl_forward_inference : dnnl_forward_training;
    const gboolean shifts = norm->gradient || norm->bias.dtype != TN_DTYPE_NONE;
    const unsigned flags = (unsigned)dnnl_use_scale | (shifts ? (unsigned)dnnl_use_shift : 0) |
                           (norm->fixed ? (unsigned)dnnl_use_global_stats : 0);
    dnnl_memory_desc_t stats;
    if (!onednn_plain_desc(&norm->stats, &stats)) {
        return dnnl_invalid_arguments;
    }
    if (norm->kind == ONEDNN_LAYER) {
        return gradient ? onednn.layer_normalization_backward_desc_init(
                              &op->layer, dnnl_backward, x, x, &stats, epsilon, flags)
                        : onednn.layer_normalization_forward_desc_init(&op->layer, forward, x,
                                                                       &stats, epsilon, flags);
    }
    return gradient ? onednn.batch_normalization_backward_desc_init(&op->batch, dnnl_backward, x, x,
                                                                    epsilon, flags)
                    : onednn.batch_normalization_forward_desc_init(&op->batch, forward, x, epsilon,
                                                                   flags);
}

static gboolean
norm_images(const OneDnnNorm *norm, dnnl_memory_desc_t *x)
{
    return norm->blocked ? tag_desc(&norm->x, dnnl_nChw16c, x) : onednn_plain_desc(&norm->x, x);
}

static dnnl_primitive_desc_t
norm_desc(const OneDnnNorm *norm)
{
    dnnl_memory_desc_t x;
    NormOp op;
    dnnl_primitive_desc_t forward = NULL, backward = NULL;
    if (norm_images(norm, &x) && norm_init(norm, FALSE, &x, &op) == dnnl_success) {
        forward = onednn_desc_new(&op, NULL);
    }
    if (forward == NULL || !norm->gradient) {
        return forward;
    }
    if (norm_init(norm, TRUE, &x, &op) == dnnl_success) {
        backward = onednn_desc_new(&op, forward);
    }
    desc_free(forward);
    return backward;
}

OneDnnWay
onednn_norm_way(const OneDnnNorm *norm)
{
    onednn_enter_thread();
    return onednn_way_of(norm_desc(norm));
}

OneDnnCall *
onednn_norm_new(const OneDnnNorm *norm, GError **error)
{
    const OneDnnBox *x = &norm->x, *scale = &norm->scale, *stats = &norm->stats;
    const gboolean made = !norm->fixed; /* the statistics come out */
    const OneDnnPortUse forward[ONEDNN_N_PORTS] = {
        [ONEDNN_A] = { x, DNNL_ARG_SRC, TRUE },
        [ONEDNN_B] = { scale, DNNL_ARG_SCALE },
        [ONEDNN_BIAS] = { &norm->bias, DNNL_ARG_SHIFT },
        [ONEDNN_OUT] = { x, DNNL_ARG_DST, TRUE, TRUE },
        [ONEDNN_MEAN] = { stats, DNNL_ARG_MEAN, FALSE, made },
        [ONEDNN_VARIANCE] = { stats, DNNL_ARG_VARIANCE, FALSE, made },
    };
    const OneDnnPortUse gradient[ONEDNN_N_PORTS] = {
        [ONEDNN_A] = { x, DNNL_ARG_SRC, TRUE },
        [ONEDNN_B] = { scale, DNNL_ARG_SCALE },
        [ONEDNN_BIAS] = { scale, DNNL_ARG_SHIFT },
        [ONEDNN_MEAN] = { stats, DNNL_ARG_MEAN },
        [ONEDNN_VARIANCE] = { stats, DNNL_ARG_VARIANCE },
        [ONEDNN_G] = { x, DNNL_ARG_DIFF_DST, TRUE },
        [ONEDNN_OUT] = { x, DNNL_ARG_DIFF_SRC, TRUE, TRUE },
        [ONEDNN_DSCALE] = { scale, DNNL_ARG_DIFF_SCALE, FALSE, TRUE },
        [ONEDNN_DBIAS] = { scale, DNNL_ARG_DIFF_SHIFT, FALSE, TRUE },
    };
    onednn_enter_thread();
    return onednn_call_new(norm_desc(norm), norm->gradient ? gradient : forward, error);
}

/* --- Recurrent layers ------------------------------------------------------------------------- */

static dnnl_primitive_desc_t
rnn_desc(const OneDnnRnn *rnn)
{
    dnnl_memory_desc_t x, y, h, c, w_x, w_h, bias;
    dnnl_rnn_desc_t op;
    if (!onednn_plain_desc(&rnn->x, &x) || !onednn_plain_desc(&rnn->y, &y) ||
        !onednn_plain_desc(&rnn->h, &h) || !onednn_any_desc(&rnn->w_x, &w_x) ||
        !onednn_any_desc(&rnn->w_h, &w_h) || !onednn_plain_desc(&rnn->bias, &bias) ||
        (!rnn->gru && !onednn_plain_desc(&rnn->c, &c))) {
        return NULL;
    }
    /* The last state alone is not given: it is y's last step. */
    const dnnl_status_t status =
        rnn->gru ? onednn.lbr_gru_forward_desc_init(&op, dnnl_forward_inference,
                                                    dnnl_unidirectional_left2right, &x, &h, &w_x,
                                                    &w_h, &bias, &y, NULL, dnnl_rnn_flags_undef)
                 : onednn.lstm_forward_desc_init(&op, dnnl_forward_inference,
                                                 dnnl_unidirectional_left2right, &x, &h, &c, &w_x,
                                                 &w_h, &bias, &y, NULL, NULL, dnnl_rnn_flags_undef);
    return status == dnnl_success ? onednn_desc_new(&op, NULL) : NULL;
}

OneDnnWay
onednn_rnn_way(const OneDnnRnn *rnn)
{
    onednn_enter_thread();
    return onednn_way_of(rnn_desc(rnn)) == ONEDNN_NOT ? ONEDNN_NOT : ONEDNN_BY_CODE;
}

OneDnnCall *
onednn_rnn_new(const OneDnnRnn *rnn, GError **error)
{
    const OneDnnPortUse uses[ONEDNN_N_PORTS] = {
        [ONEDNN_A] = { &rnn->x, DNNL_ARG_SRC_LAYER },
        [ONEDNN_B] = { &rnn->w_x, DNNL_ARG_WEIGHTS_LAYER, TRUE, .laid = TRUE },
        [ONEDNN_BIAS] = { &rnn->bias, DNNL_ARG_BIAS },
        [ONEDNN_OUT] = { &rnn->y, DNNL_ARG_DST_LAYER, FALSE, TRUE },
        [ONEDNN_H] = { &rnn->h, DNNL_ARG_SRC_ITER },
        [ONEDNN_C] = { &rnn->c, DNNL_ARG_SRC_ITER_C },
        [ONEDNN_W_H] = { &rnn->w_h, DNNL_ARG_WEIGHTS_ITER, TRUE, .laid = TRUE },
    };
    onednn_enter_thread();
    return onednn_call_new(rnn_desc(rnn), uses, error);
}
