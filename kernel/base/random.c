/* random.c: Philox 4x32-10 and what is drawn from it.
 *
 * Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. */
#include <math.h>
#include <string.h>

#include <tenon/base.h>

void
tn_philox(const guint32 counter[4], const guint32 key[2], guint32 out[4])
{
    guint32 c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    guint32 k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const guint64 p0 = (guint64)0xD2511F53u * c0;
        const guint64 p1 = (guint64)0xCD9E8D57u * c2;
        c0 = (guint32)(p1 >> 32) ^ c1 ^ k0;
        c1 = (guint32)p1;
        c2 = (guint32)(p0 >> 32) ^ c3 ^ k1;
        c3 = (guint32)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* The finisher of splitmix64: every input bit moves every output bit. */
static guint64
mix(guint64 x)
{
    x = (x ^ (x >> 30)) * G_GUINT64_CONSTANT(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * G_GUINT64_CONSTANT(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

guint64
tn_random_stream(const char *name)
{
    return mix(tn_hash(TN_HASH_INIT, name, strlen(name)));
}

void
tn_random_key(guint64 seed, guint64 stream, guint32 key[2])
{
    /* Not symmetric in seed and stream, or seed 1 of stream 2 would be seed 2 of stream 1. */
    const guint64 k = mix(mix(seed + G_GUINT64_CONSTANT(0x9e3779b97f4a7c15)) ^ stream);
    key[0] = (guint32)k;
    key[1] = (guint32)(k >> 32);
}

void
tn_random_words(guint64 seed, guint64 stream, guint64 step, guint64 block, guint32 out[4])
{
    guint32 key[2];
    tn_random_key(seed, stream, key);
    const guint32 counter[4] = { (guint32)block, (guint32)(block >> 32), (guint32)step,
                                 (guint32)(step >> 32) };
    tn_philox(counter, key, out);
}

void
tn_random_init(TnRandom *random, guint64 seed, const char *stream, guint64 step)
{
    *random = (TnRandom){ .seed = seed, .stream = tn_random_stream(stream), .step = step };
}

guint32
tn_random_u32(TnRandom *random)
{
    if (random->used % 4 == 0)
        tn_random_words(random->seed, random->stream, random->step, random->used / 4,
                        random->words);
    return random->words[random->used++ % 4];
}

guint64
tn_random_u64(TnRandom *random)
{
    const guint64 lo = tn_random_u32(random);
    return lo | ((guint64)tn_random_u32(random) << 32);
}

guint64
tn_random_below(TnRandom *random, guint64 bound)
{
    g_return_val_if_fail(bound > 0, 0);
    /* Lemire, "Fast random integer generation in an interval" (2019): the upper half of a product is
     * uniform once the first 2^64 mod bound lower halves are refused. The division is seldom needed. */
    unsigned __int128 product = (unsigned __int128)tn_random_u64(random) * bound;
    if ((guint64)product < bound) {
        const guint64 refused = -bound % bound;
        while ((guint64)product < refused)
            product = (unsigned __int128)tn_random_u64(random) * bound;
    }
    return (guint64)(product >> 64);
}

double
tn_random_f64(TnRandom *random)
{
    const guint32 lo = tn_random_u32(random);
    return tn_random_unit_f64(lo, tn_random_u32(random));
}

double
tn_random_normal(TnRandom *random)
{
    /* 1 - u is in (0, 1], where the logarithm is finite. */
    const double radius = sqrt(-2.0 * log(1.0 - tn_random_f64(random)));
    return radius * cos(2.0 * G_PI * tn_random_f64(random));
}

/* One pass of the Feistel network over numbers of 2 * half bits. */
static guint64
feistel(guint64 seed, guint64 stream, guint64 round, guint half, guint64 x)
{
    const guint64 mask = (G_GUINT64_CONSTANT(1) << half) - 1;
    guint64 left = x >> half, right = x & mask;
    for (guint i = 0; i < 6; i++) {
        guint32 words[4];
        /* right has at most 32 bits, so the round's number fits above it. */
        tn_random_words(seed, stream, round, ((guint64)(i + 1) << 32) | right, words);
        const guint64 next = left ^ (words[0] & mask);
        left = right;
        right = next;
    }
    return (left << half) | right;
}

guint64
tn_random_permute(guint64 seed, guint64 stream, guint64 round, guint64 n, guint64 position)
{
    g_return_val_if_fail(position < n, position);
    if (n == 1)
        return 0;
    const guint bits = 64 - (guint)__builtin_clzll(n - 1);
    const guint half = (bits + 1) / 2;
    /* The network permutes 0 .. 4^half - 1; following its cycle from inside n comes back inside. */
    do
        position = feistel(seed, stream, round, half, position);
    while (position >= n);
    return position;
}
