/* placing.c: what a job's stages in other processes need of its host: how they are started, and a
 * digest by which both sides know that they have the same config. */
#include <string.h>

#include "host-private.h"

void
tn_host_set_launch(TnHost *host, const char *const *words)
{
    g_strfreev(host->launch);
    host->launch = g_strdupv((char **)words);
}

static int
by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Options of a stage that say where and how it runs, which may differ between two loads of the same
 * config. */
static gboolean
says_where(const char *key)
{
    static const char *const options[] = { "place",   "workers", "queue",    "queue_bytes",
                                           "restart", "key",     "insecure", "timeout" };
    const char *last = strrchr(key, '.');
    for (guint i = 0; last && i < G_N_ELEMENTS(options); i++)
        if (strcmp(last + 1, options[i]) == 0)
            return TRUE;
    return FALSE;
}

char *
tn_host_digest(TnHost *host)
{
    g_autoptr(GPtrArray) items = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    GHashTableIter iter;
    gpointer text;
    g_hash_table_iter_init(&iter, host->sources);
    while (g_hash_table_iter_next(&iter, NULL, &text))
        g_ptr_array_add(items, g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1));
    for (guint i = 0; i < host->overrides->len; i++) {
        const TnOverride *override = host->overrides->pdata[i];
        if (!says_where(override->key))
            g_ptr_array_add(items, g_strdup_printf("%s=%s", override->key, override->text));
    }
    g_ptr_array_sort(items, by_text);
    for (guint i = 0; i < items->len; i++)
        g_checksum_update(sum, items->pdata[i], (gssize)strlen(items->pdata[i]) + 1);
    return g_strdup(g_checksum_get_string(sum));
}
