// tn-test: timeout=60
/* test_provenance.c: what provenance.json says of git, of the repository that the config's folder
 * is in. */
#include <glib/gstdio.h>
#include <unistd.h>

#include <tenon/base.h>
#include <tenon/run.h>

#include "tn_test.h"

static char *git_path; /* NULL: not installed */

static void
setup(void)
{
    git_path = g_find_program_in_path("git");
}

static void
teardown(void)
{
    g_free(git_path);
}

/* Runs git in folder, as somebody of no machine in particular; gives its output. */
static char *
git(const char *folder, const char *a, const char *b, const char *c)
{
    g_auto(TnChild) child = { 0 };
    const char *const argv[] = {
        git_path, "-c", "user.name=A", "-c", "user.email=a@b", "-C", folder, a, b, c, NULL
    };
    const char *const env[] = { "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", NULL };
    tn_test_spawn(&child, argv, &(TnChildOptions){ .env = env });
    TN_ASSERT_EXIT(&child, 0);
    return g_strchomp(g_strdup(child.out));
}

/* "git" of the provenance of a run whose config lies in folder: (transfer full), NULL if there is
 * none. */
static TnValue *
state_of(const char *folder)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *root = tn_test_tmp_path("runs"),
                    *config = g_build_filename(folder, "c.lua", NULL);
    g_autoptr(TnRunDir) run = tn_run_create(root, "git", &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnContext) context = tn_context_new();
    g_autoptr(TnValue) extra = tn_value_map();
    char *argv[] = { (char *)"tenon", (char *)"run", NULL };
    tn_value_set(extra, "config", tn_value_string(config));
    TN_ASSERT(tn_run_write_provenance(run, context, 2, argv, extra, &error));
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnValue) provenance = tn_run_get_json(run, "provenance.json", &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPSTR(tn_value_get_string(tn_value_get(provenance, "config")), config);
    TN_ASSERT_CMPUINT(tn_value_len(tn_value_get(provenance, "command")), ==, 2);
    TnValue *state = tn_value_get(provenance, "git");
    return state ? tn_value_ref(state) : NULL;
}

/* A repository with one commit; *below is a folder in it with a config. */
static char *
make_repository(const char *name, char **below)
{
    char *top = tn_test_tmp_path("%s", name);
    *below = g_build_filename(top, "experiments", "one", NULL);
    g_autofree char *config = g_build_filename(*below, "c.lua", NULL);
    TN_REQUIRE(g_mkdir_with_parents(*below, 0777) == 0);
    tn_test_write_file(config, "return 1\n", -1);
    g_free(git(top, "init", "-q", NULL));
    g_free(git(top, "add", ".", NULL));
    g_free(git(top, "commit", "-q", "-mone"));
    return top;
}

static void
clean_and_dirty(void)
{
    g_autofree char *below = NULL;
    if (!git_path)
        tn_test_skip("git is not installed");
    g_autofree char *top = make_repository("repository", &below);
    g_autofree char *commit = git(top, "rev-parse", "HEAD", NULL);
    TN_ASSERT_CMPUINT(strlen(commit), >=, 40);
    g_autoptr(TnValue) clean = state_of(below);
    TN_REQUIRE(clean != NULL);
    TN_ASSERT_CMPSTR(tn_value_get_string(tn_value_get(clean, "commit")), commit);
    TN_ASSERT(!tn_value_get_bool(tn_value_get(clean, "changed")));
    g_autofree char *config = g_build_filename(below, "c.lua", NULL);
    tn_test_write_file(config, "return 2\n", -1);
    g_autoptr(TnValue) dirty = state_of(below);
    TN_REQUIRE(dirty != NULL);
    TN_ASSERT_CMPSTR(tn_value_get_string(tn_value_get(dirty, "commit")), commit);
    TN_ASSERT(tn_value_get_bool(tn_value_get(dirty, "changed")));
}

/* Nothing is said where there is no commit: outside of every repository, in one without a commit,
 * in a broken one. */
static void
no_commit(void)
{
    g_autofree char *plain = tn_test_tmp_path("plain"), *empty = tn_test_tmp_path("empty"),
                    *broken = tn_test_tmp_path("broken");
    g_autofree char *dot_git = g_build_filename(broken, ".git", NULL);
    TN_REQUIRE(g_mkdir_with_parents(plain, 0777) == 0);
    TN_REQUIRE(g_mkdir_with_parents(empty, 0777) == 0);
    TN_REQUIRE(g_mkdir_with_parents(dot_git, 0777) == 0);
    g_autoptr(TnValue) a = state_of(plain), b = state_of(broken);
    TN_ASSERT(a == NULL);
    TN_ASSERT(b == NULL);
    if (!git_path)
        return;
    g_free(git(empty, "init", "-q", NULL));
    g_autoptr(TnValue) c = state_of(empty);
    TN_ASSERT(c == NULL);
}

/* Without git the run begins all the same. */
static void
no_git(void)
{
    g_autofree char *top = tn_test_tmp_path("without"),
                    *dot_git = g_build_filename(top, ".git", NULL),
                    *path = g_strdup(g_getenv("PATH"));
    TN_REQUIRE(g_mkdir_with_parents(dot_git, 0777) == 0);
    g_setenv("PATH", "/nowhere", TRUE);
    g_autoptr(TnValue) state = state_of(top);
    g_setenv("PATH", path, TRUE);
    TN_ASSERT(state == NULL);
}

static const TnTest tests[] = {
    { "clean and dirty", clean_and_dirty },
    { "no commit", no_commit },
    { "no git", no_git },
};
TN_TEST_MAIN_WITH("provenance", tests, setup, teardown)
