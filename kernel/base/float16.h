/* float16.h: conversions of single numbers to and from half precision, in integer arithmetic
 * that compilers turn into vector code and that no flush-to-zero mode disturbs. */
#pragma once

#include <string.h>

#include <glib.h>

static inline guint32
tn_f32_bits(float x)
{
    guint32 bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float
tn_f32_of_bits(guint32 bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* condition ? a : b, without a branch that would keep loops from becoming vector code. */
static inline guint32
tn_pick(gboolean condition, guint32 a, guint32 b)
{
    const guint32 mask = -(guint32)condition;
    return (a & mask) | (b & ~mask);
}

static inline float
tn_f16_to_f32(guint16 half)
{
    const guint32 sign = (guint32)(half & 0x8000) << 16;
    const guint32 shifted = (guint32)(half & 0x7fff) << 13;
    const guint32 exponent = shifted & (0x7c00u << 13);
    /* Exponents are biased by 15 there and by 127 here; infinity and NaN have the highest of
     * each. */
    const guint32 normal = shifted + (112u << 23);
    const guint32 special = shifted + (224u << 23);
    /* A subnormal half m * 2^-24 is (1 + m/1024) * 2^-14 without its 2^-14. */
    const guint32 subnormal = tn_f32_bits(tn_f32_of_bits(shifted + (113u << 23)) - 0x1p-14f);
    const guint32 number = tn_pick(exponent == (0x7c00u << 13), special, normal);
    return tn_f32_of_bits(sign | tn_pick(exponent == 0, subnormal, number));
}

/* Rounds to nearest, ties to even. A NaN stays one and becomes quiet. */
static inline guint16
tn_f16_from_f32(float x)
{
    const guint32 bits = tn_f32_bits(x);
    const guint32 sign = (bits >> 16) & 0x8000;
    const guint32 size = bits & 0x7fffffff;
    const gint32 order = (gint32)size; /* signed: what vector instructions compare */
    const guint32 normal = (size - (112u << 23) + 0xfff + ((size >> 13) & 1)) >> 13;
    /* The last bit of 0.5 is worth 2^-24, as is that of a subnormal half: the addition rounds. */
    const float small = tn_f32_of_bits(tn_pick(order < 0x38800000, size, 0x38800000u));
    const guint32 subnormal = tn_f32_bits(small + 0.5f) - 0x3f000000u;
    const guint32 nan = 0x7e00u | ((size >> 13) & 0x3ff);
    const guint32 finite = tn_pick(order < 0x38800000, subnormal, normal);
    const guint32 number = tn_pick(order >= 0x47800000, 0x7c00u, finite);
    return (guint16)(sign | tn_pick(order > 0x7f800000, nan, number));
}

static inline float
tn_bf16_to_f32(guint16 half)
{
    return tn_f32_of_bits((guint32)half << 16);
}

/* Rounds to nearest, ties to even. A NaN stays one and becomes quiet. */
static inline guint16
tn_bf16_from_f32(float x)
{
    const guint32 bits = tn_f32_bits(x);
    const guint32 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const guint32 nan = (bits >> 16) | 0x40;
    return (guint16)tn_pick((bits & 0x7fffffff) > 0x7f800000u, nan, rounded);
}

/* Rounding to odd: towards zero, then the last bit set if anything was cut off. A second rounding
 * to nearest with at least two bits fewer then gives what one rounding would have given. */
static inline float
tn_f32_odd_from_f64(double x)
{
    const float near = (float)x;
    if ((double)near == x || x != x)
        return near;
    guint32 bits = tn_f32_bits(near);
    /* Bits of floats of one sign grow with their size; the sign of a zero result is kept. */
    if ((x < 0 ? -(double)near : (double)near) > (x < 0 ? -x : x))
        bits--;
    return tn_f32_of_bits(bits | 1);
}

static inline float
tn_f32_odd_from_u64(guint64 x)
{
    if (x < (1u << 24))
        return (float)x;
    const guint cut = 40 - (guint)__builtin_clzll(x); /* bits beyond the first 24 */
    const guint64 kept = x >> cut;
    const guint64 lost = x & ((G_GUINT64_CONSTANT(1) << cut) - 1);
    return (float)((kept | (lost != 0)) << cut);
}

static inline float
tn_f32_odd_from_i64(gint64 x)
{
    return x < 0 ? -tn_f32_odd_from_u64(-(guint64)x) : tn_f32_odd_from_u64((guint64)x);
}
