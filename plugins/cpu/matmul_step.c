/* matmul_step.c: steps of Adam with a gradient that is a product of two matrices of f32. As soon as a part of
 * the product is there, the step is taken with it, whose parameters and moments were fetched while it was
 * multiplied: the gradient of the whole parameter is never in memory. The same bits as the product and the step
 * one after the other. */
#include "adam.h"
#include "copy.h"
#include "gemm_block.h"
#include "tables.h"

enum { A, B, PARAM, MEAN, SQUARE, LR, STEP };
#define N_OUT 3

/* Of a part: so few rows that threads end together and that what is fetched lies in few pages, and so many
 * columns that what is read of b, once for each part below another, stays in the second-level cache. */
#define PART_ROWS 24
#define PART_COLS 1344
#define B_BYTES (1 << 19)
/* Columns of a part are whole panels of every instruction set's products. */
#define PANEL 64

typedef struct {
    CpuGemm gemm;
    CpuAdam adam;
    gint64 cols, down;      /* of a part; parts below one another */
    gsize packed_at;        /* in scratch */
    gboolean packs;         /* b whole */
    gboolean copies[N_OUT]; /* parameter and moments that have gaps, to their outputs first */
    CpuCopy copy[N_OUT];
} Plan;

typedef struct {
    GemmAfter after; /* first, for the step is told of it */
    const Plan *plan;
    AdamNumbers numbers;
    const char *a, *b;
    char *packed; /* NULL: b is not packed whole */
    float *out[N_OUT];
    const float *old[N_OUT];
} Job;

/* --- Planning --------------------------------------------------------------------------------- */

/* Where it was measured to win: less k leaves no time to fetch in, more makes the product longer but not the
 * step, and few or narrow panels are not worth it. */
#define LEAST_ROWS 48
#define LEAST_COLS 192
#define LEAST_ELEMENTS 32768
#define LEAST_K 64
#define MOST_K 256

static gboolean
claims(const TnNode *node)
{
    for (gint i = A; i <= SQUARE; i++) {
        if (node->in[i].type.dtype != TN_DTYPE_F32) {
            return FALSE;
        }
    }
    const gint64 m = node->in[PARAM].type.dims[0], n = node->in[PARAM].type.dims[1];
    const gint64 k = node->in[A].type.dims[1];
    return node->in[LR].type.dtype == TN_DTYPE_F64 && node->in[STEP].type.dtype == TN_DTYPE_F64 &&
           cpu_adam_fits(node->attrs) && m >= LEAST_ROWS && n >= LEAST_COLS &&
           cpu_times(m, n) >= LEAST_ELEMENTS && k >= LEAST_K && k <= MOST_K;
}

static void
plan_parts(Plan *plan, TnPrepared *prepared)
{
    CpuGemm *g = &plan->gemm;
    const gint64 room = B_BYTES / (gint64)sizeof(float) / g->k / PANEL * PANEL;
    plan->cols = MIN(g->n, CLAMP(room, PANEL, PART_COLS));
    plan->down = cpu_parts(g->m, PART_ROWS);
    cpu_gemm_plan(g);
    g->rows = g->m; /* that read one b */
    g->n_down = plan->down;
    g->c_row = plan->cols;
    const gsize packed = cpu_gemm_packed_bytes(g);
    plan->packs = packed > 0;
    plan->packed_at = cpu_reserve(&prepared->scratch, (gint64)packed);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, gboolean decays_itself)
{
    const TnArg *a = &node->in[A], *b = &node->in[B];
    Plan *plan = g_new0(Plan, 1);
    plan->adam = cpu_adam_plan(node->attrs, decays_itself);
    plan->gemm = (CpuGemm){ .m = a->type.dims[0],
                            .n = b->type.dims[1],
                            .k = a->type.dims[1],
                            .a_row = a->strides[0],
                            .a_col = a->strides[1],
                            .b_row = b->strides[0],
                            .b_col = b->strides[1],
                            .c_row = b->type.dims[1],
                            .own = TRUE };
    plan_parts(plan, prepared);
    for (gint i = 0; i < N_OUT; i++) {
        const TnArg *old = &node->in[PARAM + i];
        const gint64 *dims = old->type.dims, to[] = { dims[1], 1 };
        plan->copies[i] = !cpu_contiguous(old);
        cpu_copy_plan(&plan->copy[i], sizeof(float), 2, dims, to, old->strides);
    }
    prepared->state = plan;
    return TRUE;
}

static gboolean
prepare_adam(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return prepare(node, prepared, FALSE);
}

static gboolean
prepare_adamw(const TnNode *node, TnPrepared *prepared, GError **error)
{
    (void)error;
    return prepare(node, prepared, TRUE);
}

/* --- Running ---------------------------------------------------------------------------------- */

static void
step_part(const GemmAfter *after, gint64 row, gint64 rows, gint64 col, gint64 cols, const float *c,
          gint64 c_row)
{
    const Job *job = (const Job *)after;
    const gint64 n = job->plan->gemm.n, at = row * n + col;
    const AdamElements elements = {
        job->out[0] + at,
        job->out[1] + at,
        job->out[2] + at,
        job->old[0] + at,
        job->old[1] + at,
        job->old[2] + at,
        c,
        FALSE,
        .row = n,
        .grad_row = c_row,
    };
    job->plan->adam.step(&job->numbers, &elements, rows, cols);
}

static TnStatus
run_part(gpointer data, gsize part, gsize n)
{
    const Job *job = data;
    const Plan *plan = job->plan;
    const CpuGemm *g = &plan->gemm;
    GemmBlock block = { .gemm = g, .packed = job->packed };
    float room[PART_ROWS * PART_COLS] __attribute__((aligned(64)));
    (void)n;
    block.row = (gint64)part % plan->down * PART_ROWS;
    block.col = (gint64)part / plan->down * plan->cols;
    block.rows = MIN(PART_ROWS, g->m - block.row);
    block.cols = MIN(plan->cols, g->n - block.col);
    for (block.k0 = 0; block.k0 < g->k; block.k0 += GEMM_BLOCK_K) {
        block.k = MIN(GEMM_BLOCK_K, g->k - block.k0);
        block.after = block.k0 + block.k == g->k ? &job->after : NULL;
        gemm_block_run(&block, job->a, job->b, (char *)room);
    }
    return TN_OK;
}

static TnStatus
pack_part(gpointer data, gsize part, gsize n)
{
    const Job *job = data;
    (void)n;
    cpu_gemm_pack(&job->plan->gemm, job->b, job->packed, (gint64)part);
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Plan *plan = state;
    const CpuGemm *g = &plan->gemm;
    const double lr = *(const double *)run->in[LR], step = *(const double *)run->in[STEP];
    Job job = { .after = { .run = step_part },
                .plan = plan,
                .numbers = cpu_adam_numbers(&plan->adam, lr, step),
                .a = run->in[A],
                .b = run->in[B],
                .packed = plan->packs ? (char *)run->scratch + plan->packed_at : NULL };
    for (gint i = 0; i < N_OUT; i++) {
        job.out[i] = run->out[i];
        job.old[i] = plan->copies[i] ? job.out[i] : run->in[PARAM + i];
        if (plan->copies[i]) {
            cpu_copy_run(&plan->copy[i], run->out[i], run->in[PARAM + i]);
        }
    }
    job.after.works_on = (const char *)job.old[0];
    for (gint i = 0; i < N_OUT - 1; i++) {
        job.after.also[i] = (guintptr)job.old[i + 1] - (guintptr)job.old[0];
    }
    if (plan->packs) {
        tn_parallel_for((gsize)cpu_gemm_pack_parts(g), pack_part, &job);
    }
    return tn_parallel_for((gsize)(plan->down * cpu_parts(g->n, plan->cols)), run_part, &job);
}

#define ROW(name, prepare_)                                                                        \
    {                                                                                              \
        .op = (name), .dtypes = TN_DT(F32), .flags = TN_KERNEL_IN_PLACE | TN_KERNEL_STRIDED,       \
        .claims = claims, .prepare = (prepare_), .run = run, .release = g_free                     \
    }

static const TnKernel kernels[] = {
    ROW("adam_product_step", prepare_adam),
    ROW("adamw_product_step", prepare_adamw),
};

const TnKernelTable cpu_matmul_step = CPU_TABLE(kernels);
