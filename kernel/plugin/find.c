/* find.c: look-ups by name: among opened plugins first, else by the index, opening the plugin that
 * has it. The errors name what is nearest, and which broken plugin may be to blame. */
#include "plugin-private.h"

#include <string.h>

/* "device" of "tenon.device/1", as a user would call it. */
static char *
iface_word(const char *iface)
{
    const char *begin = g_str_has_prefix(iface, "tenon.") ? iface + strlen("tenon.") : iface;
    const char *slash = strchr(begin, '/');
    char *word =
        g_strndup(begin, slash != NULL && begin != iface ? (gsize)(slash - begin) : strlen(begin));
    return strcmp(word, "op") == 0 ? (g_free(word), g_strdup("operator")) : word;
}

/* What a record has under a name: TRUE and its rank. name NULL: any. */
static gboolean
record_has(const TnRecord *record, const char *iface, const char *name, gint *rank, gboolean *probe)
{
    gboolean found = FALSE;
    for (guint i = 0; i < record->info.n_factories; i++) {
        if (strcmp(record->info.ifaces[i], iface) != 0 ||
            (name != NULL && strcmp(record->info.names[i], name) != 0))
            continue;
        if (!found || record->ranks[i] > *rank)
            *rank = record->ranks[i];
        *probe |= record->probes[i];
        found = TRUE;
    }
    return found;
}

/* ". Did you mean 'x'?", or a short list of what there is. */
static void
add_hint(GString *text, const char *name, GPtrArray *names)
{
    const char *nearest = tn_nearest(name, (const char *const *)names->pdata, names->len);
    if (nearest != NULL) {
        g_string_append_printf(text, "; did you mean '%s'?", nearest);
    } else if (names->len > 0 && names->len <= 12) {
        g_string_append(text, "; there are: ");
        for (guint i = 0; i < names->len; i++)
            g_string_append_printf(text, "%s%s", i > 0 ? ", " : "", (const char *)names->pdata[i]);
    }
}

/* Operators of the kernel itself are no plugin's, but a user means them too. */
static void
add_primitives(GPtrArray *names)
{
    guint n;
    const TnOp *const *primitives = tn_op_primitives(&n);
    for (guint i = 0; i < n; i++)
        g_ptr_array_add(names, (gpointer)primitives[i]->name);
}

/* A broken plugin cannot say what it supplies; one that was there might have had it. */
static void
add_broken(GString *text, const char *name, const GPtrArray *records)
{
    enum { MOST = 3 };
    guint n = 0;
    for (guint pass = 0; pass < 2; pass++) {
        for (guint i = 0; i < records->len; i++) {
            const TnPluginInfo *info = &((const TnRecord *)records->pdata[i])->info;
            /* The one of that very name first. */
            if (info->broken == NULL || (strcmp(info->name, name) == 0) != (pass == 0))
                continue;
            if (n++ < MOST)
                g_string_append_printf(text, "%s '%s' (%s)",
                                       n == 1 ? "; broken plugins that may have it:" : ",",
                                       info->name, info->broken);
        }
    }
    if (n > MOST)
        g_string_append_printf(text, " and %u more", n - MOST);
}

static gint
compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void
sort_unique(GPtrArray *names)
{
    g_ptr_array_sort(names, compare_names);
    for (guint i = names->len; i > 1; i--) {
        if (strcmp(names->pdata[i - 1], names->pdata[i - 2]) == 0)
            g_ptr_array_remove_index(names, i - 1);
    }
}

/* --- Factories -------------------------------------------------------------------------------- */

typedef struct {
    const TnRecord *record;
    gint rank;
} Candidate;

static gint
by_rank(gconstpointer a, gconstpointer b)
{
    const Candidate *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank > y->rank ? -1 : 1;
    return strcmp(x->record->info.name, y->record->info.name);
}

static void
set_not_found(const char *iface, const char *name, const GPtrArray *records, GError **error)
{
    g_autofree char *word = iface_word(iface);
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autoptr(GString) text = g_string_new(NULL);
    tn_registry_names(iface, names);
    for (guint i = 0; i < records->len; i++) {
        const TnRecord *record = records->pdata[i];
        for (guint j = 0; j < record->info.n_factories; j++) {
            if (strcmp(record->info.ifaces[j], iface) == 0 &&
                (record->flags[j] & TN_FACTORY_INTERNAL) == 0)
                g_ptr_array_add(names, (gpointer)record->info.names[j]);
        }
    }
    if (strcmp(iface, TN_IFACE_OP) == 0)
        add_primitives(names);
    sort_unique(names);
    g_string_append_printf(text, "there is no %s '%s'", word, name);
    add_hint(text, name, names);
    add_broken(text, name, records);
    g_set_error_literal(error, TN_ERROR, TN_ERROR_NOT_FOUND, text->str);
}

/* Opens one plugin after another that has it, the highest rank first. */
static const TnFactory *
find_in_index(const char *iface, const char *name, GError **error)
{
    const GPtrArray *records = tn_index_refresh();
    g_autoptr(GArray) candidates = g_array_new(FALSE, FALSE, sizeof(Candidate));
    g_autoptr(GError) first = NULL;
    for (guint i = 0; i < records->len; i++) {
        Candidate c = { .record = records->pdata[i] };
        gboolean probe = FALSE;
        if (record_has(c.record, iface, name, &c.rank, &probe))
            g_array_append_val(candidates, c);
    }
    g_array_sort(candidates, by_rank);
    for (guint i = 0; i < candidates->len; i++) {
        g_autoptr(GError) why = NULL;
        if (tn_plugin_open_record(g_array_index(candidates, Candidate, i).record, &why) != NULL) {
            const TnFactory *found = tn_registry_find_open(iface, name);
            if (found != NULL)
                return found;
        } else if (first == NULL) {
            first = g_steal_pointer(&why);
        }
    }
    if (first != NULL) {
        g_autofree char *word = iface_word(iface);
        g_propagate_prefixed_error(error, g_steal_pointer(&first), "%s '%s': ", word, name);
    } else {
        set_not_found(iface, name, tn_index_refresh(), error);
    }
    return NULL;
}

/* Whether something is open already that one of that rank without a probe cannot beat. */
static gboolean
is_beaten(const char *iface, gint rank)
{
    g_autoptr(GPtrArray) found = tn_registry_query(iface);
    const TnFactory *best = found->len > 0 ? found->pdata[0] : NULL;
    return best != NULL && (best->rank > rank || tn_registry_score(best, NULL) > 1) &&
           tn_registry_score(best, NULL) > 0;
}

/* Opens every plugin that supplies iface and has a probe to say how well; of the rest, the one of
 * highest rank, unless it cannot win. What then is open decides. Failures are noted in tried. */
static void
open_for_default(const char *iface, GString *tried)
{
    const GPtrArray *records = tn_index_refresh();
    g_autoptr(GArray) plain = g_array_new(FALSE, FALSE, sizeof(Candidate));
    g_autoptr(GArray) probing = g_array_new(FALSE, FALSE, sizeof(Candidate));
    for (guint i = 0; i < records->len; i++) {
        Candidate c = { .record = records->pdata[i] };
        gboolean probe = FALSE;
        if (record_has(c.record, iface, NULL, &c.rank, &probe))
            g_array_append_val(probe ? probing : plain, c);
    }
    g_array_sort(plain, by_rank);
    for (guint i = 0; i < probing->len + plain->len; i++) {
        const Candidate *c = i < probing->len ? &g_array_index(probing, Candidate, i)
                                              : &g_array_index(plain, Candidate, i - probing->len);
        g_autoptr(GError) why = NULL;
        if (i >= probing->len && is_beaten(iface, c->rank))
            break;
        if (tn_plugin_open_record(c->record, &why) == NULL)
            g_string_append_printf(tried, "; %s", why->message);
        else if (i >= probing->len)
            break;
    }
}

static const TnFactory *
find_default(const char *iface, GError **error)
{
    g_autoptr(GString) tried = g_string_new(NULL);
    g_autoptr(GError) why = NULL;
    g_autofree char *word = iface_word(iface);
    tn_registry_lock_slow();
    open_for_default(iface, tried);
    tn_registry_unlock_slow();
    g_autoptr(GPtrArray) found = tn_registry_query(iface);
    if (found->len == 0) {
        g_set_error(error, TN_ERROR, TN_ERROR_NOT_FOUND, "no plugin supplies a %s%s", word,
                    tried->str);
        return NULL;
    }
    const TnFactory *best = found->pdata[0];
    if (tn_registry_score(best, &why) > 0)
        return best;
    g_set_error(error, TN_ERROR, TN_ERROR_UNSUPPORTED, "no %s can be used here: %s%s", word,
                why->message, tried->str);
    return NULL;
}

const TnFactory *
tn_registry_find(const char *iface, const char *name, GError **error)
{
    g_return_val_if_fail(iface != NULL, NULL);
    if (name == NULL)
        return find_default(iface, error);
    const TnFactory *factory = tn_registry_find_open(iface, name);
    if (factory == NULL) {
        tn_registry_lock_slow();
        /* Another thread may have opened it meanwhile. */
        factory = tn_registry_find_open(iface, name);
        if (factory == NULL)
            factory = find_in_index(iface, name, error);
        tn_registry_unlock_slow();
    }
    return factory;
}

const TnOp *
tn_registry_op(const char *name, GError **error)
{
    const TnFactory *factory = tn_registry_find(TN_IFACE_OP, name, error);
    return factory != NULL ? factory->vtable : NULL;
}

/* --- Lua modules and verbs -------------------------------------------------------------------- */

static const char *const *
record_named(const TnRecord *record, TnNamedKind kind, guint *n)
{
    *n = kind == TN_NAMED_MODULE ? record->info.n_modules : record->info.n_verbs;
    return kind == TN_NAMED_MODULE ? record->info.modules : record->info.verbs;
}

static gconstpointer
find_named_in_index(TnNamedKind kind, const char *name, GError **error)
{
    const GPtrArray *records = tn_index_refresh();
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < records->len; i++) {
        guint n;
        const char *const *all = record_named(records->pdata[i], kind, &n);
        for (guint j = 0; j < n; j++) {
            if (strcmp(all[j], name) == 0)
                return tn_plugin_open_record(records->pdata[i], error) != NULL
                           ? tn_registry_find_named(kind, name)
                           : NULL;
            g_ptr_array_add(names, (gpointer)all[j]);
        }
    }
    sort_unique(names);
    g_string_append_printf(text, "no plugin brings a %s '%s'",
                           kind == TN_NAMED_MODULE ? "Lua module" : "verb", name);
    add_hint(text, name, names);
    add_broken(text, name, records);
    g_set_error_literal(error, TN_ERROR, TN_ERROR_NOT_FOUND, text->str);
    return NULL;
}

static gconstpointer
find_named(TnNamedKind kind, const char *name, GError **error)
{
    gconstpointer found = tn_registry_find_named(kind, name);
    if (found == NULL) {
        tn_registry_lock_slow();
        found = tn_registry_find_named(kind, name);
        if (found == NULL)
            found = find_named_in_index(kind, name, error);
        tn_registry_unlock_slow();
    }
    return found;
}

const TnLuaModule *
tn_registry_lua(const char *name, GError **error)
{
    return find_named(TN_NAMED_MODULE, name, error);
}

const TnVerb *
tn_registry_verb(const char *name, GError **error)
{
    return find_named(TN_NAMED_VERB, name, error);
}

/* --- Plugins ---------------------------------------------------------------------------------- */

static TnLoaded *
open_by_name(const char *name, GError **error)
{
    const GPtrArray *records = tn_index_refresh();
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autoptr(GPtrArray) folders = tn_plugin_folders();
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < records->len; i++) {
        const TnRecord *record = records->pdata[i];
        if (strcmp(record->info.name, name) == 0)
            return tn_plugin_open_record(record, error);
        g_ptr_array_add(names, (gpointer)record->info.name);
    }
    g_string_append_printf(text, "there is no plugin '%s'", name);
    add_hint(text, name, names);
    g_string_append(text, "; searched: ");
    for (guint i = 0; i < folders->len; i++)
        g_string_append_printf(text, "%s%s", i > 0 ? ", " : "", (const char *)folders->pdata[i]);
    g_set_error_literal(error, TN_ERROR, TN_ERROR_NOT_FOUND, text->str);
    return NULL;
}

gboolean
tn_registry_open(const char *name, GError **error)
{
    g_return_val_if_fail(name != NULL, FALSE);
    if (tn_registry_plugin(name) != NULL)
        return TRUE;
    tn_registry_lock_slow();
    const gboolean ok = tn_registry_plugin(name) != NULL || open_by_name(name, error) != NULL;
    tn_registry_unlock_slow();
    return ok;
}

gboolean
tn_registry_add(const TnPlugin *plugin, GError **error)
{
    tn_registry_lock_slow();
    const gboolean ok = tn_plugin_open_static(plugin, error) != NULL;
    tn_registry_unlock_slow();
    return ok;
}

/* Lines "fault<TAB>text" and "part<TAB>text" of tenon-scan --try. */
static char *
read_attempt(const char *output, char **parts)
{
    g_auto(GStrv) lines = g_strsplit(output, "\n", -1);
    g_autoptr(GString) found = g_string_new(NULL);
    char *fault = NULL;
    for (char **line = lines; *line != NULL; line++) {
        const char *tab = strchr(*line, '\t');
        if (tab == NULL)
            continue;
        char *text = tn_record_unescape(tab + 1, strlen(tab + 1));
        if (g_str_has_prefix(*line, "fault\t") && fault == NULL) {
            fault = text;
            continue;
        }
        g_string_append_printf(found, "%s%s", found->len > 0 ? "\n" : "", text);
        g_free(text);
    }
    if (parts != NULL && found->len > 0)
        *parts = g_string_free(g_steal_pointer(&found), FALSE);
    return fault;
}

char *
tn_registry_try(const TnPluginInfo *info, char **parts)
{
    enum { TRY_SECONDS = 20 };
    g_autofree char *output = NULL;
    gboolean transient;
    if (parts != NULL)
        *parts = NULL;
    if (info->broken != NULL || info->path[0] == '\0')
        return g_strdup(info->broken);
    tn_registry_lock_slow();
    g_autoptr(GPtrArray) folders = tn_plugin_folders();
    tn_registry_unlock_slow();
    g_ptr_array_add(folders, NULL);
    g_autofree char *path = g_strjoinv(":", (char **)folders->pdata);
    const char *args[] = { "--try", info->path, NULL };
    char *fault = tn_plugin_run_scanner(args, path, TRY_SECONDS, &output, &transient);
    return fault != NULL ? fault : read_attempt(output, parts);
}
