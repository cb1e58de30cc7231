/* args.c: reads the words of a command line by a verb's option rows: --name VALUE, --name=VALUE,
 * --flag, --no-flag. What a value means is the rows' business: here it becomes the tree that a
 * config would have given. */
#include <string.h>

#include "cli.h"

/* Names compare with '-' and '_' as one. */
static gboolean
same_name(const char *a, const char *b)
{
    for (; *a != '\0' && *b != '\0'; a++, b++) {
        if (*a != *b && !((*a == '-' || *a == '_') && (*b == '-' || *b == '_')))
            return FALSE;
    }
    return *a == *b;
}

const TnOption *
args_find_row(const TnOptions *options, const char *name)
{
    for (guint32 i = 0; i < options->n; i++) {
        const TnOption *row = tn_options_row(options, i);
        if (same_name(row->name, name) || (row->was != NULL && same_name(row->was, name)))
            return row;
    }
    return NULL;
}

static const char *plugin_paths[64]; /* the program's own words */
static guint n_plugin_paths;

const char *
args_plugin_path(guint i)
{
    return i < n_plugin_paths ? plugin_paths[i] : NULL;
}

gboolean
args_take_plugin_path(int argc, char *const *argv, int *i, GError **error)
{
    static const char name[] = "--plugin-path";
    const char *word = argv[*i];
    const char *folder = NULL;
    if (strcmp(word, name) == 0 && *i + 1 < argc)
        folder = argv[++*i];
    else if (g_str_has_prefix(word, name) && word[strlen(name)] == '=')
        folder = word + strlen(name) + 1;
    if (folder != NULL && *folder != '\0' && n_plugin_paths < G_N_ELEMENTS(plugin_paths)) {
        tn_registry_add_path(folder);
        plugin_paths[n_plugin_paths++] = folder;
        return TRUE;
    }
    if (folder != NULL && *folder != '\0')
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "there are at most %u --plugin-path",
                    (guint)G_N_ELEMENTS(plugin_paths));
    else if (strcmp(word, name) == 0 || folder != NULL)
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "--plugin-path needs a folder");
    return FALSE;
}

/* Rows whose values are the words themselves; the rest are read as a config's values. */
static gboolean
is_plain_text(TnOptionType type)
{
    return type == TN_OPT_STRING || type == TN_OPT_PATH || type == TN_OPT_ENUM ||
           type == TN_OPT_FLAGS || type == TN_OPT_DURATION || type == TN_OPT_SIZE ||
           type == TN_OPT_STRINGS;
}

static gboolean
set_value(Args *args, const TnOption *row, const char *text, GError **error)
{
    TnValue *value = is_plain_text(row->type) ? tn_value_string(text) : tn_value_parse(text, error);
    if (value == NULL) {
        tn_error_prefix(error, "--%s", row->name);
        return FALSE;
    }
    if (row->type != TN_OPT_STRINGS) {
        tn_value_set(args->options, row->name, value);
        return TRUE;
    }
    /* Given again, it adds to the list. */
    TnValue *list = tn_value_get(args->options, row->name);
    if (list == NULL) {
        list = tn_value_list();
        tn_value_set(args->options, row->name, list);
    }
    tn_value_push(list, value);
    return TRUE;
}

static void
set_unknown(const TnVerb *verb, const char *word, const char *name, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (guint32 i = 0; i < verb->options.n; i++)
        g_ptr_array_add(names, (gpointer)tn_options_row(&verb->options, i)->name);
    static const char *const common[] = { "help", "json", "plugin-path" };
    for (guint i = 0; i < G_N_ELEMENTS(common); i++)
        g_ptr_array_add(names, (gpointer)common[i]);
    const char *nearest = tn_nearest(name, (const char *const *)names->pdata, names->len);
    if (nearest != NULL)
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                    "'%s' has no option '%s'; did you mean '--%s'?", verb->name, word, nearest);
    else
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "'%s' has no option '%s'; see tenon %s --help",
                    verb->name, word, verb->name);
}

/* "--name…" at argv[*i]. */
static gboolean
take_option(const TnVerb *verb, int argc, char *const *argv, int *i, Args *args, GError **error)
{
    const char *word = argv[*i];
    const char *equals = strchr(word, '=');
    g_autofree char *name =
        equals != NULL ? g_strndup(word + 2, (gsize)(equals - word - 2)) : g_strdup(word + 2);
    const TnOption *row = args_find_row(&verb->options, name);
    if (row == NULL && g_str_has_prefix(name, "no-") && equals == NULL) {
        row = args_find_row(&verb->options, name + 3);
        if (row != NULL && row->type == TN_OPT_BOOL) {
            tn_value_set(args->options, row->name, tn_value_bool(FALSE));
            return TRUE;
        }
        row = NULL;
    }
    if (row == NULL) {
        set_unknown(verb, word, name, error);
        return FALSE;
    }
    if (equals != NULL)
        return set_value(args, row, equals + 1, error);
    if (row->type == TN_OPT_BOOL) {
        tn_value_set(args->options, row->name, tn_value_bool(TRUE));
        return TRUE;
    }
    if (*i + 1 == argc) {
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "%s needs a value", word);
        return FALSE;
    }
    return set_value(args, row, argv[++*i], error);
}

/* What every verb takes. */
static gboolean
take_common(int argc, char *const *argv, int *i, Args *args, GError **error)
{
    if (strcmp(argv[*i], "--help") == 0 || strcmp(argv[*i], "-h") == 0)
        return args->help = TRUE;
    if (strcmp(argv[*i], "--json") == 0)
        return args->json = TRUE;
    return args_take_plugin_path(argc, argv, i, error);
}

gboolean
args_parse(const TnVerb *verb, int argc, char *const *argv, Args *args, GError **error)
{
    gboolean only_words = FALSE;
    args->words = g_ptr_array_new();
    args->options = tn_value_map();
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        g_autoptr(GError) why = NULL;
        /* "-" and "-1" are words too. */
        if (only_words || word[0] != '-' || word[1] == '\0' || g_ascii_isdigit(word[1]) ||
            word[1] == '.') {
            g_ptr_array_add(args->words, (gpointer)word);
        } else if (strcmp(word, "--") == 0) {
            only_words = TRUE;
        } else if (!take_common(argc, argv, &i, args, &why)) {
            if (why != NULL) {
                g_propagate_error(error, g_steal_pointer(&why));
                return FALSE;
            }
            if (word[1] != '-') {
                set_unknown(verb, word, word + 1, error);
                return FALSE;
            }
            if (!take_option(verb, argc, argv, &i, args, error))
                return FALSE;
        }
    }
    return TRUE;
}

void
args_clear(Args *args)
{
    g_clear_pointer(&args->words, g_ptr_array_unref);
    g_clear_pointer(&args->options, tn_value_unref);
}
