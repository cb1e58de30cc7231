/* common.c: what the families share: samples from tables, messages of infer, small formulas. */
#include "nn.h"

/* --- Samples --------------------------------------------------------------------------------- */

gboolean
nn_sample_case(TnSample *sample, const NnCase *cases, guint n, gsize attrs_size)
{
    if (sample->variant >= n) {
        return FALSE;
    }
    const NnCase *row = &cases[sample->variant];
    sample->n_in = row->n_in;
    for (gint i = 0; i < row->n_in; i++) {
        const TnDtype dtype = row->dtype[i] != TN_DTYPE_NONE ? row->dtype[i] : sample->dtype;
        const gboolean absent = row->in[i].rank < 0;
        sample->in[i] = absent ? (TnType){ .dtype = TN_DTYPE_NONE }
                               : tn_type(dtype, row->in[i].rank, row->in[i].dims);
        sample->index_bound[i] = row->bound[i];
    }
    if (row->attrs != NULL) {
        memcpy(sample->attrs, row->attrs, attrs_size);
    }
    return TRUE;
}

/* --- Infer ----------------------------------------------------------------------------------- */

gboolean
nn_infer_fail(const TnInfer *infer, gint i, GError **error, const char *format, ...)
{
    g_autofree char *type = tn_type_print(&infer->in[i]);
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, TN_ERROR, TN_ERROR_SHAPE, "input '%s' %s: %s",
                tn_op_input(infer->op, i)->name, type, text);
    return FALSE;
}

gboolean
nn_infer_want(const TnInfer *infer, gint i, gint rank, const gint64 *dims, const char *of,
              GError **error)
{
    const TnType want = tn_type(infer->in[i].dtype, rank, dims);
    if (tn_type_equal(&want, &infer->in[i])) {
        return TRUE;
    }
    g_autofree char *text = tn_type_print(&want);
    return nn_infer_fail(infer, i, error, "must be %s for %s", text, of);
}

gboolean
nn_infer_fits(const TnInfer *infer, gint i, const TnType *wide, const char *of, GError **error)
{
    const TnType both[] = { *wide, infer->in[i] };
    TnType out = { .dtype = wide->dtype };
    if (tn_infer_broadcast(2, both, &out, NULL) && tn_type_equal(&out, wide)) {
        return TRUE;
    }
    g_autofree char *text = tn_type_print(wide);
    return nn_infer_fail(infer, i, error, "does not broadcast to %s %s", of, text);
}

gboolean
nn_infer_shape(TnInfer *infer, GError **error)
{
    const TnDtype dtype = infer->out[0].dtype;
    (void)error;
    infer->out[0] = infer->in[0];
    infer->out[0].dtype = dtype;
    return TRUE;
}

/* --- Graph ----------------------------------------------------------------------------------- */

TnDtype
nn_dtype(TnGraph *graph, TnVal x)
{
    return tn_val_is_none(x) ? TN_DTYPE_F32 : tn_graph_type(graph, x)->dtype;
}

TnVal
nn_to(TnGraph *graph, TnVal x, TnDtype dtype)
{
    return tn_val_is_none(x) || nn_dtype(graph, x) == dtype ? x : tn_f_cast(graph, x, dtype);
}

TnVal
nn_wide(TnGraph *graph, TnVal x)
{
    return nn_to(graph, x, nn_wider(nn_dtype(graph, x)));
}

gint
nn_range(gint from, gint to, gint64 *axes)
{
    for (gint i = from; i < to; i++) {
        axes[i - from] = i;
    }
    return MAX(to - from, 0);
}

TnVal
nn_insert(TnGraph *graph, TnVal x, gint at, gint n)
{
    gint64 axes[TN_MAX_RANK];
    return n <= 0 ? x
                  : tn_f_unsqueeze(graph, x, nn_range(at, at + MIN(n, TN_MAX_RANK), axes), axes);
}

TnVal
nn_channel(TnGraph *graph, TnVal x, gint rank)
{
    return nn_insert(graph, x, 1, rank - 2);
}

TnVal
nn_reduce_like(TnGraph *graph, TnVal x, TnVal like)
{
    return nn_to(graph, tn_f_reduce_to(graph, x, like), nn_dtype(graph, like));
}

/* log (u) x / (u - 1) with u = 1 + x: the errors of u cancel. Where u is 1 it is x. (Kahan;
 * Goldberg, "What every computer scientist should know about floating-point arithmetic", theorem
 * 4.) */
TnVal
nn_log1p(TnGraph *graph, TnVal x)
{
    const TnVal one = tn_f_const(graph, x, 1);
    const TnVal u = tn_f_add(graph, one, x);
    const TnVal back = tn_f_sub(graph, u, one);
    const TnVal exact = tn_f_equal(graph, back, x);
    const TnVal ratio = tn_f_where(graph, exact, one, tn_f_div(graph, x, back));
    const TnVal product = tn_f_mul(graph, tn_f_log(graph, u), ratio);
    return tn_f_where(graph, tn_f_equal(graph, u, one), x, product);
}

/* (u - 1) x / log (u) with u = exp (x), likewise; u - 1 where x is so far from 0 that 1 is lost
 * against u or u against 1. */
TnVal
nn_expm1(TnGraph *graph, TnVal x)
{
    const TnVal one = tn_f_const(graph, x, 1);
    const TnVal u = tn_f_exp(graph, x);
    const TnVal less = tn_f_sub(graph, u, one);
    const TnVal near = tn_f_less(graph, tn_f_abs(graph, x), one);
    const TnVal log = tn_f_log(graph, tn_f_where(graph, near, u, tn_f_const(graph, x, 2)));
    const TnVal mended = tn_f_mul(graph, less, tn_f_div(graph, x, log));
    const TnVal small = tn_f_equal(graph, u, one);
    return tn_f_where(graph, near, tn_f_where(graph, small, x, mended), less);
}

TnVal
nn_sigmoid(TnGraph *graph, TnVal x)
{
    const TnVal one = tn_f_const(graph, x, 1);
    const TnVal decay = tn_f_exp(graph, tn_f_neg(graph, x));
    return tn_f_reciprocal(graph, tn_f_add(graph, one, decay));
}

TnVal
nn_softplus(TnGraph *graph, TnVal x)
{
    const TnVal rest = nn_log1p(graph, tn_f_exp(graph, tn_f_neg(graph, tn_f_abs(graph, x))));
    return tn_f_add(graph, tn_f_max(graph, x, tn_f_const(graph, x, 0)), rest);
}
