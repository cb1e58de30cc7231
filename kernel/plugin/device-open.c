/* device-open.c: from a device's name, "cpu", "far:1" or "cpu+plugin", to the device, through its
 * factory, with the kernels of other plugins that are named with it. "cpu+plugin?" is cpu, with that
 * plugin's kernels where it can be used: the name of the device does not have it. */
#include "plugin-private.h"
#include <tenon/base.h>

#include <string.h>

/* Splits "kind:index+plugin+plugin"; index -1 if there is none. plugins: NULL-terminated. */
static gboolean
split(const char *name, char **kind, gint64 *index, char ***plugins, GError **error)
{
    char **parts = g_strsplit(name, "+", -1);
    char *colon = parts[0] != NULL ? strchr(parts[0], ':') : NULL;
    gboolean ok = parts[0] != NULL;
    *index = -1;
    *kind = colon != NULL ? g_strndup(parts[0], (gsize)(colon - parts[0])) : g_strdup(parts[0]);
    *plugins = parts[0] != NULL ? g_strdupv(parts + 1) : NULL;
    ok = ok && **kind != '\0' &&
         (colon == NULL || g_ascii_string_to_signed(colon + 1, 10, 0, G_MAXINT32, index, NULL));
    for (guint i = 0; ok && (*plugins)[i] != NULL; i++)
        ok = (*plugins)[i][0] != '\0';
    g_strfreev(parts);
    if (!ok)
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "'%s' names no device; write its kind, such as cpu, kind:index, such as cpu:1, "
                    "or kind+plugin to have that plugin's kernels too",
                    name);
    return ok;
}

static gboolean
has_kernels(const TnPlugin *plugin, const char *kind)
{
    for (guint i = 0; plugin->factories != NULL && plugin->factories[i] != NULL; i++) {
        const TnFactory *f = plugin->factories[i];
        if (strcmp(f->iface, "tenon.kernel/1") == 0 &&
            strcmp(((const TnKernelTable *)f->vtable)->kind, kind) == 0)
            return TRUE;
    }
    return FALSE;
}

/* The name without plugins that may be missing. (transfer full). */
static char *
certain_name(const char *name)
{
    g_auto(GStrv) parts = g_strsplit(name, "+", -1);
    GString *text = g_string_new(parts[0]);
    for (guint i = 1; parts[i] != NULL; i++) {
        if (!g_str_has_suffix(parts[i], "?"))
            g_string_append_printf(text, "+%s", parts[i]);
    }
    return g_string_free(text, FALSE);
}

/* Opens a plugin for its kernels. One that cannot be used here is said and done without: what it
 * would have run others run too. */
static gboolean
open_kernels(const char *device, const char *kind, const char *plugin, GError **error)
{
    g_autoptr(GError) why = NULL;
    if (g_str_has_suffix(plugin, "?")) {
        g_autofree char *name = g_strndup(plugin, strlen(plugin) - 1);
        if (!tn_registry_open(name, &why))
            tn_log("plugin", TN_LOG_INFO, "device '%s' does without those kernels: %s", device,
                   why->message);
        return TRUE;
    }
    if (!tn_registry_open(plugin, &why)) {
        if (g_error_matches(why, TN_ERROR, TN_ERROR_NOT_FOUND)) {
            g_propagate_prefixed_error(error, g_steal_pointer(&why), "device '%s': ", device);
            return FALSE;
        }
        tn_log("plugin", TN_LOG_WARN, "device '%s' does without those kernels: %s", device,
               why->message);
        return TRUE;
    }
    if (has_kernels(tn_registry_plugin(plugin), kind))
        return TRUE;
    g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                "device '%s': plugin '%s' has no kernels for devices of kind %s", device, plugin,
                kind);
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
    g_auto(GStrv) plugins = NULL;
    g_autoptr(GError) why = NULL;
    gint64 index;
    if (!split(name, &kind, &index, &plugins, error))
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
    const TnDeviceVTable *vtable = factory->vtable;
    for (guint i = 0; plugins[i] != NULL; i++) {
        if (!open_kernels(name, vtable->kind, plugins[i], error))
            return NULL;
    }
    g_autoptr(TnConfig) config = parse_index(factory, index, error);
    if (config == NULL)
        return NULL;
    void *self = factory->create(config, context, &why);
    g_autofree char *certain = certain_name(name);
    if (self != NULL)
        return tn_device_new(certain, vtable, self, factory->destroy);
    g_set_error(error, TN_ERROR, TN_ERROR_DEVICE, "device '%s': %s", name,
                why != NULL ? why->message : "creating it failed, and it does not say why");
    return NULL;
}
