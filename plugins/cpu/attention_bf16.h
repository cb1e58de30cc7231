/* attention_bf16.h: what attention of bf16 and its gradient share: operands copied as tiles, and loops
 * over blocks of scores.
 *
 * All is cut into blocks of 32 rows and 32 columns (gemm_bf16_kernels.h), in f32 where sums are and in
 * bf16 where they are factors again: a block of bf16, 32 numbers a row, is two tiles of a left side. */
#pragma once

#include "attention.h"
#include "gemm_bf16_kernels.h"

#define ATTENTION_BLOCK BF16_BLOCK
#define ATTENTION_AREA (BF16_BLOCK * BF16_BLOCK) /* numbers of a block */

/* Blocks that n rows or columns make. */
static inline gint64
attention_blocks(gint64 n)
{
    return cpu_parts(n, ATTENTION_BLOCK);
}

/* A matrix [rows, cols] whose rows are copied: as rows of a left side, or as columns of a right one. What
 * belongs to a block of rows follows itself: two groups of tiles over cols. */
typedef struct {
    const guint16 *from;
    gint64 rows, cols, row, col; /* strides in numbers */
} AttentionMatrix;

/* Room for a copy, in numbers; the same either way round. */
static inline gint64
attention_room(gint64 rows, gint64 cols)
{
    return cpu_times(cpu_times(attention_blocks(rows), attention_blocks(cols)), ATTENTION_AREA);
}

/* A block of rows of a left side. */
void attention_left(const AttentionMatrix *m, gint64 block, guint16 *to);
/* All rows as columns of a right side: its transpose. */
void attention_right_turned(const AttentionMatrix *m, guint16 *to);
/* The matrix itself as a right side: blocks of columns, tiles over rows. */
void attention_right(const AttentionMatrix *m, guint16 *to);

/* c = or += a b for a block: a's tile t at a + t * step, of two blocks beside each other; b a block of
 * columns, whose two groups are b_group apart. */
static inline void
attention_block_product(gint64 deep, const guint16 *a, gint64 a_half, gint64 step, const guint16 *b,
                        gint64 b_group, gboolean add, float *c)
{
    const Bf16Rows rows = { { a, a + a_half }, BF16_DEEP, step };
    const guint16 *const sides[] = { b, b + b_group };
    bf16_kernels()->block(deep, &rows, sides, 2, add, c);
}

/* Of the rows of a block: the largest score so far, the sum of e^(score - max), and the factor for what
 * was computed with the earlier max (attention.h). */
typedef struct {
    float max[ATTENTION_BLOCK], sum[ATTENTION_BLOCK], factor[ATTENTION_BLOCK];
} AttentionStates;

/* Scores of a block's rows against `blocks` blocks of keys, of which the first row sees `first` and each
 * next one `more` more, n at most. */
typedef struct {
    gint64 blocks, first, more, n;
    float scale;
} AttentionSeen;
/* scores become e^(scale score - max), 0 where a key is not seen. */
typedef void (*AttentionRowsFn)(float *scores, const AttentionSeen *seen, AttentionStates *states);
extern const AttentionRowsFn attention_bf16_rows[CPU_N_ISA];
/* Each row of a block times a factor of its own. */
typedef void (*AttentionScaleFn)(float *block, const float *factors);
extern const AttentionScaleFn attention_bf16_scale[CPU_N_ISA];

/* A block with a row for each key and a column for each row of q. */
typedef struct {
    gint64 keys; /* that there are; shares of others are 0 */
    gint64
        first; /* column from which on the block's first key is seen, the next one later by one */
    float scale, factor;
    const float *base, *weighed; /* of each column */
} AttentionShares;
/* p = e^(scale score - base) replaces scores, factor p (dp - weighed) dp. */
typedef void (*AttentionSharesFn)(float *scores, float *dp, const AttentionShares *shares);
extern const AttentionSharesFn attention_bf16_shares[CPU_N_ISA];

/* Products of n numbers of a and b, a_step and b_step apart, added up in lanes. */
typedef void (*AttentionDotFn)(const guint16 *a, gint64 a_step, const guint16 *b, gint64 b_step,
                               gint64 n, float *lanes);
extern const AttentionDotFn attention_bf16_dot[CPU_N_ISA];
/* Sums of the lanes of each of a block's rows. */
void attention_bf16_fold(const float *lanes, float *sums);
