/* attention_tile.c: what attention and its gradient are made of: sides of products, copied where they do
 * not lie well, and products of a few rows. */
#include <math.h>

#include "attention.h"
#include "bf16.h"
#include "gemm_kernels.h"
#include "gemm_pack.h"

static gint64
lanes(void)
{
    return gemm_kernels[cpu_isa].lanes[0];
}

/* Columns of the widest panel. */
static gint64
widest(void)
{
    return lanes() * gemm_kernels[cpu_isa].vectors;
}

static gint64
round_up(gint64 value, gint64 to)
{
    return (value + to - 1) / to * to;
}

void
attention_side(AttentionSide *side, const AttentionPlan *plan, const TnArg *arg, gint64 uses)
{
    const gint own = arg->type.rank - 2;
    side->rows = arg->type.dims[own];
    side->cols = arg->type.dims[own + 1];
    side->row = arg->strides[own];
    side->col = side->cols == 1 ? 1 : arg->strides[own + 1];
    side->items = 1;
    for (gint i = plan->lead - 1; i >= 0; i--) {
        const gint at = i - (plan->lead - own);
        const gboolean still = at < 0 || arg->type.dims[at] == 1;
        side->batch[i] = still ? 0 : arg->strides[at];
        side->item[i] = still ? 0 : side->items;
        side->items *= still ? 1 : arg->type.dims[at];
    }
    const gboolean whole = side->col == 1 && side->cols % lanes() == 0;
    const gboolean near = uses < 24 || side->row == side->cols;
    side->width = whole && near ? 0 : MIN(widest(), round_up(side->cols, lanes()));
    side->turned_floats = cpu_times(round_up(side->rows, widest()), side->cols);
    side->panel_floats =
        side->width == 0 ? 0 : cpu_times(round_up(side->cols, side->width), side->rows);
}

void
attention_turn(const AttentionSide *side, const float *from, float *to)
{
    const GemmPart part = { FALSE, from, side->col, side->row };
    gemm_pack_b(&part, side->cols, side->rows, widest(), to);
}

AttentionPanels
attention_turned(const AttentionSide *side, const float *copy)
{
    return (AttentionPanels){ copy, widest(), widest() * side->cols };
}

void
attention_copy(const AttentionSide *side, const float *from, float *to)
{
    if (side->width > 0) {
        const GemmPart part = { FALSE, from, side->row, side->col };
        gemm_pack_b(&part, side->rows, side->cols, side->width, to);
    }
}

AttentionPanels
attention_panels(const AttentionSide *side, const float *from, const float *copy)
{
    return side->width > 0 ? (AttentionPanels){ copy, side->width, side->width * side->rows }
                           : (AttentionPanels){ from, side->row, widest() };
}

void
attention_plan(AttentionPlan *plan, const TnNode *node, gint mask_at)
{
    const TnArg *mask = node->n_in > mask_at ? &node->in[mask_at] : NULL;
    const TnAttentionAttrs *attrs = node->attrs;
    const TnArg *q = &node->in[0], *k = &node->in[1], *v = &node->in[2];
    const TnType *types[] = { &q->type, &k->type, &v->type };
    for (gint i = 0; i < 3; i++) {
        plan->lead = MAX(plan->lead, types[i]->rank - 2);
    }
    for (gint axis = 0; axis < plan->lead; axis++) {
        plan->dims[axis] = 1;
        for (gint i = 0; i < 3; i++) {
            const gint at = axis - (plan->lead - (types[i]->rank - 2));
            const gint64 size = at < 0 ? 1 : types[i]->dims[at];
            plan->dims[axis] = size != 1 ? size : plan->dims[axis];
        }
    }
    plan->items = cpu_count(plan->lead, plan->dims);
    plan->l = q->type.dims[q->type.rank - 2];
    plan->e = q->type.dims[q->type.rank - 1];
    plan->s = v->type.dims[v->type.rank - 2];
    plan->d = v->type.dims[v->type.rank - 1];
    plan->scale = attrs->scale != 0 ? (float)attrs->scale : 1 / sqrtf((float)plan->e);
    plan->causal = attrs->causal;
    attention_side(&plan->q, plan, q, plan->s / GEMM_ROWS);
    attention_side(&plan->k, plan, k, plan->l / GEMM_ROWS);
    attention_side(&plan->v, plan, v, plan->l / GEMM_ROWS);
    if (mask != NULL && mask->type.dtype != TN_DTYPE_NONE) {
        gint64 strides[TN_MAX_RANK];
        cpu_broadcast(mask, plan->lead + 2, strides);
        plan->mask = mask->type.dtype;
        memcpy(plan->mask_batch, strides, (gsize)plan->lead * sizeof *strides);
        plan->mask_row = strides[plan->lead];
        plan->mask_col = strides[plan->lead + 1];
    }
}

void
attention_strides(AttentionStrides *to, const AttentionPlan *plan, const TnArg *arg)
{
    gint64 strides[TN_MAX_RANK];
    cpu_broadcast(arg, plan->lead + 2, strides);
    memcpy(to->batch, strides, (gsize)plan->lead * sizeof *strides);
    to->row = strides[plan->lead];
    to->col = strides[plan->lead + 1];
}

const void *
attention_mask(const AttentionPlan *plan, const void *mask, const gint64 *index, gint64 row,
               gint64 col)
{
    const gint64 at =
        cpu_dot(plan->lead, index, plan->mask_batch) + row * plan->mask_row + col * plan->mask_col;
    return (const char *)mask + at * (gint64)tn_dtype_size(plan->mask);
}

void
attention_masked(const AttentionPlan *plan, const void *mask, gint64 step, float *scores, gint64 n)
{
    const guint8 *seen = mask;
    const float *added = mask;
    const guint16 *narrow = mask;
    for (gint64 i = 0; i < n; i++) {
        const float scaled = scores[i] * plan->scale;
        switch (plan->mask) {
        case TN_DTYPE_BOOL: scores[i] = seen[i * step] ? scaled : -INFINITY; break;
        case TN_DTYPE_BF16: scores[i] = scaled + cpu_bf16_wide(narrow[i * step]); break;
        default: scores[i] = scaled + added[i * step]; break;
        }
    }
}

/* Columns that are no whole vector. */
static void
part_of_vector(const AttentionProduct *p, GemmFn fn, const float *b, gint64 width, gint64 cols,
               float *c)
{
    float edge[GEMM_ROWS * 64];
    fn(p->k, p->a, p->a_row, p->a_col, b, p->b.row, edge, width, NULL, 0);
    for (gint64 i = 0; i < p->rows; i++) {
        for (gint64 j = 0; j < cols; j++) {
            c[i * p->c_row + j] = edge[i * width + j] + (p->add ? c[i * p->c_row + j] : 0);
        }
    }
}

void
attention_product(const AttentionProduct *p)
{
    const GemmKernels *kernels = &gemm_kernels[cpu_isa];
    const float *b = p->b.at;
    gint64 panel = widest();
    for (gint64 j = 0; j < p->cols; j += panel, b += p->b.step) {
        const gint64 cols = MIN(panel, p->cols - j), width = round_up(cols, lanes());
        GemmFn fn = kernels->fn[0][p->rows - 1][width / lanes() - 1];
        if (cols == width || p->padded) {
            fn(p->k, p->a, p->a_row, p->a_col, b, p->b.row, p->c + j, p->c_row,
               p->add ? p->c + j : NULL, p->c_row);
        } else {
            part_of_vector(p, fn, b, width, cols, p->c + j);
        }
    }
}
