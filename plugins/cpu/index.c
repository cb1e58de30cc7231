/* index.c: reading and writing at computed places. Additions to one place happen in the order of
 * the indices whatever the number of threads: work is cut along the elements that an index moves,
 * never along the indices. */
#include "copy.h"
#include "tables.h"

/* data as (outer axes) x (the indexed axis) x (inner axes). */
typedef struct {
    TnDtype dtype, index_dtype;
    gsize size;
    gint axis, rank;          /* of data */
    gint64 n;                 /* of the indexed axis */
    gint64 outer, inner;      /* elements */
    gint64 dims[TN_MAX_RANK]; /* of data */
    gint64 data[TN_MAX_RANK]; /* strides */
    gint64 out[TN_MAX_RANK];  /* strides of a scatter's result */
    gboolean inner_flat;      /* data's inner elements are neighbours */
    gint index_rank;
    gint64 index_dims[TN_MAX_RANK], index[TN_MAX_RANK]; /* strides */
    gint64 n_indices;
    gint64 updates[TN_MAX_RANK]; /* strides */
    gint updates_rank;
    gboolean updates_flat;
    gboolean add;
    CpuCopy copy; /* of data into the result */
} Plan;

typedef struct {
    const Plan *plan;
    const TnRun *run;
    const char *op;
} Job;

/* The index at element `at` of the indices, counted from the end if negative; -1 if it is not in
 * [0, n). */
static inline gint64
index_at(const Plan *plan, const void *indices, gint64 at)
{
    gint64 index = plan->index_dtype == TN_DTYPE_I32 ? ((const gint32 *)indices)[at]
                                                     : ((const gint64 *)indices)[at];
    if (index < 0) {
        index += plan->n;
    }
    return index >= 0 && index < plan->n ? index : -1;
}

static TnStatus
out_of_range(const Job *job, gint64 at)
{
    const Plan *plan = job->plan;
    gint64 index = plan->index_dtype == TN_DTYPE_I32 ? ((const gint32 *)job->run->in[1])[at]
                                                     : ((const gint64 *)job->run->in[1])[at];
    return tn_run_fail(job->run,
                       "%s: index %" G_GINT64_FORMAT " is not in [-%" G_GINT64_FORMAT
                       ", %" G_GINT64_FORMAT ")",
                       job->op, index, plan->n, plan->n);
}

static gboolean
flat(gint from, gint to, const gint64 *dims, const gint64 *strides)
{
    gint64 expected = 1;
    for (gint i = to - 1; i >= from; i--) {
        if (dims[i] != 1 && strides[i] != expected) {
            return FALSE;
        }
        expected *= dims[i];
    }
    return TRUE;
}

static Plan *
plan_new(const TnNode *node, gint64 axis)
{
    const TnArg *data = &node->in[0], *indices = &node->in[1];
    Plan *plan = g_new0(Plan, 1);
    plan->dtype = data->type.dtype;
    plan->index_dtype = indices->type.dtype;
    plan->size = tn_dtype_size(plan->dtype);
    plan->rank = data->type.rank;
    plan->axis = cpu_axis(axis, plan->rank);
    plan->n = data->type.dims[plan->axis];
    memcpy(plan->dims, data->type.dims, sizeof plan->dims);
    memcpy(plan->data, data->strides, sizeof plan->data);
    memcpy(plan->out, node->out[0].strides, sizeof plan->out);
    plan->outer = cpu_count(plan->axis, plan->dims);
    plan->inner = cpu_count(plan->rank - plan->axis - 1, plan->dims + plan->axis + 1);
    plan->inner_flat = flat(plan->axis + 1, plan->rank, plan->dims, plan->data);
    plan->index_rank = indices->type.rank;
    plan->n_indices = indices->count;
    memcpy(plan->index_dims, indices->type.dims, sizeof plan->index_dims);
    memcpy(plan->index, indices->strides, sizeof plan->index);
    if (node->n_in > 2) {
        plan->updates_rank = node->in[2].type.rank;
        memcpy(plan->updates, node->in[2].strides, sizeof plan->updates);
        cpu_copy_plan(&plan->copy, plan->size, plan->rank, plan->dims, plan->out, plan->data);
    }
    return plan;
}

/* --- gather, scatter_add: an index moves all inner elements ----------------------------------- */

static gint64
index_place(const Plan *plan, gint64 i)
{
    gint64 index[TN_MAX_RANK];
    cpu_position(plan->index_rank, plan->index_dims, i, index);
    return cpu_dot(plan->index_rank, index, plan->index);
}

static gint64
outer_place(const Plan *plan, gint64 o, const gint64 *strides)
{
    gint64 index[TN_MAX_RANK];
    cpu_position(plan->axis, plan->dims, o, index);
    return cpu_dot(plan->axis, index, strides);
}

static void
gather_inner(const Plan *plan, char *to, const char *from)
{
    gint first = plan->axis + 1, rank = plan->rank - first;
    gint64 index[TN_MAX_RANK] = { 0 };
    if (plan->inner_flat) {
        memcpy(to, from, (gsize)plan->inner * plan->size);
        return;
    }
    for (gint64 i = 0; i < plan->inner; i++, to += plan->size) {
        gint64 at = cpu_dot(rank, index, plan->data + first);
        memcpy(to, from + at * (gint64)plan->size, plan->size);
        cpu_next(rank, plan->dims + first, index);
    }
}

static TnStatus
gather_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const gint64 items = plan->outer * plan->n_indices;
    const gint64 each = cpu_items_per_chunk(items, plan->inner + 8);
    const gint64 first = (gint64)chunk * each, end = MIN(items, first + each);
    gsize bytes = (gsize)plan->inner * plan->size;
    (void)n;
    for (gint64 item = first; item < end; item++) {
        gint64 o = item / plan->n_indices, i = item % plan->n_indices;
        gint64 at = index_place(plan, i), row = index_at(plan, job->run->in[1], at);
        if (row < 0) {
            return out_of_range(job, at);
        }
        gint64 from = outer_place(plan, o, plan->data) + row * plan->data[plan->axis];
        gather_inner(plan, (char *)job->run->out[0] + (gsize)item * bytes,
                     (const char *)job->run->in[0] + from * (gint64)plan->size);
    }
    return TN_OK;
}

static TnStatus
run_gather(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { plan, run, "gather" };
    const gint64 items = plan->outer * plan->n_indices;
    const gint64 each = cpu_items_per_chunk(items, plan->inner + 8);
    if (items == 0 || plan->inner == 0) {
        return TN_OK;
    }
    return tn_parallel_for((gsize)((items + each - 1) / each), gather_chunk, &job);
}

/* a[i] += b[i * step] in the dtype. */
static void
add_line(TnDtype dtype, gint64 n, void *to, const void *from, gint64 step)
{
    const TnDtypeInfo *info = tn_dtype_info(dtype);
    gint64 size = (gint64)tn_dtype_size(dtype);
    if (dtype == TN_DTYPE_F32) {
        float *a = to;
        const float *b = from;
        for (gint64 i = 0; i < n; i++) {
            a[i] += b[i * step];
        }
        return;
    }
    if (dtype == TN_DTYPE_F64) {
        double *a = to;
        const double *b = from;
        for (gint64 i = 0; i < n; i++) {
            a[i] += b[i * step];
        }
        return;
    }
    for (gint64 i = 0; i < n; i++) {
        union {
            float f32;
            guint64 u64;
        } a, b;
        char *at = (char *)to + i * size;
        info->load(&a, at, 1, 1);
        info->load(&b, (const char *)from + i * step * size, 1, 1);
        if (info->compute == TN_COMPUTE_F32) {
            a.f32 += b.f32;
        } else {
            a.u64 += b.u64;
        }
        info->store(at, &a, 1, 1);
    }
}

/* Inner elements [first, first + n) of one update, added to the result from `to` on
 * (contiguous). */
static void
add_inner(const Plan *plan, char *to, const char *from, gint64 first, gint64 n)
{
    gint begin = plan->axis + 1, rank = plan->rank - begin;
    const gint64 *strides = plan->updates + plan->axis + plan->index_rank;
    gint64 index[TN_MAX_RANK] = { 0 }, size = (gint64)plan->size;
    if (plan->updates_flat) {
        add_line(plan->dtype, n, to + first * size, from + first * size, 1);
        return;
    }
    cpu_position(rank, plan->dims + begin, first, index);
    for (gint64 i = first; i < first + n; i++) {
        add_line(plan->dtype, 1, to + i * size, from + cpu_dot(rank, index, strides) * size, 1);
        cpu_next(rank, plan->dims + begin, index);
    }
}

#define COLUMNS 256
static gint64
column_chunks(const Plan *plan)
{
    return plan->inner * plan->n_indices < CPU_GRAIN ? 1 : (plan->inner + COLUMNS - 1) / COLUMNS;
}

static TnStatus
scatter_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    gint64 columns = column_chunks(plan), o = (gint64)chunk / columns;
    gint64 width = columns == 1 ? plan->inner : COLUMNS;
    gint64 first = (gint64)chunk % columns * width, count = MIN(width, plan->inner - first);
    gint64 size = (gint64)plan->size, index[TN_MAX_RANK] = { 0 }, place[TN_MAX_RANK] = { 0 };
    gint64 to = outer_place(plan, o, plan->out);
    (void)n;
    cpu_position(plan->axis, plan->dims, o, place);
    gint64 from = cpu_dot(plan->axis, place, plan->updates);
    for (gint64 i = 0; i < plan->n_indices; i++) {
        gint64 at = cpu_dot(plan->index_rank, index, plan->index);
        gint64 row = index_at(plan, job->run->in[1], at);
        if (row < 0) {
            return out_of_range(job, at);
        }
        gint64 update = from + cpu_dot(plan->index_rank, index, plan->updates + plan->axis);
        add_inner(plan, (char *)job->run->out[0] + (to + row * plan->out[plan->axis]) * size,
                  (const char *)job->run->in[2] + update * size, first, count);
        cpu_next(plan->index_rank, plan->index_dims, index);
    }
    return TN_OK;
}

static TnStatus
copy_data(const Plan *plan, const TnRun *run)
{
    return run->in[0] == run->out[0] ? TN_OK : cpu_copy_run(&plan->copy, run->out[0], run->in[0]);
}

static TnStatus
run_scatter_add(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { plan, run, "scatter_add" };
    TnStatus status = copy_data(plan, run);
    if (status != TN_OK || plan->n_indices == 0 || plan->outer == 0 || plan->inner == 0) {
        return status;
    }
    return tn_parallel_for((gsize)(plan->outer * column_chunks(plan)), scatter_chunk, &job);
}

static gboolean
prepare_rows(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnAxisAttrs *attrs = node->attrs;
    Plan *plan = plan_new(node, attrs->axis);
    (void)error;
    if (node->n_in > 2) {
        const TnArg *updates = &node->in[2];
        plan->updates_flat = flat(plan->axis + plan->index_rank, updates->type.rank,
                                  updates->type.dims, updates->strides);
    }
    prepared->state = plan;
    return TRUE;
}

/* --- gather_elements, scatter_elements: an index moves one element ---------------------------- */

static TnStatus
run_gather_elements(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { plan, run, "gather_elements" };
    gint64 index[TN_MAX_RANK] = { 0 };
    char *to = run->out[0];
    for (gint64 i = 0; i < plan->n_indices; i++, to += plan->size) {
        gint64 at = cpu_dot(plan->rank, index, plan->index);
        gint64 row = index_at(plan, run->in[1], at);
        if (row < 0) {
            return out_of_range(&job, at);
        }
        gint64 from = cpu_dot(plan->rank, index, plan->data) +
                      (row - index[plan->axis]) * plan->data[plan->axis];
        memcpy(to, (const char *)run->in[0] + from * (gint64)plan->size, plan->size);
        cpu_next(plan->rank, plan->index_dims, index);
    }
    return TN_OK;
}

static TnStatus
run_scatter_elements(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { plan, run, "scatter_elements" };
    gint64 index[TN_MAX_RANK] = { 0 }, size = (gint64)plan->size;
    TnStatus status = copy_data(plan, run);
    for (gint64 i = 0; status == TN_OK && i < plan->n_indices; i++) {
        gint64 at = cpu_dot(plan->rank, index, plan->index);
        gint64 row = index_at(plan, run->in[1], at);
        if (row < 0) {
            return out_of_range(&job, at);
        }
        gint64 place = cpu_dot(plan->rank, index, plan->out) +
                       (row - index[plan->axis]) * plan->out[plan->axis];
        char *to = (char *)run->out[0] + place * size;
        const char *from =
            (const char *)run->in[2] + cpu_dot(plan->rank, index, plan->updates) * size;
        if (plan->add) {
            add_line(plan->dtype, 1, to, from, 1);
        } else {
            memcpy(to, from, plan->size);
        }
        cpu_next(plan->rank, plan->index_dims, index);
    }
    return status;
}

static gboolean
prepare_gather_elements(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnAxisAttrs *attrs = node->attrs;
    (void)error;
    prepared->state = plan_new(node, attrs->axis);
    return TRUE;
}

static gboolean
prepare_scatter_elements(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnScatterAttrs *attrs = node->attrs;
    Plan *plan = plan_new(node, attrs->axis);
    (void)error;
    plan->add = attrs->reduction == TN_SCATTER_ADD;
    prepared->state = plan;
    return TRUE;
}

#define ROW(name, prepare_, run_, flags_)                                                          \
    {                                                                                              \
        .op = (name), .dtypes = TN_DTYPES_ALL, .flags = TN_KERNEL_STRIDED | (flags_),              \
        .prepare = (prepare_), .run = (run_), .release = g_free                                    \
    }

static const TnKernel kernels[] = {
    ROW("gather", prepare_rows, run_gather, 0),
    ROW("scatter_add", prepare_rows, run_scatter_add, TN_KERNEL_IN_PLACE),
    ROW("gather_elements", prepare_gather_elements, run_gather_elements, 0),
    ROW("scatter_elements", prepare_scatter_elements, run_scatter_elements, TN_KERNEL_IN_PLACE),
};

const TnKernelTable cpu_index = CPU_TABLE(kernels);
