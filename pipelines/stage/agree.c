/* agree.c: what the two sides of a placed stage must agree upon, and what the edge between them
 * carries, as values that travel. */
#include "stage-private.h"

#include <tenon/version.h>

TnValue *
tn_placing_hello(const TnPlacing *placing, const char *stage, const TnContext *context)
{
    TnValue *hello = tn_value_map();
    g_autofree char *world =
        g_strdup_printf("%u of %u", tn_context_rank(context), tn_context_world(context));
    tn_value_set(hello, "program", tn_value_string(TN_VERSION));
    tn_value_set(hello, "config", tn_value_string(placing->digest));
    tn_value_set(hello, "stage", tn_value_string(stage));
    tn_value_set(hello, "world", tn_value_string(world));
    return hello;
}

TnValue *
tn_schema_to_value(const TnSchema *schema)
{
    TnValue *map = tn_value_map(), *fields = tn_value_list();
    for (guint i = 0; i < schema->n; i++) {
        TnValue *field = tn_value_map(), *shape = tn_value_list();
        for (gint k = 0; k < schema->types[i].rank; k++)
            tn_value_push(shape, tn_value_int(schema->types[i].dims[k]));
        tn_value_set(field, "name", tn_value_string(schema->names[i]));
        tn_value_set(field, "dtype", tn_value_string(tn_dtype_name(schema->types[i].dtype)));
        tn_value_set(field, "shape", shape);
        tn_value_push(fields, field);
    }
    tn_value_set(map, "fields", fields);
    tn_value_set(map, "length", tn_value_int(schema->length));
    tn_value_set(map, "samples", tn_value_int(schema->samples));
    return map;
}

static const TnValue *
item(const TnValue *map, const char *key, TnValueType type)
{
    const TnValue *value =
        map && tn_value_type(map) == TN_VALUE_MAP ? tn_value_get(map, key) : NULL;
    return value && tn_value_type(value) == type ? value : NULL;
}

static gboolean
read_field(const TnValue *field, const char **name, TnType *type)
{
    const TnValue *said = item(field, "name", TN_VALUE_STRING);
    const TnValue *dtype = item(field, "dtype", TN_VALUE_STRING);
    const TnValue *shape = item(field, "shape", TN_VALUE_LIST);
    if (!said || !dtype || !shape || tn_value_len(shape) > TN_MAX_RANK)
        return FALSE;
    *name = tn_intern(tn_value_get_string(said));
    type->dtype = tn_dtype_from_name(tn_value_get_string(dtype));
    type->rank = (gint32)tn_value_len(shape);
    for (gint k = 0; k < type->rank; k++) {
        const TnValue *size = tn_value_at(shape, (gsize)k);
        if (tn_value_type(size) != TN_VALUE_INT)
            return FALSE;
        type->dims[k] = tn_value_get_int(size);
    }
    return type->dtype != TN_DTYPE_NONE && tn_type_bytes(type) >= 0;
}

gboolean
tn_schema_from_value(const TnValue *value, TnSchema *schema)
{
    const TnValue *fields = item(value, "fields", TN_VALUE_LIST);
    const TnValue *length = item(value, "length", TN_VALUE_INT);
    const TnValue *samples = item(value, "samples", TN_VALUE_INT);
    *schema = (TnSchema){ 0 };
    if (!fields || !length || !samples || tn_value_len(fields) == 0 ||
        tn_value_len(fields) > TN_MAX_FIELDS || tn_value_get_int(length) < 0 ||
        tn_value_get_int(samples) < 0)
        return FALSE;
    schema->n = (guint)tn_value_len(fields);
    schema->length = tn_value_get_int(length);
    schema->samples = tn_value_get_int(samples);
    for (guint i = 0; i < schema->n; i++)
        if (!read_field(tn_value_at(fields, i), &schema->names[i], &schema->types[i]))
            return FALSE;
    return TRUE;
}

gsize
tn_schema_bytes(const TnSchema *schema)
{
    gsize bytes = 0;
    for (guint i = 0; i < schema->n; i++)
        bytes += (gsize)MAX(tn_type_bytes(&schema->types[i]), 0);
    return bytes;
}

gboolean
tn_schema_fits(const TnSchema *schema, guint n, TnTensor *const *tensors)
{
    if (n != schema->n)
        return FALSE;
    for (guint i = 0; i < n; i++) {
        const TnType *type = tensors[i] ? tn_tensor_type(tensors[i]) : NULL;
        const TnType *wanted = &schema->types[i];
        if (!type || type->dtype != wanted->dtype || type->rank != wanted->rank)
            return FALSE;
        for (gint k = 0; k < type->rank; k++)
            if (type->dims[k] > wanted->dims[k] || (k > 0 && type->dims[k] != wanted->dims[k]))
                return FALSE;
    }
    return TRUE;
}

char *
tn_schema_print(const TnSchema *schema)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < schema->n; i++) {
        g_autofree char *type = tn_type_print(&schema->types[i]);
        g_string_append_printf(text, "%s%s %s", i ? ", " : "", schema->names[i], type);
    }
    return g_string_free(text, FALSE);
}

gboolean
tn_request_check(const char *stage, const TnSchema *requests, const TnFrame *request,
                 GError **error)
{
    TnTensor *tensors[TN_MAX_FIELDS];
    TnSchema asked = { .n = tn_frame_n(request) };
    for (guint i = 0; i < asked.n; i++) {
        tensors[i] = tn_frame_tensor(request, i);
        asked.names[i] = i < requests->n ? requests->names[i] : "more";
        if (tensors[i])
            asked.types[i] = *tn_tensor_type(tensors[i]);
    }
    if (tn_schema_fits(requests, asked.n, tensors))
        return TRUE;
    g_autofree char *there = tn_schema_print(requests), *here = tn_schema_print(&asked);
    g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                "stage '%s' takes requests of %s (or less of the first size), this one has %s",
                stage, there, here);
    return FALSE;
}
