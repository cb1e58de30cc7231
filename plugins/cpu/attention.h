/* attention.h: what attention and its gradient share: operands as the innermost products read them, and
 * loops over a row of scores. */
#pragma once

#include <tenon/nn.h>

#include "cpu.h"

/* Columns to which rows of scores are padded. */
#define ATTENTION_LANES 16

/* q, k, v or what belongs to one of them: matrices [rows, cols] for the leading axes, and how their rows
 * are read as the right side of products: where they lie, or copied in panels. */
typedef struct {
    gint64 rows, cols, row, col;        /* strides in elements */
    gint64 batch[TN_MAX_RANK];          /* of the leading axes */
    gint64 items, item[TN_MAX_RANK];    /* different matrices, and steps among them */
    gint64 width;                       /* of a panel; 0: rows are read where they lie */
    gint64 turned_floats, panel_floats; /* of the copies of one item: transposed, rows */
} AttentionSide;

/* Columns of a right side: panel i begins at `at` + i * step, its rows `row` apart. */
typedef struct {
    const float *at;
    gint64 row, step;
} AttentionPanels;

typedef struct {
    gint lead; /* leading axes */
    gint64 dims[TN_MAX_RANK], items;
    gint64 l, s, e, d;
    float scale;
    gboolean causal;
    AttentionSide q, k, v;
    TnDtype mask; /* none, bool, f32 or bf16 */
    gint64 mask_batch[TN_MAX_RANK], mask_row, mask_col;
} AttentionPlan;

/* Inputs of attention and of its gradient. */
enum { ATTENTION_MASK = 3, ATTENTION_OUT = 3, ATTENTION_SUM, ATTENTION_G, ATTENTION_GRAD_MASK };

/* Whether the kernels take it: nothing empty, the mask bool or of q's type. */
gboolean attention_claims(const TnNode *node);
/* The same of the gradient: each q has a result of its own, and k and v belong together. */
gboolean attention_grad_claims(const TnNode *node);
/* Sizes, scale, and the sides from inputs 0 to 2; the mask is input mask_at, if there is one. */
void attention_plan(AttentionPlan *plan, const TnNode *node, gint mask_at);
/* A side of its own from an argument [lead…, rows, cols] that broadcasts to the plan's leading axes;
 * uses: how often its rows are read. */
void attention_side(AttentionSide *side, const AttentionPlan *plan, const TnArg *arg, gint64 uses);
/* Copies one item: its transpose in panels of columns. */
void attention_turn(const AttentionSide *side, const float *from, float *to);
AttentionPanels attention_turned(const AttentionSide *side, const float *copy);
/* Its rows, if `width` says so. */
void attention_copy(const AttentionSide *side, const float *from, float *to);
AttentionPanels attention_panels(const AttentionSide *side, const float *from, const float *copy);

/* c [rows, cols] = or += a b for at most 6 rows; b from its row `first` on. Whole vectors are written
 * beyond cols if `padded`. */
typedef struct {
    gint64 rows, cols, k;
    const float *a;
    gint64 a_row, a_col;
    AttentionPanels b;
    float *c;
    gint64 c_row;
    gboolean add, padded;
} AttentionProduct;
void attention_product(const AttentionProduct *p);

/* Strides of an argument [lead…, rows, cols] that broadcasts to the plan's leading axes. */
typedef struct {
    gint64 batch[TN_MAX_RANK], row, col;
} AttentionStrides;
void attention_strides(AttentionStrides *to, const AttentionPlan *plan, const TnArg *arg);

/* What gradients know of their node. */
typedef struct {
    AttentionPlan plan;
    AttentionSide g;
    gint64 keys[TN_MAX_RANK], rest[TN_MAX_RANK]; /* leading axes of k, and those that share it */
    gint64 n_keys;                               /* matrices k */
    AttentionStrides out, sum, dq, dk, dv;
} AttentionGrad;
void attention_grad_plan(AttentionGrad *grad, const TnNode *node);

/* Where a row's mask begins. */
const void *attention_mask(const AttentionPlan *plan, const void *mask, const gint64 *index,
                           gint64 row, gint64 col);
/* n scores become scale times themselves plus the mask, whose elements are `step` apart. */
void attention_masked(const AttentionPlan *plan, const void *mask, gint64 step, float *scores,
                      gint64 n);

/* Of a row: the largest score so far, and the sum of e^(score - max) (Milakov & Gimelshein, "Online
 * normalizer calculation for softmax", 2018). */
typedef struct {
    float max, sum;
} AttentionState;
/* scores[0, n) become e^(scale x - max), those up to `full` (a multiple of ATTENTION_LANES) 0. Gives
 * the factor for what was computed with the earlier max. */
typedef void (*AttentionForwardFn)(float *scores, gint64 n, gint64 full, float scale,
                                   AttentionState *state, float *factor);
/* p = e^(scale x - base) replaces scores, factor p (dp - weighed) dp; those behind n become 0. */
typedef struct {
    float scale, base, factor, weighed;
} AttentionBackward;
typedef void (*AttentionBackwardFn)(float *scores, float *dp, gint64 n, gint64 full,
                                    const AttentionBackward *row);
extern const AttentionForwardFn attention_forward_row[CPU_N_ISA];
extern const AttentionBackwardFn attention_backward_row[CPU_N_ISA];
