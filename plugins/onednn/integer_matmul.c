/* integer_matmul.c: products of matrices of 8-bit numbers by oneDNN, exact: matmul_integer and
 * qlinear_matmul with one matrix b for all, on slices of columns or rows by sizes alone. */
#include "integer.h"
#include "slices.h"
#include "tables.h"
#include "worth.h"

#include <tenon/pool.h>

#define MOST_SLICES 8
#define SLICE_WORK (1 << 22)
#define SLICE_SIZE 64
/* Rows for which it pays to copy b into the library's own layout. */
#define PACK_ROWS 16

typedef struct {
    Slices slices; /* of rows or columns */
    IntegerTypes types;
    gint64 m, n, k, zero_rows; /* m: rows of all matrices a; zero_rows: of one */
    gboolean by_rows;
    /* In scratch: b as i8, its columns' sums, zero points and factors; slices, and in each the sums of products. */
    gsize b_at, column_at, zero_at, factor_at, slices_at, sums_at;
} Plan;

typedef struct {
    const Plan *plan;
    const TnRun *run;
    gint8 *b;
    gint32 *column, *zero;
    float *factor;
    gboolean shifted; /* b has zero points */
} Job;

/* --- Running ---------------------------------------------------------------------------------- */

/* Some columns of b as i8, with their sums. */
static TnStatus
columns_chunk(gpointer data, gsize chunk, gsize n_chunks)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = (gint64)chunk * SLICE_SIZE, n = MIN(SLICE_SIZE, p->n - first);
    (void)n_chunks;
    for (gint64 j = first; j < first + n; j++) {
        job->column[j] = 0;
        job->zero[j] = integer_w_zero(&p->types, job->run, j);
        job->factor[j] = integer_factor(&p->types, job->run, j);
    }
    for (gint64 i = 0; i < p->k; i++) {
        gint8 *row = job->b + i * p->n + first;
        integer_signed(&p->types, job->run->in[p->types.at.w], i * p->n + first, n, row);
        for (gint64 j = 0; j < n; j++) {
            job->column[first + j] += row[j];
        }
    }
    return TN_OK;
}

/* A row's sums of products, of columns from `first` on, less what the zero points made of them. */
static void
finish_row(const Job *job, gint64 row, gint64 first, gint64 n, gint32 *sums)
{
    const Plan *p = job->plan;
    const TnRun *run = job->run;
    const guint32 a_zero = (guint32)integer_x_zero(&p->types, run, row % p->zero_rows);
    const gint32 whole =
        job->shifted ? integer_sum(&p->types, run->in[p->types.at.x], row * p->k, p->k) : 0;
    const guint32 rest = (guint32)whole - (guint32)p->k * a_zero;
    const gint32 *column = job->column + first, *zero = job->zero + first;
    for (gint64 j = 0; j < n; j++) {
        sums[j] =
            (gint32)((guint32)sums[j] - a_zero * (guint32)column[j] - (guint32)zero[j] * rest);
    }
    integer_store(&p->types, run, sums, n, first, TRUE, job->factor, row * p->n + first);
}

static TnStatus
run_slice(gpointer data, gsize slice, gsize n_slices)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = slices_first(&p->slices, slice), size = slices_size(&p->slices, slice);
    const gint64 row = p->by_rows ? first : 0, col = p->by_rows ? 0 : first;
    const gint64 rows = p->by_rows ? size : p->m, cols = p->by_rows ? p->n : size;
    char *scratch = (char *)job->run->scratch + p->slices_at;
    gint32 *sums = (gint32 *)(void *)(slices_memory(&p->slices, slice, scratch) + p->sums_at);
    void *ports[ONEDNN_N_PORTS] = { NULL };
    ports[ONEDNN_A] = (char *)job->run->in[p->types.at.x] + row * p->k;
    ports[ONEDNN_B] = job->b + col;
    ports[ONEDNN_OUT] = sums;
    const TnStatus status = slices_call(&p->slices, slice, ports, scratch);
    (void)n_slices;
    for (gint64 i = 0; status == TN_OK && i < rows; i++) {
        finish_row(job, row + i, col, cols, sums + i * cols);
    }
    return status;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *p = state;
    char *scratch = run->scratch;
    Job job = { .plan = p,
                .run = run,
                .b = (gint8 *)(scratch + p->b_at),
                .column = (gint32 *)(void *)(scratch + p->column_at),
                .zero = (gint32 *)(void *)(scratch + p->zero_at),
                .factor = (float *)(void *)(scratch + p->factor_at),
                .shifted = integer_any_w_zero(&p->types, run, p->n) };
    TnStatus status =
        tn_parallel_for((gsize)((p->n + SLICE_SIZE - 1) / SLICE_SIZE), columns_chunk, &job);
    if (status == TN_OK) {
        status = slices_run(&p->slices, run, run_slice, &job, "a product");
    }
    return status;
}

/* --- Planning --------------------------------------------------------------------------------- */

static void
set_sizes(Plan *plan, const TnNode *node)
{
    plan->types = integer_types(node);
    const TnArg *a = &node->in[plan->types.at.x], *b = &node->in[plan->types.at.w];
    plan->k = b->type.dims[0];
    plan->n = b->type.dims[1];
    plan->m = a->count / plan->k;
    plan->zero_rows = a->type.dims[a->type.rank - 2];
    plan->by_rows = plan->n < 2 * SLICE_SIZE && plan->m > plan->n;
    const gint64 all = plan->by_rows ? plan->m : plan->n;
    slices_cut(&plan->slices, all, SLICE_SIZE,
               MIN(MOST_SLICES, plan->m * plan->n * plan->k / SLICE_WORK));
}

static OneDnnMatmul
slice_of(const Plan *plan, gint64 size)
{
    const gint64 m = plan->by_rows ? size : plan->m, n = plan->by_rows ? plan->n : size;
    return (OneDnnMatmul){
        .a = { .dtype = plan->types.x,
               .rank = 2,
               .dims = { m, plan->k },
               .strides = { plan->k, 1 } },
        .b = { .dtype = TN_DTYPE_I8, .rank = 2, .dims = { plan->k, n }, .strides = { plan->n, 1 } },
        .out = { .dtype = TN_DTYPE_I32, .rank = 2, .dims = { m, n }, .strides = { n, 1 } },
        .pack = m >= PACK_ROWS
    };
}

static OneDnnCall *
slice_new(gconstpointer plan, gint64 size, GError **error)
{
    const OneDnnMatmul slice = slice_of(plan, size);
    return onednn_matmul_new(&slice, error);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Plan *plan = g_new0(Plan, 1);
    set_sizes(plan, node);
    if (!slices_make(&plan->slices, slice_new, error)) {
        slices_release(plan);
        return FALSE;
    }
    const gint64 most = plan->slices.per * (plan->by_rows ? plan->n : plan->m);
    plan->sums_at = integer_reserve(&plan->slices.bytes, most * (gint64)sizeof(gint32));
    plan->b_at = integer_reserve(&plan->slices_at, plan->k * plan->n);
    plan->column_at = integer_reserve(&plan->slices_at, plan->n * (gint64)sizeof(gint32));
    plan->zero_at = integer_reserve(&plan->slices_at, plan->n * (gint64)sizeof(gint32));
    plan->factor_at = integer_reserve(&plan->slices_at, plan->n * (gint64)sizeof(float));
    prepared->scratch = plan->slices_at + slices_scratch(&plan->slices);
    prepared->state = plan;
    return TRUE;
}

static gboolean
claims(const TnNode *node)
{
    const IntegerTypes types = integer_types(node);
    const TnArg *b = &node->in[types.at.w];
    if (!integer_takes() || b->type.rank != 2 || node->in[types.at.x].count == 0 ||
        b->type.dims[0] > INTEGER_DEPTH || node->out[0].count == 0) {
        return FALSE;
    }
    Plan plan = { .m = 0 };
    set_sizes(&plan, node);
    const OneDnnMatmul slice = slice_of(&plan, plan.slices.per);
    return onednn_way_fits(onednn_matmul_way(&slice));
}

static gboolean
pays(const TnNode *node)
{
    const TnArg *w = &node->in[integer_types(node).at.w];
    return onednn_integer_pays(node->out[0].count * w->type.dims[0]);
}

#define ROW(op_)                                                                                   \
    {                                                                                              \
        .op = (op_), .dtypes = TN_DT(U8) | TN_DT(I8), .rank = ONEDNN_RANK, .claims = claims,       \
        .prepare = prepare, .run = run, .release = slices_release, .pays = pays                    \
    }

static const TnKernel kernels[] = { ROW("matmul_integer"), ROW("qlinear_matmul") };

const TnKernelTable onednn_integer_matmul = ONEDNN_TABLE_EXACT(kernels);
