/* attention_bf16_grad.c: the gradient of attention of bf16, as in attention_grad.c, of a few blocks of
 * rows against a few blocks of keys at a time. Scores are computed transposed, a row for each key: so
 * shares and gradients of scores are left sides as they are for what they give to v and k, and need to
 * be turned for q alone. */
#include <math.h>

#include "attention_bf16.h"
#include "tables.h"

#define BLOCK ATTENTION_BLOCK
#define AREA ATTENTION_AREA
#define SIDE 4   /* blocks of rows, and of keys, that meet at once */
#define SLOTS 32 /* chunks at most: each has copies of its own */
#define TILE (BF16_TILE_BYTES / 2)

/* Parts of a slot, in bytes from its beginning. */
typedef enum { K_LEFT, K_RIGHT, V_LEFT, Q_TURNED, Q_RIGHT, G_TURNED, G_RIGHT, N_COPIES } Copy;
typedef enum { BASE = N_COPIES, WEIGHED, DQ, DK, DV, N_PARTS } Part;

typedef struct {
    AttentionGrad grad;
    gint64 slots;
    gint64 l_blocks, s_blocks, e_blocks, d_blocks;
    gsize at[N_PARTS], bytes; /* of a slot */
} Backward;

typedef struct {
    const Backward *backward;
    const TnRun *run;
} Job;

/* One item, and the k and v that it shares with others. */
typedef struct {
    const Backward *backward;
    gint64 index[TN_MAX_RANK];
    const void *mask;
    guint16 *copy[N_COPIES];
    float *base, *weighed, *dq, *dk, *dv; /* sums: blocks */
} Item;

/* Shares and the gradient of scores where they meet: a block for each (key, row), or (row, key). */
typedef struct {
    gint64 key, keys, row, rows; /* in blocks */
    guint16 p[SIDE * SIDE * AREA] __attribute__((aligned(64)));
    guint16 ds[SIDE * SIDE * AREA] __attribute__((aligned(64)));
    guint16 turned[SIDE * SIDE * AREA] __attribute__((aligned(64)));
} Meeting;

/* --- Blocks ----------------------------------------------------------------------------------- */

/* ds of a block as a left side with a row for each row of q. */
static void
turn_block(const guint16 *ds, guint16 *to)
{
    const Bf16Columns columns = { ds, BLOCK, 1, BLOCK, BLOCK };
    cpu_gemm_bf16_pack_rows(&columns, 0, 2, to);
}

static void
masked(const Item *item, float *scores, gint64 key, gint64 keys, gint64 row)
{
    const AttentionPlan *plan = &item->backward->grad.plan;
    for (gint64 i = 0; i < keys; i++) {
        attention_masked(plan, attention_mask(plan, item->mask, item->index, row, key + i),
                         plan->mask_row, scores + i * BLOCK, MIN(BLOCK, plan->l - row));
    }
}

/* p, ds and turned of block (k, r) of the meeting. */
static void
shares(const Item *item, Meeting *m, gint64 k, gint64 r)
{
    const Backward *b = item->backward;
    const AttentionPlan *plan = &b->grad.plan;
    const gint64 key = (m->key + k) * BLOCK, row = (m->row + r) * BLOCK;
    const gint64 e_half = b->e_blocks * TILE, d_half = b->d_blocks * TILE;
    const AttentionShares terms = { MIN(BLOCK, plan->s - key),
                                    plan->causal ? key - row : -BLOCK,
                                    item->mask != NULL ? 1 : plan->scale,
                                    plan->scale,
                                    item->base + row,
                                    item->weighed + row };
    float scores[AREA] __attribute__((aligned(64))), dp[AREA] __attribute__((aligned(64)));
    guint16 *ds = m->ds + (k * SIDE + r) * AREA;
    attention_block_product(b->e_blocks, item->copy[K_LEFT] + key / BLOCK * 2 * e_half, e_half,
                            TILE, item->copy[Q_TURNED] + row / BLOCK * 2 * e_half, e_half, FALSE,
                            scores);
    attention_block_product(b->d_blocks, item->copy[V_LEFT] + key / BLOCK * 2 * d_half, d_half,
                            TILE, item->copy[G_TURNED] + row / BLOCK * 2 * d_half, d_half, FALSE,
                            dp);
    if (item->mask != NULL) {
        masked(item, scores, key, terms.keys, row);
    }
    attention_bf16_shares[cpu_isa](scores, dp, &terms);
    bf16_kernels()->store_rows(scores, NULL, BLOCK, BLOCK, m->p + (k * SIDE + r) * AREA, BLOCK);
    bf16_kernels()->store_rows(dp, NULL, BLOCK, BLOCK, ds, BLOCK);
    turn_block(ds, m->turned + (r * SIDE + k) * AREA);
}

/* c, `blocks` blocks beside each other, += a b; b's tiles from `tile` on, `tiles` in a group. */
static void
give(gint64 deep, const guint16 *a, const guint16 *b, gint64 tile, gint64 tiles, gint64 blocks,
     float *c)
{
    for (gint64 i = 0; i < blocks; i++) {
        attention_block_product(deep, a, TILE, AREA, b + (i * 2 * tiles + tile) * TILE,
                                tiles * TILE, TRUE, c + i * AREA);
    }
}

/* All that rows and keys give where they meet. A causal mask hides a key from the rows before it. */
static void
meet(const Item *item, Meeting *m)
{
    const Backward *b = item->backward;
    const gboolean causal = b->grad.plan.causal;
    for (gint64 k = 0; k < m->keys; k++) {
        const gint64 first = causal ? CLAMP(m->key + k - m->row, 0, m->rows) : 0;
        const gint64 key = m->key + k, at = (k * SIDE + first) * AREA;
        for (gint64 r = first; r < m->rows; r++) {
            shares(item, m, k, r);
        }
        give(m->rows - first, m->p + at, item->copy[G_RIGHT], m->row + first, b->l_blocks,
             b->d_blocks, item->dv + key * b->d_blocks * AREA);
        give(m->rows - first, m->ds + at, item->copy[Q_RIGHT], m->row + first, b->l_blocks,
             b->e_blocks, item->dk + key * b->e_blocks * AREA);
    }
    for (gint64 r = 0; r < m->rows; r++) {
        const gint64 row = m->row + r;
        const gint64 keys = causal ? CLAMP(row + 1 - m->key, 0, m->keys) : m->keys;
        give(keys, m->turned + r * SIDE * AREA, item->copy[K_RIGHT], m->key, b->s_blocks,
             b->e_blocks, item->dq + row * b->e_blocks * AREA);
    }
}

/* --- Items ------------------------------------------------------------------------------------ */

static void
run_blocks(const Item *item)
{
    const Backward *b = item->backward;
    Meeting m;
    for (m.key = 0; m.key < b->s_blocks; m.key += SIDE) {
        m.keys = MIN(SIDE, b->s_blocks - m.key);
        for (m.row = b->grad.plan.causal ? m.key : 0; m.row < b->l_blocks; m.row += SIDE) {
            m.rows = MIN(SIDE, b->l_blocks - m.row);
            meet(item, &m);
        }
    }
}

/* The logarithms of rows' sums, and what their results weigh; shares of rows that are not there are 0. */
static void
find_rows(const Item *item, const guint16 *out, const float *log_sum, const guint16 *g)
{
    const Backward *b = item->backward;
    for (gint64 first = 0; first < b->grad.plan.l; first += BLOCK) {
        float lanes[BLOCK * ATTENTION_LANES] __attribute__((aligned(64))) = { 0 };
        for (gint64 i = 0; i < BLOCK; i++) {
            const gint64 row = first + i;
            item->base[row] = INFINITY;
            if (row < b->grad.plan.l) {
                const float sum = log_sum[row * b->grad.sum.row];
                item->base[row] = sum == -INFINITY ? 0 : sum;
                attention_bf16_dot[cpu_isa](g + row * b->grad.g.row, b->grad.g.col,
                                            out + row * b->grad.out.row, b->grad.out.col,
                                            b->grad.plan.d, lanes + i * ATTENTION_LANES);
            }
        }
        attention_bf16_fold(lanes, item->weighed + first);
    }
}

/* Blocks of sums, rounded, to a matrix [rows, cols]. */
static void
finish(const float *sums, gint64 rows, gint64 cols, gint64 row, guint16 *to)
{
    for (gint64 i = 0; i < rows; i += BLOCK) {
        for (gint64 j = 0; j < cols; j += BLOCK, sums += AREA) {
            bf16_kernels()->store_rows(sums, NULL, MIN(BLOCK, rows - i), MIN(BLOCK, cols - j),
                                       to + i * row + j, row);
        }
    }
}

static void
run_item(Item *item, const TnRun *run)
{
    const Backward *b = item->backward;
    const AttentionPlan *plan = &b->grad.plan;
    const gint n = plan->lead;
    const guint16 *q = (const guint16 *)run->in[0] + cpu_dot(n, item->index, plan->q.batch);
    const guint16 *g = (const guint16 *)run->in[5] + cpu_dot(n, item->index, b->grad.g.batch);
    const AttentionMatrix all_q = { q, plan->l, plan->e, plan->q.row, plan->q.col };
    const AttentionMatrix all_g = { g, plan->l, plan->d, b->grad.g.row, b->grad.g.col };
    attention_right_turned(&all_q, item->copy[Q_TURNED]);
    attention_right(&all_q, item->copy[Q_RIGHT]);
    attention_right_turned(&all_g, item->copy[G_TURNED]);
    attention_right(&all_g, item->copy[G_RIGHT]);
    find_rows(item, (const guint16 *)run->in[3] + cpu_dot(n, item->index, b->grad.out.batch),
              (const float *)run->in[4] + cpu_dot(n, item->index, b->grad.sum.batch), g);
    memset(item->dq, 0, b->at[DK] - b->at[DQ]);
    run_blocks(item);
    finish(item->dq, plan->l, plan->e, b->grad.dq.row,
           (guint16 *)run->out[0] + cpu_dot(n, item->index, b->grad.dq.batch));
}

/* All items that share one k and v, number `at`. */
static void
run_keys(const Job *job, Item *item, gint64 at)
{
    const Backward *b = item->backward;
    const AttentionPlan *plan = &b->grad.plan;
    const gint n = plan->lead;
    gint64 keys[TN_MAX_RANK] = { 0 }, rest[TN_MAX_RANK] = { 0 };
    cpu_position(n, b->grad.keys, at, keys);
    const guint16 *k = (const guint16 *)job->run->in[1] + cpu_dot(n, keys, plan->k.batch);
    const guint16 *v = (const guint16 *)job->run->in[2] + cpu_dot(n, keys, plan->v.batch);
    const AttentionMatrix all_k = { k, plan->s, plan->e, plan->k.row, plan->k.col };
    const AttentionMatrix all_v = { v, plan->s, plan->d, plan->v.row, plan->v.col };
    attention_right(&all_k, item->copy[K_RIGHT]);
    for (gint64 i = 0; i < b->s_blocks; i++) {
        attention_left(&all_k, i, item->copy[K_LEFT] + i * b->e_blocks * AREA);
        attention_left(&all_v, i, item->copy[V_LEFT] + i * b->d_blocks * AREA);
    }
    memset(item->dk, 0, b->bytes - b->at[DK]);
    do {
        for (gint i = 0; i < n; i++) {
            item->index[i] = keys[i] + rest[i];
        }
        run_item(item, job->run);
    } while (cpu_next(n, b->grad.rest, rest));
    finish(item->dk, plan->s, plan->e, b->grad.dk.row,
           (guint16 *)job->run->out[1] + cpu_dot(n, keys, b->grad.dk.batch));
    finish(item->dv, plan->s, plan->d, b->grad.dv.row,
           (guint16 *)job->run->out[2] + cpu_dot(n, keys, b->grad.dv.batch));
}

static TnStatus
run_slot(gpointer data, gsize slot, gsize n)
{
    const Job *job = data;
    const Backward *b = job->backward;
    char *own = (char *)job->run->scratch + slot * b->bytes;
    Item item = { .backward = b,
                  .mask = b->grad.plan.mask != TN_DTYPE_NONE ? job->run->in[6] : NULL,
                  .base = (float *)(void *)(own + b->at[BASE]),
                  .weighed = (float *)(void *)(own + b->at[WEIGHED]),
                  .dq = (float *)(void *)(own + b->at[DQ]),
                  .dk = (float *)(void *)(own + b->at[DK]),
                  .dv = (float *)(void *)(own + b->at[DV]) };
    for (gint i = 0; i < N_COPIES; i++) {
        item.copy[i] = (guint16 *)(void *)(own + b->at[i]);
    }
    bf16_begin();
    for (gint64 i = (gint64)slot; i < b->grad.n_keys; i += (gint64)n) {
        run_keys(job, &item, i);
    }
    bf16_end();
    return TN_OK;
}

static TnStatus
run(void *state, const TnRun *run)
{
    Job job = { state, run };
    return tn_parallel_for((gsize)job.backward->slots, run_slot, &job);
}

/* --- Planning --------------------------------------------------------------------------------- */

static void
lay_slot(Backward *b)
{
    const AttentionPlan *plan = &b->grad.plan;
    const gint64 le = attention_room(plan->l, plan->e), ld = attention_room(plan->l, plan->d);
    const gint64 se = attention_room(plan->s, plan->e), sd = attention_room(plan->s, plan->d);
    const gint64 rows = b->l_blocks * BLOCK, narrow = sizeof(guint16), wide = sizeof(float);
    const gint64 numbers[N_PARTS] = {
        [K_LEFT] = se,    [K_RIGHT] = se,  [V_LEFT] = sd,  [Q_TURNED] = le,
        [Q_RIGHT] = le,   [G_TURNED] = ld, [G_RIGHT] = ld, [BASE] = rows,
        [WEIGHED] = rows, [DQ] = le,       [DK] = se,      [DV] = sd
    };
    for (gint i = 0; i < N_PARTS; i++) {
        b->at[i] = cpu_reserve(&b->bytes, cpu_times(numbers[i], i < N_COPIES ? narrow : wide));
    }
}

static gboolean
prepare(const TnNode *node, TnPrepared *prepared, GError **error)
{
    Backward *b = g_new0(Backward, 1);
    const AttentionPlan *plan = &b->grad.plan;
    (void)error;
    attention_grad_plan(&b->grad, node);
    b->slots = MIN(SLOTS, b->grad.n_keys);
    b->l_blocks = attention_blocks(plan->l);
    b->s_blocks = attention_blocks(plan->s);
    b->e_blocks = attention_blocks(plan->e);
    b->d_blocks = attention_blocks(plan->d);
    lay_slot(b);
    prepared->state = b;
    cpu_reserve(&prepared->scratch, cpu_times(b->slots, (gint64)b->bytes));
    return TRUE;
}

static const TnKernel kernels[] = {
    { .op = "scaled_dot_product_attention_grad",
      .dtypes = TN_DT(BF16),
      .flags = TN_KERNEL_STRIDED | TN_KERNEL_ANY_ORDER,
      .claims = attention_grad_claims,
      .prepare = prepare,
      .run = run,
      .release = g_free },
};

const TnKernelTable cpu_attention_bf16_grad = CPU_TABLE(kernels);
