/* placing.c: what a job's stages in other processes need of its host: how they are started, and a
 * digest by which both sides know that they have the same config. */
#include <string.h>

#include <tenon/stage.h>

#include "host-private.h"
#include "stage/stage-private.h"
#include "wire/address.h"

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

/* "scale.place", "stages.scale.place": an option of a stage that says where and how it runs, which may
 * differ between two loads of the same config. */
static gboolean
says_where(const char *key)
{
    static const char *const options[] = { "place",   "workers", "queue",    "queue_bytes",
                                           "restart", "key",     "insecure", "timeout" };
    const char *path = g_str_has_prefix(key, "stages.") ? key + strlen("stages.") : key;
    const char *dot = strchr(path, '.');
    for (guint i = 0; dot && i < G_N_ELEMENTS(options); i++)
        if (strcmp(dot + 1, options[i]) == 0)
            return TRUE;
    return FALSE;
}

/* Texts that were evaluated and files that were read, as digests: their names may differ from host to
 * host. */
static GPtrArray *
contents(TnHost *host)
{
    GPtrArray *items = g_ptr_array_new_with_free_func(g_free);
    const TnValue *files = tn_value_get(host->index, TN_KEPT_FILES);
    GHashTableIter iter;
    gpointer text;
    g_hash_table_iter_init(&iter, host->sources);
    while (g_hash_table_iter_next(&iter, NULL, &text))
        g_ptr_array_add(items, g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1));
    for (gsize i = 0; i < tn_value_len(files); i++) {
        const TnValue *file = tn_value_at(files, i);
        g_autoptr(GBytes) bytes = tn_value_type(file) == TN_VALUE_STRING
                                      ? tn_host_copy(host, tn_value_get_string(file), NULL)
                                      : NULL;
        g_ptr_array_add(items, bytes ? g_compute_checksum_for_bytes(G_CHECKSUM_SHA256, bytes)
                                     : g_strdup_printf("no %s", tn_value_key_at(files, i)));
    }
    g_ptr_array_sort(items, by_text);
    return items;
}

char *
tn_host_digest(TnHost *host)
{
    g_autoptr(GPtrArray) items = contents(host);
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    for (guint i = 0; i < host->overrides->len; i++) {
        const TnOverride *override = host->overrides->pdata[i];
        if (!says_where(override->key))
            g_ptr_array_add(items, g_strdup_printf("%s=%s", override->key, override->text));
    }
    if (host->asked_time)
        g_ptr_array_add(items, g_strdup_printf("time %" G_GINT64_FORMAT, tn_host_load_time(host)));
    for (guint i = 0; i < items->len; i++)
        g_checksum_update(sum, items->pdata[i], (gssize)strlen(items->pdata[i]) + 1);
    return g_strdup(g_checksum_get_string(sum));
}

char *
tn_host_typed(TnHost *host)
{
    GString *text = g_string_new(NULL);
    g_autofree char *config = g_shell_quote(host->config);
    g_string_append(text, config);
    for (guint i = 0; i < host->overrides->len; i++) {
        const TnOverride *override = host->overrides->pdata[i];
        g_autofree char *word = g_strdup_printf("%s=%s", override->key, override->text);
        g_autofree char *quoted = g_shell_quote(word);
        if (!says_where(override->key))
            g_string_append_printf(text, " %s", quoted);
    }
    return g_string_free(text, FALSE);
}

/* --- Whether places can be -------------------------------------------------------------------- */

static const TnValue *
option_of(const TnSpec *spec, const char *name, TnValueType type)
{
    const TnValue *value = tn_value_get(tn_spec_options(spec), name);
    return value && tn_value_type(value) == type ? value : NULL;
}

/* Where an option stands, or the component of which it is. */
static TnWhere
where_of(const TnSpec *spec, const TnValue *option)
{
    const TnWhere where = tn_value_where(option);
    return where.file ? where : tn_spec_where(spec);
}

static void
check_place(const TnHost *host, const TnSpec *spec, const char *path, TnFaults *faults)
{
    TnAddress address;
    g_autoptr(GError) why = NULL;
    const TnValue *place = option_of(spec, "place", TN_VALUE_STRING);
    const TnValue *insecure = option_of(spec, "insecure", TN_VALUE_BOOL);
    g_autofree char *option = g_strconcat(path ? path : "", ".place", NULL);
    if (!place)
        return;
    if (!tn_address_parse(tn_value_get_string(place), &address, &why))
        tn_faults_add(faults, where_of(spec, place), option, "%s", why->message);
    else if (address.kind == TN_ADDRESS_TCP && !host->joins &&
             !option_of(spec, "key", TN_VALUE_STRING) && !(insecure && tn_value_get_bool(insecure)))
        tn_faults_add(faults, where_of(spec, place), option, TN_ADDRESS_WANTS_KEY);
}

/* TnStageFlags of a value that is a stage; 0. */
static guint32
flags_of(const TnValue *value)
{
    const TnSpec *spec =
        value && tn_value_type(value) == TN_VALUE_SPEC ? tn_value_get_spec(value) : NULL;
    return spec && strcmp(tn_spec_iface(spec), TN_IFACE_STAGE) == 0
               ? tn_stage_flags(tn_registry_find(TN_IFACE_STAGE, tn_spec_component(spec), NULL))
               : 0;
}

/* What a stage that replies or gives versions cannot be asked to do. siblings: the stages by name. */
static void
check_pattern(const TnValue *value, const TnValue *siblings, const char *path, TnFaults *faults)
{
    const TnSpec *spec = tn_value_get_spec(value);
    const guint32 flags = flags_of(value);
    const TnValue *from = option_of(spec, "from", TN_VALUE_STRING);
    const TnValue *workers = option_of(spec, "workers", TN_VALUE_INT);
    const char *name = from ? tn_value_get_string(from) : "";
    g_autofree char *at = g_strconcat(path ? path : "", ".from", NULL);
    g_autofree char *at_workers = g_strconcat(path ? path : "", ".workers", NULL);
    if (*name && flags & TN_STAGE_REPLIES)
        tn_faults_add(faults, where_of(spec, from), at, TN_STAGE_HAS_FROM);
    else if (*name && flags_of(tn_value_get(siblings, name)) & TN_STAGE_REPLIES)
        tn_faults_add(faults, where_of(spec, from), at, TN_STAGE_FROM_REPLIES, name);
    if (workers && tn_value_get_int(workers) > 1 && flags & TN_STAGE_LATEST)
        tn_faults_add(faults, where_of(spec, workers), at_workers, TN_STAGE_ONE_WORKER,
                      tn_value_get_int(workers));
}

/* What of a stage's options its rows cannot say: another type is their business. */
static void
check_stage(const TnHost *host, const TnValue *value, const TnValue *siblings, const char *path,
            TnFaults *faults)
{
    const TnSpec *spec = tn_value_get_spec(value);
    if (strcmp(tn_spec_iface(spec), TN_IFACE_STAGE) != 0)
        return;
    check_place(host, spec, path, faults);
    if (siblings && tn_value_type(siblings) == TN_VALUE_MAP)
        check_pattern(value, siblings, path, faults);
}

/* above: the map or list in which the value stands. */
static void
check_value(const TnHost *host, const TnValue *value, const TnValue *above, const char *path,
            TnFaults *faults)
{
    const TnValueType type = tn_value_type(value);
    if (type == TN_VALUE_SPEC) {
        check_stage(host, value, above, path, faults);
        check_value(host, tn_spec_options(tn_value_get_spec(value)), NULL, path, faults);
    }
    if (type != TN_VALUE_MAP && type != TN_VALUE_LIST)
        return;
    for (gsize i = 0; i < tn_value_len(value); i++) {
        g_autofree char *below = tn_host_path_below(path, value, i);
        check_value(host, tn_value_at(value, i), value, below, faults);
    }
}

void
tn_host_check_places(const TnHost *host, const TnSpec *root, TnFaults *faults)
{
    check_value(host, tn_spec_options(root), NULL, NULL, faults);
}
