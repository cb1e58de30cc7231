/* quantized_conv.c: convolutions of 8-bit images whose channels lie last, with what follows them: a
 * bias, another image, a rectifier, the step to 8 bits again. With no spatial axis they are products of
 * matrices. Sums are exact, so that no kernel's order of them matters. */
#include "quantize.h"

#define MAPS TN_QUANTIZED_MAPS
#define DEEP TN_QUANTIZED_DEEP
enum { X, W, X_ZERO, OFFSET, SCALE, BIAS, MORE, MORE_SCALE, MORE_ZERO, Y_SCALE, Y_ZERO };

#define WINDOW(member_, help_, ...)                                                                \
    {                                                                                              \
        .name = #member_, .type = TN_OPT_INTS,                                                     \
        .offset = G_STRUCT_OFFSET(TnQuantizedConvAttrs, window.member_), .help = (help_),          \
        ##__VA_ARGS__                                                                              \
    }
#define FROM(least) TN_RANGE_I(least, G_MAXINT32)
static const TnOption rows[] = {
    WINDOW(kernel_shape, "sizes of the window; empty: a product of matrices", FROM(1)),
    WINDOW(strides, "steps of the window; empty: 1", FROM(1)),
    WINDOW(pads, "places around x: begins, then ends; empty: 0", FROM(0)),
    WINDOW(dilations, "distances within the window, of the last axis 1; empty: 1", FROM(1)),
    NN_ATTR(TnQuantizedConvAttrs, channels, TN_OPT_INT64, "channels of x", FROM(1),
            .flags = TN_OPTION_REQUIRED),
    NN_ATTR(TnQuantizedConvAttrs, maps, TN_OPT_INT64, "channels of the result", FROM(1),
            .flags = TN_OPTION_REQUIRED),
    NN_ATTR(TnQuantizedConvAttrs, relu, TN_OPT_BOOL, "max (., 0)", .dflt = "false"),
};

static TnConvAttrs
conv_attrs(const TnQuantizedConvAttrs *attrs)
{
    return (TnConvAttrs){ .group = 1,
                          .strides = attrs->window.strides,
                          .pads = attrs->window.pads,
                          .dilations = attrs->window.dilations };
}

/* Numbers of a row of the window. */
static gint64
row_length(const TnQuantizedConvAttrs *attrs)
{
    const TnInts *kernel = &attrs->window.kernel_shape;
    return attrs->channels * (kernel->n > 0 ? kernel->v[kernel->n - 1] : 1);
}

static gint64
row_count(const TnQuantizedConvAttrs *attrs)
{
    const TnInts *kernel = &attrs->window.kernel_shape;
    gint64 count = 1;
    for (gint i = 0; i < kernel->n - 1; i++) {
        count *= kernel->v[i];
    }
    return count;
}

/* --- Infer ------------------------------------------------------------------------------------ */

/* Images and windows with the channels first, and an axis more where there is no spatial one. */
static void
plain_types(const TnInfer *infer, TnType *plain)
{
    const TnQuantizedConvAttrs *attrs = infer->attrs;
    const TnType *x = &infer->in[X];
    const gint n = attrs->window.kernel_shape.n;
    plain[0] = (TnType){ .dtype = TN_DTYPE_F64,
                         .rank = 2 + MAX(n, 1),
                         .dims = { x->dims[0], x->dims[n + 1], 1 } };
    plain[1] = (TnType){ .dtype = TN_DTYPE_F64,
                         .rank = 2 + MAX(n, 1),
                         .dims = { attrs->maps, attrs->channels, 1 } };
    for (gint i = 0; i < n; i++) {
        plain[0].dims[2 + i] = x->dims[1 + i];
        plain[1].dims[2 + i] = attrs->window.kernel_shape.v[i];
    }
}

static gboolean
check_inputs(const TnInfer *infer, const TnType *out, GError **error)
{
    const TnQuantizedConvAttrs *attrs = infer->attrs;
    const gint64 length = row_length(attrs), maps = attrs->maps;
    const gint64 tiles[] = {
        (maps + MAPS - 1) / MAPS, row_count(attrs), (length + DEEP - 1) / DEEP, DEEP / 4, MAPS, 4
    };
    if (!nn_infer_want(infer, W, 6, tiles, "the windows in tiles", error)) {
        return FALSE;
    }
    for (gint i = OFFSET; i <= BIAS; i++) {
        if (!nn_infer_want(infer, i, 1, &maps, "the channels out", error)) {
            return FALSE;
        }
    }
    if (nn_present(infer, MORE) &&
        !nn_infer_want(infer, MORE, out->rank, out->dims, "the result", error)) {
        return FALSE;
    }
    const gboolean narrow = nn_present(infer, MORE) && infer->in[MORE].dtype == TN_DTYPE_U8;
    if (narrow != nn_present(infer, MORE_SCALE) || narrow != nn_present(infer, MORE_ZERO)) {
        return nn_infer_fail(infer, MORE, error,
                             "comes with its scale and zero point if it is u8, else without");
    }
    if (nn_present(infer, Y_SCALE) != nn_present(infer, Y_ZERO)) {
        return nn_infer_fail(infer, X, error, "y_scale and y_zero go together");
    }
    return TRUE;
}

static gboolean
quantized_infer(TnInfer *infer, GError **error)
{
    const TnQuantizedConvAttrs *attrs = infer->attrs;
    const gint n = attrs->window.kernel_shape.n;
    const TnConvAttrs conv_of = conv_attrs(attrs);
    const TnOp *conv = tn_op_find("conv", error);
    TnType plain[2], made[TN_MAX_OUT];
    gint n_out;
    if (conv == NULL) {
        return FALSE;
    }
    if (infer->in[X].rank != n + 2 ||
        (attrs->window.dilations.n > 0 && attrs->window.dilations.v[n - 1] != 1)) {
        return nn_infer_fail(infer, X, error,
                             "has %d axes between samples and channels for a window of that rank, "
                             "whose last axis is dense",
                             n);
    }
    plain_types(infer, plain);
    if (!tn_op_infer(conv, &conv_of, infer->name, 2, plain, NULL, &n_out, made, error)) {
        return FALSE;
    }
    TnType *out = &infer->out[0];
    *out = (TnType){ .dtype = nn_present(infer, Y_SCALE) ? TN_DTYPE_U8 : TN_DTYPE_F32,
                     .rank = n + 2,
                     .dims = { made[0].dims[0] } };
    for (gint i = 0; i < n; i++) {
        out->dims[1 + i] = made[0].dims[2 + i];
    }
    out->dims[n + 1] = attrs->maps;
    return check_inputs(infer, out, error);
}

/* --- Body ------------------------------------------------------------------------------------- */

/* [N, s…, C] as [N, C, s…]. */
static TnVal
channels_second(TnGraph *graph, TnVal x)
{
    const gint rank = tn_f_rank(graph, x);
    gint64 perm[TN_MAX_RANK] = { 0, rank - 1 };
    for (gint i = 2; i < rank; i++) {
        perm[i] = i - 1;
    }
    return rank > 2 ? tn_f_transpose(graph, x, rank, perm) : x;
}

static TnVal
channels_last(TnGraph *graph, TnVal x)
{
    const gint rank = tn_f_rank(graph, x);
    gint64 perm[TN_MAX_RANK] = { 0 };
    for (gint i = 1; i < rank - 1; i++) {
        perm[i] = i + 1;
    }
    perm[rank - 1] = 1;
    return rank > 2 ? tn_f_transpose(graph, x, rank, perm) : x;
}

/* Tiles as windows [M, C, kernel…]. */
static TnVal
plain_window(TnGraph *graph, const TnQuantizedConvAttrs *attrs, TnVal w)
{
    static const gint64 by_map[] = { 0, 4, 1, 2, 3, 5 };
    const TnInts *kernel = &attrs->window.kernel_shape;
    const gint64 length = row_length(attrs), tiles = (length + DEEP - 1) / DEEP;
    const TnReshapeAttrs flat = { .shape = NN_SHAPE(-1, row_count(attrs), tiles * DEEP) };
    const TnSliceAttrs real = { .starts = NN_INTS(0, 0),
                                .ends = NN_INTS(attrs->maps, length),
                                .axes = NN_INTS(0, 2) };
    TnReshapeAttrs whole = { .shape = { .rank = 1, .dims = { attrs->maps } } };
    for (gint i = 0; i < MAX(kernel->n, 1); i++) {
        whole.shape.dims[whole.shape.rank++] = kernel->n > 0 ? kernel->v[i] : 1;
    }
    whole.shape.dims[whole.shape.rank++] = attrs->channels;
    w = nn_1(graph, "reshape", &flat, tn_f_transpose(graph, w, 6, by_map));
    return channels_second(graph, nn_1(graph, "reshape", &whole, nn_1(graph, "slice", &real, w)));
}

/* offset + sum (x w), exact in f64: zeros beside images less x_zero stand for x_zero. */
static TnVal
exact_sums(TnBody *body)
{
    TnGraph *graph = body->graph;
    const TnQuantizedConvAttrs *attrs = body->attrs;
    const gint n = attrs->window.kernel_shape.n, rank = 2 + MAX(n, 1);
    const TnConvAttrs conv = conv_attrs(attrs);
    const TnVal w = nn_to(graph, plain_window(graph, attrs, body->in[W]), TN_DTYPE_F64);
    gint64 axes[TN_MAX_RANK];
    TnVal x =
        channels_second(graph, nn_less_zero(graph, body->in[X], body->in[X_ZERO], 0, TN_DTYPE_F64));
    x = n > 0 ? x : nn_insert(graph, x, 2, 1);
    const TnVal all = tn_f_reduce_sum(graph, w, nn_range(1, rank, axes), axes, FALSE);
    const TnVal zeros = tn_f_mul(graph, all, nn_to(graph, body->in[X_ZERO], TN_DTYPE_F64));
    const TnVal rest = tn_f_add(graph, zeros, nn_to(graph, body->in[OFFSET], TN_DTYPE_F64));
    TnVal y = nn_2(graph, "conv", &conv, x, w);
    y = channels_last(graph, tn_f_add(graph, y, nn_channel(graph, rest, rank)));
    return n > 0 ? y : tn_f_squeeze(graph, y, 1, (const gint64[]){ 1 });
}

static gboolean
quantized_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const TnQuantizedConvAttrs *attrs = body->attrs;
    const TnVal more = nn_in(body, MORE), more_scale = nn_in(body, MORE_SCALE),
                y_scale = nn_in(body, Y_SCALE);
    (void)error;
    TnVal y = nn_to(graph, exact_sums(body), TN_DTYPE_F32);
    y = tn_f_add(graph, tn_f_mul(graph, y, body->in[SCALE]), body->in[BIAS]);
    if (!tn_val_is_none(more_scale)) {
        const TnVal steps = nn_less_zero(graph, more, nn_in(body, MORE_ZERO), 0, TN_DTYPE_F32);
        y = tn_f_add(graph, y, tn_f_mul(graph, steps, more_scale));
    } else if (!tn_val_is_none(more)) {
        y = tn_f_add(graph, y, more);
    }
    y = attrs->relu ? tn_f_max(graph, y, tn_f_const(graph, y, 0)) : y;
    if (!tn_val_is_none(y_scale)) {
        const TnVal steps = tn_f_mul(graph, y, tn_f_reciprocal(graph, y_scale));
        y = nn_saturated(graph, steps, nn_in(body, Y_ZERO), TN_DTYPE_U8);
    }
    body->out[0] = y;
    return TRUE;
}

static double
quantized_flops(const TnFlops *call)
{
    const TnQuantizedConvAttrs *attrs = call->attrs;
    return 2.0 * (double)tn_type_count(&call->out[0]) * (double)row_count(attrs) *
           (double)row_length(attrs);
}

/* --- Channels last ---------------------------------------------------------------------------- */

static gboolean
from_last_infer(TnInfer *infer, GError **error)
{
    const TnType *x = &infer->in[0];
    (void)error;
    infer->out[0] = *x;
    for (gint i = 2; i < x->rank; i++) {
        infer->out[0].dims[i] = x->dims[i - 1];
    }
    infer->out[0].dims[1] = x->dims[x->rank - 1];
    return TRUE;
}

static gboolean
from_last_body(TnBody *body, GError **error)
{
    (void)error;
    const TnVal x = body->in[0];
    body->out[0] = tn_f_rank(body->graph, x) > 2 ? channels_second(body->graph, x)
                                                 : nn_1(body->graph, "identity", NULL, x);
    return TRUE;
}

/* --- Samples ---------------------------------------------------------------------------------- */

#define ATTRS(channels_, maps_, relu_, ...)                                                        \
    (&(const TnQuantizedConvAttrs){ { __VA_ARGS__ }, channels_, maps_, relu_ })
#define U TN_DTYPE_U8
#define S TN_DTYPE_I8
#define I TN_DTYPE_I32
#define R TN_DTYPE_F32
#define TYPES(...)                                                                                 \
    {                                                                                              \
        U, S, U, I, R, R, __VA_ARGS__                                                              \
    }
#define EACH(m) NN_RANK0, NN_SHAPE(m), NN_SHAPE(m), NN_SHAPE(m)
static const NnCase quantized_cases[] = {
    { 6,
      { NN_SHAPE(3, 64), NN_SHAPE(1, 1, 1, 16, 16, 4), EACH(16) },
      TYPES(U),
      .attrs = ATTRS(64, 16, FALSE, ) },
    { 11,
      { NN_SHAPE(2, 128), NN_SHAPE(2, 1, 2, 16, 16, 4), EACH(19), NN_SHAPE(2, 19), NN_ABSENT,
        NN_ABSENT, NN_RANK0, NN_RANK0 },
      TYPES(R, U, U, R, U),
      .attrs = ATTRS(128, 19, FALSE, ) },
    { 11,
      { NN_SHAPE(1, 5, 4, 32), NN_SHAPE(1, 2, 1, 16, 16, 4), EACH(5), NN_SHAPE(1, 6, 4, 5),
        NN_RANK0, NN_RANK0, NN_RANK0, NN_RANK0 },
      TYPES(U, R, U, R, U),
      .attrs = ATTRS(32, 5, TRUE, NN_INTS(2, 2), .pads = NN_INTS(1, 0, 1, 1)) },
    { 9,
      { NN_SHAPE(2, 7, 6, 16), NN_SHAPE(2, 3, 1, 16, 16, 4), EACH(17), NN_SHAPE(2, 3, 2, 17),
        NN_RANK0, NN_RANK0 },
      TYPES(U, R, U),
      .attrs = ATTRS(16, 17, FALSE, NN_INTS(3, 4), .strides = NN_INTS(2, 2),
                     .pads = NN_INTS(0, 1, 0, 0)) },
    { 6,
      { NN_SHAPE(2, 9, 16), NN_SHAPE(1, 1, 1, 16, 16, 4), EACH(3) },
      TYPES(U),
      .attrs = ATTRS(16, 3, TRUE, NN_INTS(4)) },
    { 6,
      { NN_SHAPE(1, 6, 4, 64), NN_SHAPE(3, 2, 1, 16, 16, 4), EACH(40) },
      TYPES(U),
      .attrs = ATTRS(64, 40, FALSE, NN_INTS(2, 1), .dilations = NN_INTS(3, 1)) },
    { 6,
      { NN_SHAPE(0, 5, 4, 64), NN_SHAPE(1, 1, 1, 16, 16, 4), EACH(16) },
      TYPES(U),
      .attrs = ATTRS(64, 16, FALSE, NN_INTS(1, 1)) },
};
NN_SAMPLER(quantized_sample, quantized_cases, TnQuantizedConvAttrs)

static const NnCase from_last_cases[] = {
    { 1, { NN_SHAPE(2, 3) } },
    { 1, { NN_SHAPE(2, 4, 3) } },
    { 1, { NN_SHAPE(2, 4, 5, 3) } },
    { 1, { NN_SHAPE(0, 4, 5, 3) } },
};
NN_SAMPLER(from_last_sample, from_last_cases, TnAxisAttrs)

/* --- The table -------------------------------------------------------------------------------- */

#define NONE .flags = TN_ARG_NO_GRAD
#define MAYBE .flags = TN_ARG_NO_GRAD | TN_ARG_OPTIONAL
#define WIDE_RANGE .lo = -120, .hi = 120
#define SCALES .lo = 0.05, .hi = 1

NN_OP(quantized_conv, NULL, "Convolution of 8-bit images, channels last, with what follows it",
      NN_IN(NN_ARG("x", 0, TN_DT(U8), "[N, s…, C]", NN_RANK(2, 5), WIDE_RANGE, NONE),
            NN_ARG("w", 0, TN_DT(I8), "tiles of weights", NN_RANK(6, 6), WIDE_RANGE, NONE),
            NN_ARG("x_zero", 0, TN_DT(U8), "[]", NONE),
            NN_ARG("offset", 0, TN_DT(I32), "[M]", WIDE_RANGE, NONE),
            NN_ARG("scale", 0, TN_DT(F32), "[M]", .lo = 0.001, .hi = 0.02, NONE),
            NN_ARG("bias", 0, TN_DT(F32), "[M]", NONE),
            NN_ARG("more", 'M', TN_DT(F32) | TN_DT(U8), "[N, o…, M]", MAYBE),
            NN_ARG("more_scale", 0, TN_DT(F32), "[]", SCALES, MAYBE),
            NN_ARG("more_zero", 0, TN_DT(U8), "[]", MAYBE),
            NN_ARG("y_scale", 0, TN_DT(F32), "[]", SCALES, MAYBE),
            NN_ARG("y_zero", 0, TN_DT(U8), "[]", MAYBE)),
      NN_OUT(NN_ARG("out", 'O', TN_DT(F32) | TN_DT(U8), "[N, o…, M]")),
      .attrs = TN_OPTIONS(TnQuantizedConvAttrs, rows), .flags = TN_OP_NO_GRAD,
      .infer = quantized_infer, .body = quantized_body, .sample = quantized_sample,
      .flops = quantized_flops, .in_place = 1u << 6);
NN_OP(from_channels_last, NULL,
      "Images with their channels behind the samples, from such with them last",
      NN_IN(NN_ARG("x", 'T', TN_DTYPES_ALL, "[N, s…, C]", NN_RANK(2, TN_MAX_RANK))),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_ALL, "[N, C, s…]")), .infer = from_last_infer,
      .body = from_last_body, .sample = from_last_sample, .simplify = nn_channels_last_simplify);
