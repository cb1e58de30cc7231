/* kernels.c: the best kernel for a node: an index over the kernel tables of the plugins opened
 * so far, by kind and operator, made again when another table appears. */
#include <tenon/plugin.h>

#include <pthread.h>
#include <string.h>

#include "kernels.h"

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
    const TnKernel *ka = *(const TnKernel *const *)a, *kb = *(const TnKernel *const *)b;
    return (ka->rank < kb->rank) - (ka->rank > kb->rank);
}

static char *
key_of(const char *kind, const char *op, gboolean invariant)
{
    return g_strconcat(kind, " ", op, invariant ? " invariant" : NULL, NULL);
}

/* Takes key. */
static void
add_row(GHashTable *rows, char *key, const TnKernel *kernel)
{
    GPtrArray *list = g_hash_table_lookup(rows, key);
    if (list == NULL) {
        list = g_ptr_array_new();
        g_hash_table_insert(rows, key, list);
    } else {
        g_free(key);
    }
    g_ptr_array_add(list, (gpointer)kernel);
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
        add_row(rows, key_of(table->kind, kernel->op, FALSE), kernel);
        if (heeds_invariance(table)) {
            add_row(rows, key_of(table->kind, kernel->op, TRUE), kernel);
        }
        g_hash_table_insert(ids, (gpointer)kernel,
                            g_strdup_printf("%s %d", factory->name, kernel->rank));
    }
}

/* Takes factories. */
static void
rebuild(GPtrArray *factories)
{
    GHashTable *rows =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_ptr_array_unref);
    GHashTable *ids = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    for (guint i = 0; i < factories->len; i++) {
        add_table(rows, ids, g_ptr_array_index(factories, i));
    }
    GHashTableIter iter;
    gpointer list;
    g_hash_table_iter_init(&iter, rows);
    while (g_hash_table_iter_next(&iter, NULL, &list)) {
        /* Stable, so that among equals the order of the tables decides, which is the registry's. */
        g_ptr_array_sort(list, by_rank);
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

static gboolean
takes(const TnKernel *kernel, const TnNode *node)
{
    TnDtype dtype = TN_DTYPE_NONE;
    if (node->n_in > 0) {
        dtype = node->in[0].type.dtype;
    } else if (node->n_out > 0) {
        dtype = node->out[0].type.dtype;
    }
    return tn_dtype_in(dtype, kernel->dtypes) && (kernel->claims == NULL || kernel->claims(node));
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

const TnKernel *
tn_kernel_find_known(const char *kind, const TnNode *node)
{
    return tn_kernel_find_id(kind, node, NULL);
}

static gboolean
has_id(const TnKernel *kernel, const char *id)
{
    g_autofree char *own = tn_kernel_id(kernel);
    return strcmp(own, id) == 0;
}

const TnKernel *
tn_kernel_find_id(const char *kind, const TnNode *node, const char *id)
{
    char key[256];
    g_snprintf(key, sizeof key, "%s %s%s", kind, node->op->name,
               node->batch_invariant ? " invariant" : "");
    pthread_rwlock_rdlock(&state.lock);
    GPtrArray *found = g_hash_table_lookup(state.index.rows, key);
    g_autoptr(GPtrArray) list = found != NULL ? g_ptr_array_ref(found) : NULL;
    pthread_rwlock_unlock(&state.lock);
    /* Not under the lock: a kernel that wraps another kind's looks for that one in its `claims`. */
    for (guint i = 0; list != NULL && i < list->len; i++) {
        const TnKernel *kernel = g_ptr_array_index(list, i);
        if ((id == NULL || has_id(kernel, id)) && takes(kernel, node)) {
            return kernel;
        }
    }
    return NULL;
}
