/* scan.c: operators that walk one axis in order: positions of extremes, cumulative sums, sorting. A
 * line is one walk; lines are shared out in chunks. */
#include <math.h>

#include "tables.h"
#include "tile.h"

/* Chunks that may sort at once, each with scratch of its own. */
#define MAX_CHUNKS 8

typedef union {
    float f32;
    double f64;
    gint64 i64;
    guint64 u64;
} Cell;

typedef struct {
    gint64 place;
    Cell value;
} Item;

typedef struct {
    TnDtype dtype;
    TnCompute compute;
    gsize size;
    gint64 n; /* elements of a line */
    gint64 step, to_step;
    gint rank; /* of the other axes */
    gint64 dims[TN_MAX_RANK], from[TN_MAX_RANK], to[TN_MAX_RANK];
    gint64 lines, per_chunk;
    gboolean flag,
        second_flag; /* argmax: want_max, last; cumsum: exclusive, reverse; sort: descending */
    void (*line)(const void *plan, const TnRun *run, gint64 from, gint64 to, gint64 line,
                 gsize chunk);
} Plan;

typedef struct {
    const Plan *plan;
    const TnRun *run;
} Job;

static inline Cell
load(const Plan *plan, const void *base, gint64 at)
{
    Cell cell;
    tn_dtype_info(plan->dtype)->load(&cell, (const char *)base + at * (gint64)plan->size, 1, 1);
    return cell;
}

static inline void
store(const Plan *plan, void *base, gint64 at, Cell cell)
{
    tn_dtype_info(plan->dtype)->store((char *)base + at * (gint64)plan->size, &cell, 1, 1);
}

/* -1, 0 or 1; NaN is larger than everything and equal to itself. */
static CPU_INLINE gint
order_f64(double a, double b)
{
    if (a != a || b != b) {
        return (a != a) - (b != b);
    }
    return (a > b) - (a < b);
}

static inline gint
order(TnCompute compute, Cell a, Cell b)
{
    switch (compute) {
    case TN_COMPUTE_F32: return order_f64((double)a.f32, (double)b.f32);
    case TN_COMPUTE_F64: return order_f64(a.f64, b.f64);
    case TN_COMPUTE_I64: return (a.i64 > b.i64) - (a.i64 < b.i64);
    default: return (a.u64 > b.u64) - (a.u64 < b.u64);
    }
}

static gboolean
is_nan(TnCompute compute, Cell a)
{
    return (compute == TN_COMPUTE_F32 && isnan(a.f32)) ||
           (compute == TN_COMPUTE_F64 && isnan(a.f64));
}

/* --- argmax, argmin --------------------------------------------------------------------------- */

static void
arg_line(const void *data, const TnRun *run, gint64 from, gint64 to, gint64 line, gsize chunk)
{
    const Plan *plan = data;
    Cell best = load(plan, run->in[0], from);
    gint64 best_at = 0;
    (void)to;
    (void)chunk;
    for (gint64 i = 1; i < plan->n; i++) {
        Cell x = load(plan, run->in[0], from + i * plan->step);
        gint o = order(plan->compute, x, best);
        /* For argmin too a NaN wins. */
        gboolean better = is_nan(plan->compute, x) || is_nan(plan->compute, best) ? o > 0
                          : plan->flag                                            ? o > 0
                                                                                  : o < 0;
        if (better || (o == 0 && plan->second_flag)) {
            best = x;
            best_at = i;
        }
    }
    ((gint64 *)run->out[0])[line] = best_at;
}

/* The same for f32 whose elements are neighbours, without a call an element. */
static void
arg_line_f32(const void *data, const TnRun *run, gint64 from, gint64 to, gint64 line, gsize chunk)
{
    const Plan *plan = data;
    const float *x = (const float *)run->in[0] + from;
    float sign = plan->flag ? 1 : -1, best = sign * x[0];
    gint64 best_at = 0;
    for (gint64 i = 1; i < plan->n; i++) {
        float value = sign * x[i];
        if (value > best || (value == best && plan->second_flag)) {
            best = value;
            best_at = i;
        } else if (value != value || best != best) {
            arg_line(data, run, from, to, line, chunk);
            return;
        }
    }
    ((gint64 *)run->out[0])[line] = best_at;
}

/* --- cumsum ----------------------------------------------------------------------------------- */

static void
cumsum_line(const void *data, const TnRun *run, gint64 from, gint64 to, gint64 line, gsize chunk)
{
    const Plan *plan = data;
    gboolean is_float = plan->compute == TN_COMPUTE_F32 || plan->compute == TN_COMPUTE_F64;
    double sum = 0;
    guint64 bits = 0;
    (void)line;
    (void)chunk;
    for (gint64 i = 0; i < plan->n; i++) {
        gint64 place = plan->second_flag ? plan->n - 1 - i : i;
        Cell x = load(plan, run->in[0], from + place * plan->step), before, after;
        before.u64 = bits;
        bits += is_float ? 0 : x.u64;
        after.u64 = bits;
        if (plan->compute == TN_COMPUTE_F32) {
            before.f32 = (float)sum;
            sum += (double)x.f32;
            after.f32 = (float)sum;
        } else if (plan->compute == TN_COMPUTE_F64) {
            before.f64 = sum;
            sum += x.f64;
            after.f64 = sum;
        }
        store(plan, run->out[0], to + place * plan->to_step, plan->flag ? before : after);
    }
}

/* --- sort ------------------------------------------------------------------------------------- */

/* Bottom-up merging, stable: items and spare have n each. Returns the one that holds the result. */
static Item *
merge_sort(const Plan *plan, Item *items, Item *spare)
{
    for (gint64 width = 1; width < plan->n; width *= 2) {
        for (gint64 at = 0; at < plan->n; at += 2 * width) {
            gint64 a = at, b = MIN(at + width, plan->n), a_end = b;
            gint64 b_end = MIN(at + 2 * width, plan->n);
            for (gint64 k = at; k < b_end; k++) {
                gboolean second = a == a_end;
                if (!second && b < b_end) {
                    gint o = order(plan->compute, items[b].value, items[a].value);
                    second = plan->flag ? o > 0 : o < 0;
                }
                spare[k] = second ? items[b++] : items[a++];
            }
        }
        Item *swap = items;
        items = spare;
        spare = swap;
    }
    return items;
}

static void
sort_line(const void *data, const TnRun *run, gint64 from, gint64 to, gint64 line, gsize chunk)
{
    const Plan *plan = data;
    Item *items = (Item *)run->scratch + (gint64)chunk * 2 * plan->n;
    (void)line;
    for (gint64 i = 0; i < plan->n; i++) {
        items[i] = (Item){ i, load(plan, run->in[0], from + i * plan->step) };
    }
    items = merge_sort(plan, items, items + plan->n);
    for (gint64 i = 0; i < plan->n; i++) {
        store(plan, run->out[0], to + i * plan->to_step, items[i].value);
        ((gint64 *)run->out[1])[to + i * plan->to_step] = items[i].place;
    }
}

/* --- Lines ------------------------------------------------------------------------------------ */

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    gint64 first = (gint64)chunk * plan->per_chunk, end = MIN(plan->lines, first + plan->per_chunk);
    gint64 index[TN_MAX_RANK] = { 0 };
    (void)n;
    cpu_position(plan->rank, plan->dims, first, index);
    for (gint64 line = first; line < end; line++) {
        plan->line(plan, job->run, cpu_dot(plan->rank, index, plan->from),
                   cpu_dot(plan->rank, index, plan->to), line, chunk);
        cpu_next(plan->rank, plan->dims, index);
    }
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { plan, run };
    if (plan->lines == 0 || plan->n == 0) {
        return TN_OK;
    }
    return tn_parallel_for((gsize)((plan->lines + plan->per_chunk - 1) / plan->per_chunk),
                           run_chunk, &job);
}

/* `same` says that out has the input's shape. */
static Plan *
plan_new(const TnNode *node, gint64 axis, gboolean same)
{
    const TnArg *in = &node->in[0];
    Plan *plan = g_new0(Plan, 1);
    gint at = in->type.rank > 0 ? cpu_axis(axis, in->type.rank) : -1;
    plan->dtype = in->type.dtype;
    plan->compute = tn_dtype_info(plan->dtype)->compute;
    plan->size = tn_dtype_size(plan->dtype);
    plan->n = at >= 0 ? in->type.dims[at] : 1;
    plan->step = at >= 0 ? in->strides[at] : 0;
    plan->to_step = at >= 0 && same ? node->out[0].strides[at] : 0;
    for (gint i = 0; i < in->type.rank; i++) {
        if (i != at) {
            plan->dims[plan->rank] = in->type.dims[i];
            plan->from[plan->rank] = in->strides[i];
            plan->to[plan->rank++] = same ? node->out[0].strides[i] : 0;
        }
    }
    plan->lines = cpu_count(plan->rank, plan->dims);
    plan->per_chunk = cpu_items_per_chunk(plan->lines, cpu_times(plan->n, 4));
    return plan;
}

static gboolean
prepare_arg(const TnNode *node, TnPrepared *prepared, gboolean want_max)
{
    const TnArgReduceAttrs *attrs = node->attrs;
    Plan *plan = plan_new(node, attrs->axis, FALSE);
    plan->flag = want_max;
    plan->second_flag = attrs->select_last_index;
    plan->line = plan->dtype == TN_DTYPE_F32 && plan->step == 1 ? arg_line_f32 : arg_line;
    prepared->state = plan;
    return TRUE;
}

static gboolean
prepare_argmax(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return prepare_arg(node, prepared, TRUE);
}

static gboolean
prepare_argmin(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return prepare_arg(node, prepared, FALSE);
}

static gboolean
prepare_cumsum(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnCumsumAttrs *attrs = node->attrs;
    Plan *plan = plan_new(node, attrs->axis, TRUE);
    (void)error;
    plan->flag = attrs->exclusive;
    plan->second_flag = attrs->reverse;
    plan->line = cumsum_line;
    prepared->state = plan;
    return TRUE;
}

static gboolean
prepare_sort(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnSortAttrs *attrs = node->attrs;
    Plan *plan = plan_new(node, attrs->axis, TRUE);
    (void)error;
    plan->flag = attrs->descending;
    plan->line = sort_line;
    plan->per_chunk = MAX(plan->per_chunk, cpu_parts(plan->lines, MAX_CHUNKS));
    gint64 chunks = cpu_parts(plan->lines, plan->per_chunk);
    prepared->state = plan;
    prepared->scratch = (gsize)(chunks * 2 * plan->n) * sizeof(Item);
    return TRUE;
}

#define ROW(name, function)                                                                        \
    {                                                                                              \
        .op = (name), .dtypes = TN_DTYPES_ALL, .flags = TN_KERNEL_STRIDED, .prepare = (function),  \
        .run = run, .release = g_free                                                              \
    }

static const TnKernel kernels[] = {
    ROW("argmax", prepare_argmax),
    ROW("argmin", prepare_argmin),
    ROW("cumsum", prepare_cumsum),
    ROW("sort", prepare_sort),
};

const TnKernelTable cpu_scan = CPU_TABLE(kernels);
