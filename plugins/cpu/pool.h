/* pool.h: pooling over windows of up to three spatial axes, a channel's plane at a time: what pool.c plans,
 * and the planes that others compute. */
#pragma once

#include "cpu.h"

#define POOL_LANES 16

typedef struct PoolPlan PoolPlan;
/* Of one plane: a x or a gradient, b a gradient or nothing; scratch is the chunk's. */
typedef void (*PoolPlaneFn)(const PoolPlan *plan, const void *a, const void *b, void *out,
                            void *scratch);

struct PoolPlan {
    PoolPlaneFn plane;
    TnDtype dtype;
    gint64 planes, per_chunk;
    gint64 s[3], o[3], k[3], stride[3], dilation[3], pad[3];
    gint64 padded[3]; /* sizes with the user's padding, where windows' counts end */
    gint64 in, outs;  /* elements of a plane */
    gboolean count_padding;
    gboolean laid; /* else what follows is not set */

    /* pool_laid.c: places of an axis of a phase; numbers of a phase, of all; places from the first window's to
     * the last one's. */
    gint64 m[3], area, all, length;
    gint64 seen; /* numbers of a row of x that windows see */
    gint64 *
        rows; /* [stride0 m0][stride1 m1]: where a row of the padded plane begins; its phases of the last
                       * axis are `area` apart */
    gint64 *places;   /* [o0][o1]: where a row of windows begins */
    gint64 *along[3]; /* [k]: where a tap of an axis lies, from its window's place */
    gint64 *taps;     /* [k0][k1][k2]: the same of all three; NULL: pool_laid_fits said no */
    float *counts[3]; /* [o]: elements of an axis that an average is over */
    gsize scratch;    /* bytes of a chunk */
};

/* Elements along an axis that the window at place o averages over. */
gint64 pool_count(const PoolPlan *plan, gint axis, gint64 o);

/* pool_laid.c: numbers that a plane is laid as, G_MAXINT64 for more; sets what it needs of a plan. */
gint64 pool_laid_size(const PoolPlan *plan);
void pool_lay_out(PoolPlan *plan);
/* Numbers of scratch that planes of one type take, of gradients of average, of maxima. */
gint64 pool_laid_numbers(const PoolPlan *plan);
gint64 pool_laid_average_grad_numbers(const PoolPlan *plan);
gint64 pool_laid_max_grad_numbers(const PoolPlan *plan);
/* Whether gradients are worth going through tap by tap. */
gboolean pool_laid_fits(const PoolPlan *plan);
void pool_laid_clear(PoolPlan *plan);
/* Maxima of f32 and bf16; the rest of f32. */
void pool_laid_max(const PoolPlan *plan, const void *x, const void *unused, void *out,
                   void *scratch);
void pool_laid_max_grad(const PoolPlan *plan, const void *x, const void *g, void *out,
                        void *scratch);
void pool_laid_average(const PoolPlan *plan, const void *x, const void *unused, void *out,
                       void *scratch);
void pool_laid_average_grad(const PoolPlan *plan, const void *g, const void *unused, void *out,
                            void *scratch);

/* pool_squares.c: windows of 2 x 2 side by side, of f32. */
gboolean pool_is_squares(const PoolPlan *plan);
extern const PoolPlaneFn pool_square_max[CPU_N_ISA], pool_square_grad[CPU_N_ISA];
