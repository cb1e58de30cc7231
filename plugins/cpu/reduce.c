/* reduce.c: reductions over any axes of any strided input. What is kept is cut into chunks; where
 * little is kept, what is reduced is cut into slices whose results are put together in order.
 * Either way borders depend on the sizes alone. A single element is its own sum, copied: adding it to 0
 * would make 0 of -0. */
#include "copy.h"
#include "fold.h"
#include "tables.h"

typedef struct {
    FoldKind kind;
    TnDtype dtype;
    TileType type; /* bool: as u64 */
    gboolean native;
    gsize size;
    gint kept_rank, reduced_rank;
    gint64 kept[TN_MAX_RANK], kept_strides[TN_MAX_RANK];
    gint64 reduced[TN_MAX_RANK], reduced_strides[TN_MAX_RANK];
    gint64 n_kept, n_reduced;
    gboolean invariant; /* what is kept says nothing of how it is computed */
    gboolean within; /* an axis of size 1 that may be the samples lies within the last kept one */
    gboolean by_columns; /* the last kept axis has neighbours, the last reduced one has not */
    FoldSlices slices;   /* of the first reduced axis */
    gint64 items, per_chunk;
    CpuCopy copy; /* instead of all this, where n_reduced is 1; of what is laid out first */
    gboolean lays_out;
    gsize partial_bytes; /* of the scratch, before what is laid out */
    FoldFn run;
    FoldColumnsFn columns;
} Plan;

typedef struct {
    const Plan *plan;
    const char *in;
    char *out;
    Fold *partial; /* [slice][kept], NULL if there is one slice */
} Job;

/* The part of the reduced axes that a slice has. */
typedef struct {
    gint64 dims[TN_MAX_RANK];
    gint64 at; /* of its first element */
} Slice;

static Slice
slice_of(const Plan *plan, gint64 number)
{
    Slice slice = { 0 };
    memcpy(slice.dims, plan->reduced, sizeof slice.dims);
    if (plan->slices.n > 1) {
        const gint64 first = number * plan->slices.each;
        slice.dims[0] = MIN(plan->slices.each, plan->reduced[0] - first);
        slice.at = first * plan->reduced_strides[0];
    }
    return slice;
}

/* Where a result goes: straight to the output, or among the partial ones. */
static void
put(const Job *job, gint64 slice, gint64 kept, Fold fold)
{
    if (job->partial) {
        job->partial[slice * job->plan->n_kept + kept] = fold;
    } else {
        fold_store(job->plan->dtype, job->out + kept * (gint64)job->plan->size, fold);
    }
}

/* Folds n elements, `stride` apart. */
static void
fold_line(const Plan *plan, Fold *fold, const char *x, gint64 stride, gint64 n)
{
    guint64 loaded[FOLD_BLOCK];
    if (plan->native && stride == 1) {
        plan->run(fold, x, n);
        return;
    }
    for (gint64 at = 0; at < n; at += FOLD_BLOCK) {
        gint64 m = MIN(FOLD_BLOCK, n - at);
        tn_dtype_info(plan->dtype)
            ->load(loaded, x + at * stride * (gint64)plan->size, stride, (gsize)m);
        plan->run(fold, loaded, m);
    }
}

static void
reduce_one(const Job *job, gint64 number, gint64 kept)
{
    const Plan *plan = job->plan;
    gint64 index[TN_MAX_RANK] = { 0 };
    Slice slice = slice_of(plan, number);
    gint last = plan->reduced_rank - 1;
    Fold fold = fold_begin(plan->kind, plan->dtype);
    cpu_position(plan->kept_rank, plan->kept, kept, index);
    gint64 base = slice.at + cpu_dot(plan->kept_rank, index, plan->kept_strides);
    memset(index, 0, sizeof index);
    if (cpu_count(plan->reduced_rank, slice.dims) > 0) {
        do {
            gint64 at = base + cpu_dot(last, index, plan->reduced_strides);
            fold_line(plan, &fold, job->in + at * (gint64)plan->size, plan->reduced_strides[last],
                      slice.dims[last]);
        } while (cpu_next(last, slice.dims, index));
    }
    put(job, number, kept, fold);
}

/* --- Columns ---------------------------------------------------------------------------------- */

/* A block of columns: `acc` in the type of the run; sums of floats go to `wide` now and then. */
typedef struct {
    guint64 acc[FOLD_COLUMNS];
    Fold wide[FOLD_COLUMNS];
} Columns;

static void
columns_put(const Job *job, const Columns *c, gint64 number, gint64 kept, gint64 n, gboolean wide)
{
    for (gint64 j = 0; j < n; j++) {
        put(job, number, kept + j, wide ? c->wide[j] : fold_column(job->plan->dtype, c->acc, j));
    }
}

/* n columns (neighbours) of the last kept axis, from kept element `kept` on. */
static void
reduce_columns(const Job *job, gint64 number, gint64 kept, gint64 n)
{
    const Plan *plan = job->plan;
    gint64 index[TN_MAX_RANK] = { 0 }, rows = 0;
    Slice slice = slice_of(plan, number);
    const gboolean wide = fold_columns_widen(plan->kind, plan->dtype);
    Columns c;
    cpu_position(plan->kept_rank, plan->kept, kept, index);
    gint64 base = slice.at + cpu_dot(plan->kept_rank, index, plan->kept_strides);
    fold_columns_begin(plan->kind, plan->dtype, c.acc, n);
    memset(c.wide, 0, (gsize)n * sizeof c.wide[0]);
    memset(index, 0, sizeof index);
    if (cpu_count(plan->reduced_rank, slice.dims) > 0) {
        do {
            gint64 at = base + cpu_dot(plan->reduced_rank, index, plan->reduced_strides);
            plan->columns(c.acc, job->in + at * (gint64)plan->size, n);
            if (wide && ++rows % FOLD_ROWS == 0) {
                fold_columns_flush(plan->kind, plan->dtype, c.acc, c.wide, n);
            }
        } while (cpu_next(plan->reduced_rank, slice.dims, index));
    }
    if (wide) {
        fold_columns_flush(plan->kind, plan->dtype, c.acc, c.wide, n);
    }
    columns_put(job, &c, number, kept, n, wide);
}

/* --- Chunks ----------------------------------------------------------------------------------- */

/* Columns of one block of one row of the last kept axis. */
static void
reduce_block(const Job *job, gint64 item)
{
    const Plan *plan = job->plan;
    gint64 width = plan->kept[plan->kept_rank - 1], blocks = fold_blocks(width);
    gint64 rows = plan->n_kept / width, number = item / (rows * blocks);
    gint64 row = item / blocks % rows, col = item % blocks * FOLD_COLUMNS;
    reduce_columns(job, number, row * width + col, MIN(FOLD_COLUMNS, width - col));
}

static TnStatus
reduce_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    gint64 first = (gint64)chunk * plan->per_chunk, end = MIN(plan->items, first + plan->per_chunk);
    (void)n;
    for (gint64 item = first; item < end; item++) {
        if (plan->by_columns) {
            reduce_block(job, item);
        } else {
            reduce_one(job, item / plan->n_kept, item % plan->n_kept);
        }
    }
    return TN_OK;
}

/* Puts the slices' results together, in order. */
static void
combine(const Job *job)
{
    const Plan *plan = job->plan;
    fold_combine(plan->kind, plan->type, job->partial, plan->slices.n, plan->n_kept);
    for (gint64 k = 0; k < plan->n_kept; k++) {
        fold_store(plan->dtype, job->out + k * (gint64)plan->size, job->partial[k]);
    }
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *plan = state;
    Job job = { plan, run->in[0], run->out[0], plan->slices.n > 1 ? run->scratch : NULL };
    TnStatus status = TN_OK;
    if (plan->n_reduced == 1) {
        return cpu_copy_run(&plan->copy, run->out[0], run->in[0]);
    }
    if (plan->lays_out) {
        char *laid = (char *)run->scratch + plan->partial_bytes;
        job.in = laid;
        status = cpu_copy_run(&plan->copy, laid, run->in[0]);
    }
    if (plan->items > 0 && status == TN_OK) {
        status = tn_parallel_for((gsize)((plan->items + plan->per_chunk - 1) / plan->per_chunk),
                                 reduce_chunk, &job);
    }
    if (status == TN_OK && plan->slices.n > 1) {
        combine(&job);
    }
    return status;
}

/* --- Planning --------------------------------------------------------------------------------- */

/* Another reduced axis: one with the last where that is walked in step. Not if samples may lie between
 * (`apart`), of which there may be one. */
static void
add_reduced(Plan *plan, gint64 dim, gint64 stride, gboolean apart)
{
    const gint last = plan->reduced_rank - 1;
    if (dim == 1) {
        return;
    }
    if (last >= 0 && !apart && plan->reduced_strides[last] == dim * stride) {
        plan->reduced[last] *= dim;
        plan->reduced_strides[last] = stride;
    } else {
        plan->reduced[plan->reduced_rank] = dim;
        plan->reduced_strides[plan->reduced_rank++] = stride;
    }
}

static void
split_axes(Plan *plan, const TnArg *in, guint32 mask)
{
    gint last_kept = -1, since = -1; /* since: the last kept axis that a reduced one came before */
    for (gint i = 0; i < in->type.rank; i++) {
        if (mask >> i & 1) {
            add_reduced(plan, in->type.dims[i], in->strides[i],
                        plan->invariant && last_kept != since);
            since = last_kept;
        } else {
            plan->kept[plan->kept_rank] = in->type.dims[i];
            plan->kept_strides[plan->kept_rank++] = in->strides[i];
            last_kept = i;
        }
    }
    plan->n_kept = cpu_count(plan->kept_rank, plan->kept);
    plan->n_reduced = cpu_count(plan->reduced_rank, plan->reduced);
    plan->kept_rank = cpu_collapse(plan->kept_rank, plan->kept, 1, &plan->kept_strides);
    if (plan->invariant && last_kept >= 0 && in->type.dims[last_kept] == 1) {
        plan->kept[plan->kept_rank] = 1;
        plan->kept_strides[plan->kept_rank++] = in->strides[last_kept];
    } else {
        for (gint i = 0; i < last_kept; i++) {
            plan->within =
                plan->within || (!(mask >> i & 1) && in->type.dims[i] == 1 && in->strides[i] == 1);
        }
    }
    if (plan->reduced_rank == 0) {
        plan->reduced_rank = 1;
        plan->reduced[0] = plan->n_reduced;
        plan->reduced_strides[0] = 0;
    }
}

static void
choose_items(Plan *plan, const TnType *in)
{
    gint64 total = plan->n_kept * plan->n_reduced, last = plan->kept_rank - 1;
    gint64 width = plan->kept_rank > 0 ? plan->kept[last] : 1;
    const gboolean pays =
        width >= 8 && (plan->reduced_strides[plan->reduced_rank - 1] != 1 || plan->n_reduced < 4);
    plan->by_columns = plan->columns != NULL && plan->kept_rank > 0 &&
                       plan->kept_strides[last] == 1 && (plan->invariant ? !plan->within : pays);
    gint64 blocks = plan->by_columns ? plan->n_kept / width * fold_blocks(width) : plan->n_kept;
    const gboolean whole = plan->n_kept == 1 && plan->reduced_rank == 1;
    plan->slices = fold_slices(fold_sliced(blocks, plan->n_kept, plan->n_reduced, plan->invariant),
                               plan->reduced[0], whole ? fold_unit(in) : 1);
    plan->items = blocks * plan->slices.n;
    plan->per_chunk = cpu_items_per_chunk(plan->items, total / MAX(1, plan->items) + 8);
}

/* How an input lies may hang on the number of samples, as which image layout pays; where that may decide
 * nothing, sums go by it only if it is the usual way. */
static void
lay_out(Plan *plan, TnArg *in)
{
    gint64 packed[TN_MAX_RANK];
    tn_type_strides(&in->type, packed);
    cpu_copy_plan(&plan->copy, plan->size, in->type.rank, in->type.dims, packed, in->strides);
    for (gint i = 0; i < in->type.rank && plan->invariant; i++) {
        plan->lays_out = plan->lays_out || (in->type.dims[i] > 1 && in->strides[i] != packed[i]);
        in->strides[i] = packed[i];
    }
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, FoldKind kind, guint32 mask)
{
    TnArg in = node->in[0];
    Plan *plan = g_new0(Plan, 1);
    plan->kind = kind;
    plan->invariant = node->batch_invariant;
    plan->dtype = in.type.dtype;
    plan->type = tile_type_of(plan->dtype);
    plan->native = tile_is_native(plan->dtype) && plan->type != TILE_BOOL;
    if (plan->type == TILE_BOOL) {
        plan->type = TILE_U64;
    }
    plan->size = tn_dtype_size(plan->dtype);
    plan->run = fold_run(kind, plan->type);
    plan->columns =
        plan->native ? fold_columns(kind, plan->type) : fold_columns_of(kind, plan->dtype);
    lay_out(plan, &in);
    split_axes(plan, &in, mask);
    choose_items(plan, &in.type);
    plan->lays_out = plan->lays_out && plan->n_reduced != 1;
    plan->partial_bytes =
        plan->slices.n > 1 ? (gsize)(plan->slices.n * plan->n_kept) * sizeof(Fold) : 0;
    prepared->state = plan;
    prepared->scratch = plan->partial_bytes + (plan->lays_out ? (gsize)tn_type_bytes(&in.type) : 0);
    return TRUE;
}

static gboolean
prepare_reduce(const TnNode *node, TnPrepared *prepared, FoldKind kind)
{
    const TnReduceAttrs *attrs = node->attrs;
    return prepare(node, prepared, kind, tn_axes_mask(&attrs->axes, node->in[0].type.rank));
}

static gboolean
prepare_sum(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return prepare_reduce(node, prepared, FOLD_SUM);
}

static gboolean
prepare_prod(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return prepare_reduce(node, prepared, FOLD_PROD);
}

static gboolean
prepare_max(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return prepare_reduce(node, prepared, FOLD_MAX);
}

static gboolean
prepare_min(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return prepare_reduce(node, prepared, FOLD_MIN);
}

/* Sums over every axis in which out has size 1 or no axis at all. */
static gboolean
prepare_reduce_to(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnType *in = &node->in[0].type, *out = &node->out[0].type;
    gint lead = in->rank - out->rank;
    guint32 mask = 0;
    (void)error;
    for (gint i = 0; i < in->rank; i++) {
        if (i < lead || out->dims[i - lead] == 1) {
            mask |= 1u << i;
        }
    }
    return prepare(node, prepared, FOLD_SUM, mask);
}

#define ROW(name, function)                                                                        \
    {                                                                                              \
        .op = (name), .dtypes = TN_DTYPES_ALL, .flags = TN_KERNEL_STRIDED, .prepare = (function),  \
        .run = run, .release = g_free                                                              \
    }

static const TnKernel kernels[] = {
    ROW("reduce_sum", prepare_sum),      ROW("reduce_prod", prepare_prod),
    ROW("reduce_max", prepare_max),      ROW("reduce_min", prepare_min),
    ROW("reduce_to", prepare_reduce_to),
};

const TnKernelTable cpu_reduce = CPU_TABLE(kernels);
