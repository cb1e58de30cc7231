/* matmul_bf16.c: batches of products of matrices of bf16, for matmul and linear. */
#include "gemm_bf16.h"
#include "tables.h"

#define PLAIN_WORK (1 << 20)

typedef struct {
    CpuGemmBf16 gemm;
    gint lead; /* leading axes */
    gint64 dims[TN_MAX_RANK], a_batch[TN_MAX_RANK], b_batch[TN_MAX_RANK];
    gint64 batches, regions;
    gint64 parts, parts_per_chunk; /* copies of all batches */
    gint64 items, per_chunk;       /* regions of all batches */
    gsize a_at;                    /* in scratch, behind the copies of b */
    gboolean bias;
    gint64 bias_stride;
} Matmul;

typedef struct {
    const Matmul *m;
    const guint16 *a, *b, *bias;
    guint16 *a_to, *b_to;
    char *c;
} Job;

/* --- Planning --------------------------------------------------------------------------------- */

/* Strides of the leading axes (broadcast to `lead`) and of the matrix; a vector is one row or one
 * column. */
static void
matrix_strides(const TnArg *arg, gboolean left, gint lead, gint64 *batch, gint64 *row, gint64 *col)
{
    const gint rank = arg->type.rank, own = MAX(0, rank - 2);
    for (gint i = 0; i < lead; i++) {
        const gint k = i - (lead - own);
        batch[i] = k < 0 || arg->type.dims[k] == 1 ? 0 : arg->strides[k];
    }
    *row = rank > 1 ? arg->strides[rank - 2] : left ? 0 : arg->strides[0];
    *col = rank > 1 ? arg->strides[rank - 1] : left ? arg->strides[0] : 0;
}

static TnArg
turned(const TnArg *matrix)
{
    TnArg arg = *matrix;
    for (gint i = 0; i < 2; i++) {
        arg.type.dims[i] = matrix->type.dims[1 - i];
        arg.strides[i] = matrix->strides[1 - i];
    }
    return arg;
}

/* Leading axes of a that follow each other like rows, with a single b for all, make one taller
 * product. */
static void
merge_batches(Matmul *m)
{
    CpuGemmBf16 *g = &m->gemm;
    while (m->lead > 0) {
        const gint last = m->lead - 1;
        if (m->b_batch[last] != 0 || (m->a_batch[last] != g->m * g->a_row && g->m != 1)) {
            return;
        }
        g->a_row = g->m == 1 ? m->a_batch[last] : g->a_row;
        g->m *= m->dims[last];
        m->lead--;
    }
}

static void
plan(Matmul *m, const TnNode *node)
{
    const TnArg *out = &node->out[0], *a = &node->in[0];
    TnArg b = node->in[1];
    CpuGemmBf16 *g = &m->gemm;
    if (strcmp(node->op->name, "linear") == 0) {
        b = turned(&b);
        m->bias = node->n_in > 2 && node->in[2].type.dtype != TN_DTYPE_NONE;
        m->bias_stride = m->bias ? node->in[2].strides[0] : 0;
    }
    const gint rank_a = a->type.rank, rank_b = b.type.rank;
    m->lead = out->type.rank - (rank_a > 1) - (rank_b > 1);
    memcpy(m->dims, out->type.dims, sizeof m->dims);
    g->m = rank_a > 1 ? a->type.dims[rank_a - 2] : 1;
    g->k = a->type.dims[rank_a - 1];
    g->n = rank_b > 1 ? b.type.dims[rank_b - 1] : 1;
    g->wide = out->type.dtype == TN_DTYPE_F32;
    matrix_strides(a, TRUE, m->lead, m->a_batch, &g->a_row, &g->a_col);
    matrix_strides(&b, FALSE, m->lead, m->b_batch, &g->b_row, &g->b_col);
    merge_batches(m);
    cpu_gemm_bf16_plan(g);
    m->batches = cpu_count(m->lead, m->dims);
    m->regions = g->n_down * g->n_across;
    m->items = m->batches * m->regions;
    m->per_chunk = MAX(1, (1 << 18) / MAX(1, g->rows * g->cols * MAX(1, g->k)));
    m->parts = m->batches * cpu_gemm_bf16_parts(g);
    m->parts_per_chunk = cpu_items_per_chunk(m->parts, g->deep * BF16_DEEP * BF16_TILE / 4);
    m->a_at = (gsize)m->batches * g->b_bytes;
}

static void
say_slow(void)
{
    static gint said;
    if (cpu_bf16 == CPU_BF16_PLAIN && g_atomic_int_compare_and_exchange(&said, 0, 1)) {
        tn_log(
            "cpu", TN_LOG_WARN,
            "this processor has no instructions for products of bf16 (or may not use them): they "
            "are computed in f32, more slowly than from f32");
    }
}

/* Large products are faster in f32, copies included, where there are no instructions for these. */
static gboolean
claims(const TnNode *node)
{
    Matmul m = { 0 };
    say_slow();
    plan(&m, node);
    const gint64 rows = node->batch_invariant ? 1 : m.gemm.m;
    return cpu_bf16 != CPU_BF16_PLAIN || rows * m.gemm.n * m.gemm.k < PLAIN_WORK;
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Matmul *m = g_new0(Matmul, 1);
    (void)error;
    plan(m, node);
    prepared->state = m;
    prepared->scratch = m->a_at + (gsize)m->batches * m->gemm.a_bytes;
    return TRUE;
}

/* --- Running ---------------------------------------------------------------------------------- */

static Job
of_batch(const Job *job, gint64 batch)
{
    const Matmul *m = job->m;
    gint64 index[TN_MAX_RANK] = { 0 };
    Job one = *job;
    cpu_position(m->lead, m->dims, batch, index);
    one.a += cpu_dot(m->lead, index, m->a_batch);
    one.b += cpu_dot(m->lead, index, m->b_batch);
    one.a_to += (gsize)batch * m->gemm.a_bytes / sizeof *one.a_to;
    one.b_to += (gsize)batch * m->gemm.b_bytes / sizeof *one.b_to;
    one.c += batch * m->gemm.m * m->gemm.n * (gint64)(m->gemm.wide ? sizeof(float) : 2);
    return one;
}

static TnStatus
pack_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Matmul *m = job->m;
    const gint64 each = cpu_gemm_bf16_parts(&m->gemm), first = (gint64)chunk * m->parts_per_chunk;
    (void)n;
    for (gint64 i = first; i < MIN(m->parts, first + m->parts_per_chunk); i++) {
        const Job one = of_batch(job, i / each);
        cpu_gemm_bf16_pack(&m->gemm, one.a, one.b, one.a_to, one.b_to, i % each);
    }
    return TN_OK;
}

static TnStatus
region_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Matmul *m = job->m;
    const gint64 first = (gint64)chunk * m->per_chunk;
    (void)n;
    for (gint64 i = first; i < MIN(m->items, first + m->per_chunk); i++) {
        const Job one = of_batch(job, i / m->regions);
        cpu_gemm_bf16_region(&m->gemm, one.a, one.a_to, one.b_to, one.bias, m->bias_stride, one.c,
                             i % m->regions);
    }
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Matmul *m = state;
    Job job = { .m = m,
                .a = run->in[0],
                .b = run->in[1],
                .bias = m->bias ? run->in[2] : NULL,
                .b_to = run->scratch,
                .a_to = (void *)((char *)run->scratch + m->a_at),
                .c = run->out[0] };
    if (m->items == 0) {
        return TN_OK;
    }
    const gint64 chunks = (m->parts + m->parts_per_chunk - 1) / m->parts_per_chunk;
    const TnStatus status = tn_parallel_for((gsize)chunks, pack_chunk, &job);
    return status != TN_OK ? status
                           : tn_parallel_for((gsize)((m->items + m->per_chunk - 1) / m->per_chunk),
                                             region_chunk, &job);
}

#define ROW(name)                                                                                  \
    {                                                                                              \
        .op = (name), .dtypes = TN_DT(BF16), .flags = TN_KERNEL_STRIDED, .rank = 20,               \
        .claims = claims, .prepare = prepare, .run = run, .release = g_free                        \
    }

static const TnKernel kernels[] = { ROW("matmul"), ROW("linear") };

const TnKernelTable cpu_matmul_bf16 = CPU_TABLE(kernels);
