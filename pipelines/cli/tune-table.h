/* tune-table.h: the table that `tenon tune` writes. */
#pragma once

#include <stdio.h>

#include <tenon/base.h>
#include <tenon/value.h>

typedef struct {
    char *path;
    GHashTable *rows; /* key, one of keys → TnValue *, a row */
    GPtrArray *keys;  /* in the order measured */
    gint64 saved;     /* when, of tn_time_ns; 0: not yet */
} TuneTable;

TuneTable *tune_table_new(const char *path);
void tune_table_free(TuneTable *table); /* NULL is allowed */
/* What this machine's file has already. One of elsewhere is to be replaced, and that is said; a file that
 * is no table is somebody's: FALSE. */
gboolean tune_table_take_up(TuneTable *table, FILE *err, GError **error);
/* Whether the node's row has a time of each of these kernels: ids, NULL-terminated. */
gboolean tune_table_has(const TuneTable *table, const char *key, const char *const *kernels);
/* Adds a row (transfer full), or puts it in the old one's place, and saves when it is time to. */
gboolean tune_table_add(TuneTable *table, TnValue *row, GError **error);
gboolean tune_table_save(TuneTable *table, GError **error);
/* All rows. (transfer full). */
TnValue *tune_table_rows(const TuneTable *table);
