/* locate.c: where plugins and the scanner are: beside libtenon's own file, and where the user
 * said. */
#include "plugin-private.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifndef TN_LIBEXECDIR_FROM_LIB
#define TN_LIBEXECDIR_FROM_LIB "../libexec/tenon"
#endif
#ifndef TN_PLUGINDIR_FROM_LIB
#define TN_PLUGINDIR_FROM_LIB "tenon/plugins"
#endif

static struct {
    pthread_once_t once;
    char *library, *folder;
    guint64 stamp;
} self = { .once = PTHREAD_ONCE_INIT };

static GPtrArray *added; /* folders of tn_registry_add_path, first wins; slow lock */

static void
find_self(void)
{
    Dl_info info;
    struct stat st;
    if (dladdr((void *)(guintptr)tn_registry_add_path, &info) != 0 && info.dli_fname != NULL)
        self.library = realpath(info.dli_fname, NULL);
    if (self.library == NULL)
        self.library = g_strdup("/");
    self.folder = g_path_get_dirname(self.library);
    self.stamp = tn_hash(TN_HASH_INIT, self.library, strlen(self.library));
    if (stat(self.library, &st) == 0) {
        const gint64 key[3] = { st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_size };
        self.stamp = tn_hash(self.stamp, key, sizeof key);
    }
}

guint64
tn_plugin_library_stamp(void)
{
    pthread_once(&self.once, find_self);
    return self.stamp;
}

char *
tn_plugin_scanner(char **missing)
{
    pthread_once(&self.once, find_self);
    g_autofree char *in_build = g_build_filename(self.folder, "tenon-scan", NULL);
    g_autofree char *relative =
        g_build_filename(self.folder, TN_LIBEXECDIR_FROM_LIB, "tenon-scan", NULL);
    g_autofree char *in_prefix = g_canonicalize_filename(relative, "/");
    if (g_file_test(in_build, G_FILE_TEST_IS_EXECUTABLE))
        return g_steal_pointer(&in_build);
    if (g_file_test(in_prefix, G_FILE_TEST_IS_EXECUTABLE))
        return g_steal_pointer(&in_prefix);
    *missing = g_strdup_printf("neither %s nor %s can be run", in_build, in_prefix);
    return NULL;
}

void
tn_registry_add_path(const char *folder)
{
    g_return_if_fail(folder != NULL);
    tn_registry_lock_slow();
    if (added == NULL)
        added = g_ptr_array_new();
    g_ptr_array_add(added, g_canonicalize_filename(folder, NULL));
    tn_registry_unlock_slow();
}

/* Takes folder; leaves out one that is there already. */
static void
add_folder(GPtrArray *folders, char *folder)
{
    for (guint i = 0; i < folders->len; i++) {
        if (strcmp(folders->pdata[i], folder) == 0) {
            g_free(folder);
            return;
        }
    }
    g_ptr_array_add(folders, folder);
}

GPtrArray *
tn_plugin_folders(void)
{
    pthread_once(&self.once, find_self);
    GPtrArray *folders = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; added != NULL && i < added->len; i++)
        add_folder(folders, g_strdup(added->pdata[i]));
    static gboolean told; /* the slow lock is held */
    const char *variable = g_getenv("TENON_PLUGIN_PATH");
    g_auto(GStrv) parts = g_strsplit(variable != NULL ? variable : "", ":", -1);
    for (char **part = parts; *part != NULL; part++) {
        /* An empty or relative part would be the working directory, from which nothing is ever
         * loaded. */
        if (g_path_is_absolute(*part))
            add_folder(folders, g_canonicalize_filename(*part, "/"));
        else if (**part != '\0' && !told)
            tn_log("plugin", TN_LOG_WARN, "TENON_PLUGIN_PATH: '%s' is not absolute, passed over",
                   *part);
    }
    told = TRUE;
    add_folder(folders, g_build_filename(self.folder, "plugins", NULL));
    add_folder(folders, g_build_filename(self.folder, TN_PLUGINDIR_FROM_LIB, NULL));
    return folders;
}
