/* bf16.h: single numbers of bf16, for loops that any processor runs. */
#pragma once

#include "cpu.h"

static CPU_INLINE float
cpu_bf16_wide(guint16 x)
{
    const guint32 bits = (guint32)x << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Rounds to nearest, ties to even; a NaN stays one. */
static CPU_INLINE guint16
cpu_bf16_narrow(float x)
{
    guint32 bits;
    memcpy(&bits, &x, sizeof bits);
    const guint32 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16, nan = (bits >> 16) | 0x40;
    const guint32 is_nan = -(guint32)((bits & 0x7fffffff) > 0x7f800000u);
    return (guint16)((nan & is_nan) | (rounded & ~is_nan));
}
