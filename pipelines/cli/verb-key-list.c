/* verb-key-list.c: `tenon key list`: the keys that are here, and whether they can be used. A key that
 * cannot is a line like any other: the list never fails. */
#include <string.h>

#include "cli.h"
#include "wire/key.h"

/* {name, public, usable, why_not} of one key; nothing of its secret. */
static TnValue *
describe(const char *name)
{
    TnValue *row = tn_value_map();
    TnKey key = { 0 };
    g_autoptr(GError) why = NULL;
    const gboolean usable = tn_key_load(name, &key, &why);
    tn_key_clear(&key);
    /* What cannot be used may still say which key it is. */
    if (usable || tn_key_load_public(name, &key, NULL))
        set_text(row, "public", key.public_key);
    set_text(row, "name", name);
    tn_value_set(row, "usable", tn_value_bool(usable));
    set_text(row, "why_not", why ? why->message : NULL);
    return row;
}

static const char *
text_of(const TnValue *row, const char *key)
{
    const TnValue *value = tn_value_get(row, key);
    return value ? tn_value_get_string(value) : NULL;
}

static void
print_row(TnVerbCall *call, const TnValue *row, guint width)
{
    const char *public = text_of(row, "public"), *why = text_of(row, "why_not");
    fprintf(call->out, "%-*s  %s\n", (int)width, tn_value_get_string(tn_value_get(row, "name")),
            public ? public : "(its public half is not known)");
    if (!why)
        return;
    g_autofree char *told = g_strdup_printf("cannot be used: %s", why);
    if (call->color)
        fputs("\033[31m", call->out);
    print_filled(call->out, told, 2);
    if (call->color)
        fputs("\033[0m", call->out);
}

static gint
run(TnVerbCall *call, GError **error)
{
    g_autoptr(GPtrArray) names = tn_key_names();
    g_autoptr(TnValue) list = tn_value_list();
    g_autofree char *folder = tn_key_folder();
    gsize width = 0;
    (void)error;
    for (guint i = 0; i < names->len; i++) {
        width = MAX(width, strlen(names->pdata[i]));
        tn_value_push(list, describe(names->pdata[i]));
    }
    if (call->json) {
        print_json(call->out, list);
        return 0;
    }
    for (gsize i = 0; i < tn_value_len(list); i++)
        print_row(call, tn_value_at(list, i), (guint)width);
    if (names->len == 0)
        fprintf(call->err, "tenon: no keys in %s; tenon key new NAME makes one\n", folder);
    return 0;
}

const TnVerb tn_verb_key_list = {
    .size = sizeof(TnVerb),
    .name = "key list",
    .help = "list keys: name, public half, and whether they can be used",
    .details = "A key can be used if NAME.key is a plain file that nobody else may read and its "
               "halves belong together. Secrets are never printed.",
    .run = run,
};
