/* slice.c: parts of a tensor along axes: slice, its transpose unslice, pad. */
#include "ops-private.h"

static const TnOption slice_rows[] = {
    TN_ATTR(TnSliceAttrs, starts, TN_OPT_INTS, "first positions; negative ones count from the end"),
    TN_ATTR(TnSliceAttrs, ends, TN_OPT_INTS, "positions before which to end"),
    TN_ATTR(TnSliceAttrs, axes, TN_OPT_INTS, "axes that starts and ends are of; empty: 0, 1, …"),
    TN_ATTR(TnSliceAttrs, steps, TN_OPT_INTS, "distances, negative to go back; empty: 1"),
};
static const TnOption pad_rows[] = {
    TN_ATTR(TnPadAttrs, pads, TN_OPT_INTS, "elements added before, then after; negative ones crop"),
    TN_ATTR(TnPadAttrs, axes, TN_OPT_INTS, "axes that pads are of; empty: all"),
    TN_ATTR(TnPadAttrs, value, TN_OPT_DOUBLE, "value of added elements", .dflt = "0",
            .flags = TN_OPTION_NAN),
};

/* --- What the attributes mean ----------------------------------------------------------------- */

static gint
named_axis(const TnInts *axes, gint k, gint rank)
{
    return axes->n > 0 ? tn_axis(axes->v[k], rank) : k;
}

/* One axis of n elements: ONNX's clamping, and how many positions there are. */
static void
resolve_axis(gint64 n, gint64 start, gint64 end, gint64 step, gint64 *first, gint64 *count)
{
    const gint64 last = MAX(n - 1, 0);
    start = start < 0 ? start + n : start;
    end = end < 0 ? end + n : end;
    start = CLAMP(start, 0, step > 0 ? n : last);
    end = step > 0 ? CLAMP(end, 0, n) : CLAMP(end, -1, last);
    const gint64 way = step > 0 ? end - start : start - end;
    /* The step's size as unsigned: the lowest int64 has no negative. */
    const guint64 size = step > 0 ? (guint64)step : -(guint64)step;
    *first = start;
    *count = way > 0 && n > 0 ? (gint64)(((guint64)way - 1) / size) + 1 : 0;
}

void
tn_slice_resolve(const TnSliceAttrs *attrs, const TnType *in, gint64 *start, gint64 *step,
                 gint64 *count)
{
    for (gint i = 0; i < in->rank; i++) {
        start[i] = 0;
        step[i] = 1;
        count[i] = in->dims[i];
    }
    for (gint k = 0; k < attrs->starts.n; k++) {
        const gint i = named_axis(&attrs->axes, k, in->rank);
        step[i] = attrs->steps.n > 0 ? attrs->steps.v[k] : 1;
        resolve_axis(in->dims[i], attrs->starts.v[k], attrs->ends.v[k], step[i], &start[i],
                     &count[i]);
        step[i] = count[i] > 1 ? step[i] : 1; /* not taken: times a stride it may overflow */
    }
}

void
tn_pad_resolve(const TnPadAttrs *attrs, gint rank, gint64 *begin, gint64 *end)
{
    const gint n = attrs->pads.n / 2;
    for (gint i = 0; i < rank; i++) {
        begin[i] = end[i] = 0;
    }
    for (gint k = 0; k < n; k++) {
        const gint i = named_axis(&attrs->axes, k, rank);
        begin[i] = attrs->pads.v[k];
        end[i] = attrs->pads.v[n + k];
    }
}

/* --- Infer ------------------------------------------------------------------------------------ */

/* The type that slicing input i gives. */
static gboolean
slice_type(const TnInfer *infer, gint input, TnType *out, GError **error)
{
    const TnSliceAttrs *attrs = infer->attrs;
    const TnType *in = &infer->in[input];
    const gint n = attrs->starts.n;
    guint32 mask;
    if (attrs->ends.n != n || (attrs->axes.n != 0 && attrs->axes.n != n) ||
        (attrs->steps.n != 0 && attrs->steps.n != n)) {
        return tn_infer_fail(infer, input, error,
                             "%d starts, %d ends, %d axes, %d steps: must be as many of each", n,
                             attrs->ends.n, attrs->axes.n, attrs->steps.n);
    }
    if (n > in->rank) {
        return tn_infer_fail(infer, input, error, "%d starts for %d axes", n, in->rank);
    }
    for (gint k = 0; k < attrs->steps.n; k++) {
        if (attrs->steps.v[k] == 0) {
            return tn_infer_fail(infer, input, error, "step %d is 0", k);
        }
    }
    if (!tn_infer_axes(infer, input, &attrs->axes, in->rank, &mask, error)) {
        return FALSE;
    }
    gint64 start[TN_MAX_RANK], step[TN_MAX_RANK];
    *out = *in;
    tn_slice_resolve(attrs, in, start, step, out->dims);
    return TRUE;
}

static gboolean
slice_infer(TnInfer *infer, GError **error)
{
    return slice_type(infer, 0, &infer->out[0], error);
}

static gboolean
unslice_infer(TnInfer *infer, GError **error)
{
    TnType part;
    if (!slice_type(infer, 1, &part, error)) {
        return FALSE;
    }
    part.dtype = infer->in[0].dtype;
    if (!tn_type_equal(&part, &infer->in[0])) {
        g_autofree char *text = tn_type_print(&part);
        return tn_infer_fail2(infer, 0, 1, error, "the slice of 'like' is %s", text);
    }
    return tn_infer_shape_of(infer, 1);
}

static gboolean
pad_infer(TnInfer *infer, GError **error)
{
    const TnPadAttrs *attrs = infer->attrs;
    const TnType *in = &infer->in[0];
    const gint n = attrs->axes.n > 0 ? attrs->axes.n : in->rank;
    guint32 mask;
    if (attrs->pads.n != 2 * n) {
        return tn_infer_fail(infer, 0, error, "%d pads for %d axes: must be two for each",
                             attrs->pads.n, n);
    }
    if (!tn_infer_axes(infer, 0, &attrs->axes, in->rank, &mask, error)) {
        return FALSE;
    }
    gint64 begin[TN_MAX_RANK], end[TN_MAX_RANK];
    tn_pad_resolve(attrs, in->rank, begin, end);
    infer->out[0] = *in;
    for (gint i = 0; i < in->rank; i++) {
        gint64 size;
        /* What one side takes off beyond that, the other must not hide. */
        const gboolean far = MIN(begin[i], end[i]) < -(gint64)G_MAXINT32;
        if (far || __builtin_add_overflow(in->dims[i], begin[i], &size) ||
            __builtin_add_overflow(size, end[i], &size) || size < 0) {
            return tn_infer_fail(infer, 0, error,
                                 "axis %d of size %" G_GINT64_FORMAT " padded by %" G_GINT64_FORMAT
                                 " and %" G_GINT64_FORMAT " has no size",
                                 i, in->dims[i], begin[i], end[i]);
        }
        infer->out[0].dims[i] = size;
    }
    return TRUE;
}

/* --- Views ------------------------------------------------------------------------------------ */

static gboolean
slice_view(const void *attrs, const TnType *in, const TnLayout *in_layout, const TnType *out,
           TnLayout *out_layout)
{
    gint64 start[TN_MAX_RANK], step[TN_MAX_RANK], count[TN_MAX_RANK];
    TnLayout layout = { .offset = in_layout->offset };
    const gboolean empty = tn_type_count(out) == 0;
    tn_slice_resolve(attrs, in, start, step, count);
    for (gint i = 0; i < in->rank && !empty; i++) {
        layout.strides[i] = count[i] > 1 ? in_layout->strides[i] * step[i] : 0;
        layout.offset += in_layout->strides[i] * start[i];
    }
    *out_layout = layout;
    return TRUE;
}

/* Cropping is a view. */
static gboolean
pad_view(const void *attrs, const TnType *in, const TnLayout *in_layout, const TnType *out,
         TnLayout *out_layout)
{
    gint64 begin[TN_MAX_RANK], end[TN_MAX_RANK];
    TnLayout layout = *in_layout;
    const gboolean empty = tn_type_count(out) == 0;
    tn_pad_resolve(attrs, in->rank, begin, end);
    for (gint i = 0; i < in->rank; i++) {
        if (begin[i] > 0 || end[i] > 0) {
            return FALSE;
        }
        layout.offset -= empty ? 0 : in_layout->strides[i] * begin[i];
    }
    *out_layout = layout;
    return TRUE;
}

/* --- Gradients -------------------------------------------------------------------------------- */

static TnVal
slice_rule(TnVjp *v, TnVal g)
{
    return tn_add2(v, "unslice", v->attrs, g, v->in[0]);
}

static TnVal
unslice_rule(TnVjp *v, TnVal g)
{
    return tn_add1(v, "slice", v->attrs, g);
}

static TnVal
pad_rule(TnVjp *v, TnVal g)
{
    TnPadAttrs attrs = *(const TnPadAttrs *)v->attrs;
    attrs.value = 0;
    for (gint k = 0; k < attrs.pads.n; k++) {
        attrs.pads.v[k] = -attrs.pads.v[k];
    }
    return tn_add1(v, "pad", &attrs, g);
}

/* --- Samples ---------------------------------------------------------------------------------- */

#define END G_MAXINT64
#define START G_MININT64
static const TnSliceAttrs slices[] = {
    { TN_INTS_OF(1), TN_INTS_OF(5), { 0 }, { 0 } },
    { TN_INTS_OF(0, 1), TN_INTS_OF(END, -1), { 0 }, { 0 } },
    { TN_INTS_OF(-1), TN_INTS_OF(START), TN_INTS_OF(1), TN_INTS_OF(-1) },
    { TN_INTS_OF(1, 3), TN_INTS_OF(6, 0), TN_INTS_OF(0, -1), TN_INTS_OF(2, -2) },
    { TN_INTS_OF(100), TN_INTS_OF(-100), TN_INTS_OF(0), TN_INTS_OF(-3) },
    { TN_INTS_OF(4), TN_INTS_OF(4), TN_INTS_OF(0), { 0 } },
    { { 0 }, { 0 }, { 0 }, { 0 } },
    { TN_INTS_OF(-3), TN_INTS_OF(END), TN_INTS_OF(2), TN_INTS_OF(1) },
};
static const TnCase slice_cases[] = {
    { 1, { TN_SHAPE_OF(7) }, .attrs = &slices[0] },
    { 1, { TN_SHAPE_OF(7) }, .attrs = &slices[4] },
    { 1, { TN_SHAPE_OF(7) }, .attrs = &slices[5] },
    { 1, { TN_SHAPE_OF(4, 5) }, .attrs = &slices[1] },
    { 1, { TN_SHAPE_OF(4, 5) }, .attrs = &slices[2] },
    { 1, { TN_SHAPE_OF(6, 5) }, .attrs = &slices[3] },
    { 1, { TN_SHAPE_OF(2, 3, 5, 2) }, .attrs = &slices[7] },
    { 1, { TN_SHAPE_OF(0, 3) }, .attrs = &slices[0] },
    { 1, { TN_SHAPE_OF(3, 0) }, .attrs = &slices[2] },
    { 1, { TN_RANK0 }, .attrs = &slices[6] },
};

static gboolean
slice_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, slice_cases, TnSliceAttrs);
}

static gboolean
unslice_sample(TnSample *sample)
{
    if (!slice_sample(sample)) {
        return FALSE;
    }
    gint64 start[TN_MAX_RANK], step[TN_MAX_RANK];
    sample->n_in = 2;
    sample->in[1] = sample->in[0];
    tn_slice_resolve(sample->attrs, &sample->in[1], start, step, sample->in[0].dims);
    return TRUE;
}

#define PADS(...) .pads = TN_INTS_OF(__VA_ARGS__)
static const TnCase pad_cases[] = {
    { 1, { TN_RANK0 } },
    { 1, { TN_SHAPE_OF(3) }, .attrs = &(const TnPadAttrs){ PADS(1, 2), .value = 1.5 } },
    { 1, { TN_SHAPE_OF(5) }, .attrs = &(const TnPadAttrs){ PADS(-1, -2) } },
    { 1, { TN_SHAPE_OF(3, 4) }, .attrs = &(const TnPadAttrs){ PADS(1, -1, 0, 2) } },
    { 1,
      { TN_SHAPE_OF(2, 1, 3, 4) },
      .attrs = &(const TnPadAttrs){ PADS(1, 2, 1, 0), TN_INTS_OF(2, -1), -3 } },
    { 1, { TN_SHAPE_OF(0, 2) }, .attrs = &(const TnPadAttrs){ PADS(1, 0, 1, 0), .value = 1 } },
    { 1, { TN_SHAPE_OF(3) }, .attrs = &(const TnPadAttrs){ PADS(-3, 0) } },
};
#undef PADS

static gboolean
pad_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, pad_cases, TnPadAttrs);
}

/* --- The table -------------------------------------------------------------------------------- */

static const TnPrimitive rows[] = {
    { .op = { TN_OP("slice", "Slice", "Part of x along axes, with steps"), .flags = TN_OP_VIEW,
              TN_INPUTS(TN_ARG_ROW("x", 'T', TN_DTYPES_ALL, "any shape")),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "the part")),
              .attrs = TN_OPTIONS(TnSliceAttrs, slice_rows), .infer = slice_infer,
              .vjp = tn_vjp_rules, .view = slice_view, .sample = slice_sample },
      .rule = { slice_rule } },
    { .op = { TN_OP("unslice", NULL, "Zeros of like's shape with g where slice reads"),
              .flags = TN_OP_FILLS,
              TN_INPUTS(TN_ARG_ROW("g", 'T', TN_DTYPES_ALL, "the shape that slice gives of like"),
                        TN_LIKE_ROW("like", "any shape", 0)),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "like's shape")),
              .attrs = TN_OPTIONS(TnSliceAttrs, slice_rows), .infer = unslice_infer,
              .vjp = tn_vjp_rules, .sample = unslice_sample, .flops = tn_flops_none,
              .precision = TN_PRECISION_FOLLOW },
      .rule = { unslice_rule } },
    { .op = { TN_OP("pad", "Pad", "x with a value around it, or cropped"),
              .flags = TN_OP_VIEW | TN_OP_FILLS,
              TN_INPUTS(TN_ARG_ROW("x", 'T', TN_DTYPES_ALL, "any shape")),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "larger or smaller")),
              .attrs = TN_OPTIONS(TnPadAttrs, pad_rows), .infer = pad_infer, .vjp = tn_vjp_rules,
              .view = pad_view, .sample = pad_sample },
      .rule = { pad_rule } },
};

const TnFamily tn_family_slice = { rows, G_N_ELEMENTS(rows) };
