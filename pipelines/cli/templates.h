/* templates.h: the files of templates/, which the build writes into the program. */
#pragma once

#include <glib.h>

#include "cli-templates.h"

/* {name, bytes, size, path}: name is relative to templates/, bytes end with a zero beyond size. */
typedef struct tn_cli_templates_row TnTemplate;

/* NULL if there is none. */
const TnTemplate *template_find(const char *name);

/* Replaces every @KEY@ of text by its value; vars: KEY, value, …, NULL. (transfer full): g_free. */
char *template_fill(const char *text, const char *const *vars);

/* Writes all templates below prefix ("plugin/") into folder: texts filled, NAME in files' names
 * replaced by name. If one of the files is there already, nothing is written: FALSE with
 * TN_ERROR_USAGE. */
gboolean template_write_all(const char *prefix, const char *folder, const char *name,
                            const char *const *vars, GError **error);
