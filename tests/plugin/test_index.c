/* test_index.c: the index saves work and never costs correctness: unchanged files are not described
 * again, changed ones are, and an index that is damaged, foreign or cannot be written changes
 * nothing but the time. */
// tn-test: timeout=120
#include "plugin_test.h"

#include <utime.h>

/* A folder with a copy of the sound plugin. */
static char *
make_folder(const char *name)
{
    gsize n = 0;
    g_autofree char *good = tn_test_build_path("tests/plugins/libtn_good.so");
    g_autofree char *bytes = tn_test_read_file(good, &n);
    char *folder = tn_test_tmp_path("%s", name);
    g_autofree char *copy = g_build_filename(folder, "libtn_good.so", NULL);
    g_mkdir_with_parents(folder, 0700);
    tn_test_write_file(copy, bytes, (gssize)n);
    return folder;
}

static char *
index_path(const char *cache)
{
    g_autofree char *name =
        g_strdup_printf("plugins-%d.%d-%s.index", TN_ABI_MAJOR, TN_ABI_MINOR, tn_version());
    return g_build_filename(cache, "tenon", name, NULL);
}

/* Lists once more and says how often the copy of the plugin was described. */
static guint
times_described(const char *cache, const char *folder)
{
    g_auto(TnChild) child = { 0 };
    g_autofree char *what = g_strdup_printf("describing %s/", folder);
    run_child(&child, cache, folder, "list", NULL);
    TN_ASSERT_CONTAINS(child.out, "[good] version=");
    TN_ASSERT_CONTAINS(child.out, "factories=10 opened=0 broken=-");
    return count_text(child.err, what);
}

static void
only_what_changed_is_described(void)
{
    g_autofree char *folder = make_folder("changing");
    g_autofree char *cache = tn_test_tmp_path("cache-changing");
    g_autofree char *file = g_build_filename(folder, "libtn_good.so", NULL);
    TN_ASSERT_CMPUINT(times_described(cache, folder), ==, 1);
    TN_ASSERT_CMPUINT(times_described(cache, folder), ==, 0);
    TN_ASSERT(utime(file, &(struct utimbuf){ 1000000, 1000000 }) == 0);
    TN_ASSERT_CMPUINT(times_described(cache, folder), ==, 1);
    TN_ASSERT_CMPUINT(times_described(cache, folder), ==, 0);
}

static void
other_folders_are_remembered(void)
{
    g_autofree char *a = make_folder("folder-a");
    g_autofree char *b = make_folder("folder-b");
    g_autofree char *cache = tn_test_tmp_path("cache-folders");
    TN_ASSERT_CMPUINT(times_described(cache, a), ==, 1);
    TN_ASSERT_CMPUINT(times_described(cache, b), ==, 1);
    TN_ASSERT_CMPUINT(times_described(cache, a), ==, 0);
}

static void
damage_is_noticed(void)
{
    g_autofree char *folder = make_folder("damaging");
    g_autofree char *cache = tn_test_tmp_path("cache-damaging");
    g_autofree char *path = index_path(cache);
    gsize n = 0;
    TN_ASSERT_CMPUINT(times_described(cache, folder), ==, 1);
    g_autofree char *whole = tn_test_read_file(path, &n);
    TN_REQUIRE(n > 200);
    const gsize lengths[] = { 0, 1, 20, n / 2, n - 1 };
    for (guint i = 0; i < G_N_ELEMENTS(lengths); i++) {
        tn_test_write_file(path, whole, (gssize)lengths[i]);
        TN_ASSERT_CMPUINT(times_described(cache, folder), ==, 1);
    }
    /* One flipped bit, from the first byte to the last. */
    for (guint i = 0; i < 8; i++) {
        g_autofree char *bad = g_memdup2(whole, n);
        bad[(n - 1) * i / 7] ^= 4;
        tn_test_write_file(path, bad, (gssize)n);
        TN_ASSERT_CMPUINT(times_described(cache, folder), ==, 1);
    }
    tn_test_write_file(path, whole, (gssize)n);
    TN_ASSERT_CMPUINT(times_described(cache, folder), ==, 0);
}

static void
no_cache_is_no_harm(void)
{
    g_autofree char *folder = make_folder("uncached");
    g_autofree char *file = tn_test_tmp_path("a-file");
    tn_test_write_file(file, "not a folder", -1);
    TN_ASSERT_CMPUINT(times_described(file, folder), ==, 1);
    TN_ASSERT_CMPUINT(times_described(file, folder), ==, 1);
}

/* A copy of libtenon alone in a folder: no tenon-scan beside it. */
static void
a_missing_scanner_is_told(void)
{
    gsize n = 0;
    g_autofree char *folder = make_folder("unscanned");
    g_autofree char *cache = tn_test_tmp_path("cache-unscanned");
    g_autofree char *soname = g_strdup_printf("libtenon.so.%d", TN_ABI_MAJOR);
    g_autofree char *library = tn_test_build_path(soname);
    g_autofree char *bytes = tn_test_read_file(library, &n);
    g_autofree char *lone = tn_test_tmp_path("lone");
    g_autofree char *copy = g_build_filename(lone, soname, NULL);
    g_mkdir_with_parents(lone, 0700);
    tn_test_write_file(copy, bytes, (gssize)n);
    g_autofree char *cache_env = g_strconcat("XDG_CACHE_HOME=", cache, NULL);
    g_autofree char *library_env = g_strconcat("LD_LIBRARY_PATH=", lone, NULL);
    const char *env[] = { cache_env, library_env, NULL };
    const char *argv[] = { own_program, "--child", folder, "list", "open", "good", NULL };
    g_auto(TnChild) child = { 0 };
    tn_test_spawn(&child, argv, &(TnChildOptions){ .env = env });
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT_CMPUINT(count_text(child.out, "tenon-scan is missing"), ==, 2);
    /* That is not held against the plugin later. */
    TN_ASSERT_CMPUINT(times_described(cache, folder), ==, 1);
}

/* The working directory is never searched, however it is spelled. */
static void
the_working_directory_is_not_searched(void)
{
    g_autofree char *folder = make_folder("working");
    g_autofree char *cache = tn_test_tmp_path("cache-working");
    g_autofree char *cache_env = g_strconcat("XDG_CACHE_HOME=", cache, NULL);
    g_autofree char *program = g_canonicalize_filename(own_program, NULL);
    const char *env[] = { cache_env, NULL };
    const char *argv[] = { program, "--child", "::.:./:", "list", NULL };
    g_auto(TnChild) child = { 0 };
    tn_test_spawn(&child, argv, &(TnChildOptions){ .env = env, .cwd = folder });
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT(strstr(child.out, "[good]") == NULL);
}

static void
the_first_folder_wins(void)
{
    g_autofree char *first = make_folder("first");
    g_autofree char *second = make_folder("second");
    g_autofree char *folders = g_strjoin(":", first, second, NULL);
    g_autofree char *cache = tn_test_tmp_path("cache-first");
    g_autofree char *opened = g_strdup_printf("(%s/libtn_good.so)", first);
    g_auto(TnChild) child = { 0 };
    run_child(&child, cache, folders, "list", "open", "good", NULL);
    TN_ASSERT_CMPUINT(count_text(child.out, "[good]"), ==, 1);
    TN_ASSERT_CONTAINS(child.err, opened);
}

/* Two processes with a cold index at once: both list, and the index stays whole. */
static void
two_at_once(void)
{
    g_autofree char *folder = make_folder("two");
    g_autofree char *cache = tn_test_tmp_path("cache-two");
    g_autofree char *cache_env = g_strconcat("XDG_CACHE_HOME=", cache, NULL);
    g_autofree char *script =
        g_strdup_printf("'%s' --child '%s' list & '%s' --child '%s' list; wait", own_program,
                        folder, own_program, folder);
    const char *env[] = { cache_env, NULL };
    const char *argv[] = { "sh", "-c", script, NULL };
    g_auto(TnChild) child = { 0 };
    tn_test_spawn(&child, argv, &(TnChildOptions){ .env = env });
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT_CMPUINT(count_text(child.out, "[good] version="), ==, 2);
    TN_ASSERT_CMPUINT(times_described(cache, folder), ==, 0);
}

static const TnTest tests[] = {
    { "only_what_changed_is_described", only_what_changed_is_described },
    { "other_folders_are_remembered", other_folders_are_remembered },
    { "damage_is_noticed", damage_is_noticed },
    { "no_cache_is_no_harm", no_cache_is_no_harm },
    { "a_missing_scanner_is_told", a_missing_scanner_is_told },
    { "the_working_directory_is_not_searched", the_working_directory_is_not_searched },
    { "the_first_folder_wins", the_first_folder_wins },
    { "two_at_once", two_at_once },
};
PLUGIN_TEST_MAIN("index of plugins", tests)
