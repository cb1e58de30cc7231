/* reduce.c: reductions that are made of reduce_sum and reduce_max, and softmax. */
#include "nn.h"

static const TnOption reduce_rows[] = {
    NN_ATTR(TnReduceAttrs, axes, TN_OPT_INTS, "axes that are reduced; empty: all"),
    NN_ATTR(TnReduceAttrs, keepdims, TN_OPT_BOOL, "leave reduced axes with size 1", .dflt = "true"),
};

/* x comes in C. */
typedef TnVal (*Formula)(TnGraph *graph, const TnReduceAttrs *attrs, TnVal x);

typedef struct {
    TnOp op; /* a pointer to it is one to the row */
    Formula formula;
} Reduction;

static gboolean
reduce_infer(TnInfer *infer, GError **error)
{
    const TnReduceAttrs *attrs = infer->attrs;
    const TnType *in = &infer->in[0];
    guint32 mask = attrs->axes.n == 0 ? G_MAXUINT32 : 0;
    for (gint i = 0; i < attrs->axes.n; i++) {
        gint axis;
        if (!tn_infer_axis(attrs->axes.v[i], in->rank, &axis, error)) {
            tn_error_prefix(error, "input 'x'");
            return FALSE;
        }
        if (mask & 1u << axis) {
            return nn_infer_fail(infer, 0, error, "axis %d is given twice", axis);
        }
        mask |= 1u << axis;
    }
    TnType out = { .dtype = in->dtype };
    for (gint i = 0; i < in->rank; i++) {
        if (!(mask & 1u << i)) {
            out.dims[out.rank++] = in->dims[i];
        } else if (attrs->keepdims) {
            out.dims[out.rank++] = 1;
        }
    }
    infer->out[0] = out;
    return TRUE;
}

static gboolean
reduce_body(TnBody *body, GError **error)
{
    const Reduction *row = (const Reduction *)body->op;
    TnGraph *graph = body->graph;
    (void)error;
    const TnVal y = row->formula(graph, body->attrs, nn_wide(graph, body->in[0]));
    body->out[0] = nn_to(graph, y, nn_dtype(graph, body->in[0]));
    return TRUE;
}

/* --- Formulas -------------------------------------------------------------------------------- */

static TnVal
sum(TnGraph *graph, const TnReduceAttrs *attrs, TnVal x)
{
    return tn_f_reduce_sum(graph, x, attrs->axes.n, attrs->axes.v, attrs->keepdims);
}

static TnVal
mean(TnGraph *graph, const TnReduceAttrs *attrs, TnVal x)
{
    return tn_f_div(graph, sum(graph, attrs, x), tn_f_size(graph, x, attrs->axes.n, attrs->axes.v));
}

static TnVal
l1(TnGraph *graph, const TnReduceAttrs *attrs, TnVal x)
{
    return sum(graph, attrs, tn_f_abs(graph, x));
}

static TnVal
sum_square(TnGraph *graph, const TnReduceAttrs *attrs, TnVal x)
{
    return sum(graph, attrs, tn_f_mul(graph, x, x));
}

static TnVal
l2(TnGraph *graph, const TnReduceAttrs *attrs, TnVal x)
{
    return tn_f_sqrt(graph, sum_square(graph, attrs, x));
}

static TnVal
log_sum(TnGraph *graph, const TnReduceAttrs *attrs, TnVal x)
{
    return tn_f_log(graph, sum(graph, attrs, x));
}

/* The largest over the axes, which stay; 0 where it is infinite, so that it can be taken off. No
 * gradient passes: what is taken off is added again. */
static TnVal
offset(TnGraph *graph, const TnReduceAttrs *attrs, TnVal x)
{
    const TnVal largest = tn_f_reduce_max(graph, x, attrs->axes.n, attrs->axes.v, TRUE);
    const TnVal finite = tn_f_less(graph, tn_f_abs(graph, largest), tn_f_const(graph, x, INFINITY));
    const TnVal safe = tn_f_where(graph, finite, largest, tn_f_const(graph, x, 0));
    return nn_1(graph, "stop_gradient", NULL, safe);
}

static TnVal
log_sum_exp(TnGraph *graph, const TnReduceAttrs *attrs, TnVal x)
{
    const TnVal base = offset(graph, attrs, x);
    const TnVal terms = tn_f_exp(graph, tn_f_sub(graph, x, base));
    const TnVal log = log_sum(graph, attrs, terms);
    return tn_f_add(graph, log, attrs->keepdims ? base : tn_f_reshape_as(graph, base, log));
}

/* --- Gradients worth a rule ------------------------------------------------------------------ */

/* y's gradient repeated along the reduced axes. */
static TnVal
spread(TnVjp *v, TnVal val)
{
    const TnReduceAttrs *attrs = v->attrs;
    if (!attrs->keepdims && attrs->axes.n > 0) {
        val = tn_f_unsqueeze(v->graph, val, attrs->axes.n, attrs->axes.v);
    }
    return tn_f_expand_as(v->graph, val, v->in[0]);
}

static gboolean
mean_vjp(TnVjp *v, GError **error)
{
    TnGraph *graph = v->graph;
    const TnReduceAttrs *attrs = v->attrs;
    (void)error;
    if (v->need[0] && !tn_val_is_none(v->grad_out[0])) {
        const TnVal g = nn_wide(graph, v->grad_out[0]);
        const TnVal like = nn_wide(graph, v->in[0]);
        const TnVal count = tn_f_size(graph, like, attrs->axes.n, attrs->axes.v);
        const TnVal share = nn_to(graph, tn_f_div(graph, g, count), nn_dtype(graph, v->in[0]));
        v->grad_in[0] = spread(v, share);
    }
    return TRUE;
}

/* exp (x - y) g: y is at least as large as any x, so nothing overflows. */
static gboolean
log_sum_exp_vjp(TnVjp *v, GError **error)
{
    TnGraph *graph = v->graph;
    (void)error;
    if (v->need[0] && !tn_val_is_none(v->grad_out[0])) {
        const TnVal y = nn_wide(graph, spread(v, v->out[0]));
        const TnVal g = nn_wide(graph, spread(v, v->grad_out[0]));
        const TnVal x = nn_wide(graph, v->in[0]);
        const TnVal share = tn_f_exp(graph, tn_f_sub(graph, x, y));
        v->grad_in[0] = nn_to(graph, tn_f_mul(graph, g, share), nn_dtype(graph, v->in[0]));
    }
    return TRUE;
}

/* --- Samples --------------------------------------------------------------------------------- */

#define REDUCE(keepdims_, ...) (&(const TnReduceAttrs){ NN_INTS(__VA_ARGS__), keepdims_ })
static const NnCase reduce_cases[] = {
    { 1, { NN_RANK0 } },
    { 1, { NN_SHAPE(7) } },
    { 1, { NN_SHAPE(7) }, .attrs = &(const TnReduceAttrs){ .keepdims = FALSE } },
    { 1, { NN_SHAPE(3, 5) }, .attrs = REDUCE(FALSE, 0) },
    { 1, { NN_SHAPE(3, 5) }, .attrs = REDUCE(FALSE, -1) },
    { 1, { NN_SHAPE(2, 3, 4) }, .attrs = REDUCE(FALSE, 0, 2) },
    { 1, { NN_SHAPE(2, 3, 4) }, .attrs = REDUCE(TRUE, -2) },
    { 1, { NN_SHAPE(2, 3, 2, 3) }, .attrs = REDUCE(FALSE, 3, 1) },
    { 1, { NN_SHAPE(2, 300) }, .attrs = REDUCE(FALSE, 1) },
    { 1, { NN_SHAPE(0, 3) }, .attrs = REDUCE(TRUE, 1) },
};
NN_SAMPLER(reduce_sample, reduce_cases, TnReduceAttrs)

/* --- The table ------------------------------------------------------------------------------- */

#define REDUCTION(ident, onnx_, help_, formula_, vjp_, ...)                                        \
    static const Reduction ident##_row = {                                                         \
        .op = { NN_HEAD(ident, onnx_, help_),                                                      \
                NN_IN(NN_ARG("x", 'T', TN_DTYPES_FLOAT, "any shape", ##__VA_ARGS__)),              \
                NN_OUT(NN_ARG("out", 'T', TN_DTYPES_FLOAT,                                         \
                              "without the axes, or with size 1 there")),                          \
                .attrs = TN_OPTIONS(TnReduceAttrs, reduce_rows), .infer = reduce_infer,            \
                .vjp = vjp_, .body = reduce_body, .sample = reduce_sample },                       \
        .formula = formula_,                                                                       \
    };                                                                                             \
    NN_FACTORY(ident, help_, &ident##_row.op)

REDUCTION(reduce_mean, "ReduceMean", "Mean over axes", mean, mean_vjp);
REDUCTION(reduce_l1, "ReduceL1", "Sum of absolute values over axes", l1, NULL, .kinks = { 0 },
          .n_kinks = 1, .gap = 0.1);
REDUCTION(reduce_l2, "ReduceL2", "Square root of the sum of squares over axes", l2, NULL,
          .kinks = { 0 }, .n_kinks = 1, .gap = 0.1);
REDUCTION(reduce_sum_square, "ReduceSumSquare", "Sum of squares over axes", sum_square, NULL);
REDUCTION(reduce_log_sum, "ReduceLogSum", "Logarithm of the sum over axes", log_sum, NULL,
          .lo = 0.2, .hi = 2);
REDUCTION(reduce_log_sum_exp, "ReduceLogSumExp", "Logarithm of the sum of exponentials over axes",
          log_sum_exp, log_sum_exp_vjp);
