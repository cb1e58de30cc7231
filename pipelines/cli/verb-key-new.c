/* verb-key-new.c: `tenon key new NAME`: a pair of keys for wires over TCP. */
#include "cli.h"
#include "wire/key.h"

static gint
run(TnVerbCall *call, GError **error)
{
    const char *name = call->args[0];
    TnKey key = { 0 };
    if (!tn_key_make(name, &key, error))
        return 1;
    tn_key_clear(&key);
    g_autofree char *folder = tn_key_folder();
    fprintf(call->out,
            "%s/%s.key  with the secret: whoever has it may serve and join\n"
            "%s/%s.pub  the public half\n"
            "Next:\n"
            "  copy %s.key to the same folder of the other host by a safe way (scp -p), where "
            "nobody else may read it\n"
            "  write key = \"%s\" beside place = \"tcp://…\" in the config\n",
            folder, name, folder, name, name, name);
    return 0;
}

const TnVerb tn_verb_key_new = {
    .size = sizeof(TnVerb),
    .name = "key new",
    .args = "NAME",
    .help = "make a key, with which stages on several hosts know each other",
    .details =
        "A key is a file NAME.key, which holds the secret, and NAME.pub. They lie in "
        "XDG_CONFIG_HOME/tenon/keys, ~/.config/tenon/keys unless that is set, which is closed "
        "to other users. Both ends of a wire need NAME.key; an existing key is never replaced.",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
