/* like.c: operators that take their shape from another value, so that no rule needs to know a
 * size. */
#include "ops-private.h"

static const TnOption full_like_rows[] = {
    TN_ATTR(TnFullLikeAttrs, value, TN_OPT_DOUBLE, "every element's value", .dflt = "0",
            .flags = TN_OPTION_NAN),
    TN_ATTR_DTYPE(TnFullLikeAttrs, dtype, "dtype of the output; none: like's", .dflt = "none"),
};
static const TnOption size_rows[] = {
    TN_ATTR(TnSizeAttrs, axes, TN_OPT_INTS, "axes whose sizes are multiplied; empty: all"),
    TN_ATTR_DTYPE(TnSizeAttrs, dtype, "dtype of the output; none: like's", .dflt = "none"),
};
static const TnOption iota_rows[] = {
    TN_ATTR(TnIotaAttrs, axis, TN_OPT_INT64, "axis of like that is counted", .dflt = "0"),
    TN_ATTR_DTYPE(TnIotaAttrs, dtype, "dtype of the output", .dflt = "i64"),
};

/* --- Infer ------------------------------------------------------------------------------------ */

/* narrow broadcasts to exactly wide's shape. */
static gboolean
widens(const TnType *narrow, const TnType *wide)
{
    const gint lead = wide->rank - narrow->rank;
    for (gint i = 0; lead >= 0 && i < narrow->rank; i++) {
        if (narrow->dims[i] != 1 && narrow->dims[i] != wide->dims[lead + i]) {
            return FALSE;
        }
    }
    return lead >= 0;
}

static gboolean
expand_as_infer(TnInfer *infer, GError **error)
{
    if (!widens(&infer->in[0], &infer->in[1])) {
        return tn_infer_fail2(infer, 0, 1, error, "'x' does not broadcast to the shape of 'like'");
    }
    return tn_infer_shape_of(infer, 1);
}

static gboolean
reduce_to_infer(TnInfer *infer, GError **error)
{
    if (!widens(&infer->in[1], &infer->in[0])) {
        return tn_infer_fail2(infer, 0, 1, error, "'like' does not broadcast to the shape of 'x'");
    }
    return tn_infer_shape_of(infer, 1);
}

static gboolean
reshape_as_infer(TnInfer *infer, GError **error)
{
    const gint64 have = tn_type_count(&infer->in[0]);
    const gint64 want = tn_type_count(&infer->in[1]);
    if (have != want) {
        return tn_infer_fail2(infer, 0, 1, error,
                              "different numbers of elements: %" G_GINT64_FORMAT
                              " and %" G_GINT64_FORMAT,
                              have, want);
    }
    return tn_infer_shape_of(infer, 1);
}

static gboolean
same_shape_infer(TnInfer *infer, GError **error)
{
    (void)error;
    return tn_infer_shape_of(infer, 0);
}

static TnDtype
dtype_or(gint dtype, const TnType *like)
{
    return dtype != TN_DTYPE_NONE ? (TnDtype)dtype : like->dtype;
}

static gboolean
full_like_infer(TnInfer *infer, GError **error)
{
    const TnFullLikeAttrs *attrs = infer->attrs;
    (void)error;
    infer->out[0].dtype = dtype_or(attrs->dtype, &infer->in[0]);
    return tn_infer_shape_of(infer, 0);
}

static gboolean
check_number(TnInfer *infer, TnDtype dtype, GError **error)
{
    if (tn_dtype_in(dtype, TN_DTYPES_NUMBER)) {
        infer->out[0] = tn_type(dtype, 0, NULL);
        return TRUE;
    }
    g_set_error(error, TN_ERROR, TN_ERROR_DTYPE,
                "the output would be %s, must be a number (give 'dtype')", tn_dtype_name(dtype));
    return FALSE;
}

static gboolean
size_infer(TnInfer *infer, GError **error)
{
    const TnSizeAttrs *attrs = infer->attrs;
    guint32 mask;
    return tn_infer_axes(infer, 0, &attrs->axes, infer->in[0].rank, &mask, error) &&
           check_number(infer, dtype_or(attrs->dtype, &infer->in[0]), error);
}

static gboolean
iota_infer(TnInfer *infer, GError **error)
{
    const TnIotaAttrs *attrs = infer->attrs;
    gint axis;
    if (!tn_infer_input_axis(infer, 0, attrs->axis, infer->in[0].rank, &axis, error) ||
        !check_number(infer, (TnDtype)attrs->dtype, error)) {
        return FALSE;
    }
    infer->out[0] = tn_type((TnDtype)attrs->dtype, 1, &infer->in[0].dims[axis]);
    return TRUE;
}

/* --- Views ------------------------------------------------------------------------------------ */

gboolean
tn_view_broadcast(const void *attrs, const TnType *in, const TnLayout *in_layout, const TnType *out,
                  TnLayout *out_layout)
{
    (void)attrs;
    const gint lead = out->rank - in->rank;
    TnLayout layout = { .offset = in_layout->offset };
    for (gint i = 0; i < in->rank; i++) {
        layout.strides[lead + i] = in->dims[i] == 1 ? 0 : in_layout->strides[i];
    }
    *out_layout = layout;
    return TRUE;
}

/* Nothing is summed when the counts agree: axes of size 1 come or go. */
static gboolean
reduce_to_view(const void *attrs, const TnType *in, const TnLayout *in_layout, const TnType *out,
               TnLayout *out_layout)
{
    return tn_type_count(in) == tn_type_count(out) &&
           tn_view_reshape(attrs, in, in_layout, out, out_layout);
}

/* --- Gradients -------------------------------------------------------------------------------- */

static TnVal
expand_as_rule(TnVjp *v, TnVal g)
{
    return tn_f_reduce_to(v->graph, g, v->in[0]);
}

static TnVal
reduce_to_rule(TnVjp *v, TnVal g)
{
    return tn_f_expand_as(v->graph, g, v->in[0]);
}

/* --- Samples ---------------------------------------------------------------------------------- */

/* Pairs narrow, wide. */
static const TnCase widening[] = {
    { 2, { TN_RANK0, TN_RANK0 }, { 0, TN_DTYPE_BOOL } },
    { 2, { TN_RANK0, TN_SHAPE_OF(2, 3) } },
    { 2, { TN_SHAPE_OF(3), TN_SHAPE_OF(2, 3) }, { 0, TN_DTYPE_I32 } },
    { 2, { TN_SHAPE_OF(2, 1), TN_SHAPE_OF(2, 3) } },
    { 2, { TN_SHAPE_OF(2, 3), TN_SHAPE_OF(2, 3) } },
    { 2, { TN_SHAPE_OF(3, 1, 2), TN_SHAPE_OF(2, 3, 4, 2) } },
    { 2, { TN_SHAPE_OF(1, 1, 3, 1), TN_SHAPE_OF(2, 4, 3, 5) } },
    { 2, { TN_SHAPE_OF(1), TN_SHAPE_OF(1, 1, 1) } },
    { 2, { TN_SHAPE_OF(1, 3), TN_SHAPE_OF(0, 3) } },
    { 2, { TN_SHAPE_OF(2, 0), TN_SHAPE_OF(2, 0) } },
};

static gboolean
expand_as_sample(TnSample *sample)
{
    return tn_sample_case(sample, widening, G_N_ELEMENTS(widening), 0);
}

static gboolean
reduce_to_sample(TnSample *sample)
{
    if (!expand_as_sample(sample)) {
        return FALSE;
    }
    const TnType narrow = sample->in[0];
    sample->in[0] = sample->in[1];
    sample->in[0].dtype = narrow.dtype;
    sample->in[1] = narrow;
    return TRUE;
}

static const TnCase reshape_as_cases[] = {
    { 2, { TN_SHAPE_OF(2, 3), TN_SHAPE_OF(6) }, { 0, TN_DTYPE_BOOL } },
    { 2, { TN_SHAPE_OF(2, 3, 4), TN_SHAPE_OF(4, 6) } },
    { 2, { TN_SHAPE_OF(1, 1), TN_RANK0 } },
    { 2, { TN_RANK0, TN_SHAPE_OF(1, 1, 1) } },
    { 2, { TN_SHAPE_OF(2, 0), TN_SHAPE_OF(0, 7) } },
    { 2, { TN_SHAPE_OF(2, 1, 3), TN_SHAPE_OF(2, 3) } },
};

static gboolean
reshape_as_sample(TnSample *sample)
{
    return tn_sample_case(sample, reshape_as_cases, G_N_ELEMENTS(reshape_as_cases), 0);
}

static const TnCase full_like_cases[] = {
    { 1, { TN_RANK0 } },
    { 1, { TN_SHAPE_OF(2, 3) }, .attrs = &(const TnFullLikeAttrs){ 1.5, TN_DTYPE_NONE } },
    { 1, { TN_SHAPE_OF(5) }, .attrs = &(const TnFullLikeAttrs){ -2, TN_DTYPE_I64 } },
    { 1, { TN_SHAPE_OF(2, 1, 3) }, .attrs = &(const TnFullLikeAttrs){ 3, TN_DTYPE_BOOL } },
    { 1, { TN_SHAPE_OF(0, 2) }, .attrs = &(const TnFullLikeAttrs){ 1, TN_DTYPE_NONE } },
};

static gboolean
full_like_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, full_like_cases, TnFullLikeAttrs);
}

static const TnCase size_cases[] = {
    { 1, { TN_RANK0 }, .attrs = &(const TnSizeAttrs){ .dtype = TN_DTYPE_F64 } },
    { 1, { TN_SHAPE_OF(2, 3) }, .attrs = &(const TnSizeAttrs){ .dtype = TN_DTYPE_I64 } },
    { 1,
      { TN_SHAPE_OF(2, 3, 4) },
      .attrs = &(const TnSizeAttrs){ TN_INTS_OF(0, -1), TN_DTYPE_F32 } },
    { 1, { TN_SHAPE_OF(0, 3) }, .attrs = &(const TnSizeAttrs){ .dtype = TN_DTYPE_I32 } },
};

static gboolean
size_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, size_cases, TnSizeAttrs);
}

static const TnCase iota_cases[] = {
    { 1, { TN_SHAPE_OF(7) } },
    { 1, { TN_SHAPE_OF(2, 3) }, .attrs = &(const TnIotaAttrs){ -1, TN_DTYPE_F32 } },
    { 1, { TN_SHAPE_OF(4, 0) }, .attrs = &(const TnIotaAttrs){ 0, TN_DTYPE_F64 } },
    { 1, { TN_SHAPE_OF(4, 0) }, .attrs = &(const TnIotaAttrs){ 1, TN_DTYPE_U8 } },
};

static gboolean
iota_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, iota_cases, TnIotaAttrs);
}

/* --- The table -------------------------------------------------------------------------------- */

#define FILLED(name_, help_)                                                                       \
    {                                                                                              \
        .op = {                                                                                    \
            TN_OP(name_, NULL, help_),                                                             \
            .flags = TN_OP_NO_GRAD,                                                                \
            TN_INPUTS(TN_ARG_ROW("like", 'T', TN_DTYPES_ALL, "any shape",                          \
                                 .flags = TN_ARG_SHAPE | TN_ARG_NO_GRAD)),                         \
            TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "like's type")),                      \
            .infer = same_shape_infer,                                                             \
            .sample = tn_sample_unary,                                                             \
            .flops = tn_flops_none                                                                 \
        }                                                                                          \
    }

static const TnPrimitive rows[] = {
    { .op = { TN_OP("expand_as", NULL, "x broadcast to like's shape"), .flags = TN_OP_VIEW,
              TN_INPUTS(TN_ARG_ROW("x", 'T', TN_DTYPES_ALL, "broadcasts to like's shape"),
                        TN_LIKE_ROW("like", "any shape", 0)),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "like's shape")),
              .infer = expand_as_infer, .vjp = tn_vjp_rules, .view = tn_view_broadcast,
              .sample = expand_as_sample },
      .rule = { expand_as_rule } },
    { .op = { TN_OP("reduce_to", NULL, "x summed over what broadcasting like would repeat"),
              .flags = TN_OP_VIEW | TN_OP_REDUCTION,
              TN_INPUTS(TN_ARG_ROW("x", 'T', TN_DTYPES_NUMBER, "any shape"),
                        TN_LIKE_ROW("like", "broadcasts to x's shape", 0)),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_NUMBER, "like's shape")),
              .infer = reduce_to_infer, .vjp = tn_vjp_rules, .view = reduce_to_view,
              .sample = reduce_to_sample, .flops = tn_flops_inputs },
      .rule = { reduce_to_rule } },
    { .op = { TN_OP("reshape_as", NULL, "The same elements in like's shape"), .flags = TN_OP_VIEW,
              TN_INPUTS(TN_ARG_ROW("x", 'T', TN_DTYPES_ALL, "as many elements as like"),
                        TN_LIKE_ROW("like", "any shape", 0)),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "like's shape")),
              .infer = reshape_as_infer, .vjp = tn_vjp_rules, .view = tn_view_reshape,
              .sample = reshape_as_sample },
      .rule = { tn_rule_reshape } },
    FILLED("zeros_like", "Zeros of like's type"),
    FILLED("ones_like", "Ones of like's type"),
    { .op = { TN_OP("full_like", NULL, "One value in like's shape"), .flags = TN_OP_NO_GRAD,
              TN_INPUTS(TN_ARG_ROW("like", 'T', TN_DTYPES_ALL, "any shape",
                                   .flags = TN_ARG_SHAPE | TN_ARG_NO_GRAD)),
              TN_OUTPUTS(TN_ARG_ROW("out", 'O', TN_DTYPES_ALL, "like's shape")),
              .attrs = TN_OPTIONS(TnFullLikeAttrs, full_like_rows), .infer = full_like_infer,
              .sample = full_like_sample, .flops = tn_flops_none } },
    { .op = { TN_OP("size", "Size", "Product of like's sizes as a scalar"), .flags = TN_OP_NO_GRAD,
              TN_INPUTS(TN_ARG_ROW("like", 'T', TN_DTYPES_ALL, "any shape",
                                   .flags = TN_ARG_SHAPE | TN_ARG_NO_GRAD)),
              TN_OUTPUTS(TN_ARG_ROW("out", 'O', TN_DTYPES_NUMBER, "[]")),
              .attrs = TN_OPTIONS(TnSizeAttrs, size_rows), .infer = size_infer,
              .sample = size_sample, .flops = tn_flops_none } },
    { .op = { TN_OP("iota", NULL, "0, 1, … along an axis of like"), .flags = TN_OP_NO_GRAD,
              TN_INPUTS(TN_ARG_ROW("like", 'T', TN_DTYPES_ALL, "rank 1 at least",
                                   .flags = TN_ARG_SHAPE | TN_ARG_NO_GRAD, .min_rank = 1,
                                   .max_rank = TN_MAX_RANK)),
              TN_OUTPUTS(TN_ARG_ROW("out", 'O', TN_DTYPES_NUMBER, "[size of the axis]")),
              .attrs = TN_OPTIONS(TnIotaAttrs, iota_rows), .infer = iota_infer,
              .sample = iota_sample, .flops = tn_flops_none } },
};

const TnFamily tn_family_like = { rows, G_N_ELEMENTS(rows) };
