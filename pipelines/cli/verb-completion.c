/* verb-completion.c: `tenon completion`: the script for bash; with words, what the last of them may
 * become, a line each. The script asks the program so, and thereby knows verbs, options and names
 * of plugins too. */
#include <string.h>

#include <tenon/op.h>

#include "cli.h"
#include "templates.h"

typedef struct {
    TnVerbCall *call;
    const char *first; /* the first word of a verb that is complete; NULL */
} Offer;

/* Verbs of one word, the first words of those of two, or the second words after first. */
static void
offer_verb(const char *name, const char *args, const char *help, const char *plugin, gpointer data)
{
    const Offer *offer = data;
    const gsize n = strcspn(name, " ");
    (void)args;
    (void)help;
    (void)plugin;
    if (offer->first == NULL)
        fprintf(offer->call->out, "%.*s\n", (int)n, name);
    else if (strlen(offer->first) == n && strncmp(name, offer->first, n) == 0 && name[n] == ' ')
        fprintf(offer->call->out, "%s\n", name + n + 1);
}

static void
offer_options(TnVerbCall *call, const TnVerb *verb)
{
    for (guint32 i = 0; i < verb->options.n; i++) {
        g_autofree char *name = g_strdup(tn_options_row(&verb->options, i)->name);
        fprintf(call->out, "--%s\n", g_strdelimit(name, "_", '-'));
    }
    fputs("--help\n--json\n--plugin-path\n", call->out);
}

/* After an option that takes one of some words; FALSE if the word before is none. */
static gboolean
offer_choices(TnVerbCall *call, const TnVerb *verb, const char *before)
{
    if (!g_str_has_prefix(before, "--"))
        return FALSE;
    const TnOption *row = args_find_row(&verb->options, before + 2);
    for (const char *const *c = row != NULL ? row->choices : NULL; c != NULL && *c != NULL; c++)
        fprintf(call->out, "%s\n", *c);
    return row != NULL && row->type != TN_OPT_BOOL;
}

static void
offer_names(TnVerbCall *call, const char *verb)
{
    const gboolean plugins = strcmp(verb, "plugins") == 0 || strcmp(verb, "help") == 0;
    const gboolean ops = strcmp(verb, "ops") == 0 || strcmp(verb, "help") == 0;
    g_autoptr(GPtrArray) list = plugins || ops ? tn_registry_list() : g_ptr_array_new();
    guint n = 0;
    const TnOp *const *primitives = ops ? tn_op_primitives(&n) : NULL;
    for (guint i = 0; i < n; i++)
        fprintf(call->out, "%s\n", primitives[i]->name);
    for (guint i = 0; i < list->len; i++) {
        const TnPluginInfo *info = list->pdata[i];
        if (plugins)
            fprintf(call->out, "%s\n", info->name);
        for (guint j = 0; ops && j < info->n_factories; j++) {
            if (strcmp(info->ifaces[j], "tenon.op/1") == 0)
                fprintf(call->out, "%s\n", info->names[j]);
        }
    }
}

static gint
run(TnVerbCall *call, GError **error)
{
    if (call->n_args == 0) {
        fputs((const char *)template_find("completion.bash")->bytes, call->out);
        return 0;
    }
    const char *last = call->args[call->n_args - 1];
    Offer offer = { .call = call, .first = call->n_args > 1 ? call->args[0] : NULL };
    if (call->n_args <= 2)
        verbs_each(offer_verb, &offer);
    if (call->n_args == 1)
        return 0;
    int n_words;
    (void)error;
    const TnVerb *verb = verb_find(call->n_args - 1, (char *const *)call->args, &n_words, NULL);
    if (verb == NULL)
        return 0;
    if (offer_choices(call, verb, call->args[call->n_args - 2]))
        return 0;
    if (last[0] == '-')
        offer_options(call, verb);
    else
        offer_names(call, verb->name);
    return 0;
}

const TnVerb tn_verb_completion = {
    .size = sizeof(TnVerb),
    .name = "completion",
    .args = "[-- WORD ...]",
    .help = "print the completion script for bash; with words, what the last may become",
    .details = "To use it in this shell: source <(tenon completion)",
    .max_args = -1,
    .run = run,
};
