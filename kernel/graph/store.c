/* store.c: variables: made once, found by name, read and written as plain host memory. */
#include <stdatomic.h>
#include <string.h>

#include <tenon/base.h>
#include <tenon/device.h>
#include <tenon/store.h>

#include "base/refs.h"
#include "graph/init.h"
#include "graph/store-private.h"

struct TnVar {
    TnVarInfo info;  /* strings interned */
    guint64 seed;    /* the store's when it was made: what it is drawn from again */
    gboolean is_key; /* of random nodes: begins as {seed, 0} */
    TnTensor *tensor;
    atomic_uint_fast64_t version;
};

struct TnStore {
    TnRefs refs;
    guint64 seed;
    GPtrArray *vars;   /* owned, in order of creation */
    GHashTable *names; /* name -> TnVar */
    guint64 bytes;
    TnContext *context; /* whose memory limit counts; (transfer none), NULL: none */
};

static const char *const role_names[] = { "param", "slot", "stat", "counter" };

static void
var_free(gpointer data)
{
    TnVar *var = data;
    tn_tensor_unref(var->tensor);
    g_free(var);
}

TnStore *
tn_store_new(guint64 seed)
{
    TnStore *store = g_new0(TnStore, 1);
    tn_refs_init(&store->refs);
    store->seed = seed;
    store->vars = g_ptr_array_new_with_free_func(var_free);
    store->names = g_hash_table_new(g_str_hash, g_str_equal);
    return store;
}

TnStore *
tn_store_ref(TnStore *store)
{
    tn_refs_inc(&store->refs);
    return store;
}

void
tn_store_unref(TnStore *store)
{
    if (!store || !tn_refs_dec(&store->refs))
        return;
    g_hash_table_unref(store->names);
    g_ptr_array_unref(store->vars);
    if (store->context)
        tn_context_give_memory(store->context, store->bytes);
    g_free(store);
}

guint64
tn_store_seed(const TnStore *store)
{
    return store->seed;
}

void
tn_store_set_seed(TnStore *store, guint64 seed)
{
    store->seed = seed;
}

void
tn_store_set_context(TnStore *store, TnContext *context)
{
    store->context = context;
}

/* An existing variable of that name fits what is asked for. */
static gboolean
check_same(const TnVar *var, const TnVarInfo *info, GError **error)
{
    if (tn_type_equal(&var->info.type, &info->type) && var->info.role == info->role)
        return TRUE;
    g_autofree char *is = tn_type_print(&var->info.type), *want = tn_type_print(&info->type);
    g_set_error(error, TN_ERROR, TN_ERROR_CONFIG,
                "variable '%s' is a %s %s already, now a %s %s is asked for", info->name,
                role_names[var->info.role], is, role_names[info->role], want);
    return FALSE;
}

/* Its memory, counted against the context's limit, with its initial value in it. */
static TnVar *
var_new(TnStore *store, TnDevice *device, const TnVarInfo *info, gboolean is_key, GError **error)
{
    gint64 bytes = tn_type_bytes(&info->type);
    if (store->context && bytes > 0 &&
        !tn_context_take_memory(store->context, (guint64)bytes, "its memory", error))
        return NULL;
    TnTensor *tensor = tn_tensor_new(device, info->type, error);
    TnVar *var = g_new0(TnVar, 1);
    var->info = *info;
    var->info.name = tn_intern(info->name);
    var->info.of = tn_intern(info->of);
    var->tensor = tensor;
    var->seed = store->seed;
    var->is_key = is_key;
    if (tensor && tn_var_reset(var, error))
        return var;
    if (store->context && bytes > 0)
        tn_context_give_memory(store->context, (guint64)bytes);
    g_clear_pointer(&var->tensor, tn_tensor_unref);
    g_free(var);
    return NULL;
}

static TnVar *
add(TnStore *store, TnDevice *device, const TnVarInfo *info, gboolean is_key, GError **error)
{
    TnVar *var = g_hash_table_lookup(store->names, info->name);
    if (var)
        return check_same(var, info, error) ? var : NULL;
    if (!*info->name || info->type.dtype == TN_DTYPE_NONE) {
        g_set_error(error, TN_ERROR, TN_ERROR_CONFIG, "a variable needs a name and a dtype");
        return NULL;
    }
    var = var_new(store, device, info, is_key, error);
    if (!var) {
        tn_error_prefix(error, "variable '%s'", info->name);
        return NULL;
    }
    g_ptr_array_add(store->vars, var);
    g_hash_table_insert(store->names, (gpointer)var->info.name, var);
    store->bytes += (guint64)tn_tensor_bytes(var->tensor);
    return var;
}

TnVar *
tn_store_var(TnStore *store, TnDevice *device, const TnVarInfo *info, GError **error)
{
    return add(store, device, info, FALSE, error);
}

TnVar *
tn_store_find(const TnStore *store, const char *name)
{
    return g_hash_table_lookup(store->names, name);
}

guint
tn_store_n(const TnStore *store)
{
    return store->vars->len;
}

TnVar *
tn_store_at(const TnStore *store, guint i)
{
    return i < store->vars->len ? g_ptr_array_index(store->vars, i) : NULL;
}

guint64
tn_store_bytes(const TnStore *store)
{
    return store->bytes;
}

/* --- Variables -------------------------------------------------------------------------------- */

const TnVarInfo *
tn_var_info(const TnVar *var)
{
    return &var->info;
}

TnTensor *
tn_var_tensor(const TnVar *var)
{
    return var->tensor;
}

/* The whole of a variable between its device and host memory. */
static gboolean
transfer(const TnVar *var, void *host, gsize bytes, TnCopyKind kind, GError **error)
{
    TnStorage *storage = tn_tensor_storage(var->tensor);
    TnDevice *device = tn_storage_device(storage);
    void *memory = tn_storage_memory(storage);
    gsize whole = (gsize)tn_tensor_bytes(var->tensor);
    if (bytes != whole) {
        g_autofree char *type = tn_type_print(&var->info.type);
        g_set_error(error, TN_ERROR, TN_ERROR_SHAPE,
                    "variable '%s' is %s, %zu bytes; %zu were given", var->info.name, type, whole,
                    bytes);
        return FALSE;
    }
    gboolean out = kind == TN_COPY_TO_HOST;
    TnStatus status =
        tn_device_copy(device, out ? host : memory, out ? memory : host, bytes, kind, NULL);
    if (status == TN_OK)
        status = tn_device_sync(device, NULL);
    if (status != TN_OK)
        tn_status_set_error(error, status, "variable '%s' on device '%s'", var->info.name,
                            tn_device_name(device));
    return status == TN_OK;
}

gboolean
tn_var_read(const TnVar *var, void *to, gsize bytes, GError **error)
{
    return transfer(var, to, bytes, TN_COPY_TO_HOST, error);
}

gboolean
tn_var_write(TnVar *var, const void *from, gsize bytes, GError **error)
{
    const gboolean ok = transfer(var, (void *)from, bytes, TN_COPY_TO_DEVICE, error);
    tn_var_touch(var);
    return ok;
}

guint64
tn_var_version(const TnVar *var)
{
    return atomic_load_explicit(&var->version, memory_order_acquire);
}

/* Writers are ordered by the owner of the store, so that none is lost. */
void
tn_var_touch(TnVar *var)
{
    atomic_store_explicit(&var->version, tn_var_version(var) + 1, memory_order_release);
}

TnTensor *
tn_var_get(const TnVar *var, GError **error)
{
    g_autoptr(TnTensor) tensor = tn_tensor_new(NULL, var->info.type, error);
    if (!tensor || !tn_var_read(var, tn_storage_memory(tn_tensor_storage(tensor)),
                                (gsize)tn_tensor_bytes(tensor), error))
        return NULL;
    return g_steal_pointer(&tensor);
}

gboolean
tn_var_reset(TnVar *var, GError **error)
{
    const gsize bytes = (gsize)tn_tensor_bytes(var->tensor);
    const guint64 key[2] = { var->seed, 0 };
    if (var->is_key)
        return tn_var_write(var, key, sizeof key, error);
    if (tn_device_is_host(tn_tensor_device(var->tensor))) {
        const gboolean filled = tn_init_fill(
            &var->info, var->seed, tn_storage_memory(tn_tensor_storage(var->tensor)), error);
        tn_var_touch(var);
        return filled;
    }
    void *elements = tn_data_alloc_for(bytes, "initial values", error);
    const gboolean ok = elements && tn_init_fill(&var->info, var->seed, elements, error) &&
                        tn_var_write(var, elements, bytes, error);
    tn_data_free(elements);
    return ok;
}

TnVar *
tn_store_step(TnStore *store, GError **error)
{
    const TnVarInfo info = { .name = "train.step",
                             .type = tn_type(TN_DTYPE_U64, 0, NULL),
                             .role = TN_ROLE_COUNTER };
    return add(store, NULL, &info, FALSE, error);
}

TnVar *
tn_store_random_key(TnStore *store, GError **error)
{
    const gint64 dims[] = { 2 };
    const TnVarInfo info = { .name = "random.key",
                             .type = tn_type(TN_DTYPE_U64, 1, dims),
                             .role = TN_ROLE_COUNTER };
    return add(store, NULL, &info, TRUE, error);
}
