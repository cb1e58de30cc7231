/* tune-table.c: the table that `tenon tune` writes: what this machine has already, and what is measured.
 *
 * A whole grid takes long, so the file is written every few seconds, as a whole each time: of a tune that
 * is killed no more is lost than these. It is written after the first row, too, so that a folder that
 * nobody may write into, or a full disk, is known before the measuring. */
#include "tune-table.h"

#include <tenon/cost.h>
#include <tenon/run.h>

#define SAVE_EVERY 10000000000 /* ns */

TuneTable *
tune_table_new(const char *path)
{
    TuneTable *table = g_new0(TuneTable, 1);
    table->path = g_strdup(path);
    table->rows =
        g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)tn_value_unref);
    table->keys = g_ptr_array_new_with_free_func(g_free);
    return table;
}

void
tune_table_free(TuneTable *table)
{
    if (table == NULL)
        return;
    g_hash_table_unref(table->rows);
    g_ptr_array_unref(table->keys);
    g_free(table->path);
    g_free(table);
}

static void
put(TuneTable *table, TnValue *row)
{
    const char *key = tn_value_get_string(tn_value_get(row, "node"));
    gpointer kept;
    if (!g_hash_table_lookup_extended(table->rows, key, &kept, NULL)) {
        kept = g_strdup(key);
        g_ptr_array_add(table->keys, kept);
    }
    g_hash_table_insert(table->rows, kept, row);
}

gboolean
tune_table_take_up(TuneTable *table, FILE *err, GError **error)
{
    g_autoptr(TnValue) file = NULL;
    g_autoptr(GError) why = NULL;
    g_autoptr(TnCosts) costs = tn_costs_load(table->path, TRUE, &file, &why);
    if (costs && !tn_costs_fit(file, &why))
        g_prefix_error(&why, "%s: ", table->path);
    if (g_error_matches(why, TN_ERROR, TN_ERROR_NOT_FOUND))
        return TRUE;
    if (g_error_matches(why, TN_ERROR, TN_ERROR_UNSUPPORTED) ||
        g_error_matches(why, TN_ERROR, TN_ERROR_VERSION)) {
        fprintf(err, "tenon: warning: %s; a new table takes its place\n", why->message);
        return TRUE;
    }
    if (why && !g_error_matches(why, TN_ERROR, TN_ERROR_CORRUPT)) {
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    if (why) {
        g_set_error(error, why->domain, why->code, "%s; `tenon tune --anew` replaces it",
                    why->message);
        return FALSE;
    }
    const TnValue *old = tn_costs_rows(costs);
    for (gsize i = 0; i < tn_value_len(old); i++)
        put(table, tn_value_copy(tn_value_at(old, i)));
    return TRUE;
}

gboolean
tune_table_has(const TuneTable *table, const char *key, const char *const *kernels)
{
    const TnValue *row = g_hash_table_lookup(table->rows, key);
    const TnValue *us = row ? tn_value_get(row, "us") : NULL;
    while (us && *kernels && tn_value_get(us, *kernels))
        kernels++;
    return us && !*kernels;
}

TnValue *
tune_table_rows(const TuneTable *table)
{
    TnValue *list = tn_value_list();
    for (guint i = 0; i < table->keys->len; i++)
        tn_value_push(list, tn_value_ref(g_hash_table_lookup(table->rows,
                                                             g_ptr_array_index(table->keys, i))));
    return list;
}

gboolean
tune_table_save(TuneTable *table, GError **error)
{
    g_autoptr(TnValue) rows = tune_table_rows(table);
    table->saved = tn_time_ns();
    return tn_costs_save(table->path, rows, error);
}

gboolean
tune_table_add(TuneTable *table, TnValue *row, GError **error)
{
    put(table, row);
    return (table->saved != 0 && tn_time_ns() - table->saved < SAVE_EVERY) ||
           tune_table_save(table, error);
}
