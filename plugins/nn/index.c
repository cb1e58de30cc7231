/* index.c: composites about positions: embedding, one_hot, topk, trilu, arange. */
#include "nn.h"

/* --- embedding ------------------------------------------------------------------------------- */

static const TnOption embedding_rows[] = {
    NN_ATTR(TnEmbeddingAttrs, padding_idx, TN_OPT_INT64, "row that gets no gradient; -1: none",
            .dflt = "-1", TN_RANGE_I(-1, G_MAXINT64)),
};

static gboolean
embedding_infer(TnInfer *infer, GError **error)
{
    const TnType *indices = &infer->in[1];
    TnType out = *indices;
    if (indices->rank == TN_MAX_RANK) {
        return nn_infer_fail(infer, 1, error, "the output would have rank %d; at most %d",
                             indices->rank + 1, TN_MAX_RANK);
    }
    if (infer->in[0].dims[0] == 0 && tn_type_count(indices) > 0) {
        return nn_infer_fail(infer, 0, error, "there are no rows to choose from");
    }
    out.dtype = infer->in[0].dtype;
    out.dims[out.rank++] = infer->in[0].dims[1];
    infer->out[0] = out;
    return TRUE;
}

static gboolean
embedding_body(TnBody *body, GError **error)
{
    const gint64 padding = ((const TnEmbeddingAttrs *)body->attrs)->padding_idx;
    const TnAxisAttrs rows = { 0 };
    TnGraph *graph = body->graph;
    const TnVal indices = body->in[1];
    (void)error;
    const TnVal out = nn_2(graph, "gather", &rows, body->in[0], indices);
    if (padding < 0) {
        body->out[0] = out;
        return TRUE;
    }
    const TnVal here = tn_f_equal(graph, indices, tn_f_const(graph, indices, (double)padding));
    const TnVal column = nn_insert(graph, here, tn_f_rank(graph, indices), 1);
    const TnVal still = nn_1(graph, "stop_gradient", NULL, out);
    body->out[0] = tn_f_where(graph, column, still, out);
    return TRUE;
}

#define INDEX_AT_1(dtype_, bound_) .dtype = { 0, TN_DTYPE_##dtype_ }, .bound = { 0, bound_ }
static const NnCase embedding_cases[] = {
    { 2, { NN_SHAPE(5, 3), NN_SHAPE(4) }, INDEX_AT_1(I64, 5) },
    { 2, { NN_SHAPE(5, 3), NN_SHAPE(2, 3) }, INDEX_AT_1(I32, 5) },
    { 2,
      { NN_SHAPE(3, 4), NN_SHAPE(2, 6) },
      INDEX_AT_1(I64, 3),
      .attrs = &(const TnEmbeddingAttrs){ 1 } },
    { 2, { NN_SHAPE(5, 3), NN_RANK0 }, INDEX_AT_1(I64, 5) },
    { 2, { NN_SHAPE(5, 3), NN_SHAPE(0, 2) }, INDEX_AT_1(I64, 5) },
};
/* Away from the padding, whose missing gradient no difference would show. */
static const gint64 not_padding[12] = { 0, 2, 2, 0, 0, 0, 2, 2, 2, 0, 2, 0 };

static gboolean
embedding_sample(TnSample *sample)
{
    const gboolean ok = NN_SAMPLE(sample, embedding_cases, TnEmbeddingAttrs);
    if (ok && ((const TnEmbeddingAttrs *)sample->attrs)->padding_idx >= 0) {
        sample->value[1] = tn_tensor_from(sample->in[1], not_padding, NULL);
    }
    return ok;
}

NN_OP(embedding, NULL, "Rows of a table",
      NN_IN(NN_ARG("weight", 'T', TN_DTYPES_FLOAT, "[V, D]", NN_RANK(2, 2)),
            NN_ARG("indices", 'I', NN_INDICES, "any shape",
                   .flags = TN_ARG_INDEX | TN_ARG_NO_GRAD)),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "indices' shape, then D")),
      .attrs = TN_OPTIONS(TnEmbeddingAttrs, embedding_rows), .infer = embedding_infer,
      .body = embedding_body, .sample = embedding_sample);

/* --- one_hot --------------------------------------------------------------------------------- */

static const TnOption one_hot_rows[] = {
    NN_ATTR(TnOneHotAttrs, depth, TN_OPT_INT64, "number of classes", TN_RANGE_I(0, G_MAXINT32),
            .flags = TN_OPTION_REQUIRED),
    NN_ATTR(TnOneHotAttrs, axis, TN_OPT_INT64, "where the classes stand in the output",
            .dflt = "-1"),
    NN_ATTR(TnOneHotAttrs, on, TN_OPT_DOUBLE, "value at the index", .dflt = "1",
            .flags = TN_OPTION_NAN),
    NN_ATTR(TnOneHotAttrs, off, TN_OPT_DOUBLE, "value elsewhere", .dflt = "0",
            .flags = TN_OPTION_NAN),
    NN_ATTR_DTYPE(TnOneHotAttrs, dtype, "dtype of the output", .dflt = "f32"),
};

static gboolean
one_hot_infer(TnInfer *infer, GError **error)
{
    const TnOneHotAttrs *attrs = infer->attrs;
    const TnType *in = &infer->in[0];
    gint axis;
    if (in->rank == TN_MAX_RANK || attrs->dtype == TN_DTYPE_NONE) {
        return nn_infer_fail(infer, 0, error, "needs a dtype, and room for another axis");
    }
    if (!tn_infer_axis(attrs->axis, in->rank + 1, &axis, error)) {
        return FALSE;
    }
    TnType out = { .dtype = (TnDtype)attrs->dtype, .rank = in->rank + 1 };
    for (gint i = 0, from = 0; i < out.rank; i++) {
        out.dims[i] = i == axis ? attrs->depth : in->dims[from++];
    }
    infer->out[0] = out;
    return TRUE;
}

/* 0, 1, … n - 1 of a dtype. */
static TnVal
counting(TnGraph *graph, gint64 n, TnDtype dtype)
{
    const TnExpandAttrs shape = { .shape = { 1, { n } } };
    const TnIotaAttrs iota = { 0, (gint)dtype };
    const TnVal like = nn_1(graph, "expand", &shape, tn_graph_scalar(graph, dtype, 0));
    return nn_1(graph, "iota", &iota, like);
}

static gboolean
one_hot_body(TnBody *body, GError **error)
{
    const TnOneHotAttrs *attrs = body->attrs;
    TnGraph *graph = body->graph;
    const TnVal given = body->in[0];
    const gint rank = tn_f_rank(graph, given);
    const gint axis = (gint)(attrs->axis < 0 ? attrs->axis + rank + 1 : attrs->axis);
    const TnDtype dtype = (TnDtype)attrs->dtype;
    (void)error;
    const TnVal below = tn_f_less(graph, given, tn_f_const(graph, given, 0));
    const TnVal depth = tn_f_const(graph, given, (double)attrs->depth);
    const TnVal at = tn_f_where(graph, below, tn_f_add(graph, given, depth), given);
    const TnVal line = counting(graph, attrs->depth, nn_dtype(graph, given));
    const TnVal classes = nn_insert(graph, line, 1, rank - axis);
    const TnVal hit = tn_f_equal(graph, nn_insert(graph, at, axis, 1), classes);
    body->out[0] = tn_f_where(graph, hit, tn_graph_scalar(graph, dtype, attrs->on),
                              tn_graph_scalar(graph, dtype, attrs->off));
    return TRUE;
}

#define HOT(...) (&(const TnOneHotAttrs){ __VA_ARGS__ })
#define INDEX_AT_0(dtype_, bound_) .dtype = { TN_DTYPE_##dtype_ }, .bound = { bound_ }
static const NnCase one_hot_cases[] = {
    { 1, { NN_RANK0 }, INDEX_AT_0(I64, 3), .attrs = HOT(3, -1, 1, 0) },
    { 1, { NN_SHAPE(5) }, INDEX_AT_0(I32, 4), .attrs = HOT(4, -1, 1, 0) },
    { 1, { NN_SHAPE(2, 3) }, INDEX_AT_0(I64, 6), .attrs = HOT(4, 1, 2, 1) },
    { 1, { NN_SHAPE(2, 3) }, INDEX_AT_0(I64, 4), .attrs = HOT(4, 0, 1, 0) },
    { 1, { NN_SHAPE(0) }, INDEX_AT_0(I64, 4), .attrs = HOT(4, -1, 1, 0) },
};

static gboolean
one_hot_sample(TnSample *sample)
{
    const gboolean ok = NN_SAMPLE(sample, one_hot_cases, TnOneHotAttrs);
    ((TnOneHotAttrs *)sample->attrs)->dtype = (gint)sample->dtype;
    return ok;
}

NN_OP(one_hot, "OneHot", "1 at each index, 0 elsewhere; indices beyond depth leave 0s",
      .flags = TN_OP_NO_GRAD,
      NN_IN(NN_ARG("indices", 'I', NN_INDICES, "any shape; negative ones count from depth",
                   .flags = TN_ARG_INDEX | TN_ARG_NO_GRAD)),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_ALL, "indices' shape with depth at axis")),
      .attrs = TN_OPTIONS(TnOneHotAttrs, one_hot_rows), .infer = one_hot_infer,
      .body = one_hot_body, .sample = one_hot_sample);

/* --- topk ------------------------------------------------------------------------------------ */

static const TnOption topk_rows[] = {
    NN_ATTR(TnTopkAttrs, k, TN_OPT_INT64, "how many", TN_RANGE_I(0, G_MAXINT64),
            .flags = TN_OPTION_REQUIRED),
    NN_ATTR(TnTopkAttrs, axis, TN_OPT_INT64, "axis that is searched", .dflt = "-1"),
    NN_ATTR(TnTopkAttrs, largest, TN_OPT_BOOL,
            "the largest, descending; else the smallest, ascending", .dflt = "true"),
};

static gboolean
topk_infer(TnInfer *infer, GError **error)
{
    const TnTopkAttrs *attrs = infer->attrs;
    gint axis;
    if (!tn_infer_axis(attrs->axis, infer->in[0].rank, &axis, error)) {
        return FALSE;
    }
    if (attrs->k < 0 || attrs->k > infer->in[0].dims[axis]) {
        return nn_infer_fail(infer, 0, error, "axis %d has no %" G_GINT64_FORMAT " elements", axis,
                             attrs->k);
    }
    for (gint i = 0; i < 2; i++) {
        const TnDtype dtype = infer->out[i].dtype;
        infer->out[i] = infer->in[0];
        infer->out[i].dtype = dtype;
        infer->out[i].dims[axis] = attrs->k;
    }
    return TRUE;
}

static gboolean
topk_body(TnBody *body, GError **error)
{
    const TnTopkAttrs *attrs = body->attrs;
    const TnSortAttrs order = { attrs->axis, attrs->largest };
    const TnSliceAttrs first = { NN_INTS(0), NN_INTS(attrs->k), NN_INTS(attrs->axis), { 0 } };
    TnVal sorted[TN_MAX_OUT] = { TN_VAL_NONE, TN_VAL_NONE };
    (void)error;
    tn_graph_op(body->graph, "sort", &order, 1, body->in, sorted);
    for (gint i = 0; i < 2; i++) {
        body->out[i] = nn_1(body->graph, "slice", &first, sorted[i]);
    }
    return TRUE;
}

#define TOP(...) (&(const TnTopkAttrs){ __VA_ARGS__ })
static const NnCase topk_cases[] = {
    { 1, { NN_SHAPE(7) }, .attrs = TOP(3, -1, TRUE) },
    { 1, { NN_SHAPE(3, 5) }, .attrs = TOP(2, 0, FALSE) },
    { 1, { NN_SHAPE(2, 5, 3) }, .attrs = TOP(5, 1, TRUE) },
    { 1, { NN_SHAPE(2, 4) }, .attrs = TOP(0, 1, TRUE) },
    { 1, { NN_SHAPE(0, 4) }, .attrs = TOP(2, 1, TRUE) },
};
NN_SAMPLER(topk_sample, topk_cases, TnTopkAttrs)

NN_OP(topk, "TopK", "The k largest or smallest along an axis, and where they are",
      NN_IN(NN_ARG("x", 'T', TN_DTYPES_NUMBER, "rank 1 at least", NN_RANK(1, TN_MAX_RANK))),
      NN_OUT(NN_ARG("values", 'T', TN_DTYPES_NUMBER, "x's shape with k at axis"),
             NN_ARG("indices", 'I', TN_DT(I64), "as values")),
      .attrs = TN_OPTIONS(TnTopkAttrs, topk_rows), .infer = topk_infer, .body = topk_body,
      .sample = topk_sample);

/* --- trilu ----------------------------------------------------------------------------------- */

static const TnOption trilu_rows[] = {
    NN_ATTR(TnTriluAttrs, upper, TN_OPT_BOOL, "keep what is above, not below", .dflt = "true"),
    NN_ATTR(TnTriluAttrs, k, TN_OPT_INT64,
            "the diagonal kept with it; 1: the one above the main one", .dflt = "0"),
};

static gboolean
trilu_body(TnBody *body, GError **error)
{
    const TnTriluAttrs *attrs = body->attrs;
    const TnIotaAttrs down = { -2, TN_DTYPE_I64 };
    const TnIotaAttrs right = { -1, TN_DTYPE_I64 };
    TnGraph *graph = body->graph;
    const TnVal x = body->in[0];
    (void)error;
    const TnVal row = nn_insert(graph, nn_1(graph, "iota", &down, x), 1, 1);
    const TnVal above = tn_f_sub(graph, nn_1(graph, "iota", &right, x), row);
    const TnVal k = tn_f_const(graph, above, (double)attrs->k);
    const TnVal keep =
        attrs->upper ? tn_f_greater_or_equal(graph, above, k) : tn_f_less_or_equal(graph, above, k);
    body->out[0] = tn_f_where(graph, keep, x, tn_f_const(graph, x, 0));
    return TRUE;
}

#define TRI(...) (&(const TnTriluAttrs){ __VA_ARGS__ })
static const NnCase trilu_cases[] = {
    { 1, { NN_SHAPE(4, 4) } },
    { 1, { NN_SHAPE(3, 5) }, .attrs = TRI(FALSE, 0) },
    { 1, { NN_SHAPE(2, 5, 3) }, .attrs = TRI(TRUE, 1) },
    { 1, { NN_SHAPE(2, 2, 3, 4) }, .attrs = TRI(FALSE, -1) },
    { 1, { NN_SHAPE(0, 3) } },
};
NN_SAMPLER(trilu_sample, trilu_cases, TnTriluAttrs)

NN_OP(trilu, "Trilu", "The upper or lower triangle of matrices, 0 elsewhere",
      NN_IN(NN_ARG("x", 'T', TN_DTYPES_ALL, "[lead…, R, C]", NN_RANK(2, TN_MAX_RANK))),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_ALL, "x's shape")),
      .attrs = TN_OPTIONS(TnTriluAttrs, trilu_rows), .infer = nn_infer_shape, .body = trilu_body,
      .sample = trilu_sample, .flags = TN_OP_FILLS, .in_place = 1);

/* --- arange ---------------------------------------------------------------------------------- */

static const TnOption arange_rows[] = {
    NN_ATTR(TnArangeAttrs, start, TN_OPT_DOUBLE, "first value", .dflt = "0"),
    NN_ATTR(TnArangeAttrs, stop, TN_OPT_DOUBLE, "values stay before it",
            .flags = TN_OPTION_REQUIRED),
    NN_ATTR(TnArangeAttrs, step, TN_OPT_DOUBLE, "from one value to the next", .dflt = "1"),
    NN_ATTR_DTYPE(TnArangeAttrs, dtype, "dtype of the output", .dflt = "i64"),
};

static double
arange_count(const TnArangeAttrs *attrs)
{
    return MAX(ceil((attrs->stop - attrs->start) / attrs->step), 0);
}

/* Whether all values are the dtype's: whole numbers of its range, and such as a double tells apart; the ends, too,
 * else it is not known which numbers were meant, or whether there are any. */
static gboolean
arange_fits(const TnArangeAttrs *attrs, double count)
{
    const TnDtypeInfo *info = tn_dtype_info((TnDtype)attrs->dtype);
    const double last = attrs->start + (count - 1) * attrs->step;
    const gboolean natural = info->klass == TN_CLASS_UINT;
    const double end = MIN(ldexp(1, (int)info->bits - !natural), 0x1p53);
    const double least = natural ? 0 : -end;
    if (info->klass == TN_CLASS_FLOAT)
        return TRUE;
    if (count == 0)
        return fabs(attrs->start) <= 0x1p53 && fabs(attrs->stop) <= 0x1p53;
    return attrs->start == floor(attrs->start) && attrs->step == floor(attrs->step) &&
           MIN(attrs->start, last) >= least && MAX(attrs->start, last) < end;
}

static gboolean
arange_infer(TnInfer *infer, GError **error)
{
    const TnArangeAttrs *attrs = infer->attrs;
    const double count = arange_count(attrs);
    if (attrs->step == 0 || !(count < 0x1p53) ||
        !tn_dtype_in((TnDtype)attrs->dtype, TN_DTYPES_NUMBER)) {
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                    "from %g to %g by %g as %s: needs a number's dtype, a step other than 0 and a "
                    "finite number of values",
                    attrs->start, attrs->stop, attrs->step, tn_dtype_name((TnDtype)attrs->dtype));
        return FALSE;
    }
    if (!arange_fits(attrs, count)) {
        g_set_error(
            error, TN_ERROR, TN_ERROR_DTYPE,
            "from %.17g to %.17g by %.17g: not all are whole numbers that %s holds and a double "
            "tells apart",
            attrs->start, attrs->stop, attrs->step, tn_dtype_name((TnDtype)attrs->dtype));
        return FALSE;
    }
    infer->out[0] = tn_type((TnDtype)attrs->dtype, 1, (const gint64[]){ (gint64)count });
    return TRUE;
}

static gboolean
arange_body(TnBody *body, GError **error)
{
    const TnArangeAttrs *attrs = body->attrs;
    TnGraph *graph = body->graph;
    (void)error;
    const TnVal i = counting(graph, (gint64)arange_count(attrs), TN_DTYPE_F64);
    const TnVal way = tn_f_mul(graph, i, tn_f_const(graph, i, attrs->step));
    const TnVal values = tn_f_add(graph, way, tn_f_const(graph, i, attrs->start));
    body->out[0] = nn_to(graph, values, (TnDtype)attrs->dtype);
    return TRUE;
}

#define ARANGE(...) (&(const TnArangeAttrs){ __VA_ARGS__ })
static const NnCase arange_cases[] = {
    { 0, { NN_RANK0 }, .attrs = ARANGE(0, 5, 1) },
    { 0, { NN_RANK0 }, .attrs = ARANGE(2, 11, 3) },
    { 0, { NN_RANK0 }, .attrs = ARANGE(9, 1, -2) },
    { 0, { NN_RANK0 }, .attrs = ARANGE(3, 3, 1) },
};

static gboolean
arange_sample(TnSample *sample)
{
    const gboolean ok = NN_SAMPLE(sample, arange_cases, TnArangeAttrs);
    ((TnArangeAttrs *)sample->attrs)->dtype = (gint)sample->dtype;
    return ok;
}

NN_OP(arange, "Range", "start, start + step, … before stop", .flags = TN_OP_NO_GRAD,
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_NUMBER, "[ceil ((stop - start) / step)]")),
      .attrs = TN_OPTIONS(TnArangeAttrs, arange_rows), .infer = arange_infer, .body = arange_body,
      .sample = arange_sample);
