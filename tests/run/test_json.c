/* test_json.c: values as JSON: exact numbers, what JSON has no word for, what is refused. */
#include <math.h>
#include <tenon/run.h>

#include "tn_test.h"

static void
prints(void)
{
    g_autoptr(TnValue) map = tn_value_map();
    TnValue *list = tn_value_list();
    tn_value_push(list, tn_value_int(G_MININT64));
    tn_value_push(list, tn_value_uint(G_MAXUINT64));
    tn_value_push(list, tn_value_double(0.1));
    tn_value_push(list, tn_value_double(NAN));
    tn_value_push(list, tn_value_double(-INFINITY));
    tn_value_push(list, tn_value_bool(TRUE));
    tn_value_push(list, tn_value_nil());
    tn_value_set(map, "a \"b\"", list);
    g_autofree char *text = tn_json_print(map, FALSE);
    TN_ASSERT_CMPSTR(
        text,
        "{\"a "
        "\\\"b\\\"\":[-9223372036854775808,\"18446744073709551615\",0.10000000000000001,\"nan\","
        "\"-inf\",true,null]}");
}

static void
round_trips(void)
{
    static const char text[] = "{\"z\":1,\"a\":[true,false,null,-3,2.5,\"x\\u00e9\"],\"m\":{}}";
    g_autoptr(GError) error = NULL;
    g_autoptr(TnValue) value = tn_json_parse(text, strlen(text), &error);
    TN_REQUIRE_NO_ERROR(error);
    TN_ASSERT_CMPSTR(tn_value_key_at(value, 0), "z"); /* order is kept */
    g_autofree char *again = tn_json_print(value, FALSE);
    TN_ASSERT_CMPSTR(again, "{\"z\":1,\"a\":[true,false,null,-3,2.5,\"x\xc3\xa9\"],\"m\":{}}");
}

static void
refuses(void)
{
    static const char *const bad[] = { "",    "{",        "[1,]",        "{\"a\":1,\"a\":2}",
                                       "nul", "1e999999", "\"\\ud800\"", "[1] x" };
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(TnValue) value = tn_json_parse(bad[i], strlen(bad[i]), &error);
        TN_ASSERT(value == NULL);
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, "JSON line");
    }
    g_autoptr(GString) deep = g_string_new(NULL);
    for (guint i = 0; i < 100000; i++)
        g_string_append_c(deep, '[');
    g_autoptr(GError) error = NULL;
    TN_ASSERT(tn_json_parse(deep->str, deep->len, &error) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, "depth");
}

static const TnTest tests[] = { { "prints", prints },
                                { "round trips", round_trips },
                                { "refuses", refuses } };
TN_TEST_MAIN("json", tests)
