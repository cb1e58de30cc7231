/* verb-new-plugin.c: `tenon new plugin NAME`: a project outside the tree that builds against an
 * installed Tenon and passes its test: an operator with body, gradient and kernel, a config that
 * uses it, a test, a README. */
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
      .help = "where to write it; else a folder of that name here" },
};

static gint
run(TnVerbCall *call, GError **error)
{
    const NewOptions *options = call->options;
    const char *name = call->args[0];
    if (!g_ascii_islower(name[0]) ||
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") < strlen(name) || strlen(name) > 50) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                    "'%s' cannot name a plugin: lower-case letters, digits and '_', a letter first",
                    name);
        return 2;
    }
    const char *dir = options->dir != NULL ? options->dir : name;
    g_autofree char *upper = g_ascii_strup(name, -1);
    const char *const vars[] = {
        "NAME", name, "UPPER", upper, "TENON_VERSION", tn_version(), NULL
    };
    if (!template_write_all("plugin/", dir, name, vars, error))
        return 1;
    fprintf(call->out,
            "%s holds a plugin with the operator %s. Next:\n"
            "  cd %s && make test\n"
            "Its README tells the rest.\n",
            dir, name, dir);
    return 0;
}

const TnVerb tn_verb_new_plugin = {
    .size = sizeof(TnVerb),
    .name = "new plugin",
    .args = "NAME",
    .help =
        "write a plugin project with an operator of that name, which builds and passes its test",
    .options = TN_OPTIONS(NewOptions, rows),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
