/* option-private.h: what the files of this room share. */
#pragma once

#include <tenon/option.h>
#include <tenon/tensor.h>

#include "base/base-private.h"
#include "base/refs.h"

/* --- Text (text.c) ---------------------------------------------------------------------------- */

/* Appends text between double quotes with escapes as a config reads them. */
void tn_text_quote(GString *to, const char *text);
/* A name that a config may use as a key without brackets and quotes. */
gboolean tn_text_is_name(const char *text);
/* " (nearest: NAME)", or " (one of a, b, c)" for a handful of candidates, or "". (transfer full):
 * g_free. */
char *tn_text_hint(const char *word, const char *const *candidates, gsize n);
/* The place a path leads to: PATH.key, or key alone. (transfer full): g_free. */
char *tn_path_key(const char *path, const char *key);
char *tn_path_index(const char *path, gsize index); /* from 1 */
/* A value in a few words: `string "abc"`, `1.5`, `a table`. (transfer full): g_free. */
char *tn_value_brief(const TnValue *value);

/* Item i of a list becomes item (transfer full). */
void tn_value_replace_at(TnValue *list, gsize i, TnValue *item);

/* --- Rows (expect.c, quantity.c) -------------------------------------------------------------- */

/* What a row accepts, in words: "a number in (0, 1]", "one of sum, mean". (transfer full):
 * g_free. */
char *tn_option_expected(const TnOption *row);
/* "[0, 1)" if the row is bounded, else NULL. (transfer full): g_free. */
char *tn_option_range(const TnOption *row);
/* Rows of a group, stepped like those of the table they belong to. */
TnOptions tn_option_sub(const TnOption *row, guint32 row_size);
gint tn_option_choice(const TnOption *row, const char *name, gsize length); /* -1: none */
/* "500ms" as seconds; "64KiB" as bytes. FALSE unless the whole text is a number and a unit. */
gboolean tn_quantity_duration(const char *text, double *seconds);
gboolean tn_quantity_size(const char *text, guint64 *bytes);

/* --- Conversion (convert.c) ------------------------------------------------------------------- */

/* Where members' memory comes from, and where faults go. */
typedef struct {
    GPtrArray *owned; /* Owned *: freed with the struct; NULL: strings are interned, the rest is
                       * not allowed */
    TnFaults *faults;
    const char *base_dir;
} TnFill;
typedef struct {
    gpointer object;
    GDestroyNotify destroy;
} TnOwned;
gpointer tn_fill_own(TnFill *fill, gpointer object, GDestroyNotify destroy);
const char *tn_fill_string(TnFill *fill, const char *text);
/* Writes value (not nil) to the member at `to`; every fault is recorded under path. FALSE if there
 * was one. Not for groups. */
gboolean tn_convert(TnFill *fill, const TnOption *row, const TnValue *value, TnWhere where,
                    const char *path, void *to);

/* The row's default as a value; NULL if it has none. (transfer full). */
TnValue *tn_option_default(const TnOption *row);

/* --- Filling (fill.c) ------------------------------------------------------------------------- */

/* Names (dotted inside groups) of the options that were given, and of those that are nil. Either
 * may be NULL. */
typedef struct {
    GHashTable *given, *null;
} TnGiven;
/* Fills zeroed memory from rows' defaults and a map (or a list of positional values, or NULL). */
void tn_fill(TnFill *fill, const TnOptions *options, const TnValue *map, TnWhere where,
             const char *path, const TnGiven *given, void *data);
