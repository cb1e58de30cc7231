/* matmul.c: batches of products of matrices. f32 and f64 are computed where they lie; other dtypes
 * are first converted to the type that arithmetic on them is done in. */
#include "gemm.h"
#include "linear_rest.h"
#include "tables.h"

typedef struct {
    TnDtype dtype;
    TnCompute compute;
    gboolean convert; /* both operands go through scratch */
    CpuGemm gemm;
    gint lead; /* leading axes */
    gint64 dims[TN_MAX_RANK], a_batch[TN_MAX_RANK], b_batch[TN_MAX_RANK];
    gint64 batches, c_batch, regions;
    gint64 items, per_chunk; /* regions of all batches, and how many a chunk has */
    TnStatus (*share)(gsize n, TnChunkFunc func, gpointer data);
    TnArg a, b, out;
    gsize b_at, out_at; /* in scratch */
    gboolean packs;     /* b whole, at packed_at in scratch */
    gsize packed_at;
    gboolean bias; /* input 2 is added to every row of the result */
    gint64 bias_stride;
    gsize bias_at; /* in scratch, if its elements are no neighbours */
    gboolean fused;
    LinearRest rest; /* of a fused_linear */
} Matmul;

/* Strides of the leading axes (broadcast to `lead`) and of the matrix; a vector has one stride of
 * 0. */
static void
matrix_strides(const TnArg *arg, gboolean left, gint lead, gint64 *batch, gint64 *row,
               gint64 *column)
{
    gint rank = arg->type.rank, own = MAX(0, rank - 2);
    for (gint i = 0; i < lead; i++) {
        gint k = i - (lead - own);
        batch[i] = k < 0 || arg->type.dims[k] == 1 ? 0 : arg->strides[k];
    }
    if (rank == 1) {
        *row = left ? 0 : arg->strides[0];
        *column = left ? arg->strides[0] : 0;
    } else {
        *row = arg->strides[rank - 2];
        *column = arg->strides[rank - 1];
    }
}

/* Leading axes of a that follow each other like rows, with a single b for all, make one taller
 * product. */
static void
merge_batches(Matmul *m)
{
    CpuGemm *g = &m->gemm;
    while (m->lead > 0) {
        gint last = m->lead - 1;
        gboolean rows_follow = m->a_batch[last] == g->m * g->a_row || g->m == 1;
        if (m->b_batch[last] != 0 || !rows_follow) {
            return;
        }
        g->a_row = g->m == 1 ? m->a_batch[last] : g->a_row;
        g->m *= m->dims[last];
        m->lead--;
    }
}

/* Sizes of 1 may have any stride: give them one that needs no packing. */
static void
tidy_strides(CpuGemm *g)
{
    if (g->k == 1) {
        g->a_col = 1;
        g->b_row = g->n;
    }
    if (g->n == 1) {
        g->b_col = 1;
    }
    if (g->m == 1) {
        g->a_row = g->k;
    }
}

static TnArg
transposed(const TnArg *matrix)
{
    TnArg turned = *matrix;
    for (gint i = 0; i < 2; i++) {
        turned.type.dims[i] = matrix->type.dims[1 - i];
        turned.strides[i] = matrix->strides[1 - i];
    }
    return turned;
}

/* Panels [out / columns, in, columns] as a matrix [in, out]. */
static TnArg
joined(const TnArg *panels)
{
    TnArg matrix = *panels;
    matrix.type.rank = 2;
    matrix.type.dims[0] = panels->type.dims[1];
    matrix.type.dims[1] = panels->type.dims[0] * panels->type.dims[2];
    matrix.strides[0] = panels->strides[1];
    matrix.strides[1] = panels->strides[2];
    return matrix;
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    const TnArg *out = &node->out[0];
    TnArg a = node->in[0], b = node->in[1];
    Matmul *m = g_new0(Matmul, 1);
    (void)error;
    m->fused = strcmp(node->op->name, "fused_linear") == 0;
    if (b.type.rank == 2 && (m->fused || strcmp(node->op->name, "linear") == 0)) {
        b = transposed(&b);
    } else if (m->fused || strcmp(node->op->name, "linear_turned") == 0) {
        m->gemm.panel = b.type.dims[0] > 1 ? b.type.dims[2] : 0;
        b = joined(&b);
    }
    m->bias = node->n_in > 2 && node->in[2].type.dtype != TN_DTYPE_NONE;
    m->bias_stride = m->bias ? node->in[2].strides[0] : 0;
    m->a = a;
    m->b = b;
    m->out = *out;
    m->dtype = a.type.dtype;
    m->compute = tn_dtype_info(m->dtype)->compute;
    m->convert = m->dtype != TN_DTYPE_F32 && m->dtype != TN_DTYPE_F64;
    if (m->convert) {
        gsize size = m->compute == TN_COMPUTE_F32 ? 4 : 8;
        tn_type_strides(&a.type, a.strides);
        tn_type_strides(&b.type, b.strides);
        m->b_at = ((gsize)a.count * size + 63) & ~(gsize)63;
        m->out_at = m->b_at + (((gsize)b.count * size + 63) & ~(gsize)63);
        prepared->scratch = m->out_at + (gsize)out->count * size;
    }
    gint rank_a = a.type.rank, rank_b = b.type.rank;
    CpuGemm *g = &m->gemm;
    m->lead = out->type.rank - (rank_a > 1) - (rank_b > 1);
    memcpy(m->dims, out->type.dims, sizeof m->dims);
    g->f64 = m->compute == TN_COMPUTE_F64;
    g->m = rank_a > 1 ? a.type.dims[rank_a - 2] : 1;
    g->k = a.type.dims[rank_a - 1];
    g->n = rank_b > 1 ? b.type.dims[rank_b - 1] : 1;
    g->c_row = g->n;
    matrix_strides(&a, TRUE, m->lead, m->a_batch, &g->a_row, &g->a_col);
    matrix_strides(&b, FALSE, m->lead, m->b_batch, &g->b_row, &g->b_col);
    merge_batches(m);
    tidy_strides(g);
    g->own = node->batch_invariant;
    cpu_gemm_plan(g);
    m->batches = cpu_count(m->lead, m->dims);
    const gsize packed = m->batches == 1 ? cpu_gemm_packed_bytes(g) : 0;
    m->packs = packed > 0;
    m->packed_at = (prepared->scratch + 63) & ~(gsize)63;
    prepared->scratch = m->packs ? m->packed_at + packed : prepared->scratch;
    m->bias_at = prepared->scratch;
    prepared->scratch += m->bias && m->bias_stride != 1 ? (gsize)g->n * sizeof(double) : 0;
    if (m->fused) {
        linear_rest_plan(&m->rest, node, &prepared->scratch);
    }
    m->c_batch = g->m * g->n;
    m->regions = cpu_gemm_regions(g);
    m->items = m->batches * m->regions;
    m->share = tn_parallel_for;
    m->per_chunk = MAX(1, 65536 / MAX(1, cpu_times(cpu_times(g->rows, g->cols), g->k)));
    if (g->brief && m->batches == 1) {
        m->share = tn_parallel_for_brief;
        m->per_chunk = 1;
    }
    prepared->state = m;
    return TRUE;
}

typedef struct {
    const Matmul *m;
    const char *a, *b;
    char *c;
    const char *bias;
    const char *more; /* of a fused_linear; NULL: none */
    char *packed;     /* NULL: b is not packed whole */
} Job;

static TnStatus
pack_part(gpointer data, gsize part, gsize n)
{
    const Job *job = data;
    (void)n;
    cpu_gemm_pack(&job->m->gemm, job->b, job->packed, (gint64)part);
    return TN_OK;
}

/* What follows the layer, for a region of the result. */
static void
finish(const Job *job, gint64 batch, gint64 region)
{
    const CpuGemm *g = &job->m->gemm;
    const gint64 row = region / g->n_across * g->rows, col = region % g->n_across * g->cols;
    linear_rest_run(&job->m->rest, job->c, job->more, batch * g->m + row, MIN(g->rows, g->m - row),
                    col, MIN(g->cols, g->n - col));
}

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Matmul *m = job->m;
    gint64 end = MIN(m->items, ((gint64)chunk + 1) * m->per_chunk);
    gint64 size = m->gemm.f64 ? sizeof(double) : sizeof(float);
    (void)n;
    for (gint64 i = (gint64)chunk * m->per_chunk; i < end; i++) {
        gint64 index[TN_MAX_RANK] = { 0 }, batch = i / m->regions;
        cpu_position(m->lead, m->dims, batch, index);
        cpu_gemm_region(&m->gemm, job->a + cpu_dot(m->lead, index, m->a_batch) * size,
                        job->b + cpu_dot(m->lead, index, m->b_batch) * size, job->packed, job->bias,
                        job->c + batch * m->c_batch * size, i % m->regions);
        if (m->fused) {
            finish(job, batch, i % m->regions);
        }
    }
    return TN_OK;
}

static const char *
bias_of(const Matmul *m, const TnRun *run)
{
    const gsize size = m->gemm.f64 ? sizeof(double) : sizeof(float);
    const char *from = m->bias ? run->in[2] : NULL;
    char *to = (char *)run->scratch + m->bias_at;
    if (from == NULL || m->bias_stride == 1) {
        return from;
    }
    for (gint64 j = 0; j < m->gemm.n; j++) {
        memcpy(to + (gsize)j * size, from + j * m->bias_stride * (gint64)size, size);
    }
    return to;
}

static TnStatus
run_float(void *state, const TnRun *run)
{
    const Matmul *m = state;
    Job job = { .m = m,
                .a = run->in[0],
                .b = run->in[1],
                .c = run->out[0],
                .bias = bias_of(m, run),
                .packed = m->packs ? (char *)run->scratch + m->packed_at : NULL };
    if (m->items == 0) {
        return TN_OK;
    }
    if (m->fused) {
        job.more = m->rest.add ? linear_rest_begin(&m->rest, run->in[3], run->scratch) : NULL;
    }
    if (m->packs) {
        tn_parallel_for((gsize)cpu_gemm_pack_parts(&m->gemm), pack_part, &job);
    }
    return m->share((gsize)((m->items + m->per_chunk - 1) / m->per_chunk), run_chunk, &job);
}

/* --- Other dtypes ----------------------------------------------------------------------------- */

/* The whole operand, contiguous, in its compute type. */
static void
load_all(const TnArg *arg, gsize cell, const void *from, char *to)
{
    gint rank = arg->type.rank;
    gint64 index[TN_MAX_RANK] = { 0 }, row = arg->type.dims[rank - 1];
    gint64 size = (gint64)tn_dtype_size(arg->type.dtype);
    for (gint64 done = 0; done < arg->count; done += row, to += row * (gint64)cell) {
        gint64 at = cpu_dot(rank - 1, index, arg->strides);
        tn_dtype_info(arg->type.dtype)
            ->load(to, (const char *)from + at * size, arg->strides[rank - 1], (gsize)row);
        cpu_next(rank - 1, arg->type.dims, index);
    }
}

static void
multiply_integers(const Matmul *m, const guint64 *a, const guint64 *b, guint64 *c)
{
    const CpuGemm *g = &m->gemm;
    for (gint64 i = 0; i < g->m; i++) {
        memset(c + i * g->n, 0, (gsize)g->n * sizeof *c);
        for (gint64 p = 0; p < g->k; p++) {
            guint64 x = a[i * g->a_row + p * g->a_col];
            for (gint64 j = 0; j < g->n; j++) {
                c[i * g->n + j] += x * b[p * g->b_row + j * g->b_col];
            }
        }
    }
}

static TnStatus
run_converted(void *state, const TnRun *run)
{
    const Matmul *m = state;
    char *a = run->scratch, *b = a + m->b_at, *c = a + m->out_at;
    gsize cell = m->compute == TN_COMPUTE_F32 ? 4 : 8;
    TnStatus status = TN_OK;
    if (m->out.count == 0) {
        return TN_OK;
    }
    load_all(&m->a, cell, run->in[0], a);
    load_all(&m->b, cell, run->in[1], b);
    if (m->compute == TN_COMPUTE_F32) {
        TnRun inner = *run;
        inner.in = (void *const[]){ a, b, NULL };
        inner.out = (void *const[]){ c };
        status = run_float(state, &inner);
    } else {
        for (gint64 i = 0; i < m->batches; i++) {
            gint64 index[TN_MAX_RANK] = { 0 };
            cpu_position(m->lead, m->dims, i, index);
            multiply_integers(m, (guint64 *)a + cpu_dot(m->lead, index, m->a_batch),
                              (guint64 *)b + cpu_dot(m->lead, index, m->b_batch),
                              (guint64 *)c + i * m->c_batch);
        }
    }
    tn_dtype_info(m->dtype)->store(run->out[0], c, 1, (gsize)m->out.count);
    return status;
}

/* Rows from which, and to which, it pays not to turn the weights each time, though they are kept
 * twice. */
#define LEAST_TURNED_ROWS 2
#define MOST_TURNED_ROWS 128
/* Columns of a region are a multiple of this, or of what divides it. Regions go by the number of rows, so panels
 * that they may cut are summed in other ways for other numbers of rows. */
#define WHOLE_COLUMNS 64

static gboolean
turned_claims(const TnNode *node)
{
    const TnType *out = &node->out[0].type, *w = &node->in[1].type;
    const gint64 rows = cpu_count(out->rank - 1, out->dims);
    return node->batch_invariant ? w->dims[0] <= 1 || w->dims[2] % WHOLE_COLUMNS == 0
                                 : rows >= LEAST_TURNED_ROWS && rows <= MOST_TURNED_ROWS;
}

static gboolean
fused_claims(const TnNode *node)
{
    return node->in[1].type.rank == 2 && linear_rest_fits(node);
}

static gboolean
fused_turned_claims(const TnNode *node)
{
    return node->in[1].type.rank == 3 && turned_claims(node) && linear_rest_fits(node);
}

static const TnKernel kernels[] = {
    { .op = "fused_linear",
      .dtypes = TN_DT(F32) | TN_DT(F64),
      .flags = TN_KERNEL_STRIDED,
      .claims = fused_claims,
      .prepare = prepare,
      .run = run_float,
      .release = g_free },
    { .op = "fused_linear", /* as linear_turned */
      .dtypes = TN_DT(F32) | TN_DT(F64),
      .claims = fused_turned_claims,
      .prepare = prepare,
      .run = run_float,
      .release = g_free },
    /* Not strided, so that w is turned in memory. */
    { .op = "linear_turned",
      .dtypes = TN_DT(F32) | TN_DT(F64),
      .claims = turned_claims,
      .prepare = prepare,
      .run = run_float,
      .release = g_free },
    { .op = "linear",
      .dtypes = TN_DT(F32) | TN_DT(F64),
      .flags = TN_KERNEL_STRIDED,
      .prepare = prepare,
      .run = run_float,
      .release = g_free },
    { .op = "matmul",
      .dtypes = TN_DT(F32) | TN_DT(F64),
      .flags = TN_KERNEL_STRIDED,
      .prepare = prepare,
      .run = run_float,
      .release = g_free },
    { .op = "matmul",
      .dtypes = TN_DTYPES_NUMBER & ~(TN_DT(F32) | TN_DT(F64)),
      .flags = TN_KERNEL_STRIDED,
      .prepare = prepare,
      .run = run_converted,
      .release = g_free },
};

const TnKernelTable cpu_matmul = CPU_TABLE(kernels);
