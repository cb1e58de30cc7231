/* test_random.c: Philox against its published vectors; streams, shuffles and distributions. */
#include <math.h>

#include <tenon/base.h>

#include "tn_test.h"

/* Random123's kat_vectors, philox4x32 with 10 rounds. */
static void
known_answers(void)
{
    static const struct {
        guint32 counter[4], key[2], out[4];
    } vectors[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff },
          { 0xffffffff, 0xffffffff },
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
          { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (guint i = 0; i < G_N_ELEMENTS(vectors); i++) {
        guint32 out[4];
        tn_philox(vectors[i].counter, vectors[i].key, out);
        TN_ASSERT_BYTES(out, vectors[i].out, sizeof out);
    }
}

/* Computed by an independent program: these numbers are in checkpoints, so they never change. */
static void
streams(void)
{
    TN_ASSERT_CMPUINT(tn_random_stream(""), ==, 0xf52a15e9a9b5e89bu);
    TN_ASSERT_CMPUINT(tn_random_stream("a"), ==, 0x2c0bdbf481420f8u);
    TN_ASSERT_CMPUINT(tn_random_stream("model.3.conv.weight"), ==, 0xca6bd9f606f0f449u);
    static const struct {
        guint64 seed, stream, step, block;
        guint32 out[4];
    } golden[] = {
        { 0, 0, 0, 0, { 0xd7537fc8, 0x4787ca68, 0x473ddb06, 0xc80480ec } },
        { 1, 0x17b75b2fc11766aa, 2, 3, { 0xf243264c, 0x1bb811c6, 0x9fc1769b, 0x494f30b9 } },
        { G_MAXUINT64,
          0xca6bd9f606f0f449,
          0x500000007,
          0x90000000b,
          { 0x0ab3d15a, 0x56d9427c, 0xd99ecbae, 0x4450e3dc } },
    };
    for (guint i = 0; i < G_N_ELEMENTS(golden); i++) {
        guint32 out[4];
        tn_random_words(golden[i].seed, golden[i].stream, golden[i].step, golden[i].block, out);
        TN_ASSERT_BYTES(out, golden[i].out, sizeof out);
    }
}

static void
units(void)
{
    TN_ASSERT_CMPFLOAT(tn_random_unit_f32(0), ==, 0);
    TN_ASSERT_CMPFLOAT(tn_random_unit_f32(G_MAXUINT32), ==, 1 - 0x1p-24);
    TN_ASSERT_CMPFLOAT(tn_random_unit_f64(0, 0), ==, 0);
    TN_ASSERT_CMPFLOAT(tn_random_unit_f64(G_MAXUINT32, G_MAXUINT32), ==, 1 - 0x1p-53);
    TN_ASSERT_CMPFLOAT(tn_random_unit_f64(0, 0x80000000), ==, 0.5);
}

/* Drawing one after another gives the stream's words, and a copy goes on where the original was. */
static void
sequence(void)
{
    TnRandom random;
    tn_random_init(&random, 5, "samples", 9);
    for (guint block = 0; block < 3; block++) {
        guint32 words[4];
        tn_random_words(5, tn_random_stream("samples"), 9, block, words);
        for (guint i = 0; i < 4; i++)
            TN_ASSERT_CMPUINT(tn_random_u32(&random), ==, words[i]);
    }
    (void)tn_random_u32(&random);
    TnRandom copied = random;
    for (guint i = 0; i < 20; i++)
        TN_ASSERT_CMPUINT(tn_random_u64(&random), ==, tn_random_u64(&copied));
    TN_ASSERT_CMPUINT(random.used, ==, 53);
}

/* Many at once are those that come one by one, bit for bit, and the stream goes on behind them: from any
 * word on, as many as are whole blocks and as are not. */
static void
many(void)
{
    static const gint64 counts[] = { 0, 1, 63, 64, 65, 200, 256, 300, 1500, 20000 };
    g_autofree float *normal = g_new(float, 20000);
    g_autofree guint32 *words = g_new(guint32, 20000);
    for (guint i = 0; i < G_N_ELEMENTS(counts) * 5; i++) {
        const gint64 n = counts[i / 5];
        gint64 same = 0;
        TnRandom random, one;
        tn_random_init(&random, 3 + i, "many", (guint64)i << 33);
        for (guint k = 0; k < i % 5; k++)
            (void)tn_random_u32(&random);
        one = random;
        tn_random_fill_normal(&random, n, normal);
        for (gint64 k = 0; k < n; k++)
            same += normal[k] == (float)tn_random_normal(&one);
        TN_ASSERT_CMPINT(same, ==, n);
        tn_random_fill_u32(&random, n, words);
        for (gint64 k = 0; k < n; k++)
            same -= words[k] == tn_random_u32(&one);
        TN_ASSERT_CMPINT(same, ==, 0);
        TN_ASSERT_CMPUINT(tn_random_u64(&random), ==, tn_random_u64(&one));
        TN_ASSERT_CMPUINT(random.used, ==, one.used);
    }
}

static void
below(void)
{
    TnRandom random;
    tn_random_init(&random, 1, "below", 0);
    guint counts[6] = { 0 };
    for (guint i = 0; i < 60000; i++) {
        const guint64 x = tn_random_below(&random, 6);
        TN_REQUIRE(x < 6);
        counts[x]++;
    }
    double chi2 = 0; /* 5 degrees of freedom: above 20.5 once in a thousand */
    for (guint i = 0; i < 6; i++)
        chi2 += (counts[i] - 10000.0) * (counts[i] - 10000.0) / 10000.0;
    TN_ASSERT_CMPFLOAT(chi2, <, 20.5);
    TN_ASSERT_CMPUINT(tn_random_below(&random, 1), ==, 0);
    /* Of 2^63 + 1 values nearly half of all words are refused; what is left reaches both halves. */
    guint high = 0;
    for (guint i = 0; i < 1000; i++)
        high += tn_random_below(&random, (1ull << 63) + 1) >= 1ull << 62;
    TN_ASSERT(high > 400 && high < 600);
}

static void
distributions(void)
{
    enum { N = 200000 };
    TnRandom random;
    tn_random_init(&random, 2, "distributions", 0);
    double mean = 0, square = 0, cube = 0, fourth = 0, uniform = 0;
    for (guint i = 0; i < N; i++) {
        const double x = tn_random_normal(&random), u = tn_random_f64(&random);
        TN_REQUIRE(isfinite(x) && u >= 0 && u < 1);
        mean += x / N;
        square += x * x / N;
        cube += x * x * x / N;
        fourth += x * x * x * x / N;
        uniform += u / N;
    }
    /* Five standard errors each. */
    TN_ASSERT_NEAR(mean, 0, 0, 5 / sqrt(N));
    TN_ASSERT_NEAR(square, 1, 0, 5 * sqrt(2.0 / N));
    TN_ASSERT_NEAR(cube, 0, 0, 5 * sqrt(15.0 / N));
    TN_ASSERT_NEAR(fourth, 3, 0, 5 * sqrt(96.0 / N));
    TN_ASSERT_NEAR(uniform, 0.5, 0, 5 / sqrt(12.0 * N));
}

static void
permutations(void)
{
    static const guint8 third[] = { 8, 6, 7, 3, 1, 4, 5, 0, 2, 9 };
    static const guint8 fourth[] = { 9, 2, 6, 0, 8, 5, 4, 7, 1, 3 };
    const guint64 stream = tn_random_stream("shuffle");
    for (guint i = 0; i < 10; i++) {
        TN_ASSERT_CMPUINT(tn_random_permute(42, stream, 3, 10, i), ==, third[i]);
        TN_ASSERT_CMPUINT(tn_random_permute(42, stream, 4, 10, i), ==, fourth[i]);
    }
    TN_ASSERT_CMPUINT(tn_random_permute(7, stream, 0, 60000, 12345), ==, 35460);
    TN_ASSERT_CMPUINT(tn_random_permute(7, stream, 0, (1ull << 63) + 5, 1ull << 62), ==,
                      8310724564530781425u);
    static const guint64 sizes[] = { 1, 2, 3, 4, 5, 16, 17, 255, 1000, 4096, 65537 };
    for (guint s = 0; s < G_N_ELEMENTS(sizes); s++) {
        g_autofree guint8 *seen = g_malloc0(sizes[s]);
        guint64 distinct = 0;
        for (guint64 i = 0; i < sizes[s]; i++) {
            const guint64 at = tn_random_permute(s, stream, 1, sizes[s], i);
            TN_REQUIRE(at < sizes[s]);
            distinct += !seen[at];
            seen[at] = 1;
        }
        TN_ASSERT_CMPUINT(distinct, ==, sizes[s]);
    }
    TN_ASSERT(tn_random_permute(7, stream, 0, G_MAXUINT64, 0) < G_MAXUINT64);
}

static const TnTest tests[] = {
    { "known-answers", known_answers },
    { "streams", streams },
    { "units", units },
    { "sequence", sequence },
    { "many", many },
    { "below", below },
    { "distributions", distributions },
    { "permutations", permutations },
};
TN_TEST_MAIN("random", tests)
