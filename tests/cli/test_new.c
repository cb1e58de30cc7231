/* test_new.c: what `tenon new` writes works: the plugin builds out of tree against an installed
 * Tenon, both ways, and passes its own test; what docs/plugins.md shows builds too. */
// tn-test: timeout=300
#include "tn_test.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static const char *prefix;

/* Runs a script with PREFIX and TREE (the build tree) set, in a folder. */
static void
script(TnChild *child, const char *work, const char *text)
{
    g_autofree char *prefix_env = g_strconcat("PREFIX=", prefix, NULL);
    g_autofree char *tree_env = g_strconcat("TREE=", tn_test_build_dir(), NULL);
    const char *env[] = { prefix_env, tree_env, "PKG_CONFIG_PATH", "CFLAGS", "LDFLAGS", NULL };
    const char *argv[] = { "sh", "-ec", text, NULL };
    tn_test_spawn(child, argv, &(TnChildOptions){ .env = env, .cwd = work, .timeout = 200 });
    TN_ASSERT_EXIT(child, 0);
    if (child->exit_code != 0)
        TN_FAIL("%s", child->out);
}

static char *
work_folder(const char *name)
{
    char *work = tn_test_tmp_path("%s", name);
    g_mkdir_with_parents(work, 0700);
    return work;
}

/* Once for all tests: an installation of what was built. */
static void
install(void)
{
    if (prefix != NULL)
        return;
    if (SANITIZED)
        tn_test_leave_out("a program without sanitizers cannot use a library with them");
    prefix = tn_test_tmp_path("prefix");
    g_auto(TnChild) child = { 0 };
    script(&child, "/", "cmake --install \"$TREE\" --prefix \"$PREFIX\" >/dev/null");
}

static void
plugin_with_make(void)
{
    install();
    g_autofree char *work = work_folder("with-make");
    g_auto(TnChild) child = { 0 };
    script(
        &child, work,
        "\"$PREFIX\"/bin/tenon new plugin my_op\n"
        "cd my_op\n"
        "make CFLAGS='-O2 -Wall -Wextra -Werror' PKG_CONFIG_PATH=\"$PREFIX\"/lib/pkgconfig test\n"
        "\"$PREFIX\"/bin/tenon plugins my_op --plugin-path build/plugins\n"
        "\"$PREFIX\"/bin/tenon ops my_op --plugin-path build/plugins\n");
    TN_ASSERT_CONTAINS(child.out, "gradient matches differences ...passed");
    TN_ASSERT_CONTAINS(child.out, "my_op 0.1.0");
    TN_ASSERT_CONTAINS(child.out, "scale * x / (1 + |x|)");
    TN_ASSERT(strstr(child.out, "FAILED") == NULL);
    TN_ASSERT(strstr(child.out, "cannot be used") == NULL);
}

static void
plugin_with_cmake(void)
{
    install();
    g_autofree char *work = work_folder("with-cmake");
    g_auto(TnChild) child = { 0 };
    script(&child, work,
           "\"$PREFIX\"/bin/tenon new plugin other_op --dir \"$PWD/here\"\n"
           "cmake -S here -B b -DCMAKE_PREFIX_PATH=\"$PREFIX\" -DCMAKE_C_FLAGS=-Werror\n"
           "cmake --build b\n"
           "ctest --test-dir b --output-on-failure\n"
           "cmake --install b --prefix \"$PREFIX\"\n"
           "\"$PREFIX\"/bin/tenon ops other_op\n"
           "rm \"$PREFIX\"/lib/tenon/plugins/libtn_other_op.so\n");
    TN_ASSERT_CONTAINS(child.out, "100% tests passed, 0 tests failed out of 1");
    TN_ASSERT_CONTAINS(child.out, "operator other_op");
}

/* Writes every block of docs/plugins.md that names a file ("```c primes.c") into folder; returns
 * how many. */
static guint
take_out_files(const char *folder)
{
    guint n = 0;
    g_autofree char *guide = tn_test_source_path("docs/plugins.md");
    g_autofree char *text = tn_test_read_file(guide, NULL);
    for (const char *at = strstr(text, "\n```"); at != NULL; at = strstr(at, "\n```")) {
        const char *line = at + strlen("\n```");
        const char *body = strchr(line, '\n');
        const char *end = body != NULL ? strstr(body, "\n```") : NULL;
        if (end == NULL)
            break;
        g_autofree char *head = g_strndup(line, (gsize)(body - line));
        const char *name = strchr(head, ' ');
        if (name != NULL) {
            g_autofree char *path = g_build_filename(folder, name + 1, NULL);
            tn_test_write_file(path, body + 1, end - body);
            n++;
        }
        at = end + strlen("\n```");
    }
    return n;
}

/* What docs/plugins.md shows is what builds and works. */
static void
the_guide(void)
{
    install();
    g_autofree char *work = work_folder("guide");
    g_auto(TnChild) child = { 0 };
    TN_ASSERT_CMPUINT(take_out_files(work), ==, 5);
    script(&child, work,
           "cmake -S . -B b -DCMAKE_PREFIX_PATH=\"$PREFIX\" -DCMAKE_C_FLAGS=-Werror\n"
           "cmake --build b\n"
           "for name in primes csv twin; do\n"
           "    \"$PREFIX\"/bin/tenon --plugin-path b/plugins plugins $name\n"
           "done\n"
           "\"$PREFIX\"/bin/tenon --plugin-path b/plugins ops add\n"
           "\"$PREFIX\"/bin/tenon --plugin-path b/plugins run guide.lua\n"
           "cat runs/guide/*/metrics.csv\n");
    TN_ASSERT(strstr(child.out, "cannot be used") == NULL);
    TN_ASSERT_CONTAINS(child.out, "dataset primes\n");
    TN_ASSERT_CONTAINS(child.out, "numbers from 0 to this, exclusive");
    TN_ASSERT_CONTAINS(child.out, "logger csv\n");
    TN_ASSERT_CONTAINS(child.out, "device twin\n");
    TN_ASSERT_CONTAINS(child.out, "  twin                  f32\n");
    TN_ASSERT_CONTAINS(child.out, "step,name,value\n");
    TN_ASSERT_CONTAINS(child.out, ",train/loss,");
}

static void
config_runs(void)
{
    g_autofree char *work = work_folder("config");
    g_autofree char *config = g_build_filename(work, "demo.lua", NULL);
    g_autofree char *runs = g_build_filename(work, "runs", NULL);
    g_auto(TnChild) made = { 0 }, again = { 0 }, checked = { 0 }, told = { 0 }, ran = { 0 };
    tn_test_tenon(&made, "new", "config", "demo", "--dir", work, NULL);
    TN_ASSERT_EXIT(&made, 0);
    tn_test_tenon(&again, "new", "config", "demo.lua", "--dir", work, NULL);
    TN_ASSERT_EXIT(&again, 2);
    TN_ASSERT_CONTAINS(again.err, "demo.lua is there already");
    tn_test_tenon(&checked, "check", config, NULL);
    TN_ASSERT_EXIT(&checked, 0);
    tn_test_tenon(&told, "help", config, NULL);
    TN_ASSERT_EXIT(&told, 0);
    TN_ASSERT_CONTAINS(told.out, "learning rate (double, default 0.001)");
    tn_test_tenon(&ran, "run", config, "--runs", runs, "epochs=1", "lr=3e-3", NULL);
    TN_ASSERT_EXIT(&ran, 0);
    TN_ASSERT_CONTAINS(ran.out, "train/loss");
    TN_ASSERT(g_file_test(runs, G_FILE_TEST_IS_DIR));
}

static void
nothing_is_overwritten(void)
{
    g_autofree char *dir = tn_test_tmp_path("there-already");
    g_autofree char *readme = g_build_filename(dir, "README.md", NULL);
    g_autofree char *source = g_build_filename(dir, "src", NULL);
    g_auto(TnChild) child = { 0 };
    g_mkdir_with_parents(dir, 0700);
    tn_test_write_file(readme, "mine", -1);
    tn_test_tenon(&child, "new", "plugin", "my_op", "--dir", dir, NULL);
    TN_ASSERT_EXIT(&child, 2);
    TN_ASSERT_CONTAINS(child.err, "README.md is there already; nothing was written");
    TN_ASSERT(!g_file_test(source, G_FILE_TEST_EXISTS));
    g_autofree char *text = tn_test_read_file(readme, NULL);
    TN_ASSERT_CMPSTR(text, "mine");
}

static const TnTest tests[] = {
    { "plugin_with_make", plugin_with_make },
    { "plugin_with_cmake", plugin_with_cmake },
    { "the_guide", the_guide },
    { "config_runs", config_runs },
    { "nothing_is_overwritten", nothing_is_overwritten },
};
TN_TEST_MAIN("tenon new", tests)
