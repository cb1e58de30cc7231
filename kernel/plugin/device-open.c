/* device-open.c: from a device's name, "cpu" or "far:1", to the device, through its factory. */
#include "plugin-private.h"

#include <string.h>

/* Splits "kind:index"; index -1 if there is none. */
static gboolean
split(const char *name, char **kind, gint64 *index, GError **error)
{
    const char *colon = strchr(name, ':');
    *kind = colon != NULL ? g_strndup(name, (gsize)(colon - name)) : g_strdup(name);
    *index = -1;
    if (**kind != '\0' &&
        (colon == NULL || g_ascii_string_to_signed(colon + 1, 10, 0, G_MAXINT32, index, NULL)))
        return TRUE;
    g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                "'%s' names no device; write its kind, such as cpu, or kind:index, such as cpu:1",
                name);
    return FALSE;
}

static TnConfig *
parse_index(const TnFactory *factory, gint64 index, GError **error)
{
    g_autoptr(TnValue) options = tn_value_map();
    if (index >= 0 && tn_options_find(&factory->options, "index") == NULL) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "device '%s' is the only one of its kind: leave out ':%d'", factory->name,
                    (gint)index);
        return NULL;
    }
    if (index >= 0)
        tn_value_set(options, "index", tn_value_int(index));
    return tn_config_new(&factory->options, options, error);
}

TnDevice *
tn_device_open(const char *name, TnContext *context, GError **error)
{
    g_return_val_if_fail(name != NULL, NULL);
    g_autofree char *kind = NULL;
    g_autoptr(GError) why = NULL;
    gint64 index;
    if (!split(name, &kind, &index, error))
        return NULL;
    const TnFactory *factory = tn_registry_find(TN_IFACE_DEVICE, kind, error);
    if (factory == NULL || tn_registry_score(factory, error) <= 0)
        return NULL;
    if (factory->create == NULL || factory->vtable == NULL) {
        g_set_error(error, TN_ERROR, TN_ERROR_PLUGIN,
                    "device '%s' of plugin '%s' has no create or vtable", kind,
                    tn_registry_owner(factory));
        return NULL;
    }
    g_autoptr(TnConfig) config = parse_index(factory, index, error);
    if (config == NULL)
        return NULL;
    void *self = factory->create(config, context, &why);
    if (self != NULL)
        return tn_device_new(name, factory->vtable, self, factory->destroy);
    g_set_error(error, TN_ERROR, TN_ERROR_DEVICE, "device '%s': %s", name,
                why != NULL ? why->message : "creating it failed, and it does not say why");
    return NULL;
}
