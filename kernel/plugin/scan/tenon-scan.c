/* tenon-scan.c: describes one plugin file to its parent, or tries it, in a process that may crash
 * or hang without harm.
 *
 *   tenon-scan FILE         prints the file's descriptor as a block of lines (../record.c reads it); runs nothing of it
 *   tenon-scan --try FILE   opens, initialises and probes it: prints "fault<TAB>why" if the plugin, "part<TAB>why" if
 *                           one of its components cannot be used
 *
 * What the library itself prints is kept away from the answer. */
#include "../plugin-private.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

typedef const TnPlugin *(*DescFunc)(void);

enum { LAST_RESORT_SECONDS = 60 };

static void
add_broken(GString *out, const char *reason)
{
    g_string_append(out, "broken");
    tn_plugin_add_field(out, reason);
    g_string_append(out, "\nend\n");
}

static void
describe(const char *path, const char *name, GString *out)
{
    g_autofree char *symbol = tn_plugin_symbol(name);
    g_autofree char *fault = NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fault = tn_plugin_link_fault(dlerror());
        g_string_append(out, "outside\n");
        add_broken(out, fault);
        return;
    }
    DescFunc desc = (DescFunc)(guintptr)dlsym(library, symbol);
    if (desc == NULL) {
        fault = g_strdup_printf("it does not export %s, so it is no Tenon plugin", symbol);
        add_broken(out, fault);
        return;
    }
    const TnPlugin *plugin = desc();
    fault = tn_plugin_fault(plugin, name);
    if (fault != NULL)
        add_broken(out, fault);
    else
        tn_plugin_describe(plugin, out);
}

static void
add_line(GString *out, const char *tag, const char *text)
{
    g_string_append(out, tag);
    tn_plugin_add_field(out, text);
    g_string_append_c(out, '\n');
}

static void
try_it(const char *path, const char *name, GString *out)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *prefix = g_strdup_printf("plugin '%s' cannot be used here: ", name);
    tn_registry_add_path(folder);
    if (!tn_registry_open(name, &error)) {
        /* The caller says whose fault it is. */
        const gboolean said = g_str_has_prefix(error->message, prefix);
        add_line(out, "fault", error->message + (said ? strlen(prefix) : 0));
        return;
    }
    const TnPlugin *plugin = tn_registry_plugin(name);
    for (guint i = 0; plugin->factories != NULL && plugin->factories[i] != NULL; i++) {
        const TnFactory *f = plugin->factories[i];
        g_autoptr(GError) why = NULL;
        if (f->probe == NULL || f->probe(&why) > 0)
            continue;
        g_autofree char *text = g_strdup_printf("%s '%s': %s", f->iface, f->name,
                                                why != NULL ? why->message : "not usable here");
        add_line(out, "part", text);
    }
}

int
main(int argc, char **argv)
{
    const gboolean attempt = argc == 3 && strcmp(argv[1], "--try") == 0;
    const char *path = argc > 1 ? argv[argc - 1] : NULL;
    g_autofree char *base = path != NULL ? g_path_get_basename(path) : NULL;
    g_autofree char *name = NULL;
    if (argc != (attempt ? 3 : 2) || !tn_plugin_name_of_file(base, &name)) {
        fprintf(stderr, "usage: tenon-scan [--try] .../libtn_NAME.so\n");
        return 2;
    }
    /* A crash is an answer here, not something to keep a core file of; an orphan ends by itself. */
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    alarm(LAST_RESORT_SECONDS);
    const int answer = dup(STDOUT_FILENO);
    if (answer < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return 3;
    g_autoptr(GString) out = g_string_new(NULL);
    (attempt ? try_it : describe)(path, name, out);
    gsize done = 0;
    while (done < out->len) {
        const ssize_t n = write(answer, out->str + done, out->len - done);
        if (n <= 0)
            return 3;
        done += (gsize)n;
    }
    /* Not through exit: destructors of the library are its own affair. */
    _exit(0);
}
