/* get.c: members of option structs as values. */
#include <tenon/graph.h>

#include "option/option-private.h"

static TnValue *
numbers_value(gint n, const gint64 *integers, const double *reals)
{
    TnValue *list = tn_value_list();
    for (gint i = 0; i < n; i++)
        tn_value_push(list, integers ? tn_value_int(integers[i]) : tn_value_double(reals[i]));
    return list;
}

static TnValue *
flags_value(const TnOption *row, guint32 bits)
{
    TnValue *list = tn_value_list();
    for (guint i = 0; i < 32 && row->choices && row->choices[i]; i++)
        if (bits >> i & 1)
            tn_value_push(list, tn_value_string(row->choices[i]));
    return list;
}

static TnValue *
specs_value(const TnSpecs *specs, gboolean named)
{
    TnValue *value = named ? tn_value_map() : tn_value_list();
    for (gint i = 0; i < specs->n; i++) {
        TnValue *spec = tn_value_spec(tn_spec_ref(specs->v[i]));
        if (named)
            tn_value_set(value, specs->names[i], spec);
        else
            tn_value_push(value, spec);
    }
    return value;
}

static TnValue *
strings_value(const TnStrings *strings)
{
    TnValue *list = tn_value_list();
    for (gint i = 0; i < strings->n; i++)
        tn_value_push(list, tn_value_string(strings->v[i]));
    return list;
}

static TnValue *
enum_value(const TnOption *row, gint choice)
{
    const gint n = row->choices ? (gint)g_strv_length((GStrv)row->choices) : 0;
    return choice >= 0 && choice < n ? tn_value_string(row->choices[choice]) : tn_value_int(choice);
}

/* What has no notation in a config becomes a word. */
static TnValue *
object_value(const TnOption *row, gpointer object)
{
    g_autofree char *text = NULL;
    if (!object)
        return tn_value_nil();
    switch (row->type) {
    case TN_OPT_COMPONENT: return tn_value_spec(tn_spec_ref(object));
    case TN_OPT_FUNCTION:
    case TN_OPT_VALUE: return tn_value_ref(object);
    case TN_OPT_TENSOR: text = tn_tensor_print(object); break;
    default:
        text = g_strdup_printf("graph %016" G_GINT64_MODIFIER "x", tn_graph_digest(object));
        break;
    }
    return tn_value_string(text);
}

TnValue *
tn_option_get(const TnOption *row, const void *data)
{
    const void *member = (const char *)data + row->offset;
    switch (row->type) {
    case TN_OPT_BOOL: return tn_value_bool(*(const gboolean *)member);
    case TN_OPT_INT64: return tn_value_int(*(const gint64 *)member);
    case TN_OPT_UINT64:
    case TN_OPT_SIZE: return tn_value_uint(*(const guint64 *)member);
    case TN_OPT_DOUBLE:
    case TN_OPT_DURATION: return tn_value_double(*(const double *)member);
    case TN_OPT_STRING:
    case TN_OPT_PATH:
        return *(const char *const *)member ? tn_value_string(*(const char *const *)member)
                                            : tn_value_nil();
    case TN_OPT_ENUM: return enum_value(row, *(const gint *)member);
    case TN_OPT_FLAGS: return flags_value(row, *(const guint32 *)member);
    case TN_OPT_SHAPE:
        return numbers_value(((const TnShape *)member)->rank, ((const TnShape *)member)->dims,
                             NULL);
    case TN_OPT_INTS:
        return numbers_value(((const TnInts *)member)->n, ((const TnInts *)member)->v, NULL);
    case TN_OPT_DOUBLES:
        return numbers_value(((const TnDoubles *)member)->n, NULL, ((const TnDoubles *)member)->v);
    case TN_OPT_STRINGS: return strings_value(member);
    case TN_OPT_COMPONENTS:
    case TN_OPT_COMPONENT_MAP: return specs_value(member, row->type == TN_OPT_COMPONENT_MAP);
    case TN_OPT_GROUP: {
        TnValue *map = tn_value_map();
        for (guint32 i = 0; i < row->n_sub; i++)
            tn_value_set(map, row->sub[i].name, tn_option_get(&row->sub[i], member));
        return map;
    }
    default: return object_value(row, *(gpointer const *)member);
    }
}
