/* verbs.c: finds a verb by its one or two words: those of the program first, then those that the
 * index knows of plugins, one of which is opened only when it is called. */
#include <string.h>

#include "cli.h"

static const TnVerb *
find_own(const char *name)
{
    for (const TnVerb *const *verb = tn_cli_verbs; *verb != NULL; verb++) {
        if (strcmp((*verb)->name, name) == 0)
            return *verb;
    }
    return NULL;
}

void
verbs_each(VerbFunc func, gpointer data)
{
    g_autoptr(GPtrArray) plugins = tn_registry_list();
    for (const TnVerb *const *verb = tn_cli_verbs; *verb != NULL; verb++)
        func((*verb)->name, (*verb)->args, (*verb)->help, NULL, data);
    for (guint i = 0; i < plugins->len; i++) {
        const TnPluginInfo *info = plugins->pdata[i];
        for (guint j = 0; j < info->n_verbs; j++)
            func(info->verbs[j], NULL, info->verb_helps[j], info->name, data);
    }
}

typedef struct {
    const char *first;            /* the word typed */
    const char *both;             /* the two words typed; NULL if there is one */
    gboolean has_first, has_both; /* a plugin has it */
    GPtrArray *names;             /* of char * */
    GPtrArray *rest;              /* of char *: second words after first */
} Search;

static void
look_at(const char *name, const char *args, const char *help, const char *plugin, gpointer data)
{
    Search *s = data;
    (void)args;
    (void)help;
    const gsize n = strlen(s->first);
    g_ptr_array_add(s->names, g_strdup(name));
    if (plugin != NULL) {
        s->has_first |= strcmp(name, s->first) == 0;
        s->has_both |= s->both != NULL && strcmp(name, s->both) == 0;
    }
    if (strncmp(name, s->first, n) == 0 && name[n] == ' ')
        g_ptr_array_add(s->rest, g_strdup(name + n + 1));
}

static void
set_unknown(const Search *s, GError **error)
{
    const char *second = s->both != NULL ? s->both + strlen(s->first) + 1 : NULL;
    g_ptr_array_add(s->rest, NULL);
    if (s->rest->len > 1) {
        g_autofree char *all = g_strjoinv(", ", (char **)s->rest->pdata);
        const char *nearest =
            second == NULL
                ? NULL
                : tn_nearest(second, (const char *const *)s->rest->pdata, s->rest->len - 1);
        if (nearest != NULL)
            g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                        "there is no '%s'; did you mean 'tenon %s %s'?", s->both, s->first,
                        nearest);
        else
            g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "'%s' is followed by one of: %s", s->first,
                        all);
        return;
    }
    const char *nearest = tn_nearest(s->first, (const char *const *)s->names->pdata, s->names->len);
    if (nearest != NULL)
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE, "there is no '%s'; did you mean 'tenon %s'?",
                    s->first, nearest);
    else
        g_set_error(error, TN_ERROR, TN_ERROR_USAGE,
                    "there is no '%s'; tenon help lists what there is", s->first);
}

const TnVerb *
verb_find(int argc, char *const *argv, int *n_words, GError **error)
{
    const gboolean two = argc > 1 && argv[1][0] != '-';
    g_autofree char *both = two ? g_strconcat(argv[0], " ", argv[1], NULL) : NULL;
    const TnVerb *verb = two ? find_own(both) : NULL;
    *n_words = verb != NULL ? 2 : 1;
    if (verb == NULL)
        verb = find_own(argv[0]);
    if (verb != NULL)
        return verb;
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) rest = g_ptr_array_new_with_free_func(g_free);
    Search search = { .first = argv[0], .both = both, .names = names, .rest = rest };
    verbs_each(look_at, &search);
    *n_words = search.has_both ? 2 : 1;
    if (search.has_both || search.has_first)
        return tn_registry_verb(search.has_both ? both : argv[0], error);
    set_unknown(&search, error);
    return NULL;
}
