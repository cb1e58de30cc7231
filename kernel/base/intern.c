/* intern.c: one copy of each string, for good: names of nodes and fields, files of configs.
 *
 * GLib's own table gives up memory each time it grows, which counts where graphs make names by the
 * thousand. */
#include <pthread.h>

#include <tenon/base.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static GHashTable *strings; /* string -> itself */

const char *
tn_intern(const char *string)
{
    if (!string)
        return NULL;
    pthread_mutex_lock(&lock);
    if (!strings)
        strings = g_hash_table_new(g_str_hash, g_str_equal);
    char *known = g_hash_table_lookup(strings, string);
    if (!known) {
        known = g_strdup(string);
        g_hash_table_add(strings, known);
    }
    pthread_mutex_unlock(&lock);
    return known;
}
