/* reduce.c: reductions over axes, positions of extremes, cumulative sums, reduce_to. Each output
 * element walks the reduced axes of its input in row-major order. A sum of one element is that element:
 * -0 stays -0, so that the compiler may leave it out. */
#include "ref.h"

#include <math.h>

/* An input seen as (kept axes) x (reduced axes). */
typedef struct {
    gint n_kept, n_reduced;
    gint64 kept[TN_MAX_RANK], reduced[TN_MAX_RANK];
    gint64 kept_strides[TN_MAX_RANK], reduced_strides[TN_MAX_RANK];
} Split;

static Split
split_axes(const TnArg *in, guint32 mask)
{
    Split split = { 0 };
    for (gint i = 0; i < in->type.rank; i++) {
        if (mask >> i & 1) {
            split.reduced[split.n_reduced] = in->type.dims[i];
            split.reduced_strides[split.n_reduced++] = in->strides[i];
        } else {
            split.kept[split.n_kept] = in->type.dims[i];
            split.kept_strides[split.n_kept++] = in->strides[i];
        }
    }
    return split;
}

static gint64
count(gint rank, const gint64 *dims)
{
    gint64 n = 1;
    for (gint i = 0; i < rank; i++) {
        n *= dims[i];
    }
    return n;
}

typedef enum { SUM, PROD, MAXIMUM, MINIMUM } Kind;

static void
begin(Kind kind, TnDtype dtype, double *f, RefValue *v)
{
    const TnDtypeInfo *info = tn_dtype_info(dtype);
    guint shift = 64 - MIN(info->bits, 64);
    *f = kind == SUM ? 0 : kind == PROD ? 1 : kind == MAXIMUM ? -INFINITY : INFINITY;
    if (kind == SUM || kind == PROD) {
        v->u64 = kind == PROD;
    } else if (info->klass == TN_CLASS_INT) {
        v->i64 = kind == MAXIMUM ? G_MININT64 >> shift : G_MAXINT64 >> shift;
    } else if (info->klass == TN_CLASS_BOOL) {
        v->u64 = kind == MINIMUM;
    } else {
        v->u64 = kind == MAXIMUM ? 0 : G_MAXUINT64 >> shift;
    }
}

static double
fold_float(Kind kind, double acc, double x)
{
    switch (kind) {
    case SUM: return acc + x;
    case PROD: return acc * x;
    case MAXIMUM: return isnan(acc) || acc > x ? acc : x;
    default: return isnan(acc) || acc < x ? acc : x;
    }
}

static RefValue
fold_int(Kind kind, gboolean is_signed, RefValue acc, RefValue x)
{
    gboolean less = is_signed ? acc.i64 < x.i64 : acc.u64 < x.u64;
    switch (kind) {
    case SUM: return (RefValue){ .u64 = acc.u64 + x.u64 };
    case PROD: return (RefValue){ .u64 = acc.u64 * x.u64 };
    case MAXIMUM: return less ? x : acc;
    default: return less ? acc : x;
    }
}

/* One output element: in points at its first input element. */
static void
fold(Kind kind, const Split *split, TnDtype dtype, const void *in, gint64 base, void *out,
     gint64 at)
{
    double f;
    RefValue v;
    gboolean is_float = ref_is_float(dtype);
    gboolean is_signed = tn_dtype_info(dtype)->klass == TN_CLASS_INT;
    gint64 index[TN_MAX_RANK] = { 0 };
    begin(kind, dtype, &f, &v);
    const gint64 n = count(split->n_reduced, split->reduced);
    if (kind == SUM && n == 1) {
        f = -0.0;
    }
    if (n > 0) {
        do {
            gint64 from = base + ref_dot(split->n_reduced, index, split->reduced_strides);
            if (is_float) {
                f = fold_float(kind, f, ref_load_double(dtype, in, from));
            } else {
                v = fold_int(kind, is_signed, v, ref_load(dtype, in, from));
            }
        } while (ref_next(split->n_reduced, split->reduced, index));
    }
    ref_store_sum(dtype, out, at, f, v.u64);
}

static TnStatus
reduce(const RefNode *node, const TnRun *run, Kind kind, guint32 mask)
{
    const TnArg *in = &node->in[0];
    Split split = split_axes(in, mask);
    gint64 index[TN_MAX_RANK] = { 0 };
    for (gint64 i = 0; i < node->out[0].count; i++) {
        gint64 base = ref_dot(split.n_kept, index, split.kept_strides);
        fold(kind, &split, in->type.dtype, run->in[0], base, run->out[0], i);
        ref_next(split.n_kept, split.kept, index);
    }
    return TN_OK;
}

static TnStatus
run_reduce(const RefNode *node, const TnRun *run, Kind kind)
{
    const TnReduceAttrs *attrs = node->attrs;
    return reduce(node, run, kind, tn_axes_mask(&attrs->axes, node->in[0].type.rank));
}

static TnStatus
run_sum(void *state, const TnRun *run)
{
    return run_reduce(state, run, SUM);
}

static TnStatus
run_prod(void *state, const TnRun *run)
{
    return run_reduce(state, run, PROD);
}

static TnStatus
run_max(void *state, const TnRun *run)
{
    return run_reduce(state, run, MAXIMUM);
}

static TnStatus
run_min(void *state, const TnRun *run)
{
    return run_reduce(state, run, MINIMUM);
}

/* Sums over every axis in which out has size 1 or no axis at all. */
static TnStatus
run_reduce_to(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnType *in = &node->in[0].type, *out = &node->out[0].type;
    gint lead = in->rank - out->rank;
    guint32 mask = 0;
    for (gint i = 0; i < in->rank; i++) {
        if (i < lead || out->dims[i - lead] == 1) {
            mask |= 1u << i;
        }
    }
    return reduce(node, run, SUM, mask);
}

/* Whether x (at a later place) takes the place of best. NaN beats everything and the first NaN
 * stays. */
static gboolean
beats(TnDtype dtype, RefValue x, RefValue best, gboolean want_max, gboolean last)
{
    const TnDtypeInfo *info = tn_dtype_info(dtype);
    gint order;
    if (info->klass == TN_CLASS_FLOAT) {
        double a = info->compute == TN_COMPUTE_F32 ? (double)x.f32 : x.f64;
        double b = info->compute == TN_COMPUTE_F32 ? (double)best.f32 : best.f64;
        if (isnan(a) || isnan(b)) {
            return isnan(a) && (!isnan(b) || last);
        }
        order = (a > b) - (a < b);
    } else if (info->klass == TN_CLASS_INT) {
        order = (x.i64 > best.i64) - (x.i64 < best.i64);
    } else {
        order = (x.u64 > best.u64) - (x.u64 < best.u64);
    }
    return order == 0 ? last : (order > 0) == want_max;
}

static void
arg_reduce(const RefNode *node, const TnRun *run, gboolean want_max)
{
    const TnArgReduceAttrs *attrs = node->attrs;
    const TnArg *in = &node->in[0];
    gint rank = in->type.rank;
    gint axis = (gint)(attrs->axis < 0 ? attrs->axis + rank : attrs->axis);
    Split split = split_axes(in, rank > 0 ? 1u << axis : 0);
    gint64 n = rank > 0 ? in->type.dims[axis] : 1;
    gint64 index[TN_MAX_RANK] = { 0 };
    for (gint64 i = 0; i < node->out[0].count; i++) {
        gint64 base = ref_dot(split.n_kept, index, split.kept_strides), best_at = 0;
        RefValue best = ref_load(in->type.dtype, run->in[0], base);
        for (gint64 k = 1; k < n; k++) {
            RefValue x = ref_load(in->type.dtype, run->in[0], base + k * split.reduced_strides[0]);
            if (beats(in->type.dtype, x, best, want_max, attrs->select_last_index)) {
                best = x;
                best_at = k;
            }
        }
        ((gint64 *)run->out[0])[i] = best_at;
        ref_next(split.n_kept, split.kept, index);
    }
}

static TnStatus
run_argmax(void *state, const TnRun *run)
{
    arg_reduce(state, run, TRUE);
    return TN_OK;
}

static TnStatus
run_argmin(void *state, const TnRun *run)
{
    arg_reduce(state, run, FALSE);
    return TN_OK;
}

static TnStatus
run_cumsum(void *state, const TnRun *run)
{
    const RefNode *node = state;
    const TnCumsumAttrs *attrs = node->attrs;
    const TnArg *in = &node->in[0], *out = &node->out[0];
    TnDtype dtype = in->type.dtype;
    gint rank = in->type.rank;
    gint axis = (gint)(attrs->axis < 0 ? attrs->axis + rank : attrs->axis);
    Split from = split_axes(in, rank > 0 ? 1u << axis : 0);
    Split to = split_axes(out, rank > 0 ? 1u << axis : 0);
    gint64 n = rank > 0 ? in->type.dims[axis] : 1;
    gint64 index[TN_MAX_RANK] = { 0 };
    for (gint64 i = 0; n > 0 && i < in->count / n; i++) {
        gint64 base = ref_dot(from.n_kept, index, from.kept_strides);
        gint64 base_to = ref_dot(to.n_kept, index, to.kept_strides);
        double f = 0;
        guint64 v = 0;
        for (gint64 k = 0; k < n; k++) {
            gint64 place = attrs->reverse ? n - 1 - k : k;
            gint64 at = base + place * from.reduced_strides[0];
            gint64 at_to = base_to + place * to.reduced_strides[0];
            if (attrs->exclusive) {
                ref_store_sum(dtype, run->out[0], at_to, f, v);
            }
            if (ref_is_float(dtype)) {
                f += ref_load_double(dtype, run->in[0], at);
            } else {
                v += ref_load(dtype, run->in[0], at).u64;
            }
            if (!attrs->exclusive) {
                ref_store_sum(dtype, run->out[0], at_to, f, v);
            }
        }
        ref_next(from.n_kept, from.kept, index);
    }
    return TN_OK;
}

static const TnKernel kernels[] = {
    REF_ROW("reduce_sum", run_sum),      REF_ROW("reduce_prod", run_prod),
    REF_ROW("reduce_max", run_max),      REF_ROW("reduce_min", run_min),
    REF_ROW("reduce_to", run_reduce_to), REF_ROW("argmax", run_argmax),
    REF_ROW("argmin", run_argmin),       REF_ROW("cumsum", run_cumsum),
};

const TnKernelTable ref_reduce = REF_TABLE(kernels);
