/* attention.c: scaled dot product attention in f32 without the whole matrix of scores: of a few rows at
 * a time against blocks of keys, with shares that are corrected as larger scores come (Dao,
 * "FlashAttention-2", 2023). Blocks that a causal mask hides are left out. */
#include <float.h>
#include <math.h>

#include "attention.h"
#include "gemm_kernels.h"
#include "tables.h"

/* Rows of q that one thread takes, and keys that they meet at once. */
#define ROWS 96
#define KEYS 256

typedef struct {
    AttentionPlan plan;
    gint64 per_block, blocks; /* rows of a block, and blocks of an item */
    gint64 v_at;              /* of v's copies behind k's, in floats */
    AttentionStrides out;
} Forward;

typedef struct {
    const Forward *forward;
    const float *q, *k, *v;
    const void *mask;
    float *out, *log_sum;
    float *copies;
} Job;

/* --- Copies ----------------------------------------------------------------------------------- */

/* Item i of a side. */
static const float *
item_of(const AttentionPlan *plan, const AttentionSide *side, const float *from, gint64 item)
{
    gint64 at = 0;
    for (gint i = plan->lead - 1; i >= 0; i--) {
        if (side->item[i] > 0) {
            at += item % plan->dims[i] * side->batch[i];
            item /= plan->dims[i];
        }
    }
    return from + at;
}

static TnStatus
copy_item(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Forward *f = job->forward;
    const AttentionSide *k = &f->plan.k, *v = &f->plan.v;
    const gint64 item = (gint64)chunk;
    (void)n;
    if (item < k->items) {
        attention_turn(k, item_of(&f->plan, k, job->k, item),
                       job->copies + item * k->turned_floats);
    }
    if (item < v->items) {
        attention_copy(v, item_of(&f->plan, v, job->v, item),
                       job->copies + f->v_at + item * v->panel_floats);
    }
    return TN_OK;
}

/* --- Rows ------------------------------------------------------------------------------------- */

/* Of one item: where its parts are. */
typedef struct {
    const AttentionPlan *plan;
    gint64 index[TN_MAX_RANK];
    const float *q;
    AttentionPanels k, v;
    const void *mask;
    float *out;
    gint64 out_row;
} Item;

/* A group of rows against keys [key, key + n). */
static void
meet(const Item *item, gint64 row, gint64 rows, gint64 key, gint64 n, AttentionState *state)
{
    const AttentionPlan *plan = item->plan;
    const gint64 full = (n + ATTENTION_LANES - 1) / ATTENTION_LANES * ATTENTION_LANES;
    float scores[GEMM_ROWS * KEYS] __attribute__((aligned(64)));
    AttentionPanels k = item->k, v = item->v;
    float *out = item->out + row * item->out_row;
    k.at += key / k.row * k.step;
    v.at += key * v.row;
    attention_product(&(AttentionProduct){ rows, n, plan->e, item->q + row * plan->q.row,
                                           plan->q.row, plan->q.col, k, scores, KEYS, FALSE,
                                           TRUE });
    for (gint64 i = 0; i < rows; i++) {
        const gint64 seen = plan->causal ? CLAMP(row + i + 1 - key, 0, n) : n;
        float factor, *line = scores + i * KEYS;
        if (item->mask != NULL) {
            attention_masked(plan, attention_mask(plan, item->mask, item->index, row + i, key),
                             plan->mask_col, line, seen);
        }
        attention_forward_row[cpu_isa](line, seen, full, item->mask ? 1 : plan->scale, &state[i],
                                       &factor);
        for (gint64 j = 0; key > 0 && factor != 1 && j < plan->d; j++) {
            out[i * item->out_row + j] *= factor;
        }
    }
    attention_product(&(AttentionProduct){ rows, plan->d, n, scores, KEYS, 1, v, out, item->out_row,
                                           key > 0, FALSE });
}

static void
group(const Item *item, gint64 row, gint64 rows, float *log_sum)
{
    const AttentionPlan *plan = item->plan;
    const gint64 end = plan->causal ? MIN(plan->s, row + rows) : plan->s;
    AttentionState state[GEMM_ROWS];
    for (gint64 i = 0; i < rows; i++) {
        state[i] = (AttentionState){ -INFINITY, 0 };
    }
    for (gint64 key = 0; key < end; key += KEYS) {
        meet(item, row, rows, key, MIN(KEYS, end - key), state);
    }
    for (gint64 i = 0; i < rows; i++) {
        const gboolean none = state[i].max == -INFINITY;
        const float inverse = none ? 1 : 1 / state[i].sum;
        float *out = item->out + (row + i) * item->out_row;
        for (gint64 j = 0; j < plan->d; j++) {
            out[j] *= inverse;
        }
        log_sum[row + i] = isinf(state[i].max) ? state[i].max : state[i].max + logf(state[i].sum);
    }
}

static TnStatus
run_block(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Forward *f = job->forward;
    const AttentionPlan *plan = &f->plan;
    const gint64 at = (gint64)chunk / f->blocks;
    const gint64 first = (gint64)chunk % f->blocks * f->per_block;
    const gint64 end = MIN(plan->l, first + f->per_block);
    Item item = { .plan = plan, .mask = job->mask };
    (void)n;
    cpu_position(plan->lead, plan->dims, at, item.index);
    item.q = job->q + cpu_dot(plan->lead, item.index, plan->q.batch);
    item.k =
        attention_turned(&plan->k, job->copies + cpu_dot(plan->lead, item.index, plan->k.item) *
                                                     plan->k.turned_floats);
    item.v =
        attention_panels(&plan->v, job->v + cpu_dot(plan->lead, item.index, plan->v.batch),
                         job->copies + f->v_at +
                             cpu_dot(plan->lead, item.index, plan->v.item) * plan->v.panel_floats);
    item.out = job->out + cpu_dot(plan->lead, item.index, f->out.batch);
    item.out_row = f->out.row;
    for (gint64 row = first; row < end; row += GEMM_ROWS) {
        group(&item, row, MIN(GEMM_ROWS, end - row), job->log_sum + at * plan->l);
    }
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    const Forward *f = state;
    const AttentionPlan *plan = &f->plan;
    Job job = { .forward = f,
                .q = run->in[0],
                .k = run->in[1],
                .v = run->in[2],
                .mask = plan->mask != TN_DTYPE_NONE ? run->in[3] : NULL,
                .out = run->out[0],
                .log_sum = run->out[1],
                .copies = run->scratch };
    tn_parallel_for((gsize)MAX(plan->k.items, plan->v.items), copy_item, &job);
    return tn_parallel_for((gsize)(plan->items * f->blocks), run_block, &job);
}

/* The mask is the input mask_at, if there is one. */
static gboolean
takes(const TnNode *node, gint mask_at)
{
    const double scale = ((const TnAttentionAttrs *)node->attrs)->scale;
    const TnDtype mask = node->n_in > mask_at ? node->in[mask_at].type.dtype : TN_DTYPE_NONE;
    for (gint i = 0; i < 3; i++) {
        if (node->in[i].count == 0) {
            return FALSE;
        }
    }
    return (scale == 0 || fabs(scale) >= (double)FLT_MIN) &&
           (mask == TN_DTYPE_NONE || mask == TN_DTYPE_BOOL || mask == node->in[0].type.dtype);
}

gboolean
attention_claims(const TnNode *node)
{
    return takes(node, ATTENTION_MASK);
}

static gboolean
same_leading(const TnType *a, const TnType *b)
{
    return a->rank == b->rank &&
           memcmp(a->dims, b->dims, (gsize)(a->rank - 2) * sizeof *a->dims) == 0;
}

gboolean
attention_grad_claims(const TnNode *node)
{
    return takes(node, ATTENTION_GRAD_MASK) &&
           same_leading(&node->in[0].type, &node->in[ATTENTION_OUT].type) &&
           same_leading(&node->in[1].type, &node->in[2].type);
}

/* Bytes of n copies. */
static gint64
floats(gint64 n, gint64 each)
{
    return cpu_times(cpu_times(n, each), sizeof(float));
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Forward *f = g_new0(Forward, 1);
    AttentionPlan *plan = &f->plan;
    (void)error;
    attention_plan(plan, node, ATTENTION_MASK);
    f->blocks = (plan->l + ROWS - 1) / ROWS;
    f->per_block = (plan->l + f->blocks - 1) / f->blocks;
    f->per_block = (f->per_block + GEMM_ROWS - 1) / GEMM_ROWS * GEMM_ROWS;
    f->blocks = (plan->l + f->per_block - 1) / f->per_block;
    attention_strides(&f->out, plan, &node->out[0]);
    cpu_reserve(&prepared->scratch, floats(plan->k.items, plan->k.turned_floats));
    const gsize v_at = cpu_reserve(&prepared->scratch, floats(plan->v.items, plan->v.panel_floats));
    f->v_at = (gint64)(v_at / sizeof(float));
    prepared->state = f;
    return TRUE;
}

static const TnKernel kernels[] = {
    { .op = "scaled_dot_product_attention",
      .dtypes = TN_DT(F32),
      .flags = TN_KERNEL_STRIDED | TN_KERNEL_ANY_ORDER,
      .claims = attention_claims,
      .prepare = prepare,
      .run = run,
      .release = g_free },
};

const TnKernelTable cpu_attention = CPU_TABLE(kernels);
