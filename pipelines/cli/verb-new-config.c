/* verb-new-config.c: `tenon new config NAME`: an experiment to start from, which runs as it is. */
#include <string.h>

#include "cli.h"
#include "templates.h"

typedef struct {
    const char *dir;
} NewOptions;

static const TnOption rows[] = {
    { .name = "dir",
      .type = TN_OPT_PATH,
      .flags = TN_OPTION_NULLABLE,
      .offset = G_STRUCT_OFFSET(NewOptions, dir),
      .help = "folder to write it into; else the working directory" },
};

static gint
run(TnVerbCall *call, GError **error)
{
    const NewOptions *options = call->options;
    g_autofree char *name = g_strdup(call->args[0]);
    if (g_str_has_suffix(name, ".lua"))
        name[strlen(name) - strlen(".lua")] = '\0';
    if (*name == '\0' || strpbrk(name, "/\\\"'\n@") != NULL || name[0] == '.' || name[0] == '-') {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                    "'%s' cannot name a config: one plain file name", call->args[0]);
        return 2;
    }
    const char *dir = options->dir != NULL ? options->dir : ".";
    const char *const vars[] = { "NAME", name, NULL };
    if (!template_write_all("config/", dir, name, vars, error))
        return 1;
    g_autofree char *file = g_strconcat(name, ".lua", NULL);
    g_autofree char *path =
        strcmp(dir, ".") == 0 ? g_strdup(file) : g_build_filename(dir, file, NULL);
    fprintf(call->out,
            "%s is an experiment that runs as it is. Next:\n  tenon check %s && tenon run %s\n",
            path, path, path);
    return 0;
}

const TnVerb tn_verb_new_config = {
    .size = sizeof(TnVerb),
    .name = "new config",
    .args = "NAME",
    .help = "write NAME.lua, an experiment that runs as it is, to start from",
    .options = TN_OPTIONS(NewOptions, rows),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
