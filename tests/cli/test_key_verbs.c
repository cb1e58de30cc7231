/* test_key_verbs.c: `tenon key new` and `tenon key list` as a user and a script meet them. */
#include <sys/stat.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include <tenon/run.h>
#include <tenon/value.h>

#include "tn_test.h"

/* A config folder for one test. */
static char *
new_home(const char *name)
{
    char *home = tn_test_tmp_path("%s", name);
    g_mkdir_with_parents(home, 0700);
    return home;
}

/* Runs tenon with its keys below home. */
static void
tenon(TnChild *child, const char *home, const char *a, const char *b, const char *c)
{
    g_autofree char *program = tn_test_build_path("tenon");
    g_autofree char *env = g_strconcat("XDG_CONFIG_HOME=", home, NULL);
    const char *vars[] = { env, NULL };
    const char *argv[] = { program, "key", a, b, c, NULL };
    tn_test_spawn(child, argv, &(TnChildOptions){ .env = vars });
}

/* The secret in a key's file. (transfer full). */
static char *
secret_of(const char *home, const char *name)
{
    g_autofree char *path = g_strconcat(home, "/tenon/keys/", name, ".key", NULL);
    g_autofree char *text = tn_test_read_file(path, NULL);
    const char *at = strstr(text, "secret = \"");
    TN_REQUIRE(at != NULL);
    return g_strndup(at + strlen("secret = \""), 40);
}

static void
new_says_what_to_do(void)
{
    g_autofree char *home = new_home("new");
    g_auto(TnChild) child = { 0 }, again = { 0 };
    tenon(&child, home, "new", "cluster", NULL);
    TN_ASSERT_EXIT(&child, 0);
    TN_ASSERT_CMPSTR(child.err, "");
    g_autofree char *secret = secret_of(home, "cluster");
    g_autofree char *key = g_strconcat(home, "/tenon/keys/cluster.key ", NULL);
    g_autofree char *public = g_strconcat(home, "/tenon/keys/cluster.pub ", NULL);
    TN_ASSERT_CONTAINS(child.out, key);
    TN_ASSERT_CONTAINS(child.out, public);
    TN_ASSERT_CONTAINS(child.out, "copy cluster.key to the same folder of the other host");
    TN_ASSERT_CONTAINS(child.out, "key = \"cluster\" beside place = \"tcp://");
    TN_ASSERT(strstr(child.out, secret) == NULL);
    tenon(&again, home, "new", "cluster", NULL);
    TN_ASSERT_EXIT(&again, 2);
    TN_ASSERT_CMPSTR(again.out, "");
    TN_ASSERT_CONTAINS(again.err, "cluster.key is there already");
    g_autofree char *kept = secret_of(home, "cluster");
    TN_ASSERT_CMPSTR(kept, secret);
}

static void
what_cannot_be_meant(void)
{
    static const struct {
        const char *words[3];
        const char *said;
    } cases[] = {
        { { "nwe", "a" }, "tenon: there is no 'key nwe'; did you mean 'tenon key new'?\n" },
        { { "lst" }, "tenon: there is no 'key lst'; did you mean 'tenon key list'?\n" },
        { { NULL }, "tenon: 'key' is followed by one of: list, new\n" },
        { { "new" }, "tenon: usage: tenon key new NAME; see tenon key new --help\n" },
        { { "new", "a", "b" }, "fewer arguments" },
        { { "new", "a/b" }, "'a/b' cannot name a key: 1 to 63 of " },
        { { "new", "--jsno" }, "'--json'" },
        { { "list", "a" }, "takes no argument" },
    };
    g_autofree char *home = new_home("meant");
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(TnChild) child = { 0 };
        tenon(&child, home, cases[i].words[0], cases[i].words[1], cases[i].words[2]);
        TN_ASSERT_EXIT(&child, 2);
        TN_ASSERT_CMPSTR(child.out, "");
        TN_ASSERT_CONTAINS(child.err, cases[i].said);
    }
    g_autofree char *keys = g_build_filename(home, "tenon", NULL);
    TN_ASSERT(!g_file_test(keys, G_FILE_TEST_EXISTS));
}

static void
help(void)
{
    static const char *const verbs[] = { "new", "list" };
    for (guint i = 0; i < G_N_ELEMENTS(verbs); i++) {
        g_auto(TnChild) child = { 0 };
        g_autofree char *usage = g_strconcat("usage: tenon key ", verbs[i], NULL);
        tn_test_tenon(&child, "key", verbs[i], "--help", NULL);
        TN_ASSERT_EXIT(&child, 0);
        TN_ASSERT(g_str_has_prefix(child.out, usage));
    }
    g_auto(TnChild) all = { 0 };
    tn_test_tenon(&all, "help", NULL);
    TN_ASSERT_CONTAINS(all.out, "\n  key new");
    TN_ASSERT_CONTAINS(all.out, "\n  key list");
}

/* Keys of every kind of trouble, each made by the verb. */
static void
spoil(const char *home)
{
    static const char *const names[] = { "good", "open", "broken", "linked", "half" };
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_auto(TnChild) child = { 0 };
        tenon(&child, home, "new", names[i], NULL);
        TN_ASSERT_EXIT(&child, 0);
    }
    g_autofree char *folder = g_build_filename(home, "tenon", "keys", NULL);
    g_autofree char *open = g_build_filename(folder, "open.key", NULL);
    g_autofree char *broken = g_build_filename(folder, "broken.key", NULL);
    g_autofree char *linked = g_build_filename(folder, "linked.key", NULL);
    g_autofree char *half = g_build_filename(folder, "half.key", NULL);
    g_autofree char *lost = g_build_filename(folder, "broken.pub", NULL);
    TN_REQUIRE(g_chmod(open, 0644) == 0 && g_unlink(linked) == 0 && g_unlink(half) == 0);
    TN_REQUIRE(symlink("good.key", linked) == 0 && g_unlink(lost) == 0);
    tn_test_write_file(broken, "public = \"\"\n", -1);
    TN_REQUIRE(g_chmod(broken, 0600) == 0);
}

static void
list_tells_what_is_wrong(void)
{
    static const struct {
        const char *name, *why_not;
        gboolean public;
    } wanted[] = {
        { "broken", "line 1 is not ", FALSE }, { "good", NULL, TRUE },
        { "half", "cannot open", TRUE },       { "linked", "is a link", TRUE },
        { "open", "chmod 600 ", TRUE },
    };
    g_autofree char *home = new_home("list");
    g_auto(TnChild) none = { 0 }, json = { 0 }, text = { 0 };
    g_autoptr(GError) error = NULL;
    tenon(&none, home, "list", NULL, NULL);
    TN_ASSERT_EXIT(&none, 0);
    TN_ASSERT_CMPSTR(none.out, "");
    TN_ASSERT_CONTAINS(none.err, "tenon/keys; tenon key new NAME makes one");
    spoil(home);
    tenon(&json, home, "list", "--json", NULL);
    TN_ASSERT_EXIT(&json, 0);
    g_autoptr(TnValue) list = tn_json_parse(json.out, strlen(json.out), &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_REQUIRE(tn_value_len(list) == G_N_ELEMENTS(wanted));
    for (guint i = 0; i < G_N_ELEMENTS(wanted); i++) {
        const TnValue *row = tn_value_at(list, i), *why = tn_value_get(row, "why_not");
        const TnValue *public = tn_value_get(row, "public");
        TN_ASSERT_CMPSTR(tn_value_get_string(tn_value_get(row, "name")), wanted[i].name);
        TN_ASSERT_CMPINT(tn_value_get_bool(tn_value_get(row, "usable")), ==, !wanted[i].why_not);
        TN_ASSERT_CMPINT(public != NULL, ==, wanted[i].public);
        TN_ASSERT(!public || strlen(tn_value_get_string(public)) == 40);
        TN_ASSERT_CMPINT(why != NULL, ==, wanted[i].why_not != NULL);
        if (why && wanted[i].why_not)
            TN_ASSERT_CONTAINS(tn_value_get_string(why), wanted[i].why_not);
    }
    tenon(&text, home, "list", NULL, NULL);
    TN_ASSERT_EXIT(&text, 0);
    TN_ASSERT_CONTAINS(text.out, "chmod 600");
    TN_ASSERT_CONTAINS(text.out, "\nlinked  ");
    g_autofree char *secret = secret_of(home, "good"), *other = secret_of(home, "open");
    TN_ASSERT(!strstr(text.out, secret) && !strstr(text.out, other));
    TN_ASSERT(!strstr(json.out, secret) && !strstr(json.out, other));
}

static const TnTest tests[] = {
    { "new says what to do", new_says_what_to_do },
    { "what cannot be meant", what_cannot_be_meant },
    { "help", help },
    { "list tells what is wrong", list_tells_what_is_wrong },
};
TN_TEST_MAIN("key verbs", tests)
