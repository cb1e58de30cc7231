/* gelu.h: gelu of one number and g times its derivative there, by tanh and by erf: what kernels and
 * micro-operations share, so that a group gives the bits of the operator alone. */
#pragma once

#include <math.h>

#include "vmath.h"

#define GELU_ROOT 0.7978845608028654f
#define GELU_CUBIC 0.044715f

/* (1 + tanh (u)) / 2 = 1 / (1 + 2^w) for u = GELU_ROOT v (GELU_CUBIC z + 1), z = v^2, and w = -2 log2 (e) u: no sum
 * that loses small results. 2^w need not be exact where exp is: below 2^-126 it may as well be 0 beside 1, from
 * 2^128 on it is infinite, and of NaN it is any number, for callers multiply with v. So one factor 2^n will do, and
 * what is left of w, within [-1/2, 1/2], takes no reduction. The polynomial is a minimax fit as those of vmath.h. */
static CPU_INLINE float
gelu_share(float v, float z)
{
    const float w = v * (-0x1.a5a7dp-4f * z - 0x1.26aec2p1f);
    const float low = w < 128.0f ? w : 128.0f, in = low > -126.0f ? low : -126.0f;
    const float shifted = in + VM_ROUND, r = in - (shifted - VM_ROUND);
    float p = 0x1.41fc02p-13f;
    p = p * r + 0x1.5f3e54p-10f;
    p = p * r + 0x1.3b2d4cp-7f;
    p = p * r + 0x1.c6aee8p-5f;
    p = p * r + 0x1.ebfbdcp-3f;
    p = p * r + 0x1.62e430p-1f;
    p = p * r + 1.0f;
    return 1 / (1 + vm_float(vm_bits(p) + (vm_bits(shifted) << 23)));
}

static CPU_INLINE float
gelu_by_tanh_at(float v, float g)
{
    (void)g;
    return v * gelu_share(v, v * v);
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
    const float z = v * v, share = gelu_share(v, z);
    const float slope = 2 * GELU_ROOT * (share * (1 - share) * (3 * GELU_CUBIC * z + 1));
    return g * (share + v * slope);
}

static CPU_INLINE float
gelu_by_erf_grad_at(float v, float g)
{
    const float slope = GELU_ROOT / 2 * vm_exp(-0.5f * (v * v));
    return g * (0.5f * (vm_erf(v * (float)G_SQRT2 / 2) + 1) + v * slope);
}
