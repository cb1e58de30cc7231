/* text.c: pieces of text that messages and printed trees are made of. */
#include <string.h>

#include "option/option-private.h"

#define FEW 24 /* candidates that a message lists when none is near */

void
tn_text_quote(GString *to, const char *text)
{
    g_string_append_c(to, '"');
    for (const guchar *p = (const guchar *)text; *p; p++) {
        if (*p == '"' || *p == '\\')
            g_string_append_printf(to, "\\%c", *p);
        else if (*p == '\n')
            g_string_append(to, "\\n");
        else if (*p == '\t')
            g_string_append(to, "\\t");
        else if (*p < 32 || *p == 127)
            g_string_append_printf(to, "\\x%02x", *p);
        else
            g_string_append_c(to, (char)*p);
    }
    g_string_append_c(to, '"');
}

gboolean
tn_text_is_name(const char *text)
{
    if (!g_ascii_isalpha(*text) && *text != '_')
        return FALSE;
    for (; *text; text++)
        if (!g_ascii_isalnum(*text) && *text != '_')
            return FALSE;
    return TRUE;
}

char *
tn_text_hint(const char *word, const char *const *candidates, gsize n)
{
    const char *nearest = tn_nearest(word, candidates, n);
    if (nearest)
        return g_strdup_printf(" (nearest: %s)", nearest);
    if (n == 0 || n > FEW)
        return g_strdup("");
    GString *text = g_string_new(n > 1 ? " (known: " : " (known is only ");
    for (gsize i = 0; i < n; i++)
        g_string_append_printf(text, "%s%s", i > 0 ? ", " : "", candidates[i]);
    g_string_append_c(text, ')');
    return g_string_free(text, FALSE);
}

char *
tn_path_key(const char *path, const char *key)
{
    if (*key == 0 || strpbrk(key, ".[]\"\n"))
        return g_strdup_printf("%s[\"%s\"]", path ? path : "", key);
    return path && *path ? g_strdup_printf("%s.%s", path, key) : g_strdup(key);
}

char *
tn_path_index(const char *path, gsize index)
{
    return g_strdup_printf("%s[%" G_GSIZE_FORMAT "]", path ? path : "", index);
}

char *
tn_value_brief(const TnValue *value)
{
    const TnValueType type = tn_value_type(value);
    const gsize n = tn_value_len(value);
    switch (type) {
    case TN_VALUE_STRING: {
        GString *text = g_string_new("string ");
        g_autofree char *start = g_utf8_make_valid(tn_value_get_string(value), -1);
        if (g_utf8_strlen(start, -1) > 40) {
            *g_utf8_offset_to_pointer(start, 37) = 0;
            g_autofree char *cut = g_strconcat(start, "...", NULL);
            tn_text_quote(text, cut);
        } else {
            tn_text_quote(text, start);
        }
        return g_string_free(text, FALSE);
    }
    case TN_VALUE_LIST: return g_strdup_printf("a list of %" G_GSIZE_FORMAT, n);
    case TN_VALUE_MAP: return g_strdup("a table");
    case TN_VALUE_FUNC: return g_strdup("a function");
    case TN_VALUE_SPEC:
        return g_strdup_printf("component %s of %s", tn_spec_component(tn_value_get_spec(value)),
                               tn_spec_iface(tn_value_get_spec(value)));
    default: return tn_value_print(value, -1);
    }
}
