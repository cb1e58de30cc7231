/* concat.c: several tensors along one axis: concat, its transpose concat_part, split. */
#include "ops-private.h"

static const TnOption axis0_rows[] = {
    TN_ATTR(TnAxisAttrs, axis, TN_OPT_INT64, "the axis", .dflt = "0"),
};
const TnOptions tn_attrs_axis0 = TN_OPTIONS(TnAxisAttrs, axis0_rows);
static const TnOption part_rows[] = {
    TN_ATTR(TnConcatPartAttrs, axis, TN_OPT_INT64, "the axis", .dflt = "0"),
    TN_ATTR(TnConcatPartAttrs, index, TN_OPT_INT64, "which of the parts", .dflt = "0"),
};
static const TnOption split_rows[] = {
    TN_ATTR(TnSplitAttrs, axis, TN_OPT_INT64, "the axis", .dflt = "0"),
    TN_ATTR(TnSplitAttrs, split, TN_OPT_INTS, "sizes of the parts; empty: equal ones"),
    TN_ATTR(TnSplitAttrs, num_outputs, TN_OPT_INT64, "number of equal parts", .dflt = "0"),
};

/* --- Infer ------------------------------------------------------------------------------------ */

/* The shape of inputs [first, n_in) concatenated. */
static gboolean
concat_type(const TnInfer *infer, gint first, gint64 attr, gint *axis, TnType *out, GError **error)
{
    *out = infer->in[first];
    if (!tn_infer_input_axis(infer, first, attr, out->rank, axis, error)) {
        return FALSE;
    }
    for (gint i = first + 1; i < infer->n_in; i++) {
        TnType next = infer->in[i];
        if (next.rank != out->rank) {
            return tn_infer_fail2(infer, first, i, error, "ranks differ: %d and %d", out->rank,
                                  next.rank);
        }
        for (gint k = 0; k < next.rank; k++) {
            if (k != *axis && next.dims[k] != out->dims[k]) {
                return tn_infer_fail2(infer, first, i, error,
                                      "sizes of axis %d differ: %" G_GINT64_FORMAT
                                      " and %" G_GINT64_FORMAT,
                                      k, out->dims[k], next.dims[k]);
            }
        }
        if (__builtin_add_overflow(out->dims[*axis], next.dims[*axis], &out->dims[*axis])) {
            return tn_infer_fail2(infer, first, i, error, "axis %d would be too long", *axis);
        }
    }
    return TRUE;
}

static gboolean
concat_infer(TnInfer *infer, GError **error)
{
    const TnAxisAttrs *attrs = infer->attrs;
    gint axis;
    /* concat_part takes one input more. */
    if (infer->n_in >= TN_MAX_IN) {
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED, "takes at most %d inputs, got %d",
                    TN_MAX_IN - 1, infer->n_in);
        return FALSE;
    }
    return concat_type(infer, 0, attrs->axis, &axis, &infer->out[0], error);
}

static gboolean
part_infer(TnInfer *infer, GError **error)
{
    const TnConcatPartAttrs *attrs = infer->attrs;
    TnType whole;
    gint axis;
    if (!concat_type(infer, 1, attrs->axis, &axis, &whole, error)) {
        return FALSE;
    }
    whole.dtype = infer->in[0].dtype;
    if (!tn_type_equal(&whole, &infer->in[0])) {
        g_autofree char *text = tn_type_print(&whole);
        return tn_infer_fail(infer, 0, error, "the others together are %s", text);
    }
    if (attrs->index < 0 || attrs->index >= infer->n_in - 1) {
        return tn_infer_fail(infer, 0, error,
                             "index %" G_GINT64_FORMAT " is outside [0, %d) of its parts",
                             attrs->index, infer->n_in - 1);
    }
    return tn_infer_shape_of(infer, (gint)attrs->index + 1);
}

/* Sizes of the parts of an axis of n elements; FALSE with *error if the attributes do not say
 * how. */
static gboolean
part_sizes(const TnInfer *infer, gint64 n, gint64 *size, GError **error)
{
    const TnSplitAttrs *attrs = infer->attrs;
    const gint64 parts = attrs->split.n > 0 ? attrs->split.n : attrs->num_outputs;
    if (parts < 1 || parts > TN_MAX_OUT) {
        return tn_infer_fail(infer, 0, error,
                             "cannot be split into %" G_GINT64_FORMAT
                             " parts: 1 to %d are possible",
                             parts, TN_MAX_OUT);
    }
    if (attrs->split.n > 0 && attrs->num_outputs != 0 && attrs->num_outputs != parts) {
        return tn_infer_fail(infer, 0, error,
                             "'split' has %d sizes, 'num_outputs' is %" G_GINT64_FORMAT,
                             attrs->split.n, attrs->num_outputs);
    }
    const gint64 each = n / parts + (n % parts > 0);
    gint64 left = n;
    for (gint64 k = 0; k < parts; k++) {
        size[k] = attrs->split.n > 0 ? attrs->split.v[k] : MIN(each, left);
        if (size[k] < 0 || size[k] > left) {
            return tn_infer_fail(infer, 0, error,
                                 "part %d of size %" G_GINT64_FORMAT
                                 " does not fit: %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT
                                 " are left",
                                 (gint)k, size[k], left, n);
        }
        left -= size[k];
    }
    if (left > 0) {
        return tn_infer_fail(infer, 0, error,
                             "the parts leave %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " over",
                             left, n);
    }
    return TRUE;
}

static gboolean
split_infer(TnInfer *infer, GError **error)
{
    const TnSplitAttrs *attrs = infer->attrs;
    const TnType *in = &infer->in[0];
    gint64 size[TN_MAX_OUT];
    gint axis;
    if (!tn_infer_input_axis(infer, 0, attrs->axis, in->rank, &axis, error) ||
        !part_sizes(infer, in->dims[axis], size, error)) {
        return FALSE;
    }
    infer->n_out = (gint)(attrs->split.n > 0 ? attrs->split.n : attrs->num_outputs);
    for (gint k = 0; k < infer->n_out; k++) {
        infer->out[k] = *in;
        infer->out[k].dims[axis] = size[k];
    }
    return TRUE;
}

/* --- Views ------------------------------------------------------------------------------------ */

static gboolean
part_view(const void *attrs, const TnType *in, const TnLayout *in_layout, const TnType *out,
          TnLayout *out_layout)
{
    const TnConcatPartAttrs *part = attrs;
    const gint axis = tn_axis(part->axis, in->rank);
    TnLayout layout = *in_layout;
    for (gint64 k = 0; k < part->index && tn_type_count(out) > 0; k++) {
        layout.offset += layout.strides[axis] * in[1 + k].dims[axis];
    }
    *out_layout = layout;
    return TRUE;
}

/* --- Gradients -------------------------------------------------------------------------------- */

static gboolean
concat_vjp(TnVjp *v, GError **error)
{
    const TnAxisAttrs *attrs = v->attrs;
    TnVal in[TN_MAX_IN];
    (void)error;
    if (v->n_in == 1 || tn_val_is_none(v->grad_out[0])) {
        v->grad_in[0] = v->grad_out[0];
        return TRUE;
    }
    in[0] = v->grad_out[0];
    for (gint i = 0; i < v->n_in; i++) {
        in[1 + i] = v->in[i];
    }
    for (gint i = 0; i < v->n_in; i++) {
        const TnConcatPartAttrs part = { attrs->axis, i };
        if (v->need[i]) {
            v->grad_in[i] = tn_graph_op(v->graph, "concat_part", &part, v->n_in + 1, in, NULL);
        }
    }
    return TRUE;
}

static TnVal
part_rule(TnVjp *v, TnVal g)
{
    const TnConcatPartAttrs *part = v->attrs;
    const TnAxisAttrs attrs = { part->axis };
    TnVal in[TN_MAX_IN];
    for (gint i = 0; i < v->n_in - 1; i++) {
        /* Zeros of g's dtype in the shape of that part. */
        const TnFullLikeAttrs zero = { 0, (gint)tn_graph_type(v->graph, g)->dtype };
        in[i] = i == part->index ? g : tn_add1(v, "full_like", &zero, v->in[1 + i]);
    }
    return tn_graph_op(v->graph, "concat", &attrs, v->n_in - 1, in, NULL);
}

static gboolean
split_vjp(TnVjp *v, GError **error)
{
    const TnSplitAttrs *split = v->attrs;
    const TnAxisAttrs attrs = { split->axis };
    TnVal in[TN_MAX_OUT];
    (void)error;
    for (gint k = 0; k < v->n_out; k++) {
        const gboolean zero = tn_val_is_none(v->grad_out[k]);
        in[k] = zero ? tn_f_zeros_like(v->graph, v->out[k]) : v->grad_out[k];
    }
    v->grad_in[0] = tn_graph_op(v->graph, "concat", &attrs, v->n_out, in, NULL);
    return TRUE;
}

/* --- Samples ---------------------------------------------------------------------------------- */

static const TnCase concat_cases[] = {
    { 1, { TN_SHAPE_OF(3) } },
    { 2, { TN_SHAPE_OF(3), TN_SHAPE_OF(2) } },
    { 3,
      { TN_SHAPE_OF(2, 1), TN_SHAPE_OF(2, 3), TN_SHAPE_OF(2, 0) },
      .attrs = &(const TnAxisAttrs){ 1 } },
    { 2, { TN_SHAPE_OF(1, 2, 3), TN_SHAPE_OF(4, 2, 3) } },
    { 2,
      { TN_SHAPE_OF(2, 3, 1, 2), TN_SHAPE_OF(2, 3, 4, 2) },
      .attrs = &(const TnAxisAttrs){ -2 } },
    { 2, { TN_SHAPE_OF(0, 2), TN_SHAPE_OF(0, 2) } },
};

static gboolean
concat_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, concat_cases, TnAxisAttrs);
}

/* The last part of concat's result. */
static gboolean
part_sample(TnSample *sample)
{
    TnAxisAttrs axis = { 0 };
    TnSample whole = *sample;
    whole.attrs = &axis;
    if (!concat_sample(&whole)) {
        return FALSE;
    }
    TnConcatPartAttrs *attrs = sample->attrs;
    *attrs = (TnConcatPartAttrs){ axis.axis, whole.n_in - 1 };
    sample->n_in = whole.n_in + 1;
    sample->in[0] = whole.in[0];
    const gint k = tn_axis(axis.axis, whole.in[0].rank);
    for (gint i = 0; i < whole.n_in; i++) {
        sample->in[1 + i] = whole.in[i];
        sample->in[0].dims[k] += i > 0 ? whole.in[i].dims[k] : 0;
    }
    return TRUE;
}

static const TnCase split_cases[] = {
    { 1, { TN_SHAPE_OF(4) }, .attrs = &(const TnSplitAttrs){ .num_outputs = 1 } },
    { 1, { TN_SHAPE_OF(7) }, .attrs = &(const TnSplitAttrs){ .num_outputs = 3 } },
    { 1, { TN_SHAPE_OF(5) }, .attrs = &(const TnSplitAttrs){ .split = TN_INTS_OF(2, 0, 3) } },
    { 1, { TN_SHAPE_OF(2, 6) }, .attrs = &(const TnSplitAttrs){ 1, TN_INTS_OF(1, 2, 3), 0 } },
    { 1,
      { TN_SHAPE_OF(2, 3, 4, 2) },
      .attrs = &(const TnSplitAttrs){ .axis = -2, .num_outputs = 2 } },
    { 1, { TN_SHAPE_OF(0, 2) }, .attrs = &(const TnSplitAttrs){ .num_outputs = 2 } },
};

static gboolean
split_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, split_cases, TnSplitAttrs);
}

/* --- The table -------------------------------------------------------------------------------- */

static const TnPrimitive rows[] = {
    { .op = { TN_OP("concat", "Concat", "Inputs one after another along an axis"),
              TN_INPUTS(TN_ARG_ROW("x", 'T', TN_DTYPES_ALL, "same sizes but along the axis",
                                   .flags = TN_ARG_VARIADIC, .min_rank = 1,
                                   .max_rank = TN_MAX_RANK)),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "the sum of sizes along the axis")),
              .attrs = TN_OPTIONS(TnAxisAttrs, axis0_rows), .infer = concat_infer,
              .vjp = concat_vjp, .sample = concat_sample, .flops = tn_flops_none,
              .precision = TN_PRECISION_FOLLOW } },
    { .op = { TN_OP("concat_part", NULL, "The part of g that one input of concat has in it"),
              .flags = TN_OP_VIEW,
              TN_INPUTS(TN_ARG_ROW("g", 'T', TN_DTYPES_ALL, "concat's output", .min_rank = 1,
                                   .max_rank = TN_MAX_RANK),
                        TN_LIKE_ROW("like", "concat's inputs", TN_ARG_VARIADIC)),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "like[index]'s shape")),
              .attrs = TN_OPTIONS(TnConcatPartAttrs, part_rows), .infer = part_infer,
              .vjp = tn_vjp_rules, .view = part_view, .sample = part_sample },
      .rule = { part_rule } },
    { .op = { TN_OP("split", "Split", "Parts along an axis"),
              TN_INPUTS(TN_ARG_ROW("x", 'T', TN_DTYPES_ALL, "rank 1 at least", .min_rank = 1,
                                   .max_rank = TN_MAX_RANK)),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "the parts in order",
                                    .flags = TN_ARG_VARIADIC)),
              .attrs = TN_OPTIONS(TnSplitAttrs, split_rows), .infer = split_infer, .vjp = split_vjp,
              .sample = split_sample, .flops = tn_flops_none, .precision = TN_PRECISION_FOLLOW } },
};

const TnFamily tn_family_concat = { rows, G_N_ELEMENTS(rows) };
