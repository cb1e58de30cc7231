/* provenance.c: what somebody needs to know to run a run again: command, versions, plugins, host,
 * devices, seed, commit. */
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <tenon/plugin.h>
#include <tenon/pool.h>

#include "run-private.h"

static TnValue *
strings(int n, char *const *items)
{
    TnValue *list = tn_value_list();
    for (int i = 0; i < n; i++)
        tn_value_push(list, tn_value_string(items[i]));
    return list;
}

/* First line of a command's output, NULL if it fails. Only git is run, with fixed arguments. */
static char *
git(const char *folder, const char *a, const char *b)
{
    const char *argv[] = { "git", "-C", folder, a, b, NULL };
    char *out = NULL;
    gint status = 1;
    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL,
                      NULL, NULL, &out, NULL, &status, NULL) ||
        !g_spawn_check_wait_status(status, NULL))
        g_clear_pointer(&out, g_free);
    return out ? g_strchomp(out) : NULL;
}

/* The commit of the folder that the config stands in, if it is under git. A folder without .git
 * above it costs nothing. */
static TnValue *
git_state(const char *folder)
{
    g_autofree char *at = g_canonicalize_filename(folder, NULL);
    gboolean found = FALSE;
    while (!found) {
        g_autofree char *dot_git = g_build_filename(at, ".git", NULL);
        found = g_file_test(dot_git, G_FILE_TEST_EXISTS);
        char *parent = g_path_get_dirname(at);
        gboolean top = strcmp(parent, at) == 0;
        g_free(at);
        at = parent;
        if (top)
            break;
    }
    g_autofree char *commit = found ? git(folder, "rev-parse", "HEAD") : NULL;
    if (!commit)
        return NULL;
    g_autofree char *changes = git(folder, "status", "--porcelain");
    TnValue *state = tn_value_map();
    tn_value_set(state, "commit", tn_value_string(commit));
    tn_value_set(state, "changed", tn_value_bool(changes && *changes));
    return state;
}

static char *
file_digest(const char *path)
{
    gsize size;
    char *bytes = tn_file_read(path, 0, &size, NULL);
    if (!bytes)
        return NULL;
    char *digest = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guchar *)bytes, size);
    tn_data_free(bytes);
    return digest;
}

/* The plugins that were opened, with the digests of their files. */
static TnValue *
plugins(void)
{
    TnValue *list = tn_value_list();
    g_auto(GStrv) opened = tn_registry_opened();
    g_autoptr(GPtrArray) known = tn_registry_list();
    for (guint i = 0; opened[i]; i++) {
        TnValue *row = tn_value_map();
        const TnPlugin *plugin = tn_registry_plugin(opened[i]);
        tn_value_set(row, "name", tn_value_string(opened[i]));
        if (TN_HAS(plugin, about))
            tn_value_set(row, "about", tn_value_string(plugin->about()));
        for (guint k = 0; k < known->len; k++) {
            const TnPluginInfo *info = g_ptr_array_index(known, k);
            if (strcmp(info->name, opened[i]) != 0)
                continue;
            g_autofree char *digest = file_digest(info->path);
            tn_value_set(row, "version", tn_value_string(info->version ? info->version : ""));
            tn_value_set(row, "path", tn_value_string(info->path));
            tn_value_set(row, "sha256", tn_value_string(digest ? digest : ""));
            break;
        }
        tn_value_push(list, row);
    }
    return list;
}

char *
tn_run_processor(void)
{
    gsize size;
    char *text = tn_file_read("/proc/cpuinfo", 1u << 20, &size, NULL);
    const char *line = text ? strstr(text, "model name") : NULL;
    line = line ? strchr(line, ':') : NULL;
    char *name = line ? g_strndup(line + 1, strcspn(line + 1, "\n")) : g_strdup("unknown");
    tn_data_free(text);
    return g_strstrip(name);
}

static TnValue *
host(void)
{
    TnValue *map = tn_value_map();
    struct utsname uts;
    g_autofree char *cpu = tn_run_processor();
    if (uname(&uts) == 0) {
        tn_value_set(map, "name", tn_value_string(uts.nodename));
        g_autofree char *system =
            g_strdup_printf("%s %s %s", uts.sysname, uts.release, uts.machine);
        tn_value_set(map, "system", tn_value_string(system));
    }
    tn_value_set(map, "processor", tn_value_string(cpu));
    tn_value_set(map, "processors", tn_value_int((gint64)g_get_num_processors()));
    tn_value_set(map, "threads", tn_value_int((gint64)tn_pool_threads()));
    return map;
}

static TnValue *
devices(TnContext *context)
{
    TnValue *list = tn_value_list();
    for (guint i = 0; i < tn_context_n_devices(context); i++)
        tn_value_push(list, tn_value_string(tn_device_name(tn_context_device(context, i))));
    return list;
}

TnValue *
tn_run_machinery(TnContext *context)
{
    TnValue *map = tn_value_map();
    tn_value_set(map, "version", tn_value_string(tn_version()));
    tn_value_set(map, "devices", devices(context));
    tn_value_set(map, "host", host());
    tn_value_set(map, "plugins", plugins());
    return map;
}

static void
merge(TnValue *into, const TnValue *map)
{
    for (gsize i = 0; i < tn_value_len(map); i++)
        tn_value_set(into, tn_value_key_at(map, i), tn_value_ref(tn_value_at(map, i)));
}

gboolean
tn_run_write_provenance(TnRunDir *run, TnContext *context, int argc, char *const *argv,
                        const TnValue *extra, GError **error)
{
    g_autoptr(TnValue) map = tn_value_map(), machinery = tn_run_machinery(context);
    g_autofree char *folder = g_get_current_dir();
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *time = g_date_time_format_iso8601(now);
    tn_value_set(map, "command", strings(argc, argv));
    tn_value_set(map, "folder", tn_value_string(folder));
    tn_value_set(map, "time", tn_value_string(time));
    tn_value_set(map, "seed", tn_value_uint(tn_context_seed(context)));
    merge(map, machinery);
    const TnValue *config = tn_value_get(extra, "config");
    g_autofree char *beside = tn_value_type(config) == TN_VALUE_STRING
                                  ? g_path_get_dirname(tn_value_get_string(config))
                                  : g_strdup(folder);
    TnValue *commit = git_state(beside);
    if (commit)
        tn_value_set(map, "git", commit);
    merge(map, extra);
    return tn_run_put_json(run, TN_PROVENANCE, map, error);
}
