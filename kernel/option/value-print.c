/* value-print.c: values as text in the syntax of a config. */
#include <string.h>

#include "option/option-private.h"

#define WIDTH 88 /* columns that a table on one line may reach */

static void print(GString *text, const TnValue *value, gint indent);

static void
print_number(GString *text, double number)
{
    char buffer[TN_NUMBER_TEXT];
    tn_print_float(number, TN_DTYPE_F64, buffer);
    g_string_append(text, buffer);
    /* A number with a fraction stays one when it is read again. */
    if (!strpbrk(buffer, ".en"))
        g_string_append(text, ".0");
}

/* Positional values stand in front, without their keys. */
static gboolean
is_next_position(const char *key, guint64 *position)
{
    char number[24];
    g_snprintf(number, sizeof number, "%" G_GUINT64_FORMAT, *position + 1);
    if (strcmp(key, number) != 0)
        return FALSE;
    ++*position;
    return TRUE;
}

static void
print_key(GString *text, const char *key)
{
    if (tn_text_is_name(key)) {
        g_string_append_printf(text, "%s = ", key);
    } else {
        g_string_append_c(text, '[');
        tn_text_quote(text, key);
        g_string_append(text, "] = ");
    }
}

/* indent < 0: on one line; otherwise an item a line, indented by indent + 2. */
static void
print_items(GString *text, const TnValue *value, gint indent)
{
    guint64 position = 0;
    const gsize n = tn_value_len(value);
    if (n == 0) {
        g_string_append(text, "{}");
        return;
    }
    g_string_append_c(text, '{');
    for (gsize i = 0; i < n; i++) {
        const char *key = tn_value_key_at(value, i);
        if (indent < 0)
            g_string_append(text, i > 0 ? ", " : " ");
        else
            g_string_append_printf(text, "\n%*s", indent + 2, "");
        if (key && !is_next_position(key, &position))
            print_key(text, key);
        print(text, tn_value_at(value, i), indent < 0 ? -1 : indent + 2);
        if (indent >= 0)
            g_string_append_c(text, ',');
    }
    if (indent < 0)
        g_string_append(text, " }");
    else
        g_string_append_printf(text, "\n%*s}", indent, "");
}

/* A table goes on one line where it fits. */
static void
print_table(GString *text, const TnValue *value, gint indent)
{
    const char *line = strrchr(text->str, '\n');
    const gsize column = text->len - (line ? (gsize)(line - text->str) : 0);
    const gsize before = text->len;
    print_items(text, value, -1);
    if (indent >= 0 && column + text->len - before > WIDTH) {
        g_string_truncate(text, before);
        print_items(text, value, indent);
    }
}

static void
print(GString *text, const TnValue *value, gint indent)
{
    TnSpec *spec;
    switch (tn_value_type(value)) {
    case TN_VALUE_NIL: g_string_append(text, "nil"); break;
    case TN_VALUE_BOOL: g_string_append(text, tn_value_get_bool(value) ? "true" : "false"); break;
    case TN_VALUE_INT:
        g_string_append_printf(text, "%" G_GINT64_FORMAT, tn_value_get_int(value));
        break;
    case TN_VALUE_UINT:
        g_string_append_printf(text, "%" G_GUINT64_FORMAT, tn_value_get_uint(value));
        break;
    case TN_VALUE_DOUBLE: print_number(text, tn_value_get_double(value)); break;
    case TN_VALUE_STRING: tn_text_quote(text, tn_value_get_string(value)); break;
    case TN_VALUE_FUNC: g_string_append(text, "<function>"); break;
    case TN_VALUE_SPEC:
        spec = tn_value_get_spec(value);
        g_string_append(text, tn_spec_component(spec));
        print_table(text, tn_spec_options(spec), indent);
        break;
    case TN_VALUE_LIST:
    case TN_VALUE_MAP: print_table(text, value, indent); break;
    }
}

char *
tn_value_print(const TnValue *value, gint indent)
{
    GString *text = g_string_new(NULL);
    print(text, value, indent);
    return g_string_free(text, FALSE);
}
