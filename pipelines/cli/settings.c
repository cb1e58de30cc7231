/* settings.c: settings.json of a run's folder: written by `run`, read, changed and written again by
 * `resume`. */
#include "settings.h"

#include <string.h>

#define FILE_NAME "settings.json"

void
settings_init(Settings *settings, const char *config)
{
    *settings = (Settings){ .config = g_str_has_prefix(config, TN_CONFIG_MODULE)
                                          ? g_strdup(config)
                                          : g_canonicalize_filename(config, NULL),
                            .overrides = g_ptr_array_new_with_free_func(g_free) };
}

void
settings_clear(Settings *settings)
{
    g_clear_pointer(&settings->config, g_free);
    g_clear_pointer(&settings->data_root, g_free);
    g_clear_pointer(&settings->overrides, g_ptr_array_unref);
}

void
settings_override(Settings *settings, const char *text)
{
    const gsize key = strcspn(text, "=") + 1;
    for (guint i = 0; i < settings->overrides->len; i++) {
        gpointer *given = &settings->overrides->pdata[i];
        if (strncmp(*given, text, key) == 0) {
            g_free(*given);
            *given = g_strdup(text);
            return;
        }
    }
    g_ptr_array_add(settings->overrides, g_strdup(text));
}

static const char *
text_of(const TnValue *map, const char *key)
{
    const TnValue *value = tn_value_get(map, key);
    return tn_value_type(value) == TN_VALUE_STRING ? tn_value_get_string(value) : NULL;
}

gboolean
settings_read(Settings *settings, TnRunDir *run, GError **error)
{
    g_autoptr(TnValue) map = tn_run_get_json(run, FILE_NAME, error);
    if (!map)
        return FALSE;
    const char *config = text_of(map, "config"), *root = text_of(map, "data_root");
    const TnValue *list = tn_value_get(map, "overrides"), *trust = tn_value_get(map, "trust");
    gboolean ok = config && root && tn_value_type(list) == TN_VALUE_LIST &&
                  tn_value_type(trust) == TN_VALUE_BOOL;
    for (gsize i = 0; ok && i < tn_value_len(list); i++)
        ok = tn_value_type(tn_value_at(list, i)) == TN_VALUE_STRING;
    if (!ok) {
        g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT,
                    "%s/" FILE_NAME ": config, data_root (strings), trust (true or false) and "
                    "overrides (a list of strings) are wanted",
                    tn_run_path(run));
        return FALSE;
    }
    settings_init(settings, config);
    settings->data_root = g_strdup(root);
    settings->trust = tn_value_get_bool(trust);
    for (gsize i = 0; i < tn_value_len(list); i++)
        settings_override(settings, tn_value_get_string(tn_value_at(list, i)));
    return TRUE;
}

gboolean
settings_write(const Settings *settings, TnRunDir *run, GError **error)
{
    g_autoptr(TnValue) map = tn_value_map();
    TnValue *list = tn_value_list();
    for (guint i = 0; i < settings->overrides->len; i++)
        tn_value_push(list, tn_value_string(settings->overrides->pdata[i]));
    tn_value_set(map, "config", tn_value_string(settings->config));
    tn_value_set(map, "data_root", tn_value_string(settings->data_root));
    tn_value_set(map, "trust", tn_value_bool(settings->trust));
    tn_value_set(map, "overrides", list);
    return tn_run_put_json(run, FILE_NAME, map, error);
}
