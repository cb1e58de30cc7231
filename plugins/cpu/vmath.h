/* vmath.h: exp, log, sin, cos, tanh, erf and pow of a float without branches, so that a loop over
 * them becomes vector code.
 *
 * Each follows the usual plan (Muller, Elementary Functions, 3rd ed., ch. 3, 4, 11; Cody & Waite,
 * Software Manual for the Elementary Functions, for the reductions): reduce the argument, evaluate
 * a polynomial, put the parts together. The polynomials are minimax fits made for this file with
 * Remez' exchange (128-bit arithmetic, coefficients rounded to f32). Errors are below 2 units in
 * the last place over the whole range, which tests/plugins/test_cpu_math.c measures. NaN gives NaN,
 * and -0 and infinities come out as in libm; subnormal arguments do too, subnormal results become zero
 * (tn_float_mode_enter).
 *
 * Files that include this are compiled with -ffp-contract=fast: where there are fused multiply-adds
 * they are used. */
#pragma once

#include <math.h>
#include <string.h>

#include "cpu.h"

static CPU_INLINE guint32
vm_bits(float x)
{
    guint32 bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static CPU_INLINE float
vm_float(guint32 bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static CPU_INLINE guint64
vm_bits64(double x)
{
    guint64 bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static CPU_INLINE double
vm_double(guint64 bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Adding 1.5 * 2^23 (2^52) leaves the nearest integer in the low bits: a rounding conversion that
 * NaN survives. */
#define VM_ROUND 0x1.8p23f
#define VM_ROUND64 0x1.8p52

/* e^x: x = n ln 2 + r, |r| <= ln 2 / 2; 2^n in two factors, so that results may be subnormal or
 * overflow. */
static CPU_INLINE float
vm_exp(float x)
{
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.5f ? -104.5f : x;
    float shifted = x * 0x1.715476p0f + VM_ROUND;
    float n = shifted - VM_ROUND;
    gint32 i = (gint32)(vm_bits(shifted) - vm_bits(VM_ROUND));
    float r =
        x - n * 0x1.62e4p-1f; /* ln 2 in two parts; the first has 15 bits: n times it is exact */
    r = r - n * 0x1.7f7d1cp-20f;
    float q = 0x1.6a2352p-10f;
    q = q * r + 0x1.123a6ap-7f;
    q = q * r + 0x1.5558f4p-5f;
    q = q * r + 0x1.555490p-3f;
    q = q * r + 0x1.fffffcp-2f;
    float p = 1.0f + (r + r * r * q);
    gint32 half = i >> 1;
    return p * vm_float((guint32)(half + 127) << 23) * vm_float((guint32)(i - half + 127) << 23);
}

/* e^x of x <= 0, with the bits of vm_exp; what would be subnormal is zero. */
static CPU_INLINE float
vm_exp_below(float x)
{
    const float shifted = x * 0x1.715476p0f + VM_ROUND;
    const float n = shifted - VM_ROUND;
    float r = x - n * 0x1.62e4p-1f;
    r = r - n * 0x1.7f7d1cp-20f;
    float q = 0x1.6a2352p-10f;
    q = q * r + 0x1.123a6ap-7f;
    q = q * r + 0x1.5558f4p-5f;
    q = q * r + 0x1.555490p-3f;
    q = q * r + 0x1.fffffcp-2f;
    const float p = 1.0f + (r + r * r * q);
    const float power =
        vm_float((vm_bits(shifted) << 23) + 0x3f800000u); /* VM_ROUND's own bits go */
    return x < -87.5f ? 0 : p * power;
}

/* log x: x = 2^e m, m in [sqrt(1/2), sqrt 2), f = m - 1, log m = f - f^2/2 + f^3 P(f). */
static CPU_INLINE float
vm_log(float x)
{
    gboolean tiny = x < 0x1p-126f;
    float scaled = tiny ? x * 0x1p23f : x;
    guint32 bits = vm_bits(scaled) - 0x3f3504f3u; /* of sqrt(1/2) */
    gint32 exponent = (gint32)bits >> 23;
    float f = vm_float((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    float e = (float)exponent - (tiny ? 23.0f : 0.0f);
    float p = 0x1.1457e4p-4f;
    p = p * f - 0x1.de3bf6p-4f;
    p = p * f + 0x1.e6f03cp-4f;
    p = p * f - 0x1.fc2208p-4f;
    p = p * f + 0x1.23376cp-3f;
    p = p * f - 0x1.555c4ep-3f;
    p = p * f + 0x1.99a4b6p-3f;
    p = p * f - 0x1.000006p-2f;
    p = p * f + 0x1.555548p-2f;
    float z = f * f;
    float y = p * f * z;
    y = y + e * 0x1.7f7d1cp-20f;
    y = y - 0.5f * z;
    y = (f + y) + e * 0x1.62e4p-1f;
    y = x == INFINITY ? x : y;
    y = x == 0.0f ? -INFINITY : y;
    return x < 0.0f || x != x ? (x != x ? x : NAN) : y;
}

/* tanh: odd polynomial near 0, else 1 - 2 / (e^2x + 1). */
static CPU_INLINE float
vm_tanh(float x)
{
    float a = fabsf(x), z = x * x;
    float p = -0x1.752166p-8f;
    p = p * z + 0x1.520238p-6f;
    p = p * z - 0x1.b837f2p-5f;
    p = p * z + 0x1.110710p-3f;
    p = p * z - 0x1.555532p-2f;
    float small = x + x * (z * p);
    float big = 1.0f - 2.0f / (vm_exp(2.0f * (a > 10.0f ? 10.0f : a)) + 1.0f);
    return copysignf(a < 0.625f ? small : a != a ? a : big, x);
}

/* erf: odd polynomial below 1, else 1 - e^q(|x|) with a polynomial for log erfc. */
static CPU_INLINE float
vm_erf(float x)
{
    float a = fabsf(x), z = x * x;
    float p = 0x1.498616p-14f;
    p = p * z - 0x1.a40d0ep-11f;
    p = p * z + 0x1.540a7ap-8f;
    p = p * z - 0x1.b7f9e6p-6f;
    p = p * z + 0x1.ce2d08p-4f;
    p = p * z - 0x1.81273ep-2f;
    p = p * z + 0x1.06eba8p-3f; /* 2 / sqrt(pi) - 1 */
    float small = x + x * p;
    float b = a > 4.0f ? 4.0f : a;
    float q = -0x1.579ffap-16f;
    q = q * b + 0x1.c001b6p-12f;
    q = q * b - 0x1.0f068ap-8f;
    q = q * b + 0x1.99fed0p-6f;
    q = q * b - 0x1.bae666p-4f;
    q = q * b - 0x1.44584ep-1f;
    q = q * b - 0x1.212346p0f;
    q = q * b + 0x1.4eeaeep-13f;
    float big = 1.0f - vm_exp(q);
    return a < 1.0f ? small : copysignf(a != a ? a : big, x);
}

/* Beyond this the reduction of vm_sin and vm_cos loses bits: callers take libm. */
#define VM_TRIG_LIMIT 0x1p20f

/* sin(x + quarter * pi/2): the argument is reduced by multiples of pi/2 in double, which keeps
 * small results right. */
static CPU_INLINE float
vm_trig(float x, guint32 quarter)
{
    double shifted = (double)x * 0x1.45f306dc9c883p-1 + VM_ROUND64;
    double n = shifted - VM_ROUND64;
    double reduced = (double)x - n * 0x1.921fb544p0; /* pi/2 in two parts; the first has 31 bits */
    reduced = reduced - n * 0x1.0b4611a626331p-34;
    guint32 k = (guint32)vm_bits64(shifted) + quarter;
    float r = (float)reduced, z = r * r;
    float s = -0x1.992c0ap-13f;
    s = s * z + 0x1.1106fcp-7f;
    s = s * z - 0x1.555544p-3f;
    s = r + r * (z * s);
    float c = 0x1.99e340p-16f;
    c = c * z - 0x1.6c0c22p-10f;
    c = c * z + 0x1.55554ap-5f;
    c = 1.0f - (0.5f * z - z * z * c);
    float y = k & 1 ? c : s;
    return vm_float(vm_bits(y) ^ (k & 2) << 30);
}

/* sin(-0) is -0, which the reduction's sum would lose. */
static CPU_INLINE float
vm_sin(float x)
{
    float y = vm_trig(x, 0);
    return x == 0.0f ? x : y;
}

static CPU_INLINE float
vm_cos(float x)
{
    return vm_trig(x, 1);
}

/* x^y for finite positive normal x and finite y, through log2 and exp2 in double: about 1e-12
 * before the last rounding. */
static CPU_INLINE float
vm_pow(float x, float y)
{
    guint64 bits = vm_bits64((double)x) - 0x3fe6a09e667f3bcdull; /* of sqrt(1/2) */
    double e = (double)(gint32)((gint64)bits >> 52);
    double m = vm_double((bits & 0x000fffffffffffffull) + 0x3fe6a09e667f3bcdull);
    double s = (m - 1.0) / (m + 1.0), z = s * s;
    double p = 1.0 / 17; /* atanh's series */
    p = p * z + 1.0 / 15;
    p = p * z + 1.0 / 13;
    p = p * z + 1.0 / 11;
    p = p * z + 1.0 / 9;
    p = p * z + 1.0 / 7;
    p = p * z + 1.0 / 5;
    p = p * z + 1.0 / 3;
    double l = (double)y * (e + (s + s * z * p) * 0x1.71547652b82fep1); /* y log2 x */
    l = l > 160.0 ? 160.0 : l;
    l = l < -160.0 ? -160.0 : l;
    double shifted = l + VM_ROUND64;
    double r = (l - (shifted - VM_ROUND64)) * 0x1.62e42fefa39efp-1;
    double q = 1.0 / 39916800; /* e^r's series */
    q = q * r + 1.0 / 3628800;
    q = q * r + 1.0 / 362880;
    q = q * r + 1.0 / 40320;
    q = q * r + 1.0 / 5040;
    q = q * r + 1.0 / 720;
    q = q * r + 1.0 / 120;
    q = q * r + 1.0 / 24;
    q = q * r + 1.0 / 6;
    q = q * r + 0.5;
    q = q * r + 1.0;
    q = q * r + 1.0;
    guint64 n = vm_bits64(shifted) - vm_bits64(VM_ROUND64);
    return (float)(q * vm_double((n + 1023) << 52));
}
