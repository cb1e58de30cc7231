/* templates.c: fills the embedded templates and writes them where a user wants them. */
#include "templates.h"

#include <errno.h>
#include <string.h>

#include <tenon/base.h>

const TnTemplate *
template_find(const char *name)
{
    for (const TnTemplate *row = tn_cli_templates; row->name != NULL; row++) {
        if (strcmp(row->name, name) == 0)
            return row;
    }
    return NULL;
}

char *
template_fill(const char *text, const char *const *vars)
{
    g_autoptr(GString) out = g_string_new(text);
    for (; vars[0] != NULL; vars += 2) {
        g_autofree char *key = g_strconcat("@", vars[0], "@", NULL);
        g_string_replace(out, key, vars[1], 0);
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}

/* Where a template goes; NULL if it does not belong to prefix. "NAME" in a file's name is the value
 * of NAME, and ".in" at its end is dropped: templates are not what they look like, to tools that
 * read the source tree. (transfer full). */
static char *
target_of(const TnTemplate *row, const char *prefix, const char *folder, const char *name)
{
    if (!g_str_has_prefix(row->name, prefix))
        return NULL;
    g_autoptr(GString) file = g_string_new(row->name + strlen(prefix));
    if (g_str_has_suffix(file->str, ".in"))
        g_string_truncate(file, file->len - strlen(".in"));
    g_string_replace(file, "NAME", name, 0);
    return g_build_filename(folder, file->str, NULL);
}

static gboolean
write_one(const TnTemplate *row, const char *path, const char *const *vars, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *text = template_fill((const char *)row->bytes, vars);
    if (g_mkdir_with_parents(folder, 0777) != 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_IO, "%s cannot be made: %s", folder,
                    g_strerror(errno));
        return FALSE;
    }
    return tn_file_replace_bytes(path, text, strlen(text), error);
}

gboolean
template_write_all(const char *prefix, const char *folder, const char *name,
                   const char *const *vars, GError **error)
{
    for (const TnTemplate *row = tn_cli_templates; row->name != NULL; row++) {
        g_autofree char *path = target_of(row, prefix, folder, name);
        if (path != NULL && g_file_test(path, G_FILE_TEST_EXISTS)) {
            g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "%s is there already; nothing was written",
                        path);
            return FALSE;
        }
    }
    for (const TnTemplate *row = tn_cli_templates; row->name != NULL; row++) {
        g_autofree char *path = target_of(row, prefix, folder, name);
        if (path != NULL && !write_one(row, path, vars, error))
            return FALSE;
    }
    return TRUE;
}
