/* reduce.c: reductions, argmax and argmin, cumulative sums. */
#include "ops-private.h"

#define AXES_KEEPDIMS                                                                              \
    TN_ATTR(TnReduceAttrs, axes, TN_OPT_INTS, "axes that are reduced; empty: all"),                \
        TN_ATTR(TnReduceAttrs, keepdims, TN_OPT_BOOL, "leave reduced axes with size 1",            \
                .dflt = "true")
static const TnOption reduce_rows[] = { AXES_KEEPDIMS };
static const TnOption arg_rows[] = {
    TN_ATTR(TnArgReduceAttrs, axis, TN_OPT_INT64, "axis that is searched", .dflt = "0"),
    TN_ATTR(TnArgReduceAttrs, keepdims, TN_OPT_BOOL, "leave the axis with size 1", .dflt = "true"),
    TN_ATTR(TnArgReduceAttrs, select_last_index, TN_OPT_BOOL, "the last of equals, not the first",
            .dflt = "false"),
};
static const TnOption cumsum_rows[] = {
    TN_ATTR(TnCumsumAttrs, axis, TN_OPT_INT64, "axis along which is summed", .dflt = "0"),
    TN_ATTR(TnCumsumAttrs, exclusive, TN_OPT_BOOL, "leave out the element itself", .dflt = "false"),
    TN_ATTR(TnCumsumAttrs, reverse, TN_OPT_BOOL, "begin at the end", .dflt = "false"),
};

/* --- Infer ------------------------------------------------------------------------------------ */

static void
reduced(TnInfer *infer, guint32 mask, gboolean keepdims)
{
    const TnType *in = &infer->in[0];
    TnType out = { .dtype = infer->out[0].dtype };
    for (gint i = 0; i < in->rank; i++) {
        if (!(mask & 1u << i)) {
            out.dims[out.rank++] = in->dims[i];
        } else if (keepdims) {
            out.dims[out.rank++] = 1;
        }
    }
    infer->out[0] = out;
}

static gboolean
reduce_infer(TnInfer *infer, GError **error)
{
    const TnReduceAttrs *attrs = infer->attrs;
    const gint rank = infer->in[0].rank;
    guint32 mask;
    if (!tn_infer_axes(infer, 0, &attrs->axes, rank, &mask, error)) {
        return FALSE;
    }
    reduced(infer, tn_axes_mask(&attrs->axes, rank), attrs->keepdims);
    return TRUE;
}

static gboolean
arg_infer(TnInfer *infer, GError **error)
{
    const TnArgReduceAttrs *attrs = infer->attrs;
    gint axis;
    if (!tn_infer_input_axis(infer, 0, attrs->axis, infer->in[0].rank, &axis, error)) {
        return FALSE;
    }
    reduced(infer, 1u << axis, attrs->keepdims);
    if (infer->in[0].dims[axis] == 0 && tn_type_count(&infer->out[0]) > 0) {
        return tn_infer_fail(infer, 0, error, "axis %d has no elements to choose from", axis);
    }
    return TRUE;
}

static gboolean
cumsum_infer(TnInfer *infer, GError **error)
{
    const TnCumsumAttrs *attrs = infer->attrs;
    gint axis;
    if (!tn_infer_input_axis(infer, 0, attrs->axis, infer->in[0].rank, &axis, error)) {
        return FALSE;
    }
    return tn_infer_same(infer, error);
}

/* --- Gradients -------------------------------------------------------------------------------- */

/* A value of the output's shape, repeated along the reduced axes. */
static TnVal
spread(TnVjp *v, TnVal val)
{
    const TnReduceAttrs *attrs = v->attrs;
    if (!attrs->keepdims && attrs->axes.n > 0) {
        val = tn_f_unsqueeze(v->graph, val, attrs->axes.n, attrs->axes.v);
    }
    return tn_f_expand_as(v->graph, val, v->in[0]);
}

/* reduce_sum over the same axes, which stay. */
static TnVal
sum_same(TnVjp *v, TnVal x)
{
    const TnReduceAttrs *attrs = v->attrs;
    return tn_f_reduce_sum(v->graph, x, attrs->axes.n, attrs->axes.v, TRUE);
}

static TnVal
sum_rule(TnVjp *v, TnVal g)
{
    return spread(v, g);
}

/* g shared equally by the elements that equal the result. */
static TnVal
extreme_rule(TnVjp *v, TnVal g)
{
    TnGraph *graph = v->graph;
    const TnVal x = v->in[0];
    const TnDtype dtype = tn_graph_type(graph, x)->dtype;
    const TnVal hit = tn_f_cast(graph, tn_f_equal(graph, x, spread(v, v->out[0])), dtype);
    const TnVal share = tn_f_div(graph, hit, sum_same(v, hit));
    return tn_f_mul(graph, spread(v, g), share);
}

/* g times the product of the other elements: with p the product of those that are not 0, it is p /
 * x where x is not 0 and no other is 0, p where x is the only 0, and 0 elsewhere. (Second
 * derivatives at zeros are not those of the product.) */
static TnVal
prod_rule(TnVjp *v, TnVal g)
{
    TnGraph *graph = v->graph;
    const TnReduceAttrs *attrs = v->attrs;
    const TnVal x = v->in[0];
    const TnVal zero = tn_f_const(graph, x, 0);
    const TnVal is_zero = tn_f_equal(graph, x, zero);
    const TnVal safe = tn_f_where(graph, is_zero, tn_f_const(graph, x, 1), x);
    const TnReduceAttrs keep = { attrs->axes, TRUE };
    const TnVal product = tn_add1(v, "reduce_prod", &keep, safe);
    const TnVal flags = tn_f_cast(graph, is_zero, tn_graph_type(graph, x)->dtype);
    /* Zeros among the others: all of them less the element's own. */
    const TnVal others = tn_f_sub(graph, sum_same(v, flags), flags);
    const TnVal rest = tn_f_div(graph, product, safe);
    const TnVal factor = tn_f_where(graph, tn_f_equal(graph, others, zero), rest, zero);
    return tn_f_mul(graph, spread(v, g), factor);
}

static TnVal
cumsum_rule(TnVjp *v, TnVal g)
{
    TnCumsumAttrs attrs = *(const TnCumsumAttrs *)v->attrs;
    attrs.reverse = !attrs.reverse;
    return tn_add1(v, "cumsum", &attrs, g);
}

/* --- Samples ---------------------------------------------------------------------------------- */

#define REDUCE(keepdims_, ...) (&(const TnReduceAttrs){ TN_INTS_OF(__VA_ARGS__), keepdims_ })
static const TnCase reduce_cases[] = {
    { 1, { TN_RANK0 } },
    { 1, { TN_SHAPE_OF(7) } },
    { 1, { TN_SHAPE_OF(7) }, .attrs = &(const TnReduceAttrs){ .keepdims = FALSE } },
    { 1, { TN_SHAPE_OF(1) }, .attrs = REDUCE(FALSE, 0) },
    { 1, { TN_SHAPE_OF(3, 5) }, .attrs = REDUCE(FALSE, 0) },
    { 1, { TN_SHAPE_OF(3, 5) }, .attrs = REDUCE(FALSE, -1) },
    { 1, { TN_SHAPE_OF(3, 5) }, .attrs = REDUCE(TRUE, 1) },
    { 1, { TN_SHAPE_OF(2, 3, 4) }, .attrs = REDUCE(FALSE, 0, 2) },
    { 1, { TN_SHAPE_OF(2, 3, 4) }, .attrs = REDUCE(TRUE, -2) },
    { 1, { TN_SHAPE_OF(2, 3, 2, 3) }, .attrs = REDUCE(FALSE, 3, 1) },
    { 1, { TN_SHAPE_OF(2, 1, 2, 3) }, .attrs = REDUCE(TRUE, 0, 1, 2, 3) },
    { 1, { TN_SHAPE_OF(2, 300) }, .attrs = REDUCE(FALSE, 1) },
};
/* Over nothing. */
static const TnCase empty_cases[] = {
    { 1, { TN_SHAPE_OF(0) } },
    { 1, { TN_SHAPE_OF(3, 0) }, .attrs = REDUCE(FALSE, 1) },
    { 1, { TN_SHAPE_OF(3, 0, 2) }, .attrs = REDUCE(TRUE, 0) },
};

static gboolean
reduce_sample(TnSample *sample)
{
    const guint n = G_N_ELEMENTS(reduce_cases);
    if (sample->variant < n) {
        return TN_SAMPLE_CASES(sample, reduce_cases, TnReduceAttrs);
    }
    TnSample rest = *sample;
    rest.variant -= n;
    if (!TN_SAMPLE_CASES(&rest, empty_cases, TnReduceAttrs)) {
        return FALSE;
    }
    rest.variant = sample->variant;
    *sample = rest;
    return TRUE;
}

static const TnCase arg_cases[] = {
    { 1, { TN_SHAPE_OF(1) } },
    { 1, { TN_SHAPE_OF(7) }, .attrs = &(const TnArgReduceAttrs){ 0, FALSE, FALSE } },
    { 1, { TN_SHAPE_OF(9) }, .attrs = &(const TnArgReduceAttrs){ -1, FALSE, TRUE } },
    { 1, { TN_SHAPE_OF(3, 5) }, .attrs = &(const TnArgReduceAttrs){ 0, TRUE, FALSE } },
    { 1, { TN_SHAPE_OF(3, 5) }, .attrs = &(const TnArgReduceAttrs){ 1, FALSE, FALSE } },
    { 1, { TN_SHAPE_OF(2, 3, 4, 2) }, .attrs = &(const TnArgReduceAttrs){ 2, FALSE, TRUE } },
    { 1, { TN_SHAPE_OF(0, 3) }, .attrs = &(const TnArgReduceAttrs){ 1, TRUE, FALSE } },
};

static gboolean
arg_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, arg_cases, TnArgReduceAttrs);
}

static const TnCase cumsum_cases[] = {
    { 1, { TN_SHAPE_OF(1) } },
    { 1, { TN_SHAPE_OF(7) } },
    { 1, { TN_SHAPE_OF(7) }, .attrs = &(const TnCumsumAttrs){ 0, TRUE, FALSE } },
    { 1, { TN_SHAPE_OF(7) }, .attrs = &(const TnCumsumAttrs){ 0, FALSE, TRUE } },
    { 1, { TN_SHAPE_OF(7) }, .attrs = &(const TnCumsumAttrs){ -1, TRUE, TRUE } },
    { 1, { TN_SHAPE_OF(3, 4) }, .attrs = &(const TnCumsumAttrs){ 1, FALSE, FALSE } },
    { 1, { TN_SHAPE_OF(2, 3, 2) }, .attrs = &(const TnCumsumAttrs){ -2, TRUE, FALSE } },
    { 1, { TN_SHAPE_OF(2, 0) }, .attrs = &(const TnCumsumAttrs){ 1, FALSE, FALSE } },
    { 1, { TN_SHAPE_OF(0, 2) }, .attrs = &(const TnCumsumAttrs){ 1, FALSE, TRUE } },
};

static gboolean
cumsum_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, cumsum_cases, TnCumsumAttrs);
}

/* --- The table -------------------------------------------------------------------------------- */

#define REDUCTION(name_, onnx_, set, help_, rule_)                                                 \
    {                                                                                              \
        .op = { TN_OP(name_, onnx_, help_),                                                        \
                .flags = TN_OP_REDUCTION,                                                          \
                TN_INPUTS(TN_ARG_ROW("x", 'T', set, "any shape")),                                 \
                TN_OUTPUTS(TN_ARG_ROW("out", 'T', set, "without the axes, or with size 1 there")), \
                .attrs = TN_OPTIONS(TnReduceAttrs, reduce_rows),                                   \
                .infer = reduce_infer,                                                             \
                .vjp = tn_vjp_rules,                                                               \
                .sample = reduce_sample,                                                           \
                .flops = tn_flops_inputs },                                                        \
        .rule = {                                                                                  \
            rule_                                                                                  \
        }                                                                                          \
    }
#define ARG_REDUCTION(name_, onnx_, help_)                                                         \
    {                                                                                              \
        .op = {                                                                                    \
            TN_OP(name_, onnx_, help_),                                                            \
            .flags = TN_OP_NO_GRAD,                                                                \
            TN_INPUTS(TN_ARG_ROW("x", 'T', TN_DTYPES_NUMBER, "rank 1 at least", .min_rank = 1,     \
                                 .max_rank = TN_MAX_RANK)),                                        \
            TN_OUTPUTS(TN_ARG_ROW("out", 'I', TN_DT(I64), "without the axis, or with size 1")),    \
            .attrs = TN_OPTIONS(TnArgReduceAttrs, arg_rows),                                       \
            .infer = arg_infer,                                                                    \
            .sample = arg_sample,                                                                  \
            .flops = tn_flops_inputs                                                               \
        }                                                                                          \
    }

static const TnPrimitive rows[] = {
    REDUCTION("reduce_sum", "ReduceSum", TN_DTYPES_NUMBER, "Sum over axes", sum_rule),
    REDUCTION("reduce_prod", "ReduceProd", TN_DTYPES_NUMBER, "Product over axes", prod_rule),
    REDUCTION("reduce_max", "ReduceMax", TN_DTYPES_ALL, "Largest over axes", extreme_rule),
    REDUCTION("reduce_min", "ReduceMin", TN_DTYPES_ALL, "Smallest over axes", extreme_rule),
    ARG_REDUCTION("argmax", "ArgMax", "Position of the largest along an axis"),
    ARG_REDUCTION("argmin", "ArgMin", "Position of the smallest along an axis"),
    { .op = { TN_OP("cumsum", "CumSum", "Running sum along an axis"),
              TN_INPUTS(TN_ARG_ROW("x", 'T', TN_DTYPES_NUMBER, "rank 1 at least", .min_rank = 1,
                                   .max_rank = TN_MAX_RANK)),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_NUMBER, "x's shape")),
              .attrs = TN_OPTIONS(TnCumsumAttrs, cumsum_rows), .infer = cumsum_infer,
              .vjp = tn_vjp_rules, .sample = cumsum_sample, .flops = tn_flops_inputs },
      .rule = { cumsum_rule } },
};

const TnFamily tn_family_reduce = { rows, G_N_ELEMENTS(rows) };
