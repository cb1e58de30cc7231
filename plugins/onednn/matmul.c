/* matmul.c: products of matrices by oneDNN, on slices of columns or rows that depend on the sizes
 * alone. Leading axes are a loop around them. Operands are read where they lie if their elements
 * are neighbours in one direction; views of other kinds are copied first. */
#include "slices.h"
#include "tables.h"
#include "worth.h"

#include <string.h>

#include <tenon/pool.h>

/* Slices of a product at most, what each should have of multiplications, and of columns or rows. */
#define MOST_SLICES 8
#define SLICE_WORK (1 << 21)
#define SLICE_SIZE 64
/* Rows for which it pays to copy b into the library's own layout, in f32: in bf16 the library packs
 * what it needs by itself, as quickly. */
#define PACK_ROWS 32

/* An input that is copied, row-major, before the product. */
typedef struct {
    gboolean wanted;
    TnArg from;
    gsize at; /* in scratch */
} Copy;

typedef struct {
    Slices slices; /* of rows or columns of each batch */
    TnDtype dtype;
    Copy copy[ONEDNN_OUT];
    gint lead; /* leading axes */
    gint64 dims[TN_MAX_RANK], a_batch[TN_MAX_RANK], b_batch[TN_MAX_RANK];
    OneDnnMatmul product; /* of one batch */
    gboolean by_rows;
    gint64 step[ONEDNN_N_PORTS]; /* elements from slice to slice */
} Plan;

typedef struct {
    const Plan *plan;
    const TnRun *run;
    char *laid; /* b, if it is laid apart */
} Job;

/* --- Sizes ------------------------------------------------------------------------------------ */

/* The last two axes; leading ones are broadcast to `lead`. */
static OneDnnBox
matrix_of(const TnArg *arg, gint lead, gint64 *batch)
{
    const gint rank = arg->type.rank, own = rank - 2;
    OneDnnBox box = { .dtype = arg->type.dtype, .rank = 2 };
    for (gint i = 0; i < lead; i++) {
        const gint k = i - (lead - own);
        batch[i] = k < 0 || arg->type.dims[k] == 1 ? 0 : arg->strides[k];
    }
    for (gint i = 0; i < 2; i++) {
        box.dims[i] = arg->type.dims[own + i];
        box.strides[i] = arg->strides[own + i];
    }
    return box;
}

static void
turn(OneDnnBox *box)
{
    const gint64 dim = box->dims[0], stride = box->strides[0];
    box->dims[0] = box->dims[1];
    box->strides[0] = box->strides[1];
    box->dims[1] = dim;
    box->strides[1] = stride;
}

/* Sizes of 1 may have any stride: they get one that fits. */
static void
tidy(OneDnnBox *box)
{
    for (gint i = 0; i < 2; i++) {
        if (box->dims[i] == 1) {
            box->strides[i] = box->strides[1 - i] == 1 ? box->dims[1 - i] : 1;
        }
    }
}

/* Neighbours in one direction, and rows (or columns) that do not overlap. */
static gboolean
lies_well(const TnArg *arg)
{
    gint64 unused[TN_MAX_RANK];
    if (arg->type.rank == 1) {
        return arg->strides[0] == 1 || arg->type.dims[0] == 1;
    }
    OneDnnBox box = matrix_of(arg, 0, unused);
    tidy(&box);
    return (box.strides[1] == 1 && box.strides[0] >= box.dims[1]) ||
           (box.strides[0] == 1 && box.strides[1] >= box.dims[0]);
}

/* Leading axes of a that follow each other like rows, with a single b for all, make one taller
 * product. */
static void
merge_batches(Plan *plan)
{
    OneDnnBox *a = &plan->product.a, *out = &plan->product.out;
    while (plan->lead > 0) {
        const gint last = plan->lead - 1;
        if (plan->b_batch[last] != 0 || plan->a_batch[last] != a->dims[0] * a->strides[0]) {
            return;
        }
        a->dims[0] *= plan->dims[last];
        out->dims[0] = a->dims[0];
        plan->lead--;
    }
}

/* Input i as the product reads it: itself, or its copy. */
static TnArg
operand(Plan *plan, const TnNode *node, gint i)
{
    TnArg arg = node->in[i];
    plan->copy[i] = (Copy){ .wanted = !lies_well(&arg), .from = arg };
    if (plan->copy[i].wanted) {
        tn_type_strides(&arg.type, arg.strides);
    }
    return arg;
}

static void
plan_product(Plan *plan, const TnNode *node)
{
    OneDnnMatmul *p = &plan->product;
    const TnArg *out = &node->out[0], a = operand(plan, node, 0), b = operand(plan, node, 1);
    const gboolean linear = strcmp(node->op->name, "linear") == 0;
    plan->dtype = out->type.dtype;
    plan->lead = out->type.rank - 2;
    memcpy(plan->dims, out->type.dims, sizeof plan->dims);
    p->a = matrix_of(&a, plan->lead, plan->a_batch);
    p->b = matrix_of(&b, plan->lead, plan->b_batch);
    if (linear) {
        turn(&p->b);
    }
    p->out = (OneDnnBox){ .dtype = plan->dtype, .rank = 2 };
    p->out.dims[0] = p->a.dims[0];
    p->out.dims[1] = p->out.strides[0] = p->b.dims[1];
    p->out.strides[1] = 1;
    if (linear && node->n_in > 2 && node->in[2].type.dtype != TN_DTYPE_NONE) {
        operand(plan, node, 2);
        p->bias = p->out;
        p->bias.dims[0] = 1;
    }
    merge_batches(plan);
    plan->slices.times = 1;
    for (gint i = 0; i < plan->lead; i++) {
        plan->slices.times *= plan->dims[i];
    }
    tidy(&p->a);
    tidy(&p->b);
}

static void
copy_input(const Copy *copy, const void *from, char *to)
{
    const TnType *type = &copy->from.type;
    const gint last = type->rank - 1;
    const gint64 row = type->dims[last], cell = (gint64)tn_dtype_size(type->dtype);
    gint64 index[TN_MAX_RANK] = { 0 };
    for (gint64 done = 0; done < copy->from.count; done += row) {
        const char *at = from;
        for (gint i = 0; i < last; i++) {
            at += index[i] * copy->from.strides[i] * cell;
        }
        for (gint64 j = 0; j < row; j++, to += cell) {
            memcpy(to, at + j * copy->from.strides[last] * cell, (gsize)cell);
        }
        for (gint i = last - 1; i >= 0 && ++index[i] == type->dims[i]; i--) {
            index[i] = 0;
        }
    }
}

/* Input i where the product reads it: in scratch if it is copied. */
static char *
read_at(const Plan *plan, const TnRun *run, gint i)
{
    const Copy *copy = &plan->copy[i];
    return copy->wanted ? (char *)run->scratch + copy->at : run->in[i];
}

static TnStatus
lay_b(gconstpointer data, const TnRun *run, char *to)
{
    const Plan *plan = data;
    char *b = read_at(plan, run, ONEDNN_B);
    if (plan->copy[ONEDNN_B].wanted) {
        copy_input(&plan->copy[ONEDNN_B], run->in[ONEDNN_B], b);
    }
    return slices_lay(&plan->slices, 0, run, b, to);
}

/* b is laid apart where one matrix is fixed, or where slices would each copy the whole of it. */
static gboolean
lays_apart(const Plan *plan)
{
    for (gint i = 0; i < plan->lead; i++) {
        if (plan->b_batch[i] != 0 && plan->dims[i] > 1) {
            return FALSE;
        }
    }
    return plan->slices.kept || (plan->product.pack && plan->by_rows);
}

static void
plan_slices(Plan *plan)
{
    OneDnnMatmul *p = &plan->product;
    const gint64 m = p->out.dims[0], n = p->out.dims[1], k = p->a.dims[1];
    plan->by_rows = n < 2 * SLICE_SIZE && m > n;
    const gint64 all = plan->by_rows ? m : n;
    slices_cut(&plan->slices, all, SLICE_SIZE, MIN(MOST_SLICES, m * n * k / SLICE_WORK));
    const gint64 per = plan->slices.per;
    p->pack = m >= PACK_ROWS && plan->dtype == TN_DTYPE_F32;
    plan->step[ONEDNN_A] = plan->by_rows ? per * p->a.strides[0] : 0;
    plan->step[ONEDNN_B] = plan->by_rows ? 0 : per * p->b.strides[1];
    plan->step[ONEDNN_BIAS] = plan->by_rows ? 0 : per;
    plan->step[ONEDNN_OUT] = per * p->out.strides[plan->by_rows ? 0 : 1];
    p->laid = lays_apart(plan);
    if (p->laid) {
        plan->slices.lay = lay_b;
        slices_add_weights(&plan->slices, ONEDNN_B,
                           plan->step[ONEDNN_B] * (gint64)tn_dtype_size(plan->dtype));
    }
}

/* --- Running ---------------------------------------------------------------------------------- */

static gint64
offset(const Plan *plan, gint64 batch, const gint64 *strides)
{
    gint64 at = 0;
    for (gint i = plan->lead - 1; i >= 0; i--) {
        at += batch % plan->dims[i] * strides[i];
        batch /= plan->dims[i];
    }
    return at;
}

static TnStatus
run_item(gpointer data, gsize item, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const TnRun *run = job->run;
    const gint64 batch = slices_batch(&plan->slices, item);
    const gint64 slice = (gint64)item % plan->slices.n;
    const gint64 cell = (gint64)tn_dtype_size(plan->dtype);
    const gint64 size = plan->product.out.dims[0] * plan->product.out.dims[1];
    const gint64 at[ONEDNN_N_PORTS] = { offset(plan, batch, plan->a_batch),
                                        offset(plan, batch, plan->b_batch), 0, batch * size };
    void *ports[ONEDNN_N_PORTS] = { run->in[0], run->in[1], run->in[2], run->out[0] };
    (void)n;
    for (gint i = 0; i < ONEDNN_N_PORTS; i++) {
        if (ports[i] != NULL) {
            ports[i] = (char *)ports[i] + (at[i] + slice * plan->step[i]) * cell;
        }
    }
    if (plan->product.laid) {
        ports[ONEDNN_B] = slices_weights(&plan->slices, 0, item, run->in[ONEDNN_B], job->laid);
    }
    return slices_call(&plan->slices, item, ports, run->scratch);
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *plan = state;
    const gboolean laid = plan->product.laid;
    void *in[ONEDNN_OUT] = { NULL };
    TnRun inner = *run;
    Job job = { plan, &inner, NULL };
    for (gint i = 0; i < ONEDNN_OUT; i++) {
        if (plan->copy[i].wanted && !(laid && i == ONEDNN_B)) {
            copy_input(&plan->copy[i], run->in[i], read_at(plan, run, i));
        }
        in[i] = plan->copy[i].from.count > 0 ? read_at(plan, run, i) : NULL;
    }
    const TnStatus status = laid ? slices_laid(&plan->slices, run, &job.laid) : TN_OK;
    inner.in = in;
    return status == TN_OK ? slices_run(&plan->slices, run, run_item, &job, "a product") : status;
}

/* --- Planning --------------------------------------------------------------------------------- */

static OneDnnCall *
slice_new(gconstpointer data, gint64 size, GError **error)
{
    const Plan *plan = data;
    OneDnnMatmul slice = plan->product;
    if (plan->by_rows) {
        slice.a.dims[0] = slice.out.dims[0] = size;
    } else {
        slice.b.dims[1] = slice.out.dims[1] = slice.bias.dims[1] = size;
    }
    return onednn_matmul_new(&slice, error);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *plan = g_new0(Plan, 1);
    plan_product(plan, node);
    plan->slices.n_in = node->n_in;
    plan->slices.kept = node->in[ONEDNN_B].fixed && !plan->copy[ONEDNN_B].wanted;
    for (gint i = 0; i < ONEDNN_OUT; i++) {
        Copy *copy = &plan->copy[i];
        if (copy->wanted) {
            copy->at = slices_reserve(&plan->slices,
                                      copy->from.count * (gint64)tn_dtype_size(plan->dtype));
        }
    }
    plan_slices(plan);
    return slices_prepare(plan, slice_new, prepared, error);
}

static gboolean
claims(const TnNode *node)
{
    return MIN(node->in[0].type.rank, node->in[1].type.rank) >= 2 && node->in[0].count > 0 &&
           node->out[0].count > 0 && onednn_takes(node->in[0].type.dtype);
}

/* By sizes: how the inputs lie is settled later. */
static gboolean
pays(const TnNode *node)
{
    return onednn_table_alone_pays() && claims(node);
}

#define ROW(op_, dtype, rank_)                                                                     \
    {                                                                                              \
        .op = (op_), .dtypes = (dtype), .flags = TN_KERNEL_STRIDED, .rank = (rank_),               \
        .claims = claims, .prepare = prepare, .run = run, .release = slices_release, .pays = pays  \
    }
/* Above the plugin cpu's products of bf16, which have ranks of their own. */
#define BF16_RANK (ONEDNN_RANK + 20)

static const TnKernel kernels[] = {
    ROW("matmul", TN_DT(F32), ONEDNN_RANK),
    ROW("linear", TN_DT(F32), ONEDNN_RANK),
    ROW("matmul", TN_DT(BF16), BF16_RANK),
    ROW("linear", TN_DT(BF16), BF16_RANK),
};

const TnKernelTable onednn_matmul = ONEDNN_TABLE(kernels);
