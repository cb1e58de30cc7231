/* test_alloc.c: memory for data: aligned, refused politely, made to fail at will. */
#include <tenon/base.h>

#include "tn_test.h"

static void
aligned(void)
{
    static const gsize sizes[] = { 0, 1, 63, 64, 65, 4096, 1000003, 8 << 20, (8 << 20) + 1 };
    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        char *memory = tn_data_alloc(sizes[i]);
        TN_REQUIRE(memory != NULL);
        TN_ASSERT_CMPUINT((guintptr)memory % TN_ALIGN, ==, 0);
        memset(memory, 0x5a, sizes[i]); /* sanitizers see a block that is too small */
        tn_data_free(memory);
    }
    tn_data_free(NULL);
}

static void
too_much(void)
{
    TN_ASSERT(tn_data_alloc(G_MAXSIZE) == NULL);
    TN_ASSERT(tn_data_alloc((gsize)G_MAXINT64) == NULL);
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_data_alloc_for(G_MAXSIZE - 3, "the moon", &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NO_MEMORY, "18446744073709551612 bytes", "the moon");
}

static void
fails_nth(void)
{
    (void)tn_data_fail_nth(3);
    void *a = tn_data_alloc(10), *b = tn_data_alloc(10), *c = tn_data_alloc(10);
    void *d = tn_data_alloc(10);
    TN_ASSERT(a && b && !c && d);
    tn_data_free(a);
    tn_data_free(b);
    tn_data_free(d);
    TN_ASSERT_CMPUINT(tn_data_fail_nth(0), ==, 4);
    TN_ASSERT_CMPUINT(tn_data_fail_nth(0), ==, 0);
    a = tn_data_alloc(1);
    TN_ASSERT(a != NULL);
    tn_data_free(a);
    TN_ASSERT_CMPUINT(tn_data_fail_nth(0), ==, 1);
}

static void
environment(void)
{
    TnChild child = { 0 };
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    const char *const argv[] = { self, "child:second-fails", NULL };
    const char *const env[] = { "TENON_FAIL_ALLOC=2", NULL };
    const TnChildOptions options = { .env = env };
    TN_REQUIRE(tn_test_spawn(&child, argv, &options));
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT_CONTAINS(child.out, "passed=1");
    tn_child_clear(&child);
}

static void
second_fails(void)
{
    void *a = tn_data_alloc(1), *b = tn_data_alloc(1), *c = tn_data_alloc(1);
    TN_ASSERT(a && !b && c);
    tn_data_free(a);
    tn_data_free(c);
}

static void
products(void)
{
    gsize bytes = 7;
    TN_ASSERT(tn_size_mul(0, G_MAXSIZE, &bytes) && bytes == 0);
    TN_ASSERT(tn_size_mul(3, 5, &bytes) && bytes == 15);
    TN_ASSERT(tn_size_mul(1, (gsize)G_MAXINT64, &bytes) && bytes == (gsize)G_MAXINT64);
    bytes = 7;
    TN_ASSERT(!tn_size_mul(2, (gsize)1 << 62, &bytes));
    TN_ASSERT(!tn_size_mul((gsize)1 << 33, (gsize)1 << 33, &bytes));
    TN_ASSERT_CMPUINT(bytes, ==, 7);
}

static const TnTest tests[] = {
    { "aligned", aligned },
    { "too-much", too_much },
    { "fails-nth", fails_nth },
    { "environment", environment },
    { "child:second-fails", second_fails },
    { "products", products },
};
TN_TEST_MAIN("alloc", tests)
