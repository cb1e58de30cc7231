/* test_status.c: statuses and errors name each other; prefixes, nearest names, hashes. */
#include <stdio.h>

#include <tenon/base.h>

#include "tn_test.h"

static void
names(void)
{
    TN_ASSERT_CMPSTR(tn_status_name(TN_OK), "ok");
    TN_ASSERT_CMPSTR(tn_status_name(TN_NO_MEMORY), "no-memory");
    TN_ASSERT_CMPSTR(tn_status_name(TN_FAILED), "failed");
    TN_ASSERT_CMPSTR(tn_status_name((TnStatus)99), "unknown");
    TN_ASSERT_CMPSTR(tn_status_name((TnStatus)-1), "unknown");
    for (int i = TN_OK; i <= TN_FAILED; i++)
        for (int j = TN_OK; j < i; j++)
            TN_ASSERT(strcmp(tn_status_name((TnStatus)i), tn_status_name((TnStatus)j)) != 0);
}

static void
round_trip(void)
{
    static const TnStatus carried[] = { TN_CANCELLED, TN_UNSUPPORTED, TN_NO_MEMORY, TN_DEVICE_LOST,
                                        TN_FAILED };
    for (guint i = 0; i < G_N_ELEMENTS(carried); i++) {
        g_autoptr(GError) error = NULL;
        tn_status_set_error(&error, carried[i], "step %d", 7);
        TN_REQUIRE(error != NULL);
        TN_ASSERT(error->domain == TN_ERROR);
        TN_ASSERT_CMPINT(tn_error_status(error), ==, carried[i]);
        TN_ASSERT_CONTAINS(error->message, "step 7: ");
        TN_ASSERT_CONTAINS(error->message, tn_status_name(carried[i]));
    }
    tn_status_set_error(NULL, TN_FAILED, "nobody listens");
}

static void
foreign_errors(void)
{
    g_autoptr(GError) foreign = g_error_new(G_FILE_ERROR, TN_ERROR_NO_MEMORY, "not ours");
    TN_ASSERT_CMPINT(tn_error_status(foreign), ==, TN_FAILED);
    g_autoptr(GError) shape = g_error_new(TN_ERROR, TN_ERROR_SHAPE, "2 and 3");
    TN_ASSERT_CMPINT(tn_error_status(shape), ==, TN_FAILED);
    TN_ASSERT_CMPINT(tn_error_status(NULL), ==, TN_FAILED);
}

static void
prefix(void)
{
    g_autoptr(GError) error = g_error_new(TN_ERROR, TN_ERROR_SHAPE, "100%% wrong");
    tn_error_prefix(&error, "node %s", "conv%d");
    TN_ASSERT_CMPSTR(error->message, "node conv%d: 100% wrong");
    GError *none = NULL;
    tn_error_prefix(&none, "nothing");
    TN_ASSERT(none == NULL);
    tn_error_prefix(NULL, "nothing");
}

static void
nearest(void)
{
    static const char *const known[] = { "momentum", "learning_rate", "lr", "weight_decay",
                                         "Adam" };
    const gsize n = G_N_ELEMENTS(known);
    TN_ASSERT_CMPSTR(tn_nearest("momentun", known, n), "momentum");
    TN_ASSERT_CMPSTR(tn_nearest("omentum", known, n), "momentum");
    TN_ASSERT_CMPSTR(tn_nearest("moemntum", known, n), "momentum"); /* a swap is one step */
    TN_ASSERT_CMPSTR(tn_nearest("wieght_deacy", known, n), "weight_decay");
    TN_ASSERT_CMPSTR(tn_nearest("rl", known, n), "lr");
    TN_ASSERT_CMPSTR(tn_nearest("l", known, n), "lr");
    TN_ASSERT_CMPSTR(tn_nearest("adam", known, n), "Adam");
    TN_ASSERT_CMPSTR(tn_nearest("lr", known, n), "lr");
    TN_ASSERT_CMPSTR(tn_nearest("batch_size", known, n), NULL);
    TN_ASSERT_CMPSTR(tn_nearest("momxxxum", known, n), "momentum"); /* 3 = 1 + 8 / 4 */
    TN_ASSERT_CMPSTR(tn_nearest("moxxxxum", known, n), NULL);
    TN_ASSERT_CMPSTR(tn_nearest("lr", NULL, 0), NULL);
    g_autofree char *endless = g_strnfill(10000, 'x');
    const char *const long_one[] = { endless };
    TN_ASSERT_CMPSTR(tn_nearest(endless, long_one, 1), NULL);
    TN_ASSERT_CMPSTR(tn_nearest("x", long_one, 1), NULL);
}

/* Vectors of the FNV authors. */
static void
hash(void)
{
    TN_ASSERT_CMPUINT(tn_hash(TN_HASH_INIT, "", 0), ==, 0xcbf29ce484222325u);
    TN_ASSERT_CMPUINT(tn_hash(TN_HASH_INIT, "a", 1), ==, 0xaf63dc4c8601ec8cu);
    TN_ASSERT_CMPUINT(tn_hash(TN_HASH_INIT, "foobar", 6), ==, 0x85944171f73967e8u);
    TN_ASSERT_CMPUINT(tn_hash(tn_hash(TN_HASH_INIT, "foo", 3), "bar", 3), ==, 0x85944171f73967e8u);
}

static void
version(void)
{
    unsigned major, minor, micro;
    TN_ASSERT_CMPINT(sscanf(tn_version(), "%u.%u.%u", &major, &minor, &micro), ==, 3);
}

/* What is small is seen whole; of what is large the first and the last byte, blocks between them,
 * the size, and no more. */
static void
hash_of_a_sample(void)
{
    const gsize size = 5000003;
    g_autofree guint8 *bytes = g_malloc0(size);
    const guint64 small = tn_hash_sample(TN_HASH_INIT, bytes, 1 << 20);
    bytes[777777] = 1;
    TN_ASSERT_CMPUINT(tn_hash_sample(TN_HASH_INIT, bytes, 1 << 20), !=, small);
    bytes[777777] = 0;
    const guint64 large = tn_hash_sample(TN_HASH_INIT, bytes, size);
    TN_ASSERT_CMPUINT(tn_hash_sample(TN_HASH_INIT, bytes, size - 1), !=, large);
    TN_ASSERT_CMPUINT(tn_hash_sample(1, bytes, size), !=, large);
    gsize seen = 0;
    for (gsize at = 0; at < size; at += 9973) {
        bytes[at] = 1;
        seen += tn_hash_sample(TN_HASH_INIT, bytes, size) != large;
        bytes[at] = 0;
    }
    /* 64 * 16384 of 5000003 bytes, of 502 places */
    TN_ASSERT_CMPUINT(seen, >, 90);
    TN_ASSERT_CMPUINT(seen, <, 120);
    const gsize ends[] = { 0, 16383, size - 16384, size - 1 };
    for (guint i = 0; i < G_N_ELEMENTS(ends); i++) {
        bytes[ends[i]] = 1;
        TN_ASSERT_CMPUINT(tn_hash_sample(TN_HASH_INIT, bytes, size), !=, large);
        bytes[ends[i]] = 0;
    }
}

static const TnTest tests[] = {
    { "hash of a sample", hash_of_a_sample },
    { "names", names },
    { "round-trip", round_trip },
    { "foreign-errors", foreign_errors },
    { "prefix", prefix },
    { "nearest", nearest },
    { "hash", hash },
    { "version", version },
};
TN_TEST_MAIN("status", tests)
