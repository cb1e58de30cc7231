/* product.c: matmul, convolution and its two transposes as their defining sums: floats in double,
 * integers wrapping. */
#include "ref.h"

/* A sum of products in progress. */
typedef struct {
    double sum;
    guint64 bits;
} Sum;

static void
accumulate(Sum *sum, TnDtype dtype, const void *a, gint64 at_a, const void *b, gint64 at_b)
{
    if (ref_is_float(dtype)) {
        sum->sum += ref_load_double(dtype, a, at_a) * ref_load_double(dtype, b, at_b);
    } else {
        sum->bits += ref_load(dtype, a, at_a).u64 * ref_load(dtype, b, at_b).u64;
    }
}

/* Splits a into strides of leading axes (broadcast to `lead`) and of its matrix; a vector has one
 * stride of 0. */
static void
matrix_strides(const TnArg *arg, gboolean left, gint lead, gint64 *batch, gint64 *row,
               gint64 *column)
{
    gint rank = arg->type.rank, own = MAX(0, rank - 2);
    for (gint i = 0; i < lead; i++) {
        gint k = i - (lead - own);
        batch[i] = k < 0 || arg->type.dims[k] == 1 ? 0 : arg->strides[k];
    }
    if (rank == 1) {
        *row = left ? 0 : arg->strides[0];
        *column = left ? arg->strides[0] : 0;
    } else {
        *row = arg->strides[rank - 2];
        *column = arg->strides[rank - 1];
    }
}

static TnStatus
run_matmul(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnArg *a = &node->in[0], *b = &node->in[1], *out = &node->out[0];
    gint rank_a = a->type.rank, rank_b = b->type.rank;
    gint lead = out->type.rank - (rank_a > 1) - (rank_b > 1);
    gint64 m = rank_a > 1 ? a->type.dims[rank_a - 2] : 1, k = a->type.dims[rank_a - 1];
    gint64 n = rank_b > 1 ? b->type.dims[rank_b - 1] : 1;
    gint64 batch_a[TN_MAX_RANK], batch_b[TN_MAX_RANK], index[TN_MAX_RANK] = { 0 };
    gint64 row_a, column_a, row_b, column_b, batches = 1;
    matrix_strides(a, TRUE, lead, batch_a, &row_a, &column_a);
    matrix_strides(b, FALSE, lead, batch_b, &row_b, &column_b);
    for (gint i = 0; i < lead; i++) {
        batches *= out->type.dims[i];
    }
    for (gint64 batch = 0; batch < batches; batch++) {
        gint64 at_a = ref_dot(lead, index, batch_a), at_b = ref_dot(lead, index, batch_b);
        for (gint64 i = 0; i < m * n; i++) {
            Sum sum = { 0 };
            for (gint64 l = 0; l < k; l++) {
                accumulate(&sum, a->type.dtype, run->in[0], at_a + i / n * row_a + l * column_a,
                           run->in[1], at_b + l * row_b + i % n * column_b);
            }
            ref_store_sum(out->type.dtype, run->out[0], batch * m * n + i, sum.sum, sum.bits);
        }
        ref_next(lead, out->type.dims, index);
    }
    return TN_OK;
}

/* --- Convolution: x [N, C, s…], w [M, C/group, k…], y [N, M, o…] ------------------------------ */

typedef struct {
    gint n;                              /* spatial axes */
    gint64 batch, group, channels, maps; /* channels and maps of one group */
    TnConvAxis axis[3];
    gint64 s[3], k[3], o[3];
} Conv;

static Conv
conv_of(const RefNode *node, const TnArg *x, const TnArg *w, const TnArg *y)
{
    const TnConvAttrs *attrs = node->attrs;
    Conv conv = { .n = x->type.rank - 2, .batch = x->type.dims[0], .group = attrs->group };
    conv.channels = w->type.dims[1];
    conv.maps = w->type.dims[0] / conv.group;
    for (gint i = 0; i < conv.n; i++) {
        conv.axis[i] = tn_conv_axis(attrs, conv.n, i);
        conv.s[i] = x->type.dims[2 + i];
        conv.k[i] = w->type.dims[2 + i];
        conv.o[i] = y->type.dims[2 + i];
    }
    return conv;
}

/* Offset in x's spatial axes for output o and tap k; FALSE in the padding. */
static gboolean
place_in_x(const Conv *conv, const gint64 *o, const gint64 *k, const gint64 *strides, gint64 *at)
{
    *at = 0;
    for (gint i = 0; i < conv->n; i++) {
        const TnConvAxis *axis = &conv->axis[i];
        gint64 s = o[i] * axis->stride + k[i] * axis->dilation - axis->pad_begin;
        if (s < 0 || s >= conv->s[i]) {
            return FALSE;
        }
        *at += s * strides[i];
    }
    return TRUE;
}

/* Offset in y's spatial axes of the output that reads s through tap k; FALSE if there is none. */
static gboolean
place_in_y(const Conv *conv, const gint64 *s, const gint64 *k, const gint64 *strides, gint64 *at)
{
    *at = 0;
    for (gint i = 0; i < conv->n; i++) {
        const TnConvAxis *axis = &conv->axis[i];
        gint64 o = s[i] + axis->pad_begin - k[i] * axis->dilation;
        if (o < 0 || o % axis->stride != 0 || o / axis->stride >= conv->o[i]) {
            return FALSE;
        }
        *at += o / axis->stride * strides[i];
    }
    return TRUE;
}

static gboolean
any_zero(gint n, const gint64 *dims)
{
    for (gint i = 0; i < n; i++) {
        if (dims[i] == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static TnStatus
run_conv(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnArg *x = &node->in[0], *w = &node->in[1], *y = &node->out[0];
    Conv conv = conv_of(node, x, w, y);
    gint64 index[TN_MAX_RANK] = { 0 };
    for (gint64 i = 0; i < y->count; i++) {
        Sum sum = { 0 };
        gint64 first = index[1] / conv.maps * conv.channels, at;
        for (gint64 c = 0; c < conv.channels && !any_zero(conv.n, conv.k); c++) {
            gint64 k[3] = { 0 };
            do {
                if (place_in_x(&conv, index + 2, k, x->strides + 2, &at)) {
                    accumulate(&sum, x->type.dtype, run->in[0],
                               index[0] * x->strides[0] + (first + c) * x->strides[1] + at,
                               run->in[1],
                               index[1] * w->strides[0] + c * w->strides[1] +
                                   ref_dot(conv.n, k, w->strides + 2));
                }
            } while (ref_next(conv.n, conv.k, k));
        }
        ref_store_sum(y->type.dtype, run->out[0], i, sum.sum, sum.bits);
        ref_next(y->type.rank, y->type.dims, index);
    }
    return TN_OK;
}

static TnStatus
run_conv_transpose(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnArg *y = &node->in[0], *w = &node->in[1], *x = &node->out[0];
    Conv conv = conv_of(node, x, w, y);
    gint64 index[TN_MAX_RANK] = { 0 };
    for (gint64 i = 0; i < x->count; i++) {
        Sum sum = { 0 };
        gint64 first = index[1] / conv.channels * conv.maps, c = index[1] % conv.channels, at;
        for (gint64 m = 0; m < conv.maps && !any_zero(conv.n, conv.k); m++) {
            gint64 k[3] = { 0 };
            do {
                if (place_in_y(&conv, index + 2, k, y->strides + 2, &at)) {
                    accumulate(&sum, y->type.dtype, run->in[0],
                               index[0] * y->strides[0] + (first + m) * y->strides[1] + at,
                               run->in[1],
                               (first + m) * w->strides[0] + c * w->strides[1] +
                                   ref_dot(conv.n, k, w->strides + 2));
                }
            } while (ref_next(conv.n, conv.k, k));
        }
        ref_store_sum(x->type.dtype, run->out[0], i, sum.sum, sum.bits);
        ref_next(x->type.rank, x->type.dims, index);
    }
    return TN_OK;
}

static TnStatus
run_conv_grad_weight(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnArg *x = &node->in[0], *y = &node->in[1], *w = &node->out[0];
    Conv conv = conv_of(node, x, w, y);
    gint64 index[TN_MAX_RANK] = { 0 };
    for (gint64 i = 0; i < w->count; i++) {
        Sum sum = { 0 };
        gint64 c = index[0] / conv.maps * conv.channels + index[1], at;
        for (gint64 b = 0; b < conv.batch && !any_zero(conv.n, conv.o); b++) {
            gint64 o[3] = { 0 };
            do {
                if (place_in_x(&conv, o, index + 2, x->strides + 2, &at)) {
                    accumulate(&sum, x->type.dtype, run->in[0],
                               b * x->strides[0] + c * x->strides[1] + at, run->in[1],
                               b * y->strides[0] + index[0] * y->strides[1] +
                                   ref_dot(conv.n, o, y->strides + 2));
                }
            } while (ref_next(conv.n, conv.o, o));
        }
        ref_store_sum(w->type.dtype, run->out[0], i, sum.sum, sum.bits);
        ref_next(w->type.rank, w->type.dims, index);
    }
    return TN_OK;
}

static const TnKernel kernels[] = {
    REF_ROW("matmul", run_matmul),
    REF_ROW("conv", run_conv),
    REF_ROW("conv_transpose", run_conv_transpose),
    REF_ROW("conv_grad_weight", run_conv_grad_weight),
};

const TnKernelTable ref_product = REF_TABLE(kernels);
