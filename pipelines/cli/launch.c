/* launch.c: the command line of a stage's own process. Its threads are one: such processes run beside
 * the one that computes, on the same processors. */
#include "launch.h"

#include <unistd.h>

#include "cli.h"

static void add(GPtrArray *words, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void
add(GPtrArray *words, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_ptr_array_add(words, g_strdup_vprintf(format, args));
    va_end(args);
}

char **
launch_words(const ConfigOptions *options, const char *config, const char *kept, gint n_overrides,
             const char *const *overrides, const TnHost *host)
{
    GPtrArray *words = g_ptr_array_new();
    g_autofree char *program = g_file_read_link("/proc/self/exe", NULL);
    /* A program that was replaced meanwhile can still be started by that name. */
    add(words, "%s",
        program && !g_str_has_suffix(program, " (deleted)") ? program : "/proc/self/exe");
    add(words, "stage");
    add(words, "--parent=%d", (int)getpid());
    add(words, "--threads=1");
    add(words, "--data-root=%s", tn_host_data_root(host));
    if (options->trust)
        add(words, "--trust");
    if (kept)
        add(words, "--kept=%s", kept);
    for (guint i = 0; args_plugin_path(i); i++)
        add(words, "--plugin-path=%s", args_plugin_path(i));
    add(words, "%s", config);
    for (gint i = 0; i < n_overrides; i++)
        add(words, "%s", overrides[i]);
    g_ptr_array_add(words, NULL);
    return (char **)g_ptr_array_free(words, FALSE);
}
