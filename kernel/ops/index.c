/* index.c: reading and writing at positions that are data: gather, scatter and their kin, sort. */
#include "ops-private.h"

static const char *const reductions[] = { "none", "add", NULL };
static const TnOption scatter_rows[] = {
    TN_ATTR(TnScatterAttrs, axis, TN_OPT_INT64, "axis that indices are positions of", .dflt = "0"),
    TN_ATTR(TnScatterAttrs, reduction, TN_OPT_ENUM, "what an update does to the element there",
            .choices = reductions, .dflt = "none"),
};
static const TnOption sort_rows[] = {
    TN_ATTR(TnSortAttrs, axis, TN_OPT_INT64, "axis that is sorted", .dflt = "-1"),
    TN_ATTR(TnSortAttrs, descending, TN_OPT_BOOL, "the largest first", .dflt = "false"),
};

/* --- Infer ------------------------------------------------------------------------------------ */

/* Fails if indices are to be read from an axis that has nothing. */
static gboolean
check_source(const TnInfer *infer, gint axis, GError **error)
{
    if (infer->in[0].dims[axis] == 0 && tn_type_count(&infer->in[1]) > 0) {
        return tn_infer_fail2(infer, 0, 1, error, "axis %d has no elements to index", axis);
    }
    return TRUE;
}

/* data with the indices' axes in the place of one of its own. */
static gboolean
gather_type(const TnInfer *infer, TnType *out, GError **error)
{
    const TnAxisAttrs *attrs = infer->attrs;
    const TnType *data = &infer->in[0];
    const TnType *indices = &infer->in[1];
    gint axis;
    if (!tn_infer_input_axis(infer, 0, attrs->axis, data->rank, &axis, error) ||
        !check_source(infer, axis, error)) {
        return FALSE;
    }
    const gint rank = data->rank - 1 + indices->rank;
    if (rank > TN_MAX_RANK) {
        return tn_infer_fail2(infer, 0, 1, error, "the output would have rank %d; at most %d", rank,
                              TN_MAX_RANK);
    }
    *out = (TnType){ .dtype = data->dtype, .rank = rank };
    gint to = 0;
    for (gint i = 0; i < axis; i++) {
        out->dims[to++] = data->dims[i];
    }
    for (gint i = 0; i < indices->rank; i++) {
        out->dims[to++] = indices->dims[i];
    }
    for (gint i = axis + 1; i < data->rank; i++) {
        out->dims[to++] = data->dims[i];
    }
    return TRUE;
}

static gboolean
gather_infer(TnInfer *infer, GError **error)
{
    return gather_type(infer, &infer->out[0], error);
}

static gboolean
scatter_add_infer(TnInfer *infer, GError **error)
{
    TnType want;
    if (!gather_type(infer, &want, error)) {
        return FALSE;
    }
    if (!tn_type_equal(&want, &infer->in[2])) {
        g_autofree char *text = tn_type_print(&want);
        return tn_infer_fail2(infer, 0, 2, error, "'updates' must be %s for these indices", text);
    }
    return tn_infer_same(infer, error);
}

/* Indices have data's rank and fit into it but along the axis. */
static gboolean
check_elements(const TnInfer *infer, gint64 attr, GError **error)
{
    const TnType *data = &infer->in[0];
    const TnType *indices = &infer->in[1];
    gint axis;
    if (!tn_infer_input_axis(infer, 0, attr, data->rank, &axis, error) ||
        !check_source(infer, axis, error)) {
        return FALSE;
    }
    if (data->rank != indices->rank) {
        return tn_infer_fail2(infer, 0, 1, error, "ranks differ: %d and %d", data->rank,
                              indices->rank);
    }
    for (gint i = 0; i < data->rank; i++) {
        if (i != axis && indices->dims[i] > data->dims[i]) {
            return tn_infer_fail2(infer, 0, 1, error,
                                  "'indices' is longer along axis %d: %" G_GINT64_FORMAT
                                  " and %" G_GINT64_FORMAT,
                                  i, indices->dims[i], data->dims[i]);
        }
    }
    return TRUE;
}

static gboolean
gather_elements_infer(TnInfer *infer, GError **error)
{
    const TnAxisAttrs *attrs = infer->attrs;
    return check_elements(infer, attrs->axis, error) && tn_infer_shape_of(infer, 1);
}

static gboolean
scatter_elements_infer(TnInfer *infer, GError **error)
{
    const TnScatterAttrs *attrs = infer->attrs;
    if (!check_elements(infer, attrs->axis, error)) {
        return FALSE;
    }
    TnType want = infer->in[1];
    want.dtype = infer->in[0].dtype;
    if (!tn_type_equal(&want, &infer->in[2])) {
        return tn_infer_fail2(infer, 1, 2, error, "'updates' must have the shape of 'indices'");
    }
    if (attrs->reduction == TN_SCATTER_ADD && infer->in[0].dtype == TN_DTYPE_BOOL) {
        g_set_error(error, TN_ERROR, TN_ERROR_DTYPE, "input 'data' is bool, which cannot be added");
        return FALSE;
    }
    return tn_infer_same(infer, error);
}

static gboolean
sort_infer(TnInfer *infer, GError **error)
{
    const TnSortAttrs *attrs = infer->attrs;
    gint axis;
    if (!tn_infer_input_axis(infer, 0, attrs->axis, infer->in[0].rank, &axis, error)) {
        return FALSE;
    }
    infer->out[1] = infer->in[0];
    infer->out[1].dtype = TN_DTYPE_I64;
    return tn_infer_same(infer, error);
}

/* --- Gradients -------------------------------------------------------------------------------- */

/* The zeros stay a node of their own: an optimiser may take (indices, g) instead of the table. */
static TnVal
gather_rule(TnVjp *v, TnVal g)
{
    const TnVal zeros = tn_f_zeros_like(v->graph, v->in[0]);
    return tn_add3(v, "scatter_add", v->attrs, zeros, v->in[1], g);
}

static TnVal
scatter_add_updates(TnVjp *v, TnVal g)
{
    return tn_add2(v, "gather", v->attrs, g, v->in[1]);
}

static TnVal
gather_elements_rule(TnVjp *v, TnVal g)
{
    const TnAxisAttrs *attrs = v->attrs;
    const TnScatterAttrs add = { attrs->axis, TN_SCATTER_ADD };
    const TnVal zeros = tn_f_zeros_like(v->graph, v->in[0]);
    return tn_add3(v, "scatter_elements", &add, zeros, v->in[1], g);
}

/* What is overwritten gets none. */
static TnVal
scatter_elements_data(TnVjp *v, TnVal g)
{
    const TnScatterAttrs *attrs = v->attrs;
    if (attrs->reduction == TN_SCATTER_ADD) {
        return g;
    }
    const TnVal zeros = tn_f_zeros_like(v->graph, v->in[2]);
    return tn_add3(v, "scatter_elements", attrs, g, v->in[1], zeros);
}

static TnVal
scatter_elements_updates(TnVjp *v, TnVal g)
{
    const TnScatterAttrs *attrs = v->attrs;
    const TnAxisAttrs axis = { attrs->axis };
    return tn_add2(v, "gather_elements", &axis, g, v->in[1]);
}

/* A permutation's transpose. Its second output, the permutation, has no gradient. */
static TnVal
sort_rule(TnVjp *v, TnVal g)
{
    const TnSortAttrs *attrs = v->attrs;
    const TnScatterAttrs add = { attrs->axis, TN_SCATTER_ADD };
    const TnVal zeros = tn_f_zeros_like(v->graph, v->in[0]);
    return tn_add3(v, "scatter_elements", &add, zeros, v->out[1], g);
}

/* --- Samples ---------------------------------------------------------------------------------- */

#define INDEX(n, bound_) .dtype = { 0, n }, .bound = { 0, bound_ }
#define AXIS(a)                                                                                    \
    .attrs = &(const TnAxisAttrs)                                                                  \
    {                                                                                              \
        a                                                                                          \
    }
static const TnCase gather_cases[] = {
    { 2, { TN_SHAPE_OF(5), TN_RANK0 }, INDEX(TN_DTYPE_I64, 5) },
    { 2, { TN_SHAPE_OF(5), TN_SHAPE_OF(8) }, INDEX(TN_DTYPE_I32, 5) },
    { 2, { TN_SHAPE_OF(4, 3), TN_SHAPE_OF(2, 5) }, INDEX(TN_DTYPE_I64, 4) },
    { 2, { TN_SHAPE_OF(4, 3), TN_SHAPE_OF(2, 2) }, INDEX(TN_DTYPE_I32, 3), AXIS(-1) },
    { 2, { TN_SHAPE_OF(2, 4, 3, 2), TN_SHAPE_OF(3) }, INDEX(TN_DTYPE_I64, 4), AXIS(1) },
    { 2, { TN_SHAPE_OF(1, 3), TN_SHAPE_OF(1) }, INDEX(TN_DTYPE_I64, 1) },
    { 2, { TN_SHAPE_OF(3, 0), TN_SHAPE_OF(2) }, INDEX(TN_DTYPE_I64, 3) },
    { 2, { TN_SHAPE_OF(0, 3), TN_SHAPE_OF(0) }, INDEX(TN_DTYPE_I64, 1) },
};

static gboolean
gather_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, gather_cases, TnAxisAttrs);
}

static gboolean
scatter_add_sample(TnSample *sample)
{
    if (!gather_sample(sample)) {
        return FALSE;
    }
    const TnInfer infer = { .attrs = sample->attrs, .in = sample->in };
    sample->n_in = 3;
    return gather_type(&infer, &sample->in[2], NULL);
}

static const TnCase element_cases[] = {
    { 2, { TN_SHAPE_OF(5), TN_SHAPE_OF(3) }, INDEX(TN_DTYPE_I64, 5) },
    { 2, { TN_SHAPE_OF(4, 3), TN_SHAPE_OF(2, 3) }, INDEX(TN_DTYPE_I32, 4) },
    { 2, { TN_SHAPE_OF(4, 3), TN_SHAPE_OF(4, 5) }, INDEX(TN_DTYPE_I64, 3), AXIS(1) },
    { 2, { TN_SHAPE_OF(2, 3, 4, 2), TN_SHAPE_OF(2, 2, 3, 1) }, INDEX(TN_DTYPE_I64, 4), AXIS(-2) },
    { 2, { TN_SHAPE_OF(1), TN_SHAPE_OF(1) }, INDEX(TN_DTYPE_I64, 1) },
    { 2, { TN_SHAPE_OF(3, 2), TN_SHAPE_OF(0, 2) }, INDEX(TN_DTYPE_I64, 3) },
};

static gboolean
gather_elements_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, element_cases, TnAxisAttrs);
}

/* Variant 0 writes. Which of equal places stays is a rule of its own, and the gradient of one that
 * does not stay would be wrong: there the indices are all different, written out. The others
 * add. */
static gboolean
scatter_elements_sample(TnSample *sample)
{
    static const TnCase distinct = { 2,
                                     { TN_SHAPE_OF(5, 2), TN_SHAPE_OF(3, 2) },
                                     INDEX(TN_DTYPE_I64, 5) };
    static const gint64 places[] = { 4, 0, -4, 3, 2, -1 };
    TnScatterAttrs *attrs = sample->attrs;
    TnAxisAttrs axis = { 0 };
    TnSample pair = *sample;
    pair.attrs = &axis;
    if (sample->variant == 0) {
        tn_sample_case(&pair, &distinct, 1, 0);
        pair.value[1] = tn_tensor_from(pair.in[1], places, NULL);
    } else {
        pair.variant--;
        attrs->reduction = TN_SCATTER_ADD;
        if (sample->dtype == TN_DTYPE_BOOL || !gather_elements_sample(&pair)) {
            return FALSE;
        }
    }
    pair.variant = sample->variant;
    pair.attrs = attrs;
    attrs->axis = axis.axis;
    *sample = pair;
    sample->n_in = 3;
    sample->in[2] = sample->in[1];
    sample->in[2].dtype = sample->dtype;
    return TRUE;
}

static const TnCase sort_cases[] = {
    { 1, { TN_SHAPE_OF(1) } },
    { 1, { TN_SHAPE_OF(9) } },
    { 1, { TN_SHAPE_OF(9) }, .attrs = &(const TnSortAttrs){ 0, TRUE } },
    { 1, { TN_SHAPE_OF(3, 5) } },
    { 1, { TN_SHAPE_OF(3, 5) }, .attrs = &(const TnSortAttrs){ 0, TRUE } },
    { 1, { TN_SHAPE_OF(2, 3, 4, 2) }, .attrs = &(const TnSortAttrs){ 2, FALSE } },
    { 1, { TN_SHAPE_OF(2, 0) } },
    { 1, { TN_SHAPE_OF(0, 2) }, .attrs = &(const TnSortAttrs){ 1, FALSE } },
};

static gboolean
sort_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, sort_cases, TnSortAttrs);
}

/* Elements that are written are moved only. */
static double
scatter_elements_flops(const TnFlops *call)
{
    const TnScatterAttrs *attrs = call->attrs;
    return attrs->reduction == TN_SCATTER_NONE ? 0 : tn_flops_updates(call);
}

/* --- The table -------------------------------------------------------------------------------- */

static const TnOption axis_rows[] = {
    TN_ATTR(TnAxisAttrs, axis, TN_OPT_INT64, "axis of data that indices are positions of",
            .dflt = "0"),
};

#define RANK1 .min_rank = 1, .max_rank = TN_MAX_RANK
#define INDICES(help_)                                                                             \
    TN_ARG_ROW("indices", 'I', TN_INDICES, help_, .flags = TN_ARG_INDEX | TN_ARG_NO_GRAD)

static const TnPrimitive rows[] = {
    { .op = { TN_OP("gather", "Gather", "Entries of data along an axis"),
              TN_INPUTS(TN_ARG_ROW("data", 'T', TN_DTYPES_ALL, "rank 1 at least", RANK1),
                        INDICES("any shape")),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL,
                                    "data's axes before, indices' axes, data's axes behind")),
              .attrs = TN_OPTIONS(TnAxisAttrs, axis_rows), .infer = gather_infer,
              .vjp = tn_vjp_rules, .sample = gather_sample, .flops = tn_flops_none },
      .rule = { gather_rule } },
    { .op = { TN_OP("scatter_add", NULL, "data with updates added at entries along an axis"),
              TN_INPUTS(TN_ARG_ROW("data", 'T', TN_DTYPES_NUMBER, "rank 1 at least", RANK1),
                        INDICES("any shape"),
                        TN_ARG_ROW("updates", 'T', TN_DTYPES_NUMBER, "the shape gather gives")),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_NUMBER, "data's shape")),
              .attrs = TN_OPTIONS(TnAxisAttrs, axis_rows), .infer = scatter_add_infer,
              .vjp = tn_vjp_rules, .sample = scatter_add_sample, .in_place = 1,
              .flops = tn_flops_updates },
      .rule = { tn_rule_pass, NULL, scatter_add_updates } },
    { .op = { TN_OP("gather_elements", "GatherElements", "Elements of data along an axis"),
              TN_INPUTS(TN_ARG_ROW("data", 'T', TN_DTYPES_ALL, "rank 1 at least", RANK1),
                        INDICES("data's rank, not longer but along the axis")),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "indices' shape")),
              .attrs = TN_OPTIONS(TnAxisAttrs, axis_rows), .infer = gather_elements_infer,
              .vjp = tn_vjp_rules, .sample = gather_elements_sample, .flops = tn_flops_none },
      .rule = { gather_elements_rule } },
    { .op = { TN_OP("scatter_elements", "ScatterElements", "data with elements written or added"),
              TN_INPUTS(TN_ARG_ROW("data", 'T', TN_DTYPES_ALL, "rank 1 at least", RANK1),
                        INDICES("data's rank, not longer but along the axis"),
                        TN_ARG_ROW("updates", 'T', TN_DTYPES_ALL, "indices' shape")),
              TN_OUTPUTS(TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "data's shape")),
              .attrs = TN_OPTIONS(TnScatterAttrs, scatter_rows), .infer = scatter_elements_infer,
              .vjp = tn_vjp_rules, .sample = scatter_elements_sample, .in_place = 1,
              .flops = scatter_elements_flops },
      .rule = { scatter_elements_data, NULL, scatter_elements_updates } },
    { .op = { TN_OP("sort", NULL, "Elements in order along an axis, and where they came from"),
              TN_INPUTS(TN_ARG_ROW("x", 'T', TN_DTYPES_NUMBER, "rank 1 at least", RANK1)),
              TN_OUTPUTS(TN_ARG_ROW("values", 'T', TN_DTYPES_NUMBER, "x's shape"),
                         TN_ARG_ROW("indices", 'I', TN_DT(I64), "x's shape")),
              .attrs = TN_OPTIONS(TnSortAttrs, sort_rows), .infer = sort_infer, .vjp = tn_vjp_rules,
              .sample = sort_sample },
      .rule = { sort_rule } },
};

const TnFamily tn_family_index = { rows, G_N_ELEMENTS(rows) };
