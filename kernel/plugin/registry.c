/* registry.c: the tables of what opened plugins supply, and the look-ups that open a plugin when
 * the index knows that it has what is wanted. */
#include "plugin-private.h"
#include <tenon/base.h>

#include <string.h>

/* A factory that can be found. */
typedef struct {
    const TnFactory *factory;
    const char *owner;
    TnLoaded *loaded; /* NULL: made at run time */
    guint serial;     /* order of registration */
    gint instances;
    gboolean scored; /* its probe ran */
    gint score;
    char *unusable; /* what the probe said */
} Entry;

static pthread_mutex_t slow_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;

static struct {
    GHashTable *loaded;    /* name -> TnLoaded * */
    GPtrArray *order;      /* of TnLoaded *, in the order in which they became ready */
    GHashTable *factories; /* const TnFactory * -> Entry * */
    GHashTable *by_key;    /* Entry of (iface, name) -> GPtrArray of Entry * */
    GHashTable *by_iface;  /* iface -> GPtrArray of Entry * */
    GHashTable *modules;   /* name -> const TnLuaModule * */
    GHashTable *verbs;     /* name -> const TnVerb * */
    guint serial;
} table;

/* --- Locks and tables ------------------------------------------------------------------------- */

void
tn_registry_lock_slow(void)
{
    pthread_mutex_lock(&slow_lock);
}

void
tn_registry_unlock_slow(void)
{
    pthread_mutex_unlock(&slow_lock);
}

typedef struct {
    const char *iface, *name;
} Key;

static guint
key_hash(gconstpointer p)
{
    const Key *key = p;
    return g_str_hash(key->name) * 31 + g_str_hash(key->iface);
}

static gboolean
key_equal(gconstpointer a, gconstpointer b)
{
    const Key *x = a, *y = b;
    return strcmp(x->name, y->name) == 0 && strcmp(x->iface, y->iface) == 0;
}

static void
make_tables(void)
{
    table.loaded = g_hash_table_new(g_str_hash, g_str_equal);
    table.order = g_ptr_array_new();
    table.factories = g_hash_table_new(NULL, NULL);
    table.by_key = g_hash_table_new(key_hash, key_equal);
    table.by_iface = g_hash_table_new(g_str_hash, g_str_equal);
    table.modules = g_hash_table_new(g_str_hash, g_str_equal);
    table.verbs = g_hash_table_new(g_str_hash, g_str_equal);
}

void
tn_registry_lock_table(void)
{
    pthread_mutex_lock(&table_lock);
    if (table.loaded == NULL)
        make_tables();
}

void
tn_registry_unlock_table(void)
{
    pthread_mutex_unlock(&table_lock);
}

TnLoaded *
tn_registry_loaded(const char *name)
{
    return g_hash_table_lookup(table.loaded, name);
}

void
tn_registry_put_loaded(TnLoaded *loaded)
{
    tn_registry_lock_table();
    g_hash_table_insert(table.loaded, (gpointer)loaded->name, loaded);
    tn_registry_unlock_table();
}

/* Of two with the same interface and name: what was made at run time hides the rest, newest first;
 * then rank. */
static gint
by_precedence(gconstpointer a, gconstpointer b)
{
    const Entry *x = *(const Entry *const *)a, *y = *(const Entry *const *)b;
    if ((x->loaded == NULL) != (y->loaded == NULL))
        return x->loaded == NULL ? -1 : 1;
    if (x->loaded == NULL)
        return x->serial > y->serial ? -1 : 1;
    if (x->factory->rank != y->factory->rank)
        return x->factory->rank > y->factory->rank ? -1 : 1;
    return x->serial < y->serial ? -1 : 1;
}

/* The table's lock is held. */
static GPtrArray *
entries_of(const char *iface, const char *name)
{
    const Key key = { iface, name };
    return name != NULL ? g_hash_table_lookup(table.by_key, &key)
                        : g_hash_table_lookup(table.by_iface, iface);
}

/* The table's lock is held. Keys are interned: they outlive factories made at run time. */
static void
add_entry(const TnFactory *factory, const char *owner, TnLoaded *loaded)
{
    Entry *entry = g_new0(Entry, 1);
    *entry =
        (Entry){ .factory = factory, .owner = owner, .loaded = loaded, .serial = table.serial++ };
    GPtrArray *same = entries_of(factory->iface, factory->name);
    GPtrArray *all = entries_of(factory->iface, NULL);
    if (same == NULL) {
        Key *key = g_new(Key, 1);
        *key = (Key){ tn_intern(factory->iface), tn_intern(factory->name) };
        same = g_ptr_array_new();
        g_hash_table_insert(table.by_key, key, same);
    }
    if (all == NULL) {
        all = g_ptr_array_new();
        g_hash_table_insert(table.by_iface, (gpointer)tn_intern(factory->iface), all);
    }
    g_ptr_array_add(same, entry);
    g_ptr_array_sort(same, by_precedence);
    g_ptr_array_add(all, entry);
    g_hash_table_insert(table.factories, (gpointer)factory, entry);
}

void
tn_registry_publish(TnLoaded *loaded)
{
    const TnPlugin *p = loaded->plugin;
    tn_registry_lock_table();
    for (guint i = 0; p->factories != NULL && p->factories[i] != NULL; i++)
        add_entry(p->factories[i], loaded->name, loaded);
    for (guint i = 0; p->modules != NULL && p->modules[i] != NULL; i++) {
        if (!g_hash_table_contains(table.modules, p->modules[i]->name))
            g_hash_table_insert(table.modules, (gpointer)p->modules[i]->name,
                                (gpointer)p->modules[i]);
    }
    for (guint i = 0; p->verbs != NULL && p->verbs[i] != NULL; i++) {
        if (!g_hash_table_contains(table.verbs, p->verbs[i]->name))
            g_hash_table_insert(table.verbs, (gpointer)p->verbs[i]->name, (gpointer)p->verbs[i]);
    }
    loaded->state = TN_LOADED_READY;
    g_ptr_array_add(table.order, loaded);
    tn_registry_unlock_table();
}

void
tn_registry_add_factory(const TnFactory *factory, const char *owner)
{
    g_return_if_fail(factory != NULL && owner != NULL);
    tn_registry_lock_table();
    if (!g_hash_table_contains(table.factories, factory))
        add_entry(factory, tn_intern(owner), NULL);
    tn_registry_unlock_table();
}

void
tn_registry_remove_factory(const TnFactory *factory)
{
    gint instances = 0;
    tn_registry_lock_table();
    Entry *entry = g_hash_table_lookup(table.factories, factory);
    if (entry != NULL && entry->loaded == NULL) {
        instances = entry->instances;
        g_ptr_array_remove(entries_of(factory->iface, factory->name), entry);
        g_ptr_array_remove(entries_of(factory->iface, NULL), entry);
        g_hash_table_remove(table.factories, factory);
        g_free(entry->unusable);
        g_free(entry);
    }
    tn_registry_unlock_table();
    if (instances > 0)
        tn_log("plugin", TN_LOG_WARN, "%s '%s' is removed, but %d of it are in use", factory->iface,
               factory->name, instances);
}

gboolean
tn_registry_supplies(const char *iface)
{
    tn_registry_lock_table();
    const GPtrArray *all = entries_of(iface, NULL);
    const gboolean found = all != NULL && all->len > 0;
    tn_registry_unlock_table();
    return found;
}

TnLoaded *
tn_registry_owner_of(const TnFactory *factory)
{
    tn_registry_lock_table();
    const Entry *entry = g_hash_table_lookup(table.factories, factory);
    TnLoaded *loaded = entry != NULL ? entry->loaded : NULL;
    tn_registry_unlock_table();
    return loaded;
}

void
tn_registry_count(const TnFactory *factory, gint change)
{
    tn_registry_lock_table();
    Entry *entry = g_hash_table_lookup(table.factories, factory);
    if (entry != NULL)
        entry->instances += change;
    tn_registry_unlock_table();
}

/* --- Lists ------------------------------------------------------------------------------------ */

/* The record's info with what opening it showed. Made once per state, as callers keep the pointers.
 * Slow lock held. */
static const TnPluginInfo *
shown_info(const TnRecord *record, const TnLoaded *loaded)
{
    static GHashTable *made; /* TnRecord * -> TnPluginInfo * of one that was opened or failed */
    if (loaded == NULL || loaded->state == TN_LOADED_OPENING ||
        (loaded->state == TN_LOADED_FAILED && record->info.broken != NULL))
        return &record->info;
    if (made == NULL)
        made = g_hash_table_new(NULL, NULL);
    TnPluginInfo *info = g_hash_table_lookup(made, record);
    if (info == NULL) {
        info = g_new(TnPluginInfo, 1);
        *info = record->info;
        info->opened = loaded->state == TN_LOADED_READY;
        if (loaded->state == TN_LOADED_FAILED)
            info->broken = loaded->error->message;
        g_hash_table_insert(made, (gpointer)record, info);
    }
    return info;
}

static gint
info_by_name(gconstpointer a, gconstpointer b)
{
    const TnPluginInfo *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

GPtrArray *
tn_registry_list(void)
{
    GPtrArray *list = g_ptr_array_new();
    GHashTableIter iter;
    gpointer value;
    tn_registry_lock_slow();
    const GPtrArray *records = tn_index_refresh();
    tn_registry_lock_table();
    for (guint i = 0; i < records->len; i++) {
        const TnRecord *record = records->pdata[i];
        const TnLoaded *loaded = tn_registry_loaded(record->info.name);
        if (loaded == NULL || loaded->record == NULL)
            g_ptr_array_add(list, (gpointer)shown_info(record, loaded));
    }
    g_hash_table_iter_init(&iter, table.loaded);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const TnLoaded *loaded = value;
        if (loaded->record != NULL)
            g_ptr_array_add(list, (gpointer)shown_info(loaded->record, loaded));
    }
    tn_registry_unlock_table();
    tn_registry_unlock_slow();
    g_ptr_array_sort(list, info_by_name);
    return list;
}

char **
tn_registry_opened(void)
{
    GPtrArray *names = g_ptr_array_new();
    tn_registry_lock_table();
    for (guint i = 0; i < table.order->len; i++)
        g_ptr_array_add(names, g_strdup(((const TnLoaded *)table.order->pdata[i])->name));
    tn_registry_unlock_table();
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(names, FALSE);
}

const TnPlugin *
tn_registry_plugin(const char *name)
{
    tn_registry_lock_table();
    const TnLoaded *loaded = tn_registry_loaded(name);
    const TnPlugin *plugin =
        loaded != NULL && loaded->state == TN_LOADED_READY ? loaded->plugin : NULL;
    tn_registry_unlock_table();
    return plugin;
}

const char *
tn_registry_owner(const TnFactory *factory)
{
    tn_registry_lock_table();
    const Entry *entry = g_hash_table_lookup(table.factories, factory);
    const char *owner = entry != NULL ? entry->owner : NULL;
    tn_registry_unlock_table();
    return owner;
}

/* --- Choosing --------------------------------------------------------------------------------- */

gint
tn_registry_score(const TnFactory *factory, GError **error)
{
    g_autoptr(GError) why = NULL;
    gint score = 1;
    char *unusable = NULL;
    if (factory->probe == NULL)
        return score;
    tn_registry_lock_table();
    Entry *entry = g_hash_table_lookup(table.factories, factory);
    const gboolean scored = entry != NULL && entry->scored;
    if (scored) {
        score = entry->score;
        unusable = g_strdup(entry->unusable);
    }
    tn_registry_unlock_table();
    if (!scored) {
        /* Not under the lock: it is the plugin's own code. Two threads may both ask; the answer is
         * the same. */
        score = factory->probe(&why);
        if (score <= 0)
            unusable = g_strdup(why != NULL ? why->message : "its probe does not say why");
        tn_registry_lock_table();
        entry = g_hash_table_lookup(table.factories, factory);
        if (entry != NULL && !entry->scored) {
            entry->scored = TRUE;
            entry->score = score;
            entry->unusable = g_strdup(unusable);
        }
        tn_registry_unlock_table();
    }
    if (score <= 0)
        g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED, "%s '%s' cannot be used here: %s",
                    factory->iface, factory->name, unusable);
    g_free(unusable);
    return score;
}

static gint
by_worth(gconstpointer a, gconstpointer b)
{
    const TnFactory *x = *(const TnFactory *const *)a, *y = *(const TnFactory *const *)b;
    const gint score_x = tn_registry_score(x, NULL), score_y = tn_registry_score(y, NULL);
    if (score_x != score_y)
        return score_x > score_y ? -1 : 1;
    if (x->rank != y->rank)
        return x->rank > y->rank ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Those hidden by another of the same name are left out. The table's lock is held. */
static void
add_visible(GPtrArray *found, const GPtrArray *all)
{
    for (guint i = 0; all != NULL && i < all->len; i++) {
        const Entry *entry = all->pdata[i];
        if (entries_of(entry->factory->iface, entry->factory->name)->pdata[0] == entry)
            g_ptr_array_add(found, (gpointer)entry->factory);
    }
}

static gint
by_iface_and_name(gconstpointer a, gconstpointer b)
{
    const TnFactory *x = *(const TnFactory *const *)a, *y = *(const TnFactory *const *)b;
    const gint order = strcmp(x->iface, y->iface);
    return order != 0 ? order : strcmp(x->name, y->name);
}

GPtrArray *
tn_registry_query(const char *iface)
{
    GPtrArray *found = g_ptr_array_new();
    GHashTableIter iter;
    gpointer all;
    tn_registry_lock_table();
    if (iface != NULL) {
        add_visible(found, entries_of(iface, NULL));
    } else {
        g_hash_table_iter_init(&iter, table.by_iface);
        while (g_hash_table_iter_next(&iter, NULL, &all))
            add_visible(found, all);
    }
    tn_registry_unlock_table();
    g_ptr_array_sort(found, iface != NULL ? by_worth : by_iface_and_name);
    return found;
}

/* Among what is open. */
static const TnFactory *
find_open(const char *iface, const char *name)
{
    tn_registry_lock_table();
    const GPtrArray *same = entries_of(iface, name);
    const TnFactory *factory =
        same != NULL && same->len > 0 ? ((const Entry *)same->pdata[0])->factory : NULL;
    tn_registry_unlock_table();
    return factory;
}

const TnFactory *
tn_registry_find_open(const char *iface, const char *name)
{
    return find_open(iface, name);
}

gconstpointer
tn_registry_find_named(TnNamedKind kind, const char *name)
{
    tn_registry_lock_table();
    gconstpointer found =
        g_hash_table_lookup(kind == TN_NAMED_MODULE ? table.modules : table.verbs, name);
    tn_registry_unlock_table();
    return found;
}

void
tn_registry_names(const char *iface, GPtrArray *names)
{
    tn_registry_lock_table();
    const GPtrArray *all = entries_of(iface, NULL);
    for (guint i = 0; all != NULL && i < all->len; i++)
        g_ptr_array_add(names, (gpointer)tn_intern(((const Entry *)all->pdata[i])->factory->name));
    tn_registry_unlock_table();
}
