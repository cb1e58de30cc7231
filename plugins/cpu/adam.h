/* adam.h: a step of Adam or AdamW over rows of neighbouring elements, in f32: what the kernels of steps share. */
#pragma once

#include <tenon/nn.h>

#include "cpu.h"

/* The numbers of a step, the same for all elements. */
typedef struct {
    float keep1, add1, keep2, add2; /* of the moments */
    float root;                     /* sqrt (1 - beta2^step) */
    float eps, rate;                /* lr / (1 - beta1^step) */
    float decay;                    /* share of the parameter that is added to its gradient */
    float left;                     /* share of the parameter that stays, where it decays itself */
} AdamNumbers;

typedef struct {
    float *param, *mean, *square; /* new; may be the old ones' memory */
    const float *old_param, *old_mean, *old_square;
    const void *grad; /* f32, or bf16 */
    gboolean narrow;
    gint64 row, grad_row; /* from one row to the next: of all but grad, and of grad */
} AdamElements;

/* `rows` rows of n elements. */
typedef void (*AdamFn)(const AdamNumbers *s, const AdamElements *e, gint64 rows, gint64 n);

typedef struct {
    TnAdamAttrs attrs;
    gboolean decays_itself; /* AdamW */
    AdamFn step;            /* the same bits, however elements are cut into rows */
} CpuAdam;

/* Whether the estimates of quotients and roots are right for the attributes. */
gboolean cpu_adam_fits(const TnAdamAttrs *attrs);
CpuAdam cpu_adam_plan(const TnAdamAttrs *attrs, gboolean decays_itself);
/* step: number of this update, from 1. */
AdamNumbers cpu_adam_numbers(const CpuAdam *adam, double lr, double step);
