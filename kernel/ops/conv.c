/* conv.c: convolution and its two transposes, closed under differentiation. The three are one
 * trilinear form, the sum of x[n, c, o * stride + k * dilation - pad] w[m, c, k] g[n, m, o], seen
 * from g, from x and from w. */
#include "ops-private.h"

#define CONV_ATTRS                                                                                 \
    TN_ATTR(TnConvAttrs, group, TN_OPT_INT64, "independent groups of channels", .dflt = "1",       \
            TN_RANGE_I(1, G_MAXINT32)),                                                            \
        TN_ATTR(TnConvAttrs, strides, TN_OPT_INTS, "per spatial axis; empty: 1",                   \
                TN_RANGE_I(1, G_MAXINT32)),                                                        \
        TN_ATTR(TnConvAttrs, pads, TN_OPT_INTS, "zeros before, then after; empty: 0",              \
                TN_RANGE_I(0, G_MAXINT32)),                                                        \
        TN_ATTR(TnConvAttrs, dilations, TN_OPT_INTS, "distances within the kernel; empty: 1",      \
                TN_RANGE_I(1, G_MAXINT32))
static const TnOption conv_rows[] = { CONV_ATTRS };
static const TnOption transpose_rows[] = {
    CONV_ATTRS,
    TN_ATTR(TnConvAttrs, output_padding, TN_OPT_INTS,
            "added to each size of the output, less than the stride; empty: 0",
            TN_RANGE_I(0, G_MAXINT32)),
};

TnConvAxis
tn_conv_axis(const TnConvAttrs *attrs, gint n, gint i)
{
    return (TnConvAxis){
        .stride = attrs->strides.n > 0 ? attrs->strides.v[i] : 1,
        .dilation = attrs->dilations.n > 0 ? attrs->dilations.v[i] : 1,
        .pad_begin = attrs->pads.n > 0 ? attrs->pads.v[i] : 0,
        .pad_end = attrs->pads.n > 0 ? attrs->pads.v[n + i] : 0,
        .output_padding = attrs->output_padding.n > 0 ? attrs->output_padding.v[i] : 0,
    };
}

/* --- Infer ------------------------------------------------------------------------------------ */

static gboolean
check_list(const TnInfer *infer, const char *name, const TnInts *list, gint n, gint64 least,
           GError **error)
{
    if (list->n != 0 && list->n != n) {
        return tn_infer_fail(infer, 0, error, "'%s' has %d numbers, must have %d", name, list->n,
                             n);
    }
    for (gint i = 0; i < list->n; i++) {
        if (list->v[i] < least || list->v[i] > G_MAXINT32) {
            return tn_infer_fail(infer, 0, error, "'%s' has %" G_GINT64_FORMAT " in it", name,
                                 list->v[i]);
        }
    }
    return TRUE;
}

/* Attributes, and that the inputs have one rank. */
static gboolean
check_conv(const TnInfer *infer, GError **error)
{
    const TnConvAttrs *attrs = infer->attrs;
    const gint n = infer->in[0].rank - 2;
    for (gint i = 1; i < infer->n_in; i++) {
        if (infer->in[i].dtype != TN_DTYPE_NONE && infer->in[i].rank != n + 2) {
            return tn_infer_fail2(infer, 0, i, error, "ranks differ: %d and %d", n + 2,
                                  infer->in[i].rank);
        }
    }
    if (attrs->group < 1) {
        return tn_infer_fail(infer, 0, error, "'group' is %" G_GINT64_FORMAT, attrs->group);
    }
    return check_list(infer, "strides", &attrs->strides, n, 1, error) &&
           check_list(infer, "pads", &attrs->pads, 2 * n, 0, error) &&
           check_list(infer, "dilations", &attrs->dilations, n, 1, error) &&
           check_list(infer, "output_padding", &attrs->output_padding, n, 0, error);
}

/* x [N, C, …] and w [M, C/group, …] agree in channels. */
static gboolean
check_channels(const TnInfer *infer, gint x, gint w, GError **error)
{
    const TnConvAttrs *attrs = infer->attrs;
    const gint64 channels = infer->in[x].dims[1];
    const gint64 per_group = infer->in[w].dims[1];
    const gint64 out = infer->in[w].dims[0];
    gint64 want;
    if (__builtin_mul_overflow(per_group, attrs->group, &want) || want != channels) {
        return tn_infer_fail2(infer, x, w, error,
                              "channels differ: %" G_GINT64_FORMAT ", and %" G_GINT64_FORMAT
                              " in each of %" G_GINT64_FORMAT " groups",
                              channels, per_group, attrs->group);
    }
    if (out % attrs->group != 0) {
        return tn_infer_fail(infer, w, error,
                             "%" G_GINT64_FORMAT " output channels do not make %" G_GINT64_FORMAT
                             " groups",
                             out, attrs->group);
    }
    return TRUE;
}

/* Sizes o of conv of sizes `in` with kernel sizes `kernel` (dims from axis 2) into out. */
static gboolean
conv_sizes(const TnInfer *infer, gint x, gint w, const TnType *big, TnType *out, GError **error)
{
    const gint n = big->rank - 2;
    for (gint i = 0; i < n; i++) {
        const TnConvAxis axis = tn_conv_axis(infer->attrs, n, i);
        const gint64 kernel = infer->in[w].dims[2 + i];
        gint64 size, reach;
        if (kernel < 1) {
            return tn_infer_fail(infer, w, error, "kernel size of axis %d is 0", 2 + i);
        }
        if (__builtin_mul_overflow(axis.dilation, kernel - 1, &reach) ||
            __builtin_add_overflow(big->dims[2 + i], axis.pad_begin + axis.pad_end, &size) ||
            reach >= size) {
            return tn_infer_fail2(
                infer, x, w, error,
                "axis %d of size %" G_GINT64_FORMAT " (pads %" G_GINT64_FORMAT
                " and %" G_GINT64_FORMAT ") is shorter than the kernel of %" G_GINT64_FORMAT
                " at dilation %" G_GINT64_FORMAT,
                2 + i, big->dims[2 + i], axis.pad_begin, axis.pad_end, kernel, axis.dilation);
        }
        out->dims[2 + i] = (size - reach - 1) / axis.stride + 1;
    }
    return TRUE;
}

static gboolean
conv_infer(TnInfer *infer, GError **error)
{
    TnType out = infer->in[0];
    if (!check_conv(infer, error) || !check_channels(infer, 0, 1, error) ||
        !conv_sizes(infer, 0, 1, &infer->in[0], &out, error)) {
        return FALSE;
    }
    out.dims[1] = infer->in[1].dims[0];
    infer->out[0] = out;
    return TRUE;
}

static gboolean
transposed_sizes(const TnInfer *infer, TnType *out, GError **error)
{
    const gint n = out->rank - 2;
    for (gint i = 0; i < n; i++) {
        const TnConvAxis axis = tn_conv_axis(infer->attrs, n, i);
        const gint64 o = infer->in[0].dims[2 + i];
        const gint64 kernel = infer->in[1].dims[2 + i];
        gint64 span, reach, size;
        if (axis.output_padding >= axis.stride) {
            return tn_infer_fail(infer, 0, error,
                                 "output_padding %" G_GINT64_FORMAT
                                 " must be less than the stride %" G_GINT64_FORMAT,
                                 axis.output_padding, axis.stride);
        }
        if (kernel < 1 || o < 1) {
            return tn_infer_fail2(infer, 0, 1, error, "axis %d has size 0", 2 + i);
        }
        if (__builtin_mul_overflow(axis.stride, o - 1, &span) ||
            __builtin_mul_overflow(axis.dilation, kernel - 1, &reach) ||
            __builtin_add_overflow(span, reach, &size) || size > G_MAXINT64 - 1 - G_MAXINT32) {
            return tn_infer_fail2(infer, 0, 1, error, "axis %d would be too long", 2 + i);
        }
        out->dims[2 + i] = size + 1 + axis.output_padding - axis.pad_begin - axis.pad_end;
        if (out->dims[2 + i] < 0) {
            return tn_infer_fail2(infer, 0, 1, error, "pads leave nothing of axis %d", 2 + i);
        }
    }
    return TRUE;
}

static gboolean
conv_transpose_infer(TnInfer *infer, GError **error)
{
    const TnConvAttrs *attrs = infer->attrs;
    const TnType *w = &infer->in[1];
    const gboolean has_like = infer->n_in > 2 && infer->in[2].dtype != TN_DTYPE_NONE;
    if (!check_conv(infer, error)) {
        return FALSE;
    }
    if (infer->in[0].dims[1] != w->dims[0] || w->dims[0] % attrs->group != 0) {
        return tn_infer_fail2(infer, 0, 1, error,
                              "channels differ: %" G_GINT64_FORMAT " and %" G_GINT64_FORMAT
                              " in %" G_GINT64_FORMAT " groups",
                              infer->in[0].dims[1], w->dims[0], attrs->group);
    }
    TnType out = infer->in[0];
    if (__builtin_mul_overflow(w->dims[1], attrs->group, &out.dims[1])) {
        return tn_infer_fail(infer, 1, error, "too many channels");
    }
    if (!has_like) {
        infer->out[0] = out;
        return transposed_sizes(infer, &infer->out[0], error);
    }
    TnType back = infer->in[2];
    if (!conv_sizes(infer, 2, 1, &infer->in[2], &back, error)) {
        return FALSE;
    }
    back.dtype = infer->in[0].dtype;
    back.dims[1] = infer->in[0].dims[1];
    if (!tn_type_equal(&back, &infer->in[0]) || infer->in[2].dims[1] != out.dims[1]) {
        g_autofree char *text = tn_type_print(&back);
        return tn_infer_fail2(infer, 0, 2, error, "a convolution of 'like' gives %s", text);
    }
    return tn_infer_shape_of(infer, 2);
}

static gboolean
conv_grad_weight_infer(TnInfer *infer, GError **error)
{
    TnType want = infer->in[0];
    if (!check_conv(infer, error) || !check_channels(infer, 0, 2, error) ||
        !conv_sizes(infer, 0, 2, &infer->in[0], &want, error)) {
        return FALSE;
    }
    want.dims[1] = infer->in[2].dims[0];
    if (!tn_type_equal(&want, &infer->in[1])) {
        g_autofree char *text = tn_type_print(&want);
        return tn_infer_fail2(infer, 0, 1, error, "'g' must be %s for these weights", text);
    }
    return tn_infer_shape_of(infer, 2);
}

/* All three take a product and a sum for each output channel and position g, each input channel of
 * its group and each place of the kernel w; what meets the padding counts too. */
static double
trilinear_flops(const TnType *g, const TnType *w)
{
    const double channels = (double)MAX(w->dims[0], 1);
    return 2.0 * (double)tn_type_count(g) * ((double)tn_type_count(w) / channels);
}

static double
conv_flops(const TnFlops *call)
{
    return trilinear_flops(&call->out[0], &call->in[1]);
}

static double
conv_transpose_flops(const TnFlops *call)
{
    return trilinear_flops(&call->in[0], &call->in[1]);
}

static double
conv_grad_weight_flops(const TnFlops *call)
{
    return trilinear_flops(&call->in[1], &call->out[0]);
}

/* --- Gradients -------------------------------------------------------------------------------- */

/* The attributes that all three share: an output padding has done its work in the shape that `like`
 * gives. */
static TnConvAttrs
shared(const TnVjp *v)
{
    TnConvAttrs attrs = *(const TnConvAttrs *)v->attrs;
    attrs.output_padding.n = 0;
    return attrs;
}

/* in: x, w. */
static TnVal
conv_x(TnVjp *v, TnVal g)
{
    return tn_add3(v, "conv_transpose", v->attrs, g, v->in[1], v->in[0]);
}

static TnVal
conv_w(TnVjp *v, TnVal g)
{
    return tn_add3(v, "conv_grad_weight", v->attrs, v->in[0], g, v->in[1]);
}

/* in: x [N, M, o], w, maybe like; out and g: [N, C, s]. */
static TnVal
transpose_x(TnVjp *v, TnVal g)
{
    const TnConvAttrs attrs = shared(v);
    return tn_add2(v, "conv", &attrs, g, v->in[1]);
}

static TnVal
transpose_w(TnVjp *v, TnVal g)
{
    const TnConvAttrs attrs = shared(v);
    return tn_add3(v, "conv_grad_weight", &attrs, g, v->in[0], v->in[1]);
}

/* in: x [N, C, s], g [N, M, o], like w; the incoming gradient has w's shape. */
static TnVal
weight_x(TnVjp *v, TnVal g)
{
    return tn_add3(v, "conv_transpose", v->attrs, v->in[1], g, v->in[0]);
}

static TnVal
weight_g(TnVjp *v, TnVal g)
{
    return tn_add2(v, "conv", v->attrs, v->in[0], g);
}

/* --- Samples ---------------------------------------------------------------------------------- */

#define STRIDES(...) .strides = TN_INTS_OF(__VA_ARGS__)
#define PADS(...) .pads = TN_INTS_OF(__VA_ARGS__)
#define DILATIONS(...) .dilations = TN_INTS_OF(__VA_ARGS__)
static const TnConvAttrs same = { 1, PADS(1, 1, 1, 1) };
static const TnConvAttrs strided = { 1, STRIDES(2, 3), PADS(1, 0, 2, 1) };
static const TnConvAttrs dilated = { 1, PADS(2, 1, 0, 1), DILATIONS(2, 1) };
static const TnConvAttrs grouped = { 2, STRIDES(2, 1), PADS(0, 1, 0, 1) };
static const TnConvAttrs depthwise = { 3, STRIDES(1), PADS(1, 1) };
static const TnConvAttrs deep = { 1, STRIDES(1, 2, 1), PADS(1, 0, 1, 0, 1, 0), DILATIONS(1, 1, 2) };
/* As the pass `layout` has them: 16 samples are the last axis. */
static const TnConvAttrs lanes = { 1, PADS(1, 2, 0, 2, 1, 0), DILATIONS(2, 1, 1) };
static const TnConvAttrs lanes_strided = { 1, STRIDES(2, 3, 1), PADS(1, 0, 0, 1, 2, 0) };
static const TnCase conv_cases[] = {
    { 2, { TN_SHAPE_OF(1, 1, 3), TN_SHAPE_OF(1, 1, 1) } },
    { 2, { TN_SHAPE_OF(2, 3, 8), TN_SHAPE_OF(4, 3, 3) } },
    { 2, { TN_SHAPE_OF(2, 3, 6), TN_SHAPE_OF(3, 1, 3) }, .attrs = &depthwise },
    { 2, { TN_SHAPE_OF(2, 2, 5, 4), TN_SHAPE_OF(3, 2, 3, 3) }, .attrs = &same },
    { 2, { TN_SHAPE_OF(1, 2, 7, 8), TN_SHAPE_OF(2, 2, 3, 2) }, .attrs = &strided },
    { 2, { TN_SHAPE_OF(2, 1, 6, 5), TN_SHAPE_OF(2, 1, 3, 2) }, .attrs = &dilated },
    { 2, { TN_SHAPE_OF(2, 4, 5, 5), TN_SHAPE_OF(6, 2, 2, 3) }, .attrs = &grouped },
    { 2, { TN_SHAPE_OF(1, 2, 3, 5, 6), TN_SHAPE_OF(2, 2, 2, 2, 2) }, .attrs = &deep },
    { 2, { TN_SHAPE_OF(1, 1, 3, 3, 16), TN_SHAPE_OF(3, 1, 3, 2, 1) }, .attrs = &lanes },
    { 2, { TN_SHAPE_OF(1, 1, 3, 4, 16), TN_SHAPE_OF(2, 1, 2, 3, 1) }, .attrs = &lanes_strided },
    { 2, { TN_SHAPE_OF(0, 2, 4, 4), TN_SHAPE_OF(3, 2, 3, 3) } },
};

static gboolean
conv_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, conv_cases, TnConvAttrs);
}

/* conv's output for the sampled x and w. */
static TnType
conv_result(const TnSample *sample)
{
    const TnInfer infer = { .attrs = sample->attrs, .in = sample->in };
    TnType out = sample->in[0];
    conv_sizes(&infer, 0, 1, &sample->in[0], &out, NULL);
    out.dims[1] = sample->in[1].dims[0];
    return out;
}

static gboolean
conv_grad_weight_sample(TnSample *sample)
{
    if (!conv_sample(sample)) {
        return FALSE;
    }
    const TnType result = conv_result(sample);
    sample->in[2] = sample->in[1];
    sample->in[1] = result;
    sample->n_in = 3;
    return TRUE;
}

/* First with output_padding, then conv's cases with `like`. */
static gboolean
conv_transpose_sample(TnSample *sample)
{
    static const TnConvAttrs padded = { 1, STRIDES(2, 3), PADS(1, 0, 0, 1), DILATIONS(1, 2),
                                        TN_INTS_OF(1, 2) };
    static const TnCase cases[] = {
        { 2, { TN_SHAPE_OF(2, 3, 4), TN_SHAPE_OF(3, 2, 3) } },
        { 2, { TN_SHAPE_OF(1, 2, 3, 3), TN_SHAPE_OF(2, 2, 3, 2) }, .attrs = &padded },
        { 2, { TN_SHAPE_OF(2, 4, 3, 3), TN_SHAPE_OF(4, 3, 2, 3) }, .attrs = &grouped },
        { 2, { TN_SHAPE_OF(1, 2, 2, 3, 3), TN_SHAPE_OF(2, 1, 2, 2, 2) }, .attrs = &deep },
        { 3, { TN_SHAPE_OF(1, 1, 3), TN_SHAPE_OF(1, 2, 2), TN_ABSENT } },
    };
    const guint n = G_N_ELEMENTS(cases);
    if (sample->variant < n) {
        return TN_SAMPLE_CASES(sample, cases, TnConvAttrs);
    }
    TnSample rest = *sample;
    rest.variant -= n;
    if (!conv_sample(&rest)) {
        return FALSE;
    }
    rest.in[2] = rest.in[0];
    rest.in[0] = conv_result(&rest);
    rest.n_in = 3;
    rest.variant = sample->variant;
    *sample = rest;
    return TRUE;
}

/* --- The table -------------------------------------------------------------------------------- */

#define ARG(name_, help_, flags_)                                                                  \
    TN_ARG_ROW(name_, 'T', TN_DTYPES_FLOAT, help_, .flags = (flags_), .min_rank = 3, .max_rank = 5)
#define IMAGES(name_, help_) ARG(name_, help_, TN_ARG_SPATIAL)
#define WINDOW(name_, help_) ARG(name_, help_, TN_ARG_WINDOW)
#define OUT(help_, flags_)                                                                         \
    TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_FLOAT, help_, .flags = (flags_)))

static const TnPrimitive rows[] = {
    { .op = { TN_OP("conv", "Conv", "Convolution (cross-correlation) over 1 to 3 axes"),
              TN_INPUTS(IMAGES("x", "[N, C, spatial…]"), WINDOW("w", "[M, C / group, kernel…]")),
              OUT("[N, M, positions…]", TN_ARG_SPATIAL),
              .attrs = TN_OPTIONS(TnConvAttrs, conv_rows), .infer = conv_infer, .vjp = tn_vjp_rules,
              .sample = conv_sample, .flops = conv_flops, .blocked = "conv_blocked" },
      .rule = { conv_x, conv_w } },
    { .op = { TN_OP("conv_transpose", "ConvTranspose", "Convolution's transpose in its input"),
              TN_INPUTS(IMAGES("x", "[N, M, positions…]"), WINDOW("w", "[M, C / group, kernel…]"),
                        TN_LIKE_ROW("like", "[N, C, spatial…]: sizes of the output",
                                    TN_ARG_OPTIONAL | TN_ARG_SPATIAL, .min_rank = 3,
                                    .max_rank = 5)),
              OUT("[N, C, spatial…]", TN_ARG_SPATIAL),
              .attrs = TN_OPTIONS(TnConvAttrs, transpose_rows), .infer = conv_transpose_infer,
              .vjp = tn_vjp_rules, .sample = conv_transpose_sample, .flops = conv_transpose_flops },
      .rule = { transpose_x, transpose_w } },
    { .op = { TN_OP("conv_grad_weight", NULL, "Convolution's transpose in its weights"),
              TN_INPUTS(IMAGES("x", "[N, C, spatial…]"), IMAGES("g", "[N, M, positions…]"),
                        TN_LIKE_ROW("like", "[M, C / group, kernel…]", TN_ARG_WINDOW, .min_rank = 3,
                                    .max_rank = 5)),
              OUT("like's shape", TN_ARG_WINDOW), .attrs = TN_OPTIONS(TnConvAttrs, conv_rows),
              .infer = conv_grad_weight_infer, .vjp = tn_vjp_rules,
              .sample = conv_grad_weight_sample, .flops = conv_grad_weight_flops },
      .rule = { weight_x, weight_g } },
};

const TnFamily tn_family_conv = { rows, G_N_ELEMENTS(rows) };
