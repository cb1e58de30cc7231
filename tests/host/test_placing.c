/* test_placing.c: the digest by which a run and a stage's process know that they have the same config:
 * what it depends on, and what not; and which stages cannot take from which, as `check` says it. */
#include <string.h>

#include <glib/gstdio.h>

#include <tenon/base.h>
#include <tenon/host.h>
#include <tenon/stage.h>

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

/* --- Which stages go together ----------------------------------------------------------------- */

typedef struct {
    TnStageCommon common;
} StageOptions;
static const TnOption stage_rows[] = { TN_STAGE_ROWS(StageOptions, common) };

static void *
stage_create(TnConfig *options, TnContext *context, GError **error)
{
    (void)context;
    (void)error;
    return tn_config_ref(options);
}

static void
stage_destroy(void *self)
{
    tn_config_unref(self);
}

static const TnStageVTable replier_vtable = { .size = sizeof(TnStageVTable),
                                              .flags = TN_STAGE_REPLIES },
                           newest_vtable = { .size = sizeof(TnStageVTable),
                                             .flags = TN_STAGE_LATEST };
#define FACTORY(id, table)                                                                         \
    {                                                                                              \
        .size = sizeof(TnFactory), .iface = TN_IFACE_STAGE, .name = (id), .help = "of this test",  \
        .options = TN_OPTIONS(StageOptions, stage_rows), .create = stage_create,                   \
        .destroy = stage_destroy, .vtable = &(table)                                               \
    }
static const TnFactory replier = FACTORY("test_replier", replier_vtable),
                       newest = FACTORY("test_newest", newest_vtable);

static const char together[] = "local tn = require 'tenon'\n"
                               "local function same(b) return b end\n"
                               "return tn.experiment { stages = {\n"
                               "  ask = tn.stage.test_replier {},\n"
                               "  weights = tn.stage.test_newest { workers = 1 },\n"
                               "  good = tn.stage.map { from = 'weights', apply = same },\n"
                               "  a = tn.stage.test_replier {\n"
                               "    from = 'weights' },\n"
                               "  b = tn.stage.map { apply = same,\n"
                               "    from = 'ask' },\n"
                               "  c = tn.stage.test_newest {\n"
                               "    workers = 2, place = 'ipc' },\n"
                               "  d = tn.stage.evaluate { of = 'x', from = 'ask' },\n"
                               "} }\n";

static void
which_stages_go_together(void)
{
    static const char *const told[] = {
        "c.lua:8: stages.a.from: it answers requests of whoever takes its output",
        "c.lua:10: stages.b.from: stage 'ask' answers requests and gives no frames by itself",
        "c.lua:12: stages.c.workers: its frames are versions of one thing, and those of 2 workers",
        "c.lua:13: stages.d.from: stage 'ask' answers requests",
    };
    g_autofree char *path = tn_test_tmp_path("c.lua");
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autoptr(GError) error = NULL;
    tn_registry_add_factory(&replier, "test");
    tn_registry_add_factory(&newest, "test");
    tn_test_write_file(path, together, -1);
    g_autoptr(TnHost) host = tn_host_new(NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    g_autoptr(TnSpec) root = tn_host_load(host, path, 0, NULL, faults);
    g_autoptr(GString) all = g_string_new(NULL);
    for (gsize i = 0; i < tn_faults_count(faults); i++)
        g_string_append_printf(all, "%s\n", tn_faults_text(faults, i));
    TN_ASSERT(root == NULL);
    for (guint i = 0; i < G_N_ELEMENTS(told); i++)
        TN_ASSERT_CONTAINS(all->str, told[i]);
    TN_ASSERT(!strstr(all->str, "stages.good") && !strstr(all->str, "stages.weights"));
    TN_ASSERT(!strstr(all->str, "stages.ask"));
    tn_registry_remove_factory(&replier);
    tn_registry_remove_factory(&newest);
}

static const TnTest tests[] = {
    { "what it depends on", what_it_depends_on },
    { "what is typed", what_is_typed },
    { "which stages go together", which_stages_go_together },
};
TN_TEST_MAIN("placing", tests)
