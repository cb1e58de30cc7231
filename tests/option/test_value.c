/* test_value.c: values and specs, paths through them, text to values and back. */
#include <math.h>

#include <tenon/value.h>

#include "tn_test.h"

/* --- Values ----------------------------------------------------------------------------------- */

static void
numbers(void)
{
    g_autoptr(TnValue) small = tn_value_uint(7), large = tn_value_uint(G_MAXUINT64);
    g_autoptr(TnValue) least = tn_value_int(G_MININT64), real = tn_value_double(-2.5);
    g_autoptr(TnValue) huge = tn_value_double(1e300), word = tn_value_string("7");
    TN_ASSERT_CMPINT(tn_value_type(small), ==, TN_VALUE_INT); /* what fits is signed */
    TN_ASSERT_CMPINT(tn_value_type(large), ==, TN_VALUE_UINT);
    TN_ASSERT_CMPUINT(tn_value_get_uint(large), ==, G_MAXUINT64);
    TN_ASSERT_CMPINT(tn_value_get_int(large), ==, G_MAXINT64);
    TN_ASSERT_CMPINT(tn_value_get_int(least), ==, G_MININT64);
    TN_ASSERT_CMPUINT(tn_value_get_uint(least), ==, 0);
    TN_ASSERT_CMPINT(tn_value_get_int(real), ==, -2);
    TN_ASSERT_CMPINT(tn_value_get_int(huge), ==, G_MAXINT64);
    TN_ASSERT_CMPFLOAT(tn_value_get_double(large), ==, 0x1p64);
    TN_ASSERT_CMPFLOAT(tn_value_get_double(small), ==, 7);
    TN_ASSERT_CMPINT(tn_value_get_int(word), ==, 0);
    TN_ASSERT(!tn_value_get_bool(small));
    TN_ASSERT(tn_value_get_string(small) == NULL);
    TN_ASSERT_CMPINT(tn_value_type(NULL), ==, TN_VALUE_NIL);
    TN_ASSERT_CMPSTR(tn_value_type_name(TN_VALUE_MAP), "table");
}

static void
maps(void)
{
    g_autoptr(TnValue) map = tn_value_map();
    tn_value_set(map, "b", tn_value_int(1));
    tn_value_set(map, "a", tn_value_int(2));
    tn_value_set(map, "b", tn_value_int(3)); /* keeps its place */
    TN_ASSERT_CMPUINT(tn_value_len(map), ==, 2);
    TN_ASSERT_CMPSTR(tn_value_key_at(map, 0), "b");
    TN_ASSERT_CMPINT(tn_value_get_int(tn_value_get(map, "b")), ==, 3);
    TN_ASSERT(tn_value_get(map, "c") == NULL);
    tn_value_set(map, "b", tn_value_nil());
    TN_ASSERT_CMPUINT(tn_value_len(map), ==, 1);
    TN_ASSERT_CMPSTR(tn_value_key_at(map, 0), "a");
    TN_ASSERT(tn_value_at(map, 1) == NULL && tn_value_key_at(map, 1) == NULL);
    tn_value_set(map, "absent", tn_value_nil());
    TN_ASSERT_CMPUINT(tn_value_len(map), ==, 1);
}

static void
count_free(gpointer handle)
{
    ++*(guint *)handle;
}

static void
functions(void)
{
    guint freed = 0;
    TnValue *func = tn_value_func(&freed, count_free);
    TnValue *list = tn_value_list();
    tn_value_push(list, func);
    TnValue *copied = tn_value_copy(list);
    TN_ASSERT(tn_value_equal(list, copied));
    tn_value_unref(list);
    TN_ASSERT_CMPUINT(freed, ==, 0);
    TN_ASSERT(tn_value_get_func(tn_value_at(copied, 0)) == &freed);
    tn_value_unref(copied);
    TN_ASSERT_CMPUINT(freed, ==, 1);
}

/* {lr = 0.1, model = spec{units = 3, layers = {1, {x = "y"}}}} */
static TnValue *
make_tree(void)
{
    const TnWhere where = { g_intern_static_string("c.lua"), 3 };
    TnSpec *spec = tn_spec_new("tenon.model/1", "mlp", where);
    g_autoptr(GError) error = NULL;
    tn_value_set(tn_spec_options(spec), "units", tn_value_int(3));
    tn_value_set(tn_spec_options(spec), "layers", tn_value_parse("{1, {x = \"y\"}}", &error));
    TnValue *tree = tn_value_map();
    tn_value_set(tree, "lr", tn_value_double(0.1));
    tn_value_set(tree, "model", tn_value_spec(spec));
    return tree;
}

static void
equality(void)
{
    g_autoptr(TnValue) a = make_tree(), b = tn_value_copy(a);
    TN_ASSERT(tn_value_equal(a, b));
    TN_ASSERT_CMPUINT(tn_value_hash(a), ==, tn_value_hash(b));
    TN_ASSERT_CMPINT(tn_value_where(tn_value_get(b, "model")).line, ==, 3);
    TN_REQUIRE(tn_value_assign(b, "model.layers[2].x", tn_value_string("z"), NULL));
    TN_ASSERT(!tn_value_equal(a, b)); /* and a is not changed with its copy */
    TN_ASSERT(tn_value_hash(a) != tn_value_hash(b));
    g_autoptr(TnValue) same = make_tree();
    TN_ASSERT(tn_value_equal(a, same));
    static const char *const apart[] = { "1",     "1.0",       "\"1\"",  "true",    "nil",
                                         "{}",    "{1}",       "{1, 2}", "{2, 1}",  "{1 }, ",
                                         "{a=1}", "{a=1,b=2}", "{a=2}",  "{a={1}}", "-0.0",
                                         "0.0",   "0",         "nan",    "{\"1\"}", "{{1}, 2}" };
    for (guint i = 0; i < G_N_ELEMENTS(apart); i++)
        for (guint j = 0; j < G_N_ELEMENTS(apart); j++) {
            g_autoptr(TnValue) x = tn_value_parse(apart[i], NULL),
                               y = tn_value_parse(apart[j], NULL);
            if (!x || !y)
                continue;
            TN_ASSERT_CMPINT(tn_value_equal(x, y), ==, i == j);
            TN_ASSERT_CMPINT(tn_value_hash(x) == tn_value_hash(y), ==, i == j);
        }
    g_autoptr(TnValue) ab = tn_value_parse("{a=1, b={2}}", NULL);
    g_autoptr(TnValue) ba = tn_value_parse("{b={2}, a=1}", NULL);
    TN_ASSERT(tn_value_equal(ab, ba)); /* the order of keys is for readers */
    TN_ASSERT_CMPUINT(tn_value_hash(ab), ==, tn_value_hash(ba));
}

/* --- Paths ------------------------------------------------------------------------------------ */

static void
finds(void)
{
    g_autoptr(TnValue) tree = make_tree();
    g_autoptr(GError) error = NULL;
    TN_ASSERT_CMPFLOAT(tn_value_get_double(tn_value_find(tree, "lr", &error)), ==, 0.1);
    TN_ASSERT_CMPINT(tn_value_get_int(tn_value_find(tree, "model.units", &error)), ==, 3);
    TN_ASSERT_CMPINT(tn_value_get_int(tn_value_find(tree, "model.layers[1]", &error)), ==, 1);
    TN_ASSERT_CMPSTR(tn_value_get_string(tn_value_find(tree, "model.layers[2].x", &error)), "y");
    TN_ASSERT_CMPINT(tn_value_get_int(tn_value_find(tree, "model[\"units\"]", &error)), ==, 3);
    TN_ASSERT_NO_ERROR(error);
    static const struct {
        const char *path, *says[2];
    } lost[] = {
        { "lrr", { "lrr: there is no such option", "nearest: lr" } },
        { "modle.units", { "modle.units: there is no modle", "nearest: model" } },
        { "model.unit", { "model.unit", "nearest: units" } },
        { "model.layers[3].x", { "there is no model.layers[3]", "a list of 2" } },
        { "model.layers[0]", { "no such option", "a list of 2" } },
        { "lr.x", { "lr.x", "0.1" } },
        { "model.layers[1][1]", { "model.layers[1][1]", "is 1" } },
    };
    for (guint i = 0; i < G_N_ELEMENTS(lost); i++) {
        TN_ASSERT(tn_value_find(tree, lost[i].path, &error) == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, lost[i].says[0], lost[i].says[1]);
    }
    static const char *const bad[] = { "",   ".",   "a.",   ".a",  "a..b",
                                       "a[", "a[]", "a[x]", "a[1", "a[\"b]" };
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        TN_ASSERT(tn_value_find(tree, bad[i], &error) == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_USAGE, "expected a path");
    }
}

static void
assigns(void)
{
    g_autoptr(TnValue) tree = make_tree();
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_value_assign(tree, "lr", tn_value_double(3), &error));
    TN_ASSERT(tn_value_assign(tree, "model.new", tn_value_int(4), &error)); /* checks come later */
    TN_ASSERT(tn_value_assign(tree, "model[1]", tn_value_int(5), &error));
    TN_ASSERT(tn_value_assign(tree, "model.layers[1]", tn_value_int(6), &error));
    TN_ASSERT(tn_value_assign(tree, "model.layers[3]", tn_value_int(7), &error)); /* one more */
    TN_ASSERT_NO_ERROR(error);
    g_autofree char *text = tn_value_print(tree, -1);
    TN_ASSERT_CMPSTR(text, "{ lr = 3.0, model = mlp{ units = 3, layers = { 6, { x = \"y\" }, 7 }, "
                           "new = 4, 5 } }");
    TN_ASSERT(!tn_value_assign(tree, "model.layers[5]", tn_value_int(6), &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "a list of 3");
    TN_ASSERT(!tn_value_assign(tree, "model.layers.x", tn_value_int(6), &error));
    g_clear_error(&error);
    TN_ASSERT(!tn_value_assign(tree, "mdel.units", tn_value_int(6), &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "nearest: model");
    TN_ASSERT(!tn_value_assign(tree, "lr.x", tn_value_int(6), &error));
    g_clear_error(&error);
    TN_ASSERT(tn_value_assign(tree, "model.units", tn_value_nil(), &error));
    TN_ASSERT(tn_value_find(tree, "model.units", NULL) == NULL);
}

/* --- Text ------------------------------------------------------------------------------------- */

static void
parses(void)
{
    static const struct {
        const char *text;
        TnValueType type;
        const char *printed;
    } good[] = {
        { "12", TN_VALUE_INT, "12" },
        { " -7 ", TN_VALUE_INT, "-7" },
        { "0x1F", TN_VALUE_INT, "31" },
        { "-0x10", TN_VALUE_INT, "-16" },
        { "9223372036854775807", TN_VALUE_INT, "9223372036854775807" },
        { "-9223372036854775808", TN_VALUE_INT, "-9223372036854775808" },
        { "9223372036854775808", TN_VALUE_UINT, "9223372036854775808" },
        { "18446744073709551615", TN_VALUE_UINT, "18446744073709551615" },
        { "0xffffffffffffffff", TN_VALUE_UINT, "18446744073709551615" },
        { "18446744073709551616", TN_VALUE_DOUBLE, "1.8446744073709552e+19" },
        { "1e-3", TN_VALUE_DOUBLE, "0.001" },
        { "1.", TN_VALUE_DOUBLE, "1.0" },
        { ".5", TN_VALUE_DOUBLE, "0.5" },
        { "0.1", TN_VALUE_DOUBLE, "0.1" },
        { "-1e300", TN_VALUE_DOUBLE, "-1e+300" },
        { "inf", TN_VALUE_DOUBLE, "inf" },
        { "-inf", TN_VALUE_DOUBLE, "-inf" },
        { "nan", TN_VALUE_DOUBLE, "nan" },
        { "true", TN_VALUE_BOOL, "true" },
        { "false", TN_VALUE_BOOL, "false" },
        { "nil", TN_VALUE_NIL, "nil" },
        { "relu", TN_VALUE_STRING, "\"relu\"" },
        { "a b/c.txt", TN_VALUE_STRING, "\"a b/c.txt\"" },
        { "500ms", TN_VALUE_STRING, "\"500ms\"" },
        { "1e400", TN_VALUE_STRING, "\"1e400\"" }, /* no number holds it */
        { "0x", TN_VALUE_STRING, "\"0x\"" },
        { "-", TN_VALUE_STRING, "\"-\"" },
        { "infinity", TN_VALUE_STRING, "\"infinity\"" },
        { "", TN_VALUE_STRING, "\"\"" },
        { "\"12\"", TN_VALUE_STRING, "\"12\"" },
        { "'it''s'", TN_VALUE_NIL, NULL },
        { "'a\"b'", TN_VALUE_STRING, "\"a\\\"b\"" },
        { "\"\\n\\t\\\\\\x41\\'\"", TN_VALUE_STRING, "\"\\n\\t\\\\A'\"" },
        { "{}", TN_VALUE_LIST, "{}" },
        { "{1, 2.5, x, \"y z\",}", TN_VALUE_LIST, "{ 1, 2.5, \"x\", \"y z\" }" },
        { "{{1}, {}}", TN_VALUE_LIST, "{ { 1 }, {} }" },
        { "{a = 1, b={c=x}}", TN_VALUE_MAP, "{ a = 1, b = { c = \"x\" } }" },
        { "{[\"a b\"] = 1}", TN_VALUE_MAP, "{ [\"a b\"] = 1 }" },
        { "{1, a = 2, 3}", TN_VALUE_MAP, "{ 1, a = 2, 3 }" },
        { "{a/b, c d; 500ms}", TN_VALUE_LIST, "{ \"a/b\", \"c d\", \"500ms\" }" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(TnValue) value = tn_value_parse(good[i].text, &error);
        if (!good[i].printed) {
            TN_ASSERT(value == NULL);
            TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, good[i].text);
            continue;
        }
        TN_REQUIRE_NO_ERROR(error);
        g_autofree char *printed = tn_value_print(value, -1);
        TN_ASSERT_CMPINT(tn_value_type(value), ==, good[i].type);
        TN_ASSERT_CMPSTR(printed, good[i].printed);
        g_autoptr(TnValue) again = tn_value_parse(printed, NULL);
        TN_ASSERT(tn_value_equal(value, again));
    }
}

static void
refuses(void)
{
    static const char *const bad[] = { "{",          "{1",       "{1, 2",     "{1 2 {}}",
                                       "\"abc",      "'abc\\",   "{a=}",      "{,}",
                                       "{=1}",       "{1}}",     "\"a\" b",   "{1} x",
                                       "\"\\q\"",    "\"\\x4\"", "\"\\x00\"", "{a = 1 b = 2}",
                                       "{[\"a] = 1}" };
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(TnValue) value = tn_value_parse(bad[i], &error);
        TN_ASSERT(value == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "expected");
    }
    g_autofree char *deep = g_strnfill(100000, '{');
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_value_parse(deep, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CONFIG, "32 levels");
}

/* Any double reads back as itself. */
static void
doubles(void)
{
    static const double numbers[] = { 0.1,  1.0 / 3,       1e-308, 5e-324, 1.7976931348623157e308,
                                      -0.0, 123456789.125, 1e21,   2.5e-7, 100 };
    for (guint i = 0; i < G_N_ELEMENTS(numbers); i++) {
        g_autoptr(TnValue) value = tn_value_double(numbers[i]);
        g_autofree char *text = tn_value_print(value, -1);
        g_autoptr(TnValue) again = tn_value_parse(text, NULL);
        TN_ASSERT(tn_value_equal(value, again));
    }
}

static void
long_tables(void)
{
    g_autoptr(TnValue) map = tn_value_map(), list = tn_value_list();
    for (guint i = 0; i < 40; i++)
        tn_value_push(list, tn_value_int(100 + i));
    tn_value_set(map, "short", tn_value_parse("{1, 2}", NULL));
    tn_value_set(map, "long", g_steal_pointer(&list));
    g_autofree char *text = tn_value_print(map, 0);
    TN_ASSERT_CONTAINS(text, "{\n  short = { 1, 2 },\n  long = {\n    100,\n    101,\n");
    TN_ASSERT_CONTAINS(text, "    139,\n  },\n}");
    g_autoptr(TnValue) again = tn_value_parse(text, NULL);
    TN_ASSERT(tn_value_equal(map, again));
}

/* What is dropped leaves no trace in what kind of table it was. */
static void
dropped_keys(void)
{
    static const char *const texts[] = { "{7, x = nil}", "{x = nil, 7}", "{x = nil}",
                                         "{7, x = 1, x = nil}" };
    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(TnValue) value = tn_value_parse(texts[i], NULL);
        g_autofree char *printed = tn_value_print(value, 0);
        g_autoptr(TnValue) again = tn_value_parse(printed, NULL);
        TN_ASSERT_CMPINT(tn_value_type(value), ==, TN_VALUE_LIST);
        TN_ASSERT(tn_value_equal(value, again));
    }
}

static const TnTest tests[] = {
    { "dropped-keys", dropped_keys }, { "numbers", numbers },         { "maps", maps },
    { "functions", functions },       { "equality", equality },       { "finds", finds },
    { "assigns", assigns },           { "parses", parses },           { "refuses", refuses },
    { "doubles", doubles },           { "long-tables", long_tables },
};
TN_TEST_MAIN("value", tests)
