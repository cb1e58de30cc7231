/* confine.c: where files may come to be that a config names: an untrusted one has them below the
 * working folder, or the run's own, wherever links lead. Which options name such files their rows
 * say (TN_OPTION_OUTPUT), so a component need not know of this. Asked when a config is checked, and
 * again when the component is made, which a callback may do later. */
#include "job-private.h"

#include <glib/gstdio.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    TnHost *host;
    const TnSpec *spec; /* whose options are looked at; NULL: of a method */
    TnFaults *faults;
} Check;

/* --- Places ----------------------------------------------------------------------------------- */

/* Where path leads, as far as it is there. (transfer full); NULL: a link leads nowhere. */
static char *
real_place(const char *path)
{
    char real[PATH_MAX];
    g_autofree char *at = g_strdup(path);
    while (!realpath(at, real)) {
        char *parent = g_path_get_dirname(at);
        if (g_file_test(at, G_FILE_TEST_IS_SYMLINK) || strcmp(parent, at) == 0) {
            g_free(parent);
            return NULL;
        }
        g_free(at);
        at = parent;
    }
    return g_build_filename(real, path + strlen(at), NULL);
}

static gboolean
is_below(const char *place, const char *folder)
{
    char real[PATH_MAX];
    if (!folder || !realpath(folder, real))
        return FALSE;
    const gsize n = strcmp(real, "/") == 0 ? 0 : strlen(real);
    return strncmp(place, real, n) == 0 && (place[n] == '/' || !place[n]);
}

static gboolean
may_write(const TnHost *host, const char *path)
{
    g_autofree char *place = real_place(path);
    const char *run = host->job && host->job->run ? tn_run_path(host->job->run) : host->kept;
    return place && (is_below(place, ".") || is_below(place, run));
}

/* --- Options that name files ------------------------------------------------------------------ */

static void
refuse(const Check *check, const TnOption *row, const char *option, const char *path)
{
    g_autofree char *here = g_get_current_dir();
    const TnValue *given =
        check->spec ? tn_value_get(tn_spec_options(check->spec), row->name) : NULL;
    TnWhere where = tn_value_where(given);
    if (!where.file && check->spec)
        where = tn_spec_where(check->spec);
    tn_faults_add(check->faults, where, option,
                  "'%s' is not below the working folder (%s), where a config may have files "
                  "written; run it from a folder above that file, or lift this with --trust",
                  path, here);
}

static void
check_rows(const Check *check, const TnOptions *rows, const char *data, const char *prefix)
{
    for (guint32 i = 0; i < rows->n; i++) {
        const TnOption *row = tn_options_row(rows, i);
        const char *at = data + row->offset;
        g_autofree char *name =
            prefix && *prefix ? g_strconcat(prefix, ".", row->name, NULL) : g_strdup(row->name);
        if (row->type == TN_OPT_GROUP) {
            const TnOptions sub = { 0, rows->row_size, row->n_sub, row->sub };
            check_rows(check, &sub, at, name);
        } else if (row->type == TN_OPT_PATH && row->flags & TN_OPTION_OUTPUT) {
            const char *path = *(const char *const *)at;
            if (path && !may_write(check->host, path))
                refuse(check, row, name, path);
        }
    }
}

static void check_value(const Check *check, const TnValue *value, const char *path);

static void
check_spec(const Check *outer, const TnSpec *spec, const char *path)
{
    const Check check = { outer->host, spec, outer->faults };
    const TnValue *options = tn_spec_options(spec);
    const TnWhere where = tn_spec_where(spec);
    const TnFactory *factory = tn_registry_find(tn_spec_iface(spec), tn_spec_component(spec), NULL);
    g_autofree char *folder = where.file ? g_path_get_dirname(where.file) : NULL;
    g_autoptr(TnFaults) others = tn_faults_new(); /* tn_spec_check tells them */
    g_autoptr(TnConfig) config =
        factory ? tn_config_parse(&factory->options, options, path, where, folder, others) : NULL;
    if (config)
        check_rows(&check, &factory->options, tn_config_data(config), path);
    check_value(&check, options, path);
}

/* The specs in a value. */
static void
check_value(const Check *check, const TnValue *value, const char *path)
{
    const TnValueType type = tn_value_type(value);
    if (type == TN_VALUE_SPEC)
        check_spec(check, tn_value_get_spec(value), path);
    if (type != TN_VALUE_MAP && type != TN_VALUE_LIST)
        return;
    for (gsize i = 0; i < tn_value_len(value); i++) {
        g_autofree char *below = tn_host_path_below(path, value, i);
        check_value(check, tn_value_at(value, i), below);
    }
}

/* --- Entry ------------------------------------------------------------------------------------ */

void
tn_host_check_outputs(TnHost *host, const TnSpec *spec, TnFaults *faults)
{
    const Check check = { host, NULL, faults };
    if (!host->trust)
        check_spec(&check, spec, NULL);
}

gboolean
tn_host_confine(TnHost *host, const TnSpec *spec, GError **error)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    tn_host_check_outputs(host, spec, faults);
    return !tn_faults_to_error(faults, error);
}

gboolean
tn_host_confine_options(TnHost *host, const TnOptions *rows, const TnConfig *config, GError **error)
{
    g_autoptr(TnFaults) faults = tn_faults_new();
    const Check check = { host, NULL, faults };
    if (!host->trust)
        check_rows(&check, rows, tn_config_data(config), NULL);
    return !tn_faults_to_error(faults, error);
}
