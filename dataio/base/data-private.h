/* data-private.h: the verbs of this room, one file each, and what they share. */
#pragma once

#include <tenon/base.h>
#include <tenon/context.h>
#include <tenon/dataset.h>

extern const TnVerb data_verb_import, data_verb_info, data_verb_head;

/* Opens a dataset for a verb: component, or a file whose name tells it ("x.h5"), with key=value
 * words as options. (transfer full). */
TnObject *data_open(TnContext *context, const char *component, const TnValue *options,
                    GError **error);
/* args "key=value" into a map; a word without '=' is an error. */
gboolean data_parse_words(gint n, const char *const *words, TnValue *map, GError **error);
/* Folder where named data is: --data-root, TENON_DATA, else XDG_DATA_HOME/tenon/data. (transfer
 * full). */
char *data_root(const char *option);
/* name as it is if it has a folder in it or exists, else inside the data root. (transfer full). */
char *data_path(const char *root, const char *name);
