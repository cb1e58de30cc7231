/* conv_bf16_kernels.h: the innermost products of convolutions of bf16 over blocks of 32 channels, for
 * each way that processors have of multiplying bf16: places by 32 channels out, summed over steps of 32
 * numbers that a place sees beside each other. */
#pragma once

#include "cpu.h"

#define CONV_BF16_L 32     /* channels of a block, and numbers of a step */
#define CONV_BF16_ROWS 16  /* places of a group, at most */
#define CONV_BF16_GROUPS 2 /* of places, computed at once */
#define CONV_BF16_PLACES (CONV_BF16_GROUPS * CONV_BF16_ROWS)
#define CONV_BF16_SUMS (CONV_BF16_PLACES * CONV_BF16_L)
/* Numbers of the weights of a step: 16 pairs of channels in, 32 channels out, 2 of the pair. */
#define CONV_BF16_WEIGHTS (CONV_BF16_L * CONV_BF16_L)

/* What each place sees: at[s] is where the numbers of step s begin, beside the place's own beginning. */
typedef struct {
    const gint64 *at;
    gint64 steps;
    gint64 apart; /* from a place of a group to the next */
} ConvBf16Reads;

/* n places that are summed up and wait for what follows: + bias + more, max (., 0) if relu, rounded, or
 * as f32 if wide. They are taken along while the next products are under way. */
typedef struct {
    const float *sums, *bias; /* [n][32]; 32 numbers, NULL: none */
    const guint16 *more;      /* NULL: none */
    char *out;
    const gint32 *to; /* which place of out and more each is, in blocks of 32; -1: none */
    gint n;
    gboolean relu, wide;
} ConvBf16Rest;

/* Lines of memory that are read later, so many at each step. */
typedef struct {
    const guint16 *from;
    gint lines;
} ConvBf16Fetch;

/* Adds to sums [group][rows][32], or begins them. x: the first place of each group, x[1] NULL: there is
 * one group. rows: of each group, as `begin` was told. w: [steps][16][32][2]. rest->sums is other memory
 * than sums. */
typedef void (*ConvBf16BlockFn)(const ConvBf16Reads *reads, const guint16 *const *x, gint rows,
                                const guint16 *w, gboolean begins, ConvBf16Fetch fetch,
                                const ConvBf16Rest *rest, float *sums);

typedef struct {
    ConvBf16BlockFn block;
    void (*finish)(const ConvBf16Rest *rest);
    void (*begin)(gint rows); /* before blocks of so many rows on a thread; NULL: nothing */
    void (*end)(void);        /* after the last of them; NULL: nothing */
    gint rows;                /* of a group, at most */
    gint least;               /* a group of fewer takes as long as one of so many */
    gint part; /* steps, at most, until the next groups are told to read the same weights */
} ConvBf16Kernels;

/* Of the processor, as far as TENON_CPU_ISA allows. */
const ConvBf16Kernels *conv_bf16_kernels(void);
