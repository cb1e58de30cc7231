/* costs.c: a table of measured times, and the row that says most of a node.
 *
 * Nodes are compared as text, as choose.c writes them: the text without attributes and with its
 * numbers taken out is the class of a node, the numbers are its sizes. Rows of one class are compared
 * by their sizes. */
#include "costs.h"

#include "base/refs.h"

#include <math.h>
#include <string.h>
#include <tenon/base.h>

#define MAX_SIZES 128
#define MAX_KEY 4096

typedef struct {
    TnCostRow row;
    guint n;
    float *log_sizes;
} Entry;

struct TnCosts {
    TnRefs refs;
    guint64 digest;
    TnValue *rows;
    GPtrArray *entries;  /* of Entry *, owned */
    GHashTable *by_key;  /* const char * → Entry * */
    GHashTable *by_kind; /* class → GPtrArray of Entry *, in the table's order */
};

/* --- Nodes as text ---------------------------------------------------------------------------- */

/* "cpu matmul f32[8, 4] f32[4, 2] -> f32[8, 2] #6b1f" → "cpu matmul f32[,] f32[,] -> f32[,]" and the
 * logarithms of 8, 4, 4, 2, 8, 2. Digits outside brackets are names'. (transfer full); NULL: too many
 * sizes. */
static char *
split_key(const char *key, float *sizes, guint *n)
{
    GString *kind = g_string_new(NULL);
    gboolean inside = FALSE;
    *n = 0;
    for (const char *at = key; *at != '\0' && *at != '#';) {
        if (inside && g_ascii_isdigit(*at)) {
            char *end;
            const guint64 size = g_ascii_strtoull(at, &end, 10);
            if (*n == MAX_SIZES) {
                g_string_free(kind, TRUE);
                return NULL;
            }
            sizes[(*n)++] = log2f((float)size + 1);
            at = end;
            continue;
        }
        inside = *at == '[' || (inside && *at != ']');
        if (*at != ' ' || !inside) {
            g_string_append_c(kind, *at);
        }
        at++;
    }
    return g_strchomp(g_string_free(kind, FALSE));
}

static double
distance(const Entry *entry, const float *sizes, guint n)
{
    double sum = 0;
    for (guint i = 0; i < n; i++) {
        const double gap = (double)entry->log_sizes[i] - (double)sizes[i];
        sum += gap * gap;
    }
    return entry->n == n ? sqrt(sum) : INFINITY;
}

/* --- Making a table --------------------------------------------------------------------------- */

static void
entry_free(gpointer data)
{
    Entry *entry = data;
    g_free(entry->log_sizes);
    g_free(entry->row.times);
    g_free(entry);
}

/* A row's times, shortest first. */
static gboolean
read_times(const TnValue *us, TnCostRow *row)
{
    const gsize n = tn_value_type(us) == TN_VALUE_MAP ? tn_value_len(us) : 0;
    row->times = g_new(TnCost, n + 1);
    row->n_times = (guint)n;
    for (gsize i = 0; i < n; i++) {
        const TnValueType type = tn_value_type(tn_value_at(us, i));
        const double time = tn_value_get_double(tn_value_at(us, i));
        if ((type != TN_VALUE_INT && type != TN_VALUE_DOUBLE) || !isfinite(time) || time <= 0) {
            return FALSE;
        }
        /* Among equals the table's order decides. */
        gsize at = i;
        for (; at > 0 && row->times[at - 1].us > time; at--) {
            row->times[at] = row->times[at - 1];
        }
        row->times[at] = (TnCost){ tn_value_key_at(us, i), time };
    }
    return n > 0;
}

static gboolean
add_row(TnCosts *costs, const TnValue *value)
{
    const char *key = tn_value_get_string(tn_value_get(value, "node"));
    float sizes[MAX_SIZES];
    guint n = 0;
    g_autofree char *kind = key != NULL && strlen(key) < MAX_KEY ? split_key(key, sizes, &n) : NULL;
    if (kind == NULL || g_hash_table_contains(costs->by_key, key)) {
        return FALSE;
    }
    Entry *entry = g_new0(Entry, 1);
    g_ptr_array_add(costs->entries, entry);
    entry->row.key = key;
    entry->n = n;
    entry->log_sizes = g_memdup2(sizes, n * sizeof *sizes);
    g_hash_table_insert(costs->by_key, (gpointer)key, entry);
    GPtrArray *list = g_hash_table_lookup(costs->by_kind, kind);
    if (list == NULL) {
        list = g_ptr_array_new();
        g_hash_table_insert(costs->by_kind, g_steal_pointer(&kind), list);
    }
    g_ptr_array_add(list, entry);
    return read_times(tn_value_get(value, "us"), &entry->row);
}

TnCosts *
tn_costs_new(const TnValue *rows, GError **error)
{
    g_autoptr(TnCosts) costs = g_new0(TnCosts, 1);
    tn_refs_init(&costs->refs);
    costs->rows = tn_value_copy(rows);
    costs->digest = tn_value_hash(costs->rows);
    costs->entries = g_ptr_array_new_with_free_func(entry_free);
    costs->by_key = g_hash_table_new(g_str_hash, g_str_equal);
    costs->by_kind =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_ptr_array_unref);
    if (tn_value_type(rows) != TN_VALUE_LIST) {
        g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT, "its rows are no list");
        return NULL;
    }
    for (gsize i = 0; i < tn_value_len(rows); i++) {
        if (!add_row(costs, tn_value_at(costs->rows, i))) {
            g_set_error(error, TN_ERROR, TN_ERROR_CORRUPT,
                        "row %" G_GSIZE_FORMAT " is no node, seen for the first time, with the "
                        "microseconds of kernels",
                        i + 1);
            return NULL;
        }
    }
    return g_steal_pointer(&costs);
}

TnCosts *
tn_costs_ref(TnCosts *costs)
{
    tn_refs_inc(&costs->refs);
    return costs;
}

void
tn_costs_unref(TnCosts *costs)
{
    if (costs == NULL || !tn_refs_dec(&costs->refs)) {
        return;
    }
    g_hash_table_unref(costs->by_key);
    g_hash_table_unref(costs->by_kind);
    g_ptr_array_unref(costs->entries);
    tn_value_unref(costs->rows);
    g_free(costs);
}

guint64
tn_costs_digest(const TnCosts *costs)
{
    return costs->digest;
}

const TnValue *
tn_costs_rows(const TnCosts *costs)
{
    return costs->rows;
}

/* --- Asking it -------------------------------------------------------------------------------- */

const TnCostRow *
tn_costs_find(const TnCosts *costs, const char *key)
{
    const Entry *found = g_hash_table_lookup(costs->by_key, key);
    float sizes[MAX_SIZES];
    guint n = 0;
    if (found != NULL) {
        return &found->row;
    }
    g_autofree char *kind = split_key(key, sizes, &n);
    const GPtrArray *list = kind != NULL ? g_hash_table_lookup(costs->by_kind, kind) : NULL;
    double nearest = TN_COST_REACH;
    for (guint i = 0; list != NULL && i < list->len; i++) {
        const Entry *entry = g_ptr_array_index(list, i);
        const double far = distance(entry, sizes, n);
        if (far < nearest || (far == nearest && found == NULL)) {
            found = entry;
            nearest = far;
        }
    }
    return found != NULL ? &found->row : NULL;
}
