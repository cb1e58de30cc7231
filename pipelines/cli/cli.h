/* cli.h: what the program's frame and its verbs share. */
#pragma once

#include <tenon/base.h>
#include <tenon/plugin.h>

/* Every verb-NAME.c of this folder, in the order of their files; NULL-terminated. Written by the
 * build. */
extern const TnVerb *const tn_cli_verbs[];

/* --- args.c: from words to a call ------------------------------------------------------------- */

typedef struct {
    GPtrArray *words; /* of const char *: positional ones */
    TnValue *options; /* map, as tn_config_parse takes it */
    gboolean help;    /* --help or -h */
    gboolean json;    /* --json */
} Args;

/* Reads words that follow a verb. --plugin-path is done at once. FALSE with TN_ERROR_USAGE. */
gboolean args_parse(const TnVerb *verb, int argc, char *const *argv, Args *args, GError **error);
void args_clear(Args *args);
/* Takes "--plugin-path FOLDER" or "--plugin-path=FOLDER" at argv[*i]; FALSE if it is something
 * else. */
gboolean args_take_plugin_path(int argc, char *const *argv, int *i, GError **error);
/* The i-th folder that was given so; NULL beyond. */
const char *args_plugin_path(guint i);
/* Whether the option of a row is on the command line under that name ('-' and '_' are the same). */
const TnOption *args_find_row(const TnOptions *options, const char *name);

/* --- verbs.c: finding verbs ------------------------------------------------------------------- */

/* The verb that argv begins with, of the program or of a plugin, which is opened for it; *n_words
 * says how many words its name has. NULL with TN_ERROR_USAGE (nearest name) otherwise. */
const TnVerb *verb_find(int argc, char *const *argv, int *n_words, GError **error);
/* Calls func for the program's verbs, then for those that the index knows of plugins. */
typedef void (*VerbFunc)(const char *name, const char *args, const char *help, const char *plugin,
                         gpointer data);
void verbs_each(VerbFunc func, gpointer data);

/* --- text.c: text for people ------------------------------------------------------------------ */

/* Text filled to the width, every line after indent spaces. */
void print_filled(FILE *out, const char *text, guint indent);
/* "  NAME   help", the help filled beside names of at most width. */
void print_entry(FILE *out, const char *name, guint width, const char *help);
void print_heading(FILE *out, gboolean color, const char *text);
/* "dataset" of "tenon.dataset/1". (transfer full): g_free. */
char *iface_word(const char *iface);
/* A component's option rows, groups with theirs indented. */
void print_options(FILE *out, const TnOptions *options);
/* The same as a list of maps. (transfer full). */
TnValue *options_to_value(const TnOptions *options);
void print_verb_help(FILE *out, gboolean color, const TnVerb *verb);
void print_overview(FILE *out, gboolean color);

/* --- describe.c: what `plugins`, `ops` and `help` say of one thing ---------------------------- */

void print_factory(FILE *out, gboolean color, const TnFactory *factory);
TnValue *factory_to_value(const TnFactory *factory);
void print_op(FILE *out, gboolean color, const TnOp *op);
TnValue *op_to_value(const TnOp *op);
/* Opens every plugin that supplies iface; those that cannot be opened are passed over. */
void open_suppliers(const char *iface);
/* Prints value as JSON and a newline. */
void print_json(FILE *out, const TnValue *value);
/* A string for JSON; NULL becomes nothing (the key is left out). */
void set_text(TnValue *map, const char *key, const char *text);
