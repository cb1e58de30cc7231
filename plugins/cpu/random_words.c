/* random_words.c: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) of
 * as many counters at once as vectors have 64 bits: a product of two words fills a lane, the lower half
 * of which is all that the next round reads. */
#include "random_words.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define M0 0xD2511F53u
#define M1 0xCD9E8D57u
#define W0 0x9E3779B9u
#define W1 0xBB67AE85u

static void
words_portable(const guint32 key[2], guint64 step, guint64 block, gint64 n, guint32 *words)
{
    for (gint64 i = 0; i < n; i++, block++) {
        const guint32 counter[4] = { (guint32)block, (guint32)(block >> 32), (guint32)step,
                                     (guint32)(step >> 32) };
        tn_philox(counter, key, words + 4 * i);
    }
}

#if defined(__x86_64__)
/* V: a vector of 64-bit lanes; the others: its operations. c[0..3] are the words of the counters. */
#define ROUNDS(V, mul, shift, xor, set)                                                            \
    guint32 k0 = key[0], k1 = key[1];                                                              \
    for (gint round = 0; round < 10; round++) {                                                    \
        const V p0 = mul(set(M0), c[0]), p1 = mul(set(M1), c[2]);                                  \
        c[0] = xor(xor(shift(p1, 32), c[1]), set(k0));                                             \
        c[1] = p1;                                                                                 \
        c[2] = xor(xor(shift(p0, 32), c[3]), set(k1));                                             \
        c[3] = p0;                                                                                 \
        k0 += W0;                                                                                  \
        k1 += W1;                                                                                  \
    }

CPU_TARGET_AVX2 static void
words_avx2(const guint32 key[2], guint64 step, guint64 block, gint64 n, guint32 *words)
{
    const __m256i low = _mm256_set1_epi64x(0xffffffff), lanes = _mm256_setr_epi64x(0, 1, 2, 3);
    for (; n >= 4; n -= 4, block += 4, words += 16) {
        const __m256i number = _mm256_add_epi64(_mm256_set1_epi64x((gint64)block), lanes);
        __m256i c[4] = { number, _mm256_srli_epi64(number, 32), _mm256_set1_epi64x((gint64)step),
                         _mm256_set1_epi64x((gint64)(step >> 32)) };
#define SET(x) _mm256_set1_epi64x(x)
        ROUNDS(__m256i, _mm256_mul_epu32, _mm256_srli_epi64, _mm256_xor_si256, SET)
#undef SET
        const __m256i a = _mm256_or_si256(_mm256_and_si256(c[0], low), _mm256_slli_epi64(c[1], 32));
        const __m256i b = _mm256_or_si256(_mm256_and_si256(c[2], low), _mm256_slli_epi64(c[3], 32));
        const __m256i even = _mm256_unpacklo_epi64(a, b), odd = _mm256_unpackhi_epi64(a, b);
        __m256i *to = (__m256i *)(void *)words;
        _mm256_storeu_si256(to, _mm256_permute2x128_si256(even, odd, 0x20));
        _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(even, odd, 0x31));
    }
    words_portable(key, step, block, n, words);
}

CPU_TARGET_AVX512 static void
words_avx512(const guint32 key[2], guint64 step, guint64 block, gint64 n, guint32 *words)
{
    const __m512i low = _mm512_set1_epi64(0xffffffff);
    const __m512i lanes = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    const __m512i first = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    const __m512i last = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
    for (; n >= 8; n -= 8, block += 8, words += 32) {
        const __m512i number = _mm512_add_epi64(_mm512_set1_epi64((gint64)block), lanes);
        __m512i c[4] = { number, _mm512_srli_epi64(number, 32), _mm512_set1_epi64((gint64)step),
                         _mm512_set1_epi64((gint64)(step >> 32)) };
#define SET(x) _mm512_set1_epi64(x)
        ROUNDS(__m512i, _mm512_mul_epu32, _mm512_srli_epi64, _mm512_xor_si512, SET)
#undef SET
        const __m512i a = _mm512_or_si512(_mm512_and_si512(c[0], low), _mm512_slli_epi64(c[1], 32));
        const __m512i b = _mm512_or_si512(_mm512_and_si512(c[2], low), _mm512_slli_epi64(c[3], 32));
        _mm512_storeu_si512(words, _mm512_permutex2var_epi64(a, first, b));
        _mm512_storeu_si512(words + 16, _mm512_permutex2var_epi64(a, last, b));
    }
    words_portable(key, step, block, n, words);
}
#else
#define words_avx2 words_portable
#define words_avx512 words_portable
#endif

const RandomWordsFn cpu_random_words[CPU_N_ISA] = { words_portable, words_avx2, words_avx512 };
