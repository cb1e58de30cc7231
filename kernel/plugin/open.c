/* open.c: opens a plugin's library, judges its descriptor, satisfies what it needs, initialises it
 * once. What went wrong is kept and said again to whoever asks later. A library that was opened
 * stays for good: one with a live thread of its own could not be unloaded safely. */
#include "plugin-private.h"
#include <tenon/base.h>

#include <string.h>

typedef const TnPlugin *(*DescFunc)(void);

static GPtrArray *opening; /* of const char *: names, the outermost first; slow lock held */

static TnLoaded *
loaded_new(const char *name, const char *path)
{
    pthread_mutexattr_t attr;
    TnLoaded *loaded = g_new0(TnLoaded, 1);
    loaded->name = tn_intern(name);
    loaded->path = tn_intern(path);
    loaded->state = TN_LOADED_OPENING;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&loaded->calls, &attr);
    pthread_mutexattr_destroy(&attr);
    return loaded;
}

/* "a -> b -> a", from where name first occurs. */
static char *
cycle_text(const char *name)
{
    g_autoptr(GString) text = g_string_new(NULL);
    gboolean inside = FALSE;
    for (guint i = 0; opening != NULL && i < opening->len; i++) {
        inside |= strcmp(opening->pdata[i], name) == 0;
        if (inside)
            g_string_append_printf(text, "'%s' -> ", (const char *)opening->pdata[i]);
    }
    g_string_append_printf(text, "'%s'", name);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static gboolean
record_supplies(const TnRecord *record, const char *iface)
{
    for (guint i = 0; i < record->info.n_factories; i++) {
        if (strcmp(record->info.ifaces[i], iface) == 0)
            return TRUE;
    }
    return FALSE;
}

/* Opens the first plugin of the index, by name, that supplies iface and can be opened. */
static gboolean
open_provider(const TnPlugin *plugin, const char *iface, GError **error)
{
    g_autoptr(GString) tried = g_string_new(NULL);
    g_autoptr(GPtrArray) providers = g_ptr_array_new();
    GPtrArray *records = tn_index_refresh();
    for (guint i = 0; i < records->len; i++) {
        if (record_supplies(records->pdata[i], iface))
            g_ptr_array_add(providers, records->pdata[i]);
    }
    for (guint i = 0; i < providers->len; i++) {
        const TnRecord *record = providers->pdata[i];
        g_autoptr(GError) why = NULL;
        if (strcmp(record->info.name, plugin->name) == 0)
            continue;
        if (tn_plugin_open_record(record, &why) != NULL)
            return TRUE;
        g_string_append_printf(tried, "; '%s' supplies it, but: %s", record->info.name,
                               why->message);
    }
    g_set_error(error, TN_ERROR, TN_ERROR_PLUGIN,
                "plugin '%s' needs %s, which no plugin can supply%s", plugin->name, iface,
                tried->str);
    return FALSE;
}

static gboolean
supplies_itself(const TnPlugin *plugin, const char *iface)
{
    for (guint i = 0; plugin->factories != NULL && plugin->factories[i] != NULL; i++) {
        if (strcmp(plugin->factories[i]->iface, iface) == 0)
            return TRUE;
    }
    return FALSE;
}

static gboolean
satisfy_needs(const TnPlugin *plugin, GError **error)
{
    for (guint i = 0; plugin->needs != NULL && plugin->needs[i] != NULL; i++) {
        const TnNeed *need = plugin->needs[i];
        g_autoptr(GError) why = NULL;
        if (tn_registry_supplies(need->iface) || supplies_itself(plugin, need->iface) ||
            open_provider(plugin, need->iface, &why))
            continue;
        if (!need->optional) {
            g_propagate_error(error, g_steal_pointer(&why));
            return FALSE;
        }
        tn_log("plugin", TN_LOG_DEBUG, "%s (optional)", why->message);
    }
    return TRUE;
}

static gboolean
initialise(TnLoaded *loaded, GError **error)
{
    g_autoptr(GError) why = NULL;
    if (!satisfy_needs(loaded->plugin, error))
        return FALSE;
    if (loaded->plugin->init == NULL || loaded->plugin->init(&why))
        return TRUE;
    g_set_error(error, TN_ERROR, TN_ERROR_PLUGIN, "plugin '%s' cannot be used here: %s",
                loaded->name, why != NULL ? why->message : "its init failed and does not say why");
    return FALSE;
}

/* Opens the library at loaded->path and sets loaded->plugin. */
static gboolean
open_library(TnLoaded *loaded, GError **error)
{
    g_autofree char *symbol = tn_plugin_symbol(loaded->name);
    g_autofree char *fault = NULL;
    gpointer desc = NULL;
    GModule *module = g_module_open(loaded->path, G_MODULE_BIND_LOCAL);
    if (module == NULL) {
        fault = tn_plugin_link_fault(g_module_error());
    } else if (!g_module_symbol(module, symbol, &desc)) {
        fault = g_strdup_printf("it does not export %s, so it is no Tenon plugin", symbol);
    } else {
        g_module_make_resident(module);
        loaded->plugin = ((DescFunc)(guintptr)desc)();
        fault = tn_plugin_fault(loaded->plugin, loaded->name);
    }
    if (fault == NULL)
        return TRUE;
    g_set_error(error, TN_ERROR, TN_ERROR_PLUGIN, "plugin '%s' (%s) cannot be opened: %s",
                loaded->name, loaded->path, fault);
    return FALSE;
}

/* Brings one that has its place in the table to READY or FAILED. */
static TnLoaded *
bring_up(TnLoaded *loaded, GError **error)
{
    g_autoptr(GError) why = NULL;
    if (opening == NULL)
        opening = g_ptr_array_new();
    g_ptr_array_add(opening, (gpointer)loaded->name);
    const gboolean ok =
        (loaded->plugin != NULL || open_library(loaded, &why)) && initialise(loaded, &why);
    g_ptr_array_set_size(opening, (gint)opening->len - 1);
    if (ok) {
        tn_registry_publish(loaded);
        tn_log("plugin", TN_LOG_DEBUG, "opened %s %s (%s)", loaded->name, loaded->plugin->version,
               loaded->path);
        return loaded;
    }
    tn_registry_lock_table();
    loaded->error = g_error_copy(why);
    loaded->state = TN_LOADED_FAILED;
    tn_registry_unlock_table();
    g_propagate_error(error, g_steal_pointer(&why));
    return NULL;
}

/* TRUE if it was met before; *result is then what to return. */
static gboolean
known(const char *name, TnLoaded **result, GError **error)
{
    tn_registry_lock_table();
    TnLoaded *loaded = tn_registry_loaded(name);
    tn_registry_unlock_table();
    *result = NULL;
    if (loaded == NULL)
        return FALSE;
    if (loaded->state == TN_LOADED_READY) {
        *result = loaded;
    } else if (loaded->state == TN_LOADED_FAILED) {
        g_propagate_error(error, g_error_copy(loaded->error));
    } else {
        g_autofree char *cycle = cycle_text(name);
        g_set_error(error, TN_ERROR, TN_ERROR_PLUGIN, "plugins need each other in a circle: %s",
                    cycle);
    }
    return TRUE;
}

TnLoaded *
tn_plugin_open_record(const TnRecord *record, GError **error)
{
    const TnPluginInfo *info = &record->info;
    TnLoaded *loaded;
    if (known(info->name, &loaded, error))
        return loaded;
    if (info->broken != NULL) {
        g_set_error(error, TN_ERROR, TN_ERROR_PLUGIN, "plugin '%s' (%s) cannot be used: %s",
                    info->name, info->path, info->broken);
        return NULL;
    }
    loaded = loaded_new(info->name, info->path);
    tn_registry_put_loaded(loaded);
    return bring_up(loaded, error);
}

TnLoaded *
tn_plugin_open_static(const TnPlugin *plugin, GError **error)
{
    g_autofree char *fault = tn_plugin_fault(plugin, NULL);
    TnLoaded *loaded;
    if (fault != NULL) {
        g_set_error(error, TN_ERROR, TN_ERROR_PLUGIN, "a plugin in the program is not sound: %s",
                    fault);
        return NULL;
    }
    if (known(plugin->name, &loaded, error)) {
        if (loaded == NULL || loaded->plugin == plugin)
            return loaded;
        g_set_error(error, TN_ERROR, TN_ERROR_PLUGIN, "a plugin '%s' is there already (%s)",
                    plugin->name, loaded->path[0] != '\0' ? loaded->path : "in the program");
        return NULL;
    }
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *why = NULL;
    tn_plugin_describe(plugin, text);
    const char *at = text->str;
    loaded = loaded_new(plugin->name, "");
    loaded->plugin = plugin;
    loaded->record = tn_record_parse(&at, "", plugin->name, &why);
    g_assert(loaded->record != NULL);
    tn_registry_put_loaded(loaded);
    return bring_up(loaded, error);
}
