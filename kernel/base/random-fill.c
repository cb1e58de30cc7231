/* random-fill.c: many numbers of a stream at once, the same that are drawn one by one: blocks of Philox side
 * by side, and Box and Muller's transform in polynomials.
 *
 * These are good to a part in 2^46 or so. A number that this cannot round to single precision for certain,
 * one of about a million, is computed again as tn_random_normal does (Ziv, "Fast evaluation of elementary
 * mathematical functions with correctly rounded last bit", TOMS 1991), so no bit hangs on the processor. */
#include <math.h>
#include <string.h>

#include <tenon/base.h>

#define BLOCKS 64 /* of four words, computed together: a normal number each */

#if defined(__x86_64__)
#define TARGET_AVX2 __attribute__((target("avx2,fma")))
#define TARGET_AVX512 __attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma")))
#else
#define TARGET_AVX2
#define TARGET_AVX512
#endif
#define INLINE static inline __attribute__((always_inline))

/* No iteration of the next loop reads what another one writes. */
#if defined(__clang__)
#define VECTORS _Pragma("clang loop vectorize(enable)")
#else
#define VECTORS _Pragma("GCC ivdep")
#endif

/* tn_philox of BLOCKS counters from `block` on: word i of all of them, then word i + 1. Each is in 64 bits,
 * as its products are. */
INLINE void
philox_body(const guint32 key[2], guint64 step, guint64 block, guint64 (*words)[BLOCKS])
{
    const guint64 low = 0xffffffff;
    VECTORS
    for (gint i = 0; i < BLOCKS; i++) {
        guint64 c0 = (block + (guint64)i) & low, c1 = (block + (guint64)i) >> 32;
        guint64 c2 = step & low, c3 = step >> 32;
        guint64 k0 = key[0], k1 = key[1];
#pragma GCC unroll 10
        for (gint round = 0; round < 10; round++) {
            const guint64 p0 = 0xD2511F53u * c0, p1 = 0xCD9E8D57u * c2;
            c0 = (p1 >> 32) ^ c1 ^ k0;
            c1 = p1 & low;
            c2 = (p0 >> 32) ^ c3 ^ k1;
            c3 = p0 & low;
            k0 = (k0 + 0x9E3779B9u) & low;
            k1 = (k1 + 0xBB67AE85u) & low;
        }
        words[0][i] = c0;
        words[1][i] = c1;
        words[2][i] = c2;
        words[3][i] = c3;
    }
}

/* A number in [1, 2) from 52 bits, and its bits. */
INLINE double
from_bits(guint64 bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

INLINE guint64
bits_of(double x)
{
    guint64 bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* A whole number below 2^52 as it is. */
INLINE double
whole(guint64 n)
{
    return from_bits(n | G_GUINT64_CONSTANT(0x4330000000000000)) - 0x1p52;
}

/* Of x in (0, 1]: x = m 2^e with m in [sqrt(1/2), sqrt(2)), log m = 2 artanh((m - 1) / (m + 1)) by its
 * series, which is below 2^-57 of it after the eleventh term. */
INLINE double
log_of(double x)
{
    const guint64 shifted = bits_of(x) + (G_GUINT64_CONSTANT(0x3ff0000000000000) -
                                          G_GUINT64_CONSTANT(0x3fe6a09e667f3bcd));
    const double e = whole(shifted >> 52) - 1023;
    const double m = from_bits((shifted & G_GUINT64_CONSTANT(0xfffffffffffff)) +
                               G_GUINT64_CONSTANT(0x3fe6a09e667f3bcd));
    const double s = (m - 1) / (m + 1), z = s * s;
    double sum = 1.0 / 21;
    sum = sum * z + 1.0 / 19;
    sum = sum * z + 1.0 / 17;
    sum = sum * z + 1.0 / 15;
    sum = sum * z + 1.0 / 13;
    sum = sum * z + 1.0 / 11;
    sum = sum * z + 1.0 / 9;
    sum = sum * z + 1.0 / 7;
    sum = sum * z + 1.0 / 5;
    sum = sum * z + 1.0 / 3;
    return e * 0.693147180559945309417 + (2 * s + 2 * s * (z * sum));
}

/* cos(2 pi t) of t in [0, 1): of the distance to the nearest half, a quarter of a turn at most; there
 * cos(2 pi t) = sin(2 pi (1/4 - t)), so that results near zero are as good. Taylor's series to x^21. */
INLINE double
cos_turns(double t)
{
    const double from_half = fabs(t - 0.5); /* [0, 1/2] */
    const double x = 2 * G_PI * (from_half - 0.25), z = x * x;
    double sum = 1.0 / 51090942171709440000.0;
    sum = sum * z - 1.0 / 121645100408832000.0;
    sum = sum * z + 1.0 / 355687428096000.0;
    sum = sum * z - 1.0 / 1307674368000.0;
    sum = sum * z + 1.0 / 6227020800.0;
    sum = sum * z - 1.0 / 39916800.0;
    sum = sum * z + 1.0 / 362880.0;
    sum = sum * z - 1.0 / 5040.0;
    sum = sum * z + 1.0 / 120.0;
    sum = sum * z - 1.0 / 6.0;
    return x + x * (z * sum);
}

/* Of each four words a number, and whether it is not sure. */
INLINE void
normal_body(const guint64 *const *words, float *out, gint32 *unsure)
{
    const guint64 *w0 = words[0], *w1 = words[1], *w2 = words[2], *w3 = words[3];
    VECTORS
    for (gint i = 0; i < BLOCKS; i++) {
        /* 53 bits are one too many for `whole`: the lowest is added apart. */
        const guint64 a = (w1[i] << 32 | w0[i]) >> 11, b = (w3[i] << 32 | w2[i]) >> 11;
        const double u = (2 * whole(a >> 1) + whole(a & 1)) * 0x1p-53;
        const double t = (2 * whole(b >> 1) + whole(b & 1)) * 0x1p-53;
        const double x = sqrt(-2 * log_of(1 - u)) * cos_turns(t);
        /* What the polynomials may be wrong by, and the library, whose argument 2 pi t is rounded. */
        const double wrong = (fabs(x) + 1) * 0x1p-46;
        const float lower = (float)(x - wrong), upper = (float)(x + wrong);
        out[i] = lower;
        unsure[i] = lower != upper;
    }
}

typedef struct {
    void (*philox)(const guint32 key[2], guint64 step, guint64 block, guint64 (*words)[BLOCKS]);
    void (*normal)(const guint64 *const *words, float *out, gint32 *unsure);
} Fill;

#define FILL(name, TARGET)                                                                         \
    TARGET static void philox_##name(const guint32 key[2], guint64 step, guint64 block,            \
                                     guint64(*words)[BLOCKS])                                      \
    {                                                                                              \
        philox_body(key, step, block, words);                                                      \
    }                                                                                              \
    TARGET static void normal_##name(const guint64 *const *words, float *out, gint32 *unsure)      \
    {                                                                                              \
        normal_body(words, out, unsure);                                                           \
    }                                                                                              \
    static const Fill fill_##name = { philox_##name, normal_##name };

FILL(plain, )
#if defined(__x86_64__)
FILL(avx2, TARGET_AVX2)
FILL(avx512, TARGET_AVX512)
#endif

/* The longest vectors that the processor has. */
static const Fill *
best_fill(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return &fill_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &fill_avx2;
#endif
    return &fill_plain;
}

/* To word `at` of the stream. */
static void
seek(TnRandom *random, guint64 at)
{
    random->used = at;
    if (at % 4 != 0)
        tn_random_words(random->seed, random->stream, random->step, at / 4, random->words);
}

/* BLOCKS numbers, of four words each, from an even word of the stream on. */
static void
fill_blocks(const Fill *fill, TnRandom *random, const guint32 key[2], float *out)
{
    guint64 words[4][BLOCKS], next[4][BLOCKS];
    const guint64 *of_block[] = { words[0], words[1], words[2], words[3] };
    const guint64 *of_two[] = { words[2], words[3], next[0], next[1] };
    const guint64 first = random->used;
    gint32 unsure[BLOCKS];
    fill->philox(key, random->step, first / 4, words);
    if (first % 4 != 0)
        fill->philox(key, random->step, first / 4 + 1, next);
    fill->normal(first % 4 != 0 ? of_two : of_block, out, unsure);
    for (guint64 i = 0; i < BLOCKS; i++) {
        if (unsure[i]) {
            seek(random, first + 4 * i);
            out[i] = (float)tn_random_normal(random);
        }
    }
    seek(random, first + (guint64)4 * BLOCKS);
}

void
tn_random_fill_normal(TnRandom *random, gint64 n, float *out)
{
    const Fill *fill = best_fill();
    guint32 key[2];
    tn_random_key(random->seed, random->stream, key);
    for (gint64 done = 0; done < n;) {
        if (random->used % 2 == 0 && n - done >= BLOCKS) {
            fill_blocks(fill, random, key, out + done);
            done += BLOCKS;
        } else {
            out[done++] = (float)tn_random_normal(random);
        }
    }
}

void
tn_random_fill_u32(TnRandom *random, gint64 n, guint32 *out)
{
    const Fill *fill = best_fill();
    guint64 words[4][BLOCKS];
    guint32 key[2];
    tn_random_key(random->seed, random->stream, key);
    for (gint64 done = 0; done < n;) {
        if (random->used % 4 != 0 || (n - done) / 4 < BLOCKS) {
            out[done++] = tn_random_u32(random);
            continue;
        }
        fill->philox(key, random->step, random->used / 4, words);
        for (gint i = 0; i < 4 * BLOCKS; i++)
            out[done + i] = (guint32)words[i % 4][i / 4];
        random->used += (guint64)4 * BLOCKS;
        done += (gint64)4 * BLOCKS;
    }
}
