/* test_registry.c: what is found, by which name, which default, what is opened for it and how
 * often. */
// tn-test: label=threads
#include <pthread.h>

#include <tenon/base.h>
#include <tenon/plugin.h>

#include "tn_test.h"

static void
set_up(void)
{
    g_autofree char *cache = tn_test_tmp_path("cache");
    g_autofree char *folder = tn_test_build_path("tests/plugins");
    g_setenv("XDG_CACHE_HOME", cache, TRUE);
    g_unsetenv("TENON_PLUGIN_PATH");
    tn_registry_add_path(folder);
}

static void *
find_box(void *data)
{
    (void)data;
    return (void *)tn_registry_find("test.thing/1", "box", NULL);
}

static gint64
call_int(TnObject *object, guint method)
{
    const TnMethod *m = &tn_object_factory(object)->methods[method];
    g_autoptr(TnConfig) args = tn_config_new(&m->args, NULL, NULL);
    g_autoptr(TnValue) result = NULL;
    TN_ASSERT(m->call(tn_object_self(object), tn_config_data(args), &result, NULL));
    return tn_value_get_int(result);
}

/* Runs first, while nothing is open: many threads want the same plugin at once. */
static void
init_runs_once(void)
{
    enum { N = 8 };
    pthread_t threads[N];
    void *found[N];
    TN_ASSERT(tn_registry_plugin("good") == NULL);
    for (guint i = 0; i < N; i++)
        TN_REQUIRE(pthread_create(&threads[i], NULL, find_box, NULL) == 0);
    for (guint i = 0; i < N; i++)
        pthread_join(threads[i], &found[i]);
    for (guint i = 0; i < N; i++)
        TN_ASSERT(found[i] != NULL && found[i] == found[0]);
    TN_REQUIRE(found[0] != NULL);
    g_autoptr(TnValue) options = tn_value_map();
    g_autoptr(GError) error = NULL;
    tn_value_set(options, "size", tn_value_int(3));
    g_autoptr(TnObject) box = tn_object_create(found[0], options, NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPINT(call_int(box, 2), ==, 1);
    TN_ASSERT(tn_registry_plugin("good") != NULL);
    TN_ASSERT_CMPSTR(tn_registry_owner(found[0]), "good");
}

static void
list_shows_what_it_supplies(void)
{
    TN_ASSERT(tn_registry_open("good", NULL));
    g_autoptr(GPtrArray) list = tn_registry_list();
    const TnPluginInfo *good = NULL;
    for (guint i = 0; i < list->len; i++) {
        const TnPluginInfo *info = list->pdata[i];
        if (i > 0)
            TN_ASSERT(strcmp(((const TnPluginInfo *)list->pdata[i - 1])->name, info->name) < 0);
        if (strcmp(info->name, "good") == 0)
            good = info;
    }
    TN_REQUIRE(good != NULL);
    TN_ASSERT(good->opened);
    TN_ASSERT(good->broken == NULL);
    TN_ASSERT_CMPSTR(good->version, tn_version());
    TN_ASSERT_CMPSTR(good->license, "Apache-2.0");
    TN_ASSERT_CMPSTR(good->summary, "One of everything, for tests");
    TN_ASSERT_CMPUINT(good->n_factories, ==, 10);
    TN_ASSERT_CMPSTR(good->ifaces[0], "test.thing/1");
    TN_ASSERT_CMPSTR(good->names[0], "box");
    TN_ASSERT_CMPSTR(good->helps[9], "2 * x");
    TN_ASSERT_CMPUINT(good->n_modules, ==, 1);
    TN_ASSERT_CMPSTR(good->modules[0], "good");
    TN_ASSERT_CMPUINT(good->n_verbs, ==, 1);
    TN_ASSERT_CMPSTR(good->verbs[0], "good greet");
    TN_ASSERT_CMPSTR(good->verb_helps[0], "greet people");
}

static void
errors_name_the_nearest(void)
{
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_registry_find("test.thing/1", "bax", &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "test.thing/1 'bax'",
                    "did you mean 'box'?");
    TN_ASSERT(tn_registry_find("test.ranked/1", "nothing_like_it", &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "there are: best, high, low, unusable");
    TN_ASSERT(!tn_registry_open("god", &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "plugin 'god'", "did you mean 'good'?");
    TN_ASSERT(tn_registry_op("good_twise", &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "operator 'good_twise'", "'good_twice'");
    TN_ASSERT(tn_registry_lua("goot", &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "Lua module 'goot'", "'good'");
    TN_ASSERT(tn_registry_verb("good great", &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "verb 'good great'", "'good greet'");
    TN_ASSERT(tn_registry_find("test.unheard-of/1", NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "no plugin supplies a test.unheard-of/1");
}

static void
the_default_is_probed_then_ranked(void)
{
    static const char *const order[] = { "best", "high", "low", "unusable" };
    g_autoptr(GError) error = NULL;
    const TnFactory *best = tn_registry_find("test.ranked/1", NULL, &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPSTR(best->name, "best");
    g_autoptr(GPtrArray) all = tn_registry_query("test.ranked/1");
    TN_REQUIRE(all->len == G_N_ELEMENTS(order));
    for (guint i = 0; i < all->len; i++)
        TN_ASSERT_CMPSTR(((const TnFactory *)all->pdata[i])->name, order[i]);
    TN_ASSERT(tn_object_create(all->pdata[3], NULL, NULL, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_UNSUPPORTED, "unusable", "no such hardware here");
    g_autoptr(GPtrArray) every = tn_registry_query(NULL);
    TN_ASSERT_CMPUINT(every->len, >=, 10);
    for (guint i = 1; i < every->len; i++)
        TN_ASSERT(strcmp(((const TnFactory *)every->pdata[i - 1])->iface,
                         ((const TnFactory *)every->pdata[i])->iface) <= 0);
    g_autoptr(GPtrArray) none = tn_registry_query("test.unheard-of/1");
    TN_ASSERT_CMPUINT(none->len, ==, 0);
}

static void
operators_modules_and_verbs(void)
{
    g_autoptr(GError) error = NULL;
    const TnOp *op = tn_registry_op("good_twice", &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPSTR(op->name, "good_twice");
    TN_ASSERT(op->body != NULL);
    const TnLuaModule *module = tn_registry_lua("good", &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CONTAINS((const char *)module->bytes, "answer = 42");
    TN_ASSERT_CMPUINT(module->n_bytes, ==, strlen((const char *)module->bytes));
    const TnVerb *verb = tn_registry_verb("good greet", &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPSTR(verb->help, "greet people");
}

/* Trying happens elsewhere: a plugin that cannot be used says why, and nothing is opened here. */
static void
trying_opens_nothing(void)
{
    g_autofree char *folder = tn_test_build_path("tests/plugins-broken");
    g_autoptr(GError) error = NULL;
    tn_registry_add_path(folder);
    g_autoptr(GPtrArray) list = tn_registry_list();
    g_auto(GStrv) before = tn_registry_opened();
    guint tried = 0;
    for (guint i = 0; i < list->len; i++) {
        const TnPluginInfo *info = list->pdata[i];
        if (strcmp(info->name, "init_fails") == 0) {
            g_autofree char *why = tn_registry_try(info, NULL);
            TN_ASSERT_CMPSTR(why, "libvendor.so.9 is not installed");
            tried++;
        } else if (strcmp(info->name, "chatty") == 0) {
            g_autofree char *why = tn_registry_try(info, NULL);
            TN_ASSERT_CMPSTR(why, NULL);
            tried++;
        } else if (strcmp(info->name, "good") == 0) {
            g_autofree char *parts = NULL;
            g_autofree char *why = tn_registry_try(info, &parts);
            TN_ASSERT_CMPSTR(why, NULL);
            TN_ASSERT_CMPSTR(parts, "test.ranked/1 'unusable': there is no such hardware here");
            tried++;
        } else if (strcmp(info->name, "wrong_abi") == 0) {
            g_autofree char *why = tn_registry_try(info, NULL);
            TN_ASSERT_CONTAINS(why, "ABI");
            tried++;
        }
    }
    TN_ASSERT_CMPUINT(tried, ==, 4);
    g_auto(GStrv) after = tn_registry_opened();
    TN_ASSERT(g_strv_equal((const char *const *)before, (const char *const *)after));
}

/* --- Factories made at run time, and plugins linked in ---------------------------------------- */

static const int nothing;
static const TnFactory old_box = { .size = sizeof(TnFactory),
                                   .iface = "test.thing/1",
                                   .name = "box",
                                   .help = "older",
                                   .vtable = &nothing };
static const TnFactory new_box = { .size = sizeof(TnFactory),
                                   .iface = "test.thing/1",
                                   .name = "box",
                                   .help = "newer",
                                   .vtable = &nothing };

static void
the_newest_hides_the_rest(void)
{
    const TnFactory *own = tn_registry_find("test.thing/1", "box", NULL);
    g_autoptr(GPtrArray) before = tn_registry_query("test.thing/1");
    tn_registry_add_factory(&old_box, "config");
    tn_registry_add_factory(&new_box, "config");
    TN_ASSERT(tn_registry_find("test.thing/1", "box", NULL) == &new_box);
    TN_ASSERT_CMPSTR(tn_registry_owner(&new_box), "config");
    g_autoptr(GPtrArray) during = tn_registry_query("test.thing/1");
    TN_ASSERT_CMPUINT(during->len, ==, before->len);
    tn_registry_remove_factory(&new_box);
    TN_ASSERT(tn_registry_find("test.thing/1", "box", NULL) == &old_box);
    tn_registry_remove_factory(&old_box);
    TN_ASSERT(tn_registry_find("test.thing/1", "box", NULL) == own);
    TN_ASSERT(tn_registry_owner(&old_box) == NULL);
    /* What a plugin supplies stays. */
    tn_registry_remove_factory(own);
    TN_ASSERT(tn_registry_find("test.thing/1", "box", NULL) == own);
}

static gint n_inner_inits;

static gboolean
inner_init(GError **error)
{
    (void)error;
    n_inner_inits++;
    return TRUE;
}

static const TnFactory inner_factory = { .size = sizeof(TnFactory),
                                         .iface = "test.inner/1",
                                         .name = "inner",
                                         .help = "x",
                                         .vtable = &nothing };
static const TnFactory *const inner_factories[] = { &inner_factory, NULL };
static const TnPlugin inner = { TN_PLUGIN_HEAD("inner", "1.2", "MIT", "In the program"),
                                .factories = inner_factories, .init = inner_init };
static const TnPlugin rival = { TN_PLUGIN_HEAD("inner", "1.3", "MIT", "Another of that name") };
static const TnPlugin unsound = { .magic = TN_PLUGIN_MAGIC, .size = 4 };

static void
plugins_in_the_program(void)
{
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_registry_add(&inner, &error));
    TN_ASSERT(tn_registry_add(&inner, &error));
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPINT(n_inner_inits, ==, 1);
    TN_ASSERT(tn_registry_find("test.inner/1", "inner", NULL) == &inner_factory);
    TN_ASSERT(tn_registry_plugin("inner") == &inner);
    TN_ASSERT(!tn_registry_add(&rival, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_PLUGIN, "'inner' is there already");
    TN_ASSERT(!tn_registry_add(&unsound, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_PLUGIN, "not sound");
    g_autoptr(GPtrArray) list = tn_registry_list();
    guint found = 0;
    for (guint i = 0; i < list->len; i++)
        found += strcmp(((const TnPluginInfo *)list->pdata[i])->name, "inner") == 0;
    TN_ASSERT_CMPUINT(found, ==, 1);
    g_auto(GStrv) opened = tn_registry_opened();
    TN_ASSERT(g_strv_contains((const char *const *)opened, "inner"));
}

/* Registering at run time while others look things up. */
static void *
churn(void *data)
{
    const TnFactory *factory = data;
    for (guint i = 0; i < 500; i++) {
        tn_registry_add_factory(factory, "config");
        g_autoptr(GPtrArray) all = tn_registry_query("test.inner/1");
        tn_registry_remove_factory(factory);
    }
    return NULL;
}

static void
concurrent_changes(void)
{
    static const TnFactory a = { .size = sizeof(TnFactory),
                                 .iface = "test.inner/1",
                                 .name = "a",
                                 .help = "x",
                                 .vtable = &nothing };
    static const TnFactory b = { .size = sizeof(TnFactory),
                                 .iface = "test.inner/1",
                                 .name = "inner",
                                 .help = "x",
                                 .vtable = &nothing };
    pthread_t threads[2];
    TN_REQUIRE(pthread_create(&threads[0], NULL, churn, (void *)&a) == 0);
    TN_REQUIRE(pthread_create(&threads[1], NULL, churn, (void *)&b) == 0);
    guint missed = 0;
    for (guint i = 0; i < 500; i++)
        missed += tn_registry_find("test.inner/1", "inner", NULL) == NULL;
    TN_ASSERT_CMPUINT(missed, ==, 0);
    for (guint i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    TN_ASSERT(tn_registry_find("test.inner/1", "inner", NULL) == &inner_factory);
}

static const TnTest tests[] = {
    { "init_runs_once", init_runs_once },
    { "list_shows_what_it_supplies", list_shows_what_it_supplies },
    { "errors_name_the_nearest", errors_name_the_nearest },
    { "the_default_is_probed_then_ranked", the_default_is_probed_then_ranked },
    { "operators_modules_and_verbs", operators_modules_and_verbs },
    { "trying_opens_nothing", trying_opens_nothing },
    { "the_newest_hides_the_rest", the_newest_hides_the_rest },
    { "plugins_in_the_program", plugins_in_the_program },
    { "concurrent_changes", concurrent_changes },
};
TN_TEST_MAIN_WITH("registry", tests, set_up, NULL)
