/* pool.c: see pool.h. */
#include "pool.h"

#define WINDOW(member_, help_, ...)                                                                \
    {                                                                                              \
        .name = #member_, .type = TN_OPT_INTS,                                                     \
        .offset = G_STRUCT_OFFSET(TnPoolAttrs, window.member_), .help = (help_), ##__VA_ARGS__     \
    }
#define FROM_1 TN_RANGE_I(1, G_MAXINT32)
const TnOption nn_pool_rows[] = {
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

gboolean
nn_pool_infer(TnInfer *infer, GError **error)
{
    return pooled(infer, 0, &infer->out[0], error);
}

gboolean
nn_pool_grad_infer(TnInfer *infer, gint x, gint g, GError **error)
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

/* --- Windows --------------------------------------------------------------------------------- */

TnVal
nn_padded(TnGraph *graph, TnVal x, const TnInts *pads, double value, gint64 sign)
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

TnInts
nn_pool_own_pads(const TnPoolAttrs *attrs)
{
    TnInts pads = attrs->window.pads;
    pads.n = 2 * attrs->window.kernel_shape.n;
    return pads;
}

TnInts
nn_pool_more_pads(const TnPoolAttrs *attrs)
{
    const gint n = attrs->window.kernel_shape.n;
    TnInts pads = { .n = 2 * n };
    for (gint i = 0; i < n; i++) {
        pads.v[n + i] = more_pad(attrs, i);
    }
    return pads;
}

TnInts
nn_pool_all_pads(const TnPoolAttrs *attrs)
{
    TnInts pads = nn_pool_own_pads(attrs);
    const TnInts more = nn_pool_more_pads(attrs);
    for (gint i = 0; i < pads.n; i++) {
        pads.v[i] += more.v[i];
    }
    return pads;
}

TnVal
nn_pool_windows(TnGraph *graph, const TnPoolAttrs *attrs, TnVal x)
{
    TnWindowAttrs window = attrs->window;
    window.pads = (TnInts){ 0 };
    return nn_1(graph, "window", &window, x);
}

gint
nn_pool_axes(const TnPoolAttrs *attrs, gint64 *axes)
{
    return nn_range(-attrs->window.kernel_shape.n, 0, axes);
}

TnVal
nn_pool_scattered(TnGraph *graph, const TnPoolAttrs *attrs, TnVal values, TnVal wide,
                  const TnInts *pads)
{
    TnWindowAttrs window = attrs->window;
    window.pads = (TnInts){ 0 };
    return nn_padded(graph, nn_2(graph, "unwindow", &window, values, wide), pads, 0, -1);
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

gboolean
nn_pool_sample(TnSample *sample)
{
    const PoolCase *row = pool_case(sample);
    if (row != NULL) {
        sample->n_in = 1;
        sample->in[0] = tn_type(sample->dtype, row->x.rank, row->x.dims);
    }
    return row != NULL;
}

gboolean
nn_pool_grad_sample(TnSample *sample)
{
    const PoolCase *row = pool_case(sample);
    if (row != NULL) {
        sample->n_in = 2;
        sample->in[0] = tn_type(sample->dtype, row->x.rank, row->x.dims);
        sample->in[1] = tn_type(sample->dtype, row->g.rank, row->g.dims);
    }
    return row != NULL;
}
