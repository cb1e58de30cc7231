/* verb-plugins.c: `tenon plugins [NAME]`: what was found, what it supplies, and whether it can be
 * used here. A plugin that cannot is a line like any other: the list never fails. */
#include <string.h>

#include "cli.h"

typedef struct {
    gboolean quick;
} PluginsOptions;

static const TnOption rows[] = {
    { .name = "quick",
      .type = TN_OPT_BOOL,
      .offset = G_STRUCT_OFFSET(PluginsOptions, quick),
      .help = "do not try each plugin: tell what the index knows" },
};

/* Whether a plugin can be used. */
typedef struct {
    char *fault; /* why it cannot; NULL: it can */
    char *parts; /* what of it cannot, a line each; NULL: nothing */
} Trial;

static void
trial_clear(Trial *trial)
{
    g_free(trial->fault);
    g_free(trial->parts);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Trial, trial_clear)

static Trial
try_plugin(const TnPluginInfo *info, gboolean quick)
{
    Trial trial = { 0 };
    trial.fault = quick ? g_strdup(info->broken) : tn_registry_try(info, &trial.parts);
    return trial;
}

/* "dataset: hdf5, idx", a line per interface; long lists are cut. */
static void
print_supplies(FILE *out, const TnPluginInfo *info)
{
    enum { MOST = 12 };
    for (guint i = 0; i < info->n_factories; i++) {
        gboolean is_first = TRUE;
        guint n = 0;
        g_autofree char *word = iface_word(info->ifaces[i]);
        g_autoptr(GString) text = g_string_new(NULL);
        for (guint j = 0; j < info->n_factories; j++) {
            if (strcmp(info->ifaces[j], info->ifaces[i]) != 0)
                continue;
            is_first &= j >= i;
            if (n++ < MOST)
                g_string_append_printf(text, "%s%s", n > 1 ? ", " : "", info->names[j]);
        }
        if (!is_first)
            continue;
        if (n > MOST)
            g_string_append_printf(text, " and %u more", n - MOST);
        g_autofree char *label = g_strdup_printf("  %s", word);
        print_entry(out, label, 18, text->str);
    }
    if (info->n_modules > 0) {
        g_autoptr(GString) text = g_string_new(NULL);
        for (guint i = 0; i < info->n_modules; i++)
            g_string_append_printf(text, "%stn.%s", i > 0 ? ", " : "", info->modules[i]);
        print_entry(out, "  Lua", 18, text->str);
    }
    for (guint i = 0; i < info->n_verbs; i++) {
        g_autofree char *text =
            g_strdup_printf("tenon %s: %s", info->verbs[i], info->verb_helps[i]);
        print_entry(out, i == 0 ? "  verb" : "", 18, text);
    }
}

static void
print_fault(TnVerbCall *call, const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text != NULL ? text : "", "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        g_autofree char *told = g_strdup_printf("cannot be used here: %s", *line);
        if (call->color)
            fputs("\033[31m", call->out);
        print_filled(call->out, told, 2);
        if (call->color)
            fputs("\033[0m", call->out);
    }
}

static void
print_plugin(TnVerbCall *call, const TnPluginInfo *info, const Trial *trial)
{
    g_autofree char *head =
        g_strdup_printf("%s %s", info->name, info->version != NULL ? info->version : "");
    print_heading(call->out, call->color, g_strstrip(head));
    if (info->summary != NULL)
        print_filled(call->out, info->summary, 2);
    print_fault(call, trial->fault);
    print_fault(call, trial->parts);
    print_supplies(call->out, info);
}

static TnValue *
strings_to_value(const char *const *strings, guint n)
{
    TnValue *list = tn_value_list();
    for (guint i = 0; i < n; i++)
        tn_value_push(list, tn_value_string(strings[i]));
    return list;
}

static TnValue *
plugin_to_value(const TnPluginInfo *info, const Trial *trial)
{
    TnValue *map = tn_value_map();
    TnValue *factories = tn_value_list();
    set_text(map, "name", info->name);
    set_text(map, "version", info->version);
    set_text(map, "license", info->license);
    set_text(map, "summary", info->summary);
    set_text(map, "path", info->path);
    tn_value_set(map, "usable", tn_value_bool(trial->fault == NULL));
    set_text(map, "why_not", trial->fault);
    set_text(map, "unusable_parts", trial->parts);
    for (guint i = 0; i < info->n_factories; i++) {
        TnValue *factory = tn_value_map();
        set_text(factory, "interface", info->ifaces[i]);
        set_text(factory, "name", info->names[i]);
        set_text(factory, "help", info->helps[i]);
        tn_value_push(factories, factory);
    }
    tn_value_set(map, "factories", factories);
    tn_value_set(map, "modules", strings_to_value(info->modules, info->n_modules));
    tn_value_set(map, "verbs", strings_to_value(info->verbs, info->n_verbs));
    return map;
}

/* --- One plugin ------------------------------------------------------------------------------- */

static void
print_details(TnVerbCall *call, const TnPluginInfo *info, const Trial *trial)
{
    const TnPlugin *plugin = trial->fault == NULL ? tn_registry_plugin(info->name) : NULL;
    print_plugin(call, info, trial);
    fprintf(call->out, "  %s\n", info->path[0] != '\0' ? info->path : "in the program");
    if (info->license != NULL)
        fprintf(call->out, "  license %s\n", info->license);
    for (guint i = 0; plugin != NULL && plugin->factories != NULL && plugin->factories[i] != NULL;
         i++) {
        const TnFactory *factory = plugin->factories[i];
        fputc('\n', call->out);
        print_factory(call->out, call->color, factory);
    }
}

static TnValue *
details_to_value(const TnPluginInfo *info, const Trial *trial)
{
    TnValue *map = plugin_to_value(info, trial);
    const TnPlugin *plugin = trial->fault == NULL ? tn_registry_plugin(info->name) : NULL;
    if (plugin == NULL)
        return map;
    TnValue *factories = tn_value_list();
    for (guint i = 0; plugin->factories != NULL && plugin->factories[i] != NULL; i++)
        tn_value_push(factories, factory_to_value(plugin->factories[i]));
    tn_value_set(map, "factories", factories);
    return map;
}

/* Opening it here is what was asked for: its rows are in its library. */
static gint
show_one(TnVerbCall *call, const GPtrArray *plugins, const char *name, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (guint i = 0; i < plugins->len; i++) {
        const TnPluginInfo *info = plugins->pdata[i];
        g_autoptr(GError) why = NULL;
        g_ptr_array_add(names, (gpointer)info->name);
        if (strcmp(info->name, name) != 0)
            continue;
        g_auto(Trial) trial = try_plugin(info, FALSE);
        if (trial.fault == NULL && !tn_registry_open(name, &why))
            trial.fault = g_strdup(why->message);
        if (call->json) {
            g_autoptr(TnValue) value = details_to_value(info, &trial);
            print_json(call->out, value);
        } else {
            print_details(call, info, &trial);
        }
        return 0;
    }
    const char *nearest = tn_nearest(name, (const char *const *)names->pdata, names->len);
    g_set_error(error, TN_ERROR, TN_ERROR_NOT_FOUND, "there is no plugin '%s'%s%s%s", name,
                nearest != NULL ? "; did you mean '" : "; tenon plugins lists what there is",
                nearest != NULL ? nearest : "", nearest != NULL ? "'?" : "");
    return 2;
}

static gint
run(TnVerbCall *call, GError **error)
{
    const PluginsOptions *options = call->options;
    g_autoptr(GPtrArray) plugins = tn_registry_list();
    g_autoptr(TnValue) list = tn_value_list();
    if (call->n_args > 0)
        return show_one(call, plugins, call->args[0], error);
    for (guint i = 0; i < plugins->len; i++) {
        const TnPluginInfo *info = plugins->pdata[i];
        g_auto(Trial) trial = try_plugin(info, options->quick);
        if (call->json)
            tn_value_push(list, plugin_to_value(info, &trial));
        else
            print_plugin(call, info, &trial);
    }
    if (call->json)
        print_json(call->out, list);
    else if (plugins->len == 0)
        fputs("tenon: no plugins were found\n", call->err);
    return 0;
}

const TnVerb tn_verb_plugins = {
    .size = sizeof(TnVerb),
    .name = "plugins",
    .args = "[NAME]",
    .help = "list plugins, what they supply and whether they can be used here; of one, everything",
    .details = "Each plugin is opened and initialised in a process of its own to see whether it "
               "can be used. "
               "Folders searched, the first wins: --plugin-path, TENON_PLUGIN_PATH, the folder "
               "that belongs to "
               "the program.",
    .options = TN_OPTIONS(PluginsOptions, rows),
    .max_args = 1,
    .run = run,
};
