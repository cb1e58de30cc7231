/* shape.c: the same elements under other sizes: reshape, flatten, transpose, squeeze, unsqueeze,
 * expand. */
#include "ops-private.h"

static const TnOption reshape_rows[] = {
    TN_ATTR(TnReshapeAttrs, shape, TN_OPT_SHAPE,
            "sizes of the output; 0 copies x's, one -1 is inferred"),
    TN_ATTR(TnReshapeAttrs, allowzero, TN_OPT_BOOL, "0 in shape means 0", .dflt = "false"),
};
static const TnOption transpose_rows[] = {
    TN_ATTR(TnTransposeAttrs, perm, TN_OPT_INTS,
            "x's axis for each of the output's; empty: "
            "reversed"),
};
static const TnOption axes_rows[] = {
    TN_ATTR(TnAxesAttrs, axes, TN_OPT_INTS, "axes of size 1"),
};
static const TnOption expand_rows[] = {
    TN_ATTR(TnExpandAttrs, shape, TN_OPT_SHAPE, "sizes to broadcast with; 1 and -1 keep x's"),
};

/* --- Infer ------------------------------------------------------------------------------------ */

static char *
shape_text(const TnShape *shape)
{
    GString *text = g_string_new("[");
    for (gint i = 0; i < shape->rank; i++) {
        g_string_append_printf(text, "%s%" G_GINT64_FORMAT, i > 0 ? ", " : "", shape->dims[i]);
    }
    g_string_append_c(text, ']');
    return g_string_free(text, FALSE);
}

static gboolean
misfit(const TnInfer *infer, const TnShape *shape, const char *why, GError **error)
{
    g_autofree char *text = shape_text(shape);
    return tn_infer_fail(infer, 0, error, "does not fit shape %s: %s", text, why);
}

/* Elements, axes of the mask left out; -1 if they cannot be counted. */
static gint64
count_without(const TnType *type, guint32 mask)
{
    TnType rest = *type;
    for (gint i = 0; i < type->rank; i++) {
        rest.dims[i] = mask & 1u << i ? 1 : type->dims[i];
    }
    return tn_type_count(&rest);
}

static gboolean
reshape_infer(TnInfer *infer, GError **error)
{
    const TnReshapeAttrs *attrs = infer->attrs;
    const TnType *in = &infer->in[0];
    TnType out = tn_type(in->dtype, attrs->shape.rank, attrs->shape.dims);
    gint open = -1;
    guint32 copied = 0;
    for (gint i = 0; i < out.rank; i++) {
        if (out.dims[i] == -1) {
            if (open >= 0) {
                return misfit(infer, &attrs->shape, "more than one -1", error);
            }
            open = i;
            out.dims[i] = 1;
        } else if (out.dims[i] == 0 && !attrs->allowzero) {
            if (i >= in->rank) {
                return misfit(infer, &attrs->shape, "0 where 'x' has no axis", error);
            }
            out.dims[i] = in->dims[i];
            copied |= 1u << i;
        }
    }
    gboolean fits = TRUE;
    if (open >= 0) {
        /* Axes that are copied are on both sides: left out, a size of 0 there leaves -1 clear. */
        const gint64 have = count_without(in, copied);
        const gint64 rest = count_without(&out, copied);
        if (rest == 0) {
            return misfit(infer, &attrs->shape, "-1 beside a size of 0 could be anything", error);
        }
        fits = rest > 0 && have % rest == 0;
        out.dims[open] = fits ? have / rest : 1;
    }
    if (!fits || tn_type_count(&out) != tn_type_count(in)) {
        g_autofree char *why = g_strdup_printf("%" G_GINT64_FORMAT " elements", tn_type_count(in));
        return misfit(infer, &attrs->shape, why, error);
    }
    infer->out[0] = out;
    return TRUE;
}

static gboolean
flatten_infer(TnInfer *infer, GError **error)
{
    const TnAxisAttrs *attrs = infer->attrs;
    const TnType *in = &infer->in[0];
    if (attrs->axis < -in->rank || attrs->axis > in->rank) {
        return tn_infer_fail(infer, 0, error, "axis %" G_GINT64_FORMAT " is outside [%d, %d]",
                             attrs->axis, -in->rank, in->rank);
    }
    const gint axis = tn_axis(attrs->axis, in->rank);
    const gint64 dims[] = { tn_sizes_product(in, 0, axis), tn_sizes_product(in, axis, in->rank) };
    infer->out[0] = tn_type(in->dtype, 2, dims);
    return TRUE;
}

static gboolean
transpose_infer(TnInfer *infer, GError **error)
{
    const TnTransposeAttrs *attrs = infer->attrs;
    const TnType *in = &infer->in[0];
    guint32 mask;
    if (attrs->perm.n != 0 && attrs->perm.n != in->rank) {
        return tn_infer_fail(infer, 0, error, "'perm' has %d axes", attrs->perm.n);
    }
    if (!tn_infer_axes(infer, 0, &attrs->perm, in->rank, &mask, error)) {
        return FALSE;
    }
    gint perm[TN_MAX_RANK];
    tn_transpose_resolve(attrs, in->rank, perm);
    infer->out[0] = *in;
    for (gint i = 0; i < in->rank; i++) {
        infer->out[0].dims[i] = in->dims[perm[i]];
    }
    return TRUE;
}

static gboolean
squeeze_infer(TnInfer *infer, GError **error)
{
    const TnAxesAttrs *attrs = infer->attrs;
    const TnType *in = &infer->in[0];
    TnType out = { .dtype = in->dtype };
    guint32 mask;
    if (!tn_infer_axes(infer, 0, &attrs->axes, in->rank, &mask, error)) {
        return FALSE;
    }
    for (gint i = 0; i < in->rank; i++) {
        const gboolean named = mask & 1u << i;
        if (named && in->dims[i] != 1) {
            return tn_infer_fail(infer, 0, error, "axis %d has size %" G_GINT64_FORMAT ", not 1", i,
                                 in->dims[i]);
        }
        if (!named && (attrs->axes.n > 0 || in->dims[i] != 1)) {
            out.dims[out.rank++] = in->dims[i];
        }
    }
    infer->out[0] = out;
    return TRUE;
}

static gboolean
unsqueeze_infer(TnInfer *infer, GError **error)
{
    const TnAxesAttrs *attrs = infer->attrs;
    const TnType *in = &infer->in[0];
    const gint rank = in->rank + attrs->axes.n;
    guint32 mask;
    if (rank > TN_MAX_RANK) {
        return tn_infer_fail(infer, 0, error, "the output would have rank %d; at most %d", rank,
                             TN_MAX_RANK);
    }
    if (!tn_infer_axes(infer, 0, &attrs->axes, rank, &mask, error)) {
        return FALSE;
    }
    TnType out = { .dtype = in->dtype, .rank = rank };
    for (gint i = 0, from = 0; i < rank; i++) {
        out.dims[i] = mask & 1u << i ? 1 : in->dims[from++];
    }
    infer->out[0] = out;
    return TRUE;
}

static gboolean
expand_infer(TnInfer *infer, GError **error)
{
    const TnExpandAttrs *attrs = infer->attrs;
    TnType both[2] = { infer->in[0] };
    both[1] = tn_type(infer->in[0].dtype, attrs->shape.rank, attrs->shape.dims);
    for (gint i = 0; i < both[1].rank; i++) {
        if (both[1].dims[i] < -1) {
            return misfit(infer, &attrs->shape, "a size is negative", error);
        }
        both[1].dims[i] = both[1].dims[i] == -1 ? 1 : both[1].dims[i];
    }
    if (!tn_infer_broadcast(2, both, &infer->out[0], NULL)) {
        return misfit(infer, &attrs->shape, "sizes do not broadcast", error);
    }
    return TRUE;
}

/* --- Views ------------------------------------------------------------------------------------ */

gboolean
tn_view_same(const void *attrs, const TnType *in, const TnLayout *in_layout, const TnType *out,
             TnLayout *out_layout)
{
    (void)attrs;
    (void)in;
    (void)out;
    *out_layout = *in_layout;
    return TRUE;
}

/* Walks both lists of sizes from the first axis; where products of runs of axes meet, the input's
 * run must be contiguous in itself, and the output's gets its strides. */
gboolean
tn_view_reshape(const void *attrs, const TnType *in, const TnLayout *in_layout, const TnType *out,
                TnLayout *out_layout)
{
    (void)attrs;
    TnLayout layout = { .offset = in_layout->offset };
    if (tn_type_count(out) == 0) {
        tn_type_strides(out, layout.strides);
        *out_layout = layout;
        return TRUE;
    }
    gint64 size[TN_MAX_RANK], stride[TN_MAX_RANK];
    gint n = 0;
    for (gint i = 0; i < in->rank; i++) {
        if (in->dims[i] == 1) {
            continue;
        }
        const gboolean joins = n > 0 && stride[n - 1] == in_layout->strides[i] * in->dims[i];
        n = joins ? n : n + 1;
        size[n - 1] = joins ? size[n - 1] * in->dims[i] : in->dims[i];
        stride[n - 1] = in_layout->strides[i];
    }
    gint run = n - 1;
    gint64 left = n > 0 ? size[run] : 1;
    gint64 step = n > 0 ? stride[run] : 1;
    for (gint i = out->rank - 1; i >= 0; i--) {
        if (out->dims[i] == 1) {
            layout.strides[i] = step;
            continue;
        }
        if (left == 1) {
            run--;
            left = size[run];
            step = stride[run];
        }
        if (left % out->dims[i] != 0) {
            return FALSE;
        }
        layout.strides[i] = step;
        step *= out->dims[i];
        left /= out->dims[i];
    }
    *out_layout = layout;
    return TRUE;
}

static gboolean
transpose_view(const void *attrs, const TnType *in, const TnLayout *in_layout, const TnType *out,
               TnLayout *out_layout)
{
    gint perm[TN_MAX_RANK];
    TnLayout layout = { .offset = in_layout->offset };
    tn_transpose_resolve(attrs, in->rank, perm);
    for (gint i = 0; i < out->rank; i++) {
        layout.strides[i] = in_layout->strides[perm[i]];
    }
    *out_layout = layout;
    return TRUE;
}

void
tn_transpose_resolve(const TnTransposeAttrs *attrs, gint rank, gint *perm)
{
    for (gint i = 0; i < rank; i++) {
        perm[i] = attrs->perm.n > 0 ? tn_axis(attrs->perm.v[i], rank) : rank - 1 - i;
    }
}

/* --- Gradients -------------------------------------------------------------------------------- */

static TnVal
transpose_rule(TnVjp *v, TnVal g)
{
    const gint rank = tn_graph_type(v->graph, v->in[0])->rank;
    gint perm[TN_MAX_RANK];
    TnTransposeAttrs inverse = { .perm = { .n = rank } };
    tn_transpose_resolve(v->attrs, rank, perm);
    for (gint i = 0; i < rank; i++) {
        inverse.perm.v[perm[i]] = i;
    }
    return tn_add1(v, "transpose", &inverse, g);
}

static TnVal
expand_rule(TnVjp *v, TnVal g)
{
    return tn_f_reduce_to(v->graph, g, v->in[0]);
}

/* --- Samples ---------------------------------------------------------------------------------- */

#define TO(...) (&(const TnReshapeAttrs){ .shape = TN_SHAPE_OF(__VA_ARGS__) })
static const TnCase reshape_cases[] = {
    { 1, { TN_SHAPE_OF(2, 3) }, .attrs = TO(3, 2) },
    { 1, { TN_SHAPE_OF(2, 3, 4) }, .attrs = TO(0, -1) },
    { 1, { TN_SHAPE_OF(2, 3, 4) }, .attrs = TO(-1, 2, 0) },
    { 1, { TN_SHAPE_OF(2, 3, 4) }, .attrs = TO(-1) },
    { 1, { TN_SHAPE_OF(1, 1) }, .attrs = &(const TnReshapeAttrs){ .shape = TN_RANK0 } },
    { 1, { TN_RANK0 }, .attrs = TO(1, -1, 1) },
    { 1, { TN_SHAPE_OF(2, 0, 3) }, .attrs = TO(3, 0, 2) },
    { 1,
      { TN_SHAPE_OF(2, 0, 3) },
      .attrs = &(const TnReshapeAttrs){ .shape = TN_SHAPE_OF(6, 0), .allowzero = TRUE } },
};
#undef TO

static gboolean
reshape_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, reshape_cases, TnReshapeAttrs);
}

static const TnCase flatten_cases[] = {
    { 1, { TN_SHAPE_OF(2, 3, 4) } },
    { 1, { TN_SHAPE_OF(2, 3, 4) }, .attrs = &(const TnAxisAttrs){ 0 } },
    { 1, { TN_SHAPE_OF(2, 3, 4) }, .attrs = &(const TnAxisAttrs){ 2 } },
    { 1, { TN_SHAPE_OF(2, 3, 4) }, .attrs = &(const TnAxisAttrs){ 3 } },
    { 1, { TN_SHAPE_OF(2, 3, 4) }, .attrs = &(const TnAxisAttrs){ -1 } },
    { 1, { TN_RANK0 }, .attrs = &(const TnAxisAttrs){ 0 } },
    { 1, { TN_SHAPE_OF(0, 3) } },
};

static gboolean
flatten_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, flatten_cases, TnAxisAttrs);
}

#define PERM(...) (&(const TnTransposeAttrs){ .perm = TN_INTS_OF(__VA_ARGS__) })
static const TnCase transpose_cases[] = {
    { 1, { TN_RANK0 } },
    { 1, { TN_SHAPE_OF(5) } },
    { 1, { TN_SHAPE_OF(2, 3) } },
    { 1, { TN_SHAPE_OF(2, 3, 4) }, .attrs = PERM(1, 2, 0) },
    { 1, { TN_SHAPE_OF(2, 3, 4) }, .attrs = PERM(0, 2, 1) },
    { 1, { TN_SHAPE_OF(2, 1, 4, 3) }, .attrs = PERM(-1, 0, 2, 1) },
    { 1, { TN_SHAPE_OF(2, 0, 3) }, .attrs = PERM(2, 0, 1) },
};
#undef PERM

static gboolean
transpose_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, transpose_cases, TnTransposeAttrs);
}

#define AXES(...) (&(const TnAxesAttrs){ .axes = TN_INTS_OF(__VA_ARGS__) })

static const TnCase squeeze_cases[] = {
    { 1, { TN_SHAPE_OF(1, 3, 1, 2) } },
    { 1, { TN_SHAPE_OF(1, 3, 1, 2) }, .attrs = AXES(0) },
    { 1, { TN_SHAPE_OF(1, 3, 1, 2) }, .attrs = AXES(-2, 0) },
    { 1, { TN_SHAPE_OF(1) }, .attrs = AXES(0) },
    { 1, { TN_SHAPE_OF(0, 1) }, .attrs = AXES(1) },
    { 1, { TN_RANK0 } },
};

static gboolean
squeeze_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, squeeze_cases, TnAxesAttrs);
}

static const TnCase unsqueeze_cases[] = {
    { 1, { TN_RANK0 }, .attrs = AXES(0) },
    { 1, { TN_RANK0 }, .attrs = AXES(1, 0) },
    { 1, { TN_SHAPE_OF(3) }, .attrs = AXES(-1) },
    { 1, { TN_SHAPE_OF(2, 3) }, .attrs = AXES(1, 3) },
    { 1, { TN_SHAPE_OF(2, 0) }, .attrs = AXES(0, -2) },
};

static gboolean
unsqueeze_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, unsqueeze_cases, TnAxesAttrs);
}

#define TO(...) (&(const TnExpandAttrs){ .shape = TN_SHAPE_OF(__VA_ARGS__) })
static const TnCase expand_cases[] = {
    { 1, { TN_RANK0 }, .attrs = TO(2, 3) },
    { 1, { TN_SHAPE_OF(3) }, .attrs = TO(2, 3) },
    { 1, { TN_SHAPE_OF(3, 1) }, .attrs = TO(2, -1, 4) },
    { 1, { TN_SHAPE_OF(2, 3, 4) }, .attrs = TO(3, 1) },
    { 1, { TN_SHAPE_OF(2, 1, 3) }, .attrs = TO(1, 2, 1) },
    { 1, { TN_SHAPE_OF(1, 3) }, .attrs = TO(0, 1) },
    { 1, { TN_SHAPE_OF(0, 1) }, .attrs = TO(1, 3) },
    { 1, { TN_SHAPE_OF(4) }, .attrs = &(const TnExpandAttrs){ .shape = TN_RANK0 } },
};
#undef TO

static gboolean
expand_sample(TnSample *sample)
{
    return TN_SAMPLE_CASES(sample, expand_cases, TnExpandAttrs);
}

/* --- The table -------------------------------------------------------------------------------- */

#define MOVE(name_, onnx_, help_, Attrs, attrs_, infer_, view_, sample_, rule_)                    \
    {                                                                                              \
        .op = { TN_OP(name_, onnx_, help_),                                                        \
                .flags = TN_OP_VIEW,                                                               \
                TN_INPUTS(TN_ARG_ROW("x", 'T', TN_DTYPES_ALL, "any shape")),                       \
                TN_OUTPUTS(                                                                        \
                    TN_ARG_ROW("out", 'T', TN_DTYPES_ALL, "the elements under other sizes")),      \
                .attrs = TN_OPTIONS(Attrs, attrs_),                                                \
                .infer = infer_,                                                                   \
                .vjp = tn_vjp_rules,                                                               \
                .view = view_,                                                                     \
                .sample = sample_ },                                                               \
        .rule = {                                                                                  \
            rule_                                                                                  \
        }                                                                                          \
    }

static const TnOption flatten_rows[] = {
    TN_ATTR(TnAxisAttrs, axis, TN_OPT_INT64, "first axis of the second part", .dflt = "1"),
};

static const TnPrimitive rows[] = {
    MOVE("reshape", "Reshape", "The same elements, row-major, in another shape", TnReshapeAttrs,
         reshape_rows, reshape_infer, tn_view_reshape, reshape_sample, tn_rule_reshape),
    MOVE("flatten", "Flatten", "A matrix of the axes before and from an axis", TnAxisAttrs,
         flatten_rows, flatten_infer, tn_view_reshape, flatten_sample, tn_rule_reshape),
    MOVE("transpose", "Transpose", "Axes in another order", TnTransposeAttrs, transpose_rows,
         transpose_infer, transpose_view, transpose_sample, transpose_rule),
    MOVE("squeeze", "Squeeze", "Without axes of size 1", TnAxesAttrs, axes_rows, squeeze_infer,
         tn_view_reshape, squeeze_sample, tn_rule_reshape),
    MOVE("unsqueeze", "Unsqueeze", "With new axes of size 1", TnAxesAttrs, axes_rows,
         unsqueeze_infer, tn_view_reshape, unsqueeze_sample, tn_rule_reshape),
    MOVE("expand", "Expand", "Repeated along axes to broadcast with a shape", TnExpandAttrs,
         expand_rows, expand_infer, tn_view_broadcast, expand_sample, expand_rule),
};

const TnFamily tn_family_shape = { rows, G_N_ELEMENTS(rows) };
