/* common.c: what the `data` verbs share, and the plugin's descriptor. */
#include <string.h>

#include "data-private.h"

char *
data_root(const char *option)
{
    const char *root = option && *option ? option : g_getenv("TENON_DATA");
    if (root && *root)
        return g_canonicalize_filename(root, NULL);
    return g_build_filename(g_get_user_data_dir(), "tenon", "data", NULL);
}

char *
data_path(const char *root, const char *name)
{
    if (strchr(name, '/') || g_file_test(name, G_FILE_TEST_EXISTS))
        return g_canonicalize_filename(name, NULL);
    return g_build_filename(root, name, NULL);
}

gboolean
data_parse_words(gint n, const char *const *words, TnValue *map, GError **error)
{
    for (gint i = 0; i < n; i++) {
        const char *equals = strchr(words[i], '=');
        if (!equals || equals == words[i]) {
            g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "'%s' is not of the form option=value",
                        words[i]);
            return FALSE;
        }
        g_autofree char *key = g_strndup(words[i], (gsize)(equals - words[i]));
        TnValue *value = tn_value_parse(equals + 1, error);
        if (!value) {
            tn_error_prefix(error, "'%s'", words[i]);
            return FALSE;
        }
        tn_value_set(map, key, value);
    }
    return TRUE;
}

TnObject *
data_open(TnContext *context, const char *component, const TnValue *options, GError **error)
{
    const TnFactory *factory = tn_registry_find(TN_IFACE_DATASET, component, error);
    return factory ? tn_object_create(factory, options, context, error) : NULL;
}

static const TnVerb *const verbs[] = { &data_verb_import, &data_verb_info, &data_verb_head, NULL };

static const TnPlugin descriptor = {
    TN_PLUGIN_HEAD("dataio", TN_PLUGIN_VERSION, "Apache-2.0", "the data verbs: import, info, head"),
    .verbs = verbs,
};

TN_PLUGIN(dataio, descriptor)
