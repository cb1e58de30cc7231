/* value-parse.c: text as a value: what overrides, defaults and command lines are written in. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "option/option-private.h"

#define DEEPEST 32 /* levels of braces */

typedef struct {
    const char *text, *at;
    guint depth;
    GError **error;
} Parser;

static TnValue *parse_item(Parser *parser);

static TnValue *
fail(Parser *parser, const char *expected)
{
    const char *quote = *parser->at ? "\"" : "";
    g_set_error(parser->error, TN_ERROR, TN_ERROR_CONFIG,
                "\"%s\": expected %s at character %d, got %s%.20s%s", parser->text, expected,
                (gint)(parser->at - parser->text) + 1, quote, *parser->at ? parser->at : "the end",
                quote);
    return NULL;
}

static void
skip_space(Parser *parser)
{
    while (g_ascii_isspace(*parser->at))
        parser->at++;
}

/* --- Words: nil, true, numbers, bare strings -------------------------------------------------- */

/* An integer that fits 64 bits, sign or not; FALSE if word is none. */
static gboolean
read_integer(const char *word, TnValue **value)
{
    const gboolean negative = *word == '-';
    const char *digits = word + (negative || *word == '+' ? 1 : 0);
    const gboolean hex = digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');
    char *end = NULL;
    if (hex)
        digits += 2;
    if (hex ? !g_ascii_isxdigit(*digits) : !g_ascii_isdigit(*digits))
        return FALSE;
    errno = 0;
    const guint64 size = g_ascii_strtoull(digits, &end, hex ? 16 : 10);
    if (*end || errno == ERANGE)
        return FALSE;
    if (!negative)
        *value = tn_value_uint(size);
    else if (size <= (guint64)G_MAXINT64 + 1)
        *value = tn_value_int((gint64)-size);
    else
        return FALSE;
    return TRUE;
}

/* A number with a fraction or an exponent, or an integer beyond 64 bits; inf and nan. */
static gboolean
read_double(const char *word, TnValue **value)
{
    static const char *const special[] = { "inf", "-inf", "nan" };
    gboolean is_special = FALSE;
    for (guint i = 0; i < G_N_ELEMENTS(special); i++)
        is_special = is_special || strcmp(word, special[i]) == 0;
    const char *digits = word + (*word == '-' || *word == '+' ? 1 : 0);
    if (!is_special && !g_ascii_isdigit(*digits) && !(*digits == '.' && g_ascii_isdigit(digits[1])))
        return FALSE;
    char *end = NULL;
    const double number = g_ascii_strtod(word, &end);
    if (*end || (!is_special && number - number != 0))
        return FALSE;
    *value = tn_value_double(number);
    return TRUE;
}

/* (transfer full). */
static TnValue *
read_word(const char *word)
{
    TnValue *value = NULL;
    if (strcmp(word, "nil") == 0)
        return tn_value_nil();
    if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0)
        return tn_value_bool(*word == 't');
    if (read_integer(word, &value) || read_double(word, &value))
        return value;
    return tn_value_string(word);
}

/* --- Strings ---------------------------------------------------------------------------------- */

/* After a backslash; FALSE if there is no such escape. NUL cannot stand in a string. */
static gboolean
read_escape(Parser *parser, GString *string)
{
    static const char from[] = "abfnrtv\\\"'\n";
    static const char to[] = "\a\b\f\n\r\t\v\\\"'\n";
    const char c = *parser->at;
    const char *known = c ? strchr(from, c) : NULL;
    if (known) {
        g_string_append_c(string, to[known - from]);
        parser->at++;
        return TRUE;
    }
    if (c != 'x' || !g_ascii_isxdigit(parser->at[1]) || !g_ascii_isxdigit(parser->at[2]))
        return FALSE;
    const gint byte =
        g_ascii_xdigit_value(parser->at[1]) * 16 + g_ascii_xdigit_value(parser->at[2]);
    g_string_append_c(string, (char)byte);
    parser->at += 3;
    return byte != 0;
}

/* A quoted string; (transfer full): g_free. NULL with *error. */
static char *
read_quoted(Parser *parser)
{
    const char quote = *parser->at++;
    g_autoptr(GString) string = g_string_new(NULL);
    while (*parser->at && *parser->at != quote) {
        if (*parser->at != '\\') {
            g_string_append_c(string, *parser->at++);
            continue;
        }
        parser->at++;
        if (!read_escape(parser, string)) {
            fail(parser, "an escape such as \\n, \\\" or \\x41");
            return NULL;
        }
    }
    if (*parser->at != quote) {
        fail(parser, "a closing quote");
        return NULL;
    }
    parser->at++;
    return g_strdup(string->str);
}

/* --- Tables ----------------------------------------------------------------------------------- */

/* "key =" or "[\"key\"] ="; FALSE (and nothing read) if there is none. */
static gboolean
read_key(Parser *parser, char **key)
{
    const char *start = parser->at;
    g_autofree char *name = NULL;
    if (*parser->at == '[') {
        parser->at++;
        if (*parser->at == '"' || *parser->at == '\'')
            name = read_quoted(parser);
        if (name && *parser->at == ']')
            parser->at++;
        else
            g_clear_pointer(&name, g_free);
    } else {
        while (g_ascii_isalnum(*parser->at) || *parser->at == '_')
            parser->at++;
        name = g_strndup(start, (gsize)(parser->at - start));
        if (!tn_text_is_name(name))
            g_clear_pointer(&name, g_free);
    }
    skip_space(parser);
    if (name && *parser->at == '=') {
        parser->at++;
        *key = g_steal_pointer(&name);
        return TRUE;
    }
    g_clear_error(parser->error);
    parser->at = start;
    return FALSE;
}

/* A list becomes a map with its first key; what stood in it then has the keys "1", "2" … */
static TnValue *
list_to_map(TnValue *list)
{
    TnValue *map = tn_value_map();
    for (gsize i = 0; i < tn_value_len(list); i++) {
        g_autofree char *number = g_strdup_printf("%" G_GSIZE_FORMAT, i + 1);
        tn_value_set(map, number, tn_value_ref(tn_value_at(list, i)));
    }
    tn_value_unref(list);
    return map;
}

/* A map whose keys turned out to be "1", "2" … alone, as in {7, x = nil}, is the list that it is
 * printed as. */
static TnValue *
map_to_list(TnValue *map)
{
    for (gsize i = 0; i < tn_value_len(map); i++) {
        g_autofree char *number = g_strdup_printf("%" G_GSIZE_FORMAT, i + 1);
        if (strcmp(tn_value_key_at(map, i), number) != 0)
            return map;
    }
    TnValue *list = tn_value_list();
    for (gsize i = 0; i < tn_value_len(map); i++)
        tn_value_push(list, tn_value_ref(tn_value_at(map, i)));
    tn_value_unref(map);
    return list;
}

/* One item of a table, with its key if it has one. */
static gboolean
parse_entry(Parser *parser, TnValue **table, gsize *position)
{
    g_autofree char *key = NULL;
    if (read_key(parser, &key) && tn_value_type(*table) == TN_VALUE_LIST)
        *table = list_to_map(*table);
    TnValue *item = parse_item(parser);
    if (!item)
        return FALSE;
    if (tn_value_type(*table) == TN_VALUE_LIST) {
        tn_value_push(*table, item);
        ++*position;
        return TRUE;
    }
    if (!key)
        key = g_strdup_printf("%" G_GSIZE_FORMAT, ++*position);
    tn_value_set(*table, key, item);
    return TRUE;
}

/* {a, b} or {k = v, ["k 2"] = w} or both; a comma or semicolon may follow the last. */
static TnValue *
parse_table(Parser *parser)
{
    g_autoptr(TnValue) table = tn_value_list();
    gsize position = 0;
    if (++parser->depth > DEEPEST)
        return fail(parser, "no more than 32 levels of braces");
    parser->at++;
    for (skip_space(parser); *parser->at != '}'; skip_space(parser)) {
        if (!parse_entry(parser, &table, &position))
            return NULL;
        skip_space(parser);
        if (*parser->at == ',' || *parser->at == ';')
            parser->at++;
        else if (*parser->at != '}')
            return fail(parser, "a comma or a closing brace");
    }
    parser->at++;
    parser->depth--;
    if (tn_value_type(table) == TN_VALUE_MAP)
        table = map_to_list(table);
    return g_steal_pointer(&table);
}

/* An item of a table. */
static TnValue *
parse_item(Parser *parser)
{
    skip_space(parser);
    if (*parser->at == '{')
        return parse_table(parser);
    if (*parser->at == '"' || *parser->at == '\'') {
        g_autofree char *string = read_quoted(parser);
        return string ? tn_value_string(string) : NULL;
    }
    const gsize length = strcspn(parser->at, ",;{}=\"'\n");
    g_autofree char *word = g_strstrip(g_strndup(parser->at, length));
    if (!*word)
        return fail(parser, "a value");
    parser->at += length;
    return read_word(word);
}

TnValue *
tn_value_parse(const char *text, GError **error)
{
    g_autoptr(GError) own = NULL;
    Parser parser = { text, text, 0, &own };
    g_autoptr(TnValue) value = NULL;
    skip_space(&parser);
    if (*parser.at == '{' || *parser.at == '"' || *parser.at == '\'') {
        value = parse_item(&parser);
        skip_space(&parser);
        if (value && *parser.at) {
            fail(&parser, "nothing more");
            g_clear_pointer(&value, tn_value_unref);
        }
    } else {
        /* Without quotes the whole text is one word, so that paths need none. */
        g_autofree char *word = g_strstrip(g_strdup(parser.at));
        value = read_word(word);
    }
    if (own)
        g_propagate_error(error, g_steal_pointer(&own));
    return g_steal_pointer(&value);
}
