/* test_listings.c: `plugins`, `ops` and `help`: what they say in text and as JSON, with sound and
 * with broken plugins. */
// tn-test: timeout=120
#include <tenon/run.h>
#include <tenon/value.h>

#include "tn_test.h"

/* Runs with --json and the fixtures' folders; NULL if what comes is not JSON. (transfer full). */
static TnValue *
json(const char *a, const char *b)
{
    g_autofree char *good = tn_test_build_path("tests/plugins");
    g_autofree char *broken = tn_test_build_path("tests/plugins-broken");
    g_auto(TnChild) child = { 0 };
    g_autoptr(GError) error = NULL;
    tn_test_tenon(&child, "--plugin-path", good, "--plugin-path", broken, "--json", a, b, NULL);
    TN_ASSERT_EXIT(&child, 0);
    TnValue *value = tn_json_parse(child.out, strlen(child.out), &error);
    TN_ASSERT_NO_ERROR(error);
    return value;
}

static const char *
text_of(const TnValue *map, const char *key)
{
    const TnValue *value = tn_value_get(map, key);
    return tn_value_type(value) == TN_VALUE_STRING ? tn_value_get_string(value) : NULL;
}

/* The item of a list whose key has that text. */
static const TnValue *
find_item(const TnValue *list, const char *key, const char *text)
{
    for (gsize i = 0; i < tn_value_len(list); i++) {
        if (g_strcmp0(text_of(tn_value_at(list, i), key), text) == 0)
            return tn_value_at(list, i);
    }
    return NULL;
}

static void
plugins_as_json(void)
{
    static const struct {
        const char *name, *why_not;
    } wanted[] = {
        { "good", NULL },
        { "ref", NULL },
        { "nn", NULL },
        { "wrong_abi", "plugin ABI 0.8" },
        { "wrong_magic", "0xdeadbeef" },
        { "no_symbol", "does not export" },
        { "crash", "crashed" },
        { "no_vendor", "libtn-absent.so" },
        { "init_fails", "libvendor.so.9 is not installed" },
    };
    g_autoptr(TnValue) list = json("plugins", NULL);
    TN_REQUIRE(list != NULL);
    for (guint i = 0; i < G_N_ELEMENTS(wanted); i++) {
        const TnValue *plugin = find_item(list, "name", wanted[i].name);
        TN_REQUIRE(plugin != NULL);
        TN_ASSERT_CMPINT(tn_value_get_bool(tn_value_get(plugin, "usable")), ==,
                         wanted[i].why_not == NULL);
        if (wanted[i].why_not != NULL)
            TN_ASSERT_CONTAINS(text_of(plugin, "why_not"), wanted[i].why_not);
        else
            TN_ASSERT(text_of(plugin, "why_not") == NULL);
    }
    const TnValue *good = find_item(list, "name", "good");
    TN_ASSERT_CONTAINS(text_of(good, "unusable_parts"), "no such hardware here");
    TN_ASSERT(find_item(tn_value_get(good, "factories"), "name", "rack") != NULL);
}

static void
plugins_in_text(void)
{
    g_autofree char *good = tn_test_build_path("tests/plugins");
    g_autofree char *broken = tn_test_build_path("tests/plugins-broken");
    g_auto(TnChild) child = { 0 };
    tn_test_tenon(&child, "plugins", "--plugin-path", good, "--plugin-path", broken, NULL);
    TN_ASSERT_EXIT(&child, 0);
    static const char *const parts[] = {
        "\ngood 0.",
        "  One of everything, for tests\n",
        "operator          good_twice\n",
        "Lua               tn.good\n",
        "verb              tenon good greet: greet people\n",
        "\ncrash\n  cannot be used here: it crashed while it was being described",
        "\ninit_fails 1\n",
        "  cannot be used here: libvendor.so.9 is not installed\n",
    };
    for (guint i = 0; i < G_N_ELEMENTS(parts); i++)
        TN_ASSERT_CONTAINS(child.out, parts[i]);
}

static void
one_plugin(void)
{
    g_autoptr(TnValue) good = json("plugins", "good");
    TN_REQUIRE(good != NULL);
    const TnValue *box = find_item(tn_value_get(good, "factories"), "name", "box");
    TN_REQUIRE(box != NULL);
    const TnValue *size = find_item(tn_value_get(box, "options"), "name", "size");
    TN_REQUIRE(size != NULL);
    TN_ASSERT(tn_value_get_bool(tn_value_get(size, "required")));
    TN_ASSERT_CMPSTR(text_of(size, "unit"), "litres");
    TN_ASSERT(find_item(tn_value_get(box, "methods"), "name", "count") != NULL);
    g_autoptr(TnValue) crash = json("plugins", "crash");
    TN_ASSERT(!tn_value_get_bool(tn_value_get(crash, "usable")));
    TN_ASSERT_CONTAINS(text_of(crash, "why_not"), "crashed");
}

static void
operators(void)
{
    g_autoptr(TnValue) list = json("ops", NULL);
    TN_REQUIRE(list != NULL);
    TN_ASSERT_CMPUINT(tn_value_len(list), >, 50);
    const TnValue *matmul = find_item(list, "name", "matmul");
    TN_ASSERT(tn_value_get_bool(tn_value_get(matmul, "primitive")));
    TN_ASSERT_CMPSTR(text_of(find_item(list, "name", "good_twice"), "plugin"), "good");
    for (gsize i = 0; i < tn_value_len(list); i++)
        TN_ASSERT(text_of(tn_value_at(list, i), "help") != NULL);
    g_autoptr(TnValue) conv = json("ops", "conv");
    TN_ASSERT_CMPSTR(text_of(conv, "onnx"), "Conv");
    TN_ASSERT_CMPSTR(text_of(conv, "kind"), "primitive");
    TN_ASSERT(find_item(tn_value_get(conv, "inputs"), "name", "x") != NULL);
    TN_ASSERT(find_item(tn_value_get(conv, "attributes"), "name", "strides") != NULL);
    TN_ASSERT(text_of(tn_value_get(conv, "kernels"), "ref") != NULL);
    g_autoptr(TnValue) twice = json("ops", "good_twice");
    TN_ASSERT_CMPSTR(text_of(twice, "kind"), "composite");
}

static void
help_of_names(void)
{
    g_autofree char *good = tn_test_build_path("tests/plugins");
    g_autofree char *broken = tn_test_build_path("tests/plugins-broken");
    static const struct {
        const char *name;
        const char *parts[3];
    } cases[] = {
        { "box", { "test.thing/1 box", "size", "litres" } },
        { "matmul", { "operator matmul", "ONNX MatMul", "inputs" } },
        { "good greet", { "usage: tenon good greet", "--loud", NULL } },
        { "runs", { "usage: tenon runs", NULL, NULL } },
        /* The first word of several verbs. */
        { "new", { "usage: tenon new config", "usage: tenon new plugin", NULL } },
        { "good", { "usage: tenon good greet", NULL, NULL } },
        /* Its plugin cannot be opened: what the index knows, and why there is no more. */
        { "vendor", { "test.vendor/1", "its options cannot be shown", "libvendor.so.9" } },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(TnChild) child = { 0 };
        tn_test_tenon(&child, "--plugin-path", good, "--plugin-path", broken, "help", cases[i].name,
                      NULL);
        TN_ASSERT_EXIT(&child, 0);
        for (guint j = 0; j < G_N_ELEMENTS(cases[i].parts) && cases[i].parts[j] != NULL; j++)
            TN_ASSERT_CONTAINS(child.out, cases[i].parts[j]);
    }
    g_autoptr(TnValue) box = json("help", "box");
    TN_ASSERT(find_item(box, "interface", "test.thing/1") != NULL);
}

static const TnTest tests[] = {
    { "plugins_as_json", plugins_as_json }, { "plugins_in_text", plugins_in_text },
    { "one_plugin", one_plugin },           { "operators", operators },
    { "help_of_names", help_of_names },
};
TN_TEST_MAIN("listings", tests)
