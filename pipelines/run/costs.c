/* costs.c: tables of measured times as files. What they hold for stands in them: a table made on
 * another machine, or with another library, is not this one's. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <tenon/plugin.h>

#include "run-private.h"

#define FORMAT "tenon-costs"
#define FORMAT_VERSION 1
#define MAX_FILE (64u << 20)

char *
tn_costs_path(void)
{
    const char *path = g_getenv("TENON_COSTS");
    if (path && strcmp(path, "none") == 0)
        return NULL;
    return path && *path ? g_strdup(path)
                         : g_build_filename(g_get_user_cache_dir(), "tenon", "costs.json", NULL);
}

/* --- What a table holds for ------------------------------------------------------------------- */

/* A digest of what the processor can do. */
static char *
features(void)
{
    gsize size;
    char *text = tn_file_read("/proc/cpuinfo", 1u << 20, &size, NULL);
    const char *line = text ? strstr(text, "\nflags") : NULL;
    line = line || !text ? line : strstr(text, "\nFeatures");
    const gsize n = line ? strcspn(line + 1, "\n") : 0;
    const guint64 hash = tn_hash(TN_HASH_INIT, line ? line + 1 : "", n);
    tn_data_free(text);
    return g_strdup_printf("%016" G_GINT64_MODIFIER "x", hash);
}

/* The system takes its time to describe the processors: it is asked once. (transfer full). */
static TnValue *
machine_now(void)
{
    static TnValue *machine;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (!machine) {
        g_autofree char *name = tn_run_processor(), *can = features();
        machine = tn_value_map();
        tn_value_set(machine, "version", tn_value_string(tn_version()));
        tn_value_set(machine, "processor", tn_value_string(name));
        tn_value_set(machine, "features", tn_value_string(can));
        tn_value_set(machine, "processors", tn_value_int((gint64)g_get_num_processors()));
    }
    pthread_mutex_unlock(&lock);
    return tn_value_ref(machine);
}

static TnValue *
plugins_now(void)
{
    TnValue *map = tn_value_map();
    g_auto(GStrv) opened = tn_registry_opened();
    for (guint i = 0; opened[i]; i++) {
        const TnPlugin *plugin = tn_registry_plugin(opened[i]);
        const char *about = TN_HAS(plugin, about) ? plugin->about() : NULL;
        g_autofree char *text =
            g_strconcat(plugin->version, about ? ", " : "", about ? about : "", NULL);
        tn_value_set(map, opened[i], tn_value_string(text));
    }
    return map;
}

/* FALSE if something of `stored` that is known now is another. */
static gboolean
is_alike(const TnValue *stored, const TnValue *now, GError **error)
{
    for (gsize i = 0; i < tn_value_len(now); i++) {
        const char *name = tn_value_key_at(now, i);
        const TnValue *then = tn_value_get(stored, name);
        if (then && !tn_value_equal(then, tn_value_at(now, i))) {
            g_autofree char *a = tn_value_print(then, 0),
                            *b = tn_value_print(tn_value_at(now, i), 0);
            g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED,
                        "measured where %s was %s, here it is %s", name, a, b);
            return FALSE;
        }
    }
    return TRUE;
}

gboolean
tn_costs_fit(const TnValue *file, GError **error)
{
    g_autoptr(TnValue) now = plugins_now();
    return is_alike(tn_value_get(file, "plugins"), now, error);
}

/* --- Files ------------------------------------------------------------------------------------ */

TnValue *
tn_costs_file(const TnValue *rows)
{
    TnValue *file = tn_value_map();
    tn_value_set(file, FORMAT, tn_value_int(FORMAT_VERSION));
    tn_value_set(file, "machine", machine_now());
    tn_value_set(file, "plugins", plugins_now());
    tn_value_set(file, "rows", tn_value_copy(rows));
    return file;
}

gboolean
tn_costs_save(const char *path, const TnValue *rows, GError **error)
{
    g_autoptr(TnValue) file = tn_costs_file(rows);
    g_autofree char *text = tn_json_print(file, TRUE), *folder = g_path_get_dirname(path);
    if (g_mkdir_with_parents(folder, 0700) != 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s: %s", folder, g_strerror(errno));
        return FALSE;
    }
    return tn_file_replace_bytes(path, text, strlen(text), error);
}

TnCosts *
tn_costs_parse(const TnValue *file, gboolean machine, GError **error)
{
    g_autoptr(TnValue) now = machine_now();
    const TnValue *format = tn_value_type(file) == TN_VALUE_MAP ? tn_value_get(file, FORMAT) : NULL;
    if (tn_value_type(format) != TN_VALUE_INT ||
        tn_value_type(tn_value_get(file, "machine")) != TN_VALUE_MAP ||
        tn_value_type(tn_value_get(file, "plugins")) != TN_VALUE_MAP) {
        g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT, "it is no table of kernels' times");
        return NULL;
    }
    if (tn_value_get_int(format) != FORMAT_VERSION) {
        g_set_error(error, TN_ERROR, TN_ERROR_VERSION,
                    "it is of version %" G_GINT64_FORMAT ", this Tenon reads %d",
                    tn_value_get_int(format), FORMAT_VERSION);
        return NULL;
    }
    if (machine && !is_alike(tn_value_get(file, "machine"), now, error))
        return NULL;
    return tn_costs_new(tn_value_get(file, "rows"), error);
}

TnCosts *
tn_costs_load(const char *path, gboolean machine, TnValue **file, GError **error)
{
    gsize size;
    if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        g_set_error(error, TN_ERROR, TN_ERROR_NOT_FOUND, "%s: no such file", path);
        return NULL;
    }
    char *text = tn_file_read(path, MAX_FILE, &size, error);
    g_autoptr(TnValue) value = text ? tn_json_parse(text, size, error) : NULL;
    g_autoptr(TnCosts) costs = value ? tn_costs_parse(value, machine, error) : NULL;
    if (text && !costs)
        g_prefix_error(error, "%s: ", path);
    tn_data_free(text);
    if (costs && file)
        *file = g_steal_pointer(&value);
    return g_steal_pointer(&costs);
}
