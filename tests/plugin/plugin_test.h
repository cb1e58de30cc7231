/* plugin_test.h: what the tests of the registry share: child processes with a registry of their
 * own.
 *
 * A registry lives as long as its process, so a test that needs a fresh one runs this same program
 * again as "PROGRAM --child FOLDERS COMMAND…" with FOLDERS as the plugin path. Commands: "list"
 * prints a line per plugin, "open NAME", "find IFACE NAME", "default IFACE" print what they found
 * or the error. */
#pragma once

#include <stdio.h>

#include <tenon/base.h>
#include <tenon/plugin.h>

#include "tn_test.h"

static char *own_program;

static void
child_list(void)
{
    g_autoptr(GPtrArray) list = tn_registry_list();
    for (guint i = 0; i < list->len; i++) {
        const TnPluginInfo *info = list->pdata[i];
        printf("[%s] version=%s factories=%u opened=%d broken=%s\n", info->name,
               info->version != NULL ? info->version : "-", info->n_factories, info->opened,
               info->broken != NULL ? info->broken : "-");
    }
}

/* Does the command at argv[0]; returns how many arguments it took. */
static int
child_command(char **argv)
{
    g_autoptr(GError) error = NULL;
    const char *found = NULL;
    int taken = 2;
    if (strcmp(argv[0], "list") == 0) {
        child_list();
        return 1;
    }
    if (strcmp(argv[0], "open") == 0) {
        found = tn_registry_open(argv[1], &error) ? "opened" : NULL;
    } else if (strcmp(argv[0], "find") == 0) {
        const TnFactory *f = tn_registry_find(argv[1], argv[2], &error);
        found = f != NULL ? tn_registry_owner(f) : NULL;
        taken = 3;
    } else if (strcmp(argv[0], "default") == 0) {
        const TnFactory *f = tn_registry_find(argv[1], NULL, &error);
        found = f != NULL ? f->name : NULL;
    }
    if (found != NULL)
        printf("found %s\n", found);
    else
        printf("error %d: %s\n", error != NULL ? error->code : -1,
               error != NULL ? error->message : "none was set");
    return taken;
}

static int
child_main(int argc, char **argv)
{
    g_setenv("TENON_PLUGIN_PATH", argv[2], TRUE);
    for (int i = 3; i < argc;)
        i += child_command(argv + i);
    g_auto(GStrv) opened = tn_registry_opened();
    g_autofree char *all = g_strjoinv(" ", opened);
    printf("opened: %s\n", all);
    return 0;
}

/* Runs a child with a cache folder; the list of commands ends with NULL. */
static void run_child(TnChild *child, const char *cache, const char *folders,
                      ...) G_GNUC_NULL_TERMINATED;

static void
run_child(TnChild *child, const char *cache, const char *folders, ...)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autofree char *cache_env = g_strconcat("XDG_CACHE_HOME=", cache, NULL);
    const char *env[] = { cache_env, "TENON_LOG=plugin:debug", NULL };
    const TnChildOptions options = { .env = env, .timeout = 60 };
    va_list ap;
    g_ptr_array_add(argv, own_program);
    g_ptr_array_add(argv, (gpointer) "--child");
    g_ptr_array_add(argv, (gpointer)folders);
    va_start(ap, folders);
    for (const char *arg = va_arg(ap, const char *); arg != NULL; arg = va_arg(ap, const char *))
        g_ptr_array_add(argv, (gpointer)arg);
    va_end(ap);
    g_ptr_array_add(argv, NULL);
    tn_test_spawn(child, (const char *const *)argv->pdata, &options);
    TN_ASSERT_EXIT(child, 0);
}

static inline guint
count_text(const char *text, const char *part)
{
    guint n = 0;
    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part))
        n++;
    return n;
}

#define PLUGIN_TEST_MAIN(suite, table)                                                             \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        own_program = argv[0];                                                                     \
        if (argc > 3 && strcmp(argv[1], "--child") == 0)                                           \
            return child_main(argc, argv);                                                         \
        return tn_test_main(suite, table, G_N_ELEMENTS(table), NULL, NULL, argc, argv);            \
    }
