/* recurrent_gates.c: the functions of the gates and their derivatives for a panel's units, by the formulas
 * of the operators' bodies. */
#include "recurrent.h"

#include "vmath.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* --- Elements --------------------------------------------------------------------------------- */

/* 1 / x for 1 <= x < 2^126: a first guess off by an eighth, from the exponent with its sign turned, and two
 * steps of third order (Householder's). A division takes as long as all of a gate's other arithmetic. */
static CPU_INLINE float
one_over(float x)
{
    float y = vm_float(0x7ef311c7u - vm_bits(x));
    for (gint i = 0; i < 2; i++) {
        const float e = 1.0f - x * y;
        y = y + y * (e + e * e);
    }
    return y;
}

/* The sign of x, and its size if that is no more than `most`, whose word it is. A limit of words: compilers
 * work out for both its outcomes what follows a limit of floats. A NaN becomes a number. */
static CPU_INLINE float
at_most(float x, guint32 most)
{
    const guint32 size = vm_bits(x) & 0x7fffffffu;
    return vm_float(MIN(size, most) | (vm_bits(x) & 0x80000000u));
}

/* 87: little beyond e^-x is no normal number, nor is a guess of it. 20: from half of it on tanh is 1, and
 * what one_over adds is far from too small. */
#define GATE_FAR 0x42ae0000u
#define GATE_ONE 0x41a00000u

/* e^x - less, which is 0 or 1, for x of at most GATE_FAR; vm_exp's polynomial. Near 0 that of less = 1 is as
 * exact as x. */
static CPU_INLINE float
gate_exp(float x, float less)
{
    const float shifted = x * 0x1.715476p0f + VM_ROUND, n = shifted - VM_ROUND;
    const float scale = vm_float((vm_bits(shifted) - vm_bits(VM_ROUND) + 127) << 23);
    const float r = (x - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
    float q = 0x1.6a2352p-10f;
    q = q * r + 0x1.123a6ap-7f;
    q = q * r + 0x1.5558f4p-5f;
    q = q * r + 0x1.555490p-3f;
    q = q * r + 0x1.fffffcp-2f;
    return (r + r * r * q) * scale + (scale - less);
}

static CPU_INLINE float
gate_sigmoid(float x)
{
    const float y = one_over(1.0f + gate_exp(at_most(-x, GATE_FAR), 0.0f));
    return x != x ? x : x < -vm_float(GATE_FAR) ? 0.0f : y;
}

static CPU_INLINE float
gate_tanh(float x)
{
    const float e = gate_exp(at_most(2.0f * x, GATE_ONE), 1.0f);
    const float size = fabsf(e * one_over(e + 2.0f));
    const float y = copysignf(at_most(size, 0x3f800000u), x); /* 1 */
    return x != x ? x : y;
}

static CPU_INLINE double
sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

#define FUNCTION static CPU_INLINE
#define UNITS                                                                                      \
    CPU_LOOP                                                                                       \
    for (gint64 u = 0; u < units; u++)
#define LOAD(p) (*(p))
#define STORE(p, x) (*(p) = (x))
#define POSITIVE(x, y) ((x) > 0 ? (y) : 0)
#define NOT_NEGATIVE(x) ((((x) > 0) | ((x) != (x))) ? (x) : 0)

#define T float
#define V float
#define CELL(name) name##_f32_body
#define SIGMOID gate_sigmoid
#define TANH gate_tanh
#include "recurrent_cells.h"

#define T double
#define V double
#define CELL(name) name##_f64_body
#define SIGMOID sigmoid
#define TANH tanh
#include "recurrent_cells.h"

#undef FUNCTION
#undef UNITS
#undef LOAD
#undef STORE
#undef POSITIVE
#undef NOT_NEGATIVE

/* --- Vectors ---------------------------------------------------------------------------------- */

#if defined(__x86_64__)

/* 2^(j / 16), less j in the bits that exp_avx512 adds to it. */
static const guint32 powers[16]
    __attribute__((aligned(64))) = { 0x3f800000u, 0x3f7daac3u, 0x3f7b95c2u, 0x3f79c3d3u,
                                     0x3f7837f0u, 0x3f76f532u, 0x3f75fed7u, 0x3f75583fu,
                                     0x3f7504f3u, 0x3f7508a4u, 0x3f75672au, 0x3f76248cu,
                                     0x3f7744fdu, 0x3f78ccdfu, 0x3f7ac0c7u, 0x3f7d257du };
/* What rounding to f32 took from each, over the whole. */
static const float powers_lost[16] __attribute__((aligned(64))) = { 0,
                                                                    0x1.8d96d2p-25f,
                                                                    -0x1.9c0c22p-27f,
                                                                    0x1.964902p-25f,
                                                                    0x1.125002p-25f,
                                                                    0x1.370be4p-25f,
                                                                    -0x1.0a3552p-25f,
                                                                    -0x1.00d8acp-27f,
                                                                    0x1.26055cp-26f,
                                                                    -0x1.05cb44p-25f,
                                                                    0x1.67a1cap-28f,
                                                                    0x1.a3b5e4p-28f,
                                                                    -0x1.f9c306p-27f,
                                                                    -0x1.6961b4p-28f,
                                                                    -0x1.a5217cp-28f,
                                                                    0x1.61428ep-28f };

/* e^(x times / log2 e) - less, which is 0 or 1, for exponents of 2 from -127 (whose results count as 0) to
 * 127. With n the nearest sixteenth to the exponent and r the rest, 2^n is read from a table, 2^r - 1 is a
 * minimax polynomial, exact to 2^-23. Near 0 that of less = 1 is as exact as x. */
CPU_TARGET_AVX512 static CPU_INLINE __m512
exp_avx512(__m512 x, float times, gboolean less)
{
    const __m512 by = _mm512_set1_ps(times), round = _mm512_set1_ps(0x1.8p19f);
    const __m512 shifted = _mm512_fmadd_ps(x, by, round);
    const __m512 r = _mm512_fmsub_ps(x, by, _mm512_sub_ps(shifted, round));
    const __m512i n = _mm512_castps_si512(shifted), table = _mm512_load_si512(powers);
    const __m512 power = _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_permutexvar_epi32(n, table), _mm512_slli_epi32(n, 19)));
    __m512 q = _mm512_fmadd_ps(_mm512_set1_ps(0x1.c6a154p-5f), r, _mm512_set1_ps(0x1.ebffa4p-3f));
    q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(0x1.62e43p-1f));
    if (!less) {
        return _mm512_fmadd_ps(power, _mm512_mul_ps(q, r), power);
    }
    q = _mm512_fmadd_ps(q, r, _mm512_permutexvar_ps(n, _mm512_load_ps(powers_lost)));
    return _mm512_fmadd_ps(power, q, _mm512_sub_ps(power, _mm512_set1_ps(1.0f)));
}

/* 1 / x for 1 <= x <= 2^126, a step of Newton's from 14 bits; beyond that 0. */
CPU_TARGET_AVX512 static CPU_INLINE __m512
one_over_avx512(__m512 x)
{
    const __m512 y = _mm512_rcp14_ps(x);
    return _mm512_fmadd_ps(y, _mm512_fnmadd_ps(x, y, _mm512_set1_ps(1.0f)), y);
}

/* Minimum and maximum give their second argument where one is NaN. */
CPU_TARGET_AVX512 static CPU_INLINE __m512
sigmoid_avx512(__m512 x)
{
    const __m512 most = _mm512_set1_ps(88.0f), least = _mm512_set1_ps(-88.0f);
    const __m512 near = _mm512_max_ps(least, _mm512_min_ps(most, x));
    const __m512 e = exp_avx512(near, -0x1.715476p0f, FALSE);
    return one_over_avx512(_mm512_add_ps(e, _mm512_set1_ps(1.0f)));
}

/* From 10 on exactly 1, so that the slope is 0 there: the quotient may be the number before it. */
CPU_TARGET_AVX512 static CPU_INLINE __m512
tanh_avx512(__m512 x)
{
    const __m512 sign = _mm512_set1_ps(-0.0f), one = _mm512_set1_ps(1.0f);
    const __m512 most = _mm512_set1_ps(10.0f);
    const __m512 size = _mm512_min_ps(most, _mm512_andnot_ps(sign, x));
    const __m512 e = exp_avx512(size, 0x1.715476p1f, TRUE);
    const __m512 y = _mm512_mul_ps(e, one_over_avx512(_mm512_add_ps(e, _mm512_set1_ps(2.0f))));
    const __mmask16 far = _mm512_cmp_ps_mask(size, most, _CMP_EQ_OQ);
    return _mm512_or_ps(_mm512_mask_mov_ps(_mm512_min_ps(one, y), far, one),
                        _mm512_and_ps(sign, x));
}

CPU_TARGET_AVX512 static CPU_INLINE __mmask16
units_left(gint64 n)
{
    return n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1);
}

#define T float
#define V __m512
#define FUNCTION CPU_TARGET_AVX512 static
#define CELL(name) name##_vectors
#define UNITS for (gint64 u = 0; u < units; u += 16)
#define LOAD(p) _mm512_maskz_loadu_ps(units_left(units - u), p)
#define STORE(p, x) _mm512_mask_storeu_ps(p, units_left(units - u), x)
#define SIGMOID sigmoid_avx512
#define TANH tanh_avx512
#define ZERO _mm512_setzero_ps()
#define POSITIVE(x, y) _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, ZERO, _CMP_GT_OQ), y)
#define NOT_NEGATIVE(x) _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, ZERO, _CMP_NLE_UQ), x)
#include "recurrent_cells.h"

#define AVX512(name) name##_vectors
#else
#define AVX512(name) name##_f32_portable
#endif

/* --- The table -------------------------------------------------------------------------------- */

#define VERSIONS(name, type, params, args)                                                         \
    static void name##_f32_portable params                                                         \
    {                                                                                              \
        name##_f32_body args;                                                                      \
    }                                                                                              \
    CPU_TARGET_AVX2 static void name##_f32_avx2 params                                             \
    {                                                                                              \
        name##_f32_body args;                                                                      \
    }                                                                                              \
    static const type name##_f32[CPU_N_ISA] = { name##_f32_portable, name##_f32_avx2,              \
                                                AVX512(name) };                                    \
    CPU_VERSIONS(name##_f64, type, params, args)
#define BOTH(name)                                                                                 \
    VERSIONS(name, RecurrentStepFn, (const RecurrentStep *step), (step))                           \
    VERSIONS(name##_back, RecurrentBackFn, (const RecurrentBack *step), (step))
BOTH(rnn_tanh)
BOTH(rnn_relu)
BOTH(lstm)
BOTH(gru)

#define ROW(name) .step = { name##_f32, name##_f64 }, .back = { name##_back_f32, name##_back_f64 }

const RecurrentGates recurrent_gates[N_CELLS] = {
    [CELL_RNN_TANH] = { 1, 1, 0, 64, { 0 }, { 0 }, ROW(rnn_tanh) },
    [CELL_RNN_RELU] = { 1, 1, 0, 64, { 0 }, { 0 }, ROW(rnn_relu) },
    [CELL_LSTM] = { 4, 4, 0, 16, { 0, 1, 2, 3 }, { 0, 1, 2, 3 }, ROW(lstm) },
    [CELL_GRU] = { 3, 4, 1, 16, { 2, 0, 1 }, { 0, 1, 2 }, ROW(gru) },
};
