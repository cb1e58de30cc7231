/* integer_matmul.c: products of matrices of 8-bit numbers by oneDNN, exact: matmul_integer and
 * qlinear_matmul with one matrix b for all, on slices of columns or rows by sizes alone. */
#include "integer.h"
#include "slices.h"
#include "tables.h"
#include "worth.h"

#include <string.h>

#include <tenon/pool.h>

#define MOST_SLICES 8
#define SLICE_WORK (1 << 22)
#define SLICE_SIZE 64
/* Rows for which it pays to lay b as the library likes it best where that is done in each run. */
#define PACK_ROWS 16

typedef struct {
    Slices slices; /* of rows or columns */
    IntegerTypes types;
    gint64 m, n, k, zero_rows; /* m: rows of all matrices a; zero_rows: of one */
    gboolean by_rows;
    gsize column_at, b_at; /* among what is laid: sums of b's columns; b as i8, if it is not */
    /* Of a slice's own scratch: its columns' zero points and factors, the sums of products. */
    gsize zero_at, factor_at, sums_at;
} Plan;

typedef struct {
    const Plan *plan;
    const TnRun *run;
    char *laid;
    gboolean shifted; /* b has zero points */
} Job;

/* What a slice makes of its sums. */
typedef struct {
    const gint32 *column; /* from the first of the slice's columns on, as the next */
    gint32 *zero;
    float *factor; /* by number of the column */
} Columns;

/* --- What is laid ----------------------------------------------------------------------------- */

/* b as i8. */
static const gint8 *
plain_b(const Plan *p, const TnRun *run, const char *laid)
{
    return p->types.w == TN_DTYPE_U8 ? (const gint8 *)laid + p->b_at : run->in[p->types.at.w];
}

/* Some columns of b as i8, and their sums. */
static TnStatus
columns_chunk(gpointer data, gsize chunk, gsize n_chunks)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = (gint64)chunk * SLICE_SIZE, n = MIN(SLICE_SIZE, p->n - first);
    const gint8 *b = plain_b(p, job->run, job->laid);
    gint32 *column = (gint32 *)(void *)(job->laid + p->column_at) + first;
    (void)n_chunks;
    memset(column, 0, (gsize)n * sizeof *column);
    for (gint64 i = 0; i < p->k; i++) {
        const gint8 *row = b + i * p->n + first;
        if (p->types.w == TN_DTYPE_U8) {
            integer_signed(&p->types, job->run->in[p->types.at.w], i * p->n + first, n,
                           (gint8 *)row);
        }
        for (gint64 j = 0; j < n; j++) {
            column[j] += row[j];
        }
    }
    return TN_OK;
}

static TnStatus
lay(gconstpointer data, const TnRun *run, char *to)
{
    const Plan *p = data;
    Job job = { .plan = p, .run = run, .laid = to };
    const TnStatus status =
        tn_parallel_for((gsize)((p->n + SLICE_SIZE - 1) / SLICE_SIZE), columns_chunk, &job);
    return status == TN_OK && p->slices.n_weights > 0
               ? slices_lay(&p->slices, 0, run, plain_b(p, run, to), to)
               : status;
}

/* --- Running ---------------------------------------------------------------------------------- */

/* A row's sums of products, of columns from `first` on, less what the zero points made of them. */
static void
finish_row(const Job *job, const Columns *c, gint64 row, gint64 first, gint64 n, gint32 *sums)
{
    const Plan *p = job->plan;
    const TnRun *run = job->run;
    const guint32 a_zero = (guint32)integer_x_zero(&p->types, run, row % p->zero_rows);
    const gint32 whole =
        job->shifted ? integer_sum(&p->types, run->in[p->types.at.x], row * p->k, p->k) : 0;
    const guint32 rest = (guint32)whole - (guint32)p->k * a_zero;
    for (gint64 j = 0; j < n; j++) {
        sums[j] = (gint32)((guint32)sums[j] - a_zero * (guint32)c->column[j] -
                           (guint32)c->zero[j] * rest);
    }
    integer_store(&p->types, run, sums, n, first, TRUE, c->factor, row * p->n + first);
}

static Columns
columns_of(const Job *job, gint64 first, gint64 n, char *own)
{
    const Plan *p = job->plan;
    const Columns c = { .column = (const gint32 *)(const void *)(job->laid + p->column_at) + first,
                        .zero = (gint32 *)(void *)(own + p->zero_at),
                        .factor = (float *)(void *)(own + p->factor_at) };
    for (gint64 j = 0; j < n; j++) {
        c.zero[j] = integer_w_zero(&p->types, job->run, first + j);
        c.factor[first + j] = integer_factor(&p->types, job->run, first + j);
    }
    return c;
}

static TnStatus
run_slice(gpointer data, gsize slice, gsize n_slices)
{
    const Job *job = data;
    const Plan *p = job->plan;
    const gint64 first = slices_first(&p->slices, slice), size = slices_size(&p->slices, slice);
    const gint64 row = p->by_rows ? first : 0, col = p->by_rows ? 0 : first;
    const gint64 rows = p->by_rows ? size : p->m, cols = p->by_rows ? p->n : size;
    char *own = slices_own(&p->slices, slice, job->run->scratch);
    gint32 *sums = (gint32 *)(void *)(own + p->sums_at);
    const Columns columns = columns_of(job, col, cols, own);
    const gint8 *b = plain_b(p, job->run, job->laid);
    void *ports[ONEDNN_N_PORTS] = { NULL };
    (void)n_slices;
    ports[ONEDNN_A] = (char *)job->run->in[p->types.at.x] + row * p->k;
    ports[ONEDNN_B] = p->slices.n_weights > 0 ? slices_weights(&p->slices, 0, slice, b, job->laid)
                                              : (gint8 *)b + col;
    ports[ONEDNN_OUT] = sums;
    const TnStatus status = slices_call(&p->slices, slice, ports, job->run->scratch);
    for (gint64 i = 0; status == TN_OK && i < rows; i++) {
        finish_row(job, &columns, row + i, col, cols, sums + i * cols);
    }
    return status;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *p = state;
    Job job = { .plan = p, .run = run, .shifted = integer_any_w_zero(&p->types, run, p->n) };
    const TnStatus status = slices_laid(&p->slices, run, &job.laid);
    return status == TN_OK ? slices_run(&p->slices, run, run_slice, &job, "a product") : status;
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
    plan->slices.lay = lay;
    plan->slices.n_in = node->n_in;
    plan->slices.kept = b->fixed;
    /* With a of i8 the library's layout also has sums of b's columns, and it lays only a whole matrix so. */
    const gboolean part = !plan->by_rows && plan->slices.n > 1;
    if ((b->fixed || plan->m >= PACK_ROWS) && !(part && plan->types.x == TN_DTYPE_I8)) {
        slices_add_weights(&plan->slices, ONEDNN_B, plan->by_rows ? 0 : plan->slices.per);
    }
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
        .laid = plan->slices.n_weights > 0
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
    const gint64 cell = sizeof(gint32), cols = plan->by_rows ? plan->n : plan->slices.per;
    const gint64 rows = plan->by_rows ? plan->slices.per : plan->m;
    plan->sums_at = slices_reserve_own(&plan->slices, rows * cols * cell);
    plan->zero_at = slices_reserve_own(&plan->slices, cols * cell);
    plan->factor_at = slices_reserve_own(&plan->slices, plan->n * cell);
    plan->column_at = slices_reserve_laid(&plan->slices, plan->n * cell);
    if (plan->types.w == TN_DTYPE_U8) {
        plan->b_at = slices_reserve_laid(&plan->slices, plan->k * plan->n);
    }
    return slices_prepare(plan, slice_new, prepared, error);
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
