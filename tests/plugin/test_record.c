/* test_record.c: the text by which a plugin is described comes from another process: every damage
 * to it is refused or read as something whole, never a crash. */
#include "tn_test.h"

/* Not exported: the files themselves. */
#include "plugin/descriptor.c"
#include "plugin/record.c"

static const char block[] = "plugin\tnn\t1.0\tMIT\tA \\\\ back\\tslash\n"
                            "factory\ttenon.op/1\tadd\t-3\t1\t0\tsums\n"
                            "factory\ttenon.op/1\tmul\t7\t0\t1\tproducts\n"
                            "module\tnn\n"
                            "verb\tnn list\tlists\n"
                            "end\n";

static TnRecord *
parse(const char *text, char **why)
{
    const char *at = text;
    return tn_record_parse(&at, "/p/libtn_nn.so", "nn", why);
}

static void
a_whole_block(void)
{
    g_autofree char *why = NULL;
    TnRecord *r = parse(block, &why);
    TN_REQUIRE(r != NULL);
    TN_ASSERT_CMPSTR(r->info.name, "nn");
    TN_ASSERT_CMPSTR(r->info.summary, "A \\ back\tslash");
    TN_ASSERT_CMPUINT(r->info.n_factories, ==, 2);
    TN_ASSERT_CMPSTR(r->info.names[1], "mul");
    TN_ASSERT_CMPSTR(r->info.helps[1], "products");
    TN_ASSERT_CMPINT(r->ranks[0], ==, -3);
    TN_ASSERT_CMPUINT(r->flags[0], ==, 1);
    TN_ASSERT(r->probes[1] && !r->probes[0]);
    TN_ASSERT_CMPSTR(r->info.verbs[0], "nn list");
    TN_ASSERT_CMPSTR(r->text, block);
    tn_record_free(r);
}

static void
refused(void)
{
    static const char *const bad[] = {
        "",
        "end\n",
        "plugin\tnn\t1\tMIT\ts\n",
        "plugin\tother\t1\tMIT\ts\nend\n",
        "plugin\tnn\t1\tMIT\nend\n",
        "plugin\tnn\t1\tMIT\ts\textra\nend\n",
        "plugin\tnn\t1\tMIT\ts\nplugin\tnn\t1\tMIT\ts\nend\n",
        "factory\ttenon.op/1\tadd\t0\t0\t0\tx\nplugin\tnn\t1\tMIT\ts\nend\n",
        "plugin\tnn\t1\tMIT\ts\nfactory\ta/1\tb\tx\t0\t0\th\nend\n",
        "plugin\tnn\t1\tMIT\ts\nfactory\ta/1\tb\t99999999999\t0\t0\th\nend\n",
        "plugin\tnn\t1\tMIT\ts\nfactory\ta/1\tb\t0\t0\t2\th\nend\n",
        "plugin\tnn\t1\tMIT\ts\nwhat\tis\tthis\nend\n",
        "plugin\tnn\t1\tMIT\t\xff\nend\n",
        "broken\t\nend\n",
        "plugin\tnn\t1\tMIT\ts\nbroken\tno\nend\n",
        "plugin\tnn\t1\tMIT\ts\nend",
    };
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *why = NULL;
        TnRecord *r = parse(bad[i], &why);
        tn_test_check(r == NULL && why != NULL, FALSE, __FILE__, __LINE__, "taken: %s", bad[i]);
        if (r != NULL)
            tn_record_free(r);
    }
}

/* Bytes changed, removed and doubled at random: what is taken is whole. */
static void
damaged_at_random(void)
{
    TnRandom random;
    guint taken = 0;
    tn_random_init(&random, 1, "test.record", 0);
    for (guint i = 0; i < 20000; i++) {
        g_autoptr(GString) text = g_string_new(block);
        g_autofree char *why = NULL;
        for (guint n = 1 + (guint)tn_random_below(&random, 4); n > 0; n--) {
            const gsize at = (gsize)tn_random_below(&random, text->len - 1);
            const guint64 what = tn_random_below(&random, 3);
            if (what == 0)
                text->str[at] = (char)(1 + tn_random_below(&random, 255));
            else if (what == 1)
                g_string_erase(text, (gssize)at,
                               1 + (gssize)tn_random_below(&random, text->len - at));
            else
                g_string_insert_c(text, (gssize)at, text->str[at]);
            if (text->len < 2)
                break;
        }
        TnRecord *r = parse(text->str, &why);
        TN_ASSERT((r == NULL) == (why != NULL));
        if (r == NULL)
            continue;
        taken++;
        for (guint f = 0; f < r->info.n_factories; f++)
            if (r->info.names[f] == NULL || r->info.ifaces[f] == NULL || r->info.helps[f] == NULL)
                TN_FAIL("a factory lacks a text");
        tn_record_free(r);
    }
    /* Some damage only changes a help text. */
    TN_ASSERT_CMPUINT(taken, >, 100);
    TN_ASSERT_CMPUINT(taken, <, 15000);
}

/* What is said of a broken one comes back as it was, whatever is in it. */
static void
reasons_keep_their_text(void)
{
    static const char *const reasons[] = { "plain", "tab\tand\nnewline", "back\\slash \\n",
                                           "ümläut" };
    for (guint i = 0; i < G_N_ELEMENTS(reasons); i++) {
        TnRecord *r = tn_record_broken("/p/libtn_x.so", "x", reasons[i]);
        TN_ASSERT_CMPSTR(r->info.broken, reasons[i]);
        TN_ASSERT_CMPUINT(r->info.n_factories, ==, 0);
        tn_record_free(r);
    }
}

static const TnTest tests[] = {
    { "a_whole_block", a_whole_block },
    { "refused", refused },
    { "damaged_at_random", damaged_at_random },
    { "reasons_keep_their_text", reasons_keep_their_text },
};
TN_TEST_MAIN("descriptions of plugins", tests)
