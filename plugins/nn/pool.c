/* pool.c: max and average over windows of the spatial axes, and over all of them. */
#include "nn.h"

#define WINDOW(member_, help_, ...)                                                                \
    {                                                                                              \
        .name = #member_, .type = TN_OPT_INTS,                                                     \
        .offset = G_STRUCT_OFFSET(TnPoolAttrs, window.member_), .help = (help_), ##__VA_ARGS__     \
    }
#define FROM_1 TN_RANGE_I(1, G_MAXINT32)
static const TnOption pool_rows[] = {
    WINDOW(kernel_shape, "sizes of the window", FROM_1, .flags = TN_OPTION_REQUIRED, .min_items = 1,
           .max_items = 3),
    WINDOW(strides, "steps of the window; empty: 1", FROM_1),
    WINDOW(pads, "places around x: begins, then ends; empty: 0", TN_RANGE_I(0, G_MAXINT32)),
    WINDOW(dilations, "distances within the window; empty: 1", FROM_1),
    NN_ATTR(TnPoolAttrs, ceil_mode, TN_OPT_BOOL, "round the number of windows up", .dflt = "false"),
    NN_ATTR(TnPoolAttrs, count_include_pad, TN_OPT_BOOL, "averages count the padding",
            .dflt = "false"),
};

/* --- Infer ----------------------------------------------------------------------------------- */

static gboolean
check_attrs(const TnInfer *infer, gint input, gint n, GError **error)
{
    const TnWindowAttrs *window = &((const TnPoolAttrs *)infer->attrs)->window;
    if (n != infer->in[input].rank - 2 || (window->strides.n != 0 && window->strides.n != n) ||
        (window->dilations.n != 0 && window->dilations.n != n) ||
        (window->pads.n != 0 && window->pads.n != 2 * n)) {
        return nn_infer_fail(infer, input, error,
                             "kernel_shape, strides, dilations and pads have %d, %d, %d and %d "
                             "sizes; a window over its %d spatial axes has that many, and twice as "
                             "many pads",
                             n, window->strides.n, window->dilations.n, window->pads.n,
                             infer->in[input].rank - 2);
    }
    return TRUE;
}

/* What ceil_mode adds behind the user's pads of an axis: enough for one window more, but not for one
 * that would begin behind the input, in the padding at its end. */
static gint64
more_pad(const TnPoolAttrs *attrs, gint i)
{
    const TnConvAxis axis = tn_window_axis(&attrs->window, i);
    const gint64 span = axis.dilation * (attrs->window.kernel_shape.v[i] - 1);
    return attrs->ceil_mode ? MIN(axis.stride - 1, span - axis.pad_end) : 0;
}

/* Windows over spatial axis i of size `size`. */
static gboolean
count_windows(const TnInfer *infer, gint input, gint i, gint64 size, gint64 *count, GError **error)
{
    const TnPoolAttrs *attrs = infer->attrs;
    const TnConvAxis axis = tn_window_axis(&attrs->window, i);
    const gint64 reach = axis.dilation * (attrs->window.kernel_shape.v[i] - 1) + 1;
    const gint64 slack = size + axis.pad_begin + axis.pad_end - reach;
    if (axis.pad_begin >= reach || axis.pad_end >= reach) {
        return nn_infer_fail(infer, input, error,
                             "spatial axis %d: pads must be smaller than the window, which spans "
                             "%" G_GINT64_FORMAT,
                             i, reach);
    }
    if (slack < 0) {
        return nn_infer_fail(infer, input, error,
                             "spatial axis %d of size %" G_GINT64_FORMAT
                             " with its pads is shorter than the window, which spans "
                             "%" G_GINT64_FORMAT,
                             i, size, reach);
    }
    *count = (slack + more_pad(attrs, i)) / axis.stride + 1;
    return TRUE;
}

/* The type of a pooled input `input`. */
static gboolean
pooled(const TnInfer *infer, gint input, TnType *out, GError **error)
{
    const gint n = ((const TnPoolAttrs *)infer->attrs)->window.kernel_shape.n;
    if (!check_attrs(infer, input, n, error)) {
        return FALSE;
    }
    *out = infer->in[input];
    for (gint i = 0; i < n; i++) {
        if (!count_windows(infer, input, i, infer->in[input].dims[2 + i], &out->dims[2 + i],
                           error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
pool_infer(TnInfer *infer, GError **error)
{
    return pooled(infer, 0, &infer->out[0], error);
}

static gboolean
grad_infer(TnInfer *infer, gint x, gint g, GError **error)
{
    TnType want;
    if (!pooled(infer, x, &want, error) ||
        !nn_infer_want(infer, g, want.rank, want.dims, "the windows of the other input", error)) {
        return FALSE;
    }
    infer->out[0] = infer->in[x];
    infer->out[0].dtype = infer->in[g].dtype;
    return TRUE;
}

static gboolean
max_pool_grad_infer(TnInfer *infer, GError **error)
{
    return grad_infer(infer, 0, 1, error);
}

static gboolean
average_pool_grad_infer(TnInfer *infer, GError **error)
{
    return grad_infer(infer, 1, 0, error);
}

static gboolean
global_infer(TnInfer *infer, GError **error)
{
    (void)error;
    infer->out[0] = infer->in[0];
    for (gint i = 2; i < infer->in[0].rank; i++) {
        infer->out[0].dims[i] = 1;
    }
    return TRUE;
}

/* --- Bodies ---------------------------------------------------------------------------------- */

/* x with places before and after its spatial axes. sign -1 takes them off again. */
static TnVal
padded(TnGraph *graph, TnVal x, const TnInts *pads, double value, gint64 sign)
{
    const gint n = pads->n / 2;
    TnPadAttrs attrs = { .value = value, .pads = *pads };
    gboolean any = FALSE;
    attrs.axes.n = nn_range(2, 2 + n, attrs.axes.v);
    for (gint i = 0; i < pads->n; i++) {
        attrs.pads.v[i] *= sign;
        any |= pads->v[i] != 0;
    }
    return any ? nn_1(graph, "pad", &attrs, x) : x;
}

/* The user's pads, made explicit. */
static TnInts
own_pads(const TnPoolAttrs *attrs)
{
    TnInts pads = attrs->window.pads;
    pads.n = 2 * attrs->window.kernel_shape.n;
    return pads;
}

/* What ceil_mode adds behind them: `window` takes as many windows as fit. */
static TnInts
more_pads(const TnPoolAttrs *attrs)
{
    const gint n = attrs->window.kernel_shape.n;
    TnInts pads = { .n = 2 * n };
    for (gint i = 0; i < n; i++) {
        pads.v[n + i] = more_pad(attrs, i);
    }
    return pads;
}

static TnInts
all_pads(const TnPoolAttrs *attrs)
{
    TnInts pads = own_pads(attrs);
    const TnInts more = more_pads(attrs);
    for (gint i = 0; i < pads.n; i++) {
        pads.v[i] += more.v[i];
    }
    return pads;
}

static gboolean
has_pads(const TnInts *pads)
{
    for (gint i = 0; i < pads->n; i++) {
        if (pads->v[i] != 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static TnVal
windows(TnGraph *graph, const TnPoolAttrs *attrs, TnVal x)
{
    TnWindowAttrs window = attrs->window;
    window.pads = (TnInts){ 0 };
    return nn_1(graph, "window", &window, x);
}

/* The n last axes: those within the windows. */
static gint
last_axes(const TnPoolAttrs *attrs, gint64 *axes)
{
    return nn_range(-attrs->window.kernel_shape.n, 0, axes);
}

static gboolean
max_pool_body(TnBody *body, GError **error)
{
    const TnPoolAttrs *attrs = body->attrs;
    TnGraph *graph = body->graph;
    const TnInts pads = all_pads(attrs);
    gint64 axes[TN_MAX_RANK];
    (void)error;
    const TnDtype dtype = nn_dtype(graph, body->in[0]);
    const double lowest = dtype == TN_DTYPE_U8 ? 0 : dtype == TN_DTYPE_I8 ? -128 : -INFINITY;
    const TnVal wide = padded(graph, body->in[0], &pads, lowest, 1);
    const TnVal view = windows(graph, attrs, wide);
    body->out[0] = tn_f_reduce_max(graph, view, last_axes(attrs, axes), axes, FALSE);
    return TRUE;
}

/* Values of the windows back into their places, overlapping ones added, the padding taken off. */
static TnVal
scattered(TnGraph *graph, const TnPoolAttrs *attrs, TnVal values, TnVal wide, const TnInts *pads)
{
    TnWindowAttrs window = attrs->window;
    window.pads = (TnInts){ 0 };
    return padded(graph, nn_2(graph, "unwindow", &window, values, wide), pads, 0, -1);
}

/* [lead…, o…, k…] with the axes of a window as one. */
static TnVal
flat_windows(TnGraph *graph, const TnPoolAttrs *attrs, TnVal view)
{
    const TnInts *kernel = &attrs->window.kernel_shape;
    TnReshapeAttrs shape = { .shape = { .rank = 2 + kernel->n + 1 } };
    gint64 count = 1;
    for (gint i = 0; i < kernel->n; i++) {
        count *= kernel->v[i];
    }
    shape.shape.dims[2 + kernel->n] = count;
    return nn_1(graph, "reshape", &shape, view);
}

static gboolean
max_pool_grad_body(TnBody *body, GError **error)
{
    const TnPoolAttrs *attrs = body->attrs;
    TnGraph *graph = body->graph;
    const TnInts pads = all_pads(attrs);
    const TnArgReduceAttrs first = { .axis = -1, .keepdims = TRUE };
    const TnIotaAttrs along = { .axis = -1, .dtype = TN_DTYPE_I64 };
    const TnAxesAttrs end = { .axes = NN_INTS(-1) };
    (void)error;
    const TnVal wide = padded(graph, body->in[0], &pads, -INFINITY, 1);
    const TnVal view = windows(graph, attrs, wide);
    const TnVal flat = flat_windows(graph, attrs, view);
    const TnVal best = nn_1(graph, "argmax", &first, flat);
    const TnVal hit = tn_f_equal(graph, best, nn_1(graph, "iota", &along, flat));
    const TnVal g = nn_1(graph, "unsqueeze", &end, nn_wide(graph, body->in[1]));
    const TnVal share = tn_f_where(graph, hit, g, tn_f_const(graph, g, 0));
    const TnVal values = tn_f_reshape_as(graph, share, view);
    const TnVal grad = scattered(graph, attrs, values, wide, &pads);
    body->out[0] = nn_to(graph, grad, nn_dtype(graph, body->in[1]));
    return TRUE;
}

/* What each average divides by, in `dtype`: a constant, or [1, 1, o…] where windows differ. x
 * gives sizes only. */
static TnVal
divisor(TnGraph *graph, const TnPoolAttrs *attrs, TnVal x, TnDtype dtype)
{
    const TnInts own = own_pads(attrs);
    const TnInts more = more_pads(attrs);
    gint64 axes[TN_MAX_RANK];
    if (!has_pads(&more) && (attrs->count_include_pad || !has_pads(&own))) {
        double count = 1;
        for (gint i = 0; i < attrs->window.kernel_shape.n; i++) {
            count *= (double)attrs->window.kernel_shape.v[i];
        }
        return tn_graph_scalar(graph, dtype, count);
    }
    const TnSliceAttrs one = { .starts = NN_INTS(0, 0),
                               .ends = NN_INTS(1, 1),
                               .axes = NN_INTS(0, 1) };
    const TnFullLikeAttrs full = { 1, (gint)dtype };
    TnVal ones = nn_1(graph, "slice", &one, nn_1(graph, "full_like", &full, x));
    ones = padded(graph, ones, &own, attrs->count_include_pad ? 1 : 0, 1);
    ones = windows(graph, attrs, padded(graph, ones, &more, 0, 1));
    return tn_f_reduce_sum(graph, ones, last_axes(attrs, axes), axes, FALSE);
}

static gboolean
average_pool_body(TnBody *body, GError **error)
{
    const TnPoolAttrs *attrs = body->attrs;
    TnGraph *graph = body->graph;
    const TnVal x = nn_wide(graph, body->in[0]);
    const TnInts pads = all_pads(attrs);
    gint64 axes[TN_MAX_RANK];
    (void)error;
    const TnVal view = windows(graph, attrs, padded(graph, x, &pads, 0, 1));
    const TnVal sum = tn_f_reduce_sum(graph, view, last_axes(attrs, axes), axes, FALSE);
    const TnVal y = tn_f_div(graph, sum, divisor(graph, attrs, x, nn_dtype(graph, x)));
    body->out[0] = nn_to(graph, y, nn_dtype(graph, body->in[0]));
    return TRUE;
}

static gboolean
average_pool_grad_body(TnBody *body, GError **error)
{
    const TnPoolAttrs *attrs = body->attrs;
    TnGraph *graph = body->graph;
    const TnVal g = nn_wide(graph, body->in[0]);
    const TnInts pads = all_pads(attrs);
    gint64 axes[TN_MAX_RANK];
    (void)error;
    const TnVal share = tn_f_div(graph, g, divisor(graph, attrs, body->in[1], nn_dtype(graph, g)));
    const TnFullLikeAttrs zeros = { 0, (gint)nn_dtype(graph, g) };
    const TnVal like = nn_1(graph, "full_like", &zeros, body->in[1]);
    const TnVal wide = padded(graph, like, &pads, 0, 1);
    const TnVal column = tn_f_unsqueeze(graph, share, last_axes(attrs, axes), axes);
    const TnVal values = tn_f_expand_as(graph, column, windows(graph, attrs, wide));
    const TnVal grad = scattered(graph, attrs, values, wide, &pads);
    body->out[0] = nn_to(graph, grad, nn_dtype(graph, body->in[0]));
    return TRUE;
}

static gboolean
global_average_pool_body(TnBody *body, GError **error)
{
    TnGraph *graph = body->graph;
    const TnVal x = nn_wide(graph, body->in[0]);
    gint64 axes[TN_MAX_RANK];
    const gint n = nn_range(2, tn_f_rank(graph, x), axes);
    (void)error;
    const TnVal y = tn_f_reduce_mean(graph, x, n, axes, TRUE);
    body->out[0] = nn_to(graph, y, nn_dtype(graph, body->in[0]));
    return TRUE;
}

static gboolean
global_max_pool_body(TnBody *body, GError **error)
{
    gint64 axes[TN_MAX_RANK];
    const gint n = nn_range(2, tn_f_rank(body->graph, body->in[0]), axes);
    (void)error;
    body->out[0] = tn_f_reduce_max(body->graph, body->in[0], n, axes, TRUE);
    return TRUE;
}

/* --- Gradients ------------------------------------------------------------------------------- */

static gboolean
max_pool_vjp(TnVjp *v, GError **error)
{
    (void)error;
    if (v->need[0] && !tn_val_is_none(v->grad_out[0])) {
        v->grad_in[0] = nn_2(v->graph, "max_pool_grad", v->attrs, v->in[0], v->grad_out[0]);
    }
    return TRUE;
}

static gboolean
average_pool_vjp(TnVjp *v, GError **error)
{
    (void)error;
    if (v->need[0] && !tn_val_is_none(v->grad_out[0])) {
        v->grad_in[0] = nn_2(v->graph, "average_pool_grad", v->attrs, v->grad_out[0], v->in[0]);
    }
    return TRUE;
}

/* --- Samples --------------------------------------------------------------------------------- */

typedef struct {
    TnShape x, g;
    TnPoolAttrs attrs;
} PoolCase;

static const PoolCase pool_cases[] = {
    { NN_SHAPE(1, 1, 4), NN_SHAPE(1, 1, 3), { { NN_INTS(2), { 0 }, { 0 }, { 0 } }, FALSE, FALSE } },
    { NN_SHAPE(2, 3, 4, 6),
      NN_SHAPE(2, 3, 2, 3),
      { { NN_INTS(2, 2), NN_INTS(2, 2), { 0 }, { 0 } }, FALSE, FALSE } },
    { NN_SHAPE(2, 2, 5, 6),
      NN_SHAPE(2, 2, 3, 3),
      { { NN_INTS(3, 2), NN_INTS(2, 2), NN_INTS(1, 0, 1, 0), { 0 } }, FALSE, FALSE } },
    { NN_SHAPE(2, 2, 5, 6),
      NN_SHAPE(2, 2, 3, 6),
      { { NN_INTS(3, 2), NN_INTS(2, 1), NN_INTS(1, 1, 1, 0), { 0 } }, FALSE, TRUE } },
    { NN_SHAPE(1, 2, 6, 5),
      NN_SHAPE(1, 2, 3, 2),
      { { NN_INTS(3, 2), NN_INTS(2, 2), { 0 }, NN_INTS(1, 2) }, TRUE, FALSE } },
    { NN_SHAPE(1, 2, 6, 6),
      NN_SHAPE(1, 2, 4, 4),
      { { NN_INTS(3, 3), NN_INTS(2, 2), NN_INTS(1, 1, 1, 1), { 0 } }, TRUE, TRUE } },
    { NN_SHAPE(1, 2, 5, 3),
      NN_SHAPE(1, 2, 2, 2),
      { { NN_INTS(2, 2), NN_INTS(3, 2), NN_INTS(1, 1, 1, 1), { 0 } }, TRUE, TRUE } },
    { NN_SHAPE(1, 1, 3, 4, 4),
      NN_SHAPE(1, 1, 2, 2, 3),
      { { NN_INTS(2, 2, 2), NN_INTS(1, 2, 1), { 0 }, { 0 } }, FALSE, FALSE } },
    /* As the pass `layout` has them: 16 samples are the last axis. */
    { NN_SHAPE(1, 1, 3, 4, 16),
      NN_SHAPE(1, 1, 1, 2, 16),
      { { NN_INTS(2, 2, 1), NN_INTS(2, 2, 1), { 0 }, { 0 } }, FALSE, FALSE } },
    { NN_SHAPE(1, 1, 3, 3, 16),
      NN_SHAPE(1, 1, 3, 2, 16),
      { { NN_INTS(3, 2, 1), NN_INTS(1, 2, 1), NN_INTS(1, 0, 0, 1, 1, 0), NN_INTS(1, 1, 1) },
        FALSE,
        TRUE } },
    { NN_SHAPE(0, 2, 4),
      NN_SHAPE(0, 2, 2),
      { { NN_INTS(2), NN_INTS(2), { 0 }, { 0 } }, FALSE, FALSE } },
};

static const PoolCase *
pool_case(TnSample *sample)
{
    if (sample->variant >= G_N_ELEMENTS(pool_cases)) {
        return NULL;
    }
    const PoolCase *row = &pool_cases[sample->variant];
    *(TnPoolAttrs *)sample->attrs = row->attrs;
    return row;
}

static gboolean
pool_sample(TnSample *sample)
{
    const PoolCase *row = pool_case(sample);
    if (row != NULL) {
        sample->n_in = 1;
        sample->in[0] = tn_type(sample->dtype, row->x.rank, row->x.dims);
    }
    return row != NULL;
}

static gboolean
max_pool_grad_sample(TnSample *sample)
{
    const PoolCase *row = pool_case(sample);
    if (row != NULL) {
        sample->n_in = 2;
        sample->in[0] = tn_type(sample->dtype, row->x.rank, row->x.dims);
        sample->in[1] = tn_type(sample->dtype, row->g.rank, row->g.dims);
    }
    return row != NULL;
}

static gboolean
average_pool_grad_sample(TnSample *sample)
{
    const gboolean ok = max_pool_grad_sample(sample);
    const TnType x = sample->in[0];
    sample->in[0] = sample->in[1];
    sample->in[1] = x;
    return ok;
}

static const NnCase global_cases[] = {
    { 1, { NN_SHAPE(1, 1, 1) } },    { 1, { NN_SHAPE(2, 3, 5) } },
    { 1, { NN_SHAPE(2, 3, 4, 5) } }, { 1, { NN_SHAPE(1, 2, 2, 3, 2) } },
    { 1, { NN_SHAPE(0, 2, 3) } },
};
NN_SAMPLER(global_sample, global_cases, char)

/* --- Rectified maxima ------------------------------------------------------------------------- */

/* What a rectifier's result was made of: max (x, c) of a number c. */
static gboolean
rectified(const TnSimplify *s, TnVal val, TnVal *x, double *c)
{
    const TnVal *relu = tn_simplify_inputs(s, val, "relu");
    const TnVal *max = tn_simplify_inputs(s, val, "max");
    *c = 0;
    if (relu != NULL) {
        *x = relu[0];
        return TRUE;
    }
    for (gint i = 0; max != NULL && i < 2; i++) {
        *x = max[i];
        if (tn_simplify_splat(s, max[1 - i], c)) {
            return tn_type_equal(tn_graph_type(s->graph, *x), tn_graph_type(s->graph, val));
        }
    }
    return FALSE;
}

/* Whether each window holds an element: else its maximum is -inf. */
static gboolean
sees_something(const TnPoolAttrs *attrs)
{
    const TnInts *pads = &attrs->window.pads;
    const gint n = attrs->window.kernel_shape.n;
    for (gint i = 0; i < pads->n; i++) {
        if (pads->v[i] > 0 && (pads->v[i] >= attrs->window.kernel_shape.v[i % n] ||
                               tn_window_axis(&attrs->window, i % n).dilation > 1)) {
            return FALSE;
        }
    }
    return !attrs->ceil_mode;
}

/* The largest of narrow numbers is the largest of what they were widened to, where a device takes them
 * as they are stored. */
static TnVal
max_pool_of_narrow(TnSimplify *s)
{
    const TnVal *cast = tn_simplify_inputs(s, s->in[0], "cast");
    if (cast == NULL || !tn_simplify_sole(s, 0)) {
        return TN_VAL_NONE;
    }
    const TnVal x = cast[0];
    const TnDtype wide = s->type->dtype, narrow = tn_graph_type(s->graph, x)->dtype;
    if (wide != TN_DTYPE_F32 || (narrow != TN_DTYPE_BF16 && narrow != TN_DTYPE_F16) ||
        !tn_simplify_has_kernel(s, "max_pool", s->attrs, 1, &x)) {
        return TN_VAL_NONE;
    }
    const TnVal best = tn_simplify_add(s, "max_pool", s->attrs, 1, &x);
    return tn_simplify_add(s, "cast", &(const TnCastAttrs){ wide }, 1, &best);
}

/* max (max_pool (x), c), as rectified says of val: max (x, c). */
static TnVal
rectified_max_pool(TnSimplify *s, const TnPoolAttrs *attrs, TnVal val, TnVal x)
{
    const TnVal *max = tn_simplify_inputs(s, val, "max");
    const TnVal number = max == NULL ? TN_VAL_NONE : tn_val_equal(max[0], x) ? max[1] : max[0];
    if (max != NULL && tn_graph_type(s->graph, number)->rank > 0) {
        return TN_VAL_NONE;
    }
    const TnVal in[] = { tn_simplify_add(s, "max_pool", attrs, 1, &x), number };
    return tn_simplify_add(s, max != NULL ? "max" : "relu", NULL, max != NULL ? 2 : 1, in);
}

/* max_pool (max (x, c)) is max (max_pool (x), c), of fewer elements. */
static TnVal
max_pool_simplify(TnSimplify *s)
{
    TnVal x;
    double c;
    if (s->of < 0 && !rectified(s, s->in[0], &x, &c)) {
        return max_pool_of_narrow(s);
    }
    if (s->of >= 0 || !rectified(s, s->in[0], &x, &c) || !sees_something(s->attrs)) {
        return TN_VAL_NONE;
    }
    return rectified_max_pool(s, s->attrs, s->in[0], x);
}

/* where (x > c, max_pool_grad (max (x, c), g), 0), or with max (x, c) > c: a window whose maximum is not
 * above c gives nothing, the others' maxima are x's. So it is max_pool_grad (x, where (y > c, g, 0)) with
 * y = max (max_pool (x), c), which the forward pass keeps: the rectified images are not needed, and the
 * choice is among fewer elements. */
static TnVal
max_pool_grad_simplify(TnSimplify *s)
{
    double c, other, zero;
    TnVal x;
    if (s->of != 1 || strcmp(s->op->name, "where") != 0 || !tn_simplify_splat(s, s->in[2], &zero) ||
        zero != 0 || tn_graph_type(s->graph, s->in[2])->rank > 0) {
        return TN_VAL_NONE;
    }
    const TnVal *grad = tn_simplify_inputs(s, s->in[1], "max_pool_grad");
    const TnVal *above = tn_simplify_inputs(s, s->in[0], "greater");
    const TnPoolAttrs *attrs = tn_graph_node_attrs(s->graph, s->in[1].node);
    if (above == NULL || !rectified(s, grad[0], &x, &c) ||
        !(tn_val_equal(above[0], x) || tn_val_equal(above[0], grad[0])) ||
        !tn_simplify_splat(s, above[1], &other) || other != c ||
        tn_graph_type(s->graph, above[1])->rank > 0 || !sees_something(attrs)) {
        return TN_VAL_NONE;
    }
    const TnVal g = grad[1], number = above[1];
    const TnVal best[] = { rectified_max_pool(s, attrs, grad[0], x), number };
    if (tn_val_is_none(best[0])) {
        return TN_VAL_NONE;
    }
    const TnVal some[] = { tn_simplify_add(s, "greater", NULL, 2, best), g, s->in[2] };
    const TnVal in[] = { x, tn_simplify_add(s, "where", NULL, 3, some) };
    return tn_simplify_add(s, "max_pool_grad", attrs, 2, in);
}

/* --- The table ------------------------------------------------------------------------------- */

#define IMAGES(name_, dtypes_, help_)                                                              \
    NN_ARG(name_, 'T', dtypes_, help_, NN_RANK(3, 5), .flags = TN_ARG_SPATIAL)
#define Y_ROW(name_, help_) IMAGES(name_, TN_DTYPES_FLOAT, help_)
#define X_ROW(help_) Y_ROW("x", help_)
#define MAX_DTYPES (TN_DTYPES_FLOAT | TN_DT(U8) | TN_DT(I8))
#define ATTRS .attrs = TN_OPTIONS(TnPoolAttrs, pool_rows)

NN_OP(max_pool, "MaxPool", "Largest of each window", NN_IN(IMAGES("x", MAX_DTYPES, "[N, C, s…]")),
      NN_OUT(IMAGES("out", MAX_DTYPES, "[N, C, o…]")), ATTRS, .infer = pool_infer,
      .vjp = max_pool_vjp, .body = max_pool_body, .sample = pool_sample,
      .simplify = max_pool_simplify);
NN_OP(max_pool_grad, NULL, "Gradient of max_pool: to the first largest of each window",
      NN_IN(X_ROW("[N, C, s…]"), Y_ROW("g", "[N, C, o…]")), NN_OUT(Y_ROW("out", "x's shape")),
      ATTRS, .infer = max_pool_grad_infer, .body = max_pool_grad_body,
      .sample = max_pool_grad_sample, .simplify = max_pool_grad_simplify, .in_place = 1);
NN_OP(average_pool, "AveragePool", "Mean of each window", NN_IN(X_ROW("[N, C, s…]")),
      NN_OUT(Y_ROW("out", "[N, C, o…]")), ATTRS, .infer = pool_infer, .vjp = average_pool_vjp,
      .body = average_pool_body, .sample = pool_sample);
NN_OP(average_pool_grad, NULL, "Gradient of average_pool",
      NN_IN(Y_ROW("g", "[N, C, o…]"),
            NN_ARG("like", 0, TN_DTYPES_ALL, "[N, C, s…]", NN_RANK(3, 5),
                   .flags = TN_ARG_SHAPE | TN_ARG_NO_GRAD | TN_ARG_SPATIAL)),
      NN_OUT(Y_ROW("out", "like's shape")), ATTRS, .infer = average_pool_grad_infer,
      .body = average_pool_grad_body, .sample = average_pool_grad_sample);
NN_OP(global_average_pool, "GlobalAveragePool", "Mean over all spatial axes",
      NN_IN(NN_ARG("x", 'T', TN_DTYPES_FLOAT, "[N, C, s…]", NN_RANK(3, TN_MAX_RANK))),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "[N, C, 1…]")), .infer = global_infer,
      .body = global_average_pool_body, .sample = global_sample);
NN_OP(global_max_pool, "GlobalMaxPool", "Largest over all spatial axes",
      NN_IN(NN_ARG("x", 'T', TN_DTYPES_FLOAT, "[N, C, s…]", NN_RANK(3, TN_MAX_RANK))),
      NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT, "[N, C, 1…]")), .infer = global_infer,
      .body = global_max_pool_body, .sample = global_sample);
