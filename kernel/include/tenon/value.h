/* value.h: the tree that a config evaluates to, before anything is created: values and specs
 * with their places.
 *
 * A value is immutable once it stands in a tree that others hold, except through
 * tn_value_assign (overrides), which the tree's only owner calls. Thread: any for reading. */
#pragma once

#include <tenon/status.h>

G_BEGIN_DECLS

typedef enum {
    TN_VALUE_NIL,
    TN_VALUE_BOOL,
    TN_VALUE_INT,
    TN_VALUE_UINT, /* only what does not fit TN_VALUE_INT */
    TN_VALUE_DOUBLE,
    TN_VALUE_STRING,
    TN_VALUE_LIST,
    TN_VALUE_MAP,  /* ordered */
    TN_VALUE_SPEC, /* a component */
    TN_VALUE_FUNC, /* a function of the host language, opaque here */
} TnValueType;

/* Where a value was written. file is interned, NULL if unknown; line from 1, 0 if unknown. */
typedef struct {
    const char *file;
    gint line;
} TnWhere;

/* (transfer full) each: one reference. */
TN_API TnValue *tn_value_nil(void);
TN_API TnValue *tn_value_bool(gboolean value);
TN_API TnValue *tn_value_int(gint64 value);
TN_API TnValue *tn_value_uint(guint64 value);
TN_API TnValue *tn_value_double(double value);
TN_API TnValue *tn_value_string(const char *value);
TN_API TnValue *tn_value_list(void);
TN_API TnValue *tn_value_map(void);
TN_API TnValue *tn_value_spec(TnSpec *spec); /* (transfer full) spec */
/* handle is whatever the host knows it by; destroy is called with the last reference. */
TN_API TnValue *tn_value_func(gpointer handle, GDestroyNotify destroy);
TN_API TnValue *tn_value_ref(TnValue *value);
TN_API void tn_value_unref(TnValue *value);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnValue, tn_value_unref)

TN_API TnValueType tn_value_type(const TnValue *value); /* NULL reads as nil */
/* "number", "string" … as a user would say it */
TN_API const char *tn_value_type_name(TnValueType type);
TN_API gboolean tn_value_get_bool(const TnValue *value);
TN_API gint64 tn_value_get_int(const TnValue *value);
TN_API guint64 tn_value_get_uint(const TnValue *value);
TN_API double tn_value_get_double(const TnValue *value); /* of any number */
TN_API const char *tn_value_get_string(const TnValue *value);
TN_API TnSpec *tn_value_get_spec(const TnValue *value); /* (transfer none) */
TN_API gpointer tn_value_get_func(const TnValue *value);
TN_API TnWhere tn_value_where(const TnValue *value);
TN_API void tn_value_set_where(TnValue *value, TnWhere where);

/* Lists and maps. Items given are (transfer full); items got are (transfer none). */
TN_API gsize tn_value_len(const TnValue *value);
TN_API void tn_value_push(TnValue *list, TnValue *item);
/* list item or map value; NULL beyond */
TN_API TnValue *tn_value_at(const TnValue *value, gsize i);
TN_API const char *tn_value_key_at(const TnValue *map, gsize i);
TN_API TnValue *tn_value_get(const TnValue *map, const char *key);      /* NULL if absent */
TN_API void tn_value_set(TnValue *map, const char *key, TnValue *item); /* replaces; nil removes */

/* --- Spec: {interface, component, options, place} --------------------------------------------- */

/* options: a new empty map. iface such as "tenon.device/1" and component such as "cpu". */
TN_API TnSpec *tn_spec_new(const char *iface, const char *component, TnWhere where);
TN_API TnSpec *tn_spec_ref(TnSpec *spec);
TN_API void tn_spec_unref(TnSpec *spec);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TnSpec, tn_spec_unref)
TN_API const char *tn_spec_iface(const TnSpec *spec);
TN_API const char *tn_spec_component(const TnSpec *spec);
TN_API TnWhere tn_spec_where(const TnSpec *spec);
TN_API TnValue *tn_spec_options(const TnSpec *spec); /* (transfer none): a map */

/* Follows a path such as "model.layers[3].out" (indices from 1) from value through maps, lists
 * and specs' options. NULL with *error (TN_ERROR_NOT_FOUND, names the step that fails and the
 * nearest key there) otherwise. (transfer none). */
TN_API TnValue *tn_value_find(const TnValue *value, const char *path, GError **error);
/* Sets what the path names (its parent must exist; a new last key is allowed: validation judges
 * it). item (transfer full). */
TN_API gboolean tn_value_assign(TnValue *root, const char *path, TnValue *item, GError **error);
/* Reads text as an override would be written: nil, true, false, a number, a quoted or bare
 * string, a {list, of, them}.
 */
TN_API TnValue *tn_value_parse(const char *text, GError **error);
/* The tree as text in the syntax of a config, keys sorted as written, for `tenon show` and
 * provenance. indent: columns before it; -1: on one line. (transfer full): g_free. */
TN_API char *tn_value_print(const TnValue *value, gint indent);
/* Structural hash and equality; functions by handle, places ignored. */
TN_API guint64 tn_value_hash(const TnValue *value);
TN_API gboolean tn_value_equal(const TnValue *a, const TnValue *b);
/* A deep copy (functions and strings shared). (transfer full). */
TN_API TnValue *tn_value_copy(const TnValue *value);

G_END_DECLS
