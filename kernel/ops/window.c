/* window.c: the sliding view and its transpose, overlap-add: what pooling and unfolding are made
 * of. */
#include "ops-private.h"

static const TnOption window_rows[] = {
    TN_ATTR(TnWindowAttrs, kernel_shape, TN_OPT_INTS, "sizes of the window over the last axes",
            TN_RANGE_I(1, G_MAXINT32), .min_items = 1, .max_items = 4),
    TN_ATTR(TnWindowAttrs, strides, TN_OPT_INTS, "steps of the window; empty: 1",
            TN_RANGE_I(1, G_MAXINT32)),
    TN_ATTR(TnWindowAttrs, dilations, TN_OPT_INTS, "distances within the window; empty: 1",
            TN_RANGE_I(1, G_MAXINT32)),
};

TnConvAxis
tn_window_axis(const TnWindowAttrs *attrs, gint i)
{
    const gint n = attrs->kernel_shape.n;
    return (TnConvAxis){
        .stride = attrs->strides.n > 0 ? attrs->strides.v[i] : 1,
        .dilation = attrs->dilations.n > 0 ? attrs->dilations.v[i] : 1,
        .pad_begin = attrs->pads.n > 0 ? attrs->pads.v[i] : 0,
        .pad_end = attrs->pads.n > 0 ? attrs->pads.v[n + i] : 0,
    };
}

/* --- Infer ------------------------------------------------------------------------------------ */

static gboolean
check_attrs(const TnInfer *infer, gint input, GError **error)
{
    const TnWindowAttrs *attrs = infer->attrs;
    const gint n = attrs->kernel_shape.n;
    const gint rank = infer->in[input].rank;
    if (n < 1 || n > rank || rank + n > TN_MAX_RANK) {
        return tn_infer_fail(infer, input, error, "'kernel_shape' has %d sizes, must have 1 to %d",
                             n, MIN(rank, TN_MAX_RANK - rank));
    }
    if ((attrs->strides.n != 0 && attrs->strides.n != n) ||
        (attrs->dilations.n != 0 && attrs->dilations.n != n)) {
        return tn_infer_fail(infer, input, error,
                             "%d strides and %d dilations for a window of %d axes",
                             attrs->strides.n, attrs->dilations.n, n);
    }
    for (gint i = 0; i < n; i++) {
        const TnConvAxis axis = tn_window_axis(attrs, i);
        if (attrs->kernel_shape.v[i] < 1 || axis.stride < 1 || axis.dilation < 1) {
            return tn_infer_fail(infer, input, error,
                                 "kernel_shape, strides and dilations must be 1 at least");
        }
    }
    return TRUE;
}

/* What window gives of input `input`. */
static gboolean
window_type(const TnInfer *infer, gint input, TnType *out, GError **error)
{
    const TnWindowAttrs *attrs = infer->attrs;
    const TnType *in = &infer->in[input];
    const gint n = attrs->kernel_shape.n;
    if (!check_attrs(infer, input, error)) {
        return FALSE;
    }
    *out = *in;
    out->rank = in->rank + n;
    for (gint i = 0; i < n; i++) {
        const TnConvAxis axis = tn_window_axis(attrs, i);
        const gint64 kernel = attrs->kernel_shape.v[i];
        const gint64 size = in->dims[in->rank - n + i];
        gint64 reach;
        if (__builtin_mul_overflow(axis.dilation, kernel - 1, &reach) || reach >= size) {
            return tn_infer_fail(infer, input, error,
                                 "axis %d of size %" G_GINT64_FORMAT
                                 " is shorter than the window of %" G_GINT64_FORMAT
                                 " at dilation %" G_GINT64_FORMAT,
                                 in->rank - n + i, size, kernel, axis.dilation);
        }
        out->dims[in->rank - n + i] = (size - reach - 1) / axis.stride + 1;
        out->dims[in->rank + i] = kernel;
    }
    return TRUE;
}

static gboolean
window_infer(TnInfer *infer, GError **error)
{
    return window_type(infer, 0, &infer->out[0], error);
}

static gboolean
unwindow_infer(TnInfer *infer, GError **error)
{
    TnType want;
    if (!window_type(infer, 1, &want, error)) {
        return FALSE;
    }
    want.dtype = infer->in[0].dtype;
    if (!tn_type_equal(&want, &infer->in[0])) {
        g_autofree char *text = tn_type_print(&want);
        return tn_infer_fail2(infer, 0, 1, error, "the window over 'like' is %s", text);
    }
    return tn_infer_shape_of(infer, 1);
}

/* --- View, gradients -------------------------------------------------------------------------- */

static gboolean
window_view(const void *attrs, const TnType *in, const TnLayout *in_layout, const TnType *out,
            TnLayout *out_layout)
{
    const TnWindowAttrs *window = attrs;
    const gint n = window->kernel_shape.n;
    TnLayout layout = *in_layout;
    (void)out;
    for (gint i = 0; i < n; i++) {
        const gint64 stride = in_layout->strides[in->rank - n + i];
        const TnConvAxis axis = tn_window_axis(window, i);
        layout.strides[in->rank - n + i] = stride * axis.stride;
        layout.strides[in->rank + i] = stride * axis.dilation;
    }
    *out_layout = layout;
    return TRUE;
}

static TnVal
window_rule(TnVjp *v, TnVal g)
{
    return tn_add2(v, "unwindow", v->attrs, g, v->in[0]);
}

static TnVal
unwindow_rule(TnVjp *v, TnVal g)
{
    return tn_add1(v, "window", v->attrs, g);
}

/* --- Samples ---------------------------------------------------------------------------------- */

#define KERNEL(...) .kernel_shape = TN_INTS_OF(__VA_ARGS__)
#define STRIDES(...) .strides = TN_INTS_OF(__VA_ARGS__)
#define DILATIONS(...) .dilations = TN_INTS_OF(__VA_ARGS__)
static const TnCase window_cases[] = {
    { 1, { TN_SHAPE_OF(5) }, .attrs = &(const TnWindowAttrs){ KERNEL(2) } },
    { 1, { TN_SHAPE_OF(3) }, .attrs = &(const TnWindowAttrs){ KERNEL(3), STRIDES(2) } },
    { 1, { TN_SHAPE_OF(2, 7) }, .attrs = &(const TnWindowAttrs){ KERNEL(1), STRIDES(3) } },
    { 1,
      { TN_SHAPE_OF(2, 3, 5, 6) },
      .attrs = &(const TnWindowAttrs){ KERNEL(2, 3), STRIDES(2, 1) } },
    { 1,
      { TN_SHAPE_OF(1, 2, 7, 5) },
      .attrs = &(const TnWindowAttrs){ KERNEL(3, 2), STRIDES(1, 2), DILATIONS(2, 3) } },
    { 1, { TN_SHAPE_OF(2, 4, 3, 3) }, .attrs = &(const TnWindowAttrs){ KERNEL(2, 2, 3) } },
    { 1, { TN_SHAPE_OF(0, 1, 4) }, .attrs = &(const TnWindowAttrs){ KERNEL(2) } },
};
#undef KERNEL
#undef STRIDES
#undef DILATIONS

static gboolean
window_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, window_cases, TnWindowAttrs);
}

static gboolean
unwindow_sample(TnSample *sample)
{
    if (!window_sample(sample)) {
        return FALSE;
    }
    const TnInfer infer = { .attrs = sample->attrs, .in = sample->in };
    TnType part;
    if (!window_type(&infer, 0, &part, NULL)) {
        return FALSE;
    }
    sample->n_in = 2;
    sample->in[1] = sample->in[0];
    sample->in[0] = part;
    return TRUE;
}

/* --- The table -------------------------------------------------------------------------------- */

static const TnPrimitive rows[] = {
    { .op = { TN_OP("window", NULL, "A sliding view of the last axes"), .flags = TN_OP_VIEW,
              TN_INPUTS(TN_ARG_ROW("x", 'T', TN_DTYPES_ALL, "[lead…, s…]", .min_rank = 1,
                                   .max_rank = TN_MAX_RANK - 1)),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "[lead…, positions…, kernel…]")),
              .attrs = TN_OPTIONS(TnWindowAttrs, window_rows), .infer = window_infer,
              .vjp = tn_vjp_rules, .view = window_view, .sample = window_sample },
      .rule = { window_rule } },
    { .op = { TN_OP("unwindow", NULL, "Overlap-add: window's transpose"), .flags = TN_OP_FILLS,
              TN_INPUTS(TN_ARG_ROW("g", 'T', TN_DTYPES_NUMBER, "[lead…, positions…, kernel…]"),
                        TN_LIKE_ROW("like", "[lead…, s…]", 0)),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_NUMBER, "like's shape")),
              .attrs = TN_OPTIONS(TnWindowAttrs, window_rows), .infer = unwindow_infer,
              .vjp = tn_vjp_rules, .sample = unwindow_sample, .flops = tn_flops_inputs },
      .rule = { unwindow_rule } },
};

const TnFamily tn_family_window = { rows, G_N_ELEMENTS(rows) };
