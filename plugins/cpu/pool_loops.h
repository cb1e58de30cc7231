/* pool_loops.h: the loops of pool_laid.c over a plane, and over runs of one that are what a tap sees of all
 * windows. */
#pragma once

#include "pool.h"

/* Numbers of a plane as 32 bits each: the same, or whole numbers in the order of f32 or bf16, NaN the
 * largest; zeros of either sign the same number, where it matters which of equals is the first. */
typedef enum { POOL_AS_IT_IS, POOL_ORDERED, POOL_ORDERED_EQUAL, POOL_ORDERED_BF16 } PoolOrder;
/* Whole numbers of -infinity, and of no number at all. */
#define POOL_LEAST ((gint32)(0xff800000 ^ 0x7fffffff))
#define POOL_NOTHING G_MININT32

typedef struct {
    /* A plane x, what is beside it `fill`; row: a row of it. */
    void (*lay)(const PoolPlan *p, PoolOrder order, const void *x, gint32 fill, gint32 *to,
                gint32 *row);
    /* Back again: what no window sees is 0. */
    void (*unlay)(const PoolPlan *p, const float *from, gint32 *row, float *dx);
    /* Whole numbers at windows' places as what they stand for, of the plan's dtype. */
    void (*store)(const PoolPlan *p, const gint32 *laid, void *out);
    /* y = x by how many elements a window averages over; x, y at windows' places or not. */
    void (*share)(const PoolPlan *p, const float *x, gboolean x_laid, float *y, gboolean y_laid);
    /* Windows' gradients to their places. */
    void (*place)(const PoolPlan *p, const float *g, float *to);
    /* x[i] = the largest, the sum, of x[i + taps[t]], i < length, in place: nothing before i is read. */
    void (*largest)(gint32 *x, const gint64 *taps, gint64 n_taps, gint64 length);
    void (*total)(float *x, const gint64 *taps, gint64 n_taps, gint64 length);
    /* d[i + taps[t]] += g[i], t the first of the taps where x[i + taps[t]] is the largest: of whole vectors,
     * so all have POOL_LANES numbers more. */
    void (*to_largest)(const gint32 *x, const float *g, const gint64 *taps, gint64 n_taps,
                       gint64 length, float *d);
    /* The same of all taps. */
    void (*to_all)(const float *g, const gint64 *taps, gint64 n_taps, gint64 length, float *d);
} PoolLoops;

extern const PoolLoops pool_loops[CPU_N_ISA];
