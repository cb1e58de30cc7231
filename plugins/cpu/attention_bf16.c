/* attention_bf16.c: scaled dot product attention of bf16, as in attention.c: products by what the
 * processor has for bf16, scores and sums in f32, shares rounded to bf16 for their product with v. */
#include <math.h>

#include "attention_bf16.h"
#include "tables.h"

#define BLOCK ATTENTION_BLOCK
#define AREA ATTENTION_AREA
#define ROWS 128 /* of q that one thread takes: whole blocks */
#define KEYS 4   /* blocks of keys that they meet at once */

typedef struct {
    AttentionPlan plan;
    gint64 chunks; /* of an item */
    gint64 e_blocks, s_blocks, d_blocks;
    gint64 k_numbers, v_numbers; /* of copies of one item */
    gsize v_at, own_at;          /* in scratch: copies of v, what chunks need for themselves */
    gsize own_q_at, own_bytes;   /* of that: q's rows, behind sums */
    AttentionStrides out;
} Forward;

typedef struct {
    const Forward *forward;
    const guint16 *q, *k, *v;
    const void *mask;
    guint16 *out;
    float *log_sum;
    char *scratch;
} Job;

/* --- Copies ----------------------------------------------------------------------------------- */

/* Item i of a side. */
static AttentionMatrix
item_of(const AttentionPlan *plan, const AttentionSide *side, const guint16 *from, gint64 item)
{
    for (gint i = plan->lead - 1; i >= 0; i--) {
        if (side->item[i] > 0) {
            from += item % plan->dims[i] * side->batch[i];
            item /= plan->dims[i];
        }
    }
    return (AttentionMatrix){ from, side->rows, side->cols, side->row, side->col };
}

static guint16 *
k_copy(const Job *job, gint64 item)
{
    return (guint16 *)(void *)job->scratch + item * job->forward->k_numbers;
}

static guint16 *
v_copy(const Job *job, gint64 item)
{
    return (guint16 *)(void *)(job->scratch + job->forward->v_at) + item * job->forward->v_numbers;
}

static TnStatus
copy_item(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const AttentionPlan *plan = &job->forward->plan;
    const gint64 item = (gint64)chunk;
    (void)n;
    if (item < plan->k.items) {
        const AttentionMatrix k = item_of(plan, &plan->k, job->k, item);
        attention_right_turned(&k, k_copy(job, item));
    }
    if (item < plan->v.items) {
        const AttentionMatrix v = item_of(plan, &plan->v, job->v, item);
        attention_right(&v, v_copy(job, item));
    }
    return TN_OK;
}

/* --- Rows ------------------------------------------------------------------------------------- */

/* A block of rows of one item. */
typedef struct {
    const Forward *forward;
    const gint64 *index;
    const void *mask;
    const guint16 *k, *v;
    gint64 row, rows;
    guint16 *q;  /* its tiles */
    float *sums; /* of shares times v: blocks */
    AttentionStates states;
} Rows;

static void
mask_rows(const Rows *r, gint64 key, const AttentionSeen *seen, float *scores)
{
    const AttentionPlan *plan = &r->forward->plan;
    for (gint64 i = 0; i < r->rows; i++) {
        const gint64 n = CLAMP(seen->first + i * seen->more, 0, seen->n);
        for (gint64 j = 0; j < n; j += BLOCK) {
            attention_masked(plan, attention_mask(plan, r->mask, r->index, r->row + i, key + j),
                             plan->mask_col, scores + j * BLOCK + i * BLOCK, MIN(BLOCK, n - j));
        }
    }
}

/* Against keys from `key` on, up to `end`. */
static void
meet(Rows *r, gint64 key, gint64 end)
{
    const Forward *f = r->forward;
    const AttentionPlan *plan = &f->plan;
    const gint64 tile = BF16_TILE_BYTES / 2, half = f->e_blocks * tile;
    const gint64 n = MIN(KEYS * BLOCK, end - key), blocks = attention_blocks(n);
    float scores[KEYS * AREA] __attribute__((aligned(64)));
    guint16 shares[KEYS * AREA] __attribute__((aligned(64)));
    for (gint64 b = 0; b < blocks; b++) {
        attention_block_product(f->e_blocks, r->q, half, tile, r->k + (key / BLOCK + b) * 2 * half,
                                half, FALSE, scores + b * AREA);
    }
    const AttentionSeen seen = { blocks, plan->causal ? r->row + 1 - key : n, plan->causal, n,
                                 r->mask != NULL ? 1 : plan->scale };
    if (r->mask != NULL) {
        mask_rows(r, key, &seen, scores);
    }
    attention_bf16_rows[cpu_isa](scores, &seen, &r->states);
    for (gint64 b = 0; key > 0 && b < f->d_blocks; b++) {
        attention_bf16_scale[cpu_isa](r->sums + b * AREA, r->states.factor);
    }
    bf16_kernels()->store_rows(scores, NULL, blocks * BLOCK, BLOCK, shares, BLOCK);
    for (gint64 b = 0; b < f->d_blocks; b++) {
        const gint64 group = f->s_blocks * tile;
        attention_block_product(blocks, shares, tile, AREA,
                                r->v + b * 2 * group + key / BLOCK * tile, group, key > 0,
                                r->sums + b * AREA);
    }
}

static void
finish(Rows *r, guint16 *out, float *log_sum)
{
    const Forward *f = r->forward;
    const AttentionStates *states = &r->states;
    float inverse[BLOCK];
    for (gint64 i = 0; i < BLOCK; i++) {
        const float max = states->max[i];
        inverse[i] = max == -INFINITY ? 1 : 1 / states->sum[i];
        if (i < r->rows) {
            log_sum[i] = isinf(max) ? max : max + logf(states->sum[i]);
        }
    }
    for (gint64 b = 0; b < f->d_blocks; b++) {
        attention_bf16_scale[cpu_isa](r->sums + b * AREA, inverse);
        bf16_kernels()->store_rows(r->sums + b * AREA, NULL, r->rows,
                                   MIN(BLOCK, f->plan.d - b * BLOCK), out + b * BLOCK, f->out.row);
    }
}

static TnStatus
run_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const Forward *f = job->forward;
    const AttentionPlan *plan = &f->plan;
    const gint64 at = (gint64)chunk / f->chunks, first = (gint64)chunk % f->chunks * ROWS;
    const gint64 last = MIN(plan->l, first + ROWS);
    gint64 index[TN_MAX_RANK] = { 0 };
    char *own = job->scratch + f->own_at + chunk * f->own_bytes;
    (void)n;
    cpu_position(plan->lead, plan->dims, at, index);
    const AttentionMatrix q = { job->q + cpu_dot(plan->lead, index, plan->q.batch), plan->l,
                                plan->e, plan->q.row, plan->q.col };
    guint16 *out = job->out + cpu_dot(plan->lead, index, f->out.batch);
    Rows r = { .forward = f,
               .index = index,
               .mask = job->mask,
               .k = k_copy(job, cpu_dot(plan->lead, index, plan->k.item)),
               .v = v_copy(job, cpu_dot(plan->lead, index, plan->v.item)),
               .sums = (float *)(void *)own,
               .q = (guint16 *)(void *)(own + f->own_q_at) };
    bf16_begin();
    for (r.row = first; r.row < last; r.row += BLOCK) {
        r.rows = MIN(BLOCK, last - r.row);
        const gint64 end = plan->causal ? MIN(plan->s, r.row + r.rows) : plan->s;
        attention_left(&q, r.row / BLOCK, r.q);
        for (gint64 i = 0; i < BLOCK; i++) {
            r.states.max[i] = -INFINITY;
            r.states.sum[i] = 0;
        }
        for (gint64 key = 0; key < end; key += KEYS * BLOCK) {
            meet(&r, key, end);
        }
        finish(&r, out + r.row * f->out.row, job->log_sum + at * plan->l + r.row);
    }
    bf16_end();
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
                .scratch = run->scratch };
    tn_parallel_for((gsize)MAX(plan->k.items, plan->v.items), copy_item, &job);
    return tn_parallel_for((gsize)(plan->items * f->chunks), run_chunk, &job);
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Forward *f = g_new0(Forward, 1);
    AttentionPlan *plan = &f->plan;
    const gint64 narrow = sizeof(guint16), wide = sizeof(float);
    (void)error;
    attention_plan(plan, node, ATTENTION_MASK);
    attention_strides(&f->out, plan, &node->out[0]);
    f->chunks = cpu_parts(plan->l, ROWS);
    f->e_blocks = attention_blocks(plan->e);
    f->s_blocks = attention_blocks(plan->s);
    f->d_blocks = attention_blocks(plan->d);
    f->k_numbers = attention_room(plan->s, plan->e);
    f->v_numbers = attention_room(plan->s, plan->d);
    cpu_reserve(&f->own_bytes, cpu_times(f->d_blocks * AREA, wide));
    f->own_q_at = cpu_reserve(&f->own_bytes, cpu_times(f->e_blocks * AREA, narrow));
    cpu_reserve(&prepared->scratch, cpu_times(cpu_times(plan->k.items, f->k_numbers), narrow));
    f->v_at =
        cpu_reserve(&prepared->scratch, cpu_times(cpu_times(plan->v.items, f->v_numbers), narrow));
    f->own_at = cpu_reserve(&prepared->scratch,
                            cpu_times(cpu_times(plan->items, f->chunks), (gint64)f->own_bytes));
    prepared->state = f;
    return TRUE;
}

static const TnKernel kernels[] = {
    { .op = "scaled_dot_product_attention",
      .dtypes = TN_DT(BF16),
      .flags = TN_KERNEL_STRIDED | TN_KERNEL_ANY_ORDER,
      .claims = attention_claims,
      .prepare = prepare,
      .run = run,
      .release = g_free },
};

const TnKernelTable cpu_attention_bf16 = CPU_TABLE(kernels);
