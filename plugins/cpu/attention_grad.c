/* attention_grad.c: the gradient of attention in f32: shares are computed again from the logarithms of
 * the rows' sums, a block of rows against a block of keys at a time (Dao, "FlashAttention-2", 2023). One
 * thread computes all of a matrix of keys, so that sums over rows of q have one order. */
#include <math.h>

#include "attention.h"
#include "gemm_kernels.h"
#include "softmax.h"
#include "tables.h"

/* Rows of q, and keys, of a block: a multiple of GEMM_ROWS and of any panel. */
#define BLOCK 192
/* From one row of a block to the next: no two of them a power of two apart. */
#define PITCH (BLOCK + ATTENTION_LANES)

typedef struct {
    AttentionGrad grad;
    gint64 floats; /* of the copies for one k */
} Backward;

typedef struct {
    const Backward *backward;
    const TnRun *run;
} Job;

/* Matrices of one item, and of the k and v that it shares with others. */
typedef struct {
    const Backward *backward;
    gint64 index[TN_MAX_RANK];
    const float *q, *out, *log_sum, *g;
    const void *mask;
    AttentionPanels k_turned, v_turned, k_rows, q_rows, g_rows;
    float *dq, *dk, *dv;
} Item;

/* Shares of a block, and the gradient of its scores; both begin at (row, key). */
typedef struct {
    gint64 row, rows, key, keys;
    float p[BLOCK * PITCH], ds[BLOCK * PITCH];
} Block;

/* Sum of g times the result. */
static float
weighed(const Item *item, gint64 row)
{
    const Backward *b = item->backward;
    const float *g = item->g + row * b->grad.g.row, *out = item->out + row * b->grad.out.row;
    float sum = 0;
    if (b->grad.g.col == 1 && b->grad.out.col == 1) {
        softmax_dot[cpu_isa](g, out, b->grad.g.cols, &sum);
        return sum;
    }
    for (gint64 i = 0; i < b->grad.g.cols; i++) {
        sum += g[i * b->grad.g.col] * out[i * b->grad.out.col];
    }
    return sum;
}

/* Rows [first, first + rows) of the block: p, ds, and what they give to dq. */
static void
group(const Item *item, Block *block, gint64 first, gint64 rows)
{
    const Backward *b = item->backward;
    const AttentionPlan *plan = &b->grad.plan;
    const gint64 row = block->row + first, key = block->key;
    const gint64 n = plan->causal ? MIN(block->keys, row + rows - key) : block->keys;
    const gint64 full = (n + ATTENTION_LANES - 1) / ATTENTION_LANES * ATTENTION_LANES;
    float *p = block->p + first * PITCH, *ds = block->ds + first * PITCH;
    AttentionPanels k = item->k_turned, v = item->v_turned, k_rows = item->k_rows;
    if (n <= 0) {
        return;
    }
    k.at += key / k.row * k.step;
    v.at += key / v.row * v.step;
    k_rows.at += key * k_rows.row;
    attention_product(&(AttentionProduct){ rows, n, plan->e, item->q + row * plan->q.row,
                                           plan->q.row, plan->q.col, k, p, PITCH, FALSE, TRUE });
    attention_product(&(AttentionProduct){ rows, n, plan->d, item->g + row * b->grad.g.row,
                                           b->grad.g.row, b->grad.g.col, v, ds, PITCH, FALSE,
                                           TRUE });
    for (gint64 i = 0; i < rows; i++) {
        const gint64 seen = plan->causal ? CLAMP(row + i + 1 - key, 0, n) : n;
        const float sum = item->log_sum[(row + i) * b->grad.sum.row];
        const AttentionBackward terms = { item->mask ? 1 : plan->scale, sum == -INFINITY ? 0 : sum,
                                          plan->scale, weighed(item, row + i) };
        if (item->mask != NULL) {
            attention_masked(plan, attention_mask(plan, item->mask, item->index, row + i, key),
                             plan->mask_col, p + i * PITCH, seen);
        }
        attention_backward_row[cpu_isa](p + i * PITCH, ds + i * PITCH, seen, full, &terms);
    }
    attention_product(&(AttentionProduct){ rows, plan->e, n, ds, PITCH, 1, k_rows,
                                           item->dq + row * b->grad.dq.row, b->grad.dq.row, key > 0,
                                           FALSE });
}

/* What all rows of a block give to dv and dk. A causal mask leaves out the rows before a key. */
static void
columns(const Item *item, const Block *block)
{
    const Backward *b = item->backward;
    const AttentionPlan *plan = &b->grad.plan;
    const gint64 to =
        plan->causal ? MIN(block->keys, block->row + block->rows - block->key) : block->keys;
    for (gint64 j = 0; j < to; j += GEMM_ROWS) {
        const gint64 n = MIN(GEMM_ROWS, to - j), key = block->key + j;
        const gint64 skip = plan->causal ? MAX(0, key - block->row) : 0;
        const gint64 row = block->row + skip, at = skip * PITCH + j;
        AttentionPanels g = item->g_rows, q = item->q_rows;
        g.at += row * g.row;
        q.at += row * q.row;
        attention_product(&(AttentionProduct){ n, plan->d, block->rows - skip, block->p + at, 1,
                                               PITCH, g, item->dv + key * b->grad.dv.row,
                                               b->grad.dv.row, TRUE, FALSE });
        attention_product(&(AttentionProduct){ n, plan->e, block->rows - skip, block->ds + at, 1,
                                               PITCH, q, item->dk + key * b->grad.dk.row,
                                               b->grad.dk.row, TRUE, FALSE });
    }
}

static G_GNUC_NO_INLINE void
run_item(const Item *item)
{
    const AttentionPlan *plan = &item->backward->grad.plan;
    Block block;
    for (block.key = 0; block.key < plan->s; block.key += BLOCK) {
        block.keys = MIN(BLOCK, plan->s - block.key);
        for (block.row = plan->causal ? block.key : 0; block.row < plan->l; block.row += BLOCK) {
            block.rows = MIN(BLOCK, plan->l - block.row);
            for (gint64 i = 0; i < block.rows; i += GEMM_ROWS) {
                group(item, &block, i, MIN(GEMM_ROWS, block.rows - i));
            }
            columns(item, &block);
        }
    }
}

/* All items that share one k and v. */
static TnStatus
run_keys(gpointer data, gsize chunk, gsize n_chunks)
{
    const Job *job = data;
    const Backward *b = job->backward;
    const AttentionPlan *plan = &b->grad.plan;
    const gint n = plan->lead;
    gint64 keys[TN_MAX_RANK] = { 0 }, rest[TN_MAX_RANK] = { 0 };
    float *copy = (float *)job->run->scratch + (gint64)chunk * b->floats;
    float *k_turned = copy, *v_turned = k_turned + plan->k.turned_floats;
    float *k_rows = v_turned + plan->v.turned_floats, *q_rows = k_rows + plan->k.panel_floats;
    float *g_rows = q_rows + plan->q.panel_floats;
    Item item = { .backward = b };
    (void)n_chunks;
    cpu_position(n, b->grad.keys, (gint64)chunk, keys);
    const float *k = (const float *)job->run->in[1] + cpu_dot(n, keys, plan->k.batch);
    const float *v = (const float *)job->run->in[2] + cpu_dot(n, keys, plan->v.batch);
    attention_turn(&plan->k, k, k_turned);
    attention_turn(&plan->v, v, v_turned);
    attention_copy(&plan->k, k, k_rows);
    item.k_turned = attention_turned(&plan->k, k_turned);
    item.v_turned = attention_turned(&plan->v, v_turned);
    item.k_rows = attention_panels(&plan->k, k, k_rows);
    item.dk = (float *)job->run->out[1] + cpu_dot(n, keys, b->grad.dk.batch);
    item.dv = (float *)job->run->out[2] + cpu_dot(n, keys, b->grad.dv.batch);
    for (gint64 i = 0; i < plan->s; i++) {
        memset(item.dk + i * b->grad.dk.row, 0, (gsize)plan->e * sizeof(float));
        memset(item.dv + i * b->grad.dv.row, 0, (gsize)plan->d * sizeof(float));
    }
    do {
        for (gint i = 0; i < n; i++) {
            item.index[i] = keys[i] + rest[i];
        }
        item.q = (const float *)job->run->in[0] + cpu_dot(n, item.index, plan->q.batch);
        item.out = (const float *)job->run->in[3] + cpu_dot(n, item.index, b->grad.out.batch);
        item.log_sum = (const float *)job->run->in[4] + cpu_dot(n, item.index, b->grad.sum.batch);
        item.g = (const float *)job->run->in[5] + cpu_dot(n, item.index, b->grad.g.batch);
        item.mask = plan->mask != TN_DTYPE_NONE ? job->run->in[6] : NULL;
        item.dq = (float *)job->run->out[0] + cpu_dot(n, item.index, b->grad.dq.batch);
        attention_copy(&plan->q, item.q, q_rows);
        attention_copy(&b->grad.g, item.g, g_rows);
        item.q_rows = attention_panels(&plan->q, item.q, q_rows);
        item.g_rows = attention_panels(&b->grad.g, item.g, g_rows);
        run_item(&item);
    } while (cpu_next(n, b->grad.rest, rest));
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    Job job = { state, run };
    return tn_parallel_for((gsize)job.backward->grad.n_keys, run_keys, &job);
}

void
attention_grad_plan(AttentionGrad *grad, const TnNode *node)
{
    AttentionPlan *plan = &grad->plan;
    attention_plan(plan, node, ATTENTION_GRAD_MASK);
    attention_side(&grad->g, plan, &node->in[ATTENTION_G], plan->s / GEMM_ROWS);
    attention_strides(&grad->out, plan, &node->in[ATTENTION_OUT]);
    attention_strides(&grad->sum, plan, &node->in[ATTENTION_SUM]);
    attention_strides(&grad->dq, plan, &node->out[0]);
    attention_strides(&grad->dk, plan, &node->out[1]);
    attention_strides(&grad->dv, plan, &node->out[2]);
    for (gint i = 0; i < plan->lead; i++) {
        grad->keys[i] = plan->k.item[i] > 0 ? plan->dims[i] : 1;
        grad->rest[i] = plan->dims[i] / grad->keys[i];
    }
    grad->n_keys = cpu_count(plan->lead, grad->keys);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Backward *b = g_new0(Backward, 1);
    const AttentionPlan *plan = &b->grad.plan;
    gsize bytes = 0;
    (void)error;
    attention_grad_plan(&b->grad, node);
    const gint64 copies[] = { plan->k.turned_floats, plan->v.turned_floats, plan->k.panel_floats,
                              plan->q.panel_floats, b->grad.g.panel_floats };
    for (guint i = 0; i < G_N_ELEMENTS(copies); i++) {
        cpu_reserve(&bytes, cpu_times(copies[i], sizeof(float)));
    }
    b->floats = (gint64)(bytes / sizeof(float));
    cpu_reserve(&prepared->scratch, cpu_times(b->grad.n_keys, (gint64)bytes));
    prepared->state = b;
    return TRUE;
}

static const TnKernel kernels[] = {
    { .op = "scaled_dot_product_attention_grad",
      .dtypes = TN_DT(F32),
      .flags = TN_KERNEL_STRIDED | TN_KERNEL_ANY_ORDER,
      .claims = attention_grad_claims,
      .prepare = prepare,
      .run = run,
      .release = g_free },
};

const TnKernelTable cpu_attention_grad = CPU_TABLE(kernels);
