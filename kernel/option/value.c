/* value.c: values: counted, typed, with the place they were written at. */
#include <math.h>
#include <string.h>

#include "option/option-private.h"

struct TnValue {
    TnRefs refs;
    TnValueType type;
    TnWhere where;
    union {
        gboolean boolean;
        gint64 integer;
        guint64 natural;
        double real;
        char *string;
        TnSpec *spec;
        struct {
            gpointer handle;
            GDestroyNotify destroy;
        } func;
        struct {
            GPtrArray *items; /* TnValue * */
            GPtrArray *keys;  /* char *; NULL in a list */
        } many;
    } as;
};

/* --- Making ----------------------------------------------------------------------------------- */

static TnValue *
make(TnValueType type)
{
    TnValue *value = g_new0(TnValue, 1);
    tn_refs_init(&value->refs);
    value->type = type;
    return value;
}

TnValue *
tn_value_nil(void)
{
    return make(TN_VALUE_NIL);
}

TnValue *
tn_value_bool(gboolean boolean)
{
    TnValue *value = make(TN_VALUE_BOOL);
    value->as.boolean = boolean ? TRUE : FALSE;
    return value;
}

TnValue *
tn_value_int(gint64 integer)
{
    TnValue *value = make(TN_VALUE_INT);
    value->as.integer = integer;
    return value;
}

TnValue *
tn_value_uint(guint64 natural)
{
    if (natural <= G_MAXINT64)
        return tn_value_int((gint64)natural);
    TnValue *value = make(TN_VALUE_UINT);
    value->as.natural = natural;
    return value;
}

TnValue *
tn_value_double(double real)
{
    TnValue *value = make(TN_VALUE_DOUBLE);
    value->as.real = real;
    return value;
}

TnValue *
tn_value_string(const char *string)
{
    TnValue *value = make(TN_VALUE_STRING);
    value->as.string = g_strdup(string ? string : "");
    return value;
}

TnValue *
tn_value_list(void)
{
    TnValue *value = make(TN_VALUE_LIST);
    value->as.many.items = g_ptr_array_new_with_free_func((GDestroyNotify)tn_value_unref);
    return value;
}

TnValue *
tn_value_map(void)
{
    TnValue *value = tn_value_list();
    value->type = TN_VALUE_MAP;
    value->as.many.keys = g_ptr_array_new_with_free_func(g_free);
    return value;
}

TnValue *
tn_value_spec(TnSpec *spec)
{
    TnValue *value = make(TN_VALUE_SPEC);
    value->as.spec = spec;
    value->where = tn_spec_where(spec);
    return value;
}

TnValue *
tn_value_func(gpointer handle, GDestroyNotify destroy)
{
    TnValue *value = make(TN_VALUE_FUNC);
    value->as.func.handle = handle;
    value->as.func.destroy = destroy;
    return value;
}

TnValue *
tn_value_ref(TnValue *value)
{
    tn_refs_inc(&value->refs);
    return value;
}

void
tn_value_unref(TnValue *value)
{
    if (!value || !tn_refs_dec(&value->refs))
        return;
    switch (value->type) {
    case TN_VALUE_STRING: g_free(value->as.string); break;
    case TN_VALUE_SPEC: tn_spec_unref(value->as.spec); break;
    case TN_VALUE_FUNC:
        if (value->as.func.destroy)
            value->as.func.destroy(value->as.func.handle);
        break;
    case TN_VALUE_LIST:
    case TN_VALUE_MAP:
        g_ptr_array_unref(value->as.many.items);
        g_clear_pointer(&value->as.many.keys, g_ptr_array_unref);
        break;
    default: break;
    }
    g_free(value);
}

/* --- Reading ---------------------------------------------------------------------------------- */

TnValueType
tn_value_type(const TnValue *value)
{
    return value ? value->type : TN_VALUE_NIL;
}

const char *
tn_value_type_name(TnValueType type)
{
    static const char *const names[] = {
        [TN_VALUE_NIL] = "nil",       [TN_VALUE_BOOL] = "boolean",  [TN_VALUE_INT] = "integer",
        [TN_VALUE_UINT] = "integer",  [TN_VALUE_DOUBLE] = "number", [TN_VALUE_STRING] = "string",
        [TN_VALUE_LIST] = "list",     [TN_VALUE_MAP] = "table",     [TN_VALUE_SPEC] = "component",
        [TN_VALUE_FUNC] = "function",
    };
    return (guint)type < G_N_ELEMENTS(names) ? names[type] : "unknown";
}

gboolean
tn_value_get_bool(const TnValue *value)
{
    return tn_value_type(value) == TN_VALUE_BOOL && value->as.boolean;
}

/* Of another number: the nearest that the type holds. Of anything else: 0. */
gint64
tn_value_get_int(const TnValue *value)
{
    gint64 integer = 0;
    switch (tn_value_type(value)) {
    case TN_VALUE_INT: return value->as.integer;
    case TN_VALUE_UINT: return G_MAXINT64;
    case TN_VALUE_DOUBLE:
        tn_dtype_convert(TN_DTYPE_I64, &integer, 1, TN_DTYPE_F64, &value->as.real, 1, 1);
        return integer;
    default: return 0;
    }
}

guint64
tn_value_get_uint(const TnValue *value)
{
    guint64 natural = 0;
    switch (tn_value_type(value)) {
    case TN_VALUE_INT: return (guint64)MAX(value->as.integer, 0);
    case TN_VALUE_UINT: return value->as.natural;
    case TN_VALUE_DOUBLE:
        tn_dtype_convert(TN_DTYPE_U64, &natural, 1, TN_DTYPE_F64, &value->as.real, 1, 1);
        return natural;
    default: return 0;
    }
}

double
tn_value_get_double(const TnValue *value)
{
    switch (tn_value_type(value)) {
    case TN_VALUE_INT: return (double)value->as.integer;
    case TN_VALUE_UINT: return (double)value->as.natural;
    case TN_VALUE_DOUBLE: return value->as.real;
    default: return 0;
    }
}

const char *
tn_value_get_string(const TnValue *value)
{
    return tn_value_type(value) == TN_VALUE_STRING ? value->as.string : NULL;
}

TnSpec *
tn_value_get_spec(const TnValue *value)
{
    return tn_value_type(value) == TN_VALUE_SPEC ? value->as.spec : NULL;
}

gpointer
tn_value_get_func(const TnValue *value)
{
    return tn_value_type(value) == TN_VALUE_FUNC ? value->as.func.handle : NULL;
}

TnWhere
tn_value_where(const TnValue *value)
{
    return value ? value->where : (TnWhere){ NULL, 0 };
}

void
tn_value_set_where(TnValue *value, TnWhere where)
{
    value->where = where;
}

/* --- Lists and maps --------------------------------------------------------------------------- */

static gboolean
has_items(const TnValue *value)
{
    return tn_value_type(value) == TN_VALUE_LIST || tn_value_type(value) == TN_VALUE_MAP;
}

gsize
tn_value_len(const TnValue *value)
{
    return has_items(value) ? value->as.many.items->len : 0;
}

void
tn_value_push(TnValue *list, TnValue *item)
{
    g_return_if_fail(tn_value_type(list) == TN_VALUE_LIST && item);
    g_ptr_array_add(list->as.many.items, item);
}

void
tn_value_replace_at(TnValue *list, gsize i, TnValue *item)
{
    GPtrArray *items = list->as.many.items;
    tn_value_unref(g_ptr_array_index(items, i));
    g_ptr_array_index(items, i) = item;
}

TnValue *
tn_value_at(const TnValue *value, gsize i)
{
    return i < tn_value_len(value) ? g_ptr_array_index(value->as.many.items, i) : NULL;
}

const char *
tn_value_key_at(const TnValue *map, gsize i)
{
    if (tn_value_type(map) != TN_VALUE_MAP || i >= map->as.many.keys->len)
        return NULL;
    return g_ptr_array_index(map->as.many.keys, i);
}

/* The position of key; the length if it is absent. */
static guint
find(const TnValue *map, const char *key)
{
    const GPtrArray *keys = map->as.many.keys;
    guint i = 0;
    while (i < keys->len && strcmp(g_ptr_array_index(keys, i), key) != 0)
        i++;
    return i;
}

TnValue *
tn_value_get(const TnValue *map, const char *key)
{
    return tn_value_type(map) == TN_VALUE_MAP ? tn_value_at(map, find(map, key)) : NULL;
}

void
tn_value_set(TnValue *map, const char *key, TnValue *item)
{
    g_return_if_fail(tn_value_type(map) == TN_VALUE_MAP);
    GPtrArray *items = map->as.many.items, *keys = map->as.many.keys;
    const guint i = find(map, key);
    if (tn_value_type(item) == TN_VALUE_NIL) {
        tn_value_unref(item);
        if (i < items->len) {
            g_ptr_array_remove_index(items, i);
            g_ptr_array_remove_index(keys, i);
        }
    } else if (i < items->len) {
        tn_value_unref(g_ptr_array_index(items, i));
        g_ptr_array_index(items, i) = item;
    } else {
        g_ptr_array_add(items, item);
        g_ptr_array_add(keys, g_strdup(key));
    }
}

/* --- Whole trees ------------------------------------------------------------------------------ */

static guint64
hash_uint(guint64 hash, guint64 number)
{
    return tn_hash(hash, &number, sizeof number);
}

static guint64
hash_items(guint64 hash, const TnValue *value)
{
    guint64 sum = 0;
    for (gsize i = 0; i < tn_value_len(value); i++) {
        const char *key = tn_value_key_at(value, i);
        const guint64 item = tn_value_hash(tn_value_at(value, i));
        if (key) /* the order of keys does not count */
            sum += tn_random_stream(key) * (item | 1);
        else
            hash = hash_uint(hash, item);
    }
    return hash_uint(hash, sum);
}

guint64
tn_value_hash(const TnValue *value)
{
    const TnValueType type = tn_value_type(value);
    guint64 hash = hash_uint(TN_HASH_INIT, (guint64)type);
    switch (type) {
    case TN_VALUE_NIL: return hash;
    case TN_VALUE_BOOL: return hash_uint(hash, (guint64)value->as.boolean);
    case TN_VALUE_INT: return hash_uint(hash, (guint64)value->as.integer);
    case TN_VALUE_UINT: return hash_uint(hash, value->as.natural);
    case TN_VALUE_DOUBLE: return tn_hash(hash, &value->as.real, sizeof value->as.real);
    case TN_VALUE_STRING: return tn_hash(hash, value->as.string, strlen(value->as.string));
    case TN_VALUE_FUNC: return hash_uint(hash, (guint64)(guintptr)value->as.func.handle);
    case TN_VALUE_SPEC:
        hash = hash_uint(hash, tn_random_stream(tn_spec_iface(value->as.spec)));
        hash = hash_uint(hash, tn_random_stream(tn_spec_component(value->as.spec)));
        return hash_uint(hash, tn_value_hash(tn_spec_options(value->as.spec)));
    default: return hash_items(hash, value);
    }
}

static gboolean
equal_items(const TnValue *a, const TnValue *b)
{
    if (tn_value_len(a) != tn_value_len(b))
        return FALSE;
    for (gsize i = 0; i < tn_value_len(a); i++) {
        const char *key = tn_value_key_at(a, i);
        const TnValue *other = key ? tn_value_get(b, key) : tn_value_at(b, i);
        if (!other || !tn_value_equal(tn_value_at(a, i), other))
            return FALSE;
    }
    return TRUE;
}

gboolean
tn_value_equal(const TnValue *a, const TnValue *b)
{
    const TnValueType type = tn_value_type(a);
    if (a == b)
        return TRUE;
    if (type != tn_value_type(b))
        return FALSE;
    switch (type) {
    case TN_VALUE_NIL: return TRUE;
    case TN_VALUE_BOOL: return a->as.boolean == b->as.boolean;
    case TN_VALUE_INT: return a->as.integer == b->as.integer;
    case TN_VALUE_UINT: return a->as.natural == b->as.natural;
    case TN_VALUE_DOUBLE: /* by bits: a NaN equals itself, as in a hash */
        return memcmp(&a->as.real, &b->as.real, sizeof a->as.real) == 0;
    case TN_VALUE_STRING: return strcmp(a->as.string, b->as.string) == 0;
    case TN_VALUE_FUNC: return a->as.func.handle == b->as.func.handle;
    case TN_VALUE_SPEC:
        return strcmp(tn_spec_iface(a->as.spec), tn_spec_iface(b->as.spec)) == 0 &&
               strcmp(tn_spec_component(a->as.spec), tn_spec_component(b->as.spec)) == 0 &&
               tn_value_equal(tn_spec_options(a->as.spec), tn_spec_options(b->as.spec));
    default: return equal_items(a, b);
    }
}

static TnSpec *
copy_spec(const TnSpec *spec)
{
    TnSpec *copied = tn_spec_new(tn_spec_iface(spec), tn_spec_component(spec), tn_spec_where(spec));
    const TnValue *options = tn_spec_options(spec);
    for (gsize i = 0; i < tn_value_len(options); i++)
        tn_value_set(tn_spec_options(copied), tn_value_key_at(options, i),
                     tn_value_copy(tn_value_at(options, i)));
    return copied;
}

TnValue *
tn_value_copy(const TnValue *value)
{
    const TnValueType type = tn_value_type(value);
    if (!value)
        return tn_value_nil();
    /* What cannot change may be the same object; but its place may be set, so only functions, whose
     * handle has one owner, are. */
    TnValue *copied = type == TN_VALUE_FUNC ? tn_value_ref((TnValue *)value) : NULL;
    if (type == TN_VALUE_STRING)
        copied = tn_value_string(value->as.string);
    else if (type == TN_VALUE_SPEC)
        copied = tn_value_spec(copy_spec(value->as.spec));
    else if (has_items(value)) {
        copied = type == TN_VALUE_MAP ? tn_value_map() : tn_value_list();
        for (gsize i = 0; i < tn_value_len(value); i++) {
            g_ptr_array_add(copied->as.many.items, tn_value_copy(tn_value_at(value, i)));
            if (type == TN_VALUE_MAP)
                g_ptr_array_add(copied->as.many.keys, g_strdup(tn_value_key_at(value, i)));
        }
    } else if (!copied) {
        copied = make(type);
        copied->as = value->as;
    }
    copied->where = value->where;
    return copied;
}
