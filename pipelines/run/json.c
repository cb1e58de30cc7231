/* json.c: values to JSON text and back, through jansson, which nothing outside this file sees. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include <tenon/run.h>

/* Nesting beyond this is refused rather than followed: state and provenance need less than ten. */
#define MAX_DEPTH 128

static json_t *
to_json_double(double value)
{
    if (isnan(value))
        return json_string("nan");
    if (isinf(value))
        return json_string(value > 0 ? "inf" : "-inf");
    return json_real(value);
}

static json_t *
to_json_string(const char *text)
{
    json_t *json = json_string(text);
    if (json)
        return json;
    /* Not UTF-8: what a terminal or a file name held; kept readable. */
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    return json_string(valid);
}

static json_t *to_json(const TnValue *value, guint depth);

static json_t *
to_json_list(const TnValue *value, guint depth)
{
    json_t *list = json_array();
    for (gsize i = 0; i < tn_value_len(value); i++)
        json_array_append_new(list, to_json(tn_value_at(value, i), depth));
    return list;
}

static json_t *
to_json_map(const TnValue *value, guint depth)
{
    json_t *map = json_object();
    for (gsize i = 0; i < tn_value_len(value); i++) {
        g_autofree char *key = g_utf8_make_valid(tn_value_key_at(value, i), -1);
        json_object_set_new(map, key, to_json(tn_value_at(value, i), depth));
    }
    return map;
}

static json_t *
to_json_spec(const TnSpec *spec, guint depth)
{
    json_t *map = json_object();
    json_object_set_new(map, "interface", to_json_string(tn_spec_iface(spec)));
    json_object_set_new(map, "component", to_json_string(tn_spec_component(spec)));
    json_object_set_new(map, "options", to_json(tn_spec_options(spec), depth));
    return map;
}

static json_t *
to_json(const TnValue *value, guint depth)
{
    if (depth > MAX_DEPTH)
        return json_string("...");
    switch (tn_value_type(value)) {
    case TN_VALUE_BOOL: return json_boolean(tn_value_get_bool(value));
    case TN_VALUE_INT: return json_integer(tn_value_get_int(value));
    case TN_VALUE_UINT: { /* jansson's integers are signed: as text, exact */
        char text[24];
        g_snprintf(text, sizeof text, "%" G_GUINT64_FORMAT, tn_value_get_uint(value));
        return json_string(text);
    }
    case TN_VALUE_DOUBLE: return to_json_double(tn_value_get_double(value));
    case TN_VALUE_STRING: return to_json_string(tn_value_get_string(value));
    case TN_VALUE_LIST: return to_json_list(value, depth + 1);
    case TN_VALUE_MAP: return to_json_map(value, depth + 1);
    case TN_VALUE_SPEC: return to_json_spec(tn_value_get_spec(value), depth + 1);
    case TN_VALUE_FUNC: return json_string("<function>");
    case TN_VALUE_NIL: break;
    }
    return json_null();
}

char *
tn_json_print(const TnValue *value, gboolean pretty)
{
    json_t *json = to_json(value, 0);
    size_t flags =
        JSON_ENCODE_ANY | JSON_REAL_PRECISION(17) | (pretty ? JSON_INDENT(2) : JSON_COMPACT);
    char *dumped = json_dumps(json, flags);
    char *text = g_strdup(dumped ? dumped : "null");
    free(dumped);
    json_decref(json);
    return text;
}

static TnValue *
from_json(const json_t *json)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT: {
        TnValue *map = tn_value_map();
        const char *key;
        json_t *item;
        json_object_foreach((json_t *)json, key, item) tn_value_set(map, key, from_json(item));
        return map;
    }
    case JSON_ARRAY: {
        TnValue *list = tn_value_list();
        for (size_t i = 0; i < json_array_size(json); i++)
            tn_value_push(list, from_json(json_array_get(json, i)));
        return list;
    }
    case JSON_STRING: return tn_value_string(json_string_value(json));
    case JSON_INTEGER: return tn_value_int(json_integer_value(json));
    case JSON_REAL: return tn_value_double(json_real_value(json));
    case JSON_TRUE: return tn_value_bool(TRUE);
    case JSON_FALSE: return tn_value_bool(FALSE);
    case JSON_NULL: break;
    }
    return tn_value_nil();
}

TnValue *
tn_json_parse(const char *text, gsize size, GError **error)
{
    json_error_t at;
    json_t *json = json_loadb(text, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &at);
    if (!json) {
        g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT, "JSON line %d, column %d: %s", at.line,
                    at.column, at.text);
        return NULL;
    }
    TnValue *value = from_json(json);
    json_decref(json);
    return value;
}
