/* ops_test.h: types and attributes of operators written as text, for the tests of this folder. */
#pragma once

#include <stdlib.h>
#include <tenon/ops.h>
#include <tn_test.h>

/* "f32[2, 3]" */
static inline TnType
ops_type(const char *text)
{
    const char *open = strchr(text, '[');
    g_autofree char *name = g_strndup(text, (gsize)(open - text));
    TnType type = { .dtype = tn_dtype_from_name(g_strstrip(name)) };
    for (const char *at = open + 1; *at != ']' && *at != '\0';) {
        char *end;
        type.dims[type.rank++] = g_ascii_strtoll(at, &end, 10);
        at = *end == ',' ? end + 1 : end;
    }
    return type;
}

/* "f32[2] ; f32[3]", "-" for none; a type "_" is an absent input. Returns how many. */
static inline gint
ops_types(const char *text, TnType *types)
{
    g_auto(GStrv) parts = g_strsplit(text, ";", -1);
    gint n = 0;
    for (gint i = 0; strcmp(text, "-") != 0 && parts[i] != NULL; i++) {
        const char *part = g_strstrip(parts[i]);
        types[n++] = strcmp(part, "_") == 0 ? (TnType){ 0 } : ops_type(part);
    }
    return n;
}

/* "axis=1;keepdims=false", "-" for defaults, into a new struct of op's attributes; NULL (and a
 * failed check) if they are not op's. (transfer full): g_free. */
static inline void *
ops_attrs(const TnOp *op, const char *text)
{
    g_autoptr(TnValue) map = tn_value_map();
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) parts = g_strsplit(text, ";", -1);
    void *attrs = g_malloc0(MAX(op->attrs.struct_size, 1));
    for (gint i = 0; strcmp(text, "-") != 0 && parts[i] != NULL; i++) {
        char *equals = strchr(parts[i], '=');
        *equals = '\0';
        TnValue *value = tn_value_parse(equals + 1, &error);
        TN_REQUIRE_NO_ERROR(error);
        tn_value_set(map, parts[i], value);
    }
    tn_options_defaults(&op->attrs, attrs);
    if (op->attrs.n > 0 && !tn_options_fill(&op->attrs, map, attrs, &error)) {
        TN_ASSERT_NO_ERROR(error);
        g_clear_pointer(&attrs, g_free);
    }
    return attrs;
}

static inline char *
ops_print(gint n, const TnType *types)
{
    GString *text = g_string_new(n == 0 ? "-" : NULL);
    for (gint i = 0; i < n; i++) {
        g_autofree char *type = tn_type_print(&types[i]);
        g_string_append_printf(text, "%s%s", i > 0 ? " ; " : "", type);
    }
    return g_string_free(text, FALSE);
}
