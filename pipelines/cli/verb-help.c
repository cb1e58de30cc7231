/* verb-help.c: `tenon help [NAME]`: everything of that name: a verb, an operator, components, a
 * plugin, or a config file with the arguments it declares. */
#include <string.h>

#include <tenon/host.h>
#include <tenon/op.h>

#include "cli.h"

/* --- A config --------------------------------------------------------------------------------- */

static TnValue *
arg_to_value(const TnHostArg *arg)
{
    TnValue *map = tn_value_map();
    set_text(map, "name", arg->name);
    set_text(map, "help", arg->help);
    if (arg->dflt != NULL)
        tn_value_set(map, "default", tn_value_copy(arg->dflt));
    if (arg->where.line > 0)
        tn_value_set(map, "line", tn_value_int(arg->where.line));
    return map;
}

static void
print_config_args(TnVerbCall *call, const TnHost *host, const char *path)
{
    const guint n = tn_host_n_args(host);
    g_autoptr(TnValue) list = tn_value_list();
    for (guint i = 0; i < n; i++) {
        const TnHostArg *arg = tn_host_arg(host, i);
        if (call->json) {
            tn_value_push(list, arg_to_value(arg));
            continue;
        }
        if (i == 0)
            fprintf(call->out, "usage: tenon run %s [NAME=VALUE ...]\n\n", path);
        g_autofree char *dflt = tn_value_print(arg->dflt, 0);
        g_autofree char *text = g_strdup_printf(
            "%s%s%s, default %s%s", arg->help != NULL ? arg->help : "",
            arg->help != NULL ? " (" : "", arg->accepts, dflt, arg->help != NULL ? ")" : "");
        print_entry(call->out, arg->name, 20, text);
    }
    if (call->json)
        print_json(call->out, list);
    else if (n == 0)
        fprintf(call->out,
                "%s declares no arguments; every option of its tree can be set: "
                "tenon show %s\n",
                path, path);
}

/* Its arguments are told even if something in it is wrong; the faults then follow. */
static gint
help_config(TnVerbCall *call, const char *path, GError **error)
{
    g_autoptr(TnHost) host = tn_host_new(NULL, error);
    g_autoptr(TnFaults) faults = tn_faults_new();
    if (host == NULL)
        return 1;
    g_autoptr(TnSpec) root = tn_host_load(host, path, 0, NULL, faults);
    if (root != NULL || tn_host_n_args(host) > 0)
        print_config_args(call, host, path);
    if (root != NULL)
        return 0;
    tn_faults_to_error(faults, error);
    return 2;
}

/* --- Names ------------------------------------------------------------------------------------ */

typedef struct {
    TnVerbCall *call;
    const char *name;
    GPtrArray *names; /* of const char *, everything that can be asked for */
    TnValue *found;   /* list, for JSON */
    guint n;
} Lookup;

static void
next(Lookup *look, TnValue *value)
{
    if (value != NULL)
        tn_value_push(look->found, value);
    else if (look->n > 0)
        fputc('\n', look->call->out);
    look->n++;
}

/* Whether verb is the name, or "name something". */
static gboolean
is_verb(const char *verb, const char *name)
{
    const gsize n = strlen(name);
    return strncmp(verb, name, n) == 0 && (verb[n] == '\0' || verb[n] == ' ');
}

static void
look_for_verb(Lookup *look)
{
    for (const TnVerb *const *verb = tn_cli_verbs; *verb != NULL; verb++) {
        g_ptr_array_add(look->names, (gpointer)(*verb)->name);
        if (!is_verb((*verb)->name, look->name) || look->call->json)
            continue;
        next(look, NULL);
        print_verb_help(look->call->out, look->call->color, *verb);
    }
}

static void
look_for_op(Lookup *look)
{
    guint n;
    const TnOp *const *primitives = tn_op_primitives(&n);
    for (guint i = 0; i < n; i++) {
        g_ptr_array_add(look->names, (gpointer)primitives[i]->name);
        if (strcmp(primitives[i]->name, look->name) != 0)
            continue;
        next(look, look->call->json ? op_to_value(primitives[i]) : NULL);
        if (!look->call->json)
            print_op(look->call->out, look->call->color, primitives[i]);
    }
}

static void
show_factory(Lookup *look, const TnFactory *factory)
{
    const gboolean is_op = strcmp(factory->iface, "tenon.op/1") == 0;
    if (look->call->json) {
        next(look, is_op ? op_to_value(factory->vtable) : factory_to_value(factory));
        return;
    }
    next(look, NULL);
    if (is_op)
        print_op(look->call->out, look->call->color, factory->vtable);
    else
        print_factory(look->call->out, look->call->color, factory);
}

/* What its plugin cannot say, the index can, in part. */
static void
show_indexed(Lookup *look, const TnPluginInfo *info, guint i, const char *why)
{
    if (look->call->json) {
        TnValue *map = tn_value_map();
        set_text(map, "interface", info->ifaces[i]);
        set_text(map, "name", info->names[i]);
        set_text(map, "help", info->helps[i]);
        set_text(map, "plugin", info->name);
        set_text(map, "why_not", why);
        next(look, map);
        return;
    }
    next(look, NULL);
    fprintf(look->call->out, "%s %s\n  %s\n  its options cannot be shown: %s\n", info->ifaces[i],
            info->names[i], info->helps[i], why);
}

static void
look_in_plugin(Lookup *look, const TnPluginInfo *info)
{
    for (guint i = 0; i < info->n_factories; i++) {
        g_autoptr(GError) why = NULL;
        g_ptr_array_add(look->names, (gpointer)info->names[i]);
        if (strcmp(info->names[i], look->name) != 0)
            continue;
        const TnFactory *factory = tn_registry_find(info->ifaces[i], info->names[i], &why);
        if (factory != NULL)
            show_factory(look, factory);
        else
            show_indexed(look, info, i, why->message);
    }
    for (guint i = 0; i < info->n_verbs; i++) {
        g_ptr_array_add(look->names, (gpointer)info->verbs[i]);
        const TnVerb *verb = is_verb(info->verbs[i], look->name) && !look->call->json
                                 ? tn_registry_verb(info->verbs[i], NULL)
                                 : NULL;
        if (verb != NULL) {
            next(look, NULL);
            print_verb_help(look->call->out, look->call->color, verb);
        }
    }
}

/* Components written in Lua, which the host makes known. */
static void
look_in_lua(Lookup *look, const GPtrArray *plugins)
{
    g_autoptr(GPtrArray) factories = tn_registry_query(NULL);
    for (guint i = 0; i < factories->len; i++) {
        const TnFactory *factory = factories->pdata[i];
        const char *owner = tn_registry_owner(factory);
        gboolean listed = FALSE;
        for (guint j = 0; j < plugins->len; j++)
            listed |= g_strcmp0(((const TnPluginInfo *)plugins->pdata[j])->name, owner) == 0;
        if (listed || (factory->flags & TN_FACTORY_INTERNAL) != 0)
            continue;
        g_ptr_array_add(look->names, (gpointer)factory->name);
        if (strcmp(factory->name, look->name) == 0)
            show_factory(look, factory);
    }
}

static gint
help_name(TnVerbCall *call, const char *name, GError **error)
{
    g_autoptr(TnHost) host = tn_host_new(NULL, NULL);
    g_autoptr(GPtrArray) plugins = tn_registry_list();
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autoptr(TnValue) found = tn_value_list();
    g_autoptr(GError) unloaded = NULL;
    Lookup look = { .call = call, .name = name, .names = names, .found = found };
    look_for_verb(&look);
    look_for_op(&look);
    for (guint i = 0; i < plugins->len; i++)
        look_in_plugin(&look, plugins->pdata[i]);
    if (host != NULL && !tn_host_load_modules(host, &unloaded))
        tn_log("help", TN_LOG_WARN, "components written in Lua are not known: %s",
               unloaded->message);
    look_in_lua(&look, plugins);
    for (guint i = 0; i < plugins->len && look.n == 0; i++) {
        const TnPluginInfo *info = plugins->pdata[i];
        g_ptr_array_add(names, (gpointer)info->name);
        if (strcmp(info->name, name) != 0)
            continue;
        look.n++;
        fprintf(call->err, "tenon: '%s' is a plugin; see tenon plugins %s\n", name, name);
    }
    if (look.n > 0) {
        if (call->json)
            print_json(call->out, found);
        return 0;
    }
    const char *nearest = tn_nearest(name, (const char *const *)names->pdata, names->len);
    g_set_error(error, TN_ERROR, TN_ERROR_NOT_FOUND, "nothing here is called '%s'%s%s%s", name,
                nearest != NULL ? "; did you mean '" : "; see tenon plugins and tenon ops",
                nearest != NULL ? nearest : "", nearest != NULL ? "'?" : "");
    return 2;
}

static gint
run(TnVerbCall *call, GError **error)
{
    if (call->n_args == 0) {
        print_overview(call->out, call->color);
        return 0;
    }
    if (g_file_test(call->args[0], G_FILE_TEST_IS_REGULAR) ||
        g_str_has_suffix(call->args[0], ".lua"))
        return help_config(call, call->args[0], error);
    g_autofree char *name = g_strjoinv(" ", (char **)call->args);
    return help_name(call, name, error);
}

const TnVerb tn_verb_help = {
    .size = sizeof(TnVerb),
    .name = "help",
    .args = "[NAME | CONFIG]",
    .help = "tell about a verb, an operator, a component, or the arguments of a config",
    .max_args = 2,
    .run = run,
};
