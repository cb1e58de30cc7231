/* test_placing.c: the digest by which a run and a stage's process know that they have the same config:
 * what it depends on, and what not. */
#include <string.h>

#include <glib/gstdio.h>

#include <tenon/host.h>

#include "tn_test.h"

static const char config[] =
    "local tn = require 'tenon'\n"
    "local words = require 'words'\n"
    "local file = io.open('FILE')\n"
    "local text = file and file:read('a')\n"
    "if file then file:close() end\n"
    "return tn.script { name = 'd', seed = #words, run = function() return {} end }\n";

typedef struct {
    const char *module, *file; /* what they say; NULL: there is no such file */
    const char *overrides[3];
} Given;

static void
put(const char *folder, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    if (text)
        tn_test_write_file(path, text, -1);
}

/* (transfer full) each. */
static char *
digest_of(const Given *given, char **typed)
{
    static guint number;
    g_autofree char *folder = tn_test_tmp_path("placing%u", number++);
    g_autofree char *path = g_build_filename(folder, "c.lua", NULL);
    g_autofree char *file = g_build_filename(folder, "f.txt", NULL);
    g_auto(GStrv) parts = g_strsplit(config, "FILE", 2);
    g_autofree char *text = g_strjoinv("f.txt", parts);
    g_autofree char *here = g_get_current_dir();
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autoptr(GError) error = NULL;
    TN_REQUIRE(g_mkdir_with_parents(folder, 0700) == 0);
    put(folder, "c.lua", text);
    put(folder, "words.lua", given->module);
    put(folder, "f.txt", given->file);
    TN_REQUIRE(g_chdir(folder) == 0); /* io.open's paths are relative to the working folder */
    g_autoptr(TnHost) host = tn_host_new(NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    gint n = 0;
    while (n < 3 && given->overrides[n])
        n++;
    TnSpec *root = tn_host_load(host, path, n, given->overrides, faults);
    TN_REQUIRE(g_chdir(here) == 0);
    TN_REQUIRE(root != NULL);
    tn_spec_unref(root);
    if (typed)
        *typed = tn_host_typed(host);
    return tn_host_digest(host);
}

static void
what_it_depends_on(void)
{
    const Given base = { "return 'abc'", "one", { "seed=4" } };
    static const Given others[] = {
        { "return 'abd'", "one", { "seed=4" } },
        { "return 'abc'", "two", { "seed=4" } },
        { "return 'abc'", NULL, { "seed=4" } },
        { "return 'abc'", "one", { "seed=5" } },
        { "return 'abc'", "one", { NULL } },
        { "return 'abc'", "one", { "seed=4", "name=x" } },
        { "return 'abc'", "one", { "name=x", "seed=4" } },
    };
    g_autofree char *first = digest_of(&base, NULL), *again = digest_of(&base, NULL);
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    TN_ASSERT_CMPSTR(first, again); /* although it lies in another folder */
    g_hash_table_add(seen, g_strdup(first));
    for (guint i = 0; i < G_N_ELEMENTS(others); i++)
        TN_ASSERT(g_hash_table_add(seen, digest_of(&others[i], NULL)));
}

static void
what_is_typed(void)
{
    const Given given = { "return 'abc'", "one", { "name=a b", "seed=4" } };
    g_autofree char *typed = NULL, *digest = digest_of(&given, &typed);
    TN_ASSERT(g_str_has_suffix(typed, "c.lua' 'name=a b' 'seed=4'"));
}

static const TnTest tests[] = {
    { "what it depends on", what_it_depends_on },
    { "what is typed", what_is_typed },
};
TN_TEST_MAIN("placing", tests)
