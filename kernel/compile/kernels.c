/* kernels.c: the best kernel for a node: an index over the kernel tables of the plugins opened
 * so far, by kind and operator, made again when another table appears. */
#include <tenon/plugin.h>

#include <pthread.h>
#include <string.h>

#include "kernels.h"

/* A kernel as its table has it. */
typedef struct {
    const TnKernel *kernel;
    const char *id; /* "table rank", interned */
    gboolean (*pays)(const TnNode *node);
} Row;

typedef struct {
    /* "kind operator", of tables that heed batch invariance also "kind operator invariant" → GPtrArray
     * of const TnKernel *, best rank first */
    GHashTable *rows;
    GHashTable *ids;      /* const TnKernel * → "table rank" */
    GPtrArray *factories; /* that it is of: const TnFactory * */
} Index;

static struct {
    pthread_rwlock_t lock;
    Index index;
} state = { .lock = PTHREAD_RWLOCK_INITIALIZER };

static gint
by_rank(gconstpointer a, gconstpointer b)
{
    const gint32 x = ((const Row *)a)->kernel->rank, y = ((const Row *)b)->kernel->rank;
    return (x < y) - (x > y);
}

static char *
key_of(const char *kind, const char *op, gboolean invariant)
{
    return g_strconcat(kind, " ", op, invariant ? " invariant" : NULL, NULL);
}

/* Takes key. */
static void
add_row(GHashTable *rows, char *key, const Row *row)
{
    GArray *list = g_hash_table_lookup(rows, key);
    if (list == NULL) {
        list = g_array_new(FALSE, FALSE, sizeof(Row));
        g_hash_table_insert(rows, key, list);
    } else {
        g_free(key);
    }
    g_array_append_val(list, *row);
}

static gboolean
heeds_invariance(const TnKernelTable *table)
{
    return table->size > G_STRUCT_OFFSET(TnKernelTable, flags) &&
           (table->flags & TN_TABLE_BATCH_INVARIANT);
}

static void
add_table(GHashTable *rows, GHashTable *ids, const TnFactory *factory)
{
    const TnKernelTable *table = factory->vtable;
    for (guint32 i = 0; i < table->n_kernels; i++) {
        const TnKernel *kernel =
            (const TnKernel *)((const char *)table->kernels + (gsize)i * table->kernel_size);
        g_autofree char *text = g_strdup_printf("%s %d", factory->name, kernel->rank);
        /* `pays` is the last member. */
        const gboolean says = table->kernel_size >= sizeof(TnKernel);
        const Row row = { kernel, g_intern_string(text), says ? kernel->pays : NULL };
        add_row(rows, key_of(table->kind, kernel->op, FALSE), &row);
        if (heeds_invariance(table)) {
            add_row(rows, key_of(table->kind, kernel->op, TRUE), &row);
        }
        g_hash_table_insert(ids, (gpointer)kernel, (gpointer)row.id);
    }
}

/* Takes factories. */
static void
rebuild(GPtrArray *factories)
{
    GHashTable *rows =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_array_unref);
    GHashTable *ids = g_hash_table_new(NULL, NULL);
    for (guint i = 0; i < factories->len; i++) {
        add_table(rows, ids, g_ptr_array_index(factories, i));
    }
    GHashTableIter iter;
    gpointer list;
    g_hash_table_iter_init(&iter, rows);
    while (g_hash_table_iter_next(&iter, NULL, &list)) {
        /* Stable, so that among equals the order of the tables decides, which is the registry's. */
        g_array_sort(list, by_rank);
    }
    g_clear_pointer(&state.index.rows, g_hash_table_unref);
    g_clear_pointer(&state.index.ids, g_hash_table_unref);
    g_clear_pointer(&state.index.factories, g_ptr_array_unref);
    state.index = (Index){ rows, ids, factories };
}

/* Under the lock: whether the index is of these factories. */
static gboolean
is_of(const GPtrArray *factories)
{
    const GPtrArray *seen = state.index.factories;
    return seen != NULL && seen->len == factories->len &&
           (seen->len == 0 ||
            memcmp(seen->pdata, factories->pdata, seen->len * sizeof *seen->pdata) == 0);
}

void
tn_kernels_refresh(void)
{
    g_autoptr(GPtrArray) factories = tn_registry_query("tenon.kernel/1");
    pthread_rwlock_rdlock(&state.lock);
    const gboolean fresh = is_of(factories);
    pthread_rwlock_unlock(&state.lock);
    if (!fresh) {
        pthread_rwlock_wrlock(&state.lock);
        /* Asked again: another thread may have opened a plugin, and made the index of more. */
        rebuild(tn_registry_query("tenon.kernel/1"));
        pthread_rwlock_unlock(&state.lock);
    }
}

/* By dtypes alone: what it says itself, which costs more, is asked last. */
static gboolean
is_for(const Row *row, const TnNode *node)
{
    TnDtype dtype = TN_DTYPE_NONE;
    if (node->n_in > 0) {
        dtype = node->in[0].type.dtype;
    } else if (node->n_out > 0) {
        dtype = node->out[0].type.dtype;
    }
    return tn_dtype_in(dtype, row->kernel->dtypes);
}

static gboolean
claims(const Row *row, const TnNode *node)
{
    return row->kernel->claims == NULL || row->kernel->claims(node);
}

/* (transfer full); NULL: none. */
static GArray *
rows_of(const char *kind, const TnNode *node)
{
    char key[256];
    g_snprintf(key, sizeof key, "%s %s%s", kind, node->op->name,
               node->batch_invariant ? " invariant" : "");
    pthread_rwlock_rdlock(&state.lock);
    GArray *found = g_hash_table_lookup(state.index.rows, key);
    GArray *list = found != NULL ? g_array_ref(found) : NULL;
    pthread_rwlock_unlock(&state.lock);
    return list;
}

const TnKernel *
tn_kernel_find(const char *kind, const TnNode *node)
{
    tn_kernels_refresh();
    return tn_kernel_find_known(kind, node);
}

char *
tn_kernel_id(const TnKernel *kernel)
{
    pthread_rwlock_rdlock(&state.lock);
    const char *id = g_hash_table_lookup(state.index.ids, kernel);
    char *copy = g_strdup(id != NULL ? id : "");
    pthread_rwlock_unlock(&state.lock);
    return copy;
}

/* Not under the lock: a kernel that wraps another kind's looks for that one in its `claims`. */
const TnKernel *
tn_kernel_find_known(const char *kind, const TnNode *node)
{
    g_autoptr(GArray) list = rows_of(kind, node);
    for (guint i = 0; list != NULL && i < list->len; i++) {
        const Row *row = &g_array_index(list, Row, i);
        if (is_for(row, node) && (row->pays == NULL || row->pays(node)) && claims(row, node)) {
            return row->kernel;
        }
    }
    return NULL;
}

const TnKernel *
tn_kernel_find_id(const char *kind, const TnNode *node, const char *id)
{
    g_autoptr(GArray) list = rows_of(kind, node);
    for (guint i = 0; list != NULL && i < list->len; i++) {
        const Row *row = &g_array_index(list, Row, i);
        if (is_for(row, node) && strcmp(row->id, id) == 0 && claims(row, node)) {
            return row->kernel;
        }
    }
    return NULL;
}

GPtrArray *
tn_kernel_candidates(const char *kind, const TnNode *node)
{
    GPtrArray *found = g_ptr_array_new();
    g_autoptr(GArray) list = rows_of(kind, node);
    for (guint i = 0; list != NULL && i < list->len; i++) {
        const Row *row = &g_array_index(list, Row, i);
        if (is_for(row, node) && claims(row, node)) {
            g_ptr_array_add(found, (gpointer)row->kernel);
        }
    }
    return found;
}
