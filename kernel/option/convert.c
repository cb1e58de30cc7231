/* convert.c: a value becomes the member of a struct that a row describes, or a fault. */
#include <math.h>
#include <string.h>
#include <tenon/base.h>

#include "option/option-private.h"

/* One value on its way. */
typedef struct {
    TnFill *fill;
    const TnOption *row;
    const TnValue *value;
    TnWhere where;
    const char *path;
} Call;

/* --- Ownership -------------------------------------------------------------------------------- */

gpointer
tn_fill_own(TnFill *fill, gpointer object, GDestroyNotify destroy)
{
    TnOwned *owned = g_new(TnOwned, 1);
    *owned = (TnOwned){ object, destroy };
    g_ptr_array_add(fill->owned, owned);
    return object;
}

const char *
tn_fill_string(TnFill *fill, const char *text)
{
    return fill->owned ? tn_fill_own(fill, g_strdup(text), g_free) : tn_intern(text);
}

/* --- Faults ----------------------------------------------------------------------------------- */

/* Records "expected …, got …" and gives FALSE. hint may be NULL. */
static gboolean
refuse(const Call *call, const char *hint)
{
    g_autofree char *expected = tn_option_expected(call->row);
    const gboolean secret = call->row->flags & TN_OPTION_SECRET;
    g_autofree char *got = secret ? g_strdup("***") : tn_value_brief(call->value);
    tn_faults_add(call->fill->faults, call->where, call->path, "expected %s, got %s%s", expected,
                  got, hint ? hint : "");
    return FALSE;
}

/* --- Numbers ---------------------------------------------------------------------------------- */

#define OUTSIDE(x, low, high, flags)                                                               \
    ((x) < (low) || (x) > (high) || ((flags)&TN_OPTION_OPEN_MIN && (x) == (low)) ||                \
     ((flags)&TN_OPTION_OPEN_MAX && (x) == (high)))

/* A double that is a whole number which every neighbour of it is told from. */
static gboolean
is_whole(const TnValue *value)
{
    const double real = tn_value_get_double(value);
    return tn_value_type(value) == TN_VALUE_DOUBLE && fabs(real) <= 0x1p53 && floor(real) == real;
}

static gboolean
to_int64(const Call *call, void *to)
{
    const TnOption *row = call->row;
    if (tn_value_type(call->value) != TN_VALUE_INT && !is_whole(call->value))
        return refuse(call, NULL);
    const gint64 x = tn_value_get_int(call->value);
    if (row->min.i != row->max.i && OUTSIDE(x, row->min.i, row->max.i, row->flags))
        return refuse(call, NULL);
    *(gint64 *)to = x;
    return TRUE;
}

static gboolean
in_natural_range(const TnOption *row, guint64 x)
{
    const guint64 low = (guint64)row->min.i, high = (guint64)row->max.i;
    return low == high || !OUTSIDE(x, low, high, row->flags);
}

static gboolean
to_uint64(const Call *call, void *to)
{
    const TnValueType type = tn_value_type(call->value);
    if (type != TN_VALUE_INT && type != TN_VALUE_UINT && !is_whole(call->value))
        return refuse(call, NULL);
    const guint64 x = tn_value_get_uint(call->value);
    if (tn_value_get_double(call->value) < 0 || !in_natural_range(call->row, x))
        return refuse(call, NULL);
    *(guint64 *)to = x;
    return TRUE;
}

static gboolean
in_real_range(const TnOption *row, double x)
{
    return row->min.f == row->max.f || !OUTSIDE(x, row->min.f, row->max.f, row->flags);
}

static gboolean
is_number(const TnValue *value)
{
    const TnValueType type = tn_value_type(value);
    return type == TN_VALUE_INT || type == TN_VALUE_UINT || type == TN_VALUE_DOUBLE;
}

static gboolean
to_double(const Call *call, void *to)
{
    const double x = tn_value_get_double(call->value);
    const gboolean known = !isnan(x) || call->row->flags & TN_OPTION_NAN;
    if (!is_number(call->value) || !known || !in_real_range(call->row, x))
        return refuse(call, NULL);
    *(double *)to = x;
    return TRUE;
}

static gboolean
to_duration(const Call *call, void *to)
{
    const char *text = tn_value_get_string(call->value);
    double x = tn_value_get_double(call->value);
    if (text ? !tn_quantity_duration(text, &x) : !is_number(call->value))
        return refuse(call, NULL);
    /* Without bounds of its own a duration is not negative. */
    const gboolean bounded = call->row->min.f != call->row->max.f;
    if (isnan(x) || (bounded ? !in_real_range(call->row, x) : x < 0))
        return refuse(call, NULL);
    *(double *)to = x;
    return TRUE;
}

static gboolean
to_size(const Call *call, void *to)
{
    const char *text = tn_value_get_string(call->value);
    guint64 x;
    if (!text)
        return to_uint64(call, to);
    if (!tn_quantity_size(text, &x) || !in_natural_range(call->row, x))
        return refuse(call, NULL);
    *(guint64 *)to = x;
    return TRUE;
}

static gboolean
to_bool(const Call *call, void *to)
{
    if (tn_value_type(call->value) != TN_VALUE_BOOL)
        return refuse(call, NULL);
    *(gboolean *)to = tn_value_get_bool(call->value);
    return TRUE;
}

/* --- Names ------------------------------------------------------------------------------------ */

static gboolean
to_string(const Call *call, void *to)
{
    const char *text = tn_value_get_string(call->value);
    if (!text)
        return refuse(call, NULL);
    *(const char **)to = tn_fill_string(call->fill, text);
    return TRUE;
}

static gboolean
to_path(const Call *call, void *to)
{
    const char *text = tn_value_get_string(call->value);
    if (!text || !*text)
        return refuse(call, NULL);
    /* The config's file may have been named by a relative path itself. */
    g_autofree char *base =
        g_canonicalize_filename(call->fill->base_dir != NULL ? call->fill->base_dir : ".", NULL);
    g_autofree char *whole = g_canonicalize_filename(text, base);
    *(const char **)to = tn_fill_string(call->fill, whole);
    return TRUE;
}

/* Refuses a name that is no choice, with the nearest one. */
static gboolean
refuse_choice(const Call *call, const char *name)
{
    const gsize n = call->row->choices ? g_strv_length((GStrv)call->row->choices) : 0;
    const char *nearest = tn_nearest(name, call->row->choices, n);
    g_autofree char *hint = nearest ? g_strdup_printf(" (nearest: %s)", nearest) : NULL;
    return refuse(call, hint);
}

static gboolean
to_enum(const Call *call, void *to)
{
    const char *text = tn_value_get_string(call->value);
    if (!text)
        return refuse(call, NULL);
    const gint choice = tn_option_choice(call->row, text, strlen(text));
    if (choice < 0)
        return refuse_choice(call, text);
    *(gint *)to = choice;
    return TRUE;
}

/* Adds the bits of the choices in "a|b"; a text of nothing has none. */
static gboolean
add_flags(const Call *call, const char *text, guint32 *bits)
{
    g_auto(GStrv) names = g_strsplit(text, "|", -1);
    for (guint i = 0; names[i]; i++) {
        const char *name = g_strstrip(names[i]);
        const gint choice = tn_option_choice(call->row, name, strlen(name));
        if (choice < 0 || choice > 31)
            return refuse_choice(call, name);
        *bits |= 1u << choice;
    }
    return TRUE;
}

static gboolean
to_flags(const Call *call, void *to)
{
    const TnValue *value = call->value;
    const gboolean is_list = tn_value_type(value) == TN_VALUE_LIST;
    guint32 bits = 0;
    for (gsize i = 0; i < (is_list ? tn_value_len(value) : 1); i++) {
        const char *text = tn_value_get_string(is_list ? tn_value_at(value, i) : value);
        if (!text)
            return refuse(call, NULL);
        if (!add_flags(call, text, &bits))
            return FALSE;
    }
    *(guint32 *)to = bits;
    return TRUE;
}

/* --- Components and what is kept as it is ----------------------------------------------------- */

/* A component's name alone stands for it with its defaults. */
static TnSpec *
spec_of(const Call *call)
{
    TnSpec *spec = tn_value_get_spec(call->value);
    const char *name = tn_value_get_string(call->value);
    const char *iface = call->row->iface;
    if (spec && (!iface || strcmp(tn_spec_iface(spec), iface) == 0))
        return tn_fill_own(call->fill, tn_spec_ref(spec), (GDestroyNotify)tn_spec_unref);
    if (name && *name && iface)
        return tn_fill_own(call->fill, tn_spec_new(iface, name, call->where),
                           (GDestroyNotify)tn_spec_unref);
    return NULL;
}

static gboolean
to_component(const Call *call, void *to)
{
    TnSpec *spec = spec_of(call);
    if (!spec)
        return refuse(call, NULL);
    *(TnSpec **)to = spec;
    return TRUE;
}

static gboolean
to_value(const Call *call, void *to)
{
    if (call->row->type == TN_OPT_FUNCTION && tn_value_type(call->value) != TN_VALUE_FUNC)
        return refuse(call, NULL);
    *(const TnValue **)to = tn_fill_own(call->fill, tn_value_ref((TnValue *)call->value),
                                        (GDestroyNotify)tn_value_unref);
    return TRUE;
}

/* --- Lists ------------------------------------------------------------------------------------ */

/* What a list type's items are; a single one stands for a list of one. */
typedef struct {
    gsize item_size;
    TnOptionType item;
    gint most; /* items, which stand in the struct itself; 0: any number, elsewhere */
} ListType;

static const ListType list_types[] = {
    [TN_OPT_SHAPE] = { sizeof(gint64), TN_OPT_INT64, TN_MAX_RANK },
    [TN_OPT_INTS] = { sizeof(gint64), TN_OPT_INT64, TN_MAX_LIST },
    [TN_OPT_DOUBLES] = { sizeof(double), TN_OPT_DOUBLE, TN_MAX_LIST },
    [TN_OPT_STRINGS] = { sizeof(char *), TN_OPT_STRING, 0 },
    [TN_OPT_COMPONENTS] = { sizeof(TnSpec *), TN_OPT_COMPONENT, 0 },
    [TN_OPT_COMPONENT_MAP] = { sizeof(TnSpec *), TN_OPT_COMPONENT, 0 },
};

/* The row that an item of a list must fit. */
static TnOption
item_row(const TnOption *row)
{
    TnOption item = *row;
    item.type = list_types[row->type].item;
    item.flags &= ~(guint32)TN_OPTION_NULLABLE;
    item.min_items = item.max_items = 0;
    if (row->type == TN_OPT_SHAPE && item.min.i == item.max.i) {
        item.min.i = -1;
        item.max.i = G_MAXINT64;
    }
    return item;
}

static gboolean
is_right_number(const Call *call, const ListType *list, gsize n)
{
    const TnOption *row = call->row;
    return (list->most == 0 || n <= (gsize)list->most) && n <= G_MAXINT32 &&
           n >= (gsize)MAX(row->min_items, 0) &&
           (row->max_items <= 0 || n <= (gsize)row->max_items);
}

/* Puts n converted items where the row's type keeps them. items: owned by the fill if the type
 * keeps a pointer to them. */
static void
put_list(const Call *call, gsize n, gpointer items, const char **names, void *to)
{
    switch (call->row->type) {
    case TN_OPT_SHAPE:
        ((TnShape *)to)->rank = (gint32)n;
        memcpy(((TnShape *)to)->dims, items, n * sizeof(gint64));
        break;
    case TN_OPT_INTS:
        ((TnInts *)to)->n = (gint32)n;
        memcpy(((TnInts *)to)->v, items, n * sizeof(gint64));
        break;
    case TN_OPT_DOUBLES:
        ((TnDoubles *)to)->n = (gint32)n;
        memcpy(((TnDoubles *)to)->v, items, n * sizeof(double));
        break;
    case TN_OPT_STRINGS: *(TnStrings *)to = (TnStrings){ (gint32)n, items }; break;
    default: *(TnSpecs *)to = (TnSpecs){ (gint32)n, names, items }; break;
    }
}

static gboolean
is_table(const TnValue *value)
{
    return tn_value_type(value) == TN_VALUE_LIST || tn_value_type(value) == TN_VALUE_MAP;
}

/* Converts each item under its own path. */
static gboolean
convert_items(const Call *call, const ListType *list, gsize n, char *items)
{
    const gboolean many = is_table(call->value);
    const TnOption row = item_row(call->row);
    gboolean ok = TRUE;
    for (gsize i = 0; i < n; i++) {
        const char *key = tn_value_key_at(call->value, i);
        const TnValue *item = many ? tn_value_at(call->value, i) : call->value;
        const TnWhere where = tn_value_where(item);
        g_autofree char *path = !many ? g_strdup(call->path)
                                : key ? tn_path_key(call->path, key)
                                      : tn_path_index(call->path, i + 1);
        ok = tn_convert(call->fill, &row, item, where.line > 0 ? where : call->where, path,
                        items + i * list->item_size) &&
             ok;
    }
    return ok;
}

static const char **
own_names(const Call *call, gsize n)
{
    const char **names = tn_fill_own(call->fill, g_new0(const char *, n + 1), g_free);
    for (gsize i = 0; i < n; i++)
        names[i] = tn_fill_string(call->fill, tn_value_key_at(call->value, i));
    return names;
}

static gboolean
to_list(const Call *call, void *to)
{
    const ListType *list = &list_types[call->row->type];
    const gboolean named = call->row->type == TN_OPT_COMPONENT_MAP;
    const gsize n = is_table(call->value) ? tn_value_len(call->value) : 1;
    const gboolean is_map = tn_value_type(call->value) == TN_VALUE_MAP;
    /* An empty table is as much a list as a map. */
    if ((n > 0 && named != is_map) || !is_right_number(call, list, n))
        return refuse(call, NULL);
    gint64 in_place[TN_MAX_LIST];
    gpointer items = in_place;
    if (list->most == 0)
        items = tn_fill_own(call->fill, g_malloc0_n(n + 1, list->item_size), g_free);
    if (!convert_items(call, list, n, items))
        return FALSE;
    put_list(call, n, items, named ? own_names(call, n) : NULL, to);
    return TRUE;
}

/* --- The table of types ----------------------------------------------------------------------- */

typedef struct {
    gboolean (*convert)(const Call *call, void *to);
    gboolean owns; /* its memory belongs to a TnConfig; a bare struct cannot have it */
} TypeRow;

static const TypeRow types[] = {
    [TN_OPT_BOOL] = { to_bool, FALSE },          [TN_OPT_INT64] = { to_int64, FALSE },
    [TN_OPT_UINT64] = { to_uint64, FALSE },      [TN_OPT_DOUBLE] = { to_double, FALSE },
    [TN_OPT_STRING] = { to_string, FALSE },      [TN_OPT_PATH] = { to_path, FALSE },
    [TN_OPT_ENUM] = { to_enum, FALSE },          [TN_OPT_FLAGS] = { to_flags, FALSE },
    [TN_OPT_DURATION] = { to_duration, FALSE },  [TN_OPT_SIZE] = { to_size, FALSE },
    [TN_OPT_SHAPE] = { to_list, FALSE },         [TN_OPT_INTS] = { to_list, FALSE },
    [TN_OPT_DOUBLES] = { to_list, FALSE },       [TN_OPT_STRINGS] = { to_list, TRUE },
    [TN_OPT_COMPONENT] = { to_component, TRUE }, [TN_OPT_COMPONENTS] = { to_list, TRUE },
    [TN_OPT_COMPONENT_MAP] = { to_list, TRUE },  [TN_OPT_FUNCTION] = { to_value, TRUE },
    [TN_OPT_VALUE] = { to_value, TRUE },
};

gboolean
tn_convert(TnFill *fill, const TnOption *row, const TnValue *value, TnWhere where, const char *path,
           void *to)
{
    const Call call = { fill, row, value, where, path };
    const TypeRow *type = (guint)row->type < G_N_ELEMENTS(types) ? &types[row->type] : NULL;
    if (!type || !type->convert || (type->owns && !fill->owned)) {
        tn_faults_add(fill->faults, where, path, "cannot be written in a config");
        return FALSE;
    }
    return type->convert(&call, to);
}

/* --- Defaults --------------------------------------------------------------------------------- */

static gboolean
is_text(TnOptionType type)
{
    return type == TN_OPT_STRING || type == TN_OPT_PATH || type == TN_OPT_ENUM ||
           type == TN_OPT_FLAGS;
}

TnValue *
tn_option_default(const TnOption *row)
{
    if (!row->dflt)
        return NULL;
    /* Text needs no quotes, even where it looks like a number. */
    if (is_text(row->type) && !strchr("{\"'", *row->dflt))
        return tn_value_string(row->dflt);
    g_autoptr(GError) error = NULL;
    TnValue *value = tn_value_parse(row->dflt, &error);
    if (!value)
        g_critical("option %s: its default is no value: %s", row->name, error->message);
    return value;
}
