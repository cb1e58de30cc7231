/* test_headers.c: every public header compiles alone, as strict C17 and as C++17, so that a plugin
 * may include just the one it needs and be written in either language. */
// tn-test: timeout=180
#include "tn_test.h"

#include <glob.h>

static const char *const folders[] = { "kernel", "pipelines", "plugins", "dataio",
                                       "automl", "rl",        "vis" };

/* Words of `pkg-config --cflags glib-2.0`, and -I for every room. */
static GPtrArray *
common_flags(void)
{
    GPtrArray *flags = g_ptr_array_new_with_free_func(g_free);
    g_auto(TnChild) child = { 0 };
    tn_test_run(&child, "pkg-config", "--cflags", "glib-2.0", NULL);
    TN_ASSERT_EXIT(&child, 0);
    g_auto(GStrv) words = g_strsplit_set(child.out != NULL ? child.out : "", " \n", -1);
    for (char **word = words; *word != NULL; word++) {
        /* As system headers: GLib's own warnings are not ours. */
        if (g_str_has_prefix(*word, "-I"))
            g_ptr_array_add(flags, g_strconcat("-isystem", *word + 2, NULL));
    }
    for (guint i = 0; i < G_N_ELEMENTS(folders); i++) {
        g_autofree char *below = g_build_filename(folders[i], "include", NULL);
        g_autofree char *path = tn_test_source_path(below);
        g_ptr_array_add(flags, g_strconcat("-I", path, NULL));
    }
    g_autofree char *generated = tn_test_build_path("include");
    g_ptr_array_add(flags, g_strconcat("-I", generated, NULL));
    return flags;
}

static void
compile(const char *compiler, const char *standard, const char *language, const GPtrArray *flags,
        const char *header)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_auto(TnChild) child = { 0 };
    const char *begin[] = { compiler,  standard, "-fsyntax-only", "-Wall", "-Wextra",
                            "-Werror", "-x",     language };
    for (guint i = 0; i < G_N_ELEMENTS(begin); i++)
        g_ptr_array_add(argv, (gpointer)begin[i]);
    for (guint i = 0; i < flags->len; i++)
        g_ptr_array_add(argv, flags->pdata[i]);
    g_ptr_array_add(argv, (gpointer) "-");
    g_ptr_array_add(argv, NULL);
    g_autofree char *source = g_strdup_printf("#include \"%s\"\n", header);
    tn_test_spawn(&child, (const char *const *)argv->pdata, &(TnChildOptions){ .input = source });
    tn_test_check(child.exit_code == 0, FALSE, __FILE__, __LINE__, "%s does not compile as %s:\n%s",
                  header, standard, child.err != NULL ? child.err : "");
}

static void
each_alone(const char *compiler, const char *standard, const char *language)
{
    g_autofree char *found = g_find_program_in_path(compiler);
    if (found == NULL) {
        g_clear_pointer(&found, g_free);
        tn_test_skip("%s is not installed", compiler);
    }
    g_autoptr(GPtrArray) flags = common_flags();
    guint n = 0;
    for (guint i = 0; i < G_N_ELEMENTS(folders); i++) {
        g_autofree char *below = g_build_filename(folders[i], "include", "tenon", "*.h", NULL);
        g_autofree char *pattern = tn_test_source_path(below);
        glob_t files = { 0 };
        if (glob(pattern, 0, NULL, &files) == 0) {
            for (gsize j = 0; j < files.gl_pathc; j++)
                compile(compiler, standard, language, flags, files.gl_pathv[j]);
            n += (guint)files.gl_pathc;
        }
        globfree(&files);
    }
    TN_ASSERT_CMPUINT(n, >=, 20);
}

static void
as_c(void)
{
    each_alone("cc", "-std=c17", "c");
}

static void
as_cpp(void)
{
    each_alone("c++", "-std=c++17", "c++");
}

static const TnTest tests[] = { { "as_c", as_c }, { "as_cpp", as_cpp } };
TN_TEST_MAIN("public headers", tests)
