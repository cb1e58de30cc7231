/* checkpoint.c: variables and state as one safetensors file, replaced by one rename: a checkpoint
 * is whole or not there. */
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#include "run-private.h"

/* Layout of the metadata, bumped when a reader of this version could not understand what is
 * written. */
#define LAYOUT 1

/* Below the run's folder. */
static char *
checkpoint_name(guint64 step)
{
    return g_strdup_printf("checkpoints/%012" G_GUINT64_FORMAT ".safetensors", step);
}

static char *
checkpoint_path(const TnRunDir *run, guint64 step)
{
    g_autofree char *name = checkpoint_name(step);
    return g_build_filename(run->path, name, NULL);
}

static gint
newest_first(gconstpointer a, gconstpointer b)
{
    guint64 x = *(const guint64 *)a, y = *(const guint64 *)b;
    return x > y ? -1 : x < y;
}

/* Steps that have a file, newest first. */
static GArray *
list_steps(const TnRunDir *run)
{
    g_autofree char *folder = g_build_filename(run->path, "checkpoints", NULL);
    GArray *steps = g_array_new(FALSE, FALSE, sizeof(guint64));
    GDir *dir = g_dir_open(folder, 0, NULL);
    const char *name;
    while (dir && (name = g_dir_read_name(dir))) {
        char *end;
        guint64 step = g_ascii_strtoull(name, &end, 10);
        if (end > name && strcmp(end, ".safetensors") == 0)
            g_array_append_val(steps, step);
    }
    if (dir)
        g_dir_close(dir);
    g_array_sort(steps, newest_first);
    return steps;
}

static gboolean
is_pinned(const TnRunDir *run, guint64 step)
{
    for (guint i = 0; i < run->pinned->len; i++)
        if (g_array_index(run->pinned, guint64, i) == step)
            return TRUE;
    return FALSE;
}

static void
drop_old(TnRunDir *run, guint keep)
{
    g_autoptr(GArray) steps = list_steps(run);
    guint kept = 0;
    for (guint i = 0; keep && i < steps->len; i++) {
        guint64 step = g_array_index(steps, guint64, i);
        if (is_pinned(run, step) || kept++ < keep)
            continue;
        g_autofree char *path = checkpoint_path(run, step);
        if (g_unlink(path) < 0)
            tn_log("run", TN_LOG_WARN, "%s: cannot be removed: %s", path, g_strerror(errno));
    }
}

static TnValue *
make_metadata(guint64 step, const TnValue *state)
{
    TnValue *metadata = tn_value_map();
    g_autofree char *state_json = tn_json_print(state, FALSE);
    g_autofree char *step_text = g_strdup_printf("%" G_GUINT64_FORMAT, step);
    tn_value_set(metadata, "tenon.layout", tn_value_string(G_STRINGIFY(LAYOUT)));
    tn_value_set(metadata, "tenon.version", tn_value_string(tn_version()));
    tn_value_set(metadata, "tenon.step", tn_value_string(step_text));
    tn_value_set(metadata, "tenon.state", tn_value_string(state_json));
    return metadata;
}

/* Variables of these roles (bits) into a file of the run's folder. */
static gboolean
save_variables(TnRunDir *run, const char *name, TnStore *store, guint roles,
               const TnValue *metadata, GError **error)
{
    const guint n_all = tn_store_n(store);
    g_autofree TnNamedTensor *tensors = g_new0(TnNamedTensor, n_all + 1);
    guint n = 0;
    gboolean ok = TRUE;
    for (guint i = 0; ok && i < n_all; i++) {
        TnVar *var = tn_store_at(store, i);
        if (roles & 1u << tn_var_info(var)->role) {
            tensors[n] = (TnNamedTensor){ tn_var_info(var)->name, tn_var_get(var, error) };
            ok = tensors[n].tensor != NULL;
            n += ok;
        }
    }
    ok = ok && tn_safetensors_save_below(run->path, name, n, tensors, metadata, error);
    for (guint i = 0; i < n; i++)
        tn_tensor_unref(tensors[i].tensor);
    return ok;
}

gboolean
tn_checkpoint_save(TnRunDir *run, guint64 step, TnStore *store, const TnValue *state, guint keep,
                   GError **error)
{
    g_autofree char *name = checkpoint_name(step);
    g_autoptr(TnValue) metadata = make_metadata(step, state);
    /* Metrics first: a resumed run never claims less than its checkpoint knows. */
    tn_run_flush(run);
    if (!save_variables(run, name, store, G_MAXUINT, metadata, error)) {
        tn_error_prefix(error, "checkpoint of step %" G_GUINT64_FORMAT " (the last good one stays)",
                        step);
        return FALSE;
    }
    drop_old(run, keep);
    return TRUE;
}

gboolean
tn_checkpoint_export(TnRunDir *run, const char *name, TnStore *store, GError **error)
{
    if (strchr(name, '/') || name[0] == '.' || !g_str_has_suffix(name, ".safetensors")) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                    "'%s': must be the name of a file that ends in .safetensors", name);
        return FALSE;
    }
    return save_variables(run, name, store, 1u << TN_ROLE_PARAM | 1u << TN_ROLE_STAT, NULL, error);
}

void
tn_checkpoint_pin(TnRunDir *run, guint64 step)
{
    if (!is_pinned(run, step))
        g_array_append_val(run->pinned, step);
}

void
tn_checkpoint_unpin(TnRunDir *run, guint64 step)
{
    for (guint i = 0; i < run->pinned->len; i++)
        if (g_array_index(run->pinned, guint64, i) == step)
            g_array_remove_index(run->pinned, i--);
}

static const char *
metadata_text(const TnSafetensors *file, const char *key)
{
    const TnValue *value = file && tn_safetensors_metadata(file)
                               ? tn_value_get(tn_safetensors_metadata(file), key)
                               : NULL;
    return value ? tn_value_get_string(value) : NULL;
}

/* Opens a checkpoint and judges its head. */
static TnSafetensors *
open_checkpoint(const char *path, GError **error)
{
    g_autoptr(TnSafetensors) file = tn_safetensors_open(path, error);
    if (!file)
        return NULL;
    const char *layout = metadata_text(file, "tenon.layout");
    if (!layout || !metadata_text(file, "tenon.state")) {
        g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT,
                    "%s: a safetensors file, but not a checkpoint of Tenon", path);
        return NULL;
    }
    if (g_ascii_strtoull(layout, NULL, 10) != LAYOUT) {
        g_set_error(error, TN_ERROR, TN_ERROR_VERSION,
                    "%s: checkpoint layout %s, this program (%s) knows %d", path, layout,
                    tn_version(), LAYOUT);
        return NULL;
    }
    return g_steal_pointer(&file);
}

gint64
tn_checkpoint_newest(TnRunDir *run)
{
    g_autoptr(GArray) steps = list_steps(run);
    for (guint i = 0; i < steps->len; i++) {
        guint64 step = g_array_index(steps, guint64, i);
        g_autofree char *path = checkpoint_path(run, step);
        g_autoptr(GError) error = NULL;
        g_autoptr(TnSafetensors) file = open_checkpoint(path, &error);
        if (file)
            return (gint64)step;
        tn_log("run", TN_LOG_WARN, "passed over: %s", error->message);
    }
    return -1;
}

static gboolean
restore_var(const TnSafetensors *file, const char *path, TnVar *var, GError **error)
{
    const TnVarInfo *info = tn_var_info(var);
    gint i = tn_safetensors_find(file, info->name);
    if (i < 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT,
                    "%s: variable '%s' is missing: was the config changed?", path, info->name);
        return FALSE;
    }
    if (!tn_type_equal(&info->type, tn_safetensors_type(file, (guint)i))) {
        g_autofree char *want = tn_type_print(&info->type);
        g_autofree char *got = tn_type_print(tn_safetensors_type(file, (guint)i));
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                    "%s: variable '%s' is %s, the config makes it %s", path, info->name, got, want);
        return FALSE;
    }
    return tn_var_write(var, tn_safetensors_data(file, (guint)i), (gsize)tn_type_bytes(&info->type),
                        error);
}

static gboolean
check_known(const TnSafetensors *file, const char *path, TnStore *store, GError **error)
{
    for (guint i = 0; i < tn_safetensors_n(file); i++) {
        const char *name = tn_safetensors_name(file, i);
        if (!tn_store_find(store, name)) {
            g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT,
                        "%s: holds variable '%s', which the config does not make: was it changed?",
                        path, name);
            return FALSE;
        }
    }
    return TRUE;
}

TnValue *
tn_checkpoint_load(TnRunDir *run, guint64 step, TnStore *store, GError **error)
{
    g_autofree char *path = checkpoint_path(run, step);
    g_autoptr(TnSafetensors) file = open_checkpoint(path, error);
    if (!file || !check_known(file, path, store, error))
        return NULL;
    for (guint i = 0; i < tn_store_n(store); i++)
        if (!restore_var(file, path, tn_store_at(store, i), error))
            return NULL;
    const char *state = metadata_text(file, "tenon.state");
    TnValue *value = tn_json_parse(state, strlen(state), error);
    if (!value)
        tn_error_prefix(error, "%s: state", path);
    return value;
}
