/* test_broken.c: every way in which a plugin file can be bad is a line in the list and a sentence
 * in the error, never a failure of the list, let alone of the process. */
// tn-test: timeout=120
#include "plugin_test.h"

typedef struct {
    const char *name;
    const char *parts[3]; /* of what is said about it */
} Broken;

static const Broken cases[] = {
    { "wrong_abi", { "plugin ABI 0.8", "has 0.1", "build it" } },
    { "wrong_major", { "plugin ABI 3.0", "has 0.1" } },
    { "wrong_magic", { "0xdeadbeef", "0x544e4f4e" } },
    { "wrong_build", { "'ilp32'", TN_BUILD_TAG } },
    { "no_symbol", { "does not export tn_plugin_no_symbol_desc" } },
    { "crash", { "crashed while it was being described", "signal" } },
    { "exits", { "exit code 7" } },
    { "small", { "its descriptor has", "bytes, this Tenon reads" } },
    { "misnamed", { "calls itself 'somebody'", "libtn_misnamed.so" } },
    { "no_texts", { "no license" } },
    { "bad_factory", { "odd", "'far' lies at 4096", "outside its struct" } },
    { "bad_kernel", { "factory 1 bad", "kernel 1, of add lacks" } },
    { "bad_op", { "factory 1 one", "its operator is called 'another'" } },
    { "no_vendor", { "libtn-absent.so", "cannot open shared object file" } },
    /* Where the file ends decides whether the system notices or dies of it. */
    { "truncated", { "broken=" } },
    { "empty", { "cannot load it", "too short" } },
};

static char *
line_of(const char *out, const char *name)
{
    g_autofree char *begin = g_strdup_printf("[%s] ", name);
    const char *at = strstr(out, begin);
    return at != NULL ? g_strndup(at, strcspn(at, "\n")) : NULL;
}

/* Files that no compiler makes: a part of a library, and nothing. */
static char *
make_damaged(void)
{
    gsize n = 0;
    g_autofree char *good = tn_test_build_path("tests/plugins/libtn_good.so");
    g_autofree char *text = tn_test_read_file(good, &n);
    char *folder = tn_test_tmp_path("damaged");
    g_autofree char *part = g_build_filename(folder, "libtn_truncated.so", NULL);
    g_autofree char *empty = g_build_filename(folder, "libtn_empty.so", NULL);
    g_mkdir_with_parents(folder, 0700);
    tn_test_write_file(part, text, (gssize)(n / 3));
    tn_test_write_file(empty, "", 0);
    return folder;
}

static void
every_reason_is_told(void)
{
    g_auto(TnChild) child = { 0 };
    g_autofree char *damaged = make_damaged();
    g_autofree char *broken = tn_test_build_path("tests/plugins-broken");
    g_autofree char *good = tn_test_build_path("tests/plugins");
    g_autofree char *folders = g_strjoin(":", broken, damaged, good, NULL);
    g_autofree char *cache = tn_test_tmp_path("cache-broken");
    run_child(&child, cache, folders, "list", NULL);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *line = line_of(child.out, cases[i].name);
        for (guint j = 0; j < G_N_ELEMENTS(cases[i].parts) && cases[i].parts[j] != NULL; j++)
            TN_ASSERT_CONTAINS(line, cases[i].parts[j]);
        TN_ASSERT(line != NULL && strstr(line, "broken=-") == NULL);
    }
    g_autofree char *fine = line_of(child.out, "good");
    TN_ASSERT_CONTAINS(fine, "broken=-");
    TN_ASSERT_CONTAINS(child.out, "opened: \n");
}

static void
opening_a_broken_one_says_why(void)
{
    g_autofree char *broken = tn_test_build_path("tests/plugins-broken");
    g_autofree char *cache = tn_test_tmp_path("cache-broken");
    g_auto(TnChild) child = { 0 };
    run_child(&child, cache, broken, "open", "wrong_abi", "open", "crash", "open", "crahs", "open",
              "zzzzzzzz", NULL);
    g_auto(GStrv) lines = g_strsplit(child.out, "\n", -1);
    g_autofree char *plugin = g_strdup_printf("error %d: ", TN_ERROR_PLUGIN);
    g_autofree char *not_found = g_strdup_printf("error %d: ", TN_ERROR_NOT_FOUND);
    TN_REQUIRE(g_strv_length(lines) >= 4);
    TN_ASSERT_CONTAINS(lines[0], plugin);
    TN_ASSERT_CONTAINS(lines[0], "plugin 'wrong_abi'");
    TN_ASSERT_CONTAINS(lines[0], "ABI 0.8");
    TN_ASSERT_CONTAINS(lines[1], "plugin 'crash'");
    TN_ASSERT_CONTAINS(lines[2], not_found);
    TN_ASSERT_CONTAINS(lines[2], "did you mean 'crash'?");
    TN_ASSERT_CONTAINS(lines[3], not_found);
    TN_ASSERT_CONTAINS(lines[3], "searched: ");
}

/* An init that fails is described well; opening repeats its words every time, and the list shows
 * them afterwards. */
static void
failed_init_is_kept(void)
{
    g_autofree char *broken = tn_test_build_path("tests/plugins-broken");
    g_autofree char *cache = tn_test_tmp_path("cache-broken");
    g_auto(TnChild) child = { 0 };
    run_child(&child, cache, broken, "list", "open", "init_fails", "open", "init_fails", "find",
              "test.vendor/1", "vendor", "list", NULL);
    g_autofree char *before = line_of(child.out, "init_fails");
    TN_ASSERT_CONTAINS(before, "broken=-");
    TN_ASSERT_CMPUINT(count_text(child.out, "libvendor.so.9 is not installed"), ==, 4);
    TN_ASSERT_CONTAINS(child.out, "'vendor': plugin 'init_fails' cannot be used here");
}

static void
not_found_names_the_broken(void)
{
    g_autofree char *broken = tn_test_build_path("tests/plugins-broken");
    g_autofree char *cache = tn_test_tmp_path("cache-broken");
    g_auto(TnChild) child = { 0 };
    run_child(&child, cache, broken, "find", "test.thing/1", "crash", NULL);
    TN_ASSERT_CONTAINS(child.out, "no test.thing/1 'crash'");
    TN_ASSERT_CONTAINS(child.out, "broken plugins that may have it: 'crash' (it crashed");
}

/* What the library prints while it is loaded does not get into its description. */
static void
chatter_is_kept_away(void)
{
    g_autofree char *broken = tn_test_build_path("tests/plugins-broken");
    g_autofree char *cache = tn_test_tmp_path("cache-broken");
    g_auto(TnChild) child = { 0 };
    run_child(&child, cache, broken, "list", NULL);
    g_autofree char *line = line_of(child.out, "chatty");
    TN_ASSERT_CONTAINS(line, "version=1");
    TN_ASSERT_CONTAINS(line, "broken=-");
}

static void
hanging_ends_in_time(void)
{
    g_autofree char *folder = tn_test_build_path("tests/plugins-hang");
    g_autofree char *cache = tn_test_tmp_path("cache-hang");
    g_autofree char *what = g_strdup_printf("describing %s/", folder);
    g_auto(TnChild) first = { 0 }, second = { 0 };
    run_child(&first, cache, folder, "list", "list", "find", "test.thing/1", "thing", NULL);
    TN_ASSERT_CMPUINT(count_text(first.out, "did not end within 5 s"), ==, 3);
    TN_ASSERT_CMPFLOAT(first.seconds, >=, 4.5);
    /* This process asks no more for a while; the next does, as the machine may have been too busy. */
    TN_ASSERT_CMPUINT(count_text(first.err, what), ==, 1);
    run_child(&second, cache, folder, "list", NULL);
    TN_ASSERT_CONTAINS(second.out, "did not end within 5 s");
    TN_ASSERT_CMPUINT(count_text(second.err, what), ==, 1);
}

/* Time in which the asking process stood still is not held against the file. */
static void
standing_still_breaks_nothing(void)
{
    g_autofree char *folder = tn_test_build_path("tests/plugins-halt");
    g_autofree char *cache = tn_test_tmp_path("cache-halt");
    g_auto(TnChild) child = { 0 };
    run_child(&child, cache, folder, "list", NULL);
    TN_ASSERT_CONTAINS(child.out, "[halt] version=1 factories=0 opened=0 broken=-");
    TN_ASSERT_CMPFLOAT(child.seconds, >=, 5.5); /* it did stand still */
}

static void
needs_are_satisfied_first(void)
{
    g_autofree char *folder = tn_test_build_path("tests/plugins-needs");
    g_autofree char *cache = tn_test_tmp_path("cache-needs");
    g_auto(TnChild) child = { 0 };
    run_child(&child, cache, folder, "open", "consumer", NULL);
    TN_ASSERT_CONTAINS(child.out, "found opened");
    TN_ASSERT_CONTAINS(child.out, "opened: provider consumer\n");
}

static void
a_gap_is_told(void)
{
    g_autofree char *folder = tn_test_build_path("tests/plugins-needs");
    g_autofree char *cache = tn_test_tmp_path("cache-needs");
    g_auto(TnChild) child = { 0 };
    run_child(&child, cache, folder, "open", "lonely", NULL);
    TN_ASSERT_CONTAINS(child.out,
                       "plugin 'lonely' needs test.nothing/1, which no plugin can supply");
}

static void
a_circle_is_told(void)
{
    g_autofree char *folder = tn_test_build_path("tests/plugins-needs");
    g_autofree char *cache = tn_test_tmp_path("cache-needs");
    g_auto(TnChild) child = { 0 };
    run_child(&child, cache, folder, "open", "circle_a", NULL);
    TN_ASSERT_CONTAINS(child.out, "in a circle: 'circle_a' -> 'circle_b' -> 'circle_a'");
    TN_ASSERT_CONTAINS(child.out, "opened: \n");
}

static const TnTest tests[] = {
    { "every_reason_is_told", every_reason_is_told },
    { "opening_a_broken_one_says_why", opening_a_broken_one_says_why },
    { "failed_init_is_kept", failed_init_is_kept },
    { "not_found_names_the_broken", not_found_names_the_broken },
    { "chatter_is_kept_away", chatter_is_kept_away },
    { "hanging_ends_in_time", hanging_ends_in_time },
    { "standing_still_breaks_nothing", standing_still_breaks_nothing },
    { "needs_are_satisfied_first", needs_are_satisfied_first },
    { "a_gap_is_told", a_gap_is_told },
    { "a_circle_is_told", a_circle_is_told },
};
PLUGIN_TEST_MAIN("broken plugins", tests)
