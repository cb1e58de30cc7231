/* config.c: a filled, checked option struct and what its members point to. */
#include <string.h>

#include "option/option-private.h"

struct TnConfig {
    TnRefs refs;
    TnOptions options;
    void *data;
    GPtrArray *owned; /* TnOwned * */
    TnGiven given;
};

static void
owned_free(gpointer pointer)
{
    TnOwned *owned = pointer;
    owned->destroy(owned->object);
    g_free(owned);
}

static TnConfig *
make(const TnOptions *options)
{
    TnConfig *config = g_new0(TnConfig, 1);
    tn_refs_init(&config->refs);
    config->options = *options;
    config->data = g_malloc0(MAX(options->struct_size, 1));
    config->owned = g_ptr_array_new_with_free_func(owned_free);
    config->given.given = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    config->given.null = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return config;
}

TnConfig *
tn_config_parse(const TnOptions *options, const TnValue *map, const char *path, TnWhere where,
                const char *base_dir, TnFaults *faults)
{
    const gsize before = tn_faults_count(faults);
    g_autoptr(TnConfig) config = make(options);
    TnFill fill = { config->owned, faults, base_dir };
    tn_fill(&fill, options, map, where, path, &config->given, config->data);
    return tn_faults_count(faults) == before ? g_steal_pointer(&config) : NULL;
}

TnConfig *
tn_config_new(const TnOptions *options, const TnValue *map, GError **error)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    TnConfig *config = tn_config_parse(options, map, NULL, tn_value_where(map), NULL, faults);
    (void)tn_faults_to_error(faults, error);
    return config;
}

TnConfig *
tn_config_ref(TnConfig *config)
{
    tn_refs_inc(&config->refs);
    return config;
}

void
tn_config_unref(TnConfig *config)
{
    if (!config || !tn_refs_dec(&config->refs))
        return;
    g_ptr_array_unref(config->owned);
    g_hash_table_unref(config->given.given);
    g_hash_table_unref(config->given.null);
    g_free(config->data);
    g_free(config);
}

const void *
tn_config_data(const TnConfig *config)
{
    return config->data;
}

gboolean
tn_config_is_set(const TnConfig *config, const char *name)
{
    return g_hash_table_contains(config->given.given, name);
}

static TnValue *
level_to_value(const TnConfig *config, const TnOptions *options, const char *data,
               const char *group)
{
    TnValue *map = tn_value_map();
    for (guint32 i = 0; i < options->n; i++) {
        const TnOption *row = tn_options_row(options, i);
        g_autofree char *name = tn_path_key(group, row->name);
        if (g_hash_table_contains(config->given.null, name))
            continue;
        TnValue *value;
        if (row->flags & TN_OPTION_SECRET) {
            value = tn_value_string("***");
        } else if (row->type == TN_OPT_GROUP) {
            const TnOptions sub = tn_option_sub(row, options->row_size);
            value = level_to_value(config, &sub, data + row->offset, name);
        } else {
            value = tn_option_get(row, data);
        }
        tn_value_set(map, row->name, value);
    }
    return map;
}

TnValue *
tn_config_to_value(const TnConfig *config)
{
    return level_to_value(config, &config->options, config->data, NULL);
}
