/* spec-check.c: judges a tree of specs without creating anything: each one's factory must exist,
 * its options must fit, and the specs among its options are judged in turn. */
#include "option/option-private.h"
#include "plugin-private.h"

#include <string.h>

#define SEARCH_PREFIX "tenon.search/"

static void check_rows(const TnOption *rows, guint32 row_size, guint32 n, const TnValue *map,
                       const char *path, TnFaults *faults);

/* A value where a component is wanted. What is not a spec of the interface was said by the parser
 * already. */
static void
check_component(const TnOption *row, const TnValue *value, const char *path, TnFaults *faults)
{
    const char *name = tn_value_get_string(value);
    if (name != NULL && row->iface != NULL) { /* its name alone: with its defaults */
        g_autoptr(TnSpec) plain = tn_spec_new(row->iface, name, tn_value_where(value));
        tn_spec_check(plain, path, faults);
        return;
    }
    if (tn_value_type(value) != TN_VALUE_SPEC)
        return;
    const TnSpec *spec = tn_value_get_spec(value);
    const char *iface = tn_spec_iface(spec);
    /* A mark of a search stands for values to come. */
    if (g_str_has_prefix(iface, SEARCH_PREFIX))
        return;
    if (row->iface == NULL || strcmp(row->iface, iface) == 0)
        tn_spec_check(spec, path, faults);
}

/* Options of item i that name another item of the map must name one that is there. */
static void
check_siblings(const TnValue *map, gsize i, const char *path, TnFaults *faults)
{
    const TnValue *item = tn_value_at(map, i);
    const TnSpec *spec = tn_value_type(item) == TN_VALUE_SPEC ? tn_value_get_spec(item) : NULL;
    const TnFactory *factory =
        spec ? tn_registry_find(tn_spec_iface(spec), tn_spec_component(spec), NULL) : NULL;
    const TnOptions *rows = factory ? &factory->options : NULL;
    for (guint32 k = 0; rows && k < rows->n; k++) {
        const TnOption *row = tn_options_row(rows, k);
        const TnValue *value =
            row->flags & TN_OPTION_SIBLING ? tn_value_get(tn_spec_options(spec), row->name) : NULL;
        const char *name = value ? tn_value_get_string(value) : NULL;
        if (!name || !*name || tn_value_get(map, name))
            continue;
        const TnWhere where = tn_value_where(value);
        g_autofree char *below = tn_path_key(path, row->name);
        g_autoptr(GPtrArray) names = g_ptr_array_new();
        for (gsize n = 0; n < tn_value_len(map); n++)
            if (n != i)
                g_ptr_array_add(names, (gpointer)tn_value_key_at(map, n));
        const char *near = tn_nearest(name, (const char *const *)names->pdata, names->len);
        g_ptr_array_add(names, NULL);
        g_autofree char *there = g_strjoinv(", ", (char **)names->pdata);
        const TnWhere line = where.file ? where : tn_spec_where(spec);
        if (near)
            tn_faults_add(faults, line, below, "there is no '%s'; did you mean '%s'?", name, near);
        else
            tn_faults_add(faults, line, below, "there is no '%s'; beside it there is %s", name,
                          *there ? there : "nothing");
    }
}

static void
check_components(const TnOption *row, const TnValue *value, const char *path, TnFaults *faults)
{
    const gboolean is_map = tn_value_type(value) == TN_VALUE_MAP;
    if (!is_map && tn_value_type(value) != TN_VALUE_LIST) {
        check_component(row, value, path, faults);
        return;
    }
    for (gsize i = 0; i < tn_value_len(value); i++) {
        g_autofree char *item =
            is_map ? tn_path_key(path, tn_value_key_at(value, i)) : tn_path_index(path, i + 1);
        check_component(row, tn_value_at(value, i), item, faults);
        if (is_map)
            check_siblings(value, i, item, faults);
    }
}

static void
check_row(const TnOption *row, guint32 row_size, const TnValue *value, const char *path,
          TnFaults *faults)
{
    switch (row->type) {
    case TN_OPT_COMPONENT: check_component(row, value, path, faults); break;
    case TN_OPT_COMPONENTS:
    case TN_OPT_COMPONENT_MAP: check_components(row, value, path, faults); break;
    case TN_OPT_GROUP:
        if (tn_value_type(value) == TN_VALUE_MAP)
            check_rows(row->sub, row_size, row->n_sub, value, path, faults);
        break;
    default: break;
    }
}

static void
check_rows(const TnOption *rows, guint32 row_size, guint32 n, const TnValue *map, const char *path,
           TnFaults *faults)
{
    guint position = 0;
    for (guint32 i = 0; i < n; i++) {
        const TnOption *row = (const TnOption *)((const char *)rows + (gsize)i * row_size);
        const TnValue *value = tn_value_get(map, row->name);
        if (value == NULL && row->was != NULL)
            value = tn_value_get(map, row->was);
        if (row->flags & TN_OPTION_POSITIONAL) {
            g_autofree char *number = g_strdup_printf("%u", ++position);
            value = value != NULL ? value : tn_value_get(map, number);
        }
        if (value == NULL)
            continue;
        g_autofree char *below = tn_path_key(path, row->name);
        check_row(row, row_size, value, below, faults);
    }
}

gboolean
tn_spec_check(const TnSpec *spec, const char *path, TnFaults *faults)
{
    g_return_val_if_fail(spec != NULL && faults != NULL, FALSE);
    const gsize before = tn_faults_count(faults);
    const TnWhere where = tn_spec_where(spec);
    const TnValue *options = tn_spec_options(spec);
    g_autoptr(GError) error = NULL;
    const TnFactory *factory =
        tn_registry_find(tn_spec_iface(spec), tn_spec_component(spec), &error);
    if (factory == NULL) {
        tn_faults_add(faults, where, path, "%s", error->message);
        return FALSE;
    }
    const TnOptions *rows = &factory->options;
    g_autofree char *folder = where.file != NULL ? g_path_get_dirname(where.file) : NULL;
    G_GNUC_UNUSED g_autoptr(TnConfig) config =
        tn_config_parse(rows, options, path, where, folder, faults);
    check_rows(rows->rows, rows->row_size, rows->n, options, path, faults);
    return tn_faults_count(faults) == before;
}
