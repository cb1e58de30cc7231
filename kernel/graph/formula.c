/* formula.c: short functions for the operators that rules and bodies use most. */
#include "graph-private.h"

#include <tenon/ops.h>

#define TN_DEFINE_UNARY(op)                                                                        \
    TnVal tn_f_##op(TnGraph *graph, TnVal x)                                                       \
    {                                                                                              \
        return tn_graph_op(graph, #op, NULL, 1, &x, NULL);                                         \
    }
#define TN_DEFINE_BINARY(op)                                                                       \
    TnVal tn_f_##op(TnGraph *graph, TnVal a, TnVal b)                                              \
    {                                                                                              \
        return tn_graph_op(graph, #op, NULL, 2, (const TnVal[]){ a, b }, NULL);                    \
    }
TN_UNARY_FORMULAS(TN_DEFINE_UNARY)
TN_BINARY_FORMULAS(TN_DEFINE_BINARY)

TnVal
tn_f_where(TnGraph *graph, TnVal condition, TnVal a, TnVal b)
{
    return tn_graph_op(graph, "where", NULL, 3, (const TnVal[]){ condition, a, b }, NULL);
}

TnVal
tn_f_cast(TnGraph *graph, TnVal x, TnDtype to)
{
    const TnCastAttrs attrs = { (gint)to };
    return tn_graph_op(graph, "cast", &attrs, 1, &x, NULL);
}

TnVal
tn_f_const(TnGraph *graph, TnVal x, double value)
{
    const TnDtype dtype = tn_graph_type(graph, x)->dtype;
    return dtype == TN_DTYPE_NONE ? TN_VAL_NONE : tn_graph_scalar(graph, dtype, value);
}

gint
tn_f_rank(TnGraph *graph, TnVal x)
{
    return tn_graph_type(graph, x)->rank;
}

/* More axes than a list holds are more than any tensor has: infer says so. */
static TnInts
ints(gint n, const gint64 *v)
{
    TnInts list = { .n = CLAMP(n, 0, TN_MAX_LIST) };
    for (gint i = 0; i < list.n; i++) {
        list.v[i] = v[i];
    }
    return list;
}

static TnVal
reduce(TnGraph *graph, const char *op, TnVal x, gint n, const gint64 *axes, gboolean keepdims)
{
    const TnReduceAttrs attrs = { ints(n, axes), keepdims };
    return tn_graph_op(graph, op, &attrs, 1, &x, NULL);
}

TnVal
tn_f_reduce_sum(TnGraph *graph, TnVal x, gint n, const gint64 *axes, gboolean keepdims)
{
    return reduce(graph, "reduce_sum", x, n, axes, keepdims);
}

TnVal
tn_f_reduce_max(TnGraph *graph, TnVal x, gint n, const gint64 *axes, gboolean keepdims)
{
    return reduce(graph, "reduce_max", x, n, axes, keepdims);
}

TnVal
tn_f_size(TnGraph *graph, TnVal x, gint n, const gint64 *axes)
{
    const TnSizeAttrs attrs = { ints(n, axes), TN_DTYPE_NONE };
    return tn_graph_op(graph, "size", &attrs, 1, &x, NULL);
}

TnVal
tn_f_reduce_mean(TnGraph *graph, TnVal x, gint n, const gint64 *axes, gboolean keepdims)
{
    const TnVal sum = tn_f_reduce_sum(graph, x, n, axes, keepdims);
    return tn_f_div(graph, sum, tn_f_size(graph, x, n, axes));
}

TnVal
tn_f_transpose(TnGraph *graph, TnVal x, gint rank, const gint64 *perm)
{
    const TnTransposeAttrs attrs = { ints(rank, perm) };
    return tn_graph_op(graph, "transpose", &attrs, 1, &x, NULL);
}

TnVal
tn_f_transpose_matrix(TnGraph *graph, TnVal x)
{
    const gint rank = tn_f_rank(graph, x);
    gint64 perm[TN_MAX_RANK];
    if (rank < 2) {
        tn_graph_fail(graph, TN_ERROR_SHAPE, "a matrix has two axes, this value has %d", rank);
        return TN_VAL_NONE;
    }
    for (gint i = 0; i < rank; i++) {
        perm[i] = i;
    }
    perm[rank - 2] = rank - 1;
    perm[rank - 1] = rank - 2;
    return tn_f_transpose(graph, x, rank, perm);
}

TnVal
tn_f_unsqueeze(TnGraph *graph, TnVal x, gint n, const gint64 *axes)
{
    const TnAxesAttrs attrs = { ints(n, axes) };
    return n == 0 ? x : tn_graph_op(graph, "unsqueeze", &attrs, 1, &x, NULL);
}

TnVal
tn_f_squeeze(TnGraph *graph, TnVal x, gint n, const gint64 *axes)
{
    const TnAxesAttrs attrs = { ints(n, axes) };
    return tn_graph_op(graph, "squeeze", &attrs, 1, &x, NULL);
}
