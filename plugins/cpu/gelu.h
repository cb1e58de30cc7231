/* gelu.h: gelu of one number and g times its derivative there, by tanh and by erf: what kernels and
 * micro-operations share, so that a group gives the bits of the operator alone. */
#pragma once

#include <math.h>

#include "vmath.h"

#define GELU_ROOT 0.7978845608028654f
#define GELU_CUBIC 0.044715f

/* (1 + tanh (u)) / 2, without the sum that loses small results. */
static CPU_INLINE float
gelu_bend(float u)
{
    return 1 / (1 + vm_exp(-2 * u));
}

static CPU_INLINE float
gelu_by_tanh_at(float v, float g)
{
    (void)g;
    return v * gelu_bend(GELU_ROOT * (v * (GELU_CUBIC * (v * v) + 1)));
}

static CPU_INLINE float
gelu_by_erf_at(float v, float g)
{
    (void)g;
    return 0.5f * v * (vm_erf(v * (float)G_SQRT2 / 2) + 1);
}

static CPU_INLINE float
gelu_by_tanh_grad_at(float v, float g)
{
    const float z = v * v, share = gelu_bend(GELU_ROOT * (v * (GELU_CUBIC * z + 1)));
    const float slope = 2 * GELU_ROOT * (share * (1 - share) * (3 * GELU_CUBIC * z + 1));
    return g * (share + v * slope);
}

static CPU_INLINE float
gelu_by_erf_grad_at(float v, float g)
{
    const float slope = GELU_ROOT / 2 * vm_exp(-0.5f * (v * v));
    return g * (0.5f * (vm_erf(v * (float)G_SQRT2 / 2) + 1) + v * slope);
}
